//! What is going on now. All who look get the same answer, computed once.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use tokio::sync::Mutex;

use super::Console;
use super::auth::guard::Person;
use super::auth::session::Session;
use super::error::ConsoleError;
use super::page::parts::{Look, copyable, table_of};
use super::page::{Page, Section};

/// How old an answer may be.
const AGE_MAX: Duration = Duration::from_millis(900);
/// Half an hour of a busy site is more than can be counted for every look at it: then there are no counts.
const COUNT_TIMEOUT_MS: u32 = 1_000;
const NEWEST_TIMEOUT_MS: u32 = 2_000;

const COUNTS: &str = include_str!("sql/live.sql");
const NEWEST: &str = include_str!("sql/live_newest.sql");

/// After counting took too long: until it is tried again.
const COUNT_PAUSE: Duration = Duration::from_secs(60);

/// The latest answer.
#[derive(Default)]
pub struct Latest(Mutex<Known>);

#[derive(Default)]
struct Known {
    answer: Option<(Instant, Arc<str>)>,
    gave_up_at: Option<Instant>,
}

/// `GET /live/data`.
pub async fn data(State(console): State<Arc<Console>>, Person(_): Person) -> Result<Response, ConsoleError> {
    // Held while the database is asked: others wait for this answer instead of asking, too.
    let mut latest = console.live.0.lock().await;
    let known = latest.answer.as_ref().filter(|(at, _)| at.elapsed() < AGE_MAX).map(|(_, json)| Arc::clone(json));
    let json = if let Some(json) = known {
        json
    } else {
        let json: Arc<str> = ask(&console, &mut latest.gave_up_at).await?.into();
        latest.answer = Some((Instant::now(), Arc::clone(&json)));
        json
    };
    drop(latest);
    Ok(([(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response())
}

async fn ask(console: &Console, gave_up_at: &mut Option<Instant>) -> Result<String, ConsoleError> {
    let newest = one(console, NEWEST, NEWEST_TIMEOUT_MS).await?;
    // Too many to count is no reason to show nothing.
    let pauses = gave_up_at.is_some_and(|at| at.elapsed() < COUNT_PAUSE);
    let counted = if pauses { None } else { one(console, COUNTS, COUNT_TIMEOUT_MS).await.ok() };
    if counted.is_none() && !pauses {
        *gave_up_at = Some(Instant::now());
    }
    let counts = counted.unwrap_or_else(|| r#"{"visitors_now":null,"per_minute":[]}"#.to_owned());
    let (now_ms, freshness_s) = (console.clock.now().as_millisecond(), console.operator.freshness_lag_s());
    let mut json = format!(r#"{{"now_ms":{now_ms},"freshness_s":{freshness_s:.3}"#);
    for object in [counts, newest] {
        let members = object.trim().trim_start_matches('{').trim_end_matches('}');
        let _ = write!(json, ",{members}");
    }
    json.push('}');
    Ok(json)
}

async fn one(console: &Console, sql: &str, timeout_ms: u32) -> Result<String, ConsoleError> {
    let mut client = console.database.client().await?;
    let transaction = client.build_transaction().read_only(true).start().await?;
    transaction.batch_execute(&format!("set local statement_timeout = {timeout_ms}")).await?;
    let json = transaction.query_typed_one(sql, &[]).await?.try_get(0)?;
    transaction.commit().await?;
    Ok(json)
}

/// `GET /`: what happens now, or how to make something happen.
pub async fn show(State(console): State<Arc<Console>>, Person(person): Person) -> Result<Response, ConsoleError> {
    let client = console.database.client().await?;
    let has_events: bool =
        client.query_typed_one("select exists (select from analytics.events)", &[]).await?.try_get(0)?;
    let page = Page::new("Live", "live", Section::Live, &person);
    if has_events {
        return Ok(page.show(&live()));
    }
    Ok(Page { waiting: true, ..page }.show(&first_steps(&console, &person)))
}

fn live() -> Markup {
    let counts = [
        ("Source", ""),
        ("Accepted", "number"),
        ("Stored", "number"),
        ("Duplicate", "number"),
        ("Quarantined", "number"),
        ("Pending", "number"),
        ("Unexplained", "number"),
    ];
    let columns = [
        ("Time", ""),
        ("Source", ""),
        ("Kind", ""),
        ("Name", ""),
        ("Path", ""),
        ("Visitor", ""),
        ("Country", ""),
        ("Browser", ""),
        ("Properties", ""),
    ];
    html! {
        div class="head" { h1 { "Live" } p class="quiet" #live-state role="status" {} }
        div class="split" {
            section class="card pulse" aria-labelledby="now" {
                div {
                    h2 #now { "Visitors now" }
                    span class="figure-value" #visitors-now { "–" }
                    p class="quiet small" { "within the last 5 minutes" }
                }
                p { "The oldest event that is not yet a row is " strong #freshness { "–" } " old." }
            }
            section class="card" aria-labelledby="views" {
                div class="card-head" { h2 #views { "Page views a minute" } p class="quiet small" { "the last 30 minutes" } }
                div #minutes {}
                p class="minutes-axis" aria-hidden="true" { span {} span {} span { "now" } }
            }
        }
        section class="card flush" aria-labelledby="books" {
            div class="card-head" {
                h2 #books { "Accounting" }
                p class="quiet small" { "accepted = stored + duplicate + quarantined + pending" }
            }
            (table_of(&Look { id: Some("accounting"), ..Look::default() }, "Accounting by source", &counts, []))
        }
        section class="card flush" aria-labelledby="newest" {
            div class="card-head" {
                h2 #newest { "Newest events" }
                form class="row needs-script" #event-filter {
                    label class="hidden-visually" for="filter-source" { "Source" }
                    select #filter-source { option value="" { "every source" } }
                    label class="hidden-visually" for="filter-kind" { "Kind" }
                    select #filter-kind { option value="" { "every kind" } }
                    label class="hidden-visually" for="filter-name" { "Name or path" }
                    input #filter-name type="search" placeholder="Name or path" data-search;
                    button type="button" #pause aria-pressed="false" { "Pause" }
                }
            }
            (table_of(&Look { id: Some("events"), class: "events", is_tall: true }, "Newest events", &columns, []))
        }
    }
}

fn first_steps(console: &Console, person: &Session) -> Markup {
    let (address, key) = console
        .first_source
        .as_ref()
        .map_or(("https://YOUR-COLLECTOR", "KEY"), |first| (first.collector.as_str(), first.public_key.as_str()));
    let tag = format!(r#"<script defer src="{address}/w.js" data-key="{key}"></script>"#);
    let curl = format!(
        "curl {address}/v1/events -H 'authorization: Bearer {key}' \\\n  -H 'content-type: application/json' -d '{{\"name\":\"hello\"}}'"
    );
    html! {
        div class="head" { h1 { "Send the first event" } }
        section class="card" {
            ol class="steps" {
                li {
                    h2 { "Paste this into your pages" }
                    (copyable("tag", &tag))
                    p class="quiet small" {
                        "Page views are counted from then on, without cookies. " code { "w.full.js" } " counts clicks on elements with "
                        code { "data-weir-event" } " too."
                        @if console.first_source.is_none() {
                            " The key is what " code { "weir source add NAME" } " printed"
                            @if person.is_operator() { "; " a href="/operate/sources" { "new keys" } " are made here, too" }
                            "."
                        }
                    }
                }
                li { h2 { "Or send one by hand" } (copyable("curl", &curl)) }
                li {
                    h2 { "Watch it arrive" }
                    p class="waiting" role="status" #waiting { "Waiting for the first event…" }
                    p class="quiet small needs-script" { "This page turns into the live view by itself." }
                }
            }
        }
    }
}
