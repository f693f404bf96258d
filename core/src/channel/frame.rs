//! The frames that two bowline peers exchange over their SCTP streams. A codec: it holds no state.
//!
//! Every SCTP user message on a channel is one frame: a header byte and payload.
//!
//! ```text
//!  7 6 5 4   3 2   1     0
//! +-------+-----+-----+-------+
//! | epoch |  0  | END | START |   START without END is followed by the total length, u32, big endian
//! +-------+-----+-----+-------+
//! ```
//!
//! `epoch` counts how often the stream was opened again. A frame that a transport delivers late, after the stream was
//! reset, carries an old epoch and is recognised, so that nothing is received twice. The first epoch is 0, and 1
//! on a transport that takes the place of another, where each side says READY first. A message of which some arrived before
//! the stream was opened again goes on in the new epoch with the byte that READY names.
//!
//! The META stream carries messages in the same framing (always epoch 0); each holds one or more META frames: a type
//! byte, then fields. Integers are LEB128 and must be in their shortest form, so that every value has one encoding.

use std::time::Duration;

use super::kind::{Ordering, Priority, Reliability};

/// How a frame belongs to its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The frame is the message.
    Whole,
    /// The first of several, with the length of the whole message in bytes.
    First { total: u32 },
    /// Neither the first nor the last.
    Middle,
    /// The last of several.
    Last,
}

/// What stands before the payload of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) epoch: u8,
    pub(super) part: Part,
}

/// The length of the header at the front of a frame; 0 when it is not one.
pub(crate) fn header_len(frame: &[u8]) -> usize {
    let mut rest = frame;
    Header::decode(&mut rest).map_or(0, |_| frame.len() - rest.len())
}

impl Header {
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        let bits = match self.part {
            Part::Whole => START | END,
            Part::First { .. } => START,
            Part::Middle => 0,
            Part::Last => END,
        };
        out.push(bits | self.epoch << EPOCH_SHIFT);
        if let Part::First { total } = self.part {
            out.extend_from_slice(&total.to_be_bytes());
        }
    }

    /// Takes the header off the front of `data`; the payload remains.
    pub(super) fn decode(data: &mut &[u8]) -> Result<Self, Malformed> {
        let (&first, rest) = data.split_first().ok_or(Malformed)?;
        *data = rest;
        if first & RESERVED != 0 {
            return Err(Malformed);
        }
        let part = match (first & START != 0, first & END != 0) {
            (true, true) => Part::Whole,
            (true, false) => {
                let (total, rest) = data.split_first_chunk::<4>().ok_or(Malformed)?;
                *data = rest;
                Part::First {
                    total: u32::from_be_bytes(*total),
                }
            }
            (false, false) => Part::Middle,
            (false, true) => Part::Last,
        };
        Ok(Self {
            epoch: first >> EPOCH_SHIFT,
            part,
        })
    }
}

/// What the two sides say about channels, on the META stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MetaFrame {
    /// The first frame of each side: the largest message that it takes. Unsaid, it is [`UNSAID_MESSAGE_MAX`].
    Hello { max_message_size: u64 },
    /// I opened this stream; open it in the same mode.
    Open(Open),
    /// My stream is open in this epoch, and I have this many messages, and so much of the next one.
    Ready(Ready),
    /// The channel is gone, or not wanted. Always answered by `Closed`.
    Close { stream: u16 },
    /// The answer to `Close`: what the sender says of this stream from here on is of the next channel on it.
    Closed { stream: u16 },
    /// I have this many complete messages of the channel, over all its epochs.
    Ack { stream: u16, received: u64 },
    /// You may send this much on the channel, since its beginning: payload, and [`MESSAGE_OVERHEAD`] for each message.
    Credit { stream: u16, bytes: u64 },
}

/// A channel, as the side that opened it describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) stream: u16,
    pub(super) label: String,
    pub(super) protocol: String,
    pub(super) ordering: Ordering,
    pub(super) reliability: Reliability,
    pub(super) priority: Priority,
}

/// The state of one side of a channel when its stream has opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) stream: u16,
    pub(super) epoch: u8,
    pub(super) ordered: bool,
    pub(super) reliable: bool,
    /// Whether the applications agreed on the stream id themselves.
    pub(super) negotiated: bool,
    pub(super) received: u64,
    /// What those messages took of the credit, so that what was lost is not charged for ever.
    pub(super) position: u64,
    /// How many bytes of the message after those are held: it goes on with the next byte. 0 when it is not begun.
    pub(super) partial: u64,
}

impl MetaFrame {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { max_message_size } => {
                out.push(HELLO);
                put_varint(out, *max_message_size);
            }
            Self::Open(open) => open.encode(out),
            Self::Ready(ready) => ready.encode(out),
            Self::Close { stream } => {
                out.push(CLOSE);
                put_varint(out, u64::from(*stream));
            }
            Self::Closed { stream } => {
                out.push(CLOSED);
                put_varint(out, u64::from(*stream));
            }
            Self::Ack { stream, received } => {
                out.push(ACK);
                put_varint(out, u64::from(*stream));
                put_varint(out, *received);
            }
            Self::Credit { stream, bytes } => {
                out.push(CREDIT);
                put_varint(out, u64::from(*stream));
                put_varint(out, *bytes);
            }
        }
    }

    /// Takes one frame off the front of `data`.
    pub(super) fn decode(data: &mut &[u8]) -> Result<Self, Malformed> {
        Ok(match byte(data)? {
            HELLO => Self::Hello {
                max_message_size: varint(data)?,
            },
            OPEN => Self::Open(Open::decode(data)?),
            READY => Self::Ready(Ready::decode(data)?),
            CLOSE => Self::Close {
                stream: stream_id(data)?,
            },
            CLOSED => Self::Closed {
                stream: stream_id(data)?,
            },
            ACK => Self::Ack {
                stream: stream_id(data)?,
                received: varint(data)?,
            },
            CREDIT => Self::Credit {
                stream: stream_id(data)?,
                bytes: varint(data)?,
            },
            _ => return Err(Malformed),
        })
    }
}

impl Open {
    fn encode(&self, out: &mut Vec<u8>) {
        let (reliability, parameter) = match self.reliability {
            Reliability::Reliable => (0, None),
            Reliability::MaxRetransmits(n) => (1, Some(u64::from(n))),
            Reliability::MaxLifetime(time) => {
                (2, Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
            }
        };
        let priority = match self.priority {
            Priority::High => 0,
            Priority::Normal => 1,
            Priority::Bulk => 2,
        };
        let unordered = u8::from(self.ordering == Ordering::Unordered);
        out.push(OPEN);
        put_varint(out, u64::from(self.stream));
        out.push(unordered | reliability << 1 | priority << 3);
        if let Some(parameter) = parameter {
            put_varint(out, parameter);
        }
        put_text(out, &self.label);
        put_text(out, &self.protocol);
    }

    fn decode(data: &mut &[u8]) -> Result<Self, Malformed> {
        let stream = stream_id(data)?;
        let mode = byte(data)?;
        let ordering = if mode & 1 == 0 {
            Ordering::Ordered
        } else {
            Ordering::Unordered
        };
        let reliability = match mode >> 1 & 3 {
            0 => Reliability::Reliable,
            1 => Reliability::MaxRetransmits(short(data)?),
            2 => Reliability::MaxLifetime(Duration::from_millis(u64::from(short(data)?))),
            _ => return Err(Malformed),
        };
        let priority = match mode >> 3 {
            0 => Priority::High,
            1 => Priority::Normal,
            2 => Priority::Bulk,
            _ => return Err(Malformed),
        };
        let (label, protocol) = (text(data)?, text(data)?);
        Ok(Self {
            stream,
            label,
            protocol,
            ordering,
            reliability,
            priority,
        })
    }
}

impl Ready {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(READY);
        put_varint(out, u64::from(self.stream));
        let bits = [self.ordered, self.reliable, self.negotiated];
        let mode = bits
            .iter()
            .rev()
            .fold(0, |mode, bit| mode << 1 | u8::from(*bit));
        out.push(mode | self.epoch << EPOCH_SHIFT);
        put_varint(out, self.received);
        put_varint(out, self.position);
        put_varint(out, self.partial);
    }

    fn decode(data: &mut &[u8]) -> Result<Self, Malformed> {
        let stream = stream_id(data)?;
        let mode = byte(data)?;
        if mode & 8 != 0 {
            return Err(Malformed);
        }
        Ok(Self {
            stream,
            epoch: mode >> EPOCH_SHIFT,
            ordered: mode & 1 != 0,
            reliable: mode & 2 != 0,
            negotiated: mode & 4 != 0,
            received: varint(data)?,
            position: varint(data)?,
            partial: varint(data)?,
        })
    }
}

/// Bytes that are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn byte(data: &mut &[u8]) -> Result<u8, Malformed> {
    let (&first, rest) = data.split_first().ok_or(Malformed)?;
    *data = rest;
    Ok(first)
}

fn varint(data: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = byte(data)?;
        let bits = u64::from(byte & 0x7f);
        let overflows = shift == 63 && bits > 1;
        let padded = shift > 0 && byte == 0;
        if overflows || padded {
            return Err(Malformed);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn short(data: &mut &[u8]) -> Result<u16, Malformed> {
    u16::try_from(varint(data)?).map_err(|_| Malformed)
}

/// 65,535 is not a stream id of a data channel (RFC 8832 §6).
fn stream_id(data: &mut &[u8]) -> Result<u16, Malformed> {
    short(data).and_then(|id| {
        if id == u16::MAX {
            Err(Malformed)
        } else {
            Ok(id)
        }
    })
}

/// Text of at most 65,535 bytes (RFC 8832 §5.1).
fn text(data: &mut &[u8]) -> Result<String, Malformed> {
    let len = usize::from(short(data)?);
    let (text, rest) = data.split_at_checked(len).ok_or(Malformed)?;
    *data = rest;
    std::str::from_utf8(text)
        .map(str::to_owned)
        .map_err(|_| Malformed)
}

const START: u8 = 0x01;
const END: u8 = 0x02;
const RESERVED: u8 = 0x0c;
const EPOCH_SHIFT: u8 = 4;

const HELLO: u8 = 0;
const OPEN: u8 = 1;
const READY: u8 = 2;
const CLOSE: u8 = 3;
const ACK: u8 = 4;
const CREDIT: u8 = 5;
const CLOSED: u8 = 6;

/// The payload of a fragment: large enough to cost little, small enough that the next one of another channel comes
/// soon.
pub(super) const FRAGMENT: usize = 16 * 1024;
/// A fragment that does not end its message has at least this much payload, so that a peer cannot make reassembly
/// expensive with crumbs.
pub(super) const FRAGMENT_MIN: usize = 1024;
/// What a message takes of the credit beside its payload, so that neither empty nor tiny messages can fill a receiver
/// that does not consume them. Both sides charge it with the first frame of the message. It is also what a kept message
/// costs its sender, about.
pub(super) const MESSAGE_OVERHEAD: usize = 64;
/// The most that one frame carries. Channels that are unordered or unreliable cannot be reassembled across gaps, so
/// that there a message is one frame. With its header byte it fits the 64 KiB that every WebRTC endpoint takes
/// (RFC 8841 §6.1).
pub(super) const WHOLE_MAX: usize = 64 * 1024 - 1;
/// What a peer takes that has not said more yet.
pub(super) const UNSAID_MESSAGE_MAX: usize = 64 * 1024;
/// The longest META message: one OPEN with the longest label and protocol, or several frames up to [`FRAGMENT`] and
/// then such an OPEN.
pub(super) const META_MESSAGE_MAX: usize = FRAGMENT + 2 * 65_535 + 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![
            Just(Part::Whole),
            any::<u32>().prop_map(|total| Part::First { total }),
            Just(Part::Middle),
            Just(Part::Last),
        ]
    }

    fn open() -> impl Strategy<Value = Open> {
        let ordering = prop_oneof![Just(Ordering::Ordered), Just(Ordering::Unordered)];
        let reliability = prop_oneof![
            Just(Reliability::Reliable),
            any::<u16>().prop_map(Reliability::MaxRetransmits),
            any::<u16>()
                .prop_map(|ms| Reliability::MaxLifetime(Duration::from_millis(u64::from(ms)))),
        ];
        let priority = prop_oneof![
            Just(Priority::High),
            Just(Priority::Normal),
            Just(Priority::Bulk)
        ];
        (0..u16::MAX, ".*", ".*", ordering, reliability, priority).prop_map(
            |(stream, label, protocol, ordering, reliability, priority)| Open {
                stream,
                label,
                protocol,
                ordering,
                reliability,
                priority,
            },
        )
    }

    fn meta() -> impl Strategy<Value = MetaFrame> {
        let stream = 0..u16::MAX;
        prop_oneof![
            any::<u64>().prop_map(|max_message_size| MetaFrame::Hello { max_message_size }),
            open().prop_map(MetaFrame::Open),
            (
                stream.clone(),
                0..16u8,
                any::<[bool; 3]>(),
                any::<[u64; 3]>()
            )
                .prop_map(
                    |(stream, epoch, [ordered, reliable, negotiated], counts)| {
                        let [received, position, partial] = counts;
                        MetaFrame::Ready(Ready {
                            stream,
                            epoch,
                            ordered,
                            reliable,
                            negotiated,
                            received,
                            position,
                            partial,
                        })
                    }
                ),
            stream
                .clone()
                .prop_map(|stream| MetaFrame::Close { stream }),
            stream
                .clone()
                .prop_map(|stream| MetaFrame::Closed { stream }),
            (stream.clone(), any::<u64>())
                .prop_map(|(stream, received)| MetaFrame::Ack { stream, received }),
            (stream, any::<u64>()).prop_map(|(stream, bytes)| MetaFrame::Credit { stream, bytes }),
        ]
    }

    proptest! {
        #[test]
        fn a_header_survives_a_round_trip_and_leaves_the_payload(
            epoch in 0..16u8,
            part in part(),
            payload in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut wire = Vec::new();
            Header { epoch, part }.encode(&mut wire);
            wire.extend_from_slice(&payload);
            let mut data = wire.as_slice();
            prop_assert_eq!(Header::decode(&mut data), Ok(Header { epoch, part }));
            prop_assert_eq!(data, payload.as_slice());
        }

        #[test]
        fn meta_frames_survive_a_round_trip_in_sequence(
            frames in prop::collection::vec(meta(), 0..5)
        ) {
            let mut wire = Vec::new();
            frames.iter().for_each(|frame| frame.encode(&mut wire));
            let mut data = wire.as_slice();
            for frame in frames {
                prop_assert_eq!(MetaFrame::decode(&mut data), Ok(frame));
            }
            prop_assert_eq!(data, b"");
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(
            kind in 0..8u8,
            rest in prop::collection::vec(prop_oneof![any::<u8>(), 0..4u8], 0..24),
        ) {
            let wire = [vec![kind], rest].concat();
            let mut data = wire.as_slice();
            if let Ok(frame) = MetaFrame::decode(&mut data) {
                let mut again = Vec::new();
                frame.encode(&mut again);
                prop_assert_eq!(&again, &wire[..wire.len() - data.len()]);
            }
            let mut data = wire.as_slice();
            if let Ok(header) = Header::decode(&mut data) {
                let mut again = Vec::new();
                header.encode(&mut again);
                prop_assert_eq!(&again, &wire[..wire.len() - data.len()]);
            }
        }
    }

    #[test]
    fn truncated_frames_are_refused_at_every_length() {
        let open = Open {
            stream: 300,
            label: "label".into(),
            protocol: "protocol".into(),
            ordering: Ordering::Unordered,
            reliability: Reliability::MaxRetransmits(1_000),
            priority: Priority::Bulk,
        };
        let mut wire = Vec::new();
        MetaFrame::Open(open).encode(&mut wire);
        for len in 0..wire.len() {
            assert_eq!(
                MetaFrame::decode(&mut &wire[..len]),
                Err(Malformed),
                "{len}"
            );
        }
        for len in 0..5 {
            assert_eq!(
                Header::decode(&mut &[START, 0, 0, 1, 0][..len]),
                Err(Malformed),
                "{len}"
            );
        }
    }

    #[test]
    fn reserved_bits_unknown_types_and_long_forms_are_refused() {
        for first in [0x04, 0x08, 0x0f] {
            assert_eq!(
                Header::decode(&mut &[first, 0, 0, 0, 0][..]),
                Err(Malformed)
            );
        }
        let bad: [&[u8]; 8] = [
            &[7],                                                     // unknown type
            &[CLOSE, 0x80, 0x00],                                     // a padded integer
            &[CLOSE, 0xff, 0xff, 0x03],                               // stream 65,535
            &[CLOSE, 0x80, 0x80, 0x04],                               // stream 65,536
            &[HELLO, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2], // 2^64 and more
            &[OPEN, 6, 0b110, 0, 0, 0],                               // unknown reliability
            &[OPEN, 6, 0b11000, 0, 0, 0],                             // unknown priority
            &[READY, 6, 8, 0],                                        // a reserved bit
        ];
        for wire in bad {
            assert_eq!(MetaFrame::decode(&mut &*wire), Err(Malformed), "{wire:?}");
        }
        assert!(MetaFrame::decode(&mut &[CLOSE, 0xfe, 0xff, 0x03][..]).is_ok());
    }

    #[test]
    fn labels_have_at_most_65535_bytes_of_utf8() {
        let open = |label: Vec<u8>| {
            let mut wire = vec![OPEN, 6, 0];
            put_varint(&mut wire, label.len() as u64);
            wire.extend_from_slice(&label);
            put_text(&mut wire, "");
            MetaFrame::decode(&mut wire.as_slice())
        };
        assert!(open(vec![b'a'; 65_535]).is_ok());
        assert_eq!(open(vec![b'a'; 65_536]), Err(Malformed));
        assert_eq!(open(vec![0xff]), Err(Malformed));
    }
}
