//! A connection to one peer.

use std::sync::Arc;
use std::time::Instant;

use bowline::{
    Cause, ChannelConfig, ChannelId, Explanation, Kept, Message, OpenError, Ordering, PathQuality,
    PeerId, PeerMetrics, PeerState, Reliability, SendError, SendRefusal, UnknownChannel,
};
use tokio::sync::watch;
use tokio::task::coop::consume_budget;

use crate::ledger::{Delivery, Receipt, Undelivered};
use crate::session::Session;
use crate::shared::Shared;

/// A connection to one peer. Clones are handles to the same connection.
///
/// When the last handle is dropped the connection is closed gracefully in the background, which delivers what is queued
/// if that is possible within [`Timing::close_drain`](bowline::config::Timing::close_drain). To know what was delivered,
/// use [`Connection::close`].
#[derive(Debug, Clone)]
pub struct Connection {
    pub(crate) handle: Arc<Handle>,
}

impl Connection {
    /// The peer.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.session().peer
    }

    /// Queues a message, and waits for room when the channel's queue is full. Several senders on one channel take
    /// turns in the order in which they came.
    ///
    /// Cancel-safe: the message is queued at the very moment at which this completes. When it is dropped before, the
    /// message is not sent, and gone with it; keep a clone, which is cheap, if you need it.
    ///
    /// # Errors
    ///
    /// [`SendError`], which hands the message back. Its reason is never [`SendRefusal::Full`].
    pub async fn send(
        &self,
        channel: impl Into<ChannelId>,
        message: impl Into<Message>,
    ) -> Result<Receipt, SendError> {
        let (channel, mut message) = (channel.into(), message.into());
        consume_budget().await;
        let gate = self.session().gate(channel);
        let _turn = gate.turn.lock().await;
        loop {
            match self.try_send(channel, message) {
                Err(SendError {
                    reason: SendRefusal::Full,
                    message: back,
                }) => message = back,
                done => return done,
            }
            gate.writable.notified().await;
        }
    }

    /// Queues a message if there is room now.
    ///
    /// # Errors
    ///
    /// [`SendError`], which hands the message back.
    pub fn try_send(
        &self,
        channel: impl Into<ChannelId>,
        message: impl Into<Message>,
    ) -> Result<Receipt, SendError> {
        let (channel, message) = (channel.into(), message.into());
        let mut state = self.shared().lock();
        let Some(mut peer) = state.peer(self.session()) else {
            return Err(SendError {
                reason: SendRefusal::Closing,
                message,
            });
        };
        let number = peer.send(channel, message, Instant::now())?;
        self.shared().wake_driver();
        Ok(Receipt {
            channel,
            message: number,
        })
    }

    /// Takes the next message of any channel, in the order in which they came. `None` once the connection has ended
    /// and everything is taken.
    ///
    /// Until a message is taken it counts against its channel's
    /// [`receive_window`](bowline::config::ChannelLimits::receive_window), so that a slow reader slows its peer down and
    /// not this process. Several readers are allowed, [`Connection::recv_from`] among them: every message goes to one.
    ///
    /// Cancel-safe: when it is dropped before it completes, no message is taken.
    pub async fn recv(&self) -> Option<(ChannelId, Message)> {
        consume_budget().await;
        let taken = self
            .session()
            .wait(&self.session().arrived, |record, over| {
                record.inbox.pop().map(Some).or(over.then_some(None))
            });
        let (channel, message) = taken.await?;
        self.release(channel, message.len());
        Some((channel, message))
    }

    /// Takes the next message of one channel. `None` once the channel or the connection has ended and everything is
    /// taken.
    ///
    /// Cancel-safe, as [`Connection::recv`] is.
    pub async fn recv_from(&self, channel: impl Into<ChannelId>) -> Option<Message> {
        let channel = channel.into();
        consume_budget().await;
        let taken = self
            .session()
            .wait(&self.session().arrived, |record, over| {
                let message = record.inbox.pop_from(channel);
                let ended = over || !record.is_open(channel);
                message.map(Some).or(ended.then_some(None))
            });
        let message = taken.await?;
        self.release(channel, message.len());
        Some(message)
    }

    /// Waits until it is known what became of a message: at the end of the channel or the connection at the latest.
    ///
    /// Of a message on an unreliable channel no more is known than that it was handed to the transport.
    pub async fn delivered(&self, receipt: Receipt) -> Delivery {
        let settled = self
            .session()
            .wait(&self.session().settled, |record, over| {
                let ended = over || !record.is_open(receipt.channel);
                record
                    .ledger
                    .outcome(receipt)
                    .or(ended.then_some(Delivery::Unknown))
            });
        settled.await
    }

    /// Opens a custom channel. It can be sent on at once: what is queued waits until it is open.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open_channel(&self, config: ChannelConfig) -> Result<ChannelId, OpenError> {
        let mut state = self.shared().lock();
        let mut peer = state.peer(self.session()).ok_or(OpenError::Closing)?;
        let reliability = config.reliability;
        let channel = peer.open_channel(config, Instant::now())?;
        self.session().on_open_channel(channel, reliability);
        self.shared().wake_driver();
        Ok(channel)
    }

    /// Closes a custom channel. What is queued on it is not delivered.
    ///
    /// # Errors
    ///
    /// [`UnknownChannel`] when there is no such custom channel.
    pub fn close_channel(&self, channel: ChannelId) -> Result<(), UnknownChannel> {
        let mut state = self.shared().lock();
        let mut peer = state.peer(self.session()).ok_or(UnknownChannel)?;
        peer.close_channel(channel, Instant::now())?;
        self.shared().wake_driver();
        Ok(())
    }

    /// Takes the next custom channel that the peer opened. `None` once the connection has ended. Cancel-safe.
    ///
    /// Messages on it may be received whether this is called or not.
    pub async fn accept_channel(&self) -> Option<OpenedChannel> {
        let taken = self
            .session()
            .wait(&self.session().arrived, |record, over| {
                record.opened.pop_front().map(Some).or(over.then_some(None))
            });
        taken.await
    }

    /// Bytes queued for sending on a channel and not yet handed to the transport.
    #[must_use]
    pub fn queued(&self, channel: impl Into<ChannelId>) -> usize {
        let mut state = self.shared().lock();
        state
            .peer(self.session())
            .map_or(0, |peer| peer.queued(channel))
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> PeerState {
        self.status().state
    }

    /// The state now, with its cause and time.
    #[must_use]
    pub fn status(&self) -> Status {
        self.session().status()
    }

    /// Watches the state. Only the latest is kept: to see every change, use
    /// [`Endpoint::events`](crate::Endpoint::events).
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.session().watch_status()
    }

    /// The figures now, or the last ones when the connection has ended.
    #[must_use]
    pub fn metrics(&self) -> PeerMetrics {
        let mut state = self.shared().lock();
        let live = state
            .peer(self.session())
            .map(|peer| peer.metrics(Instant::now()));
        live.unwrap_or_else(|| self.session().record().metrics.clone())
    }

    /// The paths that work now: the one that data takes, and the standbys in the order of their round trip times. None
    /// when the connection has ended.
    #[must_use]
    pub fn paths(&self) -> Vec<PathQuality> {
        let mut state = self.shared().lock();
        state
            .peer(self.session())
            .map_or_else(Vec::new, |peer| peer.paths(Instant::now()))
    }

    /// Why the connection is not up. `None` when it has ended and the core had nothing to say.
    #[must_use]
    pub fn explain(&self) -> Option<Explanation> {
        let mut state = self.shared().lock();
        let live = state
            .peer(self.session())
            .map(|peer| peer.explain(Instant::now()));
        live.or_else(|| self.session().record().explanation.clone())
    }

    /// Begins an ICE restart now: for an application that knows better than the timers that the path is gone.
    pub fn restart_ice(&self) {
        if let Some(mut peer) = self.shared().lock().peer(self.session()) {
            peer.restart_ice(Instant::now());
        }
        self.shared().wake_driver();
    }

    /// Builds a new transport under this connection. See [`bowline::Peer::rebuild`].
    pub fn rebuild(&self) {
        if let Some(mut peer) = self.shared().lock().peer(self.session()) {
            peer.rebuild(Instant::now());
        }
        self.shared().wake_driver();
    }

    /// Closes the connection gracefully and tells how it ended. When this is dropped the closing goes on.
    pub async fn close(&self) -> CloseReport {
        if let Some(mut peer) = self.shared().lock().peer(self.session()) {
            peer.close(Instant::now());
        }
        self.shared().wake_driver();
        self.closed().await
    }

    /// Waits for the end of the connection, whoever ends it, and tells how it ended.
    pub async fn closed(&self) -> CloseReport {
        let status = self.settled(|status| status.state.is_terminal()).await;
        let undelivered = self.session().record().ledger.undelivered();
        CloseReport {
            state: status.state,
            cause: status.cause,
            undelivered,
        }
    }

    /// Waits until the status is as `wanted`, or terminal.
    pub(crate) async fn settled(&self, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut status = self.watch_status();
        let found = status
            .wait_for(|s| wanted(s) || s.state.is_terminal())
            .await
            .map(|s| *s);
        // The sender lives in the session, which this handle holds.
        found.unwrap_or_else(|_| self.status())
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.handle.session
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    fn release(&self, channel: ChannelId, bytes: usize) {
        if let Some(mut peer) = self.shared().lock().peer(self.session()) {
            peer.release(channel, bytes, Instant::now());
        }
        self.shared().wake_driver();
    }
}

/// What keeps a connection open: closes it when dropped.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) session: Arc<Session>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lock().hang_up(&self.session, Instant::now());
        self.shared.wake_driver();
    }
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The state.
    pub state: PeerState,
    /// Why it was entered. `None` at the very beginning.
    pub cause: Option<Cause>,
    /// When it was entered.
    pub since: Instant,
    /// Until when it may last, where it waits for something.
    pub deadline: Option<Instant>,
    /// Whether the connection has ever been up.
    pub established: bool,
    /// What had survived when it came back the last time. With [`Kept::Queues`] the peer is a new process: what both sides
    /// knew of each other is known by this side only, and to close the connection and connect again may be the right answer.
    pub kept: Option<Kept>,
}

impl Status {
    pub(crate) fn new() -> Self {
        Self {
            state: PeerState::New,
            cause: None,
            since: Instant::now(),
            deadline: None,
            established: false,
            kept: None,
        }
    }
}

/// A custom channel that the peer opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenedChannel {
    /// Its id.
    pub id: ChannelId,
    /// Its label.
    pub label: String,
    /// Its subprotocol.
    pub protocol: String,
    /// Whether order is kept.
    pub ordering: Ordering,
    /// How hard it tries.
    pub reliability: Reliability,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// [`PeerState::Closed`] or [`PeerState::Failed`].
    pub state: PeerState,
    /// Why. `None` when the endpoint ended under it.
    pub cause: Option<Cause>,
    /// What was not delivered, or may not have been. Of more than 1,024 stretches the oldest are forgotten.
    pub undelivered: Vec<Undelivered>,
}
