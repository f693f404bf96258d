//! A STUN and TURN server, for peers that find no direct way to each other (RFC 8489, RFC 8656).
//!
//! It listens for UDP and TCP on one port, says everybody where they come from, and relays UDP for those who have
//! [credentials](TurnSecret) that are not over. To whom it relays is [limited](PeerPolicy), and so is
//! [how much](TurnLimits).
//!
//! Nothing is kept for those who have not shown that they know a password: answers to them are made of the request alone,
//! and a nonce proves itself. An allocation may be refreshed for as long as its client likes with the credentials that it
//! was made with, after their end too; with others it may not (RFC 8656 section 5). TLS, TCP to peers (RFC 6062) and the
//! discovery of NATs (RFC 5780) are left out.

mod client;
mod credentials;
mod door;
mod frame;
mod limits;
mod message;
mod peers;
mod relays;
mod stream;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use stun_proto::types::attribute::ErrorCode;
use stun_proto::types::message::{BINDING, Message, MessageClass};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, watch};
use tracing::debug;
use turn_types::message::ALLOCATE;

pub use credentials::{TurnCredentials, TurnSecret};
pub use limits::{TurnLimits, TurnStats};
pub use peers::PeerPolicy;

use client::Client;
use door::Door;
use limits::{Counters, Full, Quota, count};
use relays::{Relayed, Relays};

/// The port of STUN and TURN (RFC 8489 section 8.1).
pub const PORT: u16 = 3_478;

/// Settings of a [`TurnServer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnConfig {
    /// What credentials are valid for. Clients show it to nobody. Default `bowline`.
    pub realm: String,
    /// The addresses that a 1:1 NAT maps to this machine, one for each family at most. They are told as the addresses of
    /// relays. Default none: the addresses of the machine.
    pub public_ips: Vec<IpAddr>,
    /// The ports of relays. Default 49,152 to 65,535, as RFC 8656 section 7.2 has it.
    pub ports: RangeInclusive<u16>,
    /// Whom it relays to. Default: the public Internet, and the relays of this server.
    pub peers: PeerPolicy,
    /// What its clients may do.
    pub limits: TurnLimits,
}

impl Default for TurnConfig {
    fn default() -> Self {
        Self {
            realm: "bowline".to_owned(),
            public_ips: Vec::new(),
            ports: 49_152..=65_535,
            peers: PeerPolicy::default(),
            limits: TurnLimits::default(),
        }
    }
}

/// A running STUN and TURN server. It stops when this is dropped.
#[derive(Debug)]
pub struct TurnServer {
    local: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

impl TurnServer {
    /// Starts a server at `address`, over UDP and TCP. Port 0 takes one that is free for both. Whoever has credentials of
    /// `secret` may use it.
    ///
    /// # Errors
    ///
    /// What the operating system says when the address cannot be bound or there is no randomness;
    /// [`io::ErrorKind::AddrNotAvailable`] when no address is known that could be told for relays, and
    /// [`io::ErrorKind::InvalidInput`] for an empty range of ports.
    pub async fn bind(
        address: SocketAddr,
        secret: TurnSecret,
        config: TurnConfig,
    ) -> io::Result<Self> {
        if config.ports.is_empty() || *config.ports.start() == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let relayed = relays::relayed(address.ip(), &config.public_ips);
        if relayed.is_empty() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let door = Door::new(secret, config.realm.clone());
        let door = door.ok_or_else(|| io::Error::other("no randomness"))?;
        let (udp, tcp) = bind_both(address).await?;
        let local = udp.local_addr()?;
        let shared = Arc::new(Shared {
            config,
            door,
            relayed,
            relays: Arc::default(),
            quota: Arc::default(),
            clients: Mutex::default(),
            connections: AtomicUsize::new(0),
            counters: Counters::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let datagrams = Arc::clone(&shared).take_datagrams(Arc::new(udp), local, stopped.clone());
        tokio::spawn(until(stopped.clone(), datagrams));
        let accepting = stream::accept(tcp, Arc::clone(&shared), stopped.clone());
        tokio::spawn(until(stopped, accepting));
        Ok(Self {
            local,
            shared,
            stop,
        })
    }

    /// The address at which it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The addresses at which others reach it, with its port: those that a NAT maps to it, or its own.
    pub fn public_addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let port = self.local.port();
        let relayed = self.shared.relayed.iter();
        relayed.map(move |relayed| SocketAddr::new(relayed.shown, port))
    }

    /// What happened since the start.
    #[must_use]
    pub fn stats(&self) -> TurnStats {
        self.shared.counters.stats(self.shared.quota.taken())
    }
}

impl Drop for TurnServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// What all clients share.
struct Shared {
    config: TurnConfig,
    door: Door,
    relayed: Vec<Relayed>,
    relays: Arc<Relays>,
    quota: Arc<Quota>,
    /// Those who have a place, and where their messages go.
    clients: Mutex<BTreeMap<ClientKey, mpsc::Sender<Vec<u8>>>>,
    /// TCP connections that are open.
    connections: AtomicUsize,
    counters: Counters,
}

/// A client is an address and a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ClientKey {
    address: SocketAddr,
    is_stream: bool,
}

impl Shared {
    async fn take_datagrams(
        self: Arc<Self>,
        socket: Arc<UdpSocket>,
        local: SocketAddr,
        stopped: watch::Receiver<bool>,
    ) {
        // One byte more tells a message that is too long.
        let mut buffer = vec![0; MAX_MESSAGE + 1];
        loop {
            match socket.recv_from(&mut buffer).await {
                Ok((count, address)) => {
                    let line = Line {
                        client: canonical(address),
                        at: canonical(local),
                        out: Out::Datagrams(Arc::clone(&socket), address),
                    };
                    let bytes = buffer.get(..count).unwrap_or_default();
                    self.on_message(&line, bytes, &stopped);
                }
                Err(error) => {
                    // News of a datagram that did not arrive (ICMP), on some systems.
                    debug!(%error, "nothing was received");
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Takes one message that came over a line.
    fn on_message(self: &Arc<Self>, line: &Line, bytes: &[u8], stopped: &watch::Receiver<bool>) {
        if bytes.len() > MAX_MESSAGE {
            return;
        }
        let queue = self.lock().get(&line.key()).cloned();
        if let Some(queue) = queue {
            match queue.try_send(bytes.to_vec()) {
                // What does not fit is lost, as on any path.
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => return,
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        }
        match Message::from_bytes(bytes) {
            Ok(message) if message.has_class(MessageClass::Request) => {
                line.send(self.on_request(line, &message, stopped));
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Answers a request of somebody who has no allocation, or begins one.
    fn on_request(
        self: &Arc<Self>,
        line: &Line,
        request: &Message<'_>,
        stopped: &watch::Receiver<bool>,
    ) -> Option<Vec<u8>> {
        if request.has_method(BINDING) {
            return message::bound(request, line.client);
        }
        let caller = match self
            .door
            .authenticate(request, line.client, None, Instant::now())
        {
            Ok(caller) => caller,
            Err(answer) => {
                count(&self.counters.challenged);
                return answer;
            }
        };
        if !request.has_method(ALLOCATE) {
            return message::refusal(request, ErrorCode::ALLOCATION_MISMATCH, Some(&caller));
        }
        let place = match self.quota.take(&caller.name, &self.config.limits) {
            Ok(place) => place,
            Err(full) => {
                count(&self.counters.over_quota);
                let code = match full {
                    Full::User => ErrorCode::ALLOCATION_QUOTA_REACHED,
                    Full::Server => ErrorCode::INSUFFICIENT_CAPACITY,
                };
                return message::refusal(request, code, Some(&caller));
            }
        };
        count(&self.counters.admitted);
        let client = Client::new(Arc::clone(self), line.clone(), caller, place)?;
        let (queue, messages) = mpsc::channel(MAX_WAITING);
        let key = line.key();
        self.lock().insert(key, queue.clone());
        let entry = Registered {
            shared: Arc::clone(self),
            key,
            queue: queue.downgrade(),
        };
        let serving = client.run(request.as_bytes().to_vec(), messages);
        tokio::spawn(until(stopped.clone(), async move {
            let _entry = entry;
            serving.await;
        }));
        None
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClientKey, mpsc::Sender<Vec<u8>>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .field("clients", &self.lock().len())
            .finish_non_exhaustive()
    }
}

/// A client in the table, taken out when this is dropped; also when its task has panicked.
struct Registered {
    shared: Arc<Shared>,
    key: ClientKey,
    queue: mpsc::WeakSender<Vec<u8>>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut clients = self.shared.lock();
        let ours = self.queue.upgrade();
        let has = clients.get(&self.key).zip(ours);
        if has.is_some_and(|(has, ours)| has.same_channel(&ours)) {
            clients.remove(&self.key);
        }
    }
}

/// How a client is reached.
#[derive(Debug, Clone)]
struct Line {
    client: SocketAddr,
    /// Our address, as the client's messages have it.
    at: SocketAddr,
    out: Out,
}

#[derive(Debug, Clone)]
enum Out {
    /// The socket, and the address as it has it.
    Datagrams(Arc<UdpSocket>, SocketAddr),
    Stream(mpsc::Sender<Vec<u8>>),
}

impl Line {
    fn key(&self) -> ClientKey {
        ClientKey {
            address: self.client,
            is_stream: matches!(self.out, Out::Stream(_)),
        }
    }

    /// Sends a message, if there is one and room for it.
    fn send(&self, message: Option<Vec<u8>>) {
        let Some(message) = message else {
            return;
        };
        let is_sent = match &self.out {
            Out::Datagrams(socket, to) => socket.try_send_to(&message, *to).is_ok(),
            Out::Stream(queue) => queue.try_send(frame::padded(message)).is_ok(),
        };
        if !is_sent {
            debug!(client = %self.client, "a turn client takes no more: a message is lost");
        }
    }
}

async fn until(mut stopped: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

/// Binds one port for UDP and TCP.
async fn bind_both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut result = Err(io::ErrorKind::AddrInUse.into());
    for _ in 0..PORT_TRIES {
        let udp = UdpSocket::bind(address).await?;
        result = TcpListener::bind(udp.local_addr()?)
            .await
            .map(|tcp| (udp, tcp));
        if result.is_ok() || address.port() != 0 {
            break;
        }
    }
    result
}

/// IPv4 addresses as such, also where a socket of both families has them.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Messages that wait for one client's task, and for one client's connection.
const MAX_WAITING: usize = 256;
/// The longest message of a client and datagram of a peer: far more than a path carries in one piece. Longer ones are dropped,
/// and end a stream, so that a full queue is no more than 2 MiB.
const MAX_MESSAGE: usize = 8 * 1_024;
/// Free ports that are tried until one is free for both transports.
const PORT_TRIES: usize = 16;
