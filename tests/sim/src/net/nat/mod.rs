//! The box between a network and what is outside of it: translation, filtering and a firewall (RFC 4787, RFC 6092).
//! A NAT64 (RFC 6146) is the same box: its mappings begin at an IPv6 address, and its hosts see IPv4 addresses embedded.
//!
//! Datagrams on their way out are looked at when they are sent, those on their way in when they arrive: a hole that
//! is punched while a datagram is on its way lets it in.

mod config;
mod contacts;
pub(super) mod embedded;
mod table;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub use config::{Filtering, Mapping, NatConfig, Ports};

use super::accounts::DropCause;
use super::firewall::Firewall;
use crate::marks::{Mark, Marks};
use crate::rng::Stream;
use crate::time::Time;
use contacts::Contacts;
use table::Table;

/// A box.
#[derive(Debug)]
pub(super) struct Nat {
    pub(super) config: NatConfig,
    /// What is in force now, which may be another one than the configuration has.
    pub(super) firewall: Firewall,
    /// Its address outside.
    pub(super) external: Ipv4Addr,
    table: Table,
    /// What it did.
    pub(super) marks: Marks,
    /// Of inside addresses that are not translated.
    holes: BTreeMap<SocketAddr, Contacts>,
}

impl Nat {
    /// A box that has just been switched on. `stream` draws its ports.
    pub(super) fn new(config: NatConfig, external: Ipv4Addr, stream: Stream) -> Self {
        Self {
            firewall: config.firewall,
            external,
            table: Table::new(stream),
            marks: Marks::default(),
            holes: BTreeMap::new(),
            config,
        }
    }

    /// Whether `address` is another one outside than inside.
    pub(super) fn translates(&self, address: SocketAddr) -> bool {
        self.config.translate && address.is_ipv4()
    }

    /// Whether `address` is the one that the box has outside.
    pub(super) fn is_external(&self, address: SocketAddr) -> bool {
        self.config.shares_address() && address.ip() == IpAddr::V4(self.external)
    }

    /// What a destination that is named inside is outside.
    pub(super) fn outer(&self, destination: SocketAddr) -> SocketAddr {
        let extracted = embedded::extract(destination).filter(|_| self.config.nat64);
        extracted.unwrap_or(destination)
    }

    /// Forgets everything.
    pub(super) fn reboot(&mut self) {
        self.table.reboot();
        self.holes.clear();
    }

    /// A datagram goes out. Gives the source and the destination that it has outside.
    pub(super) fn outward(
        &mut self,
        (source, destination): (SocketAddr, SocketAddr),
        contents: &[u8],
        now: Time,
    ) -> Result<(SocketAddr, SocketAddr), DropCause> {
        let destination = self.outer(destination);
        if self.is_external(destination) && !self.config.hairpin {
            return Err(DropCause::NatHairpin);
        }
        self.check_firewall(contents)?;
        if self.translates(source) || source.is_ipv4() != destination.is_ipv4() {
            let port = self.table.outward(&self.config, source, destination, now)?;
            self.marks.add(self.config.marks());
            self.marks.set_if(self.table.expired, Mark::MappingExpired);
            let source = SocketAddr::new(IpAddr::V4(self.external), port);
            return Ok((source, destination));
        }
        if self.config.stateful.is_some() {
            self.punch(source, destination, now)?;
            self.marks.set_if(source.is_ipv6(), Mark::StatefulIpv6);
        }
        Ok((source, destination))
    }

    /// A datagram comes in. Gives the source and the destination that it has inside.
    pub(super) fn inward(
        &mut self,
        (source, destination): (SocketAddr, SocketAddr),
        contents: &[u8],
        now: Time,
    ) -> Result<(SocketAddr, SocketAddr), DropCause> {
        self.check_firewall(contents)?;
        if self.is_external(destination) {
            let inside = self
                .table
                .inward(&self.config, destination.port(), source, now)?;
            let source = match inside {
                SocketAddr::V4(_) => source,
                SocketAddr::V6(_) => embedded::embed(source),
            };
            return Ok((source, inside));
        }
        let Some(filtering) = self.config.stateful else {
            return Ok((source, destination));
        };
        let hole = self.holes.get_mut(&destination);
        let hole = hole.filter(|hole| hole.allow(filtering, source, now, self.config.expiry));
        let hole = hole.ok_or(DropCause::NatFilter)?;
        if self.config.inbound_refresh {
            hole.touch(source, now);
        }
        Ok((source, destination))
    }

    /// The destination that a datagram has inside, if somebody has it now, whoever may use it.
    pub(super) fn inside(&self, destination: SocketAddr, now: Time) -> Option<SocketAddr> {
        if self.is_external(destination) {
            return self.table.inside(&self.config, destination.port(), now);
        }
        Some(destination)
    }

    /// How many mappings there are.
    pub(super) fn mappings(&self, now: Time) -> usize {
        self.table.alive(&self.config, now)
    }

    fn check_firewall(&self, contents: &[u8]) -> Result<(), DropCause> {
        if self.firewall.passes(contents) {
            Ok(())
        } else {
            Err(DropCause::Firewall)
        }
    }

    fn punch(
        &mut self,
        inside: SocketAddr,
        remote: SocketAddr,
        now: Time,
    ) -> Result<(), DropCause> {
        let expiry = self.config.expiry;
        if self.holes.len() >= self.config.max_mappings {
            self.holes.retain(|_, hole| !hole.are_dead(now, expiry));
        }
        if self.holes.len() >= self.config.max_mappings && !self.holes.contains_key(&inside) {
            return Err(DropCause::NatPorts);
        }
        self.holes.entry(inside).or_default().touch(remote, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
