use super::*;
use crate::action::Action;
use crate::findings::Invariant;

/// A scenario whose wanted pair has no path: no host has an address in the family of the other's.
fn hopeless(seed: u64) -> Scenario {
    let mut scenario = Scenario::pair(seed);
    (scenario.peers[1].ipv4, scenario.peers[1].ipv6) = (0, 1);
    scenario
}

#[test]
fn the_tally_does_not_depend_on_the_number_of_threads() {
    let tally = |jobs| Swarm::new(100, 12).jobs(jobs).run(|_| {});
    let (one, three) = (tally(1), tally(3));
    assert_eq!((one.seeds, three.seeds), (12, 12));
    for invariant in Invariant::ALL {
        assert_eq!(one.checks(invariant), three.checks(invariant));
        assert_eq!(one.seeds_of(invariant), three.seeds_of(invariant));
    }
}

#[test]
fn every_seed_is_told_of_and_one_in_twenty_runs_twice() {
    let mut told = Vec::new();
    let pair = |seed| Scenario::pair(seed).step(0, Action::CloseAll { host: 0 });
    let tally = Swarm::new(1, 40).run_with(pair, |tally| told.push(tally.seeds));
    assert_eq!(told, (1..=40).collect::<Vec<_>>());
    assert_eq!(tally.seeds_of(Invariant::Determinism), 2, "20 and 40");
    assert!(tally.passed() && tally.failures.is_empty());
}

#[test]
fn failing_seeds_are_all_counted_and_the_first_are_kept_in_order() {
    let some = |seed| match seed % 3 {
        0 => hopeless(seed),
        _ => Scenario::pair(seed),
    };
    let tally = Swarm::new(0, 30).jobs(3).run_with(some, |_| {});
    assert_eq!((tally.seeds, tally.failed), (30, 10));
    let seeds: Vec<_> = tally.failures.iter().map(|r| r.scenario.seed).collect();
    assert_eq!(seeds, [0, 3, 6, 9, 12, 15, 18, 21]);
    let rules = tally.failures.iter().map(|r| r.violations[0].invariant);
    assert!(rules.into_iter().all(|rule| rule == Invariant::Liveness));
}
