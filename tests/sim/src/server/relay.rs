//! The allocations of a server: turn-server-proto behind one listening address for each family and transport.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use turn_server_proto::api::{
    SocketAllocateError, TcpConnectError, TurnServerApi as _, TurnServerPollRet,
};
use turn_server_proto::server::TurnServer;
use turn_server_proto::stun::Instant;
use turn_server_proto::stun::agent::Transmit;
use turn_server_proto::types::{AddressFamily, TransportType};

use super::{Over, Way};
use crate::rng::Stream;
use crate::time::Time;

/// What comes out of it.
#[derive(Debug)]
pub(super) enum Relayed {
    /// Bytes from one of the server's addresses to somebody.
    Sent(Way, Vec<u8>),
    /// A relay socket was opened.
    Opened(SocketAddr),
    /// A relay socket was closed.
    Closed(SocketAddr),
}

/// The allocations of a server.
#[derive(Debug)]
pub(super) struct Relay {
    listeners: Vec<TurnServer>,
    /// The relay sockets, and whose they are.
    sockets: BTreeMap<SocketAddr, usize>,
    max_allocations: usize,
    /// Draws the ports of relay sockets.
    stream: Stream,
    deadline: Option<Time>,
}

impl Relay {
    pub(super) fn new(
        listen: &[SocketAddr],
        realm: &str,
        max_allocations: usize,
        stream: Stream,
    ) -> Self {
        let transports = [TransportType::Udp, TransportType::Tcp];
        let listeners = listen.iter().flat_map(|address| {
            transports.map(|transport| TurnServer::new(transport, *address, realm.to_owned()))
        });
        Self {
            listeners: listeners.collect(),
            sockets: BTreeMap::new(),
            max_allocations,
            stream,
            deadline: None,
        }
    }

    /// Somebody may use it from now on.
    pub(super) fn add_user(&mut self, name: &str, password: &str) {
        for listener in &mut self.listeners {
            listener.add_user(name.to_owned(), password.to_owned());
        }
    }

    /// Whether an address is a relay socket.
    pub(super) fn has_socket(&self, address: SocketAddr) -> bool {
        self.sockets.contains_key(&address)
    }

    /// All relay sockets.
    pub(super) fn sockets(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.sockets.keys().copied()
    }

    /// When it must be woken next.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Something came: `way` is from a client or peer to an address of the server.
    pub(super) fn handle(&mut self, way: Way, bytes: &[u8], now: Time) -> Vec<Relayed> {
        let place = self.sockets.get(&way.to).copied();
        let place = place.or_else(|| {
            let is_meant = |l: &TurnServer| {
                l.listen_address() == way.to && l.transport() == transport(way.over)
            };
            self.listeners.iter().position(is_meant)
        });
        let mut out = Vec::new();
        if let Some(listener) = place.and_then(|place| self.listeners.get_mut(place)) {
            let transmit = Transmit::new(bytes.to_vec(), transport(way.over), way.from, way.to);
            let answer = listener.recv(transmit, instant(now));
            out.extend(answer.map(|answer| sent(answer.build())));
        }
        self.drain(now, &mut out);
        out
    }

    /// Time has passed.
    pub(super) fn on_timeout(&mut self, now: Time) -> Vec<Relayed> {
        let mut out = Vec::new();
        self.drain(now, &mut out);
        out
    }

    fn drain(&mut self, now: Time, out: &mut Vec<Relayed>) {
        let mut deadline = Time::NEVER;
        for place in 0..self.listeners.len() {
            let wait = loop {
                match self.listeners[place].poll(instant(now)) {
                    TurnServerPollRet::WaitUntil(at) => break at,
                    wish => self.grant(place, wish, now, out),
                }
            };
            while let Some(transmit) = self.listeners[place].poll_transmit(instant(now)) {
                out.push(sent(transmit));
            }
            deadline = deadline.min(time(wait));
        }
        // It waits for an hour when it has nothing to do, and for the present at the moment at which something ends.
        let soon = now.after(std::time::Duration::from_millis(1));
        self.deadline = (!self.sockets.is_empty()).then_some(deadline.max(soon));
    }

    fn grant(&mut self, place: usize, wish: TurnServerPollRet, now: Time, out: &mut Vec<Relayed>) {
        match wish {
            TurnServerPollRet::AllocateSocket {
                transport,
                listen_addr,
                client_addr,
                allocation_transport,
                family,
            } => {
                let socket = self.open(place, listen_addr.ip(), allocation_transport, family);
                out.extend(socket.ok().map(Relayed::Opened));
                self.listeners[place].allocated_socket(
                    transport,
                    listen_addr,
                    client_addr,
                    allocation_transport,
                    family,
                    socket,
                    instant(now),
                );
            }
            TurnServerPollRet::TcpConnect {
                relayed_addr,
                peer_addr,
                listen_addr,
                client_addr,
            } => {
                let refusal = Err(TcpConnectError::Forbidden);
                self.listeners[place].tcp_connected(
                    relayed_addr,
                    peer_addr,
                    listen_addr,
                    client_addr,
                    refusal,
                    instant(now),
                );
            }
            TurnServerPollRet::SocketClose { listen_addr, .. } => {
                if self.sockets.remove(&listen_addr).is_some() {
                    out.push(Relayed::Closed(listen_addr));
                }
            }
            // Connections to peers are never made, so none is closed.
            TurnServerPollRet::TcpClose { .. } | TurnServerPollRet::WaitUntil(_) => {}
        }
    }

    /// A relay socket of `family`, which must be the one that the server listens on.
    fn open(
        &mut self,
        place: usize,
        ip: IpAddr,
        transport: TransportType,
        family: AddressFamily,
    ) -> Result<SocketAddr, SocketAllocateError> {
        let wanted = match family {
            AddressFamily::IPV4 => IpAddr::is_ipv4,
            AddressFamily::IPV6 => IpAddr::is_ipv6,
        };
        let listens =
            |l: &TurnServer| wanted(&l.listen_address().ip()).then(|| l.listen_address().ip());
        let other = self.listeners.iter().find_map(listens);
        let ip = if wanted(&ip) { Some(ip) } else { other };
        let ip = ip.ok_or(SocketAllocateError::AddressFamilyNotSupported)?;
        if self.sockets.len() >= self.max_allocations || transport != TransportType::Udp {
            return Err(SocketAllocateError::InsufficientCapacity);
        }
        let drawn = self.stream.below(u64::from(RELAY_PORTS));
        let drawn = u16::try_from(drawn).unwrap_or_default();
        let port = |tried: u16| FIRST_RELAY_PORT + (drawn + tried) % RELAY_PORTS;
        let socket = (0..RELAY_PORTS)
            .map(|tried| SocketAddr::new(ip, port(tried)))
            .find(|socket| !self.sockets.contains_key(socket))
            .ok_or(SocketAllocateError::InsufficientCapacity)?;
        self.sockets.insert(socket, place);
        Ok(socket)
    }
}

fn sent(transmit: Transmit<Vec<u8>>) -> Relayed {
    let way = Way {
        over: match transmit.transport {
            TransportType::Udp => Over::Datagrams,
            TransportType::Tcp => Over::Streams,
        },
        from: transmit.from,
        to: transmit.to,
    };
    Relayed::Sent(way, transmit.data)
}

fn transport(over: Over) -> TransportType {
    match over {
        Over::Datagrams => TransportType::Udp,
        Over::Streams => TransportType::Tcp,
    }
}

fn instant(time: Time) -> Instant {
    Instant::from_nanos(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}

fn time(instant: Instant) -> Time {
    Time::ZERO.after(instant.saturating_duration_since(Instant::ZERO))
}

/// Relay sockets have the dynamic ports (RFC 8656 §7.2).
const FIRST_RELAY_PORT: u16 = 49_152;
/// How many there are for an address.
const RELAY_PORTS: u16 = 16_384;
