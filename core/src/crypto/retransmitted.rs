//! What SCTP sends again.
//!
//! It gives chunks their numbers in the order in which it sends them first (RFC 9260 section 6.1), so a number that is
//! not beyond the highest so far was sent before. That one number is all that has to be kept.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::sctp::chunks;

/// DATA chunks that were sent before, and their payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retransmitted {
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
}

/// Tells new chunks from those that are sent again.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The highest number of a DATA chunk so far.
    highest: Option<u32>,
}

impl Sent {
    /// Looks at a packet of ours that was sent.
    pub(super) fn on_packet(&mut self, packet: &[u8]) -> Retransmitted {
        let mut again = Retransmitted::default();
        for data in chunks(packet).filter_map(|chunk| chunk.data()) {
            let is_beyond = |highest| data.number.wrapping_sub(highest).cast_signed() > 0;
            if self.highest.is_none_or(is_beyond) {
                self.highest = Some(data.number);
            } else {
                again.chunks += 1;
                again.bytes += data.payload.len() as u64;
            }
        }
        again
    }
}

/// What was sent again and not told yet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    chunks: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    pub(super) fn add(&self, again: Retransmitted) {
        self.chunks.fetch_add(again.chunks, Ordering::Relaxed);
        self.bytes.fetch_add(again.bytes, Ordering::Relaxed);
    }

    /// Takes it, if there is anything.
    pub(super) fn take(&self) -> Option<Retransmitted> {
        if self.chunks.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(Retransmitted {
            chunks: self.chunks.swap(0, Ordering::Relaxed),
            bytes: self.bytes.swap(0, Ordering::Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sctp::tests::{data_chunk, packet, sack_chunk};
    use super::*;

    const WHOLE: u8 = 3;

    /// A packet with an acknowledgement and chunks of these numbers, each with ten bytes of payload.
    fn with(numbers: &[u32]) -> Vec<u8> {
        let chunk = |number: &u32| {
            let mut chunk = data_chunk(1, WHOLE, &[0; 10]);
            chunk[4..8].copy_from_slice(&number.to_be_bytes());
            chunk
        };
        let mut chunks = vec![sack_chunk(1, 0)];
        chunks.extend(numbers.iter().map(chunk));
        packet(&chunks.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    fn again(sent: &mut Sent, numbers: &[u32]) -> u64 {
        let again = sent.on_packet(&with(numbers));
        assert_eq!(again.bytes, again.chunks * 10);
        again.chunks
    }

    #[test]
    fn a_chunk_counts_each_time_that_it_is_sent_after_the_first() {
        let mut sent = Sent::default();
        assert_eq!(again(&mut sent, &[]), 0);
        assert_eq!(again(&mut sent, &[5, 6, 7]), 0);
        assert_eq!(again(&mut sent, &[6]), 1);
        assert_eq!(again(&mut sent, &[6, 7, 8]), 2, "and one is new");
        assert_eq!(again(&mut sent, &[8, 9]), 1);
        assert_eq!(again(&mut sent, &[10]), 0);
    }

    #[test]
    fn numbers_go_on_from_zero_after_the_highest() {
        let mut sent = Sent::default();
        assert_eq!(again(&mut sent, &[u32::MAX - 1, u32::MAX, 0, 1]), 0);
        assert_eq!(again(&mut sent, &[u32::MAX]), 1);
        assert_eq!(again(&mut sent, &[1]), 1);
        assert_eq!(again(&mut sent, &[2]), 0);
    }

    #[test]
    fn what_is_taken_is_told_once() {
        let tally = Tally::default();
        let (chunks, bytes) = (2, 300);
        assert_eq!(tally.take(), None);
        tally.add(Retransmitted { chunks, bytes });
        tally.add(Retransmitted { chunks, bytes });
        let (chunks, bytes) = (4, 600);
        assert_eq!(tally.take(), Some(Retransmitted { chunks, bytes }));
        assert_eq!(tally.take(), None);
    }
}
