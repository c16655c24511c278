//! The ledger: how far each segment is applied, and what became of its events.

use std::collections::BTreeMap;

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::FlushError;
use crate::accounting::{Accounting, Settled};
use crate::journal::{Segment, segment::Frames};

const OPEN: &str = include_str!("sql/ledger_open.sql");
const READ_SOURCES: &str = include_str!("sql/ledger_read_sources.sql");
const ADVANCE: &str = include_str!("sql/ledger_advance.sql");
const SETTLE: &str = include_str!("sql/ledger_settle.sql");

/// What a set of frames comes to, by source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub settled: Settled,
}

/// Counts by source.
pub type SourceCounts = BTreeMap<String, Counts>;

/// A segment's row in the ledger, as this lane last saw it.
#[derive(Debug, Clone)]
pub struct LedgerRow {
    pub segment_id: Uuid,
    /// End of the last applied frame; 0 before the first.
    pub applied_to: u64,
    applied_crc: u32,
    sources: SourceCounts,
}

impl LedgerRow {
    /// Reads the segment's row, making it if it is new, and checks that it speaks of this very file.
    pub async fn open(client: &Object, segment: &Segment, node: &str) -> Result<Self, FlushError> {
        let row = client.query_typed_one(OPEN, &[(&segment.id, Type::UUID), (&node, Type::TEXT)]).await?;
        let applied_to = row.try_get::<_, i64>("applied_to")?.cast_unsigned();
        let applied_crc = row.try_get::<_, i64>("applied_crc")? as u32;
        if applied_to > segment.synced_to() || segment.chain_to(applied_to)? != Some(applied_crc) {
            return Err(FlushError::Fork(segment.id));
        }
        let mut sources = SourceCounts::new();
        for row in client.query_typed(READ_SOURCES, &[(&segment.id, Type::UUID)]).await? {
            let count = |name: &str| row.try_get::<_, i64>(name).map(i64::cast_unsigned);
            let settled = Settled {
                stored: count("stored")?,
                duplicate: count("duplicate")?,
                quarantined: count("quarantined")?,
            };
            sources.insert(row.try_get("source")?, Counts { accepted: count("accepted")?, settled });
        }
        Ok(Self { segment_id: segment.id, applied_to, applied_crc, sources })
    }

    /// Moves the row over `frames`, inside the transaction that stores them.
    pub async fn advance(&self, transaction: &Transaction<'_>, frames: &Frames) -> Result<(), FlushError> {
        let moved = transaction
            .execute_typed(
                ADVANCE,
                &[
                    (&self.segment_id, Type::UUID),
                    (&self.applied_to.cast_signed(), Type::INT8),
                    (&i64::from(self.applied_crc), Type::INT8),
                    (&frames.to.cast_signed(), Type::INT8),
                    (&i64::from(frames.chain_from(self.applied_crc)), Type::INT8),
                ],
            )
            .await?;
        if moved == 1 { Ok(()) } else { Err(FlushError::Moved) }
    }

    /// Writes what became of the frames' events, in the same transaction.
    pub async fn settle(&self, transaction: &Transaction<'_>, counts: &SourceCounts) -> Result<(), FlushError> {
        let sources: Vec<&str> = counts.keys().map(String::as_str).collect();
        let column = |count: fn(&Counts) -> u64| counts.values().map(|c| count(c).cast_signed()).collect::<Vec<i64>>();
        transaction
            .execute_typed(
                SETTLE,
                &[
                    (&self.segment_id, Type::UUID),
                    (&sources, Type::TEXT_ARRAY),
                    (&column(|counts| counts.accepted), Type::INT8_ARRAY),
                    (&column(|counts| counts.settled.stored), Type::INT8_ARRAY),
                    (&column(|counts| counts.settled.duplicate), Type::INT8_ARRAY),
                    (&column(|counts| counts.settled.quarantined), Type::INT8_ARRAY),
                ],
            )
            .await?;
        Ok(())
    }

    /// The row after a commit of `frames` that came to `counts`.
    pub fn advanced(&self, frames: &Frames, counts: &SourceCounts) -> Self {
        let mut sources = self.sources.clone();
        for (source, more) in counts {
            let sum = sources.entry(source.clone()).or_default();
            sum.accepted += more.accepted;
            sum.settled.stored += more.settled.stored;
            sum.settled.duplicate += more.settled.duplicate;
            sum.settled.quarantined += more.settled.quarantined;
        }
        Self {
            segment_id: self.segment_id,
            applied_to: frames.to,
            applied_crc: frames.chain_from(self.applied_crc),
            sources,
        }
    }

    /// Takes back what was reported of this row: it is about to be read again.
    pub fn unreport(&self, accounting: &Accounting) {
        for (source, counts) in &self.sources {
            accounting.source(source).settled(counts.settled, Settled::default());
        }
    }

    /// Tells the accounting that the ledger went from `before` (nothing, for a segment just opened) to this row.
    pub fn report(&self, before: Option<&Self>, accounting: &Accounting) {
        let none = SourceCounts::new();
        let before = before.map_or(&none, |row| &row.sources);
        for source in before.keys().chain(self.sources.keys().filter(|source| !before.contains_key(*source))) {
            let settled = |counts: &SourceCounts| counts.get(source).map(|counts| counts.settled).unwrap_or_default();
            accounting.source(source).settled(settled(before), settled(&self.sources));
        }
    }
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
