//! Which addresses may be candidates.
//!
//! A candidate of a peer makes us send checks to the address it names, unasked, so a peer could point us at anyone
//! (RFC 8445 section 19.5.1). What can multiply a packet or reach what only we can reach is therefore never checked:
//! multicast, broadcast, reserved and unspecified addresses, and loopback unless it is configured. Private addresses
//! stay allowed: two peers in one network need them. How many candidates a peer may name is bounded for each
//! generation, as the agent's work grows faster than their number.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::{AddressRange, CandidateType, Config, NetworkCost, TransportPolicy};
use crate::event::CandidateRefusal;
use crate::id::PeerId;

use super::candidate::{Address, Candidate, CandidateError, Kind, Transport};
use super::filter::{CandidateFilter, CandidateInfo};
use super::names::{Named, hides_address};

/// The rules for addresses, ours and the peer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddressPolicy {
    loopback: bool,
    ipv4: bool,
    ipv6: bool,
    denied: Vec<AddressRange>,
    costs: Vec<NetworkCost>,
    /// Whether names that hide an address are looked up.
    names: bool,
}

impl AddressPolicy {
    /// The rules of a configuration.
    pub(crate) fn new(config: &Config) -> Self {
        let (transport, ice) = (config.transport(), config.ice());
        Self {
            loopback: transport.loopback,
            ipv4: transport.ipv4,
            ipv6: transport.ipv6,
            denied: ice.denied.clone(),
            costs: ice.costs.clone(),
            // A lookup asks the local network, which is neither a TURN server nor a name server.
            names: ice.resolve_local_names && ice.policy != TransportPolicy::Relay,
        }
    }

    /// The host candidates among the addresses of our sockets, without duplicates, the best first.
    ///
    /// An IPv6 address that names its hardware is left out where there is another in its network (section 5.1.1.1 of RFC 8445: it
    /// lets its host be followed from network to network).
    ///
    /// Those of cheap networks come first; then IPv6 before IPv4 where it is global (RFC 8421 section 4). Addresses of one cost
    /// and rank keep their order.
    pub(crate) fn host_candidates(
        &self,
        bound: impl IntoIterator<Item = SocketAddr>,
    ) -> Vec<SocketAddr> {
        let mut seen = BTreeSet::new();
        let mut hosts: Vec<SocketAddr> = bound
            .into_iter()
            .map(canonical)
            .filter(|a| self.allows_local(a) && seen.insert(*a))
            .collect();
        let private: BTreeSet<_> = hosts
            .iter()
            .filter_map(|host| network_of(host.ip()).filter(|_| !names_hardware(host.ip())))
            .collect();
        hosts.retain(|host| {
            let is_needed = network_of(host.ip()).is_none_or(|network| !private.contains(&network));
            is_needed || !names_hardware(host.ip())
        });
        hosts.sort_by_key(|address| (self.cost(address.ip()), rank(address.ip())));
        hosts
    }

    fn cost(&self, ip: IpAddr) -> u8 {
        let mut costs = self.costs.iter();
        costs
            .find(|cost| cost.network.contains(ip))
            .map_or(0, |cost| cost.cost)
    }

    /// Checks an address of a peer, IPv4-mapped ones as the IPv4 addresses they are, and gives it back in that form.
    ///
    /// # Errors
    ///
    /// [`CandidateRefusal::Address`] or [`CandidateRefusal::Family`].
    pub(crate) fn check_remote(&self, address: SocketAddr) -> Result<SocketAddr, CandidateRefusal> {
        let address = canonical(address);
        if address.port() == 0 {
            return Err(CandidateRefusal::Address);
        }
        self.check_ip(address.ip())?;
        Ok(address)
    }

    /// Whether an address, in the form of [`canonical`], may be used for anything.
    pub(crate) fn allows(&self, address: SocketAddr) -> bool {
        address.port() != 0 && self.check_ip(address.ip()).is_ok()
    }

    /// Whether a server may be at an address.
    pub(crate) fn allows_server(&self, ip: IpAddr) -> bool {
        self.check_ip(ip).is_ok()
    }

    /// RFC 8445 section 5.1.1.1. A link-local IPv6 address without its zone cannot be sent from.
    fn allows_local(&self, address: &SocketAddr) -> bool {
        let zoned = match address {
            SocketAddr::V4(_) => true,
            SocketAddr::V6(v6) => v6.scope_id() != 0 || !v6.ip().is_unicast_link_local(),
        };
        zoned && address.port() != 0 && self.check_ip(address.ip()).is_ok()
    }

    fn check_ip(&self, ip: IpAddr) -> Result<(), CandidateRefusal> {
        let (enabled, usable) = match ip {
            IpAddr::V4(ip) => (self.ipv4, is_usable_v4(ip)),
            IpAddr::V6(ip) => (self.ipv6, is_usable_v6(ip)),
        };
        let denied = self.denied.iter().any(|range| range.contains(ip));
        if !usable || denied || (ip.is_loopback() && !self.loopback) {
            return Err(CandidateRefusal::Address);
        }
        if enabled {
            Ok(())
        } else {
            Err(CandidateRefusal::Family)
        }
    }
}

/// A remote candidate that the ICE agent may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Its transport address.
    pub(crate) address: SocketAddr,
    /// The candidate; its line names the same address.
    pub(crate) candidate: Candidate,
}

/// What becomes of a candidate line that no rule forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// The ICE agent may have it.
    Address(Accepted),
    /// Its name has to be resolved first.
    Name(Named),
}

/// The remote candidates of one generation.
#[derive(Debug)]
pub(crate) struct RemoteCandidates {
    policy: AddressPolicy,
    filter: CandidateFilter,
    peer: Option<PeerId>,
    ufrag: String,
    max: usize,
    admitted: BTreeSet<SocketAddr>,
    /// The names to be looked up, in lower case, with their ports.
    names: BTreeSet<(String, u16)>,
    /// How many of `names` have given their place to an address. The other places are at most `max`.
    resolved: usize,
    ended: bool,
}

impl RemoteCandidates {
    /// None yet, in the generation that the peer's user name fragment `ufrag` names; at most `max`.
    pub(crate) fn new(policy: AddressPolicy, ufrag: &str, max: usize) -> Self {
        Self {
            policy,
            filter: CandidateFilter::default(),
            peer: None,
            ufrag: ufrag.to_owned(),
            max,
            admitted: BTreeSet::new(),
            names: BTreeSet::new(),
            resolved: 0,
            ended: false,
        }
    }

    /// The same, if a filter judges those of `peer`.
    pub(crate) fn filtered(self, filter: CandidateFilter, peer: PeerId) -> Self {
        Self {
            filter,
            peer: Some(peer),
            ..self
        }
    }

    /// Reads and admits a candidate line.
    ///
    /// # Errors
    ///
    /// [`CandidateRefusal`] with the first rule that is broken. A refused candidate changes nothing.
    pub(crate) fn admit(&mut self, line: &str) -> Result<Admitted, CandidateRefusal> {
        // RFC 8840 section 8.2: what comes after the end is ignored, malformed or not.
        if self.ended {
            return Err(CandidateRefusal::AfterEnd);
        }
        let candidate = Candidate::parse(line).map_err(refusal)?;
        if candidate.ufrag().is_some_and(|ufrag| ufrag != self.ufrag) {
            return Err(CandidateRefusal::Generation);
        }
        // Only UDP is spoken, and everything is multiplexed on the first component.
        if candidate.transport() != Transport::Udp || candidate.component() != 1 {
            return Err(CandidateRefusal::Transport);
        }
        match candidate.address() {
            Address::Ip(ip) => {
                let (ip, taken) = (*ip, self.taken());
                self.accept(candidate, ip, taken).map(Admitted::Address)
            }
            Address::Name(name) => {
                let name = name.to_ascii_lowercase();
                self.accept_name(candidate, name).map(Admitted::Name)
            }
        }
    }

    /// Whether a name is of this generation.
    pub(crate) fn is_of(&self, named: &Named) -> bool {
        named.ufrag == self.ufrag
    }

    /// Reads the addresses that a name of this generation turned out to have. The first that is admitted takes the place
    /// of the name. That the end of candidates came meanwhile does not matter: the name came before.
    pub(crate) fn resolve(
        &mut self,
        named: &Named,
        addresses: &[IpAddr],
    ) -> Vec<Result<Accepted, CandidateRefusal>> {
        let mut has_place = true;
        let mut accept = |ip: &IpAddr| -> Result<Accepted, CandidateRefusal> {
            let taken = self.taken() - usize::from(has_place);
            let accepted = self.accept(named.candidate.at(*ip), *ip, taken)?;
            self.resolved += usize::from(has_place);
            has_place = false;
            Ok(accepted)
        };
        addresses.iter().map(&mut accept).collect()
    }

    /// Admits an address, unless `taken` places are all there are.
    fn accept(
        &mut self,
        candidate: Candidate,
        ip: IpAddr,
        taken: usize,
    ) -> Result<Accepted, CandidateRefusal> {
        let address = SocketAddr::new(ip, candidate.port());
        let address = self.policy.check_remote(address)?;
        if self.admitted.contains(&address) {
            return Err(CandidateRefusal::Duplicate);
        }
        if taken >= self.max {
            return Err(CandidateRefusal::TooMany);
        }
        let info = CandidateInfo {
            peer: self.peer,
            candidate_type: candidate.kind.into(),
            address,
        };
        if !self.filter.allows(&info) {
            return Err(CandidateRefusal::Filtered);
        }
        self.admitted.insert(address);
        Ok(Accepted { address, candidate })
    }

    /// Admits a name to be looked up. Only addresses of interfaces are hidden so.
    fn accept_name(
        &mut self,
        candidate: Candidate,
        name: String,
    ) -> Result<Named, CandidateRefusal> {
        if !self.policy.names || candidate.kind != Kind::Host || !hides_address(&name) {
            return Err(CandidateRefusal::HostName);
        }
        if !self.filter.allows_type(CandidateType::Host) {
            return Err(CandidateRefusal::Filtered);
        }
        if candidate.port() == 0 {
            return Err(CandidateRefusal::Address);
        }
        let name = (name, candidate.port());
        if self.names.contains(&name) {
            return Err(CandidateRefusal::Duplicate);
        }
        if self.taken() >= self.max {
            return Err(CandidateRefusal::TooMany);
        }
        self.names.insert(name);
        let ufrag = self.ufrag.clone();
        Ok(Named { ufrag, candidate })
    }

    /// The places that are taken, of `max`. A name that could not be resolved keeps its own.
    fn taken(&self) -> usize {
        self.admitted.len() + self.names.len() - self.resolved
    }

    /// Takes end-of-candidates: further ones are refused.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether an address of IPv4 was admitted, and one of IPv6.
    pub(crate) fn families(&self) -> (bool, bool) {
        let has = |family: fn(&SocketAddr) -> bool| self.admitted.iter().any(family);
        (has(SocketAddr::is_ipv4), has(SocketAddr::is_ipv6))
    }

    /// Whether the peer has named this address, so that a check from it is no surprise.
    pub(crate) fn contains(&self, source: SocketAddr) -> bool {
        self.admitted.contains(&canonical(source))
    }
}

fn refusal(error: CandidateError) -> CandidateRefusal {
    match error {
        CandidateError::UnknownTransport => CandidateRefusal::Transport,
        CandidateError::TooLong
        | CandidateError::Control
        | CandidateError::Incomplete
        | CandidateError::Foundation
        | CandidateError::Component
        | CandidateError::Priority
        | CandidateError::Address
        | CandidateError::Port
        | CandidateError::Typ
        | CandidateError::UnknownType
        | CandidateError::TcpType
        | CandidateError::Extension => CandidateRefusal::Malformed,
    }
}

/// The same address, as IPv4 where it is mapped. An IPv6 address keeps its zone.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// The network of an IPv6 address: its first 64 bits (RFC 4291 section 2.5.4).
fn network_of(ip: IpAddr) -> Option<u64> {
    match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => u64::try_from(ip.to_bits() >> 64).ok(),
    }
}

/// Whether an IPv6 address is made of the hardware address of its interface (modified EUI-64, RFC 4291 appendix A).
fn names_hardware(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if matches!(ip.octets(), [.., 0xff, 0xfe, _, _, _]))
}

/// Whether an address is one of the internet, not of a private network or a host (RFC 6890).
pub(crate) fn is_global(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = matches!(ip.octets(), [100, 64..=127, ..]);
            let local = ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared;
            is_usable_v4(ip) && !local
        }
        IpAddr::V6(ip) => {
            let local = ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unique_local();
            is_usable_v6(ip) && !local
        }
    }
}

/// Not 0/8 "this network", multicast, or 240/4 reserved with the broadcast address.
fn is_usable_v4(ip: Ipv4Addr) -> bool {
    !matches!(ip.octets(), [0 | 224..=255, ..])
}

/// Not unspecified, multicast, IPv4-compatible (`::/96` less loopback) or site-local (`fec0::/10`).
fn is_usable_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    let compatible = matches!(segments, [0, 0, 0, 0, 0, 0, ..]) && !ip.is_loopback();
    let site_local = segments[0] & 0xffc0 == 0xfec0;
    !compatible && !site_local && !ip.is_multicast()
}

/// The order of host candidates: the wider an address is reachable, the sooner it works.
fn rank(ip: IpAddr) -> u8 {
    match ip {
        ip if ip.is_loopback() => 5,
        IpAddr::V4(ip) if ip.is_link_local() => 4,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 3,
        IpAddr::V6(ip) if ip.is_unique_local() => 2,
        IpAddr::V4(_) => 1,
        IpAddr::V6(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigBuilder;

    const ALL: AddressPolicy = AddressPolicy {
        loopback: false,
        ipv4: true,
        ipv6: true,
        denied: Vec::new(),
        costs: Vec::new(),
        names: true,
    };

    #[test]
    fn addresses_that_are_never_a_single_remote_host_are_refused() {
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::8",
            "::192.0.2.1",
            "ff02::1",
            "fec0::1",
            "feff::1",
            "::ffff:127.0.0.1",
            "::ffff:224.0.0.1",
            "::ffff:0.0.0.0",
        ] {
            assert_eq!(
                ALL.check_remote(at(ip, 9)),
                Err(CandidateRefusal::Address),
                "{ip}"
            );
        }
    }

    #[test]
    fn addresses_beside_those_ranges_are_allowed() {
        for ip in [
            "1.0.0.0",
            "10.0.0.1",
            "126.255.255.255",
            "128.0.0.0",
            "169.254.0.1",
            "223.255.255.255",
            "2001:db8::1",
            "fd00::1",
            "fe80::1",
            "febf::1",
            "0:0:0:0:0:1::",
        ] {
            assert_eq!(ALL.check_remote(at(ip, 9)), Ok(at(ip, 9)), "{ip}");
        }
        assert_eq!(
            ALL.check_remote(at("::ffff:192.0.2.1", 9)),
            Ok(at("192.0.2.1", 9))
        );
        assert_eq!(
            ALL.check_remote(at("192.0.2.1", 0)),
            Err(CandidateRefusal::Address)
        );
    }

    #[test]
    fn an_address_that_names_its_hardware_gives_way_to_another_in_its_network() {
        let hardware = at("2001:db8::211:22ff:fe33:4455", 5);
        let private = at("2001:db8::9", 5);
        let elsewhere = at("2001:db8:1::9", 5);
        assert_eq!(
            ALL.host_candidates([hardware, elsewhere]),
            [hardware, elsewhere]
        );
        assert_eq!(ALL.host_candidates([hardware, private]), [private]);
        assert_eq!(ALL.host_candidates([private, hardware]), [private]);
    }

    #[test]
    fn the_addresses_of_networks_that_cost_come_last() {
        let cost = |network: &str, cost| NetworkCost {
            network: network.parse().expect("a range"),
            cost,
        };
        let policy = AddressPolicy {
            costs: vec![
                cost("2001:db8:1::/48", 9),
                cost("192.0.2.7", 1),
                cost("192.0.2.0/24", 2),
            ],
            ..ALL
        };
        let bound = ["2001:db8:1::1", "192.0.2.1", "192.0.2.7", "10.0.0.1"];
        let hosts = policy.host_candidates(bound.map(|ip| at(ip, 5)));
        let ordered = ["10.0.0.1", "192.0.2.7", "192.0.2.1", "2001:db8:1::1"];
        assert_eq!(hosts, ordered.map(|ip| at(ip, 5)));
    }

    #[test]
    fn loopback_and_families_follow_the_configuration() {
        let loopback = AddressPolicy {
            loopback: true,
            ..ALL
        };
        assert!(loopback.check_remote(at("127.0.0.1", 9)).is_ok());
        assert!(loopback.check_remote(at("::1", 9)).is_ok());
        let v4 = AddressPolicy { ipv6: false, ..ALL };
        assert_eq!(
            v4.check_remote(at("2001:db8::1", 9)),
            Err(CandidateRefusal::Family)
        );
        let v6 = AddressPolicy { ipv4: false, ..ALL };
        assert_eq!(
            v6.check_remote(at("::ffff:192.0.2.1", 9)),
            Err(CandidateRefusal::Family)
        );
    }

    #[test]
    fn denied_ranges_are_used_on_neither_side() {
        let policy = AddressPolicy {
            denied: vec!["10.0.0.0/8".parse().expect("a range")],
            ..ALL
        };
        assert_eq!(
            policy.check_remote(at("10.1.2.3", 9)),
            Err(CandidateRefusal::Address)
        );
        assert!(policy.check_remote(at("192.168.0.1", 9)).is_ok());
        let bound = [at("10.0.0.2", 1), at("192.168.0.2", 1)];
        assert_eq!(policy.host_candidates(bound), [at("192.168.0.2", 1)]);
        assert!(!policy.allows_server(at("10.9.9.9", 1).ip()));
    }

    #[test]
    fn addresses_of_private_networks_are_not_global() {
        for ip in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.0.1",
            "127.0.0.1",
            "169.254.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "ff02::1",
        ] {
            assert!(!is_global(at(ip, 1).ip()), "{ip}");
        }
        for ip in [
            "192.0.2.1",
            "100.128.0.1",
            "172.32.0.1",
            "2001:db8::1",
            "::ffff:192.0.2.1",
        ] {
            assert!(is_global(at(ip, 1).ip()), "{ip}");
        }
    }

    #[test]
    fn host_candidates_are_ordered_by_reach_and_keep_their_order_within_a_rank() {
        let zoned = "[fe80::1%7]:1".parse().expect("an address");
        let bound = [
            at("192.168.0.2", 1),
            at("169.254.0.2", 1),
            at("fd00::2", 1),
            at("10.0.0.2", 1),
            zoned,
            at("fe80::2", 1),
            at("2001:db8::2", 1),
            at("::ffff:10.0.0.2", 1),
            at("127.0.0.1", 1),
            at("0.0.0.0", 1),
            at("2001:db8::1", 1),
            at("192.168.0.2", 2),
            at("10.0.0.3", 0),
        ];
        let expected = [
            at("2001:db8::2", 1),
            at("2001:db8::1", 1),
            at("192.168.0.2", 1),
            at("10.0.0.2", 1),
            at("192.168.0.2", 2),
            at("fd00::2", 1),
            zoned,
            at("169.254.0.2", 1),
        ];
        assert_eq!(ALL.host_candidates(bound), expected);
    }

    #[test]
    fn each_rule_for_remote_candidates_has_its_reason() {
        let mut remote = RemoteCandidates::new(ALL, "abcd", 8);
        let mut reason = |line: &str| remote.admit(line).expect_err("refused");
        assert_eq!(
            reason("1 1 udp 1 192.0.2.1 5 typ"),
            CandidateRefusal::Malformed
        );
        assert_eq!(
            reason("1 1 tcp 1 192.0.2.1 5 typ host"),
            CandidateRefusal::Transport
        );
        assert_eq!(
            reason("1 1 ssltcp 1 192.0.2.1 5 typ host"),
            CandidateRefusal::Transport
        );
        assert_eq!(
            reason("1 2 udp 1 192.0.2.1 5 typ host"),
            CandidateRefusal::Transport
        );
        assert_eq!(
            reason("1 1 udp 1 x.local 5 typ host"),
            CandidateRefusal::HostName
        );
        assert_eq!(
            reason("1 1 udp 1 224.0.0.1 5 typ host"),
            CandidateRefusal::Address
        );
        assert_eq!(
            reason("1 1 udp 1 192.0.2.1 5 typ host ufrag abce"),
            CandidateRefusal::Generation
        );
        assert!(
            !remote.contains(at("192.0.2.1", 5)),
            "a refused candidate changes nothing"
        );
        let admitted = remote
            .admit("1 1 udp 7 ::ffff:192.0.2.1 5 typ host ufrag abcd")
            .expect("admitted");
        let Admitted::Address(accepted) = admitted else {
            panic!("it has an address");
        };
        assert_eq!(accepted.address, at("192.0.2.1", 5));
        assert_eq!(
            accepted.candidate.to_string(),
            "candidate:1 1 udp 7 192.0.2.1 5 typ host ufrag abcd"
        );
        assert!(remote.contains(at("::ffff:192.0.2.1", 5)));
        let again = remote.admit("2 1 udp 8 192.0.2.1 5 typ srflx");
        assert_eq!(again, Err(CandidateRefusal::Duplicate));
    }

    #[test]
    fn candidates_are_admitted_up_to_the_limit_and_not_beyond() {
        let mut remote = RemoteCandidates::new(ALL, "abcd", 64);
        let line = |port: u16| format!("1 1 udp 1 192.0.2.1 {port} typ host");
        for port in 1..=64 {
            assert!(remote.admit(&line(port)).is_ok(), "{port}");
        }
        assert_eq!(remote.admit(&line(65)), Err(CandidateRefusal::TooMany));
        assert_eq!(remote.admit(&line(1)), Err(CandidateRefusal::Duplicate));
    }

    #[test]
    fn a_name_is_admitted_where_it_hides_an_address_of_an_interface() {
        let mut remote = RemoteCandidates::new(ALL, "abcd", 64);
        let named = name(&mut remote, 1, 5);
        assert!(remote.is_of(&named));
        assert!(!RemoteCandidates::new(ALL, "abce", 64).is_of(&named));
        let uuid = uuid(1).to_uppercase();
        for (rest, reason) in [
            (format!("{uuid} 5 typ host"), CandidateRefusal::Duplicate),
            (format!("{uuid} 0 typ host"), CandidateRefusal::Address),
            (format!("{uuid} 5 typ srflx"), CandidateRefusal::HostName),
            (
                format!("{uuid}.example 5 typ host"),
                CandidateRefusal::HostName,
            ),
            (
                "printer.local 5 typ host".to_owned(),
                CandidateRefusal::HostName,
            ),
        ] {
            let refused = remote.admit(&format!("1 1 udp 1 {rest}"));
            assert_eq!(refused, Err(reason), "{rest}");
        }
        let off = AddressPolicy {
            names: false,
            ..ALL
        };
        let line = format!("1 1 udp 1 {uuid} 5 typ host");
        let refused = RemoteCandidates::new(off, "abcd", 64).admit(&line);
        assert_eq!(refused, Err(CandidateRefusal::HostName));
    }

    #[test]
    fn names_are_looked_up_where_it_is_configured_and_not_for_relays_only() {
        let policy = |further: fn(ConfigBuilder) -> ConfigBuilder| {
            let config = further(Config::builder()).build().expect("valid");
            AddressPolicy::new(&config).names
        };
        assert!(policy(|config| config));
        assert!(policy(|config| config.policy(TransportPolicy::Public)));
        assert!(!policy(|config| config.policy(TransportPolicy::Relay)));
        assert!(!policy(|config| config.resolve_local_names(false)));
    }

    #[test]
    fn what_a_name_turns_out_to_be_obeys_the_rules_for_addresses() {
        let mut remote = RemoteCandidates::new(ALL, "abcd", 64);
        let named = name(&mut remote, 1, 5);
        assert_eq!(remote.families(), (false, false), "nothing is known yet");
        remote.end();
        let addresses = ["127.0.0.1", "::ffff:192.0.2.1", "192.0.2.1", "fd00::1"];
        let addresses = addresses.map(|ip| at(ip, 1).ip());
        let outcomes = remote.resolve(&named, &addresses);
        let [loopback, Ok(first), again, Ok(second)] = &outcomes[..] else {
            panic!("{outcomes:?}");
        };
        assert_eq!(loopback, &Err(CandidateRefusal::Address));
        assert_eq!(again, &Err(CandidateRefusal::Duplicate));
        assert_eq!(
            first.candidate.to_string(),
            "candidate:1 1 udp 1 192.0.2.1 5 typ host"
        );
        assert_eq!(second.address, at("fd00::1", 5));
        assert!(remote.contains(at("192.0.2.1", 5)));
    }

    #[test]
    fn names_and_what_they_turn_out_to_be_count_as_candidates() {
        let mut remote = RemoteCandidates::new(ALL, "abcd", 3);
        let names = [1, 2, 3].map(|n| name(&mut remote, n, 5));
        let line = format!("1 1 udp 1 {} 5 typ host", uuid(4));
        assert_eq!(remote.admit(&line), Err(CandidateRefusal::TooMany));
        let line = "1 1 udp 1 192.0.2.9 5 typ host";
        assert_eq!(remote.admit(line), Err(CandidateRefusal::TooMany));
        let ips = ["192.0.2.1", "192.0.2.2"].map(|ip| at(ip, 1).ip());
        // The first address has the place of the name, and there is none for a second.
        let outcomes = remote.resolve(&names[0], &ips);
        assert!(outcomes[0].is_ok());
        assert_eq!(outcomes[1], Err(CandidateRefusal::TooMany));
        // What leads to an address that is known keeps its place, as what leads nowhere does.
        let again = remote.resolve(&names[1], &ips[..1]);
        assert_eq!(again, [Err(CandidateRefusal::Duplicate)]);
        assert_eq!(remote.resolve(&names[2], &[]), []);
        assert_eq!(remote.admit(line), Err(CandidateRefusal::TooMany));
        assert!(remote.resolve(&names[1], &ips[1..])[0].is_ok());
        assert_eq!(remote.admit(line), Err(CandidateRefusal::TooMany));
    }

    #[test]
    fn candidates_of_types_that_are_denied_are_not_admitted() {
        let admit = |denied: &[CandidateType], typ: &str| {
            let peer = PeerId::new("bob").expect("a name");
            let filter = CandidateFilter::new(denied);
            let mut remote = RemoteCandidates::new(ALL, "abcd", 64).filtered(filter, peer);
            let line = format!("1 1 udp 1 192.0.2.1 5 typ {typ}");
            remote.admit(&line).map(|_| ())
        };
        use CandidateType::{Host, Relayed, ServerReflexive};
        for (typ, meant) in [
            ("host", Host),
            ("srflx", ServerReflexive),
            ("prflx", ServerReflexive),
            ("relay", Relayed),
        ] {
            assert_eq!(
                admit(&[meant], typ),
                Err(CandidateRefusal::Filtered),
                "{typ}"
            );
            let others: Vec<_> = [Host, ServerReflexive, Relayed]
                .into_iter()
                .filter(|t| *t != meant)
                .collect();
            assert_eq!(admit(&others, typ), Ok(()), "{typ}");
        }
        let filter = CandidateFilter::new(&[Host]);
        let peer = PeerId::new("bob").expect("a name");
        let mut remote = RemoteCandidates::new(ALL, "abcd", 64).filtered(filter, peer);
        let line = format!("1 1 udp 1 {} 5 typ host", uuid(1));
        assert_eq!(remote.admit(&line), Err(CandidateRefusal::Filtered));
    }

    #[test]
    fn nothing_is_admitted_after_the_end() {
        let mut remote = RemoteCandidates::new(ALL, "abcd", 64);
        remote.end();
        assert_eq!(
            remote.admit("1 1 udp 1 192.0.2.1 5 typ host"),
            Err(CandidateRefusal::AfterEnd)
        );
        assert_eq!(remote.admit("malformed"), Err(CandidateRefusal::AfterEnd));
    }

    /// Admits the candidate of the `n`-th name.
    fn name(remote: &mut RemoteCandidates, n: u8, port: u16) -> Named {
        let line = format!("1 1 udp 1 {} {port} typ host", uuid(n));
        match remote.admit(&line) {
            Ok(Admitted::Name(named)) => named,
            other => panic!("{other:?}"),
        }
    }

    fn uuid(n: u8) -> String {
        format!("1f4712db-ea17-4bcf-a596-1051{n:08x}.local")
    }

    fn at(ip: &str, port: u16) -> SocketAddr {
        SocketAddr::new(ip.parse().expect("an address"), port)
    }
}
