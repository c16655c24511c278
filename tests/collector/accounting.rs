//! Nothing vanishes unnamed: the counts in the database and in the metrics agree with what clients were told.

use futures_util::future::join_all;

use crate::support::{TestCollector, TestDatabase, collector, config, eventually, first_source, http};

#[tokio::test(flavor = "multi_thread")]
async fn the_law_holds_under_concurrency_and_mischief() {
    let (database, collector, _journal) = collector(|config| {
        config.journal.bytes_max = 64 * 1024 * 1024;
        config.flush.lanes = 2;
    })
    .await;
    let constraint = "alter table analytics.events add constraint lucky check (name <> 'poison')";
    database.client.batch_execute(constraint).await.expect("added");
    let post = |n: usize| {
        let collector = &collector;
        async move {
            let mut told = 0;
            for round in 0..20 {
                // Each id comes twice, from two clients; one event in forty is poison; one in ten is refused.
                let name = if (n + round).is_multiple_of(40) { "poison" } else { "fine" };
                let id = (n / 2) * 100 + round;
                let body = format!(
                    r#"[{{"name":"{name}","id":"{id}"}},{{"name":"free"}}{}]"#,
                    if round % 10 == 0 { ",{}" } else { "" }
                );
                let answer = collector.post(&body).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                told += answer.json()["accepted"].as_u64().expect("a count");
            }
            told
        }
    };
    let told: u64 = join_all((0..16).map(post)).await.into_iter().sum();
    assert_eq!(told, 16 * 20 * 2);
    let balanced = "select count(*) from weir.accounting where accepted = 640 and unexplained = 0 and pending = 0";
    database.until(balanced, 1).await;
    let rows = database.number("select count(*) from analytics.events").await;
    assert_eq!(database.number("select stored from weir.accounting").await, rows);
    assert_eq!(
        database.number("select quarantined from weir.accounting").await,
        database.number("select count(*) from weir.quarantine").await
    );
    assert_eq!(database.number("select count(distinct event_id) from analytics.events").await, rows);
    let metrics = http::get(collector.admin, "/metrics", &[]).await.text();
    let of = |outcome: &str| {
        let prefix = format!(r#"weir_events_total{{outcome="{outcome}",source="web"}} "#);
        metrics.lines().find_map(|line| line.strip_prefix(&prefix)?.parse::<i64>().ok()).expect("counted")
    };
    assert_eq!(of("accepted"), of("stored") + of("duplicate") + of("quarantined"));
    assert_eq!(of("stored"), rows);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_books_do_not_explain_is_a_metric() {
    let database = TestDatabase::new().await;
    let keys = first_source(&database.url).await;
    // A collector that is gone has promised five events and reported that none waits; two of them are there.
    let lost = "insert into weir.promises (segment_id, source, node, accepted, pending) values (gen_random_uuid(), 'web', 'gone', 5, 0);
                insert into weir.ledger (segment_id, node) values ('00000000-0000-0000-0000-000000000007', 'gone');
                insert into weir.ledger_sources (segment_id, source, accepted, stored, duplicate, quarantined)
                values ('00000000-0000-0000-0000-000000000007', 'web', 2, 2, 0, 0)";
    database.client.batch_execute(lost).await.expect("booked");
    let journal = tempfile::tempdir().expect("a directory");
    let mut config = config(&database.url, journal.path());
    (config.rollup.concurrency, config.rollup.shipped) = (1, false);
    let collector = TestCollector::start_with(config, keys).await.expect("it starts");
    eventually("three are told", async || {
        let metrics = http::get(collector.admin, "/metrics", &[]).await.text();
        metrics.contains("weir_unexplained_events{source=\"web\"} 3\n")
    })
    .await;
    collector.stop().await;
}
