//! The public addresses, in one table.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::{Map, Value};
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use super::answer::{Rejected, RequestError, json};
use super::collect::Collector;

/// The snippet that pages load.
const SCRIPT: &str = include_str!("../../js-snippet/w.js");
/// A transparent GIF of one pixel.
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";
/// Browsers may remember a preflight's answer this long (Chromium caps it at two hours).
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// All public routes.
pub fn router(collector: Arc<Collector>) -> Router {
    // Keys, not cookies, say who sends: any origin may, and nothing secret can be read back.
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([header::RETRY_AFTER])
        .max_age(PREFLIGHT_MAX_AGE);
    Router::new()
        .route("/v1/events", post(events))
        .route("/v1/validate", post(validate))
        // A HEAD would store an event without showing the image.
        .route("/v1/pixel.gif", get(pixel).head(wrong_method))
        .route("/w.js", get(script))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(collector)
        .layer(cors)
}

async fn events(State(collector): State<Arc<Collector>>, request: Request) -> Response {
    let started = Instant::now();
    let response = collector.events(request).await.unwrap_or_else(|error| refused(&collector, error));
    collector.metrics.request_seconds.record(started.elapsed());
    counted(&collector, "/v1/events", response)
}

async fn validate(State(collector): State<Arc<Collector>>, request: Request) -> Response {
    #[derive(Serialize)]
    struct Valid {
        events: Vec<Map<String, Value>>,
        rejected: Vec<Rejected>,
    }
    let response = match collector.validate(request).await {
        Ok((events, rejected)) => json(StatusCode::OK, &Valid { events, rejected }),
        Err(error) => refused(&collector, error),
    };
    counted(&collector, "/v1/validate", response)
}

async fn pixel(State(collector): State<Arc<Collector>>, request: Request) -> Response {
    let response = match collector.pixel(request).await {
        Ok(status) => {
            let headers = [(header::CONTENT_TYPE, "image/gif"), (header::CACHE_CONTROL, "no-store")];
            (status, headers, PIXEL).into_response()
        }
        Err(error) => refused(&collector, error),
    };
    counted(&collector, "/v1/pixel.gif", response)
}

async fn script(State(collector): State<Arc<Collector>>, headers: HeaderMap) -> Response {
    let tag = format!("\"{:08x}\"", crc32c::crc32c(SCRIPT.as_bytes()));
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = Response::new(if is_known { Body::empty() } else { Body::from(SCRIPT) });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let fixed = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    // Pages with `Cross-Origin-Embedder-Policy` load nothing without it.
    response.headers_mut().insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    if let Ok(tag) = tag.try_into() {
        response.headers_mut().insert(header::ETAG, tag);
    }
    counted(&collector, "/w.js", response)
}

async fn not_found(State(collector): State<Arc<Collector>>) -> Response {
    counted(&collector, "other", refused(&collector, RequestError::NotFound))
}

async fn wrong_method(State(collector): State<Arc<Collector>>, method: Method) -> Response {
    counted(&collector, "other", refused(&collector, RequestError::WrongMethod(method.to_string())))
}

fn refused(collector: &Collector, error: RequestError) -> Response {
    collector.metrics.request_refused(error.code());
    error.into_response()
}

fn counted(collector: &Collector, route: &'static str, response: Response) -> Response {
    collector.metrics.request(route, response.status().as_u16());
    response
}
