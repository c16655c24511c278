//! Queries that run by themselves, each with its owner's role.
//!
//! A query's next moment stands in its row. Whoever moves that on, in one statement, runs it: so any number of collectors
//! may look, and one that dies loses at most the run under way.

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::types::{ToSql, Type};

use super::store::{self, Query};
use crate::analyst;
use crate::console::Console;
use crate::console::error::ConsoleError;
use crate::console::run::history::Kind;
use crate::console::run::runs::{Ask, AskedQuery, State};
use crate::console::run::statements;
use crate::database::{Database, DatabaseError};
use crate::schedule::Schedule;

/// A scheduled query is read by people: no more often than they look.
const EVERY_S_MIN: i64 = 60;
/// Begun at one look.
const STARTS_MAX: i64 = 10;

/// What the page offers.
pub const OFFERED: [(&str, &str); 5] = [
    ("", "by hand only"),
    ("15m", "every 15 minutes"),
    ("1h", "every hour"),
    ("15 6 * * *", "daily at 06:15 UTC"),
    ("15 6 * * 1", "Mondays at 06:15 UTC"),
];

/// A schedule in words.
pub fn spoken(cron: Option<&str>) -> String {
    let cron = cron.unwrap_or_default();
    let offered = OFFERED.iter().find(|(every, _)| *every == cron);
    offered.map_or_else(|| cron.to_owned(), |(_, name)| (*name).to_owned())
}

/// Sets when a query runs; an empty text ends it.
pub async fn set(console: &Console, query: &Query, every: &str) -> Result<(), ConsoleError> {
    let bad = |reason: &str| ConsoleError::BadRequest(format!("{every:?} is no schedule: {reason}"));
    let schedule = Schedule::parse(every, "UTC").map_err(|error| bad(&error))?;
    let now = console.clock.now();
    let next = schedule.next(now);
    if let (Some(first), Some(second)) = (next, next.and_then(|next| schedule.next(next)))
        && second.as_second() - first.as_second() < EVERY_S_MIN
    {
        return Err(bad("a query runs once a minute at most"));
    }
    if next.is_some() {
        let needed = statements::parameters(&query.text.sql);
        if !needed.is_empty() {
            let reason = format!("nobody is there to give a value for {}", needed.join(", "));
            return Err(ConsoleError::BadRequest(reason));
        }
        let client = console.database.client().await?;
        if analyst::stand_in::of(&client, &query.role).await?.is_none() {
            let reason = format!(
                "{0} has no login for schedules, as people who were added before there were any: `weir analyst add {0}` makes it",
                query.role
            );
            return Err(ConsoleError::BadRequest(reason));
        }
    }
    let sql = "update console.queries
                  set cron = nullif($2, ''), next_run_at = $3::text::timestamptz, schedule_error = null
                where query_id = $1";
    let next = next.map(|next| next.to_string());
    let values: [(&(dyn ToSql + Sync), Type); 3] = [(&query.id, Type::INT8), (&every, Type::TEXT), (&next, Type::TEXT)];
    console.database.client().await?.execute_typed(sql, &values).await?;
    Ok(())
}

/// Begins what is due.
pub async fn start_due(console: &Arc<Console>) -> Result<(), DatabaseError> {
    for (slug, cron) in take_due(&console.database, console.clock.now()).await? {
        if let Err(error) = start(console, &slug, &cron).await {
            tracing::warn!(%error, query = slug, "a scheduled query could not begin: tried again in an hour");
        }
    }
    Ok(())
}

async fn start(console: &Arc<Console>, slug: &str, cron: &str) -> Result<(), DatabaseError> {
    let Some(query) = store::look(&console.database, slug, None).await? else { return Ok(()) };
    let next = Schedule::parse(cron, "UTC").ok().and_then(|schedule| schedule.next(console.clock.now()));
    set_next(&console.database, query.id, next).await?;
    // One that takes longer than its rhythm does not queue up.
    if !console.runs.is_under_way(query.id) {
        tokio::spawn(run(Arc::clone(console), query));
    }
    Ok(())
}

/// Those whose moment has come. It is moved on by an hour at once, so that nobody else takes them.
async fn take_due(database: &Database, now: Timestamp) -> Result<Vec<(String, String)>, DatabaseError> {
    let sql =
        "update console.queries set next_run_at = greatest(next_run_at, $1::text::timestamptz) + interval '1 hour'
                where query_id in (select query_id from console.queries where next_run_at <= $1::text::timestamptz
                                    order by next_run_at limit $2 for update skip locked)
               returning slug, coalesce(cron, '')";
    let now = now.to_string();
    let rows = database.client().await?.query_typed(sql, &[(&now, Type::TEXT), (&STARTS_MAX, Type::INT8)]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

async fn set_next(database: &Database, id: i64, next: Option<Timestamp>) -> Result<(), DatabaseError> {
    let sql = "update console.queries set next_run_at = $2::text::timestamptz where query_id = $1 and cron is not null";
    let next = next.map(|next| next.to_string());
    database.client().await?.execute_typed(sql, &[(&id, Type::INT8), (&next, Type::TEXT)]).await?;
    Ok(())
}

async fn run(console: Arc<Console>, query: Query) {
    let failed = match begin(&console, &query).await {
        Ok(State::Failed { error, .. }) => Some(error.message),
        Ok(State::Cancelled { .. }) => Some("it was cancelled".to_owned()),
        Ok(State::Running { .. } | State::Done { .. }) => None,
        Err(error) => Some(error.to_string()),
    };
    if let Some(reason) = &failed {
        tracing::warn!(query = query.slug, role = query.role, reason, "a scheduled query failed");
    }
    let sql = "update console.queries set schedule_error = $2 where query_id = $1";
    let noted = async {
        let client = console.database.client().await?;
        client.execute_typed(sql, &[(&query.id, Type::INT8), (&failed, Type::TEXT)]).await?;
        Ok::<_, DatabaseError>(())
    };
    if let Err(error) = noted.await {
        tracing::warn!(%error, query = query.slug, "how a scheduled query ended could not be noted");
    }
}

async fn begin(console: &Arc<Console>, query: &Query) -> Result<State, ConsoleError> {
    let stand_in = {
        let client = console.database.client().await?;
        if !analyst::standing(&client, &query.role).await?.is_analyst {
            return Err(ConsoleError::Forbidden(format!("{} may not log in any more", query.role)));
        }
        analyst::stand_in::of(&client, &query.role).await?
    };
    let stand_in =
        stand_in.ok_or_else(|| ConsoleError::Forbidden(format!("{} has no login for schedules", query.role)))?;
    let ask = Ask {
        role: query.role.clone(),
        login: stand_in.role,
        password: stand_in.password,
        kind: Kind::Schedule,
        sql: query.text.sql.clone(),
        parameters: BTreeMap::new(),
        query: Some(AskedQuery {
            id: query.id,
            version: query.version,
            title: query.text.title.clone(),
            chart: query.text.chart.clone(),
            shares_results: query.text.shares_results,
        }),
        is_foreign: false,
    };
    let run = console.runs.begin(&console.database, ask).await?;
    // Its own limit of time ends it.
    Ok(run.state(Duration::MAX).await)
}
