//! Rollups: tables that follow `analytics.events`, each made by one SELECT in a file of its own ([`definition`]).
//!
//! # How an incremental rollup stays true
//!
//! ```text
//! whoever changes events      weir.touched        the hours, in the transaction that changes them
//! dispatch                    weir.rollup_dirty   the buckets of each rollup that depend on these hours
//! a run, newest bucket first  the rollup's table  begin; delete the marks; delete the buckets; insert them anew; commit
//! ```
//!
//! Nothing here goes by ids or times of commits. A row of `weir.touched` is seen once it is committed, and then so are the
//! events that it tells of; where these lie on other servers, dispatch waits for them. Dispatch deletes it and makes marks
//! of it in one transaction, so each becomes marks once. A run deletes marks *before* the statement that reads events
//! begins: what was committed before a mark was made is read; what is committed later makes a new mark, which the run has
//! not seen and therefore leaves. Where a mark is there already, dispatch makes none, but only when it holds the lock of the
//! one that is there: then no run has taken it. A run that dies leaves its marks as they were. Runs of one rollup take turns
//! by the lock of its row in `weir.rollups`.
//!
//! The first filling is nothing but marks, of all buckets. A definition that changes is filled in the same way, as a table of
//! its own beside the old one, which is kept true meanwhile; then the two are exchanged in one transaction ([`swap`]).
//!
//! Any number of collectors may run; one of them at a time looks after rollups ([`runner`]). Should two believe it is them,
//! work is done twice, and the result is the same.

pub mod budget;
pub mod catalog;
pub mod check;
pub mod definition;
pub mod dispatch;
mod header;
pub mod library;
pub mod pack;
pub mod plan;
pub mod recompute;
pub mod refresh;
pub mod run;
pub mod runner;
pub mod swap;

use deadpool_postgres::Transaction;

use crate::database::DatabaseError;
use crate::database::text::{literal, quoted};
use definition::Problem;

/// Waiting longer for a lock would make others queue behind it.
const LOCK_TIMEOUT_MS: u32 = 5_000;
/// Between two statements of a transaction nothing slow happens here.
const IDLE_TIMEOUT_MS: u32 = 60_000;

/// Why something could not be done with rollups.
#[derive(Debug, thiserror::Error)]
pub enum RollupError {
    #[error("{}", lines(.0))]
    Definitions(Vec<Problem>),
    #[error("there is no rollup {0}; `weir rollup list` shows them")]
    Missing(String),
    #[error("{0} is being computed by another process; try again when that is done")]
    Busy(String),
    #[error("analytics.{0} exists and is no rollup: rename the file, or that relation")]
    Taken(String),
    #[error("the new {name} cannot take the place of the old one, which stays: {reason}")]
    Stuck { name: String, reason: String },
    #[error("{0} is still defined, and would be made again: remove its file first")]
    StillDefined(String),
    #[error("visits could not be packed: the log says why")]
    Packing,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<tokio_postgres::Error> for RollupError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

impl RollupError {
    /// Whether it is the bucket's own: what is in it, or how long it takes. PostgreSQL answers, and not that it is in need.
    pub fn is_of_bucket(&self) -> bool {
        let Self::Database(error) = self else { return false };
        let code = error.sqlstate().map(tokio_postgres::error::SqlState::code);
        code.is_some_and(|code| {
            !self.is_passing() && !["08", "53", "57P", "58", "XX"].iter().any(|of| code.starts_with(of))
        })
    }

    /// Whether it is gone by itself with the next try: someone else held a lock, or a rollup was exchanged just then.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Busy(_) => true,
            // Lock not available, deadlock, serialization failure, foreign key violation.
            Self::Database(error) => matches!(
                error.sqlstate().map(tokio_postgres::error::SqlState::code),
                Some("55P03" | "40P01" | "40001" | "23503")
            ),
            _ => false,
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// How a transaction of the engine begins: what is said above holds at this isolation level.
async fn begin(transaction: &Transaction<'_>, statement_ms: u128, timezone: &str) -> Result<(), RollupError> {
    let settings = format!(
        "set transaction isolation level read committed;
         set local search_path = analytics; set local timezone = {};
         set local lock_timeout = {LOCK_TIMEOUT_MS}; set local statement_timeout = {statement_ms};
         set local idle_in_transaction_session_timeout = {IDLE_TIMEOUT_MS}",
        literal(timezone)
    );
    Ok(transaction.batch_execute(&settings).await?)
}
