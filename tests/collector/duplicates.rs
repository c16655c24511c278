//! Sending the same event again adds nothing, whoever notices: the window, the window after a restart, or the index.

use crate::support::{TestCollector, collector, config};

const EVENT: &str = r#"{"name":"pay","id":"m-1","timestamp":TIME}"#;

fn event() -> String {
    EVENT.replace("TIME", &now_ms().to_string())
}

fn now_ms() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_adds_nothing() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let event = event();
    let batch = format!("[{event},{event}]");
    assert_eq!(collector.post(&event).await.json()["duplicate"], 0);
    assert_eq!(collector.post(&event).await.json()["duplicate"], 1);
    assert_eq!(collector.post(&batch).await.json()["duplicate"], 2);
    database.until_accounted(4, 1, 3, 0).await;
    assert_eq!(database.number("select count(*) from analytics.events").await, 1);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_without_a_time_is_known_by_its_id() {
    let (database, collector, _journal) = collector(|_| {}).await;
    assert_eq!(collector.post(r#"{"name":"a","id":"m"}"#).await.json()["duplicate"], 0);
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    assert_eq!(collector.post(r#"{"name":"a","id":"m"}"#).await.json()["duplicate"], 1);
    database.until_accounted(2, 1, 1, 0).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_remembers() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let event = event();
    collector.post(&event).await;
    let (config, keys) = collector.stop().await;
    let collector = TestCollector::start_with(config, keys).await.expect("starts again");
    assert_eq!(collector.post(&event).await.json()["duplicate"], 1);
    database.until_accounted(2, 1, 1, 0).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_window_remembers_meets_the_index() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let event = event();
    collector.post(&event).await;
    database.until_stored(1).await;
    let (_, keys) = collector.stop().await;
    // Another collector, with an empty journal, behind the same balancer.
    let other = tempfile::tempdir().expect("a directory");
    let second = TestCollector::start_with(config(&database.url, other.path()), keys).await.expect("starts");
    let answer = second.post(&format!(r#"[{event},{{"name":"new","id":"m-2"}}]"#)).await.json();
    assert_eq!((&answer["accepted"], &answer["duplicate"]), (&2.into(), &0.into()));
    database.until_stored(2).await;
    database.until_accounted(3, 2, 1, 0).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_of_two_sources_is_two_events() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let weir = weir::database::Database::new(&collector.config.database, 1).expect("a valid URL");
    let keys = weir::sources::add(&weir, "app", &[]).await.expect("added");
    let event = event();
    collector.post(&event).await;
    let body = event.replace('}', &format!(r#","key":"{}"}}"#, keys.secret_key));
    crate::support::eventually("the new key works", async || {
        crate::support::http::post(collector.address, "/v1/events", &[], body.as_bytes()).await.status == 200
    })
    .await;
    database.until_stored(2).await;
    collector.stop().await;
}
