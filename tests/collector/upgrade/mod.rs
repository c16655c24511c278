//! An upgrade under load: from the schema and the journal that an older weir left (fixture.rs), and beside an older weir that
//! writes on. The CI has that one's statements; `make test-upgrade` has the program itself.

mod fixture;
mod older;

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use weir::rollup::catalog::Known;

use crate::support::chance::Chance;
use crate::support::clients::{Clients, Habits};
use crate::support::program::Collector;
use crate::support::rollups::{catalog, differences, engine};
use crate::support::{TestDatabase, eventually, first_source, http};
use fixture::{Facts, Fixture};
use older::OlderFlush;

const ENOUGH: u64 = 300;
/// Transactions of an older collector, so many before and after.
const TRANSACTIONS: u64 = 10;
const SCHEMA: &str = "select max(version)::bigint from weir.migrations";

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_under_load_loses_nothing() {
    let fixture = Fixture::restore().await;
    let (database, facts) = (&fixture.database, &fixture.facts);
    assert_eq!(database.number(SCHEMA).await, facts.schema);
    let collector = fixture.collector().with("WEIR_ROLLUP__CONCURRENCY", "2");
    let older = OlderFlush::start(&database.url, facts).await;
    eventually("an older collector writes", async || older.transactions() > TRANSACTIONS).await;
    // They try until somebody is there.
    let habits = Habits { pause: std::time::Duration::from_millis(10), ..Habits::default() };
    let clients = Clients::start(&[collector.public], &facts.web.secret_key, &habits, &mut Chance::told());

    let process = collector.start_ready().await;
    let migrated = older.transactions();
    assert!(database.number(SCHEMA).await > facts.schema, "it has migrated");
    eventually("clients are heard", async || clients.taken() > ENOUGH).await;
    eventually("the older one writes on", async || older.transactions() > migrated + TRANSACTIONS).await;
    old_keys_work(&collector, facts).await;

    let mut record = clients.finish().await;
    record.add(fixture.record());
    record.add(older.finish().await);
    record.acknowledged("pushed", true);
    record.acknowledged("beacon", true);
    record.acknowledged("aliased", false);
    let findings = record.until_exact(&database.client).await;
    let waiting = "select count(*) from analytics.events where name like 'waiting-%'";
    assert_eq!(database.number(waiting).await, facts.waiting.len() as i64);
    eprintln!("upgrade: {findings}");

    what_was_refused_comes_back(&collector, database, facts).await;
    the_tap_goes_on(&collector, database).await;
    process.terminate().await;
    rollups_are_right(&collector, database).await;
}

async fn old_keys_work(collector: &Collector, facts: &Facts) {
    let post = async |path: &str, headers: &[&str], body: &str| {
        http::post(collector.public, path, headers, body.as_bytes()).await.status
    };
    let beacon = format!("/v1/events?key={}", facts.web.public_key);
    let origin = "origin: https://shop.example";
    let event = r#"{"name":"beacon","id":"beacon"}"#;
    assert_eq!(post(&beacon, &["content-type: text/plain", origin], event).await, 200);
    let stranger = "origin: https://stranger.example";
    assert_eq!(post(&beacon, &["content-type: text/plain", stranger], event).await, 403, "its origins are kept");
    let aliased = r#"{"n":"aliased","u":"https://shop.example/","d":"shop.example"}"#;
    assert_eq!(post("/api/event", &["content-type: text/plain", origin], aliased).await, 202, "by the site's name");
    let retired = format!("authorization: Bearer {}", facts.retired_key);
    assert_eq!(post("/v1/events", &[&retired], event).await, 401, "and so is what was rotated away");
    let body = r#"{"zen":"small","hook_id":1}"#;
    let mut mac = Hmac::<Sha256>::new_from_slice(facts.webhook_secret.as_bytes()).expect("any length");
    mac.update(body.as_bytes());
    let signature = format!("x-hub-signature-256: sha256={}", HEXLOWER.encode(&mac.finalize().into_bytes()));
    let headers = ["x-github-event: pushed", "x-github-delivery: pushed", "content-type: application/json"];
    assert_eq!(post("/v1/webhook/hub", &[&headers[..], &[&signature]].concat(), body).await, 200);
    assert_eq!(post("/v1/webhook/hub", &headers, body).await, 401, "unsigned");
}

async fn what_was_refused_comes_back(collector: &Collector, database: &TestDatabase, facts: &Facts) {
    let refused = facts.refused.len() as i64;
    assert_eq!(database.number("select sum(quarantined)::bigint from weir.accounting").await, refused);
    database.client.batch_execute("alter table analytics.events drop constraint no_refused").await.expect("dropped");
    let told = collector.command(&["quarantine", "replay"], "").await;
    assert_eq!(told, format!("{refused} stored, 0 known already, 0 refused again\n"));
    let rows = "select count(*) from analytics.events where name like 'refused-%'";
    assert_eq!(database.number(rows).await, refused);
}

/// Where the rows, and the STATE that covers them, have been since before.
async fn the_tap_goes_on(collector: &Collector, database: &TestDatabase) {
    let more = r#"{"type":"SCHEMA","stream":"accounts","schema":{"type":"object","properties":{"id":{"type":"integer"},"name":{"type":"string"},"plan":{"type":"string"}}},"key_properties":["id"]}
{"type":"RECORD","stream":"accounts","record":{"id":2,"name":"two","plan":"team"}}
{"type":"RECORD","stream":"accounts","record":{"id":3,"name":"three","plan":"solo"}}
{"type":"STATE","value":{"accounts":3}}
"#;
    collector.command(&["sync", "load", "crm"], more).await;
    let rows = database.rows("select id, name, plan from crm.accounts order by id").await;
    assert_eq!(rows, ["1|one|", "2|two|team", "3|three|solo"]);
}

/// Those of somebody's own, those of before whose definitions have changed, and those that are new.
async fn rollups_are_right(collector: &Collector, database: &TestDatabase) {
    collector.command(&["rollup", "run"], "").await;
    let known: Vec<Known> = catalog(&engine(database).await).await;
    for name in ["signups_by_plan", "sessions", "events_daily", "page_views_hourly", "visits_daily"] {
        assert!(known.iter().any(|known| known.name == name && known.dirty == 0 && !known.is_building), "{name}");
    }
    for rollup in &known {
        let found = differences(database, rollup, &known).await;
        assert!(found.is_empty(), "{}: {:?}", rollup.name, &found[..found.len().min(5)]);
    }
    let signups = "select sum(signups)::bigint from analytics.signups_by_plan";
    assert!(database.number(signups).await > 0, "there is something to compare");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_worked_on_unless_it_says_otherwise() {
    let database = TestDatabase::new().await;
    let key = first_source(&database.url).await.secret_key;
    let journal = tempfile::tempdir().expect("a directory");
    let collector = Collector::new(&database.url, journal.path());
    migrated_to(&database, 9_001, "more_columns").await;
    let started = collector.start_ready_here().await;
    started.post(&key, r#"{"name":"a"}"#).await;
    database.until_stored(1).await;
    started.process.terminate().await;
    let collector = started.collector;

    migrated_to(&database, 9_002, "no_more_hosts_needs_9001").await;
    let ended = collector.start().ended().await;
    assert!(!ended.success());
    let log = collector.log();
    for part in ["V9002__no_more_hosts_needs_9001", "changed by a newer weir", "start the newer one"] {
        assert!(log.contains(part) && !log.contains("panicked"), "{part}: {log}");
    }
}

/// As a weir to come leaves the table of migrations.
async fn migrated_to(database: &TestDatabase, version: i32, name: &str) {
    let sql = "insert into weir.migrations select $1, $2, applied_on, checksum from weir.migrations where version = 1";
    database.client.execute(sql, &[&version, &name]).await.expect("noted");
}

/// Two collectors, exchanged one after the other, and back, while clients send.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an older program: make test-upgrade"]
async fn an_older_program_works_on_beside_the_new_one() {
    let older = PathBuf::from(std::env::var_os("WEIR_TEST_OLD_WEIR").expect("scripts/test-upgrade sets it"));
    let newer = Path::new(env!("CARGO_BIN_EXE_weir"));
    let fixture = Fixture::restore().await;
    let (database, facts) = (&fixture.database, &fixture.facts);
    let second_journal = tempfile::tempdir().expect("a directory");
    let mut collectors = [fixture.collector(), fixture::collector(database, second_journal.path())];
    let mut processes = Vec::new();
    for collector in &mut collectors {
        collector.becomes(&older);
        processes.push(Some(collector.start_ready().await));
    }
    assert_eq!(database.number(SCHEMA).await, facts.schema, "these are older");
    let addresses = [collectors[0].public, collectors[1].public];
    let clients = Clients::start(&addresses, &facts.web.secret_key, &Habits::default(), &mut Chance::told());
    let heard = async || {
        let before = clients.taken();
        eventually("clients are heard", async || clients.taken() > before + ENOUGH).await;
    };
    heard().await;
    for (n, program) in [(0, newer), (1, newer), (0, &older), (1, &older), (0, newer), (1, newer)] {
        processes[n].take().expect("it runs").terminate().await;
        // The other one alone: first an older one on the older schema, then one of either kind on the newer.
        heard().await;
        collectors[n].becomes(program);
        processes[n] = Some(collectors[n].start_ready().await);
        heard().await;
        let is_newer = database.number(SCHEMA).await > facts.schema;
        assert!(is_newer, "the schema stays, whoever starts");
    }
    // An older one alone on the newer schema, for longer than a reload of its keys takes.
    processes[0].take().expect("it runs").terminate().await;
    collectors[1].becomes(&older);
    processes[1].take().expect("it runs").terminate().await;
    processes[1] = Some(collectors[1].start_ready().await);
    let stored = database.number("select count(*) from analytics.events").await;
    heard().await;
    eventually("and what it takes arrives", async || {
        database.number("select count(*) from analytics.events").await > stored + ENOUGH as i64 / 2
    })
    .await;
    processes[0] = Some(collectors[0].start_ready().await);
    let mut record = clients.finish().await;
    record.add(fixture.record());
    record.until_exact(&database.client).await;
    for process in processes.into_iter().flatten() {
        process.terminate().await;
    }
    let findings = record.until_exact(&database.client).await;
    eprintln!("rolling upgrade and back: {findings}");
}
