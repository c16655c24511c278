//! The journal: where an event is safe before its sender hears `200`.
//!
//! # Format
//!
//! A directory of segment files, each written by one process life and never touched again once sealed.
//!
//! ```text
//! LOCK                            flock'ed while a process owns the directory
//! node                            the directory's own name, under which the database knows it
//! adopted                         there if all that was in it was sent by `weir journal adopt`, until a collector uses it again
//! <created_ms, 13 digits>-<segment_id, 32 hex>.segment
//!
//! segment = header, frame, frame, ..., zeros      (preallocated, so that a full disk shows when a segment is made)
//! header  = 64 bytes, little endian
//!     0  8  magic "WEIRJRNL"
//!     8  2  format version, 1
//!    10  2  row version: the layout of the tuples (src/row.rs)
//!    12  4  zero
//!    16 16  segment id, random
//!    32  8  created, Unix milliseconds
//!    40 20  zero
//!    60  4  crc32c of the 60 bytes before
//! frame   = 40-byte header, sources, tuples, padding to a multiple of 8
//!     0  4  length of sources and tuples; 0: no frame here, the segment ends
//!     4  4  crc32c of (segment id, offset of the frame, header from byte 8, sources, tuples)
//!     8  4  length of sources
//!    12  4  number of tuples
//!    16  8  written, Unix milliseconds
//!    24  4  first day of the tuples' occurred_at, days since 1970-01-01
//!    28  4  last day
//!    32  8  zero
//! source  = name length u8, name, events accepted u32, of which duplicates u32
//! tuple   = one COPY BINARY tuple of analytics.events
//! ```
//!
//! # Invariants
//!
//! - A frame is one group commit. Whoever waits for it hears of success only after the sync that covers it.
//! - Segment id and offset are in each checksum: a block that belongs elsewhere is no frame.
//! - `accepted - duplicates` summed over a frame's sources is its number of tuples.
//! - A restart opens new segments and never writes to old ones.
//!
//! # Recovery
//!
//! Sealing cuts a file to the end of its last frame; one that is still preallocated was in use when its process died.
//! Every segment found is read to its first bad frame. In a file that was in use, with no valid frame after it: a torn
//! tail, which nobody was promised. Otherwise: damage to promised data. The file is then kept for ever, the range counted and logged, and
//! reading goes on behind it. Once the rest of it is applied it is renamed to `.damaged`, and stays for a person to see.

mod active;
pub mod adopted;
pub mod frame;
pub mod inspect;
pub mod progress;
mod recent;
pub mod recover;
pub mod scan;
pub mod segment;
mod state;
pub mod submission;
mod sync;
pub mod writer;

use std::io;
use std::path::PathBuf;

pub use recent::RecentIds;
pub use segment::{Segment, SegmentFeed};
pub use state::JournalState;
pub use submission::{Ack, Durability, Durable, Submission};
pub use writer::{Handle, WriterConfig};

/// Why the journal did not take an event. All of them mean: send it again later.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    #[error("the queue to the journal is full")]
    QueueFull,
    #[error("the journal has reached its size limit while the database is behind")]
    JournalFull,
    #[error("the journal's disk refused to write: {0}")]
    Disk(String),
    #[error("the database is away, and nothing is promised without it (journal.durability)")]
    DatabaseAway,
    #[error("the collector is shutting down")]
    Closed,
}

/// The journal directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process uses the journal in {0}")]
    Locked(PathBuf),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is no journal of weir's: it has neither a segment nor a file named node")]
    NoJournal(PathBuf),
    #[error("{0} was written by a newer version of weir")]
    TooNew(PathBuf),
    #[error(
        "{0} holds events, and journal.durability is no longer \"journal\": start once with that and journal.retain_s = 0, \
         until `weir journal inspect` shows no segments"
    )]
    Left(PathBuf),
}

impl OpenError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

#[cfg(test)]
mod tests;
