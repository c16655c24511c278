//! A private PostgreSQL for `weir up`: a real server, made from the binaries on this machine, owned by a data directory.
//!
//! ```text
//! DATA_DIR/LOCK              one `weir up` at a time
//! DATA_DIR/postgres/         the cluster (elsewhere, with a link here, where its user cannot reach DATA_DIR)
//! DATA_DIR/cluster.json      its port and passwords, readable by the owner only
//! DATA_DIR/database_url      for other commands of weir, and for people
//! ```
//!
//! `initdb` and `postgres` refuse to run as root, so root starts them as another user. `pg_ctl` detaches the server: it
//! outlives a weir that was killed, and the next `weir up` goes on with it; after a crash of the machine PostgreSQL
//! recovers by itself.

mod binaries;
mod database;
mod server_user;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use binaries::Binaries;
pub use binaries::Search;

use server_user::ServerUser;

use crate::disk::write_private;
use crate::entropy::{SystemEntropy, random_id, secret};

const SUPERUSER: &str = "postgres";
const ROLE: &str = "weir";
const DATABASE: &str = "weir";
/// Of its passwords.
const SECRET_BYTES: usize = 18;
/// Seconds that the server may take to start: recovery after a crash reads the write-ahead log.
const START_TIMEOUT_S: &str = "120";
/// Unix socket paths are limited to 107 bytes on Linux and 103 on macOS.
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// Where a cluster goes when its user cannot enter the data directory.
const SHARED_DIR: &str = "/var/lib/weir";

/// The private server could not be made or started.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("another `weir up` uses {0}")]
    Locked(PathBuf),
    #[error(
        "no PostgreSQL server binaries (initdb, postgres, pg_ctl) of version 14 or later were found; install them (Debian: \
         apt-get install postgresql), run `make run` which does it for you, set WEIR_POSTGRES_BIN to their directory, or set \
         DATABASE_URL to use a server that runs elsewhere"
    )]
    NoBinaries,
    #[error("{dir} was made by PostgreSQL {found}, but only other versions are installed: {installed}")]
    OtherVersion { dir: PathBuf, found: String, installed: String },
    #[error("{0} holds something that is no PostgreSQL cluster: choose another --data-dir")]
    NotOurs(PathBuf),
    #[error("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it as")]
    NoServerUser,
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{program} failed:\n{output}")]
    Program { program: &'static str, output: String },
    #[error("the private PostgreSQL: {0}")]
    Query(#[from] tokio_postgres::Error),
    #[error("no random bytes: {0}")]
    Random(io::Error),
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
    let path = path.to_owned();
    move |source| ClusterError::Io { path, source }
}

/// What `cluster.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Settings {
    port: u16,
    superuser_password: String,
    password: String,
}

/// A running private server.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    user: Option<ServerUser>,
    dir: PathBuf,
    /// Connects as the owner of the one database.
    pub url: String,
    _lock: File,
}

impl Cluster {
    /// Makes the cluster if there is none, starts it if it does not run, and makes weir's role and database in it.
    pub async fn start(data_dir: &Path, find: &Search) -> Result<Self, ClusterError> {
        let data_dir = data_dir.canonicalize().map_err(io_at(data_dir))?;
        let lock = lock(&data_dir)?;
        let user = ServerUser::needed()?;
        let dir = place(&data_dir, user.as_ref())?;
        let version_file = dir.join("PG_VERSION");
        let found = match fs::read_to_string(&version_file) {
            Ok(version) => Some(version.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_at(&version_file)(error)),
        };
        let binaries = binaries::find(find, &data_dir, user.as_ref(), found.as_deref(), &dir)?;
        let mut cluster = Self { binaries, user, dir, url: String::new(), _lock: lock };

        let settings_path = data_dir.join("cluster.json");
        let mut settings = match (fs::read(&settings_path), &found) {
            (Ok(bytes), Some(_)) => serde_json::from_slice(&bytes)
                .map_err(|error| io_at(&settings_path)(io::Error::new(io::ErrorKind::InvalidData, error)))?,
            // Without its passwords a cluster is closed to us: better say so than overwrite anything.
            (Err(error), Some(_)) => return Err(io_at(&settings_path)(error)),
            (_, None) => {
                let secret = || secret::<SECRET_BYTES>(&SystemEntropy).map_err(ClusterError::Random);
                Settings { port: 0, superuser_password: secret()?, password: secret()? }
            }
        };
        if found.is_none() {
            cluster.init(&settings, &settings_path)?;
        }
        if let Some(port) = cluster.running_port() {
            tracing::info!(port, "the private PostgreSQL runs already");
            settings.port = port;
        } else {
            settings.port = free_port(settings.port).map_err(io_at(&data_dir))?;
            cluster.launch(settings.port)?;
        }
        save(&settings_path, &serde_json::to_vec_pretty(&settings).unwrap_or_default())?;
        database::make(&settings).await?;
        cluster.url = format!("postgres://{ROLE}:{}@127.0.0.1:{}/{DATABASE}", settings.password, settings.port);
        save(&data_dir.join("database_url"), cluster.url.as_bytes())?;
        Ok(cluster)
    }

    /// Stops the server; open transactions are rolled back.
    pub fn stop(self) -> Result<(), ClusterError> {
        self.program("pg_ctl", &["stop", "-s", "-w", "-m", "fast", "-t", START_TIMEOUT_S, "-D"], Some(&self.dir))
    }

    fn init(&self, settings: &Settings, settings_path: &Path) -> Result<(), ClusterError> {
        // The password must be known before the cluster exists, or a crash in between would lock us out.
        save(settings_path, &serde_json::to_vec_pretty(settings).unwrap_or_default())?;
        let parent = self.dir.parent().unwrap_or(Path::new("/"));
        let staging = parent.join(format!(
            "{}.weir-new",
            self.dir.file_name().map_or_else(|| "postgres".into(), |name| name.to_string_lossy())
        ));
        for leftover in [&staging, &self.dir] {
            match fs::remove_dir_all(leftover) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_at(leftover)(error));
                }
                _ => {}
            }
        }
        DirBuilder::new().mode(0o700).create(&staging).map_err(io_at(&staging))?;
        let password_file = parent.join(".password");
        save(&password_file, settings.superuser_password.as_bytes())?;
        if let Some(user) = &self.user {
            user.own(&staging).map_err(io_at(&staging))?;
            user.own(&password_file).map_err(io_at(&password_file))?;
        }
        let password_option = format!("--pwfile={}", password_file.display());
        let arguments = ["-A", "scram-sha-256", "-U", SUPERUSER, "-E", "UTF8", "--locale=C", &password_option, "-D"];
        let made = self.program("initdb", &arguments, Some(&staging));
        fs::remove_file(&password_file).map_err(io_at(&password_file))?;
        made?;
        fs::rename(&staging, &self.dir).map_err(io_at(&staging))
    }

    fn launch(&self, port: u16) -> Result<(), ClusterError> {
        let socket = format!("{}/.s.PGSQL.{port}", self.dir.display());
        let socket_dir = if socket.len() <= SOCKET_PATH_BYTES_MAX { self.dir.to_string_lossy() } else { "".into() };
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='{socket_dir}' -c max_wal_size=4GB \
             -c log_timezone=UTC -c timezone=UTC{}",
            self.preload()
        );
        let log = format!("{}/server.log", self.dir.display());
        let arguments = ["start", "-s", "-w", "-t", START_TIMEOUT_S, "-l", &log, "-o", &options, "-D"];
        self.program("pg_ctl", &arguments, Some(&self.dir)).map_err(|error| match error {
            ClusterError::Program { program, output } => {
                let tail = fs::read_to_string(&log).unwrap_or_default();
                let tail: Vec<&str> = tail.lines().rev().take(10).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                ClusterError::Program { program, output: format!("{output}\n{}", tail.join("\n")) }
            }
            other => other,
        })
    }

    /// What counts people's statements, where this PostgreSQL has it, and nobody has chosen other libraries.
    fn preload(&self) -> &'static str {
        let is_chosen = ["postgresql.conf", "postgresql.auto.conf"].iter().any(|file| {
            let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
            text.lines().any(|line| line.trim_start().starts_with("shared_preload_libraries"))
        });
        if !is_chosen && self.binaries.has_library("pg_stat_statements") {
            " -c shared_preload_libraries=pg_stat_statements"
        } else {
            ""
        }
    }

    /// The port of a server that runs on this very directory.
    fn running_port(&self) -> Option<u16> {
        self.program("pg_ctl", &["status", "-s", "-D"], Some(&self.dir)).ok()?;
        // Line 4 of postmaster.pid is the port: src/include/utils/pidfile.h of PostgreSQL.
        fs::read_to_string(self.dir.join("postmaster.pid")).ok()?.lines().nth(3)?.trim().parse().ok()
    }

    fn program(&self, program: &'static str, arguments: &[&str], dir: Option<&Path>) -> Result<(), ClusterError> {
        let mut command = Command::new(self.binaries.path(program));
        command.args(arguments).args(dir).stdin(Stdio::null()).env("LC_ALL", "C");
        // The server inherits the working directory: it must not pin ours, and must be able to enter it.
        command.current_dir("/");
        if let Some(user) = &self.user {
            user.apply(&mut command);
        }
        // Into a file, not a pipe: the server that pg_ctl leaves behind would hold a pipe open.
        let output = tempfile().map_err(io_at(Path::new("/tmp")))?;
        let (out, err) = (output.try_clone(), output.try_clone());
        let io = |result: io::Result<File>| result.map_err(io_at(Path::new("/tmp")));
        let status = command.stdout(io(out)?).stderr(io(err)?).status();
        let status = status.map_err(io_at(&self.binaries.path(program)))?;
        if status.success() {
            return Ok(());
        }
        Err(ClusterError::Program { program, output: read_from_start(output) })
    }
}

fn tempfile() -> io::Result<File> {
    let name = std::env::temp_dir().join(format!("weir-{}-{}", std::process::id(), random_id(&SystemEntropy)?));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&name)?;
    fs::remove_file(&name)?;
    Ok(file)
}

fn read_from_start(mut file: File) -> String {
    use std::io::{Read, Seek};
    let mut text = String::new();
    // The message is worth having even in part.
    let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
    text.trim().to_owned()
}

fn lock(data_dir: &Path) -> Result<File, ClusterError> {
    let path = data_dir.join("LOCK");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(io_at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(ClusterError::Locked(data_dir.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(io_at(&path)(error)),
    }
}

/// The cluster's directory: in the data directory, or, where its user cannot reach that, in a shared place.
fn place(data_dir: &Path, user: Option<&ServerUser>) -> Result<PathBuf, ClusterError> {
    let link = data_dir.join("postgres");
    if let Ok(target) = fs::read_link(&link) {
        return Ok(target);
    }
    let Some(user) = user.filter(|user| !user.can_enter(data_dir)) else {
        return Ok(link);
    };
    let digest = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let holder = Path::new(SHARED_DIR).join(name);
    DirBuilder::new().recursive(true).mode(0o755).create(&holder).map_err(io_at(&holder))?;
    let target = holder.join("postgres");
    std::os::unix::fs::symlink(&target, &link).map_err(io_at(&link))?;
    tracing::info!(
        dir = %target.display(),
        user = user.name(),
        "PostgreSQL's files are here: it refuses to run as root, and its user cannot enter the data directory"
    );
    Ok(target)
}

/// `wanted` if it is free, else any.
fn free_port(wanted: u16) -> io::Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .and_then(|listener| Ok(listener.local_addr()?.port()))
}

fn save(path: &Path, bytes: &[u8]) -> Result<(), ClusterError> {
    write_private(path, bytes).map_err(io_at(path))
}
