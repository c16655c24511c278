//! `journal.durability`: what an answer means, and where events are when it is given.

use std::sync::Arc;

use uuid::Uuid;
use weir::clock::SystemClock;
use weir::database::Database;
use weir::flush::postgres::Postgres;
use weir::flush::store::{Position, Session, Store, Transaction};
use weir::journal::Durability;

use crate::support::{TestCollector, collector, config, eventually, http};

#[tokio::test(flavor = "multi_thread")]
async fn with_database_a_200_is_a_commit_and_nothing_is_on_disk() {
    let (mut database, collector, journal) = collector(|config| config.journal.durability = Durability::Database).await;
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    for n in 0..20 {
        let answer =
            collector.post(&format!(r#"[{{"name":"a","id":"{n}","timestamp":{now_ms}}},{{"name":"b"}}]"#)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        // Not eventually: the answer says so.
        assert_eq!(database.number("select count(*) from analytics.events").await, 2 * (n + 1));
    }
    // The unique index knows it.
    let again = collector.post(&format!(r#"{{"name":"a","id":"7","timestamp":{now_ms}}}"#)).await;
    assert_eq!(again.status, 200);
    database.until_accounted(41, 40, 1, 0).await;
    let files = std::fs::read_dir(journal.path()).expect("a directory").count();
    assert_eq!(files, 0, "nothing is written");

    database.shut().await;
    let refused = collector.post(r#"{"name":"a","id":"away"}"#).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{}", refused.text());
    assert_eq!(refused.json()["error"], "database_away");
    assert_eq!(http::get(collector.admin, "/readyz", &[]).await.status, 503);
    database.open().await;
    eventually("it takes events again", async || collector.post(r#"{"name":"a","id":"away"}"#).await.status == 200)
        .await;
    assert_eq!(database.number("select count(*) from analytics.events").await, 41);
    let law = "select count(*) from weir.accounting where pending <> 0 or unexplained <> 0";
    database.until(law, 0).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_database_refused_rows_cost_nobody_else_the_answer() {
    let (database, collector, _journal) = collector(|config| config.journal.durability = Durability::Database).await;
    let check = "alter table analytics.events add constraint no_bad check (name <> 'bad')";
    database.client.batch_execute(check).await.expect("added");
    let answer = collector.post(r#"[{"name":"good"},{"name":"bad"}]"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(database.number("select count(*) from analytics.events").await, 1);
    database.until_accounted(2, 1, 0, 1).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_memory_the_answer_is_a_202() {
    let (database, collector, journal) = collector(|config| config.journal.durability = Durability::Memory).await;
    let answer = collector.post(r#"{"name":"a","id":"1"}"#).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let pixel = format!("/v1/pixel.gif?key={}&name=open", collector.keys.public_key);
    assert_eq!(http::get(collector.address, &pixel, &[]).await.status, 202);
    assert_eq!(collector.post(r#"{"name":"a","id":"1"}"#).await.json()["duplicate"], 1);
    database.until_accounted(3, 2, 1, 0).await;
    assert_eq!(std::fs::read_dir(journal.path()).expect("a directory").count(), 0, "nothing is written");
    // An orderly end empties the memory.
    collector.post(r#"{"name":"last"}"#).await;
    collector.stop().await;
    assert_eq!(database.number("select count(*) from analytics.events").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_memory_a_database_that_is_away_fills_the_budget_and_no_more() {
    let (mut database, collector, _journal) = collector(|config| {
        config.journal.durability = Durability::Memory;
        config.journal.memory_bytes_max = 16 * 1024 * 1024;
        config.flush.lanes = 2;
    })
    .await;
    database.shut().await;
    let (accepted, refused) = collector.fill(202, 1000).await;
    assert_eq!(refused.json()["error"], "journal_full");
    database.open().await;
    database.until_stored(accepted).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_durability_first_empties_the_journal_that_was() {
    let (mut database, collector, journal) = collector(|_| {}).await;
    database.shut().await;
    assert_eq!(collector.post(r#"{"name":"on disk"}"#).await.status, 200);
    let (_, keys) = collector.stop().await;
    database.open().await;
    let mut changed = config(&database.url, journal.path());
    changed.journal.durability = Durability::Database;
    let refused = TestCollector::start_with(changed, keys.clone()).await.err().expect("events wait on the disk");
    assert!(refused.to_string().contains("durability"), "{refused}");
    let collector = TestCollector::start_with(config(&database.url, journal.path()), keys).await.expect("starts");
    database.until_stored(1).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concluded_segment_takes_no_commit_any_more() {
    let (_database, collector, _journal) = collector(|_| {}).await;
    let (config, _) = collector.stop().await;
    let database = Database::new(&config.database, 2).expect("a valid URL");
    let store = Postgres::new(database, Arc::default(), Durability::Database, Arc::<SystemClock>::default());
    let mut session = store.connect().await.expect("connected");
    let segment = Uuid::from_u128(7);
    let at = |offset| Position { offset, chain: 1 };
    let fresh = session.open(segment, "node").await.expect("opened").position;
    let mut transaction = session.begin().await.expect("begun");
    assert!(transaction.advance(segment, fresh, at(100)).await.expect("asked"));
    transaction.commit().await.expect("committed");

    let concluded = session.close(segment, "node").await.expect("closed");
    assert_eq!(concluded.position.offset, 100, "what was committed counts");
    // A transaction of a client that was refused meanwhile: wherever it begins, it comes too late.
    for from in [fresh, at(100)] {
        let mut late = session.begin().await.expect("begun");
        assert!(!late.advance(segment, from, at(200)).await.expect("asked"), "from {from:?}");
        late.rollback().await;
    }
}
