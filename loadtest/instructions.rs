//! Instructions of the processor that weir takes for an event, counted by Valgrind's Callgrind: unlike times they do not
//! depend on what else the machine does, so a change that costs can be told from noise.
//!
//! Everything that weir itself does is counted, from the socket to the COPY: HTTP, decoding, enriching, the journal and the
//! lanes; not the kernel, nor PostgreSQL. One connection sends one request after the other, so that each group commit
//! holds one request; rows gather for long, so that there is one flush; and what the process does all by itself in as much
//! time is subtracted. So the counts repeat. Valgrind has no SHA instructions: two hashes an event count more than they cost.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::client::{self, Load, Pace};
use crate::collector::Launch;
use crate::measure::{Bench, refuse_refusals};
use crate::traffic::Shape;
use crate::verify;

/// A bound, not a measure.
const TIME_MAX: Duration = Duration::from_secs(600);
/// Requests before counting: each user agent is parsed once, each buffer has grown.
const WARM_UP_REQUESTS: u64 = 5_000;
/// How long rows gather: longer than the load lasts.
const FLUSH_INTERVAL_MS: u64 = 12_000;
/// For which the process is watched while nobody uses it.
const IDLE: Duration = Duration::from_secs(5);
/// More than this above the baseline fails.
const RISE_MAX: f64 = 0.05;

/// What is counted: name, shape, requests.
const CASES: [(&str, Shape, u64); 2] = [("single", Shape::Single, 500), ("batch of 100", Shape::Batch(100), 25)];

/// Instructions an event, and of which compiler and processor: only equal ones compare.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    pub compiler: String,
    pub architecture: String,
    pub instructions_per_event: BTreeMap<String, u64>,
}

/// Counts, and compares with the file `baseline`; or writes it, if `renew`. Callgrind's own files go to `profiles`, for
/// `callgrind_annotate --inclusive=yes`.
pub async fn check(bench: &Bench, baseline: &Path, renew: bool, profiles: Option<&Path>) -> anyhow::Result<()> {
    let mut counts = Counts {
        compiler: version_of("rustc").await?,
        architecture: std::env::consts::ARCH.to_owned(),
        instructions_per_event: BTreeMap::new(),
    };
    for (name, shape, requests) in CASES {
        let profile = profiles.map(|dir| dir.join(format!("callgrind.{}", name.replace(' ', "-"))));
        let count = bench.count(shape, requests, profile.as_deref()).await.with_context(|| name.to_owned())?;
        counts.instructions_per_event.insert(name.to_owned(), count);
    }
    if renew {
        let json = serde_json::to_string_pretty(&counts)? + "\n";
        return std::fs::write(baseline, json).with_context(|| baseline.display().to_string());
    }
    let known = std::fs::read_to_string(baseline).with_context(|| baseline.display().to_string())?;
    compare(&counts, &serde_json::from_str(&known)?)
}

fn compare(counts: &Counts, known: &Counts) -> anyhow::Result<()> {
    let is_comparable = (&counts.compiler, &counts.architecture) == (&known.compiler, &known.architecture);
    let mut risen = Vec::new();
    for (name, count) in &counts.instructions_per_event {
        let before = known.instructions_per_event.get(name).with_context(|| format!("no baseline for {name}"))?;
        let change = *count as f64 / *before as f64 - 1.0;
        println!("{name:<14} {count:>9} instructions an event, {before} before: {:+.1} %", change * 100.0);
        if change > RISE_MAX {
            risen.push(name.as_str());
        }
    }
    if !is_comparable {
        println!(
            "not compared: the baseline is of {} on {}, this of {} on {}",
            known.compiler, known.architecture, counts.compiler, counts.architecture
        );
        return Ok(());
    }
    ensure!(
        risen.is_empty(),
        "more than {:.0} % more instructions an event: {}. If they are worth it, renew the baseline: make instructions ARGS=--renew",
        RISE_MAX * 100.0,
        risen.join(", ")
    );
    Ok(())
}

impl Bench {
    async fn count(&self, shape: Shape, requests: u64, profile: Option<&Path>) -> anyhow::Result<u64> {
        let out = tempfile::NamedTempFile::new_in(&self.dir)?;
        let out_file = format!("--callgrind-out-file={}", out.path().display());
        let under = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", "--combine-dumps=yes", &out_file]
            .map(str::to_owned);
        let settings = vec![
            ("WEIR_FLUSH__INTERVAL_MS", FLUSH_INTERVAL_MS.to_string()),
            // What rollups cost depends on when they are due.
            ("WEIR_ROLLUP__CONCURRENCY", "0".to_owned()),
        ];
        let launch = Launch { program: &self.weir, under: &under, database_url: &self.database.url, settings };
        let collector = launch.start(&self.dir).await?;
        collector.settle().await?;
        let client = self.database.client().await?;
        let mut committed = verify::committed(&client).await?;
        let load = |requests: u64| Load {
            connections: 1,
            sites: 1,
            first_stream: self.streams(1),
            pace: Pace::Full { events_max: requests * u64::from(shape.events()) },
            duration: TIME_MAX,
            ..self.load(collector.public, shape, 200)
        };
        let warm_up = client::run(load(WARM_UP_REQUESTS.min(requests * 10))).await?;
        refuse_refusals(&warm_up)?;
        committed += warm_up.events();
        verify::wait_for_commit(&client, committed).await?;

        callgrind_control(collector.pid, "--instr=on").await?;
        tokio::time::sleep(IDLE).await;
        callgrind_control(collector.pid, "--dump").await?;
        let started = Instant::now();
        let outcome = client::run(load(requests)).await?;
        refuse_refusals(&outcome)?;
        let events = outcome.events();
        verify::wait_for_commit(&client, committed + events).await?;
        let elapsed = started.elapsed();
        callgrind_control(collector.pid, "--instr=off").await?;
        collector.stop().await?;
        self.database.clean("analytics.events").await?;
        if let Some(profile) = profile {
            std::fs::copy(out.path(), profile).with_context(|| profile.display().to_string())?;
        }
        let [idle, loaded] = instructions(out.path())?;
        let by_itself = idle as f64 * elapsed.as_secs_f64() / IDLE.as_secs_f64();
        Ok((loaded as f64 - by_itself) as u64 / events)
    }
}

async fn callgrind_control(pid: u32, what: &str) -> anyhow::Result<()> {
    let output = Command::new("callgrind_control").args([what, &pid.to_string()]).output().await;
    let output = output.context("callgrind_control, of Valgrind")?;
    ensure!(output.status.success(), "callgrind_control {what}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The totals of both parts of Callgrind's file.
fn instructions(file: &Path) -> anyhow::Result<[u64; 2]> {
    let text = std::fs::read(file)?;
    let text = String::from_utf8_lossy(&text);
    let totals = text.lines().filter_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    let totals: Vec<u64> = totals.collect();
    let Ok(totals) = totals.as_slice().try_into() else {
        bail!("Callgrind's file has {} parts, not two", totals.len());
    };
    Ok(totals)
}

async fn version_of(program: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg("--version").output().await.with_context(|| program.to_owned())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
