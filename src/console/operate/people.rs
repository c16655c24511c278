//! Who is here. Roles are PostgreSQL's, and made where weir runs: this page only shows them, and ends sessions.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::{Tab, page};
use crate::analyst::{self, Person};
use crate::console::Console;
use crate::console::audit::{self, Action};
use crate::console::auth::guard::{Address, Operator, Signed};
use crate::console::auth::session::Session;
use crate::console::error::ConsoleError;
use crate::console::page::parts::{Ask, Tone, badge, bytes, copyable, dot, empty, number, post, table, time};

const PEOPLE_SHOWN: usize = 500;

const COMMANDS: &str = "\
# somebody new, with a role and a schema of their own
weir analyst add NAME
# who may operate weir, too
weir analyst add NAME --operator
# lets them read a synced schema
weir analyst grant NAME SCHEMA
# another password
weir analyst rotate NAME
# lets them in no longer, and in again
weir analyst disable NAME
weir analyst enable NAME
# takes the role away, and gives what is theirs to somebody
weir analyst remove NAME --give-to COLLEAGUE";

/// `GET /operate/people`.
pub async fn show(State(console): State<Arc<Console>>, Operator(person): Operator) -> Result<Response, ConsoleError> {
    let people = {
        let client = console.database.client().await?;
        analyst::people(&client).await?
    };
    let heads = [
        ("Role", ""),
        ("State", ""),
        ("May", ""),
        ("Reads", "wide"),
        ("Own tables", "number"),
        ("Connections", "number"),
        ("Sessions here", "number"),
        ("Seen", ""),
        ("", "actions"),
    ];
    let rows = people.iter().take(PEOPLE_SHOWN).map(|one| line(&console, one, &person));
    let main = html! {
        @if people.is_empty() {
            (empty("Nobody yet", &html! { p { "People have roles of PostgreSQL's: " code { "weir analyst add NAME" } " makes one." } }))
        } @else {
            section class="card flush" {
                div class="card-head" { h2 { "People" } p class="quiet small" { "roles of PostgreSQL; " code { "weir analyst list" } } }
                (table("People", &heads, rows))
            }
        }
        section class="card" {
            h2 { "Change who may come in" }
            p class="quiet" { "Roles are made where weir runs:" }
            (copyable("commands", COMMANDS))
        }
    };
    Ok(page(Tab::People, &person, &None, &main))
}

fn line(console: &Console, one: &Person, person: &Session) -> Vec<Markup> {
    let sessions = console.sessions.of(&one.name).len();
    let question = format!("End all sessions of {} here? They have to sign in again.", one.name);
    vec![
        html! { strong { (one.name) } @if one.name == person.role { p class="quiet" { "you" } } },
        if one.can_login { dot(Tone::Good, "enabled") } else { dot(Tone::Warn, "disabled") },
        if one.is_operator { badge(Tone::Accent, "operate") } else { badge(Tone::Plain, "read and save") },
        html! { "analytics" @for schema in &one.schemas { ", " (schema) } },
        html! { @match one.schema_bytes { Some(size) => { (bytes(size)) }, None => span class="quiet" { "–" } } },
        html! { (number(one.connections)) " of " (one.connections_max) },
        html! { (sessions) },
        html! {
            @match &one.seen_at {
                _ if sessions > 0 || one.connections > 0 => "now",
                Some(at) => { (time(at)) },
                None => span class="quiet" { "not yet" },
            }
        },
        html! {
            @if sessions > 0 {
                (post(person, "/operate/people/end-sessions", &[("person", &one.name)], "End sessions",
                    Some(Ask { question: &question, yes: "End them" })))
            }
        },
    ]
}

/// Whose sessions are to be ended.
#[derive(Deserialize)]
pub struct Whose {
    person: String,
}

/// `POST /operate/people/end-sessions`: those of the console.
pub async fn end_sessions(
    State(console): State<Arc<Console>>,
    Operator(person): Operator,
    Address(ip): Address,
    Signed(whose): Signed<Whose>,
) -> Redirect {
    console.sessions.end_all(&whose.person);
    audit::note(&console, &person.role, Some(ip), Action::EndSessions, &whose.person).await;
    Redirect::to("/operate/people")
}
