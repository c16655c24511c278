//! What packed rows say of an event's properties is added up to the lines of its panel, as sql/properties.sql does.

use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::adding::{ENTRY_BYTES, TEXTS_BYTES_MAX};
use super::answer::Line;
use crate::rollup::pack::Sums;
use crate::rollup::pack::read::ReadError;

/// The properties that most events have.
const KEYS_MAX: usize = 10;

/// What was added so far.
#[derive(Default)]
pub struct Adding {
    by_key: HashMap<String, OfKey, RandomState>,
    bytes: usize,
}

#[derive(Default)]
struct OfKey {
    values: HashMap<String, Sums, RandomState>,
    /// Events whose value nobody can tell any more.
    untold: u64,
}

impl Adding {
    /// Adds the visitors and events, called `visits`, of a value; without one, those of all values that were not kept.
    pub fn add(&mut self, key: &str, value: Option<&str>, sums: &Sums) {
        if !self.by_key.contains_key(key) {
            self.bytes += key.len() + ENTRY_BYTES;
            self.by_key.insert(key.to_owned(), OfKey::default());
        }
        let Some(of_key) = self.by_key.get_mut(key) else { return };
        let Some(value) = value else {
            of_key.untold += sums.visits;
            return;
        };
        if let Some(known) = of_key.values.get_mut(value) {
            known.add(sums);
        } else if self.bytes <= TEXTS_BYTES_MAX {
            self.bytes += value.len() + ENTRY_BYTES;
            of_key.values.insert(value.to_owned(), *sums);
        }
    }

    /// That, and what another one has added, of other parts.
    pub fn and(mut self, other: Self) -> Self {
        for (key, of_key) in other.by_key {
            for (value, sums) in of_key.values {
                self.add(&key, Some(&value), &sums);
            }
            if of_key.untold > 0 {
                self.add(&key, None, &Sums { visits: of_key.untold, ..Sums::default() });
            }
        }
        self
    }

    pub fn is_full(&self) -> bool {
        self.bytes > TEXTS_BYTES_MAX
    }

    /// Of the first properties the first `limit` values, each with the events that have the property and those whose value is untold.
    pub fn lines(self, limit: usize) -> Result<Vec<Line>, ReadError> {
        if self.is_full() {
            return Err(ReadError::LeftOut);
        }
        let of_all = |of_key: &OfKey| of_key.untold + of_key.values.values().map(|sums| sums.visits).sum::<u64>();
        let mut keys: Vec<(Reverse<u64>, String, OfKey)> =
            self.by_key.into_iter().map(|(key, of_key)| (Reverse(of_all(&of_key)), key, of_key)).collect();
        keys.sort_unstable_by(|(all, key, _), (of_other, other, _)| (all, key).cmp(&(of_other, other)));
        keys.truncate(KEYS_MAX);
        let mut lines = Vec::new();
        for (Reverse(all), key, of_key) in keys {
            let mut values: Vec<(String, Sums)> = of_key.values.into_iter().collect();
            values.sort_unstable_by(|(value, sums), (other, of_other)| {
                of_other.visits.cmp(&sums.visits).then_with(|| value.cmp(other))
            });
            values.truncate(limit);
            lines.extend(values.into_iter().map(|(value, sums)| Line {
                list: key.clone(),
                value,
                visitors: sums.visitors.cast_signed(),
                count: sums.visits.cast_signed(),
                page_views: all.cast_signed(),
                bounces: of_key.untold.cast_signed(),
                duration_ms: 0,
            }));
        }
        Ok(lines)
    }
}
