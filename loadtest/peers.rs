//! What weir is compared with: an HTTP server that does nothing, and a COPY that nothing precedes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use axum::serve::ListenerExt;
use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use jiff::{SignedDuration, Timestamp, ToSpan};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_postgres::Client;
use weir::Config;
use weir::decode::native;
use weir::enrich::place::Places;
use weir::enrich::user_agent::UserAgents;
use weir::enrich::visitor::Salts;
use weir::enrich::{Enricher, RequestFacts};
use weir::event_id::event_id;
use weir::metrics::Metrics;
use weir::row;
use weir::sources::{KeyKind, WriteKey};

use crate::collector::terminate;
use crate::database::Database;
use crate::random::Random;
use crate::traffic::{Traffic, event_ms};

/// The hidden command by which this program runs the bare server as a process of its own.
pub const BARE_COMMAND: &str = "bare-server";

/// The table that raw COPY fills: that of the events once more.
pub const COPY_TABLE: &str = "loadtest.events";
/// The stream that the rows of raw COPY are made from.
const COPY_STREAM: u32 = 1 << 20;
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_TRAILER: &[u8] = &[0xff, 0xff];
/// Between the times of two rows: 50,000 a second, as many as gather in an outage.
const EVENT_INTERVAL_US: i64 = 20;
/// Rows are copied faster than that: their times start here, so that none lies in the future.
const PAST: SignedDuration = SignedDuration::from_mins(10);
/// As a lane sends the frames of full group commits.
const COPY_CHUNK_BYTES: usize = 512 * 1024;
/// In a tuple: column count, then length and value of `event_id`, then of `occurred_at`.
const EVENT_ID_AT: std::ops::Range<usize> = 6..22;
const OCCURRED_AT_AT: std::ops::Range<usize> = 26..34;
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// A server to compare with, as a process of its own.
pub struct Server {
    pub child: Child,
    pub pid: u32,
    pub address: SocketAddr,
}

impl Server {
    /// This program once more, by one of its hidden commands: it prints its address first.
    pub async fn own(command: &str, database_url: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(command)
            .env("DATABASE_URL", database_url)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().context("the server has ended")?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        let address = line.trim().parse().context("the server's address")?;
        Ok(Self { child, pid, address })
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        terminate(self.pid).await?;
        self.child.wait().await?;
        Ok(())
    }
}

/// A handler that reads the body and answers `204`, on axum's own server: prints its address, and serves until it is ended.
pub async fn serve_bare() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let handler = post(|body: Bytes| async move {
        // Read, so that it was received.
        drop(body);
        StatusCode::NO_CONTENT
    });
    let router = Router::new().route("/v1/events", handler);
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

/// Tuples by weir's own pipeline, of the same events that are sent to it.
struct Block {
    bytes: Vec<u8>,
    /// Where each tuple begins.
    starts: Vec<usize>,
}

impl Block {
    async fn build(traffic: &Arc<Traffic>, bytes_max: usize) -> anyhow::Result<Self> {
        let enricher = Enricher {
            privacy: Config::default().privacy,
            user_agents: UserAgents::start(None, 10_000, &Metrics::new())?,
            places: Arc::new(Places::open(None)?),
            salts: Arc::new(Salts::new()?),
        };
        let key = WriteKey::new(traffic.site.source.as_str().into(), KeyKind::Public, Arc::default());
        let mut stream = traffic.stream(COPY_STREAM, 1);
        let mut block = Self { bytes: Vec::new(), starts: Vec::new() };
        while block.bytes.len() < bytes_max {
            let (body, user_agent) = stream.body();
            let decoded = native::decode(std::str::from_utf8(body)?, false)?;
            let request = RequestFacts {
                received_at: Timestamp::now(),
                ip: Some([127, 0, 0, 1].into()),
                user_agent: Some(user_agent),
                ..RequestFacts::default()
            };
            for event in decoded.events {
                let event = event?;
                let agent = enricher.agent(&event, key.kind, &request).await;
                block.starts.push(block.bytes.len());
                enricher.encode(&event, &key, &request, agent.as_deref(), &mut block.bytes)?;
            }
        }
        Ok(block)
    }

    /// The same rows under new ids, with the times and in the order in which batches of `batch_events` bring them: where
    /// in the index a row belongs decides what it costs.
    fn renewed(&self, batch_events: u32, clock_us: &AtomicI64, random: &mut Random) -> anyhow::Result<Bytes> {
        let mut bytes = BytesMut::from(self.bytes.as_slice());
        let first_us = clock_us.fetch_add(self.starts.len() as i64 * EVENT_INTERVAL_US, Ordering::Relaxed);
        for (index, start) in (0..).zip(&self.starts) {
            let sent_us = first_us + index * EVENT_INTERVAL_US;
            let since_sent_ms = event_ms(0, (index % i64::from(batch_events)) as u32);
            let at = Timestamp::from_microsecond(sent_us + since_sent_ms * 1_000)?;
            let tail = u128::from(random.next()) << 64 | u128::from(random.next());
            let tuple = &mut bytes[*start..];
            tuple[EVENT_ID_AT].copy_from_slice(event_id(at, tail).as_bytes());
            tuple[OCCURRED_AT_AT].copy_from_slice(&(at.as_microsecond() - POSTGRES_EPOCH_US).to_be_bytes());
        }
        Ok(bytes.freeze())
    }
}

/// Makes the table for raw COPY: same columns, a partition a day, a unique index on each.
pub async fn create_copy_table(database: &Database) -> anyhow::Result<()> {
    let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let mut statements = format!(
        "create schema loadtest;
         create table {COPY_TABLE} (like analytics.events including all) partition by range (occurred_at);"
    );
    // Midnight may come while the test runs.
    for offset in [-1, 0, 1] {
        let (from, to) = (today + offset.days(), today + (offset + 1).days());
        let name = format!("loadtest.events_{}", from.strftime("%Y%m%d"));
        // Writing to a String does not fail.
        let _ = write!(
            statements,
            "create table {name} partition of {COPY_TABLE} for values from ('{from} 00:00:00+00') to ('{to} 00:00:00+00');
             create unique index on {name} (event_id);"
        );
    }
    Ok(database.client().await?.batch_execute(&statements).await?)
}

/// COPY over as many connections as weir has lanes, in transactions of weir's size.
pub struct Copy {
    block: Arc<Block>,
    batch_events: u32,
    clients: Vec<Client>,
}

impl Copy {
    /// Of one tuple.
    pub fn row_bytes(&self) -> f64 {
        self.block.bytes.len() as f64 / self.block.starts.len() as f64
    }

    /// Rows as they would arrive in batches of `batch_events`.
    pub async fn prepare(database: &Database, traffic: &Arc<Traffic>, batch_events: u32) -> anyhow::Result<Self> {
        let flush = Config::default().flush;
        let mut clients = Vec::new();
        for _ in 0..flush.lanes {
            clients.push(database.client().await?);
        }
        Ok(Self { block: Arc::new(Block::build(traffic, flush.bytes_max).await?), batch_events, clients })
    }

    /// Copies at least `rows` rows into `table`; returns how many.
    pub async fn fill(self, table: &str, rows: u64) -> anyhow::Result<u64> {
        let wanted = Arc::new(AtomicI64::new(rows.cast_signed()));
        let block_rows = self.block.starts.len() as i64;
        let is_over = move || wanted.fetch_sub(block_rows, Ordering::Relaxed) <= 0;
        self.copy(table, is_over).await
    }

    /// Copies for `duration`; rows a second.
    pub async fn run(self, duration: Duration) -> anyhow::Result<f64> {
        let started = Instant::now();
        let deadline = started + duration;
        let rows = self.copy(COPY_TABLE, move || Instant::now() >= deadline).await?;
        Ok(rows as f64 / started.elapsed().as_secs_f64())
    }

    async fn copy(self, table: &str, is_over: impl Fn() -> bool + Clone + Send + 'static) -> anyhow::Result<u64> {
        let columns: Vec<&str> = row::COLUMNS.iter().map(|(name, _)| *name).collect();
        let statement = format!("copy {table} ({}) from stdin (format binary)", columns.join(", "));
        let clock_us = Arc::new(AtomicI64::new((Timestamp::now() - PAST).as_microsecond()));
        let mut lanes = JoinSet::new();
        for (number, client) in (0..).zip(self.clients) {
            let (block, statement, clock_us) = (Arc::clone(&self.block), statement.clone(), Arc::clone(&clock_us));
            let renew = move |random: &mut Random| block.renewed(self.batch_events, &clock_us, random);
            let is_over = is_over.clone();
            lanes.spawn(async move { copy_until(is_over, client, renew, &statement, number).await });
        }
        let mut rows = 0;
        while let Some(lane) = lanes.join_next().await {
            rows += lane??;
        }
        Ok(rows)
    }
}

/// One lane; rows copied.
async fn copy_until(
    is_over: impl Fn() -> bool,
    mut client: Client,
    renew: impl Fn(&mut Random) -> anyhow::Result<Bytes>,
    statement: &str,
    seed: u64,
) -> anyhow::Result<u64> {
    let mut random = Random::new(seed);
    let mut rows = 0;
    while !is_over() {
        let mut bytes = renew(&mut random)?;
        let transaction = client.transaction().await?;
        let mut sink = pin!(transaction.copy_in::<_, Bytes>(statement).await?);
        sink.feed(Bytes::from_static(COPY_HEADER)).await?;
        while !bytes.is_empty() {
            let length = bytes.len().min(COPY_CHUNK_BYTES);
            sink.feed(bytes.split_to(length)).await?;
        }
        sink.feed(Bytes::from_static(COPY_TRAILER)).await?;
        rows += sink.finish().await?;
        transaction.commit().await?;
    }
    Ok(rows)
}
