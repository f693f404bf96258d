//! Streams open, close, are reset and time out.
//!
//! A stream that closes although neither side closed its channel was reset. Both sides then open it again under the
//! same id and tell each other on META how many messages they have (READY, with the epoch: how often they opened it
//! again). When both are in the same epoch the sender goes on with the first byte that the peer has not got. Frames carry
//! the epoch too, so that nothing late of the stream before is taken for part of the new one. A side that hears of a
//! higher epoch has missed a reset and resets its own stream. After [`MAX_REOPENS`] the channel is closed.
//!
//! A foreign peer cannot resume, and closing a stream is how it closes a channel (RFC 8831 §6.7).

use std::ops::Range;
use std::time::Instant;

use crate::event::{ChannelFault, PeerFault};
use crate::id::{ChannelId, MessageId};

use super::entry::{Closing, Closure, Entry, Origin, PeerSide, Phase, Turn};
use super::io::{ChannelOutput, Framing, Role, StreamKey};
use super::kind::{ChannelConfig, Ordering, Reliability};
use super::{
    Channels, FIRST_CUSTOM_STREAM, Life, MAX_REOPENS, MESH_STREAM, PLACEHOLDER_STREAM,
    REMOTE_NAMES_MAX, STREAMS_IN_ROTATION, is_too_long_in_band, rank,
};

impl Channels {
    /// The transport has opened a stream.
    pub(crate) fn on_stream_open(&mut self, stream: StreamKey, now: Instant) {
        if self.life == Life::Ended {
            return;
        }
        if self.first_epoch == 0 {
            self.on_transport_up(now);
        }
        match stream {
            StreamKey::Meta => self.meta.on_open(),
            StreamKey::Channel(channel) => self.on_channel_stream_open(channel, now),
        }
    }

    /// The transport has closed a stream, or could not open it.
    pub(crate) fn on_stream_closed(&mut self, stream: StreamKey, now: Instant) {
        if self.life == Life::Ended {
            return;
        }
        self.backlog.on_closed(stream);
        self.offer = None;
        match stream {
            StreamKey::Meta => self.on_meta_closed(),
            StreamKey::Channel(channel) => self.on_channel_stream_closed(channel, now),
        }
    }

    /// A foreign peer has opened a stream in-band. Gives its key, or `None` when it is to be closed.
    pub(crate) fn on_remote_stream(
        &mut self,
        label: String,
        protocol: String,
        ordering: Ordering,
        reliability: Reliability,
        now: Instant,
    ) -> Option<StreamKey> {
        let is_welcome = self.has_room_for_remote(&label, &protocol);
        if self.framing() != Some(Framing::Plain) || !is_welcome {
            return None;
        }
        let config = ChannelConfig {
            protocol,
            ordering,
            reliability,
            ..ChannelConfig::new(label)
        };
        let channel = self.add(config, Origin::Remote);
        let entry = self.entries.get_mut(&channel)?;
        entry.configure(Framing::Plain);
        self.become_open(channel, now);
        Some(StreamKey::Channel(channel))
    }

    /// Whether one more channel of the peer can be taken.
    pub(super) fn has_room_for_remote(&self, label: &str, protocol: &str) -> bool {
        let remote = self.entries.values();
        let remote = remote.filter(|entry| entry.origin == Origin::Remote);
        let names: usize = remote
            .map(|entry| entry.label.len() + entry.protocol.len())
            .sum();
        self.count() < self.limits.max_channels
            && names + label.len() + protocol.len() <= REMOTE_NAMES_MAX
            && !self.is_draining
    }

    /// Gives a channel its mode and its stream id, and asks for the stream.
    pub(super) fn set_up(&mut self, channel: ChannelId, now: Instant) {
        let Some(framing) = self.framing() else {
            return;
        };
        let id = self.agreed_stream(channel, framing);
        let Some(entry) = self.entries.get_mut(&channel) else {
            return;
        };
        if framing == Framing::Plain && entry.origin == Origin::Mesh {
            // Foreign peers are in no room.
            return;
        }
        if framing == Framing::Plain
            && is_too_long_in_band(&entry.label, &entry.protocol, entry.stream)
        {
            // It was opened before it was known what the remote is.
            return self.close_channel(channel, false);
        }
        entry.configure(framing);
        entry.stream = id;
        if let Some(id) = id {
            self.by_stream.insert(id, channel);
        }
        self.open_first_stream(channel, now);
    }

    /// Asks for the first stream that a channel has on this transport.
    pub(super) fn open_first_stream(&mut self, channel: ChannelId, now: Instant) {
        let Some(entry) = self.entries.get_mut(&channel) else {
            return;
        };
        entry.epoch = self.first_epoch;
        let early = entry.stream.and_then(|id| self.meta.take_early_ready(id));
        if let Some(ready) = early.filter(|ready| entry.is_same_mode(ready)) {
            entry.hear(ready.into());
            entry.epoch = ready.epoch;
        }
        self.request_stream(channel, now);
    }

    /// The transport carries: the deadlines for opening begin to count.
    pub(super) fn on_transport_up(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.is_transport_up, true) {
            self.opens.reset_all(now + self.open_timeout);
        }
    }

    /// The last epoch that a stream is opened in.
    pub(super) fn last_epoch(&self) -> u8 {
        self.first_epoch + MAX_REOPENS
    }

    /// Whether another in-band channel finds a stream id.
    pub(super) fn has_stream_left(&self) -> bool {
        self.framing() != Some(Framing::Bowline) || self.find_stream().is_some()
    }

    /// The peer says that its side is open.
    pub(super) fn on_peer_ready(&mut self, channel: ChannelId, peer: PeerSide, now: Instant) {
        let Some(entry) = self.entries.get_mut(&channel) else {
            return;
        };
        if peer.epoch < entry.epoch {
            return;
        }
        entry.hear(peer);
        match entry.phase {
            Phase::Announced if peer.epoch == entry.epoch => self.become_open(channel, now),
            Phase::Announced | Phase::Open if peer.epoch > entry.epoch => {
                // Our stream is reset with the peer's; the transport will say so in a moment.
                self.tell_error(channel, ChannelFault::Reset);
                self.reset_stream(channel, false, now);
            }
            Phase::Idle | Phase::Opening => entry.epoch = peer.epoch,
            Phase::Announced | Phase::Open | Phase::Resetting { .. } | Phase::Closing(_) => {}
        }
    }

    /// Closes a channel: for the application at once, then the two sides tell each other, then the stream. `is_heard`:
    /// the peer has said so already.
    pub(super) fn close_channel(&mut self, channel: ChannelId, is_heard: bool) {
        let is_framed = self.framing() == Some(Framing::Bowline);
        let Some(entry) = self.entries.get(&channel) else {
            return;
        };
        let stream = match entry.phase {
            Phase::Opening | Phase::Announced | Phase::Open | Phase::Resetting { asked: false } => {
                Closure::Due
            }
            Phase::Resetting { asked: true } => Closure::Asked,
            Phase::Idle | Phase::Closing(_) => Closure::Done,
        };
        let say = is_framed && entry.is_shared() && !is_heard;
        self.end(channel);
        self.set_closing(
            channel,
            Closing {
                say,
                hear: say,
                stream,
            },
        );
    }

    /// CLOSE was said: the stream can be closed.
    pub(super) fn on_close_said(&mut self, channel: ChannelId) {
        if let Some(closing) = self.closing(channel) {
            self.set_closing(
                channel,
                Closing {
                    say: false,
                    ..closing
                },
            );
        }
    }

    /// The peer has said CLOSE.
    pub(super) fn on_close_heard(&mut self, channel: ChannelId) {
        match self.closing(channel) {
            Some(closing) => {
                self.set_closing(
                    channel,
                    Closing {
                        say: false,
                        hear: false,
                        ..closing
                    },
                );
            }
            None => self.close_channel(channel, true),
        }
    }

    /// The peer has said CLOSED.
    pub(super) fn on_closed_heard(&mut self, channel: ChannelId) {
        if let Some(closing) = self.closing(channel) {
            self.set_closing(
                channel,
                Closing {
                    hear: false,
                    ..closing
                },
            );
        }
    }

    /// A channel did not open, or open again, in time.
    pub(super) fn on_open_timeout(&mut self, channel: ChannelId, now: Instant) {
        let Some(entry) = self.entries.get(&channel) else {
            return;
        };
        // The peer had the channel, so that another try may find it.
        let was_shared = entry.epoch > self.first_epoch || entry.epoch > 0 && entry.is_mutual();
        let may_retry = was_shared && entry.epoch < self.last_epoch();
        match entry.phase {
            Phase::Resetting { asked: false } => self.reset_stream(channel, true, now),
            Phase::Opening | Phase::Announced if may_retry => {
                self.reset_stream(channel, true, now);
            }
            Phase::Idle
            | Phase::Opening
            | Phase::Announced
            | Phase::Open
            | Phase::Resetting { asked: true }
            | Phase::Closing(_) => {
                self.tell_error(channel, ChannelFault::OpenTimeout);
                self.close_channel(channel, false);
            }
        }
    }

    pub(super) fn opens_count(&self) -> bool {
        self.is_path_up && self.is_transport_up && self.life != Life::Ended
    }

    /// Tells the outcome of everything that is left of a channel, and that it is closed.
    pub(super) fn end(&mut self, channel: ChannelId) {
        self.tell_sent(channel);
        self.schedule.remove(channel);
        self.acks.clear(channel);
        self.opens.clear(channel);
        self.refused.remove(&channel);
        let Some(entry) = self.entries.get_mut(&channel) else {
            return;
        };
        let is_known = entry.is_known() && !entry.is_closing();

        self.queued -= entry.queue.unsent_bytes();
        let (maybe, never) = entry.queue.end();
        entry.sent_told = entry.queue.accepted();
        entry.receiver.drop_partial();
        self.tell_not_delivered(channel, maybe, true);
        if !planted!(UnsentUntold) {
            self.tell_not_delivered(channel, never, false);
        }
        if is_known {
            self.outputs.push_back(ChannelOutput::Closed { channel });
        }
        self.wake_refused();
    }

    /// Puts the channel on the schedule when something can be written of it, and takes it off when not.
    pub(super) fn activate(&mut self, channel: ChannelId) {
        let Some(limits) = self.running() else { return };
        let Some(entry) = self.entries.get(&channel) else {
            return;
        };
        match entry.turn(limits) {
            Turn::Blocked => self.schedule.deactivate(channel),
            Turn::Skip | Turn::Send { .. } => {
                self.schedule
                    .activate(channel, rank(entry, self.is_draining));
            }
        }
    }

    pub(super) fn tell_open(&mut self, channel: ChannelId) {
        let Some(entry) = self.entries.get_mut(&channel) else {
            return;
        };
        if !std::mem::replace(&mut entry.is_told, true) {
            self.outputs.push_back(ChannelOutput::Open {
                channel,
                label: entry.label.clone(),
                protocol: entry.protocol.clone(),
                ordering: entry.ordering,
                reliability: entry.reliability,
                remote: entry.origin == Origin::Remote,
            });
        }
    }

    pub(super) fn tell_sent(&mut self, channel: ChannelId) {
        self.sent.remove(&channel);
        if let Some(through) = self
            .entries
            .get_mut(&channel)
            .and_then(|entry| entry.take_sent())
        {
            self.outputs
                .push_back(ChannelOutput::Sent { channel, through });
        }
    }

    pub(super) fn tell_delivered(&mut self, channel: ChannelId, settled: Range<u64>) {
        if settled.is_empty() {
            return;
        }
        self.tell_sent(channel);
        let through = MessageId(settled.end - 1);
        self.outputs
            .push_back(ChannelOutput::Delivered { channel, through });
    }

    pub(super) fn tell_not_delivered(&mut self, channel: ChannelId, ids: Range<u64>, maybe: bool) {
        if ids.is_empty() {
            return;
        }
        self.tell_sent(channel);
        let (first, last) = (MessageId(ids.start), MessageId(ids.end - 1));
        self.outputs.push_back(ChannelOutput::NotDelivered {
            channel,
            first,
            last,
            maybe,
        });
    }

    pub(super) fn tell_error(&mut self, channel: ChannelId, error: ChannelFault) {
        if self.entries.get(&channel).is_some_and(Entry::is_known) {
            self.outputs
                .push_back(ChannelOutput::Error { channel, error });
        }
    }

    fn on_channel_stream_open(&mut self, channel: ChannelId, now: Instant) {
        let framing = self.framing();
        let first_epoch = self.first_epoch;
        let Some(entry) = self.entries.get_mut(&channel) else {
            return;
        };
        if entry.phase != Phase::Opening {
            return;
        }
        entry.phase = Phase::Announced;
        entry.owed.ready |=
            entry.epoch > 0 || matches!(entry.origin, Origin::Agreed | Origin::Remote);
        entry.owed.open |= entry.epoch == first_epoch && entry.is_unheard();
        if framing == Some(Framing::Plain) || entry.is_peer_ready() {
            self.become_open(channel, now);
        } else {
            self.opens.set_if_none(channel, now + self.open_timeout);
        }
        if framing == Some(Framing::Bowline) {
            self.meta.owe(channel);
        }
    }

    fn on_channel_stream_closed(&mut self, channel: ChannelId, now: Instant) {
        let is_framed = self.framing() == Some(Framing::Bowline);
        let Some(entry) = self.entries.get(&channel) else {
            return;
        };
        match entry.phase {
            Phase::Closing(closing) => {
                self.set_closing(
                    channel,
                    Closing {
                        stream: Closure::Done,
                        ..closing
                    },
                );
            }
            Phase::Idle => {}
            Phase::Opening | Phase::Announced | Phase::Open if !is_framed => {
                self.end(channel);
                self.set_closing(channel, GONE);
            }
            Phase::Opening | Phase::Announced | Phase::Open => {
                self.tell_error(channel, ChannelFault::Reset);
                self.reopen(channel, now);
            }
            Phase::Resetting { .. } => self.reopen(channel, now),
        }
    }

    /// The stream is closed: opens it again, in the next epoch or the one that the peer is in already.
    fn reopen(&mut self, channel: ChannelId, now: Instant) {
        let last_epoch = self.last_epoch();
        let Some(entry) = self.entries.get_mut(&channel) else {
            return;
        };
        let peer_epoch = entry.peer.map_or(0, |peer| peer.epoch);
        let epoch = (entry.epoch + 1).max(peer_epoch);
        if epoch > last_epoch {
            self.end(channel);
            let stream = Closure::Done;
            return self.set_closing(
                channel,
                Closing {
                    say: true,
                    hear: true,
                    stream,
                },
            );
        }
        entry.epoch = epoch;
        self.request_stream(channel, now);
    }

    /// Waits until the transport has closed the stream, and asks it to where `ask`.
    fn reset_stream(&mut self, channel: ChannelId, ask: bool, now: Instant) {
        let Some(entry) = self.entries.get_mut(&channel) else {
            return;
        };
        entry.phase = Phase::Resetting { asked: ask };
        self.schedule.deactivate(channel);
        self.opens.set(channel, now + self.open_timeout);
        if ask {
            let stream = StreamKey::Channel(channel);
            self.outputs
                .push_back(ChannelOutput::CloseStream { stream });
        }
    }

    fn request_stream(&mut self, channel: ChannelId, now: Instant) {
        let Some(entry) = self.entries.get_mut(&channel) else {
            return;
        };
        entry.phase = Phase::Opening;
        let config = entry.stream_config();
        let is_awaited = entry.is_fixed() && entry.epoch == self.first_epoch;
        self.schedule.deactivate(channel);
        // The first opening of the kinds is a part of connecting, which has its own deadline.
        if !is_awaited {
            self.opens.set(channel, now + self.open_timeout);
        }
        let stream = StreamKey::Channel(channel);
        self.outputs
            .push_back(ChannelOutput::OpenStream { stream, config });
    }

    /// Both sides are open in the same epoch: goes on where the peer stands.
    fn become_open(&mut self, channel: ChannelId, _now: Instant) {
        let before = self.queued(channel);
        let Some(entry) = self.entries.get_mut(&channel) else {
            return;
        };
        entry.phase = Phase::Open;
        entry.has_opened = true;
        let ordered = entry.is_ordered();
        let resumed = entry.peer.filter(|_| entry.epoch > 0);
        let rewound = resumed.map(|peer| entry.queue.rewind(peer, ordered));
        self.queued = self.queued - before + self.queued(channel);
        self.opens.clear(channel);
        self.tell_open(channel);
        match rewound {
            Some(Ok((delivered, unknown))) => {
                self.tell_delivered(channel, delivered);
                self.tell_not_delivered(channel, unknown, true);
            }
            Some(Err(_)) => return self.fault(PeerFault::Frame),
            None => {}
        }
        self.activate(channel);
        self.owe_if_up(channel);
    }

    /// Goes on with closing: the entry is forgotten when nothing is left to do.
    pub(super) fn set_closing(&mut self, channel: ChannelId, mut closing: Closing) {
        if closing.say {
            self.meta.owe(channel);
        } else if closing.stream == Closure::Due {
            closing.stream = Closure::Asked;
            let stream = StreamKey::Channel(channel);
            self.outputs
                .push_back(ChannelOutput::CloseStream { stream });
        }
        if let Some(entry) = self.entries.get_mut(&channel) {
            entry.phase = Phase::Closing(closing);
        }
        if closing == GONE {
            self.forget(channel);
        }
    }

    pub(super) fn closing(&self, channel: ChannelId) -> Option<Closing> {
        match self.entries.get(&channel)?.phase {
            Phase::Closing(closing) => Some(closing),
            Phase::Idle
            | Phase::Opening
            | Phase::Announced
            | Phase::Open
            | Phase::Resetting { .. } => None,
        }
    }

    pub(super) fn forget(&mut self, channel: ChannelId) {
        self.meta.disown(channel);
        let Some(entry) = self.entries.remove(&channel) else {
            return;
        };
        let Some(id) = entry.stream else { return };
        // A peer that never had the stream does not reset it, and SCTP keeps ours until the peer does.
        if entry.origin == Origin::Local && entry.peer.is_none() {
            self.spent_streams.insert(id);
        }
        if self.by_stream.get(&id) == Some(&channel) {
            self.by_stream.remove(&id);
        }
    }

    fn agreed_stream(&mut self, channel: ChannelId, framing: Framing) -> Option<u16> {
        let entry = self.entries.get(&channel)?;
        match (framing, entry.origin) {
            (Framing::Plain, _) | (_, Origin::Agreed | Origin::Remote) => entry.stream,
            (Framing::Bowline, Origin::Kind(kind)) => Some(kind.stream()),
            (Framing::Bowline, Origin::Mesh) => Some(MESH_STREAM),
            (Framing::Bowline, Origin::Local) => {
                let id = self.find_stream()?;
                self.next_stream = (id - self.first_stream()) / 2 + 1;
                Some(id)
            }
        }
    }

    /// The next free stream id that is ours to give out.
    fn find_stream(&self) -> Option<u16> {
        let first = self.first_stream();
        let in_rotation = (0..STREAMS_IN_ROTATION)
            .map(|n| first + 2 * ((self.next_stream + n) % STREAMS_IN_ROTATION));
        let others = (first + 2 * STREAMS_IN_ROTATION..PLACEHOLDER_STREAM).step_by(2);
        in_rotation
            .chain(others)
            .find(|id| !self.by_stream.contains_key(id) && !self.spent_streams.contains(id))
    }

    fn first_stream(&self) -> u16 {
        match self.role() {
            Role::Even => FIRST_CUSTOM_STREAM,
            Role::Odd => FIRST_CUSTOM_STREAM + 1,
        }
    }

    pub(super) fn role(&self) -> Role {
        match self.life {
            Life::Running { role, .. } => role,
            Life::Waiting | Life::Ended => Role::Even,
        }
    }
}

/// Nothing is left to do.
const GONE: Closing = Closing {
    say: false,
    hear: false,
    stream: Closure::Done,
};
