//! Which peer a datagram is for, in constant time.
//!
//! RFC 7983 tells the protocol, and the gate has checked it. Then: a check is found by the user name fragment that we
//! announced, an answer by the transaction that we began, and everything else by the pair of addresses. A pair enters
//! the table only when the transport answered a check on it or sent secured data on it, which it does to authenticated
//! addresses alone. A pair that another peer holds is taken over by an answer to a check of ours alone: by whoever is there now. So
//! nobody can divert a peer's traffic by naming its address as a candidate, nor keep a peer out by sending on from its
//! address the check of another.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::slots::PeerKey;
use crate::peer::Took;

/// The tables. Nothing is ever iterated in hash order.
pub(crate) struct Demux {
    ufrags: HashMap<String, PeerKey>,
    tuples: HashMap<(SocketAddr, SocketAddr), PeerKey>,
    checks: HashMap<TransactionId, Check>,
    /// The transactions in the order in which they began, to forget the oldest.
    began: VecDeque<TransactionId>,
    max_checks: usize,
}

/// The 96 bits that tie an answer to its check (RFC 8489 §5).
pub(crate) type TransactionId = [u8; 12];

/// A check that was sent.
#[derive(Debug, Clone, Copy)]
struct Check {
    peer: PeerKey,
    remote: SocketAddr,
    /// When it was sent first.
    sent: Instant,
    is_repeated: bool,
}

impl Demux {
    pub(crate) fn new(max_peers: usize) -> Self {
        Self {
            ufrags: HashMap::new(),
            tuples: HashMap::new(),
            checks: HashMap::new(),
            began: VecDeque::new(),
            max_checks: max_peers.saturating_mul(CHECKS_PER_PEER),
        }
    }

    pub(crate) fn add_ufrag(&mut self, ufrag: &str, peer: PeerKey) {
        self.ufrags.insert(ufrag.to_owned(), peer);
    }

    pub(crate) fn remove_ufrag(&mut self, ufrag: &str) {
        self.ufrags.remove(ufrag);
    }

    /// Enters a pair of addresses. Returns false when another peer holds it.
    pub(crate) fn add_tuple(&mut self, tuple: (SocketAddr, SocketAddr), peer: PeerKey) -> bool {
        *self.tuples.entry(tuple).or_insert(peer) == peer
    }

    pub(crate) fn remove_tuple(&mut self, tuple: (SocketAddr, SocketAddr)) {
        self.tuples.remove(&tuple);
    }

    /// Remembers a check, or that it was sent again. The oldest is forgotten at [`CHECKS_PER_PEER`] for each peer that there may be.
    pub(crate) fn add_check(
        &mut self,
        id: TransactionId,
        peer: PeerKey,
        remote: SocketAddr,
        now: Instant,
    ) {
        if let Some(check) = self.checks.get_mut(&id) {
            check.is_repeated = true;
            return;
        }
        let check = Check {
            peer,
            remote,
            sent: now,
            is_repeated: false,
        };
        self.checks.insert(id, check);
        self.began.push_back(id);
        while self.began.len() > self.max_checks
            || self
                .began
                .front()
                .is_some_and(|id| self.is_expired(id, now))
        {
            if let Some(id) = self.began.pop_front() {
                self.checks.remove(&id);
            }
        }
    }

    pub(crate) fn by_ufrag(&self, ufrag: &str) -> Option<PeerKey> {
        self.ufrags.get(ufrag).copied()
    }

    pub(crate) fn by_tuple(&self, tuple: (SocketAddr, SocketAddr)) -> Option<PeerKey> {
        self.tuples.get(&tuple).copied()
    }

    /// The peer whose check an answer from `remote` is for. It must come from the address that was asked (RFC 8445
    /// §7.2.5.2.1).
    pub(crate) fn by_check(&self, id: &TransactionId, remote: SocketAddr) -> Option<PeerKey> {
        let check = self.checks.get(id)?;
        (check.remote == remote).then_some(check.peer)
    }

    /// A check was answered: gives the time that it took, once.
    pub(crate) fn end_check(&mut self, id: &TransactionId, now: Instant) -> Option<Took> {
        let check = self.checks.remove(id)?;
        Some(Took {
            time: now.saturating_duration_since(check.sent),
            is_exact: !check.is_repeated,
        })
    }

    fn is_expired(&self, id: &TransactionId, now: Instant) -> bool {
        self.checks
            .get(id)
            .is_none_or(|check| now.saturating_duration_since(check.sent) > CHECK_LIFETIME)
    }
}

/// Checks remembered for each peer that there may be. An ICE agent has at most 100 pairs, each with one check under way.
const CHECKS_PER_PEER: usize = 128;
/// After this an answer is too late to matter (RFC 8489 §6.2.1: 39.5 s).
const CHECK_LIFETIME: Duration = Duration::from_millis(39_500);

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn a_tuple_is_never_taken_over() {
        let mut demux = Demux::new(2);
        let tuple = (addr(1), addr(2));
        assert!(demux.add_tuple(tuple, PeerKey::first_of(0)));
        assert!(!demux.add_tuple(tuple, PeerKey::first_of(1)));
        assert_eq!(demux.by_tuple(tuple), Some(PeerKey::first_of(0)));
        demux.remove_tuple(tuple);
        assert!(demux.add_tuple(tuple, PeerKey::first_of(1)));
    }

    #[test]
    fn an_answer_counts_once_and_only_from_the_address_that_was_asked() {
        let mut demux = Demux::new(1);
        let start = Instant::now();
        let later = start + Duration::from_millis(30);
        demux.add_check([7; 12], PeerKey::first_of(0), addr(2), start);
        assert_eq!(demux.by_check(&[7; 12], addr(3)), None);
        let asked = demux.by_check(&[7; 12], addr(2));
        assert_eq!(asked, Some(PeerKey::first_of(0)));
        let took = Took {
            time: Duration::from_millis(30),
            is_exact: true,
        };
        assert_eq!(demux.end_check(&[7; 12], later), Some(took));
        assert_eq!(demux.by_check(&[7; 12], addr(2)), None);
        assert_eq!(demux.end_check(&[7; 12], later), None);
    }

    #[test]
    fn a_check_that_was_sent_twice_took_no_longer_than_since_the_first() {
        let mut demux = Demux::new(1);
        let start = Instant::now();
        for sent in [0, 10] {
            let sent = start + Duration::from_millis(sent);
            demux.add_check([7; 12], PeerKey::first_of(0), addr(2), sent);
        }
        let took = Took {
            time: Duration::from_millis(30),
            is_exact: false,
        };
        let later = start + took.time;
        assert_eq!(demux.end_check(&[7; 12], later), Some(took));
        assert_eq!(demux.began.len(), 1);
    }

    #[test]
    fn checks_are_forgotten_at_the_bound_and_when_too_old() {
        let mut demux = Demux::new(1);
        let start = Instant::now();
        let id = |n: usize| {
            let mut id = [0; 12];
            id[..8].copy_from_slice(&n.to_be_bytes());
            id
        };
        for n in 0..=CHECKS_PER_PEER {
            demux.add_check(id(n), PeerKey::first_of(0), addr(2), start);
        }
        assert_eq!(demux.checks.len(), CHECKS_PER_PEER);
        assert!(demux.by_check(&id(0), addr(2)).is_none());
        assert!(demux.by_check(&id(1), addr(2)).is_some());
        let late = start + CHECK_LIFETIME + Duration::from_millis(1);
        demux.add_check(id(9_999), PeerKey::first_of(0), addr(2), late);
        assert_eq!((demux.checks.len(), demux.began.len()), (1, 1));
    }
}
