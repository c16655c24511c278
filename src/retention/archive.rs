//! A detached partition as a Parquet file, `DIR/date=YYYY-MM-DD/events-<16 hex digits>.parquet`.
//!
//! The digits are those of the detached table, so an attempt that was cut short is repeated under the same name, and no
//! file ever replaces another one's rows. The file is written beside its place, synced, read back, and renamed: under its
//! name it is whole. Its columns are those of the table ([`crate::columnar`]).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use deadpool_postgres::ClientWrapper;
use jiff::civil::Date;
use parquet::file::reader::{FileReader, SerializedFileReader};
use tokio::sync::mpsc;

use crate::columnar::copy::{self, CopyError, Lot, Reading};
use crate::columnar::table::{Column, Writer};

/// The archive is not as it must be: the rows stay in the database.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{}: {source}", .path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("{}: {source}", .path.display())]
    Parquet { path: PathBuf, source: parquet::errors::ParquetError },
    #[error("{}: {written} rows were written and {found} read back", .path.display())]
    Unreadable { path: PathBuf, written: u64, found: u64 },
    #[error(transparent)]
    Read(#[from] CopyError),
    #[error("the writing thread ended: see the log")]
    Thread,
}

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    pub rows: u64,
    /// `None`: there was nothing to write.
    pub path: Option<PathBuf>,
}

/// Where `table`'s rows go, whatever its day.
fn place(dir: &Path, table: &str, day: Date) -> PathBuf {
    let digits = table.rsplit('_').next().unwrap_or(table);
    dir.join(format!("date={day}")).join(format!("events-{digits}.parquet"))
}

/// Writes all rows of `table`, to which nobody writes. Returns once the file is durable under its name.
pub async fn write(client: &mut ClientWrapper, table: &str, day: Date, dir: &Path) -> Result<Archived, ArchiveError> {
    let reading = Reading { table, by_source_but: None, uuid_as_text: false };
    let (rows, columns, handed_over) = copy::prepare(client, reading).await?;
    let path = place(dir, table, day);
    let writing = tokio::task::spawn_blocking(move || write_file(&path, columns, handed_over));
    let sent = rows.read(client, || std::future::ready(())).await?;
    let archived = writing.await.map_err(|_| ArchiveError::Thread)??;
    if archived.rows != sent {
        return Err(ArchiveError::Thread);
    }
    Ok(archived)
}

/// Runs on a thread of its own: encoding takes the processor, and syncing the disk.
fn write_file(path: &Path, columns: Vec<Column>, mut lots: mpsc::Receiver<Lot>) -> Result<Archived, ArchiveError> {
    let parent = path.parent().unwrap_or(path);
    let on = |path: &Path| {
        let path = path.to_owned();
        move |source| ArchiveError::Disk { path, source }
    };
    let badly = |source| ArchiveError::Parquet { path: path.to_owned(), source };
    let mut first = lots.blocking_recv().ok_or(ArchiveError::Thread)?;
    if first.rows.is_empty() {
        return Ok(Archived { rows: 0, path: None });
    }
    // Events are personal data: nobody but the owner reads them.
    DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(on(parent))?;
    let staging = path.with_extension("new");
    let file = create(&staging).map_err(on(&staging))?;
    let mut writer = Writer::new(file, columns, &[]).map_err(badly)?;
    loop {
        for row in &first.rows {
            writer.push(row).map_err(badly)?;
        }
        if first.is_last {
            break;
        }
        first = lots.blocking_recv().ok_or(ArchiveError::Thread)?;
    }
    let (file, written) = writer.finish().map_err(badly)?;
    file.sync_all().map_err(on(&staging))?;
    let found = rows(&staging).map_err(badly)?;
    if found != written {
        return Err(ArchiveError::Unreadable { path: path.to_owned(), written, found });
    }
    fs::rename(&staging, path).map_err(on(path))?;
    for dir in path.ancestors().skip(1).take(3).filter(|dir| !dir.as_os_str().is_empty()) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(on(dir))?;
    }
    Ok(Archived { rows: written, path: Some(path.to_owned()) })
}

/// A file that nobody but its owner reads; what an earlier attempt left of it goes.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(0o600).open(path)
}

/// How many rows the file says it has.
fn rows(path: &Path) -> parquet::errors::Result<u64> {
    let reader = SerializedFileReader::new(File::open(path)?)?;
    Ok(reader.metadata().file_metadata().num_rows().cast_unsigned())
}

/// The files of an archive, by day.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let list = |dir: &Path| -> Result<Vec<PathBuf>, ArchiveError> {
        let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            result => result.map_err(|source| ArchiveError::Disk { path: dir.to_owned(), source }),
        }
    };
    let mut files = Vec::new();
    for day in list(dir)?.iter().filter(|path| path.is_dir()) {
        files.extend(list(day)?.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "parquet")));
    }
    files.sort();
    Ok(files)
}
