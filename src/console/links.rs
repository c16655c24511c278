//! Links that let somebody in who has not signed in: whoever has the key.

use axum::http::{HeaderMap, header};

use super::Console;

const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Whether `shown` is the key that the link was made with.
pub fn is_key(key: Option<&str>, shown: &str) -> bool {
    // Of 256 random bits; both are hashed, so that the time it takes says nothing of them.
    use sha2::{Digest, Sha256};
    key.is_some_and(|key| Sha256::digest(key) == Sha256::digest(shown))
}

/// This console's address as others see it: by setting, else as the browser named it.
pub fn base(console: &Console, headers: &HeaderMap) -> String {
    if !console.public_url.is_empty() {
        return console.public_url.trim_end_matches('/').to_owned();
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST.as_str()).unwrap_or("localhost");
    // What a proxy says of itself here only makes a text for whoever asked.
    let scheme = if text(FORWARDED_PROTO) == Some("https") { "https" } else { "http" };
    format!("{scheme}://{host}")
}
