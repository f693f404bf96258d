//! A checker that never had anything to check proves nothing.

use bowline_sim::{Driver, Invariant, Scenario};

/// Seeds that are looked at. Apart from those of the main suite, so that each test stands alone.
const SEEDS: u64 = 200;

#[test]
fn the_premise_of_every_rule_holds_in_one_percent_of_the_seeds_or_more() {
    let mut seeds = [0; Invariant::ALL.len()];
    let mut checks = [0; Invariant::ALL.len()];
    for seed in 0..SEEDS {
        let report = Scenario::random(seed).run_twice(Driver::Exact);
        for (place, invariant) in Invariant::ALL.into_iter().enumerate() {
            let held = report.premises.of(invariant);
            seeds[place] += u64::from(held > 0);
            checks[place] += held;
        }
    }
    for (place, invariant) in Invariant::ALL.into_iter().enumerate() {
        println!(
            "{:>2} {invariant:?}: {} checks in {} of {SEEDS} seeds",
            invariant.number(),
            checks[place],
            seeds[place]
        );
        assert!(
            seeds[place] * 100 >= SEEDS,
            "{invariant:?} was checked in {} seeds",
            seeds[place]
        );
    }
}
