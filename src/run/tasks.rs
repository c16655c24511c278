//! What goes on beside requests: tasks, and threads of their own.

use std::future::Future;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{RunError, World};
use crate::analyst::task::Watch;
use crate::clickhouse::task::Follower;
use crate::config::{self, Config};
use crate::database::{Database, DatabaseError};
use crate::flush::lane::Lane;
use crate::flush::partitions::Partitions;
use crate::flush::postgres::Postgres;
use crate::flush::shared::Shared;
use crate::journal::SegmentFeed;
use crate::journal::writer::{DiskFailed, Writer};
use crate::lake::task::Task as LakeTask;
use crate::metrics::Metrics;
use crate::retention::task::Retention;
use crate::rollup::library::Library;
use crate::rollup::runner::Runner;
use crate::sync::postgres::runner::Runner as Replication;
use crate::sync::task::Taps;

/// Beside those that compute: one holds the lock of whoever looks after rollups, one dispatches.
const ROLLUP_CONNECTIONS: usize = 2;

/// A task that ends some time after it is told to.
pub(super) struct Task {
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Task {
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(task: impl FnOnce(CancellationToken) -> F) -> Self {
        let stop = CancellationToken::new();
        Self { running: tokio::spawn(task(stop.clone())), stop }
    }

    /// Resolves when the task has ended by itself.
    pub(super) async fn ended(&mut self) {
        // A panic has been told on stderr.
        let _ = (&mut self.running).await;
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        if self.running.is_finished() {
            return;
        }
        // A task that panicked has nothing left to finish.
        let _ = self.running.await;
    }
}

pub(super) fn spawn_retention(
    config: &Config,
    world: &World,
    shared: &Shared,
    partitions: &Arc<Partitions>,
    metrics: &Metrics,
) -> Task {
    let retention = Retention::new(
        config,
        Arc::clone(&world.clock),
        Arc::clone(&world.entropy),
        Arc::clone(partitions),
        metrics.retention.clone(),
        shared.prepared.clone(),
    );
    Task::spawn(|stop| retention.run(stop))
}

/// What is written elsewhere of what the database has: the lake, and `ClickHouse`.
pub(super) fn spawn_copies(config: &Config, world: &World, shared: &Shared, metrics: &Metrics) -> (Task, Task) {
    let (entropy, accounting, prepared) = (&world.entropy, &shared.accounting, &shared.prepared);
    let lake = LakeTask::new(
        config,
        Arc::clone(&world.clock),
        Arc::clone(entropy),
        metrics.lake.clone(),
        Arc::clone(accounting),
        prepared.clone(),
    );
    let clickhouse = Follower::new(
        config,
        Arc::clone(entropy),
        metrics.clickhouse.clone(),
        Arc::clone(accounting),
        prepared.clone(),
    );
    (Task::spawn(|stop| lake.run(stop)), Task::spawn(|stop| clickhouse.run(stop)))
}

/// Rollups have connections of their own: however long they take, nobody else waits for one.
pub(super) fn spawn_rollups(config: &Config, shared: &Shared, metrics: &Arc<Metrics>) -> Result<Task, DatabaseError> {
    let settings =
        config::Database { statement_timeout_s: config.rollup.statement_timeout_s, ..config.database.clone() };
    let database = Database::new(&settings, config.rollup.concurrency + ROLLUP_CONNECTIONS)?;
    let library = Library { dir: config.rollup.dir.clone(), with_shipped: config.rollup.shipped };
    let runner = Runner {
        database,
        library,
        concurrency: config.rollup.concurrency,
        prepared: shared.prepared.clone(),
        metrics: Arc::clone(metrics),
        accounting: Arc::clone(&shared.accounting),
    };
    Ok(Task::spawn(|stop| runner.run(stop)))
}

pub(super) fn spawn_taps(config: &Config, world: &World, shared: &Shared, metrics: &Arc<Metrics>) -> Task {
    let taps = Taps::new(config, Arc::clone(&world.clock), Arc::clone(metrics), shared.prepared.clone());
    Task::spawn(|stop| taps.run(stop))
}

/// On a connection of its own: however people keep the server busy, it gets through.
pub(super) fn spawn_watch(config: &Config, shared: &Shared, metrics: &Arc<Metrics>) -> Task {
    let watch = Watch::new(config, Arc::clone(metrics), shared.prepared.clone());
    Task::spawn(|stop| watch.run(stop))
}

/// Each source has connections of its own.
pub(super) fn spawn_replication(config: &Config, shared: &Shared, metrics: &Arc<Metrics>) -> Task {
    let runner = Replication {
        settings: config.database.clone(),
        sources: Replication::sources(&config.sync),
        prepared: shared.prepared.clone(),
        metrics: Arc::clone(metrics),
    };
    Task::spawn(|stop| runner.run(stop))
}

pub(super) fn spawn_journal(writer: Writer) -> Result<oneshot::Receiver<Result<(), DiskFailed>>, RunError> {
    let (report, ended) = oneshot::channel();
    let run = move || {
        // Nobody listens any more only when the process is ending.
        let _ = report.send(writer.run());
    };
    thread::Builder::new().name("weir-journal".to_owned()).spawn(run).map_err(RunError::Spawn)?;
    Ok(ended)
}

pub(super) fn make_lanes(
    config: &Config,
    shared: &Arc<Shared>,
    partitions: &Arc<Partitions>,
    feeds: &[Arc<SegmentFeed>],
) -> Result<Vec<Lane<Postgres>>, DatabaseError> {
    let database = Database::new(&config.database, config.flush.lanes)?;
    let lane = |feed: &Arc<SegmentFeed>| {
        let store = Postgres::new(
            database.clone(),
            Arc::clone(partitions),
            config.journal.durability,
            Arc::clone(&shared.clock),
        );
        Lane::new(Arc::clone(shared), store, Arc::clone(feed))
    };
    Ok(feeds.iter().map(lane).collect())
}

/// Lanes have a thread of their own: reading megabytes from the journal must not delay requests.
pub(super) fn spawn_lanes(
    lanes: Vec<Lane<Postgres>>,
    ended: CancellationToken,
    abort: CancellationToken,
) -> Result<JoinHandle<()>, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Spawn)?;
    let run = move || {
        // Also when a lane panics.
        let _ended = ended.drop_guard();
        runtime.block_on(async {
            tokio::select! {
                _ = join_all(lanes.into_iter().map(Lane::run)) => {}
                () = abort.cancelled() => {}
            }
        });
    };
    thread::Builder::new().name("weir-flush".to_owned()).spawn(run).map_err(RunError::Spawn)
}
