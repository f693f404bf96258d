//! The values of attributes: what exists obeys its grammar.

use std::fmt;

use zeroize::Zeroizing;

use super::fault::{SdpError, SdpFault};

/// A value and the line it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located<T> {
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// The value.
    pub(crate) value: T,
}

impl Located<String> {
    pub(super) fn parse<T>(
        &self,
        parser: impl Fn(&str) -> Result<T, SdpFault>,
    ) -> Result<Located<T>, SdpError> {
        let value = parser(&self.value).map_err(|fault| fault.at(self.line))?;
        Ok(Located {
            line: self.line,
            value,
        })
    }
}

/// An ICE password: not shown by `Debug`, and zeroed when dropped.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    /// The password itself.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Reads a password of 22 to 256 ice-chars (RFC 8839 section 5.4).
    pub(super) fn parse_pwd(text: &str) -> Result<Self, SdpFault> {
        if !is_pwd(text) {
            return Err(SdpFault::IcePwd);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A certificate fingerprint (RFC 8122 section 5).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fingerprint {
    /// The hash function.
    pub(crate) hash: HashFunction,
    /// The hash of the certificate; of the length of its function, where that is known.
    pub(crate) bytes: Vec<u8>,
}

impl Fingerprint {
    /// Reads `sha-256 AB:CD:..`. The hash name and the digits may have either case, as both are seen in the wild.
    pub(super) fn parse(text: &str) -> Result<Self, SdpFault> {
        let (name, digits) = text.split_once(' ').ok_or(SdpFault::Fingerprint)?;
        if !is_token(name) {
            return Err(SdpFault::Fingerprint);
        }
        let hash = HashFunction::from_name(name);
        let bytes: Vec<u8> = digits
            .split(':')
            .map(hex_pair)
            .collect::<Option<_>>()
            .ok_or(SdpFault::Fingerprint)?;
        if hash.len().is_some_and(|len| len != bytes.len()) {
            return Err(SdpFault::Fingerprint);
        }
        Ok(Self { hash, bytes })
    }
}

/// A hash function that a fingerprint names. The order is that of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HashFunction {
    /// What every WebRTC endpoint has (RFC 8827 section 6.5).
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
    pub(super) const fn is_strong(self) -> bool {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
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
    pub(super) fn parse(text: &str) -> Result<Self, SdpFault> {
        match text {
            "actpass" => Ok(Self::Actpass),
            "active" => Ok(Self::Active),
            "passive" => Ok(Self::Passive),
            "holdconn" => Ok(Self::Holdconn),
            _ => Err(SdpFault::Setup),
        }
    }
}

/// Reads a user name fragment of 4 to 256 ice-chars (RFC 8839 section 5.4).
pub(super) fn parse_ufrag(text: &str) -> Result<String, SdpFault> {
    if is_ufrag(text) {
        Ok(text.to_owned())
    } else {
        Err(SdpFault::IceUfrag)
    }
}

pub(super) fn is_ufrag(text: &str) -> bool {
    (4..=256).contains(&text.len()) && text.bytes().all(is_ice_char)
}

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

fn hex_pair(text: &str) -> Option<u8> {
    let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}
