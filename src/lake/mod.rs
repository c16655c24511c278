//! The lake: days of `analytics.events` that are over, as Parquet on a directory or an S3-compatible bucket, for `DuckDB`,
//! `ClickHouse`, Spark, `BigQuery`, Snowflake, and whatever else reads Hive's layout.
//!
//! ```text
//! URL/date=2026-11-20/source=web/events-1.parquet
//!      the day (UTC)  whose key  the part: 1, and 2 for what came after retention had dropped the day
//! ```
//!
//! # Why no reader ever sees a row twice, and none is missing in the end
//!
//! A part of a day and a source is **one object under one name**, which is replaced whole ([`store`]). So whenever a process
//! dies, and between any two objects, a reader of the prefix sees each source of each day once: as it was, or as it is.
//!
//! ```text
//! whoever changes events   weir.touched ─trigger─▶ weir.lake_marks   the day, in the transaction that changes it, if it is in the lake
//! the exporter             take      one transaction: marks away, the day is stale, its attempt has a number
//!                          write     COPY, by source; Parquet; sent, and seen by nobody yet
//!                          begin     the names of all objects that will be put
//!                          put       each source: whole, read back; booked if the attempt is still the latest
//!                          remove    objects of sources that the day has no more rows of
//!                          done      no longer stale, if the attempt is still the latest
//! ```
//!
//! Nothing here goes by ids or times of commits. Marks are deleted before anything is read: what was committed before a mark was
//! taken is read, and what is committed later makes a new mark, or holds the one that is there, which then cannot be taken. A day
//! is entered into `weir.lake_days` under a lock that waits for every transaction which has looked and not found it. Whatever
//! is cut short leaves the day stale, and it is done again, to the same names.
//!
//! Parts keep rows apart that no single table has any more: retention names the table it detached in the transaction that
//! detaches it, drops it only when the lake has all of it, and what comes later is in another table, and so in another part.
//!
//! One collector of all does it, by an advisory lock, which it looks after before each object. One that lost the lock without
//! hearing of it books nothing any more; should its last object still arrive after a newer one, the comparison of the store with
//! the books ([`Exporter::compare`], `weir lake status --check`) finds it, and the day is written again.

pub mod book;
pub mod compare;
pub mod export;
pub mod in_use;
pub mod settings;
pub mod store;
pub mod task;
mod upload;

use crate::columnar::copy::CopyError;
use crate::database::DatabaseError;
use jiff::civil::Date;
use store::StoreError;

pub use export::{Exporter, Summary, Wanted};

/// Advisory lock of whoever writes to the lake: "lake" in ASCII.
pub(crate) const LAKE_LOCK: i64 = 0x6c61_6b65;
/// One that works, and one that holds the lock.
pub const CONNECTIONS: usize = 2;

/// Why something is not in the lake. What is said to be there is.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    #[error("{0}")]
    Database(#[from] DatabaseError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error("{name}: {source}")]
    Parquet { name: String, source: parquet::errors::ParquetError },
    #[error("{name}: {sent} rows were sent and {found} read back")]
    Unreadable { name: String, sent: u64, found: u64 },
    #[error("the encoding thread ended: see the log")]
    Thread,
    #[error("cut short")]
    CutShort,
    #[error("another process has taken {day} up since: it finishes it")]
    Overtaken { day: Date },
    #[error("no partition of {day} is in the database: there is nothing to export")]
    NoDay { day: Date },
    #[error("{day} is not over yet: it is exported {hours} hours after its end (UTC), lake.close_after_hours")]
    Open { day: Date, hours: u32 },
    #[error("weir.lake_days is in use: {attempts} attempts got no lock in it; pg_stat_activity names who holds it")]
    Busy { attempts: u32 },
    #[error("{failed} days could not be exported; the first, {day}: {source}")]
    Days { failed: usize, day: Date, source: Box<LakeError> },
}

impl From<tokio_postgres::Error> for LakeError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Where an object lies, below the lake's URL. A source's name is plain; what is not, by hand, is escaped as Hive does.
pub fn key(day: Date, source: &str, part: i32) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let source: String = source
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("date={day}/source={source}/events-{part}.parquet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_are_plain() {
        let day = Date::constant(2026, 11, 20);
        assert_eq!(key(day, "web-1.a_b", 1), "date=2026-11-20/source=web-1.a_b/events-1.parquet");
        assert_eq!(key(day, "a/b é", 2), "date=2026-11-20/source=a%2Fb%20%C3%A9/events-2.parquet");
    }
}
