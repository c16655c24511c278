//! Slow, greedy and broken peers.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::program::{Collector, Started};
use crate::support::{TestDatabase, collector, eventually, http, within};

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_slow_bodies_and_idle_connections_are_cut() {
    let (_database, collector, _journal) = collector(|config| {
        config.receive.header_timeout_s = 1;
        config.receive.body_timeout_s = 1;
        config.receive.idle_timeout_s = 2;
    })
    .await;
    let key = &collector.keys.secret_key;
    let body = format!("POST /v1/events?key={key} HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\n{{");
    for (what, bytes, answer) in [
        ("nothing at all", String::new(), ""),
        ("half a head", "POST /v1/events HTTP/1.1\r\nhost: a\r\n".to_owned(), ""),
        ("half a body", body, "HTTP/1.1 408"),
        ("idle after an answer", "GET /w.js HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), "HTTP/1.1 200"),
    ] {
        let started = Instant::now();
        let response = http::raw(collector.address, bytes.as_bytes()).await;
        let response = String::from_utf8_lossy(&response);
        assert!(response.starts_with(answer), "{what}: {response}");
        assert!(started.elapsed() > Duration::from_millis(900), "{what}: cut after {:?}", started.elapsed());
    }
    collector.stop().await;
}

/// The kernel takes connections for a program that is busy, and beyond its queue drops them unheard.
#[tokio::test(flavor = "multi_thread")]
async fn hundreds_may_connect_at_once() {
    let most =
        std::fs::read_to_string("/proc/sys/net/core/somaxconn").map_or(100, |text| text.trim().parse().unwrap_or(100));
    let database = TestDatabase::new().await;
    let journal = tempfile::tempdir().expect("a directory");
    let Started { process, collector } = Collector::new(&database.url, journal.path()).start_ready_here().await;
    process.signal(Signal::STOP);
    let mut streams = Vec::new();
    for _ in 0..most.min(512) {
        streams.push(within("there is room in the queue", TcpStream::connect(collector.public)).await.expect("taken"));
    }
    process.signal(Signal::CONT);
    let last = streams.last_mut().expect("at least one");
    last.write_all(b"GET /w.js HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    within("the last one is answered", last.read_exact(&mut [0])).await.expect("read");
    process.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_limit_are_told_why_closed_and_counted() {
    let (_database, collector, _journal) = collector(|config| config.receive.connections_max = 2).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(collector.address).await.expect("taken");
        stream.write_all(b"GET /w.js HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
        let mut byte = [0];
        stream.read_exact(&mut byte).await.expect("answered");
        held.push(stream);
    }
    let answer = http::get(collector.address, "/w.js", &[]).await;
    assert_eq!((answer.status, &answer.json()["error"]), (503, &"too_many_connections".into()));
    assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("1"), Some("close")));
    assert!(answer.json()["reason"].as_str().is_some_and(|reason| reason.contains("room")), "{}", answer.text());
    let metrics = http::get(collector.admin, "/metrics", &[]).await.text();
    assert!(metrics.contains("weir_connections_refused_total 1"), "{metrics}");
    drop(held);
    eventually("there is room again", async || {
        http::raw(collector.address, b"GET /w.js HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .starts_with(b"HTTP/1.1 200")
    })
    .await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_without_end_stops_at_the_limit() {
    let (_database, collector, _journal) = collector(|config| config.receive.body_bytes_max = 4096).await;
    let mut request = b"POST /v1/events HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..100 {
        request.extend_from_slice(b"400\r\n");
        request.extend_from_slice(&[b' '; 1024]);
        request.extend_from_slice(b"\r\n");
    }
    let response = within("an answer", async {
        let mut stream = TcpStream::connect(collector.address).await.expect("taken");
        let _ = stream.write_all(&request).await;
        let mut response = vec![0; 12];
        let _ = stream.read_exact(&mut response).await;
        response
    })
    .await;
    assert_eq!(String::from_utf8_lossy(&response), "HTTP/1.1 413");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_answered_before_the_end() {
    let (database, collector, _journal) = collector(|_| {}).await;
    let address = collector.address;
    let key = collector.keys.secret_key.clone();
    let body = r#"{"name":"last"}"#;
    let mut stream = TcpStream::connect(address).await.expect("taken");
    let head = format!("POST /v1/events?key={key} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stopping = tokio::spawn(collector.stop());
    eventually("the listener is closed", async || TcpStream::connect(address).await.is_err()).await;
    stream.write_all(body.as_bytes()).await.expect("still open");
    let mut response = Vec::new();
    within("the answer", stream.read_to_end(&mut response)).await.expect("answered");
    assert!(response.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&response));
    stopping.await.expect("an orderly end");
    assert_eq!(database.number("select count(*) from analytics.events").await, 1);
}
