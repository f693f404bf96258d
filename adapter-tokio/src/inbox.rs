//! Messages that came and that the application has not taken.

use std::collections::{BTreeMap, VecDeque};

use bowline::{ChannelId, Message};

/// The received messages of one connection, by channel and in the order in which they came.
///
/// It is as large as the receive windows of the core allow: what is here has not been released.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queues: BTreeMap<ChannelId, VecDeque<(u64, Message)>>,
    next: u64,
}

impl Inbox {
    pub(crate) fn push(&mut self, channel: ChannelId, message: Message) {
        self.queues
            .entry(channel)
            .or_default()
            .push_back((self.next, message));
        self.next += 1;
    }

    /// Takes the oldest message of all channels.
    pub(crate) fn pop(&mut self) -> Option<(ChannelId, Message)> {
        let heads = self
            .queues
            .iter()
            .filter_map(|(id, queue)| Some((queue.front()?.0, *id)));
        let (_, channel) = heads.min()?;
        self.pop_from(channel).map(|message| (channel, message))
    }

    /// Takes the oldest message of one channel.
    pub(crate) fn pop_from(&mut self, channel: ChannelId) -> Option<Message> {
        let queue = self.queues.get_mut(&channel)?;
        let (_, message) = queue.pop_front()?;
        if queue.is_empty() {
            self.queues.remove(&channel);
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline::ChannelKind::{Control, File, Reliable};

    #[test]
    fn the_oldest_message_comes_first_over_all_channels_and_within_one() {
        let mut inbox = Inbox::default();
        for (kind, text) in [(File, "1"), (Control, "2"), (File, "3"), (Control, "4")] {
            inbox.push(kind.id(), text.into());
        }
        assert_eq!(inbox.pop_from(Control.id()), Some("2".into()));
        assert_eq!(inbox.pop_from(Reliable.id()), None);
        assert_eq!(inbox.pop(), Some((File.id(), "1".into())));
        assert_eq!(inbox.pop(), Some((File.id(), "3".into())));
        assert_eq!(inbox.pop(), Some((Control.id(), "4".into())));
        assert_eq!(inbox.pop(), None);
        assert!(inbox.queues.is_empty());
    }
}
