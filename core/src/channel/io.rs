//! What goes between the channels and the peer that owns them.

use serde::{Deserialize, Serialize};

use crate::event::{ChannelFault, PeerFault};
use crate::id::{ChannelId, MessageId};

use super::kind::{Message, Ordering, Reliability};

/// How messages are put on SCTP streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// In frames, with acknowledgements and credit: the remote is a bowline peer.
    Bowline,
    /// One SCTP message for each message: the remote is a foreign peer, such as a browser.
    Plain,
}

/// What the peer knows of our channels when a transport takes the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continuity {
    /// All: it moves to the new transport as we do.
    Kept,
    /// Nothing: it is another process, or a foreign peer.
    Lost,
}

/// Which stream ids are ours to give out (RFC 8832 §6: the DTLS client has the even ones).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The even ones.
    Even,
    /// The odd ones.
    Odd,
}

/// A stream between the channels and the transport. It names one transport stream at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StreamKey {
    /// The internal stream on which two bowline peers speak about their channels.
    Meta,
    /// The stream of a channel.
    Channel(ChannelId),
}

/// How the transport is to open a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamConfig {
    /// The label (only seen by the remote when opened in-band).
    pub(crate) label: String,
    /// The subprotocol.
    pub(crate) protocol: String,
    /// Whether order is kept.
    pub(crate) ordering: Ordering,
    /// How hard to try.
    pub(crate) reliability: Reliability,
    /// The stream id where it is agreed; `None` opens in-band (DCEP).
    pub(crate) negotiated: Option<u16>,
}

/// One SCTP user message. Only a plain one may be empty, for which SCTP has a form of its own (RFC 8831 §6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Write<'a> {
    /// The stream.
    pub(crate) stream: StreamKey,
    /// Whether the payload protocol identifier is binary, not text.
    pub(crate) binary: bool,
    /// The bytes.
    pub(crate) data: &'a [u8],
}

/// What the channels want done or tell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ChannelOutput {
    /// Open a stream. Answered by `on_stream_open`, or by `on_stream_closed` when it fails.
    OpenStream {
        stream: StreamKey,
        config: StreamConfig,
    },
    /// Close a stream, open or not. Answered by `on_stream_closed`.
    CloseStream { stream: StreamKey },
    /// [`Event::ChannelOpen`](crate::Event::ChannelOpen). Once for each channel, not again when it is reopened.
    Open {
        channel: ChannelId,
        label: String,
        protocol: String,
        ordering: Ordering,
        reliability: Reliability,
        remote: bool,
    },
    /// [`Event::ChannelClosed`](crate::Event::ChannelClosed).
    Closed { channel: ChannelId },
    /// [`Event::ChannelError`](crate::Event::ChannelError).
    Error {
        channel: ChannelId,
        error: ChannelFault,
    },
    /// [`Event::Writable`](crate::Event::Writable).
    Writable { channel: ChannelId },
    /// [`Event::Message`](crate::Event::Message).
    Message {
        channel: ChannelId,
        message: Message,
    },
    /// [`Event::Sent`](crate::Event::Sent).
    Sent {
        channel: ChannelId,
        through: MessageId,
    },
    /// [`Event::Delivered`](crate::Event::Delivered).
    Delivered {
        channel: ChannelId,
        through: MessageId,
    },
    /// [`Event::NotDelivered`](crate::Event::NotDelivered).
    NotDelivered {
        channel: ChannelId,
        first: MessageId,
        last: MessageId,
        maybe: bool,
    },
    /// The peer broke a rule. Nothing more comes but what `abandon` tells.
    Fault(PeerFault),
    /// The internal stream was reset too often: the transport is of no use any more, and is to be replaced, or the
    /// channels abandoned.
    Broken,
}

impl ChannelOutput {
    /// The channel that it is of, where the application is told of it.
    pub(crate) fn channel(&self) -> Option<ChannelId> {
        match self {
            Self::Open { channel, .. }
            | Self::Closed { channel }
            | Self::Error { channel, .. }
            | Self::Writable { channel }
            | Self::Message { channel, .. }
            | Self::Sent { channel, .. }
            | Self::Delivered { channel, .. }
            | Self::NotDelivered { channel, .. } => Some(*channel),
            Self::OpenStream { .. } | Self::CloseStream { .. } | Self::Fault(_) | Self::Broken => {
                None
            }
        }
    }
}
