//! Who is in a room.
//!
//! Each member has an incarnation, which only the member itself raises; among what is said of one incarnation the worse
//! counts (SWIM, Das et al. 2002). So a member that is taken for lost and hears of it raises its incarnation, and everybody takes it
//! back. Nothing of it is signed: whoever is in the room can say that another one is gone, and is contradicted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::frame::MAX_NUMBER;
use super::ring::Place;
use crate::id::PeerId;

/// What is known of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) peer: PeerId,
    pub(crate) incarnation: u64,
    pub(crate) standing: Standing,
}

/// How a member stands, the worse later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    /// It is there.
    Here,
    /// Somebody does not reach it. It is given up unless it contradicts.
    Suspect,
    /// It did not contradict.
    Lost,
    /// It said farewell.
    Left,
}

impl Standing {
    pub(super) fn is_member(self) -> bool {
        self <= Self::Suspect
    }
}

/// What a record has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is known, or older than what is known.
    Nothing,
    /// It is news, but nobody came or went.
    News,
    /// Somebody came.
    Joined,
    /// Somebody went.
    Gone { lost: bool },
}

#[derive(Debug)]
struct Entry {
    incarnation: u64,
    standing: Standing,
    place: Place,
    /// When a suspicion ends, or the entry is forgotten.
    deadline: Option<Instant>,
}

/// The members of one room, without ourselves.
#[derive(Debug)]
pub(super) struct Members {
    entries: BTreeMap<PeerId, Entry>,
    deadlines: BTreeSet<(Instant, PeerId)>,
    /// The most entries, those that are gone included.
    max: usize,
    suspicion: Duration,
}

impl Members {
    pub(super) fn new(max: usize, suspicion: Duration) -> Self {
        Self {
            entries: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            max,
            suspicion,
        }
    }

    /// Takes what somebody says of a member.
    pub(super) fn merge(
        &mut self,
        record: Record,
        place: impl FnOnce() -> Place,
        now: Instant,
    ) -> Change {
        let Record {
            peer,
            incarnation,
            standing,
        } = record;
        let is_known = self.entries.contains_key(&peer);
        if !is_known && (!standing.is_member() || !self.has_room()) {
            return Change::Nothing;
        }
        let was = match self.entries.get(&peer) {
            Some(entry) if (incarnation, standing) <= (entry.incarnation, entry.standing) => {
                return Change::Nothing;
            }
            Some(entry) => entry.standing.is_member(),
            None => false,
        };
        let incarnation = incarnation.min(MAX_NUMBER);
        let entry = self.entries.entry(peer).or_insert_with(|| Entry {
            incarnation,
            standing,
            place: place(),
            deadline: None,
        });
        entry.incarnation = incarnation;
        entry.standing = standing;
        let lasts = match standing {
            Standing::Here => None,
            Standing::Suspect => Some(self.suspicion),
            Standing::Lost | Standing::Left => Some(REMEMBERED),
        };
        let deadline = lasts.map(|lasts| now + lasts);
        if let Some(old) = std::mem::replace(&mut entry.deadline, deadline) {
            self.deadlines.remove(&(old, peer));
        }
        self.deadlines.extend(deadline.map(|at| (at, peer)));
        match (was, standing.is_member()) {
            (false, true) => Change::Joined,
            (true, false) => Change::Gone {
                lost: standing == Standing::Lost,
            },
            _ => Change::News,
        }
    }

    /// Gives up the next member that did not contradict, or forgets who has long gone.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Record> {
        while let Some((at, peer)) = self.deadlines.first().copied() {
            if at > now {
                return None;
            }
            self.deadlines.remove(&(at, peer));
            let Some(entry) = self.entries.get_mut(&peer) else {
                continue;
            };
            entry.deadline = None;
            if entry.standing.is_member() {
                return Some(Record {
                    peer,
                    incarnation: entry.incarnation,
                    standing: Standing::Lost,
                });
            }
            self.entries.remove(&peer);
        }
        None
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Whether it is in the room.
    pub(super) fn contains(&self, peer: PeerId) -> bool {
        let entry = self.entries.get(&peer);
        entry.is_some_and(|entry| entry.standing.is_member())
    }

    /// Who is in the room.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerId, &Place)> {
        let entries = self.entries.iter();
        let members = entries.filter(|(_, entry)| entry.standing.is_member());
        members.map(|(peer, entry)| (*peer, &entry.place))
    }

    /// What is known of one.
    pub(super) fn record(&self, peer: PeerId) -> Option<Record> {
        let entry = self.entries.get(&peer)?;
        Some(Record {
            peer,
            incarnation: entry.incarnation,
            standing: entry.standing,
        })
    }

    /// What is known of those in some of the parts, given as bits.
    pub(super) fn records(&self, buckets: u16) -> impl Iterator<Item = Record> {
        let entries = self.entries.iter();
        let there = entries.filter(move |(_, entry)| buckets & entry.place.bucket() != 0);
        there.filter_map(|(peer, _)| self.record(*peer))
    }

    /// A hash of who is in each part. `us` is among them.
    pub(super) fn digest(&self, us: (u64, &Place)) -> Vec<u32> {
        let mut buckets = vec![0_u32; BUCKETS];
        let members = self.entries.values();
        let members = members.filter(|entry| entry.standing.is_member());
        let members = members.map(|entry| (entry.incarnation, &entry.place));
        for (incarnation, place) in members.chain([us]) {
            let part = place.bucket().trailing_zeros() as usize;
            if let Some(bucket) = buckets.get_mut(part) {
                *bucket = bucket.wrapping_add(place.hash(incarnation));
            }
        }
        buckets
    }

    fn has_room(&mut self) -> bool {
        if self.entries.len() < self.max {
            return true;
        }
        let mut gone = self.deadlines.iter();
        let is_gone = |peer: &PeerId| !self.contains(*peer);
        let Some(oldest) = gone.find(|(_, peer)| is_gone(peer)).copied() else {
            return false;
        };
        self.deadlines.remove(&oldest);
        self.entries.remove(&oldest.1);
        true
    }
}

/// Into how many parts a digest is cut.
pub(super) const BUCKETS: usize = 16;
/// How long those who are gone are remembered, so that what is still under way of them is recognised.
const REMEMBERED: Duration = Duration::from_secs(300);
