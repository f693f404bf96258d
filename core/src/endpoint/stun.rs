//! A first look at STUN messages (RFC 8489): structure, FINGERPRINT and USERNAME, without allocation or state.
//!
//! The ICE agent parses again what is let through. It checks neither the FINGERPRINT nor the two top bits, and it
//! takes the last of repeated attributes where the first counts; here both are as the RFC has them.

use crate::crypto::hmac_sha1;

/// A well-formed STUN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StunView<'a> {
    /// The class.
    pub(crate) class: Class,
    /// The method; [`BINDING`] is that of ICE.
    pub(crate) method: u16,
    /// The transaction id.
    pub(crate) transaction: [u8; 12],
    /// The value of the first USERNAME, not checked.
    pub(crate) username: Option<&'a [u8]>,
    /// The first MESSAGE-INTEGRITY, see [`is_authentic`].
    pub(crate) integrity: Option<Integrity>,
    /// Whether there is a FINGERPRINT. If so, it is right.
    pub(crate) has_fingerprint: bool,
}

impl<'a> StunView<'a> {
    /// Reads a whole datagram.
    pub(crate) fn parse(datagram: &'a [u8]) -> Result<Self, StunFault> {
        let (header, attributes) = datagram
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(StunFault::Header)?;
        let [t0, t1, l0, l1, c0, c1, c2, c3, transaction @ ..] = *header;
        let message_type = u16::from_be_bytes([t0, t1]);
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if message_type & 0xc000 != 0 || [c0, c1, c2, c3] != MAGIC_COOKIE {
            return Err(StunFault::Header);
        }
        if len != attributes.len() || !len.is_multiple_of(4) {
            return Err(StunFault::Length);
        }
        let mut view = Self {
            class: Class::of(message_type),
            method: method(message_type),
            transaction,
            username: None,
            integrity: None,
            has_fingerprint: false,
        };
        view.walk(datagram, attributes)?;
        Ok(view)
    }

    /// The receiver's user name fragment: what stands before the colon (RFC 8445 section 7.2.2).
    pub(crate) fn local_ufrag(&self) -> Option<&'a str> {
        let username = self.username.filter(|name| name.len() < MAX_USERNAME)?;
        let (local, remote) = std::str::from_utf8(username).ok()?.split_once(':')?;
        (!local.is_empty() && !remote.is_empty()).then_some(local)
    }

    fn walk(&mut self, datagram: &[u8], attributes: &'a [u8]) -> Result<(), StunFault> {
        let mut rest = attributes;
        while !rest.is_empty() {
            // RFC 8489 section 14.7: it "MUST be the last attribute".
            if self.has_fingerprint {
                return Err(StunFault::Fingerprint);
            }
            let before = datagram.len() - rest.len();
            let (kind, value, after) = attribute(rest)?;
            if !length_fits(kind, value.len()) {
                return Err(StunFault::Attribute);
            }
            match kind {
                FINGERPRINT => {
                    let covered = datagram.get(..before).unwrap_or_default();
                    if value != (crc32(covered) ^ FINGERPRINT_XOR).to_be_bytes() {
                        return Err(StunFault::Fingerprint);
                    }
                    self.has_fingerprint = true;
                }
                // "Agents MUST ignore all other attributes that follow MESSAGE-INTEGRITY" (RFC 8489 section 14.5).
                MESSAGE_INTEGRITY if self.integrity.is_none() => {
                    let hmac = value.try_into().map_err(|_| StunFault::Attribute)?;
                    self.integrity = Some(Integrity { at: before, hmac });
                }
                USERNAME if self.integrity.is_none() => {
                    self.username = self.username.or(Some(value));
                }
                _ => {}
            }
            rest = after;
        }
        Ok(())
    }
}

/// A MESSAGE-INTEGRITY, not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Integrity {
    /// Where the attribute begins in the datagram.
    at: usize,
    hmac: [u8; HMAC_LEN],
}

/// Whether a message was made by somebody who has the short-term `password` (RFC 8489 section 14.5).
pub(crate) fn is_authentic(datagram: &[u8], password: &str) -> bool {
    let authentic = || {
        let Integrity { at, hmac } = StunView::parse(datagram).ok()?.integrity?;
        let (mut header, rest) = (
            *datagram.first_chunk::<HEADER_LEN>()?,
            datagram.get(HEADER_LEN..at)?,
        );
        // The length is that of a message which ends with the attribute.
        let len = u16::try_from(at + ATTRIBUTE_HEADER_LEN + HMAC_LEN - HEADER_LEN).ok()?;
        [header[2], header[3]] = len.to_be_bytes();
        let right = hmac_sha1(password.as_bytes(), &[&header, rest]);
        // In the same time, wherever they differ.
        let differences = right.iter().zip(&hmac).fold(0, |all, (a, b)| all | (a ^ b));
        Some(differences == 0)
    };
    authentic().unwrap_or(false)
}

/// The class of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// It asks.
    Request,
    /// It tells.
    Indication,
    /// It answers.
    Success,
    /// It refuses.
    Error,
}

impl Class {
    /// The bits C1 and C0 of `M11..M7 C1 M6..M4 C0 M3..M0` (RFC 8489 section 5).
    const fn of(message_type: u16) -> Self {
        match (message_type & 0x0100 != 0, message_type & 0x0010 != 0) {
            (false, false) => Self::Request,
            (false, true) => Self::Indication,
            (true, false) => Self::Success,
            (true, true) => Self::Error,
        }
    }
}

/// Why a datagram is not a well-formed STUN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StunFault {
    /// Shorter than a header, with other top bits than zero, or without the magic cookie.
    Header,
    /// The length is not that of the datagram, or not a multiple of 4.
    Length,
    /// An attribute is longer than the message, or not as long as it has to be.
    Attribute,
    /// The FINGERPRINT is wrong, or not the last attribute.
    Fingerprint,
}

/// Takes the first attribute: its type, its value, and what follows its padding.
fn attribute(bytes: &[u8]) -> Result<(u16, &[u8], &[u8]), StunFault> {
    let ([t0, t1, l0, l1], rest) = bytes.split_first_chunk::<4>().ok_or(StunFault::Attribute)?;
    let len = usize::from(u16::from_be_bytes([*l0, *l1]));
    let value = rest.get(..len).ok_or(StunFault::Attribute)?;
    let after = rest
        .get(len.next_multiple_of(4)..)
        .ok_or(StunFault::Attribute)?;
    Ok((u16::from_be_bytes([*t0, *t1]), value, after))
}

/// Whether an attribute that ICE uses has a length that it can have.
const fn length_fits(kind: u16, len: usize) -> bool {
    match kind {
        MESSAGE_INTEGRITY => len == HMAC_LEN,
        MESSAGE_INTEGRITY_SHA256 => len >= 16 && len <= 32 && len.is_multiple_of(4),
        FINGERPRINT | PRIORITY => len == 4,
        ICE_CONTROLLED | ICE_CONTROLLING => len == 8,
        USE_CANDIDATE => len == 0,
        ERROR_CODE => len >= 4,
        XOR_MAPPED_ADDRESS => len == 8 || len == 20,
        _ => true,
    }
}

const fn method(message_type: u16) -> u16 {
    (message_type & 0x000f) | ((message_type & 0x00e0) >> 1) | ((message_type & 0x3e00) >> 2)
}

/// CRC-32 of ISO/IEC 13239 as in ITU V.42, which RFC 8489 section 14.7 names.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ CRC_TABLE[usize::from(low ^ byte)]
    };
    !bytes.iter().fold(u32::MAX, step)
}

const CRC_TABLE: [u32; 256] = crc_table();

#[expect(clippy::cast_possible_truncation, reason = "the index is below 256")]
const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < table.len() {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 0 {
                crc >> 1
            } else {
                (crc >> 1) ^ 0xedb8_8320
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

/// The method of connectivity checks.
pub(crate) const BINDING: u16 = 1;

const HEADER_LEN: usize = 20;
const ATTRIBUTE_HEADER_LEN: usize = 4;
/// The bytes of an HMAC-SHA1.
const HMAC_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// RFC 8489 section 14.3: a USERNAME has fewer bytes than this.
const MAX_USERNAME: usize = 509;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802a;

/// Makes messages for the tests of this module and of the gate.
#[cfg(any(test, fuzzing))]
pub(super) mod build {
    use super::{FINGERPRINT, FINGERPRINT_XOR, MAGIC_COOKIE, crc32};

    /// A message with the attributes given, and no more.
    pub(in crate::endpoint) fn message(message_type: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = message_type.to_be_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(MAGIC_COOKIE);
        bytes.extend([7; 12]);
        for (kind, value) in attributes {
            push(&mut bytes, *kind, value);
        }
        set_len(&mut bytes);
        bytes
    }

    /// The same message, with a FINGERPRINT.
    pub(in crate::endpoint) fn fingerprinted(mut bytes: Vec<u8>) -> Vec<u8> {
        push(&mut bytes, FINGERPRINT, &[0; 4]);
        set_len(&mut bytes);
        let covered = bytes.len() - 8;
        let value = (crc32(&bytes[..covered]) ^ FINGERPRINT_XOR).to_be_bytes();
        bytes[covered + 4..].copy_from_slice(&value);
        bytes
    }

    fn push(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(u16::try_from(value.len()).expect("short").to_be_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }

    fn set_len(bytes: &mut [u8]) {
        let len = u16::try_from(bytes.len() - 20)
            .expect("short")
            .to_be_bytes();
        bytes[2..4].copy_from_slice(&len);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::build::{fingerprinted, message};
    use super::*;
    use crate::linear::assert_linear;

    /// A message ends at 64 KiB; the gate stops at [`MAX_DATAGRAM`](super::super::gate::MAX_DATAGRAM) before.
    #[test]
    fn work_is_linear_in_the_length_of_a_message() {
        for (kind, len) in [
            (USERNAME, 4),
            (MESSAGE_INTEGRITY, 20),
            (0x8000, 0),
            (0x8000, 4_000),
        ] {
            let attribute = (kind, &vec![b'x'; len][..]);
            let long = |total: usize| {
                let count = (total / (len + 4)).max(1);
                fingerprinted(message(1, &vec![attribute; count]))
            };
            assert_linear("attributes", 60_000, long, |bytes| {
                assert!(StunView::parse(bytes).is_ok());
            });
        }
    }

    /// RFC 5769 section 2.1.
    const SAMPLE: &[u8] = &[
        0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6,
        0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74,
        0x65, 0x73, 0x74, 0x20, 0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e,
        0x00, 0x01, 0xff, 0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36,
        0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20,
        0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e,
        0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28, 0x00, 0x04, 0xe5,
        0x7a, 0x3b, 0xcf,
    ];
    const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

    #[test]
    fn the_sample_of_the_rfc_is_authentic_and_what_differs_is_not() {
        assert!(is_authentic(SAMPLE, PASSWORD));
        assert!(!is_authentic(SAMPLE, "VOkJxbRl1RmTxUk/WvJxBs"));
        assert!(!is_authentic(SAMPLE, ""));
        let without = &message(1, &[(USERNAME, b"evtj:h6vY")]);
        assert!(!is_authentic(without, PASSWORD));
        let end = SAMPLE.len() - 8;
        // Made again with a right length and FINGERPRINT.
        for bit in (0..16).chain(32..end * 8) {
            let mut altered = SAMPLE[..end].to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_authentic(&fingerprinted(altered), PASSWORD), "{bit}");
        }
        assert!(is_authentic(
            &fingerprinted(SAMPLE[..end].to_vec()),
            PASSWORD
        ));
    }

    #[test]
    fn the_crc_is_that_of_the_catalogue() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn class_and_method_are_woven_into_the_type() {
        let view = |message_type| {
            StunView::parse(&message(message_type, &[])).map(|v| (v.class, v.method))
        };
        assert_eq!(view(0x0001), Ok((Class::Request, BINDING)));
        assert_eq!(view(0x0011), Ok((Class::Indication, BINDING)));
        assert_eq!(view(0x0101), Ok((Class::Success, BINDING)));
        assert_eq!(view(0x0111), Ok((Class::Error, BINDING)));
        assert_eq!(view(0x3fff), Ok((Class::Error, 0x0fff)));
        for top_bits in [0x4001, 0x8001, 0xc001] {
            assert_eq!(view(top_bits), Err(StunFault::Header));
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_is_found() {
        let whole = fingerprinted(message(
            1,
            &[(USERNAME, b"abcd:efgh"), (MESSAGE_INTEGRITY, &[3; 20])],
        ));
        assert!(StunView::parse(&whole).is_ok_and(|v| v.has_fingerprint && v.integrity.is_some()));
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // The type of the FINGERPRINT itself is the one place where a flip hides it instead.
            let seen = StunView::parse(&flipped).is_ok_and(|v| v.has_fingerprint);
            assert!(!seen, "bit {bit}");
        }
    }

    #[test]
    fn what_is_cut_or_extended_is_refused() {
        let whole = fingerprinted(message(1, &[(USERNAME, b"abcd:efgh")]));
        for len in 0..whole.len() {
            assert!(StunView::parse(&whole[..len]).is_err(), "{len}");
        }
        let mut longer = whole;
        longer.extend([0; 4]);
        assert_eq!(StunView::parse(&longer), Err(StunFault::Length));
    }

    #[test]
    fn an_attribute_may_end_with_the_message_and_not_after_it() {
        let mut bytes = message(1, &[(0x8000, &[1, 2, 3])]);
        assert!(StunView::parse(&bytes).is_ok());
        for len in [5, 65_535_u16] {
            bytes[22..24].copy_from_slice(&len.to_be_bytes());
            assert_eq!(StunView::parse(&bytes), Err(StunFault::Attribute), "{len}");
        }
    }

    #[test]
    fn the_fingerprint_has_to_be_the_last_attribute() {
        let mut bytes = fingerprinted(message(1, &[]));
        bytes.extend([0x80, 0, 0, 0]);
        bytes[2..4].copy_from_slice(&12_u16.to_be_bytes());
        assert_eq!(StunView::parse(&bytes), Err(StunFault::Fingerprint));
        let twice = fingerprinted(fingerprinted(message(1, &[])));
        assert_eq!(StunView::parse(&twice), Err(StunFault::Fingerprint));
    }

    #[test]
    fn the_first_user_name_before_the_integrity_counts() {
        let integrity = (MESSAGE_INTEGRITY, &[0; 20][..]);
        let ufrag = |attributes: &[(u16, &[u8])]| {
            let bytes = message(1, attributes);
            StunView::parse(&bytes)
                .expect("well-formed")
                .local_ufrag()
                .map(str::to_owned)
        };
        let (one, two) = ((USERNAME, &b"one:x"[..]), (USERNAME, &b"two:x"[..]));
        assert_eq!(ufrag(&[one, two, integrity]).as_deref(), Some("one"));
        assert_eq!(ufrag(&[integrity, two]), None);
        for name in [&b"nocolon"[..], b":x", b"x:", b"\xff:x", &[b'x'; 600]] {
            assert_eq!(ufrag(&[(USERNAME, name)]), None);
        }
        let name = |len: usize| [b"a:".to_vec(), vec![b'x'; len - 2]].concat();
        assert_eq!(ufrag(&[(USERNAME, &name(508))]).as_deref(), Some("a"));
        assert_eq!(ufrag(&[(USERNAME, &name(509))]), None);
    }

    #[test]
    fn lengths_that_an_attribute_cannot_have_are_refused() {
        for (kind, len) in [
            (MESSAGE_INTEGRITY, 19),
            (MESSAGE_INTEGRITY, 24),
            (MESSAGE_INTEGRITY_SHA256, 12),
            (MESSAGE_INTEGRITY_SHA256, 36),
            (PRIORITY, 8),
            (ICE_CONTROLLED, 4),
            (ICE_CONTROLLING, 12),
            (USE_CANDIDATE, 4),
            (ERROR_CODE, 3),
            (XOR_MAPPED_ADDRESS, 4),
            (FINGERPRINT, 8),
        ] {
            let bytes = message(1, &[(kind, &vec![0; len])]);
            assert_eq!(
                StunView::parse(&bytes),
                Err(StunFault::Attribute),
                "{kind:#06x} {len}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_datagram_panics(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = StunView::parse(&bytes).map(|view| view.local_ufrag().is_some());
        }

        #[test]
        fn no_attributes_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let mut whole = message(1, &[]);
            whole.extend(&bytes[..bytes.len() & !3]);
            let len = u16::try_from(whole.len() - 20).expect("short").to_be_bytes();
            whole[2..4].copy_from_slice(&len);
            let _ = StunView::parse(&whole).map(|view| view.local_ufrag().is_some());
        }
    }
}
