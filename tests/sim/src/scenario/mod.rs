//! Scenarios: everything that happens in a run, written down.
//!
//! A scenario is the decoded list, not the seed that drew it: it keeps its meaning when the generator changes.

mod attack;
mod draws;
mod events;
mod fault;
mod middle;
mod random;
mod report;
mod run;
mod shrink;

use std::io;
use std::path::Path;

use bowline::Protection;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Incoming, Reader};
use crate::net::{GatewayId, HostId, LinkConfig};
use crate::server::{ServerId, ServerSpec};
use crate::world::builder::{Dtls, GatewaySpec};

pub use attack::AttackPlan;
pub use report::Report;
pub use run::{RunOptions, liveness_bound};

/// A topology, what its links are like, and what happens when.
///
/// A run has three phases. In the first, `chaos_ms` long, the steps happen. Then all faults end, hosts that crashed
/// start again, and every pair of `wanted` must come to be connected and to exchange messages. At last everybody
/// closes, and nothing may be left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Decides what is not written here: which datagrams are lost, and the secrets of the endpoints.
    pub seed: u64,
    /// Which DTLS is spoken.
    #[serde(default)]
    pub dtls: Dtls,
    /// How signalling is protected, where every host is a key; none where hosts have names only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// The boxes between hosts and the internet. One may be behind another that comes before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<GatewaySpec>,
    /// The hosts; those that attack come last.
    pub peers: Vec<PeerPlan>,
    /// The STUN and TURN servers. Their hosts come after those of the peers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerSpec>,
    /// What every link is like.
    #[serde(default)]
    pub link: LinkConfig,
    /// What every way on the signalling bus is like.
    #[serde(default)]
    pub bus: LinkConfig,
    /// How long the first phase lasts, in milliseconds.
    pub chaos_ms: u64,
    /// The pairs that must be connected at the end of the second phase.
    pub wanted: Vec<(HostId, HostId)>,
    /// What happens, in any order.
    pub steps: Vec<Step>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerPlan {
    /// Its name.
    pub name: String,
    /// How many IPv4 addresses it has.
    pub ipv4: u8,
    /// How many IPv6 addresses it has.
    #[serde(default)]
    pub ipv6: u8,
    /// The box that it is behind; none is the internet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<GatewayId>,
    /// The servers that it uses: STUN of those without users, and TURN of the others, as their first user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerId>,
    /// By how many milliseconds its wall clock is ahead.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clock_skew_ms: i64,
    /// How many bytes each of its queues holds; none is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_bytes: Option<usize>,
    /// What its application does with peers that ask to connect, until all faults end.
    #[serde(default)]
    pub incoming: Incoming,
    /// How its application reads, until all faults end.
    #[serde(default)]
    pub reader: Reader,
    /// Whether it knows after a crash which sessions it had before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remembers: bool,
    /// What it does in place of everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attack: Option<AttackPlan>,
}

impl PeerPlan {
    /// A host with one IPv4 address that accepts everybody and reads at once.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ipv4: 1,
            ipv6: 0,
            behind: None,
            servers: Vec::new(),
            clock_skew_ms: 0,
            queue_bytes: None,
            incoming: Incoming::Accept,
            reader: Reader::Prompt,
            remembers: false,
            attack: None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it")]
fn is_zero(skew: &i64) -> bool {
    *skew == 0
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// When, in milliseconds since the beginning.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub action: Action,
}

impl Scenario {
    /// Two hosts, `alice` and `bob`, on perfect links, of which the first connects to the second at the beginning.
    #[must_use]
    pub fn pair(seed: u64) -> Self {
        Self {
            seed,
            dtls: Dtls::Null,
            protection: None,
            gateways: Vec::new(),
            peers: vec![PeerPlan::new("alice"), PeerPlan::new("bob")],
            servers: Vec::new(),
            link: LinkConfig::default(),
            bus: LinkConfig::default(),
            chaos_ms: 10_000,
            wanted: vec![(0, 1)],
            steps: vec![Step {
                at_ms: 0,
                action: Action::Connect { from: 0, to: 1 },
            }],
        }
    }

    /// This scenario with one more step.
    #[must_use]
    pub fn step(mut self, at_ms: u64, action: Action) -> Self {
        self.steps.push(Step { at_ms, action });
        self
    }

    /// This scenario with perfect links and without any step but `connect` and `send`.
    #[must_use]
    pub fn without_faults(mut self) -> Self {
        self.link = LinkConfig::with_latency(self.link.latency);
        self.bus = LinkConfig::with_latency(self.bus.latency);
        self.calls_only()
    }

    /// This scenario without any step but `connect` and `send`.
    #[must_use]
    pub fn calls_only(mut self) -> Self {
        let is_call =
            |step: &Step| matches!(step.action, Action::Connect { .. } | Action::Send { .. });
        self.steps.retain(is_call);
        self
    }

    /// Reads a scenario from its JSON.
    ///
    /// # Errors
    ///
    /// When it is not one, or names a host, box or server that it does not have.
    pub fn from_json(json: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = serde_json::from_str(json)?;
        scenario.check_gateways()?;
        scenario.check_servers()?;
        let hosts = scenario.peers.len() + scenario.servers.len();
        let wanted = scenario.wanted.iter().flat_map(|(a, b)| [*a, *b]);
        let attacks = scenario
            .peers
            .iter()
            .filter_map(|peer| peer.attack.as_ref());
        let victims = attacks.filter_map(AttackPlan::victim);
        match wanted
            .chain(victims)
            .chain(scenario.steps.iter().flat_map(|step| step.action.hosts()))
            .max()
        {
            Some(host) if host >= hosts => Err(ScenarioError::UnknownHost { host, hosts }),
            Some(_) | None => Ok(scenario),
        }
    }

    fn check_servers(&self) -> Result<(), ScenarioError> {
        let count = self.servers.len();
        let by_steps = self.steps.iter().filter_map(|step| step.action.server());
        let by_peers = self.peers.iter().flat_map(|peer| peer.servers.iter());
        match by_peers
            .copied()
            .chain(by_steps)
            .find(|server| *server >= count)
        {
            Some(server) => Err(ScenarioError::UnknownServer { server, count }),
            None => Ok(()),
        }
    }

    fn check_gateways(&self) -> Result<(), ScenarioError> {
        let count = self.gateways.len();
        let inner = self.gateways.iter().enumerate();
        let by_boxes = inner.filter_map(|(own, spec)| Some((spec.behind?, own)));
        let by_peers = self.peers.iter().filter_map(|peer| peer.behind);
        let by_steps = self.steps.iter().filter_map(|step| step.action.gateway());
        let by_others = by_peers.chain(by_steps).map(|gateway| (gateway, count));
        match by_boxes.chain(by_others).find(|(named, end)| named >= end) {
            Some((gateway, _)) => Err(ScenarioError::UnknownGateway { gateway, count }),
            None => Ok(()),
        }
    }

    /// Reads a scenario from a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or as [`Scenario::from_json`].
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        Self::from_json(&std::fs::read_to_string(path)?)
    }

    /// The scenario as JSON, for people to read and change.
    ///
    /// # Panics
    ///
    /// Never: a scenario is plain data.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a scenario is plain data")
    }
}

/// A scenario that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It is not the JSON of a scenario.
    #[error("not a scenario: {0}")]
    Json(#[from] serde_json::Error),
    /// The file cannot be read.
    #[error("the scenario cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A step names a host that there is not.
    #[error("host {host} is named, and there are {hosts}")]
    UnknownHost {
        /// The host.
        host: HostId,
        /// How many there are.
        hosts: usize,
    },
    /// A step or a peer names a server that there is not.
    #[error("server {server} is named, and there are {count}")]
    UnknownServer {
        /// The server.
        server: ServerId,
        /// How many there are.
        count: usize,
    },
    /// A box is named that there is not, or that comes after one that is behind it.
    #[error("box {gateway} is named too early, and there are {count}")]
    UnknownGateway {
        /// The box.
        gateway: GatewayId,
        /// How many there are.
        count: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Driver;
    use crate::net::NatConfig;
    use crate::server::{Asked, Misbehaviour};

    #[test]
    fn a_scenario_survives_a_round_trip_through_json() {
        for seed in 0..50 {
            let scenario = Scenario::random(seed);
            let again = Scenario::from_json(&scenario.to_json()).expect("its own JSON");
            assert_eq!(again.to_json(), scenario.to_json());
        }
    }

    #[test]
    fn a_scenario_that_names_a_host_it_has_not_is_refused() {
        let scenario = Scenario::pair(1).step(0, Action::Crash { host: 2 });
        let error = Scenario::from_json(&scenario.to_json()).expect_err("two hosts");
        assert_eq!(error.to_string(), "host 2 is named, and there are 2");
    }

    #[test]
    fn a_scenario_names_boxes_and_no_others() {
        let action = Action::RebootGateway { gateway: 0 };
        let mut scenario = Scenario::pair(1).step(0, action);
        let error = Scenario::from_json(&scenario.to_json()).expect_err("no box");
        assert_eq!(
            error.to_string(),
            "box 0 is named too early, and there are 0"
        );
        scenario.gateways.push(GatewaySpec {
            name: "home".to_owned(),
            nat: NatConfig::symmetric(),
            behind: None,
        });
        scenario.peers[1].behind = Some(0);
        let again = Scenario::from_json(&scenario.to_json()).expect("its own JSON");
        assert_eq!(again, scenario);
        scenario.gateways[0].behind = Some(0);
        assert!(Scenario::from_json(&scenario.to_json()).is_err());
    }

    #[test]
    fn a_scenario_names_servers_and_no_others() {
        let how = Some(Misbehaviour::Refuses {
            method: Asked::Refresh,
            code: 437,
        });
        let mut scenario = Scenario::pair(1).step(0, Action::Misbehave { server: 0, how });
        let error = Scenario::from_json(&scenario.to_json()).expect_err("no server");
        assert_eq!(error.to_string(), "server 0 is named, and there are 0");
        scenario.steps.clear();
        scenario.peers[0].servers.push(0);
        let error = Scenario::from_json(&scenario.to_json()).expect_err("no server");
        assert_eq!(error.to_string(), "server 0 is named, and there are 0");
        let turn = ServerSpec::new("turn").user("alice", "secret");
        scenario.servers.push(turn);
        scenario = scenario
            .step(0, Action::Connect { from: 0, to: 1 })
            .step(0, Action::Misbehave { server: 0, how });
        let again = Scenario::from_json(&scenario.to_json()).expect("its own JSON");
        assert_eq!(again, scenario);
        assert!(again.run(Driver::Exact).violations.is_empty());
    }

    #[test]
    fn a_field_that_is_not_known_is_refused() {
        let json = Scenario::pair(1)
            .to_json()
            .replace("\"chaos_ms\"", "\"chaos\"");
        assert!(Scenario::from_json(&json).is_err());
    }
}
