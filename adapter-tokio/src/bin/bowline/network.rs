//! How the commands that speak with other people reach them.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bowline::{Config, IceServer, Identity, TransportPolicy};
use bowline_tokio::signalling::{LinkStatus, Presence, Relays};
use bowline_tokio::{Endpoint, IncomingPolicy};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use crate::text;

/// Where the relay is, and which addresses to use.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Network {
    /// The relay at which both sides meet: ws://HOST or wss://HOST, with ?token=TOKEN where it wants one. May be repeated for
    /// relays that share their rooms. When it is on this machine, so may be the other side: loopback addresses are used as
    /// well.
    #[arg(long, value_name = "URL", default_value = RELAY)]
    relay: Vec<RelayUrl>,
    /// Trusts the relays that this certificate stands for or has signed, a file in PEM, besides those that the machine trusts.
    #[arg(long, value_name = "FILE")]
    relay_ca: Option<PathBuf>,
    /// Uses this address only, in place of a free port on every interface. May be repeated.
    #[arg(long, value_name = "ADDRESS")]
    bind: Vec<SocketAddr>,
    /// Uses this STUN or TURN server in place of those that the relay offers: stun:HOST, turn:HOST?transport=tcp,
    /// turns:HOST. May be repeated.
    #[arg(long, value_name = "URI")]
    ice_server: Vec<IceServer>,
    /// The user name for the TURN servers of --ice-server.
    #[arg(long, value_name = "NAME", requires = "ice_server")]
    ice_user: Option<String>,
    /// Their password. Better in the environment than on the command line, where others on this machine can read it.
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "BOWLINE_ICE_PASSWORD",
        hide_env_values = true
    )]
    ice_password: Option<Password>,
    /// Which ways to others may be used: all, relay (through TURN servers only), or public (no private addresses are told).
    #[arg(long, value_enum, default_value_t = Policy::All)]
    policy: Policy,
}

/// Where a relay is, with a token in its query perhaps, which shows itself nowhere.
#[derive(Clone)]
struct RelayUrl(String);

impl RelayUrl {
    fn without_query(&self) -> &str {
        self.0.split('?').next().unwrap_or_default()
    }
}

impl AsRef<str> for RelayUrl {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for RelayUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayUrl({:?})", self.without_query())
    }
}

/// A password, which shows itself nowhere.
#[derive(Clone)]
struct Password(String);

impl FromStr for Password {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Which ways to others may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Policy {
    All,
    Relay,
    Public,
}

impl From<Policy> for TransportPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::All => Self::All,
            Policy::Relay => Self::Relay,
            Policy::Public => Self::Public,
        }
    }
}

/// An endpoint in a room.
pub(crate) struct Place {
    pub(crate) endpoint: Endpoint,
    pub(crate) presence: Presence,
    pub(crate) link: watch::Receiver<LinkStatus>,
}

impl Network {
    /// Enters a room as somebody.
    pub(crate) fn enter(&self, room: &str, identity: Identity) -> Result<Place, Box<dyn Error>> {
        let mut config = Config::builder()
            .loopback(self.relay.iter().any(|relay| is_on_this_machine(&relay.0)))
            .policy(self.policy.into());
        for server in self.servers()? {
            config = config.ice_server(server);
        }
        let (signalling, presence) = self.relays()?.room(room, identity.id())?;
        let link = signalling.status();
        let mut builder = Endpoint::builder(identity)
            .config(config.build()?)
            .signalling(signalling)
            .incoming(IncomingPolicy::Ask);
        for address in &self.bind {
            builder = builder.bind_address(*address);
        }
        let endpoint = builder.bind()?;
        if self.ice_server.is_empty() {
            tokio::spawn(follow(endpoint.clone(), presence.ice_servers()));
        }
        Ok(Place {
            endpoint,
            presence,
            link,
        })
    }

    fn relays(&self) -> Result<Relays, Box<dyn Error>> {
        let mut relays = Relays::new(&self.relay)?;
        if let Some(file) = &self.relay_ca {
            for certificate in CertificateDer::pem_file_iter(file)? {
                relays = relays.root_certificate(certificate?.to_vec())?;
            }
        }
        Ok(relays)
    }

    /// The servers of the command line, with their credentials.
    fn servers(&self) -> Result<Vec<IceServer>, Box<dyn Error>> {
        let with_login = |server: &IceServer| {
            if !server.is_relay() {
                return Ok(server.clone());
            }
            let login = self.ice_user.as_ref().zip(self.ice_password.as_ref());
            let (user, password) = login.ok_or_else(|| {
                format!("{server} needs --ice-user, and --ice-password or BOWLINE_ICE_PASSWORD")
            })?;
            Ok(server.clone().credentials(user, &password.0)?)
        };
        self.ice_server.iter().map(with_login).collect()
    }

    /// The servers to try: those of the command line, or what the relay offers within `patience`.
    pub(crate) async fn candidates(
        &self,
        presence: &Presence,
        patience: Duration,
    ) -> Result<Vec<IceServer>, Box<dyn Error>> {
        if !self.ice_server.is_empty() {
            return self.servers();
        }
        let mut offered = presence.ice_servers();
        let told = timeout(patience, offered.wait_for(|servers| !servers.is_empty())).await;
        Ok(match told {
            Ok(Ok(servers)) => servers.clone(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        })
    }

    /// The relays, without their tokens.
    pub(crate) fn relay(&self) -> String {
        let shown: Vec<_> = self.relay.iter().map(RelayUrl::without_query).collect();
        text::printable(&shown.join(" "))
    }

    /// What the other side has to add to its command, with a space before it. It has a token of its own.
    pub(crate) fn option(&self) -> String {
        let relays = self.relay.iter().filter(|relay| relay.0 != RELAY);
        let shown = relays.map(|relay| text::printable(relay.without_query()));
        shown.map(|relay| format!(" --relay {relay}")).collect()
    }
}

/// Uses the ICE servers that the relay offers, until the endpoint ends.
async fn follow(endpoint: Endpoint, mut offered: watch::Receiver<Vec<IceServer>>) {
    let mut events = endpoint.events();
    loop {
        tokio::select! {
            changed = offered.changed() => match changed {
                Ok(()) => {
                    let servers = offered.borrow_and_update().clone();
                    if let Err(error) = endpoint.set_ice_servers(servers) {
                        warn!(%error, "the ICE servers of the relay cannot be used");
                    }
                }
                Err(_) => return,
            },
            event = events.next() => if event.is_none() {
                return;
            },
        }
    }
}

/// Whether the host of a URL is this machine.
fn is_on_this_machine(url: &str) -> bool {
    let authority = url.split("://").nth(1).unwrap_or(url);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority
            .rsplit_once(':')
            .map_or(authority, |(host, _port)| host),
    };
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Where `bowline serve` listens unless it is told something else.
const RELAY: &str = "ws://127.0.0.1:9000";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        network: Network,
    }

    fn network(arguments: &[&str]) -> Network {
        let line = [&["x"], arguments].concat();
        Line::try_parse_from(line).expect("valid").network
    }

    #[test]
    fn servers_of_the_command_line_have_its_credentials_and_hide_the_password() {
        let arguments = [
            "--ice-server",
            "stun:192.0.2.1",
            "--ice-server",
            "turns:turn.example",
            "--ice-user",
            "alice",
            "--ice-password",
            "hush",
            "--policy",
            "relay",
        ];
        let network = network(&arguments);
        let servers = network.servers().expect("usable");
        let shown: Vec<_> = servers.iter().map(|s| format!("{s:?}")).collect();
        let expected = [
            "IceServer(stun:192.0.2.1:3478)",
            r#"IceServer(turns:turn.example:5349?transport=tcp as "alice")"#,
        ];
        assert_eq!(shown, expected);
        assert_eq!(network.policy, Policy::Relay);
        assert!(!format!("{network:?}").contains("hush"));
    }

    #[test]
    fn a_turn_server_without_credentials_is_refused_with_what_it_needs() {
        let error = network(&["--ice-server", "turn:192.0.2.1"]).servers();
        let error = error.expect_err("no credentials").to_string();
        assert!(error.contains("--ice-user"), "{error}");
    }

    #[test]
    fn the_other_side_is_told_of_the_relays_and_not_of_a_token() {
        assert_eq!(network(&[]).option(), "");
        let arguments = [
            "--relay",
            "wss://a.example/?token=secret",
            "--relay",
            "wss://b.example",
        ];
        let network = network(&arguments);
        let told = " --relay wss://a.example/ --relay wss://b.example";
        assert_eq!(network.option(), told);
        assert_eq!(network.relay(), "wss://a.example/ wss://b.example");
        assert!(network.relays().is_ok());
        assert!(!format!("{network:?}").contains("secret"));
    }

    #[test]
    fn a_relay_on_this_machine_is_told_from_others() {
        for near in [
            "ws://127.0.0.1:9000",
            "ws://127.1.2.3",
            "ws://localhost/path",
            "ws://LOCALHOST:1?query",
            "ws://[::1]:9000/",
        ] {
            assert!(is_on_this_machine(near), "{near}");
        }
        for far in [
            "ws://10.0.0.1:9000",
            "ws://[2001:db8::1]:9000",
            "ws://localhost.example",
            "ws://example/127.0.0.1",
            "",
        ] {
            assert!(!is_on_this_machine(far), "{far}");
        }
    }
}
