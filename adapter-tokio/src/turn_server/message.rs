use std::net::SocketAddr;

use stun_proto::types::attribute::{
    AttributeType, ErrorCode, Fingerprint, MessageIntegrity, MessageIntegritySha256, Nonce,
    PasswordAlgorithm, PasswordAlgorithms, Realm, Username, XorMappedAddress,
};
use stun_proto::types::message::{
    IntegrityAlgorithm, IntegrityKey, LongTermCredentials, Message, MessageWriteVec,
};
use stun_proto::types::prelude::{Attribute, AttributeStaticType, MessageWrite, MessageWriteExt};

/// Whoever has shown that it knows the password of a user.
pub(super) struct Caller {
    /// The name in the user name, without the expiry.
    pub(super) name: String,
    pub(super) credentials: LongTermCredentials,
    pub(super) key: IntegrityKey,
}

impl Caller {
    pub(super) fn new(name: &str, credentials: LongTermCredentials, realm: &str) -> Self {
        Self {
            name: name.to_owned(),
            key: credentials
                .to_key(realm.to_owned())
                .make_key(IntegrityAlgorithm::Sha1),
            credentials,
        }
    }
}

/// The answer to a binding request: where it came from. Or which attributes nobody here understands.
pub(super) fn bound(request: &Message<'_>, from: SocketAddr) -> Option<Vec<u8>> {
    let known = [
        Fingerprint::TYPE,
        Username::TYPE,
        Realm::TYPE,
        Nonce::TYPE,
        MessageIntegrity::TYPE,
        MessageIntegritySha256::TYPE,
        PasswordAlgorithm::TYPE,
        PasswordAlgorithms::TYPE,
    ];
    let refusal = Message::check_attribute_types(request, &known, &[], MessageWriteVec::new());
    if let Some(refusal) = refusal {
        return Some(refusal.finish());
    }
    let mut answer = Message::builder_success(request, MessageWriteVec::new());
    answer
        .add_attribute(&XorMappedAddress::new(from, request.transaction_id()))
        .ok()?;
    answer.add_fingerprint().ok()?;
    Some(answer.finish())
}

/// A refusal that says how to ask (RFC 8489 section 9.2.4): the realm and a nonce.
pub(super) fn challenge(
    request: &Message<'_>,
    code: u16,
    realm: &str,
    nonce: &str,
) -> Option<Vec<u8>> {
    let mut answer = Message::builder_error(request, MessageWriteVec::new());
    answer.add_attribute(&error_code(code)?).ok()?;
    answer.add_attribute(&Realm::new(realm).ok()?).ok()?;
    answer.add_attribute(&Nonce::new(nonce).ok()?).ok()?;
    answer.add_fingerprint().ok()?;
    Some(answer.finish())
}

/// A refusal for a caller, signed where it is known.
pub(super) fn refusal(
    request: &Message<'_>,
    code: u16,
    caller: Option<&Caller>,
) -> Option<Vec<u8>> {
    let mut answer = Message::builder_error(request, MessageWriteVec::new());
    answer.add_attribute(&error_code(code)?).ok()?;
    if let Some(caller) = caller {
        answer
            .add_message_integrity_with_key(&caller.key, IntegrityAlgorithm::Sha1)
            .ok()?;
    }
    answer.add_fingerprint().ok()?;
    Some(answer.finish())
}

/// The same request with another nonce, signed anew. What follows the signature is not part of it and left out.
pub(super) fn with_nonce(request: &Message<'_>, nonce: &str, caller: &Caller) -> Option<Vec<u8>> {
    let mut copy = Message::builder(
        request.get_type(),
        request.transaction_id(),
        MessageWriteVec::new(),
    );
    for (_, attribute) in signed(request) {
        if !REPLACED.contains(&attribute.get_type()) {
            copy.add_attribute(&attribute).ok()?;
        }
    }
    copy.add_attribute(&Nonce::new(nonce).ok()?).ok()?;
    copy.add_message_integrity_with_key(&caller.key, IntegrityAlgorithm::Sha1)
        .ok()?;
    Some(copy.finish())
}

/// The attributes that the signature covers.
pub(super) fn signed<'a>(
    request: &'a Message<'_>,
) -> impl Iterator<Item = (usize, stun_proto::types::attribute::RawAttribute<'a>)> {
    let ends = [MessageIntegrity::TYPE, MessageIntegritySha256::TYPE];
    request
        .iter_attributes()
        .take_while(move |(_, attribute)| !ends.contains(&attribute.get_type()))
}

fn error_code(code: u16) -> Option<ErrorCode> {
    ErrorCode::builder(code).build().ok()
}

/// The server behind asks for what it gave: a nonce of its own, and no choice of algorithms.
const REPLACED: [AttributeType; 3] = [
    Nonce::TYPE,
    PasswordAlgorithm::TYPE,
    PasswordAlgorithms::TYPE,
];
