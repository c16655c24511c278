//! One phase of the comparison: prepare, load, wait, read the counters, verify.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use weir::journal::Durability;

use crate::client::{self, Load, Outcome, Pace, Timing};
use crate::collector::Collector;
use crate::database::Database;
use crate::freshness;
use crate::machine;
use crate::peers::{self, Server};
use crate::traffic::{Sent, Shape, Traffic, events};
use crate::usage::{Cores, Usage};
use crate::verify::{self, Sabotage};

/// Fills the caches: each user agent is parsed once, each connection has grown its buffers.
const WARM_UP: Duration = Duration::from_secs(2);
/// Events of one phase: what is behind in PostgreSQL waits in the journal, which must not fill up.
const EVENTS_MAX: u64 = 4_000_000;

/// Everything that phases share.
pub struct Bench {
    pub traffic: Arc<Traffic>,
    pub database: Database,
    pub weir: PathBuf,
    /// Where journals are put.
    pub dir: PathBuf,
    /// A geo database, for the memory that it takes.
    pub geo: Option<PathBuf>,
    pub connections: u32,
    pub duration: Duration,
    pub streams: AtomicU32,
    pub sabotage: Option<Sabotage>,
}

/// The bare handler.
#[derive(Debug, Serialize)]
pub struct BareResult {
    pub requests_per_second: f64,
    pub cpu_us_per_request: f64,
    pub cpu_user_us_per_request: f64,
    pub cores: Cores,
}

/// Raw COPY.
#[derive(Debug, Serialize)]
pub struct CopyResult {
    pub rows_per_second: f64,
    /// Of one row's tuple.
    pub row_bytes: f64,
    pub cores: Cores,
}

/// The collector under one load.
#[derive(Debug, Serialize)]
pub struct WeirResult {
    pub events: u64,
    pub requests_per_second: f64,
    /// Events answered with `200`, while the load lasted.
    pub accepted_per_second: f64,
    /// Rows, until the last one was committed.
    pub landed_per_second: f64,
    /// The collector's own, all of it: receiving, journal, and flushing.
    pub cpu_us_per_event: f64,
    pub cpu_user_us_per_event: f64,
    pub cores: Cores,
    pub memory_mib: f64,
    pub memory_peak_mib: f64,
    pub events_per_frame: f64,
    pub sync_ms_mean: f64,
    pub flushes_per_second: f64,
    pub flush_ms_mean: f64,
    pub freshness_ms_p50: f64,
    pub freshness_ms_p99: f64,
    pub freshness_ms_max: f64,
    pub table_bytes_per_event: f64,
    pub index_bytes_per_event: f64,
    /// Only on a schedule.
    pub latency: Option<Latency>,
    /// What the collector complained of, or counted that it should not have.
    pub remarks: Vec<String>,
}

/// From the moment when a request was due to its answer.
#[derive(Debug, Serialize)]
pub struct Latency {
    pub requests_per_second: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p99_9_ms: f64,
    pub max_ms: f64,
    /// How late the generator was itself: part of the above.
    pub late_p50_ms: f64,
    pub late_p99_ms: f64,
}

impl Bench {
    pub(crate) fn streams(&self, count: u32) -> u32 {
        self.streams.fetch_add(count, Ordering::Relaxed)
    }

    pub(crate) fn load(&self, address: std::net::SocketAddr, shape: Shape, expected_status: u16) -> Load {
        Load {
            traffic: Arc::clone(&self.traffic),
            address,
            shape,
            connections: self.connections,
            sites: 1,
            first_stream: self.streams(self.connections),
            pace: Pace::Full { events_max: EVENTS_MAX },
            duration: self.duration,
            expected_status,
            control: Arc::default(),
        }
    }

    pub(crate) fn usage(&self, subjects: &[u32]) -> anyhow::Result<Usage> {
        Usage::now(subjects, self.database.server_pid)
    }

    /// The bare handler at full speed.
    pub async fn bare(&self) -> anyhow::Result<BareResult> {
        let bare = Server::own(peers::BARE_COMMAND, &self.database.url).await?;
        let load = self.load(bare.address, Shape::Single, 204);
        let warm_up = Load { duration: WARM_UP, ..load.clone() };
        client::run(warm_up).await?;
        let before = self.usage(&[bare.pid])?;
        let outcome = client::run(load).await?;
        let used = self.usage(&[bare.pid])?.since(&before);
        bare.stop().await?;
        refuse_refusals(&outcome)?;
        let requests = outcome.answered.len() as f64;
        Ok(BareResult {
            requests_per_second: requests / outcome.elapsed.as_secs_f64(),
            cpu_us_per_request: micros(used.subject.total()) / requests,
            cpu_user_us_per_request: micros(used.subject.user) / requests,
            cores: used.cores(),
        })
    }

    /// Raw COPY at full speed.
    pub async fn copy(&self, batch_events: u32) -> anyhow::Result<CopyResult> {
        let copy = peers::Copy::prepare(&self.database, &self.traffic, batch_events).await?;
        self.database.clean(peers::COPY_TABLE).await?;
        let before = self.usage(&[])?;
        let row_bytes = copy.row_bytes();
        let rows_per_second = copy.run(self.duration).await?;
        let used = self.usage(&[])?.since(&before);
        self.database.clean(peers::COPY_TABLE).await?;
        Ok(CopyResult { rows_per_second, row_bytes, cores: used.cores() })
    }

    /// The collector, in a new process on an empty table.
    pub async fn weir(&self, shape: Shape, pace: Option<f64>) -> anyhow::Result<WeirResult> {
        let collector = Collector::start(&self.weir, &self.database.url, &self.dir, Durability::Journal).await?;
        let client = self.database.client().await?;
        let full = self.load(collector.public, shape, 200);
        self.warm_up(&full, &client).await?;

        let load = Load {
            first_stream: self.streams(self.connections),
            pace: pace.map_or(full.pace, |requests_per_second| Pace::Schedule { requests_per_second }),
            ..full
        };
        let committed = verify::committed(&client).await?;
        let counted = collector.metrics().await?;
        let stop = CancellationToken::new();
        let probe = tokio::spawn(freshness::probe(
            self.database.client().await?,
            collector.public,
            Arc::clone(&self.traffic),
            self.streams(1),
            stop.clone(),
        ));
        let usage = self.usage(&[collector.pid])?;
        let outcome = client::run(load).await?;
        stop.cancel();
        let memory = machine::process_memory_mib(collector.pid)?;
        verify::wait_for_commit(&client, committed + outcome.events()).await?;
        let landed = outcome.started.elapsed();
        let used = self.usage(&[collector.pid])?.since(&usage);
        let freshness = probe.await??;

        refuse_refusals(&outcome)?;
        let mut answered: Vec<Sent> = outcome.answered.clone();
        answered.extend(&freshness.answered);
        verify::wait_for_commit(&client, committed + events(&answered)).await?;
        let storage = verify::storage(&client, events(&answered)).await?;
        self.verify(&client, &answered).await?;
        let counted = Counted::between(&counted, &collector.metrics().await?);
        let mut remarks = counted.remarks();
        remarks.extend(collector.stop().await?);

        let count = outcome.events() as f64;
        let seconds = outcome.elapsed.as_secs_f64();
        let mut took_ms: Vec<f64> = freshness.took.iter().map(|took| millis(*took)).collect();
        took_ms.sort_by(f64::total_cmp);
        Ok(WeirResult {
            events: outcome.events(),
            requests_per_second: outcome.answered.len() as f64 / seconds,
            accepted_per_second: count / seconds,
            landed_per_second: count / landed.as_secs_f64(),
            cpu_us_per_event: micros(used.subject.total()) / count,
            cpu_user_us_per_event: micros(used.subject.user) / count,
            cores: used.cores(),
            memory_mib: memory.0,
            memory_peak_mib: memory.1,
            events_per_frame: events(&answered) as f64 / counted.get("weir_journal_frames_total"),
            sync_ms_mean: counted.mean_ms("weir_journal_sync_seconds"),
            flushes_per_second: counted.get("weir_flush_seconds_count") / landed.as_secs_f64(),
            flush_ms_mean: counted.mean_ms("weir_flush_seconds"),
            freshness_ms_p50: took_ms.get(took_ms.len() / 2).copied().unwrap_or(f64::NAN),
            freshness_ms_p99: took_ms.get(took_ms.len() * 99 / 100).copied().unwrap_or(f64::NAN),
            freshness_ms_max: took_ms.last().copied().unwrap_or(f64::NAN),
            table_bytes_per_event: storage.0,
            index_bytes_per_event: storage.1,
            latency: pace.zip(outcome.timing.first()).map(|(pace, timing)| Latency::of(pace, timing)),
            remarks,
        })
    }

    /// Whether exactly these events are stored; all of them have been committed.
    pub(crate) async fn verify(&self, client: &tokio_postgres::Client, answered: &[Sent]) -> anyhow::Result<()> {
        if let Some(sabotage) = self.sabotage {
            sabotage.commit(client).await.context("sabotage")?;
        }
        verify::check(client, answered, &self.traffic.site.source)
            .await
            .context("the events that were sent are not the events that were stored")
    }

    pub(crate) async fn warm_up(&self, load: &Load, client: &tokio_postgres::Client) -> anyhow::Result<()> {
        let committed = verify::committed(client).await?;
        let warm_up = Load { duration: WARM_UP, ..load.clone() };
        let outcome = client::run(warm_up).await?;
        refuse_refusals(&outcome)?;
        verify::wait_for_commit(client, committed + outcome.events()).await?;
        self.database.clean("analytics.events").await
    }
}

pub(crate) fn refuse_refusals(outcome: &Outcome) -> anyhow::Result<()> {
    if let Some((status, (times, text))) = outcome.refused.first_key_value() {
        bail!("{times} requests were answered {status}, the first: {text}");
    }
    Ok(())
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl Latency {
    pub(crate) fn of(requests_per_second: f64, Timing { latency, lateness }: &Timing) -> Self {
        let at =
            |histogram: &hdrhistogram::Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            requests_per_second,
            p50_ms: at(latency, 0.5),
            p90_ms: at(latency, 0.9),
            p99_ms: at(latency, 0.99),
            p99_9_ms: at(latency, 0.999),
            max_ms: latency.max() as f64 / 1e3,
            late_p50_ms: at(lateness, 0.5),
            late_p99_ms: at(lateness, 0.99),
        }
    }
}

/// The collector's own metrics, as differences.
pub(crate) struct Counted(std::collections::BTreeMap<String, f64>);

impl Counted {
    pub(crate) fn between(
        before: &std::collections::BTreeMap<String, f64>,
        after: &std::collections::BTreeMap<String, f64>,
    ) -> Self {
        let difference = |(name, value): (&String, &f64)| (name.clone(), value - before.get(name).unwrap_or(&0.0));
        Self(after.iter().map(difference).collect())
    }

    pub(crate) fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    fn mean_ms(&self, histogram: &str) -> f64 {
        1e3 * self.get(&format!("{histogram}_sum")) / self.get(&format!("{histogram}_count"))
    }

    /// What should not have happened.
    pub(crate) fn remarks(&self) -> Vec<String> {
        [
            "weir_flush_retries_total",
            "weir_flush_careful_total",
            "weir_connections_refused_total",
            "weir_mended_escapes_total",
            r#"weir_user_agent_cache_total{result="skipped"}"#,
        ]
        .into_iter()
        .filter(|name| self.get(name) > 0.0)
        .map(|name| format!("{name} rose by {}", self.get(name)))
        .collect()
    }
}
