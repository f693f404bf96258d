use std::time::Duration;

use super::*;
use crate::net::{Fate, HostId, LinkConfig, Network};

/// A host on the internet with two addresses, its sockets, and the socket of the host behind the box.
const REMOTE: [&str; 4] = [
    "10.0.0.1:5000",
    "10.0.0.1:5001",
    "10.0.1.1:5000",
    "10.0.1.1:5001",
];
const INSIDE: &str = "192.168.1.2:5000";
const PUBLIC: HostId = 0;
const HIDDEN: HostId = 1;

struct Lab {
    network: Network,
    now: Time,
}

/// What became of a datagram: the receiver and the addresses that it saw, or why there is none.
type Outcome = Result<(HostId, SocketAddr, SocketAddr), DropCause>;

impl Lab {
    /// A host on the internet, and one behind a box.
    fn new(config: NatConfig) -> Self {
        let mut lab = Self::empty();
        for address in REMOTE {
            lab.network.attach(PUBLIC, at(address));
        }
        let gateway = lab.network.add_gateway(config, None);
        lab.host(HIDDEN, gateway, INSIDE);
        lab
    }

    fn empty() -> Self {
        Self {
            network: Network::new(3, LinkConfig::default()),
            now: Time::ZERO,
        }
    }

    fn host(&mut self, host: HostId, gateway: usize, address: &str) {
        self.network.settle(host, Some(gateway));
        self.network.attach(host, at(address));
    }

    fn send(&mut self, from: HostId, source: &str, destination: SocketAddr) -> Outcome {
        self.send_bytes(from, source, destination, &[22; 100])
    }

    /// Sends, and lets the datagram arrive at once.
    fn send_bytes(
        &mut self,
        from: HostId,
        source: &str,
        destination: SocketAddr,
        bytes: &[u8],
    ) -> Outcome {
        let tuple = (at(source), destination);
        let before = self.network.accounts();
        match self.network.send(from, tuple, bytes, self.now) {
            Fate::Dropped { cause, .. } => Err(cause),
            Fate::Underway {
                first: (_, datagram),
                ..
            } => match self.network.land(datagram, self.now) {
                Some(datagram) => {
                    let seen = (datagram.to, datagram.source, datagram.destination);
                    assert!(self.network.arrive(datagram, true).is_some());
                    Ok(seen)
                }
                None => {
                    assert!(self.network.accounts().balance());
                    Err(lost_since(&self.network, &before))
                }
            },
        }
    }

    /// Sends from the hidden host, and gives the source that the receiver saw.
    fn out(&mut self, destination: &str) -> SocketAddr {
        let outcome = self.send(HIDDEN, INSIDE, at(destination));
        let (to, source, _) = outcome.expect("the way out is open");
        assert_eq!(to, PUBLIC);
        source
    }

    fn pass(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }
}

fn lost_since(network: &Network, before: &crate::net::Accounts) -> DropCause {
    let after = network.accounts();
    let grown = |cause: &&DropCause| after.dropped_by(**cause) > before.dropped_by(**cause);
    *DropCause::ALL.iter().find(grown).expect("it was counted")
}

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

#[test]
fn each_mapping_gives_a_port_of_its_own_to_what_it_names() {
    for filtering in Filtering::ALL {
        for (mapping, shared) in
            Mapping::ALL
                .into_iter()
                .zip([[true, true], [true, false], [false, false]])
        {
            for ports in [
                Ports::Preserve,
                Ports::Parity,
                Ports::Random,
                Ports::Sequential,
            ] {
                let mut lab = Lab::new(NatConfig {
                    ports,
                    ..NatConfig::of(mapping, filtering)
                });
                let first = lab.out(REMOTE[0]);
                assert_eq!(first.ip(), IpAddr::V4(lab.network.external(0)));
                assert_eq!(lab.out(REMOTE[0]), first, "the same flow");
                let [other_port, other_address] = shared;
                assert_eq!(lab.out(REMOTE[1]) == first, other_port, "{mapping:?}");
                assert_eq!(lab.out(REMOTE[2]) == first, other_address, "{mapping:?}");
            }
        }
    }
}

#[test]
fn each_filtering_lets_in_whom_it_names() {
    for mapping in Mapping::ALL {
        for (filtering, allowed) in Filtering::ALL.into_iter().zip([
            [true, true, true, true],
            [true, true, false, false],
            [true, false, false, false],
        ]) {
            let mut lab = Lab::new(NatConfig::of(mapping, filtering));
            let seen = lab.out(REMOTE[0]);
            for (source, allowed) in REMOTE.into_iter().zip(allowed) {
                let outcome = lab.send(PUBLIC, source, seen);
                let expected = if allowed {
                    Ok((HIDDEN, at(source), at(INSIDE)))
                } else {
                    Err(DropCause::NatFilter)
                };
                assert_eq!(outcome, expected, "{mapping:?} {filtering:?} {source}");
            }
        }
    }
}

#[test]
fn nobody_is_let_in_before_something_was_sent() {
    let mut lab = Lab::new(NatConfig::full_cone());
    let outside = SocketAddr::new(IpAddr::V4(lab.network.external(0)), 5000);
    assert_eq!(
        lab.send(PUBLIC, REMOTE[0], outside),
        Err(DropCause::NoMapping)
    );
    assert_eq!(
        lab.send(PUBLIC, REMOTE[0], at(INSIDE)),
        Err(DropCause::Unrouted)
    );
}

#[test]
fn a_hole_that_is_punched_while_a_datagram_is_on_its_way_lets_it_in() {
    let mut lab = Lab::new(NatConfig::port_restricted());
    let seen = lab.out(REMOTE[0]);
    let tuple = (at(REMOTE[2]), seen);
    let fate = lab.network.send(PUBLIC, tuple, &[22], lab.now);
    let Fate::Underway {
        first: (arrives, datagram),
        ..
    } = fate
    else {
        panic!("a perfect link");
    };
    lab.out(REMOTE[2]);
    assert!(lab.network.land(datagram, arrives).is_some());
}

#[test]
fn a_mapping_ends_exactly_at_its_expiry() {
    let expiry = NatConfig::default().expiry;
    let instant = Duration::from_nanos(1);
    for mapping in Mapping::ALL {
        for filtering in Filtering::ALL {
            let mut lab = Lab::new(NatConfig::of(mapping, filtering));
            let seen = lab.out(REMOTE[0]);
            lab.pass(expiry - instant);
            assert!(lab.send(PUBLIC, REMOTE[0], seen).is_ok());
            lab.pass(instant);
            let late = lab.send(PUBLIC, REMOTE[0], seen);
            assert_eq!(late, Err(DropCause::NoMapping), "{mapping:?} {filtering:?}");
            assert_eq!(lab.network.mappings(0, lab.now), 0);
        }
    }
}

#[test]
fn outward_datagrams_keep_a_mapping_and_inward_ones_only_where_configured() {
    let half = NatConfig::default().expiry / 2;
    for inbound_refresh in [false, true] {
        let mut lab = Lab::new(NatConfig {
            inbound_refresh,
            ..NatConfig::default()
        });
        let seen = lab.out(REMOTE[0]);
        for _ in 0..4 {
            lab.pass(half);
            assert_eq!(lab.out(REMOTE[0]), seen);
        }
        lab.pass(half);
        assert!(lab.send(PUBLIC, REMOTE[0], seen).is_ok());
        lab.pass(half);
        let kept = lab.send(PUBLIC, REMOTE[0], seen).is_ok();
        assert_eq!(kept, inbound_refresh);
    }
}

#[test]
fn the_right_of_one_remote_ends_while_the_mapping_is_kept_for_another() {
    let half = NatConfig::default().expiry / 2;
    let mut lab = Lab::new(NatConfig::port_restricted());
    let seen = lab.out(REMOTE[0]);
    lab.pass(half);
    lab.out(REMOTE[2]);
    lab.pass(half);
    assert_eq!(lab.send(PUBLIC, REMOTE[0], seen), Err(DropCause::NatFilter));
    assert!(lab.send(PUBLIC, REMOTE[2], seen).is_ok());
}

#[test]
fn ports_are_preserved_even_random_or_sequential() {
    let ports = |ports, inside: &[&str]| {
        let mut lab = Lab::new(NatConfig {
            ports,
            ..NatConfig::default()
        });
        let mut seen = Vec::new();
        for (host, address) in inside.iter().enumerate() {
            lab.host(HIDDEN + host, 0, address);
            let outcome = lab.send(HIDDEN + host, address, at(REMOTE[0]));
            seen.push(outcome.expect("the way out is open").1.port());
        }
        seen
    };
    let same = ["192.168.1.2:5000", "192.168.1.3:5000", "192.168.1.4:80"];
    assert_eq!(ports(Ports::Preserve, &same)[..2], [5000, 5001]);
    assert!(ports(Ports::Preserve, &same)[2] >= 1_024);
    let odd = ["192.168.1.2:5001", "192.168.1.3:7", "192.168.1.4:5000"];
    let parities: Vec<_> = ports(Ports::Parity, &odd).iter().map(|p| p % 2).collect();
    assert_eq!(parities, [1, 1, 0]);
    let random = ports(Ports::Random, &same);
    assert!(random[0] != 5000 && random[1] != random[0] + 1);
    assert_eq!(random, ports(Ports::Random, &same), "from the seed");
    assert_eq!(ports(Ports::Sequential, &same), [1_024, 1_025, 1_026]);
}

#[test]
fn a_box_without_room_drops_what_needs_another_mapping_until_one_ends() {
    let mut lab = Lab::new(NatConfig {
        max_mappings: 2,
        ..NatConfig::symmetric()
    });
    let first = lab.out(REMOTE[0]);
    lab.out(REMOTE[1]);
    let full = lab.send(HIDDEN, INSIDE, at(REMOTE[2]));
    assert_eq!(full, Err(DropCause::NatPorts));
    assert_eq!(lab.out(REMOTE[0]), first, "what there is goes on");
    lab.pass(NatConfig::default().expiry);
    lab.out(REMOTE[2]);
}

#[test]
fn a_reboot_loses_all_mappings_and_gives_other_ports() {
    for ports in [
        Ports::Preserve,
        Ports::Parity,
        Ports::Random,
        Ports::Sequential,
    ] {
        let mut lab = Lab::new(NatConfig {
            ports,
            ..NatConfig::full_cone()
        });
        let before = lab.out(REMOTE[0]);
        lab.network.reboot_gateway(0);
        let lost = lab.send(PUBLIC, REMOTE[0], before);
        assert_eq!(lost, Err(DropCause::NoMapping));
        let after = lab.out(REMOTE[0]);
        assert_eq!(after.ip(), before.ip());
        assert_ne!(after.port(), before.port(), "{ports:?}");
    }
}

#[test]
fn a_box_that_is_renumbered_is_found_at_its_new_address_only() {
    let mut lab = Lab::new(NatConfig::full_cone());
    let before = lab.out(REMOTE[0]);
    let external = lab.network.renumber_gateway(0);
    let lost = lab.send(PUBLIC, REMOTE[0], before);
    assert_eq!(lost, Err(DropCause::Unrouted));
    let after = lab.out(REMOTE[0]);
    assert_eq!(after.ip(), IpAddr::V4(external));
    assert_ne!(after.ip(), before.ip());
    assert!(lab.send(PUBLIC, REMOTE[0], after).is_ok());
}

#[test]
fn a_hairpin_shows_outside_addresses_and_is_filtered_like_any_other() {
    let other = "192.168.1.3:6000";
    for hairpin in [false, true] {
        let mut lab = Lab::new(NatConfig {
            hairpin,
            ..NatConfig::port_restricted()
        });
        lab.host(2, 0, other);
        let seen = lab.out(REMOTE[0]);
        let outcome = lab.send(2, other, at(REMOTE[0]));
        let seen_of_other = outcome.expect("the way out is open").1;
        let first = lab.send(HIDDEN, INSIDE, seen_of_other);
        let answer = lab.send(2, other, seen);
        if hairpin {
            assert_eq!(first, Err(DropCause::NatFilter));
            assert_eq!(answer, Ok((HIDDEN, seen_of_other, at(INSIDE))));
        } else {
            assert_eq!(first, Err(DropCause::NatHairpin));
            assert_eq!(answer, Err(DropCause::NatHairpin));
        }
    }
}

#[test]
fn hosts_of_one_network_reach_each_other_directly() {
    let other = "192.168.1.3:5000";
    let mut lab = Lab::new(NatConfig {
        firewall: Firewall::no_udp(),
        ..NatConfig::symmetric()
    });
    lab.host(2, 0, other);
    let outcome = lab.send(HIDDEN, INSIDE, at(other));
    assert_eq!(outcome, Ok((2, at(INSIDE), at(other))));
    assert_eq!(lab.network.mappings(0, lab.now), 0);
}

#[test]
fn two_networks_may_have_the_same_addresses() {
    let mut lab = Lab::new(NatConfig::full_cone());
    let second = lab.network.add_gateway(NatConfig::full_cone(), None);
    lab.host(2, second, INSIDE);
    let one = lab.out(REMOTE[0]);
    let outcome = lab.send(2, INSIDE, at(REMOTE[0]));
    let two = outcome.expect("the way out is open").1;
    assert_ne!(one.ip(), two.ip());
    let to = |outcome: Outcome| outcome.map(|(host, ..)| host);
    assert_eq!(to(lab.send(HIDDEN, INSIDE, two)), Ok(2));
    assert_eq!(to(lab.send(2, INSIDE, one)), Ok(HIDDEN));
    assert_eq!(to(lab.send(HIDDEN, INSIDE, at(INSIDE))), Ok(HIDDEN));
}

#[test]
fn two_boxes_in_a_row_both_translate_and_both_filter() {
    let mut lab = Lab::empty();
    for address in REMOTE {
        lab.network.attach(PUBLIC, at(address));
    }
    let carrier = NatConfig {
        hairpin: true,
        ..NatConfig::address_restricted()
    };
    let outer = lab.network.add_gateway(carrier, None);
    let home = NatConfig::full_cone();
    let inner = lab.network.add_gateway(home.clone(), Some(outer));
    let next_door = lab.network.add_gateway(home, Some(outer));
    lab.host(HIDDEN, inner, INSIDE);
    lab.host(2, next_door, INSIDE);
    let seen = lab.out(REMOTE[0]);
    assert_eq!(seen.ip(), IpAddr::V4(lab.network.external(outer)));
    assert_eq!(lab.network.mappings(inner, lab.now), 1);
    let back = lab.send(PUBLIC, REMOTE[1], seen);
    assert_eq!(back, Ok((HIDDEN, at(REMOTE[1]), at(INSIDE))));
    let stranger = lab.send(PUBLIC, REMOTE[2], seen);
    assert_eq!(stranger, Err(DropCause::NatFilter));
    // The neighbour turns at the outer box, which shows its own address.
    let outcome = lab.send(2, INSIDE, at(REMOTE[0]));
    let neighbour = outcome.expect("the way out is open").1;
    let knock = lab.send(HIDDEN, INSIDE, neighbour);
    assert_eq!(knock, Err(DropCause::NatFilter));
    let outcome = lab.send(2, INSIDE, seen);
    assert_eq!(outcome, Ok((HIDDEN, neighbour, at(INSIDE))));
}

#[test]
fn a_firewall_stops_its_kind_in_both_directions() {
    let mut lab = Lab::new(NatConfig::full_cone());
    let seen = lab.out(REMOTE[0]);
    let wall = Firewall {
        dtls_above: Some(99),
        ..Firewall::default()
    };
    lab.network.set_firewall(0, wall);
    let large = [22; 100];
    let out = lab.send_bytes(HIDDEN, INSIDE, at(REMOTE[0]), &large);
    let back = lab.send_bytes(PUBLIC, REMOTE[0], seen, &large);
    assert_eq!([out, back], [Err(DropCause::Firewall); 2]);
    assert!(
        lab.send_bytes(HIDDEN, INSIDE, at(REMOTE[0]), &[22; 99])
            .is_ok()
    );
    assert_eq!(lab.network.accounts().dropped_by(DropCause::Firewall), 2);
    lab.network.heal();
    assert!(lab.send_bytes(PUBLIC, REMOTE[0], seen, &large).is_ok());
}

#[test]
fn ipv6_is_filtered_and_not_translated() {
    let (inside, remote, stranger) = ("[fd00::2]:5000", "[fd00::1]:5000", "[fd00:1::1]:5000");
    let mut lab = Lab::new(NatConfig::default());
    lab.network.attach(PUBLIC, at(remote));
    lab.network.attach(PUBLIC, at(stranger));
    lab.host(HIDDEN, 0, inside);
    let knock = lab.send(PUBLIC, remote, at(inside));
    assert_eq!(knock, Err(DropCause::NatFilter));
    let outcome = lab.send(HIDDEN, inside, at(remote));
    assert_eq!(outcome, Ok((PUBLIC, at(inside), at(remote))));
    assert!(lab.send(PUBLIC, remote, at(inside)).is_ok());
    let outcome = lab.send(PUBLIC, stranger, at(inside));
    assert_eq!(outcome, Err(DropCause::NatFilter));
    lab.pass(NatConfig::default().expiry);
    let late = lab.send(PUBLIC, remote, at(inside));
    assert_eq!(late, Err(DropCause::NatFilter));
    lab.network.detach_from(HIDDEN, at(inside));
    let gone = lab.send(PUBLIC, remote, at(inside));
    assert_eq!(gone, Err(DropCause::Unrouted));
}

const INSIDE6: &str = "[fd00::2]:5000";

/// A host of IPv6 behind a NAT64, and those of IPv4 on the internet.
fn nat64(config: NatConfig) -> Lab {
    let mut lab = Lab::new(config);
    lab.host(HIDDEN, 0, INSIDE6);
    lab
}

/// What a host behind a NAT64 calls an address of IPv4.
fn embedded(address: impl ToString) -> SocketAddr {
    embedded::embed(at(&address.to_string()))
}

#[test]
fn a_nat64_maps_independently_of_the_endpoint_and_lets_in_whose_address_was_sent_to() {
    let mut lab = nat64(NatConfig::nat64());
    let seen = REMOTE.map(|remote| {
        let outcome = lab.send(HIDDEN, INSIDE6, embedded(remote));
        let (to, source, destination) = outcome.expect("the way out is open");
        assert_eq!((to, destination), (PUBLIC, at(remote)));
        source
    });
    assert_eq!(seen[0].ip(), IpAddr::V4(lab.network.external(0)));
    assert_eq!(seen, [seen[0]; 4]);
    let mut lab = nat64(NatConfig::nat64());
    let outcome = lab.send(HIDDEN, INSIDE6, embedded(REMOTE[0]));
    let seen = outcome.expect("the way out is open").1;
    let back = |source: &str| Ok((HIDDEN, embedded(source), at(INSIDE6)));
    assert_eq!(lab.send(PUBLIC, REMOTE[1], seen), back(REMOTE[1]));
    let stranger = lab.send(PUBLIC, REMOTE[2], seen);
    assert_eq!(stranger, Err(DropCause::NatFilter));
    lab.pass(NatConfig::nat64().expiry);
    let late = lab.send(PUBLIC, REMOTE[0], seen);
    assert_eq!(late, Err(DropCause::NoMapping));
}

#[test]
fn hosts_behind_a_nat64_reach_each_other_as_they_are_seen_outside() {
    let other = "[fd00::3]:6000";
    let mut lab = nat64(NatConfig::nat64());
    lab.host(2, 0, other);
    let mut seen = |host, inside| {
        let outcome = lab.send(host, inside, embedded(REMOTE[0]));
        outcome.expect("the way out is open").1
    };
    let (seen, seen_of_other) = (seen(HIDDEN, INSIDE6), seen(2, other));
    let first = lab.send(HIDDEN, INSIDE6, embedded(seen_of_other));
    assert_eq!(first, Err(DropCause::NatFilter));
    let answer = lab.send(2, other, embedded(seen));
    assert_eq!(answer, Ok((HIDDEN, embedded(seen_of_other), at(INSIDE6))));
}

#[test]
fn a_nat64_leaves_ipv6_as_it_is_and_other_boxes_know_no_embedded_addresses() {
    let remote = "[fd00::1]:5000";
    let mut lab = nat64(NatConfig::nat64());
    lab.network.attach(PUBLIC, at(remote));
    let outcome = lab.send(HIDDEN, INSIDE6, at(remote));
    assert_eq!(outcome, Ok((PUBLIC, at(INSIDE6), at(remote))));
    assert!(lab.send(PUBLIC, remote, at(INSIDE6)).is_ok());
    assert_eq!(lab.network.mappings(0, lab.now), 0);
    let mut lab = nat64(NatConfig::default());
    let outcome = lab.send(HIDDEN, INSIDE6, embedded(REMOTE[0]));
    assert_eq!(outcome, Err(DropCause::Unrouted));
}

#[test]
fn a_network_of_both_families_shares_one_address_for_both() {
    let mut lab = nat64(NatConfig {
        nat64: true,
        ..NatConfig::full_cone()
    });
    lab.host(HIDDEN, 0, INSIDE);
    let four = lab.out(REMOTE[0]);
    let outcome = lab.send(HIDDEN, INSIDE6, embedded(REMOTE[0]));
    let six = outcome.expect("the way out is open").1;
    assert_eq!(four.ip(), six.ip());
    assert_ne!(four.port(), six.port());
    let outcome = lab.send(PUBLIC, REMOTE[2], four);
    assert_eq!(outcome, Ok((HIDDEN, at(REMOTE[2]), at(INSIDE))));
    let outcome = lab.send(PUBLIC, REMOTE[2], six);
    assert_eq!(outcome, Ok((HIDDEN, embedded(REMOTE[2]), at(INSIDE6))));
}

#[test]
fn behind_an_open_box_hosts_are_reached_at_once() {
    let mut lab = Lab::new(NatConfig::open());
    lab.host(HIDDEN, 0, "10.0.0.2:5000");
    let outcome = lab.send(PUBLIC, REMOTE[0], at("10.0.0.2:5000"));
    assert_eq!(outcome, Ok((HIDDEN, at(REMOTE[0]), at("10.0.0.2:5000"))));
}
