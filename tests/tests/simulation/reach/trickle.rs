//! Candidates that are told one by one, and their end.

use std::time::Duration;

use bowline::{Event, Side, SignalKind};
use bowline_sim::{HostId, NatConfig, World};

use super::{Between, are_connected, connect};

const ALICE: HostId = 0;
const BOB: HostId = 1;

fn sent(world: &World, host: HostId, kind: SignalKind) -> usize {
    let is_meant =
        |event: &Event| matches!(event, Event::SignalSent { kind: sent, .. } if *sent == kind);
    let events = world.events(host).iter();
    events.filter(|(_, event)| is_meant(event)).count()
}

/// The generations that were agreed on.
fn generations(world: &World) -> usize {
    let events = world.events(ALICE).iter();
    let is_done = |event: &Event| matches!(event, Event::NegotiationDone { .. });
    events.filter(|(_, event)| is_done(event)).count()
}

/// The candidates of the peer that a host was told from the `from`th event on, and those that it did not take.
fn told(world: &World, host: HostId, from: usize) -> (Vec<std::net::SocketAddr>, usize) {
    let events = &world.events(host)[from..];
    let added = events.iter().filter_map(|(_, event)| match event {
        Event::CandidateAdded {
            side: Side::Remote,
            address,
            ..
        } => Some(*address),
        _ => None,
    });
    let is_ignored = |event: &Event| matches!(event, Event::CandidateIgnored { .. });
    let ignored = events.iter().filter(|(_, event)| is_ignored(event));
    (added.collect(), ignored.count())
}

fn between(relay: bool) -> World {
    let boxes = [NatConfig::port_restricted(), NatConfig::port_restricted()];
    let between = Between {
        relay,
        ..Between::new(1, boxes)
    };
    between.world().build()
}

#[test]
fn a_pool_that_is_filled_says_so_in_the_description() {
    let mut world = between(true);
    assert!(connect(&mut world));
    for host in [ALICE, BOB] {
        assert_eq!(sent(&world, host, SignalKind::Candidate), 0);
        assert_eq!(sent(&world, host, SignalKind::EndOfCandidates), 0);
    }
    // A description that had not ended would be followed by an end.
    world.run_for(Duration::from_secs(60));
    assert_eq!(sent(&world, ALICE, SignalKind::EndOfCandidates), 0);
    world.assert_no_violation();
}

#[test]
fn the_end_follows_the_last_candidate_and_is_said_once_in_a_generation() {
    let mut world = between(true);
    // At once: the servers have not answered.
    world.connect(0, 1).expect("alice knows nobody");
    assert!(world.run_until(are_connected, Duration::from_secs(16)));
    world.run_for(Duration::from_secs(60));
    for host in [ALICE, BOB] {
        assert!(sent(&world, host, SignalKind::Candidate) > 0);
        assert_eq!(sent(&world, host, SignalKind::EndOfCandidates), 1);
        assert_eq!(told(&world, host, 0).1, 0, "none came after the end");
    }
    assert_eq!(generations(&world), 1);
    world.assert_no_violation();
}

#[test]
fn an_address_that_appears_after_the_end_is_told_in_the_next_generation() {
    let mut world = between(false);
    assert!(connect(&mut world));
    let before = world.events(BOB).len();
    let late = "192.168.1.77:6000".parse().expect("an address");
    world.bind(ALICE, late);
    let agreed = |world: &World| generations(world) == 2;
    assert!(world.run_until(agreed, Duration::from_secs(5)));
    world.run_for(Duration::from_secs(30));
    let (added, ignored) = told(&world, BOB, before);
    assert!(added.contains(&late), "{added:?}");
    assert_eq!(ignored, 0);
    assert!(world.connected(ALICE, BOB) && generations(&world) == 2);
    world.assert_no_violation();
}

#[test]
fn a_relay_of_former_servers_is_not_offered_again() {
    let mut world = between(true);
    assert!(connect(&mut world));
    let server = world.server_addresses(0)[0].ip();
    let is_relayed = |address: &std::net::SocketAddr| address.ip() == server;
    assert!(told(&world, BOB, 0).0.iter().any(is_relayed));
    let before = world.events(BOB).len();
    world.set_ice_servers(ALICE, Vec::new()).expect("none fit");
    world.restart_ice(ALICE, BOB).expect("connected");
    let agreed = |world: &World| generations(world) == 2;
    assert!(world.run_until(agreed, Duration::from_secs(5)));
    let (added, _) = told(&world, BOB, before);
    assert!(
        !added.is_empty() && !added.iter().any(is_relayed),
        "{added:?}"
    );
    world.assert_no_violation();
}
