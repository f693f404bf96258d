//! Runs a scenario: chaos, heal, close, and what must be true at the end of each.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bowline::{ChannelKind, Config};

use crate::action::{Action, Incoming, Reader};
use crate::driver::Driver;
use crate::findings::Invariant;
use crate::net::{HostId, LinkConfig};
use crate::time::Time;
use crate::trace::Record;
use crate::world::World;
use crate::world::builder::PeerSpec;

use super::{PeerPlan, Report, Scenario};

/// How to run a scenario.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// When endpoints are woken.
    pub driver: Driver,
    /// How much is kept.
    pub record: Record,
    /// By how much every `Instant` is moved, which must change nothing.
    pub shift: Duration,
}

impl Scenario {
    /// Runs the scenario and checks every rule.
    #[must_use]
    pub fn run(&self, driver: Driver) -> Report {
        self.run_with(RunOptions {
            driver,
            ..RunOptions::default()
        })
    }

    /// Runs the scenario twice, the second time with all `Instant`s moved, and checks that nothing differs.
    #[must_use]
    pub fn run_twice(&self, driver: Driver) -> Report {
        let mut first = self.run(driver);
        let shift = Duration::from_secs(100_000);
        let second = self.run_with(RunOptions {
            driver,
            shift,
            ..RunOptions::default()
        });
        first.compare(&second);
        first
    }

    /// Runs the scenario and checks every rule.
    #[must_use]
    pub fn run_with(&self, options: RunOptions) -> Report {
        let world = self.play(options);
        Report::new(self, options.driver, &world)
    }

    /// Runs the scenario and returns the world at its end.
    #[must_use]
    pub fn play(&self, options: RunOptions) -> World {
        let mut world = self.world(options);
        let played = catch_unwind(AssertUnwindSafe(|| self.run_phases(&mut world)));
        let panic = played.err();
        world.check(Invariant::NoPanic, panic.is_none(), || {
            format!("panic: {}", panic.as_deref().map_or("", message_of))
        });
        if !world.violations().is_empty() {
            return world;
        }
        let stats = world.stats();
        let balance = stats.datagrams.balance() && stats.signals.balance();
        assert!(balance, "the simulator lost count: {stats:?}");
        world
    }

    fn run_phases(&self, world: &mut World) {
        world.run_for(Duration::from_millis(self.chaos_ms));
        for host in 0..world.hosts() {
            world.check_secrets(host);
        }
        if world.violations().is_empty() {
            self.heal(world);
        }
        for host in 0..world.hosts() {
            world.check_secrets(host);
        }
        if world.violations().is_empty() {
            close(world);
        }
    }

    /// The world of the scenario, with its steps scheduled.
    #[must_use]
    pub fn world(&self, options: RunOptions) -> World {
        let mut builder = World::builder(self.seed)
            .driver(options.driver)
            .record(options.record)
            .shift(options.shift)
            .dtls(self.dtls)
            .keyed(self.protection.is_some())
            .link(self.link.clone())
            .bus(self.bus.clone());
        for spec in &self.gateways {
            builder = builder.gateway_with(spec.clone());
        }
        for plan in &self.peers {
            builder = builder.peer_with(PeerSpec {
                name: plan.name.clone(),
                config: self.config(plan),
                ipv4: plan.ipv4,
                ipv6: plan.ipv6,
                behind: plan.behind,
                hidden: false,
                clock_skew_ms: plan.clock_skew_ms,
                incoming: plan.incoming,
                reader: plan.reader,
                remembers: plan.remembers,
            });
        }
        for spec in &self.servers {
            builder = builder.server(spec.clone());
        }
        let mut world = builder.build();
        for (host, plan) in self.peers.iter().enumerate() {
            if let Some(attack) = &plan.attack {
                attack.start(&mut world, host, self.chaos_ms);
            }
        }
        // What would come later, such as the end of a fault, comes with the heal.
        for step in self.steps.iter().filter(|step| step.at_ms < self.chaos_ms) {
            world.at(Time::from_millis(step.at_ms), step.action.clone());
        }
        world
    }

    fn config(&self, plan: &PeerPlan) -> Config {
        let servers = plan.servers.iter().map(|server| &self.servers[*server]);
        let mut config = Config::builder();
        if let Some(protection) = self.protection {
            config = config.protection(protection).freshness(FRESHNESS);
        }
        if let Some(bytes) = plan.queue_bytes {
            config = config.queue_bytes(bytes).low_water(bytes / 4);
        }
        let config = servers.fold(config, |config, server| {
            config.ice_server(server.ice_server())
        });
        config
            .build()
            .expect("only servers and queues differ from the standard")
    }

    /// All faults end. Every wanted pair must come to be connected, and what was sent on it to arrive.
    fn heal(&self, world: &mut World) {
        world.apply(Action::Heal);
        world.end_attacks();
        // Machines that slept wake: what was put off until then is still a part of the chaos.
        world.run_for(Duration::ZERO);
        for host in 0..world.hosts() {
            world.restart(host);
            for address in world.home_addresses(host).to_vec() {
                world.bind(host, address);
            }
            world.set_signalling(host, true);
            world.set_reader(host, Reader::Prompt);
            world.set_incoming(host, Incoming::Accept);
        }
        // A close that had begun in the chaos may still drain, and end a pair once more.
        let bound = world.now().after(liveness_bound(&Config::default()));
        loop {
            self.connect_all(world, bound);
            let settled = self.connected(world)
                && self.exchange(world)
                && self.hears(world)
                && self.rests(world);
            if settled || !world.violations().is_empty() {
                break;
            }
            let in_time = world.now() < bound;
            world.check(Invariant::Liveness, in_time, || {
                "no rest after all faults ended".to_owned()
            });
        }
        for (a, b) in &self.wanted {
            world.check_agreement(*a, *b);
            if self.is_calm() {
                world.check_calm(*a, *b);
            }
        }
    }

    /// Whoever has given up connects again, until every wanted pair is connected.
    fn connect_all(&self, world: &mut World, bound: Time) {
        while !self.connected(world) && world.now() < bound && world.violations().is_empty() {
            for (a, b) in &self.wanted {
                reconnect(world, *a, *b);
            }
            world.run_until(|world| self.connected(world), PATIENCE);
        }
        if !world.violations().is_empty() {
            return;
        }
        for (a, b) in &self.wanted {
            let (here, there) = (world.state(*a, *b), world.state(*b, *a));
            let up = world.connected(*a, *b);
            world.check(Invariant::Liveness, up, || {
                format!("{a} has {here:?} and {b} has {there:?} after all faults ended")
            });
        }
    }

    /// Lets acknowledgements arrive, and repairs end that began before the faults did. Returns whether every pair was
    /// connected all the time.
    fn rests(&self, world: &mut World) -> bool {
        !world.run_until(|world| !self.connected(world), REST)
    }

    /// What has arrived must be confirmed, unless a pair ends. Returns whether it was.
    fn hears(&self, world: &mut World) -> bool {
        let (unheard, rule) = (World::unconfirmed, Invariant::ExactlyOnceOrTold);
        let what = "messages have arrived, and their senders were not told";
        self.comes_to_nothing(world, unheard, rule, what)
    }

    /// Waits until nothing is left on the reliable channels of what `left` counts, unless a pair ends. Returns whether that
    /// came, and checks it where none did.
    fn comes_to_nothing(
        &self,
        world: &mut World,
        left: impl Fn(&World, HostId, HostId, ChannelKind) -> usize,
        rule: Invariant,
        what: &str,
    ) -> bool {
        let ways = self.ways();
        let all = |world: &World| -> usize {
            let flows = ways
                .iter()
                .flat_map(|way| RELIABLE.map(|kind| (*way, kind)));
            flows
                .map(|((from, to), kind)| left(world, from, to, kind))
                .sum()
        };
        world.run_until(|world| all(world) == 0 || !self.connected(world), EXCHANGE);
        let count = all(world);
        if world.violations().is_empty() && self.connected(world) {
            world.check(rule, count == 0, || format!("{count} {what}"));
        }
        count == 0 && self.connected(world)
    }

    /// From whom to whom messages must get through.
    fn ways(&self) -> Vec<(HostId, HostId)> {
        let pairs = self.wanted.iter();
        pairs.flat_map(|(a, b)| [(*a, *b), (*b, *a)]).collect()
    }

    /// Whether nothing happens that a call could fail for: nothing is lost and nobody goes. Signals may come late, and twice.
    fn is_calm(&self) -> bool {
        let is_open = |peer: &PeerPlan| peer.incoming == Incoming::Accept;
        let bus = LinkConfig {
            reorder: self.bus.reorder,
            reorder_by: self.bus.reorder_by,
            duplicate: self.bus.duplicate,
            duplicate_by: self.bus.duplicate_by,
            ..self.bus.healed()
        };
        let mut steps = self.steps.iter().map(|step| &step.action);
        self.honest() == self.peers.len()
            && self.peers.iter().all(is_open)
            && self.link.rate.is_none()
            && self.link == self.link.healed()
            && self.bus == bus
            && steps.all(Action::is_harmless)
    }

    fn connected(&self, world: &World) -> bool {
        self.wanted.iter().all(|(a, b)| world.connected(*a, *b))
    }

    /// One more message on each reliable channel, both ways: it and all before it must arrive, unless a pair ends.
    ///
    /// Returns whether all arrived.
    fn exchange(&self, world: &mut World) -> bool {
        for (from, to) in self.ways() {
            for channel in RELIABLE {
                let (size, count, text) = (10, 1, true);
                world.apply(Action::Send {
                    from,
                    to,
                    channel,
                    size,
                    count,
                    text,
                });
            }
        }
        let (outstanding, rule) = (World::outstanding, Invariant::Liveness);
        self.comes_to_nothing(world, outstanding, rule, "messages did not arrive")
    }
}

/// What a panic said.
fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a text")
}

/// A side that has given up connects again.
fn reconnect(world: &mut World, a: HostId, b: HostId) {
    let (from, to) = if world.ended(a, b) { (a, b) } else { (b, a) };
    if world.ended(from, to) {
        world.apply(Action::Connect { from, to });
    }
}

/// Everybody closes. Nothing may be left, and nothing may be sent any more.
///
/// An application that goes refuses who still calls: an old offer may come late, after a crash has wiped out that it
/// was answered long ago.
fn close(world: &mut World) {
    for host in 0..world.hosts() {
        world.set_incoming(host, Incoming::Refuse);
        world.apply(Action::CloseAll { host });
    }
    let gone = |world: &World| {
        let quiet = |host| {
            world
                .endpoint(host)
                .is_none_or(|e| e.peers().next().is_none())
        };
        (0..world.hosts()).all(quiet) && world.is_idle()
    };
    world.run_until(gone, CLOSE);
    if !world.violations().is_empty() {
        return;
    }
    for host in 0..world.hosts() {
        world.check_cleanup(host);
    }
    let servers = world.servers();
    let relays = |world: &World| (0..servers).any(|server| world.allocations(server) > 0);
    world.run_until(|world| !relays(world), LIFETIME);
    for server in 0..servers {
        world.check_allocations(server);
    }
    let before = (world.stats().datagrams.sent, world.stats().signals.sent);
    world.run_for(SILENCE);
    let after = (world.stats().datagrams.sent, world.stats().signals.sent);
    world.check(Invariant::Cleanup, before == after, || {
        format!("after the close, datagrams and signals went on from {before:?} to {after:?}")
    });
}

/// How long a pair may take to be connected after all faults have ended.
///
/// The longest chain: the loss of the path is noticed, restarts whose signals are repeated at the longest pause, and
/// a session that had begun before times out and is begun anew.
#[must_use]
pub fn liveness_bound(config: &Config) -> Duration {
    let (timing, reconnect) = (config.timing(), config.reconnect());
    NOTICE
        + reconnect.attempt_timeout * 2
        + timing.signal_retry_max * 2
        + timing.connect_timeout * 2
}

/// Wall clocks are wrong by up to an hour either way.
const FRESHNESS: Duration = Duration::from_secs(3 * 3_600);
/// How long the loss of a path goes unnoticed (ICE consent and its repetitions).
const NOTICE: Duration = Duration::from_secs(30);
/// How often an application whose connection ended tries again.
const PATIENCE: Duration = Duration::from_secs(1);
/// SCTP's longest retransmission timer is 60 s, and may have begun just before the faults ended.
const EXCHANGE: Duration = Duration::from_secs(130);
/// How long nothing may change to call it rest.
const REST: Duration = Duration::from_secs(2);
/// Draining and farewells, with repetitions, and the last copies that somebody has recorded.
const CLOSE: Duration = Duration::from_secs(600);
/// How long an allocation lives that nobody refreshes (RFC 8656 section 3.2), and a moment for the server to see it.
const LIFETIME: Duration = Duration::from_secs(601);
/// How long nothing may be heard after the close.
const SILENCE: Duration = Duration::from_secs(60);
/// The kinds on which everything must arrive.
const RELIABLE: [ChannelKind; 3] = [
    ChannelKind::Control,
    ChannelKind::Reliable,
    ChannelKind::File,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_the_run_and_is_a_violation_with_its_text() {
        let scenario = Scenario::pair(1).step(500, Action::Crash { host: 7 });
        let report = scenario.run(Driver::Exact);
        let [violation] = &report.violations[..] else {
            panic!("one violation: {:?}", report.violations);
        };
        assert_eq!(violation.invariant, Invariant::NoPanic);
        assert_eq!(violation.at, Time::from_millis(500));
        assert!(violation.text.starts_with("panic: index out of bounds"));
    }
}
