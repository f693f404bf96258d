//! Names that stand in candidates in place of addresses, until they are resolved.
//!
//! Browsers hide the addresses of a network behind names that only multicast DNS in that network knows
//! (draft-ietf-mmusic-mdns-ice-candidates). To look one up makes us ask our network at a peer's word. So no name is asked
//! for but those that are made for this: a UUID in `.local` (section 3.1.1), which is no machine's by itself, so that a
//! peer cannot point us at a `printer.local`. They count as candidates (section 4.1 fears floods), and what they turn out
//! to be is judged as any other address. All else stays unknown, and is found by the checks of the peer.

use std::collections::{BTreeMap, VecDeque};

use crate::id::PeerId;
use crate::need::NeedId;

use super::candidate::Candidate;

/// A candidate whose address is a name that may be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// The user name fragment of the generation that it is of.
    pub(super) ufrag: String,
    pub(super) candidate: Candidate,
}

impl Named {
    fn host(&self) -> String {
        self.candidate.address().to_string()
    }
}

/// The lookups for all peers.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    /// Not asked for yet. Together with `open` at most [`MAX_LOOKUPS`].
    wanted: VecDeque<(PeerId, Named)>,
    /// Not answered yet.
    open: BTreeMap<NeedId, (PeerId, Named)>,
}

impl Lookups {
    /// A peer has named a candidate. Returns whether its name is looked up: not when as many are under way as may be.
    pub(crate) fn want(&mut self, peer: PeerId, named: Named) -> bool {
        let under_way = || self.wanted.iter().chain(self.open.values());
        let of_peer = under_way().filter(|(of, _)| *of == peer).count();
        let has_room = under_way().count() < MAX_LOOKUPS && of_peer < MAX_LOOKUPS_OF_PEER;
        if has_room {
            self.wanted.push_back((peer, named));
        }
        has_room
    }

    /// The next name to ask for, as the need that `reserve` gives.
    pub(crate) fn poll(&mut self, reserve: impl FnOnce() -> NeedId) -> Option<(NeedId, String)> {
        let (peer, named) = self.wanted.pop_front()?;
        let (need, host) = (reserve(), named.host());
        self.open.insert(need, (peer, named));
        Some((need, host))
    }

    /// What a need was asked for, which is answered now.
    pub(crate) fn on_answer(&mut self, need: NeedId) -> Option<(PeerId, Named)> {
        self.open.remove(&need)
    }

    /// A peer is gone: gives the needs that it has no use for any more.
    pub(crate) fn forget(&mut self, peer: PeerId) -> Vec<NeedId> {
        self.wanted.retain(|(of, _)| *of != peer);
        let of_peer = self.open.iter().filter(|(_, (of, _))| *of == peer);
        let needs = of_peer.map(|(need, _)| *need).collect();
        self.open.retain(|_, (of, _)| *of != peer);
        needs
    }
}

/// Whether a name is one that hides an address: a UUID in `.local`, in either case.
pub(super) fn hides_address(name: &str) -> bool {
    let Some((label, rest)) = name.split_once('.') else {
        return false;
    };
    let groups = label.split('-').map(str::len);
    groups.eq(UUID_GROUPS)
        && label.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        && rest.eq_ignore_ascii_case("local")
}

/// The digits of a UUID (RFC 9562 section 4).
const UUID_GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
/// Lookups under way for all peers: systems resolve in a few threads. Further names are not looked up.
const MAX_LOOKUPS: usize = 64;
/// Lookups under way for one peer, so that one cannot take the turn of all: a browser names one for each address that it
/// has. Further names are not looked up.
const MAX_LOOKUPS_OF_PEER: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uuids_in_local_hide_an_address() {
        let uuid = "1f4712db-ea17-4bcf-a596-105139dfd8bf";
        for name in [
            format!("{uuid}.local"),
            format!("{uuid}.LOCAL").to_uppercase(),
        ] {
            assert!(hides_address(&name), "{name}");
        }
        for name in [
            uuid.to_owned(),
            "local".to_owned(),
            ".local".to_owned(),
            "printer.local".to_owned(),
            format!("{uuid}.local.example"),
            format!("{uuid}.example"),
            format!("a.{uuid}.local"),
            format!("{uuid}0.local"),
            format!("{}.local", &uuid[1..]),
            format!("{}.local", uuid.replace('-', "")),
            format!("{}.local", uuid.replacen('-', "_", 1)),
            format!("{}.local", uuid.replacen('f', "g", 1)),
        ] {
            assert!(!hides_address(&name), "{name}");
        }
    }

    #[test]
    fn lookups_of_one_peer_and_of_all_are_bounded() {
        let mut lookups = Lookups::default();
        let mut next = 0;
        for n in 0..MAX_LOOKUPS / MAX_LOOKUPS_OF_PEER {
            for _ in 0..MAX_LOOKUPS_OF_PEER {
                assert!(lookups.want(peer(n), named()));
                // Whether it was asked for makes no difference.
                if n == 0 {
                    assert!(lookups.poll(|| need(&mut next)).is_some());
                }
            }
            assert!(!lookups.want(peer(n), named()), "one peer has its share");
        }
        assert!(!lookups.want(peer(99), named()), "all are taken");
        assert!(lookups.on_answer(NeedId(0)).is_some());
        assert!(lookups.want(peer(99), named()));
    }

    #[test]
    fn an_answer_is_taken_once_and_for_nobody_who_is_gone() {
        let (mut lookups, mut next) = (Lookups::default(), 0);
        for n in [1, 2, 1] {
            assert!(lookups.want(peer(n), named()));
        }
        let host = "1f4712db-ea17-4bcf-a596-105139dfd8bf.local".to_owned();
        let asked = lookups.poll(|| need(&mut next));
        assert_eq!(asked, Some((NeedId(0), host)));
        assert!(lookups.poll(|| need(&mut next)).is_some());
        assert_eq!(lookups.forget(peer(1)), [NeedId(0)]);
        assert_eq!(lookups.poll(|| need(&mut next)), None, "not asked for");
        assert_eq!(lookups.on_answer(NeedId(0)), None);
        assert_eq!(lookups.on_answer(NeedId(1)), Some((peer(2), named())));
        assert_eq!(lookups.on_answer(NeedId(1)), None);
    }

    fn named() -> Named {
        let line = "1 1 udp 1 1f4712db-ea17-4bcf-a596-105139dfd8bf.local 5 typ host";
        Named {
            ufrag: "abcd".to_owned(),
            candidate: Candidate::parse(line).expect("valid"),
        }
    }

    fn need(next: &mut u64) -> NeedId {
        *next += 1;
        NeedId(*next - 1)
    }

    fn peer(n: usize) -> PeerId {
        PeerId::new(&format!("peer-{n}")).expect("valid")
    }
}
