//! Whose a certificate is, where peers are keys.
//!
//! A signed description says which certificate its sender shows. It cannot show that the certificate is its own: a peer
//! could announce that of somebody else, and whoever connects would speak with the other and believe it was the first
//! (an unknown key share, RFC 8844). So the certificate says itself to whom it belongs, and nobody but the holder of its
//! private key can have made it so. What is named is a hash of the id: DTLS 1.2 shows certificates to everybody.

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::id::PeerId;

/// The common name in the certificate of an endpoint whose key is `id`.
pub(super) fn name_of(id: PeerId) -> String {
    let hash = super::sha256(format!("bowline certificate 1 {id}").as_bytes());
    format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(&hash))
}

/// Who must have made the certificate of a session.
#[derive(Debug)]
pub(super) struct Owner {
    name: String,
    /// Whether the certificate has to name it. Browsers make certificates that name nobody.
    is_named: bool,
}

impl Owner {
    pub(super) fn new(id: PeerId, is_named: bool) -> Self {
        Self {
            name: name_of(id),
            is_named,
        }
    }

    /// Whether a certificate (DER) can be the owner's.
    pub(super) fn can_have(&self, der: &[u8]) -> bool {
        let mut names = der
            .windows(self.name.len())
            .filter(|window| window.starts_with(PREFIX.as_bytes()))
            .peekable();
        let names_somebody = names.peek().is_some();
        names.all(|name| name == self.name.as_bytes()) && (names_somebody || !self.is_named)
    }
}

const PREFIX: &str = "bowline:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_of_whom_it_names_and_of_a_foreign_peer_when_it_names_nobody() {
        let [alice, bob] = ["alice", "bob"].map(|name| PeerId::new(name).expect("valid"));
        let of = |id| [b"DER, ", name_of(id).as_bytes(), b", DER"].concat();
        for is_named in [true, false] {
            let owner = Owner::new(alice, is_named);
            assert!(owner.can_have(&of(alice)));
            assert!(!owner.can_have(&of(bob)));
            assert!(!owner.can_have(&[of(alice), of(bob)].concat()));
            let is_foreign = owner.can_have(b"WebRTC");
            assert_eq!(is_foreign, !is_named);
        }
        assert_eq!(name_of(alice).len(), 51, "a common name has at most 64");
    }
}
