//! The bodies of the fuzz targets `turn` and `turn_stream`: a server, or whoever forges one, says anything at any time.
#![allow(
    clippy::disallowed_methods,
    reason = "what runs a machine brings its clock"
)]

pub(crate) mod answers;
mod stream;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use stun_types::message::{Message, MessageClass};

use super::{Allocation, AllocationEvent, Bounds, LINGER, Received, Via};
use crate::fuzz::Script;
use crate::ice::nat::Family;
use crate::ice::stun::TransactionId;
use crate::rng::{Rng, Seed};
use crate::tape::Tape;

use answers::{Said, any_peer, said};

pub use stream::turn_stream;

/// Runs one allocation to its end.
///
/// # Panics
///
/// When a rule does not hold.
pub fn turn(data: &[u8]) {
    let mut script = Script::new(data);
    let mut run = Run::begin(&mut script);
    run.drain();
    while !script.is_over() {
        run.step(&mut script);
        run.drain();
        run.begin_due();
    }
    run.end();
}

struct Run {
    allocation: Allocation,
    via: Via,
    max_peers: usize,
    now: Instant,
    /// All that was sent, for the server to answer.
    sent: Vec<Vec<u8>>,
    ended: bool,
    server: Model,
}

/// What the server may think at most.
#[derive(Default)]
struct Model {
    /// Requests for a permission, until one is granted.
    asked: BTreeMap<TransactionId, Vec<u8>>,
    /// Until when the number of a channel belongs to a peer.
    channels: BTreeMap<u16, (SocketAddr, Instant)>,
    /// Until when the data of a channel passes.
    bound: BTreeMap<u16, Instant>,
    permitted: BTreeMap<IpAddr, Instant>,
}

impl Run {
    fn begin(script: &mut Script<'_>) -> Self {
        let setup = script.byte();
        let via = [Via::Datagrams, Via::Stream][usize::from(setup & 1)];
        let family = [Family::Ipv4, Family::Ipv6][usize::from(setup >> 1 & 1)];
        let keepalive = Duration::from_secs([15, 5_000][usize::from(setup >> 2 & 1)]);
        let max_peers = 1 + usize::from(setup >> 4);
        let bounds = Bounds {
            max_peers,
            keepalive,
        };
        let rng = Rng::new(&Seed::from([1; 32]));
        let (login, now) = (answers::credentials(), Instant::now());
        let tape = Tape::default();
        let mut allocation = Allocation::new(family, via, &login, bounds, tape, rng, now);
        allocation.begin_request(now);
        Self {
            allocation,
            via,
            max_peers,
            now,
            sent: Vec::new(),
            ended: false,
            server: Model::default(),
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 12 {
            0 | 1 => {
                let back = usize::from(script.byte()) % self.sent.len().max(1);
                let request = self.sent.iter().rev().nth(back).cloned();
                let answer = request.and_then(|request| answers::answer(script, &request));
                answer.into_iter().for_each(|answer| self.hear(&answer));
            }
            2 => self.hear(script.slice(128)),
            3 => {
                let message = answers::indication(any_peer(script), script.slice(16));
                self.hear(&message);
            }
            4 => {
                let channel = 0x4000 + u16::from(script.byte() % 18);
                let data = script.slice(16);
                let len = u16::try_from(data.len()).expect("short").to_be_bytes();
                self.hear(&[&channel.to_be_bytes()[..], &len, data].concat());
            }
            5 | 6 => {
                self.allocation.want(any_peer(script), self.now);
            }
            7 => self.allocation.release(any_peer(script), self.now),
            8 => {
                let (peer, data) = (any_peer(script), script.slice(16));
                if let Some(message) = self.allocation.send(peer, data.to_vec(), self.now) {
                    self.check_sent(message);
                }
            }
            9 => self.pass(Duration::from_millis(u64::from(script.short()))),
            10 => {
                // A driver that is late.
                self.now += Duration::from_secs(u64::from(script.short()) % 1_200);
                self.wake();
            }
            _ if script.byte() == 1 => self.allocation.delete(self.now),
            _ => self.pass(Duration::from_secs(u64::from(script.short()) % 1_200)),
        }
    }

    fn hear(&mut self, message: &[u8]) {
        if !self.ended {
            self.server.hear(message, self.now);
        }
        if let Received::Data { peer, data } = self.allocation.receive(message, self.now) {
            assert!(!data.is_empty() || data.start <= message.len());
            assert!(message.get(data).is_some(), "data that is not there");
            match message {
                [0x40..=0x4f, ..] => {
                    let (channel, ..) = answers::header(message);
                    assert!(self.server.is_bound(channel, self.now), "{channel:#x}");
                    assert_eq!(self.server.channels[&channel].0, peer);
                }
                _ => assert!(self.server.permits(peer.ip(), self.now), "from {peer}"),
            }
        }
    }

    /// Wakes the allocation exactly when it asks for it.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let next = |run: &Self| {
            let paced = run.allocation.next_request_at(run.now);
            [run.allocation.poll_timeout(), paced]
                .into_iter()
                .flatten()
                .min()
        };
        while let Some(at) = next(self).filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.wake();
        }
        self.now = end;
    }

    fn wake(&mut self) {
        self.allocation.handle_timeout(self.now);
        let deadline = self.allocation.poll_timeout();
        assert!(deadline.is_none_or(|at| at > self.now), "it spins");
        self.drain();
        self.begin_due();
    }

    /// Begins what is due, as a pacer does that is never busy.
    fn begin_due(&mut self) {
        let is_due = |run: &Self| {
            let at = run.allocation.next_request_at(run.now);
            at.is_some_and(|at| at <= run.now)
        };
        for _ in 0..self.max_peers + 2 {
            if is_due(self) {
                self.allocation.begin_request(self.now);
                self.drain();
            }
        }
        assert!(!is_due(self), "it spins");
    }

    fn drain(&mut self) {
        let mut sent = 0;
        while let Some(message) = self.allocation.poll_transmit() {
            assert!(!self.ended, "nothing is sent after the end");
            self.check_sent(message);
            sent += 1;
        }
        let requests = self.max_peers + 1;
        assert!(sent <= MAX_HELD + requests + 1, "{sent} at once");
        assert!(self.allocation.open.len() <= requests, "too many requests");
        while let Some(event) = self.allocation.poll_event() {
            assert!(!self.ended, "the end is the last event");
            match event {
                AllocationEvent::Granted(relayed) => {
                    assert!(relayed.port() != 0 && !relayed.ip().is_unspecified());
                }
                AllocationEvent::Ended(_) => {
                    self.ended = true;
                    self.server = Model::default();
                }
            }
        }
        if self.ended {
            assert_eq!(self.allocation.relayed(), None);
            assert_eq!(self.allocation.poll_timeout(), None);
        }
    }

    fn check_sent(&mut self, message: Vec<u8>) {
        match said(&message, self.via == Via::Stream) {
            Said::Allocate | Said::Refresh | Said::Keepalive => {}
            Said::Permit(_) => self.server.ask(&message),
            Said::Bind { channel, peer } => {
                self.server.ask(&message);
                self.server.reserve(channel, peer, self.now);
            }
            Said::ToPeer(peer) => assert!(self.server.permits(peer.ip(), self.now), "to {peer}"),
            Said::OnChannel { channel, .. } => {
                assert!(self.server.is_bound(channel, self.now), "{channel:#x}");
            }
        }
        self.sent.push(message);
    }

    /// An allocation that is given back ends, whether the server answers or not.
    fn end(mut self) {
        self.allocation.delete(self.now);
        self.drain();
        self.pass(LINGER);
        assert!(self.ended, "it does not end");
        self.pass(Duration::from_secs(1_000));
    }
}

impl Model {
    fn ask(&mut self, request: &[u8]) {
        let id = TransactionId::of_message(request).expect("a request");
        self.asked.insert(id, request.to_vec());
    }

    /// From here on the server may have the channel, for as long as RFC 8656 section 12 says.
    fn reserve(&mut self, channel: u16, peer: SocketAddr, now: Instant) {
        if let Some((owner, until)) = self.channels.get(&channel) {
            assert!(*owner == peer || *until <= now, "{channel:#x} of {owner}");
        }
        let until = now + CHANNEL_LIFE + QUARANTINE;
        self.channels.insert(channel, (peer, until));
    }

    /// A success that counts grants what was asked for.
    fn hear(&mut self, response: &[u8], now: Instant) {
        let Some(id) = TransactionId::of_message(response) else {
            return;
        };
        let Ok(message) = Message::from_bytes(response) else {
            return;
        };
        let is_success = message.class() == MessageClass::Success;
        let counts = |request: &Vec<u8>| is_success && answers::counts(request, &message);
        if !self.asked.get(&id).is_some_and(counts) {
            return;
        }
        let request = self.asked.remove(&id).expect("it is there");
        let until = now + PERMISSION_LIFE;
        match said(&request, false) {
            Said::Permit(ip) => {
                self.permitted.insert(ip, until);
            }
            Said::Bind { channel, peer } => {
                self.permitted.insert(peer.ip(), until);
                self.bound.insert(channel, until);
                self.reserve(channel, peer, now);
            }
            other => panic!("{other:?} asks for no permission"),
        }
    }

    fn permits(&self, ip: IpAddr, now: Instant) -> bool {
        self.permitted.get(&ip).is_some_and(|until| *until > now)
    }

    fn is_bound(&self, channel: u16, now: Instant) -> bool {
        self.bound.get(&channel).is_some_and(|until| *until > now)
    }
}

/// As many datagrams wait for a permission at most.
const MAX_HELD: usize = 64;
/// RFC 8656 section 9.
const PERMISSION_LIFE: Duration = Duration::from_secs(300);
/// RFC 8656 section 12: how long a channel lasts, and how long it is nobody else's after that.
const CHANNEL_LIFE: Duration = Duration::from_secs(600);
const QUARANTINE: Duration = Duration::from_secs(300);
