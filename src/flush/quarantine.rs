//! Looking at refused rows, and sending them again once the cause is mended.

use bytes::Bytes;
use tokio_postgres::types::Type;

use super::hours::Hours;
use super::{FlushError, careful, unreadable};
use crate::database::{Database, DatabaseError};
use crate::row;

const LIST: &str = include_str!("sql/quarantine_list.sql");
const WAITING: &str = include_str!("sql/quarantine_waiting.sql");
const MARK: &str = include_str!("sql/quarantine_mark.sql");

/// One refused row.
#[derive(Debug)]
pub struct Refused {
    pub id: i64,
    pub quarantined_at: String,
    pub source: String,
    pub sqlstate: String,
    pub message: String,
    /// The row as JSON.
    pub event: String,
}

/// The newest `limit` rows still in quarantine.
pub async fn list(database: &Database, limit: i64) -> Result<Vec<Refused>, DatabaseError> {
    let rows = database.client().await?.query_typed(LIST, &[(&limit, Type::INT8)]).await?;
    rows.iter()
        .map(|row| {
            Ok(Refused {
                id: row.try_get("id")?,
                quarantined_at: row.try_get("quarantined_at")?,
                source: row.try_get("source")?,
                sqlstate: row.try_get("sqlstate")?,
                message: row.try_get("message")?,
                event: row.try_get("event")?,
            })
        })
        .collect()
}

/// What a replay came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub stored: u64,
    pub duplicate: u64,
    /// Ids refused again, with PostgreSQL's words.
    pub refused: Vec<(i64, String)>,
}

/// Sends one row, or all of them, again: each in its own transaction.
pub async fn replay(database: &Database, only: Option<i64>) -> Result<Replayed, FlushError> {
    let mut client = database.client().await?;
    let mut replayed = Replayed::default();
    let waiting = client.query_typed(WAITING, &[(&only, Type::INT8)]).await?;
    for id in waiting.iter().map(|row| row.try_get::<_, i64>("id")).collect::<Result<Vec<_>, _>>()? {
        let transaction = client.transaction().await?;
        let lock =
            "select tuple, row_version from weir.quarantine where id = $1 and outcome = 'quarantined' for update";
        let Some(row) = transaction.query_typed_opt(lock, &[(&id, Type::INT8)]).await? else {
            continue;
        };
        let tuple = Bytes::from(row.try_get::<_, Vec<u8>>("tuple")?);
        let row_version = row.try_get::<_, i16>("row_version")?.cast_unsigned();
        let occurred_at = row::occurred_at(&tuple).map_err(unreadable)?;
        match careful::store_again(&transaction, row_version, tuple).await? {
            Ok(is_new) => {
                let outcome = if is_new { "stored" } else { "duplicate" };
                let mut hours = Hours::default();
                if is_new {
                    hours.note(occurred_at);
                }
                let hours = hours.starts();
                transaction
                    .execute_typed(
                        MARK,
                        &[(&id, Type::INT8), (&outcome, Type::TEXT), (&hours, Type::TIMESTAMPTZ_ARRAY)],
                    )
                    .await?;
                transaction.commit().await?;
                replayed.stored += u64::from(is_new);
                replayed.duplicate += u64::from(!is_new);
            }
            Err(message) => {
                transaction.rollback().await?;
                replayed.refused.push((id, message));
            }
        }
    }
    Ok(replayed)
}
