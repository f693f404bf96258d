//! Control messages beside a file that fills the path: 100 Mbit/s, a round trip of 20 ms, and a queue of 250 kB at the
//! bottleneck.

use std::fmt::Write as _;
use std::time::Duration;

use bowline::{ChannelId, ChannelKind, Event};
use bowline_sim::{Action, DropCause, LinkConfig, Time, World};

const RTT: Duration = Duration::from_millis(20);
/// From the start of the file, slow start included.
const LENGTH: Duration = Duration::from_secs(10);
const CONTROL_EVERY: Duration = Duration::from_millis(20);

/// A transfer, and when each control message was sent.
struct Run {
    world: World,
    sent: Vec<Time>,
}

impl Run {
    fn new(with_file: bool, with_control: bool) -> Self {
        let way = LinkConfig {
            rate: Some(12_500_000),
            queue: 250_000,
            ..LinkConfig::with_latency(RTT / 2)
        };
        let mut world = World::builder(1)
            .link(way)
            .peer("alice")
            .peer("bob")
            .build();
        world.connect(0, 1).expect("alice knows nobody");
        assert!(world.run_until(|world| world.connected(0, 1), Duration::from_secs(15)));
        if with_file {
            let (channel, size, count) = (ChannelKind::File, 64 * 1_024, 10_000);
            world.apply(Action::Send {
                from: 0,
                to: 1,
                channel,
                size,
                count,
                text: false,
            });
        }
        let mut run = Self {
            world,
            sent: Vec::new(),
        };
        let end = run.world.now().after(LENGTH);
        while run.world.now() < end {
            if with_control {
                run.sent.push(run.world.now());
                run.world
                    .send(0, 1, ChannelKind::Control, vec![7; 100])
                    .expect("room");
            }
            run.world.run_for(CONTROL_EVERY);
        }
        run.world.assert_no_violation();
        run
    }

    /// Bytes of the file each second.
    fn rate(&self) -> u64 {
        self.world.received(1, 0, ChannelKind::File).bytes / LENGTH.as_secs()
    }

    /// From sending a control message to the other application, sorted. The channel keeps the order.
    fn latencies(&self) -> Vec<Duration> {
        let control = ChannelId::from(ChannelKind::Control);
        let is_control =
            |event: &Event| matches!(event, Event::Message { channel, .. } if *channel == control);
        let arrived = self
            .world
            .events(1)
            .iter()
            .filter(|(_, event)| is_control(event));
        let mut latencies: Vec<_> = arrived
            .zip(&self.sent)
            .map(|((at, _), sent)| at.since(*sent))
            .collect();
        assert!(
            latencies.len() + 5 > self.sent.len(),
            "all but the last few have arrived"
        );
        latencies.sort();
        latencies
    }

    fn lost(&self) -> u64 {
        self.world.stats().datagrams.dropped_by(DropCause::Queue)
    }
}

#[test]
fn control_messages_stay_fast_beside_a_file_that_keeps_its_rate() {
    let [alone, quiet, both] =
        [(true, false), (false, true), (true, true)].map(|(file, control)| Run::new(file, control));
    let mut table = String::new();
    writeln!(
        table,
        "file alone: {} kB/s, {} lost",
        alone.rate() / 1_000,
        alone.lost()
    )
    .expect("a string");
    writeln!(
        table,
        "file beside: {} kB/s, {} lost",
        both.rate() / 1_000,
        both.lost()
    )
    .expect("a string");
    for (name, run) in [("alone", &quiet), ("beside", &both)] {
        let latencies = run.latencies();
        let ms = |percent| percentile(&latencies, percent).as_secs_f64() * 1e3;
        let [p50, p95, p99, most] = [50, 95, 99, 100].map(ms);
        writeln!(
            table,
            "control {name}: p50 {p50:.1}, p95 {p95:.1}, p99 {p99:.1}, most {most:.1} ms"
        )
        .expect("a string");
    }
    println!("{table}");
    assert!(
        percentile(&both.latencies(), 99) <= RTT + Duration::from_millis(10),
        "{table}"
    );
    assert!(both.rate() >= alone.rate() * 9 / 10, "{table}");
    assert!(
        alone.rate() >= 11_000_000,
        "the file alone fills the path: {table}"
    );
    insta::assert_snapshot!(table);
}

/// The nearest rank.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}
