//! Webhooks: who may send them, and what is answered.
//!
//! Where the source has a signing secret, the signature over the body as it came is the proof, and nothing else counts. Where it
//! has none, a secret key of the source's is: in a header, in `?key=`, or at the end of the address, as the services that send
//! them let one type in a URL and no more.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::answer::{RequestError, json};
use super::body;
use super::collect::{Collector, content_type};
use super::credentials;
use crate::decode::object::{Texts, parameters};
use crate::decode::webhook::{Headers, Payload};
use crate::sources::signature::Fault;
use crate::sources::webhooks::{Rule, Webhook};
use crate::sources::{KeyKind, WriteKey};

/// Beneath it, a source, and perhaps its key.
pub const PATH: &str = "/v1/webhook/";
/// What a service asks to hear back is a random word.
const CHALLENGE_BYTES_MAX: usize = 512;

/// What the address says.
#[derive(Debug, Deserialize)]
pub struct Address {
    source: String,
    key: Option<String>,
}

/// Why a webhook is not taken.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error(
        "the webhook has no write key: add ?key=sk_... to its URL, or have its signature checked: `weir source webhook`"
    )]
    NoKey,
    #[error("everybody can read a public key in a page: a webhook needs a secret one, sk_...")]
    PublicKey,
    #[error("the key belongs to another source than the one in the address")]
    OtherSource,
    #[error("{0}")]
    Signature(#[from] Fault),
}

impl WebhookError {
    /// The word for machines, and the `reason` in metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::PublicKey => "public_key",
            Self::OtherSource => "other_source",
            Self::Signature(Fault::Missing(_)) => "no_signature",
            Self::Signature(Fault::Malformed(_)) => "malformed_signature",
            Self::Signature(Fault::Stale) => "old_signature",
            Self::Signature(Fault::Wrong) => "wrong_signature",
        }
    }
}

/// Who may send to this address.
enum Proof {
    Signature(Arc<Webhook>),
    Key(Arc<WriteKey>),
}

impl<'h> Headers<'h> for &'h HeaderMap {
    fn get(&self, name: &str) -> Option<&'h str> {
        HeaderMap::get(*self, name).and_then(|value| value.to_str().ok())
    }
}

impl Collector {
    /// `POST /v1/webhook/{source}` and `POST /v1/webhook/{source}/{key}`.
    pub(super) async fn webhook(&self, address: &Address, request: Request) -> Result<Response, RequestError> {
        let (parts, body) = request.into_parts();
        let (body, ip, proof) = self.admit_webhook(address, &parts, body).await?;
        let headers = &parts.headers;
        let mut memory = self.memory.reservation();
        let body = self.any_body(headers, body, &mut memory).await?;
        let (key, signed) = match proof {
            Proof::Key(key) => (key, None),
            Proof::Signature(webhook) => {
                let service =
                    webhook.verify(&headers, &body, self.clock.now().as_second()).map_err(WebhookError::from)?;
                self.rates.check_key(&webhook.key).map_err(RequestError::TooOften)?;
                (Arc::clone(&webhook.key), Some(service))
            }
        };
        let text = self.text(&body)?;
        let texts = Texts::default();
        let is_form =
            content_type(headers).is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded"));
        let payload = Payload::parse(&text, is_form, &texts)?;
        if let Some(challenge) = payload.challenge() {
            return Ok(challenged(&challenge));
        }
        let decoded = payload.decode(signed, &headers, &texts);
        if !memory.grow(texts.bytes()) {
            return Err(RequestError::Overloaded);
        }
        let rows = self.rows(&decoded, &key, headers, ip, &mut memory).await?;
        Ok(self.store(rows, &key, memory).await?.into_response())
    }

    /// What services ask before they send: `HEAD` of Intercom, Trello and others, `GET` with a word to hear back of Meta, Dropbox
    /// and all of `WebSub`. That word is told only to who names a key, as Meta's `hub.verify_token`: here nobody writes pages.
    pub(super) fn webhook_asked(&self, address: &Address, parts: &Parts) -> Result<Response, RequestError> {
        let query = parts.uri.query().unwrap_or_default();
        let parameter = |names: &[&str]| parameters(query).find(|(name, _)| names.contains(&name.as_ref()));
        self.rates.check(self.ip(parts), None).map_err(RequestError::TooOften)?;
        let Some((_, challenge)) = parameter(&["hub.challenge", "challenge"]) else {
            return Ok(json(StatusCode::OK, &json!({ "webhook": "send it by POST" })));
        };
        let token = parameter(&["hub.verify_token"]).map(|(_, token)| token);
        self.webhook_key(address, parts, token.as_deref())?;
        Ok(challenged(&challenge))
    }

    async fn admit_webhook(
        &self,
        address: &Address,
        parts: &Parts,
        body: Body,
    ) -> Result<(Body, Option<IpAddr>, Proof), RequestError> {
        let ip = self.ip(parts);
        let proof = match self.keys.webhook(&address.source) {
            // Whether it has to be signed is not known: the service sends it again.
            Rule::Unknown => Err(RequestError::Overloaded),
            Rule::Signature(webhook) => Ok(Proof::Signature(webhook)),
            Rule::Key => self.webhook_key(address, parts, None).map(Proof::Key),
        };
        let key = match &proof {
            Ok(Proof::Key(key)) => Some(key.as_ref()),
            // Whether it is signed shows when all of it was read: until then it is a stranger's.
            Ok(Proof::Signature(_)) | Err(_) => None,
        };
        let admitted = self.rates.check(ip, key).map_err(RequestError::TooOften).and(proof);
        match admitted {
            Ok(proof) => Ok((body, ip, proof)),
            Err(error) => {
                body::drain(body).await;
                Err(error)
            }
        }
    }

    /// The source's secret key, wherever the request has it.
    fn webhook_key(
        &self,
        address: &Address,
        parts: &Parts,
        token: Option<&str>,
    ) -> Result<Arc<WriteKey>, RequestError> {
        // Its own header, if it has one, is the service's: the address is what was pasted there.
        let pasted = credentials::of_query(parts.uri.query());
        let named = pasted.or_else(|| credentials::of_request(&parts.headers, None));
        let named = address.key.as_deref().or(token).or(named.as_deref()).ok_or(WebhookError::NoKey)?;
        let key = credentials::check(&self.keys, Some(named), &parts.headers)?;
        if key.kind != KeyKind::Secret {
            return Err(WebhookError::PublicKey.into());
        }
        if *key.source != *address.source {
            return Err(WebhookError::OtherSource.into());
        }
        Ok(key)
    }
}

/// The word that a service wants to hear back, as plain text: no browser takes it for a page.
fn challenged(challenge: &str) -> Response {
    let challenge = &challenge[..challenge.floor_char_boundary(CHALLENGE_BYTES_MAX)];
    let mut response = challenge.to_owned().into_response();
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
