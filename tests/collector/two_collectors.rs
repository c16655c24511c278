//! Several collectors on one database, and what must never be two: a journal's owner.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::chance::{Chance, rounds};
use crate::support::clients::{Clients, Habits, exchange};
use crate::support::program::Collector;
use crate::support::{TestDatabase, eventually, first_source, within};

const RESTARTS: u64 = 6;
const ENOUGH: u64 = 300;
/// Far more than an idle collector needs to end, and far less than the deadline in the way here.
const AT_ONCE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_and_doubles_nothing() {
    let database = TestDatabase::new().await;
    let key = first_source(&database.url).await.secret_key;
    let journals = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let collectors = [0, 1].map(|n| Collector::new(&database.url, journals[n].path()));
    let mut processes = [Some(collectors[0].start_ready().await), Some(collectors[1].start_ready().await)];
    let addresses = [collectors[0].public, collectors[1].public];
    let clients = Clients::start(&addresses, &key, &Habits::default(), &mut Chance::told());
    let restarts = rounds("WEIR_RESTART_ROUNDS", RESTARTS);
    for restart in 0..restarts {
        let before = clients.taken();
        eventually("clients are heard", async || clients.taken() > before + ENOUGH).await;
        let n = (restart % 2) as usize;
        processes[n].take().expect("it runs").terminate().await;
        let before = clients.taken();
        eventually("the other one takes over", async || clients.taken() > before + ENOUGH).await;
        processes[n] = Some(collectors[n].start_ready().await);
    }
    let record = clients.finish().await;
    record.until_exact(&database.client).await;
    for process in processes.into_iter().flatten() {
        process.terminate().await;
    }
    // Answers may be lost: an idle connection can be closed just as its client begins to send.
    let findings = record.until_exact(&database.client).await;
    eprintln!("rolling restart: {restarts} rounds: {findings}");
}

/// Idle connections, and one whose request never ends.
async fn hold_connections(collector: &Collector, key: &str) -> Vec<BufReader<TcpStream>> {
    let mut held = Vec::new();
    for n in 0..20 {
        let mut stream = BufReader::new(TcpStream::connect(collector.public).await.expect("it listens"));
        let body = format!(r#"{{"name":"held {n}"}}"#);
        let request =
            format!("POST /v1/events?key={key} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        assert_eq!(exchange(&mut stream, &request).await.expect("an answer").status, 200);
        held.push(stream);
    }
    let mut endless = TcpStream::connect(collector.public).await.expect("it listens");
    let request =
        format!("POST /v1/events?key={key} HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n");
    endless.write_all(request.as_bytes()).await.expect("sent");
    // From here on the request is in flight.
    let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    within("an interim answer", endless.read_exact(&mut go_on)).await.expect("an interim answer");
    assert!(go_on.starts_with(b"HTTP/1.1 100"));
    held.push(BufReader::new(endless));
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_within_its_deadline_whatever_clients_do() {
    let database = TestDatabase::new().await;
    let key = first_source(&database.url).await.secret_key;
    let journal = tempfile::tempdir().expect("a directory");
    let collector = Collector::new(&database.url, journal.path())
        .with("WEIR_RECEIVE__DRAIN_TIMEOUT_S", "2")
        .with("WEIR_RECEIVE__BODY_TIMEOUT_S", "600");
    let process = collector.start_ready().await;
    let mut held = hold_connections(&collector, &key).await;
    let started = Instant::now();
    process.terminate().await;
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < AT_ONCE,
        "a request in flight is waited for, not for ever: {took:?}"
    );
    for stream in &mut held {
        // Whether by an end or by a reset.
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0, "no client is left holding");
    }
    assert_eq!(database.number("select count(*) from analytics.events").await, 20);
    database.until_accounted(20, 20, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_ends_at_once_and_loses_nothing() {
    let database = TestDatabase::new().await;
    let key = first_source(&database.url).await.secret_key;
    let journal = tempfile::tempdir().expect("a directory");
    let collector = Collector::new(&database.url, journal.path())
        .with("WEIR_RECEIVE__DRAIN_TIMEOUT_S", "600")
        .with("WEIR_RECEIVE__BODY_TIMEOUT_S", "600");
    let process = collector.start_ready().await;
    let _held = hold_connections(&collector, &key).await;
    process.signal(Signal::TERM);
    eventually("no more connections", async || TcpStream::connect(collector.public).await.is_err()).await;
    let started = Instant::now();
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code(), Some(130));
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());
    let process = collector.start_ready().await;
    database.until_stored(20).await;
    process.terminate().await;
    database.until_accounted(20, 20, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_has_one_owner() {
    let database = TestDatabase::new().await;
    let key = first_source(&database.url).await.secret_key;
    let journal = tempfile::tempdir().expect("a directory");
    let first = Collector::new(&database.url, journal.path()).start_ready_here().await;
    let second = Collector::new(&database.url, journal.path());
    let refused = second.start().ended().await;
    assert!(!refused.success());
    let log = second.log();
    assert!(log.contains("another process uses the journal in") && !log.contains("panicked"), "{log}");
    first.post(&key, r#"{"name":"a"}"#).await;
    database.until_stored(1).await;
    first.process.terminate().await;
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success());
}

/// Two collectors begin with the same backlog; each then gets events of its own.
async fn journal_copied_at_rest() -> TestDatabase {
    let mut database = TestDatabase::new().await;
    let key = first_source(&database.url).await.secret_key;
    let place = tempfile::tempdir().expect("a directory");
    let (original, copied) = (place.path().join("original"), place.path().join("copy"));
    let first = Collector::new(&database.url, &original).start_ready_here().await;
    first.post(&key, r#"{"name":"stored","id":"0"}"#).await;
    database.until_stored(1).await;
    database.shut().await;
    for n in 1..=10 {
        first.post(&key, &format!(r#"[{{"name":"{n}","id":"{n}"}},{{"name":"free {n}"}}]"#)).await;
    }
    first.process.kill().await;
    copy(&original, &copied);
    database.open().await;
    let pair = [
        Collector::new(&database.url, &original).start_ready_here().await,
        Collector::new(&database.url, &copied).start_ready_here().await,
    ];
    for (n, collector) in pair.iter().enumerate() {
        collector.post(&key, &format!(r#"[{{"name":"new {n}"}},{{"name":"newer {n}"}}]"#)).await;
    }
    database.until_stored(25).await;
    for collector in pair {
        collector.process.terminate().await;
    }
    assert_eq!(database.number("select count(*) from analytics.events").await, 25);
    assert_eq!(database.number("select count(distinct name) from analytics.events").await, 25);
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_copied_at_rest_is_applied_once() {
    journal_copied_at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_journal_keep_their_own_books() {
    journal_copied_at_rest().await.until_accounted(25, 25, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_copied_in_use_is_known_as_a_fork() {
    let database = TestDatabase::new().await;
    let key = first_source(&database.url).await.secret_key;
    let place = tempfile::tempdir().expect("a directory");
    let (original, copied) = (place.path().join("original"), place.path().join("copy"));
    let first = Collector::new(&database.url, &original).start_ready_here().await;
    first.post(&key, r#"[{"name":"a"},{"name":"b"}]"#).await;
    database.until_stored(2).await;
    copy(&original, &copied);
    // The copy ends where the original goes on.
    first.post(&key, r#"[{"name":"c"},{"name":"d"}]"#).await;
    database.until_stored(4).await;
    let second = Collector::new(&database.url, &copied).start_ready_here().await;
    second.post(&key, r#"{"name":"e","id":"e"}"#).await;
    eventually("the fork is told", async || {
        second.collector.metric("weir_journal_forked_segments").await == Some(1.0)
            && second.collector.log().contains("a journal was copied or restored")
    })
    .await;
    // Only that segment is set aside.
    database.until("select count(*) from analytics.events where name = 'e'", 1).await;
    first.post(&key, r#"{"name":"f"}"#).await;
    database.until("select count(*) from analytics.events where name = 'f'", 1).await;
    let doubled = "select count(*) from (select name from analytics.events group by name having count(*) > 1) twice";
    assert_eq!(database.number(doubled).await, 0);
    // The segment's books are those of the original.
    database.until_accounted(6, 6, 0, 0).await;
    second.process.kill().await;
    first.process.terminate().await;
}
