//! A page to try the snippet on, beside the rows that it makes: `/demo` on the admin listener of `weir up`.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_postgres::types::Type;

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
        .with_state(shown)
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

async fn rows(State(shown): State<Shown>) -> Response {
    match shown.rows().await {
        Ok(json) => {
            ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], json).into_response()
        }
        Err(error) => refusal(StatusCode::SERVICE_UNAVAILABLE, "database_away", &error.to_string()),
    }
}

impl Shown {
    async fn rows(&self) -> Result<String, DatabaseError> {
        let client = self.database.client().await?;
        Ok(client.query_typed_one(ROWS, &[(&self.source, Type::TEXT)]).await?.try_get(0)?)
    }
}
