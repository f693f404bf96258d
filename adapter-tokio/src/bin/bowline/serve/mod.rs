//! `bowline serve`: rooms for browsers and terminals, on one port.

mod pages;

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bowline_tokio::relay::{Relay, RelayLimits};

/// Serve rooms: a web page to meet in, and the signalling relay through which peers find each other.
///
/// Browsers open the page; programs connect to ws://HOST:PORT/?peer=NAME&room=ROOM. The relay forwards offers and answers
/// and keeps nothing. It does not check who a peer is: whoever can reach it can take any name in any room.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bowline serve                        for browsers and terminals on this machine
  bowline serve --listen 0.0.0.0:9000  for everybody who can reach this machine over IPv4")]
pub(crate) struct Arguments {
    /// The address to listen at; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
}

/// Serves until it is interrupted.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let limits = RelayLimits::default();
    let relay = Relay::bind_with_pages(arguments.listen, limits, pages::PAGES)
        .await
        .map_err(|error| format!("cannot listen at {}: {error}", arguments.listen))?;
    let host = reachable(relay.local_addr());
    println!("page      http://{host}/?room=lobby");
    println!("terminal  bowline chat lobby --relay ws://{host}");
    println!("Ctrl-C stops it");
    tokio::signal::ctrl_c().await?;
    let stats = relay.stats();
    relay.close().await;
    println!(
        "{} connections, {} messages forwarded",
        stats.accepted, stats.forwarded
    );
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
