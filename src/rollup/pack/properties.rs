//! What the properties of events say, visit by visit: whatever visits are filtered by, they can be counted.
//!
//! A row of the table is one event's name:
//!
//! ```text
//! pairs      how many bytes; and sealed, as of a list: each is a key, 0 and a value; or a key, for all values that have no pair
//! entries    sealed: how far each visit's number is from the one before; the numbers of pairs; how often, less 1
//! ```
//!
//! The row whose key is [`ARE_WHOLE`] has one byte: 1, if there is a row of every event that has properties, and 0 if some found no room.
//! A part that has no such row says nothing of properties.
//!
//! What counts is as in `properties_daily`: texts, numbers and truths, [`CHARS_MAX`] characters of each, of keys that have no more
//! than these, and of an event the first [`PER_EVENT_MAX`], as jsonb orders them. Of each key and event there are the
//! [`VALUES_MAX`] values of most events in the part, among the first [`VALUES_SEEN_MAX`] that came: in a part visitors come by their ids,
//! and so by chance, and what is frequent comes early.

use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;

use super::codec::{open, put, put_values, seal, seal_numbers, take, take_values};
use super::count::List;
use super::numbers::{Numbers, put_numbers};
use super::part::Packed;
use super::values::Values;
use super::{KEY_BYTES, Sums, key};

/// Of a key: enough for a filter that leaves few visits to find its values, and bounded where values are ids.
pub const VALUES_MAX: usize = 1_000;
/// Of a key, while the part is read: or ids would fill it.
const VALUES_SEEN_MAX: u32 = 20_000;
/// Of keys and values.
const CHARS_MAX: usize = 200;
const PER_EVENT_MAX: usize = 200;
/// Between a key and its value: PostgreSQL has it in no text.
const BETWEEN: char = '\0';
/// See the module.
pub const ARE_WHOLE: [u8; 1] = [2];

/// The key of an event's row.
pub fn key_of(event: &str) -> [u8; KEY_BYTES] {
    key(Some(("property", event)))
}

/// That an event within a visit has a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    visit: u32,
    pair: u32,
}

/// Events of one name.
#[derive(Default)]
struct Named {
    pairs: Values,
    /// How many values of each key have a pair.
    seen: HashMap<String, u32>,
    entries: Vec<Entry>,
}

/// Of a part, while it is read.
#[derive(Default)]
pub struct Properties {
    by_name: BTreeMap<String, Named>,
    entries: usize,
}

impl Properties {
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Adds what an event within a visit has; visits come in the order of their numbers. Of new texts `bytes` is told the length.
    pub fn add(&mut self, visit: u32, name: &str, json: &str, bytes: &mut usize) {
        // A list, say, has no properties.
        let Ok(properties) = serde_json::from_str::<BTreeMap<String, &RawValue>>(json) else { return };
        let mut properties: Vec<(String, &RawValue)> = properties.into_iter().collect();
        if properties.len() > PER_EVENT_MAX {
            properties.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
            properties.truncate(PER_EVENT_MAX);
        }
        for (key, value) in properties {
            let Some(value) = plain(value.get()).filter(|_| key.chars().count() <= CHARS_MAX) else { continue };
            if !self.by_name.contains_key(name) {
                *bytes += name.len();
                self.by_name.insert(name.to_owned(), Named::default());
            }
            let Some(named) = self.by_name.get_mut(name) else { continue };
            let pair = named.pair(&key, &value, bytes);
            named.entries.push(Entry { visit, pair });
            self.entries += 1;
        }
    }

    /// Visits get other numbers: of each the new one.
    pub fn arrange(&mut self, places: &[u32]) {
        for entry in self.by_name.values_mut().flat_map(|named| &mut named.entries) {
            entry.visit = places.get(entry.visit as usize).copied().unwrap_or_default();
        }
    }

    /// Hands the rows to `write`, those of most entries first, as far as `bytes_max` lets them.
    pub fn pack<E>(self, bytes_max: u64, mut write: impl FnMut(Packed) -> Result<(), E>) -> Result<(), E> {
        let mut by_weight: Vec<(String, Named)> = self.by_name.into_iter().collect();
        by_weight.sort_by_key(|(_, named)| std::cmp::Reverse(named.entries.len()));
        let (mut bytes, mut are_whole) = (0, true);
        for (name, named) in by_weight {
            if bytes >= bytes_max {
                are_whole = false;
                break;
            }
            let row = Packed::of_part(&key_of(&name), named.pack());
            bytes += row.bytes();
            write(row)?;
        }
        write(Packed::of_part(&ARE_WHOLE, vec![are_whole.into()]))
    }
}

/// A text, number or truth as PostgreSQL's `#>> '{}'` gives it.
fn plain(json: &str) -> Option<String> {
    match json.bytes().next()? {
        b'"' => serde_json::from_str(json).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(json.to_owned()),
    }
}

/// A value by how many events have it, with its pair's number; none: those that have no pair.
type Weighed<'v> = (u64, Option<&'v str>, usize);

impl Named {
    /// The number of a pair; where its key has too many of them, that of all others.
    fn pair(&mut self, key: &str, value: &str, bytes: &mut usize) -> u32 {
        let mut pair = format!("{key}{BETWEEN}");
        pair.extend(value.chars().take(CHARS_MAX));
        if let Some(known) = self.pairs.find(&pair) {
            return known;
        }
        match self.seen.get_mut(key) {
            Some(VALUES_SEEN_MAX..) => return self.pairs.number(key, bytes),
            Some(seen) => *seen += 1,
            None => drop(self.seen.insert(key.to_owned(), 1)),
        }
        self.pairs.number(&pair, bytes)
    }

    fn pack(self) -> Vec<u8> {
        let (texts, numbers) = self.bounded();
        let mut entries = self.entries;
        for entry in &mut entries {
            entry.pair = numbers.get(entry.pair as usize).copied().unwrap_or_default();
        }
        entries.sort_unstable();
        let alike: Vec<(Entry, u64)> =
            entries.chunk_by(Entry::eq).filter_map(|alike| Some((*alike.first()?, alike.len() as u64))).collect();
        let mut values = Vec::new();
        put_values(&mut values, &texts);
        let values = seal(&values);
        let mut packed = Vec::new();
        put(&mut packed, values.len() as u64);
        packed.extend_from_slice(&values);
        let mut raw = Vec::new();
        let before = std::iter::once(0).chain(alike.iter().map(|(entry, _)| entry.visit));
        put_numbers(&mut raw, &alike.iter().zip(before).map(|((entry, _), before)| (entry.visit - before).into()));
        put_numbers(&mut raw, &alike.iter().map(|(entry, _)| entry.pair.into()));
        put_numbers(&mut raw, &alike.iter().map(|(_, often)| often - 1));
        packed.extend_from_slice(&seal_numbers(&raw));
        packed
    }

    /// The pairs that stay, and of each that there is now the number it gets.
    fn bounded(&self) -> (Vec<String>, Vec<u32>) {
        let mut events = vec![0_u64; self.pairs.texts.len()];
        for entry in &self.entries {
            if let Some(events) = events.get_mut(entry.pair as usize) {
                *events += 1;
            }
        }
        let mut by_key: BTreeMap<&str, Vec<Weighed<'_>>> = BTreeMap::new();
        for (pair, (text, events)) in self.pairs.texts.iter().zip(events).enumerate() {
            let (key, value) =
                text.split_once(BETWEEN).map_or((text.as_str(), None), |(key, value)| (key, Some(value)));
            by_key.entry(key).or_default().push((events, value, pair));
        }
        let (mut texts, mut numbers) = (Vec::new(), vec![0; self.pairs.texts.len()]);
        for (key, mut values) in by_key {
            values.sort_unstable_by(|(events, value, _), (of_other, other, _)| {
                value.is_none().cmp(&other.is_none()).then_with(|| of_other.cmp(events)).then_with(|| value.cmp(other))
            });
            let mut kept = 0;
            for (_, value, pair) in values {
                match value.filter(|_| kept < VALUES_MAX) {
                    Some(value) => {
                        texts.push(format!("{key}{BETWEEN}{value}"));
                        kept += 1;
                    }
                    None if texts.last().is_some_and(|last| last == key) => {}
                    None => texts.push(key.to_owned()),
                }
                if let Some(number) = numbers.get_mut(pair) {
                    *number = (texts.len() as u32).saturating_sub(1);
                }
            }
        }
        (texts, numbers)
    }
}

/// Hands what an event's row says of some visits to `take`: a key, a value unless it is all those without a pair, the visitors and, as
/// `visits`, the events. `kept` has the visits' numbers, in order, and their visitors'. `None`: the row is not what was packed.
pub fn count(packed: &[u8], kept: &[(u32, u32)], take_pair: &mut dyn FnMut(&str, Option<&str>, &Sums)) -> Option<()> {
    let mut rest = packed;
    let length = usize::try_from(take(&mut rest)?).ok()?;
    let (values, entries) = rest.split_at_checked(length)?;
    let (values, entries) = (open(values)?, open(entries)?);
    let (mut values, mut entries) = (values.as_slice(), entries.as_slice());
    let texts = take_values(&mut values)?;
    let visits = Numbers::take(&mut entries)?.running_sums()?;
    let (pairs, often) = (Numbers::take(&mut entries)?, Numbers::take(&mut entries)?);
    let mut list = List::default();
    let mut place = 0;
    for (visit, visitor) in kept {
        while visits.get(place).is_some_and(|of| of < visit) {
            place += 1;
        }
        while visits.get(place) == Some(visit) {
            let pair = u32::try_from(pairs.get(place)).ok().filter(|pair| (*pair as usize) < texts.len())?;
            list.count(pair, &Sums { visits: often.get(place).checked_add(1)?, ..Sums::default() }, *visitor);
            place += 1;
        }
    }
    for (pair, sums) in list.take() {
        let text = texts.get(pair as usize)?;
        match text.split_once(BETWEEN) {
            Some((key, value)) => take_pair(key, Some(value), &sums),
            None => take_pair(text, None, &sums),
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Events and visitors of each key and value.
    type Found = BTreeMap<(String, Option<String>), (u64, u64)>;

    fn packed(events: &[(u32, String, Value)], bytes_max: u64) -> Vec<Packed> {
        let (mut properties, mut bytes) = (Properties::default(), 0);
        for (visit, name, json) in events {
            properties.add(*visit, name, &json.to_string(), &mut bytes);
        }
        let mut rows = Vec::new();
        properties
            .pack(bytes_max, |row| {
                rows.push(row);
                Ok::<(), ()>(())
            })
            .expect("taken");
        rows
    }

    fn row<'r>(rows: &'r [Packed], key: &[u8]) -> Option<&'r [u8]> {
        rows.iter().find(|row| row.key == key).and_then(|row| row.groups[0].as_deref())
    }

    fn found(row: &[u8], kept: &[(u32, u32)]) -> Option<Found> {
        let mut found = Found::new();
        count(row, kept, &mut |key, value, sums| {
            let of = (key.to_owned(), value.map(ToOwned::to_owned));
            assert_eq!(found.insert(of, (sums.visits, sums.visitors)), None, "each once");
        })?;
        Some(found)
    }

    /// The same of the events themselves.
    fn expected(events: &[(u32, String, Value)], name: &str, kept: &[(u32, u32)]) -> Found {
        let mut sums: BTreeMap<(String, Option<String>), (u64, BTreeSet<u32>)> = BTreeMap::new();
        for (visit, of, json) in events {
            let Some((_, visitor)) = kept.iter().find(|(kept, _)| kept == visit).filter(|_| of == name) else {
                continue;
            };
            for (key, value) in json.as_object().into_iter().flatten() {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Number(_) | Value::Bool(_) => value.to_string(),
                    _ => continue,
                };
                let (events, visitors) = sums.entry((key.clone(), Some(text))).or_default();
                *events += 1;
                visitors.insert(*visitor);
            }
        }
        sums.into_iter().map(|(of, (events, visitors))| (of, (events, visitors.len() as u64))).collect()
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            "[a-c\u{1F600}\"]{0,2}".prop_map(Value::from),
            (0..4_i64).prop_map(Value::from),
            Just(json!(2.5)),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
            Just(json!(["list"])),
            Just(json!({"a": 1})),
        ]
    }

    fn properties() -> impl Strategy<Value = Value> {
        let object = proptest::collection::btree_map("[k-m]{1,2}", value(), 0..5);
        prop_oneof![9 => object.prop_map(|of| Value::Object(of.into_iter().collect())), 1 => value()]
    }

    proptest! {
        #[test]
        fn of_any_visits_they_are_what_counting_gives(
            mut events in proptest::collection::vec((0..30_u32, "[xy]", properties()), 0..80),
            of in proptest::collection::btree_map(0..30_u32, any::<bool>(), 0..30),
        ) {
            events.sort_by_key(|(visit, ..)| *visit);
            // Visitors come twice, one after the other.
            let kept: Vec<(u32, u32)> = of.into_iter().filter(|(_, kept)| *kept).map(|(visit, _)| (visit, visit / 2)).collect();
            let rows = packed(&events, u64::MAX);
            prop_assert_eq!(row(&rows, &ARE_WHOLE), Some([1].as_slice()));
            for name in ["x", "y"] {
                let found = row(&rows, &key_of(name)).map_or_else(Found::new, |row| found(row, &kept).expect("whole"));
                prop_assert_eq!(found, expected(&events, name, &kept), "{}", name);
            }
        }

        #[test]
        fn what_is_none_of_ours_is_refused_or_read(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            cut in any::<proptest::sample::Index>(),
        ) {
            let kept = [(0, 0), (3, 1)];
            let _ = found(&bytes, &kept);
            let rows = packed(&[(0, "x".to_owned(), json!({"a": "b"})), (3, "x".to_owned(), json!({"a": 1}))], u64::MAX);
            let row = row(&rows, &key_of("x")).expect("a row");
            let _ = count(&row[..cut.index(row.len())], &kept, &mut |_, _, _| {});
        }
    }

    #[test]
    fn ids_are_bounded_and_long_texts_cut() {
        let ids = VALUES_MAX as u32 + 200;
        let mut events: Vec<(u32, String, Value)> = (0..ids)
            .map(|visit| (visit, "buy".to_owned(), json!({"order": format!("{visit:05}"), "plan": "free"})))
            .collect();
        // The last one twice: so it is among those that stay.
        events.push((ids - 1, "buy".to_owned(), json!({"order": format!("{:05}", ids - 1)})));
        let long = "ü".repeat(CHARS_MAX + 1);
        events.push((ids, "buy".to_owned(), json!({"text": long, long.as_str(): 1})));
        let wide: serde_json::Map<String, Value> =
            (0..PER_EVENT_MAX + 60).map(|key| (format!("k{key}"), key.into())).collect();
        events.push((ids, "wide".to_owned(), wide.into()));
        let kept: Vec<(u32, u32)> = (0..=ids).map(|visit| (visit, visit)).collect();
        let rows = packed(&events, u64::MAX);
        let buy = found(row(&rows, &key_of("buy")).expect("a row"), &kept).expect("whole");
        let of = |key: &str, value: Option<&str>| buy.get(&(key.to_owned(), value.map(ToOwned::to_owned))).copied();
        assert_eq!(of("order", Some(&format!("{:05}", ids - 1))), Some((2, 1)));
        assert_eq!((of("order", Some("00000")), of("order", Some("00998"))), (Some((1, 1)), Some((1, 1))));
        assert_eq!((of("order", Some("00999")), of("order", None)), (None, Some((200, 200))));
        assert_eq!(of("plan", Some("free")), Some((u64::from(ids), u64::from(ids))));
        assert_eq!(of("text", Some(&"ü".repeat(CHARS_MAX))), Some((1, 1)));
        assert_eq!(buy.len(), VALUES_MAX + 1 + 1 + 1);
        // Short keys first, as jsonb has them.
        let few = events;
        let wide = found(row(&rows, &key_of("wide")).expect("a row"), &kept).expect("whole");
        assert_eq!(wide.len(), PER_EVENT_MAX);
        assert!(wide.contains_key(&("k99".to_owned(), Some("99".to_owned()))));
        assert!(!wide.contains_key(&("k200".to_owned(), Some("200".to_owned()))));

        // Of very many values the first are looked at.
        let many = VALUES_SEEN_MAX + 10;
        let events: Vec<(u32, String, Value)> =
            (0..many + 10).map(|visit| (visit, "x".to_owned(), json!({"id": visit.min(many)}))).collect();
        let kept: Vec<(u32, u32)> = (0..many + 10).map(|visit| (visit, visit)).collect();
        let ids = found(row(&packed(&events, u64::MAX), &key_of("x")).expect("a row"), &kept).expect("whole");
        let others = u64::from(many) + 10 - VALUES_MAX as u64;
        assert_eq!((ids.len(), ids.get(&("id".to_owned(), None))), (VALUES_MAX + 1, Some(&(others, others))));

        // Where there is no room, the most frequent events come first, and it is said that others are lacking.
        let rows = packed(&few, 1);
        assert_eq!(row(&rows, &ARE_WHOLE), Some([0].as_slice()));
        assert!(row(&rows, &key_of("buy")).is_some() && row(&rows, &key_of("wide")).is_none());
    }
}
