//! Results in `console.results`.

use std::collections::BTreeMap;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::console::run::execute::Outcome;
use crate::console::run::history::as_json;
use crate::console::run::rows::Column;
use crate::console::run::runs::AskedQuery;
use crate::database::{Database, DatabaseError};

/// How long a result stays that nobody has chosen to keep.
pub const PRIVATE_DAYS: i32 = 30;
/// As that, of a query whose results colleagues see.
pub const SHARED_BY_QUERY_DAYS: i32 = 90;
/// What one person's results that nobody keeps may take, compressed: then the oldest of them go.
const PERSON_BYTES_MAX: i64 = 1024 * 1024 * 1024;
/// What of one person's is kept for good may take: more is refused.
const PERSON_KEPT_BYTES_MAX: i64 = 5 * 1024 * 1024 * 1024;

/// What a result is of.
pub struct Made<'a> {
    pub id: &'a str,
    pub run_id: &'a str,
    pub role: &'a str,
    pub query: Option<&'a AskedQuery>,
    pub sql: &'a str,
    pub parameters: &'a BTreeMap<String, String>,
}

const INSERT: &str = include_str!("../sql/result_insert.sql");
const MAKE_ROOM: &str = include_str!("../sql/results_make_room.sql");
const LOOK: &str = include_str!("../sql/result_look.sql");
const LIST: &str = include_str!("../sql/results_list.sql");

/// Keeps what a statement came to.
pub async fn keep(database: &Database, made: &Made<'_>, outcome: &Outcome) -> Result<(), DatabaseError> {
    let rows = &outcome.rows;
    let columns = serde_json::to_string(&rows.columns).unwrap_or_else(|_| "[]".to_owned()).replace("\\u0000", "");
    let parameters = as_json(made.parameters);
    let query_id = made.query.map(|query| query.id);
    let version = made.query.map(|query| query.version);
    let title = made.query.map_or("", |query| query.title.as_str());
    let chart = made.query.and_then(|query| query.chart.as_deref());
    let is_shared = made.query.is_some_and(|query| query.shares_results);
    let visibility = if is_shared { "colleagues" } else { "private" };
    let days = if is_shared { SHARED_BY_QUERY_DAYS } else { PRIVATE_DAYS };
    let (row_count, byte_count) = (rows.row_count as i64, rows.byte_count as i64);
    let age_ms = outcome.began.elapsed().as_secs_f64() * 1_000.0;
    let values: [(&(dyn ToSql + Sync), Type); 17] = [
        (&made.id, Type::TEXT),
        (&made.run_id, Type::TEXT),
        (&made.role, Type::TEXT),
        (&query_id, Type::INT8),
        (&version, Type::INT4),
        (&title, Type::TEXT),
        (&made.sql, Type::TEXT),
        (&parameters, Type::TEXT),
        (&chart, Type::TEXT),
        (&outcome.duration_ms, Type::FLOAT8),
        (&age_ms, Type::FLOAT8),
        (&columns, Type::TEXT),
        (&row_count, Type::INT8),
        (&byte_count, Type::INT8),
        (&rows.cut, Type::TEXT),
        (&rows.packed, Type::BYTEA),
        (&visibility, Type::TEXT),
    ];
    let client = database.client().await?;
    let values: Vec<(&(dyn ToSql + Sync), Type)> = values.into_iter().chain([(&days as _, Type::INT4)]).collect();
    client.execute_typed(INSERT, &values).await?;
    let room: [(&(dyn ToSql + Sync), Type); 2] = [(&made.role, Type::TEXT), (&PERSON_BYTES_MAX, Type::INT8)];
    client.execute_typed(MAKE_ROOM, &room).await?;
    Ok(())
}

/// A result, without its rows.
#[derive(Debug, Clone)]
pub struct Kept {
    pub id: String,
    pub role: String,
    pub query: Option<(String, Option<i32>)>,
    pub title: String,
    pub sql: String,
    pub parameters: BTreeMap<String, String>,
    pub chart: Option<String>,
    /// RFC 3339.
    pub started_at: String,
    pub duration_ms: f64,
    pub columns: Vec<Column>,
    pub row_count: i64,
    pub byte_count: i64,
    pub cut: Option<String>,
    pub is_shared: bool,
    pub link_key: Option<String>,
    /// A day; absent: never.
    pub expires_at: Option<String>,
}

impl Kept {
    fn of(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let parsed = |text: &str| serde_json::from_str(text).unwrap_or_default();
        let slug: Option<String> = row.try_get(2)?;
        let version = row.try_get(3)?;
        let columns: &str = row.try_get(10)?;
        Ok(Self {
            id: row.try_get(0)?,
            role: row.try_get(1)?,
            query: slug.map(|slug| (slug, version)),
            title: row.try_get(4)?,
            sql: row.try_get(5)?,
            parameters: parsed(row.try_get(6)?),
            chart: row.try_get(7)?,
            started_at: row.try_get(8)?,
            duration_ms: row.try_get(9)?,
            columns: serde_json::from_str(columns).unwrap_or_default(),
            row_count: row.try_get(11)?,
            byte_count: row.try_get(12)?,
            cut: row.try_get(13)?,
            is_shared: row.try_get(14)?,
            link_key: row.try_get(15)?,
            expires_at: row.try_get(16)?,
        })
    }

    /// Whether `role` may see it.
    pub fn is_for(&self, role: &str) -> bool {
        self.is_shared || self.role == role
    }
}

/// The result `id`, if there is one.
pub async fn look(database: &Database, id: &str) -> Result<Option<Kept>, DatabaseError> {
    let client = database.client().await?;
    let rows = client.query_typed(LOOK, &[(&id, Type::TEXT)]).await?;
    Ok(rows.first().map(Kept::of).transpose()?)
}

/// The newest result of a query that `role` may see, with just these parameters or any.
pub async fn newest(
    database: &Database,
    query_id: i64,
    role: &str,
    parameters: Option<&BTreeMap<String, String>>,
) -> Result<Option<Kept>, DatabaseError> {
    let sql = "select result_id from console.results
                where query_id = $1 and (visibility <> 'private' or role = $2) and ($3::text is null or parameters = $3::text::jsonb)
                order by started_at desc limit 1";
    let parameters = parameters.map(as_json);
    let values: [(&(dyn ToSql + Sync), Type); 3] =
        [(&query_id, Type::INT8), (&role, Type::TEXT), (&parameters, Type::TEXT)];
    let rows = database.client().await?.query_typed(sql, &values).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    look(database, row.try_get(0)?).await
}

/// Which results a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Mine,
    Shared,
}

/// Those that `role` may see, the newest first.
pub async fn list(database: &Database, role: &str, whose: Whose) -> Result<Vec<Kept>, DatabaseError> {
    let is_mine = whose == Whose::Mine;
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&role, Type::TEXT), (&is_mine, Type::BOOL)];
    let rows = database.client().await?.query_typed(LIST, &values).await?;
    Ok(rows.iter().map(Kept::of).collect::<Result<_, _>>()?)
}

/// The rows as they are kept.
pub async fn rows(database: &Database, id: &str) -> Result<Vec<u8>, DatabaseError> {
    let sql = "select rows from console.results where result_id = $1";
    let rows = database.client().await?.query_typed(sql, &[(&id, Type::TEXT)]).await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
}

/// Whether what is kept for good of this person's leaves room for more.
pub async fn has_room(database: &Database, role: &str) -> Result<bool, DatabaseError> {
    let sql = "select coalesce(sum(octet_length(rows)), 0)::bigint < $2 from console.results where role = $1 and expires_at is null";
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&role, Type::TEXT), (&PERSON_KEPT_BYTES_MAX, Type::INT8)];
    Ok(database.client().await?.query_typed_one(sql, &values).await?.try_get(0)?)
}

/// Lets colleagues see it, and keeps it for good; or for nobody else.
pub async fn share(database: &Database, id: &str, is_shared: bool) -> Result<(), DatabaseError> {
    let sql = "update console.results
                  set visibility = case when $2 then 'colleagues' else 'private' end,
                      link_key = case when $2 then link_key end,
                      expires_at = case when not $2 then now() + $3 * interval '1 day' end
                where result_id = $1 and visibility <> case when $2 then 'colleagues' else 'private' end";
    let values: [(&(dyn ToSql + Sync), Type); 3] =
        [(&id, Type::TEXT), (&is_shared, Type::BOOL), (&f64::from(PRIVATE_DAYS), Type::FLOAT8)];
    database.client().await?.execute_typed(sql, &values).await?;
    Ok(())
}

/// Keeps it for good, whoever may see it.
pub async fn pin(database: &Database, id: &str) -> Result<(), DatabaseError> {
    let sql = "update console.results set expires_at = null where result_id = $1";
    database.client().await?.execute_typed(sql, &[(&id, Type::TEXT)]).await?;
    Ok(())
}

/// Sets or removes what a secret link to it has to show.
pub async fn set_link(database: &Database, id: &str, key: Option<&str>) -> Result<(), DatabaseError> {
    let sql = "update console.results set link_key = $2, expires_at = case when $2 is null then expires_at end where result_id = $1";
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&id, Type::TEXT), (&key, Type::TEXT)];
    database.client().await?.execute_typed(sql, &values).await?;
    Ok(())
}

/// The newest result of a query that its owner has made.
pub async fn newest_of_owner(database: &Database, query_id: i64) -> Result<Option<Kept>, DatabaseError> {
    let sql = "select r.result_id from console.results r join console.queries q using (query_id, role)
                where r.query_id = $1 order by r.started_at desc limit 1";
    let rows = database.client().await?.query_typed(sql, &[(&query_id, Type::INT8)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    look(database, row.try_get(0)?).await
}

/// Gives a new query of `role`'s the results that its text had before it was saved.
pub async fn adopt(database: &Database, role: &str, slug: &str) -> Result<(), DatabaseError> {
    let sql = "update console.results r set query_id = q.query_id, title = q.title
                 from console.queries q join console.query_versions v using (query_id, version)
                where q.slug = $2 and r.role = $1 and r.query_id is null and r.sql = v.sql and r.started_at > now() - interval '1 day'";
    database.client().await?.execute_typed(sql, &[(&role, Type::TEXT), (&slug, Type::TEXT)]).await?;
    Ok(())
}

/// Removes it.
pub async fn remove(database: &Database, id: &str) -> Result<(), DatabaseError> {
    let sql = "delete from console.results where result_id = $1";
    database.client().await?.execute_typed(sql, &[(&id, Type::TEXT)]).await?;
    Ok(())
}
