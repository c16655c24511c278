//! The disk as a parameter: the operating system's, memory where no disk may be needed, and in tests one that fails.

mod memory;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

pub use memory::MemoryDisk;

/// A directory that is this process's alone, for as long as this value lives.
pub trait DirLock: Send {}

/// The operations that the journal needs of a file system.
pub trait Disk: Send + Sync {
    fn is_dir(&self, dir: &Path) -> bool;
    /// Creates `dir` for the owner only; its parent exists. It may exist already.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Locks the file `path`, made if it is missing; `None` if another process has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DirLock>>>;
    /// Creates `path` for reading and writing; fails if it exists.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens `path` for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// The paths of the files in `dir`, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Deletes `path`.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Gives `from` the name `to`, in the same directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes creations, deletions and renames in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// One open file.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Fills `bytes` from `offset`.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Reserves space for the first `bytes` bytes, which read as zeros.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Writes zeros over `range`, which is reserved and never was written. Does nothing where that gains nothing.
    fn write_zeros(&self, range: Range<u64>) -> io::Result<()>;
    /// Ends the file after `bytes` bytes, durably.
    fn cut(&self, bytes: u64) -> io::Result<()>;
    /// Returns once the file's contents are on the device. After an error the file must not be synced again: the
    /// kernel reports a lost write only once.
    fn sync_data(&self) -> io::Result<()>;
    /// The file's length in bytes.
    fn size(&self) -> io::Result<u64>;
}

/// Whether `error` is one of these of the operating system.
pub fn is_one_of(error: &io::Error, errnos: &[rustix::io::Errno]) -> bool {
    errnos.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Writes a small file that only its owner can read, whole or not at all.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staging = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&staging)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&staging, path)
}

/// A file that was not there, for its owner alone: events are personal data. What root makes in somebody's directory is theirs,
/// so that they can open it when root has gone: a collector the lock that an adoption left. Only what was made here, since a file
/// that lies there already may be a link to any other.
fn create_new(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    if file.metadata()?.uid() == ROOT {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let owner = fs::metadata(dir)?;
        if owner.uid() != ROOT
            && let Err(error) = fchown(&file, Some(owner.uid()), Some(owner.gid()))
        {
            tracing::warn!(%error, path = %path.display(), "it stays root's: the owner of its directory cannot open it");
        }
    }
    Ok(file)
}

const ROOT: u32 = 0;

/// Written at once.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl DirLock for File {}

impl Disk for RealDisk {
    fn is_dir(&self, dir: &Path) -> bool {
        dir.is_dir()
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        let file = match create_new(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => OpenOptions::new().write(true).open(path)?,
            made => made?,
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(create_new(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths: Vec<PathBuf> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.sort();
        Ok(paths)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl DiskFile for File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        match rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            // Some file systems cannot reserve: there ENOSPC comes at the write, which is then refused.
            Err(rustix::io::Errno::OPNOTSUPP) => {}
            result => return result.map_err(Into::into),
        }
        self.set_len(bytes)
    }

    fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        for from in range.clone().step_by(ZEROS.len()) {
            let length = ZEROS.len().min((range.end - from) as usize);
            FileExt::write_all_at(self, &ZEROS[..length], from)?;
        }
        Ok(())
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)?;
        self.sync_all()
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
