//! Repeats one run.

use std::path::Path;

use bowline_sim::{Scenario, Trial};

use super::seeds;

/// Tries what `BOWLINE_SEED` or `BOWLINE_SCENARIO` names, or seed 0, as the seeds are, each driver twice. Prints the
/// reports and draws the figure. A scenario that fails is made smaller first.
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
    let trial = Trial::of(&scenario, true);
    for report in &trial.reports {
        println!("{report}");
    }
    let report = trial.failure().unwrap_or(&trial.reports[0]);
    let folder = seeds::folder(scenario.seed);
    let report = report.shrunk(seeds::SHRINK);
    report.write_to(&folder).expect("the folder can be written");
    println!("{}", folder.display());
    report.assert_passed(&folder);
}
