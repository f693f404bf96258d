//! Channels that come and go on one session.

use bowline::{ChannelConfig, ChannelId, Config, Event, Message, PeerState};

use crate::common::{World, millis, secs};

const NAMES: [&str; 2] = ["alice", "bob"];

/// Opens a channel from `side`, sends a message on it, waits until it is there, closes the channel from `closer`.
fn round_trip(world: &mut World, side: usize, closer: usize, label: &str) {
    let now = world.now;
    let before = world.events(1 - side).len();
    let mut peer = world.peer(side, NAMES[1 - side]);
    let ours = peer
        .open_channel(ChannelConfig::new(label), now)
        .expect("there is room");
    peer.send(ours, label, now).expect("queued");
    let wait = now + secs(60);
    while world.now < wait && !has_message(world, 1 - side, before) {
        world.run(millis(5));
    }
    let events = &world.events(1 - side)[before..];
    let got: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Message {
                channel, message, ..
            } => Some((*channel, message.clone())),
            _ => None,
        })
        .collect();
    let [(theirs, message)] = got.as_slice() else {
        panic!("{label}: {events:?}");
    };
    assert_eq!(*message, Message::text(label));
    let channels = [ours, *theirs];
    let closing = channels[usize::from(closer != side)];
    let now = world.now;
    world
        .peer(closer, NAMES[1 - closer])
        .close_channel(closing, now)
        .expect("is open");
}

fn has_message(world: &World, n: usize, from: usize) -> bool {
    let is_message = |event: &Event| matches!(event, Event::Message { .. });
    world.events(n)[from..].iter().any(is_message)
}

fn closed(world: &World, n: usize) -> usize {
    let is_closed = |event: &&Event| matches!(event, Event::ChannelClosed { .. });
    world.events(n).iter().filter(is_closed).count()
}

fn assert_quiet(world: &mut World, rounds: usize) {
    world.run(secs(30));
    for n in 0..2 {
        assert_eq!(closed(world, n), rounds);
        let is_error = |event: &&Event| matches!(event, Event::ChannelError { .. });
        assert_eq!(world.events(n).iter().find(is_error), None);
        assert!(world.is_connected(n, NAMES[1 - n]));
        assert!(!world.saw_state(n, PeerState::Disconnected));
    }
}

/// More than all the streams that the guard on a peer's streams lets through.
const ROUNDS: usize = 1_000;

#[test]
fn a_thousand_channels_after_each_other_fit_one_session() {
    let mut world = World::connected();
    for round in 0..ROUNDS {
        round_trip(&mut world, round % 2, round / 2 % 2, &format!("c{round}"));
    }
    assert_quiet(&mut world, ROUNDS);
}

#[test]
fn channels_come_and_go_while_datagrams_are_lost() {
    let mut world = World::connected();
    let mut state = 1_u32;
    world.lose(move |parcel| {
        // One in 16. A fixed period would fall in with that of retransmissions.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        parcel.is_dtls() && state >> 28 == 0
    });
    for round in 0..400 {
        round_trip(&mut world, round % 2, round / 2 % 2, &format!("c{round}"));
    }
    assert_quiet(&mut world, 400);
}

#[test]
fn refused_channels_leave_the_session_usable() {
    let small = Config::builder().max_channels(5).build().expect("valid");
    let mut world = World::new(&NAMES, &Config::default());
    world.restart(1, 2, &small);
    world.connect(0, "bob");
    world.run(secs(1));
    let open = |world: &mut World, label: &str| -> ChannelId {
        let now = world.now;
        let opened = world
            .peer(0, "bob")
            .open_channel(ChannelConfig::new(label), now);
        world.run(secs(1));
        opened.expect("alice has room")
    };
    let first = open(&mut world, "first");
    for n in 1..=3 {
        open(&mut world, "refused");
        assert_eq!(closed(&world, 0), n, "bob has no room");
    }
    let now = world.now;
    let mut bob = world.peer(0, "bob");
    bob.close_channel(first, now).expect("is open");
    world.run(secs(1));
    // More than are given out in turn.
    for n in 0..300 {
        round_trip(&mut world, 0, n % 2, "again");
        world.run(millis(100));
    }
    assert!(world.is_connected(0, "bob") && world.is_connected(1, "alice"));
}
