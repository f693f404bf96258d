//! How long nothing arrives after something has happened to a connection, and what an idle one costs.
//!
//! Datagrams and signals take 50 ms each way, so a round trip takes 100 ms, and one through the relay 200 ms. Times are
//! virtual and exact.

use std::fmt::Write as _;
use std::time::Duration;

use bowline::{ChannelKind, Config, Event, PathChange, PathHealth, PeerState};
use bowline_sim::{Action, HostId, LinkConfig, NatConfig, PeerSpec, Time, World, WorldBuilder};

use super::reach::{configured, server, stun, turn};

const ALICE: HostId = 0;
const BOB: HostId = 1;
const KIND: ChannelKind = ChannelKind::Reliable;
const LATENCY: Duration = Duration::from_millis(50);
/// Between two messages of a caller.
const PACE: Duration = Duration::from_millis(20);
/// Moments at which it happens, over a little more than the three seconds from one check to the next.
const MOMENTS: u64 = 8;
const STEP: Duration = Duration::from_millis(400);

/// A way for two hosts to be connected, and something that happens to them.
struct Case {
    name: &'static str,
    world: fn() -> WorldBuilder,
    happens: fn(&mut World),
}

const CASES: [Case; 9] = [
    Case {
        name: "another address, told",
        world: open,
        happens: |world| move_to_another_address(world, ALICE),
    },
    Case {
        name: "a path that dies, with a relay",
        world: with_relay,
        happens: |world| cut(world, 600_000),
    },
    Case {
        name: "another address of a box",
        world: behind_boxes,
        happens: |world| world.apply(Action::RenumberGateway { gateway: 0 }),
    },
    Case {
        name: "a path that is cut for 2 s",
        world: open,
        happens: |world| cut(world, 2_000),
    },
    Case {
        name: "a path that is cut for 7 s",
        world: open,
        happens: |world| cut(world, 7_000),
    },
    Case {
        name: "a path that is cut for 25 s",
        world: open,
        happens: |world| cut(world, 25_000),
    },
    Case {
        name: "a rebuild",
        world: open,
        happens: |world| world.rebuild(ALICE, BOB).expect("connected"),
    },
    Case {
        name: "a new process that calls",
        world: open,
        happens: |world| {
            start_again(world);
            world.connect(BOB, ALICE).expect("it knows nobody");
        },
    },
    Case {
        name: "a new process that waits",
        world: open,
        happens: start_again,
    },
];

fn way() -> LinkConfig {
    LinkConfig::with_latency(LATENCY)
}

fn open() -> WorldBuilder {
    lossy(6, 0.0)
}

fn lossy(seed: u64, loss: f64) -> WorldBuilder {
    World::builder(seed)
        .link(way().lossy(loss))
        .bus(way())
        .peer("alice")
        .peer("bob")
}

fn with_relay() -> WorldBuilder {
    let config = configured(vec![turn("turn:turn.example")], |config| config);
    let spec = |name| PeerSpec {
        config: config.clone(),
        ..PeerSpec::new(name)
    };
    World::builder(6)
        .link(way())
        .bus(way())
        .server(server())
        .peer_with(spec("alice"))
        .peer_with(spec("bob"))
}

/// Each behind a box that lets nobody in to whom nothing was sent.
fn behind_boxes() -> WorldBuilder {
    let config = configured(vec![stun("stun:turn.example")], |config| config);
    let spec = |name, gateway| PeerSpec {
        config: config.clone(),
        behind: Some(gateway),
        ..PeerSpec::new(name)
    };
    World::builder(6)
        .link(way())
        .bus(way())
        .gateway("first", NatConfig::port_restricted())
        .gateway("second", NatConfig::port_restricted())
        .server(server())
        .peer_with(spec("alice", 0))
        .peer_with(spec("bob", 1))
}

fn cut(world: &mut World, for_ms: u64) {
    for (from, to) in [(ALICE, BOB), (BOB, ALICE)] {
        world.apply(Action::Partition { from, to, for_ms });
    }
}

fn move_to_another_address(world: &mut World, host: HostId) {
    let old = world.home_addresses(host)[0];
    let mut new = old;
    new.set_port(old.port() + 1_000);
    world.apply(Action::Unbind { host, address: old });
    world.apply(Action::Bind { host, address: new });
}

fn start_again(world: &mut World) {
    world.apply(Action::Crash { host: BOB });
    world.apply(Action::Start { host: BOB });
}

fn connected(builder: WorldBuilder) -> World {
    let mut world = builder.build();
    // The pools of candidates are filled.
    world.run_for(Duration::from_secs(2));
    world.connect(ALICE, BOB).expect("alice knows nobody");
    let is_up = |world: &World| world.connected(ALICE, BOB) && world.connected(BOB, ALICE);
    assert!(world.run_until(is_up, Duration::from_secs(16)));
    world.run_for(Duration::from_secs(10));
    world
}

/// How long no message of alice arrives at bob after something happens, one being sent at each [`PACE`], and how much of
/// that passed before alice was told that it had.
fn silence(mut world: World, happens: fn(&mut World)) -> [Duration; 2] {
    let start = world.now();
    happens(&mut world);
    let is_later = |(at, _): &&(Time, Event)| *at > start;
    let arrived = |world: &World| {
        let mut told = world.events(BOB).iter().rev().take_while(is_later);
        told.any(|(_, event)| matches!(event, Event::Message { .. }))
    };
    while !arrived(&world) {
        assert!(world.now().since(start) < Duration::from_secs(90));
        // Where the peer starts again there may be none to send to for a moment.
        let _ = world.send(ALICE, BOB, KIND, "still there?");
        world.run_for(PACE);
    }
    world.assert_no_violation();
    let told = world.events(ALICE).iter().filter(|(at, _)| *at >= start);
    let noticed = told.filter(|(_, event)| match event {
        Event::PathHealth { health, .. } => *health == PathHealth::Degraded,
        Event::State { from, .. } => *from == PeerState::Connected,
        Event::PathChanged { why, .. } => *why == PathChange::Silent,
        _ => false,
    });
    let first = noticed.map(|(at, _)| at.since(start)).next();
    [world.now().since(start), first.unwrap_or_default()]
}

/// The least and the most of some times, in milliseconds.
fn range(times: impl Iterator<Item = Duration> + Clone) -> String {
    let [least, most] =
        [times.clone().min(), times.max()].map(|t| t.unwrap_or_default().as_millis());
    format!("{least:>6} {most:>6}")
}

#[test]
fn messages_flow_again_within_the_times_of_this_table() {
    let mut table = format!(
        "{:<32}{:>13}{:>15}\n",
        "ms, least and most", "silence", "until noticed"
    );
    for Case {
        name,
        world,
        happens,
    } in CASES
    {
        let times = (0..MOMENTS).map(|moment| {
            let mut world = connected(world());
            world.run_for(STEP * u32::try_from(moment).expect("small"));
            silence(world, happens)
        });
        let times: Vec<_> = times.collect();
        let [silence, noticed] = [0, 1].map(|column| range(times.iter().map(move |t| t[column])));
        writeln!(table, "{name:<32}{silence}  {noticed}").expect("a string takes everything");
    }
    insta::assert_snapshot!(table);
}

/// From the call of a process that has started again. Its other end has lost nothing, and finds out by the call.
#[test]
fn a_new_process_is_connected_within_10_s_at_20_percent_loss() {
    let mut times: Vec<_> = (0..100)
        .map(|seed| {
            let mut world = connected(lossy(seed, 0.2));
            start_again(&mut world);
            let start = world.now();
            let is_up = |world: &World| world.connected(ALICE, BOB) && world.connected(BOB, ALICE);
            world.connect(BOB, ALICE).expect("it knows nobody");
            assert!(world.run_until(is_up, Duration::from_secs(60)), "{seed}");
            world.assert_no_violation();
            world.now().since(start)
        })
        .collect();
    times.sort_unstable();
    let percentiles = [50, 95, 99].map(|percent| times[percent].as_millis());
    insta::assert_snapshot!(format!("ms, p50, p95, p99 of 100 runs: {percentiles:?}"));
    assert!(times[95] < Duration::from_secs(10));
}

/// A host in the middle of 200 others moves: all paths are lost at one instant.
#[test]
fn two_hundred_peers_come_back_at_once() {
    const PEERS: usize = 200;
    let names: Vec<_> = (0..PEERS).map(|n| format!("peer-{n}")).collect();
    let config = Config::builder().max_peers(PEERS).build().expect("valid");
    let hub = PeerSpec {
        config,
        ..PeerSpec::new("hub")
    };
    let builder = World::builder(7).link(way()).bus(way()).peer_with(hub);
    let mut world = names.iter().fold(builder, |b, name| b.peer(name)).build();
    let all = |world: &World| (1..=PEERS).all(|n| world.connected(0, n) && world.connected(n, 0));
    for peer in 1..=PEERS {
        world.connect(0, peer).expect("it knows nobody");
    }
    assert!(world.run_until(all, Duration::from_secs(16)));
    world.run_for(Duration::from_secs(10));
    let received = |world: &World| (1..=PEERS).all(|n| world.received(n, 0, KIND).messages == 1);
    let start = world.now();
    move_to_another_address(&mut world, 0);
    for peer in 1..=PEERS {
        world
            .send(0, peer, KIND, "still there?")
            .expect("there is room");
    }
    assert!(world.run_until(received, Duration::from_secs(15)));
    let took = world.now().since(start).as_millis();
    assert!(all(&world));
    world.assert_no_violation();
    insta::assert_snapshot!(format!(
        "ms until the last of {PEERS} messages has arrived: {took}"
    ));
}

/// What a connection costs on which nothing is sent.
#[test]
fn an_idle_peer_costs_what_this_table_says() {
    const MINUTES: u32 = 10;
    let mut table = format!(
        "{:<16}{:>22}{:>12}\n",
        "each peer", "wake-ups per minute", "bytes/s"
    );
    for (name, builder) in [
        ("one path", open as fn() -> WorldBuilder),
        ("and a relay", with_relay),
    ] {
        let mut world = connected(builder());
        let figures = |world: &mut World| {
            let now = world.instant();
            let metrics = world.with_peer(ALICE, BOB, |peer| peer.metrics(now));
            let sent = metrics.expect("the peer is there").bytes_sent;
            (world.wakeups(ALICE), sent)
        };
        let (wakeups, bytes) = figures(&mut world);
        world.run_for(Duration::from_secs(60) * MINUTES);
        let (wakeups_then, bytes_then) = figures(&mut world);
        let each_minute = (wakeups_then - wakeups) / u64::from(MINUTES);
        let each_second = (bytes_then - bytes) / u64::from(MINUTES * 60);
        assert!(each_minute <= 30, "{name}: {each_minute}");
        writeln!(table, "{name:<16}{each_minute:>22}{each_second:>12}")
            .expect("a string takes everything");
    }
    insta::assert_snapshot!(table);
}
