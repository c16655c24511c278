//! The rows of one table into one object a source: read by one COPY, encoded on a thread of its own, and sent in parts as they
//! become full. Nothing of it lies on a disk here. In memory are some lots of rows, row groups that share one bound, and of each
//! object two parts.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io::{self, Write};
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use deadpool_postgres::ClientWrapper;
use parquet::errors::ParquetError;
use parquet::file::metadata::{FooterTail, ParquetMetaDataReader};
use tokio::sync::mpsc;

use super::LakeError;
use super::store::{PART_BYTES, Store, Stored, Upload};
use crate::columnar::copy::{self, Lot, Reading};
use crate::columnar::table::{Column, GROUP_BYTES_MAX, Writer};

/// Objects that are written at once, each with its parts; what is of other sources takes another scan.
pub const SOURCES_AT_ONCE_MAX: usize = 4;
/// Parts that wait for the store, beside the one that is sent.
const PARTS_WAITING_MAX: usize = 1;
/// Metadata of a file: some kilobytes a row group, of which a file of 80 GB has some thousands.
const METADATA_BYTES_MAX: u64 = 256 * 1024 * 1024;
const FOOTER_BYTES: u64 = 8;

/// An object in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub rows: u64,
    pub stored: Stored,
}

/// An object that was sent, and that nobody sees yet.
pub struct Sent<'a> {
    pub source: String,
    rows: u64,
    key: String,
    upload: Upload<'a>,
}

/// What came of a scan.
pub struct Scanned<'a> {
    pub sent: VecDeque<Sent<'a>>,
    /// No source was left for another one.
    pub is_last: bool,
}

/// What an object says of itself.
pub type Said = Vec<(&'static str, String)>;

/// Scans a table by source, and sends the objects of the first sources that it finds. `pause` is waited for between lots of
/// rows.
pub async fn scan<'a, F: Future<Output = ()>>(
    client: &mut ClientWrapper,
    reading: Reading<'_>,
    store: &'a Store,
    key: impl Fn(&str) -> String,
    said: impl Fn(&str) -> Said + Send + 'static,
    pause: impl Fn() -> F,
) -> Result<Scanned<'a>, LakeError> {
    let table = reading.table;
    let (rows, columns, lots) = copy::prepare(client, reading).await?;
    let (parts, arriving) = mpsc::channel(PARTS_WAITING_MAX);
    let encoding = tokio::task::spawn_blocking(move || encode(&columns, lots, said, &parts));
    let mut uploads = BTreeMap::new();
    let (read, sent) = tokio::join!(rows.read(client, pause), send(store, &key, arriving, &mut uploads));
    let encoded = encoding.await.unwrap_or_else(|_| Err(ParquetError::External(Box::new(LakeError::Thread))));
    // The first of the three that failed made the others fail.
    let outcome = match (read, sent, encoded) {
        (Err(error), ..) => Err(error.into()),
        (_, Err(error), _) => Err(error),
        (_, _, Err(source)) => Err(LakeError::Parquet { name: table.to_owned(), source }),
        (Ok(sent), Ok(()), Ok(encoded)) if sent != encoded.seen => {
            Err(LakeError::Unreadable { name: table.to_owned(), sent, found: encoded.seen })
        }
        (Ok(_), Ok(()), Ok(encoded)) => Ok(encoded),
    };
    match outcome {
        Ok(Encoded { rows, is_last, .. }) => {
            let sent = uploads.into_iter().map(|(source, upload)| Sent {
                rows: rows.get(&source).copied().unwrap_or_default(),
                key: key(&source),
                source: source.to_string(),
                upload,
            });
            Ok(Scanned { sent: sent.collect(), is_last })
        }
        Err(error) => {
            for upload in uploads.into_values() {
                upload.abort().await;
            }
            Err(error)
        }
    }
}

impl Sent<'_> {
    /// Puts the object in the place of the one before, and looks whether it is as it was sent.
    pub async fn publish(self, store: &Store) -> Result<Written, LakeError> {
        let Self { rows, key, upload, .. } = self;
        let stored = upload.finish().await?;
        let found = self::rows(store, &key, stored.bytes).await?;
        if found != rows {
            return Err(LakeError::Unreadable { name: store.name(&key), sent: rows, found });
        }
        Ok(Written { rows, stored })
    }

    pub async fn abort(self) {
        self.upload.abort().await;
    }
}

struct Part {
    source: Arc<str>,
    bytes: Bytes,
}

struct Encoded {
    /// Of each object.
    rows: BTreeMap<Arc<str>, u64>,
    /// Those that were left for another scan, too.
    seen: u64,
    is_last: bool,
}

/// Runs on a thread of its own: one for all objects, beside which a collector has the processor, too.
fn encode(
    columns: &[Column],
    mut lots: mpsc::Receiver<Lot>,
    said: impl Fn(&str) -> Said,
    parts: &mpsc::Sender<Part>,
) -> parquet::errors::Result<Encoded> {
    let mut writers: BTreeMap<Arc<str>, Writer<Cutter>> = BTreeMap::new();
    let (mut seen, mut gathered, mut is_last) = (0, 0, true);
    loop {
        let cut_short = || ParquetError::External(Box::new(LakeError::CutShort));
        let lot = lots.blocking_recv().ok_or_else(cut_short)?;
        for row in &lot.rows {
            seen += 1;
            let source: &str = row.try_get(columns.len()).map_err(|error| ParquetError::External(Box::new(error)))?;
            if !writers.contains_key(source) {
                if writers.len() == SOURCES_AT_ONCE_MAX {
                    is_last = false;
                    continue;
                }
                let name: Arc<str> = source.into();
                let cutter = Cutter { source: Arc::clone(&name), full: Vec::new(), parts: parts.clone() };
                let writer = Writer::new(cutter, columns.iter().map(Column::anew).collect(), &said(source))?;
                writers.insert(name, writer);
            }
            let Some(writer) = writers.get_mut(source) else { continue };
            gathered -= writer.gathered_bytes();
            writer.push(row)?;
            gathered += writer.gathered_bytes();
            if gathered >= GROUP_BYTES_MAX
                && let Some(largest) = writers.values_mut().max_by_key(|writer| writer.gathered_bytes())
            {
                gathered -= largest.gathered_bytes();
                largest.flush()?;
            }
        }
        if lot.is_last {
            break;
        }
    }
    let mut rows = BTreeMap::new();
    for (source, writer) in writers {
        let (cutter, written) = writer.finish()?;
        cutter.end()?;
        rows.insert(source, written);
    }
    Ok(Encoded { rows, seen, is_last })
}

/// Cuts what is written into parts of one size.
struct Cutter {
    source: Arc<str>,
    full: Vec<u8>,
    parts: mpsc::Sender<Part>,
}

impl Cutter {
    fn send(&self, bytes: Vec<u8>) -> io::Result<()> {
        let part = Part { source: Arc::clone(&self.source), bytes: bytes.into() };
        self.parts.blocking_send(part).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn end(mut self) -> io::Result<()> {
        let last = mem::take(&mut self.full);
        self.send(last)
    }
}

impl Write for Cutter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (fits, _) = bytes.split_at(bytes.len().min(PART_BYTES - self.full.len()));
        self.full.extend_from_slice(fits);
        if self.full.len() == PART_BYTES {
            let part = mem::take(&mut self.full);
            self.send(part)?;
        }
        Ok(fits.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn send<'a>(
    store: &'a Store,
    key: impl Fn(&str) -> String,
    mut arriving: mpsc::Receiver<Part>,
    uploads: &mut BTreeMap<Arc<str>, Upload<'a>>,
) -> Result<(), LakeError> {
    while let Some(Part { source, bytes }) = arriving.recv().await {
        uploads.entry(source).or_insert_with_key(|source| store.begin(&key(source))).part(bytes).await?;
    }
    Ok(())
}

/// How many rows the object says it has: read back from the store.
pub async fn rows(store: &Store, key: &str, bytes: u64) -> Result<u64, LakeError> {
    let badly = |source| LakeError::Parquet { name: store.name(key), source };
    let footer = store.range(key, bytes.saturating_sub(FOOTER_BYTES), bytes).await?;
    let footer = FooterTail::try_from(&footer[..]).map_err(badly)?;
    let length = footer.metadata_length() as u64;
    if length > METADATA_BYTES_MAX || length + FOOTER_BYTES > bytes {
        return Err(badly(ParquetError::General("its footer is damaged".to_owned())));
    }
    let end = bytes - FOOTER_BYTES;
    let metadata = store.range(key, end - length, end).await?;
    let metadata = ParquetMetaDataReader::decode_metadata(&metadata).map_err(badly)?;
    Ok(metadata.file_metadata().num_rows().cast_unsigned())
}
