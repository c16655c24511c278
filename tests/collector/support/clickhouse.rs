//! A `ClickHouse` of a test's own: Debian's server, or the newest engine behind a little HTTP (`tests/clickhouse/server.py`); and a way to
//! it that loses answers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_util::sync::{CancellationToken, DropGuard};
use weir::clickhouse::settings::ClickHouse as Settings;

use super::program::free_port;
use super::{eventually, http, tool};

pub const PASSWORD: &str = "secret";
/// What [`LossyWay::refuse`] has answered.
pub const REFUSED: &str = "Code: 241, e.displayText() = refused on the way";
const REFUSAL: &[u8] =
    b"HTTP/1.1 500 No\r\nconnection: close\r\ncontent-length: 47\r\n\r\nCode: 241, e.displayText() = refused on the way";

/// Which one there is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Debian's clickhouse-server, 18.16.
    Server(PathBuf),
    /// A Python that has chdb.
    Engine(PathBuf),
}

/// Ends with the test.
pub struct ClickHouse {
    pub address: SocketAddr,
    kind: Kind,
    directory: TempDir,
    child: Option<Child>,
}

impl Kind {
    /// All that there are here.
    pub fn all() -> Vec<Self> {
        let engine =
            std::env::var_os("WEIR_TEST_CHDB").filter(|path| !path.is_empty()).map(|path| Self::Engine(path.into()));
        tool("WEIR_TEST_CLICKHOUSE").map(Self::Server).into_iter().chain(engine).collect()
    }

    /// Whether an insert sent twice is taken once.
    pub fn has_tokens(&self) -> bool {
        matches!(self, Self::Engine(_))
    }
}

impl ClickHouse {
    pub async fn start(kind: &Kind) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut clickhouse = Self { address, kind: kind.clone(), directory, child: None };
        clickhouse.write_settings();
        clickhouse.start_again().await;
        clickhouse
    }

    /// With the same data and address.
    pub async fn start_again(&mut self) {
        let directory = self.directory.path();
        let mut command = match &self.kind {
            Kind::Server(program) => {
                let mut command = Command::new(program);
                command.arg(format!("--config-file={}/config.xml", directory.display()));
                command
            }
            Kind::Engine(python) => {
                let mut command = Command::new(python);
                command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clickhouse/server.py")).args([
                    directory.as_os_str(),
                    self.address.port().to_string().as_ref(),
                    PASSWORD.as_ref(),
                ]);
                command
            }
        };
        let log = std::fs::File::create(directory.join("log")).expect("a log");
        command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        self.child = Some(command.spawn().expect("ClickHouse starts"));
        let child = self.child.as_mut().expect("started");
        eventually("ClickHouse answers", async || {
            if let Some(status) = child.try_wait().expect("ours") {
                panic!("ClickHouse ended with {status}: {:?}", std::fs::read_to_string(directory.join("log")));
            }
            TcpStream::connect(self.address).await.is_ok()
        })
        .await;
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("running");
        child.kill().await.expect("ours to end");
    }

    /// What a collector needs to follow here.
    pub fn settings(&self) -> Settings {
        Self::settings_at(self.address)
    }

    /// As [`Self::settings`], by another way to one.
    pub fn settings_at(address: SocketAddr) -> Settings {
        let (url, password) = (format!("http://{address}"), PASSWORD.to_owned());
        Settings { url, password, interval_ms: 100, ..Settings::default() }
    }

    /// The rows of a statement, columns separated by `|`, NULL as nothing.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        let key = format!("x-clickhouse-key: {PASSWORD}");
        let sql = format!("{sql} format TabSeparated");
        let answer = http::post(self.address, "/", &["x-clickhouse-user: default", &key], sql.as_bytes()).await;
        let body = dechunked(&answer);
        assert_eq!(answer.status, 200, "{sql}: {body}");
        body.lines().map(|line| line.split('\t').map(plain).collect::<Vec<String>>().join("|")).collect()
    }

    /// One number.
    pub async fn number(&self, sql: &str) -> i64 {
        let rows = self.rows(sql).await;
        rows.first().and_then(|row| row.parse().ok()).unwrap_or_else(|| panic!("{sql}: {rows:?}"))
    }

    /// A statement that gives nothing.
    pub async fn execute(&self, sql: &str) {
        let key = format!("x-clickhouse-key: {PASSWORD}");
        let answer = http::post(self.address, "/", &["x-clickhouse-user: default", &key], sql.as_bytes()).await;
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
    }

    fn write_settings(&self) {
        let (directory, port) = (self.directory.path().display(), self.address.port());
        // (Its own port, too, for which it has no switch.)
        let config = format!(
            "<yandex><logger><level>warning</level><console>1</console></logger><http_port>{port}</http_port>
             <tcp_port>{}</tcp_port><listen_host>127.0.0.1</listen_host><path>{directory}/data/</path>
             <tmp_path>{directory}/tmp/</tmp_path><mark_cache_size>16777216</mark_cache_size><timezone>Asia/Tokyo</timezone>
             <users_config>{directory}/users.xml</users_config><default_profile>default</default_profile>
             <default_database>default</default_database></yandex>",
            free_port()
        );
        let users = format!(
            "<yandex><profiles><default/></profiles><quotas><default/></quotas><users><default>
             <password>{PASSWORD}</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile>
             <quota>default</quota></default></users></yandex>"
        );
        // The engine would take them for its own.
        if matches!(self.kind, Kind::Server(_)) {
            std::fs::write(self.directory.path().join("config.xml"), config).expect("written");
            std::fs::write(self.directory.path().join("users.xml"), users).expect("written");
        }
    }
}

/// A value as it was before it was escaped; NULL as nothing.
fn plain(text: &str) -> String {
    if text == "\\N" {
        return String::new();
    }
    let (mut plain, mut rest) = (String::new(), text.chars());
    while let Some(next) = rest.next() {
        plain.extend(if next == '\\' {
            rest.next().map(|escaped| match escaped {
                't' => '\t',
                'n' => '\n',
                other => other,
            })
        } else {
            Some(next)
        });
    }
    plain
}

/// A body in chunks, put together.
fn dechunked(answer: &http::Answer) -> String {
    if answer.header("transfer-encoding") != Some("chunked") {
        return answer.text();
    }
    let (mut rest, mut body) = (answer.body.as_slice(), Vec::new());
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let length = std::str::from_utf8(&rest[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(length @ 1..) = length else { break };
        body.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 2 + length + 2..];
    }
    String::from_utf8_lossy(&body).into_owned()
}

/// A way to a `ClickHouse` on which inserts, or the answers to them, get lost. Ends with the test.
pub struct LossyWay {
    pub address: SocketAddr,
    faults: Arc<Faults>,
    _ended: DropGuard,
}

#[derive(Default)]
struct Faults {
    answers: AtomicUsize,
    inserts: AtomicUsize,
    late: AtomicUsize,
    kept: Mutex<Option<Vec<u8>>>,
    met: AtomicUsize,
    refused: Mutex<Option<String>>,
}

impl LossyWay {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (faults, ended) = (Arc::<Faults>::default(), CancellationToken::new());
        let way = Self { address, faults: Arc::clone(&faults), _ended: ended.clone().drop_guard() };
        tokio::spawn(async move {
            loop {
                let client = tokio::select! {
                    accepted = listener.accept() => accepted.expect("descriptors").0,
                    () = ended.cancelled() => return,
                };
                tokio::spawn(pass(client, target, Arc::clone(&faults)));
            }
        });
        way
    }

    /// The answers to the next `count` inserts are lost: the insert is done, and nobody hears.
    pub fn lose_answers(&self, count: usize) {
        self.faults.answers.store(count, Ordering::Relaxed);
    }

    /// The next `count` inserts are lost themselves.
    pub fn lose_inserts(&self, count: usize) {
        self.faults.inserts.store(count, Ordering::Relaxed);
    }

    /// The next insert is lost for its sender, and waits on the way until [`Self::deliver`].
    pub fn keep_insert(&self) {
        self.faults.late.store(1, Ordering::Relaxed);
    }

    /// What was kept is done now.
    pub async fn deliver(&self, target: SocketAddr) {
        let kept = self.faults.kept.lock().expect("not poisoned").take().expect("an insert was kept");
        let mut server = TcpStream::connect(target).await.expect("it is there");
        server.write_all(&kept).await.expect("it is taken");
        let mut answer = vec![0; 64 * 1024];
        let read = server.read(&mut answer).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// What has this text in it is answered with an error, as of a question that needs too much memory.
    pub fn refuse(&self, text: Option<String>) {
        *self.faults.refused.lock().expect("not poisoned") = text;
    }

    pub fn lost(&self) -> usize {
        self.faults.met.load(Ordering::Relaxed)
    }
}

impl Faults {
    fn refuses(&self, text: &str) -> bool {
        self.refused.lock().expect("not poisoned").as_ref().is_some_and(|refused| text.contains(refused))
    }

    fn meets(&self, left: &AtomicUsize) -> bool {
        let meets = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        self.met.fetch_add(usize::from(meets), Ordering::Relaxed);
        meets
    }
}

async fn pass(mut client: TcpStream, target: SocketAddr, faults: Arc<Faults>) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let (mut from_client, mut from_server) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut is_insert = false;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(read @ 1..) = read else { return };
                let text = String::from_utf8_lossy(&from_client[..read]);
                if faults.refuses(&text) {
                    let _ = client.write_all(REFUSAL).await;
                    return;
                }
                let begins = text.contains("query=insert");
                if begins && faults.meets(&faults.inserts) { return }
                if begins && faults.meets(&faults.late) {
                    let whole = whole(&mut client, from_client[..read].to_vec()).await;
                    *faults.kept.lock().expect("not poisoned") = Some(whole);
                    return;
                }
                is_insert |= begins;
                if server.write_all(&from_client[..read]).await.is_err() { return }
            }
            read = server.read(&mut from_server) => {
                let Ok(read @ 1..) = read else { return };
                // The answer is here, so the insert is done.
                if is_insert && faults.meets(&faults.answers) { return }
                is_insert = false;
                if client.write_all(&from_server[..read]).await.is_err() { return }
            }
        }
    }
}

/// The request that begins so, to its end.
async fn whole(client: &mut TcpStream, mut bytes: Vec<u8>) -> Vec<u8> {
    loop {
        if let Some(head) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            if bytes.len() >= head + 4 + length.expect("an insert says how long it is") {
                return bytes;
            }
        }
        let read = client.read_buf(&mut bytes).await.expect("the rest");
        assert!(read > 0, "the request was cut off");
    }
}
