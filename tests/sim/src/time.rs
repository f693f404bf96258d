//! The virtual clock.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A point of simulated time: nanoseconds since the world began.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(u64);

impl Time {
    /// The beginning of the world.
    pub const ZERO: Self = Self(0);
    /// Later than every event.
    pub const NEVER: Self = Self(u64::MAX);

    /// A point `millis` milliseconds after the beginning.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// A point `secs` seconds after the beginning.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs.saturating_mul(1_000))
    }

    /// Nanoseconds since the beginning.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the beginning.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        Duration::from_nanos(self.0).as_secs_f64()
    }

    /// This point moved forward by `by`, at most to [`Time::NEVER`].
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero when it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Seconds with six decimals, as the reports show times.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:06}",
            self.0 / 1_000_000_000,
            self.0 % 1_000_000_000 / 1_000
        )
    }
}

/// Simulated time, and the `Instant` that stands for its beginning.
///
/// The machine's clock is read once, when the clock is made. Only differences to that instant are ever used, so two
/// worlds with different bases behave alike.
#[derive(Debug, Clone)]
pub struct Clock {
    base: Instant,
    now: Time,
}

impl Clock {
    /// A clock whose beginning is `shift` after the present.
    #[must_use]
    pub fn new(shift: Duration) -> Self {
        Self {
            base: Instant::now() + shift,
            now: Time::ZERO,
        }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// The present, as endpoints take it.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.base + Duration::from_nanos(self.now.0)
    }

    /// Moves the present to `to`. It never goes back.
    pub fn advance(&mut self, to: Time) {
        self.now = self.now.max(to);
    }

    /// The simulated time of an instant that an endpoint gave.
    #[must_use]
    pub fn time_of(&self, instant: Instant) -> Time {
        Time::ZERO.after(instant.saturating_duration_since(self.base))
    }
}

/// Durations as whole microseconds in JSON.
pub(crate) mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_of_the_clock_comes_back_as_the_same_time() {
        let mut clock = Clock::new(Duration::from_secs(100_000));
        clock.advance(Time::from_millis(1_234));
        assert_eq!(clock.time_of(clock.instant()), Time::from_millis(1_234));
        clock.advance(Time::from_millis(5));
        assert_eq!(
            clock.now(),
            Time::from_millis(1_234),
            "the clock never goes back"
        );
    }

    #[test]
    fn times_are_shown_in_seconds() {
        assert_eq!(Time::from_millis(61_005).to_string(), "61.005000");
    }
}
