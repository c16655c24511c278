//! The real program as a process: started, killed, told to end, and listened to.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use weir::database::distribute::Distribute;

use super::clients::exchange;
use super::small_disk::SmallDisk;
use super::{citus, eventually, http, within};

/// Below the range that systems hand out by themselves: a restart finds its port free again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

static PORTS_TRIED: AtomicU16 = AtomicU16::new(0);

/// A port that nobody uses, and that no other caller in this process gets.
pub fn free_port() -> u16 {
    // Test processes that run side by side begin at different places.
    let start = (std::process::id() % 499) as u16 * 23;
    for _ in PORTS {
        let port = PORTS.start + (start + PORTS_TRIED.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// How to start `weir serve`: again and again with the same journal and addresses.
pub struct Collector {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    program: PathBuf,
    /// Where it starts: without a word here, where the test does.
    home: PathBuf,
    settings: Vec<(&'static str, OsString)>,
    disk: Option<SmallDisk>,
    log: PathBuf,
    directory: tempfile::TempDir,
}

/// A running `weir serve`.
pub struct Process {
    child: Child,
    admin: SocketAddr,
    log: PathBuf,
}

impl Collector {
    pub fn new(database_url: &str, journal: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let distribute = match citus::distribute(database_url) {
            Distribute::None => "none",
            Distribute::Citus => "citus",
        };
        let settings = vec![
            ("DATABASE_URL", database_url.into()),
            ("WEIR_DATABASE__DISTRIBUTE", distribute.into()),
            ("WEIR_JOURNAL__DIR", journal.into()),
            ("WEIR_JOURNAL__SEGMENT_BYTES", "1048576".into()),
            ("WEIR_FLUSH__INTERVAL_MS", "20".into()),
            ("WEIR_RETENTION__PERSON_INDEXES", "false".into()),
            ("WEIR_LOG", std::env::var_os("WEIR_LOG").unwrap_or_else(|| "info,tokio_postgres=warn".into())),
        ];
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self {
            public: address(),
            admin: address(),
            program: env!("CARGO_BIN_EXE_weir").into(),
            home: ".".into(),
            settings,
            disk: None,
            log: directory.path().join("log"),
            directory,
        }
    }

    /// Sets one setting by its environment variable.
    pub fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.settings.push((variable, value.into()));
        self
    }

    /// Starts in a directory where no `weir.toml` is.
    pub fn elsewhere(mut self) -> Self {
        self.directory.path().clone_into(&mut self.home);
        self
    }

    /// Is another build of the program from its next start on.
    pub fn becomes(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// Runs another of its commands, with `input` to read, and returns what it printed; it must succeed.
    pub async fn command(&self, arguments: &[&str], input: &str) -> String {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("piped");
        // One that reads nothing may have ended.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = within("the command ends", child.wait_with_output()).await.expect("ours");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "weir {}: {said}", arguments.join(" "));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Lets the program see `disk`, wherever it is mounted.
    pub fn on(mut self, disk: SmallDisk) -> Self {
        self.disk = Some(disk);
        self
    }

    pub fn start(&self) -> Process {
        let mut command = match &self.disk {
            Some(disk) => Command::from(disk.command(&self.program)),
            None => Command::new(&self.program),
        };
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("a log");
        let child = command
            .args(["serve", "--listen", &self.public.to_string(), "--admin-listen", &self.admin.to_string()])
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        Process { child, admin: self.admin, log: self.log.clone() }
    }

    /// Starts and waits until it takes requests.
    pub async fn start_ready(&self) -> Process {
        let mut process = self.start();
        process.ready().await;
        process
    }

    /// As [`Self::start_ready`], with both in one.
    pub async fn start_ready_here(self) -> Started {
        Started { process: self.start_ready().await, collector: self }
    }

    /// All that it wrote, over all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// One of its metrics by its full name with labels.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = http::get(self.admin, "/metrics", &[]).await.text();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }
}

/// A collector that was started once.
pub struct Started {
    pub process: Process,
    pub collector: Collector,
}

impl Started {
    /// Posts events that must be taken.
    pub async fn post(&self, key: &str, body: &str) {
        let authorization = format!("authorization: Bearer {key}");
        let headers = [authorization.as_str(), "content-type: application/json"];
        let answer = http::post(self.collector.public, "/v1/events", &headers, body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

impl Process {
    /// Waits until it answers; a program that ends instead has failed. Connections alone are no sign: it listens before
    /// it is ready.
    pub async fn ready(&mut self) {
        eventually("the program is ready", async || {
            if let Some(status) = self.child.try_wait().expect("ours") {
                panic!("the program ended with {status}:\n{}", tail(&self.log));
            }
            let Ok(stream) = TcpStream::connect(self.admin).await else { return false };
            exchange(&mut BufReader::new(stream), "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.is_ok()
        })
        .await;
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("ours to kill");
        let status = self.child.wait().await.expect("ended");
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "it ended by itself:\n{}", tail(&self.log));
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
        kill_process(pid, signal).expect("ours");
    }

    /// The most memory that it ever held.
    pub fn peak_bytes(&self) -> usize {
        let pid = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("told");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> ExitStatus {
        within("the program ends", self.child.wait()).await.expect("ours")
    }

    /// SIGTERM, and the orderly end.
    pub async fn terminate(self) {
        self.signal(Signal::TERM);
        let log = self.log.clone();
        let status = self.ended().await;
        assert!(status.success(), "{status}:\n{}", tail(&log));
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
