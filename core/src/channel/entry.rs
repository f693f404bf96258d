//! One channel.

use std::ops::Range;
use std::time::Instant;

use crate::id::{ChannelId, MessageId};
use crate::metrics::ChannelMetrics;

use super::frame::{
    FRAGMENT, FRAGMENT_MIN, Header, MetaFrame, Open, Part, Ready, UNSAID_MESSAGE_MAX, WHOLE_MAX,
};
use super::io::{Framing, StreamConfig};
use super::kind::{ChannelConfig, ChannelKind, Message, Ordering, Priority, Reliability};
use super::queue::{Keep, Queue};
use super::receive::{INITIAL_CREDIT, Overflow, Receiver};

/// One channel and its stream.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) origin: Origin,
    pub(super) label: String,
    pub(super) protocol: String,
    pub(super) ordering: Ordering,
    pub(super) reliability: Reliability,
    pub(super) priority: Priority,
    /// The SCTP stream id: between bowline peers always, once the transport is negotiated.
    pub(super) stream: Option<u16>,
    pub(super) phase: Phase,
    /// How often the stream was opened again.
    pub(super) epoch: u8,
    /// What the peer said last of its side, on this transport.
    pub(super) peer: Option<PeerSide>,
    pub(super) owed: Owed,
    /// Whether the peer may have heard of the channel from us.
    pub(super) is_said: bool,
    /// Whether we have heard of the channel from the peer.
    pub(super) is_heard: bool,
    /// Whether it was open on both sides, on this transport.
    pub(super) has_opened: bool,
    /// Whether the application was told that the channel is open.
    pub(super) is_told: bool,
    pub(super) queue: Queue,
    pub(super) receiver: Receiver,
    /// What the peer lets us send since the beginning: payload, and the overhead of each message.
    pub(super) credit: u64,
    /// The size of the message that was refused last, until `Writable` is told.
    pub(super) refused: Option<usize>,
    /// The last message of which `Sent` was told, plus one.
    pub(super) sent_told: u64,
    pub(super) bytes_queued: u64,
    pub(super) bytes_sent: u64,
    pub(super) messages_sent: u64,
}

/// Where a channel comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is one of the four.
    Kind(ChannelKind),
    /// It is the one that bowline peers keep for rooms. The application knows nothing of it.
    Mesh,
    /// We opened it and announce it.
    Local,
    /// Both applications open it, with a stream id that they agreed on.
    Agreed,
    /// The peer opened it.
    Remote,
}

/// The life of a channel's stream.
///
/// ```text
/// Idle --> Opening --> Announced --> Open --> Closing --> (gone)
///             ^            |           |
///             +-------- Resetting <----+     from every phase a closed stream leads to Opening again, or to Closing
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The transport is not negotiated.
    Idle,
    /// The transport was asked to open the stream.
    Opening,
    /// Our stream is open; the peer has not said that its is.
    Announced,
    /// Messages flow.
    Open,
    /// The peer has reset the stream, or it has to be reset: the transport will say that it is closed.
    Resetting {
        /// Whether the transport was asked to close it.
        asked: bool,
    },
    /// The channel is gone for the application.
    Closing(Closing),
}

/// What is left to do before a channel is forgotten and its stream id is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closing {
    /// CLOSE is to be said.
    pub(super) say: bool,
    /// The peer's CLOSE or CLOSED is to come: what comes before it is of this channel, what comes after it of the next.
    pub(super) hear: bool,
    pub(super) stream: Closure,
}

/// The end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closure {
    /// The transport has it, and is asked to close it once CLOSE is said.
    Due,
    /// The transport was asked.
    Asked,
    /// The transport does not have it.
    Done,
}

/// What a peer said of its side of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PeerSide {
    pub(super) epoch: u8,
    pub(super) received: u64,
    /// What those messages took of our credit.
    pub(super) position: u64,
    /// How many bytes it holds of the message after those.
    pub(super) partial: u64,
}

impl From<Ready> for PeerSide {
    fn from(ready: Ready) -> Self {
        Self {
            epoch: ready.epoch,
            received: ready.received,
            position: ready.position,
            partial: ready.partial,
        }
    }
}

/// What is to be said to the peer on META, beside new credit and acknowledgements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Owed {
    pub(super) open: bool,
    pub(super) ready: bool,
    /// Credit and acknowledgement, although they were said: META was reset.
    pub(super) repeat: bool,
}

/// What can be written of a channel now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing.
    Blocked,
    /// The next message can never be sent.
    Skip,
    /// So much of the next message.
    Send { part: Part, bytes: usize },
}

/// What bounds the messages to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PeerLimits {
    pub(super) framing: Framing,
    /// The largest message.
    pub(super) message_max: usize,
    /// Whether the peer has said so itself.
    pub(super) is_said: bool,
    /// The most that is kept for sending again.
    pub(super) retained_max: usize,
}

impl Entry {
    pub(super) fn new(config: ChannelConfig, origin: Origin, receiver: Receiver) -> Self {
        Self {
            origin,
            label: config.label,
            protocol: config.protocol,
            ordering: config.ordering,
            reliability: config.reliability,
            priority: config.priority,
            stream: config.negotiated,
            phase: Phase::Idle,
            epoch: 0,
            peer: None,
            owed: Owed::default(),
            is_said: false,
            is_heard: false,
            has_opened: false,
            is_told: false,
            queue: Queue::new(Keep::Nothing),
            receiver,
            credit: u64::MAX,
            refused: None,
            sent_told: 0,
            bytes_queued: 0,
            bytes_sent: 0,
            messages_sent: 0,
        }
    }

    /// Fixes the mode, once it is known what the remote is.
    pub(super) fn configure(&mut self, framing: Framing) {
        let (keep, overflow) = match (framing, self.is_reliable()) {
            (_, false) if planted!(UnreliableKept) => (Keep::Payload, Overflow::Drop),
            (_, false) => (Keep::Nothing, Overflow::Drop),
            (Framing::Plain, true) => (Keep::Number, Overflow::HoldBack),
            (Framing::Bowline, true) if self.is_fragmented() => (Keep::Payload, Overflow::Fault),
            (Framing::Bowline, true) => (Keep::Number, Overflow::Fault),
        };
        self.queue.set_keep(keep);
        self.receiver.set_mode(overflow, self.is_fragmented());
        if overflow == Overflow::Fault {
            self.credit = INITIAL_CREDIT as u64;
        }
    }

    /// The peer says where its side is.
    pub(super) fn hear(&mut self, peer: PeerSide) {
        self.peer = Some(peer);
        self.is_heard = true;
    }

    /// Nothing is known of the peer's side on the new transport, and what was said last may not have been heard.
    pub(super) fn on_transport_replaced(&mut self) {
        self.peer = None;
        self.has_opened = false;
        self.owed = Owed {
            repeat: true,
            ..Owed::default()
        };
    }

    /// The peer has no memory of the channel: all but what the application knows begins anew. Gives the messages whose
    /// outcome cannot be known.
    pub(super) fn start_over(&mut self) -> Range<u64> {
        self.phase = Phase::Idle;
        self.owed = Owed::default();
        (self.is_said, self.is_heard) = (false, false);
        self.credit = u64::MAX;
        self.receiver.start_over();
        self.queue.start_over()
    }

    pub(super) fn stream_config(&self) -> StreamConfig {
        StreamConfig {
            label: self.label.clone(),
            protocol: self.protocol.clone(),
            ordering: self.ordering,
            reliability: self.reliability,
            negotiated: self.stream,
        }
    }

    pub(super) fn is_reliable(&self) -> bool {
        self.reliability == Reliability::Reliable
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.ordering == Ordering::Ordered
    }

    /// Whether messages are cut into fragments between bowline peers.
    pub(super) fn is_fragmented(&self) -> bool {
        self.is_reliable() && self.is_ordered()
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing(_))
    }

    /// Whether every connection between bowline peers has it.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self.origin, Origin::Kind(_) | Origin::Mesh)
    }

    /// Whether the application knows of the channel.
    pub(super) fn is_known(&self) -> bool {
        self.is_told || self.origin != Origin::Remote
    }

    /// Whether it is ours to announce, and the peer may not know of it.
    pub(super) fn is_unheard(&self) -> bool {
        self.origin == Origin::Local && !self.is_heard
    }

    /// Whether the peer treats the channel as we do.
    pub(super) fn is_same_mode(&self, ready: &Ready) -> bool {
        (ready.ordered, ready.reliable) == (self.is_ordered(), self.is_reliable())
    }

    /// Whether the peer may know of the channel.
    pub(super) fn is_shared(&self) -> bool {
        self.is_said || self.is_mutual()
    }

    /// Whether the peer has had the channel for certain.
    pub(super) fn is_mutual(&self) -> bool {
        self.is_heard || self.is_fixed()
    }

    /// Whether the stream exists on our side, so that it makes sense to speak about it.
    pub(super) fn is_up(&self) -> bool {
        match self.phase {
            Phase::Announced | Phase::Open => true,
            Phase::Idle | Phase::Opening | Phase::Resetting { .. } | Phase::Closing(_) => false,
        }
    }

    /// Whether the peer has said that its side is open in this epoch.
    pub(super) fn is_peer_ready(&self) -> bool {
        let is_implicit = self.is_fixed() && self.epoch == 0;
        is_implicit || self.peer.is_some_and(|peer| peer.epoch == self.epoch)
    }

    /// The largest message that can be sent, `message_max` being what the peer takes.
    pub(super) fn message_max(&self, framing: Option<Framing>, message_max: usize) -> usize {
        if self.is_fragmented() || framing == Some(Framing::Plain) {
            message_max
        } else {
            message_max.min(WHOLE_MAX)
        }
    }

    pub(super) fn turn(&self, limits: PeerLimits) -> Turn {
        let Some((message, offset)) = self.queue.front() else {
            return Turn::Blocked;
        };
        if self.phase != Phase::Open {
            return Turn::Blocked;
        }
        if offset == 0 && self.can_never_go(message, limits) {
            return if self.queue.is_waiting() {
                Turn::Blocked
            } else {
                Turn::Skip
            };
        }
        match limits.framing {
            Framing::Plain => Turn::Send {
                part: Part::Whole,
                bytes: message.len(),
            },
            Framing::Bowline => self.framed_turn(message, offset, limits),
        }
    }

    /// The header of the frame that `part` and our epoch make.
    pub(super) fn header(&self, part: Part) -> Header {
        Header {
            epoch: self.epoch,
            part,
        }
    }

    /// Writes the frames that the peer is owed.
    pub(super) fn say(&mut self, out: &mut Vec<u8>) {
        let Some(stream) = self.stream else { return };
        let owed = std::mem::take(&mut self.owed);
        self.owed.repeat = owed.repeat && self.phase != Phase::Open;
        self.is_said |= owed.open || owed.ready;
        if owed.open {
            self.open_frame(stream).encode(out);
        }
        if owed.ready {
            self.ready_frame(stream).encode(out);
        }
        if self.phase != Phase::Open {
            // The peer may not know the channel yet. It is told when it does.
            return;
        }
        if let Some(bytes) = self
            .receiver
            .credit_due()
            .or(self.receiver.announced(owed.repeat))
        {
            self.receiver.on_credit_announced(bytes);
            MetaFrame::Credit { stream, bytes }.encode(out);
        }
        if let Some(received) = self.receiver.unacknowledged(owed.repeat) {
            self.receiver.on_acknowledged();
            MetaFrame::Ack { stream, received }.encode(out);
        }
    }

    /// META was reset: has everything said again.
    pub(super) fn owe_again(&mut self) {
        let is_unheard = self.is_unheard();
        self.owed = Owed {
            open: is_unheard && self.is_up(),
            ready: self.is_up() && (!is_unheard || self.epoch > 0),
            repeat: true,
        };
    }

    pub(super) fn metrics(&self, channel: ChannelId, now: Instant) -> ChannelMetrics {
        let age = |since| now.saturating_duration_since(since);
        ChannelMetrics {
            channel,
            messages_queued: self.queue.accepted(),
            messages_sent: self.messages_sent,
            messages_received: self.receiver.messages(),
            messages_dropped: self.receiver.dropped(),
            bytes_queued: self.bytes_queued,
            bytes_sent: self.bytes_sent,
            bytes_received: self.receiver.received_bytes(),
            queue_messages: self.queue.unsent(),
            queue_bytes: self.queue.unsent_bytes(),
            queue_age: self.queue.oldest().map(age),
            messages_unacknowledged: self.queue.unsettled(),
        }
    }

    /// The last message handed over of which that was not told yet.
    pub(super) fn take_sent(&mut self) -> Option<MessageId> {
        let sent = self.queue.sent();
        if sent <= self.sent_told {
            return None;
        }
        self.sent_told = sent;
        Some(MessageId(sent - 1))
    }

    fn can_never_go(&self, message: &Message, limits: PeerLimits) -> bool {
        message.len() > self.message_max(Some(limits.framing), limits.message_max)
    }

    fn framed_turn(&self, message: &Message, offset: usize, limits: PeerLimits) -> Turn {
        let is_unannounced = message.len() > UNSAID_MESSAGE_MAX && !limits.is_said;
        if is_unannounced || self.queue.retained() >= limits.retained_max {
            return Turn::Blocked;
        }
        let left = message.len() - offset;
        let charged = self.queue.position() + self.queue.overhead_due() as u64;
        let Some(credit) = self.credit.checked_sub(charged) else {
            return Turn::Blocked;
        };
        let credit = usize::try_from(credit).unwrap_or(usize::MAX);
        let wanted = if self.is_fragmented() {
            left.min(FRAGMENT)
        } else {
            left
        };
        let bytes = wanted.min(credit);
        if bytes < wanted && (bytes < FRAGMENT_MIN || !self.is_fragmented()) {
            return Turn::Blocked;
        }
        let part = match (offset == 0, bytes == left) {
            (true, true) => Part::Whole,
            (true, false) => Part::First {
                total: u32::try_from(message.len()).unwrap_or(u32::MAX),
            },
            (false, true) => Part::Last,
            (false, false) => Part::Middle,
        };
        Turn::Send { part, bytes }
    }

    fn open_frame(&self, stream: u16) -> MetaFrame {
        MetaFrame::Open(Open {
            stream,
            label: self.label.clone(),
            protocol: self.protocol.clone(),
            ordering: self.ordering,
            reliability: self.reliability,
            priority: self.priority,
        })
    }

    fn ready_frame(&self, stream: u16) -> MetaFrame {
        MetaFrame::Ready(Ready {
            stream,
            epoch: self.epoch,
            ordered: self.is_ordered(),
            reliable: self.is_reliable(),
            negotiated: self.origin == Origin::Agreed,
            received: self.receiver.received(),
            position: self.receiver.finished(),
            partial: self.receiver.partial(),
        })
    }
}
