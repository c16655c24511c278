//! What has to happen now and then beside the events: keys, salts, partitions, files read again, and the report of what
//! was promised.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::day_of;
use crate::database::{Database, migrate};
use crate::enrich::visitor::Salts;
use crate::flush::FlushError;
use crate::flush::partitions::Partitions;
use crate::flush::shared::Shared;
use crate::promises::Promises;
use crate::reload::Reload;
use crate::sources::WriteKeys;

/// A key added or disabled takes effect within two of these.
const TICK: Duration = Duration::from_secs(1);
const KEYS_TICKS: u64 = 2;
const FILES_TICKS: u64 = 10;
/// The report is repeated although nothing has changed: a failover may have forgotten it.
const REPORT_TICKS: u64 = 10;
/// Salts, partitions.
const DAILY_TICKS: u64 = 60;

/// Everything that housekeeping looks after.
pub struct Housekeeping {
    database: Database,
    shared: Arc<Shared>,
    partitions: Arc<Partitions>,
    keys: Arc<WriteKeys>,
    salts: Arc<Salts>,
    files: Vec<Arc<dyn Reload>>,
    partition_days_ahead: u16,
    is_database_up: Arc<AtomicBool>,
    promises: Promises,
    was_up: bool,
}

impl Housekeeping {
    #[expect(clippy::too_many_arguments, reason = "called once, where all of it is made")]
    pub fn new(
        database: Database,
        shared: Arc<Shared>,
        partitions: Arc<Partitions>,
        keys: Arc<WriteKeys>,
        salts: Arc<Salts>,
        files: Vec<Arc<dyn Reload>>,
        partition_days_ahead: u16,
        is_database_up: Arc<AtomicBool>,
        recovered: Vec<Uuid>,
    ) -> Self {
        let promises = Promises::new(shared.node.clone(), recovered);
        Self {
            database,
            shared,
            partitions,
            keys,
            salts,
            files,
            partition_days_ahead,
            is_database_up,
            promises,
            was_up: true,
        }
    }

    /// Brings the database to where events can flow.
    pub async fn prepare(&mut self) -> Result<(), FlushError> {
        migrate::run(&self.database).await?;
        self.keys.refresh(&self.database).await?;
        self.daily().await?;
        self.promises.settle_released(&self.database).await?;
        self.is_database_up.store(true, Ordering::Relaxed);
        self.shared.prepared.cancel();
        Ok(())
    }

    /// Works until `stop`, then reports a last time.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count = 0_u64;
        let mut day = day_of(self.shared.clock.now());
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => break,
            }
            count += 1;
            if count.is_multiple_of(FILES_TICKS) {
                self.reload_files().await;
            }
            if count.is_multiple_of(REPORT_TICKS) {
                self.promises.repeat();
            }
            let today = day_of(self.shared.clock.now());
            let is_daily = count.is_multiple_of(DAILY_TICKS) || today != day;
            let started = Instant::now();
            let limit = self.database.statement_timeout();
            let tick = tokio::time::timeout(limit, self.tick(count.is_multiple_of(KEYS_TICKS), is_daily));
            match tick.await.unwrap_or(Err(FlushError::TimedOut(limit.as_secs()))) {
                Ok(()) => {
                    if is_daily {
                        day = today;
                    }
                    self.note(true, "");
                }
                Err(error) => {
                    self.note(false, &error.to_string());
                    // A database that answers slowly is asked less often.
                    tokio::time::sleep(started.elapsed().min(TICK * 10)).await;
                }
            }
        }
        if !self.shared.prepared.is_cancelled() {
            return;
        }
        if let Err(error) = self.promises.report(&self.database, &self.shared.accounting).await {
            tracing::warn!(%error, "the last report of accepted events did not reach the database");
        }
    }

    async fn tick(&mut self, is_keys: bool, is_daily: bool) -> Result<(), FlushError> {
        if !self.shared.prepared.is_cancelled() {
            return self.prepare().await;
        }
        if is_keys {
            self.keys.refresh(&self.database).await?;
        }
        if is_daily {
            self.daily().await?;
        }
        self.promises.report(&self.database, &self.shared.accounting).await?;
        Ok(())
    }

    fn note(&mut self, is_up: bool, error: &str) {
        self.is_database_up.store(is_up, Ordering::Relaxed);
        match (self.was_up, is_up) {
            (true, false) => tracing::warn!(error, "the database does not answer: events gather in the journal"),
            (false, true) => {
                tracing::info!("the database answers again");
                self.shared.outage.end();
            }
            _ => {}
        }
        self.was_up = is_up;
    }

    async fn daily(&self) -> Result<(), FlushError> {
        let now = self.shared.clock.now();
        let mut client = self.database.client().await?;
        self.partitions.ensure_ahead(&mut client, now, self.partition_days_ahead).await?;
        drop(client);
        self.salts.refresh(&self.database, day_of(now)).await?;
        Ok(())
    }

    async fn reload_files(&self) {
        for file in &self.files {
            let (what, file) = (file.what(), Arc::clone(file));
            // Reading a database of 100 MB takes a while: not on a thread that serves requests.
            match tokio::task::spawn_blocking(move || file.reload()).await {
                Ok(Ok(true)) => tracing::info!("{what} re-read"),
                Ok(Err(error)) => tracing::warn!(%error, "{what} not re-read: the one in memory stays"),
                _ => {}
            }
        }
    }
}
