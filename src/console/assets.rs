//! Scripts and styles, built from `console/` and kept in the binary.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::error::ConsoleError;

/// An address has a part of its file's hash, so it may be kept for ever.
const FOR_EVER: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");
const HASH_BYTES: usize = 6;

struct Asset {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! asset {
    ($name:literal, $content_type:expr) => {
        Asset { name: $name, content_type: $content_type, bytes: include_bytes!(concat!("../../console/dist/", $name)) }
    };
}

const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

const ASSETS: &[Asset] = &[
    asset!("console.css", CSS),
    asset!("docs.css", CSS),
    asset!("theme.js", JS),
    asset!("console.js", JS),
    asset!("sql.js", JS),
    asset!("sql-format.js", JS),
    asset!("chart.js", JS),
    asset!("LICENSES.txt", TEXT),
];

/// Of all files together: they name each other.
static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for asset in ASSETS {
        hash.update(asset.bytes);
    }
    hash.finalize().iter().take(HASH_BYTES).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
});

/// Where a page finds `name`.
pub fn path(name: &str) -> String {
    format!("/assets/{}/{name}", *HASH)
}

pub async fn serve(Path((hash, name)): Path<(String, String)>, headers: HeaderMap) -> Result<Response, ConsoleError> {
    let asset = ASSETS.iter().find(|asset| asset.name == name).ok_or(ConsoleError::NotFound)?;
    // A page of the version before asks by its hash: it gets what there is now, and does not keep it.
    let caching = if hash == *HASH { FOR_EVER } else { HeaderValue::from_static("no-cache") };
    let headers_out = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (header::CACHE_CONTROL, caching),
        (HeaderName::from_static("vary"), HeaderValue::from_static("accept-encoding")),
    ];
    let takes_gzip = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|coding| coding.trim().split(';').next() == Some("gzip")));
    if takes_gzip {
        let packed = PACKED.iter().find(|(known, _)| *known == name).map(|(_, packed)| packed.clone());
        if let Some(packed) = packed {
            let mut response = (headers_out, packed).into_response();
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            return Ok(response);
        }
    }
    Ok((headers_out, asset.bytes).into_response())
}

/// Compressed once.
static PACKED: LazyLock<Vec<(&'static str, axum::body::Bytes)>> = LazyLock::new(|| {
    let pack = |asset: &Asset| {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(asset.bytes).ok()?;
        Some((asset.name, encoder.finish().ok()?.into()))
    };
    ASSETS.iter().filter_map(pack).collect()
});
