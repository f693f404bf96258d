//! The body of the fuzz target `envelope`.

use std::time::Duration;

use crate::event::SignalRefusal;
use crate::fuzz::text_of;
use crate::rng::{Rng, Seed};
use crate::time::UnixTime;

use super::envelope::Envelope;
use super::{Identity, Protection, Sealer};

/// Reads an envelope, writes it and reads it again, whole and with a bit flipped, plain and now and then signed and sealed.
///
/// # Panics
///
/// When a rule does not hold.
pub fn envelope(data: &[u8]) {
    let Some(text) = text_of(data) else { return };
    assert!(
        RECEIVER.with(|bob| bob.open(text, MAX, NOW)).is_err(),
        "nobody has signed it"
    );
    match Envelope::decode(text, MAX) {
        Ok(envelope) => {
            check_round_trip(&envelope);
            check_flipped(&envelope, data);
            check_replies(&envelope);
            // A hundred times as slow as the rest.
            if place(data).is_multiple_of(16) {
                check_protected(envelope, data);
            }
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
    let bytes = flipped(envelope.encode(), data);
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

/// Signed and sealed it comes out as it went in; with a bit flipped it does, or not at all.
fn check_protected(envelope: Envelope, data: &[u8]) {
    let (mut alice, bob) = (closed(1), closed(2));
    let (from, to) = (alice.id(), bob.id());
    let envelope = Envelope {
        from,
        to,
        ..envelope
    };
    let text = alice.close(&envelope, NOW);
    let opened = bob.open(&text, text.len(), NOW).expect("what we write");
    assert_eq!(*opened, envelope.encode_at(NOW, None));
    let bytes = flipped(text.clone(), data);
    if let Some(text) = text_of(&bytes)
        && let Ok(other) = bob.open(text, MAX * 4, NOW)
    {
        assert_eq!(other, opened);
    }
}

thread_local! {
    /// Making one takes as long as reading a hundred messages.
    static RECEIVER: Sealer = closed(2);
}

fn closed(key: u8) -> Sealer {
    let identity = Identity::from_private_key([key; 32]);
    let rng = Rng::new(&Seed::from([key; 32]));
    Sealer::new(identity, Protection::Sealed, Duration::from_secs(300), rng)
}

/// A text with one bit flipped: which, the input says.
fn flipped(text: String, data: &[u8]) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    let bit = place(data) % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

fn place(data: &[u8]) -> usize {
    data.iter().fold(data.len(), |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
    })
}

const MAX: usize = 64 * 1024;
const NOW: UnixTime = UnixTime::from_millis(1_790_000_000_000);
