//! STUN messages that the server makes itself, or makes anew from others.

use std::net::SocketAddr;

use turn_server_proto::types::stun::attribute::{
    AttributeType, ErrorCode, Fingerprint, MappedSocketAddr, MessageIntegrity,
    MessageIntegritySha256, Nonce, RawAttribute, Realm, XorMappedAddress,
};
use turn_server_proto::types::stun::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageIntegrityCredentials,
    MessageWrite as _, MessageWriteExt as _, MessageWriteVec,
};
use turn_server_proto::types::stun::prelude::{Attribute as _, AttributeStaticType as _};

/// Asks for an answer from another address (RFC 5780 §7.2).
pub(super) const CHANGE_REQUEST: AttributeType = AttributeType::new(0x0003);
const MAPPED_ADDRESS: AttributeType = AttributeType::new(0x0001);
const ALTERNATE_SERVER: AttributeType = AttributeType::new(0x8023);
const RESPONSE_ORIGIN: AttributeType = AttributeType::new(0x802b);
const OTHER_ADDRESS: AttributeType = AttributeType::new(0x802c);

/// With what a message is signed.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) credentials: LongTermKeyCredentials,
    pub(super) algorithm: IntegrityAlgorithm,
}

impl Key {
    fn credentials(&self) -> MessageIntegrityCredentials {
        self.credentials.clone().into()
    }

    /// Whether a message was signed with this.
    pub(super) fn signed(&self, message: &Message<'_>) -> bool {
        message.validate_integrity(&self.credentials()).is_ok()
    }
}

/// What an error says beyond its code.
#[derive(Debug, Clone, Copy)]
pub(super) enum Extra<'a> {
    Nothing,
    /// How to authenticate: realm and nonce.
    Challenge(&'a str, &'a str),
    /// Where to go.
    Alternate(SocketAddr),
}

/// An error response.
pub(super) fn error(
    request: &Message<'_>,
    code: u16,
    extra: Extra<'_>,
    key: Option<&Key>,
) -> Vec<u8> {
    let mut message = Message::builder_error(request, MessageWriteVec::new());
    let reason = ErrorCode::builder(code).build();
    let attribute = reason.expect("codes from 300 to 699 are representable");
    message.add_attribute(&attribute).expect(ROOM);
    match extra {
        Extra::Nothing => {}
        Extra::Challenge(realm, nonce) => {
            let realm = Realm::new(realm).expect("the realm of a server is short");
            let nonce = Nonce::new(nonce).expect("nonces are short");
            message.add_attribute(&realm).expect(ROOM);
            message.add_attribute(&nonce).expect(ROOM);
        }
        Extra::Alternate(address) => add_address(&mut message, ALTERNATE_SERVER, address),
    }
    seal(message, key)
}

/// The response to a Binding request (RFC 5780 §6.1): the address that was seen, plain too, the one that answers, and
/// perhaps the other one that could.
pub(super) fn binding(
    request: &Message<'_>,
    seen: SocketAddr,
    origin: SocketAddr,
    other: Option<SocketAddr>,
) -> Vec<u8> {
    let mut message = Message::builder_success(request, MessageWriteVec::new());
    let xor = XorMappedAddress::new(seen, request.transaction_id());
    message.add_attribute(&xor).expect(ROOM);
    add_address(&mut message, MAPPED_ADDRESS, seen);
    add_address(&mut message, RESPONSE_ORIGIN, origin);
    if let Some(other) = other {
        add_address(&mut message, OTHER_ADDRESS, other);
    }
    seal(message, None)
}

/// The 420 for attributes that are not known, if the request has some that must be.
pub(super) fn unknown_attributes(
    request: &Message<'_>,
    known: &[AttributeType],
) -> Option<Vec<u8>> {
    let refusal = Message::check_attribute_types(request, known, &[], MessageWriteVec::new());
    refusal.map(|message| seal(message, None))
}

/// A message like another one, signed anew. `change` gives the other value of an attribute, where it has one.
pub(super) fn rewrite(
    message: &Message<'_>,
    change: impl Fn(AttributeType) -> Option<RawAttribute<'static>>,
    key: Option<&Key>,
) -> Vec<u8> {
    let (kind, id) = (message.get_type(), message.transaction_id());
    let mut copy = Message::builder(kind, id, MessageWriteVec::new());
    for (_, attribute) in message.iter_attributes() {
        match attribute.get_type() {
            MessageIntegrity::TYPE | MessageIntegritySha256::TYPE | Fingerprint::TYPE => {}
            other => {
                let attribute = change(other).unwrap_or_else(|| attribute.into_owned());
                copy.add_attribute(&attribute).expect(ROOM);
            }
        }
    }
    seal(copy, key)
}

fn add_address(message: &mut MessageWriteVec, kind: AttributeType, address: SocketAddr) {
    let address = MappedSocketAddr::new(address);
    message.add_attribute(&address.to_raw(kind)).expect(ROOM);
}

fn seal(mut message: MessageWriteVec, key: Option<&Key>) -> Vec<u8> {
    if let Some(key) = key {
        let signed = message.add_message_integrity(&key.credentials(), key.algorithm);
        signed.expect("it has no signature yet");
    }
    message
        .add_fingerprint()
        .expect("it has no fingerprint yet");
    message.finish()
}

/// Why an attribute can be added.
const ROOM: &str = "a vector has room, and the message is not signed yet";
