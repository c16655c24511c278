//! The application's PostgreSQL, by logical replication: its tables are here, some moments behind.
//!
//! ```text
//! publisher                                weir                                     weir's database
//! a publication, a slot      ──stream──▶   [`stream`], [`pgoutput`], [`apply`] ──▶  tables in the source's schema
//! its tables                 ───COPY───▶   [`copy`]                           ───▶  the same, at first
//! its catalog                ───poll───▶   [`follow`]                         ───▶  the same, when they change
//! ```
//!
//! weir reads the stream itself, instead of PostgreSQL's own subscription: that needs a superuser here before PostgreSQL 16,
//! and puts a table nowhere but in a schema of the same name, where two applications' tables would meet.
//!
//! # How nothing is lost
//!
//! What was applied is stored in the same transaction as the rows (`sync.replications.applied_lsn`), and confirmed to the
//! publisher only then. A transaction that was not confirmed is sent again; one before `applied_lsn` is not. A slot that was
//! confirmed further than what is here, because this database was restored, say, is noticed at the start.
//!
//! A copy is made between two transactions of the stream, from a snapshot that is newer than both; [`barrier`] says when, so
//! that it has what the stream does not bring. What is in it may come again by the stream; so changes are applied in a way that
//! has the same result the second time: an insert replaces, an update inserts what is missing, a delete finds nothing. Once the
//! stream has passed the copy, the table is as it is there.
//!
//! # How tables change
//!
//! The publisher's catalog knows columns by numbers that stay when names change; it is looked at every few seconds, and
//! whenever the stream shows a table that is not as known. Columns here follow it: they are added, renamed, widened; none is
//! dropped. The stream may be behind the catalog: [`align`] finds for each of its columns the number that it had. Where rows
//! may have changed without a word in the stream (a column whose default is computed, a type that another one replaced), the table is
//! copied anew; until then its changes are skipped, since the copy has them.

pub mod align;
pub mod apply;
pub mod barrier;
pub mod check;
pub mod copy;
pub mod engine;
pub mod follow;
mod follower;
pub mod known;
pub mod lsn;
pub mod pattern;
pub mod pgoutput;
pub mod publish;
pub mod publisher;
pub mod runner;
pub mod settings;
pub mod setup;
pub mod stream;
pub mod types;

use crate::database::DatabaseError;
use crate::database::dependents::DependentsError;
pub use crate::database::text::{literal, quoted};

/// How values are read here, whatever the database's own settings are: as the stream writes them.
pub const VALUES: &str =
    "set local timezone = 'UTC'; set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres'";
/// Longer would make analysts queue behind a change of a table.
pub const LOCK_TIMEOUT_MS: u32 = 5_000;

/// Why a source is not replicated.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    #[error("weir's database: {0}")]
    Local(#[from] DatabaseError),
    #[error("the publisher: {0}")]
    Publisher(DatabaseError),
    #[error(transparent)]
    Stream(#[from] stream::StreamError),
    #[error(transparent)]
    Malformed(#[from] pgoutput::Malformed),
    #[error(transparent)]
    Dependents(#[from] DependentsError),
    #[error("{0}")]
    Settings(String),
    #[error("{0} is not started: `weir sync plan {0}` shows what `weir sync start {0}` does")]
    NotStarted(String),
    #[error("{0} is started already; `weir sync status {0}` shows how it is")]
    Started(String),
    #[error("{0}")]
    Refused(String),
    #[error("the publisher's slot {0} is gone: `weir sync resync {1}` makes a new one, and copies all tables")]
    SlotGone(String, String),
    #[error(
        "the publisher's slot {0} is lost, since it kept no more WAL for it: `weir sync resync {1}` makes a new one, and copies all tables"
    )]
    SlotLost(String, String),
    #[error(
        "the publisher's slot {slot} was confirmed up to {confirmed}, and only what is before {applied} is here: `weir sync resync {name}` copies all tables"
    )]
    Gap { slot: String, name: String, confirmed: String, applied: String },
    #[error(
        "the publisher was set back: its WAL ends at {end}, and what is before {applied} is here: `weir sync resync {name}` copies all tables, if that is right"
    )]
    SetBack { name: String, end: String, applied: String },
    #[error("the publisher is another cluster than before: `weir sync resync {0}` copies all tables, if that is right")]
    OtherCluster(String),
    #[error("the slot {0} is in use by another connection: is another collector reading it?")]
    SlotBusy(String),
    #[error(
        "the publisher makes no slot within a minute: transactions are open there since before (pg_stat_activity.xact_start); end them, or try again"
    )]
    SlotWaits,
    #[error("another process moved this source on: trying again")]
    Overtaken,
    #[error("the publisher says what is not expected: {0}")]
    Unexpected(String),
}

impl From<tokio_postgres::Error> for ReplicationError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Local(error.into())
    }
}
