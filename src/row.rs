//! The row: an event in its final bytes, one COPY BINARY tuple of `analytics.events`.
//!
//! ```text
//! tuple  = i16 COLUMNS, field × COLUMNS          big endian, PostgreSQL's COPY BINARY
//! field  = i32 length (-1: NULL), bytes
//! ```
//!
//! Field encodings are those of PostgreSQL's binary `send` functions: `uuid` 16 bytes; `timestamptz` i64 microseconds
//! since 2000-01-01; `inet` family, prefix bits, 0, address length, address; `jsonb` the version byte 1, then text.
//! The tuple is made once, on the request's thread, before the journal; every later stage moves bytes.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Version of this tuple layout, written into every journal segment. Raise it when a column is appended.
pub const ROW_VERSION: u16 = 1;

/// The columns of a tuple, in the order of the table, with how each is encoded.
pub const COLUMNS: [(&str, Kind); 36] = [
    ("event_id", Kind::Uuid),
    ("occurred_at", Kind::Time),
    ("received_at", Kind::Time),
    ("sent_at", Kind::Time),
    ("source", Kind::Text),
    ("kind", Kind::Text),
    ("name", Kind::Text),
    ("visitor_id", Kind::Text),
    ("user_id", Kind::Text),
    ("session_id", Kind::Text),
    ("url", Kind::Text),
    ("host", Kind::Text),
    ("path", Kind::Text),
    ("query", Kind::Text),
    ("title", Kind::Text),
    ("referrer", Kind::Text),
    ("referrer_host", Kind::Text),
    ("utm_source", Kind::Text),
    ("utm_medium", Kind::Text),
    ("utm_campaign", Kind::Text),
    ("utm_term", Kind::Text),
    ("utm_content", Kind::Text),
    ("ip", Kind::Inet),
    ("country", Kind::Text),
    ("region", Kind::Text),
    ("city", Kind::Text),
    ("browser", Kind::Text),
    ("browser_version", Kind::Text),
    ("os", Kind::Text),
    ("os_version", Kind::Text),
    ("device", Kind::Text),
    ("is_bot", Kind::Bool),
    ("language", Kind::Text),
    ("screen", Kind::Text),
    ("properties", Kind::Json),
    ("context", Kind::Json),
];

/// How many of [`COLUMNS`] a tuple of version 1, 2, ... has.
const COLUMN_COUNTS: [usize; ROW_VERSION as usize] = [36];

const SOURCE_COLUMN: usize = 4;
const OCCURRED_AT_COLUMN: usize = 1;
/// Column count, then the length and bytes of `event_id`.
const EVENT_ID_OFFSET: usize = 2 + 4;
/// Seconds from 1970-01-01 to 2000-01-01, where PostgreSQL's time begins.
const POSTGRES_EPOCH_SECONDS: i64 = 946_684_800;
/// `AF_INET` as PostgreSQL writes it; IPv6 is one more.
const POSTGRES_AF_INET: u8 = 2;

/// How a column is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Uuid,
    Time,
    Text,
    Inet,
    Bool,
    Json,
}

/// A row of `analytics.events`, one field a column.
#[derive(Debug, Clone, Default)]
pub struct Row<'a> {
    pub event_id: Uuid,
    pub occurred_at: Timestamp,
    pub received_at: Timestamp,
    pub sent_at: Option<Timestamp>,
    pub source: &'a str,
    pub kind: &'a str,
    pub name: Option<&'a str>,
    pub visitor_id: Option<&'a str>,
    pub user_id: Option<&'a str>,
    pub session_id: Option<&'a str>,
    pub url: Option<&'a str>,
    pub host: Option<&'a str>,
    pub path: Option<&'a str>,
    pub query: Option<&'a str>,
    pub title: Option<&'a str>,
    pub referrer: Option<&'a str>,
    pub referrer_host: Option<&'a str>,
    pub utm_source: Option<&'a str>,
    pub utm_medium: Option<&'a str>,
    pub utm_campaign: Option<&'a str>,
    pub utm_term: Option<&'a str>,
    pub utm_content: Option<&'a str>,
    /// The address and how many of its bits are meant.
    pub ip: Option<(IpAddr, u8)>,
    pub country: Option<&'a str>,
    pub region: Option<&'a str>,
    pub city: Option<&'a str>,
    pub browser: Option<&'a str>,
    pub browser_version: Option<&'a str>,
    pub os: Option<&'a str>,
    pub os_version: Option<&'a str>,
    pub device: Option<&'a str>,
    pub is_bot: bool,
    pub language: Option<&'a str>,
    pub screen: Option<&'a str>,
    /// JSON text.
    pub properties: Option<&'a str>,
    /// JSON text.
    pub context: Option<&'a str>,
}

impl Row<'_> {
    /// Appends the row's tuple to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(COLUMNS.len() as i16).to_be_bytes());
        put(out, self.event_id.as_bytes());
        put_time(out, Some(self.occurred_at));
        put_time(out, Some(self.received_at));
        put_time(out, self.sent_at);
        put(out, self.source.as_bytes());
        put(out, self.kind.as_bytes());
        for text in [
            self.name,
            self.visitor_id,
            self.user_id,
            self.session_id,
            self.url,
            self.host,
            self.path,
            self.query,
            self.title,
            self.referrer,
            self.referrer_host,
            self.utm_source,
            self.utm_medium,
            self.utm_campaign,
            self.utm_term,
            self.utm_content,
        ] {
            put_text(out, text);
        }
        put_inet(out, self.ip);
        for text in [
            self.country,
            self.region,
            self.city,
            self.browser,
            self.browser_version,
            self.os,
            self.os_version,
            self.device,
        ] {
            put_text(out, text);
        }
        put(out, &[u8::from(self.is_bot)]);
        put_text(out, self.language);
        put_text(out, self.screen);
        put_json(out, self.properties);
        put_json(out, self.context);
    }
}

// A field is at most a request's body long, which fits an i32 many times over.
fn put_length(out: &mut Vec<u8>, bytes: usize) {
    out.extend_from_slice(&(bytes as i32).to_be_bytes());
}

fn put_null(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-1i32).to_be_bytes());
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => put(out, text.as_bytes()),
        None => put_null(out),
    }
}

fn put_time(out: &mut Vec<u8>, at: Option<Timestamp>) {
    match at {
        Some(at) => put(out, &(at.as_microsecond() - POSTGRES_EPOCH_SECONDS * 1_000_000).to_be_bytes()),
        None => put_null(out),
    }
}

fn put_inet(out: &mut Vec<u8>, ip: Option<(IpAddr, u8)>) {
    match ip {
        None => put_null(out),
        Some((IpAddr::V4(address), bits)) => {
            put_length(out, 8);
            out.extend_from_slice(&[POSTGRES_AF_INET, bits, 0, 4]);
            out.extend_from_slice(&address.octets());
        }
        Some((IpAddr::V6(address), bits)) => {
            put_length(out, 20);
            out.extend_from_slice(&[POSTGRES_AF_INET + 1, bits, 0, 16]);
            out.extend_from_slice(&address.octets());
        }
    }
}

fn put_json(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => {
            put_length(out, text.len() + 1);
            out.push(1);
            out.extend_from_slice(text.as_bytes());
        }
        None => put_null(out),
    }
}

/// A tuple does not follow the layout at the top of this file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a tuple of analytics.events: {0}")]
pub struct TupleError(&'static str);

/// Where the first tuple of `bytes` ends.
pub fn tuple_length(bytes: &[u8]) -> Result<usize, TupleError> {
    let mut fields = Fields::new(bytes)?;
    for _ in 0..fields.count {
        fields.next_field()?;
    }
    Ok(fields.at)
}

/// The tuples of `bytes`, one after the other; ends behind the first that is none.
pub fn tuples(bytes: &[u8]) -> impl Iterator<Item = Result<&[u8], TupleError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        // A tuple's length never exceeds what it was read from.
        let split = tuple_length(rest).map(|length| rest.split_at(length));
        rest = split.as_ref().map_or(&[], |(_, rest)| rest);
        Some(split.map(|(tuple, _)| tuple))
    })
}

/// The id of a tuple's event.
pub fn event_id(tuple: &[u8]) -> Result<Uuid, TupleError> {
    let id = tuple.get(EVENT_ID_OFFSET..EVENT_ID_OFFSET + 16).ok_or(TupleError("too short"))?;
    Uuid::from_slice(id).map_err(|_| TupleError("bad event id"))
}

/// The source of a tuple's event.
pub fn source(tuple: &[u8]) -> Result<&str, TupleError> {
    let field = Fields::new(tuple)?.nth(SOURCE_COLUMN)?.ok_or(TupleError("no source"))?;
    std::str::from_utf8(field).map_err(|_| TupleError("source is not UTF-8"))
}

/// When a tuple's event occurred.
pub fn occurred_at(tuple: &[u8]) -> Result<Timestamp, TupleError> {
    let field = Fields::new(tuple)?.nth(OCCURRED_AT_COLUMN)?.ok_or(TupleError("no time"))?;
    decode_time(field)
}

/// The tuple as a JSON object a person can read: what would be, or was to be, stored. Nulls are left out.
pub fn to_json(tuple: &[u8]) -> Result<Map<String, Value>, TupleError> {
    let mut fields = Fields::new(tuple)?;
    let mut object = Map::new();
    for (name, kind) in COLUMNS.iter().take(fields.count) {
        if let Some(field) = fields.next_field()? {
            object.insert((*name).to_owned(), decode_field(*kind, field)?);
        }
    }
    Ok(object)
}

fn decode_field(kind: Kind, field: &[u8]) -> Result<Value, TupleError> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| TupleError("text is not UTF-8"));
    Ok(match kind {
        Kind::Uuid => Uuid::from_slice(field).map_err(|_| TupleError("bad uuid"))?.to_string().into(),
        Kind::Time => decode_time(field)?.to_string().into(),
        Kind::Text => text(field)?.into(),
        Kind::Inet => decode_inet(field)?.into(),
        Kind::Bool => (field == [1]).into(),
        Kind::Json => {
            let text = text(field.get(1..).unwrap_or_default())?;
            // Numbers that serde_json cannot hold are shown as they were sent.
            serde_json::from_str(text).unwrap_or_else(|_| json!(text))
        }
    })
}

fn decode_time(field: &[u8]) -> Result<Timestamp, TupleError> {
    let bytes = field.try_into().map_err(|_| TupleError("bad time"))?;
    let micros = i64::from_be_bytes(bytes).checked_add(POSTGRES_EPOCH_SECONDS * 1_000_000);
    micros.and_then(|micros| Timestamp::from_microsecond(micros).ok()).ok_or(TupleError("bad time"))
}

fn decode_inet(field: &[u8]) -> Result<String, TupleError> {
    let bad = TupleError("bad inet");
    let (&[family, bits, _, _], address) = field.split_first_chunk().ok_or(bad)?;
    let address: IpAddr = if family == POSTGRES_AF_INET {
        <[u8; 4]>::try_from(address).map_err(|_| TupleError("bad inet"))?.into()
    } else {
        <[u8; 16]>::try_from(address).map_err(|_| TupleError("bad inet"))?.into()
    };
    let whole = if address.is_ipv4() { 32 } else { 128 };
    Ok(if bits == whole { address.to_string() } else { format!("{address}/{bits}") })
}

/// The columns of a tuple of layout `version`: later ones were appended since.
pub fn columns(version: u16) -> &'static [(&'static str, Kind)] {
    let count = COLUMN_COUNTS.get(usize::from(version).wrapping_sub(1)).copied().unwrap_or(COLUMNS.len());
    &COLUMNS[..count]
}

/// Walks the fields of one tuple.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    count: usize,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, TupleError> {
        let count = bytes.first_chunk().map(|count| i16::from_be_bytes(*count)).ok_or(TupleError("too short"))?;
        match usize::try_from(count) {
            Ok(count @ 1..=COLUMNS_MAX) => Ok(Self { bytes, at: 2, count }),
            _ => Err(TupleError("bad column count")),
        }
    }

    fn next_field(&mut self) -> Result<Option<&'a [u8]>, TupleError> {
        let rest = self.bytes.get(self.at..).ok_or(TupleError("cut short"))?;
        let (length, rest) = rest.split_first_chunk().ok_or(TupleError("cut short"))?;
        self.at += 4;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            return Ok(None);
        };
        let field = rest.get(..length).ok_or(TupleError("cut short"))?;
        self.at += length;
        Ok(Some(field))
    }

    fn nth(mut self, column: usize) -> Result<Option<&'a [u8]>, TupleError> {
        for _ in 0..column {
            self.next_field()?;
        }
        self.next_field()
    }
}

/// No table has more columns.
const COLUMNS_MAX: usize = 1_600;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Row<'static> {
        Row {
            event_id: Uuid::from_u128(7),
            occurred_at: "2026-11-22T10:00:00.123456Z".parse().expect("a time"),
            received_at: "2026-11-22T10:00:01Z".parse().expect("a time"),
            source: "web",
            kind: "page",
            url: Some("https://a.example/é"),
            ip: Some((IpAddr::from([203, 0, 113, 0]), 24)),
            is_bot: true,
            properties: Some(r#"{"a":[1,null]}"#),
            ..Row::default()
        }
    }

    #[test]
    fn a_tuple_reads_back() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        let end = bytes.len();
        sample().encode(&mut bytes);
        assert_eq!(tuple_length(&bytes), Ok(end));
        let tuple = &bytes[..end];
        assert_eq!(event_id(tuple), Ok(Uuid::from_u128(7)));
        assert_eq!(source(tuple), Ok("web"));
        assert_eq!(occurred_at(tuple), Ok(sample().occurred_at));
        insta::assert_json_snapshot!(to_json(tuple).expect("a tuple"));
    }

    #[test]
    fn every_version_has_its_columns() {
        let mut before = 0;
        for version in 1..=ROW_VERSION {
            let columns = columns(version).len();
            assert!(columns > before, "columns are only ever appended");
            before = columns;
        }
        assert_eq!(before, COLUMNS.len());
    }

    #[test]
    fn a_cut_tuple_is_told() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        for length in 0..bytes.len() {
            assert!(tuple_length(&bytes[..length]).is_err(), "{length}");
            let _ = to_json(&bytes[..length]);
        }
    }
}
