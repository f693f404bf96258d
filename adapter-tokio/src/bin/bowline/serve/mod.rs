//! `bowline serve`: rooms for browsers and terminals, on one port.

mod access;
mod certificate;
mod pages;
mod turn;

pub(crate) use access::{Arguments as TokenArguments, token};

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_tokio::relay::{Relay, RelayLimits, StartError};

use certificate::Certificate;

/// Serve rooms: a web page to meet in, and the signalling relay through which peers find each other.
///
/// Browsers open the page; programs connect to ws://HOST:PORT/?peer=NAME&room=ROOM. The relay forwards offers and answers
/// and keeps nothing. Without --access-key it does not check who a peer is: whoever can reach it can take any name in any
/// room.
///
/// A STUN and TURN server comes with it, for those who find no direct way to each other: members of the rooms are given
/// credentials for it. It relays what is encrypted between them, and to public addresses only.
///
/// Several servers with the same --nats share their rooms. When it is asked to end (SIGTERM) a server lets nobody in any
/// more, and sends everybody away within the time of --drain; Ctrl-C ends it at once. When its certificate was renewed SIGHUP has
/// it read again; who is connected stays.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bowline serve                        for browsers and terminals on this machine
  bowline serve --listen 0.0.0.0:9000  for everybody who can reach this machine over IPv4
  bowline serve --listen 0.0.0.0:9000 --public-ip 192.0.2.1
                                       the same, on a machine that a cloud maps a public address to
  bowline serve --tls-certificate chain.pem --tls-key key.pem --access-key key.txt
                                       over TLS, for those who have a token
  bowline token --access-key key.txt --room kitchen
                                       a token, for an hour and one room")]
pub(crate) struct Arguments {
    /// The address to listen at; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Speaks TLS, with the certificates in this file (PEM), the server's own first.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The private key that belongs to it, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Lets in only who has a token (see `bowline token`) that was made with the key in this file: 32 characters or more.
    #[arg(long, value_name = "FILE")]
    access_key: Option<PathBuf>,
    /// Shares the rooms with the other servers at this NATS: nats://[USER:PASSWORD@]HOST:PORT, or tls:. Several servers of one
    /// NATS cluster have commas between.
    #[arg(long, value_name = "URL", env = "BOWLINE_NATS", hide_env_values = true)]
    nats: Option<String>,
    /// Answers /health and /metrics (OpenMetrics) over HTTP at this address, which should not be one for everybody.
    #[arg(long, value_name = "ADDRESS")]
    monitor: Option<SocketAddr>,
    /// How long it may take to send everybody away, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    drain: u16,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    turn: turn::Options,
}

/// What clients may do.
#[derive(Debug, clap::Args)]
struct Limits {
    /// Connections at one time.
    #[arg(long, value_name = "COUNT", default_value_t = RelayLimits::default().connections)]
    connections: usize,
    /// Those from one address. Behind a proxy, which all seem to come from, it has to be as high as --connections.
    #[arg(long, value_name = "COUNT", default_value_t = RelayLimits::default().per_address)]
    connections_per_address: usize,
    /// Peers in one room.
    #[arg(long, value_name = "COUNT", default_value_t = RelayLimits::default().room)]
    room_size: usize,
    /// Bytes that one client may send each second; each message counts 512 more than it has.
    #[arg(long, value_name = "BYTES", default_value_t = RelayLimits::default().rate)]
    rate: u32,
}

impl From<Limits> for RelayLimits {
    fn from(limits: Limits) -> Self {
        Self {
            connections: limits.connections,
            per_address: limits.connections_per_address,
            room: limits.room_size,
            rate: limits.rate,
            ..Self::default()
        }
    }
}

/// Serves until it is interrupted, or asked to end.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    // From the beginning: who starts it may end it at any time.
    let ended = ended()?;
    let listen = arguments.listen;
    let turn = arguments.turn.start(listen.ip()).await?;
    let mut builder = Relay::builder()
        .limits(arguments.limits.into())
        .pages(pages::PAGES);
    if let Some(turn) = &turn {
        builder = builder.ice(turn.offer());
    }
    let mut certificate = None;
    if let Some((chain, key)) = arguments.tls_certificate.zip(arguments.tls_key) {
        let certificate = certificate.insert(Certificate::read(chain, key)?);
        builder = builder.tls(certificate.identity());
    }
    if let Some(file) = &arguments.access_key {
        builder = builder.access(access::key(file)?);
    }
    if let Some(address) = arguments.monitor {
        builder = builder.monitor(address);
    }
    if let Some(url) = &arguments.nats {
        builder = builder.nats(url);
    }
    let relay = builder.bind(listen).await.map_err(|error| match error {
        StartError::Listen(error) => format!("cannot listen at {listen}: {error}"),
        other => other.to_string(),
    })?;
    let host = reachable(relay.local_addr());
    let secure = if certificate.is_some() { "s" } else { "" };
    println!("page      http{secure}://{host}/?room=lobby");
    println!("terminal  bowline chat lobby --relay ws{secure}://{host}");
    if let Some(turn) = &turn {
        println!("turn      {turn}");
    }
    if let Some(monitor) = relay.monitor_addr() {
        println!("monitor   http://{monitor}/health and /metrics");
    }
    println!("Ctrl-C stops it");
    let renewing = async {
        match &mut certificate {
            Some(certificate) => certificate.renew().await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = ended => ended,
        never = renewing => match never {},
    };
    let stats = relay.stats();
    match ended {
        Ended::Interrupted => relay.close().await,
        Ended::Asked => {
            let grace = Duration::from_secs(arguments.drain.into());
            tokio::select! {
                () = relay.drain(grace) => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
    }
    println!(
        "{} connections, {} messages forwarded",
        stats.accepted, stats.forwarded
    );
    if let Some(turn) = turn {
        println!("{}", turn.summary());
    }
    Ok(())
}

/// Why a server is to end.
enum Ended {
    /// By somebody at the terminal.
    Interrupted,
    /// By what started it, which gives it some time.
    Asked,
}

/// Waits until the server is to end.
#[cfg(unix)]
fn ended() -> std::io::Result<impl Future<Output = Ended>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => Ended::Asked,
            _ = interrupt.recv() => Ended::Interrupted,
        }
    })
}

/// Waits until the server is to end.
#[cfg(not(unix))]
fn ended() -> std::io::Result<impl Future<Output = Ended>> {
    let mut asked = tokio::signal::windows::ctrl_shutdown()?;
    Ok(async move {
        tokio::select! {
            _ = asked.recv() => Ended::Asked,
            _ = tokio::signal::ctrl_c() => Ended::Interrupted,
        }
    })
}

fn read(file: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let read = std::fs::read(file);
    Ok(read.map_err(|error| format!("cannot read {}: {error}", file.display()))?)
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
