//! The order in which a flush sends its rows: that of the unique index.
//!
//! Events arrive as they were sent, and a batch holds what happened over seconds. In the order of their ids they meet each
//! page of the index once in a flush, and not again and again.

use bytes::{Bytes, BytesMut};

use super::hours::Hours;
use crate::journal::segment::Frames;
use crate::row::{self, TupleError};

/// How much is gathered at once: it stays in the processor's cache until it is sent.
const PIECE_BYTES: usize = 64 * 1024;

/// All tuples of `frames` by event id, gathered piece by piece; their hours, since each tuple is looked at here; and, `with_ids`,
/// these, 16 bytes each, if there are any.
pub fn by_event_id(
    frames: &Frames,
    with_ids: bool,
) -> Result<(impl Iterator<Item = Bytes>, Hours, Option<Vec<u8>>), TupleError> {
    let mut tuples = Vec::with_capacity(frames.tuple_count() as usize);
    let mut hours = Hours::default();
    for frame in frames.iter() {
        for tuple in row::tuples(frame.tuples) {
            let tuple = tuple?;
            hours.note(row::occurred_at(tuple)?);
            tuples.push((row::event_id(tuple)?, tuple));
        }
    }
    // Stable, since it makes use of runs that are in order already.
    tuples.sort_by_key(|(id, _)| *id);
    let ids = (with_ids && !tuples.is_empty()).then(|| tuples.iter().flat_map(|(id, _)| *id.as_bytes()).collect());
    let mut rest = tuples.into_iter().peekable();
    let pieces = std::iter::from_fn(move || {
        let (_, first) = rest.next()?;
        let mut piece = BytesMut::with_capacity(PIECE_BYTES.max(first.len()));
        piece.extend_from_slice(first);
        while let Some((_, tuple)) = rest.next_if(|(_, tuple)| piece.len() + tuple.len() <= PIECE_BYTES) {
            piece.extend_from_slice(tuple);
        }
        Some(piece.freeze())
    });
    Ok((pieces, hours, ids))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::disk::MemoryDisk;
    use crate::journal::Segment;
    use crate::row::Row;

    /// A frame for each of `frames`, which holds rows of these ids.
    fn frames(frames: &[&[u128]], title: &str) -> Frames {
        let tuples = |ids: &&[u128]| {
            let mut tuples = Vec::new();
            for id in *ids {
                Row { event_id: Uuid::from_u128(*id), title: Some(title), ..Row::default() }.encode(&mut tuples);
            }
            (tuples, ids.len() as u32)
        };
        let tuples: Vec<(Vec<u8>, u32)> = frames.iter().map(tuples).collect();
        let tuples: Vec<(&[u8], u32)> = tuples.iter().map(|(tuples, count)| (tuples.as_slice(), *count)).collect();
        let (segment, _) = Segment::of_frames(&MemoryDisk::default(), Uuid::from_u128(1), "a.segment", &tuples);
        segment.read(0, usize::MAX).expect("readable")
    }

    fn sent(frames: &Frames) -> (Vec<u128>, Vec<usize>) {
        let pieces: Vec<Bytes> = by_event_id(frames, false).expect("tuples").0.collect();
        (ids(&pieces.concat()), pieces.iter().map(Bytes::len).collect())
    }

    fn ids(tuples: &[u8]) -> Vec<u128> {
        let id = |tuple| row::event_id(tuple).expect("a tuple").as_u128();
        row::tuples(tuples).map(|tuple| id(tuple.expect("a tuple"))).collect()
    }

    #[test]
    fn rows_of_several_frames_go_by_id() {
        let frames_of_two = frames(&[&[5, 9, 1], &[7, 1 << 100, 0]], "a");
        let as_written: Vec<Vec<u128>> = frames_of_two.tuples().map(|tuples| ids(&tuples)).collect();
        assert_eq!(as_written, [[5, 9, 1], [7, 1 << 100, 0]]);
        let (ids, pieces) = sent(&frames_of_two);
        assert_eq!(ids, [0, 1, 5, 7, 9, 1 << 100]);
        assert_eq!(pieces.len(), 1);
        let named = by_event_id(&frames_of_two, true).expect("tuples").2.expect("some");
        assert_eq!(named.chunks(16).map(|id| id[15]).collect::<Vec<u8>>(), [0, 1, 5, 7, 9, 0]);
        assert_eq!(by_event_id(&frames_of_two, false).expect("tuples").2, None);
        assert_eq!(sent(&frames(&[], "a")), (vec![], vec![]));
    }

    #[test]
    fn pieces_hold_whole_rows_and_are_only_longer_for_one_that_is() {
        let title = "x".repeat(PIECE_BYTES / 3);
        let (ids, pieces) = sent(&frames(&[&[3, 2, 1, 0]], &title));
        assert_eq!(ids, [0, 1, 2, 3]);
        assert_eq!(pieces.len(), 2);
        assert!(pieces.iter().all(|bytes| *bytes <= PIECE_BYTES), "{pieces:?}");
        let (ids, pieces) = sent(&frames(&[&[2, 1]], &"x".repeat(2 * PIECE_BYTES)));
        assert_eq!((ids.len(), pieces.len()), (2, 2));
    }
}
