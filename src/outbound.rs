//! HTTP to other servers, with the same TLS for all: rustls on ring, and the system's certificates.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// A server that does not answer is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no client.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A client, to be built, whose requests may take so long.
pub fn client(request_timeout: Duration) -> Result<reqwest::ClientBuilder, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(request_timeout)
        // A signed request, or a password, means one address.
        .redirect(Policy::none()))
}
