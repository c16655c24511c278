//! Times as exports write them, for the one form that weir's decoders take.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::decode::object::{Texts, Value};

/// Numbers below are seconds, milliseconds, microseconds, else nanoseconds: each holds for the years 1973 to 5138.
const SECONDS_MAX: f64 = 1e11;
const MILLIS_MAX: f64 = 1e14;
const MICROS_MAX: f64 = 1e17;

/// The time that a value tells; without a time zone it is UTC. What is no time is returned as it is, for the decoder to
/// refuse.
pub fn read<'a>(value: Value<'a>, texts: &'a Texts) -> Value<'a> {
    let Some(text) = value.text() else { return value };
    if text.parse::<Timestamp>().is_ok() {
        return value;
    }
    parse(&text).map_or(value, |at| texts.value(at.to_string()))
}

pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return of_number(number);
    }
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let civil = ["UTC", "GMT"].iter().find_map(|zone| text.strip_suffix(zone)).unwrap_or(text).trim_end();
    let at: DateTime = civil.parse().ok()?;
    at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
}

fn of_number(number: f64) -> Option<Timestamp> {
    let micros = match number.abs() {
        size if size < SECONDS_MAX => number * 1e6,
        size if size < MILLIS_MAX => number * 1e3,
        size if size < MICROS_MAX => number,
        size if size.is_finite() => number / 1e3,
        _ => return None,
    };
    Timestamp::from_microsecond(micros.round() as i64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        for text in [
            "2023-11-14T22:13:20.5Z",
            "2023-11-14T23:13:20.5+01:00",
            "2023-11-14 22:13:20.5",
            "2023-11-14 22:13:20.500000 UTC",
            "2023-11-14 22:13:20.5+00",
            "1700000000.5",
            "1700000000500",
            "1700000000500000",
            "1700000000500000000",
        ] {
            assert_eq!(parse(text).map(|at| at.to_string()).as_deref(), Some("2023-11-14T22:13:20.5Z"), "{text}");
        }
        assert_eq!(parse("2023-11-14").map(|at| at.to_string()).as_deref(), Some("2023-11-14T00:00:00Z"));
        for text in ["", "yesterday", "14.11.2023", "NaN", "inf"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
