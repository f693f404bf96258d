//! Which servers and addresses are used to reach peers.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ice::IceServer;

/// ICE servers, and which candidates are used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ice {
    /// The STUN and TURN servers that are used from the start. [`Endpoint::set_ice_servers`](crate::Endpoint::set_ice_servers)
    /// replaces them. A configuration that is read back from a file has no passwords.
    pub servers: Vec<IceServer>,
    /// Which candidates are used at all.
    pub policy: TransportPolicy,
    /// Addresses that are never used, ours or the peer's.
    pub denied: Vec<AddressRange>,
    /// Types of candidates that are never used, ours or the peer's. Nothing is asked of servers that serve no other. What a
    /// function is needed for, [`Endpoint::set_candidate_filter`](crate::Endpoint::set_candidate_filter) judges.
    pub denied_types: Vec<CandidateType>,
    /// What networks cost: our addresses of those that cost more are preferred less. The first that fits counts, and what
    /// is in none costs nothing.
    pub costs: Vec<NetworkCost>,
    /// The least time between two transactions that are begun with servers, over all of them: the Ta of RFC 8445
    /// section 14.2.
    pub pacing: Duration,
    /// How often a server-reflexive address is asked for again, which keeps it open and shows when it has changed (RFC
    /// 8445 section 11 asks for 15 s at least).
    pub keepalive: Duration,
    /// Whether names behind which peers hide the addresses of a local network, as browsers do, are looked up: a UUID in
    /// `.local` (draft-ietf-mmusic-mdns-ice-candidates section 3.1.1). The embedder is asked for each, as for names of
    /// servers, and its system asks the local network. They count among
    /// [`Limits::max_candidates`](crate::config::Limits::max_candidates). Other names never are, and with
    /// [`TransportPolicy::Relay`] none is. A peer whose name leads nowhere is found by its own checks, if they get through.
    pub resolve_local_names: bool,
}

/// The types of candidates (RFC 8445 section 4), the preferred first. Peer-reflexive ones count as server-reflexive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CandidateType {
    /// An address of an interface.
    Host,
    /// The address that a server sees, outside a NAT.
    ServerReflexive,
    /// An address on a TURN server.
    Relayed,
}

/// Which candidates are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransportPolicy {
    /// All of them.
    #[default]
    All,
    /// Relayed ones only. No other address of ours is in any message, and no packet goes anywhere but to TURN servers
    /// and, to be resolved, to the name server of the adapter.
    Relay,
    /// Server-reflexive and relayed ones, and of the interfaces those with a public address: peers do not learn the
    /// addresses of the private network (RFC 8828 section 5.2, mode 3).
    Public,
}

/// A range of addresses: `192.0.2.0/24`, `2001:db8::/32`, or one address. An IPv4-mapped address is the IPv4 address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressRange {
    first: IpAddr,
    prefix: u8,
}

impl AddressRange {
    /// Whether an address is in the range.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.first, ip.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.prefix);
                (first.to_bits() ^ ip.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(first), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.prefix);
                (first.to_bits() ^ ip.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for AddressRange {
    type Err = InvalidAddressRange;

    fn from_str(text: &str) -> Result<Self, InvalidAddressRange> {
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix)),
            None => (text, None),
        };
        let first: IpAddr = ip.parse().map_err(|_| InvalidAddressRange)?;
        let bits = if first.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| InvalidAddressRange)?,
            None => bits,
        };
        if prefix > bits {
            return Err(InvalidAddressRange);
        }
        Ok(Self { first, prefix })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl Serialize for AddressRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What it costs to send over a network, compared with others: bytes that are paid for, battery, a detour over a VPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkCost {
    /// The addresses that our interfaces have in it.
    pub network: AddressRange,
    /// The cost. Others have 0.
    pub cost: u8,
}

/// A text that is no [`AddressRange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not an address with an optional prefix length")]
pub struct InvalidAddressRange;

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> AddressRange {
        text.parse().expect("a range")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_range_holds_its_first_and_last_address_and_not_those_beside() {
        for (text, within, beside) in [
            (
                "192.0.2.0/24",
                ["192.0.2.0", "192.0.2.255"],
                ["192.0.1.255", "192.0.3.0"],
            ),
            (
                "192.0.2.7",
                ["192.0.2.7", "::ffff:192.0.2.7"],
                ["192.0.2.6", "192.0.2.8"],
            ),
            (
                "10.1.2.3/8",
                ["10.0.0.0", "10.255.255.255"],
                ["9.255.255.255", "11.0.0.0"],
            ),
            (
                "2001:db8::/32",
                ["2001:db8::", "2001:db8:ffff::1"],
                ["2001:db7::", "2001:db9::"],
            ),
            ("::1", ["::1", "::1"], ["::", "::2"]),
        ] {
            for address in within {
                assert!(range(text).contains(ip(address)), "{text} {address}");
            }
            for address in beside {
                assert!(!range(text).contains(ip(address)), "{text} {address}");
            }
        }
    }

    #[test]
    fn a_prefix_of_zero_is_the_whole_family_and_no_other() {
        assert!(range("0.0.0.0/0").contains(ip("255.255.255.255")));
        assert!(!range("0.0.0.0/0").contains(ip("2001:db8::1")));
        assert!(range("::/0").contains(ip("ff02::1")));
        assert!(!range("::/0").contains(ip("192.0.2.1")));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "x",
            "192.0.2.0/33",
            "::/129",
            "192.0.2.0/",
            "192.0.2.0/-1",
            "/8",
        ] {
            assert_eq!(
                text.parse::<AddressRange>(),
                Err(InvalidAddressRange),
                "{text}"
            );
        }
    }
}
