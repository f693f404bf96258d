//! What is compared.

use std::time::Duration;

use bowline::{Config, IceServer, TransportPolicy};

use crate::crowd::Crowd;
use crate::meter::{Effort, Line, cpu, medians, nanos_each};
use crate::pair::{Dtls, Net, Pace};
use crate::raw::{self, RawPair};
use crate::resident;
use crate::signals::signals;
use crate::turn::SERVER;

type Case = fn(Effort) -> Vec<Line>;

pub(crate) const CASES: [(&str, Case); 7] = [
    ("throughput", throughput),
    ("throughput live", throughput_live),
    ("relayed", relayed),
    ("handshake", handshake),
    ("crowd", crowd),
    ("memory", memory),
    ("signals", signals),
];

/// One way, the queue always full, 1 ms each way in virtual time. str0m with the best of three sizes of its buffer;
/// bowline with the least backlog as the most, which is the same setting: in virtual time a path has no bounds, and more
/// would always seem to be better.
fn throughput(effort: Effort) -> Vec<Line> {
    let config = Config::builder()
        .backlog_max(32 * KIB)
        .build()
        .expect("valid");
    SIZES
        .map(|size| throughput_of(size, &config, Pace::Virtual(DELAY), effort))
        .into()
}

/// The same by the machine's clock, without delay, and with bowline as it is out of the box.
fn throughput_live(effort: Effort) -> Vec<Line> {
    SIZES
        .map(|size| throughput_of(size, &Config::default(), Pace::Live, effort))
        .into()
}

/// One way through the channel of a TURN allocation of the sender, and back; the reference is the same without one. What
/// the server does is counted too: it copies each datagram.
fn relayed(effort: Effort) -> Vec<Line> {
    let total = effort.pick(1, 24) * MIB;
    let config = || Config::builder().backlog_max(32 * KIB);
    let direct = config().build().expect("valid");
    let server = format!("turn:{SERVER}")
        .parse::<IceServer>()
        .expect("a uri");
    let relayed = config()
        .ice_server(server.credentials("user", "password").expect("they fit"))
        .policy(TransportPolicy::Relay)
        .build()
        .expect("valid");
    let mut nets = [&direct, &relayed].map(|first| {
        let pace = Pace::Virtual(DELAY);
        let mut net = Net::of(&[first, &direct], Dtls::Real, pace);
        net.connect(&[(0, 1)]);
        net
    });
    let size = 16 * KIB;
    let [reference, bowline] = medians(effort, |side| {
        nanos_each(cpu(|| nets[side].send(size, total)).0, total)
    });
    vec![Line {
        what: format!("messages of {} KiB", size / KIB),
        unit: "ns/B",
        reference,
        bowline,
        // 0.85 of the rate.
        target: Some(1.0 / 0.85),
    }]
}

fn throughput_of(size: usize, config: &Config, pace: Pace, effort: Effort) -> Line {
    let total = effort.pick(1, 24) * MIB;
    let mut net = Net::new(2, config, Dtls::Real, pace);
    net.connect(&[(0, 1)]);
    let mut pairs = BUFFERS.map(|buffer| {
        // What is larger than the buffer is never taken.
        (buffer >= size).then(|| RawPair::connect(&raw::data_only(buffer), pace))
    });
    let all: [f64; 1 + BUFFERS.len()] = medians(effort, |side| {
        let spent = match side {
            0 => cpu(|| net.send(size, total)).0,
            _ => match &mut pairs[side - 1] {
                Some(pair) => cpu(|| pair.send(size, total)).0,
                None => return f64::INFINITY,
            },
        };
        nanos_each(spent, total)
    });
    let reference = all[1..].iter().copied().fold(f64::INFINITY, f64::min);
    let what = format!("messages of {} KiB", size / KIB);
    Line {
        what,
        unit: "ns/B",
        reference,
        bowline: all[0],
        target: Some(1.1),
    }
}

/// A pair, from nothing to connected. Endpoints exist already, as they serve many peers; the last line counts theirs
/// too.
fn handshake(effort: Effort) -> Vec<Line> {
    let count = effort.pick(3, 16);
    let pairs = count * (count - 1) / 2;
    let mut making = Vec::new();
    let [reference, tuned, bowline] = medians(effort, |side| {
        let spent = match side {
            0 | 1 => {
                let config = if side == 0 {
                    raw::defaults()
                } else {
                    raw::data_only(128 * KIB)
                };
                cpu(|| {
                    (0..pairs).for_each(|_| drop(RawPair::connect(&config, Pace::Virtual(DELAY))))
                })
                .0
            }
            _ => {
                let (made, mut net) =
                    cpu(|| Net::new(count, &Config::default(), Dtls::Real, Pace::Virtual(DELAY)));
                making.push(nanos_each(made, count as u64));
                cpu(|| {
                    (0..count).for_each(|from| {
                        (from + 1..count).for_each(|to| net.connect(&[(from, to)]))
                    })
                })
                .0
            }
        };
        nanos_each(spent, pairs as u64) / 1e3
    });
    making.sort_by(f64::total_cmp);
    let endpoint = making[making.len() / 2] / 1e3;
    let line = |what: &str, reference, bowline, target| Line {
        what: what.into(),
        unit: "us",
        reference,
        bowline,
        target,
    };
    vec![
        line("pair, defaults", reference, bowline, Some(0.35)),
        line("pair, str0m as bowline sets it", tuned, bowline, None),
        line(
            "pair and two new endpoints",
            reference,
            bowline + 2.0 * endpoint,
            None,
        ),
    ]
}

/// One endpoint with 1,000 peers; the reference is one with ten.
fn crowd(effort: Effort) -> Vec<Line> {
    let mut crowds = [10, effort.pick(20, 1_000)].map(Crowd::new);
    let count = effort.pick(100, 2_000_000);
    let datagram = medians(effort, |side| crowds[side].datagram(count / 200));
    let stray = medians(effort, |side| crowds[side].stray(count));
    let wakeup = medians(effort, |side| crowds[side].wakeup(count));
    [
        ("datagram of a peer", datagram, Some(1.2)),
        ("stray datagram", stray, Some(1.2)),
        ("wake-up with nothing due", wakeup, None),
    ]
    .map(|(what, [reference, bowline], target)| Line {
        what: what.into(),
        unit: "ns",
        reference,
        bowline,
        target,
    })
    .into()
}

fn memory(effort: Effort) -> Vec<Line> {
    let endpoints = effort.pick(3, 32);
    let [bowline, defaults, data_only] =
        ["bowline", "defaults", "data-only"].map(|what| resident::measure(what, endpoints) / 1e3);
    let line = |what: &str, reference| Line {
        what: what.into(),
        unit: "kB",
        reference,
        bowline,
        target: Some(1.25),
    };
    vec![
        line("peer, str0m defaults", defaults),
        line("peer, str0m as bowline sets it", data_only),
    ]
}

const KIB: usize = 1_024;
const MIB: u64 = 1_024 * 1_024;
/// Each way.
const DELAY: Duration = Duration::from_millis(1);
/// The sizes of messages.
const SIZES: [usize; 3] = [KIB, 16 * KIB, 64 * KIB];
/// The sizes of SCTP's buffer of which the best counts.
const BUFFERS: [usize; 3] = [32 * KIB, 64 * KIB, 128 * KIB];
