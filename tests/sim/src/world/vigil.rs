//! What an endpoint promises its application about time and order, and whether it keeps that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bowline::{CandidateRefusal, Cause, ChannelId, Event, PeerState, Phase, Rung};

use crate::findings::{Findings, Invariant};
use crate::net::HostId;
use crate::time::{Clock, Time};

use super::World;

/// What one endpoint has promised, and what it did last.
#[derive(Debug, Default)]
pub(super) struct Vigil {
    /// Until when each peer is in its state at most, unless the application closes it.
    deadlines: BTreeMap<HostId, Time>,
    /// The last attempt of each rung since a peer was connected: the how manieth, when it was told, and how
    /// long before that it may have been.
    attempts: BTreeMap<(HostId, Rung), (u32, Time, Duration)>,
    /// How many signals each peer was sent since it was initialised.
    signals: BTreeMap<HostId, u32>,
    /// The channels of each peer of which the application was told that they are closed.
    closed: BTreeSet<(HostId, ChannelId)>,
    /// The addresses from which something has come.
    heard: BTreeSet<SocketAddr>,
    /// Whether its way to signalling was down, or its machine slept, so that it may have had no time to ask.
    was_hindered: bool,
    /// When a check went to an address that was not heard.
    checked: Option<Time>,
}

impl Vigil {
    /// The application was told something about `peer`, at most `delay` after it happened.
    pub(super) fn on_event(
        &mut self,
        (peer, event): (HostId, &Event),
        delay: Duration,
        (clock, attempt_timeout): (&Clock, Duration),
        findings: &mut Findings,
    ) {
        let at = |what: &str| format!("{what}: about {peer}: {event:?}");
        if let Some(channel) = channel_of(event) {
            let open = !self.closed.contains(&(peer, channel));
            findings.check(Invariant::StateMachine, open, || {
                at("the channel is closed")
            });
        }
        match event {
            Event::Initialised { .. } => {
                self.forget(peer);
                self.closed.retain(|(of, _)| *of != peer);
                self.signals.remove(&peer);
            }
            Event::State {
                to,
                cause,
                deadline,
                ..
            } => {
                let honest = !matches!(cause, Cause::Misbehaviour(_));
                findings.check(Invariant::Agreement, honest, || at("it has done no wrong"));
                let asked = self.signals.get(&peer).copied().unwrap_or_default();
                let unheard = *cause == Cause::Timeout(Phase::Signalling);
                findings.check(
                    Invariant::Liveness,
                    !unheard || asked >= LEAST_SIGNALS || self.was_hindered,
                    || at("given up without asking again"),
                );
                let waits = matches!(to, PeerState::Connecting | PeerState::Disconnected);
                findings.check(
                    Invariant::StateMachine,
                    !waits || deadline.is_some(),
                    || at("it has no end"),
                );
                self.forget(peer);
                if let Some(deadline) = deadline {
                    self.deadlines.insert(peer, clock.time_of(*deadline));
                }
            }
            Event::ReconnectAttempt { rung, attempt, .. } => {
                let told = (*attempt, findings.now, delay);
                let last = self.attempts.insert((peer, *rung), told);
                let next = last.filter(|(number, ..)| number < attempt);
                let rests = next
                    .is_none_or(|(_, at, late)| findings.now.since(at) + late >= attempt_timeout);
                findings.check(Invariant::Liveness, rests, || at("too soon after another"));
            }
            Event::ChannelClosed { channel, .. } => {
                self.closed.insert((peer, *channel));
            }
            Event::CandidateIgnored { reason, .. } => {
                let before_end = *reason != CandidateRefusal::AfterEnd;
                findings.check(Invariant::Agreement, before_end, || {
                    at("announced after the end of candidates")
                });
            }
            _ => {}
        }
    }

    /// The application closes the connection to `peer`, which takes its own time.
    pub(super) fn on_close(&mut self, peer: HostId) {
        self.deadlines.remove(&peer);
    }

    /// Its way to signalling is down, or its machine has slept.
    pub(super) fn on_hindered(&mut self) {
        self.was_hindered = true;
    }

    /// A signal was sent to `peer`.
    pub(super) fn on_signal(&mut self, peer: HostId) {
        *self.signals.entry(peer).or_default() += 1;
    }

    /// A datagram came.
    pub(super) fn on_heard(&mut self, source: SocketAddr) {
        self.heard.insert(source);
    }

    /// A check goes to `destination`.
    fn on_check(&mut self, host: HostId, destination: SocketAddr, findings: &mut Findings) {
        if self.heard.contains(&destination) {
            return;
        }
        let now = findings.now;
        let last = self.checked.replace(now);
        let paced = last.is_none_or(|last| now.since(last) >= PACE);
        findings.check(Invariant::KnownAddresses, paced, || {
            format!("{host} sent a check to {destination}, too soon after another")
        });
    }

    /// Everything that was due is done.
    fn check_deadlines(&self, host: HostId, findings: &mut Findings) {
        let now = findings.now;
        for (peer, deadline) in &self.deadlines {
            findings.check(Invariant::StateMachine, *deadline >= now, || {
                format!("{host} has let the deadline {deadline} of {peer} pass")
            });
        }
    }

    fn forget(&mut self, peer: HostId) {
        self.deadlines.remove(&peer);
        self.attempts.retain(|(of, _), _| *of != peer);
    }
}

impl World {
    /// What the application of `host` is told is what it was promised.
    pub(super) fn watch_event(&mut self, host: HostId, peer: HostId, event: &Event) {
        let delay = self.laziness(host);
        let node = &mut self.nodes[host];
        let attempt_timeout = node.spec.config.reconnect().attempt_timeout;
        node.vigil.on_event(
            (peer, event),
            delay,
            (&self.clock, attempt_timeout),
            &mut self.findings,
        );
    }

    /// Checks to addresses that did not ask for them are paced (RFC 8445 section 14.2). An address may ask through a relay, unseen
    /// from here: this looks only where there is none. A lazy driver sends at once what was made in its time.
    pub(super) fn watch_pace(&mut self, host: HostId, destination: SocketAddr, contents: &[u8]) {
        let is_check = contents.starts_with(&[0x00, 0x01]);
        let is_prompt = self.nodes[host].pulse.is_prompt();
        if is_check && is_prompt && self.servers.is_empty() {
            let vigil = &mut self.nodes[host].vigil;
            vigil.on_check(host, destination, &mut self.findings);
        }
    }

    /// Looks at an endpoint that is drained. One that was not woken in time has something to do yet.
    pub(super) fn watch_deadlines(&mut self, host: HostId, deadline: Option<Time>) {
        if deadline.is_none_or(|at| at > self.clock.now()) {
            let vigil = &self.nodes[host].vigil;
            vigil.check_deadlines(host, &mut self.findings);
        }
    }

    /// Where nothing is wrong, a pair that is wanted is connected by the first call. For use at rest.
    pub(crate) fn check_calm(&mut self, a: HostId, b: HostId) {
        for (host, peer) in [(a, b), (b, a)] {
            let (births, state) = (self.model.births(host, peer), self.state(host, peer));
            let well = births == 1 && state == Some(PeerState::Connected);
            self.findings.check(Invariant::Liveness, well, || {
                format!("{host} has {peer} {births} times, the last is {state:?}, without a fault")
            });
        }
    }
}

/// The channel that an event is about, when it says that something goes on there.
fn channel_of(event: &Event) -> Option<ChannelId> {
    match event {
        Event::ChannelOpen { channel, .. }
        | Event::ChannelClosed { channel, .. }
        | Event::ChannelError { channel, .. }
        | Event::Writable { channel, .. }
        | Event::Message { channel, .. }
        | Event::Sent { channel, .. }
        | Event::Delivered { channel, .. }
        | Event::NotDelivered { channel, .. } => Some(*channel),
        _ => None,
    }
}

/// Ta: RFC 8445 section 14.2 allows no less.
const PACE: Duration = Duration::from_millis(5);
/// So often an offer is sent at least in the time that a connection has, whatever chance does to the pauses.
const LEAST_SIGNALS: u32 = 4;
