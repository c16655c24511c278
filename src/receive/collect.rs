//! A request's way: body, key, events, rows, journal, answer.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use serde_json::{Map, Value};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::answer::{Rejected, RequestError, success};
use super::body::{self, BodyLimits};
use super::client_ip::client_ip;
use super::credentials;
use super::listen::Peer;
use super::rates::Rates;
use crate::buffer::{MemoryBudget, Reservation};
use crate::clock::{Clock, Day};
use crate::decode::{DecodeError, Decoded, mend_escapes, native, pixel};
use crate::enrich::user_agent::TEXT_BYTES_MAX as USER_AGENT_BYTES_MAX;
use crate::enrich::{Enricher, RequestFacts};
use crate::journal::submission::Submitted;
use crate::journal::{Ack, Durable, Handle, JournalError, Submission};
use crate::metrics::Metrics;
use crate::row;
use crate::sources::{WriteKey, WriteKeys};

/// Rows of one request: far below what one frame of the journal can hold (`FRAME_BYTES_MAX`).
const TUPLES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Everything that requests share.
pub struct Collector {
    pub keys: Arc<WriteKeys>,
    pub enricher: Enricher,
    pub journal: Handle,
    pub memory: MemoryBudget,
    pub limits: BodyLimits,
    pub rates: Rates,
    pub trusted_proxies: Vec<IpNet>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
}

/// What is known of a sender before the body is read.
pub(super) struct KnownSender {
    pub ip: Option<IpAddr>,
    /// Absent where the body is to name it.
    pub key: Option<Arc<WriteKey>>,
}

/// What became of a request's events.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub accepted: usize,
    pub duplicate: u32,
    pub rejected: Vec<Rejected>,
    /// Whether what was rejected is its sender's fault.
    pub is_fault: bool,
    /// Where something was accepted.
    pub durable: Option<Durable>,
}

/// A request's events as rows.
pub(super) struct Rows {
    tuples: Vec<u8>,
    events: SmallVec<[Submitted; 1]>,
    days: (Day, Day),
    rejected: Vec<Rejected>,
    is_fault: bool,
}

impl Collector {
    /// `POST /v1/events`.
    pub async fn events(&self, request: Request) -> Result<Response, RequestError> {
        let (rows, key, memory) = self.read(request).await?;
        Ok(self.store(rows, &key, memory).await?.into_response())
    }

    /// `POST /v1/validate`: what would be stored of each event, nothing kept.
    pub async fn validate(&self, request: Request) -> Result<(Vec<Map<String, Value>>, Vec<Rejected>), RequestError> {
        let (rows, _, _memory) = self.read(request).await?;
        let mut stored = Vec::with_capacity(rows.events.len());
        let mut at = 0;
        for event in &rows.events {
            let end = at + event.tuple_bytes as usize;
            stored.extend(row::to_json(&rows.tuples[at..end]).ok());
            at = end;
        }
        Ok((stored, rows.rejected))
    }

    /// `GET /v1/pixel.gif`: one event in the query.
    pub async fn pixel(&self, request: Request) -> Result<StatusCode, RequestError> {
        let (parts, _) = request.into_parts();
        let sender = self.admit(&parts)?;
        let mut memory = self.memory.reservation();
        let referer = parts.headers.get(header::REFERER).and_then(|value| value.to_str().ok());
        let json = pixel::to_json(parts.uri.query().unwrap_or_default(), referer);
        let decoded = native::decode(&json, false)?;
        let key = self.key(sender.key, &parts.headers, &decoded)?;
        if let Some(Err(refusal)) = decoded.events.first() {
            self.metrics.refused(refusal.label());
            return Err(refusal.clone().into());
        }
        let rows = self.rows(&decoded, &key, &parts.headers, sender.ip, &mut memory).await?;
        if rows.events.is_empty() {
            return Ok(StatusCode::OK);
        }
        let ack = self.submit(rows.tuples, rows.events, rows.days, &key, memory).await?;
        Ok(success(&ack.durable))
    }

    /// A request's way up to its rows, with the memory that they hold.
    async fn read(&self, request: Request) -> Result<(Rows, Arc<WriteKey>, Reservation), RequestError> {
        let (parts, body) = request.into_parts();
        let (body, sender) = self.admit_body(&parts, body).await?;
        let mut memory = self.memory.reservation();
        let body = self.body(&parts.headers, body, &mut memory).await?;
        let text = self.text(&body)?;
        let decoded = native::decode(&text, is_ndjson(&parts.headers))?;
        let key = self.key(sender.key, &parts.headers, &decoded)?;
        let rows = self.rows(&decoded, &key, &parts.headers, sender.ip, &mut memory).await?;
        Ok((rows, key, memory))
    }

    /// What a request's head tells: who sends, whether that key is in force, and not too often.
    fn admit(&self, parts: &Parts) -> Result<KnownSender, RequestError> {
        let ip = self.ip(parts);
        let key = match credentials::of_request(&parts.headers, parts.uri.query()) {
            Some(named) => credentials::check(&self.keys, Some(&named), &parts.headers).map(Some),
            None => Ok(None),
        };
        // Guesses at keys are counted, too.
        self.rates.check(ip, key.as_ref().ok().and_then(Option::as_deref)).map_err(RequestError::TooOften)?;
        Ok(KnownSender { ip, key: key? })
    }

    pub(super) async fn admit_body(
        &self,
        parts: &Parts,
        body: axum::body::Body,
    ) -> Result<(axum::body::Body, KnownSender), RequestError> {
        match self.admit(parts) {
            Ok(sender) => Ok((body, sender)),
            Err(error) => {
                body::drain(body).await;
                Err(error)
            }
        }
    }

    async fn body(
        &self,
        headers: &HeaderMap,
        body: axum::body::Body,
        memory: &mut Reservation,
    ) -> Result<bytes::Bytes, RequestError> {
        check_content_type(headers)?;
        self.any_body(headers, body, memory).await
    }

    /// A body of any content type.
    pub(super) async fn any_body(
        &self,
        headers: &HeaderMap,
        body: axum::body::Body,
        memory: &mut Reservation,
    ) -> Result<bytes::Bytes, RequestError> {
        body::read(headers, body, self.limits, memory, &self.metrics.received_bytes).await
    }

    pub(super) fn text<'b>(&self, body: &'b [u8]) -> Result<std::borrow::Cow<'b, str>, RequestError> {
        let text = std::str::from_utf8(body).map_err(|error| DecodeError::NotUtf8(error.valid_up_to()))?;
        let (text, mended) = mend_escapes(text);
        if mended > 0 {
            self.metrics.mended_escapes.increment(mended as u64);
        }
        Ok(text)
    }

    /// The key that the head named, else the one in the body.
    pub(super) fn key(
        &self,
        named: Option<Arc<WriteKey>>,
        headers: &HeaderMap,
        decoded: &Decoded<'_>,
    ) -> Result<Arc<WriteKey>, RequestError> {
        if let Some(key) = named {
            return Ok(key);
        }
        let key = credentials::check(&self.keys, decoded.key.as_deref(), headers)?;
        self.rates.check_key(&key).map_err(RequestError::TooOften)?;
        Ok(key)
    }

    pub(super) async fn rows(
        &self,
        decoded: &Decoded<'_>,
        key: &WriteKey,
        headers: &HeaderMap,
        ip: Option<IpAddr>,
        memory: &mut Reservation,
    ) -> Result<Rows, RequestError> {
        let request = self.facts(headers, ip);
        let mut rows = Rows {
            tuples: Vec::new(),
            events: SmallVec::new(),
            days: (Day::MAX, Day::MIN),
            rejected: Vec::new(),
            is_fault: false,
        };
        let mut reserved = 0;
        // By reference: an event that waits for its user agent would be a part of the future, and be moved with it.
        for (index, event) in decoded.events.iter().enumerate() {
            let encoded = match event {
                Ok(event) => {
                    let agent = self.enricher.agent(event, key.kind, &request).await;
                    self.enricher.encode(event, key, &request, agent.as_deref(), &mut rows.tuples)
                }
                Err(refusal) => Err(refusal.clone()),
            };
            // As it grows, because a header that goes into every row can make rows far larger than the body.
            if rows.tuples.len() > TUPLES_BYTES_MAX {
                return Err(RequestError::TooLarge(TUPLES_BYTES_MAX));
            }
            if !memory.grow(rows.tuples.capacity() - reserved) {
                return Err(RequestError::Overloaded);
            }
            reserved = rows.tuples.capacity();
            match encoded {
                Ok((submitted, day)) => {
                    rows.days = (rows.days.0.min(day), rows.days.1.max(day));
                    rows.events.push(submitted);
                }
                Err(refusal) => {
                    self.metrics.refused(refusal.label());
                    rows.is_fault |= refusal.is_fault();
                    rows.rejected.push(Rejected { index, reason: refusal.to_string() });
                }
            }
        }
        Ok(rows)
    }

    fn facts<'h>(&self, headers: &'h HeaderMap, ip: Option<IpAddr>) -> RequestFacts<'h> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_set = |name| headers.get(name).is_some_and(|value| value == "1");
        RequestFacts {
            is_import: false,
            received_at: self.clock.now(),
            ip,
            user_agent: text("user-agent").map(|text| cut(text, USER_AGENT_BYTES_MAX)),
            accept_language: text("accept-language"),
            global_privacy_control: is_set("sec-gpc"),
            do_not_track: is_set("dnt"),
        }
    }

    /// The sender's address.
    pub(super) fn ip(&self, parts: &Parts) -> Option<IpAddr> {
        let peer = parts.extensions.get::<Peer>()?;
        Some(client_ip(peer.address.ip(), &parts.headers, &self.trusted_proxies))
    }

    pub(super) async fn store(&self, rows: Rows, key: &WriteKey, memory: Reservation) -> Result<Taken, RequestError> {
        let Rows { rejected, is_fault, .. } = rows;
        if rows.events.is_empty() {
            return Ok(Taken { rejected, is_fault, ..Taken::default() });
        }
        let accepted = rows.events.len();
        let Ack { duplicate, durable } = self.submit(rows.tuples, rows.events, rows.days, key, memory).await?;
        Ok(Taken { accepted, duplicate, rejected, is_fault, durable: Some(durable) })
    }

    /// Waits until the events are as safe as `journal.durability` says.
    async fn submit(
        &self,
        tuples: Vec<u8>,
        events: SmallVec<[Submitted; 1]>,
        days: (Day, Day),
        key: &WriteKey,
        memory: Reservation,
    ) -> Result<Ack, RequestError> {
        let (answer, wait) = oneshot::channel();
        let source = Arc::clone(&key.source);
        self.journal.submit(Submission { source, tuples, events, days, answer, memory })?;
        Ok(wait.await.map_err(|_| JournalError::Closed)??)
    }
}

/// The beginning of `text`, at most `bytes` long.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim())
}

fn check_content_type(headers: &HeaderMap) -> Result<(), RequestError> {
    let Some(name) = content_type(headers).filter(|name| !name.is_empty()) else {
        return Ok(());
    };
    let known = ["application/json", "text/plain", "application/x-ndjson", "application/ndjson", "application/jsonl"];
    if known.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        Ok(())
    } else {
        Err(RequestError::WrongContentType(name.to_owned()))
    }
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    content_type(headers).is_some_and(|name| {
        ["application/x-ndjson", "application/ndjson", "application/jsonl"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
    })
}
