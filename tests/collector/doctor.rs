//! `weir doctor`: each fault made for real, found, and told with a cure.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, KeyPair};
use weir::Config;
use weir::clock::Clock;
use weir::doctor::{Finding, Level, examine};
use weir::run::World;

use crate::support::server::Server;
use crate::support::{TestCollector, TestDatabase, collector, config, connect, first_source, superuser_url};

async fn look(config: &Config) -> Vec<Finding> {
    examine(config, &config.journal.dir, &World::default()).await
}

/// What was found by one check: its worst level, and all that it says.
fn of(findings: &[Finding], check: &str) -> (Level, String) {
    let own: Vec<&Finding> = findings.iter().filter(|finding| finding.check == check).collect();
    assert!(!own.is_empty(), "nothing of {check} in {findings:#?}");
    for finding in &own {
        let is_bad = finding.level > Level::Note;
        assert!(!is_bad || !finding.why.is_empty() && !finding.cure.is_empty(), "no reason or cure: {finding:?}");
    }
    let level = own.iter().map(|finding| finding.level).max().expect("some");
    let words = own.iter().map(|finding| format!("{} | {}\n", finding.found, finding.cure)).collect();
    (level, words)
}

#[track_caller]
fn assert_found(findings: &[Finding], check: &str, level: Level, words: &str) {
    let (worst, said) = of(findings, check);
    assert_eq!(worst, level, "{check}: {said}");
    assert!(said.contains(words), "{check}: {said}");
}

/// A collector's settings once it runs: where its admin listener is.
fn seen(collector: &TestCollector) -> Config {
    let mut config = collector.config.clone();
    config.admin.listen = collector.admin;
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_order_is_told_as_such() {
    let (database, collector, _journal) = collector(|config| config.journal.bytes_max = 64 * 1024 * 1024).await;
    collector.post(r#"{"name":"a"}"#).await;
    database.until_accounted(1, 1, 0, 0).await;
    let findings = look(&seen(&collector)).await;
    for check in [
        "settings",
        "admin",
        "collector",
        "tls",
        "journal.owner",
        "journal.file-system",
        "journal.room",
        "journal.forks",
        "postgres.connection",
        "postgres.version",
        "postgres.primary",
        "postgres.autovacuum",
        "postgres.connections",
        "postgres.encoding",
        "postgres.slots",
        "clock",
        "schema",
        "grants",
        "citus",
        "partitions.ahead",
        "partitions.count",
        "partitions.over",
        "partitions.default",
        "accounting",
        "quarantine",
        "keys",
        "proxies",
        "rollups",
        "sync",
        "clickhouse",
    ] {
        let (level, said) = of(&findings, check);
        assert!(level == Level::Ok || check == "postgres.slots", "{check}: {said}");
    }
    let other: Vec<_> = findings.iter().filter(|finding| finding.found.contains("could not be looked at")).collect();
    assert!(other.is_empty(), "{other:?}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_data_are_found() {
    let (database, collector, journal) = collector(|_| {}).await;
    let settings = seen(&collector);
    database.client.batch_execute("alter table analytics.events add check (name <> 'bad')").await.expect("altered");
    collector.post(r#"{"name":"bad"}"#).await;
    // As visitors behind a proxy that is not named.
    let views: Vec<String> = (0..60).map(|n| format!(r#"{{"url":"https://a.example/{n}"}}"#)).collect();
    assert_eq!(collector.beacon(&format!("[{}]", views.join(",")), &[]).await.status, 200);
    database.until_accounted(61, 60, 0, 1).await;
    let findings = look(&settings).await;
    assert_found(&findings, "quarantine", Level::Warning, "1 rows wait in quarantine, as for 23514");
    assert_found(&findings, "proxies", Level::Warning, "all of private networks | receive.trusted_proxies");
    assert_found(&findings, "accounting", Level::Ok, "");
    let mut trusting = settings.clone();
    trusting.receive.trusted_proxies = vec!["0.0.0.0/0".parse().expect("a net")];
    assert_found(&look(&trusting).await, "proxies", Level::Warning, "receive.trusted_proxies has 0.0.0.0/0");
    collector.stop().await;

    database
        .client
        .batch_execute(
            "update weir.promises set accepted = accepted + 5;
             insert into analytics.events (event_id, occurred_at, received_at, source, kind, is_bot)
             values (gen_random_uuid(), '2001-01-01', now(), 'web', 'page', false);
             insert into weir.sources (source, created_at) values ('old', now() - interval '2 days'), ('none', now()), ('off', now());
             insert into weir.write_keys (key_hash, source, kind, hint, expires_at)
             values ('a', 'old', 'public', 'pk_', null), ('b', 'none', 'public', 'pk_', now() - interval '1 hour');
             update weir.sources set disabled_at = now() where source = 'off';
             insert into weir.rollups (name, kind, state, hash, body, timezone, reads_events, failures, error)
             values ('signups', 'view', 'live', '', 'select 1', 'UTC', true, 3, 'no such column');
             insert into sync.sources (source, kind, schema) values ('stripe', 'singer', 'stripe');
             insert into sync.runs (source, outcome, finished_at, error) values ('stripe', 'failed', now(), 'key expired');
             insert into weir.clickhouse_sink (failing_since, error) values (now(), 'no answer');
             update weir.ledger set applied_crc = applied_crc # 1;
             create table analytics.events_20200101 partition of analytics.events for values from ('2020-01-01') to ('2020-01-02');",
        )
        .await
        .expect("spoilt");
    std::fs::write(journal.path().join("1.damaged"), b"x").expect("written");
    let mut settings = settings;
    settings.retention.events = serde_json::from_str(r#""30 days""#).expect("a period");
    let findings = look(&settings).await;
    assert_found(&findings, "accounting", Level::Problem, "5 events of web were accepted and are nowhere");
    assert_found(&findings, "partitions.default", Level::Warning, "rows lie in analytics.events_default");
    assert_found(
        &findings,
        "partitions.over",
        Level::Warning,
        "1 days are over and still there | weir partitions prune",
    );
    for words in ["old has never sent", "none has no key in force | weir source rotate none", "off is disabled"] {
        assert_found(&findings, "keys", Level::Warning, words);
    }
    assert_found(&findings, "rollups", Level::Warning, "signups failed 3 times in a row: no such column");
    assert_found(&findings, "sync", Level::Warning, "stripe fails: key expired | weir sync list; weir sync log stripe");
    assert_found(
        &findings,
        "clickhouse",
        Level::Warning,
        "it does not follow, 0 s behind: no answer | weir clickhouse status",
    );
    assert_found(&findings, "journal.forks", Level::Warning, "another file of the name");
    assert_found(
        &findings,
        "journal.damaged",
        Level::Warning,
        "1 damaged segments were put aside | weir journal verify",
    );
    assert_found(&findings, "collector", Level::Note, "no collector answers");
    assert_found(&findings, "usage", Level::Note, "statements are not counted");
}

/// A clock that is wrong.
struct Wrong(SignedDuration);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        Timestamp::now() + self.0
    }
}

/// The test's own database, by the superuser.
fn as_superuser(database: &TestDatabase) -> String {
    let server = superuser_url();
    let (before, _) = server.rsplit_once('/').expect("a URL with a database");
    format!("{before}/{}", database.name)
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_schema_rights_and_clock_are_found() {
    let database = TestDatabase::new().await;
    let journal = tempfile::tempdir().expect("a directory");
    let settings = config(&database.url, journal.path());
    assert_found(&look(&settings).await, "schema", Level::Note, "no tables of weir's | weir serve");
    first_source(&database.url).await;
    let findings = look(&settings).await;
    assert_found(&findings, "partitions.ahead", Level::Problem, "no partition is there for tomorrow");
    assert_found(&findings, "schema", Level::Ok, "");
    assert_found(&findings, "grants", Level::Ok, "");
    let admin = connect(&as_superuser(&database)).await;
    let sql = format!(
        "alter table weir.ledger owner to current_user; revoke temporary on database {0} from public, {0}",
        database.name
    );
    admin.batch_execute(&sql).await.expect("taken away");
    let ahead = World { clock: Arc::new(Wrong(SignedDuration::from_hours(3))), ..World::default() };
    let findings = examine(&settings, journal.path(), &ahead).await;
    for words in [
        "weir.ledger is owned by".to_owned(),
        format!("alter table weir.ledger owner to {}", database.name),
        format!("grant temporary on database {0} to {0}", database.name),
    ] {
        assert_found(&findings, "grants", Level::Problem, &words);
    }
    assert_found(&findings, "clock", Level::Problem, "10800.");
    let newer = "insert into weir.migrations (version, name, applied_on, checksum) values (999, 'later', '', '')";
    admin.batch_execute(newer).await.expect("newer");
    assert_found(&look(&settings).await, "schema", Level::Warning, "version 999");
    admin.batch_execute("delete from weir.migrations where version > 1").await.expect("older");
    assert_found(&look(&settings).await, "schema", Level::Note, "version 1, ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_set_to_lose_is_told() {
    let server =
        Server::start_with("fsync = off\nfull_page_writes = off\nautovacuum = off\nsynchronous_commit = off\n").await;
    let database = server.make_database(None).await;
    let journal = tempfile::tempdir().expect("a directory");
    let mut settings = config(&database.url, journal.path());
    let admin = server.admin().await;
    admin
        .batch_execute(
            "select pg_create_physical_replication_slot('forgotten', true); alter role weir connection limit 5",
        )
        .await
        .expect("set");
    let findings = look(&settings).await;
    for (check, name) in [("postgres.fsync", "fsync"), ("postgres.full-page-writes", "full_page_writes")] {
        assert_found(&findings, check, Level::Problem, &format!("{name} is off | alter system set {name} = on"));
    }
    assert_found(&findings, "postgres.synchronous-commit", Level::Warning, "is off for weir's role");
    assert_found(&findings, "postgres.autovacuum", Level::Warning, "autovacuum is off | alter system");
    assert_found(&findings, "postgres.max-wal-size", Level::Note, "max_wal_size is 256 MB");
    assert_found(&findings, "postgres.shared-buffers", Level::Note, "shared_buffers is 16 MB");
    assert_found(&findings, "postgres.slots", Level::Warning, "slot forgotten is inactive");
    assert_found(&findings, "postgres.slots", Level::Warning, "pg_drop_replication_slot('forgotten')");
    assert_found(&findings, "postgres.connections", Level::Warning, "alter role ROLE connection limit -1");
    settings.journal.durability = weir::journal::Durability::Database;
    assert_found(&look(&settings).await, "postgres.synchronous-commit", Level::Problem, "");
}

fn certificate(dir: &Path, days: i64) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
    let ends = Timestamp::now() + SignedDuration::from_hours(24 * days + 1);
    let date = ends.to_zoned(jiff::tz::TimeZone::UTC).date();
    params.not_after = rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8);
    let signed = params.self_signed(&key).expect("signed");
    let paths = (dir.join("certificate.pem"), dir.join("key.pem"));
    std::fs::write(&paths.0, signed.pem()).expect("written");
    std::fs::write(&paths.1, key.serialize_pem()).expect("written");
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_machine_are_found_while_the_database_is_away() {
    let place = tempfile::tempdir().expect("a directory");
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("postgres://a:b@{}/c", nowhere.local_addr().expect("bound"));
    drop(nowhere);
    let mut settings = config(&url, &place.path().join("none"));
    settings.admin.listen = "127.0.0.1:9".parse().expect("an address");
    let findings = look(&settings).await;
    assert_found(&findings, "postgres.connection", Level::Problem, "no connection to the database");
    assert_found(&findings, "journal", Level::Note, "does not exist");
    assert_found(&findings, "geo", Level::Note, "weir geo fetch");

    settings.journal.dir = place.path().to_owned();
    settings.journal.bytes_max = u64::MAX / 2;
    settings.enrich.geo_database = Some(place.path().join("missing.mmdb"));
    settings.admin.listen = "0.0.0.0:9".parse().expect("an address");
    let findings = look(&settings).await;
    assert_found(&findings, "journal.room", Level::Warning, "journal.bytes_max = ");
    assert_found(&findings, "geo", Level::Problem, "missing.mmdb");
    assert_found(&findings, "admin", Level::Problem, "admin.token is empty");

    settings.admin.token = "0123456789abcdef".to_owned();
    settings.journal.durability = weir::journal::Durability::Memory;
    let bad = place.path().join("bad.mmdb");
    std::fs::write(&bad, b"nonsense").expect("written");
    settings.enrich.geo_database = Some(bad);
    let findings = look(&settings).await;
    assert_found(&findings, "geo", Level::Problem, "bad.mmdb");
    assert_found(&findings, "admin", Level::Note, "others can reach the admin listener");
    assert_found(&findings, "journal", Level::Warning, "nothing is kept on a disk");

    for (days, level, words) in
        [(200, Level::Ok, "is valid for"), (5, Level::Warning, "ends in"), (-5, Level::Problem, "ended")]
    {
        let (certificate, key) = certificate(place.path(), days);
        (settings.receive.tls_certificate, settings.receive.tls_key) = (Some(certificate), Some(key));
        assert_found(&look(&settings).await, "tls", level, words);
    }
    settings.receive.tls_key = None;
    assert_found(&look(&settings).await, "tls", Level::Problem, "one of them is missing");
    assert_found(&look(&settings).await, "settings", Level::Problem, "one of them is missing");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_in_memory_is_a_problem() {
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else { return eprintln!("skipped: no /dev/shm") };
    let settings = config("postgres://a:b@127.0.0.1:9/c", memory.path());
    assert_found(&look(&settings).await, "journal.file-system", Level::Problem, "tmpfs | journal.dir");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_database_of_places_is_told() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("a.mmdb");
    crate::geo::write_of(&file, Timestamp::now() - SignedDuration::from_hours(24 * 90));
    let mut settings = config("postgres://a:b@127.0.0.1:9/c", place.path());
    settings.enrich.geo_database = Some(file.clone());
    assert_found(&look(&settings).await, "geo", Level::Warning, "is 90 days old");
    crate::geo::write_of(&file, Timestamp::now());
    assert_found(&look(&settings).await, "geo", Level::Ok, "is 0 days old");
}

/// The program itself: its exit code, and what it prints.
fn doctor(settings: &[(&str, &str)], options: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("doctor")
        .args(options)
        .envs(settings.iter().copied())
        .current_dir(std::env::temp_dir())
        .output()
        .expect("runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_how_bad_it_is() {
    let (code, said) = doctor(&[("WEIR_NO__SUCH", "1")], &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.starts_with("problem  settings: ") && said.contains("cure: "), "{said}");

    let (database, collector, journal) = collector(|_| {}).await;
    collector.post(r#"{"name":"a"}"#).await;
    database.until_accounted(1, 1, 0, 0).await;
    let (admin, dir) = (collector.admin.to_string(), journal.path().display().to_string());
    let settings = [
        ("DATABASE_URL", database.url.as_str()),
        ("WEIR_ADMIN__LISTEN", &admin),
        ("WEIR_JOURNAL__DIR", &dir),
        ("WEIR_JOURNAL__SEGMENT_BYTES", "1048576"),
        ("WEIR_JOURNAL__BYTES_MAX", "67108864"),
    ];
    let (code, said) = doctor(&settings, &["--json"]);
    let findings: Vec<serde_json::Value> = serde_json::from_str(&said).expect("JSON");
    let worst = |level: &str| findings.iter().any(|finding| finding["level"] == level);
    let expected = if worst("problem") { 2 } else { i32::from(worst("warning")) };
    assert_eq!(code, Some(expected), "{said}");
    assert!(findings.iter().any(|finding| finding["check"] == "collector" && finding["level"] == "ok"), "{said}");
    assert!(!said.contains(&database.url), "no password is printed");
    collector.stop().await;
}
