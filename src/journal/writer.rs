//! The journal thread: group commit.
//!
//! Requests leave their tuples in a bounded queue and wait. This thread takes all that is there, writes it as one frame,
//! syncs, and only then answers everyone. While it syncs, the next frame gathers in the queue.
//!
//! [`Durability`] moves the answer to another stage of the same way: with `memory` the "disk" is memory and the answer
//! a `202`; with `database` the frame's senders wait in its segment until the lane has committed.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use rustix::io::Errno;
use smallvec::SmallVec;
use uuid::Uuid;

use super::active::{ActiveSegments, NoSegment};
use super::frame::{FRAME_HEADER_BYTES, FrameBuilder, SourceCount};
use super::recover::Opened;
use super::submission::Senders;
use super::{Durability, JournalError, JournalState, RecentIds, SegmentFeed, Submission};
use crate::accounting::Accounting;
use crate::clock::{Clock, Day};
use crate::disk::{Disk, is_one_of};
use crate::entropy::Entropy;
use crate::event_id::tail_bits;
use crate::metrics::JournalMetrics;

/// A frame is closed at this size: larger ones would only delay their first waiter.
const FRAME_TARGET_BYTES: usize = 1024 * 1024;
/// The disk may fail once: a new file may well be written. Twice in a row, and a person should look.
const FAILURES_IN_A_ROW_MAX: u32 = 2;

/// The settings of the journal thread.
#[derive(Debug, Clone, Copy)]
pub struct WriterConfig {
    pub durability: Durability,
    pub segment_bytes: u64,
    /// All segments together.
    pub bytes_max: u64,
    /// Waiting submissions.
    pub queue_length: usize,
}

enum Command {
    Submit(Submission),
    Close,
}

/// The requests' end of the journal.
#[derive(Clone)]
pub struct Handle {
    commands: Sender<Command>,
}

impl Handle {
    /// Hands events over. The answer comes through [`Submission::answer`].
    pub fn submit(&self, submission: Submission) -> Result<(), JournalError> {
        self.commands.try_send(Command::Submit(submission)).map_err(|error| match error {
            TrySendError::Full(_) => JournalError::QueueFull,
            TrySendError::Disconnected(_) => JournalError::Closed,
        })
    }

    /// Submissions waiting.
    pub fn queue_length(&self) -> usize {
        self.commands.len()
    }

    /// Lets the thread finish what is queued and end.
    pub fn close(&self) {
        // An error means that it has ended already.
        let _ = self.commands.send(Command::Close);
    }
}

/// The parts of the world that the journal thread needs.
pub struct WriterParts {
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub accounting: Arc<Accounting>,
    pub metrics: JournalMetrics,
}

/// The journal thread's own state.
pub struct Writer {
    commands: Receiver<Command>,
    durability: Durability,
    segments: ActiveSegments,
    recent: RecentIds,
    builder: FrameBuilder,
    batch: Vec<Submission>,
    state: Arc<JournalState>,
    clock: Arc<dyn Clock>,
    accounting: Arc<Accounting>,
    metrics: JournalMetrics,
    failures_in_a_row: u32,
    /// Keeps the directory's lock until the thread ends.
    _opened: Opened,
}

/// The disk failed twice in a row: going on would only refuse. The process should end and be looked at.
#[derive(Debug, thiserror::Error)]
#[error("the journal's disk failed twice in a row: {0}")]
pub struct DiskFailed(String);

/// What a batch promises: by source, and which of its events are new.
struct Promise {
    /// Source, events accepted, of which duplicates.
    counts: SmallVec<[(Arc<str>, u32, u32); 4]>,
    fresh: Vec<bool>,
    tuples: u32,
}

impl Writer {
    /// Takes an opened directory and distributes the segments found in it over the lanes.
    pub fn new(
        mut opened: Opened,
        feeds: &[Arc<SegmentFeed>],
        config: WriterConfig,
        parts: WriterParts,
    ) -> (Self, Handle, Arc<JournalState>) {
        let state = Arc::new(JournalState::new(config.bytes_max, config.segment_bytes));
        opened.hand_out(feeds, &state, &parts.accounting);
        let (sender, commands) = crossbeam_channel::bounded(config.queue_length);
        let segments = ActiveSegments::new(
            parts.disk,
            Arc::clone(&parts.clock),
            parts.entropy,
            opened.dir.clone(),
            config.segment_bytes,
            Arc::clone(&state),
            feeds,
        );
        let writer = Self {
            commands,
            durability: config.durability,
            segments,
            recent: std::mem::take(&mut opened.recent),
            builder: FrameBuilder::default(),
            batch: Vec::new(),
            state: Arc::clone(&state),
            clock: parts.clock,
            accounting: parts.accounting,
            metrics: parts.metrics,
            failures_in_a_row: 0,
            _opened: opened,
        };
        (writer, Handle { commands: sender }, state)
    }

    /// Runs until [`Handle::close`], or until the disk has failed for good.
    pub fn run(mut self) -> Result<(), DiskFailed> {
        while let Ok(Command::Submit(first)) = self.commands.recv() {
            if !self.commit(first)? {
                break;
            }
        }
        Ok(())
    }

    /// One frame of what is queued now, without waiting: for those who have no thread to spare, as a simulation.
    pub fn run_once(&mut self) -> Result<(), DiskFailed> {
        if let Ok(Command::Submit(first)) = self.commands.try_recv() {
            self.commit(first)?;
        }
        Ok(())
    }

    /// One frame of `first` and all that waits behind it; false if nothing will come any more.
    fn commit(&mut self, first: Submission) -> Result<bool, DiskFailed> {
        let mut is_open = true;
        let mut bytes = first.tuples.len();
        self.batch.push(first);
        while bytes < FRAME_TARGET_BYTES {
            match self.commands.try_recv() {
                Ok(Command::Submit(next)) => {
                    bytes += next.tuples.len();
                    self.batch.push(next);
                }
                Ok(Command::Close) => {
                    is_open = false;
                    break;
                }
                Err(_) => break,
            }
        }
        let promise = self.promise();
        self.build(&promise);
        let Err(error) = self.write(&promise) else { return Ok(is_open) };
        self.state.refused();
        self.refuse(&promise, &error);
        match error {
            JournalError::Disk(reason) if self.failures_in_a_row >= FAILURES_IN_A_ROW_MAX => Err(DiskFailed(reason)),
            _ => Ok(is_open),
        }
    }

    /// Notes the batch's ids and counts what it promises.
    fn promise(&mut self) -> Promise {
        let events = self.batch.iter().map(|submission| submission.events.len()).sum();
        let mut promise = Promise { counts: SmallVec::new(), fresh: Vec::with_capacity(events), tuples: 0 };
        // An id that was seen but is not committed is no duplicate yet: there the unique index decides.
        let knows_ids = self.durability != Durability::Database;
        for submission in &self.batch {
            let counts = &mut promise.counts;
            let at = counts.iter().position(|(source, ..)| *source == submission.source).unwrap_or_else(|| {
                counts.push((Arc::clone(&submission.source), 0, 0));
                counts.len() - 1
            });
            for event in &submission.events {
                let can_repeat = knows_ids && event.has_message_id;
                let is_new = !can_repeat || self.recent.insert(tail_bits(event.id));
                counts[at].1 += 1;
                counts[at].2 += u32::from(!is_new);
                promise.tuples += u32::from(is_new);
                promise.fresh.push(is_new);
            }
        }
        promise
    }

    fn build(&mut self, promise: &Promise) {
        let sources = promise.counts.iter().map(|(source, accepted, duplicate)| SourceCount {
            source,
            accepted: *accepted,
            duplicate: *duplicate,
        });
        self.builder.start(sources);
        let mut fresh = promise.fresh.as_slice();
        for submission in &self.batch {
            let (own, rest) = fresh.split_at(submission.events.len());
            fresh = rest;
            if own.iter().all(|fresh| *fresh) {
                self.builder.tuples(&submission.tuples);
                continue;
            }
            let mut at = 0;
            for (event, fresh) in submission.events.iter().zip(own) {
                let end = at + event.tuple_bytes as usize;
                if *fresh {
                    self.builder.tuples(&submission.tuples[at..end]);
                }
                at = end;
            }
        }
    }

    /// Writes and syncs the frame that was built, then answers the batch or leaves it to the lane.
    fn write(&mut self, promise: &Promise) -> Result<(), JournalError> {
        if self.state.is_database_refusing() {
            return Err(JournalError::DatabaseAway);
        }
        let frame_bytes = self.builder.frame_bytes() as u64;
        let active = match self.segments.with_room(frame_bytes) {
            Ok(active) => active,
            Err(NoSegment::Full) => return Err(JournalError::JournalFull),
            Err(NoSegment::Disk(error)) => {
                tracing::error!(%error, "no new journal segment can be made");
                return Err(self.failed(&error));
            }
        };
        let (segment, offset) = (Arc::clone(&active.segment), active.offset);
        let days = self.batch.iter().fold((Day::MAX, Day::MIN), |(first, last), submission| {
            (first.min(submission.days.0), last.max(submission.days.1))
        });
        let written_ms = self.clock.now().as_millisecond();
        let (bytes, _) = self.builder.finish(segment.id, offset, promise.tuples, written_ms, days);
        let started = Instant::now();
        let end = offset + frame_bytes;
        let result = (segment.file().write_all_at(bytes, offset))
            .and_then(|()| self.segments.write_zeros_ahead(end))
            .and_then(|()| segment.file().sync_data());
        self.metrics.synced(bytes.len(), started.elapsed());
        if let Err(error) = result {
            // Never sync this file again: the kernel has marked the lost pages clean. What was synced stays readable.
            tracing::error!(%error, path = %segment.path.display(), "the journal could not be written or synced");
            // Its senders will send again; a restart must not find it after all, should it have reached the disk.
            let _ = segment.file().write_all_at(&[0; FRAME_HEADER_BYTES], offset);
            self.segments.give_up();
            return Err(self.failed(&error));
        }
        // Before anyone is answered: who has heard of success may look.
        self.failures_in_a_row = 0;
        self.state.taken();
        if self.durability == Durability::Database {
            let senders = Senders::new(self.batch.drain(..));
            if let Err(senders) = segment.progress.wait_for(end, senders) {
                // The lane has just given up on this segment.
                senders.refused(&JournalError::DatabaseAway);
                return Ok(());
            }
            self.segments.written(end);
            return Ok(());
        }
        self.segments.written(end);
        self.accept(segment.id, promise);
        Ok(())
    }

    fn accept(&mut self, segment: Uuid, promise: &Promise) {
        for (source, accepted, _) in &promise.counts {
            self.accounting.accepted(segment, source, u64::from(*accepted));
        }
        let mut fresh = promise.fresh.iter();
        for submission in self.batch.drain(..) {
            let known = fresh.by_ref().take(submission.events.len()).filter(|fresh| !**fresh).count();
            submission.accept(self.durability, known as u32);
        }
    }

    /// Tells the batch that nothing of it was kept, and forgets its ids.
    fn refuse(&mut self, promise: &Promise, error: &JournalError) {
        let mut fresh = promise.fresh.iter();
        for submission in self.batch.drain(..) {
            for (event, _) in submission.events.iter().zip(fresh.by_ref()).filter(|(_, fresh)| **fresh) {
                self.recent.remove(tail_bits(event.id));
            }
            submission.refuse(error.clone());
        }
    }

    fn failed(&mut self, error: &io::Error) -> JournalError {
        self.failures_in_a_row += u32::from(is_broken(error));
        JournalError::Disk(error.to_string())
    }
}

impl Drop for Writer {
    /// However the thread ends, the lanes must know that nothing more will come.
    fn drop(&mut self) {
        self.segments.seal_all();
    }
}

/// A full disk may empty itself, and so may a table of open files; a broken disk needs a person.
fn is_broken(error: &io::Error) -> bool {
    !is_one_of(error, &[Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::NFILE])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_by_itself_does_not_count_as_broken() {
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::NFILE] {
            assert!(!is_broken(&errno.into()), "{errno}");
        }
        assert!(is_broken(&Errno::IO.into()) && is_broken(&io::Error::other("the device is gone")));
    }
}
