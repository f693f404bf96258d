//! Random scenarios: every rule is checked after every event, in a driver that wakes endpoints exactly when they ask for it
//! and in one that wakes them far too often. One seed in twenty runs twice in each, with the same hashes.

use std::path::PathBuf;
use std::sync::OnceLock;

use bowline_sim::{Swarm, Tally};

#[test]
fn every_rule_holds_in_random_scenarios() {
    let tally = tally();
    if let Some(first) = tally.failures.first() {
        for report in &tally.failures {
            println!(
                "failed: seed {}: {}",
                report.scenario.seed, report.violations[0]
            );
        }
        let folder = folder(first.scenario.seed);
        first.shrunk(SHRINK).assert_passed(&folder);
    }
}

/// A checker that never had anything to check proves nothing.
#[test]
fn the_premise_of_every_rule_holds_in_one_percent_of_the_seeds_or_more() {
    let tally = tally();
    println!("{tally}");
    let vacuous: Vec<_> = tally.vacuous().collect();
    assert!(vacuous.is_empty(), "hardly ever checked: {vacuous:?}");
}

/// Nor does a fault that never happened. A few seeds cannot have all of them.
#[test]
fn every_fault_of_the_menu_happens_in_some_seed() {
    let missing: Vec<_> = tally().missing().collect();
    let enough = count() >= DEFAULT_SEEDS;
    assert!(missing.is_empty() || !enough, "never happened: {missing:?}");
}

/// What all seeds showed together. Whoever asks first runs them.
fn tally() -> &'static Tally {
    static TALLY: OnceLock<Tally> = OnceLock::new();
    TALLY.get_or_init(|| Swarm::new(0, count()).run(|_| {}))
}

/// How many seeds are run.
fn count() -> u64 {
    let wanted = std::env::var("BOWLINE_SEEDS").ok();
    wanted.and_then(|n| n.parse().ok()).unwrap_or(DEFAULT_SEEDS)
}

/// Where the files of a run are written.
pub(super) fn folder(seed: u64) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("simulation/seed-{seed}"))
}

/// Runs that are spent on making a scenario smaller.
pub(super) const SHRINK: usize = 500;
const DEFAULT_SEEDS: u64 = 2_000;
