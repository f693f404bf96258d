//! Hosts of IPv6 only: directly, through relays of both families, and behind a NAT64.

use std::net::SocketAddr;
use std::time::Duration;

use bowline::{Config, Event, Path, PeerState, Suspect, TransportPolicy};
use bowline_sim::{HostId, NatConfig, PeerSpec, ServerSpec, World, WorldBuilder};

use super::{POOL, behind, configured, connect, server, stun, turn};

const ALICE: HostId = 0;
const BOB: HostId = 1;

fn of_ipv6(spec: PeerSpec) -> PeerSpec {
    PeerSpec {
        ipv4: 0,
        ipv6: 1,
        ..spec
    }
}

/// Alice of IPv6 behind a NAT64, and bob of IPv4 behind a box of his own, with a server of IPv4.
fn across(config: &Config) -> WorldBuilder {
    World::builder(3)
        .gateway("nat64", NatConfig::nat64())
        .gateway("home", NatConfig::port_restricted())
        .server(server())
        .peer_with(of_ipv6(behind("alice", 0, config)))
        .peer_with(behind("bob", 1, config))
}

fn server_of_ipv6(ipv4: bool) -> ServerSpec {
    ServerSpec {
        ipv4,
        ipv6: true,
        ..server()
    }
}

/// The path that a host took first, and whether an end of it is at the server.
fn path(world: &World, host: HostId) -> (Path, bool) {
    let mut told = world.events(host).iter();
    let path = told.find_map(|(_, event)| match event {
        Event::PathChanged { to, .. } => Some(*to),
        _ => None,
    });
    let path = path.expect("a path was told");
    let servers = world.server_addresses(0);
    let is_servers = |end: &SocketAddr| servers.iter().any(|server| server.ip() == end.ip());
    (path, [path.local, path.remote].iter().any(is_servers))
}

fn assert_no_server_failed(world: &World) {
    for host in 0..world.hosts() {
        let mut events = world.events(host).iter();
        let failed = events.find(|(_, event)| matches!(event, Event::IceServerFailed { .. }));
        assert_eq!(failed, None);
    }
    world.assert_no_violation();
}

#[test]
fn behind_nat64_a_host_of_ipv4_is_reached_through_a_relay_that_is_named() {
    for uri in ["turn:turn.example", "turn:turn.example?transport=tcp"] {
        let mut world = across(&configured(vec![turn(uri)], |config| config)).build();
        assert!(world.has_path(ALICE, BOB, true));
        assert!(connect(&mut world), "{uri}");
        assert_eq!(world.allocations(0), 2, "of ipv4, which is all that it has");
        for host in [ALICE, BOB] {
            let (path, is_relayed) = path(&world, host);
            assert!(is_relayed, "{path:?}");
        }
        assert_no_server_failed(&world);
    }
}

#[test]
fn hosts_of_different_families_meet_at_a_server_of_both() {
    for policy in [TransportPolicy::All, TransportPolicy::Relay] {
        let servers = vec![turn("turn:turn.example")];
        let config = configured(servers, |config| config.policy(policy));
        let alice = PeerSpec {
            config: config.clone(),
            ..PeerSpec::new("alice")
        };
        let mut world = World::builder(3)
            .gateway("home", NatConfig::symmetric())
            .server(server_of_ipv6(true))
            .peer_with(of_ipv6(alice))
            .peer_with(behind("bob", 0, &config))
            .build();
        assert!(connect(&mut world), "{policy:?}");
        assert!(path(&world, ALICE).1 && path(&world, BOB).1);
        assert_no_server_failed(&world);
    }
}

#[test]
fn two_hosts_of_ipv6_speak_directly_through_whatever_is_before_them() {
    for nat in [
        NatConfig::nat64(),
        NatConfig::symmetric(),
        NatConfig::open(),
    ] {
        let config = configured(vec![turn("turn:turn.example")], |config| config);
        let mut world = World::builder(3)
            .gateway("first", nat.clone())
            .gateway("second", nat)
            .server(server())
            .peer_with(of_ipv6(behind("alice", 0, &config)))
            .peer_with(of_ipv6(behind("bob", 1, &config)))
            .build();
        assert!(world.has_path(ALICE, BOB, false));
        assert!(connect(&mut world));
        let (path, is_relayed) = path(&world, ALICE);
        assert!(path.local.is_ipv6() && !is_relayed, "{path:?}");
        world.assert_no_violation();
    }
}

#[test]
fn the_ipv4_address_that_a_server_sees_behind_nat64_is_dropped_without_a_word() {
    let servers = vec![stun("stun:turn.example")];
    let mut world = across(&configured(servers, |config| config)).build();
    for (passes, mappings) in [(2, 1), (3_600, 0)] {
        world.run_for(Duration::from_secs(passes));
        let now = world.now();
        assert_eq!(world.network().mappings(0, now), mappings);
    }
    assert_no_server_failed(&world);
}

#[test]
fn behind_nat64_and_without_a_relay_the_explanation_names_the_families() {
    let servers = vec![stun("stun:turn.example")];
    let mut world = across(&configured(servers, |config| config)).build();
    assert!(!world.has_path(ALICE, BOB, false));
    world.run_for(POOL);
    world.connect(ALICE, BOB).expect("alice knows nobody");
    world.run_for(Duration::from_secs(14));
    for (host, peer) in [(ALICE, BOB), (BOB, ALICE)] {
        let now = world.instant();
        let explained = world.with_peer(host, peer, |peer| peer.explain(now));
        let explained = explained.expect("the peer is there");
        let suspect = explained.findings[0].suspect;
        assert_eq!(suspect, Suspect::NoCommonFamily, "{explained}");
    }
    world.run_for(Duration::from_secs(90));
    assert_eq!(world.state(ALICE, BOB), Some(PeerState::Failed));
    assert_no_server_failed(&world);
}

#[test]
fn two_hosts_of_ipv6_that_do_not_reach_each_other_speak_over_a_relay_of_ipv6() {
    for policy in [TransportPolicy::All, TransportPolicy::Relay] {
        let servers = vec![turn("turn:turn.example")];
        let config = configured(servers, |config| config.policy(policy));
        let mut world = World::builder(3)
            .gateway("first", NatConfig::open())
            .gateway("second", NatConfig::open())
            .server(server_of_ipv6(false))
            .peer_with(of_ipv6(behind("alice", 0, &config)))
            .peer_with(of_ipv6(behind("bob", 1, &config)))
            .build();
        let hour = world.now().after(Duration::from_secs(3_600));
        for (from, to) in [(ALICE, BOB), (BOB, ALICE)] {
            world.network().partition(from, to, hour);
        }
        assert!(connect(&mut world), "{policy:?}");
        let (path, is_relayed) = path(&world, ALICE);
        assert!(path.remote.is_ipv6() && is_relayed, "{path:?}");
        assert_eq!(world.allocations(0), 2);
        assert_no_server_failed(&world);
    }
}
