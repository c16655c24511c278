//! What a person may read, for the editor: tables, columns, comments, sizes.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::auth::guard::Person;
use super::error::ConsoleError;
use super::{Console, shared};

const TIMEOUT_MS: u32 = 10_000;
const SCHEMA: &str = include_str!("sql/schema.sql");

/// `GET /sql/schema`: asked as that person, so it holds what they may read and nothing else.
pub async fn show(State(console): State<Arc<Console>>, Person(person): Person) -> Result<Response, ConsoleError> {
    let login = console.logins.connect(&person.role, &person.password).await?;
    login.client.batch_execute(&format!("begin read only; set local statement_timeout = {TIMEOUT_MS}")).await?;
    let row = login.client.query_typed_one(SCHEMA, &[]).await?;
    let json: String = row.try_get(0)?;
    login.client.batch_execute("commit").await?;
    login.close().await;
    Ok(shared::answer(json))
}
