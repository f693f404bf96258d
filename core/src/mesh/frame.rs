//! What members of a room say to each other, on the channel that bowline peers keep for it.
//!
//! A text message is one JSON object (RFC 8259), a [`Frame`]. A binary message is a publication: two bytes with the
//! length of its header, most significant first, the header, which is JSON as well, and the payload. Fields and
//! types that are not known are ignored, so that this can grow.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::members::Record;
use crate::channel::kind::Message;
use crate::id::{PeerId, hex};
use crate::signal::Signature;
use crate::tape::without_passwords;

/// What one side says to the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum Frame {
    /// Which rooms the sender is in, and whether it carries signals for others. The last one counts.
    Hello {
        relays: bool,
        /// For each room what shows the receiver that the sender knows its name.
        rooms: Vec<Token>,
    },
    /// Hashes of the members that the sender knows of, in [`BUCKETS`](super::members::BUCKETS) parts.
    Digest { room: Token, buckets: Vec<u32> },
    /// What is known of members.
    Members {
        room: Token,
        records: Vec<Record>,
        /// The parts of which this is everything, as bits: the receiver says what is missing.
        #[serde(default, skip_serializing_if = "is_zero")]
        buckets: u16,
    },
    /// Where the sender stands in the tree.
    Tree {
        room: Token,
        #[serde(flatten)]
        branch: Branch,
    },
    /// Publications that the sender has.
    Have { room: Token, messages: Vec<Name> },
    /// Publications that the sender lacks.
    Want { room: Token, messages: Vec<Name> },
    /// A signalling message on its way through the mesh.
    Route(Route),
}

/// Where a member stands in the tree, as one neighbour is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Branch {
    /// The member whom it takes for the root.
    pub(crate) root: PeerId,
    /// How many steps it is from there; none while it is not known.
    pub(crate) depth: Option<u8>,
    /// Whether the one who is told is next towards the root.
    pub(crate) parent: bool,
}

/// A signalling message on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) from: PeerId,
    pub(crate) to: PeerId,
    /// Drawn by the origin for each that it sends.
    pub(crate) id: u64,
    /// How many more times it may be passed on.
    pub(crate) hops: u8,
    /// Whether it goes everywhere, because no way is known.
    pub(crate) flood: bool,
    pub(crate) text: String,
}

/// The name of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Name {
    pub(crate) from: PeerId,
    /// Which stay in the room it is of: numbers begin anew with each.
    pub(crate) epoch: u64,
    pub(crate) number: u64,
}

/// What stands before the payload of a publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) room: Token,
    #[serde(flatten)]
    pub(crate) name: Name,
    /// When it was published, in milliseconds since 1970.
    pub(crate) time: u64,
    pub(crate) text: bool,
    /// Ed25519 (RFC 8032) over [`Header::signed`], in base64url; none where peers are not keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signature: Option<Signature>,
}

impl Header {
    /// What is signed.
    pub(crate) fn signed(&self, payload: &[u8]) -> Vec<u8> {
        let Self {
            room, name, time, ..
        } = self;
        let Name {
            from,
            epoch,
            number,
        } = name;
        let kind = if self.text { "text" } else { "binary" };
        let head = format!("bowline publication 1\n{room} {from} {epoch} {number} {time} {kind}\n");
        [head.as_bytes(), payload].concat()
    }
}

/// A message on the channel, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Frame(Frame),
    Publication(Header, Bytes),
}

impl Said {
    /// Reads a message. None when it is not what it should be.
    pub(crate) fn read(message: &Message) -> Option<Self> {
        if message.text {
            let frame = serde_json::from_slice::<Frame>(&message.data).ok()?;
            return frame.is_bounded().then_some(Self::Frame(frame));
        }
        let (length, rest) = message.data.split_at_checked(2)?;
        let length = usize::from(u16::from_be_bytes(length.try_into().ok()?));
        let header: Header = serde_json::from_slice(rest.get(..length)?).ok()?;
        let is_numbered = (1..=MAX_NUMBER).contains(&header.name.number);
        let payload = message.data.slice(2 + length..);
        is_numbered.then_some(Self::Publication(header, payload))
    }

    /// The message that says this.
    pub(crate) fn write(&self) -> Message {
        match self {
            Self::Frame(frame) => Message::text(json(frame)),
            Self::Publication(header, payload) => publication(header, payload),
        }
    }
}

/// A message without what it carries for others: a payload becomes zeros, and a description loses its password.
pub(crate) fn redacted(message: &Message) -> Message {
    match Said::read(message) {
        Some(Said::Publication(header, payload)) => publication(&header, &vec![0; payload.len()]),
        Some(Said::Frame(Frame::Route(route))) => {
            let text = without_passwords(&route.text);
            Said::Frame(Frame::Route(Route { text, ..route })).write()
        }
        Some(Said::Frame(_)) => message.clone(),
        None => Message {
            data: vec![0; message.len()].into(),
            text: message.text,
        },
    }
}

/// The message that carries a publication.
pub(crate) fn publication(header: &Header, payload: &[u8]) -> Message {
    let header = json(header);
    // A header has a few names and numbers.
    let length = u16::try_from(header.len()).unwrap_or(u16::MAX);
    let parts = [&length.to_be_bytes(), header.as_bytes(), payload];
    Message::binary(parts.concat())
}

impl Frame {
    /// The room that it is about.
    pub(super) fn room(&self) -> Option<Token> {
        match self {
            Self::Digest { room, .. }
            | Self::Members { room, .. }
            | Self::Tree { room, .. }
            | Self::Have { room, .. }
            | Self::Want { room, .. } => Some(*room),
            Self::Hello { .. } | Self::Route(_) => None,
        }
    }

    fn is_bounded(&self) -> bool {
        match self {
            Self::Hello { rooms, .. } => rooms.len() <= MAX_ROOMS,
            Self::Digest { .. } | Self::Tree { .. } => true,
            Self::Members { records, .. } => records
                .iter()
                .all(|record| record.incarnation <= MAX_NUMBER),
            Self::Have { messages, .. } | Self::Want { messages, .. } => {
                messages.len() <= MAX_NAMES
            }
            Self::Route(route) => route.id <= MAX_NUMBER,
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a flat struct of strings and numbers has a JSON form")
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_zero(bits: &u16) -> bool {
    *bits == 0
}

/// 128 bits that stand for a room, or for the knowledge of its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token(pub(crate) [u8; 16]);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::fmt(&self.0, f)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({self})")
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let token = hex::parse(&text).map(Self);
        token.ok_or_else(|| serde::de::Error::custom("not 32 lower-case hexadecimal digits"))
    }
}

/// The highest number that every JSON reader keeps exactly.
pub(crate) const MAX_NUMBER: u64 = (1 << 53) - 1;
/// The most rooms in one HELLO.
pub(super) const MAX_ROOMS: usize = 64;
/// The most publications in one HAVE or WANT.
pub(super) const MAX_NAMES: usize = 256;
