//! PostgreSQL goes away: events are taken, kept, and stored when it is back.

use std::time::Duration;

use crate::support::{TestCollector, collector, eventually, http};

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_in_the_journal() {
    let (mut database, collector, _journal) = collector(|_| {}).await;
    collector.post(r#"{"name":"before"}"#).await;
    database.until_stored(1).await;
    database.shut().await;
    for n in 0..20 {
        let answer = collector.post(&format!(r#"{{"name":"during {n}"}}"#)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    eventually("health says that the database is away", async || {
        http::get(collector.admin, "/healthz", &[]).await.json()["status"] == "degraded"
    })
    .await;
    assert_eq!(http::get(collector.admin, "/readyz", &[]).await.status, 200, "events can still come");
    eventually("the lag is seen", async || {
        http::get(collector.admin, "/healthz", &[]).await.json()["freshness_lag_seconds"].as_f64() > Some(0.2)
    })
    .await;
    database.open().await;
    database.until_stored(21).await;
    database.until_accounted(21, 21, 0, 0).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_flushed_at_the_end_is_flushed_at_the_next_start() {
    let (mut database, collector, _journal) = collector(|_| {}).await;
    database.shut().await;
    collector.post(r#"[{"name":"a","id":"1"},{"name":"b","id":"2"},{"name":"b","id":"2"}]"#).await;
    let (config, keys) = collector.stop().await;
    database.open().await;
    assert_eq!(database.number("select count(*) from analytics.events").await, 0);
    let collector = TestCollector::start_with(config, keys).await.expect("starts again");
    database.until_stored(2).await;
    database.until_accounted(3, 2, 1, 0).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_starts_without_its_database() {
    let (mut database, collector, _journal) = collector(|_| {}).await;
    let (config, keys) = collector.stop().await;
    database.shut().await;
    let collector = TestCollector::start_with(config, keys).await.expect("starts from what it remembers");
    let answer = collector.post(r#"{"name":"a"}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    database.open().await;
    database.until_stored(1).await;
    database.until_accounted(1, 1, 0, 0).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_refuses_and_recovers() {
    let (mut database, collector, _journal) = collector(|config| {
        config.flush.lanes = 1;
        config.journal.bytes_max = 2 * config.journal.segment_bytes;
    })
    .await;
    database.shut().await;
    let (accepted, refused) = collector.fill(200, 100).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
    assert_eq!(refused.json()["error"], "journal_full");
    assert_eq!(http::get(collector.admin, "/readyz", &[]).await.status, 503);
    database.open().await;
    database.until_stored(accepted).await;
    // By itself: a balancer sends nothing to a collector that is not ready. Applied segments go before their time.
    eventually("it is ready again", async || http::get(collector.admin, "/readyz", &[]).await.status == 200).await;
    assert_eq!(collector.post(r#"{"name":"b"}"#).await.status, 200);
    database.until_accounted(accepted + 1, accepted + 1, 0, 0).await;
    assert_eq!(http::get(collector.admin, "/readyz", &[]).await.status, 200);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_at_fault_stops_the_lane_and_loses_nothing() {
    let (database, collector, _journal) = collector(|_| {}).await;
    database
        .client
        .batch_execute("alter table analytics.events rename column title to headline")
        .await
        .expect("renamed");
    collector.post(r#"{"name":"a"}"#).await;
    eventually("the lane stands still", async || {
        http::get(collector.admin, "/metrics", &[]).await.text().contains("weir_flush_stopped_lanes 1")
    })
    .await;
    assert_eq!(database.number("select count(*) from weir.quarantine").await, 0);
    database
        .client
        .batch_execute("alter table analytics.events rename column headline to title")
        .await
        .expect("renamed");
    let started = std::time::Instant::now();
    database.until_stored(1).await;
    assert!(started.elapsed() < Duration::from_secs(25));
    collector.stop().await;
}
