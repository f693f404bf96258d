//! WebRTC peers on tokio: data channels over UDP between processes, with reconnection, backpressure and a report of
//! what was delivered.
//!
//! This crate drives [`bowline`], which does no input or output itself: it binds UDP sockets on every interface, keeps
//! the time, carries signalling over a WebSocket [`relay`], and offers the result as futures.
//!
//! - [`Endpoint`]: many peers on shared sockets. [`Endpoint::connect`] and [`Endpoint::accept`] give connections.
//! - [`Connection`]: four channels ([`ChannelKind`](bowline::ChannelKind)) and custom ones to one peer.
//!   [`Connection::send`] waits for room, and what [`Connection::recv`] has not taken holds the sender back.
//! - [`identity`]: the key pair that an endpoint is, in a file. [`bowline::Identity::without_key`] is for those who trust
//!   the relay.
//! - [`signalling`]: how peers find each other before there is a path.
//! - [`turn_server`]: a STUN and TURN server for those who find no direct one.
//!
//! ```no_run
//! use bowline::{ChannelKind, PeerId};
//! use bowline_tokio::{Delivery, Endpoint, identity, signalling};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let identity = identity::load_or_create("identity.jwk")?;
//! let link = signalling::websocket("ws://relay.example:9000", identity.id())?;
//! let endpoint = Endpoint::bind(identity, link)?;
//!
//! let bob = PeerId::new("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")?; // his public key
//! let bob = endpoint.connect(bob).await?;
//! let receipt = bob.send(ChannelKind::Reliable, "hello").await?;
//! assert_eq!(bob.delivered(receipt).await, Delivery::Delivered);
//!
//! while let Some((channel, message)) = bob.recv().await {
//!     println!("{channel}: {message:?}");
//! }
//! endpoint.close().await;
//! # Ok(()) }
//! ```
//!
//! # Features
//!
//! `openmetrics` adds `Endpoint::openmetrics`, which gives the figures of an endpoint and its peers in the text format that
//! Prometheus reads.
//!
//! # Dropping and cancelling
//!
//! Every future of this crate may be dropped at any time; each says what that means. Dropping handles never blocks: the
//! last handle of a connection closes it in the background, and the last handle of an endpoint and its connections
//! says goodbye to everybody and closes the sockets. A runtime that shuts down earlier cuts that short.
#![forbid(unsafe_code)]

mod clock;
mod connection;
mod driver;
mod endpoint;
mod exposition;
pub mod identity;
mod inbox;
mod interfaces;
mod ledger;
mod needs;
#[cfg(feature = "openmetrics")]
pub mod openmetrics;
pub mod relay;
mod room;
mod session;
mod shared;
pub mod signalling;
mod socket;
pub mod turn_server;

pub use connection::{CloseReport, Connection, OpenedChannel, Status};
pub use endpoint::{
    BindError, ConnectError, DiscoverError, Endpoint, EndpointBuilder, Events, Incoming,
    IncomingPolicy, Lagged,
};
pub use ledger::{Delivery, Receipt, Undelivered};
pub use room::{Room, RoomEvent};
