//! Whole messages out of a stream of bytes (RFC 8656 section 12.5, RFC 8489 section 6.2.2).

use std::ops::Range;

use super::message::CHANNEL_HEADER;

/// The bytes of a stream that no whole message has been made of.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    /// Holds less than one message after [`Framing::next`] gave `None`.
    buffer: Vec<u8>,
    /// What was given out of it.
    used: usize,
}

/// Bytes that are neither STUN nor ChannelData: the stream cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotTurn;

impl Framing {
    /// Takes the next bytes, cut anywhere. Call [`Framing::next`] until there is no message left.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Where the next whole message stands, without padding.
    ///
    /// # Errors
    ///
    /// [`NotTurn`]; then the stream is of no use any more.
    pub(crate) fn next(&mut self) -> Result<Option<Range<usize>>, NotTurn> {
        let rest = self.buffer.get(self.used..).unwrap_or_default();
        let Some((len, padded)) = message_len(rest)? else {
            return Ok(None);
        };
        if rest.len() < padded {
            return Ok(None);
        }
        let start = self.used;
        self.used += padded;
        Ok(Some(start..start + len))
    }

    /// The bytes of a message.
    pub(crate) fn get(&self, message: Range<usize>) -> &[u8] {
        self.buffer.get(message).unwrap_or_default()
    }
}

/// The length of the message that begins here, without and with its padding. `None`: its header is not whole.
fn message_len(bytes: &[u8]) -> Result<Option<(usize, usize)>, NotTurn> {
    let Some([first, _, l0, l1]) = bytes.first_chunk() else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes([*l0, *l1]));
    match first {
        // All attributes are padded, so the length of STUN is a multiple of four.
        0..=3 if len.is_multiple_of(4) => Ok(Some((STUN_HEADER + len, STUN_HEADER + len))),
        0x40..=0x4f => {
            let len = CHANNEL_HEADER + len;
            Ok(Some((len, len.next_multiple_of(4))))
        }
        _ => Err(NotTurn),
    }
}

const STUN_HEADER: usize = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(framing: &mut Framing) -> Result<Vec<Vec<u8>>, NotTurn> {
        let mut messages = Vec::new();
        while let Some(message) = framing.next()? {
            messages.push(framing.get(message).to_vec());
        }
        Ok(messages)
    }

    fn stun(attributes: usize) -> Vec<u8> {
        let len = u16::try_from(attributes).expect("short").to_be_bytes();
        [&[0, 1], &len[..], &vec![7; 16 + attributes]].concat()
    }

    fn channel(data: usize) -> Vec<u8> {
        let len = u16::try_from(data).expect("short").to_be_bytes();
        [&[0x40, 0], &len[..], &vec![9; data]].concat()
    }

    fn padded(mut message: Vec<u8>) -> Vec<u8> {
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    #[test]
    fn messages_survive_a_cut_at_any_byte() {
        let messages = [stun(0), channel(0), channel(1), stun(24), channel(1_203)];
        let stream: Vec<u8> = messages.iter().cloned().flat_map(padded).collect();
        for cut in 0..=stream.len() {
            let mut framing = Framing::default();
            framing.push(&stream[..cut]);
            let mut got = take(&mut framing).expect("turn");
            framing.push(&stream[cut..]);
            got.extend(take(&mut framing).expect("turn"));
            assert_eq!(got, messages, "{cut}");
        }
    }

    #[test]
    fn the_longest_messages_pass() {
        let longest = [stun(65_532), channel(65_535)];
        let mut framing = Framing::default();
        longest
            .iter()
            .for_each(|message| framing.push(&padded(message.clone())));
        assert_eq!(take(&mut framing).expect("turn"), longest);
    }

    #[test]
    fn what_is_no_turn_ends_the_stream() {
        for first in [4, 0x16, 0x3f, 0x50, 0xff] {
            let mut framing = Framing::default();
            framing.push(&[first, 0, 0, 0]);
            assert_eq!(take(&mut framing), Err(NotTurn), "{first}");
        }
        let mut framing = Framing::default();
        framing.push(&[0, 1, 0, 3]);
        assert_eq!(take(&mut framing), Err(NotTurn), "no multiple of four");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_more_than_one_message_is_kept(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..20),
        ) {
            let mut framing = Framing::default();
            for piece in pieces {
                framing.push(&piece);
                if take(&mut framing).is_err() {
                    break;
                }
                prop_assert!(framing.buffer.len() - framing.used < STUN_HEADER + 65_536);
            }
        }
    }
}
