//! One chunk of the visits' columns (visits.rs), opened.

use std::ops::Range;

use super::codec::take;
use super::numbers::Numbers;
use super::visits::{Column, has_many};

/// What is known of the visits of one chunk.
#[derive(Default)]
pub struct Opened(Vec<(Column, Vec<u8>)>);

impl Opened {
    pub fn add(&mut self, column: Column, bytes: Vec<u8>) {
        self.0.push((column, bytes));
    }

    pub fn bytes(&self, wanted: Column) -> Option<&[u8]> {
        self.0.iter().find(|(column, _)| *column == wanted).map(|(_, bytes)| bytes.as_slice())
    }

    pub fn figure(&self, column: Column) -> Option<Numbers<'_>> {
        Numbers::take(&mut self.bytes(column)?)
    }

    pub fn list(&self, list: usize) -> Option<Values<'_>> {
        Values::take(list, &mut self.bytes(Column::List(list))?)
    }

    pub fn visits(&self) -> Option<usize> {
        let mut bytes = self.bytes(Column::Visitor)?;
        take(&mut bytes)?;
        Some(Numbers::take(&mut bytes)?.count)
    }

    /// The visitor of each visit.
    pub fn visitors(&self) -> Option<Vec<u32>> {
        let mut bytes = self.bytes(Column::Visitor)?;
        let before = u32::try_from(take(&mut bytes)?).ok()?;
        let mut visitors = Numbers::take(&mut bytes)?.running_sums()?;
        for visitor in &mut visitors {
            *visitor = visitor.checked_add(before)?;
        }
        Some(visitors)
    }
}

/// The values that visits have in a list.
pub enum Values<'b> {
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

    pub fn visits(&self) -> usize {
        match self {
            Self::One(numbers) => numbers.count,
            Self::Many(ends, ..) => ends.len(),
        }
    }

    /// The visits that have the value.
    pub fn having(&self, value: u32) -> Vec<u16> {
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
    pub fn among(&self, visits: &[u16], value: u32) -> Vec<u16> {
        // All numbers are gone through faster than so many are picked. (Tests have few visits, and want both ways.)
        const SHARE: usize = if cfg!(test) { 3 } else { 16 };
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
            Self::Many(_, values, _) => {
                let visit = usize::from(visit);
                self.places(visit..visit + 1).any(|place| values.get(place) == u64::from(value))
            }
        }
    }

    /// Where the values of some visits are; of a list of many.
    pub fn places(&self, visits: Range<usize>) -> Range<usize> {
        let Self::Many(ends, ..) = self else { return 0..0 };
        let end_of =
            |visits: usize| visits.checked_sub(1).and_then(|last| ends.get(last)).map_or(0, |end| *end as usize);
        end_of(visits.start)..end_of(visits.end)
    }
}
