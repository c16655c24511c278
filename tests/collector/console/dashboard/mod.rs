//! The dashboard: every number on it beside what events say, and who sees which.

mod expected;
mod numbers;
mod properties;
mod shown;

use serde_json::Value;
use weir::database::Database;
use weir::rollup::library::Library;

use crate::support::browser;
use crate::support::chance::Chance;
use crate::support::http::{self, Answer};
use crate::support::people::Person;
use crate::support::rollups::{define, engine, make_partitions, settle};
use crate::support::visits::{DAY_MS, Event, Visit, random, store, visitors, visits};
use crate::support::{TestCollector, TestDatabase, collector};
use expected::{expected_figures, grouped};
use shown::{chart, figures};

/// Midnight, so many days ago.
fn midnight(days_ago: i64) -> i64 {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    (now_ms.div_euclid(DAY_MS) - days_ago) * DAY_MS
}

fn date(days_ago: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(midnight(days_ago)).expect("a moment");
    at.strftime("%Y-%m-%d").to_string()
}

async fn define_shipped(engine: &Database) {
    define(engine, &Library { dir: "/nowhere".into(), with_shipped: true }).await;
}

async fn with_rollups(database: &TestDatabase, events: &[Event]) {
    let engine = engine(database).await;
    store(database, events).await;
    define_shipped(&engine).await;
    settle(&engine).await;
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
    let event = |at: i64, visitor: String, browser| {
        let mut of = template.of;
        of[7] = Some(browser);
        Event { at_ms: at, kind: "page", visitor: Some(visitor), is_bot: false, of, ..template.clone() }
    };
    let mut events: Vec<Event> = moments
        .into_iter()
        .flat_map(|(at, count)| (0..count).map(move |n| (at, n)))
        .map(|(at, n)| event(at + n, format!("{at} {n}"), if n == 0 { "Firefox" } else { "Chrome" }))
        .collect();
    // One who had been here earlier, by another browser, and later came again: one visitor, of three visits.
    let returning = format!("{} 1", moments[0].0);
    events.push(event(moments[0].0 - 50 * minute, returning.clone(), "Firefox"));
    events.push(event(moments[0].0 + 60 * minute, returning, "Chrome"));
    events.sort_by_key(|event| event.at_ms);
    with_rollups(&database, &events).await;
    let person = Person::new(&database, collector.admin, "alice", false).await;
    let all = visits(&events);
    for browser in [None, Some("Chrome"), Some("Firefox")] {
        let filter = browser.map_or_else(String::new, |browser| format!("&f.browser={browser}"));
        let page = person.page(&format!("/dashboard?period=today{filter}")).await.text();
        let is_meant = |visit: &&Visit| browser.is_none_or(|browser| visit.of[7] == Some(browser));
        let kept: Vec<&Visit> = all.iter().filter(is_meant).collect();
        let within =
            |from: i64, until: i64| kept.iter().copied().filter(move |visit| (from..until).contains(&visit.start_ms));
        let shown = figures(&page);
        let change = |now: usize, before: usize| {
            let percent = (now as f64 / before as f64 - 1.0) * 100.0;
            match percent {
                _ if before == 0 => String::new(),
                0.0 => "±0.0 %".to_owned(),
                percent => format!("{percent:+.0} %").replace('-', "−"),
            }
        };
        let (today, before) = (within(midnight(0), i64::MAX), within(midnight(1), now_ms - DAY_MS));
        let (now, then) = (today.clone().count(), before.clone().count());
        assert_eq!(shown[1], (grouped(now), change(now, then)), "visits of {browser:?}");
        let (now, then) = (visitors(today), visitors(before));
        assert_eq!(shown[0], (grouped(now), change(now, then)), "visitors of {browser:?}");
        // The other day is drawn whole, each hour with its visitors.
        let of_hour =
            |hour: i64| visitors(within(midnight(1) + hour * 60 * minute, midnight(1) + (hour + 1) * 60 * minute));
        let drawn: Vec<Option<f64>> = (0..24).map(|hour| Some(of_hour(hour) as f64)).collect();
        assert_eq!(chart(&page)[1], drawn, "hours of {browser:?}");
    }
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
async fn filters_are_read_from_what_is_packed_and_what_is_not_from_the_visits() {
    let (database, collector, _journal, all) = two_sources().await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let page = async |filters: &str| alice.page(&format!("/dashboard?period=30d{filters}")).await.text();
    let values = |page: &str| -> Vec<String> { figures(page).into_iter().map(|(value, _)| value).collect() };
    let expected = |wanted: &[(&str, &str)]| {
        let has = |visit: &Visit, name: &str, value: &str| visit.values(name).iter().any(|found| found == value);
        let is_meant = |visit: &&Visit| wanted.iter().all(|(name, value)| has(visit, name, value));
        expected_figures(&all.iter().filter(is_meant).collect::<Vec<_>>())
    };
    let sql = async |sql: &str| database.client.batch_execute(sql).await.expect("changed");

    // Without visits there is nothing but what is packed.
    sql("alter table analytics.sessions rename to sessions_kept").await;
    assert_eq!(values(&page("&f.country=DE").await), expected(&[("country", "DE")]));
    let both = "&f.country=DE&f.browser=Chrome&f.page=/blog";
    let of_both = expected(&[("country", "DE"), ("browser", "Chrome"), ("page", "/blog")]);
    assert_eq!(values(&page(both).await), of_both);
    // Which is another answer than each alone.
    assert_ne!(of_both, expected(&[("country", "DE"), ("browser", "Chrome")]));
    assert_ne!(of_both, expected(&[("page", "/blog")]));

    // The key of a page, as the module says that it is made; of one day it is left out, and the visits themselves are counted.
    sql("update analytics.filtered_daily set is_whole = false where key = ''").await;
    let left_out = "delete from analytics.filtered_daily
                     where key = substring(sha256('page' || '\\x00'::bytea || '/blog') for 16)
                       and bucket = (select max(bucket) - interval '3 days' from analytics.filtered_daily)";
    assert!(database.client.execute(left_out, &[]).await.expect("deleted") > 0);
    assert_eq!(values(&page("&f.page=/blog").await), expected(&[("page", "/blog")]));
    // What nobody ever had is not left out.
    assert!(page("&f.page=/nowhere").await.contains("No visit is left by these filters."));
    assert!(page("&f.page=/nowhere&f.country=DE").await.contains("No visit is left by these filters."));
    // Nonsense is not believed, and neither is a part without its visits.
    sql("alter table analytics.sessions_kept rename to sessions; update analytics.filtered_daily set figures = '\\x0102' where figures is not null").await;
    assert_eq!(values(&page("&f.os=Linux").await), expected(&[("os", "Linux")]));
    sql("delete from analytics.filtered_daily where length(key) = 2").await;
    let two = [("os", "Linux"), ("country", "DE")];
    assert_eq!(values(&page("&f.os=Linux&f.country=DE").await), expected(&two));
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rollups_it_says_how_far_they_are_and_without_events_what_to_do() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let page = alice.page("/dashboard").await.text();
    assert!(page.contains("<code>rollup.concurrency</code> is 0"), "{page}");
    assert!(page.contains("This is read from the rollup visits_daily, which is not there."), "{page}");
    let page = alice.page("/dashboard?event=signup").await.text();
    assert!(page.contains("This is read from the rollup properties_daily, which is not there."), "{page}");
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
