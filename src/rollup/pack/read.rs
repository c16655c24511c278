//! What was packed, by whoever shows it: rows of [`super::write`] become sums by list and value.

use std::collections::HashMap;

use super::codec::{Counted, open, take_counted, take_values};
use super::properties::{self, ARE_WHOLE};
use super::visits::{self, Column, Wanted};
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
    /// Hands what they say of `group` to `take`.
    pub fn read(&self, group: Group, take: Take<'_>) -> Result<(), ReadError> {
        let mut of_key = HashMap::new();
        for row in self.rows.iter().filter(|row| row.is_whole.is_none()) {
            of_key.insert((row.day_s, row.source.as_str(), row.part), row);
        }
        for values in self.rows.iter().filter(|row| row.is_whole.is_some()) {
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

/// A part's values, and of its visits the columns that were asked for.
#[derive(Default)]
pub struct Visits {
    pub day_s: i64,
    /// Of the group that is shown, and of those of the lists that are filtered by.
    pub values: Groups,
    pub columns: Vec<(Column, Vec<u8>)>,
    /// Of the event that is asked for.
    pub properties: Option<Vec<u8>>,
    /// Whether there would be such a row if there were properties. `None`: nothing is said of any.
    pub are_properties_whole: Option<bool>,
}

impl Visits {
    /// Takes a row of the part, of whatever kind; the key of the values is not among them.
    pub fn take(&mut self, key: &[u8], packed: Vec<u8>) -> Result<(), ReadError> {
        if let Some(column) = Column::of_key(key) {
            self.columns.push((column, packed));
        } else if key == ARE_WHOLE {
            self.are_properties_whole = Some(packed == [1]);
        } else if key.len() == KEY_BYTES {
            self.properties = Some(packed);
        } else {
            return Err(ReadError::Broken);
        }
        Ok(())
    }

    /// Hands what the visits that have all of these values, each of a list, come to in the lists of `group` to `take`.
    pub fn read(&self, filters: &[Filter], group: Group, wanted: &Wanted, take: Take<'_>) -> Result<(), ReadError> {
        let Some(of_filters) = self.numbers(filters)? else { return Ok(()) };
        let counted = visits::count(&self.columns, &of_filters, wanted).ok_or(ReadError::Broken)?;
        hand_out(self.day_s, group, &counted, self.values(group), take).ok_or(ReadError::Broken)
    }

    /// Hands what the properties of the event that was asked for say in these visits to `take`: of which key and value, the sums.
    pub fn read_properties(
        &self,
        filters: &[Filter],
        take: &mut dyn FnMut(&str, Option<&str>, &Sums),
    ) -> Result<(), ReadError> {
        let packed = match (&self.properties, self.are_properties_whole) {
            (Some(packed), Some(_)) => packed,
            (None, Some(true)) => return Ok(()),
            _ => return Err(ReadError::LeftOut),
        };
        let Some(of_filters) = self.numbers(filters)? else { return Ok(()) };
        let kept = visits::kept(&self.columns, &of_filters).ok_or(ReadError::Broken)?;
        properties::count(packed, &kept, take).ok_or(ReadError::Broken)
    }

    /// The lists and values of the filters, by number. `None`: the part lacks a value, and so has no such visits.
    fn numbers(&self, filters: &[Filter]) -> Result<Option<Vec<(usize, u32)>>, ReadError> {
        let mut numbers = Vec::new();
        for (list, value) in filters {
            let values = group_of(list).and_then(|group| self.values(group)).ok_or(ReadError::Broken)?;
            let Some(number) = number(values, list, value)? else { return Ok(None) };
            numbers.push((place_of_list(list).ok_or(ReadError::Broken)?, number));
        }
        Ok(Some(numbers))
    }

    fn values(&self, group: Group) -> Option<&[u8]> {
        self.values.get(place_of(group)?)?.as_deref()
    }
}
