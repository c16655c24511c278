//! What every wire format becomes: one event, still borrowing from the request's body.

use std::borrow::Cow;
use std::net::IpAddr;

use jiff::Timestamp;
use smallvec::SmallVec;

/// A time that the client gave, kept beside its original text because it may prove unbelievable.
#[derive(Debug, Clone, Copy)]
pub struct ClientTime<'a> {
    /// `None` when the number lies outside the years that a timestamp can have.
    pub at: Option<Timestamp>,
    /// The JSON as sent.
    pub raw: &'a str,
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

/// What another product has found out of an event's address and user agent: its exports have no longer what that was.
#[derive(Debug, Clone, Default)]
pub struct Known<'a> {
    pub country: Option<Cow<'a, str>>,
    pub region: Option<Cow<'a, str>>,
    pub city: Option<Cow<'a, str>>,
    pub browser: Option<Cow<'a, str>>,
    pub browser_version: Option<Cow<'a, str>>,
    pub os: Option<Cow<'a, str>>,
    pub os_version: Option<Cow<'a, str>>,
    pub device: Option<Cow<'a, str>>,
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
    /// Counts for more than what address and user agent say; only imports have it.
    pub known: Option<Box<Known<'a>>>,
    /// JSON of an object.
    pub properties: Option<&'a str>,
    /// JSON of an object.
    pub context: Option<&'a str>,
    /// Names and JSON of members that the format does not know; they end up in `context`.
    pub extra: SmallVec<[(Cow<'a, str>, &'a str); 4]>,
}

#[cfg(test)]
impl Event<'_> {
    /// In weir's own format, members that the client did not know within `context`.
    pub fn to_json(&self) -> String {
        use crate::decode::object::push_quoted;

        let mut members: Vec<String> = Vec::new();
        let mut add = |name: &str, json: &str| members.push(format!("\"{name}\":{json}"));
        let utm = self.utm.as_deref().cloned().unwrap_or_default();
        let raw = |time: Option<ClientTime<'_>>| time.map(|time| time.raw.to_owned());
        let quoted = |text: &str| {
            let mut json = String::new();
            push_quoted(&mut json, text);
            json
        };
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(quoted);
        let extra: Vec<String> = self.extra.iter().map(|(name, json)| format!("{}:{json}", quoted(name))).collect();
        let extra = (!extra.is_empty()).then(|| format!("{{{}}}", extra.join(",")));
        for (name, json) in [
            ("type", Some(quoted(&self.kind))),
            ("name", text(&self.name)),
            ("id", text(&self.message_id)),
            ("timestamp", raw(self.timestamp)),
            ("sent_at", raw(self.sent_at)),
            ("visitor_id", text(&self.visitor_id)),
            ("user_id", text(&self.user_id)),
            ("session_id", text(&self.session_id)),
            ("url", text(&self.url)),
            ("title", text(&self.title)),
            ("referrer", text(&self.referrer)),
            ("language", text(&self.language)),
            ("screen", text(&self.screen)),
            ("utm_source", text(&utm.source)),
            ("utm_medium", text(&utm.medium)),
            ("utm_campaign", text(&utm.campaign)),
            ("utm_term", text(&utm.term)),
            ("utm_content", text(&utm.content)),
            ("ip", self.ip.map(|ip| format!("\"{ip}\""))),
            ("user_agent", text(&self.user_agent)),
            ("properties", self.properties.map(Into::into)),
            ("context", self.context.map(Into::into).or(extra)),
        ] {
            if let Some(json) = json {
                add(name, &json);
            }
        }
        format!("{{{}}}", members.join(","))
    }
}
