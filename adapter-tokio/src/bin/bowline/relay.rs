use std::error::Error;
use std::net::SocketAddr;

use bowline_tokio::relay::Relay;

/// Run a signalling relay, through which peers find each other.
///
/// Peers connect to ws://HOST:PORT/?peer=NAME. The relay forwards their offers and answers and keeps nothing. It does
/// not check who a peer is: whoever can reach it can take any name.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bowline relay                        for peers on this machine
  bowline relay --listen 0.0.0.0:9000  for everybody who can reach this machine over IPv4")]
pub(crate) struct Arguments {
    /// The address to listen at; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
}

/// Runs the relay until it is interrupted.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let relay = Relay::bind(arguments.listen)
        .await
        .map_err(|error| format!("cannot listen at {}: {error}", arguments.listen))?;
    println!("relay listens on {}, Ctrl-C stops it", relay.url());
    tokio::signal::ctrl_c().await?;
    let stats = relay.stats();
    relay.close().await;
    println!(
        "{} connections, {} messages forwarded",
        stats.accepted, stats.forwarded
    );
    Ok(())
}
