//! What was packed, by whoever shows it: rows of [`super::write`] become sums by list and value.

use std::collections::HashMap;

use super::codec::{open, take_counted, take_values};
use super::{GROUPS, Group, LISTS, Sums, group_of};

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
                None if self.is_left_out(values).ok_or(ReadError::Broken)? => return Err(ReadError::LeftOut),
                None => {}
            }
        }
        Ok(())
    }

    /// Whether the part has visits with the value, of which there is no row.
    fn is_left_out(&self, values: &Packed) -> Option<bool> {
        let Some((filter, value)) = self.filter else { return Some(true) };
        let group = group_of(filter)?;
        let raw = open(values.of_filter.as_deref()?)?;
        let mut raw = raw.as_slice();
        for (list, _) in LISTS.iter().filter(|(_, of)| *of == group) {
            let texts = take_values(&mut raw)?;
            if *list == filter {
                return Some(texts.contains(&value));
            }
        }
        None
    }
}

fn read_one(values: &Packed, row: &Packed, group: Group, take: Take<'_>) -> Option<()> {
    let Some(sealed) = &row.group else { return Some(()) };
    let raw = open(sealed)?;
    let texts = values.group.as_deref().map(open);
    let texts = match texts {
        Some(texts) => texts?,
        None => Vec::new(),
    };
    let (mut raw, mut texts) = (raw.as_slice(), texts.as_slice());
    for (list, _) in LISTS.iter().filter(|(_, of)| *of == group) {
        let counted = take_counted(&mut raw)?;
        let texts = if group == Group::Figures { None } else { Some(take_values(&mut texts)?) };
        for (number, sums) in counted {
            let text = match &texts {
                Some(texts) => texts.get(number as usize)?,
                None => "",
            };
            take(Taken { day_s: row.day_s, list, number, text, sums });
        }
    }
    Some(())
}
