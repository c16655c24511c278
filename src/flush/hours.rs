//! Which hours a transaction wrote to: noted in `weir.touched`, in that same transaction, for rollups to recompute.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::journal::segment::Frames;
use crate::row::{self, TupleError};

const HOUR_S: i64 = 3_600;

/// Hours of `occurred_at`, in UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hours {
    /// Hours since 1970.
    hours: BTreeSet<i64>,
    /// Most events fall into the hour of the one before.
    latest: Option<i64>,
}

impl Hours {
    /// The hour that `at` falls into.
    pub fn note(&mut self, at: Timestamp) {
        let hour = at.as_second().div_euclid(HOUR_S);
        if self.latest != Some(hour) {
            self.latest = Some(hour);
            self.hours.insert(hour);
        }
    }

    /// Takes the hours of `other`, too.
    pub fn append(&mut self, other: &mut Self) {
        self.hours.append(&mut other.hours);
        self.latest = None;
    }

    /// The hours of all tuples of `frames`.
    pub fn of(frames: &Frames) -> Result<Self, TupleError> {
        let mut hours = Self::default();
        for frame in frames.iter() {
            for tuple in row::tuples(frame.tuples) {
                hours.note(row::occurred_at(tuple?)?);
            }
        }
        Ok(hours)
    }

    /// The starts of the hours, in order.
    pub fn starts(&self) -> Vec<SystemTime> {
        let start = |hour: &i64| {
            let since = Duration::from_secs((hour * HOUR_S).unsigned_abs());
            if *hour < 0 { SystemTime::UNIX_EPOCH - since } else { SystemTime::UNIX_EPOCH + since }
        };
        self.hours.iter().map(start).collect()
    }

    /// Hours since 1970 (UTC), in order.
    pub fn iter(&self) -> impl Iterator<Item = i64> {
        self.hours.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hour_is_named_once() {
        let mut hours = Hours::default();
        for time in ["2026-11-22T10:59:59.999Z", "2026-11-22T09:00:00Z", "2026-11-22T10:00:00Z", "1969-12-31T23:30:00Z"]
        {
            hours.note(time.parse().expect("a time"));
        }
        let starts: Vec<String> =
            hours.starts().into_iter().map(|at| Timestamp::try_from(at).expect("a time").to_string()).collect();
        assert_eq!(starts, ["1969-12-31T23:00:00Z", "2026-11-22T09:00:00Z", "2026-11-22T10:00:00Z"]);
    }
}
