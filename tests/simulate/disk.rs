//! A disk that forgets what was not synced: bytes by sectors, names by directory entries.
//!
//! `live` is what the page cache shows, `durable` what a power cut leaves. A failed sync drops the dirty pages as Linux
//! does: the next sync of the file succeeds, and the bytes are not there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use weir::disk::{DirLock, Disk, DiskFile};

use crate::random::Random;

const SECTOR_BYTES: usize = 512;
const ENOSPC: i32 = 28;

#[derive(Clone, Default)]
struct FileState {
    live: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Clone, Default)]
struct State {
    files: BTreeMap<u64, FileState>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    next_file: u64,
    /// Moves when the process ends: what it had open is of no use any more.
    life: u64,
    locked: bool,
    failing_syncs: u32,
    failing_writes: u32,
    is_full: bool,
    is_unreadable: bool,
}

/// See the module. Clones share one disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    random: Random,
}

impl SimDisk {
    pub fn new(random: Random) -> Self {
        Self { state: Arc::default(), random }
    }

    /// A disk of its own with the same contents: a machine that was cloned, or a backup.
    pub fn copy(&self) -> Self {
        let state = State { locked: false, ..self.state().clone() };
        Self { state: Arc::new(Mutex::new(state)), random: self.random.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }

    /// `kill -9`: what the process wrote is in the kernel's hands.
    pub fn kill(&self) {
        let mut state = self.state();
        state.life += 1;
        state.locked = false;
    }

    /// A power cut: of what was not synced, any part may be there.
    pub fn cut_power(&self) {
        self.kill();
        let mut state = self.state();
        for file in state.files.values_mut() {
            for sector in std::mem::take(&mut file.dirty) {
                if self.random.coin() {
                    persist(file, sector);
                }
            }
            if file.durable.len() != file.live.len() && self.random.coin() {
                let length = file.live.len();
                file.durable.resize(length, 0);
            }
            file.live.clone_from(&file.durable);
        }
        let changed: BTreeSet<PathBuf> = state
            .names
            .keys()
            .chain(state.durable_names.keys())
            .filter(|name| state.names.get(*name) != state.durable_names.get(*name))
            .cloned()
            .collect();
        for name in changed.into_iter().filter(|_| self.random.coin()) {
            match state.names.get(&name).copied() {
                Some(file) => state.durable_names.insert(name, file),
                None => state.durable_names.remove(&name),
            };
        }
        state.names = state.durable_names.clone();
        let named: BTreeSet<u64> = state.names.values().copied().collect();
        state.files.retain(|file, _| named.contains(file));
    }

    pub fn fail_syncs(&self, count: u32) {
        self.state().failing_syncs = count;
    }

    pub fn fail_writes(&self, count: u32) {
        self.state().failing_writes = count;
    }

    pub fn set_full(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    /// Whether the device answers no read.
    pub fn set_unreadable(&self, is_unreadable: bool) {
        self.state().is_unreadable = is_unreadable;
    }

    pub fn heal(&self) {
        let mut state = self.state();
        (state.failing_syncs, state.failing_writes, state.is_full) = (0, 0, false);
    }

    /// Names and bytes as they would be after a power cut at its worst.
    pub fn durable_files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.state();
        let files = state.durable_names.iter().filter_map(|(name, file)| Some((name, state.files.get(file)?)));
        files.map(|(name, file)| (name.clone(), file.durable.clone())).collect()
    }

    /// Flips one bit on the device.
    pub fn flip(&self, path: &Path, bit: usize) {
        let mut state = self.state();
        let Some(file) = state.names.get(path).copied() else { return };
        let file = state.files.get_mut(&file).expect("named");
        for bytes in [&mut file.live, &mut file.durable] {
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    fn handle(&self, state: &State, file: u64) -> Box<dyn DiskFile> {
        Box::new(SimFile { disk: self.clone(), file, life: state.life })
    }
}

fn persist(file: &mut FileState, sector: usize) {
    let start = sector * SECTOR_BYTES;
    let end = (start + SECTOR_BYTES).min(file.live.len());
    if start >= end {
        return;
    }
    if file.durable.len() < end {
        file.durable.resize(end, 0);
    }
    file.durable[start..end].copy_from_slice(&file.live[start..end]);
}

struct Lock {
    disk: SimDisk,
    life: u64,
}

impl DirLock for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.locked = false;
        }
    }
}

impl Disk for SimDisk {
    fn is_dir(&self, _dir: &Path) -> bool {
        true
    }

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn DirLock>>> {
        let mut state = self.state();
        if state.locked {
            return Ok(None);
        }
        state.locked = true;
        Ok(Some(Box::new(Lock { disk: self.clone(), life: state.life })))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.next_file += 1;
        let file = state.next_file;
        state.files.insert(file, FileState::default());
        state.names.insert(path.to_owned(), file);
        Ok(self.handle(&state, file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state();
        let file = state.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(&state, file))
    }

    fn list(&self, _dir: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state().names.remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.durable_names = state.names.clone();
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    file: u64,
    life: u64,
}

impl SimFile {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        if state.life != self.life || !state.files.contains_key(&self.file) {
            return Err(io::Error::other("the process that opened this is gone"));
        }
        work(&mut state)
    }

    fn sync(&self, state: &mut State) -> io::Result<()> {
        let fails = state.failing_syncs > 0;
        state.failing_syncs = state.failing_syncs.saturating_sub(1);
        let file = state.files.get_mut(&self.file).expect("checked");
        for sector in std::mem::take(&mut file.dirty) {
            if !fails || self.disk.random.coin() {
                persist(file, sector);
            }
        }
        if fails {
            return Err(io::Error::other("the device is gone"));
        }
        let length = file.live.len();
        file.durable.resize(length, 0);
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|state| {
            let fails = state.failing_writes > 0;
            state.failing_writes = state.failing_writes.saturating_sub(1);
            let file = state.files.get_mut(&self.file).expect("checked");
            let whole = bytes.len();
            // A write that fails may have done a part of its work.
            let bytes = if fails { &bytes[..self.disk.random.below(whole as u64) as usize] } else { bytes };
            let (start, end) = (offset as usize, offset as usize + bytes.len());
            if file.live.len() < end {
                file.live.resize(end, 0);
            }
            file.live[start..end].copy_from_slice(bytes);
            file.dirty.extend(start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
            if fails { Err(io::Error::other("the device is gone")) } else { Ok(()) }
        })
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|state| {
            if state.is_unreadable {
                return Err(io::Error::other("the device does not answer"));
            }
            let file = &state.files[&self.file].live;
            let from = file.get(offset as usize..offset as usize + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            bytes.copy_from_slice(from);
            Ok(())
        })
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.with(|state| {
            if state.is_full {
                return Err(io::Error::from_raw_os_error(ENOSPC));
            }
            let file = state.files.get_mut(&self.file).expect("checked");
            file.live.resize(bytes as usize, 0);
            Ok(())
        })
    }

    fn write_zeros(&self, range: Range<u64>) -> io::Result<()> {
        self.write_all_at(&vec![0; (range.end - range.start) as usize], range.start)
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        self.with(|state| {
            let file = state.files.get_mut(&self.file).expect("checked");
            file.live.truncate(bytes as usize);
            self.sync(state)
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state| self.sync(state))
    }

    fn size(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.files[&self.file].live.len() as u64))
    }
}
