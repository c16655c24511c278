//! Events distributed by Citus: docs/citus.md.
//!
//! With `CITUS_URL` (`scripts/citus`) these run on a cluster, and so does every other test of the collector that has a database of
//! its own there. Without it the rules alone are looked at, on plain PostgreSQL.

mod rules;
mod texts;

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use weir::config::Config;
use weir::database::distribute::{Distribute, Standing, standing};
use weir::database::{Database, migrate};
use weir::rollup::dispatch::dispatch;

use crate::support::chance::Chance;
use crate::support::citus::url;
use crate::support::clients::{Clients, Habits};
use crate::support::program::Collector;
use crate::support::{TestCollector, TestDatabase, collector, connect, eventually, first_source, settings};

const KILLS: u64 = 6;
/// A round in which nothing was taken proves nothing.
const TAKEN_PER_ROUND_MIN: u64 = 20;

/// Says plainly, past what cargo keeps back, that there is no cluster.
fn is_there(test: &str) -> bool {
    let is_there = url().is_some();
    if !is_there {
        // Nothing depends on it.
        let _ =
            writeln!(std::io::stderr(), "SKIPPED {test}: CITUS_URL is not set (scripts/citus BIN_DIR -- cargo test)");
    }
    is_there
}

/// Kills the second worker, or starts it again. `None`: the cluster is not ours to kill.
fn worker(what: &str) -> Option<()> {
    let Some(command) = std::env::var_os("CITUS_WORKER") else {
        let _ = writeln!(std::io::stderr(), "SKIPPED killing a worker: CITUS_WORKER is not set");
        return None;
    };
    let status = Command::new(command).args([what, "2"]).status().expect("the command runs");
    assert!(status.success(), "worker {what}: {status}");
    Some(())
}

/// What is answered on each worker, in the database of this name.
async fn on_workers(database: &TestDatabase, sql: &str) -> Vec<String> {
    let ask = format!("select result from run_command_on_workers($weir${sql}$weir$)");
    database.rows(&ask).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_are_on_the_workers_and_everything_else_is_here() {
    if !is_there("the_events_are_on_the_workers_and_everything_else_is_here") {
        return;
    }
    let (database, collector, _journal) = collector(|_| {}).await;
    let events: Vec<String> = (0..200).map(|n| format!(r#"{{"name":"a{n}"}}"#)).collect();
    assert_eq!(collector.post(&format!("[{}]", events.join(","))).await.status, 200);
    // The default partition gets some, which move into a day of their own, and leave nothing here.
    let stray = "insert into analytics.events (event_id, occurred_at, received_at, source, kind, is_bot)
        select gen_random_uuid(), '2020-02-02 10:00Z', now(), 'web', 'page', false from generate_series(1, 20)";
    database.client.batch_execute(stray).await.expect("stored");
    database.until_stored(220).await;
    let (settings, keys) = collector.stop().await;
    let again = TestCollector::start_with(settings.clone(), keys.clone()).await.expect("starts on what is distributed");
    database.until("select count(*) from analytics.events_default", 0).await;
    assert_eq!(database.number("select count(*) from only analytics.events_20200202").await, 20);
    again.stop().await;
    assert_eq!(
        database.rows("select distinct column_to_column_name(logicalrelid, partkey) from pg_dist_partition").await,
        ["event_id"]
    );
    let is_leaf = "logicalrelid in (select inhrelid from pg_inherits where inhparent = 'analytics.events'::regclass)";
    let others = format!(
        "select count(*) from pg_dist_partition where logicalrelid <> 'analytics.events'::regclass and not {is_leaf}"
    );
    assert_eq!(database.number(&others).await, 0, "only events are distributed");
    let here = "select coalesce(sum(pg_relation_size(inhrelid)), 0)::bigint from pg_inherits where inhparent = 'analytics.events'::regclass";
    assert_eq!(database.number(here).await, 0, "no row lies on the coordinator");
    let nodes = "select count(distinct nodename || nodeport) from citus_shards where table_name::text like 'analytics.events_2%'";
    assert!(database.number(nodes).await > 1);
    let unguarded = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'analytics' and c.relkind = 'r' and c.relname ~ '^events_.*_[0-9]+$'
          and not exists (select from pg_index x join pg_attribute a on a.attrelid = c.oid and a.attnum = any (x.indkey)
                           where x.indrelid = c.oid and x.indisunique and a.attname = 'event_id')";
    assert!(on_workers(&database, unguarded).await.iter().all(|count| count == "0"), "a shard without a unique index");

    // Whoever was not told would take sizes and places for those of one table.
    let untold = weir::config::Database { distribute: Distribute::None, ..settings.database.clone() };
    let error = migrate::run(&Database::new(&untold, 1).expect("a valid URL")).await.expect_err("not told");
    assert!(error.to_string().contains("WEIR_DATABASE__DISTRIBUTE"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_distributed_says_how_it_can() {
    // Without Citus, on whatever server this is.
    let plain = TestDatabase::on_one_server().await;
    let wanted =
        weir::config::Database { url: plain.url.clone(), distribute: Distribute::Citus, ..Config::default().database };
    let pool = Database::new(&wanted, 1).expect("a valid URL");
    let error = migrate::run(&pool).await.expect_err("there is no Citus").to_string();
    assert!(error.contains("create extension citus"), "{error}");
    assert_eq!(standing(&pool.client().await.expect("connected")).await.expect("asked"), Standing::Plain);
    if !is_there("a_database_that_cannot_be_distributed_says_how_it_can, with Citus") {
        return;
    }
    let database = TestDatabase::new().await;
    let undistributed = weir::config::Database { distribute: Distribute::None, ..settings(&database.url) };
    migrate::run(&Database::new(&undistributed, 1).expect("a valid URL")).await.expect("as on any PostgreSQL");
    let event = "insert into analytics.events (event_id, occurred_at, received_at, source, kind, is_bot)
        values (gen_random_uuid(), now(), now(), 'web', 'page', false)";
    database.client.batch_execute(event).await.expect("stored");
    let pool = Database::new(&settings(&database.url), 1).expect("a valid URL");
    let error = migrate::run(&pool).await.expect_err("it has rows").to_string();
    let cure = "select create_distributed_table('analytics.events', 'event_id')";
    assert!(error.contains(cure), "{error}");
    // As docs/citus.md says it.
    database.client.batch_execute(cure).await.expect("distributed by hand");
    database
        .client
        .batch_execute("select truncate_local_data_after_distributing_table('analytics.events')")
        .await
        .expect("the first copy goes");
    migrate::run(&pool).await.expect("as it should be");
    assert_eq!(database.number("select count(*) from analytics.events").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_collectors_and_workers_lose_nothing_and_double_nothing() {
    if !is_there("killed_collectors_and_workers_lose_nothing_and_double_nothing") {
        return;
    }
    let mut chance = Chance::told();
    let database = TestDatabase::new().await;
    let journal = tempfile::tempdir().expect("a directory");
    let key = first_source(&database.url).await.secret_key;
    let collector = Collector::new(&database.url, journal.path()).with("WEIR_JOURNAL__RETAIN_S", "0");
    let mut process = collector.start_ready().await;
    let habits = Habits { pause: Duration::from_millis(10), ..Habits::default() };
    let clients = Clients::start(&[collector.public], &key, &habits, &mut chance);
    for round in 0..KILLS {
        let enough = clients.taken() + TAKEN_PER_ROUND_MIN;
        tokio::time::sleep(Duration::from_millis(chance.between(20, 500))).await;
        eventually("clients are heard", async || clients.taken() > enough).await;
        if round % 3 == 1 && worker("kill").is_some() {
            // While it is away events are taken, and nothing arrives: a flush is whole or not at all.
            let enough = clients.taken() + TAKEN_PER_ROUND_MIN;
            eventually("clients are heard without a worker", async || clients.taken() > enough).await;
            if chance.happens(50) {
                process.kill().await;
                worker("start");
                process = collector.start_ready().await;
            } else {
                worker("start");
            }
        } else {
            process.kill().await;
            process = collector.start_ready().await;
        }
    }
    let record = clients.finish().await;
    let findings = record.until_exact(&database.client).await;
    assert!(findings.acknowledged > 0);
    process.terminate().await;
    let unexplained = "select count(*) from weir.accounting where unexplained <> 0 or pending <> 0";
    assert_eq!(database.number(unexplained).await, 0);
    let stored = "select sum(stored)::bigint from weir.accounting";
    let (stored, there) =
        (database.number(stored).await, database.number("select count(*) from analytics.events").await);
    assert_eq!(stored, there, "what the ledger says is what there is");
    // What was prepared on the worker that died was settled when it was back.
    let prepared = "select count(*) from pg_prepared_xacts where database = current_database()";
    eventually("no transaction is in doubt", async || {
        on_workers(&database, prepared).await.iter().all(|count| count == "0")
    })
    .await;
}

/// A day that retention drops is gone from the workers, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_day_leaves_no_shard() {
    if !is_there("a_dropped_day_leaves_no_shard") {
        return;
    }
    let (database, collector, _journal) = collector(|_| {}).await;
    let old = r#"[{"name":"a","timestamp":"2020-02-02T00:00:00Z"},{"name":"b","timestamp":"2020-02-02T10:00:00Z"}]"#;
    assert_eq!(collector.post(old).await.status, 200);
    database.until_stored(2).await;
    let shards = "select count(*) from pg_class where relname ~ '(events|expired)_20200202'";
    assert!(on_workers(&database, shards).await.iter().all(|count| count != "0"));
    let (mut settings, keys) = collector.stop().await;
    settings.retention.events = "30 days".parse().expect("a period");
    let again = TestCollector::start_with(settings, keys).await.expect("starts");
    database.until("select coalesce(sum(rows), 0)::bigint from weir.removed", 2).await;
    // Indexes, too; Citus drops what it could not at once some moments later.
    eventually("its shards are gone", async || on_workers(&database, shards).await.iter().all(|count| count == "0"))
        .await;
    assert_eq!(database.number("select count(*) from analytics.events").await, 0);
    again.stop().await;
}

/// Citus commits on the coordinator first: what is noted there is seen before its events are.
#[tokio::test(flavor = "multi_thread")]
async fn marks_are_made_of_what_every_worker_has_committed() {
    if !is_there("marks_are_made_of_what_every_worker_has_committed") {
        return;
    }
    let database = TestDatabase::new().await;
    let pool = Database::new(&settings(&database.url), 2).expect("a valid URL");
    migrate::run(&pool).await.expect("migrated");
    let node = database.rows("select nodename || ':' || nodeport from pg_dist_node where groupid <> 0 limit 1").await;
    let coordinator = url().expect("there is a cluster");
    let (user, _) = coordinator.split_once('@').expect("a URL with a user");
    let name = database.url.rsplit('/').next().expect("a name");
    let worker = connect(&format!("{user}@{}/{name}", node[0])).await;
    // Of another coordinator by its name, so that nobody settles it but this test.
    let prepare = "begin; select txid_current(); prepare transaction 'citus_999_1_1_1'";
    worker.batch_execute(prepare).await.expect("prepared");
    let touch = "insert into weir.touched (hours) values (array[timestamptz '2026-11-22 10:00Z'])";
    database.client.batch_execute(touch).await.expect("touched");
    let dispatching = tokio::spawn(async move { dispatch(&pool).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!dispatching.is_finished(), "it waits");
    assert_eq!(database.number("select count(*) from weir.touched").await, 1);
    worker.batch_execute("commit prepared 'citus_999_1_1_1'").await.expect("committed");
    dispatching.await.expect("no panic").expect("dispatched");
    assert_eq!(database.number("select count(*) from weir.touched").await, 0);
}

/// A coordinator that crashes may have forgotten of whom it told what a worker has kept.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_already_is_told_again() {
    if !is_there("what_was_there_already_is_told_again") {
        return;
    }
    let (database, collector, _journal) = collector(|settings| settings.rollup.concurrency = 0).await;
    let event = r#"{"name":"a","id":"one","timestamp":"2026-11-22T10:00:00Z"}"#;
    assert_eq!(collector.post(event).await.status, 200);
    database.until_stored(1).await;
    // Another collector, which has not seen it either.
    let (mut settings, keys) = collector.stop().await;
    database.client.batch_execute("delete from weir.touched").await.expect("forgotten");
    let journal = tempfile::tempdir().expect("a directory");
    settings.journal.dir = journal.path().to_owned();
    let collector = TestCollector::start_with(settings, keys).await.expect("starts");
    assert_eq!(collector.post(event).await.status, 200);
    database.until("select coalesce(sum(duplicate), 0)::bigint from weir.accounting", 1).await;
    assert_eq!(database.number("select count(*) from weir.touched").await, 1);
    collector.stop().await;
}
