//! Operate: who may look, who may act, and what that comes to.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use weir::rollup::library::Library;
use weir::rollup::runner::reconcile;
use weir::sync::settings::{Singer, Source};

use crate::support::people::{self, Person};
use crate::support::rollups::{engine, write};
use crate::support::{TestCollector, TestDatabase, collector, eventually, http, within};

const OPEN: [&str; 5] = ["rollups", "sync", "partitions", "sources", "usage"];
const CLOSED: [&str; 3] = ["quarantine", "people", "audit"];
/// Every action, with fields that would do something.
const ACTIONS: [(&str, &[(&str, &str)]); 8] = [
    ("/operate/rollups/run", &[("name", "events_daily")]),
    ("/operate/sync/run", &[("name", "crm")]),
    ("/operate/quarantine/replay", &[("id", "all")]),
    ("/operate/sources", &[("name", "mine"), ("origins", "")]),
    ("/operate/sources/rotate", &[("source", "web"), ("kind", "public"), ("grace", "0")]),
    ("/operate/sources/disable", &[("source", "web")]),
    ("/operate/sources/enable", &[("source", "web")]),
    ("/operate/people/end-sessions", &[("person", "")]),
];
const CONSTRAINT: &str = r#"alter table analytics.events add constraint "<b>short</b>" check (length(name) < 10)"#;
const EVIL: &str = "<script>alert(1)</script>";
const SHOWN_EVIL: &str = "&lt;script&gt;alert(1)&lt;/script&gt;";

async fn tab(person: &Person, name: &str) -> String {
    let answer = person.page(&format!("/operate/{name}")).await;
    assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    answer.text()
}

/// What changes when an action is done.
async fn all(database: &TestDatabase) -> Vec<String> {
    let sql = "select 'key', source, kind, hint, coalesce(expires_at::text, '') from weir.write_keys
               union all select 'source', source, coalesce(disabled_at::text, ''), '', '' from weir.sources
               union all select 'row', outcome, id::text, '', '' from weir.quarantine
               union all select 'done', action, detail, '', '' from console.audit where action not like 'signed%'
               order by 1, 2, 3, 4";
    database.rows(sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_no_operator_may_look_and_not_act() {
    let (database, collector, _journal) = collector(|_| {}).await;
    database.client.batch_execute(CONSTRAINT).await.expect("added");
    collector.post(r#"{"name":"far too long"}"#).await;
    database.until_accounted(1, 0, 0, 1).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let olga = Person::new(&database, collector.admin, "olga", true).await;

    assert_eq!(alice.page("/operate").await.header("location"), Some("/operate/rollups"));
    for name in OPEN {
        let page = tab(&alice, name).await;
        for action in ["pk_", "action=\"/operate", "/operate/quarantine", "/operate/people", "/operate/audit"] {
            assert!(!page.contains(action), "{name}: {action}");
        }
    }
    for name in CLOSED {
        let answer = alice.page(&format!("/operate/{name}")).await;
        assert_eq!(answer.status, 403, "{name}");
        assert!(!answer.text().contains("far too long"), "{name}");
    }
    let before = all(&database).await;
    for (path, fields) in ACTIONS {
        let answer = alice.submit(path, fields).await;
        assert_eq!(answer.status, 403, "{path}: {}", answer.text());
    }
    assert_eq!(all(&database).await, before);

    for name in OPEN.into_iter().chain(CLOSED) {
        assert!(tab(&olga, name).await.contains("/operate/audit"), "{name}");
    }
    // An operator's forms count only with the token of their own session.
    let cookie = format!("cookie: {}", olga.cookie);
    let kind = "content-type: application/x-www-form-urlencoded";
    for (path, fields) in ACTIONS {
        for csrf in [None, Some(""), Some(alice.csrf.as_str())] {
            let fields: Vec<_> = fields.iter().copied().chain(csrf.map(|csrf| ("csrf", csrf))).collect();
            let answer = people::post(collector.admin, path, &[&cookie], kind, &people::form(&fields)).await;
            assert_eq!(answer.status, 403, "{path} with {csrf:?}: {}", answer.text());
        }
        let elsewhere = [cookie.as_str(), kind, "origin: https://evil.example"];
        let fields: Vec<_> = fields.iter().copied().chain([("csrf", olga.csrf.as_str())]).collect();
        let answer = http::post(collector.admin, path, &elsewhere, people::form(&fields).as_bytes()).await;
        assert_eq!(answer.status, 403, "{path} from elsewhere");
    }
    assert_eq!(all(&database).await, before);
    let again = olga.page("/operate/sources/rotate").await;
    assert_eq!((again.status, again.header("location")), (303, Some("/operate/sources")));
    assert_eq!(http::get(collector.admin, "/operate/sources/data", &[]).await.status, 401);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_shown_and_replayed() {
    let (database, collector, _journal) = collector(|_| {}).await;
    database.client.batch_execute(CONSTRAINT).await.expect("added");
    let olga = Person::new(&database, collector.admin, "olga", true).await;
    assert!(tab(&olga, "quarantine").await.contains("The quarantine is empty"));
    let events: Vec<String> = (0..60).map(|n| format!(r#"{{"name":"{EVIL} {n}"}}"#)).collect();
    collector.post(&format!("[{}]", events.join(","))).await;
    database.until_accounted(60, 0, 0, 60).await;

    let newest = tab(&olga, "quarantine").await;
    assert!(
        newest.contains(SHOWN_EVIL) && newest.contains("&lt;b&gt;short&lt;/b&gt;") && newest.contains("23514"),
        "{newest}"
    );
    assert!(!newest.contains(EVIL) && !newest.contains("<b>short"));
    let (_, older) = newest.split_once("/operate/quarantine?before=").expect("there are older ones");
    let before = older.split('"').next().expect("an id");
    let oldest = tab(&olga, &format!("quarantine?before={before}")).await;
    let shown = |page: &str| page.matches("<summary>Row ").count();
    assert_eq!((shown(&newest), shown(&oldest)), (50, 10));
    assert!(!oldest.contains("?before="), "there are none before them");

    let replay = async |id: &str| {
        let answer = olga.submit("/operate/quarantine/replay", &[("id", id)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    };
    let again = replay(before).await;
    assert!(
        again.contains("0 stored, 0 known already, 1 refused again") && again.contains("&lt;b&gt;short"),
        "{again}"
    );
    database
        .client
        .batch_execute(r#"alter table analytics.events drop constraint "<b>short</b>""#)
        .await
        .expect("dropped");
    assert!(replay(before).await.contains("1 stored, 0 known already, 0 refused again"));
    let rest = replay("all").await;
    assert!(rest.contains("59 stored") && rest.contains("The quarantine is empty"), "{rest}");
    database.until_accounted(60, 60, 0, 0).await;
    assert_eq!(olga.submit("/operate/quarantine/replay", &[("id", "1 or 1")]).await.status, 400);
    let told = database
        .rows("select role, detail from console.audit where action = 'replayed quarantine' order by audit_id")
        .await;
    let role = &olga.role;
    assert_eq!(
        told,
        [
            format!("{role}|row {before}: 0 stored, 0 known already, 1 refused again"),
            format!("{role}|row {before}: 1 stored, 0 known already, 0 refused again"),
            format!("{role}|all: 59 stored, 0 known already, 0 refused again"),
        ]
    );
    collector.stop().await;
}

/// The text that the page lets one copy.
fn copyable<'a>(page: &'a str, id: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("id=\"{id}\">")).unwrap_or_else(|| panic!("no {id}: {page}"));
    rest.split('<').next().expect("a text")
}

async fn status(collector: &TestCollector, key: &str) -> u16 {
    let key = format!("authorization: Bearer {key}");
    http::post(collector.address, "/v1/events", &[&key], br#"{"name":"a"}"#).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_made_here_sends_until_it_is_stopped_here() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let olga = Person::new(&database, collector.admin, "olga", true).await;
    let added = olga
        .submit("/operate/sources", &[("name", "shop"), ("origins", "https://Shop.example/ http://localhost:3000")])
        .await;
    let page = added.text();
    assert_eq!((added.status, added.header("cache-control")), (200, Some("no-store")), "{page}");
    let (public, secret) = (copyable(&page, "new-public-key").to_owned(), copyable(&page, "new-secret-key").to_owned());
    assert!(copyable(&page, "new-tag").contains(&public) && copyable(&page, "new-curl").contains(&secret), "{page}");
    let mut later = String::new();
    for name in OPEN.into_iter().chain(CLOSED) {
        later += &tab(&olga, name).await;
    }
    assert!(later.contains("https://shop.example http://localhost:3000") && later.contains("added shop"), "{later}");
    assert!(!later.contains(&public) && !later.contains(&secret), "a key is shown once");
    let noted = format!(
        "select count(*) from console.audit where detail like '%{}%' or detail like '%{}%'",
        &public[3..],
        &secret[3..]
    );
    assert_eq!(database.number(&noted).await, 0);

    eventually("the secret key works", async || status(&collector, &secret).await == 200).await;
    let browser = async |key: &str, origin: &str| {
        http::post(collector.address, &format!("/v1/events?key={key}"), &[origin], br#"{"name":"a"}"#).await.status
    };
    assert_eq!(browser(&public, "origin: http://localhost:3000").await, 200);
    assert_eq!(browser(&public, "origin: https://evil.example").await, 403);
    eventually("it is seen to arrive", async || {
        let data = olga.get("/operate/sources/data").await.json();
        let shop = data["sources"]
            .as_array()
            .expect("sources")
            .iter()
            .find(|one| one["source"] == "shop")
            .expect("it")
            .clone();
        let since_ms = data["now_ms"].as_i64().zip(shop["last_event_ms"].as_i64()).map(|(now, last)| now - last);
        shop["is_enabled"] == true
            && since_ms.is_some_and(|ms| ms < 60_000)
            && shop["events_last_minute"].as_i64() >= Some(2)
    })
    .await;

    let rotated =
        olga.submit("/operate/sources/rotate", &[("source", "shop"), ("kind", "secret"), ("grace", "0")]).await.text();
    let new_secret = copyable(&rotated, "new-secret-key").to_owned();
    eventually("the new key works", async || status(&collector, &new_secret).await == 200).await;
    assert_eq!(status(&collector, &secret).await, 401, "the old one does not");
    let rotated = olga
        .submit("/operate/sources/rotate", &[("source", "shop"), ("kind", "public"), ("grace", "3600")])
        .await
        .text();
    let new_public = copyable(&rotated, "new-public-key").to_owned();
    eventually("the new key works", async || browser(&new_public, "origin: https://shop.example").await == 200).await;
    assert_eq!(browser(&public, "origin: https://shop.example").await, 200, "the old one has an hour");

    let disabled = olga.submit("/operate/sources/disable", &[("source", "shop")]).await.text();
    assert!(disabled.contains("is disabled") && disabled.contains("/operate/sources/enable"), "{disabled}");
    eventually("its events are refused", async || status(&collector, &new_secret).await == 401).await;
    olga.submit("/operate/sources/enable", &[("source", "shop")]).await;
    eventually("and taken again", async || status(&collector, &new_secret).await == 200).await;

    for (path, fields, told) in [
        ("/operate/sources", vec![("name", "shop")], "exists already"),
        ("/operate/sources", vec![("name", EVIL)], SHOWN_EVIL),
        ("/operate/sources", vec![("name", "x"), ("origins", "shop.example")], "is no origin"),
        (
            "/operate/sources/rotate",
            vec![("source", "nobody"), ("kind", "public"), ("grace", "0")],
            "there is no source",
        ),
        ("/operate/sources/rotate", vec![("source", "shop"), ("kind", "alias"), ("grace", "0")], "no kind of key"),
        ("/operate/sources/rotate", vec![("source", "shop"), ("kind", "public"), ("grace", "99999999")], "at most"),
        ("/operate/sources/disable", vec![("source", "nobody")], "there is no source"),
    ] {
        let answer = olga.submit(path, &fields).await;
        assert_eq!(answer.status, 400, "{path} {fields:?}");
        assert!(answer.text().contains(told) && !answer.text().contains(EVIL), "{told}: {}", answer.text());
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollups_are_run_and_their_failures_told() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let olga = Person::new(&database, collector.admin, "olga", true).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    assert!(tab(&olga, "rollups").await.contains("No rollup yet"));
    let dir = tempfile::tempdir().expect("a directory");
    let header = "-- kind: incremental\n-- every: 1h\n-- bucket: day\n";
    let names = "select bucket, name, count(*) as events from events group by bucket, name";
    write(dir.path(), "names", &format!("{header}-- description: {EVIL}\n{names}"));
    let number = "select bucket, sum(name::integer) as sum from events group by bucket";
    write(dir.path(), "numbers", &format!("{header}{number}"));
    let engine = engine(&database).await;
    reconcile(&engine, &Library { dir: dir.path().to_owned(), with_shipped: false }).await.expect("defined");
    collector.post(&format!(r#"[{{"name":"{EVIL}"}},{{"name":"b"}}]"#)).await;
    database.until_stored(2).await;

    let (of_alice, of_olga) = (tab(&alice, "rollups").await, tab(&olga, "rollups").await);
    let run_now = "action=\"/operate/rollups/run";
    assert!(of_alice.contains("numbers") && !of_alice.contains(run_now) && of_olga.contains(run_now), "{of_alice}");

    let run = async |name: &str| {
        let answer = within("a run", olga.submit("/operate/rollups/run", &[("name", name)])).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        let page = olga.page(answer.header("location").expect("the list of runs")).await.text();
        assert!(!page.contains(EVIL), "{page}");
        page
    };
    let page = run("names").await;
    assert!(
        page.contains("Runs of")
            && page.contains(r#"<span class="badge good dot">done</span>"#)
            && page.contains(SHOWN_EVIL),
        "{page}"
    );
    assert_eq!(database.number("select sum(events)::bigint from analytics.names").await, 2);
    let page = run("numbers").await;
    assert!(
        page.contains(r#"<span class="badge bad dot">fails</span>"#)
            && page.contains("invalid input syntax for type integer"),
        "{page}"
    );
    assert_eq!(olga.submit("/operate/rollups/run", &[("name", "nothing")]).await.status, 400);
    let told = database.rows("select detail from console.audit where action = 'ran a rollup' order by audit_id").await;
    assert_eq!(told, ["names", "numbers"]);
    engine.close();
    collector.stop().await;
}

fn tap(dir: &Path, script: &str) -> Singer {
    let program = dir.join("tap");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("set");
    std::fs::write(dir.join("config.json"), "{}").expect("written");
    std::fs::set_permissions(dir.join("config.json"), std::fs::Permissions::from_mode(0o600)).expect("set");
    Singer { tap: "./tap".to_owned(), dir: dir.to_owned(), ..Singer::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_is_run_and_only_operators_see_what_it_brought() {
    const SCRIPT: &str = r#"echo '<script>alert(1)</script> was said' >&2
echo '{"type":"SCHEMA","stream":"t","schema":{"properties":{"id":{"type":"integer"}}},"key_properties":["id"]}'
echo '{"type":"RECORD","stream":"t","record":{"id":1}}'
echo '{"type":"RECORD","stream":"t","record":{"name":"<script>alert(1)</script>"}}'
echo '{"type":"STATE","value":{"a":1}}'"#;
    let dir = tempfile::tempdir().expect("a directory");
    let (database, collector, _journal) = collector(|config| {
        config.sync.insert("crm".to_owned(), Source::Singer(tap(dir.path(), SCRIPT)));
    })
    .await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let olga = Person::new(&database, collector.admin, "olga", true).await;
    let (of_alice, of_olga) = (tab(&alice, "sync").await, tab(&olga, "sync").await);
    let run_now = "action=\"/operate/sync/run";
    assert!(of_alice.contains("not run yet") && !of_alice.contains(run_now) && of_olga.contains(run_now), "{of_alice}");
    let answer = within("a run", olga.submit("/operate/sync/run", &[("name", "crm")])).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/operate/sync?name=crm#runs")),
        "{}",
        answer.text()
    );
    database.until("select count(*) from sync.runs where outcome = 'done'", 1).await;
    assert_eq!(database.number("select count(*) from crm.t").await, 1);
    let page = tab(&olga, "sync?name=crm").await;
    assert!(page.contains(&format!("{SHOWN_EVIL} was said")) && page.contains("Records that fit no table"), "{page}");
    assert!(page.contains(r#"<span class="badge good dot">fine</span>"#) && !page.contains(EVIL), "{page}");
    let page = tab(&alice, "sync?name=crm").await;
    assert!(page.contains("Runs of") && !page.contains("script&gt;"), "{page}");
    assert_eq!(olga.submit("/operate/sync/run", &[("name", "other")]).await.status, 400);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_their_usage_and_what_they_did_are_shown() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let olga = Person::new(&database, collector.admin, "olga", true).await;
    alice.result("select generate_series(1, 100) as n").await;
    let usage = tab(&alice, "usage").await;
    let (_, row) = usage.split_once(&format!("<strong>{}</strong>", alice.role)).unwrap_or_else(|| panic!("{usage}"));
    assert!(row.contains("1 result<"), "{row}");
    let days = tab(&alice, "partitions").await;
    let today = database.rows("select (now() at time zone 'UTC')::date").await;
    assert!(days.contains(&today[0]) && days.contains(r#"<span class="badge accent">open</span>"#), "{days}");

    people::sign_in(collector.admin, EVIL, "wrong").await;
    let people = tab(&olga, "people").await;
    assert!(people.contains(&alice.role) && people.contains("weir analyst disable NAME"), "{people}");
    let ended = olga.submit("/operate/people/end-sessions", &[("person", &alice.role)]).await;
    assert_eq!(ended.status, 303);
    assert_eq!(alice.get("/live/data").await.status, 401);
    let log = tab(&olga, "audit").await;
    assert!(log.contains(SHOWN_EVIL) && log.contains("ended sessions") && !log.contains(EVIL), "{log}");
    let of_alice = tab(&olga, &format!("audit?person={}&action=signed+in", alice.role)).await;
    assert_eq!(of_alice.matches("<span class=\"badge \">").count(), 1, "{of_alice}");
    let fill = "insert into console.audit (role, action) select 'bob', 'signed in' from generate_series(1, 150)";
    database.client.batch_execute(fill).await.expect("stored");
    let newest = tab(&olga, "audit?person=bob").await;
    let (_, older) = newest.split_once("href=\"/operate/audit?person=bob&amp;action=&amp;before=").expect("older ones");
    let before = older.split('"').next().expect("an id");
    let oldest = tab(&olga, &format!("audit?person=bob&before={before}")).await;
    assert_eq!((newest.matches("<td>bob</td>").count(), oldest.matches("<td>bob</td>").count()), (100, 50));
    collector.stop().await;
}
