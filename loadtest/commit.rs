//! What group commit costs: a collector that syncs beside one that only keeps events in memory, slice by slice, so that
//! whatever else the machine does meets both alike.

use std::time::Duration;

use serde::Serialize;

use weir::journal::Durability;

use crate::client::{self, Load};
use crate::collector::Collector;
use crate::measure::{Bench, Counted, refuse_refusals};
use crate::report::median;
use crate::traffic::{Sent, Shape, events};
use crate::usage::Cores;
use crate::verify;

/// Short beside the minutes over which a shared machine's speed drifts, long beside the opening of the connections.
const SLICE: Duration = Duration::from_secs(1);

/// The two collectors, slice by slice.
#[derive(Debug, Serialize)]
pub struct CommitResult {
    /// Requests a second, with sync and in memory, of each pair of slices.
    pub slices: Vec<(f64, f64)>,
    pub cores: Cores,
    pub remarks: Vec<String>,
}

impl CommitResult {
    /// The medians of the slices, with sync and in memory.
    pub fn requests_per_second(&self) -> Option<(f64, f64)> {
        let (synced, memory) = self.slices.iter().copied().unzip();
        Some((median(synced)?, median(memory)?))
    }

    /// How far the ratios of the pairs reach, without the lowest and the highest quarter.
    pub fn quartiles(&self) -> Option<(f64, f64)> {
        let mut ratios: Vec<f64> = self.slices.iter().map(|(synced, memory)| synced / memory).collect();
        ratios.sort_by(f64::total_cmp);
        Some((*ratios.get(ratios.len() / 4)?, *ratios.get(ratios.len() * 3 / 4)?))
    }
}

impl Bench {
    /// Single events at full speed: a slice with each collector, for as many pairs as a phase has seconds.
    pub async fn group_commit(&self) -> anyhow::Result<CommitResult> {
        let client = self.database.client().await?;
        let start = |durability| Collector::start(&self.weir, &self.database.url, &self.dir, durability);
        let pair = [start(Durability::Journal).await?, start(Durability::Memory).await?];
        let loads = [self.load(pair[0].public, Shape::Single, 200), self.load(pair[1].public, Shape::Single, 202)];
        for load in &loads {
            self.warm_up(load, &client).await?;
        }
        let before = [pair[0].metrics().await?, pair[1].metrics().await?];
        let mut committed = verify::committed(&client).await?;
        let mut answered: Vec<Sent> = Vec::new();
        let mut slices = Vec::new();
        let pids = [pair[0].pid, pair[1].pid];
        let usage = self.usage(&pids)?;
        for number in 0..self.duration.as_secs() {
            let mut rates = [0.0; 2];
            // Neither is always the one that comes after the other.
            for which in if number.is_multiple_of(2) { [0, 1] } else { [1, 0] } {
                let first_stream = self.streams(self.connections);
                let outcome = client::run(Load { first_stream, duration: SLICE, ..loads[which].clone() }).await?;
                refuse_refusals(&outcome)?;
                rates[which] = outcome.answered.len() as f64 / outcome.elapsed.as_secs_f64();
                // What is left to flush must not burden the other.
                committed += events(&outcome.answered);
                verify::wait_for_commit(&client, committed).await?;
                answered.extend(outcome.answered);
            }
            slices.push(rates.into());
        }
        let cores = self.usage(&pids)?.since(&usage).cores();
        self.verify(&client, &answered).await?;
        let mut remarks = Vec::new();
        for (collector, before) in pair.into_iter().zip(before) {
            remarks.extend(Counted::between(&before, &collector.metrics().await?).remarks());
            remarks.extend(collector.stop().await?);
        }
        Ok(CommitResult { slices, cores, remarks })
    }
}
