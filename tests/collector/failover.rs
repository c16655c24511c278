//! A standby takes over that lacks the last commits: exactly what it lacks is sent again.

use weir::config::Config;

use crate::support::chance::Chance;
use crate::support::clients::{Clients, Habits};
use crate::support::proxy::Proxy;
use crate::support::server::{End, Server};
use crate::support::{TestCollector, TestDatabase, config, eventually, http, show_log};

const ROWS: &str = "select count(*) from analytics.events";
pub const ENOUGH: u64 = 500;

/// A primary with a database, its standby, and a collector that knows both.
pub struct Pair {
    pub primary: Server,
    pub database: TestDatabase,
    pub standby: Server,
    pub collector: TestCollector,
    _journal: tempfile::TempDir,
}

impl Pair {
    pub async fn start(change_config: impl FnOnce(&mut Config)) -> Self {
        show_log();
        let primary = Server::new().await;
        let database = primary.make_database(None).await;
        let journal = tempfile::tempdir().expect("a directory");
        let mut config = config(&database.url, journal.path());
        change_config(&mut config);
        let keys = crate::support::first_source(&database.url).await;
        let standby = primary.standby().await;
        // The standby first: it must be passed by.
        let hosts = format!("@{},{}/", standby.address(), primary.address());
        config.database.url = database.url.replace(&format!("@{}/", primary.address()), &hosts);
        let collector = TestCollector::start_with(config, keys).await.expect("starts");
        Self { primary, database, standby, collector, _journal: journal }
    }

    pub fn clients(&self, chance: &mut Chance) -> Clients {
        Clients::start(&[self.collector.address], &self.collector.keys.secret_key, &Habits::default(), chance)
    }

    /// Cuts the standby off when it has some of the events that clients send: it, and how many.
    pub async fn leave_standby_behind(&self) -> (TestDatabase, i64) {
        eventually("events arrive", async || self.database.number(ROWS).await as u64 > ENOUGH).await;
        self.standby.catch_up(&self.primary).await;
        self.standby.cut_off().await;
        let follower = self.standby.database().await;
        let kept = follower.number(ROWS).await;
        (follower, kept)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failover_forgets_is_sent_again() {
    let mut pair = Pair::start(|_| {}).await;
    let clients = pair.clients(&mut Chance::told());
    let (follower, kept) = pair.leave_standby_behind().await;
    eventually("more arrive", async || pair.database.number(ROWS).await as u64 > kept as u64 + ENOUGH).await;
    let had = pair.database.number(ROWS).await;
    pair.primary.end(End::Kill);
    let before = clients.taken();
    eventually("events are taken meanwhile", async || clients.taken() > before + ENOUGH).await;
    assert_eq!(follower.number(ROWS).await, kept, "the standby knows nothing of them");
    pair.standby.promote().await;
    let before = clients.taken();
    eventually("events are taken afterwards", async || clients.taken() > before + ENOUGH).await;
    let record = clients.finish().await;
    record.until_exact(&follower.client).await;
    pair.collector.stop().await;
    let findings = record.until_exact(&follower.client).await;
    eprintln!("failover: 1 round, {} rows forgotten and sent again: {findings}", had - kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_noticed_while_nothing_comes() {
    let mut pair = Pair::start(|_| {}).await;
    pair.standby.catch_up(&pair.primary).await;
    pair.standby.cut_off().await;
    let clients = pair.clients(&mut Chance::told());
    eventually("events arrive", async || clients.taken() > ENOUGH).await;
    let record = clients.finish().await;
    // All of it is stored and reported, and the collector at rest, when all of it is forgotten.
    record.until_exact(&pair.database.client).await;
    pair.primary.end(End::Immediate);
    pair.standby.promote().await;
    let follower = pair.standby.database().await;
    record.until_exact(&follower.client).await;
    pair.collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_reads_is_never_written_to() {
    show_log();
    let primary = Server::new().await;
    let database = primary.make_database(None).await;
    let standby = primary.standby().await;
    let address = |server: &Server| server.address().parse().expect("an address");
    let proxy = Proxy::start(address(&primary)).await;
    let journal = tempfile::tempdir().expect("a directory");
    let collector = TestCollector::start(config(&proxy.url(&database.url), journal.path())).await;
    collector.post(r#"{"name":"first"}"#).await;
    database.until_stored(1).await;
    let is_degraded = async || http::get(collector.admin, "/healthz", &[]).await.json()["status"] == "degraded";

    // The name leads to a server in recovery.
    proxy.lead_to(address(&standby));
    assert_eq!(collector.post(r#"{"name":"second"}"#).await.status, 200);
    eventually("the collector knows", is_degraded).await;
    assert_eq!(database.number(ROWS).await, 1);
    proxy.lead_to(address(&primary));
    database.until_stored(2).await;

    // The primary is fenced, with the collector's connections open.
    let admin = primary.admin().await;
    admin.batch_execute("alter system set default_transaction_read_only = on").await.expect("set");
    admin.batch_execute("select pg_reload_conf()").await.expect("reloaded");
    eventually("the setting is read", async || {
        let row = primary.admin().await.query_one("show default_transaction_read_only", &[]).await.expect("shown");
        row.get::<_, &str>(0) == "on"
    })
    .await;
    assert_eq!(collector.post(r#"{"name":"third"}"#).await.status, 200);
    eventually("the collector knows", is_degraded).await;
    assert_eq!(database.number(ROWS).await, 2);
    assert_eq!(database.number("select count(*) from weir.quarantine").await, 0);
    admin.batch_execute("alter system reset default_transaction_read_only").await.expect("reset");
    admin.batch_execute("select pg_reload_conf()").await.expect("reloaded");
    database.until_stored(3).await;
    database.until_accounted(3, 3, 0, 0).await;
    collector.stop().await;
}
