//! What is compared.

use std::time::Duration;

use bowline::Config;

use crate::crowd::Crowd;
use crate::meter::{Effort, Line, cpu, medians, nanos_each};
use crate::pair::{Dtls, Net};
use crate::raw::{self, RawPair};
use crate::resident;

type Case = fn(Effort) -> Vec<Line>;

pub(crate) const CASES: [(&str, Case); 5] = [
    ("throughput", throughput),
    ("handshake", handshake),
    ("crowd", crowd),
    ("wakeups", wakeups),
    ("memory", memory),
];

/// One way, the queue always full, 1 ms each way. str0m with the best of three sizes of its buffer; bowline with the
/// least backlog as the most, which is the same setting.
fn throughput(effort: Effort) -> Vec<Line> {
    [KIB, 16 * KIB, 64 * KIB].map(|size| throughput_of(size, effort)).into()
}

fn throughput_of(size: usize, effort: Effort) -> Line {
    let total = effort.pick(1, 16) * MIB;
    let config = Config::builder().backlog_max(32 * KIB).build().expect("valid");
    let mut net = Net::new(2, &config, Dtls::Real, DELAY);
    net.connect(&[(0, 1)]);
    let mut pairs = BUFFERS.map(|buffer| {
        // What is larger than the buffer is never taken.
        (buffer >= size).then(|| RawPair::connect(&raw::data_only(buffer), DELAY))
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
    Line { what: format!("{} KiB", size / KIB), unit: "ns/B", reference, bowline: all[0], target: Some(1.1) }
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
                let config = if side == 0 { raw::defaults() } else { raw::data_only(128 * KIB) };
                cpu(|| (0..pairs).for_each(|_| drop(RawPair::connect(&config, DELAY)))).0
            }
            _ => {
                let (made, mut net) = cpu(|| Net::new(count, &Config::default(), Dtls::Real, DELAY));
                making.push(nanos_each(made, count as u64));
                cpu(|| (0..count).for_each(|from| (from + 1..count).for_each(|to| net.connect(&[(from, to)])))).0
            }
        };
        nanos_each(spent, pairs as u64) / 1e3
    });
    making.sort_by(f64::total_cmp);
    let endpoint = making[making.len() / 2] / 1e3;
    let line = |what: &str, reference, bowline, target| Line { what: what.into(), unit: "us", reference, bowline, target };
    vec![
        line("pair, defaults", reference, bowline, Some(0.35)),
        line("pair, str0m data only with 1.3", tuned, bowline, None),
        line("pair and two new endpoints", reference, bowline + 2.0 * endpoint, None),
    ]
}

/// Ten peers as the reference.
fn crowd(effort: Effort) -> Vec<Line> {
    let mut crowds = crowds(effort);
    let rounds = effort.pick(10, 5_000);
    let known: [f64; 2] = medians(effort, |side| crowds[side].datagram(rounds));
    let stray: [f64; 2] = medians(effort, |side| crowds[side].stray(rounds * 20));
    let line = |what: &str, [reference, bowline]: [f64; 2], target| Line { what: what.into(), unit: "ns", reference, bowline, target };
    vec![
        line("datagram of a peer, 10 and 1,000 peers", known, Some(1.2)),
        line("stray datagram, 10 and 1,000 peers", stray, Some(1.2)),
    ]
}

/// Ten peers as the reference.
fn wakeups(effort: Effort) -> Vec<Line> {
    let mut crowds = crowds(effort);
    let mut counts = [0; 2];
    let cost: [f64; 2] = medians(effort, |side| {
        // Shorter for the many, who wake more often; not so long that anybody misses the answers.
        let (each, count) = crowds[side].wakeup(effort.pick(Duration::from_secs(1), Duration::from_secs(1)));
        counts[side] += count;
        each
    });
    let [few, many] = counts.map(|count: u64| u32::try_from(count).map_or(f64::NAN, f64::from));
    vec![
        Line { what: "one, 10 and 1,000 peers".into(), unit: "ns", reference: cost[0], bowline: cost[1], target: None },
        Line { what: "number, 10 and 1,000 peers".into(), unit: "", reference: few, bowline: many, target: None },
    ]
}

fn crowds(effort: Effort) -> [Crowd; 2] {
    [10, effort.pick(20, 1_000)].map(Crowd::new)
}

fn memory(effort: Effort) -> Vec<Line> {
    let endpoints = effort.pick(3, 32);
    let [bowline, defaults, data_only] =
        ["bowline", "defaults", "data-only"].map(|what| resident::measure(what, endpoints) / 1e3);
    let line = |what: &str, reference| Line { what: what.into(), unit: "kB", reference, bowline, target: Some(1.25) };
    vec![line("peer, str0m defaults", defaults), line("peer, str0m data only with 1.3", data_only)]
}

const KIB: usize = 1_024;
const MIB: u64 = 1_024 * 1_024;
/// Each way.
const DELAY: Duration = Duration::from_millis(1);
/// The sizes of SCTP's buffer of which the best counts.
const BUFFERS: [usize; 3] = [32 * KIB, 64 * KIB, 128 * KIB];
