use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::*;
use crate::net::{Fate, HostId, LinkConfig, Network, Ports};
use crate::time::Time;

#[test]
fn of_the_usual_kinds_only_symmetric_ones_do_not_reach_each_other_and_the_port_restricted() {
    let kinds = [
        NatConfig::open(),
        NatConfig::full_cone(),
        NatConfig::address_restricted(),
        NatConfig::port_restricted(),
        NatConfig::symmetric(),
    ];
    for (i, a) in kinds.iter().enumerate() {
        for (k, b) in kinds.iter().enumerate() {
            let hard = matches!((i, k), (4, 3 | 4) | (3, 4));
            assert_eq!(has_path(a, b, false), !hard, "{i} and {k}");
            assert!(has_path(a, b, true));
        }
    }
}

#[test]
fn boxes_in_a_row_are_as_strict_as_the_strictest() {
    let row = [NatConfig::symmetric(), NatConfig::full_cone()];
    let symmetric = NatConfig::symmetric();
    let port_restricted = NatConfig::port_restricted();
    assert!(!has_path(&chain(row.iter()), &port_restricted, false));
    assert!(!has_path(&chain(row.iter().rev()), &symmetric, false));
    assert!(has_path(&chain([].iter()), &symmetric, false));
}

#[test]
fn the_theory_is_what_ice_comes_to_through_real_boxes() {
    let kinds: Vec<NatConfig> = Mapping::ALL
        .iter()
        .flat_map(|mapping| Filtering::ALL.map(|filtering| NatConfig::of(*mapping, filtering)))
        .collect();
    for a in &kinds {
        for b in &kinds {
            for ports in [Ports::Preserve, Ports::Random, Ports::Sequential] {
                let with = |nat: &NatConfig| NatConfig {
                    ports,
                    ..nat.clone()
                };
                let found = Agents::new(with(a), with(b)).find_path();
                assert_eq!(found, has_path(a, b, false), "{a:?} and {b:?}");
            }
        }
    }
}

/// Two agents that speak the least of ICE that finds paths, on hosts 0 and 1, and a STUN server on host 2.
struct Agents {
    network: Network,
    /// The candidates that each knows of the other.
    known: [BTreeSet<SocketAddr>; 2],
}

impl Agents {
    fn new(a: NatConfig, b: NatConfig) -> Self {
        let mut network = Network::new(1, LinkConfig::default());
        for (host, nat) in [a, b].into_iter().enumerate() {
            let gateway = network.add_gateway(nat, None);
            network.settle(host, Some(gateway));
            network.attach(host, own(host));
        }
        network.attach(2, own(2));
        let mut agents = Self {
            network,
            known: [BTreeSet::new(), BTreeSet::new()],
        };
        for host in 0..2 {
            let (_, seen) = agents.send(host, own(2)).expect("a public server");
            agents.known[1 - host].insert(seen);
        }
        agents
    }

    /// Whether a check is answered from where it was sent to, in as many rounds as could matter.
    fn find_path(&mut self) -> bool {
        (0..6).any(|_| (0..2).any(|host| self.check_all(host)))
    }

    fn check_all(&mut self, host: HostId) -> bool {
        let candidates = self.known[host].clone();
        candidates.into_iter().any(|candidate| {
            let Some((peer, seen)) = self.send(host, candidate) else {
                return false;
            };
            assert_eq!(peer, 1 - host);
            self.known[peer].insert(seen);
            self.send(peer, seen) == Some((host, candidate))
        })
    }

    /// Who gets a datagram, and which source is seen there.
    fn send(&mut self, from: HostId, to: SocketAddr) -> Option<(HostId, SocketAddr)> {
        let fate = self.network.send(from, (own(from), to), &[0], Time::ZERO);
        let Fate::Underway { first, .. } = fate else {
            return None;
        };
        let landed = self.network.land(first.1, Time::ZERO)?;
        Some((landed.to, landed.source))
    }
}

/// The socket of a host. Those behind boxes have the same.
fn own(host: HostId) -> SocketAddr {
    let text = ["192.168.1.2:5000", "192.168.1.2:5000", "192.0.2.1:3478"][host];
    text.parse().expect("an address")
}
