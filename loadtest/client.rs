//! The generator: keep-alive connections with hand-written HTTP, on one thread of its own.
//!
//! It shares the machine with what it measures, so it does as little as it can: one write and one read a request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::traffic::{Sent, Shape, Stream, Traffic, events};

/// No answer that is waited for is longer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// An answer that takes longer is a fault of its own.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the schedule is looked at, at the most: the timers of asynchronous runtimes tick ten times as slowly.
const PACER_INTERVAL: Duration = Duration::from_micros(100);

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Each connection sends as soon as it has its answer, until the time is over or the events are out.
    Full { events_max: u64 },
    /// At fixed moments, whatever the answers do.
    Schedule { requests_per_second: f64 },
}

/// What the generator is to do.
#[derive(Clone)]
pub struct Load {
    pub traffic: Arc<Traffic>,
    pub address: SocketAddr,
    pub shape: Shape,
    pub connections: u32,
    /// Whose events they are: connections take turns.
    pub sites: u32,
    /// The first of as many numbers of streams as there are connections.
    pub first_stream: u32,
    pub pace: Pace,
    pub duration: Duration,
    /// Any other answer is a refusal.
    pub expected_status: u16,
    pub control: Arc<Control>,
}

/// What others may see of a load while it lasts, and say to it.
#[derive(Debug, Default)]
pub struct Control {
    /// Latencies are kept apart by the section in which a request was due.
    pub section: AtomicUsize,
    /// Events with the expected answer so far.
    pub answered: AtomicU64,
    /// Ends a load on a schedule: what is due until then is still sent.
    pub stop: CancellationToken,
}

/// What came of it.
pub struct Outcome {
    /// Requests with the expected answer.
    pub answered: Vec<Sent>,
    /// Other answers: how many of each status, and the text of one.
    pub refused: BTreeMap<u16, (u64, String)>,
    pub started: Instant,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// By section.
    pub timing: Vec<Timing>,
}

/// In microseconds, up to a minute, to three digits.
pub struct Timing {
    /// From the moment when a request was due to its answer.
    pub latency: Histogram<u64>,
    /// By which the generator itself was late: part of the above.
    pub lateness: Histogram<u64>,
}

impl Timing {
    fn new() -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, 60_000_000, 3);
        Ok(Self { latency: histogram()?, lateness: histogram()? })
    }
}

impl Outcome {
    pub fn events(&self) -> u64 {
        events(&self.answered)
    }
}

/// One connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4_096) })
    }

    /// Sends a request and waits for its answer: status and body.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection was closed instead of an answer");
            }
            if let Some(head) = Head::parse(&self.buffer)?
                && self.buffer.len() >= head.bytes + head.body_bytes
            {
                return Ok((head.status, &self.buffer[head.bytes..]));
            }
            ensure!(self.buffer.len() < ANSWER_BYTES_MAX, "the answer is too long");
        }
    }
}

/// What must be known of an answer's head.
struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
}

impl Head {
    /// `None` while the head is incomplete.
    fn parse(answer: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = std::str::from_utf8(&answer[..end])?;
        let status: u16 = head.get(9..12).context("no status line")?.parse().context("the status is no number")?;
        let length = head.lines().skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse())
        });
        let body_bytes = match length {
            Some(length) => length?,
            None if status == 204 => 0,
            None => bail!("an answer without a length"),
        };
        Ok(Some(Self { status, bytes: end + 4, body_bytes }))
    }
}

/// Runs the load on a thread of its own.
pub async fn run(load: Load) -> anyhow::Result<Outcome> {
    let (report, outcome) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("loadtest-client".to_owned()).spawn(move || {
        // Nobody listens any more only when the process is ending.
        let _ = report.send(runtime.block_on(drive(load)));
    })?;
    outcome.await.context("the generator ended unexpectedly")?
}

/// What the connections share.
struct Turn {
    load: Load,
    started: Instant,
    /// Requests begun.
    begun: AtomicU64,
    /// Requests that there will be.
    planned: AtomicU64,
    due: Semaphore,
    /// By section. One pair of histograms is larger than a processor's cache of the second level: every connection has the
    /// same.
    timing: Mutex<Vec<Timing>>,
}

impl Turn {
    /// Notes how long ago a request was due, as `kind` of time.
    fn note(&self, section: usize, due: Instant, kind: fn(&mut Timing) -> &mut Histogram<u64>) -> anyhow::Result<()> {
        let mut timing = self.timing.lock().unwrap_or_else(PoisonError::into_inner);
        while timing.len() <= section {
            timing.push(Timing::new()?);
        }
        kind(&mut timing[section]).saturating_record(due.elapsed().as_micros() as u64);
        Ok(())
    }
}

async fn drive(load: Load) -> anyhow::Result<Outcome> {
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        connections.push(Connection::open(load.address).await?);
    }
    let planned = match load.pace {
        Pace::Full { events_max } => events_max / u64::from(load.shape.events()),
        Pace::Schedule { requests_per_second } => (requests_per_second * load.duration.as_secs_f64()) as u64,
    };
    let turn = Arc::new(Turn {
        started: Instant::now(),
        begun: AtomicU64::new(0),
        planned: AtomicU64::new(planned),
        due: Semaphore::new(0),
        timing: Mutex::default(),
        load,
    });
    if let Pace::Schedule { requests_per_second } = turn.load.pace {
        let turn = Arc::clone(&turn);
        let pacer = move || release(&turn, planned, requests_per_second);
        thread::Builder::new().name("loadtest-pacer".to_owned()).spawn(pacer)?;
    }
    let mut tasks = JoinSet::new();
    for (number, connection) in (turn.load.first_stream..).zip(connections) {
        let stream = turn.load.traffic.stream(number, turn.load.sites);
        tasks.spawn(converse(Arc::clone(&turn), connection, stream));
    }
    let mut outcome = Outcome::new(turn.started);
    while let Some(part) = tasks.join_next().await {
        outcome.add(part??);
    }
    outcome.elapsed = turn.started.elapsed();
    outcome.timing = std::mem::take(&mut turn.timing.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(outcome)
}

/// Lets requests go when they are due, and at the end everyone.
fn release(turn: &Turn, planned: u64, requests_per_second: f64) {
    let mut released = 0;
    while released < planned && !turn.load.control.stop.is_cancelled() {
        let due = (turn.started.elapsed().as_secs_f64() * requests_per_second) as u64 + 1;
        let due = due.min(planned);
        turn.due.add_permits((due - released) as usize);
        released = due;
        // Not sooner than need be: the cores are those of what is measured.
        let next = Duration::from_secs_f64(released as f64 / requests_per_second);
        thread::sleep(next.saturating_sub(turn.started.elapsed()).max(PACER_INTERVAL));
    }
    turn.planned.store(released, Ordering::Release);
    turn.due.add_permits(turn.load.connections as usize);
}

/// One connection's requests, one after the other.
async fn converse(turn: Arc<Turn>, mut connection: Connection, mut stream: Stream) -> anyhow::Result<Outcome> {
    let load = &turn.load;
    let mut outcome = Outcome::new(turn.started);
    let mut request = Vec::new();
    loop {
        if matches!(load.pace, Pace::Schedule { .. }) {
            turn.due.acquire().await?.forget();
        } else if turn.started.elapsed() >= load.duration {
            return Ok(outcome);
        }
        let index = turn.begun.fetch_add(1, Ordering::Relaxed);
        if index >= turn.planned.load(Ordering::Acquire) {
            return Ok(outcome);
        }
        let due = match load.pace {
            Pace::Full { .. } => None,
            Pace::Schedule { requests_per_second } => {
                Some(turn.started + Duration::from_secs_f64(index as f64 / requests_per_second))
            }
        };
        let section = load.control.section.load(Ordering::Relaxed);
        let sent = stream.write(load.shape, &mut request);
        if let Some(due) = due {
            turn.note(section, due, |timing| &mut timing.lateness)?;
        }
        let exchange = tokio::time::timeout(ANSWER_TIMEOUT, connection.exchange(&request));
        let (status, body) = exchange.await.context("no answer in time")??;
        if let Some(due) = due {
            turn.note(section, due, |timing| &mut timing.latency)?;
        }
        if status == load.expected_status {
            load.control.answered.fetch_add(u64::from(sent.events), Ordering::Relaxed);
            outcome.answered.push(sent);
        } else {
            outcome.refuse(status, 1, || String::from_utf8_lossy(body).into_owned());
        }
    }
}

impl Outcome {
    fn new(started: Instant) -> Self {
        Self { answered: Vec::new(), refused: BTreeMap::new(), started, elapsed: Duration::ZERO, timing: Vec::new() }
    }

    fn refuse(&mut self, status: u16, times: u64, text: impl FnOnce() -> String) {
        self.refused.entry(status).or_insert_with(|| (0, text())).0 += times;
    }

    fn add(&mut self, part: Self) {
        self.answered.extend(part.answered);
        for (status, (times, text)) in part.refused {
            self.refuse(status, times, || text);
        }
    }
}
