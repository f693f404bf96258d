//! Bugs are planted in the core, and the random scenarios must find them: `bash .ci/run`, or
//! `cargo test -p bowline-tests --features planted --test planted -- --nocapture` for the table.
//!
//! The scenarios, and the rules that they are held to, are those of the simulation suite. What they overlook here they would
//! overlook there.

mod list;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use bowline::planted::{self, Planted};
use bowline_sim::{DRIVERS, Driver, Invariant, Report, Scenario};

use list::BUGS;

#[test]
fn every_planted_bug_is_found_by_the_rule_that_is_there_for_it() {
    let hunts = on_all_cores(BUGS.len(), |place| hunt(BUGS[place]));
    hunts.iter().for_each(|hunt| println!("{hunt}"));
    let missed: Vec<_> = hunts.iter().filter(|hunt| hunt.seed.is_none()).collect();
    assert!(missed.is_empty(), "not found in {SEEDS} seeds: {missed:?}");
}

#[test]
fn every_planted_bug_is_listed_once() {
    for bug in Planted::ALL {
        let listed = BUGS.iter().filter(|(known, _)| *known == bug).count();
        assert_eq!(listed, 1, "{bug:?}");
    }
}

#[test]
fn without_a_bug_the_same_seeds_find_nothing() {
    let seeds = usize::try_from(SEEDS).expect("small");
    let reports = on_all_cores(seeds, |seed| run(seed as u64));
    if let Some(report) = reports.iter().find(|report| !report.passed()) {
        panic!("{report}");
    }
}

/// `docs/TESTING.md` tells what happens in it.
#[test]
fn a_shrunk_scenario_breaks_its_rule_with_the_bug_and_none_without() {
    let scenario = Scenario::from_json(include_str!("replaces_unsaid.json")).expect("valid");
    let with = planted::with(Planted::ReplacesUnsaid, || scenario.run(Driver::Exact));
    assert!(breaks(&with, Invariant::Agreement), "{with}");
    let without = scenario.run(Driver::Exact);
    assert!(without.passed(), "{without}");
}

/// What became of the search for a bug.
#[derive(Debug)]
struct Hunt {
    bug: Planted,
    rule: Invariant,
    /// The first seed in which the rule does not hold.
    seed: Option<u64>,
}

fn hunt((bug, rule): (Planted, Invariant)) -> Hunt {
    let seed = (0..SEEDS).find(|seed| breaks(&planted::with(bug, || run(*seed)), rule));
    Hunt { bug, rule, seed }
}

fn breaks(report: &Report, rule: Invariant) -> bool {
    let mut broken = report.violations.iter();
    broken.any(|violation| violation.invariant == rule)
}

/// One seed in one of the two drivers, twice.
fn run(seed: u64) -> Report {
    let driver = DRIVERS[usize::from(!seed.is_multiple_of(2))];
    Scenario::random(seed).run_twice(driver)
}

/// Does pieces of work as they come, a thread for each core. Gives what came of them, in their order.
fn on_all_cores<T: Send>(pieces: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= pieces {
                return done;
            }
            done.push((place, work(place)));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(take)).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .flat_map(|done| done.expect("no work panics"))
            .collect()
    });
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, of)| of).collect()
}

impl fmt::Display for Hunt {
    /// A row of the table in `docs/TESTING.md`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bug, rule, seed } = self;
        write!(f, "| {bug:?} | {} {rule:?} | ", rule.number())?;
        match seed {
            Some(seed) => write!(f, "{} |", seed + 1),
            None => write!(f, "not found |"),
        }
    }
}

/// Seeds that a bug may need.
const SEEDS: u64 = 600;
