//! Draws a scenario from a seed, swarm style: a random subset of the fault classes, each at a random intensity.

use std::net::SocketAddr;
use std::time::Duration;

use bowline::ChannelKind;

use crate::action::{Action, Incoming, Reader};
use crate::net::{Burst, Class, HostId, LinkConfig};
use crate::rng::{Purpose, Stream};
use crate::world::builder::Dtls;

use super::{PeerPlan, RunOptions, Scenario, Step, middle};

/// A class of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Loss,
    Burst,
    Jitter,
    Reorder,
    Duplicate,
    Damage,
    Rate,
    BlackHole,
    Partition,
    OneWay,
    BusLoss,
    BusReorder,
    BusDuplicate,
    BusPartition,
    Crash,
    Interface,
    Reader,
    Restart,
    Rebuild,
    Churn,
}

impl Fault {
    const ALL: [Self; 20] = [
        Self::Loss,
        Self::Burst,
        Self::Jitter,
        Self::Reorder,
        Self::Duplicate,
        Self::Damage,
        Self::Rate,
        Self::BlackHole,
        Self::Partition,
        Self::OneWay,
        Self::BusLoss,
        Self::BusReorder,
        Self::BusDuplicate,
        Self::BusPartition,
        Self::Crash,
        Self::Interface,
        Self::Reader,
        Self::Restart,
        Self::Rebuild,
        Self::Churn,
    ];

    /// The classes of one run: none in 10 %, exactly one in 20 %, all in 5 %, else each with probability 1/2.
    fn draw(stream: &mut Stream) -> Vec<Self> {
        match stream.below(100) {
            0..10 => Vec::new(),
            10..30 => vec![pick(stream, &Self::ALL)],
            30..35 => Self::ALL.to_vec(),
            _ => Self::ALL
                .into_iter()
                .filter(|_| stream.chance(0.5))
                .collect(),
        }
    }
}

impl Scenario {
    /// Draws a scenario. The same seed gives the same scenario, as long as this generator does not change.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let mut stream = Stream::new(seed, Purpose::Scenario);
        let faults = Fault::draw(&mut stream);
        let hosts = if stream.chance(0.7) {
            2
        } else {
            usize_between(&mut stream, 3, 4)
        };
        let peers = (0..hosts).map(|host| peer(&mut stream, host)).collect();
        let mut draw = Draw {
            scenario: Self {
                seed,
                dtls: Dtls::Null,
                gateways: Vec::new(),
                peers,
                servers: Vec::new(),
                link: link(&mut stream, &faults),
                bus: bus(&mut stream, &faults),
                chaos_ms: stream.between(5_000, 25_000),
                wanted: Vec::new(),
                steps: Vec::new(),
            },
            stream,
            homes: Vec::new(),
        };
        draw.connects();
        middle::draw(&mut draw.scenario);
        let world = draw.scenario.world(RunOptions::default());
        let home = |host| world.home_addresses(host).to_vec();
        draw.homes = (0..hosts).map(home).collect();
        draw.workload();
        for fault in faults {
            draw.events(fault);
        }
        draw.scenario.steps.sort_by_key(|step| step.at_ms);
        draw.scenario
    }
}

struct Draw {
    scenario: Scenario,
    stream: Stream,
    /// The addresses of the hosts.
    homes: Vec<Vec<SocketAddr>>,
}

impl Draw {
    /// Every pair connects in 2/3 of the cases; the first always. In a third of them both sides call at once.
    fn connects(&mut self) {
        let hosts = self.scenario.peers.len();
        for (a, b) in (0..hosts).flat_map(|a| (a + 1..hosts).map(move |b| (a, b))) {
            if (a, b) != (0, 1) && self.stream.chance(0.33) {
                continue;
            }
            self.scenario.wanted.push((a, b));
            let at_ms = self.stream.below(1_000);
            let (from, to) = if self.stream.chance(0.5) {
                (a, b)
            } else {
                (b, a)
            };
            self.push(at_ms, Action::Connect { from, to });
            if self.stream.chance(0.33) {
                let later = self.stream.below(15);
                self.push(at_ms + later, Action::Connect { from: to, to: from });
            }
            if self.stream.chance(0.1) {
                // Nothing, unless the application waits with its answer.
                let later = self.stream.below(5_000);
                self.push(
                    at_ms + later,
                    Action::Accept {
                        host: to,
                        peer: from,
                    },
                );
            }
        }
    }

    /// A few bursts on every wanted pair, within a budget of bytes for the whole run.
    fn workload(&mut self) {
        let mut budget = MAX_BYTES;
        for (a, b) in self.scenario.wanted.clone() {
            for _ in 0..self.stream.between(1, 8) {
                let (from, to) = if self.stream.chance(0.5) {
                    (a, b)
                } else {
                    (b, a)
                };
                let channel = pick(&mut self.stream, &ChannelKind::ALL);
                let size = self.size();
                let most = (budget / (size + 50)).min(MAX_BURST);
                let count = usize_between(&mut self.stream, 1, most.max(1));
                budget = budget.saturating_sub(count * size);
                let text = self.stream.chance(0.3);
                let count = u32::try_from(count).unwrap_or(1);
                let at_ms = self.moment();
                self.push(
                    at_ms,
                    Action::Send {
                        from,
                        to,
                        channel,
                        size,
                        count,
                        text,
                    },
                );
            }
        }
    }

    fn size(&mut self) -> usize {
        match self.stream.below(10) {
            0 => 0,
            1 => 1,
            2..=8 => log_usize(&mut self.stream, 2.0, 20_000.0),
            _ => log_usize(&mut self.stream, 20_000.0, 200_000.0),
        }
    }

    /// What the classes do that are events, not properties of a link.
    fn events(&mut self, fault: Fault) {
        let at_ms = self.moment();
        let (a, b) = {
            let wanted = &self.scenario.wanted;
            let (a, b) = wanted[usize_between(&mut self.stream, 0, wanted.len() - 1)];
            if self.stream.chance(0.5) {
                (a, b)
            } else {
                (b, a)
            }
        };
        let for_ms = log_u64(&mut self.stream, 100.0, 10_000.0);
        match fault {
            Fault::Partition => {
                self.push(
                    at_ms,
                    Action::Partition {
                        from: a,
                        to: b,
                        for_ms,
                    },
                );
                self.push(
                    at_ms,
                    Action::Partition {
                        from: b,
                        to: a,
                        for_ms,
                    },
                );
            }
            Fault::OneWay => self.push(
                at_ms,
                Action::Partition {
                    from: a,
                    to: b,
                    for_ms,
                },
            ),
            Fault::BusPartition => {
                self.push(
                    at_ms,
                    Action::PartitionBus {
                        from: a,
                        to: b,
                        for_ms,
                    },
                );
                if self.stream.chance(0.5) {
                    self.push(
                        at_ms,
                        Action::PartitionBus {
                            from: b,
                            to: a,
                            for_ms,
                        },
                    );
                }
            }
            Fault::Crash => {
                self.push(at_ms, Action::Crash { host: a });
                self.push(at_ms + for_ms, Action::Start { host: a });
                self.push(at_ms + for_ms + 1, Action::Connect { from: a, to: b });
            }
            Fault::Interface => self.interface(a, at_ms, for_ms),
            Fault::Reader => {
                let absent = self.stream.chance(0.3);
                let rate = Reader::Rate(log_u64(&mut self.stream, 1_000.0, 1_000_000.0));
                let reader = if absent { Reader::Absent } else { rate };
                self.push(at_ms, Action::SetReader { host: a, reader });
            }
            Fault::Restart => self.push(at_ms, Action::Restart { from: a, to: b }),
            Fault::Rebuild => self.push(at_ms, Action::Rebuild { from: a, to: b }),
            Fault::Churn => {
                self.push(at_ms, Action::Close { from: a, to: b });
                let back = if self.stream.chance(0.5) {
                    (a, b)
                } else {
                    (b, a)
                };
                self.push(
                    at_ms + for_ms,
                    Action::Connect {
                        from: back.0,
                        to: back.1,
                    },
                );
            }
            Fault::BlackHole => {
                let mtu = usize_between(&mut self.stream, 200, 1_199);
                let link = LinkConfig {
                    mtu,
                    ..self.scenario.link.clone()
                };
                self.push(
                    at_ms,
                    Action::SetLink {
                        from: a,
                        to: b,
                        link,
                    },
                );
                let link = self.scenario.link.clone();
                self.push(
                    at_ms + for_ms,
                    Action::SetLink {
                        from: a,
                        to: b,
                        link,
                    },
                );
            }
            Fault::Loss
            | Fault::Burst
            | Fault::Jitter
            | Fault::Reorder
            | Fault::Duplicate
            | Fault::Damage
            | Fault::Rate
            | Fault::BusLoss
            | Fault::BusReorder
            | Fault::BusDuplicate => {}
        }
    }

    /// An interface goes and comes back.
    fn interface(&mut self, host: HostId, at_ms: u64, for_ms: u64) {
        let address = pick(&mut self.stream, &self.homes[host]);
        self.push(at_ms, Action::Unbind { host, address });
        self.push(at_ms + for_ms, Action::Bind { host, address });
    }

    fn moment(&mut self) -> u64 {
        self.stream.below(self.scenario.chaos_ms)
    }

    fn push(&mut self, at_ms: u64, action: Action) {
        self.scenario.steps.push(Step { at_ms, action });
    }
}

fn peer(stream: &mut Stream, host: HostId) -> PeerPlan {
    let name = ["alice", "bob", "carol", "dave"][host];
    let mut plan = PeerPlan::new(name);
    plan.ipv4 = if stream.chance(0.2) { 2 } else { 1 };
    plan.ipv6 = u8::from(stream.chance(0.3));
    if stream.chance(0.05) {
        plan.incoming = Incoming::Refuse;
    } else if stream.chance(0.05) {
        plan.incoming = Incoming::Wait;
    }
    plan
}

fn link(stream: &mut Stream, faults: &[Fault]) -> LinkConfig {
    let mut link = LinkConfig::with_latency(millis(stream, 1.0, 150.0));
    for fault in faults {
        match fault {
            Fault::Loss => link.loss = probability(stream, 0.002, 0.2),
            Fault::Burst => {
                let enter = probability(stream, 0.001, 0.02);
                let leave = probability(stream, 0.1, 0.5);
                link.burst = Some(Burst {
                    enter,
                    leave,
                    loss: probability(stream, 0.3, 1.0),
                });
            }
            Fault::Jitter => link.jitter = millis(stream, 1.0, 200.0),
            Fault::Reorder => {
                link.reorder = probability(stream, 0.005, 0.3);
                link.reorder_by = millis(stream, 1.0, 200.0);
            }
            Fault::Duplicate => {
                link.duplicate = probability(stream, 0.005, 0.3);
                link.duplicate_by = millis(stream, 1.0, 60_000.0);
            }
            Fault::Damage => {
                link.truncate = probability(stream, 0.001, 0.05);
                link.flip = probability(stream, 0.001, 0.05);
            }
            Fault::Rate => {
                link.rate = Some(log_u64(stream, 50_000.0, 5_000_000.0));
                link.queue = log_u64(stream, 20_000.0, 500_000.0);
            }
            Fault::BlackHole
            | Fault::Partition
            | Fault::OneWay
            | Fault::BusLoss
            | Fault::BusReorder
            | Fault::BusDuplicate
            | Fault::BusPartition
            | Fault::Crash
            | Fault::Interface
            | Fault::Reader
            | Fault::Restart
            | Fault::Rebuild
            | Fault::Churn => {}
        }
    }
    debug_assert!(
        !link.filter.contains(&Class::Stun),
        "a filter would be a partition"
    );
    link
}

fn bus(stream: &mut Stream, faults: &[Fault]) -> LinkConfig {
    let mut bus = LinkConfig::with_latency(millis(stream, 1.0, 150.0));
    for fault in faults {
        match fault {
            Fault::BusLoss => bus.loss = probability(stream, 0.01, 0.4),
            Fault::BusReorder => {
                bus.reorder = probability(stream, 0.05, 0.5);
                bus.reorder_by = millis(stream, 10.0, 3_000.0);
            }
            Fault::BusDuplicate => {
                bus.duplicate = probability(stream, 0.05, 0.5);
                bus.duplicate_by = millis(stream, 10.0, 60_000.0);
            }
            Fault::Loss
            | Fault::Burst
            | Fault::Jitter
            | Fault::Reorder
            | Fault::Duplicate
            | Fault::Damage
            | Fault::Rate
            | Fault::BlackHole
            | Fault::Partition
            | Fault::OneWay
            | Fault::BusPartition
            | Fault::Crash
            | Fault::Interface
            | Fault::Reader
            | Fault::Restart
            | Fault::Rebuild
            | Fault::Churn => {}
        }
    }
    bus
}

fn millis(stream: &mut Stream, lo: f64, hi: f64) -> Duration {
    Duration::from_micros(log_u64(stream, lo * 1_000.0, hi * 1_000.0))
}

/// In millionths: a JSON reader may get the last digits of longer numbers wrong.
fn probability(stream: &mut Stream, lo: f64, hi: f64) -> f64 {
    (stream.log_uniform(lo, hi) * 1e6).round() / 1e6
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive and small"
)]
pub(super) fn log_u64(stream: &mut Stream, lo: f64, hi: f64) -> u64 {
    stream.log_uniform(lo, hi) as u64
}

fn log_usize(stream: &mut Stream, lo: f64, hi: f64) -> usize {
    usize::try_from(log_u64(stream, lo, hi)).unwrap_or_default()
}

fn usize_between(stream: &mut Stream, lo: usize, hi: usize) -> usize {
    usize::try_from(stream.between(lo as u64, hi as u64)).unwrap_or(lo)
}

pub(super) fn pick<T: Copy>(stream: &mut Stream, all: &[T]) -> T {
    all[usize_between(stream, 0, all.len() - 1)]
}

/// Bytes that the applications of one run send in all, so that many runs fit into a minute.
const MAX_BYTES: usize = 600_000;
/// Messages of one burst.
const MAX_BURST: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_scenario_again() {
        assert_eq!(Scenario::random(5), Scenario::random(5));
        assert_ne!(Scenario::random(5), Scenario::random(6));
    }

    #[test]
    fn some_scenarios_have_boxes_and_servers_of_every_kind_and_theory_allows_all_of_them() {
        let all: Vec<_> = (0..300).map(Scenario::random).collect();
        let count = |with: fn(&Scenario) -> bool| all.iter().filter(|s| with(s)).count();
        assert!((80..160).contains(&count(|s| !s.servers.is_empty())));
        assert!(count(|s| s.servers.len() > 1) > 30, "those with relays");
        assert!(count(|s| s.gateways.iter().any(|g| g.nat.nat64)) > 5);
        assert!(count(|s| s.gateways.iter().any(|g| g.behind.is_some())) > 5);
        let of_step =
            |s: &Scenario, with: fn(&Action) -> bool| s.steps.iter().any(|t| with(&t.action));
        let steps = |with: fn(&Action) -> bool| all.iter().filter(|s| of_step(s, with)).count();
        assert!(steps(|a| matches!(a, Action::RebootGateway { .. })) > 5);
        assert!(steps(|a| matches!(a, Action::RenumberGateway { .. })) > 5);
        assert!(steps(|a| matches!(a, Action::Misbehave { .. })) > 5);
        assert!(steps(|a| matches!(a, Action::CrashServer { .. })) > 5);
        assert!(all.iter().all(Scenario::is_sound));
    }

    #[test]
    fn all_fault_classes_are_drawn_and_some_seeds_have_none() {
        let draws: Vec<_> = (0..500)
            .map(|seed| Fault::draw(&mut Stream::new(seed, Purpose::Scenario)))
            .collect();
        for fault in Fault::ALL {
            let with = draws.iter().filter(|draw| draw.contains(&fault)).count();
            assert!((150..350).contains(&with), "{fault:?} in {with} of 500");
        }
        let none = draws.iter().filter(|draw| draw.is_empty()).count();
        let one = draws.iter().filter(|draw| draw.len() == 1).count();
        assert!((30..75).contains(&none), "10 % have none: {none}");
        assert!((70..135).contains(&one), "20 % have one: {one}");
    }

    #[test]
    fn two_thirds_of_the_scenarios_have_two_peers_and_all_stay_within_the_byte_budget() {
        let all: Vec<_> = (0..300).map(Scenario::random).collect();
        let two = all.iter().filter(|s| s.peers.len() == 2).count();
        assert!((180..240).contains(&two), "70 % have two: {two}");
        for scenario in all {
            let bytes: usize = scenario
                .steps
                .iter()
                .map(|step| match step.action {
                    Action::Send { size, count, .. } => size * count as usize,
                    _ => 0,
                })
                .sum();
            assert!(bytes <= MAX_BYTES + 48 * 200_000, "{bytes}");
        }
    }
}
