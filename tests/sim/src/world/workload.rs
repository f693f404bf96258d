//! The contents of messages, and those that wait for room.

use std::hash::{Hash as _, Hasher as _};
use std::sync::OnceLock;

use bowline::{ChannelId, Message, SendRefusal};
use bytes::Bytes;

use crate::hash::RollingHash;
use crate::net::HostId;
use crate::rng::{Purpose, Stream};

use super::{Refused, World};

/// Messages of one `Send` action that the queue had no room for yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bulk {
    pub(crate) channel: ChannelId,
    pub(crate) size: usize,
    pub(crate) text: bool,
    pub(crate) left: u32,
}

impl World {
    /// Sends what waits for room, until the queue is full again.
    pub(super) fn send_bulk(&mut self, from: HostId, to: HostId) {
        while let Some(bulk) = self.nodes[from]
            .bulk
            .get(&to)
            .and_then(|all| all.front())
            .copied()
        {
            let message = self.next_message(from, to, bulk);
            match self.try_send(from, to, bulk.channel, &message) {
                Ok(_) => {
                    *self.nodes[from].made.entry((to, bulk.channel)).or_default() += 1;
                    self.with_bulk(from, to, |front| front.left -= 1);
                    if bulk.left <= 1 {
                        self.drop_bulk(from, to);
                    }
                }
                Err(Refused::Send(SendRefusal::Full)) => break,
                Err(_) => self.drop_bulk(from, to),
            }
        }
        self.pump(from);
    }

    /// The message that comes next on a channel: the same in every run, whatever else is sent meanwhile.
    fn next_message(&self, from: HostId, to: HostId, bulk: Bulk) -> Message {
        let made = self.nodes[from]
            .made
            .get(&(to, bulk.channel))
            .copied()
            .unwrap_or_default();
        let mut number = RollingHash::new();
        (from, to, bulk.channel, made).hash(&mut number);
        message(number.finish(), bulk.size, bulk.text)
    }

    fn drop_bulk(&mut self, from: HostId, to: HostId) {
        if let Some(all) = self.nodes[from].bulk.get_mut(&to) {
            all.pop_front();
        }
    }

    fn with_bulk(&mut self, from: HostId, to: HostId, with: impl FnOnce(&mut Bulk)) {
        if let Some(front) = self.nodes[from]
            .bulk
            .get_mut(&to)
            .and_then(|all| all.front_mut())
        {
            with(front);
        }
    }
}

/// A message of `size` bytes of ASCII that is unlike others of different `number`.
///
/// It is a slice of one shared pattern, so that making one costs nothing.
pub(crate) fn message(number: u64, size: usize, text: bool) -> Message {
    let pattern = pattern();
    let data = if size <= PATTERN / 2 {
        let mut hash = RollingHash::new();
        hash.write_u64(number);
        let room = (PATTERN - size) as u64;
        let start = usize::try_from(hash.finish() % room).unwrap_or_default();
        pattern.slice(start..start + size)
    } else {
        pattern.iter().copied().cycle().take(size).collect()
    };
    Message { data, text }
}

fn pattern() -> &'static Bytes {
    static BYTES: OnceLock<Bytes> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut stream = Stream::new(0, Purpose::Scenario);
        let printable = |word: u64| word.to_le_bytes().map(|b| b'!' + b % 94);
        (0..PATTERN / 8)
            .flat_map(|_| printable(stream.u64()))
            .collect()
    })
}

/// The length of the shared pattern, in bytes.
const PATTERN: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_size_and_differ_by_their_number() {
        for size in [0, 1, 100, 200_000, PATTERN / 2 + 1, 2 * PATTERN] {
            let message = message(3, size, true);
            assert_eq!(message.len(), size);
            assert!(message.as_text().is_some());
        }
        assert_ne!(message(1, 100, false), message(2, 100, false));
    }
}
