//! Signalling links: how offers, answers and candidates reach the other peer before there is a path to it.
//!
//! A link is a pair of bounded queues, so that anything can be one: a WebSocket ([`Relays`], or [`room`] and [`websocket`]
//! where there is one relay), a hub within the process ([`MemoryHub`]), or your own task at the far end of [`Signalling::pair`]. A link may lose, repeat, delay and
//! reorder messages: the core repeats what is not acknowledged. It must not alter them.

mod memory;
mod room;
mod websocket;

pub use memory::MemoryHub;
pub use room::{InvalidRoomName, Presence, RoomName};
pub use websocket::{InvalidCertificate, InvalidUrl, JoinError, Relays, room, websocket};

use bowline::Signal;
use tokio::sync::{mpsc, watch};

/// The near end of a link, to be given to [`EndpointBuilder::signalling`](crate::EndpointBuilder::signalling).
#[derive(Debug)]
pub struct Signalling {
    pub(crate) outbound: mpsc::Sender<Signal>,
    pub(crate) inbound: mpsc::Receiver<String>,
    pub(crate) status: watch::Receiver<LinkStatus>,
}

impl Signalling {
    /// Makes the two ends of a link. Whoever holds the far end carries the messages.
    #[must_use]
    pub fn pair() -> (Self, Link) {
        let (outbound, from_endpoint) = mpsc::channel(QUEUE);
        let (to_endpoint, inbound) = mpsc::channel(QUEUE);
        let (reporter, status) = watch::channel(LinkStatus {
            up: true,
            ..LinkStatus::default()
        });
        let near = Self {
            outbound,
            inbound,
            status,
        };
        (
            near,
            Link {
                outbound: from_endpoint,
                inbound: to_endpoint,
                status: reporter,
            },
        )
    }

    /// Hands a signal to the link, as an endpoint does; waits while 256 others wait. For those who use a link without an
    /// endpoint. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The signal, when the far end is gone.
    pub async fn send(&self, signal: Signal) -> Result<(), Signal> {
        self.outbound.send(signal).await.map_err(|error| error.0)
    }

    /// Takes the next message that the link brought, as an endpoint does. `None` when the far end is gone. Cancel-safe.
    pub async fn recv(&mut self) -> Option<String> {
        self.inbound.recv().await
    }

    /// How the link is doing.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<LinkStatus> {
        self.status.clone()
    }
}

/// The far end of a link.
///
/// When the endpoint ends, `outbound` gives `None`. When this end is dropped, the endpoint lives on without a link.
#[derive(Debug)]
pub struct Link {
    /// What the endpoint wants carried. When it is not read and 256 messages wait, the endpoint drops further ones.
    pub outbound: mpsc::Receiver<Signal>,
    /// Where the text of messages for the endpoint goes, exactly as the other side's [`Signal`] had it.
    pub inbound: mpsc::Sender<String>,
    /// Where the state of the link is reported. It begins as up; while it is down, the endpoint sends nothing and makes no attempt that
    /// needs it. It may be dropped where the link is always up.
    pub status: watch::Sender<LinkStatus>,
}

/// How a link is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStatus {
    /// Whether it carries messages now.
    pub up: bool,
    /// How often it came up.
    pub connects: u64,
    /// Messages that were dropped: the oldest, when too many waited, those that are too long, and those that the
    /// endpoint did not take in time.
    pub dropped: u64,
    /// Why it went down last, or could not come up.
    pub last_error: Option<String>,
}

/// The longest message that the links and the relay of this crate carry, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1_024;

/// Messages that wait in each direction.
const QUEUE: usize = 256;
