//! Clients that send until they hear `200`, and remember what they heard.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::chance::Chance;
use super::http::Answer;
use super::record::Record;

/// Longer than a collector takes to answer under any load here.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Between attempts: a real client waits longer, and a test has less time.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// An event that nobody takes for so long has failed the test.
const TAKEN_WITHIN: Duration = Duration::from_secs(120);

/// What the clients of a test send.
#[derive(Debug, Clone)]
pub struct Habits {
    pub clients: usize,
    pub batch_max: u64,
    /// Of a hundred events, how many have an id.
    pub named_percent: u64,
    /// At most this much of it in each event.
    pub filler_bytes_max: u64,
    /// Between requests.
    pub pause: Duration,
    /// Whether each request goes to the next collector, as a balancer's does.
    pub in_turn: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            clients: 4,
            batch_max: 20,
            named_percent: 80,
            filler_bytes_max: 300,
            pause: Duration::from_millis(3),
            in_turn: false,
        }
    }
}

/// Clients at work.
pub struct Clients {
    stop: CancellationToken,
    taken: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    running: Vec<JoinHandle<Record>>,
}

impl Clients {
    /// Each client turns to the next of `collectors` when one does not answer.
    pub fn start(collectors: &[SocketAddr], key: &str, habits: &Habits, chance: &mut Chance) -> Self {
        let stop = CancellationToken::new();
        let (taken, refused) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let running = (0..habits.clients).map(|name| {
            let client = Client {
                name,
                collectors: collectors.iter().copied().cycle().skip(name).take(collectors.len()).collect(),
                key: key.to_owned(),
                habits: habits.clone(),
                chance: chance.branch(),
                connection: None,
                record: Record::default(),
                taken: Arc::clone(&taken),
                refused: Arc::clone(&refused),
            };
            tokio::spawn(client.run(stop.clone()))
        });
        let running = running.collect();
        Self { stop, taken, refused, running }
    }

    /// Events acknowledged so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Answers of `503` so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Lets each client finish the request that it is at; returns what all of them know.
    pub async fn finish(self) -> Record {
        self.stop.cancel();
        let mut record = Record::default();
        for client in self.running {
            record.add(client.await.expect("a client that did not panic"));
        }
        record
    }
}

struct Client {
    name: usize,
    collectors: Vec<SocketAddr>,
    key: String,
    habits: Habits,
    chance: Chance,
    connection: Option<BufReader<TcpStream>>,
    record: Record,
    taken: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

/// One event on its way.
struct Sending {
    name: String,
    has_id: bool,
    json: String,
}

enum Outcome {
    Answered(Answer),
    /// The collector cannot have seen it.
    NotSent,
    /// The answer was lost.
    InDoubt,
}

impl Client {
    async fn run(mut self, stop: CancellationToken) -> Record {
        let mut next = 0;
        while !stop.is_cancelled() {
            let size = if self.chance.happens(50) { 1 } else { self.chance.between(2, self.habits.batch_max) };
            let events: Vec<Sending> = (next..next + size).map(|n| self.event(n)).collect();
            next += size;
            let request = self.request(&events);
            let taken = tokio::time::timeout(TAKEN_WITHIN, self.send_until_taken(&request, &events)).await;
            taken.unwrap_or_else(|_| panic!("nobody takes {}", events[0].name));
            if self.habits.in_turn {
                self.turn();
            }
            tokio::time::sleep(self.habits.pause).await;
        }
        self.record
    }

    fn event(&mut self, n: u64) -> Sending {
        let name = format!("{}-{n}", self.name);
        let has_id = self.chance.happens(self.habits.named_percent);
        let filler = "x".repeat(self.chance.between(0, self.habits.filler_bytes_max) as usize);
        let json = if has_id {
            // The time makes a retry the same event for any collector.
            let ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
            format!(r#"{{"name":"{name}","id":"{name}","timestamp":{ms},"properties":{{"filler":"{filler}"}}}}"#)
        } else {
            format!(r#"{{"name":"{name}","properties":{{"filler":"{filler}"}}}}"#)
        };
        Sending { name, has_id, json }
    }

    fn request(&self, events: &[Sending]) -> String {
        let mut body = events[0].json.clone();
        if events.len() > 1 {
            let all: Vec<&str> = events.iter().map(|event| event.json.as_str()).collect();
            body = format!("[{}]", all.join(","));
        }
        format!(
            "POST /v1/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        )
    }

    async fn send_until_taken(&mut self, request: &str, events: &[Sending]) {
        loop {
            match self.send(request).await {
                Outcome::Answered(answer) if answer.status == 200 => {
                    assert_eq!(answer.json()["accepted"], events.len(), "{}", answer.text());
                    self.taken.fetch_add(events.len() as u64, Ordering::Relaxed);
                    for event in events {
                        self.record.acknowledged(&event.name, event.has_id);
                    }
                    return;
                }
                // What is only for now must say so: anything else would make a client give up.
                Outcome::Answered(answer) => {
                    assert_eq!(answer.status, 503, "{}", answer.text());
                    assert!(answer.header("retry-after").is_some(), "{}", answer.shown());
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                Outcome::NotSent => {}
                Outcome::InDoubt => {
                    for event in events {
                        self.record.in_doubt(&event.name, event.has_id);
                    }
                }
            }
            self.turn();
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// To the next collector.
    fn turn(&mut self) {
        self.collectors.rotate_left(1);
        self.connection = None;
    }

    async fn send(&mut self, request: &str) -> Outcome {
        if self.connection.is_none() {
            let Ok(stream) = TcpStream::connect(self.collectors[0]).await else { return Outcome::NotSent };
            stream.set_nodelay(true).expect("a socket");
            self.connection = Some(BufReader::new(stream));
        }
        let Some(connection) = &mut self.connection else { return Outcome::NotSent };
        match tokio::time::timeout(ANSWER_TIMEOUT, exchange(connection, request)).await {
            Ok(Ok(answer)) => {
                if answer.header("connection") == Some("close") {
                    self.connection = None;
                }
                Outcome::Answered(answer)
            }
            Ok(Err(_)) | Err(_) => Outcome::InDoubt,
        }
    }
}

/// One request and its answer, on a connection that stays open.
pub async fn exchange(connection: &mut BufReader<TcpStream>, request: &str) -> io::Result<Answer> {
    connection.get_mut().write_all(request.as_bytes()).await?;
    let mut line = String::new();
    let mut headers = BTreeMap::new();
    let mut status = None;
    loop {
        line.clear();
        if connection.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match (line.trim_end(), status) {
            ("", Some(_)) => break,
            (first, None) => status = first.split(' ').nth(1).and_then(|status| status.parse().ok()),
            (header, _) => {
                let (name, value) = header.split_once(": ").expect("a header");
                headers.insert(name.to_ascii_lowercase(), value.to_owned());
            }
        }
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    Ok(Answer { status: status.expect("a status line"), headers: headers.into_iter().collect(), body })
}
