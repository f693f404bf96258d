//! What happened so far, for tests that wait for something to happen.

use std::fmt::Debug;
use std::time::Duration;

use bowline::Event;
use bowline_tokio::Endpoint;
use tokio::sync::watch;

/// A list that grows. Clones are handles to the same list.
#[derive(Debug, Clone)]
pub struct Log<E> {
    entries: watch::Sender<Vec<E>>,
}

impl<E> Default for Log<E> {
    fn default() -> Self {
        let (entries, _) = watch::channel(Vec::new());
        Self { entries }
    }
}

impl Log<Event> {
    /// What an endpoint tells from now on, written down where the caller runs.
    #[must_use]
    pub fn of(endpoint: &Endpoint) -> Self {
        let log = Self::default();
        let (mut told, into) = (endpoint.events(), log.clone());
        tokio::spawn(async move {
            while let Some(event) = told.next().await {
                into.push(event.expect("this task keeps up"));
            }
        });
        log
    }
}

impl<E: Clone + Debug> Log<E> {
    /// Adds an entry.
    pub fn push(&self, entry: E) {
        self.entries.send_modify(|entries| entries.push(entry));
    }

    /// Everything so far.
    #[must_use]
    pub fn all(&self) -> Vec<E> {
        self.entries.borrow().clone()
    }

    /// How many entries `matches` so far.
    #[must_use]
    pub fn count(&self, matches: impl Fn(&E) -> bool) -> usize {
        self.entries.borrow().iter().filter(|e| matches(e)).count()
    }

    /// Waits until `find` finds what it wants in the list. `what` is for the message when it does not.
    ///
    /// # Panics
    ///
    /// When it has not been found after `limit`.
    pub async fn within<T>(
        &self,
        limit: Duration,
        what: &str,
        mut find: impl FnMut(&[E]) -> Option<T>,
    ) -> T {
        let mut entries = self.entries.subscribe();
        let mut found = None;
        let search = entries.wait_for(|entries| {
            found = find(entries);
            found.is_some()
        });
        let ended = tokio::time::timeout(limit, search).await;
        // The sender lives in `self`: an end without a find is the limit.
        let late = ended.is_err();
        found.unwrap_or_else(|| {
            let all = self.all();
            let last = &all[all.len().saturating_sub(SHOWN)..];
            panic!(
                "within {limit:?} (late: {late}) there was not: {what}; the last of {}: {last:?}",
                all.len()
            )
        })
    }
}

/// How many entries a failure shows.
const SHOWN: usize = 8;
