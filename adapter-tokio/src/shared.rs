//! What the driver and the handles share: the core behind a lock.
//!
//! Handles call the core directly and then wake the driver, which alone does input and output. So a message is queued
//! or not at one definite moment, which makes cancelling harmless, and no call waits for the driver. The lock is held
//! for one call, or for one bounded turn of the driver, and never across an await.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bowline::{Cause, Event, PeerId, PeerState, RoomId};
use tokio::sync::{Notify, broadcast, watch};

use crate::connection::OpenedChannel;
use crate::endpoint::IncomingPolicy;
use crate::ledger::Undelivered;
use crate::room::{self, Listener};
use crate::session::Session;
use crate::socket::Sockets;

/// What the driver and all handles of one endpoint share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: PeerId,
    state: Mutex<State>,
    wake: Notify,
    /// A connection waits to be accepted, or the endpoint ends.
    pub(crate) knocked: Notify,
    pub(crate) ended: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(core: bowline::Endpoint, policy: IncomingPolicy, farewell: Duration) -> Self {
        Self {
            id: core.id(),
            state: Mutex::new(State {
                core,
                sessions: BTreeMap::new(),
                incoming: VecDeque::new(),
                rooms: BTreeMap::new(),
                events: Some(broadcast::Sender::new(EVENTS)),
                policy,
                life: Life::Open,
                farewell,
                new_sockets: None,
                locals: Vec::new(),
            }),
            wake: Notify::new(),
            knocked: Notify::new(),
            ended: watch::Sender::new(false),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wake_driver(&self) {
        self.wake.notify_one();
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Ends everything that is not over: the driver is gone, or goes.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.life = Life::Ended;
        let sessions = std::mem::take(&mut state.sessions);
        state.incoming.clear();
        state.rooms.clear();
        state.events = None;
        drop(state);
        for session in sessions.into_values().flatten().filter(|s| !s.is_over()) {
            session.transition_to(PeerState::Closed, Cause::LocalClose, Instant::now(), None);
        }
        self.ended.send_replace(true);
        self.knocked.notify_waiters();
    }

    /// Brings one event of the core to those whom it concerns.
    pub(crate) fn on_event(&self, state: &mut State, event: Event, now: Instant) {
        let observers = state
            .events
            .as_ref()
            .filter(|events| events.receiver_count() > 0);
        if let Some(observers) = observers.filter(|_| !matches!(event, Event::Message { .. })) {
            // It fails when the last receiver has just gone.
            let _ = observers.send(event.clone());
        }
        if state.on_event(event, now) {
            self.knocked.notify_waiters();
        }
    }
}

/// The core, and who uses it.
pub(crate) struct State {
    pub(crate) core: bowline::Endpoint,
    /// The sessions of each peer, oldest first: only the last one is known to the core by now, those before it wait
    /// for their terminal event.
    sessions: BTreeMap<PeerId, VecDeque<Arc<Session>>>,
    /// Sessions that a peer began and that nobody has taken.
    pub(crate) incoming: VecDeque<Arc<Session>>,
    /// Who listens in rooms.
    pub(crate) rooms: BTreeMap<RoomId, Listener>,
    /// Where observers listen, until the end.
    pub(crate) events: Option<broadcast::Sender<Event>>,
    policy: IncomingPolicy,
    pub(crate) life: Life,
    /// How long the last goodbyes may take.
    farewell: Duration,
    /// Sockets that the driver is to use in place of those it has.
    new_sockets: Option<Sockets>,
    /// The addresses that are announced.
    pub(crate) locals: Vec<SocketAddr>,
}

/// The life of an endpoint.
///
/// ```text
/// Open --> Orphaned --> Closing --> Ended
///   +--------------------^            ^
///   +---------------------------------+ (aborted)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Somebody holds the endpoint.
    Open,
    /// Nobody does, but connections are held.
    Orphaned,
    /// Goodbyes are said, until then at the latest.
    Closing(Instant),
    /// The driver is gone, or goes without a further word.
    Ended,
}

impl State {
    /// The peer of `session` in the core, unless the session is over.
    pub(crate) fn peer(&mut self, session: &Arc<Session>) -> Option<bowline::Peer<'_>> {
        let current = self.current(session.peer)?;
        if Arc::ptr_eq(current, session) {
            self.core.peer(session.peer).ok()
        } else {
            None
        }
    }

    /// The newest session of a peer.
    pub(crate) fn current(&self, peer: PeerId) -> Option<&Arc<Session>> {
        self.sessions.get(&peer)?.back()
    }

    /// Adds a session that the core has just begun.
    pub(crate) fn begin(&mut self, peer: PeerId) -> Arc<Session> {
        let session = Arc::new(Session::new(peer));
        self.sessions
            .entry(peer)
            .or_default()
            .push_back(Arc::clone(&session));
        session
    }

    /// Ends a session that nobody holds any more.
    pub(crate) fn hang_up(&mut self, session: &Arc<Session>, now: Instant) {
        session.abandon();
        if self
            .current(session.peer)
            .is_some_and(|current| Arc::ptr_eq(current, session))
            && self.core.refuse(session.peer, now).is_err()
            && let Ok(mut peer) = self.core.peer(session.peer)
        {
            peer.close(now);
        }
        self.close_if_unused(now);
    }

    /// Notes that nobody holds the endpoint any more.
    pub(crate) fn orphan(&mut self, now: Instant) {
        if self.life == Life::Open {
            self.life = Life::Orphaned;
        }
        self.incoming.clear();
        // Those that peers have begun, or rooms have made, and nobody has asked for.
        let mut sessions: Vec<_> = self.sessions.values().flatten().cloned().collect();
        sessions.retain(|session| !session.record().is_held());
        for session in sessions {
            self.hang_up(&session, now);
        }
        self.close_if_unused(now);
    }

    /// Says goodbye to every peer.
    pub(crate) fn close(&mut self, now: Instant) {
        if matches!(self.life, Life::Open | Life::Orphaned) {
            self.core.close(now);
            self.life = Life::Closing(now + self.farewell);
        }
    }

    /// Has the driver use other sockets from its next turn on.
    pub(crate) fn replace_sockets(&mut self, sockets: Sockets) {
        self.locals = sockets.locals().collect();
        self.new_sockets = Some(sockets);
    }

    pub(crate) fn take_new_sockets(&mut self) -> Option<Sockets> {
        self.new_sockets.take()
    }

    fn close_if_unused(&mut self, now: Instant) {
        if self.life == Life::Orphaned && self.sessions.values().flatten().all(|s| s.is_abandoned())
        {
            self.close(now);
        }
    }

    /// Whether the driver has nothing to do any more.
    pub(crate) fn is_finished(&self, now: Instant) -> bool {
        match self.life {
            Life::Open | Life::Orphaned => false,
            Life::Closing(deadline) => now >= deadline || self.core.is_closed(),
            Life::Ended => true,
        }
    }

    /// Gives whether `accept` has something new to look at.
    fn on_event(&mut self, event: Event, now: Instant) -> bool {
        if let Some((room, event)) = room::told(&event) {
            if let Some(listener) = self.rooms.get_mut(&room) {
                listener.tell(event);
            }
            return false;
        }
        match event {
            Event::Initialised { peer } => self.on_initialised(peer),
            Event::Incoming { peer, .. } => return self.on_incoming(peer, now),
            Event::State {
                peer,
                to,
                cause,
                at,
                deadline,
                explanation,
                ..
            } => {
                if let Some(session) = self.oldest(peer).cloned() {
                    session.record().explanation = explanation.map(|boxed| *boxed);
                    self.on_state(&session, to, now);
                    session.transition_to(to, cause, at, deadline);
                }
            }
            Event::Message {
                peer,
                channel,
                message,
            } => {
                if let Some(session) = self.oldest(peer) {
                    // Nobody will read it, and nobody will release it: the peer is being closed.
                    if !session.is_abandoned() {
                        session.record().inbox.push(channel, message);
                        session.arrived.notify_waiters();
                    }
                }
            }
            Event::ChannelOpen {
                peer,
                channel,
                label,
                protocol,
                ordering,
                reliability,
                remote: true,
            } => {
                if let Some(session) = self.oldest(peer) {
                    let id = channel;
                    session.on_channel_opened(OpenedChannel {
                        id,
                        label,
                        protocol,
                        ordering,
                        reliability,
                    });
                }
            }
            Event::ChannelClosed { peer, channel } => {
                if let Some(session) = self.oldest(peer) {
                    session.on_channel_closed(channel);
                }
            }
            Event::Writable { peer, channel } => {
                if let Some(session) = self.oldest(peer) {
                    session.on_writable(channel);
                }
            }
            Event::Sent {
                peer,
                channel,
                through,
            } => {
                if let Some(session) = self.oldest(peer) {
                    session.record().ledger.on_sent(channel, through);
                    session.settled.notify_waiters();
                }
            }
            Event::Delivered {
                peer,
                channel,
                through,
            } => {
                if let Some(session) = self.oldest(peer) {
                    session.record().ledger.on_delivered(channel, through);
                    session.settled.notify_waiters();
                }
            }
            Event::NotDelivered {
                peer,
                channel,
                first,
                last,
                maybe,
            } => {
                if let Some(session) = self.oldest(peer) {
                    session.record().ledger.on_lost(Undelivered {
                        channel,
                        first,
                        last,
                        maybe,
                    });
                    session.settled.notify_waiters();
                }
            }
            Event::Restored { peer, kept, .. } => {
                if let Some(session) = self.oldest(peer) {
                    session.restore(kept);
                }
            }
            Event::Metrics { peer, metrics } => {
                if let Some(session) = self.oldest(peer) {
                    session.record().metrics = *metrics;
                }
            }
            // What only observers want to know.
            _ => {}
        }
        false
    }

    /// The session that an event of `peer` is about: events come in order, so the oldest that is not over.
    fn oldest(&self, peer: PeerId) -> Option<&Arc<Session>> {
        self.sessions.get(&peer)?.front()
    }

    fn on_initialised(&mut self, peer: PeerId) {
        let known = self
            .sessions
            .get(&peer)
            .into_iter()
            .flatten()
            .any(|session| session.announce());
        if !known {
            self.begin(peer).announce();
        }
    }

    fn on_incoming(&mut self, peer: PeerId, now: Instant) -> bool {
        let Some(session) = self.oldest(peer).cloned() else {
            return false;
        };
        if session.record().is_held() {
            return false;
        }
        if self.life != Life::Open {
            self.hang_up(&session, now);
            return false;
        }
        match self.policy {
            // It fails when the offer is gone already; the state tells.
            IncomingPolicy::Accept => drop(self.core.accept(peer, now)),
            IncomingPolicy::Ask => session.set_offered(true),
        }
        self.incoming.push_back(session);
        true
    }

    fn on_state(&mut self, session: &Arc<Session>, to: PeerState, now: Instant) {
        session.set_offered(session.is_offered() && to == PeerState::New);
        if to.is_terminal() {
            self.forget(session);
            self.close_if_unused(now);
        }
    }

    fn forget(&mut self, session: &Arc<Session>) {
        self.incoming
            .retain(|waiting| !Arc::ptr_eq(waiting, session));
        if let Some(sessions) = self.sessions.get_mut(&session.peer) {
            sessions.pop_front();
            if sessions.is_empty() {
                self.sessions.remove(&session.peer);
            }
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

/// Events kept for each observer of an endpoint. One that falls further behind is told how many it missed.
const EVENTS: usize = 1_024;
