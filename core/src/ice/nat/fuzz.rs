//! The body of the fuzz target `nat_discovery`: servers, and whoever is on the way, send anything at any time.
#![allow(
    clippy::disallowed_methods,
    reason = "what runs a machine brings its clock"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{LADDER, MAX_DURATION, MAX_SERVERS, NatDiscovery, NatOutput, NatReport};
use crate::config::Config;
use crate::fuzz::Script;
use crate::ice::policy::{AddressPolicy, canonical};
use crate::ice::stun::Outgoing;
use crate::ice::stun::message::build::{self, Success};
use crate::rng::{Rng, Seed};

/// Runs one discovery to its end.
///
/// # Panics
///
/// When a rule does not hold.
pub fn nat_discovery(data: &[u8]) {
    let mut script = Script::new(data);
    let mut run = Run::begin(&mut script);
    run.drain();
    while !script.is_over() && run.report.is_none() {
        run.step(&mut script);
        run.drain();
    }
    run.end();
}

struct Run {
    discovery: NatDiscovery,
    policy: AddressPolicy,
    servers: Vec<SocketAddr>,
    start: Instant,
    now: Instant,
    sent: Vec<Outgoing>,
    /// Whether a socket was wanted.
    socket_wanted: bool,
    report: Option<NatReport>,
}

impl Run {
    fn begin(script: &mut Script<'_>) -> Self {
        let setup = script.byte();
        let all = KNOWN.map(address);
        let sockets = all.get(usize::from(setup & 1)..2).unwrap_or_default();
        let server = |_| canonical(any_address(script));
        let servers: Vec<_> = (0..setup >> 4).map(server).collect();
        let policy = AddressPolicy::new(&Config::default());
        let rng = Rng::new(&Seed::from([1; 32]));
        let start = Instant::now();
        Self {
            discovery: NatDiscovery::new(&servers, sockets, policy.clone(), rng, start),
            policy,
            servers,
            start,
            now: start,
            sent: Vec::new(),
            socket_wanted: false,
            report: None,
        }
    }

    /// Time never passes a deadline: this driver is not late.
    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 8 {
            0 => self.wait(Duration::from_millis(u64::from(script.short()))),
            1 => self.wait(MAX_DURATION),
            2 => self.answer(script, |script, request| {
                let success = Success {
                    xor_mapped: Some(any_address(script)),
                    other: Some(any_address(script)),
                    ..Success::default()
                };
                build::success(request, &success)
            }),
            3 => self.answer(script, |script, request| {
                let kind = script.pick(&[[1_u8, 1], [1, 0x11], [0, 1]]);
                let body = script.slice(64);
                let body = body.get(..body.len() / 4 * 4).unwrap_or_default();
                let len = u16::try_from(body.len()).expect("short").to_be_bytes();
                let id = request.get(4..20).expect("a header");
                [&kind[..], &len, id, body].concat()
            }),
            4 => self.answer(script, |script, request| {
                build::error(request, 300 + u16::from(script.byte()))
            }),
            5 => self.answer(script, |_, request| request.to_vec()),
            6 => self.discovery.socket_bound(any_address(script), self.now),
            _ => self.discovery.socket_failed(self.now),
        }
    }

    /// Something comes that was made of a request, at its socket or another, from where was asked or not.
    fn answer<'a>(
        &mut self,
        script: &mut Script<'a>,
        make: impl Fn(&mut Script<'a>, &[u8]) -> Vec<u8>,
    ) {
        let back = usize::from(script.byte()) % self.sent.len().max(1);
        let Some(request) = self.sent.iter().rev().nth(back).cloned() else {
            return;
        };
        let way = script.byte();
        let local = if way & 1 == 0 {
            request.source
        } else {
            any_address(script)
        };
        let remote = if way & 2 == 0 {
            request.destination
        } else {
            any_address(script)
        };
        let datagram = make(script, &request.contents);
        self.discovery
            .handle_datagram(local, remote, &datagram, self.now);
    }

    fn wait(&mut self, longest: Duration) {
        let deadline = self.discovery.poll_timeout().expect("it is not over");
        self.now = deadline.min(self.now + longest).max(self.now);
        self.discovery.handle_timeout(self.now);
    }

    fn drain(&mut self) {
        while let Some(output) = self.discovery.poll_output() {
            assert!(self.report.is_none(), "the report is the last");
            match output {
                NatOutput::Transmit(outgoing) => {
                    let to = outgoing.destination;
                    let may_be_sent_to =
                        self.servers.contains(&to) || self.policy.check_remote(to).is_ok();
                    assert!(may_be_sent_to, "{to}");
                    self.sent.push(outgoing);
                }
                NatOutput::NeedSocket { .. } => {
                    assert!(!self.socket_wanted, "one is enough");
                    self.socket_wanted = true;
                }
                NatOutput::Done(report) => self.report = Some(report),
            }
        }
    }

    fn end(mut self) {
        while self.report.is_none() {
            self.wait(MAX_DURATION);
            self.drain();
        }
        assert!(self.now - self.start <= MAX_DURATION);
        let requests = (MAX_SERVERS + TESTS) * usize::try_from(LADDER.requests).expect("few");
        assert!(self.sent.len() <= requests);
        assert_eq!(self.discovery.poll_timeout(), None);
        let report = self.report.as_ref().expect("the end");
        assert!(report.servers.len() <= MAX_SERVERS);
        assert!(!report.to_string().is_empty());
        assert_eq!(
            report.requires_relay(report),
            report.clone().requires_relay(report)
        );
        serde_json::to_string(report).expect("it has no maps");
    }
}

fn any_address(script: &mut Script<'_>) -> SocketAddr {
    let kind = script.byte();
    if let Some(known) = KNOWN.get(usize::from(kind)) {
        return address(known);
    }
    let port = script.short();
    if kind & 1 == 0 {
        let ip: [u8; 4] = std::array::from_fn(|_| script.byte());
        SocketAddr::from((ip, port))
    } else {
        let ip: [u16; 8] = std::array::from_fn(|_| script.short());
        SocketAddr::from((ip, port))
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// The tests that follow the first requests.
const TESTS: usize = 7;

/// Our two sockets first. Then a fresh one, our outer address, a server and its other addresses, and what nobody is.
const KNOWN: [&str; 12] = [
    "[2001:db8::7]:4000",
    "10.0.0.1:4000",
    "10.0.0.1:5000",
    "192.0.2.1:20000",
    "198.51.100.1:3478",
    "198.51.100.2:3478",
    "198.51.100.2:3479",
    "198.51.100.1:3479",
    "[2001:db8:1::1]:3478",
    "[2001:db8:1::2]:3479",
    "127.0.0.1:22",
    "[::ffff:198.51.100.1]:3478",
];
