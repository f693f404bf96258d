//! The classes of faults of a random scenario, and what those do that are properties of links.

use crate::net::{Burst, LinkConfig};
use crate::rng::Stream;

use super::draws::{log_u64, millis, pick, probability};

/// A class of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Loss,
    Burst,
    Jitter,
    Spike,
    Reorder,
    Duplicate,
    Replay,
    Damage,
    Rate,
    Clog,
    BlackHole,
    Filter,
    Partition,
    OneWay,
    BusLoss,
    BusReorder,
    BusDuplicate,
    BusReplay,
    BusPartition,
    Crash,
    BothCrash,
    Suspend,
    Late,
    Lazy,
    WallClock,
    Interface,
    Roam,
    Reader,
    Queues,
    Restart,
    Rebuild,
    Storm,
    Churn,
    EarlyClose,
}

impl Fault {
    pub(super) const ALL: [Self; 34] = [
        Self::Loss,
        Self::Burst,
        Self::Jitter,
        Self::Spike,
        Self::Reorder,
        Self::Duplicate,
        Self::Replay,
        Self::Damage,
        Self::Rate,
        Self::Clog,
        Self::BlackHole,
        Self::Filter,
        Self::Partition,
        Self::OneWay,
        Self::BusLoss,
        Self::BusReorder,
        Self::BusDuplicate,
        Self::BusReplay,
        Self::BusPartition,
        Self::Crash,
        Self::BothCrash,
        Self::Suspend,
        Self::Late,
        Self::Lazy,
        Self::WallClock,
        Self::Interface,
        Self::Roam,
        Self::Reader,
        Self::Queues,
        Self::Restart,
        Self::Rebuild,
        Self::Storm,
        Self::Churn,
        Self::EarlyClose,
    ];

    /// The classes of one run: none in 10 %, exactly one in 20 %, all in 5 %, else each with probability 1/2.
    pub(super) fn draw(stream: &mut Stream) -> Vec<Self> {
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

/// What every link is like.
pub(super) fn link(stream: &mut Stream, faults: &[Fault]) -> LinkConfig {
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
            Fault::Spike => {
                link.spike = probability(stream, 0.0005, 0.01);
                link.spike_by = millis(stream, 200.0, 5_000.0);
            }
            Fault::Reorder => {
                link.reorder = probability(stream, 0.005, 0.3);
                link.reorder_by = millis(stream, 1.0, 200.0);
            }
            Fault::Duplicate => {
                link.duplicate = probability(stream, 0.005, 0.3);
                link.duplicate_by = millis(stream, 1.0, 60_000.0);
            }
            Fault::Replay => {
                link.replay = probability(stream, 0.001, 0.05);
                link.replay_by = millis(stream, 60_000.0, 300_000.0);
            }
            Fault::Damage => {
                link.truncate = probability(stream, 0.001, 0.05);
                link.flip = probability(stream, 0.001, 0.05);
            }
            Fault::Rate => {
                link.rate = Some(log_u64(stream, 50_000.0, 5_000_000.0));
                link.queue = log_u64(stream, 20_000.0, 500_000.0);
            }
            _ => {}
        }
    }
    link
}

/// What every way on the signalling bus is like.
pub(super) fn bus(stream: &mut Stream, faults: &[Fault]) -> LinkConfig {
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
            Fault::BusReplay => {
                bus.replay = probability(stream, 0.02, 0.3);
                bus.replay_by = millis(stream, 60_000.0, 300_000.0);
            }
            _ => {}
        }
    }
    bus
}
