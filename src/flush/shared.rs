//! What lanes share with each other, and what they show of themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::ledger::{LedgerRow, Report};
use super::outage::Outage;
use crate::accounting::Accounting;
use crate::clock::Clock;
use crate::config;
use crate::disk::Disk;
use crate::entropy::Entropy;
use crate::journal::{Durability, JournalState, Segment};
use crate::metrics::FlushMetrics;

/// A transaction whose statements all ended in time may still take this long on its way.
const GRACE: Duration = Duration::from_secs(5);

/// What all lanes share.
pub struct Shared {
    pub accounting: Arc<Accounting>,
    pub metrics: FlushMetrics,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub disk: Arc<dyn Disk>,
    pub journal: Arc<JournalState>,
    pub node: String,
    pub durability: Durability,
    /// How long rows may gather.
    pub interval: Duration,
    /// One transaction.
    pub bytes_max: usize,
    /// One transaction, with all that belongs to it.
    pub timeout: Duration,
    /// How long a segment outlives its commit; `None`: for ever, since it is not ours to remove.
    pub retain: Option<Duration>,
    /// Whether applied segments go before their time when the journal is short of room.
    pub release_early: bool,
    pub outage: Outage,
    /// Set once the database has weir's schema.
    pub prepared: CancellationToken,
    /// Set once no segment will be added.
    pub closing: CancellationToken,
}

impl Shared {
    /// What one transaction may take.
    pub fn timeout(settings: &config::Database) -> Duration {
        Duration::from_secs(settings.statement_timeout_s) + GRACE
    }

    pub(super) fn report(&self) -> Report<'_> {
        Report::new(&self.accounting, self.durability)
    }

    /// The segment's row is about to be read again.
    pub(super) fn forget(&self, ledger: &LedgerRow, segment: &Segment) {
        self.report().moved(segment.id, Some(ledger), None);
        segment.progress.set_applied_to(0);
    }
}

/// What others may see of a lane.
#[derive(Debug, Default)]
pub struct LaneState {
    /// 0: none.
    oldest_ms: AtomicI64,
}

impl LaneState {
    /// When the oldest frame not yet applied was written, Unix milliseconds.
    pub fn oldest_ms(&self) -> Option<i64> {
        Some(self.oldest_ms.load(Ordering::Relaxed)).filter(|ms| *ms != 0)
    }

    pub(super) fn set_oldest_ms(&self, oldest_ms: Option<i64>) {
        self.oldest_ms.store(oldest_ms.unwrap_or(0), Ordering::Relaxed);
    }
}
