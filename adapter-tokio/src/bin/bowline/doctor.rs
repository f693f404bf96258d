//! `bowline doctor`: what this network lets through.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use bowline::nat::NatReport;
use bowline::{ChannelKind, Config, Event, IceServer, Identity, PeerId, TransportPolicy};
use bowline_tokio::signalling::MemoryHub;
use bowline_tokio::{Endpoint, Events, IncomingPolicy};
use serde::Serialize;
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
    /// Print one JSON object at the end, and nothing else.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Serialize)]
struct Report {
    relay: String,
    relay_answers: bool,
    addresses: Vec<SocketAddr>,
    nat: Option<NatReport>,
    servers: Vec<ServerReport>,
    #[serde(skip)]
    silent: bool,
}

/// What was found of one server.
#[derive(Serialize)]
struct ServerReport {
    uri: String,
    /// How long it took to connect through it, for TURN servers that relay.
    connected_ms: Option<u128>,
    fault: Option<String>,
}

/// Examines the network, and fails when nobody could be reached.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let Arguments { network, json } = arguments;
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(|error| format!("no randomness: {error}"))?;
    let room = format!("doctor-{:016x}", u64::from_be_bytes(number));
    let place = network.enter(&room, Identity::without_key(PeerId::new("doctor")?))?;
    let mut events = place.endpoint.events();
    let mut report = Report {
        relay: network.relay(),
        relay_answers: answers(&place).await,
        addresses: place.endpoint.local_addrs(),
        nat: None,
        servers: Vec::new(),
        silent: json,
    };
    report.tell_place();

    let patience = if report.relay_answers {
        OFFER
    } else {
        Duration::ZERO
    };
    let servers = network.candidates(&place.presence, patience).await?;
    if servers.is_empty() {
        report.say(
            "servers",
            "none: only peers in this network, or with a public address, can be reached",
        );
    }
    // They may be on their way to the endpoint still; to have them twice changes nothing.
    place.endpoint.set_ice_servers(servers.clone())?;
    report.examine_nat(&place.endpoint, &mut events).await;
    for server in servers.iter().filter(|server| server.is_relay()) {
        report.try_relay(server).await;
    }
    place.endpoint.close().await;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    if report.relay_answers || report.servers.iter().any(|s| s.connected_ms.is_some()) {
        Ok(())
    } else {
        Err("neither the relay nor a turn server can be reached".into())
    }
}

impl Report {
    fn tell_place(&self) {
        let said = if self.relay_answers {
            "answers"
        } else {
            "does not answer"
        };
        self.say("relay", format!("{} {said}", self.relay));
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        self.say("addresses", addresses.join(", "));
    }

    /// Finds out what can be known of the NATs, and of the servers on the way.
    async fn examine_nat(&mut self, endpoint: &Endpoint, events: &mut Events) {
        let mut discovery = pin!(timeout(DISCOVERY, endpoint.discover_nat()));
        let found = loop {
            tokio::select! {
                found = &mut discovery => break found,
                event = events.next() => {
                    if let Some(Ok(Event::IceServerFailed { server, fault })) = event {
                        self.say("server", format!("{} failed: {fault}", text::printable(&server)));
                        self.servers.push(ServerReport {
                            uri: server,
                            connected_ms: None,
                            fault: Some(fault.to_string()),
                        });
                    }
                }
            }
        };
        match found {
            Ok(Ok(nat)) => {
                self.say("nat", &nat);
                self.nat = Some(nat);
            }
            Ok(Err(error)) => self.say("nat", format!("not examined: {error}")),
            Err(_) => self.say("nat", "nothing was found out in time"),
        }
    }

    /// Sends something to itself through a TURN server.
    async fn try_relay(&mut self, server: &IceServer) {
        let tried = through(server).await;
        match &tried {
            Ok(took) => self.say(
                "turn",
                format!("{server} relays, connected in {} ms", took.as_millis()),
            ),
            Err(error) => self.say("turn", format!("{server} {}", text::printable(error))),
        }
        self.servers.push(ServerReport {
            uri: server.to_string(),
            connected_ms: tried.as_ref().ok().map(Duration::as_millis),
            fault: tried.err(),
        });
    }

    /// A line for people.
    fn say(&self, what: &str, found: impl fmt::Display) {
        if !self.silent {
            println!("{what:<10} {found}");
        }
    }
}

/// Whether the relay answers.
async fn answers(place: &Place) -> bool {
    let mut link = place.link.clone();
    let decided = link.wait_for(|link| link.up || link.last_error.is_some());
    matches!(timeout(RELAY, decided).await, Ok(Ok(link)) if link.up)
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
    Endpoint::builder(Identity::without_key(id))
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
