//! Rows that are there, and otherwise: they are mended, however it is found out, and in bounded memory.

use super::{checksums, equal, followed, following, settled};
use crate::retention::{day, send};
use crate::support::clickhouse::{ClickHouse, Kind, LossyWay, PASSWORD};
use crate::support::program::Collector;
use crate::support::{TestDatabase, eventually, first_source};

/// What a collector may hold at its peak: itself, and one piece of what it sends.
const PEAK_BYTES_MAX: usize = 256 * 1024 * 1024;
/// More than that, in rows that PostgreSQL keeps small.
const LARGE_ROWS: i64 = 2_000;
const LARGE_ROW_CHARS: i64 = 200_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_named_row_that_is_otherwise_becomes_the_right_one() {
    for kind in Kind::all() {
        let clickhouse = ClickHouse::start(&kind).await;
        let (database, collector, _journal) = following(&clickhouse).await;
        followed(&database).await;
        send(&collector, &[r#"{"name":"a"}"#.to_owned(), r#"{"name":"b"}"#.to_owned()]).await;
        database.until_stored(2).await;
        settled(&database, &clickhouse).await;
        // As when a row is taken away and stored anew before anybody has looked.
        let change = "with changed as (update analytics.events set title = 'mended' where name = 'a' returning event_id)
             insert into weir.clickhouse_named (ids, is_new) select string_agg(uuid_send(event_id), ''), false from changed";
        database.client.batch_execute(change).await.expect("changed");
        assert_eq!(equal(&database, &clickhouse, &kind).await, 2);
        assert_eq!(clickhouse.number("select count() from events where title = 'mended'").await, 1);
        collector.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_rows_of_one_id_become_the_right_one() {
    for kind in Kind::all() {
        let clickhouse = ClickHouse::start(&kind).await;
        let (database, collector, _journal) = following(&clickhouse).await;
        followed(&database).await;
        let events: Vec<String> =
            (0..50).map(|n| format!(r#"{{"name":"{n}","timestamp":"{}T10:00:{n:02}Z"}}"#, day(1))).collect();
        send(&collector, &events).await;
        database.until_stored(50).await;
        settled(&database, &clickhouse).await;
        // By another key, so that neither replaces the other.
        clickhouse
            .execute(
                "insert into events (event_id, occurred_at, received_at, source, kind, name, is_bot)
                 select event_id, occurred_at, received_at, 'other', kind, name, is_bot from events",
            )
            .await;
        let touch = format!("insert into weir.touched (hours) values (array[timestamptz '{}T10:00:00Z'])", day(1));
        database.client.batch_execute(&touch).await.expect("touched");
        assert_eq!(equal(&database, &clickhouse, &kind).await, 50);
        collector.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_sums_are_not_believed_while_rows_are_about_to_go() {
    let Some(kind) = Kind::all().into_iter().next() else { return };
    let clickhouse = ClickHouse::start(&kind).await;
    let (database, collector, _journal) = following(&clickhouse).await;
    followed(&database).await;
    let events: Vec<String> =
        ["a", "b"].iter().map(|name| format!(r#"{{"name":"{name}","timestamp":"{}T10:00:00Z"}}"#, day(1))).collect();
    send(&collector, &events).await;
    database.until_stored(2).await;
    settled(&database, &clickhouse).await;
    clickhouse.execute("system stop merges").await;
    clickhouse.execute("alter table events delete where name = 'a'").await;
    assert_eq!(clickhouse.number("select count() from events").await, 2, "it is not done yet");
    let touch = format!("insert into weir.touched (hours) values (array[timestamptz '{}T10:00:00Z'])", day(1));
    database.client.batch_execute(&touch).await.expect("touched");
    // Whoever believed them would have by then.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    clickhouse.execute("system start merges").await;
    // What was postponed meanwhile is taken up again at once.
    let deleting = "select count() from system.mutations where table = 'events' and not is_done";
    eventually("the deletion is carried out", async || clickhouse.number(deleting).await == 0).await;
    assert_eq!(equal(&database, &clickhouse, &kind).await, 2);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_without_end_is_compared() {
    for kind in Kind::all() {
        let clickhouse = ClickHouse::start(&kind).await;
        let (database, collector, _journal) = following(&clickhouse).await;
        followed(&database).await;
        send(&collector, &["a", "b", "c"].map(|name| format!(r#"{{"name":"{name}"}}"#))).await;
        database.until_stored(3).await;
        let change = "with changed as (update analytics.events set sent_at = case name when 'a' then timestamptz 'infinity' else '-infinity' end
                                        where name <> 'c' returning occurred_at)
             insert into weir.touched (hours) select array_agg(date_trunc('hour', occurred_at, 'UTC')) from changed";
        database.client.batch_execute(change).await.expect("changed");
        settled(&database, &clickhouse).await;
        checksums(&database, &clickhouse, true).await;
        collector.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_rows_go_piece_by_piece_and_none_twice() {
    for kind in Kind::all() {
        let clickhouse = ClickHouse::start(&kind).await;
        let way = LossyWay::to(clickhouse.address).await;
        let database = TestDatabase::new().await;
        first_source(&database.url).await;
        let journal = tempfile::tempdir().expect("a directory");
        let url = format!("http://{}", way.address);
        let program = Collector::new(&database.url, journal.path())
            .with("WEIR_CLICKHOUSE__URL", &url)
            .with("WEIR_CLICKHOUSE__PASSWORD", PASSWORD)
            .with("WEIR_CLICKHOUSE__INTERVAL_MS", "100");
        let process = program.start_ready().await;
        followed(&database).await;
        settled(&database, &clickhouse).await;
        // As a flush does it.
        let fill = format!(
            "with stored as (
                 insert into analytics.events (event_id, occurred_at, received_at, source, kind, is_bot, properties)
                 select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '8' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
                        at, now(), 'web', 'page', false, jsonb_build_object('text', repeat('x', {LARGE_ROW_CHARS}))
                   from (select n, date_trunc('milliseconds', now()) - n * interval '1 millisecond' as at from generate_series(1, {LARGE_ROWS}) n) rows
                 returning event_id)
             insert into weir.clickhouse_named (ids, is_new) select string_agg(uuid_send(event_id), ''), true from stored"
        );
        // The first piece arrives, and nobody hears of it.
        way.lose_answers(1);
        database.client.batch_execute(&fill).await.expect("filled");
        let patience = std::time::Instant::now();
        let waiting = "select (events_named + ranges_marked)::bigint from weir.clickhouse_status";
        while database.number(waiting).await > 0 {
            assert!(patience.elapsed().as_secs() < 120, "it does not follow:\n{}", program.log());
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(way.lost(), 1);
        assert_eq!(clickhouse.number("select count() from events").await, LARGE_ROWS);
        checksums(&database, &clickhouse, true).await;
        let peak_bytes = process.peak_bytes();
        assert!(peak_bytes < PEAK_BYTES_MAX, "{peak_bytes}");
        process.kill().await;
    }
}
