//! Messages that are signed, and messages that are sealed: what stands around an [`Envelope`] on an untrusted link.
//!
//! A protected message is one JSON object in UTF-8, as a plain one is, and a link routes it by the same fields:
//!
//! | field | type | meaning |
//! | --- | --- | --- |
//! | `v` | number | 2. |
//! | `from` | string | The sender: its Ed25519 public key in base64url without padding, 43 characters. |
//! | `to` | string | The receiver, likewise. |
//! | `signed` | string | The message: a JWS (RFC 7515) in compact serialisation. Or: |
//! | `sealed` | string | The same JWS, encrypted to the receiver. |
//!
//! **The JWS** has the protected header `{"alg":"EdDSA","typ":"bowline"}` in exactly these bytes (RFC 8037), and is signed
//! with the key of `from`. Its payload is the plain message of version 1 ([`envelope`](super::envelope)) with one more
//! field: `time`, when it was signed, in milliseconds since 1970-01-01 UTC. Its `from` and `to` are those outside, so
//! that the signature covers both identities, session, generation, number and, in descriptions, the fingerprint of
//! the certificate, the ICE credentials and the DTLS role. A message that is sent again is signed again, at its new time.
//!
//! **Sealing** is HPKE (RFC 9180) in base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20Poly1305. The
//! receiver's X25519 key is the Montgomery form of its Ed25519 key (RFC 7748 section 4.1: `u = (1 + y) / (1 - y)`); the
//! private key is the clamped first half of the SHA-512 of the Ed25519 private key (RFC 8032 section 5.1.5). `info` is
//! `bowline signal 2`; the associated data are `from`, a dot, and `to`; the plaintext is the JWS. `sealed` is the
//! encapsulated key, 32 bytes, and the ciphertext, together in base64url without padding.
//!
//! A receiver looks at the length, at who it is from and for, and then opens, verifies, and reads; nothing of the message
//! is read before its signature is verified. It takes a message whose `time` is within five minutes of its own clock.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::envelope::{self, Body, Envelope, check_addressed, object, version_and_sender};
use super::identity::{Identity, Protection};
use super::jws::{Signature, decode, encode, sign, verify, verifying_key};
use super::rollover::Rollover;
use crate::config;
use crate::event::SignalRefusal;
use crate::id::{Generation, PeerId};
use crate::rng::Rng;
use crate::time::UnixTime;

/// What closes and opens the messages of an endpoint.
pub(crate) struct Sealer {
    us: PeerId,
    keys: Option<Box<Keys>>,
    /// That our key takes the place of another one, or another one that of ours.
    rollover: Option<Box<Rollover>>,
    /// Whether what comes is open, since a recording has it so.
    is_replay: bool,
}

struct Keys {
    signing: SigningKey,
    opening: <X25519HkdfSha256 as Kem>::PrivateKey,
    protection: Protection,
    /// How far the clock of the sender may be from ours.
    freshness: Duration,
    rng: Rng,
}

/// Why a message was refused, and whose it claims to be.
pub(crate) type Refused = (SignalRefusal, Option<PeerId>);

impl Sealer {
    /// What protects the messages of `identity`.
    pub(crate) fn new(
        identity: Identity,
        protection: Protection,
        freshness: Duration,
        rng: Rng,
    ) -> Self {
        let us = identity.id();
        let keys = identity.into_key().map(|signing| {
            let opening = Zeroizing::new(signing.to_scalar_bytes());
            Box::new(Keys {
                opening: Deserializable::from_bytes(&*opening).expect("32 bytes are a key"),
                signing,
                protection,
                freshness,
                rng,
            })
        });
        Self {
            us,
            keys,
            rollover: None,
            is_replay: false,
        }
    }

    /// What stands for the sealer of a recorded endpoint: a recording has messages open. Those that leave are as long as they
    /// were, and signed with no key of anybody.
    pub(crate) fn replaying(us: PeerId, signalling: Option<&config::Signalling>, rng: Rng) -> Self {
        let keys = signalling.and_then(
            |config::Signalling {
                 protection,
                 freshness,
             }| {
                Self::new(
                    Identity::from_private_key([0; 32]),
                    *protection,
                    *freshness,
                    rng,
                )
                .keys
            },
        );
        Self {
            us,
            keys,
            rollover: None,
            is_replay: true,
        }
    }

    /// Whose messages they are.
    pub(crate) fn id(&self) -> PeerId {
        self.us
    }

    /// Whether messages are signed, so that peers are keys.
    pub(crate) fn is_keyed(&self) -> bool {
        self.keys.is_some()
    }

    /// Whether there can be a peer of this id.
    pub(crate) fn can_reach(&self, peer: PeerId) -> bool {
        !self.is_keyed() || verifying_key(peer).is_some()
    }

    /// Says from now on that our key takes the place of another one, or has given its place to another one. Returns whether it
    /// is about our key.
    pub(crate) fn announce(&mut self, rollover: Rollover) -> bool {
        let is_ours = [rollover.old_id(), rollover.new_id()].contains(&self.us);
        if is_ours {
            self.rollover = Some(Box::new(rollover));
        }
        is_ours
    }

    /// Whether our key has given its place to another one.
    pub(crate) fn is_given_up(&self) -> bool {
        let rollover = self.rollover.as_ref();
        rollover.is_some_and(|rollover| rollover.old_id() == self.us)
    }

    /// What a message says of our key: who is offered a connection learns whom we were, and who loses one, or does not get
    /// one, who we are.
    fn rollover_in(&self, envelope: &Envelope, now: UnixTime) -> Option<&Rollover> {
        let rollover = self.rollover.as_deref();
        let is_of_ours = match &envelope.body {
            Body::Offer { .. } => !self.is_given_up() && envelope.generation == Generation(0),
            Body::Bye { .. } => self.is_given_up(),
            Body::Answer { .. }
            | Body::Candidate { .. }
            | Body::EndOfCandidates { .. }
            | Body::IceRestart
            | Body::Ack { .. } => false,
        };
        rollover.filter(|rollover| is_of_ours && now < rollover.until())
    }

    /// The text that carries `envelope` over the link at `now`.
    pub(crate) fn close(&mut self, envelope: &Envelope, now: UnixTime) -> String {
        let Envelope { from, to, .. } = *envelope;
        let message = envelope.encode_at(now, self.rollover_in(envelope, now));
        self.protect(from, to, message)
    }

    /// The text that carries `message` from one to the other.
    pub(super) fn protect(&mut self, from: PeerId, to: PeerId, message: String) -> String {
        let Some(keys) = &mut self.keys else {
            return message;
        };
        let jws = sign(HEADER, &keys.signing, &message);
        let (mut signed, mut sealed) = (None, None);
        match keys.protection {
            Protection::Signed => signed = Some(jws.as_str()),
            Protection::Sealed => sealed = Some(seal(from, to, &jws, &mut keys.rng)),
        }
        let outer = Outer {
            v: VERSION,
            from,
            to,
            signed,
            sealed: sealed.as_deref(),
        };
        serde_json::to_string(&outer).expect("a flat struct of strings always has a JSON form")
    }

    /// The signature under `bytes`; none without a key.
    pub(crate) fn sign(&self, bytes: impl FnOnce() -> Vec<u8>) -> Option<Signature> {
        let keys = self.keys.as_ref()?;
        Some(Signature::new(&keys.signing, &bytes()))
    }

    /// Whether `signature` is that of `peer` under `bytes`. Where peers are not keys, everything is.
    pub(crate) fn has_signed(
        &self,
        peer: PeerId,
        signature: Option<Signature>,
        bytes: impl FnOnce() -> Vec<u8>,
    ) -> bool {
        !self.is_keyed() || signature.is_some_and(|signature| signature.is_of(peer, &bytes()))
    }

    /// Whether `signature` is that of `from` under `bytes`, made at the first of two times, which is not far from the second.
    /// Where peers are not keys, everything is.
    pub(crate) fn is_genuine(
        &self,
        from: PeerId,
        signature: Option<Signature>,
        (made, now): (UnixTime, UnixTime),
        bytes: impl FnOnce() -> Vec<u8>,
    ) -> bool {
        let Some(keys) = self.keys.as_ref().filter(|_| !self.is_replay) else {
            return true;
        };
        made.distance(now) <= keys.freshness && self.has_signed(from, signature, bytes)
    }

    /// The plain message that `text` carries, of at most `max` bytes, at `now`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it. Whatever is wrong with the protection gives the same refusal.
    pub(crate) fn open<'a>(
        &self,
        text: &'a str,
        max: usize,
        now: UnixTime,
    ) -> Result<Cow<'a, str>, Refused> {
        let Some(keys) = self.keys.as_ref().filter(|_| !self.is_replay) else {
            return Ok(Cow::Borrowed(text));
        };
        if text.len() > max {
            return Err((SignalRefusal::TooLarge, None));
        }
        let Outer {
            from,
            to,
            signed,
            sealed,
            ..
        } = Outer::read(text)?;
        let refused = |why| (why, Some(from));
        check_addressed(self.us, from, to).map_err(refused)?;
        let message = match (signed, sealed, keys.protection) {
            (Some(jws), None, Protection::Signed) => verify(HEADER, from, jws),
            (Some(_), None, Protection::Sealed) => return Err(refused(SignalRefusal::Unsealed)),
            (None, Some(sealed), _) => {
                unseal(from, to, sealed, &keys.opening).and_then(|jws| verify(HEADER, from, &jws))
            }
            (Some(_), Some(_), _) | (None, None, _) => {
                return Err(refused(SignalRefusal::Malformed));
            }
        };
        let message = message.ok_or(refused(SignalRefusal::Forged))?;
        let inner: Inner = object(&message).ok_or(refused(SignalRefusal::Malformed))?;
        if (inner.from, inner.to) != (from, to) {
            return Err(refused(SignalRefusal::Forged));
        }
        if UnixTime::from_millis(inner.time).distance(now) > keys.freshness {
            return Err(refused(SignalRefusal::NotFresh));
        }
        Ok(Cow::Owned(message))
    }
}

/// Shows whose it is, and no key.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({}, keyed: {})", self.us, self.is_keyed())
    }
}

/// The object on the link.
#[derive(Serialize, Deserialize)]
struct Outer<'a> {
    v: u64,
    from: PeerId,
    to: PeerId,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    signed: Option<&'a str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    sealed: Option<&'a str>,
}

/// What of a message has to fit to the object around it, and to the clock.
#[derive(Deserialize)]
struct Inner {
    from: PeerId,
    to: PeerId,
    time: u64,
}

impl<'a> Outer<'a> {
    fn read(text: &'a str) -> Result<Self, Refused> {
        if let Some(outer) = object::<Self>(text)
            && outer.v == VERSION
        {
            return Ok(outer);
        }
        let (version, from) = version_and_sender(text);
        Err((
            match version {
                Some(VERSION) | None => SignalRefusal::Malformed,
                Some(envelope::VERSION) => SignalRefusal::Unsigned,
                Some(_) => SignalRefusal::Version,
            },
            from,
        ))
    }
}

/// `jws`, encrypted to `to`.
fn seal(from: PeerId, to: PeerId, jws: &str, rng: &mut Rng) -> String {
    let sealed = verifying_key(to).and_then(|key| {
        let key = Deserializable::from_bytes(key.to_montgomery().as_bytes()).ok()?;
        hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &key,
            INFO,
            jws.as_bytes(),
            &associated(from, to),
            rng.csprng(),
        )
        .ok()
    });
    // Nobody is a peer whose id is not a key: see `can_reach`.
    let (encapped, ciphertext) = sealed.expect("a message goes to a key");
    encode(&[encapped.to_bytes().as_slice(), &ciphertext].concat())
}

/// What was encrypted to us.
fn unseal(
    from: PeerId,
    to: PeerId,
    sealed: &str,
    key: &<X25519HkdfSha256 as Kem>::PrivateKey,
) -> Option<String> {
    let bytes = decode(sealed)?;
    let (encapped, ciphertext) = bytes.split_at_checked(ENCAPPED)?;
    let encapped = Deserializable::from_bytes(encapped).ok()?;
    let jws = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        key,
        &encapped,
        INFO,
        ciphertext,
        &associated(from, to),
    );
    String::from_utf8(jws.ok()?).ok()
}

fn associated(from: PeerId, to: PeerId) -> Vec<u8> {
    format!("{from}.{to}").into_bytes()
}

/// The version of the format.
const VERSION: u64 = 2;
/// `{"alg":"EdDSA","typ":"bowline"}`
pub(super) const HEADER: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6ImJvd2xpbmUifQ";
const INFO: &[u8] = b"bowline signal 2";
/// The length of an encapsulated key, in bytes (RFC 9180 section 7.1).
const ENCAPPED: usize = 32;

#[cfg(test)]
mod tests;
