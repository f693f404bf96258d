//! Rooms, in which peers do for each other.

use std::time::Instant;

use bowline::{
    Event, JoinError, Message, PeerId, PublishError, PublishRefusal, RoomId, UnknownRoom,
};
use tokio::sync::mpsc;

use crate::endpoint::Endpoint;

/// A room that an endpoint is in; see [`bowline::Endpoint::join`]. Dropping it leaves the room.
///
/// Members are connected to each other without being accepted. [`Endpoint::connect`] gives a handle to the connection with one of
/// them, whose messages wait until somebody has it.
#[derive(Debug)]
pub struct Room {
    endpoint: Endpoint,
    id: RoomId,
    events: mpsc::Receiver<RoomEvent>,
}

/// What happens in a room.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RoomEvent {
    /// Somebody is in the room that was not there before.
    Joined(PeerId),
    /// Somebody is not in the room any more.
    Left {
        /// Who.
        peer: PeerId,
        /// Whether it went without a word: nobody reaches it.
        lost: bool,
    },
    /// Somebody has published something.
    Published {
        /// Who.
        from: PeerId,
        /// Its number among those that `from` has published since it joined, from 1.
        number: u64,
        /// The message.
        message: Message,
    },
    /// So many events were dropped here, since nobody took those before. [`Room::members`] tells who is there.
    Missed(u64),
}

impl Endpoint {
    /// Enters the room of this name.
    ///
    /// # Errors
    ///
    /// [`JoinError`]; nothing has changed then.
    pub fn join(&self, name: &str) -> Result<Room, JoinError> {
        let shared = self.shared();
        let (sender, events) = mpsc::channel(EVENTS);
        let mut state = shared.lock();
        let id = state.core.join(name, Instant::now())?;
        let listener = Listener { sender, missed: 0 };
        state.rooms.insert(id, listener);
        drop(state);
        shared.wake_driver();
        Ok(Room {
            endpoint: self.clone(),
            id,
            events,
        })
    }
}

impl Room {
    /// The next event. `None` once the endpoint has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<RoomEvent> {
        self.events.recv().await
    }

    /// Says that these peers are, or may be, in the room: those that a signalling server calls present, for one.
    pub fn introduce(&self, peers: &[PeerId]) {
        self.with(|mut room, now| room.introduce(peers, now));
    }

    /// Publishes a message to all members, without waiting; see [`bowline::Room::publish`]. Gives its number among ours.
    ///
    /// # Errors
    ///
    /// [`PublishError`], which hands the message back.
    pub fn publish(&self, message: impl Into<Message>) -> Result<u64, PublishError> {
        let (shared, message) = (self.endpoint.shared(), message.into());
        let mut state = shared.lock();
        let published = match state.core.room(self.id) {
            Ok(mut room) => room.publish(message, Instant::now()),
            Err(UnknownRoom) => {
                let reason = PublishRefusal::UnknownRoom;
                Err(PublishError { reason, message })
            }
        };
        drop(state);
        shared.wake_driver();
        published
    }

    /// Who is in the room besides us, in the order of their ids.
    #[must_use]
    pub fn members(&self) -> Vec<PeerId> {
        self.with(|room, _| room.members()).unwrap_or_default()
    }

    /// The members that we are connected to because both are in this room.
    #[must_use]
    pub fn neighbours(&self) -> Vec<PeerId> {
        self.with(|room, _| room.neighbours()).unwrap_or_default()
    }

    fn with<T>(&self, with: impl FnOnce(bowline::Room<'_>, Instant) -> T) -> Option<T> {
        let shared = self.endpoint.shared();
        let mut state = shared.lock();
        let room = state.core.room(self.id).ok()?;
        let outcome = with(room, Instant::now());
        drop(state);
        shared.wake_driver();
        Some(outcome)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.endpoint.shared().lock().rooms.remove(&self.id);
        self.with(|room, now| room.leave(now));
    }
}

/// Where the events of a room go.
#[derive(Debug)]
pub(crate) struct Listener {
    sender: mpsc::Sender<RoomEvent>,
    missed: u64,
}

impl Listener {
    /// Tells an event, or counts it where there is no room.
    pub(crate) fn tell(&mut self, event: RoomEvent) {
        if self.missed > 0 && self.sender.try_send(RoomEvent::Missed(self.missed)).is_ok() {
            self.missed = 0;
        }
        if self.missed > 0 || self.sender.try_send(event).is_err() {
            self.missed += 1;
        }
    }
}

/// The room of an event, and what those who listen there are told.
pub(crate) fn told(event: &Event) -> Option<(RoomId, RoomEvent)> {
    Some(match event {
        Event::MemberJoined { room, peer } => (*room, RoomEvent::Joined(*peer)),
        Event::MemberLeft { room, peer, lost } => {
            let (peer, lost) = (*peer, *lost);
            (*room, RoomEvent::Left { peer, lost })
        }
        Event::Published {
            room,
            from,
            number,
            message,
        } => {
            let (from, number, message) = (*from, *number, message.clone());
            let event = RoomEvent::Published {
                from,
                number,
                message,
            };
            (*room, event)
        }
        _ => return None,
    })
}

/// Events kept for a room until they are taken. Those beyond are dropped, and their number is told.
const EVENTS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_takes_is_counted_and_told() {
        let (sender, mut events) = mpsc::channel(2);
        let mut listener = Listener { sender, missed: 0 };
        let joined = |n: u32| RoomEvent::Joined(format!("peer-{n}").parse().expect("valid"));
        (0..5).for_each(|n| listener.tell(joined(n)));
        assert_eq!(events.recv().await, Some(joined(0)));
        assert_eq!(events.recv().await, Some(joined(1)));
        listener.tell(joined(5));
        assert_eq!(events.recv().await, Some(RoomEvent::Missed(3)));
        assert_eq!(events.recv().await, Some(joined(5)));
    }
}
