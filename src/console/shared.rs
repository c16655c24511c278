//! Answers that are the same for all who look, and that the database gives as JSON.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::sync::Mutex;
use tokio_postgres::types::{ToSql, Type};

use super::Console;
use super::error::ConsoleError;

/// How old an answer may be.
const AGE_MAX: Duration = Duration::from_millis(900);

/// The latest answer.
#[derive(Default)]
pub struct Latest(Mutex<Option<(Instant, Arc<str>)>>);

impl Latest {
    /// The latest answer, or a new one by `ask`.
    pub async fn get(&self, ask: impl Future<Output = Result<String, ConsoleError>>) -> Result<Response, ConsoleError> {
        // Held while the database is asked: others wait for this answer instead of asking, too.
        let mut latest = self.0.lock().await;
        let known = latest.as_ref().filter(|(at, _)| at.elapsed() < AGE_MAX).map(|(_, json)| Arc::clone(json));
        let json = if let Some(json) = known {
            json
        } else {
            let json: Arc<str> = ask.await?.into();
            *latest = Some((Instant::now(), Arc::clone(&json)));
            json
        };
        drop(latest);
        Ok(answer(json.to_string()))
    }
}

/// JSON that is written already.
pub fn answer(json: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json).into_response()
}

/// The one value of a statement that only reads, for so long.
pub async fn read(
    console: &Console,
    sql: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
    timeout_ms: u32,
) -> Result<String, ConsoleError> {
    let mut client = console.database.client().await?;
    let transaction = client.build_transaction().read_only(true).start().await?;
    transaction.batch_execute(&format!("set local statement_timeout = {timeout_ms}")).await?;
    let json = transaction.query_typed_one(sql, parameters).await?.try_get(0)?;
    transaction.commit().await?;
    Ok(json)
}
