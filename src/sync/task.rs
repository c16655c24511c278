//! Taps that run by schedule, beside a running collector.
//!
//! Every collector that has a tap's directory may run it; an advisory lock lets one at a time. Whether a run is due is read
//! from `sync.runs`, so that it does not matter who ran it last, and runs that were missed are one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::types::Type;
use tokio_util::sync::CancellationToken;

use super::settings::{Singer, Source};
use super::singer::SingerError;
use super::singer::load::Loaded;
use super::singer::run::run;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::database::{Database, DatabaseError};
use crate::metrics::Metrics;
use crate::schedule::Schedule;

/// What is due is begun.
const TICK: Duration = Duration::from_secs(5);
/// Runs at once: each is a process, and some ten megabytes here.
const RUNS_MAX: usize = 4;
/// Each run: one holds its lock, one writes; and one looks what is due.
pub const CONNECTIONS: usize = 2 * RUNS_MAX + 1;

/// A source that another process runs is asked about again after this.
const BUSY_WAIT: Duration = Duration::from_secs(60);

/// From when the wait for the next run counts: the start of one that was done, the end of any other, because a failure may
/// come late. One that is under way is no failure.
const LATEST: &str = "
    select (select extract(epoch from case outcome when 'done' then started_at else coalesce(finished_at, started_at) end)::bigint
              from sync.runs where source = $1 order by run_id desc limit 1),
           (select count(*)::integer from sync.runs where source = $1 and outcome in ('failed', 'lost')
              and run_id > coalesce((select max(run_id) from sync.runs where source = $1 and outcome = 'done'), 0)),
           (select extract(epoch from finished_at)::bigint from sync.runs
             where source = $1 and outcome = 'done' order by run_id desc limit 1)";

/// See the module.
pub struct Taps {
    database: config::Database,
    sources: BTreeMap<String, (String, Singer, Schedule)>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// Cancelled once the database has weir's schema.
    prepared: CancellationToken,
}

type Ended = (String, Result<Loaded, SingerError>);

impl Taps {
    pub fn new(config: &Config, clock: Arc<dyn Clock>, metrics: Arc<Metrics>, prepared: CancellationToken) -> Self {
        let mut sources = BTreeMap::new();
        for (name, source) in &config.sync {
            let Source::Singer(singer) = source else { continue };
            // Checked when the settings were.
            let Ok(schedule) = Schedule::parse(&singer.every, &singer.timezone) else { continue };
            if !matches!(schedule, Schedule::Never) {
                sources.insert(name.clone(), (source.schema(name).to_owned(), singer.clone(), schedule));
            }
        }
        Self { database: config.database.clone(), sources, clock, metrics, prepared }
    }

    /// Works until `stop`. Runs that are under way then are ended: what they have committed stays, and the next goes on there.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.work() => {}
        }
    }

    async fn work(&self) {
        self.prepared.cancelled().await;
        if self.sources.is_empty() {
            return std::future::pending().await;
        }
        let database = match Database::new(&self.database, CONNECTIONS) {
            Ok(database) => database,
            Err(error) => {
                tracing::error!(%error, "taps are not run");
                return std::future::pending().await;
            }
        };
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut runs: JoinSet<Ended> = JoinSet::new();
        let mut running = HashSet::new();
        let mut busy = HashMap::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(ended) = runs.join_next() => {
                    match ended {
                        Ok((name, result)) => {
                            running.remove(&name);
                            self.note(&name, &result);
                            if matches!(result, Err(SingerError::Busy(_))) {
                                busy.insert(name, Instant::now());
                            }
                        }
                        // A panic has been told on stderr; whose it was, nobody knows any more.
                        Err(_) => running.clear(),
                    }
                    continue;
                }
            }
            busy.retain(|_, since: &mut Instant| since.elapsed() < BUSY_WAIT);
            let idle = |name: &String| !running.contains(name) && !busy.contains_key(name);
            let mut due = match self.due(&database, idle).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::debug!(%error, "what is due is not known");
                    continue;
                }
            };
            // Who has waited longest; those that were never run first.
            due.sort_by_key(|(latest, _)| *latest);
            for (_, name) in due.into_iter().take(RUNS_MAX.saturating_sub(runs.len())) {
                let Some((schema, singer, _)) = self.sources.get(&name).cloned() else { continue };
                running.insert(name.clone());
                let database = database.clone();
                runs.spawn(async move {
                    let result = run(&database, &name, &schema, &singer).await;
                    (name, result)
                });
            }
        }
    }

    /// Those of `idle` ones that are due, with when each was run last.
    async fn due(
        &self,
        database: &Database,
        idle: impl Fn(&String) -> bool,
    ) -> Result<Vec<(Option<i64>, String)>, DatabaseError> {
        let mut due = Vec::new();
        for (name, (_, singer, schedule)) in &self.sources {
            // Another machine has it, perhaps.
            if idle(name) && singer.dir.is_dir() {
                let (latest, is_due) = self.is_due(database, name, schedule).await?;
                if is_due {
                    due.push((latest, name.clone()));
                }
            }
        }
        Ok(due)
    }

    async fn is_due(
        &self,
        database: &Database,
        name: &str,
        schedule: &Schedule,
    ) -> Result<(Option<i64>, bool), DatabaseError> {
        let row = database.client().await?.query_typed_one(LATEST, &[(&name, Type::TEXT)]).await?;
        let (latest, failures): (Option<i64>, i32) = (row.try_get(0)?, row.try_get(1)?);
        if let Some(succeeded_s) = row.try_get::<_, Option<i64>>(2)? {
            self.metrics.sync_is(name, succeeded_s);
        }
        let at = latest.and_then(|latest| Timestamp::from_second(latest).ok());
        Ok((latest, schedule.is_due(at, failures, self.clock.now())))
    }

    fn note(&self, name: &str, result: &Result<Loaded, SingerError>) {
        match result {
            Ok(Loaded { rows, rejected, .. }) => {
                self.metrics.sync_ran(name, Some((*rows, *rejected)));
                tracing::info!(name, rows, rejected, "a source was read");
            }
            // Its own process tells.
            Err(SingerError::Busy(_)) => {}
            Err(error) => {
                self.metrics.sync_ran(name, None);
                tracing::warn!(name, %error, "a source could not be read to its end: tried again later");
            }
        }
    }
}
