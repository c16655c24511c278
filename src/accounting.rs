//! The conservation law: accepted = stored + duplicate + quarantined + pending, by source.
//!
//! `accepted` is counted by the journal thread when a frame is on the device (and at start for the frames found there).
//! The other three are what the ledger in the database says of those same segments. Two independent counts of the same
//! events: where they do not meet, something was lost or invented.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What became of events, as the ledger counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    pub stored: u64,
    pub duplicate: u64,
    pub quarantined: u64,
}

impl Settled {
    pub fn total(self) -> u64 {
        self.stored + self.duplicate + self.quarantined
    }
}

/// The counters of one source.
#[derive(Debug, Default)]
pub struct SourceAccount {
    accepted: AtomicU64,
    stored: AtomicU64,
    duplicate: AtomicU64,
    quarantined: AtomicU64,
}

impl SourceAccount {
    /// `events` more were promised.
    pub fn accepted(&self, events: u64) {
        self.accepted.fetch_add(events, Ordering::Relaxed);
    }

    /// Events promised by the ledger of a segment went from `before` to `now`.
    pub fn accepted_moved(&self, before: u64, now: u64) {
        self.accepted.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    /// The ledger of a segment moved from `before` to `now`; back, if the database forgot commits.
    pub fn settled(&self, before: Settled, now: Settled) {
        let add = |counter: &AtomicU64, before: u64, now: u64| {
            counter.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        };
        add(&self.stored, before.stored, now.stored);
        add(&self.duplicate, before.duplicate, now.duplicate);
        add(&self.quarantined, before.quarantined, now.quarantined);
    }
}

/// One source's counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    pub accepted: u64,
    pub settled: Settled,
}

impl Balance {
    /// Events that are only in the journal.
    pub fn pending(&self) -> u64 {
        self.accepted.saturating_sub(self.settled.total())
    }
}

/// All sources' counters.
#[derive(Debug, Default)]
pub struct Accounting {
    sources: Mutex<BTreeMap<String, Arc<SourceAccount>>>,
}

impl Accounting {
    /// The counters of `source`, made when first asked for.
    pub fn source(&self, source: &str) -> Arc<SourceAccount> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = sources.get(source) {
            return Arc::clone(account);
        }
        Arc::clone(sources.entry(source.to_owned()).or_default())
    }

    /// Where every event is, by source.
    pub fn balances(&self) -> Vec<(String, Balance)> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let balance = |account: &SourceAccount| {
            // Settled is read first: it can then never appear to exceed what was accepted.
            let settled = Settled {
                stored: account.stored.load(Ordering::Relaxed),
                duplicate: account.duplicate.load(Ordering::Relaxed),
                quarantined: account.quarantined.load(Ordering::Relaxed),
            };
            Balance { accepted: account.accepted.load(Ordering::Relaxed), settled }
        };
        sources.iter().map(|(source, account)| (source.clone(), balance(account))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_holds_forward_and_back() {
        let accounting = Accounting::default();
        let web = accounting.source("web");
        web.accepted(10);
        let first = Settled { stored: 4, duplicate: 1, quarantined: 1 };
        web.settled(Settled::default(), first);
        assert_eq!(accounting.balances()[0].1.pending(), 4);
        // A failover lost the commit: its events are pending again.
        web.settled(first, Settled::default());
        assert_eq!(accounting.balances()[0].1.pending(), 10);
    }
}
