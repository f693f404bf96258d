//! The mappings of a box, by their outside ports.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::net::accounts::DropCause;
use crate::rng::Stream;
use crate::time::Time;

use super::config::{Mapping, NatConfig, Ports};
use super::contacts::Contacts;

/// The mappings of a box.
#[derive(Debug)]
pub(super) struct Table {
    entries: BTreeMap<u16, Entry>,
    ports: BTreeMap<Key, u16>,
    /// Draws random ports.
    stream: Stream,
    /// The port that was given out last.
    last: u16,
    /// Added to ports that are preserved. Even, so that their parity is kept.
    shift: u16,
    /// Whether a mapping was used again after its end.
    pub(super) expired: bool,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    used: Time,
    contacts: Contacts,
}

/// What has a port of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    inside: SocketAddr,
    toward: Toward,
}

/// To whom a mapping is restricted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Toward {
    Anybody,
    Address(IpAddr),
    Endpoint(SocketAddr),
}

impl Table {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            entries: BTreeMap::new(),
            ports: BTreeMap::new(),
            stream,
            last: FIRST - 1,
            shift: 0,
            expired: false,
        }
    }

    /// Loses all mappings. The ones that follow get other ports.
    pub(super) fn reboot(&mut self) {
        self.entries.clear();
        self.ports.clear();
        self.shift = self.shift.wrapping_add(SHIFT);
    }

    /// The outside port for a datagram from `inside` to `remote`.
    pub(super) fn outward(
        &mut self,
        config: &NatConfig,
        inside: SocketAddr,
        remote: SocketAddr,
        now: Time,
    ) -> Result<u16, DropCause> {
        let key = Key::new(config.mapping, inside, remote);
        let port = match self.ports.get(&key) {
            Some(port) if self.is_alive(config, *port, now) => *port,
            known => {
                self.expired |= known.is_some();
                self.open(config, key, now)?
            }
        };
        if let Some(entry) = self.entries.get_mut(&port) {
            entry.used = now;
            entry.contacts.touch(remote, now);
        }
        Ok(port)
    }

    /// The inside address for a datagram from `remote` to `port`.
    pub(super) fn inward(
        &mut self,
        config: &NatConfig,
        port: u16,
        remote: SocketAddr,
        now: Time,
    ) -> Result<SocketAddr, DropCause> {
        let inside = self.inside(config, port, now).ok_or(DropCause::NoMapping)?;
        let entry = self.entries.get_mut(&port).ok_or(DropCause::NoMapping)?;
        let allowed = entry
            .contacts
            .allow(config.filtering, remote, now, config.expiry);
        if !allowed {
            return Err(DropCause::NatFilter);
        }
        if config.inbound_refresh {
            entry.used = now;
            entry.contacts.touch(remote, now);
        }
        Ok(inside)
    }

    /// The inside address that has `port` now.
    pub(super) fn inside(&self, config: &NatConfig, port: u16, now: Time) -> Option<SocketAddr> {
        let entry = self.entries.get(&port)?;
        (now.since(entry.used) < config.expiry).then_some(entry.key.inside)
    }

    /// How many mappings are alive.
    pub(super) fn alive(&self, config: &NatConfig, now: Time) -> usize {
        let ports = self.entries.keys();
        ports
            .filter(|port| self.is_alive(config, **port, now))
            .count()
    }

    fn is_alive(&self, config: &NatConfig, port: u16, now: Time) -> bool {
        self.inside(config, port, now).is_some()
    }

    fn open(&mut self, config: &NatConfig, key: Key, now: Time) -> Result<u16, DropCause> {
        self.close(&key);
        if self.entries.len() >= config.max_mappings {
            self.purge(config, now);
        }
        if self.entries.len() >= config.max_mappings {
            return Err(DropCause::NatPorts);
        }
        let port = self
            .free_port(config, key.inside.port(), now)
            .ok_or(DropCause::NatPorts)?;
        if let Some(dead) = self.entries.get(&port).map(|entry| entry.key) {
            self.close(&dead);
        }
        self.last = port;
        self.ports.insert(key, port);
        let contacts = Contacts::default();
        self.entries.insert(
            port,
            Entry {
                key,
                used: now,
                contacts,
            },
        );
        Ok(port)
    }

    fn close(&mut self, key: &Key) {
        if let Some(port) = self.ports.remove(key) {
            self.entries.remove(&port);
        }
    }

    fn purge(&mut self, config: &NatConfig, now: Time) {
        self.entries
            .retain(|_, entry| now.since(entry.used) < config.expiry);
        let entries = &self.entries;
        self.ports.retain(|_, port| entries.contains_key(port));
    }

    /// The first free port from where the search begins, all ports tried once.
    fn free_port(&mut self, config: &NatConfig, inside: u16, now: Time) -> Option<u16> {
        let (start, step) = match config.ports {
            Ports::Preserve => (u32::from(inside) + u32::from(self.shift), 1),
            Ports::Parity => (self.draw() & !1 | u32::from(inside & 1), 2),
            Ports::Random => (self.draw(), 1),
            Ports::Sequential => (u32::from(self.last) + 1, 1),
        };
        (0..u32::from(COUNT))
            .map(|tried| wrap(start + tried * step))
            .find(|port| !self.is_alive(config, *port, now))
    }

    fn draw(&mut self) -> u32 {
        let above = self.stream.below(u64::from(COUNT));
        u32::from(FIRST) + u32::try_from(above).unwrap_or_default()
    }
}

impl Key {
    fn new(mapping: Mapping, inside: SocketAddr, remote: SocketAddr) -> Self {
        let toward = match mapping {
            Mapping::EndpointIndependent => Toward::Anybody,
            Mapping::AddressDependent => Toward::Address(remote.ip()),
            Mapping::AddressAndPortDependent => Toward::Endpoint(remote),
        };
        Self { inside, toward }
    }
}

/// The port that stands for `port` in the range that is given out. Keeps the parity.
fn wrap(port: u32) -> u16 {
    let above = port.wrapping_sub(u32::from(FIRST)) % u32::from(COUNT);
    FIRST + u16::try_from(above).unwrap_or_default()
}

/// The first port that is given out.
const FIRST: u16 = 1_024;
/// How many are, up to the last there is. Even.
const COUNT: u16 = 64_512;
/// How far a reboot moves the ports that are preserved.
const SHIFT: u16 = 2_222;
