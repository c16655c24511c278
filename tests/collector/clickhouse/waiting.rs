//! What waits, and what fails: neither holds up the rest.

use super::{equal, followed, following, following_at, settled};
use crate::retention::{day, send};
use crate::support::clickhouse::{ClickHouse, Kind, LossyWay, REFUSED};
use crate::support::{collector, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_fails_holds_up_nothing_else() {
    let Some(kind) = Kind::all().into_iter().next() else { return };
    let clickhouse = ClickHouse::start(&kind).await;
    let way = LossyWay::to(clickhouse.address).await;
    let (database, collector, _journal) = following_at(way.address).await;
    followed(&database).await;
    let events: Vec<String> =
        [10, 12].iter().map(|hour| format!(r#"{{"name":"{hour}","timestamp":"{}T{hour}:00:00Z"}}"#, day(1))).collect();
    send(&collector, &events).await;
    database.until_stored(2).await;
    settled(&database, &clickhouse).await;
    // The later of both would be first.
    let start = format!("select (extract(epoch from timestamptz '{}T12:00:00Z') * 1000000)::bigint", day(1));
    way.refuse(Some(format!("occurred_at >= {}", database.number(&start).await)));
    let change = "with changed as (update analytics.events set title = 'mended' returning occurred_at)
         insert into weir.touched (hours) select array_agg(date_trunc('hour', occurred_at, 'UTC')) from changed";
    database.client.batch_execute(change).await.expect("changed");
    let mended = "select count() from events where title = 'mended'";
    eventually("the other hour is mended", async || clickhouse.number(mended).await == 1).await;
    send(&collector, &[r#"{"name":"new"}"#.to_owned()]).await;
    eventually("what comes is sent", async || {
        clickhouse.number("select count() from events where name = 'new'").await == 1
    })
    .await;
    // It is told, though all else goes well.
    let told = format!(
        "select count(*) from weir.clickhouse_status where error like '%{REFUSED}%' and failing_since is not null and ranges_marked = 1"
    );
    database.until(&told, 1).await;
    way.refuse(None);
    database.client.batch_execute("update weir.clickhouse_marks set retry_at = now()").await.expect("changed");
    assert_eq!(equal(&database, &clickhouse, &kind).await, 3);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_is_over_is_not_told_any_more_though_much_waits() {
    let Some(kind) = Kind::all().into_iter().next() else { return };
    let clickhouse = ClickHouse::start(&kind).await;
    let way = LossyWay::to(clickhouse.address).await;
    let (database, collector, _journal) = following_at(way.address).await;
    followed(&database).await;
    settled(&database, &clickhouse).await;
    way.lose_inserts(1);
    send(&collector, &[r#"{"name":"a"}"#.to_owned()]).await;
    // More than is compared before anybody has looked.
    let marks = "insert into weir.clickhouse_marks (from_at, to_at)
         select at, at + interval '1 hour' from generate_series(timestamptz '2001-01-01', '2003-01-01', '1 hour') at";
    database.client.batch_execute(marks).await.expect("marked");
    database.until("select count(*) from weir.clickhouse_status where failing_since is not null", 1).await;
    database
        .until("select count(*) from weir.clickhouse_status where failing_since is null and ranges_marked > 100", 1)
        .await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_gathered_does_not_wait_for_the_interval_each_time() {
    let Some(kind) = Kind::all().into_iter().next() else { return };
    let clickhouse = ClickHouse::start(&kind).await;
    let (database, collector, _journal) = collector(|config| {
        config.clickhouse = clickhouse.settings();
        config.clickhouse.interval_ms = 6_000;
    })
    .await;
    followed(&database).await;
    send(&collector, &[r#"{"name":"a"}"#.to_owned()]).await;
    database.until_stored(1).await;
    // As of ten thousand flushes: ten batches.
    let names = "insert into weir.clickhouse_named (ids, is_new)
         select uuid_send(event_id), false from analytics.events, generate_series(1, 10000)";
    database.client.batch_execute(names).await.expect("named");
    database.until("select count(*) from weir.clickhouse_named", 0).await;
    assert_eq!(equal(&database, &clickhouse, &kind).await, 1);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_followed_again_after_a_failure() {
    let Some(kind) = Kind::all().into_iter().next() else { return };
    let clickhouse = ClickHouse::start(&kind).await;
    let (database, collector, _journal) = following(&clickhouse).await;
    followed(&database).await;
    clickhouse.execute("drop table events").await;
    send(&collector, &[r#"{"name":"a"}"#.to_owned()]).await;
    database.until_stored(1).await;
    eventually("the table is made again", async || {
        clickhouse.number("select count() from system.tables where database = 'default' and name = 'events'").await == 1
    })
    .await;
    assert_eq!(equal(&database, &clickhouse, &kind).await, 1);
    collector.stop().await;
}
