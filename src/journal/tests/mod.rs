//! The journal on a disk that keeps a diary and fails when told.

mod recovery;
mod writing;

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

use super::frame::{FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader};
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
fn submit(handle: &Handle, source: &str, ids: &[&str]) -> Result<Answer, JournalError> {
    let now: Timestamp = "2026-11-22T10:00:00Z".parse().expect("a time");
    let mut tuples = Vec::new();
    let mut events = smallvec![];
    for id in ids {
        let start = tuples.len();
        let id = event_id(now, tail_of(source, id));
        Row { event_id: id, occurred_at: now, source, kind: "track", ..Row::default() }.encode(&mut tuples);
        let tuple_bytes = u32::try_from(tuples.len() - start).expect("short");
        events.push(Submitted { id, tuple_bytes, has_message_id: true });
    }
    let (answer, wait) = oneshot::channel();
    let memory = MemoryBudget::new(1).reservation();
    let days = (day_of(now), day_of(now));
    handle.submit(Submission { source: source.into(), tuples, events, days, answer, memory })?;
    Ok(wait)
}

impl Journal {
    /// Submits events of these message ids and waits for the answer.
    fn put(&self, ids: &[&str]) -> Result<Ack, JournalError> {
        submit(&self.handle, "web", ids)?.blocking_recv().map_err(|_| JournalError::Closed)?
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
