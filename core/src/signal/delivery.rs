//! Delivery of the messages of one session over a link that loses, repeats, delays and reorders.
//!
//! The sender numbers messages from 1 and repeats each until it is acknowledged ([`Outbox`]); the receiver
//! acknowledges every copy and lets the first through ([`Inbox`]). Order is not restored: everything above handles
//! messages in any order.
//!
//! Nothing is acknowledged unheard: the receiver's window is as wide as the range that a sender may have under way,
//! so a message that is still being repeated is never too old to be told from a duplicate.

use std::time::Instant;

use super::envelope::{Body, ByeReason, Envelope};
use super::retry::{Dispatch, Repeats};
use crate::config::Config;
use crate::event::SignalKind;
use crate::id::{Generation, PeerId, SessionId};
use crate::rng::Rng;
use thiserror::Error;

/// The messages of one session that the peer has not acknowledged yet.
#[derive(Debug)]
pub(crate) struct Outbox {
    us: PeerId,
    peer: PeerId,
    session: SessionId,
    next_seq: u64,
    limit: usize,
    pending: Repeats<u64>,
}

/// A message that the peer acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// What it was.
    pub(crate) kind: SignalKind,
    /// The generation it belonged to.
    pub(crate) generation: Generation,
}

/// Too many messages wait for their acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too many signalling messages wait for their acknowledgement")]
pub(crate) struct OutboxFull;

impl Outbox {
    /// An outbox for `session`, whose first message has the number 1.
    pub(crate) fn new(
        us: PeerId,
        peer: PeerId,
        session: SessionId,
        config: &Config,
        rng: Rng,
    ) -> Self {
        Self {
            us,
            peer,
            session,
            next_seq: 1,
            limit: config.limits().max_unacknowledged_signals,
            pending: Repeats::new(config.timing(), rng),
        }
    }

    /// Queues a message, which is due at once, and gives its number.
    ///
    /// # Errors
    ///
    /// [`OutboxFull`] when the configured number of messages, or a range of [`Inbox::WINDOW`] numbers, is
    /// unacknowledged already. Nothing is queued then.
    pub(crate) fn push(
        &mut self,
        generation: Generation,
        body: Body,
        now: Instant,
    ) -> Result<u64, OutboxFull> {
        let oldest = self.pending.first_key().unwrap_or(self.next_seq);
        if self.pending.len() >= self.limit || self.next_seq - oldest >= Inbox::WINDOW {
            return Err(OutboxFull);
        }
        let envelope = self.number(generation, body);
        let seq = envelope.seq;
        self.pending.insert(seq, envelope, now);
        Ok(seq)
    }

    /// Forgets messages that are superseded: those of a dropped offer, or of an earlier generation.
    pub(crate) fn drop_where(&mut self, superseded: impl FnMut(&Envelope) -> bool) {
        self.pending.remove_where(superseded);
    }

    /// Ends the session: everything unacknowledged is forgotten in favour of the last word, which the caller hands
    /// to [`Farewells`](super::ended::Farewells).
    pub(crate) fn farewell(&mut self, generation: Generation, reason: ByeReason) -> Envelope {
        self.pending.remove_where(|_| true);
        self.number(generation, Body::Bye { reason })
    }

    /// Takes an acknowledgement. `None` when nothing that was sent and is unacknowledged has this number.
    pub(crate) fn on_ack(&mut self, seq: u64) -> Option<Acknowledged> {
        let envelope = self.pending.sent(seq)?;
        let acknowledged = Acknowledged {
            kind: envelope.kind(),
            generation: envelope.generation,
        };
        self.pending.remove(seq);
        Some(acknowledged)
    }

    /// The link is down, or back.
    pub(crate) fn set_held(&mut self, held: bool, now: Instant) {
        self.pending.set_held(held, now);
    }

    /// Whether the link is down.
    pub(crate) fn is_held(&self) -> bool {
        self.pending.is_held()
    }

    /// Gives one message that is due. Call until `None`.
    #[must_use]
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Dispatch<'_>> {
        self.pending.poll(now)
    }

    /// When the next message is due.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.pending.poll_timeout()
    }

    /// How many messages are not acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    fn number(&mut self, generation: Generation, body: Body) -> Envelope {
        let seq = self.next_seq;
        self.next_seq += 1;
        Envelope {
            from: self.us,
            to: self.peer,
            session: self.session,
            generation,
            seq,
            sent_at: None,
            rollover: None,
            body,
        }
    }
}

/// Which numbers of one session have been received: a bitmap over the last [`Inbox::WINDOW`] numbers.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    /// The highest number received; 0 before the first.
    highest: u64,
    /// Bit `n % WINDOW` tells of number `n`, for the `WINDOW` numbers up to `highest`.
    seen: [u64; WORDS],
}

/// What the number of a message says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// It was not received before, or it is unnumbered: acknowledge and handle it.
    Fresh,
    /// It was received before: acknowledge it only.
    Duplicate,
    /// It is older than the window, and so none that an honest sender still repeats: ignore it.
    TooOld,
}

impl Inbox {
    /// How many numbers, counted down from the highest received, are told apart.
    pub(crate) const WINDOW: u64 = 1_024;

    pub(crate) fn new() -> Self {
        Self {
            highest: 0,
            seen: [0; WORDS],
        }
    }

    /// Judges the number of a received message, and remembers it.
    pub(crate) fn accept(&mut self, seq: u64) -> Acceptance {
        if seq == 0 {
            return Acceptance::Fresh;
        }
        if self.highest.saturating_sub(seq) >= Self::WINDOW {
            return Acceptance::TooOld;
        }
        self.slide_to(seq);
        let (word, bit) = self.bit_of(seq);
        let seen = *word & bit != 0;
        *word |= bit;
        if seen && !planted!(SignalTwice) {
            Acceptance::Duplicate
        } else {
            Acceptance::Fresh
        }
    }

    /// Forgets that a message was received, so that its repetition is fresh: for one that was accepted and could
    /// not be kept. It must not be acknowledged then.
    pub(crate) fn retract(&mut self, seq: u64) {
        if seq != 0 && seq <= self.highest && self.highest - seq < Self::WINDOW {
            let (word, bit) = self.bit_of(seq);
            *word &= !bit;
        }
    }

    /// Moves the window up, if `seq` is above it. At most [`Inbox::WINDOW`] steps.
    fn slide_to(&mut self, seq: u64) {
        if seq <= self.highest {
            return;
        }
        // Of a leap, only what is still in the window counts.
        let lowest = seq.saturating_sub(Self::WINDOW - 1).max(self.highest + 1);
        for number in lowest..=seq {
            let (word, bit) = self.bit_of(number);
            *word &= !bit;
        }
        self.highest = seq;
    }

    fn bit_of(&mut self, seq: u64) -> (&mut u64, u64) {
        let at = seq % Self::WINDOW;
        let word = usize::try_from(at / 64).expect("below the number of words");
        (&mut self.seen[word], 1 << (at % 64))
    }
}

/// The words of the bitmap.
const WORDS: usize = 16;
const _: () = assert!(WORDS as u64 * 64 == Inbox::WINDOW);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::rng::{Rng, Seed};

    #[test]
    fn messages_are_numbered_from_one_and_handed_out_in_order() {
        let (mut outbox, now) = (outbox(128), Instant::now());
        assert_eq!(outbox.len(), 0);
        assert_eq!(push(&mut outbox, now), Ok(1));
        assert_eq!(push(&mut outbox, now), Ok(2));
        assert_ne!(outbox.len(), 0);
        let sent = drain(&mut outbox, now);
        assert_eq!(sent, [(1, true), (2, true)]);
        let later = now + Duration::from_secs(1);
        let mut again = drain(&mut outbox, later);
        again.sort_unstable();
        assert_eq!(again, [(1, false), (2, false)]);
    }

    #[test]
    fn an_acknowledged_message_is_not_repeated_and_its_kind_is_told() {
        let (mut outbox, now) = (outbox(128), Instant::now());
        push(&mut outbox, now).expect("room");
        assert_eq!(outbox.on_ack(1), None, "not sent yet");
        drain(&mut outbox, now);
        assert_eq!(outbox.on_ack(2), None, "never existed");
        let expected = Acknowledged {
            kind: SignalKind::IceRestart,
            generation: Generation(4),
        };
        assert_eq!(outbox.on_ack(1), Some(expected));
        assert_eq!(outbox.on_ack(1), None, "a repeated one");
        assert_eq!(outbox.len(), 0);
        assert_eq!(outbox.poll_timeout(), None);
    }

    #[test]
    fn the_configured_number_is_kept_and_one_more_is_refused() {
        let (mut outbox, now) = (outbox(3), Instant::now());
        for seq in 1..=3 {
            assert_eq!(push(&mut outbox, now), Ok(seq));
        }
        assert_eq!(push(&mut outbox, now), Err(OutboxFull));
        drain(&mut outbox, now);
        outbox.on_ack(2).expect("sent");
        assert_eq!(
            push(&mut outbox, now),
            Ok(4),
            "a refused message takes no number"
        );
    }

    #[test]
    fn a_message_that_stays_unacknowledged_holds_back_those_a_window_ahead() {
        let (mut outbox, now) = (outbox(128), Instant::now());
        for seq in 1..=Inbox::WINDOW {
            assert_eq!(push(&mut outbox, now), Ok(seq));
            drain(&mut outbox, now);
            let acknowledged = (seq != 1).then(|| outbox.on_ack(seq));
            assert_ne!(acknowledged, Some(None));
        }
        assert_eq!(push(&mut outbox, now), Err(OutboxFull));
        drain(&mut outbox, now);
        outbox.on_ack(1).expect("sent");
        assert_eq!(push(&mut outbox, now), Ok(Inbox::WINDOW + 1));
    }

    #[test]
    fn superseded_messages_are_forgotten() {
        let (mut outbox, now) = (outbox(128), Instant::now());
        let end = |ufrag: &str| Body::EndOfCandidates {
            ufrag: ufrag.into(),
        };
        outbox.push(Generation(0), end("old"), now).expect("room");
        outbox.push(Generation(1), end("new"), now).expect("room");
        outbox.drop_where(|envelope| envelope.generation < Generation(1));
        assert_eq!(drain(&mut outbox, now), [(2, true)]);
    }

    #[test]
    fn the_farewell_has_the_next_number() {
        let (mut outbox, now) = (outbox(128), Instant::now());
        push(&mut outbox, now).expect("room");
        let farewell = outbox.farewell(Generation(4), ByeReason::Closed);
        assert_eq!((farewell.seq, farewell.generation), (2, Generation(4)));
        assert_eq!(
            farewell.body,
            Body::Bye {
                reason: ByeReason::Closed
            }
        );
    }

    #[test]
    fn a_number_is_fresh_once_and_then_a_duplicate() {
        let mut inbox = Inbox::new();
        for seq in [5, 1, 3, 2, 900, 4] {
            assert_eq!(inbox.accept(seq), Acceptance::Fresh, "{seq}");
        }
        for seq in 1..=5 {
            assert_eq!(inbox.accept(seq), Acceptance::Duplicate, "{seq}");
        }
    }

    #[test]
    fn unnumbered_messages_are_always_fresh_and_leave_no_trace() {
        let mut inbox = Inbox::new();
        assert_eq!(inbox.accept(0), Acceptance::Fresh);
        assert_eq!(inbox.accept(0), Acceptance::Fresh);
        assert_eq!(inbox.accept(Inbox::WINDOW), Acceptance::Fresh);
    }

    #[test]
    fn the_window_ends_exactly_at_its_size() {
        let mut inbox = Inbox::new();
        assert_eq!(inbox.accept(Inbox::WINDOW + 1), Acceptance::Fresh);
        assert_eq!(inbox.accept(1), Acceptance::TooOld);
        assert_eq!(inbox.accept(2), Acceptance::Fresh);
        assert_eq!(inbox.accept(2), Acceptance::Duplicate);
    }

    #[test]
    fn a_leap_to_the_highest_number_forgets_what_fell_out() {
        let mut inbox = Inbox::new();
        assert_eq!(inbox.accept(1), Acceptance::Fresh);
        assert_eq!(inbox.accept(u64::MAX), Acceptance::Fresh);
        assert_eq!(inbox.accept(u64::MAX), Acceptance::Duplicate);
        assert_eq!(inbox.accept(u64::MAX - 1), Acceptance::Fresh);
        assert_eq!(inbox.accept(1), Acceptance::TooOld);
    }

    #[test]
    fn a_retracted_number_is_fresh_again() {
        let mut inbox = Inbox::new();
        for seq in [1, 2] {
            inbox.accept(seq);
        }
        inbox.retract(1);
        inbox.retract(3);
        inbox.retract(0);
        assert_eq!(inbox.accept(1), Acceptance::Fresh);
        assert_eq!(inbox.accept(2), Acceptance::Duplicate);
        assert_eq!(inbox.accept(3), Acceptance::Fresh);
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set_of_all_numbers(
            steps in prop::collection::vec((0..3_000u64, any::<bool>()), 1..400),
        ) {
            let (mut inbox, mut seen, mut highest) = (Inbox::new(), BTreeSet::new(), 0);
            for (seq, far) in steps {
                let seq = 1 + if far { seq * 7 } else { seq };
                let expected = if highest >= seq + Inbox::WINDOW {
                    Acceptance::TooOld
                } else if seen.insert(seq) {
                    Acceptance::Fresh
                } else {
                    Acceptance::Duplicate
                };
                prop_assert_eq!(inbox.accept(seq), expected);
                highest = highest.max(seq);
            }
        }

        /// The link loses, repeats, delays and reorders, and gets better after two minutes; a few messages are
        /// superseded on the way.
        #[test]
        fn every_message_is_accepted_exactly_once_over_any_link(
            seed in any::<[u8; 32]>(),
            count in 1..60u64,
            loss in 0..8u64,
        ) {
            let mut link = Rng::new(&Seed::from(seed));
            let (mut outbox, mut inbox) = (outbox(8), Inbox::new());
            let start = Instant::now();
            let (mut pushed, mut superseded, mut accepted) = (0, BTreeSet::new(), BTreeSet::new());
            let mut flying: Vec<(Instant, Envelope)> = Vec::new();
            for ms in (0..600_000).step_by(20) {
                let now = start + Duration::from_millis(ms);
                let loss = if ms < 120_000 { loss } else { 0 };
                if pushed < count && push(&mut outbox, now).is_ok() {
                    pushed += 1;
                }
                if link.u64().is_multiple_of(64) {
                    outbox.drop_where(|envelope| {
                        envelope.seq.is_multiple_of(5) && superseded.insert(envelope.seq)
                    });
                }
                while let Some(dispatch) = outbox.poll(now) {
                    for _ in 0..link.u64() % 3 {
                        if link.u64() % 10 >= loss {
                            let delay = Duration::from_millis(link.u64() % 3_000);
                            flying.push((now + delay, dispatch.envelope.clone()));
                        }
                    }
                }
                for (_, envelope) in flying.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
                    if let Body::Ack { ack } = envelope.body {
                        outbox.on_ack(ack);
                        continue;
                    }
                    match inbox.accept(envelope.seq) {
                        Acceptance::Fresh => prop_assert!(accepted.insert(envelope.seq)),
                        Acceptance::Duplicate => prop_assert!(accepted.contains(&envelope.seq)),
                        Acceptance::TooOld => prop_assert!(false, "the window is as wide as the range"),
                    }
                    if link.u64() % 10 >= loss {
                        let delay = Duration::from_millis(link.u64() % 3_000);
                        flying.push((now + delay, envelope.ack().expect("numbered")));
                    }
                }
                if pushed == count && outbox.len() == 0 {
                    break;
                }
            }
            prop_assert!(pushed == count && outbox.len() == 0, "all is delivered in the end");
            for seq in 1..=count {
                prop_assert!(accepted.contains(&seq) || superseded.contains(&seq));
            }
        }
    }

    fn outbox(limit: usize) -> Outbox {
        let config = Config::builder()
            .max_unacknowledged_signals(limit)
            .build()
            .expect("valid");
        let id = |name| PeerId::new(name).expect("valid");
        let session = "00".repeat(16).parse().expect("valid");
        Outbox::new(
            id("a"),
            id("b"),
            session,
            &config,
            Rng::new(&Seed::from([5; 32])),
        )
    }

    fn push(outbox: &mut Outbox, now: Instant) -> Result<u64, OutboxFull> {
        outbox.push(Generation(4), Body::IceRestart, now)
    }

    fn drain(outbox: &mut Outbox, now: Instant) -> Vec<(u64, bool)> {
        std::iter::from_fn(|| outbox.poll(now).map(|d| (d.envelope.seq, d.first))).collect()
    }
}
