//! The body of the fuzz target `datagram`: the first look at what anybody can send.

use std::net::SocketAddr;

use crate::fuzz::Script;

use super::gate::{DropReason, Gate, MAX_DATAGRAM, SourceGate, classify};
use super::stun::build::{fingerprinted, message};
use super::stun::{Class, StunView};

/// Classifies a datagram, and the same as a STUN message that is made whole.
///
/// # Panics
///
/// When a rule does not hold.
pub fn datagram(data: &[u8]) {
    check(data);
    check(&made_whole(data));
    check(&composed(data));
    check_sources(data);
}

/// RFC 7983 and RFC 9443 by the first byte; of STUN only what an ICE agent sends.
fn check(datagram: &[u8]) {
    let view = StunView::parse(datagram);
    let gate = classify(datagram);
    let first = datagram.first().copied();
    if datagram.len() > MAX_DATAGRAM {
        assert_eq!(gate, Gate::Drop(DropReason::Garbage));
        return;
    }
    match gate {
        Gate::Request { ufrag } => {
            let view = view.expect("a well-formed message");
            assert!(view.integrity.is_some() && view.has_fingerprint);
            let username = view.username.expect("it names us");
            assert!(username.starts_with(ufrag.as_bytes()) && !ufrag.is_empty());
            assert_eq!(username.get(ufrag.len()), Some(&b':'));
        }
        Gate::Response {
            transaction,
            is_success,
        } => {
            let view = view.expect("a well-formed message");
            assert!(view.has_fingerprint);
            assert_eq!(is_success, view.class == Class::Success);
            assert_eq!(datagram.get(8..20), Some(&transaction[..]));
        }
        Gate::Indication => assert!(view.is_ok_and(|view| view.has_fingerprint)),
        Gate::Dtls => assert!(matches!(first, Some(20..=63))),
        Gate::Unsupported => {
            let is_stun = matches!(first, Some(0..=3));
            assert!(view.is_ok() || !is_stun);
            assert!(!matches!(first, Some(4..=15 | 20..=63)));
        }
        Gate::Drop(DropReason::Garbage) => assert!(matches!(first, None | Some(4..=15))),
        Gate::Drop(DropReason::BadStun) => assert!(matches!(first, Some(0..=3))),
    }
}

/// With the cookie, the length and the FINGERPRINT that the attributes need, so that what is behind them is reached.
fn made_whole(data: &[u8]) -> Vec<u8> {
    let mut message = data.to_vec();
    message.resize(data.len().next_multiple_of(4).max(20), 0);
    message[0] &= 3;
    message[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
    message.truncate(MAX_DATAGRAM);
    fingerprinted(message)
}

/// A message of attributes that ICE knows, with values of any length.
fn composed(data: &[u8]) -> Vec<u8> {
    let mut script = Script::new(data);
    let message_type = script.pick(&[0x0001, 0x0011, 0x0101, 0x0111, 0x0003]);
    let mut attributes = Vec::new();
    while !script.is_over() && attributes.len() < 8 {
        attributes.push((script.pick(&ATTRIBUTES), script.slice(128)));
    }
    fingerprinted(message(message_type, &attributes))
}

/// No order of sources lets more addresses through than twice the limit.
fn check_sources(data: &[u8]) {
    let mut gate = SourceGate::new(MAX_SOURCES);
    let mut admitted = [false; 256];
    for pair in data.chunks_exact(2) {
        let [port, answers] = *pair else { return };
        let source = SocketAddr::from(([192, 0, 2, 1], u16::from(port)));
        let was_admitted = admitted[usize::from(port)];
        let passes = gate.admit(source);
        assert!(passes || !was_admitted, "it stays admitted");
        admitted[usize::from(port)] |= passes;
        if passes && answers & 1 == 1 {
            gate.validated(source);
        }
    }
    let count = admitted.iter().filter(|admitted| **admitted).count();
    assert!(count <= 2 * MAX_SOURCES, "{count} sources");
}

const MAX_SOURCES: usize = 4;
/// USERNAME, MESSAGE-INTEGRITY, ERROR-CODE, MESSAGE-INTEGRITY-SHA256, XOR-MAPPED-ADDRESS, PRIORITY, USE-CANDIDATE,
/// SOFTWARE, FINGERPRINT, ICE-CONTROLLED and one that nobody knows.
const ATTRIBUTES: [u16; 11] = [
    0x0006, 0x0008, 0x0009, 0x001c, 0x0020, 0x0024, 0x0025, 0x8022, 0x8028, 0x8029, 0x7fff,
];
