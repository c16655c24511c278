//! A replication connection: `START_REPLICATION` on a slot, and what then comes.
//!
//! ```text
//! from there   w  start i64  end i64  time i64  message ([`super::pgoutput`])
//!              k  end i64  time i64  reply i8                      nothing happened up to here
//! from here    r  written i64  flushed i64  applied i64  time i64  reply i8
//! ```
//!
//! Only what is committed here is confirmed; then the publisher may forget it.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::{ErrorResponseBody, Message};
use postgres_protocol::message::frontend;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

use super::lsn::Lsn;
use crate::database::{NETWORK_TIMEOUT, tls};

/// To connect, and for each answer before the stream begins.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// PostgreSQL's own limit for a row is 1 GB.
const MESSAGE_BYTES_MAX: usize = 1 << 30;
const READ_BYTES: usize = 64 * 1024;
/// How values are written: the same whatever the publisher's settings are.
const OPTIONS: &str = "-c datestyle=ISO -c intervalstyle=postgres -c extra_float_digits=3 -c bytea_output=hex";

/// The stream could not begin, or it broke.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("the publisher: {0}")]
    Io(#[from] io::Error),
    #[error("the publisher did not answer in time")]
    Timeout,
    #[error("the publisher refuses ({code}): {message}")]
    Refused { code: String, message: String },
    #[error("the publisher's URL: {0}")]
    Url(String),
    #[error("TLS to the publisher: {0}")]
    Tls(String),
    #[error("the publisher wants a way of logging in that weir does not know: {0}")]
    Login(&'static str),
    #[error("the publisher says what is not expected here")]
    Unexpected,
}

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// What came.
#[derive(Debug)]
pub enum Event {
    /// For [`super::pgoutput::parse`].
    Data(Bytes),
    /// All up to here was sent.
    Alive { end: Lsn, wants_reply: bool },
}

/// See the module.
pub struct Stream {
    connection: Box<dyn Connection>,
    read: BytesMut,
}

impl Stream {
    /// Connects, and reads from `start` on, or from what was confirmed last.
    pub async fn start(url: &str, slot: &str, publication: &str, start: Lsn) -> Result<Self, StreamError> {
        let mut stream = timeout(ANSWER_TIMEOUT, connect(url)).await.map_err(|_| StreamError::Timeout)??;
        // Both names are of letters, digits, and _.
        let command = format!(
            "START_REPLICATION SLOT \"{slot}\" LOGICAL {start} (proto_version '1', publication_names '\"{publication}\"')"
        );
        let mut out = BytesMut::new();
        frontend::query(&command, &mut out)?;
        stream.connection.write_all(&out).await?;
        timeout(ANSWER_TIMEOUT, stream.begun()).await.map_err(|_| StreamError::Timeout)??;
        Ok(stream)
    }

    /// The next event. Dropped while it waits, it loses nothing.
    pub async fn next(&mut self) -> Result<Event, StreamError> {
        loop {
            if let Some(event) = self.buffered()? {
                return Ok(event);
            }
            self.fill().await?;
        }
    }

    /// An event that has arrived already.
    pub fn buffered(&mut self) -> Result<Option<Event>, StreamError> {
        loop {
            let Some(message) = Message::parse(&mut self.read)? else { return Ok(None) };
            match message {
                Message::CopyData(body) => return event(body.into_bytes()).map(Some),
                Message::ErrorResponse(body) => return Err(refused(&body)),
                Message::CopyDone => {
                    let error = io::Error::new(io::ErrorKind::UnexpectedEof, "it has ended the stream");
                    return Err(error.into());
                }
                Message::NoticeResponse(_) | Message::ParameterStatus(_) => {}
                _ => return Err(StreamError::Unexpected),
            }
        }
    }

    /// Says that all before `applied` is committed here.
    pub async fn confirm(&mut self, applied: Lsn) -> Result<(), StreamError> {
        let mut status = BytesMut::with_capacity(34);
        status.put_u8(b'r');
        for _ in 0..3 {
            status.put_u64(applied.0);
        }
        // The time is for people only.
        status.put_u64(0);
        status.put_u8(0);
        let mut out = BytesMut::new();
        frontend::CopyData::new(status.freeze())?.write(&mut out);
        let send = async {
            self.connection.write_all(&out).await?;
            self.connection.flush().await
        };
        timeout(ANSWER_TIMEOUT, send).await.map_err(|_| StreamError::Timeout)??;
        Ok(())
    }

    /// Ends in order, so that the slot is free at once.
    pub async fn close(mut self) {
        let mut out = BytesMut::new();
        frontend::copy_done(&mut out);
        frontend::terminate(&mut out);
        // It is over, whatever becomes of this.
        let _ = timeout(ANSWER_TIMEOUT, async {
            self.connection.write_all(&out).await?;
            self.connection.shutdown().await
        })
        .await;
    }

    async fn fill(&mut self) -> Result<(), StreamError> {
        if self.read.len() > MESSAGE_BYTES_MAX {
            return Err(StreamError::Unexpected);
        }
        self.read.reserve(READ_BYTES);
        if self.connection.read_buf(&mut self.read).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has closed the connection").into());
        }
        Ok(())
    }

    async fn message(&mut self) -> Result<Message, StreamError> {
        loop {
            match Message::parse(&mut self.read)? {
                Some(Message::ErrorResponse(body)) => return Err(refused(&body)),
                Some(Message::NoticeResponse(_) | Message::ParameterStatus(_) | Message::BackendKeyData(_)) => {}
                Some(message) => return Ok(message),
                None => self.fill().await?,
            }
        }
    }

    /// Waits for `CopyBothResponse`, which is not in the library: `W len i32 format i8 columns i16 ...`.
    async fn begun(&mut self) -> Result<(), StreamError> {
        loop {
            while self.read.len() < 5 {
                self.fill().await?;
            }
            if self.read[0] != b'W' {
                if !self.message_or_more()? {
                    self.fill().await?;
                }
                continue;
            }
            let length = u32::from_be_bytes([self.read[1], self.read[2], self.read[3], self.read[4]]) as usize;
            if length > READ_BYTES {
                return Err(StreamError::Unexpected);
            }
            while self.read.len() < length + 1 {
                self.fill().await?;
            }
            self.read.advance(length + 1);
            return Ok(());
        }
    }

    /// Steps over one message before the stream begins; `false`: it is not all here yet.
    fn message_or_more(&mut self) -> Result<bool, StreamError> {
        match Message::parse(&mut self.read)? {
            None => Ok(false),
            Some(Message::ErrorResponse(body)) => Err(refused(&body)),
            Some(Message::NoticeResponse(_) | Message::ParameterStatus(_)) => Ok(true),
            Some(_) => Err(StreamError::Unexpected),
        }
    }

    async fn log_in(&mut self, config: &tokio_postgres::Config) -> Result<(), StreamError> {
        let user = config.get_user().unwrap_or("postgres");
        let dbname = config.get_dbname().unwrap_or(user);
        let password = || config.get_password().ok_or(StreamError::Login("a password, and the URL has none"));
        let mut out = BytesMut::new();
        let parameters = [
            ("user", user),
            ("database", dbname),
            ("replication", "database"),
            ("client_encoding", "UTF8"),
            ("application_name", "weir"),
            ("options", OPTIONS),
        ];
        frontend::startup_message(parameters, &mut out)?;
        self.send(&mut out).await?;
        loop {
            match self.message().await? {
                Message::AuthenticationOk => {}
                Message::ReadyForQuery(_) => return Ok(()),
                Message::AuthenticationCleartextPassword => frontend::password_message(password()?, &mut out)?,
                Message::AuthenticationMd5Password(body) => {
                    let hash = md5_hash(user.as_bytes(), password()?, body.salt());
                    frontend::password_message(hash.as_bytes(), &mut out)?;
                }
                Message::AuthenticationSasl(body) => {
                    let knows = body.mechanisms().any(|name| Ok(name == sasl::SCRAM_SHA_256))?;
                    if !knows {
                        return Err(StreamError::Login("not SCRAM-SHA-256"));
                    }
                    self.scram(password()?).await?;
                }
                _ => return Err(StreamError::Login("neither a password nor SCRAM")),
            }
            if !out.is_empty() {
                self.send(&mut out).await?;
            }
        }
    }

    async fn scram(&mut self, password: &[u8]) -> Result<(), StreamError> {
        let mut scram = sasl::ScramSha256::new(password, sasl::ChannelBinding::unsupported());
        let mut out = BytesMut::new();
        frontend::sasl_initial_response(sasl::SCRAM_SHA_256, scram.message(), &mut out)?;
        self.send(&mut out).await?;
        let Message::AuthenticationSaslContinue(body) = self.message().await? else {
            return Err(StreamError::Unexpected);
        };
        scram.update(body.data())?;
        frontend::sasl_response(scram.message(), &mut out)?;
        self.send(&mut out).await?;
        let Message::AuthenticationSaslFinal(body) = self.message().await? else {
            return Err(StreamError::Unexpected);
        };
        Ok(scram.finish(body.data())?)
    }

    async fn send(&mut self, out: &mut BytesMut) -> Result<(), StreamError> {
        self.connection.write_all(out).await?;
        self.connection.flush().await?;
        out.clear();
        Ok(())
    }
}

async fn connect(url: &str) -> Result<Stream, StreamError> {
    let (url, tls) = tls::configure(url).map_err(|error| StreamError::Url(error.to_string()))?;
    // Its text may quote the URL, and so a password.
    let config: tokio_postgres::Config = url.parse().map_err(|_| StreamError::Url("it cannot be read".to_owned()))?;
    let mut last = StreamError::Url("it has no host".to_owned());
    for (index, host) in config.get_hosts().iter().enumerate() {
        let ports = config.get_ports();
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        match connect_to(host, port, config.get_ssl_mode(), tls.clone()).await {
            Ok(connection) => {
                let mut stream = Stream { connection, read: BytesMut::new() };
                match stream.log_in(&config).await {
                    Ok(()) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_to(
    host: &Host,
    port: u16,
    mode: SslMode,
    mut tls: tokio_postgres_rustls::MakeRustlsConnect,
) -> Result<Box<dyn Connection>, StreamError> {
    let host = match host {
        Host::Tcp(host) => host,
        #[cfg(unix)]
        Host::Unix(dir) => {
            let path = dir.join(format!(".s.PGSQL.{port}"));
            return Ok(Box::new(tokio::net::UnixStream::connect(path).await?));
        }
    };
    let mut tcp = TcpStream::connect((host.as_str(), port)).await?;
    tcp.set_nodelay(true)?;
    watch(&tcp)?;
    if mode == SslMode::Disable {
        return Ok(Box::new(tcp));
    }
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    tcp.write_all(&out).await?;
    if tcp.read_u8().await? == b'S' {
        let connector =
            <tokio_postgres_rustls::MakeRustlsConnect as MakeTlsConnect<TcpStream>>::make_tls_connect(&mut tls, host);
        let connector = connector.map_err(|error| StreamError::Tls(error.to_string()))?;
        let stream = connector.connect(tcp).await.map_err(|error| StreamError::Tls(error.to_string()))?;
        return Ok(Box::new(stream));
    }
    if mode == SslMode::Require {
        return Err(StreamError::Tls("it has none, and sslmode asks for it".to_owned()));
    }
    Ok(Box::new(tcp))
}

/// A host that vanished without a word must not be listened to for ever.
fn watch(tcp: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, NETWORK_TIMEOUT / 2)?;
    sockopt::set_tcp_keepintvl(tcp, NETWORK_TIMEOUT / 6)?;
    sockopt::set_tcp_user_timeout(tcp, NETWORK_TIMEOUT.as_millis() as u32)?;
    Ok(())
}

fn event(mut data: Bytes) -> Result<Event, StreamError> {
    match data.try_get_u8() {
        Ok(b'w') if data.remaining() >= 24 => {
            data.advance(24);
            Ok(Event::Data(data))
        }
        Ok(b'k') if data.remaining() >= 17 => {
            let end = Lsn(data.get_u64());
            data.advance(8);
            Ok(Event::Alive { end, wants_reply: data.get_u8() == 1 })
        }
        _ => Err(StreamError::Unexpected),
    }
}

fn refused(body: &ErrorResponseBody) -> StreamError {
    let (mut code, mut message) = (String::new(), String::new());
    let mut fields = body.fields();
    while let Ok(Some(field)) = fields.next() {
        let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => code = text,
            b'M' => message = text,
            _ => {}
        }
    }
    StreamError::Refused { code, message }
}
