//! The ledger and the rows in PostgreSQL: the statements of a flush.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use deadpool_postgres::{ClientWrapper, Object, Transaction as PoolTransaction};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::careful::Incoming;
use super::hours::Hours;
use super::partitions::Partitions;
use super::store::{Applied, Counts, Position, Session, SourceCounts, Store, Transaction};
use super::{FlushError, careful, copy, order, unreadable};
use crate::accounting::Settled;
use crate::clock::{Clock, Day};
use crate::database::Database;
use crate::journal::Durability;
use crate::journal::segment::Frames;
use crate::row::ROW_VERSION;

const OPEN: &str = include_str!("sql/ledger_open.sql");
const CLOSE: &str = include_str!("sql/ledger_close.sql");
const READ_SOURCES: &str = include_str!("sql/ledger_read_sources.sql");
const ADVANCE: &str = include_str!("sql/ledger_advance.sql");
const SETTLE: &str = include_str!("sql/ledger_settle.sql");
const KEEP_PROMISES: &str = include_str!("sql/promises_keep.sql");
/// Whether flushes are to name their rows for `ClickHouse`.
const IS_FOLLOWED: &str = "select exists (select from weir.clickhouse_sink where now() < named_until) as is_followed";
/// Waiting longer for a ledger row means that someone else holds it: better start over.
const LOCK_TIMEOUT_MS: u32 = 10_000;

/// Should a collector vanish without a word, its ledger row must not stay locked for hours. Longer than the collector
/// itself would wait: a COMMIT that is only late shall arrive.
const IDLE_GRACE_MS: u128 = 12_000;

/// The database that lanes flush into.
pub struct Postgres {
    database: Database,
    partitions: Arc<Partitions>,
    durability: Durability,
    /// The journal's.
    clock: Arc<dyn Clock>,
}

impl Postgres {
    pub fn new(database: Database, partitions: Arc<Partitions>, durability: Durability, clock: Arc<dyn Clock>) -> Self {
        Self { database, partitions, durability, clock }
    }
}

/// One connection of a lane. Dropped, it may be in the midst of anything: so it never goes back to the pool.
pub struct Connection {
    client: ClientWrapper,
    partitions: Arc<Partitions>,
    durability: Durability,
    is_distributed: bool,
    statement_timeout_ms: u128,
    /// As the database said last; where it is out of date, hours are marked instead.
    is_followed: bool,
    /// What was journalled before may have been stored once already, in a database that forgot it: `ClickHouse` may have it.
    connected_ms: i64,
}

impl Store for Postgres {
    type Session = Connection;

    async fn connect(&self) -> Result<Connection, FlushError> {
        let client = self.database.client().await?;
        // After a failover the database may know less.
        self.partitions.forget();
        let is_followed = client.query_typed_one(IS_FOLLOWED, &[]).await?.try_get("is_followed")?;
        Ok(Connection {
            client: Object::take(client),
            partitions: Arc::clone(&self.partitions),
            durability: self.durability,
            is_distributed: self.database.is_distributed(),
            statement_timeout_ms: self.database.statement_timeout().as_millis(),
            is_followed,
            connected_ms: self.clock.now().as_millisecond(),
        })
    }
}

impl Connection {
    /// As [`Session::prepare`], for rows of these days.
    pub async fn prepare_days(&mut self, days: BTreeSet<Day>) -> Result<(), FlushError> {
        let partitions = Arc::clone(&self.partitions);
        partitions.ensure(&mut self.client, days).await
    }

    async fn applied(&mut self, row: Row, segment: Uuid) -> Result<Applied, FlushError> {
        let position = Position {
            offset: row.try_get::<_, i64>("applied_to")?.cast_unsigned(),
            chain: row.try_get::<_, i64>("applied_crc")? as u32,
        };
        let mut sources = SourceCounts::new();
        for row in self.client.query_typed(READ_SOURCES, &[(&segment, Type::UUID)]).await? {
            let count = |name: &str| row.try_get::<_, i64>(name).map(i64::cast_unsigned);
            let settled = Settled {
                stored: count("stored")?,
                duplicate: count("duplicate")?,
                quarantined: count("quarantined")?,
            };
            sources.insert(row.try_get("source")?, Counts { accepted: count("accepted")?, settled });
        }
        Ok(Applied { position, sources })
    }
}

impl Session for Connection {
    type Transaction<'a> = Flush<'a>;

    fn is_open(&self) -> bool {
        !self.client.is_closed()
    }

    async fn open(&mut self, segment: Uuid, node: &str) -> Result<Applied, FlushError> {
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&segment, Type::UUID), (&node, Type::TEXT)];
        let row = match self.client.query_typed_opt(OPEN, &parameters).await? {
            Some(row) => row,
            // Another session made the row after this statement had begun: the next one sees it.
            None => self.client.query_typed_one(OPEN, &parameters).await?,
        };
        self.applied(row, segment).await
    }

    async fn close(&mut self, segment: Uuid, node: &str) -> Result<Applied, FlushError> {
        self.open(segment, node).await?;
        let row = self.client.query_typed_one(CLOSE, &[(&segment, Type::UUID)]).await?;
        self.applied(row, segment).await
    }

    async fn prepare(&mut self, frames: &Frames) -> Result<(), FlushError> {
        let partitions = Arc::clone(&self.partitions);
        partitions.ensure_for(&mut self.client, frames).await
    }

    async fn begin(&mut self) -> Result<Flush<'_>, FlushError> {
        let statement_ms = self.statement_timeout_ms;
        let idle_ms = statement_ms + IDLE_GRACE_MS;
        let transaction = self.client.transaction().await?;
        transaction
            .batch_execute(&format!(
                "set local lock_timeout = {LOCK_TIMEOUT_MS}; set local statement_timeout = {statement_ms};
                 set local idle_in_transaction_session_timeout = {idle_ms}"
            ))
            .await?;
        Ok(Flush {
            transaction,
            durability: self.durability,
            is_distributed: self.is_distributed,
            is_followed: &mut self.is_followed,
            connected_ms: self.connected_ms,
            named: None,
        })
    }
}

/// One flush under way.
pub struct Flush<'a> {
    transaction: PoolTransaction<'a>,
    durability: Durability,
    is_distributed: bool,
    is_followed: &'a mut bool,
    connected_ms: i64,
    named: Option<Named>,
}

/// The rows of a flush by their ids, for `ClickHouse`.
struct Named {
    ids: Vec<u8>,
    /// Whether all of them were stored, and were never there before.
    is_new: bool,
}

impl Flush<'_> {
    /// What a worker says of a row, Citus' COPY hands on without its SQLSTATE, as an internal error. Sorting out tells what it
    /// was: INSERT hands it on whole.
    fn of_copy(&self, error: FlushError) -> FlushError {
        match error {
            FlushError::Transient(error)
                if self.is_distributed && error.sqlstate() == Some(&SqlState::INTERNAL_ERROR) =>
            {
                FlushError::Data(error)
            }
            other => other,
        }
    }
}

/// For rows that come from no journal: an import has its position in the ledger, too.
impl Flush<'_> {
    /// As [`Transaction::copy`].
    pub async fn copy_tuples(&self, tuples: impl Iterator<Item = Bytes>) -> Result<u64, FlushError> {
        copy(&self.transaction, "analytics.events", ROW_VERSION, tuples).await.map_err(|error| self.of_copy(error))
    }

    /// As [`Transaction::sort_out`]: adds to `counts` what was stored, and what is in quarantine now.
    pub async fn sort_out_tuples(
        &self,
        tuples: &[Bytes],
        origin: Uuid,
        counts: &mut SourceCounts,
    ) -> Result<(), FlushError> {
        let incoming = Incoming { row_version: ROW_VERSION, tuples, is_distributed: self.is_distributed };
        careful::store_and_quarantine(&self.transaction, incoming, origin, counts).await
    }

    /// Whether there is anything that others have to hear of. The servers on which rows lie commit each for itself: after a crash the
    /// rows may be there, and who was to hear of them was never told.
    pub fn is_to_be_told(&self, stored: u64) -> bool {
        stored > 0 || self.is_distributed
    }

    /// For what else belongs to it.
    pub fn statements(&self) -> &PoolTransaction<'_> {
        &self.transaction
    }
}

impl Transaction for Flush<'_> {
    async fn advance(&mut self, segment: Uuid, from: Position, to: Position) -> Result<bool, FlushError> {
        let moved = self
            .transaction
            .execute_typed(
                ADVANCE,
                &[
                    (&segment, Type::UUID),
                    (&from.offset.cast_signed(), Type::INT8),
                    (&i64::from(from.chain), Type::INT8),
                    (&to.offset.cast_signed(), Type::INT8),
                    (&i64::from(to.chain), Type::INT8),
                ],
            )
            .await?;
        Ok(moved == 1)
    }

    async fn copy(&mut self, frames: &Frames) -> Result<(u64, Hours), FlushError> {
        let (tuples, hours, ids) = order::by_event_id(frames, *self.is_followed).map_err(unreadable)?;
        let is_new = frames.iter().all(|frame| frame.header.written_ms > self.connected_ms);
        self.named = ids.map(|ids| Named { ids, is_new });
        let stored = copy(&self.transaction, "analytics.events", frames.row_version, tuples)
            .await
            .map_err(|error| self.of_copy(error))?;
        Ok((stored, hours))
    }

    async fn sort_out(&mut self, frames: &Frames, segment: Uuid) -> Result<(SourceCounts, Hours), FlushError> {
        let counts = careful::store(&self.transaction, frames, segment, self.is_distributed).await?;
        let stored = counts.values().map(|counts| counts.settled.stored).sum();
        if !self.is_to_be_told(stored) {
            return Ok((counts, Hours::default()));
        }
        // What was there before, and what was refused, is among them.
        let (_, hours, ids) = order::by_event_id(frames, *self.is_followed).map_err(unreadable)?;
        self.named = ids.map(|ids| Named { ids, is_new: false });
        Ok((counts, hours))
    }

    async fn settle(&mut self, segment: Uuid, counts: &SourceCounts, hours: &Hours) -> Result<(), FlushError> {
        let sources: Vec<&str> = counts.keys().map(String::as_str).collect();
        let column = |count: fn(&Counts) -> u64| counts.values().map(|c| count(c).cast_signed()).collect::<Vec<i64>>();
        let named = self.named.as_ref();
        let settled = self
            .transaction
            .query_typed_one(
                SETTLE,
                &[
                    (&segment, Type::UUID),
                    (&sources, Type::TEXT_ARRAY),
                    (&column(|counts| counts.accepted), Type::INT8_ARRAY),
                    (&column(|counts| counts.settled.stored), Type::INT8_ARRAY),
                    (&column(|counts| counts.settled.duplicate), Type::INT8_ARRAY),
                    (&column(|counts| counts.settled.quarantined), Type::INT8_ARRAY),
                    (&hours.starts(), Type::TIMESTAMPTZ_ARRAY),
                    (&named.map(|named| named.ids.as_slice()), Type::BYTEA),
                    (&named.is_none_or(|named| named.is_new), Type::BOOL),
                ],
            )
            .await?;
        *self.is_followed = settled.try_get("is_followed")?;
        if self.durability == Durability::Database {
            self.transaction.execute_typed(KEEP_PROMISES, &[(&segment, Type::UUID)]).await?;
        }
        Ok(())
    }

    async fn commit(self) -> Result<(), FlushError> {
        Ok(self.transaction.commit().await?)
    }

    async fn rollback(self) {
        // Waited for: PgBouncer loses count of its answers when more follows a failed COPY without a pause, and gives the
        // connection to someone else. Of two errors the first, which led here, is the one to tell.
        let _ = self.transaction.rollback().await;
    }
}
