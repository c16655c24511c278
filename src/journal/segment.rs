//! One segment as the writer and its flush lane share it, and the reading of its frames.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::frame::{ALIGNMENT_BYTES, FRAME_HEADER_BYTES, Frame, FrameHeader, SEGMENT_HEADER_BYTES, chain};
use super::progress::Progress;
use super::scan::{next_frame, read_tolerantly};
use super::submission::Senders;
use crate::disk::DiskFile;

/// Read at once when a file is checked.
const CHECK_BYTES: usize = 1024 * 1024;

/// A segment: written by the journal thread up to `synced_to`, applied by one lane up to `applied_to`.
pub struct Segment {
    pub id: Uuid,
    pub path: PathBuf,
    /// Layout of the tuples within.
    pub row_version: u16,
    pub progress: Progress<Senders>,
    file: Box<dyn DiskFile>,
    /// Ranges found unreadable, in order.
    damaged: RwLock<Vec<Range<u64>>>,
    /// Whether bytes that are no frame follow the last one. Nobody was answered for them, unless the ledger knows better.
    is_torn: bool,
    /// How far the ledger was last seen, and since when it is there.
    seen: Mutex<Option<(u64, Instant)>>,
}

/// Consecutive frames in memory.
#[derive(Debug)]
pub struct Frames {
    bytes: Bytes,
    starts: Vec<usize>,
    /// Layout of the tuples.
    pub row_version: u16,
    /// The end of the last frame in the segment.
    pub to: u64,
}

/// The chain of checksums up to an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// It is this.
    Known(u32),
    /// Damage lies before the offset, so that nobody can tell.
    Unknown,
    /// No frame ends there.
    NoFrame,
}

impl Segment {
    pub fn new(id: Uuid, path: PathBuf, row_version: u16, file: Box<dyn DiskFile>) -> Self {
        Self {
            id,
            path,
            row_version,
            progress: Progress::new(SEGMENT_HEADER_BYTES as u64),
            file,
            damaged: RwLock::default(),
            is_torn: false,
            seen: Mutex::default(),
        }
    }

    /// A segment of an earlier life: complete, with `damaged` ranges to step over.
    pub fn recovered(self, end: u64, damaged: Vec<Range<u64>>) -> Self {
        self.progress.set_synced_to(end);
        self.progress.seal();
        Self { damaged: RwLock::new(damaged), ..self }
    }

    /// Whether bytes that are no frame follow its last one.
    pub fn torn(self, is_torn: bool) -> Self {
        Self { is_torn, ..self }
    }

    pub(super) fn file(&self) -> &dyn DiskFile {
        self.file.as_ref()
    }

    /// What the file occupies, as far as can be told.
    pub fn file_bytes(&self) -> u64 {
        self.file.size().unwrap_or(0)
    }

    /// Bytes on the device and not yet in the database.
    pub fn backlog_bytes(&self) -> u64 {
        self.progress.synced_to().saturating_sub(self.progress.applied_to().max(SEGMENT_HEADER_BYTES as u64))
    }

    /// Whether promised data in here cannot be read: such a file is never deleted.
    pub fn is_damaged(&self) -> bool {
        !self.damaged().is_empty()
    }

    /// Promised bytes that are known to be unreadable.
    pub fn damaged_bytes(&self) -> u64 {
        self.damaged().iter().map(|range| range.end - range.start).sum()
    }

    /// Notes how far the ledger is. Only what it was not seen at before counts as just committed: a new connection to the
    /// same database changes nothing, a commit that was found there afterwards does.
    pub fn applied(&self, offset: u64) {
        self.progress.set_applied_to(offset);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_none_or(|(before, _)| before != offset) {
            *seen = Some((offset, Instant::now()));
        }
    }

    /// When the last commit of it was seen first; never, if it was not asked for.
    pub fn applied_at(&self) -> Option<Instant> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).map(|(_, at)| at)
    }

    /// Where reading from `from` on begins: behind the header, and behind damage.
    pub fn readable_from(&self, from: u64) -> u64 {
        let from = from.max(SEGMENT_HEADER_BYTES as u64);
        // In order, and one may end where the next begins.
        self.damaged().iter().fold(from, |from, damage| if damage.contains(&from) { damage.end } else { from })
    }

    /// Reads frames from `from` (the end of a frame, or 0) on: as many as fit in `bytes_max`, at least one.
    ///
    /// # Errors
    /// `InvalidData` when synced bytes are no frame: see [`Self::step_over`].
    pub fn read(&self, from: u64, bytes_max: usize) -> io::Result<Frames> {
        let from = self.readable_from(from);
        let damaged = self.damaged();
        let synced_to = self.progress.synced_to();
        let end = damaged.iter().map(|damage| damage.start).find(|start| *start > from);
        let end = end.map_or(synced_to, |start| start.min(synced_to));
        let mut frames = Frames { bytes: Bytes::new(), starts: Vec::new(), row_version: self.row_version, to: from };
        if from >= end {
            return Ok(frames);
        }
        let mut head = [0; FRAME_HEADER_BYTES];
        read_tolerantly(self.file(), from, &mut head);
        let first = FrameHeader::decode(&head).ok_or_else(|| self.damage(from))?;
        let wanted = (bytes_max.max(first.frame_bytes()) as u64).min(end - from);
        let mut bytes = vec![0; wanted as usize];
        read_tolerantly(self.file(), from, &mut bytes);

        let mut at = 0;
        while let Some(frame) = bytes.get(at..).and_then(|rest| Frame::decode(self.id, from + at as u64, rest)) {
            frames.starts.push(at);
            at += frame.header.frame_bytes();
        }
        if frames.starts.is_empty() {
            return Err(self.damage(from));
        }
        bytes.truncate(at);
        Ok(Frames { bytes: bytes.into(), to: from + at as u64, ..frames })
    }

    /// Where reading from `from` on begins there is no frame: the device returned something else than was written. Notes
    /// the range up to the next frame as damaged, and returns it.
    pub fn step_over(&self, from: u64) -> Range<u64> {
        let from = self.readable_from(from);
        let synced_to = self.progress.synced_to();
        let mut bytes = vec![0; synced_to.saturating_sub(from) as usize];
        read_tolerantly(self.file(), from, &mut bytes);
        let next = next_frame(self.id, &bytes, from, ALIGNMENT_BYTES).map_or(synced_to, |at| from + at as u64);
        self.note_damage(from..next);
        from..next
    }

    fn note_damage(&self, range: Range<u64>) {
        let mut damaged = self.damaged.write().unwrap_or_else(PoisonError::into_inner);
        damaged.push(range);
        damaged.sort_by_key(|range| range.start);
    }

    /// Reads every frame before `to`, and notes what is damaged: the number of such bytes. A torn end before `to` was a
    /// frame once.
    pub fn find_damage(&self, to: u64) -> u64 {
        let (mut at, mut damaged) = (0, 0);
        while at < to {
            match self.read(at, CHECK_BYTES) {
                Ok(frames) if frames.is_empty() => {
                    if self.is_torn && frames.to < to {
                        self.note_damage(frames.to..to);
                        damaged += to - frames.to;
                    }
                    break;
                }
                Ok(frames) => at = frames.to,
                Err(_) => {
                    let range = self.step_over(at);
                    damaged += range.end - range.start;
                }
            }
        }
        damaged
    }

    /// The chain of checksums over the frames before `to`.
    pub fn chain_to(&self, to: u64) -> Chain {
        if self.damaged().iter().any(|damage| damage.start < to) {
            return Chain::Unknown;
        }
        let (mut at, mut crc) = (SEGMENT_HEADER_BYTES as u64, 0);
        let mut head = [0; FRAME_HEADER_BYTES];
        while at < to {
            read_tolerantly(self.file(), at, &mut head);
            let Some(header) = FrameHeader::decode(&head) else {
                return Chain::NoFrame;
            };
            crc = chain(crc, header.crc);
            at += header.frame_bytes() as u64;
        }
        if at == to || to == 0 { Chain::Known(crc) } else { Chain::NoFrame }
    }

    fn damaged(&self) -> std::sync::RwLockReadGuard<'_, Vec<Range<u64>>> {
        self.damaged.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn damage(&self, offset: u64) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("no valid frame at {offset} of {}", self.path.display()))
    }
}

impl Frames {
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Rows in all frames together.
    pub fn tuple_count(&self) -> u64 {
        self.iter().map(|frame| u64::from(frame.header.tuples)).sum()
    }

    /// The frames, checked when they were read.
    pub fn iter(&self) -> impl Iterator<Item = Frame<'_>> {
        self.starts.iter().filter_map(|&start| Frame::of_checked(&self.bytes[start..]))
    }

    /// The tuples of each frame, sharing this memory.
    pub fn tuples(&self) -> impl Iterator<Item = Bytes> {
        self.iter().map(|frame| self.bytes.slice_ref(frame.tuples))
    }

    /// `crc`, the chain before these frames, extended over them.
    pub fn chain_from(&self, crc: u32) -> u32 {
        self.iter().fold(crc, |crc, frame| chain(crc, frame.header.crc))
    }
}

/// The segments that a lane has still to apply, oldest first; the writer adds, the lane takes away.
#[derive(Default)]
pub struct SegmentFeed {
    segments: Mutex<VecDeque<Arc<Segment>>>,
    /// Rung when a frame was synced or a segment sealed.
    pub bell: Notify,
}

impl SegmentFeed {
    pub fn push(&self, segment: Arc<Segment>) {
        self.lock().push_back(segment);
        self.bell.notify_one();
    }

    pub fn front(&self) -> Option<Arc<Segment>> {
        self.lock().front().cloned()
    }

    pub fn pop(&self) -> Option<Arc<Segment>> {
        self.lock().pop_front()
    }

    /// All of them, oldest first.
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.lock().iter().cloned().collect()
    }

    /// Puts segments back in front, oldest first: a new connection may find that the database forgot them.
    pub fn put_back(&self, segments: impl DoubleEndedIterator<Item = Arc<Segment>>) {
        let mut queue = self.lock();
        for segment in segments.rev() {
            queue.push_front(segment);
        }
    }

    /// Bytes on the device and not yet in the database.
    pub fn backlog_bytes(&self) -> u64 {
        self.lock().iter().map(|segment| segment.backlog_bytes()).sum()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Segment>>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Segment {
    /// For tests: a new file at `path` with a frame for each of `frames`, tuples and their number; and for each frame where
    /// it ends, with the chain up to there.
    pub(crate) fn of_frames(
        disk: &dyn crate::disk::Disk,
        id: Uuid,
        path: &str,
        frames: &[(&[u8], u32)],
    ) -> (Self, Vec<(u64, u32)>) {
        let file = disk.create(path.as_ref()).expect("made");
        let (mut end, mut crc) = (SEGMENT_HEADER_BYTES as u64, 0);
        let mut ends = Vec::new();
        for (tuples, count) in frames {
            let mut builder = super::frame::FrameBuilder::default();
            builder.start(std::iter::empty());
            builder.tuples(tuples);
            let (bytes, frame_crc) = builder.finish(id, end, *count, 0, (0, 0));
            file.write_all_at(bytes, end).expect("written");
            (end, crc) = (end + bytes.len() as u64, chain(crc, frame_crc));
            ends.push((end, crc));
        }
        (Self::new(id, path.into(), crate::row::ROW_VERSION, file).recovered(end, Vec::new()), ends)
    }
}
