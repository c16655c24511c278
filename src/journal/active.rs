//! The segments that the writer fills, one a lane: made, chosen, and sealed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use super::frame::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::recover::SEGMENT_EXTENSION;
use super::{JournalState, Segment, SegmentFeed};
use crate::clock::Clock;
use crate::disk::{Disk, is_one_of};
use crate::entropy::{Entropy, random_id};
use crate::row::ROW_VERSION;

/// A lane that is this much further behind than another hands new frames over to it: while the database is away all of them
/// get the same backlog. Below it, one lane gets everything: fewer, larger transactions.
const LANE_SWITCH_BYTES: u64 = 1024 * 1024;

/// The first sync of blocks that were only reserved makes the file system commit its own journal, and takes twice as long
/// as one of blocks that were written before. So zeros are written this far ahead of the frames: one sync in many pays.
const ZEROS_AHEAD_BYTES: u64 = 256 * 1024;
/// Longer frames pay each for its own blocks: to write everything twice would cost them more.
const ZEROS_AHEAD_FRAME_BYTES_MAX: u64 = 32 * 1024;

/// Where and how segments are made.
pub(super) struct ActiveSegments {
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub dir: PathBuf,
    pub segment_bytes: u64,
    pub state: Arc<JournalState>,
    lanes: Vec<Lane>,
    /// The lane that gets the next frame.
    lane: usize,
}

struct Lane {
    feed: Arc<SegmentFeed>,
    active: Option<Active>,
}

/// A segment with room.
pub(super) struct Active {
    pub segment: Arc<Segment>,
    /// Where the next frame goes.
    pub offset: u64,
    file_bytes: u64,
    /// How far zeros have been written.
    zeros_to: u64,
}

/// No segment could be made.
pub(super) enum NoSegment {
    Full,
    Disk(io::Error),
}

/// Whether the disk, or the share of it that we may use, is full.
fn is_out_of_space(error: &io::Error) -> bool {
    is_one_of(error, &[Errno::NOSPC, Errno::DQUOT])
}

impl ActiveSegments {
    pub fn new(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        dir: PathBuf,
        segment_bytes: u64,
        state: Arc<JournalState>,
        feeds: &[Arc<SegmentFeed>],
    ) -> Self {
        let lanes = feeds.iter().map(|feed| Lane { feed: Arc::clone(feed), active: None }).collect();
        Self { disk, clock, entropy, dir, segment_bytes, state, lanes, lane: 0 }
    }

    /// A segment that takes `frame_bytes` more.
    pub fn with_room(&mut self, frame_bytes: u64) -> Result<&mut Active, NoSegment> {
        self.choose_lane();
        let lane = self.lane;
        let has_room =
            |active: &Active| active.offset + frame_bytes <= active.file_bytes && !active.segment.progress.is_closed();
        if !self.lanes[lane].active.as_ref().is_some_and(has_room) {
            self.seal(lane);
            let bytes = self.segment_bytes.max(SEGMENT_HEADER_BYTES as u64 + frame_bytes);
            if !self.state.has_room_for(bytes) {
                return Err(NoSegment::Full);
            }
            let created = self.create(bytes);
            self.state.set_disk_full(created.as_ref().is_err_and(is_out_of_space));
            let active = created.map_err(NoSegment::Disk)?;
            self.state.added(bytes);
            self.lanes[lane].feed.push(Arc::clone(&active.segment));
            self.lanes[lane].active = Some(active);
        }
        self.lanes[lane].active.as_mut().ok_or(NoSegment::Full)
    }

    /// To be called between the write of a frame in the chosen segment, to `end`, and its sync: see [`ZEROS_AHEAD_BYTES`].
    pub fn write_zeros_ahead(&mut self, end: u64) -> io::Result<()> {
        let Some(active) = &mut self.lanes[self.lane].active else { return Ok(()) };
        if end <= active.zeros_to || end - active.offset > ZEROS_AHEAD_FRAME_BYTES_MAX {
            return Ok(());
        }
        let to = (end + ZEROS_AHEAD_BYTES).min(active.file_bytes);
        match active.segment.file().write_zeros(end..to) {
            Ok(()) => active.zeros_to = to,
            // Only where nothing can be reserved: the frame itself fitted.
            Err(error) if is_out_of_space(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The frame that was begun in the chosen segment is there.
    pub fn written(&mut self, end: u64) {
        let lane = &mut self.lanes[self.lane];
        if let Some(active) = &mut lane.active {
            active.offset = end;
            active.segment.progress.set_synced_to(end);
        }
        lane.feed.bell.notify_one();
    }

    /// The chosen segment can no longer be trusted: nothing more is written to it, not even its true length.
    pub fn give_up(&mut self) {
        let lane = &mut self.lanes[self.lane];
        if let Some(active) = lane.active.take() {
            active.segment.progress.seal();
        }
        lane.feed.bell.notify_one();
    }

    /// Nothing more will be written.
    pub fn seal_all(&mut self) {
        for lane in 0..self.lanes.len() {
            self.seal(lane);
        }
    }

    fn choose_lane(&mut self) {
        let own = self.lanes[self.lane].feed.backlog_bytes();
        if own <= LANE_SWITCH_BYTES {
            return;
        }
        let backlogs = self.lanes.iter().map(|lane| lane.feed.backlog_bytes()).enumerate();
        if let Some((lane, least)) = backlogs.min_by_key(|(_, backlog)| *backlog)
            && own - least.min(own) > LANE_SWITCH_BYTES
        {
            self.lane = lane;
        }
    }

    fn create(&self, bytes: u64) -> io::Result<Active> {
        let header = SegmentHeader {
            segment_id: random_id(self.entropy.as_ref())?,
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
        Ok(Active { segment, offset: SEGMENT_HEADER_BYTES as u64, file_bytes: bytes, zeros_to: 0 })
    }

    fn seal(&mut self, lane: usize) {
        if let Some(active) = self.lanes[lane].active.take() {
            // Cut to length: what is left of the reserve is free again, and recovery can tell a whole file from a torn
            // one. If it fails, the file is only longer than it need be.
            if active.segment.file().cut(active.offset).is_ok() {
                self.state.shrunk(active.file_bytes - active.offset);
            }
            active.segment.progress.seal();
            self.lanes[lane].feed.bell.notify_one();
        }
    }
}
