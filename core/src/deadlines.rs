//! One deadline for each of many things.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// At most one deadline for each key, the earliest at hand.
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    keys: BTreeMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<K: Copy + Ord> Deadlines<K> {
    /// Sets the deadline, in place of an earlier setting.
    pub(crate) fn set(&mut self, key: K, at: Instant) {
        self.clear(key);
        self.keys.insert(key, at);
        self.order.insert((at, key));
    }

    /// Sets the deadline unless there is one.
    pub(crate) fn set_if_none(&mut self, key: K, at: Instant) {
        if !self.keys.contains_key(&key) {
            self.set(key, at);
        }
    }

    /// Moves every deadline to `at`.
    pub(crate) fn reset_all(&mut self, at: Instant) {
        self.keys.values_mut().for_each(|deadline| *deadline = at);
        self.order = self.keys.keys().map(|key| (at, *key)).collect();
    }

    pub(crate) fn clear(&mut self, key: K) {
        if let Some(at) = self.keys.remove(&key) {
            self.order.remove(&(at, key));
        }
    }

    pub(crate) fn first(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Those that have a deadline, the earliest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = K> + '_ {
        self.order.iter().map(|(_, key)| *key)
    }

    /// Takes the earliest deadline out, if it has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, key) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.clear(key);
        Some(key)
    }
}
