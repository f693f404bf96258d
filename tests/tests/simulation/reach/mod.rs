//! Two peers behind boxes: is there a path, and which?

mod connect_times;
mod diagnosis;
mod discovery;
mod ipv6;
mod matrix;
mod names;
mod paths;
mod trickle;

use std::time::Duration;

use bowline::{Config, ConfigBuilder, IceServer, TransportPolicy};
use bowline_sim::{HostId, NatConfig, PeerSpec, ServerSpec, World, WorldBuilder};

/// What the network between two peers is like.
pub(super) struct Between {
    pub(super) seed: u64,
    pub(super) boxes: [NatConfig; 2],
    /// Whether both may use the TURN server.
    pub(super) relay: bool,
    pub(super) policy: TransportPolicy,
}

impl Between {
    pub(super) fn new(seed: u64, boxes: [NatConfig; 2]) -> Self {
        Self {
            seed,
            boxes,
            relay: false,
            policy: TransportPolicy::All,
        }
    }

    /// A world with alice behind the first box, bob behind the second, and a server on the internet.
    pub(super) fn world(&self) -> WorldBuilder {
        let [first, second] = self.boxes.clone();
        let servers = if self.relay {
            vec![turn("turn:turn.example")]
        } else {
            vec![stun("stun:turn.example")]
        };
        let config = configured(servers, |config| config.policy(self.policy));
        World::builder(self.seed)
            .gateway("first", first)
            .gateway("second", second)
            .server(server())
            .peer_with(behind("alice", 0, &config))
            .peer_with(behind("bob", 1, &config))
    }
}

/// A server that serves STUN to everybody and TURN to our user.
pub(super) fn server() -> ServerSpec {
    ServerSpec::new("turn").user(USER, PASSWORD)
}

/// A configuration with ICE servers.
pub(super) fn configured(
    servers: Vec<IceServer>,
    further: impl FnOnce(ConfigBuilder) -> ConfigBuilder,
) -> Config {
    let config = servers
        .into_iter()
        .fold(Config::builder(), ConfigBuilder::ice_server);
    further(config).build().expect("valid")
}

pub(super) fn behind(name: &str, gateway: usize, config: &Config) -> PeerSpec {
    PeerSpec {
        config: config.clone(),
        behind: Some(gateway),
        ..PeerSpec::new(name)
    }
}

pub(super) fn stun(uri: &str) -> IceServer {
    uri.parse().expect("a uri")
}

pub(super) fn turn(uri: &str) -> IceServer {
    stun(uri).credentials(USER, PASSWORD).expect("they fit")
}

/// Lets the pools of all hosts be filled, and connects the first two.
pub(super) fn connect(world: &mut World) -> bool {
    world.run_for(POOL);
    world.connect(0, 1).expect("alice knows nobody");
    world.run_until(are_connected, CONNECT)
}

fn are_connected(world: &World) -> bool {
    let connected = |host: HostId, peer: HostId| world.connected(host, peer);
    connected(0, 1) && connected(1, 0)
}

const USER: &str = "somebody";
const PASSWORD: &str = "secret";
/// After this the pools of candidates are filled, unless there is loss.
const POOL: Duration = Duration::from_secs(2);
/// The timeout of `connect`, and a moment.
const CONNECT: Duration = Duration::from_secs(16);
