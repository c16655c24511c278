//! The rows of one source of one table into one object: read by COPY, encoded on a thread of its own, and sent in parts as they
//! become full. Nothing of it lies on a disk here, and in memory are some lots of rows, one row group, and three parts.

use std::future::Future;
use std::io::{self, Write};
use std::mem;

use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use parquet::file::metadata::{FooterTail, ParquetMetaDataReader};
use tokio::sync::mpsc;

use super::LakeError;
use super::store::{PART_BYTES, Store, Stored};
use crate::columnar::copy::{self, Lot, Reading};
use crate::columnar::table::{Column, Writer};

/// Parts that wait for the store, beside the one that is sent and the one that is filled.
const PARTS_WAITING_MAX: usize = 1;
/// Metadata of a file: some kilobytes a row group, of which a file of 80 GB has some thousands.
const METADATA_BYTES_MAX: u64 = 256 * 1024 * 1024;
const FOOTER_BYTES: u64 = 8;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub rows: u64,
    /// `None`: there were no rows, and so no object.
    pub stored: Option<Stored>,
}

enum Part {
    Bytes(Bytes),
    /// The file is whole, and has rows.
    End,
    /// There were no rows.
    Nothing,
}

/// Writes the object; `may_publish` is asked right before it takes the place of the one before, `pause` is waited for between
/// lots of rows.
pub async fn write<F: Future<Output = ()>, G: Future<Output = Result<(), LakeError>>>(
    client: &mut ClientWrapper,
    reading: Reading<'_>,
    store: &Store,
    key: &str,
    said: Vec<(&'static str, String)>,
    pause: impl Fn() -> F,
    may_publish: impl FnOnce() -> G,
) -> Result<Written, LakeError> {
    let (rows, columns, lots) = copy::prepare(client, reading).await?;
    let (parts, arriving) = mpsc::channel(PARTS_WAITING_MAX);
    let encoding = tokio::task::spawn_blocking(move || encode(columns, lots, &said, parts));
    let (read, stored) = tokio::join!(rows.read(client, pause), send(store, key, arriving, may_publish));
    let encoded = encoding.await.map_err(|_| LakeError::Thread)?;
    // The first of the three that failed made the others fail.
    let (sent, stored) = match (read, stored) {
        (Err(error), _) => return Err(error.into()),
        (_, Err(error)) if !matches!(error, LakeError::CutShort) => return Err(error),
        (Ok(sent), stored) => (sent, stored),
    };
    let rows = encoded.map_err(|source| LakeError::Parquet { name: store.name(key), source })?;
    let stored = stored?;
    let found = match &stored {
        Some(stored) => self::rows(store, key, stored.bytes).await?,
        None => 0,
    };
    if rows != sent || found != rows {
        return Err(LakeError::Unreadable { name: store.name(key), sent, found });
    }
    Ok(Written { rows, stored })
}

/// Runs on a thread of its own.
fn encode(
    columns: Vec<Column>,
    mut lots: mpsc::Receiver<Lot>,
    said: &[(&str, String)],
    parts: mpsc::Sender<Part>,
) -> parquet::errors::Result<u64> {
    let cut_short = || parquet::errors::ParquetError::External(Box::new(LakeError::CutShort));
    let mut lot = lots.blocking_recv().ok_or_else(cut_short)?;
    if lot.rows.is_empty() && lot.is_last {
        // Whoever no longer waits has an error to tell.
        let _ = parts.blocking_send(Part::Nothing);
        return Ok(0);
    }
    let mut writer = Writer::new(Cutter { full: Vec::with_capacity(PART_BYTES), parts }, columns, said)?;
    loop {
        for row in &lot.rows {
            writer.push(row)?;
        }
        if lot.is_last {
            break;
        }
        lot = lots.blocking_recv().ok_or_else(cut_short)?;
    }
    let (cutter, rows) = writer.finish()?;
    cutter.end()?;
    Ok(rows)
}

/// Cuts what is written into parts of one size.
struct Cutter {
    full: Vec<u8>,
    parts: mpsc::Sender<Part>,
}

impl Cutter {
    fn send(&self, part: Part) -> io::Result<()> {
        self.parts.blocking_send(part).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn end(self) -> io::Result<()> {
        let last = Bytes::from(self.full);
        self.parts.blocking_send(Part::Bytes(last)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.parts.blocking_send(Part::End).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Cutter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (fits, _) = bytes.split_at(bytes.len().min(PART_BYTES - self.full.len()));
        self.full.extend_from_slice(fits);
        if self.full.len() == PART_BYTES {
            let part = mem::replace(&mut self.full, Vec::with_capacity(PART_BYTES));
            self.send(Part::Bytes(part.into()))?;
        }
        Ok(fits.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn send<G: Future<Output = Result<(), LakeError>>>(
    store: &Store,
    key: &str,
    mut arriving: mpsc::Receiver<Part>,
    may_publish: impl FnOnce() -> G,
) -> Result<Option<Stored>, LakeError> {
    let mut upload = store.begin(key);
    let error = loop {
        match arriving.recv().await {
            Some(Part::Bytes(bytes)) => match upload.part(bytes).await {
                Ok(()) => {}
                Err(error) => break error.into(),
            },
            Some(Part::End) => match may_publish().await {
                Ok(()) => return Ok(Some(upload.finish().await?)),
                Err(error) => break error,
            },
            Some(Part::Nothing) => return Ok(None),
            None => break LakeError::CutShort,
        }
    };
    upload.abort().await;
    Err(error)
}

/// How many rows the object says it has: read back from the store.
pub async fn rows(store: &Store, key: &str, bytes: u64) -> Result<u64, LakeError> {
    let badly = |source| LakeError::Parquet { name: store.name(key), source };
    let footer = store.range(key, bytes.saturating_sub(FOOTER_BYTES), bytes).await?;
    let footer = FooterTail::try_from(&footer[..]).map_err(badly)?;
    let length = footer.metadata_length() as u64;
    if length > METADATA_BYTES_MAX || length + FOOTER_BYTES > bytes {
        return Err(badly(parquet::errors::ParquetError::General("its footer is damaged".to_owned())));
    }
    let end = bytes - FOOTER_BYTES;
    let metadata = store.range(key, end - length, end).await?;
    let metadata = ParquetMetaDataReader::decode_metadata(&metadata).map_err(badly)?;
    Ok(metadata.file_metadata().num_rows().cast_unsigned())
}
