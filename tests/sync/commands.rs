//! `weir sync` and `weir serve`, the real program.

use std::process::{Command, Output};

use super::pair::Pair;
use super::support::program::Collector;
use super::support::{TestDatabase, connect, eventually};

struct Weir {
    database_url: String,
    app_url: String,
    dir: tempfile::TempDir,
}

impl Weir {
    fn new(pair: &Pair) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = "[sync.shop]\nkind = \"postgres\"\nschema = \"store\"\nexclude_columns = [\"public.users.password\"]\npoll_s = 1\n";
        std::fs::write(dir.path().join("weir.toml"), settings).expect("written");
        Self { database_url: pair.here.url.clone(), app_url: pair.app.url.clone(), dir }
    }

    fn config(&self) -> String {
        self.dir.path().join("weir.toml").display().to_string()
    }

    async fn sync(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["--config", &self.config(), "sync"]).args(arguments);
        command.env("DATABASE_URL", &self.database_url).env("WEIR_SYNC__SHOP__URL", &self.app_url);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it runs");
        let Output { status, stdout, stderr } = output;
        (status.success(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_check_to_stop() {
    let sql = "create table users (id int primary key, email text, password text);
        create table log (line text);
        insert into users select i, 'u' || i, 'secret' from generate_series(1, 100) i";
    let pair = Pair::with(sql, "", TestDatabase::new().await).await;
    let weir = Weir::new(&pair);

    let (is_good, told) = weir.sync(&["check", "shop"]).await;
    assert!(is_good && told.contains("public.log is left out"), "{told}");
    let (is_good, told) = weir.sync(&["plan", "shop"]).await;
    let statements = [
        "create publication \"weir_shop\" for table only \"public\".\"users\" with (publish = ",
        "select pg_create_logical_replication_slot('weir_shop', 'pgoutput');",
        "create schema if not exists \"store\";",
        "create table \"store\".\"users\" (\"id\" integer, \"email\" text);",
    ];
    assert!(is_good && statements.iter().all(|statement| told.contains(statement)), "{told}");
    assert_eq!(pair.app.number("select count(*) from pg_publication").await, 0, "a plan changes nothing");
    assert!(!weir.sync(&["status", "nothing"]).await.0);

    let (is_good, told) = weir.sync(&["start", "shop"]).await;
    assert!(is_good, "{told}");
    let (is_good, told) = weir.sync(&["start", "shop"]).await;
    assert!(!is_good && told.contains("is started already"), "{told}");

    let journal = tempfile::tempdir().expect("a directory");
    let collector = Collector::new(&weir.database_url, journal.path())
        .with("WEIR_CONFIG", &weir.config())
        .with("WEIR_SYNC__SHOP__URL", &weir.app_url)
        .start_ready_here()
        .await;
    let sql = "select case when to_regclass('store.users') is null then 0 else (select count(*) from store.users) end";
    pair.here.until(sql, 100).await;
    pair.do_there("update users set email = 'new' where id = 7; update log set line = 'x'").await;
    pair.here.until("select count(*) from store.users where email = 'new'", 1).await;
    let columns = "select count(*) from information_schema.columns where table_schema = 'store'";
    assert_eq!(pair.here.number(columns).await, 2, "no password");
    for (metric, value) in [
        ("weir_replication_up{source=\"shop\"}", 1.0),
        ("weir_replication_tables{source=\"shop\",state=\"live\"}", 1.0),
        ("weir_replication_tables{source=\"shop\",state=\"left out\"}", 1.0),
    ] {
        eventually(metric, async || collector.collector.metric(metric).await == Some(value)).await;
    }
    let (is_good, told) = weir.sync(&["status", "shop"]).await;
    assert!(
        is_good && told.contains("shop: 1 live, 1 left out") && told.contains("slot weir_shop: reserved"),
        "{told}"
    );
    let state = pair.here.rows("select schema, live, left_out, slot_state from sync.replication_status").await;
    assert_eq!(state, ["store|1|1|reserved"]);

    // While it runs.
    pair.here.client.batch_execute("delete from store.users where id < 50").await.expect("harmed");
    assert!(weir.sync(&["resync", "shop", "--table", "users"]).await.0);
    pair.here.until("select count(*) from store.users", 100).await;
    let old = pair.app.rows("select slot_name, confirmed_flush_lsn from pg_replication_slots").await;
    let (is_good, told) = weir.sync(&["resync", "shop"]).await;
    assert!(is_good, "{told}");
    pair.do_there("insert into users values (101, 'more', 'secret')").await;
    pair.here.until("select count(*) from store.users", 101).await;
    assert_ne!(pair.app.rows("select slot_name, confirmed_flush_lsn from pg_replication_slots").await, old);

    // Another one replicates: what this collector has said of it holds no longer.
    let other = connect(&weir.database_url).await;
    let locks = "from pg_locks where locktype = 'advisory' and objid = 1919250540
                  and database = (select oid from pg_database where datname = current_database())";
    let lost = async {
        eventually("it waits", async || {
            pair.here.number(&format!("select count(*) {locks} and not granted")).await == 1
        })
        .await;
        let end = format!("select count(*) from (select pg_terminate_backend(pid) {locks} and granted) ended");
        assert_eq!(pair.here.number(&end).await, 1);
    };
    let taken = other.batch_execute("select pg_advisory_lock(1919250540)");
    let (taken, ()) = tokio::join!(taken, lost);
    taken.expect("the lock is free");
    for metric in ["weir_replication_up{source=\"shop\"}", "weir_replication_tables{source=\"shop\",state=\"live\"}"] {
        eventually(metric, async || collector.collector.metric(metric).await == Some(0.0)).await;
    }
    drop(other);

    let (is_good, told) = weir.sync(&["stop", "shop", "--drop-data"]).await;
    assert!(is_good, "{told}");
    assert_eq!(pair.app.number("select count(*) from pg_replication_slots").await, 0);
    assert_eq!(pair.here.number("select count(*) from pg_namespace where nspname = 'store'").await, 0);
    // The collector that read it takes events still.
    let log = collector.collector.log();
    collector.process.terminate().await;
    assert!(!log.contains("secret"), "{log}");
}
