//! TLS of the server, by rustls: a certificate chain and its key as PEM files.

use std::path::Path;
use std::sync::Arc;

use flywheel_base::{Error, Result};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What makes connections secret.
#[derive(Clone)]
pub struct Tls(pub(crate) TlsAcceptor);

impl Tls {
    /// Reads a certificate, with those that vouch for it, and its private key.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](flywheel_base::ErrorKind::Invalid) if a file cannot be read, holds no PEM of its
    /// kind, or if key and certificate do not belong together.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|error| unread(certificate, "a certificate", error))?;
        if chain.is_empty() {
            return Err(unread(certificate, "a certificate", PemError::NoItemsFound));
        }
        let secret = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| unread(key, "a private key", error))?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal("TLS cannot be set up").caused_by(error))?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(|error| {
                Error::invalid(format!(
                    "the key {} does not belong to the certificate {}",
                    key.display(),
                    certificate.display()
                ))
                .caused_by(error)
            })?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

fn unread(file: &Path, what: &str, error: PemError) -> Error {
    match error {
        PemError::Io(error) => Error::io("read", file, error),
        error => Error::invalid(format!("{} holds {what} in no form we know", file.display()))
            .hint("A PEM file begins with -----BEGIN …-----; convert other forms first.")
            .caused_by(error),
    }
}
