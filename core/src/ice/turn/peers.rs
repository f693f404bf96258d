//! To whom an allocation relays: permissions and channels (RFC 8656 sections 9 and 12).
//!
//! A channel is bound for every peer, since it makes the smallest packets, and binding installs the permission too.
//! Permissions last 300 s and channels 600 s; both are refreshed together at half the life of the permission, by binding
//! again. Where a server has no channel to give, the permission alone is asked for and data travels in indications.
//!
//! A channel number belongs to one peer until 300 s after the channel has expired (section 12: "MUST NOT be bound to
//! another"), so the entry of a peer that nobody uses any more stays that long.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::message::Request;

/// The peers of one allocation.
#[derive(Debug)]
pub(super) struct Peers {
    by_address: BTreeMap<SocketAddr, Peer>,
    by_channel: BTreeMap<u16, SocketAddr>,
    /// When something is due for a peer.
    due: BTreeSet<(Instant, SocketAddr)>,
    /// Where the search for a free channel number begins.
    next_channel: u16,
    max: usize,
}

#[derive(Debug)]
struct Peer {
    channel: u16,
    /// How many want it. Without any it is not refreshed.
    users: usize,
    access: Access,
    /// Until when its channel number is its own, and until when the server may think that it has the channel.
    reserved_until: Instant,
    in_flight: bool,
    timer: Option<Instant>,
}

/// How data gets to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Not yet, or not any more.
    None,
    /// By a channel, as long as the permission lasts.
    Channel { until: Instant },
    /// In indications: the server gave no channel.
    Indications { until: Instant },
    /// Not at all: the server forbids it.
    Refused,
}

impl Peers {
    /// Nobody yet; at most `max`, and no more than there are channel numbers.
    pub(super) fn new(max: usize) -> Self {
        Self {
            by_address: BTreeMap::new(),
            by_channel: BTreeMap::new(),
            due: BTreeSet::new(),
            next_channel: FIRST_CHANNEL,
            max: max.min(CHANNELS),
        }
    }

    /// Somebody wants to reach `peer`. Returns false at the limit.
    pub(super) fn want(&mut self, peer: SocketAddr, now: Instant) -> bool {
        if let Some(known) = self.by_address.get_mut(&peer) {
            known.users += 1;
            if known.users == 1 {
                let at = known.refresh_at(now);
                self.set_timer(peer, Some(at));
            }
            return true;
        }
        if self.by_address.len() >= self.max {
            return false;
        }
        let Some(channel) = self.free_channel() else {
            return false;
        };
        self.by_channel.insert(channel, peer);
        self.by_address.insert(
            peer,
            Peer {
                channel,
                users: 1,
                access: Access::None,
                reserved_until: now,
                in_flight: false,
                timer: None,
            },
        );
        self.set_timer(peer, Some(now));
        true
    }

    /// One of those who wanted `peer` does not any more.
    pub(super) fn release(&mut self, peer: SocketAddr, now: Instant) {
        let Some(known) = self.by_address.get_mut(&peer) else {
            return;
        };
        known.users = known.users.saturating_sub(1);
        if known.users == 0 {
            let at = known.reserved_until.max(now);
            self.set_timer(peer, Some(at));
        }
    }

    /// Whether any peer is wanted.
    pub(super) fn is_used(&self) -> bool {
        self.by_address.values().any(|peer| peer.users > 0)
    }

    pub(super) fn contains(&self, peer: SocketAddr) -> bool {
        self.by_address.contains_key(&peer)
    }

    /// How data gets to `peer` at `now`, and by which channel.
    pub(super) fn access(&self, peer: SocketAddr, now: Instant) -> (Access, u16) {
        let Some(known) = self.by_address.get(&peer) else {
            return (Access::None, 0);
        };
        let access = match known.access {
            Access::Channel { until } | Access::Indications { until } if until <= now => {
                Access::None
            }
            access => access,
        };
        (access, known.channel)
    }

    /// Whose data comes on a channel: nobody's unless it is bound and permitted.
    pub(super) fn of_channel(&self, channel: u16, now: Instant) -> Option<SocketAddr> {
        let peer = *self.by_channel.get(&channel)?;
        let (access, _) = self.access(peer, now);
        matches!(access, Access::Channel { .. }).then_some(peer)
    }

    /// Whether data from an address is permitted, whatever its port (section 9).
    pub(super) fn permits(&self, ip: IpAddr, now: Instant) -> bool {
        let [first, last] = [0, u16::MAX].map(|port| SocketAddr::new(ip, port));
        self.by_address.range(first..=last).any(|(peer, _)| {
            matches!(
                self.access(*peer, now).0,
                Access::Channel { .. } | Access::Indications { .. }
            )
        })
    }

    /// The next request that is due, which is then under way.
    pub(super) fn poll_request(&mut self, now: Instant) -> Option<(SocketAddr, Request)> {
        while let Some((at, peer)) = self.due.first().copied() {
            if at > now {
                return None;
            }
            self.set_timer(peer, None);
            let Some(known) = self.by_address.get_mut(&peer) else {
                continue;
            };
            if known.users == 0 {
                self.forget(peer);
                continue;
            }
            known.in_flight = true;
            let channel = known.channel;
            let request = match known.access {
                Access::Indications { .. } => Request::Permit { ip: peer.ip() },
                Access::None | Access::Channel { .. } | Access::Refused => {
                    // From here on the server may have it.
                    known.reserved_until = now + CHANNEL_LIFE + QUARANTINE;
                    Request::Bind { channel, peer }
                }
            };
            return Some((peer, request));
        }
        None
    }

    /// When [`Peers::poll_request`] will have something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The server has bound or permitted. Returns whether data can go now that could not before.
    pub(super) fn on_granted(&mut self, peer: SocketAddr, by_channel: bool, now: Instant) -> bool {
        let (before, _) = self.access(peer, now);
        let Some(known) = self.end_request(peer, now) else {
            return false;
        };
        let until = now + PERMISSION_LIFE;
        known.access = if by_channel {
            Access::Channel { until }
        } else {
            Access::Indications { until }
        };
        self.rest(peer, now + REFRESH);
        before == Access::None
    }

    /// The server has refused: with a channel the permission alone may still work.
    pub(super) fn on_refused(&mut self, peer: SocketAddr, code: u16, now: Instant) {
        let Some(known) = self.end_request(peer, now) else {
            return;
        };
        let had_channel = !matches!(known.access, Access::Indications { .. });
        if had_channel && code != FORBIDDEN {
            known.access = Access::Indications { until: now };
            return self.rest(peer, now);
        }
        known.access = Access::Refused;
        self.rest(peer, now + PATIENCE);
    }

    /// No answer came. What lasts still is asked for again at once, and the rest later.
    pub(super) fn on_unanswered(&mut self, peer: SocketAddr, now: Instant) {
        let (access, _) = self.access(peer, now);
        let Some(known) = self.end_request(peer, now) else {
            return;
        };
        known.access = access;
        let lasts = access != Access::None;
        self.rest(peer, if lasts { now } else { now + PATIENCE });
    }

    /// A request has ended. Until now the server may have had one of its repetitions, whatever came back, and counts the life
    /// of the channel from there.
    fn end_request(&mut self, peer: SocketAddr, now: Instant) -> Option<&mut Peer> {
        let known = self.by_address.get_mut(&peer)?;
        known.in_flight = false;
        if !matches!(known.access, Access::Indications { .. }) {
            known.reserved_until = now + CHANNEL_LIFE + QUARANTINE;
        }
        Some(known)
    }

    /// Until `at` nothing is due, unless nobody wants the peer.
    fn rest(&mut self, peer: SocketAddr, at: Instant) {
        let Some(known) = self.by_address.get(&peer) else {
            return;
        };
        let at = if known.users == 0 {
            known.reserved_until
        } else {
            at
        };
        self.set_timer(peer, Some(at));
    }

    fn forget(&mut self, peer: SocketAddr) {
        if let Some(known) = self.by_address.remove(&peer) {
            self.by_channel.remove(&known.channel);
        }
    }

    fn set_timer(&mut self, peer: SocketAddr, at: Option<Instant>) {
        let Some(known) = self.by_address.get_mut(&peer) else {
            return;
        };
        if let Some(old) = known.timer {
            self.due.remove(&(old, peer));
        }
        // A request that is under way ends by itself.
        known.timer = at.filter(|_| !known.in_flight);
        if let Some(at) = known.timer {
            self.due.insert((at, peer));
        }
    }

    /// A number that is nobody's, from where the last search ended.
    fn free_channel(&mut self) -> Option<u16> {
        let from = self.next_channel;
        let channel = (from..=LAST_CHANNEL)
            .chain(FIRST_CHANNEL..from)
            .find(|channel| !self.by_channel.contains_key(channel))?;
        self.next_channel = if channel == LAST_CHANNEL {
            FIRST_CHANNEL
        } else {
            channel + 1
        };
        Some(channel)
    }
}

impl Peer {
    /// When a peer that is wanted again is due.
    fn refresh_at(&self, now: Instant) -> Instant {
        match self.access {
            Access::Channel { until } | Access::Indications { until } => {
                now.max(until.checked_sub(PERMISSION_LIFE - REFRESH).unwrap_or(now))
            }
            Access::None | Access::Refused => now,
        }
    }
}

/// RFC 8656 section 12: channel numbers are 0x4000 to 0x4FFF.
const FIRST_CHANNEL: u16 = 0x4000;
const LAST_CHANNEL: u16 = 0x4fff;
const CHANNELS: usize = 4_096;
/// RFC 8656 section 9.
const PERMISSION_LIFE: Duration = Duration::from_secs(300);
/// RFC 8656 section 12.
const CHANNEL_LIFE: Duration = Duration::from_secs(600);
/// How long the number of an expired channel is not given to another peer (RFC 8656 section 12).
const QUARANTINE: Duration = Duration::from_secs(300);
/// Half the life of a permission.
const REFRESH: Duration = Duration::from_secs(150);
/// Between two attempts to reach a peer that the server refuses or does not answer for.
const PATIENCE: Duration = Duration::from_secs(30);
const FORBIDDEN: u16 = 403;

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn bound(peers: &mut Peers, port: u16, now: Instant) -> u16 {
        assert!(peers.want(peer(port), now));
        let Some((asked, Request::Bind { channel, peer })) = peers.poll_request(now) else {
            panic!("a channel is asked for");
        };
        assert_eq!(asked, peer);
        assert!(peers.on_granted(peer, true, now));
        channel
    }

    #[test]
    fn a_channel_is_bound_at_once_and_again_at_half_the_life_of_its_permission() {
        let (mut peers, start) = (Peers::new(8), Instant::now());
        let channel = bound(&mut peers, 1, start);
        assert_eq!(channel, 0x4000);
        assert_eq!(peers.of_channel(channel, start), Some(peer(1)));
        let half = start + REFRESH;
        assert_eq!(peers.poll_timeout(), Some(half));
        assert_eq!(peers.poll_request(half - Duration::from_nanos(1)), None);
        let again = Request::Bind {
            channel,
            peer: peer(1),
        };
        assert_eq!(peers.poll_request(half), Some((peer(1), again)));
        assert_eq!(peers.poll_timeout(), None, "it is under way");
    }

    #[test]
    fn nothing_goes_or_comes_once_the_permission_has_expired() {
        let (mut peers, start) = (Peers::new(8), Instant::now());
        let channel = bound(&mut peers, 1, start);
        let end = start + PERMISSION_LIFE;
        let last = end - Duration::from_nanos(1);
        assert!(matches!(
            peers.access(peer(1), last).0,
            Access::Channel { .. }
        ));
        assert!(peers.permits(peer(7).ip(), last), "whatever its port");
        assert_eq!(peers.access(peer(1), end).0, Access::None);
        assert_eq!(peers.of_channel(channel, end), None);
        assert!(!peers.permits(peer(1).ip(), end));
    }

    #[test]
    fn a_channel_number_is_given_to_another_only_after_its_quarantine() {
        let (mut peers, start) = (Peers::new(1), Instant::now());
        let first = bound(&mut peers, 1, start);
        peers.release(peer(1), start);
        let free = start + CHANNEL_LIFE + QUARANTINE;
        assert_eq!(peers.poll_request(free - Duration::from_nanos(1)), None);
        assert!(!peers.want(peer(2), free - Duration::from_nanos(1)));
        assert_eq!(peers.poll_request(free), None);
        assert!(peers.want(peer(2), free));
        assert_eq!(peers.by_channel.get(&first), None);
    }

    #[test]
    fn the_quarantine_counts_from_the_last_repetition_of_an_unanswered_request() {
        for refused in [false, true] {
            let (mut peers, start) = (Peers::new(1), Instant::now());
            assert!(peers.want(peer(1), start));
            assert!(peers.poll_request(start).is_some());
            peers.release(peer(1), start);
            let end = start + Duration::from_secs(39);
            if refused {
                peers.on_refused(peer(1), FORBIDDEN, end);
            } else {
                peers.on_unanswered(peer(1), end);
            }
            let free = end + CHANNEL_LIFE + QUARANTINE;
            assert_eq!(peers.poll_timeout(), Some(free));
            assert_eq!(peers.poll_request(free), None);
            assert!(peers.want(peer(2), free));
        }
    }

    #[test]
    fn a_peer_that_is_wanted_again_keeps_its_channel() {
        let (mut peers, start) = (Peers::new(8), Instant::now());
        let channel = bound(&mut peers, 1, start);
        peers.release(peer(1), start);
        let later = start + Duration::from_secs(400);
        assert!(peers.want(peer(1), later));
        let again = Request::Bind {
            channel,
            peer: peer(1),
        };
        assert_eq!(peers.poll_request(later), Some((peer(1), again)));
    }

    #[test]
    fn the_limit_is_kept_and_all_channel_numbers_can_be_used() {
        let (mut peers, now) = (Peers::new(usize::MAX), Instant::now());
        for port in 0..4_096 {
            assert!(peers.want(peer(port), now), "{port}");
        }
        assert!(!peers.want(peer(4_096), now));
        assert!(peers.want(peer(0), now), "it is known");
        assert_eq!(peers.by_channel.len(), CHANNELS);
    }

    #[test]
    fn without_a_channel_the_permission_alone_is_asked_for() {
        let (mut peers, now) = (Peers::new(8), Instant::now());
        peers.want(peer(1), now);
        peers.poll_request(now);
        peers.on_refused(peer(1), 508, now);
        let permit = Request::Permit { ip: peer(1).ip() };
        assert_eq!(peers.poll_request(now), Some((peer(1), permit)));
        assert!(peers.on_granted(peer(1), false, now));
        assert!(matches!(
            peers.access(peer(1), now).0,
            Access::Indications { .. }
        ));
    }

    #[test]
    fn what_is_forbidden_is_asked_for_again_after_a_while() {
        let (mut peers, now) = (Peers::new(8), Instant::now());
        peers.want(peer(1), now);
        peers.poll_request(now);
        peers.on_refused(peer(1), 403, now);
        assert_eq!(peers.access(peer(1), now).0, Access::Refused);
        assert_eq!(peers.poll_request(now), None);
        assert!(peers.poll_request(now + PATIENCE).is_some());
    }

    #[test]
    fn an_unanswered_refresh_is_repeated_at_once_and_a_first_request_later() {
        let (mut peers, start) = (Peers::new(8), Instant::now());
        bound(&mut peers, 1, start);
        let half = start + REFRESH;
        peers.poll_request(half);
        peers.on_unanswered(peer(1), half);
        assert!(peers.poll_request(half).is_some());
        peers.want(peer(2), half);
        peers.poll_request(half);
        peers.on_unanswered(peer(2), half);
        assert_eq!(peers.poll_request(half), None);
        assert!(peers.poll_request(half + PATIENCE).is_some());
    }
}
