//! Makes a failing scenario smaller, so that a person can understand it.

use crate::action::Action;
use crate::net::LinkConfig;

use crate::findings::Invariant;

use super::{AttackPlan, Report, Scenario};

impl Scenario {
    /// The smallest scenario found for which `fails` still holds, with at most `budget` calls of it.
    ///
    /// First boxes and servers go, as long as theory still allows what is wanted, then whole fault classes, then steps (delta debugging), then sizes and counts are halved.
    #[must_use]
    pub fn shrink(&self, budget: usize, mut fails: impl FnMut(&Self) -> bool) -> Self {
        let mut search = Search {
            best: self.clone(),
            budget,
            fails: &mut fails,
        };
        search.drop_middle();
        search.drop_peers();
        search.drop_fault_classes();
        search.drop_steps();
        search.halve_sends();
        search.shorten();
        search.best
    }
}

impl Report {
    /// The run of the smallest scenario found that breaks the same rule first in the same driver, after at most `budget`
    /// runs. What passed stays as it is.
    #[must_use]
    pub fn shrunk(&self, budget: usize) -> Self {
        let Some(rule) = self.violations.first().map(|first| first.invariant) else {
            return self.clone();
        };
        let run = |scenario: &Scenario| match rule {
            Invariant::Determinism => scenario.run_twice(self.driver),
            _ => scenario.run(self.driver),
        };
        let first = |report: &Self| report.violations.first().map(|first| first.invariant);
        let fails = |smaller: &Scenario| first(&run(smaller)) == Some(rule);
        run(&self.scenario.shrink(budget, fails))
    }
}

struct Search<'a> {
    best: Scenario,
    budget: usize,
    fails: &'a mut dyn FnMut(&Scenario) -> bool,
}

impl Search<'_> {
    /// Keeps `smaller` when it still fails.
    fn attempt(&mut self, smaller: Scenario) -> bool {
        if self.budget == 0 || smaller == self.best {
            return false;
        }
        self.budget -= 1;
        let still = (self.fails)(&smaller);
        if still {
            self.best = smaller;
        }
        still
    }

    /// Takes boxes and servers away.
    fn drop_middle(&mut self) {
        // Where theory allowed no path before, the failure is none of a path that is missing.
        let guarded = self.best.is_sound();
        let mut plain = Scenario {
            protection: None,
            ..self.best.clone()
        };
        // Names cannot withstand who carries signals.
        for plan in &mut plain.peers {
            let needs_keys = |attack: &AttackPlan| {
                matches!(
                    attack,
                    AttackPlan::Meddle { .. } | AttackPlan::Replay { .. }
                )
            };
            plan.attack = plan.attack.take().filter(|attack| !needs_keys(attack));
        }
        self.attempt(plain);
        for host in 0..self.best.peers.len() {
            let mut smaller = self.best.clone();
            smaller.move_out(host);
            if !guarded || smaller.is_sound() {
                self.attempt(smaller);
            }
        }
        for server in (0..self.best.servers.len()).rev() {
            let mut smaller = self.best.clone();
            smaller.retire(server);
            if !guarded || smaller.is_sound() {
                self.attempt(smaller);
            }
        }
    }

    /// Takes the last hosts away, whose numbers no server follows, and lets the others be ordinary.
    fn drop_peers(&mut self) {
        while self.best.servers.is_empty() && self.best.peers.len() > 1 {
            let mut smaller = self.best.clone();
            let last = smaller.peers.len() - 1;
            smaller.peers.truncate(last);
            smaller.peers.iter_mut().for_each(|plan| {
                let victim = |attack: &AttackPlan| attack.victim() == Some(last);
                plan.attack = plan.attack.take().filter(|attack| !victim(attack));
            });
            smaller.wanted.retain(|(a, b)| *a != last && *b != last);
            smaller
                .steps
                .retain(|step| !step.action.hosts().contains(&last));
            if !self.attempt(smaller) {
                break;
            }
        }
        // Where a server has a number after them, they stay as hosts that do nothing.
        for host in self.best.honest()..self.best.peers.len() {
            let mut smaller = self.best.clone();
            smaller.peers[host].attack = None;
            self.attempt(smaller);
        }
        for host in 0..self.best.peers.len() {
            let mut smaller = self.best.clone();
            let plan = &mut smaller.peers[host];
            (plan.clock_skew_ms, plan.queue_bytes) = (0, None);
            self.attempt(smaller);
        }
    }

    /// Lets the faults end soon after the last step.
    fn shorten(&mut self) {
        let last = self.best.steps.iter().map(|step| step.at_ms).max();
        let mut smaller = self.best.clone();
        smaller.chaos_ms = smaller.chaos_ms.min(last.unwrap_or(0) + 1);
        self.attempt(smaller);
    }

    fn drop_fault_classes(&mut self) {
        for reset in CLASSES {
            let mut smaller = self.best.clone();
            reset(&mut smaller.link);
            self.attempt(smaller);
            let mut smaller = self.best.clone();
            reset(&mut smaller.bus);
            self.attempt(smaller);
        }
    }

    /// Removes runs of steps, from halves down to single ones.
    fn drop_steps(&mut self) {
        let mut len = self.best.steps.len().div_ceil(2);
        while len > 0 {
            let mut start = 0;
            while start < self.best.steps.len() {
                let mut smaller = self.best.clone();
                let end = (start + len).min(smaller.steps.len());
                smaller.steps.drain(start..end);
                if !self.attempt(smaller) {
                    start += len;
                }
            }
            len /= 2;
        }
    }

    fn halve_sends(&mut self) {
        for place in 0..self.best.steps.len() {
            loop {
                let mut smaller = self.best.clone();
                let Action::Send { size, count, .. } = &mut smaller.steps[place].action else {
                    break;
                };
                *size /= 2;
                *count = count.div_ceil(2);
                if !self.attempt(smaller) {
                    break;
                }
            }
        }
    }
}

/// What takes one class of faults from a link.
const CLASSES: [fn(&mut LinkConfig); 10] = [
    |link| link.loss = 0.0,
    |link| link.burst = None,
    |link| link.jitter = std::time::Duration::ZERO,
    |link| link.reorder = 0.0,
    |link| link.duplicate = 0.0,
    |link| link.rate = None,
    |link| link.truncate = 0.0,
    |link| link.flip = 0.0,
    |link| link.spike = 0.0,
    |link| link.replay = 0.0,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::NatConfig;
    use crate::server::ServerSpec;
    use crate::world::builder::GatewaySpec;

    #[test]
    fn a_failure_of_two_steps_and_one_fault_shrinks_to_these() {
        let crash = Action::Crash { host: 1 };
        let mut scenario = Scenario::random(11).step(3_000, crash.clone());
        scenario.link = LinkConfig {
            loss: 0.1,
            flip: 0.1,
            duplicate: 0.1,
            ..scenario.link
        };
        let fails = |s: &Scenario| {
            let connects = s
                .steps
                .iter()
                .any(|step| matches!(step.action, Action::Connect { .. }));
            let crashes = s.steps.iter().any(|step| step.action == crash);
            connects && crashes && s.link.loss > 0.0
        };
        assert!(fails(&scenario));
        let small = scenario.shrink(1_000, fails);
        assert_eq!(small.steps.len(), 2, "{:?}", small.steps);
        assert!(small.link.loss > 0.0 && small.link.flip == 0.0 && small.link.duplicate == 0.0);
    }

    #[test]
    fn boxes_and_servers_go_unless_theory_then_allows_no_path() {
        let mut scenario = Scenario::pair(1).step(1_000, Action::RebootGateway { gateway: 0 });
        for (host, name) in ["first", "second"].into_iter().enumerate() {
            scenario.gateways.push(GatewaySpec {
                name: name.to_owned(),
                nat: NatConfig::symmetric(),
                behind: None,
            });
            scenario.peers[host].behind = Some(host);
            scenario.peers[host].servers = vec![0, 1];
        }
        let turn = ServerSpec::new("turn").user("somebody", "secret");
        scenario.servers = vec![turn, ServerSpec::new("stun")];
        assert!(scenario.is_sound());
        let boxed = scenario.shrink(100, |s| s.gateways.len() == 2);
        assert_eq!(boxed.servers.len(), 1, "without a relay nothing connects");
        assert_eq!(boxed.peers[0].servers, [0]);
        let bare = scenario.shrink(100, |_| true);
        assert!(bare.gateways.is_empty() && bare.servers.is_empty());
        assert!(bare.steps.is_empty() && bare.peers.iter().all(|peer| peer.servers.is_empty()));
    }

    #[test]
    fn the_budget_bounds_the_search() {
        let mut calls = 0;
        let _smaller = Scenario::random(11).shrink(7, |_| {
            calls += 1;
            false
        });
        assert_eq!(calls, 7);
    }
}
