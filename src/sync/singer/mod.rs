//! A Singer target: what a tap writes becomes rows.
//!
//! ```text
//! tap's output ─▶ message ─▶ stream, by its schema ─▶ value ─▶ store: COPY, merge, STATE ─▶ the source's schema
//! ```
//!
//! Delivery is at least once by the protocol: a tap goes on from its last STATE, and sends some rows again. Rows with a key
//! are therefore merged by it. STATE is written in the transaction of the rows that it covers, so no crash can part them.

pub mod catalog;
pub mod config;
pub mod load;
pub mod message;
pub mod names;
pub mod registry;
pub mod run;
pub mod store;
pub mod stream;
pub mod table;
pub mod tap;
pub mod types;
pub mod value;
pub mod views;

use std::io;

use crate::database::DatabaseError;
use crate::database::dependents::DependentsError;

/// Why a tap's output was not loaded, or not to its end. What was committed before stays.
#[derive(Debug, thiserror::Error)]
pub enum SingerError {
    #[error("the tap's output could not be read: {0}")]
    Read(io::Error),
    #[error("STATE could not be passed on: {0}")]
    Echo(io::Error),
    #[error("a message is longer than {0} bytes")]
    MessageTooLong(usize),
    #[error("the tap sends BATCH messages, which name files: take batch_config out of its settings")]
    Batch,
    #[error("a {kind} of the tap's cannot be read, and without it what follows means nothing: {reason}")]
    Malformed { kind: String, reason: String },
    #[error("the schema of {stream} cannot be used: {reason}")]
    Schema { stream: String, reason: String },
    #[error("the table of {stream}: {reason}")]
    Table { stream: String, reason: String },
    #[error("too many records fit no table, the first because: {0}; nothing of the last batch was written")]
    TooManyRejects(String),
    #[error("{name} is a source of kind {kind}, and not singer")]
    OtherKind { name: String, kind: String },
    #[error(
        "{name}'s tables are in the schema {known}, not {schema}: set that one, or rename both it and sync.sources.schema"
    )]
    Moved { name: String, schema: String, known: String },
    #[error("another run of {0} has begun: this one may not write any more")]
    TakenOver(String),
    #[error("a run of {0} is under way")]
    Busy(String),
    #[error("{0}")]
    Tap(String),
    #[error(transparent)]
    Dependents(#[from] DependentsError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<tokio_postgres::Error> for SingerError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

impl SingerError {
    /// Whether others held a lock: it is gone with another try.
    pub fn is_lock(&self) -> bool {
        let Self::Database(error) = self else { return false };
        matches!(error.sqlstate().map(tokio_postgres::error::SqlState::code), Some("55P03" | "40P01"))
    }
}
