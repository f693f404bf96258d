//! Rooms: between the mesh and the peers.

use std::time::Instant;

use super::Endpoint;
use super::io::{Input, Signal};
use super::recorder::Step;
use crate::channel::MESH_CHANNEL;
use crate::channel::kind::Message;
use crate::error::{JoinError, PublishError, UnknownRoom};
use crate::id::{PeerId, RoomId};
use crate::mesh::MeshOutput;
use crate::peer;
use crate::signal::Envelope;

impl Endpoint {
    /// Enters the room of this name.
    ///
    /// A room is an overlay over connections: its members know of each other, are connected to each other, all to all in a small room
    /// and each to some in a large one, and pass on what is published there. Signalling messages reach a member
    /// through others too, so that connections are made and repaired while the signalling link is down. Members are
    /// accepted without [`Event::Incoming`](crate::Event::Incoming), and the connections that the room does not need any more are closed,
    /// but for those that the application asked for by [`Endpoint::connect`].
    ///
    /// Whoever is connected to a member and knows the name is in; the name is shown to nobody who does not know it. It is for the
    /// application to bring somebody in touch with a first member: by [`Endpoint::connect`], or by
    /// [`Room::introduce`] with what a signalling server says.
    ///
    /// # Errors
    ///
    /// [`JoinError`]; nothing has changed then.
    pub fn join(&mut self, name: &str, now: Instant) -> Result<RoomId, JoinError> {
        self.begin(now, |_| Step::Join { name: name.into() });
        let unix = self.wall.at(self.now);
        let room = self.ctx.mesh.join(name, &self.sealer, unix, self.now)?;
        self.closing = false;
        Ok(room)
    }

    /// A handle to a room.
    ///
    /// # Errors
    ///
    /// [`UnknownRoom`] when there is none, or not any more.
    pub fn room(&mut self, room: RoomId) -> Result<Room<'_>, UnknownRoom> {
        let exists = self.ctx.mesh.has_room(room);
        exists
            .then_some(Room {
                endpoint: self,
                id: room,
            })
            .ok_or(UnknownRoom)
    }

    /// Does the next thing that the mesh asks for, or takes the next message of a neighbour. Returns whether there was one.
    pub(super) fn drive_rooms_next(&mut self) -> bool {
        let mesh = &self.ctx.mesh;
        let is_due = || mesh.poll_timeout().is_some_and(|at| at <= self.now);
        if mesh.has_output() || is_due() {
            self.begin(self.now, |_| Step::DriveMesh);
            self.drive_mesh();
            return true;
        }
        let Some((from, message)) = self.ctx.from_mesh.pop_front() else {
            return false;
        };
        self.begin(self.now, |payloads| Step::mesh(from, &message, payloads));
        self.on_mesh_message(from, &message);
        true
    }

    /// Does what the mesh asks for next, or what is due there.
    pub(super) fn drive_mesh(&mut self) {
        match self.ctx.mesh.poll_output() {
            // A recording has it, open.
            Some(MeshOutput::Deliver { .. }) if self.ctx.tape.is_playing() => {}
            Some(MeshOutput::Deliver { text }) => {
                self.handle_input(Input::Signal { text: &text }, self.now);
            }
            Some(output) => self.carry_out(output),
            None => self.ctx.mesh.handle_timeout(self.now),
        }
    }

    fn carry_out(&mut self, output: MeshOutput) {
        match output {
            MeshOutput::Send { to, message } => self.send_for_mesh(to, message),
            MeshOutput::Connect { peer } => {
                if self.start(peer, None).is_ok() {
                    self.ctx.mesh.on_made(peer);
                }
            }
            MeshOutput::Close { peer } => {
                if let Some(key) = self.by_id.get(&peer).copied() {
                    self.with(key, peer::Peer::close);
                }
            }
            MeshOutput::ReachChanged => self.review_reach(),
            MeshOutput::Tell(event) => self.ctx.events.push_back(event),
            // Its sender repeats it.
            MeshOutput::Deliver { .. } => {}
        }
    }

    /// A neighbour has said something on the channel of the mesh.
    pub(super) fn on_mesh_message(&mut self, from: PeerId, message: &Message) {
        if let Some(key) = self.by_id.get(&from).copied() {
            let bytes = message.len();
            self.with(key, |peer, _, now| peer.release(MESH_CHANNEL, bytes, now));
        }
        let (unix, now) = (self.wall.at(self.now), self.now);
        let mesh = &mut self.ctx.mesh;
        mesh.on_message(from, message, &self.sealer, unix, now);
    }

    /// What carries a message over the link, and through the mesh as well.
    pub(super) fn signal(&mut self, envelope: &Envelope) -> Signal {
        let to = envelope.to;
        let text = self.sealer.close(envelope, self.wall.at(self.now));
        self.ctx.mesh.route(to, &text);
        Signal { to, text }
    }

    /// Leaves every room, and says so.
    pub(super) fn leave_rooms(&mut self) {
        self.ctx.mesh.leave_all(&self.sealer, self.now);
        self.say_at_once();
    }

    /// Does all that the mesh asks for: what is said last must be queued before connections are closed.
    fn say_at_once(&mut self) {
        while let Some(output) = self.ctx.mesh.poll_output() {
            self.carry_out(output);
        }
    }

    fn send_for_mesh(&mut self, to: PeerId, message: Message) {
        let key = self.by_id.get(&to).copied();
        let sent =
            key.and_then(|key| self.with(key, |peer, _, now| peer.send_for_mesh(message, now)));
        self.ctx.mesh.on_sent(sent == Some(true));
    }

    /// Signals that wait go where they now can.
    fn review_reach(&mut self) {
        let keys: Vec<_> = self.by_id.values().copied().collect();
        for key in keys {
            let changed = self.slots.get(key).is_some_and(|slot| {
                slot.peer.is_held() != self.ctx.is_out_of_reach(slot.peer.id())
            });
            if changed {
                self.with(key, peer::Peer::on_signalling);
            }
        }
        self.file_leftovers();
    }
}

/// A handle to one room of an [`Endpoint`].
///
/// Borrowed for the length of a command.
pub struct Room<'a> {
    endpoint: &'a mut Endpoint,
    id: RoomId,
}

impl Room<'_> {
    /// Says that these peers are, or may be, in the room: what a signalling server tells of who is present. Those that the room
    /// needs are connected to; a peer counts as a member as soon as it shows itself in the room. Whoever cannot be
    /// connected to is forgotten until it is introduced again. At most
    /// [`max_members`](crate::config::Mesh::max_members) are kept.
    pub fn introduce(&mut self, peers: &[PeerId], now: Instant) {
        let step = || Step::Introduce {
            room: self.id,
            peers: peers.to_vec(),
        };
        self.endpoint.begin(now, |_| step());
        let endpoint = &mut self.endpoint;
        endpoint.ctx.mesh.introduce(self.id, peers, endpoint.now);
    }

    /// Publishes a message: every member gets it at most once, and nearly always exactly once, through others where it is not
    /// connected to us. Gives its number among ours in this room.
    ///
    /// A message that a member could not be brought within a minute is lost for it; the next one shows it the gap. Who joins later
    /// may get what was published in the last minute. What must arrive is for [`Peer::send`](crate::Peer::send).
    ///
    /// # Errors
    ///
    /// [`PublishError`], which hands the message back.
    pub fn publish(
        &mut self,
        message: impl Into<Message>,
        now: Instant,
    ) -> Result<u64, PublishError> {
        let (id, message) = (self.id, message.into());
        let endpoint = &mut self.endpoint;
        endpoint.begin(now, |payloads| Step::publish(id, &message, payloads));
        let (unix, now) = (endpoint.wall.at(endpoint.now), endpoint.now);
        let mesh = &mut endpoint.ctx.mesh;
        mesh.publish(id, message, &endpoint.sealer, unix, now)
    }

    /// Leaves the room, and tells the others.
    pub fn leave(self, now: Instant) {
        self.endpoint.begin(now, |_| Step::Leave { room: self.id });
        let Endpoint {
            ctx, sealer, now, ..
        } = self.endpoint;
        ctx.mesh.leave(self.id, sealer, *now);
        self.endpoint.say_at_once();
    }

    /// Who is in the room besides us, in the order of their ids.
    #[must_use]
    pub fn members(&self) -> Vec<PeerId> {
        self.endpoint.ctx.mesh.members(self.id)
    }

    /// The members that we are connected to because both are in this room.
    #[must_use]
    pub fn neighbours(&self) -> Vec<PeerId> {
        self.endpoint.ctx.mesh.neighbours(self.id)
    }
}
