//! What the other servers are told of the rooms here, and tell of theirs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bowline::PeerId;

use super::{Outbox, Room, RoomKey, Rooms};
use crate::relay::bus::{Announcement, ServerId};

impl Rooms {
    /// What this server keeps for the others; nothing where there are none.
    pub(in crate::relay) fn outbox(&self) -> Option<&Outbox> {
        self.outbox.as_ref()
    }

    /// Takes the next room that the other servers are to be told of, and who is in it here. Nobody is, where it is not
    /// there any more.
    pub(in crate::relay) fn next_announcement(&self) -> Option<(RoomKey, BTreeMap<PeerId, u64>)> {
        let mut state = self.lock();
        if let Some(room) = state.changed.pop_first() {
            let room = Some(room);
            let members = state.rooms.get(&room).map(Room::claims);
            return Some((room, members.unwrap_or_default()));
        }
        let rest = match state.taken.keys().nth(MAX_TAKEN).copied() {
            Some(next) => state.taken.split_off(&next),
            None => BTreeMap::new(),
        };
        let taken = std::mem::replace(&mut state.taken, rest);
        (!taken.is_empty()).then_some((None, taken))
    }

    /// Tells the other servers once more of one in `parts` of all rooms: the bus may lose what it carries.
    pub(in crate::relay) fn tell_part(&self, part: usize, parts: usize) {
        let mut state = self.lock();
        let rooms = state.rooms.keys().flatten();
        let due = rooms.skip(part % parts.max(1)).step_by(parts.max(1));
        let due: Vec<_> = due.cloned().collect();
        for room in due {
            self.tell(&mut state, &Some(room), None);
        }
    }

    /// Takes another server's word on who is in a room there. It makes known that the server lives, too.
    pub(in crate::relay) fn hear(&self, room: &RoomKey, said: Announcement, now: Instant) {
        let Some(outbox) = &self.outbox else {
            return;
        };
        let mut state = self.lock();
        state.servers.insert(said.server, now);
        let Some(here) = state.rooms.get_mut(room) else {
            return;
        };
        let mut answer = said.ask;
        let mut ours = Vec::new();
        for (&peer, &since) in &said.peers {
            let Some(member) = here.members.get(&peer) else {
                continue;
            };
            // Both sides decide alike, and both tell: the one that keeps the name, since the other has to hear it.
            answer = true;
            if (since, said.server) > (member.since, outbox.server) {
                here.members.remove(&peer);
            } else {
                ours.push((peer, member.since));
            }
        }
        if room.is_some() {
            if said.peers.is_empty() {
                here.elsewhere.remove(&said.server);
            } else {
                here.elsewhere.insert(said.server, said.peers);
            }
            here.announce();
        }
        if here.members.is_empty() {
            state.rooms.remove(room);
        }
        if answer {
            let mut ours = ours.into_iter();
            self.tell(&mut state, room, ours.next());
            state.taken.extend(ours.filter(|_| room.is_none()));
        }
    }

    /// A server lives, which says nothing else.
    pub(in crate::relay) fn hear_life(&self, server: ServerId, now: Instant) {
        self.lock().servers.insert(server, now);
    }

    /// A server stops, or has been silent for too long.
    pub(in crate::relay) fn forget(&self, server: ServerId) {
        let mut state = self.lock();
        state.servers.remove(&server);
        for room in state.rooms.values_mut() {
            if room.elsewhere.remove(&server).is_some() {
                room.announce();
            }
        }
    }

    /// Forgets the servers that were not heard for `patience`.
    pub(in crate::relay) fn forget_silent(&self, patience: Duration, now: Instant) {
        let state = self.lock();
        let silent = state.servers.iter();
        let silent = silent.filter(|(_, heard)| now.duration_since(**heard) > patience);
        let silent: Vec<_> = silent.map(|(server, _)| *server).collect();
        drop(state);
        for server in silent {
            self.forget(server);
        }
    }
}

/// Names of the room without a name that the other servers are told of at once.
pub(super) const MAX_TAKEN: usize = 1_000;
