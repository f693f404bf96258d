//! Sessions that are over: remembered so that what is late or replayed of them changes nothing, and farewells that
//! are repeated when the session they end is gone already.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::envelope::{Body, ByeReason, Envelope};
use super::retry::{Dispatch, Repeats};
use crate::config::Timing;
use crate::id::{Generation, PeerId, SessionId};
use crate::rng::Rng;

/// The last sessions that ended, with whom. What comes of them is acknowledged and otherwise ignored.
///
/// A session whose `bye` came before its offer belongs here too. At the bound the oldest is forgotten; what is
/// replayed of that one is taken for a new session. One peer has a share only, so that it cannot make us forget
/// the sessions of others.
#[derive(Debug)]
pub(crate) struct EndedSessions {
    capacity: usize,
    order: VecDeque<(PeerId, SessionId)>,
    known: BTreeSet<(PeerId, SessionId)>,
}

impl EndedSessions {
    /// Remembers `capacity` sessions.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            order: VecDeque::new(),
            known: BTreeSet::new(),
        }
    }

    /// Remembers a session.
    pub(crate) fn bury(&mut self, peer: PeerId, session: SessionId) {
        if self.capacity == 0 || !self.known.insert((peer, session)) {
            return;
        }
        self.order.push_back((peer, session));
        let of_peer = |entry: &(PeerId, SessionId)| entry.0 == peer;
        let share = (self.capacity / SHARES).max(LEAST_SHARE);
        let is_over = self.order.iter().filter(|entry| of_peer(entry)).count() > share;
        let oldest = if is_over {
            self.order.iter().position(of_peer)
        } else {
            (self.order.len() > self.capacity).then_some(0)
        };
        let forgotten = oldest.and_then(|at| self.order.remove(at));
        forgotten.map(|entry| self.known.remove(&entry));
    }

    /// The sessions that are remembered, with whom, the latest last.
    pub(crate) fn all(&self) -> impl Iterator<Item = (PeerId, SessionId)> + '_ {
        self.order.iter().copied()
    }

    /// The sessions with a peer that are remembered, the latest last.
    pub(crate) fn with(&self, peer: PeerId) -> impl Iterator<Item = SessionId> + '_ {
        let order = self.order.iter();
        order.filter_map(move |(with, session)| (*with == peer).then_some(*session))
    }

    /// Whether the session is remembered.
    pub(crate) fn contains(&self, peer: PeerId, session: SessionId) -> bool {
        self.known.contains(&(peer, session))
    }
}

/// One peer may have this part of the sessions that are remembered.
const SHARES: usize = 8;
/// Or so many, where that is more: what a peer may name as left in one message, several times over.
const LEAST_SHARE: usize = 32;

/// Farewells of sessions that are gone: repeated until they are acknowledged or their time is over.
#[derive(Debug)]
pub(crate) struct Farewells {
    capacity: usize,
    linger: Duration,
    repeats: Repeats<Key>,
    deadlines: BTreeMap<Key, Instant>,
    /// One for each entry of `deadlines`.
    by_deadline: BTreeSet<(Instant, Key)>,
}

type Key = (PeerId, SessionId);

impl Farewells {
    /// Room for `capacity` farewells, each repeated for the configured `close_linger`.
    pub(crate) fn new(capacity: usize, timing: &Timing, rng: Rng) -> Self {
        Self {
            capacity,
            linger: timing.close_linger,
            repeats: Repeats::new(timing, rng),
            deadlines: BTreeMap::new(),
            by_deadline: BTreeSet::new(),
        }
    }

    /// Takes over a farewell, which is due at once. At the bound the one whose time is over first is dropped.
    pub(crate) fn insert(&mut self, farewell: Envelope, now: Instant) {
        let key = (farewell.to, farewell.session);
        self.remove(key);
        if self.deadlines.len() >= self.capacity
            && let Some((_, oldest)) = self.by_deadline.first()
        {
            self.remove(*oldest);
        }
        let deadline = now + self.linger;
        self.deadlines.insert(key, deadline);
        self.by_deadline.insert((deadline, key));
        self.repeats.insert(key, farewell, now);
    }

    /// The link is down, or back.
    pub(crate) fn set_held(&mut self, held: bool, now: Instant) {
        self.repeats.set_held(held, now);
    }

    /// Takes an acknowledgement of the message `seq` of a session that is gone. Whether it ended a farewell.
    pub(crate) fn on_ack(&mut self, from: PeerId, session: SessionId, seq: u64) -> bool {
        let key = (from, session);
        let ends = self
            .repeats
            .sent(key)
            .is_some_and(|farewell| farewell.seq == seq);
        if ends {
            self.remove(key);
        }
        ends
    }

    /// Gives one farewell that is due, and drops those whose time is over. Call until `None`.
    #[must_use]
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Dispatch<'_>> {
        while let Some((_, key)) = self.by_deadline.first().filter(|(at, _)| *at <= now) {
            self.remove(*key);
        }
        self.repeats.poll(now)
    }

    /// When [`Farewells::poll`] has something to do next.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.by_deadline.first().map(|(at, _)| *at);
        self.repeats
            .poll_timeout()
            .into_iter()
            .chain(deadline)
            .min()
    }

    /// Whether nothing is left to say.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }

    fn remove(&mut self, key: Key) {
        if let Some(deadline) = self.deadlines.remove(&key) {
            self.by_deadline.remove(&(deadline, key));
            self.repeats.remove(key);
        }
    }
}

/// The stateless reply to a message of a session that is unknown or over, if it needs one. It is sent instead of an
/// acknowledgement, so that the repetition of the message asks again if the reply is lost. Where there is no reply, the
/// message of a session that is over is acknowledged.
///
/// Only what shows that the sender believes the session to be alive is answered: an answer, a request to restart and
/// an offer to restart. A farewell, an acknowledgement and a candidate never are, so that two endpoints that have both
/// forgotten cannot keep each other busy. The reply is unnumbered, and so neither acknowledged nor repeated.
///
/// Once true, it stays true: a session that is forgotten never comes back, so a replayed reply does no harm.
pub(crate) fn reply_to_unknown(message: &Envelope) -> Option<Envelope> {
    let believes = match &message.body {
        Body::Offer { .. } => message.generation > Generation(0),
        Body::Answer { .. } | Body::IceRestart => true,
        Body::Candidate { .. }
        | Body::EndOfCandidates { .. }
        | Body::Bye { .. }
        | Body::Ack { .. } => false,
    };
    believes.then_some(Envelope {
        from: message.to,
        to: message.from,
        session: message.session,
        generation: message.generation,
        seq: 0,
        sent_at: None,
        rollover: None,
        body: Body::Bye {
            reason: ByeReason::UnknownSession,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::rng::Seed;

    #[test]
    fn the_last_sessions_are_known_and_the_oldest_is_forgotten_at_the_bound() {
        let mut ended = EndedSessions::new(2);
        ended.bury(peer("a"), session(1));
        ended.bury(peer("a"), session(2));
        ended.bury(peer("a"), session(2));
        assert!(
            ended.contains(peer("a"), session(1)),
            "a repetition takes no place"
        );
        assert!(
            !ended.contains(peer("b"), session(1)),
            "sessions belong to their peer"
        );
        ended.bury(peer("b"), session(3));
        assert!(!ended.contains(peer("a"), session(1)));
        assert!(ended.contains(peer("a"), session(2)) && ended.contains(peer("b"), session(3)));
        assert_eq!(ended.known.len(), ended.order.len());
    }

    #[test]
    fn a_peer_that_ends_many_sessions_makes_us_forget_its_own_only() {
        let mut ended = EndedSessions::new(1_024);
        ended.bury(peer("a"), session(1));
        for n in 0..=255 {
            ended.bury(peer("b"), session(n));
        }
        assert!(ended.contains(peer("a"), session(1)));
        let kept = (0..=255).filter(|n| ended.contains(peer("b"), session(*n)));
        assert_eq!(kept.collect::<Vec<_>>(), (128..=255).collect::<Vec<_>>());
        assert_eq!(ended.known.len(), ended.order.len());
    }

    #[test]
    fn the_sessions_with_a_peer_are_given_in_the_order_in_which_they_ended() {
        let mut ended = EndedSessions::new(8);
        for (name, n) in [("a", 9), ("b", 1), ("a", 2), ("a", 9), ("a", 4)] {
            ended.bury(peer(name), session(n));
        }
        assert_eq!(
            ended.with(peer("a")).collect::<Vec<_>>(),
            [9, 2, 4].map(session)
        );
        assert_eq!(ended.with(peer("c")).next(), None);
    }

    #[test]
    fn a_memory_for_none_remembers_none() {
        let mut ended = EndedSessions::new(0);
        ended.bury(peer("a"), session(1));
        assert!(!ended.contains(peer("a"), session(1)));
    }

    #[test]
    fn a_farewell_is_repeated_until_its_time_is_over() {
        let (mut farewells, start) = (farewells(8), Instant::now());
        farewells.insert(bye("b", 1, 5), start);
        let mut times = Vec::new();
        while let Some(now) = farewells.poll_timeout() {
            while let Some(sent) = farewells.poll(now) {
                assert_eq!(sent.first, times.is_empty());
                times.push(now - start);
            }
        }
        assert!(farewells.is_empty());
        assert!(
            (2..=3).contains(&times.len()),
            "at once, after 0.5 s and after 1.5 s: {times:?}"
        );
        assert!(times.iter().all(|at| *at < Duration::from_secs(2)));
    }

    #[test]
    fn only_its_own_acknowledgement_ends_a_farewell() {
        let (mut farewells, now) = (farewells(8), Instant::now());
        farewells.insert(bye("b", 1, 5), now);
        assert!(!farewells.on_ack(peer("b"), session(1), 5), "not sent yet");
        assert!(farewells.poll(now).is_some());
        assert!(!farewells.on_ack(peer("b"), session(1), 4));
        assert!(!farewells.on_ack(peer("b"), session(2), 5));
        assert!(!farewells.on_ack(peer("c"), session(1), 5));
        assert!(farewells.on_ack(peer("b"), session(1), 5));
        assert!(!farewells.on_ack(peer("b"), session(1), 5));
        assert_eq!(
            (farewells.is_empty(), farewells.poll_timeout()),
            (true, None)
        );
    }

    #[test]
    fn at_the_bound_the_oldest_farewell_is_dropped() {
        let (mut farewells, now) = (farewells(2), Instant::now());
        for n in 1..=3 {
            farewells.insert(bye("b", n, 1), now + Duration::from_millis(u64::from(n)));
        }
        let later = now + Duration::from_millis(3);
        let said: Vec<_> =
            std::iter::from_fn(|| farewells.poll(later).map(|d| d.envelope.session)).collect();
        assert_eq!(said, [session(2), session(3)]);
    }

    #[test]
    fn a_second_farewell_of_a_session_takes_the_place_of_the_first() {
        let (mut farewells, now) = (farewells(2), Instant::now());
        farewells.insert(bye("b", 1, 1), now);
        farewells.insert(bye("b", 1, 2), now);
        assert_eq!(farewells.poll(now).map(|d| d.envelope.seq), Some(2));
        assert_eq!(farewells.poll(now), None);
    }

    #[test]
    fn only_messages_that_believe_in_a_session_are_answered_when_it_is_unknown() {
        let sdp = || "v=0".to_owned();
        let offer = || Body::Offer {
            sdp: sdp(),
            replaces: vec![],
            channels: None,
            bowline: None,
        };
        let answer = || Body::Answer {
            sdp: sdp(),
            replaces: vec![],
            channels: None,
            bowline: None,
        };
        let ufrag = || "abcd".to_owned();
        let with = |generation, body| Envelope {
            generation: Generation(generation),
            body,
            ..bye("a", 1, 4)
        };
        for believing in [
            with(1, offer()),
            with(0, answer()),
            with(0, Body::IceRestart),
        ] {
            let reply = reply_to_unknown(&believing).expect("answered");
            assert_eq!(
                (reply.from, reply.to, reply.seq),
                (believing.to, believing.from, 0)
            );
            assert_eq!(reply.session, believing.session);
            assert_eq!(
                reply.body,
                Body::Bye {
                    reason: ByeReason::UnknownSession
                }
            );
            assert_eq!(reply_to_unknown(&reply), None, "no loop");
            assert_eq!(reply.ack(), None, "no loop");
        }
        for other in [
            with(0, offer()),
            with(
                0,
                Body::Candidate {
                    candidate: "c".into(),
                    ufrag: ufrag(),
                },
            ),
            with(0, Body::EndOfCandidates { ufrag: ufrag() }),
            with(
                0,
                Body::Bye {
                    reason: ByeReason::Closed,
                },
            ),
            with(0, Body::Ack { ack: 1 }),
        ] {
            assert_eq!(reply_to_unknown(&other), None, "{other:?}");
        }
    }

    fn farewells(capacity: usize) -> Farewells {
        Farewells::new(
            capacity,
            Config::default().timing(),
            Rng::new(&Seed::from([4; 32])),
        )
    }

    fn bye(to: &str, n: u8, seq: u64) -> Envelope {
        Envelope {
            from: peer("us"),
            to: peer(to),
            session: session(n),
            generation: Generation(0),
            seq,
            sent_at: None,
            rollover: None,
            body: Body::Bye {
                reason: ByeReason::Closed,
            },
        }
    }

    fn peer(name: &str) -> PeerId {
        PeerId::new(name).expect("valid")
    }

    fn session(n: u8) -> SessionId {
        format!("{n:032x}").parse().expect("valid")
    }
}
