//! The same seed gives the same run: with real DTLS, and in another process.

use std::process::Command;

use bowline_sim::{Driver, Dtls, Scenario};

use super::seeds;

#[test]
fn with_real_dtls_a_seed_gives_the_same_events_sizes_and_times_again() {
    for seed in 0..8 {
        let scenario = Scenario {
            dtls: Dtls::Real,
            ..Scenario::random(seed)
        };
        scenario
            .run_twice(Driver::Exact)
            .assert_passed(&seeds::folder(seed));
    }
}

#[test]
fn a_seed_gives_the_same_hashes_in_another_process() {
    for seed in [3, 30] {
        let here = Scenario::random(seed).run(Driver::Exact).hashes;
        let output = Command::new(std::env::current_exe().expect("a test has a file"))
            .args([
                "simulation::replay::replay_of_one_scenario",
                "--exact",
                "--nocapture",
            ])
            .env("BOWLINE_SEED", seed.to_string())
            .env_remove("BOWLINE_SCENARIO")
            .output()
            .expect("the test binary can be run");
        let text = String::from_utf8_lossy(&output.stdout);
        let hashes = format!("hashes {:016x} {:016x}", here.events, here.sizes);
        assert!(text.contains(&hashes), "{hashes} is not in:\n{text}");
    }
}

#[test]
fn another_seed_gives_another_run() {
    let hashes = |seed| {
        Scenario {
            seed,
            ..Scenario::random(1)
        }
        .run(Driver::Exact)
        .hashes
    };
    assert_ne!(hashes(1).events, hashes(2).events);
    assert_ne!(hashes(1).sizes, hashes(2).sizes);
}
