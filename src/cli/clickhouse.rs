//! `weir clickhouse`: whether `ClickHouse` has what PostgreSQL has.

use std::collections::BTreeSet;
use std::io::{self, Write};

use anyhow::{Context, ensure};
use clap::Subcommand;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::clickhouse::settings::ClickHouse;
use crate::clickhouse::table::Table;
use crate::clickhouse::{book, difference, task};
use crate::database::Database;
use crate::retention::listing;

#[derive(Debug, Subcommand)]
pub enum ClickHouseCommand {
    /// Show what `ClickHouse` lacks, since when, and why.
    Status {
        /// Print JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Compare rows and checksums of each day in both; exit with 1 if a day differs.
    Check {
        /// Only this day, as 2026-11-20.
        #[arg(long, value_name = "DAY")]
        day: Option<Date>,
    },
    /// Have a running collector compare this day, and send or delete what differs; `all`: every day.
    Resend { day: String },
}

pub async fn clickhouse(database: Database, settings: ClickHouse, command: ClickHouseCommand) -> anyhow::Result<()> {
    settings.check()?;
    match command {
        ClickHouseCommand::Status { json } => status(&database, json).await,
        ClickHouseCommand::Check { day } => check(&database, &settings, day).await,
        ClickHouseCommand::Resend { day } => resend(&database, &day).await,
    }
}

async fn status(database: &Database, is_json: bool) -> anyhow::Result<()> {
    let status = book::status(&*database.client().await?).await?;
    let mut out = io::stdout().lock();
    if is_json {
        serde_json::to_writer_pretty(&mut out, &json!(status))?;
        return Ok(writeln!(out)?);
    }
    let Some(status) = status else {
        return Ok(writeln!(out, "no collector was ever given a ClickHouse: clickhouse.url")?);
    };
    writeln!(out, "waiting: {} events, {} stretches of time", status.events_named, status.ranges_marked)?;
    match status.waiting_s {
        Some(seconds) => writeln!(out, "the oldest for {seconds:.0} s")?,
        None => writeln!(out, "ClickHouse has been told everything")?,
    }
    writeln!(out, "last without anything waiting: {}", status.succeeded_at.as_deref().unwrap_or("never"))?;
    if let (Some(since), Some(error)) = (&status.failing_since, &status.error) {
        writeln!(out, "failing since {since}: {error}")?;
    } else if !status.is_followed {
        writeln!(out, "no collector follows at this moment: is one running with clickhouse.url?")?;
    }
    Ok(())
}

async fn check(database: &Database, settings: &ClickHouse, only: Option<Date>) -> anyhow::Result<()> {
    ensure!(settings.is_set(), "clickhouse.url is not set: there is no ClickHouse");
    let (mut client, table) = task::look(database, settings).await?;
    let table = table.context("the table is not in ClickHouse yet: a collector with clickhouse.url makes it")?;
    let days = match only {
        Some(day) => vec![day],
        None => days(&client, &table).await?,
    };
    let (mut differ, count) = (0, days.len());
    for date in days {
        let day = difference::of_day(&mut client, &table, date).await?;
        let (ours, theirs) = (day.postgres, day.clickhouse);
        let verdict = if day.is_equal() { "equal" } else { "differs" };
        println!(
            "{date}  {verdict:<8} PostgreSQL {:>12} rows {:016x}  ClickHouse {:>12} rows {:016x}",
            ours.rows, ours.checksum, theirs.rows, theirs.checksum
        );
        differ += usize::from(!day.is_equal());
    }
    ensure!(
        differ == 0,
        "{differ} of {count} days differ: `weir clickhouse status` tells what waits; `weir clickhouse resend DAY` compares a day again"
    );
    Ok(())
}

/// Those of both: `ClickHouse` may have days that are gone from PostgreSQL.
async fn days(client: &deadpool_postgres::ClientWrapper, table: &Table) -> anyhow::Result<Vec<Date>> {
    let leaves = listing::leaves(client, false).await?;
    let mut days: BTreeSet<Date> =
        leaves.iter().filter(|leaf| !leaf.is_detached()).filter_map(|leaf| leaf.day).collect();
    for start_us in table.days().await? {
        days.insert(Timestamp::from_microsecond(start_us)?.to_zoned(TimeZone::UTC).date());
    }
    Ok(days.into_iter().collect())
}

async fn resend(database: &Database, day: &str) -> anyhow::Result<()> {
    let client = database.client().await?;
    ensure!(book::status(&client).await?.is_some(), "no collector was ever given a ClickHouse: clickhouse.url");
    let marked = if day == "all" {
        book::mark_all(&client).await?
    } else {
        let day: Date = day.parse().with_context(|| format!("{day:?} is no day, as 2026-11-20, and not all"))?;
        book::mark_days(&client, &[day.to_string()]).await?
    };
    println!("{marked} days are compared by a running collector: weir clickhouse status");
    Ok(())
}
