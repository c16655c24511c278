//! `weir lake`: days of events as Parquet.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Subcommand;
use jiff::civil::Date;
use serde_json::json;

use crate::clock::SystemClock;
use crate::database::Database;
use crate::lake::book::{self, Known};
use crate::lake::in_use::InUse;
use crate::lake::settings::Lake;
use crate::lake::store::Store;
use crate::lake::task::environment;
use crate::lake::{Exporter, Summary, Wanted, in_use};
use crate::metrics::LakeMetrics;

/// A collector that exports a day is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// A collector with a lake says so at least this often, also when its runs fail.
const RECENT_S: f64 = 20.0 * 60.0;

#[derive(Debug, Subcommand)]
pub enum LakeCommand {
    /// Show each day: whether the lake has all of it, and how large it is.
    Status {
        /// Also compare the store with the books; exit with 1 if something is missing, or not as it was written.
        #[arg(long)]
        check: bool,
        /// Print JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Export now what is new or has changed; running collectors do it by themselves.
    Export {
        /// Only this day, as 2026-11-20, whether it has changed or not.
        #[arg(long, value_name = "DAY")]
        day: Option<Date>,
    },
    /// Say that there is no lake any more: retention no longer waits for it.
    Stop,
}

pub async fn lake(database: Database, settings: Lake, command: LakeCommand) -> anyhow::Result<()> {
    settings.check()?;
    match command {
        LakeCommand::Status { check, json } => status(database, settings, check, json).await,
        LakeCommand::Export { day } => {
            let summary = export(database, settings, day.map_or(Wanted::Changed, Wanted::Day)).await?;
            tell(&mut io::stdout().lock(), &summary)?;
            Ok(())
        }
        LakeCommand::Stop => stop(&database, &settings).await,
    }
}

fn exporter(database: Database, settings: Lake) -> anyhow::Result<Exporter> {
    ensure!(settings.is_set(), "lake.url is not set: there is no lake");
    Ok(Exporter {
        database,
        store: Store::open(&settings, &environment())?,
        settings,
        clock: Arc::new(SystemClock::default()),
        metrics: LakeMetrics::noop(),
        accounting: None,
        patience: PATIENCE,
    })
}

/// Exports what is wanted, or says who is at it.
pub async fn export(database: Database, settings: Lake, wanted: Wanted) -> anyhow::Result<Summary> {
    if settings.is_set() {
        in_use::note(&database, &settings.url).await?;
    }
    match exporter(database, settings)?.run(wanted).await? {
        Some(summary) => Ok(summary),
        None => bail!("another process exports at this moment: try again later"),
    }
}

/// Says what was exported.
pub fn tell(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let Summary { days, files, rows, bytes, removed } = summary;
    writeln!(
        out,
        "{} days exported: {files} files with {rows} rows, {bytes} bytes; {removed} files removed",
        days.len()
    )
}

async fn stop(database: &Database, settings: &Lake) -> anyhow::Result<()> {
    ensure!(
        !settings.is_set(),
        "lake.url is set here ({}): take it out of all collectors' settings, and these, or they take the lake into use again",
        settings.url
    );
    match in_use::stop(&*database.client().await?).await? {
        None => println!("no lake is in use: retention waits for none"),
        Some(used) => {
            let (name, silent_s) = (used.name(), used.silent_s);
            println!(
                "the lake {name} is no longer in use: retention waits for it no more, and what is in it stays there"
            );
            if silent_s < RECENT_S {
                println!(
                    "note: somebody with lake.url was at work {silent_s:.0} s ago; a collector that still has it takes the lake \
                     into use again"
                );
            }
        }
    }
    Ok(())
}

async fn status(database: Database, settings: Lake, is_checked: bool, is_json: bool) -> anyhow::Result<()> {
    let late_hours = settings.late_after_hours;
    let client = database.client().await?;
    let (days, used) = (book::days(&client, late_hours).await?, in_use::read(&client).await?);
    // Comparing needs it.
    drop(client);
    let mut out = io::stdout().lock();
    if is_json {
        let days: Vec<_> = days.iter().map(as_json).collect();
        serde_json::to_writer_pretty(&mut out, &days)?;
        writeln!(out)?;
    } else {
        writeln!(
            out,
            "{:<10}  part  {:<10}  {:>6}  {:>12}  {:>14}  exported at",
            "day", "status", "files", "rows", "bytes"
        )?;
        for Known { day, part, status, files, rows, bytes, exported_at, .. } in &days {
            let at = exported_at.as_deref().unwrap_or("-");
            writeln!(out, "{day}  {part:>4}  {:<10}  {files:>6}  {rows:>12}  {bytes:>14}  {at}", status.name())?;
        }
        let waiting = days.iter().filter(|known| known.is_here() && known.waiting_s.is_some()).count();
        writeln!(out, "{} days and parts, {waiting} of them not whole", days.len())?;
        match used {
            Some(used) => {
                let (name, InUse { since, silent_s, .. }) = (used.name(), &used);
                writeln!(out, "in use since {since}: {name}; somebody with lake.url was at work {silent_s:.0} s ago")?;
            }
            None => writeln!(out, "no lake is in use: retention waits for none")?,
        }
    }
    if is_checked {
        let found = exporter(database, settings)?.compare().await?;
        for difference in &found {
            eprintln!("{difference}");
        }
        ensure!(found.is_empty(), "the store is not as it was written: {} differences", found.len());
        eprintln!("the store is as it was written");
    }
    Ok(())
}

fn as_json(known: &Known) -> serde_json::Value {
    json!({
        "day": known.day.to_string(),
        "part": known.part,
        "status": known.status,
        "table": known.detached,
        "exported_at": known.exported_at,
        "waiting_s": known.waiting_s,
        "files": known.files,
        "rows": known.rows,
        "bytes": known.bytes,
    })
}
