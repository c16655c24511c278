//! `ClickHouse` as a second sink: it has, within seconds, what PostgreSQL has.
//!
//! ```text
//! journal ─▶ flush ─▶ analytics.events           one transaction: the ledger moves, rows are stored, and
//!                  └▶ weir.clickhouse_named       their ids are named
//! forgets, replays ─▶ weir.clickhouse_named       as that
//! retention, imports, changes by hand
//!                  └▶ weir.clickhouse_marks       the hours or days that may differ are marked, by a trigger on weir.touched
//!
//! the follower        takes ids ─▶ reads these rows as they are now ─▶ RowBinary ─▶ INSERT, or DELETE of those that are gone
//!                     takes marks ─▶ compares checksums of both ─▶ inserts and deletes what differs
//!                     then removes what it took
//! ```
//!
//! # Why `ClickHouse` ends up equal to PostgreSQL
//!
//! Whoever changes events says so in the transaction that changes them: by id, or by a stretch of time. What is said is removed only
//! after `ClickHouse` has confirmed that it follows. Nothing here carries a row's content: it is **read from PostgreSQL when it is
//! sent**, so it does not matter in which order things are done, how often, or after how long; a person who was forgotten meanwhile is not
//! sent any more; and what PostgreSQL refused, changed, or had already is decided. This is why the follower reads the database and not
//! the journal's files: those do not know what became of their events, and a journal that had to wait for `ClickHouse` would fill with
//! `ClickHouse` away, and refuse events.
//!
//! What waits is bounded. Flushes name ids only while the follower says that it is there, five minutes at a time, and that less than
//! a bound waits ([`book::renew`]); else hours are marked, of which there are 24 a day. A new table, or one that was dropped, is
//! the same: all days are marked.
//!
//! # Why nothing is there twice
//!
//! Where a row may be there already (a batch that is sent again, one with known duplicates, what a comparison may have sent) it is
//! asked first, by id and checksum: what is missing is inserted, and what is otherwise or gone is deleted. Whoever begins to
//! follow, or begins again after a failure, first looks whether an earlier insert is still running. Should one that was on its way when its sender
//! was killed be done later still: the ids of a batch are fixed before it is sent for the first time, and cut into inserts by themselves
//! alone, so an insert that is repeated has the same token, and `ClickHouse` takes it once. Rows of more than one piece
//! (`send.rs`), and old servers, have no tokens; there, as after a failover of PostgreSQL that lost commits, a row may be there
//! twice, and alike: the table's engine removes one when it merges, and `FINAL` shows one.
//!
//! What is repeated by its token is asked for afterwards: an insert whose body was cut off where a row ends would have counted as whole.
//!
//! # Why nothing holds up the rest
//!
//! A stretch of time that cannot be compared (too much for a server's limits, a deletion that takes long) is told, and taken up again
//! later; only what nothing can go on without ends the follower, which then begins again.
//!
//! One collector of all does it, by an advisory lock.

pub mod book;
pub mod columns;
mod compare;
pub mod difference;
pub mod http;
pub mod rowbinary;
mod rows;
pub mod send;
pub mod settings;
pub mod table;
pub mod task;

use crate::database::DatabaseError;
use rowbinary::EncodeError;
use tokio_postgres::error::SqlState;

/// Advisory lock of whoever follows: "clik" in ASCII.
pub(crate) const CLICKHOUSE_LOCK: i64 = 0x636c_696b;
/// One that works, and one that holds the lock.
pub const CONNECTIONS: usize = 2;

/// Why `ClickHouse` does not follow.
#[derive(Debug, thiserror::Error)]
pub enum ClickHouseError {
    #[error("{0}")]
    Database(#[from] DatabaseError),
    #[error("no answer from ClickHouse: {0}")]
    Away(String),
    #[error("no answer from ClickHouse for {seconds} s")]
    Late { seconds: u64 },
    #[error("ClickHouse says no ({status}): {text}")]
    Refused { status: u16, code: Option<u32>, text: String },
    #[error("ClickHouse's answer has more than {bytes_max} bytes")]
    TooMuch { bytes_max: usize },
    #[error("ClickHouse's answer is not understood: {0:?}")]
    Unclear(String),
    #[error("clickhouse.user and clickhouse.password cannot be sent in a header: visible ASCII only")]
    BadLogin,
    #[error("TLS: {0}")]
    Tls(String),
    #[error("the table in ClickHouse lacks a column: alter table ... add column {declaration}")]
    NoColumn { declaration: String },
    #[error(
        "the table in ClickHouse has {name} as {found}, which cannot be: alter table ... modify column {declaration}"
    )]
    WrongColumn { name: &'static str, found: String, declaration: String },
    #[error("an earlier insert is still running in ClickHouse: it is waited for")]
    Running,
    #[error("ClickHouse has not carried out a deletion yet: {0}")]
    Deleting(String),
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl From<tokio_postgres::Error> for ClickHouseError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

impl ClickHouseError {
    /// Whether it is of what was asked, and what else is to be done may go well.
    pub fn is_of_question(&self) -> bool {
        match self {
            Self::Database(error) => error.sqlstate().is_some(),
            // But a column, table, or database that is not there, no login, and no right (src/Common/ErrorCodes.cpp of ClickHouse).
            Self::Refused { code, .. } => !matches!(code, Some(16 | 47 | 60 | 81 | 192..=194 | 497 | 516)),
            Self::Late { .. } | Self::TooMuch { .. } | Self::Unclear(_) | Self::Deleting(_) | Self::Encode(_) => true,
            Self::Away(_)
            | Self::BadLogin
            | Self::Tls(_)
            | Self::NoColumn { .. }
            | Self::WrongColumn { .. }
            | Self::Running => false,
        }
    }

    /// Whether less at once may be done in time, or in the memory that there is.
    pub fn is_of_size(&self) -> bool {
        match self {
            // Too slow, too slow to end in time, too many rows or bytes, too much memory.
            Self::Refused { code: Some(158..=160 | 241 | 307), .. } | Self::Late { .. } => true,
            Self::Database(error) => error.sqlstate() == Some(&SqlState::QUERY_CANCELED),
            _ => false,
        }
    }

    /// What a person can do.
    pub fn cure(&self) -> &'static str {
        // Codes: src/Common/ErrorCodes.cpp of ClickHouse.
        match self {
            Self::Refused { code: Some(192..=194 | 516), .. } => {
                "set clickhouse.user and WEIR_CLICKHOUSE__PASSWORD as ClickHouse knows them"
            }
            Self::Refused { code: Some(497), .. } => {
                "grant the user select, insert, alter delete, and create table in the database, and select on system.*"
            }
            Self::Refused { code: Some(81), .. } => "create the database that clickhouse.database names",
            Self::Refused { code: Some(243), .. } => "ClickHouse's disk is full",
            Self::Refused { code: Some(252), .. } => {
                "ClickHouse merges more slowly than it is given: raise clickhouse.interval_ms"
            }
            Self::Refused { .. } => "what ClickHouse says tells the cause",
            Self::Away(_) => "is it running, and does clickhouse.url lead to its HTTP port?",
            Self::NoColumn { .. } | Self::WrongColumn { .. } => {
                "alter the table, or rename it: weir then makes one, and fills it"
            }
            Self::BadLogin | Self::Tls(_) => "mend the settings",
            Self::Deleting(_) => "system.mutations in ClickHouse tells why",
            Self::Database(_)
            | Self::Late { .. }
            | Self::TooMuch { .. }
            | Self::Unclear(_)
            | Self::Running
            | Self::Encode(_) => "it is tried again",
        }
    }
}
