//! What the console does by itself: begins scheduled queries, and lets go what is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Console;
use super::queries::schedule;
use crate::database::DatabaseError;

/// A scheduled query begins that late.
const TICK: Duration = Duration::from_secs(5);
/// Looks between two clean-ups: ten minutes.
const CLEAN_TICKS: u64 = 120;

const CLEAN: &str = include_str!("sql/clean.sql");

/// Works until `stop`; then ends what people run.
pub async fn run(console: Arc<Console>, prepared: CancellationToken, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work(&console, prepared) => {}
    }
    console.runs.close();
    console.operating.close();
}

async fn work(console: &Arc<Console>, prepared: CancellationToken) {
    prepared.cancelled().await;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0_u64.. {
        ticks.tick().await;
        if let Err(error) = schedule::start_due(console).await {
            tracing::debug!(%error, "scheduled queries could not be looked for");
        }
        if tick.is_multiple_of(CLEAN_TICKS)
            && let Err(error) = clean(console).await
        {
            tracing::warn!(%error, "what is over in the schema console could not be removed");
        }
    }
}

async fn clean(console: &Console) -> Result<(), DatabaseError> {
    console.database.client().await?.batch_execute(CLEAN).await?;
    Ok(())
}
