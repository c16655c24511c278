//! The journal's files between two lives: damaged, looked at by the command line, and read after an upgrade.

use std::path::{Path, PathBuf};
use std::process::Output;

use weir::journal::frame::{FRAME_HEADER_BYTES, FrameHeader, SEGMENT_HEADER_BYTES};

use crate::support::{TestCollector, TestDatabase, collector, eventually, http};

/// A stopped collector whose journal holds three frames of an event each, `a`, `b` and `c`, that never reached PostgreSQL.
async fn waiting() -> (TestDatabase, weir::Config, weir::sources::KeyPair, tempfile::TempDir) {
    let (mut database, collector, journal) = collector(|_| {}).await;
    database.shut().await;
    for name in ["a", "b", "c"] {
        assert_eq!(collector.post(&format!(r#"{{"name":"{name}"}}"#)).await.status, 200);
    }
    let (config, keys) = collector.stop().await;
    database.open().await;
    (database, config, keys, journal)
}

pub fn files(journal: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(journal).expect("a directory").map(|entry| entry.expect("readable").path());
    entries.filter(|path| path.extension().is_some_and(|own| own == extension)).collect()
}

/// Where each frame starts.
pub fn frames(segment: &[u8]) -> Vec<usize> {
    let mut starts = vec![SEGMENT_HEADER_BYTES];
    while let Some(header) = segment.get(starts[starts.len() - 1]..).and_then(FrameHeader::decode) {
        starts.push(starts[starts.len() - 1] + header.frame_bytes());
    }
    starts.pop();
    starts
}

/// Flips a bit in the only segment; returns where the frame starts.
fn damage_the_second_frame(journal: &Path) -> usize {
    let segment = files(journal, "segment").remove(0);
    let mut bytes = std::fs::read(&segment).expect("readable");
    let second = frames(&bytes)[1];
    bytes[second + FRAME_HEADER_BYTES + 20] ^= 4;
    std::fs::write(&segment, bytes).expect("writable");
    second
}

fn weir(arguments: &[&str], journal: &Path) -> Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_weir")).args(arguments).arg(journal).output().expect("runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_told_kept_and_costs_nothing_else() {
    let (database, mut config, keys, journal) = waiting().await;
    let sound = weir(&["journal", "verify"], journal.path());
    assert!(sound.status.success(), "{}", text(&sound.stderr));
    let shown = text(&weir(&["journal", "inspect"], journal.path()).stdout);
    assert!(shown.contains("sealed") && shown.contains("3 frames  3 rows  [web 3]"), "{shown}");

    // Whether it is applied, whoever knows the database is told.
    let inspect = |url: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_weir"));
        let output = command.args(["journal", "inspect"]).arg(journal.path()).env("DATABASE_URL", url).output();
        let output = output.expect("runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&[output.stdout, output.stderr].concat())
    };
    assert!(!shown.contains("pending"), "{shown}");
    let shown = inspect(&database.url);
    assert!(shown.contains("sealed, pending: 3 of 3 events") && shown.contains("; 3 events are pending"), "{shown}");
    let shown = inspect("postgres://127.0.0.1:1/nobody");
    assert!(shown.contains("sealed  ") && shown.contains("is not known: no connection to the database"), "{shown}");

    let middle = damage_the_second_frame(journal.path());
    let damaged = weir(&["journal", "verify"], journal.path());
    assert_eq!(damaged.status.code(), Some(1));
    let told = text(&damaged.stdout);
    assert!(told.contains("damaged") && told.contains(&format!("bytes {middle} to")), "{told}");

    config.journal.retain_s = 0;
    let collector = TestCollector::start_with(config, keys).await.expect("starts all the same");
    database.until_stored(2).await;
    assert_eq!(database.rows("select name from analytics.events order by name").await, ["a", "c"]);
    let metrics = http::get(collector.admin, "/metrics", &[]).await.text();
    let alarm = metrics.lines().find(|line| line.starts_with("weir_journal_damaged_bytes")).expect("a metric");
    assert!(!alarm.ends_with(" 0"), "{alarm}");
    eventually("the file is put aside, and kept", async || files(journal.path(), "damaged").len() == 1).await;
    assert_eq!(weir(&["journal", "verify"], journal.path()).status.code(), Some(1), "it is still shown");
    assert_eq!(collector.post(r#"{"name":"d"}"#).await.status, 200);
    database.until_stored(3).await;
    let shown = inspect(&database.url);
    assert!(shown.contains("damaged, applied  ") && shown.contains("; 0 events are pending"), "{shown}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_what_is_stored_already_changes_no_books() {
    let (database, collector, journal) = collector(|_| {}).await;
    for name in ["a", "b", "c"] {
        assert_eq!(collector.post(&format!(r#"{{"name":"{name}"}}"#)).await.status, 200);
    }
    database.until_accounted(3, 3, 0, 0).await;
    let (config, keys) = collector.stop().await;
    damage_the_second_frame(journal.path());
    let collector = TestCollector::start_with(config, keys).await.expect("starts all the same");
    assert_eq!(collector.post(r#"{"name":"d"}"#).await.status, 200);
    database.until_accounted(4, 4, 0, 0).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_of_an_older_schema_are_replayed_after_an_upgrade() {
    let (database, config, keys, _journal) = waiting().await;
    // As a migration would: columns are appended, and older tuples end before them.
    let upgrade = "alter table analytics.events add column weather text default 'fair'";
    database.client.batch_execute(upgrade).await.expect("upgraded");
    let collector = TestCollector::start_with(config, keys).await.expect("starts");
    database.until_stored(3).await;
    assert_eq!(database.rows("select distinct weather from analytics.events").await, ["fair"]);
    // Through the careful way too: a duplicate makes the batch be sorted out.
    let twice = r#"[{"name":"e","id":"1","timestamp":1700000000000},{"name":"e","id":"1","timestamp":1700000000000}]"#;
    assert_eq!(collector.post(twice).await.json()["accepted"], 2);
    database.until_accounted(5, 4, 1, 0).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_a_newer_version_is_not_touched() {
    let (_database, config, keys, journal) = waiting().await;
    let segment = files(journal.path(), "segment").remove(0);
    let mut bytes = std::fs::read(&segment).expect("readable");
    bytes[10..12].copy_from_slice(&u16::MAX.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&segment, &bytes).expect("writable");
    let error = TestCollector::start_with(config, keys).await.err().expect("refused").to_string();
    assert!(error.contains("newer version"), "{error}");
    assert_eq!(std::fs::read(&segment).expect("still there"), bytes);
}
