//! Peers that are keys, over signalling that nobody trusts.

use std::time::Duration;

use bowline::{ChannelKind, Config, Event, PeerState, Protection, SignalRefusal};
use bowline_sim::{Action, HostId, PeerSpec, World};

const ALICE: HostId = 0;
const BOB: HostId = 1;
/// More than a connect or a rebuild takes.
const SOON: Duration = Duration::from_secs(16);

fn config(protection: Protection) -> Config {
    Config::builder()
        .protection(protection)
        .build()
        .expect("valid")
}

/// Two hosts of these protections, the clock of the second so many milliseconds ahead.
fn world(alice: Protection, bob: Protection, clock_skew_ms: i64) -> World {
    let spec = |name, protection| PeerSpec {
        config: config(protection),
        ..PeerSpec::new(name)
    };
    World::builder(3)
        .keyed(true)
        .peer_with(spec("alice", alice))
        .peer_with(PeerSpec {
            clock_skew_ms,
            ..spec("bob", bob)
        })
        .build()
}

fn is_up(world: &World) -> bool {
    world.connected(ALICE, BOB) && world.connected(BOB, ALICE)
}

fn refusals(world: &World, host: HostId) -> Vec<SignalRefusal> {
    let mut all: Vec<_> = world
        .events(host)
        .iter()
        .filter_map(|(_, event)| match event {
            Event::SignalRefused { reason, .. } => Some(*reason),
            _ => None,
        })
        .collect();
    all.dedup();
    all
}

#[test]
fn peers_that_are_keys_connect_repair_rebuild_and_part() {
    for protection in [Protection::Sealed, Protection::Signed] {
        let mut world = world(protection, protection, 0);
        world.connect(ALICE, BOB).expect("alice knows nobody");
        assert!(world.run_until(is_up, SOON), "{:?}", world.violations());
        let (from, to) = (BOB, ALICE);
        for action in [Action::Restart { from, to }, Action::Rebuild { from, to }] {
            world.apply(action);
            world
                .send(ALICE, BOB, ChannelKind::Reliable, "meanwhile")
                .expect("there is room");
            world.run_for(SOON);
            assert!(is_up(&world));
        }
        assert_eq!(world.outstanding(ALICE, BOB, ChannelKind::Reliable), 0);
        world.crash(BOB);
        world.restart(BOB);
        assert!(world.run_until(is_up, Duration::from_secs(60)));
        world.close(ALICE, BOB).expect("they are connected");
        world.run_for(SOON);
        assert!(world.ended(ALICE, BOB) && world.ended(BOB, ALICE));
        assert_eq!(refusals(&world, ALICE), []);
        assert_eq!(refusals(&world, BOB), []);
        world.assert_no_violation();
    }
}

#[test]
fn nobody_falls_back_to_less_protection_and_the_explanation_says_so() {
    let mut world = world(Protection::Sealed, Protection::Signed, 0);
    // Bob reads what alice seals, and alice does not take what bob only signs.
    world.connect(ALICE, BOB).expect("alice knows nobody");
    world.run_for(Duration::from_secs(20));
    assert!(!world.connected(ALICE, BOB));
    assert_eq!(refusals(&world, ALICE), [SignalRefusal::Unsealed]);
    let why = explanation(&world);
    assert!(why.contains("protects its signalling less"), "{why}");
}

#[test]
fn a_clock_that_is_wrong_by_more_than_the_window_is_named() {
    let minutes = 60_000;
    let mut near = world(Protection::Sealed, Protection::Sealed, 4 * minutes);
    near.connect(ALICE, BOB).expect("alice knows nobody");
    assert!(near.run_until(is_up, SOON));
    for skew in [-6 * minutes, 6 * minutes] {
        let mut far = world(Protection::Sealed, Protection::Sealed, skew);
        for (from, to) in [(ALICE, BOB), (BOB, ALICE)] {
            far.connect(from, to).expect("nobody knows anybody");
        }
        far.run_for(Duration::from_secs(20));
        assert!(!far.connected(ALICE, BOB));
        assert_eq!(refusals(&far, ALICE), [SignalRefusal::NotFresh]);
        let why = explanation(&far);
        assert!(why.contains("clock of one of the two is wrong"), "{why}");
    }
}

/// Why alice gave up.
fn explanation(world: &World) -> String {
    let mut ends = world
        .events(ALICE)
        .iter()
        .filter_map(|(_, event)| match event {
            Event::State {
                to: PeerState::Failed,
                explanation,
                ..
            } => explanation.as_ref().map(ToString::to_string),
            _ => None,
        });
    ends.next().expect("alice gave up")
}
