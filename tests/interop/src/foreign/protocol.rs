//! What the suite and a foreign peer say to each other: one JSON object in each message.
//!
//! The suite sends requests. Each has a number `id` and, but for `hello`, the number of a peer connection, which the
//! suite chooses; `do` says what to do. The peer answers each with `{"id": 1, "ok": {..}}` or
//! `{"id": 1, "error": ".."}`. Between the answers it tells what happens: `{"connection": 1, "event": "..", ..}`.
//!
//! Channels are numbered by the peer, in the answer to `channel` and in the event `channel` for those that the other
//! side opened. The fields of a channel's mode have the names of the browsers' `RTCDataChannel`; a stack that cannot
//! tell one of a channel that it did not open leaves it out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    pub(super) id: u64,
    pub(super) connection: u64,
    #[serde(flatten)]
    pub(super) command: &'a Command,
}

/// What a foreign peer can be asked to do.
#[derive(Debug, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(super) enum Command {
    /// To tell its name and version: `{"version": "aiortc 1.16.0"}`.
    Hello,
    /// To make a peer connection.
    Create {
        #[serde(flatten)]
        ice: IceOptions,
    },
    /// To make an offer, which restarts ICE where that is asked for, and apply it: `{"sdp": ".."}`.
    Offer {
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        restart: bool,
    },
    /// To apply an offer, and to make an answer and apply it: `{"sdp": ".."}`.
    Answer { sdp: String },
    /// To apply an answer.
    Accept { sdp: String },
    /// To add a candidate of the other side.
    Candidate { candidate: String },
    /// To open a channel: `{"channel": 1}`.
    Channel { label: String, init: ChannelInit },
    /// To send one message, `binary` in Base64.
    Send {
        channel: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        binary: Option<String>,
    },
    /// To send many binary messages made by [`pattern`](super::pattern), with flow control: a [`BurstReport`].
    Burst {
        channel: u64,
        #[serde(flatten)]
        burst: Burst,
    },
    /// To close a channel.
    Shut { channel: u64 },
    /// To close the peer connection.
    Close,
}

/// The ICE part of the browsers' `RTCConfiguration`. Only browsers look at it.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IceOptions {
    /// The servers.
    pub ice_servers: Vec<IceServerOptions>,
    /// `relay`, where nothing but relays may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ice_transport_policy: Option<&'static str>,
}

/// The browsers' `RTCIceServer`.
#[derive(Debug, Clone, Serialize)]
pub struct IceServerOptions {
    /// Its URI.
    pub urls: String,
    /// The user name.
    pub username: String,
    /// The password.
    pub credential: String,
}

/// How a channel is to be opened: the browsers' `RTCDataChannelInit`.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelInit {
    /// Whether order is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordered: Option<bool>,
    /// At most this many retransmissions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retransmits: Option<u16>,
    /// For at most this many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_packet_life_time: Option<u16>,
    /// The subprotocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Whether both sides open it, with the same id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negotiated: Option<bool>,
    /// The stream id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u16>,
}

/// Many messages, with the flow control that browsers have.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Burst {
    /// How many.
    pub count: u32,
    /// Bytes of each, at least 4.
    pub size: usize,
    /// With more than this buffered, nothing is sent until there is no more than `low`.
    pub high: usize,
    /// See `high`.
    pub low: usize,
}

/// How a burst went on the side of the foreign peer.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct BurstReport {
    /// The most that was buffered.
    pub most: usize,
    /// How often it waited.
    pub waits: u32,
    /// How many `bufferedamountlow` events came.
    pub lows: u32,
}

/// What comes from a foreign peer.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Report {
    Done {
        id: u64,
        ok: Value,
    },
    Refused {
        id: u64,
        error: String,
    },
    Event {
        connection: u64,
        #[serde(flatten)]
        event: Event,
    },
}

/// What happened at a foreign peer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// It has a candidate, without `a=`; empty at the end of candidates.
    Candidate {
        /// The candidate.
        candidate: String,
    },
    /// The state of its connection changed.
    State {
        /// `RTCPeerConnection.connectionState`.
        state: String,
    },
    /// The other side opened a channel.
    Channel {
        /// The number of the channel.
        channel: u64,
        /// Its mode.
        #[serde(flatten)]
        mode: Mode,
    },
    /// A channel is open.
    Open {
        /// The number of the channel.
        channel: u64,
        /// Its mode.
        #[serde(flatten)]
        mode: Mode,
    },
    /// A message came.
    Message {
        /// The number of the channel.
        channel: u64,
        /// What came.
        #[serde(flatten)]
        message: Received,
    },
    /// A channel is being closed by the other side.
    Closing {
        /// The number of the channel.
        channel: u64,
    },
    /// A channel is closed.
    Closed {
        /// The number of the channel.
        channel: u64,
    },
    /// Something went wrong with a channel.
    Error {
        /// The number of the channel.
        channel: u64,
        /// What.
        error: String,
    },
}

impl Event {
    /// The channel that the event is about.
    #[must_use]
    pub fn channel(&self) -> Option<u64> {
        match self {
            Self::Candidate { .. } | Self::State { .. } => None,
            Self::Channel { channel, .. }
            | Self::Open { channel, .. }
            | Self::Message { channel, .. }
            | Self::Closing { channel }
            | Self::Closed { channel }
            | Self::Error { channel, .. } => Some(*channel),
        }
    }
}

/// What a channel is, as the foreign peer sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mode {
    /// The label.
    pub label: String,
    /// The subprotocol.
    pub protocol: String,
    /// Whether order is kept; `None` where the stack does not tell.
    #[serde(default)]
    pub ordered: Option<bool>,
    /// At most this many retransmissions.
    #[serde(default)]
    pub max_retransmits: Option<u16>,
    /// For at most this many milliseconds.
    #[serde(default)]
    pub max_packet_life_time: Option<u16>,
    /// The stream id.
    #[serde(default)]
    pub id: Option<u16>,
}

/// A message that a foreign peer received.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Received {
    /// Whether it came as text.
    pub text: bool,
    /// Its bytes, of text in UTF-8.
    pub size: usize,
    /// The CRC-32 of its bytes (ISO-HDLC, as in zip).
    pub crc: u32,
    /// The bytes in Base64, when there are at most 1,024.
    pub data: Option<String>,
}
