//! What a request says beside its events: a compressed body, the addresses of its way, a key.

use std::borrow::Cow;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use metrics::Counter;
use weir::buffer::MemoryBudget;
use weir::receive::answer::RequestError;
use weir::receive::body::{self, BodyLimits};
use weir::receive::client_ip;
use weir::receive::credentials;

use super::RUNTIME;
use super::input::Input;

/// Small, so that inputs of a fuzzer's size come to them.
const LIMITS: BodyLimits =
    BodyLimits { bytes_max: 4 * 1024, inflated_bytes_max: 256 * 1024, timeout: Duration::from_secs(60) };
/// Chunks in which a body arrives.
const CHUNK_BYTES: [usize; 4] = [1, 7, 1024, usize::MAX];

/// A body is inflated within its limit, or refused; the memory it took is given back.
pub fn body(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let chunk_bytes = CHUNK_BYTES[usize::from(choice) % CHUNK_BYTES.len()];
    let raw = input.0;
    let is_compressed = raw.starts_with(&[0x1f, 0x8b]) || raw.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    let plenty = MemoryBudget::new(16 * 1024 * 1024);
    match read(raw, chunk_bytes, &plenty) {
        Ok(body) if is_compressed => assert!(body.len() <= LIMITS.inflated_bytes_max),
        Ok(body) => assert_eq!(body, raw, "a plain body is taken as it is"),
        Err(RequestError::TooLarge(limit)) if limit == LIMITS.bytes_max => assert!(raw.len() > limit),
        Err(RequestError::TooLarge(_) | RequestError::BadCompression(_)) => assert!(is_compressed),
        Err(error) => panic!("{error}"),
    }
    // As much as a budget has, and no more.
    let scarce = MemoryBudget::new(usize::from(choice) * 1024);
    if let Err(RequestError::Overloaded) = read(raw, chunk_bytes, &scarce) {
        assert!(is_compressed || raw.len() > usize::from(choice) * 1024);
    }

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(raw).expect("memory");
    let zstd = zstd::encode_all(raw, 1).expect("memory");
    for packed in [gzip.finish().expect("memory"), zstd] {
        if packed.len() <= LIMITS.bytes_max {
            let body = read(&packed, chunk_bytes, &plenty).expect("what was packed is unpacked");
            assert_eq!(body, raw);
        }
    }
}

fn read(raw: &[u8], chunk_bytes: usize, budget: &MemoryBudget) -> Result<Vec<u8>, RequestError> {
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
        raw.chunks(chunk_bytes).map(|chunk| Ok(chunk.to_owned())).collect();
    let body = Body::from_stream(futures_util::stream::iter(chunks));
    let mut memory = budget.reservation();
    let result =
        RUNTIME.block_on(async { body::read(&HeaderMap::new(), body, LIMITS, &mut memory, &Counter::noop()).await });
    if let Ok(body) = &result {
        assert!(body.len() <= budget.reserved_bytes(), "{} bytes are held, unreserved", body.len());
    }
    drop(memory);
    assert_eq!(budget.reserved_bytes(), 0);
    result.map(|body| body.to_vec())
}

static TRUSTED: LazyLock<Vec<IpNet>> =
    LazyLock::new(|| ["10.0.0.0/8", "192.168.7.0/24", "fd00::/8"].map(|net| net.parse().expect("a network")).to_vec());

/// The address found was named by the connection or by a trusted proxy, and nothing left of it changes that.
///
/// The first line is what an attacker puts before the header lines that follow.
pub fn client_ip(data: &[u8]) {
    let peer = IpAddr::from([10, 0, 0, 1]);
    let mut lines = data.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    let Some(invented) = lines.next() else {
        return;
    };
    let chain: Vec<HeaderValue> = lines.collect();
    let find = |values: &[HeaderValue]| client_ip::client_ip(peer, &headers(values), &TRUSTED);
    let ip = find(&chain);
    assert_eq!(ip, ip.to_canonical());
    assert_eq!(client_ip::client_ip(peer, &headers(&chain), &[]), peer, "without proxies the header means nothing");
    let is_trusted = |ip: IpAddr| TRUSTED.iter().any(|net| net.contains(&ip));
    if ip != peer {
        let values = chain.iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let written: Vec<_> = values.flat_map(|value| value.split(',').map(address).collect::<Vec<_>>()).collect();
        // All that trusted proxies wrote of each other, and the last that one of them wrote of someone else.
        let first = written.iter().rposition(|entry| !entry.is_some_and(is_trusted)).unwrap_or(0);
        assert!(written[first..].contains(&Some(ip)), "no trusted proxy wrote {ip}");
    }
    if is_trusted(ip) {
        return;
    }
    let mut spoofed = chain.clone();
    spoofed.insert(0, invented.clone());
    assert_eq!(find(&spoofed), ip, "a header of the visitor's own is believed");
    let joined = [invented.as_bytes(), b",", chain[0].as_bytes()].concat();
    let mut spoofed = chain;
    spoofed[0] = HeaderValue::from_bytes(&joined).expect("two header values");
    assert_eq!(find(&spoofed), ip, "the visitor's part of a header is believed");
}

fn headers(values: &[HeaderValue]) -> HeaderMap {
    values.iter().map(|value| (HeaderName::from_static("x-forwarded-for"), value.clone())).collect()
}

/// An entry of the header in any reading.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.trim_matches(['[', ']']).parse().ok();
    bare.or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip())).map(|ip| ip.to_canonical())
}

/// A key is found where it stands, is never empty, and the header goes before the query.
///
/// The first line is the header, the second the query.
pub fn credentials(data: &[u8]) {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let authorization = lines.next().and_then(|line| HeaderValue::from_bytes(line).ok());
    let query = lines.next().map(String::from_utf8_lossy);
    let find = |value: Option<HeaderValue>, query: Option<&str>| {
        let headers: HeaderMap = value.map(|value| (header::AUTHORIZATION, value)).into_iter().collect();
        credentials::of_request(&headers, query).map(Cow::into_owned)
    };
    let found = find(authorization.clone(), query.as_deref());
    assert_eq!(found, find(authorization, None).or_else(|| find(None, query.as_deref())));
    let Some(key) = found else {
        return;
    };
    assert!(!key.is_empty());
    // In a header a colon ends it, and space around it is lost.
    if !key.contains(':') {
        let basic = format!("Basic {}", STANDARD.encode(format!("{key}:secret")));
        assert_eq!(find(basic.parse().ok(), None).as_ref(), Some(&key));
    }
    if key.bytes().all(|byte| byte.is_ascii_graphic()) {
        assert_eq!(find(format!("bearer {key}").parse().ok(), None).as_ref(), Some(&key));
    }
}
