//! How long connecting takes, from the offer to the first message, by option and loss.
//!
//! The round trip is 100 ms and signalling takes half of it each way, without loss; datagrams are lost at random, both
//! ways. Times are virtual and exact.

use std::fmt::Write as _;
use std::time::Duration;

use bowline::{ChannelKind, Config, DtlsMode};
use bowline_sim::{Dtls, LinkConfig, PeerSpec, World};

const RTT: Duration = Duration::from_millis(100);
/// Runs behind each line of a path with loss.
const SEEDS: u64 = 200;

#[derive(Debug, Clone, Copy)]
struct Case {
    snap: bool,
    mode: DtlsMode,
    dtls: Dtls,
    percent: u32,
}

impl Case {
    fn world(self, seed: u64) -> World { self.world_with(seed, 250) }
    fn world_with(self, seed: u64, stun: u64) -> World {
        let config = Config::builder().snap(self.snap).dtls(self.mode).stun_retry(Duration::from_millis(stun)).build().expect("valid");
        let spec = |name| PeerSpec { config: config.clone(), ..PeerSpec::new(name) };
        let link = LinkConfig::with_latency(RTT / 2);
        World::builder(seed)
            .dtls(self.dtls)
            .record(bowline_sim::Record::Everything)
            .link(link.clone().lossy(f64::from(self.percent) / 100.0))
            .bus(link)
            .peer_with(spec("alice"))
            .peer_with(spec("bob"))
            .build()
    }

    /// From the call of `connect` to the first message at the callee, and at the caller. Each is queued as early as
    /// its sender can.
    fn first_messages(self, seed: u64) -> [Duration; 2] { self.first_messages_with(seed, 250) }
    fn first_messages_with(self, seed: u64, stun: u64) -> [Duration; 2] {
        let mut world = self.world_with(seed, stun);
        let start = world.now();
        let kind = ChannelKind::Reliable;
        world.connect(0, 1).expect("alice knows nobody");
        world.send(0, 1, kind, "from the caller").expect("the queue is empty");
        assert!(world.run_until(|world| world.state(1, 0).is_some(), CONNECT), "{self:?}");
        world.send(1, 0, kind, "from the callee").expect("the queue is empty");
        let mut arrived = [None; 2];
        world.run_until(
            |world| {
                for (arrived, (host, peer)) in arrived.iter_mut().zip([(1, 0), (0, 1)]) {
                    if arrived.is_none() && world.received(host, peer, kind).messages == 1 {
                        *arrived = Some(world.now().since(start));
                    }
                }
                arrived.iter().all(Option::is_some)
            },
            CONNECT,
        );
        world.assert_no_violation();
        arrived.map(|at| at.unwrap_or(CONNECT))
    }

    /// The times of all seeds, sorted.
    fn times(self) -> [Vec<Duration>; 2] {
        let seeds = if self.percent == 0 { 1 } else { SEEDS };
        let runs: Vec<_> = (0..seeds).map(|seed| self.first_messages(seed)).collect();
        [0, 1].map(|side| {
            let mut times: Vec<_> = runs.iter().map(|run| run[side]).collect();
            times.sort();
            times
        })
    }
}

/// The nearest rank.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

#[test]
fn probe() {
    let case = Case { snap: true, mode: DtlsMode::Auto, dtls: Dtls::Real, percent: 0 };
    let mut world = case.world(1);
    world.connect(0, 1).expect("alice knows nobody");
    world.send(0, 1, ChannelKind::Reliable, "from the caller").expect("the queue is empty");
    world.run_for(Duration::from_millis(350));
    println!("{:?}", world.stats());
    world.run_for(Duration::from_millis(1000));
    println!("{:?}", world.stats());
    for stun in [50, 100, 150, 250] {
    for snap in [true] {
            for percent in [5, 10, 20] {
                let mut runs = Vec::new();
                for seed in 0..SEEDS {
                    let case = Case { snap, mode: DtlsMode::Auto, dtls: Dtls::Real, percent };
                    runs.push((case.first_messages_with(seed, stun), seed));
                }
                let side = |side: usize| { let mut t: Vec<_> = runs.iter().map(|r| r.0[side]).collect(); t.sort(); t };
                let (there, back) = (side(0), side(1));
                let ms = |t: &[Duration], p| percentile(t, p).as_millis();
                println!("{stun} {snap} {percent:>2} %: {:>6} {:>6} {:>6} | {:>6} {:>6} {:>6}", ms(&there, 50), ms(&there, 95), ms(&there, 100), ms(&back, 50), ms(&back, 95), ms(&back, 100));
                if percent == 5 { let mut r = runs.clone(); r.sort(); println!("{:?}", r.iter().rev().take(16).map(|r| (r.0[0].as_millis(), r.0[1].as_millis(), r.1)).collect::<Vec<_>>()); }
            }
        }
    }
    let case = Case { snap: true, mode: DtlsMode::Auto, dtls: Dtls::Real, percent: 5 };
    let seed: u64 = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut world = case.world(seed);
    world.connect(0, 1).expect("alice knows nobody");
    world.send(0, 1, ChannelKind::Reliable, "from the caller").expect("the queue is empty");
    world.run_for(Duration::from_millis(4000));
    for entry in world.trace().entries() { println!("{entry:?}"); }
}

/// The timeout of `connect`.
const CONNECT: Duration = Duration::from_secs(15);
