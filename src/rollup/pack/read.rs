//! What was packed, by whoever shows it: rows of [`super::write`] become sums by list and value.

use std::collections::HashMap;
use std::ops::Range;

use super::chunks::Chunks;
use super::codec::{Counted, open, take_counted, take_values};
use super::counting::Counter;
use super::filtering::{self, Left};
use super::properties::{self, ARE_WHOLE};
use super::visits::{Column, Wanted, has_many};
use super::{GROUPS, Group, Groups, KEY_BYTES, Sums, group_of, lists_of, place_of, place_of_list};

/// One row, as far as it was asked for.
pub struct Packed {
    /// The day, in seconds since 1970.
    pub day_s: i64,
    pub source: String,
    pub part: i32,
    /// Of the row of the values.
    pub is_whole: Option<bool>,
    pub group: Option<Vec<u8>>,
    /// Of the row of the values, if rows were left out: the group of the filter.
    pub of_filter: Option<Vec<u8>>,
}

/// Why there are no sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Of some day the value was not written, because too many were.
    #[error("a value was left out")]
    LeftOut,
    #[error("what is packed is not understood")]
    Broken,
}

/// The name of a group's column.
pub fn column(group: Group) -> &'static str {
    GROUPS.iter().find(|(known, _)| *known == group).map_or("", |(_, column)| column)
}

/// One value of a list in one part of a day.
pub struct Taken<'r> {
    pub day_s: i64,
    pub list: &'static str,
    /// Of a group of figures the hour, or the minute, and no text.
    pub number: u32,
    pub text: &'r str,
    pub sums: Sums,
}

pub type Take<'t> = &'t mut dyn FnMut(Taken<'_>);

/// All rows that there are, in some days, of one key and of the values.
pub struct Rows<'r> {
    pub rows: &'r [Packed],
    /// The list and the value that the key is of.
    pub filter: Option<(&'r str, &'r str)>,
}

impl Rows<'_> {
    /// Hands what every part of `share` says of `group` to `take`: of so many shares, the one of this number.
    pub fn read(&self, group: Group, (share, of): (usize, usize), take: Take<'_>) -> Result<(), ReadError> {
        let mut of_key = HashMap::new();
        for row in self.rows.iter().filter(|row| row.is_whole.is_none()) {
            of_key.insert((row.day_s, row.source.as_str(), row.part), row);
        }
        let parts = self.rows.iter().filter(|row| row.is_whole.is_some());
        for values in parts.skip(share).step_by(of) {
            match of_key.get(&(values.day_s, values.source.as_str(), values.part)) {
                Some(row) => read_one(values, row, group, take).ok_or(ReadError::Broken)?,
                None if values.is_whole == Some(true) => {}
                None if self.is_left_out(values)? => return Err(ReadError::LeftOut),
                None => {}
            }
        }
        Ok(())
    }

    /// Whether the part has visits with the value, of which there is no row.
    fn is_left_out(&self, values: &Packed) -> Result<bool, ReadError> {
        let Some((filter, value)) = self.filter else { return Ok(true) };
        let sealed = values.of_filter.as_deref().ok_or(ReadError::Broken)?;
        Ok(number(sealed, filter, value)?.is_some())
    }
}

/// The number of a list's value among the sealed values of its group, if it is there.
fn number(sealed: &[u8], list: &str, value: &str) -> Result<Option<u32>, ReadError> {
    let group = group_of(list).ok_or(ReadError::Broken)?;
    let raw = open(sealed).ok_or(ReadError::Broken)?;
    let mut raw = raw.as_slice();
    for (_, known) in lists_of(group) {
        let texts = take_values(&mut raw).ok_or(ReadError::Broken)?;
        if known == list {
            return Ok(texts.iter().position(|text| *text == value).map(|number| number as u32));
        }
    }
    Err(ReadError::Broken)
}

fn read_one(values: &Packed, row: &Packed, group: Group, take: Take<'_>) -> Option<()> {
    let Some(sealed) = &row.group else { return Some(()) };
    let raw = open(sealed)?;
    let mut raw = raw.as_slice();
    let counted: Vec<(usize, Counted)> =
        lists_of(group).map(|(list, _)| Some((list, take_counted(&mut raw)?))).collect::<Option<_>>()?;
    hand_out(row.day_s, group, &counted, values.group.as_deref(), take)
}

/// Some lists of one group, whose texts are sealed in `values`.
fn hand_out(
    day_s: i64,
    group: Group,
    counted: &[(usize, Counted)],
    values: Option<&[u8]>,
    take: Take<'_>,
) -> Option<()> {
    let texts = match values {
        Some(sealed) => open(sealed)?,
        None => Vec::new(),
    };
    let mut texts = texts.as_slice();
    for (list, name) in lists_of(group) {
        let texts = if group == Group::Figures { None } else { Some(take_values(&mut texts)?) };
        let Some((_, counted)) = counted.iter().find(|(of, _)| *of == list) else { continue };
        for (number, sums) in counted {
            let text = match &texts {
                Some(texts) => texts.get(*number as usize)?,
                None => "",
            };
            take(Taken { day_s, list: name, number: *number, text, sums: *sums });
        }
    }
    Some(())
}

/// The name of a list, and a value.
pub type Filter = (&'static str, String);

/// A part's visits. First those of their columns are read whole that tell which chunks the filters leave, and of the others where their
/// chunks are; then these chunks.
pub struct Visits {
    pub day_s: i64,
    /// The lists and values that are filtered by, by number.
    filters: Vec<(usize, u32)>,
    columns: Vec<(Column, Chunks)>,
    /// Those that the filters leave, by all that is known so far.
    chunks: Vec<(usize, Option<Left>)>,
    /// Of the groups that are shown.
    values: Groups,
    /// Of the event that is asked for.
    properties: Option<Vec<u8>>,
    /// Whether there would be such a row if there were properties. `None`: nothing is said of any.
    are_properties_whole: Option<bool>,
}

impl Visits {
    /// `values` has those of the lists that are filtered by, and `columns` the first bytes of each, or all, as [`is_read_first`] says.
    /// `None`: the filters leave none of the visits.
    pub fn of(
        day_s: i64,
        values: &Groups,
        filters: &[Filter],
        columns: Vec<(Column, Vec<u8>)>,
    ) -> Result<Option<Self>, ReadError> {
        let Some(filters) = numbers(values, filters)? else { return Ok(None) };
        let columns = columns.into_iter().map(|(column, first)| Some((column, Chunks::new(first)?)));
        let columns: Vec<(Column, Chunks)> = columns.collect::<Option<_>>().ok_or(ReadError::Broken)?;
        let chunks = filtering::chunks_with(&columns, &filters).ok_or(ReadError::Broken)?;
        let visits = Self {
            day_s,
            filters,
            columns,
            chunks,
            values: Groups::default(),
            properties: None,
            are_properties_whole: None,
        };
        Ok(Some(visits).filter(|visits| !visits.chunks.is_empty()))
    }

    /// What is to be read now: of each column some bytes, from the first to before the last one.
    pub fn missing(&self) -> impl Iterator<Item = (Column, Range<usize>)> {
        let wanted: Vec<usize> = self.chunks.iter().map(|(chunk, _)| *chunk).collect();
        self.columns
            .iter()
            .flat_map(move |(column, chunks)| chunks.missing(&wanted).into_iter().map(|bytes| (*column, bytes)))
    }

    /// Takes the values of a group's lists.
    pub fn take_values(&mut self, group: Group, values: Option<Vec<u8>>) {
        if let Some(place) = place_of(group).and_then(|place| self.values.get_mut(place)) {
            *place = values;
        }
    }

    /// Takes it, or another row of the part; the key of the values is not among them.
    pub fn take(&mut self, key: &[u8], from: usize, bytes: Vec<u8>) -> Result<(), ReadError> {
        if let Some(column) = Column::of_key(key) {
            let known = self.columns.iter_mut().find(|(known, _)| *known == column);
            known.ok_or(ReadError::Broken)?.1.add(from, bytes);
        } else if key == ARE_WHOLE {
            self.are_properties_whole = Some(bytes == [1]);
        } else if key.len() == KEY_BYTES {
            self.properties = Some(bytes);
        } else {
            return Err(ReadError::Broken);
        }
        Ok(())
    }

    /// What the visits that have all of these values come to in the lists that are `wanted`.
    pub fn count(self, wanted: &Wanted, counter: &mut Counter) -> Result<Counts, ReadError> {
        let lists = counter.count(&self.columns, &self.chunks, &self.filters, wanted);
        Ok(Counts { day_s: self.day_s, values: self.values, lists: lists.ok_or(ReadError::Broken)? })
    }

    /// Hands what the properties of the event that was asked for say in these visits to `take`: of which key and value, the sums.
    pub fn read_properties(&self, take: &mut dyn FnMut(&str, Option<&str>, &Sums)) -> Result<(), ReadError> {
        let packed = match (&self.properties, self.are_properties_whole) {
            (Some(packed), Some(_)) => packed,
            (None, Some(true)) => return Ok(()),
            _ => return Err(ReadError::LeftOut),
        };
        let kept = filtering::kept(&self.columns, &self.chunks, &self.filters).ok_or(ReadError::Broken)?;
        properties::count(packed, &kept, take).ok_or(ReadError::Broken)
    }
}

/// What a part's visits come to, list by list.
pub struct Counts {
    day_s: i64,
    /// Of the groups that are shown.
    values: Groups,
    lists: Vec<(usize, Counted)>,
}

impl Counts {
    /// Hands what was counted in the lists of `group` to `take`.
    pub fn read(&self, group: Group, take: Take<'_>) -> Result<(), ReadError> {
        let values = place_of(group).and_then(|place| self.values.get(place)?.as_deref());
        hand_out(self.day_s, group, &self.lists, values, take).ok_or(ReadError::Broken)
    }

    /// About what it takes in memory.
    pub fn bytes(&self) -> usize {
        let texts: usize = self.values.iter().flatten().map(Vec::len).sum();
        texts + self.lists.iter().map(|(_, counted)| size_of_val(counted.as_slice())).sum::<usize>()
    }
}

/// Whether the column is read whole before others, where it is filtered by: it is small.
pub fn is_read_first(column: Column) -> bool {
    matches!(column, Column::List(list) if !has_many(list))
}

/// The lists and values of the filters, by number. `None`: the part lacks a value, and so has no such visits.
fn numbers(values: &Groups, filters: &[Filter]) -> Result<Option<Vec<(usize, u32)>>, ReadError> {
    let mut numbers = Vec::new();
    for (list, value) in filters {
        let values = group_of(list).and_then(place_of).and_then(|place| values.get(place)?.as_deref());
        let Some(number) = number(values.ok_or(ReadError::Broken)?, list, value)? else { return Ok(None) };
        numbers.push((place_of_list(list).ok_or(ReadError::Broken)?, number));
    }
    Ok(Some(numbers))
}
