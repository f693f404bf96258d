//! Offers, answers, candidates and farewells of one peer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::state::{Fact, Life};
use super::taped::Ufrags;
use super::{Context, Outcome, Peer};
use crate::channel::Framing;
use crate::config::Config;
use crate::event::{
    CandidateRefusal, Cause, Event, NegotiationFault, Phase, Side, SignalKind, SignalRefusal,
};
use crate::ice::{AddressPolicy, RemoteCandidates};
use crate::id::{Generation, PeerId, SessionId};
use crate::rng::Rng;
use crate::sdp::{self, Description, Remote, Role};
use crate::signal::{
    Acceptance, Body, ByeReason, Capabilities, Decision, Envelope, Inbox, Negotiation, Outbox,
};

/// What a peer keeps of its signalling.
pub(super) struct Signalling {
    session: SessionId,
    negotiation: Negotiation,
    outbox: Outbox,
    inbox: Inbox,
    /// The offer that waits for the application.
    offered: Option<Envelope>,
    /// The peer's last description.
    remote: Option<Remote>,
    candidates: Option<RemoteCandidates>,
    /// The number of the peer's end-of-candidates: a later candidate is none of this generation.
    end_of_candidates: Option<u64>,
    /// Candidates whose description has not come, at most `max_candidates`.
    early: VecDeque<Envelope>,
    /// Whether our offer was acknowledged: the peer is there.
    heard: bool,
    said_bye: bool,
}

impl Signalling {
    pub(super) fn new(own: PeerId, peer: PeerId, session: SessionId, rng: &mut Rng, config: &Config) -> Self {
        Self {
            session,
            negotiation: Negotiation::new(own, peer),
            outbox: Outbox::new(own, peer, session, config, rng.split()),
            inbox: Inbox::new(),
            offered: None,
            remote: None,
            candidates: None,
            end_of_candidates: None,
            early: VecDeque::new(),
            heard: false,
            said_bye: false,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.outbox.poll_timeout()
    }

    /// Messages that the peer has not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        self.outbox.len()
    }

    pub(super) fn said_bye(&self) -> bool {
        self.said_bye
    }

    /// Whether the peer has named an address that may be used.
    pub(super) fn has_candidates(&self) -> bool {
        self.candidates.as_ref().is_some_and(|candidates| !candidates.is_empty())
    }
}

impl Peer {
    pub(crate) fn session(&self) -> SessionId {
        self.signalling.session
    }

    pub(crate) fn is_offered(&self) -> bool {
        self.lifecycle.life() == Life::Offered
    }

    /// The user name fragments under which checks of the peer arrive.
    pub(crate) fn ufrags(&self) -> [Option<&str>; 2] {
        self.session.as_ref().map_or([None, None], |session| {
            let Ufrags { current, pending } = session.ufrags();
            [Some(current), pending.as_deref().filter(|pending| pending != current)]
        })
    }

    /// Takes a message from the peer.
    pub(crate) fn on_envelope(&mut self, envelope: Envelope, ctx: &mut Context, now: Instant) -> Outcome {
        if envelope.session != self.signalling.session {
            return match envelope.body {
                Body::Offer { .. } => self.on_other_offer(envelope, ctx, now),
                Body::Answer { .. }
                | Body::Candidate { .. }
                | Body::EndOfCandidates { .. }
                | Body::IceRestart
                | Body::Bye { .. }
                | Body::Ack { .. } => Outcome::NotOurs(envelope),
            };
        }
        if let Body::Ack { ack } = envelope.body {
            self.on_ack(ack, ctx, now);
            return Outcome::Handled;
        }
        match self.signalling.inbox.accept(envelope.seq) {
            Acceptance::Fresh => self.on_fresh(envelope, ctx, now),
            Acceptance::Duplicate => {
                ctx.envelopes.extend(envelope.ack());
                Outcome::Duplicate
            }
            Acceptance::TooOld => Outcome::Duplicate,
        }
    }

    /// Takes a candidate that came before the offer of its session, and was acknowledged then.
    pub(crate) fn on_early_candidate(&mut self, envelope: Envelope, ctx: &mut Context, now: Instant) {
        if self.signalling.inbox.accept(envelope.seq) == Acceptance::Fresh {
            self.on_candidate(envelope, ctx, now);
        }
    }

    /// Begins an ICE restart, or asks the peer for one.
    pub(crate) fn restart_ice(&mut self, ctx: &mut Context, now: Instant) {
        match self.lifecycle.life() {
            Life::Connected | Life::Disconnected => {}
            Life::Offered
            | Life::Connecting(_)
            | Life::Draining { .. }
            | Life::Leaving { .. }
            | Life::Ended(_) => return,
        }
        match self.signalling.negotiation.on_restart_wanted(now) {
            Decision::OfferRestart { generation, .. } => {
                self.signalling.outbox.drop_where(|e| is_superseded_by_restart(e, generation));
                self.metrics.restarts += 1;
                self.send_offer(generation, ctx, now);
            }
            Decision::AskForRestart { generation, .. } => {
                self.push(generation, Body::IceRestart, ctx, now);
            }
            Decision::TooSoon { until } => {
                let soonest = self.next_restart.map_or(until, |at| at.min(until));
                self.next_restart = Some(soonest.max(until));
            }
            Decision::UnderWay
            | Decision::Offer { .. }
            | Decision::Await { .. }
            | Decision::Answer { .. }
            | Decision::AnswerRestart { .. }
            | Decision::Complete { .. }
            | Decision::Refuse { .. }
            | Decision::Ignore(_) => {}
        }
    }

    /// Makes the first offer of a session of ours.
    pub(super) fn start_offering(&mut self, ctx: &mut Context, now: Instant) {
        let session = self.signalling.session;
        self.signalling.negotiation.on_connect(session, now);
        self.begin_session(ctx, now);
        self.send_offer(Generation(0), ctx, now);
    }

    /// Takes the offer with which the peer introduced itself.
    pub(super) fn take_first_offer(&mut self, offer: Envelope, ctx: &mut Context, now: Instant) {
        let Body::Offer { replaces, .. } = offer.body else {
            return;
        };
        self.signalling.negotiation.on_offer(offer.session, offer.generation, replaces, now);
        self.signalling.inbox.accept(offer.seq);
        self.bury(replaces, ctx);
        ctx.envelopes.extend(offer.ack());
        let (peer, session) = (self.id, offer.session);
        ctx.events.push_back(Event::SignalReceived { peer, kind: SignalKind::Offer });
        if let Some(deadline) = self.lifecycle.deadline() {
            ctx.events.push_back(Event::Incoming { peer, session, deadline });
        }
        self.signalling.offered = Some(offer);
    }

    /// Answers the offer that waits: the application accepted it.
    pub(super) fn answer_waiting_offer(&mut self, ctx: &mut Context, now: Instant) {
        let decision = self.signalling.negotiation.on_accept(now);
        if let Decision::Answer { took, .. } = decision
            && let Some(offer) = self.signalling.offered.take()
        {
            self.begin_session(ctx, now);
            self.answer(offer, took, ctx, now);
        }
    }

    /// Announces a candidate of ours that appeared after the description.
    pub(super) fn send_candidate(&mut self, candidate: String, ctx: &mut Context, now: Instant) {
        let Some(session) = &self.session else {
            return;
        };
        let Ufrags { current, pending } = session.ufrags();
        let ufrag = pending.as_ref().unwrap_or(current).clone();
        let generation = self.signalling.negotiation.generation();
        self.push(generation, Body::Candidate { candidate, ufrag }, ctx, now);
    }

    /// Ends the session in the eyes of the peer. The message is repeated after this peer is gone.
    pub(super) fn say_bye(&mut self, reason: ByeReason, ctx: &mut Context) {
        if self.signalling.said_bye {
            return;
        }
        self.signalling.said_bye = true;
        let generation = self.signalling.negotiation.generation();
        ctx.byes.push(self.signalling.outbox.farewell(generation, reason));
        ctx.events.push_back(Event::SignalSent { peer: self.id, kind: SignalKind::Bye });
    }

    /// Hands out what is due.
    pub(super) fn drive_outbox(&mut self, ctx: &mut Context, now: Instant) {
        while let Some(dispatch) = self.signalling.outbox.poll(now) {
            if dispatch.first {
                let kind = dispatch.envelope.kind();
                ctx.events.push_back(Event::SignalSent { peer: self.id, kind });
            }
            ctx.envelopes.push_back(dispatch.envelope.clone());
        }
    }

    fn on_ack(&mut self, seq: u64, ctx: &mut Context, now: Instant) {
        let acknowledged = self.signalling.outbox.on_ack(seq, now);
        if acknowledged.is_some_and(|a| a.kind == SignalKind::Offer) {
            self.signalling.heard = true;
            self.on_fact(Fact::Progress(Phase::Answer), ctx, now);
        }
    }

    /// A numbered message of this session that did not come before.
    fn on_fresh(&mut self, envelope: Envelope, ctx: &mut Context, now: Instant) -> Outcome {
        let (kind, ack, seq) = (envelope.kind(), envelope.ack(), envelope.seq);
        let used = match &envelope.body {
            Body::Offer { .. } => self.on_restart_offer(envelope, ctx, now),
            Body::Answer { .. } => self.on_answer(envelope, ctx, now),
            Body::Candidate { .. } | Body::EndOfCandidates { .. } => {
                if self.on_candidate(envelope, ctx, now) { Ok(()) } else { Err(SignalRefusal::Busy) }
            }
            Body::IceRestart => self.on_restart_request(envelope.generation, ctx, now),
            Body::Bye { reason } => {
                self.on_bye(*reason, ctx, now);
                Ok(())
            }
            Body::Ack { .. } => Ok(()),
        };
        match used {
            Ok(()) => {
                ctx.envelopes.extend(ack);
                if !self.state().is_terminal() {
                    ctx.events.push_back(Event::SignalReceived { peer: self.id, kind });
                }
                Outcome::Handled
            }
            // Not acknowledged, so that it comes again.
            Err(SignalRefusal::Busy) => {
                self.signalling.inbox.retract(seq);
                Outcome::Refused(SignalRefusal::Busy)
            }
            Err(reason) => {
                ctx.envelopes.extend(ack);
                Outcome::Refused(reason)
            }
        }
    }

    /// An offer of another session than ours.
    fn on_other_offer(&mut self, offer: Envelope, ctx: &mut Context, now: Instant) -> Outcome {
        let Body::Offer { replaces, .. } = offer.body else {
            return Outcome::NotOurs(offer);
        };
        let decision =
            self.signalling.negotiation.on_offer(offer.session, offer.generation, replaces, now);
        match decision {
            Decision::Answer { took, .. } => {
                self.yield_to(offer, took, ctx, now);
                Outcome::Handled
            }
            Decision::Await { .. } => {
                self.bury(replaces, ctx);
                self.on_fact(Fact::Replaced, ctx, now);
                Outcome::Replaced(offer)
            }
            Decision::Ignore(SignalRefusal::Busy) => Outcome::Refused(SignalRefusal::Busy),
            Decision::Ignore(reason) => {
                ctx.envelopes.extend(offer.ack());
                ctx.given_up.push((offer.session, self.id));
                Outcome::Refused(reason)
            }
            Decision::Offer { .. }
            | Decision::OfferRestart { .. }
            | Decision::AskForRestart { .. }
            | Decision::AnswerRestart { .. }
            | Decision::Complete { .. }
            | Decision::Refuse { .. }
            | Decision::UnderWay
            | Decision::TooSoon { .. } => Outcome::Refused(SignalRefusal::Stale),
        }
    }

    /// The glare is lost: drops our own attempt and answers the peer's.
    fn yield_to(&mut self, offer: Envelope, took: Duration, ctx: &mut Context, now: Instant) {
        ctx.given_up.push((self.signalling.session, self.id));
        let rng = self.rng.split();
        let signalling = &mut self.signalling;
        signalling.session = offer.session;
        signalling.outbox = Outbox::new(self.own, self.id, offer.session, &ctx.config, rng);
        signalling.inbox = Inbox::new();
        signalling.inbox.accept(offer.seq);
        signalling.early.clear();
        signalling.heard = true;
        ctx.envelopes.extend(offer.ack());
        ctx.events.push_back(Event::SignalReceived { peer: self.id, kind: SignalKind::Offer });
        self.begin_session(ctx, now);
        self.answer(offer, took, ctx, now);
    }

    fn on_restart_offer(
        &mut self,
        offer: Envelope,
        ctx: &mut Context,
        now: Instant,
    ) -> Result<(), SignalRefusal> {
        let Body::Offer { replaces, .. } = offer.body else {
            return Ok(());
        };
        let decision =
            self.signalling.negotiation.on_offer(offer.session, offer.generation, replaces, now);
        match decision {
            Decision::AnswerRestart { generation, .. } => {
                self.signalling.outbox.drop_where(|e| is_superseded_by_restart(e, generation));
                self.metrics.restarts += 1;
                self.answer(offer, Duration::ZERO, ctx, now);
                Ok(())
            }
            Decision::Ignore(reason) => Err(reason),
            Decision::Offer { .. }
            | Decision::OfferRestart { .. }
            | Decision::AskForRestart { .. }
            | Decision::Await { .. }
            | Decision::Answer { .. }
            | Decision::Complete { .. }
            | Decision::Refuse { .. }
            | Decision::UnderWay
            | Decision::TooSoon { .. } => Err(SignalRefusal::Stale),
        }
    }

    fn on_answer(
        &mut self,
        answer: Envelope,
        ctx: &mut Context,
        now: Instant,
    ) -> Result<(), SignalRefusal> {
        let Body::Answer { sdp, replaces, bowline } = answer.body else {
            return Ok(());
        };
        let decision =
            self.signalling.negotiation.on_answer(answer.session, answer.generation, now);
        let Decision::Complete { generation, took, .. } = decision else {
            return Err(match decision {
                Decision::Ignore(reason) => reason,
                _ => SignalRefusal::Stale,
            });
        };
        self.bury(replaces, ctx);
        let applied = self.read(&sdp, Role::Answer).and_then(|remote| {
            let session = self.session.as_mut().ok_or(NegotiationFault::Unsupported)?;
            session.accept_answer(&sdp, now)?;
            Ok(remote)
        });
        match applied {
            Ok(remote) => self.on_negotiated(remote, bowline, generation, took, ctx, now),
            Err(fault) => self.on_negotiation_failed(fault, ctx, now),
        }
        Ok(())
    }

    fn on_restart_request(
        &mut self,
        generation: Generation,
        ctx: &mut Context,
        now: Instant,
    ) -> Result<(), SignalRefusal> {
        let session = self.signalling.session;
        match self.signalling.negotiation.on_restart_request(session, generation, now) {
            Decision::OfferRestart { generation, .. } => {
                self.signalling.outbox.drop_where(|e| is_superseded_by_restart(e, generation));
                self.metrics.restarts += 1;
                self.send_offer(generation, ctx, now);
                Ok(())
            }
            Decision::Ignore(reason) => Err(reason),
            Decision::UnderWay => Ok(()),
            Decision::Offer { .. }
            | Decision::AskForRestart { .. }
            | Decision::Await { .. }
            | Decision::Answer { .. }
            | Decision::AnswerRestart { .. }
            | Decision::Complete { .. }
            | Decision::Refuse { .. }
            | Decision::TooSoon { .. } => Err(SignalRefusal::Stale),
        }
    }

    fn on_bye(&mut self, reason: ByeReason, ctx: &mut Context, now: Instant) {
        // It knows; nothing has to be repeated to it.
        self.signalling.said_bye = true;
        let cause = match reason {
            ByeReason::Closed | ByeReason::Failed => Cause::RemoteClose,
            ByeReason::Refused => Cause::PeerRefused,
            ByeReason::Busy => Cause::PeerBusy,
            ByeReason::UnknownSession => Cause::PeerForgot,
        };
        self.on_fact(Fact::Bye(cause), ctx, now);
    }

    /// Takes a candidate or the end of them. Returns false when there is no room to keep it.
    fn on_candidate(&mut self, envelope: Envelope, ctx: &mut Context, now: Instant) -> bool {
        let current = self.signalling.remote.as_ref().map(|remote| remote.ufrag.clone());
        let seq = envelope.seq;
        match &envelope.body {
            Body::Candidate { candidate, ufrag } if current.as_ref() == Some(ufrag) => {
                if self.signalling.end_of_candidates.is_some_and(|end| seq > end) {
                    self.ignore_candidate(CandidateRefusal::AfterEnd, ctx);
                } else {
                    self.add_candidate(&candidate.clone(), ctx, now);
                }
            }
            Body::EndOfCandidates { ufrag } if current.as_ref() == Some(ufrag) => {
                self.signalling.end_of_candidates.get_or_insert(seq);
            }
            Body::Candidate { .. } | Body::EndOfCandidates { .. } => {
                return self.keep_early(envelope, ctx);
            }
            Body::Offer { .. }
            | Body::Answer { .. }
            | Body::IceRestart
            | Body::Bye { .. }
            | Body::Ack { .. } => {}
        }
        true
    }

    /// A candidate of another description: one to come, unless its generation is over.
    fn keep_early(&mut self, envelope: Envelope, ctx: &mut Context) -> bool {
        let over = self.signalling.remote.is_some()
            && envelope.generation <= self.signalling.negotiation.generation()
            && self.session.as_ref().is_none_or(|s| s.ufrags().pending.is_none());
        if over {
            self.ignore_candidate(CandidateRefusal::Generation, ctx);
            return true;
        }
        if self.signalling.early.len() >= ctx.config.limits.max_candidates {
            self.ignore_candidate(CandidateRefusal::TooMany, ctx);
            return false;
        }
        self.signalling.early.push_back(envelope);
        true
    }

    fn send_offer(&mut self, generation: Generation, ctx: &mut Context, now: Instant) {
        let Some(sdp) = self.session.as_mut().and_then(|session| session.create_offer(now)) else {
            return self.on_negotiation_failed(NegotiationFault::Unsupported, ctx, now);
        };
        let replaces = self.signalling.negotiation.replaces();
        let bowline = Some(capabilities(&ctx.config));
        self.push(generation, Body::Offer { sdp, replaces, bowline }, ctx, now);
    }

    /// Applies an offer and answers it.
    fn answer(&mut self, offer: Envelope, took: Duration, ctx: &mut Context, now: Instant) {
        let Body::Offer { sdp, bowline, .. } = offer.body else {
            return;
        };
        let applied = self.read(&sdp, Role::Offer).and_then(|remote| {
            let session = self.session.as_mut().ok_or(NegotiationFault::Unsupported)?;
            Ok((remote, session.accept_offer(&sdp, now)?))
        });
        match applied {
            Ok((remote, sdp)) => {
                let replaces = self.signalling.negotiation.replaces();
                let ours = Some(capabilities(&ctx.config));
                self.push(offer.generation, Body::Answer { sdp, replaces, bowline: ours }, ctx, now);
                self.on_negotiated(remote, bowline, offer.generation, took, ctx, now);
            }
            Err(fault) => self.on_negotiation_failed(fault, ctx, now),
        }
    }

    fn read(&self, sdp: &str, role: Role) -> Result<Remote, NegotiationFault> {
        let description = Description::parse(sdp).map_err(sdp::SdpError::negotiation_fault)?;
        sdp::validate(&description, role, self.signalling.remote.as_ref())
            .map_err(sdp::SdpError::negotiation_fault)
    }

    /// Both descriptions of a generation are applied.
    fn on_negotiated(
        &mut self,
        remote: Remote,
        bowline: Option<Capabilities>,
        generation: Generation,
        took: Duration,
        ctx: &mut Context,
        now: Instant,
    ) {
        let (peer, session) = (self.id, self.signalling.session);
        ctx.events.push_back(Event::NegotiationDone { peer, session, generation, took });
        let policy = AddressPolicy::new(&ctx.config.transport);
        let max = ctx.config.limits.max_candidates;
        let lines = remote.candidates.clone();
        let ended = remote.end_of_candidates;
        let limit = remote.max_message_size;
        let first = self.signalling.remote.is_none();
        self.signalling.candidates = Some(RemoteCandidates::new(policy, &remote.ufrag, max));
        self.signalling.end_of_candidates = None;
        self.signalling.remote = Some(remote);
        if first {
            match bowline {
                Some(Capabilities { max_message_size, .. }) => {
                    self.start_channels(Framing::Bowline, max_message_size, now);
                }
                None => self.start_channels(Framing::Plain, limit, now),
            }
        }
        for line in lines {
            self.add_candidate(&line, ctx, now);
        }
        if ended && let Some(candidates) = &mut self.signalling.candidates {
            candidates.end();
        }
        for early in std::mem::take(&mut self.signalling.early) {
            self.on_candidate(early, ctx, now);
        }
        self.on_fact(Fact::Progress(Phase::Checks), ctx, now);
    }

    fn on_negotiation_failed(&mut self, reason: NegotiationFault, ctx: &mut Context, now: Instant) {
        tracing::debug!(peer = %self.id, %reason, "negotiation failed");
        ctx.events.push_back(Event::NegotiationFailed { peer: self.id, reason });
        self.on_fact(Fact::NegotiationFailed(reason), ctx, now);
    }

    fn add_candidate(&mut self, line: &str, ctx: &mut Context, now: Instant) {
        let Some(candidates) = &mut self.signalling.candidates else {
            return;
        };
        let accepted = match candidates.admit(line) {
            Ok(accepted) => accepted,
            Err(reason) => return self.ignore_candidate(reason, ctx),
        };
        let added = self
            .session
            .as_mut()
            .is_some_and(|s| s.add_remote_candidate(&accepted.candidate.to_string(), now));
        if !added {
            return self.ignore_candidate(CandidateRefusal::Malformed, ctx);
        }
        let (peer, side, address) = (self.id, Side::Remote, accepted.address);
        ctx.events.push_back(Event::CandidateAdded { peer, side, address });
    }

    fn ignore_candidate(&self, reason: CandidateRefusal, ctx: &mut Context) {
        ctx.events.push_back(Event::CandidateIgnored { peer: self.id, reason });
    }

    fn push(&mut self, generation: Generation, body: Body, ctx: &mut Context, now: Instant) {
        if self.signalling.outbox.push(generation, body, now).is_err() {
            // As many messages as may wait are unacknowledged: the peer cannot be reached, and the deadline of the
            // phase will say so.
            tracing::warn!(peer = %self.id, "too many unacknowledged signalling messages");
        }
        self.drive_outbox(ctx, now);
    }

    /// A session that the peer has given up can do nothing any more.
    fn bury(&self, session: Option<SessionId>, ctx: &mut Context) {
        ctx.given_up.extend(session.map(|session| (session, self.id)));
    }
}

/// Whether a message that is not acknowledged yet means nothing after a restart.
fn is_superseded_by_restart(envelope: &Envelope, generation: Generation) -> bool {
    envelope.generation < generation
        && match envelope.body {
            Body::Offer { .. }
            | Body::Answer { .. }
            | Body::Candidate { .. }
            | Body::EndOfCandidates { .. }
            | Body::IceRestart => true,
            Body::Bye { .. } | Body::Ack { .. } => false,
        }
}

fn capabilities(config: &Config) -> Capabilities {
    Capabilities {
        version: CHANNEL_PROTOCOL,
        max_message_size: config.channels.max_message_size as u64,
    }
}

/// The version of the frames in `channel/frame.rs`.
const CHANNEL_PROTOCOL: u32 = 1;
