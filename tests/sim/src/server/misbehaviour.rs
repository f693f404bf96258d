//! What servers do that they should not.

use std::net::SocketAddr;

use crate::marks::Mark;
use serde::{Deserialize, Serialize};
use turn_server_proto::types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH};
use turn_server_proto::types::stun::message::{BINDING, Method};

/// One way to misbehave. A server has at most one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Misbehaviour {
    /// It takes everything and says nothing.
    Silent,
    /// Everything that it sends in datagrams, what it relays included, leaves late.
    Slow {
        /// How much later, in milliseconds.
        delay_ms: u64,
    },
    /// It tells everybody who asks with the method Binding the same address.
    LyingAddress {
        /// The address.
        address: SocketAddr,
    },
    /// It knows nothing of RFC 5780: no OTHER-ADDRESS, and 420 for CHANGE-REQUEST.
    NoOtherAddress,
    /// It answers every Binding request with 420.
    UnknownAttributes,
    /// It answers every request of one method with an error. Those of TURN must be authenticated: the others get the usual
    /// 401.
    Refuses {
        /// The method.
        method: Asked,
        /// The error code. 401 and 438 come with a fresh nonce.
        code: u16,
    },
    /// A nonce is good for one request: the next one gets 438 and another nonce.
    NoncePerRequest,
    /// It answers every authenticated Allocate request with 300: to another server, to a loopback address, or in a loop.
    Redirects {
        /// Where to.
        to: SocketAddr,
    },
    /// It answers requests as if all were well, and relays nothing in either direction.
    RelaysNothing,
    /// After each answer to a TURN request that succeeds comes a Data indication from somebody for whom there is no
    /// permission.
    Stranger {
        /// From whom.
        peer: SocketAddr,
    },
    /// It says another lifetime than the one that it grants.
    WrongLifetime {
        /// What it says, in seconds.
        secs: u32,
    },
}

impl Misbehaviour {
    /// What it is called in the menu of random scenarios, if it is there.
    pub(super) fn mark(self) -> Option<Mark> {
        match self {
            Self::Silent => Some(Mark::ServerSilent),
            Self::Slow { .. } => Some(Mark::ServerSlow),
            Self::NoOtherAddress => Some(Mark::ServerWithoutOtherAddress),
            Self::UnknownAttributes => Some(Mark::ServerUnknownAttributes),
            Self::Refuses { .. } => Some(Mark::ServerRefuses),
            Self::NoncePerRequest => Some(Mark::ServerNoncePerRequest),
            Self::RelaysNothing => Some(Mark::ServerRelaysNothing),
            Self::Stranger { .. } => Some(Mark::ServerStranger),
            Self::WrongLifetime { .. } => Some(Mark::ServerWrongLifetime),
            Self::LyingAddress { .. } | Self::Redirects { .. } => None,
        }
    }
}

/// A method of STUN or TURN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of RFC 8489 and RFC 8656")]
pub enum Asked {
    Binding,
    Allocate,
    Refresh,
    CreatePermission,
    ChannelBind,
}

impl Asked {
    /// The method as STUN has it.
    #[must_use]
    pub fn method(self) -> Method {
        match self {
            Self::Binding => BINDING,
            Self::Allocate => ALLOCATE,
            Self::Refresh => REFRESH,
            Self::CreatePermission => CREATE_PERMISSION,
            Self::ChannelBind => CHANNEL_BIND,
        }
    }
}
