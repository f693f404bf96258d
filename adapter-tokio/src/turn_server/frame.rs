use super::MAX_MESSAGE;

/// Cuts a stream into messages: STUN and channel data, which is padded there (RFC 8656 section 12.5).
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// At most what one read brought beyond a frame, and a frame.
    buffer: Vec<u8>,
}

/// Bytes that are neither STUN nor channel data, or too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoFrame;

impl Frames {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, without padding.
    ///
    /// # Errors
    ///
    /// [`NoFrame`]: nothing that follows can be read either.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, NoFrame> {
        let &[first, _, high, low, ..] = self.buffer.as_slice() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (message, padded) = match first {
            0x00..=0x3f => (STUN_HEADER + length, STUN_HEADER + length),
            0x40..=0x7f => (4 + length, 4 + length.next_multiple_of(4)),
            0x80..=0xff => return Err(NoFrame),
        };
        if message > MAX_MESSAGE {
            return Err(NoFrame);
        }
        if self.buffer.len() < padded {
            return Ok(None);
        }
        let rest = self.buffer.split_off(padded);
        let mut frame = std::mem::replace(&mut self.buffer, rest);
        frame.truncate(message);
        Ok(Some(frame))
    }
}

/// Pads a message for a stream.
pub(super) fn padded(mut message: Vec<u8>) -> Vec<u8> {
    let length = message.len().next_multiple_of(4);
    message.resize(length, 0);
    message
}

const STUN_HEADER: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_the_stream_is_cut() {
        let stun = [&[0, 1, 0, 4][..], &[7; 20]].concat();
        let channel = [&[0x40, 0, 0, 5][..], &[8; 5]].concat();
        let stream = [stun.clone(), padded(channel.clone()), stun.clone()].concat();
        for size in 1..stream.len() {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for part in stream.chunks(size) {
                frames.push(part);
                while let Some(frame) = frames.next().expect("valid") {
                    found.push(frame);
                }
            }
            assert_eq!(
                found,
                [stun.clone(), channel.clone(), stun.clone()],
                "{size}"
            );
            assert!(frames.buffer.is_empty());
        }
    }

    #[test]
    fn the_longest_message_is_taken_and_a_longer_one_ends_the_stream() {
        let channel = |length: usize| {
            let length = u16::try_from(length - 4).expect("fits");
            let mut message = vec![0x40, 0];
            message.extend(length.to_be_bytes());
            message.resize(usize::from(length) + 4, 7);
            padded(message)
        };
        let mut frames = Frames::default();
        frames.push(&channel(MAX_MESSAGE));
        assert_eq!(
            frames.next().map(|f| f.map(|f| f.len())),
            Ok(Some(MAX_MESSAGE))
        );
        frames.push(&channel(MAX_MESSAGE + 1));
        assert_eq!(frames.next(), Err(NoFrame));
    }

    #[test]
    fn what_is_no_message_ends_the_stream() {
        let mut frames = Frames::default();
        frames.push(&[0x80, 0, 0, 0]);
        assert_eq!(frames.next(), Err(NoFrame));
    }
}
