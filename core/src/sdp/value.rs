//! The values of attributes: what exists obeys its grammar.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A word of a description: a token of RFC 8866 section 9, so that it cannot leave its place in a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(String);

impl Token {
    /// The longest, in bytes.
    pub const MAX_LEN: usize = 256;

    /// The word itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is no [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a token of 1 to 256 characters")]
pub struct InvalidToken;

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        if text.len() > Self::MAX_LEN || !is_token(text) {
            return Err(InvalidToken);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for Token {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A certificate fingerprint (RFC 8122 section 5).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint {
    /// The hash function.
    pub hash: HashFunction,
    /// The hash of the certificate; of the length of its function, where that is known.
    pub bytes: Vec<u8>,
}

impl Fingerprint {
    /// Reads `sha-256 AB:CD:..`. The hash name and the digits may have either case, as both are seen in the wild.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (hash, digits) = Self::split(text)?;
        Some(Self {
            hash,
            bytes: digits.map(|pair| pair.unwrap_or_default()).collect(),
        })
    }

    /// Whether `text` is a fingerprint.
    pub(super) fn obeys(text: &str) -> bool {
        Self::split(text).is_some()
    }

    /// The hash function and the bytes, where all are right.
    fn split(text: &str) -> Option<(HashFunction, impl Iterator<Item = Option<u8>>)> {
        let (name, digits) = text.split_once(' ').filter(|(name, _)| is_token(name))?;
        let hash = HashFunction::from_name(name);
        let pairs = digits.split(':').map(hex_pair);
        let mut count = 0;
        let are_hex = pairs.clone().inspect(|_| count += 1).all(|p| p.is_some());
        let fits = hash.len().is_none_or(|len| len == count);
        (are_hex && fits).then_some((hash, pairs))
    }
}

/// A hash function that a fingerprint names. The order is that of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HashFunction {
    /// What every WebRTC endpoint has (RFC 8122 section 5).
    Sha256,
    /// Accepted.
    Sha384,
    /// Accepted.
    Sha512,
    /// Weak.
    Sha224,
    /// Broken.
    Sha1,
    /// Broken: "MUST NOT be used" (RFC 8122 section 5).
    Md5,
    /// Broken: "MUST NOT be used" (RFC 8122 section 5).
    Md2,
    /// Not known, and so not accepted.
    Other,
}

impl HashFunction {
    /// The function of that name, in either case.
    pub(super) fn from_name(name: &str) -> Self {
        const NAMES: [(&str, HashFunction); 7] = [
            ("sha-256", HashFunction::Sha256),
            ("sha-384", HashFunction::Sha384),
            ("sha-512", HashFunction::Sha512),
            ("sha-224", HashFunction::Sha224),
            ("sha-1", HashFunction::Sha1),
            ("md5", HashFunction::Md5),
            ("md2", HashFunction::Md2),
        ];
        NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or(Self::Other, |(_, hash)| *hash)
    }

    /// Whether a fingerprint made with it identifies a certificate.
    #[must_use]
    pub const fn is_strong(self) -> bool {
        match self {
            Self::Sha256 | Self::Sha384 | Self::Sha512 => true,
            Self::Sha224 | Self::Sha1 | Self::Md5 | Self::Md2 | Self::Other => false,
        }
    }

    const fn len(self) -> Option<usize> {
        match self {
            Self::Sha256 => Some(32),
            Self::Sha384 => Some(48),
            Self::Sha512 => Some(64),
            Self::Sha224 => Some(28),
            Self::Sha1 => Some(20),
            Self::Md5 | Self::Md2 => Some(16),
            Self::Other => None,
        }
    }
}

/// A DTLS role (RFC 4145 section 4, RFC 8842 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setup {
    /// The other side chooses.
    Actpass,
    /// The DTLS client.
    Active,
    /// The DTLS server.
    Passive,
    /// No association for now.
    Holdconn,
}

impl Setup {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "actpass" => Some(Self::Actpass),
            "active" => Some(Self::Active),
            "passive" => Some(Self::Passive),
            "holdconn" => Some(Self::Holdconn),
            _ => None,
        }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Actpass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Holdconn => "holdconn",
        })
    }
}

/// Which way media of a section flows, seen from who describes it (RFC 8866 section 6.7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both ways: also where nothing is said.
    #[default]
    SendRecv,
    /// From the describing side.
    SendOnly,
    /// To the describing side.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "sendrecv" => Some(Self::SendRecv),
            "sendonly" => Some(Self::SendOnly),
            "recvonly" => Some(Self::RecvOnly),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }

    /// Whether it sends, and whether it receives.
    pub(super) const fn ways(self) -> (bool, bool) {
        match self {
            Self::SendRecv => (true, true),
            Self::SendOnly => (true, false),
            Self::RecvOnly => (false, true),
            Self::Inactive => (false, false),
        }
    }
}

/// 4 to 256 ice-chars (RFC 8839 section 5.4).
pub(super) fn is_ufrag(text: &str) -> bool {
    (4..=256).contains(&text.len()) && text.bytes().all(is_ice_char)
}

/// 22 to 256 ice-chars (RFC 8839 section 5.4).
pub(super) fn is_pwd(text: &str) -> bool {
    (22..=256).contains(&text.len()) && text.bytes().all(is_ice_char)
}

fn is_ice_char(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/')
}

/// Whether `text` is a token of RFC 8866 section 9.
pub(super) fn is_token(text: &str) -> bool {
    let allowed = |b| matches!(b, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'~');
    !text.is_empty() && text.bytes().all(allowed)
}

/// Reads digits and nothing else. What does not fit is the largest number, not a small one.
pub(super) fn saturating_number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

/// Reads a number of 16 bits.
pub(super) fn port(text: &str) -> Option<u16> {
    u16::try_from(saturating_number(text)?).ok()
}

fn hex_pair(text: &str) -> Option<u8> {
    let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}
