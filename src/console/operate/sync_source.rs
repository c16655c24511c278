//! One source of other data: its latest runs, and for operators what the last one said and what was rejected.

use maud::{Markup, html};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::console::auth::session::Session;
use crate::console::error::ConsoleError;
use crate::console::page::parts::{Tone, dot, duration, number, table, time};

const RUNS_SHOWN: i64 = 30;
/// Of what a tap said, its end.
const LOG_CHARS: i32 = 8_000;
const REJECTS_SHOWN: i64 = 20;
const RECORD_CHARS: i32 = 1_000;

const RUNS: &str = include_str!("sql/sync_runs.sql");
const REJECTS: &str = "
    select to_char(rejected_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as rejected_at, coalesce(stream, '') as stream, reason,
           left(record, $3) as record
      from sync.rejects where source = $1 order by reject_id desc limit $2";

/// All that is shown of `name`.
pub async fn card(client: &Client, name: &str, person: &Session) -> Result<Markup, ConsoleError> {
    let (mut runs, mut log) = (Vec::new(), None);
    let rows =
        client.query_typed(RUNS, &[(&name, Type::TEXT), (&RUNS_SHOWN, Type::INT8), (&LOG_CHARS, Type::INT4)]).await?;
    for row in rows {
        log = log.or(row.try_get::<_, Option<String>>("log")?);
        let outcome = match row.try_get("outcome")? {
            "done" => dot(Tone::Good, "done"),
            "running" => dot(Tone::Accent, "running"),
            "lost" => dot(Tone::Warn, "was cut short"),
            _ => dot(Tone::Bad, "failed"),
        };
        let error: &str = row.try_get("error")?;
        runs.push(vec![
            time(row.try_get("started_at")?),
            outcome,
            html! { (duration(row.try_get("ms")?)) },
            html! { (number(row.try_get("rows")?)) },
            html! { (number(row.try_get("rejected")?)) },
            html! { (error) },
        ]);
    }
    let rejects = if person.is_operator() { rejects(client, name).await? } else { Vec::new() };
    let heads = [
        ("Started", "nowrap"),
        ("Outcome", ""),
        ("Took", "number"),
        ("Records", "number"),
        ("Rejected", "number"),
        ("Error", "wide"),
    ];
    let list = (!runs.is_empty()).then(|| table("Runs", &heads, runs));
    let title = html! { "Runs of " code { (name) } };
    let latest = html! { "the latest " (RUNS_SHOWN) };
    let nothing = html! { "No run yet: " code { "weir sync run " (name) } " begins one." };
    Ok(html! {
        (super::card("runs", &title, &latest, list.as_ref(), &nothing))
        // What a tap says and what it brings is data of the service's: not everybody's.
        @if person.is_operator() {
            @if let Some(log) = log.filter(|log| !log.trim().is_empty()) {
                section class="card" { h2 { "What the last run said" } pre class="log" { (log.trim_end()) } }
            }
            @if !rejects.is_empty() {
                section class="card flush" {
                    div class="card-head" {
                        h2 { "Records that fit no table" }
                        p class="quiet small" { "the latest " (REJECTS_SHOWN) "; " code { "weir sync rejects " (name) } " has more" }
                    }
                    (table("Rejects", &[("When", "nowrap"), ("Stream", ""), ("Reason", "wide"), ("Record", "wide")], rejects))
                }
            }
        }
    })
}

async fn rejects(client: &Client, name: &str) -> Result<Vec<Vec<Markup>>, ConsoleError> {
    let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
        [(&name, Type::TEXT), (&REJECTS_SHOWN, Type::INT8), (&RECORD_CHARS, Type::INT4)];
    let mut rejects = Vec::new();
    for row in client.query_typed(REJECTS, &values).await? {
        let (stream, reason): (&str, &str) = (row.try_get("stream")?, row.try_get("reason")?);
        let record: &str = row.try_get("record")?;
        rejects.push(vec![
            time(row.try_get("rejected_at")?),
            html! { (stream) },
            html! { (reason) },
            html! { details { summary { "Record" } code { (record) } } },
        ]);
    }
    Ok(rejects)
}
