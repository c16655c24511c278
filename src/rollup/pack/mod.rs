//! Packed rollups: of the visits that a SELECT gives, weir itself makes one row for each value of each dimension in each day,
//! which has all that the dashboard shows when it is filtered by this value. Tables of SQL for that would be some million rows a day.
//!
//! # The table
//!
//! ```text
//! bucket, source, part       a day's visits on a source, cut into parts where they are many: each visitor is in one part
//! key      bytea             16 bytes of SHA-256 of a list's name, 0, and a value; of no list: of all visits; empty: the part's values;
//!                            two bytes: a column of the visits themselves, one, or of a list `property` and an event's name: what
//!                            properties say (properties.rs); these are in `figures`
//! is_whole boolean           of the part's values: whether each value of every list has a row
//! figures, audience, pages, events, vitals    bytea, null where nothing is in them: a group of lists
//! ```
//!
//! A group of lists is packed: one byte 0, and the bytes; or 1, how many bytes, and a frame of zstd. Numbers are LEB128.
//!
//! ```text
//! of a key         of each list: how many values; how far each value's number is from the one before; then the visitors of each,
//!                  the visits, page views, bounces, milliseconds
//! of the values    of each list: how many; then of each the number of its bytes; then their bytes
//! of the visits    see visits.rs
//! a vital's value  its name, a blank, and what was measured: `lcp 1230`
//! ```
//!
//! A value's number is its place among the part's values; of `hour` and `minute` it is the hour and the minute of the day.
//! Visitors are distinct; but of a minute they are those whose first visit this was, so that minutes add up.
//!
//! # How large it may get
//!
//! A visit of many pages has as many rows with as many pages each. So rows are written by weight, those with the most visits first,
//! until they take [`BYTES_PER_EVENT_MAX`] for each event of the part, or [`BYTES_MIN`]. Whoever finds no row of a value that the part
//! has, or asks for visits with several values, counts the visits themselves, which takes longer. Properties of events have
//! [`PROPERTY_BYTES_PER_EVENT_MAX`] more, those of the most frequent events first.

pub mod chunks;
mod codec;
mod count;
pub mod counting;
mod filtering;
mod numbers;
mod opened;
mod part;
pub mod properties;
pub mod read;
mod values;
pub mod visits;
pub mod write;

#[cfg(test)]
mod tests;

use sha2::{Digest, Sha256};

/// What rows may take for each event of their part, PostgreSQL's own bytes included: a tenth of what an event takes.
pub const BYTES_PER_EVENT_MAX: u64 = 40;
/// And what their properties take.
pub const PROPERTY_BYTES_PER_EVENT_MAX: u64 = 30;
/// A part may always have so much, or of a few visits hardly anything would be there.
pub const BYTES_MIN: u64 = 64 << 10;
/// Changes with the format: then all of them are computed anew.
pub const FORMAT: &str = "4";

/// What is shown together, and so is a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    Figures,
    Audience,
    Pages,
    Events,
    Vitals,
}

/// In the order of the columns.
pub const GROUPS: [(Group, &str); 5] = [
    (Group::Figures, "figures"),
    (Group::Audience, "audience"),
    (Group::Pages, "pages"),
    (Group::Events, "events"),
    (Group::Vitals, "vitals"),
];
/// What a row has of each.
pub type Groups = [Option<Vec<u8>>; GROUPS.len()];

/// Each list of a group, in order.
pub const LISTS: [(&str, Group); 17] = [
    ("all", Group::Figures),
    ("hour", Group::Figures),
    ("minute", Group::Figures),
    ("referrer", Group::Audience),
    ("utm_source", Group::Audience),
    ("utm_medium", Group::Audience),
    ("utm_campaign", Group::Audience),
    ("country", Group::Audience),
    ("region", Group::Audience),
    ("device", Group::Audience),
    ("browser", Group::Audience),
    ("os", Group::Audience),
    ("page", Group::Pages),
    ("entry", Group::Pages),
    ("exit", Group::Pages),
    ("event", Group::Events),
    ("vital", Group::Vitals),
];
const ALL: usize = 0;
const HOUR: usize = 1;
const MINUTE: usize = 2;
/// The first one that is a column of the SELECT; nine of them.
const AUDIENCE: usize = 3;
const PAGE: usize = 12;
const ENTRY: usize = 13;
const EXIT: usize = 14;
const EVENT: usize = 15;
const VITAL: usize = 16;

/// The group of a list.
pub fn group_of(list: &str) -> Option<Group> {
    LISTS.iter().find(|(known, _)| *known == list).map(|(_, group)| *group)
}

/// The number of a list.
pub fn place_of_list(list: &str) -> Option<usize> {
    LISTS.iter().position(|(known, _)| *known == list)
}

/// The number of a group.
pub fn place_of(group: Group) -> Option<usize> {
    GROUPS.iter().position(|(known, _)| *known == group)
}

/// The names of a group's lists.
pub fn names_of(group: Group) -> impl Iterator<Item = &'static str> {
    lists_of(group).map(|(_, name)| name)
}

/// The lists of a group, each with its number.
fn lists_of(group: Group) -> impl Iterator<Item = (usize, &'static str)> {
    LISTS.iter().enumerate().filter(move |(_, (_, of))| *of == group).map(|(list, (name, _))| (list, *name))
}

/// What some visits come to. Of events and vitals, `visits` is how often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub visitors: u64,
    pub visits: u64,
    pub page_views: u64,
    pub bounces: u64,
    pub duration_ms: u64,
}

impl Sums {
    pub fn add(&mut self, other: &Self) {
        self.visitors += other.visitors;
        self.visits += other.visits;
        self.page_views += other.page_views;
        self.bounces += other.bounces;
        self.duration_ms += other.duration_ms;
    }
}

/// Of a key that is a hash.
const KEY_BYTES: usize = 16;

/// The key of a value of a list; of no list, that of all visits.
pub fn key(of: Option<(&str, &str)>) -> [u8; KEY_BYTES] {
    let (list, value) = of.unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(list);
    hash.update([0]);
    hash.update(value);
    let mut key = [0; KEY_BYTES];
    for (to, from) in key.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    key
}
