//! The body of the fuzz target `envelope`.

use crate::event::SignalRefusal;
use crate::fuzz::text_of;

use super::envelope::Envelope;

/// Reads an envelope, writes it and reads it again, whole and with a bit flipped.
///
/// # Panics
///
/// When a rule does not hold.
pub fn envelope(data: &[u8]) {
    let Some(text) = text_of(data) else { return };
    match Envelope::decode(text, MAX) {
        Ok(envelope) => {
            check_round_trip(&envelope);
            check_flipped(&envelope, data);
            check_replies(&envelope);
        }
        Err((refusal, from)) => {
            assert_eq!(refusal == SignalRefusal::TooLarge, text.len() > MAX);
            assert!(from.is_none() || refusal != SignalRefusal::TooLarge);
        }
    }
}

fn check_round_trip(envelope: &Envelope) {
    let written = envelope.encode();
    // RFC 8259 section 7 has them escaped, so that a message is one line on a link of lines.
    assert!(!written.bytes().any(|b| b < b' '));
    let read = Envelope::decode(&written, written.len()).expect("what we write");
    assert!(read == *envelope && read.encode() == written);
    let shorter = Envelope::decode(&written, written.len() - 1).expect_err("the limit comes first");
    assert_eq!(shorter, (SignalRefusal::TooLarge, None));
}

/// One bit that a link damages leaves another message, or none; what is read is well-formed again.
fn check_flipped(envelope: &Envelope, data: &[u8]) {
    let mut bytes = envelope.encode().into_bytes();
    let place = data.iter().fold(data.len(), |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
    });
    let bit = place % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    let Some(text) = text_of(&bytes) else { return };
    if let Ok(other) = Envelope::decode(text, MAX) {
        check_round_trip(&other);
    }
}

fn check_replies(envelope: &Envelope) {
    let ack = envelope.ack();
    assert_eq!(ack.is_some(), envelope.seq != 0);
    if let Some(reply) = ack {
        check_round_trip(&reply);
        assert_eq!(reply.ack(), None, "nobody acknowledges an acknowledgement");
        assert_eq!((reply.from, reply.to), (envelope.to, envelope.from));
    }
    let addressed = envelope.check_addressed(envelope.to);
    assert_eq!(addressed.is_ok(), envelope.from != envelope.to);
    assert_eq!(
        envelope.check_addressed(envelope.from),
        Err(SignalRefusal::Reflected)
    );
}

const MAX: usize = 64 * 1024;
