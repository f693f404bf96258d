//! Whose turn it is: ranks strictly one after the other, and within a rank equal shares of the bytes.
//!
//! Fairness is start-time fair queueing: each channel has a tag, the bytes that it has had; the one with the smallest
//! tag is next. A channel that was idle starts at the tag of the channel served last, so that idleness earns nothing.
//! It gives what deficit round robin gives and needs no rounds, and no loop when a message is larger than a quantum.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::ChannelId;

/// The channels that have something to send, in the order in which they may.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Rank, tag, channel. The first is next.
    active: BTreeSet<(u8, u64, ChannelId)>,
    channels: BTreeMap<ChannelId, Share>,
    /// The tag served last, by rank.
    served: [u64; RANKS],
}

#[derive(Debug, Clone, Copy)]
struct Share {
    rank: u8,
    tag: u64,
    active: bool,
}

impl Schedule {
    /// The channel has something to send, in `rank`: 0 is first.
    pub(super) fn activate(&mut self, channel: ChannelId, rank: u8) {
        debug_assert!(usize::from(rank) < RANKS);
        let served = self.served[usize::from(rank) % RANKS];
        let share = self.channels.entry(channel).or_insert(Share {
            rank,
            tag: served,
            active: false,
        });
        if share.active && share.rank == rank {
            return;
        }
        if share.active {
            self.active.remove(&(share.rank, share.tag, channel));
        }
        let tag = if share.rank == rank {
            share.tag.max(served)
        } else {
            served
        };
        *share = Share {
            rank,
            tag,
            active: true,
        };
        self.active.insert((rank, tag, channel));
    }

    /// The channel has nothing to send, or may not.
    pub(super) fn deactivate(&mut self, channel: ChannelId) {
        if let Some(share) = self.channels.get_mut(&channel)
            && share.active
        {
            share.active = false;
            self.active.remove(&(share.rank, share.tag, channel));
        }
    }

    /// The channel is gone.
    pub(super) fn remove(&mut self, channel: ChannelId) {
        self.deactivate(channel);
        self.channels.remove(&channel);
    }

    /// The channel whose turn it is, and its rank.
    pub(super) fn next(&self) -> Option<(ChannelId, u8)> {
        self.active
            .first()
            .map(|(rank, _, channel)| (*channel, *rank))
    }

    /// The channel had its turn and sent `bytes`. It stays active.
    pub(super) fn charge(&mut self, channel: ChannelId, bytes: usize) {
        let Some(share) = self.channels.get_mut(&channel) else {
            return;
        };
        let served = &mut self.served[usize::from(share.rank) % RANKS];
        *served = share.tag.max(*served);
        let tag = share.tag.saturating_add((bytes + TURN_COST) as u64);
        if share.active {
            self.active.remove(&(share.rank, share.tag, channel));
            self.active.insert((share.rank, tag, channel));
        }
        share.tag = tag;
    }

    pub(super) fn is_active(&self, channel: ChannelId) -> bool {
        self.channels
            .get(&channel)
            .is_some_and(|share| share.active)
    }
}

/// As many ranks as a graceful close tells apart.
pub(super) const RANKS: usize = 5;
/// What a turn costs beyond its bytes: the headers of its packet. It keeps empty messages from being free.
const TURN_COST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(
        schedule: &mut Schedule,
        turns: usize,
        bytes: impl Fn(ChannelId) -> usize,
    ) -> BTreeMap<ChannelId, usize> {
        let mut had = BTreeMap::new();
        for _ in 0..turns {
            let (channel, _) = schedule.next().expect("active");
            *had.entry(channel).or_default() += bytes(channel);
            schedule.charge(channel, bytes(channel));
        }
        had
    }

    #[test]
    fn a_lower_rank_waits_for_the_higher_ones() {
        let mut schedule = Schedule::default();
        schedule.activate(ChannelId(7), 2);
        schedule.activate(ChannelId(5), 1);
        schedule.activate(ChannelId(9), 0);
        for channel in [9, 5, 7] {
            assert_eq!(schedule.next().map(|(id, _)| id), Some(ChannelId(channel)));
            schedule.charge(ChannelId(channel), 1 << 20);
            schedule.deactivate(ChannelId(channel));
        }
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn channels_of_one_rank_share_bytes_whatever_their_message_sizes() {
        let mut schedule = Schedule::default();
        (0..3).for_each(|id| schedule.activate(ChannelId(id), 1));
        let had = serve(&mut schedule, 5_000, |channel| match channel {
            ChannelId(0) => 16_384,
            ChannelId(1) => 1_000,
            _ => 250_000,
        });
        let (least, most) = (had.values().min(), had.values().max());
        let (least, most) = (*least.expect("three"), *most.expect("three"));
        assert!(most - least < most / 5, "{had:?}");
    }

    #[test]
    fn idleness_earns_no_credit() {
        let mut schedule = Schedule::default();
        schedule.activate(ChannelId(1), 1);
        schedule.deactivate(ChannelId(1));
        schedule.activate(ChannelId(0), 1);
        serve(&mut schedule, 1_000, |_| 16_384);
        schedule.activate(ChannelId(1), 1);
        let had = serve(&mut schedule, 100, |_| 16_384);
        assert!(
            had[&ChannelId(0)].abs_diff(had[&ChannelId(1)]) <= 2 * 16_384,
            "{had:?}"
        );
    }

    #[test]
    fn a_channel_can_change_its_rank() {
        let mut schedule = Schedule::default();
        schedule.activate(ChannelId(0), 0);
        schedule.activate(ChannelId(1), 1);
        schedule.activate(ChannelId(0), 2);
        assert_eq!(schedule.next(), Some((ChannelId(1), 1)));
        schedule.remove(ChannelId(1));
        assert_eq!(schedule.next(), Some((ChannelId(0), 2)));
        assert!(schedule.is_active(ChannelId(0)) && !schedule.is_active(ChannelId(1)));
    }
}
