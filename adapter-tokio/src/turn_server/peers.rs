//! Whom a server relays to.
//!
//! A TURN server sends what its clients say from an address of its own, which reaches what the clients cannot: services on
//! the machine itself, and hosts of its private network. So the addresses that are not of the public Internet are refused,
//! in every way in which they can be written (CVE-2020-26262 was `0.0.0.0` and `[::]` for loopback).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which peers are relayed to, beyond those of the public Internet and the allocations of the server itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerPolicy {
    /// Addresses of private networks, and those of the machine itself: for a demonstration in a local network. Default no.
    pub private: bool,
    /// Loopback addresses: for a demonstration on one machine. Default no.
    pub loopback: bool,
}

/// What an address is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Public,
    Private,
    Loopback,
    /// Never the address of one peer.
    Nobody,
}

impl PeerPolicy {
    /// Whether this address may be a peer. `own` are those of the machine.
    pub(super) fn permits(self, ip: IpAddr, own: &[IpAddr]) -> bool {
        let ip = ip.to_canonical();
        match reach(ip) {
            Reach::Public => self.private || !own.contains(&ip),
            Reach::Private => self.private,
            Reach::Loopback => self.loopback,
            Reach::Nobody => false,
        }
    }
}

fn reach(ip: IpAddr) -> Reach {
    match ip {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Reach {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        (127, ..) => Reach::Loopback,
        // "This network" (0.0.0.0 is loopback to some systems), link-local, multicast, reserved and broadcast.
        (0, ..) | (169, 254, _) | (224.., ..) => Reach::Nobody,
        // RFC 1918, RFC 6598, and the ranges of RFC 6890 that are no host of the Internet.
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Reach::Private,
        (192, 0, 0) | (198, 18..=19, _) => Reach::Private,
        _ => Reach::Public,
    }
}

fn reach_v6(ip: Ipv6Addr) -> Reach {
    if ip == Ipv6Addr::LOCALHOST {
        return Reach::Loopback;
    }
    match ip.segments() {
        // Unspecified and IPv4-compatible (RFC 4291 section 2.5.5.1): what they reach is up to the system.
        [0, 0, 0, 0, 0, 0, ..] => Reach::Nobody,
        // Translated or tunnelled to an IPv4 address that is written in them: RFC 6052, RFC 8215, RFC 3056, RFC 4380.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            reach_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        [0x64, 0xff9b, ..] | [0x2001, 0, ..] => Reach::Nobody,
        // Link-local, the site-local ones of old, and multicast.
        [0xfe80..=0xfeff, ..] | [0xff00..=0xffff, ..] => Reach::Nobody,
        // RFC 4193.
        [0xfc00..=0xfdff, ..] => Reach::Private,
        _ => Reach::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "198.51.100.7";

    fn permitted(policy: PeerPolicy, ip: &str) -> bool {
        let own = [OWN.parse().expect("an address")];
        policy.permits(ip.parse().expect("an address"), &own)
    }

    #[test]
    fn only_the_public_internet_is_permitted_however_an_address_is_written() {
        for ip in [
            "192.0.2.1",
            "2001:db8::1",
            "::ffff:192.0.2.1",
            "64:ff9b::192.0.2.1",
        ] {
            assert!(permitted(PeerPolicy::default(), ip), "{ip}");
        }
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.254",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0.0.0.0",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001::1",
            "fe80::1",
            "fec0::1",
            "fd00::1",
            "ff02::1",
            OWN,
            "::ffff:198.51.100.7",
        ] {
            assert!(!permitted(PeerPolicy::default(), ip), "{ip}");
        }
    }

    #[test]
    fn what_is_allowed_is_that_and_nothing_else() {
        let private = PeerPolicy {
            private: true,
            ..PeerPolicy::default()
        };
        for ip in ["10.0.0.1", "192.168.1.1", "fd00::1", "192.0.2.1", OWN] {
            assert!(permitted(private, ip), "{ip}");
        }
        for ip in ["127.0.0.1", "::1", "0.0.0.0", "169.254.1.1", "ff02::1"] {
            assert!(!permitted(private, ip), "{ip}");
        }
        let loopback = PeerPolicy {
            loopback: true,
            ..PeerPolicy::default()
        };
        assert!(permitted(loopback, "127.0.0.1") && permitted(loopback, "::1"));
        assert!(!permitted(loopback, "0.0.0.0") && !permitted(loopback, "10.0.0.1"));
    }

    #[test]
    fn the_edges_of_the_ranges_are_where_they_should_be() {
        for (ip, is_public) in [
            ("9.255.255.255", true),
            ("11.0.0.0", true),
            ("172.15.255.255", true),
            ("172.32.0.0", true),
            ("100.63.255.255", true),
            ("100.128.0.0", true),
            ("223.255.255.255", true),
            ("1.0.0.0", true),
            ("126.255.255.255", true),
            ("128.0.0.0", true),
            ("fbff::1", true),
            ("fe7f::1", true),
            ("fe00::1", true),
        ] {
            assert_eq!(permitted(PeerPolicy::default(), ip), is_public, "{ip}");
        }
    }
}
