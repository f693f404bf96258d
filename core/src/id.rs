//! Newtypes for everything that has a name.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::rng::Rng;

/// The name of a peer: its public key, or with plain signalling any 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
///
/// The same peer has the same id in every process that talks to it. See [`Identity`](crate::Identity).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    /// The name, padded with zeros, so that the derived order is the byte order of the names.
    bytes: [u8; Self::MAX_LEN],
    len: u8,
}

impl PeerId {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 64;
    /// What stands before every name.
    pub(crate) const LOWEST: Self = Self {
        bytes: [0; Self::MAX_LEN],
        len: 0,
    };

    /// Checks `name` and makes an id of it.
    ///
    /// # Errors
    ///
    /// [`InvalidPeerId`] when the name is empty, longer than [`PeerId::MAX_LEN`] or has a character outside the set.
    pub fn new(name: &str) -> Result<Self, InvalidPeerId> {
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let len = u8::try_from(name.len()).map_err(|_| InvalidPeerId)?;
        if len == 0 || name.len() > Self::MAX_LEN || !name.as_bytes().iter().all(allowed) {
            return Err(InvalidPeerId);
        }
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Self { bytes, len })
    }

    /// The id of an Ed25519 public key (RFC 8032): its 32 bytes in base64url without padding (RFC 4648 section 5), 43
    /// characters. It is the member `x` of the key as a JSON Web Key (RFC 8037 section 2).
    #[must_use]
    pub fn from_public_key(key: &[u8; 32]) -> Self {
        let mut bytes = [0; Self::MAX_LEN];
        let len = Base64UrlUnpadded::encode(key, &mut bytes).map_or(0, str::len);
        Self {
            bytes,
            len: u8::try_from(len).unwrap_or_default(),
        }
    }

    /// The public key that this id is the name of; none when it is no such name. Whether the bytes are a point of the
    /// curve is not looked at.
    #[must_use]
    pub fn public_key(&self) -> Option<[u8; 32]> {
        let mut key = [0; 32];
        let read = Base64UrlUnpadded::decode(self.as_str(), &mut key).ok()?;
        let is_key = read.len() == key.len();
        // Each key has one name.
        (is_key && Self::from_public_key(&key) == *self).then_some(key)
    }

    /// A short form for people to read: the first 8 characters of a key, and all of any other name. Different keys may have the
    /// same, by chance or because somebody has searched for one, so never compare it to decide who somebody is.
    #[must_use]
    pub fn short(&self) -> &str {
        let name = self.as_str();
        let short = self.public_key().and_then(|_| name.get(..8));
        short.unwrap_or(name)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

impl FromStr for PeerId {
    type Err = InvalidPeerId;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::new(s)
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::new(&name).map_err(serde::de::Error::custom)
    }
}

/// A name that [`PeerId::new`] refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a peer id has 1 to 64 characters of A-Z a-z 0-9 . _ -")]
pub struct InvalidPeerId;

/// One session between two peers: 128 random bits, chosen by the side whose offer won.
///
/// Every signalling message names its session, so that nothing of an earlier session can touch a later one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        Self(rng.bytes())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::fmt(&self.0, f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        hex::parse(s).map(Self).ok_or(InvalidSessionId)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The channels between two peers, over all transports that carry them one after the other: chosen by the side that answers
/// when they begin, so that two processes never share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ChannelsId(SessionId);

impl ChannelsId {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        Self(SessionId::random(rng))
    }
}

/// 128 bits as 32 lower-case hexadecimal digits.
pub(crate) mod hex {
    use std::fmt;

    pub(crate) fn fmt(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }

    pub(crate) fn parse(s: &str) -> Option<[u8; 16]> {
        let is_hex = s.len() == 32 && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = is_hex.then(|| u128::from_str_radix(s, 16).ok()).flatten();
        number.map(u128::to_be_bytes)
    }
}

/// A text that is not 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a session id is 32 lower-case hexadecimal digits")]
pub struct InvalidSessionId;

/// The number of an ICE generation within a session: 0 for the first offer, one more for each ICE restart.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A channel of one peer. Stable for the life of the peer, also when the channel is reopened.
///
/// The four kinds have the ids 0 to 3; see [`ChannelKind`](crate::ChannelKind).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChannelId(pub(crate) u32);

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A room that an endpoint is in, until it leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoomId(pub(crate) u32);

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a message among all that were accepted for sending on one channel, from 0 and without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub u64);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_keeps_its_name_and_refuses_others() {
        let longest = "a".repeat(PeerId::MAX_LEN);
        for good in ["a", "alice", "A-b_c.9", longest.as_str()] {
            assert_eq!(PeerId::new(good).expect("valid").as_str(), good);
        }
        let too_long = "a".repeat(PeerId::MAX_LEN + 1);
        for bad in ["", "a b", "a/b", "é", "a\r\n", too_long.as_str()] {
            assert_eq!(PeerId::new(bad), Err(InvalidPeerId), "{bad:?}");
        }
    }

    #[test]
    fn a_public_key_has_one_name_and_other_names_have_none() {
        let name = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let id = PeerId::new(name).expect("valid");
        let key = id.public_key().expect("a key");
        assert_eq!(PeerId::from_public_key(&key), id);
        for other in [
            "alice",
            "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURp",
            "11qYAYKxCrfVS.7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHUR",
            "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURoA",
        ] {
            assert_eq!(PeerId::new(other).expect("valid").public_key(), None);
        }
    }

    #[test]
    fn peer_ids_are_ordered_by_the_bytes_of_their_names() {
        let id = |s| PeerId::new(s).expect("valid");
        assert!(id("a") < id("ab"));
        assert!(id("ab") < id("b"));
        assert!(id("B") < id("a"));
    }

    #[test]
    fn a_session_id_survives_a_round_trip_and_refuses_anything_else() {
        let text = "00112233445566778899aabbccddeeff";
        let id: SessionId = text.parse().expect("valid");
        assert_eq!(id.to_string(), text);
        for bad in [
            "",
            "00",
            "00112233445566778899AABBCCDDEEFF",
            "+0112233445566778899aabbccddeeff",
        ] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad}");
        }
    }
}
