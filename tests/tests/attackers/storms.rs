//! A thousand negotiations a second.

use std::time::Duration;

use bowline::{Config, Event, Protection};
use bowline_sim::attack::{OfferStorm, Storm};
use bowline_sim::{Dtls, HostId};

use super::stage::{MALLORY, Nobody, Report, START, Stage, VICTIM, ZED};

const MESSAGES: u32 = 10_000;
const DURATION: Duration = Duration::from_secs(10);
/// Sessions that one peer may begin in this time: a burst, and one each second.
const MAX_SESSIONS: usize = 16 + 10;
/// Restarts in this time: a burst of three, and one each two seconds.
const MAX_RESTARTS: usize = 3 + 5;
/// What one session takes while it is being connected, with the channels that wait for it.
const SESSION: usize = 64 * 1_024;
/// What a session leaves when it has ended: its name, and for a while its farewell.
const REMAINS: usize = 16 * 1_024;

/// The part of the ended sessions that one peer may have, and what each takes.
const ENDED: usize = 1_024 / 8;
const BYTES_PER_ENDED: usize = 256;

/// The attacker yields where its name is above that of the victim, and does not where it is below.
const ATTACKERS: [HostId; 2] = [MALLORY, ZED];

fn run(attacker: HostId, storm: Storm) -> Report {
    let mut stage = Stage::calm(&Config::default());
    let victim = stage.world.id(VICTIM);
    let storm = OfferStorm::new(victim, storm, MESSAGES).starting_at(START);
    stage.world.take_over(attacker, storm);
    stage.attacked(DURATION)
}

fn sessions(report: &Report) -> usize {
    report.count(|event| matches!(event, Event::Incoming { .. }))
}

fn negotiations(report: &Report) -> usize {
    report.count(|event| matches!(event, Event::NegotiationDone { .. }))
}

#[test]
fn new_sessions_one_upon_the_other_are_begun_at_the_rate_of_the_bucket() {
    for attacker in ATTACKERS {
        let report = run(attacker, Storm::NewSessions);
        assert!((16..=MAX_SESSIONS).contains(&sessions(&report)), "{report}");
        report.assert_harmless(SESSION + MAX_SESSIONS * REMAINS);
    }
}

#[test]
fn offers_that_are_taken_back_at_once_do_not_get_around_the_bucket() {
    for attacker in ATTACKERS {
        let report = run(attacker, Storm::OffersAndFarewells);
        assert!((16..=MAX_SESSIONS).contains(&sessions(&report)), "{report}");
        report.assert_harmless(SESSION + ENDED * BYTES_PER_ENDED);
    }
}

#[test]
fn both_sides_offering_at_once_ends_in_no_more_sessions_than_the_bucket_allows() {
    for attacker in ATTACKERS {
        let mut stage = Stage::calm(&Config::default());
        let victim = stage.world.id(VICTIM);
        let storm = OfferStorm::new(victim, Storm::NewSessions, MESSAGES).starting_at(START);
        stage.world.take_over(attacker, storm);
        for second in 3..13 {
            let (at, call) = (
                bowline_sim::Time::from_secs(second),
                bowline_sim::Action::Connect {
                    from: VICTIM,
                    to: attacker,
                },
            );
            stage.world.at(at, call);
        }
        let report = stage.attacked(DURATION);
        assert!(negotiations(&report) <= MAX_SESSIONS, "{report}");
        report.assert_harmless(SESSION + MAX_SESSIONS * REMAINS);
    }
}

#[test]
fn offers_to_restart_are_answered_at_the_rate_of_the_bucket() {
    for attacker in ATTACKERS {
        let report = run(attacker, Storm::Restarts);
        let done = negotiations(&report);
        assert!((3..=1 + MAX_RESTARTS).contains(&done), "{done}: {report}");
        report.assert_harmless(SESSION);
    }
}

#[test]
fn requests_to_restart_are_served_at_the_rate_of_the_bucket() {
    for attacker in ATTACKERS {
        let report = run(attacker, Storm::RestartRequests);
        assert!(report.stats.signals_sent <= u64::from(MESSAGES) + 100);
        assert!(negotiations(&report) <= 1 + MAX_RESTARTS, "{report}");
        report.assert_harmless(SESSION);
    }
}

/// A key can storm as a name can, and gets as far.
#[test]
fn storms_of_a_key_have_the_bounds_of_those_of_a_name() {
    const MESSAGES: u32 = 500;
    for protection in [Protection::Sealed, Protection::Signed] {
        for (attacker, storm) in [
            (MALLORY, Storm::NewSessions),
            (ZED, Storm::OffersAndFarewells),
            (MALLORY, Storm::Restarts),
            (ZED, Storm::RestartRequests),
        ] {
            let config = Config::builder().protection(protection).build();
            let config = config.expect("valid");
            let mut stage = Stage::new(&config, (Dtls::Null, true), None::<Nobody>);
            let victim = stage.world.id(VICTIM);
            let attack = OfferStorm::new(victim, storm, MESSAGES).starting_at(START);
            stage.world.take_over(attacker, attack);
            let report = stage.attacked(DURATION);
            let (begun, done) = (sessions(&report), negotiations(&report));
            let refused = |event: &Event| matches!(event, Event::SignalRefused { reason, .. } if *reason != bowline::SignalRefusal::Busy);
            match storm {
                Storm::NewSessions | Storm::OffersAndFarewells => {
                    assert!((16..=MAX_SESSIONS).contains(&begun), "{report}");
                    assert_eq!(
                        report.count(refused),
                        0,
                        "they are opened: {:?}",
                        report.told
                    );
                }
                Storm::Restarts => assert!((3..=1 + MAX_RESTARTS).contains(&done), "{report}"),
                Storm::RestartRequests => assert!(done <= 1 + MAX_RESTARTS, "{report}"),
            }
            report.assert_harmless(SESSION + MAX_SESSIONS * REMAINS);
        }
    }
}
