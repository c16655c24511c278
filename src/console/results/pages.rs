//! `/r/ID`, its files, and the list of results.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::store::{self, Kept};
use super::{export, parquet};
use crate::analyst;
use crate::console::audit::{self, Action};
use crate::console::auth::guard::{Address, Person, Signed, is_json};
use crate::console::auth::session::{Session, secret};
use crate::console::auth::sign_in::Empty;
use crate::console::error::ConsoleError;
use crate::console::page::parts::{Ask, bytes, copyable, csrf, duration, facts, number, post, table_of};
use crate::console::page::parts::{Look, time};
use crate::console::page::{Page, Section};
use crate::console::run::rows::{Values, unpack};
use crate::console::{Console, links};
use crate::receive::answer::json;

/// Rows that are in the page itself, so that it opens at once; its script fetches the rest.
const PAGE_ROWS: usize = 200;
/// Longer texts of a page's rows are cut, as its styles do anyway.
const PAGE_CELL_CHARS: usize = 300;

/// The result and its rows, if this person may see it.
async fn find(console: &Console, id: &str, person: &Session) -> Result<Kept, ConsoleError> {
    let kept = store::look(&console.database, id).await?;
    kept.filter(|kept| kept.is_for(&person.role)).ok_or(ConsoleError::NotFound)
}

async fn find_own(console: &Console, id: &str, person: &Session) -> Result<Kept, ConsoleError> {
    let kept = find(console, id, person).await?;
    if kept.role == person.role {
        return Ok(kept);
    }
    Err(ConsoleError::Forbidden(format!("this result is {}'s: only they decide who sees it", kept.role)))
}

/// `GET /r/ID`, and with `.json`, `.csv` or `.parquet` after it.
pub async fn show(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    Person(person): Person,
    Address(ip): Address,
    headers: HeaderMap,
) -> Result<Response, ConsoleError> {
    let Some((id, ending)) = name.split_once('.') else {
        let kept = find(&console, &name, &person).await?;
        let rows = first_rows(&console, &kept).await?;
        return Ok(page(&console, &kept, &rows, &person, &headers));
    };
    let kept = find(&console, id, &person).await?;
    if ending != "json" {
        audit::note(&console, &person.role, Some(ip), Action::Download, &format!("/r/{name}")).await;
    }
    file(&console, kept, ending, true).await
}

/// Those that are in a page.
pub async fn first_rows(console: &Console, kept: &Kept) -> Result<Vec<Values>, ConsoleError> {
    let _turn = console.file_turn().await?;
    let packed = store::rows(&console.database, &kept.id).await?;
    Ok(aside(move || unpack(&packed)?.take(PAGE_ROWS).collect()).await?)
}

/// Megabytes of text: not between two requests of somebody else's.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// A file on its way, which takes one of the turns until it has left.
struct Leaving {
    bytes: Vec<u8>,
    _turn: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Leaving {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The result as a file. To spreadsheets that a person opens, a mark says that it is UTF-8.
pub async fn file(console: &Console, kept: Kept, ending: &str, has_mark: bool) -> Result<Response, ConsoleError> {
    let content_type = match ending {
        "json" => "application/json",
        "csv" => "text/csv; charset=utf-8",
        "parquet" => "application/vnd.apache.parquet",
        _ => return Err(ConsoleError::NotFound),
    };
    let turn = console.file_turn().await?;
    let packed = store::rows(&console.database, &kept.id).await?;
    let name = export::file_name(&kept, ending);
    let ending = ending.to_owned();
    let made = aside(move || match ending.as_str() {
        "json" => export::json(&kept, &packed),
        "csv" => export::csv(&kept.columns, kept.cut.as_deref(), &packed, has_mark),
        _ => parquet::file(&kept.columns, kept.cut.as_deref(), &packed),
    });
    let made = Bytes::from_owner(Leaving { bytes: made.await?, _turn: turn });
    // JSON is what the page's own script asks for.
    let how = if content_type == "application/json" { "inline" } else { "attachment" };
    let mut response = ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], made).into_response();
    if let Ok(value) = HeaderValue::try_from(format!("{how}; filename=\"{name}\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// What a secret link shows.
#[derive(Deserialize)]
pub struct Key {
    #[serde(default)]
    pub key: String,
}

/// `GET /linked/r/ID.csv?key=KEY`: for spreadsheets, which cannot sign in.
pub async fn linked(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    Query(shown): Query<Key>,
) -> Result<Response, ConsoleError> {
    let id = name.strip_suffix(".csv").ok_or(ConsoleError::NotFound)?;
    let kept = store::look(&console.database, id).await?.ok_or(ConsoleError::NotFound)?;
    if !links::is_key(kept.link_key.as_deref(), &shown.key) {
        return Err(ConsoleError::NotFound);
    }
    check_owner(&console, &kept.role).await?;
    let mut response = file(&console, kept, "csv", false).await?;
    response.headers_mut().insert(HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex"));
    Ok(response)
}

/// A link ends with whoever made it.
pub async fn check_owner(console: &Console, role: &str) -> Result<(), ConsoleError> {
    let client = console.database.client().await?;
    if analyst::standing(&client, role).await?.is_analyst { Ok(()) } else { Err(ConsoleError::NotFound) }
}

async fn check_room(console: &Console, role: &str) -> Result<(), ConsoleError> {
    if store::has_room(&console.database, role).await? {
        return Ok(());
    }
    let reason = format!("{role} keeps 5 GB of results for good already: delete some of them");
    Err(ConsoleError::BadRequest(reason))
}

/// Who may see it.
#[derive(Deserialize)]
pub struct Visibility {
    visibility: String,
}

/// `POST /r/ID/visibility`.
pub async fn set_visibility(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    Person(person): Person,
    Address(ip): Address,
    headers: HeaderMap,
    Signed(wanted): Signed<Visibility>,
) -> Result<Response, ConsoleError> {
    let kept = find_own(&console, &id, &person).await?;
    let is_shared = match wanted.visibility.as_str() {
        "colleagues" => true,
        "private" => false,
        other => return Err(ConsoleError::BadRequest(format!("{other:?} is nobody: say colleagues or private"))),
    };
    if is_shared {
        check_room(&console, &kept.role).await?;
    }
    store::share(&console.database, &kept.id, is_shared).await?;
    let action = if is_shared { Action::ShareResult } else { Action::HideResult };
    audit::note(&console, &person.role, Some(ip), action, &format!("/r/{id}")).await;
    if is_json(&headers) {
        let body = serde_json::json!({ "visibility": wanted.visibility, "url": format!("/r/{id}") });
        return Ok(json(StatusCode::OK, &body));
    }
    Ok(Redirect::to(&format!("/r/{id}")).into_response())
}

/// `POST /r/ID/keep`: for good.
pub async fn keep(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    Person(person): Person,
    Signed(_): Signed<Empty>,
) -> Result<Redirect, ConsoleError> {
    let kept = find(&console, &id, &person).await?;
    check_room(&console, &kept.role).await?;
    store::pin(&console.database, &kept.id).await?;
    Ok(Redirect::to(&format!("/r/{id}")))
}

/// `POST /r/ID/link`: a new secret link; the old one ends.
pub async fn make_link(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    Person(person): Person,
    Address(ip): Address,
    Signed(_): Signed<Empty>,
) -> Result<Redirect, ConsoleError> {
    let key = secret(console.entropy.as_ref())?;
    change_link(&console, &id, &person, ip, Some(&key)).await
}

/// `POST /r/ID/link/remove`.
pub async fn remove_link(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    Person(person): Person,
    Address(ip): Address,
    Signed(_): Signed<Empty>,
) -> Result<Redirect, ConsoleError> {
    change_link(&console, &id, &person, ip, None).await
}

async fn change_link(
    console: &Console,
    id: &str,
    person: &Session,
    ip: IpAddr,
    key: Option<&str>,
) -> Result<Redirect, ConsoleError> {
    let kept = find_own(console, id, person).await?;
    if key.is_some() {
        check_room(console, &kept.role).await?;
    }
    store::set_link(&console.database, &kept.id, key).await?;
    let action = if key.is_some() { Action::MakeLink } else { Action::RemoveLink };
    audit::note(console, &person.role, Some(ip), action, &format!("/r/{id}")).await;
    Ok(Redirect::to(&format!("/r/{id}")))
}

/// `POST /r/ID/delete`.
pub async fn delete(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    Person(person): Person,
    Signed(_): Signed<Empty>,
) -> Result<Redirect, ConsoleError> {
    let kept = find_own(&console, &id, &person).await?;
    store::remove(&console.database, &kept.id).await?;
    Ok(Redirect::to("/results"))
}

fn page(console: &Console, kept: &Kept, rows: &[Values], person: &Session, headers: &HeaderMap) -> Response {
    let title = if kept.title.is_empty() { "Result" } else { &kept.title };
    let is_own = kept.role == person.role;
    let lasting = kept.expires_at.as_deref().map_or_else(|| "for good".to_owned(), |day| format!("until {day}"));
    let main = html! {
        div class="head" {
            div {
                h1 { (title) }
                p class="quiet" {
                    "A result: it stays as it is."
                    @if let Some((slug, _)) = &kept.query {
                        " " a href={ "/q/" (slug) } { "The query" } " may have newer ones."
                    }
                }
            }
            div class="row" { a class="button primary" href={ "/sql?result=" (kept.id) } { "Fork into the editor" } }
        }
        section class="card" {
            (facts(&[
                ("By", html! { (kept.role) }),
                ("Run", time(&kept.started_at)),
                ("Took", html! { (duration(kept.duration_ms)) }),
                ("Rows", html! { (number(kept.row_count)) }),
                ("Size", html! { (bytes(kept.byte_count)) }),
                ("Kept", html! { (lasting) }),
            ]))
            @if !kept.parameters.is_empty() {
                (facts(&kept.parameters.iter().map(|(name, value)| (name.as_str(), html! { code { (value) } })).collect::<Vec<_>>()))
            }
            details { summary { "SQL" } pre class="sql" { code { (kept.sql) } } }
            @if is_own { (who_may_see(console, kept, person, headers)) }
            @else if kept.expires_at.is_some() {
                (post(person, &format!("/r/{}/keep", kept.id), &[], "Keep it for good", None))
            }
        }
        (result(kept, rows, &html! { div class="row" { (downloads(&kept.id)) } }))
    };
    Page::new(title, "result", Section::Queries, person).layout("wide").show(&main)
}

fn who_may_see(console: &Console, kept: &Kept, person: &Session, headers: &HeaderMap) -> Markup {
    let choice = |value: &str, label: &str, is_chosen: bool| {
        html! { label { input type="radio" name="visibility" value=(value) checked[is_chosen]; (label) } }
    };
    html! {
        form method="post" action={ "/r/" (kept.id) "/visibility" } class="row" {
            (csrf(person))
            span class="label" { "Who may open it" }
            div class="segments" role="radiogroup" aria-label="Who may open it" {
                (choice("private", "only me", !kept.is_shared))
                (choice("colleagues", "everyone who can sign in", kept.is_shared))
            }
            button { "Set" }
        }
        p class="quiet small" { "Whoever opens it sees these rows, also without a grant on the tables they are from." }
        details open[kept.link_key.is_some()] {
            summary { "For spreadsheets" }
            @match &kept.link_key {
                Some(key) => {
                    p class="quiet" { "Whoever has this link can read these rows, and nothing else." }
                    (copyable("import", &format!("=IMPORTDATA(\"{}/linked/r/{}.csv?key={key}\")", links::base(console, headers), kept.id)))
                    (post(person, &format!("/r/{}/link/remove", kept.id), &[], "Take it back",
                        Some(Ask { question: "Take the link back? Spreadsheets that use it get nothing any more.", yes: "Take it back" })))
                }
                None => {
                    p class="quiet" { "A secret link to these rows as CSV, for Google Sheets and Excel. Whoever has it can read them." }
                    (post(person, &format!("/r/{}/link", kept.id), &[], "Make a link", None))
                }
            }
        }
        @if kept.expires_at.is_some() { (post(person, &format!("/r/{}/keep", kept.id), &[], "Keep it for good", None)) }
    }
}

/// Links to a result's files.
pub fn downloads(id: &str) -> Markup {
    html! {
        @for (ending, name) in [("csv", "CSV"), ("json", "JSON"), ("parquet", "Parquet")] {
            a class="button tiny" href={ "/r/" (id) "." (ending) } download { (name) } " "
        }
    }
}

/// A result as it is shown until the script has all of it.
pub fn result(kept: &Kept, rows: &[Values], head: &Markup) -> Markup {
    html! {
        section class="result" data-result=(kept.id) data-chart=[kept.chart.as_deref()] aria-label="Result" {
            div class="result-head" { (head) }
            @if let Some(cut) = &kept.cut {
                p class="cut" { "This is not all: " (cut) ". Totals and charts of it are wrong." }
            }
            div class="result-body" {
                @if rows.is_empty() { p class="empty quiet" { "No rows." } } @else { (rows_table(kept, rows)) }
            }
        }
    }
}

fn rows_table(kept: &Kept, rows: &[Values]) -> Markup {
    let heads: Vec<(&str, &str)> = kept
        .columns
        .iter()
        .map(|column| (column.name.as_str(), if column.is_number() { "number" } else { "" }))
        .collect();
    let label = if (kept.row_count as usize) > rows.len() {
        format!("The first {} rows", rows.len())
    } else {
        "All rows".to_owned()
    };
    let cell = |value: &Option<String>| match value {
        None => html! { span class="null" { "null" } },
        Some(text) if text.chars().count() > PAGE_CELL_CHARS => {
            html! { (text.chars().take(PAGE_CELL_CHARS).collect::<String>()) "…" }
        }
        Some(text) => html! { (text) },
    };
    let look = Look { is_tall: true, ..Look::default() };
    table_of(&look, &label, &heads, rows.iter().map(|row| row.iter().map(cell).collect()))
}
