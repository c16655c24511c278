//! Who did what.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::{Tab, page};
use crate::console::Console;
use crate::console::audit::Action;
use crate::console::auth::guard::Operator;
use crate::console::error::ConsoleError;
use crate::console::page::parts::{Tone, badge, empty, table, time};

const ENTRIES_SHOWN: i64 = 100;
const DETAIL_CHARS: i32 = 500;

const ENTRIES: &str = include_str!("sql/audit.sql");

/// Which entries.
#[derive(Deserialize)]
pub struct Filter {
    #[serde(default)]
    person: String,
    #[serde(default)]
    action: String,
    before: Option<i64>,
}

/// `GET /operate/audit`.
pub async fn show(
    State(console): State<Arc<Console>>,
    Operator(person): Operator,
    Query(filter): Query<Filter>,
) -> Result<Response, ConsoleError> {
    let role = filter.person.trim().replace('\0', "");
    let action = filter.action.replace('\0', "");
    let values: [(&(dyn ToSql + Sync), Type); 5] = [
        (&filter.before, Type::INT8),
        (&role, Type::TEXT),
        (&action, Type::TEXT),
        (&ENTRIES_SHOWN, Type::INT8),
        (&DETAIL_CHARS, Type::INT4),
    ];
    let rows = console.database.client().await?.query_typed(ENTRIES, &values).await?;
    let lines = rows.iter().map(line).collect::<Result<Vec<_>, _>>()?;
    let oldest = rows.last().map(|row| row.try_get::<_, i64>("audit_id")).transpose()?;
    let older = oldest.filter(|_| rows.len() as i64 == ENTRIES_SHOWN).map(|oldest| {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("person", &role)
            .append_pair("action", &action)
            .append_pair("before", &oldest.to_string())
            .finish();
        format!("/operate/audit?{query}")
    });
    let heads = [("When", "nowrap"), ("Who", ""), ("What", ""), ("On", "wide"), ("From", "")];
    let main = html! {
        form class="filters" method="get" action="/operate/audit" role="search" {
            label class="hidden-visually" for="person" { "Person" }
            input #person class="search" name="person" type="search" value=(role) placeholder="Person" data-search;
            label class="hidden-visually" for="action" { "What" }
            select #action name="action" {
                option value="" { "everything" }
                @for known in Action::ALL.map(Action::name) { option value=(known) selected[known == action] { (known) } }
            }
            button { "Find" }
        }
        @if lines.is_empty() {
            (empty("There is nothing like that", &html! {
                p { "Whoever signs in, shares, or changes something is written down here, and kept for a year." }
            }))
        } @else {
            section class="card flush" {
                div class="card-head" { h2 { "Audit log" } p class="quiet small" { "kept for a year, in " code { "console.audit" } } }
                (table("Audit log", &heads, lines))
            }
        }
        @if let Some(older) = older { nav class="row end" aria-label="Pages" { a class="button" href=(older) { "Older" } } }
    };
    Ok(page(Tab::Audit, &person, &None, &main))
}

fn line(row: &Row) -> Result<Vec<Markup>, tokio_postgres::Error> {
    let [role, action, detail, address]: [&str; 4] =
        [row.try_get("role")?, row.try_get("action")?, row.try_get("detail")?, row.try_get("address")?];
    let tone = if action == Action::SignInRefused.name() { Tone::Warn } else { Tone::Plain };
    let is_link = ["/r/", "/q/"].iter().any(|start| detail.starts_with(start));
    Ok(vec![
        time(row.try_get("at")?),
        html! { (role) },
        badge(tone, action),
        html! { @if is_link { a href=(detail) { (detail) } } @else { (detail) } },
        html! { (address) },
    ])
}
