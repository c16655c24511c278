//! What retention and the lake owe each other: a day is dropped only when the lake has all of it, and the lake knows which table
//! became of which part. The database says whether there is a lake (`weir.lake`): settings that name none drop nothing that it lacks.

use deadpool_postgres::{ClientWrapper, Transaction};
use jiff::civil::Date;
use tokio_postgres::types::{ToSql, Type};

use super::{RetentionError, Run};

const IS_WHOLE: &str = include_str!("sql/lake_is_whole.sql");
const HURRY: &str = "update weir.lake_marks set is_urgent = true where day = $1::text::date and not is_urgent";
const DETACHED: &str =
    "update weir.lake_days set detached = $2, attempt = attempt + 1 where day = $1::text::date and detached is null";
const DROPPED: &str = "update weir.lake_days set dropped_at = now() where detached = $1";
const ROWS: &str = include_str!("sql/lake_rows.sql");
const AGAIN: &str = "update weir.lake_days set is_stale = true where detached = $1";
const ALONE: &str = "select count(distinct d.day) as days from weir.lake_days d join weir.lake_files f using (day, part) where d.dropped_at is not null";
const BEHIND: &str = include_str!("sql/lake_behind.sql");
const CHANGED: &str = "insert into weir.lake_marks (day) select distinct day from weir.lake_days where day = $1::text::date and dropped_at is null";

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

impl Run<'_> {
    /// Whether the lake has all of a partition, or of a table that was detached; `true` where there is no lake. What it
    /// lacks is exported with the exporter's next run, however late it came.
    pub(super) async fn is_in_lake(&self, day: Date, detached: Option<&str>) -> Result<bool, RetentionError> {
        let (text, has_lake) = (day.to_string(), self.upkeep.has_lake);
        let parameters: [Parameter<'_>; 3] = [(&text, Type::TEXT), (&detached, Type::TEXT), (&has_lake, Type::BOOL)];
        let row = self.client.query_typed_one(IS_WHOLE, &parameters).await?;
        if !row.try_get::<_, bool>("is_awaited")? {
            return Ok(true);
        }
        let is_whole: bool = row.try_get("is_whole")?;
        if !is_whole {
            self.client.execute_typed(HURRY, &[(&text, Type::TEXT)]).await?;
            if has_lake {
                tracing::info!(%day, detached, "over, and kept until all of it is in the lake: weir lake status");
            } else {
                tracing::warn!(
                    %day,
                    detached,
                    "over, and kept until all of it is in the lake, which is in use, and not set here: weir lake status; \
                     or weir lake stop, if there is none any more"
                );
            }
        }
        Ok(is_whole)
    }
}

/// In the transaction that drops a table of so many rows: refuses unless the lake has just as many, and nothing has changed since.
pub(super) async fn keep(
    has_lake: bool,
    transaction: &Transaction<'_>,
    day: Date,
    table: &str,
    rows: i64,
) -> Result<(), RetentionError> {
    // Else there is nothing to keep.
    if rows > 0 {
        let day = day.to_string();
        let parameters: [Parameter<'_>; 3] = [(&day, Type::TEXT), (&table, Type::TEXT), (&has_lake, Type::BOOL)];
        let row = transaction.query_typed_one(IS_WHOLE, &parameters).await?;
        let (is_awaited, is_whole): (bool, bool) = (row.try_get("is_awaited")?, row.try_get("is_whole")?);
        let kept: i64 = transaction.query_typed_one(ROWS, &[(&table, Type::TEXT)]).await?.try_get("rows")?;
        if is_awaited && (!is_whole || kept != rows) {
            return Err(RetentionError::NotInLake { table: table.to_owned(), rows, kept });
        }
    }
    transaction.execute_typed(DROPPED, &[(&table, Type::TEXT)]).await?;
    Ok(())
}

/// The lake has another number of rows than the table that was to be dropped: it is exported again.
pub(super) async fn export_again(client: &ClientWrapper, table: &str) -> Result<(), RetentionError> {
    client.execute_typed(AGAIN, &[(&table, Type::TEXT)]).await?;
    Ok(())
}

/// In the transaction that detaches a day's partition: which table it is from now on. Whoever exports it at this moment books
/// nothing any more.
pub(super) async fn note_detached(transaction: &Transaction<'_>, day: Date, table: &str) -> Result<(), RetentionError> {
    transaction.execute_typed(DETACHED, &[(&day.to_string(), Type::TEXT), (&table, Type::TEXT)]).await?;
    Ok(())
}

/// In the transaction that deletes some events of a day by rule: the lake follows.
pub(super) async fn note_changed(transaction: &Transaction<'_>, day: Date) -> Result<(), RetentionError> {
    transaction.execute_typed(CHANGED, &[(&day.to_string(), Type::TEXT)]).await?;
    Ok(())
}

/// How many days are in the lake alone, of those in which a person may have been.
pub async fn days_alone(client: &ClientWrapper) -> Result<i64, RetentionError> {
    Ok(client.query_typed_one(ALONE, &[]).await?.try_get("days")?)
}

/// How many days the lake has otherwise than the database.
pub async fn days_behind(client: &ClientWrapper) -> Result<i64, RetentionError> {
    Ok(client.query_typed_one(BEHIND, &[]).await?.try_get("days")?)
}
