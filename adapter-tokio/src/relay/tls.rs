use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// The certificate with which a relay speaks TLS, and its private key, which shows itself nowhere.
#[derive(Clone)]
pub struct TlsIdentity(Arc<ServerConfig>);

/// What [`TlsIdentity::from_pem`] refused.
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
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0))
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity(..)")
    }
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        let text = Base64::encode_string(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    #[test]
    fn a_certificate_and_its_key_are_read_and_anything_else_refused() {
        let make = || generate_simple_self_signed(vec!["relay.example".to_owned()]).expect("valid");
        let CertifiedKey { cert, signing_key } = make();
        let cert = pem("CERTIFICATE", cert.der());
        let key = pem("PRIVATE KEY", &signing_key.serialize_der());
        let read = |cert: &str, key: &str| {
            let read = TlsIdentity::from_pem(cert.as_bytes(), key.as_bytes());
            read.map(|identity| format!("{identity:?}"))
        };
        assert_eq!(read(&cert, &key).as_deref(), Ok("TlsIdentity(..)"));
        assert_eq!(read(&key, &key), Err(TlsError::Certificate));
        assert_eq!(read("", &key), Err(TlsError::Certificate));
        assert_eq!(read(&cert, &cert), Err(TlsError::Key));
        let other = pem("PRIVATE KEY", &make().signing_key.serialize_der());
        assert!(matches!(read(&cert, &other), Err(TlsError::Unusable(_))));
    }
}
