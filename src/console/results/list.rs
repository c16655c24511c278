//! The list of results.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::store::{self, Kept, Whose};
use crate::console::Console;
use crate::console::auth::guard::Person;
use crate::console::auth::session::Session;
use crate::console::error::ConsoleError;
use crate::console::page::parts::{Ask, Tone, badge, bytes, duration, empty, number, post, table, time};
use crate::console::page::{Page, Section};

/// Whose results are listed.
#[derive(Deserialize)]
pub struct Of {
    #[serde(default)]
    of: String,
}

/// `GET /results`.
pub async fn show(
    State(console): State<Arc<Console>>,
    Person(person): Person,
    Query(asked): Query<Of>,
) -> Result<Response, ConsoleError> {
    let whose = if asked.of == "colleagues" { Whose::Shared } else { Whose::Mine };
    let kept = store::list(&console.database, &person.role, whose).await?;
    let heads = [
        ("Result", ""),
        ("By", ""),
        ("Rows", "number"),
        ("Size", "number"),
        ("Took", "number"),
        ("Who may open it", ""),
        ("Kept until", ""),
        ("", "actions"),
    ];
    let rows = kept.iter().map(|kept| line(kept, &person));
    let current = |is: bool| is.then_some("true");
    let main = html! {
        div class="head" { h1 { "Results" } a class="button primary" href="/sql" { "New query" } }
        nav class="tabs" aria-label="Queries and results" {
            a href="/queries" { "Saved queries" }
            a href="/results" aria-current="page" { "Results" }
        }
        div class="filters" {
            div class="segments" role="group" aria-label="Whose" {
                a href="/results" aria-current=[current(whose == Whose::Mine)] { "Mine" }
                a href="/results?of=colleagues" aria-current=[current(whose == Whose::Shared)] { "Shared" }
            }
        }
        @if kept.is_empty() {
            (empty("No result yet", &html! {
                p { "Each run of the " a href="/sql" { "editor" } " leaves one, for " (store::PRIVATE_DAYS) " days. Share it, and it stays." }
            }))
        } @else {
            section class="card flush" { (table("Results", &heads, rows)) }
        }
    };
    Ok(Page::new("Results", "results", Section::Queries, &person).show(&main))
}

fn line(kept: &Kept, person: &Session) -> Vec<Markup> {
    let name = if kept.title.is_empty() { kept.sql.chars().take(80).collect() } else { kept.title.clone() };
    let gone = Ask { question: "Delete this result? Links to it will lead nowhere.", yes: "Delete it" };
    vec![
        html! { a href={ "/r/" (kept.id) } { strong { (name) } } p class="quiet" { (time(&kept.started_at)) } },
        html! { (kept.role) },
        html! { (number(kept.row_count)) @if kept.cut.is_some() { " " (badge(Tone::Warn, "cut")) } },
        html! { (bytes(kept.byte_count)) },
        html! { (duration(kept.duration_ms)) },
        html! {
            @if kept.is_shared { (badge(Tone::Accent, "colleagues")) } @else { (badge(Tone::Plain, "only me")) }
            @if kept.link_key.is_some() { " " (badge(Tone::Warn, "secret link")) }
        },
        html! { (kept.expires_at.as_deref().unwrap_or("for good")) },
        html! { @if kept.role == person.role { (post(person, &format!("/r/{}/delete", kept.id), &[], "Delete", Some(gone))) } },
    ]
}
