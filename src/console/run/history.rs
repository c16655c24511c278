//! What was run, by whom, and how it ended.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio_postgres::types::{ToSql, Type};

use crate::database::{Database, DatabaseError};

/// What a person's page shows.
const SHOWN_RUNS: i64 = 200;

/// Why something runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Person,
    Schedule,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Schedule => "schedule",
        }
    }
}

/// What a run begins with.
pub struct Begun<'a> {
    pub id: &'a str,
    pub role: &'a str,
    pub kind: Kind,
    pub query_id: Option<i64>,
    pub sql: &'a str,
    pub parameters: &'a BTreeMap<String, String>,
}

/// Writes down that a run begins.
pub async fn begin(database: &Database, begun: &Begun<'_>) -> Result<(), DatabaseError> {
    let sql = "insert into console.runs (run_id, role, kind, query_id, sql, parameters)
               values ($1, $2, $3, $4, $5, $6::text::jsonb)";
    let kind = begun.kind.name();
    let parameters = as_json(begun.parameters);
    let values: [(&(dyn ToSql + Sync), Type); 6] = [
        (&begun.id, Type::TEXT),
        (&begun.role, Type::TEXT),
        (&kind, Type::TEXT),
        (&begun.query_id, Type::INT8),
        (&begun.sql, Type::TEXT),
        (&parameters, Type::TEXT),
    ];
    database.client().await?.execute_typed(sql, &values).await?;
    Ok(())
}

/// As jsonb takes it: without the zero bytes that no value can hold.
pub fn as_json(parameters: &BTreeMap<String, String>) -> String {
    serde_json::to_string(parameters).unwrap_or_else(|_| "{}".to_owned()).replace("\\u0000", "")
}

/// Writes down how it ended.
pub async fn end(
    database: &Database,
    id: &str,
    duration_ms: f64,
    state: &str,
    error: Option<&str>,
) -> Result<(), DatabaseError> {
    let sql = "update console.runs set duration_ms = $2, state = $3, error = $4 where run_id = $1";
    let values: [(&(dyn ToSql + Sync), Type); 4] =
        [(&id, Type::TEXT), (&duration_ms, Type::FLOAT8), (&state, Type::TEXT), (&error, Type::TEXT)];
    database.client().await?.execute_typed(sql, &values).await?;
    Ok(())
}

/// One run of a person's.
#[derive(Debug, Serialize)]
pub struct Past {
    sql: String,
    at: String,
    state: String,
    duration_ms: Option<f64>,
    error: Option<String>,
    result: Option<String>,
}

/// A person's latest runs, the newest first.
pub async fn of(database: &Database, role: &str) -> Result<Vec<Past>, DatabaseError> {
    let sql = "select r.sql, to_char(r.started_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), r.state, r.duration_ms, r.error,
                      (select result_id from console.results where run_id = r.run_id order by started_at limit 1)
                 from console.runs r where r.role = $1 order by r.started_at desc limit $2";
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&role, Type::TEXT), (&SHOWN_RUNS, Type::INT8)];
    let rows = database.client().await?.query_typed(sql, &values).await?;
    let past = |row: &tokio_postgres::Row| {
        Ok(Past {
            sql: row.try_get(0)?,
            at: row.try_get(1)?,
            state: row.try_get(2)?,
            duration_ms: row.try_get(3)?,
            error: row.try_get(4)?,
            result: row.try_get(5)?,
        })
    };
    rows.iter().map(past).collect::<Result<_, tokio_postgres::Error>>().map_err(DatabaseError::from)
}
