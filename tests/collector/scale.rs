//! Four collectors on one database, each with a journal of its own: killed, adopted, cut off and replaced under load.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio_postgres::Client;

use crate::adopt::adopted;
use crate::support::chance::Chance;
use crate::support::clients::{Clients, Habits};
use crate::support::program::{Collector, Process};
use crate::support::proxy::Proxy;
use crate::support::{TestDatabase, connect, eventually, first_source};

const NODES: usize = 4;
/// Events taken between two blows: each node takes some of them.
const ENOUGH: u64 = 400;
/// How often it is looked who holds what only one may hold.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// One collector, with all that is its own.
struct Node {
    collector: Collector,
    /// Its way to the database.
    proxy: Proxy,
    journal: TempDir,
    process: Option<Process>,
}

impl Node {
    async fn start(database: &TestDatabase) -> Self {
        let proxy = Proxy::start(database.address()).await;
        let journal = tempfile::tempdir().expect("a directory");
        let collector = Collector::new(&proxy.url(&database.url), journal.path());
        let process = Some(collector.start_ready().await);
        Self { collector, proxy, journal, process }
    }

    async fn leads(&self) -> bool {
        self.process.is_some() && self.collector.metric("weir_rollup_leader").await == Some(1.0)
    }

    fn running(&mut self) -> Process {
        self.process.take().expect("it runs")
    }

    async fn restart(&mut self) {
        self.process = Some(self.collector.start_ready().await);
    }

    /// Until [`Self::join`].
    fn cut_off(&self) {
        let nowhere = TcpListener::bind("127.0.0.1:0").expect("a free port");
        self.proxy.lead_to(nowhere.local_addr().expect("bound"));
    }

    fn join(&self, database: SocketAddr) {
        self.proxy.lead_to(database);
    }

    async fn has_backlog(&self) -> bool {
        self.collector.metric("weir_journal_backlog_bytes").await > Some(0.0)
    }
}

/// Looks who has the locks of what only one may do, until it is told to stop: how many different ones it was.
async fn watch_leaders(client: Client, stop: Arc<AtomicBool>) -> usize {
    let rollups = "select pid from pg_locks
                    where locktype = 'advisory' and granted and classid = 0 and objid = x'726f6c6c'::bigint
                      and database = (select oid from pg_database where datname = current_database())";
    let mut leaders = std::collections::BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        let holders: Vec<i32> =
            client.query(rollups, &[]).await.expect("read").iter().map(|row| row.get::<_, i32>(0)).collect();
        assert!(holders.len() <= 1, "{holders:?} look after rollups at once");
        leaders.extend(holders);
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
    leaders.len()
}

/// Of each rollup, runs that began before an earlier one had ended: two were at it at once.
const OVERLAPS: &str = "select count(*) from weir.rollup_runs a join weir.rollup_runs b
    on a.name = b.name and a.run_id < b.run_id and b.started_at < a.finished_at - interval '5 milliseconds'";

#[tokio::test(flavor = "multi_thread")]
async fn four_collectors_lose_and_double_nothing_whatever_becomes_of_them() {
    let database = TestDatabase::new().await;
    let key = first_source(&database.url).await.secret_key;
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(Node::start(&database).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let watch = tokio::spawn(watch_leaders(connect(&database.url).await, Arc::clone(&stop)));
    eventually("one looks after rollups", async || leader(&nodes).await.is_some()).await;
    // The first to be killed is the one that leads.
    let first = leader(&nodes).await.unwrap_or(0);
    nodes.rotate_left(first);

    let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.collector.public).collect();
    let habits = Habits { clients: 6, in_turn: true, ..Habits::default() };
    let clients = Clients::start(&addresses, &key, &habits, &mut Chance::told());
    let enough = async || {
        let before = clients.taken();
        eventually("clients are heard", async || clients.taken() > before + ENOUGH).await;
    };
    enough().await;
    // Killed, and back.
    nodes[0].running().kill().await;
    enough().await;
    nodes[0].restart().await;
    // Killed with what it could not send, and never back.
    nodes[1].cut_off();
    eventually("events wait in its journal", async || nodes[1].has_backlog().await).await;
    enough().await;
    nodes[1].running().kill().await;
    let said = adopted(&database.url, nodes[1].journal.path(), &["--now"]).await;
    assert!(!said.contains("\n0 events applied") && said.contains(" events applied, "), "{said}");
    // Cut off, and taking events all the while.
    nodes[2].cut_off();
    enough().await;
    assert!(nodes[2].has_backlog().await, "it took some of them");
    nodes[2].join(database.address());
    // Replaced as a deploy does.
    nodes[3].running().terminate().await;
    enough().await;
    nodes[3].restart().await;
    enough().await;

    let record = clients.finish().await;
    record.until_exact(&database.client).await;
    eventually("one looks after rollups", async || leader(&nodes).await.is_some()).await;
    stop.store(true, Ordering::Relaxed);
    let leaders = watch.await.expect("never two at once");
    assert!(leaders >= 2, "another takes over from who was killed");
    eventually("rollups were computed", async || database.number("select count(*) from weir.rollup_runs").await > 0)
        .await;
    assert_eq!(database.number(OVERLAPS).await, 0, "no two compute one rollup");
    for node in &mut nodes {
        if let Some(process) = node.process.take() {
            process.terminate().await;
        }
    }
    // Again, when nothing can arrive any more: and of the adopted journal neither.
    let said = adopted(&database.url, nodes[1].journal.path(), &["--now"]).await;
    assert!(said.contains("\n0 events applied"), "{said}");
    let findings = record.until_exact(&database.client).await;
    assert!(marked(nodes[1].journal.path()));
    eprintln!("four collectors: {leaders} led in turn: {findings}");
}

/// Who looks after rollups, if it is one.
async fn leader(nodes: &[Node]) -> Option<usize> {
    let mut leaders = Vec::new();
    for (n, node) in nodes.iter().enumerate() {
        if node.leads().await {
            leaders.push(n);
        }
    }
    if let [one] = leaders[..] { Some(one) } else { None }
}

fn marked(journal: &Path) -> bool {
    journal.join("adopted").is_file()
}
