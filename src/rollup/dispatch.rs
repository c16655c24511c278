//! From hours that were touched to buckets that wait.

use deadpool_postgres::Transaction;
use tokio_postgres::types::Type;

use super::{RollupError, begin};
use crate::database::{Database, advisory};

const DISPATCH: &str = include_str!("sql/dispatch.sql");
const COMPACT: &str = include_str!("sql/touched_compact.sql");
/// Rows of `weir.touched` that may wait: some minutes of a busy collector's.
const UNDISPATCHED_MAX: i64 = 10_000;
/// Held while rollups are added, and while marks are made: what is touched meanwhile is either in the marks that a new
/// rollup begins with, or dispatched to it. "disp" in ASCII.
pub(crate) const DISPATCH_LOCK: i64 = 0x6469_7370;
/// Rows of `weir.touched` at once. A collector writes some tens a second.
const TOUCHED_MAX: i64 = 10_000;

/// Makes marks of all that is touched by now; returns how many.
pub async fn dispatch(database: &Database) -> Result<u64, RollupError> {
    let mut client = database.client().await?;
    let mut made = 0;
    loop {
        let transaction = client.transaction().await?;
        begin(&transaction, database.statement_timeout().as_millis(), "UTC").await?;
        lock(&transaction).await?;
        let row = transaction.query_typed_one(DISPATCH, &[(&TOUCHED_MAX, Type::INT8)]).await?;
        made += row.try_get::<_, i64>("made")?.cast_unsigned();
        // Marks are made of events that can be read.
        if row.try_get::<_, i64>("taken")? > 0 {
            database.events_are_committed(&*transaction).await?;
        }
        transaction.commit().await?;
        if row.try_get::<_, i64>("taken")? < TOUCHED_MAX {
            return Ok(made);
        }
    }
}

/// Nobody dispatches until the transaction ends. What is read by the statements after this includes all that was
/// dispatched before.
pub(super) async fn lock(transaction: &Transaction<'_>) -> Result<(), RollupError> {
    Ok(advisory::wait(transaction, DISPATCH_LOCK).await?)
}

/// Keeps `weir.touched` short where nobody dispatches for long.
pub async fn compact(database: &Database) -> Result<(), RollupError> {
    database.client().await?.execute_typed(COMPACT, &[(&UNDISPATCHED_MAX, Type::INT8)]).await?;
    Ok(())
}
