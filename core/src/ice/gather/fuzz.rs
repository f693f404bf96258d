//! The body of the fuzz target `gather`: sockets come and go, needs are answered or not, and servers say anything.
#![allow(
    clippy::disallowed_methods,
    reason = "what runs a machine brings its clock"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Carried, GatherOutput, Gatherer, LocalCandidate, Stage, Taken};
use crate::config::CandidateType;
use crate::config::{Config, TransportPolicy};
use crate::fuzz::Script;
use crate::ice::policy::canonical;
use crate::ice::server::{Host, IceServer};
use crate::ice::stun::Ladder;
use crate::ice::stun::message::build::{self, Success};
use crate::ice::turn::fuzz::answers::{self, address, any_peer, said};
use crate::need::{Need, NeedId};
use crate::rng::{Rng, Seed};
use crate::time::{UnixTime, WallClock};

/// Runs one pool until it has given back what it had.
///
/// # Panics
///
/// When a rule does not hold.
pub fn gather(data: &[u8]) {
    let mut script = Script::new(data);
    let mut run = Run::begin(&mut script);
    run.drain();
    while !script.is_over() {
        run.step(&mut script);
        run.drain();
    }
    run.end();
}

struct Run {
    gatherer: Gatherer,
    policy: TransportPolicy,
    now: Instant,
    bound: BTreeSet<SocketAddr>,
    /// Needs that are open, with the socket or connection that answered them.
    needs: BTreeMap<NeedId, Asked>,
    next_port: u16,
    /// Where servers are that we may write to: by policy only those that relay.
    servers: BTreeSet<SocketAddr>,
    sent: Vec<(Way, Vec<u8>)>,
    candidates: Vec<LocalCandidate>,
    reached: Vec<SocketAddr>,
}

struct Asked {
    need: Need,
    local: Option<SocketAddr>,
}

/// Between which addresses, or on which stream.
#[derive(Clone, Copy)]
enum Way {
    Datagram(SocketAddr, SocketAddr),
    Stream(NeedId),
}

impl Run {
    fn begin(script: &mut Script<'_>) -> Self {
        let setup = script.byte();
        let policy = [
            TransportPolicy::All,
            TransportPolicy::Relay,
            TransportPolicy::Public,
        ][usize::from(setup) % 3];
        let config = Config::builder().policy(policy).loopback(setup & 0x80 != 0);
        let config = config.max_relay_peers(8).build().expect("valid");
        let (rng, now) = (Rng::new(&Seed::from([1; 32])), Instant::now());
        // A Friday in 2026.
        let wall = WallClock::new(now, UnixTime::from_millis(1_790_000_000_000));
        let mut run = Self {
            gatherer: Gatherer::new(&config, rng, now, wall),
            policy,
            now,
            bound: BTreeSet::new(),
            needs: BTreeMap::new(),
            next_port: 10_000,
            servers: BTreeSet::new(),
            sent: Vec::new(),
            candidates: Vec::new(),
            reached: Vec::new(),
        };
        run.set_servers(script.byte());
        run
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 16 {
            0 | 1 => self.answer(script),
            2 => self.answer_need(script),
            3 => {
                let local = address(script.pick(&BASES));
                self.bound.insert(canonical(local));
                self.gatherer.on_socket_bound(local, self.now);
            }
            4 => {
                let local = address(script.pick(&BASES));
                self.bound.remove(&canonical(local));
                self.gatherer.on_socket_closed(local, self.now);
            }
            5 => self.set_servers(script.byte()),
            6 => {
                let peer = any_peer(script);
                self.reached.push(peer);
                self.gatherer.reach(peer, self.now);
            }
            7 => {
                let peer = any_peer(script);
                if let Some(at) = self.reached.iter().position(|reached| *reached == peer) {
                    self.reached.remove(at);
                }
                self.gatherer.unreach(peer, self.now);
            }
            8 => self.relay(script),
            9 => self.hear_of_peer(script),
            10 => {
                let (way, _) = self.any_sent(script);
                let bytes = script.slice(64);
                self.hear(way, bytes);
            }
            11 => self.gatherer.rest(self.now),
            12 => self.gatherer.wake(self.now),
            13 => self.pass(Duration::from_millis(script.short().into())),
            14 => self.pass(Duration::from_secs((script.short() % 1_200).into())),
            _ => {
                // A driver that is late.
                self.now += Duration::from_secs((script.short() % 1_200).into());
                self.wake_up();
            }
        }
    }

    fn set_servers(&mut self, which: u8) {
        let named = URIS.iter().enumerate();
        let chosen = named.filter(|(at, _)| which >> at & 1 == 1);
        let servers: Vec<_> = chosen.map(|(at, _)| server(at)).collect();
        for server in &servers {
            if let Host::Ip(ip) = server.host() {
                self.may_write_to(server, *ip);
            }
        }
        self.gatherer.set_servers(servers, self.now);
    }

    fn may_write_to(&mut self, server: &IceServer, ip: IpAddr) {
        if self.policy != TransportPolicy::Relay || server.is_relay() {
            self.servers.insert(SocketAddr::new(ip, server.port()));
        }
    }

    /// A server answers something that was sent, to where it came from and from where it went, or not.
    fn answer(&mut self, script: &mut Script<'_>) {
        let (mut way, contents) = self.any_sent(script);
        let odd = script.byte();
        if let Way::Datagram(local, remote) = &mut way {
            if odd & 0x40 != 0 {
                *local = address(script.pick(&BASES));
            }
            if odd & 0x80 != 0 {
                *remote = answers::any_server(script);
            }
        }
        // Binding requests come from bases, and those of TURN from sockets of relays.
        let answer = match contents.first_chunk() {
            Some([0, 1]) if odd & 1 == 1 => {
                Some(build::error(&contents, 300 + u16::from(script.byte())))
            }
            Some([0, 1]) => {
                let success = Success {
                    xor_mapped: Some(address(script.pick(&MAPPED))),
                    ..Success::default()
                };
                Some(build::success(&contents, &success))
            }
            _ => answers::answer(script, &contents),
        };
        if let Some(answer) = answer {
            self.hear(way, &answer);
        }
    }

    /// Data of a peer, as a server relays it.
    fn hear_of_peer(&mut self, script: &mut Script<'_>) {
        let (way, _) = self.any_sent(script);
        let channel = 0x4000 + u16::from(script.byte() % 4);
        let data = script.slice(16);
        let message = if script.byte() & 1 == 0 {
            let len = u16::try_from(data.len()).expect("short").to_be_bytes();
            [&channel.to_be_bytes()[..], &len, data, &[0; 3]].concat()
        } else {
            answers::indication(any_peer(script), data)
        };
        self.hear(way, &message);
    }

    fn any_sent(&self, script: &mut Script<'_>) -> (Way, Vec<u8>) {
        let back = usize::from(script.byte()) % self.sent.len().max(1);
        let nothing = || (Way::Stream(NeedId(u64::MAX)), Vec::new());
        let sent = self.sent.iter().rev().nth(back).cloned();
        sent.unwrap_or_else(nothing)
    }

    fn hear(&mut self, way: Way, message: &[u8]) {
        if let Some(to) = answers::redirect_of(message).map(canonical)
            && self.gatherer.addresses.allows(to)
        {
            self.servers.insert(to);
        }
        let candidates = &self.candidates;
        let check = |relayed: SocketAddr| {
            let lives =
                |c: &LocalCandidate| c.kind == CandidateType::Relayed && c.address == relayed;
            assert!(candidates.iter().any(lives), "data of {relayed}");
        };
        match way {
            Way::Datagram(local, remote) => {
                let taken = self
                    .gatherer
                    .handle_datagram(local, remote, message, self.now);
                if let Taken::Data(data) = &taken {
                    check(data.relayed);
                    assert!(message.get(data.data.clone()).is_some());
                }
                let is_of_relay = self.needs.values().any(|asked| {
                    matches!(asked.need, Need::Bind { .. }) && asked.local == Some(local)
                });
                assert!(!is_of_relay || taken != Taken::No, "not at {local}");
            }
            Way::Stream(need) => {
                let mut each = |relayed, _, _: &[u8]| check(relayed);
                self.gatherer
                    .handle_stream(need, message, self.now, &mut each);
            }
        }
    }

    /// The embedder answers a need, rightly or not, late or twice.
    fn answer_need(&mut self, script: &mut Script<'_>) {
        let which = usize::from(script.byte()) % self.needs.len().max(1);
        let Some((id, asked)) = self.needs.iter_mut().nth(which) else {
            return;
        };
        let id = *id;
        let fails = script.byte() & 7 == 1;
        match asked.need.clone() {
            Need::Resolve { host, .. } => {
                self.needs.remove(&id);
                let ips: Vec<IpAddr> = (0..u8::from(!fails) + script.byte() % 3)
                    .map(|_| script.pick(&RESOLVED).parse().expect("an address"))
                    .collect();
                for at in 0..URIS.len() {
                    let server = server(at);
                    if *server.host() != Host::Name(host.clone()) {
                        continue;
                    }
                    for ip in ips.iter().map(IpAddr::to_canonical) {
                        if self.gatherer.addresses.allows_server(ip) {
                            self.may_write_to(&server, ip);
                        }
                    }
                }
                self.gatherer.on_resolved(id, &ips, self.now);
            }
            Need::Bind { .. } if fails && asked.local.is_none() => {
                self.needs.remove(&id);
                self.gatherer.on_bound(id, None, self.now);
            }
            Need::Bind { ip, .. } => {
                self.next_port += 1;
                let local = SocketAddr::new(ip, self.next_port);
                asked.local.get_or_insert(local);
                self.gatherer.on_bound(id, Some(local), self.now);
            }
            Need::Connect { .. } if fails => {
                self.needs.remove(&id);
                self.gatherer.on_stream_closed(id, self.now);
            }
            Need::Connect { remote, .. } => {
                // TCP has ports of its own: they may be those of other sockets.
                let port = 10_001 + u16::from(script.byte() % 4);
                let here = self.bound.iter().find(|b| b.is_ipv4() == remote.is_ipv4());
                let ip = here.map_or(remote.ip(), SocketAddr::ip);
                let local = SocketAddr::new(ip, port);
                asked.local.get_or_insert(local);
                self.gatherer.on_opened(id, local, self.now);
            }
            Need::Close { .. } => {}
        }
    }

    fn relay(&mut self, script: &mut Script<'_>) {
        let relayed: Vec<_> = self
            .candidates
            .iter()
            .filter(|candidate| candidate.kind == CandidateType::Relayed)
            .map(|candidate| candidate.address)
            .collect();
        let which = usize::from(script.byte()) % relayed.len().max(1);
        let (peer, data) = (any_peer(script), script.slice(16).to_vec());
        let from = relayed.get(which).copied().unwrap_or(peer);
        if let Some(carried) = self.gatherer.relay(from, peer, data, self.now) {
            assert!(!relayed.is_empty(), "relayed from nowhere");
            self.check_carried(carried);
        }
    }

    /// Wakes the pool exactly when it asks for it.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.gatherer.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.wake_up();
        }
        self.now = end;
    }

    fn wake_up(&mut self) {
        self.gatherer.handle_timeout(self.now);
        self.drain();
        let next = self.gatherer.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "it spins");
    }

    fn drain(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.gatherer.poll_output() {
            outputs += 1;
            match output {
                GatherOutput::Carried(carried) => self.check_carried(carried),
                GatherOutput::Need(need) => self.check_need(need),
                GatherOutput::Found(candidate) => {
                    assert!(!self.candidates.contains(&candidate), "{candidate:?} again");
                    self.check_candidate(&candidate);
                    self.candidates.push(candidate);
                }
                GatherOutput::Gone(candidate) => {
                    let at = self.candidates.iter().position(|c| *c == candidate);
                    self.candidates.remove(at.expect("it was found"));
                }
                GatherOutput::Moved { .. }
                | GatherOutput::State(_)
                | GatherOutput::Failed { .. } => {}
            }
        }
        let bound = 256 + 80 * self.gatherer.relays.len();
        assert!(outputs <= bound, "{outputs} outputs");
        self.check_pool();
    }

    fn check_carried(&mut self, carried: Carried) {
        let (way, contents) = match carried {
            Carried::Datagram(outgoing) => {
                let (from, to) = (outgoing.source, outgoing.destination);
                let is_ours = |asked: &Asked| asked.local == Some(from);
                let is_open = self.bound.contains(&from) || self.needs.values().any(is_ours);
                assert!(is_open, "from {from}");
                assert!(self.servers.contains(&to), "to {to}");
                if self.bound.contains(&from) {
                    assert_ne!(self.policy, TransportPolicy::Relay, "from {from}");
                } else {
                    said(&outgoing.contents, false);
                }
                (Way::Datagram(from, to), outgoing.contents)
            }
            Carried::Stream { need, contents } => {
                let asked = self.needs.get(&need).expect("an open stream");
                assert!(asked.local.is_some(), "{need} is not open");
                said(&contents, true);
                (Way::Stream(need), contents)
            }
        };
        self.sent.push((way, contents));
    }

    fn check_need(&mut self, need: Need) {
        let id = match &need {
            Need::Resolve { need, host } => {
                let is_relay = |at: usize| {
                    let server = server(at);
                    *server.host() == Host::Name(host.clone()) && server.is_relay()
                };
                let may_be_asked = (0..URIS.len()).any(is_relay);
                assert!(may_be_asked || self.policy != TransportPolicy::Relay);
                *need
            }
            Need::Bind { need, ip } => {
                assert!(self.bound.iter().any(|base| base.ip() == *ip), "at {ip}");
                *need
            }
            Need::Connect { need, remote, .. } => {
                assert!(self.servers.contains(remote), "to {remote}");
                *need
            }
            Need::Close { need } => {
                self.needs.remove(need).expect("it is open");
                return;
            }
        };
        let before = self.needs.insert(id, Asked { need, local: None });
        assert!(before.is_none(), "{id} again");
    }

    fn check_candidate(&self, candidate: &LocalCandidate) {
        let LocalCandidate {
            kind,
            address,
            base,
        } = *candidate;
        assert!(self.gatherer.addresses.allows(address), "{address}");
        match kind {
            CandidateType::Host | CandidateType::ServerReflexive => {
                assert_ne!(self.policy, TransportPolicy::Relay);
                assert!(self.bound.contains(&base), "{base}");
            }
            CandidateType::Relayed => {}
        }
    }

    /// What was told is what there is, and relayed candidates are those of allocations that live.
    fn check_pool(&mut self) {
        let mut told = self.candidates.clone();
        told.sort_unstable();
        let mut present = self.gatherer.candidates().to_vec();
        present.sort_unstable();
        assert_eq!(told, present);
        for candidate in told.iter().filter(|c| c.kind == CandidateType::Relayed) {
            let lives = self.gatherer.relays.values().any(|relay| {
                let Stage::Live(live) = &relay.stage else {
                    return false;
                };
                live.relayed == Some(candidate.address) && live.allocation.relayed().is_some()
            });
            assert!(lives, "{candidate:?} of no allocation");
            assert!(self.gatherer.is_relayed(candidate.address));
        }
        let relays = self.gatherer.relays.len();
        assert!(self.gatherer.by_relayed.len() <= relays);
        assert!(self.gatherer.by_local.len() <= relays);
        assert!(self.gatherer.by_need.len() <= relays + URIS.len());
    }

    /// At rest nothing is left once the servers had their time to answer.
    fn end(mut self) {
        for peer in std::mem::take(&mut self.reached) {
            self.gatherer.unreach(peer, self.now);
        }
        self.gatherer.rest(self.now);
        self.drain();
        self.pass(Ladder::STANDARD.total());
        assert!(self.gatherer.relays.is_empty(), "relays at rest");
        assert!(!self.gatherer.is_busy());
        assert_eq!(self.gatherer.poll_timeout(), None, "awake at rest");
        let is_host = |candidate: &LocalCandidate| candidate.kind == CandidateType::Host;
        assert!(self.candidates.iter().all(is_host));
    }
}

fn server(at: usize) -> IceServer {
    let (uri, user) = URIS[at];
    let server: IceServer = uri.parse().expect("valid");
    match user {
        Some(user) => server.credentials(user, "secret").expect("they fit"),
        None => server,
    }
}

/// The two last speak the same URI, with other credentials that are limited in time.
const URIS: [(&str, Option<&str>); 8] = [
    ("stun:198.51.100.1:3478", None),
    ("turn:198.51.100.2:3478", Some("alice")),
    ("turn:198.51.100.3:3478?transport=tcp", Some("alice")),
    ("turns:turn.example.org:443", Some("alice")),
    ("stun:stun.example.org", None),
    ("turn:[2001:db8:1::5]:3478", Some("alice")),
    ("turn:turn.example.org:3478", Some("alice")),
    ("turn:turn.example.org:3478", Some("1700000000:bob")),
];

const RESOLVED: [&str; 6] = [
    "198.51.100.5",
    "198.51.100.6",
    "2001:db8:1::6",
    "::ffff:198.51.100.2",
    "10.0.0.53",
    "127.0.0.1",
];

const BASES: [&str; 7] = [
    "192.0.2.1:4000",
    "10.0.0.1:4000",
    "10.0.0.1:4001",
    "[2001:db8::7]:4000",
    "[::ffff:10.0.0.2]:4000",
    "127.0.0.1:4000",
    "[fe80::1]:4000",
];

const MAPPED: [&str; 7] = [
    "203.0.113.5:6000",
    "203.0.113.5:6001",
    "192.0.2.1:4000",
    "10.0.0.1:4000",
    "[2001:db8::7]:4000",
    "127.0.0.1:5",
    "224.0.0.1:9",
];
