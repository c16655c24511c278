//! The real program and a real PostgreSQL, killed at any moment: whoever heard `200` finds the row, once.

use std::time::Duration;

use crate::support::chance::{Chance, rounds};
use crate::support::clients::{Clients, Habits};
use crate::support::program::Collector;
use crate::support::server::{End, Server};
use crate::support::{TestDatabase, eventually, first_source};

const ROUNDS: u64 = 20;
/// Long runs say now and then where they are.
const ROUNDS_TOLD: u64 = 50;
/// A round in which nothing was taken proves nothing.
const TAKEN_PER_ROUND_MIN: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_doubled() {
    let rounds = rounds("WEIR_CRASH_ROUNDS", ROUNDS);
    let mut chance = Chance::told();
    let mut server = Server::new().await;
    let database = server.make_database(None).await;
    let journal = tempfile::tempdir().expect("a directory");
    let key = first_source(&database.url).await.secret_key;
    // No failover here: segments are deleted as soon as they are applied, between all the kills.
    let collector = Collector::new(&database.url, journal.path()).with("WEIR_JOURNAL__RETAIN_S", "0");
    let mut process = collector.start_ready().await;
    // So many rows as a small machine stores while it recovers all the time.
    let habits = Habits { pause: Duration::from_millis(10), ..Habits::default() };
    let clients = Clients::start(&[collector.public], &key, &habits, &mut chance);
    let mut kills = [0; 3];
    for round in 1..=rounds {
        if round % ROUNDS_TOLD == 0 {
            eprintln!("round {round}: {} events taken", clients.taken());
        }
        let before = clients.taken();
        tokio::time::sleep(Duration::from_millis(chance.between(20, 500))).await;
        let enough = before + TAKEN_PER_ROUND_MIN;
        eventually("clients are heard", async || clients.taken() > enough).await;
        let how = if chance.happens(50) { End::Kill } else { End::Immediate };
        let victims = chance.between(0, 2);
        kills[victims as usize] += 1;
        match victims {
            0 => {
                process.kill().await;
                if chance.happens(30) {
                    // Again, in the midst of reading what the first one left.
                    let half_started = collector.start();
                    tokio::time::sleep(Duration::from_millis(chance.between(0, 150))).await;
                    half_started.kill().await;
                }
                process = collector.start_ready().await;
            }
            1 => {
                server.end(how);
                // Sometimes long enough for a few attempts, and always under load.
                tokio::time::sleep(Duration::from_millis(chance.between(0, 400))).await;
                server.start().await;
            }
            _ => {
                server.end(how);
                tokio::time::sleep(Duration::from_millis(chance.between(0, 50))).await;
                process.kill().await;
                // Either may be back first.
                if chance.happens(50) {
                    process = collector.start_ready().await;
                    server.start().await;
                } else {
                    server.start().await;
                    process = collector.start_ready().await;
                }
            }
        }
    }
    let record = clients.finish().await;
    let database: TestDatabase = server.database().await;
    record.until_exact(&database.client).await;
    let segments = std::fs::read_dir(journal.path()).expect("readable").count();
    process.terminate().await;
    // Once more, when nothing can arrive any more.
    let findings = record.until_exact(&database.client).await;
    eprintln!(
        "crash: {rounds} rounds ({} of the collector, {} of PostgreSQL, {} of both), {segments} files left: {findings}",
        kills[0], kills[1], kills[2]
    );
}
