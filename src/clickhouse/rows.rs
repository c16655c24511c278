//! What PostgreSQL has: rows to be sent, and sums and pages to be compared.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use deadpool_postgres::{ClientWrapper, Transaction};
use futures_util::TryStreamExt;
use tokio_postgres::types::Type;
use tokio_postgres::{Row, RowStream};
use uuid::Uuid;

use super::ClickHouseError;
use super::columns::{COLUMNS, Column, checksum_there};
use super::rowbinary;
use super::table::{Range, Sum, range_of};

const ROWS: &str = include_str!("sql/rows.sql");
const CHECKSUMS: &str = include_str!("sql/checksums.sql");
const SUMS: &str = include_str!("sql/sums.sql");
const PAGE: &str = include_str!("sql/page.sql");
/// Summing up one whole day, or sending the largest rows of one insert.
const STATEMENT_TIMEOUT_MS: u32 = 15 * 60 * 1_000;

/// Rows that were read, encoded.
#[derive(Debug, Default)]
pub struct Encoded {
    pub bytes: Vec<u8>,
    pub rows: u64,
    /// Whether there are no more.
    pub is_last: bool,
}

/// Rows that are being read.
pub struct Reading<'a> {
    rows: Pin<Box<RowStream>>,
    is_done: bool,
    /// Ends with them.
    _transaction: Transaction<'a>,
}

/// Reads these rows as they are now: none where there are no rows any more.
pub async fn read<'a>(client: &'a mut ClientWrapper, ids: &[Uuid]) -> Result<Reading<'a>, ClickHouseError> {
    let columns: Vec<String> = COLUMNS.iter().map(Column::read).collect();
    let sql = ROWS.replace("{columns}", &columns.join(", "));
    let transaction = begin(client).await?;
    let (from, to) = times(range_of(ids));
    let rows = transaction
        .query_typed_raw(
            &sql,
            [
                (&from as &(dyn tokio_postgres::types::ToSql + Sync), Type::TIMESTAMPTZ),
                (&to, Type::TIMESTAMPTZ),
                (&ids, Type::UUID_ARRAY),
            ],
        )
        .await?;
    Ok(Reading { rows: Box::pin(rows), is_done: false, _transaction: transaction })
}

impl Reading<'_> {
    /// The next rows, of `bytes_max` and what the last of them is longer. What is behind them waits in PostgreSQL, which sends as
    /// fast as it is read.
    pub async fn piece(&mut self, bytes_max: usize) -> Result<Option<Encoded>, ClickHouseError> {
        let mut piece = Encoded::default();
        while !self.is_done && piece.bytes.len() < bytes_max {
            if let Some(row) = self.rows.try_next().await? {
                rowbinary::encode(&row, &mut piece.bytes)?;
                piece.rows += 1;
            } else {
                self.is_done = true;
            }
        }
        piece.is_last = self.is_done;
        Ok((piece.rows > 0).then_some(piece))
    }
}

/// Which of these rows there are, each with its checksum.
pub async fn checksums(client: &mut ClientWrapper, ids: &[Uuid]) -> Result<HashMap<Uuid, u64>, ClickHouseError> {
    let transaction = begin(client).await?;
    let (from, to) = times(range_of(ids));
    let sql = CHECKSUMS.replace("{checksum}", &checksum_there());
    let rows = transaction
        .query_typed(&sql, &[(&from, Type::TIMESTAMPTZ), (&to, Type::TIMESTAMPTZ), (&ids, Type::UUID_ARRAY)])
        .await?;
    rows.iter().map(checksum).collect()
}

/// What is in the range, by the hour's start in microseconds.
pub async fn sums(client: &mut ClientWrapper, range: Range) -> Result<BTreeMap<i64, Sum>, ClickHouseError> {
    sums_of(client, range, &checksum_there()).await
}

/// The hours of the range that have rows, whatever they are: which is known much sooner.
pub async fn hours(client: &mut ClientWrapper, range: Range) -> Result<Vec<i64>, ClickHouseError> {
    Ok(sums_of(client, range, "0").await?.into_keys().collect())
}

async fn sums_of(
    client: &mut ClientWrapper,
    range: Range,
    checksum: &str,
) -> Result<BTreeMap<i64, Sum>, ClickHouseError> {
    let transaction = begin(client).await?;
    let (from, to) = times(range);
    let (first, last) = (first_id(range.from_us), first_id(range.to_us));
    let sql = SUMS.replace("{checksum}", checksum);
    let rows = transaction
        .query_typed(
            &sql,
            &[(&from, Type::TIMESTAMPTZ), (&to, Type::TIMESTAMPTZ), (&first, Type::UUID), (&last, Type::UUID)],
        )
        .await?;
    let mut sums = BTreeMap::new();
    for row in rows {
        let checksum: &str = row.try_get("checksum")?;
        let checksum = checksum.parse().map_err(|_| ClickHouseError::Unclear(checksum.to_owned()))?;
        let rows = row.try_get::<_, i64>("rows")?.cast_unsigned();
        sums.insert(row.try_get("hour_us")?, Sum { rows, checksum });
    }
    Ok(sums)
}

/// The first `limit` rows of the range behind `after`, by id: each with its checksum.
pub async fn page(
    client: &mut ClientWrapper,
    range: Range,
    after: Uuid,
    limit: usize,
) -> Result<Vec<(Uuid, u64)>, ClickHouseError> {
    let transaction = begin(client).await?;
    let (from, to) = times(range);
    let sql = PAGE.replace("{checksum}", &checksum_there());
    let rows = transaction
        .query_typed(
            &sql,
            &[
                (&from, Type::TIMESTAMPTZ),
                (&to, Type::TIMESTAMPTZ),
                (&after, Type::UUID),
                (&first_id(range.to_us), Type::UUID),
                (&i64::try_from(limit).unwrap_or(i64::MAX), Type::INT8),
            ],
        )
        .await?;
    rows.iter().map(checksum).collect()
}

fn checksum(row: &Row) -> Result<(Uuid, u64), ClickHouseError> {
    Ok((row.try_get("event_id")?, row.try_get::<_, i64>("checksum")?.cast_unsigned()))
}

/// Before all ids of events from that time on.
pub fn first_id(us: i64) -> Uuid {
    // Before 1970, and beyond 48 bits, ids have no other time.
    let ms = us.div_euclid(1_000).clamp(0, (1 << 48) - 1);
    Uuid::from_u128(u128::from(ms.unsigned_abs()) << 80)
}

async fn begin(client: &mut ClientWrapper) -> Result<Transaction<'_>, ClickHouseError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(&format!("set local statement_timeout = {STATEMENT_TIMEOUT_MS}")).await?;
    Ok(transaction)
}

fn times(range: Range) -> (SystemTime, SystemTime) {
    let at = |us: i64| {
        let since = Duration::from_micros(us.unsigned_abs());
        if us < 0 { SystemTime::UNIX_EPOCH - since } else { SystemTime::UNIX_EPOCH + since }
    };
    (at(range.from_us), at(range.to_us))
}
