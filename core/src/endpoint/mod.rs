//! Many peers on shared sockets.

pub(crate) mod io;

use std::time::Instant;

use thiserror::Error;

use crate::channel::kind::{ChannelConfig, Message};
use crate::config::Config;
use crate::diagnosis::Explanation;
use crate::event::PeerState;
use crate::id::{ChannelId, MessageId, PeerId};
use crate::metrics::{EndpointStats, PeerMetrics};
use crate::rng::Seed;
use crate::time::UnixTime;

use io::{Input, Output};

/// Many peers over shared sockets: the root of the core.
pub struct Endpoint;

impl Endpoint {
    /// Makes an endpoint that speaks as `id`.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] when the certificate cannot be made.
    pub fn new(
        config: Config,
        id: PeerId,
        seed: Seed,
        now: Instant,
        unix_time: UnixTime,
    ) -> Result<Self, EndpointError> {
        todo!()
    }

    /// Starts to connect to `peer`, or accepts it when it has made an offer.
    pub fn connect(&mut self, peer: PeerId, options: ConnectOptions, now: Instant) -> Result<(), ConnectError> {
        todo!()
    }

    /// Accepts a peer that [`Event::Incoming`](crate::Event::Incoming) offered.
    pub fn accept(&mut self, peer: PeerId, now: Instant) -> Result<(), NotIncoming> {
        todo!()
    }

    /// Refuses a peer that [`Event::Incoming`](crate::Event::Incoming) offered.
    pub fn refuse(&mut self, peer: PeerId, now: Instant) -> Result<(), NotIncoming> {
        todo!()
    }

    /// A handle to one peer.
    pub fn peer(&mut self, peer: PeerId) -> Result<Peer<'_>, UnknownPeer> {
        todo!()
    }

    /// The peers that exist, in the order of their ids.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        std::iter::empty()
    }

    /// Sends `message` to every connected peer.
    pub fn broadcast(&mut self, channel: impl Into<ChannelId>, message: Message, now: Instant) -> Broadcast {
        todo!()
    }

    /// Closes every peer gracefully. The endpoint can be dropped when no peer is left, or used on.
    pub fn close(&mut self, now: Instant) {
        todo!()
    }

    /// Takes something that happened in the world.
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        todo!()
    }

    /// Gives the next thing to do. Datagrams are put into `buf`, whose old contents are discarded.
    #[must_use]
    pub fn poll_output(&mut self, buf: &mut Vec<u8>) -> Output {
        todo!()
    }

    /// The counters of this endpoint.
    pub fn stats(&self) -> EndpointStats {
        todo!()
    }

    /// The id that this endpoint speaks as.
    pub fn id(&self) -> PeerId {
        todo!()
    }
}

/// A handle to one peer of an [`Endpoint`].
pub struct Peer<'a>(&'a mut Endpoint);

impl Peer<'_> {
    /// Queues a message. It is sent as soon as the channel is open and has its turn.
    ///
    /// # Errors
    ///
    /// [`SendError`], which hands the message back.
    pub fn send(
        &mut self,
        channel: impl Into<ChannelId>,
        message: impl Into<Message>,
        now: Instant,
    ) -> Result<MessageId, SendError> {
        todo!()
    }

    /// Gives back the room that `bytes` of received messages took, so that the peer may send more.
    pub fn release(&mut self, channel: impl Into<ChannelId>, bytes: usize, now: Instant) {
        todo!()
    }

    /// Opens a custom channel.
    pub fn open_channel(&mut self, config: ChannelConfig, now: Instant) -> Result<ChannelId, OpenError> {
        todo!()
    }

    /// Closes a custom channel. What is queued is reported as not delivered.
    pub fn close_channel(&mut self, channel: ChannelId, now: Instant) -> Result<(), UnknownChannel> {
        todo!()
    }

    /// Closes the connection gracefully: drains the channels, says farewell, then `Closed`.
    pub fn close(&mut self, now: Instant) {
        todo!()
    }

    /// Begins an ICE restart now.
    pub fn restart_ice(&mut self, now: Instant) {
        todo!()
    }

    /// The state.
    pub fn state(&self) -> PeerState {
        todo!()
    }

    /// The figures.
    pub fn metrics(&self, now: Instant) -> PeerMetrics {
        todo!()
    }

    /// Bytes queued on a channel and not yet handed to the transport.
    pub fn queued(&self, channel: impl Into<ChannelId>) -> usize {
        todo!()
    }

    /// Why the peer is not connected.
    pub fn explain(&self, now: Instant) -> Explanation {
        todo!()
    }
}

/// How to connect to one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectOptions {}

/// What became of a broadcast.
#[derive(Debug, Default)]
pub struct Broadcast {
    /// Peers that accepted the message.
    pub queued: usize,
    /// Peers that did not, and why.
    pub refused: Vec<(PeerId, SendError)>,
}

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
    /// The limit on peers is reached.
    #[error("the limit of {0} peers is reached")]
    TooManyPeers(usize),
}

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
    /// Label or protocol are longer than 65,535 bytes (RFC 8832 §5.1).
    #[error("label and protocol have at most 65535 bytes")]
    LabelTooLong,
    /// The stream id is in use, is one of the four kinds' or is 65,535 (RFC 8832 §6).
    #[error("the stream id {0} cannot be used")]
    StreamId(u16),
    /// The lifetime is not whole milliseconds up to 65,535.
    #[error("a lifetime has 0 to 65535 whole milliseconds")]
    Lifetime,
    /// The peer is being closed, or has ended.
    #[error("the connection is being closed")]
    Closing,
}
