//! The STUN and TURN server beside the relay.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use bowline_tokio::relay::IceOffer;
use bowline_tokio::turn_server::{
    PORT, PeerPolicy, TurnConfig, TurnLimits, TurnSecret, TurnServer,
};

/// Whether and how a STUN and TURN server is run.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Runs no STUN and TURN server.
    #[arg(long)]
    no_turn: bool,
    /// Where the STUN and TURN server listens, over UDP and TCP. The default is port 3478 at the address of --listen, or a
    /// free port when that one is taken.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "no_turn")]
    turn_listen: Option<SocketAddr>,
    /// The address that the world sees in place of this machine's own, where a cloud or a NAT maps one to it. May be given
    /// for each address family.
    #[arg(long, value_name = "IP", conflicts_with = "no_turn")]
    public_ip: Vec<IpAddr>,
    /// The ports from which is relayed.
    #[arg(long, value_name = "FIRST-LAST", value_parser = ports, default_value = "49152-65535")]
    turn_ports: RangeInclusive<u16>,
    /// Relays to private addresses, and to those of this machine, too: for a demonstration in a local network. Never where
    /// strangers can reach the server.
    #[arg(long, conflicts_with = "no_turn")]
    turn_allow_private: bool,
    /// Allocations at one time.
    #[arg(long, value_name = "COUNT", default_value_t = TurnLimits::default().allocations)]
    turn_allocations: usize,
    /// Bytes that one allocation may relay each second. The default is no limit.
    #[arg(long, value_name = "BYTES")]
    turn_bandwidth: Option<u32>,
}

/// A STUN and TURN server that runs.
pub(super) struct Running {
    server: TurnServer,
    secret: TurnSecret,
}

impl Options {
    /// Starts the server, unless it is not wanted. `relay` is the address at which the relay listens.
    pub(super) async fn start(&self, relay: IpAddr) -> Result<Option<Running>, Box<dyn Error>> {
        if self.no_turn {
            return Ok(None);
        }
        let secret = TurnSecret::random().ok_or("the operating system has no randomness")?;
        let usual = SocketAddr::new(relay, PORT);
        let address = self.turn_listen.unwrap_or(usual);
        let mut bound = TurnServer::bind(address, secret.clone(), self.config(address)).await;
        if let (Err(error), None) = (&bound, self.turn_listen)
            && error.kind() == io::ErrorKind::AddrInUse
        {
            let free = SocketAddr::new(relay, 0);
            bound = TurnServer::bind(free, secret.clone(), self.config(free)).await;
        }
        let server = bound.map_err(|error| {
            format!("cannot run a turn server at {address} (--no-turn does without): {error}")
        })?;
        Ok(Some(Running { server, secret }))
    }

    fn config(&self, address: SocketAddr) -> TurnConfig {
        TurnConfig {
            public_ips: self.public_ip.clone(),
            ports: self.turn_ports.clone(),
            peers: PeerPolicy {
                private: self.turn_allow_private,
                // Who can reach the server is on this machine then.
                loopback: self.turn_allow_private && address.ip().is_loopback(),
            },
            limits: TurnLimits {
                allocations: self.turn_allocations,
                bandwidth: self.turn_bandwidth,
                ..TurnLimits::default()
            },
            ..TurnConfig::default()
        }
    }
}

impl Running {
    /// What members of the rooms are told.
    pub(super) fn offer(&self) -> IceOffer {
        IceOffer::of(&self.server, self.secret.clone(), CREDENTIALS)
    }

    /// What happened, in a line.
    pub(super) fn summary(&self) -> String {
        let stats = self.server.stats();
        format!(
            "{} clients of the turn server, {} bytes relayed",
            stats.admitted, stats.relayed
        )
    }
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.server.public_addrs().map(|a| a.to_string()).collect();
        write!(f, "{} over udp and tcp", addresses.join(" and "))
    }
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let parsed = text.split_once('-').and_then(|(first, last)| {
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        (first > 0 && first <= last).then_some(first..=last)
    });
    parsed.ok_or_else(|| "two ports with a dash between, the lower first".to_owned())
}

/// How long the credentials of a member hold. It is given new ones when half of it is over.
const CREDENTIALS: Duration = Duration::from_secs(2 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_is_read_and_anything_else_refused() {
        assert_eq!(ports("1-65535"), Ok(1..=65_535));
        assert_eq!(ports("7-7"), Ok(7..=7));
        for bad in ["", "7", "8-7", "0-7", "1-65536", "a-b", "1-2-3"] {
            assert!(ports(bad).is_err(), "{bad}");
        }
    }
}
