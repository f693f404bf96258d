//! An endpoint that is woken more often than it asks for does nothing else, and nothing earlier or later.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline::{ChannelId, ChannelKind};
use bowline_sim::{Digest, Driver, HostId, Report, Scenario};

use super::seeds;

type Deliveries = BTreeMap<(HostId, HostId, usize, ChannelId), Digest>;

fn run(scenario: &Scenario, driver: Driver) -> Report {
    let report = scenario.run(driver);
    report.assert_passed(&seeds::folder(scenario.seed));
    report
}

/// What came on the kinds on which everything must arrive.
fn reliable(deliveries: &Deliveries) -> Deliveries {
    let unreliable = ChannelKind::Unreliable.id();
    deliveries
        .iter()
        .filter(|(key, _)| key.3 != unreliable)
        .map(|(k, v)| (*k, *v))
        .collect()
}

/// Whether some pair was connected more than once.
fn reconnected(deliveries: &Deliveries) -> bool {
    deliveries.keys().any(|(_, _, birth, _)| *birth > 0)
}

#[test]
fn woken_every_millisecond_an_endpoint_delivers_the_same_where_nothing_is_lost() {
    for seed in 0..10 {
        let scenario = Scenario::random(seed).without_faults();
        let exact = run(&scenario, Driver::Exact);
        let eager = run(&scenario, Driver::EAGER);
        assert_eq!(exact.deliveries, eager.deliveries, "seed {seed}");
        assert!(!exact.deliveries.is_empty(), "seed {seed}");
    }
}

#[test]
fn woken_too_often_an_endpoint_delivers_the_same_reliable_messages_where_some_are_lost() {
    let often = Driver::Eager {
        every: Duration::from_millis(7),
    };
    let mut compared = 0;
    for seed in 0..60 {
        let scenario = Scenario::random(seed).calls_only();
        let exact = run(&scenario, Driver::Exact).deliveries;
        let eager = run(&scenario, often).deliveries;
        // Where a connection had to be made anew, the two runs lost different things.
        if !reconnected(&exact) && !reconnected(&eager) {
            assert_eq!(reliable(&exact), reliable(&eager), "seed {seed}");
            compared += 1;
        }
    }
    assert!(compared >= 40, "only {compared} seeds could be compared");
}

#[test]
fn woken_too_often_an_endpoint_breaks_no_rule_under_any_fault() {
    let often = Driver::Eager {
        every: Duration::from_millis(11),
    };
    for seed in 100..160 {
        run(&Scenario::random(seed), often);
    }
}
