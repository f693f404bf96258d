//! The path is watched, and repaired when it is lost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::consent::{Condition, is_fresh};
use super::ladder::{Repaired, Step};
use super::state::{Fact, Life};
use super::unheard::Unheard;
use super::{Context, Datagram, PathQuality, Peer, Took};
use crate::config::CandidateType;
use crate::event::{Cause, Event, Kept, Path, PathChange, Rung, TransportFault};
use crate::ice::gather::LocalCandidate;
use crate::metrics::Rtt;

impl Peer {
    /// A check of ours was sent.
    pub(crate) fn on_check_sent(&mut self, check: &Datagram, now: Instant) {
        self.checks.sent += 1;
        let path = Path {
            local: check.source,
            remote: check.destination,
        };
        self.paths.on_checked(path, now);
        self.consent.on_asked(check, now);
    }

    /// Whether `is_right` says so of the password that the peer's answers are made with.
    pub(crate) fn has_remote_password(&mut self, is_right: impl FnOnce(&str) -> bool) -> bool {
        let password = self.signalling.remote_password();
        self.session
            .as_mut()
            .is_some_and(|session| session.judge_answer(|| password.is_some_and(is_right)))
    }

    /// A check of ours was answered, with the right password.
    pub(crate) fn on_check_answered(
        &mut self,
        path: Path,
        took: Took,
        ctx: &mut Context,
        now: Instant,
    ) {
        self.checks.answered += 1;
        let was = self.consent.condition();
        let was_calm = was == Condition::Good
            && !self.consent.is_searching()
            && self.lifecycle.life() == Life::Connected;
        let rtt = took.is_exact.then_some(took.time);
        self.consent.on_answered(path, rtt, now);
        self.paths.on_answered(path, took, now);
        if let Some(rtt) = rtt {
            self.on_round_trip(path, rtt);
        }
        if was != self.consent.condition() {
            self.unheard.on_path(path);
        } else if was_calm && took.is_exact && self.path == Some(path) {
            self.unheard = Unheard::default();
        }
        self.tell_health(was, ctx);
        if was == Condition::Lost && self.consent.condition() == Condition::Good {
            self.channels.on_path(true, now);
            self.on_path_works(ctx, now);
        }
    }

    fn on_round_trip(&mut self, path: Path, rtt: Duration) {
        if self.path.is_none_or(|used| used == path) {
            self.channels.on_check(rtt);
        }
        if self.path == Some(path) {
            match &mut self.metrics.rtt {
                Some(known) => known.on_sample(rtt),
                None => self.metrics.rtt = Some(Rtt::new(rtt)),
            }
        }
    }

    /// Whether secured data may be sent along `path`: the peer has answered there of late (RFC 7675 section 5.1).
    pub(crate) fn may_send(&self, path: Path, now: Instant) -> bool {
        if self.consent.path() == Some(path) {
            return self.consent.is_given(now);
        }
        let known = self.paths.last_answer(path);
        known.is_some_and(|known| is_fresh(known.at, now))
    }

    /// A secured datagram is to be sent, whether there is a way for it now or not.
    pub(crate) fn on_secured(&mut self, datagram: &Datagram, now: Instant) {
        self.last_secured = Some(now);
        self.unheard.on_sent(datagram);
    }

    /// When the transport is to be driven that asks for `at`.
    pub(super) fn transport_timeout(&self, at: Instant) -> Instant {
        match (self.consent.next_check(), self.last_secured) {
            (Some(next), Some(secured)) => self.paths.postponed(at, next, secured),
            _ => at,
        }
    }

    /// Secured data was sent along `path`.
    pub(crate) fn on_path_used(&mut self, path: Path, ctx: &mut Context, now: Instant) {
        // The farewell may be the first secured datagram of all, and nothing is told after the end.
        let is_over = self.state().is_terminal() && !planted!(ToldAfterEnd);
        if self.path == Some(path) || is_over {
            return;
        }
        let from = self.path.replace(path);
        let is_silent =
            self.left == from || self.consent.path() == from && self.consent.is_silent(now);
        let why = match from {
            None => PathChange::First,
            Some(old) if !ctx.is_ours(old.local) => PathChange::CandidateGone,
            Some(_) if is_silent => PathChange::Silent,
            Some(_) => PathChange::Preferred,
        };
        self.left = None;
        if self.consent.path() != Some(path) {
            let was = self.consent.condition();
            self.consent.watch(path, self.paths.last_answer(path));
            self.tell_health(was, ctx);
        }
        let relayed = ctx.is_relayed(path.local);
        self.metrics.relayed = relayed;
        let known = self.paths.last_answer(path);
        self.metrics.rtt = known.map(|known| Rtt::new(known.rtt));
        ctx.events.push_back(Event::PathChanged {
            peer: self.id,
            from,
            to: path,
            relayed,
            why,
        });
    }

    /// The transport says that a pair works.
    pub(super) fn on_path_up(&mut self, ctx: &mut Context, now: Instant) {
        let was = self.consent.condition();
        self.consent.renew();
        self.tell_health(was, ctx);
        if let Some(path) = self.paths.newest() {
            self.unheard.on_path(path);
        }
        self.channels.on_path(true, now);
        self.on_path_works(ctx, now);
    }

    /// No pair works any more.
    pub(super) fn on_path_down(&mut self, ctx: &mut Context, now: Instant) {
        self.channels.on_path(false, now);
        self.on_fact(Fact::PathDown, ctx, now);
        if self.lifecycle.life() == Life::Disconnected {
            self.climb(Rung::IceRestart, ctx, now);
        }
    }

    /// Datagrams get through. A new transport is not up by that alone.
    fn on_path_works(&mut self, ctx: &mut Context, now: Instant) {
        if self.secured {
            self.on_fact(Fact::PathUp, ctx, now);
        }
    }

    /// Looks whether the path still answers.
    pub(super) fn look_after_path(&mut self, ctx: &mut Context, now: Instant) {
        let was = self.consent.condition();
        while let Some(condition) = self.consent.handle_timeout(now) {
            ctx.doubted = true;
            let is_left = self.use_standby(ctx, now);
            if condition == Condition::Lost && !is_left {
                self.on_path_down(ctx, now);
            }
        }
        self.tell_health(was, ctx);
    }

    /// Goes over to a path that has answered while the one in use did not, if there is one.
    fn use_standby(&mut self, ctx: &Context, now: Instant) -> bool {
        let (Some(silent), Some(since)) = (self.consent.path(), self.consent.silent_since()) else {
            return false;
        };
        let is_relayed = |path: &Path| ctx.is_relayed(path.local);
        let standbys = self.paths.working(None, is_relayed, now);
        let answered = |standby: &&PathQuality| standby.path != silent && standby.answered > since;
        let Some(standby) = standbys.iter().find(answered).map(|standby| standby.path) else {
            return false;
        };
        if let Some(session) = &mut self.session {
            session.leave_pair(silent, standby, now);
        }
        self.left = Some(silent);
        self.consent.watch(standby, self.paths.last_answer(standby));
        self.unheard.on_path(standby);
        true
    }

    /// Tells whether the path is degraded, if that has changed.
    pub(super) fn tell_health(&self, was: Condition, ctx: &mut Context) {
        let health = self.consent.condition().health();
        if health != was.health() && !self.state().is_terminal() {
            ctx.events.push_back(Event::PathHealth {
                peer: self.id,
                health,
            });
        }
    }

    /// A candidate came too late for this generation. ICE restarts for it where it may matter: it is a new socket, or the path
    /// is not direct, does not answer or is gone. Otherwise it waits for the next generation.
    pub(super) fn want_generation_for(
        &mut self,
        candidate: LocalCandidate,
        ctx: &Context,
        now: Instant,
    ) {
        let is_of_use = self.consent.condition() != Condition::Good
            || self
                .path
                .is_none_or(|path| ctx.is_relayed(path.local) || !ctx.is_ours(path.local));
        if candidate.kind == CandidateType::Host || is_of_use {
            self.want_generation(now);
        }
    }

    /// Others see a socket of ours at another address. What the peer sends to the old one is lost.
    pub(crate) fn on_moved(&mut self, base: SocketAddr, now: Instant) {
        if self.path.is_some_and(|path| path.local == base) {
            self.want_generation(now);
        }
    }

    fn want_generation(&mut self, now: Instant) {
        let at = now + LATE_CANDIDATES;
        self.next_restart = Some(self.next_restart.map_or(at, |known| known.min(at)));
    }

    /// Tries what is due to bring the connection back, and restarts ICE where something else wants it. Returns whether there
    /// was anything.
    pub(super) fn drive_repair(&mut self, ctx: &mut Context, now: Instant) -> bool {
        let mut busy = self.next_restart.is_some_and(|at| at <= now);
        if busy {
            self.next_restart = None;
            self.restart_ice(ctx, now);
        }
        while let Some(step) = self.ladder.poll(&ctx.config.reconnect, &mut self.rng, now) {
            busy = true;
            self.on_step(step, ctx, now);
        }
        busy
    }

    /// Builds a new transport, because the application wants it.
    pub(crate) fn rebuild(&mut self, ctx: &mut Context, now: Instant) {
        self.on_transport_lost(Cause::Rebuilt, ctx, now);
    }

    /// The transport is of no use any more. Returns whether another one is built.
    pub(super) fn on_transport_lost(
        &mut self,
        cause: Cause,
        ctx: &mut Context,
        now: Instant,
    ) -> bool {
        if !self.can_rebuild() {
            return false;
        }
        // What is left of it is of no use, even if it should come back.
        self.secured = false;
        self.on_fact(Fact::TransportLost(cause), ctx, now);
        self.climb(Rung::Rebuild, ctx, now);
        true
    }

    /// The transport has failed: builds another one, or ends.
    pub(super) fn on_transport_failed(
        &mut self,
        fault: TransportFault,
        ctx: &mut Context,
        now: Instant,
    ) {
        if !self.on_transport_lost(Cause::TransportLost(fault), ctx, now) {
            self.on_fact(Fact::TransportFailed(fault), ctx, now);
        }
    }

    /// The peer builds a new transport.
    pub(super) fn on_rebuild_offered(&mut self, ctx: &mut Context, now: Instant) {
        self.on_fact(Fact::TransportLost(Cause::Rebuilt), ctx, now);
        if self.lifecycle.life() == Life::Disconnected {
            let config = &ctx.config.reconnect;
            self.ladder.on_helped(Rung::Rebuild, config, now);
        }
    }

    /// Whether this connection was up and can go on over another transport.
    fn can_rebuild(&self) -> bool {
        match self.lifecycle.life() {
            Life::Connected | Life::Disconnected => true,
            Life::Offered
            | Life::Connecting(_)
            | Life::Draining { .. }
            | Life::Leaving { .. }
            | Life::Ended(_) => false,
        }
    }

    /// The connection is lost, and `rung` is the first that can help.
    fn climb(&mut self, rung: Rung, ctx: &mut Context, now: Instant) {
        let config = &ctx.config.reconnect;
        if let Some(step) = self.ladder.on_lost(rung, config, &mut self.rng, now) {
            self.on_step(step, ctx, now);
        }
    }

    fn on_step(&mut self, step: Step, ctx: &mut Context, now: Instant) {
        let peer = self.id;
        match step {
            Step::Scheduled { rung, attempt, at } => {
                let deadline = self.lifecycle.deadline();
                ctx.events.push_back(Event::ReconnectScheduled {
                    peer,
                    rung,
                    attempt,
                    at,
                    deadline,
                });
            }
            Step::Attempt { rung, attempt } => {
                let event = Event::ReconnectAttempt {
                    peer,
                    rung,
                    attempt,
                };
                ctx.events.push_back(event);
                match rung {
                    Rung::IceRestart => self.restart_ice(ctx, now),
                    Rung::Rebuild => self.connect_afresh(ctx, now),
                }
            }
        }
    }

    /// The connection is up: tells what was lost of it, if it was lost.
    pub(super) fn tell_restored(&mut self, ctx: &mut Context, now: Instant) {
        let kept = std::mem::replace(&mut self.kept, Kept::Transport);
        let Some(repaired) = self.ladder.on_restored(now) else {
            return;
        };
        let Repaired {
            rung,
            attempts,
            took,
        } = repaired;
        ctx.events.push_back(Event::Restored {
            peer: self.id,
            rung,
            attempts,
            took,
            kept,
        });
    }
}

/// How long a restart for a late candidate waits for others, which come with it when a network appears.
const LATE_CANDIDATES: Duration = Duration::from_millis(200);
