//! Bytes to events: one file a wire format, and the checks that all of them share.
//!
//! Adding a format touches its own file and one line of routing. A decoder never fails for one bad event: each event is
//! its own `Result`, so that its neighbours are kept. Only a body that is no JSON at all fails whole.

pub mod cloudevents;
pub mod ga4;
pub mod goatcounter;
pub(crate) mod json;
pub mod matomo;
pub mod native;
pub mod object;
pub mod pixel;
pub mod plausible;
pub mod posthog;
pub mod raw;
pub mod reload;
pub mod segment;
pub mod snowplow;
pub mod translate;
pub mod umami;
mod values;
pub mod webhook;

use std::borrow::Cow;

use crate::event::Event;

pub use json::mend_escapes;

/// One event's JSON may be this long: far above what a page sends, far below what would hurt a row.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Ids, kinds, languages: anything longer is a mistake.
pub const SHORT_TEXT_BYTES_MAX: usize = 512;
/// URLs, titles, user agents. Browsers cap URLs at 2,000 to 8,000 characters in practice.
pub const LONG_TEXT_BYTES_MAX: usize = 8 * 1024;
/// Nesting of a JSON event. Real events rarely pass 6; parsers and `jsonb` suffer from hundreds.
pub const DEPTH_MAX: usize = 32;
/// Events of one request. A batch larger than this should be two.
pub const EVENTS_MAX: usize = 10_000;

/// What a request's body held.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// The write key, where the body itself carries one.
    pub key: Option<Cow<'a, str>>,
    /// In the order sent.
    pub events: Vec<Result<Event<'a>, Refusal>>,
}

/// The whole body cannot be read; nothing of it was taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("there are no events in the body")]
    Empty,
    #[error("the body is not UTF-8 (first bad byte at {0})")]
    NotUtf8(usize),
    #[error("the body is not valid JSON: {0}")]
    NotJson(String),
    #[error("{0} events in one request; send at most {EVENTS_MAX}")]
    TooManyEvents(usize),
}

/// Why one event is not taken. The text is for the person who sent it.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    #[error("not valid JSON: {0}")]
    NotJson(String),
    #[error("an event is a JSON object, this is {0}")]
    NotAnObject(&'static str),
    #[error("the event is {0} bytes long; the limit is {EVENT_BYTES_MAX}")]
    TooLong(usize),
    #[error("the event is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("a number in the event has too many digits or too large an exponent")]
    NumberTooLarge,
    #[error("an event needs a `name` or a `url`")]
    NoNameNorUrl,
    #[error("{field} is {bytes} bytes long; the limit is {limit}")]
    FieldTooLong { field: &'static str, bytes: usize, limit: usize },
    #[error("{field}: {reason}")]
    BadField { field: &'static str, reason: String },
    #[error("the event names another write key than its request")]
    OtherKey,
    #[error("not kept: the visitor's browser sends {0}, and this collector honours it")]
    PrivacySignal(&'static str),
}

impl Refusal {
    /// The `reason` label of the refusal in metrics: few distinct values, no user data.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotJson(_) => "not_json",
            Self::NotAnObject(_) => "not_an_object",
            Self::TooLong(_) => "too_long",
            Self::TooDeep => "too_deep",
            Self::NumberTooLarge => "number_too_large",
            Self::NoNameNorUrl => "no_name_nor_url",
            Self::FieldTooLong { .. } => "field_too_long",
            Self::BadField { .. } => "bad_field",
            Self::OtherKey => "other_key",
            Self::PrivacySignal(_) => "privacy_signal",
        }
    }

    /// Whether the sender did something wrong, as opposed to the visitor having asked not to be counted.
    pub fn is_fault(&self) -> bool {
        !matches!(self, Self::PrivacySignal(_))
    }
}

/// Refuses text beyond `limit` bytes.
fn check_length(field: &'static str, text: Option<&str>, limit: usize) -> Result<(), Refusal> {
    match text {
        Some(text) if text.len() > limit => Err(Refusal::FieldTooLong { field, bytes: text.len(), limit }),
        _ => Ok(()),
    }
}

/// The last step of every decoder: what all formats promise of an [`Event`].
fn check(event: Event<'_>) -> Result<Event<'_>, Refusal> {
    if event.name.is_none() && event.url.is_none() {
        return Err(Refusal::NoNameNorUrl);
    }
    for (field, text) in [
        ("id", &event.message_id),
        ("name", &event.name),
        ("visitor_id", &event.visitor_id),
        ("user_id", &event.user_id),
        ("session_id", &event.session_id),
        ("language", &event.language),
        ("screen", &event.screen),
    ] {
        check_length(field, text.as_deref(), SHORT_TEXT_BYTES_MAX)?;
    }
    for (field, text) in
        [("url", &event.url), ("title", &event.title), ("referrer", &event.referrer), ("user_agent", &event.user_agent)]
    {
        check_length(field, text.as_deref(), LONG_TEXT_BYTES_MAX)?;
    }
    if let Some(utm) = &event.utm {
        for (field, text) in [
            ("utm_source", &utm.source),
            ("utm_medium", &utm.medium),
            ("utm_campaign", &utm.campaign),
            ("utm_term", &utm.term),
            ("utm_content", &utm.content),
        ] {
            check_length(field, text.as_deref(), SHORT_TEXT_BYTES_MAX)?;
        }
    }
    check_length("type", Some(&event.kind), SHORT_TEXT_BYTES_MAX)?;
    Ok(event)
}
