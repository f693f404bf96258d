use std::time::Duration;

use bowline::nat::NatKind;
use bowline::{Config, ConfigBuilder, Event, Identity, PeerId};
use bowline_interop::coturn::{Coturn, Setup};
use bowline_interop::log::Log;
use bowline_interop::topology::{Access, Internet, Peer, SERVERS};
use bowline_tokio::signalling::MemoryHub;
use bowline_tokio::{Endpoint, IncomingPolicy};

/// Peers of some kinds of access, and a server.
pub(crate) struct Network {
    pub(crate) coturn: Coturn,
    peers: Vec<(Access, Peer)>,
    // Dropped after what runs in it.
    _internet: Internet,
}

impl Network {
    /// With these peers.
    pub(crate) async fn new(accesses: &[Access]) -> Self {
        let mut internet = Internet::new().expect("a network");
        let peer = |access: &Access| (*access, internet.peer(*access).expect("a peer"));
        let peers = accesses.iter().map(peer).collect();
        let starting = async { Setup::at(&SERVERS).with(&RELAY_RANGE).start().await };
        let coturn = internet.public.run(starting).await.expect("starts");
        Self {
            coturn,
            peers,
            _internet: internet,
        }
    }

    /// The first or second peer with this access.
    pub(crate) fn peer(&self, access: Access, side: usize) -> &Peer {
        let mut alike = self.peers.iter().filter(|(a, _)| *a == access);
        &alike.nth(side).expect("it was asked for").1
    }
}

/// An endpoint and what it told.
pub(crate) struct Party {
    pub(crate) endpoint: Endpoint,
    pub(crate) events: Log<Event>,
}

impl Party {
    /// Binds an endpoint on the host of `peer`, which accepts every peer.
    pub(crate) async fn bind(peer: &Peer, name: &str, hub: &MemoryHub, config: Config) -> Self {
        let (id, hub) = (id(name), hub.clone());
        let bound = async move {
            let endpoint = Endpoint::builder(Identity::without_key(id))
                .config(config)
                .signalling(hub.join(id))
                .incoming(IncomingPolicy::Accept)
                .bind()
                .expect("binds");
            let events = Log::of(&endpoint);
            Self { endpoint, events }
        };
        peer.host.run(bound).await
    }
}

pub(crate) fn id(name: &str) -> PeerId {
    PeerId::new(name).expect("a valid name")
}

/// For connections that come up in this time, or never.
pub(crate) fn config() -> ConfigBuilder {
    Config::builder().ipv6(false).connect_timeout(CONNECT)
}

/// What a discovery calls a kind of access.
pub(crate) fn kind(access: Access) -> NatKind {
    match access {
        Access::Open => NatKind::Open,
        Access::FullCone => NatKind::FullCone,
        Access::Restricted => NatKind::Restricted,
        Access::PortRestricted => NatKind::PortRestricted,
        Access::Symmetric => NatKind::Symmetric,
    }
}

/// What fails without a path waits this long.
const CONNECT: Duration = Duration::from_secs(12);
/// Ports that the system gives to no socket by itself.
const RELAY_RANGE: [&str; 2] = ["--min-port=61000", "--max-port=65000"];
