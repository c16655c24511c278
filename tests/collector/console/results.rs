//! What a run came to, behind an address that lasts.

use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::people::Person;
use crate::support::{collector, http, tool};

fn id(result: &Value) -> &str {
    result["id"].as_str().expect("an id")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_for_whom_it_was_shared_with_and_outlives_its_table() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let bob = Person::new(&database, collector.admin, "bob", true).await;
    alice.run("create table numbers as select g as n, 'row ' || g as name from generate_series(1, 300) g").await;
    let result = alice.result("select * from numbers order by n").await;
    let (page, csv) = (format!("/r/{}", id(&result)), format!("/r/{}.csv", id(&result)));
    for path in
        [&page, &csv, &format!("{page}.json"), &format!("{page}.parquet"), &format!("/sql?result={}", id(&result))]
    {
        assert_eq!(bob.page(path).await.status, 404, "{path}: nobody else's, operators included");
    }
    assert_eq!(bob.submit(&format!("{page}/visibility"), &[("visibility", "colleagues")]).await.status, 404);
    assert!(!bob.page("/results?of=colleagues").await.text().contains(id(&result)));

    let shared = alice.send(&format!("{page}/visibility"), &json!({"visibility": "colleagues"})).await;
    assert_eq!((shared.status, shared.json()["url"].as_str()), (200, Some(page.as_str())));
    alice.run("drop table numbers").await;
    let opened = bob.page(&page).await;
    assert_eq!(opened.status, 200);
    assert!(
        opened.text().contains("row 200") && !opened.text().contains("row 201"),
        "the first 200 rows are in the page"
    );
    assert!(bob.page("/results?of=colleagues").await.text().contains(id(&result)));
    let lines = bob.get(&csv).await.text();
    assert_eq!(lines.lines().count(), 301);
    assert!(lines.starts_with("\u{feff}n,name\r\n1,row 1\r\n"), "{}", &lines[..40]);
    let whole = bob.get(&format!("{page}.json")).await.json();
    assert_eq!(
        (whole["row_count"].as_i64(), whole["by"].as_str(), whole["expires_at"].is_null()),
        (Some(300), Some(alice.role.as_str()), true)
    );
    assert_eq!(whole["rows"][299], json!(["300", "row 300"]));
    assert_eq!(whole["sql"], "select * from numbers order by n");
    for action in ["visibility", "link", "delete"] {
        let answer = bob.submit(&format!("{page}/{action}"), &[("visibility", "private")]).await;
        assert_eq!(answer.status, 403, "{action}: only whose it is");
    }
    alice.submit(&format!("{page}/visibility"), &[("visibility", "private")]).await;
    assert_eq!(bob.page(&page).await.status, 404);
    alice.submit(&format!("{page}/delete"), &[]).await;
    assert_eq!(alice.page(&page).await.status, 404);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_never_changes() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    alice.result("select 1").await;
    for change in ["rows = ''", "sql = ''", "columns = '[]'", "row_count = 7", "cut = null"] {
        let error =
            database.client.batch_execute(&format!("update console.results set {change}")).await.expect_err(change);
        assert!(
            error.as_db_error().is_some_and(|told| told.message() == "a result never changes"),
            "{change}: {error:?}"
        );
    }
    // What nobody keeps goes when its time is over; what is shared stays.
    alice.result("select 2").await;
    let kept = alice.result("select 3").await;
    alice.send(&format!("/r/{}/visibility", id(&kept)), &json!({"visibility": "colleagues"})).await;
    database
        .client
        .batch_execute(
            "update console.results set expires_at = now() - interval '1 second' where expires_at is not null",
        )
        .await
        .expect("aged");
    database.client.batch_execute(include_str!("../../../src/console/sql/clean.sql")).await.expect("cleaned");
    assert_eq!(database.rows("select sql from console.results").await, ["select 3"]);
    collector.stop().await;
}

/// What was shared for good has the rows of a person only until they are forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_person_is_in_no_result() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let of = "(values ('carl', 1, '{}'), ('dora', 2, '{}'), ('erik', 3, '{\"by\": \"carl\"}')) v (user_id, n, traits)";
    let result = alice.result(&format!("select * from {of} order by 1")).await;
    let untouched = alice.result("select 'carlotta' as user_id, 7 as n").await;
    let csv = format!("/r/{}.csv", id(&result));
    assert!(alice.get(&csv).await.text().contains("carl"));

    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["forget", "--user", "carl"]).env("DATABASE_URL", &database.url).kill_on_drop(true);
    let output = command.output().await.expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("counted again: 0 left"), "{told}");
    assert!(told.contains("1 kept results, in their query whose text names the person"), "{told}");
    let lines = told.lines().find(|line| line.starts_with("console.results")).expect("it is told");
    assert!(lines.ends_with("2 removed"), "{lines}");

    let left = alice.get(&format!("/r/{}.json", id(&result))).await.json();
    assert_eq!((&left["rows"], left["row_count"].as_i64()), (&json!([["dora", "2", "{}"]]), Some(1)));
    let page = alice.page(&format!("/r/{}", id(&result))).await.text();
    assert!(page.contains("rows of people who were forgotten are no longer here"), "{page}");
    let other = alice.get(&format!("/r/{}.json", id(&untouched))).await.json();
    assert_eq!((&other["rows"], other["cut"].is_null()), (&json!([["carlotta", "7"]]), true));
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_link_is_for_spreadsheets() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let result =
        alice.result("select '=HYPERLINK(\"http://evil\")' as \"=name\", '-1.5' as n, 'é, \"quoted\"' as t").await;
    let page = format!("/r/{}", id(&result));
    assert_eq!(alice.submit(&format!("{page}/link"), &[]).await.status, 303);
    let text = alice.page(&page).await.text();
    let (_, rest) = text.split_once("=IMPORTDATA(&quot;http://test").expect("a link");
    let link = rest.split("&quot;").next().expect("a link").to_owned();
    let fetched = http::get(collector.admin, &link, &[]).await;
    assert_eq!((fetched.status, fetched.header("content-type")), (200, Some("text/csv; charset=utf-8")));
    assert_eq!(fetched.text(), "'=name,n,t\r\n\"'=HYPERLINK(\"\"http://evil\"\")\",-1.5,\"é, \"\"quoted\"\"\"\r\n");
    let (path, key) = link.split_once("?key=").expect("a key");
    for wrong in [
        path.to_owned(),
        format!("{path}?key="),
        format!("{path}?key={key}x"),
        link.replace(".csv", ".json"),
        link.replace("/linked", ""),
    ] {
        let answer = http::get(collector.admin, &wrong, &[]).await;
        assert!([404, 401].contains(&answer.status), "{wrong}: {}", answer.status);
    }
    // Nobody was let in by it.
    let other = alice.result("select 2").await;
    assert_eq!(http::get(collector.admin, &format!("/linked/r/{}.csv?key={key}", id(&other)), &[]).await.status, 404);
    alice.submit(&format!("{page}/link/remove"), &[]).await;
    assert_eq!(http::get(collector.admin, &link, &[]).await.status, 404);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_reads_a_result_with_its_types() {
    let Some(python) = tool("WEIR_TEST_PYTHON") else { return };
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let sql = "select g as n, g * 1.5::float8 as f, (g || '.10')::numeric as d, case when g = 2 then null else g % 2 = 1 end as b,
                      '2026-11-26 10:00:00+02'::timestamptz + g * interval '1 hour' as t, '2026-11-26'::date + g as day,
                      jsonb_build_object('g', g) as j, 'x' as n
                 from generate_series(1, 3) g";
    let result = alice.result(sql).await;
    let file = alice.get(&format!("/r/{}.parquet", id(&result))).await;
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("result.parquet"), &file.body).expect("written");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/archive/query.py");
    let query = format!(
        "select n, f, d, b, t at time zone 'UTC', day, json_extract_string(j, '$.g'), n_2, typeof(n), typeof(t), typeof(day), typeof(b)
           from '{}' order by n limit 2",
        dir.path().join("result.parquet").display()
    );
    let output = Command::new(python).arg(program).arg(query).output().await.expect("python runs");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for part in
        ["1.5", "1.10", "2026-11-26 09:00:00", "2026-11-27", "BIGINT", "TIMESTAMP WITH TIME ZONE", "DATE", "BOOLEAN"]
    {
        assert!(out.contains(part), "{part}: {out}");
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_people_write_is_markup() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let alice = Person::new(&database, collector.admin, "alice", false).await;
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let sql = format!("select '{}' as \"<b>name\" -- {evil}", evil.replace('\'', "''"));
    let result = alice.result(&sql).await;
    let body = json!({"title": evil, "description": evil, "sql": sql, "chart": {"type": evil}});
    let slug = alice.send("/queries", &body).await.json()["slug"].as_str().expect("a slug").to_owned();
    for path in [
        format!("/r/{}", id(&result)),
        format!("/q/{slug}"),
        format!("/sql?query={slug}"),
        "/queries".to_owned(),
        "/results".to_owned(),
        format!("/queries?q={}", url::form_urlencoded::byte_serialize(evil.as_bytes()).collect::<String>()),
    ] {
        let page = alice.page(&path).await.text();
        assert!(page.contains("&lt;script&gt;"), "{path} shows it");
        assert!(!page.contains("<script>alert") && !page.contains("<img src=x") && !page.contains("<b>name"), "{path}");
    }
    collector.stop().await;
}
