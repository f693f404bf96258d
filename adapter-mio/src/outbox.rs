//! Datagrams that a socket could not take yet.

use std::collections::VecDeque;

use bowline::Transmit;

/// A queue of transmits that wait for a socket to become writable.
///
/// UDP may lose, and what waits here grows stale: at the bound the oldest transmit gives way to the newest.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Waiting>,
    /// Bytes that are not sent yet, over all that wait.
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    transmit: Transmit,
    contents: Vec<u8>,
    /// How many bytes of the contents are sent. A multiple of the segment size, unless it is all of them.
    sent: usize,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Queues `contents`, and makes room for them at the bound. Returns how many datagrams were dropped.
    pub(crate) fn push(&mut self, transmit: Transmit, contents: &[u8]) -> u64 {
        let mut dropped = 0;
        while self.is_full_for(contents.len()) {
            let Some(oldest) = self.waiting.pop_front() else {
                break;
            };
            self.bytes -= oldest.remaining().len();
            dropped += datagrams(&oldest.transmit, oldest.remaining());
        }
        self.bytes += contents.len();
        self.waiting.push_back(Waiting {
            transmit,
            contents: contents.to_vec(),
            sent: 0,
        });
        dropped
    }

    /// Offers what waits to `send`, oldest first, until it takes less than it is offered.
    ///
    /// `send` returns how many bytes it has dealt with.
    pub(crate) fn drain(&mut self, mut send: impl FnMut(&Transmit, &[u8]) -> usize) {
        while let Some(oldest) = self.waiting.front_mut() {
            let offered = oldest.remaining().len();
            let taken = send(&oldest.transmit, oldest.remaining()).min(offered);
            oldest.sent += taken;
            self.bytes -= taken;
            if taken < offered {
                return;
            }
            self.waiting.pop_front();
        }
    }

    fn is_full_for(&self, len: usize) -> bool {
        self.waiting.len() >= MAX_WAITING || self.bytes + len > MAX_WAITING_BYTES
    }
}

impl Waiting {
    fn remaining(&self) -> &[u8] {
        self.contents.get(self.sent..).unwrap_or_default()
    }
}

/// How many datagrams `contents` holds.
pub(crate) fn datagrams(transmit: &Transmit, contents: &[u8]) -> u64 {
    contents.len().div_ceil(transmit.segment_size.max(1)) as u64
}

/// The most transmits that wait for one socket.
const MAX_WAITING: usize = 1_024;

/// The most bytes that wait for one socket: about what its own buffer holds, so that a queue adds little delay.
const MAX_WAITING_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: usize = 1_000;

    #[test]
    fn what_waits_leaves_in_order_and_resumes_where_it_stopped() {
        let mut outbox = Outbox::default();
        outbox.push(transmit(), &[1; 2_500]);
        outbox.push(transmit(), &[2; 10]);

        let mut offers = Vec::new();
        outbox.drain(|_, contents| {
            offers.push(contents.len());
            SEGMENT
        });
        assert_eq!(offers, [2_500], "a partial send ends the turn");
        assert_eq!(outbox.bytes, 1_510);

        let mut offers = Vec::new();
        outbox.drain(|_, contents| {
            offers.push((contents[0], contents.len()));
            contents.len()
        });
        assert_eq!(offers, [(1, 1_500), (2, 10)]);
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes, 0);
    }

    #[test]
    fn at_the_bound_of_transmits_the_oldest_gives_way() {
        let mut outbox = Outbox::default();
        for _ in 0..MAX_WAITING {
            assert_eq!(outbox.push(transmit(), &[1; 10]), 0);
        }
        assert_eq!(outbox.push(transmit(), &[2; 10]), 1);
        assert_eq!(outbox.waiting.len(), MAX_WAITING);
        assert_eq!(last(&outbox), 2);
    }

    #[test]
    fn at_the_bound_of_bytes_the_oldest_gives_way_and_its_unsent_datagrams_are_counted() {
        let mut outbox = Outbox::default();
        outbox.push(transmit(), &[1; 4 * SEGMENT]);
        outbox.drain(|_, _| SEGMENT);
        outbox.push(transmit(), &vec![1; MAX_WAITING_BYTES - 3 * SEGMENT]);
        assert_eq!(outbox.bytes, MAX_WAITING_BYTES);

        assert_eq!(
            outbox.push(transmit(), &[2]),
            3,
            "the one that was sent is not counted"
        );
        assert_eq!(outbox.waiting.len(), 2);
        assert_eq!(last(&outbox), 2);
    }

    fn last(outbox: &Outbox) -> u8 {
        outbox.waiting.back().expect("not empty").contents[0]
    }

    fn transmit() -> Transmit {
        let address = ([127, 0, 0, 1], 9).into();
        Transmit {
            source: address,
            destination: address,
            segment_size: SEGMENT,
        }
    }
}
