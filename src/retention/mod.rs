//! Retention: what is older than it may be kept goes; and persons who ask for it are forgotten.
//!
//! One collector at a time does it ([`advisory::elect`]). A run:
//!
//! ```text
//! raise weir.frozen        rollups never recompute what may lack events from now on
//! for each day that is over whole:
//!     (wait until the lake has all of it, where there is one: another run finds it there)
//!     detach               one transaction: out of analytics.events, into weir.expired_YYYYMMDD_<random>
//!     archive              to Parquet, where that is set
//!     drop                 one transaction: counted, booked, dropped
//! for each day of which some rules are over:
//!     delete               8 MB of the heap a transaction; what becomes empty is dropped
//! index                    what finds persons, on days that are over
//! ```
//!
//! Where rollups leave no moment to raise the floor, days before the old one go nevertheless.
//!
//! Each step is found done or undone in the catalog: whatever is cut short, the next run goes on with it.
//!
//! `DETACH CONCURRENTLY` cannot be used beside a default partition, which is kept because a row that finds no other must not
//! be refused. So detaching waits for the table's exclusive lock, two seconds at most, in which flushes queue behind it;
//! where long queries hold it off, it tries again later.

pub mod archive;
mod expire;
pub mod forget;
pub(crate) mod index;
pub mod lake;
pub mod listing;
pub mod period;
pub mod policy;
mod shards;
mod sweep;
pub mod task;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Transaction};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::clock::Clock;
use crate::config;
use crate::database::{Database, DatabaseError, advisory};
use crate::entropy::Entropy;
use crate::flush::partitions::{LOCK_TIMEOUT_MS, Partitions};
use crate::metrics::RetentionMetrics;
use archive::ArchiveError;
use listing::Leaf;
use policy::Policy;

const NOTE: &str = include_str!("sql/runs_note.sql");
const TRIM: &str = include_str!("sql/runs_trim.sql");
const RAISE: &str = "update weir.frozen set before = $1::text::timestamptz where before < $1::text::timestamptz";
const DATABASE_NOW: &str = "select (extract(epoch from now()) * 1000000)::bigint";
const IS_RAISED: &str = "select before >= $1::text::timestamptz as raised from weir.frozen";

/// A day that has begun counts as one that the floor has not reached.
const OLD_FLOOR: &str =
    "select to_char(before at time zone 'UTC', 'YYYY-MM-DD') as day from weir.frozen where isfinite(before)";
const HOLD_REFRESHES: &str = "select from weir.rollups where kind = 'materialized' for no key update";
const FLOOR_TABLE: &str = "weir.frozen";

/// Advisory lock of whoever removes events: "rete" in ASCII.
pub(crate) const RETENTION_LOCK: i64 = 0x7265_7465;
/// Rollups that are being computed may take this long before the floor is raised; other rollups queue meanwhile.
const FLOOR_TIMEOUT_MS: u32 = 10_000;
/// Clocks that are right differ by seconds; what is so far apart is a clock that was never set.
const CLOCKS_APART_MAX: SignedDuration = SignedDuration::from_hours(24);
/// Whoever sits before a terminal waits so long for another's run.
const ELECTION_WAIT: Duration = Duration::from_secs(30);
/// Reading one whole partition: to count it, or to look for a person.
const STATEMENT_TIMEOUT_MS: u32 = 15 * 60 * 1_000;
/// Attempts to get a lock on the events table, and the pause between them, in which flushes catch up.
const LOCK_ATTEMPTS_MAX: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_secs(2);
/// Rows kept in `weir.retention_runs`: some years of days.
const RUNS_KEPT_MAX: i64 = 10_000;
/// One that works, and one that holds the lock.
pub const CONNECTIONS: usize = 2;

/// Everything that removing needs.
pub struct Upkeep {
    /// Of [`CONNECTIONS`] connections.
    pub database: Database,
    pub settings: config::Retention,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// What the flush believes to exist.
    pub partitions: Arc<Partitions>,
    pub metrics: RetentionMetrics,
    /// Whether the settings name a lake, for which days wait. They also do for one that the database says is in use.
    pub has_lake: bool,
}

/// Why not everything that is over was removed. What was removed is booked.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    #[error("{0}")]
    Database(#[from] DatabaseError),
    #[error(
        "{table} is in use: {LOCK_ATTEMPTS_MAX} attempts got no lock in it; long queries or open transactions hold it (pg_stat_activity names them)"
    )]
    Busy { table: String },
    #[error(
        "rollups are computed all the time: none of {LOCK_ATTEMPTS_MAX} attempts of {FLOOR_TIMEOUT_MS} ms could tell them that \
         days before {day} go (weir.frozen); days go that were told before"
    )]
    Floor { day: Date },
    #[error("no index could be made on {table} within half an hour: some transaction is open for longer than that")]
    NoIndex { table: String },
    #[error(
        "the clock here says {here}, and the database's {there}: more than a day apart, so nothing is removed before the wrong \
         one is set right"
    )]
    Clocks { here: Timestamp, there: Timestamp },
    #[error("{table} went to another place while it was counted: run the same command again, it goes on")]
    Moved { table: String },
    #[error("another process removes events at this moment: try again later")]
    Elsewhere,
    #[error(
        "{ids} ids belong to this person, more than {most}: that is no one person; look at analytics.identities, and forget \
         its visitors one by one"
    )]
    TooManyIds { ids: usize, most: usize },
    #[error("archive: {0}")]
    Archive(#[from] ArchiveError),
    #[error(
        "{table} was to be archived before it is dropped, and retention.archive_dir is not set here: set it as on the \
         collector that detached the table, or drop the table yourself"
    )]
    NoArchive { table: String },
    #[error("{table} has {rows} rows and its archive {archived}: it is kept, and archived again next time")]
    Miscounted { table: String, rows: i64, archived: u64 },
    #[error("{table} has {rows} rows and the lake {kept}: it is kept until the lake has them")]
    NotInLake { table: String, rows: i64, kept: i64 },
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[from] std::io::Error),
}

impl From<tokio_postgres::Error> for RetentionError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

impl RetentionError {
    fn is_lock_timeout(&self) -> bool {
        self.has_state(&[SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED])
    }

    fn has_state(&self, states: &[SqlState]) -> bool {
        let Self::Database(error) = self else { return false };
        error.sqlstate().is_some_and(|state| states.contains(state))
    }
}

/// One thing that was done, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub action: Action,
    pub day: Date,
    /// Whose time was over.
    pub rule: String,
    pub rows: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Archived,
    Dropped,
    Deleted,
}

impl Action {
    /// As `weir.retention_runs` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Archived => "archived",
            Self::Dropped => "dropped",
            Self::Deleted => "deleted",
        }
    }
}

impl Upkeep {
    /// The day by which events are over: by the clock here or the database's, whichever is behind. A clock that is ahead would
    /// remove what is to be kept.
    pub async fn today(&self, client: &ClientWrapper) -> Result<Date, RetentionError> {
        let there_us: i64 = client.query_typed_one(DATABASE_NOW, &[]).await?.try_get(0)?;
        // PostgreSQL's times all fit, but infinity, which no clock says.
        let (here, there) = (self.clock.now(), Timestamp::from_microsecond(there_us).unwrap_or(Timestamp::MIN));
        if here.duration_since(there).abs() > CLOCKS_APART_MAX {
            return Err(RetentionError::Clocks { here, there });
        }
        Ok(here.min(there).to_zoned(TimeZone::UTC).date())
    }

    /// Removes all that is over; `None`: another process is at it.
    pub async fn run(&self) -> Result<Option<Vec<Step>>, RetentionError> {
        let mut guard = self.database.client().await?;
        let Some(elected) = advisory::elect(&mut guard, RETENTION_LOCK).await? else { return Ok(None) };
        let mut client = self.database.client().await?;
        let today = self.today(&client).await?;
        let policy = Policy::new(&self.settings, today);
        let mut run =
            Run { upkeep: self, client: &mut client, elected: &elected, started: String::new(), steps: vec![] };
        run.started = run.client.query_typed_one("select now()::text", &[]).await?.try_get(0)?;
        let result = run.all(&policy).await;
        let steps = run.steps;
        // Nothing was written in it: its end gives up the lock.
        let _ = elected.rollback().await;
        // A day that is held by others is no reason to leave the rest without. Making them may wait for long queries: whoever
        // removes, or forgets a person, does not wait with it.
        let indexed = self.index(&mut guard, &mut client, today).await;
        result.and(indexed).map(|()| Some(steps))
    }

    /// What a run would remove now. Reads the days of which some rules are over.
    pub async fn plan(&self) -> Result<Vec<Step>, RetentionError> {
        let mut client = self.database.client().await?;
        let policy = Policy::new(&self.settings, self.today(&client).await?);
        let mut steps = Vec::new();
        for leaf in listing::leaves(&client, true).await? {
            let Some(day) = leaf.day else { continue };
            if leaf.is_detached() || policy.whole_since().is_some_and(|since| day < since) {
                let rows = leaf.rows.unwrap_or_default();
                steps.push(Step { action: Action::Dropped, day, rule: policy::REST.to_owned(), rows });
            } else {
                steps.extend(sweep::plan(&mut client, &policy, &leaf, day).await?);
            }
        }
        Ok(steps)
    }
}

/// A run under way.
struct Run<'a> {
    upkeep: &'a Upkeep,
    client: &'a mut ClientWrapper,
    elected: &'a Transaction<'a>,
    /// By the database's clock: the name of the run.
    started: String,
    steps: Vec<Step>,
}

impl Run<'_> {
    async fn all(&mut self, policy: &Policy) -> Result<(), RetentionError> {
        let removed = self.remove(policy).await;
        self.trim().await?;
        removed
    }

    async fn remove(&mut self, policy: &Policy) -> Result<(), RetentionError> {
        let leaves = listing::leaves(self.client, false).await?;
        for leaf in leaves.iter().filter(|leaf| leaf.is_detached()) {
            self.finish(leaf).await?;
        }
        let Some(wanted) = policy.frozen_before() else { return Ok(()) };
        let raised = raise_floor(self.client, wanted).await;
        // Before the old floor nothing is recomputed either: these days need not wait for the new one.
        let floor =
            if raised.is_ok() { Some(wanted) } else { old_floor(self.client).await?.map(|old| old.min(wanted)) };
        for leaf in leaves.iter().filter(|leaf| !leaf.is_detached()) {
            let Some(day) = leaf.day.filter(|day| floor.is_some_and(|floor| *day < floor)) else { continue };
            self.still_elected().await?;
            if policy.whole_since().is_some_and(|since| day < since) {
                if !self.is_in_lake(day, None).await? {
                    continue;
                }
                if let Some(detached) = self.detach(leaf, day).await? {
                    self.finish(&detached).await?;
                }
            } else {
                self.sweep(policy, leaf, day).await?;
            }
        }
        raised
    }

    /// Whoever lost the lock, with its connection, must not go on beside the next one.
    async fn still_elected(&self) -> Result<(), RetentionError> {
        Ok(self.elected.batch_execute("select 1").await?)
    }

    async fn trim(&self) -> Result<(), RetentionError> {
        self.client.execute_typed(TRIM, &[(&RUNS_KEPT_MAX, Type::INT8)]).await?;
        Ok(())
    }

    fn archive_dir(&self) -> Option<PathBuf> {
        self.upkeep.settings.archive_dir.clone()
    }

    /// Of a step that has been committed.
    fn done(&mut self, leaf: &Leaf, action: Action, day: Date, rule: &str, rows: i64) {
        let (table, name) = (leaf.name.as_str(), action.name());
        tracing::info!(table, rule, rows, "events {name}: older than they are to be kept");
        if action != Action::Archived {
            self.upkeep.metrics.removed.increment(rows.cast_unsigned());
        }
        self.steps.push(Step { action, day, rule: rule.to_owned(), rows });
    }
}

/// As [`advisory::elect`] to remove events, for a person who waits: a run that is under way may take a moment.
async fn elect_soon(client: &mut ClientWrapper) -> Result<Transaction<'_>, RetentionError> {
    advisory::elect_within(client, RETENTION_LOCK, ELECTION_WAIT).await?.ok_or(RetentionError::Elsewhere)
}

/// Says that hours before `day` may lack events, and returns when no rollup is being computed that has not heard of it: they
/// read the floor in the transaction in which they compute.
async fn raise_floor(client: &mut ClientWrapper, day: Date) -> Result<(), RetentionError> {
    let before = format!("{day} 00:00:00+00");
    if client.query_typed_one(IS_RAISED, &[(&before, Type::TEXT)]).await?.try_get("raised")? {
        return Ok(());
    }
    let mut attempts = Attempts::default();
    while let Err(error) = try_raise_floor(client, &before).await {
        attempts.pause(FLOOR_TABLE, error).await.map_err(|error| match error {
            RetentionError::Busy { .. } => RetentionError::Floor { day },
            other => other,
        })?;
    }
    Ok(())
}

async fn try_raise_floor(client: &mut ClientWrapper, before: &str) -> Result<(), RetentionError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(&await_rollups()).await?;
    transaction.execute_typed(RAISE, &[(&before, Type::TEXT)]).await?;
    transaction.commit().await?;
    Ok(())
}

/// SQL that waits, in a transaction, until no rollup is being computed, and holds the next ones off: they hold the floor in
/// the transaction in which they compute.
fn await_rollups() -> String {
    format!("set local lock_timeout = {FLOOR_TIMEOUT_MS}; lock table {FLOOR_TABLE} in access exclusive mode")
}

/// Returns when no rollup is being computed that has read what is gone by now.
async fn let_rollups_end(client: &mut ClientWrapper) -> Result<(), RetentionError> {
    let mut attempts = Attempts::default();
    loop {
        let transaction = client.transaction().await?;
        // Views that are computed anew as a whole do not look at the floor, and hold their rows.
        let sql = format!("{}; {HOLD_REFRESHES}", await_rollups());
        match transaction.batch_execute(&sql).await {
            Ok(()) => return Ok(transaction.rollback().await?),
            Err(error) => {
                drop(transaction);
                attempts.pause(FLOOR_TABLE, error.into()).await?;
            }
        }
    }
}

/// Days before it may lack events already; `None`: there are none.
async fn old_floor(client: &ClientWrapper) -> Result<Option<Date>, RetentionError> {
    let row = client.query_typed_opt(OLD_FLOOR, &[]).await?;
    Ok(row.map(|row| row.try_get::<_, &str>("day").map(|day| day.parse().ok())).transpose()?.flatten())
}

/// A transaction that waits for locks only briefly, and reads for as long as a large partition takes.
async fn begin(client: &mut ClientWrapper) -> Result<Transaction<'_>, RetentionError> {
    let transaction = client.transaction().await?;
    transaction
        .batch_execute(&format!(
            "set local lock_timeout = {LOCK_TIMEOUT_MS}; set local statement_timeout = {STATEMENT_TIMEOUT_MS}"
        ))
        .await?;
    Ok(transaction)
}

/// Counts attempts to get what others hold.
#[derive(Default)]
struct Attempts(u32);

impl Attempts {
    /// Returns after a pause if it is worth another attempt, else with the reason why not.
    async fn pause(&mut self, table: &str, error: RetentionError) -> Result<(), RetentionError> {
        if !error.is_lock_timeout() {
            return Err(error);
        }
        self.0 += 1;
        if self.0 >= LOCK_ATTEMPTS_MAX {
            return Err(RetentionError::Busy { table: table.to_owned() });
        }
        tracing::debug!(table, attempt = self.0, "no lock yet");
        tokio::time::sleep(LOCK_PAUSE).await;
        Ok(())
    }
}

/// Books a step in the transaction that does it.
async fn note(
    transaction: &Transaction<'_>,
    started: &str,
    day: Date,
    action: &str,
    rule: &str,
    rows: i64,
    detail: &str,
) -> Result<(), RetentionError> {
    transaction
        .execute_typed(
            NOTE,
            &[
                (&started, Type::TEXT),
                (&day.to_string(), Type::TEXT),
                (&action, Type::TEXT),
                (&rule, Type::TEXT),
                (&rows, Type::INT8),
                (&detail, Type::TEXT),
            ],
        )
        .await?;
    Ok(())
}
