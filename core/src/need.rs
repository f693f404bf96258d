//! What the core asks of its embedder.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Something that the core cannot do itself. Each is answered at most once, by the input that names it, except for streams.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// Resolve a host name, of an ICE server or one behind which a peer hides an address of a local network
    /// ([`Ice::resolve_local_names`](crate::config::Ice::resolve_local_names)), and answer with [`Input::Resolved`](crate::Input::Resolved).
    Resolve {
        /// The name of this need.
        need: NeedId,
        /// The host name.
        host: String,
    },
    /// Bind another UDP socket, at a port that the system chooses, and answer with [`Input::Bound`](crate::Input::Bound). It is no host candidate:
    /// do not announce it with [`Input::SocketBound`](crate::Input::SocketBound).
    Bind {
        /// The name of this need.
        need: NeedId,
        /// The address of the interface.
        ip: IpAddr,
    },
    /// Open a TCP connection, and answer with [`Input::StreamOpened`](crate::Input::StreamOpened) or [`Input::StreamClosed`](crate::Input::StreamClosed).
    Connect {
        /// The name of this need, and of the stream.
        need: NeedId,
        /// Where to.
        remote: SocketAddr,
        /// With TLS inside, for the server of this name or address, whose certificate is verified. The bytes that are
        /// exchanged with the core are those inside.
        tls: Option<String>,
    },
    /// Close the socket or stream that answered a need, or give up answering it. Nothing more is heard of it.
    Close {
        /// The name of the need.
        need: NeedId,
    },
}

impl Need {
    /// How many addresses of one name are used.
    pub const MAX_ADDRESSES: usize = 4;
}

/// The name of a [`Need`], unique in its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NeedId(pub(crate) u64);

impl fmt::Display for NeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "need {}", self.0)
    }
}
