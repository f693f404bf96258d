//! What a channel is: the four kinds that every connection has, and custom ones.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::ChannelId;

/// The four channels that are opened on every connection, labelled `<peer>/<kind>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// Ordered and reliable, first in the schedule: for small messages that must not wait.
    Control,
    /// Ordered and reliable.
    Reliable,
    /// Unordered, never retransmitted: for messages that are useless when late.
    Unreliable,
    /// Ordered and reliable, last in the schedule: for bulk.
    File,
}

impl ChannelKind {
    /// All four, in the order of their ids.
    pub const ALL: [Self; 4] = [Self::Control, Self::Reliable, Self::Unreliable, Self::File];

    /// The kinds in the order in which a graceful close drains them: bulk first, so that a last word on
    /// [`ChannelKind::Control`] is the last that the peer hears.
    pub const CLOSE_ORDER: [Self; 4] =
        [Self::File, Self::Unreliable, Self::Reliable, Self::Control];

    /// The id that this kind has with every peer.
    #[must_use]
    pub const fn id(self) -> ChannelId {
        ChannelId(self as u32)
    }

    /// The stream that this kind has between bowline peers.
    pub(crate) const fn stream(self) -> u16 {
        self as u16
    }

    /// The kind that has this id, if it is one of the four.
    #[must_use]
    pub fn from_id(id: ChannelId) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.id() == id)
    }

    /// The lower-case name, as it stands in the label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Reliable => "reliable",
            Self::Unreliable => "unreliable",
            Self::File => "file",
        }
    }

    pub(crate) const fn mode(self) -> (Ordering, Reliability) {
        match self {
            Self::Control | Self::Reliable | Self::File => {
                (Ordering::Ordered, Reliability::Reliable)
            }
            Self::Unreliable => (Ordering::Unordered, Reliability::MaxRetransmits(0)),
        }
    }

    pub(crate) const fn priority(self) -> Priority {
        match self {
            Self::Control => Priority::High,
            Self::Reliable | Self::Unreliable => Priority::Normal,
            Self::File => Priority::Bulk,
        }
    }
}

impl fmt::Display for ChannelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<ChannelKind> for ChannelId {
    fn from(kind: ChannelKind) -> Self {
        kind.id()
    }
}

/// Whether messages arrive in the order in which they were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ordering {
    /// In order.
    #[default]
    Ordered,
    /// As they come.
    Unordered,
}

/// How hard a channel tries to deliver a message (RFC 8831 §6.1, RFC 3758).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reliability {
    /// Until the connection ends.
    #[default]
    Reliable,
    /// At most this many retransmissions.
    MaxRetransmits(u16),
    /// At most this long after the message was handed to SCTP. Whole milliseconds, at most 65,535.
    MaxLifetime(Duration),
}

/// The place of a channel in the schedule above SCTP.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Priority {
    /// Before all others, always.
    High,
    /// Shares what is left fairly with others of its rank.
    #[default]
    Normal,
    /// Gets what `High` and `Normal` leave.
    Bulk,
}

/// A custom channel, as [`Peer::open_channel`](crate::Peer::open_channel) takes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChannelConfig {
    /// The label that the other side sees: at most 65,535 bytes of UTF-8 (RFC 8832 §5.1).
    pub label: String,
    /// The subprotocol that the other side sees: at most 65,535 bytes of UTF-8.
    pub protocol: String,
    /// Whether order is kept.
    pub ordering: Ordering,
    /// How hard to try.
    pub reliability: Reliability,
    /// The place in the schedule.
    pub priority: Priority,
    /// The SCTP stream id, when both sides open the channel with the same id and without DCEP
    /// (`negotiated: true` in browsers). `None` announces the channel in-band.
    pub negotiated: Option<u16>,
}

impl ChannelConfig {
    /// An ordered, reliable channel that is announced in-band.
    #[must_use]
    pub fn new(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            protocol: String::new(),
            ordering: Ordering::default(),
            reliability: Reliability::default(),
            priority: Priority::default(),
            negotiated: None,
        }
    }
}

/// A message: bytes, and whether they are text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Message {
    /// The bytes. Valid UTF-8 when `text` is set by this library; what a foreign peer sends as text is not checked.
    pub data: Bytes,
    /// Whether the message is text (PPID 51 and 56) or binary (PPID 53 and 57).
    pub text: bool,
}

impl Message {
    /// A binary message.
    #[must_use]
    pub fn binary(data: impl Into<Bytes>) -> Self {
        Self {
            data: data.into(),
            text: false,
        }
    }

    /// A text message.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            data: Bytes::from(text.into()),
            text: true,
        }
    }

    /// The text, when this is a text message of valid UTF-8.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if self.text {
            std::str::from_utf8(&self.data).ok()
        } else {
            None
        }
    }

    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no bytes. An empty message is a message, and is delivered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

/// Shows the kind and the length, never the content: messages are the application's secrets.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.text { "text" } else { "binary" };
        write!(f, "Message({kind}, {} bytes)", self.len())
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Vec<u8>> for Message {
    fn from(data: Vec<u8>) -> Self {
        Self::binary(data)
    }
}

impl From<Bytes> for Message {
    fn from(data: Bytes) -> Self {
        Self::binary(data)
    }
}

impl From<&[u8]> for Message {
    fn from(data: &[u8]) -> Self {
        Self::binary(Bytes::copy_from_slice(data))
    }
}
