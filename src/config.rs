//! Every setting, with its default and its reason in one place: `weir.toml` documents them, a test proves it equal.
//!
//! Read from defaults, then `weir.toml`, then the environment: `WEIR_<TABLE>__<NAME>`, as `WEIR_RECEIVE__LISTEN`, and
//! `DATABASE_URL` and `WEIR_ADMIN_DATABASE_URL`. Checked whole before anything starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::analyst::settings::Analyst;
use crate::clickhouse::settings::ClickHouse;
use crate::console::settings::Console;
use crate::database::distribute::Distribute;
use crate::journal::Durability;
use crate::lake::settings::Lake;
use crate::receive::foreign::Family;
use crate::receive::routes;
use crate::receive::script::{self, ENDPOINT_PATH, SCRIPT_PATH};
use crate::retention::period::Period;
use crate::retention::policy;
use crate::sync::settings as sync;

/// Read if it is there.
pub const DEFAULT_FILE: &str = "weir.toml";

/// Segments in memory: small, because they go as soon as they are applied.
pub const MEMORY_SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// All settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub database: Database,
    pub receive: Receive,
    pub admin: Admin,
    pub privacy: Privacy,
    pub enrich: Enrich,
    pub journal: Journal,
    pub flush: Flush,
    pub rollup: Rollup,
    pub retention: Retention,
    pub lake: Lake,
    pub clickhouse: ClickHouse,
    pub analyst: Analyst,
    pub console: Console,
    /// Other data, each source by its name.
    pub sync: BTreeMap<String, sync::Source>,
}

/// Where the rows go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// A PostgreSQL URL, `DATABASE_URL`. `sslmode` may be `disable`, `prefer`, `require`, `verify-ca` or `verify-full`,
    /// with `sslrootcert=FILE` or the system's certificates.
    pub url: String,
    pub connect_timeout_s: u64,
    /// No statement of weir's runs longer; a lock is waited for far shorter.
    pub statement_timeout_s: u64,
    pub distribute: Distribute,
}

/// The public listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Receive {
    pub listen: SocketAddr,
    /// A PEM file with the certificate and its chain: with it, and `tls_key`, the listener speaks TLS and HTTP/2.
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub connections_max: usize,
    /// One request's body, as sent.
    pub body_bytes_max: usize,
    /// One request's body after decompression.
    pub inflated_bytes_max: usize,
    /// All requests in flight together.
    pub memory_bytes_max: usize,
    pub header_timeout_s: u64,
    /// Reading one whole body.
    pub body_timeout_s: u64,
    /// A connection without a request.
    pub idle_timeout_s: u64,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Of one write key; 0: no limit.
    pub key_requests_per_s: u32,
    /// Of one network, /24 of IPv4 or /64 of IPv6, without a secret key; 0: no limit.
    pub network_requests_per_s: u32,
    /// Whether loopback and private networks have that limit, too.
    pub limit_private_networks: bool,
    /// Whose clients are answered besides weir's own.
    pub formats: Vec<Family>,
    /// Another name for the snippet, besides `/w.js`; that of all it can do has `.full` before its end.
    pub script_path: String,
    /// Another address for what the snippet sends, besides `/v1/events`; the snippet uses this one.
    pub endpoint_path: String,
    /// On shutdown: how long requests in flight may take.
    pub drain_timeout_s: u64,
}

/// The operator's listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    pub listen: SocketAddr,
    /// What an operator shows as `Authorization: Bearer`. Empty: nothing, and the address must be a loopback one.
    pub token: String,
}

impl Admin {
    /// Shorter ones can be guessed.
    const TOKEN_CHARS_MIN: usize = 16;

    /// Refuses to be seen by everyone.
    pub fn check_address(&self, address: SocketAddr) -> Result<(), ConfigError> {
        if self.token.is_empty() && !address.ip().to_canonical().is_loopback() {
            return Err(ConfigError::AdminWithoutToken(address));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        // Anything else could not be sent in a header, and so would lock everyone out.
        let is_fit =
            self.token.len() >= Self::TOKEN_CHARS_MIN && self.token.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.token.is_empty() && !is_fit {
            return Err(ConfigError::BadToken { least: Self::TOKEN_CHARS_MIN });
        }
        Ok(())
    }
}

impl Receive {
    /// Longer ones are no names.
    const PATH_BYTES_MAX: usize = 200;

    /// Refuses paths that would not arrive as they are written, or that mean something else already.
    fn check_paths(&self) -> Result<(), ConfigError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        for (setting, path, default, scripts) in [
            ("script_path", &self.script_path, SCRIPT_PATH, &[SCRIPT_PATH][..]),
            ("endpoint_path", &self.endpoint_path, ENDPOINT_PATH, &[SCRIPT_PATH, self.script_path.as_str()]),
        ] {
            let is_segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(is_plain);
            let is_path = path.strip_prefix('/').is_some_and(|path| path.split('/').all(is_segment));
            let reason = if !is_path || path.len() > Self::PATH_BYTES_MAX {
                "it has to be a path of letters, digits, and -._~, as /assets/site.js"
            } else if path == default {
                continue;
            } else if routes::is_taken(path, &self.formats) {
                "this address has another meaning; it belongs to weir, or to one of receive.formats"
            } else if scripts.iter().any(|script| script::is_script(script, path)) {
                "the snippet is there"
            } else {
                continue;
            };
            return Err(ConfigError::BadPath { setting, path: path.clone(), reason });
        }
        Ok(())
    }

    /// The files of certificate and key, in this order; `None` for plain HTTP.
    pub fn tls(&self) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
        match (&self.tls_certificate, &self.tls_key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some((certificate.clone(), key.clone()))),
            _ => Err(ConfigError::HalfTls),
        }
    }
}

/// What of a visitor is kept. Applied before anything is written to disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Privacy {
    pub ip: IpPolicy,
    /// `Sec-GPC: 1`.
    pub global_privacy_control: SignalPolicy,
    /// `DNT: 1`.
    pub do_not_track: SignalPolicy,
    pub user_agent: UserAgentPolicy,
}

/// How much of an address is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpPolicy {
    Full,
    /// The network: /24 of IPv4, /48 of IPv6.
    Truncated,
    None,
}

/// What a visitor's wish not to be tracked does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignalPolicy {
    /// Nothing.
    Ignore,
    /// The event is counted without visitor, user, session or address.
    Anonymize,
    /// The event is not kept.
    Drop,
}

/// When the user agent's text is kept in `context`, beside what was recognised of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserAgentPolicy {
    Always,
    /// Only when no browser was recognised, so that nothing is lost.
    Unrecognized,
    Never,
}

/// Facts looked up for each event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Enrich {
    /// A newer uap-core `regexes.yaml` than the one built in.
    pub user_agent_patterns: Option<PathBuf>,
    /// User agents whose parse is remembered.
    pub user_agent_cache_entries: usize,
    /// A MaxMind or DB-IP `.mmdb` file; a directory may hold one for IPv4 and one for IPv6.
    pub geo_database: Option<PathBuf>,
}

/// The journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    pub dir: PathBuf,
    pub segment_bytes: u64,
    /// All segments; beyond it events are refused with `503`.
    pub bytes_max: u64,
    /// Requests that may wait for the disk.
    pub queue_length: usize,
    /// A segment outlives its commit by this long, in case a failover forgets the commit.
    pub retain_s: u64,
    /// Whether segments go before that when the journal is short of room, instead of refusing events.
    pub release_early: bool,
    /// When a sender is told of success.
    pub durability: Durability,
    /// Instead of `bytes_max` where nothing is written to a disk.
    pub memory_bytes_max: u64,
}

/// The way into PostgreSQL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flush {
    /// Connections that copy rows side by side.
    pub lanes: usize,
    /// How long a row may wait for company.
    pub interval_ms: u64,
    /// One transaction.
    pub bytes_max: usize,
    /// Daily partitions made ahead.
    pub partition_days_ahead: u16,
}

/// Tables that follow the events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rollup {
    /// Definitions, `*.sql`; a relative path is relative to the settings file.
    pub dir: PathBuf,
    /// Whether the rollups that come with weir are made.
    pub shipped: bool,
    /// Rollups that are computed at once, each on a connection of its own; 0: this collector computes none.
    pub concurrency: usize,
    /// One statement of a run: a bucket, or a whole materialized view.
    pub statement_timeout_s: u64,
}

impl Default for Rollup {
    fn default() -> Self {
        Self { dir: PathBuf::from("rollups"), shipped: true, concurrency: 2, statement_timeout_s: 600 }
    }
}

/// How long events are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// By whole days of `occurred_at`.
    pub events: Period,
    /// The first that names an event's source and kind decides instead.
    pub rules: Vec<RetentionRule>,
    /// Where a day's events are written as Parquet before they go.
    pub archive_dir: Option<PathBuf>,
    /// Whether days that are over get indexes on `visitor_id` and `user_id`.
    pub person_indexes: bool,
}

/// How long the events of a source, of a kind, or of both are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    pub keep: Period,
}

impl Retention {
    /// So many rules can be read by a person; each is a pass over a day's events.
    const RULES_MAX: usize = 100;

    fn check(&self) -> Result<(), ConfigError> {
        if self.rules.len() > Self::RULES_MAX {
            return Err(ConfigError::OutOfRange {
                setting: "retention.rules",
                value: format!("a list of {}", self.rules.len()),
                reason: "a hundred at most",
            });
        }
        if let Some(place) = self.rules.iter().position(|rule| rule.source.is_none() && rule.kind.is_none()) {
            return Err(ConfigError::BareRule { place: place + 1 });
        }
        match policy::shadowed(&self.rules) {
            Some((place, earlier)) => Err(ConfigError::ShadowedRule { place: place + 1, earlier: earlier + 1 }),
            None => Ok(()),
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { events: Period::Forever, rules: Vec::new(), archive_dir: None, person_indexes: true }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self { url: String::new(), connect_timeout_s: 5, statement_timeout_s: 60, distribute: Distribute::None }
    }
}

impl Default for Receive {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            tls_certificate: None,
            tls_key: None,
            connections_max: 10_000,
            body_bytes_max: 1024 * 1024,
            inflated_bytes_max: 8 * 1024 * 1024,
            memory_bytes_max: 64 * 1024 * 1024,
            header_timeout_s: 5,
            body_timeout_s: 15,
            idle_timeout_s: 75,
            trusted_proxies: Vec::new(),
            key_requests_per_s: 100_000,
            network_requests_per_s: 1_000,
            limit_private_networks: false,
            formats: Family::USUAL.to_vec(),
            script_path: SCRIPT_PATH.to_owned(),
            endpoint_path: ENDPOINT_PATH.to_owned(),
            drain_timeout_s: 10,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8081)), token: String::new() }
    }
}

impl Default for Privacy {
    fn default() -> Self {
        Self {
            ip: IpPolicy::Truncated,
            global_privacy_control: SignalPolicy::Anonymize,
            do_not_track: SignalPolicy::Ignore,
            user_agent: UserAgentPolicy::Unrecognized,
        }
    }
}

impl Default for Enrich {
    fn default() -> Self {
        Self { user_agent_patterns: None, user_agent_cache_entries: 10_000, geo_database: None }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("weir-data/journal"),
            segment_bytes: 64 * 1024 * 1024,
            bytes_max: 8 * 1024 * 1024 * 1024,
            queue_length: 8192,
            retain_s: 15 * 60,
            release_early: true,
            durability: Durability::Journal,
            memory_bytes_max: 64 * 1024 * 1024,
        }
    }
}

impl Default for Flush {
    fn default() -> Self {
        Self { lanes: 2, interval_ms: 100, bytes_max: 4 * 1024 * 1024, partition_days_ahead: 7 }
    }
}

/// A setting is missing, unknown, or out of range.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{0}")]
    Unreadable(Box<figment::Error>),
    #[error("{setting} is {value}: {reason}")]
    OutOfRange { setting: &'static str, value: String, reason: &'static str },
    #[error(
        "admin.listen is {0}, which others can reach, and admin.token is empty: set a token (WEIR_ADMIN__TOKEN, from \
         `openssl rand -hex 32`, say), or listen on 127.0.0.1"
    )]
    AdminWithoutToken(SocketAddr),
    #[error("receive.{setting} is {path:?}: {reason}")]
    BadPath { setting: &'static str, path: String, reason: &'static str },
    #[error("rule {place} of retention.rules names neither a source nor a kind: that is retention.events")]
    BareRule { place: usize },
    #[error(
        "rule {place} of retention.rules never decides, because rule {earlier} takes all that it names: put it first"
    )]
    ShadowedRule { place: usize, earlier: usize },
    #[error("[sync.{name}]: {reason}")]
    BadSync { name: String, reason: String },
    #[error("receive.tls_certificate and receive.tls_key go together: one of them is missing")]
    HalfTls,
    // Without the token: errors are printed and logged.
    #[error("admin.token has to be at least {least} characters of ASCII, without spaces")]
    BadToken { least: usize },
}

impl Config {
    /// Reads defaults, then `file` (`weir.toml` if there is one), then the environment.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        figment = match file {
            Some(file) => figment.merge(Toml::file_exact(file)),
            // Here only: a file in a parent directory would be a surprise.
            None if Path::new(DEFAULT_FILE).is_file() => figment.merge(Toml::file_exact(DEFAULT_FILE)),
            None => figment,
        };
        // Names without `__` are switches of commands and scripts, not settings.
        let settings = Env::prefixed("WEIR_").filter(|name| name.as_str().contains("__")).split("__");
        figment = figment.merge(settings).merge(Env::raw().only(&["DATABASE_URL"]).map(|_| "database.url".into()));
        let admin = Env::raw().only(&["WEIR_ADMIN_DATABASE_URL"]).map(|_| "analyst.admin_url".into());
        figment = figment.merge(admin);
        let mut config: Self = figment.extract().map_err(|error| ConfigError::Unreadable(Box::new(error)))?;
        if let Some(beside) = file.and_then(Path::parent) {
            config.rollup.dir = beside.join(&config.rollup.dir);
            config.sync.values_mut().for_each(|source| source.stand_beside(beside));
        }
        Ok(config)
    }

    /// Taps whose directory is not set have one in the data directory.
    pub fn place_taps(&mut self, data_dir: &Path) {
        for (name, source) in &mut self.sync {
            if let sync::Source::Singer(singer) = source
                && singer.dir.as_os_str().is_empty()
            {
                singer.dir = data_dir.join("sync").join(name);
            }
        }
    }

    /// Checks what types cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        let at_least = |setting, value: u64, least: u64, reason| {
            if value < least {
                Err(ConfigError::OutOfRange { setting, value: value.to_string(), reason })
            } else {
                Ok(())
            }
        };
        self.admin.check()?;
        self.receive.tls()?;
        self.receive.check_paths()?;
        self.retention.check()?;
        self.lake.check()?;
        self.clickhouse.check()?;
        self.analyst.check()?;
        sync::check(&self.sync)?;
        at_least("console.session_hours", self.console.session_hours, 1, "nobody would stay signed in")?;
        at_least("console.statement_timeout_s", self.console.statement_timeout_s, 1, "no query would end in time")?;
        at_least("console.result_rows_max", self.console.result_rows_max, 1, "every result would be cut")?;
        at_least("console.result_bytes_max", self.console.result_bytes_max, 1024, "every result would be cut")?;
        at_least("receive.connections_max", self.receive.connections_max as u64, 1, "nobody could connect")?;
        at_least("receive.body_bytes_max", self.receive.body_bytes_max as u64, 1024, "no event would fit")?;
        at_least(
            "receive.memory_bytes_max",
            self.receive.memory_bytes_max as u64,
            4 * self.receive.inflated_bytes_max as u64,
            "it must hold four inflated bodies, receive.inflated_bytes_max",
        )?;
        at_least(
            "journal.segment_bytes",
            self.journal.segment_bytes,
            1024 * 1024,
            "segments under 1 MB cost more than they hold",
        )?;
        at_least("journal.queue_length", self.journal.queue_length as u64, 1, "no request could wait")?;
        at_least(
            "journal.bytes_max",
            self.journal.bytes_max,
            2 * self.journal.segment_bytes * self.flush.lanes as u64,
            "it must hold two segments a lane",
        )?;
        at_least(
            "journal.memory_bytes_max",
            self.journal.memory_bytes_max,
            2 * MEMORY_SEGMENT_BYTES * self.flush.lanes as u64,
            "it must hold two segments of 4 MB a lane",
        )?;
        at_least("flush.lanes", self.flush.lanes as u64, 1, "nothing would reach PostgreSQL")?;
        at_least("flush.bytes_max", self.flush.bytes_max as u64, 64 * 1024, "transactions would be too small")?;
        at_least(
            "flush.partition_days_ahead",
            u64::from(self.flush.partition_days_ahead),
            1,
            "midnight would be late",
        )?;
        at_least("rollup.statement_timeout_s", self.rollup.statement_timeout_s, 1, "no bucket would be computed")?;
        at_least(
            "enrich.user_agent_cache_entries",
            self.enrich.user_agent_cache_entries as u64,
            1,
            "nothing would be remembered",
        )
    }
}

#[cfg(test)]
mod tests;
