//! What became of each message, by what both applications were told.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use bowline::{ChannelId, ChannelKind, Message};

use super::step::Who;

/// The messages of one sender in one life of its peer on one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flow {
    pub(super) from: Who,
    pub(super) life: u32,
    pub(super) channel: ChannelId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Delivered,
    Lost,
    Unknown,
}

/// The books. Custom channels are not in them: their ids begin anew in each life.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// What DTLS protects, or a signal, was altered: without cryptography anything may come of it.
    pub(super) is_void: bool,
    accepted: BTreeMap<Flow, u64>,
    outcomes: BTreeMap<Flow, Vec<Outcome>>,
    received: BTreeMap<Flow, BTreeSet<u64>>,
}

impl Account {
    /// The next message of a flow, `len` bytes or a little more.
    pub(super) fn message(&self, flow: Flow, len: usize) -> Message {
        let number = self.accepted.get(&flow).copied().unwrap_or_default();
        let mut data = vec![flow.from.index().to_le_bytes()[0]];
        data.extend(flow.life.to_le_bytes());
        data.extend(number.to_le_bytes());
        data.resize(data.len().max(len), PADDING);
        Message::binary(data)
    }

    pub(super) fn on_accepted(&mut self, flow: Flow, number: u64) {
        let accepted = self.accepted.entry(flow).or_default();
        assert_eq!(number, *accepted, "{flow:?}: numbered from 0 without gaps");
        *accepted += 1;
    }

    /// A number is taken by a message that is not in the books.
    pub(super) fn skip(&mut self, flow: Flow) {
        *self.accepted.entry(flow).or_default() += 1;
    }

    pub(super) fn on_received(&mut self, from: Who, channel: ChannelId, message: &Message) {
        if self.is_void || message.text || kind(channel).is_none() {
            return;
        }
        let (flow, number) = self
            .read(from, channel, message)
            .expect("what was sent, unchanged");
        let got = self.received.entry(flow).or_default();
        if is_reliable(channel) {
            assert_eq!(got.len() as u64, number, "{flow:?}: once and in order");
        }
        assert!(got.insert(number), "{flow:?} {number} twice");
    }

    pub(super) fn on_delivered(&mut self, flow: Flow, through: u64) {
        let told = self.outcomes.entry(flow).or_default();
        let accepted = self.accepted.get(&flow).copied().unwrap_or_default();
        if kind(flow.channel).is_some() {
            assert!(through < accepted, "{flow:?}: {through} of {accepted}");
        }
        while (told.len() as u64) <= through {
            told.push(Outcome::Delivered);
        }
    }

    pub(super) fn on_not_delivered(
        &mut self,
        flow: Flow,
        numbers: RangeInclusive<u64>,
        maybe: bool,
    ) {
        let told = self.outcomes.entry(flow).or_default();
        if is_reliable(flow.channel) {
            let next = told.len() as u64;
            assert_eq!(*numbers.start(), next, "{flow:?}: told in order, and once");
        }
        let outcome = if maybe {
            Outcome::Unknown
        } else {
            Outcome::Lost
        };
        told.extend(numbers.map(|_| outcome));
    }

    /// Whether every message on a reliable kind has its outcome.
    pub(super) fn is_settled(&self) -> bool {
        let told = |flow: &Flow| self.outcomes.get(flow).map_or(0, Vec::len) as u64;
        let mut reliable = self
            .accepted
            .iter()
            .filter(|(flow, _)| is_reliable(flow.channel));
        reliable.all(|(flow, accepted)| told(flow) == *accepted)
    }

    /// At the end: every message on a reliable kind has its outcome, and it is the right one.
    pub(super) fn check(&self) {
        for (flow, accepted) in &self.accepted {
            if !is_reliable(flow.channel) {
                continue;
            }
            let told = self.outcomes.get(flow).map_or(&[][..], Vec::as_slice);
            assert_eq!(told.len() as u64, *accepted, "{flow:?}: all told, once");
            if self.is_void {
                continue;
            }
            let received = self.received.get(flow);
            for (number, outcome) in (0_u64..).zip(told) {
                let arrived = received.is_some_and(|got| got.contains(&number));
                match outcome {
                    Outcome::Delivered => assert!(arrived, "{flow:?} {number} has not arrived"),
                    Outcome::Lost => assert!(!arrived, "{flow:?} {number} has arrived"),
                    Outcome::Unknown => {}
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn delivered(&self, from: Who) -> usize {
        let of_sender = self.outcomes.iter().filter(|(flow, _)| flow.from == from);
        let told = of_sender.flat_map(|(_, told)| told);
        told.filter(|outcome| **outcome == Outcome::Delivered)
            .count()
    }

    fn read(&self, from: Who, channel: ChannelId, message: &Message) -> Option<(Flow, u64)> {
        let (sender, rest) = message.data.split_first()?;
        let (life, rest) = rest.split_first_chunk::<4>()?;
        let (number, padding) = rest.split_first_chunk::<8>()?;
        let (life, number) = (u32::from_le_bytes(*life), u64::from_le_bytes(*number));
        let flow = Flow {
            from,
            life,
            channel,
        };
        let is_sent = self.accepted.get(&flow).is_some_and(|sent| number < *sent);
        // In one piece: a fuzzer counts each turn of a loop.
        let is_whole =
            usize::from(*sender) == from.index() && padding == vec![PADDING; padding.len()];
        (is_sent && is_whole && !message.text).then_some((flow, number))
    }
}

pub(super) fn kind(channel: ChannelId) -> Option<ChannelKind> {
    ChannelKind::ALL
        .into_iter()
        .find(|kind| kind.id() == channel)
}

fn is_reliable(channel: ChannelId) -> bool {
    kind(channel).is_some_and(|kind| kind != ChannelKind::Unreliable)
}

const PADDING: u8 = b'.';
