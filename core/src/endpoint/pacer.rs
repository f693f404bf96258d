//! Connectivity checks to addresses that have not shown that they are the peer's, paced over all peers.
//!
//! A candidate makes us send to the address it names, unasked (RFC 8445 section 19.5.1), and a mesh multiplies what one
//! agent sends. So these checks go out one by one, the least Ta apart (section 14.2: "as though there were one global Ta
//! value for all agents"), the peers in turn, and no address gets more than a budget of them in a minute, whatever the
//! number of peers that name it. What is begun with ICE servers counts in the same pace.
//!
//! An address from which a check came that was made with our password has asked for ours: what goes there is not held. The
//! check that waits goes at once, and the one that was sent goes again, since a NAT will often have dropped it before the
//! peer's own check opened the way (section 7.3.1.4 has a check in progress cancelled and repeated; the ICE agent does
//! not).

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::slots::PeerKey;
use crate::config::MIN_PACING;
use crate::peer::Datagram;

/// The checks that wait, and what was sent of late.
#[derive(Debug)]
pub(super) struct CheckPacer {
    /// The checks of each peer in the order in which they were made, one for each pair of addresses.
    waiting: BTreeMap<PeerKey, VecDeque<Datagram>>,
    /// The last checks of each peer that were sent, one for each pair of addresses, at most [`MAX_SENT`].
    sent: BTreeMap<PeerKey, VecDeque<Datagram>>,
    /// The peers with something waiting, the next first.
    turns: VecDeque<PeerKey>,
    /// Before this nothing is sent.
    next: Instant,
    /// Checks that an address may get in a [`WINDOW`].
    max: usize,
    /// When the present window began, and what each address got in it: no more of them than [`MIN_PACING`] fits into it.
    window: Instant,
    spent: BTreeMap<IpAddr, usize>,
    refused: u64,
}

impl CheckPacer {
    /// Lets `max` checks go to one IP address in a minute.
    pub(super) fn new(max: usize, now: Instant) -> Self {
        Self {
            waiting: BTreeMap::new(),
            sent: BTreeMap::new(),
            turns: VecDeque::new(),
            next: now,
            max,
            window: now,
            spent: BTreeMap::new(),
            refused: 0,
        }
    }

    /// Lets a check wait for its turn. One that waits for the same pair of addresses gives way: its transaction is over in
    /// the eyes of the agent that made another.
    pub(super) fn push(&mut self, peer: PeerKey, check: Datagram) {
        let waiting = self.waiting.entry(peer).or_default();
        if waiting.is_empty() {
            self.turns.push_back(peer);
        }
        let tuple = tuple_of(&check);
        match waiting.iter_mut().find(|old| tuple_of(old) == tuple) {
            Some(old) => *old = check,
            None => waiting.push_back(check),
        }
    }

    /// A check that was made with our password has come on a pair of addresses: gives ours to be sent at once.
    pub(super) fn take(&mut self, peer: PeerKey, tuple: Tuple) -> Option<Datagram> {
        let waiting = self.waiting.get_mut(&peer);
        let waits = waiting.and_then(|waiting| take_from(waiting, tuple));
        if self.waiting.get(&peer).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(&peer);
            self.turns.retain(|turn| *turn != peer);
        }
        let sent = self.sent.get_mut(&peer);
        let was_sent = sent.and_then(|sent| take_from(sent, tuple));
        waits.or(was_sent)
    }

    /// The next check, if one may be sent now.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(PeerKey, Datagram)> {
        while self.poll_timeout().is_some_and(|at| at <= now) {
            let peer = self.turns.pop_front()?;
            let waiting = self.waiting.get_mut(&peer)?;
            let check = waiting.pop_front()?;
            if waiting.is_empty() {
                self.waiting.remove(&peer);
            } else {
                self.turns.push_back(peer);
            }
            if self.take_budget(check.destination.ip(), now) {
                if !planted!(ChecksUnpaced) {
                    self.hold(now);
                }
                self.remember(peer, check.clone());
                return Some((peer, check));
            }
            self.refused += 1;
        }
        None
    }

    /// Something was begun at an instant that counts in the pace.
    pub(super) fn hold(&mut self, at: Instant) {
        self.next = self.next.max(at + MIN_PACING);
    }

    /// Forgets the checks of a peer.
    pub(super) fn forget(&mut self, peer: PeerKey) {
        self.waiting.remove(&peer);
        self.sent.remove(&peer);
        self.turns.retain(|turn| *turn != peer);
    }

    /// When the next check may be sent.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        (!self.turns.is_empty()).then_some(self.next)
    }

    /// The checks that were not sent for want of budget.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    fn remember(&mut self, peer: PeerKey, check: Datagram) {
        let sent = self.sent.entry(peer).or_default();
        take_from(sent, tuple_of(&check));
        sent.push_back(check);
        if sent.len() > MAX_SENT {
            sent.pop_front();
        }
    }

    fn take_budget(&mut self, address: IpAddr, now: Instant) -> bool {
        if now.saturating_duration_since(self.window) >= WINDOW {
            self.window = now;
            self.spent.clear();
        }
        let spent = self.spent.entry(address.to_canonical()).or_default();
        *spent += 1;
        *spent <= self.max
    }
}

/// A local and a remote address.
type Tuple = (SocketAddr, SocketAddr);

fn tuple_of(check: &Datagram) -> Tuple {
    (check.source, check.destination)
}

fn take_from(checks: &mut VecDeque<Datagram>, tuple: Tuple) -> Option<Datagram> {
    let at = checks.iter().position(|check| tuple_of(check) == tuple)?;
    checks.remove(at)
}

/// Checks of one peer that were sent and may be repeated. Beyond it the oldest waits for the agent to repeat it.
const MAX_SENT: usize = 16;
/// The time that a budget is for.
const WINDOW: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: u8, port: u16, contents: u8) -> Datagram {
        Datagram {
            source: SocketAddr::from(([192, 0, 2, 1], 1)),
            destination: SocketAddr::from(([198, 51, 100, host], port)),
            contents: vec![contents],
        }
    }

    /// When what is sent, in milliseconds, until nothing waits.
    fn sent(pacer: &mut CheckPacer, start: Instant) -> Vec<(u128, u8)> {
        let mut sent = Vec::new();
        let mut now = start;
        while let Some(at) = pacer.poll_timeout() {
            now = now.max(at);
            while let Some((_, check)) = pacer.poll(now) {
                sent.push(((now - start).as_millis(), check.contents[0]));
            }
        }
        sent
    }

    #[test]
    fn checks_of_all_peers_go_out_in_turn_the_least_ta_apart() {
        let start = Instant::now();
        let mut pacer = CheckPacer::new(9, start);
        let [one, two] = [0, 1].map(PeerKey::first_of);
        for (peer, host) in [(one, 1), (one, 2), (one, 3), (two, 4)] {
            pacer.push(peer, check(host, 1, host));
        }
        assert_eq!(sent(&mut pacer, start), [(0, 1), (5, 4), (10, 2), (15, 3)]);
    }

    #[test]
    fn what_is_begun_elsewhere_counts_in_the_pace() {
        let start = Instant::now();
        let mut pacer = CheckPacer::new(9, start);
        pacer.hold(start);
        pacer.push(PeerKey::first_of(0), check(1, 1, 1));
        assert_eq!(sent(&mut pacer, start), [(5, 1)]);
    }

    #[test]
    fn a_newer_check_of_a_pair_takes_the_place_of_the_one_that_waits() {
        let start = Instant::now();
        let mut pacer = CheckPacer::new(9, start);
        for (port, contents) in [(1, 1), (2, 2), (1, 3)] {
            pacer.push(PeerKey::first_of(0), check(1, port, contents));
        }
        assert_eq!(sent(&mut pacer, start), [(0, 3), (5, 2)]);
    }

    #[test]
    fn an_address_gets_its_budget_in_a_minute_from_all_peers_and_at_all_ports() {
        let start = Instant::now();
        let mut pacer = CheckPacer::new(2, start);
        let flood = |pacer: &mut CheckPacer| {
            for n in 0..3 {
                pacer.push(PeerKey::first_of(n.into()), check(1, n, 1));
            }
            pacer.push(PeerKey::first_of(0), check(2, 1, 2));
        };
        flood(&mut pacer);
        let contents = |sent: Vec<(u128, u8)>| sent.into_iter().map(|(_, c)| c).collect::<Vec<_>>();
        assert_eq!(contents(sent(&mut pacer, start)), [1, 1, 2]);
        assert_eq!(pacer.refused(), 1);
        flood(&mut pacer);
        assert_eq!(contents(sent(&mut pacer, start + WINDOW / 2)), [2]);
        assert_eq!(pacer.refused(), 4);
        flood(&mut pacer);
        assert_eq!(contents(sent(&mut pacer, start + WINDOW)), [1, 1, 2]);
    }

    #[test]
    fn who_asks_gets_the_check_that_waits_or_the_last_one_that_was_sent() {
        let start = Instant::now();
        let mut pacer = CheckPacer::new(9, start);
        let peer = PeerKey::first_of(0);
        let tuple = |port| tuple_of(&check(1, port, 0));
        let take = |pacer: &mut CheckPacer, port| {
            let check = pacer.take(peer, tuple(port))?;
            check.contents.first().copied()
        };
        pacer.push(peer, check(1, 1, 1));
        assert_eq!(take(&mut pacer, 2), None, "another pair");
        sent(&mut pacer, start);
        pacer.push(peer, check(1, 2, 2));
        assert_eq!(take(&mut pacer, 1), Some(1), "sent, and not answered");
        assert_eq!(take(&mut pacer, 1), None, "once");
        assert_eq!(take(&mut pacer, 2), Some(2), "waiting");
        assert_eq!(pacer.poll_timeout(), None);
    }

    #[test]
    fn so_many_sent_checks_are_remembered_and_the_oldest_beyond_is_not() {
        let start = Instant::now();
        let mut pacer = CheckPacer::new(99, start);
        let peer = PeerKey::first_of(0);
        for port in 0..=MAX_SENT {
            pacer.push(peer, check(1, u16::try_from(port).expect("few"), 1));
        }
        sent(&mut pacer, start);
        assert!(pacer.take(peer, tuple_of(&check(1, 0, 0))).is_none());
        assert!(pacer.take(peer, tuple_of(&check(1, 1, 0))).is_some());
    }

    #[test]
    fn the_checks_of_a_peer_that_is_gone_are_not_sent() {
        let start = Instant::now();
        let mut pacer = CheckPacer::new(9, start);
        let [one, two] = [0, 1].map(PeerKey::first_of);
        pacer.push(one, check(1, 1, 1));
        pacer.push(two, check(2, 1, 2));
        pacer.forget(one);
        assert_eq!(sent(&mut pacer, start), [(0, 2)]);
        assert_eq!(pacer.poll_timeout(), None);
    }
}
