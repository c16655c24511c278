//! Advisory locks, by which processes agree on who does what.
//!
//! They are those of transactions: a session's lock would be left behind on a stranger's connection by PgBouncer. The numbers
//! stand where they are used, each a word in ASCII, so that no two are equal.

use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Transaction};
use tokio::time::Instant;
use tokio_postgres::Error;
use tokio_postgres::types::Type;

/// How often somebody who waits asks again.
const POLL: Duration = Duration::from_millis(250);

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

/// As [`elect`], for somebody who waits for another's work to end, `patience` long. It asks again and again: a statement that
/// waits would hold a snapshot, for which others may wait.
pub async fn elect_within(
    client: &mut ClientWrapper,
    lock: i64,
    patience: Duration,
) -> Result<Option<Transaction<'_>>, Error> {
    let transaction = holder(client).await?;
    let started = Instant::now();
    while !try_take(&transaction, lock).await? {
        if started.elapsed() >= patience {
            return Ok(None);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(Some(transaction))
}
