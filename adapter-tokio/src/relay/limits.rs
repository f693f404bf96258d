use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a relay lets its peers do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayLimits {
    /// Connections at one time, those that have not said their name included. Further ones are closed at once.
    /// Default 4,096.
    pub connections: usize,
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
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that were closed at once, since there were too many.
    pub refused: u64,
    /// Connections that never said valid names of themselves and their room, and that asked for no page.
    pub unnamed: u64,
    /// Connections that were refused, since their room had all the peers that it may have.
    pub room_full: u64,
    /// Connections whose name another one took.
    pub replaced: u64,
    /// Messages that were put into the queue of their peer.
    pub forwarded: u64,
    /// Messages to a peer that is not connected.
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

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters behind [`RelayStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    open: AtomicUsize,
    pub(super) accepted: Counter,
    pub(super) refused: Counter,
    pub(super) unnamed: Counter,
    pub(super) room_full: Counter,
    pub(super) replaced: Counter,
    pub(super) forwarded: Counter,
    pub(super) unknown_destination: Counter,
    pub(super) queue_full: Counter,
    pub(super) malformed: Counter,
    pub(super) wrong_sender: Counter,
    pub(super) too_fast: Counter,
    pub(super) broken: Counter,
}

/// A connection's share of the limit on connections.
#[derive(Debug)]
pub(super) struct Place(());

impl Counters {
    /// Takes one of `limit` places, if one is free.
    pub(super) fn take_place(&self, limit: usize) -> Option<Place> {
        let more = |open: usize| (open < limit).then_some(open + 1);
        let taken = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok();
        if taken { &self.accepted } else { &self.refused }.add();
        taken.then_some(Place(()))
    }

    pub(super) fn free_place(&self, _place: Place) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self, peers: usize) -> RelayStats {
        RelayStats {
            peers,
            accepted: self.accepted.value(),
            refused: self.refused.value(),
            unnamed: self.unnamed.value(),
            room_full: self.room_full.value(),
            replaced: self.replaced.value(),
            forwarded: self.forwarded.value(),
            unknown_destination: self.unknown_destination.value(),
            queue_full: self.queue_full.value(),
            malformed: self.malformed.value(),
            wrong_sender: self.wrong_sender.value(),
            too_fast: self.too_fast.value(),
            broken: self.broken.value(),
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

    #[test]
    fn places_end_at_the_limit_and_come_back() {
        let counters = Counters::default();
        let first = counters.take_place(2).expect("free");
        let _second = counters.take_place(2).expect("free");
        assert!(counters.take_place(2).is_none());
        counters.free_place(first);
        assert!(counters.take_place(2).is_some());
        assert_eq!(counters.stats(0).refused, 1);
    }
}
