//! The world: endpoints, the network and the bus between them, and the clock that drives all of it.

mod apply;
mod attackers;
pub(crate) mod builder;
mod checks;
mod marks;
mod needs;
mod node;
mod pace;
mod pump;
mod servers;
mod vigil;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bowline::{ChannelId, Endpoint, Event, NeedId, PeerId, PeerState, SessionId};

use crate::action::Action;
use crate::bus::{Bus, Parcel};
use crate::check::Secrets;
use crate::driver::Driver;
use crate::findings::{Findings, Premises, Violation};
use crate::marks::Marks;
use crate::model::{Digest, Model};
use crate::net::{Accounts, Datagram, GatewayId, HostId, Network};
use crate::queue::EventQueue;
use crate::server::Server;
use crate::time::{Clock, Time};
use crate::trace::Trace;

use builder::{Dtls, WorldBuilder};
use needs::{Needs, Reply};
use node::Node;
use servers::{Late, ServerHost};

pub use apply::Refused;
pub(crate) use pump::subject;
pub use servers::StreamOutput;

/// Endpoints on simulated hosts, and all that is between them.
///
/// Time passes only in [`World::run_for`] and [`World::run_until`]. Every call of an application is made at the
/// present time, and its outputs are taken at once. The checkers look at each event; what they find is in
/// [`World::violations`], and [`World::assert_no_violation`] panics about it.
pub struct World {
    seed: u64,
    driver: Driver,
    dtls: Dtls,
    keyed: bool,
    unix_millis: u64,
    clock: Clock,
    queue: EventQueue<Item>,
    network: Network,
    bus: Bus,
    nodes: Vec<Node>,
    servers: Vec<ServerHost>,
    /// The names of the boxes.
    gateways: Vec<String>,
    by_id: BTreeMap<PeerId, HostId>,
    model: Model,
    findings: Findings,
    secrets: Secrets,
    marks: Marks,
    trace: Trace,
    stats: Stats,
    /// Events that an input may have caused, and not only time.
    told: u64,
    /// The hosts that attackers have taken over.
    attackers: Vec<HostId>,
    /// The signals that attackers made themselves.
    forged: BTreeSet<u64>,
    needs: Needs,
    /// The buffer that endpoints fill with datagrams.
    buf: Vec<u8>,
}

/// What will happen.
#[derive(Debug)]
enum Item {
    Datagram(Datagram),
    Signal(Parcel),
    Action(Action),
    Late(Late),
    /// A slow reader is done with a message of a peer that was initialised `birth` times.
    Release {
        host: HostId,
        peer: HostId,
        birth: usize,
        channel: ChannelId,
        bytes: usize,
    },
    /// What an endpoint needed is there.
    Reply(HostId, NeedId, Reply),
    /// Bytes on a connection to a server.
    ToServer(HostId, NeedId, Vec<u8>),
}

/// Figures of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Simulated time.
    pub simulated: Duration,
    /// Inputs to endpoints, of every kind.
    pub inputs: u64,
    /// Wake-ups because a deadline was reached.
    pub wakeups: u64,
    /// Events that applications were told.
    pub events: u64,
    /// Messages that `send` accepted.
    pub accepted: u64,
    /// Messages that `send` refused.
    pub refused: u64,
    /// Messages that applications received.
    pub received: u64,
    /// What became of the datagrams.
    pub datagrams: Accounts,
    /// What became of the signals.
    pub signals: Accounts,
}

impl World {
    /// A builder. The seed decides every random choice of the endpoints, the network and the bus.
    pub fn builder(seed: u64) -> WorldBuilder {
        WorldBuilder::new(seed)
    }

    fn start(builder: &WorldBuilder, network: Network, bus: Bus, nodes: Vec<Node>) -> Self {
        let by_id: BTreeMap<_, _> = nodes.iter().enumerate().map(|(i, n)| (n.id, i)).collect();
        assert_eq!(by_id.len(), nodes.len(), "every host has a name of its own");
        let mut world = Self {
            seed: builder.seed,
            driver: builder.driver,
            dtls: builder.dtls,
            keyed: builder.keyed,
            unix_millis: builder.unix_millis,
            clock: Clock::new(builder.shift),
            queue: EventQueue::new(),
            network,
            bus,
            nodes,
            servers: Vec::new(),
            gateways: builder.gateways.iter().map(|g| g.name.clone()).collect(),
            by_id,
            model: Model::default(),
            findings: Findings::default(),
            secrets: Secrets::default(),
            marks: Marks::default(),
            trace: Trace::new(builder.record),
            stats: Stats::default(),
            told: 0,
            attackers: Vec::new(),
            forged: BTreeSet::new(),
            needs: Needs::default(),
            buf: Vec::new(),
        };
        for (number, spec) in builder.servers.iter().enumerate() {
            let host = world.nodes.len() + number;
            let passwords = spec.users.values().chain(&spec.rest_secret);
            passwords.for_each(|password| world.secrets.add(password));
            let server = Server::new(spec.clone(), number, builder.seed);
            for address in server.addresses() {
                world.network.attach(host, *address);
            }
            world.servers.push(ServerHost::new(server, host));
        }
        for host in 0..world.nodes.len() {
            world.start_endpoint(host);
        }
        world
    }

    /// Does something at a later time. What lies in the past is done at once when the world runs again.
    pub fn at(&mut self, time: Time, action: Action) {
        self.queue.push(time, Item::Action(action));
    }

    /// Lets time pass. Ends early at a violation.
    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(|_| false, duration);
    }

    /// Lets time pass until `done`, which is asked after everything that happens, or for at most `limit`.
    ///
    /// Returns whether `done` came true. Ends early at a violation.
    pub fn run_until(&mut self, mut done: impl FnMut(&Self) -> bool, limit: Duration) -> bool {
        let end = self.clock.now().after(limit);
        loop {
            if done(self) {
                return true;
            }
            if !self.findings.violations.is_empty() {
                return false;
            }
            match self.next_time() {
                Some(at) if at <= end => self.step(at),
                Some(_) | None => {
                    self.set_time(end);
                    return false;
                }
            }
        }
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The present time, as endpoints take it.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.clock.instant()
    }

    /// The number of a host.
    ///
    /// # Panics
    ///
    /// When there is none of this name.
    #[must_use]
    pub fn host(&self, name: &str) -> HostId {
        let host = self.nodes.iter().position(|node| node.spec.name == name);
        host.expect("a host of this name was added")
    }

    /// How many hosts with endpoints there are.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.nodes.len()
    }

    /// The peer id of a host.
    #[must_use]
    pub fn id(&self, host: HostId) -> PeerId {
        self.nodes[host].id
    }

    /// The addresses that a host has now.
    #[must_use]
    pub fn addresses(&self, host: HostId) -> &[SocketAddr] {
        &self.nodes[host].addresses
    }

    /// The addresses that a host began with.
    #[must_use]
    pub fn home_addresses(&self, host: HostId) -> &[SocketAddr] {
        &self.nodes[host].home
    }

    /// The number of a box.
    ///
    /// # Panics
    ///
    /// When there is none of this name.
    #[must_use]
    pub fn gateway(&self, name: &str) -> GatewayId {
        let gateway = self.gateways.iter().position(|known| known == name);
        gateway.expect("a box of this name was added")
    }

    /// Whether theory allows a path between two hosts: over IPv4 as [`Network::has_path`], and over IPv6, which nobody
    /// translates, unless a firewall stops all STUN. With `relay` there is a TURN server of IPv4 on the internet, which hosts of
    /// IPv6 reach, too, that are behind a NAT64. Without, these reach no host of IPv4: nobody tells them the address
    /// that stands for its own, and nobody tells it what it would see of them.
    #[must_use]
    pub fn has_path(&self, a: HostId, b: HostId, relay: bool) -> bool {
        let both = |family: fn(&SocketAddr) -> bool| {
            let mut hosts = [a, b].into_iter();
            hosts.all(|host| self.addresses(host).iter().any(family))
        };
        let path = |relay| self.network.has_path(a, b, relay);
        let reaches_ipv4 = |host| {
            let has_ipv4 = self.addresses(host).iter().any(SocketAddr::is_ipv4);
            has_ipv4 || self.network.is_behind_nat64(host)
        };
        let relayed = relay && reaches_ipv4(a) && reaches_ipv4(b);
        // Over IPv6 every mapping is known, as that of a relay is.
        (both(SocketAddr::is_ipv6) && path(true))
            || (both(SocketAddr::is_ipv4) && path(relay))
            || (relayed && path(true))
    }

    /// The endpoint of a host; `None` while it has crashed.
    #[must_use]
    pub fn endpoint(&self, host: HostId) -> Option<&Endpoint> {
        self.nodes[host].endpoint.as_deref()
    }

    /// The state in which `host` knows `peer`, by the events that it was told. Terminal ones stay until the peer
    /// is initialised again.
    #[must_use]
    pub fn state(&self, host: HostId, peer: HostId) -> Option<PeerState> {
        self.model
            .life(host, peer)
            .filter(|life| !life.crashed)
            .map(|life| life.state)
    }

    /// The session that `host` has negotiated with `peer`.
    #[must_use]
    pub fn session(&self, host: HostId, peer: HostId) -> Option<SessionId> {
        self.model.life(host, peer)?.session
    }

    /// Whether both hosts are connected to each other, in one session.
    #[must_use]
    pub fn connected(&self, a: HostId, b: HostId) -> bool {
        let up = |host, peer| self.state(host, peer) == Some(PeerState::Connected);
        up(a, b) && up(b, a) && self.session(a, b) == self.session(b, a)
    }

    /// Whether `host` knows nothing of `peer`, or only that it has ended.
    #[must_use]
    pub fn ended(&self, host: HostId, peer: HostId) -> bool {
        self.model
            .life(host, peer)
            .is_none_or(|life| life.is_over())
    }

    /// How many of the messages that `host` sent to `peer` on `channel` may still arrive, those that wait for room
    /// included. None, once the peer has ended.
    #[must_use]
    pub fn outstanding(&self, host: HostId, peer: HostId, channel: impl Into<ChannelId>) -> usize {
        let channel = channel.into();
        let life = self.model.life(host, peer).filter(|life| !life.is_over());
        let flow = life.and_then(|life| life.flows.get(&channel));
        let bulk = self.nodes[host].bulk.get(&peer);
        let waiting: u32 = bulk
            .into_iter()
            .flatten()
            .filter(|b| b.channel == channel)
            .map(|b| b.left)
            .sum();
        flow.map_or(0, |flow| flow.pending()) + waiting as usize
    }

    /// How many of the messages that `host` sent to `peer` on `channel` were confirmed as delivered.
    #[must_use]
    pub fn confirmed(&self, host: HostId, peer: HostId, channel: impl Into<ChannelId>) -> u64 {
        let flow = self
            .model
            .life(host, peer)
            .and_then(|life| life.flows.get(&channel.into()));
        flow.map_or(0, |flow| flow.delivered())
    }

    /// How many of the messages that `host` sent to `peer` on `channel` were neither confirmed nor given up. None, once the peer
    /// has ended.
    #[must_use]
    pub fn unconfirmed(&self, host: HostId, peer: HostId, channel: impl Into<ChannelId>) -> usize {
        let life = self.model.life(host, peer).filter(|life| !life.is_over());
        let flow = life.and_then(|life| life.flows.get(&channel.into()));
        flow.map_or(0, |flow| flow.unconfirmed())
    }

    /// What `host` has received from `peer` on `channel` since the peer was last initialised.
    #[must_use]
    pub fn received(&self, host: HostId, peer: HostId, channel: impl Into<ChannelId>) -> Digest {
        let life = self.model.life(host, peer);
        life.and_then(|life| life.inbox.get(&channel.into()))
            .copied()
            .unwrap_or_default()
    }

    /// What every application received: by host, peer, how many times the peer was initialised before, and channel.
    #[must_use]
    pub fn deliveries(&self) -> BTreeMap<(HostId, HostId, usize, ChannelId), Digest> {
        self.model.deliveries()
    }

    /// What the application of a host was told, and when. Empty when only hashes are recorded.
    #[must_use]
    pub fn events(&self, host: HostId) -> &[(Time, Event)] {
        &self.nodes[host].log
    }

    /// The network.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// The signalling bus.
    pub fn bus(&mut self) -> &mut Bus {
        &mut self.bus
    }

    /// The trace.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The figures so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            simulated: self.clock.now().since(Time::ZERO),
            wakeups: self.nodes.iter().map(|node| node.wakeups.total).sum(),
            datagrams: self.network.accounts(),
            signals: self.bus.accounts(),
            ..self.stats
        }
    }

    /// The wake-ups of one endpoint because its deadline was reached.
    #[must_use]
    pub fn wakeups(&self, host: HostId) -> u64 {
        self.nodes[host].wakeups.total
    }

    /// Whether nothing is scheduled and neither an endpoint nor an allocation of a server waits for a deadline.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.next_time().is_none()
    }

    /// The rules that did not hold so far.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.findings.violations
    }

    /// How often each rule had something to check so far.
    #[must_use]
    pub fn premises(&self) -> Premises {
        self.findings.premises
    }

    fn next_time(&self) -> Option<Time> {
        let wakeup = self.nodes.iter().filter_map(Node::next_wakeup).min();
        let served = self
            .servers
            .iter()
            .filter_map(ServerHost::next_wakeup)
            .min();
        let all = [self.queue.next_time(), wakeup, served];
        all.into_iter().flatten().min()
    }

    /// Does what is due at `at`: first what was scheduled, in its order, then wake-ups in the order of the hosts, servers last.
    fn step(&mut self, at: Time) {
        self.set_time(at);
        let now = self.clock.now();
        if let Some(item) = self.queue.pop_due(now) {
            return self.handle(item);
        }
        for host in 0..self.nodes.len() {
            self.wake(host, now);
        }
        self.wake_servers(now);
    }

    fn handle(&mut self, item: Item) {
        let Some(item) = self.postpone(item) else {
            return;
        };
        match item {
            Item::Datagram(datagram) => self.on_datagram(datagram),
            Item::Signal(parcel) => self.on_parcel(parcel),
            Item::Action(action) => self.apply(action),
            Item::Late(late) => self.on_late(&late),
            Item::Reply(host, need, reply) => self.on_reply(host, need, reply),
            Item::ToServer(host, need, bytes) => self.on_stream_input(host, need, &bytes),
            Item::Release {
                host,
                peer,
                birth,
                channel,
                bytes,
            } => {
                self.on_release((host, peer), birth, channel, bytes);
            }
        }
    }

    fn set_time(&mut self, at: Time) {
        self.clock.advance(at);
        self.findings.now = self.clock.now();
    }
}

#[cfg(test)]
mod tests;
