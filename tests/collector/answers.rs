//! A snapshot of every answer that a client can get.

use std::fmt::Write;

use crate::support::{collector, http};

#[expect(clippy::type_complexity, reason = "a table")]
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_reviewed() {
    let (_database, collector, _journal) = collector(|config| config.receive.body_bytes_max = 2048).await;
    let key = format!("authorization: Bearer {}", collector.keys.secret_key);
    let key = key.as_str();
    let json = "content-type: application/json";
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(3000));
    let name = format!(r#"{{"name":"{}"}}"#, "x".repeat(600));
    let deep = format!(r#"[{{"name":"a"}},{{"name":"b","properties":{{"a":{}{}}}}}]"#, "[".repeat(40), "]".repeat(40));
    let cases: Vec<(&str, &str, &str, Vec<&str>, &[u8])> = vec![
        ("accepted", "POST", "/v1/events", vec![key, json], br#"{"name":"a","id":"1"}"#),
        ("accepted again", "POST", "/v1/events", vec![key, json], br#"{"name":"a","id":"1"}"#),
        ("one bad of two", "POST", "/v1/events", vec![key], deep.as_bytes()),
        ("all bad", "POST", "/v1/events", vec![key], br"[{},7]"),
        ("field too long", "POST", "/v1/events", vec![key], name.as_bytes()),
        ("bad time", "POST", "/v1/events", vec![key], br#"{"name":"a","timestamp":"yesterday"}"#),
        ("other key inside", "POST", "/v1/events", vec![key], br#"{"key":"x","events":[{"name":"a","key":"y"}]}"#),
        ("empty", "POST", "/v1/events", vec![key], b""),
        ("no events", "POST", "/v1/events", vec![key], b"[]"),
        ("not json", "POST", "/v1/events", vec![key, json], b"{\"name\":"),
        ("not utf-8", "POST", "/v1/events", vec![key], b"{\"name\":\"\xff\"}"),
        ("bad gzip", "POST", "/v1/events", vec![key], b"\x1f\x8bnothing"),
        ("no key", "POST", "/v1/events", vec![json], br#"{"name":"a"}"#),
        ("unknown key", "POST", "/v1/events?key=pk_unknown", vec![json], br#"{"name":"a"}"#),
        ("too large", "POST", "/v1/events", vec![key, json], long.as_bytes()),
        ("content type", "POST", "/v1/events", vec![key, "content-type: application/xml"], b"<a/>"),
        ("content encoding", "POST", "/v1/events", vec![key, "content-encoding: br"], b"x"),
        ("no such address", "GET", "/nothing", vec![], b""),
        ("wrong method", "GET", "/v1/events", vec![], b""),
        (
            "preflight",
            "OPTIONS",
            "/v1/events",
            vec![
                "origin: https://shop.example",
                "access-control-request-method: POST",
                "access-control-request-headers: authorization, content-type",
            ],
            b"",
        ),
        ("pixel without event", "GET", "/v1/pixel.gif?key=x", vec![], b""),
    ];
    let mut shown = String::new();
    for (case, method, path, mut headers, body) in cases {
        if case != "preflight" {
            headers.push("origin: https://shop.example");
        }
        let answer = http::send(collector.address, method, path, &headers, body).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"), "{case}");
        writeln!(
            shown,
            "=== {case}
{}",
            answer.shown()
        )
        .expect("memory");
    }
    insta::assert_snapshot!(shown);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_is_cached_by_its_tag() {
    let (_database, collector, _journal) = collector(|_| {}).await;
    for path in ["/w.js", "/w.full.js"] {
        let answer = http::get(collector.address, path, &[]).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/javascript; charset=utf-8")));
        assert!(answer.text().contains("v1/events"));
        assert_eq!(answer.text().contains("composedPath"), path == "/w.full.js");
        let tag = answer.header("etag").expect("a tag").to_owned();
        let again = http::get(collector.address, path, &[&format!("if-none-match: {tag}")]).await;
        assert_eq!((again.status, again.body.len()), (304, 0));
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_sees_health_and_metrics() {
    let (database, collector, _journal) = collector(|_| {}).await;
    collector.post(r#"[{"name":"a","id":"1"},{"name":"a","id":"1"},{}]"#).await;
    database.until_stored(1).await;
    database.until_accounted(2, 1, 1, 0).await;
    for (path, status) in [("/healthz", "ok"), ("/readyz", "ok")] {
        let answer = http::get(collector.admin, path, &[]).await;
        assert_eq!((answer.status, &answer.json()["status"]), (200, &status.into()), "{path}");
    }
    let metrics = http::get(collector.admin, "/metrics", &[]).await.text();
    for line in [
        r#"weir_events_total{outcome="accepted",source="web"} 2"#,
        r#"weir_events_total{outcome="stored",source="web"} 1"#,
        r#"weir_events_total{outcome="duplicate",source="web"} 1"#,
        r#"weir_events_total{outcome="quarantined",source="web"} 0"#,
        r#"weir_events_pending{source="web"} 0"#,
        r#"weir_events_refused_total{reason="no_name_nor_url"} 1"#,
        r#"weir_requests_total{route="/v1/events",status="200"} 1"#,
        "weir_flush_rows_total 1",
        "weir_freshness_lag_seconds 0",
        "weir_partitions 8",
        "weir_database_up 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    for name in
        ["weir_journal_sync_seconds_bucket", "weir_request_seconds_count", "weir_build_info", "weir_queue_length"]
    {
        assert!(metrics.contains(name), "{name}");
    }
    // The public listener tells nobody.
    assert_eq!(http::get(collector.address, "/metrics", &[]).await.status, 404);
    collector.stop().await;
}
