//! Whole discoveries, through a model of a NAT.

mod relay;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::facts::Test;
use super::model::{Incoming, Manner, Nat, Server, World};
use super::*;
use crate::config::Config;
use crate::rng::{Rng, Seed};

#[test]
fn each_mapping_and_filtering_is_found_and_named() {
    for mapping in MAPPINGS {
        for filtering in FILTERINGS {
            let report = Host::behind(Nat::new(mapping, filtering, outer()))
                .run()
                .report;
            assert_eq!(report.mapping, Some(mapping));
            assert_eq!(report.filtering, Some(filtering), "{mapping}");
            assert_eq!(report.translated, Some(true));
            let kind = match (mapping, filtering) {
                (Mapping::EndpointIndependent, Filtering::EndpointIndependent) => NatKind::FullCone,
                (Mapping::EndpointIndependent, Filtering::AddressDependent) => NatKind::Restricted,
                (Mapping::EndpointIndependent, Filtering::AddressAndPortDependent) => {
                    NatKind::PortRestricted
                }
                (Mapping::AddressDependent | Mapping::AddressAndPortDependent, _) => {
                    NatKind::Symmetric
                }
            };
            assert_eq!(report.kind, kind, "{mapping}, {filtering}");
        }
    }
}

#[test]
fn without_a_nat_a_host_is_named_by_what_its_firewall_lets_in() {
    for (filtering, kind) in [
        (Filtering::EndpointIndependent, NatKind::Open),
        (Filtering::AddressDependent, NatKind::Restricted),
        (Filtering::AddressAndPortDependent, NatKind::PortRestricted),
    ] {
        let report = Host::behind(firewall(filtering)).run().report;
        assert_eq!(report.kind, kind);
        assert_eq!(report.translated, Some(false));
        assert_eq!(report.mapping, Some(Mapping::EndpointIndependent));
        assert_eq!(report.mapped_ipv4, Some(shared()));
        assert_eq!(report.hairpin, None, "there is nothing to come back from");
    }
}

#[test]
fn hairpinning_is_seen_through_every_filter() {
    for filtering in FILTERINGS {
        for hairpins in [true, false] {
            let mut nat = Nat::new(Mapping::EndpointIndependent, filtering, outer());
            nat.hairpins = hairpins;
            let report = Host::behind(nat).run().report;
            assert_eq!(report.hairpin, Some(hairpins), "{filtering}");
        }
    }
}

#[test]
fn a_port_that_is_kept_is_seen() {
    for preserves_ports in [true, false] {
        let mut nat = cone();
        nat.preserves_ports = preserves_ports;
        let report = Host::behind(nat).run().report;
        assert_eq!(report.port_preserved, Some(preserves_ports));
    }
}

#[test]
fn where_no_server_answers_udp_is_blocked() {
    let mut host = Host::behind(cone());
    host.world.servers = vec![
        Server {
            manner: Manner::Silent,
            ..rfc_server()
        },
        Server {
            manner: Manner::Silent,
            ..plain_server(1)
        },
    ];
    let run = host.run();
    assert_eq!(run.report.kind, NatKind::Blocked);
    assert_eq!(run.report.family, None);
    let answers: Vec<_> = run.report.servers.iter().map(|s| s.answer).collect();
    assert_eq!(answers, [ServerAnswer::None; 2]);
    // The second server was asked a pace later.
    assert_eq!(run.took, LADDER.total() + PACE);
    assert_eq!(run.sockets, 0, "no socket is needed");
}

#[test]
fn a_server_that_refuses_shows_that_udp_is_not_blocked() {
    let mut host = Host::behind(cone());
    host.world.servers = vec![Server {
        manner: Manner::Refuses(401),
        ..rfc_server()
    }];
    let report = host.run().report;
    assert_eq!(report.kind, NatKind::Unknown);
    assert_eq!(report.servers[0].answer, ServerAnswer::Refused(401));
}

#[test]
fn a_silent_server_does_not_hide_what_another_tells() {
    let mut host = Host::behind(cone());
    let silent = Server {
        manner: Manner::Silent,
        ..plain_server(1)
    };
    host.world.servers.insert(0, silent);
    let report = host.run().report;
    assert_eq!(report.kind, NatKind::PortRestricted);
    assert_eq!(report.servers.len(), 2);
    assert_eq!(report.servers[1].rtt, Some(LATENCY));
}

#[test]
fn plain_servers_tell_the_mapping_and_not_the_filtering() {
    for (mapping, seen, kind) in [
        (
            Mapping::EndpointIndependent,
            Mapping::EndpointIndependent,
            NatKind::Unknown,
        ),
        (
            Mapping::AddressDependent,
            Mapping::AddressAndPortDependent,
            NatKind::Symmetric,
        ),
        (
            Mapping::AddressAndPortDependent,
            Mapping::AddressAndPortDependent,
            NatKind::Symmetric,
        ),
    ] {
        let nat = Nat::new(mapping, Filtering::AddressDependent, outer());
        let mut host = Host::behind(nat);
        host.world.servers = vec![plain_server(1), plain_server(2)];
        let report = host.run().report;
        assert_eq!(report.mapping, Some(seen));
        assert_eq!(report.filtering, None);
        assert_eq!(report.kind, kind);
        assert_eq!(report.hairpin, Some(false));
        assert_eq!(report.port_preserved, Some(false));
    }
}

#[test]
fn one_plain_server_or_two_at_one_address_do_not_tell_that_a_mapping_depends_on_nothing() {
    let same_ip = |port| Server {
        address: SocketAddr::new(plain_server(1).address.ip(), port),
        ..plain_server(1)
    };
    for servers in [vec![same_ip(1)], vec![same_ip(1), same_ip(2)]] {
        let mut host = Host::behind(cone());
        host.world.servers = servers;
        let report = host.run().report;
        assert_eq!(report.mapping, None);
        assert_eq!(report.kind, NatKind::Unknown);
        assert!(report.mapped_ipv4.is_some());
    }
    let symmetric = Nat::new(
        Mapping::AddressAndPortDependent,
        Filtering::AddressDependent,
        outer(),
    );
    let mut host = Host::behind(symmetric);
    host.world.servers = vec![same_ip(1), same_ip(2)];
    let mapping = host.run().report.mapping;
    assert_eq!(mapping, Some(Mapping::AddressAndPortDependent));
}

#[test]
fn a_server_that_cannot_answer_from_elsewhere_leaves_the_filtering_unknown() {
    for manner in [
        Manner::IgnoresChange,
        Manner::IgnoresPort,
        Manner::RefusesChange,
        Manner::OtherIsDead,
    ] {
        let mut host = Host::behind(cone());
        host.world.servers[0].manner = manner;
        let report = host.run().report;
        assert_eq!(report.filtering, None, "{manner:?}");
        let mapping = (manner != Manner::OtherIsDead).then_some(Mapping::EndpointIndependent);
        assert_eq!(report.mapping, mapping, "{manner:?}");
    }
}

#[test]
fn another_address_that_is_none_or_may_not_be_sent_to_is_not_used() {
    for other in [
        "198.51.100.1:3479",    // The same IP address.
        "198.51.100.2:3478",    // The same port.
        "[2001:db8::2]:3479",   // Another family.
        "127.0.0.1:3479",       // Here.
        "255.255.255.255:3479", // Everybody.
    ] {
        let mut host = Host::behind(cone());
        host.world.servers[0].other = Some(address(other));
        let run = host.run();
        assert_eq!(run.report.filtering, None, "{other}");
        assert!(run.sent_to.iter().all(|to| *to != address(other)));
        assert!(
            run.sent_to
                .iter()
                .all(|to| to.ip() != address("198.51.100.2:1").ip())
        );
    }
}

#[test]
fn a_server_that_lies_about_our_family_tells_nothing() {
    let mut host = Host::behind(cone());
    host.world.servers[0].manner = Manner::Claims(address("[2001:db8::9]:9"));
    let report = host.run().report;
    assert_eq!(report.kind, NatKind::Unknown);
    assert_eq!(report.servers[0].answer, ServerAnswer::Useless);
    assert_eq!((report.mapped_ipv4, report.mapped_ipv6), (None, None));
}

#[test]
fn a_server_cannot_make_us_send_to_what_policy_forbids() {
    let loopback = address("127.0.0.1:22");
    let mut host = Host::behind(cone());
    host.world.servers[0].manner = Manner::Claims(loopback);
    let run = host.run();
    assert!(!run.sent_to.contains(&loopback));
    assert_eq!(run.report.hairpin, None);
}

#[test]
fn ipv6_alone_is_tested_where_there_is_nothing_else() {
    let server = Server {
        address: address("[2001:db8:1::1]:3478"),
        other: Some(address("[2001:db8:1::2]:3479")),
        manner: Manner::Right,
    };
    let mut host = Host::behind(firewall(Filtering::AddressAndPortDependent));
    host.world.servers = vec![server];
    host.sockets = vec![address("[2001:db8::7]:4000")];
    host.fresh = Fresh::Bound(Duration::ZERO, address("[2001:db8::7]:5000"));
    let report = host.run().report;
    assert_eq!(report.family, Some(Family::Ipv6));
    assert_eq!(report.kind, NatKind::PortRestricted);
    assert_eq!(report.mapped_ipv4, None);
    assert_eq!(report.mapped_ipv6, Some(address("[2001:db8::7]:4000")));
}

#[test]
fn of_both_families_ipv4_is_tested_and_both_addresses_are_told() {
    let v6 = Server {
        address: address("[2001:db8:1::1]:3478"),
        other: Some(address("[2001:db8:1::2]:3479")),
        manner: Manner::Right,
    };
    let mut host = Host::behind(cone());
    host.world.servers.insert(0, v6);
    host.sockets.insert(0, address("[2001:db8::7]:4000"));
    let report = host.run().report;
    assert_eq!(report.family, Some(Family::Ipv4));
    assert_eq!(report.kind, NatKind::PortRestricted);
    assert!(report.mapped_ipv4.is_some() && report.mapped_ipv6.is_some());
}

#[test]
fn servers_without_a_socket_of_their_family_are_not_asked() {
    let mut host = Host::behind(cone());
    host.sockets = vec![address("[2001:db8::7]:4000")];
    let run = host.run();
    assert_eq!(run.report.kind, NatKind::Unknown);
    assert_eq!(run.report.servers, []);
    assert_eq!(run.sent_to, []);
}

#[test]
fn servers_without_a_port_are_not_asked() {
    let mut host = Host::behind(cone());
    host.world.servers[0].address.set_port(0);
    assert_eq!(host.run().report.servers, []);
}

#[test]
fn servers_are_asked_up_to_the_limit_and_each_once() {
    let mut host = Host::behind(cone());
    let twice = |n| [plain_server(n), plain_server(n)];
    host.world.servers = (1..=9).flat_map(twice).collect();
    let report = host.run().report;
    assert_eq!(report.servers.len(), MAX_SERVERS);
    assert_eq!(report.mapping, Some(Mapping::EndpointIndependent));
}

#[test]
fn without_a_fresh_socket_the_mapping_is_found_and_the_rest_is_unknown() {
    for fresh in [Fresh::Fails, Fresh::Never] {
        let mut host = Host::behind(cone());
        host.fresh = fresh;
        let report = host.run().report;
        assert_eq!(report.mapping, Some(Mapping::EndpointIndependent));
        assert_eq!(report.filtering, None);
        assert_eq!((report.hairpin, report.port_preserved), (None, None));
    }
}

#[test]
fn a_socket_that_comes_too_late_is_not_used() {
    let mut host = Host::behind(cone());
    host.fresh = Fresh::Bound(SOCKET_PATIENCE + Duration::from_millis(1), fresh());
    let run = host.run();
    assert_eq!(run.report.filtering, None);
    let mut host = Host::behind(cone());
    host.fresh = Fresh::Bound(SOCKET_PATIENCE - Duration::from_millis(1), fresh());
    assert!(host.run().report.filtering.is_some());
}

#[test]
fn a_second_socket_is_not_used() {
    let (mut host, mut discovery) = awaiting_socket();
    let second = address("10.0.0.1:5001");
    discovery.socket_bound(fresh(), host.start);
    discovery.socket_bound(second, host.start);
    discovery.socket_failed(host.start);
    let run = host.drive(discovery);
    assert_eq!(run.report.kind, NatKind::PortRestricted);
    assert!(run.sent_from.contains(&fresh()) && !run.sent_from.contains(&second));
}

#[test]
fn our_request_counts_only_at_the_socket_that_it_was_sent_to() {
    let mut host = Host::behind(cone());
    let (mut now, mut discovery) = (host.start, host.discovery());
    let probe = loop {
        match discovery.poll_output() {
            Some(NatOutput::Transmit(sent)) if sent.destination.ip() == outer() => break sent,
            Some(NatOutput::Transmit(sent)) => {
                if let Some(back) = host.world.carry(&sent) {
                    discovery.handle_datagram(back.local, back.remote, &back.contents, now);
                }
            }
            Some(NatOutput::NeedSocket { .. }) => discovery.socket_bound(fresh(), now),
            Some(NatOutput::Done(report)) => panic!("it was not tried: {report}"),
            None => {
                now = discovery.poll_timeout().expect("not over");
                discovery.handle_timeout(now);
            }
        }
    };
    assert_eq!(probe.source, fresh());
    let remote = address("192.0.2.1:20001");
    assert!(!discovery.handle_datagram(fresh(), remote, &probe.contents, now));
    assert!(discovery.handle_datagram(shared(), remote, &probe.contents, now));
    assert!(!discovery.handle_datagram(shared(), remote, &probe.contents, now));
}

#[test]
fn transactions_begin_at_their_pace() {
    let mut host = Host::behind(cone());
    host.world.servers = (1..=3).map(plain_server).collect();
    let mut discovery = host.discovery();
    let (mut begun, mut now) = (Vec::new(), host.start);
    while begun.len() < 3 {
        while let Some(NatOutput::Transmit(_)) = discovery.poll_output() {
            begun.push(now - host.start);
        }
        discovery.handle_timeout(now + PACE / 2);
        assert_eq!(discovery.poll_output(), None);
        now = discovery.poll_timeout().expect("not over");
        discovery.handle_timeout(now);
    }
    assert_eq!(begun, [Duration::ZERO, PACE, PACE * 2]);
}

#[test]
fn the_longest_discovery_is_within_its_bound() {
    let tests = [
        Test::OtherIp,
        Test::OtherIpAndPort,
        Test::Fresh,
        Test::ChangeBoth,
        Test::ChangePort,
        Test::HairpinToShared,
        Test::HairpinToFresh,
    ];
    let begun = u32::try_from(MAX_SERVERS + tests.len()).expect("few");
    let bound = LADDER.total() * 3 + SOCKET_PATIENCE + PACE * begun;
    assert_eq!(MAX_DURATION, bound);

    let mut host = Host::behind(cone());
    let silent = |n| Server {
        manner: Manner::Silent,
        ..plain_server(n)
    };
    host.world.servers.extend((1..8).map(silent));
    host.latency = LADDER.total() - Duration::from_millis(1);
    host.fresh = Fresh::Bound(SOCKET_PATIENCE - Duration::from_millis(1), fresh());
    let run = host.run();
    assert_eq!(run.report.kind, NatKind::PortRestricted);
    assert!(run.took <= MAX_DURATION, "{:?}", run.took);
    assert!(run.took > MAX_DURATION - Duration::from_secs(1));
}

#[test]
fn after_the_end_nothing_is_taken_or_wanted() {
    let mut host = Host::behind(cone());
    let run = host.run();
    let mut discovery = run.discovery;
    assert_eq!(discovery.poll_timeout(), None);
    let later = host.start + MAX_DURATION;
    discovery.socket_bound(fresh(), later);
    discovery.handle_timeout(later);
    let last = run.last.expect("datagrams came");
    assert!(!discovery.handle_datagram(last.local, last.remote, &last.contents, later));
    assert_eq!(discovery.poll_output(), None);
}

#[test]
fn datagrams_of_others_are_left_to_them() {
    let host = Host::behind(cone());
    let mut discovery = host.discovery();
    let server = rfc_server().address;
    for datagram in [&b""[..], b"\x16\xfe\xfd", b"\x01\x01\x00\x00"] {
        assert!(!discovery.handle_datagram(shared(), server, datagram, host.start));
    }
}

#[test]
fn a_seed_repeats_a_discovery() {
    let run = || Host::behind(cone()).run();
    let (first, second) = (run(), run());
    assert_eq!(first.sent_to, second.sent_to);
    assert_eq!(first.last, second.last);
}

#[test]
fn a_report_has_its_age_and_reads_well() {
    let mut nat = cone();
    nat.hairpins = true;
    let report = Host::behind(nat).run().report;
    assert_eq!(report.age(report.at), Duration::ZERO);
    let later = report.at + Duration::from_secs(60);
    assert_eq!(report.age(later), Duration::from_secs(60));
    insta::assert_snapshot!(report.to_string(), @r"
    port restricted: only ports that this host has sent to get in
      mapping:        endpoint-independent
      filtering:      address and port-dependent
      hairpinning:    yes
      port preserved: no
      seen from outside over IPv4: 192.0.2.1:20000
      servers that answered: 1 of 1
    ");
}

#[test]
fn a_report_is_written_as_json() {
    let report = Host::behind(cone()).run().report;
    insta::assert_snapshot!(serde_json::to_string_pretty(&report).expect("json"), @r#"
    {
      "kind": "port-restricted",
      "family": "ipv4",
      "translated": true,
      "mapping": "endpoint-independent",
      "filtering": "address-and-port-dependent",
      "hairpin": false,
      "port_preserved": false,
      "mapped_ipv4": "192.0.2.1:20000",
      "mapped_ipv6": null,
      "servers": [
        {
          "server": "198.51.100.1:3478",
          "answer": {
            "mapped": "192.0.2.1:20000"
          },
          "rtt": {
            "secs": 0,
            "nanos": 20000000
          }
        }
      ]
    }
    "#);
}

proptest! {
    /// Whatever servers send from wherever, at whatever time: it ends, in time, and says what it can.
    #[test]
    fn no_server_keeps_a_discovery_from_its_end(
        bodies in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..60)),
            0..20,
        ),
        delays in proptest::collection::vec(0_u64..3_000, 1..20),
    ) {
        let host = Host::behind(cone());
        let mut discovery = host.discovery();
        let (mut now, mut done) = (host.start, None);
        let mut bodies = bodies.into_iter();
        let mut delays = delays.into_iter().cycle();
        while done.is_none() {
            while let Some(output) = discovery.poll_output() {
                match output {
                    NatOutput::Transmit(sent) => {
                        let Some((is_error, body)) = bodies.next() else { continue };
                        let bytes = response(&sent.contents, is_error, &body);
                        discovery.handle_datagram(sent.source, sent.destination, &bytes, now);
                    }
                    NatOutput::NeedSocket { .. } => discovery.socket_bound(fresh(), now),
                    NatOutput::Done(report) => done = Some(report),
                }
            }
            if let Some(due) = discovery.poll_timeout() {
                let next = Duration::from_millis(delays.next().unwrap_or_default());
                now = due.max(now).min(now + next);
                discovery.handle_timeout(now);
            }
        }
        prop_assert!(now - host.start <= MAX_DURATION);
    }
}

/// A discovery that has reached its server, at once, and wants a socket.
fn awaiting_socket() -> (Host, NatDiscovery) {
    let mut host = Host::behind(cone());
    let mut discovery = host.discovery();
    let Some(NatOutput::Transmit(sent)) = discovery.poll_output() else {
        panic!("it asks at once");
    };
    let back = host.world.carry(&sent).expect("an answer");
    assert!(discovery.handle_datagram(back.local, back.remote, &back.contents, host.start));
    let wanted = discovery.poll_output();
    assert_eq!(wanted, Some(NatOutput::NeedSocket { ip: shared().ip() }));
    (host, discovery)
}

/// A response with the id of `request` and any attributes.
fn response(request: &[u8], is_error: bool, body: &[u8]) -> Vec<u8> {
    let body = &body[..body.len() / 4 * 4];
    let kind = if is_error { [1, 0x11] } else { [1, 1] };
    let len = u16::try_from(body.len()).expect("short").to_be_bytes();
    [&kind[..], &len, &request[4..20], body].concat()
}

/// A host that discovers.
struct Host {
    world: World,
    sockets: Vec<SocketAddr>,
    fresh: Fresh,
    /// From a request to its answer.
    latency: Duration,
    start: Instant,
}

/// What comes of the wish for a socket.
#[derive(Debug, Clone, Copy)]
enum Fresh {
    /// It is there after a while.
    Bound(Duration, SocketAddr),
    Fails,
    Never,
}

struct Run {
    report: NatReport,
    took: Duration,
    sent_from: Vec<SocketAddr>,
    sent_to: Vec<SocketAddr>,
    /// How many sockets were wanted.
    sockets: usize,
    /// What came last.
    last: Option<Incoming>,
    discovery: NatDiscovery,
}

impl Host {
    fn behind(nat: Nat) -> Self {
        Self {
            world: World {
                nat,
                servers: vec![rfc_server()],
            },
            sockets: vec![shared()],
            fresh: Fresh::Bound(Duration::ZERO, fresh()),
            latency: LATENCY,
            start: Instant::now(),
        }
    }

    fn discovery(&self) -> NatDiscovery {
        let servers: Vec<_> = self.world.servers.iter().map(|s| s.address).collect();
        let policy = AddressPolicy::new(&Config::default());
        let rng = Rng::new(&Seed::from([1; 32]));
        NatDiscovery::new(&servers, &self.sockets, policy, rng, self.start)
    }

    fn run(&mut self) -> Run {
        let discovery = self.discovery();
        self.drive(discovery)
    }

    fn drive(&mut self, mut discovery: NatDiscovery) -> Run {
        let (mut now, mut socket) = (self.start, None);
        let mut under_way: Vec<(Instant, Incoming)> = Vec::new();
        let (mut sent_from, mut sent_to) = (Vec::new(), Vec::new());
        let (mut sockets, mut last) = (0, None);
        loop {
            while let Some(output) = discovery.poll_output() {
                match output {
                    NatOutput::Transmit(sent) => {
                        sent_from.push(sent.source);
                        sent_to.push(sent.destination);
                        let back = self.world.carry(&sent);
                        under_way.extend(back.map(|b| (now + self.latency, b)));
                    }
                    NatOutput::NeedSocket { ip } => {
                        assert!(self.sockets.iter().any(|s| s.ip() == ip));
                        sockets += 1;
                        match self.fresh {
                            Fresh::Bound(after, local) => socket = Some((now + after, local)),
                            Fresh::Fails => discovery.socket_failed(now),
                            Fresh::Never => {}
                        }
                    }
                    NatOutput::Done(report) => {
                        let took = now - self.start;
                        assert_eq!(discovery.poll_output(), None, "it is the last");
                        return Run {
                            report,
                            took,
                            sent_from,
                            sent_to,
                            sockets,
                            last,
                            discovery,
                        };
                    }
                }
            }
            let deadline = discovery
                .poll_timeout()
                .expect("there is a deadline before the end");
            let first = under_way.iter().enumerate().min_by_key(|(_, (at, _))| *at);
            let first = first.map(|(index, (at, _))| (index, *at));
            let earliest = first.map_or(deadline, |(_, at)| at.min(deadline));
            if let Some((at, local)) = socket.filter(|(at, _)| *at < earliest) {
                (now, socket) = (at, None);
                discovery.socket_bound(local, now);
            } else if let Some((index, at)) = first.filter(|(_, at)| *at < deadline) {
                let (_, incoming) = under_way.remove(index);
                now = at;
                let Incoming {
                    local,
                    remote,
                    contents,
                } = &incoming;
                discovery.handle_datagram(*local, *remote, contents, now);
                last = Some(incoming);
            } else {
                assert!(deadline >= now, "time does not go back");
                now = deadline;
                discovery.handle_timeout(now);
            }
        }
    }
}

fn cone() -> Nat {
    Nat::new(
        Mapping::EndpointIndependent,
        Filtering::AddressAndPortDependent,
        outer(),
    )
}

fn firewall(filtering: Filtering) -> Nat {
    let mut nat = Nat::new(Mapping::EndpointIndependent, filtering, outer());
    nat.ip = None;
    nat
}

fn rfc_server() -> Server {
    Server {
        address: address("198.51.100.1:3478"),
        other: Some(address("198.51.100.2:3479")),
        manner: Manner::Right,
    }
}

fn plain_server(number: u8) -> Server {
    Server {
        address: SocketAddr::from(([203, 0, 113, number], 3_478)),
        other: None,
        manner: Manner::Right,
    }
}

fn shared() -> SocketAddr {
    address("10.0.0.1:4000")
}

fn fresh() -> SocketAddr {
    address("10.0.0.1:5000")
}

fn outer() -> IpAddr {
    address("192.0.2.1:1").ip()
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

const LATENCY: Duration = Duration::from_millis(20);

const MAPPINGS: [Mapping; 3] = [
    Mapping::EndpointIndependent,
    Mapping::AddressDependent,
    Mapping::AddressAndPortDependent,
];

const FILTERINGS: [Filtering; 3] = [
    Filtering::EndpointIndependent,
    Filtering::AddressDependent,
    Filtering::AddressAndPortDependent,
];
