//! Offers, answers, candidates and farewells of one peer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::state::{Fact, Life};
use super::taped::Ufrags;
use super::{Context, Outcome, Peer};
use crate::channel::{Continuity, Framing};
use crate::config::Config;
use crate::event::{
    CandidateRefusal, Cause, Event, NegotiationFault, Phase, Rung, Side, SignalKind, SignalRefusal,
};
use crate::ice::gather::LocalCandidate;
use crate::ice::{AddressPolicy, Admitted, RemoteCandidates};
use crate::id::{ChannelsId, Generation, PeerId, SessionId};
use crate::rng::Rng;
use crate::sdp::{Change, Description, Remote, Rewrite, Role, SdpError};
use crate::signal::{
    Acceptance, Body, ByeReason, Capabilities, Decision, EarlyCandidate, Envelope, Inbox,
    Negotiation, Outbox,
};
use crate::time::UnixTime;

/// What a peer keeps of its signalling.
pub(super) struct Signalling {
    session: SessionId,
    /// That of the last offer or answer of ours.
    generation: Generation,
    negotiation: Negotiation,
    outbox: Outbox,
    inbox: Inbox,
    /// Our channels, once they have begun.
    channels: Option<ChannelsId>,
    /// The offer that waits for the application.
    offered: Option<Envelope>,
    /// Our offer that waits for its answer.
    pending: Option<Description>,
    /// The peer's last description.
    remote: Option<Remote>,
    pub(super) candidates: Option<RemoteCandidates>,
    /// Whether we have said the end of our candidates in this generation.
    said_end: bool,
    /// The number of the peer's end-of-candidates: a later candidate is none of this generation.
    end_of_candidates: Option<u64>,
    said_bye: bool,
    /// When the peer sent the last numbered message of this session that came, by its own clock.
    seen_at: Option<UnixTime>,
    /// Whether the peer has said, without a number, that it does not know this session.
    denied: bool,
    /// How many messages in the peer's name nobody could open, and what was wrong with the last one.
    unopened: (u64, Option<SignalRefusal>),
}

impl Signalling {
    pub(super) fn new(
        own: PeerId,
        peer: PeerId,
        session: SessionId,
        rng: &mut Rng,
        ctx: &Context,
    ) -> Self {
        Self {
            session,
            generation: Generation::default(),
            negotiation: Negotiation::new(own, peer, ctx.ended.with(peer)),
            outbox: Outbox::new(own, peer, session, &ctx.config, rng.split()),
            inbox: Inbox::new(),
            channels: None,
            offered: None,
            pending: None,
            remote: None,
            candidates: None,
            said_end: false,
            end_of_candidates: None,
            said_bye: false,
            seen_at: None,
            denied: false,
            unopened: (0, None),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.outbox.poll_timeout()
    }

    /// Nothing is sent from now on, or all that is not acknowledged.
    pub(super) fn hold(&mut self, held: bool, now: Instant) {
        self.outbox.set_held(held, now);
    }

    /// Whether nothing is sent.
    pub(super) fn is_held(&self) -> bool {
        self.outbox.is_held()
    }

    /// Messages that the peer has not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        self.outbox.len()
    }

    /// How many messages in the peer's name were refused for their protection, and what was wrong with the last one.
    pub(super) fn unopened(&self) -> Option<(u64, SignalRefusal)> {
        let (count, last) = self.unopened;
        last.map(|last| (count, last))
    }

    pub(super) fn said_bye(&self) -> bool {
        self.said_bye
    }

    /// A message of the session came. One without a number may be of a peer that has left the session.
    fn see(&mut self, envelope: &Envelope) {
        if envelope.seq > 0 {
            self.seen_at = envelope.sent_at.max(self.seen_at);
        }
    }

    /// What the peer's answers to our checks are made with.
    pub(super) fn remote_password(&self) -> Option<&str> {
        self.remote.as_ref().map(Remote::pwd)
    }

    /// Whether the peer has named an address of IPv4 that may be used, and one of IPv6.
    pub(super) fn families(&self) -> (bool, bool) {
        let candidates = self.candidates.as_ref();
        candidates.map_or((false, false), RemoteCandidates::families)
    }
}

impl Peer {
    pub(crate) fn session(&self) -> SessionId {
        self.signalling.session
    }

    /// All sessions with this peer of which something may still come.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        let past = self.signalling.negotiation.past().iter().copied();
        past.chain([self.signalling.session])
    }

    /// Whether the peer has announced this address as a candidate.
    pub(crate) fn has_named(&self, address: SocketAddr) -> bool {
        self.signalling
            .candidates
            .as_ref()
            .is_some_and(|candidates| candidates.contains(address))
    }

    pub(crate) fn is_offered(&self) -> bool {
        self.lifecycle.life() == Life::Offered
    }

    /// The user name fragments under which checks of the peer arrive.
    pub(crate) fn ufrags(&self) -> [Option<&str>; 2] {
        self.session.as_ref().map_or([None, None], |session| {
            let Ufrags { current, pending } = session.ufrags();
            [
                Some(current),
                pending.as_deref().filter(|pending| pending != current),
            ]
        })
    }

    /// Takes a message from the peer.
    pub(crate) fn on_envelope(
        &mut self,
        envelope: Envelope,
        ctx: &mut Context,
        now: Instant,
    ) -> Outcome {
        if envelope.session != self.signalling.session {
            if self.is_overtaken(&envelope, ctx.keyed) {
                // Not acknowledged: should the peer's clock have been set back, it comes again.
                return Outcome::Refused(SignalRefusal::Stale);
            }
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
        if self.is_outdated(&envelope) {
            return Outcome::Refused(SignalRefusal::Stale);
        }
        let is_unnumbered_denial = is_denial(&envelope) && envelope.seq == 0;
        if is_unnumbered_denial && std::mem::replace(&mut self.signalling.denied, true) {
            return Outcome::Duplicate;
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

    /// Whether it denies a session in which the peer was seen after it had sent that. A denial has no number: whoever
    /// carries signals could keep one from before the peer knew the session, and end it with that.
    fn is_outdated(&mut self, envelope: &Envelope) -> bool {
        if is_denial(envelope) {
            let Signalling { seen_at, .. } = &self.signalling;
            return envelope.sent_at.is_some() && envelope.sent_at < *seen_at;
        }
        self.signalling.see(envelope);
        false
    }

    /// Whether it is the first offer of another session, which knows nothing of this one, and the peer was seen in this one
    /// since it sent that. The process that made the offer may be gone, so that nobody can say that it is over. Where the
    /// connection is lost, the peer's clock may as well be another one than before; but what a key has signed is nobody's to
    /// choose the moment for.
    fn is_overtaken(&self, envelope: &Envelope, keyed: bool) -> bool {
        let Signalling {
            session, seen_at, ..
        } = &self.signalling;
        let Body::Offer { replaces, .. } = &envelope.body else {
            return false;
        };
        let knows_this = replaces.contains(session);
        let is_first = envelope.generation == Generation::default() && !knows_this;
        let is_lost = self.lifecycle.life() == Life::Disconnected && !keyed;
        let is_first = is_first && !planted!(ReplacesUnsaid);
        is_first && !is_lost && envelope.sent_at.is_some() && envelope.sent_at <= *seen_at
    }

    /// A message in the peer's name could not be opened.
    pub(crate) fn on_unopened(&mut self, reason: SignalRefusal) {
        let (count, _) = self.signalling.unopened;
        self.signalling.unopened = (count + 1, Some(reason));
    }

    /// The peer acknowledged the farewell that outlives this session.
    pub(crate) fn on_farewell_acknowledged(&mut self, ctx: &mut Context, now: Instant) {
        self.on_fact(Fact::FarewellAnswered, ctx, now);
    }

    /// Begins an ICE restart, or asks the peer for one.
    pub(crate) fn restart_ice(&mut self, ctx: &mut Context, now: Instant) {
        match self.lifecycle.life() {
            Life::Connecting(_) | Life::Connected | Life::Disconnected => {}
            Life::Offered | Life::Draining { .. } | Life::Leaving { .. } | Life::Ended(_) => return,
        }
        let decision = self.signalling.negotiation.on_restart_wanted(now);
        match decision {
            Decision::TooSoon { until } if self.lifecycle.life() == Life::Disconnected => {
                self.ladder.postpone(until);
            }
            Decision::TooSoon { until } => {
                self.next_restart = Some(self.next_restart.map_or(until, |at| at.max(until)));
            }
            // The descriptions are being exchanged: what was wanted is wanted after it.
            Decision::UnderWay => self.restart_when_negotiated = true,
            _ => {}
        }
        self.carry_out_restart(decision, ctx, now);
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
        let Body::Offer { replaces, .. } = &offer.body else {
            return;
        };
        self.signalling
            .negotiation
            .handle_offer(offer.session, offer.generation, replaces, now);
        self.signalling.inbox.accept(offer.seq);
        self.signalling.see(&offer);
        // Copies of what came before the offer are copies.
        for seq in ctx.early.kept(self.id, offer.session) {
            self.signalling.inbox.accept(seq);
        }
        self.bury(replaces, offer.session, ctx);
        ctx.envelopes.extend(offer.ack());
        let (peer, session) = (self.id, offer.session);
        ctx.events.push_back(Event::SignalReceived {
            peer,
            kind: SignalKind::Offer,
        });
        // Who is in one of our rooms is accepted without a question.
        let is_welcome = ctx.mesh.knows(peer);
        if let Some(deadline) = self.lifecycle.deadline().filter(|_| !is_welcome) {
            ctx.events.push_back(Event::Incoming {
                peer,
                session,
                deadline,
            });
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
            self.answer(&offer, took, ctx, now);
        }
    }

    /// Whether an offer waited, which is refused now.
    pub(super) fn refuse_waiting_offer(&mut self) -> bool {
        matches!(
            self.signalling.negotiation.on_refuse(),
            Decision::Refuse { .. }
        )
    }

    /// Announces a candidate of ours that appeared after the description. Returns false when none may follow, as the end
    /// of this generation's was said (RFC 8838 section 13).
    pub(super) fn send_candidate(
        &mut self,
        candidate: String,
        ctx: &mut Context,
        now: Instant,
    ) -> bool {
        if self.signalling.said_end {
            return false;
        }
        if strips(&ctx.config.sdp.sent, &candidate) {
            return true;
        }
        if let Some(ufrag) = self.announced_ufrag() {
            let generation = self.signalling.generation;
            self.push(generation, Body::Candidate { candidate, ufrag }, ctx, now);
        }
        true
    }

    /// All our candidates are gathered: says so, once in a generation.
    pub(crate) fn on_gathered(&mut self, ctx: &mut Context, now: Instant) {
        if self.signalling.said_end || self.signalling.said_bye || self.state().is_terminal() {
            return;
        }
        if let Some(ufrag) = self.announced_ufrag() {
            self.signalling.said_end = true;
            let generation = self.signalling.generation;
            self.push(generation, Body::EndOfCandidates { ufrag }, ctx, now);
        }
    }

    /// The user name fragment of our last description.
    fn announced_ufrag(&self) -> Option<String> {
        let Ufrags { current, pending } = self.session.as_ref()?.ufrags();
        Some(pending.as_ref().unwrap_or(current).clone())
    }

    /// Ends the session in the eyes of the peer. The message is repeated after this peer is gone.
    pub(super) fn say_bye(&mut self, reason: ByeReason, ctx: &mut Context) {
        if self.signalling.said_bye {
            return;
        }
        self.signalling.said_bye = true;
        let generation = self.signalling.generation;
        ctx.byes
            .push(self.signalling.outbox.farewell(generation, reason));
        ctx.events.push_back(Event::SignalSent {
            peer: self.id,
            kind: SignalKind::Bye,
        });
    }

    /// The link is up or down. An attempt whose messages may be lost by that is not spent.
    pub(crate) fn on_signalling(&mut self, ctx: &mut Context, now: Instant) {
        if self.state().is_terminal() {
            return;
        }
        let down = ctx.is_out_of_reach(self.id);
        self.signalling.hold(down, now);
        self.ladder.set_waits(down);
        if down && self.signalling.unacknowledged() > 0 {
            self.ladder.postpone(now);
        }
        self.drive_outbox(ctx, now);
    }

    /// Hands out what is due.
    pub(super) fn drive_outbox(&mut self, ctx: &mut Context, now: Instant) {
        while let Some(dispatch) = self.signalling.outbox.poll(now) {
            if dispatch.first {
                let kind = dispatch.envelope.kind();
                ctx.events.push_back(Event::SignalSent {
                    peer: self.id,
                    kind,
                });
            }
            ctx.envelopes.push_back(dispatch.envelope.clone());
        }
    }

    fn on_ack(&mut self, seq: u64, ctx: &mut Context, now: Instant) {
        let acknowledged = self.signalling.outbox.on_ack(seq);
        if acknowledged.is_some_and(|a| a.kind == SignalKind::Offer) {
            self.on_fact(Fact::Progress(Phase::Answer), ctx, now);
        }
    }

    /// A numbered message of this session that did not come before.
    fn on_fresh(&mut self, envelope: Envelope, ctx: &mut Context, now: Instant) -> Outcome {
        let (kind, ack, seq) = (envelope.kind(), envelope.ack(), envelope.seq);
        let used = match &envelope.body {
            Body::Offer { .. } => self.on_restart_offer(envelope, ctx, now),
            Body::Answer { .. } => self.on_answer(&envelope, ctx, now),
            Body::Candidate { .. } | Body::EndOfCandidates { .. } => {
                if self.on_candidate(&envelope, ctx, now) {
                    Ok(())
                } else {
                    Err(Unused::Later)
                }
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
                    ctx.events.push_back(Event::SignalReceived {
                        peer: self.id,
                        kind,
                    });
                }
                Outcome::Handled
            }
            // Not acknowledged, so that it comes again.
            Err(Unused::Later) => {
                self.signalling.inbox.retract(seq);
                Outcome::Deferred
            }
            Err(Unused::Refused(reason)) => {
                ctx.envelopes.extend(ack);
                Outcome::Refused(reason)
            }
        }
    }

    /// An offer of another session than ours.
    fn on_other_offer(&mut self, offer: Envelope, ctx: &mut Context, now: Instant) -> Outcome {
        let Body::Offer { replaces, .. } = &offer.body else {
            return Outcome::NotOurs(offer);
        };
        // A decision cannot be taken back, so a description that is of no use must not cause one.
        if let Err(unusable) = self.read(&offer, Role::Offer, &ctx.config) {
            ctx.envelopes.extend(offer.ack());
            ctx.given_up.push((offer.session, self.id));
            self.tell_unusable(unusable, ctx);
            return Outcome::Handled;
        }
        let decision = self.signalling.negotiation.handle_offer(
            offer.session,
            offer.generation,
            replaces,
            now,
        );
        match decision {
            Decision::Answer { took, .. } => {
                self.yield_to(offer, took, ctx, now);
                Outcome::Handled
            }
            Decision::Await { .. } if self.goes_on_in(&offer) => {
                self.bury(replaces, offer.session, ctx);
                let decision = self.signalling.negotiation.on_accept(now);
                if let Decision::Answer { took, .. } = decision {
                    self.on_rebuild_offered(ctx, now);
                    self.yield_to(offer, took, ctx, now);
                }
                Outcome::Handled
            }
            Decision::Await { .. } => {
                self.bury(replaces, offer.session, ctx);
                self.on_fact(Fact::Replaced, ctx, now);
                Outcome::Replaced(offer)
            }
            // A restart of a session that we do not have.
            Decision::Ignore(SignalRefusal::UnknownSession) => Outcome::NotOurs(offer),
            other => match unused(other) {
                Err(Unused::Later) | Ok(()) => Outcome::Deferred,
                Err(Unused::Refused(reason)) => {
                    ctx.envelopes.extend(offer.ack());
                    ctx.given_up.push((offer.session, self.id));
                    Outcome::Refused(reason)
                }
            },
        }
    }

    /// Whether an offer builds a new transport for the channels that we have.
    fn goes_on_in(&self, offer: &Envelope) -> bool {
        let is_open = match self.lifecycle.life() {
            Life::Connecting(_) | Life::Connected | Life::Disconnected => true,
            Life::Offered | Life::Draining { .. } | Life::Leaving { .. } | Life::Ended(_) => false,
        };
        is_open && self.resumed(offer).is_some()
    }

    /// The channels that an offer goes on with, if they are ours.
    fn resumed(&self, offer: &Envelope) -> Option<ChannelsId> {
        match &offer.body {
            Body::Offer { channels, .. } => channels.filter(|channels| {
                planted!(ResumesUnknown) || self.signalling.channels == Some(*channels)
            }),
            _ => None,
        }
    }

    /// Our own offer gives way: answers the peer's in its place.
    fn yield_to(&mut self, offer: Envelope, took: Duration, ctx: &mut Context, now: Instant) {
        self.begin_other_session(offer.session, ctx, now);
        self.signalling.inbox.accept(offer.seq);
        self.signalling.see(&offer);
        ctx.envelopes.extend(offer.ack());
        ctx.events.push_back(Event::SignalReceived {
            peer: self.id,
            kind: SignalKind::Offer,
        });
        self.begin_session(ctx, now);
        self.answer(&offer, took, ctx, now);
    }

    /// Leaves the session for another one. What was queued for the peer stays queued.
    fn begin_other_session(&mut self, session: SessionId, ctx: &mut Context, now: Instant) {
        ctx.given_up.push((self.signalling.session, self.id));
        let rng = self.rng.split();
        let signalling = &mut self.signalling;
        signalling.session = session;
        signalling.generation = Generation::default();
        signalling.outbox = Outbox::new(self.own, self.id, session, &ctx.config, rng);
        signalling.hold(ctx.is_out_of_reach(self.id), now);
        signalling.inbox = Inbox::new();
        signalling.pending = None;
        signalling.remote = None;
        signalling.candidates = None;
        signalling.end_of_candidates = None;
        signalling.said_end = false;
        signalling.seen_at = None;
        signalling.denied = false;
    }

    fn on_restart_offer(
        &mut self,
        offer: Envelope,
        ctx: &mut Context,
        now: Instant,
    ) -> Result<(), Unused> {
        let Body::Offer { replaces, .. } = &offer.body else {
            return Ok(());
        };
        if let Err(unusable) = self.read(&offer, Role::Offer, &ctx.config) {
            self.tell_unusable(unusable, ctx);
            return Ok(());
        }
        let decision = self.signalling.negotiation.handle_offer(
            offer.session,
            offer.generation,
            replaces,
            now,
        );
        let Decision::AnswerRestart { generation, .. } = decision else {
            return unused(decision);
        };
        self.signalling
            .outbox
            .drop_where(|e| is_superseded_by_restart(e, generation));
        self.metrics.restarts += 1;
        if self.lifecycle.life() == Life::Disconnected {
            let config = &ctx.config.reconnect;
            self.ladder.on_helped(Rung::IceRestart, config, now);
        }
        self.answer(&offer, Duration::ZERO, ctx, now);
        Ok(())
    }

    fn on_answer(
        &mut self,
        answer: &Envelope,
        ctx: &mut Context,
        now: Instant,
    ) -> Result<(), Unused> {
        let Body::Answer {
            replaces,
            channels,
            bowline,
            ..
        } = &answer.body
        else {
            return Ok(());
        };
        let read = self.read(answer, Role::Answer, &ctx.config);
        let Envelope {
            session,
            generation,
            ..
        } = *answer;
        let decision = self
            .signalling
            .negotiation
            .handle_answer(session, generation, replaces, now);
        let Decision::Complete {
            generation, took, ..
        } = decision
        else {
            return unused(decision);
        };
        self.bury(replaces, session, ctx);
        self.signalling.pending = None;
        // What is answered has come, and must not be repeated: a process that follows the peer's would take it for new.
        self.signalling
            .outbox
            .drop_where(|e| matches!(e.body, Body::Offer { .. }) && e.generation <= generation);
        let applied = read.and_then(|(remote, changes)| {
            let session = self.session.as_mut().ok_or(NegotiationFault::Unsupported)?;
            session.accept_answer(remote.text(), now)?;
            Ok((remote, changes))
        });
        match applied {
            Ok((remote, changes)) => {
                self.tell_rewritten(Side::Remote, changes, ctx);
                let agreement = (*bowline, *channels);
                self.on_negotiated(remote, agreement, generation, took, ctx, now);
            }
            Err(unusable) => self.on_negotiation_failed(unusable, ctx, now),
        }
        Ok(())
    }

    fn on_restart_request(
        &mut self,
        generation: Generation,
        ctx: &mut Context,
        now: Instant,
    ) -> Result<(), Unused> {
        let session = self.signalling.session;
        let decision = self
            .signalling
            .negotiation
            .handle_restart_request(session, generation, now);
        self.carry_out_restart(decision, ctx, now);
        unused(decision)
    }

    fn carry_out_restart(&mut self, decision: Decision, ctx: &mut Context, now: Instant) {
        match decision {
            Decision::OfferRestart { generation, .. } => {
                self.signalling
                    .outbox
                    .drop_where(|e| is_superseded_by_restart(e, generation));
                self.metrics.restarts += 1;
                self.send_offer(generation, ctx, now);
            }
            Decision::AskForRestart { generation, .. } => {
                self.forget_restart_requests();
                self.push(generation, Body::IceRestart, ctx, now);
            }
            Decision::Offer { .. }
            | Decision::Await { .. }
            | Decision::Answer { .. }
            | Decision::AnswerRestart { .. }
            | Decision::Complete { .. }
            | Decision::Refuse { .. }
            | Decision::UnderWay
            | Decision::TooSoon { .. }
            | Decision::Defer
            | Decision::Ignore(_) => {}
        }
    }

    /// A request for a restart that is not needed any more must not be repeated.
    pub(super) fn forget_restart_requests(&mut self) {
        self.signalling
            .outbox
            .drop_where(|e| matches!(e.body, Body::IceRestart));
    }

    fn on_bye(&mut self, reason: ByeReason, ctx: &mut Context, now: Instant) {
        self.signalling.negotiation.on_bye(self.signalling.session);
        // Nothing was agreed yet: our offer came to a peer that had left the session, or never knew it.
        let nothing_agreed = self.signalling.remote.is_none();
        if reason == ByeReason::UnknownSession
            && nothing_agreed
            && matches!(self.lifecycle.life(), Life::Connecting(_))
        {
            return self.connect_afresh(ctx, now);
        }
        if reason == ByeReason::UnknownSession
            && self.on_transport_lost(Cause::PeerForgot, ctx, now)
        {
            return;
        }
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

    /// Begins another session in the time that is left.
    pub(super) fn connect_afresh(&mut self, ctx: &mut Context, now: Instant) {
        let fresh = SessionId::random(&mut self.rng);
        self.signalling.negotiation.on_connect(fresh, now);
        self.begin_other_session(fresh, ctx, now);
        self.begin_session(ctx, now);
        self.send_offer(Generation(0), ctx, now);
    }

    /// Takes a candidate or the end of them. Returns false when there is no room to keep it.
    fn on_candidate(&mut self, envelope: &Envelope, ctx: &mut Context, now: Instant) -> bool {
        let Some(candidate) = EarlyCandidate::of(envelope) else {
            return true;
        };
        let is_current = self
            .signalling
            .remote
            .as_ref()
            .is_some_and(|remote| remote.ufrag() == candidate.ufrag);
        if is_current {
            self.use_candidate(candidate, ctx, now);
            return true;
        }
        // Of another description: one to come, unless its generation is over.
        let waits_for_description = self
            .session
            .as_ref()
            .is_none_or(|session| session.ufrags().pending.is_some());
        let is_over = self.signalling.remote.is_some()
            && !waits_for_description
            && envelope.generation <= self.signalling.generation;
        if is_over {
            self.ignore_candidate(CandidateRefusal::Generation, ctx);
            return true;
        }
        let kept = ctx.early.store(self.id, envelope.session, candidate, now);
        if !kept {
            self.ignore_candidate(CandidateRefusal::TooMany, ctx);
        }
        kept
    }

    fn use_candidate(&mut self, candidate: EarlyCandidate, ctx: &mut Context, now: Instant) {
        let EarlyCandidate { seq, candidate, .. } = candidate;
        let Some(line) = candidate else {
            self.signalling.end_of_candidates.get_or_insert(seq);
            return;
        };
        if strips(&ctx.config.sdp.received, &line) {
            return self.ignore_candidate(CandidateRefusal::Filtered, ctx);
        }
        if self
            .signalling
            .end_of_candidates
            .is_some_and(|end| seq > end)
        {
            return self.ignore_candidate(CandidateRefusal::AfterEnd, ctx);
        }
        self.add_candidate(&line, ctx, now);
    }

    fn send_offer(&mut self, generation: Generation, ctx: &mut Context, now: Instant) {
        self.begin_generation(generation, ctx, now);
        let made = self
            .session
            .as_mut()
            .and_then(|session| session.create_offer(ctx.gathered, now))
            .ok_or(NegotiationFault::Unsupported.into());
        let offer = match made.and_then(|sdp| self.rewrite_ours(&sdp, Role::Offer, ctx)) {
            Ok(offer) => offer,
            Err(unusable) => return self.on_negotiation_failed(unusable, ctx, now),
        };
        let sdp = offer.to_string();
        self.signalling.pending = Some(offer);
        let replaces = self.signalling.negotiation.replaces().to_vec();
        let channels = self.signalling.channels;
        let bowline = Some(capabilities(&ctx.config));
        self.push(
            generation,
            Body::Offer {
                sdp,
                replaces,
                channels: channels.filter(|_| generation == Generation(0)),
                bowline,
            },
            ctx,
            now,
        );
    }

    /// A description of ours follows: of what we have now, without what is not for new sessions and not in use.
    fn begin_generation(&mut self, generation: Generation, ctx: &Context, now: Instant) {
        self.signalling.generation = generation;
        self.signalling.said_end = ctx.gathered;
        // What was wanted for a late candidate, which is in this one.
        self.next_restart = None;
        let in_use = self.path.map(|path| path.local);
        let is_retired = |candidate: &&LocalCandidate| {
            ctx.retired.contains(&candidate.address) && in_use != Some(candidate.address)
        };
        for candidate in ctx.local.iter().filter(is_retired) {
            self.on_local_candidate_gone(*candidate, ctx, now);
        }
    }

    /// Applies an offer and answers it.
    fn answer(&mut self, offer: &Envelope, took: Duration, ctx: &mut Context, now: Instant) {
        let Body::Offer { bowline, .. } = &offer.body else {
            return;
        };
        self.begin_generation(offer.generation, ctx, now);
        let read = self.read(offer, Role::Offer, &ctx.config);
        let applied = read.and_then(|(remote, changes)| {
            let session = self.session.as_mut().ok_or(NegotiationFault::Unsupported)?;
            let answer = session.accept_offer(remote.text(), ctx.gathered, now)?;
            self.tell_rewritten(Side::Remote, changes, ctx);
            let answer = self.rewrite_ours(&answer, Role::Answer, ctx)?;
            Ok((remote, answer.to_string()))
        });
        match applied {
            Ok((remote, sdp)) => {
                let replaces = self.signalling.negotiation.replaces().to_vec();
                let ours = Some(capabilities(&ctx.config));
                let is_first = offer.generation == Generation(0);
                let kept = self.resumed(offer);
                let channels =
                    is_first.then(|| kept.unwrap_or_else(|| ChannelsId::random(&mut self.rng)));
                self.push(
                    offer.generation,
                    Body::Answer {
                        sdp,
                        replaces,
                        channels,
                        bowline: ours,
                    },
                    ctx,
                    now,
                );
                let agreement = (*bowline, channels);
                self.on_negotiated(remote, agreement, offer.generation, took, ctx, now);
            }
            Err(unusable) => self.on_negotiation_failed(unusable, ctx, now),
        }
    }

    /// Changes, reads and checks a description; one of our session against the one before, and an answer against our offer.
    fn read(
        &self,
        envelope: &Envelope,
        role: Role,
        config: &Config,
    ) -> Result<(Remote, Vec<Change>), Unusable> {
        let (Body::Offer { sdp, .. } | Body::Answer { sdp, .. }) = &envelope.body else {
            return Err(NegotiationFault::Malformed.into());
        };
        let is_ours = envelope.session == self.signalling.session;
        let previous = self.signalling.remote.as_ref().filter(|_| is_ours);
        let description = Description::parse(sdp)?;
        let (description, changes) = description.rewrite(role, &config.sdp.received)?;
        let mut remote = Remote::new(description, role, previous)?;
        if let (Role::Answer, Some(offer)) = (role, &self.signalling.pending) {
            remote = remote.answers(offer)?;
        }
        // The transport can verify no other.
        if !remote.has_sha256() {
            return Err(NegotiationFault::Fingerprint.into());
        }
        Ok((remote, changes))
    }

    /// A description of ours as it is sent.
    fn rewrite_ours(
        &self,
        text: &str,
        role: Role,
        ctx: &mut Context,
    ) -> Result<Description, Unusable> {
        let description = Description::parse(text)?;
        let (description, changes) = description.rewrite(role, &ctx.config.sdp.sent)?;
        self.tell_rewritten(Side::Local, changes, ctx);
        Ok(description)
    }

    fn tell_rewritten(&self, side: Side, changes: Vec<Change>, ctx: &mut Context) {
        if !changes.is_empty() {
            ctx.events.push_back(Event::DescriptionRewritten {
                peer: self.id,
                side,
                changes,
            });
        }
    }

    /// Both descriptions of a generation are applied.
    fn on_negotiated(
        &mut self,
        remote: Remote,
        (bowline, channels): (Option<Capabilities>, Option<ChannelsId>),
        generation: Generation,
        took: Duration,
        ctx: &mut Context,
        now: Instant,
    ) {
        let (peer, session) = (self.id, self.signalling.session);
        ctx.events.push_back(Event::NegotiationDone {
            peer,
            session,
            generation,
            took,
        });
        let policy = AddressPolicy::new(&ctx.config);
        let max = ctx.config.limits.max_candidates;
        let lines: Vec<String> = remote.candidates().map(str::to_owned).collect();
        let (ufrag, ended) = (remote.ufrag().to_owned(), remote.is_end_of_candidates());
        // Without limit is 0 to the channels, as in the description.
        let limit = remote.max_message_size().unwrap_or(0);
        let limit = usize::try_from(limit).unwrap_or(0);
        let first = self.signalling.remote.is_none();
        self.signalling.candidates =
            Some(RemoteCandidates::new(policy, &ufrag, max).filtered(ctx.filter.clone(), peer));
        self.signalling.end_of_candidates = None;
        self.signalling.remote = Some(remote);
        self.paths.on_generation(now);
        self.consent.on_generation(now);
        if first {
            let framing = match bowline {
                Some(_) => Framing::Bowline,
                None => Framing::Plain,
            };
            let continuity = self.agree(channels);
            self.start_channels(framing, limit, continuity, ctx, now);
        }
        if std::mem::take(&mut self.restart_when_negotiated) {
            self.next_restart = Some(now);
        }
        for line in lines {
            self.add_candidate(&line, ctx, now);
        }
        if ended && let Some(candidates) = &mut self.signalling.candidates {
            candidates.end();
        }
        for early in ctx.early.take(peer, session, &ufrag) {
            self.signalling.inbox.accept(early.seq);
            self.use_candidate(early, ctx, now);
        }
        self.on_fact(Fact::Progress(Phase::Checks), ctx, now);
    }

    /// The descriptions of a transport are exchanged, and both sides go on with channels that they have, or with new ones. Gives
    /// what that means for ours, unless they begin with this transport.
    fn agree(&mut self, channels: Option<ChannelsId>) -> Option<Continuity> {
        let had = self.signalling.channels;
        // A peer that names none has a name of ours, which it will never say.
        let have = channels.unwrap_or_else(|| ChannelsId::random(&mut self.rng));
        self.signalling.channels = Some(have);
        had.map(|had| match had == have {
            true => Continuity::Kept,
            false => Continuity::Lost,
        })
    }

    fn on_negotiation_failed(&mut self, unusable: Unusable, ctx: &mut Context, now: Instant) {
        let Unusable { reason, .. } = unusable;
        self.tell_unusable(unusable, ctx);
        // Another process answers for the one that we were connected with.
        let is_another = reason == NegotiationFault::FingerprintChanged;
        let is_lost = self.lifecycle.life() == Life::Disconnected;
        if is_another && is_lost && self.on_transport_lost(Cause::PeerForgot, ctx, now) {
            return;
        }
        self.on_fact(Fact::NegotiationFailed(reason), ctx, now);
    }

    fn tell_unusable(&self, unusable: Unusable, ctx: &mut Context) {
        let Unusable { reason, error } = unusable;
        let at = error.map(|error| error.to_string()).unwrap_or_default();
        tracing::debug!(peer = %self.id, %reason, at, "negotiation failed");
        ctx.events.push_back(Event::NegotiationFailed {
            peer: self.id,
            reason,
            error,
        });
    }

    fn add_candidate(&mut self, line: &str, ctx: &mut Context, now: Instant) {
        let Some(candidates) = &mut self.signalling.candidates else {
            return;
        };
        match candidates.admit(line) {
            Ok(Admitted::Address(accepted)) => self.give_candidate(&accepted, ctx, now),
            Ok(Admitted::Name(named)) => self.look_up(named, ctx),
            Err(reason) => self.ignore_candidate(reason, ctx),
        }
    }

    fn push(&mut self, generation: Generation, body: Body, ctx: &mut Context, now: Instant) {
        if self.signalling.outbox.push(generation, body, now).is_err() {
            // As many messages as may wait are unacknowledged: the peer cannot be reached, and the deadline of the
            // phase will say so.
            tracing::warn!(peer = %self.id, "too many unacknowledged signalling messages");
        }
        self.drive_outbox(ctx, now);
    }

    /// Sessions that the peer has given up for `successor` can do nothing any more.
    fn bury(&self, replaced: &[SessionId], successor: SessionId, ctx: &mut Context) {
        let others = replaced.iter().filter(|session| **session != successor);
        ctx.given_up
            .extend(others.map(|session| (*session, self.id)));
    }
}

/// Why a description is of no use.
struct Unusable {
    reason: NegotiationFault,
    /// The rule that it breaks, unless it is the transport that does not take it.
    error: Option<SdpError>,
}

impl From<SdpError> for Unusable {
    fn from(error: SdpError) -> Self {
        Self {
            reason: error.negotiation_fault(),
            error: Some(error),
        }
    }
}

impl From<NegotiationFault> for Unusable {
    fn from(reason: NegotiationFault) -> Self {
        Self {
            reason,
            error: None,
        }
    }
}

/// Whether a candidate that comes by itself would not be left in a description.
fn strips(rewrites: &[Rewrite], candidate: &str) -> bool {
    rewrites.iter().any(|rewrite| rewrite.strips(candidate))
}

/// Why a message was not used.
enum Unused {
    /// It builds on what has not come yet.
    Later,
    /// It means nothing here.
    Refused(SignalRefusal),
}

/// What becomes of a message whose decision was not the expected one.
fn unused(decision: Decision) -> Result<(), Unused> {
    match decision {
        Decision::OfferRestart { .. } | Decision::UnderWay => Ok(()),
        Decision::Defer | Decision::TooSoon { .. } => Err(Unused::Later),
        Decision::Ignore(reason) => Err(Unused::Refused(reason)),
        Decision::Offer { .. }
        | Decision::AskForRestart { .. }
        | Decision::Await { .. }
        | Decision::Answer { .. }
        | Decision::AnswerRestart { .. }
        | Decision::Complete { .. }
        | Decision::Refuse { .. } => Err(Unused::Refused(SignalRefusal::Stale)),
    }
}

/// Whether its sender says that it does not know the session.
fn is_denial(envelope: &Envelope) -> bool {
    let reason = ByeReason::UnknownSession;
    envelope.body == Body::Bye { reason }
}

/// Whether a message that is not acknowledged yet means nothing after a restart.
fn is_superseded_by_restart(envelope: &Envelope, generation: Generation) -> bool {
    envelope.generation < generation
        && match envelope.body {
            Body::Offer { .. }
            | Body::Candidate { .. }
            | Body::EndOfCandidates { .. }
            | Body::IceRestart => true,
            // The peer may still wait for the answer that the restart builds on.
            Body::Answer { .. } | Body::Bye { .. } | Body::Ack { .. } => false,
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
