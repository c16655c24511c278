//! The follower beside a running collector: a task of its own, on connections of its own.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Transaction};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use tokio_postgres::GenericClient;
use tokio_util::sync::CancellationToken;

use super::book::{self, Mark};
use super::send::Sender;
use super::settings::ClickHouse;
use super::table::{Range, Table};
use super::{CLICKHOUSE_LOCK, CONNECTIONS, ClickHouseError};
use crate::accounting::Accounting;
use crate::config::{self, Config};
use crate::database::{Database, advisory};
use crate::entropy::{Entropy, jitter, random_id};
use crate::metrics::ClickHouseMetrics;
use crate::rollup::budget::BUSY_EVENTS;

/// How often a collector asks whether it is the one that follows.
const ELECTION_INTERVAL: Duration = Duration::from_secs(5);
/// Waits after failures, doubled from the first to the last.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Much more often than what it renews runs out.
const RENEW_INTERVAL: Duration = Duration::from_secs(30);
/// What waits is told so often, whatever is under way.
const TELL_INTERVAL: Duration = Duration::from_secs(5);
/// While events wait for the flush, a page is compared so often: it has the disk and the processor first.
const BUSY_PAUSE: Duration = Duration::from_secs(2);

/// See the module.
pub struct Follower {
    pub database: config::Database,
    pub settings: ClickHouse,
    pub entropy: Arc<dyn Entropy>,
    pub metrics: ClickHouseMetrics,
    pub accounting: Arc<Accounting>,
    /// Cancelled once the database has weir's schema.
    pub prepared: CancellationToken,
}

impl Follower {
    pub fn new(
        config: &Config,
        entropy: Arc<dyn Entropy>,
        metrics: ClickHouseMetrics,
        accounting: Arc<Accounting>,
        prepared: CancellationToken,
    ) -> Self {
        let (database, settings) = (config.database.clone(), config.clickhouse.clone());
        Self { database, settings, entropy, metrics, accounting, prepared }
    }

    /// Works until `stop`. What is under way is then found and done by whoever is next.
    pub async fn run(self, stop: CancellationToken) {
        if !self.settings.is_set() {
            return stop.cancelled().await;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.work() => {}
        }
    }

    async fn work(&self) {
        self.prepared.cancelled().await;
        let mut backoff = BACKOFF_FIRST;
        loop {
            let started = Instant::now();
            let error = match self.once().await {
                Ok(()) => {
                    sleep(jitter(self.entropy.as_ref(), ELECTION_INTERVAL)).await;
                    continue;
                }
                Err(error) => error,
            };
            // It went well for a while.
            if started.elapsed() > BACKOFF_MAX {
                backoff = BACKOFF_FIRST;
            }
            self.metrics.failures.increment(1);
            let pause = jitter(self.entropy.as_ref(), backoff);
            let again_ms = pause.as_millis() as u64;
            tracing::warn!(%error, cure = error.cure(), again_ms, "ClickHouse does not follow: what it lacks waits in PostgreSQL");
            sleep(pause).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Follows until it fails, or returns because another collector does.
    async fn once(&self) -> Result<(), ClickHouseError> {
        let database = Database::new(&self.database, CONNECTIONS)?;
        let done = self.elected(&database).await;
        database.close();
        done
    }

    async fn elected(&self, database: &Database) -> Result<(), ClickHouseError> {
        let mut guard = database.client().await?;
        let Some(elected) = advisory::elect(&mut guard, CLICKHOUSE_LOCK).await? else {
            // What waits is told by whoever follows.
            self.metrics.tell(0, 0, 0.0);
            return Ok(());
        };
        let mut client = database.client().await?;
        let result = tokio::select! {
            result = self.follow(database, &mut client, &elected) => result,
            error = self.keep_telling(&elected) => Err(error),
        };
        if let Err(error) = &result {
            // For `weir clickhouse status`; where the database is the cause, it cannot be told there.
            let _ = book::failed(&client, &format!("{error}: {}", error.cure())).await;
            let _ = self.tell(&**client).await;
        }
        // Nothing was written in it: its end gives up the lock.
        let _ = elected.rollback().await;
        result
    }

    async fn follow(
        &self,
        database: &Database,
        client: &mut ClientWrapper,
        elected: &Transaction<'_>,
    ) -> Result<(), ClickHouseError> {
        if book::enter(client, &self.settings.target()).await? {
            tracing::info!(table = self.settings.table, "ClickHouse is a new one: every day is compared");
        }
        let table = open(client, &self.settings).await?;
        // The database may have forgotten what was sent, after a failover: of what waits, anything may be there.
        book::compared(client).await?;
        // Of this follower before it failed, or of one that was killed: what it sends may be there in a moment.
        if table.is_running().await? {
            return Err(ClickHouseError::Running);
        }
        let interval = Duration::from_millis(self.settings.interval_ms);
        let (mut renewed, mut succeeded, mut sent, mut compared) = (None, None, None, None);
        let mut was_failing = true;
        loop {
            // Whoever lost the lock, with its connection, must not go on beside the next one.
            elected.batch_execute("select 1").await?;
            if is_due(renewed, RENEW_INTERVAL) {
                // Only who has just heard of it says that it is there.
                table.deletions().await?;
                book::renew(client).await?;
                renewed = Some(Instant::now());
            }
            let mut is_idle = true;
            if is_due(sent, interval) {
                let id =
                    random_id(self.entropy.as_ref()).map_err(|error| ClickHouseError::Unclear(error.to_string()))?;
                if let Some(batch) = book::take_batch(client, id).await? {
                    database.events_are_committed(&**client).await?;
                    self.sender(client, &table).batch(&batch).await?;
                    is_idle = false;
                    // What has gathered, as after an outage, goes at once: its inserts are large.
                    sent = (!batch.has_more).then(Instant::now);
                } else {
                    sent = Some(Instant::now());
                }
            }
            let is_busy = self.accounting.pending() >= BUSY_EVENTS;
            if !is_busy || is_due(compared, BUSY_PAUSE) {
                if let Some(mark) = book::take_mark(client).await? {
                    database.events_are_committed(&**client).await?;
                    self.mark(client, &table, &mark).await?;
                    is_idle = false;
                }
                compared = Some(Instant::now());
            }
            if was_failing {
                book::recovered(client).await?;
                was_failing = false;
            }
            if is_idle && is_due(succeeded, TELL_INTERVAL) {
                book::succeeded(client).await?;
                succeeded = Some(Instant::now());
            }
            if is_idle {
                sleep(interval).await;
            }
        }
    }

    /// Goes one step on with a mark. That it cannot be compared, as it is too much for a server's limits, holds up nothing else.
    async fn mark(&self, client: &mut ClientWrapper, table: &Table, mark: &Mark) -> Result<(), ClickHouseError> {
        let Err(error) = self.sender(client, table).compare(mark).await else { return Ok(()) };
        if !error.is_of_question() {
            return Err(error);
        }
        if error.is_of_size() && mark.is_whole_day() {
            return book::divide_mark(client, mark, &mark.hours()).await;
        }
        self.metrics.failures.increment(1);
        let Range { from_us, to_us } = mark.range;
        let at = |us: i64| Timestamp::from_microsecond(us).unwrap_or_default();
        let (from, to, cure) = (at(from_us), at(to_us), error.cure());
        tracing::warn!(%from, %to, %error, cure, "ClickHouse cannot be compared from then to then: that is tried again later");
        book::postpone_mark(client, mark, &format!("from {from} to {to}: {error}: {cure}")).await
    }

    fn sender<'a>(&'a self, client: &'a mut ClientWrapper, table: &'a Table) -> Sender<'a> {
        Sender { client, table, metrics: &self.metrics, entropy: self.entropy.as_ref() }
    }

    /// What waits, for `/metrics`: also while one step takes long. Returns when it cannot be told.
    async fn keep_telling(&self, elected: &Transaction<'_>) -> ClickHouseError {
        loop {
            if let Err(error) = self.tell_beside(elected).await {
                return error;
            }
            sleep(TELL_INTERVAL).await;
        }
    }

    /// On the connection that holds the lock, which has nothing else to do. What is read there stays locked to its transaction's end,
    /// or to the savepoint's.
    async fn tell_beside(&self, elected: &Transaction<'_>) -> Result<(), ClickHouseError> {
        elected.batch_execute("savepoint telling").await?;
        self.tell(&**elected).await?;
        elected.batch_execute("rollback to savepoint telling; release savepoint telling").await?;
        Ok(())
    }

    async fn tell(&self, client: &impl GenericClient) -> Result<(), ClickHouseError> {
        let Some(status) = book::status_by(client).await? else { return Ok(()) };
        self.metrics.tell(status.events_named, status.ranges_marked, status.waiting_s.unwrap_or(0.0).max(0.0));
        Ok(())
    }
}

/// The table; where there is none it is made, and all days are marked before: whatever happens in between, that is not forgotten.
async fn open(client: &ClientWrapper, settings: &ClickHouse) -> Result<Table, ClickHouseError> {
    if let Some(table) = Table::find(settings).await? {
        return Ok(table);
    }
    let days = book::mark_all(client).await?;
    Table::make(settings).await?;
    tracing::info!(days, table = settings.table, "a table was made in ClickHouse: it is filled, the latest day first");
    Table::find(settings)
        .await?
        .ok_or_else(|| ClickHouseError::Unclear("the table that was made is not there".to_owned()))
}

fn is_due(last: Option<Instant>, interval: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= interval)
}

/// Beside [`Follower`], for commands: a connection, and the table if it is there.
pub async fn look(
    database: &Database,
    settings: &ClickHouse,
) -> Result<(deadpool_postgres::Object, Option<Table>), ClickHouseError> {
    let client = database.client().await?;
    Ok((client, Table::find(settings).await?))
}
