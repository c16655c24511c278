//! The snippet as browsers fetch it.
//!
//! ```text
//! /w.js            page views and calls; may be kept for an hour      /w.full.js           with what is captured besides
//! /w.1a2b3c4d.js   the same, kept for ever: the name says which text  /w.full.1a2b3c4d.js
//! ```
//!
//! `receive.script_path` gives it another name besides, and `receive.endpoint_path` another address to send to, so that both
//! look like a part of the site. The script finds that address from its own, by a relative path: so it also works behind a
//! proxy that puts both below some prefix.

use std::io::{self, Write};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha384};

use crate::config;

/// Page views and calls.
const CORE: &str = include_str!("../../js-snippet/w.js");
/// The same with what is captured without calls.
const FULL: &str = include_str!("../../js-snippet/w.full.js");
/// In both, where events go, seen from the script.
const ENDPOINT: &str = "v1/events";

pub const SCRIPT_PATH: &str = "/w.js";
pub const ENDPOINT_PATH: &str = "/v1/events";

/// A name without a version may get another text by an upgrade.
const KEPT_FOR_AN_HOUR: &str = "public, max-age=3600";
const KEPT_FOR_EVER: &str = "public, max-age=31536000, immutable";
/// What the name promises may be there at the next look.
const NOT_KEPT: &str = "no-cache";
/// Hexadecimal digits of a text's hash in its name.
const VERSION_CHARS: usize = 8;

/// Both scripts under one name.
pub struct Scripts {
    pub core: Script,
    pub full: Script,
}

/// What a script is called, whatever its text.
struct Names {
    stem: String,
    suffix: &'static str,
}

/// One script, ready in every encoding.
pub struct Script {
    names: Names,
    version: String,
    integrity: String,
    plain: Bytes,
    /// By preference: the smallest first.
    encoded: Vec<(&'static str, Bytes)>,
}

/// How a script was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    Plain,
    /// By the version that it has.
    Versioned,
    /// By another version: of an earlier weir, or of a later one, where collectors are just being replaced.
    OtherVersion,
}

impl Scripts {
    /// Of weir's own names.
    pub fn built_in(settings: &config::Receive) -> Self {
        Self::named(SCRIPT_PATH, &settings.endpoint_path)
    }

    /// Of the name that the settings give.
    pub fn of(settings: &config::Receive) -> Self {
        Self::named(&settings.script_path, &settings.endpoint_path)
    }

    fn named(script_path: &str, endpoint_path: &str) -> Self {
        let [core, full] = Names::both(script_path);
        let endpoint = relative(script_path, endpoint_path);
        Self {
            core: Script::new(core, &CORE.replace(ENDPOINT, &endpoint)),
            full: Script::new(full, &FULL.replace(ENDPOINT, &endpoint)),
        }
    }

    /// The paths under which they are now.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        [&self.core, &self.full].into_iter().flat_map(|script| [script.names.plain(), script.versioned_path()])
    }

    /// The script of this path. An earlier version is answered by the present one: pages that name it go on working.
    pub fn find(&self, path: &str) -> Option<(&Script, Name)> {
        [&self.core, &self.full].into_iter().find_map(|script| Some((script, script.name(path)?)))
    }
}

/// Whether a path means a script, where `script_path` is the name of the one.
pub fn is_script(script_path: &str, path: &str) -> bool {
    Names::both(script_path).iter().any(|names| names.version(path).is_some())
}

impl Names {
    /// Of page views and calls, and of all.
    fn both(script_path: &str) -> [Self; 2] {
        // A name that the settings give need not end so.
        let (stem, suffix) = script_path.strip_suffix(".js").map_or((script_path, ""), |stem| (stem, ".js"));
        [stem.to_owned(), format!("{stem}.full")].map(|stem| Self { stem, suffix })
    }

    fn plain(&self) -> String {
        format!("{}{}", self.stem, self.suffix)
    }

    fn versioned(&self, version: &str) -> String {
        format!("{}.{version}{}", self.stem, self.suffix)
    }

    /// The version that a path of this script names, which is empty where it names none.
    fn version<'p>(&self, path: &'p str) -> Option<&'p str> {
        let version = path.strip_prefix(&self.stem)?.strip_suffix(self.suffix)?;
        if version.is_empty() {
            return Some(version);
        }
        let version = version.strip_prefix('.')?;
        let is_version = version.len() == VERSION_CHARS && version.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_version.then_some(version)
    }
}

impl Script {
    fn new(names: Names, text: &str) -> Self {
        let hash = Sha384::digest(text.as_bytes());
        let version = hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()[..VERSION_CHARS].to_owned();
        // One that failed, which in memory none does, would not be offered.
        let encoded = [("br", brotli(text)), ("zstd", zstd(text)), ("gzip", gzip(text))];
        let encoded = encoded.into_iter().filter_map(|(encoding, body)| Some((encoding, body.ok()?))).collect();
        let integrity = format!("sha384-{}", STANDARD.encode(hash));
        Self { names, version, integrity, plain: Bytes::copy_from_slice(text.as_bytes()), encoded }
    }

    /// The path that names its version.
    pub fn versioned_path(&self) -> String {
        self.names.versioned(&self.version)
    }

    /// What an `integrity` attribute says of it.
    pub fn integrity(&self) -> &str {
        &self.integrity
    }

    fn name(&self, path: &str) -> Option<Name> {
        Some(match self.names.version(path)? {
            "" => Name::Plain,
            version if version == self.version => Name::Versioned,
            _ => Name::OtherVersion,
        })
    }

    /// The answer to a request with these headers.
    pub fn answer(&self, headers: &HeaderMap, name: Name) -> Response {
        let accepted = self.encoded.iter().find(|(encoding, _)| is_accepted(headers, encoding));
        let tag = match accepted {
            Some((encoding, _)) => format!("\"{}-{encoding}\"", self.version),
            None => format!("\"{}\"", self.version),
        };
        let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| is_among(known, &tag));
        let body = accepted.map_or_else(|| self.plain.clone(), |(_, body)| body.clone());
        let mut response = Response::new(if is_known { Body::empty() } else { Body::from(body) });
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let mut set = |name: HeaderName, value: &str| {
            // None holds anything but visible ASCII.
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        };
        set(header::CONTENT_TYPE, "text/javascript; charset=utf-8");
        let kept = match name {
            Name::Plain => KEPT_FOR_AN_HOUR,
            Name::Versioned => KEPT_FOR_EVER,
            Name::OtherVersion => NOT_KEPT,
        };
        set(header::CACHE_CONTROL, kept);
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        // Pages with `Cross-Origin-Embedder-Policy` load nothing without it.
        set(HeaderName::from_static("cross-origin-resource-policy"), "cross-origin");
        set(header::VARY, "accept-encoding");
        set(header::ETAG, &tag);
        if let Some((encoding, _)) = accepted.filter(|_| !is_known) {
            set(header::CONTENT_ENCODING, encoding);
        }
        response
    }
}

/// Whether a tag is one of those that a client has.
fn is_among(known: &HeaderValue, tag: &str) -> bool {
    // A proxy that compresses by itself makes a tag weak.
    let is_tag = |known: &str| known.trim().trim_start_matches("W/") == tag;
    known.to_str().is_ok_and(|known| known.split(',').any(is_tag))
}

/// Whether the client takes a body in this encoding. One that it weighs with 0 it refuses.
fn is_accepted(headers: &HeaderMap, encoding: &str) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(encoding));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
        is_named && weight.is_ok_and(|weight| weight > 0.0)
    })
}

/// The way from the directory of `from` to `to`, both of them paths of a server.
fn relative(from: &str, to: &str) -> String {
    let (mut from, mut to): (Vec<&str>, Vec<&str>) = (from.split('/').collect(), to.split('/').collect());
    from.pop();
    let shared = from.iter().zip(&to).take_while(|(from, to)| from == to).count().min(to.len() - 1);
    let up = from.len() - shared;
    to.drain(..shared);
    format!("{}{}", "../".repeat(up), to.join("/"))
}

fn brotli(text: &str) -> io::Result<Bytes> {
    const BUFFER_BYTES: usize = 4 * 1024;
    const QUALITY_MAX: u32 = 11;
    const WINDOW_BITS: u32 = 22;
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), BUFFER_BYTES, QUALITY_MAX, WINDOW_BITS);
    encoder.write_all(text.as_bytes())?;
    encoder.flush()?;
    Ok(encoder.into_inner().into())
}

fn zstd(text: &str) -> io::Result<Bytes> {
    const LEVEL_MAX: i32 = 22;
    Ok(zstd::bulk::compress(text.as_bytes(), LEVEL_MAX)?.into())
}

fn gzip(text: &str) -> io::Result<Bytes> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text.as_bytes())?;
    Ok(encoder.finish()?.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_way_to_the_endpoint_is_relative() {
        for (from, to, way) in [
            ("/w.js", "/v1/events", "v1/events"),
            ("/a/b.js", "/v1/events", "../v1/events"),
            ("/a/b.js", "/a/c", "c"),
            ("/a/b/c.js", "/a/d", "../d"),
            ("/a/b.js", "/a", "../a"),
            ("/a/b.js", "/a/b/c", "b/c"),
            ("/m", "/e", "e"),
        ] {
            assert_eq!(relative(from, to), way, "{from} {to}");
            let base = url::Url::parse("https://a.example").and_then(|base| base.join(from)).expect("a URL");
            assert_eq!(base.join(way).expect("a URL").path(), to);
        }
    }

    #[test]
    fn both_texts_name_their_endpoint_once() {
        for text in [CORE, FULL] {
            assert_eq!(text.matches(ENDPOINT).count(), 1);
        }
        let scripts = Scripts::named("/assets/site.js", "/api/m");
        for script in [&scripts.core, &scripts.full] {
            let text = std::str::from_utf8(&script.plain).expect("text");
            assert!(text.contains("../api/m") && !text.contains(ENDPOINT), "{text}");
        }
    }

    #[test]
    fn names_with_and_without_a_version() {
        let scripts = Scripts::built_in(&config::Receive::default());
        let found = |path: &str| {
            let (script, name) = scripts.find(path)?;
            Some((std::ptr::eq(script, &raw const scripts.full), name))
        };
        assert_eq!(found("/w.js"), Some((false, Name::Plain)));
        assert_eq!(found("/w.full.js"), Some((true, Name::Plain)));
        assert_eq!(found(&scripts.core.versioned_path()), Some((false, Name::Versioned)));
        assert_eq!(found(&scripts.full.versioned_path()), Some((true, Name::Versioned)));
        assert_eq!(found("/w.00000000.js"), Some((false, Name::OtherVersion)), "of another release");
        for path in ["/w", "/w.x.js", "/w.full", "/w.0000000g.js", "/", "/w.js.js", "/x/w.js", "/w00000000.js"] {
            assert_eq!(found(path), None, "{path}");
        }
        let scripts = Scripts::named("/m", "/e");
        let found = |path: &str| scripts.find(path).map(|(_, name)| name);
        assert_eq!((found("/m"), found("/m.full"), found("/m.js")), (Some(Name::Plain), Some(Name::Plain), None));
        assert_eq!(found(&scripts.full.versioned_path()), Some(Name::Versioned));
    }

    #[test]
    fn the_smallest_body_that_the_client_takes() {
        let scripts = Scripts::built_in(&config::Receive::default());
        for (accepted, encoding) in [
            ("gzip, deflate, br, zstd", Some("br")),
            ("gzip, zstd;q=0.5", Some("zstd")),
            ("br;q=0, GZIP", Some("gzip")),
            ("identity", None),
            ("br;q=x", None),
        ] {
            let response = scripts.core.answer(&headers(&[(header::ACCEPT_ENCODING, accepted)]), Name::Plain);
            let told = response.headers().get(header::CONTENT_ENCODING).map(|value| value.to_str().expect("ASCII"));
            assert_eq!(told, encoding, "{accepted}");
        }
        let script = &scripts.full;
        for (encoding, body) in &script.encoded {
            let mut text = Vec::new();
            match *encoding {
                "br" => drop(brotli::Decompressor::new(body.as_ref(), 4096).read_to_end(&mut text).expect("br")),
                "zstd" => text = zstd::stream::decode_all(body.as_ref()).expect("zstd"),
                _ => drop(flate2::read::GzDecoder::new(body.as_ref()).read_to_end(&mut text).expect("gzip")),
            }
            assert_eq!(text, script.plain, "{encoding}");
            assert!(body.len() * 10 < script.plain.len() * 6, "{encoding}: {} bytes", body.len());
        }
    }

    #[test]
    fn who_has_it_is_told_so() {
        let script = Scripts::built_in(&config::Receive::default()).core;
        let first = script.answer(&headers(&[(header::ACCEPT_ENCODING, "br")]), Name::Versioned);
        assert_eq!(first.headers()[header::CACHE_CONTROL], KEPT_FOR_EVER);
        let tag = first.headers()[header::ETAG].to_str().expect("ASCII").to_owned();
        for (known, status) in [(tag.clone(), 304), (format!("\"x\", W/{tag}"), 304), ("\"x\"".to_owned(), 200)] {
            let mut headers = headers(&[(header::ACCEPT_ENCODING, "br")]);
            headers.insert(header::IF_NONE_MATCH, known.parse().expect("a value"));
            let response = script.answer(&headers, Name::Plain);
            assert_eq!(response.status(), status, "{known}");
            assert_eq!(response.headers()[header::CACHE_CONTROL], KEPT_FOR_AN_HOUR);
        }
    }
}
