use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use aws_lc_rs::{constant_time, hmac};
use stun_proto::types::attribute::{
    ErrorCode, MessageIntegrity, MessageIntegritySha256, Nonce, Username,
};
use stun_proto::types::message::{LongTermCredentials, Message};
use stun_proto::types::prelude::AttributeStaticType;

use super::credentials::{TurnSecret, valid_name};
use super::message::{Caller, challenge, refusal};
use crate::clock::WallClock;

/// Who may enter. It keeps nothing for anybody: a nonce proves itself, and so does a user name with its password.
pub(super) struct Door {
    secret: TurnSecret,
    realm: String,
    nonces: hmac::Key,
    opened: Instant,
}

impl Door {
    /// A door for those who have credentials of `secret`. None when the operating system has no randomness.
    pub(super) fn new(secret: TurnSecret, realm: String) -> Option<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).ok()?;
        Some(Self {
            secret,
            realm,
            nonces: hmac::Key::new(hmac::HMAC_SHA256, &key),
            opened: Instant::now(),
        })
    }

    pub(super) fn realm(&self) -> &str {
        &self.realm
    }

    /// Finds out who made a request. `known` is who has this address already: its credentials hold as long as what was
    /// made with them, since RFC 8656 section 5 wants the same ones for all of it.
    ///
    /// # Errors
    ///
    /// The answer to give instead, if there is one.
    pub(super) fn authenticate(
        &self,
        request: &Message<'_>,
        from: SocketAddr,
        known: Option<&Caller>,
        now: Instant,
    ) -> Result<Caller, Option<Vec<u8>>> {
        let is_signed = request.has_attribute(MessageIntegrity::TYPE)
            || request.has_attribute(MessageIntegritySha256::TYPE);
        if !is_signed {
            return Err(self.challenge(request, ErrorCode::UNAUTHORIZED, from, now));
        }
        let nonce = request.attribute::<Nonce>().ok();
        let username = request.attribute::<Username>().ok();
        let Some((nonce, username)) = nonce.zip(username) else {
            return Err(refusal(request, ErrorCode::BAD_REQUEST, None));
        };
        if !self.gave(nonce.nonce(), from, now) {
            return Err(self.challenge(request, ErrorCode::STALE_NONCE, from, now));
        }
        let caller = self
            .caller(username.username(), known)
            .filter(|caller| request.validate_integrity_with_key(&caller.key).is_ok());
        caller.ok_or_else(|| self.challenge(request, ErrorCode::UNAUTHORIZED, from, now))
    }

    fn caller(&self, username: &str, known: Option<&Caller>) -> Option<Caller> {
        let name = match known.filter(|known| known.credentials.username() == username) {
            Some(known) => &known.name,
            None => valid_name(username, WallClock::seconds())?,
        };
        let password = self.secret.password(username);
        let credentials = LongTermCredentials::new(username.to_owned(), password.to_string());
        Some(Caller::new(name, credentials, &self.realm))
    }

    fn challenge(
        &self,
        request: &Message<'_>,
        code: u16,
        from: SocketAddr,
        now: Instant,
    ) -> Option<Vec<u8>> {
        challenge(request, code, &self.realm, &self.nonce(from, now))
    }

    /// A nonce for this address: when it was made, and a code that only we can make.
    fn nonce(&self, from: SocketAddr, now: Instant) -> String {
        self.nonce_of(from, self.seconds(now))
    }

    fn nonce_of(&self, from: SocketAddr, made: u32) -> String {
        let mut signed = hmac::Context::with_key(&self.nonces);
        signed.update(&made.to_be_bytes());
        signed.update(&from.port().to_be_bytes());
        match from.ip() {
            IpAddr::V4(ip) => signed.update(&ip.octets()),
            IpAddr::V6(ip) => signed.update(&ip.octets()),
        }
        let mut text = format!("{made:08x}");
        for byte in signed.sign().as_ref().iter().take(NONCE_CODE) {
            // A string takes all that is written to it.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Whether a nonce is one for this address that is not too old.
    fn gave(&self, nonce: &str, from: SocketAddr, now: Instant) -> bool {
        let made = nonce.get(..8).and_then(|t| u32::from_str_radix(t, 16).ok());
        let Some(made) = made else {
            return false;
        };
        let age = self.seconds(now).checked_sub(made);
        let ours = self.nonce_of(from, made);
        age.is_some_and(|age| age <= NONCE_LIFETIME)
            && constant_time::verify_slices_are_equal(ours.as_bytes(), nonce.as_bytes()).is_ok()
    }

    fn seconds(&self, now: Instant) -> u32 {
        let open = now.saturating_duration_since(self.opened).as_secs();
        u32::try_from(open).unwrap_or(u32::MAX)
    }
}

/// How long a nonce holds, in seconds: a replayed request can do no more than repeat what was done to the same address.
const NONCE_LIFETIME: u32 = 3_600;
/// Bytes of the code in a nonce.
const NONCE_CODE: usize = 12;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_nonce_holds_for_its_address_and_its_time() {
        let door = Door::new(TurnSecret::new(b"x"), "r".to_owned()).expect("randomness");
        let now = Instant::now();
        let (here, there) = ("192.0.2.1:1", "192.0.2.1:2");
        let (here, there) = (here.parse().expect("valid"), there.parse().expect("valid"));
        let nonce = door.nonce(here, now);
        assert!(door.gave(&nonce, here, now));
        assert!(!door.gave(&nonce, there, now));
        let end = now + Duration::from_secs(u64::from(NONCE_LIFETIME));
        assert!(door.gave(&nonce, here, end));
        assert!(!door.gave(&nonce, here, end + Duration::from_secs(1)));
        for bad in [
            "",
            "0",
            "00000000",
            "zzzzzzzz",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            assert!(!door.gave(bad, here, now), "{bad}");
        }
        let later = format!("{:08x}{}", 0xffff_ffff_u32, &nonce[8..]);
        assert!(!door.gave(&later, here, now));
    }
}
