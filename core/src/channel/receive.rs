//! What comes in on one channel: reassembly, the room it may take, and what is owed to the sender for it.
//!
//! A message takes its payload and [`MESSAGE_OVERHEAD`] of the window, so that no number of empty or tiny messages
//! exceeds it. Both sides charge the overhead with the first frame, and releasing the message gives back both.
//!
//! A reliable channel between bowline peers works on credit. The sender may send `announced` bytes, so counted, since
//! the beginning, at first [`INITIAL_CREDIT`]; what the application releases is announced again, half a window at a
//! time.
//! A message that is larger than the window must complete all the same, so the bytes of an unfinished message are
//! announced again as they arrive. What is held is then at most one window and one message:
//! [`ChannelLimits::max_message_size`](crate::config::ChannelLimits) bounds it, and the length is known at its start.
//!
//! An unreliable channel has no credit: a message that finds the window full is dropped and counted, as the network
//! could have dropped it. A foreign peer knows no credit, only SCTP's window, which is one for all of its channels: the
//! reliable one with the least [`Room`] decides what it is told. What is under way then, and what it asks with whether
//! there is room again, is taken up to [`UNDER_WAY`]; from there on the transport lets nothing in.

use bytes::Bytes;

use super::frame::{FRAGMENT_MIN, Header, MESSAGE_OVERHEAD, Part, UNSAID_MESSAGE_MAX, WHOLE_MAX};
use super::kind::Message;
use crate::event::PeerFault;

/// What happens when the sender goes on although the application does not consume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overflow {
    /// The sender knows its credit: it is at fault.
    Fault,
    /// The message is dropped.
    Drop,
    /// The transport holds the peer back.
    HoldBack,
}

/// The receiving half of one channel.
#[derive(Debug)]
pub(super) struct Receiver {
    overflow: Overflow,
    /// Whether messages come in several frames.
    fragments: bool,
    window: usize,
    max_message_size: usize,
    partial: Option<Partial>,
    /// Messages received whole.
    received: u64,
    /// Their payload bytes.
    received_bytes: u64,
    /// What was received of peers that have forgotten it: those messages, and their payload bytes.
    forgotten: (u64, u64),
    /// What was given to the application and not released: payload and overhead.
    held: usize,
    dropped: u64,
    announced: u64,
    acknowledged: u64,
    unacknowledged_bytes: usize,
}

#[derive(Debug)]
struct Partial {
    data: Vec<u8>,
    total: usize,
    binary: bool,
}

impl Partial {
    /// What it takes of the credit.
    fn cost(&self) -> usize {
        self.data.len() + MESSAGE_OVERHEAD
    }
}

/// What a foreign peer may still send. Ordered by what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Room {
    /// Bytes of the window that are left.
    pub(crate) left: usize,
    /// Bytes that may come although none are left.
    pub(crate) spare: usize,
    /// How many more there must be than it was told, to be worth telling.
    pub(crate) step: usize,
}

impl Receiver {
    pub(super) fn new(window: usize, max_message_size: usize) -> Self {
        Self {
            overflow: Overflow::Drop,
            fragments: false,
            window: window.max(INITIAL_CREDIT),
            max_message_size: max_message_size.max(UNSAID_MESSAGE_MAX),
            partial: None,
            received: 0,
            received_bytes: 0,
            forgotten: (0, 0),
            held: 0,
            dropped: 0,
            announced: INITIAL_CREDIT as u64,
            acknowledged: 0,
            unacknowledged_bytes: 0,
        }
    }

    /// Decides how the sender behaves. Nothing was received from it before.
    pub(super) fn set_mode(&mut self, overflow: Overflow, fragments: bool) {
        self.overflow = overflow;
        self.fragments = fragments;
    }

    /// Takes a frame of a bowline peer: `payload` followed `header`. Gives the message that it completes.
    ///
    /// # Errors
    ///
    /// The rule, the limit or the credit that the frame breaks.
    pub(super) fn on_frame(
        &mut self,
        header: Header,
        payload: Bytes,
        binary: bool,
    ) -> Result<Option<Message>, PeerFault> {
        let begins = matches!(header.part, Part::Whole | Part::First { .. });
        let overhead = if begins { MESSAGE_OVERHEAD } else { 0 };
        let cost = payload.len() + overhead;
        let charged = self.position() + cost as u64;
        let held = self.held + self.partial.as_ref().map_or(0, Partial::cost) + cost;
        let is_too_much = charged > self.announced || held > self.held_max();
        if self.overflow == Overflow::Fault && is_too_much {
            return Err(PeerFault::WindowExceeded);
        }
        let ends = matches!(header.part, Part::Whole | Part::Last);
        if header.part != Part::Whole && !self.fragments {
            return Err(PeerFault::Frame);
        }
        if !ends && payload.len() < FRAGMENT_MIN {
            return Err(PeerFault::TinyFragments);
        }
        match header.part {
            Part::Whole => self.on_whole(payload, binary),
            Part::First { total } => self.on_first(total, &payload, binary).map(|()| None),
            Part::Middle | Part::Last => self.on_next(&payload, binary, ends),
        }
    }

    /// Takes a message as a foreign peer sends it: whole. Gives it back unless it is dropped.
    pub(super) fn on_message(&mut self, data: Bytes, binary: bool) -> Option<Message> {
        self.deliver(data, binary)
    }

    /// The application consumed a message of `bytes`. More than it holds counts for nothing.
    pub(super) fn release(&mut self, bytes: usize) {
        let cost = bytes.saturating_add(MESSAGE_OVERHEAD);
        self.held = self.held.saturating_sub(cost);
    }

    /// The peer has forgotten all that it sent. What the application holds still counts.
    pub(super) fn start_over(&mut self) {
        self.partial = None;
        self.forgotten = (self.received, self.received_bytes);
        self.announced = INITIAL_CREDIT as u64;
        self.acknowledged = self.received;
        self.unacknowledged_bytes = 0;
    }

    /// What a foreign peer may still send here. `None` when nothing limits it, or something else does.
    pub(super) fn room(&self) -> Option<Room> {
        (self.overflow == Overflow::HoldBack).then(|| Room {
            left: self.window.saturating_sub(self.held),
            spare: (self.window.saturating_add(UNDER_WAY)).saturating_sub(self.held),
            step: self.window / 4,
        })
    }

    /// Forgets the unfinished message: what began it does not go on.
    pub(super) fn drop_partial(&mut self) {
        self.partial = None;
    }

    /// The credit to announce now, when it is worth a frame.
    pub(super) fn credit_due(&self) -> Option<u64> {
        if self.overflow != Overflow::Fault {
            return None;
        }
        let allowed = self.allowed();
        let gain = allowed.saturating_sub(self.announced);
        // A sender of whole messages may be stuck with less credit than the message needs.
        let most = (WHOLE_MAX + MESSAGE_OVERHEAD) as u64;
        let may_be_stuck = !self.fragments && self.announced - self.position() < most && gain > 0;
        (gain >= self.window as u64 / 2 || may_be_stuck).then_some(allowed)
    }

    /// The credit that was announced last, when it is to be repeated.
    pub(super) fn announced(&self, repeat: bool) -> Option<u64> {
        (repeat && self.overflow == Overflow::Fault).then_some(self.announced)
    }

    /// Records that `credit` was announced.
    pub(super) fn on_credit_announced(&mut self, credit: u64) {
        self.announced = self.announced.max(credit);
    }

    /// The number of messages to acknowledge, when it changed or is to be repeated.
    pub(super) fn unacknowledged(&self, repeat: bool) -> Option<u64> {
        let owed = repeat || self.received > self.acknowledged;
        (owed && self.overflow == Overflow::Fault).then_some(self.received())
    }

    /// Whether the acknowledgement should not wait for its timer.
    pub(super) fn is_acknowledgement_due(&self) -> bool {
        self.received - self.acknowledged >= ACK_MESSAGES || self.unacknowledged_bytes >= ACK_BYTES
    }

    /// Records that everything received was acknowledged.
    pub(super) fn on_acknowledged(&mut self) {
        self.acknowledged = self.received;
        self.unacknowledged_bytes = 0;
    }

    /// Whether a message is unfinished.
    pub(super) fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// The bytes of the unfinished message that are there.
    pub(super) fn partial(&self) -> u64 {
        self.partial.as_ref().map_or(0, |partial| {
            partial.data.len() as u64 - u64::from(planted!(PartialOneShort))
        })
    }

    /// Messages received whole, as the peer counts them.
    pub(super) fn received(&self) -> u64 {
        self.received - self.forgotten.0
    }

    /// What those messages took of the credit: payload and overhead.
    pub(super) fn finished(&self) -> u64 {
        let bytes = self.received_bytes - self.forgotten.1;
        bytes + self.received() * MESSAGE_OVERHEAD as u64
    }

    /// All messages received whole.
    pub(super) fn messages(&self) -> u64 {
        self.received
    }

    /// Their payload bytes.
    pub(super) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Messages that found the window full.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.acknowledged <= self.received);
        let all = self.received_bytes + self.received * MESSAGE_OVERHEAD as u64;
        assert!(self.held as u64 <= all);
        if self.overflow == Overflow::Fault {
            assert!(self.position() <= self.announced, "the credit is kept");
            assert!(self.held <= self.held_max());
        }
        if let Some(partial) = &self.partial {
            assert!(partial.data.len() < partial.total && partial.total <= self.max_message_size);
            assert!(
                partial.data.capacity() <= 2 * partial.data.len(),
                "memory follows what arrived"
            );
        }
    }

    fn on_whole(&mut self, payload: Bytes, binary: bool) -> Result<Option<Message>, PeerFault> {
        if self.partial.is_some() {
            return Err(PeerFault::Frame);
        }
        if payload.len() > self.max_message_size {
            return Err(PeerFault::MessageTooLarge);
        }
        Ok(self.deliver(payload, binary))
    }

    fn on_first(&mut self, total: u32, payload: &[u8], binary: bool) -> Result<(), PeerFault> {
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        if self.partial.is_some() || payload.len() >= total {
            return Err(PeerFault::Frame);
        }
        if total > self.max_message_size {
            return Err(PeerFault::MessageTooLarge);
        }
        self.partial = Some(Partial {
            data: payload.to_vec(),
            total,
            binary,
        });
        Ok(())
    }

    fn on_next(
        &mut self,
        payload: &[u8],
        binary: bool,
        ends: bool,
    ) -> Result<Option<Message>, PeerFault> {
        let Some(partial) = &mut self.partial else {
            return Err(PeerFault::Frame);
        };
        let len = partial.data.len() + payload.len();
        let fits = if ends {
            len == partial.total
        } else {
            len < partial.total
        };
        if !fits || payload.is_empty() || partial.binary != binary {
            return Err(PeerFault::Frame);
        }
        partial.data.extend_from_slice(payload);
        if !ends {
            return Ok(None);
        }
        let data = self
            .partial
            .take()
            .map(|partial| partial.data)
            .unwrap_or_default();
        Ok(self.deliver(Bytes::from(data), binary))
    }

    fn deliver(&mut self, data: Bytes, binary: bool) -> Option<Message> {
        // A single message always fits, however small the window.
        let cost = data.len() + MESSAGE_OVERHEAD;
        let full = self.held > 0 && self.held + cost > self.window;
        if full && self.overflow == Overflow::Drop {
            self.dropped += 1;
            return None;
        }
        self.received += 1;
        self.received_bytes += data.len() as u64;
        self.held += cost;
        self.unacknowledged_bytes += data.len();
        Some(Message {
            data,
            text: !binary,
        })
    }

    /// What came, an unfinished message included: payload and overhead.
    fn position(&self) -> u64 {
        let unfinished = self.partial.as_ref().map_or(0, Partial::cost);
        self.finished() + unfinished as u64
    }

    fn allowed(&self) -> u64 {
        (self.position() + self.window as u64).saturating_sub(self.held as u64)
    }

    /// What an application that does not consume holds at most: what one peer can send it within its credit, and the
    /// first credit of as many that came back without their memory.
    fn held_max(&self) -> usize {
        let message = self.max_message_size.saturating_add(MESSAGE_OVERHEAD);
        let one = self.window.saturating_add(message);
        one.saturating_add(RETURNS_HELD * INITIAL_CREDIT)
    }
}

/// What a sender may send on a channel before it hears of more: enough for one message in a single frame. A smaller
/// `receive_window` counts as this much.
pub(super) const INITIAL_CREDIT: usize = WHOLE_MAX + 1 + MESSAGE_OVERHEAD;
/// So often a peer may come back without its memory and send all that it may at first, to an application that releases
/// nothing. One that goes on after that is at fault: nothing else would bound what is held.
pub(super) const RETURNS_HELD: usize = 8;
/// What a foreign peer may send to a window that is full, as it is counted here: 1 MiB, for which SCTP has room, and
/// [`MESSAGE_OVERHEAD`] for each of the 16,384 chunks that may be ahead.
pub(super) const UNDER_WAY: usize = 2 * 1024 * 1024;
/// So many messages are acknowledged at once.
pub(super) const ACK_MESSAGES: u64 = 32;
/// So many payload bytes are acknowledged at once.
pub(super) const ACK_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::{LONG, assert_linear};

    const WINDOW: usize = 256 * 1024;
    const MAX: usize = 1024 * 1024;

    #[test]
    fn work_is_linear_in_the_length_of_a_message_of_the_smallest_fragments() {
        let pieces = |len: usize| {
            let piece = Bytes::from(vec![7; FRAGMENT_MIN]);
            vec![piece; len / FRAGMENT_MIN]
        };
        assert_linear("fragments", LONG, pieces, |pieces| {
            let mut receiver = Receiver::new(WINDOW, MAX);
            receiver.set_mode(Overflow::Drop, true);
            let total = u32::try_from(pieces.len() * FRAGMENT_MIN).expect("short");
            let last = pieces.len() - 1;
            let mut got = None;
            for (n, piece) in pieces.iter().enumerate() {
                let part = match n {
                    0 => Part::First { total },
                    n if n == last => Part::Last,
                    _ => Part::Middle,
                };
                let header = Header { epoch: 0, part };
                got = receiver
                    .on_frame(header, piece.clone(), true)
                    .expect("well-formed");
            }
            assert!(got.is_some());
        });
    }

    fn receiver(overflow: Overflow, fragments: bool) -> Receiver {
        let mut receiver = Receiver::new(WINDOW, MAX);
        receiver.set_mode(overflow, fragments);
        receiver
    }

    fn frame(
        receiver: &mut Receiver,
        part: Part,
        len: usize,
    ) -> Result<Option<Message>, PeerFault> {
        let result = receiver.on_frame(Header { epoch: 0, part }, vec![7; len].into(), true);
        if result.is_ok() {
            receiver.check_invariants();
        }
        result
    }

    #[test]
    fn fragments_become_one_message() {
        let mut r = receiver(Overflow::Fault, true);
        assert_eq!(frame(&mut r, Part::First { total: 5_000 }, 2_000), Ok(None));
        assert_eq!(frame(&mut r, Part::Middle, 2_000), Ok(None));
        let message = frame(&mut r, Part::Last, 1_000)
            .expect("valid")
            .expect("complete");
        assert_eq!(message, Message::binary(vec![7; 5_000]));
        assert_eq!(r.received(), 1);
    }

    #[test]
    fn fragments_that_do_not_fit_together_are_faults() {
        let broken = || {
            let mut r = receiver(Overflow::Fault, true);
            assert_eq!(frame(&mut r, Part::First { total: 5_000 }, 2_000), Ok(None));
            r
        };
        assert_eq!(
            frame(&mut broken(), Part::Last, 2_999),
            Err(PeerFault::Frame)
        );
        assert_eq!(
            frame(&mut broken(), Part::Last, 3_001),
            Err(PeerFault::Frame)
        );
        assert_eq!(
            frame(&mut broken(), Part::Middle, 3_000),
            Err(PeerFault::Frame)
        );
        assert_eq!(frame(&mut broken(), Part::Whole, 10), Err(PeerFault::Frame));
        assert_eq!(
            frame(&mut broken(), Part::First { total: 9_000 }, 2_000),
            Err(PeerFault::Frame)
        );
        let header = Header {
            epoch: 0,
            part: Part::Last,
        };
        let text = broken().on_frame(header, vec![7; 3_000].into(), false);
        assert_eq!(
            text,
            Err(PeerFault::Frame),
            "binary and text in one message"
        );
        let mut r = receiver(Overflow::Fault, true);
        assert_eq!(frame(&mut r, Part::Last, 10), Err(PeerFault::Frame));
        assert_eq!(
            frame(&mut r, Part::First { total: 2_000 }, 2_000),
            Err(PeerFault::Frame)
        );
        let mut whole = receiver(Overflow::Drop, false);
        assert_eq!(
            frame(&mut whole, Part::First { total: 5_000 }, 2_000),
            Err(PeerFault::Frame)
        );
    }

    #[test]
    fn a_fragment_below_the_least_size_is_a_fault_unless_it_is_the_last() {
        let first = Part::First { total: 2_048 };
        let mut r = receiver(Overflow::Fault, true);
        assert_eq!(
            frame(&mut r, first, FRAGMENT_MIN - 1),
            Err(PeerFault::TinyFragments)
        );
        assert_eq!(frame(&mut r, first, FRAGMENT_MIN), Ok(None));
        assert_eq!(
            frame(&mut r, Part::Middle, FRAGMENT_MIN - 1),
            Err(PeerFault::TinyFragments)
        );
        assert_eq!(
            frame(&mut r, Part::Middle, FRAGMENT_MIN - 1),
            Err(PeerFault::TinyFragments)
        );
    }

    #[test]
    fn the_length_of_a_message_is_checked_at_its_start() {
        let total = |total: usize| Part::First {
            total: u32::try_from(total).expect("small"),
        };
        let mut r = receiver(Overflow::Fault, true);
        assert_eq!(
            frame(&mut r, total(MAX + 1), FRAGMENT_MIN),
            Err(PeerFault::MessageTooLarge)
        );
        assert_eq!(frame(&mut r, total(MAX), FRAGMENT_MIN), Ok(None));
    }

    #[test]
    fn credit_is_kept_to_the_byte() {
        let mut r = receiver(Overflow::Fault, true);
        assert!(frame(&mut r, Part::Whole, INITIAL_CREDIT - MESSAGE_OVERHEAD).is_ok());
        assert_eq!(
            frame(&mut r, Part::Whole, 0),
            Err(PeerFault::WindowExceeded),
            "an empty message costs its overhead"
        );
        r.on_credit_announced((INITIAL_CREDIT + MESSAGE_OVERHEAD) as u64);
        assert_eq!(
            frame(&mut r, Part::Whole, 1),
            Err(PeerFault::WindowExceeded)
        );
        assert!(frame(&mut r, Part::Whole, 0).is_ok());
        assert_eq!(
            frame(&mut r, Part::Whole, 0),
            Err(PeerFault::WindowExceeded)
        );
    }

    #[test]
    fn a_message_in_fragments_is_charged_its_overhead_once_and_at_its_start() {
        let mut r = receiver(Overflow::Fault, true);
        r.on_credit_announced((50_000 + MESSAGE_OVERHEAD) as u64);
        let charged = INITIAL_CREDIT - MESSAGE_OVERHEAD - 50_000;
        assert!(frame(&mut r, Part::Whole, charged - MESSAGE_OVERHEAD).is_ok());
        assert_eq!(
            frame(&mut r, Part::First { total: 50_000 }, 49_000),
            Ok(None)
        );
        assert_eq!(r.position(), (INITIAL_CREDIT - 1_000) as u64);
        assert!(matches!(frame(&mut r, Part::Last, 1_000), Ok(Some(_))));
        assert_eq!(r.position(), INITIAL_CREDIT as u64);
        assert_eq!(r.finished(), r.position());
    }

    #[test]
    fn released_bytes_are_announced_half_a_window_at_a_time() {
        let mut r = receiver(Overflow::Fault, true);
        let window = WINDOW as u64;
        assert_eq!(
            r.credit_due(),
            Some(window),
            "the first raises the initial credit"
        );
        r.on_credit_announced(window);
        let len = WINDOW / 4 - MESSAGE_OVERHEAD;
        for _ in 0..4 {
            assert!(frame(&mut r, Part::Whole, len).is_ok());
        }
        r.release(len);
        r.release(len - 1);
        assert_eq!(r.credit_due(), None);
        r.release(len + 1);
        assert_eq!(r.credit_due(), Some(window + 3 * window / 4));
        r.release(usize::MAX);
        assert_eq!(
            r.credit_due(),
            Some(2 * window),
            "more than is held counts for nothing"
        );
    }

    #[test]
    fn a_message_larger_than_the_window_completes() {
        let mut r = receiver(Overflow::Fault, true);
        let mut left = MAX;
        while left > 0 {
            if let Some(credit) = r.credit_due() {
                r.on_credit_announced(credit);
            }
            let part = match left {
                MAX => Part::First { total: 1_048_576 },
                ..=16_384 => Part::Last,
                _ => Part::Middle,
            };
            let len = left.min(16_384);
            assert!(frame(&mut r, part, len).is_ok(), "{left} bytes are left");
            left -= len;
        }
        assert_eq!(r.received(), 1);
        // It is held now, and nothing more is granted until it is released.
        assert_eq!(r.credit_due(), None);
        r.release(MAX);
        let most = MAX + MESSAGE_OVERHEAD + WINDOW;
        assert_eq!(r.credit_due(), Some(most as u64));
    }

    #[test]
    fn a_sender_of_whole_messages_is_never_left_with_too_little_credit() {
        let mut r = Receiver::new(1, 1);
        r.set_mode(Overflow::Fault, false);
        for len in [20_000, WHOLE_MAX, 0, WHOLE_MAX, 1] {
            assert!(frame(&mut r, Part::Whole, len).is_ok());
            r.release(len);
            let credit = r
                .credit_due()
                .expect("less than the largest message is left");
            r.on_credit_announced(credit);
        }
    }

    #[test]
    fn without_credit_a_message_beyond_the_window_is_dropped() {
        let mut r = receiver(Overflow::Drop, false);
        let most = WINDOW / MESSAGE_OVERHEAD;
        for _ in 0..most {
            assert!(matches!(frame(&mut r, Part::Whole, 0), Ok(Some(_))));
        }
        assert_eq!(frame(&mut r, Part::Whole, 0), Ok(None));
        assert_eq!((r.received(), r.dropped()), (most as u64, 1));
        r.release(0);
        assert!(matches!(frame(&mut r, Part::Whole, 0), Ok(Some(_))));
    }

    #[test]
    fn a_foreign_peer_has_room_for_the_window_and_spares_what_is_under_way() {
        let mut r = receiver(Overflow::HoldBack, false);
        let room = |r: &Receiver| r.room().map(|room| (room.left, room.spare));
        assert_eq!(room(&r), Some((WINDOW, WINDOW + UNDER_WAY)));
        for (len, left, spare) in [(WINDOW, 0, UNDER_WAY), (UNDER_WAY, 0, 0), (1_000, 0, 0)] {
            let message = vec![0; len - MESSAGE_OVERHEAD];
            assert!(
                r.on_message(message.into(), true).is_some(),
                "all that comes is taken"
            );
            assert_eq!(room(&r), Some((left, spare)));
        }
        r.release(UNDER_WAY + 1_000 - MESSAGE_OVERHEAD);
        assert_eq!(room(&r), Some((0, UNDER_WAY)));
        r.release(100);
        assert_eq!(
            room(&r),
            Some((100 + MESSAGE_OVERHEAD, 100 + MESSAGE_OVERHEAD + UNDER_WAY))
        );
        assert_eq!(receiver(Overflow::Fault, true).room(), None);
    }

    #[test]
    fn an_acknowledgement_is_due_after_enough_messages_or_bytes() {
        let mut r = receiver(Overflow::Fault, true);
        for _ in 1..ACK_MESSAGES {
            assert!(frame(&mut r, Part::Whole, 1).is_ok());
        }
        assert!(!r.is_acknowledgement_due());
        assert!(frame(&mut r, Part::Whole, 1).is_ok());
        assert!(r.is_acknowledgement_due());
        assert_eq!(r.unacknowledged(false), Some(ACK_MESSAGES));
        r.on_acknowledged();
        assert_eq!(r.unacknowledged(false), None);
        r.on_credit_announced(u64::MAX / 2);
        assert!(frame(&mut r, Part::Whole, ACK_BYTES - 1).is_ok());
        assert!(!r.is_acknowledgement_due());
        assert!(frame(&mut r, Part::Whole, 1).is_ok());
        assert!(r.is_acknowledgement_due());
    }

    #[test]
    fn a_receiver_that_starts_over_counts_from_0_and_keeps_what_is_held() {
        let mut r = receiver(Overflow::Fault, true);
        assert!(frame(&mut r, Part::Whole, 10_000).is_ok());
        assert_eq!(frame(&mut r, Part::First { total: 5_000 }, 2_000), Ok(None));
        r.start_over();
        assert_eq!((r.received(), r.finished(), r.partial()), (0, 0, 0));
        assert_eq!((r.messages(), r.received_bytes()), (1, 10_000));
        let left = (WINDOW - 10_000 - MESSAGE_OVERHEAD) as u64;
        assert_eq!(r.credit_due(), Some(left));
        assert!(frame(&mut r, Part::Whole, 500).is_ok());
        assert_eq!(r.unacknowledged(false), Some(1));
        assert_eq!(r.finished(), 564);
    }

    #[test]
    fn what_peers_without_memory_send_to_an_application_that_stands_still_is_bounded() {
        let mut r = Receiver::new(INITIAL_CREDIT, WHOLE_MAX + 2_000);
        r.set_mode(Overflow::Fault, true);
        r.on_credit_announced(u64::MAX / 2);
        let whole = INITIAL_CREDIT - MESSAGE_OVERHEAD;
        let message = WHOLE_MAX + 2_000 + MESSAGE_OVERHEAD;
        let most = INITIAL_CREDIT + message + RETURNS_HELD * INITIAL_CREDIT;
        let mut sent = 0;
        while sent + INITIAL_CREDIT <= most {
            assert!(frame(&mut r, Part::Whole, whole).is_ok());
            sent += INITIAL_CREDIT;
            r.start_over();
        }
        assert!(sent > RETURNS_HELD * INITIAL_CREDIT);
        let rest = most - sent - MESSAGE_OVERHEAD;
        assert_eq!(
            frame(&mut r, Part::Whole, rest + 1),
            Err(PeerFault::WindowExceeded)
        );
        assert!(frame(&mut r, Part::Whole, rest).is_ok());
    }

    #[test]
    fn an_unfinished_message_that_is_forgotten_takes_no_credit() {
        let mut r = receiver(Overflow::Fault, true);
        assert_eq!(
            frame(&mut r, Part::First { total: 50_000 }, 40_000),
            Ok(None)
        );
        r.drop_partial();
        assert_eq!(
            frame(&mut r, Part::First { total: 50_000 }, 40_000),
            Ok(None)
        );
        assert!(matches!(frame(&mut r, Part::Last, 10_000), Ok(Some(_))));
    }
}
