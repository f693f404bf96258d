//! Where a signalling message goes: to the peer whose session it names, to the waiting room of early candidates, to
//! a new peer, or nowhere because its session is over.

use super::Endpoint;
use super::slots::PeerKey;
use crate::event::{Event, SignalRefusal};
use crate::id::PeerId;
use crate::peer;
use crate::signal::envelope::{Body, ByeReason, Envelope};
use crate::signal::reply_to_unknown;

impl Endpoint {
    pub(super) fn on_signal(&mut self, text: &str) {
        self.stats.signals_received += 1;
        let decoded = Envelope::decode(text, self.ctx.config.limits.max_signal_size).and_then(|envelope| {
            envelope.check_addressed(self.id).map_err(|reason| (reason, Some(envelope.from)))?;
            Ok(envelope)
        });
        match decoded {
            Ok(envelope) => self.on_envelope(envelope),
            Err((reason, peer)) => self.refuse_signal(peer, reason),
        }
    }

    /// Files the sessions that peers gave up since, and the farewells that are to be repeated.
    pub(super) fn file_leftovers(&mut self) {
        for (session, peer) in self.ctx.given_up.drain(..) {
            self.ended.insert(session, peer);
        }
        for bye in self.ctx.byes.drain(..) {
            self.farewells.add(bye, self.now);
        }
        self.farewells.poll(self.now, &mut self.ctx.envelopes);
    }

    fn on_envelope(&mut self, envelope: Envelope) {
        if let Body::Ack { ack } = envelope.body {
            self.farewells.on_ack(envelope.session, ack);
        }
        if self.ended.contains(envelope.session) {
            self.stats.signals_duplicate += 1;
            self.ctx.envelopes.extend(envelope.ack());
            return;
        }
        let Some(key) = self.by_id.get(&envelope.from).copied() else {
            return self.on_stranger(envelope);
        };
        let from = envelope.from;
        match self.with(key, |peer, ctx, now| peer.on_envelope(envelope, ctx, now)) {
            Some(peer::Outcome::Handled) | None => {}
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

    /// A message of a session that nobody has here.
    fn on_stranger(&mut self, envelope: Envelope) {
        let from = envelope.from;
        match &envelope.body {
            Body::Offer { .. } => self.on_stranger_offer(envelope),
            Body::Candidate { .. } | Body::EndOfCandidates { .. } => {
                let ack = envelope.ack();
                if self.early.store(envelope, self.now) {
                    self.ctx.envelopes.extend(ack);
                } else {
                    self.refuse_signal(Some(from), SignalRefusal::Busy);
                }
            }
            Body::Bye { .. } => {
                // Its offer may still be under way: remembered, so that it cannot start anything.
                self.ended.insert(envelope.session, from);
                self.ctx.envelopes.extend(envelope.ack());
            }
            Body::Answer { .. } | Body::IceRestart => {
                self.ctx.envelopes.extend(reply_to_unknown(&envelope));
                self.refuse_signal(Some(from), SignalRefusal::UnknownSession);
            }
            Body::Ack { .. } => {}
        }
    }

    fn on_stranger_offer(&mut self, offer: Envelope) {
        let waiting = self.slots.values().filter(|slot| slot.peer.is_offered()).count();
        let limits = &self.ctx.config.limits;
        if self.by_id.len() >= limits.max_peers || waiting >= limits.max_incoming {
            self.ctx.envelopes.extend(offer.ack());
            self.ended.insert(offer.session, offer.from);
            self.ctx.byes.push(offer.reply_bye(ByeReason::Busy));
            self.file_leftovers();
            return self.refuse_signal(Some(offer.from), SignalRefusal::Busy);
        }
        let (from, session) = (offer.from, offer.session);
        let early = self.early.take(from, session);
        let key = self.add_offered(offer);
        for envelope in early {
            self.with(key, |peer, ctx, now| peer.on_early_candidate(envelope, ctx, now));
        }
    }

    fn add_offered(&mut self, offer: Envelope) -> PeerKey {
        let from = offer.from;
        let rng = self.rng.split();
        self.ctx.events.push_back(Event::Initialised { peer: from });
        let (own, now) = (self.id, self.now);
        let new = peer::Peer::offered(own, offer, rng, &mut self.ctx, now);
        self.insert(from, new)
    }

    fn refuse_signal(&mut self, peer: Option<PeerId>, reason: SignalRefusal) {
        self.stats.signals_refused += 1;
        tracing::debug!(?peer, %reason, "signalling message refused");
        self.ctx.events.push_back(Event::SignalRefused { peer, reason });
    }
}
