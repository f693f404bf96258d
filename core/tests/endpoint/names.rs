//! Peers that tell names in place of the addresses of their network, as browsers do.

use std::net::{IpAddr, SocketAddr};

use bowline::{
    CandidateRefusal, Config, Event, Input, Need, NeedId, Output, PeerState, Replay, Side,
    TransportPolicy,
};

use crate::common::{Parcel, World, address, millis, secs};
use crate::replay::Tape;

/// Behind which Bob hides his address.
const BOBS: &str = "1f4712db-ea17-4bcf-a596-105139dfd8bf.local";
/// Behind which others hide theirs.
const OTHER: &str = "9b36eaac-bb2e-49bb-bb78-21c41c499900.local";

#[test]
fn a_name_is_asked_for_and_its_address_is_a_candidate() {
    let mut world = hidden(&Config::default(), true);
    world.connect(0, "bob");
    world.run(secs(2));
    assert!(!world.is_connected(0, "bob"), "neither knows where to ask");
    let [(need, host)] = &asked(&world, 0)[..] else {
        panic!("{:?}", world.nodes[0].needs);
    };
    assert_eq!(host, BOBS);
    assert_eq!(remote(&world), []);
    answer(&mut world, *need, &[address(1).ip()]);
    assert_eq!(remote(&world), [address(1)]);
    world.run(secs(2));
    assert!(world.is_connected(0, "bob") && world.is_connected(1, "alice"));
    // The answer was taken: another one to the same need is none.
    answer(&mut world, *need, &[address(7).ip()]);
    assert_eq!(remote(&world), [address(1)]);
}

#[test]
fn a_name_that_comes_after_the_description_is_asked_for_as_well() {
    let mut world = hidden(&Config::default(), false);
    // As long as the server does not answer, Bob has more candidates to come.
    let silent = "stun:192.0.2.99".parse().expect("a uri");
    let config = Config::builder().ice_server(silent).build();
    world.restart(1, 7, &config.expect("valid"));
    world.connect(0, "bob");
    world.run(millis(100));
    let now = world.now;
    let local = address(8);
    world
        .endpoint(1)
        .handle_input(Input::SocketBound { local }, now);
    world.run(millis(100));
    let kinds = world.sent.iter().filter_map(|(_, parcel)| parcel.kind());
    assert_eq!(kinds.filter(|kind| kind == "ice-candidate").count(), 1);
    let hosts: Vec<_> = asked(&world, 0).into_iter().map(|(_, host)| host).collect();
    assert_eq!(hosts, [BOBS, OTHER]);
}

#[test]
fn a_name_that_leads_nowhere_is_told_and_the_peer_is_found_by_its_checks() {
    let mut world = hidden(&Config::default(), false);
    world.connect(0, "bob");
    world.run(millis(20));
    let need = asked(&world, 0)[0].0;
    assert_eq!(ignored(&world), []);
    answer(&mut world, need, &[]);
    assert_eq!(ignored(&world), [CandidateRefusal::HostName]);
    world.run(secs(2));
    assert!(world.is_connected(0, "bob"));
    assert_eq!(remote(&world), []);
}

#[test]
fn addresses_of_a_name_obey_the_policy_and_no_more_than_four_are_looked_at() {
    let mut world = hidden(&Config::default(), true);
    world.connect(0, "bob");
    world.run(millis(100));
    let need = asked(&world, 0)[0].0;
    let addresses = [
        "127.0.0.1",
        "224.0.0.1",
        "192.0.2.2",
        "0.0.0.0",
        "192.0.2.9",
    ];
    let addresses = addresses.map(|ip| ip.parse().expect("an address"));
    answer(&mut world, need, &addresses);
    assert_eq!(ignored(&world), [CandidateRefusal::Address; 3]);
    assert_eq!(remote(&world), [address(1)]);
}

#[test]
fn an_answer_for_a_generation_that_is_over_is_of_no_use() {
    let mut world = hidden(&Config::default(), false);
    world.connect(0, "bob");
    world.run(secs(10));
    assert!(world.is_connected(0, "bob"));
    let now = world.now;
    world.peer(0, "bob").restart_ice(now);
    world.run(secs(2));
    let [(stale, _), (current, _)] = &asked(&world, 0)[..] else {
        panic!("{:?}", world.nodes[0].needs);
    };
    answer(&mut world, *stale, &[address(7).ip()]);
    answer(&mut world, *stale, &[]);
    assert_eq!((remote(&world), ignored(&world)), (vec![], vec![]));
    answer(&mut world, *current, &[address(1).ip()]);
    assert_eq!(remote(&world), [address(1)]);
}

#[test]
fn a_peer_that_is_gone_gives_its_lookups_up() {
    let mut world = hidden(&Config::default(), true);
    world.connect(0, "bob");
    world.run(secs(1));
    let need = asked(&world, 0)[0].0;
    let now = world.now;
    world.peer(0, "bob").close(now);
    world.run(secs(1));
    assert!(world.saw_state(0, PeerState::Closed));
    assert_eq!(world.nodes[0].needs.last(), Some(&Need::Close { need }));
    answer(&mut world, need, &[address(1).ip()]);
    assert_eq!(remote(&world), []);
}

#[test]
fn no_name_is_asked_for_where_that_is_off_or_only_relays_are_used() {
    let configs = [
        Config::builder().resolve_local_names(false),
        Config::builder().policy(TransportPolicy::Relay),
    ];
    for config in configs {
        let mut world = hidden(&Config::default(), true);
        world.restart(0, 7, &config.build().expect("valid"));
        world.connect(0, "bob");
        world.run(secs(2));
        assert_eq!(world.nodes[0].needs, []);
        assert_eq!(ignored(&world), [CandidateRefusal::HostName]);
    }
}

#[test]
fn a_run_with_names_is_replayed_as_it_was() {
    let mut world = World::new_unbound(&["alice", "bob"], &Config::default());
    let (tape, started) = (Tape::default(), world.now);
    world
        .endpoint(0)
        .record(tape.clone(), false)
        .expect("nothing has happened");
    world.bind();
    hide(&mut world, true);
    world.connect(0, "bob");
    world.run(secs(1));
    let need = asked(&world, 0)[0].0;
    answer(&mut world, need, &[address(1).ip()]);
    world.run(secs(2));
    assert!(world.is_connected(0, "bob"));
    let (mut needs, mut events) = (Vec::new(), Vec::new());
    let bytes = tape.bytes();
    for step in Replay::new(&bytes[..], started).expect("a recording") {
        for output in step.expect("the same happens").outputs {
            match output {
                Output::Need(need) => needs.push(need),
                Output::Event(event) => events.push(event),
                _ => {}
            }
        }
    }
    assert_eq!(needs, world.nodes[0].needs);
    assert_eq!(events, world.events(0));
}

/// Alice and Bob, who hides his address behind a name, as she does hers if `both` do.
fn hidden(config: &Config, both: bool) -> World {
    let mut world = World::new(&["alice", "bob"], config);
    hide(&mut world, both);
    world
}

fn hide(world: &mut World, both: bool) {
    world.network(move |_, mut parcel| {
        if let Parcel::Signal { text, .. } = &mut parcel {
            let place = |n: usize| format!(" {} ", address(n).ip());
            let named = |name: &str| format!(" {name} ");
            *text = text.replace(&place(1), &named(BOBS));
            *text = text.replace(&place(8), &named(OTHER));
            if both {
                *text = text.replace(&place(0), &named(OTHER));
            }
        }
        vec![(millis(5), parcel)]
    });
}

/// The names that the endpoint has asked for.
fn asked(world: &World, n: usize) -> Vec<(NeedId, String)> {
    let needs = world.nodes[n].needs.iter();
    needs
        .filter_map(|need| match need {
            Need::Resolve { need, host } => Some((*need, host.clone())),
            _ => None,
        })
        .collect()
}

/// Answers Alice.
fn answer(world: &mut World, need: NeedId, addresses: &[IpAddr]) {
    let now = world.now;
    world
        .endpoint(0)
        .handle_input(Input::Resolved { need, addresses }, now);
    world.drain();
}

/// The candidates of Bob that Alice's agent has.
fn remote(world: &World) -> Vec<SocketAddr> {
    let events = world.events(0).iter();
    events
        .filter_map(|event| match event {
            Event::CandidateAdded {
                side: Side::Remote,
                address,
                ..
            } => Some(*address),
            _ => None,
        })
        .collect()
}

fn ignored(world: &World) -> Vec<CandidateRefusal> {
    let events = world.events(0).iter();
    events
        .filter_map(|event| match event {
            Event::CandidateIgnored { reason, .. } => Some(*reason),
            _ => None,
        })
        .collect()
}
