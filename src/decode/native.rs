//! weir's own format, `POST /v1/events`.
//!
//! ```text
//! body     = event | [event, ...] | {"key": "...", "events": [event, ...]} | event LF event LF ...   (NDJSON)
//! event    = {"type", "name", "id", "timestamp", "sent_at", "visitor_id", "user_id", "session_id", "url", "referrer",
//!             "title", "language", "screen", "utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content",
//!             "properties", "context", "ip", "user_agent", "key", ...}
//! ```
//!
//! All members are optional but that an event has a `name` or a `url`. Absent `type` means `page` without a name and
//! `track` with one. Times are RFC 3339 or Unix milliseconds. Text may also come as a number or a boolean. A member not
//! named here is kept in the row's `context`.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json::scan;
use super::object::{Texts, Value};
use super::values::{Items, MaybeText, Text, check_object};
use super::webhook;
use super::{DecodeError, Decoded, EVENT_BYTES_MAX, EVENTS_MAX, Refusal, check};
use crate::event::{ClientTime, Event, Utm};

/// Decodes a body; `lines` when its content type says NDJSON. Call [`super::mend_escapes`] on it first.
pub fn decode(body: &str, lines: bool) -> Result<Decoded<'_>, DecodeError> {
    let text = body.trim_ascii();
    if text.is_empty() {
        return Err(DecodeError::Empty);
    }
    if lines {
        return decode_lines(text);
    }
    decode_at_once(text).map_or_else(|| decode_one_by_one(text), Ok)
}

fn decode_one_by_one(text: &str) -> Result<Decoded<'_>, DecodeError> {
    if text.starts_with('[') {
        return decode_array(text, None);
    }
    let scanned = scan(text);
    if scanned.as_ref().is_ok_and(|end| !text[*end..].trim_ascii_start().is_empty()) {
        return decode_lines(text);
    }
    let outer = match scanned.and_then(|_| parse_scanned(text)) {
        Ok(outer) => outer,
        // The envelope may be far longer and deeper than one event may be: look whether it is one.
        Err(refusal) => match serde_json::from_str::<Envelope<'_>>(text) {
            Ok(Envelope { key, events: Some(events) }) if events.get().starts_with('[') => {
                return decode_array(events.get(), key.and_then(text_of));
            }
            Ok(_) => {
                return Ok(Decoded { key: None, events: vec![Err(refusal)] });
            }
            Err(error) => return Err(DecodeError::NotJson(error.to_string())),
        },
    };
    if let Some(events) = outer.events.filter(|events| events.get().starts_with('[')) {
        return decode_array(events.get(), outer.key);
    }
    Ok(Decoded { key: outer.key.clone(), events: vec![finish(outer, None)] })
}

/// Decodes what is within one event's limits as a whole, and therefore in all its parts, and has nothing wrong with it:
/// nearly everything. For all else, `None`: taken apart event by event it costs twice as much.
fn decode_at_once(text: &str) -> Option<Decoded<'_>> {
    if text.len() > EVENT_BYTES_MAX || scan(text) != Ok(text.len()) {
        return None;
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let (key, events) = if text.starts_with('[') {
        (None, Vec::<Native<'_>>::deserialize(&mut json).ok()?)
    } else {
        let mut outer = json.deserialize_map(NativeVisitor { refusal: &mut None, is_outer: true }).ok()?;
        match outer.batch.take() {
            Some(events) => (outer.key, events),
            None => (outer.key.clone(), vec![outer]),
        }
    };
    json.end().ok()?;
    if events.is_empty() || events.len() > EVENTS_MAX {
        return None;
    }
    Some(finish_all(events.into_iter().map(Ok), key))
}

/// The two members of an envelope that matter; of equal names the last counts, as everywhere.
#[derive(Default)]
struct Envelope<'a> {
    key: Option<&'a RawValue>,
    events: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an event or an object with events")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            match name.as_ref() {
                "key" => envelope.key = Some(map.next_value()?),
                "events" => envelope.events = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(envelope)
    }
}

/// The text of a value that may be anything.
fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    MaybeText.deserialize(&mut serde_json::Deserializer::from_str(raw.get())).ok()?.filter(|text| !text.is_empty())
}

fn decode_array<'a>(text: &'a str, key: Option<Cow<'a, str>>) -> Result<Decoded<'a>, DecodeError> {
    let items: Items<'a> = serde_json::from_str(text).map_err(|error| DecodeError::NotJson(error.to_string()))?;
    if items.count > EVENTS_MAX {
        return Err(DecodeError::TooManyEvents(items.count));
    }
    decode_items(items.first.into_iter().map(RawValue::get), key)
}

fn decode_lines(text: &str) -> Result<Decoded<'_>, DecodeError> {
    decode_items(text.lines().map(str::trim_ascii).filter(|line| !line.is_empty()), None)
}

fn decode_items<'a>(
    items: impl Iterator<Item = &'a str> + Clone,
    key: Option<Cow<'a, str>>,
) -> Result<Decoded<'a>, DecodeError> {
    let count = items.clone().count();
    if count == 0 {
        return Err(DecodeError::Empty);
    }
    if count > EVENTS_MAX {
        return Err(DecodeError::TooManyEvents(count));
    }
    Ok(finish_all(items.map(parse), key))
}

/// The first key that anyone names is everyone's.
fn finish_all<'a>(
    natives: impl Iterator<Item = Result<Native<'a>, Refusal>>,
    mut key: Option<Cow<'a, str>>,
) -> Decoded<'a> {
    let finished = natives.map(|native| {
        let native = native?;
        if key.is_none() {
            key.clone_from(&native.key);
        }
        finish(native, key.as_deref())
    });
    let events = finished.collect();
    Decoded { key, events }
}

/// Parses the text of one event among several, with the checks that `serde_json` does not make.
fn parse(text: &str) -> Result<Native<'_>, Refusal> {
    check_object(text)?;
    scan(text)?;
    parse_scanned(text)
}

fn parse_scanned(text: &str) -> Result<Native<'_>, Refusal> {
    let mut refusal = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let native = json
        .deserialize_map(NativeVisitor { refusal: &mut refusal, is_outer: false })
        .and_then(|native| json.end().map(|()| native));
    native.map_err(|error| refusal.unwrap_or_else(|| Refusal::NotJson(error.to_string())))
}

fn finish<'a>(native: Native<'a>, key: Option<&str>) -> Result<Event<'a>, Refusal> {
    if let (Some(key), Some(own)) = (key, &native.key)
        && key != own
    {
        return Err(Refusal::OtherKey);
    }
    let mut event = native.event;
    if let Some(events) = native.events {
        event.extra.push((Cow::Borrowed("events"), events.get()));
    }
    complete(event)
}

/// The last step of every way to an event.
pub(super) fn complete(mut event: Event<'_>) -> Result<Event<'_>, Refusal> {
    if event.kind.is_empty() {
        event.kind = Cow::Borrowed(if event.name.is_some() { "track" } else { "page" });
    }
    // A public key is in every page: it must not say what only a service's signature, or a secret key, is believed.
    if event.kind == webhook::KIND {
        return Err(Refusal::BadField { field: "type", reason: "webhooks go to /v1/webhook/SOURCE".into() });
    }
    if event.message_id.as_ref().is_some_and(|id| id.starts_with(webhook::ID_PREFIX)) {
        return Err(Refusal::BadField { field: "id", reason: "it begins as those of webhooks do".into() });
    }
    check(event)
}

/// An event with the two members that belong to the request rather than to it.
#[derive(Default)]
struct Native<'a> {
    event: Event<'a>,
    key: Option<Cow<'a, str>>,
    events: Option<&'a RawValue>,
    /// `events` of an envelope.
    batch: Option<Vec<Native<'a>>>,
}

impl<'de> Deserialize<'de> for Native<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NativeVisitor { refusal: &mut None, is_outer: false })
    }
}

struct NativeVisitor<'r> {
    refusal: &'r mut Option<Refusal>,
    /// Whether this may be an envelope.
    is_outer: bool,
}

impl<'de> Visitor<'de> for NativeVisitor<'_> {
    type Value = Native<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an event object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Native<'de>, A::Error> {
        let mut native = Native::default();
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            let event = &mut native.event;
            let result = match name.as_ref() {
                "type" => text(&mut map, "type").map(|kind| event.kind = kind.unwrap_or_default()),
                "timestamp" => time(&mut map, "timestamp").map(|value| event.timestamp = value),
                "sent_at" => time(&mut map, "sent_at").map(|value| event.sent_at = value),
                "ip" => text(&mut map, "ip").and_then(ip_of).map(|ip| event.ip = ip),
                "properties" => object(&mut map, "properties").map(|value| event.properties = value),
                "context" => object(&mut map, "context").map(|value| event.context = value),
                "key" => text(&mut map, "key").map(|value| native.key = value),
                "events" if self.is_outer => {
                    map.next_value().map(|events| native.batch = Some(events)).map_err(not_json)
                }
                "events" => map.next_value().map(|value| native.events = Some(value)).map_err(not_json),
                _ => match text_member(event, &name) {
                    Some((field, member)) => text(&mut map, field).map(|value| *member = value),
                    None => raw(&mut map).map(|value| event.extra.push((name, value))),
                },
            };
            if let Err(refusal) = result {
                let message = refusal.to_string();
                *self.refusal = Some(refusal);
                return Err(de::Error::custom(message));
            }
        }
        Ok(native)
    }
}

/// The member of an event that is a text of this name.
fn text_member<'e, 'a>(event: &'e mut Event<'a>, name: &str) -> Option<(&'static str, &'e mut Option<Cow<'a, str>>)> {
    Some(match name {
        "name" => ("name", &mut event.name),
        "id" => ("id", &mut event.message_id),
        "visitor_id" => ("visitor_id", &mut event.visitor_id),
        "user_id" => ("user_id", &mut event.user_id),
        "session_id" => ("session_id", &mut event.session_id),
        "url" => ("url", &mut event.url),
        "title" => ("title", &mut event.title),
        "referrer" => ("referrer", &mut event.referrer),
        "language" => ("language", &mut event.language),
        "screen" => ("screen", &mut event.screen),
        "user_agent" => ("user_agent", &mut event.user_agent),
        "utm_source" => ("utm_source", &mut utm(event).source),
        "utm_medium" => ("utm_medium", &mut utm(event).medium),
        "utm_campaign" => ("utm_campaign", &mut utm(event).campaign),
        "utm_term" => ("utm_term", &mut utm(event).term),
        "utm_content" => ("utm_content", &mut utm(event).content),
        _ => return None,
    })
}

fn utm<'e, 'a>(event: &'e mut Event<'a>) -> &'e mut Utm<'a> {
    event.utm.get_or_insert_default()
}

/// Sets a member of an event that is no JSON as a whole.
pub(super) fn set_member<'a>(
    event: &mut Event<'a>,
    name: &'static str,
    value: Value<'a>,
    texts: &'a Texts,
) -> Result<(), Refusal> {
    let text = |field| value.native_text().map_err(|error| bad(field, error.to_string()));
    match name {
        "type" => event.kind = text("type")?.unwrap_or_default(),
        "timestamp" => event.timestamp = time_of(value.json(texts), "timestamp")?,
        "sent_at" => event.sent_at = time_of(value.json(texts), "sent_at")?,
        "ip" => event.ip = ip_of(text("ip")?)?,
        "properties" => event.properties = object_of(value.json(texts), "properties")?,
        _ => match text_member(event, name) {
            Some((field, member)) => *member = text(field)?,
            None => event.extra.push((Cow::Borrowed(name), value.json(texts))),
        },
    }
    Ok(())
}

fn not_json(error: impl fmt::Display) -> Refusal {
    Refusal::NotJson(error.to_string())
}

fn bad(field: &'static str, reason: impl Into<String>) -> Refusal {
    Refusal::BadField { field, reason: reason.into() }
}

fn raw<'de, A: MapAccess<'de>>(map: &mut A) -> Result<&'de str, Refusal> {
    let raw: &'de RawValue = map.next_value().map_err(not_json)?;
    Ok(raw.get())
}

/// A text member; `null` and the empty string are as good as absent.
fn text<'de, A: MapAccess<'de>>(map: &mut A, field: &'static str) -> Result<Option<Cow<'de, str>>, Refusal> {
    let value = map.next_value_seed(MaybeText).map_err(|error| bad(field, error.to_string()))?;
    Ok(value.filter(|text| !text.is_empty()))
}

fn ip_of(text: Option<Cow<'_, str>>) -> Result<Option<IpAddr>, Refusal> {
    let parsed = text.map(|ip| ip.parse()).transpose();
    parsed.map_err(|_| bad("ip", "not an IPv4 or IPv6 address"))
}

fn time<'de, A: MapAccess<'de>>(map: &mut A, field: &'static str) -> Result<Option<ClientTime<'de>>, Refusal> {
    time_of(raw(map)?, field)
}

fn time_of<'a>(json: &'a str, field: &'static str) -> Result<Option<ClientTime<'a>>, Refusal> {
    const EXPECTED: &str = "expected RFC 3339 with a time zone, as 2026-11-22T10:00:00.123Z, or Unix milliseconds";
    let at = match json.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b'"') => {
            let text: Text<'a> = serde_json::from_str(json).map_err(not_json)?;
            Some(text.0.parse::<Timestamp>().map_err(|_| bad(field, EXPECTED))?)
        }
        Some(b'-' | b'0'..=b'9') => {
            let ms: f64 = serde_json::from_str(json).map_err(not_json)?;
            // Saturates; what no timestamp can hold is kept as raw text.
            Timestamp::from_microsecond((ms * 1_000.0).round() as i64).ok()
        }
        _ => return Err(bad(field, EXPECTED)),
    };
    Ok(Some(ClientTime { at, raw: json }))
}

fn object<'de, A: MapAccess<'de>>(map: &mut A, field: &'static str) -> Result<Option<&'de str>, Refusal> {
    object_of(raw(map)?, field)
}

fn object_of<'a>(json: &'a str, field: &'static str) -> Result<Option<&'a str>, Refusal> {
    match json.as_bytes().first() {
        Some(b'{') => Ok(Some(json)),
        Some(b'n') => Ok(None),
        _ => Err(bad(field, "expected an object")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn what_is_decoded_at_once_is_what_one_by_one_gives(pieces in prop::collection::vec(prop::sample::select(&[
            "{", "}", "[", "]", ",", "[{", "}]", "\"key\":\"k\"", "\"key\":7", "\"name\":\"a\"", "\"events\":", "\"events\":[", "{\"name\":\"a\"}",
            "{\"name\":\"b\",\"key\":\"k\"}", "{\"url\":\"/\",\"events\":[1]}", "{}", "7", "null", "\"x\":1e9", "\"x\":1e5000", "\"timestamp\":\"no\"",
            "\"timestamp\":1700000000000", "\"properties\":{\"a\":[1]}", "\"properties\":7", "\"type\":\"\\u0061\"", "\"type\":null", "\n", " ", "\"",
        ][..]), 1..9)) {
            let text = pieces.concat();
            let text = text.trim_ascii();
            if let Some(decoded) = decode_at_once(text) {
                let slowly = decode_one_by_one(text).expect("what can be decoded at once can be one by one");
                prop_assert_eq!(format!("{decoded:?}"), format!("{slowly:?}"), "{}", text);
            }
        }
    }

    #[test]
    fn ordinary_bodies_are_decoded_at_once() {
        for body in [
            r#"{"key":"k","events":[{"name":"a"},{"name":"b","events":[1],"colour":"red"}]}"#,
            r#"{"events":[{"name":"a","key":"k"},{"name":"b","key":"other"}],"key":null}"#,
            r#"[{"name":"a"},{"url":"/"}]"#,
            r#"{"name":"a","properties":{"plan":"team"}}"#,
        ] {
            let decoded = decode_at_once(body).expect(body);
            assert_eq!(format!("{decoded:?}"), format!("{:?}", decode_one_by_one(body).expect(body)));
        }
        for body in [r#"{"events":7,"name":"a"}"#, "[]", "[7]", r#"{"name":"a"} {"name":"b"}"#, r#"[{"name":{}}]"#] {
            assert!(decode_at_once(body).is_none(), "{body}");
        }
    }

    fn one(body: &str) -> Result<Event<'_>, Refusal> {
        let decoded = decode(body, false).expect("body is JSON");
        assert_eq!(decoded.events.len(), 1, "{body}");
        decoded.events.into_iter().next().expect("one event")
    }

    #[test]
    fn the_design_example() {
        let event = one(
            r#"{"type":"track","name":"signup","id":"m1","timestamp":"2026-11-22T10:00:00.123Z","visitor_id":"v","user_id":7,
               "session_id":"s","url":"https://a.example/","referrer":"https://b.example/","title":"T",
               "properties":{"plan":"team"},"context":{},"colour":"red"}"#,
        )
        .expect("accepted");
        assert_eq!(event.kind, "track");
        assert_eq!(event.name.as_deref(), Some("signup"));
        assert_eq!(event.user_id.as_deref(), Some("7"));
        assert_eq!(event.properties, Some(r#"{"plan":"team"}"#));
        assert_eq!(event.timestamp.and_then(|time| time.at), "2026-11-22T10:00:00.123Z".parse().ok());
        assert_eq!(event.extra.len(), 1);
        assert_eq!(event.extra[0].0, "colour");
    }

    #[test]
    fn kinds_default_by_name() {
        assert_eq!(one(r#"{"name":"a"}"#).expect("accepted").kind, "track");
        assert_eq!(one(r#"{"url":"/"}"#).expect("accepted").kind, "page");
    }

    #[test]
    fn every_shape_of_body() {
        for (body, count, key) in [
            (r#"{"name":"a","key":"k"}"#, 1, Some("k")),
            (r#"[{"name":"a"},{"name":"b"}]"#, 2, None),
            (r#"{"key":"k","events":[{"name":"a"},{"name":"b"},{"name":"c"}]}"#, 3, Some("k")),
            ("{\"name\":\"a\"}\n\n{\"name\":\"b\",\"key\":\"k\"}\n", 2, Some("k")),
            ("{\n \"name\": \"pretty\"\n}", 1, None),
        ] {
            let decoded = decode(body, false).expect(body);
            assert_eq!((decoded.events.len(), decoded.key.as_deref()), (count, key), "{body}");
            assert!(decoded.events.iter().all(Result::is_ok), "{body}");
        }
    }

    #[test]
    fn one_bad_event_costs_no_other() {
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        let body = format!(
            r#"[{{"name":"a"}}, 7, {{"name":"b","properties":[]}}, {{}}, {{"name":"c","properties":{{"x":{deep}}}}},
                {{"name":"d","timestamp":"yesterday"}}, {{"name":{{}}}}, {{"name":"e","x":1e400000}}, {{"name":"z"}}]"#
        );
        let decoded = decode(&body, false).expect("an array");
        let labels: Vec<_> =
            decoded.events.iter().map(|event| event.as_ref().map_or_else(Refusal::label, |_| "ok")).collect();
        assert_eq!(
            labels,
            [
                "ok",
                "not_an_object",
                "bad_field",
                "no_name_nor_url",
                "too_deep",
                "bad_field",
                "bad_field",
                "number_too_large",
                "ok"
            ]
        );
    }

    #[test]
    fn an_envelope_may_be_longer_than_an_event() {
        let body = format!(r#"{{"key":"k","events":[{}]}}"#, vec![r#"{"name":"a","title":"t"}"#; 5_000].join(","));
        assert_eq!(decode(&body, false).expect("an envelope").events.len(), 5_000);
    }

    #[test]
    fn a_long_envelope_is_read_as_a_short_one() {
        let pad = format!("{}{}", "[".repeat(40), "]".repeat(40));
        for (members, expected) in [
            (r#""key":{},"events":[{"name":"a"},7]"#, &["ok", "not_an_object"][..]),
            (r#""events":[7],"events":[{"name":"a"}]"#, &["ok"]),
            (r#""events":7,"name":"a""#, &["too_deep"]),
        ] {
            let body = format!(r#"{{{members},"pad":{pad}}}"#);
            let decoded = decode(&body, false).expect("JSON");
            let label = |event: &Result<_, Refusal>| event.as_ref().map_or_else(Refusal::label, |_| "ok");
            assert_eq!(decoded.events.iter().map(label).collect::<Vec<_>>(), expected, "{members}");
        }
    }

    #[test]
    fn lines_are_events_of_their_own() {
        let decoded = decode("{\"name\":\"a\"}\nnonsense\n{\"name\":\"b\"}", false).expect("lines");
        assert_eq!(decoded.events.iter().filter(|event| event.is_ok()).count(), 2);
        assert_eq!(decoded.events.len(), 3);
    }

    #[test]
    fn ids_that_a_float_would_change_are_refused() {
        assert_eq!(
            one(r#"{"name":"a","id":18446744073709551615}"#).expect("accepted").message_id.as_deref(),
            Some("18446744073709551615")
        );
        assert_eq!(
            one(r#"{"name":"a","id":123456789012345678901234567890}"#).map(|_| ()).unwrap_err().label(),
            "bad_field"
        );
    }

    #[test]
    fn too_many_events_are_told_and_not_kept() {
        let body = format!("[{}1]", "1,".repeat(EVENTS_MAX));
        assert_eq!(decode(&body, false).unwrap_err(), DecodeError::TooManyEvents(EVENTS_MAX + 1));
    }

    #[test]
    fn what_is_no_json_fails_whole() {
        assert_eq!(decode("  ", false).unwrap_err(), DecodeError::Empty);
        for body in ["[{\"name\":", "[1,", &"[".repeat(1_000_000)] {
            assert!(matches!(decode(body, false), Err(DecodeError::NotJson(_))), "{}", &body[..4]);
        }
    }

    #[test]
    fn times_no_calendar_holds_keep_their_text() {
        let event = one(r#"{"name":"a","timestamp":1e300}"#).expect("accepted");
        let time = event.timestamp.expect("a time");
        assert_eq!((time.at, time.raw), (None, "1e300"));
    }
}
