//! Other servers under the same single events: what a developer would write first, and weir's ancestor.
//!
//! ```text
//! axum       naive.rs: parse, one INSERT an event
//! fastapi    the same in Python
//! express    the same in JavaScript
//! reload     Sentry's collector, its own code; what it would send to Google is thrown away, and nothing is on a disk
//! ```
//!
//! `scripts/peer` sets the last three up. One that cannot be had here is told, and left out.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::client::{self, Load};
use crate::measure::{Bench, refuse_refusals};
use crate::naive;
use crate::peers::Server;
use crate::traffic::Shape;

/// The first time everything is downloaded.
const START_TIMEOUT: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const WARM_UP: Duration = Duration::from_secs(2);
/// More makes servers of one thread slower, not faster.
const CONNECTIONS_MAX: u32 = 64;

/// One server's figures.
#[derive(Debug, Serialize)]
pub struct Rival {
    pub name: &'static str,
    pub requests_per_second: f64,
}

impl Bench {
    /// All that can be had here.
    pub async fn rivals(&self) -> anyhow::Result<Vec<Rival>> {
        let mut rivals = Vec::new();
        for name in ["axum", "fastapi", "express", "reload"] {
            match self.rival(name).await {
                Ok(requests_per_second) => {
                    eprintln!("  {name:<14} {requests_per_second:>9.0} requests/s");
                    rivals.push(Rival { name, requests_per_second });
                }
                Err(error) => eprintln!("  {name:<14} left out: {error:#}"),
            }
        }
        Ok(rivals)
    }

    async fn rival(&self, name: &str) -> anyhow::Result<f64> {
        let server = match name {
            "axum" => Server::own(naive::COMMAND, &self.database.url).await?,
            name => self.peer(name).await?,
        };
        let measured = self.measure_rival(name, server.address).await;
        server.stop().await?;
        measured
    }

    async fn measure_rival(&self, name: &str, address: SocketAddr) -> anyhow::Result<f64> {
        let (shape, status) = if name == "reload" { (Shape::Reload, 201) } else { (Shape::Single, 200) };
        let connections = self.connections.min(CONNECTIONS_MAX);
        let load = |duration| Load {
            connections,
            sites: 1,
            first_stream: self.streams(connections),
            duration,
            ..self.load(address, shape, status)
        };
        let warm_up = client::run(load(WARM_UP)).await?;
        let outcome = client::run(load(self.duration)).await?;
        refuse_refusals(&outcome)?;
        if name != "reload" {
            let client = self.database.client().await?;
            let rows: i64 = client.query_one("select count(*) from peer.events", &[]).await?.try_get(0)?;
            let answered = warm_up.events() + outcome.events();
            ensure!(rows.cast_unsigned() == answered, "{answered} events were answered, {rows} are stored");
            client.batch_execute("truncate peer.events").await?;
        }
        Ok(outcome.answered.len() as f64 / outcome.elapsed.as_secs_f64())
    }

    async fn peer(&self, name: &str) -> anyhow::Result<Server> {
        // Free now; whoever takes it meanwhile makes this fail, and be told.
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/peer");
        let mut child = Command::new(script)
            .args([name, &address.port().to_string()])
            .env("DATABASE_URL", &self.database.url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("scripts/peer {name}: {status}");
            }
            ensure!(Instant::now() < deadline, "it did not listen in time");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let pid = child.id().context("the server has ended")?;
        Ok(Server { child, pid, address })
    }
}
