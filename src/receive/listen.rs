//! Accepting connections, with a limit on everything that a slow or hostile peer could hold.
//!
//! Hyper's own timeout for request heads also runs while a connection idles between requests, and costs a timer each
//! request. Here each connection notes what it is doing, and is looked at once a second.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::answer::RequestError;
use super::connection::{Activity, Answering, Overdue, Watched, overdue};
use super::shed::Shedder;
use super::tls::HTTP_2;
use crate::metrics::ConnectionMetrics;

/// Pause after `accept` failed, which it does when file descriptors run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// A request's head: URLs of pixels are long, cookies of the same host come along.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Answers that the kernel holds for a peer that does not read. It would go up to megabytes by itself.
const UNREAD_BYTES_MAX: usize = 128 * 1024;

/// Requests at once on one connection of HTTP/2, as the standard recommends.
const STREAMS_MAX: u32 = 100;
/// What a connection of HTTP/2 may send before it is read: bodies are read as they come, so this rarely fills.
const WINDOW_BYTES: u32 = 256 * 1024;

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
pub struct Peer {
    pub address: SocketAddr,
    pub is_tls: bool,
}

fn count(metrics: &ConnectionMetrics, overdue: Overdue) {
    let counter = match overdue {
        Overdue::Idle => &metrics.idle,
        Overdue::SlowHead => &metrics.slow_head,
        Overdue::NotReading => &metrics.not_reading,
    };
    counter.increment(1);
}

/// A listener and how it takes connections.
pub struct Listen {
    pub listener: TcpListener,
    /// Absent: plain HTTP/1.1.
    pub tls: Option<TlsAcceptor>,
    pub limits: Limits,
    pub metrics: ConnectionMetrics,
}

/// Serves `router` until `shutdown`, then lets requests in flight finish.
pub async fn serve(Listen { listener, tls, limits, metrics }: Listen, router: Router, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let shedder = Shedder::default();
    // Every connection takes it over. A system that refuses it works without.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&listener, UNREAD_BYTES_MAX);
    let (http1, http2, is_tls) = (http1_builder(), http2_builder(), tls.is_some());
    let server = Arc::new(Server { router, http1, http2, is_tls, limits, metrics });
    let mut can_accept = true;
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => {
                    can_accept = true;
                    accepted
                }
                Err(error) => {
                    if std::mem::take(&mut can_accept) {
                        tracing::warn!(%error, "cannot accept connections");
                    }
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            },
            () = shutdown.cancelled() => break,
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            server.metrics.refused.increment(1);
            // A word to who speaks TLS would cost a handshake.
            if tls.is_none() {
                shedder.refuse(stream);
            }
            continue;
        };
        // Answers are small and waited for. A socket that refuses the option works without it.
        let _ = stream.set_nodelay(true);
        let (server, watcher, tls) = (Arc::clone(&server), graceful.watcher(), tls.clone());
        tokio::spawn(async move {
            server.metrics.open.increment(1.0);
            match tls {
                None => server.http1(stream, peer, watcher).await,
                // Apart, because it is far larger than what a plain connection needs.
                Some(tls) => Box::pin(server.tls(stream, peer, watcher, &tls)).await,
            }
            server.metrics.open.decrement(1.0);
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(server.limits.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests in flight were cut off at the end of the drain timeout");
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Without `pipeline_flush`: with it hyper keeps the answers to pipelined requests without any limit.
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX);
    builder
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_send_buf_size(UNREAD_BYTES_MAX);
    builder
}

/// What all connections of a listener share.
struct Server {
    router: Router,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    is_tls: bool,
    limits: Limits,
    metrics: ConnectionMetrics,
}

impl Server {
    async fn tls(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher, tls: &TlsAcceptor) {
        let Ok(Ok(stream)) = tokio::time::timeout(self.limits.header_timeout, tls.accept(stream)).await else {
            self.metrics.no_tls.increment(1);
            return;
        };
        if stream.get_ref().1.alpn_protocol() == Some(HTTP_2) {
            let activity = Arc::new(Activity::default());
            let io = TokioIo::new(Watched::http2(stream, Arc::clone(&activity)));
            let connection = self.http2.serve_connection(io, self.service(peer, &activity));
            self.until_overdue(watcher.watch(connection), &activity).await;
        } else {
            self.http1(stream, peer, watcher).await;
        }
    }

    async fn http1<S>(&self, stream: S, peer: SocketAddr, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let activity = Arc::new(Activity::default());
        let io = TokioIo::new(Watched::http1(stream, Arc::clone(&activity)));
        let connection = self.http1.serve_connection(io, self.service(peer, &activity));
        self.until_overdue(watcher.watch(connection), &activity).await;
    }

    fn service(
        &self,
        peer: SocketAddr,
        activity: &Arc<Activity>,
    ) -> impl hyper::service::Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send + 'static>
    + use<> {
        let (router, activity, malformed) = (self.router.clone(), Arc::clone(activity), self.metrics.malformed.clone());
        let peer = Peer { address: peer, is_tls: self.is_tls };
        hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let answering = Answering::begin(&activity);
            request.extensions_mut().insert(peer);
            let answer = is_clearly_framed(request.headers()).then(|| router.clone().call(request));
            if answer.is_none() {
                malformed.increment(1);
            }
            async move {
                let answer = match answer {
                    Some(answer) => answer.await,
                    None => Ok(RequestError::WrongTransferEncoding.into_response()),
                };
                drop(answering);
                answer
            }
        })
    }

    async fn until_overdue(&self, connection: impl Future<Output = hyper::Result<()>>, activity: &Activity) {
        tokio::select! {
            ended = connection => {
                // A peer that breaks off is no news.
                if ended.is_err_and(|error| error.is_parse()) {
                    self.metrics.malformed.increment(1);
                }
            }
            overdue = overdue(activity, &self.limits) => count(&self.metrics, overdue),
        }
    }
}

/// Whether everyone on the way takes the body to end at the same place: it has a length, or is plainly `chunked`.
///
/// Hyper also takes lists that end in `chunked`; a proxy that does not would have sent it something else than it read.
fn is_clearly_framed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}
