//! Rows that PostgreSQL refused, with its reason, and how they come back.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::{Tab, Told, page};
use crate::console::Console;
use crate::console::audit::{self, Action};
use crate::console::auth::guard::{Address, Operator, Signed};
use crate::console::auth::session::Session;
use crate::console::error::ConsoleError;
use crate::console::page::parts::{Tone, empty, number, post, table, time};
use crate::flush::quarantine::{self, Replayed};

const ROWS_SHOWN: i64 = 50;
/// More than this are "more than".
const COUNTED_MAX: i64 = 100_000;
const MESSAGE_CHARS: i32 = 1_000;
/// Of a row; events have up to some ten thousand characters.
const EVENT_CHARS: i32 = 20_000;
/// Rows that were refused again and are named.
const REFUSED_NAMED: usize = 10;

const ROWS: &str = include_str!("sql/quarantine.sql");
const COUNT: &str = "
    select count(*) from (select from weir.quarantine where outcome = 'quarantined' limit $1) waiting";

/// Where the list goes on.
#[derive(Deserialize)]
pub struct From {
    before: Option<i64>,
}

/// `GET /operate/quarantine`, older ones with `?before=`.
pub async fn show(
    State(console): State<Arc<Console>>,
    Operator(person): Operator,
    Query(from): Query<From>,
) -> Result<Response, ConsoleError> {
    list(&console, &person, from.before, &None).await
}

async fn list(console: &Console, person: &Session, before: Option<i64>, told: &Told) -> Result<Response, ConsoleError> {
    let client = console.database.client().await?;
    let count: i64 = client.query_typed_one(COUNT, &[(&(COUNTED_MAX + 1), Type::INT8)]).await?.try_get(0)?;
    let values: [(&(dyn ToSql + Sync), Type); 4] =
        [(&before, Type::INT8), (&ROWS_SHOWN, Type::INT8), (&MESSAGE_CHARS, Type::INT4), (&EVENT_CHARS, Type::INT4)];
    let rows = client.query_typed(ROWS, &values).await?;
    if count == 0 {
        return Ok(page(Tab::Quarantine, person, told, &none()));
    }
    let lines = rows.iter().map(|row| line(row, person)).collect::<Result<Vec<_>, _>>()?;
    let oldest = rows.last().map(|row| row.try_get::<_, i64>("id")).transpose()?;
    let all = if count > COUNTED_MAX { format!("more than {}", number(COUNTED_MAX)) } else { number(count) };
    let heads = [("Since", "nowrap"), ("Source", ""), ("Reason", "wide"), ("Row", "wide"), ("", "actions")];
    let main = html! {
        section class="card flush" {
            div class="card-head" {
                h2 { "Rows that PostgreSQL refused" }
                (post(person, "/operate/quarantine/replay", &[("id", "all")], &format!("Replay all {all}"), None))
            }
            (table("Quarantine", &heads, lines))
        }
        @if let Some(oldest) = oldest.filter(|_| rows.len() as i64 == ROWS_SHOWN) {
            nav class="row end" aria-label="Pages" {
                a class="button" href={ "/operate/quarantine?before=" (oldest) } { "Older" }
            }
        }
    };
    Ok(page(Tab::Quarantine, person, told, &main))
}

fn line(row: &Row, person: &Session) -> Result<Vec<Markup>, tokio_postgres::Error> {
    let id = row.try_get::<_, i64>("id")?.to_string();
    let (source, sqlstate, message): (&str, &str, &str) =
        (row.try_get("source")?, row.try_get("sqlstate")?, row.try_get("message")?);
    let (event, is_cut): (&str, bool) = (row.try_get("event")?, row.try_get("is_cut")?);
    Ok(vec![
        time(row.try_get("quarantined_at")?),
        html! { (source) },
        html! { strong { (sqlstate) } " " (message) },
        html! { details { summary { "Row " (id) } code { (event) @if is_cut { "…" } } } },
        post(person, "/operate/quarantine/replay", &[("id", &id)], "Replay", None),
    ])
}

fn none() -> Markup {
    empty(
        "The quarantine is empty",
        &html! {
            p {
                "A row that PostgreSQL refuses, by a constraint of yours, say, waits here with the reason. Mend the cause, and replay \
                 it here or by " code { "weir quarantine replay" } "."
            }
        },
    )
}

/// Which row; `all`: each.
#[derive(Deserialize)]
pub struct Which {
    id: String,
}

/// `POST /operate/quarantine/replay`.
pub async fn replay(
    State(console): State<Arc<Console>>,
    Operator(person): Operator,
    Address(ip): Address,
    Signed(which): Signed<Which>,
) -> Result<Response, ConsoleError> {
    let only = match which.id.as_str() {
        "all" => None,
        id => Some(id.parse::<i64>().map_err(|_| ConsoleError::BadRequest(format!("{id:?} is no row")))?),
    };
    let detail = only.map_or_else(|| "all".to_owned(), |id| format!("row {id}"));
    let (by, role) = (Arc::clone(&console), person.role.clone());
    // Written down with what it came to, also where nobody waits for that.
    let replayed = console.operating.jobs.run("a replay of the quarantine".to_owned(), async move {
        let replayed = quarantine::replay(&by.operating.database, only).await;
        let outcome = match &replayed {
            Ok(replayed) => sum(replayed),
            Err(error) => error.to_string(),
        };
        audit::note(&by, &role, Some(ip), Action::ReplayQuarantine, &format!("{detail}: {outcome}")).await;
        replayed
    });
    let told = match replayed.await? {
        Some(replayed) => tell(&replayed?),
        None => (
            Tone::Accent,
            html! { p { "It goes on: what is left here still waits. The audit log will say what it came to." } },
        ),
    };
    list(&console, &person, None, &Some(told)).await
}

fn sum(replayed: &Replayed) -> String {
    let mut text = format!("{} stored", replayed.stored);
    // Writing to a string does not fail.
    let _ = write!(text, ", {} known already, {} refused again", replayed.duplicate, replayed.refused.len());
    text
}

fn tell(replayed: &Replayed) -> (Tone, Markup) {
    let tone = if replayed.refused.is_empty() { Tone::Good } else { Tone::Warn };
    let more = replayed.refused.len().saturating_sub(REFUSED_NAMED);
    let text = html! {
        p { (sum(replayed)) "." }
        @if !replayed.refused.is_empty() {
            ul {
                @for (id, message) in replayed.refused.iter().take(REFUSED_NAMED) { li { "Row " (id) ": " (message) } }
                @if more > 0 { li { "and " (more) " more" } }
            }
        }
    };
    (tone, text)
}
