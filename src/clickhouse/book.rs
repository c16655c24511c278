//! What `ClickHouse` may lack, as PostgreSQL has it: ids, marks, and how the follower is.

use deadpool_postgres::{ClientWrapper, Transaction};
use jiff::civil::Date;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::ClickHouseError;
use super::table::{DAY_US, HOUR_US, Range};
use crate::flush::partitions::LOCK_TIMEOUT_MS;

const TARGET: &str = "select target from weir.clickhouse_sink";
/// It may have any of the rows already.
const ENTER: &str = "update weir.clickhouse_sink set target = $1, compared_at = clock_timestamp()";
const MARK_DAYS: &str = include_str!("sql/mark_days.sql");
const MARK_ALL: &str = include_str!("sql/mark_all.sql");
const RENEW: &str = include_str!("sql/renew.sql");
const TAKE_BATCH: &str = include_str!("sql/batch_take.sql");
const OPEN_BATCH: &str = include_str!("sql/batch_open.sql");
const DONE_BATCH: &str = "delete from weir.clickhouse_named where batch = $1";
const TAKE_MARK: &str = include_str!("sql/mark_take.sql");
const DIVIDE_MARK: &str = include_str!("sql/mark_divide.sql");
const MOVE_MARK: &str =
    "update weir.clickhouse_marks set done_to = $2, failures = 0, failing_since = null, error = null where id = $1";
const POSTPONE_MARK: &str = include_str!("sql/mark_postpone.sql");
const DONE_MARK: &str = "delete from weir.clickhouse_marks where id = $1";
/// What is named until now may be there: what was compared is about to be sent, or it is not known what was.
const COMPARED: &str = "update weir.clickhouse_sink set compared_at = clock_timestamp()";
const SUCCEEDED: &str = include_str!("sql/succeeded.sql");
const RECOVERED: &str =
    "update weir.clickhouse_sink set failing_since = null, error = null where failing_since is not null";
const FAILED: &str = "update weir.clickhouse_sink set failing_since = coalesce(failing_since, now()), error = $1";
const STATUS: &str = include_str!("sql/status.sql");
/// Ids that may wait, 160 MB of them: beyond, flushes only mark hours.
const NAMED_BYTES_MAX: i64 = 16 * 10_000_000;
/// What one batch takes, if it is more than one flush: 50,000 ids.
const BATCH_BYTES_MAX: i64 = 16 * 50_000;

/// Some rows by id, which are sent together, and are the same however often.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    pub id: Uuid,
    /// In order, each once.
    pub ids: Vec<Uuid>,
    /// Whether none of them can be in `ClickHouse`, but by an earlier attempt with this batch.
    pub is_new: bool,
    /// Whether there was one.
    pub is_retry: bool,
    /// Whether more are waiting.
    pub has_more: bool,
}

/// A stretch of time that may differ, up to an hour long, or a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub id: i64,
    pub range: Range,
    /// Ids up to this one are compared.
    pub done_to: Option<Uuid>,
}

impl Mark {
    pub fn length_us(&self) -> i64 {
        self.range.to_us - self.range.from_us
    }

    /// The starts of its hours.
    pub fn hours(&self) -> Vec<i64> {
        (0..self.length_us() / HOUR_US).map(|hour| self.range.from_us + hour * HOUR_US).collect()
    }

    /// Whether it is a day that nobody has begun with.
    pub fn is_whole_day(&self) -> bool {
        self.length_us() == DAY_US && self.done_to.is_none()
    }
}

/// As `weir.clickhouse_status` says.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Status {
    pub events_named: i64,
    pub ranges_marked: i64,
    pub waiting_s: Option<f64>,
    pub is_followed: bool,
    pub succeeded_at: Option<String>,
    pub failing_since: Option<String>,
    pub error: Option<String>,
}

/// In the transaction that takes events of a day away: `ClickHouse` follows.
pub async fn mark_day(transaction: &Transaction<'_>, day: Date) -> Result<(), tokio_postgres::Error> {
    transaction.execute_typed(MARK_DAYS, &[(&vec![day.to_string()], Type::TEXT_ARRAY)]).await?;
    Ok(())
}

/// Says that there is a `ClickHouse`, or that it is another one now, which may lack everything. When it returns, every transaction that
/// did not see it has ended. Returns whether that was new.
pub async fn enter(client: &mut ClientWrapper, target: &str) -> Result<bool, ClickHouseError> {
    if let Some(row) = client.query_typed_opt(TARGET, &[]).await?
        && row.try_get::<_, Option<&str>>("target")? == Some(target)
    {
        return Ok(false);
    }
    let transaction = client.transaction().await?;
    // Who changes events looks at this table, and holds what it has looked at until its end.
    let lock = format!(
        "set local lock_timeout = {LOCK_TIMEOUT_MS}; lock table weir.clickhouse_sink in access exclusive mode;
         insert into weir.clickhouse_sink default values on conflict do nothing"
    );
    transaction.batch_execute(&lock).await?;
    transaction.execute_typed(ENTER, &[(&target, Type::TEXT)]).await?;
    transaction.query_typed_one(MARK_ALL, &[]).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Marks all days that there are, and all time without one; returns how many days.
pub async fn mark_all(client: &ClientWrapper) -> Result<u64, ClickHouseError> {
    Ok(client.query_typed_one(MARK_ALL, &[]).await?.try_get::<_, i64>("days")?.cast_unsigned())
}

/// Marks days, as 2026-11-20; returns how many.
pub async fn mark_days(client: &ClientWrapper, days: &[String]) -> Result<u64, ClickHouseError> {
    client.execute_typed(MARK_DAYS, &[(&days, Type::TEXT_ARRAY)]).await?;
    Ok(days.len() as u64)
}

/// For the next minutes flushes name their rows, unless too many are waiting already.
pub async fn renew(client: &ClientWrapper) -> Result<(), ClickHouseError> {
    client.execute_typed(RENEW, &[(&NAMED_BYTES_MAX, Type::INT8)]).await?;
    Ok(())
}

/// The batch that was not finished, or the next one, with the id `new`.
pub async fn take_batch(client: &ClientWrapper, new: Uuid) -> Result<Option<Batch>, ClickHouseError> {
    let mut rows = client.query_typed(OPEN_BATCH, &[]).await?;
    let is_retry = !rows.is_empty();
    if !is_retry {
        rows = client.query_typed(TAKE_BATCH, &[(&new, Type::UUID), (&BATCH_BYTES_MAX, Type::INT8)]).await?;
    }
    let Some(first) = rows.first() else { return Ok(None) };
    // What else waits beside one that was not finished was not looked at.
    let has_more = is_retry || first.try_get::<_, i64>("waiting")?.cast_unsigned() > rows.len() as u64;
    let mut batch = Batch { id: first.try_get("batch")?, ids: Vec::new(), is_new: true, is_retry, has_more };
    for row in &rows {
        batch.is_new &= row.try_get::<_, bool>("is_new")?;
        let ids: &[u8] = row.try_get("ids")?;
        batch.ids.extend(ids.as_chunks().0.iter().map(|id| Uuid::from_bytes(*id)));
    }
    batch.ids.sort_unstable();
    batch.ids.dedup();
    Ok(Some(batch))
}

pub async fn done_batch(client: &ClientWrapper, batch: Uuid) -> Result<(), ClickHouseError> {
    client.execute_typed(DONE_BATCH, &[(&batch, Type::UUID)]).await?;
    Ok(())
}

/// The mark that was not finished, or the latest: what was committed before it was taken is seen by what is read now, and what is
/// committed later makes a new one.
pub async fn take_mark(client: &ClientWrapper) -> Result<Option<Mark>, ClickHouseError> {
    let Some(row) = client.query_typed_opt(TAKE_MARK, &[]).await? else { return Ok(None) };
    let range = Range { from_us: row.try_get("from_us")?, to_us: row.try_get("to_us")? };
    Ok(Some(Mark { id: row.try_get("id")?, range, done_to: row.try_get("done_to")? }))
}

/// In place of the mark, its hours that differ.
pub async fn divide_mark(client: &ClientWrapper, mark: &Mark, hours: &[i64]) -> Result<(), ClickHouseError> {
    client.execute_typed(DIVIDE_MARK, &[(&mark.id, Type::INT8), (&hours, Type::INT8_ARRAY)]).await?;
    Ok(())
}

pub async fn move_mark(client: &ClientWrapper, mark: &Mark, to: Uuid) -> Result<(), ClickHouseError> {
    client.execute_typed(MOVE_MARK, &[(&mark.id, Type::INT8), (&to, Type::UUID)]).await?;
    Ok(())
}

/// It could not be compared: it is taken up again later.
pub async fn postpone_mark(client: &ClientWrapper, mark: &Mark, error: &str) -> Result<(), ClickHouseError> {
    client.execute_typed(POSTPONE_MARK, &[(&mark.id, Type::INT8), (&error, Type::TEXT)]).await?;
    Ok(())
}

pub async fn done_mark(client: &ClientWrapper, mark: &Mark) -> Result<(), ClickHouseError> {
    client.execute_typed(DONE_MARK, &[(&mark.id, Type::INT8)]).await?;
    Ok(())
}

/// What the database has had until now may be in `ClickHouse`, or be about to be sent.
pub async fn compared(client: &ClientWrapper) -> Result<(), ClickHouseError> {
    client.execute_typed(COMPARED, &[]).await?;
    Ok(())
}

/// What failed before goes well again.
pub async fn recovered(client: &ClientWrapper) -> Result<(), ClickHouseError> {
    client.execute_typed(RECOVERED, &[]).await?;
    Ok(())
}

/// Nothing is left to be done, at this moment.
pub async fn succeeded(client: &ClientWrapper) -> Result<(), ClickHouseError> {
    client.execute_typed(SUCCEEDED, &[]).await?;
    Ok(())
}

pub async fn failed(client: &ClientWrapper, error: &str) -> Result<(), ClickHouseError> {
    client.execute_typed(FAILED, &[(&error, Type::TEXT)]).await?;
    Ok(())
}

/// `None`: there never was one.
pub async fn status(client: &ClientWrapper) -> Result<Option<Status>, ClickHouseError> {
    status_by(&**client).await
}

/// As [`status`], also within a transaction: at the moment of the statement.
pub async fn status_by(client: &impl GenericClient) -> Result<Option<Status>, ClickHouseError> {
    let Some(row) = client.query_typed_opt(STATUS, &[]).await? else { return Ok(None) };
    Ok(Some(Status {
        events_named: row.try_get("events_named")?,
        ranges_marked: row.try_get("ranges_marked")?,
        waiting_s: row.try_get("waiting_s")?,
        is_followed: row.try_get("is_followed")?,
        succeeded_at: row.try_get("succeeded_at")?,
        failing_since: row.try_get("failing_since")?,
        error: row.try_get("error")?,
    }))
}
