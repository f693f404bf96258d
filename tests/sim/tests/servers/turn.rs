//! Allocations, and what becomes of them.

use std::net::SocketAddr;
use std::time::Duration;

use bowline_sim::{
    Action, Asked, DropCause, LinkConfig, Misbehaviour, NatConfig, PeerSpec, ServerSpec, World,
};
use turn_client_proto::api::TurnEvent;
use turn_client_proto::prelude::*;
use turn_server_proto::types::TransportType::Udp;
use turn_server_proto::types::attribute::Lifetime;
use turn_server_proto::types::message::{ALLOCATE, REFRESH};
use turn_server_proto::types::stun::message::Message;

use crate::station::{Station, plain_address};

const USER: (&str, &str) = ("alice", "secret");
const ALTERNATE_SERVER: u16 = 0x8023;

/// A client behind a box, a peer on the internet, and a server.
struct Lab {
    world: World,
    client: Station,
    peer: Station,
}

impl Lab {
    fn new(how: Option<Misbehaviour>) -> Self {
        Self::with(how, LinkConfig::default())
    }

    fn with(how: Option<Misbehaviour>, link: LinkConfig) -> Self {
        let spec = ServerSpec::new("turn").user(USER.0, USER.1);
        let mut world = world(spec, link);
        world.apply(Action::Misbehave { server: 0, how });
        Self::in_world(world, USER)
    }

    fn in_world(mut world: World, user: (&str, &str)) -> Self {
        let server = world.server_addresses(0)[0];
        let client = Station::with_client(&mut world, 0, server, user);
        let peer = Station::new(&mut world, 1);
        Self {
            world,
            client,
            peer,
        }
    }

    /// With an allocation, and a permission for the peer.
    fn allocated(how: Option<Misbehaviour>) -> Self {
        let mut lab = Self::new(how);
        lab.run(2);
        let peer = lab.peer_address();
        let asked = lab
            .client
            .client(|client, now| client.create_permission(Udp, peer.ip(), now));
        asked.expect("there is an allocation");
        lab.run(2);
        assert!(
            lab.client
                .client(|client, _| client.have_permission(Udp, peer.ip()))
        );
        lab
    }

    fn run(&mut self, secs: u64) {
        self.world.run_for(Duration::from_secs(secs));
    }

    fn peer_address(&self) -> SocketAddr {
        self.world.addresses(1)[0]
    }

    fn relayed_address(&self) -> SocketAddr {
        self.client.relayed_address().expect("an allocation")
    }

    /// What arrives of one datagram in each direction.
    fn exchange(&mut self) -> [bool; 2] {
        let (peer, relay) = (self.peer_address(), self.relayed_address());
        self.client.relay(peer, b"\x16there");
        self.peer.state().outbox.push((relay, b"\x16back".to_vec()));
        self.run(1);
        let there = (relay, b"\x16there".to_vec());
        let there = self.peer.state().heard.contains(&there);
        let back = (peer, b"\x16back".to_vec());
        let back = self.client.state().relayed.contains(&back);
        self.peer.state().heard.clear();
        self.client.state().relayed.clear();
        [there, back]
    }

    fn failed(&self) -> bool {
        let state = self.client.state();
        let mut events = state.events.iter();
        events.any(|event| matches!(event, TurnEvent::AllocationCreateFailed(_)))
    }
}

fn world(spec: ServerSpec, link: LinkConfig) -> World {
    let hidden = PeerSpec {
        behind: Some(0),
        ..PeerSpec::new("client")
    };
    // A client refreshes its allocation after half an hour, long after a mapping would have ended.
    let nat = NatConfig {
        expiry: Duration::from_secs(3_600),
        ..NatConfig::symmetric()
    };
    World::builder(1)
        .link(link)
        .gateway("home", nat)
        .peer_with(hidden)
        .peer("peer")
        .server(spec)
        .build()
}

#[test]
fn data_is_relayed_both_ways_with_a_permission_and_with_a_channel() {
    let mut lab = Lab::allocated(None);
    assert_eq!(lab.world.allocations(0), 1);
    assert_eq!(lab.relayed_address().ip().to_string(), "192.0.2.1");
    assert_eq!(lab.exchange(), [true, true]);
    let peer = lab.peer_address();
    let asked = lab
        .client
        .client(|client, now| client.bind_channel(Udp, peer, now));
    asked.expect("no channel yet");
    lab.run(1);
    let created = |event: &TurnEvent| matches!(event, TurnEvent::ChannelCreated(..));
    assert!(lab.client.state().events.iter().any(created));
    lab.client.state().heard.clear();
    assert_eq!(lab.exchange(), [true, true]);
    let first_bytes: Vec<_> = lab.client.state().heard.iter().map(|(_, b)| b[0]).collect();
    assert_eq!(first_bytes, [0x40], "ChannelData");
    let accounts = lab.world.stats().datagrams;
    assert!(
        accounts.balance() && accounts.dropped() == 0,
        "{accounts:?}"
    );
}

#[test]
fn a_peer_without_permission_is_not_relayed() {
    let mut lab = Lab::new(None);
    lab.run(2);
    let relay = lab.relayed_address();
    lab.peer.state().outbox.push((relay, vec![22]));
    lab.run(1);
    assert!(lab.client.state().relayed.is_empty());
}

#[test]
fn a_client_keeps_its_allocation_and_one_that_vanishes_leaves_nothing() {
    let mut lab = Lab::allocated(None);
    lab.run(5_000);
    assert_eq!(lab.world.allocations(0), 1);
    assert_eq!(lab.exchange(), [true, true]);
    let relay = lab.relayed_address();
    lab.client.state().client = None;
    lab.run(1_900);
    assert_eq!(lab.world.allocations(0), 0);
    lab.peer.state().outbox.push((relay, vec![22]));
    lab.run(1);
    let accounts = lab.world.stats().datagrams;
    assert_eq!(accounts.dropped_by(DropCause::Unrouted), 1);
}

#[test]
fn a_delete_frees_the_allocation_at_once() {
    let mut lab = Lab::allocated(None);
    let deleted = lab.client.client(|client, now| client.delete(now));
    deleted.expect("there is one");
    lab.run(1);
    assert_eq!(lab.world.allocations(0), 0);
}

#[test]
fn a_reboot_forgets_all_allocations() {
    let mut lab = Lab::allocated(None);
    lab.world.apply(Action::RebootServer { server: 0 });
    assert_eq!(lab.world.allocations(0), 0);
    assert_eq!(lab.exchange(), [false, false]);
    lab.run(600);
    assert_eq!(lab.client.codes()[..3], [401, 438, 437]);
}

#[test]
fn an_allocate_request_that_comes_again_is_answered_as_before() {
    let link = LinkConfig {
        duplicate: 1.0,
        ..LinkConfig::default()
    };
    let mut lab = Lab::with(None, link);
    lab.run(2);
    assert_eq!(lab.world.allocations(0), 1);
    assert_eq!(lab.client.codes().iter().filter(|c| **c == 437).count(), 0);
}

#[test]
fn each_method_is_refused_with_each_code() {
    for code in [401, 403, 437, 438, 440, 441, 442, 443, 486, 508] {
        let method = Asked::Allocate;
        let mut lab = Lab::new(Some(Misbehaviour::Refuses { method, code }));
        lab.run(60);
        assert!(lab.client.codes().contains(&code), "{code}");
        assert_eq!(lab.world.allocations(0), 0);
        assert!(lab.failed() || code == 438 || code == 401, "{code}");
    }
    for (method, code) in [
        (Asked::Refresh, 437),
        (Asked::CreatePermission, 403),
        (Asked::ChannelBind, 486),
    ] {
        let mut lab = Lab::allocated(None);
        let how = Some(Misbehaviour::Refuses { method, code });
        lab.world.apply(Action::Misbehave { server: 0, how });
        let peer = lab.peer_address();
        let other = "10.0.0.77".parse().expect("an address");
        lab.client.client(|client, now| {
            let permission = client.create_permission(Udp, other, now);
            permission.expect("there is an allocation");
            let channel = client.bind_channel(Udp, peer, now);
            channel.expect("there is an allocation");
        });
        lab.run(1_800);
        assert!(lab.client.codes().contains(&code), "{method:?}");
    }
}

#[test]
fn a_nonce_for_each_request_costs_a_438_each_and_nothing_else() {
    let mut lab = Lab::allocated(Some(Misbehaviour::NoncePerRequest));
    assert_eq!(lab.client.codes(), [401, 438]);
    assert_eq!(lab.exchange(), [true, true]);
    lab.world.apply(Action::Heal);
    lab.run(3_000);
    assert_eq!(lab.world.allocations(0), 1);
}

#[test]
fn a_redirect_names_the_other_server() {
    let to: SocketAddr = "127.0.0.1:3478".parse().expect("an address");
    let mut lab = Lab::new(Some(Misbehaviour::Redirects { to }));
    lab.run(2);
    assert_eq!(lab.client.codes(), [401, 300]);
    let answer = lab.client.state().heard[1].1.clone();
    assert_eq!(plain_address(&answer, ALTERNATE_SERVER), Some(to));
}

#[test]
fn a_server_that_relays_nothing_answers_all_the_same() {
    let mut lab = Lab::allocated(Some(Misbehaviour::RelaysNothing));
    assert_eq!(lab.exchange(), [false, false]);
    lab.world.apply(Action::Heal);
    assert_eq!(lab.exchange(), [true, true]);
}

#[test]
fn a_stranger_is_heard_after_each_answer() {
    let peer: SocketAddr = "198.51.100.9:9".parse().expect("an address");
    let mut lab = Lab::new(Some(Misbehaviour::Stranger { peer }));
    lab.run(2);
    let heard = lab.client.state().heard.clone();
    let kinds: Vec<_> = heard
        .iter()
        .map(|(_, bytes)| [bytes[0], bytes[1]])
        .collect();
    assert_eq!(kinds, [[1, 0x13], [1, 3], [0, 0x17]]);
}

#[test]
fn a_wrong_lifetime_is_signed_and_believed() {
    let how = Misbehaviour::WrongLifetime { secs: 86_400 };
    let mut lab = Lab::allocated(Some(how));
    let answer = lab.client.state().heard[1].1.clone();
    let message = Message::from_bytes(&answer).expect("a STUN message");
    assert!(message.has_method(ALLOCATE));
    let lifetime = message.attribute::<Lifetime>().expect("a lifetime");
    assert_eq!(lifetime.seconds(), 86_400);
    // The client does not refresh in time what it thinks it has for a day.
    lab.run(1_900);
    assert_eq!(lab.world.allocations(0), 0);
}

#[test]
fn a_server_without_room_says_508() {
    let spec = ServerSpec {
        max_allocations: 0,
        ..ServerSpec::new("turn").user(USER.0, USER.1)
    };
    let mut lab = Lab::in_world(world(spec, LinkConfig::default()), USER);
    lab.run(2);
    assert_eq!(lab.client.codes(), [401, 508]);
}

#[test]
fn time_limited_credentials_are_good_until_their_time_by_the_wall_clock() {
    let spec = ServerSpec {
        rest_secret: Some("north".to_owned()),
        ..ServerSpec::new("turn")
    };
    let mut world = world(spec, LinkConfig::default());
    let ttl = Duration::from_secs(2_000);
    let (user, password) = world.mint(0, "alice", ttl).expect("it has a secret");
    assert_eq!(user, "1767227600:alice");
    let mut lab = Lab::in_world(world, (&user, &password));
    lab.run(1_900);
    assert_eq!(lab.world.allocations(0), 1, "it was refreshed once");
    lab.run(2_000);
    assert_eq!(lab.world.allocations(0), 0);
    assert!(lab.client.codes().iter().filter(|c| **c == 401).count() >= 2);

    let spec = ServerSpec {
        rest_secret: Some("north".to_owned()),
        ..ServerSpec::new("turn")
    };
    let world = self::world(spec, LinkConfig::default());
    let mut lab = Lab::in_world(world, (&user, "guessed"));
    lab.run(10);
    assert_eq!(lab.world.allocations(0), 0);
}

#[test]
fn the_same_seed_gives_the_same_sizes_and_times() {
    let run = || {
        let link = LinkConfig::default().lossy(0.1);
        let mut lab = Lab::with(None, link);
        lab.run(1_800);
        let is_refresh = |(_, bytes): &(SocketAddr, Vec<u8>)| {
            Message::from_bytes(bytes).is_ok_and(|message| message.has_method(REFRESH))
        };
        assert!(lab.client.state().heard.iter().any(is_refresh));
        (lab.world.trace().hashes(), lab.relayed_address())
    };
    assert_eq!(run(), run());
}
