//! How a world is put together.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bowline::{Config, Identity, PeerId};
use serde::{Deserialize, Serialize};

use crate::action::{Incoming, Reader};
use crate::bus::Bus;
use crate::driver::Driver;
use crate::net::{GatewayId, HostId, LinkConfig, NatConfig, Network};
use crate::server::ServerSpec;
use crate::trace::Record;

use super::World;
use super::node::Node;

/// Which DTLS the endpoints speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtls {
    /// None: records are framed and not encrypted. About a hundred times faster.
    #[default]
    Null,
    /// The real one.
    Real,
}

/// A host and the endpoint on it.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerSpec {
    /// The name, of which the peer id is made.
    pub name: String,
    /// The configuration of the endpoint.
    pub config: Config,
    /// How many IPv4 addresses it has.
    pub ipv4: u8,
    /// How many IPv6 addresses it has.
    pub ipv6: u8,
    /// The box that it is behind; `None` is the internet.
    pub behind: Option<GatewayId>,
    /// Whether its signals tell a name in place of its addresses, as those of browsers do. Hosts of the same network can
    /// resolve it.
    pub hidden: bool,
    /// By how many milliseconds its wall clock is ahead.
    pub clock_skew_ms: i64,
    /// What its application does with peers that ask to connect.
    pub incoming: Incoming,
    /// How its application reads.
    pub reader: Reader,
    /// Whether an endpoint that starts after a crash is given the sessions of the one before.
    pub remembers: bool,
}

impl PeerSpec {
    /// A host with one IPv4 address, whose application accepts everybody and reads at once.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            config: Config::default(),
            ipv4: 1,
            ipv6: 0,
            behind: None,
            hidden: false,
            clock_skew_ms: 0,
            incoming: Incoming::Accept,
            reader: Reader::Prompt,
            remembers: false,
        }
    }
}

/// A box between some hosts and the internet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySpec {
    /// The name.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub nat: NatConfig,
    /// The box that it is behind itself, added before; `None` is the internet.
    #[serde(default)]
    pub behind: Option<GatewayId>,
}

/// Builds a [`World`].
#[derive(Debug, Clone)]
#[must_use]
pub struct WorldBuilder {
    pub(super) seed: u64,
    pub(super) driver: Driver,
    pub(super) record: Record,
    pub(super) dtls: Dtls,
    pub(super) keyed: bool,
    pub(super) shift: Duration,
    pub(super) unix_millis: u64,
    link: LinkConfig,
    bus: LinkConfig,
    pub(super) gateways: Vec<GatewaySpec>,
    pub(super) servers: Vec<ServerSpec>,
    peers: Vec<PeerSpec>,
}

impl WorldBuilder {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            driver: Driver::Exact,
            record: Record::Events,
            dtls: Dtls::Null,
            keyed: false,
            shift: Duration::ZERO,
            unix_millis: 1_767_225_600_000,
            link: LinkConfig::default(),
            bus: LinkConfig::with_latency(Duration::from_millis(20)),
            gateways: Vec::new(),
            servers: Vec::new(),
            peers: Vec::new(),
        }
    }

    /// Sets when endpoints are woken. Default [`Driver::Exact`].
    pub fn driver(self, driver: Driver) -> Self {
        Self { driver, ..self }
    }

    /// Sets how much is kept of the run. Default [`Record::Events`].
    pub fn record(self, record: Record) -> Self {
        Self { record, ..self }
    }

    /// Sets which DTLS is spoken. Default [`Dtls::Null`].
    pub fn dtls(self, dtls: Dtls) -> Self {
        Self { dtls, ..self }
    }

    /// Gives every host a key pair, made of its name, so that signalling is protected as the configuration of each says.
    /// Default: hosts have names only, and signalling is plain.
    pub fn keyed(self, keyed: bool) -> Self {
        Self { keyed, ..self }
    }

    /// Moves every `Instant` of the world by a constant, which must change nothing. Default zero.
    pub fn shift(self, shift: Duration) -> Self {
        Self { shift, ..self }
    }

    /// Sets the wall clock at the beginning, in milliseconds since 1970. Default the beginning of 2026.
    pub fn unix_millis(self, unix_millis: u64) -> Self {
        Self {
            unix_millis,
            ..self
        }
    }

    /// Sets what every link of the network is like. Default a perfect one of 10 ms.
    pub fn link(self, link: LinkConfig) -> Self {
        Self { link, ..self }
    }

    /// Sets what every way on the signalling bus is like. Default a perfect one of 20 ms.
    pub fn bus(self, bus: LinkConfig) -> Self {
        Self { bus, ..self }
    }

    /// Adds a host with one IPv4 address and the standard configuration.
    pub fn peer(self, name: &str) -> Self {
        self.peer_with(PeerSpec::new(name))
    }

    /// Adds a host.
    pub fn peer_with(mut self, spec: PeerSpec) -> Self {
        self.peers.push(spec);
        self
    }

    /// Adds a box on the internet. Boxes are numbered in the order in which they are added; hosts are put
    /// [behind](PeerSpec::behind) them.
    ///
    /// ```
    /// use bowline_sim::{NatConfig, PeerSpec, World};
    ///
    /// let alice = PeerSpec { behind: Some(0), ..PeerSpec::new("alice") };
    /// let world = World::builder(1).gateway("home", NatConfig::symmetric()).peer_with(alice).build();
    /// assert_eq!(world.addresses(0)[0].to_string(), "192.168.1.2:5000");
    /// ```
    pub fn gateway(self, name: &str, nat: NatConfig) -> Self {
        self.gateway_with(GatewaySpec {
            name: name.to_owned(),
            nat,
            behind: None,
        })
    }

    /// Adds a box, perhaps behind one that was added before.
    pub fn gateway_with(mut self, spec: GatewaySpec) -> Self {
        self.gateways.push(spec);
        self
    }

    /// Adds a host on the internet with a STUN and TURN server. Servers are numbered in the order in which they are added.
    ///
    /// ```
    /// use bowline_sim::{ServerSpec, World};
    ///
    /// let turn = ServerSpec::new("turn").user("alice", "secret");
    /// let world = World::builder(1).peer("alice").server(turn).build();
    /// let server = world.server("turn");
    /// assert_eq!(world.server_addresses(server)[0].to_string(), "192.0.2.1:3478");
    /// ```
    pub fn server(mut self, spec: ServerSpec) -> Self {
        self.servers.push(spec);
        self
    }

    /// Makes the world and starts its endpoints.
    ///
    /// # Panics
    ///
    /// When a name is not a valid [`PeerId`] or is used twice, when a host with a key is hidden, when there are more than 4,000 hosts, 250 boxes or 120 servers, or when one is
    /// behind a box that there is not.
    #[must_use]
    pub fn build(self) -> World {
        assert!(
            self.peers.len() <= MAX_HOSTS,
            "at most {MAX_HOSTS} hosts have addresses"
        );
        assert!(
            self.gateways.len() <= MAX_BOXES,
            "at most {MAX_BOXES} boxes have addresses"
        );
        assert!(
            self.servers.len() <= MAX_SERVERS,
            "at most {MAX_SERVERS} servers have addresses"
        );
        let mut network = Network::new(self.seed, self.link.clone());
        let bus = Bus::new(self.seed, self.bus.clone());
        for (gateway, spec) in self.gateways.iter().enumerate() {
            let known = spec.behind.is_none_or(|outer| outer < gateway);
            assert!(known, "{} is behind a box that comes later", spec.name);
            network.add_gateway(spec.nat.clone(), spec.behind);
        }
        let mut residents = BTreeMap::new();
        let mut nodes = Vec::new();
        for (host, spec) in self.peers.iter().enumerate() {
            let id = identity(&spec.name, self.keyed).id();
            let readable = !(self.keyed && spec.hidden);
            assert!(
                readable,
                "nobody can write a name into what {} has signed",
                spec.name
            );
            let known = spec
                .behind
                .is_none_or(|gateway| gateway < self.gateways.len());
            assert!(known, "{} is behind a box that there is not", spec.name);
            network.settle(host, spec.behind);
            let addresses = match network.ipv4_realm(spec.behind) {
                0 => addresses(host, spec.ipv4, spec.ipv6),
                realm => {
                    let resident = residents.entry(realm).or_insert(0);
                    *resident += 1;
                    let depth = network.depth(spec.behind);
                    hidden_addresses((*resident, depth), host, (spec.ipv4, spec.ipv6))
                }
            };
            for address in &addresses {
                network.attach(host, *address);
            }
            nodes.push(Node::new(id, spec.clone(), addresses));
        }
        World::start(&self, network, bus, nodes)
    }
}

/// The id of the host of this name in a [keyed](WorldBuilder::keyed) world.
///
/// # Panics
///
/// When the name is not a valid [`PeerId`].
#[must_use]
pub fn keyed_id(name: &str) -> PeerId {
    identity(name, true).id()
}

/// Who the host of this name is.
pub(super) fn identity(name: &str, keyed: bool) -> Identity {
    let id = PeerId::new(name).expect("the name of a host is a valid peer id");
    if !keyed {
        return Identity::without_key(id);
    }
    let mut private = [0; 32];
    for (to, from) in private.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    Identity::from_private_key(private)
}

/// The addresses of a host that is not hidden behind a box: `10.<block>.<interface>.<host>` and `fd00:<interface>::<host>`,
/// interfaces counted from 0 and hosts from 1, of which a block has 250. In the simulator they count as public.
#[must_use]
pub fn addresses(host: HostId, ipv4: u8, ipv6: u8) -> Vec<SocketAddr> {
    let byte = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
    let (block, last) = (byte(host / HOSTS_IN_BLOCK), byte(host % HOSTS_IN_BLOCK + 1));
    let v4 = (0..ipv4).map(|i| IpAddr::V4(Ipv4Addr::new(10, block, i, last)));
    let host = u16::try_from(host + 1).unwrap_or(u16::MAX);
    let v6 = (0..ipv6).map(|i| {
        let group = u16::from(i);
        IpAddr::V6(Ipv6Addr::new(0xfd00, group, 0, 0, 0, 0, 0, host))
    });
    v4.chain(v6).map(|ip| SocketAddr::new(ip, PORT)).collect()
}

/// The addresses of the `resident`-th host in a network that is translated: `192.168.<1 + interface>.<1 + resident>`, the
/// same in every such network, and IPv6 as everywhere. In a network within another one, 32 are added to the third number for
/// each that is around it: a host there could not name one around it that has its own address.
fn hidden_addresses(
    (resident, depth): (u8, u8),
    host: HostId,
    (ipv4, ipv6): (u8, u8),
) -> Vec<SocketAddr> {
    let first = depth.saturating_mul(32).saturating_add(1);
    let v4 = (0..ipv4).map(|interface| {
        let ip = Ipv4Addr::new(192, 168, interface.saturating_add(first), resident + 1);
        SocketAddr::new(IpAddr::V4(ip), PORT)
    });
    v4.chain(addresses(host, 0, ipv6)).collect()
}

/// The port of every socket.
const PORT: u16 = 5_000;
/// Hosts of one world.
const MAX_HOSTS: usize = 4_000;
/// Hosts whose addresses differ in the last number only.
const HOSTS_IN_BLOCK: usize = 250;
/// Boxes of one world.
const MAX_BOXES: usize = 250;
/// Servers of one world, each of which has two addresses.
const MAX_SERVERS: usize = 120;
