//! A collector that was killed with a large journal: how soon it takes events again, and how fast PostgreSQL gets the rest.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;

use weir::journal::Durability;

use crate::client::{self, Load, Pace};
use crate::collector::{Collector, Launch};
use crate::measure::{Bench, refuse_refusals};
use crate::traffic::Shape;
use crate::usage::Cores;
use crate::verify;

/// A bound, not a measure.
const FILL_TIME_MAX: Duration = Duration::from_secs(900);
/// Batches wait for a group commit each.
const CONNECTIONS: u32 = 32;
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// What an event takes in the journal, to begin with.
const EVENT_BYTES: u64 = 450;

/// See the module.
#[derive(Debug, Serialize)]
pub struct RecoveryResult {
    pub events: u64,
    pub journal_mib: f64,
    /// From the start of the process to the log's "ready".
    pub ready_s: f64,
    /// From the start of the process until the last row was committed.
    pub flushed_s: f64,
    /// From the first commit on.
    pub rows_per_second: f64,
    pub memory_peak_mib: f64,
    pub cores: Cores,
}

impl Bench {
    /// Fills a journal with `journal_bytes` while PostgreSQL is away, kills the collector, and starts it again.
    pub async fn recovery(&self, journal_bytes: u64, batch_events: u32) -> anyhow::Result<RecoveryResult> {
        let collector = Collector::start(&self.weir, &self.database.url, &self.dir, Durability::Journal).await?;
        self.database.clean("analytics.events").await?;
        let client = self.database.client().await?;
        let committed = verify::committed(&client).await?;
        drop(client);
        self.database.shut().await?;
        let mut answered = Vec::new();
        let mut events_wanted = journal_bytes / EVENT_BYTES;
        let journal_mib = loop {
            let load = Load {
                connections: CONNECTIONS,
                sites: 1,
                first_stream: self.streams(CONNECTIONS),
                pace: Pace::Full { events_max: events_wanted },
                duration: FILL_TIME_MAX,
                ..self.load(collector.public, Shape::Batch(batch_events), 200)
            };
            let outcome = client::run(load).await?;
            refuse_refusals(&outcome)?;
            answered.extend(outcome.answered);
            let written = collector.metrics().await?.get("weir_journal_written_bytes_total").copied().unwrap_or(0.0);
            if written >= journal_bytes as f64 {
                break written / 1_048_576.0;
            }
            events_wanted = (journal_bytes - written as u64) / EVENT_BYTES + u64::from(CONNECTIONS * batch_events);
        };
        let events = crate::traffic::events(&answered);
        let dir = collector.kill().await?;
        self.database.open().await?;
        let client = self.database.client().await?;
        ensure!(verify::committed(&client).await? == committed, "events were flushed while PostgreSQL was away");

        let launch = Launch { program: &self.weir, under: &[], database_url: &self.database.url, settings: Vec::new() };
        let started = Instant::now();
        let collector = launch.start_in(dir).await?;
        let usage = self.usage(&[collector.pid])?;
        let mut first = None;
        let (first, first_events) = loop {
            let now = verify::committed(&client).await? - committed;
            match first {
                None if now > 0 => first = Some((started.elapsed(), now)),
                Some(first) if now >= events => break first,
                _ => verify::not_too_late(started, now, events)?,
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        };
        let flushed = started.elapsed();
        let used = self.usage(&[collector.pid])?.since(&usage);
        let memory = crate::machine::process_memory_mib(collector.pid)?;
        self.verify(&client, &answered).await?;
        let ready = collector.ready_after;
        collector.stop().await?;
        self.database.clean("analytics.events").await?;
        Ok(RecoveryResult {
            events,
            journal_mib,
            ready_s: ready.as_secs_f64(),
            flushed_s: flushed.as_secs_f64(),
            rows_per_second: (events - first_events) as f64 / flushed.saturating_sub(first).as_secs_f64(),
            memory_peak_mib: memory.1,
            cores: used.cores(),
        })
    }
}
