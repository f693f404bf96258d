//! Who offers, who yields and what is stale: the decisions of one pair of peers about offers, answers and ICE
//! generations.
//!
//! This is WebRTC's perfect negotiation, in which one side is *polite* and gives way; here the two identities decide
//! which. **The lower identity is impolite**: where two offers cross (glare), its own wins. The machine holds no
//! descriptions and does no work: it is told facts and answers with one [`Decision`], which its owner carries out.
//!
//! ```text
//!          on_connect               on_answer                    restart wanted, by us or the peer
//!   Idle -----------> Offering ------------------> Stable ------------------------------------> Restarting
//!     |                   |                        ^  ^ |  <-------------------------------------   (impolite
//!     | first offer       | glare lost,            |  +-+            on_answer                         only)
//!     v                   | or offer replaces ours |  restart offer
//!   Awaiting -------------+----------------------->+
//!                on_accept
//!
//!   Stable, Restarting: another first offer -> Awaiting; on_connect -> Offering.    Any: on_bye, on_refuse -> Idle
//! ```
//!
//! # Why both sides end in the same session
//!
//! Messages arrive late, twice or never, and nothing orders those of different sessions. Agreement rests on
//! statements that stay true once they are true:
//!
//! - *A session that a side has left is over.* It never returns to it, and remembers the last [`PAST_SESSIONS`] of
//!   them; the owner buries all of them in [`EndedSessions`](super::ended::EndedSessions) as well, and hands the last
//!   of them to the machine that comes after this one.
//! - *Whoever leaves a session says so* in its next offers and answers (`replaces`). Without that, a copy of the polite
//!   side's losing offer that arrives after its answer would look like a new session, and replace the one agreed on.
//!   And an offer that replaces the very session that we are offering is not glare: its sender took our offer and has
//!   moved on since, so to wait for its answer would be to wait in vain. The last one alone is not enough: of two
//!   that were left in a row, the first may be the one whose offer is still under way.
//! - *Whoever believes in a session that is over is told* (`unknown-session`), and starts another.
//! - *A generation only grows.* An offer whose generation is not above the current one is stale. One that is more
//!   than one above is taken: the offers between were superseded before they arrived. A generation at the highest
//!   number stays there; such a session can only be replaced.
//!
//! The tests prove it on a model of two machines and an adversarial link, over every reachable state.
//!
//! # Restarts
//!
//! Within a session the impolite side makes the ICE restart offers and the polite one asks for them, so that a lost
//! path, which both sides see at once, makes no glare. A restart offer of the polite side is taken all the same
//! (browsers make them), unless our own is pending, which wins. A request names the generation that it wants to
//! leave: once that is left, it is served. What the peer can cause (restarts and replacements) passes a token bucket,
//! what we want another one. A message that the bucket holds back, or that has overtaken the answer it builds on, is
//! deferred: it is not acknowledged, so that the sender repeats it.
//!
//! # What the plain mode cannot tell
//!
//! The recorded first offer of a session that this side has forgotten, replayed while another session is up, looks
//! exactly like a peer that restarted, and replaces the session. The time at which it was sent tells them apart
//! before this machine is asked (`peer/signalling.rs`), as long as nobody has altered it.

use std::time::{Duration, Instant};

use super::bucket::TokenBucket;
use super::envelope::MAX_REPLACES;
use crate::event::SignalRefusal;
use crate::id::{Generation, PeerId, SessionId};

/// The decision machine for all sessions with one remote peer.
///
/// Descriptions are validated before the machine is asked, because a decision cannot be taken back. Handling is
/// idempotent: the same message a second time is [`Decision::Ignore`]d.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Negotiation {
    role: Role,
    state: State,
    /// Sessions with this peer that are over, whichever side left them; the latest at the back.
    past: Vec<SessionId>,
    /// Limits the restarts that we want.
    ours: TokenBucket,
    /// Limits the restarts and replacements that the peer wants.
    theirs: TokenBucket,
}

/// What becomes of our offer when offers cross.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// It wins: ours is the lower identity.
    Impolite,
    /// It yields.
    Polite,
}

/// Where the negotiation stands. The diagram is above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// There is no session.
    Idle,
    /// Our first offer waits for its answer.
    Offering { session: SessionId, since: Instant },
    /// The peer's first offer waits for the application.
    Awaiting { session: SessionId, since: Instant },
    /// An offer and its answer agree.
    Stable {
        session: SessionId,
        generation: Generation,
    },
    /// Our offer to restart ICE waits for its answer. Only the impolite side gets here.
    Restarting {
        session: SessionId,
        generation: Generation,
        since: Instant,
    },
}

/// What the owner has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Make a transport for `session` and send its first offer, naming [`Negotiation::replaces`]. Drop the transport
    /// and the unacknowledged messages of `dropped`.
    Offer {
        /// The session that starts.
        session: SessionId,
        /// The session that is over.
        dropped: Option<SessionId>,
    },
    /// Restart ICE and offer it. Drop what is unacknowledged of earlier generations, but for answers: the peer cannot
    /// take this offer before it has taken them.
    OfferRestart {
        /// The session.
        session: SessionId,
        /// The generation that starts.
        generation: Generation,
    },
    /// Send an `ice-restart` request. Drop earlier ones.
    AskForRestart {
        /// The session.
        session: SessionId,
        /// The generation that is to be left.
        generation: Generation,
    },
    /// Keep the peer's offer until the application accepts or refuses it. Drop the transport, the waiting offer and
    /// the unacknowledged messages of `dropped`, which it replaces.
    Await {
        /// The session that the peer offers.
        session: SessionId,
        /// The session that is over.
        dropped: Option<SessionId>,
    },
    /// Make a transport for `session`, apply the offer that came or was kept, and answer it, naming
    /// [`Negotiation::replaces`]. Drop the transport and the unacknowledged messages of `dropped`: our own offer
    /// has yielded.
    Answer {
        /// The session.
        session: SessionId,
        /// The session of our own offer, which is over.
        dropped: Option<SessionId>,
        /// How long the offer waited here.
        took: Duration,
    },
    /// Apply the peer's offer to restart ICE and answer it. Drop what is unacknowledged of earlier generations.
    AnswerRestart {
        /// The session.
        session: SessionId,
        /// The generation that starts.
        generation: Generation,
    },
    /// Apply the answer. Drop the offer if it is unacknowledged still.
    Complete {
        /// The session.
        session: SessionId,
        /// The generation that starts.
        generation: Generation,
        /// The time since the offer was made.
        took: Duration,
    },
    /// Say `bye` with the reason `refused`. The session is over.
    Refuse {
        /// The session that the peer offered.
        session: SessionId,
    },
    /// Nothing: what is wanted is under way, or there is nothing to accept or refuse.
    UnderWay,
    /// Nothing now: there were too many restarts.
    TooSoon {
        /// When the next one is allowed.
        until: Instant,
    },
    /// Nothing yet: the message is not acknowledged and not remembered as received, so that it comes again.
    Defer,
    /// Nothing: the message is refused. It is acknowledged all the same, but for one of an unknown session:
    /// [`reply_to_unknown`](super::ended::reply_to_unknown) replies to that.
    Ignore(SignalRefusal),
}

/// What a session id means to this pair of peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is the session that is agreed on, or being agreed on.
    Current,
    /// It is over: what comes of it is late or replayed.
    Over,
    /// It was never heard of, or too long ago.
    Unknown,
}

impl Negotiation {
    /// A machine that decides for `us` in the sessions with `peer`, another identity. The two have `left` sessions
    /// before, the latest last.
    pub(crate) fn new(us: PeerId, peer: PeerId, left: impl Iterator<Item = SessionId>) -> Self {
        let mut machine = Self {
            role: if us < peer || planted!(GlareBothWin) {
                Role::Impolite
            } else {
                Role::Polite
            },
            state: State::Idle,
            past: Vec::new(),
            ours: TokenBucket::new(RESTART_BURST, RESTART_INTERVAL),
            theirs: TokenBucket::new(RESTART_BURST, RESTART_INTERVAL),
        };
        for session in left {
            machine.bury(session);
        }
        machine
    }

    /// The application or the reconnection ladder wants a session; `fresh` names it, should it be ours to start.
    ///
    /// An offer of the peer that waits is accepted instead. A session that is up or being offered is left.
    pub(crate) fn on_connect(&mut self, fresh: SessionId, now: Instant) -> Decision {
        match self.state {
            State::Awaiting { .. } => self.on_accept(now),
            State::Idle
            | State::Offering { .. }
            | State::Stable { .. }
            | State::Restarting { .. } => {
                let dropped = self.leave();
                self.state = State::Offering {
                    session: fresh,
                    since: now,
                };
                Decision::Offer {
                    session: fresh,
                    dropped,
                }
            }
        }
    }

    /// The application accepts the peer's offer.
    pub(crate) fn on_accept(&mut self, now: Instant) -> Decision {
        match self.state {
            State::Awaiting { session, since } => {
                self.state = State::Stable {
                    session,
                    generation: FIRST,
                };
                let took = now.saturating_duration_since(since);
                Decision::Answer {
                    session,
                    dropped: None,
                    took,
                }
            }
            State::Idle
            | State::Offering { .. }
            | State::Stable { .. }
            | State::Restarting { .. } => Decision::UnderWay,
        }
    }

    /// The application refuses the peer's offer, or let its time pass.
    pub(crate) fn on_refuse(&mut self) -> Decision {
        match self.state {
            State::Awaiting { session, .. } => {
                self.leave();
                Decision::Refuse { session }
            }
            State::Idle
            | State::Offering { .. }
            | State::Stable { .. }
            | State::Restarting { .. } => Decision::UnderWay,
        }
    }

    /// The path is lost, or the network changed: ICE has to restart.
    ///
    /// A restart that waits for its answer is superseded by the new one, because what it offers may be lost as well.
    pub(crate) fn on_restart_wanted(&mut self, now: Instant) -> Decision {
        match self.state {
            State::Stable {
                session,
                generation,
            }
            | State::Restarting {
                session,
                generation,
                ..
            } => match (self.ours.take(now), self.role) {
                (Ok(()), Role::Impolite) => self.restart(session, generation, now),
                (Ok(()), Role::Polite) => Decision::AskForRestart {
                    session,
                    generation,
                },
                (Err(until), _) => Decision::TooSoon { until },
            },
            State::Idle | State::Offering { .. } | State::Awaiting { .. } => Decision::UnderWay,
        }
    }

    /// The session is over without a successor: by a `bye` of either side, or by a fault. Remembers it also when it
    /// was not heard of, because its offer may come later.
    pub(crate) fn on_bye(&mut self, session: SessionId) -> Standing {
        let standing = self.standing(session);
        match standing {
            Standing::Current => {
                self.leave();
            }
            Standing::Unknown => self.bury(session),
            Standing::Over => {}
        }
        standing
    }

    /// An offer came from the peer.
    pub(crate) fn handle_offer(
        &mut self,
        session: SessionId,
        generation: Generation,
        replaces: &[SessionId],
        now: Instant,
    ) -> Decision {
        self.note_replaced(session, replaces);
        match self.standing(session) {
            Standing::Current => self.handle_restart_offer(generation, now),
            Standing::Over | Standing::Unknown if generation != FIRST => {
                Decision::Ignore(SignalRefusal::UnknownSession)
            }
            Standing::Over => Decision::Ignore(SignalRefusal::Stale),
            Standing::Unknown => self.handle_first_offer(session, replaces, now),
        }
    }

    /// An answer came from the peer.
    pub(crate) fn handle_answer(
        &mut self,
        session: SessionId,
        generation: Generation,
        replaces: &[SessionId],
        now: Instant,
    ) -> Decision {
        self.note_replaced(session, replaces);
        let (offered, since) = match self.state {
            State::Offering { session, since } => ((session, FIRST), since),
            State::Restarting {
                session,
                generation,
                since,
            } => ((session, generation), since),
            State::Idle | State::Awaiting { .. } | State::Stable { .. } => {
                return self.refuse_unexpected(session);
            }
        };
        let generation = if planted!(AnswerOfAnother) {
            offered.1
        } else {
            generation
        };
        if (session, generation) != offered {
            return self.refuse_unexpected(session);
        }
        self.state = State::Stable {
            session,
            generation,
        };
        let took = now.saturating_duration_since(since);
        Decision::Complete {
            session,
            generation,
            took,
        }
    }

    /// The peer asks us to restart ICE.
    pub(crate) fn handle_restart_request(
        &mut self,
        session: SessionId,
        generation: Generation,
        now: Instant,
    ) -> Decision {
        let asked = (session, generation);
        match self.state {
            State::Stable {
                session,
                generation,
            } if asked == (session, generation) && self.role == Role::Impolite => {
                match self.theirs.take(now) {
                    Ok(()) => self.restart(session, generation, now),
                    Err(_) => Decision::Defer,
                }
            }
            State::Offering { session, .. } if asked == (session, FIRST) => Decision::Defer,
            State::Restarting {
                session,
                generation,
                ..
            } if asked == (session, generation) => Decision::Defer,
            State::Idle
            | State::Offering { .. }
            | State::Awaiting { .. }
            | State::Stable { .. }
            | State::Restarting { .. } => self.refuse_unexpected(session),
        }
    }

    /// What `session` means to this pair.
    pub(crate) fn standing(&self, session: SessionId) -> Standing {
        if self.session() == Some(session) {
            Standing::Current
        } else if self.past.contains(&session) {
            Standing::Over
        } else {
            Standing::Unknown
        }
    }

    /// The session that is agreed on, or being agreed on.
    pub(crate) fn session(&self) -> Option<SessionId> {
        match self.state {
            State::Idle => None,
            State::Offering { session, .. }
            | State::Awaiting { session, .. }
            | State::Stable { session, .. }
            | State::Restarting { session, .. } => Some(session),
        }
    }

    /// The sessions to name as replaced in an offer or answer that is made now, the latest last.
    pub(crate) fn replaces(&self) -> &[SessionId] {
        if planted!(ReplacesUnsaid) {
            return &[];
        }
        let unnamed = self.past.len().saturating_sub(MAX_REPLACES);
        self.past.get(unnamed..).unwrap_or_default()
    }

    /// The sessions that are over and remembered, the latest last: to be buried when the machine is dropped.
    pub(crate) fn past(&self) -> &[SessionId] {
        &self.past
    }

    /// An offer of a session that we know nothing of.
    fn handle_first_offer(
        &mut self,
        session: SessionId,
        replaces: &[SessionId],
        now: Instant,
    ) -> Decision {
        match self.state {
            State::Idle => self.await_accept(session, now),
            State::Offering { session: ours, .. } => {
                if self.role == Role::Impolite && !replaces.contains(&ours) {
                    self.bury(session);
                    return Decision::Ignore(SignalRefusal::Stale);
                }
                let dropped = self.leave();
                self.state = State::Stable {
                    session,
                    generation: FIRST,
                };
                Decision::Answer {
                    session,
                    dropped,
                    took: Duration::ZERO,
                }
            }
            State::Awaiting { .. } | State::Stable { .. } | State::Restarting { .. } => {
                match self.theirs.take(now) {
                    Ok(()) => self.await_accept(session, now),
                    Err(_) => Decision::Defer,
                }
            }
        }
    }

    /// An offer of the current session.
    fn handle_restart_offer(&mut self, offered: Generation, now: Instant) -> Decision {
        match self.state {
            State::Stable {
                session,
                generation,
            } if offered > generation => match self.theirs.take(now) {
                Ok(()) => {
                    self.state = State::Stable {
                        session,
                        generation: offered,
                    };
                    Decision::AnswerRestart {
                        session,
                        generation: offered,
                    }
                }
                Err(_) => Decision::Defer,
            },
            State::Offering { .. } if offered > FIRST => Decision::Defer,
            State::Idle
            | State::Offering { .. }
            | State::Awaiting { .. }
            | State::Stable { .. }
            | State::Restarting { .. } => Decision::Ignore(SignalRefusal::Stale),
        }
    }

    fn await_accept(&mut self, session: SessionId, now: Instant) -> Decision {
        let dropped = self.leave();
        self.state = State::Awaiting {
            session,
            since: now,
        };
        Decision::Await { session, dropped }
    }

    fn restart(&mut self, session: SessionId, from: Generation, now: Instant) -> Decision {
        let generation = Generation(from.0.saturating_add(1));
        self.state = State::Restarting {
            session,
            generation,
            since: now,
        };
        Decision::OfferRestart {
            session,
            generation,
        }
    }

    /// A message that only a sender who believes in the session sends, and that nothing waits for.
    fn refuse_unexpected(&self, session: SessionId) -> Decision {
        Decision::Ignore(match self.standing(session) {
            Standing::Current => SignalRefusal::Stale,
            Standing::Over | Standing::Unknown => SignalRefusal::UnknownSession,
        })
    }

    /// The sender of a message about `session` says which ones it has left before. Our current one is left only by
    /// what follows from the message itself.
    fn note_replaced(&mut self, session: SessionId, replaces: &[SessionId]) {
        for replaced in replaces.iter().filter(|replaced| **replaced != session) {
            if self.standing(*replaced) == Standing::Unknown {
                self.bury(*replaced);
            }
        }
    }

    /// Leaves the current session for good.
    fn leave(&mut self) -> Option<SessionId> {
        let left = self.session();
        self.state = State::Idle;
        if let Some(session) = left {
            self.bury(session);
        }
        left
    }

    fn bury(&mut self, session: SessionId) {
        if self.past.len() == PAST_SESSIONS {
            self.past.remove(0);
        }
        self.past.push(session);
    }
}

/// The generation of a first offer.
const FIRST: Generation = Generation(0);

/// How many sessions that are over a pair remembers: those that either side may name, if they are all different.
const PAST_SESSIONS: usize = 2 * MAX_REPLACES;

/// How many restarts pass at once.
const RESTART_BURST: u32 = 3;

/// After a burst, one restart passes in this time.
const RESTART_INTERVAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
