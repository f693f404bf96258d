//! What is tried to bring a lost connection back, and when.
//!
//! The rungs are data and the machine is a cursor on them. It is told that the connection is lost or back, and asked what
//! to do; it knows nothing of how a rung works.

use std::time::{Duration, Instant};

use crate::config::{Backoff, Jitter, Reconnect};
use crate::event::Rung;
use crate::rng::Rng;

/// The cursor on the rungs.
#[derive(Debug, Default)]
pub(super) struct Ladder {
    repair: Option<Repair>,
    /// Signalling is down, which every rung needs: no attempt is made until it is up.
    waits: bool,
    /// Where the last repair ended, and when: what is lost again soon goes on there.
    last: Option<(Place, Instant)>,
}

/// A rung, and how often it was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    rung: Rung,
    attempts: u32,
}

/// A connection that is lost.
#[derive(Debug)]
struct Repair {
    since: Instant,
    place: Place,
    stage: Stage,
    /// Attempts in all.
    attempts: u32,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// The next attempt begins then.
    Resting { until: Instant },
    /// One is under way, and has failed then.
    Trying { until: Instant },
    /// All were made.
    Exhausted,
}

/// What is to be done or told next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// An attempt, the how manieth of its rung from 1, will be made.
    Scheduled {
        rung: Rung,
        attempt: u32,
        at: Instant,
    },
    /// It is to be made now.
    Attempt { rung: Rung, attempt: u32 },
}

/// How a connection came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repaired {
    /// The rung that was tried last; `None` when it came back by itself.
    pub(super) rung: Option<Rung>,
    /// Attempts in all.
    pub(super) attempts: u32,
    pub(super) took: Duration,
}

impl Ladder {
    /// One on which nothing is lost. `waits` as in [`Ladder::set_waits`].
    pub(super) fn new(waits: bool) -> Self {
        Self {
            waits,
            ..Self::default()
        }
    }

    /// Whether attempts have to wait from now on, whose time comes.
    pub(super) fn set_waits(&mut self, waits: bool) {
        self.waits = waits;
    }

    /// The connection is lost, and `rung` is the first that can help. Gives what will be tried, unless that is known.
    pub(super) fn on_lost(
        &mut self,
        rung: Rung,
        config: &Reconnect,
        rng: &mut Rng,
        now: Instant,
    ) -> Option<Step> {
        let fresh = Place { rung, attempts: 0 };
        let (since, attempts, place) = match (&self.repair, self.last) {
            (Some(repair), _) if repair.place.rung >= rung => return None,
            (Some(repair), _) => (repair.since, repair.attempts, fresh),
            (None, Some((last, at))) if last.rung >= rung && !is_over(at, config, now) => {
                (now, 0, last)
            }
            (None, _) => (now, 0, fresh),
        };
        let repair = self.repair.insert(Repair {
            since,
            place,
            stage: Stage::Exhausted,
            attempts,
        });
        repair.rest(config, rng, now)
    }

    /// The connection is back.
    pub(super) fn on_restored(&mut self, now: Instant) -> Option<Repaired> {
        let repair = self.repair.take()?;
        self.last = Some((repair.place, now));
        Some(Repaired {
            rung: (repair.attempts > 0).then_some(repair.place.rung),
            attempts: repair.attempts,
            took: now.saturating_duration_since(repair.since),
        })
    }

    /// The peer makes an attempt: what we would try waits for it.
    pub(super) fn on_helped(&mut self, rung: Rung, config: &Reconnect, now: Instant) {
        let begun = Repair {
            since: now,
            place: Place { rung, attempts: 0 },
            stage: Stage::Exhausted,
            attempts: 0,
        };
        let repair = self.repair.get_or_insert(begun);
        if repair.place.rung < rung {
            repair.place = Place { rung, attempts: 0 };
        }
        repair.stage = Stage::Trying {
            until: now + config.attempt_timeout,
        };
    }

    /// The attempt could not be made, and may be made then. It does not count.
    pub(super) fn postpone(&mut self, until: Instant) {
        if let Some(repair) = &mut self.repair
            && matches!(repair.stage, Stage::Trying { .. })
        {
            repair.place.attempts = repair.place.attempts.saturating_sub(1);
            repair.attempts = repair.attempts.saturating_sub(1);
            repair.stage = Stage::Resting { until };
        }
    }

    /// The connection is over.
    pub(super) fn stop(&mut self) {
        self.repair = None;
    }

    /// What is due at `now`.
    pub(super) fn poll(&mut self, config: &Reconnect, rng: &mut Rng, now: Instant) -> Option<Step> {
        let repair = self.repair.as_mut()?;
        match repair.stage {
            Stage::Trying { until } if until <= now || planted!(RestartStorm) => {
                repair.rest(config, rng, now)
            }
            Stage::Resting { until } if until <= now && !self.waits => {
                repair.attempts += 1;
                repair.place.attempts += 1;
                repair.stage = Stage::Trying {
                    until: now + config.attempt_timeout,
                };
                let Place { rung, attempts } = repair.place;
                Some(Step::Attempt {
                    rung,
                    attempt: attempts,
                })
            }
            Stage::Trying { .. } | Stage::Resting { .. } | Stage::Exhausted => None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.repair.as_ref()?.stage {
            Stage::Resting { .. } if self.waits => None,
            Stage::Trying { until } | Stage::Resting { until } => Some(until),
            Stage::Exhausted => None,
        }
    }
}

impl Repair {
    /// Rests before the next attempt: of this rung, or of the next one that has any.
    fn rest(&mut self, config: &Reconnect, rng: &mut Rng, now: Instant) -> Option<Step> {
        let Place { rung, attempts } = self.place;
        let rungs = RUNGS.into_iter().filter(|other| *other >= rung);
        let mut left = rungs.filter_map(|other| {
            let attempts = if other == rung { attempts } else { 0 };
            let backoff = backoff(other, config);
            (attempts < backoff.attempts).then_some((
                Place {
                    rung: other,
                    attempts,
                },
                backoff,
            ))
        });
        let Some((place, backoff)) = left.next() else {
            self.stage = Stage::Exhausted;
            return None;
        };
        let at = now + delay(backoff, place.attempts, rng);
        self.place = place;
        self.stage = Stage::Resting { until: at };
        Some(Step::Scheduled {
            rung: place.rung,
            attempt: place.attempts + 1,
            at,
        })
    }
}

fn backoff(rung: Rung, config: &Reconnect) -> &Backoff {
    match rung {
        Rung::IceRestart => &config.restart,
        Rung::Rebuild => &config.rebuild,
    }
}

/// The rest before the attempt that follows `made` others.
fn delay(backoff: &Backoff, made: u32, rng: &mut Rng) -> Duration {
    let whole = match made.checked_sub(1) {
        None => backoff.first,
        Some(doublings) => {
            let factor = 2_u32.saturating_pow(doublings);
            backoff.delay.saturating_mul(factor).min(backoff.delay_max)
        }
    };
    match backoff.jitter {
        Jitter::None => whole,
        Jitter::Full => rng.duration_up_to(whole),
        Jitter::Added(most) => whole + rng.duration_up_to(most),
    }
}

/// Whether a repair that ended at `at` does not matter any more.
fn is_over(at: Instant, config: &Reconnect, now: Instant) -> bool {
    now.saturating_duration_since(at) >= config.stable_after
}

/// The rungs, in their order.
const RUNGS: [Rung; 2] = [Rung::IceRestart, Rung::Rebuild];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Preset};
    use crate::rng::Seed;

    fn rng() -> Rng {
        Rng::new(&Seed::from([3; 32]))
    }

    /// What is tried after a loss, in milliseconds, when nothing helps.
    fn tries(config: &Reconnect, ladder: &mut Ladder, first: Rung) -> Vec<(Rung, u32, u128)> {
        let (mut rng, start) = (rng(), Instant::now());
        let mut now = start;
        let mut tries = Vec::new();
        ladder.on_lost(first, config, &mut rng, now);
        while let Some(at) = ladder.poll_timeout() {
            now = now.max(at);
            while let Some(step) = ladder.poll(config, &mut rng, now) {
                if let Step::Attempt { rung, attempt } = step {
                    tries.push((rung, attempt, (now - start).as_millis()));
                }
            }
        }
        tries
    }

    #[test]
    fn each_preset_tries_what_is_documented() {
        let mut table = String::new();
        for preset in Preset::ALL {
            let config = Config::preset(preset).build().expect("a preset");
            table += &format!("{preset:?}\n");
            for (rung, attempt, at) in tries(&config.reconnect, &mut Ladder::default(), RUNGS[0]) {
                table += &format!("  {at:>6} ms  {rung} {attempt}\n");
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn a_lost_transport_is_rebuilt_without_restarts_and_once() {
        let config = Config::default().reconnect;
        let mut ladder = Ladder::default();
        let tried = tries(&config, &mut ladder, Rung::Rebuild);
        assert!(tried.iter().all(|(rung, ..)| *rung == Rung::Rebuild));
        assert_eq!(tried.len(), config.rebuild.attempts as usize);
        let now = Instant::now();
        let known = ladder.on_lost(Rung::IceRestart, &config, &mut rng(), now);
        assert_eq!(known, None);
    }

    #[test]
    fn what_is_lost_again_soon_goes_on_where_it_was_and_later_begins_anew() {
        let config = Config::default().reconnect;
        for (calm, attempt) in [
            (config.stable_after - Duration::from_millis(1), 2),
            (config.stable_after, 1),
        ] {
            let (mut ladder, mut rng, start) = (Ladder::default(), rng(), Instant::now());
            ladder.on_lost(Rung::IceRestart, &config, &mut rng, start);
            ladder.poll(&config, &mut rng, start);
            let repaired = ladder.on_restored(start + Duration::from_secs(1));
            let expected = Repaired {
                rung: Some(Rung::IceRestart),
                attempts: 1,
                took: Duration::from_secs(1),
            };
            assert_eq!(repaired, Some(expected));
            let again = start + Duration::from_secs(1) + calm;
            let scheduled = ladder.on_lost(Rung::IceRestart, &config, &mut rng, again);
            let Some(Step::Scheduled { attempt: next, .. }) = scheduled else {
                panic!("{scheduled:?}");
            };
            assert_eq!(next, attempt, "after {calm:?}");
        }
    }

    #[test]
    fn an_attempt_that_came_too_soon_does_not_count() {
        let config = Config::default().reconnect;
        let (mut ladder, mut rng, start) = (Ladder::default(), rng(), Instant::now());
        ladder.on_lost(Rung::IceRestart, &config, &mut rng, start);
        let tried = ladder.poll(&config, &mut rng, start);
        let until = start + Duration::from_secs(3);
        ladder.postpone(until);
        assert_eq!(ladder.poll_timeout(), Some(until));
        assert_eq!(ladder.poll(&config, &mut rng, until), tried);
        assert_eq!(ladder.on_restored(until).map(|r| r.attempts), Some(1));
    }

    #[test]
    fn what_comes_back_by_itself_was_brought_back_by_no_rung() {
        let config = Config::preset(Preset::Classic).build().expect("a preset");
        let (mut ladder, start) = (Ladder::default(), Instant::now());
        ladder.on_lost(Rung::IceRestart, &config.reconnect, &mut rng(), start);
        let repaired = ladder.on_restored(start).expect("it was lost");
        assert_eq!((repaired.rung, repaired.attempts), (None, 0));
        assert_eq!(ladder.on_restored(start), None);
    }
}
