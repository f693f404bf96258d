//! Random scenarios: every rule is checked after every event, and each runs twice with the same hashes, in a driver
//! that wakes endpoints exactly when they ask for it and in one that wakes them far too often.

use std::path::PathBuf;
use std::time::Duration;

use bowline_sim::{Driver, Scenario};

/// How many tests the seeds are spread over, so that they run in parallel.
const CHUNKS: u64 = 8;

/// Wakes every endpoint some thousand times in a run when it has not asked for it.
const OVER_EAGER: Driver = Driver::Eager {
    every: Duration::from_millis(25),
};

/// Runs the seeds of one chunk, in both drivers. All that fail are named; the first is written down.
fn run(chunk: u64) {
    let mut failed = Vec::new();
    for seed in (chunk..super::seeds::count()).step_by(usize::try_from(CHUNKS).expect("small")) {
        let scenario = Scenario::random(seed);
        for driver in [Driver::Exact, OVER_EAGER] {
            let report = scenario.run_twice(driver);
            if !report.passed() {
                failed.push(report);
            }
        }
    }
    if let Some(first) = failed.first() {
        for report in &failed {
            println!(
                "failed: seed {}: {}",
                report.scenario.seed, report.violations[0]
            );
        }
        first.assert_passed(&folder(first.scenario.seed));
    }
}

/// How many seeds are run.
pub(super) fn count() -> u64 {
    std::env::var("BOWLINE_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000)
}

/// Where the files of a run are written.
pub(super) fn folder(seed: u64) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("simulation/seed-{seed}"))
}

macro_rules! chunks {
    ($($name:ident: $chunk:literal,)*) => {
        $(
            #[test]
            fn $name() {
                run($chunk);
            }
        )*
    };
}

chunks! {
    every_rule_holds_in_random_scenarios_0: 0,
    every_rule_holds_in_random_scenarios_1: 1,
    every_rule_holds_in_random_scenarios_2: 2,
    every_rule_holds_in_random_scenarios_3: 3,
    every_rule_holds_in_random_scenarios_4: 4,
    every_rule_holds_in_random_scenarios_5: 5,
    every_rule_holds_in_random_scenarios_6: 6,
    every_rule_holds_in_random_scenarios_7: 7,
}
