//! Who is in a room.
//!
//! Each member has an incarnation, which only the member itself raises; among what is said of one incarnation the worse
//! counts (SWIM, Das et al. 2002). So a member that is taken for lost and hears of it raises its incarnation, and everybody takes it
//! back. Where members are keys each signs that it is there in an incarnation, and that it has left: others can doubt that, which it
//! contradicts, and nothing more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::frame::Token;
use super::ring::Place;
use crate::deadlines::Deadlines;
use crate::id::PeerId;
use crate::signal::Signature;

/// What is known of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) peer: PeerId,
    pub(crate) incarnation: u64,
    pub(crate) standing: Standing,
    /// By the member, over [`Record::signed`]; none where members are not keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signature: Option<Signature>,
}

impl Record {
    /// What the member signs: that it is there in this incarnation, or has left. That somebody doubts it changes nothing of that.
    pub(super) fn signed(&self, room: Token) -> Vec<u8> {
        let Self {
            peer, incarnation, ..
        } = self;
        let standing = match self.standing {
            Standing::Here | Standing::Suspect | Standing::Lost => "here",
            Standing::Left => "left",
        };
        format!("bowline membership 1\n{room} {peer} {incarnation} {standing}").into_bytes()
    }

    /// What decides which of two that are of one member counts: the greater.
    pub(super) fn weight(&self) -> (u64, Standing) {
        (self.incarnation, self.standing)
    }
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
    record: Record,
    place: Place,
}

impl Entry {
    fn is_member(&self) -> bool {
        self.record.standing.is_member()
    }
}

/// The members of one room, without ourselves.
#[derive(Debug)]
pub(super) struct Members {
    entries: BTreeMap<PeerId, Entry>,
    /// When a suspicion ends, or somebody who is gone is forgotten.
    deadlines: Deadlines<PeerId>,
    /// The most entries, those that are gone included.
    max: usize,
    suspicion: Duration,
}

impl Members {
    pub(super) fn new(max: usize, suspicion: Duration) -> Self {
        Self {
            entries: BTreeMap::new(),
            deadlines: Deadlines::default(),
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
        let Record { peer, standing, .. } = record;
        let is_known = self.entries.contains_key(&peer);
        if !is_known && (!standing.is_member() || !self.has_room()) {
            return Change::Nothing;
        }
        let was = match self.entries.get(&peer) {
            Some(entry) if record.weight() <= entry.record.weight() => return Change::Nothing,
            Some(entry) => entry.is_member(),
            None => false,
        };
        let new = || Entry {
            record,
            place: place(),
        };
        self.entries.entry(peer).or_insert_with(new).record = record;
        match standing {
            Standing::Here => self.deadlines.clear(peer),
            Standing::Suspect => self.deadlines.set(peer, now + self.suspicion),
            Standing::Lost | Standing::Left => self.deadlines.set(peer, now + REMEMBERED),
        }
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
        while let Some(peer) = self.deadlines.pop_due(now) {
            let standing = Standing::Lost;
            if let Some(entry) = self.entries.get(&peer).filter(|entry| entry.is_member()) {
                return Some(Record {
                    standing,
                    ..entry.record
                });
            }
            self.entries.remove(&peer);
        }
        None
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first()
    }

    /// Whether it is in the room.
    pub(super) fn contains(&self, peer: PeerId) -> bool {
        self.entries.get(&peer).is_some_and(Entry::is_member)
    }

    /// Who is in the room.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerId, &Place)> {
        let entries = self.entries.iter();
        let members = entries.filter(|(_, entry)| entry.is_member());
        members.map(|(peer, entry)| (*peer, &entry.place))
    }

    /// What is known of one.
    pub(super) fn record(&self, peer: PeerId) -> Option<Record> {
        Some(self.entries.get(&peer)?.record)
    }

    /// What is known of those in some of the parts, given as bits.
    pub(super) fn records(&self, buckets: u16) -> impl Iterator<Item = Record> {
        let entries = self.entries.values();
        let there = entries.filter(move |entry| buckets & entry.place.bucket() != 0);
        there.map(|entry| entry.record)
    }

    /// A hash of who is in each part. `us` is among them.
    pub(super) fn digest(&self, us: (u64, &Place)) -> Vec<u32> {
        let mut buckets = vec![0_u32; BUCKETS];
        let members = self.entries.values();
        let members = members.filter(|entry| entry.is_member());
        let members = members.map(|entry| (entry.record.incarnation, &entry.place));
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
        let oldest = self.deadlines.iter().find(|peer| !self.contains(*peer));
        if let Some(oldest) = oldest {
            self.deadlines.clear(oldest);
            self.entries.remove(&oldest);
        }
        oldest.is_some()
    }
}

/// Into how many parts a digest is cut.
pub(super) const BUCKETS: usize = 16;
/// How long those who are gone are remembered, so that what is still under way of them is recognised.
const REMEMBERED: Duration = Duration::from_secs(300);
