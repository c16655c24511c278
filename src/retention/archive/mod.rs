//! A detached partition as a Parquet file, `DIR/date=YYYY-MM-DD/events-<16 hex digits>.parquet`.
//!
//! The digits are those of the detached table, so an attempt that was cut short is repeated under the same name, and no
//! file ever replaces another one's rows. The file is written beside its place, synced, read back, and renamed: under its
//! name it is whole. Columns are those of the table:
//!
//! ```text
//! uuid         FIXED_LEN_BYTE_ARRAY(16), UUID       timestamptz  INT64, TIMESTAMP(MICROS, UTC)
//! boolean      BOOLEAN                              jsonb        BYTE_ARRAY, JSON
//! all others   BYTE_ARRAY, STRING: as PostgreSQL writes them, inet and columns that were added to the table included
//! ```

mod file;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use futures_util::StreamExt;
use jiff::civil::Date;
use tokio::sync::mpsc;
use tokio_postgres::binary_copy::{BinaryCopyOutRow, BinaryCopyOutStream};
use tokio_postgres::types::Type;

use file::{Column, Writer};

const COLUMNS: &str = include_str!("../sql/archive_columns.sql");
/// Rows handed over at once, fewer if they are large, and how many such lots may wait for the disk: 12 MB, with the one that
/// is filled and the one that is written.
const LOT_ROWS_MAX: usize = 1_000;
const LOT_BYTES_MAX: usize = 2 * 1024 * 1024;
const LOTS_WAITING_MAX: usize = 4;
/// A database that says nothing for so long is away.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The archive is not as it must be: the rows stay in the database.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{}: {source}", .path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("{}: {source}", .path.display())]
    Parquet { path: PathBuf, source: parquet::errors::ParquetError },
    #[error("{}: {written} rows were written and {found} read back", .path.display())]
    Unreadable { path: PathBuf, written: u64, found: u64 },
    #[error("reading {table}: {source}")]
    Read { table: String, source: tokio_postgres::Error },
    #[error("reading {table}: no answer within {} s", SILENCE_MAX.as_secs())]
    Silent { table: String },
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
    let unread = |source| ArchiveError::Read { table: table.to_owned(), source };
    let (columns, expressions): (Vec<Column>, Vec<String>) = columns(client, table).await?.into_iter().unzip();
    let types: Vec<Type> = columns.iter().map(Column::wire_type).collect();
    let copy = format!("copy (select {} from only {table}) to stdout (format binary)", expressions.join(", "));
    // However long it takes, as long as it goes on.
    let transaction = client.transaction().await.map_err(unread)?;
    transaction.batch_execute("set local statement_timeout = 0").await.map_err(unread)?;
    let stream = transaction.copy_out(copy.as_str()).await.map_err(unread)?;
    let mut rows = pin!(BinaryCopyOutStream::new(stream, &types));

    let (lots, handed_over) = mpsc::channel(LOTS_WAITING_MAX);
    let path = place(dir, table, day);
    let writing = tokio::task::spawn_blocking(move || write_file(&path, columns, handed_over));
    let mut lot = Vec::with_capacity(LOT_ROWS_MAX);
    let (mut sent, mut bytes) = (0, 0);
    loop {
        let next = tokio::time::timeout(SILENCE_MAX, rows.next()).await;
        let row = next.map_err(|_| ArchiveError::Silent { table: table.to_owned() })?.transpose().map_err(unread)?;
        let is_last = row.is_none();
        bytes += row.as_ref().map_or(0, |row| text_bytes(row, &types));
        lot.extend(row);
        if lot.len() == LOT_ROWS_MAX || bytes >= LOT_BYTES_MAX || is_last {
            (sent, bytes) = (sent + lot.len() as u64, 0);
            // It ends early only with an error, which is told below.
            if lots.send(Lot { rows: std::mem::take(&mut lot), is_last }).await.is_err() || is_last {
                break;
            }
        }
    }
    let archived = writing.await.map_err(|_| ArchiveError::Thread)??;
    transaction.commit().await.map_err(unread)?;
    if archived.rows != sent {
        return Err(ArchiveError::Thread);
    }
    Ok(archived)
}

/// What of a row can be large.
fn text_bytes(row: &BinaryCopyOutRow, types: &[Type]) -> usize {
    let texts = (0..types.len()).filter(|place| types[*place] == Type::TEXT);
    // What is no text is told where it is written.
    texts.filter_map(|place| row.try_get::<Option<&str>>(place).ok().flatten()).map(str::len).sum()
}

struct Lot {
    rows: Vec<BinaryCopyOutRow>,
    /// Without it, reading was cut short.
    is_last: bool,
}

/// The table's columns, each with the expression that reads it.
async fn columns(client: &ClientWrapper, table: &str) -> Result<Vec<(Column, String)>, ArchiveError> {
    let unread = |source| ArchiveError::Read { table: table.to_owned(), source };
    let rows = client.query_typed(COLUMNS, &[(&table, Type::TEXT)]).await.map_err(unread)?;
    rows.iter()
        .map(|row| {
            let column = Column::new(row.try_get("name")?, row.try_get("type")?);
            Ok((column, row.try_get("expression")?))
        })
        .collect::<Result<_, tokio_postgres::Error>>()
        .map_err(unread)
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
    let file = file::create(&staging).map_err(on(&staging))?;
    let mut writer = Writer::new(file, columns).map_err(badly)?;
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
    let found = file::rows(&staging).map_err(badly)?;
    if found != written {
        return Err(ArchiveError::Unreadable { path: path.to_owned(), written, found });
    }
    fs::rename(&staging, path).map_err(on(path))?;
    for dir in path.ancestors().skip(1).take(3).filter(|dir| !dir.as_os_str().is_empty()) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(on(dir))?;
    }
    Ok(Archived { rows: written, path: Some(path.to_owned()) })
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
