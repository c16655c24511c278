//! Too many requests: `429` for who sends them, and nothing for anybody else.

use std::time::Instant;

use crate::support::http::Answer;
use crate::support::{TestCollector, collector, http};

const BODY: &[u8] = br#"{"name":"a"}"#;
/// A second's worth is one; ten may come at once.
const BURST: usize = 10;

async fn metric(collector: &TestCollector, name: &str) -> u64 {
    let metrics = http::get(collector.admin, "/metrics", &[]).await.text();
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

/// Posts until the first `429`, which has to come when the burst is used up, but for what time has added.
async fn until_limited(collector: &TestCollector, path: &str, headers: &[&str]) -> Answer {
    let started = Instant::now();
    for taken in 0.. {
        let headers = [headers, &["origin: https://shop.example"]].concat();
        let answer = http::post(collector.address, path, &headers, BODY).await;
        if answer.status == 429 {
            assert!(taken >= BURST, "limited after {taken}");
            return answer;
        }
        let added = started.elapsed().as_secs() as usize + 1;
        assert!(taken <= BURST + added, "{taken} requests were not limited");
    }
    unreachable!("the loop ends");
}

fn check(answer: &Answer, code: &str, hints: &[&str]) {
    assert_eq!(answer.json()["error"], code, "{}", answer.text());
    for hint in hints {
        assert!(answer.text().contains(hint), "{hint} is not in {}", answer.text());
    }
    let seconds: u64 = answer.header("retry-after").and_then(|seconds| seconds.parse().ok()).expect("seconds");
    assert!((1..=2).contains(&seconds), "{seconds}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"), "a page may read it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_without_a_secret_key_is_limited_and_says_what_to_do() {
    let (database, collector, _journal) = collector(|config| {
        config.receive.network_requests_per_s = 1;
        config.receive.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a net")];
    })
    .await;
    let public = format!("/v1/events?key={}", collector.keys.public_key);
    let answer = until_limited(&collector, &public, &["x-forwarded-for: 203.0.113.1"]).await;
    let hints = ["203.0.113.0/24", "1 requests a second", "secret key", "receive.trusted_proxies"];
    check(&answer, "network_too_often", &hints);
    assert_eq!(metric(&collector, r#"weir_requests_refused_total{reason="network_too_often"}"#).await, 1);

    // Everything from there that shows no secret key; nothing of it is read.
    let read_bytes = metric(&collector, "weir_received_bytes_total").await;
    let neighbour = "x-forwarded-for: 203.0.113.254";
    let mut limited = 0;
    for (path, header, body) in [
        ("/v1/events", "x: y", BODY),
        ("/v1/events?key=guess", "x: y", BODY),
        ("/v1/events", "authorization: Bearer guess", BODY),
        ("/v1/validate", "x: y", BODY),
        ("/v1/events", "x: y", b"not even JSON"),
    ]
    .repeat(5)
    {
        limited += u64::from(http::post(collector.address, path, &[neighbour, header], body).await.status == 429);
    }
    for _ in 0..5 {
        limited += u64::from(http::get(collector.address, "/v1/pixel.gif?name=a", &[neighbour]).await.status == 429);
    }
    // Time adds one a second, and a machine may be slow.
    assert!(limited > 15, "{limited} of 30");
    let read_bytes = metric(&collector, "weir_received_bytes_total").await - read_bytes;
    assert!(read_bytes <= (30 - limited) * 20, "{read_bytes} bytes were read of {} bodies", 30 - limited);

    // A server with its secret key, other networks, and the script are none of its business.
    for _ in 0..3 * BURST {
        let header = format!("authorization: Bearer {}", collector.keys.secret_key);
        assert_eq!(http::post(collector.address, "/v1/events", &[neighbour, &header], BODY).await.status, 200);
        assert_eq!(http::get(collector.address, "/w.js", &[neighbour]).await.status, 200);
    }
    for other in ["203.0.112.1", "2001:db8::1", "10.0.0.1", "192.168.0.1"] {
        let other = format!("x-forwarded-for: {other}");
        assert_eq!(http::post(collector.address, &public, &[&other], BODY).await.status, 200, "{other}");
    }
    let answered = metric(&collector, r#"weir_requests_total{route="/v1/events",status="200"}"#).await;
    database.until_stored(answered as i64).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_are_limited_only_if_asked_for_and_invented_addresses_do_not_help() {
    let (_database, unlimited, _journal) = collector(|config| config.receive.network_requests_per_s = 1).await;
    for _ in 0..5 * BURST {
        assert_eq!(unlimited.beacon(r#"{"name":"a"}"#, &[]).await.status, 200);
    }
    unlimited.stop().await;

    let (_database, limited, _journal) = collector(|config| {
        config.receive.network_requests_per_s = 1;
        config.receive.limit_private_networks = true;
    })
    .await;
    let mut refused = 0;
    for n in 0..5 * BURST {
        let spoofed = format!("x-forwarded-for: 203.0.{n}.1");
        refused += usize::from(limited.beacon(r#"{"name":"a"}"#, &[&spoofed]).await.status == 429);
    }
    assert!(refused > BURST, "{refused}");
    limited.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_limited_wherever_it_stands_and_costs_no_other_key() {
    let (database, collector, _journal) = collector(|config| config.receive.key_requests_per_s = 1).await;
    let secret = format!("/v1/events?key={}", collector.keys.secret_key);
    let answer = until_limited(&collector, &secret, &[]).await;
    check(&answer, "key_too_often", &["1 requests a second", "more events in one request", "key_requests_per_s"]);
    let header = format!("authorization: Bearer {}", collector.keys.secret_key);
    let body = format!(r#"{{"key":"{}","events":[{{"name":"a"}}]}}"#, collector.keys.secret_key);
    let (mut by_header, mut by_body) = (0, 0);
    for _ in 0..BURST {
        let answer = http::post(collector.address, "/v1/events", &[&header], BODY).await;
        by_header += u64::from(answer.status == 429);
        let answer = http::post(collector.address, "/v1/events", &[], body.as_bytes()).await;
        by_body += u64::from(answer.status == 429);
    }
    assert!(by_header > 5 && by_body > 5, "{by_header} and {by_body} of {BURST}");
    let limited = 1 + by_header + by_body;
    assert_eq!(metric(&collector, r#"weir_requests_refused_total{reason="key_too_often"}"#).await, limited);
    assert_eq!(collector.beacon(r#"{"name":"a"}"#, &[]).await.status, 200, "the public key is another one");
    assert_eq!(http::post(collector.address, "/v1/events?key=guess", &[], BODY).await.status, 401);
    let answered = metric(&collector, r#"weir_requests_total{route="/v1/events",status="200"}"#).await;
    database.until_stored(answered as i64).await;
    collector.stop().await;
}
