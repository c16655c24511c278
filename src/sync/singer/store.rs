//! The flush: rows, rejects and STATE in one transaction, so that a crash neither skips nor repeats.
//!
//! ```text
//! begin
//!   this run may write: sync.sources has its number, and is locked        another run has taken over: refused
//!   each stream   COPY into a temporary table; the newest row of each key goes to the stream's table
//!   each stream   rows of older versions are marked or deleted, where the tap says that they are gone
//!   sync.rejects, sync.runs, and the STATE that covers just these rows
//! commit
//! ```
//!
//! Where no STATE comes for long, rows are written without one. A tap would send them again after a crash: merged by a key
//! they do not mind, and rows without a key have the number of their flush in `_batch`, by which the next run takes those away
//! that no STATE covers.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use deadpool_postgres::Transaction;
use futures_util::SinkExt;
use tokio_postgres::types::{ToSql, Type};

use super::SingerError;
use super::load::Held;
use super::registry::{Run, begin};
use super::stream::{Rows, Stream, Table, Wider};
use super::table::{self, quoted};
use crate::database::Database;
use crate::sync::settings::OnDelete;

/// When a row went, as taps tell that read a database's log.
const GONE: &str = "_sdc_deleted_at";
/// One message of COPY.
const COPY_BYTES: usize = 256 * 1024;

/// What a flush has to write.
pub struct Batch<'a> {
    pub streams: &'a BTreeMap<String, Stream>,
    /// Lines that are no messages, with the reason.
    pub strangers: &'a [(String, String)],
    pub state: Option<&'a str>,
    /// Of each stream, records that PostgreSQL refuses.
    pub left_out: &'a HashMap<String, HashMap<usize, String>>,
    /// Of the whole run, with this batch.
    pub rejected_max: u64,
}

/// What a flush came to.
#[derive(Debug, Default, Clone, Copy)]
pub struct Flushed {
    pub rows: u64,
    pub rejected: u64,
}

/// Why a batch was not committed, and what to do about it.
pub enum Obstacle {
    /// The stream's columns have to become wider first.
    Narrow(String, Wider),
    /// PostgreSQL refuses a row of the stream.
    Refused(String, SingerError),
    Other(SingerError),
}

impl<E: Into<SingerError>> From<E> for Obstacle {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl Run {
    /// Writes a batch, or nothing of it.
    pub async fn write(&self, database: &Database, batch: &Batch<'_>) -> Result<Flushed, Obstacle> {
        let mut encoded = Vec::new();
        let none = HashMap::new();
        for (name, stream) in batch.streams {
            let part = stream.part(batch.state.is_some());
            if part.records == 0 {
                continue;
            }
            let rows = stream.encode(part.records, batch.left_out.get(name).unwrap_or(&none));
            encoded.push((name, stream, rows.map_err(|wider| Obstacle::Narrow(name.clone(), wider))?));
        }
        let rejected = encoded.iter().map(|(.., rows)| rows.rejects.len()).sum::<usize>() + batch.strangers.len();
        let flushed =
            Flushed { rows: encoded.iter().map(|(.., rows)| rows.rows.len() as u64).sum(), rejected: rejected as u64 };
        if flushed.rejected > batch.rejected_max {
            let first = encoded.iter().find_map(|(.., rows)| rows.rejects.first()).map(|(_, reason)| reason);
            let first = first.or(batch.strangers.first().map(|(_, reason)| reason)).cloned();
            return Err(SingerError::TooManyRejects(first.unwrap_or_default()).into());
        }
        let mut client = database.client().await?;
        let transaction = client.transaction().await?;
        begin(&transaction).await?;
        let number_of_batch = self.fence(&transaction).await?;
        for (number, (name, stream, rows)) in encoded.iter().enumerate() {
            let copied = copy(
                &transaction,
                &stream.table,
                &Stage { number, batch: number_of_batch, on_delete: self.on_delete },
                rows,
                0..rows.rows.len(),
            )
            .await;
            copied.map_err(|error| obstacle(name, error))?;
        }
        for stream in batch.streams.values() {
            if let Some(version) = stream.part(batch.state.is_some()).activated {
                self.activate(&transaction, &stream.table, version).await?;
            }
        }
        self.write_rejects(&transaction, number_of_batch, batch, &encoded).await?;
        let sql = "update sync.runs set rows = rows + $2, rejected = rejected + $3, seen_at = clock_timestamp() where run_id = $1";
        let (rows, rejected) = (flushed.rows as i64, flushed.rejected as i64);
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&self.id, Type::INT8), (&rows, Type::INT8), (&rejected, Type::INT8)];
        transaction.execute_typed(sql, &parameters).await?;
        if let Some(state) = batch.state {
            let sql = "update sync.sources set state = $2::text::jsonb, covered = batch where source = $1";
            transaction.execute_typed(sql, &[(&self.source, Type::TEXT), (&state, Type::TEXT)]).await?;
        }
        transaction.commit().await?;
        Ok(flushed)
    }

    /// Whether PostgreSQL would take these rows of one stream. Nothing is written.
    pub async fn probe(
        &self,
        database: &Database,
        stream: &Stream,
        rows: &Rows,
        range: std::ops::Range<usize>,
    ) -> Result<Option<String>, SingerError> {
        let mut client = database.client().await?;
        let transaction = client.transaction().await?;
        begin(&transaction).await?;
        match copy(&transaction, &stream.table, &Stage { number: 0, batch: 0, on_delete: self.on_delete }, rows, range)
            .await
        {
            Ok(()) => Ok(None),
            Err(error) if is_of_data(&error) => Ok(Some(said(&error))),
            Err(error) => Err(error.into()),
        }
    }

    /// Rows of versions before this one are not there any more.
    async fn activate(&self, transaction: &Transaction<'_>, table: &Table, version: i64) -> Result<(), SingerError> {
        let full = table.full_name();
        // Without a key each version has rows of its own: marked, they would only make the table longer each time.
        let sql = if self.on_delete == OnDelete::Delete || table.key.is_empty() {
            format!("delete from {full} where _version is null or _version < $1")
        } else {
            format!(
                "update {full} set _deleted_at = now() where (_version is null or _version < $1) and _deleted_at is null"
            )
        };
        transaction.execute_typed(&sql, &[(&version, Type::INT8)]).await?;
        Ok(())
    }

    async fn write_rejects(
        &self,
        transaction: &Transaction<'_>,
        number: i64,
        batch: &Batch<'_>,
        encoded: &[(&String, &Stream, Rows)],
    ) -> Result<(), SingerError> {
        let mut rejects: Vec<(Option<&str>, &str, &str)> = Vec::new();
        for (name, stream, rows) in encoded {
            rejects.extend(rows.rejects.iter().map(|(at, why)| (Some(name.as_str()), why.as_str(), stream.text(*at))));
        }
        rejects.extend(batch.strangers.iter().map(|(line, reason)| (None, reason.as_str(), line.as_str())));
        for (stream, reason, record) in rejects {
            let sql = "insert into sync.rejects (run_id, source, stream, reason, record, batch) values ($1, $2, $3, $4, $5, $6)";
            let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
                (&self.id, Type::INT8),
                (&self.source, Type::TEXT),
                (&stream, Type::TEXT),
                (&reason, Type::TEXT),
                (&record, Type::TEXT),
                (&number, Type::INT8),
            ];
            transaction.execute_typed(sql, &parameters).await?;
        }
        Ok(())
    }

    /// What counts once the tap has ended well.
    pub async fn activate_held(&self, database: &Database, held: &[Held]) -> Result<(), SingerError> {
        if held.is_empty() {
            return Ok(());
        }
        let mut client = database.client().await?;
        let transaction = client.transaction().await?;
        begin(&transaction).await?;
        self.fence(&transaction).await?;
        for Held { table, version } in held {
            self.activate(&transaction, table, *version).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Makes or changes a stream's table, in a transaction of its own.
    pub async fn prepare(
        &self,
        database: &Database,
        stream: &str,
        schema: &super::stream::Schema,
    ) -> Result<Table, SingerError> {
        let mut client = database.client().await?;
        let transaction = client.transaction().await?;
        begin(&transaction).await?;
        self.fence(&transaction).await?;
        let table = table::prepare(&transaction, &self.source, &self.schema, stream, schema).await?;
        transaction.commit().await?;
        Ok(table)
    }

    /// Makes columns wider, in a transaction of its own.
    pub async fn widen(&self, database: &Database, table: &Table, wider: &Wider) -> Result<(), SingerError> {
        let mut client = database.client().await?;
        let transaction = client.transaction().await?;
        begin(&transaction).await?;
        self.fence(&transaction).await?;
        table::widen(&transaction, table, wider).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// A temporary table, and what is done with its rows.
struct Stage {
    /// Within the transaction.
    number: usize,
    /// Of the flush.
    batch: i64,
    on_delete: OnDelete,
}

/// Rows into the stream's table, by way of a temporary one.
async fn copy(
    transaction: &Transaction<'_>,
    table: &Table,
    stage: &Stage,
    rows: &Rows,
    range: std::ops::Range<usize>,
) -> Result<(), tokio_postgres::Error> {
    let full = table.full_name();
    let Stage { number, batch, on_delete } = *stage;
    let stage = format!("pg_temp.weir_stage_{number}");
    let columns: Vec<String> =
        table.columns().chain(["_extra", "_version", "_extracted_at"].map(str::to_owned)).collect();
    let columns = columns.join(", ");
    // The order of `create table as` is that of the list, whatever the table's own is.
    let create = format!(
        "create temporary table weir_stage_{number} on commit drop as select 0::bigint as _n, {columns} from {full} with no data"
    );
    transaction.batch_execute(&create).await?;
    let start = range.start.checked_sub(1).map_or(0, |before| rows.rows[before].0);
    let end = range.end.checked_sub(1).map_or(0, |last| rows.rows[last].0);
    let sink = transaction.copy_in(&format!("copy {stage} (_n, {columns}) from stdin")).await?;
    let mut sink = std::pin::pin!(sink);
    for part in rows.bytes[start..end].chunks(COPY_BYTES) {
        sink.send(Bytes::copy_from_slice(part)).await?;
    }
    sink.finish().await?;
    transaction.batch_execute(&merge(table, &stage, &columns, batch, on_delete)).await
}

fn merge(table: &Table, stage: &str, columns: &str, batch: i64, on_delete: OnDelete) -> String {
    let full = table.full_name();
    if table.key.is_empty() {
        return format!(
            "insert into {full} ({columns}, _synced_at, _batch) select {columns}, now(), {batch} from {stage} order by _n"
        );
    }
    let key = table.key_list();
    // Taps that read a database's log tell so of rows that are gone, and of such a row mostly the key alone.
    let gone = table.columns.iter().find(|column| column.property == GONE).map(|column| quoted(&column.name));
    let value = |column: String| match &gone {
        Some(gone) if column != *gone => {
            format!("{column} = case when excluded.{gone} is null then excluded.{column} else own.{column} end")
        }
        _ => format!("{column} = excluded.{column}"),
    };
    let updates: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .filter(|(at, _)| !table.key.contains(at))
        .map(|(_, column)| value(quoted(&column.name)))
        .chain(["_extra", "_version", "_extracted_at"].map(|column| value(column.to_owned())))
        .collect();
    let (when_new, when_known) = match &gone {
        Some(gone) => (
            format!("case when {gone} is not null then now() end"),
            format!("case when excluded.{gone} is not null then coalesce(own._deleted_at, now()) end"),
        ),
        None => ("null".to_owned(), "null".to_owned()),
    };
    let merge = format!(
        "insert into {full} as own ({columns}, _synced_at, _deleted_at)
         select {columns}, now(), {when_new} from (select distinct on ({key}) * from {stage} order by {key}, _n desc) newest
         on conflict ({key}) do update set {}, _synced_at = excluded._synced_at, _deleted_at = {when_known}",
        updates.join(", ")
    );
    match gone {
        Some(gone) if on_delete == OnDelete::Delete => {
            let same: Vec<String> = table
                .key
                .iter()
                .map(|&at| quoted(&table.columns[at].name))
                .map(|key| format!("own.{key} = stage.{key}"))
                .collect();
            format!(
                "{merge}; delete from {full} own using {stage} stage where {} and own.{gone} is not null",
                same.join(" and ")
            )
        }
        _ => merge,
    }
}

fn obstacle(stream: &str, error: tokio_postgres::Error) -> Obstacle {
    if is_of_data(&error) { Obstacle::Refused(stream.to_owned(), error.into()) } else { error.into() }
}

/// Whether it is a row's own fault: data exceptions, violated constraints, and limits (classes 22, 23, 54).
fn is_of_data(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.code().starts_with(class)))
}

fn said(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| format!("PostgreSQL: {}", error.message()))
}
