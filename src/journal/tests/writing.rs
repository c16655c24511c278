//! The journal thread: what it writes, answers and refuses.

use std::collections::BTreeMap;

use super::*;

#[test]
fn an_answer_comes_after_the_sync_of_its_frame() {
    let (dir, diary) = (tempfile::tempdir().expect("a directory"), Diary::default());
    let journal = start(dir.path(), &diary, u64::MAX);
    for id in ["a", "b", "c"] {
        let before = diary.read().len();
        journal.put(&[id]).expect("stored");
        let done = diary.read()[before..].to_vec();
        assert_eq!(done.last(), Some(&Done::Sync), "{done:?}");
        assert_eq!(done.iter().filter(|done| **done == Done::Write).count(), if id == "a" { 2 } else { 1 });
    }
    // A new segment is durable, name and all, before anything in it is promised.
    let all = diary.read();
    let made = all.iter().position(|done| *done == Done::Create).expect("made");
    assert_eq!(all[made..made + 4], [Done::Create, Done::Write, Done::Sync, Done::SyncDir]);
    journal.close().expect("an orderly end");
}

#[test]
fn a_sync_that_fails_is_told_and_not_repeated_on_the_file() {
    let (dir, diary) = (tempfile::tempdir().expect("a directory"), Diary::default());
    let journal = start(dir.path(), &diary, u64::MAX);
    journal.put(&["a"]).expect("stored");
    diary.failing_syncs.store(1, Ordering::Relaxed);
    assert!(matches!(journal.put(&["b"]), Err(JournalError::Disk(_))));
    assert!(journal.state.is_refusing());
    // The sender tries again: its id must not count as known, and the new frame is in a new file.
    assert_eq!(journal.put(&["b"]).expect("stored").duplicate, 0);
    assert!(!journal.state.is_refusing());
    assert_eq!(segment_files(&dir).len(), 2);
    journal.close().expect("an orderly end");
    // Nor does a restart find it: its sender was told to send it again, perhaps under no id.
    let again = start(dir.path(), &diary, u64::MAX);
    let feed = Arc::clone(&again.feed);
    again.close().expect("an orderly end");
    assert_eq!(stored(&feed).len(), 2, "the frame that was not synced is not read");
}

#[test]
fn a_full_queue_refuses_and_what_waits_is_written_in_one_frame() {
    let (dir, diary) = (tempfile::tempdir().expect("a directory"), Diary::default());
    let feeds: [Arc<SegmentFeed>; 1] = Default::default();
    let (mut writer, handle, _, accounting) = prepare(dir.path(), &diary, u64::MAX, &feeds);
    let mut answers = Vec::new();
    for waiting in 0..QUEUE_LENGTH {
        assert_eq!(handle.queue_length(), waiting);
        let source = if waiting % 4 == 0 { "app" } else { "web" };
        answers.push(submit(&handle, source, &[&waiting.to_string()]).expect("room in the queue"));
    }
    assert!(matches!(submit(&handle, "web", &["x"]), Err(JournalError::QueueFull)));
    let before = diary.read().len();
    writer.run_once().expect("a healthy disk");
    assert_eq!(handle.queue_length(), 0);
    assert!(answers.into_iter().all(|answer| matches!(answer.blocking_recv(), Ok(Ok(_)))));
    // The header of the segment, and the frame.
    assert_eq!(diary.read()[before..].iter().filter(|done| **done == Done::Write).count(), 2);
    let accepted = accounting.balances().into_iter().map(|(source, balance)| (source, balance.accepted));
    assert_eq!(accepted.collect::<BTreeMap<_, _>>(), BTreeMap::from([("app".to_owned(), 4), ("web".to_owned(), 12)]));
    let segment = feeds[0].front().expect("written");
    let frames = segment.read(0, usize::MAX).expect("readable");
    let promised =
        frames.iter().flat_map(|frame| frame.sources().map(|count| (count.source, count.accepted)).collect::<Vec<_>>());
    assert_eq!(promised.collect::<BTreeMap<_, _>>(), BTreeMap::from([("app", 4), ("web", 12)]));
}

#[test]
fn two_failures_in_a_row_end_the_journal() {
    let (dir, diary) = (tempfile::tempdir().expect("a directory"), Diary::default());
    let journal = start(dir.path(), &diary, u64::MAX);
    journal.put(&["a"]).expect("stored");
    diary.failing_syncs.store(u32::MAX, Ordering::Relaxed);
    assert!(journal.put(&["b"]).is_err());
    assert!(journal.put(&["b"]).is_err());
    assert!(journal.thread.join().expect("no panic").is_err());
}

#[test]
fn beyond_the_limit_events_are_refused_and_files_do_not_grow() {
    let (dir, diary) = (tempfile::tempdir().expect("a directory"), Diary::default());
    let journal = start(dir.path(), &diary, 2 * SEGMENT_BYTES);
    let mut taken = 0;
    while journal.put(&[&taken.to_string()]).is_ok() {
        taken += 1;
    }
    assert!(taken > 100, "{taken}");
    assert!(matches!(journal.put(&["x"]), Err(JournalError::JournalFull)));
    assert_eq!(journal.state.segments(), 2);
    assert!(journal.state.bytes() <= 2 * SEGMENT_BYTES, "{}", journal.state.bytes());
    let feed = Arc::clone(&journal.feed);
    journal.close().expect("an orderly end");
    assert_eq!(stored(&feed).len(), taken);
}

#[test]
fn small_frames_find_zeros_and_large_ones_do_without() {
    let (dir, diary) = (TempDir::new().expect("a directory"), Diary::default());
    let journal = start(dir.path(), &diary, u64::MAX);
    let zeros = || diary.zeros.lock().expect("no panic").clone();
    journal.put(&["a"]).expect("kept");
    let [first] = zeros().try_into().expect("one range");
    assert!(first.start > SEGMENT_HEADER_BYTES as u64 && first.end == SEGMENT_BYTES, "{first:?}");
    journal.put(&["b"]).expect("kept");
    assert_eq!(zeros().len(), 1, "there are enough");
    journal.put_many("c", 1000);
    assert_eq!(zeros().len(), 1);
    let feed = Arc::clone(&journal.feed);
    journal.close().expect("ended well");
    assert_eq!(stored(&feed).len(), 1002);
}

#[test]
fn zeros_that_find_no_room_refuse_nothing_but_a_broken_disk_does() {
    let (dir, diary) = (TempDir::new().expect("a directory"), Diary::default());
    let journal = start(dir.path(), &diary, u64::MAX);
    diary.zeros_errno.store(rustix::io::Errno::NOSPC.raw_os_error(), Ordering::Relaxed);
    journal.put(&["a"]).expect("kept: the frame itself had room");
    diary.zeros_errno.store(rustix::io::Errno::IO.raw_os_error(), Ordering::Relaxed);
    assert!(matches!(journal.put(&["b"]), Err(JournalError::Disk(_))));
    diary.zeros_errno.store(0, Ordering::Relaxed);
    journal.put(&["b"]).expect("a new segment takes it");
    journal.close().expect("ended well");
}

#[test]
fn a_backlog_is_shared_among_the_lanes_and_what_is_sealed_is_cut() {
    const SWITCH_BYTES: u64 = 1024 * 1024;
    let (dir, diary) = (TempDir::new().expect("a directory"), Diary::default());
    let feeds: [Arc<SegmentFeed>; 2] = Default::default();
    let journal = start_with(dir.path(), &diary, u64::MAX, &feeds);
    let backlogs = || feeds.each_ref().map(|feed| feed.backlog_bytes());
    let mut frames = 0;
    while backlogs()[0] <= SWITCH_BYTES {
        assert_eq!(backlogs()[1], 0, "below that one lane gets everything");
        journal.put_many(&format!("{frames}-"), 500);
        frames += 1;
    }
    for frame in frames..6 * frames {
        journal.put_many(&format!("{frame}-"), 500);
    }
    let [one, other] = backlogs();
    let frame_bytes = (one + other) / (6 * frames);
    assert!(one.abs_diff(other) <= SWITCH_BYTES + frame_bytes, "{one} and {other}");
    assert!(one.min(other) > SWITCH_BYTES);
    let state = Arc::clone(&journal.state);
    journal.close().expect("ended well");
    let on_disk = |feed: &Arc<SegmentFeed>| feed.segments().iter().map(|segment| segment.file_bytes()).sum::<u64>();
    assert_eq!(state.bytes(), feeds.iter().map(on_disk).sum::<u64>());

    // After a restart, too.
    let feeds: [Arc<SegmentFeed>; 2] = Default::default();
    let journal = start_with(dir.path(), &diary, u64::MAX, &feeds);
    let [one, other] = feeds.each_ref().map(|feed| feed.backlog_bytes());
    assert!(one.abs_diff(other) <= 2 * frame_bytes, "{one} and {other}");
    journal.close().expect("ended well");
}
