use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::warn;

/// How servers are verified: by the certificates that the machine trusts, and those that the application gave.
pub(crate) struct Tls {
    given: RootCertStore,
    /// Read from the machine when it is first wanted: that takes a while, and most endpoints never need it.
    connector: OnceCell<TlsConnector>,
}

/// Bytes that are no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Untrusted;

impl Tls {
    /// Trusts these certificates (DER) besides those of the machine.
    ///
    /// # Errors
    ///
    /// [`Untrusted`] when one of them cannot be read.
    pub(crate) fn new(roots: Vec<Vec<u8>>) -> Result<Self, Untrusted> {
        let mut given = RootCertStore::empty();
        for root in roots {
            given
                .add(CertificateDer::from(root))
                .map_err(|_| Untrusted)?;
        }
        Ok(Self {
            given,
            connector: OnceCell::new(),
        })
    }

    /// Trusts those of the machine.
    pub(crate) fn of_machine() -> Self {
        Self {
            given: RootCertStore::empty(),
            connector: OnceCell::new(),
        }
    }

    /// Makes TLS on a connection, with the server of this name or address.
    ///
    /// # Errors
    ///
    /// What went wrong; [`io::ErrorKind::InvalidInput`] for a name that cannot be one.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        name: String,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name).map_err(|_| io::ErrorKind::InvalidInput)?;
        let connector = self.connector.get_or_try_init(|| self.load()).await?;
        connector.connect(name, stream).await
    }

    async fn load(&self) -> io::Result<TlsConnector> {
        Ok(TlsConnector::from(Arc::new(self.config().await?)))
    }

    /// Reads what the machine trusts, and gives all of it.
    ///
    /// # Errors
    ///
    /// What rustls says of its own defaults.
    pub(crate) async fn config(&self) -> io::Result<ClientConfig> {
        let given = self.given.clone();
        let roots = tokio::task::spawn_blocking(|| with_machine(given)).await?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }
}

/// Adds the certificates that the machine trusts. Those that cannot be read are left out.
fn with_machine(mut roots: RootCertStore) -> RootCertStore {
    let machine = rustls_native_certs::load_native_certs();
    let (_added, ignored) = roots.add_parsable_certificates(machine.certs);
    if ignored > 0 || !machine.errors.is_empty() {
        warn!(
            ignored,
            errors = machine.errors.len(),
            "some certificates of the machine could not be read"
        );
    }
    if roots.is_empty() {
        warn!("the machine trusts no certificates: TLS will fail");
    }
    roots
}
