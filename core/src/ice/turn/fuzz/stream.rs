//! The body of the fuzz target `turn_stream`.

use super::answers::header;
use crate::fuzz::Script;
use crate::ice::turn::framing::{Framing, NotTurn};
use crate::ice::turn::message::{self, Incoming};

/// Cuts a stream anywhere and reads the messages in it.
///
/// # Panics
///
/// When a rule does not hold.
pub fn turn_stream(data: &[u8]) {
    let mut script = Script::new(data);
    let cuts: [u8; 8] = std::array::from_fn(|_| script.byte());
    let stream = data.get(8..).unwrap_or_default();
    let (whole, end) = messages(stream);
    assert_eq!(framed([stream]), (whole.clone(), end), "in one piece");
    let mut pieces = Vec::new();
    let mut rest = stream;
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        // A cut of zero is a piece of one byte.
        let (piece, after) = rest.split_at(usize::from(*cut).clamp(1, rest.len()));
        pieces.push(piece);
        rest = after;
    }
    assert_eq!(framed(pieces), (whole.clone(), end), "in pieces");
    whole.iter().for_each(|message| check(message));
    check(stream);
}

/// What comes out of the pieces of a stream, and whether it can be read on.
fn framed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Result<(), NotTurn>) {
    let (mut framing, mut messages) = (Framing::default(), Vec::new());
    for piece in pieces {
        framing.push(piece);
        loop {
            match framing.next() {
                Ok(Some(message)) => messages.push(framing.get(message).to_vec()),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    (messages, Ok(()))
}

/// The same, by the letter of RFC 8656 section 12.5 and RFC 8489 section 5.
fn messages(stream: &[u8]) -> (Vec<Vec<u8>>, Result<(), NotTurn>) {
    let (mut messages, mut rest) = (Vec::new(), stream);
    while let [first, _, l0, l1, ..] = rest {
        let len = usize::from(*l0) * 256 + usize::from(*l1);
        let (len, padding) = match first >> 4 {
            0 if *first < 4 && len % 4 == 0 => (20 + len, 0),
            4 => (4 + len, (4 - len % 4) % 4),
            _ => return (messages, Err(NotTurn)),
        };
        let Some(after) = rest.get(len + padding..) else {
            break;
        };
        messages.push(rest[..len].to_vec());
        rest = after;
    }
    (messages, Ok(()))
}

/// What is read of a message stands in it.
fn check(bytes: &[u8]) {
    match message::read(bytes) {
        Some(Incoming::Channel { channel, data }) => {
            let (number, len, _) = header(bytes);
            assert_eq!((channel, data.len()), (number, len));
            assert!((0x4000..=0x4fff).contains(&channel));
            let data = bytes.get(data).expect("data that is there");
            let written = message::channel_data(channel, data, false).expect("it fits");
            assert_eq!(bytes.get(..written.len()), Some(&written[..]));
            let padded = message::channel_data(channel, data, true).expect("it fits");
            assert_eq!(padded.len(), written.len().next_multiple_of(4));
            assert_eq!(framed([&padded[..]]), (vec![written], Ok(())));
        }
        Some(Incoming::Data { data, .. }) => {
            // Behind the type and length of an attribute.
            let [t0, t1, l0, l1] = *bytes[..data.start].last_chunk().expect("a header");
            assert_eq!([t0, t1], [0, 0x13], "DATA");
            assert_eq!(data.len(), usize::from(u16::from_be_bytes([l0, l1])));
            assert!(data.end <= bytes.len());
        }
        Some(Incoming::Response(_, response)) => {
            // None of these panics.
            let code = message::error_code(&response);
            assert!(code.is_none_or(|code| (300..=699).contains(&code)));
            for ipv6 in [false, true] {
                let granted = message::granted(&response, ipv6);
                assert!(granted.is_none_or(|granted| granted.relayed.is_ipv6() == ipv6));
            }
            let _ = (message::lifetime(&response), message::alternate(&response));
        }
        None => {}
    }
}
