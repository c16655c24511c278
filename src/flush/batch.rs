//! One flush: the order in which a transaction does its work, and the second try when PostgreSQL refuses a row.

use uuid::Uuid;

use super::FlushError;
use super::ledger::LedgerRow;
use super::store::{Session, SourceCounts, Transaction};
use crate::journal::segment::Frames;

/// What a flush came to.
pub struct Flushed {
    /// The ledger's row after the commit.
    pub ledger: LedgerRow,
    pub counts: SourceCounts,
    /// Whether rows had to be sorted out.
    pub is_careful: bool,
}

/// Applies `frames`, which follow `ledger`: all of it in one transaction, or nothing.
pub async fn flush<S: Session>(
    session: &mut S,
    segment: Uuid,
    ledger: &LedgerRow,
    frames: &Frames,
) -> Result<Flushed, FlushError> {
    session.prepare(frames).await?;
    match attempt(session, segment, ledger, frames, false).await {
        Err(FlushError::Data(error)) => {
            tracing::debug!(%error, "sorting out a batch");
            attempt(session, segment, ledger, frames, true).await
        }
        result => result,
    }
}

async fn attempt<S: Session>(
    session: &mut S,
    segment: Uuid,
    ledger: &LedgerRow,
    frames: &Frames,
    is_careful: bool,
) -> Result<Flushed, FlushError> {
    let mut transaction = session.begin().await?;
    match apply(&mut transaction, segment, ledger, frames, is_careful).await {
        Ok(counts) => {
            transaction.commit().await?;
            Ok(Flushed { ledger: ledger.advanced(frames, &counts), counts, is_careful })
        }
        Err(error) => {
            transaction.rollback().await;
            Err(error)
        }
    }
}

async fn apply(
    transaction: &mut impl Transaction,
    segment: Uuid,
    ledger: &LedgerRow,
    frames: &Frames,
    is_careful: bool,
) -> Result<SourceCounts, FlushError> {
    // The fence comes first: its row lock waits for the fate of an earlier attempt whose answer was lost.
    if !transaction.advance(segment, ledger.position, ledger.position_after(frames)).await? {
        return Err(FlushError::Moved);
    }
    let (counts, hours) = if is_careful {
        transaction.sort_out(frames, segment).await?
    } else {
        let sent = frames.tuple_count();
        let (stored, hours) = if sent == 0 { Default::default() } else { transaction.copy(frames).await? };
        if stored != sent {
            return Err(FlushError::Miscounted { stored, sent });
        }
        (promised(frames), hours)
    };
    transaction.settle(segment, &counts, &hours).await?;
    Ok(counts)
}

/// What the frames promise, with every tuple counted as stored.
pub fn promised(frames: &Frames) -> SourceCounts {
    let mut counts = SourceCounts::new();
    for frame in frames.iter() {
        for source in frame.sources() {
            let sum = counts.entry(source.source.to_owned()).or_default();
            sum.accepted += u64::from(source.accepted);
            sum.settled.duplicate += u64::from(source.duplicate);
            sum.settled.stored += u64::from(source.accepted - source.duplicate);
        }
    }
    counts
}
