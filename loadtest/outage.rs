//! PostgreSQL goes away while events come in, and comes back to a backlog.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use weir::journal::Durability;

use crate::client::{self, Control, Load, Pace};
use crate::collector::Collector;
use crate::machine;
use crate::measure::{Bench, Counted, Latency, refuse_refusals};
use crate::report::median;
use crate::traffic::{Sent, Shape, events};
use crate::usage::Cores;
use crate::verify;

/// Sections of the live traffic.
const BEFORE: usize = 0;
const AWAY: usize = 1;
const CATCH_UP: usize = 2;
const SECTIONS: usize = 3;

/// Enough for the backlog's batches, which wait for a group commit each.
const BATCH_CONNECTIONS: u32 = 32;
/// The live traffic is ended by hand; this only bounds a run that hangs.
const LIVE_TIMEOUT: Duration = Duration::from_secs(3_600);
const MEMORY_INTERVAL: Duration = Duration::from_millis(100);
/// A look at the ledger costs PostgreSQL some 100 µs.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(20);
/// Some transactions of each lane.
const WINDOW: Duration = Duration::from_millis(500);

/// What the phase is to do.
pub struct Plan {
    pub away: Duration,
    pub batch_events: u32,
    /// While PostgreSQL is away.
    pub batch_events_per_second: f64,
    /// All the time.
    pub live_events_per_second: f64,
}

/// The collector through an outage of PostgreSQL.
#[derive(Debug, Serialize)]
pub struct OutageResult {
    pub backlog_events: u64,
    /// Written to the journal while PostgreSQL was away.
    pub backlog_mib: f64,
    /// From PostgreSQL's return to the first row.
    pub first_row_s: f64,
    /// From PostgreSQL's return until as many rows had landed as events had been answered by then.
    pub caught_up_s: f64,
    /// From the first row on. Lanes may still wait for their next attempt to connect.
    pub catch_up_rows_per_second: f64,
    /// From PostgreSQL's return on.
    pub return_rows_per_second: f64,
    /// The median of windows of half a second: how fast it goes once all lanes go.
    pub window_rows_per_second: f64,
    /// Rows that had landed by the end of each window, and when.
    pub windows: Vec<(f64, u64)>,
    pub before: Latency,
    pub away: Latency,
    pub catch_up: Latency,
    /// The collector's memory when PostgreSQL went away, and then.
    pub memory_before_mib: f64,
    pub memory_away_min_mib: f64,
    pub memory_away_max_mib: f64,
    pub memory_catch_up_max_mib: f64,
    /// While catching up.
    pub cores: Cores,
    pub remarks: Vec<String>,
}

/// How the backlog went down.
struct Progress {
    events: u64,
    first_row: Duration,
    caught_up: Duration,
    /// Rows after the first look that saw any.
    rows: u64,
    windows: Vec<(f64, u64)>,
}

impl Progress {
    fn window_rows_per_second(&self) -> f64 {
        let rates = self.windows.windows(2).map(|pair| (pair[1].1 - pair[0].1) as f64 / (pair[1].0 - pair[0].0));
        median(rates.collect()).unwrap_or(f64::NAN)
    }
}

impl Bench {
    /// Before, away, and back, in a new process on an empty table.
    pub async fn outage(&self, plan: &Plan) -> anyhow::Result<OutageResult> {
        let collector = Collector::start(&self.weir, &self.database.url, &self.dir, Durability::Journal).await?;
        let client = self.database.client().await?;
        // As much memory as this traffic ever takes.
        for shape in [Shape::Batch(plan.batch_events), Shape::Single] {
            self.warm_up(&self.load(collector.public, shape, 200), &client).await?;
        }
        let committed = verify::committed(&client).await?;
        let counted = collector.metrics().await?;
        // A new connection that waits for its turn too long is cut off.
        let live_connections = self.connections.min(plan.live_events_per_second as u32);
        let live =
            self.scheduled(Shape::Single, live_connections, plan.live_events_per_second, LIVE_TIMEOUT, &collector);
        let control = Arc::clone(&live.control);
        let finished = CancellationToken::new();
        let memory = tokio::spawn(watch_memory(collector.pid, Arc::clone(&control), finished.clone()));
        let live = tokio::spawn(client::run(live));
        tokio::time::sleep(self.duration).await;

        drop(client);
        let written = collector.metrics().await?;
        control.section.store(AWAY, Ordering::Relaxed);
        self.database.shut().await?;
        let batches = plan.batch_events_per_second / f64::from(plan.batch_events);
        let batch = Shape::Batch(plan.batch_events);
        let backlog = client::run(self.scheduled(batch, BATCH_CONNECTIONS, batches, plan.away, &collector)).await?;
        let written = Counted::between(&written, &collector.metrics().await?);

        control.section.store(CATCH_UP, Ordering::Relaxed);
        let target = committed + control.answered.load(Ordering::Relaxed) + backlog.events();
        let usage = self.usage(&[collector.pid])?;
        let progress = self.catch_up(target).await?;
        let used = self.usage(&[collector.pid])?.since(&usage);
        control.stop.cancel();
        let live = live.await??;
        finished.cancel();
        let memory = memory.await??;

        refuse_refusals(&backlog)?;
        refuse_refusals(&live)?;
        let mut answered: Vec<Sent> = live.answered;
        answered.extend(&backlog.answered);
        let client = self.database.client().await?;
        verify::wait_for_commit(&client, committed + events(&answered)).await?;
        self.verify(&client, &answered).await?;
        let mut remarks = Counted::between(&counted, &collector.metrics().await?).remarks();
        remarks.extend(collector.stop().await?);
        remarks.retain(|remark| !is_of_an_outage(remark));

        let latency = |section: usize| {
            let timing = live.timing.get(section).context("no live request in a section")?;
            anyhow::Ok(Latency::of(plan.live_events_per_second, timing))
        };
        let [before, away, catch_up] = memory;
        Ok(OutageResult {
            backlog_events: progress.events,
            backlog_mib: written.get("weir_journal_written_bytes_total") / 1_048_576.0,
            first_row_s: progress.first_row.as_secs_f64(),
            caught_up_s: progress.caught_up.as_secs_f64(),
            catch_up_rows_per_second: progress.rows as f64
                / progress.caught_up.saturating_sub(progress.first_row).as_secs_f64(),
            return_rows_per_second: progress.events as f64 / progress.caught_up.as_secs_f64(),
            window_rows_per_second: progress.window_rows_per_second(),
            windows: progress.windows,
            before: latency(BEFORE)?,
            away: latency(AWAY)?,
            catch_up: latency(CATCH_UP)?,
            memory_before_mib: before.last,
            memory_away_min_mib: away.min,
            memory_away_max_mib: away.max,
            memory_catch_up_max_mib: catch_up.max,
            cores: used.cores(),
            remarks,
        })
    }

    fn scheduled(
        &self,
        shape: Shape,
        connections: u32,
        requests_per_second: f64,
        duration: Duration,
        collector: &Collector,
    ) -> Load {
        Load {
            connections,
            sites: 1,
            first_stream: self.streams(connections),
            pace: Pace::Schedule { requests_per_second },
            duration,
            ..self.load(collector.public, shape, 200)
        }
    }

    /// Lets PostgreSQL come back, and follows the ledger until it has counted `target` events.
    async fn catch_up(&self, target: u64) -> anyhow::Result<Progress> {
        let returned = Instant::now();
        self.database.open().await?;
        let client = self.database.client().await?;
        let at_return = verify::committed(&client).await?;
        let mut first = None;
        let mut windows: Vec<(f64, u64)> = Vec::new();
        loop {
            let committed = verify::committed(&client).await?;
            let elapsed = returned.elapsed();
            if committed > at_return {
                first.get_or_insert((elapsed, committed));
                let at = elapsed.as_secs_f64();
                if windows.last().is_none_or(|(last, _)| at - last >= WINDOW.as_secs_f64()) {
                    windows.push((at, committed - at_return));
                }
            }
            if let Some((first_row, at_first)) = first
                && committed >= target
            {
                let events = committed - at_return;
                return Ok(Progress { events, first_row, caught_up: elapsed, rows: committed - at_first, windows });
            }
            verify::not_too_late(returned, committed, target)?;
            tokio::time::sleep(PROGRESS_INTERVAL).await;
        }
    }
}

/// What a collector has to say of an outage that it gets through.
fn is_of_an_outage(remark: &str) -> bool {
    [
        "weir_flush_retries_total",
        "the database does not answer: events gather in the journal",
        "flush failed: the events wait in the journal",
        "report of accepted events did not reach the database",
        // By the libraries that hold connections.
        "Connection error: ",
        "Connection could not be recycled",
    ]
    .into_iter()
    .any(|expected| remark.contains(expected))
}

/// A process's memory during one section, in MiB.
#[derive(Clone, Copy)]
struct Memory {
    min: f64,
    max: f64,
    last: f64,
}

/// Looks ten times a second, until `finished`.
async fn watch_memory(
    pid: u32,
    control: Arc<Control>,
    finished: CancellationToken,
) -> anyhow::Result<[Memory; SECTIONS]> {
    let mut sections = [Memory { min: f64::INFINITY, max: 0.0, last: f64::NAN }; SECTIONS];
    while !finished.is_cancelled() {
        let (now, _) = machine::process_memory_mib(pid)?;
        let memory = &mut sections[control.section.load(Ordering::Relaxed)];
        *memory = Memory { min: memory.min.min(now), max: memory.max.max(now), last: now };
        tokio::time::sleep(MEMORY_INTERVAL).await;
    }
    Ok(sections)
}
