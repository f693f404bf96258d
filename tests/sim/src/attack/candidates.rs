//! A flood of candidates.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bowline::PeerId;
use serde_json::{Value, json};

use crate::time::Time;

use super::sdp::candidate;
use super::{Attacker, Hands, HeardSignal};

/// Trickles candidates without end, in the name of a peer.
///
/// It joins the session with the victim that was overheard last, if any; otherwise it invents sessions, each of
/// which gets ten candidates that come before an offer that never follows.
#[derive(Debug)]
pub struct CandidateFlood {
    victim: PeerId,
    count: u32,
    sent: u32,
    start: Time,
    /// In whose name, of which session, and the user name fragment.
    joined: Option<(Value, Value, String)>,
}

impl CandidateFlood {
    /// A flood of `count` candidates that begins at once.
    #[must_use]
    pub fn new(victim: PeerId, count: u32) -> Self {
        Self {
            victim,
            count,
            sent: 0,
            start: Time::ZERO,
            joined: None,
        }
    }

    /// Begins at `start`, so that a negotiation can be overheard before.
    #[must_use]
    pub fn starting_at(self, start: Time) -> Self {
        Self { start, ..self }
    }

    /// The address of candidate number `n`.
    #[must_use]
    pub fn address(n: u32) -> SocketAddr {
        let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + n);
        SocketAddr::from((ip, 4_000))
    }

    fn envelope(&self, name: PeerId) -> String {
        let stranger = || {
            let session = format!("{:032x}", self.sent / PER_SESSION);
            (json!(name), json!(session), "none".to_owned())
        };
        let (from, session, ufrag) = self.joined.clone().unwrap_or_else(stranger);
        let line = candidate(0, Self::address(self.sent));
        json!({
            "v": 1, "from": from, "to": self.victim, "session": session, "generation": 0,
            "seq": FIRST_SEQ + self.sent, "type": "ice-candidate", "candidate": line, "ufrag": ufrag,
        })
        .to_string()
    }
}

impl Attacker for CandidateFlood {
    fn on_timeout(&mut self, hands: &mut Hands<'_>) {
        for _ in 0..BATCH.min(self.count - self.sent) {
            let text = self.envelope(hands.name());
            hands.signal(self.victim, text);
            self.sent += 1;
        }
        self.start = hands.in_a(PAUSE);
    }

    fn overhear_signal(&mut self, signal: &HeardSignal<'_>, _hands: &mut Hands<'_>) {
        let Ok(envelope) = serde_json::from_str::<Value>(signal.text) else {
            return;
        };
        let ufrag = envelope["sdp"]
            .as_str()
            .and_then(|sdp| sdp.split_once("a=ice-ufrag:")?.1.lines().next());
        if let Some(ufrag) = ufrag.filter(|_| signal.to == self.victim) {
            let (from, session) = (envelope["from"].clone(), envelope["session"].clone());
            self.joined = Some((from, session, ufrag.to_owned()));
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        (self.sent < self.count).then_some(self.start)
    }
}

/// Candidates sent at one instant.
const BATCH: u32 = 10;
/// From one batch to the next.
const PAUSE: Duration = Duration::from_millis(1);
/// Candidates of one invented session.
const PER_SESSION: u32 = 10;
/// Above what an honest peer has used when the flood joins in.
const FIRST_SEQ: u32 = 500;
