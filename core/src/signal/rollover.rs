//! One key in the place of another, signed by both.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::identity::Identity;
use super::jws;
use crate::id::PeerId;
use crate::time::UnixTime;

/// A statement that one key takes the place of another: how a peer gets a new [`Identity`] without being a stranger to those
/// that know the old one.
///
/// Both keys have signed it, so that nobody can give a key away that is not its own, nor take the place of a key that has not
/// given it. It can be shown until the end of a grace period, in which both keys are in use:
/// [`Endpoint::announce_rollover`](crate::Endpoint::announce_rollover).
///
/// It is for keys that have been used long enough, or whose holder moves; it is no help against a thief: who has the old key can
/// sign such a statement as well. So a new key is to be believed because of it no more than the old one was.
///
/// The text form is a JWS (RFC 7515, EdDSA of RFC 8037) by the old key around a JWS by the new key around
/// `{"old":..,"new":..,"until":..}`, both with the header `{"alg":"EdDSA","typ":"bowline-rollover"}` in exactly these bytes.
/// `until` is in milliseconds since 1970-01-01 UTC. It is not secret.
///
/// ```
/// use bowline::{Identity, Rollover, UnixTime};
///
/// let [old, new] = [7, 8].map(|n| Identity::from_private_key([n; 32])); // of the operating system in production
/// let rollover = Rollover::new(&old, &new, UnixTime::from_millis(1_900_000_000_000))?;
/// let read: Rollover = rollover.to_string().parse()?;
/// assert_eq!((read.old_id(), read.new_id()), (old.id(), new.id()));
/// # Ok::<(), bowline::InvalidRollover>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Rollover {
    claims: Claims,
    text: String,
}

/// What the two have signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Claims {
    old: PeerId,
    new: PeerId,
    #[serde(with = "millis")]
    until: UnixTime,
}

impl Rollover {
    /// The longest text form that is read, in bytes: one has about 550.
    pub const MAX_LEN: usize = 1_024;

    /// The statement that `new` takes the place of `old`, to be shown until the end of the grace period.
    ///
    /// # Errors
    ///
    /// [`InvalidRollover`] when one of them has no key, or both have the same.
    pub fn new(old: &Identity, new: &Identity, until: UnixTime) -> Result<Self, InvalidRollover> {
        let (Some(old_key), Some(new_key)) = (old.key(), new.key()) else {
            return Err(InvalidRollover);
        };
        let claims = Claims {
            old: old.id(),
            new: new.id(),
            // As exact as its text.
            until: UnixTime::from_millis(until.as_millis()),
        };
        if claims.old == claims.new {
            return Err(InvalidRollover);
        }
        let text = serde_json::to_string(&claims).map_err(|_| InvalidRollover)?;
        let text = jws::sign(HEADER, old_key, &jws::sign(HEADER, new_key, &text));
        Ok(Self { claims, text })
    }

    /// The key that is given up.
    #[must_use]
    pub fn old_id(&self) -> PeerId {
        self.claims.old
    }

    /// The key in its place.
    #[must_use]
    pub fn new_id(&self) -> PeerId {
        self.claims.new
    }

    /// The end of the grace period.
    #[must_use]
    pub fn until(&self) -> UnixTime {
        self.claims.until
    }
}

impl FromStr for Rollover {
    type Err = InvalidRollover;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text).ok_or(InvalidRollover)
    }
}

/// What `text` says, if both have signed it.
fn read(text: &str) -> Option<Rollover> {
    if text.len() > Rollover::MAX_LEN {
        return None;
    }
    let inner = jws::payload(HEADER, text)?;
    // Nothing of it is believed before both signatures are verified: it only says whose they should be.
    let claims = jws::payload(HEADER, &inner)?;
    let claims: Claims = serde_json::from_str(&claims).ok()?;
    jws::verify(HEADER, claims.old, text)?;
    jws::verify(HEADER, claims.new, &inner)?;
    (claims.old != claims.new).then(|| Rollover {
        claims,
        text: text.to_owned(),
    })
}

/// The text form.
impl fmt::Display for Rollover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Rollover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Claims { old, new, until } = self.claims;
        write!(f, "Rollover({old} -> {new}, until {until})")
    }
}

impl Serialize for Rollover {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Rollover {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is no statement of two keys, or two identities that cannot make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no statement, signed by both, that one key takes the place of another")]
pub struct InvalidRollover;

mod millis {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::time::UnixTime;

    pub(super) fn serialize<S: Serializer>(
        time: &UnixTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.as_millis().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<UnixTime, D::Error> {
        u64::deserialize(deserializer).map(UnixTime::from_millis)
    }
}

/// `{"alg":"EdDSA","typ":"bowline-rollover"}`
pub(super) const HEADER: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6ImJvd2xpbmUtcm9sbG92ZXIifQ";

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: UnixTime = UnixTime::from_millis(1_900_000_000_000);

    fn identity(n: u8) -> Identity {
        Identity::from_private_key([n; 32])
    }

    fn rollover(old: u8, new: u8) -> Rollover {
        Rollover::new(&identity(old), &identity(new), UNTIL).expect("two keys")
    }

    /// A statement of these claims by these two.
    fn signed(claims: &str, new: u8, old: u8) -> String {
        let [new, old] = [new, old].map(identity);
        let inner = jws::sign(HEADER, new.key().expect("a key"), claims);
        jws::sign(HEADER, old.key().expect("a key"), &inner)
    }

    #[test]
    fn the_header_is_the_documented_one() {
        let header = jws::decode(HEADER).expect("base64url");
        assert_eq!(header, br#"{"alg":"EdDSA","typ":"bowline-rollover"}"#);
    }

    #[test]
    fn a_statement_is_read_as_it_was_made() {
        let made = rollover(1, 2);
        let read: Rollover = made.to_string().parse().expect("valid");
        assert_eq!(read, made);
        assert_eq!(read.old_id(), identity(1).id());
        assert_eq!(read.new_id(), identity(2).id());
        assert_eq!(read.until(), UNTIL);
        assert!(made.text.len() <= Rollover::MAX_LEN, "{}", made.text.len());
        let json = serde_json::to_string(&made).expect("a string");
        assert_eq!(serde_json::from_str::<Rollover>(&json).ok(), Some(made));
    }

    #[test]
    fn only_two_keys_can_make_one() {
        let name = || Identity::without_key("alice".parse().expect("valid"));
        for (old, new) in [
            (identity(1), name()),
            (name(), identity(1)),
            (identity(1), identity(1)),
        ] {
            assert_eq!(Rollover::new(&old, &new, UNTIL), Err(InvalidRollover));
        }
    }

    #[test]
    fn both_must_have_signed_what_it_says() {
        let claims = |old: u8, new: u8| {
            let [old, new] = [old, new].map(|n| identity(n).id());
            format!(r#"{{"old":"{old}","new":"{new}","until":1900000000000}}"#)
        };
        let made = rollover(1, 2).to_string();
        assert_eq!(signed(&claims(1, 2), 2, 1), made);
        for (why, text) in [
            ("the thief of a name", signed(&claims(1, 3), 3, 3)),
            ("a gift nobody has accepted", signed(&claims(1, 2), 1, 1)),
            ("the other way round", signed(&claims(1, 2), 1, 2)),
            ("to itself", signed(&claims(1, 1), 1, 1)),
            ("no claims", signed("{}", 2, 1)),
            ("nothing", String::new()),
            (
                "too long",
                format!("{made}{}", " ".repeat(Rollover::MAX_LEN)),
            ),
            (
                "one signature",
                jws::payload(HEADER, &made).expect("there is one"),
            ),
        ] {
            assert_eq!(text.parse::<Rollover>(), Err(InvalidRollover), "{why}");
        }
        for at in 0..made.len() {
            let mut bytes = made.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).expect("ascii");
            assert_eq!(text.parse::<Rollover>(), Err(InvalidRollover), "{at}");
        }
    }

    #[test]
    fn a_text_of_the_greatest_length_is_read_and_a_longer_one_is_not() {
        let claims = |fill: usize| {
            let [old, new] = [1, 2].map(|n| identity(n).id());
            let fill = "x".repeat(fill);
            let claims = format!(r#"{{"old":"{old}","new":"{new}","until":1,"fill":"{fill}"}}"#);
            signed(&claims, 2, 1)
        };
        let fitting = (0..)
            .map(claims)
            .take_while(|text| text.len() <= Rollover::MAX_LEN);
        let (count, longest) = fitting.enumerate().last().expect("some fit");
        assert!(longest.parse::<Rollover>().is_ok());
        assert!(claims(count + 1).parse::<Rollover>().is_err());
    }

    #[test]
    fn a_signalling_message_is_no_statement() {
        let message = jws::sign(
            super::super::seal::HEADER,
            identity(1).key().expect("a key"),
            "{}",
        );
        assert_eq!(message.parse::<Rollover>(), Err(InvalidRollover));
    }
}
