//! What a discovery tells: the behaviour of the NATs and firewalls on the way, and what it means for two peers.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde::Serialize;

/// What was seen of the NATs and firewalls between this host and the world.
///
/// It is a hint of a certain age ([`NatReport::age`]) and never a reason not to try: a NAT may behave otherwise under
/// load, towards other addresses, and tomorrow (RFC 5780 section 1). ICE finds out what works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NatReport {
    /// The whole in one word.
    pub kind: NatKind,
    /// The family in which the behaviour was tested: IPv4 where a server answered over it, otherwise IPv6.
    pub family: Option<Family>,
    /// Whether our address is another one outside: there is a NAT, and not at most a firewall.
    pub translated: Option<bool>,
    /// On what our outer address depends.
    pub mapping: Option<Mapping>,
    /// From where datagrams come in.
    pub filtering: Option<Filtering>,
    /// Whether two sockets behind the NAT reach each other by their outer addresses (RFC 4787 section 6).
    pub hairpin: Option<bool>,
    /// Whether a fresh socket has the same port outside (RFC 4787 section 4.2.1).
    pub port_preserved: Option<bool>,
    /// Our outer address over IPv4.
    pub mapped_ipv4: Option<SocketAddr>,
    /// Our outer address over IPv6.
    pub mapped_ipv6: Option<SocketAddr>,
    /// What each server that was asked said.
    pub servers: Vec<ServerEvidence>,
    /// When the discovery ended.
    #[serde(skip)]
    pub(super) at: Instant,
}

impl NatReport {
    /// How long ago the discovery ended.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }

    /// Whether a peer behind this NAT and one behind `with` need a relay, as far as both are known.
    ///
    /// Both send checks to the address that a server has seen of the other. Of two NATs that map without regard to the
    /// destination each lets the other in, whatever it filters, as it has sent to the very address from which the other
    /// comes. A mapping that depends on the destination makes a peer come from a port that nobody could name:
    ///
    /// - where the other side's mapping does not depend on it, it gets in unless that side filters by port;
    /// - where both depend on it, each knocks at a mapping that is open to the server only. One side must let everybody
    ///   in and the other may not filter by port, so that the answer finds back; and one mapping must depend on the
    ///   address alone, or every answer comes from yet another port.
    ///
    /// It is assumed that all ports of a NAT are of one outer address ("paired" in RFC 4787 section 4.1), that ports
    /// cannot be guessed, and that a host from which no server could be reached by UDP reaches no peer either. For two
    /// peers with one outer address it depends on hairpinning, and on their inner network, of which nothing is known.
    #[must_use]
    pub fn requires_relay(&self, with: &Self) -> RelayNeed {
        if [self.kind, with.kind].contains(&NatKind::Blocked) {
            return RelayNeed::Yes;
        }
        if self.family != with.family || (self.shares_address(with) && self.hairpin != Some(true)) {
            return RelayNeed::Unknown;
        }
        match (self.mapping, with.mapping) {
            (None, _) | (_, None) => RelayNeed::Unknown,
            (Some(Mapping::EndpointIndependent), Some(Mapping::EndpointIndependent)) => {
                RelayNeed::No
            }
            (Some(Mapping::EndpointIndependent), Some(_)) => one_dependent(self.filtering),
            (Some(_), Some(Mapping::EndpointIndependent)) => one_dependent(with.filtering),
            (Some(ours), Some(theirs)) => {
                both_dependent([ours, theirs], [self.filtering, with.filtering])
            }
        }
    }

    /// Our outer address in the family that was tested.
    #[must_use]
    pub fn mapped(&self) -> Option<SocketAddr> {
        match self.family? {
            Family::Ipv4 => self.mapped_ipv4,
            Family::Ipv6 => self.mapped_ipv6,
        }
    }

    fn shares_address(&self, with: &Self) -> bool {
        let ip = |report: &Self| report.mapped().map(|address| address.ip());
        ip(self).is_some() && ip(self) == ip(with)
    }
}

/// `filtering` is that of the side whose mapping does not depend on the destination.
fn one_dependent(filtering: Option<Filtering>) -> RelayNeed {
    match filtering {
        None => RelayNeed::Unknown,
        Some(Filtering::AddressAndPortDependent) => RelayNeed::Yes,
        Some(Filtering::EndpointIndependent | Filtering::AddressDependent) => RelayNeed::No,
    }
}

/// Neither mapping is endpoint-independent.
fn both_dependent(mappings: [Mapping; 2], filterings: [Option<Filtering>; 2]) -> RelayNeed {
    let is_never_answered = mappings == [Mapping::AddressAndPortDependent; 2]
        || filterings.contains(&Some(Filtering::AddressAndPortDependent));
    match filterings {
        _ if is_never_answered => RelayNeed::Yes,
        [None, _] | [_, None] => RelayNeed::Unknown,
        known if known.contains(&Some(Filtering::EndpointIndependent)) => RelayNeed::No,
        [Some(_), Some(_)] => RelayNeed::Yes,
    }
}

impl fmt::Display for NatReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.kind.sentence())?;
        writeln!(f, "  mapping:        {}", known(self.mapping))?;
        writeln!(f, "  filtering:      {}", known(self.filtering))?;
        writeln!(
            f,
            "  hairpinning:    {}",
            known(self.hairpin.map(yes_or_no))
        )?;
        let preserved = self.port_preserved.map(yes_or_no);
        writeln!(f, "  port preserved: {}", known(preserved))?;
        for (family, mapped) in [("IPv4", self.mapped_ipv4), ("IPv6", self.mapped_ipv6)] {
            if let Some(mapped) = mapped {
                writeln!(f, "  seen from outside over {family}: {mapped}")?;
            }
        }
        let answered = self.servers.iter().filter(|s| s.has_answered()).count();
        write!(
            f,
            "  servers that answered: {answered} of {}",
            self.servers.len()
        )
    }
}

fn known(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

const fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// NATs by their classic names.
///
/// The first name that fits counts: `Blocked`, `Symmetric`, `Open`, and then by what is filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NatKind {
    /// No NAT, and everybody can reach this host.
    Open,
    /// One outer address, and everybody can reach it.
    FullCone,
    /// One outer address, reached by hosts that were sent to. A firewall that does the same without a NAT is named so
    /// too.
    Restricted,
    /// One outer address, reached by the addresses and ports that were sent to. A firewall that does the same without a
    /// NAT is named so too.
    PortRestricted,
    /// The outer address depends on who is sent to.
    Symmetric,
    /// No server could be reached by UDP: it is blocked, or all of them are down.
    Blocked,
    /// Not enough was seen.
    Unknown,
}

impl NatKind {
    /// The name of what was seen, of a host that a server could be reached from.
    pub(super) fn of(
        translated: Option<bool>,
        mapping: Option<Mapping>,
        filtering: Option<Filtering>,
    ) -> Self {
        match (mapping, filtering) {
            (None, _) | (Some(Mapping::EndpointIndependent), None) => Self::Unknown,
            (Some(Mapping::AddressDependent | Mapping::AddressAndPortDependent), _) => {
                Self::Symmetric
            }
            (Some(Mapping::EndpointIndependent), Some(filtering)) => match filtering {
                Filtering::EndpointIndependent if translated == Some(false) => Self::Open,
                Filtering::EndpointIndependent => Self::FullCone,
                Filtering::AddressDependent => Self::Restricted,
                Filtering::AddressAndPortDependent => Self::PortRestricted,
            },
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Open => "open: no NAT, everybody can reach this host",
            Self::FullCone => "full cone: everybody can reach the outer address of this host",
            Self::Restricted => "restricted: only hosts that this one has sent to get in",
            Self::PortRestricted => "port restricted: only ports that this host has sent to get in",
            Self::Symmetric => "symmetric: each destination sees another address of this host",
            Self::Blocked => "blocked: no server could be reached by UDP",
            Self::Unknown => "unknown: not enough was seen",
        }
    }
}

impl fmt::Display for NatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Open => "open",
            Self::FullCone => "full cone",
            Self::Restricted => "restricted",
            Self::PortRestricted => "port restricted",
            Self::Symmetric => "symmetric",
            Self::Blocked => "blocked",
            Self::Unknown => "unknown",
        })
    }
}

/// On what the outer address of a socket depends (RFC 4787 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// On nothing: it is the same towards everybody, or there is no NAT.
    EndpointIndependent,
    /// On the IP address that is sent to.
    AddressDependent,
    /// On the IP address and the port that are sent to.
    AddressAndPortDependent,
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address and port-dependent",
        })
    }
}

/// From where datagrams come in to a socket that has sent some (RFC 4787 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// From everywhere.
    EndpointIndependent,
    /// From the IP addresses that it has sent to.
    AddressDependent,
    /// From the IP addresses and ports that it has sent to.
    AddressAndPortDependent,
}

impl fmt::Display for Filtering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address and port-dependent",
        })
    }
}

/// A version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Version 4.
    Ipv4,
    /// Version 6.
    Ipv6,
}

impl Family {
    /// That of an address.
    pub(in crate::ice) const fn of(address: SocketAddr) -> Self {
        match address.ip() {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}

/// Whether two peers need a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelayNeed {
    /// No direct path is to be expected.
    Yes,
    /// A direct path is to be expected.
    No,
    /// Too little is known.
    Unknown,
}

/// What one server said, or did not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServerEvidence {
    /// The server.
    pub server: SocketAddr,
    /// Its answer.
    pub answer: ServerAnswer,
    /// The round trip, when the first request was answered.
    pub rtt: Option<Duration>,
}

impl ServerEvidence {
    fn has_answered(&self) -> bool {
        self.answer != ServerAnswer::None
    }
}

/// The answer of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ServerAnswer {
    /// It saw us at this address.
    Mapped(SocketAddr),
    /// It refused, with this code of RFC 8489 section 14.8.
    Refused(u16),
    /// It said nothing that helps.
    Useless,
    /// None came.
    None,
}
