//! What the checkers found: violations, and how often each had something to check.

use std::fmt;

use crate::time::Time;

/// A rule that holds in every run. The numbers are those of `docs/TESTING.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// 1: every accepted message is delivered exactly once, or its sender is told.
    ExactlyOnceOrTold,
    /// 2: reliable channels keep the order, without gaps that nobody was told of.
    Order,
    /// 3: what is delivered was sent, in this session, with the same bytes and of the same kind.
    NoInvention,
    /// 4: unreliable messages arrive at most once, unchanged, and never after they were given up.
    UnreliableBounds,
    /// 5: after a drain nothing comes out before the deadline without an input.
    PollContract,
    /// 6: no deadline lies in the past, and few wake-ups fall on one instant.
    NoSpinning,
    /// 7: the same seed and inputs give the same outputs.
    Determinism,
    /// 8: nothing panics: no input and no order of calls does it.
    NoPanic,
    /// 9: queues stay within their configured bounds.
    Bounds,
    /// 10: what an endpoint does is bounded by what it was given.
    Work,
    /// 11: secured datagrams go only to addresses that answered a check on that path in the last 30 s.
    Consent,
    /// 12: datagrams go only to addresses that were announced or have written first.
    KnownAddresses,
    /// 13: nothing is delivered, and nobody connected, before descriptions were agreed.
    Authentication,
    /// 14: a duplicate of a signalling message changes nothing.
    SignallingSafety,
    /// 15: when both sides start at once, one session comes of it.
    Glare,
    /// 16: after faults end, every wanted pair is connected within a bound.
    Liveness,
    /// 17: at rest both ends agree on the state and on the session.
    Agreement,
    /// 18: only documented transitions, one terminal state, and nothing after it.
    StateMachine,
    /// 19: nothing is sent through an allocation, a permission or a channel that is over, and none is left one lifetime after
    /// the close.
    TurnCare,
    /// 20: nothing secret is in events, explanations and configurations.
    Secrets,
    /// 20, too: after the close nothing is left: no peers, no deadline, no output.
    Cleanup,
}

impl Invariant {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 21] = [
        Self::ExactlyOnceOrTold,
        Self::Order,
        Self::NoInvention,
        Self::UnreliableBounds,
        Self::PollContract,
        Self::NoSpinning,
        Self::Determinism,
        Self::NoPanic,
        Self::Bounds,
        Self::Work,
        Self::Consent,
        Self::KnownAddresses,
        Self::Authentication,
        Self::SignallingSafety,
        Self::Glare,
        Self::Liveness,
        Self::Agreement,
        Self::StateMachine,
        Self::TurnCare,
        Self::Secrets,
        Self::Cleanup,
    ];

    /// The number under which the rule is documented.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::ExactlyOnceOrTold => 1,
            Self::Order => 2,
            Self::NoInvention => 3,
            Self::UnreliableBounds => 4,
            Self::PollContract => 5,
            Self::NoSpinning => 6,
            Self::Determinism => 7,
            Self::NoPanic => 8,
            Self::Bounds => 9,
            Self::Work => 10,
            Self::Consent => 11,
            Self::KnownAddresses => 12,
            Self::Authentication => 13,
            Self::SignallingSafety => 14,
            Self::Glare => 15,
            Self::Liveness => 16,
            Self::Agreement => 17,
            Self::StateMachine => 18,
            Self::TurnCare => 19,
            Self::Secrets | Self::Cleanup => 20,
        }
    }
}

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub invariant: Invariant,
    /// When.
    pub at: Time,
    /// What was seen, and where.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            invariant,
            at,
            text,
        } = self;
        write!(
            f,
            "[{} {invariant:?}] at {at} s: {text}",
            invariant.number()
        )
    }
}

/// How often the premise of each rule held: a rule that was never put to the test proves nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Premises([u64; Invariant::ALL.len()]);

impl Premises {
    /// How often the premise of `invariant` held.
    #[must_use]
    pub fn of(&self, invariant: Invariant) -> u64 {
        self.0[invariant as usize]
    }

    pub(crate) fn note(&mut self, invariant: Invariant) {
        self.0[invariant as usize] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (here, there) in self.0.iter_mut().zip(other.0) {
            *here += there;
        }
    }
}

/// Where the checkers put what they find.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) now: Time,
    pub(crate) premises: Premises,
    pub(crate) violations: Vec<Violation>,
}

impl Findings {
    /// Notes that the premise of `invariant` held, and a violation unless `holds`.
    pub(crate) fn check(
        &mut self,
        invariant: Invariant,
        holds: bool,
        text: impl FnOnce() -> String,
    ) {
        self.premises.note(invariant);
        if !holds && self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation {
                invariant,
                at: self.now,
                text: text(),
            });
        }
    }
}

/// Violations kept; the first ones tell most.
const MAX_VIOLATIONS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invariant_has_its_own_place_and_number() {
        for (place, invariant) in Invariant::ALL.into_iter().enumerate() {
            assert_eq!(invariant as usize, place);
        }
        let mut numbers: Vec<u8> = Invariant::ALL.map(Invariant::number).into();
        assert!(numbers.is_sorted());
        numbers.dedup();
        assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    }

    #[test]
    fn violations_are_bounded_and_premises_counted_on() {
        let mut findings = Findings::default();
        for _ in 0..MAX_VIOLATIONS + 1 {
            findings.check(Invariant::Order, false, String::new);
        }
        assert_eq!(findings.violations.len(), MAX_VIOLATIONS);
        assert_eq!(
            findings.premises.of(Invariant::Order),
            MAX_VIOLATIONS as u64 + 1
        );
    }
}
