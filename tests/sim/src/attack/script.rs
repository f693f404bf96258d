//! What evil peers send.

use std::time::Duration;

use crate::time::Time;

use super::sctp::{self, Data};

pub use super::evil::Wire;

/// Makes packets for an [`EvilPeer`](super::EvilPeer).
pub trait Script {
    /// Called when the association is up, and then whenever the time that it gave has come.
    fn turn(&mut self, wire: &mut Wire, now: Time) -> Option<Time>;
}

/// Sends nothing at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Script for Nothing {
    fn turn(&mut self, _wire: &mut Wire, _now: Time) -> Option<Time> {
        None
    }
}

/// Stops reading at once: what is acknowledged before is what it takes to open the victim's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deaf {
    /// It acknowledges what comes, and has no room for more.
    ClosedWindow,
    /// It acknowledges nothing any more.
    Silent,
}

impl Script for Deaf {
    fn turn(&mut self, wire: &mut Wire, now: Time) -> Option<Time> {
        if wire.heard_data() == 0 {
            return Some(now.after(OPENING));
        }
        match self {
            Self::ClosedWindow => wire.set_window(0),
            Self::Silent => wire.fall_silent(),
        }
        None
    }
}

/// One message in fragments of a few bytes each.
#[derive(Debug, Clone, Copy)]
pub struct TinyFragments {
    left: usize,
    size: usize,
    bundled: usize,
    has_begun: bool,
}

impl TinyFragments {
    /// A message of `total` bytes in fragments of `size`, each in a packet of its own.
    #[must_use]
    pub fn new(total: usize, size: usize) -> Self {
        Self {
            left: total.div_ceil(size.max(1)),
            size,
            bundled: 1,
            has_begun: false,
        }
    }

    /// So many fragments in each packet.
    #[must_use]
    pub fn bundled(self, bundled: usize) -> Self {
        Self { bundled, ..self }
    }
}

impl Script for TinyFragments {
    fn turn(&mut self, wire: &mut Wire, now: Time) -> Option<Time> {
        let payload = vec![b'x'; self.size];
        for _ in 0..PACKETS {
            let mut chunks = Vec::new();
            for _ in 0..self.bundled.min(self.left) {
                self.left -= 1;
                let fragment = Data {
                    begins: !self.has_begun,
                    ends: self.left == 0,
                    ..Data::whole(FIRST_STREAM, 0, sctp::BINARY, &payload)
                };
                self.has_begun = true;
                chunks.push(wire.data(fragment));
            }
            if !chunks.is_empty() {
                wire.send(&chunks);
            }
        }
        (self.left > 0).then(|| now.after(PAUSE))
    }
}

/// One message on each of many streams: a channel that is announced, or data alone.
#[derive(Debug, Clone)]
pub struct Streams {
    next: u16,
    end: u16,
    message: Vec<u8>,
    protocol: u32,
}

impl Streams {
    /// Data on `count` streams.
    #[must_use]
    pub fn of_data(count: u16) -> Self {
        Self {
            next: 0,
            end: count,
            message: b"x".to_vec(),
            protocol: sctp::BINARY,
        }
    }

    /// The announcements of `count` channels with a label of `length` bytes.
    #[must_use]
    pub fn of_channels(count: u16, length: usize) -> Self {
        Self {
            message: sctp::channel_open(&"x".repeat(length)),
            protocol: sctp::DCEP,
            ..Self::of_data(count)
        }
    }
}

impl Script for Streams {
    fn turn(&mut self, wire: &mut Wire, now: Time) -> Option<Time> {
        for _ in 0..PACKETS.min(usize::from(self.end - self.next)) {
            send_message(wire, self.next, self.protocol, &self.message);
            self.next += 1;
        }
        (self.next < self.end).then(|| now.after(PAUSE))
    }
}

/// Opens and closes one channel after the other, always on a few streams.
#[derive(Debug, Clone, Copy)]
pub struct Churn {
    left: u32,
    turn: u16,
}

impl Churn {
    /// So many channels are opened and closed.
    #[must_use]
    pub fn new(channels: u32) -> Self {
        Self {
            left: channels,
            turn: 0,
        }
    }
}

impl Script for Churn {
    fn turn(&mut self, wire: &mut Wire, now: Time) -> Option<Time> {
        let open = sctp::channel_open("churn");
        for _ in 0..CHURN.min(self.left) {
            let stream = FIRST_STREAM + 2 * (self.turn % STREAMS);
            let chunk = wire.data(Data::whole(stream, 0, sctp::DCEP, &open));
            wire.send(&[chunk]);
            wire.reset(&[stream]);
            self.turn = self.turn.wrapping_add(1);
            self.left -= 1;
        }
        (self.left > 0).then(|| now.after(PAUSE))
    }
}

/// Messages of one byte of which every second one is missing, so that none of them is in order.
#[derive(Debug, Clone, Copy)]
pub struct Gaps {
    left: u32,
    bundled: u32,
}

impl Gaps {
    /// So many messages, `bundled` in each packet.
    #[must_use]
    pub fn new(messages: u32, bundled: u32) -> Self {
        Self {
            left: messages,
            bundled,
        }
    }
}

impl Script for Gaps {
    fn turn(&mut self, wire: &mut Wire, now: Time) -> Option<Time> {
        for _ in 0..PACKETS {
            let mut chunks = Vec::new();
            for _ in 0..self.bundled.min(self.left) {
                self.left -= 1;
                wire.skip();
                let message = Data {
                    unordered: true,
                    ..Data::whole(FIRST_STREAM, 0, sctp::BINARY, b"x")
                };
                chunks.push(wire.data(message));
            }
            if !chunks.is_empty() {
                wire.send(&chunks);
            }
        }
        (self.left > 0).then(|| now.after(PAUSE))
    }
}

/// Messages of one byte whose predecessor on their stream never comes, so that none can be delivered.
#[derive(Debug, Clone, Copy)]
pub struct OutOfSequence {
    left: u32,
    bundled: u32,
    has_gap: bool,
    sequence: u16,
    stream: u16,
}

impl OutOfSequence {
    /// So many messages, `bundled` in each packet, as many on each stream as there are sequence numbers ahead.
    #[must_use]
    pub fn new(messages: u32, bundled: u32) -> Self {
        Self {
            left: messages,
            bundled,
            has_gap: false,
            sequence: 0,
            stream: FIRST_STREAM,
        }
    }

    /// Leaves out the first chunk of all, so that they wait with a right.
    #[must_use]
    pub fn after_a_gap(self) -> Self {
        Self {
            has_gap: true,
            ..self
        }
    }
}

impl Script for OutOfSequence {
    fn turn(&mut self, wire: &mut Wire, now: Time) -> Option<Time> {
        for _ in 0..PACKETS {
            let mut chunks = Vec::new();
            for _ in 0..self.bundled.min(self.left) {
                self.left -= 1;
                self.sequence += 1;
                if std::mem::take(&mut self.has_gap) {
                    wire.skip();
                }
                if self.sequence > AHEAD {
                    (self.sequence, self.stream) = (1, self.stream + 1);
                }
                let message = Data::whole(self.stream, self.sequence, sctp::BINARY, b"x");
                chunks.push(wire.data(message));
            }
            if !chunks.is_empty() {
                wire.send(&chunks);
            }
        }
        (self.left > 0).then(|| now.after(PAUSE))
    }
}

/// Beginnings of messages that never end, each of a fair size.
#[derive(Debug, Clone, Copy)]
pub struct Unfinished {
    left: u32,
    size: usize,
    sequence: u16,
}

impl Unfinished {
    /// The first `size` bytes of so many messages.
    #[must_use]
    pub fn new(messages: u32, size: usize) -> Self {
        Self {
            left: messages,
            size,
            sequence: 0,
        }
    }
}

impl Script for Unfinished {
    fn turn(&mut self, wire: &mut Wire, now: Time) -> Option<Time> {
        let payload = vec![b'x'; self.size];
        for _ in 0..PACKETS.min(self.left as usize) {
            self.left -= 1;
            let beginning = Data {
                ends: false,
                ..Data::whole(FIRST_STREAM, self.sequence, sctp::BINARY, &payload)
            };
            self.sequence = self.sequence.wrapping_add(1);
            let chunk = wire.data(beginning);
            wire.send(&[chunk]);
        }
        (self.left > 0).then(|| now.after(PAUSE))
    }
}

/// Sends one message in as few packets as it takes.
fn send_message(wire: &mut Wire, stream: u16, protocol: u32, message: &[u8]) {
    let last = message.len().div_ceil(FRAGMENT).max(1) - 1;
    for (n, payload) in message.chunks(FRAGMENT).enumerate() {
        let chunk = wire.data(Data {
            begins: n == 0,
            ends: n == last,
            ..Data::whole(stream, 0, protocol, payload)
        });
        wire.send(&[chunk]);
    }
}

/// A stream that the victim's own channels do not use.
const FIRST_STREAM: u16 = 101;
/// Payload that leaves room for all headers in a datagram.
const FRAGMENT: usize = 1_100;
/// Packets sent at one instant.
const PACKETS: usize = 10;
/// Sequence numbers that are ahead of 0 (RFC 1982).
const AHEAD: u16 = 32_000;
/// Channels opened and closed at one instant.
const CHURN: u32 = 2;
/// Streams that are used in turn.
const STREAMS: u16 = 8;
/// After this time it is seen whether the victim has opened its channels.
const OPENING: Duration = Duration::from_millis(200);
/// From one turn to the next.
const PAUSE: Duration = Duration::from_millis(1);
