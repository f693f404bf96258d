//! What a peer can do that has come through ICE and DTLS: packets that no SCTP implementation would send.

use std::time::Duration;

use bowline::{Cause, Config, Event, PeerFault, PeerState};
use bowline_sim::attack::EvilPeer;
use bowline_sim::attack::script::{
    Churn, Gaps, OutOfSequence, Script, Streams, TinyFragments, Unfinished,
};

use super::stage::{MALLORY, Report, Stage, VICTIM};

/// Long enough for the script, and for what it leaves to be seen.
const DURATION: Duration = Duration::from_secs(5);
/// What a peer that is found out leaves: its name among the sessions that have ended, and a farewell on its way.
const REMAINS: usize = 16 * 1_024;
/// What a session takes without an attack, with everything that SCTP and DTLS keep for it.
const SESSION: usize = 128 * 1_024;
/// What SCTP takes for a chunk that it holds, beside the payload.
const BYTES_PER_CHUNK: usize = 512;
/// What the names of all channels of a peer may take.
const NAMES_MAX: usize = 512 * 1_024;
/// So many gaps there may be, and a packet more.
const MAX_GAPS: usize = 2_048 + 75;
/// So many chunks may be held beyond a gap.
const MAX_AHEAD: usize = 16_384;

fn run(script: impl Script + 'static) -> Report {
    let mut stage = Stage::calm(&Config::default());
    let victim = stage.world.id(VICTIM);
    stage
        .world
        .take_over(MALLORY, EvilPeer::new(victim, script));
    stage.attacked(DURATION)
}

/// The attacker is found out, and only the attacker suffers.
#[track_caller]
fn assert_ended_for(report: &Report, fault: PeerFault) {
    let expected = (PeerState::Failed, Cause::Misbehaviour(fault));
    assert_eq!(report.end(), Some(expected), "{report}");
    report.assert_harmless(REMAINS);
}

#[test]
fn one_message_in_tiny_fragments_ends_its_sender() {
    for size in [1, 4, 8] {
        for bundled in [1, 50] {
            let script = TinyFragments::new(200_000, size).bundled(bundled);
            assert_ended_for(&run(script), PeerFault::TinyFragments);
        }
    }
}

#[test]
fn data_on_eight_thousand_streams_ends_its_sender() {
    let report = run(Streams::of_data(8_000));
    assert_ended_for(&report, PeerFault::TooManyChannels);
}

#[test]
fn eight_thousand_channels_end_who_announces_them() {
    let report = run(Streams::of_channels(8_000, 10));
    let opened = report.count(|event| matches!(event, Event::ChannelOpen { remote: true, .. }));
    assert!(
        opened <= Config::default().channels().max_channels,
        "{opened}"
    );
    let fault = Cause::Misbehaviour(PeerFault::TooManyChannels);
    assert_eq!(report.end(), Some((PeerState::Failed, fault)), "{report}");
    report.assert_harmless(SESSION);
}

#[test]
fn channels_with_huge_labels_are_taken_until_their_names_fill_half_a_mebibyte() {
    let report = run(Streams::of_channels(250, 60_000));
    let opened = report.count(|event| matches!(event, Event::ChannelOpen { remote: true, .. }));
    assert_eq!(opened, 8);
    // The transport has a copy of each, too, and buffers that were as long.
    report.assert_harmless(2 * NAMES_MAX + NAMES_MAX / 2 + SESSION);
}

#[test]
fn opening_and_closing_channels_faster_than_they_close_ends_the_peer() {
    let report = run(Churn::new(8_000));
    assert_ended_for(&report, PeerFault::TooManyChannels);
}

#[test]
fn chunks_beyond_a_gap_are_held_up_to_a_limit_and_then_taken_for_lost() {
    for bundled in [1, 50] {
        let report = run(Gaps::new(40_000, bundled));
        assert_eq!(report.end(), None, "{report}");
        report.assert_harmless(MAX_GAPS * BYTES_PER_CHUNK + SESSION);
    }
}

#[test]
fn messages_whose_predecessor_never_comes_end_their_sender() {
    let report = run(OutOfSequence::new(60_000, 50));
    assert_ended_for(&report, PeerFault::OutOfSequence);
}

#[test]
fn as_many_messages_as_may_wait_beyond_a_gap_take_no_more_than_their_number_allows() {
    let report = run(OutOfSequence::new(60_000, 50).after_a_gap());
    assert_eq!(report.end(), None, "{report}");
    // Each takes a place among those beyond the gap, and one among those of its stream.
    report.assert_harmless(MAX_AHEAD * (BYTES_PER_CHUNK + BYTES_PER_CHUNK / 2) + SESSION);
}

#[test]
fn messages_that_never_end_are_held_up_to_the_receive_window() {
    let window = 1_024 * 1_024;
    let chunks = window / 256;
    let report = run(Unfinished::new(3_000, 256));
    assert_eq!(report.end(), None, "{report}");
    report.assert_harmless(window + chunks * BYTES_PER_CHUNK + SESSION);
    // Past it SCTP ends the association itself.
    for size in [256, 1_100] {
        let report = run(Unfinished::new(20_000, size));
        assert!(report.end().is_some(), "{report}");
        report.assert_harmless(REMAINS);
    }
}
