//! A token bucket.

use std::time::{Duration, Instant};

/// Lets a burst through and then one at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TokenBucket {
    burst: u32,
    interval: Duration,
    tokens: u32,
    /// When the next token comes. `None` while the bucket is full.
    next: Option<Instant>,
}

impl TokenBucket {
    /// A full bucket of `burst` tokens that regains one each `interval`.
    pub(crate) const fn new(burst: u32, interval: Duration) -> Self {
        Self {
            burst,
            interval,
            tokens: burst,
            next: None,
        }
    }

    /// Takes a token.
    ///
    /// # Errors
    ///
    /// When the bucket is empty: the instant of the next token.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        self.refill(now);
        let next = self.next.unwrap_or(now + self.interval);
        self.tokens = self.tokens.checked_sub(1).ok_or(next)?;
        self.next = Some(next);
        Ok(())
    }

    /// At most `burst` steps, however long ago the last call was.
    fn refill(&mut self, now: Instant) {
        while let Some(next) = self.next.filter(|next| *next <= now) {
            self.tokens += 1;
            self.next = (self.tokens < self.burst).then(|| next + self.interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_one_more_waits_for_the_next_token() {
        let (mut bucket, now) = (TokenBucket::new(3, 2 * SECOND), Instant::now());
        for _ in 0..3 {
            assert_eq!(bucket.take(now), Ok(()));
        }
        let next = now + 2 * SECOND;
        assert_eq!(bucket.take(now), Err(next));
        assert_eq!(bucket.take(next - Duration::from_nanos(1)), Err(next));
        assert_eq!(bucket.take(next), Ok(()));
        assert_eq!(bucket.take(next), Err(next + 2 * SECOND));
    }

    #[test]
    fn a_long_rest_fills_it_to_the_burst_and_no_further() {
        let (mut bucket, now) = (TokenBucket::new(3, 2 * SECOND), Instant::now());
        assert_eq!(bucket.take(now), Ok(()));
        let later = now + 100_000 * SECOND;
        let passed = (0..10).filter(|_| bucket.take(later).is_ok()).count();
        assert_eq!(passed, 3);
    }

    #[test]
    fn a_steady_stream_passes_at_the_rate_of_the_bucket() {
        let (mut bucket, start) = (TokenBucket::new(3, 2 * SECOND), Instant::now());
        let times = (0..100_000).map(|n| start + Duration::from_millis(n));
        let passed = times.filter(|now| bucket.take(*now).is_ok()).count();
        assert_eq!(passed, 3 + 49);
    }
}
