//! The days of the events table: how large they are, and how long they are kept.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::draw::meter;
use super::{Tab, card, page};
use crate::console::Console;
use crate::console::auth::guard::Person;
use crate::console::error::ConsoleError;
use crate::console::page::parts::{Look, Tone, badge, bytes, number, table, table_of, time};
use crate::metrics::RetentionMetrics;
use crate::retention::Upkeep;
use crate::retention::listing::{Leaf, Status, leaves};
use crate::retention::policy::Policy;

/// Two years of days; the sums are of all.
const DAYS_SHOWN: usize = 740;
const RUNS_SHOWN: i64 = 50;

const EVENTS: &str = "
    select (coalesce((select sum(stored) from weir.accounting), 0) - coalesce((select sum(rows) from weir.removed), 0))::bigint";
const RUNS: &str = "
    select to_char(run_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as run_at, day::text as day, action, rule, rows, detail
      from weir.retention_runs order by id desc limit $1";

/// `GET /operate/partitions`.
pub async fn show(State(console): State<Arc<Console>>, Person(person): Person) -> Result<Response, ConsoleError> {
    let upkeep = Upkeep {
        database: console.database.clone(),
        settings: console.operating.retention.clone(),
        clock: Arc::clone(&console.clock),
        entropy: Arc::clone(&console.entropy),
        partitions: Arc::default(),
        metrics: RetentionMetrics::noop(),
        // Nothing is removed from here.
        has_lake: false,
    };
    let client = console.database.client().await?;
    let today = upkeep.today(&client).await?;
    let policy = Policy::new(&upkeep.settings, today);
    let mut leaves = leaves(&client, false).await?;
    // Days that are here, the newest first; then those to come, and what has no day, unless there are rows in it, which is an
    // alarm.
    leaves.sort_by_key(|leaf| {
        let place = match leaf.day {
            None if leaf.rows.unwrap_or_default() > 0 => 0,
            Some(day) if day <= today => 1,
            Some(_) => 2,
            None => 3,
        };
        (place, std::cmp::Reverse(leaf.day))
    });
    let most = leaves.iter().filter_map(|leaf| leaf.rows).max().unwrap_or_default().max(1);
    let sum = |of: fn(&Leaf) -> i64| leaves.iter().map(of).sum::<i64>();
    let days = leaves.iter().filter(|leaf| leaf.day.is_some_and(|day| day <= today)).count();
    let heads = [
        ("Day", ""),
        ("Status", ""),
        ("Rows, about", "number"),
        ("Share", ""),
        ("Table", "number"),
        ("Indexes", "number"),
        ("Kept until", ""),
    ];
    let rows = leaves.iter().take(DAYS_SHOWN).map(|leaf| {
        let status = leaf.status(&policy, today);
        line(leaf, status, leaf.kept_until(&policy).map(|day| day.to_string()), most)
    });
    let kept = &console.operating.retention.events;
    let main = html! {
        div class="figures" {
            (figure("Events", &number(events(&client).await?)))
            (figure("Tables", &bytes(sum(|leaf| leaf.heap_bytes))))
            (figure("Indexes", &bytes(sum(|leaf| leaf.index_bytes))))
            (figure("Days until today", &number(days as i64)))
        }
        section class="card flush" {
            div class="card-head" {
                h2 { "Days" }
                p class="quiet small" { "retention.events = " code { "\"" (kept) "\"" } ", " code { "weir partitions --exact" } " counts" }
            }
            (table_of(&Look { is_tall: true, ..Look::default() }, "Days", &heads, rows))
        }
        (runs(&client).await?)
    };
    Ok(page(Tab::Partitions, &person, &None, &main))
}

fn figure(name: &str, value: &str) -> Markup {
    html! { div { span class="figure-name" { (name) } span class="figure-value" { (value) } } }
}

fn line(leaf: &Leaf, status: Status, until: Option<String>, most: i64) -> Vec<Markup> {
    let tone = match status {
        Status::Default if leaf.rows.unwrap_or_default() > 0 => Tone::Bad,
        Status::Open => Tone::Accent,
        Status::Over | Status::Detached => Tone::Warn,
        _ => Tone::Plain,
    };
    let until = until.unwrap_or_else(|| match status {
        Status::Detached => "now".to_owned(),
        Status::Default | Status::Foreign => String::new(),
        _ => "for ever".to_owned(),
    });
    vec![
        html! { @match leaf.day { Some(day) => { (day) }, None => { code { (leaf.name) } } } },
        badge(tone, status.name()),
        html! {
            @match leaf.rows {
                Some(count) => { (number(count)) },
                None => span class="quiet" { @if status != Status::Ahead { "not counted yet" } },
            }
        },
        html! { @if let Some(count) = leaf.rows { (meter(count as f64 / most as f64, &format!("{count} rows"))) } },
        html! { (bytes(leaf.heap_bytes)) },
        html! { (bytes(leaf.index_bytes)) },
        html! { (until) },
    ]
}

/// Stored, and not removed since.
async fn events(client: &Client) -> Result<i64, ConsoleError> {
    Ok(client.query_typed_one(EVENTS, &[]).await?.try_get(0)?)
}

async fn runs(client: &Client) -> Result<Markup, ConsoleError> {
    let mut rows = Vec::new();
    for row in client.query_typed(RUNS, &[(&RUNS_SHOWN, Type::INT8)]).await? {
        let [day, action, rule, detail]: [&str; 4] =
            [row.try_get("day")?, row.try_get("action")?, row.try_get("rule")?, row.try_get("detail")?];
        rows.push(vec![
            time(row.try_get("run_at")?),
            html! { (day) },
            html! { (action) },
            html! { (number(row.try_get("rows")?)) },
            html! { (rule) },
            html! { (detail) },
        ]);
    }
    let heads = [("Run", "nowrap"), ("Day", ""), ("Was", ""), ("Rows", "number"), ("Rule", ""), ("What", "wide")];
    let list = (!rows.is_empty()).then(|| table("Retention", &heads, rows));
    let command = html! { code { "weir partitions prune --dry-run" } " tells what would go" };
    Ok(card("removed", &html! { "What retention has removed" }, &command, list.as_ref(), &html! { "Nothing yet." }))
}
