//! Wall-clock time, kept apart from the monotonic `Instant` that drives every deadline.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Time since 1970-01-01 00:00 UTC, as the caller's wall clock gave it.
///
/// Only used where two machines compare times: in envelopes and in time-limited credentials. It may jump.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnixTime(Duration);

impl UnixTime {
    /// A time from milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A time from the duration since the epoch.
    #[must_use]
    pub const fn from_duration(since_epoch: Duration) -> Self {
        Self(since_epoch)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// How long it is between this time and `other`, whichever comes first.
    #[must_use]
    pub fn distance(self, other: Self) -> Duration {
        self.0.abs_diff(other.0)
    }

    /// This time moved forward by `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// The wall clock, as it was set last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WallClock {
    set: Instant,
    to: UnixTime,
}

impl WallClock {
    /// A clock that shows `to` at `set`.
    pub(crate) fn new(set: Instant, to: UnixTime) -> Self {
        Self { set, to }
    }

    /// What it shows at `now`.
    pub(crate) fn at(&self, now: Instant) -> UnixTime {
        self.to.plus(now.saturating_duration_since(self.set))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}
