//! The id of an event, a UUIDv8 (RFC 9562, section 5.8).
//!
//! ```text
//! 48 bits  the event's own time, Unix milliseconds       so index inserts go to the right edge
//!  4 bits  version 8
//! 12 bits  ┐
//!  2 bits  │ variant, between the two parts of the tail
//! 62 bits  ┘ tail: SHA-256 of (source, message id), or random without one
//! ```
//!
//! A retry has the same message id and the same time, hence the same id, and lands in the same daily partition, where a
//! unique index refuses it.

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// The tail for an event with a message id.
pub fn tail_of(source: &str, message_id: &str) -> u128 {
    let mut hash = Sha256::new();
    hash.update(source.as_bytes());
    // A source name holds no NUL, so the pair is unambiguous.
    hash.update([0]);
    hash.update(message_id.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    digest[..16].iter().fold(0, |tail, byte| tail << 8 | u128::from(*byte))
}

/// Joins an event's time and its tail.
pub fn event_id(occurred_at: Timestamp, tail: u128) -> Uuid {
    let ms = occurred_at.as_millisecond().clamp(0, (1 << 48) - 1) as u128;
    // `Builder` sets version and variant; what lies under them is lost, the remaining 74 bits of tail are not.
    let bits = ms << 80 | (tail & ((1 << 80) - 1));
    Builder::from_u128(bits).with_version(uuid::Version::Custom).with_variant(uuid::Variant::RFC4122).into_uuid()
}

/// What stays the same over the retries of a message even when its time does not: the id's tail.
pub fn tail_bits(id: Uuid) -> u128 {
    id.as_u128() & ((1 << 80) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_ordered_and_distinct() {
        let at: Timestamp = "2026-11-22T10:00:00.123Z".parse().expect("a time");
        let later: Timestamp = "2026-11-22T10:00:00.124Z".parse().expect("a time");
        let id = |at, source, message| event_id(at, tail_of(source, message));
        assert_eq!(id(at, "web", "m"), id(at, "web", "m"));
        assert_ne!(id(at, "web", "m"), id(at, "app", "m"));
        assert_ne!(id(at, "we", "bm"), id(at, "web", "m"));
        assert!(id(at, "web", "z") < id(later, "web", "a"));
        assert_eq!(id(at, "web", "m").get_version_num(), 8);
        assert_eq!(tail_bits(id(at, "web", "m")), tail_bits(id(later, "web", "m")));
    }
}
