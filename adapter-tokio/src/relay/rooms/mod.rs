mod others;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bowline::PeerId;
use serde::Serialize;
use tokio::sync::{Notify, mpsc, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::bus::{Forward, ServerId};
use super::limits::{Counters, RelayLimits};
use crate::clock::WallClock;
use crate::signalling::RoomName;

/// Who is where, here and at the other servers. A room is there as long as somebody is in it here.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    state: Mutex<State>,
    /// What the other servers are told; nothing where there are none.
    outbox: Option<Outbox>,
    /// Whether the relay is about to stop.
    stopping: AtomicBool,
}

/// What is for the other servers.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) server: ServerId,
    pub(super) forwards: mpsc::Sender<Forward>,
    /// Told when there is an announcement to take.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By name; the room without a name is that of the peers that named none.
    rooms: BTreeMap<RoomKey, Room>,
    /// Rooms with a name that the other servers have to be told of.
    changed: BTreeSet<RoomName>,
    /// Names that were taken in the room without a name, where the others are told of nothing else, with the time.
    taken: BTreeMap<PeerId, u64>,
    /// When each of the other servers was heard last.
    servers: BTreeMap<ServerId, Instant>,
}

pub(super) type RoomKey = Option<RoomName>;

#[derive(Debug)]
struct Room {
    members: BTreeMap<PeerId, Member>,
    /// The members at other servers, as those said last, with the time at which they took their names. Nothing in the room
    /// without a name.
    elsewhere: BTreeMap<ServerId, BTreeMap<PeerId, u64>>,
    /// The last word on who is here. What a member misses of it is superseded anyhow.
    presence: watch::Sender<Utf8Bytes>,
}

#[derive(Debug)]
struct Member {
    /// The queue of the connection that has the name. It is dropped when another takes it, which ends the first.
    queue: mpsc::Sender<Utf8Bytes>,
    /// When it took the name, in milliseconds since 1970, and later than all that are known to have had it elsewhere.
    since: u64,
}

/// A member's place in its room, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) peer: PeerId,
    pub(super) room: RoomKey,
    queue: mpsc::WeakSender<Utf8Bytes>,
    rooms: Arc<Rooms>,
}

/// What the relay has for a member.
#[derive(Debug)]
pub(super) struct Feed {
    /// Messages from others. It ends when another connection takes the name.
    pub(super) messages: mpsc::Receiver<Utf8Bytes>,
    /// Who is in the room; nothing in the room without a name.
    pub(super) presence: watch::Receiver<Utf8Bytes>,
}

/// The room has all the peers that it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RoomFull;

impl Rooms {
    /// The rooms of a server that is one of several.
    pub(super) fn shared(outbox: Outbox) -> Self {
        Self {
            outbox: Some(outbox),
            ..Self::default()
        }
    }

    /// Gives the name `peer` in `room` to the connection that drains the returned feed. The one that had it loses its
    /// queue.
    ///
    /// # Errors
    ///
    /// [`RoomFull`], when the room has a name and its limit is reached by others.
    pub(super) fn join(
        self: &Arc<Self>,
        peer: PeerId,
        room: RoomKey,
        limits: &RelayLimits,
    ) -> Result<(Ticket, Feed), RoomFull> {
        let (queue, messages) = mpsc::channel(limits.queue.max(1));
        let mut state = self.lock();
        let others = state.rooms.get(&room).filter(|_| room.is_some());
        if others.is_some_and(|others| others.count_without(peer) >= limits.room) {
            return Err(RoomFull);
        }
        let here = state.rooms.entry(room.clone()).or_insert_with(Room::new);
        let since = here.next_claim(peer);
        let weak = queue.downgrade();
        here.members.insert(peer, Member { queue, since });
        if room.is_some() {
            here.announce();
        }
        let mut presence = here.presence.subscribe();
        if room.is_some() {
            presence.mark_changed();
        }
        self.tell(&mut state, &room, Some((peer, since)));
        let ticket = Ticket {
            peer,
            room,
            queue: weak,
            rooms: Arc::clone(self),
        };
        Ok((ticket, Feed { messages, presence }))
    }

    /// Forwards `text` from a member to `to` in the same room, which may be at another server. The newest message is
    /// dropped when its queue is full.
    pub(super) fn forward(&self, from: &Ticket, to: PeerId, text: Utf8Bytes, counters: &Counters) {
        let counter = match (self.queue(&from.room, to), &self.outbox) {
            (Some(queue), _) => match queue.try_send(text) {
                Ok(()) => &counters.forwarded,
                Err(_) => &counters.queue_full,
            },
            (None, Some(outbox)) => {
                let room = from.room.clone();
                match outbox.forwards.try_send(Forward { room, to, text }) {
                    Ok(()) => &counters.published,
                    Err(_) => &counters.bus_lost,
                }
            }
            (None, None) => &counters.unknown_destination,
        };
        counter.add();
    }

    /// Takes a message from another server. It is for somebody at a third one when nobody here has the name.
    pub(super) fn deliver(&self, forward: Forward, counters: &Counters) {
        let queue = self.queue(&forward.room, forward.to);
        match queue.map(|queue| queue.try_send(forward.text)) {
            Some(Ok(())) => counters.forwarded.add(),
            Some(Err(_)) => counters.queue_full.add(),
            None => {}
        }
    }

    fn queue(&self, room: &RoomKey, to: PeerId) -> Option<mpsc::Sender<Utf8Bytes>> {
        let state = self.lock();
        let member = state.rooms.get(room)?.members.get(&to)?;
        Some(member.queue.clone())
    }

    /// The relay is about to stop. That its connections end tells nobody anything of who is still there.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Peers in all rooms.
    pub(super) fn peers(&self) -> usize {
        self.lock()
            .rooms
            .values()
            .map(|room| room.members.len())
            .sum()
    }

    /// The other servers that were heard lately.
    pub(super) fn servers(&self) -> usize {
        self.lock().servers.len()
    }

    fn leave(&self, ticket: &Ticket) {
        let mut state = self.lock();
        let Some(room) = state.rooms.get_mut(&ticket.room) else {
            return;
        };
        let ours = ticket.queue.upgrade();
        let has = room.members.get(&ticket.peer).zip(ours);
        if !has.is_some_and(|(has, ours)| has.queue.same_channel(&ours)) {
            return;
        }
        room.members.remove(&ticket.peer);
        let stopping = self.stopping.load(Ordering::SeqCst);
        if ticket.room.is_some() && !stopping {
            room.announce();
        }
        if room.members.is_empty() {
            state.rooms.remove(&ticket.room);
        }
        if !stopping {
            self.tell(&mut state, &ticket.room, None);
        }
    }

    /// Notes that the other servers have to be told of a room, and of the name that somebody took there.
    fn tell(&self, state: &mut State, room: &RoomKey, taken: Option<(PeerId, u64)>) {
        let Some(outbox) = &self.outbox else {
            return;
        };
        match room {
            Some(room) => {
                state.changed.insert(room.clone());
            }
            None => state.taken.extend(taken),
        }
        outbox.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn new() -> Self {
        Self {
            members: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            presence: watch::Sender::new(Utf8Bytes::default()),
        }
    }

    /// Everybody, here and elsewhere, once.
    fn everybody(&self) -> BTreeSet<PeerId> {
        let elsewhere = self.elsewhere.values().flat_map(BTreeMap::keys);
        self.members.keys().chain(elsewhere).copied().collect()
    }

    fn count_without(&self, peer: PeerId) -> usize {
        let everybody = self.everybody();
        everybody.len() - usize::from(everybody.contains(&peer))
    }

    /// The time at which somebody takes a name: now, or after it was taken last where that clock is ahead.
    fn next_claim(&self, peer: PeerId) -> u64 {
        let now = WallClock::shows().as_millis();
        let elsewhere = self.elsewhere.values().filter_map(|there| there.get(&peer));
        let here = self.members.get(&peer).map(|member| &member.since);
        let last = elsewhere.chain(here).max();
        now.max(last.map_or(0, |last| last.saturating_add(1)))
    }

    fn claims(&self) -> BTreeMap<PeerId, u64> {
        let members = self.members.iter();
        members
            .map(|(peer, member)| (*peer, member.since))
            .collect()
    }

    /// Tells every member here who is in the room, when that has changed.
    fn announce(&self) {
        #[derive(Serialize)]
        struct Presence {
            r#type: &'static str,
            peers: BTreeSet<PeerId>,
        }
        let presence = Presence {
            r#type: "room",
            peers: self.everybody(),
        };
        let text = serde_json::to_string(&presence).expect("strings always have a JSON form");
        self.presence.send_if_modified(|told| {
            let changed = told.as_str() != text;
            if changed {
                *told = text.into();
            }
            changed
        });
    }
}

/// Frees the name, unless another connection has taken it.
impl Drop for Ticket {
    fn drop(&mut self) {
        self.rooms.leave(self);
    }
}
