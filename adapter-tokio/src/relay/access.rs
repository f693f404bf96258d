use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64ct::{Base64UrlUnpadded, Encoding};
use bowline::PeerId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::route::Names;
use crate::clock::WallClock;
use crate::signalling::RoomName;

/// What a relay and those who hand out its access tokens share. It shows itself nowhere.
///
/// A token is a JSON Web Token (RFC 7519) with `{"alg":"HS256"}`, so that any backend can make them with the library it has,
/// and these claims:
///
/// | claim | |
/// | --- | --- |
/// | `exp` | when it ends, in seconds since 1970; required |
/// | `nbf` | when it begins |
/// | `sub` | the name of the peer that may connect; anybody when it is left out |
/// | `room` | the room that it may enter; any when it is left out |
///
/// It is looked at when a peer connects, with a minute of tolerance for clocks. A connection outlives its token.
#[derive(Clone)]
pub struct AccessKey(hmac::Key);

/// A key that [`AccessKey::new`] refused: with fewer bytes it could be guessed (RFC 7518 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an access key has 32 bytes at least")]
pub struct ShortKey;

/// A token that does not let somebody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Denied;

impl AccessKey {
    /// Takes a key: 32 random bytes or more, which may be text.
    ///
    /// # Errors
    ///
    /// [`ShortKey`] when there are fewer.
    pub fn new(key: &[u8]) -> Result<Self, ShortKey> {
        if key.len() < SHORTEST {
            return Err(ShortKey);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// Makes a token that ends after `lifetime`: for `peer` or for anybody, and for `room` or for all.
    #[must_use]
    pub fn issue(
        &self,
        peer: Option<PeerId>,
        room: Option<&RoomName>,
        lifetime: Duration,
    ) -> String {
        self.sign(&Claims {
            exp: WallClock::seconds().saturating_add(lifetime.as_secs()),
            nbf: None,
            sub: peer.map(|peer| peer.to_string()),
            room: room.map(ToString::to_string),
        })
    }

    fn sign(&self, claims: &Claims) -> String {
        let claims = serde_json::to_vec(claims).expect("strings and numbers have a JSON form");
        let header = Base64UrlUnpadded::encode_string(HEADER);
        let signed = format!("{header}.{}", Base64UrlUnpadded::encode_string(&claims));
        let tag = hmac::sign(&self.0, signed.as_bytes());
        format!(
            "{signed}.{}",
            Base64UrlUnpadded::encode_string(tag.as_ref())
        )
    }

    /// Whether a token lets somebody in, `now` seconds after the start of 1970.
    pub(super) fn admit(&self, token: &str, names: &Names, now: u64) -> Result<(), Denied> {
        let denied = |_| Denied;
        let (signed, tag) = token.rsplit_once('.').ok_or(Denied)?;
        let tag = Base64UrlUnpadded::decode_vec(tag).map_err(denied)?;
        hmac::verify(&self.0, signed.as_bytes(), &tag).map_err(|_| Denied)?;
        let (header, claims) = signed.split_once('.').ok_or(Denied)?;
        let header = Base64UrlUnpadded::decode_vec(header).map_err(denied)?;
        let header: Header = serde_json::from_slice(&header).map_err(|_| Denied)?;
        let claims = Base64UrlUnpadded::decode_vec(claims).map_err(denied)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| Denied)?;
        let ended = now >= claims.exp.saturating_add(TOLERANCE);
        let begun = claims.nbf.is_none_or(|begin| now + TOLERANCE >= begin);
        let peer = claims.sub.is_none_or(|sub| sub == names.peer.as_str());
        let room = names.room.as_ref().map(RoomName::as_str);
        let room = claims.room.is_none_or(|claim| room == Some(&*claim));
        // What `crit` names would have to be understood (RFC 7515 section 4.1.11), and nothing is.
        let known = header.alg == "HS256" && header.crit.is_none();
        (known && !ended && begun && peer && room)
            .then_some(())
            .ok_or(Denied)
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(..)")
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    crit: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<String>,
}

const HEADER: &[u8] = br#"{"alg":"HS256","typ":"JWT"}"#;
const SHORTEST: usize = 32;
/// Seconds that clocks may differ.
const TOLERANCE: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn key() -> AccessKey {
        AccessKey::new(b"0123456789abcdef0123456789abcdef").expect("long enough")
    }

    fn names(query: &str) -> Names {
        Names::of(Some(query)).expect("valid")
    }

    fn claims() -> Claims {
        Claims {
            exp: NOW + 10,
            nbf: None,
            sub: None,
            room: None,
        }
    }

    fn admits(claims: &Claims, query: &str) -> bool {
        let token = key().sign(claims);
        key().admit(&token, &names(query), NOW).is_ok()
    }

    #[test]
    fn a_token_lets_in_whom_and_where_it_says() {
        let for_alice = Claims {
            sub: Some("alice".to_owned()),
            ..claims()
        };
        let for_kitchen = Claims {
            room: Some("kitchen".to_owned()),
            ..claims()
        };
        assert!(admits(&claims(), "peer=bob"));
        assert!(admits(&for_alice, "peer=alice&room=attic"));
        assert!(!admits(&for_alice, "peer=bob&room=attic"));
        assert!(admits(&for_kitchen, "peer=bob&room=kitchen"));
        assert!(!admits(&for_kitchen, "peer=bob&room=attic"));
        assert!(!admits(&for_kitchen, "peer=bob"));
    }

    #[test]
    fn a_token_holds_from_its_beginning_to_its_end_and_a_minute_more() {
        let at = |exp, nbf| {
            let claims = Claims {
                exp,
                nbf,
                ..claims()
            };
            admits(&claims, "peer=alice")
        };
        assert!(at(NOW - 59, None));
        assert!(!at(NOW - 60, None));
        assert!(at(NOW + 1, Some(NOW + 60)));
        assert!(!at(NOW + 1, Some(NOW + 61)));
        assert!(at(u64::MAX, None));
    }

    /// The example of RFC 7515 appendix A.1: another implementation made it.
    #[test]
    fn a_token_of_another_implementation_is_verified() {
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let key = Base64UrlUnpadded::decode_vec(key).expect("valid");
        let key = AccessKey::new(&key).expect("long enough");
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
            eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
            dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let names = names("peer=joe");
        assert_eq!(key.admit(token, &names, 1_300_819_380), Ok(()));
        assert_eq!(key.admit(token, &names, NOW), Err(Denied));
    }

    #[test]
    fn anything_else_is_denied() {
        let token = key().sign(&claims());
        let names = names("peer=alice");
        assert_eq!(key().admit(&token, &names, NOW), Ok(()));
        let other = AccessKey::new(&[7; 32]).expect("long enough");
        assert_eq!(other.admit(&token, &names, NOW), Err(Denied));
        for at in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).expect("is ASCII");
            // The last character has bits that mean nothing: a strict decoder refuses them.
            assert_eq!(key().admit(&altered, &names, NOW), Err(Denied), "{at}");
            assert_eq!(key().admit(&token[..at], &names, NOW), Err(Denied), "{at}");
        }
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"hs256"}"#,
            r#"{"alg":"HS256","crit":["exp"]}"#,
            "{}",
            "[]",
        ] {
            let body = token.split('.').nth(1).expect("three parts");
            let signed = format!(
                "{}.{body}",
                Base64UrlUnpadded::encode_string(header.as_bytes())
            );
            let tag = hmac::sign(&key().0, signed.as_bytes());
            let tag = Base64UrlUnpadded::encode_string(tag.as_ref());
            let token = format!("{signed}.{tag}");
            assert_eq!(key().admit(&token, &names, NOW), Err(Denied), "{header}");
        }
        for bad in ["", ".", "..", "a.b.c"] {
            assert_eq!(key().admit(bad, &names, NOW), Err(Denied), "{bad}");
        }
    }

    #[test]
    fn what_is_issued_lets_in_and_a_short_key_is_refused() {
        let room = RoomName::new("kitchen").expect("valid");
        let alice = PeerId::new("alice").expect("valid");
        let token = key().issue(Some(alice), Some(&room), Duration::from_secs(1));
        let names = names("peer=alice&room=kitchen");
        assert_eq!(key().admit(&token, &names, WallClock::seconds()), Ok(()));
        assert_eq!(AccessKey::new(&[7; 31]).err(), Some(ShortKey));
        assert_eq!(format!("{:?}", key()), "AccessKey(..)");
    }
}
