//! Accepting connections, with a limit on everything that a slow or hostile peer could hold.
//!
//! Hyper's own timeout for request heads also runs while a connection idles between requests, and costs a timer each
//! request. Here each connection notes what it is doing, and is looked at once a second.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::answer::RequestError;
use super::connection::{Activity, Overdue, Phase, Watched, overdue};
use super::shed::Shedder;
use crate::metrics::ConnectionMetrics;

/// Pause after `accept` failed, which it does when file descriptors run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// A request's head: URLs of pixels are long, cookies of the same host come along.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Answers that the kernel holds for a peer that does not read. It would go up to megabytes by itself.
const UNREAD_BYTES_MAX: usize = 128 * 1024;

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
pub struct Peer(pub std::net::SocketAddr);

fn count(metrics: &ConnectionMetrics, overdue: Overdue) {
    let counter = match overdue {
        Overdue::Idle => &metrics.idle,
        Overdue::SlowHead => &metrics.slow_head,
        Overdue::NotReading => &metrics.not_reading,
    };
    counter.increment(1);
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
    let shedder = Shedder::default();
    // Every connection takes it over. A system that refuses it works without.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&listener, UNREAD_BYTES_MAX);
    let mut builder = http1::Builder::new();
    // Without `pipeline_flush`: with it hyper keeps the answers to pipelined requests without any limit.
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX);
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
            metrics.refused.increment(1);
            shedder.refuse(stream);
            continue;
        };
        // Answers are small and waited for. A socket that refuses the option works without it.
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(Activity::default());
        let service = {
            let (router, activity, malformed) = (router.clone(), Arc::clone(&activity), metrics.malformed.clone());
            hyper::service::service_fn(move |mut request: Request<hyper::body::Incoming>| {
                activity.set(Phase::Answering);
                request.extensions_mut().insert(Peer(peer));
                let answer = is_clearly_framed(request.headers()).then(|| router.clone().call(request));
                if answer.is_none() {
                    malformed.increment(1);
                }
                let activity = Arc::clone(&activity);
                async move {
                    let answer = match answer {
                        Some(answer) => answer.await,
                        None => Ok(RequestError::WrongTransferEncoding.into_response()),
                    };
                    activity.set(Phase::Idle);
                    answer
                }
            })
        };
        let io = TokioIo::new(Watched::new(stream, Arc::clone(&activity)));
        let connection = graceful.watch(builder.serve_connection(io, service));
        let (limits, metrics) = (limits.clone(), metrics.clone());
        metrics.open.increment(1.0);
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => {
                    // A peer that breaks off is no news.
                    if ended.is_err_and(|error| error.is_parse()) {
                        metrics.malformed.increment(1);
                    }
                }
                overdue = overdue(&activity, &limits) => count(&metrics, overdue),
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
