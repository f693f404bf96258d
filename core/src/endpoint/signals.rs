//! Where a signalling message goes: to the peer whose session it names, to the waiting room of early candidates, to
//! a new peer, or nowhere because its session is over.

use std::time::Instant;

use super::Endpoint;
use super::recorder::Step;
use crate::event::{Event, SignalRefusal};
use crate::id::{Generation, PeerId, SessionId};
use crate::peer;
use crate::signal::{Body, ByeReason, EarlyCandidate, Envelope, reply_to_unknown};

impl Endpoint {
    pub(super) fn on_signal(&mut self, text: &str) {
        self.stats.signals_received += 1;
        let decoded =
            Envelope::decode(text, self.ctx.config.limits.max_signal_size).and_then(|envelope| {
                envelope
                    .check_addressed(self.id())
                    .map_err(|reason| (reason, Some(envelope.from)))?;
                Ok(envelope)
            });
        match decoded {
            Ok(envelope) => self.on_envelope(envelope),
            Err((reason, peer)) => self.refuse_signal(peer, reason),
        }
    }

    /// A message that could not be opened came at `now`.
    pub(super) fn on_refused_signal(
        &mut self,
        peer: Option<PeerId>,
        reason: SignalRefusal,
        now: Instant,
    ) {
        self.begin(now, |_| Step::SignalRefused { peer, reason });
        self.stats.signals_received += 1;
        // It may be anybody's, and gives the peer nothing to do.
        let key = peer.and_then(|peer| self.by_id.get(&peer).copied());
        if let Some(slot) = key.and_then(|key| self.slots.get_mut(key)) {
            slot.peer.on_unopened(reason);
        }
        self.refuse_signal(peer, reason);
    }

    /// The link is up or down.
    pub(super) fn on_signalling(&mut self, up: bool) {
        self.ctx.signalling_down = !up;
        self.ctx.mesh.on_signalling(up);
        self.farewells.set_held(!up, self.now);
        self.with_all(peer::Peer::on_signalling);
        self.file_leftovers();
    }

    /// Files the sessions that peers gave up since, and the farewells that are to be repeated.
    pub(super) fn file_leftovers(&mut self) {
        for (session, peer) in self.ctx.given_up.drain(..) {
            self.ctx.ended.bury(peer, session);
            self.ctx.early.forget(peer, session);
        }
        for bye in self.ctx.byes.drain(..) {
            self.farewells.insert(bye, self.now);
        }
        while let Some(dispatch) = self.farewells.poll(self.now) {
            self.ctx.envelopes.push_back(dispatch.envelope.clone());
        }
    }

    fn on_envelope(&mut self, mut envelope: Envelope) {
        let (from, session) = (envelope.from, envelope.session);
        self.bury_now_if_ended(from);
        if let Body::Ack { ack } = envelope.body
            && self.farewells.on_ack(from, session, ack)
        {
            return self.on_farewell_acknowledged(from, session);
        }
        if matches!(envelope.body, Body::Bye { .. }) {
            // Also when it comes after the close of the transport, which ends the session just as well.
            self.tell_rollover(&mut envelope);
        }
        if self.ctx.ended.contains(from, session) && !planted!(EndedForgotten) {
            self.stats.signals_duplicate += 1;
            let reply = reply_to_unknown(&envelope).or_else(|| envelope.ack());
            return self.ctx.envelopes.extend(reply);
        }
        if self.begins_session(&envelope) && !self.newcomers.admit(from, self.now) {
            // Not acknowledged, so that it comes again.
            return self.refuse_signal(Some(from), SignalRefusal::Busy);
        }
        let Some(key) = self.by_id.get(&from).copied() else {
            return self.on_stranger(envelope);
        };
        match self.with(key, |peer, ctx, now| peer.on_envelope(envelope, ctx, now)) {
            Some(peer::Outcome::Handled | peer::Outcome::Deferred) | None => {}
            Some(peer::Outcome::Duplicate) => self.stats.signals_duplicate += 1,
            Some(peer::Outcome::Refused(reason)) => self.refuse_signal(Some(from), reason),
            Some(peer::Outcome::NotOurs(envelope)) => self.on_stranger(envelope),
            Some(peer::Outcome::Replaced(envelope)) => {
                // The old session ends with its own terminal event before the new one begins.
                self.drive(key);
                self.file_leftovers();
                self.on_stranger(envelope);
            }
        }
        self.file_leftovers();
    }

    /// Whether it offers a session that is not known here.
    fn begins_session(&self, envelope: &Envelope) -> bool {
        let peer = self.by_id.get(&envelope.from);
        let peer = peer.and_then(|key| self.slots.get(*key));
        let is_known =
            peer.is_some_and(|slot| slot.peer.sessions().any(|known| known == envelope.session));
        let is_offer = matches!(envelope.body, Body::Offer { .. });
        is_offer && envelope.generation == Generation(0) && !is_known
    }

    fn on_farewell_acknowledged(&mut self, from: PeerId, session: SessionId) {
        if let Some(key) = self.by_id.get(&from).copied()
            && self
                .slots
                .get(key)
                .is_some_and(|slot| slot.peer.session() == session)
        {
            self.with(key, |peer, ctx, now| {
                peer.on_farewell_acknowledged(ctx, now)
            });
        }
    }

    /// A message of a session that nobody has here.
    fn on_stranger(&mut self, envelope: Envelope) {
        let (from, session) = (envelope.from, envelope.session);
        match &envelope.body {
            Body::Offer { .. } if envelope.generation == Generation(0) => {
                self.on_stranger_offer(envelope);
            }
            Body::Candidate { .. } | Body::EndOfCandidates { .. } => {
                let kept = EarlyCandidate::of(&envelope)
                    .is_some_and(|early| self.ctx.early.store(from, session, early, self.now));
                if kept {
                    self.ctx.envelopes.extend(envelope.ack());
                } else {
                    // Not acknowledged, so that it comes again.
                    self.refuse_signal(Some(from), SignalRefusal::Busy);
                }
            }
            Body::Bye { .. } => {
                // Its offer may still be under way: remembered, so that it cannot start anything.
                self.ctx.given_up.push((session, from));
                self.ctx.envelopes.extend(envelope.ack());
                self.file_leftovers();
            }
            Body::Offer { .. } | Body::Answer { .. } | Body::IceRestart => {
                self.ctx.envelopes.extend(reply_to_unknown(&envelope));
                self.refuse_signal(Some(from), SignalRefusal::UnknownSession);
            }
            Body::Ack { .. } => {}
        }
    }

    fn on_stranger_offer(&mut self, mut offer: Envelope) {
        if self.sealer.is_given_up() {
            return self.turn_away(&offer, ByeReason::Refused);
        }
        let waiting = self
            .slots
            .values()
            .filter(|slot| slot.peer.is_offered())
            .count();
        let limits = &self.ctx.config.limits;
        if self.by_id.len() >= limits.max_peers || waiting >= limits.max_incoming {
            self.turn_away(&offer, ByeReason::Busy);
            return self.refuse_signal(Some(offer.from), SignalRefusal::Busy);
        }
        self.tell_rollover(&mut offer);
        let from = offer.from;
        let rng = self.rng.split();
        self.ctx.events.push_back(Event::Initialised { peer: from });
        let new = peer::Peer::offered(self.id(), offer, rng, &mut self.ctx, self.now);
        let key = self.insert(from, new);
        if self.ctx.mesh.knows(from) && self.accept_offered(key).is_ok() {
            self.ctx.mesh.on_made(from);
        }
    }

    /// Takes nothing of an offer, and says so.
    fn turn_away(&mut self, offer: &Envelope, reason: ByeReason) {
        self.ctx.envelopes.extend(offer.ack());
        self.ctx.given_up.push((offer.session, offer.from));
        self.ctx.byes.push(offer.bye(reason));
        self.file_leftovers();
    }

    fn refuse_signal(&mut self, peer: Option<PeerId>, reason: SignalRefusal) {
        self.stats.signals_refused += 1;
        tracing::debug!(?peer, %reason, "signalling message refused");
        self.ctx
            .events
            .push_back(Event::SignalRefused { peer, reason });
    }
}
