//! Records whose members have names of no product: CSV with a header, and JSON objects.
//!
//! ```text
//! name    one of weir's own, as of POST /v1/events and of analytics.events, or one that is usual elsewhere ([`target_of`]);
//!         or what --map says of it: NAME=FIELD, NAME=properties.KEY, NAME=context.KEY, NAME=-
//! ```
//!
//! Where two members mean the same field, the usual name wins, and the other is treated as one that nobody knows. Such
//! become properties (CSV), or go into `context` (JSON, as the collector does it).

use std::borrow::Cow;

use crate::decode::object::{Json, Object, Texts, Value};
use crate::decode::translate::Native;
use crate::event::Known;

use super::{ImportError, time};

/// What a member means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Text, of this native name.
    Member(&'static str),
    Time(&'static str),
    /// What has been found out from address and user agent.
    Found(&'static str),
    Host,
    Path,
    Query,
    Properties,
    Context,
}

/// Where a member goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// With how good a name it is: 0 is best.
    Target(Target, u8),
    Property(String),
    Context(String),
    Nowhere,
    Unknown,
}

/// What becomes of members that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    Properties,
    Context,
}

/// How good weir's own name is, or one that `--map` gives.
const OWN_NAME: u8 = 1;

/// What `--map` says.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    places: Vec<(String, Place)>,
    /// As given.
    pub text: String,
}

impl Mapping {
    pub fn parse(arguments: &[String]) -> Result<Self, ImportError> {
        let mut mapping = Self { places: Vec::new(), text: arguments.join("\n") };
        for argument in arguments {
            let (name, field) = argument
                .rsplit_once('=')
                .filter(|(name, field)| !name.is_empty() && !field.is_empty())
                .ok_or_else(|| ImportError::Mapping(format!("{argument}: expected COLUMN=FIELD")))?;
            let place = match (field, field.split_once('.')) {
                ("-", _) => Place::Nowhere,
                (_, Some(("properties", key))) => Place::Property(key.to_owned()),
                (_, Some(("context", key))) => Place::Context(key.to_owned()),
                _ => match target_of(field) {
                    Some((target, _)) => Place::Target(target, 0),
                    None => {
                        return Err(ImportError::Mapping(format!(
                            "{argument}: {field} is no field; there are the columns of analytics.events, `ip`, `user_agent`, \
                             properties.KEY, context.KEY, and - for nowhere"
                        )));
                    }
                },
            };
            mapping.places.push((name.to_owned(), place));
        }
        Ok(mapping)
    }

    /// The names that no record has had would be mistakes: those of a header.
    pub fn missing_in<'m>(&'m self, header: &[String]) -> Option<&'m str> {
        self.places.iter().map(|(name, _)| name.as_str()).find(|name| !header.iter().any(|own| own == name))
    }

    fn place_of(&self, name: &str) -> Place {
        if let Some((_, place)) = self.places.iter().find(|(own, _)| own == name) {
            return place.clone();
        }
        let place = |(target, rank)| Place::Target(target, rank + 1);
        if let Some(found) = target_of(name) {
            return place(found);
        }
        let usual: String = name
            .trim()
            .chars()
            .map(|sign| if matches!(sign, ' ' | '-' | '.') { '_' } else { sign.to_ascii_lowercase() })
            .collect();
        target_of(&usual).map_or(Place::Unknown, place)
    }
}

/// What a name means, and how usual it is for that: 0 is weir's own.
fn target_of(name: &str) -> Option<(Target, u8)> {
    use Target::{Context, Found, Host, Member, Path, Properties, Query, Time};
    Some(match name {
        "id" => (Member("id"), 0),
        "event_id" | "message_id" => (Member("id"), 1),
        "messageid" | "uuid" | "insert_id" => (Member("id"), 2),
        "timestamp" => (Time("timestamp"), 0),
        "occurred_at" => (Time("timestamp"), 1),
        "time" | "event_time" | "original_timestamp" | "originaltimestamp" | "@timestamp" => (Time("timestamp"), 2),
        "ts" | "datetime" | "date" | "created_at" => (Time("timestamp"), 3),
        "sent_at" | "sentat" => (Time("sent_at"), 0),
        "type" => (Member("type"), 0),
        "kind" => (Member("type"), 1),
        "name" => (Member("name"), 0),
        "event_name" => (Member("name"), 1),
        "event_text" => (Member("name"), 2),
        "event" | "event_type" => (Member("name"), 3),
        "visitor_id" => (Member("visitor_id"), 0),
        "anonymous_id" | "anonymousid" => (Member("visitor_id"), 1),
        "device_id" | "client_id" | "distinct_id" => (Member("visitor_id"), 2),
        "user_id" => (Member("user_id"), 0),
        "userid" | "user" => (Member("user_id"), 1),
        "session_id" => (Member("session_id"), 0),
        "sessionid" => (Member("session_id"), 1),
        "url" => (Member("url"), 0),
        "page_url" | "page_location" | "context_page_url" => (Member("url"), 1),
        "location" | "href" | "current_url" => (Member("url"), 2),
        "host" | "hostname" => (Host, 0),
        "path" => (Path, 0),
        "pathname" | "url_path" | "page_path" => (Path, 1),
        "query" => (Query, 0),
        "url_query" => (Query, 1),
        "title" => (Member("title"), 0),
        "page_title" | "context_page_title" => (Member("title"), 1),
        "referrer" => (Member("referrer"), 0),
        "referer" | "page_referrer" | "context_page_referrer" | "http_referer" => (Member("referrer"), 1),
        "language" => (Member("language"), 0),
        "locale" | "lang" | "context_locale" => (Member("language"), 1),
        "screen" => (Member("screen"), 0),
        "screen_resolution" => (Member("screen"), 1),
        "utm_source" => (Member("utm_source"), 0),
        "utm_medium" => (Member("utm_medium"), 0),
        "utm_campaign" => (Member("utm_campaign"), 0),
        "utm_term" => (Member("utm_term"), 0),
        "utm_content" => (Member("utm_content"), 0),
        "context_campaign_source" => (Member("utm_source"), 1),
        "context_campaign_medium" => (Member("utm_medium"), 1),
        "context_campaign_name" => (Member("utm_campaign"), 1),
        "context_campaign_term" => (Member("utm_term"), 1),
        "context_campaign_content" => (Member("utm_content"), 1),
        "ip" => (Member("ip"), 0),
        "ip_address" | "remote_addr" | "client_ip" | "context_ip" => (Member("ip"), 1),
        "user_agent" => (Member("user_agent"), 0),
        "useragent" | "http_user_agent" | "context_user_agent" => (Member("user_agent"), 1),
        "country" => (Found("country"), 0),
        "country_code" => (Found("country"), 1),
        "region" => (Found("region"), 0),
        "city" => (Found("city"), 0),
        "browser" => (Found("browser"), 0),
        "browser_version" => (Found("browser_version"), 0),
        "os" => (Found("os"), 0),
        "operating_system" => (Found("os"), 1),
        "os_version" => (Found("os_version"), 0),
        "device" => (Found("device"), 0),
        "device_type" => (Found("device"), 1),
        "properties" => (Properties, 0),
        "context" => (Context, 0),
        _ => return None,
    })
}

/// Where the members of earlier records went: those of the next one have the same names, in the same order.
pub struct Names<'m> {
    mapping: &'m Mapping,
    known: Vec<(String, Place)>,
}

/// Objects have hardly more members; those behind are looked up each time.
const REMEMBERED: usize = 128;

impl<'m> Names<'m> {
    pub fn new(mapping: &'m Mapping) -> Self {
        Self { mapping, known: Vec::new() }
    }

    fn place_of(&mut self, at: usize, name: &str) -> Place {
        if let Some((own, place)) = self.known.get(at)
            && own == name
        {
            return place.clone();
        }
        let place = self.mapping.place_of(name);
        if at < self.known.len() {
            self.known[at] = (name.to_owned(), place.clone());
        } else if at == self.known.len() && at < REMEMBERED {
            self.known.push((name.to_owned(), place.clone()));
        }
        place
    }
}

/// Writes the event that a record is.
pub fn event<'a>(native: &mut Native<'a>, record: Object<'a>, names: &mut Names<'_>, rest: Rest, texts: &'a Texts) {
    // What was found for each field, with how good its name is.
    let mut found: Vec<(Target, u8, Cow<'a, str>, Value<'a>)> = Vec::with_capacity(16);
    let mut others: Vec<(Cow<'a, str>, Value<'a>)> = Vec::new();
    for (at, (name, value)) in record.rest().enumerate() {
        if value.is("null") || value == Value::Text("") {
            continue;
        }
        let is_text = value.text().is_some();
        match names.place_of(at, &name) {
            // What others call so may be something else: a `user` with all that is known of them, say.
            Place::Target(target, rank)
                if rank > OWN_NAME && !is_text && !matches!(target, Target::Properties | Target::Context) =>
            {
                others.push((name, value));
            }
            Place::Target(target, rank) => match found.iter_mut().find(|(own, ..)| *own == target) {
                Some(worse) if rank < worse.1 => {
                    let (_, _, name, value) = std::mem::replace(worse, (target, rank, name, value));
                    others.push((name, value));
                }
                Some(_) => others.push((name, value)),
                None => found.push((target, rank, name, value)),
            },
            Place::Property(key) => native.property(&key, value),
            Place::Context(key) => native.context(key, value),
            Place::Nowhere => {}
            Place::Unknown => others.push((name, value)),
        }
    }
    let mut address = Address::default();
    for (target, _, name, value) in found {
        match target {
            Target::Member("url") => address.url = value.text(),
            Target::Member(member) => native.member(member, Some(value)),
            Target::Time(member) => native.member(member, Some(time::read(value, texts))),
            Target::Found(column) => native.known(column, Some(value), known_of(column)),
            Target::Host => address.host = value.text(),
            Target::Path => address.path = value.text(),
            Target::Query => address.query = value.text(),
            Target::Properties | Target::Context => {
                let object = value.object().or_else(|| {
                    let text = value.text_in(texts)?;
                    Value::Json(Json::embedded(text, texts)?).object()
                });
                match (object, target) {
                    (Some(object), Target::Properties) => native.properties(object),
                    (Some(object), _) => native.contexts(object),
                    (None, _) => others.push((name, value)),
                }
            }
        }
    }
    native.text("url", address.whole().unwrap_or_default());
    for (name, value) in others {
        match rest {
            Rest::Properties => native.property(&name, value),
            Rest::Context => native.context(name, value),
        }
    }
}

/// The column of this name, of those that are found out.
pub fn known_of<'a>(column: &str) -> for<'e> fn(&'e mut Known<'a>) -> &'e mut Option<Cow<'a, str>> {
    match column {
        "country" => |known| &mut known.country,
        "region" => |known| &mut known.region,
        "city" => |known| &mut known.city,
        "browser" => |known| &mut known.browser,
        "browser_version" => |known| &mut known.browser_version,
        "os" => |known| &mut known.os,
        "os_version" => |known| &mut known.os_version,
        _ => |known| &mut known.device,
    }
}

/// A page's address in parts, of which some may be missing.
#[derive(Default)]
pub struct Address<'a> {
    pub url: Option<Cow<'a, str>>,
    pub host: Option<Cow<'a, str>>,
    pub path: Option<Cow<'a, str>>,
    pub query: Option<Cow<'a, str>>,
}

impl<'a> Address<'a> {
    pub fn whole(self) -> Option<Cow<'a, str>> {
        let is_path = |text: &str| text.starts_with('/') && !text.starts_with("//");
        match (self.url, self.host, self.path) {
            (Some(url), Some(host), _) if is_path(&url) => Some(format!("https://{host}{url}").into()),
            (Some(url), ..) => Some(url),
            (None, host, path) => {
                let path = path.or_else(|| host.is_some().then_some("/".into()))?;
                let slash = if is_path(&path) { "" } else { "/" };
                let query = self.query.as_deref().map(|query| query.trim_start_matches('?')).unwrap_or_default();
                let mark = if query.is_empty() { "" } else { "?" };
                let start = host.map(|host| format!("https://{host}")).unwrap_or_default();
                Some(format!("{start}{slash}{path}{mark}{query}").into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::translate::Translation;

    fn told(json: &str, map: &[&str], rest: Rest) -> String {
        let mapping = Mapping::parse(&map.iter().map(|map| (*map).to_owned()).collect::<Vec<_>>()).expect("a mapping");
        let texts = Texts::default();
        let mut translation = Translation::new(&texts);
        let mut names = Names::new(&mapping);
        translation.event(|native| {
            let object = Object::parse(Json::parse(json).expect("JSON"))?;
            event(native, object, &mut names, rest, &texts);
            Ok(())
        });
        match translation.single().expect("one") {
            Ok(event) => event.to_json(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn names_of_others_and_places_of_ones_own() {
        for (json, map, rest, expected) in [
            (
                r#"{"created_at":"2023-01-01 10:00:00","occurred_at":"2023-01-02T00:00:00Z","User Agent":"UA","event":"buy","sku":7,"x":null}"#,
                &[][..],
                Rest::Properties,
                r#"{"type":"track","name":"buy","timestamp":"2023-01-02T00:00:00Z","user_agent":"UA","properties":{"created_at":"2023-01-01 10:00:00","sku":7}}"#,
            ),
            (
                r#"{"time":1700000000,"hostname":"a.example","path":"/x","url_query":"y=1","extra":[1]}"#,
                &[],
                Rest::Context,
                r#"{"type":"page","timestamp":"2023-11-14T22:13:20Z","url":"https://a.example/x?y=1","context":{"extra":[1]}}"#,
            ),
            (
                r#"{"name":"a","user":{"id":7},"device":{"type":"x"},"timestamp":1700000000}"#,
                &[],
                Rest::Context,
                r#"{"type":"track","name":"a","timestamp":"2023-11-14T22:13:20Z","context":{"device":{"type":"x"},"user":{"id":7}}}"#,
            ),
            (
                r#"{"When":"2023-11-14","What":"a","who":"b","secret":"s","n":1}"#,
                &["When=timestamp", "What=name", "who=user_id", "secret=-", "n=properties.count"],
                Rest::Properties,
                r#"{"type":"track","name":"a","timestamp":"2023-11-14T00:00:00Z","user_id":"b","properties":{"count":1}}"#,
            ),
            (
                r#"{"name":"a","timestamp":"no time","properties":"{\"a\":1}"}"#,
                &[],
                Rest::Context,
                "timestamp: expected RFC 3339 with a time zone, as 2026-11-22T10:00:00.123Z, or Unix milliseconds",
            ),
        ] {
            assert_eq!(told(json, map, rest), expected);
        }
        for bad in ["a", "=name", "a=", "a=colour"] {
            assert!(Mapping::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
