//! Singer's messages: one JSON object a line, as in the specification 0.3.0 (github.com/singer-io/getting-started).
//!
//! ```text
//! {"type":"SCHEMA","stream":"users","schema":{"properties":{"id":{"type":"integer"}}},"key_properties":["id"]}
//! {"type":"RECORD","stream":"users","record":{"id":1},"time_extracted":"2026-11-26T10:00:00Z","version":1}
//! {"type":"STATE","value":{"bookmarks":{"users":1}}}
//! {"type":"ACTIVATE_VERSION","stream":"users","version":1}
//! ```
//!
//! `type` may be written in any case. The last message is singer-python's: all rows of older versions are gone. `BATCH`, the
//! Meltano SDK's way to name files instead of rows, is refused: ignoring it would lose them. Types that nobody knows are
//! counted, as the specification asks.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// One line.
#[derive(Debug)]
pub enum Message<'a> {
    Schema { stream: Cow<'a, str>, schema: &'a str, key: Vec<String> },
    Record(Record<'a>),
    State(&'a str),
    ActivateVersion { stream: Cow<'a, str>, version: i64 },
    Batch,
    Other(Cow<'a, str>),
}

/// A row.
#[derive(Debug)]
pub struct Record<'a> {
    pub stream: Cow<'a, str>,
    /// An object.
    pub record: &'a str,
    pub version: Option<i64>,
    /// When the tap read it, as it says.
    pub extracted: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
    #[serde(default)]
    key_properties: Option<Vec<String>>,
    #[serde(borrow, default)]
    record: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(default)]
    version: Option<serde_json::Number>,
    #[serde(borrow, default)]
    time_extracted: Option<Cow<'a, str>>,
}

/// A member that is there, be it null: a STATE may be.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Why a line is no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub reason: String,
    /// Of what kind it says that it is, where others depend on it: whatever follows such a message means nothing without it.
    pub needed: Option<String>,
}

/// Reads one line.
///
/// # Errors
/// It is no message.
pub fn read(line: &str) -> Result<Message<'_>, Unreadable> {
    read_any(line).map_err(|reason| Unreadable { reason, needed: needed(line) })
}

fn needed(line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    let Kind { kind } = serde_json::from_str(line).ok()?;
    ["SCHEMA", "STATE", "ACTIVATE_VERSION", "BATCH"].contains(&kind.to_ascii_uppercase().as_str()).then_some(kind)
}

/// A whole number, also one that is written as a float.
fn whole(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| number.as_f64().filter(|float| float.fract() == 0.0).map(|float| float as i64))
}

fn read_any(line: &str) -> Result<Message<'_>, String> {
    let wire: Wire = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let version = wire.version.as_ref().and_then(whole);
    let lacks = |member: &str| format!("a {} has no {member}", wire.kind);
    let object = |raw: Option<&'_ RawValue>, member| match raw.map(RawValue::get) {
        Some(text) if text.starts_with('{') => Ok(()),
        _ => Err(format!("{}: an object is expected", lacks(member))),
    };
    if wire.kind.eq_ignore_ascii_case("RECORD") {
        object(wire.record, "record")?;
        let (Some(stream), Some(record)) = (wire.stream, wire.record) else {
            return Err("a RECORD has no stream".to_owned());
        };
        let record = record.get();
        return Ok(Message::Record(Record { stream, record, version, extracted: wire.time_extracted }));
    }
    if wire.kind.eq_ignore_ascii_case("STATE") {
        return Ok(Message::State(wire.value.ok_or_else(|| lacks("value"))?.get()));
    }
    if wire.kind.eq_ignore_ascii_case("SCHEMA") {
        object(wire.schema, "schema")?;
        let (Some(stream), Some(schema)) = (wire.stream, wire.schema) else {
            return Err("a SCHEMA has no stream".to_owned());
        };
        return Ok(Message::Schema { stream, schema: schema.get(), key: wire.key_properties.unwrap_or_default() });
    }
    if wire.kind.eq_ignore_ascii_case("ACTIVATE_VERSION") {
        let version = version.ok_or_else(|| lacks("version"))?;
        let stream = wire.stream.ok_or_else(|| "an ACTIVATE_VERSION has no stream".to_owned())?;
        return Ok(Message::ActivateVersion { stream, version });
    }
    if wire.kind.eq_ignore_ascii_case("BATCH") {
        return Ok(Message::Batch);
    }
    Ok(Message::Other(wire.kind))
}

/// The line with null for `NaN` and the infinities, which Python writes and JSON does not know; `None` if it has none.
pub fn without_nan(line: &str) -> Option<String> {
    const NO_NUMBERS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];
    let mut mended = String::new();
    let (mut copied, mut at, mut is_text) = (0, 0, false);
    let bytes = line.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'"' => is_text = !is_text,
            b'\\' if is_text => at += 1,
            b'N' | b'I' | b'-' if !is_text => {
                if let Some(found) = NO_NUMBERS.into_iter().find(|found| bytes[at..].starts_with(found.as_bytes())) {
                    mended.push_str(&line[copied..at]);
                    mended.push_str("null");
                    copied = at + found.len();
                    at = copied;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    (copied > 0).then(|| mended + &line[copied..])
}

/// An object's members in order, the values as they are written.
pub struct Members<'a>(pub Vec<(Cow<'a, str>, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<Name>()? {
            members.push((name.0, map.next_value::<&RawValue>()?.get()));
        }
        Ok(Members(members))
    }
}

/// Borrows unless it holds escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_in_any_case_and_with_strangers() {
        let read = |line| read(line).expect(line);
        assert!(matches!(
            read(r#"{"type":"record","stream":"a","record":{"b":1},"version":3,"new":[]}"#),
            Message::Record(Record { record: r#"{"b":1}"#, version: Some(3), .. })
        ));
        assert!(matches!(read(r#"{"type":"STATE","value":null}"#), Message::State("null")));
        assert!(
            matches!(read(r#"{"type":"Schema","stream":"a","schema":{}}"#), Message::Schema { key, .. } if key.is_empty())
        );
        assert!(matches!(read(r#"{"type":"BATCH"}"#), Message::Batch));
        assert!(matches!(read(r#"{"type":"CONTROL"}"#), Message::Other(kind) if kind == "CONTROL"));
    }

    #[test]
    fn what_is_no_message_is_told() {
        for (line, said) in [
            ("INFO: starting", "expected value"),
            ("{}", "type"),
            (r#"{"type":"RECORD","record":{}}"#, "no stream"),
            (r#"{"type":"RECORD","stream":"a"}"#, "no record"),
            (r#"{"type":"RECORD","stream":"a","record":[1]}"#, "an object is expected"),
            (r#"{"type":"RECORD","stream":"a","record":{"a":NaN}}"#, "expected"),
            (r#"{"type":"STATE"}"#, "no value"),
            (r#"{"type":"ACTIVATE_VERSION","stream":"a"}"#, "no version"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.reason.contains(said), "{line}: {error:?}");
        }
        let needed = |line| super::read(line).expect_err(line).needed;
        assert_eq!(
            needed(r#"{"type":"schema","stream":"a","schema":{},"key_properties":"id"}"#).as_deref(),
            Some("schema")
        );
        assert_eq!(needed(r#"{"type":"BATCH","version":"x"}"#).as_deref(), Some("BATCH"));
        assert_eq!(needed(r#"{"type":"RECORD","stream":"a"}"#), None);
        assert_eq!(needed("INFO: a SCHEMA"), None);
        assert!(matches!(
            read(r#"{"type":"ACTIVATE_VERSION","stream":"a","version":1.7e12}"#),
            Ok(Message::ActivateVersion { version: 1_700_000_000_000, .. })
        ));
    }

    #[test]
    fn what_python_writes_for_no_number_is_null() {
        let line = r#"{"a":NaN,"NaN":"NaN \" NaN","b":[-Infinity,Infinity],"c":-1,"d":"é"}"#;
        let mended = r#"{"a":null,"NaN":"NaN \" NaN","b":[null,null],"c":-1,"d":"é"}"#;
        assert_eq!(without_nan(line).as_deref(), Some(mended));
        assert_eq!(without_nan(mended), None);
        assert_eq!(without_nan("INFO: NaNé").as_deref(), Some("INFO: nullé"));
        assert_eq!(without_nan("\"\\"), None);
    }

    #[test]
    fn members_keep_their_text() {
        let members: Members = serde_json::from_str(r#"{"a":1.50,"b\n":[ 1 ],"c":"x"}"#).expect("an object");
        let expected = [("a", "1.50"), ("b\n", "[ 1 ]"), ("c", "\"x\"")];
        assert_eq!(members.0, expected.map(|(name, value)| (Cow::from(name), value)));
    }
}
