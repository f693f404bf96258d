//! Peers that hide their addresses behind names of multicast DNS, as browsers do.

use std::time::Duration;

use bowline::{CandidateRefusal, Config, Event, Side};
use bowline_sim::{HostId, NatConfig, PeerSpec, World};

use super::{behind, configured, connect, server, stun};

const ALICE: HostId = 0;
const BOB: HostId = 1;

/// Alice and Bob in one network, both hidden, and no server.
fn neighbours(config: &Config) -> World {
    let hidden = |name| PeerSpec {
        config: config.clone(),
        hidden: true,
        ..PeerSpec::new(name)
    };
    World::builder(11)
        .peer_with(hidden("alice"))
        .peer_with(hidden("bob"))
        .build()
}

fn count(world: &World, host: HostId, wanted: impl Fn(&Event) -> bool) -> usize {
    let events = world.events(host).iter();
    events.filter(|(_, event)| wanted(event)).count()
}

fn is_ignored_name(event: &Event) -> bool {
    let name = CandidateRefusal::HostName;
    matches!(event, Event::CandidateIgnored { reason, .. } if *reason == name)
}

#[test]
fn neighbours_that_tell_only_names_find_each_other_by_them() {
    let mut world = neighbours(&Config::default());
    assert!(connect(&mut world));
    for (host, peer) in [(ALICE, BOB), (BOB, ALICE)] {
        let home = world.home_addresses(peer)[0];
        let is_home = |event: &Event| matches!(event, Event::CandidateAdded { side: Side::Remote, address, .. } if *address == home);
        assert_eq!(count(&world, host, is_home), 1);
        assert_eq!(count(&world, host, is_ignored_name), 0);
    }
    world.assert_no_violation();
}

#[test]
fn without_lookups_neighbours_that_tell_only_names_stay_apart() {
    let config = configured(Vec::new(), |config| config.resolve_local_names(false));
    let mut world = neighbours(&config);
    assert!(!connect(&mut world));
    assert_eq!(count(&world, ALICE, is_ignored_name), 1);
    world.assert_no_violation();
}

#[test]
fn a_name_of_another_network_leads_nowhere_and_its_owner_is_found_by_its_checks() {
    let config = configured(vec![stun("stun:turn.example")], |config| config);
    let mut world = World::builder(11)
        .gateway("first", NatConfig::full_cone())
        .gateway("second", NatConfig::port_restricted())
        .server(server())
        .peer_with(behind("alice", 0, &config))
        .peer_with(PeerSpec {
            hidden: true,
            ..behind("bob", 1, &config)
        })
        .build();
    let started = world.now();
    assert!(connect(&mut world));
    let took = world.now().since(started);
    assert!(
        took < Duration::from_secs(4),
        "no lookup is waited for: {took:?}"
    );
    assert_eq!(count(&world, ALICE, is_ignored_name), 1);
    world.assert_no_violation();
}
