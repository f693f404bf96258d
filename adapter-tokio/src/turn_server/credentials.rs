use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use crate::clock::WallClock;

/// What a server and those who hand out its credentials share. It shows itself nowhere.
///
/// A user name is `<expiry>:<name>`, the expiry in seconds since 1970, and its password the base64 of the HMAC-SHA1 of that
/// under the secret: the "TURN REST API" (draft-uberti-behave-turn-rest-00), as coturn has it with `--use-auth-secret`.
/// Whoever knows the secret can make credentials, and the server keeps no list of users.
#[derive(Clone)]
pub struct TurnSecret(hmac::Key);

impl TurnSecret {
    /// Takes a secret, which should have 128 random bits at least.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret))
    }

    /// A secret of 256 bits from the operating system, or nothing when it has no randomness.
    #[must_use]
    pub fn random() -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).ok()?;
        Some(Self::new(&*bytes))
    }

    /// Makes credentials for `name` that end after `lifetime`.
    #[must_use]
    pub fn issue(&self, name: &str, lifetime: Duration) -> TurnCredentials {
        let expiry = WallClock::seconds().saturating_add(lifetime.as_secs());
        let username = format!("{expiry}:{name}");
        let password = self.password(&username);
        TurnCredentials { username, password }
    }

    /// The password that belongs to a user name.
    pub(super) fn password(&self, username: &str) -> Zeroizing<String> {
        let tag = hmac::sign(&self.0, username.as_bytes());
        Zeroizing::new(Base64::encode_string(tag.as_ref()))
    }
}

impl fmt::Debug for TurnSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TurnSecret(..)")
    }
}

/// Time-limited credentials. The password shows itself nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnCredentials {
    username: String,
    password: Zeroizing<String>,
}

impl TurnCredentials {
    /// The user name, `<expiry>:<name>`.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for TurnCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TurnCredentials({:?}, ..)", self.username)
    }
}

/// The name in a user name whose time is not over.
pub(super) fn valid_name(username: &str, now: u64) -> Option<&str> {
    let (expiry, name) = username.split_once(':')?;
    let expiry: u64 = expiry.parse().ok()?;
    (expiry > now).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_that_of_coturn() {
        // printf '1700000000:alice' | openssl dgst -sha1 -hmac secret -binary | base64
        let secret = TurnSecret::new(b"secret");
        let password = secret.password("1700000000:alice");
        assert_eq!(password.as_str(), EXPECTED);
    }

    #[test]
    fn credentials_name_their_end_and_hold_until_then() {
        let credentials = TurnSecret::new(b"x").issue("alice", Duration::from_secs(60));
        let now = WallClock::seconds();
        assert_eq!(valid_name(credentials.username(), now), Some("alice"));
        assert_eq!(valid_name("100:bob", 99), Some("bob"));
        assert_eq!(valid_name("100:bob", 100), None);
        for bad in ["", "bob", "x:bob", "-1:bob", "99999999999999999999999:bob"] {
            assert_eq!(valid_name(bad, 0), None, "{bad}");
        }
    }

    #[test]
    fn neither_secrets_nor_passwords_show_themselves() {
        let secret = TurnSecret::new(b"hush");
        let credentials = secret.issue("alice", Duration::ZERO);
        let shown = format!("{secret:?} {credentials:?}");
        assert!(shown.contains("alice") && !shown.contains(credentials.password()));
        assert!(!shown.contains("hush"));
    }

    const EXPECTED: &str = "d8soP47RbdIKLDUOpnJPVQyq5Ts=";
}
