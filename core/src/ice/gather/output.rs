//! What the pool gives: candidates, and what is to be done for them.

use std::net::SocketAddr;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::config::CandidateType;
use crate::event::{GatheringState, ServerFault};
use crate::ice::stun::Outgoing;
use crate::need::{Need, NeedId};

/// One of our candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct LocalCandidate {
    pub(crate) kind: CandidateType,
    /// What peers see.
    pub(crate) address: SocketAddr,
    /// The socket that is behind it.
    pub(crate) base: SocketAddr,
}

/// What the pool says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GatherOutput {
    /// Send this.
    Carried(Carried),
    /// Ask the embedder.
    Need(Need),
    /// There is another candidate.
    Found(LocalCandidate),
    /// A candidate is gone.
    Gone(LocalCandidate),
    /// A socket is seen at another address than before: what is sent to the old one does not come any more.
    Moved { base: SocketAddr },
    /// Gathering has begun or ended.
    State(GatheringState),
    /// A server fails, for another reason than it did last.
    Failed { server: String, fault: ServerFault },
}

/// A message for a server, on its way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// From a socket of ours.
    Datagram(Outgoing),
    /// On a stream.
    Stream { need: NeedId, contents: Vec<u8> },
}

/// What a datagram was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// None of ours.
    No,
    /// It is dealt with, or dropped.
    Yes,
    /// Data that a peer sent to a relayed address, and where in the datagram it stands.
    Data(RelayedData),
}

/// Data that came to a relayed address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RelayedData {
    pub(crate) relayed: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) data: Range<usize>,
}

impl LocalCandidate {
    pub(crate) fn host(address: SocketAddr) -> Self {
        Self {
            kind: CandidateType::Host,
            address,
            base: address,
        }
    }

    /// Whether datagrams that it sends have this source, before a relay or NAT puts another in its place.
    pub(crate) fn sends_from(&self, source: SocketAddr) -> bool {
        match self.kind {
            CandidateType::Host | CandidateType::ServerReflexive => self.base == source,
            CandidateType::Relayed => self.address == source,
        }
    }
}
