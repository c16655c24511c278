//! `weir partitions`: the days of the events table, and those whose time is over.

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::clock::SystemClock;
use crate::config::Config;
use crate::database::Database;
use crate::entropy::SystemEntropy;
use crate::metrics::RetentionMetrics;
use crate::retention::listing::{Status, leaves};
use crate::retention::policy::Policy;
use crate::retention::{Step, Upkeep};

/// What `--json` prints of a partition.
#[derive(Serialize)]
struct Partition {
    table: String,
    day: Option<String>,
    status: Status,
    /// `null`: some of its events stay for ever.
    kept_until: Option<String>,
    /// `null` before PostgreSQL has looked.
    rows: Option<i64>,
    rows_are_exact: bool,
    heap_bytes: i64,
    index_bytes: i64,
}

/// Prints a line for every partition, and their sum.
pub async fn list(database: Database, config: Config, is_exact: bool, is_json: bool) -> anyhow::Result<()> {
    let upkeep = upkeep(database, config);
    let client = upkeep.database.client().await?;
    let today = upkeep.today(&client).await?;
    let policy = Policy::new(&upkeep.settings, today);
    let partitions: Vec<Partition> = leaves(&client, is_exact)
        .await?
        .into_iter()
        .map(|leaf| Partition {
            day: leaf.day.map(|day| day.to_string()),
            status: leaf.status(&policy, today),
            kept_until: leaf.kept_until(&policy).map(|day| day.to_string()),
            rows: leaf.rows,
            rows_are_exact: is_exact,
            heap_bytes: leaf.heap_bytes,
            index_bytes: leaf.index_bytes,
            table: leaf.name,
        })
        .collect();
    let mut out = io::stdout().lock();
    if is_json {
        serde_json::to_writer_pretty(&mut out, &partitions)?;
        writeln!(out)?;
        return Ok(());
    }
    let rows_title = if is_exact { "rows" } else { "rows, about" };
    writeln!(
        out,
        "{:<10}  {:<8}  {:>14}  {:>14}  {:>14}  kept until",
        "day", "status", rows_title, "heap, bytes", "indexes"
    )?;
    for partition in &partitions {
        let day = partition.day.as_deref().unwrap_or("-");
        let rows = partition.rows.map_or_else(|| "?".to_owned(), |rows| rows.to_string());
        let until = partition.kept_until.as_deref().unwrap_or_else(|| until_of(partition.status));
        let status = partition.status.name();
        let (heap, indexes) = (partition.heap_bytes, partition.index_bytes);
        writeln!(out, "{day:<10}  {status:<8}  {rows:>14}  {heap:>14}  {indexes:>14}  {until}")?;
    }
    let sum = |of: fn(&Partition) -> i64| partitions.iter().map(of).sum::<i64>();
    writeln!(
        out,
        "{:<10}  {:<8}  {:>14}  {:>14}  {:>14}",
        "sum",
        partitions.len(),
        sum(|partition| partition.rows.unwrap_or_default()),
        sum(|partition| partition.heap_bytes),
        sum(|partition| partition.index_bytes)
    )?;
    Ok(())
}

fn until_of(status: Status) -> &'static str {
    match status {
        Status::Detached => "now",
        Status::Default | Status::Foreign => "",
        _ => "forever",
    }
}

/// Removes what is over, or only says what that is.
pub async fn prune(database: Database, config: Config, is_dry: bool) -> anyhow::Result<()> {
    let upkeep = upkeep(database, config);
    // Given back at once: a run needs all connections.
    let today = upkeep.today(&*upkeep.database.client().await?).await?;
    let policy = Policy::new(&upkeep.settings, today);
    let Some(floor) = policy.frozen_before() else {
        println!(
            "retention.events and all rules say \"forever\": nothing is ever removed, but what is detached already"
        );
        if is_dry {
            return tell(&upkeep.plan().await?, "would be ");
        }
        return tell(&upkeep.run().await?.unwrap_or_default(), "");
    };
    if is_dry {
        tell(&upkeep.plan().await?, "would be ")?;
        println!("rollups would never recompute hours before {floor}");
        return Ok(());
    }
    match upkeep.run().await.context("not everything that is over was removed")? {
        Some(steps) => tell(&steps, ""),
        None => bail!("another process removes events at this moment: try again later"),
    }
}

fn tell(steps: &[Step], mood: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for Step { action, day, rule, rows } in steps {
        writeln!(out, "{day}  {rows} events {mood}{}  ({rule})", action.name())?;
    }
    if steps.is_empty() {
        writeln!(out, "nothing is over")?;
    }
    Ok(())
}

fn upkeep(database: Database, config: Config) -> Upkeep {
    let has_lake = config.lake.is_set();
    let mut settings = config.retention;
    // Who prunes by hand does not wait for indexes.
    settings.person_indexes = false;
    Upkeep {
        database,
        settings,
        clock: Arc::new(SystemClock::default()),
        entropy: Arc::new(SystemEntropy),
        partitions: Arc::default(),
        metrics: RetentionMetrics::noop(),
        has_lake,
    }
}
