//! Repeats one run.

use std::path::Path;

use bowline_sim::{Driver, Scenario};

use super::seeds;

/// Runs what `BOWLINE_SEED` or `BOWLINE_SCENARIO` names, or seed 0, prints the report and draws the figure.
///
/// With `BOWLINE_SHRINK=1` a scenario that fails is made smaller first.
#[test]
fn replay_of_one_scenario() {
    let var = |name| std::env::var(name).ok();
    let seed = var("BOWLINE_SEED")
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0);
    let scenario = match var("BOWLINE_SCENARIO") {
        Some(path) => Scenario::read(Path::new(&path)).expect("a scenario"),
        None => Scenario::random(seed),
    };
    let mut report = scenario.run_twice(Driver::Exact);
    if let (Some(violation), Some(_)) = (report.violations.first(), var("BOWLINE_SHRINK")) {
        let rule = violation.invariant;
        let fails = |smaller: &Scenario| {
            let report = smaller.run_twice(Driver::Exact);
            report
                .violations
                .first()
                .is_some_and(|violation| violation.invariant == rule)
        };
        report = scenario.shrink(SHRINK, fails).run_twice(Driver::Exact);
    }
    let folder = seeds::folder(scenario.seed);
    report.write_to(&folder).expect("the folder can be written");
    println!("{report}{}", folder.display());
    report.assert_passed(&folder);
}

/// Runs that are spent on making a scenario smaller.
const SHRINK: usize = 500;
