//! History into `analytics.events`: files of other products, of logs, or of weir's own format. Exactly once.
//!
//! ```text
//! input ─▶ split ─▶ parse (one thread a processor) ─▶ batch ─▶ store: COPY, ledger and weir.imports in one transaction
//! ```
//!
//! Two things keep a record from becoming two rows, and each would do alone:
//!
//! - **The id.** A row's id is made of its time, its source and the id that the record has ([`crate::event_id`]). A record
//!   without one gets the hash of its own bytes and its number among equal ones (`identity.rs`), which stay the same when a
//!   file is fetched again or cut into parts. The unique index of each day does the rest.
//! - **The ledger.** A file is read to the end of a batch in the transaction that stores the batch's rows: `weir.ledger` has
//!   the import's position, moved by compare-and-set as that of a journal's segment, with a checksum of all bytes before it. So
//!   a run that was killed goes on where its last commit ends, and a file that is another one now begins anew.
//!
//! What cannot become a row is refused with its line and a reason; what PostgreSQL refuses goes to quarantine. So for each
//! import `read = before + stored + already there + refused + quarantined + outside`, and `weir.accounting` counts its rows as it
//! counts those that were received.

mod ahead;
mod batch;
mod countries;
mod exports;
mod flat;
pub mod format;
mod ga4;
mod identity;
pub mod input;
mod parse;
pub mod progress;
pub mod run;
mod split;
mod store;
mod time;

use std::io;
use std::path::PathBuf;

pub use flat::Mapping;
pub use format::Format;
pub use run::{Importer, Options, Outcome};

use crate::database::DatabaseError;
use crate::flush::FlushError;

/// Why a file was not imported to its end. What was committed before stays, and the next run goes on there.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{}: {error}", path.display())]
    Open { path: PathBuf, error: io::Error },
    #[error("cannot be read from byte {at} on (unpacked): {error}; all records before it are stored")]
    Read { at: u64, error: io::Error },
    #[error("{0}")]
    Format(#[from] format::Unsuitable),
    #[error("--map {0}")]
    Mapping(String),
    #[error("database: {0}")]
    Database(#[from] DatabaseError),
    #[error("database: {0}; the same command goes on where this one ended")]
    Store(#[from] FlushError),
    #[error("there is no source {0:?}: `weir source add {0}` makes one")]
    NoSource(String),
    #[error("records that are refused cannot be written down: {0}")]
    Rejects(io::Error),
    #[error("{0} ended unexpectedly")]
    Thread(&'static str),
    #[error("the operating system gave no random bytes: {0}")]
    Random(io::Error),
}

impl From<tokio_postgres::Error> for ImportError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}
