//! HTTP in raw bytes: what a test sends is what arrives.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

/// One response.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case, in the order sent.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Status, the headers that matter, and the body: for snapshots.
    pub fn shown(&self) -> String {
        let headers: Vec<String> = self
            .headers
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "date" | "content-length" | "vary"))
            .map(|(name, value)| format!("{name}: {value}\n"))
            .collect();
        format!("{}\n{}\n{}", self.status, headers.concat(), self.text())
    }
}

/// Sends bytes and reads until the server closes.
pub async fn raw(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    within("an answer", async {
        let mut stream = TcpStream::connect(address).await.expect("the collector listens");
        // A server may answer and close before all is sent.
        let _ = stream.write_all(request).await;
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response).await;
        response
    })
    .await
}

pub async fn send(address: SocketAddr, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n").into_bytes();
    for header in headers {
        request.extend_from_slice(format!("{header}\r\n").as_bytes());
    }
    if !body.is_empty() {
        request.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    parse(&raw(address, &request).await)
}

pub async fn post(address: SocketAddr, path: &str, headers: &[&str], body: &[u8]) -> Answer {
    send(address, "POST", path, headers, body).await
}

pub async fn get(address: SocketAddr, path: &str, headers: &[&str]) -> Answer {
    send(address, "GET", path, headers, &[]).await
}

fn parse(response: &[u8]) -> Answer {
    let end = response.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no HTTP response: {}", String::from_utf8_lossy(response)));
    let head = String::from_utf8_lossy(&response[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status line");
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Answer { status, headers, body: response[end + 4..].to_vec() }
}
