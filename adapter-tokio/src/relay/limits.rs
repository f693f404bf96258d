use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// What a relay lets its peers do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayLimits {
    /// Connections at one time, those that have not said their name included. Further ones are closed at once.
    /// Default 4,096.
    pub connections: usize,
    /// Connections at one time from one IPv4 address, or from one IPv6 network of 64 bits. Further ones are closed at once.
    /// It has to be as high as `connections` behind a proxy, and higher than the default where many share an address.
    /// Default 256.
    pub per_address: usize,
    /// Peers in one room, but for the room without a name. A further one is refused. Their names have to fit into one
    /// message: up to 900 do. Default 64.
    pub room: usize,
    /// Messages that wait for one peer. At the bound the newest is dropped. Default 256.
    pub queue: usize,
    /// The longest message, in bytes. A longer one ends its connection. Default 64 KiB.
    pub message: usize,
    /// The bytes that one connection may send each second, where every message counts 512 more than it has. What goes
    /// beyond is dropped. Default 512 KiB.
    pub rate: u32,
    /// The bytes that one connection may send at once after a pause, counted likewise. Default 4 MiB.
    pub burst: u32,
    /// How long a connection may take to say its name. Default 10 s.
    pub hello: Duration,
    /// How often a silent peer is asked whether it lives. Default 20 s.
    pub ping: Duration,
    /// A peer that sent nothing for this long is gone. Default 60 s.
    pub idle: Duration,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            per_address: 256,
            room: 64,
            queue: 256,
            message: crate::signalling::MAX_MESSAGE,
            rate: 512 * 1_024,
            burst: 4 * 1_024 * 1_024,
            hello: Duration::from_secs(10),
            ping: Duration::from_secs(20),
            idle: Duration::from_secs(60),
        }
    }
}

/// What happened at a relay since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStats {
    /// Peers that are connected now.
    pub peers: usize,
    /// Other servers with which rooms are shared, and that were heard lately.
    pub servers: usize,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that were closed at once, since there were too many.
    pub refused: u64,
    /// Connections that were closed at once, since there were too many from their address.
    pub refused_address: u64,
    /// Connections that were refused, since they had no access token or none that is valid for what they want.
    pub unauthorized: u64,
    /// Connections that were refused, since the relay drains.
    pub draining: u64,
    /// Connections that never said valid names of themselves and their room, and that asked for no page.
    pub unnamed: u64,
    /// Connections that were refused, since their room had all the peers that it may have.
    pub room_full: u64,
    /// Connections whose name another one took.
    pub replaced: u64,
    /// Messages that were put into the queue of their peer.
    pub forwarded: u64,
    /// Messages that were handed on for a peer that is not here, but may be at another server.
    pub published: u64,
    /// Those of them that were lost, since too many waited for the connection to the other servers.
    pub bus_lost: u64,
    /// Messages to a peer that is not connected, where there is no other server.
    pub unknown_destination: u64,
    /// Messages to a peer whose queue is full.
    pub queue_full: u64,
    /// Messages without a valid `from` and `to`, and binary frames.
    pub malformed: u64,
    /// Messages whose `from` is not the name of their sender.
    pub wrong_sender: u64,
    /// Messages beyond the rate.
    pub too_fast: u64,
    /// Connections that were ended by a message that is too long or a frame that breaks RFC 6455.
    pub broken: u64,
}

/// One number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters behind [`RelayStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) unnamed: Counter,
    pub(super) room_full: Counter,
    pub(super) unauthorized: Counter,
    pub(super) draining: Counter,
    pub(super) replaced: Counter,
    pub(super) forwarded: Counter,
    pub(super) published: Counter,
    pub(super) bus_lost: Counter,
    pub(super) unknown_destination: Counter,
    pub(super) queue_full: Counter,
    pub(super) malformed: Counter,
    pub(super) wrong_sender: Counter,
    pub(super) too_fast: Counter,
    pub(super) broken: Counter,
}

impl Counters {
    /// All of them, but for those that [`Places`] and the rooms keep.
    pub(super) fn stats(&self) -> RelayStats {
        RelayStats {
            unnamed: self.unnamed.value(),
            room_full: self.room_full.value(),
            unauthorized: self.unauthorized.value(),
            draining: self.draining.value(),
            replaced: self.replaced.value(),
            forwarded: self.forwarded.value(),
            published: self.published.value(),
            bus_lost: self.bus_lost.value(),
            unknown_destination: self.unknown_destination.value(),
            queue_full: self.queue_full.value(),
            malformed: self.malformed.value(),
            wrong_sender: self.wrong_sender.value(),
            too_fast: self.too_fast.value(),
            broken: self.broken.value(),
            ..RelayStats::default()
        }
    }
}

/// Who may be connected at one time.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: Mutex<Taken>,
    /// Told when the last one is given back.
    emptied: Notify,
    pub(super) accepted: Counter,
    pub(super) refused: Counter,
    pub(super) refused_address: Counter,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

/// A connection's share of the limits on connections, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    address: IpAddr,
    places: Arc<Places>,
}

impl Places {
    /// Takes a place for a connection from `address`, if one is free.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr, limits: &RelayLimits) -> Option<Place> {
        let address = network(address);
        let mut taken = self.lock();
        if taken.all >= limits.connections {
            self.refused.add();
            return None;
        }
        let here = taken.by_address.get(&address).copied().unwrap_or_default();
        if here >= limits.per_address {
            self.refused_address.add();
            return None;
        }
        taken.by_address.insert(address, here + 1);
        taken.all += 1;
        self.accepted.add();
        Some(Place {
            address,
            places: Arc::clone(self),
        })
    }

    /// Connections that are open now.
    pub(super) fn open(&self) -> usize {
        self.lock().all
    }

    /// Waits until no connection is open.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.open() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if taken.all == 0 {
            self.places.emptied.notify_waiters();
        }
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// What is counted as one: who has an IPv6 network of 64 bits has all its addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

/// A token bucket: full at first, filled at `rate` tokens a second up to `burst`.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(limits: &RelayLimits, now: Instant) -> Self {
        let burst = f64::from(limits.burst);
        Self {
            rate: f64::from(limits.rate),
            burst,
            tokens: burst,
            filled: now,
        }
    }

    /// Takes the tokens for a message of `len` bytes, if there are enough.
    pub(super) fn take(&mut self, len: usize, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + elapsed * self.rate).min(self.burst);
        let cost = f64::from(u32::try_from(len + MESSAGE_COST).unwrap_or(u32::MAX));
        let enough = cost <= self.tokens;
        if enough {
            self.tokens -= cost;
        }
        enough
    }
}

/// What a message costs besides its length: to read and route it.
const MESSAGE_COST: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_allows_its_burst_then_its_rate() {
        let limits = RelayLimits {
            rate: 1_000,
            burst: 3_000,
            ..RelayLimits::default()
        };
        let start = Instant::now();
        let mut bucket = Bucket::new(&limits, start);
        let allowed = (0..10).filter(|_| bucket.take(488, start)).count();
        assert_eq!(allowed, 3);
        assert!(!bucket.take(488, start + Duration::from_millis(999)));
        assert!(bucket.take(488, start + Duration::from_millis(1_000)));
        let later = start + Duration::from_secs(60);
        assert_eq!((0..10).filter(|_| bucket.take(488, later)).count(), 3);
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("valid")
    }

    #[test]
    fn places_end_at_the_limit_and_come_back() {
        let limits = RelayLimits {
            connections: 2,
            ..RelayLimits::default()
        };
        let places = Arc::new(Places::default());
        let take = |from| places.take(address(from), &limits);
        let first = take("192.0.2.1").expect("free");
        let _second = take("192.0.2.2").expect("free");
        assert!(take("192.0.2.3").is_none());
        drop(first);
        let _third = take("192.0.2.3").expect("free");
        assert_eq!((places.open(), places.refused.value()), (2, 1));
    }

    #[test]
    fn an_address_or_network_has_its_places_and_leaves_those_of_others() {
        let limits = RelayLimits {
            per_address: 1,
            ..RelayLimits::default()
        };
        let places = Arc::new(Places::default());
        let take = |from| places.take(address(from), &limits);
        let first = take("192.0.2.1").expect("free");
        let _second = take("2001:db8::1").expect("free");
        for more in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::ffff:1"] {
            assert!(take(more).is_none(), "{more}");
        }
        let _third = take("2001:db8:0:1::1").expect("another network");
        drop(first);
        assert!(take("192.0.2.1").is_some());
        let state = (places.open(), places.refused_address.value());
        assert_eq!(state, (2, 3), "the last place was given back at once");
        assert_eq!(places.lock().by_address.len(), 2);
    }
}
