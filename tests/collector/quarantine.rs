//! A row that PostgreSQL refuses costs no other row, is kept with its reason, and can be sent again.

use weir::database::Database;
use weir::flush::quarantine;

use crate::support::{TestCollector, citus, collector, config, http};

const CONSTRAINT: &str = "alter table analytics.events add constraint names_are_short check (length(name) < 10)";

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_set_apart_and_come_back() {
    let (database, collector, _journal) = collector(|_| {}).await;
    database.client.batch_execute(CONSTRAINT).await.expect("added");
    let events: Vec<String> =
        (0..50)
            .map(|n| {
                if n % 10 == 3 {
                    format!(r#"{{"name":"far too long {n}"}}"#)
                } else {
                    format!(r#"{{"name":"ok {n}"}}"#)
                }
            })
            .collect();
    let answer = collector.post(&format!("[{}]", events.join(","))).await;
    assert_eq!(answer.json()["accepted"], 50);
    database.until_stored(45).await;
    database.until_accounted(50, 45, 0, 5).await;
    let rows = database.rows("select distinct source, sqlstate, event::jsonb ->> 'kind' from weir.quarantine").await;
    assert_eq!(rows, ["web|23514|track"]);
    let metrics = http::get(collector.admin, "/metrics", &[]).await.text();
    assert!(metrics.contains(r#"weir_events_total{outcome="quarantined",source="web"} 5"#), "{metrics}");

    let weir = Database::new(&collector.config.database, 1).expect("a valid URL");
    let listed = quarantine::list(&weir, 3).await.expect("listed");
    assert_eq!(listed.len(), 3);
    assert!(listed[0].event.contains("far too long 43"), "{listed:?}");
    assert!(listed[0].message.contains("names_are_short"), "{listed:?}");

    let again = quarantine::replay(&weir, None).await.expect("tried");
    assert_eq!((again.stored, again.refused.len()), (0, 5));
    database
        .client
        .batch_execute("alter table analytics.events drop constraint names_are_short")
        .await
        .expect("dropped");
    let one = quarantine::replay(&weir, Some(listed[0].id)).await.expect("replayed");
    assert_eq!((one.stored, one.refused.len()), (1, 0));
    let rest = quarantine::replay(&weir, None).await.expect("replayed");
    assert_eq!((rest.stored, rest.duplicate), (4, 0));
    database.until_accounted(50, 50, 0, 0).await;
    assert_eq!(database.number("select count(*) from analytics.events").await, 50);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_nothing_but_refused_rows_ends() {
    let (database, collector, _journal) = collector(|_| {}).await;
    database.client.batch_execute(CONSTRAINT).await.expect("added");
    // On other servers each takes some milliseconds.
    let rows = if citus::url().is_some() { 500 } else { 3_000 };
    let events: Vec<String> = (0..rows).map(|n| format!(r#"{{"name":"far too long {n}"}}"#)).collect();
    collector.post(&format!("[{}]", events.join(","))).await;
    database.until_accounted(rows, 0, 0, rows).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_and_refused_rows_in_one_batch() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let known = r#"{"name":"known","id":"k","timestamp":"TIME"}"#.replace(
        "TIME",
        &database.rows("select to_char(now() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')").await[0],
    );
    collector.post(&known).await;
    database.until_stored(1).await;
    database.client.batch_execute(CONSTRAINT).await.expect("added");
    let (_, keys) = collector.stop().await;
    let other = tempfile::tempdir().expect("a directory");
    let second = TestCollector::start_with(config(&database.url, other.path()), keys).await.expect("starts");
    second.post(&format!(r#"[{known},{{"name":"far too long"}},{{"name":"ok"}}]"#)).await;
    database.until_accounted(4, 2, 1, 1).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_cannot_even_be_copied_are_found_among_the_others() {
    let (database, collector, _journal) = collector(|_| {}).await;
    // Unlike other constraints, this one holds for the temporary table, too.
    database.client.batch_execute("alter table analytics.events alter column screen set not null").await.expect("set");
    let screen = |n: usize| if [0, 4, 5, 8].contains(&n) { "" } else { r#","screen":"1x1""# };
    let events: Vec<String> = (0..9).map(|n| format!(r#"{{"name":"{n}"{}}}"#, screen(n))).collect();
    collector.post(&format!("[{}]", events.join(","))).await;
    database.until_accounted(9, 5, 0, 4).await;
    let stored = database.rows("select string_agg(name, '' order by name) from analytics.events").await;
    assert_eq!(stored, ["12367"]);
    let refused = "select sqlstate, string_agg(event::jsonb ->> 'name', '' order by event::jsonb ->> 'name') from weir.quarantine group by 1";
    assert_eq!(database.rows(refused).await, ["23502|0458"]);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_twice_and_was_refused_twice_comes_back_once() {
    let (database, collector, _journal) = collector(|_| {}).await;
    database.client.batch_execute(CONSTRAINT).await.expect("added");
    let now = "select to_char(now() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
    let event = format!(r#"{{"name":"far too long","id":"k","timestamp":"{}"}}"#, database.rows(now).await[0]);
    collector.post(&event).await;
    database.until_accounted(1, 0, 0, 1).await;
    let (settings, keys) = collector.stop().await;
    // Another journal, which has not seen it.
    let other = tempfile::tempdir().expect("a directory");
    let second = TestCollector::start_with(config(&database.url, other.path()), keys).await.expect("starts");
    second.post(&event).await;
    database.until_accounted(2, 0, 0, 2).await;
    second.stop().await;
    database.client.batch_execute("alter table analytics.events drop constraint names_are_short").await.expect("gone");
    let weir = Database::new(&settings.database, 1).expect("a valid URL");
    let replayed = quarantine::replay(&weir, None).await.expect("replayed");
    assert_eq!((replayed.stored, replayed.duplicate, replayed.refused.len()), (1, 1, 0));
    database.until_accounted(2, 1, 1, 0).await;
}
