//! The snippet in a real Chromium: a page per behaviour, and the rows that come of it.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::support::{collector, tool};

/// With a start of Chromium.
const BROWSER_TIMEOUT: Duration = Duration::from_secs(90);
/// From the browser's end to the last of its rows.
const ROWS_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn every_behaviour_of_a_page_becomes_its_rows() {
    let (Some(node), Some(_)) = (tool("WEIR_TEST_NODE"), tool("WEIR_TEST_CHROMIUM")) else {
        return;
    };
    let (database, collector, _journal) = collector(|_| {}).await;
    let output = Command::new(node)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/js-snippet/test/pages.mjs"))
        .env("WEIR_URL", format!("http://{}", collector.address))
        .env("WEIR_KEY", &collector.keys.public_key)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(BROWSER_TIMEOUT, output).await.expect("the browser ends").expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // What differs from run to run is left out: an interaction that took less than 16 ms has no INP.
    let sql = "select concat_ws(' ', path, kind, name, user_id,
                 case when visitor_id is null then 'nobody' end,
                 case when name = 'js_error' then properties ->> 'message'
                      when kind in ('engagement', 'web_vitals')
                      then (select string_agg(member, ',' order by member) from jsonb_object_keys(properties) member
                            where member <> 'inp')
                      else regexp_replace(properties::text, ':[0-9]+/', '/') end)
               from analytics.events order by 1";
    let deadline = tokio::time::Instant::now() + ROWS_WITHIN;
    let mut rows: Vec<String> = Vec::new();
    while tokio::time::Instant::now() < deadline {
        let now = database.rows(sql).await;
        if !now.is_empty() && now.len() == rows.len() && now.iter().any(|row| row.contains("web_vitals")) {
            break;
        }
        rows = now;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    insta::assert_snapshot!(rows.join("\n"));
    collector.stop().await;
}
