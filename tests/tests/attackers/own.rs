//! Attackers that are made here, from the trait alone: recorded datagrams, and one very long signal.

use std::time::Duration;

use bowline::{Config, Event, PeerId, SignalRefusal};
use bowline_sim::attack::{Attacker, Hands, Heard};
use bowline_sim::{LinkConfig, Time};

use super::stage::{MALLORY, START, Stage, VICTIM};

/// Keeps the datagrams that it hears, and later sends each again: from where it came, and from everywhere else.
struct Recorder {
    kept: Vec<Kept>,
    rounds: Vec<Time>,
}

struct Kept {
    source: std::net::SocketAddr,
    destination: std::net::SocketAddr,
    contents: Vec<u8>,
}

impl Attacker for Recorder {
    fn overhear_datagram(&mut self, datagram: &Heard<'_>, _hands: &mut Hands<'_>) {
        if self.kept.len() < 300 {
            self.kept.push(Kept {
                source: datagram.source,
                destination: datagram.destination,
                contents: datagram.contents.to_vec(),
            });
        }
    }

    fn on_timeout(&mut self, hands: &mut Hands<'_>) {
        self.rounds.retain(|at| *at > hands.now());
        let everywhere: Vec<_> = self.kept.iter().map(|kept| kept.source).collect();
        for (n, kept) in self.kept.iter().enumerate() {
            let other = everywhere[(n * 7 + 3) % everywhere.len()];
            for source in [kept.source, other] {
                hands.send(source, kept.destination, kept.contents.clone());
            }
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.rounds.iter().min().copied()
    }
}

#[test]
fn recorded_datagrams_that_come_again_and_between_sessions_change_nothing() {
    let rounds = [4, 5, 35, 65].map(Time::from_secs).to_vec();
    let recorder = Recorder {
        kept: Vec::new(),
        rounds,
    };
    let report = Stage::with(&Config::default(), recorder).attacked(Duration::from_secs(70));
    let is_change = |event: &Event| {
        matches!(
            event,
            Event::State { .. } | Event::ChannelClosed { .. } | Event::ChannelError { .. }
        )
    };
    assert_eq!(report.count(is_change), 0, "{report}");
    // Each of two sessions may have a candidate for each of the three other addresses.
    report.assert_harmless(16 * 1_024);
}

/// Sends one signal of 100 MB.
struct Shouter {
    victim: PeerId,
    at: Option<Time>,
}

impl Attacker for Shouter {
    fn on_timeout(&mut self, hands: &mut Hands<'_>) {
        self.at = None;
        let text = format!(
            "{{\"v\":1,\"from\":\"mallory\",\"sdp\":\"{}\"}}",
            "x".repeat(100_000_000)
        );
        hands.signal(self.victim, text);
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.at
    }
}

#[test]
fn a_signal_of_a_hundred_megabytes_is_refused_unread() {
    let mut stage = Stage::calm(&Config::default());
    let shouter = Shouter {
        victim: stage.world.id(VICTIM),
        at: Some(START),
    };
    let wide = LinkConfig {
        mtu: usize::MAX,
        ..LinkConfig::default()
    };
    stage.world.bus().set_link(MALLORY, VICTIM, wide);
    stage.world.take_over(MALLORY, shouter);
    let report = stage.attacked(Duration::from_secs(1));
    let too_large = |event: &Event| matches!(event, Event::SignalRefused { reason, .. } if *reason == SignalRefusal::TooLarge);
    assert_eq!(report.count(too_large), 1);
    report.assert_harmless(0);
}
