//! A race for the DTLS handshake, which is real here: an impostor on the path, who is always faster.

use std::time::Duration;

use bowline::{ChannelKind, PeerState};
use bowline_sim::attack::{Forgery, Impostor};
use bowline_sim::{Dtls, HostId, LinkConfig, World};

const MALLORY: HostId = 0;
const ALICE: HostId = 1;
const BOB: HostId = 2;

/// The datagrams of a handshake, those that are repeated included, and some more.
const STEPS: usize = 8;
/// Within the time that connecting may take.
const CONNECT: Duration = Duration::from_secs(15);

/// Alice calls Bob; the impostor strikes at one datagram.
fn race(forgery: Forgery, step: usize, keyed: bool) -> World {
    let mut world = World::builder(7)
        .dtls(Dtls::Real)
        .keyed(keyed)
        .peer("mallory")
        .peer("alice")
        .peer("bob")
        .build();
    let faster = LinkConfig::with_latency(Duration::from_millis(1));
    for end in [ALICE, BOB] {
        world.network().set_link(MALLORY, end, faster.clone());
    }
    let (alice, bob) = (world.addresses(ALICE)[0], world.addresses(BOB)[0]);
    world.take_over(MALLORY, Impostor::new(alice, bob, forgery, step));
    world.connect(ALICE, BOB).expect("nobody is known yet");
    world
}

/// The session comes up, with the real peer: messages arrive both ways, as they were sent.
#[track_caller]
fn assert_real_peers_connect(mut world: World, what: &str) {
    let is_up = world.run_until(|world| world.connected(ALICE, BOB), CONNECT);
    let at = world.now();
    assert!(is_up, "{what}: {:?}", world.state(ALICE, BOB));
    for (from, to) in [(ALICE, BOB), (BOB, ALICE)] {
        world
            .send(from, to, ChannelKind::Reliable, "it is me")
            .expect("connected");
    }
    world.run_for(Duration::from_secs(2));
    for (from, to) in [(ALICE, BOB), (BOB, ALICE)] {
        let received = world.received(to, from, ChannelKind::Reliable);
        assert_eq!(received.messages, 1, "{what}");
        assert_eq!(world.state(from, to), Some(PeerState::Connected), "{what}");
    }
    world.assert_no_violation();
    if std::env::var_os("ATTACK_FIGURES").is_some() {
        println!("{what}: connected after {at}");
    }
}

macro_rules! races {
    ($($name:ident: $forgery:ident,)*) => {
        $(
            #[test]
            fn $name() {
                for (step, keyed) in (0..STEPS).flat_map(|step| [(step, false), (step, true)]) {
                    let what = format!("{:?} at {step}, keyed: {keyed}", Forgery::$forgery);
                    assert_real_peers_connect(race(Forgery::$forgery, step, keyed), &what);
                }
            }
        )*
    };
}

races! {
    a_client_with_another_certificate_does_not_get_in: Client,
    a_server_with_another_certificate_does_not_get_in: Server,
    alerts_in_clear_do_not_end_a_handshake: Alert,
    garbage_does_not_end_a_handshake: Garbage,
    damaged_copies_do_not_end_a_handshake: Damaged,
    copies_cut_in_half_do_not_end_a_handshake: Cut,
    copies_do_not_end_a_handshake: Copies,
}
