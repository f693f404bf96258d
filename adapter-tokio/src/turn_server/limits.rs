use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a server lets its clients do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnLimits {
    /// Allocations at one time. Further ones are refused with 508 (Insufficient Capacity). Default 256.
    pub allocations: usize,
    /// Allocations of one user name, whatever its expiry. Further ones are refused with 486 (Allocation Quota Reached).
    /// Default 8.
    pub per_user: usize,
    /// TCP connections at one time. Further ones are closed at once. Default 512.
    pub connections: usize,
    /// Addresses for which one allocation has permissions, and peers for which it has channels. Further ones are refused
    /// with 508. Default 64.
    pub peers: usize,
    /// Bytes that one allocation may relay each second, both directions together; it may do as much at once after a
    /// pause. What goes beyond is dropped. Default: no limit.
    pub bandwidth: Option<u32>,
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self {
            allocations: 256,
            per_user: 8,
            connections: 512,
            peers: 64,
            bandwidth: None,
        }
    }
}

/// What happened at a server since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnStats {
    /// Allocations that there are now.
    pub allocations: usize,
    /// Clients that came with valid credentials and were given a place.
    pub admitted: u64,
    /// Clients that came with valid credentials, when they or all had as many allocations as they may.
    pub over_quota: u64,
    /// Requests without valid credentials, the first of every client among them.
    pub challenged: u64,
    /// Requests and datagrams for peers that are not permitted.
    pub forbidden: u64,
    /// Bytes that were relayed, both directions together.
    pub relayed: u64,
}

/// The counters behind [`TurnStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) admitted: AtomicU64,
    pub(super) over_quota: AtomicU64,
    pub(super) challenged: AtomicU64,
    pub(super) forbidden: AtomicU64,
    pub(super) relayed: AtomicU64,
}

impl Counters {
    pub(super) fn stats(&self, allocations: usize) -> TurnStats {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TurnStats {
            allocations,
            admitted: value(&self.admitted),
            over_quota: value(&self.over_quota),
            challenged: value(&self.challenged),
            forbidden: value(&self.forbidden),
            relayed: value(&self.relayed),
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Who has how many allocations.
#[derive(Debug, Default)]
pub(super) struct Quota {
    by_user: Mutex<BTreeMap<String, usize>>,
}

/// One allocation of a user, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    user: String,
    quota: Arc<Quota>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The user has as many as one may have.
    User,
    /// All together have.
    Server,
}

impl Quota {
    pub(super) fn take(self: &Arc<Self>, user: &str, limits: &TurnLimits) -> Result<Place, Full> {
        let mut by_user = self.lock();
        if by_user.values().sum::<usize>() >= limits.allocations {
            return Err(Full::Server);
        }
        let has = by_user.get(user).copied().unwrap_or_default();
        if has >= limits.per_user {
            return Err(Full::User);
        }
        by_user.insert(user.to_owned(), has + 1);
        Ok(Place {
            user: user.to_owned(),
            quota: Arc::clone(self),
        })
    }

    pub(super) fn taken(&self) -> usize {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_user = self.quota.lock();
        if let Some(has) = by_user.get_mut(&self.user) {
            *has -= 1;
            if *has == 0 {
                by_user.remove(&self.user);
            }
        }
    }
}

/// The peers of an allocation. The server behind forgets them when they expire, and bounds them not at all.
#[derive(Debug, Default)]
pub(super) struct Peers {
    permissions: BTreeMap<IpAddr, Instant>,
    channels: BTreeMap<SocketAddr, Instant>,
}

impl Peers {
    /// Notes a permission that is asked for. Gives whether there is room.
    pub(super) fn permit(&mut self, ip: IpAddr, limit: usize, now: Instant) -> bool {
        note(&mut self.permissions, ip, limit, PERMISSION, now)
    }

    /// Notes a channel that is asked for, and its permission. Gives whether there is room.
    pub(super) fn bind(&mut self, peer: SocketAddr, limit: usize, now: Instant) -> bool {
        self.permit(peer.ip(), limit, now) && note(&mut self.channels, peer, limit, CHANNEL, now)
    }
}

fn note<K: Ord>(
    known: &mut BTreeMap<K, Instant>,
    key: K,
    limit: usize,
    lifetime: Duration,
    now: Instant,
) -> bool {
    known.retain(|_, noted| now.saturating_duration_since(*noted) <= lifetime);
    let has_room = known.len() < limit || known.contains_key(&key);
    if has_room {
        known.insert(key, now);
    }
    has_room
}

/// A token bucket of bytes, full at first, of what a second allows.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(rate: u32, now: Instant) -> Self {
        let rate = f64::from(rate);
        Self {
            rate,
            tokens: rate,
            filled: now,
        }
    }

    /// Takes as many tokens, if they are there.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + elapsed * self.rate).min(self.rate);
        let cost = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        let enough = cost <= self.tokens;
        if enough {
            self.tokens -= cost;
        }
        enough
    }
}

/// How long a permission lives (RFC 8656 section 9).
const PERMISSION: Duration = Duration::from_secs(300);
/// How long a channel lives (RFC 8656 section 12).
const CHANNEL: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_end_at_the_limits_and_come_back() {
        let quota = Arc::new(Quota::default());
        let limits = TurnLimits {
            allocations: 3,
            per_user: 2,
            ..TurnLimits::default()
        };
        let first = quota.take("alice", &limits).expect("free");
        let _second = quota.take("alice", &limits).expect("free");
        assert_eq!(quota.take("alice", &limits).err(), Some(Full::User));
        let _third = quota.take("bob", &limits).expect("free");
        assert_eq!(quota.take("carol", &limits).err(), Some(Full::Server));
        drop(first);
        assert_eq!(quota.taken(), 2);
        assert!(quota.take("carol", &limits).is_ok());
        assert_eq!(quota.lock().len(), 2, "carol is forgotten again");
    }

    #[test]
    fn peers_end_at_the_limit_and_expire() {
        let (mut peers, start) = (Peers::default(), Instant::now());
        let ip = |last| IpAddr::from([192, 0, 2, last]);
        let at = |port| SocketAddr::new(ip(1), port);
        assert!(peers.permit(ip(1), 2, start) && peers.permit(ip(2), 2, start));
        assert!(!peers.permit(ip(3), 2, start));
        assert!(peers.permit(ip(1), 2, start), "it has one already");
        let later = start + PERMISSION + Duration::from_nanos(1);
        assert!(peers.permit(ip(3), 2, later));

        assert!(peers.bind(at(1), 2, later) && peers.bind(at(2), 2, later));
        assert!(!peers.bind(at(3), 2, later));
        assert!(peers.bind(at(3), 2, later + CHANNEL + Duration::from_nanos(1)));
    }

    #[test]
    fn a_bucket_allows_what_a_second_allows() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1_000, start);
        assert!(bucket.take(600, start) && bucket.take(400, start));
        assert!(!bucket.take(1, start));
        assert!(bucket.take(500, start + Duration::from_millis(500)));
        assert!(!bucket.take(1_001, start + Duration::from_secs(60)));
        assert!(bucket.take(1_000, start + Duration::from_secs(60)));
    }
}
