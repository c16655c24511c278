//! From the journal into `analytics.events`: exactly once, never on the request path.
//!
//! Each lane follows the segments that the journal writes for it. A flush is one transaction:
//!
//! ```text
//! begin
//! update weir.ledger set applied_to = hi where segment_id = s and applied_to = lo and applied_crc = c    one row, or stop
//! copy analytics.events from stdin binary                                                                the frames' tuples
//! insert into weir.touched, weir.ledger_sources ...                                                      which hours, and what became of them
//! commit
//! ```
//!
//! The compare-and-set comes first: its row lock makes a second attempt wait for the first one's fate, so a commit whose
//! answer was lost is never repeated. Rows and ledger stand or fall together.

pub mod batch;
pub mod careful;
pub mod hours;
pub mod lane;
pub mod ledger;
pub mod order;
pub mod outage;
pub mod partitions;
pub mod postgres;
pub mod quarantine;
mod retained;
pub mod shared;
pub mod store;

use std::io;

use bytes::Bytes;
use deadpool_postgres::Transaction;
use futures_util::SinkExt;
use std::pin::pin;

use crate::database::DatabaseError;
use crate::row::{self, TupleError};

/// Opens every COPY BINARY stream: signature, flags, no extension.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Closes it: a column count of -1.
const COPY_TRAILER: &[u8] = &[0xff, 0xff];

/// Why a flush did not commit.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// A row is at fault: find it.
    #[error("PostgreSQL refuses a row: {0}")]
    Data(DatabaseError),
    /// A table or a privilege is at fault: a person must act, the journal goes on.
    #[error("the schema is not as weir needs it: {0}")]
    Schema(DatabaseError),
    /// Time may heal it.
    #[error("{0}")]
    Transient(DatabaseError),
    /// The ledger is elsewhere than this lane thought: read it again.
    #[error("the ledger has moved")]
    Moved,
    /// The ledger tells of a segment with the same name and other bytes: two copies of one journal.
    #[error(
        "segment {0} is not the file that the database knows: a journal was copied or restored; nothing more is sent from it"
    )]
    Fork(uuid::Uuid),
    /// PostgreSQL took another number of rows than it was sent.
    #[error("COPY stored {stored} of {sent} rows")]
    Miscounted { stored: u64, sent: u64 },
    #[error("the journal cannot be read: {0}")]
    Journal(#[from] io::Error),
    #[error("no answer from the database within {0} s")]
    TimedOut(u64),
}

impl From<DatabaseError> for FlushError {
    fn from(error: DatabaseError) -> Self {
        // Classes of SQLSTATE: PostgreSQL's manual, appendix A. What a row can be at fault for includes whatever a trigger
        // raises, so everything that is not known to be something else is that; `weir.store_each` agrees.
        if matches!(
            error,
            DatabaseError::Migration(_)
                | DatabaseError::Distribute(_)
                | DatabaseError::TooOld { .. }
                | DatabaseError::TooNew { .. }
        ) {
            return Self::Schema(error);
        }
        match error.sqlstate().map(|state| &state.code()[..2]) {
            // Connection, transaction state, rollback, resources, object state, intervention, system, internal.
            None | Some("08" | "25" | "40" | "53" | "55" | "57" | "58" | "XX") => Self::Transient(error),
            // Syntax or access rule, invalid schema or catalog name, feature not supported, authorization.
            Some("42" | "3F" | "3D" | "0A" | "28") => Self::Schema(error),
            Some(_) => Self::Data(error),
        }
    }
}

impl From<tokio_postgres::Error> for FlushError {
    fn from(error: tokio_postgres::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

impl FlushError {
    /// Whether trying again will not help before someone has acted.
    pub fn needs_a_person(&self) -> bool {
        matches!(self, Self::Schema(_) | Self::Journal(_) | Self::Miscounted { .. })
    }
}

/// What the journal holds passed its checksums, and yet is no row.
fn unreadable(error: TupleError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Copies tuples of layout `row_version` into `table`, whose columns are those of `analytics.events`; returns how many
/// rows were taken.
async fn copy(
    transaction: &Transaction<'_>,
    table: &str,
    row_version: u16,
    tuples: impl Iterator<Item = Bytes>,
) -> Result<u64, FlushError> {
    let columns: Vec<&str> = row::columns(row_version).iter().map(|(name, _)| *name).collect();
    let statement = format!("copy {table} ({}) from stdin (format binary)", columns.join(", "));
    let mut sink = pin!(transaction.copy_in::<_, Bytes>(statement.as_str()).await?);
    sink.feed(Bytes::from_static(COPY_HEADER)).await?;
    for chunk in tuples {
        sink.feed(chunk).await?;
    }
    sink.feed(Bytes::from_static(COPY_TRAILER)).await?;
    Ok(sink.finish().await?)
}
