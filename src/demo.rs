//! A page to try the snippet on, beside the rows that it makes: `/demo` on the admin listener of `weir up`.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_postgres::types::{ToSql, Type};

use crate::database::{Database, DatabaseError};
use crate::receive::answer::refusal;

const PAGE: &str = include_str!("../js-snippet/demo/index.html");
const STYLE: &str = include_str!("../js-snippet/demo/demo.css");
const SCRIPT: &str = include_str!("../js-snippet/demo/demo.js");
/// Something to download.
const FILE: &str = include_str!("../js-snippet/demo/price-list.csv");

const ROWS: &str = include_str!("sql/demo_rows.sql");

/// Whose events the page sends, and where to.
#[derive(Debug, Clone)]
pub struct Demo {
    /// The public listener's URL, without a path.
    pub collector: String,
    pub source: &'static str,
    pub public_key: String,
}

#[derive(Clone)]
struct Shown {
    database: Database,
    source: &'static str,
    page: String,
    policy: HeaderValue,
}

/// The demo's routes.
pub fn router(demo: &Demo, database: Database) -> Router {
    let Demo { collector, source, public_key } = demo;
    // As strict as a page's policy can be: the snippet asks for nothing else.
    let policy = format!(
        "default-src 'none'; script-src 'self' {collector}; connect-src 'self' {collector}; style-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    );
    let shown = Shown {
        database,
        source,
        page: PAGE.replace("{{collector}}", collector).replace("{{key}}", public_key),
        // Of an URL that was made from an address there is nothing else.
        policy: HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'self'")),
    };
    Router::new()
        .route("/demo", get(page))
        .route("/demo/{*page}", get(page))
        .route("/demo/rows", get(rows))
        .route("/demo/assets/demo.css", get(async || asset("text/css; charset=utf-8", STYLE)))
        .route("/demo/assets/demo.js", get(async || asset("text/javascript; charset=utf-8", SCRIPT)))
        .route("/demo/assets/price-list.csv", get(async || asset("text/csv; charset=utf-8", FILE)))
        .layer(middleware::from_fn(refuse_names))
        .with_state(shown)
}

/// The host that the page was asked for: an address, or this machine. Any other name may be somebody's who has made it point
/// here, to read along (DNS rebinding).
fn host(headers: &HeaderMap) -> Option<String> {
    let authority: Authority = headers.get(header::HOST)?.to_str().ok()?.parse().ok()?;
    let host = authority.host();
    let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    (is_address || host.eq_ignore_ascii_case("localhost")).then(|| host.to_ascii_lowercase())
}

async fn refuse_names(request: Request, next: Next) -> Response {
    if host(request.headers()).is_none() {
        let reason = "open the demo by the address of this machine, or as localhost";
        return refusal(StatusCode::MISDIRECTED_REQUEST, "unknown_host", reason);
    }
    next.run(request).await
}

async fn page(State(shown): State<Shown>) -> Response {
    let mut response = asset("text/html; charset=utf-8", shown.page);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, shown.policy);
    response
}

fn asset(content_type: &'static str, text: impl Into<String>) -> Response {
    const NOSNIFF: (HeaderName, &str) = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // They may change with the next build.
    let headers = [(header::CONTENT_TYPE, content_type), NOSNIFF, (header::CACHE_CONTROL, "no-cache")];
    (headers, text.into()).into_response()
}

async fn rows(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    match shown.rows(&host(&headers).unwrap_or_default()).await {
        Ok(json) => {
            ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], json).into_response()
        }
        Err(error) => refusal(StatusCode::SERVICE_UNAVAILABLE, "database_away", &error.to_string()),
    }
}

impl Shown {
    /// Those of pages at `host`.
    async fn rows(&self, host: &str) -> Result<String, DatabaseError> {
        let client = self.database.client().await?;
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&self.source, Type::TEXT), (&host, Type::TEXT)];
        Ok(client.query_typed_one(ROWS, &parameters).await?.try_get(0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_anyone_may_point_here_are_refused() {
        for (value, expected) in [
            ("127.0.0.1:8081", Some("127.0.0.1")),
            ("[::1]:8081", Some("[::1]")),
            ("LocalHost", Some("localhost")),
            ("evil.example:8081", None),
            ("127.0.0.1.evil.example", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(value))]);
            assert_eq!(host(&headers).as_deref(), expected, "{value}");
        }
        assert_eq!(host(&HeaderMap::new()), None);
    }
}
