//! Some visits of one day and source, by number; and what those with one value come to.

use super::codec::{put_counted, put_values, seal};
use super::count::{Counters, Entry, Kept};
use super::properties::Properties;
use super::values::Values;
use super::{
    AUDIENCE, BYTES_MIN, ENTRY, EVENT, EXIT, GROUPS, Group, Groups, LISTS, PAGE, PROPERTY_BYTES_PER_EVENT_MAX, Sums,
    VITAL, key, lists_of, visits,
};

/// Of a part: so that it takes some tens of megabytes.
const VISITS_MAX: usize = 100_000;
const ENTRIES_MAX: usize = 2_000_000;
const PROPERTIES_MAX: usize = 4_000_000;
const VALUE_BYTES_MAX: usize = 16 << 20;

/// Visitors are put together by country, source, device, browser and system.
const ARRANGED_BY: [usize; 5] = [AUDIENCE + 4, AUDIENCE, AUDIENCE + 6, AUDIENCE + 7, AUDIENCE + 8];

/// One visit, as the SELECT gives it.
#[derive(Debug, Default)]
pub struct Visit<'r> {
    pub visitor_id: &'r str,
    pub minute: i32,
    pub events: i64,
    pub page_views: i64,
    pub is_bounce: bool,
    pub duration_ms: i64,
    /// By the lists of [`Group::Audience`].
    pub audience: [Option<&'r str>; PAGE - AUDIENCE],
    pub entry: Option<&'r str>,
    pub exit: Option<&'r str>,
    pub pages: Vec<Option<&'r str>>,
    pub event_names: Vec<Option<&'r str>>,
    pub vitals: Vec<Option<&'r str>>,
    /// Of its events that have properties: the name, and the JSON.
    pub properties: Vec<(&'r str, &'r str)>,
}

/// A row of the table. Groups are in the order of [`GROUPS`].
pub struct Packed {
    pub key: Vec<u8>,
    pub is_whole: Option<bool>,
    pub groups: Groups,
}

impl Packed {
    /// What belongs to no group is where figures are.
    pub fn of_part(key: &[u8], packed: Vec<u8>) -> Self {
        let mut groups = Groups::default();
        if let Some(first) = groups.first_mut() {
            *first = Some(packed);
        }
        Self { key: key.to_vec(), is_whole: None, groups }
    }

    /// About what it takes in PostgreSQL: a row's head, its columns, and its entry in an index.
    pub fn bytes(&self) -> u64 {
        const ROW_BYTES: u64 = 120;
        ROW_BYTES + self.groups.iter().flatten().map(|group| group.len() as u64).sum::<u64>()
    }
}

/// See the module.
#[derive(Default)]
pub struct Part {
    lists: [Values; LISTS.len()],
    visits: Vec<Kept>,
    entries: Vec<Entry>,
    counters: Counters,
    properties: Properties,
    /// The one who came last.
    visitor_id: String,
    visitors: u32,
    value_bytes: usize,
    events: u64,
}

impl Part {
    /// Whether the next visit belongs into another part. One visitor's are never parted.
    pub fn is_full(&self, next_visitor: &str) -> bool {
        let is_much = self.visits.len() >= VISITS_MAX
            || self.entries.len() >= ENTRIES_MAX
            || self.properties.entries() >= PROPERTIES_MAX
            || self.value_bytes >= VALUE_BYTES_MAX;
        is_much && self.visitor_id != next_visitor
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    /// Adds a visit; those of one visitor follow each other.
    pub fn add(&mut self, visit: &Visit<'_>) {
        if self.visits.is_empty() || self.visitor_id != visit.visitor_id {
            visit.visitor_id.clone_into(&mut self.visitor_id);
            self.visitors += 1;
        }
        let begin = self.entries.len();
        for (place, value) in visit.audience.iter().enumerate() {
            self.note(AUDIENCE + place, *value);
        }
        self.note(ENTRY, visit.entry);
        self.note(EXIT, visit.exit);
        self.note_all(PAGE, &visit.pages);
        self.note_all(EVENT, &visit.event_names);
        self.note_all(VITAL, &visit.vitals);
        for (name, json) in &visit.properties {
            self.properties.add(self.visits.len() as u32, name, json, &mut self.value_bytes);
        }
        let number = i64::unsigned_abs;
        self.events += number(visit.events);
        self.visits.push(Kept {
            visitor: self.visitors,
            minute: visit.minute.unsigned_abs(),
            sums: Sums {
                visitors: 0,
                visits: 1,
                page_views: number(visit.page_views),
                bounces: visit.is_bounce.into(),
                duration_ms: number(visit.duration_ms),
            },
            entries: begin..self.entries.len(),
        });
    }

    fn note(&mut self, list: usize, value: Option<&str>) {
        if let (Some(value), Some(values)) = (value, self.lists.get_mut(list)) {
            let value = values.number(value, &mut self.value_bytes);
            self.entries.push(Entry { list: list as u8, count: 1, value });
        }
    }

    /// Each value once, with how often it is there: a thousand at most.
    fn note_all(&mut self, list: usize, given: &[Option<&str>]) {
        let begin = self.entries.len();
        for value in given {
            self.note(list, *value);
        }
        if let Some(entries) = self.entries.get_mut(begin..) {
            entries.sort_unstable_by_key(|entry| entry.value);
        }
        let mut kept = begin;
        for at in begin..self.entries.len() {
            let Some(entry) = self.entries.get(at).copied() else { break };
            match kept.checked_sub(1).filter(|last| *last >= begin).and_then(|last| self.entries.get_mut(last)) {
                Some(same) if same.value == entry.value => same.count = same.count.saturating_add(1),
                _ => {
                    if let Some(place) = self.entries.get_mut(kept) {
                        *place = entry;
                    }
                    kept += 1;
                }
            }
        }
        self.entries.truncate(kept);
    }

    /// Hands the rows to `write`: the visits as a whole, and themselves; their events' properties, which have room of their own; then the
    /// heaviest first, until it has had `bytes_max`; and at last that of the values.
    pub fn pack<E>(mut self, bytes_max: u64, mut write: impl FnMut(Packed) -> Result<(), E>) -> Result<(), E> {
        self.arrange();
        let having = self.having();
        let everyone: Vec<u32> = (0..self.visits.len() as u32).collect();
        let first = self.pack_some(key(None).to_vec(), &everyone);
        let mut values = self.pack_values();
        let mut bytes = first.bytes() + values.bytes();
        write(first)?;
        for (column, packed) in visits::pack(&self.visits, &self.entries, AUDIENCE..LISTS.len()) {
            let row = Packed::of_part(&column.key(), packed);
            bytes += row.bytes();
            write(row)?;
        }
        let of_properties = (self.events * PROPERTY_BYTES_PER_EVENT_MAX).max(BYTES_MIN);
        std::mem::take(&mut self.properties).pack(of_properties, &mut write)?;
        // Nobody filters by what was measured.
        for (list, value, visits) in having.by_weight().filter(|(list, ..)| *list != VITAL) {
            if bytes >= bytes_max {
                values.is_whole = Some(false);
                break;
            }
            let text = self.lists.get(list).and_then(|values| values.texts.get(value as usize));
            let (Some(text), Some((name, _))) = (text, LISTS.get(list)) else { continue };
            let key = key(Some((name, text))).to_vec();
            let row = self.pack_some(key, visits);
            bytes += row.bytes();
            write(row)?;
        }
        write(values)
    }

    /// Puts visitors of one kind together, by their first visits: then what a filter leaves lies together.
    fn arrange(&mut self) {
        let of_visit = |visit: &Kept| {
            let entries = self.entries.get(visit.entries.clone()).unwrap_or_default();
            ARRANGED_BY.map(|list| {
                let entry = entries.iter().find(|entry| usize::from(entry.list) == list);
                entry.map_or(u32::MAX, |entry| entry.value)
            })
        };
        let mut first = 0;
        let visitors = self.visits.chunk_by(|visit, next| visit.visitor == next.visitor).map(|visits| {
            let range = first..first + visits.len();
            first = range.end;
            (visits.first().map(of_visit), range)
        });
        let mut visitors: Vec<_> = visitors.collect();
        visitors.sort_by_key(|(kind, _)| *kind);
        let mut places = vec![0; self.visits.len()];
        let mut arranged = Vec::with_capacity(self.visits.len());
        for ((_, range), visitor) in visitors.into_iter().zip(1..) {
            for (place, visit) in self.visits.get(range.clone()).unwrap_or_default().iter().enumerate() {
                if let Some(place) = places.get_mut(range.start + place) {
                    *place = arranged.len() as u32;
                }
                arranged.push(Kept { visitor, ..visit.clone() });
            }
        }
        self.visits = arranged;
        self.properties.arrange(&places);
    }

    /// The visits that have each value.
    fn having(&self) -> Having {
        let mut having = Having::default();
        for values in &self.lists {
            having.offsets.push(having.counts.len());
            having.counts.resize(having.counts.len() + values.texts.len(), 0);
        }
        for entry in &self.entries {
            if let Some(count) = having.slot(*entry).and_then(|slot| having.counts.get_mut(slot)) {
                *count += 1;
            }
        }
        let mut end = 0;
        having.ends = having
            .counts
            .iter()
            .map(|count| {
                let begin = end;
                end += count;
                begin
            })
            .collect();
        having.visits.resize(end, 0);
        for (number, visit) in self.visits.iter().enumerate() {
            for entry in self.entries.get(visit.entries.clone()).unwrap_or_default() {
                let slot = having.slot(*entry);
                let Some(end) = slot.and_then(|slot| having.ends.get_mut(slot)) else { continue };
                if let Some(place) = having.visits.get_mut(*end) {
                    *place = number as u32;
                }
                *end += 1;
            }
        }
        having
    }

    /// What these visits come to.
    fn pack_some(&mut self, key: Vec<u8>, visits: &[u32]) -> Packed {
        for visit in visits.iter().filter_map(|number| self.visits.get(*number as usize)) {
            let entries = self.entries.get(visit.entries.clone()).unwrap_or_default();
            self.counters.add_figures(visit.visitor, visit.minute, &visit.sums);
            self.counters.add_entries(visit.visitor, &visit.sums, entries);
        }
        let counted = self.counters.take();
        let groups = GROUPS.map(|(group, _)| {
            let of_group = || lists_of(group).filter_map(|(list, _)| counted.get(list));
            let is_there = of_group().any(|list| !list.is_empty());
            is_there.then(|| {
                let mut raw = Vec::new();
                of_group().for_each(|list| put_counted(&mut raw, list));
                seal(&raw)
            })
        });
        Packed { key, is_whole: None, groups }
    }

    fn pack_values(&self) -> Packed {
        let groups = GROUPS.map(|(group, _)| {
            (group != Group::Figures).then(|| {
                let mut raw = Vec::new();
                for values in lists_of(group).filter_map(|(list, _)| self.lists.get(list)) {
                    put_values(&mut raw, &values.texts);
                }
                seal(&raw)
            })
        });
        Packed { key: Vec::new(), is_whole: Some(true), groups }
    }
}

/// For each value, the visits that have it, in their order.
#[derive(Default)]
struct Having {
    /// Where the values of each list begin.
    offsets: Vec<usize>,
    counts: Vec<usize>,
    /// Where the visits of each value end.
    ends: Vec<usize>,
    visits: Vec<u32>,
}

impl Having {
    fn slot(&self, entry: Entry) -> Option<usize> {
        self.offsets.get(usize::from(entry.list)).map(|offset| offset + entry.value as usize)
    }

    /// List, value, and visits: most visits first.
    fn by_weight(&self) -> impl Iterator<Item = (usize, u32, &[u32])> {
        let mut slots: Vec<usize> = (0..self.counts.len()).collect();
        slots.sort_by_key(|slot| std::cmp::Reverse(self.counts.get(*slot).copied()));
        slots.into_iter().filter_map(|slot| {
            let list = self.offsets.partition_point(|offset| *offset <= slot).checked_sub(1)?;
            let (end, count) = (*self.ends.get(slot)?, *self.counts.get(slot)?);
            let visits = self.visits.get(end.checked_sub(count)?..end)?;
            Some((list, (slot - self.offsets.get(list)?) as u32, visits))
        })
    }
}
