//! 30,000 candidates.

use std::net::SocketAddr;
use std::time::Duration;

use bowline::{CandidateRefusal, Config, Event, Side, SignalRefusal};
use bowline_sim::attack::script::Nothing;
use bowline_sim::attack::{CandidateFlood, EvilPeer};
use bowline_sim::{HostId, PeerSpec, Record, What, World};

use super::stage::{MALLORY, Report, SILENT, START, Stage, VICTIM};

const CANDIDATES: u32 = 30_000;
/// Ten a millisecond, and some time to see what remains.
const DURATION: Duration = Duration::from_secs(5);
/// What a candidate that is taken leaves in the agent, with its pair, and in our own table.
const BYTES_PER_CANDIDATE: usize = 2_560;
/// What a candidate that waits for its description takes: the line and its place.
const BYTES_PER_EARLY: usize = 512;
/// As many candidates as fit the description in a signal.
const LINES: u32 = 700;
/// What a line of a description takes, with the room for the event that tells of it.
const BYTES_PER_LINE: usize = 512;
/// What is left of tables that were filled once.
const REMAINS: usize = 4 * 1_024;
/// What a session takes that is connected.
const SESSION: usize = 64 * 1_024;

fn taken(report: &Report) -> usize {
    report
        .count(|event| matches!(event, Event::CandidateAdded { side, .. } if *side == Side::Remote))
}

fn refused(report: &Report, why: CandidateRefusal) -> usize {
    report.count(|event| matches!(event, Event::CandidateIgnored { reason, .. } if *reason == why))
}

#[test]
fn of_thirty_thousand_trickled_candidates_the_limit_is_taken() {
    // Who still gathers has not said the end of its candidates.
    let silent = format!("stun:{SILENT}.example").parse().expect("a uri");
    let config = Config::builder().ice_server(silent).build();
    let config = config.expect("valid");
    let limit = config.limits().max_candidates;
    let flood = CandidateFlood::new("victim".parse().expect("a name"), CANDIDATES);
    let report = Stage::with(&config, flood.starting_at(START)).attacked(DURATION);
    // One was in the description.
    assert_eq!(taken(&report), limit - 1);
    let rest = CANDIDATES as usize - (limit - 1);
    assert_eq!(refused(&report, CandidateRefusal::TooMany), rest);
    report.assert_harmless(limit * BYTES_PER_CANDIDATE);
}

#[test]
fn of_thirty_thousand_candidates_without_an_offer_a_few_wait_and_not_for_long() {
    let config = Config::default();
    let limit = config.limits().max_early_candidates;
    let mut stage = Stage::calm(&config);
    let victim = stage.world.id(VICTIM);
    stage
        .world
        .take_over(MALLORY, CandidateFlood::new(victim, CANDIDATES));
    let report = stage.attacked(DURATION);
    let busy = |event: &Event| matches!(event, Event::SignalRefused { reason, .. } if *reason == SignalRefusal::Busy);
    assert_eq!(report.count(busy), CANDIDATES as usize - limit);
    report.assert_harmless(limit * BYTES_PER_EARLY);

    let mut stage = Stage::calm(&config);
    stage
        .world
        .take_over(MALLORY, CandidateFlood::new(victim, CANDIDATES));
    let report = stage.attacked(Duration::from_secs(60));
    report.assert_harmless(REMAINS);
}

#[test]
fn of_a_description_full_of_candidates_the_limit_is_taken() {
    let config = Config::default();
    let limit = config.limits().max_candidates;
    let mut stage = Stage::calm(&config);
    let victim = stage.world.id(VICTIM);
    let many: Vec<SocketAddr> = (0..LINES).map(CandidateFlood::address).collect();
    let evil = EvilPeer::new(victim, Nothing).announcing(many);
    stage.world.take_over(MALLORY, evil);
    let report = stage.attacked(Duration::from_secs(20));
    assert_eq!(taken(&report), limit);
    assert!(refused(&report, CandidateRefusal::TooMany) > 500);
    // It connects all the same, from an address that it has not announced.
    assert_eq!(report.end(), None, "{report}");
    report.assert_harmless(SESSION + limit * BYTES_PER_CANDIDATE + LINES as usize * BYTES_PER_LINE);
}

/// "Voice hammer" (RFC 8445 section 19.5.1): peers that name the ports of somebody else as their candidates.
#[test]
fn sixteen_peers_that_name_one_address_cannot_have_it_flooded() {
    const PEERS: HostId = 16;
    let config = Config::default();
    let budget = config.limits().max_unanswered_checks;
    let mut builder = World::builder(1).record(Record::Everything);
    for n in 0..PEERS {
        builder = builder.peer(&format!("evil-{n}"));
    }
    let mut world = builder
        .peer_with(PeerSpec {
            config,
            ..PeerSpec::new("bowline")
        })
        .build();
    let bowline = world.id(PEERS);
    for n in 0..PEERS {
        let ports = (0..60).map(|port| SocketAddr::from(([198, 51, 100, 1], 1_000 + port)));
        world.take_over(
            n,
            EvilPeer::new(bowline, Nothing).announcing(ports.collect()),
        );
    }
    // Within the minute that the first check begins.
    world.run_for(Duration::from_secs(50));
    let at_nobody = |what: &What| {
        matches!(
            what,
            What::Datagram {
                from: PEERS,
                to: None,
                ..
            }
        )
    };
    let times: Vec<_> = world
        .trace()
        .entries()
        .iter()
        .filter(|entry| at_nobody(&entry.what))
        .map(|entry| entry.at)
        .collect();
    assert_eq!(times.len(), budget);
    let ta = Duration::from_millis(5);
    assert!(times.windows(2).all(|pair| pair[1].since(pair[0]) >= ta));
    let stats = world.endpoint(PEERS).expect("it runs").stats();
    assert!(stats.checks_refused > 1_000, "{stats:?}");
}
