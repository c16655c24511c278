//! Every shape of body, every place for a key, every compression: rows.

use std::io::Write;

use crate::support::{collector, http};

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_of_body_becomes_rows() {
    let (database, collector, _journal) = collector(|_| {}).await;
    for (body, accepted) in [
        (r#"{"name":"one"}"#, 1),
        (r#"[{"name":"two"},{"name":"three"}]"#, 2),
        (r#"{"events":[{"name":"four"}]}"#, 1),
        ("{\"name\":\"five\"}\n{\"name\":\"six\"}\n", 2),
    ] {
        let answer = collector.post(body).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        assert_eq!(answer.json()["accepted"], accepted, "{body}");
    }
    database.until_stored(6).await;
    let names = database.rows("select name from analytics.events order by event_id").await;
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(sorted, ["five", "four", "one", "six", "three", "two"]);
    database.until_accounted(6, 6, 0, 0).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bodies_are_known_by_their_bytes() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let body = br#"{"name":"packed"}"#;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body).expect("memory");
    let gzip = gzip.finish().expect("memory");
    let zstd = zstd::encode_all(&body[..], 3).expect("memory");
    let key = format!("authorization: Bearer {}", collector.keys.secret_key);
    for (packed, headers) in [
        (&gzip, vec![key.as_str(), "content-encoding: gzip", "content-type: application/json"]),
        (&gzip, vec![key.as_str(), "content-type: text/plain"]),
        (&zstd, vec![key.as_str(), "content-encoding: zstd"]),
    ] {
        let answer = http::post(collector.address, "/v1/events", &headers, packed).await;
        assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text());
    }
    database.until_stored(3).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_taken_from_every_place() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let key = &collector.keys.secret_key;
    let basic = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("{key}:"))
    };
    let (bearer, basic) = (format!("authorization: Bearer {key}"), format!("authorization: Basic {basic}"));
    let query = format!("/v1/events?key={key}");
    let in_event = format!(r#"{{"name":"a","key":"{key}"}}"#);
    let in_envelope = format!(r#"{{"key":"{key}","events":[{{"name":"a"}}]}}"#);
    let plain = r#"{"name":"a"}"#.to_owned();
    for (path, headers, body) in [
        ("/v1/events", vec![bearer.as_str()], &plain),
        ("/v1/events", vec![basic.as_str()], &plain),
        (query.as_str(), vec![], &plain),
        ("/v1/events", vec![], &in_event),
        ("/v1/events", vec![], &in_envelope),
    ] {
        let answer = http::post(collector.address, path, &headers, body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{path} {headers:?} {body}: {}", answer.text());
    }
    database.until_stored(5).await;
    // A key is no member of the event: it must not end up in a row.
    assert_eq!(database.number("select count(*) from analytics.events where context::text like '%sk_%'").await, 0);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_view_with_everything_lands_in_its_columns() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let agent = "user-agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 \
                 (KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1";
    let answer = collector
        .beacon(
            r#"{"url":"https://shop.example/a/b?x=1&utm_source=news&utm_campaign=may&gclid=G1","title":"Shop",
                "referrer":"https://www.search.example/q?s=t","id":"m","visitor_id":"v1","session_id":"s1",
                "screen":"390x844","properties":{"plan":"team"},"timestamp":"2026-01-01T00:00:00Z"}"#,
            &[agent, "accept-language: fr-CH, fr;q=0.9"],
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    database.until_stored(1).await;
    let row = database
        .rows(
            "select source, kind, name, visitor_id, user_id, session_id, host, path, query, title, referrer_host,
                    utm_source, utm_medium, utm_campaign, host(ip), masklen(ip), browser, browser_version, os, os_version,
                    device, is_bot, language, screen, properties, context,
                    occurred_at = received_at, now() - received_at < interval '1 minute'
               from analytics.page_views
               join analytics.events using (event_id, occurred_at, received_at, source, visitor_id, session_id, host, path,
                    query, title, referrer_host, utm_source, utm_campaign, browser, browser_version, os, os_version, device,
                    is_bot, language, screen, properties)"
                .replace("name, visitor_id, user_id", "name, visitor_id, events.user_id")
                .replace("utm_medium", "events.utm_medium")
                .as_str(),
        )
        .await;
    insta::assert_debug_snapshot!(row);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pixel_takes_an_event_and_gives_a_gif() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let path = format!("/v1/pixel.gif?key={}&name=open&p.mail=weekly", collector.keys.public_key);
    let answer = http::get(collector.address, &path, &["referer: https://mail.example/inbox"]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/gif")));
    assert_eq!((answer.body.len(), &answer.body[..6]), (43, &b"GIF89a"[..]));
    database.until_stored(1).await;
    let row = database.rows("select name, url, properties from analytics.events").await;
    assert_eq!(row, [r#"open|https://mail.example/inbox|{"mail": "weekly"}"#]);
    let answer = http::get(collector.address, "/v1/pixel.gif?key=pk_wrong&name=open", &[]).await;
    assert_eq!(answer.status, 401);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn validate_shows_the_row_and_keeps_nothing() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let path = format!("/v1/validate?key={}", collector.keys.public_key);
    let body = br#"[{"url":"https://a.example/p?q=1","id":"x","timestamp":1700000000000},{"properties":7,"name":"b"}]"#;
    let answer = http::post(collector.address, &path, &[], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    assert_eq!(json["events"][0]["path"], "/p");
    assert_eq!(json["events"][0]["context"]["timestamp"], 1_700_000_000_000_i64);
    assert_eq!(json["rejected"][0]["index"], 1);
    let (config, _) = collector.stop().await;
    assert_eq!(database.number("select count(*) from analytics.events").await, 0);
    let files = std::fs::read_dir(&config.journal.dir).expect("the journal");
    let segments = files.filter(|file| {
        let path = file.as_ref().expect("readable").path();
        path.extension().is_some_and(|extension| extension == "segment")
    });
    assert_eq!(segments.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_visible_within_a_second() {
    let (database, collector, _journal) = collector(|config| config.flush.interval_ms = 100).await;
    collector.post(r#"{"name":"warm"}"#).await;
    database.until_stored(1).await;
    let mut slowest = std::time::Duration::ZERO;
    for round in 2..12 {
        let sent = std::time::Instant::now();
        collector.post(r#"{"name":"fresh"}"#).await;
        database.until_stored(round).await;
        slowest = slowest.max(sent.elapsed());
    }
    // Reported, not asserted: a busy machine proves nothing. The load test measures it.
    eprintln!("slowest of ten from sent to visible: {slowest:?}");
    collector.stop().await;
}
