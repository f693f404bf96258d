//! Rooms: members find each other, speak through others, and do without the signalling server.

use bowline::{
    Config, Event, Input, JoinError, Message, PeerId, PeerState, PublishRefusal, RoomId, UnixTime,
    UnknownRoom,
};

use crate::common::{Parcel, World, id, millis, secs};

const ROOM: &str = "a room";

/// Nodes of these names that have joined the room, and the signalling server has introduced to each other.
fn introduced(names: &[&str], config: &Config) -> (World, Vec<RoomId>) {
    let mut world = World::new(names, config);
    let rooms: Vec<_> = (0..names.len()).map(|n| join(&mut world, n)).collect();
    let ids: Vec<_> = names.iter().map(|name| id(name)).collect();
    for (n, room) in rooms.iter().enumerate() {
        introduce(&mut world, n, *room, &ids);
    }
    (world, rooms)
}

pub(crate) fn join(world: &mut World, n: usize) -> RoomId {
    let now = world.now;
    world.endpoint(n).join(ROOM, now).expect("joins")
}

pub(crate) fn introduce(world: &mut World, n: usize, room: RoomId, peers: &[PeerId]) {
    let now = world.now;
    let mut room = world.endpoint(n).room(room).expect("there");
    room.introduce(peers, now);
}

fn members(world: &mut World, n: usize, room: RoomId) -> Vec<PeerId> {
    world.endpoint(n).room(room).expect("there").members()
}

pub(crate) fn publish(world: &mut World, n: usize, room: RoomId, text: &str) -> u64 {
    let now = world.now;
    let mut room = world.endpoint(n).room(room).expect("there");
    room.publish(text, now).expect("published")
}

/// What was published by others, as a node got it.
fn published(world: &World, n: usize) -> Vec<(PeerId, u64, String)> {
    let published = |event: &Event| match event {
        Event::Published {
            from,
            number,
            message,
            ..
        } => {
            let text = String::from_utf8_lossy(&message.data).into_owned();
            Some((*from, *number, text))
        }
        _ => None,
    };
    world.events(n).iter().filter_map(published).collect()
}

/// The signalling server is gone for good, and everybody knows.
pub(crate) fn lose_signalling(world: &mut World) {
    world.lose(Parcel::is_signal);
    let now = world.now;
    for node in &mut world.nodes {
        node.endpoint
            .handle_input(Input::SignallingChanged { up: false }, now);
    }
}

fn others(names: &[&str], own: &str) -> Vec<PeerId> {
    let mut others: Vec<_> = names.iter().filter(|n| **n != own).map(|n| id(n)).collect();
    others.sort();
    others
}

#[test]
fn members_connect_to_each_other_and_what_one_publishes_reaches_all_once() {
    let names = ["alice", "bob", "carol", "dave"];
    let (mut world, rooms) = introduced(&names, &Config::default());
    world.run(secs(3));
    for (n, name) in names.iter().enumerate() {
        let others = others(&names, name);
        assert_eq!(members(&mut world, n, rooms[n]), others);
        let room = world.endpoint(n).room(rooms[n]).expect("there");
        assert_eq!(room.neighbours(), others);
        let asked = |event: &Event| matches!(event, Event::Incoming { .. });
        assert!(!world.events(n).iter().any(asked), "a member is welcome");
    }
    for number in 1..=3 {
        assert_eq!(
            publish(&mut world, 0, rooms[0], &format!("{number}")),
            number
        );
        world.run(secs(1));
    }
    let expected: Vec<_> = (1..=3).map(|n| (id("alice"), n, n.to_string())).collect();
    for n in 1..4 {
        assert_eq!(published(&world, n), expected);
    }
    assert_eq!(published(&world, 0), []);
}

#[test]
fn who_leaves_and_who_is_lost_is_told() {
    let names = ["alice", "bob", "carol"];
    let (mut world, rooms) = introduced(&names, &Config::default());
    world.run(secs(3));
    let now = world.now;
    world.endpoint(0).room(rooms[0]).expect("there").leave(now);
    world.run(secs(2));
    assert!(world.endpoint(0).room(rooms[0]).is_err());
    let left = |world: &World, n, peer: &str, lost| {
        let (room, peer) = (rooms[n], id(peer));
        world
            .events(n)
            .contains(&Event::MemberLeft { room, peer, lost })
    };
    assert!(left(&world, 1, "alice", false) && left(&world, 2, "alice", false));
    world.nodes[1].asleep = true;
    world.run(secs(120));
    // Without anybody else Carol cannot tell whether it is she.
    assert!(!left(&world, 2, "bob", true));
}

#[test]
fn a_member_that_is_lost_is_given_up_by_all_and_taken_back() {
    let names = ["alice", "bob", "carol"];
    let (mut world, rooms) = introduced(&names, &Config::default());
    world.run(secs(3));
    world.nodes[1].asleep = true;
    world.run(secs(40));
    for n in [0, 2] {
        let lost = Event::MemberLeft {
            room: rooms[n],
            peer: id("bob"),
            lost: true,
        };
        assert!(world.events(n).contains(&lost));
    }
    world.nodes[1].asleep = false;
    world.run(secs(1));
    let ids = names.map(id);
    for n in [0, 2] {
        introduce(&mut world, n, rooms[n], &ids);
    }
    world.run(secs(60));
    for (n, name) in names.iter().enumerate() {
        assert_eq!(members(&mut world, n, rooms[n]), others(&names, name));
    }
}

#[test]
fn without_the_server_peers_restart_and_rebuild_through_others() {
    let names = ["alice", "bob", "carol"];
    let (mut world, rooms) = introduced(&names, &Config::default());
    world.run(secs(3));
    lose_signalling(&mut world);
    let now = world.now;
    let restarts = world.peer(0, "bob").metrics(now).restarts;
    world.peer(0, "bob").restart_ice(now);
    world.run(secs(2));
    let now = world.now;
    assert_eq!(world.peer(0, "bob").metrics(now).restarts, restarts + 1);
    world.peer(1, "carol").rebuild(now);
    world.run(secs(3));
    assert!(world.is_connected(1, "carol") && world.is_connected(2, "bob"));
    assert!(world.stats(0).mesh.relayed > 0, "Alice has carried it");
    for (n, room) in rooms.iter().enumerate() {
        assert!(!world.saw_state(n, PeerState::Failed));
        assert_eq!(members(&mut world, n, *room).len(), 2);
    }
}

#[test]
fn a_newcomer_that_knows_one_member_meets_the_others_through_it() {
    let names = ["alice", "bob", "carol"];
    let (mut world, mut rooms) = introduced(&names[..2], &Config::default());
    let carol = World::new(&["x", "y", "carol"], &Config::default())
        .nodes
        .remove(2);
    world.nodes.push(carol);
    world.run(secs(3));
    // At the present of this world.
    world.restart(2, 33, &Config::default());
    rooms.push(join(&mut world, 2));
    // The last thing that the server carries is between Bob and Carol.
    world.lose(|parcel| {
        let alice = id("alice");
        matches!(parcel, Parcel::Signal { to, text } if *to == alice || text.contains("\"from\":\"alice\""))
    });
    world.connect(2, "bob");
    world.run(secs(2));
    lose_signalling(&mut world);
    world.run(secs(10));
    assert!(world.is_connected(0, "carol") && world.is_connected(2, "alice"));
    for (n, name) in names.iter().enumerate() {
        assert_eq!(members(&mut world, n, rooms[n]), others(&names, name));
    }
    publish(&mut world, 2, rooms[2], "hello");
    world.run(secs(1));
    for n in 0..2 {
        assert_eq!(published(&world, n), [(id("carol"), 1, "hello".to_owned())]);
    }
}

#[test]
fn who_does_not_know_the_name_of_the_room_is_not_in_it() {
    let mut world = World::connected();
    let now = world.now;
    let room = world.endpoint(0).join(ROOM, now).expect("joins");
    let other = world.endpoint(1).join("another room", now).expect("joins");
    world.run(secs(10));
    assert_eq!(members(&mut world, 0, room), []);
    assert_eq!(members(&mut world, 1, other), []);
    let now = world.now;
    let third = world.endpoint(1).join(ROOM, now).expect("joins");
    world.run(secs(1));
    assert_eq!(members(&mut world, 0, room), [id("bob")]);
    assert_eq!(members(&mut world, 1, third), [id("alice")]);
    assert_eq!(members(&mut world, 1, other), []);
}

/// What a room does with keys for peers: Alice and Bob, whose own frames are altered before the other gets them.
#[test]
fn publications_of_keys_are_signed_dated_and_of_one_room() {
    let mut world = World::new_unbound(&["alice", "bob", "carol"], &Config::default());
    (0..3).for_each(|n| world.enkey(n, n as u8 + 1));
    world.bind();
    let ids: Vec<_> = world.nodes.iter().map(|node| node.endpoint.id()).collect();
    let rooms: Vec<_> = (0..3).map(|n| join(&mut world, n)).collect();
    for (n, room) in rooms.iter().enumerate() {
        introduce(&mut world, n, *room, &ids);
    }
    world.run(secs(3));
    publish(&mut world, 0, rooms[0], "signed");
    world.run(secs(1));
    for n in 1..3 {
        assert_eq!(published(&world, n), [(ids[0], 1, "signed".to_owned())]);
        assert_eq!(world.stats(n).mesh.forged, 0);
    }
    // Bob's clock is wrong by more than the window: what he signs is not taken.
    let now = world.now;
    let unix_time = UnixTime::from_duration(secs(3_600));
    let clock = Input::WallClockSet { unix_time };
    world.endpoint(1).handle_input(clock, now);
    publish(&mut world, 1, rooms[1], "from the future");
    world.run(secs(1));
    assert_eq!(published(&world, 0), []);
    assert!(world.stats(0).mesh.forged > 0 && world.stats(2).mesh.forged > 0);
}

#[test]
fn limits_are_told_at_the_bound() {
    let config = Config::builder().max_rooms(2).max_publication(10);
    let mut world = World::new(&["alice"], &config.build().expect("valid"));
    let now = world.now;
    let alice = world.endpoint(0);
    let long = "x".repeat(256);
    let room = alice.join(&long, now).expect("joins");
    assert_eq!(alice.join(&long, now), Err(JoinError::AlreadyThere));
    assert_eq!(alice.join("", now), Err(JoinError::Name));
    assert_eq!(alice.join(&format!("{long}x"), now), Err(JoinError::Name));
    alice.join("second", now).expect("joins");
    assert_eq!(alice.join("third", now), Err(JoinError::TooManyRooms(2)));
    let mut publish = |message: Message| {
        let mut room = alice.room(room).expect("there");
        room.publish(message, now).map_err(|error| error.reason)
    };
    let limit = 10;
    assert_eq!(
        publish(Message::binary(vec![0; 11])),
        Err(PublishRefusal::TooLarge { limit })
    );
    for number in 1..=64 {
        assert_eq!(publish(Message::binary(vec![0; 10])), Ok(number));
    }
    assert_eq!(publish(Message::text("")), Err(PublishRefusal::TooFast));
    alice.room(room).expect("there").leave(now);
    assert_eq!(alice.room(room).err(), Some(UnknownRoom));
}

#[test]
fn a_connection_that_the_room_made_is_closed_when_nobody_needs_it() {
    for claimed in [false, true] {
        let names = ["alice", "bob", "carol"];
        let (mut world, rooms) = introduced(&names, &Config::default());
        world.run(secs(3));
        if claimed {
            world.connect(0, "bob");
        }
        let now = world.now;
        world.endpoint(0).room(rooms[0]).expect("there").leave(now);
        world.run(secs(29));
        assert!(world.is_connected(0, "bob"));
        world.run(secs(15));
        // Bob's side still counts the connection as his room's.
        assert!(!world.is_connected(0, "carol"));
        assert_eq!(
            world.is_connected(0, "bob"),
            claimed && world.is_connected(1, "alice")
        );
    }
}

#[test]
fn what_is_published_before_the_tree_has_grown_arrives() {
    let names = ["alice", "bob", "carol", "dave"];
    for moment in 0..12 {
        let (mut world, rooms) = introduced(&names, &Config::default());
        world.run(millis(200 + 30 * moment));
        publish(&mut world, 0, rooms[0], "early");
        world.run(secs(5));
        for n in 1..4 {
            assert_eq!(published(&world, n).len(), 1, "{moment} {n}");
        }
    }
}
