//! Two machines joined by a transport that delays, reorders streams, refuses writes and resets streams, beside a model
//! of what the applications may see.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::channel::kind::{ChannelConfig, Message, Ordering, Reliability};
use crate::channel::{ChannelOutput, Channels, Framing, Role, StreamKey};
use crate::config::{ChannelLimits, Config};
use crate::event::PeerFault;
use crate::id::{ChannelId, MessageId, PeerId};

pub(super) struct Pair {
    pub(super) sides: [Side; 2],
    pub(super) now: Instant,
    pub(super) rng: fastrand::Rng,
    /// Out of 100, the writes that the transport refuses and the unreliable messages that it loses.
    pub(super) refusals: u8,
    pub(super) losses: u8,
}

pub(super) struct Side {
    pub(super) channels: Channels,
    /// The streams that the transport has, and whether they are open.
    streams: BTreeMap<StreamKey, Stream>,
    /// What is on the way to the other side, by stream id.
    pub(super) wires: BTreeMap<u16, VecDeque<Packet>>,
    /// What the transport has yet to report.
    facts: VecDeque<Fact>,
    /// What came out and is not the transport's business.
    pub(super) events: Vec<ChannelOutput>,
    pub(super) apps: BTreeMap<ChannelId, App>,
    pub(super) written: usize,
    pub(super) meta_written: usize,
}

#[derive(Clone)]
struct Stream {
    id: u16,
    is_open: bool,
    /// It was reset, and its owner has not heard of it: what is written goes nowhere.
    is_reset: bool,
    ordering: Ordering,
    reliability: Reliability,
}

pub(super) struct Packet {
    pub(super) binary: bool,
    pub(super) data: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Fact {
    Open(StreamKey),
    Closed(StreamKey),
}

/// The model of one channel, as one application sees it.
#[derive(Default)]
pub(super) struct App {
    pub(super) label: String,
    pub(super) is_reliable: bool,
    pub(super) is_ordered: bool,
    pub(super) accepted: Vec<(Message, Outcome)>,
    /// The first message without an outcome.
    settled: usize,
    pub(super) received: Vec<Message>,
    /// The lengths of the messages that were not released.
    pub(super) unreleased: VecDeque<usize>,
    pub(super) is_closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Open,
    Delivered,
    Never,
    Maybe,
}

impl Pair {
    pub(super) fn new(limits: [ChannelLimits; 2], seed: u64) -> Self {
        let now = Instant::now();
        let [a, b] = limits;
        let sides = [Side::new("a", &a), Side::new("b", &b)];
        Self {
            sides,
            now,
            rng: fastrand::Rng::with_seed(seed),
            refusals: 0,
            losses: 0,
        }
    }

    pub(super) fn connected() -> Self {
        let mut pair = Self::new([limits(), limits()], 0);
        pair.start();
        pair.settle();
        pair
    }

    pub(super) fn start(&mut self) {
        for (side, role) in [(0, Role::Even), (1, Role::Odd)] {
            self.sides[side]
                .channels
                .start(Framing::Bowline, role, 262_144, self.now);
        }
        self.pump();
    }

    pub(super) fn send(&mut self, side: usize, channel: ChannelId, message: Message) -> bool {
        let s = &mut self.sides[side];
        let sent = s.channels.send(channel, message.clone(), self.now);
        if let Ok(id) = &sent {
            let app = s.apps.get_mut(&channel).expect("known");
            assert_eq!(
                id.0,
                app.accepted.len() as u64,
                "ids count from 0 without gaps"
            );
            app.accepted.push((message, Outcome::Open));
        }
        self.pump();
        sent.is_ok()
    }

    pub(super) fn open(&mut self, side: usize, config: ChannelConfig) -> Option<ChannelId> {
        let s = &mut self.sides[side];
        let channel = s.channels.open(config.clone(), self.now).ok()?;
        let app = App {
            label: config.label,
            is_reliable: config.reliability == Reliability::Reliable,
            is_ordered: config.ordering == Ordering::Ordered,
            ..App::default()
        };
        s.apps.insert(channel, app);
        self.pump();
        Some(channel)
    }

    pub(super) fn close(&mut self, side: usize, channel: ChannelId) {
        let _ = self.sides[side].channels.close(channel, self.now);
        self.pump();
    }

    /// The live channel with an agreed id, of which a test has one at a time.
    pub(super) fn agreed(&self, side: usize) -> Option<ChannelId> {
        let mut apps = self.sides[side].apps.iter();
        apps.find(|(id, app)| id.0 >= 4 && !app.is_closed)
            .map(|(id, _)| *id)
    }

    /// Releases messages, the oldest first, as long as they are within `bytes`.
    pub(super) fn release(&mut self, side: usize, channel: ChannelId, mut bytes: usize) {
        let s = &mut self.sides[side];
        let app = s.apps.get_mut(&channel).expect("known");
        while let Some(len) = app.unreleased.front().copied().filter(|len| *len <= bytes) {
            app.unreleased.pop_front();
            bytes -= len;
            s.channels.release(channel, len, self.now);
        }
        self.pump();
    }

    pub(super) fn release_all(&mut self) {
        for side in 0..2 {
            let channels: Vec<_> = self.sides[side].apps.keys().copied().collect();
            channels
                .into_iter()
                .for_each(|channel| self.release(side, channel, usize::MAX));
        }
    }

    /// The transport resets a stream by itself: some of what is on the way is lost, and each side hears of it later.
    pub(super) fn reset(&mut self, id: u16) {
        for side in 0..2 {
            if let Some(wire) = self.sides[side].wires.get_mut(&id) {
                wire.truncate(self.rng.usize(0..=wire.len()));
            }
            let s = &mut self.sides[side];
            let hit = s
                .streams
                .iter_mut()
                .find(|(_, stream)| stream.id == id && stream.is_open && !stream.is_reset);
            if let Some((key, stream)) = hit {
                stream.is_reset = true;
                s.facts.push_back(Fact::Closed(*key));
            }
        }
    }

    /// Lets one thing happen. False when nothing can without time passing.
    pub(super) fn step(&mut self) -> bool {
        let side = self.rng.usize(0..2);
        let happened = [side, 1 - side].into_iter().any(|side| {
            let facts_first = self.rng.bool();
            (facts_first && self.report(side)) || self.carry(side) || self.report(side)
        });
        if happened {
            self.pump();
        }
        happened
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now += by;
        for side in &mut self.sides {
            side.channels.handle_timeout(self.now);
            let next = side.channels.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "no spinning");
        }
        self.pump();
    }

    /// Lets everything happen until nothing is left to do, the applications consuming all.
    pub(super) fn settle(&mut self) {
        for _ in 0..200_000 {
            self.release_all();
            if self.step() {
                continue;
            }
            let deadlines = self
                .sides
                .iter()
                .filter_map(|side| side.channels.poll_timeout());
            match deadlines.min() {
                Some(at) => self.advance(at - self.now),
                None => return,
            }
        }
        panic!("does not settle");
    }

    /// Closes both sides gracefully and checks that the account is balanced.
    pub(super) fn finish(&mut self) {
        self.settle();
        for side in 0..2 {
            self.sides[side].channels.begin_drain();
        }
        self.pump();
        self.settle();
        // The peer ends a connection whose META does not hold.
        let is_broken = self
            .sides
            .iter()
            .any(|side| side.events.contains(&ChannelOutput::Broken));
        for side in &mut self.sides {
            assert!(is_broken || side.channels.is_drained());
            side.channels.abandon(self.now);
        }
        self.pump();
        self.check_account(true);
    }

    /// What one side tells about its messages is what the other side has seen. Equal messages are counted together.
    pub(super) fn check_account(&self, is_final: bool) {
        for side in 0..2 {
            for (channel, app) in &self.sides[side].apps {
                let received = self.received_by_other(side, *channel);
                for (message, outcomes) in app.outcomes() {
                    let count = |outcome| outcomes.iter().filter(|o| **o == outcome).count();
                    let copies = received.iter().filter(|other| **other == *message).count();
                    let case = format!("{} {channel}: {copies} of {outcomes:?}", app.label);
                    let never = count(Outcome::Never);
                    assert!(copies >= count(Outcome::Delivered), "{case}");
                    assert!(copies <= outcomes.len() - never, "{case}");
                    let untold = count(Outcome::Open);
                    assert!(
                        !is_final || !app.is_reliable || untold == 0,
                        "{case}: not told"
                    );
                }
                let invented = received
                    .iter()
                    .find(|m| !app.accepted.iter().any(|(a, _)| a == *m));
                assert_eq!(invented, None);
            }
        }
    }

    pub(super) fn pump(&mut self) {
        for side in 0..2 {
            self.drain_outputs(side);
            self.write(side);
            self.drain_outputs(side);
            let s = &mut self.sides[side];
            let keys: Vec<_> = s.channels.backlogged().collect();
            for key in keys {
                let id = s.streams.get(&key).map(|stream| stream.id);
                let wire = id.and_then(|id| s.wires.get(&id));
                let buffered = wire.map_or(0, |wire| wire.iter().map(|p| p.data.len()).sum());
                s.channels.on_backlog(key, buffered, self.now);
            }
            self.drain_outputs(side);
            self.sides[side].channels.check_invariants();
        }
    }

    pub(super) fn faults(&self) -> Vec<PeerFault> {
        let events = self.sides.iter().flat_map(|side| &side.events);
        events
            .filter_map(|event| match event {
                ChannelOutput::Fault(fault) => Some(*fault),
                _ => None,
            })
            .collect()
    }

    fn received_by_other(&self, side: usize, channel: ChannelId) -> &[Message] {
        let app = &self.sides[side].apps[&channel];
        let mut others = self.sides[1 - side].apps.iter();
        let other = others.find(|(other, theirs)| match channel.0 {
            0..4 => **other == channel,
            _ => other.0 >= 4 && theirs.label == app.label,
        });
        other.map_or(&[], |(_, theirs)| &theirs.received)
    }

    fn write(&mut self, side: usize) {
        let s = &mut self.sides[side];
        while let Some(write) = s.channels.poll_write(self.now) {
            assert!(!write.data.is_empty(), "frames have headers");
            assert!(write.data.len() <= 65_536);
            if self.rng.u8(0..100) < self.refusals {
                s.channels.on_write_refused(self.now);
                break;
            }
            let stream = &s.streams[&write.stream];
            assert!(stream.is_open, "writes only to open streams");
            let is_lost = stream.is_reset
                || stream.reliability != Reliability::Reliable && self.rng.u8(0..100) < self.losses;
            s.written += write.data.len();
            if write.stream == StreamKey::Meta {
                s.meta_written += write.data.len();
            }
            if !is_lost {
                let packet = Packet {
                    binary: write.binary,
                    data: write.data.to_vec(),
                };
                s.wires.entry(stream.id).or_default().push_back(packet);
            }
            s.channels.on_written(self.now);
        }
    }

    fn drain_outputs(&mut self, side: usize) {
        while let Some(output) = self.sides[side].channels.poll_output() {
            match output {
                ChannelOutput::OpenStream { stream, config } => {
                    let s = &mut self.sides[side];
                    let id = config.negotiated.expect("agreed between bowline peers");
                    let (ordering, reliability) = (config.ordering, config.reliability);
                    let state = Stream {
                        id,
                        is_open: false,
                        is_reset: false,
                        ordering,
                        reliability,
                    };
                    assert!(
                        s.streams.insert(stream, state).is_none(),
                        "one stream for a key"
                    );
                    s.facts.push_back(Fact::Open(stream));
                }
                ChannelOutput::CloseStream { stream } => self.close_stream(side, stream),
                event => {
                    self.sides[side].on_event(&event);
                    self.sides[side].events.push(event);
                }
            }
        }
    }

    /// As SCTP does: closing one side's stream closes the other's.
    fn close_stream(&mut self, side: usize, key: StreamKey) {
        let Some(id) = self.sides[side].streams.get(&key).map(|stream| stream.id) else {
            return;
        };
        self.sides[side].facts.push_back(Fact::Closed(key));
        let other = &mut self.sides[1 - side];
        let theirs = other
            .streams
            .iter()
            .find(|(_, stream)| stream.id == id && stream.is_open);
        if let Some((key, _)) = theirs {
            other.facts.push_back(Fact::Closed(*key));
        }
    }

    fn report(&mut self, side: usize) -> bool {
        let s = &mut self.sides[side];
        match s.facts.pop_front() {
            None => return false,
            Some(Fact::Open(key)) => {
                if let Some(stream) = s.streams.get_mut(&key) {
                    stream.is_open = true;
                    s.channels.on_stream_open(key, self.now);
                }
            }
            Some(Fact::Closed(key)) => {
                if s.streams.remove(&key).is_some() {
                    s.facts
                        .retain(|fact| !matches!(fact, Fact::Open(other) if *other == key));
                    s.channels.on_stream_closed(key, self.now);
                }
            }
        }
        true
    }

    /// Brings one message of `side` to the other.
    fn carry(&mut self, side: usize) -> bool {
        let [a, b] = &mut self.sides;
        let (from, to) = if side == 0 { (a, b) } else { (b, a) };
        let open = |id: &u16| to.streams.iter().find(|(_, s)| s.id == *id && s.is_open);
        let ready: Vec<_> = from
            .wires
            .iter()
            .filter(|(_, wire)| !wire.is_empty())
            .filter_map(|(id, _)| open(id).map(|(key, stream)| (*id, *key, stream.ordering)))
            .collect();
        if ready.is_empty() {
            return false;
        }
        let (id, key, ordering) = ready[self.rng.usize(0..ready.len())];
        let wire = from.wires.get_mut(&id).expect("listed");
        let index = match ordering {
            Ordering::Ordered => 0,
            Ordering::Unordered => self.rng.usize(0..wire.len()),
        };
        let packet = wire.remove(index).expect("within");
        to.channels
            .on_data(key, packet.binary, packet.data, self.now);
        true
    }
}

impl App {
    fn outcomes(&self) -> Vec<(&Message, Vec<Outcome>)> {
        let mut groups: Vec<(&Message, Vec<Outcome>)> = Vec::new();
        for (message, outcome) in &self.accepted {
            match groups.iter_mut().find(|(other, _)| *other == message) {
                Some((_, outcomes)) => outcomes.push(*outcome),
                None => groups.push((message, vec![*outcome])),
            }
        }
        groups
    }
}

impl Side {
    fn new(name: &str, limits: &ChannelLimits) -> Self {
        let own = PeerId::new(name).expect("valid");
        let kind = |(id, is_reliable)| {
            let app = App {
                label: format!("kind {id}"),
                is_reliable,
                is_ordered: is_reliable,
                ..App::default()
            };
            (ChannelId(id), app)
        };
        Self {
            channels: Channels::new(own, limits, OPEN_TIMEOUT),
            streams: BTreeMap::new(),
            wires: BTreeMap::new(),
            facts: VecDeque::new(),
            events: Vec::new(),
            apps: [(0, true), (1, true), (2, false), (3, true)]
                .into_iter()
                .map(kind)
                .collect(),
            written: 0,
            meta_written: 0,
        }
    }

    fn on_event(&mut self, event: &ChannelOutput) {
        match event {
            ChannelOutput::Open {
                channel,
                label,
                remote,
                ..
            } => {
                assert!(!self.apps.contains_key(channel) || !remote);
                let app = self.apps.entry(*channel).or_default();
                assert!(!app.is_closed);
                if *remote {
                    app.label.clone_from(label);
                    // What is needed is in the label: see `custom`.
                    app.is_reliable = label.contains('r');
                    app.is_ordered = label.contains('o');
                }
            }
            ChannelOutput::Closed { channel } => {
                let app = self.apps.get_mut(channel).expect("known");
                assert!(!std::mem::replace(&mut app.is_closed, true), "closed once");
            }
            ChannelOutput::Message { channel, message } => {
                let app = self
                    .apps
                    .get_mut(channel)
                    .expect("open before its first message");
                assert!(!app.is_closed, "nothing after closed");
                app.unreleased.push_back(message.len());
                app.received.push(message.clone());
            }
            ChannelOutput::Sent { channel, through } => {
                let app = &self.apps[channel];
                assert!(through.0 < app.accepted.len() as u64, "no invention");
            }
            ChannelOutput::Delivered { channel, through } => {
                self.account(*channel, None, *through, Outcome::Delivered);
            }
            ChannelOutput::NotDelivered {
                channel,
                first,
                last,
                maybe,
            } => {
                let outcome = if *maybe {
                    Outcome::Maybe
                } else {
                    Outcome::Never
                };
                self.account(*channel, Some(*first), *last, outcome);
            }
            ChannelOutput::Error { channel, .. } | ChannelOutput::Writable { channel } => {
                assert!(!self.apps[channel].is_closed);
            }
            ChannelOutput::Fault(_) | ChannelOutput::Broken => {}
            ChannelOutput::OpenStream { .. } | ChannelOutput::CloseStream { .. } => unreachable!(),
        }
    }

    fn account(
        &mut self,
        channel: ChannelId,
        first: Option<MessageId>,
        last: MessageId,
        outcome: Outcome,
    ) {
        let app = self.apps.get_mut(&channel).expect("known");
        let index = |id: MessageId| usize::try_from(id.0).expect("small");
        let first = first.map_or(app.settled, index);
        if app.is_reliable {
            assert_eq!(first, app.settled, "outcomes come in order and once");
        }
        for (_, told) in &mut app.accepted[first..=index(last)] {
            assert_eq!(std::mem::replace(told, outcome), Outcome::Open);
        }
        app.settled = index(last) + 1;
    }
}

pub(super) fn limits() -> ChannelLimits {
    Config::default().channels().clone()
}

/// Limits at which everything happens soon.
pub(super) fn tight_limits() -> ChannelLimits {
    ChannelLimits {
        max_channels: 7,
        queue_bytes: 40_000,
        queue_messages: 12,
        peer_queue_bytes: 150_000,
        low_water: 10_000,
        max_message_size: 300_000,
        receive_window: 100_000,
        backlog_min: 4_096,
        backlog_max: 70_000,
    }
}

pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
