//! Ends what people's sessions must not do for long, whatever they have set for themselves.
//!
//! `statement_timeout` and its kin are defaults: `set statement_timeout = 0` is anybody's right. A transaction that idles keeps
//! a lock on what it has read, and so keeps partitions from being made; an advisory lock of weir's own keeps collectors from
//! working, and any role may take it. So every few seconds somebody looks.

use std::collections::HashSet;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::types::Type;

use super::hands::{PERSONS_LOCK, Parameter};
use super::people::database_of;
use super::settings::Analyst;
use super::usage::USAGE_LOCK;
use super::{AnalystError, names};
use crate::clickhouse::CLICKHOUSE_LOCK;
use crate::database::{advisory, migrate};
use crate::flush::partitions::PARTITION_LOCK;
use crate::lake::LAKE_LOCK;
use crate::metrics::Metrics;
use crate::retention::RETENTION_LOCK;
use crate::retention::index::INDEX_LOCK;
use crate::rollup::dispatch::DISPATCH_LOCK;
use crate::rollup::runner::RUNNER_LOCK;
use crate::sync::postgres::runner::LOCK as REPLICATION_LOCK;
use crate::sync::singer::run::SOURCE_LOCKS;

const WATCH: &str = include_str!("sql/watch.sql");
const HAS_PEOPLE: &str = "
    select exists (select from pg_catalog.pg_auth_members m join pg_catalog.pg_roles g on g.oid = m.roleid
                    where g.rolname = $1 and coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true))";
/// Who watches: "wdog" in ASCII.
const WATCH_LOCK: i64 = 0x7764_6f67;
/// What a person's own limits end is left to them.
const GRACE_S: u64 = 5;
/// A look takes milliseconds.
const TIMEOUT_MS: u32 = 5_000;

/// Every advisory lock by which collectors agree.
const LOCKS: [i64; 12] = [
    migrate::MIGRATION_LOCK,
    INDEX_LOCK,
    LAKE_LOCK,
    CLICKHOUSE_LOCK,
    RETENTION_LOCK,
    DISPATCH_LOCK,
    RUNNER_LOCK,
    REPLICATION_LOCK,
    PARTITION_LOCK,
    PERSONS_LOCK,
    USAGE_LOCK,
    WATCH_LOCK,
];
/// The upper half of those of sources.
const SOURCES_UPPER: i64 = SOURCE_LOCKS >> 32;

/// Why a session is ended, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Statement,
    /// It was cancelled, and goes on.
    Stuck,
    IdleInTransaction,
    Transaction,
    AdvisoryLock,
}

impl Reason {
    fn of(name: &str) -> Option<Self> {
        match name {
            "statement" => Some(Self::Statement),
            "idle_in_transaction" => Some(Self::IdleInTransaction),
            "transaction" => Some(Self::Transaction),
            "advisory_lock" => Some(Self::AdvisoryLock),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Stuck => "stuck",
            Self::IdleInTransaction => "idle_in_transaction",
            Self::Transaction => "transaction",
            Self::AdvisoryLock => "advisory_lock",
        }
    }
}

/// See the module.
pub struct Watchdog {
    settings: Analyst,
    /// Statements that the last look cancelled.
    cancelled: HashSet<String>,
    /// Roles of which it was told that they cannot be watched.
    unseen: HashSet<String>,
}

/// A session beyond its limits.
struct Beyond {
    pid: i32,
    role: String,
    reason: Reason,
    statement: String,
}

impl Watchdog {
    pub fn new(settings: Analyst) -> Self {
        Self { settings, cancelled: HashSet::new(), unseen: HashSet::new() }
    }

    /// Looks once; false: there is nobody to look after.
    pub async fn look(&mut self, client: &mut ClientWrapper, metrics: &Metrics) -> Result<bool, AnalystError> {
        let group = names::analysts(&database_of(client).await?);
        if !client.query_typed_one(HAS_PEOPLE, &[(&group, Type::TEXT)]).await?.try_get::<_, bool>(0)? {
            return Ok(false);
        }
        let Some(beyond) = self.find(client, &group).await? else { return Ok(true) };
        let cancelled_before = std::mem::take(&mut self.cancelled);
        for session in beyond {
            let Beyond { pid, role, mut reason, statement } = session;
            if reason == Reason::Statement && cancelled_before.contains(&statement) {
                reason = Reason::Stuck;
            }
            let sql = if reason == Reason::Statement {
                self.cancelled.insert(statement);
                "select pg_catalog.pg_cancel_backend($1)"
            } else {
                "select pg_catalog.pg_terminate_backend($1)"
            };
            match client.query_typed_one(sql, &[(&pid, Type::INT4)]).await {
                Ok(_) => {
                    metrics.analyst_cancelled(reason.name());
                    tracing::warn!(role, reason = reason.name(), "a person's session went beyond its limits: ended");
                }
                Err(error) => tracing::warn!(role, %error, "a person's session could not be ended"),
            }
        }
        Ok(true)
    }

    /// Sessions beyond their limits; `None`: another process looks at this moment.
    async fn find(&mut self, client: &mut ClientWrapper, group: &str) -> Result<Option<Vec<Beyond>>, AnalystError> {
        let transaction = client.transaction().await?;
        transaction
            .batch_execute(&format!(
                "set local search_path = pg_catalog; set local lock_timeout = {TIMEOUT_MS};
                 set local statement_timeout = {TIMEOUT_MS}"
            ))
            .await?;
        if !advisory::try_take(&transaction, WATCH_LOCK).await? {
            return Ok(None);
        }
        let seconds = |limit: u64| limit as f64;
        let statement_s = seconds(self.settings.statement_timeout_s + GRACE_S);
        let idle_s = seconds(self.settings.idle_in_transaction_timeout_s + GRACE_S);
        let transaction_s = seconds(self.settings.transaction_timeout_s + GRACE_S);
        let locks = LOCKS.to_vec();
        let parameters: [Parameter<'_>; 6] = [
            (&group, Type::TEXT),
            (&statement_s, Type::FLOAT8),
            (&idle_s, Type::FLOAT8),
            (&transaction_s, Type::FLOAT8),
            (&locks, Type::INT8_ARRAY),
            (&SOURCES_UPPER, Type::INT8),
        ];
        let mut beyond = Vec::new();
        for row in transaction.query_typed(WATCH, &parameters).await? {
            let Some(reason) = row.try_get::<_, Option<&str>>("reason")? else { continue };
            let role: String = row.try_get("role")?;
            match Reason::of(reason) {
                Some(reason) => {
                    beyond.push(Beyond {
                        pid: row.try_get("pid")?,
                        role,
                        reason,
                        statement: row.try_get("statement")?,
                    });
                }
                None if self.unseen.insert(role.clone()) => tracing::warn!(
                    role,
                    "a person's session cannot be watched: weir's role is no member of theirs; `weir analyst add {role}` mends it"
                ),
                None => {}
            }
        }
        transaction.commit().await?;
        Ok(Some(beyond))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Numbers of advisory locks in the source, wherever they stand.
    fn declared(dir: &Path, found: &mut Vec<i64>) {
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                declared(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("readable");
                let is_lock = |line: &&str| line.contains("const ") && line.contains("LOCK: i64 = 0x");
                // (Of which this line itself is none.)
                for line in text.lines().filter(is_lock).filter(|line| !line.contains("is_lock")) {
                    let digits: String = line.split("0x").nth(1).expect("a number").replace(['_', ';'], "");
                    found.push(i64::from_str_radix(&digits, 16).expect("a number"));
                }
            }
        }
    }

    #[test]
    fn every_lock_is_known_and_no_two_are_equal() {
        let mut found = Vec::new();
        declared(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut found);
        found.sort_unstable();
        let mut known = LOCKS.to_vec();
        known.sort_unstable();
        known.dedup();
        assert_eq!(found, known);
    }
}
