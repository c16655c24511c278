//! Where a request carries its write key, and whether the key may be used from there.

use std::borrow::Cow;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::RequestError;
use crate::sources::{KeyKind, WriteKey, WriteKeys};

/// The key named by `Authorization: Basic|Bearer`, by Jitsu's `X-Write-Key`, or by `?key=` or RudderStack's `?writeKey=`.
pub fn of_request<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Option<Cow<'a, str>> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(of_header);
    header.or_else(|| of_jitsu(headers)).or_else(|| of_query(query))
}

/// That of `?key=` or RudderStack's `?writeKey=`.
pub fn of_query(query: Option<&str>) -> Option<Cow<'_, str>> {
    let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs
        .filter(|(name, value)| matches!(name.as_ref(), "key" | "writeKey") && !value.is_empty())
        .map(|(_, value)| value)
        .next()
}

/// Jitsu's keys have two parts, `KEY:SECRET`, of which the first names the source.
fn of_jitsu(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let key = headers.get("x-write-key")?.to_str().ok()?.split(':').next()?;
    (!key.is_empty()).then_some(Cow::Borrowed(key))
}

fn of_header(value: &str) -> Option<Cow<'_, str>> {
    let (scheme, rest) = value.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return (!rest.is_empty()).then_some(Cow::Borrowed(rest));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        // SDKs put the key in the user's place; curl users may put it in the other.
        let (user, password) = text.split_once(':').unwrap_or((&text, ""));
        let key = if user.is_empty() { password } else { user };
        return (!key.is_empty()).then(|| Cow::Owned(key.to_owned()));
    }
    None
}

/// The key's owner, if the key is in force and the request comes from where the key may be used.
pub fn check(keys: &WriteKeys, key: Option<&str>, headers: &HeaderMap) -> Result<Arc<WriteKey>, RequestError> {
    let key = keys.get(key.ok_or(RequestError::NoKey)?).ok_or(RequestError::UnknownKey)?;
    if key.kind == KeyKind::Public && !key.origins.is_empty() {
        let origin = origin(headers).unwrap_or_else(|| "(none)".to_owned());
        if !key.origins.contains(&origin) {
            return Err(RequestError::WrongOrigin(origin));
        }
    }
    Ok(key)
}

/// `Origin`, which browsers send with scripts' requests; for images only `Referer` tells.
fn origin(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(origin) = text(header::ORIGIN) {
        return Some(origin.to_ascii_lowercase());
    }
    let referer = url::Url::parse(text(header::REFERER)?).ok()?;
    Some(referer.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_wherever_clients_put_them() {
        for (header, query, expected) in [
            (Some("Bearer pk_1"), None, Some("pk_1")),
            (Some("bearer  pk_1 "), Some("key=pk_2"), Some("pk_1")),
            (Some("Basic cGtfMTo="), None, Some("pk_1")),
            (Some("Basic OnBrXzE="), None, Some("pk_1")),
            (Some("Basic !!"), Some("a=b&key=pk%5F2"), Some("pk_2")),
            (Some("Digest x"), None, None),
            (None, Some("key="), None),
            (None, None, None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(header::AUTHORIZATION, header.parse().expect("a header"));
            }
            assert_eq!(of_request(&headers, query).as_deref(), expected, "{header:?} {query:?}");
        }
    }
}
