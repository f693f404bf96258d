//! Two endpoints joined by a perfect network of 10 ms, with real DTLS: what an embedding application sees.
// The test brings the time.
#![allow(clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bowline::{
    Cause, ChannelConfig, ChannelKind, Config, ConnectOptions, Endpoint, Event, Input, Message,
    Output, PeerId, PeerState, Seed, UnixTime,
};

const DELAY: Duration = Duration::from_millis(10);

/// Something on its way.
enum Parcel {
    Datagram { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    Signal { to: PeerId, text: String },
}

/// Endpoints, what is under way between them, and the events of each.
struct World {
    now: Instant,
    endpoints: Vec<(SocketAddr, Endpoint, Option<Instant>, Vec<Event>)>,
    parcels: VecDeque<(Instant, Parcel)>,
}

impl World {
    fn new(names: &[&str], config: &Config) -> Self {
        let now = Instant::now();
        let endpoint = |(n, name): (usize, &&str)| {
            let address = SocketAddr::from(([192, 0, 2, 1 + n as u8], 4_000));
            let seed = Seed::from([n as u8 + 1; 32]);
            let id = name.parse().expect("a valid id");
            let mut endpoint =
                Endpoint::new(config.clone(), id, seed, now, UnixTime::from_millis(0))
                    .expect("a certificate");
            endpoint.handle_input(Input::SocketBound { local: address }, now);
            (address, endpoint, None, Vec::new())
        };
        let endpoints = names.iter().enumerate().map(endpoint).collect();
        Self { now, endpoints, parcels: VecDeque::new() }
    }

    fn pair() -> Self {
        Self::new(&["alice", "bob"], &Config::default())
    }

    fn connected() -> Self {
        let mut world = Self::pair();
        let now = world.now;
        world.endpoint(0).connect(id("bob"), ConnectOptions::default(), now).expect("starts");
        world.run(Duration::from_secs(1));
        assert!(world.saw_state(0, PeerState::Connected) && world.saw_state(1, PeerState::Connected));
        world
    }

    fn endpoint(&mut self, n: usize) -> &mut Endpoint {
        &mut self.endpoints[n].1
    }

    fn events(&self, n: usize) -> &[Event] {
        &self.endpoints[n].3
    }

    fn saw_state(&self, n: usize, state: PeerState) -> bool {
        self.events(n).iter().any(|e| matches!(e, Event::State { to, .. } if *to == state))
    }

    fn messages(&self, n: usize) -> Vec<(u32, Message)> {
        let message = |event: &Event| match event {
            Event::Message { channel, message, .. } => {
                Some((channel.to_string().parse().expect("a number"), message.clone()))
            }
            _ => None,
        };
        self.events(n).iter().filter_map(message).collect()
    }

    /// Runs for `duration`, accepting every peer that asks and releasing every message.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            for n in 0..self.endpoints.len() {
                self.drain(n);
            }
            let deadlines = self.endpoints.iter().filter_map(|(_, _, deadline, _)| *deadline);
            let next = deadlines.chain(self.parcels.front().map(|(at, _)| *at)).min();
            match next {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            while self.parcels.front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, parcel) = self.parcels.pop_front().expect("there is one");
                self.deliver(parcel);
            }
            for (_, endpoint, deadline, _) in &mut self.endpoints {
                if deadline.is_some_and(|at| at <= self.now) {
                    endpoint.handle_input(Input::Timeout, self.now);
                }
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, parcel: Parcel) {
        let now = self.now;
        match parcel {
            Parcel::Datagram { from, to, bytes } => {
                if let Some((_, endpoint, ..)) = self.endpoints.iter_mut().find(|e| e.0 == to) {
                    let segment_size = bytes.len();
                    let input =
                        Input::Datagrams { local: to, remote: from, contents: &bytes, segment_size };
                    endpoint.handle_input(input, now);
                }
            }
            Parcel::Signal { to, text } => {
                if let Some((_, endpoint, ..)) = self.endpoints.iter_mut().find(|e| e.1.id() == to) {
                    endpoint.handle_input(Input::Signal { text: &text }, now);
                }
            }
        }
    }

    fn drain(&mut self, n: usize) {
        let (now, at) = (self.now, self.now + DELAY);
        let (_, endpoint, deadline, events) = &mut self.endpoints[n];
        let mut buf = Vec::new();
        loop {
            match endpoint.poll_output(&mut buf) {
                Output::Transmit(t) => {
                    for bytes in buf.chunks(t.segment_size) {
                        let (from, to) = (t.source, t.destination);
                        self.parcels.push_back((at, Parcel::Datagram { from, to, bytes: bytes.to_vec() }));
                    }
                }
                Output::Signal(signal) => {
                    let (to, text) = (signal.to, signal.text);
                    self.parcels.push_back((at, Parcel::Signal { to, text }));
                }
                Output::Event(event) => {
                    match &event {
                        Event::Incoming { peer, .. } => endpoint.accept(*peer, now).expect("waits"),
                        Event::Message { peer, channel, message } => {
                            if let Ok(mut peer) = endpoint.peer(*peer) {
                                peer.release(*channel, message.len(), now);
                            }
                        }
                        _ => {}
                    }
                    events.push(event);
                }
                Output::Timeout(next) => {
                    assert!(next.is_none_or(|at| at > now), "a deadline in the past would spin");
                    *deadline = next;
                    return;
                }
                _ => {}
            }
        }
    }
}

fn id(name: &str) -> PeerId {
    name.parse().expect("a valid id")
}

#[test]
fn two_peers_connect_and_exchange_messages_on_all_four_kinds() {
    let mut world = World::connected();
    let now = world.now;
    for kind in ChannelKind::ALL {
        let mut bob = world.endpoint(0).peer(id("bob")).expect("exists");
        bob.send(kind, format!("hello on {kind}"), now).expect("queued");
        bob.send(kind, Message::binary(vec![0, 255]), now).expect("queued");
        bob.send(kind, Message::text(""), now).expect("queued");
    }
    world.run(Duration::from_secs(1));
    let mut got = world.messages(1);
    got.sort_by_key(|(channel, _)| *channel);
    let expected: Vec<_> = ChannelKind::ALL
        .into_iter()
        .zip(0..)
        .flat_map(|(kind, n)| {
            [
                (n, Message::text(format!("hello on {kind}"))),
                (n, Message::binary(vec![0, 255])),
                (n, Message::text("")),
            ]
        })
        .collect();
    assert_eq!(got, expected);
}

#[test]
fn what_is_sent_before_the_connection_is_up_arrives_in_order() {
    let mut world = World::pair();
    let now = world.now;
    world.endpoint(0).connect(id("bob"), ConnectOptions::default(), now).expect("starts");
    for n in 0..100_u32 {
        let mut bob = world.endpoint(0).peer(id("bob")).expect("exists");
        bob.send(ChannelKind::Reliable, n.to_be_bytes().to_vec(), now).expect("queued");
    }
    world.run(Duration::from_secs(1));
    let got: Vec<_> = world.messages(1).into_iter().map(|(_, message)| message).collect();
    let sent: Vec<_> = (0..100_u32).map(|n| Message::binary(n.to_be_bytes().to_vec())).collect();
    assert_eq!(got, sent);
}

#[test]
fn a_message_far_larger_than_sctp_takes_arrives_whole() {
    let mut world = World::connected();
    let now = world.now;
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut bob = world.endpoint(0).peer(id("bob")).expect("exists");
    bob.send(ChannelKind::File, large.clone(), now).expect("queued");
    world.run(Duration::from_secs(30));
    let got = world.messages(1);
    assert_eq!(got.len(), 1);
    assert!(got[0].1.data == large, "the bytes are the same");
}

#[test]
fn a_graceful_close_delivers_what_is_queued_and_is_told_in_half_a_round_trip() {
    let mut world = World::connected();
    let now = world.now;
    let mut bob = world.endpoint(0).peer(id("bob")).expect("exists");
    for n in 0..50_u8 {
        bob.send(ChannelKind::File, vec![n; 10_000], now).expect("queued");
    }
    bob.close(now);
    world.run(Duration::from_secs(5));
    assert_eq!(world.messages(1).len(), 50);
    let end = |n: usize| {
        world.events(n).iter().rev().find_map(|event| match event {
            Event::State { to: PeerState::Closed, cause, at, .. } => Some((*cause, *at)),
            _ => None,
        })
    };
    let (ours, _) = end(0).expect("alice saw the end");
    let (theirs, _) = end(1).expect("bob saw the end");
    assert_eq!((ours, theirs), (Cause::LocalClose, Cause::RemoteClose));
    assert!(!world.events(0).iter().any(|e| matches!(e, Event::NotDelivered { .. })));
    assert!(matches!(world.events(0).last(), Some(Event::State { .. })), "nothing after the end");
    for n in 0..2 {
        assert_eq!(world.endpoint(n).peers().count(), 0);
        assert_eq!(world.endpoints[n].2, None, "no deadline is left");
    }
}

#[test]
fn both_sides_may_call_at_once() {
    let mut world = World::pair();
    let now = world.now;
    world.endpoint(0).connect(id("bob"), ConnectOptions::default(), now).expect("starts");
    world.endpoint(1).connect(id("alice"), ConnectOptions::default(), now).expect("starts");
    world.run(Duration::from_secs(2));
    let session = |n: usize| {
        world.events(n).iter().find_map(|event| match event {
            Event::NegotiationDone { session, .. } => Some(*session),
            _ => None,
        })
    };
    assert!(session(0).is_some());
    assert_eq!(session(0), session(1));
    for n in 0..2 {
        let connected = |e: &&Event| matches!(e, Event::State { to: PeerState::Connected, .. });
        assert_eq!(world.events(n).iter().filter(connected).count(), 1);
    }
}

#[test]
fn an_ice_restart_keeps_the_session_and_loses_nothing() {
    let mut world = World::connected();
    for n in 0..40_u8 {
        let now = world.now;
        for side in 0..2 {
            let other = id(["bob", "alice"][side]);
            let mut peer = world.endpoint(side).peer(other).expect("exists");
            peer.send(ChannelKind::Reliable, vec![n], now).expect("queued");
            if n == 10 && side == 0 || n == 25 && side == 1 {
                peer.restart_ice(now);
            }
        }
        world.run(Duration::from_millis(10));
    }
    world.run(Duration::from_secs(2));
    let sent: Vec<_> = (0..40_u8).map(|n| (1, Message::binary(vec![n]))).collect();
    for n in 0..2 {
        assert_eq!(world.messages(n), sent);
        let done = |e: &&Event| matches!(e, Event::NegotiationDone { .. });
        assert_eq!(world.events(n).iter().filter(done).count(), 3, "an offer and two restarts");
        assert!(!world.saw_state(n, PeerState::Disconnected));
    }
}

#[test]
fn custom_channels_open_on_both_sides_with_their_labels() {
    let mut world = World::connected();
    let now = world.now;
    let mut config = ChannelConfig::new("chat");
    config.protocol = "text/1".to_owned();
    let mut bob = world.endpoint(0).peer(id("bob")).expect("exists");
    let channel = bob.open_channel(config, now).expect("opens");
    bob.send(channel, "first", now).expect("queued");
    world.run(Duration::from_secs(1));
    let opened = |n: usize| {
        world.events(n).iter().find_map(|event| match event {
            Event::ChannelOpen { label, protocol, remote, .. } if label == "chat" => {
                Some((protocol.clone(), *remote))
            }
            _ => None,
        })
    };
    assert_eq!(opened(0), Some(("text/1".to_owned(), false)));
    assert_eq!(opened(1), Some(("text/1".to_owned(), true)));
    assert_eq!(world.messages(1).len(), 1);
}
