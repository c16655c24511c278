//! The journal thread on a disk that keeps a diary and fails when told.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use jiff::Timestamp;
use smallvec::smallvec;
use tempfile::TempDir;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::frame::{FRAME_HEADER_BYTES, FrameBuilder, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::submission::Submitted;
use super::writer::{DiskFailed, Writer, WriterParts};
use super::*;
use crate::accounting::Accounting;
use crate::buffer::MemoryBudget;
use crate::clock::{SystemClock, day_of};
use crate::disk::{DirLock, Disk, DiskFile, MemoryDisk, RealDisk};
use crate::entropy::SystemEntropy;
use crate::event_id::{event_id, tail_of};
use crate::metrics::Metrics;
use crate::row::{self, Row};

const SEGMENT_BYTES: u64 = 64 * 1024;
const QUEUE_LENGTH: usize = 16;

/// What a disk was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Create,
    Write,
    Sync,
    SyncDir,
    Remove,
}

/// The real disk, with a diary and syncs that fail.
#[derive(Default, Clone)]
struct Diary {
    done: Arc<Mutex<Vec<Done>>>,
    failing_syncs: Arc<AtomicU32>,
    zeros: Arc<Mutex<Vec<Range<u64>>>>,
    /// What writing zeros fails with.
    zeros_errno: Arc<AtomicI32>,
    /// Bytes that no read may touch.
    unreadable: Arc<Mutex<Range<u64>>>,
}

impl Diary {
    fn note(&self, done: Done) {
        self.done.lock().expect("no panic").push(done);
    }

    fn read(&self) -> Vec<Done> {
        self.done.lock().expect("no panic").clone()
    }
}

struct DiaryFile {
    file: Box<dyn DiskFile>,
    diary: Diary,
}

impl Disk for Diary {
    fn is_dir(&self, dir: &Path) -> bool {
        RealDisk.is_dir(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        RealDisk.lock(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.note(Done::Create);
        Ok(Box::new(DiaryFile { file: RealDisk.create(path)?, diary: self.clone() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.open(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.note(Done::Remove);
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.note(Done::SyncDir);
        RealDisk.sync_dir(dir)
    }
}

impl DiskFile for DiaryFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.diary.note(Done::Write);
        self.file.write_all_at(bytes, offset)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let unreadable = self.diary.unreadable.lock().expect("no panic").clone();
        if offset < unreadable.end && unreadable.start < offset + bytes.len() as u64 {
            return Err(rustix::io::Errno::IO.into());
        }
        self.file.read_exact_at(bytes, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }

    fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        self.diary.zeros.lock().expect("no panic").push(range.clone());
        match self.diary.zeros_errno.load(Ordering::Relaxed) {
            0 => self.file.write_zeros(range),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        self.file.cut(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        let fails = |left: u32| left.checked_sub(1);
        if self.diary.failing_syncs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails).is_ok() {
            return Err(io::Error::other("the device is gone"));
        }
        self.file.sync_data()?;
        self.diary.note(Done::Sync);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}

struct Journal {
    handle: Handle,
    feed: Arc<SegmentFeed>,
    state: Arc<JournalState>,
    accounting: Arc<Accounting>,
    thread: JoinHandle<Result<(), DiskFailed>>,
}

fn start(dir: &Path, diary: &Diary, bytes_max: u64) -> Journal {
    start_with(dir, diary, bytes_max, &[Arc::default()])
}

/// With a lane for each of `feeds`.
fn start_with(dir: &Path, diary: &Diary, bytes_max: u64, feeds: &[Arc<SegmentFeed>]) -> Journal {
    let (writer, handle, state, accounting) = prepare(dir, diary, bytes_max, feeds);
    let feed = Arc::clone(&feeds[0]);
    Journal { handle, feed, state, accounting, thread: thread::spawn(|| writer.run()) }
}

fn prepare(
    dir: &Path,
    diary: &Diary,
    bytes_max: u64,
    feeds: &[Arc<SegmentFeed>],
) -> (Writer, Handle, Arc<JournalState>, Arc<Accounting>) {
    let opened = recover::open(diary, &SystemEntropy, dir).expect("a directory of ours");
    let accounting = Arc::new(Accounting::default());
    let (writer, handle, state) = Writer::new(
        opened,
        feeds,
        WriterConfig {
            durability: Durability::Journal,
            segment_bytes: SEGMENT_BYTES,
            bytes_max,
            queue_length: QUEUE_LENGTH,
        },
        WriterParts {
            disk: Arc::new(diary.clone()),
            clock: Arc::new(SystemClock::default()),
            entropy: Arc::new(SystemEntropy),
            accounting: Arc::clone(&accounting),
            metrics: Metrics::new().journal.clone(),
        },
    );
    (writer, handle, state, accounting)
}

/// What the journal answers to a submission.
type Answer = oneshot::Receiver<Result<Ack, JournalError>>;

/// Submits events of these message ids.
fn submit(handle: &Handle, ids: &[&str]) -> Result<Answer, JournalError> {
    let now: Timestamp = "2026-11-22T10:00:00Z".parse().expect("a time");
    let mut tuples = Vec::new();
    let mut events = smallvec![];
    for id in ids {
        let start = tuples.len();
        let id = event_id(now, tail_of("web", id));
        Row { event_id: id, occurred_at: now, source: "web", kind: "track", ..Row::default() }.encode(&mut tuples);
        let tuple_bytes = u32::try_from(tuples.len() - start).expect("short");
        events.push(Submitted { id, tuple_bytes, has_message_id: true });
    }
    let (answer, wait) = oneshot::channel();
    let memory = MemoryBudget::new(1).reservation();
    let days = (day_of(now), day_of(now));
    handle.submit(Submission { source: "web".into(), tuples, events, days, answer, memory })?;
    Ok(wait)
}

impl Journal {
    /// Submits events of these message ids and waits for the answer.
    fn put(&self, ids: &[&str]) -> Result<Ack, JournalError> {
        submit(&self.handle, ids)?.blocking_recv().map_err(|_| JournalError::Closed)?
    }

    /// More than a segment holds, which makes one of its own size.
    fn put_many(&self, prefix: &str, count: u32) {
        let ids: Vec<String> = (0..count).map(|id| format!("{prefix}{id}")).collect();
        self.put(&ids.iter().map(String::as_str).collect::<Vec<_>>()).expect("kept");
    }

    fn close(self) -> Result<(), DiskFailed> {
        self.handle.close();
        self.thread.join().expect("no panic")
    }
}

/// The ids of all events in the segments that wait for a lane.
fn stored(feed: &SegmentFeed) -> Vec<Uuid> {
    let mut ids = Vec::new();
    while let Some(segment) = feed.pop() {
        let mut at = 0;
        loop {
            let frames = segment.read(at, 1).expect("readable");
            if frames.is_empty() {
                break;
            }
            for frame in frames.iter() {
                let tuples = row::tuples(frame.tuples).map(|tuple| tuple.expect("a tuple"));
                ids.extend(tuples.map(|tuple| row::event_id(tuple).expect("a tuple")));
            }
            at = frames.to;
        }
    }
    ids
}

fn segment_files(dir: &TempDir) -> Vec<PathBuf> {
    let mut files = RealDisk.list(dir.path()).expect("readable");
    files.retain(|file| file.extension().is_some_and(|extension| extension == "segment"));
    files
}

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
    let feeds = [Arc::default()];
    let (mut writer, handle, _, _) = prepare(dir.path(), &diary, u64::MAX, &feeds);
    let mut answers = Vec::new();
    for waiting in 0..QUEUE_LENGTH {
        assert_eq!(handle.queue_length(), waiting);
        answers.push(submit(&handle, &[&waiting.to_string()]).expect("room in the queue"));
    }
    assert!(matches!(submit(&handle, &["x"]), Err(JournalError::QueueFull)));
    let before = diary.read().len();
    writer.run_once().expect("a healthy disk");
    assert_eq!(handle.queue_length(), 0);
    assert!(answers.into_iter().all(|answer| matches!(answer.blocking_recv(), Ok(Ok(_)))));
    // The header of the segment, and the frame.
    assert_eq!(diary.read()[before..].iter().filter(|done| **done == Done::Write).count(), 2);
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
    let (disk, path, id) = (MemoryDisk::default(), Path::new("a.segment"), Uuid::from_u128(3));
    let file = disk.create(path).expect("made");
    let mut builder = FrameBuilder::default();
    let mut ends = vec![SEGMENT_HEADER_BYTES as u64];
    for _ in 0..3 {
        let start = ends[ends.len() - 1];
        builder.start(std::iter::empty());
        builder.tuples(b"a tuple");
        let (bytes, _) = builder.finish(id, start, 1, 0, (0, 0));
        file.write_all_at(bytes, start).expect("written");
        ends.push(start + bytes.len() as u64);
    }
    for start in &ends[..2] {
        file.write_all_at(b"A", start + FRAME_HEADER_BYTES as u64).expect("written");
    }
    // Recovery knows of the first; the second rots afterwards.
    let first = ends[0]..ends[1];
    let segment = Segment::new(id, path.to_owned(), row::ROW_VERSION, file).recovered(ends[3], vec![first]);
    assert_eq!(segment.read(0, 1).expect_err("damaged").kind(), io::ErrorKind::InvalidData);
    assert_eq!(segment.step_over(0), ends[1]..ends[2]);
    assert_eq!(segment.read(0, 1).expect("readable").to, ends[3]);
    assert_eq!(segment.find_damage(ends[3]), 0);
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
