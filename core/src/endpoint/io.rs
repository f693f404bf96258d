//! The values that cross the border of the core.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::event::Event;
use crate::id::PeerId;
use crate::need::{Need, NeedId};
use crate::time::UnixTime;

/// Something that the world tells the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input<'a> {
    /// A UDP socket can send from and receive at this address. It becomes a host candidate of every peer.
    ///
    /// A socket bound to the unspecified address is announced once for each address of the machine.
    SocketBound {
        /// The concrete address; never unspecified.
        local: SocketAddr,
    },
    /// The address can no longer be used.
    SocketClosed {
        /// The address that was announced.
        local: SocketAddr,
    },
    /// One or more datagrams that arrived from one source.
    Datagrams {
        /// The address at which they arrived, as announced by [`Input::SocketBound`].
        local: SocketAddr,
        /// Where they come from.
        remote: SocketAddr,
        /// Their contents, one after the other.
        contents: &'a [u8],
        /// The size of each but the last, which may be shorter (generic receive offload).
        segment_size: usize,
    },
    /// A signalling message that arrived: the exact text that the other side's [`Signal`] carried.
    Signal {
        /// The message.
        text: &'a str,
    },
    /// The signalling link carries messages again, or carries none: the embedder knows when its connection to the signalling
    /// server is lost and when it is back. Until it is told, it is taken to be up.
    ///
    /// While it is down, signalling messages wait, and so do the attempts to bring connections back that need them, and
    /// none is spent. When it is back, everything that was not acknowledged is sent again at once. Deadlines go on:
    /// a peer whose path is lost meanwhile has its [`disconnect_budget`](crate::config::Reconnect::disconnect_budget).
    SignallingChanged {
        /// Whether it is up.
        up: bool,
    },
    /// The wall clock shows something else than the time that has passed since it was told: it was set, or the machine slept.
    /// Signed messages are dated by it, and time-limited credentials end by it. The adapters tell of it by themselves.
    WallClockSet {
        /// What it shows now.
        unix_time: UnixTime,
    },
    /// The answer to [`Need::Resolve`].
    Resolved {
        /// The need.
        need: NeedId,
        /// The addresses that the name has, the preferred first; none when it could not be resolved. At most
        /// [`Need::MAX_ADDRESSES`] are looked at.
        addresses: &'a [IpAddr],
    },
    /// The answer to [`Need::Bind`]: from now on datagrams may come to this address, and be sent from it.
    Bound {
        /// The need.
        need: NeedId,
        /// The concrete address; `None` when no socket could be bound.
        local: Option<SocketAddr>,
    },
    /// The answer to [`Need::Connect`]: bytes can be sent.
    StreamOpened {
        /// The need.
        need: NeedId,
        /// Our address of the connection.
        local: SocketAddr,
    },
    /// Bytes that arrived on a stream, in order, cut anywhere.
    StreamData {
        /// The need that the stream answers.
        need: NeedId,
        /// The bytes.
        contents: &'a [u8],
    },
    /// A stream could not be opened, or was closed by the other side or an error.
    StreamClosed {
        /// The need that the stream answered.
        need: NeedId,
    },
    /// Time has passed: a deadline that [`Output::Timeout`] gave is reached.
    Timeout,
}

/// Something that the endpoint asks of the world.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Output {
    /// Send what is in the buffer.
    Transmit(Transmit),
    /// Send what is in the buffer on the stream that answers this need. The buffer holds whole messages: when the stream
    /// has no room, drop all of it, as a full socket drops datagrams.
    Stream(NeedId),
    /// Do something that only the embedder can.
    Need(Need),
    /// Hand this to the signalling link.
    Signal(Signal),
    /// Tell the application.
    Event(Event),
    /// There is nothing more to do until an input comes or the deadline is reached. `None`: no deadline.
    Timeout(Option<Instant>),
}

/// Datagrams to send: the buffer that was given to `poll_output` holds them, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// The address to send from.
    pub source: SocketAddr,
    /// The address to send to.
    pub destination: SocketAddr,
    /// The size of each datagram but the last, which may be shorter (generic segmentation offload). Equal to the
    /// length of the buffer when there is one datagram.
    pub segment_size: usize,
}

/// A signalling message to hand to the link.
///
/// The link may lose, repeat, delay and reorder messages. It should not alter them.
#[derive(Clone, PartialEq, Eq)]
pub struct Signal {
    /// Whom it is for.
    pub to: PeerId,
    /// The message: JSON text, opaque to the link but for its fields `from` and `to`.
    pub text: String,
}

/// Shows the length only: the text holds credentials.
impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signal(to {}, {} bytes)", self.to, self.text.len())
    }
}
