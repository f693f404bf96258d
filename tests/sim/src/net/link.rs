//! One direction between two hosts: what happens to a datagram on its way.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::marks::{Mark, Marks};
use crate::rng::{Draw, Purpose, Stream};
use crate::time::{Time, micros};

use super::accounts::DropCause;
use super::class::Class;

/// The properties of one direction between two hosts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkConfig {
    /// The time that every datagram takes.
    #[serde(rename = "latency_us", with = "micros")]
    pub latency: Duration,
    /// An additional time, drawn evenly from 0 to this. Alone it does not change the order.
    #[serde(rename = "jitter_us", with = "micros")]
    pub jitter: Duration,
    /// The probability that a datagram is lost, independently of the others.
    pub loss: f64,
    /// Loss in bursts, in addition.
    pub burst: Option<Burst>,
    /// The probability that a datagram is held back and overtaken.
    pub reorder: f64,
    /// For how long such a datagram is held back, at most.
    #[serde(rename = "reorder_by_us", with = "micros")]
    pub reorder_by: Duration,
    /// The probability that a datagram arrives twice.
    pub duplicate: f64,
    /// How much later the second one arrives, at most. A minute makes it a replay.
    #[serde(rename = "duplicate_by_us", with = "micros")]
    pub duplicate_by: Duration,
    /// The probability that a datagram, and with it all that follow, is late.
    pub spike: f64,
    /// How late, at most.
    #[serde(rename = "spike_by_us", with = "micros")]
    pub spike_by: Duration,
    /// The probability that somebody has recorded a datagram and sends it again.
    pub replay: f64,
    /// How much later, at most.
    #[serde(rename = "replay_by_us", with = "micros")]
    pub replay_by: Duration,
    /// Bytes each second that pass; `None` is no limit.
    pub rate: Option<u64>,
    /// Bytes that wait when the rate is reached. What does not fit is dropped (drop-tail).
    pub queue: u64,
    /// The largest datagram that passes, in bytes of UDP payload. Larger ones vanish, as in an MTU black hole.
    pub mtu: usize,
    /// The probability that the end of a datagram is cut off.
    pub truncate: f64,
    /// The probability that one to three bits of a datagram are flipped.
    pub flip: f64,
    /// Classes of datagrams that never pass.
    pub filter: Vec<Class>,
}

/// A perfect link of 10 ms.
impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: None,
            reorder: 0.0,
            reorder_by: Duration::from_millis(30),
            duplicate: 0.0,
            duplicate_by: Duration::from_millis(30),
            spike: 0.0,
            spike_by: Duration::from_secs(1),
            replay: 0.0,
            replay_by: Duration::from_secs(120),
            rate: None,
            queue: 256 * 1_024,
            mtu: 65_507,
            truncate: 0.0,
            flip: 0.0,
            filter: Vec::new(),
        }
    }
}

impl LinkConfig {
    /// A perfect link that takes `latency`.
    #[must_use]
    pub fn with_latency(latency: Duration) -> Self {
        Self {
            latency,
            ..Self::default()
        }
    }

    /// This link, losing datagrams with probability `loss`.
    #[must_use]
    pub fn lossy(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// This link without any fault: only latency, rate and queue stay.
    #[must_use]
    pub fn healed(&self) -> Self {
        Self {
            latency: self.latency,
            rate: self.rate,
            queue: self.queue,
            ..Self::default()
        }
    }
}

/// Loss in bursts (Gilbert-Elliott): a good state without loss and a bad one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Burst {
    /// The probability, at each datagram, to go from the good state to the bad one.
    pub enter: f64,
    /// The probability, at each datagram, to go back.
    pub leave: f64,
    /// The probability of loss in the bad state.
    pub loss: f64,
}

/// What becomes of one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It arrives, perhaps a second time, perhaps damaged.
    Arrives {
        at: Time,
        again: Option<Time>,
        damage: Damage,
    },
    /// It does not.
    Dropped(DropCause),
}

/// What is wrong with a datagram that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    None,
    /// Only this many bytes are left.
    Truncated(usize),
    /// These bits are flipped; equal ones only once.
    Flipped([usize; 3]),
}

/// One direction between two hosts, and what it remembers.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) config: LinkConfig,
    streams: Streams,
    in_burst: bool,
    /// When the last byte that was taken will have left the queue.
    busy_until: Time,
    /// When the last datagram that keeps the order arrives.
    last_arrival: Time,
    /// Datagrams sent before this time are lost.
    down_until: Time,
    /// Nothing arrives before this time, and what was sent before it does at once then.
    clogged_until: Time,
    /// What it did.
    pub(crate) marks: Marks,
}

#[derive(Debug)]
struct Streams {
    loss: Stream,
    burst: Stream,
    jitter: Stream,
    reorder: Stream,
    duplicate: Stream,
    damage: Stream,
    spike: Stream,
    replay: Stream,
}

impl Link {
    /// `purpose` names the stream of each draw.
    pub(crate) fn new(config: LinkConfig, seed: u64, purpose: impl Fn(Draw) -> Purpose) -> Self {
        let stream = |draw| Stream::new(seed, purpose(draw));
        let streams = Streams {
            loss: stream(Draw::Loss),
            burst: stream(Draw::Burst),
            jitter: stream(Draw::Jitter),
            reorder: stream(Draw::Reorder),
            duplicate: stream(Draw::Duplicate),
            damage: stream(Draw::Damage),
            spike: stream(Draw::Spike),
            replay: stream(Draw::Replay),
        };
        Self {
            config,
            streams,
            in_burst: false,
            busy_until: Time::ZERO,
            last_arrival: Time::ZERO,
            down_until: Time::ZERO,
            clogged_until: Time::ZERO,
            marks: Marks::default(),
        }
    }

    /// Loses everything that is sent before `until`.
    pub(crate) fn partition(&mut self, until: Time) {
        self.down_until = self.down_until.max(until);
    }

    /// Whether everything is lost at `now`.
    pub(crate) fn is_down(&self, now: Time) -> bool {
        now < self.down_until
    }

    /// Holds everything back until `until`.
    pub(crate) fn clog(&mut self, until: Time) {
        self.clogged_until = self.clogged_until.max(until);
    }

    /// Ends all faults.
    pub(crate) fn heal(&mut self) {
        self.config = self.config.healed();
        self.down_until = Time::ZERO;
        self.clogged_until = Time::ZERO;
        self.in_burst = false;
    }

    /// Decides what becomes of `len` bytes that are sent at `now`.
    pub(crate) fn pass(&mut self, len: usize, class: Class, now: Time) -> Verdict {
        if self.is_down(now) {
            return Verdict::Dropped(DropCause::Partition);
        }
        if self.config.filter.contains(&class) {
            return Verdict::Dropped(DropCause::Filter);
        }
        if len > self.config.mtu {
            return Verdict::Dropped(DropCause::Mtu);
        }
        let Some(left) = self.enqueue(len, now) else {
            return Verdict::Dropped(DropCause::Queue);
        };
        if self.streams.loss.chance(self.config.loss) {
            return Verdict::Dropped(DropCause::Loss);
        }
        if self.lost_in_burst() {
            return Verdict::Dropped(DropCause::Burst);
        }
        let at = self.arrival(left);
        Verdict::Arrives {
            at,
            again: self.copy(at),
            damage: self.damage(len),
        }
    }

    /// When a datagram that arrives at `at` does so again.
    fn copy(&mut self, at: Time) -> Option<Time> {
        let Streams {
            duplicate, replay, ..
        } = &mut self.streams;
        if duplicate.chance(self.config.duplicate) {
            self.marks.set(Mark::Duplicate);
            return Some(at.after(duplicate.duration(self.config.duplicate_by)));
        }
        let replayed = replay.chance(self.config.replay);
        replayed.then(|| at.after(replay.duration(self.config.replay_by)))
    }

    /// When the datagram has left the queue, or `None` when it found no room there.
    fn enqueue(&mut self, len: usize, now: Time) -> Option<Time> {
        let Some(rate) = self.config.rate else {
            return Some(now);
        };
        let start = self.busy_until.max(now);
        let waiting = start.since(now).as_nanos() * u128::from(rate) / 1_000_000_000;
        if waiting + len as u128 > u128::from(self.config.queue) {
            return None;
        }
        let nanos = len as u64 * 1_000_000_000 / rate.max(1);
        self.busy_until = start.after(Duration::from_nanos(nanos));
        self.marks.set_if(start > now, Mark::RateLimit);
        Some(self.busy_until)
    }

    fn lost_in_burst(&mut self) -> bool {
        let Some(burst) = self.config.burst else {
            return false;
        };
        let flip = if self.in_burst {
            burst.leave
        } else {
            burst.enter
        };
        if self.streams.burst.chance(flip) {
            self.in_burst = !self.in_burst;
        }
        self.in_burst && self.streams.burst.chance(burst.loss)
    }

    fn arrival(&mut self, left: Time) -> Time {
        let jitter = self.streams.jitter.duration(self.config.jitter);
        let spike = self.streams.spike.chance(self.config.spike);
        let late = match spike {
            true => self.streams.spike.duration(self.config.spike_by),
            false => Duration::ZERO,
        };
        let due = left.after(self.config.latency + jitter + late);
        let at = due.max(self.clogged_until);
        self.marks.set_if(!jitter.is_zero(), Mark::Jitter);
        self.marks.set_if(late >= NOTABLE, Mark::DelaySpike);
        self.marks.set_if(at > due, Mark::Clog);
        if self.streams.reorder.chance(self.config.reorder) {
            self.marks.set(Mark::Reorder);
            return at.after(self.streams.reorder.duration(self.config.reorder_by));
        }
        self.last_arrival = self.last_arrival.max(at);
        self.last_arrival
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a datagram has less than 2^16 bytes"
    )]
    fn damage(&mut self, len: usize) -> Damage {
        let damage = &mut self.streams.damage;
        if len == 0 {
            return Damage::None;
        }
        if damage.chance(self.config.truncate) {
            self.marks.set(Mark::Truncation);
            return Damage::Truncated(damage.below(len as u64) as usize);
        }
        if damage.chance(self.config.flip) {
            self.marks.set(Mark::BitFlip);
            let count = damage.between(1, 3);
            let first = damage.below(len as u64 * 8) as usize;
            let mut bits = [first; 3];
            for bit in bits.iter_mut().take(count as usize).skip(1) {
                *bit = damage.below(len as u64 * 8) as usize;
            }
            return Damage::Flipped(bits);
        }
        Damage::None
    }
}

impl Damage {
    /// Applies the damage to a datagram.
    pub(crate) fn apply(self, contents: &mut Vec<u8>) {
        match self {
            Self::None => {}
            Self::Truncated(len) => contents.truncate(len),
            Self::Flipped([a, b, c]) => {
                let flip = |bit: usize, contents: &mut Vec<u8>| contents[bit / 8] ^= 1 << (bit % 8);
                flip(a, contents);
                if b != a {
                    flip(b, contents);
                }
                if c != a && c != b {
                    flip(c, contents);
                }
            }
        }
    }
}

/// A delay that a protocol's timers notice.
const NOTABLE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
