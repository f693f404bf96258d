//! A flood of connectivity checks.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::marks::Mark;
use crate::time::Time;

use super::sdp::Description;
use super::stun::{self, Check};
use super::{Attacker, Hands, Heard, HeardSignal};

/// How good the checks of a flood are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checks {
    /// They name a user that nobody has.
    UnknownName,
    /// They name a user that was overheard, and are made with a wrong password.
    WrongPassword,
    /// They are right in all: the passwords were overheard, too, or come from a peer that attacks.
    Right,
}

/// Sends connectivity checks from many addresses, whose owners it is or is not.
///
/// User names and passwords are those of the last session that it has heard somebody offer and the target answer. Checks that come
/// to its own addresses it answers as the peer would, so that with [`Checks::Right`] an address becomes valid.
#[derive(Debug)]
pub struct StunFlood {
    target: SocketAddr,
    checks: Checks,
    count: u64,
    sent: u64,
    sources: u64,
    batch: u64,
    start: Time,
    /// The descriptions of those who talk with the target, by session.
    peers: BTreeMap<String, Description>,
    /// The descriptions of the target and of its peer in the last session that was agreed on.
    pair: Option<(Description, Description)>,
}

impl StunFlood {
    /// A flood of `count` checks, each from an address of its own, that begins at once.
    #[must_use]
    pub fn new(target: SocketAddr, checks: Checks, count: u64) -> Self {
        Self {
            target,
            checks,
            count,
            sent: 0,
            sources: count,
            batch: BATCH,
            start: Time::ZERO,
            peers: BTreeMap::new(),
            pair: None,
        }
    }

    /// Begins at `start`, so that a negotiation can be overheard before.
    #[must_use]
    pub fn starting_at(self, start: Time) -> Self {
        Self { start, ..self }
    }

    /// Sends so many each millisecond instead of ten.
    #[must_use]
    pub fn at_once(self, batch: u64) -> Self {
        Self { batch, ..self }
    }

    /// Sends from the first `sources` addresses only, in turn.
    #[must_use]
    pub fn from_sources(self, sources: u64) -> Self {
        Self { sources, ..self }
    }

    /// The address number `n` that floods come from, in the range for benchmarks (RFC 2544).
    #[must_use]
    pub fn source(n: u64) -> SocketAddr {
        let host = u32::try_from(n % HOSTS).unwrap_or_default();
        let port = u16::try_from(n / HOSTS).unwrap_or_default();
        let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + host);
        SocketAddr::from((ip, FIRST_PORT.saturating_add(port)))
    }

    fn check(&self) -> Vec<u8> {
        let mut transaction = [0; 12];
        transaction[4..].copy_from_slice(&self.sent.to_be_bytes());
        let named = self.pair.as_ref().map(|(theirs, peers)| {
            let user_name = format!("{}:{}", theirs.ufrag, peers.ufrag);
            (user_name, theirs.password.clone())
        });
        let (user_name, password) = match (self.checks, named) {
            (Checks::UnknownName, _) | (_, None) => ("nobody:nobody".to_owned(), String::new()),
            (Checks::WrongPassword, Some((user_name, _))) => (user_name, "wrong".to_owned()),
            (Checks::Right, Some(right)) => right,
        };
        Check {
            transaction,
            user_name,
            password,
            nominates: false,
        }
        .encode()
    }
}

impl Attacker for StunFlood {
    fn on_timeout(&mut self, hands: &mut Hands<'_>) {
        for _ in 0..self.batch.min(self.count - self.sent) {
            let source = Self::source(self.sent % self.sources.max(1));
            hands.send(source, self.target, self.check());
            self.sent += 1;
        }
        self.start = hands.in_a(PAUSE);
    }

    fn on_datagram(&mut self, datagram: &Heard<'_>, hands: &mut Hands<'_>) {
        if let (Some(transaction), Some((_, peers))) =
            (stun::check_transaction(datagram.contents), &self.pair)
        {
            let answer = stun::answer(transaction, datagram.source, &peers.password);
            hands.send(datagram.destination, datagram.source, answer);
        }
    }

    fn overhear_signal(&mut self, signal: &HeardSignal<'_>, _hands: &mut Hands<'_>) {
        let Ok(envelope) = serde_json::from_str::<Value>(signal.text) else {
            return;
        };
        let Some(description) = envelope["sdp"].as_str().and_then(Description::decode) else {
            return;
        };
        let session = envelope["session"].to_string();
        if !description.candidates.contains(&self.target) {
            self.peers.insert(session, description);
        } else if let Some(peers) = self.peers.get(&session) {
            self.pair = Some((description, peers.clone()));
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        (self.sent < self.count).then_some(self.start)
    }

    fn mark(&self) -> Option<Mark> {
        Some(Mark::CheckFlood)
    }
}

/// Checks sent at one instant, unless told otherwise.
const BATCH: u64 = 10;
/// From one batch to the next.
const PAUSE: Duration = Duration::from_millis(1);
/// Addresses of 198.18.0.0/15, but for the first and the last.
const HOSTS: u64 = (1 << 17) - 2;
const FIRST_PORT: u16 = 1_024;
