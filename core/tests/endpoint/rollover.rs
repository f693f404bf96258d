//! A new key in the place of an old one, while both are in use.

use std::time::Duration;

use bowline::{
    Cause, ChannelKind, Config, ConnectError, ConnectOptions, Event, Identity, Message,
    NotInvolved, PeerId, PeerState, Replay, Rollover, UnixTime,
};

use crate::common::{Parcel, World, secs};
use crate::replay::Tape;

/// When both keys are not in use any more, on the clock that begins with the world.
const GRACE: Duration = Duration::from_secs(600);

/// Alice, and the two endpoints of Bob: the first has the old key, the second the new one.
fn world() -> (World, [PeerId; 3]) {
    let (mut world, ids) = unbound();
    world.bind();
    (world, ids)
}

fn unbound() -> (World, [PeerId; 3]) {
    let mut world = World::new_unbound(&["alice", "old", "new"], &Config::default());
    (0..3).for_each(|n| world.enkey(n, n as u8 + 1));
    let ids = [0, 1, 2].map(|n| world.endpoint(n).id());
    (world, ids)
}

/// That the key of one node takes the place of that of another.
fn rollover(old: usize, new: usize) -> Rollover {
    let [old, new] = [old, new].map(|n| Identity::from_private_key([n as u8 + 1; 32]));
    Rollover::new(&old, &new, UnixTime::from_duration(GRACE)).expect("two keys")
}

fn announce(world: &mut World, n: usize, rollover: &Rollover) {
    let now = world.now;
    let announced = world.endpoint(n).announce_rollover(rollover.clone(), now);
    announced.expect("it is about its key");
}

/// What a node was told about keys, and of its connections, in order.
fn told(world: &World, n: usize) -> Vec<String> {
    let told = |event: &Event| match event {
        Event::KeyRollover { rollover } => Some(format!("{rollover:?}")),
        Event::Incoming { peer, .. } => Some(format!("incoming {peer}")),
        Event::State { peer, to, .. } if to.is_terminal() => Some(format!("{to} {peer}")),
        _ => None,
    };
    world.events(n).iter().filter_map(told).collect()
}

#[test]
fn who_is_offered_a_connection_learns_whose_place_the_new_key_takes() {
    let (mut world, [alice, _, new]) = world();
    let rollover = rollover(1, 2);
    announce(&mut world, 2, &rollover);
    world.connect(2, alice.as_str());
    world.run(secs(1));
    assert!(world.is_connected(0, new.as_str()));
    let known = format!("{rollover:?}");
    assert_eq!(told(&world, 0), [known, format!("incoming {new}")]);
    // A restart of ICE is no news.
    let now = world.now;
    world.peer(2, alice.as_str()).restart_ice(now);
    world.run(secs(5));
    assert_eq!(told(&world, 0).len(), 2);
}

#[test]
fn the_old_key_ends_what_it_has_and_says_who_it_is_now() {
    let (mut world, [alice, old, new]) = world();
    world.connect(0, old.as_str());
    world.run(secs(1));
    let now = world.now;
    world
        .peer(1, alice.as_str())
        .send(ChannelKind::Reliable, "the last", now)
        .expect("queued");
    let rollover = rollover(1, 2);
    announce(&mut world, 1, &rollover);
    world.run(secs(5));
    assert_eq!(
        world.messages(0),
        [(1, Message::text("the last"))],
        "what it has said before is delivered"
    );
    let known = format!("{rollover:?}");
    assert_eq!(told(&world, 0), [known, format!("closed {old}")]);
    assert_eq!(
        world.end(0).map(|(_, cause, _)| cause),
        Some(Cause::RemoteClose)
    );
    world.connect(0, new.as_str());
    world.run(secs(1));
    assert!(world.is_connected(0, new.as_str()));
}

#[test]
fn the_new_key_is_news_when_the_transport_has_told_the_end_already() {
    let (mut world, [_, old, _]) = world();
    world.connect(0, old.as_str());
    world.run(secs(1));
    let slow_link = |_, parcel| match parcel {
        Parcel::Signal { .. } => vec![(Duration::from_millis(100), parcel)],
        Parcel::Datagram { .. } => vec![(Duration::ZERO, parcel)],
    };
    world.network(slow_link);
    let rollover = rollover(1, 2);
    announce(&mut world, 1, &rollover);
    world.run(secs(5));
    let known = format!("{rollover:?}");
    assert_eq!(told(&world, 0), [format!("closed {old}"), known]);
}

#[test]
fn who_calls_the_old_key_in_the_grace_period_is_told_of_the_new_one() {
    let (mut world, [alice, old, new]) = world();
    let rollover = rollover(1, 2);
    announce(&mut world, 1, &rollover);
    world.connect(0, old.as_str());
    world.run(secs(1));
    assert_eq!(
        world.end(0).map(|(_, cause, _)| cause),
        Some(Cause::PeerRefused)
    );
    let known = format!("{rollover:?}");
    assert_eq!(told(&world, 0), [known, format!("closed {old}")]);
    assert_eq!(told(&world, 1), Vec::<String>::new(), "nobody is asked");
    let now = world.now;
    let options = ConnectOptions::default;
    let called = world.endpoint(1).connect(alice, options(), now);
    assert_eq!(called, Err(ConnectError::GivenUp));
    // It goes on from there.
    world.endpoint(0).connect(new, options(), now).expect("new");
    world.run(secs(1));
    assert!(world.is_connected(0, new.as_str()));
}

#[test]
fn after_the_grace_period_nobody_is_told() {
    let (mut world, [alice, old, new]) = world();
    let rollover = rollover(1, 2);
    announce(&mut world, 1, &rollover);
    announce(&mut world, 2, &rollover);
    world.run(GRACE);
    world.connect(2, alice.as_str());
    world.connect(0, old.as_str());
    world.run(secs(1));
    assert!(world.is_connected(0, new.as_str()));
    let ended = world.end(0).map(|(state, cause, _)| (state, cause));
    assert_eq!(ended, Some((PeerState::Closed, Cause::PeerRefused)));
    let keys = |event: &Event| matches!(event, Event::KeyRollover { .. });
    assert!(!world.events(0).iter().any(keys));
}

#[test]
fn a_statement_that_is_shown_too_long_is_not_believed() {
    let (mut world, [alice, ..]) = world();
    announce(&mut world, 2, &rollover(1, 2));
    // The clock of who shows it is slow, by less than what messages may be late.
    world.run(GRACE - secs(60));
    let (now, slow) = (world.now, UnixTime::from_duration(GRACE - secs(120)));
    let clock = bowline::Input::WallClockSet { unix_time: slow };
    world.endpoint(2).handle_input(clock, now);
    world.run(secs(61));
    world.connect(2, alice.as_str());
    world.run(secs(1));
    assert!(world.saw_state(0, PeerState::Connected));
    let keys = |event: &Event| matches!(event, Event::KeyRollover { .. });
    assert!(!world.events(0).iter().any(keys));
}

#[test]
fn an_endpoint_speaks_of_its_own_key_only() {
    let (mut world, [_, old, _]) = world();
    let now = world.now;
    let announced = world.endpoint(0).announce_rollover(rollover(1, 2), now);
    assert_eq!(announced, Err(NotInvolved));
    world.connect(0, old.as_str());
    world.run(secs(1));
    assert!(world.is_connected(0, old.as_str()));
}

#[test]
fn names_have_no_keys_to_change() {
    let mut world = World::pair();
    let now = world.now;
    for n in 0..2 {
        let announced = world.endpoint(n).announce_rollover(rollover(1, 2), now);
        assert_eq!(announced, Err(NotInvolved));
    }
    // Whoever carries plain messages can add one, which says only what two keys have signed, and not of these.
    world.network(|_, parcel| vec![(Duration::ZERO, with_statement(parcel))]);
    world.connect(0, "bob");
    world.run(secs(1));
    let refused = |event: &Event| matches!(event, Event::SignalRefused { .. });
    assert!(world.events(1).iter().any(refused));
    assert!(!world.saw_state(1, PeerState::Connected));
}

fn with_statement(parcel: Parcel) -> Parcel {
    let Parcel::Signal { to, text } = parcel else {
        return parcel;
    };
    let statement = rollover(1, 2);
    let text = text.replacen('{', &format!("{{\"rollover\":\"{statement}\","), 1);
    Parcel::Signal { to, text }
}

#[test]
fn a_change_of_keys_is_recorded_and_replayed() {
    for n in 0..3 {
        let (mut world, ids) = unbound();
        let (tape, started) = (Tape::default(), world.now);
        world.endpoint(n).record(tape.clone(), true).expect("new");
        world.bind();
        world.connect(0, ids[1].as_str());
        world.run(secs(1));
        let rollover = rollover(1, 2);
        announce(&mut world, 1, &rollover);
        announce(&mut world, 2, &rollover);
        world.run(secs(5));
        world.connect(2, ids[0].as_str());
        world.run(secs(1));
        let tape = tape.bytes();
        let steps = Replay::new(&*tape, started).expect("a recording");
        let replayed = steps.flat_map(|step| step.expect("as it was").outputs);
        let events: Vec<_> = replayed
            .filter_map(|output| match output {
                bowline::Output::Event(event) => Some(event),
                _ => None,
            })
            .collect();
        assert_eq!(events, world.events(n), "{n}");
    }
}
