//! What some visits come to, by list and value.

use std::ops::Range;

use super::codec::Counted;
use super::{ALL, ENTRY, EVENT, EXIT, HOUR, LISTS, MINUTE, PAGE, Sums, VITAL};

/// Before every visitor's number.
const NOBODY: u32 = u32::MAX;

/// A visit by numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub visitor: u32,
    pub minute: u32,
    /// Of one visit; and no visitor yet.
    pub sums: Sums,
    /// Which of all entries are its.
    pub entries: Range<usize>,
}

/// That a visit has the value of the list, so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub list: u8,
    pub count: u16,
    pub value: u32,
}

/// A value's sums while they are made, and the visitor who was counted last.
#[derive(Clone, Copy)]
struct Counter {
    sums: Sums,
    visitor: u32,
}

const ZERO: Counter =
    Counter { sums: Sums { visitors: 0, visits: 0, page_views: 0, bounces: 0, duration_ms: 0 }, visitor: NOBODY };

/// One list, while it is counted.
#[derive(Default)]
pub struct List {
    counters: Vec<Counter>,
    /// Values whose counter is not zero.
    counted: Vec<u32>,
}

impl List {
    pub fn count(&mut self, value: u32, sums: &Sums, visitor: u32) {
        self.add(value, visitor, |known| known.add(sums));
    }

    /// Adds to a value's sums, a visit at least, of nobody's.
    #[inline]
    pub fn add_alone(&mut self, value: u32, add: impl FnOnce(&mut Sums)) {
        if let Some(counter) = self.counter(value) {
            add(&mut counter.sums);
        }
    }

    /// Adds to a value's sums, a visit at least, of this visitor's.
    #[inline]
    pub fn add(&mut self, value: u32, visitor: u32, add: impl FnOnce(&mut Sums)) {
        let Some(counter) = self.counter(value) else { return };
        add(&mut counter.sums);
        if counter.visitor != visitor {
            counter.visitor = visitor;
            counter.sums.visitors += 1;
        }
    }

    /// Adds what visits that follow each other come to, their visitors included: those of `first` come first, and those of `last` last.
    pub fn add_run(&mut self, value: u32, sums: &Sums, first: u32, last: u32) {
        let Some(counter) = self.counter(value) else { return };
        counter.sums.add(sums);
        if counter.visitor == first {
            counter.sums.visitors -= 1;
        }
        counter.visitor = last;
    }

    #[inline]
    fn counter(&mut self, value: u32) -> Option<&mut Counter> {
        if self.counters.len() <= value as usize {
            self.counters.resize(value as usize + 1, ZERO);
        }
        let counter = self.counters.get_mut(value as usize)?;
        if counter.sums.visits == 0 {
            self.counted.push(value);
        }
        Some(counter)
    }

    pub fn take(&mut self) -> Counted {
        const SORTED_SHARE: usize = 16;
        let values = self.counters.len();
        let counters = &mut self.counters;
        let take = |value: u32| {
            let counter = counters.get_mut(value as usize).filter(|counter| counter.sums.visits > 0)?;
            Some((value, std::mem::replace(counter, ZERO).sums))
        };
        // To go through all takes less than to put some of them in order.
        if self.counted.len() > values / SORTED_SHARE {
            self.counted.clear();
            return (0..values as u32).filter_map(take).collect();
        }
        self.counted.sort_unstable();
        self.counted.drain(..).filter_map(take).collect()
    }
}

/// What a visit, which comes to `sums` and has a value of the list so `often`, comes to there; and whose it is, where visitors are told apart.
#[inline]
pub fn of_value(list: usize, sums: &Sums, often: u64, visitor: u32) -> (Sums, u32) {
    let none = Sums { visits: 1, ..Sums::default() };
    match list {
        PAGE => (Sums { page_views: often, ..none }, visitor),
        ENTRY => (Sums { bounces: sums.bounces, ..none }, NOBODY),
        EXIT => (none, NOBODY),
        EVENT => (Sums { visits: often, ..none }, visitor),
        VITAL => (Sums { visits: often, ..none }, NOBODY),
        _ => (*sums, visitor),
    }
}

/// Visits are counted one after the other, those of one visitor together.
pub struct Counters {
    lists: [List; LISTS.len()],
    /// Whose the visit before was.
    before: u32,
}

impl Default for Counters {
    fn default() -> Self {
        Self { lists: Default::default(), before: NOBODY }
    }
}

impl Counters {
    /// A visit's part of all that is no list of values: `sums` are of one, and of no visitor yet.
    pub fn add_figures(&mut self, visitor: u32, minute: u32, sums: &Sums) {
        self.count(ALL, 0, sums, visitor);
        self.count(HOUR, minute / 60, sums, visitor);
        // Whoever has been here before is nobody new: the counter's visitor, if it is zero.
        let first = Sums { visitors: u64::from(visitor != self.before), ..*sums };
        self.count(MINUTE, minute, &first, NOBODY);
        self.before = visitor;
    }

    /// Its part of the lists.
    pub fn add_entries(&mut self, visitor: u32, sums: &Sums, entries: &[Entry]) {
        for entry in entries {
            let list = usize::from(entry.list);
            let (sums, visitor) = of_value(list, sums, entry.count.into(), visitor);
            self.count(list, entry.value, &sums, visitor);
        }
    }

    /// To count its values as [`of_value`] says.
    pub fn list(&mut self, list: usize) -> Option<&mut List> {
        self.lists.get_mut(list)
    }

    fn count(&mut self, list: usize, value: u32, sums: &Sums, visitor: u32) {
        if let Some(list) = self.lists.get_mut(list) {
            list.count(value, sums, visitor);
        }
    }

    /// What was counted, by list; and all is zero again.
    pub fn take(&mut self) -> Vec<Counted> {
        self.before = NOBODY;
        self.lists.iter_mut().map(List::take).collect()
    }
}
