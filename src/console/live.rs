//! What is going on now. All who look get the same answer, computed once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::value::{RawValue, to_raw_value};

use super::auth::guard::Person;
use super::auth::session::Session;
use super::error::ConsoleError;
use super::page::parts::{Look, copyable, table_of};
use super::page::{Page, Section};
use super::shared::{self, Latest};
use super::{Console, lock};

/// Half an hour of a busy site is more than can be counted for every look at it: then there are no counts.
const COUNT_TIMEOUT_MS: u32 = 1_000;
const NEWEST_TIMEOUT_MS: u32 = 2_000;

const COUNTS: &str = include_str!("sql/live.sql");
const NEWEST: &str = include_str!("sql/live_newest.sql");

/// After counting took too long: until it is tried again.
const COUNT_PAUSE: Duration = Duration::from_secs(60);

/// What is remembered between two looks.
#[derive(Default)]
pub struct Live {
    latest: Latest,
    gave_up_at: Mutex<Option<Instant>>,
}

/// `GET /live/data`.
pub async fn data(State(console): State<Arc<Console>>, Person(_): Person) -> Result<Response, ConsoleError> {
    console.live.latest.get(ask(&console)).await
}

async fn ask(console: &Console) -> Result<String, ConsoleError> {
    let newest = shared::read(console, NEWEST, &[], NEWEST_TIMEOUT_MS).await?;
    // Too many to count is no reason to show nothing.
    let pauses = lock(&console.live.gave_up_at).is_some_and(|at| at.elapsed() < COUNT_PAUSE);
    let counted = if pauses { None } else { shared::read(console, COUNTS, &[], COUNT_TIMEOUT_MS).await.ok() };
    if counted.is_none() && !pauses {
        *lock(&console.live.gave_up_at) = Some(Instant::now());
    }
    let counts = counted.unwrap_or_else(|| r#"{"visitors_now":null,"per_minute":[]}"#.to_owned());
    let unfit = |error: serde_json::Error| ConsoleError::Internal(error.to_string());
    let mut members: BTreeMap<&str, Box<RawValue>> = serde_json::from_str(&newest).map_err(unfit)?;
    members.extend(serde_json::from_str::<BTreeMap<&str, Box<RawValue>>>(&counts).map_err(unfit)?);
    // To the millisecond, as it is measured.
    let freshness_s = (console.operator.freshness_lag_s() * 1_000.0).round() / 1_000.0;
    let now_ms = console.clock.now().as_millisecond();
    members.insert("now_ms", to_raw_value(&now_ms).map_err(unfit)?);
    members.insert("freshness_s", to_raw_value(&freshness_s).map_err(unfit)?);
    serde_json::to_string(&members).map_err(unfit)
}

/// `GET /`: what happens now, or how to make something happen.
pub async fn show(State(console): State<Arc<Console>>, Person(person): Person) -> Result<Response, ConsoleError> {
    let client = console.database.client().await?;
    let has_events: bool =
        client.query_typed_one("select exists (select 1 from analytics.events limit 1)", &[]).await?.try_get(0)?;
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
