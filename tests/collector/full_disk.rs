//! Disks fill: the journal's, then PostgreSQL's. Nothing that was promised is lost, and all goes on by itself.

use std::time::Duration;

use crate::support::chance::Chance;
use crate::support::clients::{Clients, Habits};
use crate::support::program::Collector;
use crate::support::server::Server;
use crate::support::small_disk::SmallDisk;
use crate::support::{TestCollector, TestDatabase, config, eventually, first_source, http, show_log};

const MB: u64 = 1024 * 1024;
/// Segments are of one megabyte.
const JOURNAL_DISK_BYTES: u64 = 8 * MB;
const TABLES_DISK_BYTES: u64 = 40 * MB;

fn habits() -> Habits {
    Habits { filler_bytes_max: 8_000, pause: Duration::from_millis(1), ..Habits::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_disk_refuses_and_recovers() {
    // More than the disk has, and a retention that ends while the test runs.
    full_journal_disk(&[("WEIR_JOURNAL__BYTES_MAX", "1073741824"), ("WEIR_JOURNAL__RETAIN_S", "1")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_within_its_limit_refuses_and_recovers() {
    // Less than the disk has: it never fills.
    full_journal_disk(&[("WEIR_JOURNAL__BYTES_MAX", "6291456")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_disk_recovers_before_its_retention_ends() {
    full_journal_disk(&[("WEIR_JOURNAL__BYTES_MAX", "1073741824")]).await;
}

async fn full_journal_disk(settings: &[(&'static str, &str)]) {
    let Some(disk) = SmallDisk::new(JOURNAL_DISK_BYTES) else { return };
    let mut database = TestDatabase::new().await;
    let key = first_source(&database.url).await.secret_key;
    let journal = disk.path().join("journal");
    let collector = Collector::new(&database.url, &journal).on(disk);
    let collector = settings.iter().fold(collector, |collector, (name, value)| collector.with(name, value));
    let process = collector.start_ready().await;
    database.shut().await;
    let clients = Clients::start(&[collector.public], &key, &habits(), &mut Chance::told());
    eventually("the disk is full", async || clients.refused() > 50).await;
    assert_eq!(http::get(collector.admin, "/readyz", &[]).await.status, 503);
    let taken = clients.taken();
    assert!(taken > 100, "{taken}");
    database.open().await;
    eventually("events are taken again", async || clients.taken() > taken + 1_000).await;
    let record = clients.finish().await;
    eventually("it is ready", async || http::get(collector.admin, "/readyz", &[]).await.status == 200).await;
    record.until_exact(&database.client).await;
    process.terminate().await;
    let findings = record.until_exact(&database.client).await;
    eprintln!("full journal disk: {findings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_disk_delays_and_quarantines_nothing() {
    let Some(disk) = SmallDisk::for_everyone(TABLES_DISK_BYTES) else { return };
    show_log();
    let tables = disk.path().join("tables");
    std::fs::create_dir(&tables).expect("room");
    let server = Server::new().await;
    let database = server.make_database(Some(&tables)).await;
    let journal = tempfile::tempdir().expect("a directory");
    let collector = TestCollector::start(config(&database.url, journal.path())).await;
    let used = database.number("select pg_database_size(current_database())").await as u64;
    let filler = disk.filler((TABLES_DISK_BYTES - used - 3 * MB) as usize);
    let clients = Clients::start(&[collector.address], &collector.keys.secret_key, &habits(), &mut Chance::told());
    eventually("the disk is full", async || server.log().contains("No space left on device")).await;
    let taken = clients.taken();
    eventually("events are taken all the same", async || clients.taken() > taken + 500).await;
    let metrics = http::get(collector.admin, "/metrics", &[]).await.text();
    assert!(metrics.contains("weir_flush_stopped_lanes 0"), "no person is needed");
    assert!(metrics.contains("weir_flush_careful_total 0"), "no row is at fault");
    let record = clients.finish().await;
    std::fs::remove_file(filler).expect("ours");
    record.until_exact(&database.client).await;
    assert_eq!(database.number("select count(*) from weir.quarantine").await, 0);
    collector.stop().await;
    let findings = record.until_exact(&database.client).await;
    eprintln!("full database disk: {findings}");
}
