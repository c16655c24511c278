//! Whoever looks after rollups: one of all collectors, until it ends or dies; then another.
//!
//! The lock is held by a transaction, which does nothing else, on a connection of its own: so it works through PgBouncer in
//! transaction mode, and PostgreSQL gives it back when the connection breaks.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{Object, Transaction};
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::catalog::{self, Known};
use super::library::Library;
use super::plan;
use super::run::{Ran, run};
use super::{RollupError, check, dispatch};
use crate::accounting::Accounting;
use crate::database::{Database, DatabaseError, advisory};
use crate::metrics::Metrics;
use crate::reload::Stamp;
use crate::unexplained::Unexplained;

/// What was touched is dispatched, and what is due is begun.
const TICK: Duration = Duration::from_secs(1);
/// Files are looked at.
const FILES_TICKS: u64 = 5;
/// What could not be done is tried again after so many looks at the files: half a minute.
const RETRY_LOOKS: u32 = 6;
/// Who does not look after rollups asks again whether it should.
const STANDBY: Duration = Duration::from_secs(5);
/// A lock that does not answer is lost.
const LOCK_ANSWER: Duration = Duration::from_secs(10);
/// The advisory lock: "roll" in ASCII.
pub(crate) const RUNNER_LOCK: i64 = 0x726f_6c6c;
/// A run ends after the bucket with which it reaches this, so that others get their turn, and the newest bucket is not
/// kept waiting by a long filling.
const RUN_BUDGET: Duration = Duration::from_secs(20);

/// See the module.
pub struct Runner {
    /// Of its own: one connection for each run at once, and two.
    pub database: Database,
    pub library: Library,
    /// Runs at once; 0: none, only what was touched is kept short.
    pub concurrency: usize,
    /// Set once the database has weir's schema.
    pub prepared: CancellationToken,
    pub metrics: Arc<Metrics>,
    /// How many events wait for the flush.
    pub accounting: Arc<Accounting>,
}

/// What a rollup's task gives back.
type Ended = (Known, Duration, Result<Ran, RollupError>);

impl Runner {
    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.prepared.cancelled() => {}
            () = stop.cancelled() => return,
        }
        while !stop.is_cancelled() {
            self.metrics.rollup_leads(false);
            tokio::select! {
                result = self.lead(&stop) => if let Err(error) = result {
                    tracing::warn!(%error, "rollups are not looked after: trying again");
                },
                () = stop.cancelled() => break,
            }
            tokio::select! {
                () = tokio::time::sleep(STANDBY) => {}
                () = stop.cancelled() => break,
            }
        }
        self.database.close();
    }

    /// Looks after rollups if nobody else does.
    async fn lead(&self, stop: &CancellationToken) -> Result<(), RollupError> {
        if self.concurrency == 0 {
            return dispatch::compact(&self.database).await;
        }
        // Dropped, it must not be used by others: the lock goes with it.
        let mut client = Object::take(self.database.client().await?);
        let Some(lock) = advisory::elect(&mut client, RUNNER_LOCK).await? else {
            return dispatch::compact(&self.database).await;
        };
        tracing::info!("this collector looks after rollups");
        self.metrics.rollup_leads(true);
        self.look_after(&lock, stop).await
    }

    async fn look_after(&self, lock: &Transaction<'_>, stop: &CancellationToken) -> Result<(), RollupError> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut runs: JoinSet<Ended> = JoinSet::new();
        let mut running = HashSet::new();
        let mut followed = Followed::default();
        let mut budget = Budget::new(Instant::now());
        let mut unexplained = Unexplained::new(Arc::clone(&self.metrics));
        for count in 0_u64.. {
            loop {
                tokio::select! {
                    _ = ticks.tick() => break,
                    () = stop.cancelled() => return Ok(()),
                    Some(ended) = runs.join_next() => match ended {
                        Ok((rollup, took, result)) => {
                            running.remove(&rollup.id);
                            budget.spend(took, self.accounting.pending());
                            self.note(&rollup, &result);
                        }
                        // A panic has been told on stderr; which rollup it was, nobody knows any more.
                        Err(_) => running.clear(),
                    },
                }
            }
            let answer = timeout(LOCK_ANSWER, lock.query_typed("select 1", &[])).await;
            answer.map_err(|_| DatabaseError::Lost)??;
            if count.is_multiple_of(FILES_TICKS) {
                followed.follow(&self.database, &self.library).await?;
            }
            match dispatch::dispatch(&self.database).await {
                Err(error) if error.is_passing() => tracing::debug!(%error, "dispatch is put off"),
                result => drop(result?),
            }
            unexplained.look(&self.database).await;
            let known = catalog::all(&self.database).await?;
            for rollup in known.iter().filter(|rollup| !rollup.is_building) {
                let succeeded_s = rollup.succeeded.map(Timestamp::as_second);
                self.metrics.rollup_is(&rollup.name, succeeded_s, rollup.lag_s);
            }
            let mut due: Vec<&Known> = known.iter().filter(|rollup| rollup.is_due()).collect();
            // Who has waited longest; those that were never run first.
            due.sort_by_key(|rollup| rollup.started);
            for rollup in &due {
                // What it reads is computed first, or it would be computed twice; but not twice before it.
                // One that is being built anew has its old table kept true meanwhile.
                let is_read = |other: &&Known| !other.is_building && rollup.upstream.contains(&other.name);
                let waits = known.iter().filter(is_read).any(|other| {
                    let is_under_way = running.contains(&other.id) || due.iter().any(|due| due.id == other.id);
                    let was_first = other.started.is_some() && other.started > rollup.started;
                    is_under_way && !was_first || other.fill > 0 && other.failures == 0
                });
                let may_begin = !waits
                    && running.len() < self.concurrency
                    && budget.may_begin(self.accounting.pending(), Instant::now());
                if may_begin && running.insert(rollup.id) {
                    let (database, rollup) = (self.database.clone(), Known::clone(rollup));
                    runs.spawn(async move {
                        let began = Instant::now();
                        let result = run(&database, &rollup, Some(RUN_BUDGET)).await;
                        (rollup, began.elapsed(), result)
                    });
                }
            }
        }
        Ok(())
    }

    fn note(&self, rollup: &Known, result: &Result<Ran, RollupError>) {
        let name = &rollup.name;
        match result {
            Ok(ran) => {
                let Ran { buckets, rows, elapsed, .. } = *ran;
                self.metrics.rollup_ran(name, Some((elapsed, rows)));
                tracing::debug!(name, buckets, rows, ms = elapsed.as_millis() as u64, "a rollup was run");
            }
            // Its own process tells.
            Err(RollupError::Busy(_)) => {}
            Err(error) => {
                self.metrics.rollup_ran(name, None);
                tracing::warn!(name, %error, "a rollup's run failed: it stays as it was, and is tried again");
            }
        }
    }
}

/// Definitions as they were last read.
#[derive(Default)]
struct Followed {
    stamp: Option<Stamp>,
    /// Whether everything was done that they ask for.
    is_settled: bool,
    /// Looks since the last try.
    waited: u32,
    told: BTreeSet<String>,
}

impl Followed {
    /// Does what changed files ask for.
    async fn follow(&mut self, database: &Database, library: &Library) -> Result<(), RollupError> {
        let files = library.clone();
        let stamp = tokio::task::spawn_blocking(move || files.stamp()).await.ok().and_then(Result::ok);
        self.waited = self.waited.saturating_add(1);
        if stamp == self.stamp && (self.is_settled || self.waited < RETRY_LOOKS) {
            return Ok(());
        }
        self.waited = 0;
        let reconciled = reconcile(database, library).await?;
        for (message, is_error) in &reconciled.messages {
            // Once, not with every try.
            if self.told.insert(message.clone()) {
                if *is_error {
                    tracing::error!("{message}");
                } else {
                    tracing::info!("rollups: {message}");
                }
            }
        }
        if stamp != self.stamp {
            self.told.retain(|message| reconciled.messages.iter().any(|(now, _)| now == message));
        }
        self.is_settled = reconciled.is_settled;
        self.stamp = stamp;
        Ok(())
    }
}

/// What came of bringing the database to the definitions.
pub struct Reconciled {
    /// What was done, and, marked, what could not be.
    pub messages: Vec<(String, bool)>,
    /// Whether nothing is left to try again.
    pub is_settled: bool,
    /// Names, each after those that it reads.
    pub order: Vec<String>,
}

/// Brings the database to what the definitions say; one that cannot be used costs no other.
pub async fn reconcile(database: &Database, library: &Library) -> Result<Reconciled, RollupError> {
    let files = library.clone();
    // A panic within was told on stderr: then nothing was read.
    let definitions = tokio::task::spawn_blocking(move || files.read()).await.unwrap_or_default();
    let verdict = check::check(database, definitions).await?;
    let known = catalog::all(database).await?;
    let mut reconciled = Reconciled {
        messages: verdict.problems.iter().map(|problem| (format!("rollups: {problem}"), true)).collect(),
        is_settled: true,
        order: verdict.good.iter().map(|checked| checked.definition.name.clone()).collect(),
    };
    for step in plan::plan(&verdict, &known) {
        match plan::apply(database, &step).await {
            Ok(()) => {
                reconciled.messages.push((step.to_string(), false));
            }
            Err(error) => {
                reconciled.is_settled = false;
                reconciled.messages.push((format!("rollups: {error}"), true));
            }
        }
    }
    // A definition may name what is only made later, or was refused by a database that was busy.
    reconciled.is_settled &= verdict.problems.is_empty();
    Ok(reconciled)
}
