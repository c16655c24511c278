//! The decoders and what follows them to the row: each event is refused, or becomes a tuple that PostgreSQL takes and
//! that says what was sent.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use weir::Config;
use weir::decode::{DecodeError, Decoded, EVENTS_MAX, mend_escapes, native as decoder, pixel as pixel_decoder};
use weir::enrich::place::Places;
use weir::enrich::user_agent::UserAgents;
use weir::enrich::visitor::Salts;
use weir::enrich::{Enricher, RequestFacts};
use weir::event::Event;
use weir::metrics::Metrics;
use weir::row::{self, COLUMNS, Kind};
use weir::sources::{KeyKind, WriteKey};

/// Members of an event that have a meaning; the rest is kept in `context`.
const KNOWN: [&str; 23] = [
    "type",
    "name",
    "id",
    "timestamp",
    "sent_at",
    "visitor_id",
    "user_id",
    "session_id",
    "url",
    "title",
    "referrer",
    "language",
    "screen",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "user_agent",
    "ip",
    "properties",
    "context",
    "key",
];
/// Members that become columns as they are.
const COPIED: [&str; 13] = [
    "name",
    "visitor_id",
    "user_id",
    "session_id",
    "url",
    "title",
    "referrer",
    "screen",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
];
/// What an anonymous row must not have.
const PERSONAL: [&str; 4] = ["visitor_id", "user_id", "session_id", "ip"];
/// Microseconds from PostgreSQL's epoch to where partitions can lie: the years 2000 to 2200, with some room before.
const STORED_US: std::ops::Range<i64> = -1_000_000_000_000_000..6_400_000_000_000_000;

struct Stage {
    enricher: Enricher,
    request: RequestFacts<'static>,
}

static STAGE: LazyLock<Stage> = LazyLock::new(|| Stage {
    enricher: Enricher {
        privacy: Config::default().privacy,
        user_agents: UserAgents::start(None, 1, &Metrics::new()).expect("built-in patterns"),
        places: Arc::new(Places::open(None).expect("no file")),
        salts: Arc::new(Salts::new().expect("random bytes")),
    },
    request: RequestFacts {
        received_at: "2026-11-22T12:00:00Z".parse().expect("a time"),
        ip: Some(IpAddr::from([203, 0, 113, 77])),
        user_agent: Some("curl/8"),
        accept_language: Some("de-CH,de;q=0.9"),
        ..RequestFacts::default()
    },
});

/// A body of `POST /v1/events`, as JSON and as lines.
pub fn native(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let text = mended(text);
    for lines in [false, true] {
        let decoded = decoder::decode(&text, lines);
        check_count(&text, lines, &decoded);
        let Ok(decoded) = decoded else {
            continue;
        };
        let again = decoder::decode(&text, lines).expect("decoded before");
        assert_eq!(decoded.key, again.key);
        assert_eq!(decoded.events.len(), again.events.len());
        let mut sent = sent_objects(&text, lines).into_iter();
        for (event, again) in decoded.events.iter().zip(&again.events) {
            let sent = sent.next();
            match (event, again) {
                (Ok(event), Ok(again)) => check_event(event, again, sent.flatten().as_ref()),
                (Err(refusal), Err(again)) => assert_eq!(refusal, again),
                _ => panic!("taken once and refused once"),
            }
        }
    }
}

/// The query of `GET /v1/pixel.gif`; the page's address may follow in a line of its own.
pub fn pixel(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (query, referer) = text.split_once('\n').map_or((&*text, None), |(query, referer)| (query, Some(referer)));
    // As `HeaderValue::to_str` lets through.
    let referer = referer.filter(|referer| referer.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte)));
    let json = pixel_decoder::to_json(query, referer);
    let sent: Value = serde_json::from_str(&json).expect("an object");
    let decoded = decoder::decode(&json, false).expect("an event");
    assert_eq!(decoded.events.len(), 1);
    if let Ok(event) = &decoded.events[0] {
        check_event(event, event, sent.as_object());
    }
}

/// The text with the escapes that PostgreSQL cannot hold replaced, and nothing else changed.
fn mended(text: &str) -> Cow<'_, str> {
    let (mended, count) = mend_escapes(text);
    assert!(matches!((count, &mended), (0, Cow::Borrowed(_)) | (1.., Cow::Owned(_))));
    assert_eq!(mend_escapes(&mended), (Cow::Borrowed(mended.as_ref()), 0), "once is enough");
    if let Ok(before) = serde_json::from_str::<Value>(text) {
        let after = serde_json::from_str(&mended).expect("still JSON");
        assert!(equal_but_for_nul(&before, &after), "{before} became {after}");
    }
    mended
}

fn equal_but_for_nul(before: &Value, after: &Value) -> bool {
    let mend = |text: &str| text.replace('\0', "\u{fffd}");
    match (before, after) {
        (Value::String(before), Value::String(after)) => mend(before) == *after,
        (Value::Array(before), Value::Array(after)) => {
            before.len() == after.len() && before.iter().zip(after).all(|(b, a)| equal_but_for_nul(b, a))
        }
        (Value::Object(before), Value::Object(after)) => {
            // Fewer: names became equal, and one of them stays.
            let same = |(name, value): (&String, &Value)| {
                after.get(&mend(name)).is_some_and(|after| equal_but_for_nul(value, after))
            };
            after.len() < before.len() || before.iter().all(same)
        }
        _ => before == after,
    }
}

/// What a plain reading of the body finds, where it finds JSON: events, each an object or something else.
fn plain_events(text: &str) -> Option<Vec<Value>> {
    match serde_json::from_str(text).ok()? {
        Value::Array(events) => Some(events),
        Value::Object(mut event) => match event.remove("events") {
            Some(Value::Array(events)) => Some(events),
            Some(other) => {
                event.insert("events".to_owned(), other);
                Some(vec![event.into()])
            }
            None => Some(vec![event.into()]),
        },
        _ => None,
    }
}

fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').map(str::trim_ascii).filter(|line| !line.is_empty())
}

/// Every event sent is accounted for.
fn check_count(text: &str, lines: bool, decoded: &Result<Decoded<'_>, DecodeError>) {
    let count = if lines { Some(lines_of(text).count()) } else { plain_events(text).map(|events| events.len()) };
    match (count, decoded) {
        (None, _) => {}
        (Some(0), decoded) => assert!(matches!(decoded, Err(DecodeError::Empty)), "{decoded:?}"),
        (Some(1..=EVENTS_MAX), decoded) => {
            assert_eq!(decoded.as_ref().map(|decoded| decoded.events.len()).ok(), count, "{decoded:?}");
        }
        (Some(count), decoded) => {
            assert_eq!(decoded.as_ref().err(), Some(&DecodeError::TooManyEvents(count)));
        }
    }
}

/// The events as `serde_json` reads them; none where it does not, for example because a number is no float.
fn sent_objects(text: &str, lines: bool) -> Vec<Option<Map<String, Value>>> {
    let object = |value| if let Value::Object(object) = value { Some(object) } else { None };
    if lines {
        lines_of(text).map(|line| serde_json::from_str(line).ok().and_then(object)).collect()
    } else {
        plain_events(text).unwrap_or_default().into_iter().map(object).collect()
    }
}

/// An accepted event, decoded twice, and what was sent.
fn check_event(event: &Event<'_>, again: &Event<'_>, sent: Option<&Map<String, Value>>) {
    for kind in [KeyKind::Public, KeyKind::Secret] {
        let row = row_of(event, kind, &STAGE.request);
        if event.message_id.is_some() {
            assert_eq!(row["event_id"], row_of(again, kind, &STAGE.request)["event_id"], "a retry is told by its id");
        }
        if let Some(sent) = sent {
            check_kept(sent, &row, kind);
        }
    }
    let silent = RequestFacts { global_privacy_control: true, ..STAGE.request.clone() };
    let row = row_of(event, KeyKind::Public, &silent);
    assert!(PERSONAL.iter().all(|column| !row.contains_key(*column)), "an anonymous row has {row:?}");
}

fn row_of(event: &Event<'_>, kind: KeyKind, request: &RequestFacts<'_>) -> Map<String, Value> {
    let key = WriteKey::new("web".into(), kind, Arc::new([]));
    let mut tuple = Vec::new();
    let (submitted, _) = STAGE.enricher.encode(event, &key, request, None, &mut tuple).expect("encoded");
    assert_eq!(row::tuple_length(&tuple), Ok(tuple.len()));
    assert_eq!(submitted.tuple_bytes as usize, tuple.len());
    assert_eq!(row::event_id(&tuple), Ok(submitted.id));
    check_fields(&tuple);
    row::to_json(&tuple).expect("a tuple")
}

/// Each field is one that PostgreSQL's `recv` functions take. Reads the bytes itself.
fn check_fields(tuple: &[u8]) {
    let mut rest = &tuple[2..];
    for (name, kind) in COLUMNS {
        let (length, after) = rest.split_first_chunk().expect("a length");
        let length = i32::from_be_bytes(*length);
        rest = after;
        if length == -1 {
            assert!(
                !matches!(name, "event_id" | "occurred_at" | "received_at" | "source" | "kind" | "is_bot"),
                "{name}"
            );
            continue;
        }
        let (field, after) = rest.split_at(usize::try_from(length).expect("no other negative length"));
        rest = after;
        match kind {
            Kind::Uuid => assert_eq!(field.len(), 16),
            Kind::Bool => assert!(matches!(field, [0 | 1])),
            Kind::Time => {
                let us = i64::from_be_bytes(field.try_into().expect("8 bytes"));
                assert!(STORED_US.contains(&us), "{name} is {us}");
            }
            Kind::Text => {
                let text = std::str::from_utf8(field).expect("UTF-8");
                assert!(!text.contains('\0'), "{name} is {text:?}");
            }
            Kind::Inet => match field {
                [2, bits, 0, 4, address @ ..] => assert!(*bits <= 32 && address.len() == 4),
                [3, bits, 0, 16, address @ ..] => assert!(*bits <= 128 && address.len() == 16),
                _ => panic!("{name} is {field:?}"),
            },
            Kind::Json => {
                let (version, json) = field.split_first().expect("a version");
                assert_eq!(*version, 1);
                check_json(std::str::from_utf8(json).expect("UTF-8"));
            }
        }
    }
    assert!(rest.is_empty());
}

/// An object that `jsonb` takes.
fn check_json(json: &str) {
    assert!(json.starts_with('{'), "{json}");
    serde_json::from_str::<IgnoredAny>(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert!(!json.bytes().any(|byte| byte < b' ' && !byte.is_ascii_whitespace()));
    let mut bytes = json.bytes();
    let mut is_high = false;
    while let Some(byte) = bytes.next() {
        let escaped = (byte == b'\\').then(|| bytes.next().expect("an escape"));
        let unit = (escaped == Some(b'u')).then(|| {
            let hex: String = bytes.by_ref().take(4).map(char::from).collect();
            u16::from_str_radix(&hex, 16).expect("four digits")
        });
        let is_low = matches!(unit, Some(0xdc00..=0xdfff));
        assert_eq!(is_high, is_low, "half of a surrogate pair: {json}");
        assert_ne!(unit, Some(0), "an escaped NUL: {json}");
        is_high = matches!(unit, Some(0xd800..=0xdbff));
    }
}

/// Nothing of what was sent is lost or altered.
fn check_kept(sent: &Map<String, Value>, row: &Map<String, Value>, kind: KeyKind) {
    for member in COPIED {
        match sent.get(member) {
            Some(Value::String(text)) if !text.is_empty() => assert_eq!(row[member], *text, "{member}"),
            Some(Value::Bool(value)) => assert_eq!(row[member], value.to_string(), "{member}"),
            Some(Value::Number(number)) if !number.is_f64() => assert_eq!(row[member], number.to_string(), "{member}"),
            Some(Value::Number(_)) => assert!(row.contains_key(member), "{member}"),
            // The address stands in for it, or the URL.
            _ if member == "visitor_id" || member.starts_with("utm_") => {}
            _ => assert_eq!(row.get(member), None, "{member}"),
        }
    }
    if let Some(Value::String(sent_kind)) = sent.get("type")
        && !sent_kind.is_empty()
    {
        assert_eq!(row["kind"], *sent_kind);
    }
    assert_eq!(row.get("properties"), sent.get("properties").filter(|value| !value.is_null()));

    let context = row.get("context").cloned().unwrap_or_default();
    if let Some(Value::Object(own)) = sent.get("context") {
        for (name, value) in own {
            assert_eq!(context.get(name), Some(value), "the client's context, {name}");
        }
    }
    let in_extra = |name: &str, value: &Value| {
        let extras = context.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("extra"));
        extras.into_iter().any(|(_, extra)| extra.get(name) == Some(value))
    };
    for (name, value) in sent.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str())) {
        assert!(context.get(name) == Some(value) || in_extra(name, value), "{name} is lost: {context}");
    }
    for (name, column) in [("timestamp", "occurred_at"), ("sent_at", "sent_at")] {
        let Some(value) = sent.get(name).filter(|value| !value.is_null()) else {
            continue;
        };
        let is_kept = context.get(name) == Some(value) || in_extra(name, value);
        assert!(is_kept || is_time(value, row.get(column)), "{name} is lost ({kind:?}): {value}, {row:?}");
    }
}

/// Whether the column holds the time that was sent.
fn is_time(sent: &Value, found: Option<&Value>) -> bool {
    let found = found.and_then(|found| found.as_str()?.parse::<Timestamp>().ok());
    match sent {
        Value::String(text) => {
            let sent = text.parse::<Timestamp>().ok().map(Timestamp::as_microsecond);
            found.map(Timestamp::as_microsecond) == sent
        }
        Value::Number(ms) => {
            found.zip(ms.as_f64()).is_some_and(|(found, ms)| (found.as_microsecond() as f64 / 1_000.0 - ms).abs() < 1.0)
        }
        _ => false,
    }
}
