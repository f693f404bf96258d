//! bowline endpoints in memory, and what carries datagrams and signals between them.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bowline::{
    ChannelKind, Config, ConnectOptions, Endpoint, Event, Identity, Input, Message, Need, Output,
    PeerId, Seed, SendRefusal, Transmit, UnixTime,
};
use bowline_sim::NullDtls;

use crate::turn::{RELAYED, SERVER, Turn};

/// Which DTLS the endpoints speak.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Dtls {
    Real,
    /// None; for what has nothing to do with it.
    Null,
}

/// What the time is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Virtual: it passes from one thing that happens to the next, and each way takes this long.
    Virtual(Duration),
    /// That of the machine. A datagram arrives as soon as what was sent before has been dealt with.
    Live,
}

impl Pace {
    pub(crate) fn delay(self) -> Duration {
        match self {
            Self::Virtual(delay) => delay,
            Self::Live => Duration::ZERO,
        }
    }

    /// The time at which something happens that is due at `at`. The clock of the machine is not waited for.
    pub(crate) fn at(self, at: Instant) -> Instant {
        match self {
            Self::Virtual(_) => at,
            Self::Live => at.max(Instant::now()),
        }
    }
}

/// Endpoints, each at one address.
pub(crate) struct Net {
    endpoints: Vec<Endpoint>,
    deadlines: Vec<Option<Instant>>,
    by_address: BTreeMap<SocketAddr, usize>,
    by_id: BTreeMap<PeerId, usize>,
    wire: VecDeque<(Instant, usize, Transmit, Vec<u8>)>,
    signals: VecDeque<(usize, String)>,
    turn: Turn,
    buf: Vec<u8>,
    pace: Pace,
    now: Instant,
    /// Peers that reported to be connected, over all endpoints.
    connected: usize,
    /// Bytes of messages that arrived, at any endpoint.
    received: u64,
    /// The datagrams that arrive at this endpoint, when they are kept.
    pub(crate) kept: Option<(usize, Vec<Kept>)>,
    /// Sent from 0 to 1 whenever the queue has room.
    bulk: Option<Message>,
}

/// A datagram that arrived.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) contents: Vec<u8>,
}

impl Net {
    pub(crate) fn new(count: usize, config: &Config, dtls: Dtls, pace: Pace) -> Self {
        Self::of(&vec![config; count], dtls, pace)
    }

    /// An endpoint for each configuration.
    pub(crate) fn of(configs: &[&Config], dtls: Dtls, pace: Pace) -> Self {
        let count = configs.len();
        let now = Instant::now();
        let mut net = Self {
            endpoints: Vec::new(),
            deadlines: vec![None; count],
            by_address: BTreeMap::new(),
            by_id: BTreeMap::new(),
            wire: VecDeque::new(),
            signals: VecDeque::new(),
            turn: Turn::default(),
            buf: Vec::new(),
            pace,
            now,
            connected: 0,
            received: 0,
            kept: None,
            bulk: None,
        };
        for (index, config) in configs.iter().copied().enumerate() {
            let id = id(index);
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&(index as u64).to_le_bytes());
            let (seed, unix) = (Seed::from(seed), UnixTime::from_millis(1_767_225_600_000));
            let endpoint = match dtls {
                Dtls::Real => {
                    Endpoint::new(config.clone(), Identity::without_key(id), seed, now, unix)
                        .expect("a certificate")
                }
                Dtls::Null => Endpoint::simulated(
                    config.clone(),
                    Identity::without_key(id),
                    seed,
                    now,
                    unix,
                    &NullDtls,
                ),
            };
            net.endpoints.push(endpoint);
            net.by_id.insert(id, index);
            net.by_address.insert(address(index), index);
            net.input(
                index,
                Input::SocketBound {
                    local: address(index),
                },
            );
        }
        net
    }

    /// Connects each of `pairs`, all at once.
    pub(crate) fn connect(&mut self, pairs: &[(usize, usize)]) {
        let wanted = self.connected + 2 * pairs.len();
        for (from, to) in pairs {
            let now = self.now;
            self.endpoints[*from]
                .connect(id(*to), ConnectOptions::default(), now)
                .expect("new");
            self.pump(*from);
        }
        let end = self.now + Duration::from_secs(15);
        while self.connected < wanted {
            assert!(self.now < end, "peers without loss connect");
            self.step();
        }
    }

    /// Sends messages of `size` bytes from 0 to 1, the queue always full, until `total` bytes arrived.
    pub(crate) fn send(&mut self, size: usize, total: u64) {
        let end = self.received + total;
        self.bulk = Some(Message::from(vec![7; size]));
        self.fill();
        self.pump(0);
        while self.received < end {
            self.step();
        }
        self.bulk = None;
    }

    /// Sends one message and waits until it and its acknowledgements are through.
    pub(crate) fn send_one(&mut self, from: usize, to: usize) {
        let now = self.now;
        let mut peer = self.endpoints[from].peer(id(to)).expect("connected");
        peer.send(ChannelKind::Reliable, vec![7u8; 100], now)
            .expect("the queue is empty");
        self.pump(from);
        while !self.wire.is_empty() {
            self.step();
        }
    }

    pub(crate) fn input(&mut self, index: usize, input: Input<'_>) {
        self.endpoints[index].handle_input(input, self.now);
        self.pump(index);
    }

    /// The next signal, datagrams or deadline.
    fn step(&mut self) {
        if let Some((to, text)) = self.signals.pop_front() {
            return self.input(to, Input::Signal { text: &text });
        }
        let arrival = self.wire.front().map(|(at, ..)| *at);
        let wakeup = self.deadlines.iter().flatten().min().copied();
        match (arrival, wakeup) {
            (Some(at), wakeup) if wakeup.is_none_or(|wakeup| at <= wakeup) => {
                self.now = self.pace.at(self.now.max(at));
                if let Some((_, to, transmit, contents)) = self.wire.pop_front() {
                    self.deliver(to, transmit, contents);
                }
            }
            (_, Some(at)) => {
                self.now = self.pace.at(self.now.max(at));
                for index in 0..self.endpoints.len() {
                    if self.deadlines[index].is_some_and(|at| at <= self.now) {
                        self.input(index, Input::Timeout);
                    }
                }
            }
            (_, None) => panic!("nothing will ever happen"),
        }
    }

    fn deliver(&mut self, to: usize, transmit: Transmit, contents: Vec<u8>) {
        let Transmit {
            source: remote,
            destination: local,
            segment_size,
        } = transmit;
        if let Some((_, kept)) = self.kept.as_mut().filter(|(index, _)| *index == to) {
            kept.push(Kept {
                local,
                remote,
                contents: contents.clone(),
            });
        }
        self.input(
            to,
            Input::Datagrams {
                local,
                remote,
                contents: &contents,
                segment_size,
            },
        );
    }

    fn pump(&mut self, index: usize) {
        loop {
            match self.endpoints[index].poll_output(&mut self.buf) {
                Output::Transmit(transmit) if [SERVER, RELAYED].contains(&transmit.destination) => {
                    let at = self.now + self.pace.delay();
                    for (transmit, contents) in self.turn.handle(transmit, &self.buf) {
                        if let Some(to) = self.by_address.get(&transmit.destination) {
                            self.wire.push_back((at, *to, transmit, contents));
                        }
                    }
                }
                Output::Need(Need::Bind { need, ip }) => {
                    let local = SocketAddr::new(ip, 5_000);
                    self.by_address.insert(local, index);
                    let local = Some(local);
                    let now = self.now;
                    self.endpoints[index].handle_input(Input::Bound { need, local }, now);
                }
                Output::Transmit(transmit) => {
                    if let Some(to) = self.by_address.get(&transmit.destination) {
                        let contents = std::mem::take(&mut self.buf);
                        self.wire.push_back((
                            self.now + self.pace.delay(),
                            *to,
                            transmit,
                            contents,
                        ));
                    }
                }
                Output::Signal(signal) => self
                    .signals
                    .push_back((self.by_id[&signal.to], signal.text)),
                Output::Event(event) => self.on_event(index, event),
                Output::Timeout(deadline) => break self.deadlines[index] = deadline,
                _ => {}
            }
        }
    }

    fn on_event(&mut self, index: usize, event: Event) {
        let now = self.now;
        match event {
            Event::Incoming { peer, .. } => {
                self.endpoints[index]
                    .accept(peer, now)
                    .expect("it was offered");
            }
            Event::State {
                to: bowline::PeerState::Connected,
                ..
            } => self.connected += 1,
            Event::Message {
                peer,
                channel,
                message,
            } => {
                self.received += message.len() as u64;
                let mut peer = self.endpoints[index].peer(peer).expect("it sends");
                peer.release(channel, message.len(), now);
            }
            Event::Writable { .. } => self.fill(),
            _ => {}
        }
    }

    fn fill(&mut self) {
        let Some(message) = &self.bulk else {
            return;
        };
        let mut peer = self.endpoints[0].peer(id(1)).expect("connected");
        loop {
            match peer.send(ChannelKind::Reliable, message.clone(), self.now) {
                Ok(_) => {}
                Err(error) if error.reason == SendRefusal::Full => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// The peer id of an endpoint.
fn id(index: usize) -> PeerId {
    PeerId::new(&format!("peer-{index}")).expect("a valid id")
}

fn address(index: usize) -> SocketAddr {
    let [.., high, low] = u32::try_from(index + 1)
        .expect("few endpoints")
        .to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, 0, high, low), 4_000))
}
