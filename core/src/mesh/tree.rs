//! Publications in a room: what came, and what is kept for those whom it did not reach.
//!
//! They go along one tree for all, whose root is the member that comes first on the ring: everybody takes for its parent
//! the neighbour that is nearest to the root (as the bridges of IEEE 802.1D do), and so nothing comes twice. What a tree that
//! is changing fails to bring is noticed on the ring: everybody tells the next one what it has, and whoever lacks it asks for it.
//! As the ring goes through all, somebody who lacks something follows somebody who has it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::frame::Name;
use crate::channel::kind::Message;
use crate::id::PeerId;
use crate::signal::TokenBucket;

/// What came in a room, and what is kept of it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    origins: BTreeMap<PeerId, Origin>,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
}

#[derive(Debug)]
struct Origin {
    epoch: u64,
    highest: u64,
    /// Which of the last came: bit `n` is `highest - n`.
    came: u128,
    bucket: TokenBucket,
}

#[derive(Debug)]
struct Kept {
    name: Name,
    message: Message,
    at: Instant,
}

/// What a publication is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is new.
    Fresh,
    /// It came before, or is too old to tell.
    Duplicate,
    /// Its origin publishes too fast.
    TooFast,
}

impl Tree {
    /// A publication came. `max` is the most origins that are remembered.
    pub(super) fn on_arrival(&mut self, name: Name, max: usize, now: Instant) -> Arrival {
        let Name {
            from,
            epoch,
            number,
        } = name;
        if self.origins.len() >= max && !self.origins.contains_key(&from) {
            return Arrival::TooFast;
        }
        let origin = self.origins.entry(from).or_insert_with(|| Origin {
            epoch,
            highest: 0,
            came: 0,
            bucket: TokenBucket::new(2 * BURST, INTERVAL / 2),
        });
        if epoch < origin.epoch {
            return Arrival::Duplicate;
        }
        if epoch > origin.epoch {
            (origin.epoch, origin.highest, origin.came) = (epoch, 0, 0);
        }
        let behind = origin.highest.saturating_sub(number);
        if number <= origin.highest && (behind >= WINDOW || origin.came >> behind & 1 == 1) {
            return Arrival::Duplicate;
        }
        if origin.bucket.take(now).is_err() {
            return Arrival::TooFast;
        }
        if let Some(ahead) = number.checked_sub(origin.highest).filter(|n| *n > 0) {
            let slide = u32::try_from(ahead).unwrap_or(u32::MAX);
            origin.came = origin.came.checked_shl(slide).unwrap_or(0) | 1;
            origin.highest = number;
        } else {
            origin.came |= 1 << behind;
        }
        Arrival::Fresh
    }

    /// Whether it came.
    pub(super) fn has(&self, name: Name) -> bool {
        let Some(origin) = self.origins.get(&name.from) else {
            return false;
        };
        let behind = origin.highest.saturating_sub(name.number);
        name.epoch < origin.epoch
            || name.epoch == origin.epoch
                && name.number <= origin.highest
                && (behind >= WINDOW || origin.came >> behind & 1 == 1)
    }

    /// Keeps one for those whom it does not reach.
    pub(super) fn keep(&mut self, name: Name, message: Message, now: Instant) {
        self.kept_bytes += message.len();
        self.kept.push_back(Kept {
            name,
            message,
            at: now,
        });
        while self.kept.len() > KEPT_COUNT || self.kept_bytes > KEPT_BYTES {
            self.drop_oldest();
        }
        while self
            .kept
            .front()
            .is_some_and(|kept| kept.at + KEPT_FOR <= now)
        {
            self.drop_oldest();
        }
    }

    /// One that is kept.
    pub(super) fn kept(&self, name: Name) -> Option<&Message> {
        let kept = self.kept.iter().rev().find(|kept| kept.name == name)?;
        Some(&kept.message)
    }

    /// The names of all that are kept.
    pub(super) fn names(&self) -> Vec<Name> {
        self.kept.iter().map(|kept| kept.name).collect()
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            self.kept_bytes -= oldest.message.len();
        }
    }
}

/// What one may publish in a room.
pub(super) fn publishing_bucket() -> TokenBucket {
    TokenBucket::new(BURST, INTERVAL)
}

/// How far what is late of an origin may be behind the latest.
const WINDOW: u64 = 128;
/// Publications of one member at once, and how soon one more may follow. Others pass on twice as many, since they may
/// come closer together than they were sent.
const BURST: u32 = 64;
const INTERVAL: Duration = Duration::from_millis(50);
/// The most publications that are kept in a room, the bytes of them, and for how long.
const KEPT_COUNT: usize = 512;
const KEPT_BYTES: usize = 4 * 1024 * 1024;
const KEPT_FOR: Duration = Duration::from_secs(60);
