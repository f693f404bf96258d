//! Limits on what an authenticated peer's SCTP packets may cost, held before they reach the SCTP stack.
//!
//! The stack below inserts each fragment of an unfinished message by a scan over those it has, and looks at every
//! inbound stream for every chunk. Its window counts payload only, so fragments of a few bytes cost time that grows
//! with the square of their number, and each new stream costs memory and time for ever. Neither is limited there.
//!
//! - *Tiny fragments*: a fragment that does not end its message and carries less than [`TINY`] bytes runs up a debt of
//!   [`TINY`] bytes, other data pays it off byte by byte. More than [`MAX_TINY_FRAGMENTS`] of them without other data
//!   between trip the guard. Honest senders fill a packet with the beginning of the next message, so they make at
//!   most one tiny fragment in a packet full of other data, which pays for it; a peer that wants to send many has to
//!   send as many bytes as one that does no harm.
//! - *Streams*: the streams that a peer uses over the life of the session are limited. One that is used again counts once.
//! - *Held chunks*: what the stack has to keep, because something before it is missing, is limited in [`held`](super::held).
//! - *Resets*: a peer may ask for as many stream resets more than we do as it may use streams. One side's close is
//!   answered by the other's, so an honest peer is ahead by what it closes at once; the stack queues requests
//!   without limit.

use crate::event::PeerFault;

use super::held::{Arrival, Held};
use super::sctp::{Data, ResetRequest, chunks};

/// What one peer has sent so far.
#[derive(Debug)]
pub(super) struct SctpGuard {
    /// Bytes by which tiny fragments outweigh other data.
    debt: usize,
    /// The inbound streams seen, ascending. Never longer than `max_streams`.
    streams: Vec<u16>,
    max_streams: usize,
    held: Held,
    /// Streams that the peer asked to reset, and those that we did.
    theirs: Resets,
    ours: Resets,
}

/// The requests of one side to reset streams.
#[derive(Debug, Default)]
struct Resets {
    last: Option<u32>,
    streams: usize,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is passed on.
    Pass,
    /// It is dropped, as if it had been lost: an honest sender repeats it.
    Drop,
}

impl SctpGuard {
    pub(super) fn new(max_streams: usize) -> Self {
        Self {
            debt: 0,
            streams: Vec::new(),
            max_streams,
            held: Held::default(),
            theirs: Resets::default(),
            ours: Resets::default(),
        }
    }

    /// Looks at one received packet; `delivered` messages were handed up so far.
    ///
    /// # Errors
    ///
    /// The rule that it breaks. The packet must then not be passed on, nor any later one.
    pub(super) fn handle_packet(
        &mut self,
        packet: &[u8],
        delivered: u64,
    ) -> Result<Verdict, PeerFault> {
        let data = || chunks(packet).filter_map(|chunk| chunk.data());
        if data().any(|data| self.held.judge(data.number) == Arrival::TooFar) {
            return Ok(Verdict::Drop);
        }
        data().try_for_each(|data| {
            self.count_fragment(data)?;
            self.count_stream(data.stream)?;
            self.held.on_data(data, delivered)
        })?;
        chunks(packet)
            .filter_map(|chunk| chunk.reset_request())
            .try_for_each(|request| self.count_reset(request))?;
        Ok(Verdict::Pass)
    }

    /// Whether something is missing before what came last.
    pub(super) fn misses_data(&self) -> bool {
        self.held.is_missing_something()
    }

    /// Looks at one packet of ours that was sent. Gives the window that it announces.
    pub(super) fn on_sent(&mut self, packet: &[u8]) -> Option<u32> {
        let mut window = None;
        for chunk in chunks(packet) {
            if let Some(sack) = chunk.sack() {
                self.held.on_acknowledged(sack);
                window = Some(sack.window);
            }
            if let Some(request) = chunk.reset_request() {
                self.ours.count(request);
            }
        }
        window
    }

    fn count_reset(&mut self, request: ResetRequest) -> Result<(), PeerFault> {
        self.theirs.count(request);
        if self.theirs.streams > self.ours.streams.saturating_add(self.max_streams) {
            return Err(PeerFault::TooManyChannels);
        }
        Ok(())
    }

    fn count_fragment(&mut self, data: Data<'_>) -> Result<(), PeerFault> {
        if data.ends || data.payload.len() >= TINY {
            self.debt = self.debt.saturating_sub(data.payload.len());
            return Ok(());
        }
        self.debt += TINY;
        if self.debt > MAX_TINY_FRAGMENTS * TINY {
            return Err(PeerFault::TinyFragments);
        }
        Ok(())
    }

    fn count_stream(&mut self, stream: u16) -> Result<(), PeerFault> {
        let Err(position) = self.streams.binary_search(&stream) else {
            return Ok(());
        };
        if self.streams.len() >= self.max_streams {
            return Err(PeerFault::TooManyChannels);
        }
        self.streams.insert(position, stream);
        Ok(())
    }
}

impl Resets {
    /// Counts a request, unless it is a repetition. One that names no stream means all.
    fn count(&mut self, request: ResetRequest) {
        let is_new = self
            .last
            .is_none_or(|last| request.number.wrapping_sub(last).cast_signed() > 0);
        if is_new {
            self.last = Some(request.number);
            self.streams = self.streams.saturating_add(request.streams.max(1));
        }
    }
}

/// A fragment that does not end its message and carries fewer bytes than this is tiny.
const TINY: usize = 256;
/// Tiny fragments in a row that are let through.
const MAX_TINY_FRAGMENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::sctp::tests::{data_chunk, packet, reset_chunk, sack_chunk};
    use super::*;

    const WHOLE: u8 = 3;
    const BEGIN: u8 = 2;
    const MIDDLE: u8 = 0;
    const END: u8 = 1;

    fn send(guard: &mut SctpGuard, flags: u8, len: usize) -> Result<(), PeerFault> {
        pass(guard, &packet(&[&data_chunk(1, flags, &vec![0; len])]))
    }

    /// Hands in a packet whose messages have all been delivered.
    fn pass(guard: &mut SctpGuard, packet: &[u8]) -> Result<(), PeerFault> {
        let verdict = guard.handle_packet(packet, u64::MAX)?;
        assert_eq!(verdict, Verdict::Pass);
        Ok(())
    }

    #[test]
    fn tiny_fragments_are_let_through_up_to_the_limit_and_not_beyond() {
        for len in [0, 4, TINY - 1] {
            let mut guard = SctpGuard::new(4);
            for n in 0..MAX_TINY_FRAGMENTS {
                assert_eq!(send(&mut guard, MIDDLE, len), Ok(()), "{n}");
            }
            assert_eq!(send(&mut guard, MIDDLE, len), Err(PeerFault::TinyFragments));
        }
    }

    #[test]
    fn fragments_of_a_fair_size_never_trip_the_guard() {
        let mut guard = SctpGuard::new(4);
        for _ in 0..10_000 {
            assert_eq!(send(&mut guard, MIDDLE, TINY), Ok(()));
            assert_eq!(send(&mut guard, END, 1), Ok(()));
        }
    }

    #[test]
    fn small_whole_messages_between_tiny_fragments_do_not_clear_the_debt() {
        let mut guard = SctpGuard::new(4);
        let tripped = (0..2 * MAX_TINY_FRAGMENTS)
            .any(|_| send(&mut guard, BEGIN, 4).is_err() || send(&mut guard, WHOLE, 4).is_err());
        assert!(tripped);
    }

    #[test]
    fn a_tiny_beginning_at_the_end_of_each_full_packet_is_honest() {
        let mut guard = SctpGuard::new(4);
        let small = data_chunk(1, WHOLE, &[0; 11]);
        let mut chunks = vec![small.as_slice(); 40];
        let (end, begin) = (data_chunk(1, END, &[0]), data_chunk(1, BEGIN, &[0; 10]));
        chunks.insert(0, &end);
        chunks.push(&begin);
        let packet = packet(&chunks);
        for _ in 0..10_000 {
            assert_eq!(pass(&mut guard, &packet), Ok(()));
        }
    }

    #[test]
    fn as_many_streams_as_allowed_are_let_through_and_no_more() {
        let mut guard = SctpGuard::new(5);
        for stream in [9, 0, 65_535, 4, 7, 9, 0] {
            let packet = packet(&[&sack_chunk(0, 0), &data_chunk(stream, WHOLE, b"x")]);
            assert_eq!(pass(&mut guard, &packet), Ok(()), "{stream}");
        }
        let packet = packet(&[&data_chunk(9, WHOLE, b"x"), &data_chunk(8, WHOLE, b"x")]);
        assert_eq!(pass(&mut guard, &packet), Err(PeerFault::TooManyChannels));
    }

    #[test]
    fn a_peer_may_be_ahead_with_resets_by_as_many_streams_as_it_may_use() {
        let mut guard = SctpGuard::new(5);
        let ask = |number, streams: &[u16]| packet(&[&reset_chunk(number, streams)]);
        assert_eq!(pass(&mut guard, &ask(1, &[1, 3])), Ok(()));
        assert_eq!(pass(&mut guard, &ask(1, &[1, 3])), Ok(()), "a repetition");
        assert_eq!(pass(&mut guard, &ask(2, &[5, 7, 9])), Ok(()));
        // Ours answer two of them.
        guard.on_sent(&ask(70, &[1, 3]));
        guard.on_sent(&ask(70, &[1, 3]));
        assert_eq!(pass(&mut guard, &ask(3, &[1])), Ok(()));
        assert_eq!(pass(&mut guard, &ask(4, &[])), Ok(()), "all streams");
        assert_eq!(
            guard.handle_packet(&ask(5, &[3]), 0),
            Err(PeerFault::TooManyChannels)
        );
    }

    #[test]
    fn an_honest_peer_that_closes_channels_for_ever_is_let_through() {
        let mut guard = SctpGuard::new(5);
        for number in 0..10_000 {
            let both = packet(&[&reset_chunk(number, &[1, 3, 5])]);
            assert_eq!(pass(&mut guard, &both), Ok(()), "{number}");
            guard.on_sent(&both);
        }
    }
}
