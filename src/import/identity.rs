//! What a file, and a record without an id, are known again by.
//!
//! ```text
//! record  SHA-256 of its bytes as they stand in the file, and its number among equal ones
//! file    SHA-256 of how it is read and of its first bytes; then the checksum that the ledger has of all bytes before a position
//! ```
//!
//! A record's bytes are the same when an export is fetched again, in another order, or in parts; its place in a file is not.
//! Equal records do occur (two requests within a second of a log), so they are counted: the second of them is another event.
//! Equal records that stand in two files are taken for one, and so are those with [`REMEMBERED`] others between them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use sha2::{Digest, Sha256};

/// So many different records are remembered at least; of twice as many the older half is forgotten. Some 70 MB.
const REMEMBERED: usize = 1_500_000;
/// So much of a file tells it from others before any of it is imported.
pub const HEAD_BYTES: usize = 64 * 1024;

/// How often each record was met.
#[derive(Default)]
pub struct Ordinals {
    newer: HashMap<u64, u32>,
    older: HashMap<u64, u32>,
}

impl Ordinals {
    /// How many records like this one there were before.
    pub fn next(&mut self, record: &[u8]) -> u32 {
        let mut hash = DefaultHasher::new();
        hash.write(record);
        let hash = hash.finish();
        let before = self.newer.get(&hash).or_else(|| self.older.get(&hash)).copied().unwrap_or(0);
        self.newer.insert(hash, before + 1);
        // By count alone: a run that goes on in the midst of a file forgets at the same records as the first one.
        if self.newer.len() >= REMEMBERED {
            self.older = std::mem::take(&mut self.newer);
        }
        before
    }
}

/// The message id of a record that has none.
pub fn content_id(record: &[u8], ordinal: u32) -> String {
    let digest = Sha256::digest(record);
    let hash = data_encoding::HEXLOWER.encode(&digest[..16]);
    format!("content:{hash}:{ordinal}")
}

/// What a file is looked up by.
pub fn fingerprint(source: &str, format: &str, mapping: &str, head: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [source.as_bytes(), format.as_bytes(), mapping.as_bytes(), head] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_records_are_told_apart_by_their_number_and_by_nothing_else() {
        let mut ordinals = Ordinals::default();
        let given: Vec<u32> = [b"a", b"b", b"a", b"a", b"b"].iter().map(|record| ordinals.next(*record)).collect();
        assert_eq!(given, [0, 0, 1, 2, 1]);
        assert_eq!(content_id(b"a", 0), content_id(b"a", 0));
        assert_ne!(content_id(b"a", 0), content_id(b"a", 1));
        assert_ne!(content_id(b"a", 0), content_id(b"b", 0));
    }

    #[test]
    fn a_file_is_known_by_how_it_is_read_too() {
        let known = fingerprint("web", "csv", "", b"head");
        assert_eq!(known, fingerprint("web", "csv", "", b"head"));
        for other in [
            fingerprint("app", "csv", "", b"head"),
            fingerprint("web", "ndjson", "", b"head"),
            fingerprint("web", "csv", "a=name", b"head"),
            fingerprint("web", "csv", "", b"heads"),
            fingerprint("webc", "sv", "", b"head"),
        ] {
            assert_ne!(known, other);
        }
    }
}
