//! Accepting connections, with a limit on everything that a slow or hostile peer could hold.
//!
//! Hyper's own timeout for request heads also runs while a connection idles between requests, and costs a timer each
//! request. Here each connection notes what it is doing, and is looked at once a second.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use metrics::{Counter, Gauge};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service;

/// How often a connection's timeouts are checked; they are that inexact.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after `accept` failed, which it does when file descriptors run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// A request's head: URLs of pixels are long, cookies of the same host come along.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What one listener allows.
#[derive(Debug, Clone)]
pub struct Limits {
    pub connections_max: usize,
    /// From the first byte of a request to the end of its head.
    pub header_timeout: Duration,
    /// Between requests.
    pub idle_timeout: Duration,
    /// For requests in flight when shutting down.
    pub drain_timeout: Duration,
}

/// The address at the other end of the connection, in each request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Where connections are counted.
#[derive(Clone)]
pub struct ConnectionMetrics {
    pub open: Gauge,
    pub refused: Counter,
}

/// Serves `router` until `shutdown`, then lets requests in flight finish.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    metrics: ConnectionMetrics,
    shutdown: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX).pipeline_flush(true);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            },
            () = shutdown.cancelled() => break,
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            metrics.refused.increment(1);
            continue;
        };
        // Answers are small and waited for. A socket that refuses the option works without it.
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(Activity::default());
        let service = {
            let (router, activity) = (router.clone(), Arc::clone(&activity));
            hyper::service::service_fn(move |mut request: Request<hyper::body::Incoming>| {
                activity.set(Phase::Answering);
                request.extensions_mut().insert(Peer(peer));
                let answer = router.clone().call(request);
                let activity = Arc::clone(&activity);
                async move {
                    let answer = answer.await;
                    activity.set(Phase::Idle);
                    answer
                }
            })
        };
        let io = TokioIo::new(Watched { stream, activity: Arc::clone(&activity) });
        let connection = graceful.watch(builder.serve_connection(io, service));
        let (limits, metrics) = (limits.clone(), metrics.clone());
        metrics.open.increment(1.0);
        tokio::spawn(async move {
            tokio::select! {
                // A peer that breaks off is no news.
                _ = connection => {}
                () = overdue(&activity, &limits) => {}
            }
            metrics.open.decrement(1.0);
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests in flight were cut off at the end of the drain timeout");
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Idle = 0,
    Head = 1,
    Answering = 2,
}

/// The phase of one connection and since when it lasts.
#[derive(Debug)]
struct Activity {
    phase: AtomicU8,
    since_ms: AtomicU64,
    opened: Instant,
}

impl Default for Activity {
    fn default() -> Self {
        // A fresh connection owes a request just as one that has begun to send it.
        Self { phase: AtomicU8::new(Phase::Head as u8), since_ms: AtomicU64::new(0), opened: Instant::now() }
    }
}

impl Activity {
    fn now_ms(&self) -> u64 {
        self.opened.elapsed().as_millis() as u64
    }

    fn set(&self, phase: Phase) {
        self.since_ms.store(self.now_ms(), Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn received(&self) {
        if self.phase.load(Ordering::Relaxed) == Phase::Idle as u8 {
            self.set(Phase::Head);
        }
    }

    fn is_overdue(&self, limits: &Limits) -> bool {
        let lasted = Duration::from_millis(self.now_ms().saturating_sub(self.since_ms.load(Ordering::Relaxed)));
        match self.phase.load(Ordering::Relaxed) {
            phase if phase == Phase::Idle as u8 => lasted > limits.idle_timeout,
            phase if phase == Phase::Head as u8 => lasted > limits.header_timeout,
            // Reading the body and answering have their own timeouts.
            _ => false,
        }
    }
}

async fn overdue(activity: &Activity, limits: &Limits) {
    let mut tick = tokio::time::interval(CHECK_INTERVAL);
    while !activity.is_overdue(limits) {
        tick.tick().await;
    }
}

/// A stream that tells when a new request begins to arrive.
struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.received();
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
