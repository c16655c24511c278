//! `/sql`: the editor, and the runs that it begins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query as Asked, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::Console;
use super::auth::guard::{Person, Signed};
use super::auth::session::Session;
use super::auth::sign_in::Empty;
use super::error::ConsoleError;
use super::queries::page::{Draft, editor};
use super::queries::store::{self as queries, Query};
use super::results::store as results;
use super::run::history::{self, Kind};
use super::run::runs::{Ask, AskedQuery, Run, State as RunState};
use super::run::statements::parameters;

/// Shorter than proxies wait.
const WAIT_MAX: Duration = Duration::from_secs(25);
const PARAMETERS_MAX: usize = 50;
use crate::receive::answer::json;

/// What the editor begins with.
#[derive(Deserialize)]
pub struct From {
    query: Option<String>,
    result: Option<String>,
}

/// `GET /sql`.
pub async fn show(
    State(console): State<Arc<Console>>,
    Person(person): Person,
    Asked(from): Asked<From>,
) -> Result<Response, ConsoleError> {
    let mut draft = Draft::default();
    if let Some(slug) = from.query {
        let query = queries::look(&console.database, &slug, None).await?.ok_or(ConsoleError::NotFound)?;
        draft = Draft {
            is_foreign: query.role != person.role,
            title: format!("{} (copy)", query.text.title),
            description: query.text.description,
            sql: query.text.sql,
            chart: query.text.chart,
            forked_from: Some(query.slug),
            ..Draft::default()
        };
    } else if let Some(id) = from.result {
        let kept = results::look(&console.database, &id).await?;
        let kept = kept.filter(|kept| kept.is_for(&person.role)).ok_or(ConsoleError::NotFound)?;
        let is_foreign = kept.role != person.role;
        draft = Draft { sql: kept.sql, chart: kept.chart, title: kept.title, is_foreign, ..Draft::default() };
    }
    Ok(editor(&draft, &person))
}

/// What is to be run.
#[derive(Deserialize)]
pub struct Begin {
    sql: String,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    /// The saved query whose page it comes from, unless the person has changed the text there.
    #[serde(default)]
    query: Option<String>,
    /// It is somebody else's text, or a part of one, as it was found.
    #[serde(default)]
    is_foreign: bool,
}

/// `POST /sql/runs`.
pub async fn begin(
    State(console): State<Arc<Console>>,
    Person(person): Person,
    Signed(asked): Signed<Begin>,
) -> Result<Response, ConsoleError> {
    if asked.parameters.len() > PARAMETERS_MAX {
        return Err(ConsoleError::BadRequest(format!("there are more than {PARAMETERS_MAX} parameters")));
    }
    let saved = match &asked.query {
        // One that is gone meanwhile is no reason to take its text for the person's own.
        Some(slug) => Some(queries::look(&console.database, slug, None).await?.ok_or(ConsoleError::NotFound)?),
        None => None,
    };
    let is_foreign = asked.is_foreign || saved.as_ref().is_some_and(|query| query.role != person.role);
    let saved = match saved {
        Some(query) => at_version(&console, query, &asked.sql).await?,
        None => None,
    };
    let named = parameters(&asked.sql);
    let parameters = asked.parameters.into_iter().filter(|(name, _)| named.contains(name)).collect();
    let ask = Ask {
        role: person.role.clone(),
        login: person.role.clone(),
        password: person.password.clone(),
        kind: Kind::Person,
        sql: asked.sql,
        parameters,
        query: saved.map(|query| asked_query(query, is_foreign)),
        is_foreign,
    };
    let run = console.runs.begin(&console.database, ask).await?;
    Ok(json(StatusCode::ACCEPTED, &serde_json::json!({ "run": run.id })))
}

fn asked_query(query: Query, is_foreign: bool) -> AskedQuery {
    AskedQuery {
        id: query.id,
        version: query.version,
        title: query.text.title,
        chart: query.text.chart,
        // What somebody else may read is not the owner's to show around.
        shares_results: query.text.shares_results && !is_foreign,
    }
}

/// The query at the version that has just this text: only then is a result one of the query's.
async fn at_version(console: &Console, query: Query, sql: &str) -> Result<Option<Query>, ConsoleError> {
    match queries::version_of(&console.database, &query.slug, sql).await? {
        Some(version) => Ok(queries::look(&console.database, &query.slug, Some(version)).await?),
        None => Ok(None),
    }
}

#[derive(Deserialize)]
pub struct Wait {
    /// Seconds.
    #[serde(default)]
    wait: u64,
}

fn find(console: &Console, id: &str, person: &Session) -> Result<Arc<Run>, ConsoleError> {
    console.runs.find(id, &person.role).ok_or(ConsoleError::NotFound)
}

/// `GET /sql/runs/ID?wait=20`.
pub async fn state(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    Person(person): Person,
    Asked(asked): Asked<Wait>,
) -> Result<Response, ConsoleError> {
    let run = find(&console, &id, &person)?;
    let state = run.state(Duration::from_secs(asked.wait).min(WAIT_MAX)).await;
    Ok(told(&run, &state))
}

fn told(run: &Run, state: &RunState) -> Response {
    let mut body = serde_json::to_value(state).unwrap_or_default();
    if let (RunState::Running { .. }, Some(body)) = (state, body.as_object_mut()) {
        body.insert("elapsed_ms".to_owned(), run.elapsed_ms().into());
    }
    json(StatusCode::OK, &body)
}

/// `POST /sql/runs/ID/cancel`.
pub async fn cancel(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    Person(person): Person,
    Signed(_): Signed<Empty>,
) -> Result<Response, ConsoleError> {
    let run = find(&console, &id, &person)?;
    run.cancel();
    let state = run.state(WAIT_MAX).await;
    Ok(told(&run, &state))
}

/// `GET /sql/history`.
pub async fn past(State(console): State<Arc<Console>>, Person(person): Person) -> Result<Response, ConsoleError> {
    let past = history::of(&console.database, &person.role).await?;
    Ok(json(StatusCode::OK, &past))
}
