//! WebRTC peers on tokio: data channels over UDP between processes, with reconnection, backpressure and a report of
//! what was delivered.
//!
//! This crate drives [`bowline`], which does no input or output itself: it binds UDP sockets on every interface, keeps
//! the time, carries signalling over a WebSocket [`relay`], and offers the result as futures.
//!
//! - [`Endpoint`]: many peers on shared sockets. [`Endpoint::connect`] and [`Endpoint::accept`] give connections.
//! - [`Connection`]: four channels ([`ChannelKind`](bowline::ChannelKind)) and custom ones to one peer.
//!   [`Connection::send`] waits for room, and what [`Connection::recv`] has not taken holds the sender back.
//! - [`signalling`]: how peers find each other before there is a path.
//! - [`turn_server`]: a STUN and TURN server for those who find no direct one.
//!
//! ```no_run
//! use bowline::{ChannelKind, PeerId};
//! use bowline_tokio::{Delivery, Endpoint, signalling};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let id = PeerId::new("alice")?;
//! let link = signalling::websocket("ws://relay.example:9000", id)?;
//! let endpoint = Endpoint::bind(id, link)?;
//!
//! let bob = endpoint.connect(PeerId::new("bob")?).await?;
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
//!
//! # What is left out
//!
//! TLS for the WebSocket link, and any check of who a peer is before it is connected: the signalling of this version
//! is not signed, so that trust in the names is trust in the relay.
#![forbid(unsafe_code)]

mod connection;
mod driver;
mod endpoint;
mod inbox;
mod interfaces;
mod ledger;
mod needs;
#[cfg(feature = "openmetrics")]
pub mod openmetrics;
pub mod relay;
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
