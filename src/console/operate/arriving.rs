//! Whether each source's events arrive. All who look get the same answer, computed once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::sync::Mutex;
use tokio_postgres::types::Type;

use super::sources::SOURCES_SHOWN;
use crate::console::Console;
use crate::console::auth::guard::Person;
use crate::console::error::ConsoleError;

/// How old an answer may be.
const AGE_MAX: Duration = Duration::from_millis(900);
/// Newest rows that are read: some milliseconds' work.
const ROWS_MAX: i64 = 20_000;
const TIMEOUT_MS: u32 = 2_000;

const ARRIVING: &str = include_str!("sql/arriving.sql");

/// The latest answer.
#[derive(Default)]
pub struct Arriving(Mutex<Option<(Instant, Arc<str>)>>);

/// `GET /operate/sources/data`.
pub async fn data(State(console): State<Arc<Console>>, Person(_): Person) -> Result<Response, ConsoleError> {
    // Held while the database is asked: others wait for this answer instead of asking, too.
    let mut latest = console.operating.arriving.0.lock().await;
    let known = latest.as_ref().filter(|(at, _)| at.elapsed() < AGE_MAX).map(|(_, json)| Arc::clone(json));
    let json = if let Some(json) = known {
        json
    } else {
        let json: Arc<str> = ask(&console).await?.into();
        *latest = Some((Instant::now(), Arc::clone(&json)));
        json
    };
    drop(latest);
    Ok(([(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response())
}

async fn ask(console: &Console) -> Result<String, ConsoleError> {
    let mut client = console.database.client().await?;
    let transaction = client.build_transaction().read_only(true).start().await?;
    transaction.batch_execute(&format!("set local statement_timeout = {TIMEOUT_MS}")).await?;
    let sources: String = transaction
        .query_typed_one(ARRIVING, &[(&ROWS_MAX, Type::INT8), (&(SOURCES_SHOWN as i64), Type::INT8)])
        .await?
        .try_get(0)?;
    transaction.commit().await?;
    Ok(format!(r#"{{"now_ms":{},"sources":{sources}}}"#, console.clock.now().as_millisecond()))
}
