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
//! How numbers are stored says numbers.rs.

use super::codec::{Counted, open_by, seal_numbers};
use super::count::{Counters, Entry, Kept};
use super::numbers::{Numbers, put_numbers};
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

/// Columns, to be read.
struct Opened(Vec<(Column, Vec<u8>)>);

impl Opened {
    fn new(columns: &[(Column, Vec<u8>)]) -> Option<Self> {
        let mut decompressor = zstd::bulk::Decompressor::new().ok()?;
        let opened = columns.iter().map(|(column, sealed)| Some((*column, open_by(sealed, &mut decompressor)?)));
        Some(Self(opened.collect::<Option<_>>()?))
    }

    fn bytes(&self, wanted: Column) -> Option<&[u8]> {
        self.0.iter().find(|(column, _)| *column == wanted).map(|(_, bytes)| bytes.as_slice())
    }

    fn figure(&self, column: Column) -> Option<Numbers<'_>> {
        Numbers::take(&mut self.bytes(column)?)
    }

    fn list(&self, list: usize) -> Option<Values<'_>> {
        Values::take(list, &mut self.bytes(Column::List(list))?)
    }

    /// The visits that have all of these values, each of a list, both by number; in their order.
    fn kept(&self, filters: &[(usize, u32)], visits: usize) -> Option<Vec<u32>> {
        let mut kept: Option<Vec<u32>> = None;
        for (filter, value) in filters {
            let values = self.list(*filter)?;
            if values.visits() != visits {
                return None;
            }
            kept = Some(match kept {
                Some(kept) => kept.into_iter().filter(|visit| values.has(*visit, *value)).collect(),
                None => values.having(*value),
            });
        }
        Some(kept.unwrap_or_else(|| (0..visits as u32).collect()))
    }
}

/// The visits that have all of the values of `filters`, each of a list, both by number: of each its number, and its visitor's.
/// The columns have to be there that [`Wanted::columns`] says. `None`: they are not what [`pack`] made.
pub fn kept(columns: &[(Column, Vec<u8>)], filters: &[(usize, u32)]) -> Option<Vec<(u32, u32)>> {
    let opened = Opened::new(columns)?;
    let visitors = opened.figure(Column::Visitor)?;
    let numbers = visitors.running_sums()?;
    let kept = opened.kept(filters, visitors.count)?.into_iter();
    kept.map(|visit| Some((visit, *numbers.get(visit as usize)?))).collect()
}

/// Counts those visits.
pub fn count(
    columns: &[(Column, Vec<u8>)],
    filters: &[(usize, u32)],
    wanted: &Wanted,
) -> Option<Vec<(usize, Counted)>> {
    let opened = Opened::new(columns)?;
    let visitors = opened.figure(Column::Visitor)?;
    let kept = opened.kept(filters, visitors.count)?;
    let of_lists = wanted.lists.iter().filter(|list| !matches!(**list, ALL | HOUR | MINUTE));
    let lists: Vec<(u8, Values<'_>)> =
        of_lists.map(|of| Some((*of as u8, opened.list(*of)?))).collect::<Option<_>>()?;
    let needed = wanted.columns(filters.iter().map(|(list, _)| *list));
    let figure_if_needed = |column| if needed.contains(&column) { opened.figure(column).map(Some) } else { Some(None) };
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
