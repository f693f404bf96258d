//! What a datagram is, by its first byte (RFC 7983 §7).

use serde::{Deserialize, Serialize};

/// The protocol of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// 0 to 3.
    Stun,
    /// 20 to 22, DTLS that is no data: handshakes, and alerts.
    Handshake,
    /// 23 to 63, DTLS with data.
    Dtls,
    /// Anything else, and nothing at all.
    Other,
}

impl Class {
    /// The class of a datagram.
    #[must_use]
    pub fn of(contents: &[u8]) -> Self {
        match contents.first() {
            Some(0..=3) => Self::Stun,
            Some(20..=22) => Self::Handshake,
            Some(23..=63) => Self::Dtls,
            Some(_) | None => Self::Other,
        }
    }

    /// Whether it is DTLS.
    #[must_use]
    pub const fn is_dtls(self) -> bool {
        matches!(self, Self::Handshake | Self::Dtls)
    }

    /// The name, as figures show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stun => "STUN",
            Self::Handshake | Self::Dtls => "DTLS",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_of_rfc_7983_are_exact() {
        for (byte, class) in [(0, Class::Stun), (3, Class::Stun), (4, Class::Other)] {
            assert_eq!(Class::of(&[byte]), class, "{byte}");
        }
        for (byte, class) in [
            (19, Class::Other),
            (20, Class::Handshake),
            (22, Class::Handshake),
            (23, Class::Dtls),
            (63, Class::Dtls),
            (64, Class::Other),
        ] {
            assert_eq!(Class::of(&[byte]), class, "{byte}");
        }
        assert_eq!(Class::of(&[]), Class::Other);
    }
}
