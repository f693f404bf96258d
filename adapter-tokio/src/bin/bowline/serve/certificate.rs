use std::convert::Infallible;
use std::error::Error;
use std::path::PathBuf;

use bowline_tokio::relay::TlsIdentity;

use super::read;

/// The certificate of a server and its key, in two files that are read again when the server is told to (SIGHUP).
pub(super) struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    identity: TlsIdentity,
    told: Told,
}

impl Certificate {
    pub(super) fn read(chain: PathBuf, key: PathBuf) -> Result<Self, Box<dyn Error>> {
        let told = Told::new()?;
        let identity = TlsIdentity::from_pem(&read(&chain)?, &read(&key)?)?;
        Ok(Self {
            chain,
            key,
            identity,
            told,
        })
    }

    pub(super) fn identity(&self) -> TlsIdentity {
        self.identity.clone()
    }

    /// Reads the files again whenever that is wanted, and says what came of it.
    pub(super) async fn renew(&mut self) -> Infallible {
        loop {
            self.told.again().await;
            match self.read_again() {
                Ok(()) => println!("the certificate has been read again"),
                Err(error) => eprintln!("bowline: the certificate stays as it was: {error}"),
            }
        }
    }

    fn read_again(&self) -> Result<(), Box<dyn Error>> {
        let (chain, key) = (read(&self.chain)?, read(&self.key)?);
        Ok(self.identity.renew(&chain, &key)?)
    }
}

/// By SIGHUP, which does not end the server then.
#[cfg(unix)]
struct Told(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Told {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        signal(SignalKind::hangup()).map(Self)
    }

    async fn again(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// By nothing, where there are no such signals.
#[cfg(not(unix))]
struct Told;

#[cfg(not(unix))]
impl Told {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn again(&mut self) {
        std::future::pending().await
    }
}
