//! `[sync.NAME]` with `kind = "postgres"`: which PostgreSQL, and what of it is taken.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::pattern::Pattern;

/// More patterns than anyone looks through.
const PATTERNS_MAX: usize = 500;
/// PostgreSQL's longest name.
const SLOT_CHARS_MAX: usize = 63;
/// Less is too little for a night without weir.
const SLOT_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// A look at the publisher's catalog takes milliseconds.
const POLL_S_MIN: u64 = 1;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Postgres {
    /// The schema of its tables; empty: the source's name.
    pub schema: String,
    /// How to reach it: a PostgreSQL URL, best set as `WEIR_SYNC__NAME__URL`.
    pub url: String,
    /// A file with the URL, which nobody else may read.
    pub url_file: PathBuf,
    /// Of its slot and its publication; empty: `weir_NAME`. Two that read from one server need two.
    pub slot: String,
    /// Which tables: `public.*`, say.
    pub tables: Vec<String>,
    /// Which of them not.
    pub exclude: Vec<String>,
    /// Columns that never come here: `public.users.password`, or `*.*.email`.
    pub exclude_columns: Vec<String>,
    /// How often its tables are looked at for changes.
    pub poll_s: u64,
    /// The publisher may keep so much WAL for us before it is told in the log and in metrics.
    pub slot_bytes_alarm: u64,
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            schema: String::new(),
            url: String::new(),
            url_file: PathBuf::new(),
            slot: String::new(),
            tables: vec!["public.*".to_owned()],
            exclude: Vec::new(),
            exclude_columns: Vec::new(),
            poll_s: 10,
            slot_bytes_alarm: 1024 * 1024 * 1024,
        }
    }
}

impl Postgres {
    pub(crate) fn check(&self) -> Result<(), String> {
        self.chosen().check()?;
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if self.slot.len() > SLOT_CHARS_MAX || !self.slot.bytes().all(is_plain) {
            return Err(format!("slot = {:?}: {SLOT_CHARS_MAX} lower-case letters, digits, and _", self.slot));
        }
        if self.poll_s < POLL_S_MIN {
            return Err(format!("poll_s = {}: {POLL_S_MIN} at least", self.poll_s));
        }
        if self.slot_bytes_alarm < SLOT_BYTES_MIN {
            return Err(format!("slot_bytes_alarm = {}: {SLOT_BYTES_MIN} at least", self.slot_bytes_alarm));
        }
        Ok(())
    }

    /// The name of slot and publication.
    pub fn slot(&self, name: &str) -> String {
        if self.slot.is_empty() { format!("weir_{name}") } else { self.slot.clone() }
    }

    /// The URL, from wherever it is.
    pub fn url(&self, name: &str) -> Result<String, String> {
        read_url(name, &self.url, &self.url_file)
    }

    pub fn chosen(&self) -> Chosen<'_> {
        Chosen { tables: &self.tables, exclude: &self.exclude, exclude_columns: &self.exclude_columns }
    }
}

/// Which tables and columns are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Chosen<'a> {
    pub tables: &'a [String],
    pub exclude: &'a [String],
    pub exclude_columns: &'a [String],
}

impl Chosen<'_> {
    pub(crate) fn check(&self) -> Result<(), String> {
        for (setting, patterns, parts) in
            [("tables", self.tables, 2), ("exclude", self.exclude, 2), ("exclude_columns", self.exclude_columns, 3)]
        {
            if patterns.len() > PATTERNS_MAX {
                return Err(format!("{setting} has {} patterns; {PATTERNS_MAX} at most", patterns.len()));
            }
            for pattern in patterns {
                Pattern::parse(pattern, parts).map_err(|error| format!("{setting}: {error}"))?;
            }
        }
        if self.tables.is_empty() {
            return Err("tables is empty: nothing would be taken".to_owned());
        }
        Ok(())
    }

    /// Whether a table is asked for.
    pub fn takes(&self, schema: &str, table: &str) -> bool {
        let any = |patterns: &[String]| {
            patterns.iter().any(|text| Pattern::parse(text, 2).is_ok_and(|pattern| pattern.matches(&[schema, table])))
        };
        any(self.tables) && !any(self.exclude)
    }

    /// Whether a table is left out by its name.
    pub fn excludes(&self, schema: &str, table: &str) -> bool {
        let matches = |text: &String| Pattern::parse(text, 2).is_ok_and(|pattern| pattern.matches(&[schema, table]));
        self.exclude.iter().any(matches)
    }

    /// Whether a column of such a table is.
    pub fn takes_column(&self, schema: &str, table: &str, column: &str) -> bool {
        let matches =
            |text: &String| Pattern::parse(text, 3).is_ok_and(|pattern| pattern.matches(&[schema, table, column]));
        !self.exclude_columns.iter().any(matches)
    }
}

/// A URL from the settings, or from a file.
pub fn read_url(name: &str, url: &str, file: &PathBuf) -> Result<String, String> {
    let variable = format!("WEIR_SYNC__{}__URL", name.to_uppercase());
    if !url.is_empty() {
        return Ok(url.to_owned());
    }
    if file.as_os_str().is_empty() {
        return Err(format!("no URL is set: set {variable}, or url_file"));
    }
    let tell = |error: std::io::Error| format!("url_file {}: {error}", file.display());
    let mode = fs::metadata(file).map_err(tell)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!("url_file {} can be read by others: chmod 600 {0}", file.display()));
    }
    Ok(fs::read_to_string(file).map_err(tell)?.trim().to_owned())
}
