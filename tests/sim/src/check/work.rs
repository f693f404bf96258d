//! Rule 10: what an endpoint does is bounded by what it was given.
//!
//! Counted is what comes out of an endpoint: each output, and each datagram of a batch. Every input and command grants a few
//! steps, and more for its length; what goes beyond is owed, and paid back by later inputs. So the sum of all steps is linear
//! in the sum of all inputs, and what one input may set free at once, such as a queue that waited for its acknowledgement,
//! is bounded.
//!
//! What the endpoint does without giving anything out has no number that would be the same on every machine: parsing is held
//! to a slope by the timed tests of the core, and kept state by the suite of the attackers.

use crate::findings::{Findings, Invariant};

/// The steps of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Work {
    granted: u64,
    owed: u64,
}

impl Work {
    /// The endpoint is given an input or a command of so many bytes.
    pub(crate) fn on_input(&mut self, bytes: usize) {
        self.granted += STEPS_PER_INPUT + bytes as u64 / BYTES_PER_STEP;
    }

    /// The endpoint, which has so many peers, has given out everything, in so many steps.
    pub(crate) fn on_drained(
        &mut self,
        name: &str,
        peers: usize,
        steps: u64,
        findings: &mut Findings,
    ) {
        self.owed = (self.owed + steps).saturating_sub(self.granted);
        self.granted = 0;
        let owed = self.owed;
        let bound = MAX_OWED * (peers as u64).max(1);
        findings.check(Invariant::Work, owed <= bound, || {
            format!("{name} made {steps} steps at once, and owes {owed}")
        });
    }
}

/// Steps that each input may cause, whatever its length.
const STEPS_PER_INPUT: u64 = 8;
/// Each time so many bytes allow one step more.
const BYTES_PER_STEP: u64 = 100;
/// Steps for each peer that may be ahead of what the inputs grant: all its queues, in small messages.
const MAX_OWED: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_lent_and_paid_back_and_more_than_that_is_a_violation() {
        let (mut work, mut findings) = (Work::default(), Findings::default());
        work.on_input(0);
        work.on_drained("a", 1, MAX_OWED + STEPS_PER_INPUT, &mut findings);
        for _ in 0..MAX_OWED {
            work.on_input(0);
            work.on_drained("a", 1, 1, &mut findings);
        }
        work.on_input(1_000);
        work.on_drained("a", 1, MAX_OWED + STEPS_PER_INPUT + 10, &mut findings);
        assert_eq!(findings.violations, []);
        work.on_drained("a", 1, 1, &mut findings);
        assert_eq!(findings.violations[0].invariant, Invariant::Work);
    }

    #[test]
    fn an_endpoint_that_gives_out_more_than_it_is_given_is_found_in_the_end() {
        let (mut work, mut findings) = (Work::default(), Findings::default());
        for _ in 0..=MAX_OWED {
            work.on_input(50);
            work.on_drained("a", 1, STEPS_PER_INPUT + 1, &mut findings);
        }
        assert_eq!(findings.violations.len(), 1);
    }
}
