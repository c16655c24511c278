//! TLS by rustls, with libpq's meaning of `sslmode` and `sslrootcert`, which `tokio_postgres` knows only in part.

use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::DatabaseError;

/// What is demanded of the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Any,
    Authority,
    AuthorityAndName,
}

/// Takes `sslmode` and `sslrootcert` out of the URL; returns what `tokio_postgres` understands, and the connector.
pub fn configure(url: &str) -> Result<(String, MakeRustlsConnect), DatabaseError> {
    let (url, mode, root_file) = split(url);
    let (trust, plain_mode) = match mode.as_deref() {
        None | Some("prefer" | "allow") => (Trust::Any, "prefer"),
        Some("disable") => (Trust::Any, "disable"),
        // As libpq does: a root certificate makes `require` mean `verify-ca`.
        Some("require") if root_file.is_none() => (Trust::Any, "require"),
        Some("require" | "verify-ca") => (Trust::Authority, "require"),
        Some("verify-full") => (Trust::AuthorityAndName, "require"),
        Some(other) => return Err(DatabaseError::BadUrl(format!("sslmode={other} is unknown"))),
    };
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier {
        inner: match trust {
            Trust::Any => None,
            _ => Some(authority(root_file.as_deref(), &provider)?),
        },
        trust,
        provider: Arc::clone(&provider),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| DatabaseError::Tls(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok((format!("{url}sslmode={plain_mode}"), MakeRustlsConnect::new(config)))
}

/// The connection string ready for one more parameter, and the two parameters taken out.
fn split(text: &str) -> (String, Option<String>, Option<String>) {
    let (mut mode, mut root) = (None, None);
    let mut take = |name: &str, value: &str| {
        match name {
            "sslmode" => mode = Some(value.to_owned()),
            "sslrootcert" => root = Some(value.to_owned()),
            _ => return false,
        }
        true
    };
    let rest = if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        let kept: String = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .filter(|pair| {
                url::form_urlencoded::parse(pair.as_bytes()).next().is_some_and(|(name, value)| !take(&name, &value))
            })
            .map(|pair| format!("{pair}&"))
            .collect();
        format!("{base}?{kept}")
    } else {
        let kept = text.split_whitespace().filter(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            !take(name, value.trim_matches('\''))
        });
        kept.map(|pair| format!("{pair} ")).collect()
    };
    (rest, mode, root)
}

fn authority(
    root_file: Option<&str>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, DatabaseError> {
    let mut roots = RootCertStore::empty();
    match root_file {
        Some(file) if file != "system" => {
            let open = File::open(file).map_err(|error| DatabaseError::Tls(format!("{file}: {error}")))?;
            for certificate in CertificateDer::pem_reader_iter(BufReader::new(open)) {
                let certificate = certificate.map_err(|error| DatabaseError::Tls(format!("{file}: {error}")))?;
                roots.add(certificate).map_err(|error| DatabaseError::Tls(format!("{file}: {error}")))?;
            }
        }
        _ => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| DatabaseError::Tls(format!("no usable root certificate: {error}")))
}

#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else {
            return Ok(ServerCertVerified::assertion());
        };
        match inner.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.trust == Trust::Authority => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_taken_from_both_forms() {
        for (text, rest, mode, root) in [
            ("postgres://u@h/d", "postgres://u@h/d?", None, None),
            ("postgres://h/d?sslmode=verify-full&x=y", "postgres://h/d?x=y&", Some("verify-full"), None),
            ("postgresql://h/d?sslrootcert=%2Fa%20b", "postgresql://h/d?", None, Some("/a b")),
            ("host=h sslmode=require user=u", "host=h user=u ", Some("require"), None),
        ] {
            let expected = (rest.to_owned(), mode.map(str::to_owned), root.map(str::to_owned));
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn an_unknown_mode_is_told() {
        assert!(matches!(configure("postgres://h/d?sslmode=perhaps"), Err(DatabaseError::BadUrl(_))));
    }
}
