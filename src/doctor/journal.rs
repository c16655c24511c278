//! The journal's directory: whether it keeps what is put there, has room, and holds what never arrives.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(target_os = "linux")]
use rustix::fs::FsWord;
use rustix::fs::StatVfsMountFlags;
use uuid::Uuid;

use super::finding::{Finding, Level};
use crate::adopt::standing;
use crate::config;
use crate::database::Database;
use crate::disk::Disk;
use crate::journal::recover::{DAMAGED_EXTENSION, SEGMENT_EXTENSION};
use crate::journal::{Durability, JournalState, Segment, adopted};

const CHECK: &str = "journal";
const MIB: u64 = 1 << 20;

#[cfg(target_os = "linux")]
/// By the kernel's magic numbers (statfs(2)): what does not outlive the machine, or is not on it.
const FILE_SYSTEMS: [(FsWord, &str, Level, &str); 8] = [
    (
        0x0102_1994,
        "tmpfs",
        Level::Problem,
        "it is memory: a power cut, or a restart of the container, loses what was answered with 200",
    ),
    (
        0x8584_58f6,
        "ramfs",
        Level::Problem,
        "it is memory: a power cut, or a restart of the container, loses what was answered with 200",
    ),
    (0x794c_7630, "overlayfs", Level::Warning, "it is a container's own layer, and goes with the container"),
    (
        0x6969,
        "nfs",
        Level::Warning,
        "every answer waits for a sync over the network, and the lock may not be seen by other machines",
    ),
    (
        0x517b,
        "smb",
        Level::Warning,
        "every answer waits for a sync over the network, and the lock may not be seen by other machines",
    ),
    (
        0xff53_4d42,
        "cifs",
        Level::Warning,
        "every answer waits for a sync over the network, and the lock may not be seen by other machines",
    ),
    (
        0xfe53_4d42,
        "smb2",
        Level::Warning,
        "every answer waits for a sync over the network, and the lock may not be seen by other machines",
    ),
    (0x6573_5546, "fuse", Level::Warning, "whether a sync reaches a disk is up to a program"),
];

/// The directory and its file system.
pub fn directory(dir: &Path, settings: &config::Journal) -> Vec<Finding> {
    if settings.durability != Durability::Journal {
        let found = "journal.durability is not \"journal\": nothing is kept on a disk";
        let (level, why) = if settings.durability == Durability::Memory {
            (Level::Warning, "a crash loses what PostgreSQL does not have yet; senders hear 202")
        } else {
            (Level::Note, "senders hear 200 after PostgreSQL's commit, and 503 while it is away")
        };
        return vec![Finding::new(level, CHECK, found, why, "journal.durability = \"journal\"")];
    }
    let metadata = match std::fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let why = "the first collector to start makes it; if one runs, it uses another: is this its user and its settings?";
            let cure = "weir --config /etc/weir/weir.toml doctor     or WEIR_JOURNAL__DIR=...";
            return vec![Finding::new(Level::Note, CHECK, format!("{} does not exist", dir.display()), why, cure)];
        }
        Err(error) => {
            let found = format!("{}: {error}", dir.display());
            let cure = format!("chown -R weir: {0}; chmod 700 {0}", dir.display());
            return vec![Finding::new(Level::Problem, CHECK, found, "no collector of this user can start", cure)];
        }
        Ok(metadata) => metadata,
    };
    let mut findings = vec![owner(dir, metadata.uid(), rustix::process::geteuid().as_raw())];
    findings.extend(writable(dir));
    findings.extend(file_system(dir));
    findings.extend(room(dir, settings));
    findings
}

fn owner(dir: &Path, owner: u32, own: u32) -> Finding {
    if owner == own || own == 0 {
        return Finding::ok("journal.owner", format!("{} belongs to user {owner}", dir.display()));
    }
    let found = format!("{} belongs to user {owner}, and this is user {own}", dir.display());
    let why = "a collector of this user could not write there";
    Finding::new(
        Level::Warning,
        "journal.owner",
        found,
        why,
        format!("sudo -u '#{owner}' weir doctor; or chown -R {own} {}", dir.display()),
    )
}

fn writable(dir: &Path) -> Option<Finding> {
    let access = rustix::fs::access(dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    let error = access.err()?;
    let why = "no segment can be made: events are refused with 503";
    let cure = format!("mount | grep {0}; ls -ld {0}; mount -o remount,rw ... or chown", dir.display());
    Some(Finding::new(Level::Problem, "journal.writable", format!("{}: {error}", dir.display()), why, cure))
}

#[cfg(target_os = "linux")]
fn file_system(dir: &Path) -> Option<Finding> {
    let kind = rustix::fs::statfs(dir).ok()?.f_type;
    Some(match FILE_SYSTEMS.iter().find(|(magic, ..)| *magic == kind) {
        Some((_, name, level, why)) => {
            let cure = "journal.dir = \"/var/lib/weir/journal\"     on a local disk or a volume";
            Finding::new(*level, "journal.file-system", format!("the journal is on {name}"), *why, cure)
        }
        None => Finding::ok("journal.file-system", "the journal is on a disk of this machine, as far as can be told"),
    })
}

/// Elsewhere the kernel has no such numbers.
#[cfg(not(target_os = "linux"))]
fn file_system(_dir: &Path) -> Option<Finding> {
    None
}

/// Whether the journal can grow to its limit.
fn room(dir: &Path, settings: &config::Journal) -> Option<Finding> {
    let check = "journal.room";
    let disk = rustix::fs::statvfs(dir).ok()?;
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        let why = "no segment can be made: events are refused with 503";
        let cure = "dmesg | tail     a disk with errors is mounted so; then mount -o remount,rw";
        return Some(Finding::new(Level::Problem, check, "the file system is read-only", why, cure));
    }
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let used: u64 =
        files(dir, SEGMENT_EXTENSION).iter().filter_map(|path| Some(path.metadata().ok()?.blocks() * 512)).sum();
    let found = format!(
        "{} MB are free, and the journal may take {} MB more",
        free / MIB,
        settings.bytes_max.saturating_sub(used) / MIB
    );
    Some(if free < 2 * settings.segment_bytes {
        let why = "no segment can be reserved: events are refused with 503";
        Finding::new(Level::Problem, check, found, why, "free space on this disk, or a larger one")
    } else if free + used < settings.bytes_max {
        let why = "during an outage of the database the disk is full before journal.bytes_max is reached";
        let cure = format!("journal.bytes_max = {}     or a larger disk", (free + used) / 10 * 9);
        Finding::new(Level::Warning, check, found, why, cure)
    } else {
        Finding::ok(check, found)
    })
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.extension().is_some_and(|own| own == extension)).collect()
}

/// What lies there and does not arrive by itself.
pub fn leftovers(disk: &dyn Disk, dir: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let damaged = files(dir, DAMAGED_EXTENSION).len();
    if damaged > 0 {
        let why = "their events were answered with success, and could not be read: a disk that rots";
        let cure = format!(
            "weir journal verify {0}; docs/operations.md, \"WeirJournalDamaged\"; then rm {0}/*.{DAMAGED_EXTENSION}",
            dir.display()
        );
        findings.push(Finding::new(
            Level::Warning,
            "journal.damaged",
            format!("{damaged} damaged segments were put aside"),
            why,
            cure,
        ));
    }
    if let Ok(Some(adopted)) = adopted::read(disk, dir) {
        let found = format!("{} was adopted at {} by {}", dir.display(), adopted.at, adopted.by);
        findings.push(Finding::new(Level::Note, "journal.adopted", found, "what it held is in the database", ""));
    }
    findings
}

/// Segments of which the database knows another copy: their events never arrive.
pub async fn forks(disk: &dyn Disk, dir: &Path, database: &Database) -> Result<Vec<Finding>, super::Failed> {
    let segments: Vec<Segment> =
        files(dir, SEGMENT_EXTENSION).into_iter().filter_map(|path| standing::by_header(disk, path)).collect();
    let ids: Vec<Uuid> = segments.iter().map(|segment| segment.id).collect();
    let known = standing::standing(database, &ids).await.map_err(|error| super::Failed(error.to_string()))?;
    let state = Arc::new(JournalState::new(u64::MAX, 0));
    let is_fork = |segment: &&Segment| known.get(&segment.id).is_some_and(|standing| !standing.is_of(segment, &state));
    let mut findings = Vec::new();
    for segment in segments.iter().filter(is_fork) {
        let found = format!("the database knows another file of the name {}", segment.path.display());
        let why = "a copy of this journal was written to: its events are set aside, and do not arrive";
        findings.push(Finding::new(
            Level::Warning,
            "journal.forks",
            found,
            why,
            "docs/operations.md, \"WeirJournalForked\"",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("journal.forks", format!("{} segments, none of a copy", segments.len())));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_and_root_can_use_a_directory() {
        let of = |owner_id, own| owner(Path::new("j"), owner_id, own).level;
        assert_eq!((of(7, 7), of(7, 0), of(0, 7), of(8, 7)), (Level::Ok, Level::Ok, Level::Warning, Level::Warning));
    }
}
