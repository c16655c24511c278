//! Whether the database has a lake: one row of `weir.lake`, from the first program with `lake.url` on until `weir lake stop`.
//! Retention goes by it, also where its own settings name no lake.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::LakeError;
use crate::database::Database;

const NOTE: &str =
    "insert into weir.lake (url) values ($1) on conflict (is_only) do update set url = excluded.url, seen_at = now()";
const READ: &str = include_str!("sql/in_use.sql");
const STOP: &str = include_str!("sql/in_use_stop.sql");

/// A lake that is in use.
#[derive(Debug, Clone, PartialEq)]
pub struct InUse {
    /// Empty: it is from before this was written down, and nobody has exported since.
    pub url: String,
    pub since: String,
    /// Since somebody with `lake.url` was at work.
    pub silent_s: f64,
}

impl InUse {
    /// For people.
    pub fn name(&self) -> &str {
        if self.url.is_empty() { "one from before weir noted its URL" } else { &self.url }
    }

    fn of(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self { url: row.try_get("url")?, since: row.try_get("since")?, silent_s: row.try_get("silent_s")? })
    }
}

/// Says that there is one. Before anything is tried with it: a store that cannot be reached is waited for, too.
pub async fn note(database: &Database, url: &str) -> Result<(), LakeError> {
    database.client().await?.execute_typed(NOTE, &[(&url, Type::TEXT)]).await?;
    Ok(())
}

pub async fn read(client: &ClientWrapper) -> Result<Option<InUse>, tokio_postgres::Error> {
    client.query_typed_opt(READ, &[]).await?.as_ref().map(InUse::of).transpose()
}

/// Says that there is none any more; returns the one that there was. Its books stay: should it come back, it goes on with them.
pub async fn stop(client: &ClientWrapper) -> Result<Option<InUse>, tokio_postgres::Error> {
    client.query_typed_opt(STOP, &[]).await?.as_ref().map(InUse::of).transpose()
}
