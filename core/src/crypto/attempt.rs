//! When a DTLS handshake is begun anew.
//!
//! Until its keys are agreed on, a handshake believes anybody who writes from the peer's address: an injector who is
//! faster than the peer can have his ClientHello answered, or his answer taken, or leave garbage that the
//! implementation waits on for ever. Nothing can tell that from the first packet. It shows afterwards: the certificate is not the one
//! that was announced, a second ClientHello comes that is another, or nothing more happens. Then the attempt is dropped and a fresh
//! one made, at most [`MAX_RESTARTS`] times, in the same session: the real peer goes on repeating itself, and has only
//! to be faster once.
//!
//! - Both sides begin anew when the certificate is wrong. That is not told at once, but when [`PATIENCE`] has passed
//!   without a right one.
//! - The *active* side begins anew when its attempt is [`STALL`] old: its new ClientHello is another.
//! - The *passive* side begins anew when another ClientHello comes than the one before, unless that was answered less
//!   than [`YOUNG`] ago: then the handshake may be about to succeed, and its peer to be done with it.

use std::time::{Duration, Instant};

/// The attempts of one session.
#[derive(Debug)]
pub(super) struct Attempts {
    left: u32,
    /// When the present attempt could first be heard by the peer.
    began: Option<Instant>,
    /// The random of the ClientHello that was taken.
    hello: Option<[u8; 32]>,
    /// When the present attempt was given something first.
    heard: Option<Instant>,
    /// Whether it has answered.
    has_answered: bool,
    /// A certificate that is not the announced one, and when it came first.
    refused: Option<(Instant, Vec<u8>)>,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self {
            left: MAX_RESTARTS,
            began: None,
            hello: None,
            heard: None,
            has_answered: false,
            refused: None,
        }
    }

    /// Takes note of a datagram that comes to the passive side. Whether it needs a fresh attempt, because its
    /// ClientHello is another than before.
    pub(super) fn on_datagram(&mut self, datagram: &[u8], now: Instant) -> bool {
        let hello = hello_random(datagram);
        let is_other = hello.is_some() && hello != self.hello;
        let is_stale = self.heard.is_some_and(|heard| {
            !self.has_answered || now.saturating_duration_since(heard) >= YOUNG
        });
        let restarts = is_other && is_stale && self.restart();
        self.heard.get_or_insert(now);
        self.hello = self.hello.or(hello);
        restarts
    }

    /// The present attempt has sent something.
    pub(super) fn on_answer(&mut self) {
        self.has_answered = true;
    }

    /// Takes note of a wrong certificate. Whether a fresh attempt is to be made.
    pub(super) fn on_wrong_certificate(&mut self, der: &[u8], now: Instant) -> bool {
        self.refused.get_or_insert_with(|| (now, der.to_vec()));
        self.restart()
    }

    /// Lets time pass, `is_held` while there is no path. Whether the active side is to make a fresh attempt.
    pub(super) fn on_time(&mut self, now: Instant, is_held: bool) -> bool {
        if is_held {
            self.began = None;
            return false;
        }
        let began = *self.began.get_or_insert(now);
        now.saturating_duration_since(began) >= STALL && self.restart()
    }

    /// The wrong certificate, when it is time to tell.
    pub(super) fn refused_certificate(&mut self, now: Instant) -> Option<Vec<u8>> {
        let is_due =
            |(since, _): &mut (Instant, _)| now.saturating_duration_since(*since) >= PATIENCE;
        self.refused.take_if(is_due).map(|(_, der)| der)
    }

    /// When something is to be done next, as the active side or the passive one.
    pub(super) fn poll_timeout(&self, is_active: bool) -> Option<Instant> {
        let stall = self.began.filter(|_| is_active && self.left > 0);
        let refused = self.refused.as_ref();
        [
            stall.map(|began| began + STALL),
            refused.map(|(since, _)| *since + PATIENCE),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Begins anew, unless it has done so too often.
    fn restart(&mut self) -> bool {
        let Some(left) = self.left.checked_sub(1) else {
            return false;
        };
        self.left = left;
        self.began = None;
        self.hello = None;
        self.heard = None;
        self.has_answered = false;
        true
    }
}

/// The random of a ClientHello in clear whose beginning a datagram holds (RFC 6347 section 4.3.2, RFC 9147 section 5.3).
fn hello_random(datagram: &[u8]) -> Option<[u8; 32]> {
    let is_hello = datagram.first() == Some(&HANDSHAKE)
        && datagram.get(EPOCH) == Some(&[0; 2])
        && datagram.get(MESSAGE_TYPE) == Some(&CLIENT_HELLO)
        && datagram.get(FRAGMENT_OFFSET) == Some(&[0; 3]);
    let random = datagram.get(RANDOM)?.try_into().ok()?;
    is_hello.then_some(random)
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const EPOCH: std::ops::Range<usize> = 3..5;
/// After the record's header of 13 bytes: type, length, number, offset and length of the fragment.
const MESSAGE_TYPE: usize = 13;
const FRAGMENT_OFFSET: std::ops::Range<usize> = 19..22;
/// After the handshake's header of 12 bytes and the version.
const RANDOM: std::ops::Range<usize> = 27..59;

/// Fresh attempts of one session.
const MAX_RESTARTS: u32 = 8;
/// An attempt that is not done in this time has repeated its first flight four times.
const STALL: Duration = Duration::from_secs(4);
/// Several round trips of a usual path.
const YOUNG: Duration = Duration::from_secs(1);
/// Longer than [`STALL`], so that the other side can have begun anew.
const PATIENCE: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn hello(random: u8) -> Vec<u8> {
        let mut datagram = vec![0; 100];
        datagram[0] = HANDSHAKE;
        datagram[MESSAGE_TYPE] = CLIENT_HELLO;
        datagram[RANDOM].fill(random);
        datagram
    }

    #[test]
    fn the_first_hello_and_its_repetitions_go_to_one_attempt() {
        let (mut attempts, now) = (Attempts::new(), Instant::now());
        for n in 0..100 {
            assert!(!attempts.on_datagram(&hello(1), now + n * SECOND));
            assert!(!attempts.on_datagram(&[0x2f; 100], now + n * SECOND));
        }
    }

    #[test]
    fn another_hello_ends_an_attempt_that_had_no_answer_to_the_first() {
        let (mut attempts, now) = (Attempts::new(), Instant::now());
        assert!(!attempts.on_datagram(&hello(1), now));
        assert!(attempts.on_datagram(&hello(2), now));
    }

    #[test]
    fn another_hello_does_not_end_a_young_attempt() {
        let (mut attempts, now) = (Attempts::new(), Instant::now());
        assert!(!attempts.on_datagram(&hello(1), now));
        attempts.on_answer();
        let almost = now + YOUNG - Duration::from_nanos(1);
        assert!(!attempts.on_datagram(&hello(2), almost));
        assert!(!attempts.on_datagram(&hello(1), now + YOUNG));
        assert!(attempts.on_datagram(&hello(2), now + YOUNG));
    }

    #[test]
    fn another_hello_needs_a_fresh_attempt_as_often_as_allowed() {
        let (mut attempts, now) = (Attempts::new(), Instant::now());
        assert!(!attempts.on_datagram(&hello(0), now));
        for n in 1..=8 {
            let at = now + u32::from(n) * SECOND;
            assert!(attempts.on_datagram(&hello(n), at), "{n}");
            assert!(!attempts.on_datagram(&hello(n), at), "{n}");
        }
        assert!(!attempts.on_datagram(&hello(9), now + 100 * SECOND));
        assert!(!attempts.on_wrong_certificate(b"wrong", now));
    }

    #[test]
    fn a_hello_after_garbage_needs_a_fresh_attempt_at_once() {
        let (mut attempts, now) = (Attempts::new(), Instant::now());
        assert!(!attempts.on_datagram(&[22; 100], now));
        assert!(attempts.on_datagram(&hello(1), now));
    }

    #[test]
    fn only_the_beginning_of_a_hello_in_clear_is_one() {
        assert_eq!(hello_random(&hello(7)), Some([7; 32]));
        assert_eq!(hello_random(&hello(7)[..58]), None);
        for (at, byte) in [(0, 23), (4, 1), (13, 2), (21, 1)] {
            let mut other = hello(7);
            other[at] = byte;
            assert_eq!(hello_random(&other), None, "{at}");
        }
    }

    #[test]
    fn a_stall_is_counted_from_the_moment_the_path_is_there() {
        let (mut attempts, now) = (Attempts::new(), Instant::now());
        assert!(!attempts.on_time(now, true));
        assert_eq!(attempts.poll_timeout(true), None);
        assert!(!attempts.on_time(now + 9 * SECOND, false));
        let due = now + 9 * SECOND + STALL;
        assert_eq!(attempts.poll_timeout(true), Some(due));
        assert_eq!(attempts.poll_timeout(false), None);
        assert!(!attempts.on_time(due - Duration::from_nanos(1), false));
        assert!(attempts.on_time(due, false));
        assert!(!attempts.on_time(due, false), "the next one is young");
    }

    #[test]
    fn a_wrong_certificate_is_told_when_no_right_one_came() {
        let (mut attempts, now) = (Attempts::new(), Instant::now());
        assert!(attempts.on_wrong_certificate(b"wrong", now));
        assert!(attempts.on_wrong_certificate(b"wrong again", now + SECOND));
        assert_eq!(attempts.poll_timeout(false), Some(now + PATIENCE));
        assert_eq!(attempts.refused_certificate(now + 5 * SECOND), None);
        let told = attempts.refused_certificate(now + PATIENCE);
        assert_eq!(told.as_deref(), Some(&b"wrong"[..]));
        assert_eq!(attempts.refused_certificate(now + PATIENCE), None);
    }
}
