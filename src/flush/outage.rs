//! What lanes tell each other of a database that is away: whoever gets through wakes the others, which would otherwise
//! wait out their own back-off while one lane works through the backlog alone.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Whether connections are refused, and word of the end of that.
#[derive(Debug, Default)]
pub struct Outage {
    is_on: AtomicBool,
    over: Notify,
}

impl Outage {
    /// A connection could not be made.
    pub(super) fn begin(&self) {
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// A connection was made. Only the first after one that failed wakes anybody: a database that takes connections and
    /// then fails must not make lanes spin.
    pub fn end(&self) {
        if self.is_on.swap(false, Ordering::Relaxed) {
            self.over.notify_waiters();
        }
    }

    /// Returns when a connection was made again.
    pub(super) async fn over(&self) {
        self.over.notified().await;
    }
}
