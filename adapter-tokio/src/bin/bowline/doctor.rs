//! `bowline doctor`: what this network lets through.

use std::error::Error;
use std::time::{Duration, Instant};

use bowline::{ChannelKind, Config, Event, IceServer, PeerId, TransportPolicy};
use bowline_tokio::signalling::MemoryHub;
use bowline_tokio::{Endpoint, Events, IncomingPolicy};
use tokio::time::timeout;

use crate::network::{Network, Place};
use crate::text;

/// Find out what this network lets through.
///
/// Looks whether the relay answers, what the STUN servers see of this machine and how the NATs before it behave, and sends
/// something to itself through each TURN server. Nobody else is asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bowline doctor --relay ws://relay.example:9000
  bowline doctor --ice-server stun:stun.example --ice-server turn:turn.example --ice-user alice")]
pub(crate) struct Arguments {
    #[command(flatten)]
    network: Network,
}

/// Examines the network, and fails when nobody could be reached.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let network = arguments.network;
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(|error| format!("no randomness: {error}"))?;
    let room = format!("doctor-{:016x}", u64::from_be_bytes(number));
    let place = network.enter(&room, PeerId::new("doctor")?)?;
    let mut events = place.endpoint.events();
    let relay = text::printable(network.relay());
    let has_relay = answers(&place).await;
    let said = if has_relay {
        "answers"
    } else {
        "does not answer"
    };
    println!("relay      {relay} {said}");
    let addresses = place.endpoint.local_addrs();
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    println!("addresses  {}", addresses.join(", "));

    let patience = if has_relay { OFFER } else { Duration::ZERO };
    let servers = network.candidates(&place.presence, patience).await?;
    if servers.is_empty() {
        println!(
            "servers    none: only peers in this network, or with a public address, can be reached"
        );
    }
    // They may be on their way to the endpoint still; to have them twice changes nothing.
    place.endpoint.set_ice_servers(servers.clone())?;
    nat(&place.endpoint, &mut events).await;
    let mut works = has_relay;
    for server in servers.iter().filter(|server| server.is_relay()) {
        match through(server).await {
            Ok(took) => {
                println!(
                    "turn       {server} relays, connected in {} ms",
                    took.as_millis()
                );
                works = true;
            }
            Err(error) => println!("turn       {server} {}", text::printable(&error)),
        }
    }
    place.endpoint.close().await;
    if works {
        Ok(())
    } else {
        Err("neither the relay nor a turn server can be reached".into())
    }
}

/// Whether the relay answers.
async fn answers(place: &Place) -> bool {
    let mut link = place.link.clone();
    let decided = link.wait_for(|link| link.up || link.last_error.is_some());
    matches!(timeout(RELAY, decided).await, Ok(Ok(link)) if link.up)
}

/// Prints what is known of the NATs.
async fn nat(endpoint: &Endpoint, events: &mut Events) {
    if let Err(error) = endpoint.discover_nat() {
        println!("nat        not examined: {error}");
        return;
    }
    let discovered = async {
        loop {
            match events.next().await? {
                Ok(Event::NatDiscovered { report }) => return Some(report),
                Ok(Event::IceServerFailed { server, fault }) => {
                    println!("server     {} failed: {fault}", text::printable(&server));
                }
                Ok(_) | Err(_) => {}
            }
        }
    };
    match timeout(DISCOVERY, discovered).await {
        Ok(Some(report)) => println!("nat        {report}"),
        Ok(None) | Err(_) => println!("nat        nothing was found out in time"),
    }
}

/// Sends something to itself through one TURN server and no other way. Gives how long it took to connect.
async fn through(server: &IceServer) -> Result<Duration, String> {
    let hub = MemoryHub::new();
    let began = Instant::now();
    let (near, far) = (end(&hub, "near", server)?, end(&hub, "far", server)?);
    let mut events = near.events();
    let talking = async {
        let (to_far, to_near) = tokio::join!(near.connect(far.id()), far.accept());
        let to_far = to_far.map_err(|error| error.to_string())?;
        let to_near = to_near.ok_or("closed")?;
        let took = began.elapsed();
        let to_near = to_near.accept().await.map_err(|error| error.to_string())?;
        let sent = to_far.send(ChannelKind::Control, "echo").await;
        sent.map_err(|error| error.to_string())?;
        to_near.recv().await.ok_or("nothing came through")?;
        Ok(took)
    };
    let failing = async {
        loop {
            match events.next().await {
                Some(Ok(Event::IceServerFailed { fault, .. })) => return fault.to_string(),
                Some(_) => {}
                None => return "closed".to_owned(),
            }
        }
    };
    let result = tokio::select! {
        talked = timeout(CONNECT, talking) => {
            talked.unwrap_or_else(|_| Err("does not relay in time".to_owned()))
        }
        fault = failing => Err(format!("failed: {fault}")),
    };
    tokio::join!(near.close(), far.close());
    result
}

fn end(hub: &MemoryHub, name: &str, server: &IceServer) -> Result<Endpoint, String> {
    let id = PeerId::new(name).map_err(|error| error.to_string())?;
    let config = Config::builder()
        .loopback(true)
        .policy(TransportPolicy::Relay)
        .ice_server(server.clone())
        .build()
        .map_err(|error| error.to_string())?;
    Endpoint::builder(id)
        .config(config)
        .incoming(IncomingPolicy::Accept)
        .signalling(hub.join(id))
        .bind()
        .map_err(|error| error.to_string())
}

/// How long the relay may take to answer.
const RELAY: Duration = Duration::from_secs(10);
/// How long a relay that answers may take to offer servers: it does so at once, or never.
const OFFER: Duration = Duration::from_secs(2);
/// How long the discovery of NATs may take, and a second: the core gives up before.
const DISCOVERY: Duration = Duration::from_secs(25);
/// How long a connection through a server may take.
const CONNECT: Duration = Duration::from_secs(15);
