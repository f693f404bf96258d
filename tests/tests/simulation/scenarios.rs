//! Scenarios that were written by hand, for what must go one way and no other.

mod channels;
mod closing;
mod connecting;
mod found;
mod losing;

use std::time::Duration;

use bowline::{Event, PeerState};
use bowline_sim::{LinkConfig, World};

/// More than any connect takes.
const CONNECT: Duration = Duration::from_secs(16);

/// Two hosts, 0 and 1.
fn pair(seed: u64, link: LinkConfig) -> World {
    World::builder(seed)
        .link(link)
        .peer("alice")
        .peer("bob")
        .build()
}

/// Two hosts that are connected to each other.
fn connected(seed: u64, link: LinkConfig) -> World {
    let mut world = pair(seed, link);
    world.connect(0, 1).expect("alice knows nobody");
    let up = world.run_until(|world| world.connected(0, 1), CONNECT);
    world.assert_no_violation();
    assert!(up, "{:?} and {:?}", world.state(0, 1), world.state(1, 0));
    world
}

/// The states through which `host` went with its only peer.
fn states(world: &World, host: usize) -> Vec<PeerState> {
    let events = world.events(host).iter();
    events
        .filter_map(|(_, event)| match event {
            Event::State { to, .. } => Some(*to),
            _ => None,
        })
        .collect()
}

/// Lets everything end, and checks that nothing is left.
fn close_all(world: &mut World) {
    for host in 0..world.hosts() {
        world.close_all(host);
    }
    world.run_until(World::is_idle, Duration::from_secs(180));
    for host in 0..world.hosts() {
        world.check_cleanup(host);
    }
    world.assert_no_violation();
}
