//! The clock as a parameter, so that tests own time.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// Where the collector reads the wall clock. Timers use the monotonic clock of the runtime instead.
pub trait Clock: Send + Sync {
    /// The current time, to the microsecond.
    fn now(&self) -> Timestamp;
}

/// The machine's clock, which never runs backwards here even if the machine's does.
#[derive(Debug, Default)]
pub struct SystemClock {
    latest_us: AtomicI64,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now_us = Timestamp::now().as_microsecond();
        let latest_us = self.latest_us.fetch_max(now_us, Ordering::Relaxed);
        Timestamp::from_microsecond(now_us.max(latest_us)).unwrap_or(Timestamp::MAX)
    }
}

/// Days since 1970-01-01 (UTC): the number of an events partition.
pub type Day = i32;

/// The day that `at` falls in, in UTC.
pub fn day_of(at: Timestamp) -> Day {
    const SECONDS_A_DAY: i64 = 86_400;
    // A `Timestamp` spans the years -9999 to 9999: the quotient always fits.
    at.as_second().div_euclid(SECONDS_A_DAY) as Day
}
