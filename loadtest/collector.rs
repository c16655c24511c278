//! The collector under test, as a process of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use weir::journal::Durability;

use crate::client::Connection;
use crate::machine;

/// Migrating an empty database and binding two ports takes far less.
/// Valgrind makes it fifty times as slow.
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// A process that took less than a twentieth of this rests.
const SETTLE_INTERVAL: Duration = Duration::from_millis(500);
/// More than all of weir's own time-outs for shutting down together.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A running `weir serve` with a journal that ends with it.
pub struct Collector {
    child: Child,
    pub pid: u32,
    pub public: SocketAddr,
    pub admin: SocketAddr,
    log: PathBuf,
    dir: TempDir,
    /// From the start of the process until it said that it is ready.
    pub ready_after: Duration,
}

/// How to start `weir serve`.
pub struct Launch<'a> {
    pub program: &'a Path,
    /// A program that runs it, with arguments.
    pub under: &'a [String],
    pub database_url: &'a str,
    pub settings: Vec<(&'static str, String)>,
}

impl Launch<'_> {
    /// Working in a new directory below `parent`.
    pub async fn start(&self, parent: &Path) -> anyhow::Result<Collector> {
        let dir = tempfile::Builder::new().prefix("loadtest-").tempdir_in(parent)?;
        self.start_in(dir).await
    }

    /// With what lies in `dir` from before.
    pub async fn start_in(&self, dir: TempDir) -> anyhow::Result<Collector> {
        let log = dir.path().join("weir.log");
        let mut command = match self.under {
            [] => Command::new(self.program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(self.program);
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WEIR_") {
                command.env_remove(name);
            }
        }
        // A measurement may want others than the defaults: NAME=VALUE, with spaces between.
        let asked = std::env::var("LOADTEST_SETTINGS").unwrap_or_default();
        command.envs(asked.split_whitespace().filter_map(|setting| setting.split_once('=')));
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .env("DATABASE_URL", self.database_url)
            .env("WEIR_LOG_FORMAT", "json")
            // All load has one key. The limit is checked all the same, but is never reached.
            .env("WEIR_RECEIVE__KEY_REQUESTS_PER_S", "1000000000")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        let started = Instant::now();
        let pid = child.id().context("the collector has ended")?;
        let deadline = started + START_TIMEOUT;
        let (public, admin) = loop {
            if let Some(addresses) = addresses(&log)? {
                break addresses;
            }
            if let Some(status) = child.try_wait()? {
                bail!("the collector did not start ({status}):\n{}", tail(&log)?);
            }
            ensure!(Instant::now() < deadline, "the collector was not ready in time:\n{}", tail(&log)?);
            tokio::time::sleep(POLL_INTERVAL).await;
        };
        let ready_after = started.elapsed();
        Ok(Collector { child, pid, public, admin, log, dir, ready_after })
    }
}

impl Collector {
    /// Starts `weir serve` with the default settings, and waits until it rests.
    pub async fn start(
        program: &Path,
        database_url: &str,
        parent: &Path,
        durability: Durability,
    ) -> anyhow::Result<Self> {
        let durability = serde_json::to_value(durability)?.as_str().unwrap_or_default().to_owned();
        let settings = vec![("WEIR_JOURNAL__DURABILITY", durability)];
        let collector = Launch { program, under: &[], database_url, settings }.start(parent).await?;
        let (status, _) = collector.ask("/readyz").await?;
        ensure!(status == 200, "/readyz answers {status}");
        collector.settle().await?;
        Ok(collector)
    }

    /// Waits until the process rests: after its start it compiles the user agents' patterns for about a second, which
    /// belongs to no event.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let before = machine::process_cpu(self.pid)?;
            tokio::time::sleep(SETTLE_INTERVAL).await;
            if machine::process_cpu(self.pid)?.since(before).total() < SETTLE_INTERVAL / 20 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the collector does not come to rest");
        }
    }

    /// The metrics that are plain numbers or sums, by name with labels.
    pub async fn metrics(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let (_, text) = self.ask("/metrics").await?;
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Ok(lines.filter_map(sample).collect())
    }

    async fn ask(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut connection = Connection::open(self.admin).await?;
        let (status, body) = connection.exchange(request.as_bytes()).await?;
        Ok((status, String::from_utf8(body.to_vec())?))
    }

    /// Ends the process at once; its journal stays.
    pub async fn kill(mut self) -> anyhow::Result<TempDir> {
        self.child.kill().await?;
        Ok(self.dir)
    }

    /// Ends the process as an operator would; returns what it had to complain about.
    pub async fn stop(mut self) -> anyhow::Result<Vec<String>> {
        terminate(self.pid).await?;
        let status = tokio::time::timeout(STOP_TIMEOUT, self.child.wait())
            .await
            .context("the collector did not stop in time")??;
        ensure!(status.success(), "the collector ended with {status}:\n{}", tail(&self.log)?);
        let complaints = complaints(&self.log)?;
        self.dir.close()?;
        Ok(complaints)
    }
}

/// Asks one process, which this one started, to end.
pub async fn terminate(pid: u32) -> anyhow::Result<()> {
    let status = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
    ensure!(status.success(), "kill -TERM {pid}: {status}");
    Ok(())
}

/// The addresses that the log's line "ready" tells.
fn addresses(log: &Path) -> anyhow::Result<Option<(SocketAddr, SocketAddr)>> {
    for line in lines(log)? {
        let fields = &line["fields"];
        if fields["message"] == "ready" {
            let address = |name: &str| -> anyhow::Result<SocketAddr> {
                let url = fields[name].as_str().context("no address in the log")?;
                Ok(url.trim_start_matches("http://").parse()?)
            };
            return Ok(Some((address("url")?, address("admin_url")?)));
        }
    }
    Ok(None)
}

/// Warnings and errors.
fn complaints(log: &Path) -> anyhow::Result<Vec<String>> {
    Ok(lines(log)?
        .iter()
        .filter(|line| line["level"] != "INFO")
        .map(|line| format!("{} {}", line["level"], line["fields"]))
        .collect())
}

fn lines(log: &Path) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(log)?;
    // The last line may be half written.
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn tail(log: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(log)?;
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(20)..].join("\n"))
}
