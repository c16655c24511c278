//! Which visits the filters leave, and what they come to: from their columns (visits.rs), chunk by chunk.

use super::chunks::Chunks;
use super::codec::{Counted, open_by, take};
use super::count::{Counters, List, VALUES_MAX, of_value};
use super::numbers::Numbers;
use super::visits::{CHUNK_VISITS, Column, Wanted, has_many};
use super::{ALL, HOUR, MINUTE, Sums};

/// Of a day.
const MINUTES: u32 = 24 * 60;

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
    fn having(&self, value: u32) -> Vec<u16> {
        match self {
            Self::One(values) => values.places_of(u64::from(value) + 1).into_iter().map(|place| place as u16).collect(),
            Self::Many(ends, values, _) => {
                let mut visit = 0;
                let places = values.places_of(value.into()).into_iter();
                // A visit has each value once.
                let visit_of = |place| {
                    while ends.get(visit).is_some_and(|end| *end <= place) {
                        visit += 1;
                    }
                    visit as u16
                };
                places.map(visit_of).collect()
            }
        }
    }

    /// Which of these visits, which are some or most of them, have the value.
    fn among(&self, visits: &[u16], value: u32) -> Vec<u16> {
        // All numbers are gone through faster than so many are picked.
        const SHARE: usize = 16;
        if visits.len() < self.visits() / SHARE {
            return visits.iter().copied().filter(|visit| self.has(*visit, value)).collect();
        }
        let mut having = self.having(value);
        let mut visits = visits.iter().copied().peekable();
        having.retain(|has| {
            while visits.next_if(|visit| visit < has).is_some() {}
            visits.peek() == Some(has)
        });
        having
    }

    fn has(&self, visit: u16, value: u32) -> bool {
        match self {
            Self::One(values) => values.get(visit as usize) == u64::from(value) + 1,
            Self::Many(ends, values, _) => within(ends, visit).any(|place| values.get(place) == u64::from(value)),
        }
    }

    /// Counts the values of the visits `kept`, of each of which `visits` has the visitor and what it comes to.
    fn count(&self, list: usize, kept: &[u16], visits: &[(u32, Sums)], counter: &mut List) -> Option<()> {
        let number = |value: u64| u32::try_from(value).ok().filter(|value| *value < VALUES_MAX);
        let visits = kept.iter().zip(visits);
        match self {
            Self::One(values) => {
                for (visit, (visitor, sums)) in visits {
                    let Some(value) = values.get(*visit as usize).checked_sub(1) else { continue };
                    let (sums, visitor) = of_value(list, sums, 1, *visitor);
                    counter.count(number(value)?, &sums, visitor);
                }
            }
            Self::Many(ends, values, often) => {
                for (visit, (visitor, sums)) in visits {
                    for place in within(ends, *visit) {
                        let (sums, visitor) = of_value(list, sums, often.get(place).saturating_add(1), *visitor);
                        counter.count(number(values.get(place))?, &sums, visitor);
                    }
                }
            }
        }
        Some(())
    }
}

/// The places of a visit's values.
fn within(ends: &[u32], visit: u16) -> std::ops::Range<usize> {
    let end_of = |visit: usize| ends.get(visit).map_or(0, |end| *end as usize);
    (visit as usize).checked_sub(1).map_or(0, end_of)..end_of(visit as usize)
}

/// Columns of one part; of what is to be read the chunks have to be here.
pub type Columns = [(Column, Chunks)];

fn of(columns: &Columns, wanted: Column) -> Option<&Chunks> {
    columns.iter().find(|(column, _)| *column == wanted).map(|(_, chunks)| chunks)
}

/// Opens chunks.
struct Reader<'c> {
    columns: &'c Columns,
    decompressor: zstd::bulk::Decompressor<'static>,
}

impl<'c> Reader<'c> {
    fn new(columns: &'c Columns) -> Option<Self> {
        Some(Self { columns, decompressor: zstd::bulk::Decompressor::new().ok()? })
    }

    fn open(&mut self, column: Column, chunk: usize, opened: &mut Opened) -> Option<()> {
        if opened.bytes(column).is_none() {
            let sealed = of(self.columns, column)?.get(chunk)?;
            opened.0.push((column, open_by(sealed, &mut self.decompressor)?));
        }
        Some(())
    }

    /// Which visits of the chunk have all of the values of `filters`, of which there is one at least; of those that are left `before`, or all.
    fn left(
        &mut self,
        chunk: usize,
        before: Option<&Left>,
        filters: &[(usize, u32)],
        opened: &mut Opened,
    ) -> Option<Left> {
        let mut left: Option<Left> = None;
        for (list, value) in filters {
            self.open(Column::List(*list), chunk, opened)?;
            let values = opened.list(*list)?;
            let count = values.visits();
            let visits = match left.as_ref().or(before) {
                Some(before) if before.of != count => return None,
                Some(before) => values.among(&before.visits, *value),
                None if count > CHUNK_VISITS => return None,
                None => values.having(*value),
            };
            let is_empty = visits.is_empty();
            left = Some(Left { of: count, visits });
            if is_empty {
                break;
            }
        }
        left
    }

    /// Of each of `chunks` that has visits with all of the values of `filters`, each of a list, both by number, gives `take` what is known
    /// of its visits, their first one's number, and which they are.
    fn each(
        mut self,
        chunks: &[(usize, Option<Left>)],
        filters: &[(usize, u32)],
        wanted: &[Column],
        mut take: impl FnMut(&Opened, u32, &[u16]) -> Option<()>,
    ) -> Option<()> {
        // The others were looked at by [`chunks_with`].
        let filters: Vec<(usize, u32)> = filters.iter().copied().filter(|(list, _)| has_many(*list)).collect();
        for (chunk, before) in chunks {
            let mut opened = Opened::default();
            let further = if filters.is_empty() {
                None
            } else {
                Some(self.left(*chunk, before.as_ref(), &filters, &mut opened)?)
            };
            let left = further.as_ref().or(before.as_ref());
            if left.is_some_and(|left| left.visits.is_empty()) {
                continue;
            }
            wanted.iter().try_for_each(|column| self.open(*column, *chunk, &mut opened))?;
            let first = (chunk * CHUNK_VISITS) as u32;
            let count = opened.visits().filter(|count| *count <= CHUNK_VISITS)?;
            match left {
                Some(left) if left.of != count => return None,
                Some(left) => take(&opened, first, &left.visits)?,
                None => take(&opened, first, &(0..count as u16).collect::<Vec<_>>())?,
            }
        }
        Some(())
    }
}

/// What filters leave of the visits of a chunk.
pub struct Left {
    /// How many there are.
    of: usize,
    /// By their places in it.
    visits: Vec<u16>,
}

/// The chunks that may have visits with all of the values of `filters`, each of a list, both by number, and which ones: as far as can be
/// told from the lists of which a visit has one value at most. If no filter is of such a list, nothing is said of visits. The columns of these lists have
/// to be whole, and of others the chunks known. `None`: they are not what [`super::visits::pack`] made.
pub fn chunks_with(columns: &Columns, filters: &[(usize, u32)]) -> Option<Vec<(usize, Option<Left>)>> {
    let count = of(columns, Column::Visitor)?.count();
    if columns.iter().any(|(_, chunks)| chunks.count() != count) {
        return None;
    }
    let filters: Vec<(usize, u32)> = filters.iter().copied().filter(|(list, _)| !has_many(*list)).collect();
    if filters.is_empty() {
        return Some((0..count).map(|chunk| (chunk, None)).collect());
    }
    let mut reader = Reader::new(columns)?;
    let mut chunks = Vec::new();
    for chunk in 0..count {
        let left = reader.left(chunk, None, &filters, &mut Opened::default())?;
        if !left.visits.is_empty() {
            chunks.push((chunk, Some(left)));
        }
    }
    Some(chunks)
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

/// The visits in `chunks` that have all of the values of `filters`, each of a list, both by number: of each its number, and its
/// visitor's. The columns have to be there that [`Wanted::columns`] says. `None`: they are not what [`super::visits::pack`] made.
pub fn kept(columns: &Columns, chunks: &[(usize, Option<Left>)], filters: &[(usize, u32)]) -> Option<Vec<(u32, u32)>> {
    let mut all = Vec::new();
    Reader::new(columns)?.each(chunks, filters, &[Column::Visitor], |opened, first, kept| {
        let visitors = opened.visitors()?;
        for visit in kept {
            all.push((first + u32::from(*visit), *visitors.get(*visit as usize)?));
        }
        Some(())
    })?;
    Some(all)
}

/// Counts those visits.
pub fn count(
    columns: &Columns,
    chunks: &[(usize, Option<Left>)],
    filters: &[(usize, u32)],
    wanted: &Wanted,
) -> Option<Vec<(usize, Counted)>> {
    let of_lists: Vec<usize> =
        wanted.lists.iter().copied().filter(|list| !matches!(*list, ALL | HOUR | MINUTE)).collect();
    let needed = wanted.columns(std::iter::empty());
    let mut counters = Counters::default();
    let mut visits = Vec::new();
    Reader::new(columns)?.each(chunks, filters, &needed, |opened, _, kept| {
        let figure_if_needed =
            |column| if needed.contains(&column) { opened.figure(column).map(Some) } else { Some(None) };
        let minutes = figure_if_needed(Column::Minute)?;
        let bounces = figure_if_needed(Column::Bounce)?;
        let page_views = figure_if_needed(Column::PageViews)?;
        let durations = figure_if_needed(Column::DurationMs)?;
        let visitors = opened.visitors()?;
        visits.clear();
        for visit in kept {
            let of = |column: &Option<Numbers<'_>>| column.map_or(0, |column| column.get(*visit as usize));
            let sums = Sums {
                visitors: 0,
                visits: 1,
                page_views: of(&page_views),
                bounces: of(&bounces),
                duration_ms: of(&durations),
            };
            visits.push((*visitors.get(*visit as usize)?, sums));
        }
        for list in &of_lists {
            opened.list(*list)?.count(*list, kept, &visits, counters.list(*list)?)?;
        }
        if of_lists.len() < wanted.lists.len() {
            for (visit, (visitor, sums)) in kept.iter().zip(&visits) {
                let minute = minutes.map_or(0, |minutes| minutes.get(*visit as usize));
                let minute = u32::try_from(minute).ok().filter(|minute| *minute < MINUTES)?;
                counters.add_figures(*visitor, minute, sums);
            }
        }
        Some(())
    })?;
    let mut counted = counters.take();
    wanted.lists.iter().map(|list| Some((*list, std::mem::take(counted.get_mut(*list)?)))).collect()
}
