//! `[clickhouse]`: where the events are followed.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::config::ConfigError;

/// A `ClickHouse` that has what PostgreSQL has.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClickHouse {
    /// `http://HOST:8123` or `https://HOST:8443`; empty: there is none.
    pub url: String,
    /// It has to be there.
    pub database: String,
    /// Made by weir where it is missing.
    pub table: String,
    pub user: String,
    /// Best set as `WEIR_CLICKHOUSE__PASSWORD`.
    pub password: String,
    /// How long rows may gather for one insert.
    pub interval_ms: u64,
}

/// Settings are logged.
impl std::fmt::Debug for ClickHouse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url, database, table, user, password: _, interval_ms } = self;
        write!(f, "ClickHouse {{ {url:?}, {database:?}, {table:?}, {user:?}, {interval_ms} ms }}")
    }
}

impl Default for ClickHouse {
    fn default() -> Self {
        Self {
            url: String::new(),
            database: "default".to_owned(),
            table: "events".to_owned(),
            user: "default".to_owned(),
            password: String::new(),
            interval_ms: 1_000,
        }
    }
}

impl ClickHouse {
    /// More inserts a second than this make more parts than are merged.
    const INTERVAL_MS_MIN: u64 = 50;
    /// Much less than flushes name their rows without being asked to.
    const INTERVAL_MS_MAX: u64 = 60_000;
    /// Longer names are none.
    const NAME_BYTES_MAX: usize = 100;

    /// Which table it is, however it is reached.
    pub fn target(&self) -> String {
        let Self { url, database, table, .. } = self;
        format!("{} {database}.{table}", url.trim_end_matches('/'))
    }

    pub fn is_set(&self) -> bool {
        !self.url.is_empty()
    }

    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |setting, value: String, reason| Err(ConfigError::OutOfRange { setting, value, reason });
        if self.interval_ms < Self::INTERVAL_MS_MIN {
            let reason = "ClickHouse merges fewer parts than that would make: 50 at least";
            return refuse("clickhouse.interval_ms", self.interval_ms.to_string(), reason);
        }
        if self.interval_ms > Self::INTERVAL_MS_MAX {
            let reason = "by then whoever follows would count as away: 60000 at most";
            return refuse("clickhouse.interval_ms", self.interval_ms.to_string(), reason);
        }
        for (setting, name) in [("clickhouse.database", &self.database), ("clickhouse.table", &self.table)] {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let is_name = name.bytes().all(is_plain) && !name.starts_with(|first: char| first.is_ascii_digit());
            if name.is_empty() || name.len() > Self::NAME_BYTES_MAX || !is_name {
                return refuse(setting, format!("{name:?}"), "a name of letters, digits and _");
            }
        }
        if !self.is_set() {
            return Ok(());
        }
        let url = Url::parse(&self.url).ok();
        let is_plain = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
        };
        if !url.as_ref().is_some_and(is_plain) {
            // Without the value: it may hold a password.
            let reason = "http://HOST:PORT or https://HOST:PORT, with user and password in settings of their own";
            return refuse("clickhouse.url", "another thing".to_owned(), reason);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused() {
        let check = |change: fn(&mut ClickHouse)| {
            let mut settings = ClickHouse { url: "http://127.0.0.1:8123".to_owned(), ..ClickHouse::default() };
            change(&mut settings);
            settings.check().is_ok()
        };
        assert!(check(|_| {}));
        assert!(check(|settings| settings.url.clear()));
        assert!(!check(|settings| settings.url = "http://weir:secret@host:8123".to_owned()));
        assert!(!check(|settings| settings.url = "host:8123".to_owned()));
        assert!(!check(|settings| settings.table = "a b".to_owned()));
        assert!(!check(|settings| settings.database = "1a".to_owned()));
        assert!(!check(|settings| settings.interval_ms = 10));
        assert!(check(|settings| settings.interval_ms = 60_000));
        assert!(!check(|settings| settings.interval_ms = 60_001));
    }

    #[test]
    fn the_password_is_not_shown() {
        let settings = ClickHouse { password: "hidden".to_owned(), ..ClickHouse::default() };
        assert!(!format!("{settings:?}").contains("hidden"));
    }
}
