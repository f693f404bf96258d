//! The matrix: every mapping and filtering against every other, as theory has it.

use std::fmt::Write as _;

use bowline_sim::{Filtering, Mapping, NatConfig, Record, has_path};

use super::{Between, connect};

fn boxes() -> Vec<NatConfig> {
    let of = |mapping| {
        Filtering::ALL.map(|filtering| NatConfig {
            mapping,
            filtering,
            ..NatConfig::port_restricted()
        })
    };
    Mapping::ALL.into_iter().flat_map(of).collect()
}

/// One seed: a pair of boxes, with or without a relay. Gives what went wrong.
fn run(seed: u64) -> Option<String> {
    let boxes = boxes();
    let at = |n: u64| &boxes[usize::try_from(n).expect("small") % boxes.len()];
    let [first, second] = [at(seed), at(seed / 9)];
    let relay = (seed / 81).is_multiple_of(2);
    let mut world = Between {
        relay,
        ..Between::new(seed, [first.clone(), second.clone()])
    }
    .world()
    .record(Record::Hashes)
    .build();
    let expected = has_path(first, second, relay);
    let connected = connect(&mut world);
    world.assert_no_violation();
    (connected != expected).then(|| {
        let boxes = [first, second].map(|b| format!("{:?} {:?}", b.mapping, b.filtering));
        format!("seed {seed}: {boxes:?}, relay {relay}: connected {connected}")
    })
}

#[test]
fn every_pair_of_boxes_connects_when_theory_allows_it_and_only_then() {
    let failed: Vec<_> = (0..SEEDS).filter_map(run).collect();
    let mut report = String::new();
    for line in &failed {
        writeln!(report, "{line}").expect("a string");
    }
    assert!(failed.is_empty(), "{} of {SEEDS}\n{report}", failed.len());
}

/// Each pair of 81, with and without a relay, some six times.
const SEEDS: u64 = 1_000;
