//! The ids seen lately, so that a client's retry is known before it costs a row.
//!
//! Two generations of a set: when the younger is full it becomes the older, and the older is dropped. An id is thus
//! remembered for at least [`GENERATION_IDS_MAX`] further events. What slips through meets the unique index.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// 2 × 131,072 ids of 16 bytes in tables at most 7/8 full: at most 9 MB.
pub const GENERATION_IDS_MAX: usize = 128 * 1024;

/// Ids are hashes already: a few of their bits serve.
#[derive(Debug, Default, Clone, Copy)]
struct TakeBits(u64);

impl Hasher for TakeBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, id: u128) {
        // Of a tail's low 64 bits the top two are the UUID's variant. The table looks at both ends of a hash: put them
        // in the middle.
        self.0 = (id as u64).rotate_left(32);
    }
}

type Ids = HashSet<u128, BuildHasherDefault<TakeBits>>;

/// See the module.
#[derive(Debug, Default)]
pub struct RecentIds {
    younger: Ids,
    older: Ids,
}

impl RecentIds {
    /// Notes `id`; false if it was known.
    pub fn insert(&mut self, id: u128) -> bool {
        if self.older.contains(&id) || !self.younger.insert(id) {
            return false;
        }
        if self.younger.len() >= GENERATION_IDS_MAX {
            std::mem::swap(&mut self.younger, &mut self.older);
            self.younger.clear();
        }
        true
    }

    /// Forgets `id`: what was to carry it did not reach the disk.
    pub fn remove(&mut self, id: u128) {
        self.younger.remove(&id);
        self.older.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(id: u128) -> u128 {
        id.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }

    #[test]
    fn ids_are_known_until_a_generation_has_passed_and_memory_is_bounded() {
        let mut recent = RecentIds::default();
        assert!(recent.insert(1));
        assert!(!recent.insert(1));
        recent.remove(1);
        assert!(recent.insert(1));
        for id in 2..=GENERATION_IDS_MAX as u128 {
            recent.insert(spread(id));
            assert!(!recent.insert(1), "{id}");
        }
        for id in 0..=2 * GENERATION_IDS_MAX as u128 {
            recent.insert(spread(id << 40));
        }
        assert!(recent.younger.len() + recent.older.len() <= 2 * GENERATION_IDS_MAX);
        assert!(recent.insert(1));
    }
}
