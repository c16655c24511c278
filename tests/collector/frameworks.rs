//! The code of `docs/snippet.md` in the frameworks that it is for: a first view and a route become two rows.

use std::time::Duration;

use serde::Deserialize;

use crate::support::{browser, collector};

/// Building the applications takes most of it.
const TIMEOUT: Duration = Duration::from_secs(420);

/// An application that was visited.
#[derive(Debug, Deserialize)]
struct Visited {
    name: String,
    origin: String,
}

async fn check(names: &[&str], least: usize) {
    let Some(mut program) = browser::program("tests/frameworks/run.mjs") else { return };
    let (database, collector, _journal) = collector(|_| {}).await;
    let said = browser::said(browser::tell(&mut program, &collector).args(names), TIMEOUT).await;
    eprintln!("{}", said.err);
    let visited: Vec<Visited> = serde_json::from_str(&said.out).expect("what was visited");
    assert!(visited.len() >= least, "{visited:?}");
    database.until_stored(i64::try_from(2 * visited.len()).expect("a few")).await;
    for Visited { name, origin } in &visited {
        let sql = format!(
            "select kind, trim(trailing '/' from path), title, count(*), coalesce(max(referrer), '') = '{origin}/' from analytics.events
             where starts_with(url, '{origin}/') group by 1, 2, 3 order by 2"
        );
        // (Astro's links end in a slash or not, as the host serves them.)
        assert_eq!(database.rows(&sql).await, ["page||Home|1|f", "page|/about|About|1|t"], "{name}");
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_docs_code_counts_views_in_frameworks() {
    check(&[], 7).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "builds two applications of Next.js: make test-frameworks"]
async fn the_docs_code_counts_views_in_large_frameworks() {
    check(&["next-module", "next-script"], 2).await;
}
