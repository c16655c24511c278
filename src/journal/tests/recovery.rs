//! What the next life finds.

use super::*;

#[test]
fn what_was_promised_is_there_after_a_restart_and_known() {
    let (dir, diary) = (tempfile::tempdir().expect("a directory"), Diary::default());
    let journal = start(dir.path(), &diary, u64::MAX);
    assert_eq!(journal.put(&["a", "b"]).expect("stored").duplicate, 0);
    assert_eq!(journal.put(&["b", "c", "c"]).expect("stored").duplicate, 2);
    journal.close().expect("an orderly end");

    let again = start(dir.path(), &diary, u64::MAX);
    assert_eq!(again.accounting.balances()[0].1.accepted, 5);
    assert_eq!(again.put(&["a", "d"]).expect("stored").duplicate, 1);
    assert_eq!(segment_files(&dir).len(), 2, "an old segment is never written to");
    let feed = Arc::clone(&again.feed);
    again.close().expect("an orderly end");
    assert_eq!(stored(&feed).len(), 4);
}

#[test]
fn two_processes_do_not_share_a_directory() {
    let (dir, diary) = (tempfile::tempdir().expect("a directory"), Diary::default());
    let journal = start(dir.path(), &diary, u64::MAX);
    assert!(matches!(recover::open(&diary, &SystemEntropy, dir.path()), Err(OpenError::Locked(_))));
    journal.close().expect("an orderly end");
    recover::open(&diary, &SystemEntropy, dir.path()).expect("free again");
}

#[test]
fn a_directory_keeps_its_name_and_gets_another_where_a_crash_left_half_of_one() {
    let (dir, diary) = (tempfile::tempdir().expect("a directory"), Diary::default());
    let path = dir.path().join("deep").join("deeper");
    let name = || recover::open(&diary, &SystemEntropy, &path).expect("a directory of ours").node;
    let first = name();
    assert!(Uuid::parse_str(&first).is_ok(), "{first}");
    let synced = diary.read().iter().filter(|done| **done == Done::SyncDir).count();
    assert_eq!(synced, 4, "both parents, for the name, and at the end");
    assert_eq!(name(), first);
    std::fs::write(path.join("node"), &first[..10]).expect("written");
    let second = name();
    assert!(Uuid::parse_str(&second).is_ok() && second != first, "{second}");
    assert_eq!(name(), second);
}

#[test]
fn a_name_that_cannot_be_read_is_not_replaced() {
    let (dir, diary) = (tempfile::tempdir().expect("a directory"), Diary::default());
    std::os::unix::fs::symlink("node", dir.path().join("node")).expect("a link to itself");
    assert!(matches!(recover::open(&diary, &SystemEntropy, dir.path()), Err(OpenError::Io { .. })));
}

#[test]
fn rows_of_a_newer_version_are_not_read() {
    let (dir, diary) = (tempfile::tempdir().expect("a directory"), Diary::default());
    let path = dir.path().join("a.segment");
    let mut header = SegmentHeader { segment_id: Uuid::from_u128(1), row_version: row::ROW_VERSION + 1, created_ms: 0 };
    let open = |header: &SegmentHeader| {
        std::fs::write(&path, header.encode()).expect("written");
        recover::open(&diary, &SystemEntropy, dir.path()).map(|opened| opened.segments.len())
    };
    assert!(matches!(open(&header), Err(OpenError::TooNew(_))));
    header.row_version = row::ROW_VERSION;
    assert!(matches!(open(&header), Ok(0)), "nothing was promised in it");
}

#[test]
fn a_file_whose_header_is_damaged_is_kept_and_one_that_was_never_written_is_not() {
    let (dir, diary) = (tempfile::tempdir().expect("a directory"), Diary::default());
    let left = |bytes: &[u8]| {
        let path = dir.path().join("a.segment");
        std::fs::write(&path, bytes).expect("written");
        let opened = recover::open(&diary, &SystemEntropy, dir.path()).expect("a directory of ours");
        let damaged_bytes: Vec<u64> = opened.segments.iter().map(|recovered| recovered.damaged_bytes).collect();
        (path.exists(), damaged_bytes)
    };
    let mut header = SegmentHeader { segment_id: Uuid::from_u128(1), row_version: 1, created_ms: 0 }.encode();
    header[20] ^= 1;
    assert_eq!(left(&header), (true, vec![SEGMENT_HEADER_BYTES as u64]));
    assert_eq!(left(&[0, 0, 1]), (true, vec![3]));
    assert_eq!(left(&[0; 4096]), (false, vec![]));
    assert_eq!(left(&[]), (false, vec![]));
}

#[test]
fn segments_are_not_left_behind_unread() {
    let (dir, diary) = (tempfile::tempdir().expect("a directory"), Diary::default());
    let path = dir.path().join("journal");
    recover::ensure_empty(&diary, &path).expect("nothing is there");
    let journal = start(&path, &diary, u64::MAX);
    recover::ensure_empty(&diary, &path).expect("no segment yet");
    journal.put(&["a"]).expect("stored");
    assert!(matches!(recover::ensure_empty(&diary, &path), Err(OpenError::Left(left)) if left == path));
    journal.close().expect("an orderly end");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Orderly,
    Crash,
}

/// Damages the only segment of a journal of three frames at the start of frame `frame`, then reads it again: what is left,
/// the bytes that count as damaged, and those of the frame.
fn damaged(frame: usize, end: End) -> (Vec<Uuid>, u64, u64) {
    let (dir, diary) = (tempfile::tempdir().expect("a directory"), Diary::default());
    let journal = start(dir.path(), &diary, u64::MAX);
    for id in ["a", "b", "c"] {
        journal.put(&[id]).expect("stored");
    }
    journal.close().expect("an orderly end");
    let file = segment_files(&dir).remove(0);
    let mut bytes = std::fs::read(&file).expect("readable");
    let mut at = frame::SEGMENT_HEADER_BYTES;
    for _ in 0..frame {
        at += frame::FrameHeader::decode(&bytes[at..]).expect("a frame").frame_bytes();
    }
    let frame_bytes = frame::FrameHeader::decode(&bytes[at..]).expect("a frame").frame_bytes() as u64;
    bytes[at + frame::FRAME_HEADER_BYTES] ^= 1;
    if end == End::Crash {
        // Nobody cut the file to its length.
        bytes.resize(usize::try_from(SEGMENT_BYTES).expect("small"), 0);
    }
    std::fs::write(&file, bytes).expect("written");

    let again = start(dir.path(), &diary, u64::MAX);
    let (feed, state) = (Arc::clone(&again.feed), Arc::clone(&again.state));
    let is_kept = feed.front().is_some_and(|segment| segment.is_damaged());
    assert_eq!(is_kept, state.damaged_bytes() > 0);
    again.close().expect("an orderly end");
    (stored(&feed), state.damaged_bytes(), frame_bytes)
}

#[test]
fn a_torn_tail_was_promised_to_nobody() {
    let (ids, damaged_bytes, _) = damaged(2, End::Crash);
    assert_eq!((ids.len(), damaged_bytes), (2, 0));
}

#[test]
fn damage_to_what_was_promised_is_stepped_over_and_counted() {
    for (frame, end) in [(0, End::Crash), (1, End::Crash), (1, End::Orderly), (2, End::Orderly)] {
        let (ids, damaged_bytes, frame_bytes) = damaged(frame, end);
        assert_eq!((ids.len(), damaged_bytes), (2, frame_bytes), "frame {frame}, {end:?}");
    }
}

#[test]
fn a_page_that_cannot_be_read_costs_no_other() {
    const PAGE_BYTES: usize = 4096;
    let (dir, diary) = (tempfile::tempdir().expect("a directory"), Diary::default());
    let file = diary.create(&dir.path().join("a")).expect("made");
    file.write_all_at(&[b'a'; 3 * PAGE_BYTES], 0).expect("written");
    *diary.unreadable.lock().expect("no panic") = 5_000..5_001;
    let mut bytes = vec![0; 3 * PAGE_BYTES - 100];
    scan::read_tolerantly(file.as_ref(), 100, &mut bytes);
    let pages: Vec<&[u8]> = bytes.chunks(PAGE_BYTES).collect();
    assert!(pages[0].iter().chain(pages[2]).all(|byte| *byte == b'a'));
    assert!(pages[1].iter().all(|byte| *byte == 0xff), "no frame, and no reserve either");
}

#[test]
fn damage_beside_damage_is_stepped_over_once() {
    let (disk, path, id) = (MemoryDisk::default(), "a.segment", Uuid::from_u128(3));
    let (_, written) = Segment::of_frames(&disk, id, path, &[(b"a tuple".as_slice(), 1); 3]);
    let ends: Vec<u64> = [SEGMENT_HEADER_BYTES as u64].into_iter().chain(written.iter().map(|(end, _)| *end)).collect();
    let file = disk.open(Path::new(path)).expect("there");
    for start in &ends[..2] {
        file.write_all_at(b"A", start + FRAME_HEADER_BYTES as u64).expect("written");
    }
    // Recovery knows of the first; the second rots afterwards.
    let first = ends[0]..ends[1];
    let segment = Segment::new(id, path.into(), row::ROW_VERSION, file).recovered(ends[3], vec![first]);
    assert_eq!(segment.read(0, 1).expect_err("damaged").kind(), io::ErrorKind::InvalidData);
    assert_eq!(segment.step_over(0), ends[1]..ends[2]);
    assert_eq!(segment.read(0, 1).expect("readable").to, ends[3]);
    assert_eq!(segment.find_damage(ends[3]), 0);
}
