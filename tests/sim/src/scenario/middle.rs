//! What is between the hosts of a scenario: boxes and servers, and what happens to them.
//!
//! A random scenario has only what theory says connects, so that liveness can be asked of it: where a wanted pair has no direct
//! path, everybody has a relay. The draws have a stream of their own: scenarios without boxes are what they would be
//! without this.

use std::net::SocketAddr;
use std::time::Duration;

use crate::action::Action;
use crate::net::{Filtering, Firewall, GatewayId, HostId, LinkConfig, Mapping, NatConfig, Ports};
use crate::rng::{Purpose, Stream};
use crate::server::{Asked, Misbehaviour, ServerId, ServerSpec};
use crate::world::builder::GatewaySpec;

use super::draws::{log_u64, pick};
use super::{RunOptions, Scenario, Step};

/// Draws boxes and servers for a scenario that has none yet, or for a part of the seeds.
pub(super) fn draw(scenario: &mut Scenario) {
    let mut stream = Stream::new(scenario.seed, Purpose::Middle);
    if stream.chance(PLAIN) {
        return;
    }
    for host in 0..scenario.honest() {
        if stream.chance(0.75) {
            settle(scenario, &mut stream, host);
        }
    }
    serve(scenario, &mut stream);
    spare_servers(scenario);
    for gateway in 0..scenario.gateways.len() {
        if stream.chance(0.4) {
            disturb_box(scenario, &mut stream, gateway);
        }
    }
    for server in 0..scenario.servers.len() {
        if stream.chance(0.6) {
            disturb_server(scenario, &mut stream, server);
        }
    }
}

impl Scenario {
    /// Whether theory allows every wanted pair a path, with the servers that both use. The servers have IPv4.
    pub(super) fn is_sound(&self) -> bool {
        let world = self.world(RunOptions::default());
        let relays = |host: HostId| {
            let mut used = self.peers[host].servers.iter();
            used.any(|server| !self.servers[*server].users.is_empty())
        };
        // Whoever is behind a box has to learn how it is seen.
        let asks = |host: HostId| {
            let plan = &self.peers[host];
            plan.behind.is_none() || !plan.servers.is_empty()
        };
        self.wanted
            .iter()
            .all(|(a, b)| asks(*a) && asks(*b) && world.has_path(*a, *b, relays(*a) && relays(*b)))
    }

    /// Puts a host on the internet. Addresses change by that, so none is lost or gained by name any more.
    pub(super) fn move_out(&mut self, host: HostId) {
        self.peers[host].behind = None;
        let names_address =
            |step: &Step| matches!(step.action, Action::Bind { .. } | Action::Unbind { .. });
        self.steps.retain(|step| !names_address(step));
        while let Some(last) = self.gateways.len().checked_sub(1) {
            let houses = self.peers.iter().any(|peer| peer.behind == Some(last));
            if houses || self.gateways.iter().any(|inner| inner.behind == Some(last)) {
                return;
            }
            self.gateways.pop();
            self.steps
                .retain(|step| step.action.gateway() != Some(last));
        }
    }

    /// Nobody uses a server any more, and nothing happens to it. It is gone if it is the last.
    pub(super) fn retire(&mut self, server: ServerId) {
        for peer in &mut self.peers {
            peer.servers.retain(|used| *used != server);
        }
        let host = self.peers.len() + server;
        let names =
            |action: &Action| action.server() == Some(server) || action.hosts().contains(&host);
        self.steps.retain(|step| !names(&step.action));
        if server + 1 == self.servers.len() {
            self.servers.pop();
        }
    }
}

/// Puts a host behind a box: that of the host before it, a new one, or a new one behind that.
fn settle(scenario: &mut Scenario, stream: &mut Stream, host: HostId) {
    let last = scenario.gateways.len().checked_sub(1);
    let gateway = match last.filter(|_| stream.chance(0.2)) {
        Some(shared) => shared,
        None => {
            // What does not translate would let out what nobody can answer.
            let outer = last.filter(|outer| scenario.gateways[*outer].nat.translate);
            let gateway = scenario.gateways.len();
            scenario.gateways.push(GatewaySpec {
                name: format!("box-{gateway}"),
                nat: nat(stream),
                behind: outer.filter(|_| stream.chance(0.3)),
            });
            gateway
        }
    };
    let plan = &mut scenario.peers[host];
    plan.behind = Some(gateway);
    if scenario.gateways[gateway].nat.nat64 {
        (plan.ipv4, plan.ipv6) = (0, 1);
    }
}

fn nat(stream: &mut Stream) -> NatConfig {
    let expiry = Duration::from_secs(log_u64(stream, SHORTEST_EXPIRY, 300.0));
    match stream.below(8) {
        0 => NatConfig::open(),
        1 => NatConfig {
            expiry,
            ..NatConfig::nat64()
        },
        _ => NatConfig {
            expiry,
            hairpin: stream.chance(0.3),
            inbound_refresh: stream.chance(0.3),
            ports: pick(stream, &PORTS),
            ..NatConfig::of(pick(stream, &Mapping::ALL), pick(stream, &Filtering::ALL))
        },
    }
}

/// Gives everybody a STUN server, and a TURN server where it is needed or by chance.
fn serve(scenario: &mut Scenario, stream: &mut Stream) {
    let stun = ServerSpec::new("stun");
    let turn = ServerSpec::new("turn").user("somebody", PASSWORD);
    for spec in [stun, turn] {
        let server = scenario.servers.len();
        let is_luxury = server > 0 && scenario.is_sound();
        if is_luxury && stream.chance(0.7) {
            continue;
        }
        scenario.servers.push(ServerSpec {
            ipv6: stream.chance(0.5),
            ..spec
        });
        for peer in &mut scenario.peers {
            peer.servers.push(server);
        }
    }
}

/// Nothing is damaged on the way to servers and back: what a server refuses for that, only other credentials could mend.
fn spare_servers(scenario: &mut Scenario) {
    let link = LinkConfig {
        truncate: 0.0,
        flip: 0.0,
        ..scenario.link.clone()
    };
    if link == scenario.link {
        return;
    }
    let hosts = scenario.peers.len();
    for host in 0..hosts {
        for server in hosts..hosts + scenario.servers.len() {
            for (from, to) in [(host, server), (server, host)] {
                let link = link.clone();
                push(scenario, 0, Action::SetLink { from, to, link });
            }
        }
    }
}

fn disturb_box(scenario: &mut Scenario, stream: &mut Stream, gateway: GatewayId) {
    let (at_ms, until_ms) = while_it_lasts(scenario, stream);
    match stream.below(3) {
        0 => push(scenario, at_ms, Action::RebootGateway { gateway }),
        1 => push(scenario, at_ms, Action::RenumberGateway { gateway }),
        _ => {
            let walls = [(at_ms, Firewall::no_udp()), (until_ms, Firewall::default())];
            for (at_ms, firewall) in walls {
                push(scenario, at_ms, Action::SetFirewall { gateway, firewall });
            }
        }
    }
}

fn disturb_server(scenario: &mut Scenario, stream: &mut Stream, server: ServerId) {
    let (at_ms, until_ms) = while_it_lasts(scenario, stream);
    match stream.below(5) {
        0 => push(scenario, at_ms, Action::RebootServer { server }),
        1 => {
            push(scenario, at_ms, Action::CrashServer { server });
            push(scenario, until_ms, Action::StartServer { server });
        }
        _ => {
            let delay_ms = log_u64(stream, 10.0, 2_000.0);
            let how = match stream.below(9) {
                0 => Misbehaviour::Silent,
                1 => Misbehaviour::Slow { delay_ms },
                2 => Misbehaviour::NoOtherAddress,
                3 => Misbehaviour::UnknownAttributes,
                4 => Misbehaviour::NoncePerRequest,
                5 => Misbehaviour::RelaysNothing,
                6 => Misbehaviour::Stranger {
                    peer: SocketAddr::from(STRANGER),
                },
                7 => Misbehaviour::WrongLifetime {
                    secs: stream.between(30, 3_600).try_into().unwrap_or(600),
                },
                // What only other credentials could mend would outlast the fault.
                _ => Misbehaviour::Refuses {
                    method: Asked::Allocate,
                    code: pick(stream, &[486, 508]),
                },
            };
            for (at_ms, how) in [(at_ms, Some(how)), (until_ms, None)] {
                push(scenario, at_ms, Action::Misbehave { server, how });
            }
        }
    }
}

/// When a fault begins and ends.
fn while_it_lasts(scenario: &Scenario, stream: &mut Stream) -> (u64, u64) {
    // Servers are asked for most when everybody starts.
    let at_ms = match stream.chance(0.5) {
        true => 0,
        false => stream.below(scenario.chaos_ms),
    };
    (at_ms, at_ms + log_u64(stream, 100.0, 10_000.0))
}

fn push(scenario: &mut Scenario, at_ms: u64, action: Action) {
    scenario.steps.push(Step { at_ms, action });
}

/// Who is no host of any scenario.
const STRANGER: ([u8; 4], u16) = ([198, 51, 100, 77], 7_777);
/// How many of the scenarios have neither boxes nor servers.
const PLAIN: f64 = 0.6;
/// In seconds. Addresses that servers saw are kept open in intervals of 20 s.
const SHORTEST_EXPIRY: f64 = 30.0;
/// Long enough to be looked for in all that endpoints tell.
const PASSWORD: &str = "open sesame, said the canary";
const PORTS: [Ports; 4] = [
    Ports::Preserve,
    Ports::Parity,
    Ports::Random,
    Ports::Sequential,
];
