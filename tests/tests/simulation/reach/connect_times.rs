//! How long two peers behind boxes take from `connect` to the first message, over every pair that has a path.
//!
//! The round trip between the peers is 100 ms and to the servers as long; signalling takes half of it each way, without
//! loss. A pair without a direct path has a relay, whose way is two round trips. Times are virtual and exact.

use std::fmt::Write as _;
use std::time::Duration;

use bowline::ChannelKind;
use bowline_sim::{LinkConfig, NatConfig, Record, has_path};

use super::{Between, POOL};

const RTT: Duration = Duration::from_millis(100);
/// The runs behind each figure with loss.
const SEEDS: u64 = 40;

fn kinds() -> [(&'static str, NatConfig); 5] {
    [
        ("open", NatConfig::open()),
        ("full cone", NatConfig::full_cone()),
        ("address", NatConfig::address_restricted()),
        ("port", NatConfig::port_restricted()),
        ("symmetric", NatConfig::symmetric()),
    ]
}

/// From `connect` to the first message at bob. `None`: not within the timeout.
fn first_message(boxes: [NatConfig; 2], relay: bool, percent: u32, seed: u64) -> Option<Duration> {
    let way = LinkConfig::with_latency(RTT / 2);
    let mut world = Between {
        relay,
        ..Between::new(seed, boxes)
    }
    .world()
    .record(Record::Hashes)
    .link(way.clone().lossy(f64::from(percent) / 100.0))
    .bus(way)
    .build();
    // With loss some questions are asked again.
    world.run_for(POOL * 3);
    let start = world.now();
    world.connect(0, 1).expect("alice knows nobody");
    let kind = ChannelKind::Reliable;
    world.send(0, 1, kind, "hello").expect("the queue is empty");
    let arrived = |world: &bowline_sim::World| world.received(1, 0, kind).messages == 1;
    let came = world.run_until(arrived, Duration::from_secs(16));
    world.assert_no_violation();
    came.then(|| world.now().since(start))
}

/// The nearest rank.
fn percentile(sorted: &[Option<Duration>], percent: usize) -> String {
    let at = (sorted.len() * percent).div_ceil(100) - 1;
    sorted[at].map_or("none".into(), |time| time.as_millis().to_string())
}

#[test]
fn the_first_message_behind_boxes_arrives_within_the_times_of_this_table() {
    let mut table =
        String::from("ms from connect to the first message, p50 and p95, at 0, 5 and 20 % loss\n");
    let kinds = kinds();
    for (at, (first_name, first)) in kinds.iter().enumerate() {
        for (second_name, second) in &kinds[at..] {
            let direct = has_path(first, second, false);
            let mut line = format!("{first_name:<9} - {second_name:<9}");
            line += if direct { " direct " } else { " relayed" };
            for percent in [0, 5, 20] {
                let seeds = if percent == 0 { 1 } else { SEEDS };
                let run =
                    |seed| first_message([first.clone(), second.clone()], !direct, percent, seed);
                let mut times: Vec<_> = (0..seeds).map(run).collect();
                // Those that never came are the slowest.
                times.sort_by_key(|time| time.unwrap_or(Duration::MAX));
                if percent == 0 && direct {
                    let median = times[0].expect("there is a path");
                    assert!(
                        median <= RTT * 6,
                        "{first_name} - {second_name}: {median:?}"
                    );
                }
                write!(
                    line,
                    " {:>6} {:>6}",
                    percentile(&times, 50),
                    percentile(&times, 95)
                )
                .expect("a string");
            }
            writeln!(table, "{line}").expect("a string");
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn connecting_adds_no_round_trip_for_gathering() {
    // Two hosts on the internet need no server; behind boxes the pool has what they need before they connect.
    let bare = first_message([NatConfig::open(), NatConfig::open()], false, 0, 1);
    let boxed = [NatConfig::port_restricted(), NatConfig::port_restricted()];
    let boxed = first_message(boxed, false, 0, 1);
    let slack = Duration::from_millis(60);
    assert!(
        boxed.expect("a path") <= bare.expect("a path") + slack,
        "{boxed:?} {bare:?}"
    );
}
