//! A PostgreSQL of a test's own, which can be killed, filled, copied and promoted.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use super::program::free_port;
use super::{PATIENCE, TestDatabase, connect, eventually};

/// PostgreSQL's recovery after a crash takes its time on a busy machine, and so does the end of the old processes.
const START_PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// The role and the database that a collector gets.
const NAME: &str = "weir";

const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 60
shared_buffers = 16MB
max_wal_size = 256MB
log_min_messages = warning
";

/// How a server ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// The postmaster vanishes at once; its children notice and follow.
    Kill,
    /// As `pg_ctl stop -m immediate`: all of it at once, no checkpoint.
    Immediate,
}

/// A server, in a directory of its own. Ends with the test, however that ends.
pub struct Server {
    programs: PathBuf,
    /// User and group, where the test runs as root, which PostgreSQL refuses.
    user: Option<(u32, u32)>,
    home: TempDir,
    port: u16,
    postmaster: Option<Child>,
}

impl Server {
    /// Makes and starts one, with further lines for `postgresql.conf`.
    pub async fn start_with(settings: &str) -> Self {
        let programs = std::env::var_os("WEIR_TEST_POSTGRES_BIN").expect("set by scripts/with-postgres");
        Self::start_from(programs.into(), settings).await
    }

    /// As [`Self::start_with`], by the programs of another directory.
    pub async fn start_from(programs: PathBuf, settings: &str) -> Self {
        let mut server = Self::unmade();
        server.programs = programs;
        server.run("initdb", &["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]);
        server.configure(&format!("{SETTINGS}{settings}"));
        server.start().await;
        server
    }

    pub async fn new() -> Self {
        Self::start_with("").await
    }

    /// A copy that follows this server, some moments behind.
    pub async fn standby(&self) -> Self {
        let mut standby = Self::unmade();
        let port = self.port.to_string();
        let from = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres"];
        standby.run("pg_basebackup", &[&from[..], &["-R", "-X", "stream", "-c", "fast", "--no-sync", "-D"]].concat());
        standby.configure("");
        standby.start().await;
        standby
    }

    fn unmade() -> Self {
        let programs = std::env::var_os("WEIR_TEST_POSTGRES_BIN").expect("set by scripts/with-postgres").into();
        let user = getuid().is_root().then(server_user);
        let mut builder = tempfile::Builder::new();
        builder.permissions(PermissionsExt::from_mode(0o755)).prefix("weir-pg.");
        // Not $TMPDIR: it may be private to root.
        let home = builder.tempdir_in("/tmp").expect("a directory");
        own(home.path(), user);
        Self { programs, user, home, port: free_port(), postmaster: None }
    }

    /// What comes last in the file counts.
    fn configure(&self, settings: &str) {
        let path = self.data().join("postgresql.conf");
        let text = fs::read_to_string(&path).expect("a cluster");
        fs::write(&path, format!("{text}\n{settings}\nport = {}\n", self.port)).expect("written");
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env("LC_ALL", "C").current_dir(self.home.path()).stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Runs a program on the data directory, which is its last argument.
    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.command(program).args(arguments).arg(self.data()).output().expect("it runs");
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts on the same data and port as before, and waits until it answers.
    pub async fn start(&mut self) {
        assert!(self.postmaster.is_none(), "it runs");
        let started = Instant::now();
        loop {
            let log = self.home.path().join("log");
            let log = OpenOptions::new().create(true).append(true).open(log).expect("a log");
            let child = self.command("postgres").arg("-D").arg(self.data()).stdout(Stdio::null()).stderr(log).spawn();
            let mut child = child.expect("postgres starts");
            while child.try_wait().expect("ours").is_none() {
                if tokio_postgres::connect(&self.url("postgres", "postgres"), NoTls).await.is_ok() {
                    self.postmaster = Some(child);
                    return;
                }
                assert!(started.elapsed() < START_PATIENCE, "PostgreSQL does not answer:\n{}", self.log());
                tokio::time::sleep(POLL).await;
            }
            // Children of a postmaster that was killed hold on to the shared memory for a moment.
            assert!(started.elapsed() < START_PATIENCE, "PostgreSQL does not start:\n{}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends the server; the data stays.
    pub fn end(&mut self, how: End) {
        let mut child = self.postmaster.take().expect("it runs");
        let file = fs::read_to_string(self.data().join("postmaster.pid")).expect("it runs");
        assert_eq!(file.lines().next(), Some(child.id().to_string().as_str()), "the server is this very child");
        match how {
            End::Kill => child.kill().expect("ours to kill"),
            End::Immediate => signal(&child, Signal::QUIT),
        }
        child.wait().expect("ended");
    }

    /// Signals the server's own process of this kind, as `walwriter`.
    pub async fn signal(&self, kind: &str, signal: Signal) {
        let sql = "select pid from pg_stat_activity where backend_type = $1";
        let pid: i32 = self.admin().await.query_one(sql, &[&kind]).await.expect("it runs").get(0);
        kill_process(Pid::from_raw(pid).expect("a process"), signal).expect("ours");
    }

    /// What it wrote, for people.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@{}/{database}", self.address())
    }

    /// The superuser's connection.
    pub async fn admin(&self) -> Client {
        connect(&self.url("postgres", "postgres")).await
    }

    /// A database whose owner may do nothing else; in `tablespace`, a directory, if one is given.
    pub async fn make_database(&self, tablespace: Option<&Path>) -> TestDatabase {
        let admin = self.admin().await;
        admin.batch_execute(&format!("create role {NAME} login")).await.expect("role made");
        let mut place = "";
        if let Some(dir) = tablespace {
            own(dir, self.user);
            let location = dir.display();
            admin.batch_execute(&format!("create tablespace small location '{location}'")).await.expect("place made");
            place = "tablespace small";
        }
        admin.batch_execute(&format!("create database {NAME} owner {NAME} {place}")).await.expect("database made");
        self.database().await
    }

    /// A new connection to the database made before.
    pub async fn database(&self) -> TestDatabase {
        let url = self.url(NAME, NAME);
        TestDatabase { name: NAME.to_owned(), client: connect(&url).await, url, _on_nodes: None }
    }

    /// Waits until this standby has all that `primary` has.
    pub async fn catch_up(&self, primary: &Self) {
        let row = primary.admin().await.query_one("select pg_current_wal_lsn()::text", &[]).await.expect("asked");
        let (at, admin) = (row.get::<_, String>(0), self.admin().await);
        let sql = format!("select coalesce(pg_last_wal_replay_lsn() >= '{at}', false)");
        eventually("the standby follows", async || admin.query_one(&sql, &[]).await.expect("asked").get(0)).await;
    }

    /// From now on this standby hears nothing more of its primary.
    pub async fn cut_off(&self) {
        let admin = self.admin().await;
        admin.batch_execute("alter system set primary_conninfo = ''").await.expect("set");
        admin.batch_execute("select pg_reload_conf()").await.expect("reloaded");
        let receivers = "select count(*) = 0 from pg_stat_wal_receiver";
        eventually("the standby is cut off", async || admin.query_one(receivers, &[]).await.expect("asked").get(0))
            .await;
    }

    /// Makes this standby a primary, with what it has.
    pub async fn promote(&self) {
        let sql = format!("select pg_promote(true, {})", PATIENCE.as_secs());
        assert!(self.admin().await.query_one(&sql, &[]).await.expect("asked").get::<_, bool>(0), "promoted");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut child) = self.postmaster.take() else { return };
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- PostgreSQL said:\n{}\n---", lines[lines.len().saturating_sub(15)..].join("\n"));
        }
        signal(&child, Signal::QUIT);
        let told = Instant::now();
        while matches!(child.try_wait(), Ok(None)) {
            if told.elapsed() > PATIENCE / 3 {
                // It is ours, and has had its chance.
                let _ = child.kill();
            }
            std::thread::sleep(POLL);
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}

fn own(path: &Path, user: Option<(u32, u32)>) {
    if let Some((uid, gid)) = user {
        chown(path, Some(uid), Some(gid)).expect("root may");
    }
}

/// As scripts/with-postgres chooses it.
fn server_user() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").expect("readable");
    let of = |name: &str| {
        let mut fields = passwd.lines().find(|line| line.split(':').next() == Some(name))?.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    of("postgres").or_else(|| of("nobody")).expect("a user to run PostgreSQL")
}
