//! The events table and the books: partitions, what found none, what was refused, and what is not accounted for.

use std::collections::BTreeMap;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use jiff::civil::Date;
use tokio_postgres::Error;

use super::finding::{Finding, Level};
use crate::config::Config;
use crate::retention::RetentionError;
use crate::retention::listing::{Leaf, Status, leaves};
use crate::retention::policy::Policy;

const STRAYS: &str = include_str!("sql/strays.sql");
const ACCOUNTING: &str = include_str!("sql/accounting.sql");
const QUARANTINE: &str = include_str!("sql/quarantine.sql");

/// Each statement that names no range of days plans, and locks, all of them.
const PARTITIONS_MANY: usize = 1_000;
/// Retention runs every ten minutes; a day that somebody kept open goes by the next run, not by the next day.
const OVER_DAYS_MAX: i32 = 1;
/// While collectors work the books may be off until the next report.
const REPORTS: Duration = Duration::from_millis(2_500);
/// As many as the query counts.
const QUARANTINED_MAX: i64 = 10_000;

pub async fn partitions(client: &ClientWrapper, config: &Config, today: Date) -> Result<Vec<Finding>, RetentionError> {
    let policy = Policy::new(&config.retention, today);
    let leaves = leaves(client, false).await?;
    let ahead = leaves.iter().filter(|leaf| leaf.status(&policy, today) == Status::Ahead).count();
    let wanted = usize::from(config.flush.partition_days_ahead);
    let why = "without a running collector nobody makes them; events of a day without a partition are sorted out one by one later";
    let mut findings = vec![if ahead == 0 {
        let found = "no partition is there for tomorrow";
        Finding::new(
            Level::Problem,
            "partitions.ahead",
            found,
            why,
            "start a collector, or look for `partition` in its log",
        )
    } else if ahead + 1 < wanted {
        let found = format!("partitions are there for {ahead} days ahead of {wanted}");
        Finding::new(
            Level::Warning,
            "partitions.ahead",
            found,
            why,
            "start a collector, or look for `partition` in its log",
        )
    } else {
        Finding::ok("partitions.ahead", format!("partitions are there for {ahead} days ahead"))
    }];
    findings.push(if leaves.len() > PARTITIONS_MANY {
        let why = "a statement that names no range of occurred_at plans and locks all of them";
        let cure = "[retention] events = \"24 months\"      (docs/retention.md; days can go to Parquet first)";
        Finding::new(Level::Warning, "partitions.count", format!("{} partitions", leaves.len()), why, cure)
    } else {
        Finding::ok("partitions.count", format!("{} partitions", leaves.len()))
    });
    let late = |leaf: &&Leaf| {
        leaf.is_detached() || leaf.kept_until(&policy).is_some_and(|until| days_between(until, today) > OVER_DAYS_MAX)
    };
    let over = leaves.iter().filter(late).count();
    findings.push(if over > 0 {
        let why = "events are kept for longer than [retention] says";
        let cure = "weir partitions prune --dry-run     and the collectors' log, which names the table that somebody keeps open";
        Finding::new(Level::Warning, "partitions.over", format!("{over} days are over and still there"), why, cure)
    } else {
        Finding::ok("partitions.over", "no day is kept for longer than it should be")
    });
    findings.push(strays(client).await?);
    Ok(findings)
}

fn days_between(earlier: Date, later: Date) -> i32 {
    earlier.until(later).map_or(0, |span| span.get_days())
}

async fn strays(client: &ClientWrapper) -> Result<Finding, RetentionError> {
    let check = "partitions.default";
    if !client.query_typed_one(STRAYS, &[]).await?.try_get::<_, bool>(0)? {
        let why = "an event of a day without a partition would be refused";
        let cure = "create table analytics.events_default partition of analytics.events default;";
        return Ok(Finding::new(Level::Problem, check, "the default partition is missing", why, cure));
    }
    let sql = "select exists (select 1 from only analytics.events_default limit 1)";
    Ok(if client.query_typed_one(sql, &[]).await?.try_get::<_, bool>(0)? {
        let why = "upkeep moves them into days of their own within a minute; rows that stay mean that it fails";
        let cure = "weir doctor     again in two minutes; then the collectors' log";
        Finding::new(Level::Warning, check, "rows lie in analytics.events_default", why, cure)
    } else {
        Finding::ok(check, "the default partition is empty")
    })
}

async fn unexplained(client: &ClientWrapper) -> Result<BTreeMap<String, i64>, Error> {
    let rows = client.query_typed(ACCOUNTING, &[]).await?;
    rows.iter().map(|row| Ok((row.try_get("source")?, row.try_get("unexplained")?))).collect()
}

/// What is off by the same number twice.
pub async fn accounting(client: &ClientWrapper) -> Result<Vec<Finding>, Error> {
    let first = unexplained(client).await?;
    let mut findings = Vec::new();
    if !first.is_empty() {
        tokio::time::sleep(REPORTS).await;
        for (source, events) in unexplained(client).await? {
            if first.get(&source) != Some(&events) {
                continue;
            }
            let (found, why) = if events > 0 {
                (
                    format!("{events} events of {source} were accepted and are nowhere"),
                    "they were answered with success, and are lost",
                )
            } else {
                (
                    format!("{} events more of {source} were booked than were accepted", -events),
                    "rows or ledger were edited by hand, or a report did not arrive",
                )
            };
            let cure = "docs/operations.md, \"Unexplained events\"; select * from weir.accounting;";
            findings.push(Finding::new(Level::Problem, "accounting", found, why, cure));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("accounting", "every accepted event is accounted for"));
    }
    Ok(findings)
}

pub async fn quarantine(client: &ClientWrapper) -> Result<Vec<Finding>, Error> {
    let row = client.query_typed_one(QUARANTINE, &[]).await?;
    let rows: i64 = row.try_get("rows")?;
    if rows == 0 {
        return Ok(vec![Finding::ok("quarantine", "no refused rows wait")]);
    }
    let (state, message): (String, String) = (row.try_get("sqlstate")?, row.try_get("message")?);
    let count = if rows > QUARANTINED_MAX { format!("more than {QUARANTINED_MAX}") } else { rows.to_string() };
    let found = format!("{count} rows wait in quarantine, as for {state}: {message}");
    let why = "PostgreSQL refused them; they are kept, but are in no query";
    let cure = "weir quarantine list; mend the cause; weir quarantine replay";
    Ok(vec![Finding::new(Level::Warning, "quarantine", found, why, cure)])
}
