//! Who carries signalling, where peers are keys: it reads who writes to whom, and can do no more than lose it.

use std::time::Duration;

use bowline::{Config, Event, Protection, SignalRefusal};
use bowline_sim::attack::{Meddler, Replayer};
use bowline_sim::{Action, Time, keyed_id};

use super::stage::{HONEST, Stage, VICTIM};

const HOUR: u64 = 3_600;
const NAMES: [&str; 3] = ["victim", "bob", "zoe"];

fn config(protection: Protection) -> Config {
    Config::builder()
        .protection(protection)
        .build()
        .expect("valid")
}

fn replayer() -> Replayer {
    let rounds = [4, 10, 300, HOUR].map(Time::from_secs);
    Replayer::new(NAMES.map(keyed_id).to_vec(), rounds.to_vec())
}

/// Every stored envelope, to everybody, at each step (A8), and when it is not fresh any more.
#[test]
fn replays_to_everybody_are_refused_and_old_ones_first() {
    for protection in [Protection::Sealed, Protection::Signed] {
        let report =
            Stage::keyed(&config(protection), replayer()).attacked(Duration::from_secs(HOUR + 60));
        assert_eq!(report.changes(), 0, "{report}");
        let refused = |why| {
            report.count(
                |event| matches!(event, Event::SignalRefused { reason, .. } if *reason == why),
            )
        };
        for why in [
            SignalRefusal::NotFresh,
            SignalRefusal::Reflected,
            SignalRefusal::Malformed,
        ] {
            assert!(refused(why) > 0, "{why}: {:?}", report.stats);
        }
        report.assert_harmless(0);
    }
}

#[test]
fn replays_of_a_session_that_was_closed_do_not_bring_it_back() {
    let [bob, zoe] = HONEST;
    let mut stage = Stage::keyed(&config(Protection::Sealed), replayer());
    let world = &mut stage.world;
    let (from, to) = (bob, VICTIM);
    for action in [
        Action::Restart { from, to },
        Action::Close { from: zoe, to },
        Action::Rebuild { from, to },
    ] {
        world.apply(action);
        world.run_for(Duration::from_secs(5));
    }
    world.run_for(Duration::from_secs(400));
    world.assert_no_violation();
    assert!(world.connected(bob, VICTIM));
    assert!(world.ended(VICTIM, zoe) && world.ended(zoe, VICTIM));
}

#[test]
fn whatever_is_altered_is_refused_and_connections_come_up_and_stay() {
    for protection in [Protection::Sealed, Protection::Signed] {
        let meddler = Meddler::new(NAMES.map(keyed_id).to_vec(), u32::MAX);
        let mut stage = Stage::keyed(&config(protection), meddler);
        let [bob, zoe] = HONEST;
        let (from, to) = (bob, VICTIM);
        for action in [Action::Restart { from, to }, Action::Rebuild { from, to }] {
            stage.world.apply(action);
            stage.world.run_for(Duration::from_secs(5));
        }
        let world = &stage.world;
        world.assert_no_violation();
        for honest in [bob, zoe] {
            assert!(world.connected(honest, VICTIM) && world.connected(VICTIM, honest));
        }
        let stats = world.endpoint(VICTIM).expect("it runs").stats();
        assert!(stats.signals_refused > 300, "{stats:?}");
        let all = NAMES.map(keyed_id);
        let strangers = |event: &Event| match event {
            Event::Initialised { peer } => !all.contains(peer),
            _ => false,
        };
        let events = world.events(VICTIM);
        assert!(!events.iter().any(|(_, event)| strangers(event)));
    }
}
