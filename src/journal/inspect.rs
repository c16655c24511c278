//! Looking at a journal directory without taking it: also while a collector uses it.

use std::collections::BTreeMap;
use std::io;
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
            match inspect_segment(disk, path) {
                // Its collector released it a moment ago.
                Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                inspected => visit(inspected?),
            }
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::disk::MemoryDisk;
    use crate::journal::frame::{FrameBuilder, SourceCount};
    use crate::row::Row;

    const ID: Uuid = Uuid::from_u128(5);

    fn header() -> Vec<u8> {
        SegmentHeader { segment_id: ID, row_version: 1, created_ms: 1 }.encode().to_vec()
    }

    /// Appends a frame of `tuples` rows that says it has `said`, accepted by `counts`.
    fn frame(bytes: &mut Vec<u8>, counts: &[SourceCount<'_>], tuples: u32, said: u32, written_ms: i64) {
        let mut builder = FrameBuilder::default();
        builder.start(counts.iter().copied());
        for _ in 0..tuples {
            let mut tuple = Vec::new();
            Row::default().encode(&mut tuple);
            builder.tuples(&tuple);
        }
        bytes.extend_from_slice(builder.finish(ID, bytes.len() as u64, said, written_ms, (0, 0)).0);
    }

    fn count(source: &str, accepted: u32, duplicate: u32) -> SourceCount<'_> {
        SourceCount { source, accepted, duplicate }
    }

    fn look(files: &[(&str, &[u8])]) -> Vec<Inspected> {
        let disk = MemoryDisk::default();
        for (name, bytes) in files {
            disk.create(name.as_ref()).expect("made").write_all_at(bytes, 0).expect("written");
        }
        let mut found = Vec::new();
        inspect(&disk, Path::new(""), |inspected| found.push(inspected)).expect("looked at");
        found
    }

    fn look_at(bytes: &[u8]) -> Inspected {
        look(&[("a.segment", bytes)]).remove(0)
    }

    /// Two frames: three events of which one was known, of two sources; then one.
    fn sound() -> Vec<u8> {
        let mut bytes = header();
        frame(&mut bytes, &[count("web", 2, 1), count("app", 1, 0)], 2, 2, 7_000);
        frame(&mut bytes, &[count("web", 1, 0)], 1, 1, 5_000);
        bytes
    }

    #[test]
    fn what_is_promised_is_counted_by_source() {
        let found = look_at(&sound());
        assert_eq!((found.state(), found.is_sound(), found.damaged_bytes()), ("sealed", true, 0));
        assert_eq!((found.frames, found.tuples, found.malformed_frames), (2, 3, 0));
        assert_eq!(found.accepted, BTreeMap::from([("app".to_owned(), 1), ("web".to_owned(), 3)]));
        let at = |ms| Timestamp::from_millisecond(ms).expect("a time");
        assert_eq!(found.written, Some((at(5_000), at(7_000))));
    }

    #[test]
    fn only_segments_are_looked_at_and_those_put_aside() {
        let bytes = sound();
        let found = look(&[("a.segment", &bytes), ("b.damaged", &bytes), ("c.other", &bytes), ("node", b"")]);
        let names: Vec<_> = found.iter().map(|found| found.path.to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["a.segment", "b.damaged"]);
    }

    #[test]
    fn the_state_of_a_segment_is_told() {
        let mut used = sound();
        used.resize(used.len() + 4096, 0);
        assert_eq!(look_at(&used).state(), "in use, or its process died");

        let mut torn = sound();
        torn.extend_from_slice(&[7; 100]);
        torn.resize(torn.len() + 4096, 0);
        let torn = look_at(&torn);
        assert_eq!((torn.state(), torn.is_sound()), ("torn at the end", true));

        let mut damaged = sound();
        damaged[SEGMENT_HEADER_BYTES + 60] ^= 1;
        let damaged = look_at(&damaged);
        assert_eq!((damaged.state(), damaged.is_sound(), damaged.frames), ("damaged", false, 1));
        assert!(damaged.damaged_bytes() > 1);

        let mut unreadable = sound();
        unreadable[0] ^= 1;
        let found = look_at(&unreadable);
        assert_eq!((found.state(), found.is_sound()), ("unreadable", false));
        assert_eq!(found.damaged_bytes(), unreadable.len() as u64);
        assert_eq!(look_at(b"cut").state(), "unreadable");

        let mut newer = sound();
        newer[8] = 9;
        let crc = crc32c::crc32c(&newer[..60]);
        newer[60..SEGMENT_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(look_at(&newer).state(), "of a newer weir");
    }

    #[test]
    fn frames_that_do_not_add_up_are_told() {
        // One row less than was promised, one more than it says, one less than it says.
        for (accepted, duplicate, tuples, said) in [(3, 1, 1, 1), (1, 0, 2, 1), (2, 0, 1, 2)] {
            let mut bytes = sound();
            frame(&mut bytes, &[count("web", accepted, duplicate)], tuples, said, 1);
            let found = look_at(&bytes);
            assert_eq!((found.malformed_frames, found.is_sound(), found.damaged_bytes()), (1, false, 0));
            assert_eq!(found.state(), "damaged");
        }
    }
}
