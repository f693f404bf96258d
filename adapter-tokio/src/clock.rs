//! The wall clock, which may be set, and goes on while the machine sleeps.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bowline::UnixTime;

/// Notices when the wall clock shows something else than the time that has passed.
#[derive(Debug)]
pub(crate) struct WallClock {
    looked: Instant,
    showed: UnixTime,
}

impl WallClock {
    /// What it shows now.
    pub(crate) fn shows() -> UnixTime {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        UnixTime::from_duration(since_epoch.unwrap_or_default())
    }

    /// The same in seconds since 1970.
    pub(crate) fn seconds() -> u64 {
        Self::shows().as_millis() / 1_000
    }

    /// A clock that was looked at when it showed this.
    pub(crate) fn new(looked: Instant, showed: UnixTime) -> Self {
        Self { looked, showed }
    }

    /// Looks again. Gives what it shows, when it was set meanwhile or the machine slept.
    pub(crate) fn look(&mut self, now: Instant, shows: UnixTime) -> Option<UnixTime> {
        let expected = self.showed.plus(now.saturating_duration_since(self.looked));
        (shows.distance(expected) > TOLERANCE).then(|| {
            *self = Self::new(now, shows);
            shows
        })
    }
}

/// What a clock that is corrected all the time may be off: nobody is refused for that.
const TOLERANCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_either_way_is_told_once_and_passing_time_never() {
        let start = Instant::now();
        let at = |secs: u64| UnixTime::from_millis(secs * 1_000);
        let after = |secs| start + Duration::from_secs(secs);
        let mut clock = WallClock::new(start, at(1_000));
        assert_eq!(clock.look(after(500), at(1_500)), None);
        assert_eq!(clock.look(after(500), at(1_502)), None);
        // The machine slept.
        assert_eq!(clock.look(after(501), at(9_000)), Some(at(9_000)));
        assert_eq!(clock.look(after(502), at(9_001)), None);
        // Somebody set it back.
        assert_eq!(clock.look(after(503), at(3_000)), Some(at(3_000)));
        assert_eq!(clock.look(after(504), at(3_001)), None);
    }
}
