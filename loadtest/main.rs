//! Measures a running collector beside what bounds it, in one run: a bare HTTP handler, and a bare COPY.
//!
//! `make loadtest` runs it on a PostgreSQL of its own. The phases of a round follow each other, and rounds repeat them,
//! so that whatever else the machine does meets all of them; only ratios from one run mean anything. After each phase
//! of the collector, the ids answered `200` are compared with the rows, one by one: a difference is a failure.
//!
//! ```text
//! bare            requests as fast as they are answered, to an axum handler that reads the body and answers 204
//! copy            the same events' tuples by COPY BINARY from memory, over as many connections as weir has lanes
//! single, batch   weir as a process of its own, with its default settings, on an empty table
//! ..., half       the same at half the rate at which rows landed, on a schedule: latency counts from when a request was
//!                 due, whether or not the generator could send it then
//! commit          `single` by two collectors in turn, a second each: one that syncs, and one with
//!                 `journal.durability = "memory"`, where only 202 counts as a success: what group commit costs
//! outage          single events on a schedule, while PostgreSQL goes away and comes back; meanwhile batches on a schedule
//!                 make a backlog. How fast it is caught up with, beside raw COPY; and what the single events notice
//! recovery        a collector killed with a large journal: how soon it takes events again, how fast PostgreSQL gets the rest
//! rivals          other servers under the same single events (rivals.rs)
//! idle            the memory of a collector that nobody uses
//! console         single events on a schedule, with and without a hundred people who sign in to the console and run a query
//!                 each; only if asked for
//! several         `single` by four collectors on the database beside one, a second each in turn; only if asked for
//! curve           single events with more and more connections, partitions, rows in the table; only if asked for
//! ```
//!
//! `--sabotage lose-one` (or `double-one`, `invent-one`) harms the rows before they are compared: the test must fail.

mod client;
mod collector;
mod commit;
mod console;
mod corpus;
mod curve;
mod database;
mod freshness;
mod idle;
mod instructions;
mod machine;
mod measure;
mod naive;
mod outage;
mod peers;
mod plot;
mod random;
mod recovery;
mod report;
mod rivals;
mod several;
#[path = "../tests/shared/split_mix.rs"]
mod split_mix;
mod traffic;
mod usage;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use weir::database::migrate;

use crate::database::Database;
use crate::measure::{Bench, WeirResult};
use crate::outage::{OutageResult, Plan};
use crate::report::{Report, Round};
use crate::traffic::{Shape, Site, Traffic};
use crate::verify::Sabotage;

/// The bare server must not lose by its allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SOURCE: &str = "web";
/// For the curve by sources.
const OTHER_SOURCES: [&str; 3] = ["shop", "blog", "docs"];
/// Of the rate at which rows landed at full speed, for the phases on a schedule.
const SCHEDULED_SHARE: f64 = 0.5;

#[derive(Debug, Parser)]
struct Args {
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Of each phase.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[arg(long, default_value_t = 256)]
    connections: u32,
    #[arg(long, default_value_t = 100)]
    batch_events: u32,
    /// Equal seeds, equal traffic.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these phases; those on a schedule come with their own.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Phase>,
    /// How long PostgreSQL is away in the phase `outage`.
    #[arg(long, default_value_t = 15)]
    outage_seconds: u64,
    /// In batches, while it is away: the backlog. An event takes some 450 bytes.
    #[arg(long, default_value_t = 50_000)]
    outage_events_per_second: u32,
    /// One by one, before, while and after it is away.
    #[arg(long, default_value_t = 1_000)]
    live_events_per_second: u32,
    /// One by one, in the phase `console`.
    #[arg(long, default_value_t = 4_000)]
    console_events_per_second: u32,
    /// What the journal holds in the phase `recovery`.
    #[arg(long, default_value_t = 2_048)]
    recovery_mib: u64,
    /// The rows that there are at the end of the phase `curve`.
    #[arg(long, default_value_t = 50_000_000)]
    curve_rows: u64,
    /// Instead of all that: count instructions an event and compare them with this file.
    #[arg(long, value_name = "FILE")]
    instructions: Option<PathBuf>,
    /// Write that file.
    #[arg(long)]
    renew: bool,
    /// Where to put Callgrind's profiles.
    #[arg(long, value_name = "DIR")]
    profiles: Option<PathBuf>,
    /// Harm the rows before they are compared with what was answered: shows that the test can fail.
    #[arg(long, value_enum)]
    sabotage: Option<Sabotage>,
    /// Where to write a picture of each figure.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// A geo database, for the memory of a collector that has one.
    #[arg(long, value_name = "FILE OR DIR")]
    geo: Option<PathBuf>,
    /// Where to write all figures of all rounds.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The program to measure; without it, weir is built as this was and taken from beside it.
    #[arg(long, value_name = "FILE")]
    weir: Option<PathBuf>,
    /// Where journals are put, on the disk to be measured; without it, beside this program.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Phase {
    Bare,
    Copy,
    Single,
    Commit,
    Batch,
    Outage,
    Recovery,
    Idle,
    Rivals,
    Console,
    Several,
    Curve,
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(peers::BARE_COMMAND) {
        return told(peers::serve_bare().await);
    }
    if std::env::args().nth(1).as_deref() == Some(naive::COMMAND) {
        return told(naive::serve().await);
    }
    told(run(Args::parse()).await)
}

fn told(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(
        args.rounds > 0
            && args.seconds > 0
            && args.connections > 0
            && args.batch_events > 0
            && args.outage_seconds > 0
            && args.outage_events_per_second > 0
            && args.live_events_per_second > 0,
        "rounds, seconds, connections, events of a batch and events a second begin at 1"
    );
    let mut terminate = signal(SignalKind::terminate())?;
    let superuser_url = std::env::var("WEIR_TEST_SUPERUSER_URL")
        .context("WEIR_TEST_SUPERUSER_URL is not set: run this by `make loadtest`")?;
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).context("this program is in no target directory")?;
    let weir = match &args.weir {
        Some(weir) => weir.canonicalize()?,
        None => build_weir().await.map(|()| target.join("weir"))?,
    };
    let dir = args.dir.clone().unwrap_or_else(|| target.to_owned());
    let database = Database::create(&superuser_url).await?;
    let url = database.url.clone();
    let work = async {
        let bench = bench(&args, database, weir, dir).await?;
        match &args.instructions {
            Some(baseline) => {
                instructions::check(&bench, baseline, args.renew, args.profiles.as_deref()).await.map(|()| None)
            }
            None => measure(&args, &bench).await.map(Some),
        }
    };
    let measured = tokio::select! {
        measured = work => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    // Whatever became of the test.
    let dropped = database::drop(&superuser_url, &url).await;
    let report = measured?;
    dropped?;
    let Some(report) = report else { return Ok(()) };
    report.print();
    if let Some(dir) = &args.plots {
        report.plot(dir)?;
    }
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// `cargo run --example` builds no binaries.
async fn build_weir() -> anyhow::Result<()> {
    let Some(cargo) = std::env::var_os("CARGO") else {
        return Ok(());
    };
    let mut command = tokio::process::Command::new(cargo);
    command.args(["build", "--quiet", "--locked", "--bin", "weir"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if cfg!(debug_assertions) {
        eprintln!("loadtest: built without --release: the figures mean nothing");
    } else {
        command.arg("--release");
    }
    let status = command.status().await?;
    ensure!(status.success(), "cargo build: {status}");
    Ok(())
}

async fn bench(args: &Args, database: Database, weir: PathBuf, dir: PathBuf) -> anyhow::Result<Bench> {
    let (site, others) = prepare(&database).await?;
    Ok(Bench {
        traffic: Arc::new(Traffic::new(site, others, args.seed)),
        database,
        weir,
        connections: args.connections,
        duration: Duration::from_secs(args.seconds),
        streams: AtomicU32::new(0),
        sabotage: args.sabotage,
        geo: args.geo.clone(),
        dir,
    })
}

async fn measure(args: &Args, bench: &Bench) -> anyhow::Result<Report> {
    let mut report = Report {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        machine: machine::describe(),
        postgres: bench.database.server_version.clone(),
        sync_8_kb_us: machine::sync_time(&bench.dir)?.as_secs_f64() * 1e6,
        connections: args.connections,
        seconds: args.seconds,
        batch_events: args.batch_events,
        rounds: Vec::new(),
    };
    // PostgreSQL's log needs new files while it grows: whoever is first would pay for all.
    bench.copy(args.batch_events).await.context("raw COPY, to begin with")?;
    for number in 1..=args.rounds {
        eprintln!("round {number} of {}", args.rounds);
        report.rounds.push(round(args, bench).await?);
    }
    Ok(report)
}

/// Tables and keys.
async fn prepare(database: &Database) -> anyhow::Result<(Site, Vec<Site>)> {
    let weir = database.weir()?;
    migrate::run(&weir).await?;
    let site = add_source(&weir, SOURCE).await?;
    let mut others = Vec::new();
    for source in OTHER_SOURCES {
        others.push(add_source(&weir, source).await?);
    }
    weir.close();
    peers::create_copy_table(database).await?;
    Ok((site, others))
}

async fn add_source(weir: &weir::database::Database, source: &str) -> anyhow::Result<Site> {
    let keys = weir::sources::add(weir, source, &[]).await?;
    Ok(Site { source: source.to_owned(), public_key: keys.public_key, secret_key: keys.secret_key })
}

async fn round(args: &Args, bench: &Bench) -> anyhow::Result<Round> {
    let is_asked = |phase| args.only.is_empty() || args.only.contains(&phase);
    let mut round = Round::default();
    if is_asked(Phase::Bare) {
        let bare = bench.bare().await.context("bare handler")?;
        eprintln!("  bare           {:>9.0} requests/s", bare.requests_per_second);
        round.bare = Some(bare);
    }
    if is_asked(Phase::Copy) {
        let copy = bench.copy(args.batch_events).await.context("raw COPY")?;
        eprintln!("  copy           {:>9.0} rows/s", copy.rows_per_second);
        round.copy = Some(copy);
    }
    if is_asked(Phase::Single) {
        let single = full(bench, "single", Shape::Single).await?;
        round.single_scheduled = Some(half(bench, "single", Shape::Single, &single).await?);
        round.single = Some(single);
    }
    if is_asked(Phase::Commit) {
        let commit = bench.group_commit().await.context("group commit")?;
        if let Some((synced, memory)) = commit.requests_per_second() {
            eprintln!("  commit         {synced:>9.0} requests/s with sync, {memory:.0} in memory");
        }
        round.commit = Some(commit);
    }
    if is_asked(Phase::Batch) {
        let shape = Shape::Batch(args.batch_events);
        let batch = full(bench, "batch", shape).await?;
        round.batch_scheduled = Some(half(bench, "batch", shape, &batch).await?);
        round.batch = Some(batch);
    }
    if is_asked(Phase::Rivals) {
        round.rivals = bench.rivals().await.context("rivals")?;
    }
    if is_asked(Phase::Idle) {
        round.idle = Some(bench.idle().await.context("idle")?);
    }
    if args.only.contains(&Phase::Console) {
        let url = std::env::var("WEIR_TEST_SUPERUSER_URL")?;
        let console = bench.console(&url, f64::from(args.console_events_per_second)).await.context("console")?;
        eprintln!(
            "  console        p99 {:.2} ms, with {} waves of people of {:.1} s each {:.2} ms",
            console.quiet_p99_ms, console.waves, console.wave_s, console.busy_p99_ms
        );
        round.console = Some(console);
    }
    if args.only.contains(&Phase::Several) {
        let several = bench.several().await.context("several collectors")?;
        if let Some((four, one)) = several.requests_per_second() {
            eprintln!("  several        {four:>9.0} requests/s by four collectors, {one:.0} by one");
        }
        round.several = Some(several);
    }
    if args.only.contains(&Phase::Curve) {
        round.curve = Some(bench.curve(args.curve_rows, args.batch_events).await.context("curve")?);
    }
    if is_asked(Phase::Recovery) {
        let recovery = bench.recovery(args.recovery_mib << 20, args.batch_events).await.context("recovery")?;
        eprintln!(
            "  recovery       {:>9.0} rows/s out of {:.0} MiB, ready after {:.2} s",
            recovery.rows_per_second, recovery.journal_mib, recovery.ready_s
        );
        round.recovery = Some(recovery);
    }
    if is_asked(Phase::Outage) {
        round.outage = Some(outage(args, bench).await?);
    }
    Ok(round)
}

async fn full(bench: &Bench, name: &str, shape: Shape) -> anyhow::Result<WeirResult> {
    let full = bench.weir(shape, None).await.with_context(|| format!("{name}, at full speed"))?;
    eprintln!("  {name:<14} {:>9.0} events/s, {:.0} rows/s landed", full.accepted_per_second, full.landed_per_second);
    Ok(full)
}

/// Half of what reached the tables at full speed.
async fn half(bench: &Bench, name: &str, shape: Shape, full: &WeirResult) -> anyhow::Result<WeirResult> {
    let pace = SCHEDULED_SHARE * full.landed_per_second / f64::from(shape.events());
    let half = bench.weir(shape, Some(pace)).await.with_context(|| format!("{name}, on a schedule"))?;
    eprintln!(
        "  {:<14} {:>9.0} events/s, freshness at most {:.0} ms",
        format!("{name}, half"),
        half.accepted_per_second,
        half.freshness_ms_max
    );
    Ok(half)
}

async fn outage(args: &Args, bench: &Bench) -> anyhow::Result<OutageResult> {
    let plan = Plan {
        away: Duration::from_secs(args.outage_seconds),
        batch_events: args.batch_events,
        batch_events_per_second: f64::from(args.outage_events_per_second),
        live_events_per_second: f64::from(args.live_events_per_second),
    };
    let outage = bench.outage(&plan).await.context("outage")?;
    eprintln!(
        "  outage         {:>9.0} rows/s while catching up with {:.0} MiB, memory {:.0} to {:.0} MiB while away",
        outage.catch_up_rows_per_second, outage.backlog_mib, outage.memory_away_min_mib, outage.memory_away_max_mib
    );
    Ok(outage)
}
