//! What an upgrade starts from: a database and a journal as an older weir left them when it was killed, in
//! `tests/fixtures/upgrade`:
//!
//! ```text
//! facts.json        which weir it was, its keys, and the names of all events that it acknowledged
//! database.sql.gz   pg_dump's INSERTs; OWNER_OF_WEIR stands for the role
//! journal.tar.gz    the journal's directory, with events that PostgreSQL was not there to take
//! rollups/          a definition of somebody's own
//! statements/       what that weir's flush and report say to PostgreSQL, from its source
//! ```
//!
//! `scripts/upgrade-fixture COMMIT` makes it anew, by the test at the end of this file.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir::sources::KeyPair;

use crate::support::program::Collector;
use crate::support::record::Record;
use crate::support::{TestDatabase, connect};

const OWNER: &str = "OWNER_OF_WEIR";
const DAY_MS: u64 = 86_400_000;
/// Days before it was made that the fixture has events of.
const DAYS: u64 = 3;
const STORED: u64 = 400;
const WAITING: u64 = 120;
const REFUSED: u64 = 3;
const BATCH: usize = 40;
const CONSTRAINT: &str = "alter table analytics.events add constraint no_refused check (name not like 'refused-%')";
/// What the flush of that weir says, by where it has it.
const STATEMENTS: [&str; 4] = [
    "src/flush/sql/ledger_open.sql",
    "src/flush/sql/ledger_advance.sql",
    "src/flush/sql/ledger_settle.sql",
    "src/sql/promises_report.sql",
];
const CRM: [&str; 4] = [
    r#"{"type":"SCHEMA","stream":"accounts","schema":{"type":"object","properties":{"id":{"type":"integer"},"name":{"type":"string"}}},"key_properties":["id"]}"#,
    r#"{"type":"RECORD","stream":"accounts","record":{"id":1,"name":"one"}}"#,
    r#"{"type":"RECORD","stream":"accounts","record":{"id":2,"name":"two"}}"#,
    r#"{"type":"STATE","value":{"accounts":2}}"#,
];

/// What is known of the weir that made the fixture.
#[derive(Debug, Serialize, Deserialize)]
pub struct Facts {
    pub commit: String,
    /// The number of its newest migration.
    pub schema: i64,
    pub made_at_ms: u64,
    pub web: KeyPair,
    /// Rotated away before.
    pub retired_key: String,
    /// With which GitHub signs for the source `hub`.
    pub webhook_secret: String,
    /// Events by their names, which are their ids, too: rows, those in the journal alone, and those in the quarantine.
    pub stored: Vec<String>,
    pub waiting: Vec<String>,
    pub refused: Vec<String>,
    /// Of `analytics.events`, in the order of its tuples.
    pub columns: Vec<String>,
}

/// The fixture on a database and in a directory of a test's own.
pub struct Fixture {
    pub database: TestDatabase,
    pub journal: tempfile::TempDir,
    pub facts: Facts,
}

pub fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/upgrade")
}

/// One of [`STATEMENTS`], by its file's name.
pub fn statement(name: &str) -> String {
    std::fs::read_to_string(dir().join("statements").join(name)).expect("in the fixture")
}

impl Fixture {
    pub async fn restore() -> Self {
        let facts = std::fs::read(dir().join("facts.json")).expect("in the fixture");
        let facts: Facts = serde_json::from_slice(&facts).expect("facts");
        let database = TestDatabase::new().await;
        let mut dump = String::new();
        unzip("database.sql.gz").read_to_string(&mut dump).expect("text");
        // The dump leaves its session without a search path.
        let session = connect(&database.url).await;
        session.batch_execute(&dump.replace(OWNER, &database.name)).await.expect("restored");
        let journal = tempfile::tempdir().expect("a directory");
        tar::Archive::new(unzip("journal.tar.gz")).unpack(journal.path()).expect("unpacked");
        Self { database, journal, facts }
    }

    /// What its clients know: all that was acknowledged and not refused by PostgreSQL.
    pub fn record(&self) -> Record {
        let mut record = Record::default();
        for name in self.facts.stored.iter().chain(&self.facts.waiting) {
            record.acknowledged(name, true);
        }
        record
    }

    /// A collector on its journal, as it was set up.
    pub fn collector(&self) -> Collector {
        collector(&self.database, self.journal.path())
    }
}

pub fn collector(database: &TestDatabase, journal: &Path) -> Collector {
    let rollups = dir().join("rollups");
    // An older program does not know all settings of this one's weir.toml.
    Collector::new(&database.url, journal).elsewhere().with("WEIR_ROLLUP__DIR", rollups.to_str().expect("a path"))
}

fn unzip(name: &str) -> GzDecoder<std::fs::File> {
    GzDecoder::new(std::fs::File::open(dir().join(name)).expect("in the fixture"))
}

fn zip(name: &str) -> GzEncoder<std::fs::File> {
    GzEncoder::new(std::fs::File::create(dir().join(name)).expect("made"), Compression::best())
}

// --- making it ---

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

/// Visits with views, campaigns, sign-ups and measurements, by some thirty visitors.
fn event(name: &str, n: u64, now_ms: u64) -> Value {
    let visitor = n / 7 % 30;
    // Whole seconds apart: sums of visits' lengths are then the same in any order.
    let at = now_ms - DAYS * DAY_MS + n * (DAYS * DAY_MS / (STORED + WAITING) / 1_000 * 1_000);
    let mut event = json!({
        "name": name, "id": name, "timestamp": at, "visitor_id": format!("visitor-{visitor}"),
        "url": format!("https://shop.example/{}?utm_source=mail", n % 9), "referrer": "https://news.example/today",
        "ip": "203.0.113.7", "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "a member of somebody's own": {"n": n},
    });
    let (kind, properties) = match n % 7 {
        0..=2 => ("page", json!({})),
        3 => ("click", json!({"text": "Buy"})),
        4 => ("track", json!({"plan": if n.is_multiple_of(2) { "team" } else { "solo" }})),
        5 => ("web_vitals", json!({"lcp": 900 + n, "cls": 0.01, "inp": 40})),
        _ => ("identify", json!({"plan": "team", "email": format!("{visitor}@shop.example")})),
    };
    event["type"] = kind.into();
    event["properties"] = properties;
    if kind == "identify" {
        event["user_id"] = format!("user-{visitor}").into();
    }
    event
}

fn names(prefix: &str, count: u64) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}

/// The word after the label that the program prints before a key.
fn told<'a>(printed: &'a str, label: &str) -> &'a str {
    let line = printed.lines().find_map(|line| line.strip_prefix(label));
    line.unwrap_or_else(|| panic!("no {label:?} in {printed}")).trim()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes the fixture: scripts/upgrade-fixture COMMIT"]
async fn make_the_fixture() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("scripts/upgrade-fixture sets {name}"));
    let (program, source) = (variable("WEIR_TEST_OLD_WEIR"), PathBuf::from(variable("WEIR_TEST_OLD_SOURCE")));
    let mut database = TestDatabase::new().await;
    let journal = tempfile::tempdir().expect("a directory");
    let mut collector = collector(&database, journal.path());
    collector.becomes(Path::new(&program));
    let running = collector.start_ready_here().await;
    let weir = &running.collector;

    let keys =
        weir.command(&["source", "add", "web", "--origin", "https://shop.example", "--alias", "shop.example"], "");
    let keys = keys.await;
    let retired_key = told(&keys, "secret key, for servers:").to_owned();
    let rotated = weir.command(&["source", "rotate", "web", "--kind", "secret"], "").await;
    let web = KeyPair {
        public_key: told(&keys, "public key, for pages:").to_owned(),
        secret_key: told(&rotated, "new secret key:").to_owned(),
    };
    let shop = weir.command(&["source", "add", "shop"], "").await;
    let shop = told(&shop, "secret key, for servers:");
    weir.command(&["source", "add", "hub"], "").await;
    let webhook_secret = "a secret of the fixture".to_owned();
    weir.command(&["source", "webhook", "hub", "--scheme", "github"], &webhook_secret).await;
    weir.command(&["sync", "load", "crm"], &CRM.map(|line| format!("{line}\n")).concat()).await;
    database.client.batch_execute(CONSTRAINT).await.expect("added");
    // Keys are taken up within five seconds.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;

    let made_at_ms = now_ms();
    let (stored, waiting, refused) = (names("stored", STORED), names("waiting", WAITING), names("refused", REFUSED));
    let batch = |names: &[String], first: usize| {
        let events = names.iter().zip(first as u64..).map(|(name, n)| event(name, n, made_at_ms));
        Value::Array(events.collect()).to_string()
    };
    for (n, names) in stored.chunks(BATCH).enumerate() {
        let key = if n % 3 == 2 { shop } else { &web.secret_key };
        running.post(key, &batch(names, n * BATCH)).await;
    }
    running.post(&web.secret_key, &batch(&stored[..BATCH], 0)).await;
    running.post(&web.secret_key, &batch(&refused, 0)).await;
    database.until_stored(STORED as i64).await;
    database.until("select count(*) from weir.quarantine", REFUSED as i64).await;
    weir.command(&["rollup", "run"], "").await;
    database.until("select count(*) from weir.accounting where pending <> 0 or unexplained <> 0", 0).await;

    database.shut().await;
    for (n, names) in waiting.chunks(BATCH / 4).enumerate() {
        let key = if n % 3 == 2 { shop } else { &web.secret_key };
        running.post(key, &batch(names, STORED as usize + n * BATCH / 4)).await;
    }
    running.process.kill().await;
    database.open().await;

    let columns = "select column_name::text from information_schema.columns
                    where table_schema = 'analytics' and table_name = 'events' order by ordinal_position";
    let facts = Facts {
        commit: variable("WEIR_TEST_OLD_COMMIT"),
        schema: database.number("select max(version)::bigint from weir.migrations").await,
        made_at_ms,
        web,
        retired_key,
        webhook_secret,
        stored,
        waiting,
        refused,
        columns: database.rows(columns).await,
    };
    let mut facts = serde_json::to_string_pretty(&facts).expect("JSON");
    facts.push('\n');
    std::fs::write(dir().join("facts.json"), facts).expect("written");
    dump(&database);
    let mut archive = tar::Builder::new(zip("journal.tar.gz"));
    archive.append_dir_all(".", journal.path()).expect("archived");
    archive.into_inner().expect("archived").finish().expect("written");
    let statements = dir().join("statements");
    std::fs::create_dir_all(&statements).expect("made");
    for path in STATEMENTS {
        let name = Path::new(path).file_name().expect("a file");
        std::fs::copy(source.join(path), statements.join(name)).expect("in that source");
    }
}

/// As statements that any client can send.
fn dump(database: &TestDatabase) {
    let programs = PathBuf::from(std::env::var_os("WEIR_TEST_POSTGRES_BIN").expect("set by scripts/with-postgres"));
    let dumped = std::process::Command::new(programs.join("pg_dump"))
        .args(["--inserts", "--rows-per-insert=100", "--no-owner", "--dbname", &database.url])
        .output()
        .expect("it runs");
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    let text = String::from_utf8(dumped.stdout).expect("UTF-8").replace(&database.name, OWNER);
    let mut out = zip("database.sql.gz");
    // Of psql's own, or not known to older servers.
    let is_foreign = |line: &str| {
        ["\\restrict ", "\\unrestrict ", "SET transaction_timeout"].iter().any(|word| line.starts_with(word))
    };
    for line in text.lines().filter(|line| !is_foreign(line)) {
        writeln!(out, "{line}").expect("written");
    }
    out.finish().expect("written");
}
