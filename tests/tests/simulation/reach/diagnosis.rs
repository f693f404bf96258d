//! Each fault that can keep two peers apart, and the explanation of it: the true cause comes first.

use std::time::Duration;

use bowline::{Config, Event, Explanation, IceServer, PeerState, Suspect, TransportPolicy};
use bowline_sim::{
    Action, Asked, Firewall, HostId, Incoming, Misbehaviour, NatConfig, PeerSpec, ServerSpec, World,
};

use super::{behind, configured, stun, turn};

const ALICE: HostId = 0;
const BOB: HostId = 1;
/// Beyond every deadline.
const LONG: Duration = Duration::from_secs(90);

/// Whom the explanation of `host` names first.
fn suspected(world: &mut World, host: HostId, peer: HostId) -> Suspect {
    let now = world.instant();
    let explanation = world.with_peer(host, peer, |peer| peer.explain(now));
    first(&explanation.expect("the peer is there"))
}

fn first(explanation: &Explanation) -> Suspect {
    assert!(!explanation.findings.is_empty(), "{explanation}");
    println!("{explanation}");
    explanation.findings[0].suspect
}

/// The first suspect that came with the end of `peer`.
fn blamed(world: &World, host: HostId) -> Suspect {
    let end = world
        .events(host)
        .iter()
        .find_map(|(_, event)| match event {
            Event::State {
                to: PeerState::Failed | PeerState::Closed,
                explanation,
                ..
            } => explanation.as_deref(),
            _ => None,
        });
    first(end.expect("an explanation"))
}

/// Two peers behind boxes that no path leads through without a relay, and a server that misbehaves.
fn needing_relay(servers: Vec<IceServer>, server: ServerSpec) -> World {
    let config = configured(servers, |config| config);
    World::builder(7)
        .gateway("first", NatConfig::symmetric())
        .gateway("second", NatConfig::symmetric())
        .server(ServerSpec::new("other"))
        .server(server)
        .peer_with(behind("alice", 0, &config))
        .peer_with(behind("bob", 1, &config))
        .build()
}

fn turn_server() -> ServerSpec {
    ServerSpec::new("turn").user("somebody", "secret")
}

/// Lets alice try until the deadline is near, and gives whom she suspects then.
fn try_in_vain(world: &mut World) -> Suspect {
    world.run_for(Duration::from_secs(2));
    world.connect(ALICE, BOB).expect("alice knows nobody");
    world.run_for(Duration::from_secs(14));
    let suspect = suspected(world, ALICE, BOB);
    world.run_for(LONG);
    assert_eq!(world.state(ALICE, BOB), Some(PeerState::Failed));
    assert_eq!(blamed(world, ALICE), suspect, "it is told at the end too");
    world.assert_no_violation();
    suspect
}

#[test]
fn udp_that_is_blocked() {
    let mut world = needing_relay(
        vec![stun("stun:other.example"), stun("stun:turn.example")],
        turn_server(),
    );
    world.apply(Action::SetFirewall {
        gateway: 0,
        firewall: Firewall::no_udp(),
    });
    assert_eq!(try_in_vain(&mut world), Suspect::UdpBlocked);
}

#[test]
fn a_stun_server_that_is_silent() {
    let servers = vec![stun("stun:turn.example")];
    let config = configured(servers, |config| config);
    let mut world = World::builder(7)
        .gateway("first", NatConfig::port_restricted())
        .gateway("second", NatConfig::port_restricted())
        .server(turn_server())
        .peer_with(behind("alice", 0, &config))
        .peer_with(behind("bob", 1, &config))
        .peer_with(behind("carol", 0, &config))
        .build();
    world.misbehave(0, Some(Misbehaviour::Silent));
    world.connect(ALICE, 2).expect("alice knows nobody");
    assert!(
        world.run_until(|world| world.connected(ALICE, 2), LONG),
        "in one network"
    );
    assert_eq!(try_in_vain(&mut world), Suspect::StunSilent);
}

#[test]
fn a_turn_server_that_is_unreachable() {
    let servers = vec![stun("stun:other.example"), turn("turn:turn.example")];
    let mut world = needing_relay(servers, turn_server());
    world.apply(Action::CrashServer { server: 1 });
    assert_eq!(try_in_vain(&mut world), Suspect::TurnUnreachable);
}

#[test]
fn wrong_credentials_for_turn() {
    let mistyped = stun("turn:turn.example").credentials("somebody", "mistyped");
    let servers = vec![stun("stun:other.example"), mistyped.expect("they fit")];
    let mut world = needing_relay(servers, turn_server());
    assert_eq!(try_in_vain(&mut world), Suspect::TurnUnauthorized);
}

/// A world whose TURN server knows time-limited credentials, and those for an hour.
fn with_rest(ttl: Duration) -> (World, IceServer) {
    let server = ServerSpec {
        rest_secret: Some("shared".into()),
        ..turn_server()
    };
    let mut world = needing_relay(vec![stun("stun:other.example")], server);
    let (user, password) = world.mint(1, "somebody", ttl).expect("it has a secret");
    let turn = stun("turn:turn.example").credentials(user, password);
    (world, turn.expect("they fit"))
}

#[test]
fn time_limited_credentials_that_have_expired() {
    let (mut world, turn) = with_rest(Duration::from_secs(10));
    world.run_for(Duration::from_secs(20));
    for host in [ALICE, BOB] {
        let servers = vec![stun("stun:other.example"), turn.clone()];
        world.set_ice_servers(host, servers).expect("valid");
    }
    assert_eq!(try_in_vain(&mut world), Suspect::CredentialsExpired);
}

#[test]
fn a_clock_that_is_wrong() {
    let (mut world, turn) = with_rest(Duration::from_secs(3_600));
    world.misbehave(
        1,
        Some(Misbehaviour::Refuses {
            method: Asked::Allocate,
            code: 401,
        }),
    );
    for host in [ALICE, BOB] {
        let servers = vec![stun("stun:other.example"), turn.clone()];
        world.set_ice_servers(host, servers).expect("valid");
    }
    assert_eq!(try_in_vain(&mut world), Suspect::ClockSkew);
}

#[test]
fn a_quota_that_is_reached() {
    let servers = vec![stun("stun:other.example"), turn("turn:turn.example")];
    let mut world = needing_relay(servers, turn_server());
    world.misbehave(
        1,
        Some(Misbehaviour::Refuses {
            method: Asked::Allocate,
            code: 486,
        }),
    );
    assert_eq!(try_in_vain(&mut world), Suspect::TurnQuota);
}

#[test]
fn symmetric_nats_without_a_relay() {
    let servers = vec![stun("stun:other.example"), stun("stun:turn.example")];
    let mut world = needing_relay(servers, turn_server());
    assert_eq!(try_in_vain(&mut world), Suspect::NatWithoutRelay);
}

#[test]
fn a_firewall_that_drops_only_what_is_as_large_as_a_handshake() {
    let nat = NatConfig {
        firewall: Firewall {
            dtls_above: Some(300),
            ..Firewall::default()
        },
        ..NatConfig::open()
    };
    let config = Config::default();
    let mut world = World::builder(7)
        .gateway("first", nat)
        .peer_with(behind("alice", 0, &config))
        .peer("bob")
        .build();
    assert_eq!(try_in_vain(&mut world), Suspect::LargeDatagrams);
}

#[test]
fn a_signalling_link_that_is_dead() {
    let mut world = World::builder(7).peer("alice").peer("bob").build();
    world.apply(Action::PartitionBus {
        from: ALICE,
        to: BOB,
        for_ms: 600_000,
    });
    assert_eq!(try_in_vain(&mut world), Suspect::Signalling);
}

#[test]
fn a_peer_that_never_answers() {
    let mut world = World::builder(7)
        .peer("alice")
        .peer_with(PeerSpec {
            incoming: Incoming::Wait,
            ..PeerSpec::new("bob")
        })
        .build();
    world.connect(ALICE, BOB).expect("alice knows nobody");
    world.run_for(Duration::from_secs(10));
    assert_eq!(suspected(&mut world, ALICE, BOB), Suspect::Unanswered);
}

#[test]
fn a_peer_that_refuses() {
    let mut world = World::builder(7)
        .peer("alice")
        .peer_with(PeerSpec {
            incoming: Incoming::Refuse,
            ..PeerSpec::new("bob")
        })
        .build();
    world.connect(ALICE, BOB).expect("alice knows nobody");
    world.run_for(Duration::from_secs(1));
    assert_eq!(blamed(&world, ALICE), Suspect::Refused);
}

#[test]
fn a_path_that_is_lost() {
    let mut world = World::builder(7).peer("alice").peer("bob").build();
    world.connect(ALICE, BOB).expect("alice knows nobody");
    assert!(world.run_until(|world| world.connected(ALICE, BOB), LONG));
    world.partition(ALICE, BOB, LONG);
    world.run_for(Duration::from_secs(60));
    assert_eq!(suspected(&mut world, ALICE, BOB), Suspect::PathLost);
}

#[test]
fn a_relay_only_peer_blames_its_relay_and_not_the_network() {
    let config = configured(vec![turn("turn:turn.example")], |config| {
        config.policy(TransportPolicy::Relay)
    });
    let mut world = World::builder(7)
        .gateway("first", NatConfig::port_restricted())
        .gateway("second", NatConfig::port_restricted())
        .server(turn_server())
        .peer_with(behind("alice", 0, &config))
        .peer_with(behind("bob", 1, &config))
        .build();
    world.misbehave(
        0,
        Some(Misbehaviour::Refuses {
            method: Asked::Allocate,
            code: 508,
        }),
    );
    assert_eq!(try_in_vain(&mut world), Suspect::TurnQuota);
}
