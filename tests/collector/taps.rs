//! Taps as processes: started with their settings and STATE, listened to, and ended.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir::config::Config;
use weir::database::{Database, migrate};
use weir::sync::settings::{Singer, Source};
use weir::sync::singer::SingerError;
use weir::sync::singer::load::Loaded;
use weir::sync::singer::run;

use crate::support::{TestDatabase, collector, eventually};

/// A directory with a tap that is a script, and its settings.
struct Tap {
    dir: tempfile::TempDir,
    settings: Singer,
}

const SCHEMA: &str = r#"echo '{"type":"SCHEMA","stream":"t","schema":{"properties":{"id":{"type":"integer"}}},"key_properties":["id"]}'"#;

impl Tap {
    fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join("tap");
        write(&program, &format!("#!/bin/sh\n{SCHEMA}\n{script}\n"), 0o755);
        write(&dir.path().join("config.json"), r#"{"api_key":"very-secret-key"}"#, 0o600);
        let settings = Singer { tap: "./tap".to_owned(), dir: dir.path().to_owned(), ..Singer::default() };
        Self { dir, settings }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn run(&self, pool: &Database) -> Result<Loaded, SingerError> {
        run::run(pool, "crm", "crm", &self.settings).await
    }
}

fn write(file: &Path, text: &str, mode: u32) {
    fs::write(file, text).expect("written");
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("set");
}

async fn database() -> (TestDatabase, Database) {
    let database = TestDatabase::new().await;
    let mut settings = Config::default().database;
    settings.url.clone_from(&database.url);
    let pool = Database::new(&settings, 4).expect("a valid URL");
    migrate::run(&pool).await.expect("migrated");
    (database, pool)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_goes_on_from_its_last_state() {
    let (database, pool) = database().await;
    let tap = Tap::new(
        r#"while [ $# -gt 1 ]; do case $1 in --state) state=$2 ;; --config) config=$2 ;; esac; shift 2; done
           if [ -n "$state" ]; then cp "$state" seen-state; from=2; else from=1; fi
           cp "$config" seen-config
           env | grep -c '^WEIR_\|^DATABASE_URL\|^CARGO' >seen-environment; echo "$PATH" >seen-path
           echo "{\"type\":\"RECORD\",\"stream\":\"t\",\"record\":{\"id\":$from}}"
           echo "{\"type\":\"STATE\",\"value\":{\"after\":$from}}""#,
    );
    assert_eq!(tap.run(&pool).await.expect("run").rows, 1);
    assert!(!tap.file("seen-state").exists());
    tap.run(&pool).await.expect("run");
    let seen = fs::read_to_string(tap.file("seen-state")).expect("there was a state");
    assert_eq!(seen, r#"{"after": 1}"#);
    assert_eq!(
        fs::read_to_string(tap.file("seen-config")).expect("it had settings"),
        r#"{"api_key":"very-secret-key"}"#
    );
    assert_eq!(fs::read_to_string(tap.file("seen-environment")).expect("it looked").trim(), "0");
    assert!(fs::read_to_string(tap.file("seen-path")).expect("it looked").contains('/'));
    for left in ["run-config.json", "run-state.json"] {
        assert!(!tap.file(left).exists(), "{left} is left behind");
    }
    assert_eq!(database.rows("select id from crm.t order by id").await, ["1", "2"]);
    assert_eq!(database.rows("select state from sync.sources").await, [r#"{"after": 2}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_fails_keeps_what_it_gave_and_says_why_without_secrets() {
    let (database, pool) = database().await;
    let tap = Tap::new(
        r#"echo '{"type":"RECORD","stream":"t","record":{"id":1}}'
           echo '{"type":"STATE","value":1}'
           echo 'reading with very-secret-key' >&2
           echo '401: very-secret-key is no good' >&2
           exit 3"#,
    );
    let error = tap.run(&pool).await.expect_err("it fails").to_string();
    assert_eq!(error, "./tap ended with exit status: 3: 401: *** is no good");
    assert_eq!(database.rows("select id from crm.t").await, ["1"]);
    let run = "select outcome, error, log, state from sync.runs join sync.sources using (source)";
    let told = "failed|./tap ended with exit status: 3: 401: *** is no good|reading with ***\n401: *** is no good\n|1";
    assert_eq!(database.rows(run).await, [told]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_is_ended_with_all_that_it_started() {
    let (database, pool) = database().await;
    let mut tap = Tap::new("trap '' TERM; sleep 600 & echo $! >child; wait; sleep 600");
    tap.settings.timeout_s = 1;
    let error = tap.run(&pool).await.expect_err("too long").to_string();
    assert!(error.contains("timeout_s"), "{error}");
    let child = fs::read_to_string(tap.file("child")).expect("it started one");
    let process = PathBuf::from(format!("/proc/{}", child.trim()));
    eventually("the tap's child is gone", async || {
        // Nobody may be there to bury it.
        !process.exists() || fs::read_to_string(process.join("stat")).is_ok_and(|stat| stat.contains(") Z "))
    })
    .await;
    // One whose output cannot be used is not left running either.
    let tap = Tap::new(r#"echo $$ >self; echo '{"type":"BATCH"}'; exec sleep 600"#);
    let error = tap.run(&pool).await.expect_err("refused").to_string();
    assert!(error.contains("batch_config"), "{error}");
    let pid = fs::read_to_string(tap.file("self")).expect("it wrote it");
    assert!(!PathBuf::from(format!("/proc/{}", pid.trim())).exists());
    assert_eq!(database.rows("select outcome from sync.runs").await, ["failed", "failed"]);
    // One that ends well, but has written nothing, has most likely read nothing.
    let tap = Tap::new("");
    write(&tap.file("tap"), "#!/bin/sh\n", 0o755);
    let error = tap.run(&pool).await.expect_err("nothing").to_string();
    assert!(error.contains("catalog.json"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_said_at_the_beginning_counts_once_the_tap_has_ended_well() {
    let (database, pool) = database().await;
    let script = |version: u32, id: u32, end: &str| {
        format!(
            r#"echo '{{"type":"ACTIVATE_VERSION","stream":"t","version":{version}}}'
               echo '{{"type":"RECORD","stream":"t","record":{{"id":{id}}},"version":{version}}}'
               {end}"#
        )
    };
    let sql = "select id, _deleted_at is not null from crm.t order by id";
    Tap::new(&script(1, 1, "exit 0")).run(&pool).await.expect("run");
    Tap::new(&script(2, 2, "exit 1")).run(&pool).await.expect_err("fails");
    assert_eq!(database.rows(sql).await, ["1|f", "2|f"]);
    Tap::new(&script(3, 2, "exit 0")).run(&pool).await.expect("run");
    assert_eq!(database.rows(sql).await, ["1|t", "2|f"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_others_can_read_are_refused() {
    let (_database, pool) = database().await;
    let tap = Tap::new("");
    fs::set_permissions(tap.file("config.json"), fs::Permissions::from_mode(0o644)).expect("set");
    let error = tap.run(&pool).await.expect_err("refused").to_string();
    assert!(error.contains("chmod 600"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_runs_taps_by_schedule() {
    let mut tap = Tap::new(
        r#"n=$(($(cat count 2>/dev/null || echo 0) + 1)); echo $n >count
           echo "{\"type\":\"RECORD\",\"stream\":\"t\",\"record\":{\"id\":$n}}""#,
    );
    tap.settings.every = "1s".to_owned();
    let mut slow = Tap::new("echo $$ >self; exec sleep 600");
    slow.settings.every = "1h".to_owned();
    let sources = [("crm", &tap), ("slow", &slow)];
    let (database, collector, _journal) = collector(|config| {
        for (name, tap) in sources {
            config.sync.insert(name.to_owned(), Source::Singer(tap.settings.clone()));
        }
    })
    .await;
    let done = "select least(2, count(*)) from sync.runs where source = 'crm' and outcome = 'done'";
    database.until(done, 2).await;
    database.until("select least(2, count(*)) from crm.t", 2).await;
    eventually("the slow one runs", async || slow.file("self").exists()).await;
    eventually("metrics tell", async || {
        let metrics = crate::support::http::get(collector.admin, "/metrics", &[]).await.text();
        metrics.contains("weir_sync_rows_total{source=\"crm\"}")
            && metrics.contains("weir_sync_last_success_timestamp_seconds{source=\"crm\"}")
    })
    .await;
    tokio::time::timeout(Duration::from_secs(20), collector.stop()).await.expect("a tap does not hold it up");
    let pid = fs::read_to_string(slow.file("self")).expect("it ran");
    let process = PathBuf::from(format!("/proc/{}", pid.trim()));
    eventually("the tap ends with the collector", async || {
        !process.exists() || fs::read_to_string(process.join("stat")).is_ok_and(|stat| stat.contains(") Z "))
    })
    .await;
}
