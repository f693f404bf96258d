//! What the SCTP stack has to hold because something before it is missing.
//!
//! The stack keeps chunks beyond a gap, and messages whose predecessor on their stream has not come. Its window
//! counts their payload only, and one of a single byte takes some 400 bytes and time that grows with the number of
//! those that are there already: a window of 1 MiB lets a peer have a million of them. Past 16,380 gaps its
//! acknowledgement does not fit the length field of a chunk, which overflows.
//!
//! - *Chunks beyond a gap*: those more than [`MAX_AHEAD`] numbers ahead of what we have acknowledged are dropped, and
//!   while we acknowledge [`MAX_GAPS`] gaps all but the one that is waited for, as if they had been lost. An honest
//!   sender with so much under way repeats them when the gap is filled.
//! - *Messages out of sequence*: when we acknowledge that no chunk is missing, everything that an honest peer has sent
//!   can be delivered. More than [`MAX_HELD`] messages that were not are a fault. Chunks that come twice count once. When
//!   the window is as wide as ever, nothing is held, and the count begins anew, so that it cannot go wrong for long.
//!
//! What the guard knows of a peer's numbers it takes from our own acknowledgements, which tell what the stack has checked.

use crate::event::PeerFault;

use super::sctp::{DCEP, Data, Sack};

/// What one peer has sent and what became of it.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Every number up to this one was received, as our last acknowledgement says. `None` before the first.
    acknowledged: Option<u32>,
    /// The gaps of our last acknowledgement.
    gaps: u16,
    /// The chunk that came last since.
    last: Option<u32>,
    /// Bit `n % MAX_AHEAD` tells whether number `n` was received, for the `MAX_AHEAD` numbers after `acknowledged`.
    /// Empty before the first acknowledgement.
    seen: Vec<u64>,
    /// Messages that have come since the count began, when `delivered` had been delivered.
    messages: u64,
    delivered: u64,
    /// How many are to be delivered by the time the next chunk comes.
    due: Option<u64>,
    /// The widest window that we have acknowledged with.
    widest: u32,
}

/// What a chunk is, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    New,
    Again,
    TooFar,
}

impl Held {
    /// Judges the number of a chunk.
    pub(super) fn judge(&self, number: u32) -> Arrival {
        let Some(acknowledged) = self.acknowledged else {
            return Arrival::New;
        };
        let ahead = number.wrapping_sub(acknowledged).cast_signed();
        if ahead <= 0 {
            return Arrival::Again;
        }
        if ahead.unsigned_abs() > MAX_AHEAD || (ahead > 1 && self.gaps >= MAX_GAPS) {
            return Arrival::TooFar;
        }
        let (word, bit) = place(number);
        if self.seen.get(word).is_some_and(|seen| seen & bit != 0) {
            Arrival::Again
        } else {
            Arrival::New
        }
    }

    /// Takes a chunk; `delivered` messages were handed up so far.
    ///
    /// # Errors
    ///
    /// [`PeerFault::OutOfSequence`] when too many messages wait that no honest peer would let wait.
    pub(super) fn on_data(&mut self, data: Data<'_>, delivered: u64) -> Result<(), PeerFault> {
        if let Some(due) = self.due.take() {
            if delivered.saturating_add(MAX_HELD) < due {
                return Err(PeerFault::OutOfSequence);
            }
            (self.messages, self.delivered) = (due.saturating_sub(delivered), delivered);
        }
        if self.acknowledged.is_none() || self.judge(data.number) != Arrival::New {
            return Ok(());
        }
        self.seen.resize(WORDS, 0);
        self.mark(data.number, true);
        self.last = Some(data.number);
        // The announcements of channels are not handed up.
        self.messages += u64::from(data.ends && data.protocol != DCEP);
        Ok(())
    }

    /// Takes an acknowledgement of ours.
    pub(super) fn on_acknowledged(&mut self, sack: Sack) {
        (self.gaps, self.last) = (sack.gaps, None);
        self.widest = self.widest.max(sack.window);
        if sack.gaps == 0 {
            let is_anything_held = sack.window < self.widest;
            let all = self.delivered.saturating_add(self.messages);
            self.due = Some(if is_anything_held { all } else { 0 });
        }
        let Some(before) = self.acknowledged.replace(sack.cumulative) else {
            return;
        };
        let steps = sack.cumulative.wrapping_sub(before);
        for step in 1..=steps.min(MAX_AHEAD) {
            self.mark(before.wrapping_add(step), false);
        }
    }

    /// Whether a chunk before the last one that came is missing, or one was when we acknowledged last.
    pub(super) fn is_missing_something(&self) -> bool {
        self.gaps > 0
            || self
                .last
                .is_some_and(|last| self.judge(last.wrapping_sub(1)) == Arrival::New)
    }

    fn mark(&mut self, number: u32, seen: bool) {
        let (word, bit) = place(number);
        if let Some(word) = self.seen.get_mut(word) {
            *word = if seen { *word | bit } else { *word & !bit };
        }
    }
}

/// The word and the bit of a number.
fn place(number: u32) -> (usize, u64) {
    let at = number % MAX_AHEAD;
    let word = usize::try_from(at / 64).unwrap_or(WORDS);
    (word, 1 << (at % 64))
}

/// So many numbers ahead of what is acknowledged a chunk may be. Divides 2^32. A window of 1 MiB in chunks of 64 bytes:
/// what is dropped costs an honest sender of many tiny messages its rate.
const MAX_AHEAD: u32 = 16_384;
/// So many gaps we acknowledge before only the chunk that is waited for is taken.
const MAX_GAPS: u16 = 2_048;
/// Messages that may wait though no chunk is missing: some that nobody has opened a channel for.
const MAX_HELD: u64 = 1_024;
const WORDS: usize = MAX_AHEAD as usize / 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u32) -> Data<'static> {
        Data {
            number,
            stream: 1,
            protocol: 53,
            begins: true,
            ends: true,
            payload: b"x",
        }
    }

    const WIDEST: u32 = 1 << 20;

    fn ack(cumulative: u32, gaps: u16) -> Sack {
        Sack {
            cumulative,
            window: WIDEST - 1,
            gaps,
        }
    }

    /// After the first acknowledgement, of number 0.
    fn begun() -> Held {
        let mut held = Held::default();
        held.on_acknowledged(Sack {
            window: WIDEST,
            ..ack(0, 0)
        });
        held
    }

    #[test]
    fn a_chunk_at_the_limit_is_taken_and_one_further_is_too_far() {
        for first in [0, 5, u32::MAX - 100, u32::MAX] {
            let mut held = Held::default();
            assert_eq!(held.judge(first), Arrival::New);
            held.on_acknowledged(ack(first, 0));
            let judge = |ahead: u32| held.judge(first.wrapping_add(ahead));
            assert_eq!(judge(0), Arrival::Again);
            assert_eq!(judge(1), Arrival::New);
            assert_eq!(judge(MAX_AHEAD), Arrival::New);
            assert_eq!(judge(MAX_AHEAD + 1), Arrival::TooFar);
            assert_eq!(judge(u32::MAX), Arrival::Again, "an old one");
        }
    }

    #[test]
    fn at_the_limit_on_gaps_only_the_next_chunk_is_taken() {
        let mut held = Held::default();
        held.on_acknowledged(ack(10, MAX_GAPS - 1));
        assert_eq!(held.judge(12), Arrival::New);
        held.on_acknowledged(ack(10, MAX_GAPS));
        assert_eq!(held.judge(12), Arrival::TooFar);
        assert_eq!(held.judge(11), Arrival::New);
        assert_eq!(held.judge(10), Arrival::Again);
    }

    #[test]
    fn a_chunk_whose_predecessor_has_not_come_tells_that_something_is_missing() {
        let mut held = begun();
        let mut after = |number| {
            held.on_data(message(number), 0).expect("few");
            held.is_missing_something()
        };
        assert!(!after(1));
        assert!(!after(2));
        assert!(after(4));
        assert!(!after(3), "and now it is not missing");
        assert!(after(6));
        held.on_acknowledged(ack(4, 1));
        assert!(held.is_missing_something());
        held.on_data(message(5), 0).expect("few");
        assert!(held.is_missing_something(), "until it is acknowledged");
        held.on_acknowledged(ack(6, 0));
        assert!(!held.is_missing_something());
    }

    #[test]
    fn every_number_is_new_once_while_the_window_moves_around() {
        let mut held = Held::default();
        let start = u32::MAX - 3 * MAX_AHEAD;
        held.on_acknowledged(ack(start.wrapping_sub(1), 0));
        for step in 0..6 * MAX_AHEAD {
            let number = start.wrapping_add(step);
            assert_eq!(held.judge(number), Arrival::New, "{step}");
            held.on_data(message(number), u64::from(step))
                .expect("all are delivered");
            assert_eq!(held.judge(number), Arrival::Again, "{step}");
            if step % 1_000 == 999 {
                held.on_acknowledged(ack(number, 0));
            }
        }
    }

    #[test]
    fn without_a_gap_as_many_messages_as_allowed_may_wait_and_no_more() {
        for (waiting, outcome) in [(1_024, Ok(())), (1_025, Err(PeerFault::OutOfSequence))] {
            let mut held = begun();
            for number in 1..=waiting {
                assert_eq!(held.on_data(message(number), 0), Ok(()), "{number}");
                assert_eq!(held.on_data(message(number), 0), Ok(()), "twice");
            }
            held.on_acknowledged(ack(waiting, 0));
            assert_eq!(held.on_data(message(waiting + 1), 0), outcome);
        }
    }

    #[test]
    fn beyond_a_gap_any_number_may_wait() {
        let mut held = begun();
        for number in 2..MAX_AHEAD {
            assert_eq!(held.on_data(message(number), 0), Ok(()), "{number}");
            held.on_acknowledged(ack(0, 1));
        }
        // The gap is filled, and everything is delivered in the same breath.
        assert_eq!(held.on_data(message(1), 0), Ok(()));
        held.on_acknowledged(ack(MAX_AHEAD - 1, 0));
        let delivered = u64::from(MAX_AHEAD - 1);
        assert_eq!(held.on_data(message(MAX_AHEAD), delivered), Ok(()));
    }

    #[test]
    fn announcements_of_channels_never_wait() {
        let mut held = begun();
        for number in 1..100_000 {
            let data = Data {
                protocol: DCEP,
                ..message(number)
            };
            assert_eq!(held.on_data(data, 0), Ok(()), "{number}");
            held.on_acknowledged(ack(number, 0));
        }
    }

    #[test]
    fn messages_that_wait_add_up_until_nothing_is_held() {
        let mut held = begun();
        let mut send = |number: u32, window| {
            let outcome = held.on_data(message(number), 0);
            held.on_acknowledged(Sack {
                window,
                ..ack(number, 0)
            });
            outcome
        };
        for number in 1..=5_000 {
            let window = if number % 1_000 == 0 { WIDEST } else { 9 };
            assert_eq!(send(number, window), Ok(()), "{number}");
        }
        let faulty = (5_001..7_000).find(|number| send(*number, 9).is_err());
        assert_eq!(faulty, Some(5_000 + 1_024 + 2));
    }
}
