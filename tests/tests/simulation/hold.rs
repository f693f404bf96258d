//! Connections that are lost and come back.

use std::time::Duration;

use bowline::{Cause, ChannelKind, Event, Kept, PeerState, Rung};
use bowline_sim::{Action, HostId, LinkConfig, World};

const ALICE: HostId = 0;
const BOB: HostId = 1;
const KIND: ChannelKind = ChannelKind::Reliable;
/// What every datagram takes from one host to the other.
const LATENCY: Duration = Duration::from_millis(50);
/// More than a connect or a rebuild takes.
const SOON: Duration = Duration::from_secs(16);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn connected(seed: u64) -> World {
    let mut world = World::builder(seed)
        .link(LinkConfig::with_latency(LATENCY))
        .peer("alice")
        .peer("bob")
        .build();
    world.connect(ALICE, BOB).expect("alice knows nobody");
    assert!(world.run_until(is_up, SOON));
    world
}

fn is_up(world: &World) -> bool {
    world.connected(ALICE, BOB) && world.connected(BOB, ALICE)
}

fn send(world: &mut World, from: HostId, count: u32) {
    world.apply(Action::Send {
        from,
        to: 1 - from,
        channel: KIND,
        size: 1_000,
        count,
        text: false,
    });
}

/// What a host was told of lost connections: the rungs that were tried, and how each came back.
fn told(world: &World, host: HostId) -> (Vec<Rung>, Vec<(Option<Rung>, Kept)>) {
    let events = world.events(host).iter();
    let tried = events.clone().filter_map(|(_, event)| match event {
        Event::ReconnectAttempt { rung, .. } => Some(*rung),
        _ => None,
    });
    let restored = events.filter_map(|(_, event)| match event {
        Event::Restored { rung, kept, .. } => Some((*rung, *kept)),
        _ => None,
    });
    (tried.collect(), restored.collect())
}

fn not_delivered(world: &World, host: HostId) -> usize {
    let events = world.events(host).iter();
    events
        .filter(|(_, event)| matches!(event, Event::NotDelivered { .. }))
        .count()
}

#[test]
fn a_path_that_works_one_way_only_is_noticed_by_both_sides() {
    let mut world = connected(1);
    world.run_for(seconds(10));
    let cut = world.now();
    world.apply(Action::Partition {
        from: ALICE,
        to: BOB,
        for_ms: 600_000,
    });
    let lost = |world: &World| {
        [(ALICE, BOB), (BOB, ALICE)]
            .iter()
            .all(|(host, peer)| world.state(*host, *peer) == Some(PeerState::Disconnected))
    };
    assert!(world.run_until(lost, seconds(30)));
    // The next check comes after three seconds at the latest, and is given five. The one that is later has restarted ICE
    // for the other by then, and finds nothing for eight.
    assert!(world.now().since(cut) <= seconds(3 + 5 + 8) + LATENCY * 4);
    world.assert_no_violation();
}

#[test]
fn a_rebuild_loses_nothing_and_delivers_nothing_twice() {
    for who in [ALICE, BOB] {
        let mut world = connected(2);
        for _ in 0..5 {
            send(&mut world, ALICE, 40);
            send(&mut world, BOB, 40);
            world.run_for(LATENCY / 2);
            world.rebuild(who, 1 - who).expect("connected");
            assert_eq!(
                world.state(who, 1 - who),
                Some(PeerState::Disconnected),
                "what is lost is lost at once"
            );
            assert!(world.run_until(is_up, SOON));
        }
        let all = |world: &World| {
            world.received(ALICE, BOB, KIND).messages == 200
                && world.received(BOB, ALICE, KIND).messages == 200
        };
        assert!(world.run_until(all, seconds(30)));
        let (tried, restored) = told(&world, who);
        assert_eq!(tried, [Rung::Rebuild; 5]);
        assert_eq!(restored, [(Some(Rung::Rebuild), Kept::Channels); 5]);
        let (tried, restored) = told(&world, 1 - who);
        assert_eq!(tried, []);
        assert_eq!(restored, [(None, Kept::Channels); 5]);
        for host in [ALICE, BOB] {
            assert_eq!(not_delivered(&world, host), 0);
            world.check_agreement(host, 1 - host);
            let now = world.instant();
            let figures = world.with_peer(host, 1 - host, |peer| peer.metrics(now));
            let figures = figures.expect("it is there");
            assert_eq!(
                (figures.losses, figures.rebuilds, figures.restarts),
                (5, 5, 0)
            );
            assert!(figures.consent_age.is_some_and(|age| age < seconds(4)));
        }
        world.assert_no_violation();
    }
}

#[test]
fn both_sides_may_rebuild_at_once() {
    let mut world = connected(3);
    send(&mut world, ALICE, 40);
    send(&mut world, BOB, 40);
    world.run_for(LATENCY / 2);
    world.rebuild(ALICE, BOB).expect("connected");
    world.rebuild(BOB, ALICE).expect("connected");
    assert!(world.run_until(is_up, SOON));
    let all = |world: &World| {
        world.received(ALICE, BOB, KIND).messages == 40
            && world.received(BOB, ALICE, KIND).messages == 40
    };
    assert!(world.run_until(all, seconds(30)));
    for host in [ALICE, BOB] {
        assert_eq!(not_delivered(&world, host), 0);
        assert_eq!(told(&world, host).1.len(), 1);
    }
    world.check_agreement(ALICE, BOB);
    world.assert_no_violation();
}

#[test]
fn what_restarts_do_not_bring_back_is_rebuilt() {
    let mut world = connected(4);
    send(&mut world, ALICE, 10);
    // Signals pass, and datagrams do not: restarts of eight seconds fail.
    for (from, to) in [(ALICE, BOB), (BOB, ALICE)] {
        world.apply(Action::Partition {
            from,
            to,
            for_ms: 45_000,
        });
    }
    let back = |world: &World| told(world, ALICE).1.len() == 1 && is_up(world);
    assert!(world.run_until(back, seconds(70)));
    let (tried, restored) = told(&world, ALICE);
    assert_eq!(tried.first(), Some(&Rung::IceRestart));
    assert!(
        tried.is_sorted() && tried.contains(&Rung::Rebuild),
        "{tried:?}"
    );
    assert_eq!(restored, [(Some(Rung::Rebuild), Kept::Channels)]);
    let all = |world: &World| world.received(BOB, ALICE, KIND).messages == 10;
    assert!(world.run_until(all, seconds(30)));
    assert_eq!(not_delivered(&world, ALICE), 0);
    world.assert_no_violation();
}

#[test]
fn a_peer_that_lost_its_memory_is_noticed_and_what_it_may_have_got_is_told() {
    let mut world = connected(5);
    world.run_for(seconds(1));
    send(&mut world, ALICE, 20);
    // They are on their way when the process of the other side vanishes.
    world.run_for(LATENCY / 2);
    world.apply(Action::Crash { host: BOB });
    world.run_for(seconds(1));
    world.apply(Action::Start { host: BOB });
    let back = |world: &World| told(world, ALICE).1.len() == 1 && is_up(world);
    assert!(
        world.run_until(back, seconds(60)),
        "{:?}",
        told(&world, ALICE)
    );
    assert_eq!(told(&world, ALICE).1, [(Some(Rung::Rebuild), Kept::Queues)]);
    assert!(not_delivered(&world, ALICE) > 0);
    let forgot = world.events(ALICE).iter().any(|(_, event)| {
        matches!(
            event,
            Event::State {
                cause: Cause::PeerForgot | Cause::PathLost,
                ..
            }
        )
    });
    assert!(forgot);
    let before = world.received(BOB, ALICE, KIND).messages;
    send(&mut world, ALICE, 5);
    let more = |world: &World| world.received(BOB, ALICE, KIND).messages == before + 5;
    assert!(world.run_until(more, seconds(5)));
    world.check_agreement(ALICE, BOB);
    world.assert_no_violation();
}

/// An attempt needs signalling. Without it none is made, and so none is lost.
#[test]
fn attempts_wait_for_signalling_and_none_is_spent() {
    for host in [ALICE, BOB] {
        let mut world = connected(7);
        send(&mut world, ALICE, 10);
        world.apply(Action::SetSignalling { host, up: false });
        for (from, to) in [(ALICE, BOB), (BOB, ALICE)] {
            let for_ms = 20_000;
            world.apply(Action::Partition { from, to, for_ms });
        }
        // The old path does not come back: its socket is another one.
        let [old, new] = ["10.0.0.1:5000", "10.0.0.1:6000"].map(|a| a.parse().expect("valid"));
        let (unbind, bind) = (
            Action::Unbind {
                host: ALICE,
                address: old,
            },
            Action::Bind {
                host: ALICE,
                address: new,
            },
        );
        world.apply(unbind);
        world.apply(bind);
        world.run_for(seconds(40));
        assert_eq!(told(&world, host).0, [], "{host}");
        assert_eq!(world.state(host, 1 - host), Some(PeerState::Disconnected));
        let up = world.now();
        world.apply(Action::SetSignalling { host, up: true });
        assert!(world.run_until(is_up, SOON));
        assert!(world.now().since(up) <= seconds(1), "{host}");
        let all = |world: &World| world.received(BOB, ALICE, KIND).messages == 10;
        assert!(world.run_until(all, seconds(5)));
        assert_eq!(not_delivered(&world, ALICE), 0);
        world.assert_no_violation();
    }
}

#[test]
fn what_is_said_while_signalling_is_down_is_said_when_it_is_back() {
    let mut world = World::builder(8).peer("alice").peer("bob").build();
    world.apply(Action::SetSignalling {
        host: ALICE,
        up: false,
    });
    world.connect(ALICE, BOB).expect("alice knows nobody");
    world.run_for(seconds(5));
    assert_eq!(world.stats().signals.sent, 0);
    let explanation = world.with_peer(ALICE, BOB, |peer| peer.state());
    assert_eq!(explanation, Ok(PeerState::Connecting));
    let now = world.instant();
    let why = world
        .with_peer(ALICE, BOB, |peer| peer.explain(now))
        .expect("it is there");
    assert_eq!(why.findings[0].cause, "the signalling link is down here");
    let up = world.now();
    world.apply(Action::SetSignalling {
        host: ALICE,
        up: true,
    });
    assert!(world.run_until(is_up, SOON));
    assert!(world.now().since(up) < seconds(1));
    world.assert_no_violation();
}
