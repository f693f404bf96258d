//! Many peers on shared sockets.

mod demux;
mod discovery;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod gate;
mod gathering;
pub(crate) mod io;
pub(crate) mod memory;
mod naming;
mod pacer;
mod recorder;
pub(crate) mod replay;
mod rollover;
pub(crate) mod rooms;
mod sending;
mod signals;
mod slots;
pub(crate) mod stun;
mod transmit;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::channel::kind::{ChannelConfig, Message};
use crate::config::{self, Config, Limits, TransportPolicy, check_servers};
use crate::crypto::{self, Crypto};
use crate::diagnosis::Explanation;
use crate::error::{
    ConnectError, EndpointError, NotIncoming, OpenError, SendError, SendRefusal, UnknownChannel,
    UnknownPeer,
};
use crate::event::{Event, Path, PeerState};
use crate::ice::gather::{Gatherer, PoolView, RelayedData, Taken};
use crate::ice::{CandidateFilter, CandidateInfo, IceServer, IceServerError, Lookups};
use crate::id::{ChannelId, MessageId, PeerId};
use crate::mesh::Mesh;
use crate::metrics::{EndpointStats, PeerMetrics};
use crate::need::{Need, NeedId};
use crate::peer::paths::PathQuality;
use crate::peer::{self, Context};
use crate::rng::{Rng, Seed};
use crate::signal::{EarlyCandidates, EndedSessions, Farewells, Identity, Newcomers, Sealer};
use crate::tape::Tape;
use crate::time::{UnixTime, WallClock};

use demux::Demux;
use discovery::Discovery;
use gate::{DropReason, Gate, SourceGate};
use io::{Input, Output};
use pacer::CheckPacer;
use recorder::{Header, Origin, Step};
use slots::{PeerKey, Slots};
use transmit::TransmitQueue;

/// Many peers over shared sockets: the root of the core.
///
/// After every input and every command, call [`Endpoint::poll_output`] until it returns [`Output::Timeout`].
pub struct Endpoint {
    sealer: Sealer,
    wall: WallClock,
    ctx: Context,
    rng: Rng,
    /// The time of the last input or command; it never goes back.
    now: Instant,
    /// What a recording starts from, until something has happened.
    origin: Option<Origin>,
    slots: Slots<Slot>,
    by_id: BTreeMap<PeerId, PeerKey>,
    demux: Demux,
    /// When a peer has something to do, and which.
    timers: BTreeSet<(Instant, PeerKey)>,
    /// Peers that were touched and not driven since.
    dirty: VecDeque<PeerKey>,
    farewells: Farewells,
    newcomers: Newcomers,
    gatherer: Gatherer,
    discovery: Discovery,
    /// Whether [`Endpoint::close`] was called, and the application has wanted no peer since.
    closing: bool,
    pacer: CheckPacer,
    transmits: TransmitQueue,
    /// Whole messages for streams.
    streams: VecDeque<(NeedId, Vec<u8>)>,
    needs: VecDeque<Need>,
    stats: EndpointStats,
}

/// The two roots of randomness: one for secrets, and one for what a recording may show.
struct Seeds {
    secrets: Rng,
    public: [u8; 32],
}

impl Seeds {
    fn new(seed: &Seed) -> Self {
        let mut root = Rng::new(seed);
        Self {
            secrets: root.split(),
            public: root.bytes(),
        }
    }
}

/// A peer and what the endpoint keeps about it.
struct Slot {
    peer: peer::Peer,
    sources: SourceGate,
    ufrags: Vec<String>,
    /// The pairs of addresses that lead to this peer, the newest last, at most [`MAX_TUPLES`](sending::MAX_TUPLES).
    tuples: VecDeque<(SocketAddr, SocketAddr)>,
    /// The addresses of this peer that relays reach, at most [`MAX_REACHED`](gathering::MAX_REACHED).
    reached: BTreeSet<SocketAddr>,
    timer: Option<Instant>,
    dirty: bool,
}

impl Endpoint {
    /// Makes an endpoint that speaks as `identity`.
    ///
    /// `now` is the present of the clock that every later call uses; `unix_time` is the wall clock at that instant, by which
    /// signed messages are dated.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] when the certificate cannot be made.
    pub fn new(
        config: Config,
        identity: Identity,
        seed: Seed,
        now: Instant,
        unix_time: UnixTime,
    ) -> Result<Self, EndpointError> {
        let mut seeds = Seeds::new(&seed);
        let crypto = Crypto::new(
            identity.owner(),
            &config.transport,
            &config.timing,
            &mut seeds.secrets.split(),
        )
        .map_err(|_| EndpointError::Certificate)?;
        let wall = WallClock::new(now, unix_time);
        Ok(Self::with_identity(
            config, identity, crypto, seeds, now, wall,
        ))
    }

    /// Makes an endpoint whose DTLS is replaced by `provider`. It has no security whatever; see
    /// [`crate::simulation`].
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn simulated(
        config: Config,
        identity: Identity,
        seed: Seed,
        now: Instant,
        unix_time: UnixTime,
        provider: &'static dyn crate::simulation::DtlsProvider,
    ) -> Self {
        let mut seeds = Seeds::new(&seed);
        let mut rng = seeds.secrets.split();
        let (owner, transport, timing) = (identity.owner(), &config.transport, &config.timing);
        let crypto = Crypto::simulated(provider, owner, transport, timing, &mut rng);
        let wall = WallClock::new(now, unix_time);
        Self::with_identity(config, identity, crypto, seeds, now, wall)
    }

    fn with_identity(
        config: Config,
        identity: Identity,
        crypto: Crypto,
        mut seeds: Seeds,
        now: Instant,
        wall: WallClock,
    ) -> Self {
        let config::Signalling {
            protection,
            freshness,
        } = config.signalling;
        let id = identity.id();
        let rng = seeds.secrets.split();
        let sealer = Sealer::new(identity, protection, freshness, rng);
        if !sealer.is_keyed() {
            tracing::info!(%id, "signalling is plain: peers are whoever they say they are");
        }
        Self::with_crypto(config, sealer, crypto, seeds, now, wall)
    }

    /// An endpoint for which a recording answers in place of transports.
    fn replaying(header: Header, seed: [u8; 32], tape: Tape, start: Instant) -> Option<Self> {
        let Header {
            id,
            config,
            unix_time,
            keyed,
            ..
        } = header;
        // Never used: no transport is made.
        let mut secrets = Rng::new(&Seed::from([0; 32]));
        let crypto = Crypto::new(None, &config.transport, &config.timing, &mut secrets).ok()?;
        let signalling = keyed.then_some(&config.signalling);
        let sealer = Sealer::replaying(id, signalling, secrets.split());
        let seeds = Seeds {
            secrets,
            public: seed,
        };
        let wall = WallClock::new(start, unix_time);
        let mut endpoint = Self::with_crypto(config, sealer, crypto, seeds, start, wall);
        endpoint.set_tape(tape);
        Some(endpoint)
    }

    fn with_crypto(
        config: Config,
        sealer: Sealer,
        crypto: Crypto,
        seeds: Seeds,
        now: Instant,
        wall: WallClock,
    ) -> Self {
        let Seeds { secrets, public } = seeds;
        let mut rng = Rng::new(&Seed::from(public));
        let Limits {
            max_peers,
            max_candidates,
            max_early_candidates,
            max_ended_sessions,
            max_unanswered_checks,
            ..
        } = config.limits;
        let farewells = Farewells::new(max_ended_sessions, &config.timing, rng.split());
        let gatherer = Gatherer::new(&config, rng.split(), now, wall);
        let keyed = sealer.is_keyed();
        let mesh = Mesh::new(sealer.id(), &config, crypto::sha256, rng.split());
        Self {
            sealer,
            wall,
            rng,
            now,
            origin: Some(Origin {
                seed: public,
                started: now,
                unix_time: wall.at(now),
            }),
            slots: Slots::new(),
            by_id: BTreeMap::new(),
            demux: Demux::new(max_peers),
            timers: BTreeSet::new(),
            dirty: VecDeque::new(),
            farewells,
            newcomers: Newcomers::new(max_ended_sessions),
            gatherer,
            discovery: Discovery::default(),
            closing: false,
            pacer: CheckPacer::new(max_unanswered_checks, now),
            transmits: TransmitQueue::default(),
            streams: VecDeque::new(),
            needs: VecDeque::new(),
            stats: EndpointStats::default(),
            ctx: Context {
                filter: CandidateFilter::new(&config.ice.denied_types),
                config,
                keyed,
                crypto,
                secrets,
                tape: Tape::default(),
                early: EarlyCandidates::new(max_early_candidates, max_candidates),
                ended: EndedSessions::new(max_ended_sessions),
                local: Vec::new(),
                retired: Vec::new(),
                gathered: false,
                pool: PoolView::default(),
                reached: Vec::new(),
                doubted: false,
                signalling_down: false,
                mesh,
                from_mesh: VecDeque::new(),
                lookups: Lookups::default(),
                events: VecDeque::new(),
                envelopes: VecDeque::new(),
                given_up: Vec::new(),
                byes: Vec::new(),
            },
        }
    }

    /// Starts to connect to `peer`, or accepts it when it has made an offer. A connection that exists because of a room is the
    /// application's from now on, and stays when the room does not need it.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; nothing has changed then.
    pub fn connect(
        &mut self,
        peer: PeerId,
        options: ConnectOptions,
        now: Instant,
    ) -> Result<(), ConnectError> {
        let timeout = options.timeout;
        self.begin(now, |_| Step::Connect { peer, timeout });
        if self.by_id.contains_key(&peer) && self.ctx.mesh.claim(peer) {
            return Ok(());
        }
        self.start(peer, timeout)
    }

    /// Starts to connect.
    fn start(&mut self, peer: PeerId, timeout: Option<Duration>) -> Result<(), ConnectError> {
        if peer == self.id() {
            return Err(ConnectError::Oneself);
        }
        if !self.sealer.can_reach(peer) {
            return Err(ConnectError::NotAKey);
        }
        if self.sealer.is_given_up() {
            return Err(ConnectError::GivenUp);
        }
        self.bury_now_if_ended(peer);
        if let Some(key) = self.by_id.get(&peer).copied() {
            return self
                .accept_offered(key)
                .map_err(|NotIncoming| ConnectError::AlreadyExists);
        }
        if self.by_id.len() >= self.ctx.config.limits.max_peers {
            return Err(ConnectError::TooManyPeers(self.ctx.config.limits.max_peers));
        }
        let rng = self.rng.split();
        self.ctx.events.push_back(Event::Initialised { peer });
        let timeout = timeout.unwrap_or(self.ctx.config.timing.connect_timeout);
        let new = peer::Peer::connect(self.id(), peer, rng, timeout, &mut self.ctx, self.now);
        self.closing = false;
        self.insert(peer, new);
        Ok(())
    }

    /// Accepts a peer that [`Event::Incoming`] offered.
    ///
    /// # Errors
    ///
    /// [`NotIncoming`] when no offer of this peer waits.
    pub fn accept(&mut self, peer: PeerId, now: Instant) -> Result<(), NotIncoming> {
        self.begin(now, |_| Step::Accept { peer });
        let key = self.by_id.get(&peer).copied().ok_or(NotIncoming)?;
        self.accept_offered(key)
    }

    /// Refuses a peer that [`Event::Incoming`] offered. The peer is told, and gone.
    ///
    /// # Errors
    ///
    /// [`NotIncoming`] when no offer of this peer waits.
    pub fn refuse(&mut self, peer: PeerId, now: Instant) -> Result<(), NotIncoming> {
        self.begin(now, |_| Step::Refuse { peer });
        let key = self.by_id.get(&peer).copied().ok_or(NotIncoming)?;
        self.with(key, |peer, ctx, now| peer.refuse(ctx, now))
            .ok_or(NotIncoming)?
    }

    /// Replaces the ICE servers. Connections stay as they are; what the old servers gave stays in use where it is used, and new
    /// sessions and candidates come from the new ones. The same server with new credentials keeps its allocation.
    ///
    /// # Errors
    ///
    /// [`IceServerError::TooMany`] and [`IceServerError::Credentials`]; nothing has changed then.
    pub fn set_ice_servers(
        &mut self,
        servers: Vec<IceServer>,
        now: Instant,
    ) -> Result<(), IceServerError> {
        let step = || Step::SetIceServers {
            servers: servers.clone(),
        };
        self.begin(now, |_| step());
        check_servers(&servers, self.ctx.config.limits.max_ice_servers)?;
        self.gatherer.set_servers(servers, self.now);
        self.ctx.retired = self.gatherer.retired();
        self.take_gathered();
        Ok(())
    }

    /// Lets `filter` judge every candidate that is found or announced from now on, ours and the peers': those for which it says
    /// no are not used, beside those that [`Ice`](crate::Config::ice) denies. Set it before the first socket is bound. It must
    /// judge at once. What a peer's checks show of its addresses (peer-reflexive candidates) is not judged: it is where
    /// the peer is.
    pub fn set_candidate_filter(
        &mut self,
        filter: impl Fn(&CandidateInfo) -> bool + Send + Sync + 'static,
        now: Instant,
    ) {
        self.begin(now, |_| Step::SetCandidateFilter);
        self.ctx.filter.set_judge(Arc::new(filter));
        self.gatherer.set_filter(self.ctx.filter.clone());
    }

    /// A handle to one peer.
    ///
    /// # Errors
    ///
    /// [`UnknownPeer`] when there is none, or not any more.
    pub fn peer(&mut self, peer: PeerId) -> Result<Peer<'_>, UnknownPeer> {
        let key = self.by_id.get(&peer).copied().ok_or(UnknownPeer)?;
        Ok(Peer {
            endpoint: self,
            id: peer,
            key,
        })
    }

    /// The peers that exist, in the order of their ids.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.by_id.keys().copied()
    }

    /// Queues `message` for every peer that is connected.
    pub fn broadcast(
        &mut self,
        channel: impl Into<ChannelId>,
        message: Message,
        now: Instant,
    ) -> Broadcast {
        let channel = channel.into();
        self.begin(now, |payloads| Step::broadcast(channel, &message, payloads));
        let mut outcome = Broadcast::default();
        let keys: Vec<_> = self.by_id.iter().map(|(id, key)| (*id, *key)).collect();
        for (id, key) in keys {
            let is_connected = |slot: &Slot| slot.peer.state() == PeerState::Connected;
            if self.slots.get(key).is_none_or(|slot| !is_connected(slot)) {
                continue;
            }
            let sent = self.with(key, |peer, _, now| peer.send(channel, message.clone(), now));
            match sent {
                Some(Ok(_)) => outcome.queued += 1,
                Some(Err(error)) => outcome.refused.push((id, error)),
                None => {}
            }
        }
        outcome
    }

    /// Leaves every room, closes every peer gracefully, and gives back what TURN servers have allocated. The endpoint can be dropped when
    /// [`Endpoint::is_closed`], or used on: then candidates are gathered again.
    pub fn close(&mut self, now: Instant) {
        self.begin(now, |_| Step::Close);
        self.close_all();
    }

    /// Whether no peer and no allocation is left after [`Endpoint::close`].
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closing && self.by_id.is_empty() && !self.gatherer.is_busy()
    }

    /// Takes something that happened in the world. Whatever it is, it never fails: what is wrong with it is counted
    /// and dropped, or told by an event.
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        let opened;
        let input = match input {
            Input::Signal { text } => {
                let (most, wall) = (self.ctx.config.limits.max_signal_size, self.wall.at(now));
                match self.sealer.open(text, most, wall) {
                    Ok(text) => opened = text,
                    Err((reason, peer)) => return self.on_refused_signal(peer, reason, now),
                }
                Input::Signal { text: &opened }
            }
            input => input,
        };
        self.begin(now, |payloads| Step::of_input(input, payloads));
        match input {
            Input::SocketBound { local } => self.on_socket_bound(local),
            Input::SocketClosed { local } => self.on_socket_closed(local),
            Input::Datagrams {
                local,
                remote,
                contents,
                segment_size,
            } => {
                for datagram in contents.chunks(segment_size.max(1)) {
                    self.on_datagram(local, remote, datagram);
                }
            }
            Input::Signal { text } => self.on_signal(text),
            Input::SignallingChanged { up } => self.on_signalling(up),
            Input::WallClockSet { unix_time } => {
                self.wall = WallClock::new(self.now, unix_time);
                self.gatherer.set_wall_clock(self.wall);
            }
            Input::Resolved { need, addresses } => {
                if !self.is_resolved_for_peer(need, addresses) {
                    self.gatherer.on_resolved(need, addresses, self.now);
                    self.take_gathered();
                    self.drive_discovery();
                }
            }
            Input::Bound { need, local } => {
                if !self.is_bound_for_discovery(need, local) {
                    self.gatherer.on_bound(need, local, self.now);
                    self.take_gathered();
                }
            }
            Input::StreamOpened { need, local } => {
                self.gatherer.on_opened(need, local, self.now);
                self.take_gathered();
            }
            Input::StreamData { need, contents } => self.on_stream_data(need, contents),
            Input::StreamClosed { need } => {
                self.gatherer.on_stream_closed(need, self.now);
                self.take_gathered();
            }
            Input::Timeout => self.on_timeout(),
        }
    }

    /// Gives the next thing to do. Datagrams are put into `buf`, whose old contents are discarded.
    ///
    /// After [`Output::Timeout`] there is nothing more until the next input or command.
    #[must_use]
    pub fn poll_output(&mut self, buf: &mut Vec<u8>) -> Output {
        loop {
            let max_segments = self.ctx.config.transport.max_transmit_segments;
            if let Some(transmit) = self.transmits.poll(max_segments, buf) {
                return Output::Transmit(transmit);
            }
            if let Some((need, contents)) = self.streams.pop_front() {
                *buf = contents;
                return Output::Stream(need);
            }
            if let Some(need) = self.needs.pop_front() {
                return Output::Need(need);
            }
            if let Some(envelope) = self.ctx.envelopes.pop_front() {
                self.stats.signals_sent += 1;
                return Output::Signal(self.signal(&envelope));
            }
            if let Some(event) = self.ctx.events.pop_front() {
                return Output::Event(event);
            }
            if !self.ctx.tape.is_playing() && self.drive_rooms_next() {
                continue;
            }
            // A recording says itself when a peer was driven.
            if !self.ctx.tape.is_playing() && self.drive_next() && !planted!(TimeoutTooEarly) {
                continue;
            }
            return Output::Timeout(self.deadline());
        }
    }

    /// The counters of this endpoint.
    #[must_use]
    pub fn stats(&self) -> EndpointStats {
        let mut stats = self.stats;
        stats.checks_refused = self.pacer.refused();
        stats.mesh = self.ctx.mesh.stats();
        stats.peers = self.by_id.len();
        for slot in self.slots.values() {
            match slot.peer.state() {
                PeerState::New => stats.incoming += 1,
                PeerState::Connected => stats.connected += 1,
                PeerState::Connecting
                | PeerState::Disconnected
                | PeerState::Failed
                | PeerState::Closed => {}
            }
        }
        stats
    }

    /// The SHA-256 fingerprint of the certificate that all peers are shown, as RFC 8122 §5 writes it: `AB:CD:..`.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        self.ctx.crypto.fingerprint()
    }

    /// The id that this endpoint speaks as.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.sealer.id()
    }

    fn close_all(&mut self) {
        self.leave_rooms();
        self.closing = true;
        self.rest_when_closed();
        let mut keys: Vec<_> = self.by_id.values().copied().collect();
        if planted!(OrderOfHashes) {
            let set: std::collections::HashSet<_> = keys.drain(..).collect();
            keys.extend(set);
        }
        for key in keys {
            self.with(key, peer::Peer::close);
        }
    }

    /// Lets the next peer that was touched do its work. Returns whether there was one.
    fn drive_next(&mut self) -> bool {
        if self.dirty.is_empty() {
            return false;
        }
        self.begin(self.now, |_| Step::Drive);
        let next = self.dirty.pop_front();
        next.into_iter().for_each(|key| self.drive(key));
        true
    }

    fn accept_offered(&mut self, key: PeerKey) -> Result<(), NotIncoming> {
        self.with(key, |peer, ctx, now| peer.accept(ctx, now))
            .ok_or(NotIncoming)??;
        self.closing = false;
        Ok(())
    }

    fn on_datagram(&mut self, local: SocketAddr, remote: SocketAddr, contents: &[u8]) {
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += contents.len() as u64;
        if self.is_for_discovery(local, remote, contents) {
            return;
        }
        match self
            .gatherer
            .handle_datagram(local, remote, contents, self.now)
        {
            Taken::No if self.ctx.config.ice.policy == TransportPolicy::Relay => {
                self.stats.dropped.policy += 1;
            }
            Taken::No => self.on_peer_datagram(local, remote, contents),
            Taken::Yes => self.take_gathered(),
            Taken::Data(RelayedData {
                relayed,
                peer,
                data,
            }) => {
                let data = contents.get(data).unwrap_or_default();
                self.on_peer_datagram(relayed, peer, data);
            }
        }
    }

    /// A datagram that a peer sent to one of our candidates.
    fn on_peer_datagram(&mut self, local: SocketAddr, remote: SocketAddr, contents: &[u8]) {
        let drops = &mut self.stats.dropped;
        let tuple = (local, remote);
        let gate = gate::classify(contents);
        let key = match gate {
            Gate::Request { ufrag } => match self.demux.by_ufrag(ufrag) {
                Some(key) => key,
                None => return drops.unknown_ufrag += 1,
            },
            Gate::Response { transaction, .. } => match self.demux.by_check(&transaction, remote) {
                Some(key) => key,
                None => return drops.unknown_transaction += 1,
            },
            Gate::Indication | Gate::Dtls => match self.demux.by_tuple(tuple) {
                Some(key) => key,
                None => return drops.unknown_source += 1,
            },
            Gate::Unsupported => return drops.unsupported += 1,
            Gate::Drop(DropReason::BadStun) => return drops.bad_stun += 1,
            Gate::Drop(DropReason::Garbage) => return drops.garbage += 1,
        };
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if let Gate::Request { ufrag } = gate {
            // What the peer has named is no surprise; others must have our password before they take a place.
            if !slot.peer.has_named(remote) && !slot.sources.knows(remote) {
                let is_authentic = |password: &str| stun::is_authentic(contents, password);
                if !slot.peer.has_password(ufrag, is_authentic) {
                    self.stats.dropped.wrong_password += 1;
                    return;
                }
                if !slot.sources.admit(remote) {
                    self.stats.dropped.too_many_sources += 1;
                    return;
                }
            }
            slot.peer.on_check_received();
        }
        if let Gate::Response {
            transaction,
            is_success,
        } = gate
        {
            // Whoever sees a check on its way can answer it. A false answer must not take the place of the right one.
            let is_authentic = |password: &str| stun::is_authentic(contents, password);
            if !slot.peer.has_remote_password(is_authentic) {
                self.stats.dropped.wrong_password += 1;
                return;
            }
            let took = self.demux.end_check(&transaction, self.now);
            if let Some(took) = took.filter(|_| is_success) {
                self.ctx.pool.udp_works = true;
                slot.sources.validated(remote);
                let path = Path { local, remote };
                slot.peer
                    .on_check_answered(path, took, &mut self.ctx, self.now);
                self.claim_tuple(key, tuple);
            }
        }
        if let Some(slot) = self.slots.get_mut(key) {
            slot.peer.on_datagram(local, remote, contents, self.now);
        }
        self.touch(key);
    }

    fn on_timeout(&mut self) {
        while let Some((at, key)) = self.timers.first().copied() {
            if at > self.now {
                break;
            }
            self.timers.remove(&(at, key));
            if let Some(slot) = self.slots.get_mut(key) {
                slot.timer = None;
            }
            self.touch(key);
        }
        self.ctx.early.handle_timeout(self.now);
        self.gatherer.handle_timeout(self.now);
        self.discovery.handle_timeout(self.now);
        self.take_gathered();
        self.drive_discovery();
        self.send_checks();
        self.file_leftovers();
    }

    /// Lets a peer do what it has to do now, and takes what comes out of it.
    fn drive(&mut self, key: PeerKey) {
        let unfinished = self.with(key, |peer, ctx, now| peer.drive(ctx, now));
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        slot.dirty = false;
        if unfinished == Some(true) {
            self.touch(key);
        }
        self.sync_ufrags(key);
        self.reach_by_relays();
        self.doubt_addresses();
        self.take_datagrams(key);
        self.bury_if_ended(key);
        self.ask_for_names();
        self.file_leftovers();
        self.schedule(key);
    }

    fn sync_ufrags(&mut self, key: PeerKey) {
        let Self {
            slots,
            demux,
            pacer,
            ..
        } = self;
        let Some(slot) = slots.get_mut(key) else {
            return;
        };
        let current = slot.peer.ufrags();
        if current
            .iter()
            .flatten()
            .copied()
            .eq(slot.ufrags.iter().map(String::as_str))
        {
            return;
        }
        // Checks of a generation that is over are of no use to anybody.
        if current[0] != slot.ufrags.first().map(String::as_str) {
            pacer.forget(key);
        }
        slot.ufrags.iter().for_each(|old| demux.remove_ufrag(old));
        slot.ufrags = current.iter().flatten().map(|s| (*s).to_owned()).collect();
        slot.ufrags.iter().for_each(|new| demux.add_ufrag(new, key));
        slot.sources.reset();
    }

    /// A peer that ended by a message or a command, and was not driven since, hears nothing more and is in nobody's way.
    fn bury_now_if_ended(&mut self, id: PeerId) {
        if let Some(key) = self.by_id.get(&id).copied()
            && self
                .slots
                .get(key)
                .is_some_and(|slot| slot.peer.state().is_terminal())
        {
            self.drive(key);
        }
    }

    fn bury_if_ended(&mut self, key: PeerKey) {
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        if !slot.peer.state().is_terminal() {
            return;
        }
        let Some(slot) = self.slots.remove(key) else {
            return;
        };
        if !planted!(PeerKept) {
            self.by_id.remove(&slot.peer.id());
        }
        self.pacer.forget(key);
        slot.ufrags
            .iter()
            .for_each(|ufrag| self.demux.remove_ufrag(ufrag));
        slot.tuples
            .iter()
            .for_each(|tuple| self.demux.remove_tuple(*tuple));
        if let Some(at) = slot.timer {
            self.timers.remove(&(at, key));
        }
        for address in slot.reached {
            self.gatherer.unreach(address, self.now);
        }
        self.rest_when_closed();
        let id = slot.peer.id();
        self.forget_names(id);
        self.ctx
            .given_up
            .extend(slot.peer.sessions().map(|session| (session, id)));
    }

    /// Enters the next deadline of a peer.
    fn schedule(&mut self, key: PeerKey) {
        let Self { slots, timers, .. } = self;
        let Some(slot) = slots.get_mut(key) else {
            return;
        };
        let next = slot.peer.poll_timeout();
        if next == slot.timer {
            return;
        }
        if let Some(old) = slot.timer {
            timers.remove(&(old, key));
        }
        if let Some(at) = next {
            timers.insert((at, key));
        }
        slot.timer = next;
    }

    fn deadline(&self) -> Option<Instant> {
        let peers = self.timers.first().map(|(at, _)| *at);
        [
            peers,
            self.ctx.early.poll_timeout(),
            self.ctx.mesh.poll_timeout(),
            self.farewells.poll_timeout(),
            self.gatherer.poll_timeout(),
            self.discovery.poll_timeout(),
            self.pacer.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn insert(&mut self, id: PeerId, peer: peer::Peer) -> PeerKey {
        let slot = Slot {
            peer,
            sources: SourceGate::new(self.ctx.config.limits.max_unvalidated_sources),
            ufrags: Vec::new(),
            tuples: VecDeque::new(),
            reached: BTreeSet::new(),
            timer: None,
            dirty: false,
        };
        self.gatherer.wake(self.now);
        self.take_gathered();
        let key = self.slots.insert(slot);
        self.by_id.insert(id, key);
        self.touch(key);
        key
    }

    /// Marks a peer to be driven by the next `poll_output`.
    fn touch(&mut self, key: PeerKey) {
        if let Some(slot) = self.slots.get_mut(key)
            && !slot.dirty
        {
            slot.dirty = true;
            self.dirty.push_back(key);
        }
    }

    /// Runs a command on every peer.
    fn with_all(&mut self, mut command: impl FnMut(&mut peer::Peer, &mut Context, Instant)) {
        let keys: Vec<_> = self.by_id.values().copied().collect();
        for key in keys {
            self.with(key, &mut command);
        }
    }

    /// Runs a command on a peer and marks it to be driven.
    fn with<R>(
        &mut self,
        key: PeerKey,
        command: impl FnOnce(&mut peer::Peer, &mut Context, Instant) -> R,
    ) -> Option<R> {
        let slot = self.slots.get_mut(key)?;
        // What the transport logs says nothing of the peer by itself.
        let _span = tracing::debug_span!("peer", peer = %slot.peer.id()).entered();
        let outcome = command(&mut slot.peer, &mut self.ctx, self.now);
        self.touch(key);
        Some(outcome)
    }
}

/// A handle to one peer of an [`Endpoint`].
///
/// Borrowed for the length of a command. A command on a peer that has ended meanwhile changes nothing.
pub struct Peer<'a> {
    endpoint: &'a mut Endpoint,
    id: PeerId,
    key: PeerKey,
}

impl Peer<'_> {
    /// Queues a message. It is sent as soon as the channel is open and has its turn, also while the peer is not
    /// connected yet or is being reconnected.
    ///
    /// # Errors
    ///
    /// [`SendError`], which hands the message back.
    pub fn send(
        &mut self,
        channel: impl Into<ChannelId>,
        message: impl Into<Message>,
        now: Instant,
    ) -> Result<MessageId, SendError> {
        let (channel, message) = (channel.into(), message.into());
        let id = self.id;
        self.endpoint
            .begin(now, |payloads| Step::send(id, channel, &message, payloads));
        let Some(slot) = self.endpoint.slots.get_mut(self.key) else {
            return Err(SendError {
                reason: SendRefusal::Closing,
                message,
            });
        };
        let outcome = slot.peer.send(channel, message, self.endpoint.now);
        if !planted!(SendUnnoticed) {
            self.endpoint.touch(self.key);
        }
        outcome
    }

    /// Gives back the room that a received message of `bytes` took, so that the peer may send more. Call it once for
    /// each message, with its length.
    ///
    /// Every received message takes its length and 64 bytes of the channel's
    /// [`receive_window`](crate::config::ChannelLimits::receive_window) until it is released. One call gives back the
    /// 64 bytes of one message, so one call for several messages leaves room taken. Calls beyond what was received
    /// count for nothing.
    pub fn release(&mut self, channel: impl Into<ChannelId>, bytes: usize, now: Instant) {
        let channel = channel.into();
        let step = Step::Release {
            peer: self.id,
            channel,
            bytes,
        };
        self.command(now, step, |peer, _, now| peer.release(channel, bytes, now));
    }

    /// Opens a custom channel. [`Event::ChannelOpen`] tells when it is open; messages may be queued at once.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; nothing has changed then.
    pub fn open_channel(
        &mut self,
        config: ChannelConfig,
        now: Instant,
    ) -> Result<ChannelId, OpenError> {
        let step = Step::OpenChannel {
            peer: self.id,
            config: config.clone(),
        };
        self.command(now, step, |peer, _, now| peer.open_channel(config, now))
            .unwrap_or(Err(OpenError::Closing))
    }

    /// Closes a custom channel. What is queued is reported as not delivered.
    ///
    /// # Errors
    ///
    /// [`UnknownChannel`] when there is none, or it is one of the four kinds.
    pub fn close_channel(
        &mut self,
        channel: ChannelId,
        now: Instant,
    ) -> Result<(), UnknownChannel> {
        let step = Step::CloseChannel {
            peer: self.id,
            channel,
        };
        self.command(now, step, |peer, _, now| peer.close_channel(channel, now))
            .unwrap_or(Err(UnknownChannel))
    }

    /// Closes the connection gracefully: no new messages, the queues are emptied in the order file, unreliable,
    /// custom channels, reliable, control, the peer is told, and the state becomes [`PeerState::Closed`].
    ///
    /// What was not delivered within the drain time is reported by [`Event::NotDelivered`].
    pub fn close(&mut self, now: Instant) {
        self.command(now, Step::ClosePeer { peer: self.id }, peer::Peer::close);
    }

    /// Begins an ICE restart: new credentials and checks, while the old path works until the new one does.
    pub fn restart_ice(&mut self, now: Instant) {
        self.command(
            now,
            Step::RestartIce { peer: self.id },
            peer::Peer::restart_ice,
        );
    }

    /// Builds a new transport (ICE, DTLS and SCTP) under the same peer, as the reconnection ladder does when a restart of ICE
    /// does not help. The state is [`PeerState::Disconnected`] meanwhile. Between bowline peers every message goes on exactly
    /// once and in order; a foreign peer sees a new connection. Nothing happens unless the peer is connected or
    /// disconnected.
    pub fn rebuild(&mut self, now: Instant) {
        self.command(now, Step::Rebuild { peer: self.id }, peer::Peer::rebuild);
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> PeerState {
        self.read(PeerState::Closed, peer::Peer::state)
    }

    /// The figures at `now`.
    #[must_use]
    pub fn metrics(&self, now: Instant) -> PeerMetrics {
        self.read(PeerMetrics::default(), |peer| peer.metrics(now))
    }

    /// The paths that work at `now`: the one that data takes, and the standbys in the order of their round trip times. A
    /// standby takes over when the one in use falls silent, without signalling.
    ///
    /// A path is one as long as connectivity checks on it are answered, which are sent every three seconds; after eight
    /// without an answer it is none. An ICE restart begins with none.
    #[must_use]
    pub fn paths(&self, now: Instant) -> Vec<PathQuality> {
        let ctx = &self.endpoint.ctx;
        self.read(Vec::new(), |peer| peer.paths(ctx, now))
    }

    /// Bytes queued on a channel and not yet handed to the transport.
    #[must_use]
    pub fn queued(&self, channel: impl Into<ChannelId>) -> usize {
        let channel = channel.into();
        self.read(0, |peer| peer.queued(channel))
    }

    /// Why the peer is not connected: likely causes with what speaks for them, the most likely first.
    #[must_use]
    pub fn explain(&self, now: Instant) -> Explanation {
        self.endpoint
            .slots
            .get(self.key)
            .map_or_else(Explanation::ended, |slot| {
                slot.peer.explain(&self.endpoint.ctx.pool, now)
            })
    }

    fn command<R>(
        &mut self,
        now: Instant,
        step: Step,
        command: impl FnOnce(&mut peer::Peer, &mut Context, Instant) -> R,
    ) -> Option<R> {
        self.endpoint.begin(now, |_| step);
        self.endpoint.with(self.key, command)
    }

    fn read<R>(&self, absent: R, read: impl FnOnce(&peer::Peer) -> R) -> R {
        match self.endpoint.slots.get(self.key) {
            Some(slot) => read(&slot.peer),
            None => absent,
        }
    }
}

/// How to connect to one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// How long connecting may take, instead of [`Timing::connect_timeout`](crate::config::Timing::connect_timeout).
    pub timeout: Option<Duration>,
}

impl ConnectOptions {
    /// Sets how long connecting may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// What became of a broadcast.
#[derive(Debug, Default)]
pub struct Broadcast {
    /// Peers that accepted the message.
    pub queued: usize,
    /// Peers that did not, and why.
    pub refused: Vec<(PeerId, SendError)>,
}
