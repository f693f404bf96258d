//! Floods of connectivity checks.

use std::time::Duration;

use bowline::Config;
use bowline_sim::attack::{Checks, StunFlood};

use super::stage::{MALLORY, Report, START, Stage, VICTIM};

/// 10,000 checks, from 10,000 addresses.
const CHECKS: u64 = 10_000;
/// As many as there can be from strangers, at one time.
const STRANGERS: u64 = 1_000_000;
/// Ten a millisecond, and some time to see what remains.
const DURATION: Duration = Duration::from_secs(3);
/// What the ICE agent keeps for an address: a candidate, a pair and its checks. Measured 2.6 KB.
const BYTES_PER_SOURCE: usize = 3_072;

fn flood(checks: Checks) -> StunFlood {
    let target = bowline_sim::addresses(VICTIM, 1, 0)[0];
    StunFlood::new(target, checks, CHECKS).starting_at(START)
}

fn run(flood: StunFlood) -> Report {
    Stage::with(&Config::default(), flood).attacked(DURATION)
}

fn max_sources() -> usize {
    Config::default().limits().max_unvalidated_sources
}

#[test]
fn a_million_checks_of_strangers_leave_nothing_and_get_no_answer() {
    let target = bowline_sim::addresses(VICTIM, 1, 0)[0];
    let flood = StunFlood::new(target, Checks::UnknownName, STRANGERS);
    let flood = flood.starting_at(START).at_once(1_000);
    let report = run(flood);
    assert_eq!(report.stats.dropped.unknown_ufrag, STRANGERS);
    assert_eq!(report.sent, 0);
    // Some 3 us for each, of which the simulator takes the most.
    report.assert_harmless_within(Duration::from_secs(20), 0);
}

#[test]
fn checks_with_a_wrong_password_take_no_place_and_get_no_answer() {
    let report = run(flood(Checks::WrongPassword));
    assert_eq!(report.stats.dropped.wrong_password, CHECKS);
    assert_eq!(report.sent, 0);
    report.assert_harmless(0);
}

#[test]
fn right_checks_from_forged_addresses_make_the_agent_keep_no_more_than_the_limit() {
    let report = run(flood(Checks::Right));
    let let_through = u64::try_from(max_sources()).expect("few");
    assert_eq!(report.stats.dropped.too_many_sources, CHECKS - let_through);
    // An answer and the checks of the pair, for each that was let through.
    assert!(
        report.sent <= 8 * i64::try_from(let_through).expect("few"),
        "{report}"
    );
    report.assert_harmless(max_sources() * BYTES_PER_SOURCE);
}

#[test]
fn right_checks_of_a_peer_that_answers_from_ten_thousand_ports_are_limited_too() {
    let mut stage = Stage::with(&Config::default(), flood(Checks::Right));
    for n in 0..CHECKS {
        stage.world.network().attach(MALLORY, StunFlood::source(n));
    }
    let report = stage.attacked(DURATION);
    // Validated addresses are remembered up to the same limit, and what follows counts as unvalidated.
    assert!(report.stats.dropped.too_many_sources >= CHECKS - 2 * max_sources() as u64);
    report.assert_harmless(2 * max_sources() * BYTES_PER_SOURCE);
}
