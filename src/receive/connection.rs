//! What one connection is doing, and for how long it may.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head::HeadScan;
use super::listen::Limits;

/// How often a connection's timeouts are checked; they are that inexact.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The answers go out.
const NOT_BLOCKED: u64 = u64::MAX;
/// No head goes on after this: hyper answers `400`.
const SPOILED: &[u8] = b"\0\r\n\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Idle = 0,
    Head = 1,
    Answering = 2,
}

/// Why a connection was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// No request came.
    Idle,
    /// A request's head did not end.
    SlowHead,
    /// The peer does not read its answers.
    NotReading,
}

/// The phase of one connection and since when it lasts.
#[derive(Debug)]
pub struct Activity {
    phase: AtomicU8,
    since_ms: AtomicU64,
    /// Being answered: over HTTP/2 more than one.
    requests: AtomicU32,
    /// Since when the peer has not taken any of the answers that wait for it.
    blocked_ms: AtomicU64,
    opened: Instant,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            // A fresh connection owes a request just as one that has begun to send it.
            phase: AtomicU8::new(Phase::Head as u8),
            since_ms: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            blocked_ms: AtomicU64::new(NOT_BLOCKED),
            opened: Instant::now(),
        }
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

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    fn is_blocked(&self) -> bool {
        self.blocked_ms.load(Ordering::Relaxed) != NOT_BLOCKED
    }

    fn overdue(&self, limits: &Limits) -> Option<Overdue> {
        let now_ms = self.now_ms();
        let has_lasted =
            |since_ms: u64, limit: Duration| Duration::from_millis(now_ms.saturating_sub(since_ms)) > limit;
        let blocked_ms = self.blocked_ms.load(Ordering::Relaxed);
        if blocked_ms != NOT_BLOCKED {
            return has_lasted(blocked_ms, limits.idle_timeout).then_some(Overdue::NotReading);
        }
        let since_ms = self.since_ms.load(Ordering::Relaxed);
        if self.is(Phase::Head) {
            return has_lasted(since_ms, limits.header_timeout).then_some(Overdue::SlowHead);
        }
        // Reading the body and answering have their own timeouts.
        // Of two requests over HTTP/2 one may begin while the other ends: the phase alone could be that of the one.
        let is_idle = self.is(Phase::Idle) && self.requests.load(Ordering::Relaxed) == 0;
        (is_idle && has_lasted(since_ms, limits.idle_timeout)).then_some(Overdue::Idle)
    }
}

/// A request that is being answered.
pub struct Answering(Arc<Activity>);

impl Answering {
    pub fn begin(activity: &Arc<Activity>) -> Self {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        activity.set(Phase::Answering);
        Self(Arc::clone(activity))
    }
}

/// Also when the peer gives the request up.
impl Drop for Answering {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.set(Phase::Idle);
        }
    }
}

/// Resolves when the connection has done one thing for too long.
pub async fn overdue(activity: &Activity, limits: &Limits) -> Overdue {
    let mut tick = tokio::time::interval(CHECK_INTERVAL);
    loop {
        tick.tick().await;
        if let Some(overdue) = activity.overdue(limits) {
            return overdue;
        }
    }
}

/// A stream that tells when a new request begins to arrive, and takes no request from who does not read answers.
pub struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    /// Of HTTP/1. HTTP/2 has its own bounds for heads and for answers that nobody reads.
    head: Option<HeadScan>,
    /// Waits until answers go out again.
    reader: Option<Waker>,
}

impl<S> Watched<S> {
    pub fn http1(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity, head: Some(HeadScan::default()), reader: None }
    }

    pub fn http2(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity, head: None, reader: None }
    }

    fn written(&mut self, result: &Poll<io::Result<usize>>) {
        if result.is_pending() {
            if !self.activity.is_blocked() {
                self.activity.blocked_ms.store(self.activity.now_ms(), Ordering::Relaxed);
            }
        } else if self.activity.is_blocked() {
            self.activity.blocked_ms.store(NOT_BLOCKED, Ordering::Relaxed);
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, activity, head, reader } = &mut *self;
        let Some(head) = head else { return Pin::new(stream).poll_read(cx, buf) };
        // Hyper would go on reading requests and keep all their answers.
        if activity.is_blocked() {
            *reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let result = Pin::new(stream).poll_read(cx, buf);
        if buf.filled().len() == before {
            return result;
        }
        if activity.is(Phase::Idle) {
            activity.set(Phase::Head);
            *head = HeadScan::default();
        }
        if activity.is(Phase::Head) && !head.is_plain(&buf.filled()[before..]) {
            buf.set_filled(before);
            if buf.remaining() < SPOILED.len() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            buf.put_slice(SPOILED);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(&result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    // Not vectored: answers are small, and one copied buffer is written faster than a list of pieces.
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_request_is_read_again_as_soon_as_answers_go_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut peer = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("taken");
        let (stream, _) = listener.accept().await.expect("accepted");
        let activity = Arc::new(Activity::default());
        let (mut reader, mut writer) = tokio::io::split(Watched::http1(stream, Arc::clone(&activity)));
        let writing = tokio::spawn(async move {
            // More than every buffer on the way can hold.
            writer.write_all(&vec![b'x'; 64 * 1024 * 1024]).await.expect("written");
            writer
        });
        while !activity.is_blocked() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        peer.write_all(b"GET").await.expect("sent");
        let mut bytes = [0; 3];
        let early = tokio::time::timeout(Duration::from_millis(100), reader.read_exact(&mut bytes)).await;
        assert!(early.is_err(), "a request was read while the peer did not read");
        let reading = tokio::spawn(async move {
            reader.read_exact(&mut bytes).await.expect("read");
            bytes
        });
        tokio::task::yield_now().await;
        let mut answers = vec![0; 64 * 1024 * 1024];
        peer.read_exact(&mut answers).await.expect("read");
        drop(writing.await.expect("no panic"));
        let read = tokio::time::timeout(Duration::from_secs(30), reading).await;
        assert_eq!(&read.expect("the reader is woken").expect("no panic"), b"GET");
        assert!(!activity.is_blocked());
    }
}
