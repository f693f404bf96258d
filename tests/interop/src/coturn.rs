//! coturn, a TURN server that other people wrote, run for a test.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use bowline::IceServer;
use pem_rfc7468::LineEnding;
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep, timeout};

use crate::foreign::IceServerOptions;
use crate::process::Group;

/// How coturn is to run.
#[derive(Debug, Clone)]
pub struct Setup {
    addresses: Vec<IpAddr>,
    login: Login,
    arguments: Vec<String>,
}

/// Whom it lets in.
#[derive(Debug, Clone)]
enum Login {
    /// The user [`USER`] with [`PASSWORD`].
    User,
    /// Whoever has a password made with [`SECRET`].
    Secret,
}

impl Setup {
    /// Listening at the first address, relaying from it, and answering STUN at the second, if there is one, too (RFC 5780).
    #[must_use]
    pub fn at(addresses: &[IpAddr]) -> Self {
        Self {
            addresses: addresses.to_vec(),
            login: Login::User,
            arguments: Vec::new(),
        }
    }

    /// With credentials of a REST service, in place of the user.
    #[must_use]
    pub fn with_secret(mut self) -> Self {
        self.login = Login::Secret;
        self
    }

    /// With further arguments.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        self.arguments.extend(arguments);
        self
    }

    /// Starts it, where the calling thread is, and waits until it answers.
    ///
    /// # Errors
    ///
    /// What the operating system says, or that it did not answer within some seconds.
    pub async fn start(self) -> io::Result<Coturn> {
        let folder = tempfile::Builder::new()
            .prefix("bowline-coturn-")
            .tempdir()?;
        let certificate = certify(&self.addresses, &folder)?;
        let mut coturn = Coturn {
            setup: self,
            certificate,
            program: None,
            folder,
        };
        coturn.begin().await?;
        Ok(coturn)
    }
}

/// A running coturn. Dropping it kills it.
#[derive(Debug)]
pub struct Coturn {
    setup: Setup,
    certificate: Vec<u8>,
    // Dropped before the folder that it writes to.
    program: Option<Group>,
    folder: TempDir,
}

impl Coturn {
    /// Its URI for this scheme and transport, with the credentials of [`Setup::at`].
    ///
    /// # Panics
    ///
    /// When it is none.
    #[must_use]
    pub fn uri(&self, transport: Transport) -> IceServer {
        self.anonymous(transport)
            .credentials(USER, PASSWORD)
            .expect("valid")
    }

    /// The same without credentials.
    ///
    /// # Panics
    ///
    /// Never: the URI is one.
    #[must_use]
    pub fn anonymous(&self, transport: Transport) -> IceServer {
        self.text(transport).parse().expect("a URI")
    }

    /// The URI as text, which browsers take too.
    #[must_use]
    pub fn text(&self, transport: Transport) -> String {
        let ip = self.setup.addresses[0];
        match transport {
            Transport::Udp => format!("turn:{ip}:{PORT}?transport=udp"),
            Transport::Tcp => format!("turn:{ip}:{PORT}?transport=tcp"),
            Transport::Tls => format!("turns:{ip}:{TLS_PORT}?transport=tcp"),
        }
    }

    /// The same for a browser.
    #[must_use]
    pub fn options(&self, transport: Transport) -> IceServerOptions {
        IceServerOptions {
            urls: self.text(transport),
            username: USER.to_owned(),
            credential: PASSWORD.to_owned(),
        }
    }

    /// The certificate (DER) that it shows to TLS clients, signed by itself.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Waits until its log has this text.
    ///
    /// # Errors
    ///
    /// That it has not within some seconds.
    pub async fn says(&self, text: &str) -> io::Result<()> {
        let log = self.folder.path().join(LOG);
        let said = async {
            while !std::fs::read_to_string(&log).is_ok_and(|log| log.contains(text)) {
                sleep(POLL).await;
            }
        };
        let in_time = timeout(PATIENCE, said).await;
        in_time.map_err(|_| io::ErrorKind::TimedOut.into())
    }

    /// Kills it, so that every allocation is forgotten.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Starts it after [`Coturn::kill`], and waits until it answers.
    ///
    /// # Errors
    ///
    /// As [`Setup::start`].
    pub async fn begin(&mut self) -> io::Result<()> {
        self.program = Some(Group::spawn(&mut self.command())?);
        let ready = timeout(PATIENCE, self.is_ready());
        ready.await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    fn command(&self) -> Command {
        let mut command = Command::new("turnserver");
        let file = |name: &str| self.folder.path().join(name);
        command
            .args(["-n", "--no-cli", "--fingerprint", "--realm=bowline.test"])
            .args(["--no-stdout-log", "--simple-log", "--verbose"])
            .args(["--allow-loopback-peers", "--relay-threads=1"])
            .arg(format!("--listening-port={PORT}"))
            .arg(format!("--tls-listening-port={TLS_PORT}"))
            .arg(format!("--relay-ip={}", self.setup.addresses[0]));
        for (option, name) in [
            ("--pidfile", "pid"),
            ("--log-file", LOG),
            ("--userdb", "users"),
            ("--cert", CERTIFICATE),
            ("--pkey", KEY),
        ] {
            command.arg(option).arg(file(name));
        }
        for ip in &self.setup.addresses {
            command.arg(format!("--listening-ip={ip}"));
        }
        match self.setup.login {
            Login::User => command
                .arg("--lt-cred-mech")
                .arg(format!("--user={USER}:{PASSWORD}")),
            Login::Secret => command
                .arg("--use-auth-secret")
                .arg(format!("--static-auth-secret={SECRET}")),
        };
        command
            .args(&self.setup.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Waits until it answers at every address, and takes connections.
    async fn is_ready(&self) -> io::Result<()> {
        for ip in &self.setup.addresses {
            let server = SocketAddr::new(*ip, PORT);
            let socket = UdpSocket::bind(SocketAddr::new(*ip, 0)).await?;
            while !is_answered(&socket, server).await {}
        }
        for port in [PORT, TLS_PORT] {
            let server = (self.setup.addresses[0], port);
            while TcpStream::connect(server).await.is_err() {
                sleep(POLL).await;
            }
        }
        Ok(())
    }
}

/// How a client speaks to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];
}

async fn is_answered(socket: &UdpSocket, server: SocketAddr) -> bool {
    let until = Instant::now() + POLL;
    // As long as nobody listens, sending or receiving may say so.
    let _ = socket.send_to(&BINDING_REQUEST, server).await;
    let mut answer = [0; 512];
    let answered = matches!(
        timeout(POLL, socket.recv_from(&mut answer)).await,
        Ok(Ok(_))
    );
    if !answered {
        tokio::time::sleep_until(until).await;
    }
    answered
}

/// Writes a certificate for these addresses and its key, and gives the certificate.
fn certify(addresses: &[IpAddr], folder: &TempDir) -> io::Result<Vec<u8>> {
    let names: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
    let params = CertificateParams::new(names).map_err(io::Error::other)?;
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    let write = |name, label, der: &[u8]| {
        let text = pem_rfc7468::encode_string(label, LineEnding::LF, der);
        std::fs::write(folder.path().join(name), text.map_err(io::Error::other)?)
    };
    write(CERTIFICATE, "CERTIFICATE", certificate.der())?;
    write(KEY, "PRIVATE KEY", &key.serialize_der())?;
    Ok(certificate.der().to_vec())
}

/// The user that it knows.
pub const USER: &str = "alice";
/// The password of [`USER`].
pub const PASSWORD: &str = "correct horse";
/// What REST credentials are made with.
pub const SECRET: &str = "battery staple";
/// The port for UDP and TCP.
pub const PORT: u16 = 3_478;
/// The port for TLS.
pub const TLS_PORT: u16 = 5_349;

const LOG: &str = "log";
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two questions whether it is ready.
const POLL: Duration = Duration::from_millis(20);
/// RFC 8489 section 5, with an id that nobody else uses and no attribute.
const BINDING_REQUEST: [u8; 20] = *b"\x00\x01\x00\x00\x21\x12\xa4\x42bowline-test";
