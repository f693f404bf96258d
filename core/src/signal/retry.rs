//! The repetition schedule: what has to be sent again until it is acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::envelope::Envelope;
use crate::config::Timing;
use crate::rng::Rng;

/// Messages that are handed out at once and then again and again, with growing pauses, until they are removed.
///
/// What is due is given in the order in which it became due; first transmissions in the order of their keys. The
/// owner bounds the number of messages. Every operation but [`Repeats::remove_where`] takes O(log n).
#[derive(Debug)]
pub(crate) struct Repeats<K> {
    /// Apart, because a map keeps room for eleven even when it is empty.
    entries: BTreeMap<K, Box<Entry>>,
    /// One for each entry: when it is due.
    due: BTreeSet<(Instant, K)>,
    first_pause: Duration,
    longest_pause: Duration,
    rng: Rng,
    /// Nothing is due until the link is back.
    held: bool,
}

/// A message to hand to the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dispatch<'a> {
    /// The message.
    pub(crate) envelope: &'a Envelope,
    /// Whether it is handed out for the first time.
    pub(crate) first: bool,
}

#[derive(Debug)]
struct Entry {
    envelope: Envelope,
    due: Instant,
    /// The pause after the next transmission, before jitter.
    pause: Duration,
    sent: bool,
}

impl<K: Copy + Ord> Repeats<K> {
    pub(crate) fn new(timing: &Timing, rng: Rng) -> Self {
        Self {
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            first_pause: timing.signal_retry,
            longest_pause: timing.signal_retry_max,
            rng,
            held: false,
        }
    }

    /// Adds a message that is due at once. One under the same key is replaced.
    pub(crate) fn insert(&mut self, key: K, envelope: Envelope, now: Instant) {
        let entry = Entry {
            envelope,
            due: now,
            pause: self.first_pause,
            sent: false,
        };
        self.remove(key);
        self.entries.insert(key, Box::new(entry));
        self.due.insert((now, key));
    }

    /// Removes a message and gives it back.
    pub(crate) fn remove(&mut self, key: K) -> Option<Envelope> {
        let entry = self.entries.remove(&key)?;
        self.due.remove(&(entry.due, key));
        Some(entry.envelope)
    }

    /// Removes the messages that `superseded` names.
    pub(crate) fn remove_where(&mut self, mut superseded: impl FnMut(&Envelope) -> bool) {
        let due = &mut self.due;
        self.entries.retain(|key, entry| {
            let gone = superseded(&entry.envelope);
            if gone {
                due.remove(&(entry.due, *key));
            }
            !gone
        });
    }

    /// The link is down, or back: then everything is due at once, since what was under way is lost.
    pub(crate) fn set_held(&mut self, held: bool, now: Instant) {
        if std::mem::replace(&mut self.held, held) && !held {
            self.due = self.entries.keys().map(|key| (now, *key)).collect();
            for entry in self.entries.values_mut() {
                (entry.due, entry.pause) = (now, self.first_pause);
            }
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Gives one message that is due, and schedules its repetition.
    #[must_use]
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Dispatch<'_>> {
        let next = self.due.first().filter(|_| !self.held);
        let (due, key) = next.copied().filter(|(due, _)| *due <= now)?;
        let entry = self.entries.get_mut(&key)?;
        self.due.remove(&(due, key));
        entry.due = now + self.rng.jitter(entry.pause, JITTER);
        entry.pause = entry.pause.saturating_mul(2).min(self.longest_pause);
        if !planted!(SignalNotRepeated) {
            self.due.insert((entry.due, key));
        }
        let first = !std::mem::replace(&mut entry.sent, true);
        Some(Dispatch {
            envelope: &entry.envelope,
            first,
        })
    }

    /// When the next message is due.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let next = self.due.first().filter(|_| !self.held);
        next.map(|(due, _)| *due)
    }

    /// The message, if it was handed out at least once: only such a one can be acknowledged.
    pub(crate) fn sent(&self, key: K) -> Option<&Envelope> {
        self.entries
            .get(&key)
            .filter(|entry| entry.sent)
            .map(|entry| &entry.envelope)
    }

    pub(crate) fn first_key(&self) -> Option<K> {
        self.entries.first_key_value().map(|(key, _)| *key)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// How far a pause is scaled at random, so that peers that lost the link together do not come back together.
const JITTER: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::id::{Generation, PeerId};
    use crate::rng::Seed;
    use crate::signal::envelope::Body;

    #[test]
    fn a_message_is_due_at_once_and_then_after_doubling_jittered_pauses_up_to_the_longest() {
        let (mut repeats, start) = (repeats(), Instant::now());
        repeats.insert(1, envelope(1), start);
        let mut now = start;
        let mut pauses = Vec::new();
        for n in 0..8 {
            assert_eq!(repeats.poll_timeout(), Some(now));
            assert_eq!(repeats.poll(now).map(|sent| sent.first), Some(n == 0));
            assert_eq!(
                repeats.poll(now),
                None,
                "one transmission for each deadline"
            );
            let next = repeats.poll_timeout().expect("repeated");
            pauses.push(next - now);
            now = next;
        }
        for (pause, base) in pauses
            .iter()
            .zip([500, 1_000, 2_000, 4_000, 4_000, 4_000, 4_000])
        {
            let base = Duration::from_millis(base);
            assert!(
                (base.mul_f64(0.8)..=base.mul_f64(1.2)).contains(pause),
                "{pause:?}"
            );
        }
        assert_ne!(pauses[3], pauses[4], "jitter differs from pause to pause");
    }

    #[test]
    fn first_transmissions_keep_their_order_whatever_is_due_besides() {
        let (mut repeats, start) = (repeats(), Instant::now());
        repeats.insert(1, envelope(1), start);
        assert!(repeats.poll(start).is_some());
        let later = start + Duration::from_secs(1);
        for n in [2, 3, 4] {
            repeats.insert(n, envelope(n), later);
        }
        let order: Vec<_> =
            std::iter::from_fn(|| repeats.poll(later).map(|d| d.envelope.seq)).collect();
        assert_eq!(order, [1, 2, 3, 4]);
    }

    #[test]
    fn what_is_removed_is_due_no_more() {
        let (mut repeats, start) = (repeats(), Instant::now());
        for n in 1..=4 {
            repeats.insert(n, envelope(n), start);
        }
        assert_eq!(repeats.remove(1).map(|envelope| envelope.seq), Some(1));
        assert_eq!(repeats.remove(1), None);
        repeats.remove_where(|envelope| envelope.seq == 3);
        assert_eq!((repeats.len(), repeats.first_key()), (2, Some(2)));
        let order: Vec<_> =
            std::iter::from_fn(|| repeats.poll(start).map(|d| d.envelope.seq)).collect();
        assert_eq!(order, [2, 4]);
        repeats.remove_where(|_| true);
        assert_eq!(repeats.poll_timeout(), None);
    }

    #[test]
    fn a_replaced_message_is_due_once() {
        let (mut repeats, start) = (repeats(), Instant::now());
        repeats.insert(1, envelope(1), start);
        assert!(repeats.poll(start).is_some() && repeats.sent(1).is_some());
        repeats.insert(1, envelope(2), start);
        assert_eq!(repeats.sent(1), None);
        assert_eq!(
            repeats.poll(start).map(|d| (d.envelope.seq, d.first)),
            Some((2, true))
        );
        assert_eq!(repeats.poll(start), None);
    }

    fn repeats() -> Repeats<u64> {
        Repeats::new(Config::default().timing(), Rng::new(&Seed::from([3; 32])))
    }

    fn envelope(seq: u64) -> Envelope {
        Envelope {
            from: PeerId::new("a").expect("valid"),
            to: PeerId::new("b").expect("valid"),
            session: "00".repeat(16).parse().expect("valid"),
            generation: Generation(0),
            seq,
            sent_at: None,
            rollover: None,
            body: Body::IceRestart,
        }
    }
}
