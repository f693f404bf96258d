//! Where signals for others go: as a learning bridge does it.
//!
//! What passes tells where its origin is. What is for somebody of whom that is known takes that way, and anything else goes
//! everywhere, once: everybody knows what it has seen. An origin that is not answered has it go everywhere again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::id::PeerId;
use crate::signal::TokenBucket;

/// The ways that are known, and what has passed.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Through which neighbour a peer was heard last.
    ways: BTreeMap<PeerId, PeerId>,
    seen: BTreeSet<(PeerId, u64)>,
    /// The same, the oldest first.
    order: VecDeque<(PeerId, u64)>,
    origins: BTreeMap<PeerId, TokenBucket>,
    /// How often a peer was written to since it was heard.
    unanswered: BTreeMap<PeerId, u32>,
}

impl Routes {
    /// Something of `origin` came from a neighbour.
    pub(super) fn learn(&mut self, origin: PeerId, neighbour: PeerId) {
        if self.ways.len() >= MAX_KNOWN {
            // They are learnt again.
            self.ways.clear();
        }
        self.ways.insert(origin, neighbour);
    }

    /// A neighbour is gone.
    pub(super) fn forget(&mut self, neighbour: PeerId) {
        self.ways.retain(|_, way| *way != neighbour);
    }

    /// Through which neighbour a peer was heard.
    pub(super) fn way(&self, to: PeerId) -> Option<PeerId> {
        self.ways.get(&to).copied()
    }

    /// Something goes to a peer from here. Returns whether it has to go everywhere, as what went before was not answered.
    pub(super) fn on_sent(&mut self, to: PeerId) -> bool {
        if self.unanswered.len() >= MAX_KNOWN {
            self.unanswered.clear();
        }
        let count = self.unanswered.entry(to).or_default();
        *count = count.saturating_add(1);
        *count > PATIENCE
    }

    /// A peer has written to us.
    pub(super) fn on_heard(&mut self, from: PeerId) {
        self.unanswered.remove(&from);
    }

    /// Whether it comes for the first time, as far as is remembered.
    pub(super) fn is_first(&mut self, origin: PeerId, id: u64) -> bool {
        if !self.seen.insert((origin, id)) {
            return false;
        }
        self.order.push_back((origin, id));
        if self.order.len() > MAX_SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    /// Whether one more of an origin may pass.
    pub(super) fn admit(&mut self, origin: PeerId, now: Instant) -> bool {
        if self.origins.len() >= MAX_KNOWN {
            // Whoever brings so many has a limit of its own as well.
            self.origins.clear();
        }
        let bucket = self.origins.entry(origin).or_insert_with(origin_bucket);
        bucket.take(now).is_ok()
    }
}

fn origin_bucket() -> TokenBucket {
    TokenBucket::new(ORIGIN_BURST, ORIGIN_INTERVAL)
}

/// What a neighbour may have passed on, of whomever it is.
pub(super) fn neighbour_bucket() -> TokenBucket {
    TokenBucket::new(NEIGHBOUR_BURST, NEIGHBOUR_INTERVAL)
}

/// How many messages may go unanswered before one goes everywhere.
const PATIENCE: u32 = 3;
/// Peers to which a way, or of which a pace, is known.
const MAX_KNOWN: usize = 8_192;
/// Signals that are remembered, so that none passes twice.
const MAX_SEEN: usize = 8_192;
/// Signals of one origin that are passed on at once, and how soon one more is.
const ORIGIN_BURST: u32 = 128;
const ORIGIN_INTERVAL: Duration = Duration::from_millis(50);
/// Signals from one neighbour that are passed on at once, and how soon one more is.
const NEIGHBOUR_BURST: u32 = 1_024;
const NEIGHBOUR_INTERVAL: Duration = Duration::from_millis(2);
