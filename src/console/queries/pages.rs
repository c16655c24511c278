//! `/q/SLUG` and the list of queries.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Path, Query as Asked, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Redirect, Response};
use maud::html;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::store::{self, Query, QueryError, Text};
use super::{page, schedule};
use crate::console::Console;
use crate::console::audit::{self, Action};
use crate::console::auth::guard::{Address, Person, Signed};
use crate::console::auth::session::{Session, secret};
use crate::console::auth::sign_in::Empty;
use crate::console::error::ConsoleError;
use crate::console::links;
use crate::console::page::parts::{Tone, badge, empty, table};
use crate::console::page::{Page, Section};
use crate::console::results;
use crate::receive::answer::json;

impl From<QueryError> for ConsoleError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Database(error) => Self::Database(error),
            other => Self::BadRequest(other.to_string()),
        }
    }
}

async fn find(console: &Console, slug: &str, version: Option<i32>) -> Result<Query, ConsoleError> {
    store::look(&console.database, slug, version).await?.ok_or(ConsoleError::NotFound)
}

async fn find_own(console: &Console, slug: &str, person: &Session) -> Result<Query, ConsoleError> {
    let query = find(console, slug, None).await?;
    if query.role == person.role {
        return Ok(query);
    }
    Err(ConsoleError::Forbidden(format!("this query is {}'s: fork it to change it", query.role)))
}

/// Which text of a query is shown; all else in the URL are values for its parameters.
#[derive(Deserialize)]
pub struct Which {
    version: Option<i32>,
}

/// `GET /q/SLUG`.
pub async fn show(
    State(console): State<Arc<Console>>,
    Path(slug): Path<String>,
    Asked(which): Asked<Which>,
    Person(person): Person,
    headers: HeaderMap,
) -> Result<Response, ConsoleError> {
    let query = find(&console, &slug, which.version).await?;
    let versions = store::versions(&console.database, query.id).await?;
    let newest = results::store::newest(&console.database, query.id, &person.role, None).await?;
    let newest = match newest {
        Some(kept) => {
            let rows = results::pages::first_rows(&console, &kept).await?;
            Some((kept, rows))
        }
        None => None,
    };
    Ok(page::query(&console, &query, &versions, newest.as_ref(), &person, &headers))
}

/// What a page sends of a query.
#[derive(Deserialize)]
pub struct Sent {
    #[serde(default)]
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    sql: String,
    #[serde(default)]
    chart: Option<Box<RawValue>>,
    #[serde(default)]
    shares_results: bool,
    /// Of which query this is a fork.
    #[serde(default)]
    forked_from: Option<String>,
}

impl Sent {
    fn text(&self) -> Text {
        let chart = self.chart.as_ref().map(|chart| chart.get()).filter(|chart| *chart != "null");
        Text {
            title: self.title.trim().to_owned(),
            description: self.description.trim().to_owned(),
            // As browsers give it back.
            sql: self.sql.replace("\r\n", "\n").replace('\r', "\n"),
            chart: chart.map(str::to_owned),
            shares_results: self.shares_results,
        }
    }
}

fn saved(slug: &str, version: i32) -> Response {
    let body = serde_json::json!({ "slug": slug, "version": version, "url": format!("/q/{slug}") });
    json(StatusCode::OK, &body)
}

/// `POST /queries`: a new one.
pub async fn add(
    State(console): State<Arc<Console>>,
    Person(person): Person,
    Address(ip): Address,
    Signed(sent): Signed<Sent>,
) -> Result<Response, ConsoleError> {
    let slug = store::add(&console.database, &person.role, &sent.text(), sent.forked_from.as_deref()).await?;
    // What it came to before it had a name.
    results::store::adopt(&console.database, &person.role, &slug).await?;
    audit::note(&console, &person.role, Some(ip), Action::SaveQuery, &format!("/q/{slug}")).await;
    Ok(saved(&slug, 1))
}

/// `POST /q/SLUG/versions`: another text for one's own.
pub async fn change(
    State(console): State<Arc<Console>>,
    Path(slug): Path<String>,
    Person(person): Person,
    Address(ip): Address,
    Signed(sent): Signed<Sent>,
) -> Result<Response, ConsoleError> {
    let query = find_own(&console, &slug, &person).await?;
    let version = store::change(&console.database, &query, &person.role, &sent.text()).await?;
    audit::note(&console, &person.role, Some(ip), Action::SaveQuery, &format!("/q/{slug} version {version}")).await;
    Ok(saved(&slug, version))
}

/// `POST /q/SLUG/delete`.
pub async fn delete(
    State(console): State<Arc<Console>>,
    Path(slug): Path<String>,
    Person(person): Person,
    Address(ip): Address,
    Signed(_): Signed<Empty>,
) -> Result<Redirect, ConsoleError> {
    let query = find_own(&console, &slug, &person).await?;
    store::remove(&console.database, query.id).await?;
    audit::note(&console, &person.role, Some(ip), Action::DeleteQuery, &format!("/q/{slug}")).await;
    Ok(Redirect::to("/queries"))
}

/// `POST /q/SLUG/link`: a new secret link to the newest result; the old one ends.
pub async fn make_link(
    State(console): State<Arc<Console>>,
    Path(slug): Path<String>,
    Person(person): Person,
    Address(ip): Address,
    Signed(_): Signed<Empty>,
) -> Result<Redirect, ConsoleError> {
    let key = secret(console.entropy.as_ref())?;
    change_link(&console, &slug, &person, ip, Some(&key)).await
}

/// `POST /q/SLUG/link/remove`.
pub async fn remove_link(
    State(console): State<Arc<Console>>,
    Path(slug): Path<String>,
    Person(person): Person,
    Address(ip): Address,
    Signed(_): Signed<Empty>,
) -> Result<Redirect, ConsoleError> {
    change_link(&console, &slug, &person, ip, None).await
}

async fn change_link(
    console: &Console,
    slug: &str,
    person: &Session,
    ip: IpAddr,
    key: Option<&str>,
) -> Result<Redirect, ConsoleError> {
    let query = find_own(console, slug, person).await?;
    store::set_link(&console.database, query.id, key).await?;
    let action = if key.is_some() { Action::MakeLink } else { Action::RemoveLink };
    audit::note(console, &person.role, Some(ip), action, &format!("/q/{slug}")).await;
    Ok(Redirect::to(&format!("/q/{slug}")))
}

/// `GET /linked/q/SLUG.csv?key=KEY`: what the query last came to when its owner, or its schedule, ran it.
pub async fn linked(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    Asked(shown): Asked<results::pages::Key>,
) -> Result<Response, ConsoleError> {
    let slug = name.strip_suffix(".csv").ok_or(ConsoleError::NotFound)?;
    let query = find(&console, slug, None).await?;
    if !links::is_key(query.link_key.as_deref(), &shown.key) {
        return Err(ConsoleError::NotFound);
    }
    let newest = results::store::newest_of_owner(&console.database, query.id).await?;
    results::pages::check_owner(&console, &query.role).await?;
    results::pages::file(&console, newest.ok_or(ConsoleError::NotFound)?, "csv", false).await
}

#[derive(Deserialize)]
pub struct Every {
    #[serde(default)]
    every: String,
}

/// `POST /q/SLUG/schedule`.
pub async fn set_schedule(
    State(console): State<Arc<Console>>,
    Path(slug): Path<String>,
    Person(person): Person,
    Address(ip): Address,
    Signed(wanted): Signed<Every>,
) -> Result<Redirect, ConsoleError> {
    let query = find_own(&console, &slug, &person).await?;
    schedule::set(&console, &query, wanted.every.trim()).await?;
    audit::note(&console, &person.role, Some(ip), Action::Schedule, &format!("/q/{slug} {}", wanted.every)).await;
    Ok(Redirect::to(&format!("/q/{slug}")))
}

/// Which queries are listed.
#[derive(Deserialize)]
pub struct Of {
    #[serde(default)]
    of: String,
    #[serde(default)]
    q: String,
}

/// `GET /queries`.
pub async fn list(
    State(console): State<Arc<Console>>,
    Person(person): Person,
    Asked(asked): Asked<Of>,
) -> Result<Response, ConsoleError> {
    let is_mine = asked.of == "mine";
    let listed = store::list(&console.database, is_mine.then_some(person.role.as_str()), &asked.q).await?;
    let heads = [("Query", ""), ("By", ""), ("Runs", ""), ("Latest result", ""), ("Changed", "number")];
    let rows = listed.iter().map(|query| {
        vec![
            html! { a href={ "/q/" (query.slug) } { strong { (query.title) } } p class="quiet" { (query.description) } },
            html! { (query.role) },
            html! { (schedule::spoken(query.cron.as_deref())) @if query.is_failing { " " (badge(Tone::Bad, "failed")) } },
            html! { @match &query.latest_at { Some(at) => (at), None => span class="quiet" { "none" } } },
            html! { span class="nowrap" { (query.changed_at) } },
        ]
    });
    let current = |is: bool| is.then_some("true");
    let main = html! {
        div class="head" { h1 { "Queries" } a class="button primary" href="/sql" { "New query" } }
        nav class="tabs" aria-label="Queries and results" {
            a href="/queries" aria-current="page" { "Saved queries" }
            a href="/results" { "Results" }
        }
        form class="filters" method="get" action="/queries" role="search" {
            div class="segments" role="group" aria-label="Whose" {
                a href="/queries?of=mine" aria-current=[current(is_mine)] { "Mine" }
                a href="/queries" aria-current=[current(!is_mine)] { "Everyone's" }
            }
            @if is_mine { input type="hidden" name="of" value="mine"; }
            label class="hidden-visually" for="search" { "Find a query" }
            input class="search" #search name="q" type="search" value=(asked.q) placeholder="Title, description or SQL" data-search;
            button { "Find" }
        }
        @if !listed.is_empty() {
            section class="card flush" { (table("Saved queries", &heads, rows)) }
        } @else if !asked.q.is_empty() {
            (empty("Nothing found", &html! { p { "No query has " q { (asked.q) } " in its title, description or SQL." } }))
        } @else {
            (empty("No saved query yet", &html! {
                p { "Write one in the " a href="/sql" { "editor" } " and press " strong { "Save…" } ". Everyone who signs in sees it; what \
                     it may read is decided by whoever runs it." }
            }))
        }
    };
    Ok(Page::new("Queries", "queries", Section::Queries, &person).show(&main))
}
