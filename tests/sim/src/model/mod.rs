//! The reference model: what the applications did and saw, and the rules that it must follow.

mod flow;
mod life;

use std::collections::BTreeMap;

use bowline::{
    Cause, ChannelConfig, ChannelId, ChannelKind, Event, Generation, Message, MessageId, Ordering,
    PeerState, Reliability, SessionId,
};

use crate::findings::{Findings, Invariant};
use crate::net::HostId;

pub(crate) use flow::hash_message;
use flow::{Flow, Mode};
pub use life::Digest;
use life::Life;

/// What all applications did and saw.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// The lives of each peer at each host: one for each time that it was initialised.
    lives: BTreeMap<(HostId, HostId), Vec<Life>>,
    /// Whether what is told now comes of a signal.
    pub(crate) hears_signal: bool,
}

impl Model {
    /// The peer as the application of `host` knows it now: the last one, also when it has ended.
    pub(crate) fn life(&self, host: HostId, peer: HostId) -> Option<&Life> {
        self.lives.get(&(host, peer))?.last()
    }

    /// How many times `peer` was initialised at `host`.
    pub(crate) fn births(&self, host: HostId, peer: HostId) -> usize {
        self.lives.get(&(host, peer)).map_or(0, Vec::len)
    }

    /// What each application received: host, peer, how many times the peer was initialised before, and channel.
    pub(crate) fn deliveries(&self) -> BTreeMap<(HostId, HostId, usize, ChannelId), Digest> {
        let mut all = BTreeMap::new();
        for ((host, peer), lives) in &self.lives {
            for (birth, life) in lives.iter().enumerate() {
                for (channel, digest) in &life.inbox {
                    all.insert((*host, *peer, birth, *channel), *digest);
                }
            }
        }
        all
    }

    /// `connect` was accepted.
    pub(crate) fn on_connect(&mut self, from: HostId, to: HostId) {
        let waits = |life: &&mut Life| life.called && life.session.is_none() && !life.is_over();
        let other = self
            .lives
            .get_mut(&(to, from))
            .and_then(|lives| lives.last_mut());
        let glare = other.filter(waits).map(|life| life.glare = true).is_some();
        if let Some(life) = self
            .lives
            .get_mut(&(from, to))
            .and_then(|lives| lives.last_mut())
        {
            life.called = true;
            life.glare = glare;
        }
    }

    /// `send` accepted a message.
    pub(crate) fn on_accepted(
        &mut self,
        (from, to): (HostId, HostId),
        channel: ChannelId,
        id: MessageId,
        message: &Message,
        findings: &mut Findings,
    ) {
        let mode = self.mode(from, to, channel);
        let Some(life) = self
            .lives
            .get_mut(&(from, to))
            .and_then(|lives| lives.last_mut())
        else {
            return findings.check(Invariant::ExactlyOnceOrTold, false, || {
                format!("{from} accepted a message to {to}, which was never initialised")
            });
        };
        let flow = life.flows.entry(channel).or_insert_with(|| Flow::new(mode));
        let expected = flow.accepted();
        findings.check(Invariant::ExactlyOnceOrTold, id.0 == expected, || {
            format!("{from} -> {to} channel {channel}: id {id} instead of {expected}")
        });
        flow.on_accepted(message);
    }

    /// `open_channel` returned an id.
    pub(crate) fn on_opened(
        &mut self,
        (host, peer): (HostId, HostId),
        channel: ChannelId,
        config: &ChannelConfig,
    ) {
        if let Some(life) = self
            .lives
            .get_mut(&(host, peer))
            .and_then(|lives| lives.last_mut())
        {
            life.labels.insert(channel, config.label.clone());
            life.modes
                .insert(channel, mode_of(config.ordering, config.reliability));
        }
    }

    /// The endpoint of `host` vanished. Nothing more is owed to its application.
    pub(crate) fn on_crash(&mut self, host: HostId) {
        for ((_, _), lives) in self.lives.iter_mut().filter(|((h, _), _)| *h == host) {
            if let Some(life) = lives.last_mut() {
                life.crashed = true;
            }
        }
    }

    /// The application of `host` was told something about `peer`.
    pub(crate) fn on_event(
        &mut self,
        (host, peer): (HostId, HostId),
        event: &Event,
        findings: &mut Findings,
    ) {
        if let Event::SignalRefused { .. } = event {
            // Names whom the message claims to be from, who need not be a peer.
            return;
        }
        let at = |what: &str| format!("{host} about {peer}: {what}: {event:?}");
        let lives = self.lives.entry((host, peer)).or_default();
        if let Event::Initialised { .. } = event {
            let over = lives.last().is_none_or(Life::is_over);
            findings.check(Invariant::StateMachine, over, || at("initialised twice"));
            lives.push(Life::default());
            return;
        }
        let Some(life) = lives.last_mut().filter(|life| !life.is_over()) else {
            return findings.check(Invariant::StateMachine, false, || {
                at("told of no living peer")
            });
        };
        findings.premises.note(Invariant::StateMachine);
        match event {
            Event::State {
                from, to, cause, ..
            } => {
                life.on_state(*from, *to, at, findings);
                self.on_end((host, peer), *cause, findings);
            }
            Event::NegotiationDone {
                session,
                generation,
                took,
                ..
            } => {
                // A session is begun anew while nothing is up, and not behind the back of one that is.
                let same = life.session.is_none_or(|known| known == *session);
                let rebuilds = [PeerState::Connecting, PeerState::Disconnected];
                let fresh = same || rebuilds.contains(&life.state);
                findings.check(Invariant::Agreement, fresh, || at("another session"));
                if !same {
                    life.past.extend(life.session);
                }
                life.session = Some(*session);
                life.agreed.insert((*session, *generation));
                // Who answers is the first to know, and an answer takes its time.
                if *generation > Generation(0) && !took.is_zero() {
                    self.on_answered((host, peer), (*session, *generation), findings);
                }
            }
            Event::ChannelOpen {
                channel,
                label,
                ordering,
                reliability,
                ..
            } => {
                life.labels.insert(*channel, label.clone());
                life.modes
                    .insert(*channel, mode_of(*ordering, *reliability));
            }
            Event::Sent {
                channel, through, ..
            } => {
                life.flow(
                    *channel,
                    |flow, findings| flow.on_sent(*through, at, findings),
                    findings,
                );
            }
            Event::Delivered {
                channel, through, ..
            } => {
                let on = |flow: &mut Flow, findings: &mut Findings| {
                    flow.on_delivered(*through, at, findings);
                };
                life.flow(*channel, on, findings);
            }
            Event::NotDelivered {
                channel,
                first,
                last,
                maybe,
                ..
            } => {
                let on = |flow: &mut Flow, findings: &mut Findings| {
                    flow.on_not_delivered((*first, *last), *maybe, at, findings);
                };
                life.flow(*channel, on, findings);
            }
            Event::Message {
                channel, message, ..
            } => {
                self.on_message((host, peer), *channel, message, findings);
            }
            _ => {}
        }
    }

    /// The application of `host` closes the connection to `peer`.
    pub(crate) fn on_close(&mut self, host: HostId, peer: HostId) {
        let lives = self.lives.get_mut(&(host, peer));
        if let Some(life) = lives.and_then(|lives| lives.last_mut()) {
            life.closing = true;
        }
    }

    /// A state was told. A signal ends a side only when the other has ended, or begun anew. (A datagram of an earlier session may
    /// do so here, since nothing is encrypted.)
    fn on_end(&mut self, (host, peer): (HostId, HostId), cause: Cause, findings: &mut Findings) {
        let ends = matches!(cause, Cause::RemoteClose | Cause::Replaced);
        // Whoever has crashed takes the old offer of a session that it has forgotten for a new one.
        let lives = self.lives.get(&(host, peer));
        let forgets = lives.is_some_and(|lives| lives.iter().any(|life| life.crashed));
        let open = self.life(host, peer).filter(|l| !l.closing && !forgets);
        let Some(session) = open
            .filter(|_| ends && self.hears_signal)
            .map(|l| l.session)
        else {
            return;
        };
        // So does the other side, in the session that this one has left since.
        let others = self.lives.get(&(peer, host)).into_iter().flatten();
        let mut in_it = others.filter(|life| session.is_some() && life.session == session);
        let forgot = in_it.clone().any(|life| life.crashed);
        let goes_on = in_it.next_back().is_some_and(|life| {
            let is_last = self
                .life(peer, host)
                .is_some_and(|last| std::ptr::eq(last, life));
            is_last && !forgot && !life.is_over() && !life.closing
        });
        findings.check(Invariant::Agreement, !goes_on, || {
            format!("{host} about {peer}: {cause}, but that goes on in the same session")
        });
    }

    /// An answer was taken, which the other side must have given.
    fn on_answered(
        &mut self,
        (host, peer): (HostId, HostId),
        agreed: (SessionId, Generation),
        findings: &mut Findings,
    ) {
        let given = self.life_in(peer, host, agreed.0);
        let fits = given.is_none_or(|life| life.crashed || life.agreed.contains(&agreed));
        findings.check(Invariant::Agreement, fits, || {
            format!("{host} has an answer of {peer} that it did not give: {agreed:?}")
        });
    }

    /// A message arrived at the application of `host`.
    fn on_message(
        &mut self,
        (host, peer): (HostId, HostId),
        channel: ChannelId,
        message: &Message,
        findings: &mut Findings,
    ) {
        let at = || format!("{peer} -> {host} channel {channel}: {message:?}");
        let Some(life) = self
            .lives
            .get_mut(&(host, peer))
            .and_then(|lives| lives.last_mut())
        else {
            return;
        };
        life.inbox.entry(channel).or_default().add(message);
        let session = life.session;
        let label = life.labels.get(&channel).cloned();
        findings.check(Invariant::Authentication, session.is_some(), || {
            format!("{}: before any negotiation", at())
        });
        let sender = session.and_then(|session| self.life_in(peer, host, session));
        let channel = |life: &Life| match ChannelKind::from_id(channel) {
            Some(kind) => Some(kind.id()),
            None => life.channel_labelled(label.as_deref()?),
        };
        let flow = sender.and_then(|life| life.flows.get_mut(&channel(life)?));
        findings.check(Invariant::NoInvention, flow.is_some(), || {
            format!("{}: nothing was sent there in this session", at())
        });
        if let Some(flow) = flow {
            flow.on_received(message, at, findings);
        }
    }

    fn life_in(&mut self, host: HostId, peer: HostId, session: SessionId) -> Option<&mut Life> {
        let lives = self.lives.get_mut(&(host, peer))?;
        lives
            .iter_mut()
            .rev()
            .find(|life| life.session == Some(session) || life.past.contains(&session))
    }

    fn mode(&self, from: HostId, to: HostId, channel: ChannelId) -> Mode {
        match ChannelKind::from_id(channel) {
            Some(ChannelKind::Unreliable) => Mode::UNRELIABLE,
            Some(ChannelKind::Control | ChannelKind::Reliable | ChannelKind::File) => {
                Mode::RELIABLE
            }
            None => {
                let told = self
                    .life(from, to)
                    .and_then(|life| life.modes.get(&channel));
                told.copied().unwrap_or(Mode::RELIABLE)
            }
        }
    }

    /// Checks that two hosts that are connected agree on it. Called at rest.
    pub(crate) fn check_agreement(&self, a: HostId, b: HostId, findings: &mut Findings) {
        let end = |host, peer| {
            let life = self.life(host, peer).filter(|life| !life.is_over());
            life.map(|life| (life.state, life.session))
        };
        let (here, there) = (end(a, b), end(b, a));
        let glare = |host, peer| self.life(host, peer).is_some_and(|life| life.glare);
        if glare(a, b) && glare(b, a) {
            findings.check(Invariant::Glare, here == there, || {
                format!("both called: {a} has {here:?} and {b} has {there:?}")
            });
        }
        findings.check(Invariant::Agreement, here == there, || {
            format!("{a} has {here:?} and {b} has {there:?}")
        });
    }
}

fn mode_of(ordering: Ordering, reliability: Reliability) -> Mode {
    Mode {
        ordered: ordering == Ordering::Ordered,
        reliable: reliability == Reliability::Reliable,
    }
}

/// Whether the documentation of [`PeerState`] has an arrow between two states.
pub(crate) fn is_documented(from: PeerState, to: PeerState) -> bool {
    match from {
        PeerState::New => to == PeerState::Connecting || to.is_terminal(),
        PeerState::Connecting => to == PeerState::Connected || to.is_terminal(),
        PeerState::Connected => to == PeerState::Disconnected || to.is_terminal(),
        PeerState::Disconnected => to == PeerState::Connected || to.is_terminal(),
        PeerState::Failed | PeerState::Closed => false,
    }
}

#[cfg(test)]
mod tests;
