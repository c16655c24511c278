//! A relation that was built takes the place of the old one, in one transaction: readers see the one or the other.
//!
//! Views that depend on the old one are made again on the new one, with their owners, grants, indexes and comments; so are
//! the old one's own. Where that cannot be done, because a column they need is gone, say, nothing happens, and the old one
//! stays. Rows of buckets whose events retention has dropped are taken over from the old one, as far as columns are the same.

use deadpool_postgres::Transaction;
use tokio_postgres::types::Type;

use super::catalog::{self, Known};
use super::definition::Kind;
use super::plan::what;
use super::{RollupError, begin, quoted};
use crate::database::Database;
use crate::database::dependents::{self, Captured};

const COMMON_COLUMNS: &str = include_str!("sql/keep_frozen.sql");
const DEFAULT_GRANTS: &str = include_str!("sql/default_grants.sql");
const MARK_DOWNSTREAM: &str = include_str!("sql/mark_downstream.sql");

/// So much of a statement is told.
const STATEMENT_CHARS_MAX: usize = 200;

/// Indexes that a rollup gets from weir.
const OWN_INDEXES: &str = "^rollup_[0-9]+_";

/// Puts a relation that was built in place, if it is filled; returns whether it was.
pub async fn exchange(database: &Database, building: &Known) -> Result<bool, RollupError> {
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    begin(&transaction, database.statement_timeout().as_millis(), "UTC").await?;
    // As runs do first: neither of this one, nor of the one in place, is under way then.
    let lock = "select from weir.rollups where name = $1 for no key update";
    transaction.query_typed(lock, &[(&building.name, Type::TEXT)]).await?;
    let known = catalog::read(&*transaction).await?;
    // Changes since the filling may wait as they would in any live rollup.
    let is_filled = known.iter().any(|now| now.id == building.id && now.is_building && now.fill == 0);
    if is_filled {
        let live = known.iter().find(|known| known.name == building.name && !known.is_building);
        put_in_place(&transaction, &building.name, building.id, live).await?;
        transaction.commit().await?;
        tracing::info!(name = building.name, "a rebuilt rollup is in place");
    }
    Ok(is_filled)
}

/// Makes `weir.rollup_ID` the live relation of the name, in place of `live`.
pub(super) async fn put_in_place(
    transaction: &Transaction<'_>,
    name: &str,
    id: i64,
    live: Option<&Known>,
) -> Result<(), RollupError> {
    let known = catalog::read(&**transaction).await?;
    let Some(new) = known.iter().find(|known| known.id == id) else {
        return Err(RollupError::Missing(name.to_owned()));
    };
    let mut captured = Vec::new();
    let mut changed = None;
    if let Some(old) = live {
        if new.kind == Kind::Incremental && old.kind == Kind::Incremental {
            keep_frozen(transaction, old, new).await?;
        }
        changed = buckets_of(transaction, &[old, new]).await?;
        captured = capture(transaction, old, new.description.is_some()).await?;
        take_away(transaction, old, &captured).await?;
    }
    let (kind, built) = (what(new.kind), new.relation());
    transaction.batch_execute(&format!("alter {kind} {built} set schema analytics")).await?;
    let rename = format!("alter {kind} analytics.rollup_{id} rename to {}", quoted(name));
    transaction.batch_execute(&rename).await?;
    if live.is_none() {
        // Default privileges of a schema are for what is made there, and not for what comes from another one.
        let relation = format!("analytics.{}", quoted(name));
        for row in transaction.query_typed(DEFAULT_GRANTS, &[(&relation, Type::TEXT)]).await? {
            transaction.batch_execute(row.try_get(0)?).await?;
        }
    }
    for relation in &captured {
        for statement in relation.definition.iter().chain(&relation.after) {
            transaction.batch_execute(statement).await.map_err(|error| stuck(name, statement, error))?;
        }
    }
    // Last, because dispatch waits for these rows: what it marks meanwhile stays with the rollup, in whatever place.
    if let Some(old) = live {
        transaction.execute_typed("delete from weir.rollups where rollup_id = $1", &[(&old.id, Type::INT8)]).await?;
    }
    let is_live = "update weir.rollups set state = 'live' where rollup_id = $1";
    transaction.execute_typed(is_live, &[(&id, Type::INT8)]).await?;
    if let Some(changed) = changed {
        transaction.execute_typed(MARK_DOWNSTREAM, &[(&name, Type::TEXT), (&changed, Type::TIMESTAMPTZ_ARRAY)]).await?;
    }
    Ok(())
}

async fn capture(transaction: &Transaction<'_>, old: &Known, has_comment: bool) -> Result<Vec<Captured>, RollupError> {
    let captured = dependents::capture(transaction, &[old.relation()], has_comment, OWN_INDEXES).await?;
    if let Some(relation) = captured.iter().find(|relation| !relation.lost.is_empty()) {
        let reason = format!(
            "{} has what weir cannot make again ({}): drop that first",
            relation.name,
            relation.lost.join(", ")
        );
        return Err(RollupError::Stuck { name: old.name.clone(), reason });
    }
    Ok(captured)
}

/// Drops the old relation after all that depends on it.
async fn take_away(transaction: &Transaction<'_>, old: &Known, captured: &[Captured]) -> Result<(), RollupError> {
    for relation in captured.iter().rev().filter(|relation| relation.depth > 0) {
        let statement = format!("drop {} {}", relation.what, relation.name);
        transaction.batch_execute(&statement).await.map_err(|error| stuck(&old.name, &statement, error))?;
    }
    // Waits for a run that is under way.
    let statement = format!("drop {} {}", what(old.kind), old.relation());
    transaction.batch_execute(&statement).await.map_err(|error| stuck(&old.name, &statement, error))?;
    Ok(())
}

/// Copies rows of buckets that cannot be computed any more; those that were computed before stay as computed.
async fn keep_frozen(transaction: &Transaction<'_>, old: &Known, new: &Known) -> Result<(), RollupError> {
    let columns = transaction
        .query_typed(COMMON_COLUMNS, &[(&old.relation(), Type::TEXT), (&new.relation(), Type::TEXT)])
        .await?;
    let columns: Vec<String> = columns.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let columns = columns.join(", ");
    let sql = format!(
        "insert into {} ({columns}) select {columns} from {} old
          where (select reads_events from weir.rollups where rollup_id = $1)
            and bucket - (select look_back from weir.rollups where rollup_id = $1) < (select before from weir.frozen)
            and bucket >= coalesce(now() - (select keep::interval from weir.rollups where rollup_id = $1), '-infinity')
            and not exists (select from {} filled where filled.bucket = old.bucket)",
        new.relation(),
        old.relation(),
        new.relation()
    );
    let rows = transaction
        .execute_typed(&sql, &[(&new.id, Type::INT8)])
        .await
        .map_err(|error| stuck(&new.name, &sql, error))?;
    if rows > 0 {
        tracing::info!(name = new.name, rows, "rows of buckets whose events are gone were taken over as they are");
    }
    Ok(())
}

/// The buckets of both: what reads the one has to be computed again from the other.
async fn buckets_of(
    transaction: &Transaction<'_>,
    relations: &[&Known],
) -> Result<Option<Vec<std::time::SystemTime>>, RollupError> {
    if relations.iter().any(|known| known.kind != Kind::Incremental) {
        return Ok(None);
    }
    let parts: Vec<String> = relations.iter().map(|known| format!("select bucket from {}", known.relation())).collect();
    let sql = format!("select array_agg(bucket) from ({}) b", parts.join(" union "));
    Ok(transaction.query_typed_one(&sql, &[]).await?.try_get(0)?)
}

/// Why the old one stays. A lock that others hold is no reason for good.
fn stuck(name: &str, statement: &str, error: tokio_postgres::Error) -> RollupError {
    use tokio_postgres::error::SqlState;
    match error.as_db_error() {
        Some(refusal) if *refusal.code() != SqlState::LOCK_NOT_AVAILABLE => {
            let statement: String = statement.chars().take(STATEMENT_CHARS_MAX).collect();
            let reason =
                format!("`{statement}` is refused ({}): change what it is about, or drop that", refusal.message());
            RollupError::Stuck { name: name.to_owned(), reason }
        }
        _ => error.into(),
    }
}
