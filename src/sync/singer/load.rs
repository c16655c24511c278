//! From a tap's output to rows: lines are gathered by stream, and flushed together.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use tokio::time::{Instant, sleep, timeout_at};

use super::SingerError;
use super::message::{self, Message, Unreadable};
use super::registry::Run;
use super::store::{Batch, Flushed, Obstacle};
use super::stream::{Schema, Stream, Table};
use crate::database::Database;
use crate::decode::json::mend_escapes;

/// How long a record may wait for company.
const BATCH_AGE_MAX: Duration = Duration::from_secs(10);
/// One message; PostgreSQL takes a quarter of a gigabyte in one JSON text.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Beyond this a run fails: then it is the tap or its schema that has to be mended, and STATE must not go on.
const REJECTS_MAX: u64 = 10_000;
/// Records of one run that only PostgreSQL refuses: each is found by some twenty tries.
const REFUSALS_MAX: usize = 100;
/// Streams of one source.
const STREAMS_MAX: usize = 2_000;
/// A lock that others hold, for an analyst's long query, say, is waited for so often, five seconds each time.
const LOCK_TRIES_MAX: u32 = 20;
/// While weir waits for a lock on a table, so does everyone else: between two tries they get on.
const LOCK_PAUSE: Duration = Duration::from_secs(15);
/// Of a record or a line beside its text.
const ENTRY_BYTES: usize = 128;

/// What a load came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    pub rows: u64,
    pub rejected: u64,
    /// Messages of types that nobody knows.
    pub unknown: u64,
    /// All messages, and those that carried a STATE.
    pub messages: u64,
    pub states: u64,
}

/// Rows of versions before this are gone, if the tap has ended well.
#[derive(Debug)]
pub struct Held {
    pub table: Table,
    pub version: i64,
}

/// See the module.
pub struct Loader {
    database: Database,
    run: Run,
    streams: BTreeMap<String, Stream>,
    strangers: Vec<(String, String)>,
    /// So many of them came before the last STATE.
    strangers_covered: usize,
    /// Of records that wait.
    bytes: usize,
    bytes_max: usize,
    /// When the oldest of what waits came.
    since: Option<Instant>,
    /// Read, and not yet written.
    state: Option<String>,
    refusals: usize,
    loaded: Loaded,
}

impl Loader {
    /// Records wait for each other up to `bytes_max`.
    pub fn new(database: Database, run: Run, bytes_max: usize) -> Self {
        Self {
            database,
            run,
            streams: BTreeMap::new(),
            strangers: Vec::new(),
            strangers_covered: 0,
            bytes: 0,
            bytes_max,
            since: None,
            state: None,
            refusals: 0,
            loaded: Loaded::default(),
        }
    }

    /// Reads to the end, and returns what counts only if the tap has ended well, too; each STATE is handed to `committed` once it is written, with all rows before it.
    pub async fn load(
        mut self,
        mut input: impl AsyncBufRead + Unpin,
        mut committed: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<(Loaded, Vec<Held>), SingerError> {
        let mut line = Vec::new();
        loop {
            let mut read = (&mut input).take((MESSAGE_BYTES_MAX + 1 - line.len()) as u64);
            let next = read.read_until(b'\n', &mut line);
            let is_end = match self.since {
                // What was read of a line stays in it.
                Some(since) => {
                    if let Ok(read) = timeout_at(since + BATCH_AGE_MAX, next).await {
                        read.map_err(SingerError::Read)? == 0
                    } else {
                        self.flush(&mut committed).await?;
                        continue;
                    }
                }
                None => next.await.map_err(SingerError::Read)? == 0,
            };
            if line.len() > MESSAGE_BYTES_MAX {
                self.drain(&mut committed).await?;
                return Err(SingerError::MessageTooLong(MESSAGE_BYTES_MAX));
            }
            // The last line need not end as a line does.
            if is_end && line.is_empty() {
                break;
            }
            self.take(&line, &mut committed).await?;
            line.clear();
            let is_old = self.since.is_some_and(|since| since.elapsed() >= BATCH_AGE_MAX);
            if self.bytes >= self.bytes_max || is_old {
                self.flush(&mut committed).await?;
            }
            // No STATE has covered it.
            if self.bytes >= self.bytes_max {
                self.flush(&mut committed).await?;
            }
        }
        self.drain(&mut committed).await?;
        let held = self.streams.into_values().filter_map(|stream| {
            let version = stream.held()?;
            Some(Held { table: stream.table, version })
        });
        Ok((self.loaded, held.collect()))
    }

    async fn take(
        &mut self,
        line: &[u8],
        committed: &mut impl FnMut(&str) -> io::Result<()>,
    ) -> Result<(), SingerError> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        self.since.get_or_insert_with(Instant::now);
        let (text, _) = mend_escapes(text);
        let mended;
        let mut read = message::read(&text);
        if read.is_err()
            && let Some(without) = message::without_nan(&text)
        {
            mended = without;
            read = message::read(&mended).or(read);
        }
        self.loaded.messages += u64::from(read.is_ok());
        match read {
            Ok(Message::Record(record)) => match self.streams.get_mut(record.stream.as_ref()) {
                Some(stream) => {
                    stream.push(record.record, record.version, record.extracted.as_deref());
                    self.bytes += record.record.len() + ENTRY_BYTES;
                }
                None => self.reject(&text, format!("no SCHEMA of {} came before it", record.stream))?,
            },
            Ok(Message::State(state)) => {
                self.loaded.states += 1;
                self.state = Some(state.to_owned());
                self.streams.values_mut().for_each(Stream::cover);
                self.strangers_covered = self.strangers.len();
            }
            Ok(Message::Schema { stream, schema, key }) => {
                let schema = Schema::read(schema, key)
                    .map_err(|reason| SingerError::Schema { stream: stream.clone().into_owned(), reason })?;
                if self.streams.get(stream.as_ref()).is_none_or(|known| known.schema != schema) {
                    // What came before is judged by the schema that it came with.
                    self.drain(committed).await?;
                    self.change(&stream, schema).await?;
                }
            }
            Ok(Message::ActivateVersion { stream, version }) => match self.streams.get_mut(stream.as_ref()) {
                Some(stream) => stream.activate(version),
                None => self.reject(&text, format!("no SCHEMA of {stream} came before it"))?,
            },
            Ok(Message::Batch) => return Err(SingerError::Batch),
            Ok(Message::Other(_)) => self.loaded.unknown += 1,
            Err(Unreadable { reason, needed: Some(kind) }) => return Err(SingerError::Malformed { kind, reason }),
            Err(Unreadable { reason, needed: None }) => {
                self.reject(&text, format!("no message of Singer's: {reason}"))?;
            }
        }
        Ok(())
    }

    fn reject(&mut self, line: &str, reason: String) -> Result<(), SingerError> {
        if self.loaded.rejected + self.strangers.len() as u64 >= REJECTS_MAX {
            return Err(SingerError::TooManyRejects(reason));
        }
        let line = line.replace('\0', "\u{fffd}");
        self.bytes += line.len() + ENTRY_BYTES;
        self.strangers.push((line, reason));
        Ok(())
    }

    async fn change(&mut self, name: &str, schema: Schema) -> Result<(), SingerError> {
        if self.streams.len() >= STREAMS_MAX {
            return Err(SingerError::Schema {
                stream: name.to_owned(),
                reason: format!("more than {STREAMS_MAX} streams"),
            });
        }
        let mut tries = 0;
        let table = loop {
            match self.run.prepare(&self.database, name, &schema).await {
                Err(error) if error.is_lock() && tries < LOCK_TRIES_MAX => {
                    tries += 1;
                    sleep(LOCK_PAUSE).await;
                }
                result => break result?,
            }
        };
        // A tap may say it again after an ACTIVATE_VERSION, which has been flushed.
        let mut stream = Stream::new(schema, table);
        if let Some(before) = self.streams.get(name) {
            stream.follow(before);
        }
        self.streams.insert(name.to_owned(), stream);
        Ok(())
    }

    /// Writes all that waits: what a STATE covers, and the rest.
    async fn drain(&mut self, committed: &mut impl FnMut(&str) -> io::Result<()>) -> Result<(), SingerError> {
        self.flush(committed).await?;
        self.flush(committed).await
    }

    /// Writes what the last STATE covers, with it; where there is none, all that waits.
    async fn flush(&mut self, committed: &mut impl FnMut(&str) -> io::Result<()>) -> Result<(), SingerError> {
        let has_state = self.state.is_some();
        let strangers = if has_state { self.strangers_covered } else { self.strangers.len() };
        let has_rows = self.streams.values().any(|stream| !stream.part(has_state).is_empty());
        if !has_rows && strangers == 0 && !has_state {
            self.since = None;
            return Ok(());
        }
        let flushed = self.write(strangers).await?;
        self.loaded.rows += flushed.rows;
        self.loaded.rejected += flushed.rejected;
        for stream in self.streams.values_mut() {
            let part = stream.part(has_state);
            self.bytes -= stream.drop_part(part) + part.records * ENTRY_BYTES;
        }
        self.bytes -= self.strangers.drain(..strangers).map(|(line, _)| line.len() + ENTRY_BYTES).sum::<usize>();
        self.strangers_covered = 0;
        self.since = (self.bytes > 0).then(Instant::now);
        if let Some(state) = self.state.take() {
            committed(&state).map_err(SingerError::Echo)?;
        }
        Ok(())
    }

    async fn write(&mut self, strangers: usize) -> Result<Flushed, SingerError> {
        let mut left_out: HashMap<String, HashMap<usize, String>> = HashMap::new();
        let mut tries = 0;
        loop {
            let batch = Batch {
                streams: &self.streams,
                strangers: &self.strangers[..strangers],
                state: self.state.as_deref(),
                left_out: &left_out,
                rejected_max: REJECTS_MAX.saturating_sub(self.loaded.rejected),
            };
            match self.run.write(&self.database, &batch).await {
                Ok(flushed) => return Ok(flushed),
                Err(Obstacle::Narrow(name, wider)) => {
                    let Some(stream) = self.streams.get_mut(&name) else { continue };
                    match self.run.widen(&self.database, &stream.table, &wider).await {
                        Err(error) if error.is_lock() && tries < LOCK_TRIES_MAX => {
                            tries += 1;
                            sleep(LOCK_PAUSE).await;
                            continue;
                        }
                        result => result?,
                    }
                    for (at, kind) in wider {
                        stream.table.columns[at].kind = kind;
                    }
                }
                Err(Obstacle::Refused(name, error)) => {
                    self.refusals += 1;
                    if self.refusals > REFUSALS_MAX {
                        return Err(error);
                    }
                    let found = self.find_refused(&name, left_out.get(&name)).await?;
                    let Some((record, reason)) = found else { return Err(error) };
                    left_out.entry(name).or_default().insert(record, reason);
                }
                Err(Obstacle::Other(error)) if error.is_lock() && tries < LOCK_TRIES_MAX => {
                    tries += 1;
                    sleep(LOCK_PAUSE).await;
                }
                Err(Obstacle::Other(error)) => return Err(error),
            }
        }
    }

    /// The first record of the stream that PostgreSQL refuses, by halves.
    async fn find_refused(
        &self,
        name: &str,
        left_out: Option<&HashMap<usize, String>>,
    ) -> Result<Option<(usize, String)>, SingerError> {
        let Some(stream) = self.streams.get(name) else { return Ok(None) };
        let none = HashMap::new();
        let part = stream.part(self.state.is_some());
        let Ok(rows) = stream.encode(part.records, left_out.unwrap_or(&none)) else { return Ok(None) };
        let (mut from, mut to) = (0, rows.rows.len());
        let mut reason = None;
        // The first refused one is among from..to.
        while from < to {
            let middle = from + (to - from).div_ceil(2);
            match self.run.probe(&self.database, stream, &rows, from..middle).await? {
                Some(said) => {
                    if middle - from == 1 {
                        reason = Some((rows.rows[from].1, said));
                        break;
                    }
                    to = middle;
                }
                None => from = middle,
            }
        }
        Ok(reason)
    }
}
