//! A new transport under the same channels.
//!
//! With the transport all streams are gone at once, what was on them, and what was said on META. That says nothing of the
//! channels: what is lost is known as soon as both sides have told each other what they have.
//!
//! *Where the peer kept its memory*, it moves too, a moment earlier or later. Both sides open every stream anew in
//! [`MOVED_EPOCH`], in which no channel counts as open before the peer has said READY, so that the sender goes on with
//! the first byte that the peer has not got, as after the reset of a single stream ([`lifecycle`](super::lifecycle)).
//! Everything that may not have been heard is said again: channels that the peer has never spoken of are announced,
//! and those that are closing say CLOSE. Nothing late of the old transport can come in on the new one, so that epochs
//! need not differ from those of the old.
//!
//! *Where it did not*, the channels are those of a first connection. What was handed over may have arrived, and is told so;
//! what was not is still there to be sent. What the peer had opened is closed. On the wire all counts begin at 0;
//! [`MessageId`](crate::MessageId)s and metrics go on, and so does what the application has not released.

use std::time::Instant;

use crate::deadlines::Deadlines;
use crate::id::ChannelId;

use super::backlog::Backlog;
use super::entry::{Closing, Closure, Origin};
use super::io::{ChannelOutput, Continuity, Framing};
use super::meta::Meta;
use super::schedule::Schedule;
use super::{Channels, Life};

impl Channels {
    /// Another transport takes the place of the one in use, or of one that never came up: nothing of that is reported
    /// any more. Then say [`Channels::start`] for the new one, as on the first: it counts where nothing was kept.
    ///
    /// Both sides have to say [`Continuity::Kept`] of a transport, or neither. A foreign peer never keeps anything.
    pub(crate) fn on_transport_replaced(&mut self, continuity: Continuity, now: Instant) {
        if self.life == Life::Ended {
            return;
        }
        self.leave_transport();
        match (continuity, self.framing()) {
            (Continuity::Kept, Some(Framing::Bowline)) => {
                self.first_epoch = MOVED_EPOCH;
                self.move_channels(now);
            }
            (Continuity::Kept, None) => self.first_epoch = MOVED_EPOCH,
            (Continuity::Kept, Some(Framing::Plain)) | (Continuity::Lost, _) => {
                self.first_epoch = 0;
                self.start_over();
            }
        }
        // Of the transport before, and of channels that had no stream on the new one.
        self.spent_streams.clear();
    }

    /// Forgets what is of the transport and not of the channels.
    fn leave_transport(&mut self) {
        self.offer = None;
        self.retry_write = None;
        self.is_transport_up = false;
        self.meta = Meta::new();
        self.schedule = Schedule::default();
        self.backlog = Backlog::new(self.limits.backlog_min, self.limits.backlog_max);
        self.acks = Deadlines::default();
        self.opens = Deadlines::default();
        self.outputs.retain(|output| {
            !matches!(
                output,
                ChannelOutput::OpenStream { .. } | ChannelOutput::CloseStream { .. }
            )
        });
        for entry in self.entries.values_mut() {
            entry.on_transport_replaced();
        }
    }

    fn move_channels(&mut self, now: Instant) {
        self.open_meta();
        for channel in self.channel_ids() {
            match self.closing(channel) {
                // The peer may not have heard CLOSE. It answers again if it has.
                Some(Closing { hear, .. }) => self.set_closing(
                    channel,
                    Closing {
                        say: hear,
                        hear,
                        stream: Closure::Done,
                    },
                ),
                None => self.open_first_stream(channel, now),
            }
        }
    }

    /// Back to where it is not known yet what the remote is.
    fn start_over(&mut self) {
        self.life = Life::Waiting;
        for channel in self.channel_ids() {
            let Some(entry) = self.entries.get(&channel) else {
                continue;
            };
            if entry.is_closing() {
                self.forget(channel);
            } else if entry.origin == Origin::Remote {
                self.end(channel);
                self.forget(channel);
            } else {
                self.start_channel_over(channel);
            }
        }
        self.deny_closed_kinds();
    }

    fn start_channel_over(&mut self, channel: ChannelId) {
        let before = self.queued(channel);
        let Some(entry) = self.entries.get_mut(&channel) else {
            return;
        };
        if entry.origin != Origin::Agreed
            && let Some(id) = entry.stream.take()
        {
            self.by_stream.remove(&id);
        }
        let unknown = entry.start_over();
        self.queued = self.queued - before + self.queued(channel);
        if planted!(UnknownToldTwice) {
            self.tell_not_delivered(channel, unknown.clone(), true);
        }
        self.tell_not_delivered(channel, unknown, true);
    }

    fn channel_ids(&self) -> Vec<ChannelId> {
        self.entries.keys().copied().collect()
    }
}

/// The epoch in which streams begin on a transport that takes the place of another. The first transport begins with 0, in
/// which the kinds need no READY because neither side can have anything.
const MOVED_EPOCH: u8 = 1;
