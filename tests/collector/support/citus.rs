//! With `CITUS_URL`, the coordinator of a cluster (`scripts/citus`), every test database is one on all its nodes, whose events are
//! distributed: so any test can be run on Citus.

use tokio_postgres::Client;
use weir::database::distribute::Distribute;

use super::{connect, eventually};

/// Names of test databases begin so; servers of a test's own have others.
pub const PREFIX: &str = "weir_";

/// The coordinator, as its superuser.
pub fn url() -> Option<String> {
    std::env::var("CITUS_URL").ok().filter(|url| !url.is_empty())
}

/// What a collector on this database has to be told.
pub fn distribute(database_url: &str) -> Distribute {
    let is_test_database = database_url.rsplit('/').next().is_some_and(|name| name.starts_with(PREFIX));
    if is_test_database && url().is_some() { Distribute::Citus } else { Distribute::None }
}

/// A database on every node. It goes with its test: Citus keeps some sessions to each that there is.
pub struct OnNodes {
    name: String,
    nodes: Vec<String>,
}

impl Drop for OnNodes {
    fn drop(&mut self) {
        let (name, nodes) = (self.name.clone(), std::mem::take(&mut self.nodes));
        let drop = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                for node in nodes {
                    // A worker that was killed may be gone for good.
                    let Ok((client, connection)) = tokio_postgres::connect(&node, tokio_postgres::NoTls).await else {
                        continue;
                    };
                    tokio::spawn(connection);
                    let _ = client.batch_execute(&format!("drop database if exists {name} with (force)")).await;
                }
            });
        };
        // Within another runtime nothing can be waited for.
        let _ = std::thread::spawn(drop).join();
    }
}

/// Makes a database on every node, of which Citus then knows the others.
pub async fn make_database(coordinator: &Client, name: &str) -> OnNodes {
    let url = url().expect("there is a cluster");
    let sql = "select nodename || ':' || nodeport as address, groupid = 0 as is_coordinator from pg_dist_node order by groupid desc";
    let (user, _) = url.split_once('@').expect("a URL with a user");
    let nodes = coordinator.query(sql, &[]).await.expect("a cluster");
    for node in &nodes {
        let address: &str = node.get("address");
        let admin = connect(&format!("{user}@{address}/postgres")).await;
        // Its owner came there with `create role`.
        admin.batch_execute(&format!("create database {name} owner {name}")).await.expect("database made");
        let within = connect(&format!("{user}@{address}/{name}")).await;
        within.batch_execute("create extension citus").await.expect("Citus is installed");
        if node.get("is_coordinator") {
            let (host, port) = address.split_once(':').expect("host and port");
            let port: i32 = port.parse().expect("a port");
            within.query("select citus_set_coordinator_host($1, $2)", &[&host, &port]).await.expect("set");
            for worker in nodes.iter().filter(|node| !node.get::<_, bool>("is_coordinator")) {
                let (host, port) = worker.get::<_, &str>("address").split_once(':').expect("host and port");
                let port: i32 = port.parse().expect("a port");
                // Another database's worker may be added at this moment, on which Citus waits for nobody.
                eventually("the worker is added", async || {
                    within.query("select citus_add_node($1, $2)", &[&host, &port]).await.is_ok()
                })
                .await;
            }
        }
    }
    let mut nodes: Vec<String> =
        nodes.iter().map(|node| format!("{user}@{}/postgres", node.get::<_, &str>("address"))).collect();
    // The coordinator first, which has sessions to the others.
    nodes.reverse();
    OnNodes { name: name.to_owned(), nodes }
}
