//! The slow way for a batch that PostgreSQL refused: duplicates are left out, refused rows go to quarantine, the rest is
//! stored, all in one transaction with the ledger.
//!
//! Rows are copied into a temporary table and inserted from there with `on conflict do nothing`: that is all that
//! duplicates need. If a row is refused, `weir.store_each` takes them one by one; where they lie on other servers, only those of
//! a slice with such a row. Rows that cannot even be copied, which no event should become, are found by halving, at most log2(n) + 1 attempts for
//! each.

use std::collections::HashMap;

use bytes::Bytes;
use deadpool_postgres::Transaction;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::batch::promised;
use super::store::SourceCounts;
use super::{FlushError, copy, unreadable};
use crate::journal::segment::Frames;
use crate::row;

const MAKE_INCOMING: &str =
    "create temporary table weir_incoming (like analytics.events including defaults) on commit drop";
const STORE_ALL: &str = include_str!("sql/careful_store_all.sql");
const STORE_EACH: &str = "select event_id, source, outcome, state, message from weir.store_each()";
/// In place, as the table is of this transaction; what is deleted would be gone through with each slice.
const EMPTY: &str = "truncate weir_incoming";
/// Where rows lie on other servers, each that goes alone takes some round trips: so few go alone, and no statement takes long.
const SLICE_ROWS: usize = 50;
const QUARANTINE: &str = include_str!("sql/careful_quarantine.sql");
/// One savepoint at a time; its release keeps them from nesting.
const TRY: &str = "savepoint weir_try";
const TRIED: &str = "release savepoint weir_try";
const UNDO: &str = "rollback to savepoint weir_try; release savepoint weir_try";

/// What is written about a refused row.
struct Reason {
    sqlstate: String,
    message: String,
}

/// Stores what can be stored of `frames`; returns what became of their events.
pub async fn store(
    transaction: &Transaction<'_>,
    frames: &Frames,
    segment_id: Uuid,
    is_distributed: bool,
) -> Result<SourceCounts, FlushError> {
    let mut counts = promised(frames);
    for counts in counts.values_mut() {
        counts.settled.stored = 0;
    }
    let tuples = split(frames)?;
    let incoming = Incoming { row_version: frames.row_version, tuples: &tuples, is_distributed };
    store_and_quarantine(transaction, incoming, segment_id, &mut counts).await?;
    for counts in counts.values_mut() {
        counts.settled.duplicate = counts.accepted - counts.settled.stored - counts.settled.quarantined;
    }
    Ok(counts)
}

/// Rows as they came.
#[derive(Clone, Copy)]
pub(super) struct Incoming<'a> {
    pub row_version: u16,
    pub tuples: &'a [Bytes],
    /// Whether they go to other servers.
    pub is_distributed: bool,
}

/// Stores what can be stored of `incoming`, and puts the rest into quarantine; adds both to `counts`. What is in neither was
/// there before.
pub(super) async fn store_and_quarantine(
    transaction: &Transaction<'_>,
    incoming: Incoming<'_>,
    segment_id: Uuid,
    counts: &mut SourceCounts,
) -> Result<(), FlushError> {
    let mut refused = Vec::new();
    // A constraint that is checked only at commit would refuse the batch, and not the row.
    transaction.batch_execute("set constraints all immediate").await?;
    let stored = store_tuples(transaction, incoming, &mut refused).await?;
    for (source, rows) in stored {
        counts.entry(source).or_default().settled.stored += rows;
    }
    for (tuple, reason) in refused {
        let source = row::source(&tuple).map_err(unreadable)?;
        counts.entry(source.to_owned()).or_default().settled.quarantined += 1;
        quarantine(transaction, &tuple, &reason, segment_id, incoming.row_version).await?;
    }
    Ok(())
}

/// Stores one refused row again; the outcome is whether it was new, or PostgreSQL's words.
pub(super) async fn store_again(
    transaction: &Transaction<'_>,
    row_version: u16,
    tuple: Bytes,
) -> Result<Result<bool, String>, FlushError> {
    let mut refused = Vec::new();
    // One row is a slice of its own.
    let incoming = Incoming { row_version, tuples: &[tuple], is_distributed: false };
    let stored = store_tuples(transaction, incoming, &mut refused).await?;
    Ok(match refused.pop() {
        Some((_, reason)) => Err(reason.message),
        None => Ok(!stored.is_empty()),
    })
}

/// Returns how many rows of each source were new; the rest are duplicates or in `refused`.
async fn store_tuples(
    transaction: &Transaction<'_>,
    Incoming { row_version, tuples, is_distributed }: Incoming<'_>,
    refused: &mut Vec<(Bytes, Reason)>,
) -> Result<HashMap<String, u64>, FlushError> {
    transaction.batch_execute(MAKE_INCOMING).await?;
    let mut stored = HashMap::new();
    let mut uncopied = Vec::new();
    copy_tuples(transaction, row_version, tuples, &mut uncopied).await?;
    if store_all(transaction, &mut stored).await? {
        refused.append(&mut uncopied);
        return Ok(stored);
    }
    if !is_distributed {
        refused.append(&mut uncopied);
        store_each(transaction, tuples, &mut stored, refused).await?;
        return Ok(stored);
    }
    // What cannot be copied is found again in its slice.
    for slice in tuples.chunks(SLICE_ROWS) {
        transaction.batch_execute(EMPTY).await?;
        copy_tuples(transaction, row_version, slice, refused).await?;
        if !store_all(transaction, &mut stored).await? {
            store_each(transaction, slice, &mut stored, refused).await?;
        }
    }
    Ok(stored)
}

/// Stores all that is in the temporary table and not there yet, adding to `stored`; `false`: a row is refused, and nothing is
/// stored.
async fn store_all(transaction: &Transaction<'_>, stored: &mut HashMap<String, u64>) -> Result<bool, FlushError> {
    transaction.batch_execute(TRY).await?;
    match transaction.query_typed(STORE_ALL, &[]).await.map_err(FlushError::from) {
        Ok(rows) => {
            transaction.batch_execute(TRIED).await?;
            for row in rows {
                *stored.entry(row.try_get("source")?).or_default() += row.try_get::<_, i64>("rows")?.cast_unsigned();
            }
            Ok(true)
        }
        Err(FlushError::Data(_)) => {
            transaction.batch_execute(UNDO).await?;
            Ok(false)
        }
        Err(other) => Err(other),
    }
}

/// Stores one by one what is in the temporary table, of `tuples`.
async fn store_each(
    transaction: &Transaction<'_>,
    tuples: &[Bytes],
    stored: &mut HashMap<String, u64>,
    refused: &mut Vec<(Bytes, Reason)>,
) -> Result<(), FlushError> {
    let by_id: HashMap<Uuid, &Bytes> =
        tuples.iter().map(|tuple| Ok((row::event_id(tuple)?, tuple))).collect::<Result<_, _>>().map_err(unreadable)?;
    for row in transaction.query_typed(STORE_EACH, &[]).await? {
        match row.try_get("outcome")? {
            "stored" => *stored.entry(row.try_get("source")?).or_default() += 1,
            "quarantined" => {
                let reason = Reason { sqlstate: row.try_get("state")?, message: row.try_get("message")? };
                let tuple = by_id.get(&row.try_get::<_, Uuid>("event_id")?);
                refused.extend(tuple.map(|tuple| (Bytes::clone(tuple), reason)));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Copies what can be copied into the temporary table.
async fn copy_tuples(
    transaction: &Transaction<'_>,
    row_version: u16,
    tuples: &[Bytes],
    refused: &mut Vec<(Bytes, Reason)>,
) -> Result<(), FlushError> {
    let whole = 0..tuples.len();
    let mut ranges = vec![whole];
    while let Some(range) = ranges.pop() {
        transaction.batch_execute(TRY).await?;
        let copied = copy(transaction, "weir_incoming", row_version, tuples[range.clone()].iter().cloned()).await;
        match copied {
            Ok(_) => transaction.batch_execute(TRIED).await?,
            Err(FlushError::Data(error)) => {
                transaction.batch_execute(UNDO).await?;
                if range.len() == 1 {
                    let sqlstate = error.sqlstate().map_or("", |state| state.code()).to_owned();
                    refused.push((tuples[range.start].clone(), Reason { sqlstate, message: error.to_string() }));
                } else {
                    let middle = range.start + range.len() / 2;
                    ranges.extend([middle..range.end, range.start..middle]);
                }
            }
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

fn split(frames: &Frames) -> Result<Vec<Bytes>, FlushError> {
    let mut tuples = Vec::new();
    for frame in frames.tuples() {
        for tuple in row::tuples(&frame) {
            tuples.push(frame.slice_ref(tuple.map_err(unreadable)?));
        }
    }
    Ok(tuples)
}

async fn quarantine(
    transaction: &Transaction<'_>,
    tuple: &[u8],
    reason: &Reason,
    segment_id: Uuid,
    row_version: u16,
) -> Result<(), FlushError> {
    let readable = serde_json::Value::Object(row::to_json(tuple).map_err(unreadable)?).to_string();
    transaction
        .execute_typed(
            QUARANTINE,
            &[
                (&row::source(tuple).map_err(unreadable)?, Type::TEXT),
                (&row::event_id(tuple).map_err(unreadable)?, Type::UUID),
                (&reason.sqlstate, Type::TEXT),
                (&reason.message, Type::TEXT),
                (&readable, Type::TEXT),
                (&tuple, Type::BYTEA),
                (&row_version.cast_signed(), Type::INT2),
                (&segment_id, Type::UUID),
            ],
        )
        .await?;
    Ok(())
}
