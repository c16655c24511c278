//! What more of something costs: sources, connections, partitions, rows in the table. Single events at full speed, each step by a
//! new collector. Beside each rate stands the one of the first step, because the bar is how much of it is left at the last.

use std::time::Instant;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use weir::flush::partitions::Partitions;
use weir::journal::Durability;

use crate::client::{self, Load};
use crate::collector::Collector;
use crate::measure::{Bench, refuse_refusals};
use crate::peers;
use crate::plot::{Goal, Plot};
use crate::traffic::Shape;
use crate::verify;

/// Of the first step's rate, at the last.
const LEFT_MIN: f64 = 0.85;
const SOURCES: [u32; 3] = [1, 2, 4];
const CONNECTIONS: [u32; 4] = [10, 100, 1_000, 10_000];
/// Days back. There are a week's ahead besides.
const PARTITIONS: [u16; 3] = [1, 40, 400];
/// Steps of the rows in the table before the load, as parts of the most.
const ROWS: [f64; 3] = [0.02, 0.2, 1.0];

/// One step.
#[derive(Debug, Serialize)]
pub struct Step {
    pub at: u64,
    pub requests_per_second: f64,
    pub landed_per_second: f64,
}

/// The steps by what there was more of.
#[derive(Debug, Default, Serialize)]
pub struct CurveResult {
    pub sources: Vec<Step>,
    pub connections: Vec<Step>,
    pub partitions: Vec<Step>,
    pub rows: Vec<Step>,
}

impl CurveResult {
    fn curves(&self) -> [(&'static str, &[Step]); 4] {
        [
            ("sources", &self.sources),
            ("connections", &self.connections),
            ("partitions", &self.partitions),
            ("rows in the table", &self.rows),
        ]
    }

    pub fn print(&self) {
        for (name, steps) in self.curves() {
            let Some(first) = steps.first() else { continue };
            println!("\nsingle events, by {name}");
            for step in steps {
                let share = step.landed_per_second / first.landed_per_second;
                println!(
                    "{:>12} {:>10.0} requests/s {:>10.0} rows landed/s  {share:.2} of the first",
                    step.at, step.requests_per_second, step.landed_per_second
                );
            }
        }
    }

    pub fn plots(&self) -> Vec<Plot> {
        let plot = |(name, steps): (&'static str, &[Step])| {
            let first = steps.first()?;
            Some(Plot {
                title: format!("rows landed/s, by {name}"),
                labels: steps.iter().map(|step| step.at.to_string()).collect(),
                values: steps.iter().map(|step| step.landed_per_second).collect(),
                median: None,
                goal: Goal::AtLeast((LEFT_MIN * first.landed_per_second).round()),
            })
        };
        self.curves().into_iter().filter_map(plot).collect()
    }
}

impl Bench {
    /// All curves; the last one up to `rows_max` rows.
    pub async fn curve(&self, rows_max: u64, batch_events: u32) -> anyhow::Result<CurveResult> {
        let mut curve = CurveResult::default();
        self.database.clean("analytics.events").await?;
        for sites in SOURCES {
            let step = self.step(u64::from(sites), self.connections, sites).await.context("sources")?;
            curve.sources.push(step);
            self.database.clean("analytics.events").await?;
        }
        for connections in CONNECTIONS {
            let step = self.step(u64::from(connections), connections, 1).await.context("connections")?;
            curve.connections.push(step);
            self.database.clean("analytics.events").await?;
        }
        for partitions in PARTITIONS {
            let partitions = self.make_partitions(partitions).await?;
            curve.partitions.push(self.step(partitions, self.connections, 1).await.context("partitions")?);
            self.database.clean("analytics.events").await?;
        }
        let mut filled = 0;
        for share in ROWS {
            let rows = (share * rows_max as f64) as u64;
            filled += peers::Copy::prepare(&self.database, &self.traffic, batch_events)
                .await?
                .fill("analytics.events", rows.saturating_sub(filled))
                .await?;
            // What filling leaves to do is not what the rows cost.
            self.database.settle("analytics.events").await?;
            curve.rows.push(self.step(filled, self.connections, 1).await.context("rows")?);
        }
        self.database.clean("analytics.events").await?;
        Ok(curve)
    }

    async fn step(&self, at: u64, connections: u32, sites: u32) -> anyhow::Result<Step> {
        let collector = Collector::start(&self.weir, &self.database.url, &self.dir, Durability::Journal).await?;
        let client = self.database.client().await?;
        let committed = verify::committed(&client).await?;
        let load = Load {
            connections,
            sites,
            first_stream: self.streams(connections),
            ..self.load(collector.public, Shape::Single, 200)
        };
        let started = Instant::now();
        let outcome = client::run(load).await?;
        refuse_refusals(&outcome)?;
        verify::wait_for_commit(&client, committed + outcome.events()).await?;
        let landed = started.elapsed();
        collector.stop().await?;
        let events = outcome.events() as f64;
        let step = Step {
            at,
            requests_per_second: events / outcome.elapsed.as_secs_f64(),
            landed_per_second: events / landed.as_secs_f64(),
        };
        eprintln!(
            "  at {at:>9} {:>9.0} requests/s, {:.0} rows/s landed",
            step.requests_per_second, step.landed_per_second
        );
        Ok(step)
    }

    /// Days before today, as weir makes them; returns how many partitions there are then.
    async fn make_partitions(&self, days: u16) -> anyhow::Result<u64> {
        let weir = self.database.weir()?;
        let partitions = Partitions::default();
        let first = Timestamp::now() - SignedDuration::from_hours(24 * i64::from(days));
        let mut client = weir.client().await?;
        partitions.ensure_ahead(&mut client, first, days).await.context("partitions")?;
        drop(client);
        weir.close();
        Ok(partitions.count() as u64)
    }
}
