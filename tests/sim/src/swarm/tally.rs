//! What the trials of a swarm showed together.

use std::fmt;
use std::time::Duration;

use crate::findings::{Invariant, Premises};
use crate::marks::{Mark, Marks};
use crate::scenario::Report;

use super::Trial;

/// What the trials of a [`Swarm`](super::Swarm) showed together. Its `Display` has the tables.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Seeds that were tried.
    pub seeds: u64,
    /// Those of them in which a rule did not hold.
    pub failed: u64,
    /// The first failing runs, in the order of their seeds: one for each seed, and at most [`Tally::MAX_FAILURES`].
    pub failures: Vec<Report>,
    /// How fast pairs were simulated.
    pub speed: Speed,
    /// How often each rule had something to check, and in how many seeds it had.
    premises: [(u64, u64); Invariant::ALL.len()],
    /// In how many seeds each entry of the fault menu happened.
    marks: [u64; Mark::ALL.len()],
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            seeds: 0,
            failed: 0,
            failures: Vec::new(),
            speed: Speed::default(),
            premises: [(0, 0); Invariant::ALL.len()],
            marks: [0; Mark::ALL.len()],
        }
    }
}

impl Tally {
    /// Failing runs that are kept.
    pub const MAX_FAILURES: usize = 8;

    /// Whether every rule held in every seed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failed == 0
    }

    /// How often a rule had something to check.
    #[must_use]
    pub fn checks(&self, invariant: Invariant) -> u64 {
        self.premises[invariant as usize].0
    }

    /// In how many seeds a rule had something to check.
    #[must_use]
    pub fn seeds_of(&self, invariant: Invariant) -> u64 {
        self.premises[invariant as usize].1
    }

    /// The rules that were put to the test in less than one percent of the seeds, and so prove nothing.
    pub fn vacuous(&self) -> impl Iterator<Item = Invariant> + '_ {
        let rare = |invariant: &Invariant| self.seeds_of(*invariant) * 100 < self.seeds;
        Invariant::ALL.into_iter().filter(rare)
    }

    /// In how many seeds an entry of the fault menu happened.
    #[must_use]
    pub fn seeds_with(&self, mark: Mark) -> u64 {
        self.marks[mark as usize]
    }

    /// The entries of the fault menu that happened in no seed.
    pub fn missing(&self) -> impl Iterator<Item = Mark> + '_ {
        Mark::ALL
            .into_iter()
            .filter(|mark| self.seeds_with(*mark) == 0)
    }

    pub(super) fn add(&mut self, trial: Trial) {
        self.seeds += 1;
        let (mut premises, mut marks) = (Premises::default(), Marks::default());
        for report in &trial.reports {
            premises.add(&report.premises);
            marks.add(report.marks);
        }
        for mark in Mark::ALL {
            self.marks[mark as usize] += u64::from(marks.has(mark));
        }
        for invariant in Invariant::ALL {
            let held = premises.of(invariant);
            let (checks, seeds) = &mut self.premises[invariant as usize];
            *checks += held;
            *seeds += u64::from(held > 0);
        }
        self.speed.add(&trial);
        if let Some(failure) = trial.failure() {
            self.failed += 1;
            self.failures.push(failure.clone());
            // Threads finish in any order.
            self.failures.sort_by_key(|report| report.scenario.seed);
            self.failures.truncate(Self::MAX_FAILURES);
        }
    }
}

/// How fast scenarios of two peers were simulated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Speed {
    /// What was simulated.
    pub simulated: Duration,
    /// How long that took, on one core.
    pub took: Duration,
}

impl Speed {
    /// Runs of two peers and sixty simulated seconds that one core makes in a second.
    #[must_use]
    pub fn pair_minutes(&self) -> f64 {
        let took = self.took.as_secs_f64();
        if took > 0.0 {
            self.simulated.as_secs_f64() / 60.0 / took
        } else {
            0.0
        }
    }

    fn add(&mut self, trial: &Trial) {
        if trial.reports.iter().all(|r| r.scenario.honest() == 2) {
            let simulated = trial.reports.iter().map(|report| report.stats.simulated);
            self.simulated += simulated.sum::<Duration>();
            self.took += trial.took;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<24} {:>10} {:>8}", "rule", "checks", "seeds")?;
        for invariant in Invariant::ALL {
            let name = format!("{:>2} {invariant:?}", invariant.number());
            let (checks, seeds) = (self.checks(invariant), self.seeds_of(invariant));
            writeln!(f, "{name:<24} {checks:>10} {seeds:>8}")?;
        }
        writeln!(f, "{:<36} {:>8}", "fault", "seeds")?;
        for mark in Mark::ALL {
            let name = format!("{mark:?}");
            writeln!(f, "{name:<36} {:>8}", self.seeds_with(mark))?;
        }
        writeln!(
            f,
            "pairs: {:.0} runs of 60 simulated seconds each second and core",
            self.speed.pair_minutes()
        )
    }
}
