//! Random visits, packed, read again, and beside what counting them gives.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::chunks::Chunks;
use super::codec::seal;
use super::counting::Counter;
use super::part::{Packed, Part, Visit};
use super::read::{self, ReadError, Rows, Visits};
use super::visits::{Column, Wanted};
use super::{GROUPS, Group, LISTS, Sums, filtering, group_of, key, lists_of, place_of_list};

/// One visit by its texts.
#[derive(Debug, Clone)]
struct Given {
    visitor: u8,
    minute: i32,
    page_views: i64,
    is_bounce: bool,
    duration_ms: i64,
    audience: [Option<u8>; 9],
    pages: Vec<Option<u8>>,
    names: Vec<u8>,
    vitals: Vec<u8>,
}

fn given() -> impl Strategy<Value = Given> {
    let few = || proptest::option::of(0..4_u8);
    let pages = proptest::collection::vec(few(), 0..6);
    let audience = proptest::array::uniform9(few());
    (
        0..12_u8,
        0..1_440,
        0..5_i64,
        any::<bool>(),
        0..9_000_i64,
        audience,
        pages,
        proptest::collection::vec(0..3_u8, 0..4),
        proptest::collection::vec(0..4_u8, 0..4),
    )
        .prop_map(|(visitor, minute, page_views, is_bounce, duration_ms, audience, pages, names, vitals)| Given {
            visitor,
            minute,
            page_views,
            is_bounce,
            duration_ms,
            audience,
            pages,
            names,
            vitals,
        })
}

/// Rows that a part has whatever it is bound to: the visits as a whole, their columns, that of properties, and the values.
const ALWAYS: usize = 1 + 5 + 14 + 1 + 1;
const TEXTS: [&str; 4] = ["", "a", "b/ü", "c"];

fn text(value: Option<u8>) -> Option<&'static str> {
    value.and_then(|value| TEXTS.get(usize::from(value)).copied())
}

/// As the SELECT orders them.
fn visits(mut given: Vec<Given>) -> Vec<Given> {
    given.sort_by_key(|visit| (visit.visitor, visit.minute));
    given
}

fn packed(given: &[Given], bytes_max: u64) -> Vec<Packed> {
    let mut part = Part::default();
    for visit in given {
        let visitor_id = format!("v{}", visit.visitor);
        part.add(&Visit {
            visitor_id: &visitor_id,
            minute: visit.minute,
            events: 1,
            page_views: visit.page_views,
            is_bounce: visit.is_bounce,
            duration_ms: visit.duration_ms,
            audience: visit.audience.map(text),
            entry: visit.pages.first().copied().and_then(text),
            exit: visit.pages.last().copied().and_then(text),
            pages: visit.pages.iter().copied().map(text).collect(),
            event_names: visit.names.iter().map(|name| text(Some(*name))).collect(),
            vitals: visit.vitals.iter().map(|vital| text(Some(*vital))).collect(),
            properties: Vec::new(),
        });
    }
    let mut rows = Vec::new();
    part.pack(bytes_max, |row| {
        rows.push(row);
        Ok::<(), ()>(())
    })
    .expect("taken");
    rows
}

/// What a visit has in a list, and how often.
fn values(visit: &Given, list: &str) -> BTreeMap<String, u64> {
    let mut values = BTreeMap::new();
    let mut note = |value: &str| *values.entry(value.to_owned()).or_default() += 1;
    match list {
        "all" => note("0"),
        "hour" => note(&(visit.minute / 60).to_string()),
        "minute" => note(&visit.minute.to_string()),
        "page" => visit.pages.iter().filter_map(|page| text(*page)).for_each(note),
        "entry" => visit.pages.first().and_then(|page| text(*page)).into_iter().for_each(note),
        "exit" => visit.pages.last().and_then(|page| text(*page)).into_iter().for_each(note),
        "vital" => visit.vitals.iter().filter_map(|vital| text(Some(*vital))).for_each(note),
        "event" => visit.names.iter().filter_map(|name| text(Some(*name))).for_each(note),
        of_audience => {
            let place = LISTS.iter().position(|(name, _)| *name == of_audience).expect("a list") - 3;
            text(visit.audience[place]).into_iter().for_each(note);
        }
    }
    values
}

/// What the list has to say of these visits, value by value.
fn counted(visits: &[&Given], list: &str) -> BTreeMap<String, Sums> {
    let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
    let mut visitors = BTreeSet::new();
    for visit in visits {
        for (value, often) in values(visit, list) {
            let is_new = visitors.insert((if list == "minute" { String::new() } else { value.clone() }, visit.visitor));
            let visitors = u64::from(is_new);
            let all = Sums {
                visitors,
                visits: 1,
                page_views: visit.page_views as u64,
                bounces: visit.is_bounce.into(),
                duration_ms: visit.duration_ms as u64,
            };
            let one = Sums { visits: 1, ..Sums::default() };
            sums.entry(value).or_default().add(&match list {
                "page" => Sums { visitors, page_views: often, ..one },
                "entry" => Sums { bounces: all.bounces, ..one },
                "exit" => one,
                "event" => Sums { visitors, visits: often, ..one },
                "vital" => Sums { visits: often, ..one },
                _ => all,
            });
        }
    }
    sums
}

/// What is read of one key.
fn found(
    rows: &[Packed],
    filter: Option<(&str, &str)>,
    group: Group,
) -> Result<BTreeMap<String, BTreeMap<String, Sums>>, ReadError> {
    let key = key(filter);
    let column = |group| GROUPS.iter().position(|(known, _)| *known == group);
    let of = |row: &Packed, group: Option<Group>| group.and_then(column).and_then(|at| row.groups[at].clone());
    let rows: Vec<read::Packed> = rows
        .iter()
        .filter(|row| row.key.is_empty() || row.key == key)
        .map(|row| read::Packed {
            day_s: 0,
            source: "web".to_owned(),
            part: 0,
            is_whole: row.is_whole,
            group: of(row, Some(group)),
            of_filter: of(row, filter.and_then(|(list, _)| group_of(list))),
        })
        .collect();
    let mut found: BTreeMap<String, BTreeMap<String, Sums>> = BTreeMap::new();
    let take = &mut |taken: read::Taken<'_>| {
        let value = if group == Group::Figures { taken.number.to_string() } else { taken.text.to_owned() };
        let before = found.entry(taken.list.to_owned()).or_default().insert(value, taken.sums);
        assert_eq!(before, None, "each value once");
    };
    // There is one part, which is in one of the shares.
    for share in [1, 0] {
        Rows { rows: &rows, filter }.read(group, (share, 2), take)?;
    }
    Ok(found)
}

/// What is counted of the visits themselves: all lists of the group, with all there is to say of them.
fn counted_again(
    rows: &[Packed],
    filters: &[(&'static str, &str)],
    group: Group,
) -> BTreeMap<String, BTreeMap<String, Sums>> {
    let mut values = rows.iter().find(|row| row.key.is_empty()).expect("a row").groups.clone();
    for ((of, _), place) in GROUPS.iter().zip(&mut values) {
        // As few as will do.
        if *of != group && !filters.iter().any(|(list, _)| group_of(list) == Some(*of)) {
            *place = None;
        }
    }
    let lists = lists_of(group).map(|(list, _)| list).collect();
    let wanted = Wanted { lists, has_sums: matches!(group, Group::Figures | Group::Audience) };
    let columns = wanted.columns(filters.iter().filter_map(|(list, _)| place_of_list(list))).into_iter();
    let of_filters = |column| filters.iter().any(|(list, _)| place_of_list(list).map(Column::List) == Some(column));
    // As little as will do, here too: some forty visits have six chunks.
    let first = |column| {
        let whole = column_of(rows, column);
        let is_whole = of_filters(column) && read::is_read_first(column);
        (column, whole[..if is_whole { whole.len() } else { whole.len().min(13) }].to_vec())
    };
    let filters: Vec<(&'static str, String)> =
        filters.iter().map(|(list, value)| (*list, (*value).to_owned())).collect();
    let mut found: BTreeMap<String, BTreeMap<String, Sums>> = BTreeMap::new();
    let visits = Visits::of(7, &values, &filters, columns.map(first).collect()).expect("whole");
    let Some(mut visits) = visits else { return found };
    let missing: Vec<_> = visits.missing().collect();
    for (column, bytes) in missing {
        let begin = bytes.start;
        visits.take(&column.key(), begin, column_of(rows, column)[bytes].to_vec()).expect("one of its own");
    }
    for ((of, _), values) in GROUPS.iter().zip(values).filter(|((of, _), _)| *of == group) {
        visits.take_values(*of, values);
    }
    let take = &mut |taken: read::Taken<'_>| {
        assert_eq!(taken.day_s, 7);
        let value = if group == Group::Figures { taken.number.to_string() } else { taken.text.to_owned() };
        let before = found.entry(taken.list.to_owned()).or_default().insert(value, taken.sums);
        assert_eq!(before, None, "each value once");
    };
    visits.count(&wanted, &mut Counter::default()).expect("whole").read(group, take).expect("whole");
    found
}

fn column_of(rows: &[Packed], column: Column) -> Vec<u8> {
    let row = rows.iter().find(|row| row.key == column.key()).expect("a row");
    assert_eq!(Column::of_key(&row.key), Some(column));
    row.groups[0].clone().expect("there")
}

fn filters() -> Vec<Option<(&'static str, &'static str)>> {
    // Of what was measured there are no rows.
    let lists =
        LISTS.iter().filter(|(_, group)| !matches!(group, Group::Figures | Group::Vitals)).map(|(list, _)| *list);
    std::iter::once(None).chain(lists.flat_map(|list| TEXTS.iter().map(move |text| Some((list, *text))))).collect()
}

fn expected(given: &[Given], filters: &[(&str, &str)], group: Group) -> BTreeMap<String, BTreeMap<String, Sums>> {
    let has = |visit: &&Given| filters.iter().all(|(list, value)| values(visit, list).contains_key(*value));
    let kept: Vec<&Given> = given.iter().filter(has).collect();
    let of_group = LISTS.iter().filter(|(_, of)| *of == group);
    of_group
        .map(|(list, _)| ((*list).to_owned(), counted(&kept, list)))
        .filter(|(_, values)| !values.is_empty())
        .collect()
}

proptest! {
    #[test]
    fn every_list_of_every_value_is_what_counting_gives(given in proptest::collection::vec(given(), 0..60)) {
        let given = visits(given);
        let rows = packed(&given, u64::MAX);
        for filter in filters() {
            for (group, _) in GROUPS {
                let found = found(&rows, filter, group).expect("whole");
                prop_assert_eq!(found, expected(&given, filter.as_slice(), group), "{:?} of {:?}", group, filter);
            }
        }
    }

    #[test]
    fn visits_that_have_several_values_are_counted_again(
        given in proptest::collection::vec(given(), 1..40),
        wanted in proptest::collection::vec((3..LISTS.len() - 1, 0..TEXTS.len()), 0..4),
        bytes_max in 0..12_000_u64,
    ) {
        let given = visits(given);
        let rows = packed(&given, bytes_max);
        let wanted: Vec<(&str, &str)> = wanted.iter().map(|(list, text)| (LISTS[*list].0, TEXTS[*text])).collect();
        for (group, _) in GROUPS {
            let found = counted_again(&rows, &wanted, group);
            prop_assert_eq!(found, expected(&given, &wanted, group), "{:?} of {:?}", group, &wanted);
        }
    }

    #[test]
    fn what_is_not_visits_is_refused(
        given in proptest::collection::vec(given(), 1..9),
        broken in any::<proptest::sample::Index>(),
        raw in proptest::collection::vec(any::<u8>(), 0..40),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let rows = packed(&visits(given), 0);
        for (group, _) in GROUPS {
            let lists = lists_of(group).map(|(list, _)| list).collect();
            let wanted = Wanted { lists, has_sums: true };
            let columns = wanted.columns([4].into_iter()).into_iter();
            let mut columns: Vec<(Column, Vec<u8>)> = columns.map(|column| (column, column_of(&rows, column))).collect();
            let broken = broken.index(columns.len());
            let sealed = &mut columns[broken].1;
            match cut {
                Some(cut) => sealed.truncate(cut.index(sealed.len())),
                None => *sealed = seal(&raw),
            }
            // No panic, whatever is made of it.
            let columns = columns.into_iter().map(|(column, bytes)| Some((column, Chunks::new(bytes)?)));
            let Some(columns) = columns.collect::<Option<Vec<_>>>() else { continue };
            let filters = [(4, 0), (12, 0)];
            let left = filtering::chunks_with(&columns, &filters).unwrap_or_else(|| vec![(0, None), (1, None)]);
            let _ = Counter::default().count(&columns, &left, &filters, &wanted);
        }
    }

    #[test]
    fn what_is_left_out_is_known_to_be_and_is_light(given in proptest::collection::vec(given(), 1..60), bytes_max in 0..12_000_u64) {
        let given = visits(given);
        let rows = packed(&given, bytes_max);
        let bytes: u64 = rows.iter().map(Packed::bytes).sum();
        // The last row may go over.
        prop_assert!(rows.len() == ALWAYS || bytes < bytes_max + 4_000, "{} of {}", bytes, bytes_max);
        let weight = |filter: Option<(&str, &str)>| {
            given.iter().filter(|visit| filter.is_none_or(|(list, value)| values(visit, list).contains_key(value))).count()
        };
        let (mut lightest, mut heaviest) = (usize::MAX, 0);
        for filter in filters() {
            match found(&rows, filter, Group::Pages) {
                Ok(found) => {
                    prop_assert_eq!(found, expected(&given, filter.as_slice(), Group::Pages), "{:?}", filter);
                    lightest = lightest.min(if weight(filter) == 0 { usize::MAX } else { weight(filter) });
                }
                Err(error) => {
                    prop_assert_eq!(error, ReadError::LeftOut);
                    heaviest = heaviest.max(weight(filter));
                }
            }
        }
        prop_assert!(lightest >= heaviest, "{} is there, {} is not", lightest, heaviest);
    }
}
