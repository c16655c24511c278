//! What people write is run as them, and bounded.

use std::time::Duration;

use serde_json::json;

use crate::support::people::Person;
use crate::support::{collector, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn sql_runs_with_the_persons_own_rights() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let result = alice.result("select current_user::text, session_user::text").await;
    assert_eq!(result["rows"], json!([[alice.role, alice.role]]));
    assert_eq!(
        result["columns"],
        json!([{"name": "current_user", "type": "text"}, {"name": "session_user", "type": "text"}])
    );
    let own = alice
        .run("create table numbers as select 1 as n; insert into numbers values (2); select n from numbers order by n")
        .await;
    assert_eq!(own["state"], "done", "{own}");
    assert_eq!(own["results"].as_array().map(Vec::len), Some(1));
    assert_eq!(own["messages"].as_array().map(Vec::len), Some(2), "{own}");
    // Another run is another connection: nothing is left of a session.
    alice.run("set search_path = nowhere; create temp table t ()").await;
    assert_eq!(alice.result("select n from numbers order by n").await["rows"], json!([["1"], ["2"]]));

    for (sql, said) in [
        ("select * from weir.write_keys", "permission denied for schema weir"),
        ("select * from console.results", "permission denied for schema console"),
        ("set role weir", "does not exist"),
        ("delete from analytics.events", "permission denied"),
        ("copy (select 1) to program 'id'", "must be superuser"),
        ("select pg_read_file('/etc/passwd')", "permission denied"),
    ] {
        let ended = alice.run(sql).await;
        let told = ended["error"]["message"].as_str().unwrap_or_default().to_owned()
            + ended["error"]["detail"].as_str().unwrap_or_default();
        let is_refused = told.contains(said) || (said == "must be superuser" && told.contains("permission denied"));
        assert!(ended["state"] == "failed" && is_refused, "{sql}: {ended}");
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_keep_every_digit_and_errors_their_place() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let sql = "select 12345678901234567890.123456789::numeric as n, 'NaN'::float8 as f, null as nothing, '{\"a\":[1]}'::jsonb as j,
                      array['x', null] as a, '2026-11-26 10:00:00.123456+00'::timestamptz as t, E'tab\\t\"<b>' as s, true as b";
    let result = alice.result(sql).await;
    let row = json!([
        "12345678901234567890.123456789",
        "NaN",
        null,
        "{\"a\": [1]}",
        "{x,NULL}",
        "2026-11-26 10:00:00.123456+00",
        "tab\t\"<b>",
        "t"
    ]);
    assert_eq!(result["rows"], json!([row]));
    assert_eq!(result["columns"][0], json!({"name": "n", "type": "numeric"}));

    // Two runs' worth of text: the position is in the whole of it, and what came before is there.
    let text = "select 1 as é;\n  select {{day}}::date, no_such_column";
    let ended = alice.run_with(&json!({"sql": text, "parameters": {"day": "2026-01-01'"}})).await;
    assert_eq!(ended["state"], "failed");
    assert_eq!(ended["results"].as_array().map(Vec::len), Some(1), "{ended}");
    let error = &ended["error"];
    assert_eq!(error["sqlstate"], "42703", "{ended}");
    let position = usize::try_from(error["position"].as_u64().expect("a position")).expect("small");
    let at: String = text.chars().skip(position - 1).collect();
    assert!(at.starts_with("no_such_column"), "{at}");
    let missing = alice.send("/sql/runs", &json!({"sql": "select {{day}}"})).await;
    assert_eq!(missing.status, 400);
    assert!(missing.text().contains("no value for {{day}}"), "{}", missing.text());
    // A value is a value, whatever it says.
    let value = "'; drop table numbers; --\\";
    let ended = alice.run_with(&json!({"sql": "select {{v}} as v", "parameters": {"v": value}})).await;
    let id = ended["results"][0].as_str().expect("a result");
    assert_eq!(alice.get(&format!("/r/{id}.json")).await.json()["rows"], json!([[value]]));
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_says_so() {
    let (database, collector, _journal) = collector(|config| {
        config.console.result_rows_max = 10;
        config.console.result_bytes_max = 4096;
    })
    .await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let whole = alice.result("select g from generate_series(1, 10) g").await;
    assert_eq!((whole["row_count"].as_i64(), whole["is_complete"].as_bool()), (Some(10), Some(true)));
    // Not before all of a huge table has been read: that would take minutes.
    let cut = alice.result("select generate_series(1, 2000000000)").await;
    assert_eq!((cut["row_count"].as_i64(), cut["is_complete"].as_bool()), (Some(10), Some(false)));
    assert!(cut["cut"].as_str().is_some_and(|cut| cut.contains("first 10 rows")), "{cut}");
    let page = alice.page(&format!("/r/{}", cut["id"].as_str().expect("an id"))).await.text();
    assert!(page.contains("This is not all"), "{page}");
    let wide = alice.result("select repeat('x', 3000) from generate_series(1, 3)").await;
    assert_eq!((wide["row_count"].as_i64(), wide["is_complete"].as_bool()), (Some(1), Some(false)), "{}", wide["cut"]);
    let lines = alice.get(&format!("/r/{}.csv", cut["id"].as_str().expect("an id"))).await;
    assert!(lines.text().contains("\r\n\"NOT ALL: these are the first 10 rows"), "{}", lines.text());
    assert!(lines.header("content-disposition").is_some_and(|name| name.contains("-not-all.csv")));
    // Within a transaction nothing is ended early: what came before would be undone.
    let ended = alice.run("create table before (n int); begin; insert into before values (1); select generate_series(1, 5000); commit").await;
    assert_eq!(ended["state"], "done", "{ended}");
    assert_eq!(alice.result("select n from before").await["rows"], json!([["1"]]));
    // What writes is done whole, however many rows it tells of.
    let ended =
        alice.run("create table many (n int); insert into many select generate_series(1, 1000) returning n").await;
    assert_eq!(ended["state"], "done", "{ended}");
    assert_eq!(alice.result("select count(*) from many").await["rows"], json!([["1000"]]));
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_when_it_is_cancelled_or_takes_too_long() {
    let (database, collector, _journal) = collector(|config| config.console.statement_timeout_s = 1).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let bob = Person::new(&database, collector.admin, "bob", false).await;
    let slow = alice.run("select pg_sleep(60)").await;
    assert!(
        slow["error"]["message"].as_str().is_some_and(|told| told.contains("console.statement_timeout_s")),
        "{slow}"
    );
    let is_idle = "select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep%' and pid <> pg_backend_pid()
                    and datname = current_database()";
    database.until(is_idle, 0).await;
    collector.stop().await;

    let (database, collector, _journal) = crate::support::collector(|_| {}).await;
    let (alice, _) = (Person::new(&database, collector.admin, "alice", false).await, bob);
    let begun = alice.send("/sql/runs", &json!({"sql": "select pg_sleep(60)"})).await.json();
    let run = begun["run"].as_str().expect("a run").to_owned();
    database.until("select count(*) from pg_stat_activity where query like 'select pg_sleep%' and datname = current_database()", 1).await;
    let bob = Person::new(&database, collector.admin, "bob", false).await;
    assert_eq!(bob.get(&format!("/sql/runs/{run}")).await.status, 404, "nobody else's");
    let begun = alice.send("/sql/runs", &json!({"sql": "select 'kept' as k; select pg_sleep(61)"})).await.json();
    let both = begun["run"].as_str().expect("a run").to_owned();
    database.until("select count(*) from pg_stat_activity where query like 'select pg_sleep(61)%' and datname = current_database()", 1).await;
    let ended = alice.send(&format!("/sql/runs/{both}/cancel"), &json!({})).await.json();
    assert_eq!(
        (ended["state"].as_str(), ended["results"].as_array().map(Vec::len)),
        (Some("cancelled"), Some(1)),
        "{ended}"
    );
    assert_eq!(bob.send(&format!("/sql/runs/{run}/cancel"), &json!({})).await.status, 404);
    let ended = alice.send(&format!("/sql/runs/{run}/cancel"), &json!({})).await.json();
    assert_eq!(ended["state"], "cancelled", "{ended}");
    database.until(is_idle, 0).await;
    let history = alice.get("/sql/history").await.json();
    assert_eq!(
        (history[1]["state"].as_str(), history[1]["sql"].as_str()),
        (Some("cancelled"), Some("select pg_sleep(60)"))
    );
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_cannot_take_every_place() {
    let (database, collector, _journal) = collector(|config| config.console.queries_max = 2).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let bob = Person::new(&database, collector.admin, "bob", false).await;
    let mut runs = Vec::new();
    let refused = loop {
        let answer = alice.send("/sql/runs", &json!({"sql": "select pg_sleep(60)"})).await;
        if answer.status != 202 {
            break answer;
        }
        runs.push(answer.json()["run"].as_str().expect("a run").to_owned());
        assert!(runs.len() < 20, "there is no limit");
    };
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("queries of yours run already"), "{}", refused.text());
    // Bob's waits for a place, and gets it.
    let begun = bob.send("/sql/runs", &json!({"sql": "select 1"})).await.json();
    let bobs = begun["run"].as_str().expect("a run");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bob.get(&format!("/sql/runs/{bobs}")).await.json()["is_waiting"], true);
    for run in &runs {
        alice.send(&format!("/sql/runs/{run}/cancel"), &json!({})).await;
    }
    eventually("bob's turn", async || bob.get(&format!("/sql/runs/{bobs}")).await.json()["state"] == "done").await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_editor_shows_what_a_person_may_read() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let bob = Person::new(&database, collector.admin, "bob", false).await;
    alice
        .run("create table secrets (n int); revoke all on secrets from public; comment on table secrets is 'Mine.'")
        .await;
    alice.run(&format!("alter default privileges in schema {0} revoke select on tables from {1}_analysts; create table hidden (n int)",
        alice.role, database.name)).await;
    let schemas = alice.get("/sql/schema").await.json();
    assert_eq!(schemas[0]["schema"], alice.role.as_str(), "one's own comes first");
    let tables = schemas[0]["tables"].as_array().expect("tables");
    assert!(tables.iter().any(|table| table["name"] == "hidden"), "{tables:?}");
    let events = &schemas[1]["tables"]
        .as_array()
        .expect("tables")
        .iter()
        .find(|table| table["name"] == "events")
        .expect("events")["columns"];
    assert!(
        events
            .as_array()
            .expect("columns")
            .iter()
            .all(|column| column["name"].is_string() && column["type"].is_string())
    );
    assert!(events.to_string().contains("The client's own timestamp"), "columns tell what they mean");
    let others = bob.get("/sql/schema").await.text();
    assert!(others.contains("secrets") && !others.contains("hidden") && !others.contains("write_keys"), "{others}");
    collector.stop().await;
}
