//! The gate: a first look at every datagram, before any state is touched.
//!
//! Datagrams are told apart by their first byte (RFC 7983, RFC 9443). Of STUN only what an ICE agent sends passes:
//! Binding messages with a right FINGERPRINT, and requests with a USERNAME and a MESSAGE-INTEGRITY. libwebrtc demands
//! the FINGERPRINT of every ICE message too, so implementations that talk to browsers send it in requests, responses
//! and keepalive indications alike. It costs a stranger nothing to compute, but it keeps other protocols and most of
//! the noise of the Internet out, and makes the demultiplexing safe. Answers of plain STUN and TURN servers do not
//! come this way: they are known by their source.
//!
//! [`SourceGate`] then bounds, for each peer and generation, from how many addresses checks reach the ICE agent,
//! which keeps something for each of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::stun::{BINDING, Class, StunView};

/// The largest datagram that is looked at, in bytes: more than any path without jumbo frames carries, and as much as
/// the DTLS implementation has room for.
pub(crate) const MAX_DATAGRAM: usize = 2_048;

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate<'a> {
    /// A connectivity check: to the peer whose generation of ours has this user name fragment.
    Request {
        /// Our user name fragment.
        ufrag: &'a str,
    },
    /// The answer to a check of ours: to the peer that has this transaction, from the address that was asked.
    Response {
        /// The transaction id.
        transaction: [u8; 12],
        /// Whether it is no error.
        is_success: bool,
    },
    /// A keepalive: to the peer that uses the source, if any.
    Indication,
    /// A DTLS record: to the peer that uses the source, if any.
    Dtls,
    /// A protocol that is known and not spoken here.
    Unsupported,
    /// Nothing that anyone here could want.
    Drop(DropReason),
}

/// Why a datagram is dropped, as [`Drops`](crate::Drops) counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// Counted as [`garbage`](crate::Drops::garbage).
    Garbage,
    /// Counted as [`bad_stun`](crate::Drops::bad_stun).
    BadStun,
}

/// Tells where `datagram` goes, without allocation and in time linear in its length.
pub(crate) fn classify(datagram: &[u8]) -> Gate<'_> {
    if datagram.len() > MAX_DATAGRAM {
        return Gate::Drop(DropReason::Garbage);
    }
    // RFC 9443 section 2.
    match datagram.first() {
        Some(0..=3) => classify_stun(datagram),
        Some(20..=63) => Gate::Dtls,
        // ZRTP, a TURN channel or QUIC, QUIC, RTP or RTCP, QUIC.
        Some(16..=19 | 64..=79 | 80..=127 | 128..=191 | 192..=255) => Gate::Unsupported,
        None | Some(4..=15) => Gate::Drop(DropReason::Garbage),
    }
}

fn classify_stun(datagram: &[u8]) -> Gate<'_> {
    let Ok(view) = StunView::parse(datagram) else {
        return Gate::Drop(DropReason::BadStun);
    };
    if !view.has_fingerprint {
        return Gate::Drop(DropReason::BadStun);
    }
    if view.method != BINDING {
        return Gate::Unsupported;
    }
    match view.class {
        Class::Request => match view.local_ufrag().filter(|_| view.integrity.is_some()) {
            Some(ufrag) => Gate::Request { ufrag },
            None => Gate::Drop(DropReason::BadStun),
        },
        Class::Success | Class::Error => Gate::Response {
            transaction: view.transaction,
            is_success: view.class == Class::Success,
        },
        Class::Indication => Gate::Indication,
    }
}

/// The addresses from which checks of one peer and generation are let through.
///
/// A check is made with our password, which only the peer has, but anyone on its path can repeat it from forged addresses,
/// and the peer itself can send from many real ones. At most `max` addresses that are not validated are let
/// through, and at most `max` validated ones are remembered. What is validated beyond that goes on to count, so a
/// generation never sees more than `2 * max` addresses.
#[derive(Debug)]
pub(crate) struct SourceGate {
    max: usize,
    /// At most `max`.
    unvalidated: BTreeSet<SocketAddr>,
    /// At most `max`, none of which is in `unvalidated`.
    validated: BTreeSet<SocketAddr>,
}

impl SourceGate {
    /// Lets checks from `max` addresses through.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            unvalidated: BTreeSet::new(),
            validated: BTreeSet::new(),
        }
    }

    /// Whether an address has been let through, so that its checks cost nothing new.
    pub(crate) fn knows(&self, source: SocketAddr) -> bool {
        self.validated.contains(&source) || self.unvalidated.contains(&source)
    }

    /// Whether a check from `source` may pass. Once let through, an address stays so until [`SourceGate::reset`].
    #[must_use]
    pub(crate) fn admit(&mut self, source: SocketAddr) -> bool {
        if self.knows(source) {
            return true;
        }
        self.unvalidated.len() < self.max && self.unvalidated.insert(source)
    }

    /// Notes that `source` has answered a check of ours, so that it does not count any more.
    pub(crate) fn validated(&mut self, source: SocketAddr) {
        if self.validated.len() < self.max {
            self.unvalidated.remove(&source);
            self.validated.insert(source);
        }
    }

    /// Forgets everything: a new generation begins.
    pub(crate) fn reset(&mut self) {
        self.unvalidated.clear();
        self.validated.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::stun::build::{fingerprinted, message};
    use super::*;

    const USERNAME: (u16, &[u8]) = (0x0006, b"abcd:efgh");
    const INTEGRITY: (u16, &[u8]) = (0x0008, &[0; 20]);

    #[test]
    fn the_first_byte_decides_by_the_exact_ranges() {
        for first in 0..=255 {
            let expected = match first {
                0..=3 => Gate::Drop(DropReason::BadStun),
                4..=15 => Gate::Drop(DropReason::Garbage),
                20..=63 => Gate::Dtls,
                16..=19 | 64..=255 => Gate::Unsupported,
            };
            assert_eq!(classify(&[first; 40]), expected, "{first}");
        }
    }

    #[test]
    fn empty_and_oversized_datagrams_are_garbage() {
        assert_eq!(classify(&[]), Gate::Drop(DropReason::Garbage));
        assert_eq!(classify(&[22; MAX_DATAGRAM]), Gate::Dtls);
        assert_eq!(
            classify(&[22; MAX_DATAGRAM + 1]),
            Gate::Drop(DropReason::Garbage)
        );
    }

    #[test]
    fn a_check_passes_with_user_name_integrity_and_fingerprint_and_not_with_less() {
        let check = fingerprinted(message(1, &[USERNAME, INTEGRITY]));
        assert_eq!(classify(&check), Gate::Request { ufrag: "abcd" });
        for less in [
            message(1, &[USERNAME, INTEGRITY]),
            fingerprinted(message(1, &[USERNAME])),
            fingerprinted(message(1, &[INTEGRITY])),
            fingerprinted(message(1, &[(0x0006, b"nocolon"), INTEGRITY])),
        ] {
            assert_eq!(classify(&less), Gate::Drop(DropReason::BadStun));
        }
    }

    #[test]
    fn responses_and_indications_pass_with_a_fingerprint() {
        for (response, is_success) in [(0x0101, true), (0x0111, false)] {
            let expected = Gate::Response {
                transaction: [7; 12],
                is_success,
            };
            assert_eq!(classify(&fingerprinted(message(response, &[]))), expected);
            assert_eq!(
                classify(&message(response, &[])),
                Gate::Drop(DropReason::BadStun)
            );
        }
        assert_eq!(
            classify(&fingerprinted(message(0x0011, &[]))),
            Gate::Indication
        );
        assert_eq!(
            classify(&fingerprinted(message(0x0003, &[]))),
            Gate::Unsupported,
            "allocate"
        );
    }

    #[test]
    fn sources_are_admitted_up_to_the_limit_and_stay_admitted() {
        let mut gate = SourceGate::new(32);
        assert!((0..32).all(|port| gate.admit(source(port))));
        assert!(!gate.admit(source(32)));
        assert!(gate.admit(source(0)));
    }

    #[test]
    fn a_validated_source_makes_room_for_another_and_still_passes() {
        let mut gate = SourceGate::new(1);
        assert!(gate.admit(source(0)));
        assert!(!gate.admit(source(1)));
        gate.validated(source(0));
        assert!(gate.admit(source(0)));
        assert!(gate.admit(source(1)));
        assert!(!gate.admit(source(2)));
        gate.reset();
        assert!(gate.admit(source(2)));
        assert!(!gate.admit(source(0)));
    }

    #[test]
    fn a_peer_that_validates_every_source_is_bounded_too() {
        let mut gate = SourceGate::new(32);
        let mut passed = 0;
        for port in 0..1_000 {
            if gate.admit(source(port)) {
                passed += 1;
                gate.validated(source(port));
            }
        }
        assert_eq!(passed, 64);
    }

    proptest! {
        #[test]
        fn no_datagram_panics(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = classify(&bytes);
        }
    }

    fn source(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }
}
