//! The body of the fuzz target `peer_state`: the life of a peer, begun in each of its states, with any facts after it.
#![allow(
    clippy::disallowed_methods,
    reason = "what runs a machine brings its clock"
)]

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::event::{Cause, NegotiationFault, PeerFault, PeerState, Phase, TransportFault};
use crate::fuzz::Script;

use super::state::{Fact, Life, Lifecycle, Transition};

/// Tells each state the same facts.
///
/// # Panics
///
/// When a rule does not hold.
pub fn peer_state(data: &[u8]) {
    let config = Config::default();
    let start = Instant::now();
    for life in lives() {
        let lifecycle = Lifecycle::starting_in(life, &config, start);
        let mut run = Run {
            lifecycle,
            config: &config,
            now: start,
            ends: 0,
        };
        run.check();
        let mut script = Script::new(data);
        while !script.is_over() {
            run.step(&mut script);
        }
        run.end();
    }
}

struct Run<'a> {
    lifecycle: Lifecycle,
    config: &'a Config,
    now: Instant,
    /// Terminal states that were told.
    ends: u32,
}

impl Run<'_> {
    fn step(&mut self, script: &mut Script<'_>) {
        let fact = any_fact(script);
        self.now += Duration::from_millis(u64::from(script.byte()) * 100);
        // Time that passes beyond the deadline is told first, as whoever drives the peer does.
        if self.lifecycle.deadline().is_some_and(|at| at <= self.now) {
            self.tell(Fact::Deadline);
        }
        self.tell(fact);
    }

    fn tell(&mut self, fact: Fact) {
        let (before, deadline) = (self.lifecycle.life(), self.lifecycle.deadline());
        let is_explained = self.lifecycle.is_explained(fact);
        let told = self.lifecycle.on_fact(fact, self.config, self.now);
        let after = self.lifecycle.life();
        let is_refused = |cause| matches!(cause, Cause::PeerRefused | Cause::PeerBusy);
        let needs_one = told.is_some_and(|t| t.to == PeerState::Failed || is_refused(t.cause));
        assert_eq!(is_explained, needs_one);
        match told {
            Some(transition) => self.check_told(before, transition),
            None => assert_eq!(before.visible(), after.visible(), "{fact:?} goes untold"),
        }
        if before == after {
            assert_eq!(self.lifecycle.deadline(), deadline, "{fact:?}");
        } else {
            assert_eq!(self.lifecycle.since(), self.now);
            assert!(!matches!(before, Life::Ended(_)), "nothing follows the end");
        }
        if let (Life::Connecting(old), Life::Connecting(new)) = (before, after) {
            assert!(old <= new, "phases follow each other");
            assert_eq!(self.lifecycle.deadline(), deadline, "one for all phases");
        }
        self.check();
    }

    fn check_told(&mut self, before: Life, transition: Transition) {
        let Transition { from, to, .. } = transition;
        assert_eq!(
            (from, to),
            (before.visible(), self.lifecycle.visible()),
            "as it was and is"
        );
        let next: &[PeerState] = match from {
            PeerState::New => &[PeerState::Connecting],
            PeerState::Connecting | PeerState::Disconnected => &[PeerState::Connected],
            PeerState::Connected => &[PeerState::Disconnected],
            PeerState::Failed | PeerState::Closed => panic!("nothing follows the end"),
        };
        assert!(
            next.contains(&to) || to.is_terminal(),
            "{from} -> {to} is not documented"
        );
        self.ends += u32::from(to.is_terminal());
        assert!(self.ends <= 1, "one end");
    }

    /// What waits has a deadline, and only what waits.
    fn check(&self) {
        let life = self.lifecycle.life();
        assert_eq!(self.lifecycle.deadline().is_some(), life.phase().is_some());
        assert!(self.lifecycle.since() <= self.now);
    }

    /// Once it is closed, deadlines alone bring every peer to its end.
    fn end(mut self) {
        self.tell(Fact::Close);
        for _ in 0..2 {
            if let Some(at) = self.lifecycle.deadline() {
                self.now = self.now.max(at);
                self.tell(Fact::Deadline);
            }
        }
        assert!(
            matches!(self.lifecycle.life(), Life::Ended(_)),
            "{:?} does not end",
            self.lifecycle.life()
        );
    }
}

fn lives() -> Vec<Life> {
    let closing = VISIBLE.into_iter().flat_map(|from| {
        let (draining, leaving) = (Life::Draining { from }, Life::Leaving { from });
        [draining, leaving]
    });
    let ended = [PeerState::Failed, PeerState::Closed].map(Life::Ended);
    let open = [Life::Offered, Life::Connected, Life::Disconnected];
    let connecting = PHASES.into_iter().map(Life::Connecting);
    let waiting = open.into_iter().chain(connecting);
    waiting.chain(closing).chain(ended).collect()
}

fn any_fact(script: &mut Script<'_>) -> Fact {
    match script.byte() % 16 {
        0 => Fact::Accepted,
        1 => Fact::Refused,
        2 => Fact::Progress(script.pick(&PHASES)),
        3 => Fact::Established,
        4 => Fact::PathUp,
        5 => Fact::PathDown,
        6 => Fact::Close,
        7 => Fact::Drained,
        8 => Fact::FarewellAnswered,
        9 => Fact::Bye(script.pick(&BYES)),
        10 => Fact::Replaced,
        11 => Fact::NegotiationFailed(NegotiationFault::Fingerprint),
        12 => Fact::TransportFailed(TransportFault::Dtls),
        13 => Fact::Misbehaved(PeerFault::Frame),
        14 => Fact::TransportLost(Cause::Rebuilt),
        _ => Fact::Deadline,
    }
}

/// The states from which a close begins to drain.
const VISIBLE: [PeerState; 2] = [PeerState::Connected, PeerState::Disconnected];
const PHASES: [Phase; 4] = [
    Phase::Signalling,
    Phase::Answer,
    Phase::Checks,
    Phase::Handshake,
];
const BYES: [Cause; 4] = [
    Cause::RemoteClose,
    Cause::PeerRefused,
    Cause::PeerBusy,
    Cause::PeerForgot,
];
