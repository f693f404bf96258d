//! Random scripts against the model: exactly once or told, in order, nothing invented, everything bounded.

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::Config;
use std::time::{Duration, Instant};

use super::pair::{OPEN_TIMEOUT, Pair, limits, tight_limits};
use crate::channel::frame::{Header, Part};
use crate::channel::kind::{ChannelConfig, Message, Ordering, Reliability};
use crate::channel::{Channels, Framing, Role, StreamKey};
use crate::id::{ChannelId, PeerId};

#[derive(Debug, Clone)]
enum Op {
    Send {
        side: usize,
        channel: usize,
        len: usize,
        text: bool,
    },
    Release {
        side: usize,
        channel: usize,
        bytes: usize,
    },
    Open {
        side: usize,
        ordered: bool,
        reliable: bool,
    },
    Agree {
        side: usize,
        id: u16,
    },
    Close {
        side: usize,
        channel: usize,
    },
    Reset {
        stream: u16,
    },
    Steps(usize),
    Advance(u64),
    Refusals(u8),
    Path {
        side: usize,
        is_up: bool,
    },
    Move {
        side: usize,
    },
    Restart {
        side: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let side = 0..2usize;
    let channel = 0..8usize;
    let len = prop_oneof![3 => 0..200usize, 2 => 0..20_000usize, 1 => 0..300_000usize];
    prop_oneof![
        10 => (side.clone(), channel.clone(), len, any::<bool>())
            .prop_map(|(side, channel, len, text)| Op::Send { side, channel, len, text }),
        5 => (side.clone(), channel.clone(), prop_oneof![Just(usize::MAX), 0..20_000usize])
            .prop_map(|(side, channel, bytes)| Op::Release { side, channel, bytes }),
        2 => (side.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(side, ordered, reliable)| Op::Open { side, ordered, reliable }),
        1 => (side.clone(), 100..102u16).prop_map(|(side, id)| Op::Agree { side, id }),
        1 => (side.clone(), channel).prop_map(|(side, channel)| Op::Close { side, channel }),
        1 => (0..12u16).prop_map(|stream| Op::Reset { stream }),
        10 => (1..40usize).prop_map(Op::Steps),
        4 => (0..40u64).prop_map(Op::Advance),
        1 => (0..12_000u64).prop_map(Op::Advance),
        1 => prop_oneof![Just(0), Just(30)].prop_map(Op::Refusals),
        1 => (side.clone(), any::<bool>()).prop_map(|(side, is_up)| Op::Path { side, is_up }),
        2 => side.clone().prop_map(|side| Op::Move { side }),
        1 => side.prop_map(|side| Op::Restart { side }),
    ]
}

/// Runs a script. `counter` makes labels and messages unique.
struct Script {
    pair: Pair,
    counter: u64,
}

impl Script {
    fn channel(&self, side: usize, index: usize) -> ChannelId {
        let channels: Vec<_> = self.pair.sides[side].apps.keys().copied().collect();
        channels[index % channels.len()]
    }

    fn message(&mut self, len: usize, text: bool) -> Message {
        self.counter += 1;
        let stamp = format!("{:08}", self.counter);
        // Empty messages are all alike: the model counts them, but cannot tell them apart, so there are none here.
        let body = stamp + &"x".repeat(len);
        if text {
            Message::text(body)
        } else {
            Message::from(body.into_bytes())
        }
    }

    fn label(&mut self, ordered: bool, reliable: bool) -> String {
        self.counter += 1;
        let (o, r) = (
            if ordered { "o" } else { "" },
            if reliable { "r" } else { "" },
        );
        format!("{o}{r}{}", self.counter)
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Send {
                side,
                channel,
                len,
                text,
            } => {
                let channel = self.channel(side, channel);
                let message = self.message(len, text);
                self.pair.send(side, channel, message);
            }
            Op::Release {
                side,
                channel,
                bytes,
            } => {
                let channel = self.channel(side, channel);
                self.pair.release(side, channel, bytes);
            }
            Op::Open {
                side,
                ordered,
                reliable,
            } => {
                let label = self.label(ordered, reliable);
                self.pair.open(side, config(label, ordered, reliable, None));
            }
            Op::Agree { side, id } => {
                // Only one channel ever has the label, so an id is used once on each side.
                let label = format!("or agreed {id}");
                if self.pair.sides[side]
                    .apps
                    .values()
                    .all(|app| app.label != label)
                {
                    self.pair.open(side, config(label, true, true, Some(id)));
                }
            }
            Op::Close { side, channel } => {
                let channel = self.channel(side, channel);
                self.pair.close(side, channel);
            }
            Op::Reset { stream } => self.pair.reset(stream),
            Op::Steps(steps) => (0..steps).for_each(|_| _ = self.pair.step()),
            Op::Advance(millis) => self.pair.advance(Duration::from_millis(millis)),
            Op::Refusals(refusals) => self.pair.refusals = refusals,
            Op::Path { side, is_up } => {
                let now = self.pair.now;
                self.pair.sides[side].channels.on_path(is_up, now);
            }
            Op::Move { side } if self.pair.is_started() => self.pair.move_side(side),
            Op::Restart { side } if self.pair.is_started() => self.pair.restart(side),
            Op::Move { .. } | Op::Restart { .. } => {}
        }
    }

    fn heal(&mut self) {
        self.pair.join();
        let now = self.pair.now;
        self.pair.refusals = 0;
        self.pair.losses = 0;
        self.pair
            .sides
            .iter_mut()
            .for_each(|side| side.channels.on_path(true, now));
    }

    /// Ordered channels deliver in the order of sending.
    fn check_order(&self) {
        for side in &self.pair.sides {
            for (_, app) in side.all_apps().filter(|(_, app)| app.is_ordered) {
                let stamps: Vec<_> = app.received.iter().map(|m| m.data.slice(..8)).collect();
                assert!(
                    stamps.is_sorted_by(|a, b| a < b),
                    "{}: {stamps:?}",
                    app.label
                );
            }
        }
    }
}

fn config(label: String, ordered: bool, reliable: bool, negotiated: Option<u16>) -> ChannelConfig {
    ChannelConfig {
        ordering: if ordered {
            Ordering::Ordered
        } else {
            Ordering::Unordered
        },
        reliability: if reliable {
            Reliability::Reliable
        } else {
            Reliability::MaxRetransmits(0)
        },
        negotiated,
        ..ChannelConfig::new(label)
    }
}

fn play(ops: Vec<Op>, start: usize, seed: u64, is_tight: bool, losses: u8) {
    let limits = if is_tight { tight_limits } else { limits };
    let mut script = Script {
        pair: Pair::new([limits(), limits()], seed),
        counter: 0,
    };
    script.pair.losses = losses;
    for (index, op) in ops.into_iter().enumerate() {
        if index == start {
            script.pair.start();
        }
        script.run(op);
    }
    script.pair.start();
    script.heal();
    script.pair.check_account(false);
    script.pair.finish();
    script.check_order();
    assert_eq!(script.pair.faults(), [], "honest peers are never at fault");
}

/// A second or so.
const CASES: u32 = 500;

proptest! {
    #![proptest_config(Config { cases: CASES, failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_script_ends_with_a_balanced_account(
        ops in prop::collection::vec(op(), 1..120),
        start in 0..20usize,
        seed in any::<u64>(),
        is_tight in any::<bool>(),
        losses in prop_oneof![Just(0u8), Just(30)],
    ) {
        play(ops, start, seed, is_tight, losses);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_invent_memory(
        inputs in prop::collection::vec(
            (0..5u32, 0..4u8, 0..2u8, any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)),
            0..60,
        ),
    ) {
        let now = Instant::now();
        let own = PeerId::new("a").expect("valid");
        let mut channels = Channels::new(own, &limits(), OPEN_TIMEOUT);
        channels.start(Framing::Bowline, Role::Even, 65_536, now);
        channels.on_stream_open(StreamKey::Meta, now);
        (0..4).for_each(|id| channels.on_stream_open(StreamKey::Channel(ChannelId(id)), now));
        for (stream, part, epoch, binary, body) in inputs {
            let mut data = Vec::new();
            let part = match part {
                0 => Part::Whole,
                1 => Part::First { total: 5_000 },
                2 => Part::Middle,
                _ => Part::Last,
            };
            Header { epoch, part }.encode(&mut data);
            data.extend_from_slice(&body);
            let key = if stream == 4 { StreamKey::Meta } else { StreamKey::Channel(ChannelId(stream)) };
            channels.on_data(key, binary, data, now);
            channels.check_invariants();
            while channels.poll_write(now).is_some() {
                channels.on_written(now);
            }
            while channels.poll_output().is_some() {}
        }
    }
}
