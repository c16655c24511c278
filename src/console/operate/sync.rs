//! Other data: when it was last brought here, and what could not be taken.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{Redirect, Response};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;
use tokio_postgres::Row;

use super::draw::span;
use super::{Tab, page, sync_source};
use crate::console::Console;
use crate::console::audit::{self, Action};
use crate::console::auth::guard::{Address, Operator, Person, Signed};
use crate::console::auth::session::Session;
use crate::console::error::ConsoleError;
use crate::console::page::parts::{Tone, badge, bytes, copyable, dot, empty, number, post, table, time};
use crate::schedule::Schedule;
use crate::sync::settings::{Singer, Source};
use crate::sync::singer::SingerError;
use crate::sync::singer::run::run;

/// As many as the settings may have, and some that are there no longer.
const SOURCES_SHOWN: i64 = 500;
const BROKEN_SHOWN: i64 = 100;

const SOURCES: &str = include_str!("sql/sync_sources.sql");
const BROKEN: &str = "
    select name, reason, to_char(broken_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as broken_at
      from sync.broken_views order by broken_at desc limit $1";

/// Which source is shown, or is to be run.
#[derive(Deserialize)]
pub struct Of {
    #[serde(default)]
    name: String,
}

/// `GET /operate/sync`, with `?name=` for the runs of one.
pub async fn show(
    State(console): State<Arc<Console>>,
    Person(person): Person,
    Query(of): Query<Of>,
) -> Result<Response, ConsoleError> {
    let client = console.database.client().await?;
    let (mut services, mut databases, mut known) = (Vec::new(), Vec::new(), BTreeSet::new());
    for row in client.query_typed(SOURCES, &[(&SOURCES_SHOWN, tokio_postgres::types::Type::INT8)]).await? {
        let name: String = row.try_get("source")?;
        match row.try_get("kind")? {
            "singer" => services.push(service(&console, &name, &row, &person)?),
            kind => databases.push(application(&name, kind, &row)?),
        }
        known.insert(name);
    }
    for (name, source) in console.operating.sync.iter().filter(|(name, _)| !known.contains(*name)) {
        match source {
            Source::Singer(singer) => services.push(unread(&console, name, singer, &person)),
            Source::Postgres(_) | Source::Foreign(_) => databases.push(unread_application(name)),
        }
    }
    let broken = client.query_typed(BROKEN, &[(&BROKEN_SHOWN, tokio_postgres::types::Type::INT8)]).await?;
    let broken = broken.iter().map(broken_view).collect::<Result<Vec<_>, _>>()?;
    if services.is_empty() && databases.is_empty() && broken.is_empty() {
        return Ok(page(Tab::Sync, &person, &None, &none()));
    }
    let one = if of.name.is_empty() { None } else { Some(sync_source::card(&client, &of.name, &person).await?) };
    let main = html! {
        @if !services.is_empty() {
            section class="card flush" {
                div class="card-head" { h2 { "Services" } p class="quiet small" { code { "weir sync add" } " adds one" } }
                (table("Services", &SERVICE_HEADS, services))
            }
        }
        @if !databases.is_empty() {
            section class="card flush" {
                div class="card-head" {
                    h2 { "Applications' databases" }
                    p class="quiet small" { code { "weir sync status NAME" } " says more" }
                }
                (table("Applications' databases", &DATABASE_HEADS, databases))
            }
        }
        @if !broken.is_empty() {
            section class="card flush" {
                div class="card-head" {
                    h2 { "Broken views" }
                    p class="quiet small" { "a table under them changed; " code { "sync.broken_views" } " has what makes them again" }
                }
                (table("Broken views", &[("View", ""), ("Since", "nowrap"), ("Reason", "wide")], broken))
            }
        }
        @if let Some(one) = one { (one) }
    };
    Ok(page(Tab::Sync, &person, &None, &main))
}

const SERVICE_HEADS: [(&str, &str); 8] = [
    ("Source", "wide"),
    ("State", ""),
    ("Behind", "number"),
    ("Last run", ""),
    ("Records", "number"),
    ("Rejected", "number"),
    ("Next", ""),
    ("", "actions"),
];
const DATABASE_HEADS: [(&str, &str); 6] = [
    ("Source", "wide"),
    ("State", ""),
    ("Behind", "number"),
    ("Tables", "number"),
    ("Left out", "number"),
    ("Slot keeps", "number"),
];

fn broken_view(row: &Row) -> Result<Vec<Markup>, tokio_postgres::Error> {
    let (name, reason): (&str, &str) = (row.try_get("name")?, row.try_get("reason")?);
    Ok(vec![html! { strong { (name) } }, time(row.try_get("broken_at")?), html! { (reason) }])
}

fn job(name: &str) -> String {
    format!("the sync of {name}")
}

/// The tap of that name, if this collector is the one that can run it.
fn tap<'a>(console: &'a Console, name: &str) -> Option<(&'a Source, &'a Singer)> {
    match console.operating.sync.get(name) {
        Some(source @ Source::Singer(singer)) if !singer.tap.is_empty() && singer.dir.is_dir() => {
            Some((source, singer))
        }
        _ => None,
    }
}

fn link(name: &str) -> Markup {
    html! { a href={ "/operate/sync?name=" (name) "#runs" } { strong { (name) } } }
}

fn button(console: &Console, name: &str, person: &Session) -> Markup {
    let may_run = person.is_operator() && tap(console, name).is_some();
    html! { @if may_run { (post(person, "/operate/sync/run", &[("name", name)], "Run now", None)) } }
}

fn about(singer: &Singer) -> String {
    let tap = if singer.tap.is_empty() { "weir sync load" } else { &singer.tap };
    let when = match singer.every.trim() {
        "" => "by hand".to_owned(),
        cron if cron.contains(' ') => format!("at {cron}"),
        every => format!("every {every}"),
    };
    format!("{tap}, {when}")
}

fn service(console: &Console, name: &str, row: &Row, person: &Session) -> Result<Vec<Markup>, tokio_postgres::Error> {
    let outcome: Option<&str> = row.try_get("outcome")?;
    let error: Option<&str> = row.try_get("error")?;
    let settings = match console.operating.sync.get(name) {
        Some(Source::Singer(singer)) => Some(singer),
        _ => None,
    };
    let state = match outcome {
        _ if console.operating.jobs.is_running(&job(name)) => dot(Tone::Accent, "running"),
        None => badge(Tone::Plain, "not run yet"),
        Some("running") => dot(Tone::Accent, "running"),
        Some("done") => dot(Tone::Good, "fine"),
        Some("lost") => dot(Tone::Warn, "was cut short"),
        Some(_) => dot(Tone::Bad, "failed"),
    };
    let started: Option<Timestamp> =
        row.try_get::<_, Option<i64>>("started_s")?.and_then(|second| Timestamp::from_second(second).ok());
    // After a failure it is tried again by another clock.
    let next = settings.filter(|_| outcome == Some("done")).zip(started).and_then(|(singer, started)| {
        Schedule::parse(&singer.every, &singer.timezone).ok().and_then(|schedule| schedule.next(started))
    });
    let (records, rejected): (Option<i64>, Option<i64>) = (row.try_get("rows")?, row.try_get("rejected")?);
    Ok(vec![
        html! {
            (link(name))
            p class="quiet" { (settings.map_or_else(|| "not in the settings here".to_owned(), about)) }
            @if let Some(error) = error { p class="bad" { (error) } }
        },
        state,
        html! { @if let Some(behind_s) = row.try_get::<_, Option<f64>>("behind_s")? { (span(behind_s)) } },
        html! { @if let Some(at) = row.try_get::<_, Option<&str>>("started_at")? { (time(at)) } },
        html! { @if let Some(records) = records { (number(records)) } },
        html! { @if let Some(rejected) = rejected { (number(rejected)) } },
        html! { @if let Some(next) = next { (time(&next.to_string())) } },
        button(console, name, person),
    ])
}

fn unread(console: &Console, name: &str, singer: &Singer, person: &Session) -> Vec<Markup> {
    let state = if console.operating.jobs.is_running(&job(name)) {
        dot(Tone::Accent, "running")
    } else {
        badge(Tone::Plain, "not run yet")
    };
    let mut cells = vec![html! { strong { (name) } p class="quiet" { (about(singer)) } }, state];
    cells.extend((0..5).map(|_| html! {}));
    cells.push(button(console, name, person));
    cells
}

fn application(name: &str, kind: &str, row: &Row) -> Result<Vec<Markup>, tokio_postgres::Error> {
    let error: Option<&str> = row.try_get("error")?;
    let to_copy: i64 = row.try_get::<_, Option<i64>>("to_copy")?.unwrap_or_default();
    let slot: Option<&str> = row.try_get("slot_state")?;
    let state = match (kind, error) {
        (_, Some(_)) => dot(Tone::Bad, "fails"),
        ("foreign", None) => dot(Tone::Good, "read when asked"),
        _ if to_copy > 0 => dot(Tone::Accent, "copying"),
        _ if slot == Some("lost") => dot(Tone::Bad, "slot is lost"),
        _ => dot(Tone::Good, "streaming"),
    };
    let count = |column: &str| {
        let count: Option<i64> = row.try_get(column)?;
        Ok::<_, tokio_postgres::Error>(html! { @if let Some(count) = count { (number(count)) } })
    };
    Ok(vec![
        html! {
            (link(name))
            p class="quiet" { @if kind == "foreign" { "foreign tables" } @else { "replication" } }
            @if let Some(error) = error { p class="bad" { (error) } }
        },
        html! { (state) @if to_copy > 0 { " " span class="quiet" { (to_copy) " tables to go" } } },
        html! { @if let Some(lag_s) = row.try_get::<_, Option<f64>>("lag_s")? { (span(lag_s)) } },
        count("live")?,
        count("left_out")?,
        html! { @if let Some(kept) = row.try_get::<_, Option<i64>>("slot_bytes")? { (bytes(kept)) } },
    ])
}

fn unread_application(name: &str) -> Vec<Markup> {
    let mut cells = vec![
        html! { strong { (name) } p class="quiet" { code { "weir sync plan " (name) } ", then " code { "weir sync start " (name) } } },
        badge(Tone::Plain, "not started"),
    ];
    cells.extend((0..4).map(|_| html! {}));
    cells
}

fn none() -> Markup {
    const APPLICATION: &str = "[sync.shop]\nkind = \"postgres\"\ntables = [\"public.*\"]";
    empty(
        "Nothing is synced yet",
        &html! {
            p { "Bring another service's data next to the events, where weir runs:" }
            (copyable("command", "weir sync add stripe --tap tap-stripe --every 1h"))
            p { "Or follow the application's own PostgreSQL. Put this into weir's settings, and its URL into " code { "WEIR_SYNC__SHOP__URL" } ":" }
            (copyable("settings", APPLICATION))
            p { code { "weir sync plan shop" } " shows what " code { "weir sync start shop" } " will do." }
        },
    )
}

/// `POST /operate/sync/run`: one tap, now.
pub async fn run_now(
    State(console): State<Arc<Console>>,
    Operator(person): Operator,
    Address(ip): Address,
    Signed(of): Signed<Of>,
) -> Result<Redirect, ConsoleError> {
    let name = of.name;
    let Some((source, singer)) = tap(&console, &name) else {
        return Err(ConsoleError::BadRequest(format!("{name} is no tap that this collector can run")));
    };
    let (schema, singer) = (source.schema(&name).to_owned(), singer.clone());
    audit::note(&console, &person.role, Some(ip), Action::RunSync, &name).await;
    let (database, of) = (console.operating.database.clone(), name.clone());
    let ran = console.operating.jobs.run(job(&name), async move { run(&database, &of, &schema, &singer).await });
    if let Some(Err(SingerError::Busy(reason))) = ran.await? {
        return Err(ConsoleError::BadRequest(format!("a run of {reason} is under way")));
    }
    // How it went, its own list tells.
    Ok(Redirect::to(&format!("/operate/sync?name={name}#runs")))
}
