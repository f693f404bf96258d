//! One client: its allocation, and the sockets that relay for it.
//!
//! Each has a [`turn_server_proto`] server of its own, in a task of its own, behind the [door](super::door). So the server
//! never sees a request that is not authenticated, what it keeps ends with its client, and a fault in it does too. It is
//! given every message as if over UDP: streams are cut into messages before. Its nonce is put into each request in place
//! of the door's.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use stun_proto::agent::Transmit;
use stun_proto::types::attribute::{ErrorCode, Nonce};
use stun_proto::types::message::{
    BINDING, Message, MessageClass, MessageWriteVec, Method, TransactionId,
};
use stun_proto::types::prelude::{Attribute, AttributeFromRaw, AttributeStaticType, MessageWrite};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tracing::subscriber::{NoSubscriber, with_default};
use tracing::{debug, info};
use turn_server_proto::api::{SocketAllocateError, TurnServerApi, TurnServerPollRet};
use turn_server_proto::server::TurnServer as Inner;
use turn_types::attribute::XorPeerAddress;
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH, SEND};
use turn_types::{AddressFamily, TransportType};

use super::limits::{Bucket, Peers, Place, count};
use super::message::{self, Caller};
use super::relays::{Entry, own_addresses};
use super::{Line, MAX_MESSAGE, Shared};

/// A client that has an allocation, or is about to get one.
pub(super) struct Client {
    shared: Arc<Shared>,
    line: Line,
    caller: Caller,
    inner: Inner,
    /// The nonce that the inner server wants.
    nonce: String,
    /// One for each address family at most.
    relays: Vec<Relay>,
    peers: Peers,
    bucket: Option<Bucket>,
    /// The addresses of the machine when the client came.
    own: Vec<IpAddr>,
    /// What the last allocation was answered, for those who ask again because the answer was lost.
    allocated: Option<(TransactionId, Vec<u8>)>,
    began: Instant,
    _place: Place,
}

/// A socket that relays.
struct Relay {
    socket: UdpSocket,
    entry: Entry,
}

impl Client {
    /// A client that has come with valid credentials. None when the inner server does not do what it should.
    pub(super) fn new(
        shared: Arc<Shared>,
        line: Line,
        caller: Caller,
        place: Place,
    ) -> Option<Self> {
        let now = Instant::now();
        let realm = shared.door.realm().to_owned();
        let mut inner = Inner::new(TransportType::Udp, line.at, realm);
        let (username, password) = (caller.credentials.username(), caller.credentials.password());
        inner.add_user(username.to_owned(), password.to_owned());
        inner.set_nonce_expiry_duration(FOR_EVER);
        let nonce = nonce_of(&mut inner, &line)?;
        Some(Self {
            bucket: shared
                .config
                .limits
                .bandwidth
                .map(|rate| Bucket::new(rate, now)),
            own: own_addresses(&shared.config.public_ips),
            shared,
            line,
            caller,
            inner,
            nonce,
            relays: Vec::new(),
            peers: Peers::default(),
            allocated: None,
            began: now,
            _place: place,
        })
    }

    /// Serves the client from its first request on, until it has no allocation any more or its messages end.
    pub(super) async fn run(mut self, first: Vec<u8>, mut messages: mpsc::Receiver<Vec<u8>>) {
        // One byte more tells a datagram that is too long.
        let mut buffer = vec![0; MAX_MESSAGE + 1];
        self.on_message(first);
        loop {
            let deadline = self.drive();
            if self.relays.is_empty() {
                break;
            }
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.on_message(message),
                    None => break,
                },
                index = readable(&self.relays) => self.receive(index, &mut buffer),
                () = sleep_until(deadline.into()) => {}
            }
        }
        info!(client = %self.line.client, "a turn client is gone");
    }

    /// Takes a message of the client.
    fn on_message(&mut self, bytes: Vec<u8>) {
        let checked = match Message::from_bytes(&bytes) {
            Ok(message) if message.has_class(MessageClass::Request) => self.check(&message),
            Ok(message) if message.has_method(SEND) => Ok(None),
            Ok(_) => return,
            // Channel data, or nothing that the inner server knows either.
            Err(_) => Ok(None),
        };
        match checked {
            Ok(signed) => self.feed(signed.unwrap_or(bytes), self.line.client, self.line.at),
            Err(answer) => self.line.send(answer),
        }
    }

    /// Looks at a request. Gives it as the inner server wants it, or the answer.
    fn check(&mut self, request: &Message<'_>) -> Result<Option<Vec<u8>>, Option<Vec<u8>>> {
        if request.has_method(BINDING) {
            return Err(message::bound(request, self.line.client));
        }
        let now = Instant::now();
        let door = &self.shared.door;
        let caller = door
            .authenticate(request, self.line.client, Some(&self.caller), now)
            .inspect_err(|_| count(&self.shared.counters.challenged))?;
        if caller.credentials != self.caller.credentials {
            let code = ErrorCode::WRONG_CREDENTIALS;
            return Err(message::refusal(request, code, Some(&caller)));
        }
        if let Some((_, answer)) = self
            .allocated
            .as_ref()
            .filter(|(id, _)| request.has_method(ALLOCATE) && *id == request.transaction_id())
        {
            return Err(Some(answer.clone()));
        }
        if let Err(code) = self.permit(request, now) {
            return Err(message::refusal(request, code, Some(&self.caller)));
        }
        let signed = message::with_nonce(request, &self.nonce, &self.caller);
        signed.map(Some).ok_or(None)
    }

    /// Whether a request asks for what it may have. Otherwise the code of the refusal.
    fn permit(&mut self, request: &Message<'_>, now: Instant) -> Result<(), u16> {
        let method: Method = request.method();
        if method == ALLOCATE || method == REFRESH {
            return Ok(());
        }
        if method != CREATE_PERMISSION && method != CHANNEL_BIND {
            return Err(ErrorCode::BAD_REQUEST);
        }
        let limit = self.shared.config.limits.peers;
        let peers = message::signed(request).filter(|(_, a)| a.get_type() == XorPeerAddress::TYPE);
        for (_, attribute) in peers {
            let peer = XorPeerAddress::from_raw(attribute)
                .map_err(|_| ErrorCode::BAD_REQUEST)?
                .addr(request.transaction_id());
            if !self.may_permit(peer.ip()) {
                count(&self.shared.counters.forbidden);
                return Err(ErrorCode::FORBIDDEN);
            }
            let has_room = if method == CHANNEL_BIND {
                self.peers.bind(peer, limit, now)
            } else {
                self.peers.permit(peer.ip(), limit, now)
            };
            if !has_room {
                return Err(ErrorCode::INSUFFICIENT_CAPACITY);
            }
        }
        Ok(())
    }

    /// Whether there may be a peer at this address: a permitted one, or a neighbour that this server relays for.
    fn may_permit(&self, ip: IpAddr) -> bool {
        self.shared.config.peers.permits(ip, &self.own) || self.shared.relays.has_ip(ip)
    }

    fn may_relay(&self, peer: SocketAddr) -> bool {
        self.shared.config.peers.permits(peer.ip(), &self.own)
            || self.shared.relays.local_of(peer).is_some()
    }

    /// Gives bytes to the inner server, and sends what it makes of them.
    fn feed(&mut self, bytes: Vec<u8>, from: SocketAddr, to: SocketAddr) {
        let now = self.now();
        let received = Transmit::new(bytes, TransportType::Udp, from, to);
        if let Some(sent) = self.inner.recv(received, now) {
            self.send(sent.build());
        }
    }

    /// Sends to the client or to a peer.
    fn send(&mut self, transmit: Transmit<Vec<u8>>) {
        if transmit.from == self.line.at {
            self.note_allocation(&transmit.data);
            return self.line.send(Some(transmit.data));
        }
        if !self.may_relay(transmit.to) {
            count(&self.shared.counters.forbidden);
            debug!("a peer is forbidden");
            return;
        }
        if !self.take(transmit.data.len()) {
            return;
        }
        let to = self.shared.relays.local_of(transmit.to);
        let mut relays = self.relays.iter();
        if let Some(relay) = relays.find(|relay| relay.entry.shown() == transmit.from) {
            // A socket that is full loses datagrams, as on any path.
            let _ = relay
                .socket
                .try_send_to(&transmit.data, to.unwrap_or(transmit.to));
        }
    }

    fn note_allocation(&mut self, answer: &[u8]) {
        if let Ok(message) = Message::from_bytes(answer)
            && message.has_method(ALLOCATE)
            && message.has_class(MessageClass::Success)
        {
            self.allocated = Some((message.transaction_id(), answer.to_vec()));
        }
    }

    /// Takes what peers have sent, a bounded number of datagrams.
    fn receive(&mut self, index: usize, buffer: &mut [u8]) {
        for _ in 0..MAX_READS {
            let Some(relay) = self.relays.get(index) else {
                return;
            };
            let shown = relay.entry.shown();
            match relay.socket.try_recv_from(buffer) {
                Ok((count, _)) if count > MAX_MESSAGE => {}
                Ok((count, from)) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    self.on_datagram(bytes, from, shown);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // News of a datagram that did not arrive (ICMP).
                Err(_) => {}
            }
        }
    }

    fn on_datagram(&mut self, bytes: &[u8], from: SocketAddr, to: SocketAddr) {
        let from = self.shared.relays.shown_of(from, &self.own).unwrap_or(from);
        if !self.may_relay(from) {
            count(&self.shared.counters.forbidden);
            return;
        }
        if self.take(bytes.len()) {
            self.feed(bytes.to_vec(), from, to);
        }
    }

    /// Whether so many bytes may be relayed now.
    fn take(&mut self, bytes: usize) -> bool {
        let now = Instant::now();
        let may = self.bucket.as_mut().is_none_or(|b| b.take(bytes, now));
        if may {
            let relayed = &self.shared.counters.relayed;
            relayed.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        may
    }

    /// Does what the inner server asks. Gives when it has something to do again.
    fn drive(&mut self) -> Instant {
        loop {
            while let Some(transmit) = self.inner.poll_transmit(self.now()) {
                self.send(transmit);
            }
            match self.inner.poll(self.now()) {
                TurnServerPollRet::AllocateSocket {
                    transport,
                    listen_addr,
                    client_addr,
                    allocation_transport,
                    family,
                } => {
                    let allocated = self.allocate(family);
                    let now = self.now();
                    self.inner.allocated_socket(
                        transport,
                        listen_addr,
                        client_addr,
                        allocation_transport,
                        family,
                        allocated,
                        now,
                    );
                }
                TurnServerPollRet::SocketClose { listen_addr, .. } => {
                    self.relays
                        .retain(|relay| relay.entry.shown() != listen_addr);
                }
                // Of TCP to peers, which this server does not do.
                TurnServerPollRet::TcpConnect { .. } | TurnServerPollRet::TcpClose { .. } => {}
                TurnServerPollRet::WaitUntil(until) => {
                    let nanos = u64::try_from(until.as_nanos()).unwrap_or_default();
                    // What expires is over only after its last moment.
                    return self.began + Duration::from_nanos(nanos) + TICK;
                }
            }
        }
    }

    fn allocate(&mut self, family: AddressFamily) -> Result<SocketAddr, SocketAllocateError> {
        let is_v4 = family == AddressFamily::IPV4;
        let relayed = self
            .shared
            .relayed
            .iter()
            .find(|r| r.bind.is_ipv4() == is_v4);
        let relayed = relayed.ok_or(SocketAllocateError::AddressFamilyNotSupported)?;
        let bound = relayed.bind(&self.shared.config.ports);
        let socket = bound.map_err(|error| {
            debug!(%error, "no relay socket could be bound");
            SocketAllocateError::InsufficientCapacity
        })?;
        let local = socket
            .local_addr()
            .map_err(|_| SocketAllocateError::InsufficientCapacity)?;
        let shown = SocketAddr::new(relayed.shown, local.port());
        info!(client = %self.line.client, relay = %shown, "a turn client has an allocation");
        let entry = self.shared.relays.enter(shown, reached(local));
        self.relays.push(Relay { socket, entry });
        Ok(shown)
    }

    /// The time as the inner server counts it.
    fn now(&self) -> stun_proto::Instant {
        let nanos = i64::try_from(self.began.elapsed().as_nanos());
        stun_proto::Instant::from_nanos(nanos.unwrap_or(i64::MAX))
    }
}

/// The nonce that a server gives to a client that has none.
fn nonce_of(inner: &mut Inner, line: &Line) -> Option<String> {
    let request = Message::builder_request(ALLOCATE, MessageWriteVec::new()).finish();
    let received = Transmit::new(request, TransportType::Udp, line.client, line.at);
    // That it refuses is what is wanted, and it would log it as an error.
    let refusal = with_default(NoSubscriber::new(), || {
        inner.recv(received, stun_proto::Instant::ZERO)
    });
    let refusal = refusal?.build();
    let refusal = Message::from_bytes(&refusal.data).ok()?;
    let nonce = refusal.attribute::<Nonce>().ok()?;
    Some(nonce.nonce().to_owned())
}

/// Where this machine reaches a socket of its own.
fn reached(mut local: SocketAddr) -> SocketAddr {
    if local.ip().is_unspecified() {
        local.set_ip(match local.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    local
}

/// Waits until a relay has a datagram. Gives its index.
async fn readable(relays: &[Relay]) -> usize {
    poll_fn(|cx| {
        let ready = relays
            .iter()
            .position(|relay| relay.socket.poll_recv_ready(cx).is_ready());
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// The nonce of an inner server belongs to one client, which the door checks again and again.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// Datagrams taken from one relay in one turn.
const MAX_READS: usize = 64;
/// The least time between a deadline and the look at it.
const TICK: Duration = Duration::from_millis(1);
