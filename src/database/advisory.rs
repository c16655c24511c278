//! Advisory locks, by which processes agree on who does what.
//!
//! They are those of transactions: a session's lock would be left behind on a stranger's connection by PgBouncer. The numbers
//! stand where they are used, each a word in ASCII, so that no two are equal.

use deadpool_postgres::{ClientWrapper, Transaction};
use tokio_postgres::Error;
use tokio_postgres::types::Type;

/// Waits, for as long as the transaction's `lock_timeout` says, until nobody else has the lock.
pub async fn wait(transaction: &Transaction<'_>, lock: i64) -> Result<(), Error> {
    transaction.execute_typed("select pg_advisory_xact_lock($1)", &[(&lock, Type::INT8)]).await?;
    Ok(())
}

/// Takes the lock, unless somebody has it.
pub async fn try_take(transaction: &Transaction<'_>, lock: i64) -> Result<bool, Error> {
    let sql = "select pg_try_advisory_xact_lock($1)";
    transaction.query_typed_one(sql, &[(&lock, Type::INT8)]).await?.try_get(0)
}

/// A transaction that may do nothing but hold a lock for as long as it lives.
pub async fn holder(client: &mut ClientWrapper) -> Result<Transaction<'_>, Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute("set local idle_in_transaction_session_timeout = 0").await?;
    Ok(transaction)
}

/// Becomes the only process with that lock, for as long as the transaction lives. `None`: another one is.
pub async fn elect(client: &mut ClientWrapper, lock: i64) -> Result<Option<Transaction<'_>>, Error> {
    let transaction = holder(client).await?;
    let is_elected = try_take(&transaction, lock).await?;
    Ok(if is_elected { Some(transaction) } else { None })
}
