//! Retention beside a running collector: a task of its own, so that a slow drop never delays keys or reports.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{CONNECTIONS, RetentionError, Step, Upkeep};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::database::Database;
use crate::entropy::{Entropy, jitter};
use crate::flush::partitions::Partitions;
use crate::metrics::RetentionMetrics;

/// A day that is over goes within about this, and what was held off by a lock is tried again.
const INTERVAL: Duration = Duration::from_secs(10 * 60);

/// See the module.
pub struct Retention {
    database: config::Database,
    settings: config::Retention,
    has_lake: bool,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    partitions: Arc<Partitions>,
    metrics: RetentionMetrics,
    /// Cancelled once the database has weir's schema.
    prepared: CancellationToken,
}

impl Retention {
    pub fn new(
        config: &Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        partitions: Arc<Partitions>,
        metrics: RetentionMetrics,
        prepared: CancellationToken,
    ) -> Self {
        let (database, settings) = (config.database.clone(), config.retention.clone());
        let has_lake = config.lake.is_set();
        Self { database, settings, has_lake, clock, entropy, partitions, metrics, prepared }
    }

    /// Works until `stop`. What is under way then is rolled back, and done by whoever is next.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.work() => {}
        }
    }

    async fn work(&self) {
        self.prepared.cancelled().await;
        loop {
            match self.once().await {
                Ok(Some(_)) => self.metrics.succeeded_at.set(self.clock.now().as_millisecond() as f64 / 1_000.0),
                Ok(None) => {}
                Err(error) => {
                    self.metrics.failures.increment(1);
                    tracing::warn!(%error, "events that are over their time are still there: tried again in 10 minutes");
                }
            }
            tokio::time::sleep(jitter(self.entropy.as_ref(), INTERVAL)).await;
        }
    }

    async fn once(&self) -> Result<Option<Vec<Step>>, RetentionError> {
        // Its connections are open only while it works.
        let upkeep = Upkeep {
            database: Database::new(&self.database, CONNECTIONS)?,
            settings: self.settings.clone(),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            partitions: Arc::clone(&self.partitions),
            metrics: self.metrics.clone(),
            has_lake: self.has_lake,
        };
        let done = upkeep.run().await;
        upkeep.database.close();
        done
    }
}
