//! The memory of a collector that nobody uses.

use anyhow::ensure;
use serde::Serialize;

use crate::collector::Launch;
use crate::machine;
use crate::measure::Bench;

/// See the module.
#[derive(Debug, Serialize)]
pub struct IdleResult {
    pub memory_mib: f64,
    /// Also with the geo database, if there is one.
    pub memory_with_geo_mib: Option<f64>,
}

impl Bench {
    /// Starts a collector, waits until it rests, looks, and ends it.
    pub async fn idle(&self) -> anyhow::Result<IdleResult> {
        Ok(IdleResult {
            memory_mib: self.idle_memory(Vec::new()).await?,
            memory_with_geo_mib: match &self.geo {
                Some(geo) => {
                    ensure!(geo.exists(), "there is no {}", geo.display());
                    let settings = vec![("WEIR_ENRICH__GEO_DATABASE", geo.display().to_string())];
                    Some(self.idle_memory(settings).await?)
                }
                None => None,
            },
        })
    }

    async fn idle_memory(&self, settings: Vec<(&'static str, String)>) -> anyhow::Result<f64> {
        let launch = Launch { program: &self.weir, under: &[], database_url: &self.database.url, settings };
        let collector = launch.start(&self.dir).await?;
        collector.settle().await?;
        let (memory, _) = machine::process_memory_mib(collector.pid)?;
        collector.stop().await?;
        Ok(memory)
    }
}
