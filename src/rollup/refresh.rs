//! A run of a materialized rollup: all of it, from PostgreSQL's own hands.

use deadpool_postgres::Object;
use tokio_postgres::types::Type;

use super::catalog::Known;
use super::{RollupError, begin};
use crate::database::Database;

/// See the same in [`super::recompute`].
const LOCK: &str = "select rollup_id from weir.rollups where rollup_id = $1 for no key update skip locked";

/// Computes it anew; with a `unique` header, readers do not wait. Returns how many rows it has.
pub async fn refresh(database: &Database, rollup: &Known) -> Result<u64, RollupError> {
    let mut client = Object::take(database.client().await?);
    let transaction = client.transaction().await?;
    begin(&transaction, database.statement_timeout().as_millis(), "UTC").await?;
    transaction.batch_execute("set local client_connection_check_interval = '5s'").await?;
    if transaction.query_typed_opt(LOCK, &[(&rollup.id, Type::INT8)]).await?.is_none() {
        return Err(RollupError::Busy(rollup.name.clone()));
    }
    let relation = rollup.relation();
    let sql = "select relispopulated from pg_class where oid = $1::text::regclass";
    let is_filled = transaction.query_typed_one(sql, &[(&relation, Type::TEXT)]).await?.try_get::<_, bool>(0)?;
    // What was never filled cannot be read meanwhile anyway.
    let how = if is_filled && !rollup.unique.is_empty() { "concurrently " } else { "" };
    transaction.batch_execute(&format!("refresh materialized view {how}{relation}")).await?;
    let rows = transaction.query_typed_one(&format!("select count(*) from {relation}"), &[]).await?;
    let rows = rows.try_get::<_, i64>(0)?.cast_unsigned();
    transaction.commit().await?;
    Ok(rows)
}
