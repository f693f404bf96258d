//! SCTP packets by hand (RFC 9260), for peers that send what no implementation would.

use super::crc::crc32c;

/// One direction's numbers of an association, as its INIT chunk says them (RFC 9260 §3.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init {
    /// The verification tag that packets to its sender carry.
    pub tag: u32,
    /// The receive window of its sender.
    pub window: u32,
    /// The number of the first chunk of its sender.
    pub first: u32,
}

impl Init {
    /// The chunk, as `a=sctp-init` carries it, with as many streams as there can be and stream resets (RFC 6525).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut chunk = vec![INIT, 0, 0, 0];
        chunk.extend(self.tag.to_be_bytes());
        chunk.extend(self.window.to_be_bytes());
        chunk.extend([0xff; 4]);
        chunk.extend(self.first.to_be_bytes());
        // Supported extensions: RE-CONFIG and FORWARD-TSN. And FORWARD-TSN itself (RFC 3758).
        chunk.extend([0x80, 0x08, 0, 6, RE_CONFIG, FORWARD_TSN, 0, 0]);
        chunk.extend([0xc0, 0x00, 0, 4]);
        set_length(&mut chunk);
        chunk
    }

    /// Reads a chunk.
    #[must_use]
    pub fn decode(chunk: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(chunk.get(at..at + 4)?.try_into().ok()?));
        Some(Self {
            tag: word(4)?,
            window: word(8)?,
            first: word(16)?,
        })
    }
}

/// A DATA chunk without its number.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a> {
    /// The stream.
    pub stream: u16,
    /// The number within the stream; fragments of one message share it.
    pub sequence: u16,
    /// The protocol identifier.
    pub protocol: u32,
    /// Whether a message begins.
    pub begins: bool,
    /// Whether a message ends.
    pub ends: bool,
    /// Whether it is delivered out of order.
    pub unordered: bool,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> Data<'a> {
    /// A whole message.
    #[must_use]
    pub fn whole(stream: u16, sequence: u16, protocol: u32, payload: &'a [u8]) -> Self {
        Self {
            stream,
            sequence,
            protocol,
            begins: true,
            ends: true,
            unordered: false,
            payload,
        }
    }

    /// The chunk with the number `tsn`.
    #[must_use]
    pub fn encode(&self, tsn: u32) -> Vec<u8> {
        let flags =
            u8::from(self.unordered) << 2 | u8::from(self.begins) << 1 | u8::from(self.ends);
        let mut chunk = vec![DATA, flags, 0, 0];
        chunk.extend(tsn.to_be_bytes());
        chunk.extend(self.stream.to_be_bytes());
        chunk.extend(self.sequence.to_be_bytes());
        chunk.extend(self.protocol.to_be_bytes());
        chunk.extend(self.payload);
        set_length(&mut chunk);
        chunk
    }
}

/// An acknowledgement of everything up to `tsn`.
#[must_use]
pub fn sack(tsn: u32, window: u32) -> Vec<u8> {
    let mut chunk = vec![SACK, 0, 0, 16];
    chunk.extend(tsn.to_be_bytes());
    chunk.extend(window.to_be_bytes());
    chunk.extend([0; 4]);
    chunk
}

/// A request to reset streams of the sender (RFC 6525 §4.1).
#[must_use]
pub fn reset_request(request: u32, response: u32, last: u32, streams: &[u16]) -> Vec<u8> {
    let mut parameter = vec![0, 13, 0, 0];
    parameter.extend(request.to_be_bytes());
    parameter.extend(response.to_be_bytes());
    parameter.extend(last.to_be_bytes());
    parameter.extend(streams.iter().flat_map(|stream| stream.to_be_bytes()));
    set_length(&mut parameter);
    let mut chunk = [vec![RE_CONFIG, 0, 0, 0], parameter].concat();
    set_length(&mut chunk);
    chunk
}

/// The reply to a request to reset streams: done (RFC 6525 §4.4). `None` where `chunk` is no request.
#[must_use]
pub fn reset_reply(chunk: &[u8]) -> Option<Vec<u8>> {
    let is_request = chunk.get(4..6) == Some(&[0, 13]);
    let request = word(chunk, 8).filter(|_| is_request)?;
    let mut reply = vec![RE_CONFIG, 0, 0, 16, 0, 16, 0, 12];
    reply.extend(request.to_be_bytes());
    reply.extend([0, 0, 0, 1]);
    Some(reply)
}

/// A DATA_CHANNEL_OPEN message of a reliable, ordered channel (RFC 8832 §5.1).
#[must_use]
pub fn channel_open(label: &str) -> Vec<u8> {
    let length = u16::try_from(label.len()).unwrap_or(u16::MAX);
    let mut message = vec![CHANNEL_OPEN, 0, 0, 0, 0, 0, 0, 0];
    message.extend(length.to_be_bytes());
    message.extend([0, 0]);
    message.extend(label.as_bytes());
    message
}

/// A packet of chunks to the owner of `tag`.
#[must_use]
pub fn packet(tag: u32, chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = [PORT, PORT].concat();
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(chunks.concat());
    let checksum = crc32c(&packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
    packet
}

/// The chunks of a received packet: type and whole chunk.
pub fn chunks(packet: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = packet.get(COMMON_HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let [kind, _, high, low] = *rest.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let chunk = rest.get(..length.max(4))?;
        rest = rest
            .get(length.max(4).next_multiple_of(4)..)
            .unwrap_or_default();
        Some((kind, chunk))
    })
}

/// The 32-bit number at `at` of a chunk.
#[must_use]
pub fn word(chunk: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(chunk.get(at..at + 4)?.try_into().ok()?))
}

/// Writes the length and pads to a multiple of 4, which the length does not count.
fn set_length(chunk: &mut Vec<u8>) {
    let length = u16::try_from(chunk.len()).unwrap_or(u16::MAX);
    chunk[2..4].copy_from_slice(&length.to_be_bytes());
    chunk.resize(chunk.len().next_multiple_of(4), 0);
}

/// The type of DATA.
pub const DATA: u8 = 0;
/// The type of INIT.
pub const INIT: u8 = 1;
/// The type of SACK.
pub const SACK: u8 = 3;
/// The type of HEARTBEAT.
pub const HEARTBEAT: u8 = 4;
/// The type of HEARTBEAT ACK.
pub const HEARTBEAT_ACK: u8 = 5;
/// The type of ABORT.
pub const ABORT: u8 = 6;
/// The type of RE-CONFIG (RFC 6525).
pub const RE_CONFIG: u8 = 130;
/// The type of FORWARD-TSN (RFC 3758).
pub const FORWARD_TSN: u8 = 192;

/// The protocol identifier of DCEP (RFC 8831 §8).
pub const DCEP: u32 = 50;
/// The type of DATA_CHANNEL_ACK (RFC 8832 §8.2.1).
pub const CHANNEL_ACK: u8 = 2;
/// The type of DATA_CHANNEL_OPEN.
pub const CHANNEL_OPEN: u8 = 3;
/// The protocol identifier of text.
pub const TEXT: u32 = 51;
/// The protocol identifier of binary data.
pub const BINARY: u32 = 53;

const PORT: [u8; 2] = 5_000_u16.to_be_bytes();
const COMMON_HEADER: usize = 12;
