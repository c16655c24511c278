//! Opening a journal directory: the lock, its name, and what an earlier life left.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::frame::{Frame, HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::segment::next_frame;
use super::{OpenError, RecentIds, Segment};
use crate::disk::{Disk, DiskFile};
use crate::event_id::tail_bits;
use crate::row;

/// A segment in use ends with at least this many zeros, but for the rare one that a frame fills to the last byte.
const RESERVE_SEEN_BYTES: usize = 64;
/// The extension of segment files.
pub const SEGMENT_EXTENSION: &str = "segment";

/// A journal directory that this process owns.
pub struct Opened {
    pub dir: PathBuf,
    /// The directory's own name in the database.
    pub node: String,
    /// Segments of earlier lives, oldest first.
    pub segments: Vec<Recovered>,
    /// Ids of the newest events in them.
    pub recent: RecentIds,
    /// Held for as long as the directory is used.
    _lock: File,
}

/// One segment found.
pub struct Recovered {
    pub segment: Arc<Segment>,
    pub file_bytes: u64,
    /// Events promised, by source.
    pub accepted: BTreeMap<String, u64>,
    /// Promised bytes that can no longer be read.
    pub damaged_bytes: u64,
}

/// Takes the directory and reads what is in it.
pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Opened, OpenError> {
    make_dir(disk, dir)?;
    let lock_path = dir.join("LOCK");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
    let lock = lock.map_err(OpenError::io(&lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(OpenError::Locked(dir.to_owned())),
        Err(fs::TryLockError::Error(error)) => return Err(OpenError::io(&lock_path)(error)),
    }
    let node = node_name(disk, dir)?;

    let mut recent = RecentIds::default();
    let mut segments = Vec::new();
    for path in disk.list(dir).map_err(OpenError::io(dir))? {
        if path.extension().is_none_or(|extension| extension != SEGMENT_EXTENSION) {
            continue;
        }
        let file = disk.open(&path).map_err(OpenError::io(&path))?;
        if let Some(recovered) = read_segment(&path, file, &mut recent)? {
            segments.push(recovered);
        } else {
            // Made, but nothing in it was ever promised.
            disk.remove(&path).map_err(OpenError::io(&path))?;
        }
    }
    disk.sync_dir(dir).map_err(OpenError::io(dir))?;
    Ok(Opened { dir: dir.to_owned(), node, segments, recent, _lock: lock })
}

/// Creates `dir` with its ancestors, each made durable in its parent.
fn make_dir(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_dir(disk, parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(OpenError::io(dir)(error));
        }
        _ => {}
    }
    let parent = parent.unwrap_or(Path::new("."));
    disk.sync_dir(parent).map_err(OpenError::io(parent))
}

fn node_name(disk: &dyn Disk, dir: &Path) -> Result<String, OpenError> {
    let path = dir.join("node");
    match fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(OpenError::io(&path)(error));
        }
        _ => {}
    }
    let name = random_id().map_err(OpenError::io(&path))?.simple().to_string();
    let write = || {
        let mut file = File::create(&path)?;
        file.write_all(name.as_bytes())?;
        file.sync_all()
    };
    write().map_err(OpenError::io(&path))?;
    disk.sync_dir(dir).map_err(OpenError::io(dir))?;
    Ok(name)
}

/// 128 random bits from the operating system.
pub fn random_id() -> io::Result<Uuid> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// Reads a segment whole: it is as long as `journal.segment_bytes`, at most one is in memory at a time.
pub fn read_segment(
    path: &Path,
    file: Box<dyn DiskFile>,
    recent: &mut RecentIds,
) -> Result<Option<Recovered>, OpenError> {
    let file_bytes = file.size().map_err(OpenError::io(path))?;
    let mut bytes = vec![0; file_bytes as usize];
    file.read_exact_at(&mut bytes, 0).map_err(OpenError::io(path))?;
    let header = match bytes.first_chunk::<SEGMENT_HEADER_BYTES>().map(SegmentHeader::decode) {
        Some(Ok(header)) if header.row_version <= row::ROW_VERSION => header,
        Some(Ok(_) | Err(HeaderError::TooNew(_))) => {
            return Err(OpenError::TooNew(path.to_owned()));
        }
        Some(Err(HeaderError::Damaged)) | None if bytes.iter().all(|byte| *byte == 0) => {
            return Ok(None);
        }
        Some(Err(HeaderError::Damaged)) | None => {
            tracing::error!(path = %path.display(), "a journal segment's header is damaged: the file is kept, its events are not readable");
            return Ok(Some(unreadable(path, file, file_bytes)));
        }
    };

    let mut accepted = BTreeMap::new();
    let mut damaged = Vec::new();
    let (mut at, mut end) = (SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES);
    loop {
        if let Some(frame) = bytes.get(at..).and_then(|rest| Frame::decode(header.segment_id, at as u64, rest)) {
            for count in frame.sources() {
                *accepted.entry(count.source.to_owned()).or_default() += u64::from(count.accepted);
            }
            remember(frame.tuples, recent);
            at += frame.header.frame_bytes();
            end = at;
        } else if let Some(next) = next_frame(header.segment_id, &bytes, 0, at) {
            tracing::error!(
                path = %path.display(), from = at, to = next,
                "journalled events are damaged: the file is kept, the range is stepped over"
            );
            damaged.push(at as u64..next as u64);
            at = next;
        } else {
            if is_cut_to_length(&bytes, at) {
                tracing::error!(path = %path.display(), from = at, "the end of a journal segment is damaged: the file is kept");
                damaged.push(at as u64..bytes.len() as u64);
                end = bytes.len();
            } else if bytes[at..].iter().any(|byte| *byte != 0) {
                tracing::warn!(path = %path.display(), from = at, "a frame that was never answered for is left out");
            }
            break;
        }
    }
    if end == SEGMENT_HEADER_BYTES {
        return Ok(None);
    }
    let damaged_bytes = damaged.iter().map(|range| range.end - range.start).sum();
    let segment = Segment::new(header.segment_id, path.to_owned(), header.row_version, file);
    let segment = Arc::new(segment.recovered(end as u64, damaged));
    Ok(Some(Recovered { segment, file_bytes, accepted, damaged_bytes }))
}

/// Whether the file ends without the zeros that a segment in use has behind its last frame: then it was sealed, and what
/// cannot be read in it was promised.
fn is_cut_to_length(bytes: &[u8], at: usize) -> bool {
    let rest = &bytes[at..];
    !rest.is_empty() && rest.iter().rev().take(RESERVE_SEEN_BYTES).any(|byte| *byte != 0)
}

/// A file of which nothing can be read: it stays, and holds nothing to apply.
fn unreadable(path: &Path, file: Box<dyn DiskFile>, file_bytes: u64) -> Recovered {
    let header = SEGMENT_HEADER_BYTES as u64;
    let segment = Segment::new(Uuid::nil(), path.to_owned(), row::ROW_VERSION, file);
    let all = header..file_bytes.max(header);
    let segment = Arc::new(segment.recovered(header, vec![all]));
    Recovered { segment, file_bytes, accepted: BTreeMap::new(), damaged_bytes: file_bytes }
}

fn remember(mut tuples: &[u8], recent: &mut RecentIds) {
    while let (Ok(id), Ok(length)) = (row::event_id(tuples), row::tuple_length(tuples)) {
        recent.insert(tail_bits(id));
        tuples = &tuples[length..];
    }
}
