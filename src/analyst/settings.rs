//! `[analyst]`: what people's roles may take of the server.

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

/// Limits of people, and who makes their roles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Analyst {
    /// Who makes roles where weir's own role may not, `WEIR_ADMIN_DATABASE_URL`: for `weir analyst` alone.
    pub admin_url: String,
    /// Connections of one person at once.
    pub connections_max: u32,
    /// One statement; whoever sets it higher for themselves is ended by the watchdog.
    pub statement_timeout_s: u64,
    /// A transaction in which nothing happens.
    pub idle_in_transaction_timeout_s: u64,
    /// A whole transaction, whatever happens in it.
    pub transaction_timeout_s: u64,
    /// Waiting for a lock.
    pub lock_timeout_s: u64,
    /// PostgreSQL's `work_mem`: each sort and each hash may take it.
    pub work_mem: String,
    /// PostgreSQL's `temp_file_limit`: all temporary files of a session.
    pub temp_file_limit: String,
}

impl Default for Analyst {
    fn default() -> Self {
        Self {
            admin_url: String::new(),
            connections_max: 8,
            statement_timeout_s: 300,
            idle_in_transaction_timeout_s: 60,
            transaction_timeout_s: 900,
            lock_timeout_s: 10,
            work_mem: "64MB".to_owned(),
            temp_file_limit: "5GB".to_owned(),
        }
    }
}

impl Analyst {
    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        // In PostgreSQL 0 means no limit: nobody asks for that by these settings.
        for (setting, value) in [
            ("analyst.connections_max", u64::from(self.connections_max)),
            ("analyst.statement_timeout_s", self.statement_timeout_s),
            ("analyst.idle_in_transaction_timeout_s", self.idle_in_transaction_timeout_s),
            ("analyst.transaction_timeout_s", self.transaction_timeout_s),
            ("analyst.lock_timeout_s", self.lock_timeout_s),
        ] {
            if !(1..=1_000_000).contains(&value) {
                let reason = "from 1 to 1000000: a person needs some, and a limit";
                return Err(ConfigError::OutOfRange { setting, value: value.to_string(), reason });
            }
        }
        for (setting, value) in
            [("analyst.work_mem", &self.work_mem), ("analyst.temp_file_limit", &self.temp_file_limit)]
        {
            let unit = value.trim_start_matches(|digit: char| digit.is_ascii_digit());
            if unit.len() == value.len() || !["kB", "MB", "GB", "TB"].contains(&unit) {
                let reason = "a number with kB, MB, GB or TB, as 64MB";
                return Err(ConfigError::OutOfRange { setting, value: value.clone(), reason });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_limits() {
        Analyst::default().check().expect("the defaults are fine");
        for bad in [
            Analyst { connections_max: 0, ..Analyst::default() },
            Analyst { statement_timeout_s: 0, ..Analyst::default() },
            Analyst { work_mem: "64".to_owned(), ..Analyst::default() },
            Analyst { work_mem: "MB".to_owned(), ..Analyst::default() },
            Analyst { temp_file_limit: "1GB'; drop".to_owned(), ..Analyst::default() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
