//! How much may wait in SCTP's send buffer.
//!
//! Too little leaves the path idle while acknowledgements travel; too much is a queue that every control message has
//! to stand in, and SCTP's processor time grows with it. The least that fills a path is its bandwidth-delay product,
//! and a quarter more notices when there is more to have.
//!
//! Both factors are measured from the backlog itself. From a write until its last byte is acknowledged is a round: its
//! length is a round trip, and what was acknowledged meanwhile, over that time, is the rate. Then, as in BBR:
//!
//! - *Grow*: whenever the cap was the limit and a round is faster than any before, the cap grows by half. What that does
//!   is seen one round later, and that one is looked at. A round that takes a quarter longer than the shortest has found
//!   a queue and ends this, and so do three without gain. To grow faster would be to find the end of the queue: what is
//!   lost there by the hundred costs SCTP seconds.
//! - *Probe*: the cap falls to half the product, until one round has measured the path without its queue.
//! - *Cruise*: the cap is 5/4 of the product. When the path has more, rounds become faster and the cap follows by a
//!   quarter each time; slow rounds have to be the best of the last eight before it falls. The round trip is probed
//!   again after a while, because a path that became longer would otherwise look like a full queue.
//!
//! Where the processor is the bottleneck, as between two processes of one machine, a round measures the work that the
//! bytes under way cause, and the product of that would ask for more of them. So the round trip is at most what the
//! connectivity checks on the same path have measured lately: they are small, and wait for nothing.
//!
//! Only integers are used, so that the cap is the same on every machine.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::frame::FRAGMENT;
use super::io::StreamKey;

/// The bytes that the transport holds, and the cap on them.
#[derive(Debug)]
pub(super) struct Backlog {
    least: usize,
    most: usize,
    cap: usize,
    streams: BTreeMap<StreamKey, usize>,
    total: usize,
    /// Bytes written since the beginning; less `total`, those that were acknowledged.
    written: u64,
    mark: Option<Mark>,
    mode: Mode,
    /// The rates of the last rounds, in bytes per second.
    rates: VecDeque<u64>,
    round_trip: Option<Duration>,
    /// The last round trips of connectivity checks.
    checks: VecDeque<Duration>,
}

/// A place in the stream of written bytes.
#[derive(Debug, Clone, Copy)]
struct Mark {
    written: u64,
    delivered: u64,
    at: Instant,
    /// Whether the cap kept something from being written since.
    limited: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Grow {
        /// Whether this round cannot show yet what the last growth did.
        settling: bool,
        /// Rounds in a row that were no faster.
        stalled: u8,
    },
    /// Waits until the backlog has fallen to the cap, then for one round from there.
    Probe {
        drained: bool,
    },
    Cruise {
        since: Instant,
    },
}

impl Backlog {
    pub(super) fn new(least: usize, most: usize) -> Self {
        Self {
            least,
            most,
            cap: START.clamp(least, most),
            streams: BTreeMap::new(),
            total: 0,
            written: 0,
            mark: None,
            mode: GROW,
            rates: VecDeque::new(),
            round_trip: None,
            checks: VecDeque::new(),
        }
    }

    /// Whether a write is in place, `slack` bytes beyond the cap. A refusal counts as being limited.
    ///
    /// Room for a quarter of it is enough: where the product is one to three fragments, a quarter more than that would
    /// round down to no more, and a cap that became too small would never grow again.
    pub(super) fn allows(&mut self, slack: usize) -> bool {
        let room = match self.mode {
            Mode::Grow { .. } | Mode::Cruise { .. } => FRAGMENT / 4,
            // Measures the path without its queue.
            Mode::Probe { .. } => FRAGMENT,
        };
        let total = self.total.saturating_add(room);
        if self.total == 0 || total <= self.cap.saturating_add(slack) {
            return true;
        }
        if let Some(mark) = &mut self.mark {
            mark.limited = true;
        }
        false
    }

    /// The transport took `bytes`.
    pub(super) fn on_written(&mut self, stream: StreamKey, bytes: usize, now: Instant) {
        *self.streams.entry(stream).or_default() += bytes;
        self.total += bytes;
        self.written += bytes as u64;
        if self.mark.is_none() {
            let (written, delivered) = (self.written, self.delivered());
            self.mark = Some(Mark {
                written,
                delivered,
                at: now,
                limited: false,
            });
        }
    }

    /// The transport holds `bytes` of the stream that are not acknowledged.
    pub(super) fn on_buffered(&mut self, stream: StreamKey, bytes: usize, now: Instant) {
        let before = if bytes == 0 {
            self.streams.remove(&stream).unwrap_or(0)
        } else {
            self.streams.insert(stream, bytes).unwrap_or(0)
        };
        self.total = self.total - before + bytes;
        // What the transport writes by itself (DCEP) has not passed here.
        self.written += bytes.saturating_sub(before) as u64;
        self.advance(now);
    }

    /// A connectivity check on the path took `round_trip`.
    pub(super) fn on_check(&mut self, round_trip: Duration) {
        if self.checks.len() == CHECKS {
            self.checks.pop_front();
        }
        self.checks.push_back(round_trip);
    }

    /// The stream is gone, with what was buffered.
    pub(super) fn on_closed(&mut self, stream: StreamKey) {
        if let Some(lost) = self.streams.remove(&stream) {
            self.total -= lost;
            self.written -= lost as u64;
            self.mark = None;
        }
    }

    /// The path is another one: what was measured says nothing about it.
    pub(super) fn restart(&mut self) {
        self.cap = START.clamp(self.least, self.most);
        self.mark = None;
        self.mode = GROW;
        self.rates.clear();
        self.round_trip = None;
        self.checks.clear();
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    #[cfg(test)]
    pub(super) fn cap(&self) -> usize {
        self.cap
    }

    pub(super) fn of(&self, stream: StreamKey) -> usize {
        self.streams.get(&stream).copied().unwrap_or(0)
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = StreamKey> + '_ {
        self.streams.keys().copied()
    }

    pub(super) fn check_invariants(&self) {
        assert_eq!(self.total, self.streams.values().sum::<usize>());
        assert!(self.total as u64 <= self.written);
        assert!((self.least..=self.most).contains(&self.cap));
        assert!(self.rates.len() <= RATES);
    }

    fn delivered(&self) -> u64 {
        self.written - self.total as u64
    }

    fn advance(&mut self, now: Instant) {
        if self.mode == (Mode::Probe { drained: false }) && self.total <= self.cap {
            self.mode = Mode::Probe { drained: true };
            self.mark = None;
        }
        if let Some(mark) = self.mark
            && self.delivered() >= mark.written
        {
            self.mark = None;
            self.on_round(mark, now);
        }
    }

    fn on_round(&mut self, mark: Mark, now: Instant) {
        let took = now.saturating_duration_since(mark.at).max(SHORTEST_ROUND);
        let rate = rate(self.delivered() - mark.delivered, took);
        let best = self.rates.iter().max().copied().unwrap_or(0);
        let faster = rate > best + best / 8;
        // In SCTP's slow start rounds are long as well, but each is much faster than the one before.
        let leaps = rate > best + best / 2;
        let queued = self
            .round_trip
            .is_some_and(|least| took > least + least / 4);
        let settling = matches!(self.mode, Mode::Grow { settling: true, .. });
        // What an application sends that has little to send is not what the path could carry.
        if (mark.limited && !settling) || rate > best {
            self.note_rate(rate);
        }
        self.round_trip = Some(self.round_trip.map_or(took, |least| least.min(took)));
        self.mode = match self.mode {
            Mode::Probe { drained: false } => self.mode,
            Mode::Probe { drained: true } => {
                self.round_trip = Some(took);
                Mode::Cruise { since: now }
            }
            Mode::Grow { .. } if !mark.limited => self.mode,
            Mode::Grow { .. } if queued && !leaps => Mode::Probe { drained: false },
            Mode::Grow {
                settling: true,
                stalled,
            } => Mode::Grow {
                settling: false,
                stalled,
            },
            Mode::Grow { .. } if faster => {
                self.cap = self.cap.saturating_add(self.cap / 2);
                Mode::Grow {
                    settling: true,
                    stalled: 0,
                }
            }
            Mode::Grow { stalled, .. } if stalled + 1 == STALLED => Mode::Probe { drained: false },
            Mode::Grow { stalled, .. } => Mode::Grow {
                settling: false,
                stalled: stalled + 1,
            },
            Mode::Cruise { since } if now.saturating_duration_since(since) >= PROBE_AFTER => {
                Mode::Probe { drained: false }
            }
            Mode::Cruise { .. } => self.mode,
        };
        self.set_cap();
    }

    fn note_rate(&mut self, rate: u64) {
        if self.rates.len() == RATES {
            self.rates.pop_front();
        }
        self.rates.push_back(rate);
    }

    fn set_cap(&mut self) {
        let product = self.product();
        let cap = match self.mode {
            Mode::Grow { .. } => self.cap,
            Mode::Probe { .. } => product / 2,
            Mode::Cruise { .. } => product.saturating_add(product / 4),
        };
        self.cap = cap.clamp(self.least, self.most);
    }

    /// Rate times round trip, in bytes.
    fn product(&self) -> usize {
        let rate = self.rates.iter().max().copied().unwrap_or(0);
        let measured = self
            .round_trip
            .into_iter()
            .chain(self.checks.iter().copied());
        let round_trip = measured.min().map_or(0, |least| (least + TURN).as_micros());
        usize::try_from(u128::from(rate) * round_trip / 1_000_000).unwrap_or(usize::MAX)
    }
}

fn rate(bytes: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(bytes) * 1_000_000 / time.as_micros().max(1)).unwrap_or(u64::MAX)
}

/// What both ends take to wake and to work through a batch: with less under way one of them waits for the other. It is
/// also the longest that a control message waits for this reason.
const TURN: Duration = Duration::from_micros(500);
/// Round trips of checks that are remembered. There is one about every three seconds.
const CHECKS: usize = 8;
/// The first cap: enough to learn from, little on any path.
const START: usize = 64 * 1024;
/// The mode to begin with.
const GROW: Mode = Mode::Grow {
    settling: false,
    stalled: 0,
};
/// So many rounds without gain end the growth.
const STALLED: u8 = 3;
/// The rounds over which the best rate counts.
const RATES: usize = 8;
/// How long a measured round trip is believed.
const PROBE_AFTER: Duration = Duration::from_secs(10);
/// A round shorter than this says more about the clock than about the path.
const SHORTEST_ROUND: Duration = Duration::from_micros(50);

#[cfg(test)]
mod tests {
    use super::*;

    /// A bottleneck that serves `rate` bytes per second, then `delay` until the acknowledgement is back.
    struct Link {
        rate: u64,
        delay: Duration,
        /// What is acknowledged when, in order.
        acks: VecDeque<(Instant, usize)>,
        free_at: Instant,
        buffered: usize,
    }

    impl Link {
        fn new(megabits: u64, millis: u64, now: Instant) -> Self {
            Self {
                rate: megabits * 125_000,
                delay: Duration::from_millis(millis),
                acks: VecDeque::new(),
                free_at: now,
                buffered: 0,
            }
        }

        fn write(&mut self, bytes: usize, now: Instant) {
            self.buffered += bytes;
            // As SCTP does, in packets: each is acknowledged by itself.
            for _ in 0..bytes / PACKET {
                let service = Duration::from_nanos(PACKET as u64 * 1_000_000_000 / self.rate);
                self.free_at = self.free_at.max(now) + service;
                self.acks.push_back((self.free_at + self.delay, PACKET));
            }
        }

        /// How long the last byte written waits at the bottleneck.
        fn queue(&self, now: Instant) -> Duration {
            self.free_at.saturating_duration_since(now)
        }
    }

    const PACKET: usize = 1_024;
    const WRITE: usize = 16 * 1_024;
    const STREAM: StreamKey = StreamKey::Meta;

    struct Run {
        backlog: Backlog,
        link: Link,
        now: Instant,
        delivered: u64,
        /// The sum of what a control message would have waited, over acknowledgements, and their number.
        queued: (Duration, u32),
    }

    impl Run {
        fn new(megabits: u64, millis: u64) -> Self {
            let now = Instant::now();
            let backlog = Backlog::new(32 * 1024, 1024 * 1024);
            let link = Link::new(megabits, millis, now);
            Self {
                backlog,
                link,
                now,
                delivered: 0,
                queued: (Duration::ZERO, 0),
            }
        }

        /// Writes as fast as the cap allows for `time`. Gives the rate reached, in bytes per second.
        fn bulk(&mut self, time: Duration) -> u64 {
            let end = self.now + time;
            (self.delivered, self.queued) = (0, (Duration::ZERO, 0));
            while self.now < end {
                while self.backlog.allows(0) {
                    self.backlog.on_written(STREAM, WRITE, self.now);
                    self.link.write(WRITE, self.now);
                }
                self.backlog.check_invariants();
                self.queued.0 += self.link.queue(self.now);
                self.queued.1 += 1;
                let Some((at, bytes)) = self.link.acks.pop_front() else {
                    break;
                };
                self.now = at;
                self.link.buffered -= bytes;
                self.delivered += bytes as u64;
                self.backlog
                    .on_buffered(STREAM, self.link.buffered, self.now);
            }
            rate(self.delivered, time)
        }
    }

    #[test]
    fn paths_of_every_rate_and_length_are_filled_without_a_standing_queue() {
        for megabits in [1, 10, 100, 1_000] {
            for millis in [1, 5, 20, 50, 100, 200] {
                let mut run = Run::new(megabits, millis);
                run.bulk(Duration::from_secs(10));
                let rate = run.bulk(Duration::from_secs(12));
                let capacity = megabits * 125_000;
                let most = 1024 * 1024 * 1_000 / millis;
                let case = format!("{megabits} Mbit/s, {millis} ms, cap {}", run.backlog.cap());
                assert!(rate >= capacity.min(most) * 9 / 10, "{case}: {rate} B/s");
                // A quarter and what one write takes, or 5/4 of the least cap; and 3/4 of a write beyond either.
                let time = |kib: u64| kib * 1_024 * 1_000 / capacity;
                let most = (millis * 2 / 5).max(time(40)) + time(12);
                let bound = Duration::from_millis(most + 2);
                let queue = run.queued.0 / run.queued.1;
                assert!(queue <= bound, "{case}: queue {queue:?}");
            }
        }
    }

    #[test]
    fn a_path_of_100_megabits_and_20_ms_gets_its_product_and_little_more() {
        let mut run = Run::new(100, 20);
        run.bulk(Duration::from_secs(2));
        assert!(
            (256 * 1024..400 * 1024).contains(&run.backlog.cap()),
            "{}",
            run.backlog.cap()
        );
    }

    #[test]
    fn the_cap_follows_a_path_that_becomes_slower_faster_or_longer() {
        let mut run = Run::new(100, 20);
        run.bulk(Duration::from_secs(2));
        run.link.rate = 10 * 125_000;
        run.bulk(Duration::from_secs(5));
        assert!(
            run.backlog.cap() < 64 * 1024,
            "slower: {}",
            run.backlog.cap()
        );
        run.link.rate = 100 * 125_000;
        run.bulk(Duration::from_secs(5));
        assert!(run.bulk(Duration::from_secs(5)) > 90 * 125_000, "faster");
        run.link.delay = Duration::from_millis(60);
        run.bulk(Duration::from_secs(15));
        assert!(run.bulk(Duration::from_secs(12)) > 90 * 125_000, "longer");
    }

    #[test]
    fn an_application_that_sends_little_does_not_move_the_cap() {
        let mut run = Run::new(100, 20);
        run.bulk(Duration::from_secs(2));
        let cap = run.backlog.cap();
        for _ in 0..100 {
            run.backlog.on_written(STREAM, PACKET, run.now);
            run.now += Duration::from_millis(20);
            run.backlog.on_buffered(STREAM, 0, run.now);
        }
        assert!(
            run.backlog.cap() >= cap / 2,
            "{} after {cap}",
            run.backlog.cap()
        );
    }

    #[test]
    fn what_is_lost_with_a_stream_is_not_counted_as_delivered() {
        let now = Instant::now();
        let mut backlog = Backlog::new(32 * 1024, 1024 * 1024);
        backlog.on_written(STREAM, 60_000, now);
        backlog.on_closed(STREAM);
        assert_eq!((backlog.total(), backlog.delivered()), (0, 0));
        backlog.check_invariants();
    }

    /// Two processes on one machine: what takes time is the work on the bytes, and the checks show it.
    #[test]
    fn rounds_that_are_longer_than_the_checks_do_not_make_a_long_path() {
        let cap_after = |check: Duration| {
            let mut run = Run::new(1_000, 20);
            run.backlog.on_check(check);
            run.bulk(Duration::from_secs(5));
            run.backlog.cap()
        };
        assert_eq!(cap_after(Duration::from_micros(200)), 32 * 1024);
        assert_eq!(cap_after(Duration::from_millis(20)), 1024 * 1024);
    }

    #[test]
    fn on_a_short_path_both_ends_have_something_to_work_on() {
        let mut run = Run::new(1_000, 0);
        run.backlog.on_check(Duration::from_micros(200));
        run.bulk(Duration::from_secs(5));
        let cap = run.backlog.cap();
        assert!((64 * 1024..128 * 1024).contains(&cap), "{cap}");
    }
}
