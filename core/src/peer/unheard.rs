//! What was sent since the peer was last heard, to be sent again where it can be heard.
//!
//! When a path is lost, so is what is under way on it. SCTP sends it again when its timer fires: a second later at the
//! least (RFC 9260 section 16), and twice as late each time that it has fired in vain. Until then its window is full, and
//! nothing flows on the path that has taken over. So the last datagrams go there once more: whatever is acknowledged of
//! them sets SCTP in motion. DTLS drops what had come after all by its sequence number (RFC 9147 section 4.5.1).
//!
//! That a check had to be repeated is no reason to send them again: a path that loses some datagrams is the same path still.
//! It was tried, and made no time of recovery shorter.
//!
//! When a check on the path is answered at once, nothing of it is kept: an idle peer takes no room.

use std::collections::VecDeque;

use super::session::Datagram;
use crate::event::Path;

/// The last secured datagrams of a peer.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    /// Those that were sent, or could not be, since the peer was heard. The oldest first.
    sent: VecDeque<Datagram>,
    /// Those that are to be sent again.
    again: VecDeque<Datagram>,
}

impl Unheard {
    /// A secured datagram is sent, or has no way out. At [`MAX_UNHEARD`] the oldest gives its place.
    pub(super) fn on_sent(&mut self, datagram: &Datagram) {
        if self.sent.len() == MAX_UNHEARD {
            self.sent.pop_front();
        }
        self.sent.push_back(datagram.clone());
    }

    /// A secured datagram of the peer came: what we send is acknowledged.
    pub(super) fn on_heard(&mut self) {
        self.sent.clear();
    }

    /// `path` works, after one that did not.
    pub(super) fn on_path(&mut self, path: Path) {
        let again = self.sent.drain(..).map(|datagram| Datagram {
            source: path.local,
            destination: path.remote,
            ..datagram
        });
        self.again.extend(again);
    }

    /// The next datagram that is to be sent again.
    pub(super) fn poll(&mut self) -> Option<Datagram> {
        self.again.pop_front()
    }
}

/// Datagrams that are sent again. SCTP begins with fewer under way (RFC 9260 section 7.2.1), and what is acknowledged of the
/// last ones tells it what is missing before them.
const MAX_UNHEARD: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path {
            local: ([192, 0, 2, 1], port).into(),
            remote: ([192, 0, 2, 2], port).into(),
        }
    }

    fn datagram(number: u8) -> Datagram {
        let Path { local, remote } = path(1);
        Datagram {
            source: local,
            destination: remote,
            contents: vec![number],
        }
    }

    /// What is sent again, and where.
    fn again(unheard: &mut Unheard) -> Vec<(u8, Path)> {
        let polled = std::iter::from_fn(|| unheard.poll());
        let place = |d: Datagram| {
            let (local, remote) = (d.source, d.destination);
            (d.contents[0], Path { local, remote })
        };
        polled.map(place).collect()
    }

    #[test]
    fn what_the_peer_may_not_have_heard_is_sent_once_more_on_the_other_path() {
        let mut unheard = Unheard::default();
        unheard.on_sent(&datagram(1));
        unheard.on_heard();
        unheard.on_sent(&datagram(2));
        unheard.on_sent(&datagram(3));
        assert_eq!(again(&mut unheard), []);
        unheard.on_path(path(7));
        assert_eq!(again(&mut unheard), [(2, path(7)), (3, path(7))]);
        unheard.on_path(path(8));
        assert_eq!(again(&mut unheard), []);
    }

    #[test]
    fn at_the_bound_the_oldest_gives_its_place() {
        let mut unheard = Unheard::default();
        let all = 0..=u8::try_from(MAX_UNHEARD).expect("small");
        all.for_each(|number| unheard.on_sent(&datagram(number)));
        unheard.on_path(path(7));
        let again = again(&mut unheard);
        assert_eq!(again.len(), MAX_UNHEARD);
        assert_eq!(again.first().map(|(number, _)| *number), Some(1));
    }

    #[test]
    fn a_peer_that_is_heard_costs_no_datagrams() {
        let mut unheard = Unheard::default();
        assert_eq!(unheard.sent.capacity() + unheard.again.capacity(), 0);
        assert!(size_of::<Unheard>() <= 64, "{}", size_of::<Unheard>());
        unheard.on_sent(&datagram(1));
        unheard.on_heard();
        assert!(unheard.sent.is_empty());
    }
}
