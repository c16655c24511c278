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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::{Disk, MemoryDisk};
    use crate::flush::store::Counts;
    use crate::journal::frame::{FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES};
    use crate::row::ROW_VERSION;

    const ID: Uuid = Uuid::from_u128(3);
    const PATH: &str = "a.segment";

    /// A segment with a frame for each text, and the positions behind each of them.
    fn segment(disk: &MemoryDisk, texts: &[&str]) -> (Segment, Vec<Position>) {
        let frames: Vec<(&[u8], u32)> = texts.iter().map(|text| (text.as_bytes(), 1)).collect();
        let (segment, ends) = Segment::of_frames(disk, ID, PATH, &frames);
        (segment, ends.into_iter().map(|(offset, chain)| Position { offset, chain }).collect())
    }

    fn is_taken(segment: &Segment, position: Position, journal: &JournalState) -> bool {
        let applied = Applied { position, sources: SourceCounts::new() };
        match LedgerRow::of(segment, applied, journal) {
            Ok(row) => row.position == position,
            Err(FlushError::Fork(ID)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn only_a_file_that_holds_what_was_applied_is_the_one_that_the_ledger_knows() {
        let journal = JournalState::new(1_000, 100);
        let disk = MemoryDisk::default();
        let (own, positions) = segment(&disk, &["a", "b"]);
        let (_, others) = segment(&MemoryDisk::default(), &["a", "c", "d"]);
        assert!(is_taken(&own, Position { offset: 0, chain: 0 }, &journal), "nothing is applied");
        assert!(positions.iter().all(|position| is_taken(&own, *position, &journal)));
        assert!(is_taken(&own, others[0], &journal), "so far they are the same");
        assert!(!is_taken(&own, others[1], &journal), "another frame of the same length");
        assert!(!is_taken(&own, others[2], &journal), "more than there is");
        let nowhere = Position { offset: positions[0].offset + 8, ..positions[0] };
        assert!(!is_taken(&own, nowhere, &journal), "no frame ends there");
        assert_eq!(journal.damaged_bytes(), 0);
        // What cannot be read behind it says nothing about what was applied.
        let damage = positions[0].offset..positions[1].offset;
        let file = MemoryDisk::default().create(Path::new(PATH)).expect("made");
        let mut bytes = vec![0; damage.start as usize];
        disk.open(Path::new(PATH)).expect("there").read_exact_at(&mut bytes, 0).expect("readable");
        file.write_all_at(&bytes, 0).expect("written");
        let cut = Segment::new(ID, PATH.into(), ROW_VERSION, file).recovered(damage.end, vec![damage]);
        assert!(is_taken(&cut, positions[0], &journal));
        assert!(!is_taken(&cut, Position { chain: positions[0].chain ^ 1, ..positions[0] }, &journal));
    }

    #[test]
    fn a_file_that_has_rotted_since_is_still_itself() {
        for frame in [0, 1] {
            let (disk, journal) = (MemoryDisk::default(), JournalState::new(1_000, 100));
            let (own, positions) = segment(&disk, &["a", "b"]);
            let begin = if frame == 0 { SEGMENT_HEADER_BYTES as u64 } else { positions[frame - 1].offset };
            let file = disk.open(Path::new(PATH)).expect("there");
            file.write_all_at(b"?", begin + FRAME_HEADER_BYTES as u64).expect("written");
            let another = |position: Position| Position { chain: position.chain ^ 1, ..position };
            // What has rotted behind it says nothing about what was applied.
            assert_eq!(is_taken(&own, another(positions[0]), &journal), frame == 0);
            assert!(is_taken(&own, another(positions[1]), &journal), "which it was cannot be told");
            assert_eq!(journal.damaged_bytes(), positions[frame].offset - begin);
        }
    }

    #[test]
    fn a_torn_end_that_the_ledger_has_applied_was_damaged() {
        for is_torn in [true, false] {
            let (disk, journal) = (MemoryDisk::default(), JournalState::new(1_000, 100));
            let (_, positions) = segment(&disk, &["a", "b"]);
            let file = disk.open(Path::new(PATH)).expect("there");
            let cut = Segment::new(ID, PATH.into(), ROW_VERSION, file);
            let cut = cut.recovered(positions[0].offset, Vec::new()).torn(is_torn);
            assert!(is_taken(&cut, positions[0], &journal), "nobody knows of more");
            assert_eq!((journal.damaged_bytes(), cut.is_damaged()), (0, false));
            assert_eq!(is_taken(&cut, positions[1], &journal), is_torn);
            let damaged = if is_torn { positions[1].offset - positions[0].offset } else { 0 };
            assert_eq!((journal.damaged_bytes(), cut.is_damaged()), (damaged, is_torn));
            // After a failover all that is left of it is sent again, and that is its end.
            if is_torn {
                assert!(is_taken(&cut, Position { offset: 0, chain: 0 }, &journal));
                let frames = cut.read(0, 1_000).expect("readable");
                assert_eq!(frames.to, positions[0].offset);
                assert!(cut.read(frames.to, 1_000).expect("nothing").is_empty());
            }
        }
    }

    #[test]
    fn a_commit_moves_the_row_and_adds_to_its_counts() {
        let (own, positions) = segment(&MemoryDisk::default(), &["a", "b"]);
        let journal = JournalState::new(1_000, 100);
        let applied = Applied { position: Position { offset: 0, chain: 0 }, sources: SourceCounts::new() };
        let row = LedgerRow::of(&own, applied, &journal).expect("its own");
        let counts = |accepted, stored, duplicate, quarantined| {
            let settled = crate::accounting::Settled { stored, duplicate, quarantined };
            SourceCounts::from([("web".to_owned(), Counts { accepted, settled })])
        };
        let first = row.advanced(&own.read(0, 1).expect("readable"), &counts(6, 3, 2, 1));
        assert_eq!(first.position, positions[0]);
        let second = first.advanced(&own.read(positions[0].offset, 1).expect("readable"), &counts(60, 30, 20, 10));
        assert_eq!(second.position, positions[1]);
        let Counts { accepted, settled } = second.sources["web"];
        assert_eq!((accepted, settled.stored, settled.duplicate, settled.quarantined), (66, 33, 22, 11));
    }
}
