//! Statements on a person's own connection, and what they came to.

use std::pin::pin;
use std::time::Instant;

use futures_util::TryStreamExt;
use serde::Serialize;
use tokio_postgres::error::{DbError, ErrorPosition, SqlState};
use tokio_postgres::{Client, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;

use super::rows::{Column, Most, Packer, Rows};
use super::statements::Statement;
use crate::database::DatabaseError;
use crate::database::login::Login;

/// Of one run: each is kept.
const RESULTS_MAX: usize = 20;
/// Of each text of an error: whoever raises a longer one wants no reader.
const TOLD_CHARS_MAX: usize = 4_000;

/// One statement's rows.
#[derive(Debug)]
pub struct Outcome {
    pub rows: Rows,
    pub began: Instant,
    pub duration_ms: f64,
}

/// All that a run came to.
#[derive(Debug, Default)]
pub struct Outcomes {
    pub results: Vec<Outcome>,
    /// Of statements that give no rows.
    pub messages: Vec<String>,
    /// What ended it early.
    pub failure: Option<Failure>,
}

/// What went wrong with a statement, as `PostgreSQL` says it.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub sqlstate: Option<String>,
    /// The character of the whole text that is meant, from 1.
    pub position: Option<usize>,
    /// The statement, where there are several.
    pub statement: Option<String>,
}

fn shortened(text: &str) -> String {
    let mut chars = text.chars();
    let short: String = chars.by_ref().take(TOLD_CHARS_MAX).collect();
    if chars.next().is_some() { short + "…" } else { short }
}

impl Failure {
    pub fn plain(message: impl AsRef<str>) -> Self {
        let message = shortened(message.as_ref());
        Self { message, detail: None, hint: None, sqlstate: None, position: None, statement: None }
    }

    fn of(error: tokio_postgres::Error, statement: &Statement) -> Self {
        let Some(told) = error.as_db_error() else {
            return Self::plain(DatabaseError::from(error).to_string());
        };
        Self {
            message: shortened(told.message()),
            detail: told.detail().map(shortened),
            hint: told.hint().map(shortened),
            sqlstate: Some(told.code().code().to_owned()),
            position: position(told).map(|position| statement.position(position)),
            statement: Some(statement.name.clone()),
        }
    }
}

fn position(error: &DbError) -> Option<usize> {
    match error.position()? {
        ErrorPosition::Original(position) => Some(*position as usize),
        // Within a function: not in this text.
        ErrorPosition::Internal { .. } => None,
    }
}

/// Runs one after the other, each in a transaction of its own, unless they say otherwise. What came before a failure, or
/// before `stop`, has happened, and is kept.
pub async fn all(login: &Login, statements: &[Statement], most: Most, stop: &CancellationToken) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for statement in statements {
        if stop.is_cancelled() {
            break;
        }
        // Within a transaction its end would undo what came before: only a statement that is alone may be ended early.
        let may_end_early = statements.len() == 1 && statement.is_plain_read;
        if let Err(failure) = one(login, statement, most, may_end_early, &mut outcomes).await {
            outcomes.failure = Some(failure);
            break;
        }
    }
    outcomes
}

/// Runs somebody else's query: one statement, which can only read, however it is written.
///
/// The transaction has a snapshot before the statement begins, after which `PostgreSQL` lets nobody make it writable. As a
/// prepared statement, what are two is refused by the server, whatever was taken for one here.
pub async fn read_only(login: &Login, statement: &Statement, most: Most, stop: &CancellationToken) -> Outcomes {
    if let Err(error) = login.client.batch_execute("begin read only; select").await {
        let failure = Some(Failure::plain(DatabaseError::from(error).to_string()));
        return Outcomes { failure, ..Outcomes::default() };
    }
    let outcomes = all(login, std::slice::from_ref(statement), most, stop).await;
    // Nothing was written, so nothing depends on it.
    let _ = login.client.batch_execute("rollback").await;
    outcomes
}

async fn one(
    login: &Login,
    statement: &Statement,
    most: Most,
    may_end_early: bool,
    outcomes: &mut Outcomes,
) -> Result<(), Failure> {
    let client = &login.client;
    let began = Instant::now();
    let columns = columns(client, statement).await?;
    let has_rows = !columns.is_empty();
    if has_rows && outcomes.results.len() == RESULTS_MAX {
        return Err(Failure::plain(format!("one run gives at most {RESULTS_MAX} results: run the rest by itself")));
    }
    let broken = |error: std::io::Error| Failure::plain(error.to_string());
    // All results of a run are in memory together.
    let used: u64 = outcomes.results.iter().map(|outcome| outcome.rows.byte_count).sum();
    let left = Most { bytes: most.bytes.saturating_sub(used), ..most };
    let mut packer = Packer::new(columns, left).map_err(broken)?;
    let mut affected = 0;
    let stream = client.simple_query_raw(&statement.text).await.map_err(|error| Failure::of(error, statement))?;
    let mut stream = pin!(stream);
    let mut is_ended_early = false;
    loop {
        match stream.try_next().await {
            Ok(Some(SimpleQueryMessage::Row(row))) => {
                packer.push((0..row.len()).map(|place| row.get(place))).map_err(broken)?;
                if packer.is_full() && may_end_early && !is_ended_early {
                    is_ended_early = true;
                    login.cancel().send().await.map_err(|error| Failure::plain(error.to_string()))?;
                }
            }
            Ok(Some(SimpleQueryMessage::CommandComplete(rows))) => affected = rows,
            Ok(Some(_)) => {}
            Ok(None) => break,
            // By us: what came before is what was wanted.
            Err(error) if is_ended_early && error.code() == Some(&SqlState::QUERY_CANCELED) => {
                packer.was_ended();
                break;
            }
            Err(error) => return Err(Failure::of(error, statement)),
        }
    }
    if has_rows {
        let rows = packer.finish().map_err(broken)?;
        outcomes.results.push(Outcome { rows, began, duration_ms: began.elapsed().as_secs_f64() * 1_000.0 });
    } else {
        let ms = began.elapsed().as_millis();
        let rows = if affected > 0 { format!(", {affected} rows") } else { String::new() };
        outcomes.messages.push(format!("{}{rows}, {ms} ms", statement.name));
    }
    Ok(())
}

/// What the statement's rows will be made of: the simple protocol, whose texts are kept, does not tell the types.
async fn columns(client: &Client, statement: &Statement) -> Result<Vec<Column>, Failure> {
    let prepared = client.prepare(&statement.text).await.map_err(|error| Failure::of(error, statement))?;
    if !prepared.params().is_empty() {
        return Err(Failure::plain("write {{name}} for a value: $1 has none here"));
    }
    let of = |column: &tokio_postgres::Column| Column {
        name: column.name().to_owned(),
        type_name: column.type_().name().to_owned(),
    };
    Ok(prepared.columns().iter().map(of).collect())
}
