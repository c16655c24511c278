//! Another table, and days that PostgreSQL does not have.

use super::{collector_command, command_with, equal, followed, following, settled};
use crate::retention::{day, send};
use crate::support::clickhouse::{ClickHouse, Kind, PASSWORD};
use crate::support::{TestCollector, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn days_that_postgresql_does_not_have_are_found_and_go() {
    let Some(kind) = Kind::all().into_iter().next() else { return };
    let clickhouse = ClickHouse::start(&kind).await;
    let (database, collector, _journal) = following(&clickhouse).await;
    followed(&database).await;
    send(&collector, &[r#"{"name":"a"}"#.to_owned()]).await;
    database.until_stored(1).await;
    settled(&database, &clickhouse).await;
    // As after ClickHouse was restored, and of a clock that was wrong.
    for (time, id) in [("2001-02-03T04:05:06Z", 1), ("2150-01-01T00:00:00Z", 2)] {
        let at = database.number(&format!("select (extract(epoch from timestamptz '{time}') * 1000000)::bigint")).await;
        clickhouse
            .execute(&format!(
                "insert into events (event_id, occurred_at, received_at, source, kind, is_bot)
                 values ('00000000-0000-7000-8000-00000000000{id}', {at}, {at}, 'web', 'page', 0)"
            ))
            .await;
    }
    let url = format!("http://{}", clickhouse.address);
    let settings = [("WEIR_CLICKHOUSE__URL", url.as_str()), ("WEIR_CLICKHOUSE__PASSWORD", PASSWORD)];
    let (is_equal, told) = command_with(&database, &["clickhouse", "check"], &settings).await;
    assert!(!is_equal && told.contains("2001-02-03  differs") && told.contains("2150-01-01  differs"), "{told}");
    collector_command(&database, &["clickhouse", "resend", "all"]).await;
    assert_eq!(equal(&database, &clickhouse, &kind).await, 1);
    let (is_equal, told) = command_with(&database, &["clickhouse", "check"], &settings).await;
    assert!(is_equal && !told.contains("2001-02-03"), "{told}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_one_that_has_the_table_already_is_filled() {
    let Some(kind) = Kind::all().into_iter().next() else { return };
    let (first, second) = (ClickHouse::start(&kind).await, ClickHouse::start(&kind).await);
    let (database, collector, _journal) = following(&first).await;
    followed(&database).await;
    send(&collector, &[format!(r#"{{"name":"a","timestamp":"{}T10:00:00Z"}}"#, day(1))]).await;
    database.until_stored(1).await;
    assert_eq!(equal(&database, &first, &kind).await, 1);
    // Somebody else's, who is gone.
    let (other_database, other, _other_journal) = following(&second).await;
    followed(&other_database).await;
    other.stop().await;
    let (mut config, keys) = collector.stop().await;
    config.clickhouse = second.settings();
    let collector = TestCollector::start_with(config, keys).await.expect("it starts");
    eventually("the history is there", async || second.number("select count() from events").await == 1).await;
    assert_eq!(equal(&database, &second, &kind).await, 1);
    collector.stop().await;
}
