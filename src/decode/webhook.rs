//! What other services send by themselves, `POST /v1/webhook/{source}`.
//!
//! ```text
//! body        any JSON; or a form: its `payload`, if that is JSON (GitHub, Slack), else its members
//!
//! service     name                           id                       time
//! stripe      type                           id                       created, Unix seconds
//! github      X-GitHub-Event[.action]        X-GitHub-Delivery, and   within the first: a UUIDv1
//!                                            X-GitHub-Hook-ID
//! shopify     X-Shopify-Topic                X-Shopify-Webhook-Id     X-Shopify-Triggered-At
//! slack       event.type, type or command    event_id                 event_time, Unix seconds
//! intercom    topic                          id                       created_at, Unix seconds
//! standard    type, event, topic, ...        webhook-id, svix-id      timestamp
//! any other   type, event, topic, ...        Idempotency-Key          -
//! ```
//!
//! A retry has the same id and time, and hence adds nothing. The times beside signatures are those of each attempt, and so
//! are no event's. The `id` in any other service's body may be that of an order or a person, which comes again.
//!
//! Sources: <https://docs.stripe.com/api/events/object>, <https://docs.github.com/webhooks/webhook-events-and-payloads>,
//! <https://shopify.dev/docs/apps/build/webhooks/delivery-structure>, <https://docs.slack.dev/apis/events-api>,
//! <https://developers.intercom.com/docs/webhooks/webhook-notifications>,
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use std::borrow::Cow;
use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::json::scan_up_to;
use super::object::{Json, Object, Texts, Value, parameters, push_quoted, without_nul};
use super::translate::millis_of;
use super::{DecodeError, Decoded, Refusal, SHORT_TEXT_BYTES_MAX, check};
use crate::event::{ClientTime, Event};

/// What these events are, whoever sends them.
pub(super) const KIND: &str = "webhook";
/// What their ids begin with where events are told apart: an order of the shop's and an event of Stripe's may have one id.
pub(super) const ID_PREFIX: &str = "webhook\u{1f}";
/// Numbers from here on are milliseconds: as seconds they would lie in the year 5138.
const MILLIS_MIN: f64 = 1e11;
/// Where a service says what has happened, in the order in which they are believed.
const NAMES: [&str; 8] = ["type", "event", "event_type", "eventType", "event_name", "topic", "action", "command"];
/// What is kept of a request's head; never signatures, nor what may hold a secret.
const HEADERS: [&str; 18] = [
    "x-github-event",
    "x-github-delivery",
    "x-github-hook-id",
    "x-github-hook-installation-target-id",
    "x-github-hook-installation-target-type",
    "x-shopify-topic",
    "x-shopify-webhook-id",
    "x-shopify-event-id",
    "x-shopify-shop-domain",
    "x-shopify-api-version",
    "x-shopify-triggered-at",
    "x-slack-retry-num",
    "x-slack-retry-reason",
    "webhook-id",
    "webhook-timestamp",
    "svix-id",
    "svix-timestamp",
    "idempotency-key",
];

/// What every Standard webhook has; one of these alone may be anybody's.
const STANDARD: [&[&str]; 3] =
    [&["webhook-id", "svix-id"], &["webhook-timestamp", "svix-timestamp"], &["webhook-signature", "svix-signature"]];

/// A service that is known by its webhooks, and signs them in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    Stripe,
    Github,
    Shopify,
    Slack,
    Intercom,
    /// Everyone who follows standardwebhooks.com: Svix and its customers, and many others.
    Standard,
}

impl Service {
    pub const ALL: [Self; 6] = [Self::Stripe, Self::Github, Self::Shopify, Self::Slack, Self::Intercom, Self::Standard];

    pub fn name(self) -> &'static str {
        match self {
            Self::Stripe => "stripe",
            Self::Github => "github",
            Self::Shopify => "shopify",
            Self::Slack => "slack",
            Self::Intercom => "intercom",
            Self::Standard => "standard",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    /// Whose webhook an unsigned one says that it is.
    fn recognized<'a>(headers: &impl Headers<'a>, body: Option<&Object<'_>>) -> Option<Self> {
        let has = |names: &[&str]| headers.first(names).is_some();
        let is_intercom = || text_of(body?, &["type"]).filter(|kind| kind == "notification_event");
        if has(&["stripe-signature"]) {
            Some(Self::Stripe)
        } else if has(&["x-github-event"]) {
            Some(Self::Github)
        } else if has(&["x-shopify-topic"]) {
            Some(Self::Shopify)
        } else if has(&["x-slack-signature", "x-slack-request-timestamp"]) {
            Some(Self::Slack)
        } else if STANDARD.iter().all(|names| has(names)) {
            Some(Self::Standard)
        } else {
            is_intercom().map(|_| Self::Intercom)
        }
    }
}

/// A request's headers, by lower-case name.
pub trait Headers<'a> {
    fn get(&self, name: &str) -> Option<&'a str>;

    /// The first of these that is there and says something.
    fn first(&self, names: &[&str]) -> Option<&'a str> {
        names.iter().find_map(|name| self.get(name).filter(|value| !value.is_empty()))
    }
}

/// A webhook's body.
#[derive(Debug)]
pub struct Payload<'a> {
    json: Json<'a>,
    /// Where it is an object.
    members: Option<Object<'a>>,
}

impl<'a> Payload<'a> {
    /// Reads a body. Call [`super::mend_escapes`] on it first.
    pub fn parse(body: &'a str, is_form: bool, texts: &'a Texts) -> Result<Self, DecodeError> {
        let body = body.trim_ascii();
        if body.is_empty() {
            return Err(DecodeError::Empty);
        }
        // curl calls everything a form.
        let is_form = is_form && !body.starts_with(['{', '[']);
        let json = if is_form { form(body, texts)? } else { Json::parse(body)? };
        Ok(Self { json, members: Value::Json(json).object() })
    }

    /// What Slack wants to hear back before it sends events.
    pub fn challenge(&self) -> Option<Cow<'a, str>> {
        let members = self.members.as_ref()?;
        text_of(members, &["type"]).filter(|kind| kind == "url_verification")?;
        text_of(members, &["challenge"])
    }

    /// The event: `signed` says by whom, where that is proved.
    pub fn decode(&self, signed: Option<Service>, headers: &impl Headers<'a>, texts: &'a Texts) -> Decoded<'a> {
        Decoded { key: None, events: vec![self.event(signed, headers, texts)] }
    }

    fn event(
        &self,
        signed: Option<Service>,
        headers: &impl Headers<'a>,
        texts: &'a Texts,
    ) -> Result<Event<'a>, Refusal> {
        let json = self.json.get();
        // As long as a body may be: services send what they like, and stop for good where it is refused.
        scan_up_to(json, json.len())?;
        let service = signed.or_else(|| Service::recognized(headers, self.members.as_ref()));
        let properties = if self.members.is_some() { json } else { texts.keep(&format!("{{\"body\":{json}}}")) };
        let name = self.name(service, headers).filter(|text| is_short(text)).unwrap_or(Cow::Borrowed(KIND));
        let id = self.id(service, headers);
        let of = service.map_or("", Service::name);
        // One event of GitHub's that goes to two hooks is delivered twice, with what each may see.
        let hook =
            headers.first(&["x-github-hook-id"]).filter(|_| service == Some(Service::Github)).unwrap_or_default();
        let message_id = id.as_ref().map(|id| format!("{ID_PREFIX}{of}{hook}\u{1f}{id}")).filter(|text| is_short(text));
        let mut event = Event {
            kind: Cow::Borrowed(KIND),
            name: Some(without_nul(name)),
            timestamp: self.time(service, id.as_deref(), headers, texts),
            message_id: message_id.map(|id| without_nul(id.into())),
            properties: Some(properties),
            ..Event::default()
        };
        let mut add = |name: &'static str, value: Value<'a>| event.extra.push((Cow::Borrowed(name), value.json(texts)));
        if let Some(service) = service {
            add("service", Value::Text(service.name()));
        }
        add("signed", Value::literal(if signed.is_some() { "true" } else { "false" }));
        if let Some(agent) = headers.get("user-agent") {
            add("user_agent", Value::Text(agent));
        }
        let kept =
            HEADERS.into_iter().filter_map(|name| Some((Cow::Borrowed(name), Cow::Borrowed(headers.get(name)?))));
        if let Some(kept) = object_of(kept, texts) {
            event.extra.push((Cow::Borrowed("headers"), kept));
        }
        check(event)
    }

    fn name(&self, service: Option<Service>, headers: &impl Headers<'a>) -> Option<Cow<'a, str>> {
        let member = |names: &[&str]| text_of(self.members.as_ref()?, names);
        match service {
            Some(Service::Github) => {
                let event = headers.first(&["x-github-event"])?;
                Some(member(&["action"]).map_or(Cow::Borrowed(event), |action| format!("{event}.{action}").into()))
            }
            Some(Service::Shopify) => headers.first(&["x-shopify-topic"]).map(Cow::Borrowed),
            Some(Service::Intercom) => member(&["topic"]),
            Some(Service::Slack) => {
                let event = self.members.as_ref()?.peek("event").and_then(Value::object);
                event.and_then(|event| text_of(&event, &["type"])).or_else(|| member(&NAMES))
            }
            Some(Service::Stripe | Service::Standard) | None => member(&NAMES),
        }
    }

    fn id(&self, service: Option<Service>, headers: &impl Headers<'a>) -> Option<Cow<'a, str>> {
        let member = |name| text_of(self.members.as_ref()?, &[name]);
        match service {
            Some(Service::Stripe | Service::Intercom) => member("id"),
            Some(Service::Github) => headers.first(&["x-github-delivery"]).map(Cow::Borrowed),
            Some(Service::Shopify) => headers.first(&["x-shopify-webhook-id"]).map(Cow::Borrowed),
            Some(Service::Slack) => member("event_id"),
            Some(Service::Standard) => headers.first(&["webhook-id", "svix-id"]).map(Cow::Borrowed),
            None => headers.first(&["idempotency-key"]).map(Cow::Borrowed),
        }
    }

    fn time(
        &self,
        service: Option<Service>,
        id: Option<&str>,
        headers: &impl Headers<'a>,
        texts: &'a Texts,
    ) -> Option<ClientTime<'a>> {
        let member = |name| self.members.as_ref()?.peek(name);
        let value = match service? {
            Service::Stripe => member("created")?,
            Service::Github => return time_within(id?, texts),
            Service::Shopify => Value::Text(headers.first(&["x-shopify-triggered-at"])?),
            Service::Slack => member("event_time")?,
            Service::Intercom => member("created_at")?,
            Service::Standard => member("timestamp")?,
        };
        time_of(value, texts)
    }
}

/// A form's `payload`, if it is a JSON object or array; else its members as an object, those of one name as a list.
fn form<'a>(body: &'a str, texts: &'a Texts) -> Result<Json<'a>, DecodeError> {
    let payload = parameters(body).find(|(name, _)| name == "payload");
    if let Some(payload) = payload.and_then(|(_, payload)| Json::embedded(texts.text(payload), texts))
        && payload.get().starts_with(['{', '['])
    {
        return Ok(payload);
    }
    // A body of any other kind is one long name without a value.
    if !body.contains('=') {
        return Err(DecodeError::NotJson("nor a form: a form has names and values".to_owned()));
    }
    let mut members: Vec<(String, Vec<String>)> = Vec::new();
    let mut places = HashMap::new();
    for (name, value) in url::form_urlencoded::parse(body.as_bytes()) {
        let mut quoted = String::new();
        push_quoted(&mut quoted, &without_nul(value));
        let place = *places.entry(name.clone()).or_insert(members.len());
        match members.get_mut(place) {
            Some((_, values)) => values.push(quoted),
            None => members.push((without_nul(name).into_owned(), vec![quoted])),
        }
    }
    let mut object = String::new();
    for (name, values) in members {
        object.push(if object.is_empty() { '{' } else { ',' });
        push_quoted(&mut object, &name);
        object.push(':');
        match values.as_slice() {
            [value] => object.push_str(value),
            values => {
                object.push('[');
                object.push_str(&values.join(","));
                object.push(']');
            }
        }
    }
    object.push('}');
    Json::parse(texts.keep(&object))
}

/// Members that are texts as JSON; `None` where there are none.
fn object_of<'t>(members: impl Iterator<Item = (Cow<'t, str>, Cow<'t, str>)>, texts: &Texts) -> Option<&str> {
    let mut object = String::new();
    for (name, value) in members {
        object.push(if object.is_empty() { '{' } else { ',' });
        push_quoted(&mut object, &without_nul(name));
        object.push(':');
        push_quoted(&mut object, &without_nul(value));
    }
    if object.is_empty() {
        return None;
    }
    object.push('}');
    Some(texts.keep(&object))
}

/// The first of these members that is text.
fn text_of<'a>(members: &Object<'a>, names: &[&str]) -> Option<Cow<'a, str>> {
    names.iter().find_map(|name| members.peek(name)?.text())
}

fn is_short(text: &str) -> bool {
    text.len() <= SHORT_TEXT_BYTES_MAX
}

/// Unix seconds or milliseconds, or RFC 3339. What is neither is no time, and costs no event.
fn time_of<'a>(value: Value<'_>, texts: &'a Texts) -> Option<ClientTime<'a>> {
    let text = value.text()?;
    if let Ok(number) = text.parse::<f64>() {
        let ms = millis_of(&text, if number.abs() < MILLIS_MIN { 1_000.0 } else { 1.0 })?;
        return Some(ClientTime { at: Timestamp::from_millisecond(ms).ok(), raw: texts.number(ms).json(texts) });
    }
    let at = text.parse::<Timestamp>().ok()?;
    let mut raw = String::new();
    push_quoted(&mut raw, &text);
    Some(ClientTime { at: Some(at), raw: texts.keep(&raw) })
}

/// When a UUID was made, if it tells.
fn time_within<'a>(id: &str, texts: &'a Texts) -> Option<ClientTime<'a>> {
    let (seconds, nanos) = Uuid::try_parse(id).ok()?.get_timestamp()?.to_unix();
    let ms = i64::try_from(seconds).ok()?.checked_mul(1_000)? + i64::from(nanos / 1_000_000);
    Some(ClientTime { at: Timestamp::from_millisecond(ms).ok(), raw: texts.number(ms).json(texts) })
}

#[cfg(test)]
mod tests;
