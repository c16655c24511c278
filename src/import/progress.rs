//! How far an import is: counts that its threads raise, and others read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::parse::Refused;

/// Of all files together.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes read of the files, as they lie on the disk.
    pub bytes: Arc<AtomicU64>,
    /// Records that came to their end.
    pub settled: AtomicU64,
    pub stored: AtomicU64,
}

impl Progress {
    pub fn settled(&self) -> u64 {
        self.settled.load(Ordering::Relaxed)
    }

    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// One kind of refusal, with its first example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub count: u64,
    pub line: u64,
    pub reason: String,
}

/// Refusals by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasons(BTreeMap<&'static str, Reason>);

impl Reasons {
    pub fn add(&mut self, refused: &Refused) {
        let first = || Reason { count: 0, line: refused.line, reason: refused.reason.clone() };
        self.0.entry(refused.label).or_insert_with(first).count += 1;
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Reason)> {
        self.0.iter().map(|(label, reason)| (*label, reason))
    }
}
