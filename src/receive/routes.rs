//! The public addresses, in one table.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::{Map, Value};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use super::answer::{Rejected, RequestError, json};
use super::collect::Collector;
use super::foreign::{Bootstrap, Family, Format, bootstrap, refused as refused_foreign};
use super::script::{ENDPOINT_PATH, SCRIPT_PATH, Scripts};
use super::webhook;
use crate::config;
use crate::decode::reload::Shape;

/// A transparent GIF of one pixel.
const PIXEL: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";
/// Browsers may remember a preflight's answer this long (Chromium caps it at two hours).
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where events of each format go.
#[rustfmt::skip]
const FORMATS: &[(Family, &str, Format)] = &[
    (Family::Segment,     "/v1/batch",                              Format::Segment(None)),
    (Family::Segment,     "/v1/b",                                  Format::Segment(None)),
    (Family::Segment,     "/v1/import",                             Format::Segment(None)),
    (Family::Segment,     "/v1/track",                              Format::Segment(Some("track"))),
    (Family::Segment,     "/v1/t",                                  Format::Segment(Some("track"))),
    (Family::Segment,     "/v1/page",                               Format::Segment(Some("page"))),
    (Family::Segment,     "/v1/p",                                  Format::Segment(Some("page"))),
    (Family::Segment,     "/v1/screen",                             Format::Segment(Some("screen"))),
    (Family::Segment,     "/v1/s",                                  Format::Segment(Some("screen"))),
    (Family::Segment,     "/v1/identify",                           Format::Segment(Some("identify"))),
    (Family::Segment,     "/v1/i",                                  Format::Segment(Some("identify"))),
    (Family::Segment,     "/v1/group",                              Format::Segment(Some("group"))),
    (Family::Segment,     "/v1/g",                                  Format::Segment(Some("group"))),
    (Family::Segment,     "/v1/alias",                              Format::Segment(Some("alias"))),
    (Family::Segment,     "/v1/a",                                  Format::Segment(Some("alias"))),
    (Family::Rudderstack, "/v1/merge",                              Format::Segment(Some("alias"))),
    (Family::Rudderstack, "/beacon/v1/batch",                       Format::Segment(None)),
    (Family::Rudderstack, "/pixel/v1/track",                        Format::SegmentPixel("track")),
    (Family::Rudderstack, "/pixel/v1/page",                         Format::SegmentPixel("page")),
    (Family::Posthog,     "/e",                                     Format::Posthog),
    (Family::Posthog,     "/e/",                                    Format::Posthog),
    (Family::Posthog,     "/i/v0/e",                                Format::Posthog),
    (Family::Posthog,     "/i/v0/e/",                               Format::Posthog),
    (Family::Posthog,     "/capture",                               Format::Posthog),
    (Family::Posthog,     "/capture/",                              Format::Posthog),
    (Family::Posthog,     "/track",                                 Format::Posthog),
    (Family::Posthog,     "/track/",                                Format::Posthog),
    (Family::Posthog,     "/engage",                                Format::Posthog),
    (Family::Posthog,     "/engage/",                               Format::Posthog),
    (Family::Posthog,     "/batch",                                 Format::Posthog),
    (Family::Posthog,     "/batch/",                                Format::Posthog),
    (Family::Posthog,     "/i/v1/analytics/events",                 Format::PosthogV1),
    (Family::Posthog,     "/i/v1/analytics/events/",                Format::PosthogV1),
    (Family::Plausible,   "/api/event",                             Format::Plausible),
    (Family::Umami,       "/api/send",                              Format::Umami),
    (Family::Umami,       "/api/batch",                             Format::Umami),
    (Family::Snowplow,    "/com.snowplowanalytics.snowplow/tp2",    Format::Snowplow),
    (Family::Snowplow,    "/i",                                     Format::Snowplow),
    (Family::Matomo,      "/matomo.php",                            Format::Matomo),
    (Family::Matomo,      "/piwik.php",                             Format::Matomo),
    (Family::Goatcounter, "/count",                                 Format::Goatcounter),
    (Family::Goatcounter, "/api/v0/count",                          Format::GoatcounterApi),
    (Family::Ga4,         "/mp/collect",                            Format::Ga4),
    (Family::Ga4,         "/debug/mp/collect",                      Format::Ga4Debug),
    (Family::Ga4,         "/g/collect",                             Format::Gtag),
    (Family::Jitsu,       "/api/s/{type}",                          Format::Jitsu(None)),
    (Family::Jitsu,       "/api/s/s2s/{type}",                      Format::Jitsu(None)),
    (Family::Cloudevents, "/v1/cloudevents",                        Format::Cloudevents),
    (Family::Reload,      "/page/",                                 Format::Reload(Shape::Page)),
    (Family::Reload,      "/event/",                                Format::Reload(Shape::Event)),
    (Family::Reload,      "/metric/",                               Format::Reload(Shape::Metric)),
    (Family::Chord,       "/{dataset}/{table}",                     Format::Chord),
];

/// What clients ask before they send.
#[rustfmt::skip]
const BOOTSTRAPS: &[(Family, &str, Bootstrap)] = &[
    (Family::Segment,     "/v1/projects/{key}/settings",            Bootstrap::SegmentSettings),
    (Family::Segment,     "/v1/m",                                  Bootstrap::Ignored),
    (Family::Segment,     "/m",                                     Bootstrap::Ignored),
    (Family::Rudderstack, "/sourceConfig",                          Bootstrap::RudderConfig),
    (Family::Rudderstack, "/sourceConfig/",                         Bootstrap::RudderConfig),
    (Family::Posthog,     "/array/{key}/config",                    Bootstrap::PosthogConfig),
    (Family::Posthog,     "/array/{key}/config.js",                 Bootstrap::PosthogScript),
    (Family::Posthog,     "/flags",                                 Bootstrap::PosthogFlags),
    (Family::Posthog,     "/flags/",                                Bootstrap::PosthogFlags),
    (Family::Posthog,     "/decide",                                Bootstrap::PosthogFlags),
    (Family::Posthog,     "/decide/",                               Bootstrap::PosthogFlags),
    (Family::Posthog,     "/s",                                     Bootstrap::Ignored),
    (Family::Posthog,     "/s/",                                    Bootstrap::Ignored),
];

/// What is weir's own, whatever the settings say.
const OWN: [&str; 5] = [ENDPOINT_PATH, "/v1/validate", "/v1/pixel.gif", SCRIPT_PATH, "/w.full.js"];

/// Where webhooks go; its name in metrics, also for addresses with a key.
const WEBHOOK: &str = "/v1/webhook/{source}";

/// Whether a path has a meaning already.
pub fn is_taken(path: &str, families: &[Family]) -> bool {
    let formats = FORMATS.iter().map(|(family, path, _)| (family, path));
    let bootstraps = BOOTSTRAPS.iter().map(|(family, path, _)| (family, path));
    let mut taken = formats.chain(bootstraps).filter(|(family, _)| families.contains(family));
    OWN.contains(&path) || path.starts_with(webhook::PATH) || taken.any(|(_, own)| *own == path)
}

/// All public routes, with those of the formats that are on.
pub fn router(collector: Arc<Collector>, settings: &config::Receive) -> Router {
    let families = &settings.formats;
    // Keys, not cookies, say who sends: any origin may, and nothing secret can be read back. Some clients ask for
    // credentials all the same, and a browser keeps the answer from them where the origin is only `*`.
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([header::RETRY_AFTER])
        .max_age(PREFLIGHT_MAX_AGE);
    let mut router = Router::new();
    for (_, path, format) in FORMATS.iter().filter(|(family, ..)| families.contains(family)) {
        let handle =
            move |State(collector): State<Arc<Collector>>, request: Request| foreign(collector, *format, path, request);
        let is_got = matches!(
            format,
            Format::SegmentPixel(_) | Format::Posthog | Format::Snowplow | Format::Matomo | Format::Goatcounter
        );
        let method = if is_got { post(handle).get(handle).head(wrong_method) } else { post(handle) };
        router = router.route(path, method);
    }
    for (_, path, bootstrap) in BOOTSTRAPS.iter().filter(|(family, ..)| families.contains(family)) {
        let handle = move |State(collector): State<Arc<Collector>>, key: Option<Path<String>>, request: Request| {
            let key = key.map(|Path(key)| key).unwrap_or_default();
            std::future::ready(asked(&collector, *bootstrap, path, &key, request))
        };
        router = router.route(path, get(handle).post(handle));
    }
    let mut scripts = vec![Scripts::of(settings)];
    if settings.script_path != SCRIPT_PATH {
        scripts.push(Scripts::built_in(settings));
    }
    if settings.endpoint_path != ENDPOINT_PATH {
        router = router.route(&settings.endpoint_path, post(events));
    }
    let scripts: Arc<[Scripts]> = scripts.into();
    let other = {
        let scripts = Arc::clone(&scripts);
        move |State(collector): State<Arc<Collector>>, request: Request| {
            std::future::ready(script(&collector, &scripts, &request).unwrap_or_else(|| not_found(&collector)))
        }
    };
    // Each by its own route, because a path of two parts may also be a table's. A cache may give one site's answer to
    // another: so all get the same.
    let mut script_routes = Router::new();
    for path in scripts.iter().flat_map(Scripts::paths) {
        script_routes = script_routes.route(&path, get(other.clone()));
    }
    let for_all = CorsLayer::new().allow_origin(Any).allow_methods([Method::GET]).max_age(PREFLIGHT_MAX_AGE).vary([]);
    let script_routes =
        script_routes.method_not_allowed_fallback(wrong_method).with_state(Arc::clone(&collector)).layer(for_all);
    router
        .route(ENDPOINT_PATH, post(events))
        .route("/v1/validate", post(validate))
        // A HEAD would store an event without showing the image.
        .route("/v1/pixel.gif", get(pixel).head(wrong_method))
        .route(WEBHOOK, post(webhook).get(webhook_asked))
        .route("/v1/webhook/{source}/{key}", post(webhook).get(webhook_asked))
        .fallback(other)
        .method_not_allowed_fallback(wrong_method)
        .with_state(collector)
        .layer(cors)
        .merge(script_routes)
}

async fn events(State(collector): State<Arc<Collector>>, request: Request) -> Response {
    let started = Instant::now();
    let response = collector.events(request).await.unwrap_or_else(|error| refused(&collector, error));
    collector.metrics.request_seconds.record(started.elapsed());
    counted(&collector, "/v1/events", response)
}

async fn foreign(collector: Arc<Collector>, format: Format, route: &'static str, request: Request) -> Response {
    let started = Instant::now();
    let format = match format {
        Format::Jitsu(_) => {
            Format::Jitsu(request.uri().path().rsplit('/').next().and_then(crate::decode::segment::kind_of_path))
        }
        format => format,
    };
    let response = collector.foreign(format, request).await.unwrap_or_else(|error| {
        collector.metrics.request_refused(error.code());
        refused_foreign(format, error)
    });
    collector.metrics.request_seconds.record(started.elapsed());
    counted(&collector, route, response)
}

fn asked(collector: &Collector, kind: Bootstrap, route: &'static str, key: &str, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    counted(collector, route, bootstrap(kind, &parts, key))
}

/// A transparent image, as an answer.
pub(super) fn pixel_image() -> Response {
    let headers = [(header::CONTENT_TYPE, "image/gif"), (header::CACHE_CONTROL, "no-store")];
    let mut response = (headers, PIXEL).into_response();
    response.headers_mut().insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    response
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
            let mut response = pixel_image();
            *response.status_mut() = status;
            response
        }
        Err(error) => refused(&collector, error),
    };
    counted(&collector, "/v1/pixel.gif", response)
}

async fn webhook(
    State(collector): State<Arc<Collector>>,
    Path(address): Path<webhook::Address>,
    request: Request,
) -> Response {
    let started = Instant::now();
    let response = collector.webhook(&address, request).await.unwrap_or_else(|error| refused(&collector, error));
    collector.metrics.request_seconds.record(started.elapsed());
    counted(&collector, WEBHOOK, response)
}

async fn webhook_asked(
    State(collector): State<Arc<Collector>>,
    Path(address): Path<webhook::Address>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let response = collector.webhook_asked(&address, &parts).unwrap_or_else(|error| refused(&collector, error));
    counted(&collector, WEBHOOK, response)
}

/// One of the scripts, if that is what was asked for.
fn script(collector: &Collector, scripts: &[Scripts], request: &Request) -> Option<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let (scripts, (script, name)) =
        scripts.iter().find_map(|scripts| Some((scripts, scripts.find(request.uri().path())?)))?;
    let route = if std::ptr::eq(script, &raw const scripts.full) { "/w.full.js" } else { SCRIPT_PATH };
    Some(counted(collector, route, script.answer(request.headers(), name)))
}

fn not_found(collector: &Collector) -> Response {
    counted(collector, "other", refused(collector, RequestError::NotFound))
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
