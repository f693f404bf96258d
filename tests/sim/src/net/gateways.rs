//! The boxes of a network, and who is behind them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::firewall::Firewall;
use super::nat::NatConfig;
use super::route::{GatewayId, INTERNET, RealmId, realm_of};
use super::theory;
use super::{HostId, Network};
use crate::time::Time;

impl Network {
    /// Adds a box, on the internet or behind another one.
    pub fn add_gateway(&mut self, config: NatConfig, behind: Option<GatewayId>) -> GatewayId {
        self.routes.add(config, behind)
    }

    /// Puts a host behind a box. Comes before the host is given addresses.
    pub fn settle(&mut self, host: HostId, behind: Option<GatewayId>) {
        self.routes.settle(host, behind);
    }

    /// The address that a box has outside.
    #[must_use]
    pub fn external(&self, gateway: GatewayId) -> Ipv4Addr {
        self.routes.nat(gateway).external
    }

    /// How many mappings a box has at `now`.
    #[must_use]
    pub fn mappings(&self, gateway: GatewayId, now: Time) -> usize {
        self.routes.nat(gateway).mappings(now)
    }

    /// A box forgets all mappings. The ones that follow have other ports.
    pub fn reboot_gateway(&mut self, gateway: GatewayId) {
        self.routes.reboot(gateway);
    }

    /// A box gets another outside address, which is given, and forgets all mappings.
    pub fn renumber_gateway(&mut self, gateway: GatewayId) -> Ipv4Addr {
        self.routes.renumber(gateway)
    }

    /// What an address that a host names is on the internet: behind a NAT64, the IPv4 address that is embedded in it.
    pub(crate) fn outer(&self, host: HostId, address: SocketAddr) -> SocketAddr {
        let boxes = self.boxes(self.routes.home(host), INTERNET);
        let pass = |address, gateway: GatewayId| self.routes.nat(gateway).outer(address);
        boxes.into_iter().fold(address, pass)
    }

    /// Whether a host reaches IPv4 addresses as embedded ones.
    pub(crate) fn is_behind_nat64(&self, host: HostId) -> bool {
        let boxes = self.boxes(self.routes.home(host), INTERNET);
        let mut nats = boxes.into_iter().map(|g| self.routes.nat(g));
        nats.any(|nat| nat.config.nat64)
    }

    /// Whether an address is the one that a host has outside one of its boxes.
    pub(crate) fn is_outside_of(&self, host: HostId, address: IpAddr) -> bool {
        let boxes = self.boxes(self.routes.home(host), INTERNET);
        boxes
            .into_iter()
            .any(|gateway| address == self.external(gateway))
    }

    /// Sets what a box lets pass.
    pub fn set_firewall(&mut self, gateway: GatewayId, firewall: Firewall) {
        self.routes.set_firewall(gateway, firewall);
    }

    /// The realm in which the IPv4 addresses of hosts behind a box must differ: those in it see each other untranslated.
    /// 0 is the internet.
    pub(crate) fn ipv4_realm(&self, behind: Option<GatewayId>) -> usize {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let mut realm = realm_of(behind);
        while let Some(gateway) = self.routes.way_out(realm, any) {
            realm = self.routes.outside(gateway);
        }
        realm
    }

    /// In how many networks the one behind a box is.
    pub(crate) fn depth(&self, behind: Option<GatewayId>) -> u8 {
        let around = self.boxes(realm_of(behind), INTERNET).len();
        u8::try_from(around.saturating_sub(1)).unwrap_or(u8::MAX)
    }

    /// Whether theory allows a path over IPv4 between two hosts, with ICE and a STUN server on the internet, and with a TURN server
    /// there if `relay`. As [`has_path`](super::has_path), which has the argument, and:
    ///
    /// - hosts in one network reach each other directly, and hosts of which one is in a network that the other's boxes
    ///   are in, too;
    /// - hosts behind different boxes in one network that is not the internet need it to hairpin, because they know
    ///   each other by addresses on the internet;
    /// - networks of which one is within the other are taken to have different addresses;
    /// - a firewall that stops all STUN stops everything. One that stops large datagrams is not looked at: a path is
    ///   found, and what is then sent on it may be lost.
    #[must_use]
    pub fn has_path(&self, a: HostId, b: HostId, relay: bool) -> bool {
        let (home_a, home_b) = (self.routes.home(a), self.routes.home(b));
        let common = self.common(home_a, home_b);
        let (inner_a, inner_b) = (self.boxes(home_a, common), self.boxes(home_b, common));
        let outer = self.boxes(common, INTERNET);
        let open = |boxes: &[GatewayId]| {
            let mut walls = boxes.iter().map(|g| self.routes.nat(*g).firewall);
            walls.all(|wall| wall.passes_checks())
        };
        if !open(&inner_a) || !open(&inner_b) {
            return false;
        }
        if relay && open(&outer) {
            return true;
        }
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let hidden = |boxes: &[GatewayId]| {
            let mut nats = boxes.iter().map(|g| self.routes.nat(*g));
            nats.any(|nat| nat.translates(any))
        };
        let turns = hidden(&inner_a) && hidden(&inner_b);
        let turning = self.routes.gateway_of(common).filter(|_| turns);
        let hairpins = |gateway| self.routes.nat(gateway).config.hairpin;
        if turning.is_some_and(|gateway| !open(&outer) || !hairpins(gateway)) {
            return false;
        }
        let chain = |inner: &[GatewayId]| {
            let rest: &[GatewayId] = if turns { &outer } else { &[] };
            let boxes = inner.iter().chain(rest);
            theory::chain(boxes.map(|g| &self.routes.nat(*g).config))
        };
        theory::has_path(&chain(&inner_a), &chain(&inner_b), false)
    }

    /// The boxes on the way from a realm outward to another one.
    fn boxes(&self, mut realm: RealmId, until: RealmId) -> Vec<GatewayId> {
        let mut boxes = Vec::new();
        while let Some(gateway) = self.routes.gateway_of(realm).filter(|_| realm != until) {
            boxes.push(gateway);
            realm = self.routes.outside(gateway);
        }
        boxes
    }

    /// The innermost realm that two realms are in.
    fn common(&self, a: RealmId, b: RealmId) -> RealmId {
        let around = |mut realm: RealmId| {
            let mut all = vec![realm];
            while let Some(gateway) = self.routes.gateway_of(realm) {
                realm = self.routes.outside(gateway);
                all.push(realm);
            }
            all
        };
        let of_b = around(b);
        let shared = around(a).into_iter().find(|realm| of_b.contains(realm));
        shared.unwrap_or(INTERNET)
    }
}
