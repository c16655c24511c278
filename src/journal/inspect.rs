//! Looking at a journal directory without taking it: also while a collector uses it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::OpenError;
use super::frame::{HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::recover::{DAMAGED_EXTENSION, SEGMENT_EXTENSION};
use super::scan::{Scan, read_tolerantly, scan};
use crate::disk::Disk;
use crate::row;

/// What one segment file holds.
#[derive(Debug)]
pub struct Inspected {
    pub path: PathBuf,
    pub file_bytes: u64,
    pub header: Result<SegmentHeader, HeaderError>,
    pub frames: u64,
    /// Events answered with a success, by source, duplicates among them.
    pub accepted: BTreeMap<String, u64>,
    /// Rows.
    pub tuples: u64,
    /// When the first and the last frame were written.
    pub written: Option<(Timestamp, Timestamp)>,
    /// `None` where the header tells nothing.
    pub scan: Option<Scan>,
    /// Frames whose checksum holds and whose rows do not add up: weir wrote them wrongly.
    pub malformed_frames: u64,
}

impl Inspected {
    /// Promised bytes that cannot be read.
    pub fn damaged_bytes(&self) -> u64 {
        self.scan.as_ref().map_or(self.file_bytes, Scan::damaged_bytes)
    }

    /// Whether everything that was ever promised in here can be read.
    pub fn is_sound(&self) -> bool {
        self.malformed_frames == 0 && self.damaged_bytes() == 0
    }

    /// In a few words.
    pub fn state(&self) -> &'static str {
        match (&self.header, &self.scan) {
            (Err(HeaderError::TooNew(_)), _) => "of a newer weir",
            (Err(HeaderError::Damaged), _) | (_, None) => "unreadable",
            _ if !self.is_sound() => "damaged",
            (_, Some(scan)) if scan.is_torn => "torn at the end",
            (_, Some(scan)) if scan.end < self.file_bytes => "in use, or its process died",
            _ => "sealed",
        }
    }
}

/// Reads every segment file in `dir`, those put aside as damaged too; one at a time is in memory.
pub fn inspect(disk: &dyn Disk, dir: &Path, mut visit: impl FnMut(Inspected)) -> Result<(), OpenError> {
    for path in disk.list(dir).map_err(OpenError::io(dir))? {
        let is_segment = |extension| extension == SEGMENT_EXTENSION || extension == DAMAGED_EXTENSION;
        if path.extension().is_some_and(|extension| extension.to_str().is_some_and(is_segment)) {
            visit(inspect_segment(disk, path)?);
        }
    }
    Ok(())
}

fn inspect_segment(disk: &dyn Disk, path: PathBuf) -> Result<Inspected, OpenError> {
    let file = disk.open(&path).map_err(OpenError::io(&path))?;
    let file_bytes = file.size().map_err(OpenError::io(&path))?;
    let mut bytes = vec![0; file_bytes as usize];
    read_tolerantly(file.as_ref(), 0, &mut bytes);
    let header = bytes.first_chunk::<SEGMENT_HEADER_BYTES>().map_or(Err(HeaderError::Damaged), SegmentHeader::decode);
    let mut found = Inspected {
        path,
        file_bytes,
        header,
        frames: 0,
        accepted: BTreeMap::new(),
        tuples: 0,
        written: None,
        scan: None,
        malformed_frames: 0,
    };
    let Ok(header) = header else { return Ok(found) };
    let scanned = scan(header.segment_id, &bytes, |_, frame| {
        found.frames += 1;
        found.tuples += u64::from(frame.header.tuples);
        let (mut promised, mut duplicate) = (0, 0);
        for count in frame.sources() {
            *found.accepted.entry(count.source.to_owned()).or_default() += u64::from(count.accepted);
            promised += u64::from(count.accepted);
            duplicate += u64::from(count.duplicate);
        }
        let adds_up = promised == duplicate + u64::from(frame.header.tuples);
        let tuples = row::tuples(frame.tuples).try_fold(0, |count, tuple| tuple.map(|_| count + 1));
        if !adds_up || tuples != Ok(frame.header.tuples) {
            found.malformed_frames += 1;
        }
        if let Ok(at) = Timestamp::from_millisecond(frame.header.written_ms) {
            let (first, last) = found.written.unwrap_or((at, at));
            found.written = Some((first.min(at), last.max(at)));
        }
    });
    found.scan = Some(scanned);
    Ok(found)
}
