//! The path is watched, and repaired when it is lost.

use std::time::{Duration, Instant};

use super::consent::{Condition, is_fresh};
use super::state::{Fact, Life};
use super::{Context, Datagram, PathQuality, Peer};
use crate::config::CandidateType;
use crate::event::{Event, Path, PathChange};
use crate::ice::gather::LocalCandidate;
use crate::metrics::Rtt;

impl Peer {
    /// A check of ours was sent.
    pub(crate) fn on_check_sent(&mut self, check: &Datagram, now: Instant) {
        self.checks.sent += 1;
        self.consent.on_asked(check, now);
    }

    /// Whether `is_right` says so of the password that the peer's answers are made with.
    pub(crate) fn has_remote_password(&mut self, is_right: impl FnOnce(&str) -> bool) -> bool {
        let password = self.signalling.remote_password();
        self.session.as_mut().is_some_and(|session| {
            session.judge_answer(|| password.is_some_and(|password| is_right(password)))
        })
    }

    /// A check of ours was answered after `rtt`, with the right password.
    pub(crate) fn on_check_answered(
        &mut self,
        path: Path,
        rtt: Duration,
        ctx: &mut Context,
        now: Instant,
    ) {
        self.checks.answered += 1;
        let was = self.consent.condition();
        let is_exact = self.consent.on_answered(path, rtt, now);
        self.paths.on_answered(path, rtt, now);
        if is_exact && self.path.is_none_or(|used| used == path) {
            self.channels.on_check(rtt);
        }
        if is_exact && self.path == Some(path) {
            match &mut self.metrics.rtt {
                Some(known) => known.on_sample(rtt),
                None => self.metrics.rtt = Some(Rtt::new(rtt)),
            }
        }
        self.tell_health(was, ctx);
        if was == Condition::Lost && self.consent.condition() == Condition::Good {
            self.on_fact(Fact::PathUp, ctx, now);
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

    /// Secured data was sent along `path`.
    pub(crate) fn on_path_used(&mut self, path: Path, ctx: &mut Context, now: Instant) {
        // The farewell may be the first secured datagram of all, and nothing is told after the end.
        if self.path == Some(path) || self.state().is_terminal() {
            return;
        }
        let from = self.path.replace(path);
        let is_silent =
            self.left == from || self.consent.path() == from && self.consent.is_silent(now);
        let why = match from {
            None => PathChange::First,
            Some(old) if !ctx.local.iter().any(|c| c.sends_from(old.local)) => {
                PathChange::CandidateGone
            }
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
        self.channels.on_path(true, now);
        self.on_fact(Fact::PathUp, ctx, now);
    }

    /// No pair works any more.
    pub(super) fn on_path_down(&mut self, ctx: &mut Context, now: Instant) {
        self.channels.on_path(false, now);
        self.on_fact(Fact::PathDown, ctx, now);
    }

    /// Looks whether the path still answers.
    pub(super) fn look_after_path(&mut self, ctx: &mut Context, now: Instant) {
        let was = self.consent.condition();
        while let Some(condition) = self.consent.handle_timeout(now) {
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
        true
    }

    /// Tells whether the path is degraded, if that has changed.
    fn tell_health(&self, was: Condition, ctx: &mut Context) {
        let health = self.consent.condition().health();
        if health != was.health() && !self.state().is_terminal() {
            ctx.events.push_back(Event::PathHealth {
                peer: self.id,
                health,
            });
        }
    }

    /// A candidate came too late for this generation. ICE restarts for it where it may matter: it is a new socket, or the path
    /// is not direct. Otherwise it waits for the next generation.
    pub(super) fn want_generation_for(
        &mut self,
        candidate: LocalCandidate,
        ctx: &Context,
        now: Instant,
    ) {
        let is_relayed = |path: Path| ctx.is_relayed(path.local);
        if candidate.kind == CandidateType::Host || self.path.is_none_or(is_relayed) {
            let at = now + LATE_CANDIDATES;
            self.next_restart = Some(self.next_restart.map_or(at, |known| known.min(at)));
        }
    }

    /// Restarts ICE when it is time to: over and over while the path is lost, once when a restart that the application
    /// wanted came too soon. Returns whether it was time.
    pub(super) fn drive_restart(&mut self, ctx: &mut Context, now: Instant) -> bool {
        if self.next_restart.is_none_or(|at| at > now) {
            return false;
        }
        let again = now.checked_add(ctx.config.reconnect.restart_timeout);
        self.next_restart = again.filter(|_| self.lifecycle.life() == Life::Disconnected);
        self.restart_ice(ctx, now);
        true
    }
}

/// How long a restart for a late candidate waits for others, which come with it when a network appears.
const LATE_CANDIDATES: Duration = Duration::from_millis(200);
