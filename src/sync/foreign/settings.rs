//! `[sync.NAME]` with `kind = "foreign"`: which PostgreSQL, and what of it is seen.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::schedule::Schedule;
use crate::sync::postgres::settings::{Chosen, read_url};

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Foreign {
    /// The schema of its tables; empty: the source's name.
    pub schema: String,
    /// How to reach it: a PostgreSQL URL, best set as `WEIR_SYNC__NAME__URL`.
    pub url: String,
    /// A file with the URL, which nobody else may read.
    pub url_file: PathBuf,
    /// Which tables: `public.*`, say.
    pub tables: Vec<String>,
    /// Which of them not.
    pub exclude: Vec<String>,
    /// Columns that are not seen here.
    pub exclude_columns: Vec<String>,
    /// Whether its rows are copied here, instead of being read there with each query.
    pub snapshot: bool,
    /// How often they are copied, as `1h`, or cron's five fields; empty: only by hand.
    pub every: String,
    /// In which cron's hours are.
    pub timezone: String,
    /// How often its tables are looked at for changes.
    pub poll_s: u64,
}

impl Default for Foreign {
    fn default() -> Self {
        Self {
            schema: String::new(),
            url: String::new(),
            url_file: PathBuf::new(),
            tables: vec!["public.*".to_owned()],
            exclude: Vec::new(),
            exclude_columns: Vec::new(),
            snapshot: false,
            every: String::new(),
            timezone: "UTC".to_owned(),
            poll_s: 60,
        }
    }
}

impl Foreign {
    pub(crate) fn check(&self) -> Result<(), String> {
        self.chosen().check()?;
        Schedule::parse(&self.every, &self.timezone).map_err(|error| format!("every = {:?}: {error}", self.every))?;
        if !self.every.is_empty() && !self.snapshot {
            return Err("every is set, and snapshot is not: nothing is copied then".to_owned());
        }
        if self.poll_s == 0 {
            return Err("poll_s = 0: 1 at least".to_owned());
        }
        Ok(())
    }

    pub fn chosen(&self) -> Chosen<'_> {
        Chosen { tables: &self.tables, exclude: &self.exclude, exclude_columns: &self.exclude_columns }
    }

    /// The URL, from wherever it is.
    pub fn url(&self, name: &str) -> Result<String, String> {
        read_url(name, &self.url, &self.url_file)
    }
}
