//! A column of the visits, cut into chunks that can be read one by one, and of which only some are here.
//!
//! ```text
//! how many chunks; how many bytes each takes; then the chunks
//! ```

use std::ops::Range;

use super::codec::{put, take};

/// With so many of a column's first bytes its chunks are known, if there are not hundreds: a part has some tens, but for one of a single
/// visitor without end.
pub const HEAD_BYTES: i32 = 512;
/// PostgreSQL has no larger values.
const COLUMN_BYTES_MAX: usize = 1 << 30;

/// A column of these chunks.
pub fn put_chunks(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut packed = Vec::new();
    put(&mut packed, chunks.len() as u64);
    for chunk in chunks {
        put(&mut packed, chunk.len() as u64);
    }
    packed.extend(chunks.concat());
    packed
}

/// What is known of a column.
pub struct Chunks {
    /// Where each chunk begins among the column's bytes; and where the last one ends.
    bounds: Vec<usize>,
    /// What is here, each with the place of its first byte.
    pieces: Vec<(usize, Vec<u8>)>,
}

impl Chunks {
    /// Of the column's first bytes, or all of them. `None`: they are too few to tell, or not what [`put_chunks`] has put.
    pub fn new(first: Vec<u8>) -> Option<Self> {
        let mut rest = first.as_slice();
        // A part has a visit, and so a chunk.
        let count = usize::try_from(take(&mut rest)?).ok().filter(|count| (1..=first.len()).contains(count))?;
        let lengths: Vec<usize> = (0..count).map(|_| usize::try_from(take(&mut rest)?).ok()).collect::<Option<_>>()?;
        let mut end = first.len() - rest.len();
        let mut bounds = vec![end];
        for length in lengths {
            end = end.checked_add(length).filter(|end| *end <= COLUMN_BYTES_MAX)?;
            bounds.push(end);
        }
        Some(Self { bounds, pieces: vec![(0, first)] })
    }

    pub fn count(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }

    fn bytes_of(&self, chunk: usize) -> Option<Range<usize>> {
        Some(*self.bounds.get(chunk)?..*self.bounds.get(chunk.checked_add(1)?)?)
    }

    /// Takes the column's bytes from the one at `from` on.
    pub fn add(&mut self, from: usize, bytes: Vec<u8>) {
        self.pieces.push((from, bytes));
    }

    /// The chunk's bytes, if they are here.
    pub fn get(&self, chunk: usize) -> Option<&[u8]> {
        let wanted = self.bytes_of(chunk)?;
        self.pieces
            .iter()
            .find_map(|(from, bytes)| bytes.get(wanted.start.checked_sub(*from)?..wanted.end.checked_sub(*from)?))
    }

    /// Which of the column's bytes are needed for those of these chunks that are not here: those of neighbours together.
    pub fn missing(&self, chunks: &[usize]) -> Vec<Range<usize>> {
        let mut missing: Vec<Range<usize>> = Vec::new();
        let absent = chunks.iter().filter(|chunk| self.get(**chunk).is_none());
        for wanted in absent.filter_map(|chunk| self.bytes_of(*chunk)) {
            match missing.last_mut() {
                Some(before) if before.end == wanted.start => before.end = wanted.end,
                _ => missing.push(wanted),
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn chunks_are_what_they_were_however_they_came(
            given in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..20),
            first in any::<proptest::sample::Index>(),
            wanted in proptest::collection::btree_set(0..20_usize, 0..20),
        ) {
            let packed = put_chunks(&given);
            // One byte at least for the count, one for each length.
            let head = given.len() + 1;
            let first = head + first.index(packed.len() - head + 1);
            let wanted: Vec<usize> = wanted.into_iter().filter(|chunk| *chunk < given.len()).collect();
            let mut chunks = Chunks::new(packed[..first].to_vec()).expect("a head");
            prop_assert_eq!(chunks.count(), given.len());
            let missing = chunks.missing(&wanted);
            prop_assert!(missing.windows(2).all(|two| two[0].end < two[1].start));
            for bytes in missing {
                chunks.add(bytes.start, packed[bytes].to_vec());
            }
            for chunk in wanted {
                prop_assert_eq!(chunks.get(chunk), Some(given[chunk].as_slice()));
            }
            prop_assert_eq!(chunks.get(given.len()), None);
            prop_assert!(Chunks::new(packed[..given.len()].to_vec()).is_none(), "a length is not there");
        }

        #[test]
        fn what_is_not_chunks_is_refused_or_has_none(bytes in proptest::collection::vec(any::<u8>(), 0..60), chunk in any::<usize>()) {
            let Some(chunks) = Chunks::new(bytes) else { return Ok(()) };
            let _ = chunks.get(chunk);
            prop_assert!(chunks.missing(&[0, 1, chunk]).iter().all(|bytes| bytes.end <= COLUMN_BYTES_MAX));
        }
    }
}
