//! Seeded streams of random values, one for each purpose.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng};

/// What a stream is for. Two purposes never share values, so a change to one does not shift the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The draws of [`Scenario::random`](crate::Scenario::random).
    Scenario,
    /// The boxes and servers of [`Scenario::random`](crate::Scenario::random).
    Middle,
    /// Whom to trust, in [`Scenario::random`](crate::Scenario::random): how signalling is protected, and who attacks.
    Trust,
    /// The seed of the endpoint that a host makes for the `life`-th time.
    Endpoint {
        /// The host.
        host: u32,
        /// How many endpoints the host had before.
        life: u32,
    },
    /// One kind of fault on the link of two hosts.
    Link {
        /// The sending host.
        from: u16,
        /// The receiving host.
        to: u16,
        /// The kind.
        fault: Draw,
    },
    /// The ports that a box gives out.
    Gateway(u16),
    /// The nonces that a server makes after it has started for the `life`-th time.
    Server {
        /// The server.
        server: u16,
        /// How many times it has started before.
        life: u32,
    },
    /// One kind of fault on the way of signals between two hosts.
    Bus {
        /// The sending host.
        from: u16,
        /// The receiving host.
        to: u16,
        /// The kind.
        fault: Draw,
    },
    /// The keys with which the attacker on this host seals.
    Attacker(u32),
}

/// What is drawn on a link. Each has a stream of its own: without duplication, the same datagrams are still lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Draw {
    Loss,
    Burst,
    Jitter,
    Reorder,
    Duplicate,
    Damage,
    Spike,
    Replay,
}

impl Purpose {
    /// The number of the stream: tag, then up to 56 bits of what the purpose names.
    fn stream(self) -> u64 {
        match self {
            Self::Scenario => 1 << 56,
            Self::Middle => 1 << 56 | 1,
            Self::Trust => 1 << 56 | 2,
            Self::Endpoint { host, life } => 2 << 56 | u64::from(life) << 32 | u64::from(host),
            Self::Link { from, to, fault } => {
                3 << 56 | (fault as u64) << 32 | u64::from(from) << 16 | u64::from(to)
            }
            Self::Bus { from, to, fault } => {
                4 << 56 | (fault as u64) << 32 | u64::from(from) << 16 | u64::from(to)
            }
            Self::Gateway(gateway) => 5 << 56 | u64::from(gateway),
            Self::Server { server, life } => 6 << 56 | u64::from(server) << 32 | u64::from(life),
            Self::Attacker(host) => 7 << 56 | u64::from(host),
        }
    }
}

/// A seeded, portable stream of random values (ChaCha8).
#[derive(Debug, Clone)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `purpose` in the world of `seed`.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(purpose.stream());
        Self(rng)
    }

    /// 32 bytes, as an endpoint's seed takes them.
    pub fn bytes32(&mut self) -> [u8; 32] {
        let mut out = [0; 32];
        self.0.fill_bytes(&mut out);
        out
    }

    /// An even number.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 to `n - 1`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // The bias of the remainder is below 2^-32 for every n that is used here.
        if n == 0 { 0 } else { self.u64() % n }
    }

    /// A number from `lo` to `hi`, both included.
    pub fn between(&mut self, lo: u64, hi: u64) -> u64 {
        lo + self.below(hi.saturating_sub(lo).saturating_add(1))
    }

    /// A number from 0 up to, not including, 1.
    #[expect(
        clippy::cast_precision_loss,
        reason = "53 bits are what an f64 holds exactly"
    )]
    pub fn unit(&mut self) -> f64 {
        (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `p`. Draws nothing when `p` is 0 or less.
    pub fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && self.unit() < p
    }

    /// A number from `lo` to `hi` whose logarithm is even: small values are as likely as large ones.
    pub fn log_uniform(&mut self, lo: f64, hi: f64) -> f64 {
        (lo.ln() + self.unit() * (hi.ln() - lo.ln())).exp()
    }

    /// A duration from 0 up to `most`. Draws nothing when `most` is zero.
    pub fn duration(&mut self, most: Duration) -> Duration {
        if most.is_zero() {
            Duration::ZERO
        } else {
            most.mul_f64(self.unit())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_for_a_seed_and_differ_between_purposes() {
        let loss = Purpose::Link {
            from: 0,
            to: 1,
            fault: Draw::Loss,
        };
        let back = Purpose::Link {
            from: 1,
            to: 0,
            fault: Draw::Loss,
        };
        let jitter = Purpose::Link {
            from: 0,
            to: 1,
            fault: Draw::Jitter,
        };
        let first = |purpose| Stream::new(9, purpose).u64();
        assert_eq!(first(loss), first(loss));
        assert_ne!(first(loss), first(back));
        assert_ne!(first(loss), first(jitter));
        assert_ne!(first(loss), Stream::new(10, loss).u64());
    }

    #[test]
    fn a_chance_comes_about_as_often_as_it_says() {
        let mut stream = Stream::new(1, Purpose::Scenario);
        let hits = (0..100_000).filter(|_| stream.chance(0.2)).count();
        assert!((19_000..21_000).contains(&hits), "{hits}");
        assert!(!stream.chance(0.0));
    }

    #[test]
    fn log_uniform_draws_stay_in_their_range_and_favour_no_decade() {
        let mut stream = Stream::new(2, Purpose::Scenario);
        let draws: Vec<f64> = (0..10_000).map(|_| stream.log_uniform(0.01, 1.0)).collect();
        assert!(draws.iter().all(|d| (0.01..=1.0).contains(d)));
        let low = draws.iter().filter(|d| **d < 0.1).count();
        assert!((4_700..5_300).contains(&low), "{low}");
    }
}
