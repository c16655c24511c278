//! One segment as the writer and its flush lane share it, and the reading of its frames.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use uuid::Uuid;

use super::frame::{ALIGNMENT_BYTES, FRAME_HEADER_BYTES, Frame, FrameHeader, SEGMENT_HEADER_BYTES, chain};
use crate::disk::DiskFile;

/// A segment: written by the journal thread up to `synced_to`, applied by one lane up to `applied_to`.
pub struct Segment {
    pub id: Uuid,
    pub path: PathBuf,
    /// Layout of the tuples within.
    pub row_version: u16,
    file: Box<dyn DiskFile>,
    synced_to: AtomicU64,
    sealed: AtomicBool,
    applied_to: AtomicU64,
    /// Ranges that recovery found unreadable.
    damaged: Vec<Range<u64>>,
}

/// Consecutive frames in memory.
#[derive(Debug)]
pub struct Frames {
    bytes: Bytes,
    /// Where `bytes` begins in the segment.
    from: u64,
    starts: Vec<usize>,
    segment_id: Uuid,
    /// The end of the last frame in the segment.
    pub to: u64,
}

impl Segment {
    pub fn new(id: Uuid, path: PathBuf, row_version: u16, file: Box<dyn DiskFile>) -> Self {
        Self {
            id,
            path,
            row_version,
            file,
            synced_to: AtomicU64::new(SEGMENT_HEADER_BYTES as u64),
            sealed: AtomicBool::new(false),
            applied_to: AtomicU64::new(0),
            damaged: Vec::new(),
        }
    }

    /// A segment of an earlier life: complete, with `damaged` ranges to step over.
    pub fn recovered(mut self, end: u64, damaged: Vec<Range<u64>>) -> Self {
        self.damaged = damaged;
        *self.synced_to.get_mut() = end;
        *self.sealed.get_mut() = true;
        self
    }

    pub(super) fn file(&self) -> &dyn DiskFile {
        self.file.as_ref()
    }

    /// What the file occupies, as far as can be told.
    pub fn file_bytes(&self) -> u64 {
        self.file.size().unwrap_or(0)
    }

    /// Everything before this offset is on the device.
    pub fn synced_to(&self) -> u64 {
        self.synced_to.load(Ordering::Acquire)
    }

    pub(super) fn set_synced_to(&self, offset: u64) {
        self.synced_to.store(offset, Ordering::Release);
    }

    /// Nothing will be added any more.
    pub fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    pub(super) fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    /// Everything before this offset is committed in the database, as far as its lane knows.
    pub fn applied_to(&self) -> u64 {
        self.applied_to.load(Ordering::Relaxed)
    }

    pub fn set_applied_to(&self, offset: u64) {
        self.applied_to.store(offset, Ordering::Relaxed);
    }

    /// Bytes on the device and not yet in the database.
    pub fn backlog_bytes(&self) -> u64 {
        self.synced_to().saturating_sub(self.applied_to().max(SEGMENT_HEADER_BYTES as u64))
    }

    /// Whether promised data in here cannot be read: such a file is never deleted.
    pub fn is_damaged(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// Reads frames from `from` (the end of a frame, or 0) on: as many as fit in `bytes_max`, at least one.
    ///
    /// # Errors
    /// `InvalidData` when synced bytes are no frame: the device returned something else than was written.
    pub fn read(&self, from: u64, bytes_max: usize) -> io::Result<Frames> {
        let mut from = from.max(SEGMENT_HEADER_BYTES as u64);
        if let Some(damage) = self.damaged.iter().find(|damage| damage.start == from) {
            from = damage.end;
        }
        let end = self.damaged.iter().map(|damage| damage.start).find(|start| *start > from);
        let end = end.map_or(self.synced_to(), |start| start.min(self.synced_to()));
        let mut empty = Frames { bytes: Bytes::new(), from, starts: Vec::new(), segment_id: self.id, to: from };
        if from >= end {
            return Ok(empty);
        }
        let mut head = [0; FRAME_HEADER_BYTES];
        self.file.read_exact_at(&mut head, from)?;
        let first = FrameHeader::decode(&head).ok_or_else(|| self.damage(from))?;
        let wanted = (bytes_max.max(first.frame_bytes()) as u64).min(end - from);
        let mut bytes = vec![0; wanted as usize];
        self.file.read_exact_at(&mut bytes, from)?;

        let mut at = 0;
        while let Some(header) = FrameHeader::decode(&bytes[at..]) {
            if at + header.frame_bytes() > bytes.len() {
                break;
            }
            if Frame::decode(self.id, from + at as u64, &bytes[at..]).is_none() {
                return Err(self.damage(from + at as u64));
            }
            empty.starts.push(at);
            at += header.frame_bytes();
        }
        if empty.starts.is_empty() {
            return Err(self.damage(from));
        }
        bytes.truncate(at);
        Ok(Frames { bytes: bytes.into(), to: from + at as u64, ..empty })
    }

    /// The chain of checksums over the frames before `to`, or `None` if no frame ends there.
    pub fn chain_to(&self, to: u64) -> io::Result<Option<u32>> {
        let (mut at, mut crc) = (SEGMENT_HEADER_BYTES as u64, 0);
        let mut head = [0; FRAME_HEADER_BYTES];
        while at < to {
            if let Some(damage) = self.damaged.iter().find(|damage| damage.start == at) {
                at = damage.end;
                continue;
            }
            self.file.read_exact_at(&mut head, at)?;
            let Some(header) = FrameHeader::decode(&head) else {
                return Ok(None);
            };
            crc = chain(crc, header.crc);
            at += header.frame_bytes() as u64;
        }
        Ok((at == to || to == 0).then_some(crc))
    }

    fn damage(&self, offset: u64) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("no valid frame at {offset} of {}", self.path.display()))
    }
}

impl Frames {
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// The frames, checked when they were read.
    pub fn iter(&self) -> impl Iterator<Item = Frame<'_>> {
        self.starts
            .iter()
            .filter_map(|&start| Frame::decode(self.segment_id, self.from + start as u64, &self.bytes[start..]))
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

/// The first valid frame at or behind `from`, searched at every place where one may start.
pub(super) fn next_frame(id: Uuid, bytes: &[u8], base: u64, from: usize) -> Option<usize> {
    (from..bytes.len()).step_by(ALIGNMENT_BYTES).find(|&at| Frame::decode(id, base + at as u64, &bytes[at..]).is_some())
}
