//! One lane: follows its segments and applies them, whatever the database does meanwhile.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use super::FlushError;
use super::batch::{Flushed, flush};
use super::ledger::LedgerRow;
use super::retained::Retained;
use super::shared::{LaneState, Shared};
use super::store::{Position, Session, Store};
use crate::entropy::jitter;
use crate::journal::{Durability, JournalError, Segment, SegmentFeed};

/// Waits between attempts, doubled from the first to the last.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A lane that only a person can help looks again this often.
const STOPPED_RETRY: Duration = Duration::from_secs(15);
/// How often an idle lane looks whether a retained segment can go.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);
/// How often an idle lane asks whether the database still has what was committed last: behind a pooler a failover shows
/// in nothing else.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(10);
/// What cannot be read is read again so often before it counts as damaged: a device may only be away for a moment.
const UNREADABLE_MAX: u32 = 2;
/// Senders that wait for a commit hear `503` after so many failures in a row.
const WAITED_FOR_FAILURES_MAX: u32 = 3;

/// See the module.
pub struct Lane<S: Store> {
    shared: Arc<Shared>,
    store: S,
    feed: Arc<SegmentFeed>,
    state: Arc<LaneState>,
    session: Option<S::Session>,
    /// The ledger's row of the segment in front.
    ledger: Option<LedgerRow>,
    retained: Retained,
    backoff: Duration,
    failures_in_a_row: u32,
    /// How often in a row the same frames could not be read.
    unreadable: u32,
    /// When the database was last heard of what is committed.
    confirmed_at: Instant,
}

impl<S: Store> Lane<S> {
    pub fn new(shared: Arc<Shared>, store: S, feed: Arc<SegmentFeed>) -> Self {
        Self {
            shared,
            store,
            feed,
            state: Arc::default(),
            session: None,
            ledger: None,
            retained: Retained::default(),
            backoff: BACKOFF_FIRST,
            failures_in_a_row: 0,
            unreadable: 0,
            confirmed_at: Instant::now(),
        }
    }

    pub fn state(&self) -> Arc<LaneState> {
        Arc::clone(&self.state)
    }

    /// Runs until the journal is closed and everything in it is applied.
    pub async fn run(mut self) {
        tokio::select! {
            biased;
            () = self.shared.prepared.cancelled() => {}
            // Without a schema nothing can be flushed: all of it waits for the next start.
            () = self.shared.closing.cancelled() => return,
        }
        loop {
            // First of all: whatever fails below, it must show that events wait.
            self.note_oldest();
            if let Err(error) = self.tidy().await {
                self.recover_from(error).await;
                continue;
            }
            let Some(segment) = self.feed.front() else {
                if self.shared.closing.is_cancelled() {
                    return;
                }
                self.idle().await;
                continue;
            };
            let is_sealed = segment.progress.is_sealed() || segment.progress.is_closed();
            let has_work = segment.backlog_bytes() > 0 || self.ledger.is_none();
            if !has_work && !is_sealed {
                self.idle().await;
                continue;
            }
            self.gather(&segment).await;
            if let Err(error) = self.step(&segment).await {
                self.recover_from(error).await;
            }
        }
    }

    /// Nothing is to be done: waits for work, and looks now and then whether the database is still the one it was.
    async fn idle(&mut self) {
        let was_closing = self.shared.closing.is_cancelled();
        tokio::select! {
            biased;
            () = self.feed.bell.notified() => return,
            () = self.shared.closing.cancelled(), if !was_closing => return,
            () = sleep(TIDY_INTERVAL) => {}
        }
        if let Err(error) = self.confirm().await {
            self.recover_from(error).await;
        }
    }

    /// Asks for every segment: after a restart their order is not that of their commits.
    async fn confirm(&mut self) -> Result<(), FlushError> {
        let mut known: Vec<(Uuid, Position)> = self.retained.positions().collect();
        if let (Some(segment), Some(ledger)) = (self.feed.front(), &self.ledger) {
            known.push((segment.id, ledger.position));
        }
        if known.is_empty() {
            return Ok(());
        }
        if !self.session.as_ref().is_some_and(Session::is_open) {
            return self.connect().await;
        }
        if self.confirmed_at.elapsed() >= CONFIRM_INTERVAL {
            for (segment, position) in known {
                if !self.still_has(segment, position).await? {
                    break;
                }
            }
            self.confirmed_at = Instant::now();
        }
        Ok(())
    }

    /// Whether the database has what was committed of a segment. If it has forgotten, or is another one now, everything
    /// is compared again.
    async fn still_has(&mut self, segment: Uuid, position: Position) -> Result<bool, FlushError> {
        let Some(session) = self.session.as_mut() else {
            self.connect().await?;
            return Ok(false);
        };
        let applied = within(&self.shared, session.open(segment, &self.shared.node)).await?;
        // An old failure must not make the next one the last that senders wait for.
        self.failures_in_a_row = 0;
        if applied.position != position {
            tracing::warn!(%segment, "the database has forgotten commits: they are sent again");
            self.look_back();
        }
        Ok(applied.position == position)
    }

    /// Lets rows gather for one interval, unless there are none or plenty, or someone waits for the commit, or no more will
    /// come.
    async fn gather(&self, segment: &Segment) {
        if self.shared.durability == Durability::Database || segment.backlog_bytes() == 0 {
            return;
        }
        let plenty = self.shared.bytes_max as u64 / 4;
        let deadline = Instant::now() + self.shared.interval;
        while segment.backlog_bytes() < plenty && !segment.progress.is_sealed() && !self.shared.closing.is_cancelled() {
            tokio::select! {
                biased;
                () = sleep_until(deadline) => return,
                () = self.feed.bell.notified() => {}
                () = self.shared.closing.cancelled() => {}
            }
        }
    }

    /// Whether anything waits, and since when it was first seen: at most one wake-up after the frame was written.
    fn note_oldest(&self) {
        if self.feed.backlog_bytes() == 0 {
            self.state.set_oldest_ms(None);
        } else if self.state.oldest_ms().is_none() {
            self.state.set_oldest_ms(Some(self.shared.clock.now().as_millisecond()));
        }
    }

    /// One flush of the segment in front, or its retirement when it is done.
    async fn step(&mut self, segment: &Arc<Segment>) -> Result<(), FlushError> {
        if segment.progress.is_closed() && self.session.is_some() {
            return self.conclude(segment).await;
        }
        let Some(session) = self.session.as_mut() else {
            // What is in front may change by this.
            return self.connect().await;
        };
        if self.ledger.is_none() {
            let applied = within(&self.shared, session.open(segment.id, &self.shared.node)).await?;
            let row = LedgerRow::of(segment, applied, &self.shared.journal)?;
            self.shared.report().moved(segment.id, None, Some(&row));
            segment.applied(row.position.offset);
            self.ledger = Some(row);
        }
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let is_sealed = segment.progress.is_sealed();
        let from = ledger.position.offset;
        let frames = match segment.read(from, self.shared.bytes_max) {
            Ok(frames) => frames,
            Err(error) if self.unreadable < UNREADABLE_MAX => {
                self.unreadable += 1;
                return Err(error.into());
            }
            Err(_) => {
                self.unreadable = 0;
                let damage = segment.step_over(from);
                self.shared.journal.damaged(damage.end - damage.start);
                tracing::error!(
                    path = %segment.path.display(), from = damage.start, to = damage.end,
                    "journalled events are damaged: the file is kept, the range is stepped over"
                );
                return Ok(());
            }
        };
        self.unreadable = 0;
        if frames.is_empty() {
            // Damage at the end is no work that is left.
            segment.progress.set_applied_to(frames.to);
            // Sealed before it was read to its end: then that is the end.
            if is_sealed {
                self.retire();
            }
            return Ok(());
        }
        if let Some(first) = frames.iter().next() {
            self.state.set_oldest_ms(Some(first.header.written_ms));
        }
        let started = Instant::now();
        let flushed = within(&self.shared, flush(session, segment.id, ledger, &frames)).await?;
        self.shared.metrics.seconds.record(started.elapsed());
        self.applied(segment, flushed);
        Ok(())
    }

    /// A transaction is committed.
    fn applied(&mut self, segment: &Segment, flushed: Flushed) {
        let Flushed { ledger: row, counts, is_careful } = flushed;
        let metrics = &self.shared.metrics;
        metrics.rows.increment(counts.values().map(|counts| counts.settled.stored).sum());
        metrics.careful.increment(u64::from(is_careful));
        let quarantined: u64 = counts.values().map(|counts| counts.settled.quarantined).sum();
        if quarantined > 0 {
            tracing::warn!(rows = quarantined, "rows went to quarantine: see `weir quarantine list`");
        }
        segment.applied(row.position.offset);
        self.shared.report().moved(segment.id, self.ledger.as_ref(), Some(&row));
        for senders in segment.progress.take_committed(row.position.offset) {
            senders.committed();
        }
        self.ledger = Some(row);
        self.confirmed_at = Instant::now();
        self.backoff = BACKOFF_FIRST;
        self.failures_in_a_row = 0;
    }

    /// The segment in front is applied whole: keep the file for a while.
    fn retire(&mut self) {
        if let (Some(segment), Some(ledger)) = (self.feed.pop(), self.ledger.take()) {
            self.retained.push(segment, ledger);
        }
    }

    /// A segment whose senders were told that nothing is promised: what was committed after all is counted, and the
    /// rest can never be.
    async fn conclude(&mut self, segment: &Arc<Segment>) -> Result<(), FlushError> {
        let Some(session) = self.session.as_mut() else { return Ok(()) };
        let applied = within(&self.shared, session.close(segment.id, &self.shared.node)).await?;
        let row = LedgerRow::closed(applied);
        self.shared.report().moved(segment.id, self.ledger.take().as_ref(), Some(&row));
        self.feed.pop();
        self.retained.push(Arc::clone(segment), row);
        self.release();
        self.shared.journal.set_database_refusing(false);
        (self.backoff, self.failures_in_a_row) = (BACKOFF_FIRST, 0);
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), FlushError> {
        let session = within(&self.shared, self.store.connect()).await;
        self.session = Some(session.inspect_err(|_| self.shared.outage.begin())?);
        self.shared.outage.end();
        self.confirmed_at = Instant::now();
        self.look_back();
        Ok(())
    }

    /// A new connection may lead to a database that forgot commits: every segment still here is compared again.
    fn look_back(&mut self) {
        if let (Some(ledger), Some(segment)) = (self.ledger.take(), self.feed.front()) {
            self.shared.forget(&ledger, &segment);
        }
        let shared = &self.shared;
        let kept = self.retained.take().map(|kept| {
            shared.forget(&kept.ledger, &kept.segment);
            kept.segment
        });
        self.feed.put_back(kept);
    }

    /// Deletes applied segments whose time has come. The database is asked first whether it still has what they held: a
    /// failover may have forgotten it.
    async fn tidy(&mut self) -> Result<(), FlushError> {
        while self.tidy_one().await? {}
        Ok(())
    }

    /// Whether one was due.
    async fn tidy_one(&mut self) -> Result<bool, FlushError> {
        let is_short_of_room = self.shared.release_early && self.shared.journal.is_short_of_room();
        let Some(kept) = self.retained.due(self.shared.retain, is_short_of_room) else { return Ok(false) };
        let (segment, position) = (kept.segment.id, kept.ledger.position);
        if !self.still_has(segment, position).await? {
            return Ok(false);
        }
        if self.retained.due(self.shared.retain, false).is_none() {
            self.shared.journal.released_early();
        }
        self.release();
        Ok(true)
    }

    /// The oldest retained segment goes.
    fn release(&mut self) {
        if let Some(segment) = self.retained.release(self.shared.disk.as_ref(), &self.shared.journal) {
            self.shared.accounting.released(segment);
        }
    }

    async fn recover_from(&mut self, error: FlushError) {
        self.shared.metrics.retries.increment(1);
        // The connection may be in the midst of anything; a new one also reads the ledger again.
        let was_connected = self.session.take().is_some();
        self.failures_in_a_row += 1;
        let is_hopeless = !was_connected || self.failures_in_a_row >= WAITED_FOR_FAILURES_MAX || error.needs_a_person();
        if self.shared.durability == Durability::Database && is_hopeless {
            self.give_up();
        }
        match &error {
            FlushError::Moved if self.failures_in_a_row == 1 => {}
            FlushError::Fork(_) => self.set_aside(&error),
            _ if error.needs_a_person() => {
                tracing::error!(%error, "a flush lane stands still: events are safe in the journal, but do not arrive");
                self.shared.metrics.stopped_lanes.increment(1.0);
                self.pause(STOPPED_RETRY).await;
                self.shared.metrics.stopped_lanes.decrement(1.0);
            }
            _ => {
                let pause = self.backoff;
                tracing::warn!(%error, retry_ms = pause.as_millis() as u64, "flush failed: the events wait in the journal");
                self.pause(jitter(self.shared.entropy.as_ref(), pause)).await;
                self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
            }
        }
    }

    /// Another copy of this journal was here before: nothing more is sent from this file, and it is never deleted. What
    /// follows has ids of its own.
    fn set_aside(&mut self, error: &FlushError) {
        self.ledger = None;
        let Some(segment) = self.feed.pop() else { return };
        tracing::error!(%error, path = %segment.path.display(), "a journal segment is set aside: its events do not arrive");
        self.shared.journal.forked();
        // The books of its name are those of the copy that was first.
        self.shared.accounting.disown(segment.id);
        close(&segment);
    }

    /// Nobody waits any longer for a database that is away. Refusing lasts until a closed segment is concluded: so where
    /// nobody waits, nothing is refused either.
    fn give_up(&self) {
        let segments = self.feed.segments();
        if segments.is_empty() {
            return;
        }
        self.shared.journal.set_database_refusing(true);
        for segment in segments {
            close(&segment);
        }
    }

    async fn pause(&self, duration: Duration) {
        tokio::select! {
            biased;
            // Once, so that a closing collector tries again at once, but does not spin.
            () = self.shared.closing.cancelled() => sleep(BACKOFF_FIRST).await,
            () = self.shared.outage.over() => {}
            () = sleep(duration) => {}
        }
    }
}

/// Nothing more is promised in the segment: whoever waits for its commits is refused.
fn close(segment: &Segment) {
    for senders in segment.progress.close() {
        senders.refused(&JournalError::DatabaseAway);
    }
}

/// A connection that hangs must not hold the lane for ever.
async fn within<T>(shared: &Shared, work: impl Future<Output = Result<T, FlushError>>) -> Result<T, FlushError> {
    timeout(shared.timeout, work).await.unwrap_or(Err(FlushError::TimedOut(shared.timeout.as_secs())))
}
