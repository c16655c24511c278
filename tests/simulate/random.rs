//! The one source of chance: equal seeds, equal histories.

use std::io;
use std::sync::{Arc, Mutex};

use weir::entropy::Entropy;

use crate::split_mix::SplitMix64;

/// Shared by everything in one simulation.
#[derive(Clone)]
pub struct Random(Arc<Mutex<SplitMix64>>);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(SplitMix64::new(seed))))
    }

    pub fn next(&self) -> u64 {
        self.0.lock().expect("no panic while held").next()
    }

    /// A number below `bound`.
    pub fn below(&self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True so many times in a thousand.
    pub fn permille(&self, times: u64) -> bool {
        self.below(1000) < times
    }

    pub fn coin(&self) -> bool {
        self.permille(500)
    }
}

impl Entropy for Random {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}
