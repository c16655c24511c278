//! What each person's statements take, so that they can regulate themselves: as PostgreSQL counts it, where it does, and as
//! the console does anyway.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use tokio_postgres::types::Type;

use super::draw::{bars, meter, span};
use super::{Tab, page};
use crate::analyst::usage::{self, Week};
use crate::console::Console;
use crate::console::auth::guard::Person;
use crate::console::error::ConsoleError;
use crate::console::page::parts::Tone;
use crate::console::page::parts::{bytes, copyable, empty, flash, number, table};

/// That are drawn; the last one is this week.
const WEEKS: u16 = 8;
const PEOPLE_SHOWN: usize = 500;

const RUNS: &str = include_str!("sql/usage_runs.sql");
/// Of bytes that lie as they are, the length is known without reading them.
const RESULTS: &str = "
    select role, count(*) as results, sum(octet_length(rows))::bigint as bytes from console.results group by role";
const MONDAYS: &str = "
    select (date_trunc('week', now() at time zone 'UTC')::date - 7 * n)::text
      from generate_series($1 - 1, 0, -1) n order by n desc";

/// All that is known of one person.
#[derive(Default)]
struct Used {
    /// By Monday.
    measured: HashMap<String, Week>,
    runs: HashMap<String, Runs>,
    results: i64,
    result_bytes: i64,
}

/// Of one week, in the console.
#[derive(Default, Clone, Copy)]
struct Runs {
    count: i64,
    seconds: f64,
    failed: i64,
}

impl Used {
    /// What the week took, by one measure for all: weeks and people are compared by it.
    fn seconds(&self, week: &str, is_counted: bool) -> f64 {
        if is_counted {
            return self.measured.get(week).and_then(|week| week.exec_seconds).unwrap_or_default();
        }
        self.runs.get(week).map_or(0.0, |runs| runs.seconds)
    }
}

/// `GET /operate/usage`.
pub async fn show(State(console): State<Arc<Console>>, Person(person): Person) -> Result<Response, ConsoleError> {
    let client = console.database.client().await?;
    let mut people: BTreeMap<String, Used> = BTreeMap::new();
    for week in usage::usage(&client, WEEKS).await? {
        people.entry(week.person.clone()).or_default().measured.insert(week.week.clone(), week);
    }
    for row in client.query_typed(RUNS, &[(&i32::from(WEEKS), Type::INT4)]).await? {
        let runs =
            Runs { count: row.try_get("runs")?, seconds: row.try_get("seconds")?, failed: row.try_get("failed")? };
        people.entry(row.try_get("role")?).or_default().runs.insert(row.try_get("week")?, runs);
    }
    for row in client.query_typed(RESULTS, &[]).await? {
        let used = people.entry(row.try_get("role")?).or_default();
        (used.results, used.result_bytes) = (row.try_get("results")?, row.try_get("bytes")?);
    }
    let mut mondays: Vec<String> = Vec::new();
    for row in client.query_typed(MONDAYS, &[(&i32::from(WEEKS), Type::INT4)]).await? {
        mondays.push(row.try_get(0)?);
    }
    let missing = usage::missing(&client).await?;
    let is_counted = missing.is_none();
    let note = missing.map(|cure| flash(Tone::Warn, &html! { p { (cure) } }));
    if people.is_empty() {
        let main = html! { @if let Some(note) = note { (note) } (none()) };
        return Ok(page(Tab::Usage, &person, &None, &main));
    }
    let main = html! {
        @if let Some(note) = note { (note) }
        (card(people, &mondays, is_counted))
    };
    Ok(page(Tab::Usage, &person, &None, &main))
}

fn card(people: BTreeMap<String, Used>, mondays: &[String], is_counted: bool) -> Markup {
    let this = mondays.last().map(String::as_str).unwrap_or_default();
    let mut people: Vec<(String, Used)> = people.into_iter().collect();
    people.sort_by(|(_, one), (_, other)| other.seconds(this, is_counted).total_cmp(&one.seconds(this, is_counted)));
    let most = people.first().map_or(0.0, |(_, used)| used.seconds(this, is_counted)).max(f64::MIN_POSITIVE);
    let heads = [
        ("Person", ""),
        ("Statements", "number"),
        ("In PostgreSQL", "number"),
        ("Share", ""),
        ("Against last week", "number"),
        ("Temp files", "number"),
        ("Own tables", "number"),
        ("Runs here", "number"),
        ("Results kept", "number"),
        ("8 weeks", ""),
    ];
    let rows = people.iter().take(PEOPLE_SHOWN).map(|(name, used)| line(name, used, mondays, is_counted, most));
    html! {
        section class="card flush" {
            div class="card-head" {
                h2 { "This week, by person" }
                p class="quiet small" { "since Monday, " (this) " (UTC); " code { "analytics.usage" } " has the weeks before" }
            }
            (table("Usage by person", &heads, rows))
        }
    }
}

fn line(name: &str, used: &Used, mondays: &[String], is_counted: bool, most: f64) -> Vec<Markup> {
    let this = mondays.last().map(String::as_str).unwrap_or_default();
    let week = used.measured.get(this);
    let measured = |of: fn(&Week) -> Option<i64>, shown: fn(i64) -> String| {
        html! { @match week.and_then(of) { Some(value) => { (shown(value)) }, None => span class="quiet" { "–" } } }
    };
    let runs = used.runs.get(this).copied().unwrap_or_default();
    let seconds = used.seconds(this, is_counted);
    let weeks: Vec<f64> = mondays.iter().map(|monday| used.seconds(monday, is_counted)).collect();
    let before = weeks.len().checked_sub(2).and_then(|place| weeks.get(place)).copied().unwrap_or_default();
    vec![
        html! { strong { (name) } },
        measured(|week| week.statements, number),
        html! {
            @match week.and_then(|week| week.exec_seconds) { Some(seconds) => { (span(seconds)) }, None => span class="quiet" { "–" } }
        },
        meter(seconds / most, &format!("{seconds:.0} s")),
        change(seconds, before),
        measured(|week| week.temp_bytes, bytes),
        measured(|week| week.schema_bytes, bytes),
        html! {
            (number(runs.count))
            @if runs.count > 0 { p class="quiet" { (span(runs.seconds)) @if runs.failed > 0 { ", " (runs.failed) " failed" } } }
        },
        html! { (bytes(used.result_bytes)) @if used.results > 0 { p class="quiet" { (number(used.results)) @if used.results == 1 { " result" } @else { " results" } } } },
        bars(&weeks, &format!("Seconds in each of {} weeks, the last {seconds:.0}", weeks.len())),
    ]
}

fn change(now: f64, before: f64) -> Markup {
    let difference = now - before;
    html! {
        @if before <= 0.0 && now <= 0.0 { span class="quiet" { "–" } }
        @else if difference < 0.0 { "−" (span(-difference)) }
        @else { "+" (span(difference)) }
    }
}

fn none() -> Markup {
    empty(
        "Nobody has run anything yet",
        &html! {
            p { "What people's statements take stands here by week, so that everybody sees whom a slow one slows down. People get roles where weir runs:" }
            (copyable("command", "weir analyst add NAME"))
        },
    )
}
