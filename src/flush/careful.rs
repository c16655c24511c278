//! The slow way for a batch that PostgreSQL refused: duplicates are left out, refused rows go to quarantine, the rest is
//! stored, all in one transaction with the ledger.
//!
//! Rows are copied into a temporary table and inserted from there with `on conflict do nothing`. A range that fails is
//! halved at a savepoint until the row at fault stands alone: at most log2(n) + 1 attempts for each.

use bytes::Bytes;
use deadpool_postgres::Transaction;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::ledger::{SourceCounts, promised};
use super::{FlushError, copy};
use crate::database::DatabaseError;
use crate::journal::segment::Frames;
use crate::row;

const MAKE_INCOMING: &str =
    "create temporary table weir_incoming (like analytics.events including defaults) on commit drop";
const STORE: &str = include_str!("sql/careful_store.sql");
const QUARANTINE: &str = include_str!("sql/careful_quarantine.sql");

/// Stores what can be stored of `frames`; returns what became of their events.
pub async fn store(
    transaction: &mut Transaction<'_>,
    frames: &Frames,
    segment_id: Uuid,
    row_version: u16,
) -> Result<SourceCounts, FlushError> {
    let mut counts = promised(frames);
    for counts in counts.values_mut() {
        counts.settled.stored = 0;
    }
    let tuples = split(frames)?;
    prepare(transaction).await?;
    let whole = 0..tuples.len();
    let mut ranges = vec![whole];
    while let Some(range) = ranges.pop() {
        if range.is_empty() {
            continue;
        }
        match attempt(transaction, &tuples[range.clone()]).await {
            Ok(stored) => {
                for (source, rows) in stored {
                    counts.entry(source).or_default().settled.stored += rows;
                }
            }
            Err(FlushError::Data(error)) if range.len() == 1 => {
                let tuple = &tuples[range.start];
                quarantine(transaction, tuple, &error, segment_id, row_version).await?;
                let source = row::source(tuple).map_err(|error| std::io::Error::other(error.to_string()))?;
                counts.entry(source.to_owned()).or_default().settled.quarantined += 1;
            }
            Err(FlushError::Data(_)) => {
                let middle = range.start + range.len() / 2;
                ranges.push(middle..range.end);
                ranges.push(range.start..middle);
            }
            Err(other) => return Err(other),
        }
    }
    for counts in counts.values_mut() {
        counts.settled.duplicate = counts.accepted - counts.settled.stored - counts.settled.quarantined;
    }
    Ok(counts)
}

/// Makes the table that [`attempt`] copies into; it lives as long as the transaction.
pub(super) async fn prepare(transaction: &Transaction<'_>) -> Result<(), FlushError> {
    Ok(transaction.batch_execute(MAKE_INCOMING).await?)
}

fn split(frames: &Frames) -> Result<Vec<Bytes>, FlushError> {
    let mut tuples = Vec::new();
    for mut rest in frames.tuples() {
        while !rest.is_empty() {
            let length = row::tuple_length(&rest).map_err(|error| std::io::Error::other(error.to_string()))?;
            tuples.push(rest.split_to(length));
        }
    }
    Ok(tuples)
}

/// Stores all of `tuples` or none; returns how many rows of each source were new.
pub(super) async fn attempt(
    transaction: &mut Transaction<'_>,
    tuples: &[Bytes],
) -> Result<Vec<(String, u64)>, FlushError> {
    let savepoint = transaction.transaction().await?;
    copy(&savepoint, "weir_incoming", tuples.iter().cloned()).await?;
    let mut stored = Vec::new();
    for row in savepoint.query_typed(STORE, &[]).await? {
        stored.push((row.try_get("source")?, row.try_get::<_, i64>("rows")?.cast_unsigned()));
    }
    savepoint.batch_execute("delete from weir_incoming").await?;
    savepoint.commit().await?;
    Ok(stored)
}

async fn quarantine(
    transaction: &Transaction<'_>,
    tuple: &[u8],
    error: &DatabaseError,
    segment_id: Uuid,
    row_version: u16,
) -> Result<(), FlushError> {
    let unreadable = |error: row::TupleError| std::io::Error::other(error.to_string());
    let readable = serde_json::Value::Object(row::to_json(tuple).map_err(unreadable)?).to_string();
    let sqlstate = error.sqlstate().map_or("", |state| state.code());
    let message = error.to_string();
    transaction
        .execute_typed(
            QUARANTINE,
            &[
                (&row::source(tuple).map_err(unreadable)?, Type::TEXT),
                (&row::event_id(tuple).map_err(unreadable)?, Type::UUID),
                (&sqlstate, Type::TEXT),
                (&message, Type::TEXT),
                (&readable, Type::TEXT),
                (&tuple, Type::BYTEA),
                (&row_version.cast_signed(), Type::INT2),
                (&segment_id, Type::UUID),
            ],
        )
        .await?;
    Ok(())
}
