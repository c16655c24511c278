//! `weir journal adopt`: the journal of a collector that is gone, sent by somebody else, exactly once.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use weir::adopt::{AdoptError, Options};
use weir::journal::frame::FRAME_HEADER_BYTES;
use weir::run::World;

use crate::journal_files::{files, frames};
use crate::support::program::{Collector, Started};
use crate::support::proxy::{At, Proxy, Then};
use crate::support::{TestDatabase, eventually, first_source, within};

fn command(database_url: &str, journal: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["journal", "adopt"]).args(options).arg(journal);
    command.env("DATABASE_URL", database_url).env("WEIR_LOG", "info,tokio_postgres=warn").stdin(Stdio::null());
    command.kill_on_drop(true);
    command
}

async fn adopt(database_url: &str, journal: &Path, options: &[&str]) -> Output {
    within("adoption", command(database_url, journal, options).output()).await.expect("runs")
}

/// As [`adopt`], which must have sent all; what it said.
pub async fn adopted(database_url: &str, journal: &Path, options: &[&str]) -> String {
    let output = adopt(database_url, journal, options).await;
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    said
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every file with its contents.
fn contents(journal: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(journal).expect("a directory").map(|entry| entry.expect("readable").path());
    entries.map(|path| (path.clone(), std::fs::read(&path).expect("readable"))).collect()
}

struct Dead {
    database: TestDatabase,
    key: String,
    journal: tempfile::TempDir,
}

/// A collector that stored two events, took seven more (of which two are one event, and one is refused by the database)
/// while the database was away, and was killed.
async fn dead() -> Dead {
    let mut database = TestDatabase::new().await;
    let key = first_source(&database.url).await.secret_key;
    let journal = tempfile::tempdir().expect("a directory");
    let collector = Collector::new(&database.url, journal.path()).start_ready_here().await;
    let at = r#""timestamp":1700000000000"#;
    collector.post(&key, &format!(r#"[{{"name":"a","id":"a",{at}}},{{"name":"b"}}]"#)).await;
    database.until_accounted(2, 2, 0, 0).await;
    database.client.batch_execute("alter table analytics.events add check (name <> 'bad')").await.expect("altered");
    database.shut().await;
    collector.post(&key, r#"[{"name":"c"},{"name":"bad"},{"name":"d"}]"#).await;
    // Known already by the collector.
    collector.post(&key, &format!(r#"{{"name":"a","id":"a",{at}}}"#)).await;
    collector.post(&key, r#"[{"name":"e"},{"name":"f"},{"name":"g"}]"#).await;
    collector.process.kill().await;
    database.open().await;
    Dead { database, key, journal }
}

async fn assert_whole(database: &TestDatabase) {
    let names = database.rows("select name from analytics.events order by name").await;
    assert_eq!(names, ["a", "b", "c", "d", "e", "f", "g"]);
    database.until_accounted(9, 7, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_collector_left_is_applied_once_whoever_looks_at_it_again() {
    let Dead { database, key, journal } = dead().await;
    let (url, before) = (&database.url, contents(journal.path()));

    let said = adopted(url, journal.path(), &["--dry-run"]).await;
    assert!(said.contains("7 events wait (2 of 9 are known)") && said.contains("would be sent: 7 events"), "{said}");
    assert_eq!(database.number("select count(*) from analytics.events").await, 2);
    assert_eq!(contents(journal.path()), before, "only looked at");

    let said = adopted(url, journal.path(), &["--now"]).await;
    assert!(said.contains("5 events applied, 1 duplicates, 1 quarantined (2 of 9 were known)"), "{said}");
    assert!(said.contains("\n5 events applied, 1 duplicates, 1 quarantined; known before: 2;"), "{said}");
    assert_whole(&database).await;
    let mut after = contents(journal.path());
    let marked = after.remove(&journal.path().join("adopted")).expect("marked");
    assert_eq!(after, before, "all that is new is the mark");
    assert!(text(&marked).contains(r#""events": 9"#), "{}", text(&marked));

    let said = adopted(url, journal.path(), &["--now"]).await;
    assert!(said.contains("9 events, all known") && said.contains("\n0 events applied"), "{said}");
    assert_whole(&database).await;

    let inspected = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["journal", "inspect"])
        .arg(journal.path())
        .output()
        .expect("runs");
    assert!(text(&inspected.stdout).contains("adopted at "), "{}", text(&inspected.stdout));

    // A collector that starts there adds nothing of that, and goes on.
    let again = Collector::new(url, journal.path()).start_ready_here().await;
    assert!(again.collector.log().contains("this journal was adopted"), "{}", again.collector.log());
    assert!(!journal.path().join("adopted").exists(), "from now on there may be more");
    again.post(&key, r#"{"name":"h"}"#).await;
    database.until_accounted(10, 8, 1, 1).await;
    assert_eq!(database.number("select count(*) from analytics.events").await, 8);
    again.process.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_root_makes_in_a_journal_is_its_owners() {
    // Nobody in particular.
    const OWNER: (u32, u32) = (54_321, 54_322);
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root makes files that others cannot open");
        return;
    }
    let Dead { database, journal, .. } = dead().await;
    // As where a disk was restored without it.
    std::fs::remove_file(journal.path().join("LOCK")).expect("removed");
    for path in contents(journal.path()).keys().chain([&journal.path().to_owned()]) {
        chown(path, Some(OWNER.0), Some(OWNER.1)).expect("root may");
    }
    adopted(&database.url, journal.path(), &["--now"]).await;
    for path in contents(journal.path()).keys() {
        let found = std::fs::metadata(path).expect("there");
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (OWNER.0, OWNER.1, 0o600), "{}", path.display());
    }
    assert!(journal.path().join("LOCK").exists() && journal.path().join("adopted").exists());
    assert_whole(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_that_is_killed_goes_on_where_the_database_is() {
    let Dead { database, journal, .. } = dead().await;
    let proxy = Proxy::start(database.address()).await;
    // The commit waits on its way while the one who sent it is killed, and arrives in the midst of the next attempt.
    let arrives = CancellationToken::new();
    proxy.arm(At::Commit, Then::Hold(arrives.clone()));
    let mut first: Child =
        command(&proxy.url(&database.url), journal.path(), &["--now"]).stdout(Stdio::null()).spawn().expect("starts");
    eventually("a commit is held", async || proxy.armed() == 0).await;
    first.kill().await.expect("ours");
    assert_eq!(database.number("select count(*) from analytics.events").await, 2);
    let url = database.url.clone();
    let (second_journal, second_url) = (journal.path().to_owned(), url.clone());
    let second = tokio::spawn(async move { adopted(&second_url, &second_journal, &["--now"]).await });
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    database.until(waits, 1).await;
    arrives.cancel();
    let said = second.await.expect("no panic");
    assert!(said.contains("; known before: 2;"), "{said}");
    assert_whole(&database).await;
    let said = adopted(&url, journal.path(), &["--now"]).await;
    assert!(said.contains("\n0 events applied"), "{said}");
    assert_whole(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_adopt_copies_of_one_journal_at_once_add_it_once() {
    let Dead { database, journal, .. } = dead().await;
    let place = tempfile::tempdir().expect("a directory");
    let copy = place.path().join("copy");
    let copied = std::process::Command::new("cp").arg("-a").args([journal.path(), &copy]).status().expect("cp runs");
    assert!(copied.success());
    let (first, second) =
        tokio::join!(adopted(&database.url, journal.path(), &["--now"]), adopted(&database.url, &copy, &["--now"]));
    assert_whole(&database).await;
    assert!(first.contains("9 events; node") && second.contains("9 events; node"), "{first}{second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_that_gets_nowhere_is_given_up_and_goes_on_later() {
    let Dead { database, journal, .. } = dead().await;
    let rename = |from: &str, to: &str| format!("alter table analytics.events rename column {from} to {to}");
    database.client.batch_execute(&rename("title", "headline")).await.expect("renamed");
    let config = crate::support::config(&database.url, journal.path());
    let options =
        Options { dry_run: false, is_owner_dead: true, any_database: false, patience: Duration::from_millis(700) };
    let call = async || weir::adopt::adopt(&config, &World::default(), journal.path(), options, |_| ()).await;
    let error = within("it is given up", call()).await.expect_err("nothing can be sent");
    assert!(matches!(error, AdoptError::Stalled { waiting_bytes: 1.., .. }), "{error}");
    assert_eq!(database.number("select sum(pending)::bigint from weir.promises").await, 7, "that much is known");
    database.client.batch_execute(&rename("headline", "title")).await.expect("renamed");
    assert!(call().await.expect("adopted").is_whole());
    assert_whole(&database).await;
}

/// A collector that runs, and whose database is reached through a proxy that is cut off.
async fn cut_off() -> (TestDatabase, String, tempfile::TempDir, Proxy, Started) {
    let database = TestDatabase::new().await;
    let key = first_source(&database.url).await.secret_key;
    let journal = tempfile::tempdir().expect("a directory");
    let proxy = Proxy::start(database.address()).await;
    let owner = Collector::new(&proxy.url(&database.url), journal.path()).start_ready_here().await;
    owner.post(&key, r#"[{"name":"a"},{"name":"b"}]"#).await;
    database.until_accounted(2, 2, 0, 0).await;
    (database, key, journal, proxy, owner)
}

/// Does `meanwhile` once `child` says that it watches; what else it said until it failed.
async fn watched(mut child: Child, meanwhile: impl AsyncFnOnce()) -> String {
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let first = lines.next_line().await.expect("readable").unwrap_or_default();
    assert!(first.contains("watching for"), "{first}");
    meanwhile().await;
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.expect("readable") {
        said += &line;
    }
    assert!(!child.wait().await.expect("ours").success(), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_living_owner_is_noticed_and_if_it_is_not_nothing_is_lost_or_doubled() {
    let (database, key, journal, proxy, owner) = cut_off().await;
    let refused = adopt(&database.url, journal.path(), &["--now"]).await;
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("its collector runs on this machine"), "{said}");

    // As on another machine, whose lock cannot be seen from here: the owner holds that of a file which has gone.
    std::fs::remove_file(journal.path().join("LOCK")).expect("removed");
    let watching = command(&database.url, journal.path(), &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let refused = within(
        "it watches",
        watched(watching.expect("starts"), async || {
            owner.post(&key, r#"{"name":"a2"}"#).await;
        }),
    )
    .await;
    assert!(refused.contains("it is alive"), "{refused}");

    // Cut off it cannot report, and goes on taking events while its journal is adopted.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    proxy.lead_to(nowhere.local_addr().expect("bound"));
    drop(nowhere);
    owner.post(&key, r#"[{"name":"c"},{"name":"d"}]"#).await;
    let said = adopted(&database.url, journal.path(), &["--now"]).await;
    assert!(said.contains("\n2 events applied"), "{said}");
    owner.post(&key, r#"{"name":"e"}"#).await;
    let said = adopted(&database.url, journal.path(), &["--now"]).await;
    assert!(said.contains("\n1 events applied") && said.contains("known before: 5;"), "{said}");
    owner.post(&key, r#"{"name":"f"}"#).await;
    database.until_stored(6).await;
    proxy.lead_to(database.address());
    database.until_accounted(7, 7, 0, 0).await;
    owner.post(&key, r#"{"name":"g"}"#).await;
    database.until_accounted(8, 8, 0, 0).await;
    assert_eq!(owner.collector.metric("weir_journal_forked_segments").await, Some(0.0));

    // Its files are as it left them.
    let Started { process, collector } = owner;
    database.client.batch_execute("alter table analytics.events rename to hidden").await.expect("renamed");
    let late = r#"{"name":"h"}"#;
    let authorization = format!("authorization: Bearer {key}");
    let headers = [authorization.as_str(), "content-type: application/json"];
    let answer = crate::support::http::post(collector.public, "/v1/events", &headers, late.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    process.kill().await;
    database.client.batch_execute("alter table analytics.hidden rename to events").await.expect("renamed");
    let process = collector.start_ready().await;
    database.until_accounted(9, 9, 0, 0).await;
    assert_eq!(database.number("select count(distinct name) from analytics.events").await, 9);
    process.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_told() {
    let Dead { database, journal, .. } = dead().await;
    let stranger = TestDatabase::new().await;
    let refused = adopt(&stranger.url, journal.path(), &["--now"]).await;
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("never heard of this journal"), "{said}");
    assert_eq!(stranger.number("select count(*) from pg_namespace where nspname in ('weir', 'analytics')").await, 0);

    let empty = tempfile::tempdir().expect("a directory");
    let refused = adopt(&database.url, empty.path(), &[]).await;
    assert!(text(&refused.stderr).contains("no journal of weir's"), "{}", text(&refused.stderr));
    assert_eq!(std::fs::read_dir(empty.path()).expect("readable").count(), 0);

    // Of four frames the third holds nothing but a duplicate; the last has three events.
    let segment = files(journal.path(), "segment").remove(0);
    let mut bytes = std::fs::read(&segment).expect("readable");
    let second = frames(&bytes)[1];
    bytes[second + FRAME_HEADER_BYTES + 20] ^= 4;
    std::fs::write(&segment, bytes).expect("writable");
    let output = adopt(&database.url, journal.path(), &["--now"]).await;
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}{errors}");
    assert!(
        said.contains("3 events applied, 1 duplicates, 0 quarantined") && said.contains("bytes are damaged"),
        "{said}"
    );
    assert!(errors.contains("keep the directory"), "{errors}");
    assert_eq!(database.rows("select name from analytics.events order by name").await, ["a", "b", "e", "f", "g"]);
}
