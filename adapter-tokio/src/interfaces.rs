//! When the addresses of the machine are to be read again.

use std::future::poll_fn;
use std::time::Duration;

use if_watch::tokio::IfWatcher;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::debug;

/// Notices that the addresses of the machine may have changed.
///
/// The system reports an address that came or went. It does not report everything (on Linux, not that a cable was
/// pulled, which leaves IPv4 addresses where they are), and not everywhere, so that they are read in intervals as well.
pub(crate) struct Interfaces {
    /// `None` where the system reports nothing.
    watcher: Option<IfWatcher>,
    survey: Interval,
}

impl Interfaces {
    /// Needs a tokio runtime.
    pub(crate) fn new() -> Self {
        let watcher = IfWatcher::new();
        let mut survey = interval(SURVEY_INTERVAL);
        survey.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            watcher: watcher
                .inspect_err(|error| debug!(%error, "the system does not report its addresses"))
                .ok(),
            survey,
        }
    }

    /// Waits until they may have changed. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        let Self { watcher, survey } = self;
        let Some(watched) = watcher else {
            survey.tick().await;
            return;
        };
        tokio::select! {
            event = poll_fn(|cx| watched.poll_if_event(cx)) => if let Err(error) = event {
                debug!(%error, "the system no longer reports its addresses");
                *watcher = None;
            },
            _ = survey.tick() => {}
        }
    }
}

/// How often the addresses of the machine are read.
const SURVEY_INTERVAL: Duration = Duration::from_secs(5);
