//! What a command can be refused for.

use thiserror::Error;

use crate::channel::kind::Message;

/// An endpoint that could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The DTLS certificate could not be made.
    #[error("the dtls certificate could not be made")]
    Certificate,
}

/// A connection that was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is a connection to this peer already, or one is being made.
    #[error("a session with this peer exists")]
    AlreadyExists,
    /// The peer is this endpoint.
    #[error("an endpoint cannot connect to itself")]
    Oneself,
    /// The endpoint has a key, and the id of the peer is none ([`PeerId::public_key`](crate::PeerId::public_key)).
    #[error("the id of the peer is not a public key")]
    NotAKey,
    /// The limit on peers is reached.
    #[error("the limit of {0} peers is reached")]
    TooManyPeers(usize),
    /// Another key has taken the place of that of the endpoint
    /// ([`Endpoint::announce_rollover`](crate::Endpoint::announce_rollover)).
    #[error("the key of the endpoint is given up")]
    GivenUp,
}

/// A statement about two other keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the statement is not about the key of this endpoint")]
pub struct NotInvolved;

/// A NAT discovery that was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DiscoverNatError {
    /// One is running.
    #[error("a discovery is running")]
    Running,
    /// No ICE server speaks UDP.
    #[error("no ice server speaks udp")]
    NoServers,
    /// Only relays may be used, and a discovery would ask others.
    #[error("the transport policy allows relays only")]
    Policy,
}

/// A recording that was not begun: something has happened already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a recording begins before the first input and command")]
pub struct RecordError;

/// The peer has made no offer that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this peer has made no offer that waits")]
pub struct NotIncoming;

/// There is no such peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there is no such peer")]
pub struct UnknownPeer;

/// There is no such channel, or it is one of the four kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there is no such custom channel")]
pub struct UnknownChannel;

/// A message that was not accepted. It comes back with the error.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct SendError {
    /// Why.
    pub reason: SendRefusal,
    /// The message, unchanged.
    pub message: Message,
}

/// Why a message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendRefusal {
    /// The queue is full: wait for [`Event::Writable`](crate::Event::Writable).
    #[error("the queue of the channel is full")]
    Full,
    /// The message is larger than the peer takes.
    #[error("the message is larger than the {limit} bytes that the peer takes")]
    TooLarge {
        /// The most it takes, in bytes.
        limit: usize,
    },
    /// There is no such channel.
    #[error("there is no such channel")]
    UnknownChannel,
    /// The peer is being closed, or has ended.
    #[error("the connection is being closed")]
    Closing,
}

/// A channel that was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The limit on channels is reached.
    #[error("the limit of {0} channels is reached")]
    TooManyChannels(usize),
    /// Label or protocol are longer than 65,535 bytes (RFC 8832 §5.1), or than 1,488 together towards a foreign peer,
    /// unless the stream id is agreed. A channel opened before it is known that the peer is foreign is closed then.
    #[error("label and protocol have at most 65535 bytes, 1488 together towards a foreign peer")]
    LabelTooLong,
    /// The stream id is in use or kept for bowline's own use (0 to 5 and 65,534), or is 65,535 (RFC 8832 §6).
    #[error("the stream id {0} cannot be used")]
    StreamId(u16),
    /// The lifetime is not whole milliseconds up to 65,535.
    #[error("a lifetime has 0 to 65535 whole milliseconds")]
    Lifetime,
    /// The peer is being closed, or has ended.
    #[error("the connection is being closed")]
    Closing,
}

/// A room that was not entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The name is empty or longer than 256 bytes.
    #[error("the name of a room has 1 to 256 bytes")]
    Name,
    /// The endpoint is in this room.
    #[error("the endpoint is in this room")]
    AlreadyThere,
    /// The limit on rooms is reached.
    #[error("the limit of {0} rooms is reached")]
    TooManyRooms(usize),
}

/// There is no such room, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there is no such room")]
pub struct UnknownRoom;

/// A message that was not published. It comes back with the error.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct PublishError {
    /// Why.
    pub reason: PublishRefusal,
    /// The message, unchanged.
    pub message: Message,
}

/// Why a message was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishRefusal {
    /// The message is larger than what is passed on.
    #[error("a publication has at most {limit} bytes")]
    TooLarge {
        /// The most, in bytes.
        limit: usize,
    },
    /// There were too many in a short time: 64 at once, and 20 more each second, are passed on.
    #[error("too much was published in a short time")]
    TooFast,
    /// There is no such room, or not any more.
    #[error("there is no such room")]
    UnknownRoom,
}
