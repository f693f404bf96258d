//! Rooms: who is in them, who is connected to whom because of it, and what goes through others.
//!
//! [`Mesh`] is a machine without transport, as the channels are. Facts about connections and what comes on the channel
//! that is kept for it go in, and messages for that channel, connections to make and leave, and events come out.
//!
//! | file | what |
//! | --- | --- |
//! | `frame` | what neighbours say to each other |
//! | `members` | who is in a room |
//! | `ring` | who is whose neighbour |
//! | `tree` | what was published |
//! | `room` | the three together |
//! | `routes` | signals for others |

mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod members;
mod ring;
mod room;
mod routes;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::channel::kind::Message;
use crate::config::{self, Config};
use crate::deadlines::Deadlines;
use crate::error::{JoinError, PublishError, PublishRefusal};
use crate::event::{Event, PeerState};
use crate::id::{PeerId, RoomId};
use crate::metrics::MeshStats;
use crate::rng::Rng;
use crate::signal::{Sealer, TokenBucket};
use crate::time::UnixTime;

pub(crate) use frame::redacted;
use frame::{Frame, MAX_NUMBER, Route, Said, Token};
use room::{Outputs, Room, View, send};
use routes::{Routes, neighbour_bucket};
use tree::Arrival;

/// SHA-256 (FIPS 180-4).
pub(crate) type Sha256 = fn(&[u8]) -> [u8; 32];

/// What the mesh wants done or tell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum MeshOutput {
    /// Send this to a neighbour.
    Send { to: PeerId, message: Message },
    /// Connect to this peer, if there is no connection.
    Connect { peer: PeerId },
    /// Close the connection to this peer, which the mesh has made and nobody needs.
    Close { peer: PeerId },
    /// A signalling message for us came through the mesh.
    Deliver { text: String },
    /// Whom signals reach may be others than before.
    ReachChanged,
    /// Tell the application.
    Tell(Event),
}

/// The rooms of an endpoint.
#[derive(Debug)]
pub(crate) struct Mesh {
    us: PeerId,
    config: config::Mesh,
    sha256: Sha256,
    rng: Rng,
    rooms: BTreeMap<RoomId, Room>,
    next_room: u32,
    /// The peers with which the channel is open.
    links: BTreeMap<PeerId, Link>,
    /// The peers that exist.
    peers: BTreeMap<PeerId, PeerState>,
    /// Those that exist because of the mesh.
    made: BTreeSet<PeerId>,
    /// When those of them are closed that nobody needs.
    unneeded: Deadlines<PeerId>,
    /// When those whose path is lost are suspected.
    silent: Deadlines<PeerId>,
    routes: Routes,
    is_signalling_up: bool,
    outputs: Outputs,
    stats: MeshStats,
}

/// What is known of a neighbour.
#[derive(Debug)]
struct Link {
    relays: bool,
    rooms: Vec<Token>,
    pace: TokenBucket,
}

impl Mesh {
    pub(crate) fn new(us: PeerId, config: &Config, sha256: Sha256, rng: Rng) -> Self {
        let largest = config.channels.max_message_size;
        let largest = largest.saturating_sub(HEADER_MAX);
        let mut config = config.mesh.clone();
        config.max_publication = config.max_publication.min(largest);
        Self {
            us,
            config,
            sha256,
            rng,
            rooms: BTreeMap::new(),
            next_room: 0,
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            made: BTreeSet::new(),
            unneeded: Deadlines::default(),
            silent: Deadlines::default(),
            routes: Routes::default(),
            is_signalling_up: true,
            outputs: VecDeque::new(),
            stats: MeshStats::default(),
        }
    }

    /// Enters a room.
    ///
    /// # Errors
    ///
    /// [`JoinError`]; nothing has changed then.
    pub(crate) fn join(
        &mut self,
        name: &str,
        sealer: &Sealer,
        unix: UnixTime,
        now: Instant,
    ) -> Result<RoomId, JoinError> {
        if !(1..=MAX_ROOM_NAME).contains(&name.len()) {
            return Err(JoinError::Name);
        }
        if self.rooms.values().any(|room| room.name() == name) {
            return Err(JoinError::AlreadyThere);
        }
        if self.rooms.len() >= self.config.max_rooms {
            return Err(JoinError::TooManyRooms(self.config.max_rooms));
        }
        let id = RoomId(self.next_room);
        self.next_room += 1;
        let (config, unix) = (&self.config, unix.as_millis());
        let room = Room::new(
            self.us,
            (id, name.to_owned()),
            self.sha256,
            config,
            (sealer, unix),
            now,
        );
        self.rooms.insert(id, room);
        self.say_hello_to_all();
        self.meet_all(now);
        Ok(id)
    }

    /// Leaves a room. Returns whether there was one.
    pub(crate) fn leave(&mut self, id: RoomId, sealer: &Sealer, now: Instant) -> bool {
        let Some(mut room) = self.rooms.remove(&id) else {
            return false;
        };
        room.leave(sealer, &mut self.outputs);
        self.say_hello_to_all();
        self.review_connections(now);
        self.outputs.push_back(MeshOutput::ReachChanged);
        true
    }

    /// Leaves all rooms.
    pub(crate) fn leave_all(&mut self, sealer: &Sealer, now: Instant) {
        let rooms: Vec<_> = self.rooms.keys().copied().collect();
        for room in rooms {
            self.leave(room, sealer, now);
        }
    }

    /// Whether we are in a room.
    pub(crate) fn has_room(&self, id: RoomId) -> bool {
        self.rooms.contains_key(&id)
    }

    /// Somebody says that these peers are in the room.
    pub(crate) fn introduce(&mut self, id: RoomId, peers: &[PeerId], now: Instant) {
        if let Some(room) = self.rooms.get_mut(&id) {
            room.introduce(peers, self.config.max_members, now);
            self.outputs.push_back(MeshOutput::ReachChanged);
        }
    }

    /// Publishes in a room. Gives the number of the message among ours in this room.
    ///
    /// # Errors
    ///
    /// [`PublishError`], which hands the message back.
    pub(crate) fn publish(
        &mut self,
        id: RoomId,
        message: Message,
        sealer: &Sealer,
        unix: UnixTime,
        now: Instant,
    ) -> Result<u64, PublishError> {
        let refused = |reason, message| Err(PublishError { reason, message });
        let limit = self.config.max_publication;
        if message.len() > limit {
            return refused(PublishRefusal::TooLarge { limit }, message);
        }
        let Some(room) = self.rooms.get_mut(&id) else {
            return refused(PublishRefusal::UnknownRoom, message);
        };
        let Some(mut header) = room.next_header(message.text, unix.as_millis(), now) else {
            return refused(PublishRefusal::TooFast, message);
        };
        header.signature = sealer.sign(|| header.signed(&message.data));
        let carried = frame::publication(&header, &message.data);
        room.spread(header.name, carried, None, now, &mut self.outputs);
        Ok(header.name.number)
    }

    /// Who is in a room besides us.
    pub(crate) fn members(&self, id: RoomId) -> Vec<PeerId> {
        let room = self.rooms.get(&id);
        room.map_or_else(Vec::new, |room| room.members().collect())
    }

    /// The members of a room that we are connected to.
    pub(crate) fn neighbours(&self, id: RoomId) -> Vec<PeerId> {
        let room = self.rooms.get(&id);
        room.map_or_else(Vec::new, |room| room.neighbours().collect())
    }

    /// Whether a peer is known to be in one of our rooms.
    pub(crate) fn knows(&self, peer: PeerId) -> bool {
        self.rooms.values().any(|room| room.knows(peer))
    }

    /// Whether signals reach a peer through others.
    pub(crate) fn reaches(&self, peer: PeerId) -> bool {
        self.knows(peer) && self.carriers(Some(peer)).next().is_some()
    }

    /// The connection to a peer exists because of the mesh: it is closed when nobody needs it.
    pub(crate) fn on_made(&mut self, peer: PeerId) {
        self.made.insert(peer);
    }

    /// The application wants the connection. Returns whether it was made by the mesh.
    pub(crate) fn claim(&mut self, peer: PeerId) -> bool {
        self.unneeded.clear(peer);
        self.made.remove(&peer)
    }

    /// The signalling link is up or down.
    pub(crate) fn on_signalling(&mut self, up: bool) {
        self.is_signalling_up = up;
    }

    /// The state of a peer changed.
    pub(crate) fn on_state(&mut self, peer: PeerId, state: PeerState, now: Instant) {
        if state.is_terminal() {
            self.peers.remove(&peer);
            self.made.remove(&peer);
            self.unneeded.clear(peer);
            self.silent.clear(peer);
            self.on_link_down(peer, now);
        } else {
            self.peers.insert(peer, state);
        }
        match state {
            PeerState::Failed => self.suspect(peer, now),
            PeerState::Disconnected => {
                for room in self.rooms.values_mut() {
                    room.on_silent(peer, now, &mut self.outputs);
                }
                self.silent.set(peer, now + self.config.suspect_after);
                self.routes.forget(peer);
            }
            PeerState::Connected => {
                self.silent.clear(peer);
                for room in self.rooms.values_mut() {
                    room.on_connected(peer, now, &mut self.outputs);
                }
            }
            PeerState::New | PeerState::Connecting | PeerState::Closed => {}
        }
        if !self.rooms.is_empty() {
            self.review_connections(now);
            self.outputs.push_back(MeshOutput::ReachChanged);
        }
    }

    /// The channel to a peer is open.
    pub(crate) fn on_link_up(&mut self, peer: PeerId) {
        let link = Link {
            relays: false,
            rooms: Vec::new(),
            pace: neighbour_bucket(),
        };
        self.links.insert(peer, link);
        if !self.rooms.is_empty() {
            self.say_hello(peer);
        }
    }

    /// The channel is closed, or the peer has lost its memory.
    pub(crate) fn on_link_down(&mut self, peer: PeerId, now: Instant) {
        self.links.remove(&peer);
        self.routes.forget(peer);
        for room in self.rooms.values_mut() {
            room.on_neighbour_gone(peer, now, &mut self.outputs);
        }
    }

    /// A message came on the channel.
    pub(crate) fn on_message(
        &mut self,
        from: PeerId,
        message: &Message,
        sealer: &Sealer,
        unix: UnixTime,
        now: Instant,
    ) {
        if !self.links.contains_key(&from) {
            return;
        }
        let Some(said) = Said::read(message) else {
            self.stats.malformed += 1;
            return;
        };
        match said {
            Said::Frame(Frame::Hello { relays, rooms }) => {
                if let Some(link) = self.links.get_mut(&from) {
                    (link.relays, link.rooms) = (relays, rooms);
                }
                self.meet(from, now);
            }
            Said::Frame(Frame::Route(route)) => self.on_route(from, route, now),
            Said::Frame(frame) => {
                let token = frame.room();
                let room = token.and_then(|token| shared(&mut self.rooms, token, from));
                if let Some(room) = room
                    && !room.on_frame(from, frame, sealer, now, &mut self.outputs)
                {
                    self.stats.forged += 1;
                }
            }
            Said::Publication(header, payload) => {
                let Some(room) = shared(&mut self.rooms, header.room, from) else {
                    return;
                };
                let origin = header.name.from;
                let is_genuine = || {
                    let dates = (UnixTime::from_millis(header.time), unix);
                    let signed = || header.signed(&payload);
                    sealer.is_genuine(origin, header.signature, dates, signed)
                };
                if payload.len() > self.config.max_publication || !is_genuine() {
                    self.stats.forged += 1;
                    return;
                }
                let (max, out) = (self.config.max_members, &mut self.outputs);
                match room.on_publication(from, (&header, payload), max, now, out) {
                    Arrival::Fresh => {
                        self.stats.published += 1;
                        self.routes.learn(origin, from);
                    }
                    Arrival::Duplicate => self.stats.duplicates += 1,
                    Arrival::TooFast => self.stats.too_fast += 1,
                }
            }
        }
    }

    /// Sends a signalling message of ours through others, if they reach the peer.
    pub(crate) fn route(&mut self, to: PeerId, text: &str) {
        if !self.reaches(to) {
            return;
        }
        self.stats.routed += 1;
        let id = self.rng.u64() & MAX_NUMBER;
        self.routes.is_first(self.us, id);
        let route = Route {
            from: self.us,
            to,
            id,
            hops: self.config.hop_limit,
            flood: self.routes.on_sent(to),
            text: text.to_owned(),
        };
        // What the peer itself does not get by its own connection.
        self.pass_on(to, route);
    }

    /// A message was queued for a neighbour, or there was no room.
    pub(crate) fn on_sent(&mut self, queued: bool) {
        if queued {
            self.stats.sent += 1;
        } else {
            self.stats.not_sent += 1;
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(peer) = self.silent.pop_due(now) {
            self.suspect(peer, now);
        }
        while let Some(peer) = self.unneeded.pop_due(now) {
            self.outputs.push_back(MeshOutput::Close { peer });
        }
        self.drive_rooms(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let unneeded = self.unneeded.first();
        if self.rooms.is_empty() {
            // Whoever is in no room must not pay for it with each poll.
            return unneeded;
        }
        let carriers: Vec<_> = self.carriers(None).collect();
        let view = View {
            config: &self.config,
            peers: &self.peers,
            is_signalling_up: self.is_signalling_up,
            carriers: &carriers,
        };
        let rooms = self.rooms.values();
        let rooms = rooms.filter_map(|room| room.poll_timeout(&view)).min();
        [rooms, self.silent.first(), unneeded]
            .into_iter()
            .flatten()
            .min()
    }

    /// What is to be done or told next.
    pub(crate) fn poll_output(&mut self) -> Option<MeshOutput> {
        self.outputs.pop_front()
    }

    /// Whether there is something to be done or told.
    pub(crate) fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    pub(crate) fn stats(&self) -> MeshStats {
        self.stats
    }

    fn drive_rooms(&mut self, now: Instant) {
        let carriers: Vec<_> = self.carriers(None).collect();
        let view = View {
            config: &self.config,
            peers: &self.peers,
            is_signalling_up: self.is_signalling_up,
            carriers: &carriers,
        };
        for room in self.rooms.values_mut() {
            room.handle_timeout(&view, now, &mut self.outputs);
        }
        self.review_connections(now);
    }

    /// The neighbours that carry signals for others, but for one.
    fn carriers(&self, except: Option<PeerId>) -> impl Iterator<Item = PeerId> {
        let links = self.links.iter();
        let links = links.filter(move |(peer, link)| {
            link.relays && Some(**peer) != except && self.is_up(**peer)
        });
        let peers = links.map(|(peer, _)| *peer);
        peers.filter(|peer| self.shares_room(*peer))
    }

    fn shares_room(&self, peer: PeerId) -> bool {
        self.rooms.values().any(|room| room.has_neighbour(peer))
    }

    fn is_up(&self, peer: PeerId) -> bool {
        self.peers.get(&peer) == Some(&PeerState::Connected)
    }

    fn say_hello_to_all(&mut self) {
        let peers: Vec<_> = self.links.keys().copied().collect();
        for peer in peers {
            self.say_hello(peer);
        }
    }

    fn say_hello(&mut self, to: PeerId) {
        let rooms = self.rooms.values();
        let rooms = rooms.map(|room| room.proof(self.us, to)).collect();
        let relays = self.config.relays;
        self.outputs
            .push_back(send(to, Frame::Hello { relays, rooms }));
    }

    fn meet_all(&mut self, now: Instant) {
        let peers: Vec<_> = self.links.keys().copied().collect();
        for peer in peers {
            self.meet(peer, now);
        }
    }

    /// Finds out which rooms a neighbour is in too.
    fn meet(&mut self, peer: PeerId, now: Instant) {
        let Some(link) = self.links.get(&peer) else {
            return;
        };
        for room in self.rooms.values_mut() {
            let is_there = link.rooms.contains(&room.proof(peer, self.us));
            match (is_there, room.has_neighbour(peer)) {
                (true, false) => {
                    room.on_neighbour(peer, self.config.max_members, now, &mut self.outputs);
                }
                (false, true) => room.on_neighbour_gone(peer, now, &mut self.outputs),
                (true, true) | (false, false) => {}
            }
        }
        self.outputs.push_back(MeshOutput::ReachChanged);
    }

    fn suspect(&mut self, peer: PeerId, now: Instant) {
        for room in self.rooms.values_mut().filter(|room| room.wants(peer)) {
            room.suspect(peer, now, &mut self.outputs);
        }
    }

    /// Finds the connections that the mesh has made and nobody needs.
    fn review_connections(&mut self, now: Instant) {
        let is_settled = self.rooms.values().all(Room::is_settled);
        for peer in &self.made {
            let is_needed = self.rooms.values().any(|room| room.wants(*peer));
            if is_needed || !is_settled {
                self.unneeded.clear(*peer);
            } else {
                self.unneeded.set_if_none(*peer, now + UNNEEDED_FOR);
            }
        }
    }

    fn on_route(&mut self, from: PeerId, mut route: Route, now: Instant) {
        let is_shared = self.shares_room(from);
        let Self {
            routes,
            links,
            stats,
            ..
        } = self;
        let Some(link) = links.get_mut(&from).filter(|_| is_shared) else {
            return;
        };
        if route.from == self.us || !routes.is_first(route.from, route.id) {
            stats.duplicates += 1;
            return;
        }
        if link.pace.take(now).is_err() {
            stats.too_fast += 1;
            return;
        }
        routes.learn(route.from, from);
        if route.to == self.us {
            routes.on_heard(route.from);
            stats.delivered += 1;
            let text = route.text;
            return self.outputs.push_back(MeshOutput::Deliver { text });
        }
        if !self.config.relays || route.hops == 0 || !routes.admit(route.from, now) {
            stats.not_relayed += 1;
            return;
        }
        stats.relayed += 1;
        route.hops -= 1;
        self.pass_on(from, route);
    }

    /// Sends a signal on: to its receiver, where it was heard, or everywhere but to `source`.
    fn pass_on(&mut self, source: PeerId, mut route: Route) {
        let is_usable = |peer: &PeerId| *peer != source && self.is_up(*peer);
        let receiver = Some(route.to).filter(|to| self.links.contains_key(to));
        let way = self.routes.way(route.to).filter(|_| !route.flood);
        let way = way.filter(|way| self.links.contains_key(way));
        let next = receiver.filter(is_usable).or(way.filter(is_usable));
        let to: Vec<_> = match next {
            Some(next) => vec![next],
            None => self.carriers(Some(source)).collect(),
        };
        route.flood |= next.is_none();
        let message = Said::Frame(Frame::Route(route)).write();
        let copies = to.into_iter().map(|to| MeshOutput::Send {
            to,
            message: message.clone(),
        });
        self.outputs.extend(copies);
    }
}

/// The room of this token that we share with a neighbour.
fn shared(rooms: &mut BTreeMap<RoomId, Room>, token: Token, with: PeerId) -> Option<&mut Room> {
    let mut rooms = rooms.values_mut();
    rooms.find(|room| room.token == token && room.has_neighbour(with))
}

/// What stands before a publication has fewer bytes.
const HEADER_MAX: usize = 1_024;
/// The longest name of a room, in bytes.
const MAX_ROOM_NAME: usize = 256;
/// How long a connection is kept that the mesh has made and nobody needs any more.
const UNNEEDED_FOR: Duration = Duration::from_secs(30);
