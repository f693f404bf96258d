//! One connection as its handles and the driver share it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use bowline::{
    Cause, ChannelId, ChannelKind, Explanation, Kept, PeerId, PeerMetrics, PeerState, Reliability,
};
use tokio::sync::{Notify, watch};

use crate::connection::{Handle, OpenedChannel, Status};
use crate::inbox::Inbox;
use crate::ledger::Ledger;

/// One life of one peer: from `Initialised` to its terminal state. A later connection to the same peer is another.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) peer: PeerId,
    status: watch::Sender<Status>,
    record: Mutex<Record>,
    /// Whether the core has told that this peer exists. Changed by the driver only.
    announced: AtomicBool,
    /// Whether a remote offer waits for an answer.
    offered: AtomicBool,
    /// Whether all handles are gone, so that nobody will ever read.
    abandoned: AtomicBool,
    /// Something came: a message, a channel or the end.
    pub(crate) arrived: Notify,
    /// The outcome of a message became known, or the end came.
    pub(crate) settled: Notify,
}

/// What happened in a session. Its lock is taken after that of the endpoint's state, never before it.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) inbox: Inbox,
    pub(crate) ledger: Ledger,
    /// Channels that the peer opened and that nobody has taken. Closed ones leave, so that the core's limit bounds it.
    pub(crate) opened: VecDeque<OpenedChannel>,
    /// Custom channels that are not closed; the core's limit bounds them.
    pub(crate) custom: BTreeSet<ChannelId>,
    /// The last figures and words of the core.
    pub(crate) metrics: PeerMetrics,
    pub(crate) explanation: Option<Explanation>,
    /// The handle that all connections share. None while there has been none; dead when it is being dropped.
    pub(crate) handle: Option<Weak<Handle>>,
    gates: BTreeMap<ChannelId, Arc<Gate>>,
}

impl Record {
    /// Whether messages may still come on a channel.
    pub(crate) fn is_open(&self, channel: ChannelId) -> bool {
        ChannelKind::from_id(channel).is_some() || self.custom.contains(&channel)
    }

    pub(crate) fn is_held(&self) -> bool {
        self.handle
            .as_ref()
            .is_some_and(|handle| handle.strong_count() > 0)
    }
}

/// Where the senders of one channel wait for room, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) turn: tokio::sync::Mutex<()>,
    pub(crate) writable: Notify,
}

impl Session {
    pub(crate) fn new(peer: PeerId) -> Self {
        Self {
            peer,
            status: watch::Sender::new(Status::new()),
            record: Mutex::default(),
            announced: AtomicBool::new(false),
            offered: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            arrived: Notify::new(),
            settled: Notify::new(),
        }
    }

    /// Notes that the core has told of this peer. False when it had done so before.
    pub(crate) fn announce(&self) -> bool {
        !self.announced.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn set_offered(&self, offered: bool) {
        self.offered.store(offered, Ordering::Relaxed);
    }

    pub(crate) fn is_offered(&self) -> bool {
        self.offered.load(Ordering::Relaxed)
    }

    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn status(&self) -> Status {
        *self.status.borrow()
    }

    pub(crate) fn watch_status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.status.borrow().state.is_terminal()
    }

    /// Assigns the state, and at the end releases everybody who waits.
    pub(crate) fn transition_to(
        &self,
        state: PeerState,
        cause: Cause,
        at: Instant,
        deadline: Option<Instant>,
    ) {
        self.status.send_modify(|status| {
            let established = status.established || state == PeerState::Connected;
            *status = Status {
                state,
                cause: Some(cause),
                since: at,
                deadline,
                established,
                kept: status.kept,
            };
        });
        if state.is_terminal() {
            self.arrived.notify_waiters();
            self.settled.notify_waiters();
            let gates = self.record().gates.clone();
            gates.values().for_each(|gate| gate.writable.notify_one());
        }
    }

    /// The connection is back, and this has survived. The change of state follows.
    pub(crate) fn restore(&self, kept: Kept) {
        self.status.send_if_modified(|status| {
            status.kept = Some(kept);
            false
        });
    }

    /// The gate of a channel, made when there is none.
    pub(crate) fn gate(&self, channel: ChannelId) -> Arc<Gate> {
        Arc::clone(self.record().gates.entry(channel).or_default())
    }

    pub(crate) fn on_writable(&self, channel: ChannelId) {
        if let Some(gate) = self.record().gates.get(&channel) {
            gate.writable.notify_one();
        }
    }

    /// Notes a custom channel that is opened here.
    pub(crate) fn on_open_channel(&self, channel: ChannelId, reliability: Reliability) {
        let mut record = self.record();
        record.custom.insert(channel);
        if reliability != Reliability::Reliable {
            record.ledger.on_unreliable_channel(channel);
        }
    }

    /// Notes a custom channel that the peer opened.
    pub(crate) fn on_channel_opened(&self, opened: OpenedChannel) {
        self.on_open_channel(opened.id, opened.reliability);
        self.record().opened.push_back(opened);
        self.arrived.notify_waiters();
    }

    pub(crate) fn on_channel_closed(&self, channel: ChannelId) {
        let mut record = self.record();
        record.custom.remove(&channel);
        record.opened.retain(|opened| opened.id != channel);
        if let Some(gate) = record.gates.remove(&channel) {
            gate.writable.notify_one();
        }
        drop(record);
        self.arrived.notify_waiters();
        self.settled.notify_waiters();
    }

    /// Waits until `ready` gives something, asking again whenever `changed` tells. `ready` learns whether the session
    /// was over before it was asked.
    pub(crate) async fn wait<T>(
        &self,
        changed: &Notify,
        mut ready: impl FnMut(&mut Record, bool) -> Option<T>,
    ) -> T {
        let ask = || {
            let over = self.is_over();
            ready(&mut self.record(), over)
        };
        until(changed, ask).await
    }
}

/// Waits until `ready` gives something, asking again whenever `changed` wakes those who wait.
pub(crate) async fn until<T>(changed: &Notify, mut ready: impl FnMut() -> Option<T>) -> T {
    loop {
        let mut change = pin!(changed.notified());
        change.as_mut().enable();
        if let Some(value) = ready() {
            return value;
        }
        change.await;
    }
}
