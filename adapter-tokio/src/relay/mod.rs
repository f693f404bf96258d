//! The relay: a WebSocket server that carries signalling between peers that cannot reach each other yet.
//!
//! A peer connects to `ws://host:port/?peer=ID`. Every text frame is the text of one signalling message, a JSON object:
//! the relay reads its members `from` and `to`, forwards the text unchanged to the peer `to`, and reads and keeps
//! nothing else. A message whose `from` is not the name under which its sender connected is dropped.
//!
//! A name belongs to whoever connects with it last: the older connection is closed with the code 4000. There is no
//! authentication, so anybody who can reach the relay can take any name; a relay for strangers belongs behind something
//! that checks who they are. What the relay cannot do is read or alter what peers say to each other once they are
//! connected: that is encrypted between them.

mod connection;
mod limits;
mod route;

pub use limits::{RelayLimits, RelayStats};

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bowline::PeerId;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tracing::{debug, warn};

use limits::Counters;

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
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        let shared = Arc::new(Shared {
            limits,
            ..Shared::default()
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
        self.shared.counters.stats(self.shared.members().len())
    }

    /// Closes every connection and stops listening. Waits until the port is free.
    pub async fn close(mut self) {
        self.stop.send_replace(true);
        // A panic of the task would be a bug, and the port is free then too.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// What all connections share.
#[derive(Debug, Default)]
struct Shared {
    limits: RelayLimits,
    counters: Counters,
    /// The queue of the connection that has a name. It is dropped when another takes the name, which ends the first.
    members: Mutex<HashMap<PeerId, mpsc::Sender<Utf8Bytes>>>,
}

/// What a connection shows to give its name back.
#[derive(Debug)]
struct Ticket {
    peer: PeerId,
    queue: mpsc::WeakSender<Utf8Bytes>,
}

impl Shared {
    /// Gives the name `peer` to the connection that drains the returned queue. The one that had it loses its queue.
    fn join(&self, peer: PeerId) -> (Ticket, mpsc::Receiver<Utf8Bytes>) {
        let (queue, drain) = mpsc::channel(self.limits.queue.max(1));
        let ticket = Ticket {
            peer,
            queue: queue.downgrade(),
        };
        self.members().insert(peer, queue);
        (ticket, drain)
    }

    /// Frees the name, unless another connection has taken it.
    fn leave(&self, ticket: &Ticket) {
        let mut members = self.members();
        let ours = ticket.queue.upgrade();
        if members
            .get(&ticket.peer)
            .zip(ours)
            .is_some_and(|(has, ours)| has.same_channel(&ours))
        {
            members.remove(&ticket.peer);
        }
    }

    /// Forwards `text` to `to`. The newest message is dropped when its queue is full.
    fn forward(&self, to: PeerId, text: Utf8Bytes) {
        let queue = self.members().get(&to).cloned();
        let counter = match queue.map(|queue| queue.try_send(text)) {
            Some(Ok(())) => &self.counters.forwarded,
            Some(Err(_)) => &self.counters.queue_full,
            None => &self.counters.unknown_destination,
        };
        counter.add();
    }

    fn members(&self) -> MutexGuard<'_, HashMap<PeerId, mpsc::Sender<Utf8Bytes>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
