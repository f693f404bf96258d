//! `bowline serve`: rooms for browsers and terminals, on one port.

mod pages;
mod turn;

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bowline_tokio::relay::{Relay, RelayLimits};

/// Serve rooms: a web page to meet in, and the signalling relay through which peers find each other.
///
/// Browsers open the page; programs connect to ws://HOST:PORT/?peer=NAME&room=ROOM. The relay forwards offers and answers
/// and keeps nothing. It does not check who a peer is: whoever can reach it can take any name in any room.
///
/// A STUN and TURN server comes with it, for those who find no direct way to each other: members of the rooms are given
/// credentials for it. It relays what is encrypted between them, and to public addresses only.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bowline serve                        for browsers and terminals on this machine
  bowline serve --listen 0.0.0.0:9000  for everybody who can reach this machine over IPv4
  bowline serve --listen 0.0.0.0:9000 --public-ip 192.0.2.1
                                       the same, on a machine that a cloud maps a public address to")]
pub(crate) struct Arguments {
    /// The address to listen at; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    #[command(flatten)]
    turn: turn::Options,
}

/// Serves until it is interrupted.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let limits = RelayLimits::default();
    let turn = arguments.turn.start(arguments.listen.ip()).await?;
    let offer = turn.as_ref().map(turn::Running::offer);
    let relay = Relay::bind_with_ice(arguments.listen, limits, pages::PAGES, offer)
        .await
        .map_err(|error| format!("cannot listen at {}: {error}", arguments.listen))?;
    let host = reachable(relay.local_addr());
    println!("page      http://{host}/?room=lobby");
    println!("terminal  bowline chat lobby --relay ws://{host}");
    if let Some(turn) = &turn {
        println!("turn      {turn}");
    }
    println!("Ctrl-C stops it");
    tokio::signal::ctrl_c().await?;
    let stats = relay.stats();
    relay.close().await;
    println!(
        "{} connections, {} messages forwarded",
        stats.accepted, stats.forwarded
    );
    if let Some(turn) = turn {
        println!("{}", turn.summary());
    }
    Ok(())
}

/// The address under which this machine itself reaches one that it listens at.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_every_interface_is_shown_as_one_that_can_be_opened() {
        let shown = |text: &str| reachable(text.parse().expect("valid")).to_string();
        assert_eq!(shown("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(shown("[::]:1"), "[::1]:1");
        assert_eq!(shown("192.0.2.1:1"), "192.0.2.1:1");
    }
}
