//! How a box between a network and the internet behaves, in the terms of RFC 4787.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::marks::{Mark, Marks};
use crate::net::firewall::Firewall;
use crate::time::micros;

/// When two datagrams from one inside address get the same outside port (RFC 4787 §4.1).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Mapping {
    /// Always.
    #[default]
    EndpointIndependent,
    /// When they go to the same address.
    AddressDependent,
    /// When they go to the same address and port.
    AddressAndPortDependent,
}

impl Mapping {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::EndpointIndependent,
        Self::AddressDependent,
        Self::AddressAndPortDependent,
    ];
}

/// Whose datagrams are let in to an inside address that has sent something (RFC 4787 §5).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Filtering {
    /// Everybody's.
    EndpointIndependent,
    /// Those of an address that was sent to.
    AddressDependent,
    /// Those of an address and port that was sent to.
    #[default]
    AddressAndPortDependent,
}

impl Filtering {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::EndpointIndependent,
        Self::AddressDependent,
        Self::AddressAndPortDependent,
    ];
}

/// Which outside port a new mapping gets (RFC 4787 §4.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ports {
    /// The inside port, or the next one that is free. Another one after each reboot.
    #[default]
    Preserve,
    /// Any that is even when the inside port is.
    Parity,
    /// Any.
    Random,
    /// The one after the last.
    Sequential,
}

/// What a box does. Hosts behind it are reached through it only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatConfig {
    /// Whether IPv4 addresses are translated. Without, hosts behind it have public addresses.
    pub translate: bool,
    /// Whether IPv6 hosts reach IPv4 addresses as the ones of `64:ff9b::/96` that embed them (RFC 6146, RFC 6052). Names
    /// that have IPv4 addresses only have those, too, for hosts behind it (RFC 6147).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nat64: bool,
    /// How outside ports are shared.
    pub mapping: Mapping,
    /// Who is let in.
    pub filtering: Filtering,
    /// Whether inside hosts reach each other by their outside addresses. They see outside addresses as sources, as
    /// REQ-9 of RFC 4787 wants.
    pub hairpin: bool,
    /// How long a mapping, and the right to answer, lasts after the last datagram outward.
    #[serde(rename = "expiry_us", with = "micros")]
    pub expiry: Duration,
    /// Whether datagrams inward keep a mapping alive, too.
    pub inbound_refresh: bool,
    /// Which ports are given out.
    pub ports: Ports,
    /// How many mappings there can be at a time. A datagram that needs one more is dropped.
    pub max_mappings: usize,
    /// Who is let in to an address that is not translated: IPv6 and, without `translate`, IPv4. `None` is everybody,
    /// also before anything was sent.
    pub stateful: Option<Filtering>,
    /// What never passes, in both directions.
    pub firewall: Firewall,
}

/// The box that RFC 4787 recommends, with address-and-port-dependent filtering: [`NatConfig::port_restricted`].
impl Default for NatConfig {
    fn default() -> Self {
        Self {
            translate: true,
            nat64: false,
            mapping: Mapping::EndpointIndependent,
            filtering: Filtering::AddressAndPortDependent,
            hairpin: false,
            expiry: Duration::from_secs(120),
            inbound_refresh: false,
            ports: Ports::Preserve,
            max_mappings: 4_096,
            stateful: Some(Filtering::AddressAndPortDependent),
            firewall: Firewall::default(),
        }
    }
}

impl NatConfig {
    /// What a translation by this box stands for.
    pub(super) fn marks(&self) -> Marks {
        let mut marks = Marks::default();
        marks.set(match self.mapping {
            Mapping::EndpointIndependent => Mark::EndpointIndependentMapping,
            Mapping::AddressDependent => Mark::AddressDependentMapping,
            Mapping::AddressAndPortDependent => Mark::AddressAndPortDependentMapping,
        });
        marks.set(match self.filtering {
            Filtering::EndpointIndependent => Mark::EndpointIndependentFiltering,
            Filtering::AddressDependent => Mark::AddressDependentFiltering,
            Filtering::AddressAndPortDependent => Mark::AddressAndPortDependentFiltering,
        });
        marks.set(match self.ports {
            Ports::Preserve => Mark::PortPreserved,
            Ports::Parity => Mark::PortParity,
            Ports::Random => Mark::PortRandom,
            Ports::Sequential => Mark::PortSequential,
        });
        marks.set_if(self.inbound_refresh, Mark::InboundRefresh);
        marks.set_if(self.nat64, Mark::Nat64);
        marks
    }

    /// A router: nothing is translated, and everything passes that the firewall lets pass.
    #[must_use]
    pub fn open() -> Self {
        Self {
            translate: false,
            filtering: Filtering::EndpointIndependent,
            hairpin: true,
            stateful: None,
            ..Self::default()
        }
    }

    /// One mapping for all, and everybody is let in.
    #[must_use]
    pub fn full_cone() -> Self {
        Self::of(Mapping::EndpointIndependent, Filtering::EndpointIndependent)
    }

    /// One mapping for all, and those are let in whose address was sent to.
    #[must_use]
    pub fn address_restricted() -> Self {
        Self::of(Mapping::EndpointIndependent, Filtering::AddressDependent)
    }

    /// One mapping for all, and those are let in whose address and port was sent to.
    #[must_use]
    pub fn port_restricted() -> Self {
        Self::of(
            Mapping::EndpointIndependent,
            Filtering::AddressAndPortDependent,
        )
    }

    /// A mapping for each address and port, with a random port, into which only that address and port is let.
    #[must_use]
    pub fn symmetric() -> Self {
        Self {
            ports: Ports::Random,
            ..Self::of(
                Mapping::AddressAndPortDependent,
                Filtering::AddressAndPortDependent,
            )
        }
    }

    /// The gateway of a network of IPv6 only, as RFC 6146 recommends it: one mapping for all, into which those are let whose
    /// address was sent to, for five minutes. IPv6 to IPv6 passes as through the default.
    #[must_use]
    pub fn nat64() -> Self {
        Self {
            translate: false,
            nat64: true,
            hairpin: true,
            expiry: Duration::from_secs(300),
            ports: Ports::Parity,
            ..Self::address_restricted()
        }
    }

    /// Whether it has an address outside that hosts share.
    pub(crate) fn shares_address(&self) -> bool {
        self.translate || self.nat64
    }

    /// The default with another mapping and filtering.
    #[must_use]
    pub fn of(mapping: Mapping, filtering: Filtering) -> Self {
        Self {
            mapping,
            filtering,
            ..Self::default()
        }
    }
}
