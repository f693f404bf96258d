//! Which way a datagram goes: hosts live in realms, and boxes stand between these.
//!
//! A realm is the internet, or the network behind a box. An address means something in its realm only, so two networks
//! may have the same ones. A datagram goes outward from its sender's realm until somebody is found there who has the
//! destination, and then inward through the boxes to its receiver.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::HostId;
use super::accounts::DropCause;
use super::firewall::Firewall;
use super::nat::{Nat, NatConfig};
use crate::marks::{Mark, Marks};
use crate::rng::{Purpose, Stream};
use crate::time::Time;

/// The number of a box: the order in which it was added to the world.
pub type GatewayId = usize;

/// A realm: 0 is the internet, and `n + 1` is behind box `n`.
pub(super) type RealmId = usize;

/// The internet.
pub(super) const INTERNET: RealmId = 0;

/// Who is where.
#[derive(Debug)]
pub(super) struct Routes {
    seed: u64,
    realms: Vec<Realm>,
    gateways: Vec<Gateway>,
    /// The realms of the hosts; those that are missing are on the internet.
    homes: Vec<RealmId>,
}

#[derive(Debug, Default)]
struct Realm {
    owners: BTreeMap<SocketAddr, HostId>,
    /// The boxes that have an address here.
    boxes: BTreeMap<IpAddr, GatewayId>,
    /// The boxes behind which are addresses that are the same inside and here.
    beyond: BTreeMap<SocketAddr, GatewayId>,
}

#[derive(Debug)]
struct Gateway {
    nat: Nat,
    outside: RealmId,
    /// How many addresses it had outside before.
    renumbered: u8,
}

enum Next {
    Host(HostId),
    Box(GatewayId),
}

/// The place to which a datagram has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) realm: RealmId,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

impl Routes {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            realms: vec![Realm::default()],
            gateways: Vec::new(),
            homes: Vec::new(),
        }
    }

    /// Adds a box, on the internet or behind another one.
    pub(super) fn add(&mut self, config: NatConfig, behind: Option<GatewayId>) -> GatewayId {
        let gateway = self.gateways.len();
        let outside = realm_of(behind);
        let stream = Stream::new(self.seed, Purpose::Gateway(short(gateway)));
        let external = external(gateway, outside, 0);
        self.realms.push(Realm::default());
        self.realms[outside]
            .boxes
            .insert(IpAddr::V4(external), gateway);
        self.gateways.push(Gateway {
            nat: Nat::new(config, external, stream),
            outside,
            renumbered: 0,
        });
        gateway
    }

    /// Puts a host behind a box, before it has addresses.
    pub(super) fn settle(&mut self, host: HostId, behind: Option<GatewayId>) {
        if self.homes.len() <= host {
            self.homes.resize(host + 1, INTERNET);
        }
        self.homes[host] = realm_of(behind);
    }

    /// The realm of a host.
    pub(super) fn home(&self, host: HostId) -> RealmId {
        self.homes.get(host).copied().unwrap_or(INTERNET)
    }

    /// The box that a realm is behind.
    pub(super) fn gateway_of(&self, realm: RealmId) -> Option<GatewayId> {
        realm.checked_sub(1)
    }

    /// The realm outside of a box.
    pub(super) fn outside(&self, gateway: GatewayId) -> RealmId {
        self.gateways[gateway].outside
    }

    pub(super) fn nat(&self, gateway: GatewayId) -> &Nat {
        &self.gateways[gateway].nat
    }

    pub(super) fn count(&self) -> usize {
        self.gateways.len()
    }

    pub(super) fn attach(&mut self, host: HostId, address: SocketAddr) {
        let mut realm = self.home(host);
        self.realms[realm].owners.insert(address, host);
        while let Some(gateway) = self.way_out(realm, address) {
            realm = self.gateways[gateway].outside;
            self.realms[realm].beyond.insert(address, gateway);
        }
    }

    pub(super) fn detach(&mut self, mut realm: RealmId, address: SocketAddr) {
        self.realms[realm].owners.remove(&address);
        while let Some(gateway) = self.way_out(realm, address) {
            realm = self.gateways[gateway].outside;
            self.realms[realm].beyond.remove(&address);
        }
    }

    /// The host that has an address, in a realm.
    pub(super) fn owner(&self, realm: RealmId, address: SocketAddr) -> Option<HostId> {
        self.realms[realm].owners.get(&address).copied()
    }

    /// All mappings of a box are lost.
    pub(super) fn reboot(&mut self, gateway: GatewayId) {
        let nat = &mut self.gateways[gateway].nat;
        let used = nat.marks != Marks::default();
        nat.marks.set_if(used, Mark::BoxReboots);
        nat.reboot();
    }

    /// A box gets another address outside, and loses its mappings. Gives the address.
    pub(super) fn renumber(&mut self, gateway: GatewayId) -> Ipv4Addr {
        let Gateway {
            nat,
            outside,
            renumbered,
        } = &mut self.gateways[gateway];
        *renumbered = renumbered.wrapping_add(1);
        let used = nat.marks != Marks::default();
        nat.marks.set_if(used, Mark::BoxRenumbered);
        let boxes = &mut self.realms[*outside].boxes;
        boxes.remove(&IpAddr::V4(nat.external));
        nat.external = external(gateway, *outside, *renumbered);
        nat.reboot();
        boxes.insert(IpAddr::V4(nat.external), gateway);
        nat.external
    }

    pub(super) fn set_firewall(&mut self, gateway: GatewayId, firewall: Firewall) {
        self.gateways[gateway].nat.firewall = firewall;
    }

    /// What the boxes did so far.
    pub(super) fn marks(&self) -> Marks {
        let mut marks = Marks::default();
        for gateway in &self.gateways {
            marks.add(gateway.nat.marks);
            let inner = gateway.outside != INTERNET && gateway.nat.marks != Marks::default();
            marks.set_if(inner, Mark::DoubleNat);
        }
        marks
    }

    /// Every firewall is again as it was configured.
    pub(super) fn heal(&mut self) {
        for gateway in &mut self.gateways {
            gateway.nat.firewall = gateway.nat.config.firewall;
        }
    }

    /// Goes outward from `from`, through the boxes there, to where the way to the destination turns inward.
    pub(super) fn outward(
        &mut self,
        mut hop: Hop,
        contents: &[u8],
        now: Time,
    ) -> Result<Hop, DropCause> {
        while self.realms[hop.realm].next(hop.destination).is_none() {
            let gateway = self
                .gateway_of(hop.realm)
                .map(|gateway| &mut self.gateways[gateway]);
            let gateway = gateway.ok_or(DropCause::Unrouted)?;
            (hop.source, hop.destination) =
                gateway
                    .nat
                    .outward((hop.source, hop.destination), contents, now)?;
            hop.realm = gateway.outside;
        }
        Ok(hop)
    }

    /// Goes inward to the host that the destination leads to.
    pub(super) fn inward(
        &mut self,
        mut hop: Hop,
        contents: &[u8],
        now: Time,
    ) -> Result<(HostId, Hop), DropCause> {
        loop {
            match self.realms[hop.realm].next(hop.destination) {
                None => return Err(DropCause::Gone),
                Some(Next::Host(host)) => return Ok((host, hop)),
                Some(Next::Box(gateway)) => {
                    let nat = &mut self.gateways[gateway].nat;
                    (hop.source, hop.destination) =
                        nat.inward((hop.source, hop.destination), contents, now)?;
                    hop.realm = realm_of(Some(gateway));
                }
            }
        }
    }

    /// The host that the destination leads to now, whoever sends.
    pub(super) fn lead(&self, mut hop: Hop, now: Time) -> Result<HostId, DropCause> {
        loop {
            match self.realms[hop.realm].next(hop.destination) {
                None => return Err(DropCause::Unrouted),
                Some(Next::Host(host)) => return Ok(host),
                Some(Next::Box(gateway)) => {
                    let inside = self.gateways[gateway].nat.inside(hop.destination, now);
                    hop.destination = inside.ok_or(DropCause::NoMapping)?;
                    hop.realm = realm_of(Some(gateway));
                }
            }
        }
    }

    /// The box of a realm, if an address in there is the same outside of it.
    pub(super) fn way_out(&self, realm: RealmId, address: SocketAddr) -> Option<GatewayId> {
        self.gateway_of(realm)
            .filter(|gateway| !self.gateways[*gateway].nat.translates(address))
    }
}

impl Realm {
    fn next(&self, address: SocketAddr) -> Option<Next> {
        if let Some(host) = self.owners.get(&address) {
            return Some(Next::Host(*host));
        }
        let by_box = self.boxes.get(&address.ip());
        by_box
            .or_else(|| self.beyond.get(&address))
            .copied()
            .map(Next::Box)
    }
}

/// The realm behind a box, or the internet.
pub(super) fn realm_of(behind: Option<GatewayId>) -> RealmId {
    behind.map_or(INTERNET, |gateway| gateway + 1)
}

/// The outside address of a box: `203.0.<113 + n>.<box>` on the internet and `100.64.<n>.<box>` behind another box, boxes
/// counted from 1, when it had `n` others before.
fn external(gateway: GatewayId, outside: RealmId, renumbered: u8) -> Ipv4Addr {
    let number = u8::try_from(gateway + 1).unwrap_or(u8::MAX);
    if outside == INTERNET {
        Ipv4Addr::new(203, 0, renumbered.wrapping_add(113), number)
    } else {
        Ipv4Addr::new(100, 64, renumbered, number)
    }
}

/// The number of a box, as random streams name it.
fn short(gateway: GatewayId) -> u16 {
    u16::try_from(gateway).unwrap_or(u16::MAX)
}
