//! Server-reflexive addresses: what STUN servers see of each of our sockets, asked once and then kept open.
//!
//! Every server is asked from every socket of its family. The address that came first is asked for again in intervals, by
//! the same question: that keeps the mapping open (RFC 8445 section 11), and shows when it is another one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::servers::backoff;
use crate::ice::stun::{
    BindingClient, BindingFault, BindingRequest, Ladder, Outcome, Outgoing, TransactionId,
};
use crate::rng::Rng;

/// Questions to servers and what they said.
#[derive(Debug)]
pub(super) struct Reflexive {
    client: BindingClient,
    questions: BTreeMap<Question, State>,
    keepalive: Duration,
    /// When all were asked again last.
    doubted: Option<Instant>,
}

/// From which socket which server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    pub(super) base: SocketAddr,
    pub(super) server: SocketAddr,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// When it is asked next; `None` while an answer is awaited, and when another question keeps the mapping open.
    ask_at: Option<Instant>,
    /// The transaction whose answer is awaited: one at a time, so that none is left when the question is dropped.
    asked: Option<TransactionId>,
    mapped: Option<SocketAddr>,
    answered: bool,
    failures: u32,
}

/// What an answer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) question: Question,
    /// The address before and now, where they differ.
    pub(super) mapped: Option<(Option<SocketAddr>, Option<SocketAddr>)>,
    pub(super) answered: bool,
}

impl Reflexive {
    pub(super) fn new(keepalive: Duration, rng: Rng) -> Self {
        Self {
            client: BindingClient::new(Ladder::STANDARD, rng),
            questions: BTreeMap::new(),
            keepalive,
            doubted: None,
        }
    }

    /// Asks these from now on and no others. Gives the addresses that are gone.
    pub(super) fn set_questions(
        &mut self,
        wanted: &[Question],
        now: Instant,
    ) -> Vec<(Question, SocketAddr)> {
        let mut gone = Vec::new();
        let dropped: Vec<_> = self
            .questions
            .keys()
            .filter(|question| !wanted.contains(question))
            .copied()
            .collect();
        for question in dropped {
            let state = self.questions.remove(&question);
            let Some(state) = state else { continue };
            if let Some(asked) = state.asked {
                self.client.cancel(asked);
            }
            gone.extend(state.mapped.map(|mapped| (question, mapped)));
        }
        for question in wanted.iter().take(MAX_QUESTIONS) {
            self.questions.entry(*question).or_insert(State {
                ask_at: Some(now),
                asked: None,
                mapped: None,
                answered: false,
                failures: 0,
            });
        }
        gone
    }

    /// When the next question wants to be asked. The caller paces them.
    pub(super) fn next_request_at(&self) -> Option<Instant> {
        self.questions.values().filter_map(|s| s.ask_at).min()
    }

    /// Asks the next question that is due. Gives which.
    pub(super) fn begin_request(&mut self, now: Instant) -> Option<Question> {
        let is_due = |state: &State| state.ask_at.is_some_and(|at| at <= now);
        let (question, state) = self.questions.iter_mut().find(|(_, s)| is_due(s))?;
        let request = BindingRequest::plain(question.base, question.server);
        match self.client.begin(request, now) {
            Ok(asked) => (state.asked, state.ask_at) = (Some(asked), None),
            // At the bound of open transactions: one of them ends within this time.
            Err(_) => state.ask_at = Some(now + Ladder::STANDARD.total()),
        }
        Some(*question)
    }

    /// The mappings may be others by now: asks for all of them again, unless that was done within [`DOUBT_PAUSE`].
    pub(super) fn ask_again(&mut self, now: Instant) {
        let is_late = |at: Instant| now.saturating_duration_since(at) >= DOUBT_PAUSE;
        if !self.doubted.is_none_or(is_late) {
            return;
        }
        self.doubted = Some(now);
        for state in self.questions.values_mut() {
            if state.mapped.is_some() && state.asked.is_none() {
                state.ask_at = Some(now);
            }
        }
    }

    /// Takes a datagram that answers one of the questions.
    pub(super) fn handle_datagram(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Option<Change> {
        if self.client.is_idle() {
            return None;
        }
        let outcome = self.client.handle_response(local, remote, datagram, now)?;
        self.on_outcome(&outcome, now)
    }

    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Outgoing> {
        self.client.poll_transmit(now)
    }

    /// A question that was not answered.
    pub(super) fn poll_expired(&mut self, now: Instant) -> Option<Change> {
        while let Some(outcome) = self.client.poll_expired(now) {
            let change = self.on_outcome(&outcome, now);
            if change.is_some() {
                return change;
            }
        }
        None
    }

    /// Whether a server sees a socket at this address.
    pub(super) fn sees(&self, base: SocketAddr, mapped: SocketAddr) -> bool {
        self.questions
            .iter()
            .any(|(question, state)| question.base == base && state.mapped == Some(mapped))
    }

    /// Whether servers at different addresses see one socket differently. `None`: too few have answered.
    pub(super) fn varies(&self) -> Option<bool> {
        let known = || {
            let seen = |(question, state): (&Question, &State)| Some((*question, state.mapped?));
            self.questions.iter().filter_map(seen)
        };
        let mut compared = known().flat_map(|(first, mapped)| {
            let others = known().filter(move |(other, _)| {
                other.base == first.base && other.server.ip() != first.server.ip()
            });
            others.map(move |(_, other)| other != mapped)
        });
        let one = compared.next()?;
        Some(one || compared.any(|varies| varies))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.client.poll_timeout()
    }

    /// Whether every question was answered or given up at least once.
    pub(super) fn is_settled(&self) -> bool {
        let is_settled = |state: &State| state.answered || state.failures > 0;
        self.questions.values().all(is_settled)
    }

    fn on_outcome(&mut self, outcome: &Outcome, now: Instant) -> Option<Change> {
        let question = Question {
            base: outcome.local,
            server: outcome.server,
        };
        // Not asked any more: the answer of an old set of servers.
        let first_of_base = !self.questions.iter().any(|(other, state)| {
            *other != question && other.base == question.base && state.mapped.is_some()
        });
        let state = self.questions.get_mut(&question)?;
        let before = state.mapped;
        state.asked = None;
        match outcome.result {
            Ok(binding) => {
                state.answered = true;
                state.failures = 0;
                state.mapped = Some(binding.mapped);
                // One question keeps the mapping of a socket open.
                state.ask_at = first_of_base.then(|| now + self.keepalive);
            }
            // Behind NAT64 the address is of no use (RFC 8445 section 5.1.1.2 wants that of the base's family), and
            // stays so: there is no mapping to keep open.
            Err(BindingFault::Family) => {
                state.answered = true;
                state.failures = 0;
                state.mapped = None;
            }
            Err(BindingFault::TimedOut | BindingFault::Refused { .. } | BindingFault::Unusable) => {
                state.mapped = None;
                state.ask_at = Some(now + backoff(state.failures).max(self.keepalive));
                state.failures += 1;
            }
        }
        let after = state.mapped;
        if after.is_none() {
            self.keep_open_by_another(question, now);
        }
        Some(Change {
            question,
            mapped: (before != after).then_some((before, after)),
            answered: matches!(outcome.result, Ok(_) | Err(BindingFault::Family)),
        })
    }

    /// The question that kept the mapping of a socket open is not answered any more: another one takes over.
    fn keep_open_by_another(&mut self, silent: Question, now: Instant) {
        let mut others = self.questions.iter_mut();
        let other = others.find(|(other, state)| {
            **other != silent && other.base == silent.base && state.mapped.is_some()
        });
        if let Some((_, state)) = other
            && state.asked.is_none()
        {
            state.ask_at.get_or_insert(now);
        }
    }
}

/// Between two times that all mappings are doubted: many paths that fall silent have one cause.
const DOUBT_PAUSE: Duration = Duration::from_secs(2);
/// Questions at one time: 8 sockets and 8 servers. Further ones are not asked.
const MAX_QUESTIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ice::stun::message::build::{self, Success};
    use crate::rng::Seed;

    /// The fuzz target `gather` found datagrams from a socket that was closed.
    #[test]
    fn a_question_that_is_open_is_not_asked_again_and_nothing_is_left_when_it_is_dropped() {
        let [base, first, second] = ["192.0.2.1:4000", "198.51.100.1:3478", "198.51.100.2:3478"]
            .map(|address| address.parse::<SocketAddr>().expect("an address"));
        let mut now = Instant::now();
        let keepalive = Duration::from_secs(15);
        let mut reflexive = Reflexive::new(keepalive, Rng::new(&Seed::from([7; 32])));
        let questions = [first, second].map(|server| Question { base, server });
        reflexive.set_questions(&questions, now);
        let ask = |reflexive: &mut Reflexive, now| {
            let question = reflexive.begin_request(now).expect("it is due");
            (question.server, reflexive.poll_transmit(now).expect("sent"))
        };
        let success = Success {
            xor_mapped: Some(base),
            ..Success::default()
        };
        for server in [first, second] {
            let (asked, request) = ask(&mut reflexive, now);
            assert_eq!(asked, server);
            let answer = build::success(&request.contents, &success);
            assert!(
                reflexive
                    .handle_datagram(base, server, &answer, now)
                    .is_some()
            );
        }
        // The first refuses, so that the second is asked, and refuses again while the second is silent.
        for round in 0..2 {
            now += keepalive;
            let (asked, request) = ask(&mut reflexive, now);
            assert_eq!(asked, first);
            let answer = build::error(&request.contents, 500);
            reflexive.handle_datagram(base, first, &answer, now);
            if round == 0 {
                assert_eq!(ask(&mut reflexive, now).0, second);
            }
        }
        assert_eq!(reflexive.begin_request(now), None, "it is under way");
        reflexive.set_questions(&[], now);
        assert_eq!(reflexive.poll_transmit(now + keepalive), None);
    }
}
