//! How far one segment is: the only memory that the journal thread and a lane share while events flow.
//!
//! The writer moves `synced_to` and seals; the lane moves `applied_to`. With `durability = "database"` senders wait here
//! for the commit: [`Progress::wait_for`] and [`Progress::close`] meet under one lock, so nobody is left waiting for a
//! lane that has given up.

use super::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError};

/// Offsets within one segment, and the senders `W` that wait for its commits.
pub struct Progress<W> {
    synced_to: AtomicU64,
    sealed: AtomicBool,
    applied_to: AtomicU64,
    senders: Mutex<Senders<W>>,
}

struct Senders<W> {
    closed: bool,
    /// With the end of the frame that each waits for, oldest first.
    waiting: Vec<(u64, W)>,
}

impl<W> Progress<W> {
    /// Nothing written but `start` bytes of header.
    pub fn new(start: u64) -> Self {
        Self {
            synced_to: AtomicU64::new(start),
            sealed: AtomicBool::new(false),
            applied_to: AtomicU64::new(0),
            senders: Mutex::new(Senders { closed: false, waiting: Vec::new() }),
        }
    }

    /// Everything before this offset can be read by a lane: it is on the device.
    pub fn synced_to(&self) -> u64 {
        self.synced_to.load(Ordering::Acquire)
    }

    pub fn set_synced_to(&self, offset: u64) {
        self.synced_to.store(offset, Ordering::Release);
    }

    /// Nothing will be added any more. Asked before `synced_to`, never after it.
    pub fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    pub fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    /// Everything before this offset is committed, as far as the lane knows.
    pub fn applied_to(&self) -> u64 {
        self.applied_to.load(Ordering::Relaxed)
    }

    pub fn set_applied_to(&self, offset: u64) {
        self.applied_to.store(offset, Ordering::Relaxed);
    }

    /// Lets `senders` wait until everything before `end` is committed; gives them back if the segment is closed.
    pub fn wait_for(&self, end: u64, senders: W) -> Result<(), W> {
        let mut waiting = self.senders();
        if waiting.closed {
            return Err(senders);
        }
        waiting.waiting.push((end, senders));
        Ok(())
    }

    /// Those who waited for what lies before `offset`.
    pub fn take_committed(&self, offset: u64) -> Vec<W> {
        let mut senders = self.senders();
        let done = senders.waiting.partition_point(|(end, _)| *end <= offset);
        senders.waiting.drain(..done).map(|(_, senders)| senders).collect()
    }

    /// From now on nothing may be added; gives back everyone who still waits.
    pub fn close(&self) -> Vec<W> {
        let mut senders = self.senders();
        senders.closed = true;
        std::mem::take(&mut senders.waiting).into_iter().map(|(_, senders)| senders).collect()
    }

    /// Whether a lane has closed the segment: the writer must begin another.
    pub fn is_closed(&self) -> bool {
        self.senders().closed
    }

    fn senders(&self) -> MutexGuard<'_, Senders<W>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
