//! The real program under floods of connections: what they cost, and that they cost nobody else.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::support::{TestDatabase, collector, eventually, http, within};
use weir::database::Database;
use weir::sources;

const IDLE_CONNECTIONS: usize = 10_000;
/// What one idle connection may cost: hyper keeps 8 kB each to read and to write into, and the task takes about as much.
const IDLE_CONNECTION_BYTES_MAX: usize = 32 * 1024;

const REQUEST: &[u8] = b"GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n";

/// `weir serve` in a process of its own.
struct Program {
    child: Child,
    pid: u32,
    public: SocketAddr,
    admin: SocketAddr,
    key: String,
    _database: TestDatabase,
    _journal: tempfile::TempDir,
}

impl Program {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let database = TestDatabase::new().await;
        let journal = tempfile::tempdir().expect("a directory");
        let mut config = weir::Config::default().database;
        database.url.clone_into(&mut config.url);
        let weir = Database::new(&config, 1).expect("a valid URL");
        weir::database::migrate::run(&weir).await.expect("migrated");
        let key = sources::add(&weir, "web", &[]).await.expect("added").secret_key;
        let free = || {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            free.local_addr().expect("bound")
        };
        let (public, admin) = (free(), free());
        let child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["serve", "--listen", &public.to_string(), "--admin-listen", &admin.to_string()])
            .env("DATABASE_URL", &database.url)
            .env("WEIR_JOURNAL__DIR", journal.path())
            .env("WEIR_JOURNAL__SEGMENT_BYTES", "1048576")
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let pid = child.id().expect("it runs");
        eventually("the program is ready", async || TcpStream::connect(public).await.is_ok()).await;
        Self { child, pid, public, admin, key, _database: database, _journal: journal }
    }

    async fn metric(&self, name: &str) -> u64 {
        let metrics = http::get(self.admin, "/metrics", &[]).await.text();
        metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
    }

    /// Bytes of memory that the process holds.
    fn memory_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("told");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }

    /// Posts one event, which has to be taken soon.
    async fn post(&self) {
        let path = format!("/v1/events?key={}", self.key);
        let answer = http::post(self.public, &path, &[], br#"{"name":"a"}"#).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// The same, once what start-up has begun is done.
    async fn settled_memory_bytes(&self) -> usize {
        let mut last = 0;
        eventually("the memory is settled", async || {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.memory_bytes();
            std::mem::replace(&mut last, now).abs_diff(now) < 256 * 1024
        })
        .await;
        last
    }

    async fn stop(mut self) {
        self.child.kill().await.expect("ours to kill");
    }
}

/// Whether this process may hold so many connections.
fn can_open(files: u64) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.is_none_or(|current| current >= files)
}

/// Opens connections that have been answered once and then say nothing.
async fn idle_connections(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    const AT_ONCE: usize = 100;
    let mut opening = JoinSet::new();
    let mut idle = Vec::with_capacity(count);
    for n in 0..count {
        if opening.len() == AT_ONCE {
            idle.push(opening.join_next().await.expect("some").expect("no panic"));
        }
        opening.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{n}: {error}"));
            stream.write_all(REQUEST).await.expect("sent");
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap_or_else(|error| panic!("{n}: {error}"));
            assert_eq!(&answer, b"HTTP/1.1 404");
            stream
        });
    }
    idle.extend(opening.join_all().await);
    idle
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_cost_little_and_end() {
    if !can_open(IDLE_CONNECTIONS as u64 + 2_000) {
        eprintln!("skipped: the limit of open files cannot be raised to {}", IDLE_CONNECTIONS + 2_000);
        return;
    }
    let connections_max = (IDLE_CONNECTIONS + 100).to_string();
    let program = Program::start(&[
        ("WEIR_RECEIVE__CONNECTIONS_MAX", &connections_max),
        ("WEIR_RECEIVE__IDLE_TIMEOUT_S", "12"),
        ("WEIR_RECEIVE__HEADER_TIMEOUT_S", "30"),
    ])
    .await;
    drop(idle_connections(program.public, 200).await);
    program.post().await;
    eventually("the first ones are gone", async || program.metric("weir_connections ").await == 0).await;
    let before = program.settled_memory_bytes().await;
    let cut_before = program.metric(r#"weir_connections_cut_total{reason="idle"}"#).await;

    let started = Instant::now();
    let idle = within("all are open", idle_connections(program.public, IDLE_CONNECTIONS)).await;
    let opened = started.elapsed();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let started = Instant::now();
        program.post().await;
        slowest = slowest.max(started.elapsed());
    }
    let open = program.metric("weir_connections ").await;
    let bytes = program.memory_bytes().saturating_sub(before) / IDLE_CONNECTIONS;
    println!("{open} connections, opened in {opened:?}, {bytes} bytes each; the slowest post took {slowest:?}");
    // On a machine so slow that the first ones have timed out already, this says nothing about the rest.
    assert!(open >= IDLE_CONNECTIONS as u64 || started.elapsed() > Duration::from_secs(12), "{open}");
    assert!(bytes < IDLE_CONNECTION_BYTES_MAX, "{bytes} bytes a connection");

    eventually("the idle ones are cut", async || program.metric("weir_connections ").await == 0).await;
    let cut = program.metric(r#"weir_connections_cut_total{reason="idle"}"#).await - cut_before;
    assert_eq!(cut, IDLE_CONNECTIONS as u64);
    for mut stream in idle {
        let mut rest = Vec::new();
        // The end, or a reset: not a connection that goes on.
        let _ = within("it has ended", stream.read_to_end(&mut rest)).await;
    }
    program.post().await;
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_answers_is_cut_and_costs_little() {
    const PEERS: usize = 20;
    let program = Program::start(&[("WEIR_RECEIVE__IDLE_TIMEOUT_S", "2")]).await;
    program.post().await;
    let before = program.settled_memory_bytes().await;
    let mut flooding = JoinSet::new();
    for n in 0..PEERS {
        let address = program.public;
        // Long answers, and answers of nothing but a head.
        let requests = match n % 2 {
            0 => "GET /w.js HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1_000),
            _ => "OPTIONS /w.js HTTP/1.1\r\nhost: a\r\naccess-control-request-method: GET\r\n\r\n".repeat(1_000),
        };
        flooding.spawn(async move {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.set_recv_buffer_size(4096).expect("set");
            let mut stream = socket.connect(address).await.expect("taken");
            // Until the other end has had enough.
            let mut sent = 0;
            while let Ok(bytes) = stream.write(&requests.as_bytes()[sent % requests.len()..]).await {
                sent += bytes;
            }
            sent
        });
    }
    let counter = r#"weir_connections_cut_total{reason="not_reading"}"#;
    let mut most = 0;
    eventually("all are cut", async || {
        program.post().await;
        most = most.max(program.memory_bytes());
        let bytes = most.saturating_sub(before) / PEERS;
        assert!(bytes < 1024 * 1024, "{bytes} bytes a peer");
        program.metric(counter).await == PEERS as u64
    })
    .await;
    let sent = within("they see it", flooding.join_all()).await;
    let bytes = most.saturating_sub(before) / PEERS;
    println!("{bytes} bytes a peer, of which each sent {sent:?}");
    program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_late_gets_every_answer() {
    const REQUESTS: usize = 3_000;
    let (_database, collector, _journal) = collector(|_| {}).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    let mut stream = within("taken", socket.connect(collector.address)).await.expect("taken");
    let (mut reader, mut writer) = stream.split();
    let sending = async {
        let requests = "GET /w.js HTTP/1.1\r\nhost: a\r\n\r\n".repeat(REQUESTS - 1);
        writer.write_all(requests.as_bytes()).await.expect("sent");
        writer.write_all(b"GET /w.js HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("sent");
    };
    let reading = async {
        // Long enough for every buffer on the way to be full.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let mut answers = Vec::new();
        reader.read_to_end(&mut answers).await.expect("read");
        answers
    };
    let ((), answers) = within("all answers", async { tokio::join!(sending, reading) }).await;
    assert_eq!(answers.windows(15).filter(|window| window == b"HTTP/1.1 200 OK").count(), REQUESTS);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_over_the_limit_is_told_why_and_does_not_starve_the_others() {
    const FLOOD: usize = 2_000;
    let (_database, collector, _journal) = collector(|config| config.receive.connections_max = 50).await;
    let mut held = idle_connections(collector.address, 50).await;
    let address = collector.address;
    let mut flood = JoinSet::new();
    for _ in 0..20 {
        flood.spawn(async move {
            let mut told = 0;
            for _ in 0..FLOOD / 20 {
                let answer = http::raw(address, b"POST /v1/events HTTP/1.1\r\nhost: a\r\n\r\n").await;
                told += usize::from(answer.starts_with(b"HTTP/1.1 503 "));
            }
            told
        });
    }
    // Who is in goes on being served meanwhile.
    while !flood.is_empty() {
        for stream in &mut held {
            within("an answer", async {
                stream.write_all(REQUEST).await.expect("sent");
                let mut answer = vec![0; 4096];
                let bytes = stream.read(&mut answer).await.expect("answered");
                assert!(bytes > 0, "a connection was closed");
            })
            .await;
        }
        let joined = tokio::time::timeout(Duration::from_millis(20), flood.join_next()).await;
        if let Ok(Some(told)) = joined {
            assert_eq!(told.expect("no panic"), FLOOD / 20, "not everyone was told");
        }
    }
    let metrics = http::get(collector.admin, "/metrics", &[]).await.text();
    assert!(metrics.contains(&format!("weir_connections_refused_total {FLOOD}")), "{metrics}");
    drop(held);
    eventually("there is room again", async || {
        let answer = http::raw(address, b"GET /w.js HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        answer.starts_with(b"HTTP/1.1 200")
    })
    .await;
    collector.stop().await;
}
