//! Many random scenarios, on several threads: what the tests and the program run.
//!
//! Each seed draws a [`Scenario`], which is tried in both [`DRIVERS`]. One seed in [`TWICE_EVERY`] runs twice in each of
//! them, and both runs have to be equal: a source of chance that nobody seeded shows in every run, so that a few suffice.

mod tally;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::driver::Driver;
use crate::scenario::{Report, Scenario};

pub use tally::{Speed, Tally};

/// When the endpoints of each scenario are woken: exactly when they ask for it, and some thousand times when they have not.
pub const DRIVERS: [Driver; 2] = [
    Driver::Exact,
    Driver::Eager {
        every: Duration::from_millis(25),
    },
];

/// One seed in this many runs twice in each driver.
pub const TWICE_EVERY: u64 = 20;

/// A range of seeds, and how many threads share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swarm {
    first: u64,
    count: u64,
    jobs: usize,
}

impl Swarm {
    /// The `count` seeds from `first` on, on as many threads as the machine runs at once.
    #[must_use]
    pub fn new(first: u64, count: u64) -> Self {
        Self {
            first,
            count,
            jobs: thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// This swarm on another number of threads; at least one.
    #[must_use]
    pub fn jobs(self, jobs: usize) -> Self {
        Self {
            jobs: jobs.max(1),
            ..self
        }
    }

    /// Tries every seed. `progress` is told after each how many were tried and how many of them failed.
    ///
    /// The tally does not depend on the number of threads, but for its speed.
    pub fn run(&self, progress: impl FnMut(&Tally)) -> Tally {
        self.run_with(Scenario::random, progress)
    }

    /// The same with scenarios from elsewhere.
    fn run_with(
        &self,
        draw: impl Fn(u64) -> Scenario + Sync,
        mut progress: impl FnMut(&Tally),
    ) -> Tally {
        let (next, draw) = (&AtomicU64::new(0), &draw);
        let (results, trials) = mpsc::channel();
        let mut tally = Tally::default();
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                let results = results.clone();
                scope.spawn(move || {
                    loop {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        if place >= self.count {
                            break;
                        }
                        let seed = self.first.saturating_add(place);
                        let trial = Trial::of(&draw(seed), seed.is_multiple_of(TWICE_EVERY));
                        if results.send(trial).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(results);
            for trial in trials {
                tally.add(trial);
                progress(&tally);
            }
        });
        tally
    }
}

/// One scenario in every driver.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What each driver's run showed.
    pub reports: Vec<Report>,
    /// How long it took, by the clock.
    pub took: Duration,
}

impl Trial {
    /// Tries a scenario in every driver, twice in each where `twice` says so.
    #[must_use]
    pub fn of(scenario: &Scenario, twice: bool) -> Self {
        let start = Instant::now();
        let run = |driver| {
            if twice {
                scenario.run_twice(driver)
            } else {
                scenario.run(driver)
            }
        };
        Self {
            reports: DRIVERS.map(run).into(),
            took: start.elapsed(),
        }
    }

    /// The first run in which a rule did not hold.
    #[must_use]
    pub fn failure(&self) -> Option<&Report> {
        self.reports.iter().find(|report| !report.passed())
    }
}

#[cfg(test)]
mod tests;
