//! When something runs: at most so often, or by cron.

use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

/// More often than this, the runs' own upkeep is what they do.
const EVERY_S_MIN: i64 = 1;
/// After a failure: doubled from the first to the last.
const RETRY_FIRST_S: i64 = 10;
const RETRY_MAX_S: i64 = 3_600;

/// See the module.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// Views have none.
    Never,
    /// Seconds from one start to the next.
    Every(i64),
    Cron(Box<Cron>, TimeZone),
}

impl Schedule {
    /// Reads `5m` or cron's five fields, quoted or not.
    ///
    /// # Errors
    /// Why it is neither, for people.
    pub fn parse(text: &str, timezone: &str) -> Result<Self, String> {
        let text = text.trim().trim_matches(['\'', '"']).trim();
        if text.is_empty() {
            return Ok(Self::Never);
        }
        if text.starts_with('@') || text.split_whitespace().count() >= 5 {
            let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
            let cron = parser.parse(text).map_err(|error| error.to_string())?;
            let zone = TimeZone::get(timezone).map_err(|error| error.to_string())?;
            return Ok(Self::Cron(Box::new(cron), zone));
        }
        let span = Span::from_str(text).map_err(|_| "neither a length of time nor five fields".to_owned())?;
        let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours());
        match duration.map(|duration| duration.as_secs()) {
            Ok(seconds) if seconds >= EVERY_S_MIN => Ok(Self::Every(seconds)),
            _ => Err(format!("at least {EVERY_S_MIN} s, and no months")),
        }
    }

    /// When a run is due after one that started at `started`. Runs that were missed are one.
    pub fn next(&self, started: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::Every(seconds) => Timestamp::from_second(started.as_second().saturating_add(*seconds)).ok(),
            Self::Cron(cron, zone) => {
                let from: Zoned = started.to_zoned(zone.clone());
                cron.find_next_occurrence(&from, false).ok().map(|next| next.timestamp())
            }
        }
    }

    /// Whether a run is due at `now`, the last one having started at `started`, the `failures`-th in a row to fail.
    pub fn is_due(&self, started: Option<Timestamp>, failures: i32, now: Timestamp) -> bool {
        let Some(started) = started else { return !matches!(self, Self::Never) };
        if failures > 0 {
            let doublings = u32::try_from(failures - 1).unwrap_or(0).min(16);
            let wait_s = (RETRY_FIRST_S << doublings).min(RETRY_MAX_S);
            return now.as_second() - started.as_second() >= wait_s;
        }
        self.next(started).is_some_and(|next| next <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn lengths_of_time_and_cron_are_understood() {
        for (text, zone, next) in [
            ("5m", "UTC", "2026-03-29T00:35:00Z"),
            ("1 hour", "UTC", "2026-03-29T01:30:00Z"),
            ("'*/15 * * * *'", "UTC", "2026-03-29T00:45:00Z"),
            ("0 3 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z"),
            // Berlin has no half past two on this day.
            ("30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z"),
            ("0 9 * * 1", "America/New_York", "2026-03-30T13:00:00Z"),
        ] {
            let schedule = Schedule::parse(text, zone).expect("a schedule");
            assert_eq!(schedule.next(at("2026-03-29T00:30:00Z")), Some(at(next)), "{text} in {zone}");
        }
        for bad in ["5", "often", "61 * * * *", "* * * * * *", "0s", "1 month"] {
            assert!(Schedule::parse(bad, "UTC").is_err(), "{bad}");
        }
    }

    #[test]
    fn missed_runs_are_one_and_failures_are_tried_again_ever_later() {
        let nightly = Schedule::parse("0 3 * * *", "UTC").expect("a schedule");
        let (started, now) = (at("2026-11-20T03:00:01Z"), at("2026-11-26T12:00:00Z"));
        assert!(nightly.is_due(None, 0, now));
        assert!(nightly.is_due(Some(started), 0, now));
        assert!(!nightly.is_due(Some(now), 0, now + jiff::SignedDuration::from_secs(60)));
        for (failures, seconds) in [(1, 10), (2, 20), (5, 160), (100, 3_600)] {
            let after = |seconds| now + jiff::SignedDuration::from_secs(seconds);
            assert!(!nightly.is_due(Some(now), failures, after(seconds - 1)), "{failures}");
            assert!(nightly.is_due(Some(now), failures, after(seconds)), "{failures}");
        }
    }
}
