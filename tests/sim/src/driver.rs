//! How the clock of a world drives its endpoints, and the checks of the contract between the two.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::findings::{Findings, Invariant};
use crate::time::Time;

/// When an endpoint is woken besides at its inputs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// Exactly at its deadline, and never otherwise.
    #[default]
    Exact,
    /// At its deadline, and at each multiple of this interval as well.
    Eager {
        /// The interval.
        #[serde(rename = "every_us", with = "crate::time::micros")]
        every: Duration,
    },
}

impl Driver {
    /// Wakes each endpoint every millisecond.
    pub const EAGER: Self = Self::Eager {
        every: Duration::from_millis(1),
    };

    /// The first wake-up after `now` that no deadline asks for.
    pub(crate) fn next_tick(self, now: Time) -> Option<Time> {
        match self {
            Self::Exact => None,
            Self::Eager { every } => {
                let every = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX).max(1);
                let ticks = now.as_nanos() / every + 1;
                Some(Time::ZERO.after(Duration::from_nanos(ticks.saturating_mul(every))))
            }
        }
    }
}

/// The wake-ups of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Wakeups {
    pub(crate) total: u64,
    at: Time,
    in_a_row: u32,
}

impl Wakeups {
    /// An input that was no wake-up came: what follows at the same instant is due to it.
    pub(crate) fn on_input(&mut self) {
        self.in_a_row = 0;
    }

    /// The endpoint is woken because its deadline is reached.
    pub(crate) fn on_wakeup(&mut self, name: &str, findings: &mut Findings) {
        let now = findings.now;
        self.in_a_row = if self.at == now { self.in_a_row + 1 } else { 1 };
        self.at = now;
        self.total += 1;
        let count = self.in_a_row;
        findings.check(Invariant::NoSpinning, count <= MAX_AT_ONE_INSTANT, || {
            format!("{name} asked for {count} wake-ups at one instant")
        });
    }
}

/// Checks a deadline that a drained endpoint gave, and what it gave when asked again. Its last input was `given`, unless
/// its driver is late: then it may want to have been woken before.
pub(crate) fn check_deadline(
    name: &str,
    given: Option<Time>,
    (deadline, again): (Option<Time>, Option<Option<Time>>),
    findings: &mut Findings,
) {
    findings.check(
        Invariant::PollContract,
        again == Some(deadline),
        || match again {
            None => format!("{name} had more output after it said that there was none"),
            Some(again) => format!("{name} gave the deadline {deadline:?} and then {again:?}"),
        },
    );
    let Some(given) = given else {
        return;
    };
    findings.check(
        Invariant::NoSpinning,
        deadline.is_none_or(|at| at >= given),
        || format!("{name} gave the deadline {deadline:?}, which is past"),
    );
}

/// Wake-ups of one endpoint at one instant.
const MAX_AT_ONE_INSTANT: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_fall_on_multiples_of_the_interval() {
        assert_eq!(
            Driver::EAGER.next_tick(Time::ZERO),
            Some(Time::from_millis(1))
        );
        assert_eq!(
            Driver::EAGER.next_tick(Time::from_millis(7)),
            Some(Time::from_millis(8))
        );
        assert_eq!(Driver::Exact.next_tick(Time::ZERO), None);
    }

    #[test]
    fn the_ninth_wake_up_at_one_instant_is_a_violation() {
        let (mut wakeups, mut findings) = (Wakeups::default(), Findings::default());
        for _ in 0..MAX_AT_ONE_INSTANT {
            wakeups.on_wakeup("a", &mut findings);
        }
        assert_eq!(findings.violations, []);
        wakeups.on_wakeup("a", &mut findings);
        assert_eq!(findings.violations.len(), 1);
    }

    #[test]
    fn a_past_deadline_and_output_after_the_drain_are_violations() {
        let mut findings = Findings {
            now: Time::from_millis(5),
            ..Findings::default()
        };
        let [past, now] = [4, 5].map(|ms| Some(Time::from_millis(ms)));
        check_deadline("a", now, (now, Some(now)), &mut findings);
        check_deadline("a", past, (past, Some(past)), &mut findings);
        check_deadline("a", None, (past, Some(past)), &mut findings);
        assert_eq!(findings.violations, []);
        check_deadline("a", now, (past, Some(past)), &mut findings);
        check_deadline("a", now, (now, None), &mut findings);
        let broken: Vec<_> = findings.violations.iter().map(|v| v.invariant).collect();
        assert_eq!(broken, [Invariant::NoSpinning, Invariant::PollContract]);
    }
}
