use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline::PeerId;
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::others::MAX_TAKEN;
use super::{Feed, Outbox, RoomFull, RoomKey, Rooms, Ticket};
use crate::clock::WallClock;
use crate::relay::bus::{Announcement, Forward, ServerId};
use crate::relay::limits::{Counters, RelayLimits};
use crate::signalling::RoomName;

fn id(name: &str) -> PeerId {
    PeerId::new(name).expect("valid")
}

fn room(name: &str) -> RoomKey {
    Some(RoomName::new(name).expect("valid"))
}

fn told(feed: &mut Feed) -> Option<String> {
    let changed = feed.presence.has_changed().expect("the room is there");
    changed.then(|| feed.presence.borrow_and_update().as_str().to_owned())
}

#[test]
fn who_joins_and_who_is_there_are_told_and_those_elsewhere_are_not() {
    let (rooms, limits) = (Arc::new(Rooms::default()), RelayLimits::default());
    let (_b, mut bob) = rooms.join(id("bob"), room("a"), &limits).expect("room");
    let (_c, mut carol) = rooms.join(id("carol"), room("b"), &limits).expect("room");
    assert_eq!(
        told(&mut carol).as_deref(),
        Some(r#"{"type":"room","peers":["carol"]}"#)
    );
    assert_eq!(
        told(&mut bob).as_deref(),
        Some(r#"{"type":"room","peers":["bob"]}"#)
    );
    let (alice_leaves, mut alice) = rooms.join(id("alice"), room("a"), &limits).expect("room");
    for member in [&mut alice, &mut bob] {
        assert_eq!(
            told(member).as_deref(),
            Some(r#"{"type":"room","peers":["alice","bob"]}"#)
        );
    }
    drop(alice_leaves);
    assert_eq!(
        told(&mut bob).as_deref(),
        Some(r#"{"type":"room","peers":["bob"]}"#)
    );
    assert_eq!(told(&mut carol), None);
}

#[test]
fn a_room_without_a_name_tells_nothing_and_has_no_limit_of_its_own() {
    let limits = RelayLimits {
        room: 1,
        ..RelayLimits::default()
    };
    let rooms = Arc::new(Rooms::default());
    let (_a, mut alice) = rooms.join(id("alice"), None, &limits).expect("room");
    let (_b, _bob) = rooms.join(id("bob"), None, &limits).expect("room");
    assert_eq!(told(&mut alice), None);
    assert_eq!(rooms.peers(), 2);
}

#[test]
fn a_full_room_refuses_a_further_peer_but_not_one_that_comes_back() {
    let limits = RelayLimits {
        room: 2,
        ..RelayLimits::default()
    };
    let rooms = Arc::new(Rooms::default());
    let (first, _alice) = rooms.join(id("alice"), room("a"), &limits).expect("room");
    let (_b, _bob) = rooms.join(id("bob"), room("a"), &limits).expect("room");
    assert_eq!(
        rooms.join(id("carol"), room("a"), &limits).err(),
        Some(RoomFull)
    );
    let (again, _alice) = rooms
        .join(id("alice"), room("a"), &limits)
        .expect("her place");
    drop(first);
    assert_eq!(rooms.peers(), 2, "the name belongs to the newer connection");
    drop(again);
    assert!(rooms.join(id("carol"), room("a"), &limits).is_ok());
}

#[test]
fn a_relay_that_stops_does_not_tell_that_its_members_leave() {
    let (rooms, limits) = (Arc::new(Rooms::default()), RelayLimits::default());
    let (_a, mut alice) = rooms.join(id("alice"), room("a"), &limits).expect("room");
    let (leaves, _bob) = rooms.join(id("bob"), room("a"), &limits).expect("room");
    assert!(told(&mut alice).is_some());
    rooms.stop();
    drop(leaves);
    assert_eq!(told(&mut alice), None);
    assert_eq!(rooms.peers(), 1);
}

#[test]
fn an_empty_room_is_forgotten() {
    let (rooms, limits) = (Arc::new(Rooms::default()), RelayLimits::default());
    drop(rooms.join(id("alice"), room("a"), &limits));
    assert!(rooms.lock().rooms.is_empty());
}

/// One of several servers.
struct Server {
    id: ServerId,
    rooms: Arc<Rooms>,
    forwards: mpsc::Receiver<Forward>,
    counters: Counters,
}

impl Server {
    fn new(number: u64) -> Self {
        let (forwards, queue) = mpsc::channel(1);
        let id = ServerId::numbered(number);
        let outbox = Outbox {
            server: id,
            forwards,
            changed: Notify::new(),
        };
        Self {
            id,
            rooms: Arc::new(Rooms::shared(outbox)),
            forwards: queue,
            counters: Counters::default(),
        }
    }

    fn join(&self, peer: &str, room: &RoomKey) -> (Ticket, Feed) {
        let joined = self
            .rooms
            .join(id(peer), room.clone(), &RelayLimits::default());
        joined.expect("room")
    }

    fn say(&self, ask: bool) -> Vec<(RoomKey, Announcement)> {
        let said = std::iter::from_fn(|| self.rooms.next_announcement());
        let said = said.map(|(room, peers)| {
            let server = self.id;
            (room, Announcement { server, ask, peers })
        });
        said.collect()
    }

    fn hear(&self, said: Vec<(RoomKey, Announcement)>, now: Instant) {
        for (room, said) in said {
            self.rooms.hear(&room, said, now);
        }
    }
}

/// Carries announcements between two servers until neither has one, the first's first.
fn settle(a: &Server, b: &Server, now: Instant) {
    for _ in 0..10 {
        let (from_a, from_b) = (a.say(false), b.say(false));
        if from_a.is_empty() && from_b.is_empty() {
            return;
        }
        b.hear(from_a, now);
        a.hear(from_b, now);
    }
    panic!("they talk for ever");
}

fn presence(names: &[&str]) -> Option<String> {
    let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    Some(format!(
        r#"{{"type":"room","peers":[{}]}}"#,
        names.join(",")
    ))
}

#[test]
fn members_of_two_servers_are_in_one_room() {
    let (a, b, now) = (Server::new(1), Server::new(2), Instant::now());
    let (alice, mut at_a) = a.join("alice", &room("r"));
    settle(&a, &b, now);
    // What was said before a server had the room is missed: so it asks.
    let (_bob, mut at_b) = b.join("bob", &room("r"));
    let asked = b.say(true);
    a.hear(asked, now);
    settle(&a, &b, now);
    assert_eq!(told(&mut at_a), presence(&["alice", "bob"]));
    assert_eq!(told(&mut at_b), presence(&["alice", "bob"]));
    assert_eq!((a.rooms.servers(), b.rooms.servers()), (1, 1));
    // Said once more it is no news.
    a.rooms.tell_part(0, 1);
    settle(&a, &b, now);
    assert_eq!(told(&mut at_b), None);
    drop(alice);
    settle(&a, &b, now);
    assert_eq!(told(&mut at_b), presence(&["bob"]));
}

#[test]
fn who_is_at_a_dead_server_is_forgotten_and_at_one_that_stops_at_once() {
    let (a, b, now) = (Server::new(1), Server::new(2), Instant::now());
    let (_bob, mut at_b) = b.join("bob", &room("r"));
    let (_alice, _feed) = a.join("alice", &room("r"));
    settle(&a, &b, now);
    assert_eq!(told(&mut at_b), presence(&["alice", "bob"]));
    let patience = Duration::from_secs(5);
    b.rooms.forget_silent(patience, now + patience);
    assert_eq!(told(&mut at_b), None);
    let later = now + patience + Duration::from_nanos(1);
    b.rooms.forget_silent(patience, later);
    assert_eq!(told(&mut at_b), presence(&["bob"]));
    assert_eq!(b.rooms.servers(), 0);
    a.rooms.tell_part(0, 1);
    settle(&a, &b, later);
    assert_eq!(told(&mut at_b), presence(&["alice", "bob"]));
    b.rooms.forget(a.id);
    assert_eq!(told(&mut at_b), presence(&["bob"]));
}

#[test]
fn of_two_connections_with_a_name_the_later_has_it_in_any_room() {
    for room in [room("r"), None] {
        for (first, second) in [(1, 2), (2, 1)] {
            let (a, b, now) = (Server::new(first), Server::new(second), Instant::now());
            let (_old, mut old) = a.join("alice", &room);
            settle(&a, &b, now);
            // Within one millisecond the number of the server decides, which the other cannot know; later it is the time.
            while WallClock::shows().as_millis() == started(&a, &room) {}
            let (_new, mut new) = b.join("alice", &room);
            settle(&a, &b, now);
            assert!(
                old.messages
                    .try_recv()
                    .is_err_and(|error| { error == mpsc::error::TryRecvError::Disconnected })
            );
            assert_eq!(
                new.messages.try_recv(),
                Err(mpsc::error::TryRecvError::Empty)
            );
            assert_eq!((a.rooms.peers(), b.rooms.peers()), (0, 1));
        }
    }
}

#[test]
fn of_two_that_came_at_the_same_time_one_is_left_whoever_hears_first() {
    for room in [room("r"), None] {
        let (a, b, now) = (Server::new(1), Server::new(2), Instant::now());
        let joined = (a.join("alice", &room), b.join("alice", &room));
        settle(&a, &b, now);
        assert_eq!(a.rooms.peers() + b.rooms.peers(), 1);
        drop(joined);
    }
}

#[test]
fn a_name_goes_to_a_server_whose_clock_is_behind() {
    let (a, now) = (Server::new(1), Instant::now());
    let (_bob, mut at_a) = a.join("bob", &room("r"));
    let there = Announcement {
        server: ServerId::numbered(2),
        ask: false,
        peers: [(id("alice"), u64::MAX - 1)].into(),
    };
    a.rooms.hear(&room("r"), there, now);
    assert_eq!(told(&mut at_a), presence(&["alice", "bob"]));
    let _alice = a.join("alice", &room("r"));
    let said = a.say(false);
    let claims = said.iter().map(|(_, said)| said.peers.get(&id("alice")));
    assert_eq!(claims.flatten().collect::<Vec<_>>(), [&u64::MAX]);
}

#[test]
fn a_room_is_full_with_those_elsewhere() {
    let (a, b, now) = (Server::new(1), Server::new(2), Instant::now());
    let limits = RelayLimits {
        room: 2,
        ..RelayLimits::default()
    };
    let _here = (a.join("alice", &room("r")), b.join("bob", &room("r")));
    settle(&a, &b, now);
    let refused = a.rooms.join(id("carol"), room("r"), &limits);
    assert_eq!(refused.err(), Some(RoomFull));
    // He comes from the other server.
    assert!(a.rooms.join(id("bob"), room("r"), &limits).is_ok());
}

#[test]
fn what_is_for_somebody_elsewhere_is_handed_on_and_counted_when_it_is_lost() {
    let (mut a, b) = (Server::new(1), Server::new(2));
    let (alice, _feed) = a.join("alice", &room("r"));
    let (_bob, mut bob) = b.join("bob", &room("r"));
    let text = Utf8Bytes::from_static("hello");
    for _ in 0..2 {
        a.rooms
            .forward(&alice, id("bob"), text.clone(), &a.counters);
    }
    let stats = a.counters.stats();
    assert_eq!((stats.published, stats.bus_lost), (1, 1));
    let forward = a.forwards.try_recv().expect("one is there");
    assert_eq!((&forward.room, forward.to), (&room("r"), id("bob")));
    b.rooms.deliver(forward, &b.counters);
    assert_eq!(bob.messages.try_recv(), Ok(text.clone()));
    let stranger = Forward {
        room: room("r"),
        to: id("carol"),
        text,
    };
    b.rooms.deliver(stranger, &b.counters);
    assert_eq!(b.counters.stats().forwarded, 1);
}

#[test]
fn of_the_room_without_a_name_the_names_that_were_taken_are_told_in_parts() {
    let a = Server::new(1);
    let count = MAX_TAKEN + 1;
    let members: Vec<_> = (0..count)
        .map(|number| a.join(&format!("p{number}"), &None))
        .collect();
    let said: Vec<_> = a.say(false);
    let counts: Vec<_> = said.iter().map(|(_, said)| said.peers.len()).collect();
    assert_eq!(counts, [MAX_TAKEN, 1]);
    drop(members);
    assert!(a.say(false).is_empty());
}

#[test]
fn a_server_that_stops_does_not_tell_that_its_members_leave() {
    let a = Server::new(1);
    let alice = a.join("alice", &room("r"));
    a.say(false);
    a.rooms.stop();
    drop(alice);
    assert!(a.say(false).is_empty());
}

#[test]
fn every_room_is_told_once_in_as_many_parts() {
    let a = Server::new(1);
    let names = ["r1", "r2", "r3", "r4", "r5", "r6", "r7"];
    let _members = names.map(|name| a.join("alice", &room(name)));
    a.say(false);
    let mut all = Vec::new();
    for part in 3..6 {
        a.rooms.tell_part(part, 3);
        all.extend(a.say(false).into_iter().map(|(room, _)| room));
    }
    all.sort();
    assert_eq!(all, names.map(room));
}

/// When the first name of a room was taken.
fn started(server: &Server, room: &RoomKey) -> u64 {
    let state = server.rooms.lock();
    let members = &state.rooms[room].members;
    members.values().next().expect("somebody is there").since
}
