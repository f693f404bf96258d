//! What a script can say.

use arbitrary::{Arbitrary, Result, Unstructured};

/// One of the two endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Arbitrary)]
pub enum Who {
    /// The one with the lower id.
    Alice,
    /// The other.
    Bob,
}

impl Who {
    pub(super) const BOTH: [Self; 2] = [Self::Alice, Self::Bob];

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Alice => 0,
            Self::Bob => 1,
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Alice => Self::Bob,
            Self::Bob => Self::Alice,
        }
    }
}

/// One step of a script. Parcels are named by their place among those under way, modulo their number.
#[derive(Debug, Clone, PartialEq, Eq, Arbitrary)]
pub enum Step {
    /// Calls `connect`.
    Connect(Who),
    /// From now on an offer is accepted as it comes, or left waiting.
    Accepts(Who, bool),
    /// Calls `accept`.
    Accept(Who),
    /// Calls `refuse`.
    Refuse(Who),
    /// Sends a message on one of the four kinds.
    Send {
        /// Who.
        from: Who,
        /// Which kind.
        kind: u8,
        /// How long it is.
        len: u16,
    },
    /// Opens a custom channel and sends on it.
    Open {
        /// Who.
        from: Who,
        /// The stream id where it is agreed.
        negotiated: Option<u8>,
        /// Whether it is reliable and ordered.
        reliable: bool,
    },
    /// Closes the last custom channel that was opened.
    CloseChannel(Who),
    /// From now on messages are released as they come, or kept.
    Releases(Who, bool),
    /// Gives back room that may not have been taken.
    Release(Who, u8, u16),
    /// Calls `broadcast`.
    Broadcast(Who),
    /// Calls `close` on the peer.
    Close(Who),
    /// Calls `close` on the endpoint.
    CloseAll(Who),
    /// Calls `restart_ice`.
    Restart(Who),
    /// The socket is gone.
    Unbind(Who),
    /// A socket is there: the first, or another.
    Bind(Who, bool),
    /// A wake-up that no deadline asked for.
    Wake(Who),
    /// From now on outputs are taken at once, or only where the script says.
    Lazy(Who, bool),
    /// Takes at most so many outputs.
    Poll(Who, u8),
    /// Delivers a parcel.
    Deliver(u8),
    /// Delivers so many parcels, the oldest first.
    DeliverSome(u8),
    /// Loses a parcel.
    Lose(u8),
    /// Repeats a parcel.
    Repeat(u8),
    /// Flips a bit of a parcel.
    Flip(u8, u16),
    /// Cuts a parcel.
    Cut(u8, u8),
    /// Delivers a parcel that has been delivered before.
    Replay(u8),
    /// A datagram that nobody sent arrives.
    Datagram {
        /// Where.
        to: Who,
        /// Whether it seems to come from the peer.
        spoofed: bool,
        /// What it holds.
        #[arbitrary(with = bytes)]
        contents: Vec<u8>,
    },
    /// A signal that nobody sent arrives.
    Signal {
        /// Where.
        to: Who,
        /// What it holds.
        #[arbitrary(with = text)]
        text: String,
    },
    /// Time passes, in milliseconds, and nobody is woken.
    Pass(u16),
    /// Time passes, in seconds, and nobody is woken.
    Jump(u16),
    /// An input comes with a time before the last one.
    Back(Who, u16),
    /// So many milliseconds in good order: parcels arrive in theirs, and deadlines are kept.
    Run(u16),
}

fn bytes(data: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let len = usize::from(u8::arbitrary(data)?).min(data.len());
    Ok(data.bytes(len)?.to_vec())
}

fn text(data: &mut Unstructured<'_>) -> Result<String> {
    bytes(data).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
