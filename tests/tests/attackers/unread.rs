//! Peers that never read, for a day.

use std::time::Duration;

use bowline::{ChannelKind, Config};
use bowline_sim::attack::EvilPeer;
use bowline_sim::attack::script::Deaf;
use bowline_sim::{HostId, Reader};

use super::stage::{MALLORY, Stage, VICTIM};

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Some 120,000 wake-ups of four endpoints, and no more than that.
const MAX_CPU: Duration = Duration::from_secs(40);
/// The size of a message that the victim sends.
const SIZE: usize = 1_000;
/// What a message takes in the queue beside its bytes.
const BYTES_PER_MESSAGE: usize = 256;

/// What the victim may keep for a peer: its queue, what SCTP has under way, and the session itself.
fn max_growth(config: &Config) -> usize {
    let channels = config.channels();
    let queue = channels.queue_bytes / SIZE * (SIZE + BYTES_PER_MESSAGE);
    queue + 2 * channels.backlog_max + 256 * 1_024
}

/// Lets the victim send to `peer` until its queue is full, and sees what a day makes of it.
fn fill(mut stage: Stage, peer: HostId) {
    let config = Config::default();
    stage.world.run_for(Duration::from_millis(900));
    let mut send = || {
        let message = vec![b'x'; SIZE];
        let channel = ChannelKind::Reliable;
        stage.world.send(VICTIM, peer, channel, message).is_ok()
    };
    let accepted = (0..100_000).filter(|_| send()).count();
    let room = config.channels().queue_bytes + config.channels().receive_window;
    assert!(
        (100..=room / SIZE).contains(&accepted),
        "{accepted} messages were accepted"
    );
    let report = stage.attacked(DAY);
    assert_eq!(report.end(), None, "it does not read, but it is there");
    report.assert_harmless_within(MAX_CPU, max_growth(&config));
}

fn fill_evil(deaf: Deaf) {
    let mut stage = Stage::calm(&Config::default());
    let victim = stage.world.id(VICTIM);
    stage.world.take_over(MALLORY, EvilPeer::new(victim, deaf));
    fill(stage, MALLORY);
}

#[test]
fn a_window_that_stays_closed_for_a_day_holds_no_more_than_the_queue() {
    fill_evil(Deaf::ClosedWindow);
}

#[test]
fn a_day_without_acknowledgements_holds_no_more_than_the_queue() {
    fill_evil(Deaf::Silent);
}

#[test]
fn an_application_that_releases_nothing_for_a_day_holds_no_more_than_the_queue() {
    let mut stage = Stage::calm(&Config::default());
    stage.world.set_reader(MALLORY, Reader::Absent);
    stage.world.connect(MALLORY, VICTIM).expect("fresh");
    fill(stage, MALLORY);
}
