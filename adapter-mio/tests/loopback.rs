//! Two drivers in one poll, over loopback. Signalling is a queue. Every wait ends with an event or at a deadline.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bowline::{
    ChannelId, ChannelKind, Config, ConnectOptions, Endpoint, Event, Identity, Message, PeerId,
    PeerState, Seed, SendRefusal, UnixTime,
};
use bowline_mio::{Action, Driver, DriverStats};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

#[test]
fn two_drivers_connect_exchange_all_four_kinds_and_close() {
    let mut pair = Pair::connected();
    for kind in ChannelKind::ALL {
        let text = format!("from alice on {kind}");
        pair.send(ALICE, kind, text.as_str().into())
            .expect("accepted");
        pair.send(BOB, kind, vec![kind as u8; 3_000].into())
            .expect("accepted");
    }
    pair.run_until("all messages", |pair| pair.messages().count() == 8);
    for kind in ChannelKind::ALL {
        let text = Message::text(format!("from alice on {kind}"));
        assert_eq!(pair.received(BOB, kind), [&text]);
        assert_eq!(
            pair.received(ALICE, kind),
            [&Message::binary(vec![kind as u8; 3_000])]
        );
    }

    pair.driver(ALICE).endpoint_mut().close(Instant::now());
    pair.run_until("both closed", |pair| pair.closed() == 2);
    for who in [ALICE, BOB] {
        assert_eq!(pair.driver(who).endpoint().peers().count(), 0);
        assert_eq!(pair.driver(who).stats(), DriverStats::default());
    }
}

#[test]
fn drivers_on_every_address_of_the_machine_connect() {
    let mut pair = Pair::bound_to(&Driver::ANY);
    pair.connect();
    pair.wait_connected();
    pair.send(ALICE, ChannelKind::Reliable, "hello".into())
        .expect("accepted");
    pair.run_until("the message", |pair| {
        !pair.received(BOB, ChannelKind::Reliable).is_empty()
    });
    for who in [ALICE, BOB] {
        let stats = pair.driver(who).stats();
        assert_eq!((stats.unknown_source, stats.unknown_destination), (0, 0));
    }
}

#[test]
fn a_burst_beyond_every_buffer_arrives_whole_and_in_order() {
    const MESSAGES: u32 = 1_024;
    let mut pair = Pair::connected();
    let message = |n: u32| Message::binary(n.to_be_bytes().repeat(4_096));
    let (mut next, mut refused) = (0, 0);
    pair.run_until("the whole burst", |pair| {
        while next < MESSAGES {
            match pair.send(ALICE, ChannelKind::File, message(next)) {
                Ok(()) => next += 1,
                Err(reason) => {
                    assert_eq!(reason, SendRefusal::Full);
                    refused += 1;
                    break;
                }
            }
        }
        pair.received(BOB, ChannelKind::File).len() == MESSAGES as usize
    });
    assert!(refused > 0, "16 MiB do not fit into the queue");
    for (n, received) in (0..).zip(pair.received(BOB, ChannelKind::File)) {
        assert!(*received == message(n), "message {n}");
    }
}

#[test]
fn an_application_that_does_not_poll_loses_nothing_reliable() {
    const MESSAGES: u32 = 3_000;
    let mut pair = Pair::connected();
    for n in 0..MESSAGES {
        pair.send(ALICE, ChannelKind::Reliable, n.to_string().into())
            .expect("accepted");
    }
    pair.deaf = Some(BOB);
    let pause = Instant::now() + Duration::from_millis(300);
    pair.run_until("the pause is over", |_| Instant::now() >= pause);
    assert_eq!(
        pair.driver(BOB).poll_timeout(Instant::now()),
        Some(Duration::ZERO)
    );

    pair.deaf = None;
    pair.run_until("all messages", |pair| {
        pair.received(BOB, ChannelKind::Reliable).len() == MESSAGES as usize
    });
    for (n, received) in (0..).zip(pair.received(BOB, ChannelKind::Reliable)) {
        assert_eq!(received.as_text(), Some(i32::to_string(&n).as_str()));
    }
}

#[test]
fn a_command_is_carried_out_without_a_flush() {
    let mut pair = Pair::new();
    assert_eq!(pair.driver(ALICE).deadline(), None, "nothing to wait for");
    let now = Instant::now();
    pair.driver(ALICE)
        .endpoint_mut()
        .connect(id(BOB), ConnectOptions::default(), now)
        .expect("a new peer");
    assert_eq!(
        pair.driver(ALICE).poll_timeout(now),
        Some(Duration::ZERO),
        "actions wait"
    );
    let actions: Vec<_> = std::iter::from_fn(|| pair.driver(ALICE).poll_action()).collect();
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::Signal(_))),
        "{actions:?}"
    );
    assert_ne!(
        pair.driver(ALICE).poll_timeout(now),
        Some(Duration::ZERO),
        "all is done"
    );
}

#[test]
fn a_driver_can_be_dropped_at_any_time_and_its_tokens_used_again() {
    for turns in [0, 1, 2, 3, 5, 8, 13, 21, 34] {
        let mut pair = Pair::new();
        pair.connect();
        for _ in 0..turns {
            pair.turn(Duration::from_millis(1));
        }
        let bound: Vec<_> = pair.driver(BOB).local_addresses().collect();
        pair.drivers[BOB] = None;
        for _ in 0..5 {
            pair.turn(Duration::from_millis(1));
        }

        // The port and the tokens are free, and the new driver's sockets get their events.
        let again = driver(BOB, &pair.poll, &bound);
        pair.drivers[BOB] = Some(again);
        pair.bystander.send_to(b"?", bound[0]).expect("sent");
        pair.run_until("the datagram", |pair| {
            pair.driver(BOB).endpoint().stats().datagrams_received > 0
        });
    }
}

#[test]
fn other_sources_keep_their_events() {
    let mut pair = Pair::connected();
    let destination = pair.bystander.local_addr().expect("bound");
    pair.bystander
        .send_to(b"to myself", destination)
        .expect("sent");
    pair.run_until("the bystander's event", |pair| pair.foreign_events > 0);
}

#[test]
fn a_rescan_without_a_change_tells_the_endpoint_nothing() {
    let poll = Poll::new().expect("a poll");
    let mut driver = driver(ALICE, &poll, &[([0, 0, 0, 0], 0).into()]);
    let before: Vec<_> = driver.local_addresses().collect();
    assert!(
        before
            .iter()
            .all(|local| local.is_ipv4() && !local.ip().is_unspecified())
    );
    driver.rescan_interfaces(Instant::now()).expect("listed");
    assert_eq!(driver.local_addresses().collect::<Vec<_>>(), before);
    assert!(driver.poll_action().is_none());
}

#[test]
fn an_endpoint_outlives_its_driver_and_moves_to_another() {
    let mut pair = Pair::connected();
    let old: Vec<_> = pair.driver(ALICE).local_addresses().collect();
    let endpoint = pair.drivers[ALICE]
        .take()
        .expect("there")
        .into_endpoint(Instant::now());
    let moved = Driver::new(
        endpoint,
        pair.poll.registry(),
        FIRST[ALICE],
        &[ANY_PORT],
        Instant::now(),
    );
    pair.drivers[ALICE] = Some(moved.expect("bound"));
    let new: Vec<_> = pair.driver(ALICE).local_addresses().collect();
    assert_ne!(old, new, "another port");

    pair.send(ALICE, ChannelKind::Control, "still here".into())
        .expect("accepted");
    pair.run_until("the message over the new socket", |pair| {
        !pair.received(BOB, ChannelKind::Control).is_empty()
    });
}

const ALICE: usize = 0;
const BOB: usize = 1;
const FIRST: [Token; 2] = [Token(100), Token(200)];
const BYSTANDER: Token = Token(300);
const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const PATIENCE: Duration = Duration::from_secs(30);

/// Two drivers, the link between them, and what they told.
struct Pair {
    poll: Poll,
    events: Events,
    drivers: [Option<Driver>; 2],
    link: VecDeque<(PeerId, String)>,
    told: [Vec<Event>; 2],
    messages: BTreeMap<(usize, ChannelId), Vec<Message>>,
    /// Who does not poll its actions.
    deaf: Option<usize>,
    bystander: UdpSocket,
    foreign_events: usize,
}

impl Pair {
    fn new() -> Self {
        Self::bound_to(&[ANY_PORT])
    }

    fn bound_to(addresses: &[SocketAddr]) -> Self {
        let poll = Poll::new().expect("a poll");
        let mut bystander = UdpSocket::bind(ANY_PORT).expect("bound");
        poll.registry()
            .register(&mut bystander, BYSTANDER, Interest::READABLE)
            .expect("registered");
        let drivers = [ALICE, BOB].map(|who| Some(driver(who, &poll, addresses)));
        Self {
            poll,
            events: Events::with_capacity(64),
            drivers,
            link: VecDeque::new(),
            told: [Vec::new(), Vec::new()],
            messages: BTreeMap::new(),
            deaf: None,
            bystander,
            foreign_events: 0,
        }
    }

    fn connected() -> Self {
        let mut pair = Self::new();
        pair.connect();
        pair.wait_connected();
        pair
    }

    fn wait_connected(&mut self) {
        self.run_until("both connected", |pair| {
            pair.reached(PeerState::Connected) == 2
        });
    }

    fn connect(&mut self) {
        self.driver(ALICE)
            .endpoint_mut()
            .connect(id(BOB), ConnectOptions::default(), Instant::now())
            .expect("a new peer");
    }

    fn driver(&mut self, who: usize) -> &mut Driver {
        self.drivers[who].as_mut().expect("not dropped")
    }

    fn send(&mut self, who: usize, kind: ChannelKind, message: Message) -> Result<(), SendRefusal> {
        let mut endpoint = self.driver(who).endpoint_mut();
        let mut peer = endpoint.peer(id(1 - who)).expect("connected");
        peer.send(kind, message, Instant::now())
            .map(drop)
            .map_err(|refused| refused.reason)
    }

    fn run_until(&mut self, what: &str, mut is_reached: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_reached(self) {
            assert!(
                Instant::now() < deadline,
                "not reached: {what}\n{:#?}",
                self.told
            );
            self.turn(Duration::from_millis(50));
        }
    }

    fn turn(&mut self, longest: Duration) {
        self.run_actions();
        let now = Instant::now();
        let timeouts = self
            .drivers
            .iter()
            .flatten()
            .filter_map(|driver| driver.poll_timeout(now));
        let timeout = timeouts
            .min()
            .map_or(longest, |timeout| timeout.min(longest));
        self.poll
            .poll(&mut self.events, Some(timeout))
            .expect("polled");
        let now = Instant::now();
        for event in &self.events {
            let mut drivers = self.drivers.iter_mut().flatten();
            if !drivers.any(|driver| driver.handle_event(event, now)) {
                assert_eq!(event.token(), BYSTANDER);
                self.foreign_events += 1;
            }
        }
        self.drivers
            .iter_mut()
            .flatten()
            .for_each(|driver| driver.handle_timeout(now));
        self.run_actions();
    }

    fn run_actions(&mut self) {
        for who in [ALICE, BOB] {
            while self.deaf != Some(who)
                && let Some(action) = self.drivers[who].as_mut().and_then(Driver::poll_action)
            {
                self.on_action(who, action);
            }
        }
        while let Some((to, text)) = self.link.pop_front() {
            let who = usize::from(to == id(BOB));
            if let Some(driver) = &mut self.drivers[who] {
                driver.handle_signal(&text, Instant::now());
            }
        }
    }

    fn on_action(&mut self, who: usize, action: Action) {
        let now = Instant::now();
        match action {
            Action::Signal(signal) => self.link.push_back((signal.to, signal.text)),
            Action::Event(Event::Message {
                peer,
                channel,
                message,
            }) => {
                let mut endpoint = self.driver(who).endpoint_mut();
                if let Ok(mut peer) = endpoint.peer(peer) {
                    peer.release(channel, message.len(), now);
                }
                drop(endpoint);
                self.messages
                    .entry((who, channel))
                    .or_default()
                    .push(message);
            }
            Action::Event(event) => {
                if let Event::Incoming { peer, .. } = event {
                    self.driver(who)
                        .endpoint_mut()
                        .accept(peer, now)
                        .expect("it waits");
                }
                self.told[who].push(event);
            }
            other => panic!("{other:?}"),
        }
    }

    /// How many of the two have told that they reached `state`.
    fn reached(&self, state: PeerState) -> usize {
        let is = |event: &Event| matches!(event, Event::State { to, .. } if *to == state);
        self.told
            .iter()
            .filter(|events| events.iter().any(is))
            .count()
    }

    fn closed(&self) -> usize {
        self.reached(PeerState::Closed)
    }

    fn messages(&self) -> impl Iterator<Item = &Message> {
        self.messages.values().flatten()
    }

    fn received(&self, who: usize, kind: ChannelKind) -> Vec<&Message> {
        self.messages
            .get(&(who, kind.id()))
            .into_iter()
            .flatten()
            .collect()
    }
}

fn driver(who: usize, poll: &Poll, addresses: &[SocketAddr]) -> Driver {
    let config = Config::builder().loopback(true).build().expect("valid");
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("entropy");
    let now = Instant::now();
    let endpoint = Endpoint::new(
        config,
        Identity::without_key(id(who)),
        Seed::from(seed),
        now,
        UnixTime::default(),
    );
    let endpoint = endpoint.expect("a certificate");
    Driver::new(endpoint, poll.registry(), FIRST[who], addresses, now).expect("bound")
}

fn id(who: usize) -> PeerId {
    PeerId::new(["alice", "bob"][who]).expect("valid")
}
