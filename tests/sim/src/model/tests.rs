use bowline::{Cause, ChannelKind, PeerId};

use super::*;

struct Bench {
    model: Model,
    findings: Findings,
    sent: u64,
}

const A: HostId = 0;
const B: HostId = 1;

impl Bench {
    /// Two hosts that are connected, from the model's point of view.
    fn connected() -> Self {
        let mut bench = Self {
            model: Model::default(),
            findings: Findings::default(),
            sent: 0,
        };
        for ends in [(A, B), (B, A)] {
            bench.birth(ends);
        }
        bench
    }

    fn birth(&mut self, ends: (HostId, HostId)) {
        let peer = id(ends.1);
        let session = "00112233445566778899aabbccddeeff".parse().expect("valid");
        self.tell(ends, Event::Initialised { peer });
        self.state(ends, PeerState::New, PeerState::Connecting);
        let took = std::time::Duration::ZERO;
        let generation = bowline::Generation(0);
        self.tell(
            ends,
            Event::NegotiationDone {
                peer,
                session,
                generation,
                took,
            },
        );
        self.state(ends, PeerState::Connecting, PeerState::Connected);
    }

    fn tell(&mut self, ends: (HostId, HostId), event: Event) {
        self.model.on_event(ends, &event, &mut self.findings);
    }

    fn state(&mut self, ends: (HostId, HostId), from: PeerState, to: PeerState) {
        self.state_by(ends, from, to, Cause::LocalClose);
    }

    fn state_by(&mut self, ends: (HostId, HostId), from: PeerState, to: PeerState, cause: Cause) {
        let at = std::time::Instant::now();
        self.tell(
            ends,
            Event::State {
                peer: id(ends.1),
                from,
                to,
                cause,
                at,
                deadline: None,
                explanation: None,
            },
        );
    }

    fn accept(&mut self, kind: ChannelKind, text: &str) {
        let id = MessageId(self.sent);
        self.sent += 1;
        self.model
            .on_accepted((A, B), kind.id(), id, &text.into(), &mut self.findings);
    }

    fn receive(&mut self, kind: ChannelKind, text: &str) {
        let message = text.into();
        self.tell(
            (B, A),
            Event::Message {
                peer: id(A),
                channel: kind.id(),
                message,
            },
        );
    }

    fn delivered(&mut self, kind: ChannelKind, through: u64) {
        let through = MessageId(through);
        self.tell(
            (A, B),
            Event::Delivered {
                peer: id(B),
                channel: kind.id(),
                through,
            },
        );
    }

    fn failed(&mut self, kind: ChannelKind, first: u64, last: u64, maybe: bool) {
        let (first, last) = (MessageId(first), MessageId(last));
        let channel = kind.id();
        self.tell(
            (A, B),
            Event::NotDelivered {
                peer: id(B),
                channel,
                first,
                last,
                maybe,
            },
        );
    }

    fn broken(&self) -> Vec<Invariant> {
        self.findings
            .violations
            .iter()
            .map(|v| v.invariant)
            .collect()
    }
}

fn id(host: HostId) -> PeerId {
    PeerId::new(["a", "b"][host]).expect("valid")
}

const R: ChannelKind = ChannelKind::Reliable;
const U: ChannelKind = ChannelKind::Unreliable;

#[test]
fn a_run_without_fault_breaks_no_rule() {
    let mut bench = Bench::connected();
    for text in ["one", "two", "three"] {
        bench.accept(R, text);
    }
    bench.receive(R, "one");
    bench.receive(R, "two");
    bench.delivered(R, 1);
    bench.failed(R, 2, 2, true);
    bench.receive(R, "three");
    bench.state((A, B), PeerState::Connected, PeerState::Closed);
    assert_eq!(bench.broken(), []);
}

#[test]
fn a_gap_a_swap_a_repetition_and_a_forgery_on_a_reliable_channel_are_found() {
    for (received, rule) in [
        (&["two"][..], Invariant::Order),
        (&["two", "one"], Invariant::Order),
        (&["one", "one"], Invariant::NoInvention),
        (&["forged"], Invariant::NoInvention),
    ] {
        let mut bench = Bench::connected();
        bench.accept(R, "one");
        bench.accept(R, "two");
        received.iter().for_each(|text| bench.receive(R, text));
        assert_eq!(bench.broken().first(), Some(&rule), "{received:?}");
    }
}

#[test]
fn an_unreliable_message_may_be_lost_or_late_but_not_doubled_nor_come_after_it_was_given_up() {
    let mut bench = Bench::connected();
    for text in ["one", "two", "three"] {
        bench.accept(U, text);
    }
    bench.receive(U, "three");
    bench.receive(U, "one");
    assert_eq!(bench.broken(), []);
    bench.receive(U, "one");
    assert_eq!(bench.broken(), [Invariant::UnreliableBounds]);
    bench.failed(U, 1, 1, false);
    bench.receive(U, "two");
    assert_eq!(bench.broken(), [Invariant::UnreliableBounds; 2]);
}

#[test]
fn a_message_confirmed_before_it_arrived_is_found() {
    let mut bench = Bench::connected();
    bench.accept(R, "one");
    bench.delivered(R, 0);
    assert_eq!(bench.broken(), [Invariant::ExactlyOnceOrTold]);
}

#[test]
fn of_messages_that_are_alike_the_one_that_was_given_up_is_not_taken_for_the_other() {
    let mut bench = Bench::connected();
    bench.accept(R, "");
    bench.failed(R, 0, 0, true);
    bench.accept(R, "");
    bench.receive(R, "");
    bench.delivered(R, 1);
    assert_eq!(bench.broken(), []);
}

#[test]
fn a_message_given_up_for_certain_although_it_arrived_is_found() {
    let mut bench = Bench::connected();
    bench.accept(R, "one");
    bench.receive(R, "one");
    bench.failed(R, 0, 0, false);
    assert_eq!(bench.broken(), [Invariant::ExactlyOnceOrTold]);
}

#[test]
fn two_outcomes_of_one_message_are_found() {
    let mut bench = Bench::connected();
    bench.accept(R, "one");
    bench.receive(R, "one");
    bench.failed(R, 0, 0, true);
    bench.delivered(R, 0);
    assert_eq!(bench.broken(), [Invariant::ExactlyOnceOrTold]);
}

#[test]
fn a_peer_that_ends_without_telling_of_a_message_is_found() {
    let mut bench = Bench::connected();
    bench.accept(R, "one");
    bench.state((A, B), PeerState::Connected, PeerState::Failed);
    assert_eq!(bench.broken(), [Invariant::ExactlyOnceOrTold]);
}

#[test]
fn an_undocumented_transition_and_life_after_the_end_are_found() {
    let mut bench = Bench::connected();
    bench.state((A, B), PeerState::Connected, PeerState::Connecting);
    assert_eq!(bench.broken(), [Invariant::StateMachine]);
    let mut bench = Bench::connected();
    bench.state((A, B), PeerState::Connected, PeerState::Closed);
    bench.state((A, B), PeerState::Closed, PeerState::Failed);
    assert_eq!(bench.broken(), [Invariant::StateMachine]);
}

#[test]
fn a_message_of_an_earlier_session_is_found() {
    let mut bench = Bench::connected();
    bench.accept(R, "one");
    bench.state((B, A), PeerState::Connected, PeerState::Closed);
    bench.tell((B, A), Event::Initialised { peer: id(A) });
    let session = "ffffffffffffffffffffffffffffffff".parse().expect("valid");
    let (generation, took) = (bowline::Generation(0), std::time::Duration::ZERO);
    bench.tell(
        (B, A),
        Event::NegotiationDone {
            peer: id(A),
            session,
            generation,
            took,
        },
    );
    bench.receive(R, "one");
    assert_eq!(bench.broken(), [Invariant::NoInvention]);
}

#[test]
fn a_session_that_is_replaced_while_the_other_side_goes_on_in_it_is_found() {
    let (up, closed) = (PeerState::Connected, PeerState::Closed);
    let mut bench = Bench::connected();
    bench.model.hears_signal = true;
    // Both have closed one before.
    for ends in [(A, B), (B, A)] {
        bench.state(ends, up, closed);
    }
    for ends in [(A, B), (B, A)] {
        bench.birth(ends);
    }
    bench.state_by((A, B), up, closed, Cause::Replaced);
    assert_eq!(bench.broken(), [Invariant::Agreement]);
}

#[test]
fn ends_that_disagree_are_found() {
    let mut bench = Bench::connected();
    bench.model.check_agreement(A, B, &mut bench.findings);
    assert_eq!(bench.broken(), []);
    bench.state((A, B), PeerState::Connected, PeerState::Disconnected);
    bench.model.check_agreement(A, B, &mut bench.findings);
    assert_eq!(bench.broken(), [Invariant::Agreement]);
}
