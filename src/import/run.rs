//! One file from its first byte to its last commit. A thread reads, threads parse, one puts batches together, and the caller's
//! task commits; between them are queues of bounded length.

use std::fs::File;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::Sender;
use deadpool_postgres::Object;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::ImportError;
use super::ahead::Ahead;
use super::batch::{Batch, Gathering};
use super::flat::Mapping;
use super::format::{self, Format, Reading, Unsuitable};
use super::identity::{HEAD_BYTES, fingerprint};
use super::input::Input;
use super::parse::{self, Fields, Job, Parsed, Parser, Refused};
use super::progress::{Progress, Reasons};
use super::split::{Shape, Splitter};
use super::store::{self, Earlier, Writer};
use crate::clock::Clock;
use crate::config::{Config, Retention};
use crate::database::Database;
use crate::enrich::Enricher;
use crate::enrich::place::{PlaceError, Places};
use crate::enrich::user_agent::{PatternsError, UserAgents};
use crate::enrich::visitor::Salts;
use crate::entropy::Entropy;
use crate::flush::partitions::Partitions;
use crate::flush::postgres::Postgres;
use crate::flush::store::Position;
use crate::journal::Durability;
use crate::metrics::Metrics;
use crate::retention::policy::Policy;
use crate::row;

/// Parsed blocks that wait for their turn: more than a batch, so that the next one is ready when this one is committed. Each
/// holds at most a megabyte of text and as much of rows.
const BLOCKS_WAITING_MAX: usize = 96;
/// Batches that are ready.
const BATCHES_WAITING_MAX: usize = 1;
/// Nobody waits for an import's rows as they do for those that were just sent, so its transactions are larger than a flush's by
/// this: a commit then costs little beside them.
const FLUSHES_AT_ONCE: usize = 4;
/// Rows that a dry run shows.
const SHOWN: usize = 5;

/// What the caller wants.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub source: String,
    pub format: Option<Format>,
    pub mapping: Mapping,
    /// What happened then or later is left out.
    pub until: Option<Timestamp>,
    /// Where records that are refused are written, as they stand in their files.
    pub rejects: Option<PathBuf>,
}

/// What became of one file.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub format: Option<Format>,
    /// All records, those that an earlier run has read included.
    pub read: u64,
    /// Read by an earlier run.
    pub before: u64,
    pub stored: u64,
    /// As another file's, or the collector's.
    pub duplicate: u64,
    pub quarantined: u64,
    pub refused: u64,
    /// At or after [`Options::until`].
    pub outside: u64,
    pub reasons: Reasons,
    /// The first rows, of a dry run.
    pub shown: Vec<Map<String, Value>>,
}

/// Why there can be no import at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Places(#[from] PlaceError),
    #[error("{0}")]
    Patterns(#[from] PatternsError),
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error("{0}")]
    Import(#[from] ImportError),
}

/// What all files of one run share.
pub struct Importer {
    options: Options,
    enricher: Arc<Enricher>,
    retention: Retention,
    bytes_max: usize,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    jobs: Sender<Job>,
    rejects: Mutex<Option<File>>,
    pub progress: Arc<Progress>,
}

impl Importer {
    pub fn new(
        config: &Config,
        options: Options,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StartError> {
        let user_agents = UserAgents::start(
            config.enrich.user_agent_patterns.clone(),
            config.enrich.user_agent_cache_entries,
            &Metrics::new(),
        )?;
        let enricher = Enricher {
            privacy: config.privacy.clone(),
            user_agents,
            places: Arc::new(Places::open(config.enrich.geo_database.clone())?),
            // Of this process alone, and gone with it.
            salts: Arc::new(Salts::new()?),
        };
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let jobs = parse::start(threads, &Handle::current())?;
        let rejects = options.rejects.as_ref().map(|path| File::options().create(true).append(true).open(path));
        let rejects = Mutex::new(rejects.transpose().map_err(ImportError::Rejects)?);
        Ok(Self {
            options,
            enricher: Arc::new(enricher),
            retention: config.retention.clone(),
            bytes_max: config.flush.bytes_max.saturating_mul(FLUSHES_AT_ONCE),
            clock,
            entropy,
            jobs,
            rejects,
            progress: Arc::default(),
        })
    }

    /// The way into the database; one for all files of a run, since they share what is known of partitions.
    pub fn postgres(&self, database: &Database) -> Arc<Postgres> {
        // The commit is the promise: so the books say.
        let (partitions, clock) = (Arc::<Partitions>::default(), Arc::clone(&self.clock));
        Arc::new(Postgres::new(database.clone(), partitions, Durability::Database, clock))
    }

    /// Reads a file as an import would, and stores nothing.
    pub async fn dry_run(&self, input: &Input) -> Result<Outcome, ImportError> {
        let opened = self.open(input.clone()).await?;
        let mut outcome = Outcome { format: Some(opened.reading.format), ..Outcome::default() };
        let mut batches = self.start(opened, Position::default())?;
        while let Some(batch) = batches.recv().await {
            let batch = batch?;
            self.book(&mut outcome, &batch)?;
            outcome.stored += batch.rows;
            for piece in &batch.pieces {
                let room = SHOWN.saturating_sub(outcome.shown.len());
                outcome.shown.extend(row::tuples(piece).take(room).filter_map(|tuple| row::to_json(tuple.ok()?).ok()));
            }
        }
        Ok(outcome)
    }

    /// Imports a file, from where an earlier run has ended.
    pub async fn import(
        &self,
        database: &Database,
        postgres: &Arc<Postgres>,
        input: &Input,
    ) -> Result<Outcome, ImportError> {
        let mut opened = self.open(input.clone()).await?;
        let mut holder = Object::take(database.client().await?);
        let is_file = matches!(input, Input::File(_));
        // What comes through a pipe may be anything that begins like this: two of it may run at once.
        let alone = if is_file { Some(store::alone(&mut holder, &opened.fingerprint).await?) } else { None };
        let found = if is_file { store::find(database, &opened.fingerprint).await? } else { None };
        let mut before = 0;
        let import = match found {
            Some(earlier) => {
                let (splitter, skipped) = skip(opened.splitter, earlier.position).await?;
                opened.splitter = splitter;
                if let Some(skipped) = skipped {
                    before = skipped;
                    Some(earlier)
                } else {
                    // Another file that begins like that one: from its beginning.
                    opened = self.open(input.clone()).await?;
                    None
                }
            }
            None => None,
        };
        let import = match import {
            Some(earlier) => earlier,
            None => self.register(database, input, &opened).await?,
        };
        let result = self.run(database, postgres, opened, import, before).await;
        if let Some(alone) = alone {
            // Before the caller goes on; a connection that is broken has no lock any more.
            let _ = alone.rollback().await;
        }
        result
    }

    async fn register(&self, database: &Database, input: &Input, opened: &Opened) -> Result<Earlier, ImportError> {
        let what = [self.options.source.as_str(), opened.reading.format.name(), &input.name()];
        store::register(database, self.entropy.as_ref(), what, &opened.fingerprint).await
    }

    async fn run(
        &self,
        database: &Database,
        postgres: &Arc<Postgres>,
        opened: Opened,
        import: Earlier,
        before: u64,
    ) -> Result<Outcome, ImportError> {
        let source: Arc<str> = self.options.source.as_str().into();
        let mut writer = Writer::new(Arc::clone(postgres), database, Arc::clone(&self.entropy), source, import);
        writer.open().await?;
        let mut outcome = Outcome { format: Some(opened.reading.format), read: before, before, ..Outcome::default() };
        self.progress.settled.fetch_add(before, Ordering::Relaxed);
        let mut batches = self.start(opened, import.position)?;
        let mut ahead = Ahead::new(postgres, database);
        let mut next = batches.recv().await;
        while let Some(batch) = next {
            let batch = batch?;
            // First: a run that is killed in between writes them twice, and not never.
            self.book(&mut outcome, &batch)?;
            let coming = async {
                let next = batches.recv().await;
                if let Some(Ok(batch)) = &next {
                    ahead.prepare(&batch.days).await;
                }
                next
            };
            let (written, coming) = tokio::join!(writer.write(&batch), coming);
            let written = written?;
            next = coming;
            outcome.stored += written.stored;
            outcome.duplicate += written.duplicate;
            outcome.quarantined += written.quarantined;
            self.progress.stored.fetch_add(written.stored, Ordering::Relaxed);
        }
        Ok(outcome)
    }

    /// Counts what a batch has read, and writes down what it refuses.
    fn book(&self, outcome: &mut Outcome, batch: &Batch) -> Result<(), ImportError> {
        outcome.read += batch.read;
        outcome.refused += batch.refused.len() as u64;
        outcome.outside += batch.outside;
        batch.refused.iter().for_each(|refused| outcome.reasons.add(refused));
        self.progress.settled.fetch_add(batch.read, Ordering::Relaxed);
        let mut rejects = self.rejects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = rejects.as_mut() {
            write_all(file, &batch.refused).map_err(ImportError::Rejects)?;
        }
        Ok(())
    }

    /// Opens a file and looks what it is.
    async fn open(&self, input: Input) -> Result<Opened, ImportError> {
        let (wanted, mapping) = (self.options.format, self.options.mapping.clone());
        let how = how(&self.options);
        let (source, read) = (self.options.source.clone(), Arc::clone(&self.progress.bytes));
        let open = move || {
            let mut splitter = Splitter::new(input.open(read)?);
            let failed = |error| ImportError::Read { at: 0, error };
            let head = splitter.head(HEAD_BYTES).map_err(failed)?;
            let reading = format::detect(head, wanted)?;
            let fingerprint = fingerprint(&source, reading.format.name(), &how, head);
            splitter.shaped(reading.shape, reading.format.counts_equal());
            let mut header = Vec::new();
            if let Shape::Csv { .. } = reading.shape {
                let line = splitter.one().map_err(failed)?.unwrap_or_default();
                header = header_of(&line, reading.shape)?;
                if let Some(name) = mapping.missing_in(&header) {
                    return Err(Unsuitable::NoColumn(name.to_owned()).into());
                }
            }
            Ok(Opened { splitter, reading, fingerprint, header })
        };
        tokio::task::spawn_blocking(open).await.map_err(|_| ImportError::Thread("reading"))?
    }

    /// Starts reading at `from`, where the splitter is.
    fn start(&self, opened: Opened, from: Position) -> Result<mpsc::Receiver<Result<Batch, ImportError>>, ImportError> {
        let now = self.clock.now();
        let Opened { splitter, reading, header, .. } = opened;
        let parser = Arc::new(Parser {
            enricher: Arc::clone(&self.enricher),
            key: parse::key_of(&self.options.source),
            format: reading.format,
            shape: reading.shape,
            header,
            mapping: self.options.mapping.clone(),
            until: self.options.until,
            policy: Policy::new(&self.retention, now.to_zoned(jiff::tz::TimeZone::UTC).date()),
            now,
        });
        let (blocks, in_order) = mpsc::channel(BLOCKS_WAITING_MAX);
        let (batches, ready) = mpsc::channel(BATCHES_WAITING_MAX);
        let jobs = self.jobs.clone();
        spawn("weir-import-read", move || read(splitter, &parser, &jobs, &blocks))?;
        let gathering = Gathering::from(from, self.bytes_max);
        spawn("weir-import-batch", move || gather(in_order, gathering, &batches))?;
        Ok(ready)
    }
}

/// What makes another import of the same file, beside its source and format: one up to a later moment begins anew, and what it has
/// in common with an earlier one is known row by row.
fn how(options: &Options) -> String {
    match options.until {
        None => options.mapping.text.clone(),
        Some(until) => format!("{}\n\nuntil {until}", options.mapping.text),
    }
}

/// A file that is open, with what its beginning says.
struct Opened {
    splitter: Splitter,
    reading: Reading,
    fingerprint: [u8; 32],
    header: Vec<String>,
}

type InOrder = Result<oneshot::Receiver<Parsed>, ImportError>;

fn spawn(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<(), ImportError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(|_| ImportError::Thread(name))
}

async fn skip(mut splitter: Splitter, position: Position) -> Result<(Splitter, Option<u64>), ImportError> {
    let skip = move || {
        let skipped = splitter.skip_to(position);
        let at = splitter.position().offset;
        skipped.map(|skipped| (splitter, skipped)).map_err(|error| ImportError::Read { at, error })
    };
    tokio::task::spawn_blocking(skip).await.map_err(|_| ImportError::Thread("reading"))?
}

/// Hands out blocks to be parsed, and their places in the order. Ends when nobody takes them any more.
fn read(mut splitter: Splitter, parser: &Arc<Parser>, jobs: &Sender<Job>, blocks: &mpsc::Sender<InOrder>) {
    loop {
        let block = match splitter.block() {
            Ok(block) if block.read() == 0 => return,
            Ok(block) => block,
            Err(error) => {
                let at = splitter.position().offset;
                // Nobody to tell: then the import has failed already.
                let _ = blocks.blocking_send(Err(ImportError::Read { at, error }));
                return;
            }
        };
        let (reply, parsed) = oneshot::channel();
        // The place first: it waits for room.
        if blocks.blocking_send(Ok(parsed)).is_err() {
            return;
        }
        if jobs.send(Job { block, parser: Arc::clone(parser), reply }).is_err() {
            return;
        }
    }
}

fn gather(
    mut blocks: mpsc::Receiver<InOrder>,
    mut gathering: Gathering,
    batches: &mpsc::Sender<Result<Batch, ImportError>>,
) {
    while let Some(block) = blocks.blocking_recv() {
        let parsed = block.and_then(|parsed| parsed.blocking_recv().map_err(|_| ImportError::Thread("weir-import")));
        match parsed {
            Ok(parsed) => gathering.add(parsed),
            Err(error) => {
                // What was read before it is stored; whoever is gone does not care.
                if batches.blocking_send(Ok(gathering.take(false))).is_ok() {
                    let _ = batches.blocking_send(Err(error));
                }
                return;
            }
        }
        if gathering.is_full() && batches.blocking_send(Ok(gathering.take(false))).is_err() {
            return;
        }
    }
    // Also without rows: it says that the file is done.
    let _ = batches.blocking_send(Ok(gathering.take(true)));
}

fn header_of(line: &[u8], shape: Shape) -> Result<Vec<String>, Unsuitable> {
    let text = std::str::from_utf8(line).map_err(|error| Unsuitable::NoHeader(error.to_string()))?;
    let mut fields = Fields::new(shape);
    let fields = fields.read(text).map_err(|refusal| Unsuitable::NoHeader(refusal.to_string()))?;
    let names: Vec<String> = fields.map(str::trim).map(str::to_owned).collect();
    match names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        Some((_, name)) => Err(Unsuitable::NoHeader(format!("{name:?} stands there twice"))),
        None => Ok(names),
    }
}

fn write_all(file: &mut File, refused: &[Refused]) -> std::io::Result<()> {
    let mut text = Vec::new();
    for refused in refused.iter().filter(|refused| !refused.record.is_empty()) {
        text.extend_from_slice(&refused.record);
        text.push(b'\n');
    }
    file.write_all(&text)
}
