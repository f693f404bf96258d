use std::time::Duration;

use bowline::{ChannelKind, PeerState};

use super::builder::PeerSpec;
use super::*;
use crate::action::Pace;
use crate::marks::Mark;
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

fn connected(seed: u64) -> World {
    let mut world = pair(seed, LinkConfig::default());
    assert!(world.run_until(|world| world.connected(0, 1), LIMIT));
    world
}

#[test]
fn a_machine_that_sleeps_does_nothing_and_does_what_was_put_off_when_it_wakes() {
    let mut world = connected(5);
    let inputs = |world: &World| world.stats().inputs;
    world.suspend(0, Duration::from_secs(3_600));
    world.suspend(1, Duration::from_secs(3_600));
    let before = inputs(&world);
    let at = world.now().after(Duration::from_secs(60));
    world.at(at, Action::Connect { from: 0, to: 1 });
    world.at(at, Action::Close { from: 0, to: 1 });
    world.run_for(Duration::from_secs(3_599));
    assert_eq!(inputs(&world), before);
    assert_eq!(world.state(0, 1), Some(PeerState::Connected));
    world.run_for(Duration::from_secs(1_200));
    assert!(inputs(&world) > before);
    assert!(world.ended(0, 1), "the close was put off");
    assert!(world.marks().has(Mark::SuspendForHours));
    world.assert_no_violation();
}

#[test]
fn a_driver_that_is_late_is_late_at_every_deadline() {
    let mut world = connected(6);
    let late_ms = 1_500;
    world.set_pace(
        0,
        Pace {
            late_ms,
            lazy_ms: 0,
        },
    );
    // Nothing of the other side comes that would serve as a wake-up.
    world.crash(1);
    world.run_for(Duration::from_secs(30));
    assert!(world.marks().has(Mark::LateTimeout));
    world.assert_no_violation();
}

#[test]
fn a_driver_that_is_lazy_takes_outputs_later_and_no_sooner() {
    let mut world = connected(7);
    let lazy_ms = 400;
    world.set_pace(
        0,
        Pace {
            late_ms: 0,
            lazy_ms,
        },
    );
    let lazy = world.send(0, 1, ChannelKind::Reliable, "later");
    lazy.expect("the queue is empty");
    let arrived = |world: &World| world.received(1, 0, ChannelKind::Reliable).messages == 1;
    assert!(!world.run_until(arrived, Duration::from_millis(lazy_ms)));
    assert!(world.run_until(arrived, Duration::from_secs(1)));
    assert!(world.marks().has(Mark::LazyPoll));
    world.set_pace(0, Pace::default());
    world.run_for(Duration::from_secs(1));
    world.assert_no_violation();
}

#[test]
fn marks_tell_what_happened_and_nothing_else() {
    let mut world = connected(8);
    let quiet = Mark::ALL.into_iter().filter(|m| world.marks().has(*m));
    assert_eq!(quiet.collect::<Vec<_>>(), [Mark::EqualInstants]);
    let address = world.addresses(0)[0];
    world.unbind(0, address);
    world.bind(0, "10.0.16.1:5000".parse().expect("an address"));
    world.crash(1);
    for mark in [
        Mark::AddressLost,
        Mark::Roam,
        Mark::AddressGained,
        Mark::Crash,
    ] {
        assert!(world.marks().has(mark), "{mark:?}");
    }
    assert!(!world.marks().has(Mark::BothCrash));
    world.crash(0);
    assert!(world.marks().has(Mark::BothCrash));
}
