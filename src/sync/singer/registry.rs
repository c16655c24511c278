//! A run's place in `sync.sources` and `sync.runs`: who may write, how far a source is read, and how its runs ended.

use deadpool_postgres::Transaction;
use tokio_postgres::types::{ToSql, Type};

use super::SingerError;
use super::table::quoted;
use crate::database::Database;
use crate::sync::settings::OnDelete;

/// Waiting longer for a lock would make others queue behind it.
const LOCK_TIMEOUT_MS: u32 = 5_000;
/// A batch is merged in seconds.
const STATEMENT_TIMEOUT_MS: u32 = 10 * 60 * 1_000;
const IDLE_TIMEOUT_MS: u32 = 60_000;
/// A run: who writes, and where to.
#[derive(Debug, Clone)]
pub struct Run {
    pub source: String,
    pub schema: String,
    pub id: i64,
    pub on_delete: OnDelete,
}

/// How a transaction of a sync begins.
pub async fn begin(transaction: &Transaction<'_>) -> Result<(), SingerError> {
    let settings = format!(
        "set transaction isolation level read committed; set local timezone = 'UTC'; set local datestyle = 'ISO, YMD';
         set local lock_timeout = {LOCK_TIMEOUT_MS}; set local statement_timeout = {STATEMENT_TIMEOUT_MS};
         set local idle_in_transaction_session_timeout = {IDLE_TIMEOUT_MS}"
    );
    Ok(transaction.batch_execute(&settings).await?)
}

impl Run {
    /// Registers a run; whatever wrote before may not any more. Returns it with the STATE that it goes on from.
    pub async fn start(
        database: &Database,
        source: &str,
        schema: &str,
        on_delete: OnDelete,
    ) -> Result<(Self, Option<String>), SingerError> {
        let mut client = database.client().await?;
        let transaction = client.transaction().await?;
        begin(&transaction).await?;
        let mut sql =
            "insert into sync.sources (source, kind, schema) values ($1, 'singer', $2) on conflict do nothing";
        transaction.execute_typed(sql, &[(&source, Type::TEXT), (&schema, Type::TEXT)]).await?;
        sql = "select kind, schema, state::text from sync.sources where source = $1 for update";
        let row = transaction.query_typed_one(sql, &[(&source, Type::TEXT)]).await?;
        let (kind, known): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if kind != "singer" {
            return Err(SingerError::OtherKind { name: source.to_owned(), kind });
        }
        if known != schema {
            return Err(SingerError::Moved { name: source.to_owned(), schema: schema.to_owned(), known });
        }
        let state: Option<String> = row.try_get(2)?;
        Self::take_back(&transaction, source, schema).await?;
        transaction.batch_execute(&format!("create schema if not exists {}", quoted(schema))).await?;
        sql = "update sync.runs set outcome = 'lost', finished_at = seen_at where source = $1 and outcome = 'running'";
        transaction.execute_typed(sql, &[(&source, Type::TEXT)]).await?;
        sql = "insert into sync.runs (source) values ($1) returning run_id";
        let id: i64 = transaction.query_typed_one(sql, &[(&source, Type::TEXT)]).await?.try_get(0)?;
        sql = "update sync.sources set run_id = $2 where source = $1";
        transaction.execute_typed(sql, &[(&source, Type::TEXT), (&id, Type::INT8)]).await?;
        sql = "delete from sync.runs where source = $1
                and run_id <= (select run_id from sync.runs where source = $1 order by run_id desc offset 1000 limit 1)";
        transaction.execute_typed(sql, &[(&source, Type::TEXT)]).await?;
        sql = "delete from sync.rejects where source = $1 and reject_id <=
                (select reject_id from sync.rejects where source = $1 order by reject_id desc offset 100000 limit 1)";
        transaction.execute_typed(sql, &[(&source, Type::TEXT)]).await?;
        transaction.commit().await?;
        let run = Self { source: source.to_owned(), schema: schema.to_owned(), id, on_delete };
        Ok((run, state))
    }

    /// Notes how the run ended; what it wrote stays. Of a tap that `has_no_state` and has ended well, no more is to come; any
    /// other sends again what its last STATE does not cover.
    pub async fn finish(
        &self,
        database: &Database,
        error: Option<&str>,
        log: Option<&str>,
        has_no_state: bool,
    ) -> Result<(), SingerError> {
        let mut client = database.client().await?;
        let transaction = client.transaction().await?;
        begin(&transaction).await?;
        if error.is_none() && has_no_state {
            let sql = "update sync.sources set covered = batch where source = $1 and run_id = $2";
            transaction.execute_typed(sql, &[(&self.source, Type::TEXT), (&self.id, Type::INT8)]).await?;
        }
        let sql = "update sync.runs set outcome = case when $2::text is null then 'done' else 'failed' end, error = $2,
                          log = $3, finished_at = clock_timestamp(), seen_at = clock_timestamp()
                    where run_id = $1 and outcome = 'running'";
        transaction.execute_typed(sql, &[(&self.id, Type::INT8), (&error, Type::TEXT), (&log, Type::TEXT)]).await?;
        Ok(transaction.commit().await?)
    }

    /// Locks the source for this transaction, if the run may still write; returns the number of the flush.
    pub async fn fence(&self, transaction: &Transaction<'_>) -> Result<i64, SingerError> {
        let sql = "update sync.sources set batch = batch + 1 where source = $1 and run_id = $2 returning batch";
        let rows = transaction.query_typed(sql, &[(&self.source, Type::TEXT), (&self.id, Type::INT8)]).await?;
        match rows.first() {
            Some(row) => Ok(row.try_get(0)?),
            None => Err(SingerError::TakenOver(self.source.clone())),
        }
    }

    /// Takes away what earlier runs wrote and no STATE covers, where it would be there twice: the tap sends it again.
    async fn take_back(transaction: &Transaction<'_>, source: &str, schema: &str) -> Result<(), SingerError> {
        let sql = "select covered from sync.sources where source = $1 and covered < batch";
        let Some(row) = transaction.query_typed(sql, &[(&source, Type::TEXT)]).await?.pop() else { return Ok(()) };
        let covered: i64 = row.try_get(0)?;
        let sql = "select relation from sync.streams where source = $1 and key = '{}'";
        for row in transaction.query_typed(sql, &[(&source, Type::TEXT)]).await? {
            let full = format!("{}.{}", quoted(schema), quoted(row.try_get(0)?));
            let sql = "select to_regclass($1) is not null";
            if transaction.query_typed_one(sql, &[(&full, Type::TEXT)]).await?.try_get(0)? {
                let sql = format!("delete from {full} where _batch > $1");
                transaction.execute_typed(&sql, &[(&covered, Type::INT8)]).await?;
            }
        }
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&source, Type::TEXT), (&covered, Type::INT8)];
        let sql = "delete from sync.rejects where source = $1 and batch > $2";
        transaction.execute_typed(sql, &parameters).await?;
        let sql = "update sync.sources set covered = batch where source = $1";
        transaction.execute_typed(sql, &[(&source, Type::TEXT)]).await?;
        Ok(())
    }
}
