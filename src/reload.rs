//! Files that are read again when they change.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

/// What was read from files, and follows them.
pub trait Reload: Send + Sync {
    /// What it is, for the log.
    fn what(&self) -> &'static str;

    /// Reads the files if one has changed; returns whether one had. After an error, what was known stays. Not for an
    /// async thread.
    fn reload(&self) -> Result<bool, Box<dyn std::error::Error + Send + Sync>>;
}

/// Paths with their time of change and length: equal means unchanged.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Stamp(Vec<(PathBuf, SystemTime, u64)>);

impl Stamp {
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> io::Result<Self> {
        let stamp = |file: PathBuf| match file.metadata().and_then(|file| Ok((file.modified()?, file.len()))) {
            Ok((modified, bytes)) => Ok((file, modified, bytes)),
            Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", file.display()))),
        };
        Ok(Self(files.into_iter().map(stamp).collect::<io::Result<_>>()?))
    }

    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.iter().map(|(file, ..)| file)
    }
}
