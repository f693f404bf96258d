//! Storms of negotiations.

use std::time::Duration;

use bowline::PeerId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::marks::Mark;
use crate::time::Time;

use super::sdp::Description;
use super::{Attacker, Hands};

/// What a storm is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storm {
    /// The first offers of new sessions, one upon the other.
    NewSessions,
    /// The same, each followed by a farewell, so that nothing of it is left.
    OffersAndFarewells,
    /// Offers to restart ICE in one session, each with other credentials.
    Restarts,
    /// Requests to restart ICE in one session.
    RestartRequests,
}

/// Negotiates as fast as it can, and answers nothing.
#[derive(Debug)]
pub struct OfferStorm {
    victim: PeerId,
    storm: Storm,
    left: u32,
    pause: Duration,
    made: u32,
    next: Time,
}

impl OfferStorm {
    /// So many messages, one each millisecond.
    #[must_use]
    pub fn new(victim: PeerId, storm: Storm, messages: u32) -> Self {
        Self {
            victim,
            storm,
            left: messages,
            pause: Duration::from_millis(1),
            made: 0,
            next: Time::ZERO,
        }
    }

    /// Begins at `start`.
    #[must_use]
    pub fn starting_at(self, start: Time) -> Self {
        Self {
            next: start,
            ..self
        }
    }

    fn envelope(&self, hands: &Hands<'_>, session: u32, generation: u32, kind: &str) -> Value {
        json!({
            "v": 1, "from": hands.name(), "to": self.victim, "session": format!("{session:032x}"),
            "generation": generation, "seq": 1 + generation, "type": kind,
        })
    }

    fn offer(&self, hands: &Hands<'_>, session: u32, generation: u32) -> Value {
        let made = self.made;
        let sdp = Description {
            ufrag: format!("storm{made:08}"),
            password: format!("aPasswordForStorm{made:09}"),
            fingerprint: vec!["5A"; 32].join(":"),
            setup: "actpass".to_owned(),
            candidates: hands.addresses().to_vec(),
            sctp_init: None,
        };
        let mut offer = self.envelope(hands, session, generation, "offer");
        offer["sdp"] = sdp.encode().into();
        offer
    }

    fn farewell(&self, hands: &Hands<'_>, session: u32) -> Value {
        let mut farewell = self.envelope(hands, session, 0, "bye");
        farewell["seq"] = 2.into();
        farewell["reason"] = "closed".into();
        farewell
    }
}

impl Attacker for OfferStorm {
    fn on_timeout(&mut self, hands: &mut Hands<'_>) {
        self.left -= 1;
        let made = self.made;
        let message = match self.storm {
            Storm::NewSessions => self.offer(hands, made, 0),
            Storm::OffersAndFarewells if made.is_multiple_of(2) => self.offer(hands, made / 2, 0),
            Storm::OffersAndFarewells => self.farewell(hands, made / 2),
            Storm::Restarts => self.offer(hands, 0, made),
            Storm::RestartRequests if made == 0 => self.offer(hands, 0, 0),
            Storm::RestartRequests => {
                let mut request = self.envelope(hands, 0, 0, "ice-restart");
                request["seq"] = (1 + made).into();
                request
            }
        };
        self.made += 1;
        hands.say(self.victim, message);
        self.next = hands.in_a(self.pause);
    }

    fn poll_timeout(&self) -> Option<Time> {
        (self.left > 0).then_some(self.next)
    }

    fn mark(&self) -> Option<Mark> {
        Some(Mark::OfferStorm)
    }
}
