//! Two machines joined by a transport that delays, reorders streams, refuses writes and resets streams, beside a model
//! of what the applications may see.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::channel::io::Continuity;
use crate::channel::kind::{ChannelConfig, Message, Ordering, Reliability};
use crate::channel::{ChannelOutput, Channels, Framing, MESH_CHANNEL, Role, StreamKey};
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
    is_started: bool,
    /// What holds of the newest transport, on both sides.
    continuity: Continuity,
}

pub(super) struct Side {
    name: &'static str,
    limits: ChannelLimits,
    pub(super) channels: Channels,
    /// Which of the transports is listened to.
    transport: u32,
    /// Which process this is.
    process: u32,
    /// The process that was met on a transport.
    met: Option<u32>,
    /// What the processes before have seen.
    past: Vec<BTreeMap<ChannelId, App>>,
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
        let sides = [Side::new("a", a), Side::new("b", b)];
        Self {
            sides,
            now,
            rng: fastrand::Rng::with_seed(seed),
            refusals: 0,
            losses: 0,
            is_started: false,
            continuity: Continuity::Lost,
        }
    }

    pub(super) fn connected() -> Self {
        let mut pair = Self::new([limits(), limits()], 0);
        pair.start();
        pair.settle();
        pair
    }

    pub(super) fn start(&mut self) {
        (0..2).for_each(|side| self.start_side(side));
        if !std::mem::replace(&mut self.is_started, true) {
            self.meet();
        }
        self.pump();
    }

    /// A side moves to the transport that the other has moved to already, or to a new one.
    pub(super) fn move_side(&mut self, side: usize) {
        let newest = self.sides[1 - side].transport;
        if self.sides[side].transport < newest {
            self.sides[side].transport = newest;
        } else {
            let has_met = |side: usize| self.sides[side].met == Some(self.sides[1 - side].process);
            self.continuity = if has_met(0) && has_met(1) {
                Continuity::Kept
            } else {
                Continuity::Lost
            };
            self.sides[side].transport += 1;
        }
        self.sides[side].leave_transport();
        let (continuity, now) = (self.continuity, self.now);
        self.sides[side]
            .channels
            .on_transport_replaced(continuity, now);
        self.start_side(side);
        self.meet();
        self.pump();
    }

    /// A side comes back as a new process, on a new transport.
    pub(super) fn restart(&mut self, side: usize) {
        let newest = self.sides.iter().map(|side| side.transport).max();
        self.continuity = Continuity::Lost;
        self.sides[side].restart();
        self.sides[side].transport = newest.unwrap_or(0) + 1;
        self.start_side(side);
        self.pump();
    }

    /// The side that is behind follows.
    pub(super) fn join(&mut self) {
        let [a, b] = [0, 1].map(|side| self.sides[side].transport);
        match a.cmp(&b) {
            std::cmp::Ordering::Less => self.move_side(0),
            std::cmp::Ordering::Greater => self.move_side(1),
            std::cmp::Ordering::Equal => {}
        }
    }

    pub(super) fn is_started(&self) -> bool {
        self.is_started
    }

    fn start_side(&mut self, side: usize) {
        let role = [Role::Even, Role::Odd][side];
        let channels = &mut self.sides[side].channels;
        channels.start(Framing::Bowline, role, 262_144, self.now);
    }

    /// On one transport each side comes to know the other's process.
    fn meet(&mut self) {
        if self.is_apart() {
            return;
        }
        let processes = [0, 1].map(|side| self.sides[side].process);
        for (side, process) in [(0, processes[1]), (1, processes[0])] {
            self.sides[side].met = Some(process);
        }
    }

    fn is_apart(&self) -> bool {
        self.sides[0].transport != self.sides[1].transport
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
        if self.is_apart() {
            return;
        }
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
            for (channel, app) in self.sides[side].all_apps() {
                let is_current = self.sides[side]
                    .apps
                    .get(channel)
                    .is_some_and(|current| std::ptr::eq(current, app));
                let received = self.received_by_other(side, *channel, app);
                for (message, outcomes) in app.outcomes() {
                    let count = |outcome| outcomes.iter().filter(|o| **o == outcome).count();
                    let copies = received.iter().filter(|other| **other == message).count();
                    let case = format!("{} {channel}: {copies} of {outcomes:?}", app.label);
                    let never = count(Outcome::Never);
                    assert!(copies >= count(Outcome::Delivered), "{case}");
                    assert!(copies <= outcomes.len() - never, "{case}");
                    let untold = count(Outcome::Open);
                    assert!(
                        !is_final || !is_current || !app.is_reliable || untold == 0,
                        "{case}: not told"
                    );
                }
                let apps = self.sides[side].all_apps();
                let accepted: Vec<_> = apps
                    .filter(|(id, other)| is_same(**id, other, *channel, app))
                    .flat_map(|(_, app)| app.accepted.iter().map(|(message, _)| message))
                    .collect();
                let invented = received.iter().find(|message| !accepted.contains(message));
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

    fn received_by_other(&self, side: usize, channel: ChannelId, app: &App) -> Vec<&Message> {
        let others = self.sides[1 - side].all_apps();
        others
            .filter(|(other, theirs)| is_same(**other, theirs, channel, app))
            .flat_map(|(_, theirs)| &theirs.received)
            .collect()
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
                // No application is told of it.
                event if event.channel() == Some(MESH_CHANNEL) => {}
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
        if self.is_apart() {
            return;
        }
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
        if self.is_apart() {
            return false;
        }
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
    fn kinds() -> BTreeMap<ChannelId, Self> {
        let kind = |(id, is_reliable)| {
            let app = Self {
                label: format!("kind {id}"),
                is_reliable,
                is_ordered: is_reliable,
                ..Self::default()
            };
            (ChannelId(id), app)
        };
        let kinds = [(0, true), (1, true), (2, false), (3, true)];
        kinds.into_iter().map(kind).collect()
    }

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

/// Whether two applications see the two ends of one channel, or of one and the one that came after it.
fn is_same(a: ChannelId, one: &App, b: ChannelId, other: &App) -> bool {
    if a.0 < 4 || b.0 < 4 {
        a == b
    } else {
        one.label == other.label
    }
}

impl Side {
    fn new(name: &'static str, limits: ChannelLimits) -> Self {
        let own = PeerId::new(name).expect("valid");
        Self {
            name,
            channels: Channels::new(own, &limits, OPEN_TIMEOUT),
            limits,
            transport: 0,
            process: 0,
            met: None,
            past: Vec::new(),
            streams: BTreeMap::new(),
            wires: BTreeMap::new(),
            facts: VecDeque::new(),
            events: Vec::new(),
            apps: App::kinds(),
            written: 0,
            meta_written: 0,
        }
    }

    fn leave_transport(&mut self) {
        self.streams.clear();
        self.wires.clear();
        self.facts.clear();
    }

    fn restart(&mut self) {
        self.leave_transport();
        let own = PeerId::new(self.name).expect("valid");
        self.channels = Channels::new(own, &self.limits, OPEN_TIMEOUT);
        self.past
            .push(std::mem::replace(&mut self.apps, App::kinds()));
        self.process += 1;
        self.met = None;
    }

    /// What this process and those before it have seen.
    pub(super) fn all_apps(&self) -> impl Iterator<Item = (&ChannelId, &App)> {
        self.past.iter().chain([&self.apps]).flatten()
    }

    /// The transport takes long to open the stream.
    pub(super) fn hold_back(&mut self, channel: ChannelId) {
        let key = StreamKey::Channel(channel);
        self.facts
            .retain(|fact| !matches!(fact, Fact::Open(other) if *other == key));
    }

    pub(super) fn let_go(&mut self, channel: ChannelId) {
        self.facts
            .push_back(Fact::Open(StreamKey::Channel(channel)));
    }

    /// How much of an unfinished message has come on the channel.
    pub(super) fn partial(&self, channel: ChannelId) -> u64 {
        self.channels.entries[&channel].receiver.partial()
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
