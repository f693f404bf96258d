//! Who an endpoint is: a key pair, or a bare name.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::id::PeerId;

/// Who an endpoint is.
///
/// A peer is an Ed25519 key (RFC 8032): its [`PeerId`] is the public half, and the private half signs every signalling
/// message, so that whoever carries them can neither forge nor alter one. [`Identity::without_key`] is for those who
/// trust their signalling, or cannot sign.
///
/// `Debug` shows the id only, and the private key is erased when this is dropped.
///
/// ```
/// use bowline::Identity;
///
/// let identity = Identity::from_private_key([7; 32]); // 32 bytes from the operating system in production
/// let saved = identity.to_jwk().expect("it has a key");
/// assert_eq!(Identity::from_jwk(&saved)?.id(), identity.id());
/// # Ok::<(), bowline::InvalidIdentity>(())
/// ```
pub struct Identity(Kind);

enum Kind {
    Key(Box<SigningKey>),
    Name(PeerId),
}

impl Identity {
    /// The identity whose private key is `private`: 32 bytes of randomness (RFC 8032 section 5.1.5).
    #[must_use]
    pub fn from_private_key(mut private: [u8; 32]) -> Self {
        let key = SigningKey::from_bytes(&private);
        private.zeroize();
        Self(Kind::Key(Box::new(key)))
    }

    /// An identity that is a name only: its signalling messages are plain. Whoever carries them can read, forge and
    /// alter them, and put itself between the two peers.
    #[must_use]
    pub fn without_key(name: PeerId) -> Self {
        Self(Kind::Name(name))
    }

    /// What others know it by: the public key, or the name.
    #[must_use]
    pub fn id(&self) -> PeerId {
        match &self.0 {
            Kind::Key(key) => PeerId::from_public_key(key.verifying_key().as_bytes()),
            Kind::Name(name) => *name,
        }
    }

    /// The key pair as a JSON Web Key (RFC 8037 section 2), which every WebCrypto can import. None without a key.
    ///
    /// The text is the secret: keep it where nobody else can read it.
    #[must_use]
    pub fn to_jwk(&self) -> Option<Zeroizing<String>> {
        let Kind::Key(key) = &self.0 else {
            return None;
        };
        let private = Zeroizing::new(key.to_bytes());
        let d = Zeroizing::new(Base64UrlUnpadded::encode_string(&*private));
        let x = self.id();
        let text = format!(r#"{{"kty":"OKP","crv":"Ed25519","d":"{}","x":"{x}"}}"#, *d);
        Some(Zeroizing::new(text))
    }

    /// Reads what [`Identity::to_jwk`] or a WebCrypto wrote. Members that it does not know are ignored.
    ///
    /// # Errors
    ///
    /// [`InvalidIdentity`] when it is no such key pair, or the public half does not belong to the private one.
    pub fn from_jwk(text: &str) -> Result<Self, InvalidIdentity> {
        let jwk: Jwk<'_> = serde_json::from_str(text).map_err(|_| InvalidIdentity)?;
        let mut private = Zeroizing::new([0; 32]);
        let read = Base64UrlUnpadded::decode(jwk.d, &mut *private).map_err(|_| InvalidIdentity)?;
        if read.len() != 32 || jwk.kty != "OKP" || jwk.crv != "Ed25519" {
            return Err(InvalidIdentity);
        }
        let identity = Self::from_private_key(*private);
        (identity.id() == jwk.x)
            .then_some(identity)
            .ok_or(InvalidIdentity)
    }

    /// Whose certificates an endpoint of this identity shows: only those of a key have an owner.
    pub(crate) fn owner(&self) -> Option<PeerId> {
        matches!(self.0, Kind::Key(_)).then(|| self.id())
    }

    /// The private key, if there is one.
    pub(super) fn key(&self) -> Option<&SigningKey> {
        match &self.0 {
            Kind::Key(key) => Some(key),
            Kind::Name(_) => None,
        }
    }

    /// The private key, if there is one, for good.
    pub(crate) fn into_key(self) -> Option<SigningKey> {
        match self.0 {
            Kind::Key(key) => Some(*key),
            Kind::Name(_) => None,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Key(_) => "key",
            Kind::Name(_) => "name",
        };
        write!(f, "Identity({kind} {})", self.id())
    }
}

/// A text that is not an Ed25519 key pair as a JSON Web Key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not an ed25519 key pair in the form of a json web key")]
pub struct InvalidIdentity;

/// How the messages of an identity with a key are protected. One without a key sends and takes plain ones only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// Signed, and sealed to the receiver (HPKE, RFC 9180): whoever carries a message learns its sender, its receiver
    /// and its length. A message that is not sealed is refused.
    #[default]
    Sealed,
    /// Signed (JWS, RFC 7515): everybody can read a message, and nobody can alter one. A sealed one is taken as well.
    Signed,
}

/// A private JSON Web Key.
#[derive(Deserialize)]
struct Jwk<'a> {
    kty: &'a str,
    crv: &'a str,
    d: &'a str,
    x: PeerId,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key pair of RFC 8037 appendix A.1.
    const JWK: &str = r#"{"kty":"OKP","crv":"Ed25519",
        "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn the_key_pair_of_rfc_8037_is_read_and_written() {
        let identity = Identity::from_jwk(JWK).expect("valid");
        let id = identity.id();
        assert_eq!(id.as_str(), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        let written = identity.to_jwk().expect("it has a key");
        let spaces = |c: char| c.is_whitespace();
        assert_eq!(*written, JWK.replace(spaces, ""));
    }

    #[test]
    fn what_is_no_key_pair_is_refused() {
        let other = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURA";
        for bad in [
            "",
            "{}",
            "7",
            &JWK.replace("OKP", "EC"),
            &JWK.replace("Ed25519", "X25519"),
            &JWK.replace("nWGx", "nWG="),
            &JWK.replace("nWGx", ""),
            &JWK.replace("nWGx", "nWGxAAAA"),
            &JWK.replace("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", other),
            &JWK.replace("\"x\"", "\"y\""),
        ] {
            assert_eq!(
                Identity::from_jwk(bad).err(),
                Some(InvalidIdentity),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_name_has_no_key_and_neither_shows_a_secret() {
        let name = Identity::without_key("alice".parse().expect("valid"));
        assert!(name.to_jwk().is_none());
        assert_eq!(format!("{name:?}"), "Identity(name alice)");
        let shown = format!("{:?}", Identity::from_jwk(JWK));
        let id = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        assert_eq!(shown, format!("Ok(Identity(key {id}))"));
    }
}
