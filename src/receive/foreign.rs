//! Clients that are not weir's own: what each address takes, and what its clients take for success.
//!
//! Refusals are weir's everywhere, with one exception: `429` makes posthog-js drop what it has, so its addresses say `503`.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{Accepted, Rejected, RequestError, json};
use super::collect::{Collector, Taken};
use super::routes::pixel_image;
use crate::decode::object::{Texts, parameters};
use crate::decode::translate::Translation;
use crate::decode::{
    DecodeError, Decoded, Refusal, cloudevents, ga4, goatcounter, matomo, plausible, posthog, reload, segment,
    snowplow, umami,
};
use crate::sources::{KeyKind, WriteKey};

/// A family of clients; each can be turned off (`receive.formats`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    Segment,
    Rudderstack,
    Posthog,
    Plausible,
    Umami,
    Snowplow,
    Matomo,
    Goatcounter,
    Ga4,
    Jitsu,
    Cloudevents,
    Reload,
    /// Takes any address of two parts, and is therefore off.
    Chord,
}

impl Family {
    /// Those that are on by default.
    pub const USUAL: [Self; 12] = [
        Self::Segment,
        Self::Rudderstack,
        Self::Posthog,
        Self::Plausible,
        Self::Umami,
        Self::Snowplow,
        Self::Matomo,
        Self::Goatcounter,
        Self::Ga4,
        Self::Jitsu,
        Self::Cloudevents,
        Self::Reload,
    ];
}

/// What is sent to an address.
#[derive(Debug, Clone, Copy)]
pub enum Format {
    /// With the type of events that name none.
    Segment(Option<&'static str>),
    /// RudderStack's image: an event in a query.
    SegmentPixel(&'static str),
    Jitsu(Option<&'static str>),
    Posthog,
    PosthogV1,
    Plausible,
    Umami,
    Snowplow,
    Matomo,
    Goatcounter,
    GoatcounterApi,
    Ga4,
    /// Says what is wrong with the events, and keeps nothing.
    Ga4Debug,
    Gtag,
    Cloudevents,
    Reload(reload::Shape),
    Chord,
}

/// What of a request its answer depends on.
#[derive(Debug, Default)]
struct Asked {
    /// As the client named its events, where the answer names them again.
    message_ids: Vec<Option<String>>,
    is_bulk: bool,
    /// Whether it shows the answer.
    is_image: bool,
}

type WithSecret<'a> = (Decoded<'a>, Option<Cow<'a, str>>);

impl Format {
    /// Its events, in weir's own format.
    fn translate<'a>(self, parts: &'a Parts, body: &'a str, texts: &'a Texts) -> Result<Translation<'a>, DecodeError> {
        let query = parts.uri.query().unwrap_or_default();
        match self {
            Self::Segment(kind) | Self::Jitsu(kind) => segment::translate(body, kind, texts),
            Self::SegmentPixel(kind) => segment::translate_query(query, kind, texts),
            Self::Posthog | Self::PosthogV1 => {
                let json = posthog::unwrap(if body.is_empty() { query } else { body }, texts)?;
                posthog::translate(json, texts)
            }
            Self::Plausible => plausible::translate(body, texts),
            Self::Umami => umami::translate(body, texts),
            Self::Snowplow if parts.method == Method::GET => Ok(snowplow::translate_query(query, texts)),
            Self::Snowplow => snowplow::translate(body, texts),
            Self::Matomo if matomo::is_bulk(body) => matomo::translate(body, texts),
            // A form's parameters and the address's belong together.
            Self::Matomo => Ok(matomo::translate_query(query, body.trim_ascii(), texts)),
            Self::Goatcounter => Ok(goatcounter::translate_query(query, texts)),
            Self::GoatcounterApi => goatcounter::translate(body, texts),
            Self::Ga4 | Self::Ga4Debug => ga4::translate(query, body, texts),
            Self::Gtag => Ok(ga4::translate_gtag(query, body, texts)),
            Self::Cloudevents => cloudevents_of(&parts.headers, body, texts),
            Self::Reload(shape) => reload::translate(body, shape, texts),
            Self::Chord => {
                let table = parts.uri.path().rsplit('/').next().unwrap_or_default();
                reload::translate_chord(body, table, texts)
            }
        }
    }

    /// The same, and a secret key that stands in the body.
    fn decode<'a>(self, parts: &'a Parts, body: &'a str, texts: &'a Texts) -> Result<WithSecret<'a>, DecodeError> {
        let mut translation = self.translate(parts, body, texts)?;
        let secret = translation.secret.take();
        Ok((translation.decode()?, secret))
    }

    /// What of a request its answer depends on.
    fn asked(self, parts: &Parts, body: &str, decoded: &Decoded<'_>) -> Asked {
        let mut asked = Asked { is_image: parts.method == Method::GET, ..Asked::default() };
        match self {
            Self::PosthogV1 => asked.message_ids = message_ids(decoded),
            Self::Matomo if matomo::is_bulk(body) => asked.is_bulk = true,
            Self::Matomo => {
                let query = parts.uri.query().unwrap_or_default();
                let mut all = parameters(query).chain(parameters(body.trim_ascii()));
                asked.is_image = !all.any(|(name, value)| name == "send_image" && value == "0");
            }
            Self::Goatcounter => asked.is_image = true,
            _ => {}
        }
        asked
    }

    /// What its clients take for success.
    fn answer(self, asked: &Asked, taken: Taken) -> Response {
        let Taken { accepted, rejected, .. } = &taken;
        let (accepted, refused) = (*accepted, rejected.len());
        let is_plain_fault = accepted == 0 && taken.is_fault;
        match self {
            Self::Posthog if !is_plain_fault => json(StatusCode::OK, &json!({ "status": "Ok" })),
            Self::PosthogV1 => {
                let mut results = serde_json::Map::new();
                for (index, id) in asked.message_ids.iter().enumerate() {
                    let refusal = rejected.iter().find(|rejected| rejected.index == index);
                    let result = refusal.map_or(
                        json!({ "result": "ok" }),
                        |refusal| json!({ "result": "drop", "details": refusal.reason }),
                    );
                    results.insert(id.clone().unwrap_or_default(), result);
                }
                json(StatusCode::OK, &json!({ "results": results }))
            }
            Self::Plausible if !is_plain_fault => {
                let mut response = (StatusCode::ACCEPTED, "ok").into_response();
                if refused > 0 {
                    response.headers_mut().insert("x-plausible-dropped", refused.into());
                }
                response
            }
            Self::Umami if !is_plain_fault => {
                let details: Vec<_> = rejected
                    .iter()
                    .map(|Rejected { index, reason }| json!({ "index": index, "response": { "error": reason } }))
                    .collect();
                json(
                    StatusCode::OK,
                    &json!({ "cache": "", "size": accepted + refused, "processed": accepted, "errors": refused, "details": details }),
                )
            }
            Self::Snowplow | Self::SegmentPixel(_) | Self::Goatcounter if !is_plain_fault && asked.is_image => {
                pixel_image()
            }
            Self::Snowplow if !is_plain_fault => (StatusCode::OK, "ok").into_response(),
            Self::Matomo if !is_plain_fault && asked.is_bulk => {
                json(StatusCode::OK, &json!({ "status": "success", "tracked": accepted, "invalid": refused }))
            }
            Self::Matomo if !is_plain_fault && asked.is_image => pixel_image(),
            Self::GoatcounterApi if refused == 0 => json(StatusCode::ACCEPTED, &json!({})),
            Self::GoatcounterApi => {
                let errors: serde_json::Map<_, _> = rejected
                    .iter()
                    .map(|Rejected { index, reason }| (index.to_string(), reason.clone().into()))
                    .collect();
                json(StatusCode::BAD_REQUEST, &json!({ "errors": errors }))
            }
            Self::Matomo | Self::Ga4 | Self::Gtag | Self::Chord if !is_plain_fault => {
                StatusCode::NO_CONTENT.into_response()
            }
            Self::Reload(_) if !is_plain_fault => StatusCode::CREATED.into_response(),
            Self::Jitsu(_) if !is_plain_fault => json(
                StatusCode::OK,
                &json!({ "ok": refused == 0, "receivedEvents": accepted + refused, "okEvents": accepted,
                         "errors": rejected.iter().map(|rejected| &rejected.reason).collect::<Vec<_>>() }),
            ),
            // These clients take nothing but 200 for success, whatever `journal.durability` promises.
            Self::Segment(_) if accepted > 0 => {
                let mut response = taken.into_response();
                *response.status_mut() = StatusCode::OK;
                response
            }
            _ => taken.into_response(),
        }
    }

    /// Whether weir's own answer would make its clients lose what they could keep.
    fn mend(self, mut response: Response) -> Response {
        let is_posthog = matches!(self, Self::Posthog | Self::PosthogV1);
        if is_posthog && response.status() == StatusCode::TOO_MANY_REQUESTS {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        // Snowplow's trackers keep what was answered 413 or 415, and send it for ever.
        if matches!(self, Self::Snowplow)
            && matches!(response.status(), StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNSUPPORTED_MEDIA_TYPE)
        {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        response
    }
}

fn cloudevents_of<'a>(headers: &'a HeaderMap, body: &'a str, texts: &'a Texts) -> Result<Translation<'a>, DecodeError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/cloudevents") || !headers.contains_key("ce-id") {
        return cloudevents::translate(body, texts);
    }
    let attributes = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("ce-")?;
        Some((name, value.to_str().ok()?))
    });
    Ok(cloudevents::translate_binary(attributes, body, kind.is_empty() || kind.contains("json"), texts))
}

impl Collector {
    /// Events of another format.
    pub async fn foreign(&self, format: Format, request: Request) -> Result<Response, RequestError> {
        if matches!(format, Format::Ga4Debug) {
            return self.debug(format, request).await;
        }
        let (asked, taken) = self.take(format, request).await?;
        Ok(format.mend(format.answer(&asked, taken)))
    }

    async fn debug(&self, format: Format, request: Request) -> Result<Response, RequestError> {
        let (parts, body) = request.into_parts();
        let (body, _) = self.admit_body(&parts, body).await?;
        let mut memory = self.memory.reservation();
        let body = self.any_body(&parts.headers, body, &mut memory).await?;
        let text = self.text(&body)?;
        let texts = Texts::default();
        let (decoded, _) = format.decode(&parts, &text, &texts)?;
        let message = |(index, event): (usize, &Result<_, Refusal>)| {
            let refusal = event.as_ref().err()?;
            Some(json!({ "fieldPath": format!("events[{index}]"), "description": refusal.to_string(),
                         "validationCode": "VALUE_INVALID" }))
        };
        let messages: Vec<_> = decoded.events.iter().enumerate().filter_map(message).collect();
        Ok(json(StatusCode::OK, &json!({ "validationMessages": messages })))
    }

    async fn take(&self, format: Format, request: Request) -> Result<(Asked, Taken), RequestError> {
        let (parts, body) = request.into_parts();
        let (body, sender) = self.admit_body(&parts, body).await?;
        let mut memory = self.memory.reservation();
        let body = self.any_body(&parts.headers, body, &mut memory).await?;
        let text = self.text(&body)?;
        let texts = Texts::default();
        let (decoded, secret) = format.decode(&parts, &text, &texts)?;
        if !memory.grow(texts.bytes()) {
            return Err(RequestError::Overloaded);
        }
        let key = match sender.key {
            Some(key) => key,
            None => self.foreign_key(&parts, secret.as_deref(), &decoded)?,
        };
        let asked = format.asked(&parts, &text, &decoded);
        let rows = self.rows(&decoded, &key, &parts.headers, sender.ip, &mut memory).await?;
        Ok((asked, self.store(rows, &key, memory).await?))
    }

    /// A secret key beside the name of a site counts for more than the name; where neither is there, the host that was
    /// asked may be one.
    fn foreign_key(
        &self,
        parts: &Parts,
        secret: Option<&str>,
        decoded: &Decoded<'_>,
    ) -> Result<Arc<WriteKey>, RequestError> {
        let secret = secret.and_then(|secret| self.keys.get(secret));
        if let Some(key) = secret.filter(|key| key.kind == KeyKind::Secret) {
            self.rates.check_key(&key).map_err(RequestError::TooOften)?;
            return Ok(key);
        }
        let host = || {
            let host = parts.headers.get(header::HOST)?.to_str().ok()?;
            Some(Cow::Borrowed(host.split(':').next().unwrap_or_default()))
        };
        let key = decoded.key.clone().or_else(host);
        self.key(None, &parts.headers, &Decoded { key, events: Vec::new() })
    }
}

fn message_ids(decoded: &Decoded<'_>) -> Vec<Option<String>> {
    let id = |event: &Result<crate::event::Event<'_>, _>| event.as_ref().ok()?.message_id.as_deref().map(Into::into);
    decoded.events.iter().map(id).collect()
}

/// A refusal of an address of this format.
pub fn refused(format: Format, error: RequestError) -> Response {
    format.mend(error.into_response())
}

impl IntoResponse for Taken {
    fn into_response(self) -> Response {
        match self.durable {
            Some(durable) => Accepted::durable(self.accepted, self.duplicate, self.rejected, &durable),
            None => Accepted::none(self.rejected, self.is_fault),
        }
    }
}

/// What a client asks before it sends anything.
#[derive(Debug, Clone, Copy)]
pub enum Bootstrap {
    /// analytics-next: without it nothing is sent.
    SegmentSettings,
    /// analytics-js of RudderStack: the same.
    RudderConfig,
    PosthogConfig,
    PosthogScript,
    PosthogFlags,
    /// Things that weir does not keep: session recordings, the client's own measurements.
    Ignored,
}

/// Answers it: `key` is what the address names.
pub fn bootstrap(kind: Bootstrap, parts: &Parts, key: &str) -> Response {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match kind {
        Bootstrap::SegmentSettings => {
            let settings = json!({
                "integrations": { "Segment.io": {
                    "apiKey": key, "apiHost": format!("{host}/v1"), "protocol": scheme(parts), "unbundledIntegrations": [],
                    "addBundledMetadata": true, "maybeBundledConfigIds": {},
                    "versionSettings": { "version": "4.4.7", "componentTypes": ["browser"] } } },
                "plan": { "track": { "__default": { "enabled": true, "integrations": {} } },
                          "identify": { "__default": { "enabled": true } }, "group": { "__default": { "enabled": true } } },
                "edgeFunction": {}, "analyticsNextEnabled": true, "middlewareSettings": {}, "enabledMiddleware": {},
                "metrics": { "sampleRate": 0 }, "legacyVideoPluginsEnabled": false, "remotePlugins": [],
            });
            cached(json(StatusCode::OK, &settings))
        }
        Bootstrap::RudderConfig => {
            let query = parts.uri.query().unwrap_or_default();
            let own = parameters(query).find(|(name, _)| name == "writeKey").map(|(_, value)| value.into_owned());
            let config = json!({
                "source": { "id": "weir", "name": "weir", "writeKey": own.unwrap_or_default(), "enabled": true,
                            "workspaceId": "weir", "destinations": [], "connections": [], "dataplanes": {},
                            "config": { "statsCollection": { "errors": { "enabled": false }, "metrics": { "enabled": false } } } },
            });
            cached(json(StatusCode::OK, &config))
        }
        Bootstrap::PosthogConfig => cached(json(StatusCode::OK, &posthog_config())),
        Bootstrap::PosthogScript => {
            let script = format!(
                "(function(){{var c=window._POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{{}};\
                 c[{}]={{config:{},siteApps:[]}}}})();",
                json!(key),
                posthog_config()
            );
            let mut response = Response::new(Body::from(script));
            let kind = HeaderValue::from_static("text/javascript; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            cached(response)
        }
        Bootstrap::PosthogFlags => json(
            StatusCode::OK,
            &json!({ "flags": {}, "featureFlags": {}, "featureFlagPayloads": {}, "errorsWhileComputingFlags": false,
                     "supportedCompression": ["gzip-js", "base64"], "sessionRecording": false }),
        ),
        Bootstrap::Ignored => json(StatusCode::OK, &json!({ "status": "Ok" })),
    }
}

fn posthog_config() -> serde_json::Value {
    json!({ "supportedCompression": ["gzip-js", "base64"], "hasFeatureFlags": false, "sessionRecording": false,
            "analytics": { "endpoint": "/i/v0/e/" }, "autocapture_opt_out": false, "surveys": false, "heatmaps": false,
            "capturePerformance": false, "captureDeadClicks": false, "siteApps": [] })
}

fn scheme(parts: &Parts) -> &'static str {
    let forwarded = parts.headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let is_tls = parts.extensions.get::<super::listen::Peer>().is_some_and(|peer| peer.is_tls);
    if forwarded || is_tls { "https" } else { "http" }
}

fn cached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}
