//! Who is a neighbour of whom in a room that is too large for everybody to be connected to everybody.
//!
//! The members stand on a ring, in the order of hashes of their ids. Each is connected to the next ones on either side, so
//! that the room is in one piece and stays so when one is gone, and to a few others far away, so that nobody is many
//! steps from anybody. All of it follows from who is in the room: both ends of a connection want it, without a word, and
//! someone who comes or goes changes the neighbours of a few.

use std::collections::BTreeSet;

use super::members::Members;
use crate::id::PeerId;

/// Where a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// On the ring.
    position: u64,
    /// Where its far neighbours are looked for.
    far: [u64; MAX_FAR],
}

impl Place {
    /// The place that follows from a hash.
    pub(super) fn new(hash: [u8; 32]) -> Self {
        let mut words = [0; 1 + MAX_FAR];
        for (word, bytes) in words.iter_mut().zip(hash.chunks_exact(8)) {
            *word = bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        }
        let [position, far @ ..] = words;
        Self { position, far }
    }

    /// The order of places on the ring.
    pub(super) fn rank(&self) -> u64 {
        self.position
    }

    /// The part of a digest that it is in, as a bit.
    pub(super) fn bucket(&self) -> u16 {
        1 << (self.position >> 60)
    }

    /// What it adds to a digest.
    pub(super) fn hash(&self, incarnation: u64) -> u32 {
        let mixed = (self.position ^ incarnation.wrapping_mul(MIX)).wrapping_mul(MIX);
        (mixed >> 32) as u32
    }

    /// How far it is to another place, going round in one direction.
    pub(super) fn distance_to(&self, other: &Self) -> u64 {
        other.position.wrapping_sub(self.position)
    }
}

/// The members, in the order of their places.
#[derive(Debug)]
struct Ring(BTreeSet<(u64, PeerId)>);

impl Ring {
    /// Those after a position, once round.
    fn after(&self, position: u64) -> impl DoubleEndedIterator<Item = PeerId> {
        let (before, after) = (
            self.0.range(..(position, FIRST)),
            self.0.range((position, FIRST)..),
        );
        after.chain(before).map(|(_, peer)| *peer)
    }

    /// The far neighbours of one.
    fn far(&self, peer: PeerId, place: &Place, count: usize) -> impl Iterator<Item = PeerId> {
        let positions = place.far.into_iter().take(count);
        positions.filter_map(move |at| self.after(at).find(|other| *other != peer))
    }
}

/// Whom `us` is to be connected to, with so many `neighbours` on average where there are more than `full_mesh` members.
pub(super) fn neighbours(
    (us, place): (PeerId, &Place),
    members: &Members,
    introduced: &[(PeerId, Place)],
    (full_mesh, neighbours): (usize, usize),
) -> BTreeSet<PeerId> {
    let others = || {
        members
            .iter()
            .chain(introduced.iter().map(|(peer, place)| (*peer, place)))
    };
    let others = || others().filter(|(peer, _)| *peer != us);
    let all: BTreeSet<PeerId> = others().map(|(peer, _)| peer).collect();
    if all.len() < full_mesh {
        return all;
    }
    let sides = neighbours / 4;
    let far = neighbours / 2 - sides;
    let standing = others().chain([(us, place)]);
    let ring = Ring(
        standing
            .map(|(peer, place)| (place.position, peer))
            .collect(),
    );
    let mut round = ring.after(place.position).filter(|peer| *peer != us);
    let mut wanted: BTreeSet<PeerId> = round.by_ref().take(sides).collect();
    wanted.extend(round.rev().take(sides));
    wanted.extend(ring.far(us, place, far));
    wanted.extend(others().filter_map(|(peer, place)| {
        let is_ours = ring.far(peer, place, far).any(|other| other == us);
        is_ours.then_some(peer)
    }));
    wanted
}

/// What stands before every id.
const FIRST: PeerId = PeerId::LOWEST;
/// The most far neighbours that one looks for: what is left of a hash.
const MAX_FAR: usize = 3;
/// 2^64 by the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
