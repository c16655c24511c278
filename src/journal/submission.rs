//! What a request hands to the journal, and what it hears.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::JournalError;
use crate::buffer::Reservation;
use crate::clock::Day;

/// When a sender is told that its events are safe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// `200` once the journal's file is synced. Then PostgreSQL may be away for hours.
    #[default]
    Journal,
    /// `200` once PostgreSQL has committed; nothing is written to a disk here. `503` while PostgreSQL is away.
    Database,
    /// `202` once the events are in memory: a crash loses them.
    Memory,
}

impl Durability {
    /// Whether the journal's files lie on a disk; otherwise they lie in memory.
    pub fn is_on_disk(self) -> bool {
        self == Self::Journal
    }
}

/// One request's events.
pub struct Submission {
    pub source: Arc<str>,
    /// COPY BINARY tuples, one after the other.
    pub tuples: Vec<u8>,
    pub events: SmallVec<[Submitted; 1]>,
    /// First and last day of the events' time.
    pub days: (Day, Day),
    pub answer: oneshot::Sender<Result<Ack, JournalError>>,
    /// The memory that this submission holds.
    pub memory: Reservation,
}

/// One event within a [`Submission`].
#[derive(Debug, Clone, Copy)]
pub struct Submitted {
    pub id: Uuid,
    pub tuple_bytes: u32,
    /// Whether the client named the event, so that it can come twice.
    pub has_message_id: bool,
}

/// Proof that events are as safe as [`Durability`] promises. Made in two places: by the journal thread after its write
/// and sync, and for those in [`Senders`] after the lane's commit.
#[derive(Debug)]
pub struct Durable(Durability);

impl Durable {
    /// What has happened to the events.
    pub fn stage(&self) -> Durability {
        self.0
    }
}

/// The journal's answer to a submission.
#[derive(Debug)]
pub struct Ack {
    /// Events that were known already.
    pub duplicate: u32,
    pub durable: Durable,
}

impl Submission {
    /// Says that the events are safe. The sender may be gone; they are safe all the same.
    pub(super) fn accept(self, stage: Durability, duplicate: u32) {
        let _ = self.answer.send(Ok(Ack { duplicate, durable: Durable(stage) }));
    }

    pub(super) fn refuse(self, error: JournalError) {
        let _ = self.answer.send(Err(error));
    }
}

/// The senders of one frame, waiting for PostgreSQL's commit. They keep their memory reserved: that bounds what is in
/// flight.
pub struct Senders {
    submissions: Vec<Submission>,
}

impl Senders {
    pub(super) fn new(submissions: impl Iterator<Item = Submission>) -> Self {
        let keep = |mut submission: Submission| {
            submission.tuples = Vec::new();
            submission
        };
        Self { submissions: submissions.map(keep).collect() }
    }

    /// The frame is committed.
    pub fn committed(self) {
        for submission in self.submissions {
            // What of them was known already, PostgreSQL has sorted out.
            submission.accept(Durability::Database, 0);
        }
    }

    /// Whether the frame will be committed is not known, or it will not.
    pub fn refused(self, error: &JournalError) {
        for submission in self.submissions {
            submission.refuse(error.clone());
        }
    }
}
