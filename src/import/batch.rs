//! Blocks in the order of the file, put together for one transaction, its rows in the order of the unique index.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use super::parse::{Parsed, Refused};
use crate::clock::Day;
use crate::flush::hours::Hours;
use crate::flush::store::Position;

/// Each day's partition and its indexes are locked by the transaction that writes to it, and PostgreSQL has room for some six
/// thousand locks by default. One block more may have 500 days.
const DAYS_MAX: usize = 200;
/// Refusals of one transaction, of which each may have a record with it.
const REFUSED_MAX: usize = 10_000;
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
}

impl Gathering {
    pub fn from(position: Position, bytes_max: usize) -> Self {
        let batch = Batch { from: position, end: position, ..Batch::default() };
        Self { blocks: Vec::new(), batch, bytes: 0, bytes_max }
    }

    pub fn add(&mut self, mut block: Parsed) {
        self.bytes += block.tuples.len();
        self.batch.rows += block.index.len() as u64;
        self.batch.read += block.read;
        self.batch.end = block.end;
        self.batch.days.append(&mut block.days);
        self.batch.hours.append(&mut block.hours);
        self.batch.refused.append(&mut block.refused);
        self.blocks.push(block);
    }

    pub fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max || self.batch.days.len() >= DAYS_MAX || self.batch.refused.len() >= REFUSED_MAX
    }

    /// What was gathered; the next begins where it ends.
    pub fn take(&mut self, is_last: bool) -> Batch {
        let next = Self::from(self.batch.end, self.bytes_max);
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
