//! One run of one rollup, and what is written down of it.

use std::time::{Duration, Instant};

use deadpool_postgres::Object;
use tokio_postgres::types::Type;

use super::catalog::Known;
use super::definition::Kind;
use super::{RollupError, recompute, refresh, swap};
use crate::database::Database;

const NOTE: &str = include_str!("sql/note_run.sql");
/// Of each rollup; a day of runs every five minutes.
const RUNS_KEPT: i64 = 288;
/// An error is told in so many characters.
const ERROR_CHARS_MAX: usize = 2_000;

/// What a run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ran {
    /// Buckets computed.
    pub buckets: u64,
    /// Rows written.
    pub rows: u64,
    /// Buckets left as they are, because retention has dropped their events.
    pub frozen: u64,
    /// Whether a table that was built has taken its place.
    pub is_exchanged: bool,
    pub elapsed: Duration,
}

/// Runs the rollup once: all that waits, or for about as long as `budget`; what is left then waits on. Writes down how it
/// went.
pub async fn run(database: &Database, rollup: &Known, budget: Option<Duration>) -> Result<Ran, RollupError> {
    let started = Instant::now();
    let result = attempt(database, rollup, started, budget).await;
    let error = result.as_ref().err().map(|error| error.to_string().chars().take(ERROR_CHARS_MAX).collect::<String>());
    let ran = result.as_ref().copied().unwrap_or_default();
    // Of another process's run, that process tells.
    if !matches!(result, Err(RollupError::Busy(_))) {
        let [buckets, rows, frozen] = [ran.buckets, ran.rows, ran.frozen].map(u64::cast_signed);
        let (started_s, took_s) = (rollup.now.as_second() as f64, started.elapsed().as_secs_f64());
        let client = database.client().await?;
        client
            .execute_typed(
                NOTE,
                &[
                    (&rollup.id, Type::INT8),
                    (&rollup.name, Type::TEXT),
                    (&started_s, Type::FLOAT8),
                    (&buckets, Type::INT8),
                    (&rows, Type::INT8),
                    (&frozen, Type::INT8),
                    (&error, Type::TEXT),
                    (&RUNS_KEPT, Type::INT8),
                    (&took_s, Type::FLOAT8),
                ],
            )
            .await?;
    }
    if ran.frozen > 0 {
        let (name, buckets) = (&rollup.name, ran.frozen);
        tracing::warn!(name, buckets, "buckets stay as they are: retention has dropped their events");
    }
    result.map(|ran| Ran { elapsed: started.elapsed(), ..ran })
}

async fn attempt(
    database: &Database,
    rollup: &Known,
    started: Instant,
    budget: Option<Duration>,
) -> Result<Ran, RollupError> {
    let mut ran = Ran::default();
    match rollup.kind {
        Kind::View => {}
        Kind::Materialized => ran.rows = refresh::refresh(database, rollup).await?,
        Kind::Incremental => {
            forget_old(database, rollup).await?;
            // Dropped in the midst of something, the connection must not go back to the pool.
            let mut client = Object::take(database.client().await?);
            let mut before = "infinity".to_owned();
            let mut failed = None;
            loop {
                let mut picked = None;
                match recompute::step(&mut client, database.statement_timeout(), rollup, &before, &mut picked).await {
                    Ok(step) => {
                        ran.buckets += step.buckets;
                        ran.rows += step.rows;
                        ran.frozen += step.frozen;
                    }
                    // One bucket that cannot be computed keeps no other waiting; of the first filling it does, which has
                    // to be whole.
                    Err(error) => {
                        let is_alone = error.is_of_bucket() && picked.as_ref().is_some_and(|picked| *picked != before);
                        if !is_alone {
                            return Err(failed.unwrap_or(error));
                        }
                        failed.get_or_insert(error);
                    }
                }
                match picked {
                    Some(first) => before = first,
                    None => break,
                }
                if budget.is_some_and(|budget| started.elapsed() >= budget) {
                    break;
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
    }
    if rollup.is_building {
        ran.is_exchanged = swap::exchange(database, rollup).await?;
    }
    Ok(ran)
}

/// Deletes what is older than the definition keeps.
async fn forget_old(database: &Database, rollup: &Known) -> Result<(), RollupError> {
    let Some(keep) = &rollup.keep else { return Ok(()) };
    let sql = format!("delete from {} where bucket < now() - $1::text::interval", rollup.relation());
    database.client().await?.execute_typed(&sql, &[(keep, Type::TEXT)]).await?;
    Ok(())
}
