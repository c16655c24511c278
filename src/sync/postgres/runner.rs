//! Whoever replicates: one of all collectors, until it ends or dies; then another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Object;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::ReplicationError;
use super::engine::Engine;
use super::follow::Source;
use super::publisher::Publisher;
use super::settings::Postgres;
use crate::config;
use crate::database::{Database, DatabaseError, advisory};
use crate::metrics::Metrics;
use crate::sync::foreign::Bridge;
use crate::sync::settings::Source as Settings;

/// Who does not replicate asks again whether it should.
const STANDBY: Duration = Duration::from_secs(5);
/// The lock is looked after.
const TICK: Duration = Duration::from_secs(5);
/// A lock that does not answer is lost.
const LOCK_ANSWER: Duration = Duration::from_secs(10);
/// The advisory lock: "repl" in ASCII.
pub(crate) const LOCK: i64 = 0x7265_706c;
/// Of each source's engine: one applies, one looks, one tells.
const CONNECTIONS: usize = 3;
/// So long what is under way at the end may take.
const DRAIN: Duration = Duration::from_secs(10);

/// See the module.
pub struct Runner {
    pub settings: config::Database,
    pub sources: BTreeMap<String, Settings>,
    /// Set once the database has weir's schema.
    pub prepared: CancellationToken,
    pub metrics: Arc<Metrics>,
}

impl Runner {
    /// Of the settings' sources, those that are a PostgreSQL.
    pub fn sources(all: &BTreeMap<String, Settings>) -> BTreeMap<String, Settings> {
        let is_postgres = |source: &Settings| matches!(source, Settings::Postgres(_) | Settings::Foreign(_));
        all.iter()
            .filter(|(_, source)| is_postgres(source))
            .map(|(name, source)| (name.clone(), source.clone()))
            .collect()
    }

    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        if self.sources.is_empty() {
            return stop.cancelled().await;
        }
        tokio::select! {
            () = self.prepared.cancelled() => {}
            () = stop.cancelled() => return,
        }
        while !stop.is_cancelled() {
            if let Err(error) = self.lead(&stop).await {
                tracing::warn!(%error, "nothing is replicated by this collector: trying again");
            }
            tokio::select! {
                () = tokio::time::sleep(STANDBY) => {}
                () = stop.cancelled() => break,
            }
        }
    }

    async fn lead(&self, stop: &CancellationToken) -> Result<(), ReplicationError> {
        let database = Database::new(&self.settings, 1)?;
        // Dropped, it must not be used by others: the lock goes with it.
        let mut client = Object::take(database.client().await?);
        let Some(lock) = advisory::elect(&mut client, LOCK).await? else { return Ok(()) };
        tracing::info!("this collector replicates");
        let ended = stop.child_token();
        let mut engines = JoinSet::new();
        for (name, settings) in &self.sources {
            let ended = ended.clone();
            let result = match settings {
                Settings::Postgres(settings) => engine(&self.settings, name, settings, &self.metrics)
                    .map(|engine| drop(engines.spawn(engine.run(ended))))
                    .map_err(|error| error.to_string()),
                Settings::Foreign(settings) => Bridge::new(&self.settings, name, settings)
                    .map(|bridge| drop(engines.spawn(bridge.run(ended))))
                    .map_err(|error| error.to_string()),
                Settings::Singer(_) => Ok(()),
            };
            if let Err(error) = result {
                tracing::error!(source = name, error, "a source cannot be replicated");
            }
        }
        let mut ticks = interval(TICK);
        let result = loop {
            tokio::select! {
                _ = ticks.tick() => match timeout(LOCK_ANSWER, lock.query_typed("select 1", &[])).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => break Err(error.into()),
                    Err(_) => break Err(DatabaseError::Lost.into()),
                },
                () = stop.cancelled() => break Ok(()),
            }
        };
        ended.cancel();
        let all_ended = timeout(DRAIN, async { while engines.join_next().await.is_some() {} }).await;
        if all_ended.is_err() {
            // In the midst of a large transaction, say: it is rolled back, and comes again.
            engines.shutdown().await;
        }
        // Another collector says how it is from now on.
        self.sources.keys().for_each(|name| self.metrics.replication_ended(name));
        result
    }
}

/// What replicates one source.
pub fn engine(
    database: &config::Database,
    name: &str,
    settings: &Postgres,
    metrics: &Arc<Metrics>,
) -> Result<Engine, ReplicationError> {
    let url = settings.url(name).map_err(ReplicationError::Settings)?;
    let schema = if settings.schema.is_empty() { name } else { &settings.schema };
    Ok(Engine {
        source: Source { name: name.to_owned(), schema: schema.to_owned(), settings: settings.clone() },
        local: Database::new(database, CONNECTIONS)?,
        publisher: Publisher::new(&url, database.connect_timeout_s)?,
        metrics: Arc::clone(metrics),
    })
}
