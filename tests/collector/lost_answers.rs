//! The network between the collector and PostgreSQL fails at the worst moments: every event arrives, once.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::support::chance::{Chance, rounds};
use crate::support::clients::{Clients, Habits};
use crate::support::program::Collector;
use crate::support::proxy::{At, Proxy, Step, Then};
use crate::support::{TestCollector, TestDatabase, config, eventually, first_source};
use weir::config::Config;

const FAULTS: u64 = 24;
/// The least that can be set; the collector waits five seconds more for an answer.
const STATEMENT_TIMEOUT_S: u64 = 1;
const LATE: Duration = Duration::from_millis(20);

/// Backends that wait for what another transaction will do.
const WAITING: &str =
    "select least(count(*), 1) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";

/// A collector that reaches its database through a proxy.
async fn through_proxy(change: impl FnOnce(&mut Config)) -> (TestDatabase, Proxy, TestCollector, tempfile::TempDir) {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start(database.address()).await;
    let journal = tempfile::tempdir().expect("a directory");
    let mut config = config(&proxy.url(&database.url), journal.path());
    change(&mut config);
    let collector = TestCollector::start(config).await;
    (database, proxy, collector, journal)
}

/// The steps of each flush that matter here.
fn flushes(proxy: &Proxy) -> Vec<Vec<Step>> {
    let is_shown = |step: &Step| !matches!(step, Step::Settings | Step::Other);
    proxy.flushes().into_iter().map(|steps| steps.into_iter().filter(is_shown).collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_moves_before_the_rows_and_in_their_transaction() {
    let (database, proxy, collector, _journal) = through_proxy(|_| {}).await;
    for n in 1..=5 {
        assert_eq!(collector.post(&format!(r#"[{{"name":"a"}},{{"name":"b{n}"}}]"#)).await.status, 200);
        database.until_stored(2 * n).await;
    }
    let flush =
        [Step::Begin, Step::MoveLedger, Step::CopyEvents, Step::Rows, Step::RowsEnd, Step::BookSources, Step::Commit];
    let seen = flushes(&proxy);
    assert!((1..=5).contains(&seen.len()), "{seen:?}");
    assert!(seen.iter().all(|steps| steps == &flush), "{seen:?}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_resets_and_delays_cost_nothing_and_double_nothing() {
    let mut chance = Chance::told();
    let (database, proxy, collector, _journal) = through_proxy(|config| config.flush.lanes = 2).await;
    let clients = Clients::start(&[collector.address], &collector.keys.secret_key, &Habits::default(), &mut chance);
    let faults = rounds("WEIR_LOST_ANSWERS_ROUNDS", FAULTS);
    for n in 0..faults {
        let before = clients.taken();
        // Half of the faults are the one that matters most: the commit happened, and nobody heard.
        match n % 6 {
            0 | 2 | 4 => proxy.arm(At::Commit, Then::LoseAnswer),
            1 => proxy.arm(At::Rows, Then::Reset),
            3 => proxy.arm(At::Commit, Then::Reset),
            _ => proxy.arm(At::Rows, Then::Delay(LATE)),
        }
        eventually("the fault is met with", async || proxy.armed() == 0 && clients.taken() > before).await;
    }
    let record = clients.finish().await;
    record.until_exact(&database.client).await;
    collector.stop().await;
    let findings = record.until_exact(&database.client).await;
    assert_eq!(findings.doubted, 0, "clients notice nothing");
    eprintln!("lost answers: {faults} rounds: {findings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_arrives_late_is_not_repeated() {
    let (database, proxy, collector, _journal) =
        through_proxy(|config| config.database.statement_timeout_s = STATEMENT_TIMEOUT_S).await;
    let late = CancellationToken::new();
    proxy.arm(At::Commit, Then::Hold(late.clone()));
    assert_eq!(collector.post(r#"[{"name":"a"},{"name":"b"},{"name":"c","id":"c"}]"#).await.status, 200);
    // The collector gives up, comes back on another connection, and waits at the ledger's row.
    database.until(WAITING, 1).await;
    assert_eq!(database.number("select count(*) from analytics.events").await, 0);
    let rows_sent = flushes(&proxy).iter().filter(|steps| steps.contains(&Step::Rows)).count();
    assert_eq!(rows_sent, 1, "the lock holds the second attempt back before its rows");
    late.cancel();
    database.until_stored(3).await;
    database.until_accounted(3, 3, 0, 0).await;
    assert_eq!(collector.post(r#"{"name":"d"}"#).await.status, 200);
    database.until_stored(4).await;
    let rows_sent = flushes(&proxy).iter().filter(|steps| steps.contains(&Step::Rows)).count();
    assert_eq!(rows_sent, 2, "nothing was sent again");
    collector.stop().await;
    database.until_accounted(4, 4, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_outlives_its_collector_is_not_repeated() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::start(database.address()).await;
    let key = first_source(&database.url).await.secret_key;
    let journal = tempfile::tempdir().expect("a directory");
    let first = Collector::new(&proxy.url(&database.url), journal.path()).start_ready_here().await;
    let late = CancellationToken::new();
    proxy.arm(At::Commit, Then::Hold(late.clone()));
    first.post(&key, r#"[{"name":"a"},{"name":"b"}]"#).await;
    eventually("the commit is on its way", async || proxy.armed() == 0).await;
    first.process.kill().await;
    // Directly this time, while the first one's transaction is open.
    let second = Collector::new(&database.url, journal.path()).start_ready_here().await;
    database.until(WAITING, 1).await;
    late.cancel();
    database.until_stored(2).await;
    database.until_accounted(2, 2, 0, 0).await;
    second.post(&key, r#"{"name":"c"}"#).await;
    database.until_stored(3).await;
    second.process.terminate().await;
    database.until_accounted(3, 3, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_stall_halfway_are_sent_again_once() {
    let (database, proxy, collector, _journal) =
        through_proxy(|config| config.database.statement_timeout_s = STATEMENT_TIMEOUT_S).await;
    let late = CancellationToken::new();
    proxy.arm(At::Rows, Then::Hold(late.clone()));
    let events: Vec<String> = (0..200).map(|n| format!(r#"{{"name":"{n}","id":"{n}"}}"#)).collect();
    assert_eq!(collector.post(&format!("[{}]", events.join(","))).await.status, 200);
    database.until(WAITING, 1).await;
    assert_eq!(database.number("select count(*) from analytics.events").await, 0);
    // The rest of the rows arrives after all; nobody commits them.
    late.cancel();
    database.until_stored(200).await;
    database.until_accounted(200, 200, 0, 0).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_never_ends_does_not_stop_the_lane_for_ever() {
    let (database, proxy, collector, _journal) =
        through_proxy(|config| config.database.statement_timeout_s = STATEMENT_TIMEOUT_S).await;
    let never = CancellationToken::new();
    proxy.arm(At::Commit, Then::Hold(never.clone()));
    assert_eq!(collector.post(r#"[{"name":"a"},{"name":"b"}]"#).await.status, 200);
    database.until_stored(2).await;
    never.cancel();
    database.until_accounted(2, 2, 0, 0).await;
    collector.stop().await;
}
