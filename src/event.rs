//! What every wire format becomes: one event, still borrowing from the request's body.

use std::borrow::Cow;
use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::value::RawValue;
use smallvec::SmallVec;

/// A time that the client gave, kept beside its original text because it may prove unbelievable.
#[derive(Debug, Clone, Copy)]
pub struct ClientTime<'a> {
    /// `None` when the number lies outside the years that a timestamp can have.
    pub at: Option<Timestamp>,
    /// The JSON as sent.
    pub raw: &'a RawValue,
}

/// The five parameters by which campaigns are told apart.
#[derive(Debug, Clone, Default)]
pub struct Utm<'a> {
    pub source: Option<Cow<'a, str>>,
    pub medium: Option<Cow<'a, str>>,
    pub campaign: Option<Cow<'a, str>>,
    pub term: Option<Cow<'a, str>>,
    pub content: Option<Cow<'a, str>>,
}

/// One event as its client described it, before anything is looked up or derived.
///
/// Decoders guarantee: no text holds a NUL, `properties` and `context` are JSON objects whose depth and numbers
/// PostgreSQL's `jsonb` accepts, and `name` or `url` is present.
#[derive(Debug, Clone, Default)]
pub struct Event<'a> {
    /// Made once by the client and kept over its retries.
    pub message_id: Option<Cow<'a, str>>,
    /// `page`, `click`, `track`, `identify`, ...
    pub kind: Cow<'a, str>,
    pub name: Option<Cow<'a, str>>,
    pub timestamp: Option<ClientTime<'a>>,
    pub sent_at: Option<ClientTime<'a>>,
    pub visitor_id: Option<Cow<'a, str>>,
    pub user_id: Option<Cow<'a, str>>,
    pub session_id: Option<Cow<'a, str>>,
    pub url: Option<Cow<'a, str>>,
    pub title: Option<Cow<'a, str>>,
    pub referrer: Option<Cow<'a, str>>,
    pub language: Option<Cow<'a, str>>,
    pub screen: Option<Cow<'a, str>>,
    /// Where the visit came from, where its client says so: counts for more than the URL's own parameters.
    pub utm: Option<Box<Utm<'a>>>,
    /// The visitor's address as a server reports it: believed only with a secret key.
    pub ip: Option<IpAddr>,
    /// The visitor's user agent as a server reports it: believed only with a secret key.
    pub user_agent: Option<Cow<'a, str>>,
    pub properties: Option<&'a RawValue>,
    pub context: Option<&'a RawValue>,
    /// Members that the format does not know; they end up in `context`.
    pub extra: SmallVec<[(Cow<'a, str>, &'a RawValue); 4]>,
}
