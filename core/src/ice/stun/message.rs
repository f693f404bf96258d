//! Binding messages between us and a plain STUN server (RFC 8489): the requests, and what their answers say. No state.

use std::fmt;
use std::net::SocketAddr;

use stun_types::attribute::{
    AttributeStaticType, AttributeType, ErrorCode, MappedSocketAddr, MessageIntegrity,
    MessageIntegritySha256, Nonce, PasswordAlgorithm, RawAttribute, Realm, UnknownAttributes,
    Userhash, Username, XorMappedAddress,
};
use stun_types::message::{
    BINDING, Message, MessageClass, MessageType, MessageWrite, MessageWriteExt, MessageWriteVec,
};

use crate::rng::Rng;

/// The 96 bits by which an answer finds its request. Whoever has not seen the request cannot guess them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TransactionId([u8; 12]);

impl TransactionId {
    /// A fresh one, "uniformly and randomly chosen [..] and SHOULD be cryptographically random" (RFC 8489 section 5).
    pub(in crate::ice) fn draw(rng: &mut Rng) -> Self {
        Self(rng.bytes())
    }

    /// That of a Binding response, which is not looked at any further.
    pub(super) fn of_response(datagram: &[u8]) -> Option<Self> {
        Self::of(&[SUCCESS, ERROR], datagram)
    }

    /// That of a Binding request, which is not looked at any further.
    pub(in crate::ice) fn of_request(datagram: &[u8]) -> Option<Self> {
        Self::of(&[REQUEST], datagram)
    }

    /// That of any message.
    pub(in crate::ice) fn of_message(message: &[u8]) -> Option<Self> {
        let [_, _, _, _, c0, c1, c2, c3, id @ ..] = *message.first_chunk::<HEADER_LEN>()?;
        ([c0, c1, c2, c3] == MAGIC_COOKIE).then_some(Self(id))
    }

    /// That of a message of one of these types.
    fn of(types: &[[u8; 2]], datagram: &[u8]) -> Option<Self> {
        let fits = types.contains(datagram.first_chunk()?);
        Self::of_message(datagram).filter(|_| fits)
    }
}

impl From<TransactionId> for stun_types::message::TransactionId {
    fn from(TransactionId(id): TransactionId) -> Self {
        let mut wide = [0; 16];
        wide[4..].copy_from_slice(&id);
        u128::from_be_bytes(wide).into()
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransactionId(..)")
    }
}

/// From where a server is to answer (RFC 5780 section 7.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ChangeRequest {
    /// From another IP address than the one that was asked.
    pub(crate) ip: bool,
    /// From another port.
    pub(crate) port: bool,
}

impl ChangeRequest {
    /// The flags A and B.
    const fn value(self) -> [u8; 4] {
        [0, 0, 0, (self.ip as u8) << 2 | (self.port as u8) << 1]
    }
}

/// A Binding request, with a FINGERPRINT, and a CHANGE-REQUEST when the answer is to come from elsewhere.
pub(super) fn request(id: TransactionId, change: ChangeRequest) -> Vec<u8> {
    let kind = MessageType::from_class_method(MessageClass::Request, BINDING);
    let mut message = Message::builder(kind, id.into(), MessageWriteVec::new());
    if change != ChangeRequest::default() {
        let value = change.value();
        message.push_attribute_unchecked(&RawAttribute::new(CHANGE_REQUEST, &value));
    }
    message
        .add_fingerprint()
        .expect("the message has none yet, and a vector has room");
    message.finish()
}

/// What a response says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A success.
    Success {
        /// XOR-MAPPED-ADDRESS, or else MAPPED-ADDRESS: where the request seemed to come from.
        mapped: SocketAddr,
        /// RESPONSE-ORIGIN: from where the server says that it answers.
        origin: Option<SocketAddr>,
        /// OTHER-ADDRESS: the server's other address and other port.
        other: Option<SocketAddr>,
    },
    /// An error.
    Refused {
        /// Its code, from 300 to 699.
        code: u16,
    },
    /// A response that tells nothing: the transaction "is considered to have failed" (RFC 8489 sections 6.3.3 and
    /// 6.3.4). It has attributes that must be understood and are not, or lacks the one that counts.
    Unusable,
}

/// Reads a whole datagram. `None`: it is no well-formed response, and as good as not received (RFC 8489 section 6.3).
pub(super) fn read(datagram: &[u8]) -> Option<Answer> {
    // The codec reads on behind the length that the header gives.
    let [_, _, l0, l1] = *datagram.first_chunk::<4>()?;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    if len.checked_add(HEADER_LEN)? != datagram.len() {
        return None;
    }
    let message = Message::from_bytes(datagram).ok()?;
    if !message.has_method(BINDING) || !message.is_response() {
        return None;
    }
    let answer = if message
        .iter_attributes()
        .any(|(_, attribute)| must_be_understood(attribute.header.get_type()))
    {
        Answer::Unusable
    } else if message.has_class(MessageClass::Success) {
        success(&message)
    } else {
        refusal(&message)
    };
    Some(answer)
}

fn success(message: &Message<'_>) -> Answer {
    let mapped = match message.raw_attribute(XorMappedAddress::TYPE) {
        Some(raw) => XorMappedAddress::try_from(&raw)
            .ok()
            .map(|xored| xored.addr(message.transaction_id()))
            .filter(is_usable),
        None => address(message, MAPPED_ADDRESS),
    };
    mapped.map_or(Answer::Unusable, |mapped| Answer::Success {
        mapped,
        origin: address(message, RESPONSE_ORIGIN),
        other: address(message, OTHER_ADDRESS),
    })
}

/// The reason phrase is not read, so that nothing can be wrong with it.
fn refusal(message: &Message<'_>) -> Answer {
    let raw = message.raw_attribute(ErrorCode::TYPE);
    let value = raw.as_ref().map_or(&[][..], |raw| &raw.value);
    match value {
        [_, _, class, number, ..] if (3..7).contains(&(class & 7)) && *number < 100 => {
            let code = u16::from(class & 7) * 100 + u16::from(*number);
            Answer::Refused { code }
        }
        _ => Answer::Unusable,
    }
}

fn address(message: &Message<'_>, kind: AttributeType) -> Option<SocketAddr> {
    let raw = message.raw_attribute(kind)?;
    let read = MappedSocketAddr::from_raw(&raw).ok()?;
    Some(read.addr()).filter(is_usable)
}

/// Whether it can be the address of one socket.
fn is_usable(address: &SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()
}

/// Whether an attribute is one that must be understood (RFC 8489 section 14), and is not.
fn must_be_understood(kind: AttributeType) -> bool {
    kind.comprehension_required() && !UNDERSTOOD.contains(&kind)
}

const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// The type of a Binding request.
const REQUEST: [u8; 2] = [0x00, 0x01];
/// The type of a Binding success response.
const SUCCESS: [u8; 2] = [0x01, 0x01];
/// The type of a Binding error response.
const ERROR: [u8; 2] = [0x01, 0x11];

const MAPPED_ADDRESS: AttributeType = AttributeType::new(0x0001);
const CHANGE_REQUEST: AttributeType = AttributeType::new(0x0003);
const RESPONSE_ORIGIN: AttributeType = AttributeType::new(0x802b);
const OTHER_ADDRESS: AttributeType = AttributeType::new(0x802c);

/// The attributes of RFC 8489 and RFC 5780 that must be understood, and SOURCE-ADDRESS and CHANGED-ADDRESS of RFC 3489,
/// which servers add for old clients.
const UNDERSTOOD: [AttributeType; 15] = [
    MAPPED_ADDRESS,
    CHANGE_REQUEST,
    AttributeType::new(0x0004),
    AttributeType::new(0x0005),
    Username::TYPE,
    MessageIntegrity::TYPE,
    ErrorCode::TYPE,
    UnknownAttributes::TYPE,
    Realm::TYPE,
    Nonce::TYPE,
    MessageIntegritySha256::TYPE,
    PasswordAlgorithm::TYPE,
    Userhash::TYPE,
    XorMappedAddress::TYPE,
    // PADDING.
    AttributeType::new(0x0026),
];

/// What a server sends, for the tests here and of what asks servers.
#[cfg(any(test, fuzzing))]
pub(in crate::ice) mod build {
    use std::net::SocketAddr;

    use stun_types::attribute::{AttributeType, MappedSocketAddr, RawAttribute, XorMappedAddress};
    use stun_types::message::{
        BINDING, Message, MessageClass, MessageType, MessageWrite, MessageWriteExt, MessageWriteVec,
    };

    #[cfg(test)]
    use super::{CHANGE_REQUEST, ChangeRequest};
    use super::{ErrorCode, MAPPED_ADDRESS, OTHER_ADDRESS, RESPONSE_ORIGIN};

    /// What a success response has.
    #[derive(Debug, Clone, Copy, Default)]
    pub(in crate::ice) struct Success {
        /// XOR-MAPPED-ADDRESS.
        pub(in crate::ice) xor_mapped: Option<SocketAddr>,
        /// MAPPED-ADDRESS.
        pub(in crate::ice) mapped: Option<SocketAddr>,
        /// RESPONSE-ORIGIN.
        pub(in crate::ice) origin: Option<SocketAddr>,
        /// OTHER-ADDRESS.
        pub(in crate::ice) other: Option<SocketAddr>,
        /// An attribute of this type.
        pub(in crate::ice) extra: Option<u16>,
    }

    /// A success response to `request`, with a FINGERPRINT.
    pub(in crate::ice) fn success(request: &[u8], success: &Success) -> Vec<u8> {
        let mut message = answer(request, MessageClass::Success);
        if let Some(extra) = success.extra {
            push(
                &mut message,
                &RawAttribute::new(AttributeType::new(extra), &[1]),
            );
        }
        if let Some(mapped) = success.xor_mapped {
            let id = Message::from_bytes(request)
                .expect("a request")
                .transaction_id();
            let attribute = XorMappedAddress::new(mapped, id);
            message.add_attribute(&attribute).expect("room");
        }
        let plain = [
            (MAPPED_ADDRESS, success.mapped),
            (RESPONSE_ORIGIN, success.origin),
            (OTHER_ADDRESS, success.other),
        ];
        for (kind, address) in plain {
            if let Some(address) = address {
                push(&mut message, &MappedSocketAddr::new(address).to_raw(kind));
            }
        }
        message.add_fingerprint().expect("room");
        message.finish()
    }

    /// An error response to `request`.
    pub(in crate::ice) fn error(request: &[u8], code: u16) -> Vec<u8> {
        let mut message = answer(request, MessageClass::Error);
        let error = ErrorCode::new(code, "no").expect("a code");
        message.add_attribute(&error).expect("room");
        message.finish()
    }

    /// The CHANGE-REQUEST of a request.
    #[cfg(test)]
    pub(in crate::ice) fn change_of(request: &[u8]) -> ChangeRequest {
        let message = Message::from_bytes(request).expect("a request");
        let flags = message
            .raw_attribute(CHANGE_REQUEST)
            .map_or(0, |raw| raw.value[3]);
        ChangeRequest {
            ip: flags & 4 != 0,
            port: flags & 2 != 0,
        }
    }

    fn answer(request: &[u8], class: MessageClass) -> MessageWriteVec {
        let request = Message::from_bytes(request).expect("a request");
        let kind = MessageType::from_class_method(class, BINDING);
        Message::builder(kind, request.transaction_id(), MessageWriteVec::new())
    }

    fn push(message: &mut MessageWriteVec, attribute: &RawAttribute<'_>) {
        message.add_attribute(attribute).expect("room");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::build::{Success, change_of, error, success};
    use super::*;
    use crate::endpoint::stun::{Class, StunView};
    use crate::rng::{Rng, Seed};

    fn id() -> TransactionId {
        TransactionId::draw(&mut Rng::new(&Seed::from([1; 32])))
    }

    fn plain() -> Vec<u8> {
        request(id(), ChangeRequest::default())
    }

    fn address(text: &str) -> Option<SocketAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn a_request_is_a_binding_with_our_id_and_a_fingerprint_and_no_more() {
        let bytes = plain();
        let view = StunView::parse(&bytes).expect("well-formed");
        assert_eq!((view.class, view.method), (Class::Request, 1));
        assert_eq!(view.transaction, id().0);
        assert!(view.has_fingerprint);
        assert_eq!(bytes.len(), 28);
    }

    #[test]
    fn a_change_request_has_the_flags_of_the_rfc() {
        for (ip, port, flags) in [(true, true, 6), (true, false, 4), (false, true, 2)] {
            let bytes = request(id(), ChangeRequest { ip, port });
            assert_eq!(bytes[20..28], [0, 3, 0, 4, 0, 0, 0, flags]);
            assert_eq!(change_of(&bytes), ChangeRequest { ip, port });
        }
    }

    #[test]
    fn an_answer_tells_the_three_addresses_in_both_families() {
        for (mapped, origin, other) in [
            ("192.0.2.1:4000", "198.51.100.1:3478", "198.51.100.2:3479"),
            (
                "[2001:db8::1]:4000",
                "[2001:db8::2]:3478",
                "[2001:db8::3]:1",
            ),
        ] {
            let bytes = success(
                &plain(),
                &Success {
                    xor_mapped: address(mapped),
                    origin: address(origin),
                    other: address(other),
                    ..Success::default()
                },
            );
            assert_eq!(TransactionId::of_response(&bytes), Some(id()));
            let expected = Answer::Success {
                mapped: address(mapped).expect("one"),
                origin: address(origin),
                other: address(other),
            };
            assert_eq!(read(&bytes), Some(expected));
        }
    }

    #[test]
    fn the_xored_address_counts_and_the_plain_one_where_there_is_no_other() {
        let mapped_of = |xor_mapped, mapped| {
            let answer = Success {
                xor_mapped,
                mapped,
                ..Success::default()
            };
            match read(&success(&plain(), &answer)) {
                Some(Answer::Success { mapped, .. }) => Some(mapped),
                _ => None,
            }
        };
        let [one, two] = ["192.0.2.1:1", "192.0.2.2:2"].map(address);
        assert_eq!(mapped_of(one, two), one);
        assert_eq!(mapped_of(None, two), two);
        assert_eq!(mapped_of(None, None), None);
        for unusable in ["192.0.2.1:0", "0.0.0.0:1", "224.0.0.1:1", "[::]:1"] {
            assert_eq!(mapped_of(address(unusable), two), None, "{unusable}");
        }
    }

    #[test]
    fn an_attribute_that_must_be_understood_and_is_not_fails_the_transaction() {
        let with = |extra| {
            let answer = Success {
                xor_mapped: address("192.0.2.1:1"),
                extra: Some(extra),
                ..Success::default()
            };
            read(&success(&plain(), &answer))
        };
        for unknown in [0x0000, 0x0002, 0x0030, 0x7fff] {
            assert_eq!(with(unknown), Some(Answer::Unusable), "{unknown:#x}");
        }
        for ignored in [0x0004, 0x0005, 0x0026, 0x8000, 0xffff] {
            let answer = with(ignored);
            assert!(
                matches!(answer, Some(Answer::Success { .. })),
                "{ignored:#x}"
            );
        }
    }

    #[test]
    fn an_error_tells_its_code_and_without_one_nothing() {
        for code in [300, 400, 401, 420, 438, 500, 699] {
            let answer = read(&error(&plain(), code));
            assert_eq!(answer, Some(Answer::Refused { code }));
        }
        for (class, number) in [(2, 0), (7, 0), (4, 100)] {
            let mut bytes = error(&plain(), 400);
            bytes[26..28].copy_from_slice(&[class, number]);
            assert_eq!(read(&bytes), Some(Answer::Unusable));
        }
        let bare = [&ERROR[..], &[0, 0], &MAGIC_COOKIE, &id().0].concat();
        assert_eq!(read(&bare), Some(Answer::Unusable));
    }

    #[test]
    fn what_is_cut_extended_or_altered_is_not_read() {
        let whole = success(
            &plain(),
            &Success {
                xor_mapped: address("192.0.2.1:1"),
                ..Success::default()
            },
        );
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len]), None, "{len}");
        }
        assert_eq!(read(&[&whole[..], &[0; 4]].concat()), None);
        for more in 1..=3 {
            let mut odd = [&whole[..whole.len() - 8], &[0; 3][..more]].concat();
            odd[3] = u8::try_from(odd.len() - HEADER_LEN).expect("short");
            assert_eq!(read(&odd), None, "{more} more than a multiple of 4");
        }
        let before_fingerprint = (whole.len() - 8) * 8;
        for bit in 0..before_fingerprint {
            let mut altered = whole.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&altered), None, "{bit}");
        }
    }

    #[test]
    fn requests_and_other_methods_are_no_answers() {
        assert_eq!(read(&plain()), None);
        assert_eq!(TransactionId::of_response(&plain()), None);
        assert_eq!(TransactionId::of_request(&plain()), Some(id()));
        let allocate = [&[0x01, 0x03, 0, 0][..], &MAGIC_COOKIE, &id().0].concat();
        assert_eq!(read(&allocate), None);
        assert_eq!(TransactionId::of_response(&allocate), None);
        assert_eq!(TransactionId::of_request(&allocate), None);
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read(&bytes), TransactionId::of_response(&bytes));
        }

        /// Behind a right header, where the attributes are read.
        #[test]
        fn no_attributes_panic(
            class in prop_oneof![Just(SUCCESS), Just(ERROR)],
            words in proptest::collection::vec(attribute_word(), 0..40),
        ) {
            let body = words.concat();
            let len = u16::try_from(body.len()).expect("short").to_be_bytes();
            let bytes = [&class[..], &len, &MAGIC_COOKIE, &id().0, &body].concat();
            let _ = read(&bytes);
        }
    }

    /// Four bytes that often begin an attribute.
    fn attribute_word() -> impl Strategy<Value = [u8; 4]> {
        let kinds = [1_u16, 8, 9, 0x1c, 0x20, 0x8028, 0x802b, 0x802c];
        let header =
            (proptest::sample::select(kinds.to_vec()), 0_u8..=24).prop_map(|(kind, len)| {
                let [high, low] = kind.to_be_bytes();
                [high, low, 0, len]
            });
        prop_oneof![header, any::<[u8; 4]>()]
    }
}
