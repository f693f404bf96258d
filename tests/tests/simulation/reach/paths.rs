//! Paths that change while two peers are connected: the relay takes over and gives back, and servers and boxes forget.

use std::net::SocketAddr;
use std::time::Duration;

use bowline::{
    ChannelKind, Endpoint, Event, Path, PathChange, PathQuality, PeerMetrics, TransportPolicy,
};
use bowline_sim::{Action, HostId, Incoming, Misbehaviour, NatConfig, PeerSpec, ServerSpec, World};

use super::{Between, connect};

/// What every datagram takes from one host to another.
const LATENCY: Duration = Duration::from_millis(10);
const ALICE: HostId = 0;
const BOB: HostId = 1;

/// Two peers behind boxes between which there is a direct path, with a relay.
fn between(nat: NatConfig) -> Between {
    Between {
        relay: true,
        ..Between::new(11, [nat.clone(), nat])
    }
}

/// The path that a host told last.
fn path(world: &World, host: HostId) -> Path {
    let told = world.events(host).iter().rev();
    told.filter_map(|(_, event)| match event {
        Event::PathChanged { to, .. } => Some(*to),
        _ => None,
    })
    .next()
    .expect("a path was told")
}

/// Why a host took each of its paths.
fn reasons(world: &World, host: HostId) -> Vec<PathChange> {
    let told = world.events(host).iter();
    told.filter_map(|(_, event)| match event {
        Event::PathChanged { why, .. } => Some(*why),
        _ => None,
    })
    .collect()
}

/// Whether the datagrams of a host leave through the relay, or go to the other's.
fn is_relayed(world: &World, host: HostId) -> bool {
    let Path { local, remote } = path(world, host);
    let server: SocketAddr = world.server_addresses(0)[0];
    [local, remote]
        .iter()
        .any(|address| address.ip() == server.ip())
}

/// Whether a message sent now arrives within `limit`.
fn arrives(world: &mut World, from: HostId, to: HostId, limit: Duration) -> bool {
    let kind = ChannelKind::Reliable;
    let before = world.received(to, from, kind).messages;
    world
        .send(from, to, kind, "still there?")
        .expect("there is room");
    world.run_until(
        |world| world.received(to, from, kind).messages > before,
        limit,
    )
}

/// The paths that a host has to the other one now.
fn paths(world: &mut World, host: HostId, peer: HostId) -> Vec<PathQuality> {
    let now = world.instant();
    let paths = world.with_peer(host, peer, |peer| peer.paths(now));
    paths.expect("the peer is there")
}

/// The figures that a host has of the other one now.
fn metrics(world: &mut World, host: HostId, peer: HostId) -> PeerMetrics {
    let now = world.instant();
    let metrics = world.with_peer(host, peer, |peer| peer.metrics(now));
    metrics.expect("the peer is there")
}

/// No datagram gets from one host to the other for a while, but through the relay.
fn cut(world: &mut World, duration: Duration) {
    let for_ms = u64::try_from(duration.as_millis()).expect("short");
    for (from, to) in [(ALICE, BOB), (BOB, ALICE)] {
        world.apply(Action::Partition { from, to, for_ms });
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_direct_path_is_preferred_to_the_relay() {
    let mut world = between(NatConfig::port_restricted()).world().build();
    assert!(connect(&mut world));
    world.run_for(seconds(5));
    assert!(!is_relayed(&world, ALICE) && !is_relayed(&world, BOB));
    world.assert_no_violation();
}

#[test]
fn a_direct_path_that_appears_later_is_taken() {
    let mut world = between(NatConfig::port_restricted()).world().build();
    cut(&mut world, seconds(8));
    assert!(connect(&mut world), "through the relay");
    world.run_for(seconds(1));
    assert!(is_relayed(&world, ALICE));
    // A path is told of when data takes it.
    let mut tries = 0..30;
    let direct = tries.any(|_| {
        world.run_for(seconds(1));
        assert!(arrives(&mut world, ALICE, BOB, seconds(2)));
        assert!(arrives(&mut world, BOB, ALICE, seconds(2)));
        !is_relayed(&world, ALICE) && !is_relayed(&world, BOB)
    });
    assert!(direct);
    let expected = [PathChange::First, PathChange::Preferred];
    assert_eq!(reasons(&world, ALICE), expected);
    world.assert_no_violation();
}

#[test]
fn a_direct_path_that_dies_moves_to_the_relay_without_signalling() {
    let mut world = between(NatConfig::port_restricted()).world().build();
    assert!(connect(&mut world));
    world.run_for(seconds(5));
    for (from, to) in [(ALICE, BOB), (BOB, ALICE)] {
        let for_ms = 600_000;
        world.apply(Action::PartitionBus { from, to, for_ms });
    }
    cut(&mut world, seconds(600));
    assert!(arrives(&mut world, ALICE, BOB, seconds(60)));
    assert!(is_relayed(&world, ALICE));
    assert_eq!(
        reasons(&world, ALICE),
        [PathChange::First, PathChange::Silent]
    );
    world.assert_no_violation();
}

#[test]
fn the_direct_path_is_in_use_and_the_relay_stands_by_until_it_is_needed() {
    let mut world = between(NatConfig::port_restricted()).world().build();
    assert!(connect(&mut world));
    world.run_for(seconds(10));
    let server = world.server_addresses(0)[0].ip();
    for (host, peer) in [(ALICE, BOB), (BOB, ALICE)] {
        let known = paths(&mut world, host, peer);
        assert!(known[0].in_use && !known[0].relayed, "{known:?}");
        assert_eq!(known[0].path, path(&world, host));
        assert_eq!(known[0].rtt, LATENCY * 2, "there and back");
        let standby = known[1..].iter().find(|path| path.relayed);
        let standby = standby.expect("our own relay is a way as well");
        assert!(!standby.in_use && standby.path.local.ip() == server);
        let ways = [LATENCY * 4, LATENCY * 6];
        assert!(
            ways.contains(&standby.rtt),
            "by one relay or two: {known:?}"
        );
        let is_lately = |path: &PathQuality| world.instant() - path.answered < seconds(4);
        assert!(known.iter().all(is_lately), "{known:?}");
    }
    let direct = path(&world, ALICE);
    let before = metrics(&mut world, ALICE, BOB);
    assert_eq!((before.path, before.relayed), (Some(direct), false));
    assert_eq!(before.rtt.map(|rtt| rtt.min), Some(LATENCY * 2));
    cut(&mut world, seconds(600));
    assert!(arrives(&mut world, ALICE, BOB, seconds(60)));
    world.run_for(seconds(10));
    let known = paths(&mut world, ALICE, BOB);
    assert!(known[0].in_use, "{known:?}");
    assert_eq!(known[0].path, path(&world, ALICE));
    assert!(known.iter().all(|known| known.path != direct), "{known:?}");
    let after = metrics(&mut world, ALICE, BOB);
    assert_eq!(
        (after.path, after.relayed),
        (Some(known[0].path), known[0].relayed)
    );
    let least = after.rtt.map(|rtt| rtt.min);
    assert_eq!(
        least,
        Some(known[0].rtt),
        "the round trips of the direct path are gone"
    );
    world.assert_no_violation();
}

#[test]
fn paths_from_a_closed_socket_are_none_at_once() {
    let mut world = between(NatConfig::port_restricted()).world().build();
    assert!(connect(&mut world));
    world.run_for(seconds(10));
    let address = world.addresses(ALICE)[0];
    let starts_there = |path: &PathQuality| path.path.local == address;
    assert!(paths(&mut world, ALICE, BOB).iter().any(starts_there));
    world.apply(Action::Unbind {
        host: ALICE,
        address,
    });
    assert!(!paths(&mut world, ALICE, BOB).iter().any(starts_there));
    world.assert_no_violation();
}

#[test]
fn an_ice_restart_looks_for_its_paths_anew() {
    let mut world = between(NatConfig::port_restricted()).world().build();
    assert!(connect(&mut world));
    world.run_for(seconds(10));
    let before = paths(&mut world, ALICE, BOB);
    let (from, to) = (ALICE, BOB);
    world.apply(Action::Restart { from, to });
    let restarted = |event: &Event| matches!(event, Event::NegotiationDone { generation, .. } if generation.0 == 1);
    let done = |world: &World| {
        let mut told = world.events(ALICE).iter();
        told.any(|(_, event)| restarted(event))
    };
    assert!(world.run_until(done, seconds(5)));
    assert_eq!(paths(&mut world, ALICE, BOB), []);
    world.run_for(seconds(10));
    let after = paths(&mut world, ALICE, BOB);
    assert_eq!(after[0].path, before[0].path);
    assert_eq!(after.len(), before.len());
    world.assert_no_violation();
}

#[test]
fn a_turn_server_that_reboots_is_asked_again_and_the_session_goes_on() {
    let nat = NatConfig::symmetric();
    let mut world = between(nat).world().build();
    assert!(connect(&mut world));
    world.run_for(seconds(5));
    assert!(is_relayed(&world, ALICE));
    world.apply(Action::RebootServer { server: 0 });
    assert!(arrives(&mut world, ALICE, BOB, seconds(60)));
    assert_eq!(world.allocations(0), 2);
    world.assert_no_violation();
}

#[test]
fn boxes_that_reboot_and_get_another_address_cost_a_moment() {
    for action in [
        Action::RebootGateway { gateway: 0 },
        Action::RenumberGateway { gateway: 0 },
    ] {
        let mut world = between(NatConfig::port_restricted()).world().build();
        assert!(connect(&mut world));
        world.run_for(seconds(5));
        world.apply(action);
        assert!(arrives(&mut world, ALICE, BOB, seconds(60)));
        assert!(arrives(&mut world, BOB, ALICE, seconds(60)));
        world.assert_no_violation();
    }
}

#[test]
fn an_idle_hour_behind_boxes_that_forget_soon_costs_nothing() {
    let nat = NatConfig {
        expiry: seconds(30),
        ..NatConfig::symmetric()
    };
    let mut world = between(nat).world().build();
    assert!(connect(&mut world));
    world.run_for(seconds(3_600));
    assert!(arrives(&mut world, ALICE, BOB, seconds(1)));
    assert!(arrives(&mut world, BOB, ALICE, seconds(1)));
    world.assert_no_violation();
}

#[test]
fn relay_only_peers_speak_to_the_server_alone() {
    let mut world = Between {
        policy: TransportPolicy::Relay,
        ..between(NatConfig::open())
    }
    .world()
    .build();
    assert!(connect(&mut world));
    assert!(arrives(&mut world, ALICE, BOB, seconds(1)));
    world.run_for(seconds(60));
    for (host, peer) in [(ALICE, BOB), (BOB, ALICE)] {
        let homes = world.home_addresses(peer).to_vec();
        let told = world
            .events(host)
            .iter()
            .filter_map(|(_, event)| match event {
                Event::CandidateAdded { address, .. } => Some(*address),
                _ => None,
            });
        let server = world.server_addresses(0)[0].ip();
        let addresses: Vec<_> = told.collect();
        assert!(
            addresses.iter().all(|address| address.ip() == server),
            "{addresses:?}"
        );
        assert!(addresses.iter().all(|address| !homes.contains(address)));
    }
    // What one sends to the other directly is dropped by the other, and there is nothing of it.
    let link = world.network().accounts();
    assert!(link.balance());
    world.assert_no_violation();
}

#[test]
fn with_the_public_policy_peers_meet_without_a_word_of_their_private_addresses() {
    let nat = NatConfig::port_restricted();
    let mut world = Between {
        policy: TransportPolicy::Public,
        ..Between::new(11, [nat.clone(), nat])
    }
    .world()
    .build();
    assert!(connect(&mut world));
    for host in [ALICE, BOB] {
        let private = |event: &Event| matches!(event, Event::CandidateAdded { address, .. } if address.ip().to_string().starts_with("192.168."));
        assert!(!world.events(host).iter().any(|(_, event)| private(event)));
    }
    world.assert_no_violation();
}

#[test]
fn a_hundred_peers_share_the_allocation_of_an_endpoint() {
    let config = super::configured(vec![super::turn("turn:turn.example")], |config| {
        config.policy(TransportPolicy::Relay)
    });
    let hub = PeerSpec {
        config: config.clone(),
        ..PeerSpec::new("hub")
    };
    let server = ServerSpec {
        max_allocations: 200,
        ..super::server()
    };
    let mut world = World::builder(5).server(server).peer_with(hub);
    for n in 1..=100 {
        world = world.peer_with(PeerSpec {
            config: config.clone(),
            ..PeerSpec::new(format!("peer-{n}"))
        });
    }
    let mut world = world.build();
    world.run_for(seconds(2));
    for peer in 1..=100 {
        world.connect(ALICE, peer).expect("the hub knows nobody");
    }
    let all = |world: &World| (1..=100).all(|peer| world.connected(ALICE, peer));
    assert!(world.run_until(all, seconds(16)));
    assert_eq!(world.allocations(0), 101, "one for each endpoint");
    world.assert_no_violation();
}

#[test]
fn closed_endpoints_leave_no_allocation_behind() {
    let mut world = between(NatConfig::symmetric()).world().build();
    assert!(connect(&mut world));
    assert_eq!(world.allocations(0), 2);
    world.close_all(ALICE);
    world.close_all(BOB);
    world.run_for(seconds(20));
    assert_eq!(world.allocations(0), 0);
    world.assert_no_violation();
}

#[test]
fn an_offer_that_is_refused_does_not_wake_an_endpoint_that_was_closed() {
    let mut world = between(NatConfig::symmetric()).world().build();
    world.run_for(seconds(2));
    world.close_all(BOB);
    world.set_incoming(BOB, Incoming::Refuse);
    world.run_for(seconds(20));
    world.connect(ALICE, BOB).expect("alice knows nobody");
    world.run_for(seconds(60));
    assert_eq!(world.allocations(0), 1, "that of alice");
    assert!(world.endpoint(BOB).is_some_and(Endpoint::is_closed));
    world.check_cleanup(BOB);
    world.assert_no_violation();
}

#[test]
fn a_server_that_wants_another_nonce_each_time_costs_a_round_trip_and_no_more() {
    let mut world = between(NatConfig::symmetric()).world().build();
    world.misbehave(0, Some(Misbehaviour::NoncePerRequest));
    assert!(connect(&mut world));
    world.run_for(seconds(900));
    assert!(arrives(&mut world, ALICE, BOB, seconds(1)));
    world.assert_no_violation();
}

#[test]
fn relays_over_streams_carry_a_session() {
    // The simulated server has no port of its own for TLS, and sees what is inside.
    for uri in ["turn:turn.example?transport=tcp", "turns:turn.example:3478"] {
        let config = super::configured(vec![super::turn(uri)], |config| {
            config.policy(TransportPolicy::Relay)
        });
        let mut world = World::builder(5)
            .gateway("first", NatConfig::symmetric())
            .gateway("second", NatConfig::symmetric())
            .server(super::server())
            .peer_with(super::behind("alice", 0, &config))
            .peer_with(super::behind("bob", 1, &config))
            .build();
        assert!(connect(&mut world), "{uri}");
        let kind = ChannelKind::Reliable;
        for _ in 0..20 {
            world
                .send(ALICE, BOB, kind, "x".repeat(10_001).as_str())
                .expect("there is room");
        }
        let all = |world: &World| world.received(BOB, ALICE, kind).messages == 20;
        assert!(world.run_until(all, seconds(20)), "{uri}");
        world.assert_no_violation();
    }
}
