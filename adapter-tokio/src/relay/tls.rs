use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// The certificate with which a relay speaks TLS, and its private key, which shows itself nowhere.
///
/// A clone is the same: keep one to [renew](TlsIdentity::renew) the certificate of a relay that runs.
#[derive(Clone)]
pub struct TlsIdentity(Arc<Mutex<Arc<ServerConfig>>>);

/// What [`TlsIdentity::from_pem`] or [`TlsIdentity::renew`] refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// There is no certificate, or something that is none.
    #[error("no certificates in PEM")]
    Certificate,
    /// There is no private key, or something that is none.
    #[error("no private key in PEM")]
    Key,
    /// The two do not fit together, or are of a kind that cannot be used.
    #[error("the certificate and its key cannot be used: {0}")]
    Unusable(String),
}

impl TlsIdentity {
    /// Reads a certificate with those that vouch for it, its own first, and its private key (PKCS #8, PKCS #1 or SEC 1), all
    /// in PEM.
    ///
    /// # Errors
    ///
    /// [`TlsError`], when something is missing or cannot be used.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let config = configure(certificates, key)?;
        Ok(Self(Arc::new(Mutex::new(config))))
    }

    /// Takes another certificate and its key in the place of these, in the same form: for everybody who connects from now on
    /// to a relay that has this identity. Connections that are there stay.
    ///
    /// # Errors
    ///
    /// [`TlsError`], when something is missing or cannot be used. Nothing has changed then.
    pub fn renew(&self, certificates: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let config = configure(certificates, key)?;
        *self.lock() = config;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.lock()))
    }

    fn lock(&self) -> MutexGuard<'_, Arc<ServerConfig>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn configure(certificates: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Certificate)?;
    if certificates.is_empty() {
        return Err(TlsError::Certificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
    let unusable = |error: rustls::Error| TlsError::Unusable(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(unusable)?;
    Ok(Arc::new(config))
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity(..)")
    }
}
