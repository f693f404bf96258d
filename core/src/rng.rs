//! The one source of randomness: a CSPRNG that the caller seeds, split for each purpose and peer.

use std::fmt;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng};
use zeroize::Zeroize;

/// 32 bytes of entropy from which every random choice of an endpoint is derived.
///
/// Take them from the operating system in production, and from a fixed value in a simulation. Whoever knows the seed
/// knows the endpoint's secrets: it is never shown by `Debug` and is erased when dropped.
#[derive(Clone)]
pub struct Seed([u8; 32]);

impl From<[u8; 32]> for Seed {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// A seeded, portable stream of random values (ChaCha20).
pub(crate) struct Rng(ChaCha20Rng);

impl Rng {
    pub(crate) fn new(seed: &Seed) -> Self {
        Self(ChaCha20Rng::from_seed(seed.0))
    }

    /// An independent stream, keyed by the next 32 bytes of this one.
    pub(crate) fn split(&mut self) -> Self {
        Self(ChaCha20Rng::from_seed(self.bytes()))
    }

    /// The stream itself, for cryptography that draws from it.
    pub(crate) fn csprng(&mut self) -> &mut ChaCha20Rng {
        &mut self.0
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.0.fill_bytes(&mut out);
        out
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// `base` scaled by a factor drawn evenly from `1 - spread` to `1 + spread`, in whole microseconds.
    pub(crate) fn jitter(&mut self, base: Duration, spread: f64) -> Duration {
        // 53 bits are what an f64 holds exactly.
        #[allow(clippy::cast_precision_loss)]
        let unit = (self.u64() >> 11) as f64 / (1u64 << 53) as f64;
        let factor = 1.0 - spread + 2.0 * spread * unit;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let micros = (base.as_secs_f64() * factor * 1e6) as u64;
        Duration::from_micros(micros)
    }

    /// Anything up to `most`, in whole microseconds.
    pub(crate) fn duration_up_to(&mut self, most: Duration) -> Duration {
        let half = most / 2;
        self.jitter(half, 1.0)
    }

    /// `len` characters of the 64 that RFC 8839 calls `ice-char`, 6 bits of randomness each.
    pub(crate) fn ice_chars(&mut self, len: usize) -> String {
        const ICE_CHARS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        (0..len)
            .map(|_| char::from(ICE_CHARS[usize::from(self.bytes::<1>()[0] & 63)]))
            .collect()
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_for_a_seed_and_differ_after_a_split() {
        let mut a = Rng::new(&Seed::from([7; 32]));
        let mut b = Rng::new(&Seed::from([7; 32]));
        assert_eq!(a.bytes::<16>(), b.bytes::<16>());
        assert_ne!(a.split().bytes::<16>(), a.bytes::<16>());
    }

    #[test]
    fn jitter_stays_within_its_spread() {
        let mut rng = Rng::new(&Seed::from([1; 32]));
        for _ in 0..1_000 {
            let t = rng.jitter(Duration::from_secs(1), 0.2);
            assert!((Duration::from_millis(800)..=Duration::from_millis(1_200)).contains(&t));
        }
    }

    #[test]
    fn a_seed_does_not_show_itself() {
        assert_eq!(format!("{:?}", Seed::from([1; 32])), "Seed(..)");
    }
}
