//! Blocks in the order of the file, put together for one transaction, its rows in the order of the unique index.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use super::parse::{Parsed, Refused};
use crate::clock::Day;
use crate::flush::hours::Hours;
use crate::flush::store::Position;

/// Each day's partition and its indexes are locked by the transaction that writes to it, and PostgreSQL has room for some six
/// thousand locks by default, for all who are connected. One block more may have 200 days.
const DAYS_MAX: usize = 50;
/// Refusals of one transaction, of which each may have a record with it.
const REFUSED_MAX: usize = 10_000;
/// The first transaction is smaller than others may be by this, so that PostgreSQL begins to work while the next is made.
const FIRST_PART: usize = 16;
/// How much is gathered at once: it stays in the processor's cache until it is sent.
const PIECE_BYTES: usize = 64 * 1024;

/// What one transaction does.
#[derive(Debug, Default)]
pub struct Batch {
    /// Tuples by id.
    pub pieces: Vec<Bytes>,
    pub rows: u64,
    pub hours: Hours,
    pub days: BTreeSet<Day>,
    pub refused: Vec<Refused>,
    /// Records.
    pub read: u64,
    /// Of these, those that the caller did not want.
    pub outside: u64,
    pub from: Position,
    pub end: Position,
    /// The file ends with it.
    pub is_last: bool,
}

/// Blocks that are being gathered.
pub struct Gathering {
    blocks: Vec<Parsed>,
    batch: Batch,
    bytes: usize,
    /// One transaction's rows.
    bytes_max: usize,
    /// This one's: each is twice the one before, until they are as large as they may be.
    bytes_due: usize,
}

impl Gathering {
    pub fn from(position: Position, bytes_max: usize) -> Self {
        let batch = Batch { from: position, end: position, ..Batch::default() };
        Self { blocks: Vec::new(), batch, bytes: 0, bytes_max, bytes_due: bytes_max / FIRST_PART }
    }

    pub fn add(&mut self, mut block: Parsed) {
        self.bytes += block.tuples.len();
        self.batch.rows += block.index.len() as u64;
        self.batch.read += block.read;
        self.batch.outside += block.outside;
        self.batch.end = block.end;
        self.batch.days.append(&mut block.days);
        self.batch.hours.append(&mut block.hours);
        self.batch.refused.append(&mut block.refused);
        self.blocks.push(block);
    }

    pub fn is_full(&self) -> bool {
        self.bytes >= self.bytes_due || self.batch.days.len() >= DAYS_MAX || self.batch.refused.len() >= REFUSED_MAX
    }

    /// What was gathered; the next begins where it ends.
    pub fn take(&mut self, is_last: bool) -> Batch {
        let mut next = Self::from(self.batch.end, self.bytes_max);
        next.bytes_due = self.bytes_due.saturating_mul(2).min(self.bytes_max);
        let Self { blocks, mut batch, .. } = std::mem::replace(self, next);
        batch.is_last = is_last;
        batch.pieces = sorted(&blocks);
        batch
    }
}

fn sorted(blocks: &[Parsed]) -> Vec<Bytes> {
    let mut tuples: Vec<(Uuid, &[u8])> = Vec::with_capacity(blocks.iter().map(|block| block.index.len()).sum());
    for block in blocks {
        let mut start = 0;
        for (id, end) in &block.index {
            let end = *end as usize;
            tuples.push((*id, block.tuples.get(start..end).unwrap_or_default()));
            start = end;
        }
    }
    // Stable, since it makes use of runs that are in order already.
    tuples.sort_by_key(|(id, _)| *id);
    let mut pieces = Vec::new();
    let mut piece = BytesMut::with_capacity(PIECE_BYTES);
    for (_, tuple) in tuples {
        if !piece.is_empty() && piece.len() + tuple.len() > PIECE_BYTES {
            pieces.push(std::mem::replace(&mut piece, BytesMut::with_capacity(PIECE_BYTES)).freeze());
        }
        piece.extend_from_slice(tuple);
    }
    if !piece.is_empty() {
        pieces.push(piece.freeze());
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{self, Row};

    fn block(ids: &[u128], title: &str, day: Day) -> Parsed {
        let mut block = Parsed { read: ids.len() as u64, days: [day].into(), ..Parsed::default() };
        for id in ids {
            let event_id = Uuid::from_u128(*id);
            Row { event_id, title: Some(title), ..Row::default() }.encode(&mut block.tuples);
            block.index.push((event_id, block.tuples.len() as u32));
        }
        block
    }

    fn ids(batch: &Batch) -> Vec<u128> {
        let tuples = batch.pieces.concat();
        row::tuples(&tuples).map(|tuple| row::event_id(tuple.expect("a tuple")).expect("an id").as_u128()).collect()
    }

    #[test]
    fn rows_go_by_id_and_each_is_there_once() {
        let mut gathering = Gathering::from(Position::default(), usize::MAX);
        gathering.add(block(&[5, 1, 9], "a", 1));
        gathering.add(block(&[], "a", 1));
        gathering.add(block(&[7, 0], &"x".repeat(PIECE_BYTES), 2));
        let batch = gathering.take(false);
        assert_eq!((ids(&batch), batch.rows, batch.read), (vec![0, 1, 5, 7, 9], 5, 5));
        assert_eq!(batch.pieces.len(), 4);
        let next = gathering.take(true);
        assert_eq!((ids(&next), next.from, next.is_last), (vec![], batch.end, true));
    }

    #[test]
    fn a_transaction_has_a_bound_of_bytes_and_of_days() {
        let mut gathering = Gathering::from(Position::default(), 1_000 * FIRST_PART);
        // The first is small, the others are larger and larger.
        for bytes in [1, 2, 4, 8, 16, 16].map(|times| times * 1_000) {
            gathering.add(block(&[1], &"x".repeat(bytes - 1_000), 1));
            assert!(!gathering.is_full(), "{bytes}");
            gathering.add(block(&[2], &"x".repeat(1_000), 1));
            assert!(gathering.is_full(), "{bytes}");
            gathering.take(false);
        }
        let mut gathering = Gathering::from(Position::default(), usize::MAX);
        for day in 0..DAYS_MAX {
            assert!(!gathering.is_full());
            gathering.add(block(&[1], "a", day as Day));
        }
        assert!(gathering.is_full());
    }
}
