//! One room: who is in it, whom we are connected to because of it, and what is published there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::frame::{Branch, Frame, Header, MAX_NAMES, MAX_NUMBER, Name, Said, Token, publication};
use super::members::{Change, Members, Record, Standing};
use super::ring::{self, Place};
use super::tree::{Arrival, Tree, publishing_bucket};
use super::{MeshOutput, Sha256};
use crate::channel::kind::Message;
use crate::config;
use crate::event::{Event, PeerState};
use crate::id::{PeerId, RoomId};
use crate::signal::{Sealer, Signature, TokenBucket};

/// One room, as this member sees it.
#[derive(Debug)]
pub(super) struct Room {
    us: PeerId,
    id: RoomId,
    name: String,
    pub(super) token: Token,
    sha256: Sha256,
    place: Place,
    incarnation: u64,
    /// That we are there in this incarnation; none where members are not keys.
    signature: Option<Signature>,
    /// Which stay this is, for the names of publications.
    epoch: u64,
    published: u64,
    members: Members,
    /// Whom somebody has named, and who has not shown itself.
    introduced: BTreeMap<PeerId, Place>,
    /// Those that we are connected to.
    neighbours: BTreeMap<PeerId, Neighbour>,
    /// Who is next towards the root of the tree.
    parent: Option<PeerId>,
    wanted: BTreeMap<PeerId, Wanted>,
    tree: Tree,
    pace: TokenBucket,
    /// What came and is to be told to the next one on the ring, unless that is who had it from us or brought it.
    haves: Vec<(Name, Option<PeerId>)>,
    due: Due,
}

/// A neighbour in the room.
#[derive(Debug)]
struct Neighbour {
    place: Place,
    /// Whether the connection is up: nothing goes to one that is not.
    is_up: bool,
    /// Where it stands in the tree, as it says, and where we do, as it was told.
    theirs: Option<Branch>,
    ours: Option<Branch>,
    /// Of whom it is to be told.
    news: BTreeSet<PeerId>,
}

impl Neighbour {
    /// Whether we are next for it towards the root.
    fn is_child(&self) -> bool {
        self.is_up && self.theirs.is_some_and(|branch| branch.parent)
    }
}

/// Somebody to be connected to.
#[derive(Debug)]
struct Wanted {
    try_at: Instant,
    attempts: u32,
}

/// What is to be done when.
#[derive(Debug, Default)]
struct Due {
    gossip: Option<Instant>,
    haves: Option<Instant>,
    digest: Option<Instant>,
    tree: Option<Instant>,
    review: Option<Instant>,
}

/// What a room needs to know of the rest when it looks whom to connect to.
pub(super) struct View<'a> {
    pub(super) config: &'a config::Mesh,
    /// To whom there are connections, up or not.
    pub(super) peers: &'a BTreeMap<PeerId, PeerState>,
    pub(super) is_signalling_up: bool,
    /// Who carries signals for others.
    pub(super) carriers: &'a [PeerId],
}

impl View<'_> {
    /// Whether there is no connection to a peer, and signals reach it.
    fn can_call(&self, peer: PeerId) -> bool {
        let reaches = self.is_signalling_up || self.carriers.iter().any(|via| *via != peer);
        reaches && !self.peers.contains_key(&peer)
    }
}

pub(super) type Outputs = VecDeque<MeshOutput>;

impl Room {
    pub(super) fn new(
        us: PeerId,
        (id, name): (RoomId, String),
        sha256: Sha256,
        config: &config::Mesh,
        (sealer, unix_millis): (&Sealer, u64),
        now: Instant,
    ) -> Self {
        let token = truncated(sha256(format!("bowline room 1\n{name}").as_bytes()));
        let mut room = Self {
            us,
            id,
            token,
            sha256,
            place: place_in(token, us, sha256),
            name,
            incarnation: unix_millis.min(MAX_NUMBER),
            signature: None,
            epoch: unix_millis.min(MAX_NUMBER),
            published: 0,
            members: Members::new(config.max_members, config.suspicion),
            introduced: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            parent: None,
            wanted: BTreeMap::new(),
            tree: Tree::default(),
            pace: publishing_bucket(),
            haves: Vec::new(),
            due: Due {
                review: Some(now),
                ..Due::default()
            },
        };
        room.sign(sealer);
        room
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What shows `to` that `from` knows the name of the room, and shows nobody else.
    pub(super) fn proof(&self, from: PeerId, to: PeerId) -> Token {
        let text = format!("bowline member 1\n{} {from} {to}", self.name);
        truncated((self.sha256)(text.as_bytes()))
    }

    /// Who is in the room besides us.
    pub(super) fn members(&self) -> impl Iterator<Item = PeerId> {
        self.members.iter().map(|(peer, _)| peer)
    }

    /// The members that we are connected to.
    pub(super) fn neighbours(&self) -> impl Iterator<Item = PeerId> {
        self.neighbours.keys().copied()
    }

    /// Whether a peer is in the room, or was named.
    pub(super) fn knows(&self, peer: PeerId) -> bool {
        self.members.contains(peer) || self.introduced.contains_key(&peer)
    }

    pub(super) fn has_neighbour(&self, peer: PeerId) -> bool {
        self.neighbours.contains_key(&peer)
    }

    pub(super) fn wants(&self, peer: PeerId) -> bool {
        self.wanted.contains_key(&peer)
    }

    /// Whether everybody that we are to be connected to is a neighbour.
    pub(super) fn is_settled(&self) -> bool {
        self.wanted.keys().all(|peer| self.has_neighbour(*peer))
    }

    /// Somebody says that these are, or were a moment ago, in the room.
    pub(super) fn introduce(&mut self, peers: &[PeerId], max: usize, now: Instant) {
        for peer in peers {
            let is_new = *peer != self.us && !self.knows(*peer);
            if is_new && self.introduced.len() < max {
                let place = place_in(self.token, *peer, self.sha256);
                self.introduced.insert(*peer, place);
                self.review_soon(now);
            }
        }
    }

    /// A neighbour is in the room too.
    pub(super) fn on_neighbour(
        &mut self,
        peer: PeerId,
        max: usize,
        now: Instant,
        out: &mut Outputs,
    ) {
        let neighbour = Neighbour {
            place: place_in(self.token, peer, self.sha256),
            is_up: true,
            theirs: None,
            ours: None,
            news: BTreeSet::new(),
        };
        self.neighbours.insert(peer, neighbour);
        self.stand_soon(now);
        self.introduce(&[peer], max, now);
        if self.next_on_ring() == Some(peer) {
            self.say_haves(peer, self.tree.names(), out);
        }
        if self.us < peer {
            self.say_digest(peer, out);
        }
        self.review_soon(now);
    }

    /// A neighbour is gone, or not in the room any more.
    pub(super) fn on_neighbour_gone(&mut self, peer: PeerId, now: Instant, out: &mut Outputs) {
        self.on_silent(peer, now, out);
        if self.neighbours.remove(&peer).is_some() {
            self.review_soon(now);
        }
    }

    /// A neighbour is not reached, or could not be connected to.
    pub(super) fn suspect(&mut self, peer: PeerId, now: Instant, out: &mut Outputs) {
        self.introduced.remove(&peer);
        // Without anybody it is we who are not reached.
        let is_alone = self.neighbours().all(|neighbour| neighbour == peer);
        let Some(record) = self.members.record(peer).filter(|_| !is_alone) else {
            return;
        };
        if record.standing == Standing::Here {
            let standing = Standing::Suspect;
            self.merge(Record { standing, ..record }, None, now, out);
        }
    }

    /// A connection is up: what went wrong before counts no more, and what was missed is told.
    pub(super) fn on_connected(&mut self, peer: PeerId, now: Instant, out: &mut Outputs) {
        if let Some(wanted) = self.wanted.get_mut(&peer) {
            wanted.attempts = 0;
        }
        if let Some(neighbour) = self.neighbours.get_mut(&peer)
            && !std::mem::replace(&mut neighbour.is_up, true)
        {
            self.say_digest(peer, out);
            self.say_haves(peer, self.tree.names(), out);
            self.stand_soon(now);
        }
    }

    /// The path to a neighbour is lost: others take its place until it is back.
    pub(super) fn on_silent(&mut self, peer: PeerId, now: Instant, out: &mut Outputs) {
        let was_next = self.next_on_ring() == Some(peer);
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.is_up = false;
            self.parent.take_if(|parent| *parent == peer);
            self.stand_soon(now);
        }
        // It may have had what nobody else was told of.
        if let Some(next) = self.next_on_ring().filter(|_| was_next) {
            self.say_haves(next, self.tree.names(), out);
        }
    }

    /// A neighbour said something. Returns whether it may.
    pub(super) fn on_frame(
        &mut self,
        from: PeerId,
        frame: Frame,
        sealer: &Sealer,
        now: Instant,
        out: &mut Outputs,
    ) -> bool {
        match frame {
            Frame::Digest { buckets, .. } => self.on_digest(from, &buckets, out),
            Frame::Members {
                records, buckets, ..
            } => return self.on_records(from, (&records, buckets), sealer, now, out),
            Frame::Tree { branch, .. } => {
                if let Some(neighbour) = self.neighbours.get_mut(&from) {
                    neighbour.theirs = Some(branch);
                    self.stand_soon(now);
                }
            }
            Frame::Have { messages, .. } => {
                let lacks = |name: &Name| name.from != self.us && !self.tree.has(*name);
                let messages: Vec<_> = messages.into_iter().filter(lacks).collect();
                if !messages.is_empty() {
                    let room = self.token;
                    out.push_back(send(from, Frame::Want { room, messages }));
                }
            }
            Frame::Want { messages, .. } => {
                let kept = messages.into_iter().filter_map(|name| self.tree.kept(name));
                out.extend(kept.map(|message| MeshOutput::Send {
                    to: from,
                    message: message.clone(),
                }));
            }
            Frame::Hello { .. } | Frame::Route(_) => {}
        }
        true
    }

    /// Names and dates a publication of ours. None when it is too soon.
    pub(super) fn next_header(&mut self, text: bool, time: u64, now: Instant) -> Option<Header> {
        self.pace.take(now).ok()?;
        self.published += 1;
        Some(Header {
            room: self.token,
            name: Name {
                from: self.us,
                epoch: self.epoch,
                number: self.published,
            },
            time,
            text,
            signature: None,
        })
    }

    /// Sends a publication, ours or what `source` brought, to the rest of the tree, and keeps it for the rest of the room.
    pub(super) fn spread(
        &mut self,
        name: Name,
        message: Message,
        source: Option<PeerId>,
        now: Instant,
        out: &mut Outputs,
    ) {
        out.extend(self.branches(source).map(|to| MeshOutput::Send {
            to,
            message: message.clone(),
        }));
        self.tree.keep(name, message, now);
        let next = self.next_on_ring();
        let has = next.filter(|next| Some(*next) == source || self.is_of_tree(*next));
        self.haves.push((name, has));
        self.due.haves.get_or_insert(now + HAVE_DELAY);
    }

    /// A publication came, and is its origin's.
    pub(super) fn on_publication(
        &mut self,
        from: PeerId,
        (header, payload): (&Header, Bytes),
        max: usize,
        now: Instant,
        out: &mut Outputs,
    ) -> Arrival {
        let name = header.name;
        if name.from == self.us {
            return Arrival::Duplicate;
        }
        let arrival = self.tree.on_arrival(name, max, now);
        if arrival == Arrival::Fresh {
            let message = publication(header, &payload);
            out.push_back(MeshOutput::Tell(Event::Published {
                room: self.id,
                from: name.from,
                number: name.number,
                message: Message {
                    data: payload,
                    text: header.text,
                },
            }));
            self.spread(name, message, Some(from), now, out);
        }
        arrival
    }

    /// Says farewell to all neighbours.
    pub(super) fn leave(&mut self, sealer: &Sealer, out: &mut Outputs) {
        let mut record = Record {
            standing: Standing::Left,
            ..self.own_record()
        };
        record.signature = sealer.sign(|| record.signed(self.token));
        for peer in self.neighbours() {
            out.push_back(self.members_frame(peer, vec![record], 0));
        }
    }

    pub(super) fn handle_timeout(&mut self, view: &View<'_>, now: Instant, out: &mut Outputs) {
        while let Some(lost) = self.members.poll(now) {
            self.merge(lost, None, now, out);
        }
        let due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        if due(&mut self.due.gossip) {
            self.gossip(out);
        }
        if due(&mut self.due.haves) {
            let haves = std::mem::take(&mut self.haves);
            if let Some(next) = self.next_on_ring() {
                let lacking = haves.into_iter().filter(|(_, has)| *has != Some(next));
                self.say_haves(next, lacking.map(|(name, _)| name).collect(), out);
            }
        }
        if due(&mut self.due.digest) {
            self.due.digest = Some(now + DIGEST_INTERVAL);
            if let Some(next) = self.next_on_ring() {
                self.say_digest(next, out);
            }
        }
        if due(&mut self.due.review) {
            self.review(view.config, now);
            self.stand(out);
        }
        if due(&mut self.due.tree) {
            self.stand(out);
        }
        self.call(view, now, out);
    }

    pub(super) fn poll_timeout(&self, view: &View<'_>) -> Option<Instant> {
        let awaited = self.wanted.iter().filter(|(peer, _)| view.can_call(**peer));
        [
            self.members.poll_timeout(),
            self.due.gossip,
            self.due.haves,
            self.due.digest,
            self.due.tree,
            self.due.review,
            awaited.map(|(_, wanted)| wanted.try_at).min(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Looks again soon who is to be a neighbour.
    pub(super) fn review_soon(&mut self, now: Instant) {
        self.due.review.get_or_insert(now + REVIEW_DELAY);
    }

    fn on_digest(&mut self, from: PeerId, buckets: &[u32], out: &mut Outputs) {
        let ours = self.digest();
        let differing = ours.iter().zip(buckets).enumerate();
        let differing = differing.filter(|(_, (ours, theirs))| ours != theirs);
        for (part, _) in differing {
            let bit = 1 << part;
            let records = self.records(bit).collect();
            out.push_back(self.members_frame(from, records, bit));
        }
    }

    /// Returns whether the members have signed all of it. What follows the first that has not is not looked at.
    fn on_records(
        &mut self,
        from: PeerId,
        (records, buckets): (&[Record], u16),
        sealer: &Sealer,
        now: Instant,
        out: &mut Outputs,
    ) -> bool {
        for record in records {
            let Some(record) = self.vouched(*record, sealer) else {
                return false;
            };
            if record.peer == self.us {
                self.contradict(record, sealer, now);
            } else {
                self.merge(record, Some(from), now, out);
            }
        }
        if buckets != 0 {
            self.tell_missing(from, records, buckets, out);
        }
        true
    }

    /// What somebody says of a member, if that is no news, or the member has signed it. Whose incarnation is known may be doubted by
    /// anybody.
    fn vouched(&self, record: Record, sealer: &Sealer) -> Option<Record> {
        let known = self.record(record.peer);
        let is_news = known.map_or(record.standing.is_member(), |known| {
            record.weight() > known.weight()
        });
        if !is_news {
            return Some(record);
        }
        let known = known.filter(|known| known.incarnation == record.incarnation);
        if let Some(known) = known
            && record.standing != Standing::Left
        {
            let signature = known.signature;
            return Some(Record {
                signature,
                ..record
            });
        }
        let signed = || record.signed(self.token);
        let is_signed = sealer.has_signed(record.peer, record.signature, signed);
        is_signed.then_some(record)
    }

    /// Tells a neighbour what it does not have of some parts.
    fn tell_missing(&self, to: PeerId, theirs: &[Record], buckets: u16, out: &mut Outputs) {
        let theirs: BTreeMap<_, _> = theirs.iter().map(|r| (r.peer, *r)).collect();
        let is_missing = |ours: &Record| match theirs.get(&ours.peer) {
            Some(theirs) => theirs.weight() < ours.weight(),
            None => ours.standing.is_member(),
        };
        let missing: Vec<_> = self.records(buckets).filter(is_missing).collect();
        self.say_members(to, &missing, out);
    }

    fn say_members(&self, to: PeerId, records: &[Record], out: &mut Outputs) {
        for records in records.chunks(MAX_RECORDS) {
            out.push_back(self.members_frame(to, records.to_vec(), 0));
        }
    }

    /// Takes what `source` says of another member, or we have found out, and passes news on.
    fn merge(&mut self, record: Record, source: Option<PeerId>, now: Instant, out: &mut Outputs) {
        let (room, peer) = (self.id, record.peer);
        let (token, sha256) = (self.token, self.sha256);
        let place = || place_in(token, peer, sha256);
        match self.members.merge(record, place, now) {
            Change::Nothing => {
                // It has that already.
                if let Some(neighbour) = source.and_then(|source| self.neighbours.get_mut(&source))
                    && self.members.record(peer) == Some(record)
                {
                    neighbour.news.remove(&peer);
                }
                return;
            }
            Change::News => {}
            Change::Joined => {
                self.introduced.remove(&peer);
                out.push_back(MeshOutput::Tell(Event::MemberJoined { room, peer }));
                self.review_soon(now);
            }
            Change::Gone { lost } => {
                out.push_back(MeshOutput::Tell(Event::MemberLeft { room, peer, lost }));
                self.review_soon(now);
            }
        }
        self.tell(peer, source, now);
    }

    /// Somebody says something of us, which may have to be contradicted.
    fn contradict(&mut self, record: Record, sealer: &Sealer, now: Instant) {
        if record.weight() <= self.own_record().weight() {
            return;
        }
        if record.incarnation > self.incarnation {
            // Our clock was further once. Nothing of that life may count as later than this one.
            self.epoch = record.incarnation.saturating_add(1).min(MAX_NUMBER);
            self.published = 0;
        }
        self.incarnation = record.incarnation.saturating_add(1).min(MAX_NUMBER);
        self.sign(sealer);
        self.tell(self.us, None, now);
    }

    /// Has the tree told of a member.
    fn tell(&mut self, peer: PeerId, source: Option<PeerId>, now: Instant) {
        let branches: Vec<_> = self.branches(source).collect();
        for to in branches {
            if let Some(neighbour) = self.neighbours.get_mut(&to) {
                neighbour.news.insert(peer);
            }
        }
        self.due.gossip.get_or_insert(now + GOSSIP_DELAY);
        let soon = now + DIGEST_DELAY;
        if self.due.digest.is_none_or(|at| at > soon) {
            self.due.digest = Some(soon);
        }
    }

    fn gossip(&mut self, out: &mut Outputs) {
        let neighbours = self.neighbours.iter_mut();
        let news: Vec<_> = neighbours
            .map(|(to, neighbour)| (*to, std::mem::take(&mut neighbour.news)))
            .filter(|(_, news)| !news.is_empty())
            .collect();
        for (to, news) in news {
            let records: Vec<_> = news
                .into_iter()
                .filter_map(|peer| self.record(peer))
                .collect();
            self.say_members(to, &records, out);
        }
    }

    fn say_digest(&self, to: PeerId, out: &mut Outputs) {
        let (room, buckets) = (self.token, self.digest());
        out.push_back(send(to, Frame::Digest { room, buckets }));
    }

    fn say_haves(&self, to: PeerId, names: Vec<Name>, out: &mut Outputs) {
        for messages in names.chunks(MAX_NAMES) {
            let (room, messages) = (self.token, messages.to_vec());
            out.push_back(send(to, Frame::Have { room, messages }));
        }
    }

    fn digest(&self) -> Vec<u32> {
        self.members.digest((self.incarnation, &self.place))
    }

    fn own_record(&self) -> Record {
        Record {
            peer: self.us,
            incarnation: self.incarnation,
            standing: Standing::Here,
            signature: self.signature,
        }
    }

    /// Signs that we are there in this incarnation.
    fn sign(&mut self, sealer: &Sealer) {
        let record = self.own_record();
        self.signature = sealer.sign(|| record.signed(self.token));
    }

    fn record(&self, peer: PeerId) -> Option<Record> {
        if peer == self.us {
            Some(self.own_record())
        } else {
            self.members.record(peer)
        }
    }

    /// What is known of those in some of the parts, ourselves among them.
    fn records(&self, buckets: u16) -> impl Iterator<Item = Record> {
        let own = Some(self.own_record()).filter(|_| buckets & self.place.bucket() != 0);
        self.members.records(buckets).chain(own)
    }

    fn members_frame(&self, to: PeerId, records: Vec<Record>, buckets: u16) -> MeshOutput {
        let room = self.token;
        let frame = Frame::Members {
            room,
            records,
            buckets,
        };
        send(to, frame)
    }

    /// The neighbour that comes next on the ring.
    fn next_on_ring(&self) -> Option<PeerId> {
        let up = self.up().map(|(peer, neighbour)| {
            let distance = self.place.distance_to(&neighbour.place);
            (distance, peer)
        });
        up.min().map(|(_, peer)| peer)
    }

    fn up(&self) -> impl Iterator<Item = (PeerId, &Neighbour)> {
        let neighbours = self.neighbours.iter();
        let up = neighbours.filter(|(_, neighbour)| neighbour.is_up);
        up.map(|(peer, neighbour)| (*peer, neighbour))
    }

    /// Whether what is published goes from here to a neighbour.
    fn is_of_tree(&self, peer: PeerId) -> bool {
        let neighbour = self.neighbours.get(&peer);
        self.parent == Some(peer) || neighbour.is_some_and(Neighbour::is_child)
    }

    /// Where what `source` brought goes on along the tree.
    fn branches(&self, source: Option<PeerId>) -> impl Iterator<Item = PeerId> {
        let branches = self.neighbours().filter(|to| self.is_of_tree(*to));
        branches.filter(move |to| Some(*to) != source)
    }

    /// Finds our place in the tree, and tells the neighbours that do not know it.
    fn stand(&mut self, out: &mut Outputs) {
        let ranked = self
            .members
            .iter()
            .map(|(peer, place)| (place.rank(), peer));
        let own = (self.place.rank(), self.us);
        let root = ranked.chain([own]).min().map_or(self.us, |(_, peer)| peer);
        let depth = |neighbour: &Neighbour| {
            let branch = neighbour.theirs.filter(|b| b.root == root && !b.parent)?;
            let depth = branch.depth?.checked_add(1)?;
            (depth < MAX_DEPTH).then_some(depth)
        };
        let near = self.up();
        let near = near.filter_map(|(peer, neighbour)| Some((depth(neighbour)?, peer)));
        let (depth, parent) = match near.min() {
            _ if root == self.us => (Some(0), None),
            Some((depth, parent)) => (Some(depth), Some(parent)),
            // Until somebody knows, some connection has to do.
            None => (None, self.parent.or(self.next_on_ring())),
        };
        if let Some(parent) = parent.filter(|_| self.parent != parent) {
            // What was told before either side knew of this has to be told again.
            self.say_digest(parent, out);
        }
        self.parent = parent;
        for (to, neighbour) in &mut self.neighbours {
            let branch = Branch {
                root,
                depth,
                parent: parent == Some(*to),
            };
            if neighbour.ours != Some(branch) {
                neighbour.ours = Some(branch);
                let room = self.token;
                out.push_back(send(*to, Frame::Tree { room, branch }));
            }
        }
    }

    fn stand_soon(&mut self, now: Instant) {
        self.due.tree.get_or_insert(now + TREE_DELAY);
    }

    /// Finds out who is to be a neighbour.
    fn review(&mut self, config: &config::Mesh, now: Instant) {
        let introduced: Vec<_> = self
            .introduced
            .iter()
            .map(|(p, place)| (*p, *place))
            .collect();
        let sizes = (config.full_mesh, config.neighbours);
        let us = (self.us, &self.place);
        let neighbours = ring::neighbours(us, &self.members, &introduced, sizes);
        self.wanted.retain(|peer, _| neighbours.contains(peer));
        for peer in neighbours {
            // Both would call. The higher one waits, in case the lower one does not know yet.
            let wait = if self.us < peer {
                Duration::ZERO
            } else {
                CALL_GRACE
            };
            let try_at = now + wait;
            self.wanted.entry(peer).or_insert(Wanted {
                try_at,
                attempts: 0,
            });
        }
    }

    fn call(&mut self, view: &View<'_>, now: Instant, out: &mut Outputs) {
        for (peer, wanted) in &mut self.wanted {
            if wanted.try_at <= now && view.can_call(*peer) {
                wanted.attempts += 1;
                wanted.try_at = now + backoff(wanted.attempts);
                out.push_back(MeshOutput::Connect { peer: *peer });
            }
        }
    }
}

/// How long after an attempt the next one may be.
fn backoff(attempts: u32) -> Duration {
    RETRY.saturating_mul(1 << attempts.min(10)).min(RETRY_MAX)
}

fn place_in(room: Token, peer: PeerId, sha256: Sha256) -> Place {
    Place::new(sha256(format!("bowline place 1\n{room} {peer}").as_bytes()))
}

fn truncated(hash: [u8; 32]) -> Token {
    let mut token = [0; 16];
    token.copy_from_slice(&hash[..16]);
    Token(token)
}

pub(super) fn send(to: PeerId, frame: Frame) -> MeshOutput {
    let message = Said::Frame(frame).write();
    MeshOutput::Send { to, message }
}

/// The most members in one message, of some 200 bytes each.
const MAX_RECORDS: usize = 256;
/// How long news of members wait for others.
const GOSSIP_DELAY: Duration = Duration::from_millis(100);
/// How long after news a neighbour is asked whether it has heard the same, and how often otherwise.
const DIGEST_DELAY: Duration = Duration::from_secs(2);
const DIGEST_INTERVAL: Duration = Duration::from_secs(60);
/// How long what changes in the tree waits for other changes.
const TREE_DELAY: Duration = Duration::from_millis(50);
/// Whoever would be so many steps from the root is not connected to it: they only tell each other so.
const MAX_DEPTH: u8 = 32;
/// How long after a publication the next one on the ring is told of it: the tree has brought it by then.
const HAVE_DELAY: Duration = Duration::from_millis(500);
/// How long those who come and go wait for others before neighbours are chosen.
const REVIEW_DELAY: Duration = Duration::from_millis(200);
/// How much later the higher of two calls.
const CALL_GRACE: Duration = Duration::from_secs(3);
/// How long after the first attempt to connect the second may be, half of it, doubling.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);
