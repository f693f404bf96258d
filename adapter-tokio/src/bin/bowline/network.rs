//! How the commands that speak with other people reach them.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};

use bowline::{Config, PeerId};
use bowline_tokio::signalling::{self, LinkStatus, Presence};
use bowline_tokio::{Endpoint, IncomingPolicy};
use tokio::sync::watch;

use crate::text;

/// Where the relay is, and which addresses to use.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Network {
    /// The relay at which both sides meet. When it is on this machine, so may be the other side: loopback addresses are
    /// used as well.
    #[arg(long, value_name = "URL", default_value = RELAY)]
    relay: String,
    /// Uses this address only, in place of a free port on every interface. May be repeated.
    #[arg(long, value_name = "ADDRESS")]
    bind: Vec<SocketAddr>,
}

/// An endpoint in a room.
pub(crate) struct Place {
    pub(crate) endpoint: Endpoint,
    pub(crate) presence: Presence,
    pub(crate) link: watch::Receiver<LinkStatus>,
}

impl Network {
    /// Enters a room under a name.
    pub(crate) fn enter(&self, room: &str, id: PeerId) -> Result<Place, Box<dyn Error>> {
        let config = Config::builder().loopback(is_on_this_machine(&self.relay));
        let (signalling, presence) = signalling::room(&self.relay, room, id)?;
        let link = signalling.status();
        let mut builder = Endpoint::builder(id)
            .config(config.build()?)
            .signalling(signalling)
            .incoming(IncomingPolicy::Ask);
        for address in &self.bind {
            builder = builder.bind_address(*address);
        }
        Ok(Place {
            endpoint: builder.bind()?,
            presence,
            link,
        })
    }

    pub(crate) fn relay(&self) -> &str {
        &self.relay
    }

    /// What the other side has to add to its command, with a space before it.
    pub(crate) fn option(&self) -> String {
        if self.relay == RELAY {
            return String::new();
        }
        format!(" --relay {}", text::printable(&self.relay))
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
    use super::*;

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
