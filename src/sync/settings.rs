//! `[sync.NAME]`: what is brought here from elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::schedule::Schedule;
pub use crate::sync::foreign::settings::Foreign;
pub use crate::sync::postgres::settings::Postgres;

/// As a schema, a name stands in every query.
const NAME_CHARS_MAX: usize = 40;
/// A person can look after so many.
const SOURCES_MAX: usize = 200;
/// Schemas that are somebody else's.
const TAKEN: [&str; 5] = ["analytics", "information_schema", "public", "sync", "weir"];

/// One source of other data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Source {
    /// A service, read by a Singer tap.
    Singer(Singer),
    /// The application's PostgreSQL, by logical replication.
    Postgres(Postgres),
    /// The application's PostgreSQL, by foreign tables.
    Foreign(Foreign),
}

impl Source {
    /// The schema of its tables.
    pub fn schema<'a>(&'a self, name: &'a str) -> &'a str {
        let set = match self {
            Self::Singer(Singer { schema, .. })
            | Self::Postgres(Postgres { schema, .. })
            | Self::Foreign(Foreign { schema, .. }) => schema,
        };
        if set.is_empty() { name } else { set }
    }

    /// Relative paths are relative to the settings file, which lies in `dir`.
    pub fn stand_beside(&mut self, dir: &Path) {
        if let Self::Singer(singer) = self
            && !singer.dir.as_os_str().is_empty()
        {
            singer.dir = dir.join(&singer.dir);
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Singer(singer) => singer.check(),
            Self::Postgres(postgres) => postgres.check(),
            Self::Foreign(foreign) => foreign.check(),
        }
    }
}

impl Singer {
    fn check(&self) -> Result<(), String> {
        Schedule::parse(&self.every, &self.timezone).map_err(|error| format!("every = {:?}: {error}", self.every))?;
        if !self.every.is_empty() && self.tap.is_empty() {
            return Err("every is set, and tap is not: what should run?".to_owned());
        }
        if self.batch_bytes_max == 0 {
            return Err("batch_bytes_max = 0: nothing could be written".to_owned());
        }
        if self.timeout_s == 0 {
            return Err("timeout_s = 0: no run could end".to_owned());
        }
        Ok(())
    }
}

/// Checks all of them.
pub fn check(sources: &BTreeMap<String, Source>) -> Result<(), ConfigError> {
    let mut schemas = HashMap::new();
    for (name, source) in sources {
        let bad = |reason| Err(ConfigError::BadSync { name: name.clone(), reason });
        if sources.len() > SOURCES_MAX {
            return bad(format!("{} sources; {SOURCES_MAX} at most", sources.len()));
        }
        let schema = source.schema(name);
        for text in [name.as_str(), schema] {
            if let Err(reason) = check_name(text) {
                return bad(reason);
            }
        }
        if let Some(other) = schemas.insert(schema, name) {
            return bad(format!("its schema, {schema}, is that of [sync.{other}], too"));
        }
        if let Err(reason) = source.check() {
            return bad(reason);
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.len() > NAME_CHARS_MAX || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err(format!("{name:?} has to begin with a letter and to be of {NAME_CHARS_MAX} characters at most"));
    }
    if !name.bytes().all(is_plain) {
        return Err(format!("{name:?} has to be of lower-case letters, digits, and _"));
    }
    if TAKEN.contains(&name) || name.starts_with("pg_") {
        return Err(format!("{name} is a schema of somebody else's: set another name, or another schema"));
    }
    Ok(())
}

/// A Singer tap, and where its rows go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Singer {
    /// The schema of its tables; empty: the source's name.
    pub schema: String,
    /// How often it runs, as `1h`, or cron's five fields; empty: only by hand.
    pub every: String,
    /// In which cron's hours are.
    pub timezone: String,
    /// The tap's own directory: its environment, `config.json`, and `catalog.json`. Empty: made by `weir sync add`, in the
    /// data directory.
    pub dir: PathBuf,
    /// The program, in the directory's environment or anywhere; empty: nothing is run, rows come by `weir sync load`.
    pub tap: String,
    /// Variables of the environment that the tap gets, besides `PATH` and others that every program does.
    pub environment: Vec<String>,
    /// A run that takes longer is ended.
    pub timeout_s: u64,
    /// What becomes of rows that the service no longer has, where a tap tells of them.
    pub on_delete: OnDelete,
    /// Records are written together up to this; they take some four times as much memory.
    pub batch_bytes_max: usize,
}

/// See [`Singer::on_delete`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDelete {
    /// They stay, with the time in `_deleted_at`.
    Mark,
    /// They go.
    Delete,
}

impl Default for Singer {
    fn default() -> Self {
        Self {
            schema: String::new(),
            every: String::new(),
            timezone: "UTC".to_owned(),
            dir: PathBuf::new(),
            tap: String::new(),
            environment: Vec::new(),
            timeout_s: 6 * 3600,
            on_delete: OnDelete::Mark,
            batch_bytes_max: 16 * 1024 * 1024,
        }
    }
}
