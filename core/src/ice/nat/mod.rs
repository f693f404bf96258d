//! NAT discovery (RFC 5780): what do the NATs and firewalls on the way do with our datagrams?
//!
//! First every server is asked, from the endpoint's own socket, which it is all about. Then one that has two addresses
//! (OTHER-ADDRESS) is asked from both of them, which tells how we are mapped, and a fresh socket asks it to answer from
//! elsewhere, which tells what is let in: the endpoint's socket is open to its peers already and would let in too much.
//! The fresh socket and the endpoint's send to each other's outer address besides. Where no server has two addresses,
//! several with different ones tell the mapping, and what is filtered stays unknown.
//!
//! An address that a server names makes us send there: two requests to its other address, and one to each of our outer
//! ones. The address policy holds for all of them.
//!
//! The machine is driven as the endpoint is: datagrams, sockets and time go in, and [`NatDiscovery::poll_output`] is
//! drained after each. A discovery whose driver is never late ends within [`MAX_DURATION`].

mod facts;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod model;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::rng::Rng;

use super::policy::{AddressPolicy, canonical};
use super::stun::{
    BindingClient, BindingRequest, ChangeRequest, Ladder, Outcome, Outgoing, TransactionId,
};
use facts::{Asked, Facts, Test};
pub use report::{
    Family, Filtering, Mapping, NatKind, NatReport, RelayNeed, ServerAnswer, ServerEvidence,
};

/// One discovery.
#[derive(Debug)]
pub(crate) struct NatDiscovery {
    policy: AddressPolicy,
    client: BindingClient,
    facts: Facts,
    stage: Stage,
    /// What the open transactions are for.
    open: BTreeMap<TransactionId, Question>,
    /// What is to be asked when it is its turn.
    waiting: VecDeque<(Question, BindingRequest)>,
    /// Whose turn it is then.
    next_turn: Instant,
    outputs: VecDeque<NatOutput>,
}

/// What a discovery wants from its driver, or tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NatOutput {
    /// Send this.
    Transmit(Outgoing),
    /// Bind a socket that nothing else uses to this address and any port, and report it with
    /// [`NatDiscovery::socket_bound`] or [`NatDiscovery::socket_failed`]. It can be closed after [`NatOutput::Done`].
    NeedSocket {
        /// The address.
        ip: IpAddr,
    },
    /// The end.
    Done(NatReport),
}

/// `Reaching` -> `AwaitingSocket` -> `Testing` -> `Finished`; without an answer at once `Finished`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The servers are asked.
    Reaching,
    /// The tests of the mapping run, and the fresh socket is waited for.
    AwaitingSocket {
        /// For so long.
        until: Instant,
    },
    /// The tests run that are left.
    Testing,
    /// The report was given.
    Finished,
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// The first request to the server at this place in the list.
    Reach(usize),
    /// A further test.
    Test(Test),
}

impl NatDiscovery {
    /// Begins a discovery with `servers`, the most trusted first, from the endpoint's sockets.
    ///
    /// Of `sockets` the first of each family is used. Of `servers` the first [`MAX_SERVERS`] count that differ and have
    /// a port, and a socket of their family. `rng` is this discovery's own stream.
    pub(crate) fn new(
        servers: &[SocketAddr],
        sockets: &[SocketAddr],
        policy: AddressPolicy,
        rng: Rng,
        now: Instant,
    ) -> Self {
        let asked = first_requests(servers, sockets);
        let reach = |(at, asked): (usize, &Asked)| {
            let request = BindingRequest::plain(asked.shared, asked.server);
            (Question::Reach(at), request)
        };
        let mut discovery = Self {
            policy,
            client: BindingClient::new(LADDER, rng),
            waiting: asked.iter().enumerate().map(reach).collect(),
            facts: Facts {
                asked,
                ..Facts::default()
            },
            stage: Stage::Reaching,
            open: BTreeMap::new(),
            next_turn: now,
            outputs: VecDeque::new(),
        };
        discovery.drive(now);
        discovery
    }

    /// Takes the fresh socket that was needed. One that comes too late, or a second one, is not used.
    pub(crate) fn socket_bound(&mut self, local: SocketAddr, now: Instant) {
        if matches!(self.stage, Stage::AwaitingSocket { .. }) {
            self.facts.fresh = Some(local);
            self.stage = Stage::Testing;
            self.ask(Test::Fresh);
            self.drive(now);
        }
    }

    /// Takes that there is no fresh socket: what needs one stays unknown.
    pub(crate) fn socket_failed(&mut self, now: Instant) {
        if matches!(self.stage, Stage::AwaitingSocket { .. }) {
            self.stage = Stage::Testing;
            self.drive(now);
        }
    }

    /// Takes a datagram when it belongs to this discovery, and says whether it does. Whoever drives it has to ask before
    /// a datagram goes anywhere else: what comes back may be a request, and may come from any address.
    pub(crate) fn handle_datagram(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> bool {
        let is_ours = match self.client.handle_response(local, remote, datagram, now) {
            Some(outcome) => {
                self.on_outcome(&outcome);
                true
            }
            None => self.on_own_request(local, datagram),
        };
        if is_ours {
            self.drive(now);
        }
        is_ours
    }

    /// Takes that time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.drive(now);
    }

    /// What is wanted or told next. Call until there is nothing.
    #[must_use]
    pub(crate) fn poll_output(&mut self) -> Option<NatOutput> {
        self.outputs.pop_front()
    }

    /// When [`NatDiscovery::handle_timeout`] is due.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let turn = (!self.waiting.is_empty()).then_some(self.next_turn);
        let socket = match self.stage {
            Stage::AwaitingSocket { until } => Some(until),
            Stage::Reaching | Stage::Testing | Stage::Finished => None,
        };
        let deadlines = [turn, socket, self.client.poll_timeout()];
        deadlines.into_iter().flatten().min()
    }

    fn drive(&mut self, now: Instant) {
        while let Some(outcome) = self.client.poll_expired(now) {
            self.on_outcome(&outcome);
        }
        while self.advance(now) {}
        self.begin(now);
        while let Some(outgoing) = self.client.poll_transmit(now) {
            self.outputs.push_back(NatOutput::Transmit(outgoing));
        }
    }

    /// Goes to the next stage when this one is over, and says whether it was.
    fn advance(&mut self, now: Instant) -> bool {
        let is_idle = self.waiting.is_empty() && self.client.is_idle();
        match self.stage {
            Stage::Reaching if is_idle => {
                self.facts.chosen = self.facts.choose(&self.policy);
                match self.facts.chosen {
                    Some(chosen) => {
                        let until = now + SOCKET_PATIENCE;
                        self.stage = Stage::AwaitingSocket { until };
                        let ip = chosen.shared.ip();
                        self.outputs.push_back(NatOutput::NeedSocket { ip });
                        self.ask(Test::OtherIp);
                    }
                    None => self.finish(now),
                }
            }
            Stage::AwaitingSocket { until } if until <= now => self.stage = Stage::Testing,
            Stage::Testing if is_idle => self.finish(now),
            Stage::Reaching | Stage::AwaitingSocket { .. } | Stage::Testing | Stage::Finished => {
                return false;
            }
        }
        true
    }

    fn finish(&mut self, now: Instant) {
        self.stage = Stage::Finished;
        let report = self.facts.report(now);
        tracing::debug!(kind = %report.kind, "NAT discovered");
        self.outputs.push_back(NatOutput::Done(report));
    }

    /// Begins the next transaction, if it is its turn.
    fn begin(&mut self, now: Instant) {
        if now < self.next_turn {
            return;
        }
        if let Some((question, request)) = self.waiting.front().copied()
            && let Ok(id) = self.client.begin(request, now)
        {
            self.waiting.pop_front();
            self.open.insert(id, question);
            self.next_turn = now + PACE;
        }
    }

    fn on_outcome(&mut self, outcome: &Outcome) {
        match self.open.remove(&outcome.id) {
            Some(Question::Reach(at)) => {
                if let Some(asked) = self.facts.asked.get_mut(at) {
                    asked.answered = Some(outcome.result);
                }
            }
            Some(Question::Test(test)) => {
                self.facts.tests.insert(test, outcome.result);
                self.on_test(test);
            }
            None => {}
        }
    }

    /// Asks what a test has made a question.
    fn on_test(&mut self, test: Test) {
        match test {
            Test::OtherIp => self.ask(Test::OtherIpAndPort),
            Test::Fresh => {
                for next in [
                    Test::ChangeBoth,
                    Test::ChangePort,
                    Test::HairpinToShared,
                    Test::HairpinToFresh,
                ] {
                    self.ask(next);
                }
            }
            Test::OtherIpAndPort
            | Test::ChangeBoth
            | Test::ChangePort
            | Test::HairpinToShared
            | Test::HairpinToFresh => {}
        }
    }

    /// Puts a test in line, if what is known lets it be made.
    fn ask(&mut self, test: Test) {
        if let Some(request) = self.request(test) {
            self.waiting.push_back((Question::Test(test), request));
        }
    }

    fn request(&self, test: Test) -> Option<BindingRequest> {
        let chosen = self.facts.chosen?;
        let (shared, server) = (chosen.shared, chosen.server);
        let mapped = |test| Some(self.facts.tests.get(&test)?.ok()?.mapped);
        let changing = |ip| {
            let change = ChangeRequest { ip, port: true };
            mapped(Test::Fresh)?;
            chosen.other?;
            let fresh = self.facts.fresh?;
            Some(BindingRequest::changing(fresh, server, change, None))
        };
        match test {
            Test::OtherIp => {
                let at = SocketAddr::new(chosen.other?.ip(), server.port());
                Some(BindingRequest::plain(shared, at))
            }
            Test::OtherIpAndPort => {
                let differs = mapped(Test::OtherIp)? != chosen.mapped;
                let at = chosen.other.filter(|_| differs)?;
                Some(BindingRequest::plain(shared, at))
            }
            Test::Fresh => Some(BindingRequest::plain(self.facts.fresh?, server)),
            Test::ChangeBoth => changing(true),
            Test::ChangePort => changing(false),
            Test::HairpinToShared => {
                mapped(Test::Fresh)?;
                let at = self.hairpin_target(chosen.mapped)?;
                Some(BindingRequest::plain(self.facts.fresh?, at))
            }
            Test::HairpinToFresh => {
                let at = self.hairpin_target(mapped(Test::Fresh)?)?;
                Some(BindingRequest::plain(shared, at))
            }
        }
    }

    /// An outer address of ours, if there is a NAT that could send it back. It is the server's word.
    fn hairpin_target(&self, mapped: SocketAddr) -> Option<SocketAddr> {
        let chosen = self.facts.chosen?;
        let target = self.policy.check_remote(mapped).ok()?;
        chosen.is_translated().then_some(target)
    }

    /// Takes a request that one socket has sent to the outer address of the other, and says whether it is one. It works
    /// in one direction: the other need not be tried.
    fn on_own_request(&mut self, local: SocketAddr, datagram: &[u8]) -> bool {
        let question = TransactionId::of_request(datagram).and_then(|id| self.open.get(&id));
        let socket = match question {
            Some(Question::Test(Test::HairpinToShared)) => self.facts.chosen.map(|c| c.shared),
            Some(Question::Test(Test::HairpinToFresh)) => self.facts.fresh,
            Some(Question::Reach(_) | Question::Test(_)) | None => None,
        };
        if socket != Some(local) {
            return false;
        }
        self.facts.hairpin_seen = true;
        self.waiting.retain(|(question, _)| !question.is_hairpin());
        let client = &mut self.client;
        self.open.retain(|id, question| {
            if question.is_hairpin() {
                client.cancel(*id);
            }
            !question.is_hairpin()
        });
        true
    }
}

impl Question {
    const fn is_hairpin(&self) -> bool {
        matches!(
            self,
            Self::Test(Test::HairpinToShared | Test::HairpinToFresh)
        )
    }
}

fn first_requests(servers: &[SocketAddr], sockets: &[SocketAddr]) -> Vec<Asked> {
    let socket_for = |server: SocketAddr| {
        let same_family = |socket: &&SocketAddr| Family::of(**socket) == Family::of(server);
        sockets.iter().find(same_family).copied()
    };
    let mut seen = BTreeSet::new();
    let asked = |server: SocketAddr| {
        let shared = socket_for(server)?;
        let is_new = server.port() != 0 && seen.insert(server);
        is_new.then_some(Asked {
            server,
            shared,
            answered: None,
        })
    };
    let servers = servers.iter().copied().map(canonical);
    servers.filter_map(asked).take(MAX_SERVERS).collect()
}

/// The servers that one discovery asks. Further ones are not.
pub(crate) const MAX_SERVERS: usize = 8;

/// From one transaction to the next: ten in a second.
const PACE: Duration = Duration::from_millis(100);

/// Requests after 0, 0.5, 1.5 and 3.5 s; 5 s are enough to say that nobody answers. RFC 8489 section 6.2.1 wants an RTO of
/// 500 ms and leaves the rest to be configured.
const LADDER: Ladder = Ladder {
    rto: Duration::from_millis(500),
    requests: 4,
    patience: 3,
};

/// How long the fresh socket is waited for.
const SOCKET_PATIENCE: Duration = Duration::from_secs(2);

/// How long a discovery takes at most: three times what one answer is waited for, the socket, and the pace of
/// [`MAX_SERVERS`] first requests and the 7 tests.
#[cfg(any(test, fuzzing))]
pub(crate) const MAX_DURATION: Duration = Duration::from_millis(18_500);
