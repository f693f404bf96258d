//! A NAT, and servers in the world outside it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::report::{Filtering, Mapping};
use crate::ice::stun::Outgoing;
use crate::ice::stun::message::build::{self, Success};

/// A NAT as RFC 4787 has it, or a firewall.
#[derive(Debug, Clone)]
pub(super) struct Nat {
    pub(super) mapping: Mapping,
    pub(super) filtering: Filtering,
    /// The outer address; `None` is a firewall, as this is for the other family.
    pub(super) ip: Option<IpAddr>,
    pub(super) hairpins: bool,
    pub(super) preserves_ports: bool,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    local: SocketAddr,
    /// What the mapping depends on.
    towards: (Option<IpAddr>, Option<u16>),
    outer: SocketAddr,
    sent_to: BTreeSet<SocketAddr>,
}

impl Nat {
    pub(super) fn new(mapping: Mapping, filtering: Filtering, ip: IpAddr) -> Self {
        Self {
            mapping,
            filtering,
            ip: Some(ip),
            hairpins: false,
            preserves_ports: false,
            entries: Vec::new(),
        }
    }

    /// Lets a datagram out, and says from where it comes outside.
    pub(super) fn outbound(&mut self, local: SocketAddr, remote: SocketAddr) -> SocketAddr {
        let (ip, port) = (remote.ip(), remote.port());
        let towards = match self.mapping {
            Mapping::EndpointIndependent => (None, None),
            Mapping::AddressDependent => (Some(ip), None),
            Mapping::AddressAndPortDependent => (Some(ip), Some(port)),
        };
        let is_this = |e: &Entry| e.local == local && e.towards == towards;
        let at = self.entries.iter().position(is_this).unwrap_or_else(|| {
            let outer = self.allocate(local);
            self.entries.push(Entry {
                local,
                towards,
                outer,
                sent_to: BTreeSet::new(),
            });
            self.entries.len() - 1
        });
        self.entries[at].sent_to.insert(remote);
        self.entries[at].outer
    }

    /// To which socket a datagram comes, if it is let in.
    pub(super) fn inbound(&self, outer: SocketAddr, remote: SocketAddr) -> Option<SocketAddr> {
        let entry = self.entries.iter().find(|e| e.outer == outer)?;
        let mut sent_to = entry.sent_to.iter();
        let passes = match self.filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => sent_to.any(|to| to.ip() == remote.ip()),
            Filtering::AddressAndPortDependent => sent_to.any(|to| *to == remote),
        };
        passes.then_some(entry.local)
    }

    fn allocate(&self, local: SocketAddr) -> SocketAddr {
        let Some(ip) = self.ip.filter(|ip| ip.is_ipv4() == local.is_ipv4()) else {
            return local;
        };
        let same = SocketAddr::new(ip, local.port());
        let is_free = self.entries.iter().all(|e| e.outer != same);
        if self.preserves_ports && is_free {
            return same;
        }
        let number = u16::try_from(self.entries.len()).expect("few");
        SocketAddr::new(ip, 20_000 + number)
    }
}

/// A server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) other: Option<SocketAddr>,
    pub(super) manner: Manner,
}

/// How a server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// As RFC 5780 section 6 has it.
    Right,
    /// It answers nothing.
    Silent,
    /// It answers with this error.
    Refuses(u16),
    /// It answers a CHANGE-REQUEST from where it was asked.
    IgnoresChange,
    /// It does so when only another port is wanted.
    IgnoresPort,
    /// It answers a CHANGE-REQUEST with an error.
    RefusesChange,
    /// Nobody answers at its other IP address, nor from there.
    OtherIsDead,
    /// It says that it sees this address.
    Claims(SocketAddr),
}

impl Server {
    /// The answer to a request that came from `source` to `at`, and from where it comes.
    fn answer(
        &self,
        at: SocketAddr,
        source: SocketAddr,
        request: &[u8],
    ) -> Option<(SocketAddr, Vec<u8>)> {
        let other = self.other.unwrap_or(self.address);
        let listens_at = |address: SocketAddr| {
            [self.address.ip(), other.ip()].contains(&address.ip())
                && [self.address.port(), other.port()].contains(&address.port())
        };
        if !listens_at(at) {
            return None;
        }
        let change = build::change_of(request);
        let is_change = change.ip || change.port;
        let (mut ip, mut port) = (at.ip(), at.port());
        let is_ignored = match self.manner {
            Manner::IgnoresChange => true,
            Manner::IgnoresPort => !change.ip,
            _ => false,
        };
        if change.ip && !is_ignored {
            ip = opposite(ip, self.address.ip(), other.ip());
        }
        if change.port && !is_ignored {
            port = opposite(port, self.address.port(), other.port());
        }
        let from = SocketAddr::new(ip, port);
        let success = |mapped| Success {
            xor_mapped: Some(mapped),
            origin: Some(from),
            other: self.other,
            ..Success::default()
        };
        match self.manner {
            Manner::Silent => None,
            Manner::Refuses(code) => Some((at, build::error(request, code))),
            Manner::RefusesChange if is_change => Some((at, build::error(request, 420))),
            Manner::OtherIsDead if at.ip() == other.ip() || ip == other.ip() => None,
            Manner::Claims(mapped) => Some((from, build::success(request, &success(mapped)))),
            Manner::Right
            | Manner::IgnoresChange
            | Manner::IgnoresPort
            | Manner::RefusesChange
            | Manner::OtherIsDead => Some((from, build::success(request, &success(source)))),
        }
    }
}

/// The one of two that `value` is not.
fn opposite<T: PartialEq>(value: T, first: T, second: T) -> T {
    if value == first { second } else { first }
}

/// A host's NAT and the servers outside.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) nat: Nat,
    pub(super) servers: Vec<Server>,
}

/// What comes to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) contents: Vec<u8>,
}

impl World {
    /// What a datagram of the host brings back.
    pub(super) fn carry(&mut self, sent: &Outgoing) -> Option<Incoming> {
        let to = sent.destination;
        let source = self.nat.outbound(sent.source, to);
        if self.nat.ip == Some(to.ip()) {
            let local = self.nat.inbound(to, source)?;
            return self.nat.hairpins.then(|| Incoming {
                local,
                remote: source,
                contents: sent.contents.clone(),
            });
        }
        let mut answers = self.servers.iter();
        let (remote, contents) = answers.find_map(|s| s.answer(to, source, &sent.contents))?;
        let local = self.nat.inbound(source, remote)?;
        Some(Incoming {
            local,
            remote,
            contents,
        })
    }
}
