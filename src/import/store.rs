//! The transactions of an import: rows, the ledger's position and counts, and what was refused.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deadpool_postgres::{ClientWrapper, Transaction};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::ImportError;
use super::batch::Batch;
use crate::database::{Database, advisory};
use crate::entropy::{Entropy, jitter, random_id};
use crate::flush::FlushError;
use crate::flush::hours::Hours;
use crate::flush::postgres::{Connection, Flush, Postgres};
use crate::flush::store::{Counts, Position, Session, SourceCounts, Store, Transaction as _};
use crate::row;

const REGISTER: &str = include_str!("sql/register.sql");
const FIND: &str = include_str!("sql/find.sql");
const NOTE: &str = include_str!("sql/note.sql");
/// What the ledger has in the place of a collector's name.
const NODE: &str = "import";
/// What the advisory locks of files begin with: "impo" in ASCII.
const FILE_LOCKS: i64 = 0x696d_706f << 32;
/// So long PostgreSQL may take to notice that a process is gone which had the lock.
const LOCK_GRACE: Duration = Duration::from_secs(3);
const LOCK_PAUSE: Duration = Duration::from_millis(50);
const LOCK_PAUSE_LATER: Duration = Duration::from_secs(1);
/// While the database is away an import waits: a restart takes seconds, a failover a minute.
const OUTAGE_MAX: Duration = Duration::from_secs(120);
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A transaction whose statements all ended in time may still take this long on its way.
const GRACE: Duration = Duration::from_secs(5);
/// Refusals of one import that the database keeps; all are counted.
const REFUSALS_KEPT: u64 = 10_000;
/// A share of known rows above which the next batch is taken to have as many.
const MOSTLY_KNOWN: u64 = 10;

/// Where an earlier import of a file ended.
#[derive(Debug, Clone, Copy)]
pub struct Earlier {
    pub import_id: Uuid,
    pub position: Position,
    pub read: u64,
    pub refused: u64,
    pub outside: u64,
}

/// Waits until nobody else imports the file, and keeps others waiting while it lives. Its connection goes with it.
pub async fn alone<'a>(holder: &'a mut ClientWrapper, fingerprint: &[u8]) -> Result<Transaction<'a>, ImportError> {
    let lock = FILE_LOCKS | i64::from(crc32c::crc32c(fingerprint));
    let transaction = advisory::holder(holder).await?;
    let mut waits_since = Some(Instant::now());
    while !advisory::try_take(&transaction, lock).await? {
        if waits_since.is_some_and(|since| since.elapsed() > LOCK_GRACE) {
            tracing::warn!("another import of this file is under way: this one waits");
            waits_since = None;
        }
        sleep(if waits_since.is_some() { LOCK_PAUSE } else { LOCK_PAUSE_LATER }).await;
    }
    Ok(transaction)
}

/// The latest import of a file that begins like this one.
pub async fn find(database: &Database, fingerprint: &[u8]) -> Result<Option<Earlier>, ImportError> {
    let client = database.client().await?;
    let Some(row) = client.query_typed_opt(FIND, &[(&fingerprint, Type::BYTEA)]).await? else { return Ok(None) };
    let position = Position {
        offset: row.try_get::<_, i64>("applied_to")?.cast_unsigned(),
        chain: row.try_get::<_, i64>("applied_crc")? as u32,
    };
    Ok(Some(Earlier {
        import_id: row.try_get("import_id")?,
        position,
        read: row.try_get::<_, i64>("read")?.cast_unsigned(),
        refused: row.try_get::<_, i64>("refused")?.cast_unsigned(),
        outside: row.try_get::<_, i64>("outside")?.cast_unsigned(),
    }))
}

/// A new import, of which nothing is read yet.
pub async fn register(
    database: &Database,
    entropy: &dyn Entropy,
    [source, format, file]: [&str; 3],
    fingerprint: &[u8],
) -> Result<Earlier, ImportError> {
    let import_id = random_id(entropy).map_err(ImportError::Random)?;
    let client = database.client().await?;
    client
        .execute_typed(
            REGISTER,
            &[
                (&import_id, Type::UUID),
                (&source, Type::TEXT),
                (&format, Type::TEXT),
                (&file, Type::TEXT),
                (&fingerprint, Type::BYTEA),
            ],
        )
        .await?;
    Ok(Earlier { import_id, position: Position::default(), read: 0, refused: 0, outside: 0 })
}

/// One import that is under way.
pub struct Writer {
    postgres: Arc<Postgres>,
    session: Option<Connection>,
    entropy: Arc<dyn Entropy>,
    timeout: Duration,
    /// Whether a crash of the server forgets rows and position together, if it forgets any: not where workers have the rows.
    forgets_together: bool,
    source: Arc<str>,
    import: Earlier,
    /// As the ledger has it.
    counts: Counts,
    /// Whether the latest rows were mostly known already.
    is_mostly_known: bool,
}

/// What became of a batch's rows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub stored: u64,
    pub duplicate: u64,
    pub quarantined: u64,
}

impl Writer {
    pub fn new(
        postgres: Arc<Postgres>,
        database: &Database,
        entropy: Arc<dyn Entropy>,
        source: Arc<str>,
        import: Earlier,
    ) -> Self {
        let timeout = database.statement_timeout() + GRACE;
        let forgets_together = !database.is_distributed();
        let (session, counts) = (None, Counts::default());
        Self { postgres, session, entropy, timeout, forgets_together, source, import, counts, is_mostly_known: false }
    }

    /// Opens the ledger: after this, all that was committed is known.
    pub async fn open(&mut self) -> Result<(), ImportError> {
        self.persist(None).await.map(drop)
    }

    /// Commits a batch, however often it takes.
    pub async fn write(&mut self, batch: &Batch) -> Result<Written, ImportError> {
        self.persist(Some(batch)).await
    }

    async fn persist(&mut self, batch: Option<&Batch>) -> Result<Written, ImportError> {
        let before = self.counts.settled;
        let (mut backoff, mut failing_since) = (BACKOFF_FIRST, None);
        loop {
            let tried = timeout(self.timeout, self.attempt(batch));
            let error = match tried.await.unwrap_or(Err(FlushError::TimedOut(self.timeout.as_secs()))) {
                Ok(()) => break,
                Err(error) => error,
            };
            // It may be in the midst of anything; a new one also reads the ledger again.
            self.session = None;
            let since = *failing_since.get_or_insert_with(Instant::now);
            let is_passing = matches!(error, FlushError::Transient(_) | FlushError::TimedOut(_));
            if !is_passing || since.elapsed() > OUTAGE_MAX {
                return Err(error.into());
            }
            tracing::warn!(%error, "the import waits for the database");
            sleep(jitter(self.entropy.as_ref(), backoff)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        if let Some(batch) = batch {
            self.import.read += batch.read;
            self.import.refused += batch.refused.len() as u64;
            self.import.outside += batch.outside;
        }
        let now = self.counts.settled;
        let written = Written {
            stored: now.stored - before.stored,
            duplicate: now.duplicate - before.duplicate,
            quarantined: now.quarantined - before.quarantined,
        };
        self.is_mostly_known = written.duplicate * MOSTLY_KNOWN > written.stored;
        Ok(written)
    }

    async fn attempt(&mut self, batch: Option<&Batch>) -> Result<(), FlushError> {
        let mut session = if let Some(session) = self.session.take() {
            session
        } else {
            let mut session = self.postgres.connect().await?;
            let applied = session.open(self.import.import_id, NODE).await?;
            self.counts = applied.sources.get(self.source.as_ref()).copied().unwrap_or_default();
            // A commit whose answer was lost shows here.
            if batch.is_some_and(|batch| batch.from != batch.end && applied.position == batch.end) {
                self.session = Some(session);
                return Ok(());
            }
            session
        };
        if let Some(batch) = batch {
            session.prepare_days(batch.days.clone()).await?;
            let counts = match self.transact(&mut session, batch, self.is_mostly_known).await {
                Err(FlushError::Data(error)) if !self.is_mostly_known => {
                    tracing::debug!(%error, "sorting out a batch");
                    self.transact(&mut session, batch, true).await
                }
                result => result,
            }?;
            self.counts.accepted += counts.accepted;
            self.counts.settled.stored += counts.settled.stored;
            self.counts.settled.duplicate += counts.settled.duplicate;
            self.counts.settled.quarantined += counts.settled.quarantined;
        }
        self.session = Some(session);
        Ok(())
    }

    async fn transact(&self, session: &mut Connection, batch: &Batch, is_careful: bool) -> Result<Counts, FlushError> {
        let mut flush = session.begin().await?;
        match self.apply(&mut flush, batch, is_careful).await {
            Ok(counts) => {
                flush.commit().await?;
                Ok(counts)
            }
            Err(error) => {
                flush.rollback().await;
                Err(error)
            }
        }
    }

    async fn apply(&self, flush: &mut Flush<'_>, batch: &Batch, is_careful: bool) -> Result<Counts, FlushError> {
        // A server that crashes forgets rows and position together, and the next run goes on there. The last commit is waited
        // for, and with it all before it: only then is the import told to be done.
        if !batch.is_last && self.forgets_together {
            flush.statements().batch_execute("set local synchronous_commit = off").await?;
        }
        // The fence comes first, as for a journal's segment.
        if !flush.advance(self.import.import_id, batch.from, batch.end).await? {
            return Err(FlushError::Moved);
        }
        let mut counts = SourceCounts::new();
        if batch.rows > 0 {
            let own = counts.entry(self.source.to_string()).or_default();
            own.accepted = batch.rows;
            if is_careful {
                let tuples = tuples_of(&batch.pieces)?;
                flush.sort_out_tuples(&tuples, self.import.import_id, &mut counts).await?;
                for counts in counts.values_mut() {
                    counts.settled.duplicate = counts.accepted - counts.settled.stored - counts.settled.quarantined;
                }
            } else {
                own.settled.stored = flush.copy_tuples(batch.pieces.iter().cloned()).await?;
                if own.settled.stored != batch.rows {
                    return Err(FlushError::Miscounted { stored: own.settled.stored, sent: batch.rows });
                }
            }
        }
        let counted = counts.get(self.source.as_ref()).copied().unwrap_or_default();
        let none = Hours::default();
        let hours = if flush.is_to_be_told(counted.settled.stored) { &batch.hours } else { &none };
        flush.settle(self.import.import_id, &counts, hours).await?;
        self.note(flush.statements(), batch).await?;
        Ok(counted)
    }

    async fn note(&self, transaction: &Transaction<'_>, batch: &Batch) -> Result<(), FlushError> {
        let room = REFUSALS_KEPT.saturating_sub(self.import.refused) as usize;
        let kept = batch.refused.iter().take(room);
        let (lines, reasons): (Vec<i64>, Vec<&str>) =
            kept.map(|refused| (refused.line.cast_signed(), refused.reason.as_str())).unzip();
        let read = (self.import.read + batch.read).cast_signed();
        let refused = (self.import.refused + batch.refused.len() as u64).cast_signed();
        transaction
            .execute_typed(
                NOTE,
                &[
                    (&self.import.import_id, Type::UUID),
                    (&read, Type::INT8),
                    (&refused, Type::INT8),
                    (&batch.is_last, Type::BOOL),
                    (&lines, Type::INT8_ARRAY),
                    (&reasons, Type::TEXT_ARRAY),
                    (&self.import.refused.cast_signed(), Type::INT8),
                    (&(self.import.outside + batch.outside).cast_signed(), Type::INT8),
                ],
            )
            .await?;
        Ok(())
    }
}

fn tuples_of(pieces: &[Bytes]) -> Result<Vec<Bytes>, FlushError> {
    let mut tuples = Vec::new();
    for piece in pieces {
        for tuple in row::tuples(piece) {
            let tuple = tuple.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            tuples.push(piece.slice_ref(tuple));
        }
    }
    Ok(tuples)
}
