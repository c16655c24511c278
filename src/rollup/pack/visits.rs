//! The visits of a part themselves, without their texts: whatever they are filtered by, they can be counted again.
//!
//! A row of the table is one [`Column`], so that no more is read than a question needs: of every visit, in order, a number. Visits of one
//! kind follow each other (part.rs), and each [`CHUNK_VISITS`] of them are sealed by themselves: so a filter leaves most of them closed.
//!
//! ```text
//! how many chunks; how many bytes each takes; then the chunks, of each column:
//! visitor     the number of the visitor before the chunk; then how far each visitor's number is from the one before
//! page views, bounce, duration (milliseconds), minute (of the day)
//! a list      the value's number and 1; 0: none
//! page, event, vital      how many values each visit has; then of all visits the values' numbers; then how often each is there, less 1
//! ```
//!
//! How numbers are stored says numbers.rs.

use super::codec::{Counted, open_by, put, seal_numbers, take};
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
/// Sealed together: some kilobytes of each column. (Tests have few visits, and want several chunks.)
const CHUNK_VISITS: usize = if cfg!(test) { 7 } else { 4_096 };
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
    let columns = FIGURES.into_iter().chain(lists.map(Column::List));
    columns
        .map(|column| {
            let mut before = 0;
            let chunks = visits.chunks(CHUNK_VISITS).map(|chunk| {
                let raw = pack_chunk(column, chunk, before, entries);
                before = chunk.last().map_or(before, |visit| visit.visitor);
                seal_numbers(&raw)
            });
            let chunks: Vec<Vec<u8>> = chunks.collect();
            let mut packed = Vec::new();
            put(&mut packed, chunks.len() as u64);
            for chunk in &chunks {
                put(&mut packed, chunk.len() as u64);
            }
            packed.extend(chunks.concat());
            (column, packed)
        })
        .collect()
}

/// One column of some visits, after the visitor `before`.
fn pack_chunk(column: Column, visits: &[Kept], before: u32, entries: &[Entry]) -> Vec<u8> {
    let mut raw = Vec::new();
    let mut figure = |number: fn(&Kept) -> u64| put_numbers(&mut raw, &visits.iter().map(number));
    match column {
        Column::PageViews => figure(|visit| visit.sums.page_views),
        Column::Bounce => figure(|visit| visit.sums.bounces),
        Column::DurationMs => figure(|visit| visit.sums.duration_ms),
        Column::Minute => figure(|visit| visit.minute.into()),
        Column::Visitor => {
            put(&mut raw, before.into());
            let befores = std::iter::once(before).chain(visits.iter().map(|visit| visit.visitor));
            put_numbers(&mut raw, &visits.iter().zip(befores).map(|(visit, before)| (visit.visitor - before).into()));
        }
        Column::List(list) => {
            let of = |visit: &Kept| entries.get(visit.entries.clone()).unwrap_or_default();
            let its = |visit| of(visit).iter().filter(|entry| usize::from(entry.list) == list);
            if has_many(list) {
                put_numbers(&mut raw, &visits.iter().map(|visit| its(visit).count() as u64));
                put_numbers(&mut raw, &visits.iter().flat_map(its).map(|entry| entry.value.into()));
                let often = visits.iter().flat_map(its).map(|entry| u64::from(entry.count).saturating_sub(1));
                put_numbers(&mut raw, &often);
            } else {
                let value = |visit| its(visit).next().map_or(0, |entry| u64::from(entry.value) + 1);
                put_numbers(&mut raw, &visits.iter().map(value));
            }
        }
    }
    raw
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

/// The chunks of some columns, sealed.
struct Chunks<'b>(Vec<(Column, Vec<&'b [u8]>)>);

impl<'b> Chunks<'b> {
    fn new(columns: &'b [(Column, Vec<u8>)]) -> Option<Self> {
        let columns = columns.iter().map(|(column, packed)| {
            let mut rest = packed.as_slice();
            // A part has a visit, and so a chunk.
            let count = usize::try_from(take(&mut rest)?).ok().filter(|count| (1..=packed.len()).contains(count))?;
            let lengths: Vec<usize> =
                (0..count).map(|_| usize::try_from(take(&mut rest)?).ok()).collect::<Option<_>>()?;
            let chunk = |length| {
                let (chunk, others) = rest.split_at_checked(length)?;
                rest = others;
                Some(chunk)
            };
            Some((*column, lengths.into_iter().map(chunk).collect::<Option<_>>()?))
        });
        Some(Self(columns.collect::<Option<_>>()?))
    }

    fn of(&self, wanted: Column) -> Option<&[&'b [u8]]> {
        self.0.iter().find(|(column, _)| *column == wanted).map(|(_, chunks)| chunks.as_slice())
    }

    /// Of each chunk that has visits with all of the values of `filters`, each of a list, both by number, gives `take` what is known of
    /// its visits, their first one's number, and which they are.
    fn each(
        &self,
        filters: &[(usize, u32)],
        columns: &[Column],
        mut take: impl FnMut(&Opened, u32, &[u32]) -> Option<()>,
    ) -> Option<()> {
        let mut filters = filters.to_vec();
        // The small ones first.
        filters.sort_by_key(|(list, _)| has_many(*list));
        let mut decompressor = zstd::bulk::Decompressor::new().ok()?;
        for at in 0..self.of(Column::Visitor)?.len() {
            let mut opened = Opened::default();
            let mut open = |opened: &mut Opened, column: Column| {
                if opened.bytes(column).is_none() {
                    opened.0.push((column, open_by(self.of(column)?.get(at)?, &mut decompressor)?));
                }
                Some(())
            };
            let mut kept: Option<(usize, Vec<u32>)> = None;
            for (list, value) in &filters {
                open(&mut opened, Column::List(*list))?;
                let values = opened.list(*list)?;
                kept = Some(match kept {
                    Some((count, _)) if count != values.visits() => return None,
                    Some((count, kept)) => {
                        (count, kept.into_iter().filter(|visit| values.has(*visit, *value)).collect())
                    }
                    None => (values.visits(), values.having(*value)),
                });
                if kept.as_ref().is_some_and(|(_, kept)| kept.is_empty()) {
                    break;
                }
            }
            if kept.as_ref().is_some_and(|(_, kept)| kept.is_empty()) {
                continue;
            }
            columns.iter().try_for_each(|column| open(&mut opened, *column))?;
            let visits = opened.visits()?;
            let kept = match kept {
                Some((count, kept)) => Some(kept).filter(|_| count == visits)?,
                None => (0..visits as u32).collect(),
            };
            take(&opened, (at * CHUNK_VISITS) as u32, &kept)?;
        }
        Some(())
    }
}

/// What is known of the visits of one chunk.
#[derive(Default)]
struct Opened(Vec<(Column, Vec<u8>)>);

impl Opened {
    fn bytes(&self, wanted: Column) -> Option<&[u8]> {
        self.0.iter().find(|(column, _)| *column == wanted).map(|(_, bytes)| bytes.as_slice())
    }

    fn figure(&self, column: Column) -> Option<Numbers<'_>> {
        Numbers::take(&mut self.bytes(column)?)
    }

    fn list(&self, list: usize) -> Option<Values<'_>> {
        Values::take(list, &mut self.bytes(Column::List(list))?)
    }

    fn visits(&self) -> Option<usize> {
        let mut bytes = self.bytes(Column::Visitor)?;
        take(&mut bytes)?;
        Some(Numbers::take(&mut bytes)?.count)
    }

    /// The visitor of each visit.
    fn visitors(&self) -> Option<Vec<u32>> {
        let mut bytes = self.bytes(Column::Visitor)?;
        let before = u32::try_from(take(&mut bytes)?).ok()?;
        let mut visitors = Numbers::take(&mut bytes)?.running_sums()?;
        for visitor in &mut visitors {
            *visitor = visitor.checked_add(before)?;
        }
        Some(visitors)
    }
}

/// The visits that have all of the values of `filters`, each of a list, both by number: of each its number, and its visitor's.
/// The columns have to be there that [`Wanted::columns`] says. `None`: they are not what [`pack`] made.
pub fn kept(columns: &[(Column, Vec<u8>)], filters: &[(usize, u32)]) -> Option<Vec<(u32, u32)>> {
    let mut all = Vec::new();
    Chunks::new(columns)?.each(filters, &[Column::Visitor], |opened, first, kept| {
        let visitors = opened.visitors()?;
        for visit in kept {
            all.push((first + visit, *visitors.get(*visit as usize)?));
        }
        Some(())
    })?;
    Some(all)
}

/// Counts those visits.
pub fn count(
    columns: &[(Column, Vec<u8>)],
    filters: &[(usize, u32)],
    wanted: &Wanted,
) -> Option<Vec<(usize, Counted)>> {
    let of_lists: Vec<usize> =
        wanted.lists.iter().copied().filter(|list| !matches!(*list, ALL | HOUR | MINUTE)).collect();
    let needed = wanted.columns(std::iter::empty());
    let mut counters = Counters::default();
    let mut entries = Vec::new();
    Chunks::new(columns)?.each(filters, &needed, |opened, _, kept| {
        let lists: Vec<(u8, Values<'_>)> =
            of_lists.iter().map(|of| Some((*of as u8, opened.list(*of)?))).collect::<Option<_>>()?;
        let figure_if_needed =
            |column| if needed.contains(&column) { opened.figure(column).map(Some) } else { Some(None) };
        let minutes = figure_if_needed(Column::Minute)?;
        let bounces = figure_if_needed(Column::Bounce)?;
        let page_views = figure_if_needed(Column::PageViews)?;
        let durations = figure_if_needed(Column::DurationMs)?;
        let visitors = opened.visitors()?;
        for visit in kept {
            let visitor = *visitors.get(*visit as usize)?;
            let of = |column: &Option<Numbers<'_>>| column.map_or(0, |column| column.get(*visit as usize));
            let sums = Sums {
                visitors: 0,
                visits: 1,
                page_views: of(&page_views),
                bounces: of(&bounces),
                duration_ms: of(&durations),
            };
            entries.clear();
            for (list, values) in &lists {
                values.note(*visit, *list, &mut entries);
            }
            counters.add_entries(visitor, &sums, &entries);
            if lists.is_empty() {
                counters.add_figures(visitor, of(&minutes) as u32, &sums);
            }
        }
        Some(())
    })?;
    let mut counted = counters.take();
    wanted.lists.iter().map(|list| Some((*list, std::mem::take(counted.get_mut(*list)?)))).collect()
}
