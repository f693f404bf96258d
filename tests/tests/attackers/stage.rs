//! A victim that two honest peers are connected with, and the measures of what an attack on it does.
//!
//! Each attack is compared with the same stage, seed and length of time without it.

use std::fmt;
use std::time::Duration;

use bowline::{ChannelKind, Config, ConfigBuilder, EndpointStats, Event, PeerState};
use bowline_sim::attack::Attacker;
use bowline_sim::{Dtls, HostId, Misbehaviour, PeerSpec, ServerSpec, Time, World};

/// The hosts.
pub(crate) const MALLORY: HostId = 0;
pub(crate) const VICTIM: HostId = 1;
pub(crate) const HONEST: [HostId; 2] = [2, 3];
/// An attacker whose name is above that of the victim: by the names it is decided who yields.
pub(crate) const ZED: HostId = 4;

/// A STUN server that never answers, for those whose candidates must not come to an end.
pub(crate) const SILENT: &str = "silent";

/// When attacks begin that have to overhear how the honest peers connect.
pub(crate) const START: Time = Time::from_secs(3);

/// What an attack did.
#[derive(Debug)]
pub(crate) struct Report {
    /// Processor time of everything: the victim, the other hosts, and the simulator itself.
    pub(crate) cpu: Duration,
    /// Bytes on the heap that the victim held when the attack was over, beyond what it holds without an attack.
    pub(crate) growth: isize,
    /// The longest round trip of the honest peers' messages during the attack, and without it.
    pub(crate) worst: Duration,
    pub(crate) usual: Duration,
    /// Datagrams that the victim sent, beyond what it sends without an attack. Not comparable for long attacks.
    pub(crate) sent: i64,
    /// What the victim's application was told during the attack.
    pub(crate) told: Vec<Event>,
    /// The counters of the victim.
    pub(crate) stats: EndpointStats,
}

impl Report {
    /// Asserts the bounds that hold for every attack, and the one on memory that holds for this.
    #[track_caller]
    pub(crate) fn assert_harmless(&self, max_growth: usize) {
        self.assert_harmless_within(MAX_CPU, max_growth);
    }

    /// The same, with a bound of its own on the processor time.
    #[track_caller]
    pub(crate) fn assert_harmless_within(&self, max_cpu: Duration, max_growth: usize) {
        if std::env::var_os("ATTACK_FIGURES").is_some() {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            println!("{name}: {self}");
        }
        assert!(self.cpu <= max_cpu, "{self}");
        assert!(self.worst <= self.usual + MAX_DELAY, "{self}");
        assert!(
            self.growth <= isize::try_from(max_growth).expect("small"),
            "more than {max_growth} bytes: {self}"
        );
    }

    /// How many such things the victim was told.
    pub(crate) fn count(&self, is_meant: impl Fn(&Event) -> bool) -> usize {
        self.told.iter().filter(|event| is_meant(event)).count()
    }

    /// How many things the victim was told of that are more than messages, figures and refusals.
    pub(crate) fn changes(&self) -> usize {
        self.count(|event| {
            !matches!(
                event,
                Event::Message { .. }
                    | Event::Sent { .. }
                    | Event::Delivered { .. }
                    | Event::Metrics { .. }
                    | Event::SignalRefused { .. }
            )
        })
    }

    /// What the victim was told of the end of the attacker, if it ended.
    pub(crate) fn end(&self) -> Option<(PeerState, bowline::Cause)> {
        self.told.iter().find_map(|event| match event {
            Event::State {
                peer, to, cause, ..
            } if to.is_terminal() && peer.as_str() == "mallory" => Some((*to, *cause)),
            _ => None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cpu,
            growth,
            worst,
            usual,
            sent,
            ..
        } = self;
        write!(
            f,
            "{} ms of CPU, {growth} bytes kept, {sent} datagrams sent, round trips {worst:?} (usually {usual:?})",
            cpu.as_millis()
        )
    }
}

/// The stage.
pub(crate) struct Stage {
    pub(crate) world: World,
    config: Config,
    keyed: bool,
    sent: usize,
}

impl Stage {
    /// The stage without an attacker, where `MALLORY` is one more host that has met nobody.
    pub(crate) fn calm(config: &Config) -> Self {
        Self::new(config, (Dtls::Null, false), None::<Nobody>)
    }

    /// The stage with an attacker that heard the honest peers connect, and begins at [`START`] or later.
    pub(crate) fn with(config: &Config, attacker: impl Attacker + 'static) -> Self {
        Self::new(config, (Dtls::Null, false), Some(attacker))
    }

    /// The same, where every host is a key.
    pub(crate) fn keyed(config: &Config, attacker: impl Attacker + 'static) -> Self {
        Self::new(config, (Dtls::Null, true), Some(attacker))
    }

    /// Lets the honest peers talk for `duration` while the attack goes on, and measures.
    pub(crate) fn attacked(mut self, duration: Duration) -> Report {
        let mut quiet = Self::new(&self.config, (Dtls::Null, self.keyed), None::<Nobody>);
        let usual = quiet.converse(duration.min(LONG_ENOUGH));
        let told = self.world.events(VICTIM).len();
        let (cpu, worst) = cpu(|| self.converse(duration));
        self.world.assert_no_violation();
        let stats = |world: &World| world.endpoint(VICTIM).expect("it runs").stats();
        let (during, without) = (stats(&self.world), stats(&quiet.world));
        let sent = |stats: &EndpointStats| i64::try_from(stats.datagrams_sent).expect("few");
        let told = self.world.events(VICTIM)[told..].iter();
        Report {
            cpu,
            worst,
            usual,
            sent: sent(&during) - sent(&without),
            told: told.map(|(_, event)| event.clone()).collect(),
            stats: during,
            growth: self.weigh() - quiet.weigh(),
        }
    }

    /// The victim and the honest peers, connected. The attacker sits in its place from the beginning.
    pub(crate) fn new(
        config: &Config,
        (dtls, keyed): (Dtls, bool),
        attacker: Option<impl Attacker + 'static>,
    ) -> Self {
        let victim = PeerSpec {
            config: config.clone(),
            ..PeerSpec::new("victim")
        };
        let mut world = World::builder(7)
            .dtls(dtls)
            .keyed(keyed)
            .peer("mallory")
            .peer_with(victim)
            .server(ServerSpec::new(SILENT))
            .peer_with(honest("bob", config))
            .peer_with(honest("zoe", config))
            .peer("zed")
            .build();
        world.misbehave(0, Some(Misbehaviour::Silent));
        if let Some(attacker) = attacker {
            world.take_over(MALLORY, attacker);
        }
        for honest in HONEST {
            world.connect(honest, VICTIM).expect("nobody is known yet");
            world.run_for(Duration::from_secs(1));
            assert!(world.connected(honest, VICTIM), "{:?}", world.violations());
        }
        Self {
            world,
            config: config.clone(),
            keyed,
            sent: 0,
        }
    }

    /// Lets the honest peers and the victim send each other a message in turn, again and again, from [`START`] on for
    /// `duration`. Returns the longest time from a message to its answer.
    ///
    /// # Panics
    ///
    /// When a message is lost or takes longer than [`PATIENCE`].
    pub(crate) fn converse(&mut self, duration: Duration) -> Duration {
        let until_start = START.since(self.world.now());
        self.world.run_for(until_start);
        let end = START.after(duration);
        let mut worst = Duration::ZERO;
        while self.world.now() < end {
            let begin = self.world.now();
            for honest in HONEST {
                self.say(honest, VICTIM);
            }
            for honest in HONEST {
                self.say(VICTIM, honest);
            }
            worst = worst.max(self.world.now().since(begin));
            // A long attack is looked at now and then.
            self.world.run_for(PAUSE.max(duration / MAX_ROUNDS));
        }
        worst
    }

    fn say(&mut self, from: HostId, to: HostId) {
        self.sent += 1;
        let heard = |world: &World| world.received(to, from, ChannelKind::Control).messages;
        let before = heard(&self.world);
        let sent = self
            .world
            .send(from, to, ChannelKind::Control, self.sent.to_string());
        sent.expect("there is room");
        let arrived = self
            .world
            .run_until(|world| heard(world) > before, PATIENCE);
        assert!(
            arrived,
            "{from} -> {to} lost at {:?}: {:?}",
            self.world.now(),
            self.world.violations()
        );
    }

    /// The bytes on the heap that the victim holds, which is gone afterwards.
    fn weigh(&mut self) -> isize {
        let victim = self.world.take_endpoint(VICTIM);
        let freed = allocation_counter::measure(|| drop(victim));
        isize::try_from(-freed.bytes_current).expect("an amount of memory")
    }
}

/// Attacks nobody.
pub(crate) struct Nobody;

impl Attacker for Nobody {}

/// The processor time that this thread takes for `work`. Without Linux the wall clock has to do.
fn cpu<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let on_cpu = || {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        let nanos = stat.split_whitespace().next()?.parse().ok()?;
        Some(Duration::from_nanos(nanos))
    };
    let (before, wall) = (on_cpu(), std::time::Instant::now());
    let result = work();
    let spent = before.zip(on_cpu()).map(|(before, after)| after - before);
    (spent.unwrap_or_else(|| wall.elapsed()), result)
}

/// A host with the same ICE servers, that protects its signalling alike.
fn honest(name: &str, victim: &Config) -> PeerSpec {
    let servers = victim.ice().servers.iter().cloned();
    let config = Config::builder().protection(victim.signalling().protection);
    let config = servers.fold(config, ConfigBuilder::ice_server);
    PeerSpec {
        config: config.build().expect("valid"),
        ..PeerSpec::new(name)
    }
}

/// What any of these attacks may cost. Those that str0m alone does not survive take it 15 to 131 s.
pub(crate) const MAX_CPU: Duration = Duration::from_secs(3);
/// By how much an attack may delay a round trip of others, in virtual time.
const MAX_DELAY: Duration = Duration::from_millis(5);
/// For a message to arrive.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time without an attack that a long one is compared with.
const LONG_ENOUGH: Duration = Duration::from_secs(60);
/// From one round to the next, at least.
const PAUSE: Duration = Duration::from_millis(50);
/// Rounds of one attack, at most.
const MAX_ROUNDS: u32 = 1_000;
