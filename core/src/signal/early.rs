//! Candidates that came before the description they belong to.
//!
//! The link may deliver a candidate before its offer or answer (RFC 8838 §11 asks to keep such candidates, keyed by
//! the username fragment). They wait here, in bounded number and for a bounded time. One that finds no room must not
//! be acknowledged: its sender repeats it, and by then the description may be here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::envelope::{Body, Envelope};
use crate::id::{Generation, PeerId, SessionId};

/// Candidates of sessions or generations whose description has not come yet.
#[derive(Debug)]
pub(crate) struct EarlyCandidates {
    /// The most candidates over all sessions.
    capacity: usize,
    /// The most candidates of one session.
    session_capacity: usize,
    waiting: BTreeMap<Key, Waiting>,
    /// One for each entry of `waiting`: when it expires.
    expiries: BTreeSet<(Instant, Key)>,
    len: usize,
}

/// One candidate that waits, or the end of them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EarlyCandidate {
    /// The number of the message, to be given to the session's [`Inbox`](super::delivery::Inbox).
    pub(crate) seq: u64,
    /// The generation that the message names.
    pub(crate) generation: Generation,
    /// The username fragment of the description that it waits for.
    pub(crate) ufrag: String,
    /// The candidate; `None` for end-of-candidates.
    pub(crate) candidate: Option<String>,
}

impl EarlyCandidate {
    /// What a candidate message, or an end-of-candidates, carries; `None` for others.
    pub(crate) fn of(envelope: &Envelope) -> Option<Self> {
        let (ufrag, candidate) = match &envelope.body {
            Body::Candidate { candidate, ufrag } => (ufrag.clone(), Some(candidate.clone())),
            Body::EndOfCandidates { ufrag } => (ufrag.clone(), None),
            Body::Offer { .. }
            | Body::Answer { .. }
            | Body::IceRestart
            | Body::Bye { .. }
            | Body::Ack { .. } => return None,
        };
        Some(Self {
            seq: envelope.seq,
            generation: envelope.generation,
            ufrag,
            candidate,
        })
    }
}

#[derive(Debug)]
struct Waiting {
    expires: Instant,
    candidates: Vec<EarlyCandidate>,
}

type Key = (PeerId, SessionId);

impl EarlyCandidates {
    /// Room for `capacity` candidates, of which those of one session take at most `session_capacity`.
    pub(crate) fn new(capacity: usize, session_capacity: usize) -> Self {
        Self {
            capacity,
            session_capacity,
            waiting: BTreeMap::new(),
            expiries: BTreeSet::new(),
            len: 0,
        }
    }

    /// Keeps a candidate, unless it is kept already. `false` when there is no room: it must not be acknowledged.
    ///
    /// All candidates of a session expire [`EARLY_LIFETIME`] after its first one came.
    pub(crate) fn store(
        &mut self,
        from: PeerId,
        session: SessionId,
        candidate: EarlyCandidate,
        now: Instant,
    ) -> bool {
        self.handle_timeout(now);
        let key = (from, session);
        let known = self
            .waiting
            .get(&key)
            .map_or(&[][..], |waiting| &waiting.candidates);
        if known.iter().any(|kept| kept.seq == candidate.seq) {
            return true;
        }
        if self.len >= self.capacity || known.len() >= self.session_capacity {
            return false;
        }
        let waiting = self.waiting.entry(key).or_insert_with(|| {
            let expires = now + EARLY_LIFETIME;
            self.expiries.insert((expires, key));
            Waiting {
                expires,
                candidates: Vec::new(),
            }
        });
        waiting.candidates.push(candidate);
        self.len += 1;
        true
    }

    /// The numbers of the messages of a session that are kept, and so were acknowledged.
    pub(crate) fn kept(&self, from: PeerId, session: SessionId) -> impl Iterator<Item = u64> + '_ {
        let waiting = self.waiting.get(&(from, session)).into_iter();
        waiting.flat_map(|waiting| waiting.candidates.iter().map(|kept| kept.seq))
    }

    /// Takes out the candidates for one description, in the order in which they were sent.
    #[must_use]
    pub(crate) fn take(
        &mut self,
        from: PeerId,
        session: SessionId,
        ufrag: &str,
    ) -> Vec<EarlyCandidate> {
        let key = (from, session);
        let Some(waiting) = self.waiting.get_mut(&key) else {
            return Vec::new();
        };
        let mut taken: Vec<_> = waiting
            .candidates
            .extract_if(.., |kept| kept.ufrag == ufrag)
            .collect();
        taken.sort_by_key(|candidate| candidate.seq);
        self.len -= taken.len();
        if waiting.candidates.is_empty() {
            self.forget(from, session);
        }
        taken
    }

    /// Drops what is kept of a session that is over.
    pub(crate) fn forget(&mut self, from: PeerId, session: SessionId) {
        let key = (from, session);
        if let Some(waiting) = self.waiting.remove(&key) {
            self.expiries.remove(&(waiting.expires, key));
            self.len -= waiting.candidates.len();
        }
    }

    /// Drops what has expired.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, (from, session))) = self.expiries.first().filter(|(at, _)| *at <= now) {
            self.forget(*from, *session);
        }
    }

    /// When the next session expires.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// How many candidates wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// Shows what it is for, never the address or the credentials.
impl std::fmt::Debug for EarlyCandidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.candidate.is_some() {
            "candidate"
        } else {
            "end"
        };
        write!(
            f,
            "EarlyCandidate(#{}, generation {}, {what})",
            self.seq, self.generation
        )
    }
}

/// How long a candidate waits for its description: as long as an offer is repeated four times at the longest pause.
const EARLY_LIFETIME: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_wait_for_their_description_and_come_out_in_the_order_of_sending() {
        const NONE: [u64; 0] = [];
        let (mut early, now) = (EarlyCandidates::new(8, 8), Instant::now());
        for (seq, ufrag) in [(3, "new1"), (2, "old1"), (4, "old1"), (1, "old1")] {
            assert!(early.store(peer("a"), session(1), candidate(seq, ufrag), now));
        }
        let seqs =
            |taken: Vec<EarlyCandidate>| -> Vec<u64> { taken.iter().map(|c| c.seq).collect() };
        assert_eq!(
            seqs(early.take(peer("a"), session(1), "old1")),
            vec![1, 2, 4]
        );
        assert_eq!(seqs(early.take(peer("a"), session(1), "old1")), NONE);
        assert_eq!(seqs(early.take(peer("b"), session(1), "new1")), NONE);
        assert_eq!(seqs(early.take(peer("a"), session(2), "new1")), NONE);
        assert_eq!(seqs(early.take(peer("a"), session(1), "new1")), [3]);
        assert_eq!((early.len(), early.poll_timeout()), (0, None));
    }

    #[test]
    fn a_repeated_candidate_is_kept_once_and_counts_as_stored() {
        let (mut early, now) = (EarlyCandidates::new(1, 1), Instant::now());
        assert!(early.store(peer("a"), session(1), candidate(1, "abcd"), now));
        assert!(early.store(peer("a"), session(1), candidate(1, "abcd"), now));
        assert_eq!(early.len(), 1);
        assert_eq!(early.kept(peer("a"), session(1)).collect::<Vec<_>>(), [1]);
        assert_eq!(early.kept(peer("a"), session(2)).next(), None);
    }

    #[test]
    fn at_the_bound_of_all_sessions_a_candidate_finds_no_room() {
        let (mut early, now) = (EarlyCandidates::new(3, 2), Instant::now());
        for n in 1..=3 {
            assert!(early.store(peer("a"), session(n), candidate(1, "abcd"), now));
        }
        assert!(!early.store(peer("b"), session(4), candidate(1, "abcd"), now));
        early.forget(peer("a"), session(2));
        assert!(early.store(peer("b"), session(4), candidate(1, "abcd"), now));
        assert_eq!(early.len(), 3);
    }

    #[test]
    fn at_the_bound_of_one_session_others_still_find_room() {
        let (mut early, now) = (EarlyCandidates::new(8, 2), Instant::now());
        assert!(early.store(peer("a"), session(1), candidate(1, "abcd"), now));
        assert!(early.store(peer("a"), session(1), candidate(2, "efgh"), now));
        assert!(!early.store(peer("a"), session(1), candidate(3, "abcd"), now));
        assert!(early.store(peer("a"), session(2), candidate(3, "abcd"), now));
    }

    #[test]
    fn a_session_expires_a_lifetime_after_its_first_candidate() {
        let (mut early, now) = (EarlyCandidates::new(2, 2), Instant::now());
        let expiry = now + EARLY_LIFETIME;
        assert!(early.store(peer("a"), session(1), candidate(1, "abcd"), now));
        let later = now + Duration::from_secs(9);
        assert!(early.store(peer("a"), session(1), candidate(2, "abcd"), later));
        assert_eq!(early.poll_timeout(), Some(expiry));
        early.handle_timeout(expiry - Duration::from_nanos(1));
        assert_eq!(early.len(), 2);
        assert!(
            early.store(peer("a"), session(2), candidate(1, "abcd"), expiry),
            "expired ones make room"
        );
        assert_eq!(early.len(), 1);
        assert_eq!(early.take(peer("a"), session(1), "abcd"), []);
    }

    #[test]
    fn debug_shows_neither_address_nor_credentials() {
        let shown = format!("{:?}", candidate(1, "s3cret"));
        assert_eq!(shown, "EarlyCandidate(#1, generation 0, candidate)");
    }

    fn candidate(seq: u64, ufrag: &str) -> EarlyCandidate {
        let candidate = Some("candidate:1 1 udp 1 192.0.2.1 9 typ host".into());
        EarlyCandidate {
            seq,
            generation: Generation(0),
            ufrag: ufrag.into(),
            candidate,
        }
    }

    fn peer(name: &str) -> PeerId {
        PeerId::new(name).expect("valid")
    }

    fn session(n: u8) -> SessionId {
        format!("{n:032x}").parse().expect("valid")
    }
}
