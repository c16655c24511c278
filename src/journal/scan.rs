//! Reading a segment file whole: every frame in it, what is damaged, and where it ends.

use std::ops::Range;

use uuid::Uuid;

use super::frame::{ALIGNMENT_BYTES, Frame, SEGMENT_HEADER_BYTES};
use crate::disk::DiskFile;

/// A segment in use ends with at least this many zeros, but for the rare one that a frame fills to the last byte.
const RESERVE_SEEN_BYTES: usize = 64;
/// What a device that reports errors is asked for at once, to lose no more than need be: a page.
const PAGE_BYTES: usize = 4096;
/// Stands for bytes that could not be read. Not zero, which would look like reserve that was never written.
const UNREADABLE: u8 = 0xff;

/// What a segment's bytes came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The end of the last frame or damaged range: what comes behind was promised to nobody.
    pub end: u64,
    /// Promised bytes that are no valid frames.
    pub damaged: Vec<Range<u64>>,
    /// Whether a frame that was never answered for follows `end`.
    pub is_torn: bool,
}

impl Scan {
    pub fn damaged_bytes(&self) -> u64 {
        self.damaged.iter().map(|range| range.end - range.start).sum()
    }

    /// Whether anything was ever promised here.
    pub fn is_empty(&self) -> bool {
        self.end == SEGMENT_HEADER_BYTES as u64
    }
}

/// Visits every valid frame of a segment, header included in `bytes`.
pub fn scan(segment_id: Uuid, bytes: &[u8], mut visit: impl FnMut(u64, &Frame<'_>)) -> Scan {
    let mut found = Scan { end: SEGMENT_HEADER_BYTES as u64, damaged: Vec::new(), is_torn: false };
    let mut at = SEGMENT_HEADER_BYTES;
    loop {
        if let Some(frame) = bytes.get(at..).and_then(|rest| Frame::decode(segment_id, at as u64, rest)) {
            visit(at as u64, &frame);
            at += frame.header.frame_bytes();
            found.end = at as u64;
        } else if let Some(next) = next_frame(segment_id, bytes, 0, at) {
            found.damaged.push(at as u64..next as u64);
            at = next;
        } else {
            if is_cut_to_length(bytes, at) {
                found.damaged.push(at as u64..bytes.len() as u64);
                found.end = bytes.len() as u64;
            } else {
                found.is_torn = bytes.get(at..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0));
            }
            return found;
        }
    }
}

/// The first valid frame at or behind `from`, searched at every place where one may start.
pub(super) fn next_frame(id: Uuid, bytes: &[u8], base: u64, from: usize) -> Option<usize> {
    (from..bytes.len()).step_by(ALIGNMENT_BYTES).find(|&at| Frame::decode(id, base + at as u64, &bytes[at..]).is_some())
}

/// Whether the file ends without the zeros that a segment in use has behind its last frame: then it was sealed, and what
/// cannot be read in it was promised.
fn is_cut_to_length(bytes: &[u8], at: usize) -> bool {
    let rest = bytes.get(at..).unwrap_or_default();
    !rest.is_empty() && rest.iter().rev().take(RESERVE_SEEN_BYTES).any(|byte| *byte != 0)
}

/// Fills `bytes` from `from`. Pages that the device cannot read become bytes that no checksum will accept, so that one
/// bad sector costs the frames it touches and no others.
pub fn read_tolerantly(file: &dyn DiskFile, from: u64, bytes: &mut [u8]) {
    let Err(error) = file.read_exact_at(bytes, from) else { return };
    tracing::error!(%error, from, "the journal's device cannot read a range: page by page");
    for (index, page) in bytes.chunks_mut(PAGE_BYTES).enumerate() {
        if file.read_exact_at(page, from + (index * PAGE_BYTES) as u64).is_err() {
            page.fill(UNREADABLE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::frame::FrameBuilder;

    const ID: Uuid = Uuid::from_u128(5);

    /// A segment of one frame, with `rest` behind it, and where that begins.
    fn scanned(rest: &[u8]) -> (Scan, u64) {
        let mut builder = FrameBuilder::default();
        builder.start(std::iter::empty());
        builder.tuples(b"a tuple");
        let mut bytes = vec![1; SEGMENT_HEADER_BYTES];
        bytes.extend_from_slice(builder.finish(ID, SEGMENT_HEADER_BYTES as u64, 1, 0, (0, 0)).0);
        let end = bytes.len() as u64;
        bytes.extend_from_slice(rest);
        let mut visited = Vec::new();
        let found = scan(ID, &bytes, |at, _| visited.push(at));
        assert_eq!(visited, [SEGMENT_HEADER_BYTES as u64]);
        (found, end)
    }

    #[test]
    fn a_segment_ends_at_its_length_or_at_zeros_or_is_torn_or_damaged() {
        for rest in [0, 1, RESERVE_SEEN_BYTES, 4096] {
            let (found, end) = scanned(&vec![0; rest]);
            assert_eq!((found.end, found.is_torn, found.damaged_bytes()), (end, false, 0), "{rest} zeros");
            assert!(!found.is_empty());
        }
        let mut torn = vec![7; 100];
        torn.resize(100 + RESERVE_SEEN_BYTES, 0);
        let (found, end) = scanned(&torn);
        assert_eq!((found.end, found.is_torn, found.damaged_bytes()), (end, true, 0));
        // One zero less, and nobody would have left it so: it was cut to its length.
        torn.pop();
        let (found, end) = scanned(&torn);
        let all = end..end + torn.len() as u64;
        assert_eq!((found.end, found.is_torn, found.damaged), (all.end, false, vec![all]));
        assert!(scan(ID, &[1; SEGMENT_HEADER_BYTES], |_, _| ()).is_empty());
    }
}
