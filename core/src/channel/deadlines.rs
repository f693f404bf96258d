//! One deadline for each of many channels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::id::ChannelId;

/// At most one deadline for each channel, the earliest at hand.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    channels: BTreeMap<ChannelId, Instant>,
    order: BTreeSet<(Instant, ChannelId)>,
}

impl Deadlines {
    /// Sets the deadline, in place of an earlier setting.
    pub(super) fn set(&mut self, channel: ChannelId, at: Instant) {
        self.clear(channel);
        self.channels.insert(channel, at);
        self.order.insert((at, channel));
    }

    /// Sets the deadline unless there is one.
    pub(super) fn set_if_none(&mut self, channel: ChannelId, at: Instant) {
        if !self.channels.contains_key(&channel) {
            self.set(channel, at);
        }
    }

    /// Moves every deadline to `at`.
    pub(super) fn reset_all(&mut self, at: Instant) {
        self.channels
            .values_mut()
            .for_each(|deadline| *deadline = at);
        self.order = self.channels.keys().map(|channel| (at, *channel)).collect();
    }

    pub(super) fn clear(&mut self, channel: ChannelId) {
        if let Some(at) = self.channels.remove(&channel) {
            self.order.remove(&(at, channel));
        }
    }

    pub(super) fn first(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the earliest deadline out, if it has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<ChannelId> {
        let (at, channel) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.clear(channel);
        Some(channel)
    }
}
