//! Forgetting a person: their rows go from the events, from every table in `analytics` that has their ids, out of the
//! quarantine and out of results that people keep; then all of it is counted again.
//!
//! ```text
//! who        all ids of the person (person.rs), kept in weir.forget_requests until it is done
//! delete     20,000 rows a transaction, which notes the hours for rollups in weir.touched
//! wait       until what collectors had accepted before is in the database (waiting.rs)
//! again      until a pass finds nothing; between events and other tables it lets rollups end that are being computed
//! count      every table; only 0 ends the request
//! ```
//!
//! Cut short, the same command goes on: the ids are known although the events that told of them are gone.

mod person;
mod quarantine;
mod results;
mod waiting;

use std::collections::BTreeMap;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::listing::{self, Leaf};
use super::{Attempts, RetentionError, begin, elect_soon, let_rollups_end};
use crate::database::Database;
pub use person::{Ids, Kind};
pub use waiting::Pending;

const TABLES: &str = include_str!("../sql/forget_tables.sql");
const DELETE_EVENTS: &str = include_str!("../sql/forget_events.sql");
const DELETE_ROWS: &str = include_str!("../sql/forget_rows.sql");
const COUNT: &str = include_str!("../sql/forget_count.sql");
const OPEN: &str = include_str!("../sql/forget_open.sql");
const REMEMBER: &str = "update weir.forget_requests set ids = $2 where id = $1";
const ADD: &str = "update weir.forget_requests set rows = rows + $2 where id = $1";
const CLOSE: &str = "update weir.forget_requests set finished_at = now(), person = null, ids = '{}' where id = $1 and finished_at is null";
/// One transaction.
const ROWS_AT_ONCE: i64 = 20_000;
/// A person who goes on sending finds an end nevertheless: what is left then is told.
const PASSES_MAX: u32 = 5;

/// Who is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub kind: Kind,
    pub id: String,
    /// Only their events of this source.
    pub source: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Visitors and users that the person was.
    pub ids: usize,
    /// Rows deleted, or for [`count`] found, by table; those without any are left out.
    pub rows: BTreeMap<String, i64>,
    /// Rows found by the count afterwards, by table: empty is the proof.
    pub left: BTreeMap<String, i64>,
    /// What collectors hold that is not yet in the database.
    pub pending: Vec<Pending>,
    /// What people wrote that has an id of the person's in it, how often.
    pub texts: BTreeMap<String, i64>,
}

/// A table with rows of persons.
struct Table {
    name: String,
    /// SQL that tells their rows.
    condition: String,
    kind: TableKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TableKind {
    Events,
    /// Of a rollup, or of whoever made it.
    Ordinary,
    Materialized,
}

/// Counts the person's rows, and changes nothing.
pub async fn count(database: &Database, request: &Request) -> Result<Forgotten, RetentionError> {
    let mut client = database.client().await?;
    let ids = person::ids(&mut client, request, Ids::of(request)).await?;
    let rows = counted(&mut client, request, &ids).await?;
    Ok(Forgotten { ids: ids.len(), rows, ..Forgotten::default() })
}

/// Removes the person, and counts again.
pub async fn forget(database: &Database, request: &Request) -> Result<Forgotten, RetentionError> {
    let mut guard = database.client().await?;
    // Nothing is detached or archived meanwhile: no row moves to where it was looked for before.
    let elected = elect_soon(&mut guard).await?;
    let mut client = database.client().await?;
    let open = client
        .query_typed_one(
            OPEN,
            &[(&request.kind.name(), Type::TEXT), (&request.id, Type::TEXT), (&request.source, Type::TEXT)],
        )
        .await?;
    let (id, known): (i64, Vec<String>) = (open.try_get("id")?, open.try_get("ids")?);
    let mut ids = Ids::of(request).with(known);
    let mut forgotten = Forgotten::default();
    for pass in 1..=PASSES_MAX {
        ids = person::ids(&mut client, request, ids).await?;
        client.execute_typed(REMEMBER, &[(&id, Type::INT8), (&ids.list(), Type::TEXT_ARRAY)]).await?;
        let mut gone = 0;
        let (events, others): (Vec<Table>, Vec<Table>) =
            tables(&client, request).await?.into_iter().partition(|table| table.kind == TableKind::Events);
        for table in &events {
            gone += empty(&mut client, id, request, &ids, table, &mut forgotten.rows).await?;
        }
        if pass > 1 {
            // A rollup that had read the person's rows before they went writes what it made of them into another table.
            let_rollups_end(&mut client).await?;
        }
        for table in &others {
            match empty(&mut client, id, request, &ids, table, &mut forgotten.rows).await {
                Ok(rows) => gone += rows,
                // A rollup that was filled is in its place now, or a table was dropped: what there is now, the next pass sees.
                Err(error) if error.has_state(&[SqlState::UNDEFINED_TABLE]) => gone += 1,
                Err(error) => return Err(error),
            }
        }
        for (table, rows) in [
            (quarantine::TABLE, quarantine::empty(&mut client, request, &ids).await?),
            (results::TABLE, results::empty(&mut client, request, &ids).await?),
        ] {
            if rows > 0 {
                *forgotten.rows.entry(table.to_owned()).or_default() += rows;
                client.execute_typed(ADD, &[(&id, Type::INT8), (&rows, Type::INT8)]).await?;
            }
            gone += rows;
        }
        if pass == 1 {
            forgotten.pending = waiting::until_arrived(&client).await?;
            database.events_are_committed(&**client).await?;
        } else if gone == 0 {
            break;
        }
    }
    forgotten.ids = ids.len();
    forgotten.texts = results::texts(&client, &ids).await?;
    forgotten.left = counted(&mut client, request, &ids).await?;
    if forgotten.left.is_empty() {
        client.execute_typed(CLOSE, &[(&id, Type::INT8)]).await?;
    }
    // Nothing was written in it: its end gives up the lock.
    let _ = elected.rollback().await;
    Ok(forgotten)
}

/// Every table with rows of persons, but the quarantine.
async fn tables(client: &ClientWrapper, request: &Request) -> Result<Vec<Table>, RetentionError> {
    let events = |leaf: Leaf| Table {
        name: leaf.name,
        condition: request.kind.condition(true, true, true).unwrap_or_default(),
        kind: TableKind::Events,
    };
    let mut tables: Vec<Table> = listing::leaves(client, false).await?.into_iter().map(events).collect();
    for row in client.query_typed(TABLES, &[]).await? {
        let is_materialized: bool = row.try_get("materialized")?;
        let kind = if is_materialized { TableKind::Materialized } else { TableKind::Ordinary };
        let condition =
            request.kind.condition(row.try_get("visitors")?, row.try_get("users")?, row.try_get("sources")?);
        if let Some(condition) = condition {
            tables.push(Table { name: row.try_get("name")?, condition, kind });
        }
    }
    Ok(tables)
}

/// Deletes the person's rows of one table; returns how many they were.
async fn empty(
    client: &mut ClientWrapper,
    id: i64,
    request: &Request,
    ids: &Ids,
    table: &Table,
    told: &mut BTreeMap<String, i64>,
) -> Result<i64, RetentionError> {
    let mut attempts = Attempts::default();
    let mut sum = 0;
    loop {
        let lot = match table.kind {
            TableKind::Materialized => refresh(client, request, ids, table).await,
            TableKind::Events | TableKind::Ordinary => delete(client, id, request, ids, table).await,
        };
        match lot {
            Ok(rows) => {
                sum += rows;
                if rows > 0 {
                    *told.entry(table.name.clone()).or_default() += rows;
                }
                if rows < ROWS_AT_ONCE || table.kind == TableKind::Materialized {
                    return Ok(sum);
                }
            }
            // A rollup that is being computed holds its rows until it is done.
            Err(error) => attempts.pause(&table.name, error).await?,
        }
    }
}

/// One lot.
async fn delete(
    client: &mut ClientWrapper,
    id: i64,
    request: &Request,
    ids: &Ids,
    table: &Table,
) -> Result<i64, RetentionError> {
    let sql = if table.kind == TableKind::Events { DELETE_EVENTS } else { DELETE_ROWS };
    let sql = sql.replace("{table}", &table.name).replace("{person}", &table.condition);
    let transaction = begin(client).await?;
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&ids.list(), Type::TEXT_ARRAY), (&request.source, Type::TEXT), (&ROWS_AT_ONCE, Type::INT8)];
    let rows: i64 = transaction.query_typed_one(&sql, &parameters).await?.try_get("rows")?;
    if rows > 0 {
        transaction.execute_typed(ADD, &[(&id, Type::INT8), (&rows, Type::INT8)]).await?;
    }
    transaction.commit().await?;
    Ok(rows)
}

/// A materialized view cannot lose single rows: it is computed anew, if it has any of the person's.
async fn refresh(
    client: &mut ClientWrapper,
    request: &Request,
    ids: &Ids,
    table: &Table,
) -> Result<i64, RetentionError> {
    let rows = count_one(client, request, ids, table).await?;
    if rows > 0 {
        let transaction = begin(client).await?;
        transaction.batch_execute(&format!("refresh materialized view {}", table.name)).await?;
        transaction.commit().await?;
    }
    Ok(rows)
}

async fn counted(
    client: &mut ClientWrapper,
    request: &Request,
    ids: &Ids,
) -> Result<BTreeMap<String, i64>, RetentionError> {
    let mut counted = BTreeMap::new();
    for table in tables(client, request).await? {
        let mut attempts = Attempts::default();
        let rows = loop {
            match count_one(client, request, ids, &table).await {
                Ok(rows) => break rows,
                // Counted too early: a rollup that was filled takes its place.
                Err(error) if error.has_state(&[SqlState::UNDEFINED_TABLE]) => {
                    return Err(RetentionError::Moved { table: table.name });
                }
                Err(error) => attempts.pause(&table.name, error).await?,
            }
        };
        counted.insert(table.name, rows);
    }
    counted.insert(quarantine::TABLE.to_owned(), quarantine::count(client, request, ids).await?);
    counted.insert(results::TABLE.to_owned(), results::count(client, request, ids).await?);
    counted.retain(|_, rows| *rows > 0);
    Ok(counted)
}

async fn count_one(
    client: &mut ClientWrapper,
    request: &Request,
    ids: &Ids,
    table: &Table,
) -> Result<i64, RetentionError> {
    let sql = COUNT.replace("{table}", &table.name).replace("{person}", &table.condition);
    let transaction = begin(client).await?;
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&ids.list(), Type::TEXT_ARRAY), (&request.source, Type::TEXT)];
    Ok(transaction.query_typed_one(&sql, &parameters).await?.try_get("rows")?)
}
