//! Who may use TURN: users with passwords, and those with time-limited credentials (TURN REST API).

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64ct::{Base64, Encoding as _};
use turn_server_proto::types::stun::attribute::{MessageIntegritySha256, Userhash, Username};
use turn_server_proto::types::stun::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message,
};
use turn_server_proto::types::stun::prelude::AttributeStaticType as _;

use super::ServerSpec;
use super::message::Key;

/// The users of a server.
#[derive(Debug)]
pub(super) struct Credentials {
    realm: String,
    passwords: BTreeMap<String, String>,
    secret: Option<String>,
    /// The names that a hash may stand for (RFC 8489 §14.4).
    hashes: BTreeMap<[u8; 32], String>,
}

/// What there is to a user name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has this password.
    Valid { name: String, password: String },
    /// It had one, until its time ran out.
    Expired,
    /// Nobody knows it.
    Unknown,
}

impl Credentials {
    pub(super) fn new(spec: &ServerSpec) -> Self {
        let mut credentials = Self {
            realm: spec.realm.clone(),
            passwords: spec.users.clone(),
            secret: spec.rest_secret.clone(),
            hashes: BTreeMap::new(),
        };
        spec.users.keys().for_each(|name| credentials.learn(name));
        credentials
    }

    /// Credentials that are good until `expires`, in seconds since 1970. `None` without a secret.
    pub(super) fn mint(&mut self, user: &str, expires: u64) -> Option<(String, String)> {
        let name = format!("{expires}:{user}");
        let password = rest_password(self.secret.as_deref()?, &name);
        self.learn(&name);
        Some((name, password))
    }

    /// What there is to the user of a request at `unix`, in seconds since 1970. `None` when it names no user.
    pub(super) fn standing(&self, request: &Message<'_>, unix: u64) -> Option<Standing> {
        let name = match request.attribute::<Username>() {
            Ok(name) => name.username().to_owned(),
            Err(_) => {
                let hash = request.attribute::<Userhash>().ok()?;
                match self.hashes.get(hash.hash()) {
                    Some(name) => name.clone(),
                    None => return Some(Standing::Unknown),
                }
            }
        };
        Some(self.look_up(name, unix))
    }

    /// With what a request of a user is signed.
    pub(super) fn key(&self, request: &Message<'_>, standing: &Standing) -> Option<Key> {
        let Standing::Valid { name, password } = standing else {
            return None;
        };
        let realm = self.realm.clone();
        let algorithm = if request.has_attribute(MessageIntegritySha256::TYPE) {
            IntegrityAlgorithm::Sha256
        } else {
            IntegrityAlgorithm::Sha1
        };
        Some(Key {
            credentials: LongTermKeyCredentials::new(name.clone(), password.clone(), realm),
            algorithm,
        })
    }

    fn look_up(&self, name: String, unix: u64) -> Standing {
        if let Some(password) = self.passwords.get(&name).cloned() {
            return Standing::Valid { name, password };
        }
        let expires = name.split(':').next().and_then(|secs| secs.parse().ok());
        match (&self.secret, expires) {
            (Some(_), Some(expires)) if unix >= expires => Standing::Expired,
            (Some(secret), Some::<u64>(_)) => Standing::Valid {
                password: rest_password(secret, &name),
                name,
            },
            _ => Standing::Unknown,
        }
    }

    fn learn(&mut self, name: &str) {
        let hash = Userhash::compute(name, &self.realm);
        self.hashes.insert(hash, name.to_owned());
    }
}

/// The password of a time-limited user name: `base64(hmac-sha1(secret, name))`.
fn rest_password(secret: &str, name: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    Base64::encode_string(hmac::sign(&key, name.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_limited_password_is_the_one_that_coturn_makes() {
        // printf %s 1700000000:alice | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(rest_password("north", "1700000000:alice"), REFERENCE);
    }

    #[test]
    fn a_time_limited_name_is_good_until_its_second() {
        let spec = ServerSpec {
            rest_secret: Some("north".to_owned()),
            ..ServerSpec::new("turn")
        };
        let credentials = Credentials::new(&spec);
        let at = |unix| credentials.look_up("1700000000:alice".to_owned(), unix);
        assert!(matches!(at(1_699_999_999), Standing::Valid { .. }));
        assert_eq!(at(1_700_000_000), Standing::Expired);
        let unknown = credentials.look_up("alice".to_owned(), 0);
        assert_eq!(unknown, Standing::Unknown);
    }

    const REFERENCE: &str = "Cd/49soE35ICqcJF/bCTn8Z4OyE=";
}
