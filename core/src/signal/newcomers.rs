//! How often one peer may begin a session.
//!
//! A first offer makes a peer, a transport and checks to the addresses that it names, and the application is told. The
//! bucket of the negotiation ends with the peer, so it does not hold back one that says farewell, or is replaced, and
//! offers again. This one outlives it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::bucket::TokenBucket;
use crate::id::PeerId;

/// The buckets of the peers that began sessions last.
#[derive(Debug)]
pub(crate) struct Newcomers {
    capacity: usize,
    buckets: BTreeMap<PeerId, TokenBucket>,
    /// The keys of `buckets` in the order in which they were entered.
    order: VecDeque<PeerId>,
}

impl Newcomers {
    /// Remembers `capacity` peers, at least one. At the bound the one that was entered first is forgotten.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            buckets: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Whether `peer` may begin a session now. If not, its offer must not be acknowledged, so that it comes again.
    #[must_use]
    pub(crate) fn admit(&mut self, peer: PeerId, now: Instant) -> bool {
        if !self.buckets.contains_key(&peer) {
            if self.order.len() >= self.capacity
                && let Some(oldest) = self.order.pop_front()
            {
                self.buckets.remove(&oldest);
            }
            self.order.push_back(peer);
        }
        let fresh = || TokenBucket::new(SESSION_BURST, SESSION_INTERVAL);
        let bucket = self.buckets.entry(peer).or_insert_with(fresh);
        bucket.take(now).is_ok()
    }
}

/// So many sessions one peer may begin at once.
const SESSION_BURST: u32 = 16;
/// After a burst, it may begin one in this time.
const SESSION_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: usize) -> PeerId {
        PeerId::new(&format!("peer-{n}")).expect("valid")
    }

    #[test]
    fn a_burst_is_let_through_and_then_one_in_each_interval() {
        let (mut newcomers, now) = (Newcomers::new(8), Instant::now());
        for _ in 0..SESSION_BURST {
            assert!(newcomers.admit(peer(1), now));
        }
        assert!(!newcomers.admit(peer(1), now));
        assert!(newcomers.admit(peer(2), now), "another is not held back");
        let later = now + SESSION_INTERVAL;
        assert!(newcomers.admit(peer(1), later));
        assert!(!newcomers.admit(peer(1), later));
    }

    #[test]
    fn no_more_peers_than_the_limit_are_remembered() {
        let (mut newcomers, now) = (Newcomers::new(3), Instant::now());
        for n in 0..1_000 {
            assert!(newcomers.admit(peer(n), now));
            assert!(
                newcomers.buckets.len() <= 3 && newcomers.order.len() == newcomers.buckets.len()
            );
        }
        for _ in 0..2 * SESSION_BURST {
            let _held_back = newcomers.admit(peer(999), now);
        }
        assert!(!newcomers.admit(peer(999), now), "the last is remembered");
    }
}
