//! What happened, as a rolling hash and, when asked for, as a record.

mod digest;

use std::time::Instant;

use bowline::{Event, PeerState};

use crate::hash::RollingHash;
use crate::net::{Class, DropCause, HostId};
use crate::time::{Clock, Time};

/// How much of a run is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Record {
    /// The hashes only: memory does not grow with the run.
    #[default]
    Hashes,
    /// The events that the applications were told, too.
    Events,
    /// Every datagram, signal, event, action and change of state, too: what a figure is drawn from.
    Everything,
}

/// The rolling hashes of a run. Equal hashes mean equal runs, at two levels of determinism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashes {
    /// Level 1: events, states and deadlines, with their times.
    pub events: u64,
    /// Level 2: sizes and times of datagrams and signals, and figures, too.
    pub sizes: u64,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Time,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A datagram was sent.
    Datagram {
        /// The sender.
        from: HostId,
        /// The receiver, where somebody has the address.
        to: Option<HostId>,
        /// Its length, in bytes.
        len: usize,
        /// Its protocol.
        class: Class,
        /// What became of it.
        passage: Passage,
    },
    /// A signalling message was sent.
    Signal {
        /// The sender.
        from: HostId,
        /// The receiver, where there is one of that name.
        to: Option<HostId>,
        /// Its length, in bytes.
        len: usize,
        /// What became of it.
        passage: Passage,
    },
    /// The application was told something.
    Event {
        /// The host.
        host: HostId,
        /// What: the event, with times as offsets.
        text: String,
    },
    /// The state of a peer changed.
    State {
        /// The host.
        host: HostId,
        /// The peer.
        peer: HostId,
        /// The new state.
        to: PeerState,
        /// Why.
        cause: String,
    },
    /// An application called something, or a fault began or ended.
    Action {
        /// What.
        text: String,
        /// The host to whom it happened; `None` when it is the network.
        host: Option<HostId>,
    },
}

/// What became of something that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It arrives at this time.
    Arrives(Time),
    /// It arrives twice, first at this time.
    Twice(Time),
    /// It does not.
    Dropped(DropCause),
}

/// The trace of a run.
#[derive(Debug)]
pub struct Trace {
    record: Record,
    events: RollingHash,
    sizes: RollingHash,
    entries: Vec<Entry>,
    omitted: u64,
}

impl Trace {
    pub(crate) fn new(record: Record) -> Self {
        Self {
            record,
            events: RollingHash::new(),
            sizes: RollingHash::new(),
            entries: Vec::new(),
            omitted: 0,
        }
    }

    /// How much is kept.
    #[must_use]
    pub fn record(&self) -> Record {
        self.record
    }

    /// The hash of level 1 so far: events, states and deadlines.
    #[must_use]
    pub fn hash_events(&self) -> u64 {
        std::hash::Hasher::finish(&self.events)
    }

    /// The hash of level 2 so far: sizes and times of datagrams and signals, too.
    #[must_use]
    pub fn hash_sizes(&self) -> u64 {
        std::hash::Hasher::finish(&self.sizes)
    }

    /// Both hashes.
    #[must_use]
    pub fn hashes(&self) -> Hashes {
        Hashes {
            events: self.hash_events(),
            sizes: self.hash_sizes(),
        }
    }

    /// What was recorded, in its order. Empty unless [`Record::Everything`] was asked for.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Entries that were not kept because there were too many.
    #[must_use]
    pub fn omitted(&self) -> u64 {
        self.omitted
    }

    pub(crate) fn on_datagram(
        &mut self,
        at: Time,
        (from, to): (HostId, Option<HostId>),
        contents: &[u8],
        passage: Passage,
    ) {
        digest::sent(&mut self.sizes, at, from, contents.len());
        if self.record == Record::Everything {
            let class = Class::of(contents);
            self.push(
                at,
                What::Datagram {
                    from,
                    to,
                    len: contents.len(),
                    class,
                    passage,
                },
            );
        }
    }

    pub(crate) fn on_signal(
        &mut self,
        at: Time,
        (from, to): (HostId, Option<HostId>),
        len: usize,
        passage: Passage,
    ) {
        digest::sent(&mut self.sizes, at, from, len);
        if self.record == Record::Everything {
            self.push(
                at,
                What::Signal {
                    from,
                    to,
                    len,
                    passage,
                },
            );
        }
    }

    pub(crate) fn on_event(
        &mut self,
        clock: &Clock,
        (host, peer): (HostId, Option<HostId>),
        event: &Event,
    ) {
        let at = clock.now();
        let time_of = |instant: Instant| clock.time_of(instant);
        // Metrics hold figures of level 2: bytes, and round trips.
        let level = if matches!(event, Event::Metrics { .. }) {
            &mut self.sizes
        } else {
            &mut self.events
        };
        digest::event(level, at, host, event, time_of);
        if self.record != Record::Everything {
            return;
        }
        match (event, peer) {
            (Event::State { to, cause, .. }, Some(peer)) => {
                self.push(
                    at,
                    What::State {
                        host,
                        peer,
                        to: *to,
                        cause: cause.to_string(),
                    },
                );
            }
            _ => self.push(
                at,
                What::Event {
                    host,
                    text: digest::describe(event, time_of),
                },
            ),
        }
    }

    pub(crate) fn on_deadline(&mut self, at: Time, host: HostId, deadline: Option<Time>) {
        digest::deadline(&mut self.events, at, host, deadline);
    }

    /// `text` is asked for only when it is kept.
    pub(crate) fn on_action(
        &mut self,
        at: Time,
        host: Option<HostId>,
        text: impl FnOnce() -> String,
    ) {
        if self.record == Record::Everything {
            self.push(at, What::Action { text: text(), host });
        }
    }

    fn push(&mut self, at: Time, what: What) {
        if self.entries.len() < MAX_ENTRIES {
            self.entries.push(Entry { at, what });
        } else {
            self.omitted += 1;
        }
    }
}

/// Entries kept of one run.
const MAX_ENTRIES: usize = 1_000_000;
