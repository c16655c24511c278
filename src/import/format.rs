//! What a file is, told by how it begins.

use std::borrow::Cow;

use clap::ValueEnum;

use super::split::Shape;
use crate::decode::object::{Json, Object};

/// Whose export it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// weir's own events, and objects with usual names: one a line, or an array.
    Ndjson,
    /// A table with a header.
    Csv,
    /// The archive of Segment's S3 destination.
    Segment,
    /// PostHog's batch exports, and its events API's results.
    Posthog,
    /// Rows of Plausible's `events_v2`, as CSV or JSON.
    Plausible,
    /// Umami's `website_event`, as CSV or JSON.
    Umami,
    /// Google Analytics 4's export to `BigQuery`, as JSON.
    Ga4,
}

/// A file that cannot be imported as it is, and what can be done.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unsuitable {
    #[error(
        "these are Plausible's sums of a day, and no events: no visitor or page view can be made of them again. Of a Plausible of \
         your own, export events_v2 from its ClickHouse (docs/import.md has the command); of sums, make a table with \\copy"
    )]
    Sums,
    #[error("this is Parquet: let the product export JSON Lines or CSV, or convert it (docs/import.md)")]
    Parquet,
    #[error("this is a ZIP archive: unpack it, and import the directory")]
    Zip,
    #[error("{0} exports are JSON, and this is not")]
    NotJson(&'static str),
    #[error("the first line is no header of a table: {0}")]
    NoHeader(String),
    #[error("--map names {0}, and the header has no such column")]
    NoColumn(String),
}

/// How a file is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub format: Format,
    pub shape: Shape,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Segment => "segment",
            Self::Posthog => "posthog",
            Self::Plausible => "plausible",
            Self::Umami => "umami",
            Self::Ga4 => "ga4",
        }
    }

    /// Whether records may lack an id.
    pub fn counts_equal(self) -> bool {
        matches!(self, Self::Ndjson | Self::Csv | Self::Plausible | Self::Ga4)
    }

    fn is_table(self) -> bool {
        matches!(self, Self::Csv | Self::Plausible | Self::Umami)
    }
}

/// How to read what begins with `head`; `wanted` is what the caller knows of it.
pub fn detect(head: &[u8], wanted: Option<Format>) -> Result<Reading, Unsuitable> {
    if head.starts_with(b"PAR1") {
        return Err(Unsuitable::Parquet);
    }
    if head.starts_with(b"PK\x03\x04") {
        return Err(Unsuitable::Zip);
    }
    let text = String::from_utf8_lossy(head);
    let text = text.trim_ascii_start();
    let shape = match text.as_bytes().first() {
        Some(b'[') => Shape::Array,
        // Nothing at all is no table without a header either.
        Some(b'{') | None => Shape::Lines,
        Some(_) if wanted == Some(Format::Ndjson) => Shape::Lines,
        Some(_) => Shape::Csv { delimiter: delimiter_of(first_line(text)) },
    };
    if let Shape::Csv { delimiter } = shape {
        let names: Vec<String> = first_line(text)
            .split(char::from(delimiter))
            .map(|name| name.trim().trim_matches('"').to_owned())
            .collect();
        let format = match wanted {
            Some(format) if format.is_table() => format,
            Some(format) => return Err(Unsuitable::NotJson(format.name())),
            None => format_of_header(&names),
        };
        if has_sums(&names) && matches!(wanted, None | Some(Format::Plausible)) {
            return Err(Unsuitable::Sums);
        }
        return Ok(Reading { format, shape });
    }
    let format = wanted.filter(|wanted| *wanted != Format::Csv).unwrap_or_else(|| format_of_object(text));
    Ok(Reading { format, shape })
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn delimiter_of(header: &str) -> u8 {
    let count = |delimiter: &u8| header.bytes().filter(|byte| byte == delimiter).count();
    // Of equal counts the last: a comma.
    *b"|\t;,".iter().max_by_key(|delimiter| count(delimiter)).unwrap_or(&b',')
}

/// Days with how much happened: Plausible's "Export data".
fn has_sums(names: &[String]) -> bool {
    let has = |name: &str| names.iter().any(|own| own == name);
    has("date") && has("visitors") && !has("timestamp")
}

fn format_of_header(names: &[String]) -> Format {
    let has = |name: &str| names.iter().any(|own| own == name);
    if has("session_id") && has("url_path") && has("event_type") {
        Format::Umami
    } else if has("site_id") && has("pathname") && has("hostname") && has("timestamp") {
        Format::Plausible
    } else {
        Format::Csv
    }
}

fn format_of_object(text: &str) -> Format {
    let first = text.trim_start_matches(|sign: char| sign == '[' || sign.is_ascii_whitespace());
    let first = serde_json::Deserializer::from_str(first).into_iter::<&serde_json::value::RawValue>().next();
    let object = first.and_then(Result::ok).and_then(|raw| Object::parse(Json::parse(raw.get()).ok()?).ok());
    let names: Vec<Cow<'_, str>> = object.into_iter().flat_map(Object::rest).map(|(name, _)| name).collect();
    let has = |name: &str| names.iter().any(|own| own == name);
    if has("event_timestamp") && has("event_name") {
        Format::Ga4
    } else if has("session_id") && has("url_path") && has("event_type") {
        Format::Umami
    } else if has("pathname") && has("hostname") && has("site_id") {
        Format::Plausible
    } else if has("type") && (has("messageId") || has("anonymousId") || has("originalTimestamp")) {
        Format::Segment
    } else if has("event") && has("distinct_id") && has("properties") {
        Format::Posthog
    } else {
        Format::Ndjson
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_how_they_begin() {
        let csv = |delimiter| Shape::Csv { delimiter };
        for (head, format, shape) in [
            (r#"{"name":"a","timestamp":1}"#, Format::Ndjson, Shape::Lines),
            (r#"  [ {"event":"a","distinct_id":"d","properties":{}} ]"#, Format::Posthog, Shape::Array),
            ("{\"type\":\"track\",\"messageId\":\"m\"}\n{", Format::Segment, Shape::Lines),
            (r#"{"event_timestamp":"1","event_name":"a"}"#, Format::Ga4, Shape::Lines),
            (r#"{"timestamp":"t","site_id":"1","hostname":"h","pathname":"/"}"#, Format::Plausible, Shape::Lines),
            ("timestamp;name;price", Format::Csv, csv(b';')),
            ("\"timestamp\",\"site_id\",\"hostname\",\"pathname\"", Format::Plausible, csv(b',')),
            ("website_id\tsession_id\turl_path\tevent_type", Format::Umami, csv(b'\t')),
            ("one\n1", Format::Csv, csv(b',')),
            ("", Format::Ndjson, Shape::Lines),
        ] {
            assert_eq!(detect(head.as_bytes(), None), Ok(Reading { format, shape }), "{head}");
        }
        let wanted = |head: &str, format| detect(head.as_bytes(), Some(format));
        assert_eq!(wanted("{\"a\":1}", Format::Ga4).map(|reading| reading.format), Ok(Format::Ga4));
        assert_eq!(wanted("a,b", Format::Segment), Err(Unsuitable::NotJson("segment")));
        for (head, reason) in [
            ("date,visitors,pageviews,bounces,visits,visit_duration", Unsuitable::Sums),
            ("\"date\",\"source\",\"visitors\"", Unsuitable::Sums),
            ("PAR1...", Unsuitable::Parquet),
            ("PK\x03\x04", Unsuitable::Zip),
        ] {
            assert_eq!(detect(head.as_bytes(), None), Err(reason), "{head}");
            assert!(detect(head.as_bytes(), Some(Format::Plausible)).is_err(), "{head}");
        }
    }
}
