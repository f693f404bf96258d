//! The paths to a peer that work: those on which a connectivity check was answered lately.
//!
//! The agent goes on checking every pair that has succeeded, every three seconds, whether data takes it or not. So what
//! could take over is known without asking: a path is one as long as it answers.

use std::time::{Duration, Instant};

use super::session::CHECK_INTERVAL;
use crate::event::Path;

/// A path that works, and how well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathQuality {
    /// Its two ends.
    pub path: Path,
    /// Whether data takes it. The others are standbys.
    pub in_use: bool,
    /// Whether our end of it is on a TURN server.
    pub relayed: bool,
    /// The round trip time of the last connectivity check on it that was answered (RFC 8445 section 7.2.5).
    pub rtt: Duration,
    /// When that answer came.
    pub answered: Instant,
}

/// The time that a check took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Took {
    pub(crate) time: Duration,
    /// Whether it is the round trip time. Of a check that was sent twice nobody knows which copy was answered, and the time
    /// since the first is the most that it can be.
    pub(crate) is_exact: bool,
}

/// What was answered where.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// At most [`MAX_PATHS`], in the order in which they were first answered.
    entries: Vec<Answered>,
    /// When the generation began: checks that were sent before are none of its.
    since: Option<Instant>,
}

/// The last answer on a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    path: Path,
    pub(super) rtt: Duration,
    pub(super) at: Instant,
    /// When the agent checked it last, since then.
    checked: Option<Instant>,
}

impl Paths {
    /// A generation of credentials begins, and with it the search for paths (RFC 8445 section 9).
    pub(super) fn on_generation(&mut self, now: Instant) {
        self.entries.clear();
        self.since = Some(now);
    }

    /// A check on `path` was answered. At [`MAX_PATHS`] the one that was silent longest gives its place.
    pub(super) fn on_answered(&mut self, path: Path, took: Took, now: Instant) {
        let is_of_before = |since: Instant| now.saturating_duration_since(since) < took.time;
        if self.since.is_some_and(is_of_before) {
            return;
        }
        if let Some(known) = self.entries.iter_mut().find(|known| known.path == path) {
            known.at = now;
            if took.is_exact {
                known.rtt = took.time;
            }
            return;
        }
        let answered = Answered {
            path,
            rtt: took.time,
            at: now,
            checked: None,
        };
        self.entries.retain(|known| known.works(now));
        if self.entries.len() >= MAX_PATHS {
            let at = |(_, known): &(usize, &Answered)| known.at;
            let oldest = self.entries.iter().enumerate().min_by_key(at);
            if let Some(oldest) = oldest.map(|(index, _)| index) {
                self.entries.remove(oldest);
            }
        }
        self.entries.push(answered);
    }

    /// The agent has checked `path`.
    pub(super) fn on_checked(&mut self, path: Path, now: Instant) {
        if let Some(known) = self.entries.iter_mut().find(|known| known.path == path) {
            known.checked = Some(now);
        }
    }

    /// When the transport is to be driven that asks for `at`. A check of a standby waits for that of the path in use, which is
    /// `next`, so that an idle host is woken once for both; the last secured datagram was sent or came at `secured`.
    pub(super) fn postponed(
        &self,
        at: Instant,
        (used, next): (Path, Instant),
        secured: Instant,
    ) -> Instant {
        let is_checked = |known: &Answered| known.checked.is_some_and(|c| c + CHECK_INTERVAL == at);
        let mut standbys = self.entries.iter().filter(|known| known.path != used);
        if secured + IDLE <= at && next > at && standbys.any(is_checked) {
            next
        } else {
            at
        }
    }

    /// The last answer on `path`, if there was one in this generation.
    pub(super) fn last_answer(&self, path: Path) -> Option<Answered> {
        let mut known = self.entries.iter();
        known.find(|known| known.path == path).copied()
    }

    /// The path that answered last.
    pub(super) fn newest(&self) -> Option<Path> {
        let newest = self.entries.iter().max_by_key(|known| known.at);
        newest.map(|known| known.path)
    }

    /// Some of our addresses cannot be sent from any more: keeps the paths whose ends `is_ours`.
    pub(super) fn retain(&mut self, is_ours: impl Fn(&Path) -> bool) {
        self.entries.retain(|known| is_ours(&known.path));
    }

    /// Those that work at `now`: the one that is `used`, and then by their round trip times.
    pub(super) fn working(
        &self,
        used: Option<Path>,
        is_relayed: impl Fn(&Path) -> bool,
        now: Instant,
    ) -> Vec<PathQuality> {
        let working = self.entries.iter().filter(|known| known.works(now));
        let mut paths: Vec<_> = working
            .map(|known| PathQuality {
                path: known.path,
                in_use: used == Some(known.path),
                relayed: is_relayed(&known.path),
                rtt: known.rtt,
                answered: known.at,
            })
            .collect();
        paths.sort_by_key(|known| {
            let Path { local, remote } = known.path;
            (!known.in_use, known.rtt, local, remote)
        });
        paths
    }
}

impl Answered {
    fn works(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) <= SILENT
    }
}

/// Paths of one peer that are known: an agent of str0m has no more pairs.
const MAX_PATHS: usize = 100;
/// After so long without a secured datagram nothing of SCTP's is due that would suffer from a [`CHECK_INTERVAL`] more: it
/// acknowledges within 200 ms, and what it has under way on a path that answers it has sent again by then.
const IDLE: Duration = Duration::from_secs(5);
/// A path that did not answer for longer is none. Two checks and their quick repetitions are lost then.
const SILENT: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(20);

    #[test]
    fn a_path_is_one_as_long_as_it_answers() {
        let mut paths = Paths::default();
        let start = Instant::now();
        paths.on_answered(path(1), took(RTT), start);
        assert_eq!(ports(&paths, None, start + SILENT), [1]);
        let later = start + SILENT + Duration::from_nanos(1);
        assert!(ports(&paths, None, later).is_empty());
        paths.on_answered(path(1), took(RTT * 2), later);
        let again = working(&paths, None, later);
        assert_eq!((again[0].rtt, again[0].answered), (RTT * 2, later));
        let rtt = |port| paths.last_answer(path(port)).map(|known| known.rtt);
        assert_eq!((rtt(1), rtt(2)), (Some(RTT * 2), None));
    }

    #[test]
    fn a_time_that_is_not_exact_counts_only_where_none_is_known() {
        let mut paths = Paths::default();
        let start = Instant::now();
        let long = Took {
            time: RTT * 9,
            is_exact: false,
        };
        paths.on_answered(path(1), long, start);
        let rtt = |paths: &Paths| paths.last_answer(path(1)).map(|known| known.rtt);
        assert_eq!(rtt(&paths), Some(RTT * 9));
        paths.on_answered(path(1), took(RTT), start);
        paths.on_answered(path(1), long, start + RTT);
        assert_eq!(rtt(&paths), Some(RTT));
        assert_eq!(working(&paths, None, start)[0].answered, start + RTT);
    }

    #[test]
    fn the_one_in_use_comes_first_and_the_others_by_their_round_trips() {
        let mut paths = Paths::default();
        let now = Instant::now();
        for (port, rtt) in [(5, 30), (4, 10), (3, 20), (2, 10)] {
            paths.on_answered(path(port), took(Duration::from_millis(rtt)), now);
        }
        assert_eq!(ports(&paths, Some(path(5)), now), [5, 2, 4, 3]);
        assert_eq!(ports(&paths, Some(path(9)), now), [2, 4, 3, 5]);
        let in_use: Vec<_> = working(&paths, Some(path(5)), now)
            .iter()
            .map(|known| known.in_use)
            .collect();
        assert_eq!(in_use, [true, false, false, false]);
    }

    #[test]
    fn only_the_check_of_a_standby_waits_and_only_while_nothing_is_sent() {
        let mut paths = Paths::default();
        let secured = Instant::now();
        let (used, standby) = (path(1), path(2));
        let checked = secured + IDLE;
        for path in [used, standby] {
            paths.on_answered(path, took(RTT), checked);
            paths.on_checked(path, checked);
        }
        let due = checked + CHECK_INTERVAL;
        let next = due + Duration::from_secs(1);
        let postponed = |at, of, secured| paths.postponed(at, (of, next), secured);
        assert_eq!(postponed(due, used, secured), next);
        let busy = due - IDLE + Duration::from_nanos(1);
        assert_eq!(postponed(due, used, busy), due, "something is under way");
        let other = due + Duration::from_nanos(1);
        assert_eq!(postponed(other, used, secured), other, "no check");
        let late = next + Duration::from_nanos(1);
        assert_eq!(paths.postponed(due, (used, due), secured), due);
        assert_eq!(postponed(late, used, secured), late);
        let mut alone = Paths::default();
        alone.on_answered(used, took(RTT), checked);
        alone.on_checked(used, checked);
        alone.on_checked(standby, checked);
        assert_eq!(alone.postponed(due, (used, next), secured), due);
    }

    #[test]
    fn at_the_bound_the_path_that_was_silent_longest_gives_its_place() {
        let mut paths = Paths::default();
        let start = Instant::now();
        let at = |port: u16| start + Duration::from_millis(u64::from(port));
        let last = u16::try_from(MAX_PATHS).expect("small");
        for port in 1..=last {
            paths.on_answered(path(port), took(RTT), at(port));
        }
        assert_eq!(working(&paths, None, at(last)).len(), MAX_PATHS);
        paths.on_answered(path(1), took(RTT), at(last));
        paths.on_answered(path(last + 1), took(RTT), at(last + 1));
        let known = ports(&paths, None, at(last + 1));
        assert_eq!(known.len(), MAX_PATHS);
        assert!(known.contains(&1) && !known.contains(&2));
    }

    #[test]
    fn silent_paths_give_their_places_first() {
        let mut paths = Paths::default();
        let start = Instant::now();
        let last = u16::try_from(MAX_PATHS).expect("small");
        (1..=last).for_each(|port| paths.on_answered(path(port), took(RTT), start));
        paths.on_answered(path(0), took(RTT), start + SILENT * 2);
        assert_eq!(paths.entries.len(), 1);
    }

    #[test]
    fn a_generation_knows_no_answer_to_a_check_of_the_one_before() {
        let mut paths = Paths::default();
        let start = Instant::now();
        paths.on_answered(path(1), took(RTT), start);
        paths.on_generation(start + RTT);
        paths.on_answered(
            path(2),
            took(RTT),
            start + RTT * 2 - Duration::from_nanos(1),
        );
        assert!(ports(&paths, None, start + RTT * 2).is_empty());
        paths.on_answered(path(2), took(RTT), start + RTT * 2);
        assert_eq!(ports(&paths, None, start + RTT * 2), [2]);
    }

    #[test]
    fn paths_from_an_address_that_is_gone_are_none() {
        let mut paths = Paths::default();
        let now = Instant::now();
        paths.on_answered(path(1), took(RTT), now);
        paths.on_answered(path(2), took(RTT), now);
        paths.retain(|path| path.local.port() != 1);
        assert_eq!(ports(&paths, None, now), [2]);
    }

    #[test]
    fn a_peer_without_paths_has_no_table() {
        assert_eq!(Paths::default().entries.capacity(), 0);
        assert!(size_of::<Paths>() <= 40, "{}", size_of::<Paths>());
        assert!(size_of::<Answered>() <= 112, "{}", size_of::<Answered>());
    }

    fn working(paths: &Paths, used: Option<Path>, now: Instant) -> Vec<PathQuality> {
        paths.working(used, |_| false, now)
    }

    fn ports(paths: &Paths, used: Option<Path>, now: Instant) -> Vec<u16> {
        let working = working(paths, used, now);
        working
            .iter()
            .map(|known| known.path.local.port())
            .collect()
    }

    fn took(time: Duration) -> Took {
        Took {
            time,
            is_exact: true,
        }
    }

    fn path(port: u16) -> Path {
        Path {
            local: ([192, 0, 2, 1], port).into(),
            remote: ([192, 0, 2, 2], 9).into(),
        }
    }
}
