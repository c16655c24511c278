//! Connections over the limit: told why, without costing much, and closed.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Refusals at the same time; who comes on top of these is closed without a word.
const REFUSALS_MAX: usize = 256;
/// A refusal is written at once. This is for the peer to take it.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes of the request that are taken off the peer's hands meanwhile.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

const BODY: &str = r#"{"error":"too_many_connections","reason":"the collector has no room for another connection: send again shortly"}"#;

/// Refuses connections.
pub struct Shedder {
    answer: Arc<str>,
    refusals: Arc<Semaphore>,
}

impl Default for Shedder {
    fn default() -> Self {
        let answer = format!(
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
             access-control-allow-origin: *\r\naccess-control-expose-headers: retry-after\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{BODY}",
            BODY.len()
        );
        Self { answer: answer.into(), refusals: Arc::new(Semaphore::new(REFUSALS_MAX)) }
    }
}

impl Shedder {
    /// Answers `503` and closes, in the background.
    pub fn refuse(&self, stream: TcpStream) {
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        let answer = Arc::clone(&self.answer);
        tokio::spawn(async move {
            // A peer that is gone or slow needs no answer.
            let _ = tokio::time::timeout(LINGER, tell(stream, &answer)).await;
            drop(permit);
        });
    }
}

async fn tell(mut stream: TcpStream, answer: &str) -> std::io::Result<()> {
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with bytes unread would reset the connection, and the peer might lose the answer.
    tokio::io::copy(&mut stream.take(REQUEST_BYTES_MAX), &mut tokio::io::sink()).await?;
    Ok(())
}
