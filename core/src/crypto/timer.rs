//! When a DTLS instance is woken: the same for the same inputs, and never before the path is there.
//!
//! dimpl draws 25 % of random jitter into each of its intervals, takes the time of its last wake-up for the present,
//! and counts a retry whether or not there is a path yet. So its deadlines differ from run to run, a flight that
//! answers a late packet is repeated at once, and a handshake dies of retries that piled up while ICE was searching.
//!
//! This clock stands between: the instance lives in a time of its own, which follows the real one but stops short of
//! each deadline that the instance names, until the interval that was *meant* (the first one times a power of two, at
//! most [`MAX_INTERVAL`]) has passed since the flight left. Then it steps onto the deadline. The instance sees a
//! time that never goes back and a timer that fires when due, which is all that RFC 9147 section 5.8 asks of it.
//! A deadline that is not armed yet waits while retransmissions are held.

use std::time::{Duration, Instant};

/// Translates between real time and that of one DTLS instance.
#[derive(Debug)]
pub(super) struct Timer {
    /// The interval after which a flight is repeated first.
    first: Duration,
    now: Instant,
    /// The time that the instance was last told.
    inner: Instant,
    /// Whether `now` is the present: it was told since the instance was last left to wait.
    fresh: bool,
    phase: Phase,
    /// Deadlines of the instance that it may come back to: a flight and an acknowledgement.
    known: [Option<Deadline>; 2],
    /// When the instance was last woken for something that it wanted done at once.
    woken_at_once: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The instance is new or has woken since it last named its deadline: its time stands still.
    Unsettled,
    /// It has given out a packet since, and may have more. str0m wakes it after each packet, which would make dimpl
    /// acknowledge the same gap for ever; it hears nothing until it has named its deadline.
    Sending,
    /// It waits for nothing.
    Idle,
    /// It waits for this deadline, in its own time.
    Waiting(Instant),
}

#[derive(Debug, Clone, Copy)]
struct Deadline {
    /// In the time of the instance: its identity.
    inner: Instant,
    after: Duration,
    /// Whether the instance wants it done at once.
    at_once: bool,
    /// In real time, once it runs.
    due: Option<Instant>,
}

impl Timer {
    pub(super) fn new(first: Duration, now: Instant) -> Self {
        Self {
            first,
            now,
            inner: now,
            fresh: false,
            phase: Phase::Unsettled,
            known: [None; 2],
            woken_at_once: None,
        }
    }

    /// The last time that was told.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Notes that the instance gave out a packet, and may have started a timer with it.
    pub(super) fn on_packet_sent(&mut self) {
        self.phase = Phase::Sending;
    }

    /// The time to tell the instance, now that it is `now`. `None`: nothing, because it is sending, or its time stands
    /// at a deadline that is not due yet.
    pub(super) fn handle_timeout(&mut self, now: Instant, hold: bool) -> Option<Instant> {
        self.now = self.now.max(now);
        self.fresh = true;
        match self.phase {
            Phase::Unsettled => {}
            Phase::Sending => return None,
            Phase::Idle => self.inner = self.inner.max(self.now),
            Phase::Waiting(deadline) => self.wake(deadline, hold),
        }
        let is_early = matches!(self.phase, Phase::Waiting(deadline) if deadline <= self.inner);
        (!is_early).then_some(self.inner)
    }

    /// When to wake the instance, which asks for `deadline` in its own time.
    pub(super) fn poll_timeout(&mut self, deadline: Instant, hold: bool) -> Instant {
        let ahead = deadline.saturating_duration_since(self.inner);
        if ahead >= IDLE {
            self.phase = Phase::Idle;
            self.known = [None; 2];
            return deadline;
        }
        self.phase = Phase::Waiting(deadline);
        let (fresh, now) = (std::mem::take(&mut self.fresh), self.now);
        let entry = self.entry(deadline, ahead);
        let held = hold && entry.after > Duration::ZERO;
        if entry.due.is_none() && fresh && !held {
            entry.due = Some(now + entry.after);
        }
        match entry.due {
            Some(due) => due,
            None if held => now + HELD,
            // Asks for the present time, from which the interval then runs.
            None => now,
        }
    }

    fn wake(&mut self, deadline: Instant, hold: bool) {
        let now = self.now;
        let Some(entry) = self
            .known
            .iter_mut()
            .flatten()
            .find(|d| d.inner == deadline)
        else {
            return;
        };
        if entry.due.is_none() && !(hold && entry.after > Duration::ZERO) {
            entry.due = Some(now + entry.after);
        }
        if entry.due.is_some_and(|due| due <= now) {
            if entry.at_once {
                self.woken_at_once = Some(now);
            }
            self.inner = self.inner.max(deadline);
            self.known
                .iter_mut()
                .for_each(|d| *d = d.filter(|d| d.inner > deadline));
            self.phase = Phase::Unsettled;
        } else {
            let short = deadline
                .checked_sub(Duration::from_nanos(1))
                .unwrap_or(self.inner);
            self.inner = self.inner.max(short.min(now));
        }
    }

    /// How long something that is wanted at once has to wait, because the last such thing was done just now.
    ///
    /// While a flight has a gap dimpl wants to acknowledge the rest of it at once, and again at once when it has.
    fn pause_left(&self) -> Duration {
        let next = self.woken_at_once.map(|at| at + self.first / 4);
        next.map_or(Duration::ZERO, |next| {
            next.saturating_duration_since(self.now)
        })
    }

    fn entry(&mut self, deadline: Instant, ahead: Duration) -> &mut Deadline {
        let index = match self.known {
            [Some(first), _] if first.inner == deadline => 0,
            [_, Some(second)] if second.inner == deadline => 1,
            [None, _] => 0,
            [_, None] => 1,
            [Some(first), Some(second)] => usize::from(second.inner < first.inner),
        };
        let meant = meant(self.first, ahead);
        let at_once = meant.is_zero();
        let after = if at_once { self.pause_left() } else { meant };
        let fresh = Deadline {
            inner: deadline,
            after,
            at_once,
            due: None,
        };
        let slot = &mut self.known[index];
        if slot.is_some_and(|d| d.inner != deadline) {
            *slot = None;
        }
        slot.get_or_insert(fresh)
    }
}

/// The interval of which `ahead` is the jittered form: `first` times a power of two, at most [`MAX_INTERVAL`].
fn meant(first: Duration, ahead: Duration) -> Duration {
    if ahead < first / 8 {
        return Duration::ZERO;
    }
    // dimpl delays an acknowledgement by a quarter of the interval.
    let mut meant = first / 4;
    let longest = MAX_INTERVAL.max(first);
    // Jitter spans 0.75 to 1.25, so that 1.3 tells one power of two from the next.
    while meant < longest && meant.saturating_mul(13) / 10 < ahead {
        meant = meant.saturating_mul(2);
    }
    meant.min(longest)
}

/// The longest interval between repetitions of a flight.
const MAX_INTERVAL: Duration = Duration::from_secs(2);
/// An instance that asks to be woken after this waits for nothing.
const IDLE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How far ahead a held deadline is announced.
const HELD: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(250);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_jittered_interval_is_taken_for_the_one_that_was_meant() {
        for (percent, jitter) in [(75, "least"), (100, "none"), (125, "most")] {
            for power in 0..4 {
                let meant_interval = FIRST * (1 << power);
                assert_eq!(
                    meant(FIRST, meant_interval * percent / 100),
                    meant_interval,
                    "{jitter}"
                );
            }
            assert_eq!(meant(FIRST, FIRST * percent / 400), FIRST / 4, "{jitter}");
        }
        assert_eq!(meant(FIRST, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn intervals_stop_growing_at_the_longest() {
        for power in [3, 4, 10, 20] {
            assert_eq!(meant(FIRST, FIRST * (1 << power)), MAX_INTERVAL);
        }
        let slow = MAX_INTERVAL * 2;
        assert_eq!(meant(slow, slow), slow);
    }

    #[test]
    fn the_instance_wakes_exactly_when_the_meant_interval_has_passed() {
        for jittered in [ms(190), ms(250), ms(310)] {
            let start = Instant::now();
            let mut timer = Timer::new(FIRST, start);
            let deadline = start + jittered;
            timer.on_packet_sent();
            timer.handle_timeout(start, false);
            assert_eq!(timer.poll_timeout(deadline, false), start + FIRST);
            assert!(timer.handle_timeout(start + ms(249), false).expect("told") < deadline);
            assert_eq!(timer.poll_timeout(deadline, false), start + FIRST);
            assert!(timer.handle_timeout(start + FIRST, false).expect("told") >= deadline);
        }
    }

    #[test]
    fn a_flight_that_answers_a_late_packet_is_not_due_at_once() {
        let start = Instant::now();
        let mut timer = Timer::new(FIRST, start);
        timer.poll_timeout(start + 2 * IDLE, false);
        let arrival = start + ms(5_000);
        // The instance answers in the belief that no time has passed, and hears nothing until it is done.
        timer.on_packet_sent();
        assert_eq!(timer.handle_timeout(arrival, false), None);
        assert_eq!(timer.poll_timeout(start + ms(280), false), arrival + FIRST);
    }

    #[test]
    fn an_interval_that_starts_at_an_unknown_time_asks_for_the_present_first() {
        let start = Instant::now();
        let mut timer = Timer::new(FIRST, start);
        let deadline = start + ms(60);
        assert_eq!(timer.poll_timeout(deadline, false), start);
        assert!(timer.handle_timeout(start + ms(900), false).expect("told") < deadline);
        assert_eq!(
            timer.poll_timeout(deadline, false),
            start + ms(900) + FIRST / 4
        );
    }

    #[test]
    fn what_is_wanted_at_once_over_and_over_is_done_once_in_a_while() {
        let start = Instant::now();
        let mut timer = Timer::new(ms(200), start);
        let mut woken = 0;
        for at in 0..200 {
            let now = start + ms(at);
            // The instance acknowledges, and wants to again in the same instant of its own.
            let mut asked = 0;
            while timer.poll_timeout(start, false) <= now {
                asked += 1;
                assert!(asked < 5, "it spins");
                if timer.handle_timeout(now, false).is_some() {
                    woken += 1;
                    timer.on_packet_sent();
                }
            }
        }
        assert_eq!(woken, 4, "every 50 ms");
    }

    #[test]
    fn a_held_flight_waits_for_the_path_and_runs_its_interval_from_there() {
        let start = Instant::now();
        let mut timer = Timer::new(FIRST, start);
        timer.on_packet_sent();
        let deadline = start + ms(250);
        assert_eq!(timer.poll_timeout(deadline, true), start + HELD);
        assert!(timer.handle_timeout(start + ms(9_000), true).expect("told") < deadline);
        assert!(
            timer
                .handle_timeout(start + ms(9_500), false)
                .expect("told")
                < deadline
        );
        assert_eq!(timer.poll_timeout(deadline, false), start + ms(9_750));
    }

    #[test]
    fn a_deadline_that_comes_back_keeps_its_time() {
        let start = Instant::now();
        let mut timer = Timer::new(FIRST, start);
        let (flight, ack) = (start + ms(290), start + ms(50));
        timer.handle_timeout(start, false);
        assert_eq!(timer.poll_timeout(flight, false), start + FIRST);
        timer.handle_timeout(start, false);
        assert_eq!(timer.poll_timeout(ack, false), start + FIRST / 4);
        assert_eq!(timer.handle_timeout(start + FIRST / 4, false), Some(ack));
        assert_eq!(timer.poll_timeout(flight, false), start + FIRST);
    }
}
