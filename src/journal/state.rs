//! How full the journal is, and whether it takes events: what others may look at.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a refusal shows in readiness.
const REFUSAL_LASTS: Duration = Duration::from_secs(5);
/// Segments that should always fit: one for each of two lanes, and one on the way.
const SPARE_SEGMENTS: u64 = 3;

/// Facts about the journal that others look at.
#[derive(Debug)]
pub struct JournalState {
    bytes: AtomicU64,
    segments: AtomicU64,
    damaged_bytes: AtomicU64,
    bytes_max: u64,
    segment_bytes: u64,
    started: Instant,
    /// Milliseconds since `started` of the last refusal; 0: none.
    refused_ms: AtomicU64,
    /// With `durability = "database"`: nothing can be promised just now.
    is_database_refusing: AtomicBool,
    /// The last segment could not be made for want of space.
    is_disk_full: AtomicBool,
    forked_segments: AtomicU64,
    early_releases: AtomicU64,
}

impl JournalState {
    pub(crate) fn new(bytes_max: u64, segment_bytes: u64) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            segments: AtomicU64::new(0),
            damaged_bytes: AtomicU64::new(0),
            bytes_max,
            segment_bytes,
            started: Instant::now(),
            refused_ms: AtomicU64::new(0),
            is_database_refusing: AtomicBool::new(false),
            is_disk_full: AtomicBool::new(false),
            forked_segments: AtomicU64::new(0),
            early_releases: AtomicU64::new(0),
        }
    }

    pub(crate) fn damaged(&self, bytes: u64) {
        self.damaged_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that the segment files occupy.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What they may occupy.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    pub fn segments(&self) -> u64 {
        self.segments.load(Ordering::Relaxed)
    }

    /// Promised bytes that recovery could not read.
    pub fn damaged_bytes(&self) -> u64 {
        self.damaged_bytes.load(Ordering::Relaxed)
    }

    /// Whether events are refused: now, or a moment ago. It passes by itself, or a balancer that sends nothing to a
    /// collector that is not ready would never let it show that it is.
    pub fn is_refusing(&self) -> bool {
        self.is_refusing_at(self.started.elapsed())
    }

    fn is_refusing_at(&self, elapsed: Duration) -> bool {
        let refused_ms = self.refused_ms.load(Ordering::Relaxed);
        let since = elapsed.saturating_sub(Duration::from_millis(refused_ms));
        refused_ms > 0 && (since < REFUSAL_LASTS || self.is_full())
    }

    /// Whether applied segments should go before their time.
    pub fn is_short_of_room(&self) -> bool {
        self.is_disk_full.load(Ordering::Relaxed) || self.bytes() + SPARE_SEGMENTS * self.segment_bytes > self.bytes_max
    }

    pub(super) fn set_disk_full(&self, is_full: bool) {
        self.is_disk_full.store(is_full, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.is_disk_full.load(Ordering::Relaxed) || self.bytes() + self.segment_bytes > self.bytes_max
    }

    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        self.bytes() + bytes <= self.bytes_max
    }

    /// Whether nobody can be told of success, because success is PostgreSQL's commit and PostgreSQL is away.
    pub fn is_database_refusing(&self) -> bool {
        self.is_database_refusing.load(Ordering::Relaxed)
    }

    pub(crate) fn set_database_refusing(&self, is_refusing: bool) {
        self.is_database_refusing.store(is_refusing, Ordering::Relaxed);
    }

    /// Segments set aside because the database knows another file of their name.
    pub fn forked_segments(&self) -> u64 {
        self.forked_segments.load(Ordering::Relaxed)
    }

    pub(crate) fn forked(&self) {
        self.forked_segments.fetch_add(1, Ordering::Relaxed);
    }

    /// Applied segments that were deleted before `journal.retain_s`, for want of room.
    pub fn early_releases(&self) -> u64 {
        self.early_releases.load(Ordering::Relaxed)
    }

    pub(crate) fn released_early(&self) {
        self.early_releases.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused_ms.store((self.started.elapsed().as_millis() as u64).max(1), Ordering::Relaxed);
    }

    pub(super) fn taken(&self) {
        self.refused_ms.store(0, Ordering::Relaxed);
    }

    pub(crate) fn added(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.segments.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn shrunk(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn removed(&self, bytes: u64) {
        // A balancer that sends nothing to a full collector would never let it find out.
        self.set_disk_full(false);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.segments.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(1);
    const LATER: Duration = Duration::from_secs(60);

    #[test]
    fn room_is_counted_to_the_byte() {
        let state = JournalState::new(100, 10);
        assert!(!state.is_short_of_room() && state.has_room_for(100) && !state.has_room_for(101));
        state.added(70);
        assert!(!state.is_short_of_room(), "three segments fit");
        state.added(1);
        assert!(state.is_short_of_room());
        assert!(state.has_room_for(29) && !state.has_room_for(30));
        assert_eq!((state.bytes(), state.segments()), (71, 2));
        state.shrunk(11);
        assert!(!state.is_short_of_room() && state.has_room_for(40));
        state.removed(20);
        assert_eq!((state.bytes(), state.segments()), (40, 1));
    }

    #[test]
    fn a_full_disk_is_short_of_room_until_a_file_has_gone() {
        let state = JournalState::new(100, 10);
        state.added(10);
        state.set_disk_full(true);
        assert!(state.is_short_of_room());
        state.removed(10);
        assert!(!state.is_short_of_room());
    }

    #[test]
    fn a_refusal_shows_for_a_moment_and_for_as_long_as_the_journal_is_full() {
        let state = JournalState::new(100, 10);
        assert!(!state.is_refusing_at(SOON) && !state.is_refusing());
        state.refused();
        assert!(state.is_refusing_at(SOON) && state.is_refusing());
        let refused = Duration::from_millis(state.refused_ms.load(Ordering::Relaxed));
        assert!(!state.is_refusing_at(refused + REFUSAL_LASTS) && !state.is_refusing_at(LATER));
        state.added(90);
        assert!(!state.is_refusing_at(LATER), "the next segment fits");
        state.added(1);
        assert!(state.is_refusing_at(LATER));
        state.shrunk(1);
        state.set_disk_full(true);
        assert!(state.is_refusing_at(LATER));
        state.taken();
        assert!(!state.is_refusing_at(SOON) && !state.is_refusing_at(LATER));
    }

    #[test]
    fn what_went_wrong_is_counted() {
        let state = JournalState::new(100, 10);
        state.damaged(3);
        state.damaged(4);
        assert_eq!(state.damaged_bytes(), 7);
        for _ in 0..2 {
            state.forked();
        }
        for _ in 0..3 {
            state.released_early();
        }
        assert_eq!((state.forked_segments(), state.early_releases()), (2, 3));
        assert!(!state.is_database_refusing());
        state.set_database_refusing(true);
        assert!(state.is_database_refusing());
    }
}
