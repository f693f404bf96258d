use std::time::Duration;

use bowline::{ChannelKind, PeerState};

use super::builder::PeerSpec;
use super::*;
use crate::net::{LinkConfig, NatConfig};

const LIMIT: Duration = Duration::from_secs(15);

fn pair(seed: u64, link: LinkConfig) -> World {
    let mut world = World::builder(seed)
        .link(link)
        .peer("alice")
        .peer("bob")
        .build();
    world.connect(0, 1).expect("accepted");
    world
}

#[test]
fn two_peers_connect_over_a_lossy_link_and_exchange_messages() {
    let mut world = pair(1, LinkConfig::default().lossy(0.05));
    let connected = world.run_until(|world| world.connected(0, 1), LIMIT);
    world.assert_no_violation();
    assert!(connected, "{:?} {:?}", world.state(0, 1), world.state(1, 0));
    for text in ["one", "two", "three"] {
        world
            .send(0, 1, ChannelKind::Reliable, text)
            .expect("accepted");
    }
    let arrived = |world: &World| world.received(1, 0, ChannelKind::Reliable).messages == 3;
    assert!(world.run_until(arrived, LIMIT));
    world.assert_no_violation();
}

#[test]
fn a_close_is_told_to_both_sides_and_leaves_nothing() {
    let mut world = pair(2, LinkConfig::default());
    assert!(world.run_until(|world| world.connected(0, 1), LIMIT));
    world.close(0, 1).expect("connected");
    world.run_for(Duration::from_secs(120));
    assert_eq!(world.state(0, 1), Some(PeerState::Closed));
    assert_eq!(world.state(1, 0), Some(PeerState::Closed));
    world.check_cleanup(0);
    world.check_cleanup(1);
    world.assert_no_violation();
}

#[test]
fn hosts_behind_a_box_connect_to_public_ones_and_are_seen_at_its_address() {
    let hidden = |name| PeerSpec {
        behind: Some(0),
        ..PeerSpec::new(name)
    };
    let mut world = World::builder(3)
        .gateway("home", NatConfig::symmetric())
        .peer_with(hidden("alice"))
        .peer("bob")
        .peer_with(hidden("carol"))
        .build();
    assert_eq!(world.gateway("home"), 0);
    assert_eq!(world.addresses(2)[0].to_string(), "192.168.1.3:5000");
    for peer in [1, 2] {
        world.connect(0, peer).expect("accepted");
        assert!(world.run_until(|world| world.connected(0, peer), LIMIT));
    }
    let external = world.network().external(0);
    let seen = world.events(1).iter().any(|(_, event)| {
        matches!(event, bowline::Event::PathChanged { to, .. } if to.remote.ip() == external)
    });
    assert!(seen, "{:?}", world.events(1));
    assert!(world.has_path(0, 1, false) && world.has_path(0, 2, false));
    world.assert_no_violation();
}
