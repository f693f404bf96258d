//! What became of the messages that were sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bowline::{ChannelId, ChannelKind, MessageId};

/// Names one message that was accepted for sending on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt {
    /// The channel.
    pub channel: ChannelId,
    /// Its number on this channel.
    pub message: MessageId,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// It reached the peer.
    Delivered,
    /// It was handed to the transport, and nobody tells more: the channel is not reliable.
    Sent,
    /// It did not reach the peer.
    Lost,
    /// It was handed to the transport and not acknowledged: it may have reached the peer.
    Unknown,
}

/// Messages that were not delivered, one after the other on one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undelivered {
    /// The channel.
    pub channel: ChannelId,
    /// The first of them.
    pub first: MessageId,
    /// The last of them.
    pub last: MessageId,
    /// Whether some of them may have arrived.
    pub maybe: bool,
}

impl Undelivered {
    fn contains(&self, receipt: Receipt) -> bool {
        self.channel == receipt.channel && (self.first..=self.last).contains(&receipt.message)
    }

    fn is_followed_by(&self, next: &Self) -> bool {
        self.channel == next.channel
            && self.maybe == next.maybe
            && self.last.0.checked_add(1) == Some(next.first.0)
    }
}

/// The outcomes of one connection.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sent: BTreeMap<ChannelId, MessageId>,
    delivered: BTreeMap<ChannelId, MessageId>,
    /// Custom channels with less than full reliability.
    unreliable: BTreeSet<ChannelId>,
    lost: VecDeque<Undelivered>,
}

impl Ledger {
    pub(crate) fn on_unreliable_channel(&mut self, channel: ChannelId) {
        self.unreliable.insert(channel);
    }

    pub(crate) fn on_sent(&mut self, channel: ChannelId, through: MessageId) {
        self.sent.insert(channel, through);
    }

    pub(crate) fn on_delivered(&mut self, channel: ChannelId, through: MessageId) {
        self.delivered.insert(channel, through);
    }

    /// Notes messages that are lost. Of too many the oldest are forgotten.
    pub(crate) fn on_lost(&mut self, lost: Undelivered) {
        match self.lost.back_mut() {
            Some(last) if last.is_followed_by(&lost) => last.last = lost.last,
            Some(_) | None => self.lost.push_back(lost),
        }
        if self.lost.len() > MAX_LOST {
            self.lost.pop_front();
        }
    }

    /// What became of a message, if it is known yet.
    pub(crate) fn outcome(&self, receipt: Receipt) -> Option<Delivery> {
        if let Some(lost) = self.lost.iter().find(|lost| lost.contains(receipt)) {
            return Some(if lost.maybe {
                Delivery::Unknown
            } else {
                Delivery::Lost
            });
        }
        let reached = |mark: &BTreeMap<_, _>| {
            mark.get(&receipt.channel)
                .is_some_and(|m| *m >= receipt.message)
        };
        if reached(&self.delivered) {
            return Some(Delivery::Delivered);
        }
        (self.is_unreliable(receipt.channel) && reached(&self.sent)).then_some(Delivery::Sent)
    }

    /// The messages that were not delivered, in the order in which this became known.
    pub(crate) fn undelivered(&self) -> Vec<Undelivered> {
        self.lost.iter().copied().collect()
    }

    fn is_unreliable(&self, channel: ChannelId) -> bool {
        channel == ChannelKind::Unreliable.id() || self.unreliable.contains(&channel)
    }
}

/// Ranges of lost messages that are kept for each connection.
const MAX_LOST: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(kind: ChannelKind, message: u64) -> Receipt {
        Receipt {
            channel: kind.id(),
            message: MessageId(message),
        }
    }

    fn lost(kind: ChannelKind, first: u64, last: u64, maybe: bool) -> Undelivered {
        Undelivered {
            channel: kind.id(),
            first: MessageId(first),
            last: MessageId(last),
            maybe,
        }
    }

    #[test]
    fn a_message_is_delivered_once_a_later_one_is() {
        let mut ledger = Ledger::default();
        ledger.on_sent(ChannelKind::Reliable.id(), MessageId(9));
        assert_eq!(ledger.outcome(receipt(ChannelKind::Reliable, 3)), None);
        ledger.on_delivered(ChannelKind::Reliable.id(), MessageId(4));
        assert_eq!(
            ledger.outcome(receipt(ChannelKind::Reliable, 3)),
            Some(Delivery::Delivered)
        );
        assert_eq!(ledger.outcome(receipt(ChannelKind::Reliable, 5)), None);
        assert_eq!(ledger.outcome(receipt(ChannelKind::File, 3)), None);
    }

    #[test]
    fn on_an_unreliable_channel_sent_is_all_there_is_to_know() {
        let mut ledger = Ledger::default();
        ledger.on_sent(ChannelKind::Unreliable.id(), MessageId(0));
        assert_eq!(
            ledger.outcome(receipt(ChannelKind::Unreliable, 0)),
            Some(Delivery::Sent)
        );
        assert_eq!(ledger.outcome(receipt(ChannelKind::Unreliable, 1)), None);
    }

    #[test]
    fn a_lost_message_stays_lost_whatever_arrives_later() {
        let mut ledger = Ledger::default();
        ledger.on_lost(lost(ChannelKind::File, 2, 3, false));
        ledger.on_lost(lost(ChannelKind::File, 4, 4, true));
        ledger.on_delivered(ChannelKind::File.id(), MessageId(7));
        let outcomes: Vec<_> = (1..6)
            .map(|i| ledger.outcome(receipt(ChannelKind::File, i)))
            .collect();
        let (arrived, gone) = (Some(Delivery::Delivered), Some(Delivery::Lost));
        assert_eq!(
            outcomes,
            [arrived, gone, gone, Some(Delivery::Unknown), arrived]
        );
    }

    #[test]
    fn neighbouring_losses_are_one_entry_and_the_number_of_entries_is_bounded() {
        let mut ledger = Ledger::default();
        for i in 0..10 {
            ledger.on_lost(lost(ChannelKind::File, i, i, false));
        }
        assert_eq!(ledger.undelivered(), [lost(ChannelKind::File, 0, 9, false)]);
        for i in 0..MAX_LOST as u64 {
            ledger.on_lost(lost(ChannelKind::Unreliable, i * 2, i * 2, false));
        }
        assert_eq!(ledger.undelivered().len(), MAX_LOST);
        assert_eq!(
            ledger.undelivered()[0],
            lost(ChannelKind::Unreliable, 0, 0, false)
        );
    }
}
