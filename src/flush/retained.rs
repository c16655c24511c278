//! Applied segments that stay for a while, in case the database forgets what it has committed.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::ledger::LedgerRow;
use super::store::Position;
use crate::disk::Disk;
use crate::journal::recover::DAMAGED_EXTENSION;
use crate::journal::{JournalState, Segment};

/// One applied segment.
pub struct Kept {
    pub segment: Arc<Segment>,
    /// Its row of the ledger, to notice a database that forgot.
    pub ledger: LedgerRow,
}

/// Applied segments, oldest first.
#[derive(Default)]
pub struct Retained {
    kept: VecDeque<Kept>,
}

impl Retained {
    pub fn push(&mut self, segment: Arc<Segment>, ledger: LedgerRow) {
        self.kept.push_back(Kept { segment, ledger });
    }

    /// The oldest, if it may go: `retain` after its last commit, or now, when the journal `is_short_of_room`.
    pub fn due(&self, retain: Option<Duration>, is_short_of_room: bool) -> Option<&Kept> {
        let is_over = |kept: &&Kept| {
            retain.zip(kept.segment.applied_at()).is_some_and(|(retain, at)| at + retain <= Instant::now())
        };
        self.kept.front().filter(|kept| is_short_of_room || is_over(kept))
    }

    /// How far the ledger was seen at each.
    pub fn positions(&self) -> impl Iterator<Item = (Uuid, Position)> {
        self.kept.iter().map(|kept| (kept.segment.id, kept.ledger.position))
    }

    /// The oldest is no longer needed: deletes its file, or puts it aside if something in it could not be read. Returns its
    /// name.
    pub fn release(&mut self, disk: &dyn Disk, journal: &JournalState) -> Option<Uuid> {
        let Kept { segment, .. } = self.kept.pop_front()?;
        let bytes = segment.file_bytes();
        tracing::debug!(path = %segment.path.display(), "released");
        let dir = segment.path.parent().unwrap_or(Path::new("."));
        let gone = if segment.is_damaged() {
            disk.rename(&segment.path, &segment.path.with_extension(DAMAGED_EXTENSION))
        } else {
            disk.remove(&segment.path)
        };
        match gone.and_then(|()| disk.sync_dir(dir)) {
            Ok(()) => journal.removed(bytes),
            Err(error) => tracing::warn!(%error, path = %segment.path.display(), "an applied segment stays"),
        }
        Some(segment.id)
    }

    /// All of them, to be applied again where the ledger says so.
    pub fn take(&mut self) -> impl DoubleEndedIterator<Item = Kept> {
        std::mem::take(&mut self.kept).into_iter()
    }
}
