//! The watchdog and the count of usage, beside a running collector.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::AnalystError;
use super::settings::Analyst;
use super::usage;
use super::watchdog::Watchdog;
use crate::config::{self, Config};
use crate::database::Database;
use crate::metrics::Metrics;

/// Between two looks: a statement that is cancelled has this long to end.
const TICK: Duration = Duration::from_secs(5);
/// Looks between two counts: five minutes.
const COUNT_TICKS: u64 = 60;
/// So many looks that fail are no accident: a minute's.
const FAILURES_TOLD: u32 = 12;
/// It looks, and then it counts.
const CONNECTIONS: usize = 1;

/// See the module.
pub struct Watch {
    database: config::Database,
    settings: Analyst,
    metrics: Arc<Metrics>,
    /// Cancelled once the database has weir's schema.
    prepared: CancellationToken,
}

impl Watch {
    pub fn new(config: &Config, metrics: Arc<Metrics>, prepared: CancellationToken) -> Self {
        Self { database: config.database.clone(), settings: config.analyst.clone(), metrics, prepared }
    }

    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.work() => {}
        }
    }

    async fn work(self) {
        self.prepared.cancelled().await;
        let database = match Database::new(&self.database, CONNECTIONS) {
            Ok(database) => database,
            Err(error) => {
                tracing::error!(%error, "people's sessions are not watched");
                return std::future::pending().await;
            }
        };
        let mut watchdog = Watchdog::new(self.settings);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failures = 0_u32;
        for tick in 0_u64.. {
            ticks.tick().await;
            let is_time_to_count = tick.is_multiple_of(COUNT_TICKS);
            match once(&database, &mut watchdog, is_time_to_count, &self.metrics).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    if failures == FAILURES_TOLD {
                        tracing::warn!(%error, "people's sessions could not be looked at for a minute: tried again");
                    } else {
                        tracing::debug!(%error, "people's sessions could not be looked at: tried again");
                    }
                }
            }
        }
    }
}

async fn once(
    database: &Database,
    watchdog: &mut Watchdog,
    is_time_to_count: bool,
    metrics: &Metrics,
) -> Result<(), AnalystError> {
    let mut client = database.client().await?;
    if watchdog.look(&mut client, metrics).await? && is_time_to_count {
        usage::count(&mut client).await?;
    }
    Ok(())
}
