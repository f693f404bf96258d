//! A pure, deterministic WebRTC peer and mesh core.
#![forbid(unsafe_code)]

mod channel;
pub mod config;
mod crypto;
mod diagnosis;
mod endpoint;
mod event;
mod id;
mod metrics;
mod rng;
mod time;

pub use channel::kind::{ChannelConfig, ChannelKind, Message, Ordering, Priority, Reliability};
pub use config::{Config, ConfigBuilder, ConfigError, DtlsMode, Preset};
#[cfg(feature = "simulation")]
pub use crypto::simulation;
pub use diagnosis::{Explanation, Finding};
pub use endpoint::io::{Input, Output, Signal, Transmit};
pub use endpoint::{
    Broadcast, ConnectError, ConnectOptions, Endpoint, EndpointError, NotIncoming, OpenError, Peer,
    SendError, SendRefusal, UnknownChannel, UnknownPeer,
};
pub use event::{
    CandidateRefusal, Cause, ChannelFault, Event, NegotiationFault, Path, PeerFault, PeerState,
    Phase, Side, SignalKind, SignalRefusal, TransportFault,
};
pub use id::{ChannelId, Generation, InvalidPeerId, InvalidSessionId, MessageId, PeerId, SessionId};
pub use metrics::{ChannelMetrics, Drops, EndpointStats, PeerMetrics};
pub use rng::Seed;
pub use time::UnixTime;
