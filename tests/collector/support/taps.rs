//! Taps as they are published, and the services that they read, stood in for on this machine.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{TestDatabase, http, tool};

/// A run with its start of Python, on a busy machine.
const RUN_TIMEOUT: Duration = Duration::from_secs(120);

/// The environment of a tap or target; `None` if this machine has none.
pub fn environment(name: &str) -> Option<PathBuf> {
    let all = tool("WEIR_TEST_TAPS")?;
    let found = std::env::split_paths(&all).find(|environment| environment.join("bin").join(name).is_file());
    Some(found.unwrap_or_else(|| panic!("no environment of WEIR_TEST_TAPS has {name}")))
}

fn of_tests(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/taps").join(file)
}

/// The services, as `tests/taps/stand_in.py` knows them.
pub struct StandIn {
    _process: Child,
    address: SocketAddr,
    /// What its times are relative to, in seconds.
    pub now: i64,
}

impl StandIn {
    pub async fn start(python: &Path) -> Self {
        let mut process = Command::new(python)
            .arg(of_tests("stand_in.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).await.expect("it listens");
        let (port, now) = line.trim().split_once(' ').expect("PORT NOW");
        let address = SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")));
        Self { _process: process, address, now: now.parse().expect("seconds") }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Some things become new, changed or gone.
    pub async fn next(&self) {
        assert_eq!(http::post(self.address, "/_next", &[], b"").await.status, 200);
    }
}

/// One source of weir's, with a tap, a settings file and a database of its own.
pub struct Source {
    pub database: TestDatabase,
    pub name: &'static str,
    dir: tempfile::TempDir,
    tap: PathBuf,
}

impl Source {
    /// The published program.
    pub async fn of(name: &'static str, tap: PathBuf) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("weir.toml"), "").expect("written");
        Self { database: TestDatabase::new().await, name, dir, tap }
    }

    /// The published program, its requests sent to the stand-in.
    pub async fn wrapped(name: &'static str, environment: &Path, module: &str, stand_in: &StandIn) -> Self {
        let mut source = Self::of(name, PathBuf::new()).await;
        source.tap = source.file("tap");
        let (python, wrapped, url) = (environment.join("bin/python"), of_tests("wrapped.py"), stand_in.url());
        let script = format!("#!/bin/sh\nexec {} {} {url} {module} \"$@\"\n", python.display(), wrapped.display());
        fs::write(&source.tap, script).expect("written");
        fs::set_permissions(&source.tap, fs::Permissions::from_mode(0o755)).expect("set");
        source
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What weir gives the tap.
    pub fn config(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file("tap-dir/config.json")).expect("there")).expect("JSON")
    }

    /// Changes it, as a person would.
    pub fn set_config(&self, member: &str, value: Value) {
        let mut config = self.config();
        config[member] = value;
        fs::write(self.file("tap-dir/config.json"), config.to_string()).expect("written");
    }

    /// Runs the program; returns what it wrote to stdout.
    pub async fn weir(&self, arguments: &[&str], input: Option<&Path>) -> String {
        let input = input.map_or_else(Stdio::null, |file| fs::File::open(file).expect("there").into());
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command
            .arg("--config")
            .arg(self.file("weir.toml"))
            .args(arguments)
            .env("DATABASE_URL", &self.database.url)
            .env("WEIR_LOG", "warn")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(input);
        finished(command).await
    }

    /// `weir sync add`.
    pub async fn add(&self, config: &Value, streams: &[&str]) {
        let (tap, file, dir) = (self.tap.display().to_string(), self.file("given.json"), self.file("tap-dir"));
        fs::write(&file, config.to_string()).expect("written");
        let (file, dir) = (file.display().to_string(), dir.display().to_string());
        let mut arguments = vec!["sync", "add", self.name, "--tap", &tap, "--tap-config", &file, "--dir", &dir];
        arguments.extend(streams.iter().flat_map(|stream| ["--stream", stream]));
        let said = self.weir(&arguments, None).await;
        assert!(said.contains(&format!("[sync.{}] is in", self.name)), "{said}");
    }

    /// `weir sync run`: how many records were taken, none of which may have been rejected.
    pub async fn run(&self) -> u64 {
        let said = self.weir(&["sync", "run", self.name], None).await;
        let taken = said.trim().strip_prefix(&format!("{}: ", self.name));
        let taken = taken.and_then(|taken| taken.strip_suffix(" records taken")).unwrap_or_else(|| panic!("{said}"));
        taken.parse().expect("a number")
    }

    /// Runs the tap by itself, as weir has set it up, and keeps its output.
    pub async fn output(&self) -> PathBuf {
        let file = self.file("output");
        let dir = self.file("tap-dir");
        let mut command = Command::new(&self.tap);
        command.args(["--config", "config.json", "--catalog", "catalog.json"]).current_dir(dir).stdin(Stdio::null());
        fs::write(&file, finished(command).await).expect("written");
        file
    }

    /// Every row as text, times in UTC.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        self.database.rows(&format!("set timezone = 'UTC'; {sql}")).await
    }
}

/// What a program wrote to stdout that has to succeed.
pub async fn finished(mut command: Command) -> String {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let output =
        tokio::time::timeout(RUN_TIMEOUT, child.wait_with_output()).await.expect("it ends").expect("its output");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    String::from_utf8(output.stdout).expect("text")
}
