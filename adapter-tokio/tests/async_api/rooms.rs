//! Rooms over real sockets.

use bowline::{ChannelKind, Message};
use bowline_tokio::signalling::MemoryHub;
use bowline_tokio::{Endpoint, Room, RoomEvent};

use crate::common::{id, on_loopback, soon};

const ROOM: &str = "a room";

/// Endpoints of these names that are in the room and were introduced to each other.
fn crowd(names: &[&str]) -> Vec<(Endpoint, Room)> {
    let hub = MemoryHub::new();
    let bind = |name: &&str| on_loopback(name, hub.join(id(name))).bind().expect("binds");
    let ids: Vec<_> = names.iter().map(|name| id(name)).collect();
    let enter = |endpoint: Endpoint| {
        let room = endpoint.join(ROOM).expect("joins");
        room.introduce(&ids);
        (endpoint, room)
    };
    names.iter().map(bind).map(enter).collect()
}

async fn next(room: &mut Room) -> RoomEvent {
    soon("an event", room.next())
        .await
        .expect("the endpoint is open")
}

async fn until(room: &mut Room, event: &RoomEvent) {
    while next(room).await != *event {}
}

#[tokio::test]
async fn members_hear_of_each_other_and_what_is_published_and_who_leaves() {
    let mut crowd = crowd(&["alice", "bob", "carol"]);
    for (_, room) in &mut crowd {
        let mut joined = [next(room).await, next(room).await];
        let both = |event: &RoomEvent| matches!(event, RoomEvent::Joined(_));
        assert!(joined.iter().all(both) && joined[0] != joined[1]);
        joined.reverse();
        assert_eq!(room.members().len(), 2);
    }
    assert_eq!(crowd[0].1.publish("hello").expect("published"), 1);
    let hello = RoomEvent::Published {
        from: id("alice"),
        number: 1,
        message: Message::text("hello"),
    };
    for (_, room) in &mut crowd[1..] {
        until(room, &hello).await;
    }
    // A member is spoken to like any other peer.
    let to_bob = soon("a handle", crowd[0].0.connect(id("bob"))).await;
    let to_alice = soon("a handle", crowd[1].0.connect(id("alice"))).await;
    let (to_bob, to_alice) = (to_bob.expect("up"), to_alice.expect("up"));
    soon(
        "room in the queue",
        to_bob.send(ChannelKind::Reliable, "you alone"),
    )
    .await
    .expect("sent");
    let (_, message) = soon("a message", to_alice.recv()).await.expect("open");
    assert_eq!(message, Message::text("you alone"));
    let (_carol, room) = crowd.pop().expect("three");
    drop(room);
    let left = RoomEvent::Left {
        peer: id("carol"),
        lost: false,
    };
    for (_, room) in &mut crowd {
        until(room, &left).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_nobody_holds_leaves_its_rooms_and_ends() {
    let mut crowd = crowd(&["alice", "bob"]);
    for (_, room) in &mut crowd {
        next(room).await;
    }
    let (bob, room) = crowd.pop().expect("two");
    drop((bob, room));
    let (alice, room) = &mut crowd[0];
    let left = RoomEvent::Left {
        peer: id("bob"),
        lost: false,
    };
    until(room, &left).await;
    soon("the goodbye", alice.close()).await;
    assert_eq!(soon("the end", room.next()).await, None);
    assert!(room.publish("too late").is_err());
}
