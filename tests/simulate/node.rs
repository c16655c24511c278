//! One collector of the simulation: the real journal and the real lanes over a simulated disk and database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use weir::accounting::Accounting;
use weir::buffer::MemoryBudget;
use weir::clock::{Clock, Day, day_of};
use weir::disk::{Disk, MemoryDisk};
use weir::flush::lane::Lane;
use weir::flush::outage::Outage;
use weir::flush::shared::{LaneState, Shared};
use weir::journal::submission::{Submission, Submitted};
use weir::journal::writer::{Writer, WriterParts};
use weir::journal::{
    Ack, Durability, Handle, JournalError, JournalState, OpenError, SegmentFeed, WriterConfig, recover,
};
use weir::metrics::Metrics;
use weir::row::Row;

use crate::disk::SimDisk;
use crate::postgres::Model;
use crate::random::Random;

/// Small, so that a short history has many.
pub const SEGMENT_BYTES: u64 = 4096;
/// A few frames a transaction.
const FLUSH_BYTES_MAX: usize = 1500;
pub const RETAIN: Duration = Duration::from_secs(120);
const DIR: &str = "/journal";

/// The machine's clock: it follows the simulated time, with jumps.
pub struct SimClock {
    started: Instant,
    jumped_ms: AtomicI64,
}

impl SimClock {
    pub fn new() -> Self {
        Self { started: Instant::now(), jumped_ms: AtomicI64::new(0) }
    }

    pub fn jump(&self, ms: i64) {
        self.jumped_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let start_ms = 1_800_000_000_000;
        let ms = self.started.elapsed().as_millis() as i64 + self.jumped_ms.load(Ordering::Relaxed);
        Timestamp::from_millisecond(start_ms + ms).expect("this century")
    }
}

/// An event of the simulation.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    pub id: Uuid,
    pub is_named: bool,
}

pub type Answer = oneshot::Receiver<Result<Ack, JournalError>>;

/// A collector's settings for a whole history.
#[derive(Clone, Copy)]
pub struct Settings {
    pub durability: Durability,
    pub lanes: usize,
    pub bytes_max: u64,
}

/// What outlives a process.
pub struct Machine {
    pub disk: SimDisk,
    pub clock: Arc<SimClock>,
    pub random: Random,
    pub settings: Settings,
}

/// A process.
pub struct Process {
    writer: Option<Writer>,
    handle: Handle,
    pub state: Arc<JournalState>,
    pub accounting: Arc<Accounting>,
    feeds: Vec<Arc<SegmentFeed>>,
    lanes: Vec<JoinHandle<()>>,
    lane_states: Vec<Arc<LaneState>>,
    closing: CancellationToken,
}

impl Process {
    pub fn start(machine: &Machine, database: &Model) -> Result<Self, OpenError> {
        let Settings { durability, lanes, bytes_max } = machine.settings;
        let disk: Arc<dyn Disk> = match durability {
            Durability::Journal => Arc::new(machine.disk.clone()),
            _ => Arc::new(MemoryDisk::default()),
        };
        let entropy = Arc::new(machine.random.clone());
        let opened = recover::open(disk.as_ref(), entropy.as_ref(), Path::new(DIR))?;
        let node = opened.node.clone();
        let accounting = Arc::new(Accounting::default());
        let metrics = Metrics::new();
        let feeds: Vec<Arc<SegmentFeed>> = (0..lanes).map(|_| Arc::default()).collect();
        let (writer, handle, state) = Writer::new(
            opened,
            &feeds,
            WriterConfig { durability, segment_bytes: SEGMENT_BYTES, bytes_max, queue_length: 64 },
            WriterParts {
                disk: Arc::clone(&disk),
                clock: Arc::clone(&machine.clock) as Arc<dyn Clock>,
                entropy: entropy.clone(),
                accounting: Arc::clone(&accounting),
                metrics: metrics.journal.clone(),
            },
        );
        let closing = CancellationToken::new();
        let shared = Arc::new(Shared {
            accounting: Arc::clone(&accounting),
            metrics: metrics.flush.clone(),
            clock: Arc::clone(&machine.clock) as Arc<dyn Clock>,
            entropy,
            disk,
            journal: Arc::clone(&state),
            node,
            durability,
            interval: Duration::from_millis(100),
            bytes_max: FLUSH_BYTES_MAX,
            timeout: Duration::from_secs(30),
            retain: Some(if durability == Durability::Journal { RETAIN } else { Duration::ZERO }),
            release_early: false,
            outage: Outage::default(),
            prepared: CancellationToken::new(),
            closing: closing.clone(),
        });
        shared.prepared.cancel();
        let lane = |feed: &Arc<SegmentFeed>| Lane::new(Arc::clone(&shared), database.clone(), Arc::clone(feed));
        let lanes: Vec<Lane<Model>> = feeds.iter().map(lane).collect();
        let lane_states = lanes.iter().map(Lane::state).collect();
        let lanes = lanes.into_iter().map(|lane| tokio::task::spawn_local(lane.run())).collect();
        Ok(Self { writer: Some(writer), handle, state, accounting, feeds, lanes, lane_states, closing })
    }

    /// Sends events as one request.
    pub fn submit(&self, events: &[Event]) -> Result<Answer, JournalError> {
        let mut days = (Day::MAX, Day::MIN);
        let mut tuples = Vec::new();
        let mut submitted = SmallVec::new();
        for event in events {
            let start = tuples.len();
            // As its id says: a retry has the time of the first try.
            let occurred_at = Timestamp::from_millisecond((event.id.as_u128() >> 80) as i64).expect("a time");
            days = (days.0.min(day_of(occurred_at)), days.1.max(day_of(occurred_at)));
            let row = Row { event_id: event.id, occurred_at, source: "web", kind: "track", ..Row::default() };
            row.encode(&mut tuples);
            let tuple_bytes = u32::try_from(tuples.len() - start).expect("short");
            submitted.push(Submitted { id: event.id, tuple_bytes, has_message_id: event.is_named });
        }
        let (answer, wait) = oneshot::channel();
        let memory = MemoryBudget::new(1).reservation();
        self.handle.submit(Submission { source: "web".into(), tuples, events: submitted, days, answer, memory })?;
        Ok(wait)
    }

    /// Lets the journal write one frame; false if it has given up for good.
    pub fn write(&mut self) -> bool {
        self.writer.as_mut().is_some_and(|writer| writer.run_once().is_ok())
    }

    /// Whether everything is applied and released; what is set aside stays.
    pub fn is_at_rest(&self) -> bool {
        self.feeds.iter().all(|feed| feed.segments().iter().all(|segment| segment.backlog_bytes() == 0))
            && self.lanes.iter().all(|lane| !lane.is_finished())
    }

    /// Whether any lane says that something waits.
    pub fn lags(&self) -> bool {
        self.lane_states.iter().any(|state| state.oldest_ms().is_some())
    }

    /// Ends as SIGTERM would: everything queued is written, lanes get a while.
    pub async fn stop(mut self) {
        while self.handle.queue_length() > 0 && self.write() {}
        drop(self.writer.take());
        self.closing.cancel();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && !self.lanes.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.abort().await;
    }

    /// Ends wherever it is.
    pub async fn abort(mut self) {
        for lane in self.lanes.drain(..) {
            lane.abort();
            if let Err(error) = lane.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        drop(self.writer.take());
    }

    /// The state of the lanes, for a message.
    pub fn describe(&self) -> String {
        let lane = |feed: &Arc<SegmentFeed>| {
            let segments = feed.segments();
            let segment = |segment: &Arc<weir::journal::Segment>| {
                let progress = &segment.progress;
                let (synced, applied, sealed) = (progress.synced_to(), progress.applied_to(), progress.is_sealed());
                format!("{applied}/{synced}{}", if sealed { " sealed" } else { "" })
            };
            format!("{:?}", segments.iter().map(segment).collect::<Vec<_>>())
        };
        let finished: Vec<bool> = self.lanes.iter().map(JoinHandle::is_finished).collect();
        format!("lanes {:?}, ended {finished:?}", self.feeds.iter().map(lane).collect::<Vec<_>>())
    }

    /// Events that have not arrived, lost ones included.
    pub fn pending(&self) -> u64 {
        self.balance().values().map(weir::accounting::Balance::pending).sum()
    }

    pub fn balance(&self) -> BTreeMap<String, weir::accounting::Balance> {
        self.accounting.balances().into_iter().collect()
    }
}

/// The segments among a disk's files.
pub fn segments(files: &[(PathBuf, Vec<u8>)]) -> impl Iterator<Item = &(PathBuf, Vec<u8>)> {
    files.iter().filter(|(path, _)| path.extension().is_some_and(|extension| extension == recover::SEGMENT_EXTENSION))
}
