//! Datagrams that wait to be sent, given out in runs that one system call can send.

use std::collections::VecDeque;

use super::io::Transmit;
use crate::peer::Datagram;

/// The queue. It is emptied by `poll_output` before anything else is done, so it never holds more than one step of
/// one peer makes.
#[derive(Debug, Default)]
pub(crate) struct TransmitQueue {
    datagrams: VecDeque<Datagram>,
}

impl TransmitQueue {
    pub(crate) fn push(&mut self, datagram: Datagram) {
        self.datagrams.push_back(datagram);
    }

    /// Puts the next datagrams into `buf`: those that follow each other between the same two addresses and have the
    /// same size, up to `max_segments`; the last may be shorter.
    pub(crate) fn poll(&mut self, max_segments: usize, buf: &mut Vec<u8>) -> Option<Transmit> {
        let first = self.datagrams.pop_front()?;
        let transmit = Transmit {
            source: first.source,
            destination: first.destination,
            segment_size: first.contents.len(),
        };
        if !self.continues(&transmit) {
            // The usual case away from bulk transfer: no copy.
            *buf = first.contents;
            return Some(transmit);
        }
        buf.clear();
        buf.extend_from_slice(&first.contents);
        let mut segments = 1;
        while segments < max_segments && self.continues(&transmit) {
            let Some(next) = self.datagrams.pop_front() else {
                break;
            };
            if buf.len() + next.contents.len() > MAX_TRANSMIT {
                self.datagrams.push_front(next);
                break;
            }
            buf.extend_from_slice(&next.contents);
            segments += 1;
            if next.contents.len() < transmit.segment_size {
                break;
            }
        }
        Some(transmit)
    }

    fn continues(&self, transmit: &Transmit) -> bool {
        self.datagrams.front().is_some_and(|next| {
            next.source == transmit.source
                && next.destination == transmit.destination
                && next.contents.len() <= transmit.segment_size
        })
    }
}

/// The most that the kernel takes in one call: the length field of UDP, less headers.
const MAX_TRANSMIT: usize = 65_000;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn queue(sizes: &[(u16, usize)]) -> TransmitQueue {
        let mut queue = TransmitQueue::default();
        for (port, size) in sizes {
            queue.push(Datagram {
                source: SocketAddr::from(([127, 0, 0, 1], 1)),
                destination: SocketAddr::from(([127, 0, 0, 1], *port)),
                contents: vec![0; *size],
            });
        }
        queue
    }

    fn runs(mut queue: TransmitQueue, max_segments: usize) -> Vec<(u16, usize, usize)> {
        let mut buf = Vec::new();
        std::iter::from_fn(|| {
            let t = queue.poll(max_segments, &mut buf)?;
            Some((t.destination.port(), t.segment_size, buf.len()))
        })
        .collect()
    }

    #[test]
    fn equal_datagrams_to_one_address_go_together_with_a_shorter_last() {
        let queue = queue(&[(1, 100), (1, 100), (1, 40), (1, 100), (2, 100), (2, 200)]);
        assert_eq!(
            runs(queue, 8),
            [(1, 100, 240), (1, 100, 100), (2, 100, 100), (2, 200, 200)]
        );
    }

    #[test]
    fn a_run_ends_at_the_most_segments_and_at_the_most_bytes() {
        assert_eq!(
            runs(queue(&[(1, 10); 5]), 2),
            [(1, 10, 20), (1, 10, 20), (1, 10, 10)]
        );
        let large = runs(queue(&[(1, 1_400); 64]), 64);
        assert_eq!(large[0], (1, 1_400, 46 * 1_400));
    }
}
