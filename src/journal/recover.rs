//! Opening a journal directory: the lock, its name, and what an earlier life left.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use uuid::Uuid;

use super::frame::{HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::recent::GENERATION_IDS_MAX;
use super::scan::{read_tolerantly, scan};
use super::{JournalState, OpenError, RecentIds, Segment, SegmentFeed, adopted};
use crate::accounting::Accounting;
use crate::disk::{DirLock, Disk, DiskFile, is_one_of};
use crate::entropy::{Entropy, random_id};
use crate::event_id::tail_bits;
use crate::row;

/// The extension of segment files.
pub const SEGMENT_EXTENSION: &str = "segment";
/// The extension that a damaged segment gets once all that is readable in it is applied: kept, and not read again.
pub const DAMAGED_EXTENSION: &str = "damaged";
/// Longer is no name that weir wrote.
const NODE_BYTES_MAX: u64 = 64;

/// A journal directory that this process owns.
pub struct Opened {
    pub dir: PathBuf,
    /// The directory's own name in the database.
    pub node: String,
    /// Segments of earlier lives, oldest first.
    pub segments: Vec<Recovered>,
    /// Ids of the newest events in them.
    pub recent: RecentIds,
    /// Held for as long as the directory is used; `None` where nothing can be written.
    _lock: Option<Box<dyn DirLock>>,
}

impl Opened {
    /// Gives each segment to the lane that has least to do, and tells what it holds.
    pub fn hand_out(&mut self, feeds: &[Arc<SegmentFeed>], state: &JournalState, accounting: &Accounting) {
        for recovered in self.segments.drain(..) {
            state.added(recovered.file_bytes);
            state.damaged(recovered.damaged_bytes);
            for (source, accepted) in &recovered.accepted {
                accounting.accepted(recovered.segment.id, source, *accepted);
            }
            if let Some(feed) = feeds.iter().min_by_key(|feed| feed.backlog_bytes()) {
                feed.push(recovered.segment);
            }
        }
    }
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
pub fn open(disk: &dyn Disk, entropy: &dyn Entropy, dir: &Path) -> Result<Opened, OpenError> {
    make_dir(disk, dir)?;
    let lock = lock(disk, dir)?;
    let node = match kept_name(disk, dir)? {
        Some(name) => name,
        None => make_name(disk, entropy, dir)?,
    };
    let found = read_all(disk, dir)?;
    for path in &found.empty {
        // Made, but nothing in it was ever promised.
        disk.remove(path).map_err(OpenError::io(path))?;
    }
    adopted::end(disk, dir);
    disk.sync_dir(dir).map_err(OpenError::io(dir))?;
    Ok(Opened { dir: dir.to_owned(), node, segments: found.segments, recent: found.recent, _lock: Some(lock) })
}

/// Takes the journal of a collector that is gone, and reads what is in it. Whatever the lock says, its owner may be alive on
/// another machine, and go on writing: so nothing in it is changed or removed.
pub fn open_foreign(disk: &dyn Disk, entropy: &dyn Entropy, dir: &Path) -> Result<Opened, OpenError> {
    if !disk.is_dir(dir) {
        return Err(OpenError::io(dir)(io::ErrorKind::NotFound.into()));
    }
    let kept = kept_name(disk, dir)?;
    let is_journal = kept.is_some() || disk.list(dir).map_err(OpenError::io(dir))?.iter().any(is_segment);
    if !is_journal {
        return Err(OpenError::NoJournal(dir.to_owned()));
    }
    let lock = match lock(disk, dir) {
        // Nobody on this machine writes there either.
        Err(OpenError::Io { source, .. }) if is_one_of(&source, &[Errno::ROFS]) => None,
        lock => Some(lock?),
    };
    let node = match kept {
        Some(name) => name,
        None => random_id(entropy).map_err(OpenError::io(dir))?.simple().to_string(),
    };
    let found = read_all(disk, dir)?;
    Ok(Opened { dir: dir.to_owned(), node, segments: found.segments, recent: found.recent, _lock: lock })
}

fn lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DirLock>, OpenError> {
    let path = dir.join("LOCK");
    let lock = disk.lock(&path).map_err(OpenError::io(&path))?;
    lock.ok_or_else(|| OpenError::Locked(dir.to_owned()))
}

/// What is in a directory.
struct Found {
    segments: Vec<Recovered>,
    /// Segments in which nothing was ever promised.
    empty: Vec<PathBuf>,
    recent: RecentIds,
}

fn read_all(disk: &dyn Disk, dir: &Path) -> Result<Found, OpenError> {
    let mut found = Found { segments: Vec::new(), empty: Vec::new(), recent: RecentIds::default() };
    let mut newest = Vec::new();
    let mut scratch = Vec::new();
    // Newest first: of a large journal only the last ids are worth looking for.
    for path in disk.list(dir).map_err(OpenError::io(dir))?.into_iter().filter(is_segment).rev() {
        let file = disk.open(&path).map_err(OpenError::io(&path))?;
        let has_enough = newest.len() >= 2 * GENERATION_IDS_MAX;
        let mut own = Vec::new();
        let remember = |tuples: &[u8]| {
            if !has_enough {
                own.extend(tails(tuples));
            }
        };
        if let Some(recovered) = read_segment(&path, file, &mut scratch, remember)? {
            newest.extend(own.into_iter().rev());
            found.segments.push(recovered);
        } else {
            found.empty.push(path);
        }
    }
    found.segments.reverse();
    for tail in newest.into_iter().rev() {
        found.recent.insert(tail);
    }
    Ok(found)
}

#[expect(clippy::ptr_arg, reason = "a filter of paths")]
fn is_segment(path: &PathBuf) -> bool {
    path.extension().is_some_and(|extension| extension == SEGMENT_EXTENSION)
}

/// Fails if `dir` holds segments: nobody would read them where events are no longer kept on a disk.
pub fn ensure_empty(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    if !disk.is_dir(dir) {
        return Ok(());
    }
    if disk.list(dir).map_err(OpenError::io(dir))?.iter().any(is_segment) {
        return Err(OpenError::Left(dir.to_owned()));
    }
    Ok(())
}

/// Creates `dir` with its ancestors, each made durable in its parent.
fn make_dir(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    if disk.is_dir(dir) {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_dir(disk, parent)?;
    }
    disk.create_dir(dir).map_err(OpenError::io(dir))?;
    let parent = parent.unwrap_or(Path::new("."));
    disk.sync_dir(parent).map_err(OpenError::io(parent))
}

/// The name in the file `node`; `None` if there is none, or only what a crash left of one.
fn kept_name(disk: &dyn Disk, dir: &Path) -> Result<Option<String>, OpenError> {
    let path = dir.join("node");
    read_name(disk, &path).map_err(OpenError::io(&path))
}

fn make_name(disk: &dyn Disk, entropy: &dyn Entropy, dir: &Path) -> Result<String, OpenError> {
    let path = dir.join("node");
    let write = || {
        let name = random_id(entropy)?.simple().to_string();
        remove_if_there(disk, &path)?;
        let file = disk.create(&path)?;
        file.write_all_at(name.as_bytes(), 0)?;
        file.sync_data()?;
        disk.sync_dir(dir)?;
        Ok(name)
    };
    write().map_err(OpenError::io(&path))
}

fn read_name(disk: &dyn Disk, path: &Path) -> io::Result<Option<String>> {
    let Some(bytes) = read_if_there(disk, path, NODE_BYTES_MAX)? else { return Ok(None) };
    let name = String::from_utf8(bytes).unwrap_or_default();
    Ok(Uuid::parse_str(name.trim()).ok().map(|name| name.simple().to_string()))
}

/// What a small file holds, up to so many bytes.
pub(super) fn read_if_there(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = vec![0; file.size()?.min(bytes_max) as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(Some(bytes))
}

pub(super) fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads a segment whole, into `bytes`: it is as long as `journal.segment_bytes`, at most one is in memory at a time.
/// `remember` gets the tuples of each frame.
pub fn read_segment(
    path: &Path,
    file: Box<dyn DiskFile>,
    bytes: &mut Vec<u8>,
    mut remember: impl FnMut(&[u8]),
) -> Result<Option<Recovered>, OpenError> {
    let file_bytes = file.size().map_err(OpenError::io(path))?;
    bytes.clear();
    bytes.resize(file_bytes as usize, 0);
    read_tolerantly(file.as_ref(), 0, bytes);
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
    let found = scan(header.segment_id, bytes, |_, frame| {
        for count in frame.sources() {
            *accepted.entry(count.source.to_owned()).or_default() += u64::from(count.accepted);
        }
        remember(frame.tuples);
    });
    for damage in &found.damaged {
        tracing::error!(
            path = %path.display(), from = damage.start, to = damage.end,
            "journalled events are damaged: the file is kept, the range is stepped over"
        );
    }
    if found.is_torn {
        tracing::warn!(path = %path.display(), from = found.end, "a frame that was never answered for is left out");
    }
    if found.is_empty() {
        return Ok(None);
    }
    let damaged_bytes = found.damaged_bytes();
    let segment = Segment::new(header.segment_id, path.to_owned(), header.row_version, file);
    let segment = Arc::new(segment.recovered(found.end, found.damaged).torn(found.is_torn));
    Ok(Some(Recovered { segment, file_bytes, accepted, damaged_bytes }))
}

/// A file of which nothing can be read: it stays, and holds nothing to apply.
fn unreadable(path: &Path, file: Box<dyn DiskFile>, file_bytes: u64) -> Recovered {
    let header = SEGMENT_HEADER_BYTES as u64;
    let segment = Segment::new(Uuid::nil(), path.to_owned(), row::ROW_VERSION, file);
    let all = header..file_bytes.max(header);
    let segment = Arc::new(segment.recovered(header, vec![all]));
    Recovered { segment, file_bytes, accepted: BTreeMap::new(), damaged_bytes: file_bytes }
}

fn tails(tuples: &[u8]) -> impl Iterator<Item = u128> {
    row::tuples(tuples).map_while(|tuple| row::event_id(tuple.ok()?).ok()).map(tail_bits)
}
