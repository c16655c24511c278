//! An application's PostgreSQL, weir's, and what replicates between them.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir::config::Config;
use weir::database::{Database, migrate};
use weir::metrics::Metrics;
use weir::sync::postgres::engine::Engine;
use weir::sync::postgres::settings::Postgres;
use weir::sync::postgres::{runner, setup};

use super::support::server::Server;
use super::support::{PATIENCE, TestDatabase};

pub const LOGICAL: &str = "wal_level = logical\nmax_replication_slots = 4\nmax_wal_senders = 4\n";

/// See the module.
pub struct Pair {
    pub server: Server,
    /// The application's.
    pub app: TestDatabase,
    /// weir's.
    pub here: TestDatabase,
    pub settings: Postgres,
    pub metrics: Arc<Metrics>,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Pair {
    /// Makes both; the application's gets `sql`, run as its owner, who is also whom weir comes as.
    pub async fn new(sql: &str) -> Self {
        Self::with(sql, "", TestDatabase::new().await).await
    }

    pub async fn with(sql: &str, server_settings: &str, here: TestDatabase) -> Self {
        let server = Server::start_with(&format!("{LOGICAL}{server_settings}")).await;
        Self::on(server, sql, here).await
    }

    pub async fn on(server: Server, sql: &str, here: TestDatabase) -> Self {
        let app = server.make_database(None).await;
        server.admin().await.batch_execute("alter role weir replication").await.expect("allowed");
        app.client.batch_execute(sql).await.expect("the application's tables");
        let mut own = Config::default().database;
        here.url.clone_into(&mut own.url);
        migrate::run(&Database::new(&own, 1).expect("a valid URL")).await.expect("migrated");
        let settings = Postgres { url: app.url.clone(), poll_s: 1, ..Postgres::default() };
        Self { server, app, here, settings, metrics: Arc::new(Metrics::new()), running: None }
    }

    pub fn engine(&self) -> Engine {
        let mut own = Config::default().database;
        self.here.url.clone_into(&mut own.url);
        runner::engine(&own, "shop", &self.settings, &self.metrics).expect("good settings")
    }

    /// `weir sync start`, and a collector.
    pub async fn start(&mut self) {
        let engine = self.engine();
        setup::start(&engine.source, &engine.publisher, &engine.local).await.expect("started");
        self.run();
    }

    /// A collector.
    pub fn run(&mut self) {
        let stop = CancellationToken::new();
        let task = tokio::spawn(self.engine().run(stop.clone()));
        self.running = Some((stop, task));
    }

    /// The collector is gone in the midst of whatever it does.
    pub async fn kill(&mut self) {
        let (_, task) = self.running.take().expect("it runs");
        task.abort();
        let _ = task.await;
    }

    pub async fn halt(&mut self) {
        let (stop, task) = self.running.take().expect("it runs");
        stop.cancel();
        task.await.expect("no panic");
    }

    /// Runs a statement of the application's, which must succeed.
    pub async fn do_there(&self, sql: &str) {
        self.app.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Of each live table, what differs between there and here.
    pub async fn differences(&self) -> Vec<String> {
        let chosen = self.settings.chosen();
        let sql = "select remote, relation, state from sync.tables where source = 'shop' and state in ('live', 'copy')
                    order by 1";
        let mut differences = Vec::new();
        for row in self.here.client.query(sql, &[]).await.expect("asked") {
            let (name, relation, state): (String, String, String) = (row.get(0), row.get(1), row.get(2));
            if state != "live" {
                differences.push(format!("{name} is to be copied"));
                continue;
            }
            // As the application's server has them, less what the settings leave out; not as weir has it in mind.
            let sql = "select a.attname::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname), n.nspname::text,
                              c.relname::text
                         from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
                        where n.nspname || '.' || c.relname = $1 and a.attnum > 0 and not a.attisdropped
                          and to_jsonb(a) ->> 'attgenerated' is not distinct from
                              case when to_jsonb(a) ? 'attgenerated' then '' end
                        order by a.attnum";
            let rows = self.app.client.query(sql, &[&name]).await.expect("asked");
            let Some(remote) = rows.first().map(|row| row.get::<_, String>(1)) else {
                differences.push(format!("{name} is not there"));
                continue;
            };
            let quoted = |name: String| format!("\"{}\"::text", name.replace('"', "\"\""));
            let columns: Vec<String> = rows
                .iter()
                .filter(|row| chosen.takes_column(row.get(2), row.get(3), row.get(0)))
                .map(|row| quoted(row.get(0)))
                .collect();
            let columns = columns.join(", ");
            let relation = format!("shop.\"{}\"", relation.replace('"', "\"\""));
            let digest = |table: &str| {
                format!(
                    "select count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\\n' order by t::text collate \"C\")), '')
                       from (select {columns} from {table}) t"
                )
            };
            let there = self.app.client.query_one(&digest(&remote), &[]).await;
            let here = self.here.client.query_one(&digest(&relation), &[]).await;
            let text = |result: Result<tokio_postgres::Row, tokio_postgres::Error>| match result {
                Ok(row) => row.get::<_, String>(0),
                Err(error) => format!("{error:?}"),
            };
            let (there, here) = (text(there), text(here));
            if there != here || there.contains("Error") {
                let rows = |table: &str| format!("select t::text from (select {columns} from {table}) t order by 1");
                let (there_rows, here_rows) = (
                    self.app.client.query(&rows(&remote), &[]).await.unwrap_or_default(),
                    self.here.client.query(&rows(&relation), &[]).await.unwrap_or_default(),
                );
                let text =
                    |rows: &[tokio_postgres::Row]| -> BTreeSet<String> { rows.iter().map(|row| row.get(0)).collect() };
                let (there_rows, here_rows) = (text(&there_rows), text(&here_rows));
                let missing: Vec<_> = there_rows.difference(&here_rows).take(3).collect();
                let surplus: Vec<_> = here_rows.difference(&there_rows).take(3).collect();
                differences.push(format!("{remote} ({columns}): {there} there, {here} here; {missing:?} {surplus:?}"));
            }
        }
        differences
    }

    /// Waits until all live tables are the same, and there are so many of them.
    pub async fn until_same(&self, tables: i64) {
        let began = std::time::Instant::now();
        loop {
            let differences = self.differences().await;
            let live = self.here.number("select count(*) from sync.tables where state = 'live'").await;
            if differences.is_empty() && live == tables {
                return;
            }
            if began.elapsed() > PATIENCE {
                let known = self.here.rows("select remote, state, reason from sync.tables order by 1").await;
                let error = self.here.rows("select error, applied_lsn from sync.replications").await;
                panic!("not the same: {differences:#?}\n{live} live of {tables}: {known:#?}\nerror: {error:?}");
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

/// Settings of a server that wants a password of everyone but its superuser and `weir`.
pub fn password_file(role: &str) -> (String, tempfile::TempDir) {
    use std::os::unix::fs::PermissionsExt;
    let mut builder = tempfile::Builder::new();
    // Not $TMPDIR: it may be private to root.
    let dir = builder.permissions(PermissionsExt::from_mode(0o755)).tempdir_in("/tmp").expect("a directory");
    let file = dir.path().join("pg_hba.conf");
    let lines = format!("host all {role} 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n");
    std::fs::write(&file, lines).expect("written");
    (format!("hba_file = '{}'\n", file.display()), dir)
}
