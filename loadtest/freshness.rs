//! From the moment an event is sent until a query sees it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::client::Connection;
use crate::traffic::{Sent, Shape, Traffic};

const PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// The resolution of what is measured; a look costs PostgreSQL some 50 µs.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// A backlog at full speed may be long; longer than this is a stall.
const VISIBLE_TIMEOUT: Duration = Duration::from_secs(300);

/// The events sent as probes, and how long each took.
#[derive(Default)]
pub struct Freshness {
    pub answered: Vec<Sent>,
    pub took: Vec<Duration>,
}

/// Sends an event ten times a second, and looks for each until it is there, until `stop`.
pub async fn probe(
    client: Client,
    address: SocketAddr,
    traffic: Arc<Traffic>,
    stream: u32,
    stop: CancellationToken,
) -> anyhow::Result<Freshness> {
    let query =
        client.prepare("select exists (select from analytics.events where event_id = $1 and occurred_at = $2)").await?;
    let mut stream = traffic.stream(stream, 1);
    let mut connection = Connection::open(address).await?;
    let mut request = Vec::new();
    let mut freshness = Freshness::default();
    let mut ticks = interval(PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        ticks.tick().await;
        let sent = stream.write(Shape::Single, &mut request);
        let started = Instant::now();
        let (status, _) = connection.exchange(&request).await?;
        ensure!(matches!(status, 200 | 202), "a probe was answered {status}");
        let id = sent.event_ids(&traffic.site.source).next().context("a single event")?;
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(sent.at_ms().cast_unsigned());
        while !client.query_one(&query, &[&id, &at]).await?.try_get(0)? {
            ensure!(
                started.elapsed() < VISIBLE_TIMEOUT,
                "a probe was answered 200 and not visible within {} s",
                VISIBLE_TIMEOUT.as_secs()
            );
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        freshness.took.push(started.elapsed());
        freshness.answered.push(sent);
    }
    Ok(freshness)
}
