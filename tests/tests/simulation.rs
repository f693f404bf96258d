//! The simulation suite: many random scenarios, and some that were written by hand.
//!
//! `BOWLINE_SEEDS=100000` runs more seeds. `BOWLINE_SEED=7` or `BOWLINE_SCENARIO=scenario.json` with the test `replay`
//! runs one, prints its report and draws its figure.

mod simulation {
    mod connect_times;
    mod determinism;
    mod drivers;
    mod figures;
    mod hold;
    mod metrics;
    mod mixed_traffic;
    mod reach;
    mod recovery_times;
    mod replay;
    mod rooms;
    mod scenarios;
    mod scripts;
    mod sealed;
    mod seeds;
}
