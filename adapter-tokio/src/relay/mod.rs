//! The relay: a WebSocket server that carries signalling between peers that cannot reach each other yet.
//!
//! A peer connects to `ws://host:port/?peer=ID` or `ws://host:port/?peer=ID&room=NAME`. Both names have 1 to 64 characters
//! of `A-Z a-z 0-9 . _ -`; with other ones the upgrade is refused with 400. The names of peers are those of their room:
//! messages are forwarded within it only, and those who name no room are in one too.
//!
//! Every text frame from a peer is the text of one signalling message, a JSON object: the relay reads its members `from`
//! and `to`, forwards the text unchanged to the peer `to`, and reads and keeps nothing else. A message whose `from` is not
//! the name under which its sender connected is dropped.
//!
//! # Presence
//!
//! In a room with a name the relay says who is there, in a text frame that has no `from`:
//!
//! ```json
//! {"type":"room","peers":["alice","bob"]}
//! ```
//!
//! `peers` are all that are present in the order of their bytes, the receiver included. It comes once on joining and then
//! whenever somebody comes or goes; of several changes at once only the last may be told. Fields that are not named
//! here are to be ignored. A room has a limit on peers ([`RelayLimits::room`]): a further one is refused with 503.
//!
//! # ICE servers
//!
//! A relay that [offers](Relay::bind_with_ice) a TURN server tells it to each member of a room with a name, on joining
//! before the presence and again before the credentials end, in another text frame that has no `from`:
//!
//! ```json
//! {"type":"ice-servers","servers":[
//!   {"urls":["stun:192.0.2.1:3478"]},
//!   {"urls":["turn:192.0.2.1:3478?transport=udp"],"username":"1700000000:kitchen/alice","credential":"..."}]}
//! ```
//!
//! `servers` are what the W3C calls `RTCIceServer`. Each frame takes the place of the one before.
//!
//! # Names
//!
//! A name belongs to whoever connects with it last: the older connection is closed with the code 4000. There is no
//! authentication, so anybody who can reach the relay can take any name; a relay for strangers belongs behind something
//! that checks who they are. What the relay cannot do is read or alter what peers say to each other once they are
//! connected: that is encrypted between them.

mod connection;
mod http;
mod ice;
mod limits;
mod rooms;
mod route;

pub use http::Page;
pub use ice::IceOffer;
pub use limits::{RelayLimits, RelayStats};

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use limits::Counters;
use rooms::Rooms;

/// The close code for a connection whose name another one has taken.
pub const REPLACED: u16 = 4000;

/// A running relay. It stops when this is dropped.
#[derive(Debug)]
pub struct Relay {
    local: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// Starts a relay at `address` with the default limits. Port 0 takes a free one, see [`Relay::local_addr`].
    ///
    /// # Errors
    ///
    /// What the operating system says when the address cannot be bound.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Self::bind_with(address, RelayLimits::default()).await
    }

    /// Starts a relay at `address` with `limits`.
    ///
    /// # Errors
    ///
    /// What the operating system says when the address cannot be bound.
    pub async fn bind_with(address: impl ToSocketAddrs, limits: RelayLimits) -> io::Result<Self> {
        Self::bind_with_pages(address, limits, &[]).await
    }

    /// Starts a relay at `address` with `limits` that serves `pages` too: to those who ask with GET, over the same port.
    ///
    /// # Errors
    ///
    /// What the operating system says when the address cannot be bound.
    pub async fn bind_with_pages(
        address: impl ToSocketAddrs,
        limits: RelayLimits,
        pages: &'static [Page],
    ) -> io::Result<Self> {
        Self::bind_with_ice(address, limits, pages, None).await
    }

    /// Starts a relay at `address` with `limits` and `pages` that tells the members of its rooms of ICE servers.
    ///
    /// # Errors
    ///
    /// What the operating system says when the address cannot be bound.
    pub async fn bind_with_ice(
        address: impl ToSocketAddrs,
        limits: RelayLimits,
        pages: &'static [Page],
        ice: Option<IceOffer>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        let shared = Arc::new(Shared {
            limits,
            pages,
            ice,
            counters: Counters::default(),
            rooms: Arc::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), stopped));
        Ok(Self {
            local,
            shared,
            stop,
            accepting,
        })
    }

    /// The address at which it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The URL for [`signalling::websocket`](crate::signalling::websocket), as seen from this machine.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}", self.local)
    }

    /// What happened since the start.
    #[must_use]
    pub fn stats(&self) -> RelayStats {
        self.shared.counters.stats(self.shared.rooms.peers())
    }

    /// Closes every connection and stops listening. Waits until the port is free.
    pub async fn close(mut self) {
        self.stop();
        // A panic of the task would be a bug, and the port is free then too.
        let _ = (&mut self.accepting).await;
    }

    fn stop(&self) {
        self.shared.rooms.stop();
        self.stop.send_replace(true);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    limits: RelayLimits,
    pages: &'static [Page],
    ice: Option<IceOffer>,
    counters: Counters,
    rooms: Arc<Rooms>,
}

/// Accepts connections until the relay stops.
async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, _address)) => start(stream, &shared, &stopped),
            Err(error) => {
                // Out of descriptors, mostly: to try again at once would only spin.
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn start(stream: TcpStream, shared: &Arc<Shared>, stopped: &watch::Receiver<bool>) {
    let Some(place) = shared.counters.take_place(shared.limits.connections) else {
        debug!("the relay is full");
        return;
    };
    let (shared, mut stopped) = (Arc::clone(shared), stopped.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = connection::run(stream, &shared) => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
        shared.counters.free_place(place);
    });
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
