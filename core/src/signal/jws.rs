//! Signatures: JSON Web Signatures in compact serialisation (RFC 7515 section 3.1) by Ed25519 keys (RFC 8037 section 3.1).

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::PeerId;

/// An Ed25519 signature (RFC 8032), in base64url where it is a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature([u8; 64]);

impl Signature {
    pub(super) fn new(key: &SigningKey, bytes: &[u8]) -> Self {
        Self(key.sign(bytes).to_bytes())
    }

    /// Whether it is that of `peer` under `bytes`.
    pub(super) fn is_of(&self, peer: PeerId, bytes: &[u8]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&self.0);
        verifying_key(peer).is_some_and(|key| key.verify_strict(bytes, &signature).is_ok())
    }

    fn parse(text: &str) -> Option<Self> {
        decode(text)?.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a signature in base64url"))
    }
}

/// `payload`, under the protected header that is `header` in base64url.
pub(super) fn sign(header: &str, key: &SigningKey, payload: &str) -> String {
    let mut jws = format!("{header}.{}", encode(payload.as_bytes()));
    let signature = Signature::new(key, jws.as_bytes());
    jws.push('.');
    jws.push_str(&encode(&signature.0));
    jws
}

/// The payload of a JWS that has this header, and that `from` has signed.
pub(super) fn verify(header: &str, from: PeerId, jws: &str) -> Option<String> {
    let (input, signature) = jws.rsplit_once('.')?;
    let is_signed = Signature::parse(signature)?.is_of(from, input.as_bytes());
    is_signed.then(|| payload(header, jws))?
}

/// The payload of a JWS that has this header, whoever has signed it.
pub(super) fn payload(header: &str, jws: &str) -> Option<String> {
    let (input, _) = jws.rsplit_once('.')?;
    let (head, payload) = input.split_once('.')?;
    let payload = (head == header).then(|| decode(payload))??;
    String::from_utf8(payload).ok()
}

/// The key that is this id, if it is one that can sign.
pub(super) fn verifying_key(peer: PeerId) -> Option<VerifyingKey> {
    let key = VerifyingKey::from_bytes(&peer.public_key()?).ok()?;
    (!key.is_weak()).then_some(key)
}

pub(super) fn encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text).ok()
}
