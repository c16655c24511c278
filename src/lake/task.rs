//! The lake beside a running collector: a task of its own, on connections that are open only while it works.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::settings::Lake;
use super::store::Store;
use super::{CONNECTIONS, Exporter, LakeError, Summary, Wanted, in_use};
use crate::accounting::Accounting;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::database::Database;
use crate::entropy::{Entropy, jitter};
use crate::metrics::LakeMetrics;

/// A day that is over, or a person to be forgotten, waits for about this long.
const INTERVAL: Duration = Duration::from_secs(60);
/// After failures in a row the pause doubles, up to this.
const INTERVAL_MAX: Duration = Duration::from_secs(15 * 60);

/// See the module.
pub struct Task {
    pub database: config::Database,
    pub settings: Lake,
    /// `AWS_…`.
    pub environment: Vec<(String, String)>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub metrics: LakeMetrics,
    pub accounting: Arc<Accounting>,
    /// Cancelled once the database has weir's schema.
    pub prepared: CancellationToken,
}

impl Task {
    pub fn new(
        config: &Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: LakeMetrics,
        accounting: Arc<Accounting>,
        prepared: CancellationToken,
    ) -> Self {
        let (database, settings) = (config.database.clone(), config.lake.clone());
        Self { database, settings, environment: environment(), clock, entropy, metrics, accounting, prepared }
    }

    /// Works until `stop`. What is under way then stays as it was, and is done by whoever is next.
    pub async fn run(self, stop: CancellationToken) {
        if !self.settings.is_set() {
            return stop.cancelled().await;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.work() => {}
        }
    }

    async fn work(&self) {
        self.prepared.cancelled().await;
        let mut pause = INTERVAL;
        loop {
            match self.once().await {
                Ok(Some(_)) => {
                    self.metrics.succeeded_at.set(self.clock.now().as_millisecond() as f64 / 1_000.0);
                    pause = INTERVAL;
                }
                Ok(None) => pause = INTERVAL,
                Err(error) => {
                    self.metrics.failures.increment(1);
                    let again_s = pause.as_secs();
                    tracing::warn!(%error, again_s, "the lake lacks days that are over: tried again");
                    pause = (pause * 2).min(INTERVAL_MAX);
                }
            }
            tokio::time::sleep(jitter(self.entropy.as_ref(), pause)).await;
        }
    }

    async fn once(&self) -> Result<Option<Summary>, LakeError> {
        let database = Database::new(&self.database, CONNECTIONS)?;
        in_use::note(&database, &self.settings.url).await?;
        let exporter = Exporter {
            database,
            settings: self.settings.clone(),
            store: Store::open(&self.settings, &self.environment)?,
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            accounting: Some(Arc::clone(&self.accounting)),
            patience: Duration::ZERO,
        };
        let done = exporter.run(Wanted::Due).await;
        exporter.database.close();
        done
    }
}

/// Credentials and what else belongs to them, of this process.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("AWS_"))
        .collect()
}
