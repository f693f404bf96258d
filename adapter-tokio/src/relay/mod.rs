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
//! A relay that [offers](RelayBuilder::ice) a TURN server tells it to each member of a room with a name, on joining
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
//! A name belongs to whoever connects with it last: the older connection is closed with the code 4000. Without an
//! [`AccessKey`] anybody who can reach the relay can take any name. With one a peer has to bring a token of whoever has the
//! key, in the parameter `token` of the query, and is refused with 401 otherwise. What the relay cannot do is read or alter
//! what peers say to each other once they are connected: that is encrypted between them.
//!
//! # Several servers
//!
//! Servers that are connected to the same [NATS](RelayBuilder::nats) share their rooms, so that it does not matter to which of
//! them a peer connects. When one of them dies, its peers connect to another, and what it had not delivered is sent again by
//! the endpoints, which repeat what is not acknowledged. Who was connected to it is told to be there for up to six seconds
//! more. The limit on the peers of a room counts those that a server knows of: many that come to several servers in the same
//! instant may be some more. A message for somebody at another server goes to the servers that have members in that room; those that
//! name no room are all in one. NATS is trusted: whoever can publish there can speak for every server. Of two connections with the
//! same name at two servers the later one has it, as far as the clocks of the servers agree.
//!
//! # Ending
//!
//! A relay that [drains](Relay::drain) lets nobody in any more (503) and closes each connection with the code 1012 when what
//! was for it is sent, which tells clients to connect elsewhere at once.

mod access;
mod bus;
mod connection;
mod http;
mod ice;
mod limits;
mod monitor;
mod rooms;
mod route;
mod tls;

pub use access::{AccessKey, ShortKey};
pub use http::Page;
pub use ice::IceOffer;
pub use limits::{RelayLimits, RelayStats};
pub use tls::{TlsError, TlsIdentity};

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use bus::{Bus, BusLink, ServerId};
use limits::{Counters, Places};
use rooms::{Outbox, Rooms};

use crate::needs::Tls;

/// The close code for a connection whose name another one has taken.
pub const REPLACED: u16 = 4000;

/// A running relay. It stops when this is dropped.
#[derive(Debug)]
pub struct Relay {
    local: SocketAddr,
    monitor: Option<SocketAddr>,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// Why a relay could not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be listened at.
    #[error("cannot listen: {0}")]
    Listen(#[source] io::Error),
    /// The address of the monitor cannot be listened at.
    #[error("cannot listen for the monitor: {0}")]
    Monitor(#[source] io::Error),
    /// There is no connection to NATS.
    #[error("cannot connect to nats: {0}")]
    Nats(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a relay is to be, before it starts.
#[derive(Debug, Default)]
pub struct RelayBuilder {
    limits: RelayLimits,
    pages: &'static [Page],
    ice: Option<IceOffer>,
    access: Option<AccessKey>,
    tls: Option<TlsIdentity>,
    monitor: Option<SocketAddr>,
    nats: Option<NatsUrl>,
}

/// Where NATS is, with a password in it perhaps, so that it shows itself nowhere.
#[derive(Clone)]
struct NatsUrl(String);

impl fmt::Debug for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NatsUrl(..)")
    }
}

impl RelayBuilder {
    /// Sets what peers may do. The default is that of [`RelayLimits`].
    #[must_use]
    pub fn limits(mut self, limits: RelayLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Serves pages too: to those who ask with GET, over the same port.
    #[must_use]
    pub fn pages(mut self, pages: &'static [Page]) -> Self {
        self.pages = pages;
        self
    }

    /// Tells the members of rooms of ICE servers.
    #[must_use]
    pub fn ice(mut self, offer: IceOffer) -> Self {
        self.ice = Some(offer);
        self
    }

    /// Lets in only who brings a token that was made with this key.
    #[must_use]
    pub fn access(mut self, key: AccessKey) -> Self {
        self.access = Some(key);
        self
    }

    /// Speaks TLS: `wss:` and `https:` in place of `ws:` and `http:`. The certificate can be
    /// [renewed](TlsIdentity::renew) while the relay runs.
    #[must_use]
    pub fn tls(mut self, identity: TlsIdentity) -> Self {
        self.tls = Some(identity);
        self
    }

    /// Answers over HTTP at another address, which should not be one for everybody: `/health` with 200, or with 503 while
    /// the relay drains or has no connection to NATS; `/metrics` with the [`RelayStats`] in the text format of OpenMetrics 1.0.
    #[must_use]
    pub fn monitor(mut self, address: SocketAddr) -> Self {
        self.monitor = Some(address);
        self
    }

    /// Shares the rooms with all servers that are connected to the same NATS: `nats://[USER:PASSWORD@]HOST:PORT`, or `tls:`
    /// to be verified by the certificates that this machine trusts. Several servers of one NATS cluster have commas between.
    #[must_use]
    pub fn nats(mut self, url: &str) -> Self {
        self.nats = Some(NatsUrl(url.to_owned()));
        self
    }

    /// Starts a relay at `address`. Port 0 takes a free one, see [`Relay::local_addr`].
    ///
    /// # Errors
    ///
    /// [`StartError`], when an address cannot be bound or NATS does not answer.
    pub async fn bind(self, address: impl ToSocketAddrs) -> Result<Relay, StartError> {
        let (listener, local) = listen(address).await.map_err(StartError::Listen)?;
        let monitor = match self.monitor {
            Some(address) => Some(listen(address).await.map_err(StartError::Monitor)?),
            None => None,
        };
        let monitor_addr = monitor.as_ref().map(|(_, address)| *address);
        let bus = match &self.nats {
            Some(url) => Some(connect(url).await?),
            None => None,
        };
        let (rooms, bus) = match bus {
            Some((bus, server)) => {
                let (forwards, queue) = mpsc::channel(bus::QUEUE);
                let changed = Notify::new();
                let outbox = Outbox {
                    server,
                    forwards,
                    changed,
                };
                (Rooms::shared(outbox), Some((bus, queue)))
            }
            None => (Rooms::default(), None),
        };
        let shared = Arc::new(Shared {
            limits: self.limits,
            pages: self.pages,
            ice: self.ice,
            access: self.access,
            bus: bus.as_ref().map(|(bus, _)| bus.link()),
            counters: Counters::default(),
            places: Arc::default(),
            rooms: Arc::new(rooms),
            started: Instant::now(),
            phase: watch::Sender::new(Phase::Serving),
        });
        let mut tasks = JoinSet::new();
        let tls = self.tls;
        tasks.spawn(accept(listener, Arc::clone(&shared), {
            let shared = Arc::clone(&shared);
            move |stream, from| {
                let acceptor = tls.as_ref().map(TlsIdentity::acceptor);
                start(stream, from, acceptor, &shared);
            }
        }));
        if let Some((listener, _)) = monitor {
            tasks.spawn(accept(listener, Arc::clone(&shared), {
                let shared = Arc::clone(&shared);
                move |stream, _| drop(tokio::spawn(monitor::serve(stream, Arc::clone(&shared))))
            }));
        }
        if let Some((bus, queue)) = bus {
            tasks.spawn(bus.run(Arc::clone(&shared), queue));
        }
        Ok(Relay {
            local,
            monitor: monitor_addr,
            shared,
            tasks,
        })
    }
}

async fn listen(address: impl ToSocketAddrs) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

async fn connect(NatsUrl(url): &NatsUrl) -> Result<(Bus, ServerId), StartError> {
    let connecting = async {
        let tls = Tls::of_machine().config().await?;
        let server = ServerId::random().ok_or("the operating system has no randomness")?;
        Ok((Bus::connect(url, tls).await?, server))
    };
    connecting.await.map_err(StartError::Nats)
}

impl Relay {
    /// Starts a relay at `address` as it is without anything set. Port 0 takes a free one, see [`Relay::local_addr`].
    ///
    /// # Errors
    ///
    /// [`StartError::Listen`] with what the operating system says when the address cannot be bound.
    pub async fn bind(address: impl ToSocketAddrs) -> Result<Self, StartError> {
        Self::builder().bind(address).await
    }

    /// A relay that is yet to be set up.
    #[must_use]
    pub fn builder() -> RelayBuilder {
        RelayBuilder::default()
    }

    /// The address at which it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The address of [`RelayBuilder::monitor`].
    #[must_use]
    pub fn monitor_addr(&self) -> Option<SocketAddr> {
        self.monitor
    }

    /// The URL for [`signalling::websocket`](crate::signalling::websocket), as seen from this machine. For a relay with TLS
    /// put the name of its certificate there.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}", self.local)
    }

    /// What happened since the start.
    #[must_use]
    pub fn stats(&self) -> RelayStats {
        self.shared.stats()
    }

    /// Stops gently: lets nobody in any more, and tells every peer to connect elsewhere, one after the other over half of
    /// `grace`. Returns when all are gone and the port is free, after `grace` at the latest.
    pub async fn drain(self, grace: Duration) {
        let shared = &self.shared;
        shared.rooms.stop();
        shared
            .phase
            .send_replace(Phase::Draining { within: grace / 2 });
        let _ = timeout(grace, shared.places.emptied()).await;
        self.close().await;
    }

    /// Closes every connection and stops listening. Waits until the port is free.
    pub async fn close(mut self) {
        self.stop();
        // A panic of a task would be a bug, and the port is free then too.
        while self.tasks.join_next().await.is_some() {}
    }

    fn stop(&self) {
        self.shared.rooms.stop();
        self.shared.phase.send_replace(Phase::Stopped);
    }
}

/// Stops it. The tasks end by themselves.
impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
        self.tasks.detach_all();
    }
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    limits: RelayLimits,
    pages: &'static [Page],
    ice: Option<IceOffer>,
    access: Option<AccessKey>,
    /// How the connection to the other servers is doing, where there are any.
    bus: Option<watch::Receiver<BusLink>>,
    counters: Counters,
    places: Arc<Places>,
    rooms: Arc<Rooms>,
    started: Instant,
    phase: watch::Sender<Phase>,
}

/// Whether a relay is about to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Connections are closed, each at some time within this one.
    Draining {
        within: Duration,
    },
    Stopped,
}

impl Shared {
    fn stats(&self) -> RelayStats {
        RelayStats {
            peers: self.rooms.peers(),
            servers: self.rooms.servers(),
            accepted: self.places.accepted.value(),
            refused: self.places.refused.value(),
            refused_address: self.places.refused_address.value(),
            ..self.counters.stats()
        }
    }

    /// Whether peers should be sent here.
    fn health(&self) -> Result<(), &'static str> {
        if !matches!(*self.phase.borrow(), Phase::Serving) {
            return Err("draining\n");
        }
        match &self.bus {
            Some(link) if !link.borrow().up => Err("no connection to nats\n"),
            Some(_) | None => Ok(()),
        }
    }

    async fn stopped(&self) {
        let mut phase = self.phase.subscribe();
        let _ = phase
            .wait_for(|phase| matches!(phase, Phase::Stopped))
            .await;
    }
}

/// Accepts connections, and starts each, until the relay stops.
async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut start: impl FnMut(TcpStream, SocketAddr),
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stopped() => return,
        };
        match accepted {
            Ok((stream, from)) => start(stream, from),
            Err(error) => {
                // Out of descriptors, mostly: to try again at once would only spin.
                warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn start(
    stream: TcpStream,
    from: SocketAddr,
    tls: Option<tokio_rustls::TlsAcceptor>,
    shared: &Arc<Shared>,
) {
    let Some(place) = shared.places.take(from.ip(), &shared.limits) else {
        debug!("there is no place for a connection");
        return;
    };
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        tokio::select! {
            () = connection::run(stream, tls, &shared) => {}
            () = shared.stopped() => {}
        }
        drop(place);
    });
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
