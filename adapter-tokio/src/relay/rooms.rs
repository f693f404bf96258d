use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline::PeerId;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::limits::{Counters, RelayLimits};
use crate::signalling::RoomName;

/// Who is where. A room is there as long as somebody is in it.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    /// By name; the room without a name is that of the peers that named none.
    rooms: Mutex<BTreeMap<Option<RoomName>, Room>>,
    /// Whether the relay is about to stop.
    stopping: AtomicBool,
}

#[derive(Debug)]
struct Room {
    /// The queue of the connection that has a name. It is dropped when another takes the name, which ends the first.
    members: BTreeMap<PeerId, mpsc::Sender<Utf8Bytes>>,
    /// The last word on who is here. What a member misses of it is superseded anyhow.
    presence: watch::Sender<Utf8Bytes>,
}

/// A member's place in its room, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) peer: PeerId,
    pub(super) room: Option<RoomName>,
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
    /// Gives the name `peer` in `room` to the connection that drains the returned feed. The one that had it loses its
    /// queue.
    ///
    /// # Errors
    ///
    /// [`RoomFull`], when the room has a name and its limit is reached by others.
    pub(super) fn join(
        self: &Arc<Self>,
        peer: PeerId,
        room: Option<RoomName>,
        limits: &RelayLimits,
    ) -> Result<(Ticket, Feed), RoomFull> {
        let (queue, messages) = mpsc::channel(limits.queue.max(1));
        let mut rooms = self.lock();
        if room.is_some()
            && let Some(others) = rooms.get(&room)
            && others.members.len() >= limits.room
            && !others.members.contains_key(&peer)
        {
            return Err(RoomFull);
        }
        let here = rooms.entry(room.clone()).or_insert_with(Room::new);
        let presence = here.presence.subscribe();
        let weak = queue.downgrade();
        here.members.insert(peer, queue);
        if room.is_some() {
            here.announce();
        }
        let ticket = Ticket {
            peer,
            room,
            queue: weak,
            rooms: Arc::clone(self),
        };
        Ok((ticket, Feed { messages, presence }))
    }

    /// Forwards `text` from a member to `to` in the same room. The newest message is dropped when its queue is full.
    pub(super) fn forward(&self, from: &Ticket, to: PeerId, text: Utf8Bytes, counters: &Counters) {
        let queue = self
            .lock()
            .get(&from.room)
            .and_then(|room| room.members.get(&to))
            .cloned();
        let counter = match queue.map(|queue| queue.try_send(text)) {
            Some(Ok(())) => &counters.forwarded,
            Some(Err(_)) => &counters.queue_full,
            None => &counters.unknown_destination,
        };
        counter.add();
    }

    /// The relay is about to stop. That its connections end tells nobody anything of who is still there.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Peers in all rooms.
    pub(super) fn peers(&self) -> usize {
        self.lock().values().map(|room| room.members.len()).sum()
    }

    fn leave(&self, ticket: &Ticket) {
        let mut rooms = self.lock();
        let Some(room) = rooms.get_mut(&ticket.room) else {
            return;
        };
        let ours = ticket.queue.upgrade();
        let has = room.members.get(&ticket.peer).zip(ours);
        if !has.is_some_and(|(has, ours)| has.same_channel(&ours)) {
            return;
        }
        room.members.remove(&ticket.peer);
        if room.members.is_empty() {
            rooms.remove(&ticket.room);
        } else if ticket.room.is_some() && !self.stopping.load(Ordering::SeqCst) {
            room.announce();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<RoomName>, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn new() -> Self {
        Self {
            members: BTreeMap::new(),
            presence: watch::Sender::new(Utf8Bytes::default()),
        }
    }

    /// Tells every member who is here.
    fn announce(&self) {
        #[derive(Serialize)]
        struct Presence {
            r#type: &'static str,
            peers: Vec<PeerId>,
        }
        let presence = Presence {
            r#type: "room",
            peers: self.members.keys().copied().collect(),
        };
        let text = serde_json::to_string(&presence).expect("strings always have a JSON form");
        self.presence.send_replace(text.into());
    }
}

/// Frees the name, unless another connection has taken it.
impl Drop for Ticket {
    fn drop(&mut self) {
        self.rooms.leave(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> PeerId {
        PeerId::new(name).expect("valid")
    }

    fn room(name: &str) -> Option<RoomName> {
        Some(RoomName::new(name).expect("valid"))
    }

    fn told(feed: &mut Feed) -> Option<String> {
        let changed = feed.presence.has_changed().expect("the room is there");
        changed.then(|| feed.presence.borrow_and_update().as_str().to_owned())
    }

    #[test]
    fn who_joins_and_who_is_there_are_told_and_those_elsewhere_are_not() {
        let (rooms, limits) = (Arc::new(Rooms::default()), RelayLimits::default());
        let (_b, mut bob) = rooms.join(id("bob"), room("a"), &limits).expect("room");
        let (_c, mut carol) = rooms.join(id("carol"), room("b"), &limits).expect("room");
        assert_eq!(
            told(&mut carol).as_deref(),
            Some(r#"{"type":"room","peers":["carol"]}"#)
        );
        assert_eq!(
            told(&mut bob).as_deref(),
            Some(r#"{"type":"room","peers":["bob"]}"#)
        );
        let (alice_leaves, mut alice) = rooms.join(id("alice"), room("a"), &limits).expect("room");
        for member in [&mut alice, &mut bob] {
            assert_eq!(
                told(member).as_deref(),
                Some(r#"{"type":"room","peers":["alice","bob"]}"#)
            );
        }
        drop(alice_leaves);
        assert_eq!(
            told(&mut bob).as_deref(),
            Some(r#"{"type":"room","peers":["bob"]}"#)
        );
        assert_eq!(told(&mut carol), None);
    }

    #[test]
    fn a_room_without_a_name_tells_nothing_and_has_no_limit_of_its_own() {
        let limits = RelayLimits {
            room: 1,
            ..RelayLimits::default()
        };
        let rooms = Arc::new(Rooms::default());
        let (_a, mut alice) = rooms.join(id("alice"), None, &limits).expect("room");
        let (_b, _bob) = rooms.join(id("bob"), None, &limits).expect("room");
        assert_eq!(told(&mut alice), None);
        assert_eq!(rooms.peers(), 2);
    }

    #[test]
    fn a_full_room_refuses_a_further_peer_but_not_one_that_comes_back() {
        let limits = RelayLimits {
            room: 2,
            ..RelayLimits::default()
        };
        let rooms = Arc::new(Rooms::default());
        let (first, _alice) = rooms.join(id("alice"), room("a"), &limits).expect("room");
        let (_b, _bob) = rooms.join(id("bob"), room("a"), &limits).expect("room");
        assert_eq!(
            rooms.join(id("carol"), room("a"), &limits).err(),
            Some(RoomFull)
        );
        let (again, _alice) = rooms
            .join(id("alice"), room("a"), &limits)
            .expect("her place");
        drop(first);
        assert_eq!(rooms.peers(), 2, "the name belongs to the newer connection");
        drop(again);
        assert!(rooms.join(id("carol"), room("a"), &limits).is_ok());
    }

    #[test]
    fn a_relay_that_stops_does_not_tell_that_its_members_leave() {
        let (rooms, limits) = (Arc::new(Rooms::default()), RelayLimits::default());
        let (_a, mut alice) = rooms.join(id("alice"), room("a"), &limits).expect("room");
        let (leaves, _bob) = rooms.join(id("bob"), room("a"), &limits).expect("room");
        assert!(told(&mut alice).is_some());
        rooms.stop();
        drop(leaves);
        assert_eq!(told(&mut alice), None);
        assert_eq!(rooms.peers(), 1);
    }

    #[test]
    fn an_empty_room_is_forgotten() {
        let (rooms, limits) = (Arc::new(Rooms::default()), RelayLimits::default());
        drop(rooms.join(id("alice"), room("a"), &limits));
        assert!(rooms.lock().is_empty());
    }
}
