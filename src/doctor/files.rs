//! Files that the settings name: the database of places, and the certificate.

use std::path::PathBuf;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::finding::{Finding, Level};
use crate::config::Receive;
use crate::enrich::place::Places;
use crate::receive::tls::Certificates;

const DAY_S: i64 = 86_400;
/// DB-IP and MaxMind publish anew each month or week.
const GEO_DAYS_OLD: i64 = 60;
/// ACME clients renew at thirty days, and others by hand.
const CERTIFICATE_DAYS_FEW: i64 = 14;

/// Reads the whole file.
pub fn geo(path: Option<PathBuf>, now: Timestamp) -> Finding {
    let check = "geo";
    let fetch = "weir geo fetch --dir /var/lib/weir/geo; enrich.geo_database = \"/var/lib/weir/geo\"";
    let Some(path) = path else {
        let why = "events have no country, region or city";
        return Finding::new(Level::Note, check, "enrich.geo_database is not set", why, fetch);
    };
    let shown = path.display().to_string();
    match Places::open(Some(path)) {
        Err(error) => {
            Finding::new(Level::Problem, check, error.to_string(), "a collector does not start with it", fetch)
        }
        Ok(places) => match places.built_s().map(|built_s| (now.as_second() - built_s.cast_signed()) / DAY_S) {
            None => {
                Finding::new(Level::Warning, check, format!("{shown} holds no database"), "events have no place", fetch)
            }
            Some(days) if days > GEO_DAYS_OLD => {
                let why = "networks move: the older it is, the more places are wrong";
                Finding::new(Level::Warning, check, format!("{shown} is {days} days old"), why, fetch)
            }
            Some(days) => Finding::ok(check, format!("{shown} is {days} days old")),
        },
    }
}

/// Certificate and key of the public listener.
pub fn certificate(receive: &Receive, now: Timestamp) -> Finding {
    let check = "tls";
    let (certificate, key) = match receive.tls() {
        Ok(Some(files)) => files,
        Ok(None) => {
            return Finding::ok(check, "the public listener speaks plain HTTP: a proxy in front has the certificate");
        }
        Err(error) => {
            return Finding::new(Level::Problem, check, error.to_string(), "a collector does not start", "set both");
        }
    };
    let cure = "renew it (certbot renew, or your authority), with the chain in receive.tls_certificate; weir takes it up within 10 s";
    if let Err(error) = Certificates::open(certificate.clone(), key) {
        return Finding::new(Level::Problem, check, error.to_string(), "a collector does not start with it", cure);
    }
    let shown = certificate.display();
    let read = CertificateDer::from_pem_file(&certificate).map_err(|error| error.to_string());
    let ends = read.and_then(|der| Certificate::from_der(&der).map_err(|error| error.to_string()));
    let ends_s = match ends {
        Ok(parsed) => parsed.tbs_certificate.validity.not_after.to_unix_duration().as_secs().cast_signed(),
        Err(error) => {
            let found = format!("{shown}: {error}");
            return Finding::new(Level::Warning, check, found, "until when it is valid cannot be told", cure);
        }
    };
    let days = (ends_s - now.as_second()).div_euclid(DAY_S);
    if ends_s <= now.as_second() {
        let why = "browsers and backends refuse to connect";
        Finding::new(Level::Problem, check, format!("{shown} ended {} days ago", -days), why, cure)
    } else if days < CERTIFICATE_DAYS_FEW {
        let why = "then browsers and backends refuse to connect";
        Finding::new(Level::Warning, check, format!("{shown} ends in {days} days"), why, cure)
    } else {
        Finding::ok(check, format!("{shown} is valid for {days} days"))
    }
}
