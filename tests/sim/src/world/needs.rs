//! What the core asks of its embedder, on simulated hosts: names, sockets and connections.
//!
//! The name of a server is `<name>.example`. A host that hides its addresses has a name in `.local`, by which multicast DNS finds it in
//! its own network. Connections are made to servers only; they lose nothing and keep the order,
//! and every write arrives torn in two. A host that is behind a box has an address of its own on connections, as
//! translation is nothing that a stream could show.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bowline::{Input, Need, NeedId};

use crate::net::HostId;
use crate::server::ServerId;

use super::{Item, World};

/// The answers and bytes that are on their way to a host.
#[derive(Debug)]
pub(super) enum Reply {
    Resolved(Vec<IpAddr>),
    Bound(SocketAddr),
    Opened(SocketAddr),
    Data(Vec<u8>),
    Closed,
}

/// What a host has open for its endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) enum Open {
    Socket(SocketAddr),
    Stream {
        server: ServerId,
        client: SocketAddr,
        listener: SocketAddr,
    },
}

/// What all hosts have open, and the ports that they took for it.
#[derive(Debug, Default)]
pub(super) struct Needs {
    open: BTreeMap<(HostId, NeedId), Open>,
    /// By the client's side of a connection.
    streams: BTreeMap<SocketAddr, (HostId, NeedId)>,
    ports: u16,
}

impl Needs {
    fn port(&mut self) -> u16 {
        self.ports += 1;
        FIRST_PORT + self.ports
    }
}

impl World {
    /// Does what the endpoint of a host needs, or lets it be done a moment later.
    pub(super) fn on_need(&mut self, host: HostId, need: Need) {
        match need {
            Need::Resolve { need, host: name } => {
                let addresses = match self.host_named(&name) {
                    Some(named) => self.multicast_lookup(host, named),
                    None => self.lookup(host, &name),
                };
                self.reply(host, need, Reply::Resolved(addresses), LOOKUP);
            }
            Need::Bind { need, ip } => {
                let local = SocketAddr::new(ip, self.needs.port());
                self.network.attach(host, local);
                self.needs.open.insert((host, need), Open::Socket(local));
                self.reply(host, need, Reply::Bound(local), Duration::ZERO);
            }
            Need::Connect { need, remote, .. } => self.connect_stream(host, need, remote),
            Need::Close { need } => {
                self.watch_close(host, need);
                self.close_need(host, need);
            }
            // The enum may grow: what is not known here stays unanswered.
            _ => {}
        }
    }

    /// Bytes that the endpoint of a host sends on a connection.
    pub(super) fn on_stream_output(&mut self, host: HostId, need: NeedId, contents: &[u8]) {
        let cut = contents.len() / 3;
        for part in [&contents[..cut], &contents[cut..]] {
            if !part.is_empty() {
                let at = self.clock.now().after(STREAM_LATENCY);
                let part = part.to_vec();
                self.queue.push(at, Item::ToServer(host, need, part));
            }
        }
    }

    /// Bytes of a connection arrive at its server.
    pub(super) fn on_stream_input(&mut self, host: HostId, need: NeedId, bytes: &[u8]) {
        if let Some(Open::Stream {
            server,
            client,
            listener,
        }) = self.needs.open.get(&(host, need)).copied()
        {
            self.handle_stream(server, (client, listener), bytes);
        }
    }

    /// What a server wrote to a connection of a host is on its way; `None`: the server has closed it.
    pub(super) fn on_server_stream(&mut self, client: SocketAddr, bytes: Option<&[u8]>) -> bool {
        let Some((host, need)) = self.needs.streams.get(&client).copied() else {
            return false;
        };
        match bytes {
            Some(bytes) => {
                let cut = bytes.len() / 3;
                for part in [&bytes[..cut], &bytes[cut..]] {
                    self.reply(host, need, Reply::Data(part.to_vec()), STREAM_LATENCY);
                }
            }
            None => {
                self.needs.streams.remove(&client);
                self.reply(host, need, Reply::Closed, STREAM_LATENCY);
            }
        }
        true
    }

    /// An answer arrives, unless nobody waits for it any more.
    pub(super) fn on_reply(&mut self, host: HostId, need: NeedId, reply: Reply) {
        let is_open = self.needs.open.contains_key(&(host, need));
        match reply {
            Reply::Resolved(addresses) => {
                let addresses = addresses.as_slice();
                self.input(host, Input::Resolved { need, addresses });
            }
            Reply::Bound(local) if is_open => {
                let local = Some(local);
                self.input(host, Input::Bound { need, local });
            }
            Reply::Opened(local) if is_open => {
                self.input(host, Input::StreamOpened { need, local });
            }
            Reply::Data(contents) if is_open => {
                let contents = contents.as_slice();
                self.input(host, Input::StreamData { need, contents });
            }
            Reply::Closed => {
                self.needs.open.remove(&(host, need));
                self.input(host, Input::StreamClosed { need });
            }
            Reply::Bound(_) | Reply::Opened(_) | Reply::Data(_) => {}
        }
    }

    /// The endpoint of a host is gone, and what it had open with it.
    pub(super) fn forget_needs(&mut self, host: HostId) {
        let keys: Vec<NeedId> = self
            .needs
            .open
            .keys()
            .filter(|(owner, _)| *owner == host)
            .map(|(_, need)| *need)
            .collect();
        for need in keys {
            self.close_need(host, need);
        }
    }

    /// The text of a signal, with the name of its sender in place of its addresses if it hides them.
    pub(super) fn hide_addresses(&self, host: HostId, text: String) -> String {
        let node = &self.nodes[host];
        if !node.spec.hidden {
            return text;
        }
        let name = format!(" {} ", local_name(host));
        let addresses = node.addresses.iter();
        addresses.fold(text, |text, address| {
            text.replace(&format!(" {} ", address.ip()), &name)
        })
    }

    /// The host that hides behind a name.
    fn host_named(&self, name: &str) -> Option<HostId> {
        (0..self.nodes.len())
            .find(|host| self.nodes[*host].spec.hidden && name == local_name(*host))
    }

    /// The addresses that `asker` finds for the name of a host: none from another network.
    fn multicast_lookup(&self, asker: HostId, named: HostId) -> Vec<IpAddr> {
        if self.nodes[asker].spec.behind != self.nodes[named].spec.behind {
            return Vec::new();
        }
        let addresses = self.nodes[named].addresses.iter();
        addresses.map(SocketAddr::ip).collect()
    }

    fn connect_stream(&mut self, host: HostId, need: NeedId, remote: SocketAddr) {
        let local = SocketAddr::new(self.nodes[host].addresses[0].ip(), self.needs.port());
        // Hosts in different networks may have the same address: the port tells them apart.
        let listener = self.network.outer(host, remote);
        match self.server_at(listener) {
            Some(server) => {
                let open = Open::Stream {
                    server,
                    client: local,
                    listener,
                };
                self.needs.open.insert((host, need), open);
                self.needs.streams.insert(local, (host, need));
                self.reply(host, need, Reply::Opened(local), STREAM_LATENCY * 2);
            }
            None => self.reply(host, need, Reply::Closed, STREAM_LATENCY * 2),
        }
    }

    /// What is lost with its interface cannot be given back.
    fn watch_close(&mut self, host: HostId, need: NeedId) {
        let node = &mut self.nodes[host];
        if let Some(Open::Socket(local)) = self.needs.open.get(&(host, need))
            && node.addresses.iter().any(|known| known.ip() == local.ip())
        {
            node.relays.on_closed(*local, &mut self.findings);
        }
    }

    fn close_need(&mut self, host: HostId, need: NeedId) {
        match self.needs.open.remove(&(host, need)) {
            Some(Open::Socket(local)) => self.network.detach_from(host, local),
            Some(Open::Stream {
                server,
                client,
                listener,
            }) => {
                self.needs.streams.remove(&client);
                self.end_stream(server, (client, listener));
            }
            None => {}
        }
    }

    fn reply(&mut self, host: HostId, need: NeedId, reply: Reply, after: Duration) {
        let at = self.clock.now().after(after);
        self.queue.push(at, Item::Reply(host, need, reply));
    }
}

/// The name behind which a host hides its addresses.
fn local_name(host: HostId) -> String {
    format!("00000000-0000-4000-8000-{host:012x}.local")
}

/// How long a name takes to be resolved.
const LOOKUP: Duration = Duration::from_millis(15);
/// How long bytes of a connection are on their way.
const STREAM_LATENCY: Duration = Duration::from_millis(10);
/// Below are the ports of announced sockets.
const FIRST_PORT: u16 = 10_000;
