//! How fast the simulator is: simulated seconds of idle peers, and connects with some messages, for each second.

use std::time::Duration;

use bowline::ChannelKind;
use bowline_sim::{Action, Record, World};
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

fn world(seed: u64) -> World {
    let mut world = World::builder(seed)
        .record(Record::Hashes)
        .peer("alice")
        .peer("bob")
        .build();
    world.connect(0, 1).expect("alice knows nobody");
    world
}

fn connect(world: &mut World) {
    let up = world.run_until(|world| world.connected(0, 1), Duration::from_secs(15));
    assert!(up, "perfect links");
}

/// Items are simulated seconds.
#[divan::bench(sample_count = 20)]
fn idle_seconds_of_two_peers(bencher: Bencher<'_, '_>) {
    const SECONDS: u64 = 1_000;
    bencher
        .counter(ItemsCount::new(SECONDS))
        .with_inputs(|| {
            let mut world = world(1);
            connect(&mut world);
            world
        })
        .bench_local_refs(|world| world.run_for(Duration::from_secs(SECONDS)));
}

/// Items are connects, with 200 messages on each.
#[divan::bench(sample_count = 100)]
fn connects_with_200_messages(bencher: Bencher<'_, '_>) {
    let mut seed = 0;
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        seed += 1;
        let mut world = world(seed);
        connect(&mut world);
        let channel = ChannelKind::Reliable;
        world.apply(Action::Send {
            from: 0,
            to: 1,
            channel,
            size: 100,
            count: 200,
            text: false,
        });
        let all = |world: &World| world.received(1, 0, channel).messages == 200;
        assert!(
            world.run_until(all, Duration::from_secs(15)),
            "perfect links"
        );
    });
}
