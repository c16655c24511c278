//! Every number, of every panel, with every filter.

use std::collections::{BTreeMap, BTreeSet};

use super::expected::{expected_events, expected_figures, expected_list, expected_vital, grouped};
use super::shown::{chart, chart_starts, figures, rows, text};
use super::{date, midnight, with_rollups};
use crate::support::chance::Chance;
use crate::support::people::Person;
use crate::support::rollups::{engine, make_partitions, settle};
use crate::support::visits::{DAY_MS, Event, Visit, event_day, is_ones_own, random, store, visitors, visits, within};
use crate::support::{TestCollector, collector};

const EVENTS: usize = 4_000;

/// One way to look: its query, the days ago on which it begins and ends, and whether a visit is meant.
struct Look {
    query: String,
    first: i64,
    last: i64,
    source: Option<&'static str>,
    filters: Vec<(&'static str, &'static str)>,
}

impl Look {
    fn url(&self, more: &str) -> String {
        let source = self.source.map_or_else(String::new, |source| format!("&source={source}"));
        let filters = self.filters.iter().map(|(name, value)| {
            let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            format!("&f.{name}={value}")
        });
        format!("/dashboard?{}{source}{}{more}", self.query, filters.collect::<String>())
    }

    fn has_day(&self, day: i64, shift: i64) -> bool {
        let today = midnight(0) / DAY_MS;
        (today - self.first - shift..=today - self.last - shift).contains(&day)
    }

    fn keeps(&self, visit: &Visit, shift: i64) -> bool {
        self.has_day(visit.day(), shift)
            && self.source.is_none_or(|source| visit.source == source)
            && self.filters.iter().all(|(name, value)| visit.values(name).iter().any(|found| found == value))
    }
}

async fn check(person: &Person, look: &Look, events: &[Event], all: &[Visit]) {
    let url = look.url("&compare=previous");
    let page = person.page(&url).await.text();
    let kept: Vec<&Visit> = all.iter().filter(|visit| look.keeps(visit, 0)).collect();
    let days = look.first - look.last + 1;
    let before: Vec<&Visit> = all.iter().filter(|visit| look.keeps(visit, days)).collect();
    if kept.is_empty() {
        return;
    }
    let shown = figures(&page);
    let values: Vec<String> = shown.iter().map(|(value, _)| value.clone()).collect();
    assert_eq!(values, expected_figures(&kept), "{url}");
    let (now, then) = (visitors(kept.iter().copied()) as f64, visitors(before.iter().copied()) as f64);
    let percent = (now - then) / then * 100.0;
    let change = match percent {
        _ if then == 0.0 => String::new(),
        0.0 => "±0.0 %".to_owned(),
        percent if percent.abs() < 10.0 => format!("{percent:+.1} %").replace('-', "−"),
        percent => format!("{percent:+.0} %").replace('-', "−"),
    };
    assert_eq!(shown[0].1, change, "{url}: {now} after {then}");

    let chart = chart(&page);
    assert_eq!(chart.len(), 2, "{url}");
    if days > 92 {
        // By month: from one beginning to the next.
        let starts = chart_starts(&page);
        assert!(starts.len() > 3, "{url}");
        let ends = starts.iter().skip(1).copied().chain([i64::MAX]);
        let expected: Vec<Option<f64>> = starts
            .iter()
            .zip(ends)
            .map(|(start, end)| {
                let is_in = |visit: &&Visit| (*start..end).contains(&(visit.day() * DAY_MS / 1_000));
                Some(visitors(kept.iter().copied().filter(is_in)) as f64)
            })
            .collect();
        assert_eq!(chart[0], expected, "{url}");
    } else if days > 1 {
        for (series, shift) in chart.iter().zip([0, days]) {
            let expected: Vec<Option<f64>> = (look.last..=look.first)
                .rev()
                .map(|ago| {
                    let day = midnight(ago + shift) / DAY_MS;
                    Some(visitors(all.iter().filter(|visit| visit.day() == day && look.keeps(visit, shift))) as f64)
                })
                .collect();
            assert_eq!(*series, expected, "{url}");
        }
    } else {
        let hour = |at: usize| {
            let begins = midnight(look.first) + at as i64 * 3_600_000;
            visitors(kept.iter().copied().filter(|visit| (begins..begins + 3_600_000).contains(&visit.start_ms))) as f64
        };
        let expected: Vec<Option<f64>> = (0..24).map(|at| Some(hour(at))).collect();
        assert_eq!(chart[0], expected, "{url}");
    }

    let mut lists =
        vec!["pages", "entry", "exit", "referrer", "utm_medium", "utm_campaign", "country", "region", "device"];
    lists.extend(["browser", "os"]);
    for list in lists {
        let url = look.url(&format!("&panel={list}&limit=1000"));
        let found: BTreeSet<Vec<String>> = rows(&person.page(&url).await.text()).into_iter().collect();
        assert_eq!(found, expected_list(list, &kept), "{url}");
    }

    let kept: Vec<Visit> = kept.into_iter().cloned().collect();
    let of: Vec<(i64, &Event)> = if look.filters.is_empty() {
        let is_meant = |event: &&Event| {
            !event.is_bot
                && look.has_day(event_day(event), 0)
                && look.source.is_none_or(|source| source == event.source)
        };
        events.iter().filter(is_meant).map(|event| (event_day(event), event)).collect()
    } else {
        within(events, &kept)
    };
    let url = look.url("&panel=events&limit=1000");
    let found: BTreeSet<Vec<String>> = rows(&person.page(&url).await.text()).into_iter().collect();
    assert_eq!(found, expected_events(&of, !look.filters.is_empty()), "{url}");
    check_properties(person, look, &of).await;

    for (metric, name, step, most) in [("lcp", "Largest paint", 10.0, 60_000.0), ("cls", "Layout shift", 0.01, 10.0)] {
        let expected = expected_vital(&of, metric, step, most).map(|value| match metric {
            "cls" => format!("{value:.2}"),
            _ if value < 1_000.0 => format!("{value:.0} ms"),
            _ => format!("{:.1} s", value / 1_000.0),
        });
        let found = page.split_once(&format!("<dt>{name}")).map(|(_, rest)| {
            let (_, value) = rest.split_once("<dd class=\"value\">").expect("a value");
            value.split('<').next().expect("an end").to_owned()
        });
        assert_eq!(found, expected, "{metric} of {url}");
    }
    assert!(!page.contains("Reaction to input"), "what is no number was never measured");
}

async fn check_properties(person: &Person, look: &Look, of: &[(i64, &Event)]) {
    let page = person.page(&look.url("&event=signup")).await.text();
    let mut by_plan: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, event) in of.iter().filter(|(_, event)| event.name == Some("signup") && is_ones_own(event)) {
        if let Some(plan) = event.properties["plan"].as_str() {
            *by_plan.entry(plan).or_default() += 1;
        }
    }
    let found: BTreeMap<String, String> = page
        .split_once("by <code>plan</code>")
        .map(|(_, rest)| rest.split("</ol>").next().expect("an end"))
        .map(|list| list.split("<li>").skip(1).map(text))
        .into_iter()
        .flatten()
        .map(|line| {
            let (name, count) = line.split_at(line.find(|c: char| c.is_ascii_digit()).expect("a number"));
            (name.to_owned(), count.to_owned())
        })
        .collect();
    let expected: BTreeMap<String, String> =
        by_plan.into_iter().map(|(plan, count)| (plan.to_owned(), grouped(count))).collect();
    assert_eq!(found, expected, "{}", look.url("&event=signup"));
    assert!(!page.contains("by <code>nested</code>"), "only plain values are listed");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_number_is_what_the_events_say() {
    let (database, collector, _journal) = collector(|_| {}).await;
    make_partitions(&database, &date(130), 130).await;
    let mut chance = Chance::told();
    let midnights: Vec<i64> =
        [(1..=12).collect(), vec![29, 30, 31, 58, 59, 60], vec![120]].concat().into_iter().map(midnight).collect();
    let mut events = random(&mut chance, EVENTS, &midnights);
    // Some come when rollups have been computed already.
    let (late, early): (Vec<Event>, Vec<Event>) = events.drain(..).partition(|_| chance.happens(10));
    with_rollups(&database, &early).await;
    store(&database, &late).await;
    settle(&engine(&database).await).await;
    let events = [early, late].concat();
    let all = visits(&events);
    assert!(all.len() > 500 && events.len() >= EVENTS);
    let person = Person::new(&database, collector.admin, "alice", false).await;

    let custom = |first: i64, last: i64| format!("period=custom&from={}&to={}", date(first), date(last));
    let mut looks = Vec::new();
    for (query, first, last) in [
        ("period=30d".to_owned(), 29, 0),
        ("period=7d".to_owned(), 6, 0),
        ("period=yesterday".to_owned(), 1, 1),
        (custom(12, 3), 12, 3),
        (custom(125, 0), 125, 0),
    ] {
        for source in [None, Some("web")] {
            looks.push(Look { query: query.clone(), first, last, source, filters: Vec::new() });
        }
    }
    for filter in [
        ("page", "/docs/a b"),
        ("entry", "/pricing"),
        ("exit", "/"),
        ("referrer", "google.com"),
        ("referrer", "direct"),
        ("utm_source", "newsletter"),
        ("utm_medium", "email"),
        ("utm_campaign", "<b>\"&'"),
        ("country", "DE"),
        ("region", "DE/Bavaria"),
        ("device", "mobile"),
        ("browser", "Firefox"),
        ("os", "iOS"),
        ("event", "signup"),
    ] {
        looks.push(Look { query: "period=30d".to_owned(), first: 29, last: 0, source: None, filters: vec![filter] });
    }
    let of_shop = vec![("country", "FR")];
    looks.push(Look { query: custom(3, 3), first: 3, last: 3, source: Some("shop"), filters: of_shop });
    let several = [
        vec![("country", "DE"), ("browser", "Firefox")],
        vec![("page", "/docs/a b"), ("event", "signup")],
        vec![("country", "DE"), ("device", "mobile"), ("referrer", "direct")],
        vec![("entry", "/pricing"), ("exit", "/pricing")],
    ];
    let several: Vec<Look> = several
        .into_iter()
        .map(|filters| Look { query: "period=30d".to_owned(), first: 29, last: 0, source: None, filters })
        .collect();
    for look in looks.iter().chain(&several) {
        check(&person, look, &events, &all).await;
    }

    // Page views without a visitor are in no visit, and said to be there.
    let without = |event: &&Event| {
        let days = midnight(29) / DAY_MS..=midnight(0) / DAY_MS;
        event.kind == "page" && event.visitor.is_none() && !event.is_bot && days.contains(&event_day(event))
    };
    let count = events.iter().filter(without).count();
    let page = person.page("/dashboard").await.text();
    assert!(
        count > 0 && page.contains(&format!("{} more page views came without a visitor", grouped(count))),
        "{count}"
    );
    let (config, keys) = collector.stop().await;

    // The same from the visits, where they are not packed.
    let unpacked = "update weir.rollups set state = 'building' where name = 'filtered_daily'";
    assert_eq!(database.client.execute(unpacked, &[]).await.expect("changed"), 1);
    let collector = TestCollector::start_with(config, keys).await.expect("starts");
    let person = Person::new(&database, collector.admin, "bob", false).await;
    for look in looks.iter().filter(|look| !look.filters.is_empty()).step_by(4).chain(&several) {
        check(&person, look, &events, &all).await;
    }
    collector.stop().await;
}
