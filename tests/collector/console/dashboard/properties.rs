//! The properties of an event: the rollup beside plain SQL, and the page beside what the events say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::expected::grouped;
use super::shown::text;
use super::{date, midnight, with_rollups};
use crate::support::chance::Chance;
use crate::support::people::Person;
use crate::support::rollups::{engine, make_partitions, settle, touch_all};
use crate::support::visits::{DAY_MS, Event, Visit, event_day, is_ones_own, random, store, visits, within};
use crate::support::{TestDatabase, collector};

const VALUES_MAX: usize = 200;
const KEYS_MAX: usize = 50;
const PROPERTIES_MAX: usize = 200;
const ROWS_MAX: i64 = 100_000;
const CHARS_MAX: usize = 200;
const HOUR_MS: i64 = 3_600_000;
const PLANS: [&str; 4] = ["free", "team", "", "Größe <b>\"&'"];

/// What events say of properties, in another way than the rollup goes: key by key, each with a query of its own.
const PLAIN: &str = "
    drop table if exists said, named, plain;
    create temporary table said as
    select date_trunc('day', occurred_at, 'UTC') as bucket, source, name, key, left(properties ->> key, 200) as value, visitor_id
      from analytics.events e,
           unnest((array(select k from jsonb_object_keys(e.properties) k))[1:200]) as key
     where jsonb_typeof(e.properties) = 'object' and not is_bot and name is not null
       and kind <> all ('{page,engagement,web_vitals,identify,alias,group}') and char_length(key) < 201
       and (properties -> key)::text !~ '^(null|[[{])';
    create index on said (bucket, source, name, key);
    analyze said;
    create temporary table named as
    select keys.bucket, keys.source, keys.name, keys.key, of_value.*, keys.events as of_key
      from (select names.*, of_name.*
              from (select distinct bucket, source, name from said) names,
                   lateral (select key, count(*) as events from said s
                             where (s.bucket, s.source, s.name) = (names.bucket, names.source, names.name)
                             group by key order by count(*) desc, key collate \"C\" limit 50) of_name) keys,
           lateral (select value, count(*) as events, count(distinct visitor_id) as visitors from said s
                     where (s.bucket, s.source, s.name, s.key) = (keys.bucket, keys.source, keys.name, keys.key)
                     group by value order by count(*) desc, value collate \"C\" limit 200) of_value;
    create index on named (bucket, source, name, key, value);
    analyze named;
    create temporary table plain as
    select * from named
    union all
    select keys.bucket, keys.source, keys.name, keys.key, null, rest.*, of_key
      from (select bucket, source, name, key, of_key, sum(events) as told from named group by 1, 2, 3, 4, 5) keys,
           lateral (select count(*) as events, count(distinct visitor_id) as visitors from said s
                     where (s.bucket, s.source, s.name, s.key) = (keys.bucket, keys.source, keys.name, keys.key)
                       and not exists (select from named n
                                        where (n.bucket, n.source, n.name, n.key, n.value) = (s.bucket, s.source, s.name, s.key, s.value))) rest
     where told < of_key";

/// Rows that are in the one and not in the other.
const DIFFERENCES: &str = "
    with kept as (select bucket, source, name, key, value, events, visitors from analytics.properties_daily),
         plain as (select bucket, source, name, key, value, events, visitors from plain)
    (select 'missing', m::text from (select * from plain except all select * from kept) m limit 20)
    union all
    (select 'extra', e::text from (select * from kept except all select * from plain) e limit 20)";

async fn assert_is_plain(database: &TestDatabase, what: &str) {
    database.client.batch_execute(PLAIN).await.expect("computed");
    let differences = database.rows(DIFFERENCES).await;
    assert!(differences.is_empty(), "{what}:\n{}", differences.join("\n"));
}

/// Of a few values nearly always one, of many some often: some in the first two hundred of one day and not of another.
fn order(chance: &mut Chance) -> u64 {
    let of = [3, 40, 400, 1_000][chance.between(0, 3) as usize];
    chance.between(0, of)
}

/// Events with all that may stand in properties, on two sources.
fn events(chance: &mut Chance, count: usize, days_ago: &[i64]) -> Vec<Event> {
    let template = random(chance, 1, &[midnight(1)]).remove(0);
    let mut events = Vec::new();
    for _ in 0..count {
        let day = days_ago[chance.between(0, days_ago.len() as u64 - 1) as usize];
        let at_ms = midnight(day) + chance.between(0, 23) as i64 * HOUR_MS + chance.between(0, 3_000_000) as i64;
        let (kind, name) = match chance.between(0, 19) {
            0 => ("page", Some("buy")),
            1 => ("engagement", Some("buy")),
            2 => ("track", None),
            3..5 => ("click", Some("buy")),
            5..8 => ("track", Some("wide")),
            _ => ("track", Some("buy")),
        };
        let properties = match (name, chance.between(0, 39)) {
            (_, 0) => Value::Null,
            (_, 1) => json!(["a", "list"]),
            (Some("wide"), 2) => wide(chance, 260),
            (Some("wide"), _) => wide(chance, 70),
            _ => json!({
                "plan": PLANS[chance.between(0, 3) as usize],
                "seats": chance.between(1, 3), "price": chance.between(1, 9) as f64 / 4.0, "is_new": chance.happens(50),
                "order": order(chance), "nested": {"a": 1}, "list": [1], "gone": null,
                "long": format!("{}{}", "ü".repeat(CHARS_MAX), chance.between(1, 9)),
                "k".repeat(CHARS_MAX + 1): "too long a key", "\u{1F600}".repeat(CHARS_MAX): "\u{1F600}".repeat(CHARS_MAX),
            }),
        };
        let mut of = template.of;
        of[4] = [Some("DE"), Some("FR"), None][chance.between(0, 2) as usize];
        events.push(Event {
            of,
            at_ms,
            source: if chance.happens(60) { "web" } else { "shop" },
            kind,
            name,
            visitor: (!chance.happens(10)).then(|| format!("v{}", chance.between(0, 40))),
            is_bot: chance.happens(10),
            properties,
            ..template.clone()
        });
    }
    events
}

/// Some of so many keys.
fn wide(chance: &mut Chance, keys: u64) -> Value {
    let mut properties = Map::new();
    for key in 0..keys {
        if keys > PROPERTIES_MAX as u64 || chance.happens(20 + key) {
            properties.insert(format!("key{key}"), json!(chance.between(0, 2)));
        }
    }
    Value::Object(properties)
}

/// As the page shows it: the property, its lines (value, events, visitors), and how many events have other values.
type OfKey = (String, Vec<(String, String, String)>, Option<(String, bool)>);

fn shown(page: &str) -> Vec<OfKey> {
    let part = |key: &str| {
        let (name, rest) = key.split_once("</code>").expect("an end");
        let (list, after) = rest.split_once("</ol>").expect("a list");
        let line = |line: &str| {
            let (_, title) = line.split_once("title=\"").expect("a title");
            let (title, _) = title.split_once('"').expect("an end");
            let (value, visitors) = title.rsplit_once(": ").expect("visitors");
            let (_, count) = line.split_once("class=\"number\">").expect("a number");
            let (count, _) = count.split_once('<').expect("an end");
            (text(&format!("<i>{value}</i>")), count.to_owned(), visitors.trim_end_matches(" visitors").to_owned())
        };
        let more = after.split("class=\"ranked-head\"").next().and_then(|after| after.split_once(">and "));
        let more = more.filter(|(before, _)| before.len() < 40).map(|(_, more)| {
            let (count, rest) = more.split_once(" with other values").expect("how many");
            (
                count.to_owned(),
                rest.starts_with(". A value counts on days on which it was among the 200 most frequent."),
            )
        });
        (text(&format!("<i>{name}")), list.split("<li>").skip(1).map(line).collect(), more)
    };
    page.split("by <code>").skip(1).map(part).collect()
}

/// The same of these events, each with its day, or its visit's, by the definition of docs/dashboard.md: of a day and source so many keys,
/// and so many values of each.
fn expected(events: &[(i64, &Event)], keys_max: usize, values_max: usize) -> Vec<OfKey> {
    type Values<'e> = BTreeMap<String, (usize, BTreeSet<&'e str>)>;
    // Events with the key, those whose value has no row, and events and visitors of the others.
    type Sums<'v> = (usize, usize, BTreeMap<&'v str, (usize, usize)>);
    let mut days: BTreeMap<(i64, &str, &str), Values<'_>> = BTreeMap::new();
    for (day, event) in events {
        let mut keys: Vec<_> = event.properties.as_object().into_iter().flatten().collect();
        keys.sort_by_key(|(key, _)| (key.len(), *key));
        for (key, value) in keys.into_iter().take(PROPERTIES_MAX) {
            let value = match value {
                Value::String(text) => text.chars().take(CHARS_MAX).collect(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => continue,
            };
            if key.chars().count() > CHARS_MAX {
                continue;
            }
            let values = days.entry((*day, event.source, key)).or_default();
            let (count, visitors) = values.entry(value).or_default();
            *count += 1;
            visitors.extend(event.visitor.as_deref());
        }
    }
    // Of a day and source the keys of most events.
    let mut of_days: BTreeMap<(i64, &str), Vec<(usize, &str)>> = BTreeMap::new();
    for ((day, source, key), values) in &days {
        let count = values.values().map(|(count, _)| count).sum();
        of_days.entry((*day, source)).or_default().push((count, key));
    }
    let mut keys: BTreeMap<&str, Sums<'_>> = BTreeMap::new();
    for ((day, source), mut of_day) in of_days {
        of_day.sort_by_key(|(count, key)| (usize::MAX - count, *key));
        for (count, key) in of_day.into_iter().take(keys_max) {
            let (all, untold, sums) = keys.entry(key).or_default();
            *all += count;
            let mut values: Vec<_> = days[&(day, source, key)].iter().collect();
            values.sort_by_key(|(value, (count, _))| (usize::MAX - count, *value));
            for (place, (value, (count, visitors))) in values.into_iter().enumerate() {
                if place < values_max {
                    let (events, of) = sums.entry(value).or_default();
                    (*events, *of) = (*events + count, *of + visitors.len());
                } else {
                    *untold += count;
                }
            }
        }
    }
    let mut keys: Vec<_> = keys.into_iter().collect();
    keys.sort_by_key(|(key, (all, ..))| (usize::MAX - all, *key));
    let of_key = |(key, (all, untold, sums)): (&str, Sums<'_>)| {
        let mut values: Vec<_> = sums.into_iter().collect();
        values.sort_by_key(|(value, (count, _))| (usize::MAX - count, *value));
        values.truncate(10);
        let more = all - values.iter().map(|(_, (count, _))| count).sum::<usize>();
        let line = |(value, (count, visitors)): (&str, (usize, usize))| {
            (value.trim().to_owned(), grouped(count), grouped(visitors))
        };
        let more = (more > 0).then(|| (grouped(more), untold > 0));
        (key.to_owned(), values.into_iter().map(line).collect(), more)
    };
    keys.into_iter().take(10).map(of_key).collect()
}

async fn check_pages(person: &Person, events: &[Event], periods: &[(i64, i64)]) {
    let today = event_day(&Event { at_ms: midnight(0), ..events[0].clone() });
    for &(first, last) in periods {
        let period = format!("period=custom&from={}&to={}", date(first), date(last));
        for source in [None, Some("web"), Some("shop")] {
            for name in ["buy", "wide"] {
                let is_meant = |event: &&Event| {
                    (today - first..=today - last).contains(&event_day(event))
                        && source.is_none_or(|source| event.source == source)
                        && event.name == Some(name)
                        && is_ones_own(event)
                        && !event.is_bot
                };
                let of_source = source.map_or_else(String::new, |source| format!("&source={source}"));
                let url = format!("/dashboard?{period}{of_source}&event={name}");
                let found = shown(&person.page(&url).await.text());
                let meant: Vec<_> = events.iter().filter(is_meant).map(|event| (event_day(event), event)).collect();
                let expected = expected(&meant, KEYS_MAX, VALUES_MAX);
                assert_eq!(found, expected, "{url}");
                let order = found.iter().find(|(key, ..)| key == "order");
                let is_bounded = order.is_some_and(|(.., more)| matches!(more, Some((_, true))));
                assert!(is_bounded == (name == "buy"), "{url}: {order:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_are_what_the_events_say_within_their_bounds() {
    let (database, collector, _journal) = collector(|_| {}).await;
    make_partitions(&database, &date(12), 13).await;
    let mut chance = Chance::told();
    let mut all = events(&mut chance, 9_000, &[1, 2, 3, 9]);
    with_rollups(&database, &all).await;
    assert_is_plain(&database, "first filling").await;
    let person = Person::new(&database, collector.admin, "alice", false).await;
    check_pages(&person, &all, &[(6, 0), (1, 1)]).await;

    // Late events, and somebody who is gone.
    let late = events(&mut chance, 1_500, &[1, 3, 4]);
    store(&database, &late).await;
    all.extend(late);
    let forget = "with gone as (delete from analytics.events where visitor_id = 'v7' returning occurred_at)
        insert into weir.touched (hours) select array_agg(distinct date_trunc('hour', occurred_at, 'UTC')) from gone";
    database.client.batch_execute(forget).await.expect("deleted");
    all.retain(|event| event.visitor.as_deref() != Some("v7"));
    settle(&engine(&database).await).await;
    assert_is_plain(&database, "late events and a deletion").await;
    // Other days: answers are kept for a while.
    check_pages(&person, &all, &[(9, 0), (5, 1), (3, 3)]).await;

    // With a filter every value of the visits counts, and the page says so by saying nothing. Without visits and events, there is nothing but
    // what is packed; then nothing is.
    let of_visits = visits(&all);
    let rename = async |from: &str, to: &str| {
        let sql = format!("alter table analytics.{from} rename to {to}");
        database.client.batch_execute(&sql).await.expect("renamed");
    };
    rename("sessions", "sessions_kept").await;
    rename("events", "events_kept").await;
    check_filtered(&person, &all, &of_visits, (9, 1)).await;
    rename("sessions_kept", "sessions").await;
    rename("events_kept", "events").await;
    let gone = "delete from analytics.filtered_daily where key = '\\x02' and bucket = (select max(bucket) from analytics.filtered_daily)";
    assert!(database.client.execute(gone, &[]).await.expect("deleted") > 0);
    check_filtered(&person, &all, &of_visits, (9, 0)).await;
    collector.stop().await;
}

/// Pages of one event with filters, of so many days.
async fn check_filtered(person: &Person, all: &[Event], visits: &[Visit], (first, last): (i64, i64)) {
    let today = midnight(0) / DAY_MS;
    for (name, filters) in [
        ("buy", vec![("event", "buy")]),
        ("buy", vec![("event", "wide"), ("country", "DE")]),
        ("wide", vec![("event", "buy"), ("entry", "/nowhere")]),
        ("wide", vec![("event", "wide")]),
    ] {
        for source in [None, Some("shop")] {
            let is_meant = |visit: &&Visit| {
                (today - first..=today - last).contains(&visit.day())
                    && source.is_none_or(|source| visit.source == source)
                    && filters.iter().all(|(name, value)| visit.values(name).iter().any(|found| found == value))
            };
            let kept: Vec<Visit> = visits.iter().filter(is_meant).cloned().collect();
            let mut meant = within(all, &kept);
            meant.retain(|(_, event)| event.name == Some(name) && is_ones_own(event) && !event.is_bot);
            let of = filters.iter().map(|(name, value)| format!("&f.{name}={value}")).collect::<String>();
            let of_source = source.map_or_else(String::new, |source| format!("&source={source}"));
            let url =
                format!("/dashboard?period=custom&from={}&to={}{of_source}&event={name}{of}", date(first), date(last));
            let found = shown(&person.page(&url).await.text());
            assert_eq!(found, expected(&meant, usize::MAX, usize::MAX), "{url}");
            assert_eq!(found.is_empty(), of.contains("nowhere"), "{url}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_visit_of_many_large_properties_the_first_are_packed() {
    const BYTES_MAX: usize = 128 * 1024;
    let (database, collector, _journal) = collector(|_| {}).await;
    make_partitions(&database, &date(2), 3).await;
    let template = Event { is_bot: false, ..random(&mut Chance::told(), 1, &[midnight(1)]).remove(0) };
    let event = |at: i64, name, visitor: &str, properties| Event {
        at_ms: midnight(1) + HOUR_MS + at * 1_000,
        source: "web",
        kind: "track",
        name: Some(name),
        visitor: Some(visitor.to_owned()),
        properties,
        ..template.clone()
    };
    // Three fit, and the fourth does not; of small ones a thousand.
    let large = "x".repeat(BYTES_MAX / 3 - 100);
    let mut events: Vec<Event> =
        (1..=5).map(|at| event(at, "large", "v1", json!({"n": at, "text": large.as_str()}))).collect();
    events.extend((1..=1_005).map(|at| event(at, "small", "v2", json!({"last": at > 1_000}))));
    with_rollups(&database, &events).await;
    let person = Person::new(&database, collector.admin, "alice", false).await;
    let found = async |name: &str| {
        let url = format!("/dashboard?period=yesterday&event={name}&f.event={name}");
        shown(&person.page(&url).await.text())
    };
    let line = |value: &str, count: &str| (value.to_owned(), count.to_owned(), "1".to_owned());
    let of_n = found("large").await.into_iter().find(|(key, ..)| key == "n").expect("a property");
    assert_eq!(of_n.1, [line("1", "1"), line("2", "1"), line("3", "1")]);
    assert_eq!(found("small").await, [("last".to_owned(), vec![line("false", "1,000")], None)]);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_puts_ids_into_keys_gets_a_bounded_table() {
    let database = TestDatabase::new().await;
    let engine = engine(&database).await;
    make_partitions(&database, "2026-11-18", 2).await;
    // 700 keys of 14 names, each with more than 200 values on one day; the other day, and the other source, are as ever, but for the
    // longest texts that there can be, which no compression makes shorter.
    let sql = "insert into analytics.events (event_id, occurred_at, received_at, source, kind, name, visitor_id, is_bot, properties)
        select gen_random_uuid(), timestamptz '2026-11-18 10:00Z', now(), 'web', 'track', 'id ' || name, 'v' || n % 7, false,
               (select jsonb_object_agg('key ' || key, n * key) from generate_series(1, 60) key)
          from generate_series(1, 14) name, generate_series(1, 210 + name % 5) n
        union all
        select gen_random_uuid(), timestamptz '2026-11-19 10:00Z', now(), 'shop', 'track', left(long, 512), 'v', false,
               jsonb_build_object(wide, wide)
          from (select string_agg(md5(n::text), '') as long, string_agg(chr(65536 + abs(hashint4(n)) % 60000), '') as wide
                  from generate_series(1, 200) n) texts
        union all
        select gen_random_uuid(), day, now(), source, 'track', 'signup', 'v', false, '{\"plan\": \"free\"}'
          from (values (timestamptz '2026-11-18 11:00Z', 'shop'), ('2026-11-19 11:00Z', 'web')) v (day, source)";
    database.client.batch_execute(sql).await.expect("stored");
    touch_all(&database).await;
    super::define_shipped(&engine).await;
    settle(&engine).await;
    let kept = "select source || ' ' || bucket::date, count(*), count(*) filter (where value is null) from analytics.properties_daily
                 group by 1 order by 1";
    let found = database.rows(&format!("set timezone = 'UTC'; {kept}")).await;
    // 497 keys of 201 rows each.
    assert_eq!(found, ["shop 2026-11-18|1|0", "shop 2026-11-19|1|0", "web 2026-11-18|99897|497", "web 2026-11-19|1|0"]);
    database.client.batch_execute(PLAIN).await.expect("computed");
    // The keys of most events, by plain SQL: those that, with all before them, have so many rows.
    let bound = format!(
        "create temporary table keys as
         select bucket, source, name, key, of_key, count(*) as rows from plain group by bucket, source, name, key, of_key;
         delete from plain p
          using keys k
          where (p.bucket, p.source, p.name, p.key) = (k.bucket, k.source, k.name, k.key)
            and (select sum(rows) from keys o
                  where (o.bucket, o.source) = (k.bucket, k.source)
                    and (-o.of_key, o.name collate \"C\", o.key collate \"C\") <= (-k.of_key, k.name, k.key)) > {ROWS_MAX}"
    );
    database.client.batch_execute(&bound).await.expect("deleted");
    let differences = database.rows(DIFFERENCES).await;
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
