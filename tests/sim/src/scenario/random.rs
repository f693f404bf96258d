//! Draws a scenario from a seed, swarm style: a random subset of the fault classes, each at a random intensity.

use std::net::SocketAddr;

use bowline::{ChannelKind, Protection};

use crate::action::{Action, Incoming};
use crate::net::HostId;
use crate::rng::{Purpose, Stream};
use crate::world::builder::Dtls;

use super::draws::{log_usize, pick, usize_between};
use super::fault::{Fault, bus, link};
use super::{PeerPlan, RunOptions, Scenario, Step, attack, middle};

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
        let mut trust = Stream::new(seed, Purpose::Trust);
        let protection = match trust.below(8) {
            0 => Some(Protection::Sealed),
            1 => Some(Protection::Signed),
            _ => None,
        };
        let mut draw = Draw {
            scenario: Self {
                seed,
                dtls: Dtls::Null,
                protection,
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
        for plan in &mut draw.scenario.peers {
            plan.remembers = trust.chance(0.3);
        }
        if !faults.is_empty() && trust.chance(ATTACKED) {
            attack::draw(&mut draw.scenario, &mut trust);
        }
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

/// A scenario that is being drawn.
pub(super) struct Draw {
    pub(super) scenario: Scenario,
    pub(super) stream: Stream,
    /// The addresses of the hosts.
    pub(super) homes: Vec<Vec<SocketAddr>>,
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

    pub(super) fn moment(&mut self) -> u64 {
        self.stream.below(self.scenario.chaos_ms)
    }

    pub(super) fn push(&mut self, at_ms: u64, action: Action) {
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

/// How many of the scenarios with faults have attackers.
const ATTACKED: f64 = 0.25;
/// Bytes that the applications of one run send in all, so that many runs fit into a minute.
const MAX_BYTES: usize = 600_000;
/// Messages of one burst.
const MAX_BURST: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::AttackPlan;

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
    fn some_scenarios_have_attackers_of_every_kind_who_are_none_of_the_wanted() {
        let all: Vec<_> = (0..1_000).map(Scenario::random).collect();
        let attacked = all.iter().filter(|s| s.honest() < s.peers.len());
        assert!((150..300).contains(&attacked.clone().count()));
        for scenario in attacked.clone() {
            let (attackers, honest) = (&scenario.peers[scenario.honest()..], scenario.honest());
            assert!(attackers.iter().all(|peer| peer.attack.is_some()));
            assert!(scenario.wanted.iter().all(|(a, b)| a.max(b) < &honest));
        }
        let attacks = attacked.flat_map(|s| s.peers.iter().map(move |p| (s, p.attack.as_ref())));
        let attacks: Vec<_> = attacks
            .filter_map(|(s, attack)| Some((s, attack?)))
            .collect();
        let count = |is: fn(&AttackPlan) -> bool| attacks.iter().filter(|(_, a)| is(a)).count();
        assert!(count(|a| matches!(a, AttackPlan::Flood { .. })) > 20);
        assert!(count(|a| matches!(a, AttackPlan::Inject { .. })) > 20);
        assert!(count(|a| matches!(a, AttackPlan::Replay { .. })) > 5);
        assert!(count(|a| matches!(a, AttackPlan::Meddle { .. })) > 5);
        assert!(count(|a| matches!(a, AttackPlan::Storm { .. })) > 20);
        let by_keys = attacks.iter().filter(|(scenario, attack)| {
            scenario.protection.is_some() && matches!(attack, AttackPlan::Storm { .. })
        });
        assert!(by_keys.count() > 3);
        let is_signalling =
            |a: &AttackPlan| matches!(a, AttackPlan::Meddle { .. } | AttackPlan::Replay { .. });
        let mut signalling = attacks.iter().filter(|(_, attack)| is_signalling(attack));
        assert!(signalling.all(|(scenario, _)| scenario.protection.is_some()));
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
        let two = all.iter().filter(|s| s.honest() == 2).count();
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
