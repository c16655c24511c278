//! Whether each source's events arrive. All who look get the same answer, computed once.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use tokio_postgres::types::{ToSql, Type};

use super::sources::SOURCES_SHOWN;
use crate::console::auth::guard::Person;
use crate::console::error::ConsoleError;
use crate::console::{Console, shared};

/// Newest rows that are read: some milliseconds' work.
const ROWS_MAX: i64 = 20_000;
const TIMEOUT_MS: u32 = 2_000;

const ARRIVING: &str = include_str!("sql/arriving.sql");

/// `GET /operate/sources/data`.
pub async fn data(State(console): State<Arc<Console>>, Person(_): Person) -> Result<Response, ConsoleError> {
    console.operating.arriving.get(ask(&console)).await
}

async fn ask(console: &Console) -> Result<String, ConsoleError> {
    let sources_max = SOURCES_SHOWN as i64;
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&ROWS_MAX, Type::INT8), (&sources_max, Type::INT8)];
    let sources = shared::read(console, ARRIVING, &parameters, TIMEOUT_MS).await?;
    Ok(format!(r#"{{"now_ms":{},"sources":{sources}}}"#, console.clock.now().as_millisecond()))
}
