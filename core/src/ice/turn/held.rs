//! What was to be relayed before the server permitted its peer.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// Datagrams that wait for a permission, oldest first. At the bounds the oldest is dropped: it is repeated or lost, as on
/// any path.
#[derive(Debug, Default)]
pub(super) struct Held {
    datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Held {
    pub(super) fn push(&mut self, peer: SocketAddr, datagram: Vec<u8>) {
        if self.datagrams.len() == MAX_HELD {
            self.datagrams.pop_front();
        }
        self.datagrams.push_back((peer, datagram));
    }

    /// Takes those for one peer, in order.
    pub(super) fn take(&mut self, wanted: SocketAddr) -> impl Iterator<Item = Vec<u8>> {
        let (taken, kept) = std::mem::take(&mut self.datagrams)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(peer, _)| *peer == wanted);
        self.datagrams = kept;
        taken.into_iter().map(|(_, datagram)| datagram)
    }
}

/// Datagrams held over all peers of one allocation: some checks for each of a dozen peers that connect at once.
const MAX_HELD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_of_one_peer_come_out_in_order_and_the_oldest_goes_at_the_bound() {
        let [one, two] = [1, 2].map(|port| SocketAddr::from(([192, 0, 2, 1], port)));
        let mut held = Held::default();
        held.push(two, vec![9]);
        for n in 0..=u8::try_from(MAX_HELD).expect("small") {
            held.push(one, vec![n]);
        }
        let first: Vec<_> = held.take(one).collect();
        assert_eq!((first.len(), first[0][0], first[63][0]), (64, 1, 64));
        assert_eq!(held.take(two).count(), 0);
    }
}
