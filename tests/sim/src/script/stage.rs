//! Both endpoints, what is under way between them, and the clock.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bowline::{
    ChannelConfig, ChannelKind, ConnectOptions, Endpoint, Input, Ordering, Peer, Reliability,
};

use super::account::{Account, Flow};
use super::side::{Parcel, Side, id};
use super::step::{Step, Who};

/// Where a script is played.
pub(super) struct Stage {
    sides: [Side; 2],
    now: Instant,
    under_way: VecDeque<Parcel>,
    /// The last parcels that were delivered.
    arrived: VecDeque<Parcel>,
    account: Account,
    sent: usize,
    /// How long the script may still let time pass in good order.
    left: Duration,
}

impl Stage {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let mut stage = Self {
            sides: Who::BOTH.map(|who| Side::new(who, now)),
            now,
            under_way: VecDeque::new(),
            arrived: VecDeque::new(),
            account: Account::default(),
            sent: 0,
            left: ORDERLY,
        };
        for who in Who::BOTH {
            stage.bind(who, address(who, 0));
        }
        stage.take_all();
        stage
    }

    pub(super) fn apply(&mut self, step: &Step) {
        self.call(step);
        self.take_all();
    }

    /// All faults end, both sides close, and nothing is left.
    pub(super) fn finish(mut self) {
        for who in Who::BOTH {
            let side = self.side(who);
            side.is_lazy = false;
            side.releases = true;
            self.bind(who, address(who, 0));
        }
        self.take_all();
        let healed = self.now + HEALED;
        while self.now < healed && !self.account.is_settled() {
            self.run(HEALING);
        }
        for _ in 0..CLOSINGS_MAX {
            for who in Who::BOTH {
                let now = self.now;
                self.side(who).accepts = false;
                self.endpoint(who).close(now);
            }
            self.take_all();
            self.run(CLOSED);
            if self.is_at_rest() {
                break;
            }
        }
        assert!(self.is_at_rest(), "something is left after the close");
        self.account.check();
    }

    /// How many messages of this sender were confirmed.
    #[cfg(test)]
    pub(super) fn delivered(&self, from: Who) -> usize {
        self.account.delivered(from)
    }

    /// Books a message that was never sent.
    #[cfg(test)]
    pub(super) fn forge_message(&mut self, from: Who) {
        let flow = self.flow(from, ChannelKind::Reliable);
        self.account.skip(flow);
    }

    fn call(&mut self, step: &Step) {
        let now = self.now;
        match *step {
            Step::Connect(who) => {
                let peer = id(who.other());
                let options = ConnectOptions::default();
                let _ = self.endpoint(who).connect(peer, options, now);
            }
            Step::Accepts(who, accepts) => self.side(who).accepts = accepts,
            Step::Accept(who) => {
                let _ = self.endpoint(who).accept(id(who.other()), now);
            }
            Step::Refuse(who) => {
                let _ = self.endpoint(who).refuse(id(who.other()), now);
            }
            Step::Send { from, kind, len } => self.send(from, kind, len),
            Step::Open {
                from,
                negotiated,
                reliable,
            } => self.open(from, negotiated, reliable),
            Step::CloseChannel(who) => {
                let channel = self.side(who).custom;
                self.with_peer(who, |peer| {
                    let _ = channel.map(|channel| peer.close_channel(channel, now));
                });
            }
            Step::Releases(who, releases) => self.side(who).releases = releases,
            Step::Release(who, kind, len) => {
                self.with_peer(who, |peer| {
                    peer.release(any_kind(kind), usize::from(len), now);
                });
            }
            Step::Broadcast(who) => self.broadcast(who),
            Step::Close(who) => self.with_peer(who, |peer| peer.close(now)),
            Step::CloseAll(who) => self.endpoint(who).close(now),
            Step::Restart(who) => self.with_peer(who, |peer| peer.restart_ice(now)),
            Step::Unbind(who) => self.unbind(who),
            Step::Bind(who, other) => self.bind(who, address(who, u8::from(other))),
            Step::Wake(who) => self.side(who).tell_time(now),
            Step::Lazy(who, lazy) => self.side(who).is_lazy = lazy,
            Step::Poll(who, most) => self.take(who, Some(most)),
            Step::Back(who, ms) => {
                let earlier = now.checked_sub(millis(ms)).unwrap_or(now);
                self.side(who).tell_time(earlier);
            }
            Step::Pass(ms) => self.now += millis(ms),
            Step::Jump(secs) => self.now += Duration::from_secs(u64::from(secs)),
            Step::Run(ms) => {
                let duration = millis(ms).min(self.left);
                self.left -= duration;
                self.run(duration);
            }
            Step::Deliver(_)
            | Step::DeliverSome(_)
            | Step::Lose(_)
            | Step::Repeat(_)
            | Step::Flip(..)
            | Step::Cut(..)
            | Step::Replay(_)
            | Step::Datagram { .. }
            | Step::Signal { .. } => self.carry(step),
        }
    }

    /// What happens to what is under way.
    fn carry(&mut self, step: &Step) {
        match step {
            Step::Deliver(nth) => {
                let parcel = self.place(*nth).and_then(|at| self.under_way.remove(at));
                parcel.into_iter().for_each(|parcel| self.deliver(parcel));
            }
            Step::DeliverSome(count) => {
                for _ in 0..*count {
                    let Some(parcel) = self.under_way.pop_front() else {
                        break;
                    };
                    self.deliver(parcel);
                }
            }
            Step::Lose(nth) => {
                let _ = self.place(*nth).and_then(|at| self.under_way.remove(at));
            }
            Step::Repeat(nth) => {
                let parcel = self.place(*nth).map(|at| self.under_way[at].clone());
                self.under_way.extend(parcel);
            }
            Step::Flip(nth, bit) => self.alter(*nth, |bytes| {
                if !bytes.is_empty() {
                    let bit = usize::from(*bit) % (bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }),
            Step::Cut(nth, len) => self.alter(*nth, |bytes| bytes.truncate(usize::from(*len))),
            Step::Replay(nth) => {
                let at = usize::from(*nth) % self.arrived.len().max(1);
                let parcel = self.arrived.get(at).cloned();
                parcel.into_iter().for_each(|parcel| self.deliver(parcel));
            }
            Step::Datagram {
                to,
                spoofed,
                contents,
            } => {
                self.account.is_void |= is_protected(contents);
                let stranger = SocketAddr::from(([203, 0, 113, 1], 9));
                let peer = address(to.other(), 0);
                let parcel = Parcel::Datagram {
                    from: if *spoofed { peer } else { stranger },
                    to: address(*to, 0),
                    bytes: contents.clone(),
                };
                self.deliver(parcel);
            }
            Step::Signal { to, text } => {
                let (to, text) = (*to, text.clone());
                self.deliver(Parcel::Signal { to, text });
            }
            _ => unreachable!("calls are made elsewhere"),
        }
    }

    /// What waits is taken first, so that the books know in which life of the peer the message is sent.
    fn send(&mut self, from: Who, kind: u8, len: u16) {
        self.take(from, None);
        let (now, kind) = (self.now, any_kind(kind));
        let flow = self.flow(from, kind);
        let message = self.account.message(flow, usize::from(len));
        let mut sent = None;
        self.with_peer(from, |peer| {
            sent = Some(peer.send(kind, message.clone(), now));
        });
        match sent {
            Some(Ok(number)) => self.account.on_accepted(flow, number.0),
            Some(Err(error)) => assert_eq!(error.message, message, "handed back"),
            None => {}
        }
    }

    /// As text, which is not in the books, but takes a number.
    fn broadcast(&mut self, from: Who) {
        self.take(from, None);
        let (now, kind) = (self.now, ChannelKind::Unreliable);
        let outcome = self.endpoint(from).broadcast(kind, "all".into(), now);
        let flow = self.flow(from, kind);
        (0..outcome.queued).for_each(|_| self.account.skip(flow));
    }

    fn flow(&self, from: Who, kind: ChannelKind) -> Flow {
        Flow {
            from,
            life: self.sides[from.index()].lives,
            channel: kind.id(),
        }
    }

    fn open(&mut self, from: Who, negotiated: Option<u8>, reliable: bool) {
        let now = self.now;
        let (ordering, reliability) = if reliable {
            (Ordering::Ordered, Reliability::Reliable)
        } else {
            (Ordering::Unordered, Reliability::MaxRetransmits(0))
        };
        let config = ChannelConfig {
            negotiated: negotiated.map(u16::from),
            ordering,
            reliability,
            ..ChannelConfig::new("custom")
        };
        let mut opened = None;
        self.with_peer(from, |peer| {
            opened = peer.open_channel(config, now).ok();
            let _ = opened.map(|channel| peer.send(channel, "custom", now));
        });
        let side = self.side(from);
        side.custom = opened.or(side.custom);
    }

    fn bind(&mut self, who: Who, local: SocketAddr) {
        self.unbind(who);
        let now = self.now;
        self.side(who).socket = Some(local);
        self.endpoint(who)
            .handle_input(Input::SocketBound { local }, now);
    }

    fn unbind(&mut self, who: Who) {
        let now = self.now;
        if let Some(local) = self.side(who).socket.take() {
            self.endpoint(who)
                .handle_input(Input::SocketClosed { local }, now);
        }
    }

    fn alter(&mut self, nth: u8, alter: impl FnOnce(&mut Vec<u8>)) {
        let Some(at) = self.place(nth) else { return };
        match &mut self.under_way[at] {
            Parcel::Datagram { bytes, .. } => {
                self.account.is_void |= is_protected(bytes);
                alter(bytes);
                self.account.is_void |= is_protected(bytes);
            }
            Parcel::Signal { text, .. } => {
                self.account.is_void = true;
                let mut bytes = std::mem::take(text).into_bytes();
                alter(&mut bytes);
                *text = String::from_utf8_lossy(&bytes).into_owned();
            }
        }
    }

    /// Time passes in good order: every parcel takes [`DELAY`], and everybody is woken when due.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end && !self.is_at_rest() {
            let arrives = (!self.under_way.is_empty()).then(|| self.now + DELAY);
            let eager = self.sides.iter().filter(|side| !side.is_lazy);
            let due = eager.filter_map(|side| side.deadline);
            let next = due.chain(arrives).min().unwrap_or(end);
            self.now = self.now.max(next).min(end);
            if arrives.is_some_and(|at| at <= self.now) {
                for parcel in std::mem::take(&mut self.under_way) {
                    self.deliver(parcel);
                }
                self.take_all();
            }
            for who in Who::BOTH {
                let now = self.now;
                let side = self.side(who);
                if !side.is_lazy && side.deadline.is_some_and(|at| at <= now) {
                    side.wake(now);
                }
            }
            self.take_all();
        }
        self.now = end;
    }

    fn deliver(&mut self, parcel: Parcel) {
        let now = self.now;
        let to = match &parcel {
            Parcel::Datagram { to, .. } => {
                let has = |who: &Who| self.sides[who.index()].socket == Some(*to);
                Who::BOTH.into_iter().find(has)
            }
            Parcel::Signal { to, .. } => Some(*to),
        };
        if let Some(who) = to {
            self.side(who).receive(&parcel, now);
            self.take_if_eager(who);
        }
        self.arrived.push_front(parcel);
        self.arrived.truncate(REPLAYS_MAX);
    }

    fn take_all(&mut self) {
        for who in Who::BOTH {
            self.take_if_eager(who);
        }
    }

    fn take_if_eager(&mut self, who: Who) {
        if !self.sides[who.index()].is_lazy {
            self.take(who, None);
        }
    }

    fn take(&mut self, who: Who, most: Option<u8>) {
        let now = self.now;
        let parcels = self.sides[who.index()].take(most, &mut self.account, now);
        self.sent += parcels.len();
        assert!(self.sent < PARCELS_MAX, "a storm");
        self.under_way.extend(parcels);
        // The network has no more room: the newest is lost.
        self.under_way.truncate(UNDER_WAY_MAX);
    }

    fn is_at_rest(&self) -> bool {
        let is_quiet = |side: &Side| side.is_alone() && side.is_gone() && side.deadline.is_none();
        self.under_way.is_empty() && self.sides.iter().all(is_quiet)
    }

    fn side(&mut self, who: Who) -> &mut Side {
        &mut self.sides[who.index()]
    }

    fn endpoint(&mut self, who: Who) -> &mut Endpoint {
        self.side(who).endpoint()
    }

    fn with_peer(&mut self, who: Who, with: impl FnOnce(&mut Peer<'_>)) {
        if let Ok(mut peer) = self.endpoint(who).peer(id(who.other())) {
            with(&mut peer);
        }
    }

    fn place(&self, nth: u8) -> Option<usize> {
        (!self.under_way.is_empty()).then(|| usize::from(nth) % self.under_way.len())
    }
}

/// Whether it is what DTLS protects (RFC 7983): without cryptography, nobody notices that it was altered.
fn is_protected(datagram: &[u8]) -> bool {
    datagram
        .first()
        .is_some_and(|first| (20..=63).contains(first))
}

fn any_kind(number: u8) -> ChannelKind {
    ChannelKind::ALL[usize::from(number) % ChannelKind::ALL.len()]
}

fn address(who: Who, socket: u8) -> SocketAddr {
    let host = match who {
        Who::Alice => 1,
        Who::Bob => 2,
    };
    SocketAddr::from(([192, 0, 2, host], 4_000 + u16::from(socket)))
}

fn millis(ms: u16) -> Duration {
    Duration::from_millis(u64::from(ms))
}

/// How long a script may let time pass in good order. A quiet hour says nothing new and takes a second.
const ORDERLY: Duration = Duration::from_secs(180);
/// How long a parcel takes where time passes in good order.
const DELAY: Duration = Duration::from_millis(5);
/// What is under way at one time.
const UNDER_WAY_MAX: usize = 4_096;
/// Delivered parcels that can be replayed.
const REPLAYS_MAX: usize = 256;
/// What both sides send in a whole script: far more than honest ones need.
const PARCELS_MAX: usize = 200_000;
/// For what is queued to arrive, ...
const HEALED: Duration = Duration::from_secs(20);
/// ... which is looked for after each of these.
const HEALING: Duration = Duration::from_millis(500);
/// Longer than every phase of an end lasts.
const CLOSED: Duration = Duration::from_secs(90);
/// A late offer may begin a peer anew after it was closed.
const CLOSINGS_MAX: u32 = 3;
