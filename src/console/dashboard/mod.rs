//! `/dashboard`: what a source's visitors do, at a glance.
//!
//! # What figures mean
//!
//! `docs/dashboard.md` has every definition. Nearly all is of visits (`analytics.sessions`), which belong to the day on which
//! they began; visitors are those of each day on each source, added up. So every figure is a sum, with filters and without: by
//! day from rollups of visits where nothing is filtered, else from the visits themselves.
//!
//! # How it is asked
//!
//! Fixed statements ([`question`]) run as weir's own role, read-only ([`answer`]): few at once, not for long, and kept for
//! some seconds. A panel that fails says so, and the others are there.
//!
//! # Links
//!
//! [`links`] lets somebody in who has not signed in, to one source and with some filters, which are the link's and not the
//! viewer's ([`view::View::fixed`]).

mod adding;
mod adding_properties;
pub mod answer;
mod countries;
mod figures;
mod filter;
mod filtered;
mod gather;
mod links;
mod packed;
mod page;
mod period;
mod question;
mod series;
mod view;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::Console;
use super::audit::{self, Action};
use super::auth::guard::{Address, Person, Signed};
use super::auth::session::secret;
use super::error::ConsoleError;
use super::links::base;
use answer::PanelError;
use gather::Facts;
use links::{Link, Until};
use page::{Around, Sharing};
use view::View;

const PATH: &str = "/dashboard";

pub fn routes() -> Router<Arc<Console>> {
    Router::new()
        .route(PATH, get(show))
        .route("/dashboard/links", post(make_link))
        .route("/dashboard/links/remove", post(remove_link))
        .route("/shared/{id}", get(shared))
}

type Pairs = Vec<(String, String)>;

fn now(console: &Console) -> (Timestamp, Date) {
    let now = console.clock.now();
    (now, now.to_zoned(TimeZone::UTC).date())
}

async fn facts(console: &Arc<Console>) -> Result<Facts, ConsoleError> {
    let refused = |error: PanelError| ConsoleError::Busy(error.to_string());
    gather::facts(console).await.map_err(refused)
}

/// `GET /dashboard`.
async fn show(
    State(console): State<Arc<Console>>,
    Person(person): Person,
    headers: HeaderMap,
    Query(pairs): Query<Pairs>,
) -> Result<Response, ConsoleError> {
    let (now, today) = now(&console);
    let mut view = View::new(PATH, today);
    let told = view.take(&pairs);
    let facts = facts(&console).await?;
    if let Some((list, limit)) = view.panel {
        let answer = gather::list(&console, &view, &facts, list, limit).await;
        return Ok(page::show_list(&view, &facts, list, &answer, &person));
    }
    let links = links::all(&console.database).await?;
    let made = pairs.iter().find(|(name, _)| name == "link").map(|(_, id)| id.as_str());
    let made = links.iter().find(|link| made == Some(link.id.as_str()) && link.role == person.role);
    let shown = gather::gather(&console, &view, facts, now).await;
    let around = Around { follows_rollups: console.follows_rollups, told, first_source: console.first_source.as_ref() };
    let base = base(&console, &headers);
    Ok(page::show(&view, &shown, &around, &Sharing { links: &links, made, base: &base }, &person))
}

/// `GET /shared/ID`: whoever has the link.
async fn shared(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Result<Response, ConsoleError> {
    // PostgreSQL takes no such text.
    let link = if id.contains('\0') { None } else { links::find(&console.database, &id).await? };
    let link = link.ok_or(ConsoleError::NotFound)?;
    let filters = link.filters.clone().ok_or(ConsoleError::NotFound)?;
    let (now, today) = now(&console);
    let mut view = View::fixed(&format!("/shared/{id}"), today, link.source.clone(), filters);
    view.take(&pairs);
    let facts = facts(&console).await?;
    if let Some((list, limit)) = view.panel {
        let answer = gather::list(&console, &view, &facts, list, limit).await;
        return Ok(page::show_shared_list(&view, list, &answer, &link));
    }
    let shown = gather::gather(&console, &view, facts, now).await;
    Ok(page::show_shared(&view, &shown, &link))
}

/// `POST /dashboard/links`: a link to what the page shows.
async fn make_link(
    State(console): State<Arc<Console>>,
    Person(person): Person,
    Address(ip): Address,
    Signed(pairs): Signed<Pairs>,
) -> Result<Response, ConsoleError> {
    let (_, today) = now(&console);
    let mut view = View::new(PATH, today);
    view.take(&pairs);
    let field = |name: &str| pairs.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
    let link = Link {
        id: secret(console.entropy.as_ref())?,
        role: person.role.clone(),
        name: field("name").to_owned(),
        source: view.source.clone(),
        filters: Some(view.filters.clone()),
        expires_on: None,
    };
    if !links::add(&console.database, &link, Until::of(field("until"))).await? {
        return Err(ConsoleError::BadRequest("you have too many links: remove some first".to_owned()));
    }
    note(&console, &person.role, ip, &format!("made a link: {}", told_of(&link))).await;
    Ok(Redirect::to(&format!("{}&link={}", view.url(), link.id)).into_response())
}

#[derive(Deserialize)]
struct Gone {
    link: String,
}

/// `POST /dashboard/links/remove`: of one's own; operators remove any.
async fn remove_link(
    State(console): State<Arc<Console>>,
    Person(person): Person,
    Address(ip): Address,
    Signed(gone): Signed<Gone>,
) -> Result<Redirect, ConsoleError> {
    let link = if gone.link.contains('\0') { None } else { links::find(&console.database, &gone.link).await? };
    let link = link.ok_or(ConsoleError::NotFound)?;
    let role = (!person.is_operator()).then_some(person.role.as_str());
    if !links::remove(&console.database, &link.id, role).await? {
        return Err(ConsoleError::Forbidden(format!("this link is {}'s: they or an operator remove it", link.role)));
    }
    note(&console, &person.role, ip, &format!("removed a link: {}", told_of(&link))).await;
    Ok(Redirect::to(PATH))
}

/// What the audit says of a link: not the link itself, which lets in whoever reads it.
fn told_of(link: &Link) -> String {
    let source = link.source.as_deref().unwrap_or("every source");
    let filters = link.filters.as_ref().map_or_else(String::new, filter::Filters::to_json);
    format!("{:?} of {source} {filters}", link.name)
}

async fn note(console: &Console, role: &str, ip: IpAddr, detail: &str) {
    audit::note(console, role, Some(ip), Action::ShareDashboard, detail).await;
}
