//! Candidates of our own, gathered once and shared by all peers: of our sockets, as STUN servers see them, and on TURN servers.
//!
//! The pool is filled before the first peer and kept fresh, so that a first offer has them all. What it costs does not grow
//! with the peers: one question for each socket and server, one allocation for each TURN server and family. Everything
//! that is begun with a server goes through one pacer (the Ta of RFC 8445 section 14.2).

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod output;
mod reflexive;
mod relaying;
mod relays;
mod servers;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::filter::{CandidateFilter, CandidateInfo};
use super::policy::{AddressPolicy, canonical, is_global};
use super::server::{IceServer, ServerTransport};
use super::turn::{Bounds, End, Received};
use crate::config::{CandidateType, Config, TransportPolicy};
use crate::event::{GatheringState, ServerFault};
use crate::need::{Need, NeedId};
use crate::rng::Rng;
use crate::tape::Tape;
use crate::time::WallClock;

pub(crate) use output::{Carried, GatherOutput, LocalCandidate, RelayedData, Taken};
pub(crate) use view::{PoolView, ServerStatus};

use reflexive::{Change, Question, Reflexive};
use relays::{Relay, Stage};
use servers::{Place, Server};

/// The pool.
pub(crate) struct Gatherer {
    policy: TransportPolicy,
    addresses: AddressPolicy,
    filter: CandidateFilter,
    pacing: Duration,
    relay_bounds: Bounds,
    tape: Tape,
    rng: Rng,
    /// The wall clock at an instant, to judge credentials that are limited in time.
    wall: WallClock,
    /// Our sockets, the preferred first.
    bases: Vec<SocketAddr>,
    /// All that are bound: what gives way to a better one may be needed later.
    bound: Vec<SocketAddr>,
    servers: Vec<Server>,
    reflexive: Reflexive,
    relays: BTreeMap<u64, Relay>,
    next_relay: u64,
    /// By the sockets of relays, by their streams and by their relayed addresses.
    by_local: BTreeMap<SocketAddr, u64>,
    by_need: BTreeMap<NeedId, Purpose>,
    by_relayed: BTreeMap<SocketAddr, u64>,
    next_need: u64,
    /// Addresses of peers that relays have to reach, and for how many.
    reached: BTreeMap<SocketAddr, usize>,
    /// Before this nothing is begun.
    pace: Instant,
    begun_at: Option<Instant>,
    candidates: Vec<LocalCandidate>,
    state: GatheringState,
    /// Whether relays are given back and nothing is gathered any more, until somebody wants candidates again.
    resting: bool,
    /// Counts what a [`PoolView`] shows.
    revision: u64,
    outputs: VecDeque<GatherOutput>,
}

/// What an open need is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// The name of a server of this URI host.
    Resolve { server: usize },
    /// The socket or connection of a relay.
    Relay(u64),
}

impl Gatherer {
    /// Gathers nothing until a socket is bound.
    pub(crate) fn new(config: &Config, mut rng: Rng, now: Instant, wall: WallClock) -> Self {
        let ice = config.ice();
        let mut gatherer = Self {
            policy: ice.policy,
            addresses: AddressPolicy::new(config),
            filter: CandidateFilter::new(&ice.denied_types),
            pacing: ice.pacing,
            relay_bounds: Bounds {
                max_peers: config.limits().max_relay_peers,
                keepalive: ice.keepalive,
            },
            tape: Tape::default(),
            wall,
            bases: Vec::new(),
            bound: Vec::new(),
            servers: Vec::new(),
            reflexive: Reflexive::new(ice.keepalive, rng.split()),
            relays: BTreeMap::new(),
            next_relay: 0,
            by_local: BTreeMap::new(),
            by_need: BTreeMap::new(),
            by_relayed: BTreeMap::new(),
            next_need: 0,
            reached: BTreeMap::new(),
            pace: now,
            begun_at: None,
            candidates: Vec::new(),
            state: GatheringState::New,
            resting: false,
            revision: 0,
            outputs: VecDeque::new(),
            rng,
        };
        gatherer.set_servers(ice.servers.clone(), now);
        gatherer
    }

    /// The wall clock was set.
    pub(crate) fn set_wall_clock(&mut self, wall: WallClock) {
        self.wall = wall;
    }

    /// Keeps on tape what only secrets can tell.
    pub(crate) fn set_tape(&mut self, tape: Tape) {
        self.tape = tape;
    }

    /// Judges candidates that are found from now on.
    pub(crate) fn set_filter(&mut self, filter: CandidateFilter) {
        self.filter = filter;
    }

    /// Replaces the servers. A TURN server that is in both sets with the same credentials keeps its allocation; one that is
    /// not serves those who use it until they end.
    pub(crate) fn set_servers(&mut self, servers: Vec<IceServer>, now: Instant) {
        self.by_need
            .retain(|_, purpose| !matches!(purpose, Purpose::Resolve { .. }));
        let former = std::mem::take(&mut self.servers);
        self.servers = servers
            .into_iter()
            .map(|ice| Server::after(&former, ice, now))
            .collect();
        self.plan(now);
        self.drive(now);
    }

    /// A socket of ours can be used.
    pub(crate) fn on_socket_bound(&mut self, local: SocketAddr, now: Instant) {
        let local = canonical(local);
        if !self.bound.contains(&local) {
            self.bound.push(local);
            self.choose_bases(now);
        }
    }

    /// A socket of ours is closed.
    pub(crate) fn on_socket_closed(&mut self, local: SocketAddr, now: Instant) {
        let local = canonical(local);
        self.bound.retain(|bound| *bound != local);
        self.choose_bases(now);
    }

    /// Some addresses are used only as long as there is no better one in their network.
    fn choose_bases(&mut self, now: Instant) {
        let bases = self.addresses.host_candidates(self.bound.iter().copied());
        let former = std::mem::replace(&mut self.bases, bases);
        if former == self.bases {
            return;
        }
        for gone in &former {
            if !self.bases.contains(gone) {
                self.leave_base(*gone, now);
            }
        }
        for new in self.bases.clone() {
            if !former.contains(&new) && self.announces_host(new) {
                self.found(LocalCandidate::host(new));
            }
        }
        self.plan(now);
        self.drive(now);
    }

    /// A socket is none of ours any more.
    fn leave_base(&mut self, local: SocketAddr, now: Instant) {
        let gone = |candidate: &LocalCandidate| {
            candidate.kind != CandidateType::Relayed && candidate.base == local
        };
        self.lost(gone);
        if self.bases.iter().all(|base| base.ip() != local.ip()) {
            self.leave_interface(local.ip(), now);
        }
    }

    /// The answer to a need.
    pub(crate) fn on_resolved(&mut self, need: NeedId, addresses: &[IpAddr], now: Instant) {
        let Some(Purpose::Resolve { server }) = self.by_need.get(&need).copied() else {
            return;
        };
        self.by_need.remove(&need);
        let usable = addresses
            .iter()
            .take(Need::MAX_ADDRESSES)
            .map(|ip| ip.to_canonical())
            .filter(|ip| self.addresses.allows_server(*ip))
            .collect();
        if let Some(known) = self.servers.get_mut(server)
            && !known.on_resolved(usable, now)
        {
            self.fail(server, ServerFault::Unresolved);
        }
        self.plan(now);
        self.drive(now);
    }

    /// The answer to a need: a socket for a relay.
    pub(crate) fn on_bound(&mut self, need: NeedId, local: Option<SocketAddr>, now: Instant) {
        match local {
            Some(local) => self.on_opened(need, local, now),
            None => self.on_stream_closed(need, now),
        }
    }

    /// The answer to a need: a connection for a relay, or its socket.
    pub(crate) fn on_opened(&mut self, need: NeedId, local: SocketAddr, now: Instant) {
        let Some(Purpose::Relay(key)) = self.by_need.get(&need).copied() else {
            return;
        };
        let rng = self.rng.split();
        let (bounds, tape) = (self.relay_bounds, self.tape.clone());
        if let Some(relay) = self.relays.get_mut(&key) {
            relay.on_opened(local, bounds, tape, rng, now);
            if let Some(socket) = relay.live().and_then(|live| live.socket()) {
                self.by_local.insert(socket, key);
            }
        }
        self.drive(now);
    }

    /// The connection of a relay is gone, or there is none.
    pub(crate) fn on_stream_closed(&mut self, need: NeedId, now: Instant) {
        let Some(Purpose::Relay(key)) = self.by_need.remove(&need) else {
            return;
        };
        self.end_relay(key, End::Fault(ServerFault::Unreachable), now);
        self.drive(now);
    }

    /// Looks at a datagram before anybody else does.
    pub(crate) fn handle_datagram(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        contents: &[u8],
        now: Instant,
    ) -> Taken {
        if let Some(key) = self.by_local.get(&local).copied() {
            return self.on_relay_datagram(key, remote, contents, now);
        }
        // The first bytes of a Binding response.
        if !matches!(contents, [1, 1 | 0x11, ..]) {
            return Taken::No;
        }
        let change = self.reflexive.handle_datagram(local, remote, contents, now);
        let Some(change) = change else {
            return Taken::No;
        };
        self.on_change(change);
        self.drive(now);
        Taken::Yes
    }

    /// Takes bytes of the connection of a relay, and gives the data of peers among them to `each`.
    pub(crate) fn handle_stream(
        &mut self,
        need: NeedId,
        contents: &[u8],
        now: Instant,
        each: &mut dyn FnMut(SocketAddr, SocketAddr, &[u8]),
    ) {
        let Some(Purpose::Relay(key)) = self.by_need.get(&need).copied() else {
            return;
        };
        let Some(live) = self.relays.get_mut(&key).and_then(Relay::live) else {
            return;
        };
        let Some(framing) = &mut live.framing else {
            return;
        };
        framing.push(contents);
        let broken = loop {
            match framing.next() {
                Ok(None) => break false,
                Ok(Some(at)) => {
                    let message = framing.get(at);
                    let received = live.allocation.receive(message, now);
                    if let (Received::Data { peer, data }, Some(relayed)) = (received, live.relayed)
                    {
                        each(relayed, peer, message.get(data).unwrap_or_default());
                    }
                }
                Err(_) => break true,
            }
        };
        if broken {
            self.end_relay(key, End::Fault(ServerFault::Protocol), now);
        }
        self.drive(now);
    }

    /// Whether an address is one of our relayed ones.
    pub(crate) fn is_relayed(&self, address: SocketAddr) -> bool {
        self.by_relayed.contains_key(&address)
    }

    /// Sends data from a relayed address.
    pub(crate) fn relay(
        &mut self,
        relayed: SocketAddr,
        peer: SocketAddr,
        data: Vec<u8>,
        now: Instant,
    ) -> Option<Carried> {
        let key = self.by_relayed.get(&relayed)?;
        let live = self.relays.get_mut(key).and_then(Relay::live)?;
        let contents = live.allocation.send(peer, data, now)?;
        Some(live.carry(contents))
    }

    /// Somebody wants to reach an address of a peer, through every relay that can.
    pub(crate) fn reach(&mut self, peer: SocketAddr, now: Instant) {
        *self.reached.entry(peer).or_default() += 1;
        for live in self.relays.values_mut().filter_map(Relay::live) {
            live.reach(peer, now);
        }
        self.drive(now);
    }

    /// One of those who wanted to reach an address does not any more.
    pub(crate) fn unreach(&mut self, peer: SocketAddr, now: Instant) {
        let Some(users) = self.reached.get_mut(&peer) else {
            return;
        };
        *users -= 1;
        if *users == 0 {
            self.reached.remove(&peer);
        }
        for live in self.relays.values_mut().filter_map(Relay::live) {
            live.allocation.release(peer, now);
        }
        self.give_back_unused(now);
        self.drive(now);
    }

    /// Gives the allocations back and gathers nothing more, until [`Gatherer::wake`]. Host candidates stay.
    pub(crate) fn rest(&mut self, now: Instant) {
        if !self.resting && !self.servers.is_empty() {
            self.resting = true;
            self.plan(now);
            self.drive(now);
        }
    }

    /// Gathers again after [`Gatherer::rest`].
    pub(crate) fn wake(&mut self, now: Instant) {
        if std::mem::take(&mut self.resting) {
            self.plan(now);
            self.drive(now);
        }
    }

    /// A path has fallen silent: what servers see of our sockets may have changed.
    pub(crate) fn doubt(&mut self, now: Instant) {
        self.reflexive.ask_again(now);
        self.drive(now);
    }

    /// Whether allocations are still being given back.
    pub(crate) fn is_busy(&self) -> bool {
        self.resting && !self.relays.is_empty()
    }

    /// When something was begun with a server last.
    pub(crate) fn begun_at(&self) -> Option<Instant> {
        self.begun_at
    }

    /// A check goes to a peer now: nothing is begun with a server before `next`.
    pub(crate) fn hold(&mut self, next: Instant) {
        self.pace = self.pace.max(next);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.drive(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let unpaced = self.relays.values().filter_map(|relay| match &relay.stage {
            Stage::Live(live) => live.allocation.poll_timeout(),
            Stage::Waiting(_) | Stage::Opening(_) => None,
        });
        [self.next_paced(), self.reflexive.poll_timeout()]
            .into_iter()
            .flatten()
            .chain(unpaced)
            .min()
    }

    pub(crate) fn poll_output(&mut self) -> Option<GatherOutput> {
        self.outputs.pop_front()
    }

    /// Our candidates, the preferred first.
    pub(crate) fn candidates(&self) -> &[LocalCandidate] {
        &self.candidates
    }

    /// Whether nothing is being gathered any more: our candidates are all there.
    pub(crate) fn is_gathered(&self) -> bool {
        let none_to_come = self.servers.is_empty() || self.state == GatheringState::Complete;
        none_to_come && !self.bases.is_empty() && !self.resting
    }

    /// The relayed addresses of former servers: they serve those who use them, and nobody new.
    pub(crate) fn retired(&self) -> Vec<SocketAddr> {
        let is_retired = |key: &u64| self.relays.get(key).is_some_and(|relay| relay.retired);
        let relayed = self.by_relayed.iter();
        relayed
            .filter(|(_, key)| is_retired(key))
            .map(|(address, _)| *address)
            .collect()
    }

    /// Our sockets, the preferred first.
    pub(crate) fn sockets(&self) -> &[SocketAddr] {
        &self.bases
    }

    /// Whether there is a server that answers STUN over UDP.
    pub(crate) fn has_stun_servers(&self) -> bool {
        self.servers.iter().any(is_udp)
    }

    /// The servers that answer STUN over UDP. `None` while names are being resolved or no socket is bound.
    pub(crate) fn stun_servers(&self) -> Option<Vec<SocketAddr>> {
        let mut servers = Vec::new();
        for server in self.servers.iter().filter(|server| is_udp(server)) {
            let is_pending =
                self.asks(server) && server.addresses().is_empty() && server.told.is_none();
            if is_pending || self.bases.is_empty() {
                return None;
            }
            servers.extend(server.socket_addresses());
        }
        Some(servers)
    }

    /// The name for a need of somebody else.
    pub(crate) fn reserve_need(&mut self) -> NeedId {
        let need = NeedId(self.next_need);
        self.next_need += 1;
        need
    }

    /// Sets what is asked of whom, after servers or sockets have changed.
    fn plan(&mut self, now: Instant) {
        self.revision += 1;
        let gone = self.reflexive.set_questions(&self.questions(), now);
        for (question, mapped) in gone {
            self.drop_reflexive(question, mapped);
        }
        self.plan_relays(now);
    }

    fn questions(&self) -> Vec<Question> {
        if !self.wants(CandidateType::ServerReflexive) || self.resting {
            return Vec::new();
        }
        let mut questions = Vec::new();
        for server in &self.servers {
            // TURN servers over UDP answer STUN as well.
            if !is_udp(server) {
                continue;
            }
            for address in server.socket_addresses() {
                let same_family = |base: &&SocketAddr| base.is_ipv4() == address.is_ipv4();
                questions.extend(self.bases.iter().filter(same_family).map(|base| Question {
                    base: *base,
                    server: address,
                }));
            }
        }
        questions
    }

    /// Does what is due: begins what the pacer lets, repeats, and takes what came of it.
    fn drive(&mut self, now: Instant) {
        loop {
            self.drive_once(now);
            // What came of it may be due at once, as a refresh that was not answered is.
            if !self.is_due(now) {
                break;
            }
        }
        self.update_state();
    }

    fn is_due(&self, now: Instant) -> bool {
        self.pace <= now && self.next_paced().is_some_and(|at| at <= now)
    }

    fn drive_once(&mut self, now: Instant) {
        self.resolve_names(now);
        while self.is_due(now) {
            self.begin_next(now);
            self.pace = now + self.pacing;
            self.begun_at = Some(now);
        }
        while let Some(change) = self.reflexive.poll_expired(now) {
            self.on_change(change);
        }
        while let Some(outgoing) = self.reflexive.poll_transmit(now) {
            let carried = Carried::Datagram(outgoing);
            self.outputs.push_back(GatherOutput::Carried(carried));
        }
        for key in self.relays.keys().copied().collect::<Vec<_>>() {
            self.drive_relay(key, now);
        }
    }

    fn resolve_names(&mut self, now: Instant) {
        if self.bases.is_empty() || self.resting {
            return;
        }
        for server in 0..self.servers.len() {
            if !self.asks(&self.servers[server]) {
                continue;
            }
            let known = &mut self.servers[server];
            let Some(host) = known.wants_resolving(now).map(str::to_owned) else {
                continue;
            };
            known.place = Place::Resolving;
            known.asked_at.get_or_insert(now);
            let need = self.new_need(Purpose::Resolve { server });
            self.outputs
                .push_back(GatherOutput::Need(Need::Resolve { need, host }));
        }
    }

    /// Whether a server is of use: whether what it serves is wanted.
    fn asks(&self, server: &Server) -> bool {
        let relays = server.ice.is_relay() && self.wants(CandidateType::Relayed);
        relays || (is_udp(server) && self.wants(CandidateType::ServerReflexive))
    }

    /// Whether candidates of a type are used at all.
    fn wants(&self, candidate_type: CandidateType) -> bool {
        let policy =
            self.policy != TransportPolicy::Relay || candidate_type == CandidateType::Relayed;
        policy && self.filter.allows_type(candidate_type)
    }

    /// When the next thing may be begun with a server.
    fn next_paced(&self) -> Option<Instant> {
        let relays = self
            .relays
            .values()
            .filter_map(|relay| relay.next_request_at(self.pace));
        let names = self
            .servers
            .iter()
            .filter(|server| !self.bases.is_empty() && !self.resting && self.asks(server))
            .filter_map(Server::poll_timeout);
        let due = self
            .reflexive
            .next_request_at()
            .into_iter()
            .chain(relays)
            .min();
        let paced = due.map(|at| at.max(self.pace));
        names.chain(paced).min()
    }

    fn begin_next(&mut self, now: Instant) {
        if self.reflexive.next_request_at().is_some_and(|at| at <= now) {
            if let Some(question) = self.reflexive.begin_request(now) {
                self.note_asked(question.server, now);
            }
            return;
        }
        let is_due = |relay: &Relay| relay.next_request_at(now).is_some_and(|at| at <= now);
        let due = self.relays.iter().find(|(_, relay)| is_due(relay));
        let Some(key) = due.map(|(key, _)| *key) else {
            return;
        };
        if let Some(live) = self.relays.get_mut(&key).and_then(Relay::live) {
            live.allocation.begin_request(now);
        } else {
            self.open_relay(key, now);
        }
    }

    fn on_change(&mut self, change: Change) {
        self.revision += 1;
        let Change {
            question,
            mapped,
            answered,
        } = change;
        for at in 0..self.servers.len() {
            let server = &mut self.servers[at];
            if !server.is_at(question.server) {
                continue;
            }
            if answered {
                server.answered = true;
                if !server.ice.is_relay() {
                    server.told = None;
                }
            } else if !server.ice.is_relay() {
                self.fail(at, ServerFault::Unreachable);
            }
        }
        let Some((before, after)) = mapped else {
            return;
        };
        if let Some(before) = before {
            self.drop_reflexive(question, before);
        }
        let after = after.filter(|mapped| self.addresses.allows(*mapped));
        if let Some(mapped) = after {
            self.found_reflexive(question, mapped);
        }
        if let (Some(_), Some(_)) = (before, after) {
            let base = question.base;
            self.outputs.push_back(GatherOutput::Moved { base });
        }
    }

    /// A server sees a socket of ours at its own address: it is no other candidate, but it may be one that is announced now.
    fn found_reflexive(&mut self, question: Question, mapped: SocketAddr) {
        if mapped != question.base && !planted!(ReflexiveForgotten) {
            self.found(LocalCandidate {
                kind: CandidateType::ServerReflexive,
                address: mapped,
                base: question.base,
            });
        }
    }

    /// A server does not see this address any more. It stays a candidate while another server sees it.
    fn drop_reflexive(&mut self, question: Question, mapped: SocketAddr) {
        if !self.reflexive.sees(question.base, mapped) {
            self.lost(|candidate| {
                candidate.kind == CandidateType::ServerReflexive
                    && candidate.base == question.base
                    && candidate.address == mapped
            });
        }
    }

    fn found(&mut self, candidate: LocalCandidate) {
        let info = CandidateInfo {
            peer: None,
            candidate_type: candidate.kind,
            address: candidate.address,
        };
        if self.candidates.contains(&candidate) || !self.filter.allows(&info) {
            return;
        }
        self.candidates.push(candidate);
        let rank = |candidate: &LocalCandidate| {
            let base = self.bases.iter().position(|base| *base == candidate.base);
            (candidate.kind, base)
        };
        let mut ordered: Vec<_> = std::mem::take(&mut self.candidates);
        ordered.sort_by_key(rank);
        self.candidates = ordered;
        self.outputs.push_back(GatherOutput::Found(candidate));
    }

    fn lost(&mut self, is_lost: impl Fn(&LocalCandidate) -> bool) {
        let (lost, kept) = std::mem::take(&mut self.candidates)
            .into_iter()
            .partition::<Vec<_>, _>(is_lost);
        self.candidates = kept;
        self.outputs
            .extend(lost.into_iter().map(GatherOutput::Gone));
    }

    fn fail(&mut self, server: usize, fault: ServerFault) {
        self.revision += 1;
        if let Some(known) = self.servers.get_mut(server)
            && known.told != Some(fault)
        {
            known.told = Some(fault);
            tracing::warn!(server = %known.ice, %fault, "ice server");
            self.outputs.push_back(GatherOutput::Failed {
                server: known.ice.to_string(),
                fault,
            });
        }
    }

    fn note_asked(&mut self, address: SocketAddr, now: Instant) {
        self.revision += 1;
        for server in &mut self.servers {
            if server.is_at(address) {
                server.asked_at.get_or_insert(now);
            }
        }
    }

    fn update_state(&mut self) {
        let is_named = |server: &Server| {
            server.told == Some(ServerFault::Unresolved)
                || !server.addresses().is_empty()
                || !self.asks(server)
        };
        let is_complete = self.reflexive.is_settled()
            && self.servers.iter().all(is_named)
            && self
                .relays
                .values()
                .all(|relay| relay.settled || relay.retired);
        let state = if self.bases.is_empty() || self.servers.is_empty() {
            GatheringState::New
        } else if is_complete {
            GatheringState::Complete
        } else {
            GatheringState::Gathering
        };
        if self.state != state {
            self.state = state;
            self.outputs.push_back(GatherOutput::State(state));
        }
    }

    fn announces_host(&self, local: SocketAddr) -> bool {
        let local = canonical(local);
        let policy = match self.policy {
            TransportPolicy::All => true,
            TransportPolicy::Relay => false,
            TransportPolicy::Public => is_global(local.ip()),
        };
        policy && self.bases.contains(&local)
    }

    /// The socket from which an address is reached.
    fn base_for(&self, ip: IpAddr) -> Option<SocketAddr> {
        let same_family = |base: &&SocketAddr| base.is_ipv4() == ip.is_ipv4();
        // Loopback reaches loopback and nothing else does.
        let fits = |base: &&SocketAddr| base.ip().is_loopback() == ip.is_loopback();
        let mut bases = self.bases.iter().filter(same_family);
        bases.clone().find(fits).or_else(|| bases.next()).copied()
    }

    fn new_need(&mut self, purpose: Purpose) -> NeedId {
        let need = self.reserve_need();
        self.by_need.insert(need, purpose);
        need
    }
}

fn is_udp(server: &Server) -> bool {
    server.ice.transport() == ServerTransport::Udp
}
