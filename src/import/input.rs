//! Where the bytes come from: files, directories, standard input; as they are, gzip or zstd, told by their first bytes.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ImportError;

/// Reading a file in larger pieces costs less.
const READ_BYTES: usize = 256 * 1024;
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// zstd's own limit for tools (`zstd --long`): 128 MB of memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// One thing to import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    File(PathBuf),
    Stdin,
}

impl Input {
    /// For people, and to know formats by.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "-".to_owned(),
        }
    }

    /// How many bytes there are, as they lie on the disk.
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Self::File(path) => path.metadata().ok().filter(std::fs::Metadata::is_file).map(|data| data.len()),
            Self::Stdin => None,
        }
    }

    /// The unpacked bytes; `read` counts those that were read of what is packed.
    pub fn open(&self, read: Arc<AtomicU64>) -> Result<Box<dyn Read + Send>, ImportError> {
        let failed = |error| ImportError::Open { path: PathBuf::from(self.name()), error };
        let raw: Box<dyn Read + Send> = match self {
            Self::File(path) => Box::new(File::open(path).map_err(failed)?),
            Self::Stdin => Box::new(io::stdin()),
        };
        let mut counted = Counted { raw, read };
        // A pipe may give a byte at a time.
        let mut head = Vec::new();
        counted.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut head).map_err(failed)?;
        let (is_gzip, is_zstd) = (head.starts_with(GZIP_MAGIC), head.starts_with(ZSTD_MAGIC));
        let whole = BufReader::with_capacity(READ_BYTES, Cursor::new(head).chain(counted));
        if is_gzip {
            Ok(Box::new(flate2::bufread::MultiGzDecoder::new(whole)))
        } else if is_zstd {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(whole).map_err(failed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(failed)?;
            Ok(Box::new(decoder))
        } else {
            Ok(Box::new(whole))
        }
    }
}

struct Counted<R> {
    raw: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.raw.read(into)?;
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// What the arguments name: of a directory all files below it, by name. Hidden files are none of an export's, and neither is
/// the list of its files that some write beside them.
pub fn list(arguments: &[PathBuf]) -> Result<Vec<Input>, ImportError> {
    let mut inputs = Vec::new();
    for argument in arguments {
        if argument.as_os_str() == "-" {
            inputs.push(Input::Stdin);
        } else if argument.is_dir() {
            let mut files = Vec::new();
            walk(argument, &mut files)?;
            files.sort();
            inputs.extend(files.into_iter().map(Input::File));
        } else {
            inputs.push(Input::File(argument.clone()));
        }
    }
    inputs.dedup();
    Ok(inputs)
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), ImportError> {
    let failed = |error| ImportError::Open { path: directory.to_owned(), error };
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        // A link to a directory may lead in a circle.
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() && !name.starts_with('.') {
            walk(&path, files)?;
        } else if path.is_file() && !name.starts_with(['.', '_']) && !name.ends_with("manifest.json") {
            files.push(path);
        }
    }
    Ok(())
}
