//! How much of the database's time rollups take while events wait for it: events come first.
//!
//! While the flush keeps up, rollups run as they are scheduled. While it is behind, the time of all runs together is a small
//! share of one connection's: on credit, so that a run is never cut off, and whoever has waited longest is next.

use std::time::{Duration, Instant};

/// Of one connection's time, while the flush is behind.
const BUSY_SHARE: f64 = 0.05;
/// What is saved up at most.
const CREDIT_MAX_S: f64 = 0.5;
/// The flush is behind when so many events wait for it: at the usual interval it is some tenths of a second's worth of what a
/// small machine can take.
pub const BUSY_EVENTS: u64 = 20_000;

/// See the module.
#[derive(Debug)]
pub struct Budget {
    credit_s: f64,
    since: Instant,
}

impl Budget {
    pub fn new(now: Instant) -> Self {
        Self { credit_s: CREDIT_MAX_S, since: now }
    }

    /// Whether a run may begin, so many events waiting for the flush.
    pub fn may_begin(&mut self, waiting: u64, now: Instant) -> bool {
        let earned_s = now.saturating_duration_since(self.since).as_secs_f64() * BUSY_SHARE;
        self.since = now;
        self.credit_s = (self.credit_s + earned_s).min(CREDIT_MAX_S);
        waiting < BUSY_EVENTS || self.credit_s > 0.0
    }

    /// A run took so long, so many events waiting at its end.
    pub fn spend(&mut self, took: Duration, waiting: u64) {
        if waiting >= BUSY_EVENTS {
            self.credit_s -= took.as_secs_f64();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_rare_while_events_wait_and_free_while_none_do() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut budget = Budget::new(start);
        let mut taken = Duration::ZERO;
        for second in 0..1_000 {
            if budget.may_begin(BUSY_EVENTS, at(second)) {
                budget.spend(Duration::from_secs(5), BUSY_EVENTS);
                taken += Duration::from_secs(5);
            }
        }
        assert!((50..=57).contains(&taken.as_secs()), "{taken:?} of 1,000 s");
        budget.spend(Duration::from_secs(600), BUSY_EVENTS);
        assert!(!budget.may_begin(BUSY_EVENTS, at(1_001)));
        assert!(budget.may_begin(BUSY_EVENTS - 1, at(1_001)), "nobody is waiting");
        budget.spend(Duration::from_secs(600), 0);
        assert!(budget.may_begin(BUSY_EVENTS, at(20_000)), "what was free is not owed");
        assert!(!{
            budget.spend(Duration::from_secs(3), BUSY_EVENTS);
            budget.may_begin(BUSY_EVENTS, at(20_000))
        });
    }
}
