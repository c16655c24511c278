//! The snippet beside other products' trackers, as published: one page for all of them, and what each counts of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;

use crate::sdk::{ALIAS, start};
use crate::support::{PATIENCE, TestCollector, TestDatabase, browser, tool};

/// A visit takes some eight seconds, most of it waiting for trackers that wait.
const ROUND_TIMEOUT: Duration = Duration::from_secs(150);
/// Enough for a median that does not jump.
const ROUNDS: u32 = 5;

/// What a visit shows: the page, two routes, and by `history.back()` the first of them again.
const VIEWS: &[(&str, i64)] = &[("", 1), ("docs", 1), ("pricing", 2)];
/// Of a tracker that doesn't hear of `popstate`.
const VIEWS_WITHOUT_BACK: &[(&str, i64)] = &[("", 1), ("docs", 1), ("pricing", 1)];
const DEAF_TO_BACK: &[&str] = &["umami"];

/// What a tracker did, as `tests/sdk/trackers.mjs` saw it.
#[derive(Debug, Deserialize)]
struct Tracker {
    name: String,
    /// The first part of the paths that it visited.
    slug: String,
    version: Option<String>,
    visits: i64,
    script_bytes: u64,
    requests: u64,
    bytes_sent: u64,
    /// In its own code and what that called.
    script_ms: Option<f64>,
    /// All tasks of the page's main thread.
    tasks_ms: f64,
}

async fn visit(collector: &TestCollector, rounds: u32) -> Option<Vec<Tracker>> {
    let umami = tool("WEIR_TEST_UMAMI")?;
    let mut program = browser::program("tests/sdk/trackers.mjs")?;
    let program = browser::tell(&mut program, collector).arg(rounds.to_string());
    let program = program.env("WEIR_ALIAS", ALIAS).env("WEIR_TEST_UMAMI", umami);
    let timeout = ROUND_TIMEOUT * if rounds > 1 { 2 * rounds } else { 1 };
    Some(serde_json::from_str(&browser::said(program, timeout).await.out).expect("what was seen"))
}

/// The views of each page by the first part of its path, once a second brings no more.
async fn views(database: &TestDatabase) -> BTreeMap<String, Vec<(String, i64)>> {
    let sql = "select split_part(path, '/', 2), split_part(path, '/', 3), count(*)
               from analytics.page_views group by 1, 2 order by 1, 2";
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut rows = Vec::new();
    while tokio::time::Instant::now() < deadline {
        let now = database.rows(sql).await;
        if !now.is_empty() && now == rows {
            break;
        }
        rows = now;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut views: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
    for row in rows {
        let columns: Vec<&str> = row.split('|').collect();
        let [tracker, page, count] = columns[..] else { panic!("{row}") };
        views.entry(tracker.to_owned()).or_default().push((page.to_owned(), count.parse().expect("a number")));
    }
    views
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tracker_counts_the_same_views_of_a_page() {
    let (database, collector, _journal) = start().await;
    let Some(trackers) = visit(&collector, 1).await else { return };
    assert!(trackers.len() >= 6, "{trackers:?}");
    let views = views(&database).await;
    for tracker in trackers {
        let expected = if DEAF_TO_BACK.contains(&tracker.name.as_str()) { VIEWS_WITHOUT_BACK } else { VIEWS };
        let expected: Vec<_> = expected.iter().map(|(page, count)| ((*page).to_owned(), *count)).collect();
        assert_eq!(views.get(&tracker.slug), Some(&expected), "{}", tracker.name);
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: scripts/compare-trackers"]
async fn compare() {
    let (database, collector, _journal) = start().await;
    let trackers = visit(&collector, ROUNDS).await.expect("all tools are there: scripts/compare-trackers");
    let views = views(&database).await;
    let idle = trackers.iter().find(|tracker| tracker.name == "none").expect("a page without any").tasks_ms;
    let mut table = String::from(
        "| tracker | script, bytes in gzip | page views of 4 | requests | bytes sent | ms in its code | ms more of tasks |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for tracker in trackers.iter().filter(|tracker| tracker.name != "none") {
        let counted: i64 = views.get(&tracker.slug).into_iter().flatten().map(|(_, count)| count).sum();
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let counted = counted as f64 / tracker.visits as f64;
        let name = tracker
            .version
            .as_ref()
            .map_or_else(|| tracker.name.clone(), |version| format!("{} {version}", tracker.name));
        let _ = writeln!(
            table,
            "| {name} | {} | {counted} | {} | {} | {:.1} | {:.1} |",
            tracker.script_bytes,
            tracker.requests,
            tracker.bytes_sent,
            tracker.script_ms.unwrap_or_default(),
            tracker.tasks_ms - idle,
        );
    }
    eprintln!(
        "{ROUNDS} rounds, each once without and once with a profiler; a page without a tracker: {idle:.1} ms of tasks"
    );
    println!("{table}");
    collector.stop().await;
}
