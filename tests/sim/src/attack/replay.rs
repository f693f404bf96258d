//! Replayed signals.

use std::time::Duration;

use bowline::PeerId;

use crate::marks::Mark;
use crate::time::Time;

use super::{Attacker, Hands, HeardSignal};

/// Keeps every signal that it overhears, and sends all of them to everybody: each time that a new one is heard, and
/// in rounds later on. Its copies are true: to whom they are addressed, back to their sender, and to others. Besides it
/// sends each cut in half.
#[derive(Debug)]
pub struct Replayer {
    everybody: Vec<PeerId>,
    kept: Vec<Kept>,
    rounds: Vec<Time>,
    most: usize,
}

#[derive(Debug)]
struct Kept {
    to: PeerId,
    text: String,
    serial: u64,
}

impl Replayer {
    /// Replays to `everybody`, at each new signal and at the times of `rounds`.
    #[must_use]
    pub fn new(everybody: Vec<PeerId>, rounds: Vec<Time>) -> Self {
        Self {
            everybody,
            kept: Vec::new(),
            rounds,
            most: MAX_KEPT,
        }
    }

    /// Keeps the first `most` signals only.
    #[must_use]
    pub fn keeping(self, most: usize) -> Self {
        Self { most, ..self }
    }

    fn replay_all(&mut self, hands: &mut Hands<'_>) {
        for Kept { to, text, serial } in &self.kept {
            for somebody in &self.everybody {
                // A link routes by the name in the message; this one does not.
                hands.replay(*somebody, text.clone(), *serial);
            }
            let half = text.len() / 2;
            let cut = (0..=half).rev().find(|at| text.is_char_boundary(*at));
            hands.signal(*to, &text[..cut.unwrap_or_default()]);
        }
    }
}

impl Attacker for Replayer {
    fn on_timeout(&mut self, hands: &mut Hands<'_>) {
        self.rounds.retain(|at| *at > hands.now());
        self.replay_all(hands);
    }

    fn overhear_signal(&mut self, signal: &HeardSignal<'_>, hands: &mut Hands<'_>) {
        if self.kept.iter().any(|kept| kept.text == signal.text) || self.kept.len() >= self.most {
            return;
        }
        self.kept.push(Kept {
            to: signal.to,
            text: signal.text.to_owned(),
            serial: signal.serial,
        });
        // A moment later, so that the first has arrived.
        self.rounds.push(hands.in_a(MOMENT));
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.rounds.iter().min().copied()
    }

    fn mark(&self) -> Option<Mark> {
        Some(Mark::Replayer)
    }
}

/// Signals that are kept, unless told otherwise.
const MAX_KEPT: usize = 200;
/// The bus takes 20 ms.
const MOMENT: Duration = Duration::from_millis(25);
