//! What `weir.accounting` does not explain, as a metric. The view sums up every segment that there ever was, so one collector of
//! all reads it: the one that looks after rollups.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::database::{Database, DatabaseError};
use crate::metrics::Metrics;

const READ: &str = include_str!("sql/unexplained.sql");
/// An alert waits for minutes.
const INTERVAL: Duration = Duration::from_secs(60);
/// Where the books are long it is read less often, so that it takes no more than this part of the time.
const PART: u32 = 100;
/// Meanwhile nothing else is done on the connection.
const STATEMENT_TIMEOUT_MS: u32 = 5_000;

/// See the module. Dropped, it takes back what it has said: another collector says it from then on.
pub struct Unexplained {
    metrics: Arc<Metrics>,
    sources: BTreeSet<String>,
    next: Instant,
}

impl Unexplained {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, sources: BTreeSet::new(), next: Instant::now() }
    }

    /// Reads it, when it is time to.
    pub async fn look(&mut self, database: &Database) {
        let began = Instant::now();
        if began < self.next {
            return;
        }
        match read(database).await {
            Ok(counts) => counts.into_iter().for_each(|(source, events)| self.tell(source, events)),
            Err(error) => tracing::debug!(%error, "weir.accounting could not be read: tried again later"),
        }
        self.next = Instant::now() + INTERVAL.max(began.elapsed() * PART);
    }

    fn tell(&mut self, source: String, events: i64) {
        self.metrics.unexplained(&source, events);
        self.sources.insert(source);
    }
}

impl Drop for Unexplained {
    fn drop(&mut self) {
        self.sources.iter().for_each(|source| self.metrics.unexplained(source, 0));
    }
}

async fn read(database: &Database) -> Result<Vec<(String, i64)>, DatabaseError> {
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    transaction.batch_execute(&format!("set local statement_timeout = {STATEMENT_TIMEOUT_MS}")).await?;
    let rows = transaction.query_typed(READ, &[]).await?;
    let counts: Result<Vec<_>, DatabaseError> =
        rows.iter().map(|row| Ok((row.try_get("source")?, row.try_get("unexplained")?))).collect();
    transaction.commit().await?;
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_no_longer_reads_it_takes_back_what_was_said() {
        let metrics = Arc::new(Metrics::new());
        let mut unexplained = Unexplained::new(Arc::clone(&metrics));
        unexplained.tell("web".to_owned(), 3);
        assert!(metrics.render().contains("weir_unexplained_events{source=\"web\"} 3\n"), "{}", metrics.render());
        drop(unexplained);
        assert!(metrics.render().contains("weir_unexplained_events{source=\"web\"} 0\n"), "{}", metrics.render());
    }
}
