//! Hosts that run a STUN and TURN server.
//!
//! STUN is answered here, with the behaviour discovery of RFC 5780 on two addresses and two ports; TURN (RFC 8656) is
//! turn-server-proto behind the first address and port of each family, over datagrams and streams. Between the two stands
//! a gate: it knows time-limited credentials, answers an Allocate request that comes again as it did before, and
//! [misbehaves](Misbehaviour) where that is asked for.
//!
//! # Determinism
//!
//! Times, sizes, order and relay ports come from the seed. The contents do not where turn-server-proto draws them:
//! nonces, and the transaction ids of Data indications. Their lengths are constant. What the gate draws itself, such
//! as the nonces of [`Misbehaviour::NoncePerRequest`], is from the seed.
//!
//! # What there is not
//!
//! Relay sockets are UDP only, reservation tokens are ignored, and a redirected client finds what is at the other address. A
//! stream is bytes that somebody brings and takes away: the network has none.

mod credentials;
mod gate;
mod message;
mod misbehaviour;
mod relay;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bowline::IceServer;
use serde::{Deserialize, Serialize};

pub use misbehaviour::{Asked, Misbehaviour};

use crate::marks::{Mark, Marks};
use crate::rng::{Purpose, Stream};
use crate::time::Time;
use credentials::Credentials;
use gate::Client;
use relay::{Relay, Relayed};
use stream::Framer;

/// The number of a server: the order in which it was added to the world.
pub type ServerId = usize;

/// A server on the internet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSpec {
    /// The name.
    pub name: String,
    /// Whether it has IPv4 addresses.
    pub ipv4: bool,
    /// Whether it has IPv6 addresses.
    pub ipv6: bool,
    /// Who may use TURN, and their passwords.
    pub users: BTreeMap<String, String>,
    /// The secret of time-limited credentials, where there are any.
    pub rest_secret: Option<String>,
    /// The realm of the credentials.
    pub realm: String,
    /// How many relay sockets there can be. One more is refused with 508.
    pub max_allocations: usize,
}

/// A server of IPv4 without users.
impl Default for ServerSpec {
    fn default() -> Self {
        Self {
            name: "server".to_owned(),
            ipv4: true,
            ipv6: false,
            users: BTreeMap::new(),
            rest_secret: None,
            realm: "bowline.example".to_owned(),
            max_allocations: 64,
        }
    }
}

impl ServerSpec {
    /// A server of IPv4 that serves STUN to everybody, and TURN to nobody yet.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// This server with one more user of TURN.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.insert(name.to_owned(), password.to_owned());
        self
    }

    /// This server as its clients name it: for STUN, or for TURN as the first of its users.
    ///
    /// # Panics
    ///
    /// When its name is none of a host.
    #[must_use]
    pub fn ice_server(&self) -> IceServer {
        let parse = |scheme: &str| -> IceServer {
            let uri = format!("{scheme}:{}.example", self.name);
            uri.parse().expect("the name of a server is one of a host")
        };
        match self.users.first_key_value() {
            None => parse("stun"),
            Some((user, password)) => {
                let turn = parse("turn").credentials(user.as_str(), password.as_str());
                turn.expect("a user has a name and a password of some length")
            }
        }
    }
}

/// Over what bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Over {
    Datagrams,
    Streams,
}

/// From whom to whom, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    pub(crate) over: Over,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
}

impl Way {
    fn back(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
            ..self
        }
    }
}

/// The present, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Time,
    /// Seconds since 1970.
    pub(crate) unix: u64,
}

/// What comes out of a server.
#[derive(Debug)]
pub(crate) enum Out {
    /// It sends a datagram, after a while.
    Datagram {
        source: SocketAddr,
        destination: SocketAddr,
        contents: Vec<u8>,
        after: Duration,
    },
    /// It writes to the stream of a client.
    Stream { way: Way, bytes: Vec<u8> },
    /// It hangs up on a client.
    Hangup { way: Way },
    /// It opened a socket.
    Opened(SocketAddr),
    /// It closed a socket.
    Closed(SocketAddr),
}

/// A server.
#[derive(Debug)]
pub(crate) struct Server {
    spec: ServerSpec,
    number: ServerId,
    seed: u64,
    /// Where it listens: of each family two addresses with two ports.
    addresses: Vec<SocketAddr>,
    credentials: Credentials,
    misbehaviour: Option<Misbehaviour>,
    /// What it did.
    marks: Marks,
    /// How many times it has started.
    starts: u32,
    /// `None` while it has crashed.
    process: Option<Process>,
}

/// What a crash takes.
#[derive(Debug)]
struct Process {
    relay: Relay,
    /// Draws nonces.
    nonces: Stream,
    /// The users that the relay was told of.
    told: BTreeSet<String>,
    clients: BTreeMap<Way, Client>,
    streams: BTreeMap<Way, Framer>,
}

impl Server {
    /// A server that runs.
    pub(crate) fn new(spec: ServerSpec, number: ServerId, seed: u64) -> Self {
        let mut server = Self {
            addresses: addresses(number, spec.ipv4, spec.ipv6),
            credentials: Credentials::new(&spec),
            spec,
            number,
            seed,
            misbehaviour: None,
            marks: Marks::default(),
            starts: 0,
            process: None,
        };
        server.start();
        server
    }

    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// Where it listens.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether it has not crashed.
    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// How many relay sockets there are.
    pub(crate) fn allocations(&self) -> usize {
        let process = self.process.as_ref();
        process.map_or(0, |process| process.relay.sockets().count())
    }

    /// Starts, if it has crashed, and knows of nothing.
    pub(crate) fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        let stream = |life| {
            let server = u16::try_from(self.number).unwrap_or(u16::MAX);
            Stream::new(self.seed, Purpose::Server { server, life })
        };
        let firsts: Vec<_> = self.addresses.iter().step_by(4).copied().collect();
        let (spec, life) = (&self.spec, self.starts * 2);
        self.process = Some(Process {
            relay: Relay::new(&firsts, &spec.realm, spec.max_allocations, stream(life)),
            nonces: stream(life + 1),
            told: BTreeSet::new(),
            clients: BTreeMap::new(),
            streams: BTreeMap::new(),
        });
        self.starts += 1;
    }

    /// Crashes. Gives the relay sockets that are closed by that.
    pub(crate) fn crash(&mut self) -> Vec<SocketAddr> {
        let process = self.process.take();
        self.marks.set_if(process.is_some(), Mark::ServerCrash);
        process.map_or_else(Vec::new, |process| process.relay.sockets().collect())
    }

    /// Misbehaves from now on, or no longer.
    pub(crate) fn misbehave(&mut self, how: Option<Misbehaviour>) {
        self.misbehaviour = how;
    }

    /// What it did so far.
    pub(crate) fn marks(&self) -> Marks {
        self.marks
    }

    /// Time-limited credentials. `None` when the server knows none.
    pub(crate) fn mint(&mut self, user: &str, expires: u64) -> Option<(String, String)> {
        self.credentials.mint(user, expires)
    }

    /// A datagram has come to one of its sockets.
    pub(crate) fn handle_datagram(
        &mut self,
        (source, destination): (SocketAddr, SocketAddr),
        contents: &[u8],
        moment: Moment,
    ) -> Vec<Out> {
        let way = Way {
            over: Over::Datagrams,
            from: source,
            to: destination,
        };
        self.handle_frame(way, contents, moment)
    }

    /// Bytes have come over the stream of a client, torn anywhere. The answers are [`Out::Stream`].
    pub(crate) fn handle_stream(
        &mut self,
        (client, listener): (SocketAddr, SocketAddr),
        bytes: &[u8],
        moment: Moment,
    ) -> Vec<Out> {
        let way = Way {
            over: Over::Streams,
            from: client,
            to: listener,
        };
        let mut out = Vec::new();
        let Some(process) = &mut self.process else {
            return vec![Out::Hangup { way: way.back() }];
        };
        process.streams.entry(way).or_default().push(bytes);
        while let Some(framer) = self.process.as_mut().and_then(|p| p.streams.get_mut(&way)) {
            match framer.next() {
                Ok(Some(frame)) => out.extend(self.handle_frame(way, &frame, moment)),
                Ok(None) => break,
                Err(stream::Garbage) => {
                    out.extend(self.handle_hangup((client, listener), moment));
                    out.push(Out::Hangup { way: way.back() });
                }
            }
        }
        out
    }

    /// The stream of a client has ended.
    pub(crate) fn handle_hangup(
        &mut self,
        (client, listener): (SocketAddr, SocketAddr),
        moment: Moment,
    ) -> Vec<Out> {
        let way = Way {
            over: Over::Streams,
            from: client,
            to: listener,
        };
        let Some(process) = &mut self.process else {
            return Vec::new();
        };
        process.streams.remove(&way);
        let relayed = process.relay.handle(way, &[], moment.now);
        self.release(relayed)
    }

    /// When it must be woken next.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.process.as_ref()?.relay.deadline()
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, moment: Moment) -> Vec<Out> {
        let Some(process) = &mut self.process else {
            return Vec::new();
        };
        let relayed = process.relay.on_timeout(moment.now);
        self.release(relayed)
    }

    /// The address in the family of `local` of another IP address, another port, or both.
    fn sibling(&self, local: SocketAddr, ip: bool, port: bool) -> Option<SocketAddr> {
        let wanted = |address: &&SocketAddr| {
            address.is_ipv4() == local.is_ipv4()
                && (address.ip() != local.ip()) == ip
                && (address.port() != local.port()) == port
        };
        self.addresses.iter().find(wanted).copied()
    }

    /// Lets what the relay made go out.
    fn release(&mut self, relayed: Vec<Relayed>) -> Vec<Out> {
        let mut out = Vec::new();
        for item in relayed {
            match item {
                Relayed::Opened(socket) => out.push(Out::Opened(socket)),
                Relayed::Closed(socket) => out.push(Out::Closed(socket)),
                Relayed::Sent(way, bytes) => self.release_bytes(way, bytes, &mut out),
            }
        }
        out
    }

    /// What a server sends of itself.
    fn sent(&self, way: Way, bytes: Vec<u8>) -> Out {
        match way.over {
            Over::Streams => Out::Stream {
                way,
                bytes: stream::padded(bytes),
            },
            Over::Datagrams => Out::Datagram {
                source: way.from,
                destination: way.to,
                contents: bytes,
                after: match self.misbehaviour {
                    Some(Misbehaviour::Slow { delay_ms }) => Duration::from_millis(delay_ms),
                    _ => Duration::ZERO,
                },
            },
        }
    }
}

/// Where a server listens: `192.0.2.<n>` and `2001:db8::<n>`, two numbers for each server, counted from 1, and the ports
/// 3478 and 3479 of each.
fn addresses(server: ServerId, ipv4: bool, ipv6: bool) -> Vec<SocketAddr> {
    let number = |which| u8::try_from(server * 2 + which + 1).unwrap_or(u8::MAX);
    let v4 = |which| IpAddr::V4(Ipv4Addr::new(192, 0, 2, number(which)));
    let v6 = |which| {
        let last = u16::from(number(which));
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last))
    };
    let mut ips = Vec::new();
    if ipv4 {
        ips.extend([v4(0), v4(1)]);
    }
    if ipv6 {
        ips.extend([v6(0), v6(1)]);
    }
    ips.iter()
        .flat_map(|ip| PORTS.map(|port| SocketAddr::new(*ip, port)))
        .collect()
}

/// The port of STUN and TURN, and the other one of RFC 5780.
const PORTS: [u16; 2] = [3_478, 3_479];
