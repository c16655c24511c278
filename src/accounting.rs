//! The conservation law: accepted = stored + duplicate + quarantined + pending, by source.
//!
//! `accepted` is counted by the journal thread when a frame is on the device (and at start for the frames found there).
//! The other three are what the ledger in the database says of those same segments. Two independent counts of the same
//! events: where they do not meet, something was lost or invented.
//!
//! The books are kept by segment, because a segment has one name wherever its file goes: a copied journal, or one that has
//! been damaged since, does not change what was promised.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

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

    /// This count, after one part of it went from `before` to `now`; back, if the database forgot commits.
    fn moved(self, before: Self, now: Self) -> Self {
        Self {
            stored: moved(self.stored, before.stored, now.stored),
            duplicate: moved(self.duplicate, before.duplicate, now.duplicate),
            quarantined: moved(self.quarantined, before.quarantined, now.quarantined),
        }
    }
}

fn moved(count: u64, before: u64, now: u64) -> u64 {
    count.wrapping_add(now.wrapping_sub(before))
}

/// One source's counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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

/// One source's counts in one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub segment: Uuid,
    pub source: String,
    pub balance: Balance,
    /// The segment is released: the entry will not change any more, and nothing of it will arrive any more.
    pub is_final: bool,
}

/// All counts.
#[derive(Debug, Default)]
pub struct Accounting {
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    totals: BTreeMap<String, Balance>,
    segments: BTreeMap<Uuid, SegmentBooks>,
}

#[derive(Debug, Default)]
struct SegmentBooks {
    sources: BTreeMap<String, Balance>,
    is_released: bool,
    is_disowned: bool,
}

impl Accounting {
    /// `events` more were promised in `segment`.
    pub fn accepted(&self, segment: Uuid, source: &str, events: u64) {
        self.accepted_moved(segment, source, 0, events);
    }

    /// What was promised in `segment` went from `before` to `now`.
    pub fn accepted_moved(&self, segment: Uuid, source: &str, before: u64, now: u64) {
        self.books().change(segment, source, |balance| balance.accepted = moved(balance.accepted, before, now));
    }

    /// What the ledger says of `segment` went from `before` to `now`.
    pub fn settled(&self, segment: Uuid, source: &str, before: Settled, now: Settled) {
        self.books().change(segment, source, |balance| balance.settled = balance.settled.moved(before, now));
    }

    /// The segment is applied, and its file is gone: once that is written down, it need not be remembered.
    pub fn released(&self, segment: Uuid) {
        if let Some(segment) = self.books().segments.get_mut(&segment) {
            segment.is_released = true;
        }
    }

    /// Another copy of the segment was applied: its books are the other's. Nothing in it will arrive from here, but whoever
    /// was promised it remains in the totals.
    pub fn disown(&self, segment: Uuid) {
        let mut books = self.books();
        let own = books.segments.entry(segment).or_default();
        own.sources.values_mut().for_each(|balance| *balance = Balance::default());
        (own.is_disowned, own.is_released) = (true, true);
    }

    /// The final entries of these are written down. They stay in the totals.
    pub fn forget(&self, segments: impl IntoIterator<Item = Uuid>) {
        let mut books = self.books();
        for segment in segments {
            match books.segments.get_mut(&segment) {
                // What is still said of it later must not begin new books.
                Some(own) if own.is_disowned => own.sources.clear(),
                _ => drop(books.segments.remove(&segment)),
            }
        }
    }

    /// Where every event is, by source.
    pub fn balances(&self) -> Vec<(String, Balance)> {
        self.books().totals.iter().map(|(source, balance)| (source.clone(), *balance)).collect()
    }

    /// Events that are promised and nowhere else than in the journal.
    pub fn pending(&self) -> u64 {
        self.books().totals.values().map(Balance::pending).sum()
    }

    /// Where the events of every segment are.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (segment, books) in &self.books().segments {
            entries.extend(books.sources.iter().map(|(source, balance)| Entry {
                segment: *segment,
                source: source.clone(),
                balance: *balance,
                is_final: books.is_released,
            }));
        }
        entries
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn change(&mut self, segment: Uuid, source: &str, change: impl Fn(&mut Balance)) {
        let own = self.segments.entry(segment).or_default();
        let own = (!own.is_disowned).then_some(&mut own.sources);
        for balances in [&mut self.totals].into_iter().chain(own) {
            match balances.get_mut(source) {
                Some(balance) => change(balance),
                None => change(balances.entry(source.to_owned()).or_default()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: Uuid = Uuid::from_u128(7);

    #[test]
    fn the_law_holds_forward_and_back() {
        let accounting = Accounting::default();
        accounting.accepted(SEGMENT, "web", 10);
        let first = Settled { stored: 4, duplicate: 1, quarantined: 1 };
        accounting.settled(SEGMENT, "web", Settled::default(), first);
        assert_eq!(accounting.balances()[0].1.pending(), 4);
        // A failover lost the commit: its events are pending again.
        accounting.settled(SEGMENT, "web", first, Settled::default());
        assert_eq!(accounting.balances()[0].1.pending(), 10);
    }

    #[test]
    fn a_disowned_segment_is_told_as_nothing_and_begins_no_new_books() {
        let accounting = Accounting::default();
        accounting.accepted(SEGMENT, "web", 3);
        accounting.disown(SEGMENT);
        let told = accounting.entries();
        assert_eq!((told[0].balance, told[0].is_final), (Balance::default(), true));
        accounting.forget([SEGMENT]);
        accounting.accepted(SEGMENT, "web", 2);
        assert_eq!(accounting.entries(), []);
        assert_eq!(accounting.balances()[0].1.pending(), 5);
    }

    #[test]
    fn a_released_segment_is_told_a_last_time_and_stays_in_the_totals() {
        let accounting = Accounting::default();
        let other = Uuid::from_u128(8);
        accounting.accepted(SEGMENT, "web", 3);
        accounting.accepted(other, "web", 2);
        accounting.accepted(other, "app", 1);
        accounting.released(SEGMENT);
        let told = accounting.entries();
        let finals: Vec<_> = told.iter().map(|entry| (entry.segment, entry.source.as_str(), entry.is_final)).collect();
        assert_eq!(finals, [(SEGMENT, "web", true), (other, "app", false), (other, "web", false)]);
        accounting.forget([SEGMENT]);
        assert!(accounting.entries().iter().all(|entry| entry.segment == other));
        let accepted: Vec<_> = accounting.balances().into_iter().map(|(_, balance)| balance.accepted).collect();
        assert_eq!(accepted, [1, 5]);
    }
}
