//! Who attacks in a scenario, from a host that does nothing else, until all faults end.

use std::net::SocketAddr;

use bowline::PeerId;
use serde::{Deserialize, Serialize};

use crate::attack::{Checks, Injector, Meddler, OfferStorm, Replayer, Storm, StunFlood};
use crate::net::HostId;
use crate::rng::Stream;
use crate::time::Time;
use crate::world::World;

use super::draws::{log_u64, log_usize, pick, usize_between};
use super::{PeerPlan, Scenario};

/// What an attacker does.
///
/// Servers attack as well, when they [misbehave](crate::Misbehaviour).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AttackPlan {
    /// Off the path: connectivity checks from many addresses.
    Flood {
        /// The host that they go to.
        target: HostId,
        /// How good they are.
        checks: Checks,
        /// How many.
        count: u64,
        /// When the first one is sent, in milliseconds.
        at_ms: u64,
    },
    /// On the path: some of the datagrams of all hosts come once more, damaged, cut or late.
    Inject {
        /// One in how many.
        every: u64,
        /// How many.
        count: u32,
    },
    /// The signalling server: every signal to everybody, at each new one and at the end. Where hosts are keys: the offer of a
    /// process that is gone brings down a connection between names.
    Replay {
        /// How many signals are kept.
        keep: usize,
    },
    /// The signalling server: signals are altered in every way. Where hosts are keys.
    Meddle {
        /// How many signals.
        count: u32,
    },
    /// A peer: it negotiates as fast as it can.
    Storm {
        /// With whom.
        victim: HostId,
        /// What for.
        storm: Storm,
        /// How many messages, one each millisecond.
        messages: u32,
        /// When the first one is sent, in milliseconds.
        at_ms: u64,
    },
}

impl AttackPlan {
    /// The host that is attacked, if it is one.
    pub(super) fn victim(&self) -> Option<HostId> {
        match self {
            Self::Flood { target: host, .. } | Self::Storm { victim: host, .. } => Some(*host),
            Self::Inject { .. } | Self::Replay { .. } | Self::Meddle { .. } => None,
        }
    }

    /// Lets it begin, on a host of its own.
    pub(super) fn start(&self, world: &mut World, host: HostId, chaos_ms: u64) {
        let everybody: Vec<PeerId> = (0..world.hosts()).map(|host| world.id(host)).collect();
        match *self {
            Self::Flood {
                target,
                checks,
                count,
                at_ms,
            } => {
                let Some(target) = world.home_addresses(target).first().copied() else {
                    return;
                };
                let flood = StunFlood::new(target, checks, count);
                world.take_over(host, flood.starting_at(Time::from_millis(at_ms)));
            }
            Self::Inject { every, count } => {
                // The checkers believe what servers say, which endpoints verify.
                let servers =
                    (0..world.servers()).flat_map(|server| world.server_addresses(server));
                let ports = servers.map(SocketAddr::port).collect();
                world.take_over(host, Injector::new(every, count).sparing(ports));
            }
            Self::Replay { keep } => {
                let rounds = vec![Time::from_millis(chaos_ms.saturating_sub(1))];
                world.take_over(host, Replayer::new(everybody, rounds).keeping(keep));
            }
            Self::Meddle { count } => world.take_over(host, Meddler::new(everybody, count)),
            Self::Storm {
                victim,
                storm,
                messages,
                at_ms,
            } => {
                let storm = OfferStorm::new(world.id(victim), storm, messages);
                world.take_over(host, storm.starting_at(Time::from_millis(at_ms)));
            }
        }
    }
}

impl Scenario {
    /// How many hosts do not attack. They come first.
    pub(crate) fn honest(&self) -> usize {
        let honest = self.peers.iter();
        honest.take_while(|peer| peer.attack.is_none()).count()
    }
}

/// One attacker, or two, on hosts after the honest ones.
pub(super) fn draw(scenario: &mut Scenario, stream: &mut Stream) {
    let honest = scenario.peers.len();
    let count = usize_between(stream, 1, 2);
    for name in ["mallory", "trudy"].into_iter().take(count) {
        let attack = attack(scenario, stream, honest);
        scenario.peers.push(PeerPlan {
            attack: Some(attack),
            ..PeerPlan::new(name)
        });
    }
}

fn attack(scenario: &Scenario, stream: &mut Stream, honest: usize) -> AttackPlan {
    let somebody = usize_between(stream, 0, honest - 1);
    let at_ms = stream.below(scenario.chaos_ms);
    let count =
        |stream: &mut Stream, lo, hi| u32::try_from(log_u64(stream, lo, hi)).unwrap_or(u32::MAX);
    match (stream.below(4), scenario.protection) {
        (0, _) => AttackPlan::Flood {
            target: somebody,
            checks: pick(stream, &[Checks::UnknownName, Checks::WrongPassword]),
            count: log_u64(stream, 10.0, 500.0),
            at_ms,
        },
        (1, _) => AttackPlan::Inject {
            every: log_u64(stream, 2.0, 100.0),
            count: count(stream, 10.0, 200.0),
        },
        (2, Some(_)) => AttackPlan::Replay {
            keep: log_usize(stream, 4.0, 30.0),
        },
        (3, Some(_)) if stream.chance(0.5) => AttackPlan::Meddle {
            count: count(stream, 4.0, 40.0),
        },
        _ => AttackPlan::Storm {
            victim: somebody,
            storm: pick(stream, &STORMS),
            messages: count(stream, 10.0, 500.0),
            at_ms,
        },
    }
}

const STORMS: [Storm; 4] = [
    Storm::NewSessions,
    Storm::OffersAndFarewells,
    Storm::Restarts,
    Storm::RestartRequests,
];
