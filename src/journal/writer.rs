//! The journal thread: group commit.
//!
//! Requests leave their tuples in a bounded queue and wait. This thread takes all that is there, writes it as one frame,
//! syncs, and only then answers everyone. While it syncs, the next frame gathers in the queue.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use smallvec::SmallVec;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::frame::{FRAME_HEADER_BYTES, FrameBuilder, SEGMENT_HEADER_BYTES, SegmentHeader, SourceCount};
use super::recover::{Opened, SEGMENT_EXTENSION, random_id};
use super::{JournalError, JournalState, RecentIds, Segment, SegmentFeed};
use crate::accounting::Accounting;
use crate::buffer::Reservation;
use crate::clock::{Clock, Day};
use crate::disk::Disk;
use crate::event_id::tail_bits;
use crate::metrics::JournalMetrics;
use crate::row::ROW_VERSION;

/// A frame is closed at this size: larger ones would only delay their first waiter.
const FRAME_TARGET_BYTES: usize = 1024 * 1024;
/// A lane this far behind hands new frames to another lane that is less than half as far behind. Below it, one lane
/// gets everything: fewer, larger transactions.
const LANE_SWITCH_BYTES: u64 = 1024 * 1024;

/// The settings of the journal thread.
#[derive(Debug, Clone, Copy)]
pub struct WriterConfig {
    pub segment_bytes: u64,
    /// All segments together.
    pub bytes_max: u64,
    /// Waiting submissions.
    pub queue_length: usize,
}

/// One request's events.
pub struct Submission {
    pub source: Arc<str>,
    /// COPY BINARY tuples, one after the other.
    pub tuples: Vec<u8>,
    pub events: SmallVec<[Submitted; 1]>,
    /// First and last day of the events' time.
    pub days: (Day, Day),
    pub answer: oneshot::Sender<Result<Ack, JournalError>>,
    /// The memory that this submission holds.
    pub memory: Reservation,
}

/// One event within a [`Submission`].
#[derive(Debug, Clone, Copy)]
pub struct Submitted {
    pub id: Uuid,
    pub tuple_bytes: u32,
    /// Whether the client named the event, so that it can come twice.
    pub has_message_id: bool,
}

/// Proof that a frame is on the device: only the journal thread makes one, after the sync.
#[derive(Debug)]
pub struct Synced(());

/// The journal's answer to a submission.
#[derive(Debug)]
pub struct Ack {
    /// Events that were known already.
    pub duplicate: u32,
    pub synced: Synced,
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

/// The journal thread's own state.
pub struct Writer {
    commands: Receiver<Command>,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    config: WriterConfig,
    dir: PathBuf,
    lanes: Vec<Lane>,
    /// The lane that gets the next frame.
    lane: usize,
    recent: RecentIds,
    builder: FrameBuilder,
    state: Arc<JournalState>,
    accounting: Arc<Accounting>,
    metrics: JournalMetrics,
    failures_in_a_row: u32,
    /// Keeps the directory's lock until the thread ends.
    _opened: Opened,
}

struct Lane {
    feed: Arc<SegmentFeed>,
    active: Option<Active>,
}

struct Active {
    segment: Arc<Segment>,
    offset: u64,
    file_bytes: u64,
}

/// The disk failed twice in a row: going on would only refuse. The process should end and be looked at.
#[derive(Debug, thiserror::Error)]
#[error("the journal's disk failed twice in a row: {0}")]
pub struct DiskFailed(String);

impl Writer {
    /// Takes an opened directory and distributes the segments found in it over the lanes.
    pub fn new(
        mut opened: Opened,
        feeds: &[Arc<SegmentFeed>],
        config: WriterConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        accounting: Arc<Accounting>,
        metrics: JournalMetrics,
    ) -> (Self, Handle, Arc<JournalState>) {
        let state = Arc::new(JournalState::new(config.bytes_max, config.segment_bytes));
        for (index, recovered) in opened.segments.drain(..).enumerate() {
            state.added(recovered.file_bytes);
            state.damaged(recovered.damaged_bytes);
            for (source, accepted) in &recovered.accepted {
                accounting.source(source).accepted(*accepted);
            }
            feeds[index % feeds.len()].push(recovered.segment);
        }
        let (sender, commands) = crossbeam_channel::bounded(config.queue_length);
        let writer = Self {
            commands,
            disk,
            clock,
            config,
            dir: opened.dir.clone(),
            lanes: feeds.iter().map(|feed| Lane { feed: Arc::clone(feed), active: None }).collect(),
            lane: 0,
            recent: std::mem::take(&mut opened.recent),
            builder: FrameBuilder::default(),
            state: Arc::clone(&state),
            accounting,
            metrics,
            failures_in_a_row: 0,
            _opened: opened,
        };
        (writer, Handle { commands: sender }, state)
    }

    /// Runs until [`Handle::close`], or until the disk has failed for good.
    pub fn run(mut self) -> Result<(), DiskFailed> {
        let result = self.serve();
        // However this ends, the lanes must know that nothing more will come.
        for lane in 0..self.lanes.len() {
            self.seal(lane);
        }
        result
    }

    fn serve(&mut self) -> Result<(), DiskFailed> {
        let mut batch = Vec::new();
        let mut open = true;
        while open {
            let Ok(Command::Submit(first)) = self.commands.recv() else {
                break;
            };
            let mut bytes = first.tuples.len();
            batch.push(first);
            while bytes < FRAME_TARGET_BYTES {
                match self.commands.try_recv() {
                    Ok(Command::Submit(next)) => {
                        bytes += next.tuples.len();
                        batch.push(next);
                    }
                    Ok(Command::Close) => {
                        open = false;
                        break;
                    }
                    Err(_) => break,
                }
            }
            self.commit(&mut batch)?;
        }
        Ok(())
    }

    /// One frame: everyone in `batch` is answered when this returns.
    fn commit(&mut self, batch: &mut Vec<Submission>) -> Result<(), DiskFailed> {
        let (mut counts, fresh, tuples) = self.tell_duplicates(batch);
        self.build(batch, &counts, &fresh);
        let days = batch.iter().fold((Day::MAX, Day::MIN), |(first, last), submission| {
            (first.min(submission.days.0), last.max(submission.days.1))
        });
        match self.write(tuples, days) {
            Ok(()) => {
                self.failures_in_a_row = 0;
                self.state.taken();
                for (source, accepted, _) in &counts {
                    self.accounting.source(source).accepted(u64::from(*accepted));
                }
                let mut fresh = fresh.iter();
                for submission in batch.drain(..) {
                    let known = fresh.by_ref().take(submission.events.len()).filter(|fresh| !**fresh).count();
                    // The waiter may be gone; its events are safe all the same.
                    let _ = submission.answer.send(Ok(Ack { duplicate: known as u32, synced: Synced(()) }));
                }
                Ok(())
            }
            Err(error) => {
                self.state.refused();
                let mut fresh = fresh.iter();
                for submission in batch.drain(..) {
                    for (event, _) in submission.events.iter().zip(fresh.by_ref()).filter(|(_, fresh)| **fresh) {
                        self.recent.remove(tail_bits(event.id));
                    }
                    let _ = submission.answer.send(Err(error.clone()));
                }
                counts.clear();
                match error {
                    JournalError::Disk(reason) if self.failures_in_a_row >= 2 => Err(DiskFailed(reason)),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Per source what is promised, per event whether it is new, and how many are.
    #[expect(clippy::type_complexity, reason = "used once, two lines above")]
    fn tell_duplicates(&mut self, batch: &[Submission]) -> (SmallVec<[(Arc<str>, u32, u32); 4]>, Vec<bool>, u32) {
        let mut counts: SmallVec<[(Arc<str>, u32, u32); 4]> = SmallVec::new();
        let mut fresh = Vec::with_capacity(batch.iter().map(|submission| submission.events.len()).sum());
        let mut tuples = 0;
        for submission in batch {
            let at = counts.iter().position(|(source, ..)| *source == submission.source).unwrap_or_else(|| {
                counts.push((Arc::clone(&submission.source), 0, 0));
                counts.len() - 1
            });
            for event in &submission.events {
                let is_new = !event.has_message_id || self.recent.insert(tail_bits(event.id));
                counts[at].1 += 1;
                counts[at].2 += u32::from(!is_new);
                tuples += u32::from(is_new);
                fresh.push(is_new);
            }
        }
        (counts, fresh, tuples)
    }

    fn build(&mut self, batch: &[Submission], counts: &[(Arc<str>, u32, u32)], fresh: &[bool]) {
        let sources = counts.iter().map(|(source, accepted, duplicate)| SourceCount {
            source,
            accepted: *accepted,
            duplicate: *duplicate,
        });
        self.builder.start(sources);
        let mut fresh = fresh;
        for submission in batch {
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

    /// Writes and syncs the frame that was built.
    fn write(&mut self, tuples: u32, days: (Day, Day)) -> Result<(), JournalError> {
        self.choose_lane();
        let frame_bytes = self.builder.frame_bytes() as u64;
        let lane = self.lane;
        let active = self.segment_with_room(lane, frame_bytes)?;
        let (segment, offset) = (Arc::clone(&active.segment), active.offset);
        let written_ms = self.clock.now().as_millisecond();
        let (bytes, _) = self.builder.finish(segment.id, offset, tuples, written_ms, days);
        let started = Instant::now();
        let result = segment.file().write_all_at(bytes, offset).and_then(|()| segment.file().sync_data());
        self.metrics.synced(bytes.len(), started.elapsed());
        if let Err(error) = result {
            // Never sync this file again: the kernel has marked the lost pages clean. What was synced stays readable.
            tracing::error!(%error, path = %segment.path.display(), "the journal could not be written or synced");
            // Its senders will send again; a restart must not find it after all, should it have reached the disk.
            let _ = segment.file().write_all_at(&[0; FRAME_HEADER_BYTES], offset);
            self.lanes[lane].active = None;
            segment.seal();
            self.lanes[lane].feed.bell.notify_one();
            self.failures_in_a_row += u32::from(is_broken(&error));
            return Err(JournalError::Disk(error.to_string()));
        }
        let end = offset + frame_bytes;
        segment.set_synced_to(end);
        if let Some(active) = &mut self.lanes[lane].active {
            active.offset = end;
        }
        self.lanes[lane].feed.bell.notify_one();
        Ok(())
    }

    fn choose_lane(&mut self) {
        let own = self.lanes[self.lane].feed.backlog_bytes();
        if own <= LANE_SWITCH_BYTES {
            return;
        }
        let least = (0..self.lanes.len()).min_by_key(|lane| self.lanes[*lane].feed.backlog_bytes());
        if let Some(least) = least.filter(|lane| self.lanes[*lane].feed.backlog_bytes() < own / 2) {
            self.lane = least;
        }
    }

    fn segment_with_room(&mut self, lane: usize, frame_bytes: u64) -> Result<&Active, JournalError> {
        let has_room = |active: &Active| active.offset + frame_bytes <= active.file_bytes;
        if !self.lanes[lane].active.as_ref().is_some_and(has_room) {
            self.seal(lane);
            let bytes = self.config.segment_bytes.max(SEGMENT_HEADER_BYTES as u64 + frame_bytes);
            if self.state.bytes() + bytes > self.config.bytes_max {
                return Err(JournalError::JournalFull);
            }
            let active = match self.create_segment(bytes) {
                Ok(active) => active,
                Err(error) => {
                    tracing::error!(%error, dir = %self.dir.display(), "no new journal segment can be made");
                    self.failures_in_a_row += u32::from(is_broken(&error));
                    return Err(JournalError::Disk(error.to_string()));
                }
            };
            self.state.added(bytes);
            self.lanes[lane].feed.push(Arc::clone(&active.segment));
            self.lanes[lane].active = Some(active);
        }
        self.lanes[lane].active.as_ref().ok_or(JournalError::JournalFull)
    }

    fn create_segment(&self, bytes: u64) -> std::io::Result<Active> {
        let header = SegmentHeader {
            segment_id: random_id()?,
            row_version: ROW_VERSION,
            created_ms: self.clock.now().as_millisecond(),
        };
        let name = format!("{:013}-{}.{SEGMENT_EXTENSION}", header.created_ms, header.segment_id.simple());
        let path = self.dir.join(name);
        let file = self.disk.create(&path)?;
        let prepare = || {
            file.allocate(bytes)?;
            file.write_all_at(&header.encode(), 0)?;
            file.sync_data()?;
            self.disk.sync_dir(&self.dir)
        };
        if let Err(error) = prepare() {
            // Nothing was promised in it; if it cannot be removed either, the next start will.
            let _ = self.disk.remove(&path);
            return Err(error);
        }
        let segment = Arc::new(Segment::new(header.segment_id, path, ROW_VERSION, file));
        Ok(Active { segment, offset: SEGMENT_HEADER_BYTES as u64, file_bytes: bytes })
    }

    fn seal(&mut self, lane: usize) {
        if let Some(active) = self.lanes[lane].active.take() {
            // Cut to length: what is left of the reserve is free again, and recovery can tell a whole file from a torn
            // one. If it fails, the file is only longer than it need be.
            if active.segment.file().cut(active.offset).is_ok() {
                self.state.shrunk(active.file_bytes - active.offset);
            }
            active.segment.seal();
            self.lanes[lane].feed.bell.notify_one();
        }
    }
}

/// A full disk may empty itself, and so may a table of open files; a broken disk needs a person.
fn is_broken(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::NFILE];
    !passing.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
