//! TLS and HTTP/2 on the public listener.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame};
use hyper::client::conn::{http1, http2};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weir::Config;

use crate::support::{TestCollector, TestDatabase, collector, eventually, http, within};

const NAME: &str = "events.example";

/// An authority that signs the collector's certificates, and what a client needs to believe it.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("valid");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("signed");
        let authority = Self { issuer, directory: tempfile::tempdir().expect("a directory") };
        authority.issue(NAME);
        authority
    }

    /// Writes a new certificate for `name`, with its key.
    fn issue(&self, name: &str) {
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(vec![name.to_owned()]).expect("valid");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signed");
        std::fs::write(self.file("tls.key"), key.serialize_pem()).expect("written");
        std::fs::write(self.file("tls.crt"), certificate.pem()).expect("written");
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    async fn collector(&self, change: impl FnOnce(&mut Config)) -> (TestDatabase, TestCollector, tempfile::TempDir) {
        collector(|config| {
            config.receive.tls_certificate = Some(self.file("tls.crt"));
            config.receive.tls_key = Some(self.file("tls.key"));
            change(config);
        })
        .await
    }

    async fn connect(&self, address: SocketAddr, name: &str, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("known versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let stream = TcpStream::connect(address).await?;
        within("a handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    }

    async fn http2<B>(&self, address: SocketAddr) -> http2::SendRequest<B>
    where
        B: Body<Data = Bytes, Error = std::io::Error> + Send + Unpin + 'static,
    {
        let stream = self.connect(address, NAME, &["h2"]).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        sender
    }
}

type Whole = http_body_util::combinators::BoxBody<Bytes, std::io::Error>;

fn whole(body: &str) -> Whole {
    Full::new(Bytes::copy_from_slice(body.as_bytes())).map_err(|never| match never {}).boxed()
}

fn post<B>(collector: &TestCollector, body: B) -> Request<B> {
    Request::post(format!("https://{NAME}/v1/events"))
        .header("authorization", format!("Bearer {}", collector.keys.secret_key))
        .header("content-type", "application/json")
        .body(body)
        .expect("a request")
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_over_both_versions_of_http() {
    let authority = Authority::new();
    let (database, collector, _journal) = authority.collector(|_| {}).await;

    for alpn in [&["http/1.1"][..], &[]] {
        let stream = authority.connect(collector.address, NAME, alpn).await.expect("a handshake");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1");
        tokio::spawn(connection);
        for _ in 0..2 {
            // The client's own task has yet to see the end of the answer before.
            sender.ready().await.expect("a connection kept open");
            let answer = within("an answer", sender.send_request(post(&collector, whole(r#"{"name":"one"}"#)))).await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK);
            answer.into_body().collect().await.expect("a body");
        }
    }

    let sender = authority.http2::<Whole>(collector.address).await;
    let requests = (0..250).map(|number| {
        let mut sender = sender.clone();
        let request = post(&collector, whole(&format!(r#"{{"name":"two","id":"{number}"}}"#)));
        async move { sender.send_request(request).await.expect("an answer").status() }
    });
    // More than may run at once: the others wait for their turn.
    let answers = within("answers", futures_util::future::join_all(requests)).await;
    assert!(answers.iter().all(|status| *status == StatusCode::OK), "{answers:?}");
    database.until_accounted(254, 254, 0, 0).await;

    let mut sender = sender;
    let unknown = Request::get(format!("https://{NAME}/nowhere")).body(whole("")).expect("a request");
    let answer = sender.send_request(unknown).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    assert!(body.starts_with(b"{\"error\""), "{body:?}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let (_database, collector, _journal) = authority.collector(|_| {}).await;
    let believes = async |name| authority.connect(collector.address, name, &["h2"]).await.is_ok();
    assert!(believes(NAME).await && !believes("new.example").await);

    // Half of a renewal: the key does not fit.
    std::fs::write(authority.file("tls.key"), KeyPair::generate().expect("a key").serialize_pem()).expect("written");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(believes(NAME).await, "the one in memory stays");
    authority.issue("new.example");
    eventually("the new certificate is in use", async || believes("new.example").await).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_no_tls_is_cut_and_counted() {
    let authority = Authority::new();
    let (_database, collector, _journal) = authority.collector(|config| config.receive.header_timeout_s = 1).await;
    let plain = http::raw(collector.address, b"GET /w.js HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(!plain.starts_with(b"HTTP"), "{plain:?}");
    // Says nothing.
    let started = Instant::now();
    assert_eq!(http::raw(collector.address, b"").await, b"");
    assert!(started.elapsed() > Duration::from_millis(900), "cut after {:?}", started.elapsed());
    let metrics = http::get(collector.admin, "/metrics", &[]).await.text();
    assert!(metrics.contains(r#"weir_connections_cut_total{reason="no_tls"} 2"#), "{metrics}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_a_body_has_its_time_and_a_connection_without_requests_ends() {
    let authority = Authority::new();
    let change = |config: &mut Config| {
        config.receive.body_timeout_s = 1;
        config.receive.idle_timeout_s = 3;
    };
    let (_database, collector, _journal) = authority.collector(change).await;
    let mut sender = authority.http2(collector.address).await;
    let (mut half, body) = pieces();
    let waiting = sender.send_request(post(&collector, StreamBody::new(body)));
    half.send("{").await;
    let answer = within("an answer", waiting).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);

    // Given up by the client: it keeps the connection from nothing.
    let (_half, body) = pieces();
    drop(
        tokio::time::timeout(Duration::from_millis(200), sender.send_request(post(&collector, StreamBody::new(body))))
            .await,
    );
    let started = Instant::now();
    eventually("an idle connection is cut", async || sender.is_closed()).await;
    assert!(started.elapsed() > Duration::from_millis(900), "cut after {:?}", started.elapsed());
    let metrics = http::get(collector.admin, "/metrics", &[]).await.text();
    assert!(metrics.contains(r#"weir_connections_cut_total{reason="idle"} 1"#), "{metrics}");
    collector.stop().await;
}

/// A body that its sender writes piece by piece.
struct Half(tokio::sync::mpsc::Sender<std::io::Result<Frame<Bytes>>>);

impl Half {
    async fn send(&mut self, piece: &'static str) {
        self.0.send(Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).await.expect("read");
    }
}

type Pieces = std::pin::Pin<Box<dyn futures_util::Stream<Item = std::io::Result<Frame<Bytes>>> + Send + Sync>>;

fn pieces() -> (Half, Pieces) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    (Half(sender), Box::pin(pieces))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_http2_in_flight_are_answered_before_the_end() {
    let authority = Authority::new();
    let (database, collector, _journal) = authority.collector(|_| {}).await;
    let mut sender = authority.http2(collector.address).await;
    let (mut half, body) = pieces();
    let answer = tokio::spawn(sender.send_request(post(&collector, StreamBody::new(body))));
    half.send(r#"{"name":"#).await;
    // The head has arrived once an event sent after it is stored.
    let mut other = authority.http2::<Whole>(collector.address).await;
    let first = other.send_request(post(&collector, whole(r#"{"name":"first"}"#))).await.expect("an answer");
    assert_eq!(first.status(), StatusCode::OK);
    let address = collector.address;
    let stopping = tokio::spawn(collector.stop());
    eventually("it takes no more connections", async || TcpStream::connect(address).await.is_err()).await;
    half.send(r#""last"}"#).await;
    drop(half);
    let answer = within("an answer", answer).await.expect("no panic").expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    within("an end", stopping).await.expect("no panic");
    database.until_stored(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_told_at_the_start() {
    let authority = Authority::new();
    let (_database, collector, _journal) = authority.collector(|_| {}).await;
    let (config, keys) = collector.stop().await;
    let refused = async |change: &dyn Fn(&mut Config)| {
        let mut config = config.clone();
        change(&mut config);
        TestCollector::start_with(config, keys.clone()).await.err().expect("refused").to_string()
    };
    let missing = |config: &mut Config| config.receive.tls_key = Some(Path::new("nowhere.key").to_owned());
    assert!(refused(&missing).await.contains("nowhere.key"));
    let half = |config: &mut Config| config.receive.tls_key = None;
    assert!(refused(&half).await.contains("one of them is missing"));
    std::fs::write(authority.file("other.key"), KeyPair::generate().expect("a key").serialize_pem()).expect("written");
    let other = |config: &mut Config| config.receive.tls_key = Some(authority.file("other.key"));
    assert!(refused(&other).await.contains("does not belong"));
    let swapped = |config: &mut Config| config.receive.tls_certificate = Some(authority.file("tls.key"));
    assert!(refused(&swapped).await.contains("no certificate"));
}
