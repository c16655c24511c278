//! The ledger: how far each segment is applied, and what became of its events.

use uuid::Uuid;

use super::FlushError;
use super::store::{Applied, Position, SourceCounts};
use crate::accounting::Accounting;
use crate::journal::segment::{Chain, Frames};
use crate::journal::{Durability, JournalState, Segment};

/// A segment's row in the ledger, as this lane last saw it.
#[derive(Debug, Clone)]
pub struct LedgerRow {
    pub position: Position,
    sources: SourceCounts,
}

impl LedgerRow {
    /// Checks that the ledger speaks of this very file.
    pub fn of(segment: &Segment, applied: Applied, journal: &JournalState) -> Result<Self, FlushError> {
        let Position { offset, chain } = applied.position;
        let is_ours = match segment.chain_to(offset) {
            Chain::Known(own) if own == chain && offset <= segment.progress.synced_to() => true,
            // The id is 128 random bits under a checksum of its own: what is left of the file is still this file.
            Chain::Unknown => true,
            // Bits that have rotted since the file was read look like another file.
            Chain::Known(_) | Chain::NoFrame => {
                let damaged = segment.find_damage(offset);
                journal.damaged(damaged);
                damaged > 0
            }
        };
        if !is_ours {
            return Err(FlushError::Fork(segment.id));
        }
        Ok(Self { position: applied.position, sources: applied.sources })
    }

    /// A row that no one will move any more, whatever it says.
    pub fn closed(applied: Applied) -> Self {
        Self { position: applied.position, sources: applied.sources }
    }

    /// Where the row stands once `frames` are applied.
    pub fn position_after(&self, frames: &Frames) -> Position {
        Position { offset: frames.to, chain: frames.chain_from(self.position.chain) }
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
        Self { position: self.position_after(frames), sources }
    }
}

/// Tells the accounting what the ledger says of a segment.
pub struct Report<'a> {
    accounting: &'a Accounting,
    /// Whether the commit is what makes events accepted.
    accepts: bool,
}

impl<'a> Report<'a> {
    pub fn new(accounting: &'a Accounting, durability: Durability) -> Self {
        Self { accounting, accepts: durability == Durability::Database }
    }

    /// The segment's row went from `before` to `now`; `None` before it is read, and when it is about to be read again.
    pub fn moved(&self, segment: Uuid, before: Option<&LedgerRow>, now: Option<&LedgerRow>) {
        let none = SourceCounts::new();
        let (before, now) = (before.map_or(&none, |row| &row.sources), now.map_or(&none, |row| &row.sources));
        for source in before.keys().chain(now.keys().filter(|source| !before.contains_key(*source))) {
            let counts = |counts: &SourceCounts| counts.get(source).copied().unwrap_or_default();
            let (before, now) = (counts(before), counts(now));
            if self.accepts {
                self.accounting.accepted_moved(segment, source, before.accepted, now.accepted);
            }
            self.accounting.settled(segment, source, before.settled, now.settled);
        }
    }
}
