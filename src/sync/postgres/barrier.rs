//! When a table may be copied, so that the copy and the stream together have every row.
//!
//! The stream does not bring what was written before a table was published, also of a transaction that is committed later; and
//! it may bring a commit that nobody there sees yet, since it waits for a standby. While a table is to be copied, its changes
//! are skipped: so the copy must see all that was skipped.
//!
//! 1. Once a table is to be copied, a transaction is begun there: all that were before have smaller numbers. They are over
//!    first; the stream goes on meanwhile.
//! 2. What is read from then on is noted by its number, and the copy's snapshot must see it. If it does not, another one is
//!    taken later.
//!
//! Nothing of this is stored: whoever starts takes all that is to be copied as decided just then.

use std::collections::{BTreeMap, HashSet};

use super::ReplicationError;
use super::known::{Known, State};
use super::lsn::Lsn;
use super::publisher::Publisher;

/// What was seen of transactions at one moment: PostgreSQL's `xmin:xmax:xip,...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// All before it are over.
    min: u64,
    /// None from it on was.
    max: u64,
    open: HashSet<u32>,
}

impl Snapshot {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (min, max, open) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
        let open = open.split(',').filter(|xid| !xid.is_empty());
        // The stream tells the lower half only.
        let open: Option<HashSet<u32>> = open.map(|xid| xid.parse::<u64>().ok().map(|xid| xid as u32)).collect();
        Some(Self { min, max, open: open? })
    }

    /// Whether a transaction that the stream had was over: these numbers are near each other, and begin anew after the last.
    fn sees(&self, xid: u32) -> bool {
        (xid.wrapping_sub(self.max as u32) as i32) < 0 && !self.open.contains(&xid)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// For all transactions before this one.
    Transactions(u64),
    /// They are over; the stream passes here first.
    Stream(Lsn),
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Barrier {
    waits: BTreeMap<u32, Wait>,
    /// Read since, and not seen to be over.
    read: HashSet<u32>,
}

impl Barrier {
    /// A transaction was read.
    pub fn note(&mut self, xid: u32) {
        if !self.waits.is_empty() {
            self.read.insert(xid);
        }
    }

    /// The table's wait begins anew, if it is still to be copied.
    pub fn forget(&mut self, relid: u32) {
        self.waits.remove(&relid);
    }

    /// Whether a table may be copied, as far as transactions go.
    pub fn is_passed(&self, relid: u32, reached: Lsn) -> bool {
        matches!(self.waits.get(&relid), Some(Wait::Stream(at)) if *at <= reached)
    }

    /// Whether a snapshot has all that was skipped.
    pub fn is_seen_by(&self, snapshot: &Snapshot) -> bool {
        self.read.iter().all(|xid| snapshot.sees(*xid))
    }

    /// Whether a transaction that was read was not over when that was last asked.
    pub fn has_unseen(&self) -> bool {
        !self.read.is_empty()
    }

    /// Another snapshot is taken once the stream has passed a place.
    pub fn again(&mut self, relid: u32, at: Lsn) {
        self.waits.insert(relid, Wait::Stream(at));
    }
}

impl Known {
    fn to_copy(&self) -> impl Iterator<Item = u32> {
        self.tables.values().filter(|table| table.state == State::Copy).map(|table| table.relid)
    }

    /// Whether [`settle`] would do anything.
    pub fn is_unsettled(&self) -> bool {
        let is_settled = |relid| matches!(self.barrier.waits.get(&relid), Some(Wait::Stream(_)));
        !self.to_copy().all(is_settled) || self.barrier.has_unseen()
    }

    /// Forgets tables that are not to be copied any more.
    pub fn forget_waits(&mut self) {
        let tables = &self.tables;
        self.barrier.waits.retain(|relid, _| tables.get(relid).is_some_and(|table| table.state == State::Copy));
    }
}

/// Moves on the waits of all tables that are to be copied.
pub async fn settle(publisher: &Publisher, known: &mut Known) -> Result<(), ReplicationError> {
    known.forget_waits();
    let new: Vec<u32> = known.to_copy().filter(|relid| !known.barrier.waits.contains_key(relid)).collect();
    if !new.is_empty() {
        let xid = publisher.next_transaction().await?;
        known.barrier.waits.extend(new.into_iter().map(|relid| (relid, Wait::Transactions(xid))));
    }
    let (snapshot, at) = publisher.snapshot().await?;
    for wait in known.barrier.waits.values_mut() {
        if matches!(wait, Wait::Transactions(xid) if *xid <= snapshot.min) {
            *wait = Wait::Stream(at);
        }
    }
    known.barrier.read.retain(|xid| !snapshot.sees(*xid));
    if known.barrier.waits.is_empty() {
        known.barrier.read.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_or_later_is_not_seen() {
        let snapshot = Snapshot::parse("100:110:100,105").expect("good");
        for (xid, is_seen) in [(99, true), (100, false), (101, true), (105, false), (109, true), (110, false)] {
            assert_eq!(snapshot.sees(xid), is_seen, "{xid}");
        }
        // The stream's numbers begin anew after 2^32.
        let later = Snapshot::parse("4294967290:4294967300:4294967298").expect("good");
        for (xid, is_seen) in [(4_294_967_295, true), (1, true), (2, false), (3, true), (4, false)] {
            assert_eq!(later.sees(xid), is_seen, "{xid}");
        }
        assert_eq!(Snapshot::parse("7:7:").map(|snapshot| snapshot.min), Some(7));
        assert_eq!(Snapshot::parse("7:x:"), None);
    }
}
