//! The collector as a whole: everything is made here, started in order, and stopped in order.

mod tasks;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::accounting::Accounting;
use crate::admin::{self, Operator};
use crate::buffer::MemoryBudget;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, ConfigError};
use crate::console::aside::Aside;
use crate::console::{self, Console};
use crate::database::{Database, DatabaseError};
use crate::demo::{self, Demo};
use crate::disk::{Disk, MemoryDisk, RealDisk};
use crate::enrich::Enricher;
use crate::enrich::place::{PlaceError, Places};
use crate::enrich::user_agent::{PatternsError, UserAgents};
use crate::enrich::visitor::Salts;
use crate::entropy::{Entropy, SystemEntropy};
use crate::flush::FlushError;
use crate::flush::lane::Lane;
use crate::flush::outage::Outage;
use crate::flush::partitions::Partitions;
use crate::flush::shared::Shared;
use crate::housekeeping::Housekeeping;
use crate::journal::writer::{DiskFailed, Writer, WriterParts};
use crate::journal::{Durability, Handle, OpenError, SegmentFeed, WriterConfig, recover};
use crate::metrics::{ConnectionMetrics, Metrics};
use crate::receive::body::BodyLimits;
use crate::receive::tls::{CertificateError, Certificates};
use crate::receive::{self, Collector, Limits, Listen, Rates};
use crate::reload::Reload;
use crate::sources::WriteKeys;
use tasks::Task;

/// After the requests: what is left in the journal may take this long to reach the database. The rest stays there.
const FLUSH_DRAIN: Duration = Duration::from_secs(10);
/// Keys, salts, partitions and reports take turns.
const HOUSEKEEPING_CONNECTIONS: usize = 1;
/// A scraper, a balancer, and colleagues at the console, of whom each browser takes up to six.
const ADMIN_CONNECTIONS_MAX: usize = 1_024;
const ADMIN_DRAIN: Duration = Duration::from_secs(1);

/// The bound sockets of a collector.
pub struct Listeners {
    pub public: TcpListener,
    pub admin: TcpListener,
}

/// The parts of the outside world that tests replace.
#[derive(Clone)]
pub struct World {
    pub clock: Arc<dyn Clock>,
    pub disk: Arc<dyn Disk>,
    pub entropy: Arc<dyn Entropy>,
}

impl Default for World {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock::default()), disk: Arc::new(RealDisk), entropy: Arc::new(SystemEntropy) }
    }
}

/// Why a collector did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    #[error("database: {0}")]
    Database(#[from] DatabaseError),
    #[error("database: {0}")]
    Prepare(#[from] FlushError),
    #[error("journal: {0}")]
    Journal(#[from] OpenError),
    #[error("{0}")]
    Places(#[from] PlaceError),
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    #[error("{0}")]
    Patterns(#[from] PatternsError),
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error("the admin listener has no address: {0}")]
    Listener(std::io::Error),
    #[error("a thread could not be started: {0}")]
    Spawn(std::io::Error),
    #[error("{0}")]
    Disk(#[from] DiskFailed),
    #[error("{0} ended unexpectedly: see the log; what was promised is in the journal")]
    Thread(&'static str),
}

/// Starts a collector and runs it until `shutdown`.
pub async fn run(config: Config, listeners: Listeners, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    Running::start(config, listeners, World::default(), None).await?.until(shutdown).await
}

/// A collector that takes events.
pub struct Running {
    journal: Handle,
    operator: Arc<Operator>,
    /// Tells lanes that nothing more will come.
    closing: CancellationToken,
    public_server: Task,
    admin_server: Task,
    housekeeping: Task,
    retention: Task,
    lake: Task,
    clickhouse: Task,
    rollups: Task,
    taps: Task,
    replication: Task,
    watch: Task,
    console: Option<Task>,
    flush_thread: JoinHandle<()>,
    /// Cancelled when the lanes' thread ends, however it ends.
    flush_ended: CancellationToken,
    /// Drops the lanes wherever they are: their transactions roll back.
    flush_abort: CancellationToken,
    journal_ended: oneshot::Receiver<Result<(), DiskFailed>>,
    database: Database,
    durability: Durability,
}

/// What start-up makes first, and nearly everything else needs.
struct Core {
    metrics: Arc<Metrics>,
    accounting: Arc<Accounting>,
    feeds: Vec<Arc<SegmentFeed>>,
    partitions: Arc<Partitions>,
    shared: Arc<Shared>,
    writer: Writer,
    journal: Handle,
    /// Segments of earlier lives.
    recovered: Vec<Uuid>,
}

impl Core {
    fn new(config: &Config, world: &World) -> Result<Self, RunError> {
        let metrics = Arc::new(Metrics::new());
        let accounting = Arc::new(Accounting::default());
        let durability = config.journal.durability;
        let is_on_disk = durability.is_on_disk();
        let disk = if is_on_disk { Arc::clone(&world.disk) } else { Arc::new(MemoryDisk::default()) };
        if !is_on_disk {
            recover::ensure_empty(world.disk.as_ref(), &config.journal.dir)?;
        }
        let opened = recover::open(disk.as_ref(), world.entropy.as_ref(), &config.journal.dir)?;
        let recovered = opened.segments.iter().map(|recovered| recovered.segment.id).collect();
        let node = opened.node.clone();
        let feeds: Vec<Arc<SegmentFeed>> = (0..config.flush.lanes).map(|_| Arc::default()).collect();
        let writer_config = WriterConfig {
            durability,
            segment_bytes: if is_on_disk { config.journal.segment_bytes } else { config::MEMORY_SEGMENT_BYTES },
            bytes_max: if is_on_disk { config.journal.bytes_max } else { config.journal.memory_bytes_max },
            queue_length: config.journal.queue_length,
        };
        let parts = WriterParts {
            disk: Arc::clone(&disk),
            clock: Arc::clone(&world.clock),
            entropy: Arc::clone(&world.entropy),
            accounting: Arc::clone(&accounting),
            metrics: metrics.journal.clone(),
        };
        let (writer, journal, journal_state) = Writer::new(opened, &feeds, writer_config, parts);
        let shared = Arc::new(Shared {
            accounting: Arc::clone(&accounting),
            metrics: metrics.flush.clone(),
            clock: Arc::clone(&world.clock),
            entropy: Arc::clone(&world.entropy),
            disk,
            journal: journal_state,
            node,
            durability,
            interval: Duration::from_millis(config.flush.interval_ms),
            bytes_max: config.flush.bytes_max,
            timeout: Shared::timeout(&config.database),
            // What lies in memory is gone with the process anyway: it must not be held for a failover.
            retain: Some(Duration::from_secs(if is_on_disk { config.journal.retain_s } else { 0 })),
            release_early: config.journal.release_early,
            outage: Outage::default(),
            prepared: CancellationToken::new(),
            closing: CancellationToken::new(),
        });
        let partitions = Arc::default();
        Ok(Self { metrics, accounting, feeds, partitions, shared, writer, journal, recovered })
    }
}

impl Running {
    /// Makes everything, brings the database up to date, and begins to serve; where asked for, a demo, too.
    pub async fn start(
        config: Config,
        listeners: Listeners,
        world: World,
        demo: Option<Demo>,
    ) -> Result<Self, RunError> {
        config.check()?;
        // The socket counts, not what the settings say of it.
        config.admin.check_address(listeners.admin.local_addr().map_err(RunError::Listener)?)?;
        let database = Database::new(&config.database, HOUSEKEEPING_CONNECTIONS)?;
        let places = Arc::new(Places::open(config.enrich.geo_database.clone())?);
        let salts = Arc::new(Salts::new()?);
        // Where nothing is written, nothing is remembered either.
        let is_on_disk = config.journal.durability.is_on_disk();
        let keys = Arc::new(WriteKeys::new(is_on_disk.then(|| config.journal.dir.join("keys.json"))));
        let certificates = open_certificates(&config.receive)?;
        let files = reloaded(&places, certificates.as_ref());
        let core = Core::new(&config, &world)?;
        let (metrics, is_database_up) = (Arc::clone(&core.metrics), Arc::new(AtomicBool::new(false)));
        let mut housekeeping = Housekeeping::new(
            database.clone(),
            Arc::clone(&core.shared),
            Arc::clone(&core.partitions),
            Arc::clone(&keys),
            Arc::clone(&salts),
            files,
            config.flush.partition_days_ahead,
            Arc::clone(&is_database_up),
            core.recovered,
        );
        match housekeeping.prepare().await {
            Err(FlushError::Transient(error)) if keys.recall() => {
                tracing::warn!(%error, "the database is away: events are taken with the keys known from before");
            }
            result => result?,
        }
        let user_agents = UserAgents::start(
            config.enrich.user_agent_patterns.clone(),
            config.enrich.user_agent_cache_entries,
            &metrics,
        )?;

        let journal_ended = tasks::spawn_journal(core.writer)?;
        let lanes = tasks::make_lanes(&config, &core.shared, &core.partitions, &core.feeds)?;
        let lane_states = lanes.iter().map(Lane::state).collect();
        let (flush_ended, flush_abort) = (CancellationToken::new(), CancellationToken::new());
        let flush_thread = tasks::spawn_lanes(lanes, flush_ended.clone(), flush_abort.clone())?;
        let housekeeping = Task::spawn(|stop| housekeeping.run(stop));
        let retention = tasks::spawn_retention(&config, &world, &core.shared, &core.partitions, &metrics);
        let (lake, clickhouse) = tasks::spawn_copies(&config, &world, &core.shared, &metrics);
        let rollups = tasks::spawn_rollups(&config, &core.shared, &metrics)?;
        let taps = tasks::spawn_taps(&config, &world, &core.shared, &metrics);
        let replication = tasks::spawn_replication(&config, &core.shared, &metrics);
        let watch = tasks::spawn_watch(&config, &core.shared, &metrics);

        let memory = MemoryBudget::new(config.receive.memory_bytes_max);
        let operator = Arc::new(Operator {
            metrics: Arc::clone(&metrics),
            accounting: core.accounting,
            journal: Arc::clone(&core.shared.journal),
            queue: core.journal.clone(),
            feeds: core.feeds,
            lanes: lane_states,
            partitions: core.partitions,
            memory: memory.clone(),
            clock: Arc::clone(&world.clock),
            is_closing: AtomicBool::new(false),
            is_database_up,
        });
        let collector = Arc::new(Collector {
            keys,
            enricher: Enricher { privacy: config.privacy.clone(), user_agents, places, salts },
            journal: core.journal.clone(),
            memory,
            limits: body_limits(&config.receive),
            rates: Rates::new(&config.receive),
            trusted_proxies: config.receive.trusted_proxies.clone(),
            clock: Arc::clone(&world.clock),
            metrics: Arc::clone(&metrics),
        });
        let limits = connection_limits(&config.receive);
        let admin = admin_listen(listeners.admin, admin_limits(&limits));
        let tls = certificates.map(Certificates::acceptor).transpose()?;
        let public = Listen { listener: listeners.public, tls, limits, metrics: metrics.connections.clone() };
        let public_router = receive::routes::router(collector, &config.receive);
        let (admin_router, console) = admin_routes(&config, &world, &core.shared, &operator, demo, &database)?;
        Ok(Self {
            journal: core.journal,
            operator,
            closing: core.shared.closing.clone(),
            public_server: Task::spawn(|stop| receive::serve(public, public_router, stop)),
            admin_server: Task::spawn(|stop| receive::serve(admin, admin_router, stop)),
            housekeeping,
            retention,
            lake,
            clickhouse,
            rollups,
            taps,
            replication,
            watch,
            console,
            flush_thread,
            flush_ended,
            flush_abort,
            journal_ended,
            database,
            durability: config.journal.durability,
        })
    }

    /// Runs until `shutdown`, or until the journal's disk has failed; then stops in order.
    pub async fn until(mut self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let result = tokio::select! {
            () = shutdown => Ok(()),
            ended = &mut self.journal_ended => match ended {
                Ok(Err(error)) => Err(error.into()),
                Ok(Ok(())) | Err(_) => Err(RunError::Thread("weir-journal")),
            },
            () = self.flush_ended.cancelled() => Err(RunError::Thread("weir-flush")),
            () = self.housekeeping.ended() => Err(RunError::Thread("housekeeping")),
            () = self.retention.ended() => Err(RunError::Thread("retention")),
            () = self.lake.ended() => Err(RunError::Thread("the export to the lake")),
            () = self.clickhouse.ended() => Err(RunError::Thread("what ClickHouse follows by")),
            () = self.rollups.ended() => Err(RunError::Thread("the rollups' runner")),
            () = self.taps.ended() => Err(RunError::Thread("the taps' runner")),
            () = self.replication.ended() => Err(RunError::Thread("replication")),
            () = self.watch.ended() => Err(RunError::Thread("the watch over people's sessions")),
        };
        self.stop(result).await
    }

    /// Requests first, then the journal, then what it still holds, then the reports.
    async fn stop(self, result: Result<(), RunError>) -> Result<(), RunError> {
        tracing::info!("closing: requests in flight finish, then the journal is flushed");
        self.operator.is_closing.store(true, Ordering::Relaxed);
        self.retention.stop().await;
        self.lake.stop().await;
        self.clickhouse.stop().await;
        // A run that is cut off leaves everything as it was.
        self.rollups.stop().await;
        self.taps.stop().await;
        self.replication.stop().await;
        self.watch.stop().await;
        if let Some(console) = self.console {
            console.stop().await;
        }
        self.public_server.stop().await;
        self.journal.close();
        if !self.journal_ended.is_terminated() {
            // It only fails if the thread panicked: then there is nothing to wait for.
            let _ = self.journal_ended.await;
        }
        self.closing.cancel();
        if tokio::time::timeout(FLUSH_DRAIN, self.flush_ended.cancelled()).await.is_err() {
            tracing::warn!("the database did not take everything in time: the rest waits in the journal");
        }
        self.flush_abort.cancel();
        if self.durability == Durability::Memory {
            tell_what_is_lost(&self.operator.accounting);
        }
        self.flush_ended.cancelled().await;
        // It only fails if the thread panicked, which has been told.
        let _ = self.flush_thread.join();
        if tokio::time::timeout(FLUSH_DRAIN, self.housekeeping.stop()).await.is_err() {
            tracing::warn!("the last report of accepted events was given up");
        }
        self.admin_server.stop().await;
        self.database.close();
        result
    }
}

/// With `durability = "memory"` nothing outlives the process: what did not reach the database is named.
fn tell_what_is_lost(accounting: &Accounting) {
    for (source, balance) in accounting.balances() {
        if balance.pending() > 0 {
            tracing::error!(source, events = balance.pending(), "lost: they were only in memory");
        }
    }
}

/// What the admin listener answers, and what the console does by itself.
fn admin_routes(
    config: &Config,
    world: &World,
    shared: &Shared,
    operator: &Arc<Operator>,
    demo: Option<Demo>,
    database: &Database,
) -> Result<(Router, Option<Task>), RunError> {
    let (mut routes, mut task) = (None, None);
    if config.console.enabled {
        let (clock, entropy) = (Arc::clone(&world.clock), Arc::clone(&world.entropy));
        let aside = Aside::start().map_err(RunError::Spawn)?;
        let console = Console::new(config, Arc::clone(operator), clock, entropy, demo.clone(), aside)?;
        let console = Arc::new(console);
        routes = Some(console::routes::router(Arc::clone(&console)));
        let prepared = shared.prepared.clone();
        task = Some(Task::spawn(|stop| console::task::run(console, prepared, stop)));
    }
    let demo = demo.map(|demo| demo::router(&demo, database.clone())).unwrap_or_default();
    Ok((admin::router(Arc::clone(operator), demo, routes, &config.admin.token), task))
}

fn open_certificates(receive: &config::Receive) -> Result<Option<Arc<Certificates>>, RunError> {
    let Some((certificate, key)) = receive.tls()? else { return Ok(None) };
    Ok(Some(Arc::new(Certificates::open(certificate, key)?)))
}

/// What is read again when its files change.
fn reloaded(places: &Arc<Places>, certificates: Option<&Arc<Certificates>>) -> Vec<Arc<dyn Reload>> {
    let places = Arc::<Places>::clone(places) as Arc<dyn Reload>;
    let certificates = certificates.map(|certificates| Arc::<Certificates>::clone(certificates) as Arc<dyn Reload>);
    [places].into_iter().chain(certificates).collect()
}

fn body_limits(receive: &config::Receive) -> BodyLimits {
    BodyLimits {
        bytes_max: receive.body_bytes_max,
        inflated_bytes_max: receive.inflated_bytes_max,
        timeout: Duration::from_secs(receive.body_timeout_s),
    }
}

fn connection_limits(receive: &config::Receive) -> Limits {
    Limits {
        connections_max: receive.connections_max,
        header_timeout: Duration::from_secs(receive.header_timeout_s),
        idle_timeout: Duration::from_secs(receive.idle_timeout_s),
        drain_timeout: Duration::from_secs(receive.drain_timeout_s),
    }
}

fn admin_listen(listener: TcpListener, limits: Limits) -> Listen {
    Listen { listener, tls: None, limits, metrics: ConnectionMetrics::noop() }
}

fn admin_limits(public: &Limits) -> Limits {
    Limits { connections_max: ADMIN_CONNECTIONS_MAX, drain_timeout: ADMIN_DRAIN, ..public.clone() }
}
