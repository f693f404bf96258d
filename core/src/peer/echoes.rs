//! The first secured datagrams of a session are sent twice.
//!
//! A lost flight of the DTLS handshake costs its timer, and a lost first message SCTP's initial retransmission timeout
//! of three seconds (RFC 9260 section 16), because there is no round trip measured yet and nothing behind it that would
//! tell of the gap. A copy a few milliseconds later costs some small datagrams for each session and
//! makes both as rare as losing two in a row. DTLS drops the copy by its sequence number (RFC 9147 section 4.5.1).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::session::Datagram;

/// Copies that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    waiting: VecDeque<(Instant, Datagram)>,
    /// Copies that were made.
    made: usize,
}

impl Echoes {
    /// A datagram is sent. Makes a copy of it, if it is one of the first that carry DTLS.
    pub(super) fn on_sent(&mut self, datagram: &Datagram, now: Instant) {
        if self.made < MAX_ECHOES && is_secured(&datagram.contents) {
            self.made += 1;
            self.waiting.push_back((now + PAUSE, datagram.clone()));
        }
    }

    /// The copies that are to be sent now.
    pub(super) fn due(&mut self, now: Instant) -> impl Iterator<Item = Datagram> + '_ {
        let due = self.waiting.iter().take_while(|(at, _)| *at <= now).count();
        self.waiting.drain(..due).map(|(_, datagram)| datagram)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front().map(|(at, _)| *at)
    }
}

/// Whether a datagram carries DTLS.
pub(super) fn is_secured(contents: &[u8]) -> bool {
    contents.first().is_some_and(|first| DTLS.contains(first))
}

/// The first byte of a datagram that carries DTLS (RFC 7983 section 7).
const DTLS: std::ops::RangeInclusive<u8> = 20..=63;
/// Datagrams of a session that are sent twice: the flights of the handshake with a repetition or two, and the
/// first data in each direction.
const MAX_ECHOES: usize = 12;
/// How much later, so that one full queue does not drop both.
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(first: u8) -> Datagram {
        let address = "192.0.2.1:4000".parse().expect("an address");
        Datagram {
            source: address,
            destination: address,
            contents: vec![first; 20],
        }
    }

    #[test]
    fn the_first_dtls_datagrams_are_repeated_once_and_no_more() {
        let start = Instant::now();
        let mut echoes = Echoes::default();
        echoes.on_sent(&datagram(0), start);
        assert_eq!(
            echoes.poll_timeout(),
            None,
            "a check has its own repetitions"
        );
        for _ in 0..MAX_ECHOES + 1 {
            echoes.on_sent(&datagram(22), start);
        }
        assert_eq!(echoes.poll_timeout(), Some(start + PAUSE));
        assert_eq!(echoes.due(start).count(), 0);
        assert_eq!(echoes.due(start + PAUSE).count(), MAX_ECHOES);
        assert_eq!(echoes.poll_timeout(), None);
    }
}
