//! Control messages beside a file transfer that fills the path: 100 Mbit/s, a round trip of 20 ms, and a queue of 250 kB
//! at the bottleneck.

use std::time::Duration;

use bowline::{ChannelId, ChannelKind, Event};
use bowline_sim::{Action, LinkConfig, Time, World};

const RTT: Duration = Duration::from_millis(20);

struct Run {
    world: World,
    sent: Vec<Time>,
}

impl Run {
    fn new() -> Self {
        let link = LinkConfig { rate: Some(12_500_000), queue: 250_000, ..LinkConfig::with_latency(RTT / 2) };
        let mut world = World::builder(1).link(link).peer("alice").peer("bob").build();
        world.connect(0, 1).expect("alice knows nobody");
        assert!(world.run_until(|world| world.connected(0, 1), Duration::from_secs(15)));
        Self { world, sent: Vec::new() }
    }

    fn file(&mut self, size: usize) {
        self.world.apply(Action::Send { from: 0, to: 1, channel: ChannelKind::File, size, count: u32::MAX / 2, text: false });
    }

    fn run(&mut self, time: Duration, control: bool) {
        let end = self.world.now().after(time);
        while self.world.now() < end {
            if control {
                self.sent.push(self.world.now());
                self.world.send(0, 1, ChannelKind::Control, vec![7u8; 100]).expect("room");
            }
            self.world.run_for(Duration::from_millis(20));
        }
    }

    fn file_bytes(&self) -> u64 {
        self.world.received(1, 0, ChannelKind::File).bytes
    }

    fn latencies(&self) -> Vec<Duration> {
        let arrived = self.world.events(1).iter().filter(|(_, e)| matches!(e, Event::Message { channel, .. } if *channel == ChannelId::from(ChannelKind::Control)));
        arrived.zip(&self.sent).map(|((at, _), sent)| at.since(*sent)).collect()
    }
}

#[test]
fn probe() {
    for size in [16 << 10, 64 << 10, 1 << 20] {
        for control in [false, true] {
            let t0 = std::time::Instant::now();
            let mut run = Run::new();
            run.file(size);
            let mut line = format!("{size} {control}:");
            let mut before = 0;
            for _ in 0..8 {
                run.run(Duration::from_millis(500), control);
                let bytes = run.file_bytes();
                line += &format!(" {:.2}", (bytes - before) as f64 / 0.5e6);
                before = bytes;
            }
            let mut latencies = run.latencies();
            println!("{line} MB/s {:?} dropped {:?}", t0.elapsed(), run.world.stats().datagrams);
            let ms = |d: &Duration| (d.as_secs_f64() * 1e3 * 10.0).round() / 10.0;
            println!("{:?}", latencies.iter().map(ms).collect::<Vec<_>>());
            latencies.sort();
            if let Some(last) = latencies.last() {
                let p = |p: usize| latencies[(latencies.len() * p).div_ceil(100) - 1];
                println!("{} of {} p50 {:?} p95 {:?} p99 {:?} max {last:?}", latencies.len(), run.sent.len(), p(50), p(95), p(99));
            }
        }
    }
}
