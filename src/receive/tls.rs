//! TLS on the public listener: certificate and key from PEM files, read again when they change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::reload::{Reload, Stamp};

/// What the listener speaks, as ALPN names it, the better one first.
pub const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// The certificate in use, replaced whole when its files change.
#[derive(Debug)]
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwapOption<CertifiedKey>,
    stamp: Mutex<Stamp>,
}

/// The certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("TLS certificate or key: {0}")]
    File(#[from] io::Error),
    #[error("{path}: {error}")]
    Pem { path: PathBuf, error: rustls::pki_types::pem::Error },
    #[error("{path} holds no certificate")]
    Empty { path: PathBuf },
    #[error("the key in {key} does not belong to the certificate in {certificate}, or cannot be used: {error}")]
    Key { certificate: PathBuf, key: PathBuf, error: rustls::Error },
    #[error("TLS: {0}")]
    Config(rustls::Error),
}

impl Certificates {
    /// Reads both files; the certificate's may hold the chain up to a known authority.
    pub fn open(certificate: PathBuf, key: PathBuf) -> Result<Self, CertificateError> {
        let opened = Self { certificate, key, current: ArcSwapOption::empty(), stamp: Mutex::default() };
        opened.read_again()?;
        Ok(opened)
    }

    /// Reads both files if one has changed; returns whether one had.
    fn read_again(&self) -> Result<bool, CertificateError> {
        let stamp = Stamp::of([self.certificate.clone(), self.key.clone()])?;
        let mut known = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == stamp {
            return Ok(false);
        }
        self.current.store(Some(Arc::new(read(&self.certificate, &self.key)?)));
        *known = stamp;
        Ok(true)
    }

    /// Handshakes by this certificate.
    pub fn acceptor(self: Arc<Self>) -> Result<TlsAcceptor, CertificateError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Config)?
            .with_no_client_auth()
            .with_cert_resolver(self);
        config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
        // Beacons come on many short connections: those that were here before skip the costly half of the handshake,
        // and the server keeps nothing for it.
        config.ticketer = ring::Ticketer::new().map_err(CertificateError::Config)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

impl Reload for Certificates {
    fn what(&self) -> &'static str {
        "TLS certificate"
    }

    fn reload(&self) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.read_again()?)
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |error| CertificateError::Pem { path, error }
    };
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect).map_err(pem(certificate))?;
    if chain.is_empty() {
        return Err(CertificateError::Empty { path: certificate.to_owned() });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
    // Checks that the two belong together, too.
    CertifiedKey::from_der(chain, private, &ring::default_provider()).map_err(|error| CertificateError::Key {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        error,
    })
}
