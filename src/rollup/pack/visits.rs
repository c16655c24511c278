//! The visits of a part themselves, without their texts: whatever they are filtered by, they can be counted again.
//!
//! A row of the table is one [`Column`], so that no more is read than a question needs: of every visit, in order, a number. Visits of one
//! kind follow each other (part.rs), and each [`CHUNK_VISITS`] of them are sealed by themselves: so a filter leaves most of them closed.
//!
//! ```text
//! chunks (chunks.rs), of each column:
//! visitor     the number of the visitor before the chunk; then how far each visitor's number is from the one before
//! page views, bounce, duration (milliseconds), minute (of the day)
//! a list      the value's number and 1; 0: none
//! page, event, vital      how many values each visit has; then of all visits the values' numbers; then how often each is there, less 1
//! ```
//!
//! How numbers are stored says numbers.rs.

use super::chunks::put_chunks;
use super::codec::{put, seal_numbers};
use super::count::{Entry, Kept};
use super::numbers::put_numbers;
use super::{ALL, ENTRY, EVENT, HOUR, MINUTE, PAGE, VITAL};

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
pub const CHUNK_VISITS: usize = if cfg!(test) { 7 } else { 4_096 };
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
pub fn has_many(list: usize) -> bool {
    matches!(list, PAGE | EVENT | VITAL)
}

/// What is to be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// By number.
    pub lists: Vec<usize>,
    /// Whether page views, bounces and durations are asked for, where they are not the list's own. (Of figures they are.)
    pub has_sums: bool,
}

impl Wanted {
    /// That, and what `other` wants.
    pub fn and(mut self, other: Self) -> Self {
        self.lists.extend(other.lists);
        self.lists.sort_unstable();
        self.lists.dedup();
        Self { has_sums: self.has_sums || other.has_sums, ..self }
    }

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
        if self.has_sums || self.lists.iter().any(|list| matches!(*list, ALL | HOUR | MINUTE)) {
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
            (column, put_chunks(&chunks.collect::<Vec<_>>()))
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
