//! The SCTP packets that DTLS carries: their chunks, and the repairs made to packets on their way out.
//!
//! - **Empty messages.** SCTP cannot carry a user message of no bytes. RFC 8831 section 6.6: "the application
//!   needs to send a message of size 1 byte" under its own payload protocol identifier. The stack below has no
//!   way to say that, so the session writes a secret *marker* message in its place, which is rewritten here.
//! - **Acknowledgements.** RFC 9260 section 3.3.4 limits the gap blocks of a SACK to what fits the path MTU; the stack
//!   below does not. Gap blocks are advice, not promises (section 3.3.4: a receiver may renege), so the last ones
//!   are left out.
//! - **Windows.** The stack below counts what it holds itself as received, and not what the application has and has not
//!   released. The window that a SACK announces is lowered to what there is room for.
//!
//! Parsing is total and linear, and stops where the stack below refuses the packet.

/// One chunk of a packet (RFC 9260 section 3.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// What follows the chunk header, without padding.
    pub(super) value: &'a [u8],
    /// The whole chunk with its padding.
    raw: &'a [u8],
}

/// The chunks of a packet, up to the first that is malformed.
pub(super) fn chunks(packet: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut rest = packet.get(COMMON_HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (chunk, tail) = split_chunk(rest)?;
        rest = tail;
        Some(chunk)
    })
}

fn split_chunk(bytes: &[u8]) -> Option<(Chunk<'_>, &[u8])> {
    let [kind, flags, high, low] = *bytes.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let value = bytes.get(CHUNK_HEADER..length)?;
    let padded = length.next_multiple_of(4).min(bytes.len());
    let (raw, tail) = bytes.split_at_checked(padded)?;
    Some((
        Chunk {
            kind,
            flags,
            value,
            raw,
        },
        tail,
    ))
}

/// The fields of a DATA chunk that matter here (RFC 9260 section 3.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Data<'a> {
    pub(super) number: u32,
    pub(super) stream: u16,
    pub(super) protocol: u32,
    pub(super) begins: bool,
    pub(super) ends: bool,
    pub(super) payload: &'a [u8],
}

impl<'a> Chunk<'a> {
    pub(super) fn data(self) -> Option<Data<'a>> {
        let (header, payload) = self.value.split_first_chunk::<DATA_FIELDS>()?;
        (self.kind == DATA).then_some(Data {
            number: word(header, 0),
            stream: u16::from_be_bytes([header[4], header[5]]),
            protocol: word(header, 8),
            begins: self.flags & BEGINS != 0,
            ends: self.flags & ENDS != 0,
            payload,
        })
    }
}

/// The fields of a SACK chunk that matter here (RFC 9260 section 3.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sack {
    /// Every chunk up to this number has been received.
    pub(super) cumulative: u32,
    /// The room that is left.
    pub(super) window: u32,
    /// How many runs of chunks beyond it have been received.
    pub(super) gaps: u16,
}

/// A request to reset streams of its sender (RFC 6525 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ResetRequest {
    /// Its number; a repetition has the same.
    pub(super) number: u32,
    /// How many streams it names.
    pub(super) streams: usize,
}

impl Chunk<'_> {
    pub(super) fn sack(self) -> Option<Sack> {
        let fields = self.value.first_chunk::<SACK_FIELDS>()?;
        (self.kind == SACK).then_some(Sack {
            cumulative: word(fields, 0),
            window: word(fields, 4),
            gaps: u16::from_be_bytes([fields[8], fields[9]]),
        })
    }

    /// A chunk has at most two parameters, of which one is a request of this kind (RFC 6525 section 3.1).
    pub(super) fn reset_request(self) -> Option<ResetRequest> {
        let mut rest = Some(self.value).filter(|_| self.kind == RE_CONFIG)?;
        loop {
            let [kind, length] = [rest.first_chunk()?, rest.get(2..)?.first_chunk()?];
            let (kind, length) = (u16::from_be_bytes(*kind), u16::from_be_bytes(*length));
            let length = usize::from(length);
            if kind == OUTGOING_RESET_REQUEST {
                let fields = rest.first_chunk::<RESET_REQUEST_FIELDS>()?;
                return Some(ResetRequest {
                    number: word(fields, 4),
                    streams: length.saturating_sub(RESET_REQUEST_FIELDS) / 2,
                });
            }
            rest = rest.get(length.max(4).next_multiple_of(4)..)?;
        }
    }
}

/// The 32-bit number at `at`, which lies within `fields`.
fn word<const N: usize>(fields: &[u8; N], at: usize) -> u32 {
    let bytes = fields.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The message that stands for an empty one: `marker`, then one byte that tells text from binary.
pub(super) fn marker_message(marker: &[u8; MARKER_LEN], text: bool) -> [u8; MARKER_LEN + 1] {
    let mut message = [u8::from(text); MARKER_LEN + 1];
    message[..MARKER_LEN].copy_from_slice(marker);
    message
}

/// What is to be repaired.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repairs<'a> {
    /// Messages that begin with this stand for empty ones.
    pub(super) marker: Option<&'a [u8; MARKER_LEN]>,
    /// Gap blocks are dropped until the packet is no longer than this.
    pub(super) limit: usize,
    /// The widest window to announce.
    pub(super) window: u32,
}

/// Writes `packet` to `out`, repaired, and returns true; or returns false when there is nothing to repair.
pub(super) fn repair(packet: &[u8], repairs: Repairs<'_>, out: &mut Vec<u8>) -> bool {
    let Repairs {
        marker,
        limit,
        window,
    } = repairs;
    let excess = packet.len().saturating_sub(limit);
    let is_too_wide = |c: Chunk<'_>| c.sack().is_some_and(|sack| sack.window > window);
    let wanted = |c: Chunk<'_>| {
        empty_message(c, marker).is_some() || (excess > 0 && c.kind == SACK) || is_too_wide(c)
    };
    if !chunks(packet).any(wanted) {
        return false;
    }
    out.clear();
    out.extend_from_slice(packet.get(..COMMON_HEADER).unwrap_or_default());
    let mut consumed = out.len();
    for chunk in chunks(packet) {
        consumed += chunk.raw.len();
        if let Some(text) = empty_message(chunk, marker) {
            write_empty_message(chunk, text, out);
        } else if chunk.kind == SACK {
            write_sack(chunk, excess, window, out);
        } else {
            out.extend_from_slice(chunk.raw);
        }
    }
    out.extend_from_slice(packet.get(consumed..).unwrap_or_default());
    write_checksum(out);
    true
}

/// The acknowledgement in a packet as a packet of its own.
pub(super) fn acknowledgement(packet: &[u8]) -> Option<Vec<u8>> {
    let sack = chunks(packet).find(|chunk| chunk.sack().is_some())?;
    let mut alone = packet.get(..COMMON_HEADER)?.to_vec();
    alone.extend_from_slice(sack.raw);
    write_checksum(&mut alone);
    Some(alone)
}

/// Whether `chunk` is a marker message, and then whether it stands for a text message.
fn empty_message(chunk: Chunk<'_>, marker: Option<&[u8; MARKER_LEN]>) -> Option<bool> {
    let data = chunk.data()?;
    if !data.begins || !data.ends || data.payload.len() != MARKER_LEN + 1 {
        return None;
    }
    let (secret, kind) = data.payload.split_first_chunk::<MARKER_LEN>()?;
    (secret == marker?).then_some(kind == [1])
}

fn write_empty_message(chunk: Chunk<'_>, text: bool, out: &mut Vec<u8>) {
    let identifiers = chunk.value.get(..8).unwrap_or_default();
    let protocol = if text { STRING_EMPTY } else { BINARY_EMPTY };
    out.extend_from_slice(&[chunk.kind, chunk.flags, 0, EMPTY_CHUNK_LEN]);
    out.extend_from_slice(identifiers);
    out.extend_from_slice(&protocol.to_be_bytes());
    // One zero byte of payload and three of padding.
    out.extend_from_slice(&[0; 4]);
}

/// Drops `excess` bytes of a SACK, the duplicates first (they only count), then the gap blocks furthest ahead. Announces
/// `widest` at most.
fn write_sack(chunk: Chunk<'_>, excess: usize, widest: u32, out: &mut Vec<u8>) {
    let Some((fixed, blocks)) = chunk.value.split_first_chunk::<SACK_FIELDS>() else {
        return out.extend_from_slice(chunk.raw);
    };
    let window = word(fixed, 4).min(widest);
    if excess == 0 {
        out.extend_from_slice(chunk.raw.get(..CHUNK_HEADER + 4).unwrap_or_default());
        out.extend_from_slice(&window.to_be_bytes());
        out.extend_from_slice(chunk.raw.get(CHUNK_HEADER + 8..).unwrap_or_default());
        return;
    }
    let room = blocks.len().saturating_sub(excess.next_multiple_of(4));
    let gaps = u16::from_be_bytes([fixed[8], fixed[9]]);
    let kept = gaps.min(u16::try_from(room / 4).unwrap_or(u16::MAX));
    let kept_len = usize::from(kept) * 4;
    let length = CHUNK_HEADER + SACK_FIELDS + kept_len;
    out.extend_from_slice(&[chunk.kind, chunk.flags]);
    out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(&fixed[..4]);
    out.extend_from_slice(&window.to_be_bytes());
    out.extend_from_slice(&kept.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(blocks.get(..kept_len).unwrap_or_default());
}

/// RFC 9260 section 6.8 and appendix A: CRC32c over the packet with a zero checksum, stored least byte first.
fn write_checksum(packet: &mut [u8]) {
    if let Some(field) = packet.get_mut(CHECKSUM) {
        field.fill(0);
    }
    let sum = crc32c(packet).to_le_bytes();
    if let Some(field) = packet.get_mut(CHECKSUM) {
        field.copy_from_slice(&sum);
    }
}

/// Written here, because only the rare repaired packet needs it and it is shorter than the use of a crate.
fn crc32c(bytes: &[u8]) -> u32 {
    let step =
        |crc: u32, byte: &u8| CRC_TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8);
    !bytes.iter().fold(u32::MAX, step)
}

const CRC_TABLE: [u32; 256] = crc_table();

#[allow(clippy::cast_possible_truncation)] // `index` is below 256.
const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (CRC32C_POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

/// The bytes of a session's secret that a marker message begins with.
pub(super) const MARKER_LEN: usize = 16;

/// Castagnoli's polynomial, bits reversed (RFC 9260 appendix A).
const CRC32C_POLYNOMIAL: u32 = 0x82f6_3b78;
const COMMON_HEADER: usize = 12;
const CHECKSUM: std::ops::Range<usize> = 8..12;
const CHUNK_HEADER: usize = 4;
const DATA: u8 = 0;
const DATA_FIELDS: usize = 12;
const BEGINS: u8 = 2;
const ENDS: u8 = 1;
const SACK: u8 = 3;
const SACK_FIELDS: usize = 12;
const RE_CONFIG: u8 = 130;
const OUTGOING_RESET_REQUEST: u16 = 13;
/// The parameter's header, three numbers.
const RESET_REQUEST_FIELDS: usize = 16;
/// What announces and acknowledges channels (RFC 8832).
pub(super) const DCEP: u32 = 50;
/// Header, fields and one byte.
const EMPTY_CHUNK_LEN: u8 = 17;
/// "WebRTC String Empty" and "WebRTC Binary Empty" (RFC 8831 section 8).
const STRING_EMPTY: u32 = 56;
const BINARY_EMPTY: u32 = 57;

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: [u8; MARKER_LEN] = *b"sixteen secret!!";

    fn mark(packet: &[u8], out: &mut Vec<u8>) -> bool {
        let repairs = Repairs {
            marker: Some(&SECRET),
            ..NONE
        };
        repair(packet, repairs, out)
    }

    fn shorten(packet: &[u8], limit: usize, out: &mut Vec<u8>) -> bool {
        repair(packet, Repairs { limit, ..NONE }, out)
    }

    const NONE: Repairs<'static> = Repairs {
        marker: None,
        limit: usize::MAX,
        window: u32::MAX,
    };

    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_marker_becomes_one_zero_byte_with_the_identifier_of_an_empty_message() {
        for (text, protocol) in [(true, 56), (false, 57)] {
            let before = data_chunk(3, BEGINS | ENDS, b"before");
            let after = data_chunk(4, BEGINS | ENDS, b"after!!");
            let marker = data_chunk(3, BEGINS | ENDS, &marker_message(&SECRET, text));
            let packet = packet(&[&before, &marker, &after]);
            let mut out = Vec::new();
            assert!(mark(&packet, &mut out));

            let empty = [
                0, 3, 0, 17, 0, 0, 0, 9, 0, 3, 0, 7, 0, 0, 0, protocol, 0, 0, 0, 0,
            ];
            assert_eq!(out, self::packet(&[&before, &empty, &after]));
        }
    }

    #[test]
    fn only_a_whole_message_of_exactly_the_marker_is_rewritten() {
        let message = marker_message(&SECRET, true);
        let mut longer = message.to_vec();
        longer.push(0);
        let mut other = message;
        other[0] ^= 1;
        let cases: [(u8, &[u8]); 5] = [
            (BEGINS, &message),
            (ENDS, &message),
            (BEGINS | ENDS, &longer),
            (BEGINS | ENDS, &message[..16]),
            (BEGINS | ENDS, &other),
        ];
        for (flags, payload) in cases {
            let packet = packet(&[&data_chunk(1, flags, payload)]);
            assert!(!mark(&packet, &mut Vec::new()), "{flags}");
        }
        let packet = packet(&[&data_chunk(1, BEGINS | ENDS, &message)]);
        assert!(!repair(&packet, NONE, &mut Vec::new()));
    }

    #[test]
    fn a_sack_keeps_the_first_gap_blocks_that_fit() {
        let sack = packet(&[&sack_chunk(493, 3)]);
        assert_eq!(sack.len(), 12 + 16 + 496 * 4);
        let mut out = Vec::new();
        assert!(!shorten(&sack, sack.len(), &mut out));
        assert!(shorten(&sack, sack.len() - 1, &mut out));
        assert_eq!(out, packet(&[&sack_chunk(493, 0)]));
        assert!(shorten(&sack, 1_163, &mut out));
        assert_eq!(out, packet(&[&sack_chunk(283, 0)]));
        assert!(out.len() <= 1_163);
        assert!(shorten(&sack, 0, &mut out));
        assert_eq!(out, packet(&[&sack_chunk(0, 0)]));
    }

    #[test]
    fn a_window_that_is_too_wide_is_lowered_and_the_rest_stays() {
        let sack = sack_chunk(2, 1);
        let data = data_chunk(1, BEGINS | ENDS, b"data");
        let both = packet(&[&sack, &data]);
        let with = |window: u32| {
            let mut out = Vec::new();
            repair(&both, Repairs { window, ..NONE }, &mut out).then_some(out)
        };
        assert_eq!(with(65_536), None, "what the chunk says");
        for window in [0u32, 1, 65_535] {
            let mut lowered = sack.clone();
            lowered[8..12].copy_from_slice(&window.to_be_bytes());
            assert_eq!(with(window), Some(packet(&[&lowered, &data])));
        }
        assert_eq!(acknowledgement(&both), Some(packet(&[&sack])));
        assert_eq!(acknowledgement(&packet(&[&data])), None);
    }

    #[test]
    fn a_chunk_longer_than_its_packet_ends_the_parse() {
        let good = data_chunk(1, BEGINS | ENDS, b"data");
        for (length, expected) in [(3, 1), (4, 2), (5, 1)] {
            let packet = packet(&[&good, &[0, 3, 0, length]]);
            assert_eq!(chunks(&packet).count(), expected, "{length}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_parsed_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            limit in 0usize..200,
            window: u32,
        ) {
            let mut out = Vec::new();
            let marker = Some(&SECRET);
            if repair(&bytes, Repairs { marker, limit, window }, &mut out) {
                prop_assert!(out.len() <= bytes.len());
            }
        }
    }

    pub(in super::super) fn packet(chunks: &[&[u8]]) -> Vec<u8> {
        let mut packet = vec![0x13, 0x88, 0x13, 0x88, 1, 2, 3, 4, 0, 0, 0, 0];
        packet.extend(chunks.concat());
        write_checksum(&mut packet);
        packet
    }

    pub(in super::super) fn data_chunk(stream: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(16 + payload.len()).expect("short");
        let mut chunk = vec![DATA, flags];
        chunk.extend(length.to_be_bytes());
        chunk.extend([0, 0, 0, 9]);
        chunk.extend(stream.to_be_bytes());
        chunk.extend([0, 7, 0, 0, 0, 51]);
        chunk.extend(payload);
        chunk.resize(chunk.len().next_multiple_of(4), 0);
        chunk
    }

    pub(in super::super) fn reset_chunk(number: u32, streams: &[u16]) -> Vec<u8> {
        let length = 16 + 2 * u16::try_from(streams.len()).expect("few");
        let mut chunk = vec![RE_CONFIG, 0];
        chunk.extend((4 + length).to_be_bytes());
        chunk.extend(OUTGOING_RESET_REQUEST.to_be_bytes());
        chunk.extend(length.to_be_bytes());
        chunk.extend(number.to_be_bytes());
        chunk.extend([0; 8]);
        chunk.extend(streams.iter().flat_map(|stream| stream.to_be_bytes()));
        chunk.resize(chunk.len().next_multiple_of(4), 0);
        chunk
    }

    pub(in super::super) fn sack_chunk(gaps: u16, duplicates: u16) -> Vec<u8> {
        let mut chunk = vec![SACK, 0];
        chunk.extend((16 + 4 * (gaps + duplicates)).to_be_bytes());
        chunk.extend([0, 0, 0, 1, 0, 1, 0, 0]);
        chunk.extend(gaps.to_be_bytes());
        chunk.extend(duplicates.to_be_bytes());
        chunk.extend(
            (0..gaps)
                .flat_map(|n| [2 * n + 2, 2 * n + 2])
                .flat_map(u16::to_be_bytes),
        );
        chunk.extend((0..duplicates).flat_map(|n| u32::from(n).to_be_bytes()));
        chunk
    }
}
