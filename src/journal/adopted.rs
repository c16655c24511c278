//! The file `adopted`, JSON: everything that was in a journal was sent to the database by someone else than its collector.
//!
//! It tells people. What keeps a second sending from adding anything is the ledger, so nothing depends on this file.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::recover::{read_if_there, remove_if_there};
use crate::disk::Disk;

const FILE: &str = "adopted";
const STAGING: &str = "adopted.new";
/// Longer is nothing that weir wrote.
const BYTES_MAX: u64 = 64 * 1024;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// When it was done.
    pub at: String,
    /// The machine that did it.
    pub by: String,
    pub segments: u64,
    /// Events that were promised in them.
    pub events: u64,
    /// Promised bytes that could not be read.
    pub damaged_bytes: u64,
    /// Segments that were not sent, because the database knows other files of their names.
    pub forked_segments: u64,
}

/// What the file in `dir` says; `None` if there is none, or none that can be read.
pub fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Adopted>> {
    let bytes = read_if_there(disk, &dir.join(FILE), BYTES_MAX)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Writes the file, whole or not at all.
pub fn write(disk: &dyn Disk, dir: &Path, adopted: &Adopted) -> io::Result<()> {
    let staging = dir.join(STAGING);
    remove_if_there(disk, &staging)?;
    let file = disk.create(&staging)?;
    file.write_all_at(&serde_json::to_vec_pretty(adopted).map_err(io::Error::other)?, 0)?;
    file.sync_data()?;
    disk.rename(&staging, &dir.join(FILE))?;
    disk.sync_dir(dir)
}

/// A collector uses the directory again: from now on it may hold what nobody has sent. Whoever adopted it may have been
/// somebody else, as root: a file that cannot be read or removed stops no collector.
pub(super) fn end(disk: &dyn Disk, dir: &Path) {
    match read(disk, dir) {
        Ok(Some(Adopted { at, by, .. })) => tracing::warn!(
            at,
            by,
            "this journal was adopted: what it held is in the database, and nothing of it is sent twice"
        ),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "this journal was adopted, and who did that cannot be read"),
    }
    for path in [dir.join(STAGING), dir.join(FILE)] {
        if let Err(error) = remove_if_there(disk, &path) {
            tracing::warn!(%error, path = %path.display(), "cannot be removed: it tells of what is over");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    #[test]
    fn it_says_what_was_written_last_until_a_collector_ends_it() {
        let (disk, dir) = (MemoryDisk::default(), Path::new("j"));
        let adopted = |events| Adopted {
            at: "2026-11-27T00:00:00Z".to_owned(),
            by: "a".to_owned(),
            segments: 2,
            events,
            damaged_bytes: 0,
            forked_segments: 0,
        };
        assert_eq!(read(&disk, dir).expect("readable"), None);
        // A crash may have left half of one.
        disk.create(&dir.join(STAGING)).expect("made").write_all_at(b"{", 0).expect("written");
        for events in [1, 2] {
            write(&disk, dir, &adopted(events)).expect("written");
            assert_eq!(read(&disk, dir).expect("readable"), Some(adopted(events)));
        }
        end(&disk, dir);
        assert_eq!(read(&disk, dir).expect("readable"), None);
        end(&disk, dir);
        disk.create(&dir.join(FILE)).expect("made").write_all_at(b"?", 0).expect("written");
        assert_eq!(read(&disk, dir).expect("readable"), None, "nobody wrote that");
    }
}
