//! The memory that requests in flight may hold together.
//!
//! Counting queued requests does not bound memory, because their sizes differ a thousandfold. So every body, inflated or
//! encoded, is reserved here first; what does not fit is refused with `503` before it is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes shared by all requests.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    reserved: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// Part of a [`MemoryBudget`], given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    bytes: usize,
}

impl MemoryBudget {
    pub fn new(bytes_max: usize) -> Self {
        Self { reserved: Arc::default(), bytes_max }
    }

    /// Bytes reserved at this moment.
    pub fn reserved_bytes(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }

    /// An empty reservation, to grow.
    pub fn reservation(&self) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0 }
    }
}

impl Reservation {
    /// Takes `bytes` more, or nothing and returns false when the budget has no room.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let reserved = self.budget.reserved.fetch_add(bytes, Ordering::Relaxed);
        if reserved + bytes > self.budget.bytes_max {
            self.budget.reserved.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.bytes += bytes;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_takes_nothing_and_all_is_given_back() {
        let budget = MemoryBudget::new(100);
        let mut first = budget.reservation();
        let mut second = budget.reservation();
        assert!(first.grow(60));
        assert!(!second.grow(41));
        assert!(second.grow(40));
        assert_eq!(budget.reserved_bytes(), 100);
        drop(first);
        assert!(second.grow(60));
        drop(second);
        assert_eq!(budget.reserved_bytes(), 0);
    }
}
