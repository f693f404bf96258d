use std::time::Duration;

use bowline::{ChannelKind, PeerState};
use bowline_sim::{Action, LinkConfig};

use super::{CONNECT, close_all, connected, states};

const KIND: ChannelKind = ChannelKind::Reliable;

fn send(count: u32) -> Action {
    Action::Send {
        from: 0,
        to: 1,
        channel: KIND,
        size: 100,
        count,
        text: false,
    }
}

#[test]
fn what_is_sent_during_a_short_partition_arrives_after_it() {
    let mut world = connected(1, LinkConfig::default());
    world.partition(0, 1, Duration::from_secs(10));
    world.apply(send(50));
    let arrived = world.run_until(
        |w| w.received(1, 0, KIND).messages == 50,
        Duration::from_secs(60),
    );
    world.assert_no_violation();
    assert!(
        arrived,
        "{} of 50 arrived",
        world.received(1, 0, KIND).messages
    );
    assert!(!states(&world, 0).contains(&PeerState::Failed));
    close_all(&mut world);
}

#[test]
fn a_path_that_is_lost_for_forty_seconds_is_restored_without_losing_a_message() {
    let mut world = connected(1, LinkConfig::default());
    world.partition(0, 1, Duration::from_secs(40));
    world.apply(send(50));
    let lost = world.run_until(
        |w| w.state(0, 1) == Some(PeerState::Disconnected),
        Duration::from_secs(40),
    );
    assert!(lost, "{:?}", world.state(0, 1));
    let back = |w: &bowline_sim::World| w.connected(0, 1) && w.received(1, 0, KIND).messages == 50;
    assert!(
        world.run_until(back, Duration::from_secs(150)),
        "{:?}",
        world.state(0, 1)
    );
    world.check_agreement(0, 1);
    assert_eq!(
        states(&world, 0),
        [
            PeerState::Connecting,
            PeerState::Connected,
            PeerState::Disconnected,
            PeerState::Connected,
        ]
    );
    close_all(&mut world);
}

#[test]
fn a_path_that_does_not_come_back_ends_both_sides_within_the_budget() {
    let mut world = connected(1, LinkConfig::default());
    world.partition(0, 1, Duration::from_secs(3_600));
    world.apply(send(5));
    world.run_for(Duration::from_secs(30 + 60 + 1));
    for (host, peer) in [(0, 1), (1, 0)] {
        assert_eq!(world.state(host, peer), Some(PeerState::Failed), "{host}");
    }
    close_all(&mut world);
}

#[test]
fn a_path_that_is_lost_one_way_is_repaired() {
    for (seed, from, to) in [(1, 0, 1), (2, 1, 0)] {
        let mut world = connected(seed, LinkConfig::default());
        world.apply(Action::Partition {
            from,
            to,
            for_ms: 35_000,
        });
        world.apply(send(20));
        world.run_for(Duration::from_secs(35));
        let back = |w: &bowline_sim::World| w.connected(0, 1) && w.outstanding(0, 1, KIND) == 0;
        assert!(
            world.run_until(back, Duration::from_secs(150)),
            "{:?}",
            world.state(0, 1)
        );
        world.check_agreement(0, 1);
        close_all(&mut world);
    }
}

#[test]
fn a_peer_that_vanishes_is_given_up_and_can_be_called_again() {
    let mut world = connected(1, LinkConfig::default());
    world.apply(send(5));
    world.crash(1);
    let gone = world.run_until(|w| w.ended(0, 1), Duration::from_secs(30 + 60));
    world.assert_no_violation();
    assert!(gone, "{:?}", world.state(0, 1));
    world.restart(1);
    world.connect(0, 1).expect("the old one has ended");
    assert!(world.run_until(|w| w.connected(0, 1), CONNECT));
    close_all(&mut world);
}

#[test]
fn a_peer_that_starts_again_and_calls_takes_the_place_of_what_it_was() {
    let mut world = connected(1, LinkConfig::default());
    world.crash(1);
    world.restart(1);
    world.connect(1, 0).expect("the new bob knows nobody");
    assert!(
        world.run_until(|w| w.connected(0, 1), CONNECT),
        "{:?}",
        world.state(0, 1)
    );
    world.check_agreement(0, 1);
    close_all(&mut world);
}

#[test]
fn an_interface_that_goes_and_one_that_comes_keep_the_connection() {
    let mut world = connected(1, LinkConfig::default());
    let [old, new] = [0, 1].map(|i| bowline_sim::addresses(0, 2, 0)[i]);
    world.bind(0, new);
    world.run_for(Duration::from_secs(1));
    world.unbind(0, old);
    world.apply(send(20));
    let back = |w: &bowline_sim::World| w.connected(0, 1) && w.outstanding(0, 1, KIND) == 0;
    assert!(
        world.run_until(back, Duration::from_secs(60)),
        "{:?}",
        world.state(0, 1)
    );
    world.check_agreement(0, 1);
    close_all(&mut world);
}

#[test]
fn an_ice_restart_loses_nothing() {
    let mut world = connected(1, LinkConfig::default().lossy(0.05));
    for _ in 0..10 {
        world.apply(send(10));
        world.restart_ice(0, 1).expect("connected");
        world.run_for(Duration::from_secs(2));
    }
    assert!(world.run_until(|w| w.outstanding(0, 1, KIND) == 0, Duration::from_secs(60)));
    assert_eq!(world.received(1, 0, KIND).messages, 100);
    assert!(world.connected(0, 1));
    close_all(&mut world);
}
