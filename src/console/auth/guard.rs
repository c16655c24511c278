//! What stands before every page: whose session it is, that no other site sends forms, and what browsers may do with answers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Form, FromRequest, FromRequestParts, OptionalFromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::session::Session;
use super::standing;
use crate::console::error::{ConsoleError, Told};
use crate::console::{Console, page};
use crate::receive::answer::json;
use crate::receive::client_ip::client_ip;
use crate::receive::listen::Peer;

pub const COOKIE: &str = "weir_session";
const CSRF_HEADER: &str = "x-csrf-token";
const FETCH_SITE: &str = "sec-fetch-site";
const FETCH_MODE: &str = "sec-fetch-mode";
/// Longer than a script's question whether a run is over, and than any statement of the console's own.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// Pages that need nobody signed in.
const OPEN: [&str; 4] = ["/sign-in", "/assets/", "/shared/", "/linked/"];
/// Everything from here, nothing from elsewhere, nothing within a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'";
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // A secret link must not be told to where its page leads.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Where a request came from.
#[derive(Clone, Copy)]
pub struct Address(pub IpAddr);

/// Whoever is signed in; without, the request is refused.
pub struct Person(pub Arc<Session>);

impl<S: Send + Sync> FromRequestParts<S> for Person {
    type Rejection = ConsoleError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ConsoleError> {
        parts.extensions.get::<Arc<Session>>().cloned().map(Self).ok_or(ConsoleError::SignedOut)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Person {
    type Rejection = ConsoleError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, ConsoleError> {
        Ok(parts.extensions.get::<Arc<Session>>().cloned().map(Self))
    }
}

/// Whoever is signed in, who may operate weir.
pub struct Operator(pub Arc<Session>);

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = ConsoleError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ConsoleError> {
        let Person(session) = <Person as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        if session.is_operator() {
            return Ok(Self(session));
        }
        Err(ConsoleError::Forbidden("this is for operators: `weir analyst grant NAME --operator` makes one".to_owned()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Address {
    type Rejection = ConsoleError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ConsoleError> {
        parts.extensions.get::<Self>().copied().ok_or_else(|| ConsoleError::Internal("no address".to_owned()))
    }
}

/// A form of a page of ours, sent by whoever is signed in.
pub struct Signed<T>(pub T);

#[derive(Deserialize)]
struct Csrf {
    #[serde(default)]
    csrf: String,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Signed<T> {
    type Rejection = ConsoleError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ConsoleError> {
        let session = request.extensions().get::<Arc<Session>>().cloned().ok_or(ConsoleError::SignedOut)?;
        let in_header = request.headers().get(CSRF_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bad = |error: &dyn std::fmt::Display| ConsoleError::BadRequest(error.to_string());
        if is_json(request.headers()) {
            let shown = in_header.unwrap_or_default();
            check_csrf(&session, &shown)?;
            let body = Bytes::from_request(request, state).await.map_err(|error| bad(&error))?;
            return Ok(Self(serde_json::from_slice(&body).map_err(|error| bad(&error))?));
        }
        let (parts, body) = request.into_parts();
        let body = Bytes::from_request(Request::from_parts(parts.clone(), body), state).await;
        let body = body.map_err(|error| bad(&error))?;
        let again = || Request::from_parts(parts.clone(), body.clone().into());
        let shown = match in_header {
            Some(shown) => shown,
            None => Form::<Csrf>::from_request(again(), state).await.map_err(|error| bad(&error))?.0.csrf,
        };
        check_csrf(&session, &shown)?;
        let Form(form) = Form::<T>::from_request(again(), state).await.map_err(|error| bad(&error))?;
        Ok(Self(form))
    }
}

fn check_csrf(session: &Session, shown: &str) -> Result<(), ConsoleError> {
    // Neither is a secret to whoever can measure the difference: both are the person's.
    if shown == session.csrf {
        return Ok(());
    }
    Err(ConsoleError::Forbidden("this page is from an earlier session: load it again".to_owned()))
}

/// See the module.
pub async fn guard(State(console): State<Arc<Console>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.address.ip());
    let ip = peer.map_or(IpAddr::from([0, 0, 0, 0]), |ip| client_ip(ip, request.headers(), &console.trusted_proxies));
    request.extensions_mut().insert(Address(ip));
    let wants_page = wants_page(request.headers(), request.method());
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let token = CookieJar::from_headers(request.headers()).get(COOKIE).map(|cookie| cookie.value().to_owned());
    let mut session = token.and_then(|token| console.sessions.find(&token));
    if let Some(found) = &session
        && standing::recheck(&console, found).await.is_err()
    {
        session = None;
    }
    let is_open = OPEN.iter().any(|open| request.uri().path().starts_with(open));
    let is_from_elsewhere = header_is(request.headers(), FETCH_SITE, "cross-site");
    let is_navigation = header_is(request.headers(), FETCH_MODE, "navigate");
    let mut response = if !is_safe(request.method()) && !is_same_origin(request.headers()) {
        let reason = "this was sent by another site, or a proxy changed the Host header on the way";
        ConsoleError::Forbidden(reason.to_owned()).into_response()
    } else if session.is_none() && !is_open && is_from_elsewhere && is_navigation && wants_page {
        // A link in a chat: the browser keeps a strict cookie back until the page is asked for from here.
        page::once_more()
    } else if session.is_none() && !is_open {
        if wants_page { page::to_sign_in(&path) } else { ConsoleError::SignedOut.into_response() }
    } else {
        if let Some(session) = &session {
            request.extensions_mut().insert(Arc::clone(session));
        }
        // A body that never ends must not hold its memory and its connection.
        match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                ConsoleError::Busy(format!("this took longer than {} s", ANSWER_TIMEOUT.as_secs())).into_response()
            }
        }
    };
    if let Some(Told(message)) = response.extensions_mut().remove::<Told>() {
        response = tell(response, &message, wants_page, session.as_deref());
    }
    let headers = response.headers_mut();
    restrict(headers);
    // What is a person's own must not lie in a browser's or a proxy's cache.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Tells browsers what an answer of the admin listener's may do.
pub fn restrict(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// The refusal as a page or as JSON, with the headers that it had.
fn tell(refused: Response, message: &str, wants_page: bool, session: Option<&Session>) -> Response {
    let (parts, _) = refused.into_parts();
    let mut response = if wants_page {
        page::message(parts.status, message, session)
    } else {
        let body = serde_json::json!({ "error": { "message": message } });
        json(parts.status, &body)
    };
    if let Some(value) = parts.headers.get(header::RETRY_AFTER) {
        response.headers_mut().insert(header::RETRY_AFTER, value.clone());
    }
    response
}

pub async fn not_found() -> ConsoleError {
    ConsoleError::NotFound
}

/// Whether a script of a page's sends this.
pub fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.as_bytes().get(..16));
    content_type.is_some_and(|start| start.eq_ignore_ascii_case(b"application/json"))
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn header_is(headers: &HeaderMap, name: &str, value: &str) -> bool {
    headers.get(name).is_some_and(|found| found == value)
}

fn wants_page(headers: &HeaderMap, method: &Method) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("text/html") || (is_safe(method) && header_is(headers, FETCH_MODE, "navigate"))
}

/// Whether a page of this very origin sent the request. Browsers say so where the connection is private or local, and
/// otherwise name the origin.
fn is_same_origin(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(FETCH_SITE) {
        return site == "same-origin";
    }
    let origin = headers.get(header::ORIGIN).and_then(|value| Url::parse(value.to_str().ok()?).ok());
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let (Some(origin), Some(host)) = (origin, host) else { return false };
    // The host's port, if any, is written as in the origin: browsers leave the usual one out of both.
    origin.host_str().is_some_and(|name| match origin.port() {
        Some(port) => host.eq_ignore_ascii_case(&format!("{name}:{port}")),
        None => host.eq_ignore_ascii_case(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_the_same_origin_send_forms() {
        for (site, origin, host, expected) in [
            (Some("same-origin"), None, "weir.example", true),
            (Some("same-origin"), Some("https://weir.example"), "10.0.0.1:8081", true),
            (Some("same-site"), Some("https://weir.example"), "weir.example", false),
            (Some("cross-site"), Some("https://weir.example"), "weir.example", false),
            (Some("none"), None, "weir.example", false),
            (None, Some("http://weir.example:8081"), "weir.example:8081", true),
            (None, Some("https://weir.example"), "WEIR.example", true),
            (None, Some("http://[::1]:8081"), "[::1]:8081", true),
            (None, Some("http://weir.example:8082"), "weir.example:8081", false),
            (None, Some("https://evil.example"), "weir.example", false),
            (None, Some("null"), "weir.example", false),
            (None, None, "weir.example", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).expect("a header"));
            if let Some(site) = site {
                headers.insert(FETCH_SITE, HeaderValue::from_str(site).expect("a header"));
            }
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_str(origin).expect("a header"));
            }
            assert_eq!(is_same_origin(&headers), expected, "{site:?} {origin:?} {host}");
        }
    }
}
