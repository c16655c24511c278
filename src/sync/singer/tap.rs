//! A tap as a process: started, listened to, and ended with all that it started.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use super::config::TapConfig;

/// What is kept of what a tap says on stderr.
const LOG_LINES_MAX: usize = 200;
const LOG_LINE_CHARS_MAX: usize = 4 * 1024;
/// Longer lines are taken for several: more than any secret, so that few are cut.
const LOG_READ_BYTES_MAX: u64 = 64 * 1024;
/// What every program gets: where things are, language, time, and the way out through a company's proxy.
const ENVIRONMENT: [&str; 21] = [
    "ALL_PROXY",
    "CURL_CA_BUNDLE",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "NO_PROXY",
    "PATH",
    "REQUESTS_CA_BUNDLE",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];
const ENVIRONMENT_PREFIXES: [&str; 3] = ["LC_", "PYTHON", "PIP_"];
/// Its output has ended: then so does the tap, or it is ended.
const END_GRACE: Duration = Duration::from_secs(30);
/// Between being asked to end and being ended.
const TERM_GRACE: Duration = Duration::from_secs(5);

/// Where a tap lives.
#[derive(Debug, Clone)]
pub struct Tap {
    /// The directory of its own.
    pub dir: PathBuf,
    /// As in the settings.
    pub name: String,
    /// Variables that it gets besides those that every program does.
    pub environment: Vec<String>,
}

impl Tap {
    /// `config.json`, `catalog.json` and so on.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The program: a path, one of the directory's own environment, or one that the system finds.
    pub fn program(&self) -> PathBuf {
        if self.name.contains('/') {
            return self.dir.join(&self.name);
        }
        let own = self.dir.join("venv/bin").join(&self.name);
        if own.is_file() { own } else { PathBuf::from(&self.name) }
    }

    /// The program, in its directory, with no more of the environment than programs need: secrets of weir's and of other
    /// sources are nobody else's.
    pub fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(self.program());
        command.env_clear().envs(std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            ENVIRONMENT.contains(&name.as_ref())
                || ENVIRONMENT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
                || self.environment.iter().any(|asked| *asked == name)
        }));
        command.current_dir(&self.dir).stdin(Stdio::null());
        command
    }

    /// Starts it. What it says is told and kept without secrets.
    pub fn start(&self, arguments: &[(&str, &Path)], config: Arc<TapConfig>) -> io::Result<Running> {
        let mut command = Command::from(self.command());
        for (option, file) in arguments {
            command.arg(option);
            if !file.as_os_str().is_empty() {
                command.arg(file);
            }
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that what it starts ends with it.
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("its output could not be had"));
        };
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let listening = tokio::spawn(listen(errors, Arc::clone(&log), config, self.name.clone()));
        Ok(Running { child, group, output: Some(output), log, listening })
    }
}

async fn listen(
    errors: impl AsyncRead + Unpin,
    log: Arc<Mutex<VecDeque<String>>>,
    config: Arc<TapConfig>,
    name: String,
) {
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut errors).take(LOG_READ_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = config.hide(String::from_utf8_lossy(&line).trim_end());
        let text: String = text.replace('\0', "\u{fffd}").chars().take(LOG_LINE_CHARS_MAX).collect();
        tracing::debug!(tap = name, "{text}");
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == LOG_LINES_MAX {
            log.pop_front();
        }
        log.push_back(text);
    }
}

/// A running tap; dropped, it is ended.
pub struct Running {
    child: Child,
    group: Option<Pid>,
    output: Option<ChildStdout>,
    log: Arc<Mutex<VecDeque<String>>>,
    listening: tokio::task::JoinHandle<()>,
}

impl Running {
    /// What it writes; once.
    pub fn output(&mut self) -> Option<BufReader<ChildStdout>> {
        /// Fewer reads of the pipe.
        const OUTPUT_BYTES: usize = 256 * 1024;
        self.output.take().map(|output| BufReader::with_capacity(OUTPUT_BYTES, output))
    }

    /// Waits until it has ended, and then some time for what it started; that is ended, too.
    pub async fn gone(&mut self) {
        // Its status is asked for again.
        let _ = self.child.wait().await;
        sleep(END_GRACE).await;
        self.signal(Signal::KILL);
    }

    /// Waits for its end, which its output has announced.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        let status = if let Ok(status) = timeout(END_GRACE, self.child.wait()).await {
            status
        } else {
            self.end().await;
            self.child.wait().await
        };
        // A grandchild may hold stderr open.
        let _ = timeout(TERM_GRACE, &mut self.listening).await;
        status
    }

    /// Ends it, and all that it started.
    pub async fn end(&mut self) {
        self.signal(Signal::TERM);
        if timeout(TERM_GRACE, self.child.wait()).await.is_err() {
            self.signal(Signal::KILL);
            // Only its status could be lost.
            let _ = self.child.wait().await;
        }
        // What it started may not have heard.
        self.signal(Signal::KILL);
        self.group = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It may have ended by itself.
            let _ = kill_process_group(group, signal);
        }
    }

    /// The end of what it said.
    pub fn log(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().map(|line| format!("{line}\n")).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.listening.abort();
    }
}
