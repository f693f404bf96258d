//! Cuts what comes over a stream into STUN messages and ChannelData, wherever it is torn.
//!
//! Over a stream ChannelData is padded to four bytes (RFC 8656 §12.5). turn-types 0.7 neither pads it nor expects that, so
//! the padding is taken off here on the way in and put on on the way out.

/// What has come over one stream and is not a whole frame yet.
#[derive(Debug, Default)]
pub(super) struct Framer {
    pending: Vec<u8>,
}

impl Framer {
    /// More bytes have come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole frame, without padding. `None` when more must come.
    ///
    /// # Errors
    ///
    /// [`Garbage`] when what follows is neither, from which there is no way back.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, Garbage> {
        let Some(&[kind, _, high, low]) = self.pending.first_chunk() else {
            return Ok(None);
        };
        let body = usize::from(u16::from_be_bytes([high, low]));
        let len = match kind {
            0..=3 => 20 + body,
            _ if is_channel(kind) => 4 + body.next_multiple_of(4),
            _ => return Err(Garbage),
        };
        if self.pending.len() < len {
            return Ok(None);
        }
        let rest = self.pending.split_off(len);
        let mut frame = std::mem::replace(&mut self.pending, rest);
        if is_channel(kind) {
            frame.truncate(4 + body);
        }
        Ok(Some(frame))
    }
}

/// A frame as it goes out.
pub(super) fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    if frame.first().copied().is_some_and(is_channel) {
        frame.resize(frame.len().next_multiple_of(4), 0);
    }
    frame
}

/// Whether a frame that begins with this byte is ChannelData.
fn is_channel(kind: u8) -> bool {
    (0x40..=0x7f).contains(&kind)
}

/// Something else than STUN came over a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Garbage;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_wherever_the_stream_is_torn() {
        let mut stun = vec![0, 1, 0, 4];
        stun.extend([7; 20]);
        let channel = vec![0x40, 0, 0, 5, 1, 2, 3, 4, 5];
        let frames = [stun.clone(), channel.clone(), stun.clone()];
        let all = frames.map(padded).concat();
        assert_eq!(all.len(), 60);
        for tear in 0..=all.len() {
            let mut framer = Framer::default();
            let mut frames = Vec::new();
            for part in [&all[..tear], &all[tear..]] {
                framer.push(part);
                while let Some(frame) = framer.next().expect("frames only") {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, [stun.clone(), channel.clone(), stun.clone()]);
        }
    }

    #[test]
    fn what_is_no_frame_ends_the_stream() {
        let mut framer = Framer::default();
        framer.push(b"\x16\x03\x01\0");
        assert_eq!(framer.next(), Err(Garbage));
    }
}
