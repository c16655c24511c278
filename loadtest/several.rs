//! What more collectors on one database bring: one beside four, slice by slice, under the same number of connections.
//!
//! On one machine they share its cores with PostgreSQL and the generator: what shows is what it costs to be several. What
//! several machines bring is bounded by PostgreSQL, and cannot be measured here.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::try_join_all;
use serde::Serialize;

use weir::journal::Durability;

use crate::client::{self, Load};
use crate::collector::Collector;
use crate::measure::{Bench, refuse_refusals};
use crate::report::median;
use crate::traffic::{Sent, Shape, events};
use crate::verify;

const COLLECTORS: usize = 4;
/// As in `commit`.
const SLICE: Duration = Duration::from_secs(1);

/// Requests a second and rows landed a second, by slice.
#[derive(Debug, Serialize)]
pub struct SeveralResult {
    pub one: Vec<(f64, f64)>,
    pub four: Vec<(f64, f64)>,
    pub remarks: Vec<String>,
}

impl SeveralResult {
    /// Medians of four and of one.
    pub fn requests_per_second(&self) -> Option<(f64, f64)> {
        Some((median_of(&self.four, |slice| slice.0)?, median_of(&self.one, |slice| slice.0)?))
    }

    /// The same of rows, each slice until its last one was committed.
    pub fn landed_per_second(&self) -> Option<(f64, f64)> {
        Some((median_of(&self.four, |slice| slice.1)?, median_of(&self.one, |slice| slice.1)?))
    }
}

fn median_of(slices: &[(f64, f64)], figure: fn(&(f64, f64)) -> f64) -> Option<f64> {
    median(slices.iter().map(figure).collect())
}

impl Bench {
    /// Single events at full speed: a slice with one of the collectors and one with all, for as many pairs as a phase has
    /// seconds.
    pub async fn several(&self) -> anyhow::Result<SeveralResult> {
        let client = self.database.client().await?;
        let mut collectors = Vec::new();
        for _ in 0..COLLECTORS {
            collectors.push(Collector::start(&self.weir, &self.database.url, &self.dir, Durability::Journal).await?);
        }
        let addresses: Vec<SocketAddr> = collectors.iter().map(|collector| collector.public).collect();
        for address in &addresses {
            self.warm_up(&self.load(*address, Shape::Single, 200), &client).await?;
        }
        let mut committed = verify::committed(&client).await?;
        let mut answered: Vec<Sent> = Vec::new();
        let (mut one, mut four) = (Vec::new(), Vec::new());
        for number in 0..self.duration.as_secs() {
            let both = [&addresses[..1], &addresses[..]];
            // Neither is always the one that comes after the other.
            for addresses in if number.is_multiple_of(2) { both } else { [both[1], both[0]] } {
                let share = (self.connections / addresses.len() as u32).max(1);
                let loads = addresses.iter().map(|address| {
                    let load = self.load(*address, Shape::Single, 200);
                    client::run(Load { connections: share, duration: SLICE, ..load })
                });
                let outcomes = try_join_all(loads).await?;
                let requests: f64 =
                    outcomes.iter().map(|outcome| outcome.answered.len() as f64 / outcome.elapsed.as_secs_f64()).sum();
                let sent: u64 = outcomes.iter().map(|outcome| events(&outcome.answered)).sum();
                // What is left to flush must not burden the other.
                committed += sent;
                verify::wait_for_commit(&client, committed).await?;
                let started = outcomes.iter().map(|outcome| outcome.started).min().context("no load")?;
                let rates = (requests, sent as f64 / started.elapsed().as_secs_f64());
                if addresses.len() == 1 {
                    one.push(rates);
                } else {
                    four.push(rates);
                }
                for outcome in outcomes {
                    refuse_refusals(&outcome)?;
                    answered.extend(outcome.answered);
                }
            }
        }
        self.verify(&client, &answered).await?;
        let mut remarks = Vec::new();
        for collector in collectors {
            remarks.extend(collector.stop().await?);
        }
        Ok(SeveralResult { one, four, remarks })
    }
}
