//! A JSON value as a column's text in PostgreSQL's COPY format.
//!
//! Columns are separated by tabs and rows by line feeds; backslash, tab, line feed and carriage return are escaped by a
//! backslash, and `\N` is null (PostgreSQL's documentation of COPY, "Text Format").

use std::borrow::Cow;
use std::io::Write;

use jiff::Timestamp;
use jiff::civil;
use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};
use memchr::memchr;

use super::types::{ColumnType, Given};

/// Null.
pub const NULL: &[u8] = b"\\N";
/// Beyond this, whole numbers written as floats are no longer what was meant.
const EXACT_FLOATS_MAX: f64 = 9_007_199_254_740_992.0;
/// PostgreSQL writes years from 1 on without a sign.
const YEARS: std::ops::RangeInclusive<i16> = 1..=9_999;

/// A value that its column cannot hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    pub given: Given,
    /// The narrowest type that could hold it.
    pub needs: ColumnType,
}

/// Appends the value, a JSON text, as `column`.
///
/// # Errors
/// The column cannot hold it; then nothing was appended.
pub fn append(row: &mut Vec<u8>, json: &str, column: ColumnType) -> Result<(), Misfit> {
    if json == "null" {
        row.extend_from_slice(NULL);
        return Ok(());
    }
    match column {
        ColumnType::Jsonb => {
            escape(row, json);
            Ok(())
        }
        ColumnType::Text => {
            match text_of(json) {
                Some(text) => escape(row, &text),
                // A number or an object where a text was promised: what it says is kept.
                None => escape(row, json),
            }
            Ok(())
        }
        ColumnType::Boolean => match json {
            "true" | "false" => {
                row.extend_from_slice(json.as_bytes());
                Ok(())
            }
            _ => Err(misfit(json)),
        },
        ColumnType::Bigint => append_integer(row, json),
        ColumnType::Numeric => match given(json) {
            Given::Integer | Given::Number => {
                row.extend_from_slice(json.as_bytes());
                Ok(())
            }
            _ => match number_of(json) {
                Some(number) => append(row, number, column),
                None => Err(misfit(json)),
            },
        },
        ColumnType::Timestamptz => {
            let text = text_of(json).ok_or_else(|| misfit(json))?;
            // Writing to memory does not fail.
            if let Some(time) = time_of(&text) {
                let _ = write!(row, "{time}");
            } else {
                let (time, offset) = last_of_9999(&text).ok_or_else(|| misfit(json))?;
                let _ = write!(row, "{time}{offset}");
            }
            Ok(())
        }
        ColumnType::Date => append_date(row, json),
    }
}

fn append_integer(row: &mut Vec<u8>, json: &str) -> Result<(), Misfit> {
    match given(json) {
        Given::Integer if json.parse::<i64>().is_ok() => row.extend_from_slice(json.as_bytes()),
        Given::Number => {
            // 1.0 is an integer (JSON Schema, "integer").
            let whole = json.parse::<f64>().ok().filter(|number| number.fract() == 0.0);
            let whole = whole.filter(|number| number.abs() <= EXACT_FLOATS_MAX).ok_or_else(|| misfit(json))?;
            let _ = write!(row, "{}", whole as i64);
        }
        Given::Integer => return Err(Misfit { given: Given::Integer, needs: ColumnType::Numeric }),
        _ => return number_of(json).map_or(Err(misfit(json)), |number| append_integer(row, number)),
    }
    Ok(())
}

fn append_date(row: &mut Vec<u8>, json: &str) -> Result<(), Misfit> {
    let text = text_of(json).ok_or_else(|| misfit(json))?;
    let date = match text.parse::<civil::Date>() {
        // The parser also takes dates with a time behind.
        Ok(date) if text.len() <= "2026-11-26".len() => Some(date),
        _ => {
            let time = match time_of(&text) {
                Some(time) => time.to_zoned(TimeZone::UTC).datetime(),
                None => last_of_9999(&text).filter(|(_, at)| *at == Offset::UTC).ok_or_else(|| misfit(json))?.0,
            };
            if time.time() != civil::Time::midnight() {
                return Err(Misfit { given: Given::Text, needs: ColumnType::Timestamptz });
            }
            Some(time.date())
        }
    };
    match date.filter(|date| YEARS.contains(&date.year())) {
        Some(date) => {
            let _ = write!(row, "{date}");
            Ok(())
        }
        None => Err(misfit(json)),
    }
}

/// A time: RFC 3339 with its offset kept in mind; without one it is UTC's, as taps of databases write them.
pub fn time_of(text: &str) -> Option<Timestamp> {
    let time = match text.parse::<Timestamp>() {
        Ok(time) => time,
        Err(_) => text.parse::<civil::DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    YEARS.contains(&time.to_zoned(TimeZone::UTC).year()).then_some(time)
}

/// The end of the year 9999, by which databases say "for ever" and which a `Timestamp` does not reach.
fn last_of_9999(text: &str) -> Option<(civil::DateTime, Offset)> {
    let pieces = Pieces::parse(text).ok()?;
    let time = pieces.time().unwrap_or_else(civil::Time::midnight);
    (pieces.date().year() == *YEARS.end())
        .then(|| (pieces.date().to_datetime(time), pieces.to_numeric_offset().unwrap_or(Offset::UTC)))
}

fn misfit(json: &str) -> Misfit {
    let given = given(json);
    let needs = match given {
        Given::Boolean => ColumnType::Boolean,
        Given::Integer if json.parse::<i64>().is_ok() => ColumnType::Bigint,
        Given::Integer | Given::Number => ColumnType::Numeric,
        Given::Text => ColumnType::Text,
        Given::Nested => ColumnType::Jsonb,
    };
    Misfit { given, needs }
}

/// What kind of value it is; not for null.
fn given(json: &str) -> Given {
    match json.as_bytes().first() {
        Some(b'"') => Given::Text,
        Some(b'{' | b'[') => Given::Nested,
        Some(b't' | b'f') => Given::Boolean,
        _ if json.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) => Given::Number,
        _ => Given::Integer,
    }
}

/// A JSON string's text; `None` for other values.
pub fn text_of(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(json).ok().map(Cow::Owned)
}

/// The number that a JSON string holds as JSON writes it: what is more than a number, as the zip code 01234, is none.
fn number_of(json: &str) -> Option<&str> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    let is_trimmed = inner.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && inner.ends_with(|last: char| last.is_ascii_digit());
    (is_trimmed && serde_json::from_str::<serde_json::Number>(inner).is_ok()).then_some(inner)
}

/// Appends text with COPY's escapes.
pub fn escape(row: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
        row.extend_from_slice(&rest[..at]);
        row.extend_from_slice(match rest[at] {
            b'\\' => b"\\\\",
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            _ => b"\\r",
        });
        rest = &rest[at + 1..];
    }
    row.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: &str, column: ColumnType) -> Result<String, Misfit> {
        let mut row = Vec::new();
        append(&mut row, json, column).map(|()| String::from_utf8(row).expect("text"))
    }

    #[test]
    fn values_as_columns() {
        for (json, column, expected) in [
            ("null", ColumnType::Bigint, r"\N"),
            ("7", ColumnType::Bigint, "7"),
            ("-9223372036854775808", ColumnType::Bigint, "-9223372036854775808"),
            ("7.0", ColumnType::Bigint, "7"),
            ("1e3", ColumnType::Bigint, "1000"),
            ("0.10000000000000000000000001", ColumnType::Numeric, "0.10000000000000000000000001"),
            ("18446744073709551616", ColumnType::Numeric, "18446744073709551616"),
            (r#""-12.50""#, ColumnType::Numeric, "-12.50"),
            (r#""12345678901234567890.123456789""#, ColumnType::Numeric, "12345678901234567890.123456789"),
            (r#""7""#, ColumnType::Bigint, "7"),
            ("true", ColumnType::Boolean, "true"),
            (r#""a\tb\\c\nd""#, ColumnType::Text, r"a\tb\\c\nd"),
            (r#""\\N""#, ColumnType::Text, r"\\N"),
            ("12", ColumnType::Text, "12"),
            (r#"{"a":1}"#, ColumnType::Text, r#"{"a":1}"#),
            (r#"{"a":"\n"}"#, ColumnType::Jsonb, r#"{"a":"\\n"}"#),
            (r#""x""#, ColumnType::Jsonb, r#""x""#),
            (r#""2026-01-01T00:00:00+05:00""#, ColumnType::Timestamptz, "2025-12-31T19:00:00Z"),
            (r#""2026-01-01T00:00:00.123456Z""#, ColumnType::Timestamptz, "2026-01-01T00:00:00.123456Z"),
            (r#""2017-01-01T00:00:00.000+0000""#, ColumnType::Timestamptz, "2017-01-01T00:00:00Z"),
            (r#""2026-01-01 10:00:00""#, ColumnType::Timestamptz, "2026-01-01T10:00:00Z"),
            (r#""2026-01-01""#, ColumnType::Timestamptz, "2026-01-01T00:00:00Z"),
            (r#""9999-12-31T23:59:59.999999+00:00""#, ColumnType::Timestamptz, "9999-12-31T23:59:59.999999+00"),
            (r#""9999-12-31 23:59:59""#, ColumnType::Timestamptz, "9999-12-31T23:59:59+00"),
            (r#""9999-12-31T00:00:00-05:30""#, ColumnType::Timestamptz, "9999-12-31T00:00:00-05:30"),
            (r#""9999-12-31T00:00:00Z""#, ColumnType::Date, "9999-12-31"),
            (r#""9999-12-31""#, ColumnType::Date, "9999-12-31"),
            (r#""2026-01-01""#, ColumnType::Date, "2026-01-01"),
            (r#""2026-01-01T00:00:00Z""#, ColumnType::Date, "2026-01-01"),
            (r#""2026-01-01T00:00:00""#, ColumnType::Date, "2026-01-01"),
        ] {
            assert_eq!(written(json, column).as_deref(), Ok(expected), "{json} as {column}");
        }
    }

    #[test]
    fn what_does_not_fit_says_what_would() {
        for (json, column, given, needs) in [
            ("9223372036854775808", ColumnType::Bigint, Given::Integer, ColumnType::Numeric),
            ("1.5", ColumnType::Bigint, Given::Number, ColumnType::Numeric),
            (r#""01""#, ColumnType::Bigint, Given::Text, ColumnType::Text),
            (r#""1 ""#, ColumnType::Bigint, Given::Text, ColumnType::Text),
            (r#""+1""#, ColumnType::Numeric, Given::Text, ColumnType::Text),
            (r#""1.""#, ColumnType::Numeric, Given::Text, ColumnType::Text),
            (r#""9223372036854775808""#, ColumnType::Bigint, Given::Integer, ColumnType::Numeric),
            ("1", ColumnType::Boolean, Given::Integer, ColumnType::Bigint),
            ("[1]", ColumnType::Timestamptz, Given::Nested, ColumnType::Jsonb),
            (r#""0000-00-00 00:00:00""#, ColumnType::Timestamptz, Given::Text, ColumnType::Text),
            (r#""tomorrow""#, ColumnType::Timestamptz, Given::Text, ColumnType::Text),
            (r#""""#, ColumnType::Date, Given::Text, ColumnType::Text),
            (r#""2026-01-01T10:00:00Z""#, ColumnType::Date, Given::Text, ColumnType::Timestamptz),
            (r#""-000001-01-01""#, ColumnType::Date, Given::Text, ColumnType::Text),
        ] {
            assert_eq!(written(json, column), Err(Misfit { given, needs }), "{json} as {column}");
        }
    }
}
