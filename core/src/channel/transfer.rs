//! Messages go out and come in.

use std::time::Instant;

use bytes::Bytes;

use crate::event::PeerFault;
use crate::id::ChannelId;

use super::entry::{Entry, Phase, Turn};
use super::frame::{Header, Part};
use super::io::{ChannelOutput, Framing, StreamKey, Write};
use super::kind::{Message, Reliability};
use super::{ACK_DELAY, Channels, URGENT_SLACK, WRITE_RETRY, rank};

/// A write that the transport was offered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Offer {
    /// The next part of the META message.
    Meta,
    /// The next part of the channel's first message.
    Channel {
        channel: ChannelId,
        part: Part,
        bytes: usize,
    },
}

impl Channels {
    /// What to write next. Say [`Channels::on_written`] or [`Channels::on_write_refused`] before the next call; until
    /// then the same write is given again, or a more urgent one.
    pub(crate) fn poll_write(&mut self, _now: Instant) -> Option<Write<'_>> {
        self.offer = None;
        if self.retry_write.is_some() {
            return None;
        }
        let offer = self.next_offer()?;
        self.offer = Some(offer);
        match offer {
            Offer::Meta => {
                let data = self.meta.frame(&mut self.frame);
                Some(Write {
                    stream: StreamKey::Meta,
                    binary: true,
                    data,
                })
            }
            Offer::Channel {
                channel,
                part,
                bytes,
            } => self.render(channel, part, bytes),
        }
    }

    /// The transport took what [`Channels::poll_write`] gave last.
    pub(crate) fn on_written(&mut self, now: Instant) {
        match self.offer.take() {
            None => {}
            Some(Offer::Meta) => {
                self.backlog
                    .on_written(StreamKey::Meta, self.frame.len(), now);
                for channel in self.meta.on_written() {
                    self.on_close_said(channel);
                }
            }
            Some(Offer::Channel { channel, bytes, .. }) => {
                self.on_channel_written(channel, bytes, now);
            }
        }
    }

    /// The transport had no room for what [`Channels::poll_write`] gave last. It is given again when some of the
    /// backlog is gone, or a little later.
    pub(crate) fn on_write_refused(&mut self, now: Instant) {
        self.offer = None;
        self.retry_write = Some(now + WRITE_RETRY);
    }

    /// The transport holds `buffered` bytes of the stream that are not acknowledged. To be called after each drain
    /// for the streams in [`Channels::backlogged`].
    pub(crate) fn on_backlog(&mut self, stream: StreamKey, buffered: usize, now: Instant) {
        let before = self.backlog.of(stream);
        self.backlog.on_buffered(stream, buffered, now);
        if buffered < before {
            self.retry_write = None;
        }
        if let StreamKey::Channel(channel) = stream
            && buffered == 0
            && self.framing() == Some(Framing::Plain)
            && let Some(entry) = self.entries.get_mut(&channel)
        {
            let settled = entry.queue.confirm_all();
            self.tell_delivered(channel, settled);
            self.activate(channel);
        }
    }

    /// An SCTP user message came.
    pub(crate) fn on_data(&mut self, stream: StreamKey, binary: bool, data: Vec<u8>, now: Instant) {
        let Some(framing) = self.framing() else {
            return;
        };
        let result = match stream {
            StreamKey::Meta => self.on_meta_data(&data, now),
            StreamKey::Channel(channel) => match framing {
                Framing::Bowline => self.on_frame(channel, binary, data, now),
                Framing::Plain => {
                    self.on_plain(channel, binary, data);
                    Ok(())
                }
            },
        };
        if let Err(fault) = result {
            self.fault(fault);
        }
    }

    /// Whether something of the channel was handed over and has not arrived for sure.
    pub(super) fn is_under_way(&self, channel: ChannelId, entry: &Entry) -> bool {
        // What is reliable is settled by its acknowledgement. SCTP's own may come 200 ms later, and says no more.
        match entry.reliability {
            Reliability::Reliable => entry.queue.is_waiting(),
            Reliability::MaxRetransmits(_) | Reliability::MaxLifetime(_) => {
                self.backlog.of(StreamKey::Channel(channel)) > 0
            }
        }
    }

    /// Has credit and acknowledgement written, if there are any.
    pub(super) fn owe_if_up(&mut self, channel: ChannelId) {
        if self.framing() == Some(Framing::Bowline)
            && self.entries.get(&channel).is_some_and(Entry::is_up)
        {
            self.meta.owe(channel);
        }
    }

    fn next_offer(&mut self) -> Option<Offer> {
        let limits = self.running()?;
        if self.has_meta_to_write() && self.backlog.allows(2 * URGENT_SLACK) {
            return Some(Offer::Meta);
        }
        while let Some((channel, rank)) = self.schedule.next() {
            match self
                .entries
                .get(&channel)
                .map_or(Turn::Blocked, |entry| entry.turn(limits))
            {
                Turn::Blocked => self.schedule.deactivate(channel),
                Turn::Skip => self.skip(channel),
                Turn::Send { part, bytes } => {
                    let slack = if rank == 0 { URGENT_SLACK } else { 0 };
                    let is_its_turn =
                        !self.must_wait_for_lower_ranks(rank) && self.backlog.allows(slack);
                    let offer = Offer::Channel {
                        channel,
                        part,
                        bytes,
                    };
                    return is_its_turn.then_some(offer);
                }
            }
        }
        None
    }

    /// In a graceful close a rank begins when those before it have arrived, so that the last word is the last that the
    /// peer hears. One that is stuck without anything under way is passed over.
    fn must_wait_for_lower_ranks(&self, reached: u8) -> bool {
        self.is_draining
            && self.entries.iter().any(|(channel, entry)| {
                rank(entry, true) < reached
                    && !entry.is_closing()
                    && self.is_under_way(*channel, entry)
            })
    }

    fn skip(&mut self, channel: ChannelId) {
        self.tell_sent(channel);
        if let Some(entry) = self.entries.get_mut(&channel) {
            let before = entry.queue.unsent_bytes();
            let skipped = entry.queue.skip();
            self.queued -= before - entry.queue.unsent_bytes();
            if let Some(id) = skipped {
                entry.sent_told = id.0 + 1;
                self.tell_not_delivered(channel, id.0..id.0 + 1, false);
            }
        }
        self.wake_refused();
        self.activate(channel);
    }

    fn render(&mut self, channel: ChannelId, part: Part, bytes: usize) -> Option<Write<'_>> {
        let framing = self.framing()?;
        let entry = self.entries.get(&channel)?;
        let (message, offset) = entry.queue.front()?;
        let payload = message.data.get(offset..offset + bytes)?;
        let data = match framing {
            Framing::Plain => payload,
            Framing::Bowline => {
                self.frame.clear();
                entry.header(part).encode(&mut self.frame);
                self.frame.extend_from_slice(payload);
                &self.frame
            }
        };
        Some(Write {
            stream: StreamKey::Channel(channel),
            binary: !message.text,
            data,
        })
    }

    fn on_channel_written(&mut self, channel: ChannelId, bytes: usize, now: Instant) {
        let framed = self.framing() == Some(Framing::Bowline);
        let len = if framed { self.frame.len() } else { bytes };
        self.backlog
            .on_written(StreamKey::Channel(channel), len, now);
        self.schedule.charge(channel, len);
        let Some(entry) = self.entries.get_mut(&channel) else {
            return;
        };
        entry.bytes_sent += bytes as u64;
        self.queued -= bytes;
        if entry.queue.advance(bytes) {
            entry.messages_sent += 1;
            self.sent.insert(channel);
        }
        self.activate(channel);
        self.wake_refused();
    }

    fn on_plain(&mut self, channel: ChannelId, binary: bool, data: Vec<u8>) {
        let Some(entry) = self.entries.get_mut(&channel) else {
            return;
        };
        if matches!(entry.phase, Phase::Opening | Phase::Open) {
            let message = entry.receiver.on_message(Bytes::from(data), binary);
            self.deliver(channel, message);
        }
    }

    fn on_frame(
        &mut self,
        channel: ChannelId,
        binary: bool,
        data: Vec<u8>,
        now: Instant,
    ) -> Result<(), PeerFault> {
        let Some(entry) = self.entries.get_mut(&channel) else {
            return Ok(());
        };
        if matches!(entry.phase, Phase::Idle | Phase::Closing(_)) {
            return Ok(());
        }
        let mut rest = data.as_slice();
        let header = Header::decode(&mut rest).map_err(|_| PeerFault::Frame)?;
        let start = data.len() - rest.len();
        if header.epoch < entry.epoch {
            // Of the stream before it was reset: its sender sends it again.
            return Ok(());
        }
        if header.epoch > entry.epoch {
            return Err(PeerFault::Frame);
        }
        let payload = Bytes::from(data).slice(start..);
        let message = entry.receiver.on_frame(header, payload, binary)?;
        self.deliver(channel, message);
        self.settle_debts(channel, now);
        Ok(())
    }

    fn deliver(&mut self, channel: ChannelId, message: Option<Message>) {
        let Some(message) = message else { return };
        self.tell_open(channel);
        self.outputs
            .push_back(ChannelOutput::Message { channel, message });
    }

    /// Something came in: sees to it that it is acknowledged and that credit is given, now or soon.
    fn settle_debts(&mut self, channel: ChannelId, now: Instant) {
        let is_draining = self.is_draining;
        let Some(entry) = self.entries.get(&channel).filter(|entry| entry.is_up()) else {
            return;
        };
        let receiver = &entry.receiver;
        let owes_ack = receiver.unacknowledged(false).is_some();
        let is_due = receiver.is_acknowledgement_due() || is_draining;
        if receiver.credit_due().is_some() || owes_ack && is_due {
            self.meta.owe(channel);
        } else if owes_ack {
            self.acks.set_if_none(channel, now + ACK_DELAY);
        }
    }
}
