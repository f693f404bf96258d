//! What the classes of faults do that are events, not properties of a link.

use std::net::{IpAddr, SocketAddr};

use crate::action::{Action, Pace, Reader};
use crate::net::{Class, HostId, LinkConfig};

use super::draws::{log_u64, pick, usize_between};
use super::fault::Fault;
use super::random::Draw;

impl Draw {
    /// Draws what a class does, to one of the wanted pairs.
    pub(super) fn events(&mut self, fault: Fault) {
        let at_ms = self.moment();
        let pair = pick(&mut self.stream, &self.scenario.wanted.clone());
        let (a, b) = self.either(pair);
        let for_ms = log_u64(&mut self.stream, 100.0, 10_000.0);
        match fault {
            Fault::Partition => {
                self.partition(a, b, at_ms, for_ms);
                self.partition(b, a, at_ms, for_ms);
            }
            Fault::OneWay => self.partition(a, b, at_ms, for_ms),
            Fault::Clog => {
                let (from, to) = (a, b);
                self.push(at_ms, Action::Clog { from, to, for_ms });
            }
            // What the hosts know of, or notice by the silence.
            Fault::BusPartition if self.stream.chance(0.4) => {
                let host = a;
                self.push(at_ms, Action::SetSignalling { host, up: false });
                self.push(at_ms + for_ms, Action::SetSignalling { host, up: true });
            }
            Fault::BusPartition => {
                let ways = [(a, b), (b, a)];
                let count = if self.stream.chance(0.5) { 2 } else { 1 };
                for (from, to) in ways.into_iter().take(count) {
                    self.push(at_ms, Action::PartitionBus { from, to, for_ms });
                }
            }
            Fault::Crash => self.crash(a, b, at_ms, for_ms),
            Fault::BothCrash => {
                self.crash(a, b, at_ms, for_ms);
                let later = log_u64(&mut self.stream, 1.0, for_ms as f64 + 1.0);
                self.crash(b, a, at_ms + later, for_ms);
            }
            Fault::Suspend => self.suspend(a, at_ms),
            Fault::Late => {
                let late_ms = log_u64(&mut self.stream, 10.0, 5_000.0);
                self.pace(
                    a,
                    at_ms,
                    for_ms,
                    Pace {
                        late_ms,
                        lazy_ms: 0,
                    },
                );
            }
            Fault::Lazy => {
                let lazy_ms = log_u64(&mut self.stream, 1.0, 500.0);
                self.pace(
                    a,
                    at_ms,
                    for_ms,
                    Pace {
                        late_ms: 0,
                        lazy_ms,
                    },
                );
            }
            Fault::WallClock => {
                let skew = i64::try_from(self.stream.below(2 * HOUR_MS)).unwrap_or_default();
                self.scenario.peers[a].clock_skew_ms = skew - HOUR_MS.cast_signed();
            }
            Fault::Interface => self.interface(a, at_ms, for_ms),
            Fault::Roam => self.roam(a, at_ms, for_ms),
            Fault::Reader => {
                let absent = self.stream.chance(0.3);
                let rate = Reader::Rate(log_u64(&mut self.stream, 1_000.0, 1_000_000.0));
                let reader = if absent { Reader::Absent } else { rate };
                self.push(at_ms, Action::SetReader { host: a, reader });
            }
            Fault::Queues => {
                let bytes = pick(&mut self.stream, &QUEUES);
                self.scenario.peers[a].queue_bytes = Some(bytes);
            }
            Fault::Restart => self.push(at_ms, Action::Restart { from: a, to: b }),
            Fault::Rebuild => self.push(at_ms, Action::Rebuild { from: a, to: b }),
            Fault::Storm => self.storm(a, b, at_ms),
            Fault::Churn => {
                self.push(at_ms, Action::Close { from: a, to: b });
                let (from, to) = self.either((a, b));
                self.push(at_ms + for_ms, Action::Connect { from, to });
            }
            Fault::EarlyClose => self.close_early(a, b, for_ms),
            Fault::BlackHole => {
                let mtu = usize_between(&mut self.stream, 200, 1_199);
                let link = LinkConfig {
                    mtu,
                    ..self.scenario.link.clone()
                };
                self.link_for((a, b), at_ms, for_ms, link);
            }
            Fault::Filter => {
                let class = pick(&mut self.stream, &CLASSES);
                let link = LinkConfig {
                    filter: vec![class],
                    ..self.scenario.link.clone()
                };
                self.link_for((a, b), at_ms, for_ms, link);
            }
            Fault::Loss
            | Fault::Burst
            | Fault::Jitter
            | Fault::Spike
            | Fault::Reorder
            | Fault::Duplicate
            | Fault::Replay
            | Fault::Damage
            | Fault::Rate
            | Fault::BusLoss
            | Fault::BusReorder
            | Fault::BusDuplicate
            | Fault::BusReplay => {}
        }
    }

    fn partition(&mut self, from: HostId, to: HostId, at_ms: u64, for_ms: u64) {
        self.push(at_ms, Action::Partition { from, to, for_ms });
    }

    /// A host crashes, starts and calls.
    fn crash(&mut self, host: HostId, peer: HostId, at_ms: u64, for_ms: u64) {
        self.push(at_ms, Action::Crash { host });
        self.push(at_ms + for_ms, Action::Start { host });
        let (from, to) = (host, peer);
        self.push(at_ms + for_ms + 1, Action::Connect { from, to });
    }

    /// A host sleeps for a moment or, now and then, for hours, which the faults outlast.
    fn suspend(&mut self, host: HostId, at_ms: u64) {
        let hours = self.stream.chance(0.04);
        let (least, most) = if hours { LONG_SLEEP } else { SLEEP };
        let for_ms = log_u64(&mut self.stream, least, most);
        self.push(at_ms, Action::Suspend { host, for_ms });
        if hours {
            self.scenario.chaos_ms = at_ms + for_ms + AWAKE_MS;
        }
    }

    fn pace(&mut self, host: HostId, at_ms: u64, for_ms: u64, pace: Pace) {
        self.push(at_ms, Action::SetPace { host, pace });
        let pace = Pace::default();
        self.push(at_ms + for_ms, Action::SetPace { host, pace });
    }

    /// An interface goes and comes back.
    fn interface(&mut self, host: HostId, at_ms: u64, for_ms: u64) {
        let address = pick(&mut self.stream, &self.homes[host]);
        self.push(at_ms, Action::Unbind { host, address });
        self.push(at_ms + for_ms, Action::Bind { host, address });
    }

    /// A host goes into another network: all addresses go, and others come a while later, or before.
    fn roam(&mut self, host: HostId, at_ms: u64, for_ms: u64) {
        let gap = if self.stream.chance(0.8) { for_ms } else { 0 };
        for address in self.homes[host].clone() {
            self.push(at_ms, Action::Unbind { host, address });
            let address = elsewhere(address);
            self.push(at_ms + gap, Action::Bind { host, address });
        }
    }

    /// Both sides call for repairs again and again.
    fn storm(&mut self, a: HostId, b: HostId, at_ms: u64) {
        let rebuild = self.stream.chance(0.3);
        let pause = log_u64(&mut self.stream, 1.0, 150.0);
        for call in 0..self.stream.between(10, 60) {
            let (from, to) = if self.stream.chance(0.7) {
                (a, b)
            } else {
                (b, a)
            };
            let action = match rebuild {
                true => Action::Rebuild { from, to },
                false => Action::Restart { from, to },
            };
            self.push(at_ms + call * pause, action);
        }
    }

    /// A connection is closed soon after it was called for, and called for again.
    fn close_early(&mut self, a: HostId, b: HostId, for_ms: u64) {
        let calls = self.scenario.steps.iter().filter(|step| {
            let named = step.action.hosts();
            matches!(step.action, Action::Connect { .. })
                && named.contains(&a)
                && named.contains(&b)
        });
        let called = calls.map(|step| step.at_ms).min().unwrap_or(0);
        let at_ms = called + log_u64(&mut self.stream, 1.0, 500.0);
        let (from, to) = self.either((a, b));
        self.push(at_ms, Action::Close { from, to });
        self.push(at_ms + for_ms, Action::Connect { from, to });
    }

    /// A link is another one for a while.
    fn link_for(
        &mut self,
        (from, to): (HostId, HostId),
        at_ms: u64,
        for_ms: u64,
        link: LinkConfig,
    ) {
        self.push(at_ms, Action::SetLink { from, to, link });
        let link = self.scenario.link.clone();
        self.push(at_ms + for_ms, Action::SetLink { from, to, link });
    }

    fn either(&mut self, (a, b): (HostId, HostId)) -> (HostId, HostId) {
        if self.stream.chance(0.5) {
            (a, b)
        } else {
            (b, a)
        }
    }
}

/// The address of the same host in the next network but a few: no interface has it at home.
fn elsewhere(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) => {
            let [a, b, network, host] = ip.octets();
            IpAddr::from([a, b, network + ELSEWHERE, host])
        }
        IpAddr::V6(ip) => {
            let mut groups = ip.segments();
            groups[1] += u16::from(ELSEWHERE);
            IpAddr::from(groups)
        }
    };
    SocketAddr::new(ip, address.port())
}

/// How far the networks are away into which hosts go.
const ELSEWHERE: u8 = 16;
const HOUR_MS: u64 = 3_600_000;
/// How long a machine sleeps, in milliseconds.
const SLEEP: (f64, f64) = (1_000.0, 120_000.0);
/// How long it does now and then: ten minutes to eight hours.
const LONG_SLEEP: (f64, f64) = (600_000.0, 28_800_000.0);
/// For how long the faults go on after it has slept for hours.
const AWAKE_MS: u64 = 3_000;
/// Bytes of the queues that are not of the usual size.
const QUEUES: [usize; 4] = [2_000, 16_000, 64_000, 16 * 1_024 * 1_024];
/// What a filter drops.
const CLASSES: [Class; 3] = [Class::Stun, Class::Handshake, Class::Dtls];
