//! What one channel has accepted for sending: until it is handed over, and then until its outcome is known.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use super::entry::PeerSide;
use super::frame::MESSAGE_OVERHEAD;
use super::kind::Message;
use crate::id::MessageId;

/// What is kept of a message after it was handed to the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The message, so that it can be sent again on a reopened stream: ordered and reliable, between bowline peers.
    Payload,
    /// Its number, so that its outcome can be told: other reliable channels.
    Number,
    /// Nothing: unreliable channels.
    Nothing,
}

/// The send queue of one channel.
///
/// Messages are numbered from 0. `settled <= sent <= accepted`: those below `settled` have their outcome, those below
/// `sent` were handed over whole, those below `accepted` were accepted.
#[derive(Debug)]
pub(super) struct Queue {
    keep: Keep,
    /// Messages `sent..accepted`.
    unsent: VecDeque<Accepted>,
    /// How much of the first unsent message was handed over.
    offset: usize,
    /// Messages `settled..sent`, with [`Keep::Payload`].
    unacknowledged: VecDeque<Accepted>,
    unsent_bytes: usize,
    /// The cost of `unacknowledged`: payload and overhead.
    retained: usize,
    /// What was handed over in the order of the channel, less what was taken back: payload, and the overhead of each
    /// message whose first frame is among it.
    position: u64,
    settled: u64,
    sent: u64,
    accepted: u64,
    /// How many messages below `settled` the peer does not count as received.
    uncounted: u64,
}

/// A message, and when it was accepted.
#[derive(Debug)]
struct Accepted {
    message: Message,
    at: Instant,
}

impl Queue {
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            keep,
            unsent: VecDeque::new(),
            offset: 0,
            unacknowledged: VecDeque::new(),
            unsent_bytes: 0,
            retained: 0,
            position: 0,
            settled: 0,
            sent: 0,
            accepted: 0,
            uncounted: 0,
        }
    }

    /// Decides what is kept. Nothing is under way.
    pub(super) fn set_keep(&mut self, keep: Keep) {
        debug_assert!(
            self.settled == self.sent && self.offset == 0,
            "the mode is fixed before the first message leaves"
        );
        self.keep = keep;
    }

    pub(super) fn push(&mut self, message: Message, now: Instant) -> MessageId {
        let id = MessageId(self.accepted);
        self.accepted += 1;
        self.unsent_bytes += message.len();
        self.unsent.push_back(Accepted { message, at: now });
        id
    }

    /// The message whose turn it is, and how much of it was handed over.
    pub(super) fn front(&self) -> Option<(&Message, usize)> {
        let front = self.unsent.front()?;
        Some((&front.message, self.offset))
    }

    /// When the oldest message was accepted that is not handed over whole.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.unsent.front().map(|front| front.at)
    }

    /// Records that `bytes` more of the first message were handed over; true when that was its end.
    pub(super) fn advance(&mut self, bytes: usize) -> bool {
        let Some(Accepted { message: front, .. }) = self.unsent.front() else {
            return false;
        };
        let bytes = bytes.min(front.len() - self.offset);
        debug_assert!(
            bytes > 0 || front.is_empty(),
            "every frame but an empty message has payload"
        );
        self.position += (bytes + self.overhead_due()) as u64;
        self.offset += bytes;
        self.unsent_bytes -= bytes;
        if self.offset < front.len() {
            return false;
        }
        self.finish_front();
        true
    }

    /// Gives up the first message, of which nothing may have been handed over and before which everything must be
    /// settled, so that outcomes are told in order.
    pub(super) fn skip(&mut self) -> Option<MessageId> {
        debug_assert!(
            self.offset == 0 && self.settled == self.sent,
            "outcomes are in order"
        );
        let front = self.unsent.pop_front()?;
        self.unsent_bytes -= front.message.len();
        let id = MessageId(self.sent);
        self.sent += 1;
        self.settled = self.sent;
        self.uncounted += 1;
        Some(id)
    }

    /// The peer has `received` messages. Gives the newly settled ones.
    ///
    /// Without order the number does not say which they are, so that they count as delivered when all are there.
    ///
    /// # Errors
    ///
    /// [`NotSent`] when that is more than were sent.
    pub(super) fn confirm(&mut self, received: u64, ordered: bool) -> Result<Range<u64>, NotSent> {
        let through = received.checked_add(self.uncounted).ok_or(NotSent)?;
        if through > self.sent {
            return Err(NotSent);
        }
        let settles = through > self.settled && (ordered || through == self.sent);
        Ok(self.settle(if settles { through } else { self.settled }))
    }

    /// Everything that was handed over has arrived. Gives the newly settled messages.
    pub(super) fn confirm_all(&mut self) -> Range<u64> {
        self.settle(self.sent)
    }

    /// The stream was opened again, and what was under way and has not arrived at the `peer` is lost. Gives the newly
    /// settled messages, and those whose outcome cannot be known because nothing is kept to send again.
    ///
    /// # Errors
    ///
    /// [`NotSent`] when the peer claims more than was sent.
    pub(super) fn rewind(
        &mut self,
        peer: PeerSide,
        ordered: bool,
    ) -> Result<(Range<u64>, Range<u64>), NotSent> {
        let received = if planted!(ResumeFromAcknowledged) {
            0
        } else {
            peer.received
        };
        let skipped = planted!(ResumeSkipsOne) && received + self.uncounted < self.sent;
        let delivered = self.confirm(received + u64::from(skipped), ordered)?;
        let begun = self.handed_over_after_settled();
        self.take_back_front();
        let unknown = match self.keep {
            Keep::Payload => {
                self.take_back_unacknowledged();
                self.sent..self.sent
            }
            Keep::Number => {
                self.uncounted = self.sent.saturating_sub(peer.received);
                self.settle(self.sent)
            }
            Keep::Nothing => self.sent..self.sent,
        };
        if peer.position > self.position {
            return Err(NotSent);
        }
        self.position = peer.position;
        self.resume_front(peer.partial, begun)?;
        Ok((delivered, unknown))
    }

    /// The peer has forgotten all that it received, and counts from 0. What is not handed over whole is kept. Gives the
    /// messages whose outcome cannot be known.
    pub(super) fn start_over(&mut self) -> Range<u64> {
        self.take_back_front();
        let unknown = self.settle(self.sent);
        self.position = 0;
        self.uncounted = self.settled;
        unknown
    }

    /// Ends the queue. Gives the messages that may have arrived, and those that cannot have.
    pub(super) fn end(&mut self) -> (Range<u64>, Range<u64>) {
        let outcomes = (self.settled..self.sent, self.sent..self.accepted);
        self.unsent.clear();
        self.unacknowledged.clear();
        (self.offset, self.unsent_bytes, self.retained) = (0, 0, 0);
        (self.settled, self.sent) = (self.accepted, self.accepted);
        outcomes
    }

    /// The messages that were handed over, as a number.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }

    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    pub(super) fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// What is kept for sending again, in bytes with an allowance for each message.
    pub(super) fn retained(&self) -> usize {
        self.retained
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// What the next frame takes of the credit beside its payload.
    pub(super) fn overhead_due(&self) -> usize {
        if self.offset == 0 {
            MESSAGE_OVERHEAD
        } else {
            0
        }
    }

    /// Whether messages were handed over whose outcome is not known.
    pub(super) fn is_waiting(&self) -> bool {
        self.unsettled() > 0
    }

    /// How many messages were handed over whose outcome is not known.
    pub(super) fn unsettled(&self) -> u64 {
        self.sent - self.settled
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.settled <= self.sent && self.sent <= self.accepted);
        assert_eq!(self.accepted - self.sent, self.unsent.len() as u64);
        let unsent: usize = self.unsent.iter().map(|a| a.message.len()).sum();
        assert_eq!(self.unsent_bytes, unsent - self.offset);
        let retained: usize = self.unacknowledged.iter().map(|a| cost(&a.message)).sum();
        assert_eq!(self.retained, retained);
        if self.keep == Keep::Payload {
            assert_eq!(self.sent - self.settled, self.unacknowledged.len() as u64);
        } else {
            assert!(self.unacknowledged.is_empty());
        }
    }

    fn finish_front(&mut self) {
        self.offset = 0;
        self.sent += 1;
        let Some(accepted) = self.unsent.pop_front() else {
            return;
        };
        match self.keep {
            Keep::Payload => {
                self.retained += cost(&accepted.message);
                self.unacknowledged.push_back(accepted);
            }
            Keep::Number => {}
            Keep::Nothing => self.settled = self.sent,
        }
    }

    /// How much was handed over of the first message without an outcome, where it can be sent again.
    fn handed_over_after_settled(&self) -> usize {
        match (self.keep, self.unacknowledged.front()) {
            (Keep::Payload, Some(accepted)) => accepted.message.len(),
            (Keep::Payload, None) => self.offset,
            (Keep::Number | Keep::Nothing, _) => 0,
        }
    }

    /// Goes on with the first message behind the `partial` bytes that the peer holds, of the `begun` ones that were
    /// handed over.
    fn resume_front(&mut self, partial: u64, begun: usize) -> Result<(), NotSent> {
        let partial = usize::try_from(partial).map_err(|_| NotSent)?;
        let len = self.unsent.front().map_or(0, |next| next.message.len());
        // A peer that has all of a message counts it as received.
        if partial > begun || partial > 0 && partial >= len {
            return Err(NotSent);
        }
        if partial > 0 {
            self.position += (partial + MESSAGE_OVERHEAD) as u64;
            self.unsent_bytes -= partial;
            self.offset = partial;
        }
        Ok(())
    }

    fn take_back_front(&mut self) {
        self.unsent_bytes += self.offset;
        if self.offset > 0 {
            self.position -= (self.offset + MESSAGE_OVERHEAD) as u64;
        }
        self.offset = 0;
    }

    fn take_back_unacknowledged(&mut self) {
        if planted!(ResumeReversed) {
            self.unacknowledged.make_contiguous().reverse();
        }
        while let Some(accepted) = self.unacknowledged.pop_back() {
            self.position -= cost(&accepted.message) as u64;
            self.unsent_bytes += accepted.message.len();
            self.unsent.push_front(accepted);
        }
        self.retained = 0;
        self.sent = self.settled;
    }

    fn settle(&mut self, through: u64) -> Range<u64> {
        let settled = self.settled..through;
        if self.keep == Keep::Payload {
            for Accepted { message, .. } in
                (settled.start..settled.end).filter_map(|_| self.unacknowledged.pop_front())
            {
                self.retained -= cost(&message);
            }
        }
        self.settled = through;
        settled
    }
}

/// A confirmation of messages that were not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotSent;

fn cost(message: &Message) -> usize {
    message.len() + MESSAGE_OVERHEAD
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn queue(keep: Keep, sizes: &[usize]) -> Queue {
        let mut queue = Queue::new(keep);
        for size in sizes {
            queue.push(Message::binary(vec![0; *size]), Instant::now());
        }
        queue
    }

    fn peer(received: u64, position: u64, partial: u64) -> PeerSide {
        PeerSide {
            epoch: 1,
            received,
            position,
            partial,
        }
    }

    #[test]
    fn messages_are_numbered_without_gaps_and_handed_over_in_parts() {
        let mut queue = queue(Keep::Payload, &[10, 0, 5]);
        assert_eq!(
            queue.push(Message::binary(vec![1]), Instant::now()),
            MessageId(3)
        );
        assert!(!queue.advance(4));
        assert_eq!(
            queue
                .front()
                .map(|(message, offset)| (message.len(), offset)),
            Some((10, 4))
        );
        assert!(queue.advance(6));
        assert!(queue.advance(0), "an empty message ends at once");
        assert_eq!(
            (queue.sent(), queue.unsent_bytes(), queue.position()),
            (2, 6, 10 + 2 * 64)
        );
        queue.check_invariants();
    }

    #[test]
    fn a_confirmation_of_what_was_not_sent_is_refused() {
        let mut queue = queue(Keep::Payload, &[1, 1]);
        queue.advance(1);
        assert_eq!(queue.confirm(2, true), Err(NotSent));
        assert_eq!(queue.confirm(u64::MAX, true), Err(NotSent));
        assert_eq!(queue.confirm(1, true), Ok(0..1));
        assert_eq!(queue.confirm(1, true), Ok(1..1), "once");
        assert_eq!(
            queue.confirm(0, true),
            Ok(1..1),
            "an old one changes nothing"
        );
        queue.check_invariants();
    }

    #[test]
    fn without_order_messages_are_settled_only_when_all_that_were_sent_are_there() {
        let mut queue = queue(Keep::Number, &[1, 1, 1]);
        queue.advance(1);
        queue.advance(1);
        assert_eq!(queue.confirm(1, false), Ok(0..0));
        assert_eq!(queue.confirm(2, false), Ok(0..2));
        queue.check_invariants();
    }

    #[test]
    fn a_rewound_queue_sends_again_from_the_first_message_without_an_outcome() {
        let mut queue = queue(Keep::Payload, &[10, 20, 30, 40]);
        (0..3).for_each(|i| assert!(queue.advance((i + 1) * 10)));
        queue.advance(7);
        assert_eq!(queue.rewind(peer(1, 10 + 64, 0), true), Ok((0..1, 1..1)));
        assert_eq!(
            queue
                .front()
                .map(|(message, offset)| (message.len(), offset)),
            Some((20, 0))
        );
        assert_eq!(
            (queue.sent(), queue.position(), queue.unsent_bytes()),
            (1, 10 + 64, 90)
        );
        assert_eq!(queue.retained(), 0);
        queue.check_invariants();
    }

    #[test]
    fn a_rewound_queue_without_payload_tells_what_is_unknown_and_counts_on() {
        let mut queue = queue(Keep::Number, &[1, 1, 1]);
        queue.advance(1);
        queue.advance(1);
        // The peer has one of the two; which one cannot be told.
        assert_eq!(queue.rewind(peer(1, 1 + 64, 0), false), Ok((0..0, 0..2)));
        assert_eq!(queue.position(), 1 + 64, "what was lost takes no credit");
        queue.advance(1);
        assert_eq!(queue.confirm(1, false), Ok(2..2));
        assert_eq!(queue.confirm(2, false), Ok(2..3));
        queue.check_invariants();
    }

    #[test]
    fn a_rewound_queue_refuses_a_position_that_it_has_not_reached() {
        let mut queue = queue(Keep::Number, &[1, 1]);
        queue.advance(1);
        assert_eq!(queue.rewind(peer(1, 66, 0), false), Err(NotSent));
    }

    #[test]
    fn a_message_of_which_the_peer_holds_some_goes_on_with_the_next_byte() {
        // It was handed over whole, or in part.
        for handed_over in [5_000, 3_000] {
            let mut queue = queue(Keep::Payload, &[10, 5_000, 20]);
            queue.advance(10);
            queue.advance(handed_over);
            let held = peer(1, 10 + 64, 3_000);
            assert_eq!(queue.rewind(held, true), Ok((0..1, 1..1)));
            let (_, offset) = queue.front().expect("unfinished");
            assert_eq!((offset, queue.unsent_bytes()), (3_000, 2_020));
            assert_eq!(queue.position(), 10 + 64 + 3_000 + 64);
            queue.check_invariants();
            assert!(queue.advance(2_000));
            assert_eq!(queue.position(), 10 + 64 + 5_000 + 64, "charged once");
            queue.check_invariants();
        }
    }

    #[test]
    fn a_peer_that_holds_more_of_a_message_than_was_sent_of_it_is_refused() {
        let rewind = |handed_over, partial| {
            let mut queue = queue(Keep::Payload, &[5_000]);
            queue.advance(handed_over);
            queue.rewind(peer(0, 0, partial), true)
        };
        assert!(rewind(3_000, 3_000).is_ok());
        assert_eq!(rewind(3_000, 3_001), Err(NotSent));
        assert!(rewind(5_000, 4_999).is_ok());
        assert_eq!(rewind(5_000, 5_000), Err(NotSent), "it would be whole");
        assert_eq!(rewind(5_000, u64::MAX), Err(NotSent));
        let mut nothing = queue(Keep::Payload, &[]);
        assert_eq!(nothing.rewind(peer(0, 0, 1), true), Err(NotSent));
        let mut whole = queue(Keep::Number, &[10]);
        whole.advance(10);
        assert_eq!(whole.rewind(peer(0, 0, 1), true), Err(NotSent));
    }

    #[test]
    fn a_queue_that_starts_over_tells_what_was_handed_over_and_counts_from_0_on_the_wire() {
        for keep in [Keep::Payload, Keep::Number] {
            let mut queue = queue(keep, &[1, 1, 5_000]);
            queue.advance(1);
            queue.advance(1);
            assert_eq!(queue.confirm(1, true), Ok(0..1));
            queue.advance(3_000);
            assert_eq!(queue.start_over(), 1..2);
            queue.check_invariants();
            let front = queue
                .front()
                .map(|(message, offset)| (message.len(), offset));
            assert_eq!(front, Some((5_000, 0)), "from its beginning");
            assert_eq!((queue.position(), queue.unsent_bytes()), (0, 5_000));
            queue.advance(5_000);
            assert_eq!(queue.confirm(2, true), Err(NotSent));
            assert_eq!(queue.confirm(1, true), Ok(2..3));
            queue.check_invariants();
        }
    }

    #[test]
    fn the_oldest_message_is_the_first_that_is_not_handed_over_whole() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut queue = queue(Keep::Payload, &[]);
        assert_eq!(queue.oldest(), None);
        for second in 0..3 {
            queue.push(Message::binary(vec![0; 10]), at(second));
        }
        queue.advance(4);
        assert_eq!(queue.oldest(), Some(at(0)));
        queue.advance(6);
        assert_eq!((queue.oldest(), queue.unsettled()), (Some(at(1)), 1));
        queue.advance(10);
        assert_eq!((queue.oldest(), queue.unsettled()), (Some(at(2)), 2));
        queue.rewind(peer(1, 10 + 64, 0), true).expect("was sent");
        assert_eq!((queue.oldest(), queue.unsettled()), (Some(at(1)), 0));
        queue.end();
        assert_eq!(queue.oldest(), None);
    }

    #[test]
    fn a_message_takes_no_more_memory_than_its_overhead_says() {
        assert!(size_of::<Accepted>() <= MESSAGE_OVERHEAD);
    }

    #[test]
    fn an_ended_queue_gives_every_open_outcome_once() {
        let mut queue = queue(Keep::Payload, &[1, 1, 10, 1]);
        queue.advance(1);
        queue.advance(1);
        queue.advance(5);
        assert_eq!(queue.confirm(1, true), Ok(0..1));
        assert_eq!(queue.end(), (1..2, 2..4));
        assert_eq!(queue.end(), (4..4, 4..4));
        queue.check_invariants();
    }

    #[test]
    fn a_skipped_message_shifts_what_the_peer_counts() {
        let mut queue = queue(Keep::Number, &[1, 0, 1]);
        queue.advance(1);
        assert_eq!(queue.confirm(1, true), Ok(0..1));
        assert_eq!(queue.skip(), Some(MessageId(1)));
        queue.advance(1);
        assert_eq!(queue.confirm(2, true), Ok(2..3));
        queue.check_invariants();
    }
}
