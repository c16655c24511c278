//! `[console]` of the settings.

use serde::{Deserialize, Serialize};

/// The website for colleagues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Console {
    /// Whether there is one.
    pub enabled: bool,
    /// As others reach it, for links; empty: as the browser names it.
    pub public_url: String,
    /// Where people log in; empty: `database.url`.
    pub database_url: String,
    /// Without a request, until one signs in again.
    pub session_hours: u64,
    /// A session's password is tried again so often: wherever it was changed, the session ends.
    pub password_check_s: u64,
    /// No run of the console's takes longer.
    pub statement_timeout_s: u64,
    /// At the same time, of everyone.
    pub queries_max: usize,
    /// Of one result.
    pub result_rows_max: u64,
    /// Of one result, before compression.
    pub result_bytes_max: u64,
}

impl Default for Console {
    fn default() -> Self {
        Self {
            enabled: true,
            public_url: String::new(),
            database_url: String::new(),
            session_hours: 12,
            password_check_s: 60,
            statement_timeout_s: 300,
            queries_max: 4,
            result_rows_max: 100_000,
            result_bytes_max: 32 * 1024 * 1024,
        }
    }
}
