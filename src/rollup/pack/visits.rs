//! The visits of a part themselves, without their texts: whatever they are filtered by, they can be counted again.
//!
//! ```text
//! of each list of a group: how many bytes, and these: of every visit, in order, a number
//!   all                   how far the visitor's number is from the one before; then the visits' page views, bounces, milliseconds
//!   minute                of the day; hour has none
//!   page, event           how many values; then of all visits the values' numbers; then how often each is there
//!   of another list       the value's number and 1; 0: none
//! ```

use super::codec::{Counted, open, put, seal, take};
use super::count::{Counters, Entry, Kept};
use super::{ALL, EVENT, GROUPS, Group, HOUR, LISTS, MINUTE, PAGE, Sums, lists_of, place_of};

/// Groups of lists, in the order of [`GROUPS`].
pub type Groups = [Option<Vec<u8>>; GROUPS.len()];

/// Packs visits. `entries` has those of each.
pub fn pack(visits: &[Kept], entries: &[Entry]) -> Groups {
    let of = |visit: &Kept| entries.get(visit.entries.clone()).unwrap_or_default();
    GROUPS.map(|(group, _)| {
        let mut raw = Vec::new();
        for (list, _) in lists_of(group) {
            let mut bytes = Vec::new();
            match list {
                ALL => put_sums(&mut bytes, visits),
                HOUR => {}
                MINUTE => visits.iter().for_each(|visit| put(&mut bytes, visit.minute.into())),
                PAGE | EVENT => {
                    let its = |visit| of(visit).iter().filter(|entry| usize::from(entry.list) == list);
                    for visit in visits {
                        put(&mut bytes, its(visit).count() as u64);
                    }
                    visits.iter().flat_map(its).for_each(|entry| put(&mut bytes, entry.value.into()));
                    visits.iter().flat_map(its).for_each(|entry| put(&mut bytes, entry.count.into()));
                }
                _ => {
                    for visit in visits {
                        let entry = of(visit).iter().find(|entry| usize::from(entry.list) == list);
                        put(&mut bytes, entry.map_or(0, |entry| u64::from(entry.value) + 1));
                    }
                }
            }
            put(&mut raw, bytes.len() as u64);
            raw.append(&mut bytes);
        }
        Some(seal(&raw))
    })
}

fn put_sums(bytes: &mut Vec<u8>, visits: &[Kept]) {
    let mut before = 0;
    for visit in visits {
        put(bytes, u64::from(visit.visitor - before));
        before = visit.visitor;
    }
    let columns: [fn(&Sums) -> u64; 3] = [|sums| sums.page_views, |sums| sums.bounces, |sums| sums.duration_ms];
    for column in columns {
        for visit in visits {
            put(bytes, column(&visit.sums));
        }
    }
}

/// A list of visits, unpacked.
enum Column {
    /// Of each visit the value and 1, or 0.
    One(Vec<u32>),
    /// Where those of each visit end; values, and how often.
    Many(Vec<usize>, Vec<(u32, u16)>),
}

impl Column {
    fn has(&self, visit: usize, value: u32) -> bool {
        match self {
            Self::One(values) => values.get(visit) == Some(&(value + 1)),
            Self::Many(..) => self.many(visit).iter().any(|(found, _)| *found == value),
        }
    }

    fn many(&self, visit: usize) -> &[(u32, u16)] {
        let Self::Many(ends, entries) = self else { return &[] };
        let begin = visit.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
        ends.get(visit).and_then(|end| entries.get(begin..*end)).unwrap_or_default()
    }

    fn note(&self, visit: usize, list: u8, entries: &mut Vec<Entry>) {
        if let Self::One(values) = self
            && let Some(value) = values.get(visit).and_then(|value| value.checked_sub(1))
        {
            entries.push(Entry { list, count: 1, value });
        }
        entries.extend(self.many(visit).iter().map(|(value, count)| Entry { list, count: *count, value: *value }));
    }
}

/// The row of a part's visits, opened as far as it is there.
struct Opened {
    groups: [Option<Vec<u8>>; GROUPS.len()],
    visits: usize,
}

impl Opened {
    /// The bytes of a list.
    fn list(&self, wanted: usize) -> Option<&[u8]> {
        let (_, group) = *LISTS.get(wanted)?;
        let mut raw = self.groups.get(place_of(group)?)?.as_deref()?;
        for (list, _) in lists_of(group) {
            let length = take(&mut raw)? as usize;
            let (bytes, rest) = raw.split_at_checked(length)?;
            if list == wanted {
                return Some(bytes);
            }
            raw = rest;
        }
        None
    }

    fn column(&self, list: usize) -> Option<Column> {
        let mut bytes = self.list(list)?;
        let bytes = &mut bytes;
        if list != PAGE && list != EVENT {
            return Some(Column::One(numbers(bytes, self.visits)?));
        }
        let mut ends = Vec::with_capacity(self.visits);
        let mut end = 0_usize;
        for _ in 0..self.visits {
            end = end.checked_add(take(bytes)? as usize)?;
            ends.push(end);
        }
        let values = numbers(bytes, end)?;
        let entries = values.into_iter().map(|value| Some((value, u16::try_from(take(bytes)?).ok()?)));
        Some(Column::Many(ends, entries.collect::<Option<_>>()?))
    }
}

/// So many numbers.
fn numbers(bytes: &mut &[u8], count: usize) -> Option<Vec<u32>> {
    // Each takes a byte at least; and most lists have only such.
    let (small, rest) = bytes.split_at_checked(count)?;
    if small.is_ascii() {
        *bytes = rest;
        return Some(small.iter().map(|byte| u32::from(*byte)).collect());
    }
    (0..count).map(|_| u32::try_from(take(bytes)?).ok()).collect()
}

/// Counts the visits of `packed` that have all of the `wanted` values, each a list and a value's number, by the lists of `group`. The
/// groups of these lists have to be there, and that of figures. `None`: it is not what [`pack`] made.
pub fn count(packed: &Groups, wanted: &[(usize, u32)], group: Group) -> Option<Vec<(usize, Counted)>> {
    let is_needed = |of: Group| {
        of == Group::Figures
            || of == group
            || wanted.iter().any(|(list, _)| LISTS.get(*list).is_some_and(|(_, its)| *its == of))
    };
    let mut opened = Opened { groups: Default::default(), visits: 0 };
    for ((place, packed), (of, _)) in opened.groups.iter_mut().zip(packed).zip(GROUPS) {
        if is_needed(of) {
            *place = Some(open(packed.as_deref()?)?);
        }
    }
    // A minute of each visit.
    let mut minutes = opened.list(MINUTE)?;
    let mut found = Vec::new();
    while !minutes.is_empty() {
        found.push(u32::try_from(take(&mut minutes)?).ok()?);
    }
    opened.visits = found.len();
    let filters: Vec<(Column, u32)> =
        wanted.iter().map(|(list, value)| Some((opened.column(*list)?, *value))).collect::<Option<_>>()?;
    let is_kept = |visit: usize| filters.iter().all(|(column, value)| column.has(visit, *value));
    if !(0..opened.visits).any(is_kept) {
        return Some(lists_of(group).map(|(list, _)| (list, Counted::new())).collect());
    }
    let columns: Vec<(u8, Column)> = lists_of(group)
        .filter(|_| group != Group::Figures)
        .map(|(list, _)| Some((list as u8, opened.column(list)?)))
        .collect::<Option<_>>()?;
    let mut all = opened.list(ALL)?;
    let visitors = numbers(&mut all, opened.visits)?;
    let page_views = numbers(&mut all, opened.visits)?;
    let bounces = numbers(&mut all, opened.visits)?;
    let mut counters = Counters::default();
    let (mut visitor, mut entries) = (0_u32, Vec::new());
    let figures = found.into_iter().zip(visitors).zip(page_views).zip(bounces);
    for (number, (((minute, step), page_views), bounces)) in figures.enumerate() {
        let duration_ms = take(&mut all)?;
        visitor = visitor.checked_add(step)?;
        if !is_kept(number) {
            continue;
        }
        entries.clear();
        for (list, column) in &columns {
            column.note(number, *list, &mut entries);
        }
        let sums = Sums { visitors: 0, visits: 1, page_views: page_views.into(), bounces: bounces.into(), duration_ms };
        counters.add(visitor, minute, &sums, &entries);
    }
    let mut counted = counters.take();
    lists_of(group).map(|(list, _)| Some((list, std::mem::take(counted.get_mut(list)?)))).collect()
}
