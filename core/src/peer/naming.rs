//! What becomes of a candidate that the peer named: it goes to the ICE agent, at once or when its name is resolved.

use std::net::IpAddr;
use std::time::Instant;

use super::{Context, Peer};
use crate::event::{CandidateRefusal, Event, Side};
use crate::ice::{Accepted, Named};

impl Peer {
    /// The name of a candidate was looked up. An answer for a generation that is over is of no use.
    pub(crate) fn on_resolved(
        &mut self,
        named: &Named,
        addresses: &[IpAddr],
        ctx: &mut Context,
        now: Instant,
    ) {
        let is_over = self.state().is_terminal();
        let candidates = self.signalling.candidates.as_mut();
        let Some(candidates) = candidates.filter(|known| !is_over && known.is_of(named)) else {
            return;
        };
        if addresses.is_empty() {
            return self.ignore_candidate(CandidateRefusal::HostName, ctx);
        }
        for outcome in candidates.resolve(named, addresses) {
            match outcome {
                Ok(accepted) => self.give_candidate(&accepted, ctx, now),
                Err(reason) => self.ignore_candidate(reason, ctx),
            }
        }
    }

    /// Looks up the name of a candidate, if one more may be.
    pub(super) fn look_up(&self, named: Named, ctx: &mut Context) {
        if !ctx.lookups.want(self.id, named) {
            self.ignore_candidate(CandidateRefusal::HostName, ctx);
        }
    }

    /// Gives a candidate that no rule forbids to the ICE agent.
    pub(super) fn give_candidate(&mut self, accepted: &Accepted, ctx: &mut Context, now: Instant) {
        let added = self
            .session
            .as_mut()
            .is_some_and(|s| s.add_remote_candidate(&accepted.candidate.to_string(), now));
        if !added {
            return self.ignore_candidate(CandidateRefusal::Malformed, ctx);
        }
        let (peer, side, address) = (self.id, Side::Remote, accepted.address);
        ctx.reached.push((peer, address));
        ctx.events.push_back(Event::CandidateAdded {
            peer,
            side,
            address,
        });
    }

    /// Tells that a candidate was not used.
    pub(super) fn ignore_candidate(&self, reason: CandidateRefusal, ctx: &mut Context) {
        ctx.events.push_back(Event::CandidateIgnored {
            peer: self.id,
            reason,
        });
    }
}
