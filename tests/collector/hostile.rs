//! Input made to hurt: each gets the answer it should, is counted, and costs nobody else anything.

use std::io::Write;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{TestCollector, collector, eventually, http, within};

/// One hostile request.
struct Case {
    what: String,
    bytes: Vec<u8>,
    /// Of every response that comes before the connection ends.
    statuses: Vec<u16>,
    /// The metric that counts it, once.
    counter: &'static str,
}

fn case(what: impl Into<String>, bytes: impl Into<Vec<u8>>, statuses: &[u16], counter: &'static str) -> Case {
    Case { what: what.into(), bytes: bytes.into(), statuses: statuses.to_vec(), counter }
}

const ACCEPTED: &str = r#"weir_events_total{outcome="accepted",source="web"}"#;
const NOT_HTTP: &str = r#"weir_connections_cut_total{reason="malformed"}"#;
const MALFORMED: &str = r#"weir_requests_refused_total{reason="malformed"}"#;
const BROKEN: &str = r#"weir_requests_refused_total{reason="broken"}"#;
const TOO_LARGE: &str = r#"weir_requests_refused_total{reason="too_large"}"#;
const BAD_COMPRESSION: &str = r#"weir_requests_refused_total{reason="bad_compression"}"#;
const NOT_FOUND: &str = r#"weir_requests_refused_total{reason="not_found"}"#;
const EVENT_NUMBER: &str = r#"weir_events_refused_total{reason="number_too_large"}"#;
const EVENT_DEEP: &str = r#"weir_events_refused_total{reason="too_deep"}"#;
const EVENT_LONG: &str = r#"weir_events_refused_total{reason="too_long"}"#;
const NOT_JSON: &str = r#"weir_events_refused_total{reason="not_json"}"#;
const EVENT_FIELD: &str = r#"weir_events_refused_total{reason="field_too_long"}"#;

/// The status of every response in `bytes`.
fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    text.split("HTTP/1.1 ").skip(1).map(|rest| rest[..3].parse().expect("a status")).collect()
}

async fn count(collector: &TestCollector, counter: &str) -> u64 {
    let metrics = http::get(collector.admin, "/metrics", &[]).await.text();
    let value = metrics.lines().find_map(|line| line.strip_prefix(counter)?.trim().parse().ok());
    value.unwrap_or(0)
}

/// Sends each case, then something good; at the end only what is good is stored.
async fn play(cases: impl FnOnce(&str) -> Vec<Case>) {
    let (database, collector, _journal) = collector(|config| {
        // Longer than a test waits: a connection ends because of what was sent, or the test fails.
        config.receive.header_timeout_s = 300;
        config.receive.idle_timeout_s = 300;
    })
    .await;
    let cases = cases(&collector.keys.secret_key);
    let mut accepted = 0;
    for Case { what, bytes, statuses: expected, counter } in &cases {
        let before = count(&collector, counter).await;
        let response = http::raw(collector.address, bytes).await;
        assert_eq!(statuses(&response), *expected, "{what}: {}", String::from_utf8_lossy(&response));
        eventually(&format!("{what}: {counter} goes from {before} to the next"), async || {
            count(&collector, counter).await == before + 1
        })
        .await;
        accepted += i64::from(*counter == ACCEPTED);
        let good = collector.post(r#"{"name":"good"}"#).await;
        assert_eq!((good.status, &good.json()["accepted"]), (200, &1.into()), "after {what}");
    }
    database.until("select count(*) from analytics.events where name = 'good'", cases.len() as i64).await;
    database.until_stored(cases.len() as i64 + accepted).await;
    assert_eq!(database.number("select count(*) from analytics.events where name = 'smuggled'").await, 0);
    assert_eq!(database.number("select count(*) from weir.quarantine").await, 0);
    collector.stop().await;
}

/// A request with a body, after which the connection closes.
fn post(key: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut request = format!(
        "POST /v1/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\nconnection: close\r\n{headers}\
         content-length: {length}\r\n\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// A valid zstd frame whose decoder has to have a window of 128 MB.
fn zstd_with_a_huge_window() -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("memory");
    encoder.window_log(27).expect("allowed");
    encoder.include_contentsize(false).expect("allowed");
    encoder.write_all(br#"{"name":"window"}"#).expect("memory");
    encoder.finish().expect("memory")
}

fn nested(depth: usize) -> String {
    format!(r#"{{"name":"deep","properties":{{"a":{}{}}}}}"#, "[".repeat(depth - 2), "]".repeat(depth - 2))
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_json_is_answered_and_counted() {
    play(|key| {
        let json = |what: &str, body: &[u8], status: u16, counter| case(what, post(key, "", body), &[status], counter);
        let keys = |count: usize| {
            let members: Vec<String> = (0..count).map(|n| format!("\"{n}\":0")).collect();
            format!(r#"{{"name":"keys","properties":{{{}}}}}"#, members.join(","))
        };
        vec![
            json("a megabyte of [", &[b'['; 1_000_000], 400, MALFORMED),
            json("a megabyte of {\"a\":", "{\"a\":".repeat(200_000).as_bytes(), 400, MALFORMED),
            json("depth at the limit", nested(32).as_bytes(), 200, ACCEPTED),
            json("depth beyond it", nested(33).as_bytes(), 400, EVENT_DEEP),
            json("depth beyond the parser's", nested(120).as_bytes(), 400, EVENT_DEEP),
            json("1e400000", br#"{"name":"n","x":1e400000}"#, 400, EVENT_NUMBER),
            json("-1e-400000", br#"{"name":"n","properties":{"x":[-1e-400000]}}"#, 400, EVENT_NUMBER),
            json("an exponent of twenty digits", br#"{"name":"n","x":1E+99999999999999999999}"#, 400, EVENT_NUMBER),
            json("an exponent at the limit", br#"{"name":"n","properties":{"x":1e1000,"y":-1E-1000}}"#, 200, ACCEPTED),
            json("an exponent beyond it", br#"{"name":"n","properties":{"x":1e1001}}"#, 400, EVENT_NUMBER),
            json(
                "a number of 1,001 digits",
                format!(r#"{{"name":"n","x":{}}}"#, "9".repeat(1_001)).as_bytes(),
                400,
                EVENT_NUMBER,
            ),
            json(
                "-0",
                br#"{"name":"n","id":-0,"timestamp":-0,"x":-0,"properties":{"x":-0.0,"y":-0e-0}}"#,
                200,
                ACCEPTED,
            ),
            json("a time that no calendar holds", br#"{"name":"n","timestamp":1e999}"#, 400, NOT_JSON),
            json("NaN", br#"{"name":"n","x":NaN}"#, 400, MALFORMED),
            json("a number with a leading zero", br#"{"name":"n","x":01}"#, 400, MALFORMED),
            json(
                "lone surrogates",
                br#"{"name":"a\ud800","x\udc00":"\ud83d","properties":{"\ude00":"\ud83d\ud83d"}}"#,
                200,
                ACCEPTED,
            ),
            json(
                "an escaped NUL",
                br#"{"name":"a\u0000b","\u0000":"\u0000","url":"/\u0000","user_id":"\u0000"}"#,
                200,
                ACCEPTED,
            ),
            json("a raw NUL", b"{\"name\":\"a\0b\"}", 400, MALFORMED),
            json("a raw NUL outside", b"{\"name\":\"a\"}\0", 400, NOT_JSON),
            json("invalid UTF-8", b"{\"name\":\"\xc3\x28\"}", 400, MALFORMED),
            json("overlong UTF-8", b"{\"name\":\"\xc0\x80\"}", 400, MALFORMED),
            json("a surrogate in UTF-8", b"{\"name\":\"\xed\xa0\x80\"}", 400, MALFORMED),
            json(
                "duplicate keys",
                br#"{"name":"a","name":"b","x":1,"x":2,"properties":{"y":1,"y":{}},"context":{"x":3}}"#,
                200,
                ACCEPTED,
            ),
            json(
                "a key of a megabyte",
                format!(r#"{{"name":"n","{}":1}}"#, "k".repeat(1_000_000)).as_bytes(),
                400,
                EVENT_LONG,
            ),
            json("100,000 keys", keys(100_000).as_bytes(), 400, EVENT_LONG),
            json("all the keys that fit", keys(7_000).as_bytes(), 200, ACCEPTED),
            json("nameless keys", br#"{"":"","name":"n","properties":{"":{"":[]}}}"#, 200, ACCEPTED),
            json(
                "too many events",
                format!("[{}7]", "7,".repeat(10_000)).as_bytes(),
                413,
                r#"weir_requests_refused_total{reason="too_many_events"}"#,
            ),
            json("nothing but white space", &[b' '; 100_000], 400, MALFORMED),
            json(
                "a text as long as the limit",
                format!(r#"{{"name":"{}"}}"#, "\u{10ffff}".repeat(128)).as_bytes(),
                200,
                ACCEPTED,
            ),
            json("a longer one", format!(r#"{{"name":"{}"}}"#, "\u{10ffff}".repeat(129)).as_bytes(), 400, EVENT_FIELD),
        ]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_compression_is_answered_and_counted() {
    play(|key| {
        let body = |what: &str, headers: &str, body: &[u8], status: u16, counter| {
            case(what, post(key, headers, body), &[status], counter)
        };
        let zeros = vec![b' '; 100_000_000];
        let event = br#"{"name":"n"}"#;
        let trailing = [gzip(event), b"garbage".to_vec()].concat();
        let cut = &gzip(event)[..20];
        vec![
            body("a gzip bomb", "content-encoding: gzip\r\n", &gzip(&zeros), 413, TOO_LARGE),
            body("a gzip bomb without a label", "", &gzip(&zeros), 413, TOO_LARGE),
            body(
                "a zstd bomb",
                "content-encoding: zstd\r\n",
                &zstd::encode_all(&zeros[..], 19).expect("memory"),
                413,
                TOO_LARGE,
            ),
            body("gzip in gzip", "content-encoding: gzip\r\n", &gzip(&gzip(event)), 400, MALFORMED),
            body("a bomb in gzip", "content-encoding: gzip\r\n", &gzip(&gzip(&zeros)), 400, MALFORMED),
            body("zstd in gzip", "", &gzip(&zstd::encode_all(&event[..], 1).expect("memory")), 400, MALFORMED),
            body(
                "two encodings named",
                "content-encoding: gzip, gzip\r\n",
                &gzip(event),
                415,
                r#"weir_requests_refused_total{reason="wrong_encoding"}"#,
            ),
            body("a cut gzip", "content-encoding: gzip\r\n", cut, 400, BAD_COMPRESSION),
            body("garbage after gzip", "", &trailing, 400, BAD_COMPRESSION),
            body("50,000 empty gzip members", "", &gzip(b"").repeat(50_000), 400, MALFORMED),
            body(
                "a zstd window of 128 MB",
                "content-encoding: zstd\r\n",
                &zstd_with_a_huge_window(),
                400,
                BAD_COMPRESSION,
            ),
            body("a cut zstd", "", &zstd::encode_all(&event[..], 1).expect("memory")[..8], 400, BAD_COMPRESSION),
            body("a label and nothing behind it", "content-encoding: gzip\r\n", event, 200, ACCEPTED),
        ]
    })
    .await;
}

/// A second request, for who is led to believe that the first has ended.
fn tail(key: &str) -> String {
    let body = r#"{"name":"smuggled"}"#;
    format!("POST /v1/events?key={key} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_requests_get_one_answer_and_nothing_behind_them_is_read() {
    play(|key| {
        let tail = tail(key);
        let start = format!("POST /v1/events?key={key} HTTP/1.1\r\nhost: a\r\n");
        let event = r#"{"name":"framed"}"#;
        let length = event.len();
        let mut cases = vec![
            // Who believes the length takes the tail for the body; who believes the chunks, for a request.
            case(
                "CL.TE",
                format!("{start}content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{tail}", 5 + tail.len()),
                &[400],
                MALFORMED,
            ),
            case(
                "CL.TE with an event",
                format!("{start}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{event}\r\n0\r\n\r\n{tail}"),
                &[200],
                ACCEPTED,
            ),
            case(
                "TE.CL",
                format!("{start}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n{:x}\r\n{tail}\r\n0\r\n\r\n{tail}", tail.len()),
                &[400],
                MALFORMED,
            ),
            case("HTTP/1.0 with chunks", format!("POST /v1/events?key={key} HTTP/1.0\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{tail}"), &[400], NOT_HTTP),
        ];
        for lines in [
            "transfer-encoding: xchunked",
            "transfer-encoding: x\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: x",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: chunked, identity",
            "transfer-encoding: chunked,",
            "transfer-encoding: \"chunked\"",
            "transfer-encoding:\x0bchunked",
            "transfer-encoding : chunked",
            "transfer-encoding\t: chunked",
            " transfer-encoding: chunked",
            "transfer-encoding:\r\n chunked",
            "x: y\r\n transfer-encoding: chunked",
            "x: y\rtransfer-encoding: chunked",
            "x: y\ntransfer-encoding: chunked",
            "x: y\n\r\ntransfer-encoding: chunked",
            "transfer-encoding\n: chunked",
            "transfer-encoding: chunked\n",
            "transfer-encoding: ch\0unked",
            ": chunked",
            "no colon",
        ] {
            let bytes = format!("{start}{lines}\r\n\r\n0\r\n\r\n{tail}");
            cases.push(case(format!("{lines:?}"), bytes, &[400], NOT_HTTP));
        }
        for length in [
            "-1", "+5", "0x5", "5 5", "5,6", "5;", "1e1", "", "99999999999999999999999999", "5\r\ncontent-length: 6",
            "6\r\nx: y\r\ncontent-length: 5",
        ] {
            let bytes = format!("{start}content-length: {length}\r\n\r\n{tail}");
            cases.push(case(format!("content-length: {length:?}"), bytes, &[400], NOT_HTTP));
        }
        let bytes = format!("{start}content-length: 18446744073709551615\r\n\r\n{tail}");
        cases.push(case("the largest length", bytes, &[431], NOT_HTTP));
        let bytes = format!("{start}content-length: 18446744073709551000\r\n\r\n{tail}");
        cases.push(case("nearly the largest length", bytes, &[413], TOO_LARGE));
        // The head ends twice: at the bare line feeds for some, later for others.
        for head in ["x: y\n\n", "x: y\n\r\n", "x: y\r\n\n", "\n"] {
            let bytes = format!("{start}content-length: 0\r\n{head}{tail}");
            cases.push(case(format!("a head that ends in {head:?}"), bytes, &[400], NOT_HTTP));
        }
        let bytes = format!("\n{start}content-length: 0\r\n\r\n{tail}");
        cases.push(case("a line feed first", bytes, &[400], NOT_HTTP));
        for (what, chunks) in [
            ("a chunk size beyond 64 bits", format!("10000000000000000\r\n{tail}")),
            ("a chunk size of many zeros and a sign", "-5\r\nabcde\r\n0\r\n\r\n".to_owned()),
            ("a chunk size with a prefix", "0x5\r\nabcde\r\n0\r\n\r\n".to_owned()),
            ("two chunk sizes", "5 5\r\nabcde\r\n0\r\n\r\n".to_owned()),
            ("no chunk size", "\r\n\r\n".to_owned()),
            ("a chunk size that ends in a line feed", "5\nabcde\r\n0\r\n\r\n".to_owned()),
            ("a chunk extension with a line feed", "5;a\nb\r\nabcde\r\n0\r\n\r\n".to_owned()),
            ("a chunk longer than its size", "3\r\nabcde\r\n0\r\n\r\n".to_owned()),
            ("a chunk that ends in a line feed", "5\r\nabcde\n0\r\n\r\n".to_owned()),
            ("extensions without end", format!("5;{}\r\nabcde\r\n0\r\n\r\n", "a".repeat(30_000))),
            ("trailers without end", format!("0\r\n{}\r\n", "x: y\r\n".repeat(10_000))),
        ] {
            let bytes = format!("{start}transfer-encoding: chunked\r\n\r\n{chunks}{tail}");
            cases.push(case(what, bytes, &[400], BROKEN));
        }
        cases
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_quite_http_is_answered_and_counted() {
    play(|key| {
        let event = r#"{"name":"n"}"#;
        let rest = format!("host: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{event}", event.len());
        let get = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let head = |lines: &str| format!("GET /nothing HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n");
        let script = r#"weir_requests_total{route="/w.js",status="200"}"#;
        let mut cases = vec![
            case("HTTP/0.9", "GET /w.js\r\n\r\n", &[400], NOT_HTTP),
            case("HTTP/1.2", "GET /w.js HTTP/1.2\r\n\r\n", &[400], NOT_HTTP),
            case("HTTP/11.1", "GET /w.js HTTP/11.1\r\n\r\n", &[400], NOT_HTTP),
            case("HTTP/2's first words", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", &[], NOT_HTTP),
            case("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), &[400], NOT_HTTP),
            case("SSH", "SSH-2.0-OpenSSH_9.6\r\n", &[400], NOT_HTTP),
            case(
                "a method of its own",
                format!("BREW /v1/events HTTP/1.1\r\n{rest}"),
                &[405],
                r#"weir_requests_refused_total{reason="wrong_method"}"#,
            ),
            case(
                "CONNECT",
                "CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example:443\r\nconnection: close\r\n\r\n",
                &[404],
                NOT_FOUND,
            ),
            case(
                "absolute-form",
                format!("POST http://evil.example/v1/events?key={key} HTTP/1.1\r\n{rest}"),
                &[200],
                ACCEPTED,
            ),
            case("absolute-form without a path", get("http://evil.example"), &[404], NOT_FOUND),
            case("absolute-form of another scheme", get("file:///etc/passwd"), &[400], NOT_HTTP),
            case("an address with a user", get("http://user:password@evil.example/w.js"), &[200], script),
            case(
                "an address of raw bytes",
                b"GET /\xff\xfe HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_vec(),
                &[400],
                NOT_HTTP,
            ),
            case("100 headers", head(&"x: y\r\n".repeat(98)), &[404], NOT_FOUND),
            case("1,000 headers", head(&"x: y\r\n".repeat(1_000)), &[431], NOT_HTTP),
            case("headers of a megabyte", head(&format!("x: {}\r\n", "y".repeat(1_000_000))), &[431], NOT_HTTP),
            case("a header name of 40 kB", head(&format!("{}: y\r\n", "x".repeat(40_000))), &[404], NOT_FOUND),
            case("no host", "GET /nothing HTTP/1.1\r\nconnection: close\r\n\r\n", &[404], NOT_FOUND),
            case("an address of 60 kB", get(&format!("/{}", "a".repeat(60_000))), &[404], NOT_FOUND),
            case("an address of 200 kB", get(&format!("/{}", "a".repeat(200_000))), &[431], NOT_HTTP),
            case(
                "a pixel of 60 kB",
                get(&format!("/v1/pixel.gif?key={key}&url=/{}", "a".repeat(60_000))),
                &[400],
                EVENT_FIELD,
            ),
            case(
                "a pixel of 5,000 parameters",
                get(&format!("/v1/pixel.gif?key={key}&name=p&{}", "p.a=b&".repeat(5_000))),
                &[200],
                ACCEPTED,
            ),
            case(
                "a pixel with NULs",
                get(&format!("/v1/pixel.gif?key={key}&name=%00&p.%00=%00&url=%ff")),
                &[200],
                ACCEPTED,
            ),
        ];
        for path in [
            "/../../etc/passwd",
            "/v1/../w.js",
            "/v1/%2e%2e/w.js",
            "/%2e%2e%2fetc%2fpasswd",
            "/v1/%65vents",
            "//v1/events",
            "/v1//events",
            "/v1/events/",
            "/v1/events/..",
            "/v1\\events",
            "/V1/EVENTS",
            "/w.js/",
            "/w.js%00",
            "/.env",
            "/metrics",
            "/healthz",
            "/v1/events;a=b",
        ] {
            cases.push(case(path, get(path), &[404], NOT_FOUND));
        }
        cases
    })
    .await;
}

/// Sends a byte at a time until the other end has had enough; returns what came back.
async fn drip(collector: &TestCollector, start: &str, byte: u8) -> Vec<u8> {
    within("the end of a drip", async {
        let mut stream = TcpStream::connect(collector.address).await.expect("taken");
        stream.write_all(start.as_bytes()).await.expect("sent");
        let (mut reader, mut writer) = stream.split();
        let mut response = Vec::new();
        let dripping = async {
            while writer.write_all(&[byte]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // A reset is an end, too.
            _ = reader.read_to_end(&mut response) => {}
            () = dripping => {}
        }
        response
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_now_and_then_buys_no_time() {
    let (database, collector, _journal) = collector(|config| {
        config.receive.header_timeout_s = 1;
        config.receive.body_timeout_s = 1;
        config.receive.idle_timeout_s = 1;
    })
    .await;
    let start = format!("POST /v1/events?key={} HTTP/1.1\r\nhost: a\r\n", collector.keys.secret_key);
    let length = format!("{start}content-length: 1000\r\n\r\n");
    let chunks = format!("{start}transfer-encoding: chunked\r\n\r\n");
    let (slow_head, too_slow) =
        (r#"weir_connections_cut_total{reason="slow_head"}"#, r#"weir_requests_refused_total{reason="too_slow"}"#);
    for (what, start, byte, expected, counter) in [
        ("a head", start.as_str(), b'x', &[][..], slow_head),
        ("empty lines", "", b'\r', &[], slow_head),
        ("a body", &length, b' ', &[408], too_slow),
        ("a chunk size", &chunks, b'0', &[408], too_slow),
    ] {
        let before = count(&collector, counter).await;
        let response = drip(&collector, start, byte).await;
        assert_eq!(statuses(&response), expected, "{what}: {}", String::from_utf8_lossy(&response));
        eventually(what, async || count(&collector, counter).await == before + 1).await;
        assert_eq!(collector.post(r#"{"name":"good"}"#).await.status, 200, "after {what}");
    }
    database.until_stored(4).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
    let long = format!("203.0.113.1{}", ", 10.0.0.1".repeat(5_000));
    let mixed = format!("{}198.51.100.1, 10.0.0.1", "9.9.9.9, ".repeat(5_000));
    for (trusted, chains) in [
        (&[][..], &[("203.0.113.1", "127.0.0.1")][..]),
        (&["10.0.0.0/8"], &[("203.0.113.1", "127.0.0.1")]),
        (
            &["127.0.0.1/32", "10.0.0.0/8"],
            &[
                ("203.0.113.1", "203.0.113.1"),
                ("9.9.9.9, 203.0.113.1", "203.0.113.1"),
                ("9.9.9.9, , 203.0.113.1", "203.0.113.1"),
                ("203.0.113.1, unknown", "127.0.0.1"),
                ("203.0.113.1 198.51.100.1", "127.0.0.1"),
                (&long, "203.0.113.1"),
                (&mixed, "198.51.100.1"),
            ],
        ),
    ] {
        let (database, collector, _journal) = collector(|config| {
            config.privacy.ip = weir::config::IpPolicy::Full;
            config.receive.trusted_proxies = trusted.iter().map(|net| net.parse().expect("a net")).collect();
        })
        .await;
        for (n, (chain, _)) in chains.iter().enumerate() {
            let header = format!("x-forwarded-for: {chain}");
            let headers = ["x-real-ip: 9.9.9.9", "forwarded: for=9.9.9.9", "true-client-ip: 9.9.9.9", &header];
            assert_eq!(collector.beacon(&format!(r#"{{"name":"{n}"}}"#), &headers).await.status, 200);
        }
        database.until_stored(chains.len() as i64).await;
        let found = database.rows("select host(ip) from analytics.events order by name").await;
        let expected: Vec<&str> = chains.iter().map(|(_, expected)| *expected).collect();
        assert_eq!(found, expected, "{trusted:?}");
        collector.stop().await;
    }
}
