//! Endpoints in memory, with real DTLS: a world that may lose, hold, repeat and alter what is under way.
//!
//! Every event of every endpoint is checked as it comes: a peer exists from `Initialised` to its one terminal state,
//! nothing is told of it outside of that, its states follow each other, and no deadline lies in the past.
#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "a test brings its own clock and counts few things"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bowline::{
    Cause, Config, ConnectOptions, Endpoint, EndpointStats, Event, Identity, Input, Message, Need,
    Output, Peer, PeerId, PeerState, Seed, UnixTime,
};

/// How long a parcel takes, unless the network says otherwise.
pub(crate) const DELAY: Duration = Duration::from_millis(10);

/// Wake-ups at one instant. All endpoints and their parcels share it.
const MAX_AT_ONCE: usize = 100;

/// What all endpoints together may send in a second: far more than any test asks for.
const MAX_PER_SECOND: usize = 20_000;

/// Something on its way.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Parcel {
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    Signal {
        to: PeerId,
        text: String,
    },
}

impl Parcel {
    pub(crate) fn is_signal(&self) -> bool {
        matches!(self, Self::Signal { .. })
    }

    pub(crate) fn is_datagram(&self) -> bool {
        !self.is_signal()
    }

    pub(crate) fn is_from(&self, address: SocketAddr) -> bool {
        matches!(self, Self::Datagram { from, .. } if *from == address)
    }

    /// By its first byte (RFC 7983).
    pub(crate) fn is_dtls(&self) -> bool {
        matches!(self, Self::Datagram { bytes, .. } if bytes.first().is_some_and(|b| (20..=63).contains(b)))
    }

    /// The field `type` of a signalling message.
    pub(crate) fn kind(&self) -> Option<String> {
        match self {
            Self::Signal { text, .. } => Some(json(text)["type"].as_str()?.to_owned()),
            Self::Datagram { .. } => None,
        }
    }
}

/// What the network makes of a parcel: the copies that arrive, each after a delay.
pub(crate) type Network = Box<dyn FnMut(Instant, Parcel) -> Vec<(Duration, Parcel)>>;

/// An endpoint and what it has said.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) endpoint: Endpoint,
    pub(crate) deadline: Option<Instant>,
    pub(crate) events: Vec<Event>,
    /// What the endpoint asked for; a test answers.
    pub(crate) needs: Vec<Need>,
    /// When each event was told.
    times: Vec<Instant>,
    /// Whether offers are accepted as they come.
    pub(crate) accepts: bool,
    /// Whether messages are released as they come.
    pub(crate) releases: bool,
    /// Whether the machine is suspended: time passes it by and what is for it is lost.
    pub(crate) asleep: bool,
    /// The peers that exist, and the last state that was told.
    alive: BTreeMap<PeerId, PeerState>,
}

/// Endpoints and what is under way between them.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    /// Everything that was sent, before the network touched it.
    pub(crate) sent: Vec<(Instant, Parcel)>,
    /// What arrived for nobody here.
    pub(crate) outside: Vec<Parcel>,
    started: Instant,
    network: Network,
    parcels: BTreeMap<(Instant, u64), Parcel>,
    posted: u64,
}

impl World {
    /// Endpoints with these names, each with a socket at 192.0.2.1, 192.0.2.2 and so on.
    pub(crate) fn new(names: &[&str], config: &Config) -> Self {
        let mut world = Self::new_unbound(names, config);
        world.bind();
        world
    }

    /// Endpoints that nothing has happened to.
    pub(crate) fn new_unbound(names: &[&str], config: &Config) -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            nodes: Vec::new(),
            sent: Vec::new(),
            outside: Vec::new(),
            started: now,
            network: Box::new(|_, parcel| vec![(DELAY, parcel)]),
            parcels: BTreeMap::new(),
            posted: 0,
        };
        for (n, name) in names.iter().enumerate() {
            let identity = Identity::without_key(id(name));
            let node = world.node(identity, address(n), n as u8 + 1, config);
            world.nodes.push(node);
        }
        world
    }

    /// Gives every endpoint its socket.
    pub(crate) fn bind(&mut self) {
        for node in &mut self.nodes {
            node.endpoint.handle_input(
                Input::SocketBound {
                    local: node.address,
                },
                self.now,
            );
        }
    }

    pub(crate) fn pair() -> Self {
        Self::new(&["alice", "bob"], &Config::default())
    }

    /// Alice and Bob, connected.
    pub(crate) fn connected() -> Self {
        Self::connected_with(&Config::default())
    }

    pub(crate) fn connected_with(config: &Config) -> Self {
        let mut world = Self::new(&["alice", "bob"], config);
        world.connect(0, "bob");
        world.run(Duration::from_secs(1));
        assert!(world.is_connected(0, "bob") && world.is_connected(1, "alice"));
        world
    }

    fn node(&self, identity: Identity, address: SocketAddr, seed: u8, config: &Config) -> Node {
        let (seed, wall) = (Seed::from([seed; 32]), self.now - self.started);
        let wall = UnixTime::from_duration(wall);
        let endpoint =
            Endpoint::new(config.clone(), identity, seed, self.now, wall).expect("a certificate");
        Node {
            address,
            endpoint,
            deadline: None,
            events: Vec::new(),
            needs: Vec::new(),
            times: Vec::new(),
            accepts: true,
            releases: true,
            asleep: false,
            alive: BTreeMap::new(),
        }
    }

    /// Puts a fresh endpoint with a key, which nothing has happened to, in the place of one. It has the same key each time.
    pub(crate) fn enkey(&mut self, n: usize, seed: u8) {
        let identity = Identity::from_private_key([n as u8 + 1; 32]);
        let address = self.nodes[n].address;
        self.nodes[n] = self.node(identity, address, seed, &Config::default());
    }

    /// Puts a fresh endpoint of the same name in the place of one that is gone without a word.
    pub(crate) fn restart(&mut self, n: usize, seed: u8, config: &Config) {
        let old = &self.nodes[n];
        let identity = Identity::without_key(old.endpoint.id());
        self.nodes[n] = self.node(identity, old.address, seed, config);
        let Node {
            endpoint, address, ..
        } = &mut self.nodes[n];
        endpoint.handle_input(Input::SocketBound { local: *address }, self.now);
    }

    /// From now on the network does this to what is sent.
    pub(crate) fn network(
        &mut self,
        network: impl FnMut(Instant, Parcel) -> Vec<(Duration, Parcel)> + 'static,
    ) {
        self.network = Box::new(network);
    }

    /// From now on what matches is lost, and the rest arrives after [`DELAY`].
    pub(crate) fn lose(&mut self, mut lost: impl FnMut(&Parcel) -> bool + 'static) {
        self.network(move |_, parcel| {
            if lost(&parcel) {
                vec![]
            } else {
                vec![(DELAY, parcel)]
            }
        });
    }

    /// From now on nothing is lost, and everything arrives after [`DELAY`].
    pub(crate) fn heal(&mut self) {
        self.lose(|_| false);
    }

    pub(crate) fn connect(&mut self, n: usize, peer: &str) {
        let now = self.now;
        self.endpoint(n)
            .connect(id(peer), ConnectOptions::default(), now)
            .expect("starts");
    }

    pub(crate) fn endpoint(&mut self, n: usize) -> &mut Endpoint {
        &mut self.nodes[n].endpoint
    }

    pub(crate) fn peer(&mut self, n: usize, peer: &str) -> Peer<'_> {
        self.nodes[n].endpoint.peer(id(peer)).expect("exists")
    }

    pub(crate) fn events(&self, n: usize) -> &[Event] {
        &self.nodes[n].events
    }

    pub(crate) fn stats(&self, n: usize) -> EndpointStats {
        self.nodes[n].endpoint.stats()
    }

    pub(crate) fn is_connected(&mut self, n: usize, peer: &str) -> bool {
        self.endpoint(n)
            .peer(id(peer))
            .is_ok_and(|p| p.state() == PeerState::Connected)
    }

    /// The events of a node, and when each was told.
    pub(crate) fn timed_events(&self, n: usize) -> impl Iterator<Item = (Instant, Event)> {
        let Node { times, events, .. } = &self.nodes[n];
        times.iter().copied().zip(events.iter().cloned())
    }

    pub(crate) fn saw_state(&self, n: usize, state: PeerState) -> bool {
        self.events(n)
            .iter()
            .any(|e| matches!(e, Event::State { to, .. } if *to == state))
    }

    /// The last terminal state that a node was told, why, and when.
    pub(crate) fn end(&self, n: usize) -> Option<(PeerState, Cause, Instant)> {
        self.events(n).iter().rev().find_map(|event| match event {
            Event::State { to, cause, at, .. } if to.is_terminal() => Some((*to, *cause, *at)),
            _ => None,
        })
    }

    /// The messages that a node received, with the number of their channel.
    pub(crate) fn messages(&self, n: usize) -> Vec<(u32, Message)> {
        let message = |event: &Event| match event {
            Event::Message {
                channel, message, ..
            } => Some((
                channel.to_string().parse().expect("a number"),
                message.clone(),
            )),
            _ => None,
        };
        self.events(n).iter().filter_map(message).collect()
    }

    /// Asserts that nothing is left of any peer: no handle, no deadline, no counter.
    pub(crate) fn assert_at_rest(&self) {
        for node in &self.nodes {
            let stats = node.endpoint.stats();
            assert_eq!((stats.peers, stats.connected, stats.incoming), (0, 0, 0));
            assert_eq!(node.deadline, None, "no deadline is left");
        }
    }

    /// Runs for `duration`.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.advance_to(self.now);
        let mut at_once = 0;
        while let Some(at) = self.next_at().filter(|at| *at <= end) {
            at_once = if at > self.now { 0 } else { at_once + 1 };
            assert!(at_once < MAX_AT_ONCE, "the world spins");
            self.advance_to(at);
        }
        self.now = end;
    }

    /// When something happens next.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let deadlines = self
            .nodes
            .iter()
            .filter(|node| !node.asleep)
            .filter_map(|node| node.deadline);
        deadlines
            .chain(self.parcels.keys().next().map(|(at, _)| *at))
            .min()
    }

    /// Lets happen what is due at `at`.
    pub(crate) fn advance_to(&mut self, at: Instant) {
        self.now = self.now.max(at);
        while let Some(entry) = self
            .parcels
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now)
        {
            let parcel = entry.remove();
            self.deliver(parcel);
        }
        for node in &mut self.nodes {
            if !node.asleep && node.deadline.is_some_and(|at| at <= self.now) {
                node.endpoint.handle_input(Input::Timeout, self.now);
            }
        }
        self.drain();
    }

    /// Takes what the endpoints have to say.
    pub(crate) fn drain(&mut self) {
        for n in 0..self.nodes.len() {
            if self.nodes[n].asleep {
                continue;
            }
            for parcel in self.nodes[n].drain(self.now) {
                self.post(parcel);
            }
        }
    }

    /// The user name fragment in the last description that was sent to `to`.
    pub(crate) fn remote_ufrag(&self, to: &str) -> String {
        let described = |parcel: &Parcel| match parcel {
            Parcel::Signal { to: receiver, text } if *receiver == id(to) => {
                let sdp = json(text)["sdp"].as_str()?.to_owned();
                Some(sdp.split_once("a=ice-ufrag:")?.1.lines().next()?.to_owned())
            }
            Parcel::Signal { .. } | Parcel::Datagram { .. } => None,
        };
        self.sent
            .iter()
            .rev()
            .find_map(|(_, parcel)| described(parcel))
            .expect("there was one")
    }

    /// The ICE passwords in all descriptions that were sent.
    pub(crate) fn passwords(&self) -> Vec<String> {
        let text = |parcel: &Parcel| match parcel {
            Parcel::Signal { text, .. } => Some(json(text)["sdp"].as_str()?.to_owned()),
            Parcel::Datagram { .. } => None,
        };
        let password =
            |sdp: String| Some(sdp.split_once("a=ice-pwd:")?.1.lines().next()?.to_owned());
        let sent = self.sent.iter().filter_map(|(_, parcel)| text(parcel));
        let passwords: BTreeSet<String> = sent.filter_map(password).collect();
        passwords.into_iter().collect()
    }

    /// Hands a parcel to the network.
    pub(crate) fn post(&mut self, parcel: Parcel) {
        self.sent.push((self.now, parcel.clone()));
        let earlier = self.sent.iter().rev().nth(MAX_PER_SECOND);
        assert!(
            earlier.is_none_or(|(at, _)| self.now - *at >= secs(1)),
            "a storm of datagrams"
        );
        for (delay, parcel) in (self.network)(self.now, parcel) {
            self.posted += 1;
            self.parcels.insert((self.now + delay, self.posted), parcel);
        }
    }

    /// Delivers a parcel at once.
    pub(crate) fn deliver(&mut self, parcel: Parcel) {
        let now = self.now;
        let node = self.nodes.iter_mut().find(|node| match &parcel {
            Parcel::Datagram { to, .. } => node.address == *to,
            Parcel::Signal { to, .. } => node.endpoint.id() == *to,
        });
        let Some(node) = node else {
            return self.outside.push(parcel);
        };
        if node.asleep {
            return;
        }
        match &parcel {
            Parcel::Datagram { from, to, bytes } => node.datagram(*from, *to, bytes, now),
            Parcel::Signal { text, .. } => node.endpoint.handle_input(Input::Signal { text }, now),
        }
    }
}

impl Node {
    pub(crate) fn datagram(
        &mut self,
        remote: SocketAddr,
        local: SocketAddr,
        contents: &[u8],
        now: Instant,
    ) {
        let segment_size = contents.len();
        self.endpoint.handle_input(
            Input::Datagrams {
                local,
                remote,
                contents,
                segment_size,
            },
            now,
        );
    }

    fn drain(&mut self, now: Instant) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        let mut buf = Vec::new();
        loop {
            match self.endpoint.poll_output(&mut buf) {
                Output::Transmit(t) => {
                    let (from, to) = (t.source, t.destination);
                    let datagram = |bytes: &[u8]| Parcel::Datagram {
                        from,
                        to,
                        bytes: bytes.to_vec(),
                    };
                    parcels.extend(buf.chunks(t.segment_size).map(datagram));
                }
                Output::Signal(signal) => {
                    parcels.push(Parcel::Signal {
                        to: signal.to,
                        text: signal.text,
                    });
                }
                Output::Event(event) => self.on_event(event, now),
                Output::Need(need) => self.needs.push(need),
                Output::Timeout(next) => {
                    let late = next.filter(|at| *at <= now).map(|at| now - at);
                    assert_eq!(late, None, "a deadline in the past would spin");
                    self.deadline = next;
                    return parcels;
                }
                _ => unreachable!("no other output exists"),
            }
        }
    }

    fn on_event(&mut self, event: Event, now: Instant) {
        self.check(&event);
        match &event {
            Event::Incoming { peer, .. } if self.accepts => {
                // It may have been withdrawn in the same breath.
                let _ = self.endpoint.accept(*peer, now);
            }
            Event::Message {
                peer,
                channel,
                message,
            } if self.releases => {
                if let Ok(mut peer) = self.endpoint.peer(*peer) {
                    peer.release(*channel, message.len(), now);
                }
            }
            _ => {}
        }
        self.events.push(event);
        self.times.push(now);
    }

    fn check(&mut self, event: &Event) {
        match event {
            Event::Initialised { peer } => {
                assert_eq!(
                    self.alive.insert(*peer, PeerState::New),
                    None,
                    "{peer} exists twice"
                );
            }
            Event::State { peer, from, to, .. } => {
                assert_eq!(
                    self.alive.get(peer),
                    Some(from),
                    "{event:?} does not follow"
                );
                assert_ne!(from, to);
                if to.is_terminal() {
                    self.alive.remove(peer);
                } else {
                    self.alive.insert(*peer, *to);
                }
            }
            other => {
                if let Some(peer) = peer_of(other) {
                    assert!(
                        self.alive.contains_key(&peer),
                        "{event:?} of a peer that does not exist"
                    );
                }
            }
        }
    }
}

/// The peer that an event is about. A refused signal only claims to be of one.
fn peer_of(event: &Event) -> Option<PeerId> {
    Some(match event {
        Event::Initialised { peer }
        | Event::Incoming { peer, .. }
        | Event::State { peer, .. }
        | Event::ChannelOpen { peer, .. }
        | Event::ChannelClosed { peer, .. }
        | Event::ChannelError { peer, .. }
        | Event::Writable { peer, .. }
        | Event::Message { peer, .. }
        | Event::Sent { peer, .. }
        | Event::Delivered { peer, .. }
        | Event::NotDelivered { peer, .. }
        | Event::SignalSent { peer, .. }
        | Event::SignalReceived { peer, .. }
        | Event::CandidateAdded { peer, .. }
        | Event::CandidateIgnored { peer, .. }
        | Event::NegotiationDone { peer, .. }
        | Event::NegotiationFailed { peer, .. }
        | Event::DescriptionRewritten { peer, .. }
        | Event::PathChanged { peer, .. }
        | Event::PathHealth { peer, .. }
        | Event::ReconnectScheduled { peer, .. }
        | Event::ReconnectAttempt { peer, .. }
        | Event::Restored { peer, .. }
        | Event::Metrics { peer, .. } => *peer,
        Event::SignalRefused { .. }
        | Event::KeyRollover { .. }
        | Event::Gathering { .. }
        | Event::MemberJoined { .. }
        | Event::MemberLeft { .. }
        | Event::Published { .. } => return None,
        _ => unreachable!("no other event exists"),
    })
}

pub(crate) fn id(name: &str) -> PeerId {
    name.parse().expect("a valid id")
}

pub(crate) fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1 + n as u8], 4_000))
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("json")
}

/// The names of the variants that were told.
pub(crate) fn variants(events: &[Event]) -> BTreeSet<String> {
    let name = |event: &Event| {
        let text = format!("{event:?}");
        text.split([' ', '{']).next().unwrap_or_default().to_owned()
    };
    events.iter().map(name).collect()
}
