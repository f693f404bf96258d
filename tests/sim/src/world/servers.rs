//! The servers of a world: when they are woken, and what becomes of what they say.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::marks::Marks;
use crate::net::{Datagram, HostId, embed_ip};
use crate::server::{Misbehaviour, Moment, Out, Server, ServerId};
use crate::time::Time;

use super::{Item, World};

/// What was written to a stream of a server's client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOutput {
    /// The client.
    pub client: SocketAddr,
    /// The address of the server.
    pub listener: SocketAddr,
    /// The bytes; `None` when the server hung up.
    pub bytes: Option<Vec<u8>>,
}

/// What leaves a server late.
#[derive(Debug)]
pub(super) struct Late {
    server: ServerId,
    tuple: (SocketAddr, SocketAddr),
    contents: Vec<u8>,
}

/// A server and its host.
#[derive(Debug)]
pub(super) struct ServerHost {
    server: Server,
    host: HostId,
    /// What nobody has taken yet.
    streams: Vec<StreamOutput>,
    /// Who has written to its relay sockets, and so is known to those for whom it relays.
    heard: BTreeSet<SocketAddr>,
}

impl ServerHost {
    pub(super) fn new(server: Server, host: HostId) -> Self {
        Self {
            server,
            host,
            streams: Vec::new(),
            heard: BTreeSet::new(),
        }
    }

    /// What it did of the fault menu.
    pub(super) fn marks(&self) -> Marks {
        self.server.marks()
    }

    /// When it must be woken next.
    pub(super) fn next_wakeup(&self) -> Option<Time> {
        self.server.poll_timeout()
    }
}

impl World {
    /// The number of a server.
    ///
    /// # Panics
    ///
    /// When there is none of this name.
    #[must_use]
    pub fn server(&self, name: &str) -> ServerId {
        let mut servers = self.servers.iter();
        let server = servers.position(|at| at.server.name() == name);
        server.expect("a server of this name was added")
    }

    /// The host of a server, as links name it: servers come after all peers.
    #[must_use]
    pub fn server_host(&self, server: ServerId) -> HostId {
        self.servers[server].host
    }

    /// Where a server listens: for each family, the first address with the ports 3478, where it serves TURN, too, and
    /// 3479, and then the second one with the same.
    #[must_use]
    pub fn server_addresses(&self, server: ServerId) -> &[SocketAddr] {
        self.servers[server].server.addresses()
    }

    /// How many servers there are.
    #[must_use]
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// How many relay sockets a server has.
    #[must_use]
    pub fn allocations(&self, server: ServerId) -> usize {
        self.servers[server].server.allocations()
    }

    /// A user name and a password for TURN that are good for `ttl` by the wall clock of the world, from a server that has
    /// a [secret](crate::ServerSpec::rest_secret); `None` from others.
    pub fn mint(
        &mut self,
        server: ServerId,
        user: &str,
        ttl: Duration,
    ) -> Option<(String, String)> {
        let expires = self.moment().unix + ttl.as_secs();
        self.servers[server].server.mint(user, expires)
    }

    /// A server misbehaves from now on, or no longer.
    pub fn misbehave(&mut self, server: ServerId, how: Option<Misbehaviour>) {
        self.servers[server].server.misbehave(how);
    }

    /// A server crashes, and with it all allocations.
    pub fn crash_server(&mut self, server: ServerId) {
        for socket in self.servers[server].server.crash() {
            self.network.detach(socket);
        }
    }

    /// A server that has crashed starts, and knows of nothing.
    pub fn start_server(&mut self, server: ServerId) {
        self.servers[server].server.start();
    }

    /// Bytes come over a stream from `client` to one of the addresses of a server, torn anywhere. What the server writes
    /// is in [`World::take_streams`].
    pub fn handle_stream(
        &mut self,
        server: ServerId,
        (client, listener): (SocketAddr, SocketAddr),
        bytes: &[u8],
    ) {
        let moment = self.moment();
        let at = &mut self.servers[server];
        let out = at.server.handle_stream((client, listener), bytes, moment);
        self.dispatch_server(server, out);
    }

    /// The stream from `client` to one of the addresses of a server ends.
    pub fn end_stream(&mut self, server: ServerId, (client, listener): (SocketAddr, SocketAddr)) {
        let moment = self.moment();
        let at = &mut self.servers[server];
        let out = at.server.handle_hangup((client, listener), moment);
        self.dispatch_server(server, out);
    }

    /// Takes what a server has written to the streams of its clients.
    pub fn take_streams(&mut self, server: ServerId) -> Vec<StreamOutput> {
        std::mem::take(&mut self.servers[server].streams)
    }

    /// Whether a server listens on what a host names so.
    pub(super) fn is_server(&self, host: HostId, address: SocketAddr) -> bool {
        if self.servers.is_empty() {
            return false;
        }
        let address = self.network.outer(host, address);
        let mut servers = self.servers.iter();
        servers.any(|at| at.server.addresses().contains(&address))
    }

    /// Whether somebody has been heard by a relay.
    pub(super) fn is_relayed(&self, address: SocketAddr) -> bool {
        self.servers.iter().any(|at| at.heard.contains(&address))
    }

    /// The server that listens on an address and is up.
    pub(super) fn server_at(&self, address: SocketAddr) -> Option<ServerId> {
        self.servers
            .iter()
            .position(|at| at.server.is_up() && at.server.addresses().contains(&address))
    }

    /// The addresses of the server of this name, `<name>.example`, as a host is told them. Behind a NAT64, one that has
    /// none of IPv6 is given one that embeds the one of IPv4 (DNS64, RFC 6147 section 5.1.6).
    pub(super) fn lookup(&self, host: HostId, name: &str) -> Vec<IpAddr> {
        let Some(name) = name.strip_suffix(".example") else {
            return Vec::new();
        };
        let named = self.servers.iter().filter(|at| at.server.name() == name);
        // Of each family the first address: the second is for RFC 5780.
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in named.flat_map(|at| at.server.addresses()) {
            if addresses
                .iter()
                .all(|known| known.is_ipv4() != address.is_ipv4())
            {
                addresses.push(address.ip());
            }
        }
        if addresses.iter().all(IpAddr::is_ipv4) && self.network.is_behind_nat64(host) {
            let embedded: Vec<_> = addresses.iter().copied().map(embed_ip).collect();
            addresses.extend(embedded);
        }
        addresses
    }

    /// The server on a host that is not a peer's.
    pub(super) fn server_on(&self, host: HostId) -> Option<ServerId> {
        host.checked_sub(self.nodes.len())
    }

    pub(super) fn on_datagram_to_server(&mut self, server: ServerId, datagram: Datagram) {
        let up = self.servers[server].server.is_up();
        let Some(datagram) = self.network.arrive(datagram, up) else {
            return;
        };
        let tuple = (datagram.source, datagram.destination);
        let moment = self.moment();
        let at = &mut self.servers[server];
        if !at.server.addresses().contains(&datagram.destination) {
            at.heard.insert(datagram.source);
        }
        let out = at.server.handle_datagram(tuple, &datagram.contents, moment);
        self.network.recycle(datagram);
        self.dispatch_server(server, out);
    }

    /// Wakes the servers that are due.
    pub(super) fn wake_servers(&mut self, now: Time) {
        for server in 0..self.servers.len() {
            let wakeup = self.servers[server].next_wakeup();
            if wakeup.is_some_and(|at| at <= now) {
                let moment = self.moment();
                let out = self.servers[server].server.handle_timeout(moment);
                self.dispatch_server(server, out);
            }
        }
    }

    /// What left a server late is on its way, unless the server is down.
    pub(super) fn on_late(&mut self, late: &Late) {
        if self.servers[late.server].server.is_up() {
            self.send_from_server(late.server, late.tuple, &late.contents);
        }
    }

    /// All servers run and behave.
    pub(super) fn heal_servers(&mut self) {
        for at in &mut self.servers {
            at.server.misbehave(None);
            at.server.start();
        }
    }

    fn dispatch_server(&mut self, server: ServerId, out: Vec<Out>) {
        for item in out {
            match item {
                Out::Datagram {
                    source,
                    destination,
                    contents,
                    after,
                } => {
                    let tuple = (source, destination);
                    if after.is_zero() {
                        self.send_from_server(server, tuple, &contents);
                        continue;
                    }
                    let late = Late {
                        server,
                        tuple,
                        contents,
                    };
                    let at = self.clock.now().after(after);
                    self.queue.push(at, Item::Late(late));
                }
                Out::Stream { way, bytes } => {
                    self.write_stream(server, (way.to, way.from), Some(bytes));
                }
                Out::Hangup { way } => self.write_stream(server, (way.to, way.from), None),
                Out::Opened(socket) => self.network.attach(self.servers[server].host, socket),
                Out::Closed(socket) => self.network.detach(socket),
            }
        }
    }

    /// To an endpoint, or to whoever plays a client by hand.
    fn write_stream(
        &mut self,
        server: ServerId,
        (client, listener): (SocketAddr, SocketAddr),
        bytes: Option<Vec<u8>>,
    ) {
        if !self.on_server_stream(client, bytes.as_deref()) {
            self.servers[server].streams.push(StreamOutput {
                client,
                listener,
                bytes,
            });
        }
    }

    fn send_from_server(
        &mut self,
        server: ServerId,
        tuple: (SocketAddr, SocketAddr),
        contents: &[u8],
    ) {
        let host = self.servers[server].host;
        let fate = self.network.send(host, tuple, contents, self.clock.now());
        self.dispatch(host, contents, fate);
        if !self.attackers.is_empty() {
            self.overhear_datagram(tuple, contents);
        }
    }

    fn moment(&self) -> Moment {
        let now = self.clock.now();
        let passed = u64::try_from(now.since(Time::ZERO).as_millis()).unwrap_or(u64::MAX);
        Moment {
            now,
            unix: self.unix_millis.saturating_add(passed) / 1_000,
        }
    }
}
