//! What two bowline peers tell each other about their channels.
//!
//! Nearly nothing is queued here: a channel that owes the peer something is noted once, and its frames are made when
//! they are written, from the state it has then. So what is said is always the latest, and memory is bounded by the
//! number of channels. READY, ACK and CREDIT are cumulative, and OPEN counts once, so that after a reset of the META
//! stream all of it is simply said again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use crate::event::PeerFault;
use crate::id::ChannelId;

use super::entry::{Closing, Entry, Origin, PeerSide, Phase};
use super::frame::{FRAGMENT, Header, META_MESSAGE_MAX, Malformed, MetaFrame, Open, Part, Ready};
use super::io::{ChannelOutput, Framing, Role, StreamConfig, StreamKey};
use super::kind::{ChannelConfig, ChannelKind, Ordering, Reliability};
use super::receive::{Overflow, Receiver};
use super::{Channels, FIRST_CUSTOM_STREAM, Life, MAX_REOPENS, MESH_CHANNEL, MESH_STREAM};

/// The META stream: what is to be said on it.
#[derive(Debug)]
pub(super) struct Meta {
    is_open: bool,
    reopened: u8,
    is_hello_said: bool,
    /// Channels that owe the peer a frame.
    owing: BTreeSet<ChannelId>,
    /// CLOSE for streams that the peer opened in vain, and CLOSED for those that it closed.
    answers: VecDeque<MetaFrame>,
    /// Refusals in a row.
    refusals: usize,
    /// READY for streams that our application has not opened yet.
    early: BTreeMap<u16, Ready>,
    /// The message that is being written, and how much of it was.
    message: Vec<u8>,
    offset: usize,
    /// How much of the message is in the frame that was offered.
    offered: usize,
    /// Channels whose CLOSE is in the message.
    closing: Vec<ChannelId>,
    receiver: Receiver,
}

impl Meta {
    pub(super) fn new() -> Self {
        let mut receiver = Receiver::new(META_MESSAGE_MAX, META_MESSAGE_MAX);
        receiver.set_mode(Overflow::Drop, true);
        Self {
            is_open: false,
            reopened: 0,
            is_hello_said: false,
            owing: BTreeSet::new(),
            answers: VecDeque::new(),
            refusals: 0,
            early: BTreeMap::new(),
            message: Vec::new(),
            offset: 0,
            offered: 0,
            closing: Vec::new(),
            receiver,
        }
    }

    /// The channel has something to say: what, is seen when it is written.
    pub(super) fn owe(&mut self, channel: ChannelId) {
        self.owing.insert(channel);
    }

    pub(super) fn disown(&mut self, channel: ChannelId) {
        self.owing.remove(&channel);
    }

    pub(super) fn on_open(&mut self) {
        self.is_open = true;
    }

    pub(super) fn take_early_ready(&mut self, stream: u16) -> Option<Ready> {
        self.early.remove(&stream)
    }

    /// Makes the next frame of the message.
    pub(super) fn frame<'a>(&mut self, frame: &'a mut Vec<u8>) -> &'a [u8] {
        let rest = self.message.get(self.offset..).unwrap_or_default();
        self.offered = rest.len().min(FRAGMENT);
        let part = match (self.offset == 0, self.offered == rest.len()) {
            (true, true) => Part::Whole,
            (true, false) => Part::First {
                total: u32::try_from(self.message.len()).unwrap_or(u32::MAX),
            },
            (false, true) => Part::Last,
            (false, false) => Part::Middle,
        };
        frame.clear();
        Header { epoch: 0, part }.encode(frame);
        frame.extend_from_slice(&rest[..self.offered]);
        frame
    }

    /// The frame was taken. Gives the channels whose CLOSE has now left.
    pub(super) fn on_written(&mut self) -> Vec<ChannelId> {
        self.offset += self.offered;
        if self.offset < self.message.len() {
            return Vec::new();
        }
        self.message.clear();
        self.offset = 0;
        std::mem::take(&mut self.closing)
    }

    fn has_something_to_say(&self) -> bool {
        !self.is_hello_said || !self.answers.is_empty() || !self.owing.is_empty()
    }
}

impl Channels {
    pub(super) fn open_meta(&mut self) {
        let config = StreamConfig {
            label: META_LABEL.to_owned(),
            protocol: String::new(),
            ordering: Ordering::Ordered,
            reliability: Reliability::Reliable,
            negotiated: Some(META_STREAM),
        };
        self.outputs.push_back(ChannelOutput::OpenStream {
            stream: StreamKey::Meta,
            config,
        });
    }

    /// Whether a META message is under way, or has just been made.
    pub(super) fn has_meta_to_write(&mut self) -> bool {
        if !self.meta.is_open {
            return false;
        }
        if self.meta.message.is_empty() && self.meta.has_something_to_say() {
            self.make_meta_message();
        }
        !self.meta.message.is_empty()
    }

    /// The stream was reset: says everything again on a new one.
    pub(super) fn on_meta_closed(&mut self) {
        if self.framing() != Some(Framing::Bowline) {
            return;
        }
        let meta = &mut self.meta;
        meta.is_open = false;
        meta.is_hello_said = false;
        meta.reopened += 1;
        meta.message.clear();
        meta.offset = 0;
        meta.receiver.drop_partial();
        meta.closing.clear();
        if meta.reopened > MAX_REOPENS {
            self.outputs.push_back(ChannelOutput::Broken);
            return;
        }
        for (channel, entry) in &mut self.entries {
            if let Phase::Closing(closing) = &mut entry.phase {
                closing.say |= closing.hear;
                self.meta.owing.insert(*channel);
            } else {
                entry.owe_again();
                self.meta.owing.insert(*channel);
            }
        }
        self.open_meta();
    }

    pub(super) fn on_meta_data(&mut self, data: &[u8], now: Instant) -> Result<(), PeerFault> {
        self.on_transport_up(now);
        let Some(message) = self.meta_message(data)? else {
            return Ok(());
        };
        let mut rest = message.as_slice();
        while !rest.is_empty() {
            let frame = MetaFrame::decode(&mut rest).map_err(malformed)?;
            self.on_meta_frame(frame, now)?;
        }
        Ok(())
    }

    /// Tells a peer without memory, which takes the four kinds and the mesh for open, which of them are closed.
    pub(super) fn deny_closed_kinds(&mut self) {
        let kinds = ChannelKind::ALL.map(|kind| (kind.id(), kind.stream()));
        for (channel, stream) in kinds.into_iter().chain([(MESH_CHANNEL, MESH_STREAM)]) {
            if !self.entries.contains_key(&channel) {
                self.meta.answers.push_back(MetaFrame::Close { stream });
            }
        }
    }

    fn make_meta_message(&mut self) {
        let meta = &mut self.meta;
        if !std::mem::replace(&mut meta.is_hello_said, true) {
            let max_message_size = self.limits.max_message_size as u64;
            MetaFrame::Hello { max_message_size }.encode(&mut meta.message);
        }
        while meta.message.len() < FRAGMENT
            && let Some(answer) = meta.answers.pop_front()
        {
            answer.encode(&mut meta.message);
        }
        while meta.message.len() < FRAGMENT
            && let Some(channel) = meta.owing.pop_first()
        {
            let Some(entry) = self.entries.get_mut(&channel) else {
                continue;
            };
            if entry.is_up() {
                entry.say(&mut meta.message);
                self.acks.clear(channel);
            } else if let (Phase::Closing(Closing { say: true, .. }), Some(stream)) =
                (entry.phase, entry.stream)
            {
                MetaFrame::Close { stream }.encode(&mut meta.message);
                meta.closing.push(channel);
            }
        }
    }

    /// Puts a META message together. After a reset of the stream it starts over, and what belongs to the stream before
    /// is passed over.
    fn meta_message(&mut self, mut data: &[u8]) -> Result<Option<Vec<u8>>, PeerFault> {
        let header = Header::decode(&mut data).map_err(malformed)?;
        let receiver = &mut self.meta.receiver;
        match header.part {
            Part::Whole | Part::First { .. } => receiver.drop_partial(),
            Part::Middle | Part::Last if !receiver.is_partial() => return Ok(None),
            Part::Middle | Part::Last => {}
        }
        let message = receiver.on_frame(header, data.to_vec().into(), true)?;
        Ok(message.map(|message| {
            receiver.release(message.len());
            message.data.to_vec()
        }))
    }

    fn on_meta_frame(&mut self, frame: MetaFrame, now: Instant) -> Result<(), PeerFault> {
        match frame {
            MetaFrame::Hello { max_message_size } => self.on_hello(max_message_size),
            MetaFrame::Open(open) => return self.on_peer_open(open, now),
            MetaFrame::Ready(ready) => return self.on_ready(ready, now),
            MetaFrame::Close { stream } => return self.on_peer_close(stream),
            MetaFrame::Closed { stream } => {
                if let Some((channel, _)) = self.entry_of(stream) {
                    self.on_closed_heard(channel);
                }
            }
            MetaFrame::Ack { stream, received } => return self.on_ack(stream, received),
            MetaFrame::Credit { stream, bytes } => self.on_credit(stream, bytes),
        }
        Ok(())
    }

    /// The first one counts. It is said again after a reset of META, and looking at every channel for each would let a
    /// peer buy much work with few bytes.
    fn on_hello(&mut self, max_message_size: u64) {
        let most = usize::try_from(max_message_size).unwrap_or(usize::MAX);
        match &mut self.life {
            Life::Running { limits, .. } if !limits.is_said => {
                limits.message_max = most.min(self.limits.max_message_size);
                limits.is_said = true;
            }
            Life::Running { .. } | Life::Waiting | Life::Ended => return,
        }
        let channels: Vec<_> = self.entries.keys().copied().collect();
        channels
            .into_iter()
            .for_each(|channel| self.activate(channel));
    }

    fn on_peer_open(&mut self, open: Open, now: Instant) -> Result<(), PeerFault> {
        let is_theirs = match self.role() {
            Role::Even => !open.stream.is_multiple_of(2),
            Role::Odd => open.stream.is_multiple_of(2),
        };
        if open.stream < FIRST_CUSTOM_STREAM || !is_theirs {
            return Err(PeerFault::Frame);
        }
        let is_full = !self.has_room_for_remote(&open.label, &open.protocol);
        match self.entry_of(open.stream) {
            Some((channel, entry)) if entry.origin == Origin::Remote && !entry.is_closing() => {
                // Said again after a reset of META: it has missed our READY.
                entry.owed.ready = true;
                self.meta.owe(channel);
                Ok(())
            }
            Some(_) => self.refuse(open.stream),
            None if is_full => self.refuse(open.stream),
            None => {
                self.add_remote(open, now);
                Ok(())
            }
        }
    }

    fn add_remote(&mut self, open: Open, now: Instant) {
        self.meta.refusals = 0;
        let Open {
            stream,
            label,
            protocol,
            ordering,
            reliability,
            priority,
        } = open;
        let negotiated = Some(stream);
        let config = ChannelConfig {
            label,
            protocol,
            ordering,
            reliability,
            priority,
            negotiated,
        };
        let channel = self.add(config, Origin::Remote);
        if let Some(entry) = self.entries.get_mut(&channel) {
            // Later epochs begin with READY.
            entry.hear(PeerSide {
                epoch: 0,
                received: 0,
                position: 0,
                partial: 0,
            });
        }
        self.set_up(channel, now);
    }

    /// Tells the peer that a stream of its is not wanted.
    fn refuse(&mut self, stream: u16) -> Result<(), PeerFault> {
        self.meta.refusals += 1;
        if self.meta.refusals > REFUSALS_MAX {
            return Err(PeerFault::TooManyChannels);
        }
        self.answer(MetaFrame::Close { stream })
    }

    fn on_ready(&mut self, ready: Ready, now: Instant) -> Result<(), PeerFault> {
        if ready.epoch > self.last_epoch() {
            return Err(PeerFault::Frame);
        }
        let Some((channel, entry)) = self.entry_of(ready.stream) else {
            return self.on_early_ready(ready);
        };
        match entry.phase {
            // Of the next channel with this stream id.
            Phase::Closing(Closing { hear: false, .. }) => return self.on_early_ready(ready),
            // Of the one that is being closed.
            Phase::Closing(_) => return Ok(()),
            Phase::Idle
            | Phase::Opening
            | Phase::Announced
            | Phase::Open
            | Phase::Resetting { .. } => {}
        }
        if !entry.is_same_mode(&ready) {
            self.close_channel(channel, false);
            return Ok(());
        }
        self.on_peer_ready(channel, ready.into(), now);
        Ok(())
    }

    /// A stream that is unknown here: our application may still open it, if it is one that is agreed on.
    fn on_early_ready(&mut self, ready: Ready) -> Result<(), PeerFault> {
        let is_welcome = ready.negotiated && self.meta.early.len() < self.limits.max_channels;
        if !is_welcome {
            return self.refuse(ready.stream);
        }
        self.meta.early.insert(ready.stream, ready);
        Ok(())
    }

    fn on_peer_close(&mut self, stream: u16) -> Result<(), PeerFault> {
        if stream == META_STREAM {
            return Err(PeerFault::Frame);
        }
        self.meta.early.remove(&stream);
        if let Some((channel, _)) = self.entry_of(stream) {
            self.on_close_heard(channel);
        }
        self.answer(MetaFrame::Closed { stream })
    }

    fn answer(&mut self, answer: MetaFrame) -> Result<(), PeerFault> {
        if self.meta.answers.len() >= ANSWERS_MAX {
            return Err(PeerFault::TooManyChannels);
        }
        self.meta.answers.push_back(answer);
        Ok(())
    }

    fn on_ack(&mut self, stream: u16, received: u64) -> Result<(), PeerFault> {
        let Some((channel, entry)) = self.entry_of(stream) else {
            return Ok(());
        };
        if entry.is_closing() || !entry.is_reliable() {
            return Ok(());
        }
        let ordered = entry.is_ordered();
        let settled = entry
            .queue
            .confirm(received, ordered)
            .map_err(|_| PeerFault::Frame)?;
        self.tell_delivered(channel, settled);
        self.activate(channel);
        Ok(())
    }

    fn on_credit(&mut self, stream: u16, bytes: u64) {
        if let Some((channel, entry)) = self.entry_of(stream) {
            entry.credit = entry.credit.max(bytes);
            self.activate(channel);
        }
    }

    fn entry_of(&mut self, stream: u16) -> Option<(ChannelId, &mut Entry)> {
        let channel = *self.by_stream.get(&stream)?;
        self.entries.get_mut(&channel).map(|entry| (channel, entry))
    }
}

fn malformed(_: Malformed) -> PeerFault {
    PeerFault::Frame
}

/// The stream id of META.
pub(crate) const META_STREAM: u16 = 4;
/// The label of META. It is opened without DCEP, so that the peer does not see it.
const META_LABEL: &str = "bowline/meta";
/// So many answers wait to be written before a peer that goes on asking for them is at fault.
const ANSWERS_MAX: usize = 2 * REFUSALS_MAX;
/// So many streams in a row the peer may open in vain before it is at fault.
const REFUSALS_MAX: usize = 1_024;
