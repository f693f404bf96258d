//! One host: its endpoint, its sockets and its application.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use bowline::simulation::Protector;
use bowline::{ChannelId, Endpoint, Event, PeerId, SessionMemory};

use crate::attack::Attacker;
use crate::check::{Relays, Work};
use crate::driver::Wakeups;
use crate::net::HostId;
use crate::time::Time;

use super::Item;
use super::builder::PeerSpec;
use super::marks::Repair;
use super::pace::Pulse;
use super::vigil::Vigil;
use super::workload::Bulk;

/// One host.
pub(super) struct Node {
    pub(super) id: PeerId,
    pub(super) spec: PeerSpec,
    /// The addresses that it began with.
    pub(super) home: Vec<SocketAddr>,
    /// The addresses of its sockets now.
    pub(super) addresses: Vec<SocketAddr>,
    /// `None` while it has crashed. Boxed, because it is taken out and put back at every input.
    pub(super) endpoint: Option<Box<Endpoint>>,
    /// Who has taken the place of the endpoint.
    pub(super) attacker: Option<(Box<dyn Attacker>, Protector)>,
    /// Endpoints that were started here.
    pub(super) starts: u32,
    /// The sessions that the last of them had.
    pub(super) memory: SessionMemory,
    pub(super) deadline: Option<Time>,
    pub(super) tick: Option<Time>,
    /// When its driver comes to it.
    pub(super) pulse: Pulse,
    /// What happens to it when its machine wakes.
    pub(super) postponed: Vec<Item>,
    /// When it was given its last input.
    pub(super) given: Time,
    pub(super) wakeups: Wakeups,
    pub(super) work: Work,
    /// What it holds at TURN servers.
    pub(super) relays: Relays,
    /// Until when a slow reader is busy with what it has got.
    pub(super) reads_until: Time,
    /// What an absent reader keeps: peer, how many times it was initialised, and channel.
    pub(super) unread: BTreeMap<(HostId, usize, ChannelId), Vec<usize>>,
    /// The serials of the signals that came and were used.
    pub(super) signals: BTreeSet<u64>,
    /// Addresses that were announced as candidates, or wrote to us.
    pub(super) known: BTreeSet<SocketAddr>,
    /// Addresses that were written to in this drain and are not known.
    pub(super) strangers: Vec<SocketAddr>,
    /// When a check was answered last, by local and remote address.
    pub(super) answers: BTreeMap<(SocketAddr, SocketAddr), Time>,
    pub(super) vigil: Vigil,
    /// Messages that wait for room, by peer.
    pub(super) bulk: BTreeMap<HostId, VecDeque<Bulk>>,
    /// Peers that told of room since the last drain.
    pub(super) writable: Vec<HostId>,
    /// Messages made so far, by peer and channel, so that no two are alike.
    pub(super) made: BTreeMap<(HostId, ChannelId), u64>,
    /// How often the application called for repairs, and since when.
    pub(super) calls: BTreeMap<(HostId, Repair), (Time, u32)>,
    /// Whether all of its addresses are gone.
    pub(super) unplugged: bool,
    /// What the application was told.
    pub(super) log: Vec<(Time, Event)>,
}

impl Node {
    pub(super) fn new(id: PeerId, spec: PeerSpec, addresses: Vec<SocketAddr>) -> Self {
        Self {
            id,
            spec,
            home: addresses.clone(),
            addresses,
            endpoint: None,
            attacker: None,
            starts: 0,
            memory: SessionMemory::default(),
            deadline: None,
            tick: None,
            pulse: Pulse::default(),
            postponed: Vec::new(),
            given: Time::ZERO,
            wakeups: Wakeups::default(),
            work: Work::default(),
            relays: Relays::default(),
            reads_until: Time::ZERO,
            unread: BTreeMap::new(),
            signals: BTreeSet::new(),
            known: BTreeSet::new(),
            strangers: Vec::new(),
            answers: BTreeMap::new(),
            vigil: Vigil::default(),
            bulk: BTreeMap::new(),
            writable: Vec::new(),
            made: BTreeMap::new(),
            calls: BTreeMap::new(),
            unplugged: false,
            log: Vec::new(),
        }
    }

    /// When it must be woken next.
    pub(super) fn next_wakeup(&self) -> Option<Time> {
        self.pulse.next_wakeup(self.deadline, self.tick)
    }

    /// Whether somebody takes what arrives here.
    pub(super) fn listens(&self) -> bool {
        let runs = self.endpoint.is_some() && !self.pulse.sleeps();
        runs || self.attacker.is_some()
    }

    /// The endpoint is given an input or a command of so many bytes.
    pub(super) fn on_input(&mut self, bytes: usize) {
        self.wakeups.on_input();
        self.work.on_input(bytes);
    }

    /// Gives away the endpoint, and forgets all that it and its application had in hand.
    pub(super) fn crash(&mut self) -> Option<Box<Endpoint>> {
        self.deadline = None;
        self.tick = None;
        self.pulse = Pulse::default();
        self.calls = BTreeMap::new();
        self.unread.clear();
        self.signals.clear();
        self.known.clear();
        self.answers.clear();
        self.work = Work::default();
        self.relays = Relays::default();
        self.vigil = Vigil::default();
        self.bulk.clear();
        let endpoint = self.endpoint.take();
        if let Some(endpoint) = &endpoint {
            self.memory = endpoint.session_memory();
        }
        endpoint
    }
}
