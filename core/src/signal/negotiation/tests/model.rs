//! Two machines and a link in the hand of an adversary.
//!
//! The link keeps every message that was ever sent. The adversary delivers any of them, at any time, as often as it
//! likes, or never; it lets an acknowledgement through or not. That covers loss, repetition, delay and reordering.
//! What a node has not seen acknowledged it can always send again, so a state in which something is unacknowledged
//! is not the end of a run. A state in which nothing is, and nothing waits for the application, is: there the two
//! sides must agree, because no message will come any more.
//!
//! The sizes below take a fraction of a second. With two restarts wanted on each side of a glare (625,768 states) and
//! with three attempts and two restarts (155,272 states) the same holds.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[test]
fn a_glare_of_two_first_offers_ends_in_one_session_in_every_interleaving() {
    let explored = explore(Model::new([1, 1], [0, 0]));
    assert!(explored.ends > 0 && explored.states > 50, "{explored:?}");
}

#[test]
fn attempts_that_are_given_up_and_started_anew_end_in_one_session_in_every_interleaving() {
    for wants in [[2, 1], [1, 2], [2, 2], [3, 1]] {
        let explored = explore(Model::new(wants, [0, 0]));
        assert!(explored.ends > 0 && explored.states > 100, "{explored:?}");
    }
}

#[test]
fn restarts_of_both_sides_end_in_one_generation_in_every_interleaving() {
    for (wants, restarts) in [([1, 0], [1, 1]), ([0, 1], [2, 1]), ([1, 1], [1, 1])] {
        let explored = explore(Model::new(wants, restarts));
        assert!(explored.ends > 0 && explored.states > 100, "{explored:?}");
    }
}

#[derive(Debug)]
struct Explored {
    states: usize,
    ends: usize,
}

/// Visits every state that the adversary can reach, and checks all of them.
fn explore(start: Model) -> Explored {
    let mut seen = BTreeSet::from([start.clone()]);
    let mut open = vec![start];
    let mut ends = 0;
    while let Some(model) = open.pop() {
        model.check();
        ends += usize::from(model.is_end());
        for step in model.steps() {
            let mut next = model.clone();
            next.take(step);
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    Explored {
        states: seen.len(),
        ends,
    }
}

proptest! {
    /// Longer runs than can be explored, with processes that restart and forget. Then the faults stop, and a ladder
    /// as the owner has one (ask again after an interval, start again when told that the session is unknown) brings
    /// both sides together.
    #[test]
    fn after_any_faults_both_sides_come_together_again(
        choices in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
        forgets in 0..3u8,
    ) {
        let mut model = Model::new([4, 4], [6, 6]);
        model.forgets = [forgets, forgets];
        for choice in choices {
            let steps = model.steps();
            if steps.is_empty() {
                break;
            }
            model.now += Duration::from_millis(700);
            model.take(steps[choice.index(steps.len())].clone());
        }
        model.heal();
        prop_assert!(model.agree(), "{:#?}", model);
        // A process that forgot cannot tell what is replayed of forgotten sessions: see the module documentation.
        if forgets == 0 {
            let healed = model.states();
            for message in model.link.clone() {
                model.deliver(&message, true);
            }
            prop_assert_eq!(model.states(), healed, "what is replayed changes nothing");
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Model {
    now: Instant,
    nodes: [Node; 2],
    /// Every message that was ever sent.
    link: BTreeSet<Message>,
    /// What the adversary may still make the applications and networks do.
    wants: [u8; 2],
    restarts: [u8; 2],
    forgets: [u8; 2],
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    machine: Negotiation,
    /// What is repeated until acknowledged.
    unacknowledged: BTreeSet<Message>,
    /// What the owner believes about its transport.
    transport: Transport,
    /// The number of the last session that this node named.
    named: u128,
}

/// The transport of the owner: which descriptions it has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Transport {
    None,
    LocalOffer(SessionId, Generation),
    Agreed {
        session: SessionId,
        generation: Generation,
        offered: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    to: usize,
    session: SessionId,
    generation: Generation,
    replaces: Vec<SessionId>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Offer,
    Answer,
    Request,
    Unknown,
}

#[derive(Debug, Clone)]
enum Step {
    Want(usize),
    Accept(usize),
    WantRestart(usize),
    Forget(usize),
    Deliver {
        message: Message,
        acknowledged: bool,
    },
}

impl Model {
    fn new(wants: [u8; 2], restarts: [u8; 2]) -> Self {
        let node = |us, peer| Node {
            machine: Negotiation::new(id(us), id(peer), iter::empty()),
            unacknowledged: BTreeSet::new(),
            transport: Transport::None,
            named: 0,
        };
        Self {
            now: Instant::now(),
            nodes: [node("a", "b"), node("b", "a")],
            link: BTreeSet::new(),
            wants,
            restarts,
            forgets: [0, 0],
        }
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for at in 0..2 {
            if self.wants[at] > 0 {
                steps.push(Step::Want(at));
            }
            if matches!(self.nodes[at].machine.state, State::Awaiting { .. }) {
                steps.push(Step::Accept(at));
            }
            if self.restarts[at] > 0 {
                steps.push(Step::WantRestart(at));
            }
            if self.forgets[at] > 0 {
                steps.push(Step::Forget(at));
            }
        }
        for message in &self.link {
            for acknowledged in [false, true] {
                steps.push(Step::Deliver {
                    message: message.clone(),
                    acknowledged,
                });
            }
        }
        steps
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Want(at) => {
                self.wants[at] -= 1;
                self.connect(at);
            }
            Step::Accept(at) => {
                let decision = self.nodes[at].machine.on_accept(self.now);
                self.carry_out(at, decision);
            }
            Step::WantRestart(at) => {
                self.restarts[at] -= 1;
                self.want_restart(at);
            }
            Step::Forget(at) => {
                self.forgets[at] -= 1;
                let name = ["a", "b"];
                let node = &mut self.nodes[at];
                node.machine = Negotiation::new(id(name[at]), id(name[1 - at]), iter::empty());
                node.unacknowledged.clear();
                node.transport = Transport::None;
            }
            Step::Deliver {
                message,
                acknowledged,
            } => self.deliver(&message, acknowledged),
        }
    }

    fn connect(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.named += 1;
        let fresh = session(((at as u128 + 1) << 64) + node.named);
        let decision = node.machine.on_connect(fresh, self.now);
        self.carry_out(at, decision);
    }

    fn want_restart(&mut self, at: usize) {
        let decision = self.nodes[at].machine.on_restart_wanted(self.now);
        self.carry_out(at, decision);
    }

    fn deliver(&mut self, message: &Message, acknowledged: bool) {
        let Message {
            to,
            session,
            generation,
            ref replaces,
            kind,
        } = *message;
        let machine = &mut self.nodes[to].machine;
        let decision = match kind {
            Kind::Offer => machine.handle_offer(session, generation, replaces, self.now),
            Kind::Answer => machine.handle_answer(session, generation, replaces, self.now),
            Kind::Request => machine.handle_restart_request(session, generation, self.now),
            Kind::Unknown => return self.on_unknown(to, session),
        };
        match decision {
            Decision::Ignore(SignalRefusal::UnknownSession) => {
                let kind = Kind::Unknown;
                self.link.insert(Message {
                    to: 1 - to,
                    session,
                    generation,
                    replaces: vec![],
                    kind,
                });
            }
            Decision::Defer => {}
            _ if acknowledged => {
                self.nodes[1 - to].unacknowledged.remove(message);
            }
            _ => {}
        }
        self.carry_out(to, decision);
    }

    /// The peer says that it knows nothing of the session: the owner starts another one.
    fn on_unknown(&mut self, at: usize, session: SessionId) {
        if self.nodes[at].machine.on_bye(session) == Standing::Current {
            self.drop_session(at, Some(session));
            self.connect(at);
        }
    }

    /// Does what the owner does, and checks that its transport can do it.
    fn carry_out(&mut self, at: usize, decision: Decision) {
        let replaces = self.nodes[at].machine.replaces().to_vec();
        let send = |model: &mut Self, kind, session, generation| {
            let named = matches!(kind, Kind::Offer | Kind::Answer);
            let replaces = if named { replaces.clone() } else { vec![] };
            let message = Message {
                to: 1 - at,
                session,
                generation,
                replaces,
                kind,
            };
            model.nodes[at].unacknowledged.insert(message.clone());
            model.link.insert(message);
        };
        match decision {
            Decision::Offer { session, dropped } => {
                self.drop_session(at, dropped);
                assert_eq!(self.nodes[at].transport, Transport::None);
                self.nodes[at].transport = Transport::LocalOffer(session, FIRST);
                send(self, Kind::Offer, session, FIRST);
            }
            Decision::Await { dropped, .. } => self.drop_session(at, dropped),
            Decision::Answer {
                session, dropped, ..
            } => {
                self.drop_session(at, dropped);
                self.agree_on(at, session, FIRST, false);
                send(self, Kind::Answer, session, FIRST);
            }
            Decision::OfferRestart {
                session,
                generation,
            } => {
                self.drop_generations_below(at, generation, true);
                self.nodes[at].transport = Transport::LocalOffer(session, generation);
                send(self, Kind::Offer, session, generation);
            }
            Decision::AskForRestart {
                session,
                generation,
            } => {
                send(self, Kind::Request, session, generation);
            }
            Decision::AnswerRestart {
                session,
                generation,
            } => {
                self.drop_generations_below(at, generation, false);
                self.agree_on(at, session, generation, false);
                send(self, Kind::Answer, session, generation);
            }
            Decision::Complete {
                session,
                generation,
                ..
            } => {
                let offer = Transport::LocalOffer(session, generation);
                assert_eq!(self.nodes[at].transport, offer, "an answer needs its offer");
                self.nodes[at]
                    .unacknowledged
                    .retain(|message| message.kind != Kind::Offer);
                self.agree_on(at, session, generation, true);
            }
            Decision::Refuse { .. } => unreachable!("nobody refuses here"),
            Decision::UnderWay
            | Decision::TooSoon { .. }
            | Decision::Defer
            | Decision::Ignore(_) => {}
        }
    }

    fn agree_on(&mut self, at: usize, session: SessionId, generation: Generation, offered: bool) {
        self.nodes[at].transport = Transport::Agreed {
            session,
            generation,
            offered,
        };
    }

    fn drop_session(&mut self, at: usize, dropped: Option<SessionId>) {
        if let Some(dropped) = dropped {
            self.nodes[at].transport = Transport::None;
            self.nodes[at]
                .unacknowledged
                .retain(|message| message.session != dropped);
        }
    }

    fn drop_generations_below(&mut self, at: usize, generation: Generation, keep_answers: bool) {
        self.nodes[at].unacknowledged.retain(|message| {
            message.generation >= generation || keep_answers && message.kind == Kind::Answer
        });
    }

    /// The faults stop: everything unacknowledged arrives, and what has not come together after an interval is tried
    /// again, as the reconnection ladder does.
    fn heal(&mut self) {
        for round in 0..HEALING_ROUNDS {
            for _ in 0..HEALING_ROUNDS {
                for at in 0..2 {
                    if matches!(self.nodes[at].machine.state, State::Awaiting { .. }) {
                        self.take(Step::Accept(at));
                    }
                    for message in self.nodes[at].unacknowledged.clone() {
                        self.deliver(&message, true);
                        for unknown in self.link.clone() {
                            if unknown.kind == Kind::Unknown && unknown.session == message.session {
                                self.deliver(&unknown, true);
                            }
                        }
                    }
                }
                self.now += RESTART_INTERVAL;
            }
            if self.agree() && self.nodes.iter().all(|node| node.unacknowledged.is_empty()) {
                return;
            }
            match self.nodes[round % 2].machine.state {
                State::Idle | State::Offering { .. } => self.connect(round % 2),
                State::Stable { .. } | State::Restarting { .. } => self.want_restart(round % 2),
                State::Awaiting { .. } => {}
            }
        }
    }

    fn states(&self) -> [State; 2] {
        [self.nodes[0].machine.state, self.nodes[1].machine.state]
    }

    /// Both are in the same generation of the same session, and exactly one of them offered it.
    fn agree(&self) -> bool {
        let agreed = |node: &Node| match (node.machine.state, node.transport) {
            (
                State::Stable {
                    session: s,
                    generation: g,
                },
                Transport::Agreed {
                    session,
                    generation,
                    offered,
                },
            ) if (s, g) == (session, generation) => Some((session, generation, offered)),
            _ => None,
        };
        match (agreed(&self.nodes[0]), agreed(&self.nodes[1])) {
            (Some((s0, g0, offered0)), Some((s1, g1, offered1))) => {
                (s0, g0) == (s1, g1) && offered0 != offered1
            }
            _ => false,
        }
    }

    /// No message will come any more, and nothing waits for an application.
    fn is_end(&self) -> bool {
        let began = !self.link.is_empty();
        began
            && self.nodes.iter().all(|node| {
                node.unacknowledged.is_empty()
                    && !matches!(node.machine.state, State::Awaiting { .. })
            })
    }

    fn check(&self) {
        assert!(
            !self.is_end() || self.agree(),
            "the sides disagree for ever: {self:#?}"
        );
        for node in &self.nodes {
            let machine = &node.machine;
            assert!(machine.past.len() <= PAST_SESSIONS);
            assert!(
                machine
                    .session()
                    .is_none_or(|current| !machine.past.contains(&current))
            );
            let restarting = matches!(machine.state, State::Restarting { .. });
            assert!(!restarting || machine.role == Role::Impolite);
            match (machine.state, node.transport) {
                (State::Idle | State::Awaiting { .. }, Transport::None) => {}
                (State::Offering { session, .. }, Transport::LocalOffer(s, FIRST)) => {
                    assert_eq!(session, s);
                }
                (
                    State::Restarting {
                        session,
                        generation,
                        ..
                    },
                    Transport::LocalOffer(s, g),
                ) => {
                    assert_eq!((session, generation), (s, g));
                }
                (
                    State::Stable {
                        session: s,
                        generation: g,
                    },
                    Transport::Agreed {
                        session,
                        generation,
                        ..
                    },
                ) => assert_eq!((session, generation), (s, g)),
                (state, transport) => panic!("{state:?} with {transport:?}"),
            }
        }
    }
}

/// Enough for a restart, a reply that the session is unknown, a new session and its glare.
const HEALING_ROUNDS: usize = 12;
