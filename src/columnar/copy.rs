//! Reads a table's rows, in lots, for a thread that encodes them.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_postgres::binary_copy::{BinaryCopyOutRow, BinaryCopyOutStream};
use tokio_postgres::types::Type;

use super::table::Column;
use crate::database::text::literal;

const COLUMNS: &str = include_str!("sql/columns.sql");
/// Rows handed over at once, fewer if they are large, and how many such lots may wait for the encoder: 12 MB, with the one
/// that is filled and the one that is encoded.
const LOT_ROWS_MAX: usize = 1_000;
const LOT_BYTES_MAX: usize = 2 * 1024 * 1024;
const LOTS_WAITING_MAX: usize = 4;
/// A database that says nothing for so long is away.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// As that, where most rows of a large table may be somebody else's, and none of them is sent.
const SCAN_SILENCE_MAX: Duration = Duration::from_secs(15 * 60);

/// The table could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("reading {table}: {source}")]
    Read { table: String, source: tokio_postgres::Error },
    #[error("reading {table}: no answer within {seconds} s")]
    Silent { table: String, seconds: u64 },
}

impl CopyError {
    /// Whether there is no such table, any more.
    pub fn is_missing(&self) -> bool {
        use tokio_postgres::error::SqlState;
        matches!(self, Self::Read { source, .. } if source.code() == Some(&SqlState::UNDEFINED_TABLE))
    }
}

/// What is read of a table.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    pub table: &'a str,
    /// By source: each row ends with its own, which is no column then, since the file's place says it. Rows of these sources are
    /// left out.
    pub by_source_but: Option<&'a [String]>,
    /// Whether a uuid is read as text, for readers that know no other.
    pub uuid_as_text: bool,
}

/// Some rows, one after the other in the table.
pub struct Lot {
    pub rows: Vec<BinaryCopyOutRow>,
    /// Without it, reading was cut short.
    pub is_last: bool,
}

/// A reading that is prepared.
pub struct Rows {
    table: String,
    statement: String,
    types: Vec<Type>,
    silence_max: Duration,
    lots: mpsc::Sender<Lot>,
}

/// Prepares to read: what is read, its columns, and where its rows will come.
pub async fn prepare(
    client: &ClientWrapper,
    reading: Reading<'_>,
) -> Result<(Rows, Vec<Column>, mpsc::Receiver<Lot>), CopyError> {
    let table = reading.table.to_owned();
    let unread = |source| CopyError::Read { table: table.clone(), source };
    let without: &[&str] = if reading.by_source_but.is_some() { &["source"] } else { &[] };
    let rows = client
        .query_typed(
            COLUMNS,
            &[(&reading.table, Type::TEXT), (&without, Type::TEXT_ARRAY), (&reading.uuid_as_text, Type::BOOL)],
        )
        .await
        .map_err(unread)?;
    let (columns, mut expressions): (Vec<Column>, Vec<String>) = rows
        .iter()
        .map(|row| Ok((Column::new(row.try_get("name")?, row.try_get("type")?), row.try_get("expression")?)))
        .collect::<Result<Vec<_>, tokio_postgres::Error>>()
        .map_err(unread)?
        .into_iter()
        .unzip();
    let mut types: Vec<Type> = columns.iter().map(Column::wire_type).collect();
    let mut condition = String::new();
    if let Some(others) = reading.by_source_but {
        expressions.push("source".to_owned());
        types.push(Type::TEXT);
        let others: Vec<String> = others.iter().map(|source| literal(source)).collect();
        if !others.is_empty() {
            condition = format!(" where source not in ({})", others.join(", "));
        }
    }
    let statement =
        format!("copy (select {} from only {table}{condition}) to stdout (format binary)", expressions.join(", "));
    let (lots, handed_over) = mpsc::channel(LOTS_WAITING_MAX);
    let silence_max = if condition.is_empty() { SILENCE_MAX } else { SCAN_SILENCE_MAX };
    Ok((Rows { table, statement, types, silence_max, lots }, columns, handed_over))
}

impl Rows {
    /// Reads all rows; returns how many it handed over. Whoever takes them may end it early by going away. Between two lots,
    /// `pause` is waited for.
    pub async fn read<F: Future<Output = ()>>(
        self,
        client: &mut ClientWrapper,
        pause: impl Fn() -> F,
    ) -> Result<u64, CopyError> {
        let unread = |source| CopyError::Read { table: self.table.clone(), source };
        // However long it takes, as long as it goes on.
        let transaction = client.transaction().await.map_err(unread)?;
        transaction.batch_execute("set local statement_timeout = 0").await.map_err(unread)?;
        let stream = transaction.copy_out(self.statement.as_str()).await.map_err(unread)?;
        let mut rows = pin!(BinaryCopyOutStream::new(stream, &self.types));
        let mut lot = Vec::with_capacity(LOT_ROWS_MAX);
        let (mut sent, mut bytes) = (0, 0);
        loop {
            let next = tokio::time::timeout(self.silence_max, rows.next()).await;
            let silent = |_| CopyError::Silent { table: self.table.clone(), seconds: self.silence_max.as_secs() };
            let row = next.map_err(silent)?.transpose().map_err(unread)?;
            let is_last = row.is_none();
            bytes += row.as_ref().map_or(0, |row| text_bytes(row, &self.types));
            lot.extend(row);
            if lot.len() == LOT_ROWS_MAX || bytes >= LOT_BYTES_MAX || is_last {
                (sent, bytes) = (sent + lot.len() as u64, 0);
                // It ends early only with an error, which is told by whoever takes the rows.
                if self.lots.send(Lot { rows: std::mem::take(&mut lot), is_last }).await.is_err() {
                    return Ok(sent);
                }
                if is_last {
                    break;
                }
                pause().await;
            }
        }
        transaction.commit().await.map_err(unread)?;
        Ok(sent)
    }
}

/// What of a row can be large.
fn text_bytes(row: &BinaryCopyOutRow, types: &[Type]) -> usize {
    let texts = (0..types.len()).filter(|place| types[*place] == Type::TEXT);
    // What is no text is told where it is written.
    texts.filter_map(|place| row.try_get::<Option<&str>>(place).ok().flatten()).map(str::len).sum()
}
