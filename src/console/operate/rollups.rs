//! Tables that follow the events: how far behind they are, and why.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::{Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use tokio_postgres::types::Type;

use super::draw::span;
use super::{Tab, card, page};
use crate::console::Console;
use crate::console::audit::{self, Action};
use crate::console::auth::guard::{Address, Operator, Person, Signed};
use crate::console::auth::session::Session;
use crate::console::error::ConsoleError;
use crate::console::page::parts::{Tone, badge, copyable, dot, duration, empty, number, post, table, time};
use crate::rollup::RollupError;
use crate::rollup::catalog::{self, Known};
use crate::rollup::definition::Kind;
use crate::rollup::dispatch::dispatch;
use crate::rollup::run::run;

/// Of one rollup; four hours of runs every five minutes.
const RUNS_SHOWN: i64 = 50;
/// A person can look after so many; all others are told of by `weir rollup list`.
const ROLLUPS_SHOWN: usize = 500;
/// Of one by hand; what is left then waits for the schedule.
const RUN_BUDGET: Duration = Duration::from_secs(60);
/// Of an error in the list.
const ERROR_CHARS: usize = 300;
/// Minutes behind of which nobody need know.
const BEHIND_S: f64 = 15.0 * 60.0;

const LAST: &str = include_str!("sql/rollups_last.sql");
const RUNS: &str = include_str!("sql/rollup_runs.sql");

/// Which rollup's runs are shown, or which one is to be run.
#[derive(Deserialize)]
pub struct Of {
    #[serde(default)]
    name: String,
}

/// How long the last good run took, and how many rows it wrote.
type Last = HashMap<String, (f64, i64)>;

/// `GET /operate/rollups`, with `?name=` for the runs of one.
pub async fn show(
    State(console): State<Arc<Console>>,
    Person(person): Person,
    Query(of): Query<Of>,
) -> Result<Response, ConsoleError> {
    let known = catalog::all(&console.database).await?;
    if known.is_empty() {
        return Ok(page(Tab::Rollups, &person, &None, &none(&console)));
    }
    let last = last(&console).await?;
    let runs = if of.name.is_empty() { None } else { Some(runs(&console, &of.name).await?) };
    let heads = [
        ("Table", "wide"),
        ("Is", ""),
        ("State", ""),
        ("Behind", "number"),
        ("Waiting", "number"),
        ("Last run", ""),
        ("Took", "number"),
        ("Rows", "number"),
        ("Failures", "number"),
        ("", "actions"),
    ];
    let rows = known.iter().take(ROLLUPS_SHOWN).map(|rollup| line(&console, rollup, &last, &person));
    let main = html! {
        section class="card flush" {
            div class="card-head" {
                h2 { "Rollups" }
                p class="quiet small" { "files in " code { (console.operating.rollup_dir.display()) } ", and those that weir brings" }
            }
            (table("Rollups", &heads, rows))
        }
        @if let Some(runs) = runs { (runs) }
    };
    Ok(page(Tab::Rollups, &person, &None, &main))
}

async fn last(console: &Console) -> Result<Last, ConsoleError> {
    let mut last = HashMap::new();
    for row in console.database.client().await?.query_typed(LAST, &[]).await? {
        last.insert(row.try_get("name")?, (row.try_get("ms")?, row.try_get("rows")?));
    }
    Ok(last)
}

async fn runs(console: &Console, name: &str) -> Result<Markup, ConsoleError> {
    let client = console.database.client().await?;
    let mut lines = Vec::new();
    for row in client.query_typed(RUNS, &[(&name, Type::TEXT), (&RUNS_SHOWN, Type::INT8)]).await? {
        let is_done = row.try_get::<_, &str>("outcome")? == "done";
        let error: &str = row.try_get("error")?;
        lines.push(vec![
            time(row.try_get("started_at")?),
            html! { (if is_done { dot(Tone::Good, "done") } else { dot(Tone::Bad, "failed") }) },
            html! { (duration(row.try_get("ms")?)) },
            html! { (number(row.try_get("buckets")?)) },
            html! { (number(row.try_get("rows")?)) },
            html! { (number(row.try_get("frozen")?)) },
            html! { (error) },
        ]);
    }
    let heads = [
        ("Started", "nowrap"),
        ("Outcome", ""),
        ("Took", "number"),
        ("Buckets", "number"),
        ("Rows", "number"),
        ("Frozen", "number"),
        ("Error", "wide"),
    ];
    let list = (!lines.is_empty()).then(|| table("Runs", &heads, lines));
    Ok(card(
        "runs",
        &html! { "Runs of " code { (name) } },
        &html! { "the latest " (RUNS_SHOWN) "; frozen buckets stay, since retention has dropped their events" },
        list.as_ref(),
        &html! { "Not run yet, or there is no rollup of this name." },
    ))
}

fn job(name: &str) -> String {
    format!("the rollup {name}")
}

fn state(console: &Console, rollup: &Known) -> Markup {
    if console.operating.jobs.is_running(&job(&rollup.name)) {
        return dot(Tone::Accent, "running");
    }
    match rollup {
        Known { is_building: true, fill, .. } => {
            html! { (dot(Tone::Accent, "being rebuilt")) " " span class="quiet" { (fill) " to go" } }
        }
        Known { is_defined: false, .. } => dot(Tone::Warn, "file is gone"),
        Known { failures: 1.., .. } => dot(Tone::Bad, "fails"),
        Known { kind: Kind::View, .. } => badge(Tone::Plain, "computed when read"),
        Known { fill: 1.., .. } => dot(Tone::Accent, "being filled"),
        Known { dirty: 1.., lag_s, .. } if *lag_s > BEHIND_S => dot(Tone::Warn, "behind"),
        Known { kind: Kind::Materialized, succeeded: None, .. } => dot(Tone::Warn, "not run yet"),
        _ => dot(Tone::Good, "up to date"),
    }
}

fn line(console: &Console, rollup: &Known, last: &Last, person: &Session) -> Vec<Markup> {
    let Known { name, kind, .. } = rollup;
    let bucket = rollup.bucket.map_or_else(String::new, |bucket| format!(" by {}", bucket.unit()));
    let every = match rollup.every.trim_matches(['\'', '"']) {
        "" => String::new(),
        // Cron's five fields.
        every if every.contains(' ') => format!(", at {every}"),
        every => format!(", every {every}"),
    };
    let took = last.get(name).filter(|_| *kind != Kind::View && !rollup.is_building);
    let may_run = person.is_operator() && *kind != Kind::View && rollup.is_defined && !rollup.is_building;
    // Buckets of the first filling are not behind anything.
    let behind = if rollup.dirty > rollup.fill { span(rollup.lag_s) } else { String::new() };
    vec![
        html! {
            a href={ "/operate/rollups?name=" (name) "#runs" } { strong { (name) } }
            @if let Some(description) = &rollup.description { p class="quiet" { (description) } }
            @if let Some(error) = &rollup.error { p class="bad" { (cut(error)) } }
            @if !rollup.is_defined { p class="quiet" { code { "weir rollup drop " (name) } " drops it" } }
        },
        html! { (kind.name()) (bucket) (every) },
        state(console, rollup),
        html! { (behind) },
        html! { (number(rollup.dirty.cast_signed())) },
        html! { @if let Some(at) = rollup.succeeded { (time(&at.to_string())) } },
        html! { @if let Some((ms, _)) = took { (duration(*ms)) } },
        html! { @if let Some((_, rows)) = took { (number(*rows)) } },
        html! { (rollup.failures) },
        html! { @if may_run { (post(person, "/operate/rollups/run", &[("name", name)], "Run now", None)) } },
    ]
}

fn cut(error: &str) -> String {
    let error = error.strip_prefix("db error: ERROR: ").unwrap_or(error);
    let short: String = error.chars().take(ERROR_CHARS).collect();
    if short.len() < error.len() { format!("{short}…") } else { short }
}

fn none(console: &Console) -> Markup {
    const EXAMPLE: &str = "-- kind: incremental\n-- every: 1m\n-- bucket: day\nselect bucket, properties ->> 'plan' as plan, \
                           count(*) as signups\n  from events\n where name = 'signup'\n group by bucket, plan;";
    let file = console.operating.rollup_dir.join("signups.sql");
    empty(
        "No rollup yet",
        &html! {
            p { "A SELECT in a file becomes a table that follows the events. Save this as " code { (file.display()) } ":" }
            (copyable("example", EXAMPLE))
            p {
                "Within seconds " code { "analytics.signups" } " is there. " code { "weir rollup check" } " says what is wrong with a file."
            }
        },
    )
}

/// `POST /operate/rollups/run`: what waits for one rollup, now.
pub async fn run_now(
    State(console): State<Arc<Console>>,
    Operator(person): Operator,
    Address(ip): Address,
    Signed(of): Signed<Of>,
) -> Result<Redirect, ConsoleError> {
    let database = console.operating.database.clone();
    let known = catalog::all(&database).await?;
    let is_it = |known: &Known| known.name == of.name && !known.is_building && known.kind != Kind::View;
    if !known.iter().any(is_it) {
        return Err(RollupError::Missing(of.name).into());
    }
    audit::note(&console, &person.role, Some(ip), Action::RunRollup, &of.name).await;
    let name = of.name.clone();
    let ran = console.operating.jobs.run(job(&of.name), async move {
        dispatch(&database).await?;
        let known = catalog::all(&database).await?;
        let rollup = known.iter().find(|known| known.name == name && !known.is_building);
        let rollup = rollup.ok_or(RollupError::Missing(name))?;
        run(&database, rollup, Some(RUN_BUDGET)).await
    });
    if let Some(Err(error @ (RollupError::Busy(_) | RollupError::Missing(_)))) = ran.await? {
        return Err(error.into());
    }
    // Of any other failure the list of runs tells.
    let name: String = url::form_urlencoded::byte_serialize(of.name.as_bytes()).collect();
    Ok(Redirect::to(&format!("/operate/rollups?name={name}#runs")))
}
