//! `weir import`: history from files.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use futures_util::StreamExt;
use futures_util::stream;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::database::{Database, migrate};
use crate::entropy::SystemEntropy;
use crate::import::input::{self, Input};
use crate::import::progress::Progress;
use crate::import::run::{Importer, Options, Outcome};
use crate::import::{Format, ImportError, Mapping};
use crate::retention::policy::Policy;
use crate::sources;

/// Files at once: each has a COPY of its own, and PostgreSQL a process for it.
const FILES_AT_ONCE_MAX: usize = 4;
const BAR_INTERVAL: Duration = Duration::from_millis(200);
const LINE_INTERVAL: Duration = Duration::from_secs(10);
const BAR_CELLS: usize = 24;

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The source that the events shall have.
    #[arg(long)]
    source: String,
    /// What the files are; without it, each is looked at.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// What a column means: COLUMN=FIELD, of `analytics.events`, or properties.KEY, context.KEY, or - for nowhere; may be
    /// repeated.
    #[arg(long, value_name = "COLUMN=FIELD")]
    map: Vec<String>,
    /// Leave out what happened at this moment or later, as when weir began: RFC 3339, or a day (UTC).
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only read: count, show the first rows, and say what would be refused.
    #[arg(long)]
    dry_run: bool,
    /// Append records that are refused to this file, as they are.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Print JSON, for scripts.
    #[arg(long)]
    json: bool,
    /// Files, directories, or - for standard input; as they are, gzip or zstd.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// All is imported but for some records: the exit code is 3.
#[derive(Debug, thiserror::Error)]
#[error("{0} records were refused, and everything else is there")]
pub struct SomeRefused(u64);

impl SomeRefused {
    pub const EXIT_CODE: u8 = 3;
}

/// A moment, or the beginning of a day (UTC).
fn moment(text: &str) -> Result<Timestamp, String> {
    let of_day = |day: Date| day.to_zoned(TimeZone::UTC).map(|start| start.timestamp());
    // Only that: a time without a zone would be taken for its day.
    text.parse()
        .or_else(|_| Date::strptime("%Y-%m-%d", text).and_then(of_day))
        .map_err(|_| "expected RFC 3339 with a time zone, as 2026-11-22T10:00:00Z, or a day, as 2026-11-22".to_owned())
}

type Done = (Input, Result<Outcome, ImportError>);

pub async fn import(mut config: Config, data_dir: &Path, args: ImportArgs) -> anyhow::Result<()> {
    config.check()?;
    // Where `weir up` looks.
    let geo = data_dir.join("geo");
    if config.enrich.geo_database.is_none() && geo.is_dir() {
        config.enrich.geo_database = Some(geo);
    }
    let inputs = input::list(&args.files)?;
    if inputs.is_empty() {
        bail!("there are no files");
    }
    let options = Options {
        source: args.source.clone(),
        format: args.format,
        mapping: Mapping::parse(&args.map)?,
        until: args.until,
        rejects: args.rejects.clone().filter(|_| !args.dry_run),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let importer = Importer::new(&config, options, Arc::clone(&clock), Arc::new(SystemEntropy))?;
    tell_of_retention(&config, clock.as_ref());
    let database = if args.dry_run { None } else { Some(prepare(&config, data_dir, &args.source).await?) };
    let shown = show(Arc::clone(&importer.progress), total(&inputs), args.json);
    let done = tokio::select! {
        done = all(&importer, database.as_ref(), inputs) => done,
        _ = tokio::signal::ctrl_c() => bail!("stopped; the same command goes on where this one ended"),
    };
    shown.abort();
    // It only fails by being aborted.
    let _ = shown.await;
    if !args.json && std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    report(&done, &args)
}

async fn prepare(config: &Config, data_dir: &Path, source: &str) -> anyhow::Result<Database> {
    let database = super::database(config, data_dir)?;
    migrate::run(&database).await?;
    // A misspelt source would be in every row.
    if !sources::list(&database).await?.iter().any(|known| known.source == source) {
        return Err(ImportError::NoSource(source.to_owned()).into());
    }
    let sql = "select to_char(before at time zone 'UTC', 'YYYY-MM-DD') as day from weir.frozen where isfinite(before)";
    if let Some(row) = database.client().await?.query_typed_opt(sql, &[]).await? {
        eprintln!(
            "note: rollups are not computed again before {}, since retention may have removed events there",
            row.try_get::<_, String>("day")?
        );
    }
    Ok(database)
}

fn tell_of_retention(config: &Config, clock: &dyn Clock) {
    let today = clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
    if let Some(day) = Policy::new(&config.retention, today).frozen_before() {
        eprintln!("note: by [retention] not all events before {day} are kept; those that would go at once are refused");
    }
}

async fn all(importer: &Importer, database: Option<&Database>, inputs: Vec<Input>) -> Vec<Done> {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let postgres = database.map(|database| importer.postgres(database));
    let one = |input: Input| {
        let postgres = postgres.clone();
        async move {
            let outcome = match (database, &postgres) {
                (Some(database), Some(postgres)) => importer.import(database, postgres, &input).await,
                _ => importer.dry_run(&input).await,
            };
            (input, outcome)
        }
    };
    stream::iter(inputs).map(one).buffered(processors.min(FILES_AT_ONCE_MAX)).collect().await
}

/// Bytes on the disk, where all inputs have some.
fn total(inputs: &[Input]) -> Option<u64> {
    inputs.iter().map(Input::bytes).sum::<Option<u64>>().filter(|bytes| *bytes > 0)
}

fn show(progress: Arc<Progress>, total: Option<u64>, json: bool) -> tokio::task::JoinHandle<()> {
    let is_terminal = std::io::stderr().is_terminal();
    tokio::spawn(async move {
        if json {
            return;
        }
        let started = Instant::now();
        loop {
            tokio::time::sleep(if is_terminal { BAR_INTERVAL } else { LINE_INTERVAL }).await;
            let line = line(&progress, total, started.elapsed());
            if is_terminal {
                eprint!("\r\x1b[K{line}");
            } else {
                eprintln!("{line}");
            }
        }
    })
}

/// A bar, where it is known how much there is; how many, how fast, and how long still.
fn line(progress: &Progress, total: Option<u64>, elapsed: Duration) -> String {
    let (records, seconds) = (progress.settled(), elapsed.as_secs_f64().max(0.001));
    let mut line = String::new();
    // Another read of a file that was begun before counts twice.
    let part = total.map(|total| (progress.bytes() as f64 / total as f64).clamp(0.0, 1.0));
    if let Some(part) = part {
        let full = (part * BAR_CELLS as f64) as usize;
        // Writing to a string does not fail.
        let _ = write!(line, "[{}{}] {:>3.0} %  ", "=".repeat(full), " ".repeat(BAR_CELLS - full), part * 100.0);
    }
    let _ =
        write!(line, "{records} records, {} new rows, {:.0} records/s", progress.stored(), records as f64 / seconds);
    if let Some(part) = part.filter(|part| *part > 0.01) {
        let _ = write!(line, ", {:.0} s left", seconds / part - seconds);
    }
    line
}

fn report(done: &[Done], args: &ImportArgs) -> anyhow::Result<()> {
    if args.json {
        println!("{}", as_json(done, args.dry_run));
    } else {
        for (input, result) in done {
            match result {
                Ok(outcome) => print!("{}", told(&input.name(), outcome, args)),
                Err(error) => println!("{}: {error}", input.name()),
            }
        }
        if done.len() > 1 {
            println!("together: {}", counts(&sum(done), args.dry_run));
        }
    }
    let failed = done.iter().filter(|(_, result)| result.is_err()).count();
    if failed > 0 {
        bail!("{failed} of {} files were not imported to their end", done.len());
    }
    match sum(done) {
        Outcome { refused: 0, quarantined: 0, .. } => Ok(()),
        Outcome { refused, quarantined, .. } => Err(SomeRefused(refused + quarantined).into()),
    }
}

fn sum(done: &[Done]) -> Outcome {
    let mut sum = Outcome::default();
    for outcome in done.iter().filter_map(|(_, result)| result.as_ref().ok()) {
        sum.read += outcome.read;
        sum.before += outcome.before;
        sum.stored += outcome.stored;
        sum.duplicate += outcome.duplicate;
        sum.quarantined += outcome.quarantined;
        sum.refused += outcome.refused;
        sum.outside += outcome.outside;
    }
    sum
}

fn counts(outcome: &Outcome, is_dry: bool) -> String {
    let Outcome { read, before, stored, duplicate, quarantined, refused, outside, .. } = outcome;
    if is_dry {
        let outside = if *outside > 0 { format!(", {outside} are outside (--until)") } else { String::new() };
        return format!("{read} records: {stored} can become rows, {refused} would be refused{outside}");
    }
    let mut text = format!("{read} records = {stored} stored");
    for (count, what) in [
        (before, "read by an earlier run"),
        (duplicate, "already there"),
        (refused, "refused"),
        (outside, "outside (--until)"),
        (quarantined, "in quarantine (`weir quarantine list`)"),
    ] {
        if *count > 0 {
            // Writing to a string does not fail.
            let _ = write!(text, " + {count} {what}");
        }
    }
    text
}

fn told(name: &str, outcome: &Outcome, args: &ImportArgs) -> String {
    let format = outcome.format.map_or("", Format::name);
    let mut text = format!("{name} ({format}): {}\n", counts(outcome, args.dry_run));
    for (_, reason) in outcome.reasons.iter() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "    {} refused, first on line {}: {}", reason.count, reason.line, reason.reason);
    }
    for row in &outcome.shown {
        let _ = writeln!(text, "    {}", Value::Object(row.clone()));
    }
    text
}

fn as_json(done: &[Done], is_dry: bool) -> Value {
    let stored = if is_dry { "can_be_stored" } else { "stored" };
    let counts = |outcome: &Outcome| {
        json!({
            "read": outcome.read, "read_before": outcome.before, stored: outcome.stored, "already_there": outcome.duplicate,
            "quarantined": outcome.quarantined, "refused": outcome.refused, "outside": outcome.outside,
        })
    };
    let files: Vec<Value> = done
        .iter()
        .map(|(input, result)| match result {
            Err(error) => json!({"file": input.name(), "error": error.to_string()}),
            Ok(outcome) => {
                let reasons = outcome.reasons.iter().map(|(label, reason)| {
                    json!({"label": label, "count": reason.count, "line": reason.line, "reason": reason.reason})
                });
                let mut file = counts(outcome);
                file["file"] = input.name().into();
                file["format"] = outcome.format.map(Format::name).into();
                file["reasons"] = reasons.collect();
                if is_dry {
                    file["rows"] = outcome.shown.iter().cloned().map(Value::Object).collect();
                }
                file
            }
        })
        .collect();
    let mut all = counts(&sum(done));
    all["files"] = files.into();
    all
}
