//! The visits of a part themselves, without their texts: whatever they are filtered by, they can be counted again.
//!
//! A row of the table is one [`Column`], so that no more is read than a question needs: of every visit, in order, a number.
//!
//! ```text
//! visitor     how far the visitor's number is from the one before
//! page views, bounce, duration (milliseconds), minute (of the day)
//! a list      the value's number and 1; 0: none
//! page, event, vital      how many values each visit has; then of all visits the values' numbers; then how often each is there, less 1
//! ```
//!
//! Numbers are stored so that any of them can be read without those before: how many there are, and how many bytes the largest
//! takes; then the lowest byte of each, then the next one of each.

use super::codec::{Counted, open_by, put, seal_numbers, take};
use super::count::{Counters, Entry, Kept};
use super::{ALL, ENTRY, EVENT, HOUR, MINUTE, PAGE, Sums, VITAL};

/// What is known of each visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Column {
    Visitor,
    PageViews,
    Bounce,
    DurationMs,
    Minute,
    /// By number.
    List(usize),
}

/// Those of figures, in the order of their numbers.
const FIGURES: [Column; 5] = [Column::Visitor, Column::PageViews, Column::Bounce, Column::DurationMs, Column::Minute];
/// The number of the first list's column.
const LISTS_FROM: usize = 16;
/// More than a part has of anything. Numbers that are all zero take no bytes, so that their count alone says how many there are.
const COUNT_MAX: usize = 1 << 24;

impl Column {
    /// The row's key: a byte 1, and the column's number.
    pub fn key(self) -> [u8; 2] {
        let number = match self {
            Self::List(list) => LISTS_FROM + list,
            figure => FIGURES.iter().position(|known| *known == figure).unwrap_or_default(),
        };
        [1, number as u8]
    }

    /// And back.
    pub fn of_key(key: &[u8]) -> Option<Self> {
        let [1, number] = key else { return None };
        let number = usize::from(*number);
        FIGURES.get(number).copied().or_else(|| number.checked_sub(LISTS_FROM).map(Self::List))
    }
}

/// Whether a visit has several values of the list.
fn has_many(list: usize) -> bool {
    matches!(list, PAGE | EVENT | VITAL)
}

/// What is to be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// By number.
    pub lists: Vec<usize>,
    /// Whether page views, bounces and durations are asked for, where they are not the list's own.
    pub has_sums: bool,
}

impl Wanted {
    /// The columns that this needs of visits which are filtered by the values of some lists.
    pub fn columns(&self, filters: impl Iterator<Item = usize>) -> Vec<Column> {
        let mut columns: Vec<Column> = filters.map(Column::List).collect();
        for list in self.lists.iter().copied() {
            match list {
                ALL => {}
                HOUR | MINUTE => columns.push(Column::Minute),
                list => columns.push(Column::List(list)),
            }
        }
        if self.has_sums {
            columns.extend([Column::PageViews, Column::Bounce, Column::DurationMs]);
        }
        if self.lists.contains(&ENTRY) {
            columns.push(Column::Bounce);
        }
        columns.push(Column::Visitor);
        columns.sort_unstable();
        columns.dedup();
        columns
    }
}

/// Packs visits: each column's bytes. `entries` has those of each.
pub fn pack(visits: &[Kept], entries: &[Entry], lists: impl Iterator<Item = usize>) -> Vec<(Column, Vec<u8>)> {
    let of = |visit: &Kept| entries.get(visit.entries.clone()).unwrap_or_default();
    let figure = |column: Column, number: fn(&Kept) -> u64| {
        let mut raw = Vec::new();
        put_numbers(&mut raw, &visits.iter().map(number));
        (column, seal_numbers(&raw))
    };
    let mut columns = vec![
        figure(Column::PageViews, |visit| visit.sums.page_views),
        figure(Column::Bounce, |visit| visit.sums.bounces),
        figure(Column::DurationMs, |visit| visit.sums.duration_ms),
        figure(Column::Minute, |visit| visit.minute.into()),
    ];
    let mut raw = Vec::new();
    let before = std::iter::once(0).chain(visits.iter().map(|visit| visit.visitor));
    put_numbers(&mut raw, &visits.iter().zip(before).map(|(visit, before)| (visit.visitor - before).into()));
    columns.push((Column::Visitor, seal_numbers(&raw)));
    for list in lists {
        let mut raw = Vec::new();
        let its = |visit| of(visit).iter().filter(|entry| usize::from(entry.list) == list);
        if has_many(list) {
            put_numbers(&mut raw, &visits.iter().map(|visit| its(visit).count() as u64));
            put_numbers(&mut raw, &visits.iter().flat_map(its).map(|entry| entry.value.into()));
            put_numbers(&mut raw, &visits.iter().flat_map(its).map(|entry| u64::from(entry.count).saturating_sub(1)));
        } else {
            let value = |visit| its(visit).next().map_or(0, |entry| u64::from(entry.value) + 1);
            put_numbers(&mut raw, &visits.iter().map(value));
        }
        columns.push((Column::List(list), seal_numbers(&raw)));
    }
    columns
}

fn put_numbers(out: &mut Vec<u8>, numbers: &(impl Iterator<Item = u64> + Clone)) {
    let (count, most) = numbers.clone().fold((0_u64, 0), |(count, most), number| (count + 1, most.max(number)));
    let width = (u64::BITS - most.leading_zeros()).div_ceil(8);
    put(out, count);
    put(out, width.into());
    for place in 0..width {
        out.extend(numbers.clone().map(|number| (number >> (8 * place)) as u8));
    }
}

/// What [`put_numbers`] has put.
#[derive(Clone, Copy)]
struct Numbers<'b> {
    count: usize,
    bytes: &'b [u8],
}

impl<'b> Numbers<'b> {
    fn take(bytes: &mut &'b [u8]) -> Option<Self> {
        let (count, width) = (usize::try_from(take(bytes)?).ok()?, take(bytes)?);
        if width > 8 || count > COUNT_MAX {
            return None;
        }
        let (own, rest) = bytes.split_at_checked(count.checked_mul(width as usize)?)?;
        *bytes = rest;
        Some(Self { count, bytes: own })
    }

    fn planes(&self) -> impl Iterator<Item = &'b [u8]> {
        self.bytes.chunks_exact(self.count.max(1))
    }

    fn get(&self, place: usize) -> u64 {
        let bytes = self.planes().zip((0..).step_by(8));
        bytes.map(|(plane, shift)| u64::from(plane.get(place).copied().unwrap_or_default()) << shift).sum()
    }

    /// The sums of all numbers up to each.
    fn running_sums(&self) -> Option<Vec<u32>> {
        let mut sums = vec![0_u32; self.count];
        for (plane, shift) in self.planes().zip((0_u32..).step_by(8)) {
            for (sum, byte) in sums.iter_mut().zip(plane) {
                *sum |= u32::from(*byte).checked_shl(shift)?;
            }
        }
        let mut so_far = 0_u32;
        for sum in &mut sums {
            so_far = so_far.checked_add(*sum)?;
            *sum = so_far;
        }
        Some(sums)
    }

    /// Which ones are `wanted`.
    fn places_of(&self, wanted: u64) -> Vec<u32> {
        let mut planes = self.planes();
        let Some(lowest) = planes.next() else {
            return if wanted == 0 { (0..self.count as u32).collect() } else { Vec::new() };
        };
        let lowest = lowest.iter().zip(0_u32..).filter(|(byte, _)| **byte == wanted as u8).map(|(_, place)| place);
        lowest.filter(|place| self.get(*place as usize) == wanted).collect()
    }
}

/// The values that visits have in a list.
enum Values<'b> {
    /// The value and 1, or 0.
    One(Numbers<'b>),
    /// Where those of each visit end; values, and how often less 1.
    Many(Vec<u32>, Numbers<'b>, Numbers<'b>),
}

impl<'b> Values<'b> {
    fn take(list: usize, bytes: &mut &'b [u8]) -> Option<Self> {
        let numbers = Numbers::take(bytes)?;
        if !has_many(list) {
            return Some(Self::One(numbers));
        }
        Some(Self::Many(numbers.running_sums()?, Numbers::take(bytes)?, Numbers::take(bytes)?))
    }

    fn visits(&self) -> usize {
        match self {
            Self::One(numbers) => numbers.count,
            Self::Many(ends, ..) => ends.len(),
        }
    }

    /// The visits that have the value.
    fn having(&self, value: u32) -> Vec<u32> {
        match self {
            Self::One(values) => values.places_of(u64::from(value) + 1),
            Self::Many(ends, values, _) => {
                let places = values.places_of(value.into()).into_iter();
                // A visit has each value once.
                places.map(|place| ends.partition_point(|end| *end <= place) as u32).collect()
            }
        }
    }

    fn has(&self, visit: u32, value: u32) -> bool {
        match self {
            Self::One(values) => values.get(visit as usize) == u64::from(value) + 1,
            Self::Many(ends, values, _) => within(ends, visit).any(|place| values.get(place) == u64::from(value)),
        }
    }

    fn note(&self, visit: u32, list: u8, entries: &mut Vec<Entry>) {
        match self {
            Self::One(values) => {
                let value = values.get(visit as usize).checked_sub(1).map(|value| value as u32);
                entries.extend(value.map(|value| Entry { list, count: 1, value }));
            }
            Self::Many(ends, values, often) => entries.extend(within(ends, visit).map(|place| Entry {
                list,
                count: u16::try_from(often.get(place) + 1).unwrap_or(u16::MAX),
                value: values.get(place) as u32,
            })),
        }
    }
}

/// The places of a visit's values.
fn within(ends: &[u32], visit: u32) -> std::ops::Range<usize> {
    let end_of = |visit: usize| ends.get(visit).map_or(0, |end| *end as usize);
    (visit as usize).checked_sub(1).map_or(0, end_of)..end_of(visit as usize)
}

/// Counts the visits that have all of the values of `filters`, each of a list, both by number. The columns have to be there that
/// [`Wanted::columns`] says. `None`: they are not what [`pack`] made.
pub fn count(
    columns: &[(Column, Vec<u8>)],
    filters: &[(usize, u32)],
    wanted: &Wanted,
) -> Option<Vec<(usize, Counted)>> {
    let mut decompressor = zstd::bulk::Decompressor::new().ok()?;
    let opened = columns.iter().map(|(column, sealed)| Some((*column, open_by(sealed, &mut decompressor)?)));
    let opened: Vec<(Column, Vec<u8>)> = opened.collect::<Option<_>>()?;
    let bytes = |wanted| opened.iter().find(|(column, _)| *column == wanted).map(|(_, bytes)| bytes.as_slice());
    let figure = |column| Numbers::take(&mut bytes(column)?);
    let list = |list| Values::take(list, &mut bytes(Column::List(list))?);

    let visitors = figure(Column::Visitor)?;
    let mut kept: Option<Vec<u32>> = None;
    for (filter, value) in filters {
        let values = list(*filter)?;
        if values.visits() != visitors.count {
            return None;
        }
        kept = Some(match kept {
            Some(kept) => kept.into_iter().filter(|visit| values.has(*visit, *value)).collect(),
            None => values.having(*value),
        });
    }
    let kept = kept.unwrap_or_else(|| (0..visitors.count as u32).collect());
    let of_lists = wanted.lists.iter().filter(|list| !matches!(**list, ALL | HOUR | MINUTE));
    let lists: Vec<(u8, Values<'_>)> = of_lists.map(|of| Some((*of as u8, list(*of)?))).collect::<Option<_>>()?;
    let needed = wanted.columns(filters.iter().map(|(list, _)| *list));
    let figure_if_needed = |column| if needed.contains(&column) { figure(column).map(Some) } else { Some(None) };
    let minutes = figure_if_needed(Column::Minute)?;
    let bounces = figure_if_needed(Column::Bounce)?;
    let page_views = figure_if_needed(Column::PageViews)?;
    let durations = figure_if_needed(Column::DurationMs)?;

    let mut counters = Counters::default();
    let mut entries = Vec::new();
    let numbers = visitors.running_sums()?;
    for visit in kept {
        let visitor = *numbers.get(visit as usize)?;
        let of = |column: &Option<Numbers<'_>>| column.map_or(0, |column| column.get(visit as usize));
        let sums = Sums {
            visitors: 0,
            visits: 1,
            page_views: of(&page_views),
            bounces: of(&bounces),
            duration_ms: of(&durations),
        };
        entries.clear();
        for (list, values) in &lists {
            values.note(visit, *list, &mut entries);
        }
        counters.add_entries(visitor, &sums, &entries);
        if lists.is_empty() {
            counters.add_figures(visitor, of(&minutes) as u32, &sums);
        }
    }
    let mut counted = counters.take();
    wanted.lists.iter().map(|list| Some((*list, std::mem::take(counted.get_mut(*list)?)))).collect()
}
