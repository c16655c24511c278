//! Reading a request's body: bounded before it is read, while it is read, and while it is inflated.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use metrics::Counter;

use super::answer::RequestError;
use crate::buffer::Reservation;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Windows of 8 MB, the most that RFC 9659 allows for HTTP. A frame could otherwise ask for 128 MB of memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Output is taken in steps of this size, each reserved first: a bomb is noticed after at most one step too many.
const INFLATE_STEP_BYTES: usize = 64 * 1024;

/// How much of a body that is not wanted is still read, and for how long, so that its sender hears why.
const DRAIN_BYTES_MAX: usize = 16 * 1024 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long and how large a body may be.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    pub bytes_max: usize,
    pub inflated_bytes_max: usize,
    pub timeout: Duration,
}

/// Reads the body and undoes its compression. What it takes is added to `memory`.
pub async fn read(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
    memory: &mut Reservation,
    received_bytes: &Counter,
) -> Result<Bytes, RequestError> {
    check_encoding(headers)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limits.bytes_max) {
        drain(body).await;
        return Err(RequestError::TooLarge(limits.bytes_max));
    }
    let raw = tokio::time::timeout(limits.timeout, gather(body, limits.bytes_max, memory))
        .await
        .map_err(|_| RequestError::TooSlow(limits.timeout.as_secs()))??;
    received_bytes.increment(raw.len() as u64);
    // Clients send gzip under any label, so the bytes decide.
    if raw.starts_with(GZIP_MAGIC) {
        inflate(flate2::read::MultiGzDecoder::new(raw.as_ref()), limits.inflated_bytes_max, memory)
    } else if raw.starts_with(ZSTD_MAGIC) {
        let bad = |error: io::Error| RequestError::BadCompression(error.to_string());
        let mut decoder = zstd::stream::read::Decoder::new(raw.as_ref()).map_err(bad)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(bad)?;
        inflate(decoder, limits.inflated_bytes_max, memory)
    } else {
        Ok(raw)
    }
}

fn check_encoding(headers: &HeaderMap) -> Result<(), RequestError> {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else {
        return Ok(());
    };
    let name = encoding.to_str().unwrap_or("not ASCII").trim();
    let known = ["identity", "gzip", "x-gzip", "zstd"].iter().any(|known| name.eq_ignore_ascii_case(known));
    if known || name.is_empty() { Ok(()) } else { Err(RequestError::WrongEncoding(name.to_owned())) }
}

/// Reads on for a while and forgets it: a client that is still sending would lose the answer with its connection.
pub async fn drain(mut body: Body) {
    let forget = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Who is slower than this gets no answer.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, forget).await;
}

async fn gather(mut body: Body, bytes_max: usize, memory: &mut Reservation) -> Result<Bytes, RequestError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| RequestError::Broken)?.into_data() else {
            continue;
        };
        if first.len() + all.len() + data.len() > bytes_max {
            drain(body).await;
            return Err(RequestError::TooLarge(bytes_max));
        }
        if !memory.grow(data.len()) {
            return Err(RequestError::Overloaded);
        }
        // Nearly every body is one chunk, which need not be copied.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn inflate(mut decoder: impl Read, bytes_max: usize, memory: &mut Reservation) -> Result<Bytes, RequestError> {
    let mut inflated = Vec::new();
    loop {
        if !memory.grow(INFLATE_STEP_BYTES) {
            return Err(RequestError::Overloaded);
        }
        let step = io::copy(&mut decoder.by_ref().take(INFLATE_STEP_BYTES as u64), &mut inflated);
        match step {
            Err(error) => return Err(RequestError::BadCompression(error.to_string())),
            Ok(_) if inflated.len() > bytes_max => return Err(RequestError::TooLarge(bytes_max)),
            Ok(0) => return Ok(inflated.into()),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::buffer::MemoryBudget;

    const LIMITS: BodyLimits =
        BodyLimits { bytes_max: 100_000, inflated_bytes_max: 1_000_000, timeout: Duration::from_secs(5) };

    async fn read_one(body: Vec<u8>, encoding: &'static str, budget: &MemoryBudget) -> Result<Bytes, RequestError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, encoding.parse().expect("a header"));
        read(&headers, Body::from(body), LIMITS, &mut budget.reservation(), &Counter::noop()).await
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[tokio::test]
    async fn compression_is_told_by_the_bytes() {
        let budget = MemoryBudget::new(10_000_000);
        let zstd = zstd::encode_all(&b"hello"[..], 1).expect("memory");
        for (body, encoding) in [
            (b"hello".to_vec(), ""),
            (b"hello".to_vec(), "gzip"),
            (gzip(b"hello"), ""),
            (gzip(b"hello"), "gzip"),
            (zstd.clone(), "zstd"),
            (zstd, "identity"),
        ] {
            assert_eq!(read_one(body, encoding, &budget).await.expect("read"), "hello");
        }
        assert!(matches!(read_one(vec![], "br", &budget).await, Err(RequestError::WrongEncoding(_))));
        let mut cut = gzip(b"hello");
        cut.truncate(12);
        assert!(matches!(read_one(cut, "", &budget).await, Err(RequestError::BadCompression(_))));
    }

    #[tokio::test]
    async fn a_zstd_window_that_http_does_not_allow_is_refused() {
        let budget = MemoryBudget::new(10_000_000);
        for (window_log, is_fine) in [(ZSTD_WINDOW_LOG_MAX, true), (ZSTD_WINDOW_LOG_MAX + 1, false)] {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("memory");
            encoder.window_log(window_log).expect("a window");
            encoder.write_all(b"hello").expect("memory");
            let result = read_one(encoder.finish().expect("memory"), "zstd", &budget).await;
            assert_eq!(result.is_ok(), is_fine, "{result:?}");
        }
    }

    #[tokio::test]
    async fn bombs_stop_at_the_limit_and_give_their_memory_back() {
        let budget = MemoryBudget::new(10_000_000);
        let zeros = vec![0; 50_000_000];
        for bomb in [gzip(&zeros), zstd::encode_all(&zeros[..], 1).expect("memory")] {
            assert!(bomb.len() < LIMITS.bytes_max);
            assert!(matches!(read_one(bomb, "", &budget).await, Err(RequestError::TooLarge(_))));
        }
        assert_eq!(budget.reserved_bytes(), 0);
        assert!(matches!(read_one(vec![b'x'; 100_001], "", &budget).await, Err(RequestError::TooLarge(_))));
        let small = MemoryBudget::new(10);
        assert!(matches!(read_one(vec![b'x'; 11], "", &small).await, Err(RequestError::Overloaded)));
    }
}
