//! How long connecting takes, from the offer to the first message, by option and loss.
//!
//! The round trip is 100 ms and signalling takes half of it each way, without loss; datagrams are lost at random, both
//! ways. DTLS is the real one. Times are virtual and exact, but for paths with loss where SNAP is off: there sctp-proto
//! reads the machine's clock when it begins, so that those times are rounded down to 100 ms.

use std::fmt::Write as _;
use std::time::Duration;

use bowline::{ChannelKind, Config, DtlsMode};
use bowline_sim::{Dtls, LinkConfig, PeerSpec, Record, World};

const RTT: Duration = Duration::from_millis(100);
/// The runs behind each line of a path with loss.
const SEEDS: u64 = 200;

#[derive(Debug, Clone, Copy)]
struct Case {
    snap: bool,
    dtls: DtlsMode,
    percent: u32,
}

/// Of each run, sorted: the times to the first message at the callee, and at the caller.
struct Times([Vec<Duration>; 2]);

impl Case {
    fn run(self) -> Times {
        let seeds = if self.percent == 0 { 1 } else { SEEDS };
        let runs: Vec<_> = (0..seeds).map(|seed| self.first_messages(seed)).collect();
        Times([0, 1].map(|side| {
            let mut times: Vec<_> = runs.iter().map(|run| run[side]).collect();
            times.sort();
            times
        }))
    }

    /// From the call of `connect`. Each message is queued as early as its sender can.
    fn first_messages(self, seed: u64) -> [Duration; 2] {
        let mut world = self.world(seed);
        let kind = ChannelKind::Reliable;
        let start = world.now();
        world.connect(0, 1).expect("alice knows nobody");
        world
            .send(0, 1, kind, "from the caller")
            .expect("the queue is empty");
        assert!(world.run_until(|world| world.state(1, 0).is_some(), CONNECT));
        world
            .send(1, 0, kind, "from the callee")
            .expect("the queue is empty");
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

    fn world(self, seed: u64) -> World {
        let Self {
            snap,
            dtls,
            percent,
        } = self;
        let config = Config::builder()
            .snap(snap)
            .dtls(dtls)
            .build()
            .expect("valid");
        let spec = |name| PeerSpec {
            config: config.clone(),
            ..PeerSpec::new(name)
        };
        let way = LinkConfig::with_latency(RTT / 2);
        World::builder(seed)
            .dtls(Dtls::Real)
            .record(Record::Hashes)
            .link(way.clone().lossy(f64::from(percent) / 100.0))
            .bus(way)
            .peer_with(spec("alice"))
            .peer_with(spec("bob"))
            .build()
    }

    fn is_exact(self) -> bool {
        self.snap || self.percent == 0
    }
}

impl Times {
    fn callee(&self, percent: usize) -> Duration {
        percentile(&self.0[0], percent)
    }

    fn caller(&self, percent: usize) -> Duration {
        percentile(&self.0[1], percent)
    }
}

#[test]
fn the_first_message_arrives_within_the_times_of_this_table() {
    let mut table = String::from(
        "ms from the offer to the first message, p50 and p95: at the callee, at the caller\n",
    );
    for snap in [true, false] {
        for dtls in [DtlsMode::Auto, DtlsMode::V13, DtlsMode::V12] {
            for percent in [0, 1, 5, 10, 20] {
                let case = Case {
                    snap,
                    dtls,
                    percent,
                };
                let times = case.run();
                let [a, b, c, d] = [
                    times.callee(50),
                    times.callee(95),
                    times.caller(50),
                    times.caller(95),
                ]
                .map(|time| shown(time, case.is_exact()));
                let snap = if snap { "SNAP" } else { "no SNAP" };
                writeln!(
                    table,
                    "{snap:<7} {dtls:<4?} {percent:>2} %: {a:>6} {b:>6} {c:>6} {d:>6}"
                )
                .expect("a string");
            }
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn without_loss_the_first_message_takes_three_and_a_half_round_trips() {
    let times = Case {
        snap: true,
        dtls: DtlsMode::Auto,
        percent: 0,
    }
    .run();
    assert!(
        times.callee(100) <= RTT * 7 / 2 + Duration::from_millis(5),
        "{:?}",
        times.callee(100)
    );
}

#[test]
fn at_5_percent_loss_19_of_20_first_messages_arrive_within_a_second() {
    let times = Case {
        snap: true,
        dtls: DtlsMode::Auto,
        percent: 5,
    }
    .run();
    for time in [times.callee(95), times.caller(95)] {
        assert!(time < Duration::from_secs(1), "{time:?}");
    }
}

/// The nearest rank.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

fn shown(time: Duration, exact: bool) -> String {
    match time.as_millis() {
        _ if time >= CONNECT => "none".into(),
        millis if exact => millis.to_string(),
        millis => (millis / 100 * 100).to_string(),
    }
}

/// The timeout of `connect`.
const CONNECT: Duration = Duration::from_secs(15);
