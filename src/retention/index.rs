//! Indexes that find single persons, on partitions of days that are over: there they cost no flush anything, and without
//! them each question about one person reads the whole table. docs/performance.md has what they cost and gain.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use jiff::civil::Date;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::{RetentionError, Upkeep};
use crate::database::advisory;

const MISSING: &str = include_str!("sql/indexes_missing.sql");
/// Made in one run, newest days first: a table that has grown for years gets them within some days, without a rush.
const INDEXES_AT_ONCE_MAX: i64 = 20;
/// Making one concurrently waits for every transaction that is open: retention must not wait with it for ever.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Advisory lock of whoever makes indexes: "indx" in ASCII.
pub(crate) const INDEX_LOCK: i64 = 0x696e_6478;

impl Upkeep {
    /// Makes those that are missing, unless another process is at it; the lock lives on `guard`.
    pub(super) async fn index(
        &self,
        guard: &mut ClientWrapper,
        client: &mut ClientWrapper,
        today: Date,
    ) -> Result<(), RetentionError> {
        if !self.settings.person_indexes {
            return Ok(());
        }
        let Some(elected) = advisory::elect(guard, INDEX_LOCK).await? else { return Ok(()) };
        let today = today.to_string();
        let missing = client.query_typed(MISSING, &[(&today, Type::TEXT), (&INDEXES_AT_ONCE_MAX, Type::INT8)]).await?;
        for row in missing {
            let (table, index, keys): (&str, &str, &str) =
                (row.try_get("leaf")?, row.try_get("index")?, row.try_get("keys")?);
            let statements = async {
                elected.batch_execute("select 1").await?;
                if row.try_get("was_cut_short")? {
                    client.batch_execute(&format!("drop index concurrently if exists analytics.{index}")).await?;
                }
                client.batch_execute(&format!("create index concurrently {index} on {table} {keys}")).await
            };
            match tokio::time::timeout(TIMEOUT, statements).await {
                Err(_) => return Err(RetentionError::NoIndex { table: table.to_owned() }),
                // Its day is over since it was listed.
                Ok(Err(error)) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {}
                Ok(result) => result?,
            }
            tracing::info!(table, index, "index made");
        }
        // Nothing was written in it: its end gives up the lock.
        let _ = elected.rollback().await;
        Ok(())
    }
}
