//! Whether the peer still answers on the path in use (RFC 7675).
//!
//! The agent checks every pair that has succeeded, every three seconds. An answer that was made with the peer's password is
//! consent to send for 30 s. What the agent takes for a sign of life, the peer's own checks, counts for nothing here: they
//! come as well when nothing of ours arrives.
//!
//! A check that is not answered is sent again every half second, so that some lost datagrams are not taken for a lost path.
//! The answer to either copy is the answer to the check.

use std::time::{Duration, Instant};

use super::paths::Answered;
use super::session::{CHECK_INTERVAL, Datagram};
use crate::config::Reconnect;
use crate::event::{Path, PathHealth};

/// The path that is watched, and what is known of it.
#[derive(Debug)]
pub(super) struct Consent {
    /// As in [`Reconnect`].
    degraded_after: Duration,
    lost_after: Duration,
    attempt_timeout: Duration,
    path: Option<Path>,
    answered: Option<Instant>,
    /// The round trip time of the last answer.
    rtt: Duration,
    asked: Option<Asked>,
    /// When the agent checked the path last.
    checked: Option<Instant>,
    condition: Condition,
    /// ICE has restarted, and no pair of the new generation works yet: until then one has to.
    searching: Option<Instant>,
}

/// A check that is not answered.
#[derive(Debug)]
struct Asked {
    /// When the first one was sent that is not answered.
    since: Instant,
    /// The last one.
    check: Datagram,
    /// When it is sent again.
    again: Instant,
}

/// How the path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// It answers, as far as is known.
    Good,
    /// It has not answered for [`Reconnect::degraded_after`].
    Degraded,
    /// It has not answered for [`Reconnect::lost_after`].
    Lost,
}

impl Condition {
    /// What the application is told of it. That a path is lost is a change of state.
    pub(super) fn health(self) -> PathHealth {
        match self {
            Self::Good => PathHealth::Good,
            Self::Degraded | Self::Lost => PathHealth::Degraded,
        }
    }
}

impl Consent {
    pub(super) fn new(config: &Reconnect) -> Self {
        Self {
            degraded_after: config.degraded_after,
            lost_after: config.lost_after,
            attempt_timeout: config.attempt_timeout,
            path: None,
            answered: None,
            rtt: Duration::ZERO,
            asked: None,
            checked: None,
            condition: Condition::Good,
            searching: None,
        }
    }

    /// ICE has restarted. The path carries data until there is a new one (RFC 8445 section 9), but the peer answers on it
    /// only when it has restarted too.
    pub(super) fn on_generation(&mut self, now: Instant) {
        self.asked = None;
        // Another restart gives the first no more time.
        let until = now.checked_add(self.attempt_timeout);
        self.searching = self.searching.or(until);
    }

    /// Watches another path, whose last answer is known.
    pub(super) fn watch(&mut self, path: Path, known: Option<Answered>) {
        self.path = Some(path);
        self.checked = None;
        self.renew();
        if let Some(known) = known {
            self.answered = Some(known.at);
            self.rtt = known.rtt;
        }
    }

    /// The transport says that a pair works: what was asked before does not matter.
    pub(super) fn renew(&mut self) {
        self.asked = None;
        self.condition = Condition::Good;
        self.searching = None;
    }

    /// A check was sent, or sent again.
    pub(super) fn on_asked(&mut self, check: &Datagram, now: Instant) {
        let path = Path {
            local: check.source,
            remote: check.destination,
        };
        if self.path != Some(path) || self.searching.is_some() {
            return;
        }
        let is_known = |asked: &Asked| asked.check.contents == check.contents;
        if self.asked.as_ref().is_some_and(is_known) {
            return;
        }
        self.checked = Some(now);
        self.asked = Some(Asked {
            since: self.asked.as_ref().map_or(now, |asked| asked.since),
            check: check.clone(),
            again: now + self.pause(),
        });
    }

    /// A check on `path` was answered, after `rtt` where that is known.
    pub(super) fn on_answered(&mut self, path: Path, rtt: Option<Duration>, now: Instant) {
        if self.path != Some(path) {
            return;
        }
        self.renew();
        self.answered = Some(now);
        self.rtt = rtt.unwrap_or(self.rtt);
    }

    /// Whether ICE has restarted and has found no pair yet.
    pub(super) fn is_searching(&self) -> bool {
        self.searching.is_some()
    }

    /// When the agent checks the path next, if all that it has asked is answered.
    pub(super) fn next_check(&self) -> Option<(Path, Instant)> {
        let is_answered = self.asked.is_none() && self.searching.is_none();
        let checked = self.checked.filter(|_| is_answered)?;
        Some((self.path?, checked + CHECK_INTERVAL))
    }

    /// The path that is watched.
    pub(super) fn path(&self) -> Option<Path> {
        self.path
    }

    pub(super) fn condition(&self) -> Condition {
        self.condition
    }

    /// Since when the path has not answered.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.asked.as_ref().map(|asked| asked.since)
    }

    /// Whether it has not answered for longer than from one check to the next.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let age = |at: Instant| now.saturating_duration_since(at);
        self.answered.is_some_and(|at| age(at) >= SILENCE)
    }

    /// How long ago it answered.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let answered = self.answered?;
        Some(now.saturating_duration_since(answered))
    }

    /// Whether data may be sent on it (RFC 7675 section 5.1).
    pub(super) fn is_given(&self, now: Instant) -> bool {
        self.answered.is_some_and(|at| is_fresh(at, now))
    }

    /// Looks at what is due at `now`. Returns the condition that the path came into.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Condition> {
        let condition = match self.next_condition()? {
            (condition, at) if at <= now => condition,
            _ => return None,
        };
        self.condition = condition;
        Some(condition)
    }

    /// The check that is to be sent again now.
    pub(super) fn poll_repeat(&mut self, now: Instant) -> Option<Datagram> {
        let pause = self.pause();
        let is_lost = self.condition == Condition::Lost;
        let asked = self.asked.as_mut().filter(|a| a.again <= now && !is_lost)?;
        asked.again = now + pause;
        Some(asked.check.clone())
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let (_, at) = self.next_condition()?;
        let again = self.asked.as_ref().map(|asked| asked.again);
        again.into_iter().chain([at]).min()
    }

    /// What the path comes into next if it does not answer, and when.
    fn next_condition(&self) -> Option<(Condition, Instant)> {
        let (next, after) = match self.condition {
            Condition::Good => (Condition::Degraded, self.degraded_after),
            Condition::Degraded => (Condition::Lost, self.lost_after),
            Condition::Lost => return None,
        };
        if let Some(until) = self.searching {
            return Some((Condition::Lost, until));
        }
        let at = self.asked.as_ref()?.since.checked_add(after + self.rtt)?;
        Some((next, at))
    }

    /// Between two copies of a check: an answer must have had the time to come.
    fn pause(&self) -> Duration {
        REPEAT.max(self.rtt * 2)
    }
}

/// Whether an answer at `answered` is consent still.
pub(super) fn is_fresh(answered: Instant, now: Instant) -> bool {
    now.saturating_duration_since(answered) < CONSENT
}

/// How long an answer is consent to send (RFC 7675 section 5.1).
const CONSENT: Duration = Duration::from_secs(30);
/// The agent checks every pair that has succeeded every three seconds.
const SILENCE: Duration = Duration::from_secs(5);
/// How long a check waits for its answer before it is sent again, on a path of less than half of it.
const REPEAT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const RTT: Duration = Duration::from_millis(100);

    fn path() -> Path {
        Path {
            local: ([192, 0, 2, 1], 1).into(),
            remote: ([192, 0, 2, 2], 2).into(),
        }
    }

    fn check(transaction: u8) -> Datagram {
        let Path { local, remote } = path();
        Datagram {
            source: local,
            destination: remote,
            contents: vec![transaction],
        }
    }

    fn config() -> Reconnect {
        Config::default().reconnect().clone()
    }

    fn watching(now: Instant) -> Consent {
        let mut consent = Consent::new(&config());
        consent.watch(path(), None);
        consent.on_answered(path(), Some(RTT), now);
        consent
    }

    #[test]
    fn a_path_that_answers_costs_no_deadline() {
        let start = Instant::now();
        let mut consent = watching(start);
        assert_eq!(consent.poll_timeout(), None);
        consent.on_asked(&check(1), start);
        assert!(consent.poll_timeout().is_some());
        consent.on_answered(path(), Some(RTT), start + RTT);
        assert_eq!(consent.poll_timeout(), None);
    }

    #[test]
    fn silence_counts_from_the_first_check_that_is_not_answered() {
        let (config, start) = (config(), Instant::now());
        let mut consent = watching(start);
        consent.on_asked(&check(1), start);
        consent.on_asked(&check(2), start + Duration::from_secs(2));
        let degraded = start + config.degraded_after + RTT;
        let before = degraded - Duration::from_nanos(1);
        assert_eq!(consent.handle_timeout(before), None);
        assert_eq!(consent.handle_timeout(degraded), Some(Condition::Degraded));
        assert_eq!(consent.handle_timeout(degraded), None);
        let lost = start + config.lost_after + RTT;
        assert_eq!(consent.handle_timeout(lost), Some(Condition::Lost));
        assert_eq!(consent.poll_timeout(), None);
        consent.on_answered(path(), Some(RTT), lost);
        assert_eq!(consent.condition(), Condition::Good);
    }

    #[test]
    fn a_check_is_repeated_until_it_is_answered() {
        let start = Instant::now();
        let mut consent = watching(start);
        consent.on_asked(&check(1), start);
        assert_eq!(consent.poll_timeout(), Some(start + REPEAT));
        assert!(consent.poll_repeat(start).is_none());
        let again = consent.poll_repeat(start + REPEAT).expect("it is due");
        assert_eq!(again.contents, [1]);
        consent.on_asked(&again, start + REPEAT);
        assert_eq!(consent.silent_since(), Some(start));
        assert!(consent.poll_repeat(start + REPEAT).is_none());
        assert!(consent.poll_repeat(start + REPEAT * 2).is_some());
        consent.on_answered(path(), None, start + REPEAT * 3);
        assert_eq!(consent.poll_timeout(), None);
        assert_eq!(consent.rtt, RTT);
    }

    #[test]
    fn the_next_check_is_known_while_none_waits_for_its_answer() {
        let start = Instant::now();
        let mut consent = watching(start);
        assert_eq!(consent.next_check(), None, "none was sent");
        consent.on_asked(&check(1), start);
        assert_eq!(consent.next_check(), None);
        consent.on_asked(&check(1), start + REPEAT);
        consent.on_answered(path(), None, start + REPEAT);
        let next = start + CHECK_INTERVAL;
        assert_eq!(consent.next_check(), Some((path(), next)));
        consent.on_generation(next);
        assert_eq!(consent.next_check(), None, "another path is searched for");
        consent.watch(path(), None);
        assert_eq!(consent.next_check(), None);
    }

    #[test]
    fn a_long_path_has_the_time_to_answer() {
        let (config, start) = (config(), Instant::now());
        let mut consent = watching(start);
        let long = Duration::from_secs(2);
        consent.on_answered(path(), Some(long), start);
        consent.on_asked(&check(1), start);
        assert_eq!(consent.poll_timeout(), Some(start + long * 2));
        let degraded = start + config.degraded_after + long;
        let early = degraded - Duration::from_nanos(1);
        assert_eq!(consent.handle_timeout(early), None);
        assert_eq!(consent.handle_timeout(degraded), Some(Condition::Degraded));
        assert!(consent.poll_repeat(start + long).is_none());
    }

    #[test]
    fn nothing_is_repeated_on_a_path_that_is_lost() {
        let (config, start) = (config(), Instant::now());
        let mut consent = watching(start);
        consent.on_asked(&check(1), start);
        let late = start + config.lost_after + RTT;
        consent.handle_timeout(late);
        consent.handle_timeout(late);
        assert_eq!(consent.condition(), Condition::Lost);
        assert!(consent.poll_repeat(late).is_none());
    }

    #[test]
    fn a_restart_of_ice_is_no_silence() {
        let start = Instant::now();
        let mut consent = watching(start);
        consent.on_asked(&check(1), start);
        consent.on_generation(start);
        consent.on_asked(&check(2), start);
        let until = start + config().attempt_timeout;
        assert_eq!(consent.poll_timeout(), Some(until));
        assert!(consent.is_given(start + CONSENT - RTT));
        consent.on_answered(path(), Some(RTT), start + RTT);
        consent.on_asked(&check(3), start + RTT);
        assert!(consent.poll_timeout().is_some());
    }

    #[test]
    fn a_restart_of_ice_that_finds_nothing_is() {
        let start = Instant::now();
        let mut consent = watching(start);
        consent.on_generation(start);
        let until = start + config().attempt_timeout;
        assert_eq!(consent.handle_timeout(until), Some(Condition::Lost));
        assert_eq!(consent.poll_timeout(), None);
    }

    #[test]
    fn consent_ends_30_s_after_the_last_answer_and_other_paths_give_none() {
        let start = Instant::now();
        let mut consent = watching(start);
        let last = start + CONSENT - Duration::from_nanos(1);
        assert!(consent.is_given(last));
        assert!(!consent.is_given(start + CONSENT));
        let Path { local, remote } = path();
        let other = Path {
            local: remote,
            remote: local,
        };
        consent.on_answered(other, Some(RTT), last);
        assert!(!consent.is_given(start + CONSENT));
        assert!(!Consent::new(&config()).is_given(start));
    }
}
