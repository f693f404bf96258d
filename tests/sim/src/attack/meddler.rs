//! Signals that are altered on their way.

use bowline::PeerId;

use crate::marks::Mark;

use super::{Attacker, Hands, HeardSignal};

/// Alters each signal that it hears in every way that comes to mind, and sends that to everybody before the true one arrives.
///
/// It is for worlds in which every host is a key: names only cannot withstand it, nor are meant to.
#[derive(Debug)]
pub struct Meddler {
    everybody: Vec<PeerId>,
    left: u32,
}

impl Meddler {
    /// Alters the first `count` signals that it hears.
    #[must_use]
    pub fn new(everybody: Vec<PeerId>, count: u32) -> Self {
        Self {
            everybody,
            left: count,
        }
    }
}

impl Attacker for Meddler {
    fn overhear_signal(&mut self, signal: &HeardSignal<'_>, hands: &mut Hands<'_>) {
        let (text, to) = (signal.text, signal.to);
        let mut names = self.everybody.iter();
        let Some(from) = names.find(|name| text.starts_with(&begin(**name))) else {
            return;
        };
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        let mut altered = Vec::new();
        let own = hands.name();
        let others = self.everybody.iter().chain([&own]);
        for other in others.filter(|other| *other != from) {
            // In the name of another, and to another.
            altered.push(text.replacen(from.as_str(), other.as_str(), 1));
            altered.push(text.replace(to.as_str(), other.as_str()));
        }
        // One character of the protected part, at many places.
        let body = text.rfind(":\"").map_or(0, |at| at + 2);
        for at in (body..text.len().saturating_sub(2)).step_by(PLACES) {
            let old = text.as_bytes()[at];
            let new = if old == b'A' { 'B' } else { 'A' };
            altered.push(format!("{}{new}{}", &text[..at], &text[at + 1..]));
        }
        // Less protection: none, and what is sealed taken for signed.
        altered.push(text.replace("\"sealed\"", "\"signed\""));
        altered.push(text.replace("\"signed\"", "\"sealed\""));
        altered.push(text.replace("\"v\":2", "\"v\":1"));
        let bye = r#""session":"00112233445566778899aabbccddeeff","generation":0,"seq":1,"type":"bye","reason":"closed""#;
        altered.push(format!(r#"{{"v":1,"from":"{from}","to":"{to}",{bye}}}"#));
        for text in altered.iter().filter(|altered| *altered != text) {
            for name in &self.everybody {
                hands.signal(*name, text);
            }
        }
    }

    fn mark(&self) -> Option<Mark> {
        Some(Mark::Meddler)
    }
}

/// How a message of `from` begins where hosts are keys.
fn begin(from: PeerId) -> String {
    format!("{{\"v\":2,\"from\":\"{from}\"")
}

/// From one character that is altered to the next.
const PLACES: usize = 61;
