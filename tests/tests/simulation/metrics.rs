//! What the figures of a peer say, beside what the network did.

use std::time::Duration;

use bowline::{ChannelKind, Event, PeerMetrics, PeerState};
use bowline_sim::{Action, HostId, LinkConfig, World};

const ALICE: HostId = 0;
const BOB: HostId = 1;
const LATENCY: Duration = Duration::from_millis(20);
const MESSAGES: u32 = 400;
const SIZE: u32 = 10_000;
/// The default of `metrics_interval`.
const INTERVAL: Duration = Duration::from_secs(5);

/// Alice and Bob, connected over a link that loses datagrams with probability `loss`.
fn connected(loss: f64) -> World {
    let link = LinkConfig::with_latency(LATENCY).lossy(loss);
    let mut world = World::builder(4)
        .link(link)
        .peer("alice")
        .peer("bob")
        .build();
    world.connect(ALICE, BOB).expect("alice knows nobody");
    let up = |world: &World| world.connected(ALICE, BOB);
    assert!(world.run_until(up, Duration::from_secs(16)));
    world
}

fn metrics(world: &mut World, host: HostId, peer: HostId) -> PeerMetrics {
    let now = world.instant();
    let metrics = world.with_peer(host, peer, |peer| peer.metrics(now));
    metrics.expect("the peer is there")
}

/// Alice sends Bob messages, and all arrive.
fn transfer(world: &mut World) {
    world.apply(Action::Send {
        from: ALICE,
        to: BOB,
        channel: ChannelKind::Reliable,
        size: SIZE as usize,
        count: MESSAGES,
        text: false,
    });
    let all = |world: &World| {
        world.received(BOB, ALICE, ChannelKind::Reliable).messages == u64::from(MESSAGES)
    };
    assert!(world.run_until(all, Duration::from_secs(120)));
}

/// The figures that a host told while it was connected.
fn told(world: &World, host: HostId) -> Vec<PeerMetrics> {
    let events = world.events(host).iter();
    let metrics = events.filter_map(|(_, event)| match event {
        Event::Metrics { metrics, .. } => Some((**metrics).clone()),
        _ => None,
    });
    metrics.collect()
}

#[test]
fn without_loss_nothing_is_retransmitted() {
    let mut world = connected(0.0);
    transfer(&mut world);
    for (host, peer) in [(ALICE, BOB), (BOB, ALICE)] {
        let figures = metrics(&mut world, host, peer);
        let again = (figures.chunks_retransmitted, figures.bytes_retransmitted);
        assert_eq!(again, (0, 0));
    }
    world.assert_no_violation();
}

#[test]
fn with_loss_what_is_retransmitted_is_about_what_was_lost() {
    let mut world = connected(0.05);
    transfer(&mut world);
    let figures = metrics(&mut world, ALICE, BOB);
    let payload = u64::from(MESSAGES * SIZE);
    let (chunks, bytes) = (figures.chunks_retransmitted, figures.bytes_retransmitted);
    // Five of a hundred packets, and what a timeout repeats beside.
    assert!(
        (payload / 30..payload / 8).contains(&bytes),
        "{bytes} of {payload}"
    );
    let size = bytes / chunks;
    assert!((500..1_400).contains(&size), "{chunks} chunks of {size}");
    assert!(figures.bytes_sent > payload + bytes);
    world.assert_no_violation();
}

#[test]
fn on_a_steady_path_all_round_trips_are_one() {
    let mut world = connected(0.0);
    world.run_for(Duration::from_secs(30));
    let figures = metrics(&mut world, ALICE, BOB);
    let rtt = figures.rtt.expect("checks were answered");
    let way = LATENCY * 2;
    assert_eq!((rtt.latest, rtt.min), (way, way));
    // Eighths and quarters are rounded down to whole nanoseconds.
    let slight = Duration::from_nanos(20);
    assert!(
        rtt.smoothed.abs_diff(way) < slight && rtt.jitter < slight,
        "{rtt:?}"
    );
    assert!(figures.path.is_some() && !figures.relayed);
    world.assert_no_violation();
}

#[test]
fn rates_are_of_the_interval_that_an_event_ends_and_of_the_present_one_on_demand() {
    let mut world = connected(0.0);
    transfer(&mut world);
    world.run_for(INTERVAL * 3);
    let told = told(&world, ALICE);
    let [first, second, ..] = &told[..] else {
        panic!("every five seconds");
    };
    assert!(first.bytes_sent > u64::from(MESSAGES * SIZE));
    // An idle peer is not woken for it alone.
    let took = second.connected_time - first.connected_time;
    assert!((INTERVAL..=INTERVAL + INTERVAL / 4).contains(&took));
    let rate = |bytes: u64| u128::from(bytes) * 1_000_000_000 / took.as_nanos();
    let idle = second.bytes_sent - first.bytes_sent;
    assert_eq!(u128::from(second.bytes_sent_per_second), rate(idle));
    let idle = second.bytes_received - first.bytes_received;
    assert_eq!(u128::from(second.bytes_received_per_second), rate(idle));

    // From the end of the last interval on.
    let last = told.last().expect("told");
    let since = world.instant() - end_of_last_interval(&world);
    let now = metrics(&mut world, ALICE, BOB);
    let sent = u128::from(now.bytes_sent - last.bytes_sent);
    assert_eq!(
        u128::from(now.bytes_sent_per_second),
        sent * 1_000_000_000 / since.as_nanos()
    );
    world.assert_no_violation();
}

/// When Alice told her figures last.
fn end_of_last_interval(world: &World) -> std::time::Instant {
    let mut events = world.events(ALICE).iter().rev();
    let found = events.find(|(_, event)| matches!(event, Event::Metrics { .. }));
    let (at, _) = found.expect("told");
    world.instant() - world.now().since(*at)
}

#[test]
fn the_last_figures_are_those_of_the_end() {
    let mut world = connected(0.05);
    transfer(&mut world);
    let before = metrics(&mut world, ALICE, BOB);
    world.close(ALICE, BOB).expect("the peer is there");
    let over = |world: &World| world.ended(ALICE, BOB);
    assert!(world.run_until(over, Duration::from_secs(60)));
    let told = told(&world, ALICE);
    let last = told.last().expect("one at the end");
    assert!(last.chunks_retransmitted >= before.chunks_retransmitted);
    assert_eq!((last.path, last.channels.len()), (before.path, 4));
    let closed = |(_, event): &(_, Event)| {
        matches!(
            event,
            Event::State {
                to: PeerState::Closed,
                ..
            }
        )
    };
    assert!(world.events(ALICE).iter().any(closed));
    world.assert_no_violation();
}
