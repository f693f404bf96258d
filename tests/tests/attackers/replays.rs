//! Replayed signals: at each step, and hours later.

use std::time::Duration;

use bowline::{ChannelKind, Config};
use bowline_sim::attack::Replayer;
use bowline_sim::{Action, Time};

use super::stage::{HONEST, Stage, VICTIM};

const HOUR: u64 = 3_600;
const DURATION: Duration = Duration::from_secs(4 * HOUR + 60);
/// What a counter more takes: nothing.
const MAX_GROWTH: usize = 0;

fn replayer() -> Replayer {
    let everybody = ["victim", "bob", "zoe"].map(|name| name.parse().expect("a name"));
    let rounds = [4, 10, HOUR, 4 * HOUR].map(Time::from_secs);
    Replayer::new(everybody.to_vec(), rounds.to_vec())
}

/// That a copy of a signal that was used tells nobody anything is checked at each of them by the simulator.
#[test]
fn copies_of_every_signal_to_everybody_change_nothing_but_counters() {
    let report = Stage::with(&Config::default(), replayer()).attacked(DURATION);
    assert!(report.stats.signals_duplicate >= 8, "{:?}", report.stats);
    assert!(report.stats.signals_refused >= 16, "{:?}", report.stats);
    assert_eq!(report.changes(), 0, "{report}");
    report.assert_harmless(MAX_GROWTH);
}

#[test]
fn copies_of_a_session_that_was_closed_do_not_bring_it_back() {
    let [bob, zoe] = HONEST;
    let mut stage = Stage::with(&Config::default(), replayer());
    let world = &mut stage.world;
    for action in [
        Action::Restart {
            from: bob,
            to: VICTIM,
        },
        Action::Close {
            from: zoe,
            to: VICTIM,
        },
    ] {
        world.apply(action);
        world.run_for(Duration::from_secs(5));
    }
    world.run_for(DURATION);
    world.assert_no_violation();
    assert!(world.connected(bob, VICTIM));
    assert!(world.ended(VICTIM, zoe) && world.ended(zoe, VICTIM));
    // And the replays are in nobody's way.
    world.connect(zoe, VICTIM).expect("it has ended");
    assert!(world.run_until(|world| world.connected(zoe, VICTIM), Duration::from_secs(5)));
    world
        .send(zoe, VICTIM, ChannelKind::Reliable, "back")
        .expect("connected");
    world.run_for(Duration::from_secs(1));
    world.assert_no_violation();
}
