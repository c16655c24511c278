//! What all integration tests stand on: a database of their own on the server that `scripts/with-postgres` started, a
//! collector within the test's process, and HTTP in raw bytes.

pub mod bouncer;
pub mod browser;
pub mod chance;
pub mod citus;
pub mod clickhouse;
pub mod clients;
pub mod http;
pub mod people;
pub mod program;
pub mod proxy;
pub mod record;
pub mod rollups;
pub mod server;
pub mod small_disk;
pub mod taps;
pub mod visits;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};
use weir::config::Config;
use weir::database::Database;
use weir::run::{Listeners, RunError, Running, World};
use weir::sources::{self, KeyPair};

use http::Answer;

/// Longer than anything here takes on a busy machine; a test that needs it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The address of the server as its superuser.
pub fn superuser_url() -> String {
    if let Some(coordinator) = citus::url() {
        return coordinator;
    }
    std::env::var("WEIR_TEST_SUPERUSER_URL")
        .expect("no PostgreSQL: run `make test`, or scripts/with-postgres \"$(scripts/postgres-bin)\" -- cargo test")
}

/// The path of a tool that a test needs. `make test` provides all of them and lets none be missing.
pub fn tool(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    assert!(
        path.is_some() || std::env::var_os("WEIR_TEST_REQUIRE_ALL").is_none(),
        "{variable} is not set, and WEIR_TEST_REQUIRE_ALL is"
    );
    if path.is_none() {
        eprintln!("skipped: {variable} is not set");
    }
    path
}

pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the test's PostgreSQL answers");
    tokio::spawn(connection);
    client
}

/// What the collector says, shown with a failing test: `WEIR_LOG=debug` for more.
pub fn show_log() {
    let filter = std::env::var("WEIR_LOG").unwrap_or_else(|_| "warn".to_owned());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer();
    // Another test of this process may have been first.
    let _ = log.try_init();
}

static NEXT_DATABASE: AtomicU32 = AtomicU32::new(0);

/// A fresh database, owned by a role that is nothing more than its owner.
pub struct TestDatabase {
    pub name: String,
    pub url: String,
    pub client: Client,
    /// Goes with it.
    pub _on_nodes: Option<citus::OnNodes>,
}

impl TestDatabase {
    pub async fn new() -> Self {
        Self::of("nocreaterole").await
    }

    /// On the one server that is spoken to, whether there are others or not.
    pub async fn on_one_server() -> Self {
        Self::made("nocreaterole", false).await
    }

    /// As [`Self::new`], with other attributes of the role.
    pub async fn of(attributes: &str) -> Self {
        Self::made(attributes, citus::url().is_some()).await
    }

    async fn made(attributes: &str, is_distributed: bool) -> Self {
        show_log();
        let name = format!("{}{}_{}", citus::PREFIX, std::process::id(), NEXT_DATABASE.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&superuser_url()).await;
        let role = format!("create role {name} login nosuperuser nocreatedb {attributes} password 'secret'");
        admin.batch_execute(&role).await.expect("role made");
        let on_nodes = if is_distributed {
            Some(citus::make_database(&admin, &name).await)
        } else {
            admin.batch_execute(&format!("create database {name} owner {name}")).await.expect("database made");
            None
        };
        let server = superuser_url();
        let (_, host) = server.split_once('@').expect("a URL with a user");
        let (host, _) = host.split_once('/').expect("a URL with a database");
        let url = format!("postgres://{name}:secret@{host}/{name}");
        let client = connect(&url).await;
        Self { name, url, client, _on_nodes: on_nodes }
    }

    /// Host and port of the server.
    pub fn address(&self) -> SocketAddr {
        let (_, rest) = self.url.split_once('@').expect("a URL with a user");
        rest.split('/').next().expect("an address").parse().expect("an address")
    }

    /// Cuts everyone off and lets nobody in, until [`Self::open`].
    pub async fn shut(&self) {
        let admin = connect(&superuser_url()).await;
        admin.batch_execute(&format!("alter database {} allow_connections false", self.name)).await.expect("shut");
        let kick = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
        admin.query(kick, &[&self.name]).await.expect("kicked");
    }

    pub async fn open(&mut self) {
        let admin = connect(&superuser_url()).await;
        admin.batch_execute(&format!("alter database {} allow_connections true", self.name)).await.expect("opened");
        self.client = connect(&self.url).await;
    }

    /// The first column of the first row.
    pub async fn number(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// Every row as text, columns separated by `|`, NULL as nothing.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        let messages = self.client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let mut rows = Vec::new();
        for message in messages {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                let columns: Vec<&str> = (0..row.len()).map(|column| row.get(column).unwrap_or("")).collect();
                rows.push(columns.join("|"));
            }
        }
        rows
    }

    /// Waits until `sql` gives `expected`.
    pub async fn until(&self, sql: &str, expected: i64) {
        let started = Instant::now();
        loop {
            let found = self.number(sql).await;
            if found == expected {
                return;
            }
            if started.elapsed() >= PATIENCE {
                // By itself, as the rest is of a database with weir's tables.
                eprintln!("this did not come about: {sql} is {found}, not {expected}");
                panic!("{sql} is {found}, not {expected}: {:#?}", self.whats_the_matter().await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the events table holds `expected` rows.
    pub async fn until_stored(&self, expected: i64) {
        self.until("select count(*) from analytics.events", expected).await;
    }

    /// Where events are, and what everybody is doing or waits for.
    async fn whats_the_matter(&self) -> Vec<String> {
        let mut said = self.rows("select accounting from weir.accounting").await;
        said.extend(self.rows("select sqlstate, message from weir.quarantine limit 5").await);
        said.extend(
            self.rows(
                "select pid, pg_blocking_pids(pid), state, wait_event_type, wait_event, now() - xact_start, now() - state_change,
                        left(query, 200)
                   from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
            )
            .await,
        );
        said
    }

    /// Waits until the view says that everything accepted has come to rest, with these totals.
    pub async fn until_accounted(&self, accepted: i64, stored: i64, duplicate: i64, quarantined: i64) {
        let sql = "select accepted, stored, duplicate, quarantined, pending, unexplained from weir.accounting";
        let expected = vec![format!("{accepted}|{stored}|{duplicate}|{quarantined}|0|0")];
        let started = Instant::now();
        loop {
            let found = self.rows(sql).await;
            if found == expected {
                return;
            }
            if started.elapsed() >= PATIENCE {
                let all = self.whats_the_matter().await;
                panic!("accounting is {found:?}, not {expected:?}: {all:#?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PATIENCE, "this did not come about: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A collector in this process, with a journal in a temporary directory.
pub struct TestCollector {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub keys: KeyPair,
    pub config: Config,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), RunError>>,
}

/// How weir reaches a test's database.
pub fn settings(database_url: &str) -> weir::config::Database {
    let distribute = citus::distribute(database_url);
    weir::config::Database { url: database_url.to_owned(), distribute, ..Config::default().database }
}

/// The settings of a test: small, quick, and on directories of its own.
pub fn config(database_url: &str, journal: &std::path::Path) -> Config {
    let mut config = Config { database: settings(database_url), ..Config::default() };
    journal.clone_into(&mut config.journal.dir);
    config.journal.segment_bytes = 1024 * 1024;
    config.flush.interval_ms = 20;
    // Tests of rollups say so.
    config.rollup.concurrency = 0;
    // Made in the midst of a test, they would be in the way of its statements.
    config.retention.person_indexes = false;
    config
}

impl TestCollector {
    /// Starts with the first source made, named `web`.
    pub async fn start(config: Config) -> Self {
        let keys = first_source(&config.database.url).await;
        Self::start_with(config, keys).await.expect("the collector starts")
    }

    /// Starts with keys that exist already.
    pub async fn start_with(config: Config, keys: KeyPair) -> Result<Self, RunError> {
        let public = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let admin = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, admin_address) = (public.local_addr().expect("bound"), admin.local_addr().expect("bound"));
        let running = Running::start(config.clone(), Listeners { public, admin }, World::default(), None).await?;
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(running.until(async {
            let _ = stopped.await;
        }));
        Ok(Self { address, admin: admin_address, keys, config, stop: Some(stop), running })
    }

    /// Stops as SIGTERM would.
    pub async fn stop(mut self) -> (Config, KeyPair) {
        drop(self.stop.take());
        self.running.await.expect("no panic").expect("an orderly end");
        (self.config, self.keys)
    }

    /// Posts to `/v1/events` with the secret key.
    pub async fn post(&self, body: &str) -> Answer {
        let authorization = format!("authorization: Bearer {}", self.keys.secret_key);
        http::post(self.address, "/v1/events", &[&authorization, "content-type: application/json"], body.as_bytes())
            .await
    }

    /// Posts events of 50 kB until one is not answered with `success`: how many were, and the refusal.
    pub async fn fill(&self, success: u16, most: i64) -> (i64, Answer) {
        let event = format!(r#"{{"name":"a","properties":{{"filler":"{}"}}}}"#, "x".repeat(50_000));
        for accepted in 0..most {
            let answer = self.post(&event).await;
            if answer.status != success {
                return (accepted, answer);
            }
        }
        panic!("{most} events are taken: it never fills");
    }

    /// Posts as a browser does: public key, text/plain.
    pub async fn beacon(&self, body: &str, headers: &[&str]) -> Answer {
        let path = format!("/v1/events?key={}", self.keys.public_key);
        let headers: Vec<&str> = headers.iter().copied().chain(["content-type: text/plain"]).collect();
        http::post(self.address, &path, &headers, body.as_bytes()).await
    }
}

/// The keys of the source `web`, in a database brought up to date.
pub async fn first_source(database_url: &str) -> KeyPair {
    let database = Database::new(&settings(database_url), 1).expect("a valid URL");
    weir::database::migrate::run(&database).await.expect("migrated");
    sources::add(&database, "web", &[]).await.expect("source added")
}

/// A database and a collector on it.
pub async fn collector(change: impl FnOnce(&mut Config)) -> (TestDatabase, TestCollector, tempfile::TempDir) {
    let database = TestDatabase::new().await;
    let journal = tempfile::tempdir().expect("a directory");
    let mut config = config(&database.url, journal.path());
    change(&mut config);
    let collector = TestCollector::start(config).await;
    (database, collector, journal)
}

/// Fails instead of hanging.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("too slow: {what}"))
}
