//! The dashboard: every number on it beside what events say, and who sees which.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weir::rollup::library::Library;

use crate::support::browser;
use crate::support::chance::Chance;
use crate::support::http::{self, Answer};
use crate::support::people::Person;
use crate::support::rollups::{define, engine, make_partitions, settle};
use crate::support::visits::{DAY_MS, Event, Visit, event_day, is_ones_own, random, store, visitors, visits, within};
use crate::support::{TestCollector, TestDatabase, collector};

const EVENTS: usize = 4_000;

/// What stands in each row of the page's first table, column by column.
fn rows(page: &str) -> Vec<Vec<String>> {
    let Some((_, body)) = page.split_once("<tbody>") else { return Vec::new() };
    let (body, _) = body.split_once("</tbody>").expect("a table");
    let cells = |row: &str| -> Vec<String> {
        let parts = row.split("<td").skip(1).map(|cell| format!("<td{cell}"));
        parts.map(|cell| text(&cell)).collect()
    };
    body.split("<tr>").skip(1).map(cells).collect()
}

/// A piece of a page without its tags.
fn text(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<').skip(1) {
        text.push_str(part.split_once('>').map_or("", |(_, text)| text));
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&").trim().to_owned()
}

/// The figures at the top, and how each has changed.
fn figures(page: &str) -> Vec<(String, String)> {
    let (_, figures) = page.split_once("<div class=\"figures\">").unwrap_or_else(|| panic!("no figures: {page}"));
    let (figures, _) = figures.split_once("</div>").expect("an end");
    let part = |figure: &str, class: &str| -> String {
        let found = figure.split_once(class).map(|(_, rest)| rest.split_once('>').expect("a tag").1);
        found.map_or_else(String::new, |rest| rest.split('<').next().expect("a text").to_owned())
    };
    figures.split("<a ").skip(1).map(|figure| (part(figure, "figure-value"), part(figure, "figure-change"))).collect()
}

/// What the chart draws: the values of each series.
fn chart(page: &str) -> Vec<Vec<Option<f64>>> {
    let (_, data) = page.split_once("class=\"chart-data\">").expect("a chart");
    let data: Value = serde_json::from_str(data.split("</script>").next().expect("an end")).expect("JSON");
    let series = data["series"].as_array().expect("series");
    series.iter().map(|one| one["values"].as_array().expect("values").iter().map(Value::as_f64).collect()).collect()
}

/// Where its points begin, in seconds since 1970.
fn chart_starts(page: &str) -> Vec<i64> {
    let (_, data) = page.split_once("class=\"chart-data\">").expect("a chart");
    let data: Value = serde_json::from_str(data.split("</script>").next().expect("an end")).expect("JSON");
    data["x"].as_array().expect("places").iter().map(|second| second.as_i64().expect("a number")).collect()
}

fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn duration(ms: f64) -> String {
    let seconds = (ms / 1_000.0).round() as i64;
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3_600, seconds / 60 % 60),
    }
}

fn page_views(visits: &[&Visit]) -> usize {
    visits.iter().map(|visit| visit.pages.len()).sum()
}

fn expected_figures(visits: &[&Visit]) -> Vec<String> {
    let count = visits.len();
    let mut figures = vec![grouped(visitors(visits.iter().copied())), grouped(count), grouped(page_views(visits))];
    if count == 0 {
        return [figures, vec!["–".to_owned(); 3]].concat();
    }
    let bounces = visits.iter().filter(|visit| visit.events == 1).count();
    let ms: i64 = visits.iter().map(|visit| visit.end_ms - visit.start_ms).sum();
    figures.push(format!("{:.1} %", bounces as f64 * 100.0 / count as f64));
    figures.push(duration(ms as f64 / count as f64));
    figures.push(format!("{:.2}", page_views(visits) as f64 / count as f64));
    figures
}

/// The whole list of a dimension, as its page shows it.
fn expected_list(list: &str, visits: &[&Visit]) -> BTreeSet<Vec<String>> {
    let mut by_value: BTreeMap<String, Vec<&Visit>> = BTreeMap::new();
    for visit in visits {
        for value in visit.values(if list == "pages" { "page" } else { list }) {
            by_value.entry(value).or_default().push(visit);
        }
    }
    let row = |(value, visits): (String, Vec<&Visit>)| {
        let mut of = expected_figures(&visits);
        let views = visits.iter().flat_map(|visit| &visit.pages).filter(|path| **path == Some(value.as_str())).count();
        let name = match list {
            "country" => country(&value).to_owned(),
            "region" => {
                value.split_once('/').map(|(code, region)| format!("{region}, {}", country(code))).expect("both")
            }
            _ => value,
        };
        let numbers = match list {
            "pages" => vec![of[0].clone(), of[1].clone(), grouped(views)],
            "entry" => vec![of[1].clone(), of[3].clone()],
            "exit" => vec![of[1].clone()],
            _ => of.drain(..5).collect(),
        };
        [vec![name], numbers].concat()
    };
    by_value.into_iter().map(row).collect()
}

fn country(code: &str) -> &str {
    match code {
        "DE" => "Germany",
        "FR" => "France",
        "US" => "United States",
        other => other,
    }
}

/// Events of one's own by name: how many, and of how many visitors.
fn expected_events(of: &[(i64, &Event)], is_filtered: bool) -> BTreeSet<Vec<String>> {
    let mut by_name: BTreeMap<&str, (usize, BTreeSet<_>)> = BTreeMap::new();
    for (day, event) in of.iter().filter(|(_, event)| is_ones_own(event)) {
        let (count, visitors) = by_name.entry(event.name.expect("a name")).or_default();
        *count += 1;
        // By kind, where all events are counted: a click and an event that share a name are two things that happened.
        let kind = if is_filtered { "" } else { event.kind };
        visitors.extend(event.visitor.as_ref().map(|visitor| (*day, event.source, kind, visitor)));
    }
    by_name
        .into_iter()
        .map(|(name, (count, visitors))| vec![name.to_owned(), grouped(count), grouped(visitors.len())])
        .collect()
}

/// What three of four measurements were no worse than, rounded up.
fn expected_vital(of: &[(i64, &Event)], metric: &str, step: f64, most: f64) -> Option<f64> {
    let vitals = of.iter().filter(|(_, event)| event.kind == "web_vitals");
    let mut values: Vec<f64> = vitals.filter_map(|(_, event)| event.properties[metric].as_f64()).collect();
    values.sort_by(f64::total_cmp);
    let place = (values.len() * 3).div_ceil(4);
    let value = values.get(place.checked_sub(1)?)?.min(most);
    // Hundredths are no binary fractions.
    Some(((value / step) - 1e-9).ceil() * step)
}

/// Midnight, so many days ago.
fn midnight(days_ago: i64) -> i64 {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    (now_ms.div_euclid(DAY_MS) - days_ago) * DAY_MS
}

fn date(days_ago: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(midnight(days_ago)).expect("a moment");
    at.strftime("%Y-%m-%d").to_string()
}

/// One way to look: its query, the days ago on which it begins and ends, and whether a visit is meant.
struct Look {
    query: String,
    first: i64,
    last: i64,
    source: Option<&'static str>,
    filter: Option<(&'static str, &'static str)>,
}

impl Look {
    fn url(&self, more: &str) -> String {
        let source = self.source.map_or_else(String::new, |source| format!("&source={source}"));
        let filter = self.filter.map_or_else(String::new, |(name, value)| {
            let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            format!("&f.{name}={value}")
        });
        format!("/dashboard?{}{source}{filter}{more}", self.query)
    }

    fn has_day(&self, day: i64, shift: i64) -> bool {
        let today = midnight(0) / DAY_MS;
        (today - self.first - shift..=today - self.last - shift).contains(&day)
    }

    fn keeps(&self, visit: &Visit, shift: i64) -> bool {
        self.has_day(visit.day(), shift)
            && self.source.is_none_or(|source| visit.source == source)
            && self.filter.is_none_or(|(name, value)| visit.values(name).iter().any(|found| found == value))
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
    let of: Vec<(i64, &Event)> = if look.filter.is_some() {
        within(events, &kept)
    } else {
        let is_meant = |event: &&Event| {
            !event.is_bot
                && look.has_day(event_day(event), 0)
                && look.source.is_none_or(|source| source == event.source)
        };
        events.iter().filter(is_meant).map(|event| (event_day(event), event)).collect()
    };
    let url = look.url("&panel=events&limit=1000");
    let found: BTreeSet<Vec<String>> = rows(&person.page(&url).await.text()).into_iter().collect();
    assert_eq!(found, expected_events(&of, look.filter.is_some()), "{url}");
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

async fn with_rollups(database: &TestDatabase, events: &[Event]) {
    let engine = engine(database).await;
    store(database, events).await;
    define(&engine, &Library { dir: "/nowhere".into(), with_shipped: true }).await;
    settle(&engine).await;
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
            looks.push(Look { query: query.clone(), first, last, source, filter: None });
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
        looks.push(Look { query: "period=30d".to_owned(), first: 29, last: 0, source: None, filter: Some(filter) });
    }
    looks.push(Look { query: custom(3, 3), first: 3, last: 3, source: Some("shop"), filter: Some(("country", "FR")) });
    for look in &looks {
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
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn today_is_compared_with_as_much_of_yesterday() {
    let (database, collector, _journal) = collector(|_| {}).await;
    make_partitions(&database, &date(3), 3).await;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let minute = 60_000;
    // Ten minutes before and after this time of yesterday, and some minutes ago.
    let moments = [
        (now_ms - DAY_MS - 10 * minute, 4),
        (now_ms - DAY_MS + 10 * minute, 3),
        ((now_ms - 5 * minute).max(midnight(0)), 5),
    ];
    let template = random(&mut Chance::told(), 1, &[midnight(2)]).remove(0);
    let events: Vec<Event> = moments
        .into_iter()
        .flat_map(|(at, count)| (0..count).map(move |n| (at, n)))
        .map(|(at, n)| Event {
            at_ms: at + n,
            kind: "page",
            visitor: Some(format!("{at} {n}")),
            is_bot: false,
            ..template.clone()
        })
        .collect();
    with_rollups(&database, &events).await;
    let person = Person::new(&database, collector.admin, "alice", false).await;
    let page = person.page("/dashboard?period=today").await.text();
    let all = visits(&events);
    let today = all.iter().filter(|visit| visit.start_ms >= midnight(0)).count();
    let before = all.iter().filter(|visit| (midnight(1)..now_ms - DAY_MS).contains(&visit.start_ms)).count();
    let shown = &figures(&page)[1];
    assert_eq!(shown.0, grouped(today));
    let percent = (today as f64 / before as f64 - 1.0) * 100.0;
    let expected = if before == 0 { String::new() } else { format!("{percent:+.0} %").replace('-', "−") };
    assert_eq!(shown.1, expected, "{today} after {before}");
    // The other day is drawn whole.
    let yesterday = all.iter().filter(|visit| (midnight(1)..midnight(0)).contains(&visit.start_ms)).count();
    let drawn: f64 = chart(&page)[1].iter().flatten().sum();
    assert_eq!(drawn as usize, yesterday);
    collector.stop().await;
}

/// A database with visits on two sources in the last days, and somebody who looks.
async fn two_sources() -> (TestDatabase, TestCollector, tempfile::TempDir, Vec<Visit>) {
    let (database, collector, journal) = collector(|_| {}).await;
    make_partitions(&database, &date(10), 10).await;
    let midnights: Vec<i64> = (1..=8).map(midnight).collect();
    let events = random(&mut Chance::told(), 600, &midnights);
    with_rollups(&database, &events).await;
    let all = visits(&events);
    (database, collector, journal, all)
}

fn shared(answer: &Answer) -> String {
    let location = answer.header("location").unwrap_or_else(|| panic!("{}", answer.text()));
    let id = location.split_once("&link=").expect("a link").1;
    format!("/shared/{id}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_shows_one_source_and_nothing_else() {
    let (database, collector, _journal, all) = two_sources().await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let bob = Person::new(&database, collector.admin, "bob", false).await;
    let olga = Person::new(&database, collector.admin, "olga", true).await;
    let fields = [("source", "web"), ("f.country", "DE"), ("name", "Agency <i>"), ("until", "30d"), ("period", "7d")];
    let made = alice.submit("/dashboard/links", &fields).await;
    assert_eq!(made.status, 303, "{}", made.text());
    let link = shared(&made);
    let told = alice.page(made.header("location").expect("a page")).await.text();
    assert!(told.contains(&link) && told.contains("data-open-now"), "the link is told to whom made it");

    let open = async |query: &str| http::get(collector.admin, &format!("{link}{query}"), &["accept: text/html"]).await;
    let expected = |days: i64| -> Vec<String> {
        let first = midnight(days - 1) / DAY_MS;
        let is_meant = |visit: &&Visit| visit.source == "web" && visit.of[4] == Some("DE") && visit.day() >= first;
        expected_figures(&all.iter().filter(is_meant).collect::<Vec<_>>())
    };
    let values = |page: &str| -> Vec<String> { figures(page).into_iter().map(|(value, _)| value).collect() };
    let page = open("").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("x-robots-tag"), Some("noindex, nofollow"));
    assert_eq!(values(&page.text()), expected(30));
    for query in ["?source=shop", "?source=", "?f.country=FR", "?f.page=/", "?f.country=", "?event=signup"] {
        let other = open(query).await.text();
        assert_eq!(values(&other), expected(30), "{query}: the link's own");
        assert!(!other.contains("by <code>plan</code>"), "{query}: properties are for colleagues");
    }
    assert_eq!(values(&open("?period=7d").await.text()), expected(7), "the period is the viewer's");
    for query in ["", "?panel=pages", "?panel=events&limit=1000", "?period=custom&from=2026-01-01&to=2025-01-01"] {
        let text = open(query).await.text();
        for secret in ["shop", "<header class=\"bar\"", "/sql", "csrf", "name=\"source\"", "Agency <i>", &alice.role] {
            assert!(!text.contains(secret), "{query} has {secret}");
        }
    }
    let all_of_it = http::get(collector.admin, "/dashboard?source=web", &["accept: text/html"]).await;
    assert_eq!(
        (all_of_it.status, all_of_it.header("location")),
        (303, Some("/sign-in?next=%2Fdashboard%3Fsource%3Dweb"))
    );
    for wrong in ["/shared/x", "/shared/%00", "/shared/%27%20or%20true"] {
        assert_eq!(http::get(collector.admin, wrong, &["accept: text/html"]).await.status, 404, "{wrong}");
    }

    // Who may take it back.
    let id = link.trim_start_matches("/shared/");
    assert!(bob.page("/dashboard").await.text().contains(&link), "colleagues see which links there are");
    assert_eq!(bob.submit("/dashboard/links/remove", &[("link", id)]).await.status, 403);
    assert_eq!(open("").await.status, 200);
    assert_eq!(olga.submit("/dashboard/links/remove", &[("link", id)]).await.status, 303);
    assert_eq!(open("").await.status, 404);
    let audit = database
        .rows("select role, action, detail from console.audit where action like '%dashboard%' order by 1")
        .await;
    assert_eq!(audit.len(), 2, "{audit:?}");
    assert!(audit[0].contains("made a link: \"Agency <i>\" of web {\"country\":\"DE\"}"), "{audit:?}");
    assert!(audit.iter().all(|line| !line.contains(id)), "who reads the audit cannot open what was shared");

    let forged = http::post(
        collector.admin,
        "/dashboard/links",
        &[
            &format!("cookie: {}", alice.cookie),
            "origin: http://test",
            "content-type: application/x-www-form-urlencoded",
        ],
        b"name=x",
    )
    .await;
    assert_eq!(forged.status, 403, "without the page's token");

    // Filters that a later version keeps, and an end that has come.
    let link = shared(&alice.submit("/dashboard/links", &[("name", "x"), ("source", "web")]).await);
    let get = async || http::get(collector.admin, &link, &["accept: text/html"]).await.status;
    assert_eq!(get().await, 200);
    database
        .client
        .batch_execute("update console.dashboard_links set filters = '{\"planet\": \"mars\"}'")
        .await
        .expect("set");
    assert_eq!(get().await, 404, "what is not understood is not left out");
    let over = "update console.dashboard_links set filters = '{}', expires_at = now() - interval '1 s'";
    database.client.batch_execute(over).await.expect("set");
    assert_eq!(get().await, 404, "it is over");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panel_that_fails_says_so_and_the_others_are_there() {
    let (database, collector, _journal, all) = two_sources().await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    // As slow as a table of years: each row takes a moment.
    database
        .client
        .batch_execute(
            "alter table analytics.pages_daily rename to pages_kept;
             create view analytics.pages_daily as select k.* from analytics.pages_kept k, pg_sleep(20);
             alter table analytics.events_daily rename to events_kept",
        )
        .await
        .expect("changed");
    let page = alice.page("/dashboard?period=7d").await;
    assert_eq!(page.status, 200);
    let text = page.text();
    assert!(text.contains("This took longer than 5 s: choose a shorter period."), "{text}");
    assert!(text.contains("This could not be read."), "{text}");
    let first = midnight(6) / DAY_MS;
    let kept: Vec<&Visit> = all.iter().filter(|visit| visit.day() >= first).collect();
    let values: Vec<String> = figures(&text).into_iter().map(|(value, _)| value).collect();
    assert_eq!(values, expected_figures(&kept));
    assert!(text.contains("Firefox"), "the other panels are there");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rollups_it_says_how_far_they_are_and_without_events_what_to_do() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let page = alice.page("/dashboard").await.text();
    assert!(page.contains("<code>rollup.concurrency</code> is 0"), "{page}");
    assert!(page.contains("This is read from the rollup visits_daily, which is not there."), "{page}");
    collector.stop().await;
    drop(database);

    let (database, collector, _journal) = crate::support::collector(|_| {}).await;
    make_partitions(&database, &date(3), 3).await;
    let engine = engine(&database).await;
    store(&database, &random(&mut Chance::told(), 100, &[midnight(1), midnight(2)])).await;
    define(&engine, &Library { dir: "/nowhere".into(), with_shipped: true }).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let page = alice.page("/dashboard").await.text();
    assert!(page.contains("sessions has ") && page.contains(" days to go"), "{page}");
    assert!(page.contains("are still to be computed"), "nothing is shown that is not all: {page}");
    collector.stop().await;
    drop(database);

    let (database, collector, _journal) = crate::support::collector(|_| {}).await;
    with_rollups(&database, &[]).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let page = alice.page("/dashboard").await.text();
    assert!(page.contains("No page view has come yet") && page.contains("data-key="), "{page}");
    collector.stop().await;
}

/// `WEIR_TEST_SCREENSHOTS` is a directory for what it looks like.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_it_is_for_people() {
    let Some(mut program) = browser::program("console/dashboard.mjs") else { return };
    let (database, collector, _journal, all) = two_sources().await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    program.args([
        "--admin",
        &format!("http://{}", collector.admin),
        "--cookie",
        &alice.cookie,
        "--country",
        "Germany",
    ]);
    if let Some(dir) = std::env::var_os("WEIR_TEST_SCREENSHOTS") {
        program.arg("--screenshots").arg(dir);
    }
    let said = browser::said(&mut program, browser::TIMEOUT).await;
    let seen: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.out));
    let count = |is_meant: &dyn Fn(&Visit) -> bool| grouped(all.iter().filter(|visit| is_meant(visit)).count());
    let (first, yesterday) = (midnight(6) / DAY_MS, midnight(1) / DAY_MS);
    assert_eq!(seen["all"], count(&|visit| visit.day() >= first));
    assert_eq!(seen["filtered"], count(&|visit| visit.day() >= first && visit.of[4] == Some("DE")));
    assert_eq!(seen["yesterday"], count(&|visit| visit.day() == yesterday));
    collector.stop().await;
}
