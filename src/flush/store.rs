//! What a lane needs of its database: PostgreSQL ([`super::postgres`]), or a model of it in a simulation.
//!
//! The order of a flush stands in [`super::batch`], above these traits, so that what is simulated is what runs.
#![expect(async_fn_in_trait, reason = "lanes are never sent between threads")]

use std::collections::BTreeMap;

use uuid::Uuid;

use super::FlushError;
use super::hours::Hours;
use crate::accounting::Settled;
use crate::journal::segment::Frames;

/// What a set of frames comes to, by source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub settled: Settled,
}

/// Counts by source.
pub type SourceCounts = BTreeMap<String, Counts>;

/// A place within a segment, and the chain of checksums up to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// End of the last applied frame; 0 before the first.
    pub offset: u64,
    pub chain: u32,
}

/// What the ledger holds of a segment.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    pub position: Position,
    pub sources: SourceCounts,
}

/// A database that can be connected to.
pub trait Store {
    type Session: Session;

    /// A new connection, to a server that takes writes.
    async fn connect(&self) -> Result<Self::Session, FlushError>;
}

/// A connection. Dropped, it is closed, and what it had begun is rolled back.
pub trait Session {
    type Transaction<'a>: Transaction
    where
        Self: 'a;

    /// Whether the other end is still there, as far as can be told without asking it.
    fn is_open(&self) -> bool;

    /// The segment's row of the ledger, made if it is new.
    async fn open(&mut self, segment: Uuid, node: &str) -> Result<Applied, FlushError>;

    /// As [`Self::open`], and from then on nobody can move the row: whatever was under way is waited for or fails.
    async fn close(&mut self, segment: Uuid, node: &str) -> Result<Applied, FlushError>;

    /// Makes what the frames' rows need before they can be stored.
    async fn prepare(&mut self, frames: &Frames) -> Result<(), FlushError>;

    async fn begin(&mut self) -> Result<Self::Transaction<'_>, FlushError>;
}

/// A transaction: all of it, or nothing.
pub trait Transaction {
    /// Moves the segment's row from one position to another; false if it is not there.
    async fn advance(&mut self, segment: Uuid, from: Position, to: Position) -> Result<bool, FlushError>;

    /// Stores the frames' rows as they are; returns how many were taken, and the hours they fall into.
    async fn copy(&mut self, frames: &Frames) -> Result<(u64, Hours), FlushError>;

    /// Stores those rows that can be stored; returns what became of the frames' events, and at least the hours of those that
    /// were stored.
    async fn sort_out(&mut self, frames: &Frames, segment: Uuid) -> Result<(SourceCounts, Hours), FlushError>;

    /// Books what became of the frames' events, and which hours have changed by it.
    async fn settle(&mut self, segment: Uuid, counts: &SourceCounts, hours: &Hours) -> Result<(), FlushError>;

    async fn commit(self) -> Result<(), FlushError>;

    async fn rollback(self);
}
