//! One direction between two hosts: what happens to a datagram on its way.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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
}

#[derive(Debug)]
struct Streams {
    loss: Stream,
    burst: Stream,
    jitter: Stream,
    reorder: Stream,
    duplicate: Stream,
    damage: Stream,
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
        };
        Self {
            config,
            streams,
            in_burst: false,
            busy_until: Time::ZERO,
            last_arrival: Time::ZERO,
            down_until: Time::ZERO,
        }
    }

    /// Loses everything that is sent before `until`.
    pub(crate) fn partition(&mut self, until: Time) {
        self.down_until = self.down_until.max(until);
    }

    /// Ends all faults.
    pub(crate) fn heal(&mut self) {
        self.config = self.config.healed();
        self.down_until = Time::ZERO;
        self.in_burst = false;
    }

    /// Decides what becomes of `len` bytes that are sent at `now`.
    pub(crate) fn pass(&mut self, len: usize, class: Class, now: Time) -> Verdict {
        if now < self.down_until {
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
        let again = self.streams.duplicate.chance(self.config.duplicate);
        let again =
            again.then(|| at.after(self.streams.duplicate.duration(self.config.duplicate_by)));
        Verdict::Arrives {
            at,
            again,
            damage: self.damage(len),
        }
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
        let at = left.after(self.config.latency + jitter);
        if self.streams.reorder.chance(self.config.reorder) {
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
            return Damage::Truncated(damage.below(len as u64) as usize);
        }
        if damage.chance(self.config.flip) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn link(config: LinkConfig) -> Link {
        Link::new(config, 1, |fault| Purpose::Link {
            from: 0,
            to: 1,
            fault,
        })
    }

    fn arrival(verdict: Verdict) -> Option<Time> {
        match verdict {
            Verdict::Arrives { at, .. } => Some(at),
            Verdict::Dropped(_) => None,
        }
    }

    fn arrivals(link: &mut Link, count: u64) -> Vec<Option<Time>> {
        (0..count)
            .map(|ms| arrival(link.pass(100, Class::Dtls, Time::from_millis(ms))))
            .collect()
    }

    #[test]
    fn a_perfect_link_only_delays() {
        let all = arrivals(&mut link(LinkConfig::default()), 3);
        assert_eq!(all, [10, 11, 12].map(|ms| Some(Time::from_millis(ms))));
    }

    #[test]
    fn loss_comes_at_its_rate() {
        let mut link = link(LinkConfig::default().lossy(0.1));
        let lost = arrivals(&mut link, 10_000)
            .iter()
            .filter(|a| a.is_none())
            .count();
        assert!((900..1_100).contains(&lost), "{lost}");
    }

    #[test]
    fn burst_loss_comes_in_runs_longer_than_independent_loss() {
        let burst = Burst {
            enter: 0.01,
            leave: 0.1,
            loss: 1.0,
        };
        let mut link = link(LinkConfig {
            burst: Some(burst),
            ..LinkConfig::default()
        });
        let all = arrivals(&mut link, 100_000);
        let lost = all.iter().filter(|a| a.is_none()).count();
        let runs = all
            .windows(2)
            .filter(|w| w[0].is_some() && w[1].is_none())
            .count();
        assert!(
            (8_000..10_200).contains(&lost),
            "1/11 of the time is bad: {lost}"
        );
        assert!(
            (8..13).contains(&(lost / runs)),
            "a run has 10 on average: {}",
            lost / runs
        );
    }

    #[test]
    fn jitter_alone_keeps_the_order_and_reordering_breaks_it() {
        let swaps = |config| {
            let all: Vec<Time> = arrivals(&mut link(config), 1_000)
                .into_iter()
                .flatten()
                .collect();
            all.windows(2).filter(|w| w[1] < w[0]).count()
        };
        let jitter = Duration::from_millis(50);
        assert_eq!(
            swaps(LinkConfig {
                jitter,
                ..LinkConfig::default()
            }),
            0
        );
        assert!(
            swaps(LinkConfig {
                reorder: 0.2,
                ..LinkConfig::default()
            }) > 50
        );
    }

    #[test]
    fn a_rate_limit_spaces_datagrams_and_its_queue_drops_the_tail() {
        let config = LinkConfig {
            rate: Some(1_000),
            queue: 300,
            ..LinkConfig::default()
        };
        let mut link = link(config);
        let at = |link: &mut Link| arrival(link.pass(100, Class::Dtls, Time::ZERO));
        let ms = |ms| Some(Time::from_millis(ms));
        assert_eq!(
            [at(&mut link), at(&mut link), at(&mut link)],
            [ms(110), ms(210), ms(310)]
        );
        let full = link.pass(1, Class::Dtls, Time::ZERO);
        assert_eq!(full, Verdict::Dropped(DropCause::Queue), "300 bytes wait");
        let later = link.pass(100, Class::Dtls, Time::from_millis(100));
        assert_eq!(arrival(later), ms(410), "100 bytes have left");
    }

    #[test]
    fn a_datagram_of_the_mtu_passes_and_a_larger_one_vanishes() {
        let mut link = link(LinkConfig {
            mtu: 1_200,
            ..LinkConfig::default()
        });
        assert!(arrival(link.pass(1_200, Class::Dtls, Time::ZERO)).is_some());
        let verdict = link.pass(1_201, Class::Dtls, Time::ZERO);
        assert_eq!(verdict, Verdict::Dropped(DropCause::Mtu));
    }

    #[test]
    fn a_partition_drops_until_its_end() {
        let mut link = link(LinkConfig::default());
        link.partition(Time::from_millis(5));
        let verdict = link.pass(1, Class::Stun, Time::from_millis(4));
        assert_eq!(verdict, Verdict::Dropped(DropCause::Partition));
        assert!(arrival(link.pass(1, Class::Stun, Time::from_millis(5))).is_some());
    }

    #[test]
    fn a_filter_drops_its_class_only() {
        let mut link = link(LinkConfig {
            filter: vec![Class::Stun],
            ..LinkConfig::default()
        });
        let verdict = link.pass(1, Class::Stun, Time::ZERO);
        assert_eq!(verdict, Verdict::Dropped(DropCause::Filter));
        assert!(arrival(link.pass(1, Class::Dtls, Time::ZERO)).is_some());
    }

    #[test]
    fn damage_changes_what_it_says() {
        let mut contents = vec![0; 4];
        Damage::Flipped([9, 9, 0]).apply(&mut contents);
        assert_eq!(contents, [1, 2, 0, 0]);
        Damage::Truncated(1).apply(&mut contents);
        assert_eq!(contents, [1]);
    }

    #[test]
    fn one_kind_of_fault_does_not_shift_the_draws_of_another() {
        let lost = |config| {
            arrivals(&mut link(config), 500)
                .iter()
                .map(Option::is_none)
                .collect()
        };
        let plain: Vec<bool> = lost(LinkConfig::default().lossy(0.3));
        let more = LinkConfig {
            duplicate: 0.5,
            reorder: 0.5,
            flip: 0.5,
            ..LinkConfig::default()
        };
        assert_eq!(plain, lost(more.lossy(0.3)));
    }

    #[test]
    fn a_link_survives_a_round_trip_through_json() {
        let link = LinkConfig {
            filter: vec![Class::Dtls],
            loss: 0.1,
            ..LinkConfig::default()
        };
        let json = serde_json::to_string(&link).expect("plain data");
        assert_eq!(
            serde_json::from_str::<LinkConfig>(&json).expect("the same shape"),
            link
        );
    }
}
