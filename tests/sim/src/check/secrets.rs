//! Rule 20: nothing that is secret is in what an endpoint tells.
//!
//! The passwords of ICE are read from the descriptions as these pass the signalling bus, where they have to be; those of
//! TURN are known from the servers. Private keys never leave the endpoint: there is nothing by which to know one.

use std::collections::BTreeSet;

use crate::findings::{Findings, Invariant};

/// The secrets of a world.
#[derive(Debug)]
pub(crate) struct Secrets {
    all: BTreeSet<Vec<u8>>,
    /// With which three bytes they begin, so that a text is read once however many there are.
    begin: Vec<bool>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            all: BTreeSet::new(),
            begin: vec![false; 1 << 18],
        }
    }
}

impl Secrets {
    /// Something is secret from now on. What is so short that it may be a word is not looked for.
    pub(crate) fn add(&mut self, secret: &str) {
        if secret.len() >= SHORTEST {
            self.begin[beginning(secret.as_bytes())] = true;
            self.all.insert(secret.into());
        }
    }

    /// Learns the passwords in the descriptions of a signal.
    pub(crate) fn learn(&mut self, signal: &str) {
        for (place, _) in signal.match_indices(PASSWORD) {
            let rest = &signal[place + PASSWORD.len()..];
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+/".contains(c)));
            self.add(&rest[..end.unwrap_or(rest.len())]);
        }
    }

    /// Checks that a text of `whose` has none of the secrets.
    pub(crate) fn check(&self, whose: &str, text: &str, findings: &mut Findings) {
        let places = text.as_bytes().windows(3).enumerate();
        let places = places.filter(|(_, three)| self.begin[beginning(three)]);
        let mut found = places.filter_map(|(at, three)| {
            let rest = &text.as_bytes()[at..];
            let alike = self.all.range(three.to_vec()..);
            let mut alike = alike.take_while(|secret| secret.starts_with(three));
            alike.find(|secret| rest.starts_with(secret))
        });
        let found = found.next();
        findings.check(Invariant::Secrets, found.is_none(), || {
            let secret = found.map(|secret| String::from_utf8_lossy(secret));
            let secret = secret.unwrap_or_default();
            format!("{whose} tells the secret {secret}: {text}")
        });
    }
}

/// A number that the first three bytes have, and few others.
fn beginning(bytes: &[u8]) -> usize {
    let six = |n: usize| usize::from(bytes.get(n).map_or(0, |byte| byte & 63));
    six(0) << 12 | six(1) << 6 | six(2)
}

/// What is before a password in a description (RFC 8839 section 5.4).
const PASSWORD: &str = "ice-pwd:";
/// Letters of the shortest secret that is looked for.
const SHORTEST: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_a_signal_carried_may_be_in_no_text() {
        let (mut secrets, mut findings) = (Secrets::default(), Findings::default());
        secrets.learn(r#"{"sdp":"a=ice-ufrag:abcd\r\na=ice-pwd:abcdefgh+/ijklmnop12\r\na=x"}"#);
        secrets.add("password of turn");
        secrets.add("short");
        secrets.check("a", "ufrag abcd, short, abcdefgh+/ijklm", &mut findings);
        assert_eq!(findings.violations, []);
        secrets.check("a", "pwd: abcdefgh+/ijklmnop12", &mut findings);
        secrets.check("a", "the password of turn", &mut findings);
        let broken: Vec<_> = findings.violations.iter().map(|v| v.invariant).collect();
        assert_eq!(broken, [Invariant::Secrets; 2]);
    }
}
