//! The snippet in a real Chromium: a page per behaviour, and the rows that come of it.

use std::time::Duration;

use serde_json::Value;

use crate::support::{PATIENCE, TestCollector, TestDatabase, browser, collector, tool};

/// Times in ms are cut to whole ones by the snippet.
const VITALS_TOLERANCE_MS: f64 = 1.0;
const CLS_TOLERANCE: f64 = 1e-6;

/// Runs a script of the snippet's tests, with its arguments, with a collector of its own and gives what it said; `None` if this
/// machine cannot.
async fn run(script: &[&str]) -> Option<(TestDatabase, TestCollector, tempfile::TempDir, String)> {
    let (name, arguments) = script.split_first()?;
    let mut program = browser::program(&format!("js-snippet/test/{name}"))?;
    let (database, collector, journal) = collector(|_| {}).await;
    let said = browser::said(browser::tell(&mut program, &collector).args(arguments), browser::TIMEOUT).await;
    Some((database, collector, journal, said.out))
}

/// The rows, once there are `least` and a second brings no more.
async fn rows_at_rest(database: &TestDatabase, sql: &str, least: usize) -> String {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut rows: Vec<String> = Vec::new();
    while tokio::time::Instant::now() < deadline {
        let now = database.rows(sql).await;
        if now.len() >= least && now.len() == rows.len() {
            break;
        }
        rows = now;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    rows.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_behaviour_of_a_page_becomes_its_rows() {
    let Some((database, collector, _journal, _)) = run(&["pages.mjs"]).await else { return };
    // What differs from run to run is left out: an interaction that took less than 16 ms has no INP.
    let sql = "select concat_ws(' ', path, kind, name, user_id,
                 case when visitor_id is null then 'nobody' end,
                 case when name = 'js_error' then properties ->> 'message'
                      when kind in ('engagement', 'web_vitals')
                      then (select string_agg(member, ',' order by member) from jsonb_object_keys(properties) member
                            where member <> 'inp')
                      else regexp_replace(properties::text, ':[0-9]+/', '/') end)
               from analytics.events order by 1";
    insta::assert_snapshot!(rows_at_rest(&database, sql, 35).await);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_come_and_go_count_each_view_once() {
    let Some((database, collector, _journal, _)) = run(&["lifecycle.mjs"]).await else { return };
    let sql = "select concat_ws(' ', path || coalesce('?' || query, ''), kind, name, user_id,
                 'from ' || regexp_replace(referrer, '^http://[^/]*', ''),
                 case when host = 'localhost' then 'on another host' end)
               from analytics.events where kind <> 'web_vitals' order by 1";
    insta::assert_snapshot!(rows_at_rest(&database, sql, 15).await);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_in_a_page_does_it_no_harm() {
    let Some((database, collector, _journal, _)) = run(&["broken.mjs"]).await else { return };
    let sql =
        "select concat_ws(' ', path, string_agg(coalesce(name, kind), ',' order by kind, name)) from analytics.events
               where kind not in ('web_vitals', 'engagement') group by path order by 1";
    insta::assert_snapshot!(rows_at_rest(&database, sql, 16).await);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_layout_is_forced_and_nothing_waits_for_the_snippet() {
    let Some((_database, collector, _journal, _)) = run(&["tasks.mjs"]).await else { return };
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn web_vitals_are_those_of_the_library_that_defines_them() {
    let Some((database, collector, _journal, said)) = run(&["vitals.mjs"]).await else { return };
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let sql = "select properties from analytics.events where kind = 'web_vitals'";
    let row = rows_at_rest(&database, sql, 1).await;
    let row: Value = serde_json::from_str(&row).unwrap_or_else(|error| panic!("one row: {error}: {row}"));
    for name in ["lcp", "cls", "inp", "fcp", "ttfb"] {
        let (theirs, ours) = (said[name].as_f64(), row[name].as_f64());
        let (Some(theirs), Some(ours)) = (theirs, ours) else { panic!("{name}: {said} and {row}") };
        let tolerance = if name == "cls" { CLS_TOLERANCE } else { VITALS_TOLERANCE_MS };
        assert!((theirs - ours).abs() <= tolerance, "{name}: {theirs} by the library, {ours} by the snippet");
        // Each has something to be measured, so that none agrees by being nothing.
        assert!(theirs > 0.0, "{name} of {said}");
    }
    collector.stop().await;
}

/// The main behaviours in another engine than Chromium's, by the rows, which are the same for all.
async fn check_engine(engine: &str, program: &str) {
    if tool(program).is_none() {
        return;
    }
    let Some((database, collector, _journal, said)) = run(&["engines.mjs", engine]).await else { return };
    eprintln!("{engine}: {said}");
    // How often a page is in focus is the engine's own.
    let sql =
        "select concat_ws(' ', path, kind, name, user_id, case when kind <> 'engagement' then 'x' || count(*) end)
               from analytics.events group by path, kind, name, user_id order by path, kind, name, user_id";
    insta::assert_snapshot!("engine", rows_at_rest(&database, sql, 12).await);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Firefox: make test-engines"]
async fn firefox() {
    check_engine("firefox", "WEIR_TEST_FIREFOX").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs WebKitGTK: make test-engines"]
async fn webkit() {
    check_engine("webkit", "WEIR_TEST_WEBKIT_DRIVER").await;
}
