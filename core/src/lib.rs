//! A pure, deterministic WebRTC peer and mesh core: datagrams, signalling texts, commands and time go in; datagrams,
//! signalling texts, events and the next deadline come out.
//!
//! An [`Endpoint`] speaks with many peers over shared UDP sockets. It has no socket, no clock and no thread of its own:
//! whoever embeds it brings them, and can as well bring simulated ones. Two adapters exist, `bowline-tokio` and
//! `bowline-mio`.
//!
//! # The loop
//!
//! After every input and every command, drain [`Endpoint::poll_output`] until it gives a deadline; then wait for the
//! next input, or for that deadline, which is [`Input::Timeout`].
//!
//! ```
//! use std::time::Instant;
//!
//! use bowline::{ChannelKind, Config, ConnectOptions, Endpoint, Event, Identity, Input, Output, Seed, UnixTime};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = Instant::now();
//! // Twice 32 bytes from the operating system in production; the first are kept.
//! let identity = Identity::from_private_key([3; 32]);
//! let seed = Seed::from([7; 32]);
//! let unix_time = UnixTime::from_millis(1_780_000_000_000);
//! let mut endpoint = Endpoint::new(Config::default(), identity, seed, now, unix_time)?;
//!
//! endpoint.handle_input(Input::SocketBound { local: "192.0.2.1:4000".parse()? }, now);
//! let bob = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".parse()?; // Bob's public key
//! endpoint.connect(bob, ConnectOptions::default(), now)?;
//! endpoint.peer(bob)?.send(ChannelKind::Reliable, "sent as soon as bob is there", now)?;
//!
//! let mut buf = Vec::new();
//! let deadline = loop {
//!     match endpoint.poll_output(&mut buf) {
//!         Output::Transmit(transmit) => { /* send `buf` from `transmit.source` to `transmit.destination` */ }
//!         Output::Signal(signal) => { /* hand `signal.text` to the link, for `signal.to` */ }
//!         Output::Event(Event::Message { peer, message, .. }) => println!("{peer}: {message:?}"),
//!         Output::Event(_) => {}
//!         Output::Timeout(deadline) => break deadline,
//!         _ => {}
//!     }
//! };
//! # assert!(deadline.is_some());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
// Tests may look at the clock and at files of theirs: purity is for what is shipped.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

#[cfg(feature = "planted")]
#[macro_use]
pub mod planted;

/// Whether a bug is planted: none ever is without the feature `planted`.
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

mod channel;
pub mod config;
mod crypto;
mod deadlines;
mod diagnosis;
mod endpoint;
mod error;
mod event;
mod ice;
mod id;
mod mesh;
mod metrics;
mod need;
mod peer;
mod rng;
pub mod sdp;
mod signal;
mod tape;
mod time;

#[cfg(test)]
mod corpora;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod linear;

#[cfg(feature = "simulation")]
pub use crypto::simulation;

/// What is found out about the NATs between this host and the world.
pub mod nat {
    pub use crate::ice::nat::{
        Family, Filtering, Mapping, NatKind, NatReport, RelayNeed, ServerAnswer, ServerEvidence,
    };
}

pub use channel::kind::{ChannelConfig, ChannelKind, Message, Ordering, Priority, Reliability};
pub use config::{
    AddressRange, Backoff, CandidateType, Config, ConfigBuilder, ConfigError, DtlsMode, Jitter,
    NetworkCost, Preset, Reconnect, TransportPolicy,
};
pub use diagnosis::{Explanation, Finding, Suspect};
pub use endpoint::io::{Input, Output, Signal, Transmit};
pub use endpoint::memory::SessionMemory;
pub use endpoint::replay::{Replay, ReplayError, Replayed};
pub use endpoint::rooms::Room;
pub use endpoint::{Broadcast, ConnectOptions, Endpoint, Peer};
pub use error::{
    ConnectError, DiscoverNatError, EndpointError, JoinError, NotIncoming, NotInvolved, OpenError,
    PublishError, PublishRefusal, RecordError, SendError, SendRefusal, UnknownChannel, UnknownPeer,
    UnknownRoom,
};
pub use event::{
    CandidateRefusal, Cause, ChannelFault, Event, GatheringState, Kept, NegotiationFault, Path,
    PathChange, PathHealth, PeerFault, PeerState, Phase, Rung, ServerFault, Side, SignalKind,
    SignalRefusal, TransportFault,
};
pub use ice::{CandidateInfo, IceServer, IceServerError, ServerTransport};
pub use id::{
    ChannelId, Generation, InvalidPeerId, InvalidSessionId, MessageId, PeerId, RoomId, SessionId,
};
pub use metrics::{ChannelMetrics, Drops, EndpointStats, MeshStats, PeerMetrics, Rtt};
pub use need::{Need, NeedId};
pub use peer::paths::PathQuality;
pub use rng::Seed;
pub use signal::identity::{Identity, InvalidIdentity, Protection};
pub use signal::rollover::{InvalidRollover, Rollover};
pub use time::UnixTime;

/// The example of the README, compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
