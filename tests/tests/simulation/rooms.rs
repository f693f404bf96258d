//! Rooms with many members: how soon all know of all, what a publication costs, what is left when members go, and how they do
//! without the signalling server.
//!
//! `BOWLINE_MEMBERS=1000` makes the large room larger.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bowline::{PeerId, RoomId};
use bowline_sim::{Action, HostId, LinkConfig, World};

const ROOM: &str = "a large room";

/// A room, and who is in it.
struct Crowd {
    world: World,
    rooms: Vec<RoomId>,
    /// Those that are there still.
    there: BTreeSet<HostId>,
}

impl Crowd {
    /// So many hosts, of which the first `members` enter at once, and are introduced to each other by a server.
    fn new(hosts: usize, members: usize) -> Self {
        let link = LinkConfig::with_latency(Duration::from_millis(20));
        let builder = World::builder(hosts as u64).link(link.clone()).bus(link);
        let names = (0..hosts).map(|n| format!("member-{n}"));
        let world = names.fold(builder, |b, name| b.peer(&name)).build();
        let mut crowd = Self {
            world,
            rooms: Vec::new(),
            there: BTreeSet::new(),
        };
        (0..members).for_each(|_| crowd.join());
        let ids: Vec<_> = (0..members).map(|n| crowd.world.id(n)).collect();
        (0..members).for_each(|n| crowd.introduce(n, &ids));
        crowd
    }

    /// The next host enters.
    fn join(&mut self) {
        let host = self.rooms.len();
        self.rooms.push(self.world.join(host, ROOM).expect("joins"));
        self.there.insert(host);
    }

    fn introduce(&mut self, host: HostId, peers: &[PeerId]) {
        let room = self.rooms[host];
        let done = self
            .world
            .with_room(host, room, |mut room, now| room.introduce(peers, now));
        done.expect("it is in the room");
    }

    fn members(&mut self, host: HostId) -> BTreeSet<PeerId> {
        let room = self.rooms[host];
        let members = self.world.with_room(host, room, |room, _| room.members());
        members.expect("it is in the room").into_iter().collect()
    }

    fn neighbours(&mut self, host: HostId) -> usize {
        let room = self.rooms[host];
        let neighbours = self
            .world
            .with_room(host, room, |room, _| room.neighbours().len());
        neighbours.expect("it is in the room")
    }

    /// How many do not know exactly who is there.
    fn astray(&mut self) -> usize {
        let there = self.there.clone();
        let ids: BTreeSet<_> = there.iter().map(|n| self.world.id(*n)).collect();
        let mut knows = |host: &HostId| {
            let mut known = self.members(*host);
            known.insert(self.world.id(*host));
            known == ids
        };
        there.len() - there.iter().filter(|host| knows(host)).count()
    }

    /// Seconds until everybody knows exactly who is there.
    fn converge(&mut self, most: u32) -> u32 {
        for took in 0..most {
            if self.astray() == 0 {
                return took;
            }
            self.world.run_for(Duration::from_secs(1));
        }
        panic!("{} are astray after {most} s", self.astray());
    }

    /// Everybody but the first hosts of those publishes once; all get all.
    fn publish(&mut self, count: usize) {
        let before = self.came();
        let step = (self.there.len() / count).max(1);
        let some: Vec<_> = self
            .there
            .iter()
            .copied()
            .step_by(step)
            .take(count)
            .collect();
        for host in &some {
            let room = self.rooms[*host];
            let done = self
                .world
                .with_room(*host, room, |mut room, now| room.publish("news", now));
            done.expect("it is in the room").expect("published");
            self.world.run_for(Duration::from_secs(2));
        }
        let came = (some.len() * (self.there.len() - 1)) as u64;
        assert_eq!(self.came() - before, came, "everybody gets everything once");
    }

    fn sum(&self, figure: impl Fn(bowline::MeshStats) -> u64) -> u64 {
        let endpoints = self.there.iter().filter_map(|n| self.world.endpoint(*n));
        endpoints
            .map(|endpoint| figure(endpoint.stats().mesh))
            .sum()
    }

    /// Messages of the mesh that were sent by all.
    fn sent(&self) -> u64 {
        self.sum(|stats| stats.sent)
    }

    /// Publications that came to members.
    fn came(&self) -> u64 {
        self.sum(|stats| stats.published)
    }

    /// No server carries signals any more.
    fn lose_signalling(&mut self) {
        for host in 0..self.world.hosts() {
            self.world.set_signalling(host, false);
        }
    }
}

#[test]
fn in_a_large_room_all_find_all_and_what_is_published_reaches_everybody() {
    let members = std::env::var("BOWLINE_MEMBERS");
    let members = members.map_or(100, |n| n.parse().expect("a number"));
    let mut crowd = Crowd::new(members, members);
    let took = crowd.converge(30);
    crowd.world.run_for(Duration::from_secs(5));
    let neighbours: Vec<_> = (0..members).map(|n| crowd.neighbours(n)).collect();
    let (most, sum) = (neighbours.iter().max(), neighbours.iter().sum::<usize>());
    let joined = crowd.sent();
    let count = 10;
    crowd.publish(count);
    let each = (crowd.sent() - joined) as f64 / (count * members) as f64;
    println!(
        "{members} members: all know of all after {took} s and {} messages each; neighbours {} on average, {most:?} at most; {each:.2} messages for each publication and member",
        joined / members as u64,
        sum / members,
    );
    assert!(
        each <= 2.0,
        "{each} messages for each publication and member"
    );
    crowd.world.assert_no_violation();
}

#[test]
fn when_a_fifth_is_gone_at_once_the_others_notice_and_go_on() {
    let mut crowd = Crowd::new(60, 60);
    crowd.converge(10);
    let gone: Vec<_> = (0..60).step_by(5).collect();
    for host in gone {
        crowd.world.crash(host);
        crowd.there.remove(&host);
    }
    // Nobody knows yet that anybody is gone. What is published now arrives when they do.
    let before = crowd.came();
    let room = crowd.rooms[1];
    let published = crowd
        .world
        .with_room(1, room, |mut room, now| room.publish("now", now));
    published.expect("it is in the room").expect("published");
    crowd.world.run_for(Duration::from_secs(40));
    assert_eq!(crowd.came() - before, 47);
    let took = crowd.converge(120);
    println!("all know after {took} s");
    crowd.world.run_for(Duration::from_secs(10));
    crowd.publish(5);
    crowd.world.assert_no_violation();
}

#[test]
fn without_the_server_members_move_rebuild_and_admit_somebody() {
    let mut crowd = Crowd::new(41, 40);
    crowd.converge(10);
    // The last thing that the server does.
    crowd.join();
    let contact = crowd.world.id(7);
    crowd.introduce(40, &[contact]);
    crowd.world.run_for(Duration::from_secs(1));
    crowd.lose_signalling();
    crowd.converge(30);
    assert!(
        crowd.neighbours(40) >= 4,
        "it has met others through the first"
    );
    crowd.world.run_for(Duration::from_secs(30));
    // A third goes to another network, whose address it has before it loses the one before.
    let moving: Vec<_> = (0..40).step_by(3).collect();
    let addresses = |crowd: &Crowd, host| {
        let address = crowd.world.addresses(host)[0];
        let other = SocketAddr::new(address.ip(), address.port() + 1);
        (host, address, other)
    };
    let moving: Vec<_> = moving.into_iter().map(|n| addresses(&crowd, n)).collect();
    for (host, _, address) in &moving {
        let (host, address) = (*host, *address);
        crowd.world.apply(Action::Bind { host, address });
    }
    crowd.world.run_for(Duration::from_secs(3));
    for (host, address, _) in &moving {
        let (host, address) = (*host, *address);
        crowd.world.apply(Action::Unbind { host, address });
    }
    crowd.world.run_for(Duration::from_secs(30));
    // Others build new transports.
    for host in (1..40).step_by(3) {
        let peer = (0..41).find(|peer| crowd.world.connected(host, *peer));
        let peer = peer.expect("it has neighbours");
        crowd.world.rebuild(host, peer).expect("it is connected");
    }
    crowd.world.run_for(Duration::from_secs(5));
    let relayed = crowd.sum(|stats| stats.relayed);
    assert!(relayed > 0);
    for host in 0..41 {
        let endpoint = crowd.world.endpoint(host).expect("up");
        assert_eq!(endpoint.stats().connected, endpoint.stats().peers, "{host}");
    }
    assert_eq!(crowd.astray(), 0);
    crowd.publish(5);
    crowd.world.assert_no_violation();
}
