//! Who needs a relay.

use super::*;

/// Two peers check each other through models of their NATs as ICE does, and the rule says the same.
#[test]
fn a_relay_is_needed_exactly_where_checks_do_not_get_through() {
    let mut needed = 0;
    for [ours, theirs] in pairs() {
        let (mut a, mut b) = (nat(ours, outer()), nat(theirs, other_outer()));
        let expected = if connect(&mut a, &mut b) {
            RelayNeed::No
        } else {
            RelayNeed::Yes
        };
        let (a, b) = (report(ours, outer()), report(theirs, other_outer()));
        assert_eq!(a.requires_relay(&b), expected, "{ours:?} {theirs:?}");
        assert_eq!(b.requires_relay(&a), expected, "{theirs:?} {ours:?}");
        needed += u32::from(expected == RelayNeed::Yes);
    }
    assert!((1..81).contains(&needed));
}

#[test]
fn the_well_known_pairs_need_a_relay_or_not() {
    let cone = (
        Mapping::EndpointIndependent,
        Filtering::AddressAndPortDependent,
    );
    let restricted = (Mapping::EndpointIndependent, Filtering::AddressDependent);
    let symmetric = (
        Mapping::AddressAndPortDependent,
        Filtering::AddressAndPortDependent,
    );
    let need = |a, b| report(a, outer()).requires_relay(&report(b, other_outer()));
    assert_eq!(need(symmetric, symmetric), RelayNeed::Yes);
    assert_eq!(need(symmetric, cone), RelayNeed::Yes);
    assert_eq!(need(symmetric, restricted), RelayNeed::No);
    assert_eq!(need(cone, cone), RelayNeed::No);
}

#[test]
fn what_is_not_known_says_so_only_where_it_matters() {
    for [ours, theirs] in pairs() {
        let (a, b) = (report(ours, outer()), report(theirs, other_outer()));
        let right = a.requires_relay(&b);
        for hide in [
            |r: &mut NatReport| r.filtering = None,
            |r: &mut NatReport| r.mapping = None,
        ] {
            let mut less = a.clone();
            hide(&mut less);
            let need = less.requires_relay(&b);
            assert!(need == right || need == RelayNeed::Unknown);
            assert_eq!(need, b.requires_relay(&less));
        }
    }
    let cone = (Mapping::EndpointIndependent, Filtering::AddressDependent);
    let mut unfiltered = report(cone, outer());
    unfiltered.filtering = None;
    let need = unfiltered.requires_relay(&report(cone, other_outer()));
    assert_eq!(need, RelayNeed::No, "filters do not matter to two cones");
}

#[test]
fn blocked_hosts_need_a_relay_and_hosts_at_one_address_cannot_tell() {
    let cone = (Mapping::EndpointIndependent, Filtering::AddressDependent);
    let (a, mut b) = (report(cone, outer()), report(cone, outer()));
    assert_eq!(a.requires_relay(&b), RelayNeed::Unknown);
    b.hairpin = Some(true);
    assert_eq!(b.requires_relay(&a), RelayNeed::No);
    b.family = Some(Family::Ipv6);
    assert_eq!(a.requires_relay(&b), RelayNeed::Unknown, "other families");
    b.kind = NatKind::Blocked;
    assert_eq!(a.requires_relay(&b), RelayNeed::Yes);
    assert_eq!(b.requires_relay(&a), RelayNeed::Yes);
}

/// Whether two peers behind these NATs get through to each other.
fn connect(a: &mut Nat, b: &mut Nat) -> bool {
    let sockets = [shared(), address("10.0.1.1:4000")];
    let server = rfc_server().address;
    let outer = [
        a.outbound(sockets[0], server),
        b.outbound(sockets[1], server),
    ];
    let nats = [a, b];
    let mut known = [vec![outer[1]], vec![outer[0]]];
    for _ in 0..6 {
        for [we, they] in [[0, 1], [1, 0]] {
            for to in known[we].clone() {
                let from = nats[we].outbound(sockets[we], to);
                if nats[they].inbound(to, from).is_none() {
                    continue;
                }
                if !known[they].contains(&from) {
                    known[they].push(from);
                }
                // An answer counts from where was asked (RFC 8445 section 7.2.5.2.1).
                let back = nats[they].outbound(sockets[they], from);
                if back == to && nats[we].inbound(from, back).is_some() {
                    return true;
                }
            }
        }
    }
    false
}

fn pairs() -> Vec<[Behaviour; 2]> {
    let all = MAPPINGS
        .into_iter()
        .flat_map(|m| FILTERINGS.map(|f| (m, f)));
    let all: Vec<Behaviour> = all.collect();
    all.iter()
        .flat_map(|a| all.iter().map(|b| [*a, *b]))
        .collect()
}

type Behaviour = (Mapping, Filtering);

fn nat((mapping, filtering): Behaviour, ip: IpAddr) -> Nat {
    Nat::new(mapping, filtering, ip)
}

fn report((mapping, filtering): Behaviour, ip: IpAddr) -> NatReport {
    let (mapping, filtering) = (Some(mapping), Some(filtering));
    NatReport {
        kind: NatKind::of(Some(true), mapping, filtering),
        family: Some(Family::Ipv4),
        translated: Some(true),
        mapping,
        filtering,
        hairpin: None,
        port_preserved: None,
        mapped_ipv4: Some(SocketAddr::new(ip, 7)),
        mapped_ipv6: None,
        servers: Vec::new(),
        at: Instant::now(),
    }
}

fn other_outer() -> IpAddr {
    address("192.0.2.2:1").ip()
}
