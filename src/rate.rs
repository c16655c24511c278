//! How often something may happen: the generic cell rate algorithm, in the virtual scheduling form of ITU-T I.371, annex A.
//!
//! A bucket is one number, the theoretical arrival time: when the next event would come if all came evenly. An event may
//! come earlier than that by the tolerance, which makes the burst, and moves the time on by one interval. No timer, no
//! refill, and one compare-and-set an event.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const NS_PER_S: u64 = 1_000_000_000;

/// So many events a second, and so many at once after a silence.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    per_s: u32,
    interval_ns: u64,
    tolerance_ns: u64,
}

/// What one sender has used of a [`Rate`]: a theoretical arrival time. A new one is full.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Rate {
    /// `per_s` events a second, of which `burst_s` seconds' worth may come at once; none at all for 0, no limit.
    pub fn new(per_s: u32, burst_s: u32) -> Option<Self> {
        let interval_ns = NS_PER_S.checked_div(u64::from(per_s))?;
        let burst = (u64::from(per_s) * u64::from(burst_s)).max(1);
        Some(Self { per_s, interval_ns, tolerance_ns: interval_ns * (burst - 1) })
    }

    pub fn per_s(&self) -> u32 {
        self.per_s
    }

    /// Takes one event from `bucket`, or says how long until there is one. `now` counts from any fixed moment.
    pub fn take(&self, bucket: &Bucket, now: Duration) -> Result<(), Duration> {
        let now_ns = now.as_nanos() as u64;
        let next = |due_ns: u64| {
            let is_early = due_ns > now_ns + self.tolerance_ns;
            (!is_early).then(|| due_ns.max(now_ns) + self.interval_ns)
        };
        match bucket.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => Ok(()),
            Err(due_ns) => Err(Duration::from_nanos(due_ns.saturating_sub(now_ns + self.tolerance_ns))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_each_interval() {
        let rate = Rate::new(10, 2).expect("a limit");
        let bucket = Bucket::default();
        let start = Duration::from_secs(1_000);
        let passed = (0..100).filter(|_| rate.take(&bucket, start).is_ok()).count();
        assert_eq!(passed, 20);
        assert_eq!(rate.take(&bucket, start), Err(Duration::from_millis(100)));
        assert!(rate.take(&bucket, start + Duration::from_millis(99)).is_err());
        assert!(rate.take(&bucket, start + Duration::from_millis(100)).is_ok());
        assert!(rate.take(&bucket, start + Duration::from_millis(100)).is_err(), "one, not two");
        let passed = (0..100).filter(|_| rate.take(&bucket, start * 2).is_ok()).count();
        assert_eq!(passed, 20, "no more than the burst is ever saved up");
    }

    #[test]
    fn a_steady_rate_passes_whole() {
        let rate = Rate::new(1_000, 1).expect("a limit");
        let bucket = Bucket::default();
        let refused = (0..60_000).filter(|ms| rate.take(&bucket, Duration::from_millis(*ms)).is_err()).count();
        assert_eq!(refused, 0);
        // Twice the rate: half of it, and the burst once.
        let passed = (0..60_000).filter(|n| rate.take(&bucket, Duration::from_micros(60_000_000 + n * 500)).is_ok());
        assert!((30_000..=31_001).contains(&passed.count()));
    }

    #[test]
    fn nothing_is_no_limit_and_the_smallest_burst_is_one() {
        assert!(Rate::new(0, 10).is_none());
        let rate = Rate::new(1, 0).expect("a limit");
        let bucket = Bucket::default();
        assert!(rate.take(&bucket, Duration::ZERO).is_ok());
        assert!(rate.take(&bucket, Duration::ZERO).is_err());
    }

    #[test]
    fn threads_together_get_no_more_than_one_alone() {
        let rate = Rate::new(100, 10).expect("a limit");
        let bucket = Bucket::default();
        let passed: usize = std::thread::scope(|scope| {
            let count = || (0..1_000).filter(|_| rate.take(&bucket, Duration::from_secs(1)).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(passed, 1_000);
    }
}
