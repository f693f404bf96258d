//! The channels of one peer: what is sent when, in which frames, and what became of it.
//!
//! [`Channels`] is a machine without transport. The peer that owns it pumps it: facts about streams and time go in
//! (`on_*`, `handle_timeout`), writes and outputs come out (`poll_write`, `poll_output`).
//!
//! Between two bowline peers all streams have agreed ids (the kinds 0 to 3, META 4, the mesh 5, others from 6), every
//! message is framed ([`frame`]), acknowledged and paid for with credit, so that it is delivered exactly once or its
//! sender is told, also when a stream is reset and opened again. With a foreign peer, channels are plain WebRTC data
//! channels (RFC 8831): a stream that it closes is closed, and delivery is what SCTP has acknowledged.
//!
//! What bounds memory, for each channel: `queue_bytes` and `queue_messages` that wait; `backlog_max + queue_bytes` and
//! one message that were sent and are not acknowledged; one window and one message received, or what a foreign peer
//! had under way ([`receive::UNDER_WAY`]). A message larger than `queue_bytes` is accepted when the queue is empty.
//!
//! | file | what |
//! | --- | --- |
//! | `frame` | the codec of both streams |
//! | `queue`, `receive` | the two halves of a channel |
//! | `schedule`, `backlog` | whose turn it is, and how much at once |
//! | `entry` | one channel: its phase and what can be written of it |
//! | `lifecycle` | streams open, close, reset and time out |
//! | `transfer` | messages go out and come in |
//! | `meta` | what the peers tell each other about channels |
//! | `resume` | another transport takes the place of the one before |

mod backlog;
mod entry;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod io;
pub(crate) mod kind;
mod lifecycle;
mod meta;
mod queue;
mod receive;
mod resume;
mod schedule;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::config::ChannelLimits;
use crate::deadlines::Deadlines;
use crate::error::{OpenError, SendError, SendRefusal, UnknownChannel};
use crate::event::PeerFault;
use crate::id::{ChannelId, MessageId, PeerId};
use crate::metrics::ChannelMetrics;

use backlog::Backlog;
use entry::{Entry, Origin, PeerLimits, Turn};
use kind::{ChannelConfig, ChannelKind, Message, Priority, Reliability};
use meta::Meta;
use receive::Receiver;
use schedule::Schedule;
use transfer::Offer;

pub(crate) use frame::header_len;
pub(crate) use io::{ChannelOutput, Continuity, Framing, Role, StreamConfig, StreamKey};
pub(crate) use receive::Room;

/// The channels of one peer.
pub(crate) struct Channels {
    limits: ChannelLimits,
    open_timeout: Duration,
    life: Life,
    is_draining: bool,
    entries: BTreeMap<ChannelId, Entry>,
    /// The channels by stream id: those that have one.
    by_stream: BTreeMap<u16, ChannelId>,
    next_channel: u32,
    /// Which of the ids in rotation is next.
    next_stream: u16,
    /// Ids of ours that the transport may never free, so that they are not given out again.
    spent_streams: BTreeSet<u16>,
    meta: Meta,
    schedule: Schedule,
    backlog: Backlog,
    /// Bytes that wait in the queues of all channels.
    queued: usize,
    /// Channels that refused a message and have not told `Writable` since.
    refused: BTreeSet<ChannelId>,
    /// When an acknowledgement is sent at the latest.
    acks: Deadlines<ChannelId>,
    /// When a channel that opens is given up. They count while the path is up.
    opens: Deadlines<ChannelId>,
    is_path_up: bool,
    /// Whether any stream has opened; after a move, whether the peer was heard of, which may move later.
    is_transport_up: bool,
    /// The epoch in which streams begin on this transport.
    first_epoch: u8,
    /// What `poll_write` has given out last.
    offer: Option<Offer>,
    frame: Vec<u8>,
    /// The transport had no room; when to try again at the latest.
    retry_write: Option<Instant>,
    /// Channels that have handed messages over since `Sent` was told.
    sent: BTreeSet<ChannelId>,
    outputs: VecDeque<ChannelOutput>,
    /// The figures at the end.
    last_metrics: Vec<ChannelMetrics>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It is not known yet what the remote is.
    Waiting,
    Running {
        limits: PeerLimits,
        role: Role,
    },
    Ended,
}

impl Channels {
    /// The four kinds, which queue from the start. `own` is in their labels.
    pub(crate) fn new(own: PeerId, limits: &ChannelLimits, open_timeout: Duration) -> Self {
        let receiver = || Receiver::new(limits.receive_window, limits.max_message_size);
        let entry = |kind: ChannelKind| {
            let config = kind_config(own, kind);
            (
                kind.id(),
                Entry::new(config, Origin::Kind(kind), receiver()),
            )
        };
        let mesh = Entry::new(ChannelConfig::new(MESH_LABEL), Origin::Mesh, receiver());
        let entries = ChannelKind::ALL.into_iter().map(entry);
        Self {
            limits: limits.clone(),
            open_timeout,
            life: Life::Waiting,
            is_draining: false,
            entries: entries.chain([(MESH_CHANNEL, mesh)]).collect(),
            by_stream: BTreeMap::new(),
            next_channel: FIRST_CUSTOM_CHANNEL,
            next_stream: 0,
            spent_streams: BTreeSet::new(),
            meta: Meta::new(),
            schedule: Schedule::default(),
            backlog: Backlog::new(limits.backlog_min, limits.backlog_max),
            queued: 0,
            refused: BTreeSet::new(),
            acks: Deadlines::default(),
            opens: Deadlines::default(),
            is_path_up: true,
            is_transport_up: false,
            first_epoch: 0,
            offer: None,
            frame: Vec::new(),
            retry_write: None,
            sent: BTreeSet::new(),
            outputs: VecDeque::new(),
            last_metrics: Vec::new(),
        }
    }

    /// The transport is negotiated: asks for the streams. Counts once.
    ///
    /// `remote_max_message_size` is what the remote description says (65,536 when it says nothing, RFC 8841 §6.1); 0
    /// is no limit. It matters for foreign peers; bowline peers tell each other on META.
    pub(crate) fn start(
        &mut self,
        framing: Framing,
        role: Role,
        remote_max_message_size: usize,
        now: Instant,
    ) {
        if self.life != Life::Waiting {
            return;
        }
        let own_max = self.limits.max_message_size;
        let message_max = match (framing, remote_max_message_size) {
            (Framing::Bowline, _) | (Framing::Plain, 0) => own_max,
            (Framing::Plain, most) => most.min(own_max),
        };
        let retained_max = self
            .limits
            .backlog_max
            .saturating_add(self.limits.queue_bytes);
        let limits = PeerLimits {
            framing,
            message_max,
            is_said: false,
            retained_max,
        };
        self.life = Life::Running { limits, role };
        match framing {
            Framing::Bowline => self.open_meta(),
            // It keeps nothing, whatever was said of the transport.
            Framing::Plain => self.first_epoch = 0,
        }
        let channels: Vec<_> = self.entries.keys().copied().collect();
        for channel in channels {
            self.set_up(channel, now);
        }
    }

    /// Queues a message.
    ///
    /// # Errors
    ///
    /// [`SendError`], which hands the message back.
    pub(crate) fn send(
        &mut self,
        channel: ChannelId,
        message: Message,
        now: Instant,
    ) -> Result<MessageId, SendError> {
        match self.admit(channel, message.len()) {
            Ok(()) => {}
            Err(reason) => return Err(SendError { reason, message }),
        }
        let Some(entry) = self.entries.get_mut(&channel) else {
            return Err(SendError {
                reason: SendRefusal::UnknownChannel,
                message,
            });
        };
        self.queued += message.len();
        entry.bytes_queued += message.len() as u64;
        let id = entry.queue.push(message, now);
        self.activate(channel);
        Ok(id)
    }

    /// The application has consumed a message of `bytes` that came on the channel. One call is one message: it gives
    /// back the overhead of a message too.
    pub(crate) fn release(&mut self, channel: ChannelId, bytes: usize, _now: Instant) {
        if let Some(entry) = self.entries.get_mut(&channel) {
            entry.receiver.release(bytes);
            if entry.is_up() && entry.receiver.credit_due().is_some() {
                self.meta.owe(channel);
            }
        }
    }

    /// What a foreign peer may still send, over all its channels. `None` for one of ours, which is told by the channel.
    pub(crate) fn room(&self) -> Option<Room> {
        if self.framing() != Some(Framing::Plain) {
            return None;
        }
        self.entries
            .values()
            .filter_map(|entry| entry.receiver.room())
            .min()
    }

    /// Opens a custom channel.
    ///
    /// # Errors
    ///
    /// [`OpenError`], when the configuration cannot be used or a limit is reached.
    pub(crate) fn open(
        &mut self,
        config: ChannelConfig,
        now: Instant,
    ) -> Result<ChannelId, OpenError> {
        if self.life == Life::Ended || self.is_draining {
            return Err(OpenError::Closing);
        }
        self.check_config(&config)?;
        let is_full = self.count() >= self.limits.max_channels;
        if is_full || (config.negotiated.is_none() && !self.has_stream_left()) {
            return Err(OpenError::TooManyChannels(self.limits.max_channels));
        }
        let origin = if config.negotiated.is_some() {
            Origin::Agreed
        } else {
            Origin::Local
        };
        let channel = self.add(config, origin);
        if self.running().is_some() {
            self.set_up(channel, now);
        }
        Ok(channel)
    }

    /// Closes a custom channel at once.
    ///
    /// # Errors
    ///
    /// [`UnknownChannel`] when there is none, or it is one of the kinds.
    pub(crate) fn close(
        &mut self,
        channel: ChannelId,
        _now: Instant,
    ) -> Result<(), UnknownChannel> {
        let entry = self.entries.get(&channel).ok_or(UnknownChannel)?;
        if entry.is_closing() || entry.is_fixed() {
            return Err(UnknownChannel);
        }
        self.close_channel(channel, false);
        Ok(())
    }

    /// Accepts no more messages, and sends what is queued in the order of a graceful close.
    pub(crate) fn begin_drain(&mut self) {
        if std::mem::replace(&mut self.is_draining, true) {
            return;
        }
        self.refused.clear();
        let channels: Vec<_> = self.entries.keys().copied().collect();
        for channel in channels {
            self.activate(channel);
            self.owe_if_up(channel);
        }
    }

    /// Whether everything accepted has left, and is acknowledged where that matters.
    pub(crate) fn is_drained(&self) -> bool {
        self.entries.iter().all(|(channel, entry)| {
            entry.is_closing() || entry.queue.unsent() == 0 && !self.is_under_way(*channel, entry)
        })
    }

    /// Ends all channels: tells what was not delivered and closes them. Nothing comes after.
    pub(crate) fn abandon(&mut self, now: Instant) {
        if self.life != Life::Ended {
            self.last_metrics = self.metrics(now);
        }
        self.life = Life::Ended;
        self.offer = None;
        self.refused.clear();
        let channels: Vec<_> = self.entries.keys().copied().collect();
        for channel in channels {
            self.end(channel);
        }
        if !planted!(ClosedToldTwice) {
            self.entries.clear();
        }
        self.meta = Meta::new();
        self.by_stream.clear();
        self.retry_write = None;
    }

    /// A connectivity check on the path in use took `round_trip`.
    pub(crate) fn on_check(&mut self, round_trip: Duration) {
        self.backlog.on_check(round_trip);
    }

    /// Whether datagrams reach the peer. Deadlines for opening stand still while they do not, and what was learnt
    /// about the path is forgotten when they do again.
    pub(crate) fn on_path(&mut self, is_up: bool, now: Instant) {
        if is_up && !self.is_path_up {
            self.backlog.restart();
            self.opens.reset_all(now + self.open_timeout);
        }
        self.is_path_up = is_up;
    }

    /// Deals with everything that was due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.retry_write.is_some_and(|at| at <= now) {
            self.retry_write = None;
        }
        while let Some(channel) = self.acks.pop_due(now) {
            self.owe_if_up(channel);
        }
        while self.opens_count()
            && let Some(channel) = self.opens.pop_due(now)
        {
            self.on_open_timeout(channel, now);
        }
    }

    /// When `handle_timeout` is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let opens = if self.opens_count() {
            self.opens.first()
        } else {
            None
        };
        let acks = self.acks.first().filter(|_| !planted!(AckTimerForgotten));
        [self.retry_write, acks, opens].into_iter().flatten().min()
    }

    /// What is to be done or told next.
    pub(crate) fn poll_output(&mut self) -> Option<ChannelOutput> {
        if self.outputs.is_empty()
            && let Some(channel) = self.sent.pop_first()
        {
            self.tell_sent(channel);
        }
        self.outputs.pop_front()
    }

    /// The figures of every channel, in the order of their ids; after the end those of the end.
    pub(crate) fn metrics(&self, now: Instant) -> Vec<ChannelMetrics> {
        if self.life == Life::Ended {
            return self.last_metrics.clone();
        }
        let is_told = |entry: &Entry| !entry.is_closing() && entry.origin != Origin::Mesh;
        let live = self.entries.iter().filter(|(_, entry)| is_told(entry));
        live.map(|(channel, entry)| entry.metrics(*channel, now))
            .collect()
    }

    /// Bytes that wait in the queue of a channel.
    pub(crate) fn queued(&self, channel: ChannelId) -> usize {
        self.entries
            .get(&channel)
            .map_or(0, |entry| entry.queue.unsent_bytes())
    }

    /// Whether all four kinds are open on this transport, or were.
    pub(crate) fn is_ready(&self) -> bool {
        ChannelKind::ALL.into_iter().all(|kind| {
            self.entries
                .get(&kind.id())
                .is_none_or(|entry| entry.has_opened || entry.is_closing())
        })
    }

    /// Bytes that the transport holds and that are not acknowledged.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog.total()
    }

    /// The streams of which the transport holds bytes: those that `on_backlog` is to be called for.
    pub(crate) fn backlogged(&self) -> impl Iterator<Item = StreamKey> + '_ {
        self.backlog.streams()
    }

    /// Panics when an invariant is broken. For debug builds and simulations.
    pub(crate) fn check_invariants(&self) {
        self.backlog.check_invariants();
        let queued: usize = self
            .entries
            .values()
            .map(|entry| entry.queue.unsent_bytes())
            .sum();
        assert_eq!(self.queued, queued);
        assert!(self.count() <= self.limits.max_channels.max(ChannelKind::ALL.len()));
        for (channel, entry) in &self.entries {
            entry.queue.check_invariants();
            entry.receiver.check_invariants();
            assert!(
                entry.queue.position() <= entry.credit,
                "{channel}: the credit is kept"
            );
            let most = self.limits.queue_bytes.max(self.limits.max_message_size);
            let bound = self.limits.backlog_max + self.limits.queue_bytes + most + MESSAGE_SLACK;
            assert!(
                entry.queue.retained() <= bound,
                "{channel}: what is kept is bounded"
            );
            let can_send = self
                .running()
                .is_some_and(|limits| entry.turn(limits) != Turn::Blocked);
            assert!(
                !can_send || self.schedule.is_active(*channel),
                "{channel}: has its turn"
            );
        }
    }

    /// How many channels the application knows of, or will.
    fn count(&self) -> usize {
        let hidden = self.entries.contains_key(&MESH_CHANNEL);
        self.entries.len() - usize::from(hidden)
    }

    fn running(&self) -> Option<PeerLimits> {
        match self.life {
            Life::Running { limits, .. } => Some(limits),
            Life::Waiting | Life::Ended => None,
        }
    }

    fn framing(&self) -> Option<Framing> {
        self.running().map(|limits| limits.framing)
    }

    fn admit(&mut self, channel: ChannelId, len: usize) -> Result<(), SendRefusal> {
        if self.life == Life::Ended || self.is_draining {
            return Err(SendRefusal::Closing);
        }
        let framing = self.framing();
        let max = self
            .running()
            .map_or(self.limits.max_message_size, |limits| limits.message_max);
        let entry = self
            .entries
            .get_mut(&channel)
            .filter(|entry| !entry.is_closing());
        let entry = entry.ok_or(SendRefusal::UnknownChannel)?;
        let limit = entry.message_max(framing, max);
        if len > limit {
            return Err(SendRefusal::TooLarge { limit });
        }
        if !fits(entry, len, self.queued, &self.limits) {
            entry.refused = Some(len);
            self.refused.insert(channel);
            return Err(SendRefusal::Full);
        }
        Ok(())
    }

    fn check_config(&self, config: &ChannelConfig) -> Result<(), OpenError> {
        if config.label.len() > TEXT_MAX || config.protocol.len() > TEXT_MAX {
            return Err(OpenError::LabelTooLong);
        }
        if self.framing() == Some(Framing::Plain)
            && is_too_long_in_band(&config.label, &config.protocol, config.negotiated)
        {
            return Err(OpenError::LabelTooLong);
        }
        if let Reliability::MaxLifetime(time) = config.reliability
            && (time.as_millis() > u128::from(u16::MAX) || time.subsec_nanos() % 1_000_000 != 0)
        {
            return Err(OpenError::Lifetime);
        }
        let is_free = |id| {
            (FIRST_CUSTOM_STREAM..PLACEHOLDER_STREAM).contains(&id)
                && !self.by_stream.contains_key(&id)
        };
        match config.negotiated {
            Some(id) if !is_free(id) => Err(OpenError::StreamId(id)),
            Some(_) | None => Ok(()),
        }
    }

    fn add(&mut self, config: ChannelConfig, origin: Origin) -> ChannelId {
        let channel = ChannelId(self.next_channel);
        // Ids are not used twice: four billion channels outlast any peer.
        self.next_channel = self.next_channel.saturating_add(1);
        if let Some(id) = config.negotiated {
            self.by_stream.insert(id, channel);
        }
        let receiver = Receiver::new(self.limits.receive_window, self.limits.max_message_size);
        self.entries
            .insert(channel, Entry::new(config, origin, receiver));
        channel
    }

    fn fault(&mut self, fault: PeerFault) {
        if self.life != Life::Ended {
            self.life = Life::Ended;
            self.outputs.push_back(ChannelOutput::Fault(fault));
        }
    }

    /// Tells `Writable` for channels that refused a message and have room for it now.
    fn wake_refused(&mut self) {
        let has_room = |channel: &ChannelId| {
            let Some(entry) = self.entries.get(channel) else {
                return false;
            };
            let len = entry.refused.unwrap_or(0);
            let is_low = entry.queue.unsent_bytes() <= self.limits.low_water;
            is_low && fits(entry, len, self.queued, &self.limits)
        };
        let woken: Vec<_> = self.refused.iter().copied().filter(has_room).collect();
        for channel in woken {
            self.refused.remove(&channel);
            self.outputs.push_back(ChannelOutput::Writable { channel });
        }
    }
}

fn kind_config(own: PeerId, kind: ChannelKind) -> ChannelConfig {
    let (ordering, reliability) = kind.mode();
    ChannelConfig {
        ordering,
        reliability,
        priority: kind.priority(),
        ..ChannelConfig::new(format!("{own}/{kind}"))
    }
}

/// The streams that an honest bowline peer may use over the life of a session. Each side gives out the ids of its own
/// parity, so that both may have had all their channels under different ids.
pub(crate) fn max_streams(limits: &ChannelLimits) -> usize {
    let of_one_parity = limits.max_channels.max(usize::from(STREAMS_IN_ROTATION));
    of_one_parity
        .saturating_mul(2)
        .saturating_add(RESERVED_STREAMS)
}

/// Whether the announcement of the channel to a foreign peer would be too long.
pub(crate) fn is_too_long_in_band(label: &str, protocol: &str, negotiated: Option<u16>) -> bool {
    negotiated.is_none() && label.len() + protocol.len() > IN_BAND_TEXT_MAX
}

/// Whether a message of `len` bytes can be queued, `queued` bytes being queued on all channels. One that is larger
/// than a limit can when nothing else takes its room.
fn fits(entry: &Entry, len: usize, queued: usize, limits: &ChannelLimits) -> bool {
    let queue = &entry.queue;
    let len = if planted!(QueueBoundExceeded) { 0 } else { len };
    let fits_channel = queue.unsent() == 0
        || queue.unsent() < limits.queue_messages
            && queue.unsent_bytes() + len <= limits.queue_bytes;
    fits_channel && (queued == 0 || queued + len <= limits.peer_queue_bytes)
}

/// The rank of a channel in the schedule: 0 is first.
fn rank(entry: &Entry, is_draining: bool) -> u8 {
    match (is_draining, entry.origin) {
        (false, _) => match entry.priority {
            Priority::High => 0,
            Priority::Normal => 1,
            Priority::Bulk => 2,
        },
        // The order of `ChannelKind::CLOSE_ORDER`, custom channels in the middle.
        (true, Origin::Kind(ChannelKind::File)) => 0,
        (true, Origin::Kind(ChannelKind::Unreliable)) => 1,
        (true, Origin::Local | Origin::Agreed | Origin::Remote | Origin::Mesh) => 2,
        (true, Origin::Kind(ChannelKind::Reliable)) => 3,
        (true, Origin::Kind(ChannelKind::Control)) => 4,
    }
}

/// The first channel id after those of the kinds.
const FIRST_CUSTOM_CHANNEL: u32 = 4;
/// The channel that two bowline peers keep for rooms: no application has so many that it gets there.
pub(crate) const MESH_CHANNEL: ChannelId = ChannelId(u32::MAX);
/// The label of it, which nobody sees.
const MESH_LABEL: &str = "bowline mesh";
/// The stream of it.
const MESH_STREAM: u16 = 5;
/// The first stream id after those of the kinds, META and the mesh.
const FIRST_CUSTOM_STREAM: u16 = 6;
/// The stream that an offer announces a data channel section for, and that nobody uses: the highest that there is, so
/// that a foreign peer, which counts its ids up from 0 or 1, never needs it.
pub(crate) const PLACEHOLDER_STREAM: u16 = 65_534;
/// So many stream ids are given out in turn, and others only while all of these are in use. A session that opens and
/// closes channels for long must not use ever new ids, because each costs the peer's SCTP memory and time for ever. An
/// id that has just become free is not good again at once either: a late reset may hit the next stream under it.
const STREAMS_IN_ROTATION: u16 = 256;
/// Streams beside those of channels opened in-band: at least the kinds, META and the mesh.
const RESERVED_STREAMS: usize = 8;
/// The longest label and protocol (RFC 8832 §5.1).
const TEXT_MAX: usize = 65_535;
/// The bytes of the labels and protocols of all channels that the peer has open: each may be long, not all of them.
const REMOTE_NAMES_MAX: usize = 512 * 1024;
/// The longest label and protocol together that can be announced in-band: str0m marshals the announcement into a buffer
/// of 1,500 bytes, of which 12 are its header, and panics when it does not fit.
const IN_BAND_TEXT_MAX: usize = 1_488;
/// How often the stream of a channel is opened again on one transport before the channel is closed.
const MAX_REOPENS: u8 = 3;
/// How long an acknowledgement may wait for others.
const ACK_DELAY: Duration = Duration::from_millis(20);
/// When to try again to write when the transport had no room and says nothing.
const WRITE_RETRY: Duration = Duration::from_millis(10);
/// How far channels of the first rank may exceed the cap on the backlog, so that they never wait for bulk. META may
/// by twice as much.
const URGENT_SLACK: usize = 64 * 1024;
/// The allowance for the message that overshoots the bound on what is kept.
const MESSAGE_SLACK: usize = frame::MESSAGE_OVERHEAD;
