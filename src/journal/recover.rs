//! Opening a journal directory: the lock, its name, and what an earlier life left.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::frame::{HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::recent::GENERATION_IDS_MAX;
use super::scan::{read_tolerantly, scan};
use super::{OpenError, RecentIds, Segment};
use crate::disk::{DirLock, Disk, DiskFile};
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
    /// Held for as long as the directory is used.
    _lock: Box<dyn DirLock>,
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
    let lock_path = dir.join("LOCK");
    let lock = disk.lock(&lock_path).map_err(OpenError::io(&lock_path))?;
    let lock = lock.ok_or_else(|| OpenError::Locked(dir.to_owned()))?;
    let node = node_name(disk, entropy, dir)?;

    let mut segments = Vec::new();
    let mut newest = Vec::new();
    let mut scratch = Vec::new();
    // Newest first: of a large journal only the last ids are worth looking for.
    for path in disk.list(dir).map_err(OpenError::io(dir))?.into_iter().rev() {
        if path.extension().is_none_or(|extension| extension != SEGMENT_EXTENSION) {
            continue;
        }
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
            segments.push(recovered);
        } else {
            // Made, but nothing in it was ever promised.
            disk.remove(&path).map_err(OpenError::io(&path))?;
        }
    }
    disk.sync_dir(dir).map_err(OpenError::io(dir))?;
    segments.reverse();
    let mut recent = RecentIds::default();
    for tail in newest.into_iter().rev() {
        recent.insert(tail);
    }
    Ok(Opened { dir: dir.to_owned(), node, segments, recent, _lock: lock })
}

/// Fails if `dir` holds segments: nobody would read them where events are no longer kept on a disk.
pub fn ensure_empty(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    if !disk.is_dir(dir) {
        return Ok(());
    }
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == SEGMENT_EXTENSION);
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

/// The name in the file `node`, made if there is none, or only what a crash left of one.
fn node_name(disk: &dyn Disk, entropy: &dyn Entropy, dir: &Path) -> Result<String, OpenError> {
    let path = dir.join("node");
    if let Some(name) = read_name(disk, &path).map_err(OpenError::io(&path))? {
        return Ok(name);
    }
    let write = || {
        let name = random_id(entropy)?.simple().to_string();
        match disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.create(&path)?;
        file.write_all_at(name.as_bytes(), 0)?;
        file.sync_data()?;
        disk.sync_dir(dir)?;
        Ok(name)
    };
    write().map_err(OpenError::io(&path))
}

fn read_name(disk: &dyn Disk, path: &Path) -> io::Result<Option<String>> {
    let file = match disk.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = vec![0; file.size()?.min(NODE_BYTES_MAX) as usize];
    file.read_exact_at(&mut bytes, 0)?;
    let name = String::from_utf8(bytes).unwrap_or_default();
    Ok(Uuid::parse_str(name.trim()).ok().map(|name| name.simple().to_string()))
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
