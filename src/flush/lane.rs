//! One lane: follows its segments and applies them, whatever the database does meanwhile.

use std::collections::VecDeque;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use deadpool_postgres::Object;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::ledger::{LedgerRow, promised};
use super::partitions::Partitions;
use super::{FlushError, careful, copy};
use crate::accounting::Accounting;
use crate::clock::Clock;
use crate::database::Database;
use crate::disk::Disk;
use crate::journal::JournalState;
use crate::journal::segment::Frames;
use crate::journal::{Segment, SegmentFeed};
use crate::metrics::FlushMetrics;

/// Waits between attempts, doubled from the first to the last.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A lane that only a person can help looks again this often.
const STOPPED_RETRY: Duration = Duration::from_secs(15);
/// How often an idle lane looks whether a retained segment can go.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);
/// Waiting longer for a ledger row means that someone else holds it: better start over.
const LOCK_TIMEOUT_MS: u32 = 10_000;

/// What all lanes share.
pub struct Shared {
    pub database: Database,
    pub partitions: Partitions,
    pub accounting: Arc<Accounting>,
    pub metrics: FlushMetrics,
    pub clock: Arc<dyn Clock>,
    pub disk: Arc<dyn Disk>,
    pub journal: Arc<JournalState>,
    pub node: String,
    pub interval: Duration,
    pub bytes_max: usize,
    pub retain: Duration,
    /// Set once the database has weir's schema.
    pub prepared: CancellationToken,
    /// Set once no segment will be added.
    pub closing: CancellationToken,
}

/// What others may see of a lane.
#[derive(Debug, Default)]
pub struct LaneState {
    /// When the oldest frame not yet applied was written, Unix milliseconds; 0: none.
    oldest_ms: AtomicI64,
    /// Moves with each commit.
    commits: AtomicU64,
}

impl LaneState {
    pub fn oldest_ms(&self) -> Option<i64> {
        Some(self.oldest_ms.load(Ordering::Relaxed)).filter(|ms| *ms != 0)
    }

    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

/// See the module.
pub struct Lane {
    shared: Arc<Shared>,
    feed: Arc<SegmentFeed>,
    state: Arc<LaneState>,
    client: Option<Object>,
    /// The ledger's row of the segment in front.
    ledger: Option<LedgerRow>,
    /// Applied segments with the time they may go, oldest first. Their ledger rows, to notice a database that forgot.
    retained: VecDeque<(Instant, Arc<Segment>, LedgerRow)>,
    backoff: Duration,
}

impl Lane {
    pub fn new(shared: Arc<Shared>, feed: Arc<SegmentFeed>) -> Self {
        Self {
            shared,
            feed,
            state: Arc::default(),
            client: None,
            ledger: None,
            retained: VecDeque::new(),
            backoff: BACKOFF_FIRST,
        }
    }

    pub fn state(&self) -> Arc<LaneState> {
        Arc::clone(&self.state)
    }

    /// Runs until the journal is closed and everything in it is applied.
    pub async fn run(mut self) {
        tokio::select! {
            () = self.shared.prepared.cancelled() => {}
            // Without a schema nothing can be flushed: all of it waits for the next start.
            () = self.shared.closing.cancelled() => return,
        }
        loop {
            if let Err(error) = self.tidy().await {
                self.recover_from(error).await;
                continue;
            }
            let Some(segment) = self.feed.front() else {
                if self.shared.closing.is_cancelled() {
                    return;
                }
                tokio::select! {
                    () = self.wait() => {}
                    () = self.shared.closing.cancelled() => {}
                }
                continue;
            };
            let has_work = segment.backlog_bytes() > 0 || self.ledger.is_none();
            if !has_work && !segment.is_sealed() {
                self.state.oldest_ms.store(0, Ordering::Relaxed);
                self.wait().await;
                continue;
            }
            if segment.backlog_bytes() > 0 {
                self.note_oldest();
                self.gather(&segment).await;
            }
            match self.step(&segment).await {
                Ok(()) => self.backoff = BACKOFF_FIRST,
                Err(error) => self.recover_from(error).await,
            }
        }
    }

    async fn wait(&self) {
        tokio::select! {
            () = self.feed.bell.notified() => {}
            () = sleep(TIDY_INTERVAL) => {}
        }
    }

    /// Lets rows gather for one interval, unless there are plenty or no more will come.
    async fn gather(&self, segment: &Segment) {
        let plenty = self.shared.bytes_max as u64 / 4;
        let deadline = Instant::now() + self.shared.interval;
        while segment.backlog_bytes() < plenty && !segment.is_sealed() && !self.shared.closing.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                () = self.feed.bell.notified() => {}
                () = self.shared.closing.cancelled() => {}
            }
        }
    }

    fn note_oldest(&self) {
        if self.state.oldest_ms.load(Ordering::Relaxed) == 0 {
            // The time that work was first seen: at most one wake-up after the frame was written.
            self.state.oldest_ms.store(self.shared.clock.now().as_millisecond(), Ordering::Relaxed);
        }
    }

    /// One flush of the segment in front, or its retirement when it is done.
    async fn step(&mut self, segment: &Arc<Segment>) -> Result<(), FlushError> {
        if self.client.is_none() {
            self.client = Some(self.shared.database.client().await?);
            self.look_back();
            // What is in front may have changed.
            return Ok(());
        }
        let Some(client) = self.client.as_mut() else {
            return Ok(());
        };
        if self.ledger.is_none() {
            let row = within(&self.shared, LedgerRow::open(client, segment, &self.shared.node)).await?;
            row.report(None, &self.shared.accounting);
            segment.set_applied_to(row.applied_to);
            self.ledger = Some(row);
        }
        let Some(ledger) = &self.ledger else {
            return Ok(());
        };
        let frames = segment.read(ledger.applied_to, self.shared.bytes_max)?;
        if frames.is_empty() {
            if segment.is_sealed() && segment.read(frames.to, 0)?.is_empty() {
                self.retire();
            }
            return Ok(());
        }
        if let Some(first) = frames.iter().next() {
            self.state.oldest_ms.store(first.header.written_ms, Ordering::Relaxed);
        }
        let started = Instant::now();
        let row = within(&self.shared, flush(&self.shared, client, ledger, segment, &frames)).await?;
        self.shared.metrics.seconds.record(started.elapsed());
        row.report(Some(ledger), &self.shared.accounting);
        segment.set_applied_to(row.applied_to);
        self.ledger = Some(row);
        self.state.commits.fetch_add(1, Ordering::Relaxed);
        if segment.backlog_bytes() == 0 {
            self.state.oldest_ms.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The segment in front is applied whole: keep the file for a while.
    fn retire(&mut self) {
        if let (Some(segment), Some(ledger)) = (self.feed.pop(), self.ledger.take()) {
            self.retained.push_back((Instant::now() + self.shared.retain, segment, ledger));
        }
    }

    /// A new connection may lead to a database that forgot commits: every segment still here is compared again.
    fn look_back(&mut self) {
        if let (Some(ledger), Some(segment)) = (self.ledger.take(), self.feed.front()) {
            forget(&ledger, &segment, &self.shared.accounting);
        }
        for (_, segment, ledger) in &self.retained {
            forget(ledger, segment, &self.shared.accounting);
        }
        self.feed.put_back(self.retained.drain(..).map(|(_, segment, _)| segment));
        self.shared.partitions.forget();
    }

    /// Deletes applied segments whose time has come, or, when the journal is short of room, the oldest ones early. The
    /// database is asked first whether it still has what they held: a failover may have forgotten it.
    async fn tidy(&mut self) -> Result<(), FlushError> {
        let is_due = |until: &Instant| *until <= Instant::now() || self.shared.journal.is_short_of_room();
        if !self.retained.front().is_some_and(|(until, ..)| is_due(until)) {
            return Ok(());
        }
        let Some(client) = self.client.as_mut() else {
            // Connecting looks back at everything that is retained.
            return if self.feed.front().is_none() { self.connect().await } else { Ok(()) };
        };
        let Some((_, segment, ledger)) = self.retained.front() else { return Ok(()) };
        let row = within(&self.shared, LedgerRow::open(client, segment, &self.shared.node)).await?;
        if row.applied_to != ledger.applied_to {
            tracing::warn!(path = %segment.path.display(), "the database has forgotten commits: they are sent again");
            self.look_back();
            return Ok(());
        }
        if let Some((_, segment, _)) = self.retained.pop_front().filter(|(_, segment, _)| !segment.is_damaged()) {
            let bytes = segment.file_bytes();
            let dir = segment.path.parent().unwrap_or(Path::new("."));
            match self.shared.disk.remove(&segment.path).and_then(|()| self.shared.disk.sync_dir(dir)) {
                Ok(()) => self.shared.journal.removed(bytes),
                Err(error) => tracing::warn!(%error, path = %segment.path.display(), "an applied segment stays"),
            }
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), FlushError> {
        self.client = Some(self.shared.database.client().await?);
        self.look_back();
        Ok(())
    }

    async fn recover_from(&mut self, error: FlushError) {
        self.shared.metrics.retries.increment(1);
        // The connection may be in the midst of anything; a new one also reads the ledger again.
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
        let pause = match &error {
            FlushError::Moved => return,
            FlushError::Schema(_) | FlushError::Fork(_) | FlushError::Journal(_) | FlushError::Miscounted { .. } => {
                tracing::error!(%error, "a flush lane stands still: events are safe in the journal, but do not arrive");
                self.shared.metrics.stopped_lanes.increment(1.0);
                self.pause(STOPPED_RETRY).await;
                self.shared.metrics.stopped_lanes.decrement(1.0);
                return;
            }
            _ => self.backoff,
        };
        tracing::warn!(%error, retry_ms = pause.as_millis() as u64, "flush failed: the events wait in the journal");
        self.pause(jitter(pause)).await;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }

    async fn pause(&self, duration: Duration) {
        tokio::select! {
            () = sleep(duration) => {}
            // Once, so that a closing collector tries again at once, but does not spin.
            () = self.shared.closing.cancelled() => sleep(BACKOFF_FIRST).await,
        }
    }
}

/// A connection that hangs must not hold the lane for ever.
async fn within<T>(shared: &Shared, work: impl Future<Output = Result<T, FlushError>>) -> Result<T, FlushError> {
    let limit = shared.database.statement_timeout() + BACKOFF_MAX;
    timeout(limit, work).await.unwrap_or(Err(FlushError::TimedOut(limit.as_secs())))
}

fn forget(ledger: &LedgerRow, segment: &Segment, accounting: &Accounting) {
    ledger.unreport(accounting);
    segment.set_applied_to(0);
}

/// Between half of `duration` and the whole: lanes and collectors must not knock in step.
fn jitter(duration: Duration) -> Duration {
    let mut random = [0];
    // Without randomness there is no jitter, and no harm.
    let _ = getrandom::fill(&mut random);
    duration.mul_f64(0.5 + f64::from(random[0]) / 510.0)
}

/// One transaction; returns the ledger's row after it.
async fn flush(
    shared: &Shared,
    client: &mut Object,
    ledger: &LedgerRow,
    segment: &Segment,
    frames: &Frames,
) -> Result<LedgerRow, FlushError> {
    shared.partitions.ensure_for(client, frames).await?;
    match flush_all(shared, client, ledger, frames).await {
        Err(FlushError::Data(error)) => {
            tracing::debug!(%error, "sorting out a batch");
            shared.metrics.careful.increment(1);
            flush_carefully(shared, client, ledger, segment, frames).await
        }
        result => result,
    }
}

async fn flush_all(
    shared: &Shared,
    client: &mut Object,
    ledger: &LedgerRow,
    frames: &Frames,
) -> Result<LedgerRow, FlushError> {
    let counts = promised(frames);
    let transaction = begin(shared, client).await?;
    let store = async {
        ledger.advance(&transaction, frames).await?;
        let sent: u64 = frames.iter().map(|frame| u64::from(frame.header.tuples)).sum();
        let stored = if sent == 0 { 0 } else { copy(&transaction, "analytics.events", frames.tuples()).await? };
        if stored != sent {
            return Err(FlushError::Miscounted { stored, sent });
        }
        ledger.settle(&transaction, &counts).await?;
        Ok(stored)
    };
    match store.await {
        Ok(stored) => {
            transaction.commit().await?;
            shared.metrics.rows.increment(stored);
            Ok(ledger.advanced(frames, &counts))
        }
        Err(error) => {
            // Waited for: PgBouncer loses count of its answers when more follows a failed COPY without a pause, and
            // gives the connection to someone else. Of two errors the first is the one to tell.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}

async fn flush_carefully(
    shared: &Shared,
    client: &mut Object,
    ledger: &LedgerRow,
    segment: &Segment,
    frames: &Frames,
) -> Result<LedgerRow, FlushError> {
    let transaction = begin(shared, client).await?;
    ledger.advance(&transaction, frames).await?;
    let counts = careful::store(&transaction, frames, segment.id, segment.row_version).await?;
    ledger.settle(&transaction, &counts).await?;
    transaction.commit().await?;
    let quarantined: u64 = counts.values().map(|counts| counts.settled.quarantined).sum();
    if quarantined > 0 {
        tracing::warn!(rows = quarantined, "rows went to quarantine: see `weir quarantine list`");
    }
    shared.metrics.rows.increment(counts.values().map(|counts| counts.settled.stored).sum());
    Ok(ledger.advanced(frames, &counts))
}

async fn begin<'a>(shared: &Shared, client: &'a mut Object) -> Result<deadpool_postgres::Transaction<'a>, FlushError> {
    let transaction = client.transaction().await?;
    let statement_ms = shared.database.statement_timeout().as_millis();
    transaction
        .batch_execute(&format!(
            "set local lock_timeout = {LOCK_TIMEOUT_MS}; set local statement_timeout = {statement_ms}"
        ))
        .await?;
    Ok(transaction)
}
