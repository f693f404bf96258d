//! The messages of one channel in one direction: accepted, received, and what their sender was told of them.

use std::collections::VecDeque;
use std::hash::Hasher as _;

use bowline::{Message, MessageId};

use crate::findings::{Findings, Invariant};
use crate::hash::RollingHash;

/// What a channel promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    pub(crate) ordered: bool,
    pub(crate) reliable: bool,
}

impl Mode {
    pub(crate) const RELIABLE: Self = Self {
        ordered: true,
        reliable: true,
    };
    pub(crate) const UNRELIABLE: Self = Self {
        ordered: false,
        reliable: false,
    };
}

/// The messages of one channel in one direction.
#[derive(Debug)]
pub(crate) struct Flow {
    mode: Mode,
    accepted: u64,
    /// Those that may still arrive, by id, with the hashes of their contents.
    pending: VecDeque<(u64, u64)>,
    /// Handed to the transport: this many from the first on.
    sent: u64,
    /// Confirmed: this many from the first on.
    delivered: u64,
    /// Reported as not delivered: first and last, disjoint, in the order of the reports.
    failed: Vec<(u64, u64)>,
}

impl Flow {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            mode,
            accepted: 0,
            pending: VecDeque::new(),
            sent: 0,
            delivered: 0,
            failed: Vec::new(),
        }
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// How many the receiver has not got and was not told to miss.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// How many have neither been confirmed nor given up.
    pub(crate) fn unconfirmed(&self) -> usize {
        let open = self.delivered..self.accepted;
        open.filter(|id| !self.is_told(*id)).count()
    }

    pub(crate) fn on_accepted(&mut self, message: &Message) {
        self.pending
            .push_back((self.accepted, hash_message(message)));
        self.accepted += 1;
    }

    /// The receiver got a message.
    pub(crate) fn on_received(
        &mut self,
        message: &Message,
        at: impl Fn() -> String,
        findings: &mut Findings,
    ) {
        let hash = hash_message(message);
        let pending = self.pending.iter().enumerate();
        let same = pending.filter(|(_, (_, pending))| *pending == hash);
        // Empty messages are alike. Of what is the same, that which its sender has given up is the least likely.
        let place = same.min_by_key(|(place, (id, _))| (self.is_told(*id), *place));
        let place = place.map(|(place, _)| place);
        let rule = if self.mode.reliable {
            Invariant::NoInvention
        } else {
            Invariant::UnreliableBounds
        };
        findings.check(rule, place.is_some(), || {
            format!("{}: never sent, already received or given up", at())
        });
        let Some(place) = place else {
            return;
        };
        if self.mode.reliable && self.mode.ordered {
            // What may have been delivered to a process that is gone was told, and is not missed.
            let before = self.pending.iter().take(place);
            let missing = before.filter(|(id, _)| !self.is_told(*id)).count();
            findings.check(Invariant::Order, missing == 0, || {
                format!("{}: {missing} before it are missing", at())
            });
        }
        if self.mode.ordered {
            self.pending.drain(..=place);
        } else {
            self.pending.remove(place);
        }
    }

    /// Whether the sender was told that a message is not delivered, or may not be.
    fn is_told(&self, id: u64) -> bool {
        let mut failed = self.failed.iter();
        failed.any(|(first, last)| (first..=last).contains(&&id))
    }

    pub(crate) fn on_sent(
        &mut self,
        through: MessageId,
        at: impl Fn(&str) -> String,
        findings: &mut Findings,
    ) {
        let sane = through.0 < self.accepted && through.0 + 1 > self.sent;
        findings.check(Invariant::ExactlyOnceOrTold, sane, || {
            at("not after the last one")
        });
        self.sent = self.sent.max(through.0 + 1);
    }

    pub(crate) fn on_delivered(
        &mut self,
        through: MessageId,
        at: impl Fn(&str) -> String,
        findings: &mut Findings,
    ) {
        let new = through.0 < self.accepted && through.0 + 1 > self.delivered;
        findings.check(Invariant::ExactlyOnceOrTold, new, || {
            at("not after the last one")
        });
        let mut claimed = self.pending.iter().filter(|(id, _)| *id <= through.0);
        let arrived = claimed.all(|(id, _)| self.is_told(*id));
        findings.check(Invariant::ExactlyOnceOrTold, arrived, || {
            at("confirmed and never received")
        });
        let told = self.is_told(through.0);
        findings.check(Invariant::ExactlyOnceOrTold, !told, || {
            at("confirmed after it was given up")
        });
        self.delivered = self.delivered.max(through.0 + 1);
    }

    pub(crate) fn on_not_delivered(
        &mut self,
        (first, last): (MessageId, MessageId),
        maybe: bool,
        at: impl Fn(&str) -> String,
        findings: &mut Findings,
    ) {
        let (first, last) = (first.0, last.0);
        let sane = first <= last && last < self.accepted && first >= self.delivered;
        findings.check(Invariant::ExactlyOnceOrTold, sane, || {
            at("not a range of open messages")
        });
        let again = self.failed.iter().any(|(f, l)| *f <= last && first <= *l);
        findings.check(Invariant::ExactlyOnceOrTold, !again, || at("told twice"));
        self.failed.push((first, last));
        if !maybe && sane {
            let before = self.pending.len() as u64;
            self.pending.retain(|(id, _)| !(first..=last).contains(id));
            let open = before - self.pending.len() as u64;
            findings.check(
                Invariant::ExactlyOnceOrTold,
                open == last - first + 1,
                || at("given up although received"),
            );
        }
    }

    /// Checks that every message has an outcome. Called when the peer has ended.
    pub(crate) fn check_settled(&self, at: impl Fn(&str) -> String, findings: &mut Findings) {
        let certain = if self.mode.reliable {
            self.delivered
        } else {
            self.sent
        };
        let mut next = certain;
        let mut failed = self.failed.clone();
        failed.sort_unstable();
        for (first, last) in failed {
            if first <= next {
                next = next.max(last + 1);
            }
        }
        findings.check(Invariant::ExactlyOnceOrTold, next >= self.accepted, || {
            at(&format!(
                "nothing was ever told of message {next} of {}",
                self.accepted
            ))
        });
    }
}

/// A hash of the bytes and the kind of a message.
pub(crate) fn hash_message(message: &Message) -> u64 {
    let mut hash = RollingHash::new();
    hash.write_u8(u8::from(message.text));
    hash.write(&message.data);
    hash.finish()
}
