//! bowline peers in your own [mio](https://docs.rs/mio) event loop.
//!
//! A [`Driver`] owns an [`Endpoint`](bowline::Endpoint) and its UDP sockets, registered in **your** [`mio::Poll`]
//! beside your own sources. It has no thread, no clock and no loop. In each turn:
//!
//! 1. poll the actions until there are none: events for you, signals for your signalling link;
//! 2. wait, no longer than [`Driver::poll_timeout`] says;
//! 3. hand each event to [`Driver::handle_event`], which tells whether it was the driver's;
//! 4. call [`Driver::handle_timeout`].
//!
//! Commands go through [`Driver::endpoint_mut`]. What they cause is sent at once: there is no flush to forget.
//!
//! ```no_run
//! use std::time::Instant;
//!
//! use bowline::{ChannelKind, Config, ConnectOptions, Endpoint, Event, Identity, PeerId, PeerState, Seed, UnixTime};
//! use bowline_mio::{Action, Driver};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (private_key, entropy, bob, unix_time) = ([0; 32], [0; 32], "", UnixTime::default());
//! # let link = |_to: PeerId, _text: String| {};
//! let (identity, bob) = (Identity::from_private_key(private_key), PeerId::new(bob)?);
//! let endpoint = Endpoint::new(Config::default(), identity, Seed::from(entropy), Instant::now(), unix_time)?;
//!
//! let mut poll = mio::Poll::new()?;
//! let mut events = mio::Events::with_capacity(64);
//! // Your own sources take other tokens.
//! let first = mio::Token(1_000);
//! let mut driver = Driver::new(endpoint, poll.registry(), first, &Driver::ANY, Instant::now())?;
//! driver.endpoint_mut().connect(bob, ConnectOptions::default(), Instant::now())?;
//!
//! loop {
//!     while let Some(action) = driver.poll_action() {
//!         match action {
//!             Action::Signal(signal) => link(signal.to, signal.text),
//!             Action::Event(Event::State { peer, to: PeerState::Connected, .. }) => {
//!                 let mut endpoint = driver.endpoint_mut();
//!                 endpoint.peer(peer)?.send(ChannelKind::Reliable, "hello", Instant::now())?;
//!             }
//!             Action::Event(Event::Message { message, .. }) => println!("{message:?}"),
//!             other => println!("{other:?}"),
//!         }
//!     }
//!     poll.poll(&mut events, driver.poll_timeout(Instant::now()))?;
//!     let now = Instant::now();
//!     for event in &events {
//!         if !driver.handle_event(event, now) {
//!             // It is for one of your own sources.
//!         }
//!     }
//!     driver.handle_timeout(now);
//!     // What the link brought: driver.handle_signal(&text, now). That it is down or up again:
//!     // driver.handle_signalling_changed(up, now).
//! #   break Ok(());
//! }
//! # }
//! ```
//!
//! The sockets use segmentation and receive offload and batched reads where the system has them. A datagram that a
//! socket does not take waits for write readiness in a bounded queue, from which the oldest are dropped: UDP may
//! lose, and [`DriverStats`] counts. A turn reads a bounded number of datagrams, and what is left makes the next
//! [`Driver::poll_timeout`] zero: readiness in mio is an edge, and none is lost.
//!
//! For STUN and TURN servers the driver binds further sockets and opens streams by itself; host names and TLS are the
//! application's: [`Action::Resolve`], [`Driver::set_tls`].
//!
//! `examples/custom_loop.rs` shows two peers, an echo socket and a timer in one poll; `examples/echo_peer.rs` a peer
//! that signals over standard input and output.
#![forbid(unsafe_code)]

mod bind;
mod driver;
mod outbox;
mod socket;
mod stream;

pub use bind::BindError;
pub use driver::{Action, Driver, DriverStats, EndpointMut};
