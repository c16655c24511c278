//! A connection to PostgreSQL that fails where a test wants it to, and remembers what went over it.
//!
//! It knows of the protocol that a message is a type, a length, and that many bytes, and reads the text of statements.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// An `SSLRequest` has this in the place of a protocol version.
const SSL_REQUEST: &[u8] = &80_877_103_u32.to_be_bytes();
/// Type and length, which counts itself.
const HEADER_BYTES: usize = 5;
const LENGTH_BYTES: usize = 4;

/// Where in a flush something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The COMMIT of a transaction that moved the ledger.
    Commit,
    /// The first rows on their way into the events.
    Rows,
}

/// What happens there.
#[derive(Debug, Clone)]
pub enum Then {
    /// The message arrives; both sides are cut off before the answer comes back.
    LoseAnswer,
    /// Half of the message arrives; both sides get a reset.
    Reset,
    /// COMMIT, or the second half of the rows, arrives only when the token is cancelled, though the client be gone.
    Hold(CancellationToken),
    /// Everything else of this transaction arrives late by so much.
    Delay(Duration),
}

/// One step of a flush, as PostgreSQL was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Begin,
    Settings,
    MoveLedger,
    CopyEvents,
    Rows,
    RowsEnd,
    BookSources,
    Commit,
    Rollback,
    Other,
}

/// See the module. Ends with the test.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _ended: tokio_util::sync::DropGuard,
}

struct Shared {
    target: Mutex<SocketAddr>,
    armed: Mutex<Vec<(At, Then)>>,
    /// By connection.
    steps: Mutex<BTreeMap<usize, Vec<Step>>>,
    /// Cancelled to cut everyone off.
    cut: Mutex<CancellationToken>,
    ended: CancellationToken,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let ended = CancellationToken::new();
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            armed: Mutex::default(),
            steps: Mutex::default(),
            cut: Mutex::new(ended.child_token()),
            ended: ended.clone(),
        });
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            for number in 0.. {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (client, _) = accepted.expect("descriptors");
                        tokio::spawn(connection(Arc::clone(&accepting), number, client));
                    }
                    () = accepting.ended.cancelled() => return,
                }
            }
        });
        Self { address, shared, _ended: ended.drop_guard() }
    }

    /// `url` with this proxy in the place of the server.
    pub fn url(&self, url: &str) -> String {
        let (user, rest) = url.split_once('@').expect("a URL with a user");
        let (_, database) = rest.split_once('/').expect("a URL with a database");
        format!("{user}@{}/{database}", self.address)
    }

    /// The next flush that comes to `at` meets with this. Several are met with in turn.
    pub fn arm(&self, at: At, then: Then) {
        lock(&self.shared.armed).push((at, then));
    }

    /// Faults that nobody has met with yet.
    pub fn armed(&self) -> usize {
        lock(&self.shared.armed).len()
    }

    /// New connections go to `target`; the old ones end.
    pub fn lead_to(&self, target: SocketAddr) {
        *lock(&self.shared.target) = target;
        let new = self.shared.ended.child_token();
        std::mem::replace(&mut *lock(&self.shared.cut), new).cancel();
    }

    /// The transactions that touched the ledger or the events, as far as each one went.
    pub fn flushes(&self) -> Vec<Vec<Step>> {
        let steps = lock(&self.shared.steps);
        let transactions = steps.values().flat_map(|steps| {
            steps.split_inclusive(|step| matches!(step, Step::Commit | Step::Rollback)).map(<[Step]>::to_vec)
        });
        let is_flush = |steps: &Vec<Step>| steps.iter().any(|step| matches!(step, Step::MoveLedger | Step::CopyEvents));
        transactions.filter(is_flush).collect()
    }
}

async fn connection(shared: Arc<Shared>, number: usize, client: TcpStream) {
    let target = *lock(&shared.target);
    let cut = lock(&shared.cut).clone();
    // Without a server the client finds a closed door, as it would there.
    let Ok(server) = TcpStream::connect(target).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a socket");
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let both = Ends { cut: cut.child_token(), is_reset: AtomicBool::new(false), is_mute: AtomicBool::new(false) };
    let both = Arc::new(both);
    let answers = tokio::spawn(backward(Arc::clone(&both), from_server, to_client));
    let mut forward = Forward { shared, number, from_client, to_server, both, has_moved_ledger: false, delay: None };
    // An error is the end of either side.
    let _ = forward.run().await;
    drop(forward);
    let _ = answers.await;
}

/// What the two directions of one connection share.
struct Ends {
    cut: CancellationToken,
    is_reset: AtomicBool,
    is_mute: AtomicBool,
}

/// From the server to the client.
async fn backward(both: Arc<Ends>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            () = both.cut.cancelled() => 0,
        };
        if both.is_reset.load(Ordering::Relaxed) {
            to.as_ref().set_zero_linger().expect("a socket");
        }
        if both.is_mute.load(Ordering::Relaxed) {
            // The answer is here, so what it answers has happened.
            both.cut.cancel();
        }
        if read == 0 || both.cut.is_cancelled() {
            return;
        }
        // A client that has gone reads no more; the server still has things to finish.
        let _ = to.write_all(&buffer[..read]).await;
    }
}

struct Forward {
    shared: Arc<Shared>,
    number: usize,
    from_client: OwnedReadHalf,
    to_server: OwnedWriteHalf,
    both: Arc<Ends>,
    has_moved_ledger: bool,
    delay: Option<Duration>,
}

impl Forward {
    async fn run(&mut self) -> io::Result<()> {
        let cut = self.both.cut.clone();
        tokio::select! {
            () = cut.cancelled() => Ok(()),
            result = self.forward() => {
                // What was sent is still carried out; then the server sees the end.
                self.to_server.shutdown().await?;
                result
            }
        }
    }

    async fn forward(&mut self) -> io::Result<()> {
        self.greet().await?;
        loop {
            let mut message = vec![0; HEADER_BYTES];
            self.from_client.read_exact(&mut message).await?;
            let length = message[1..].try_into().map_or(0, u32::from_be_bytes) as usize;
            message.resize(HEADER_BYTES + length - LENGTH_BYTES, 0);
            self.from_client.read_exact(&mut message[HEADER_BYTES..]).await?;
            let step = step(&message);
            self.note(step);
            self.pass(step, &message).await?;
        }
    }

    /// The messages before the first that has a type.
    async fn greet(&mut self) -> io::Result<()> {
        loop {
            let mut message = vec![0; LENGTH_BYTES];
            self.from_client.read_exact(&mut message).await?;
            let length = message[..].try_into().map_or(0, u32::from_be_bytes) as usize;
            message.resize(length, 0);
            self.from_client.read_exact(&mut message[LENGTH_BYTES..]).await?;
            self.to_server.write_all(&message).await?;
            // The servers of the tests have no certificate and say no; the client then goes on in the clear.
            if &message[LENGTH_BYTES..] != SSL_REQUEST {
                return Ok(());
            }
        }
    }

    fn note(&mut self, step: Option<Step>) {
        let Some(step) = step else { return };
        match step {
            Step::Begin => (self.has_moved_ledger, self.delay) = (false, None),
            Step::MoveLedger => self.has_moved_ledger = true,
            _ => {}
        }
        let mut steps = lock(&self.shared.steps);
        let steps = steps.entry(self.number).or_default();
        // Rows come in any number of messages.
        if step != Step::Rows || steps.last() != Some(&Step::Rows) {
            steps.push(step);
        }
    }

    async fn pass(&mut self, step: Option<Step>, message: &[u8]) -> io::Result<()> {
        if let Some(delay) = self.delay {
            tokio::time::sleep(delay).await;
        }
        let Some(then) = self.armed(step) else {
            return self.to_server.write_all(message).await;
        };
        match then {
            Then::LoseAnswer => {
                self.both.is_mute.store(true, Ordering::Relaxed);
                self.to_server.write_all(message).await
            }
            Then::Reset => {
                self.to_server.write_all(&message[..message.len() / 2]).await?;
                self.both.is_reset.store(true, Ordering::Relaxed);
                self.to_server.as_ref().set_zero_linger()?;
                self.both.cut.cancel();
                Ok(())
            }
            Then::Hold(until) => {
                let now = if step == Some(Step::Commit) { 0 } else { message.len() / 2 };
                self.to_server.write_all(&message[..now]).await?;
                until.cancelled().await;
                self.to_server.write_all(&message[now..]).await
            }
            Then::Delay(delay) => {
                self.delay = Some(delay);
                self.to_server.write_all(message).await
            }
        }
    }

    /// The fault that this step meets with.
    fn armed(&self, step: Option<Step>) -> Option<Then> {
        let here = match step? {
            Step::Commit if self.has_moved_ledger => At::Commit,
            Step::Rows => At::Rows,
            _ => return None,
        };
        let mut armed = lock(&self.shared.armed);
        let first = armed.iter().position(|(at, _)| *at == here)?;
        Some(armed.remove(first).1)
    }
}

/// What a message tells PostgreSQL to do.
fn step(message: &[u8]) -> Option<Step> {
    let text = String::from_utf8_lossy(&message[HEADER_BYTES..]).to_lowercase();
    Some(match message[0] {
        b'd' => Step::Rows,
        b'c' => Step::RowsEnd,
        // Query and Parse; the latter begins with the statement's name.
        b'Q' | b'P' => {
            let has = |words: &str| text.contains(words);
            match () {
                () if has("start transaction") || has("begin") => Step::Begin,
                () if has("commit") && !has("on commit") => Step::Commit,
                () if has("rollback") => Step::Rollback,
                () if has("set local") => Step::Settings,
                () if has("update weir.ledger") => Step::MoveLedger,
                () if has("copy analytics.events") => Step::CopyEvents,
                () if has("into weir.ledger_sources") => Step::BookSources,
                () => Step::Other,
            }
        }
        _ => return None,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
