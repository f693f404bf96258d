//! One endpoint and its application: what it has said is checked as it comes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use bowline::{
    ChannelId, Config, Endpoint, Event, Identity, Input, Output, PeerId, PeerState, Seed, UnixTime,
};

use crate::null_dtls::NullDtls;
use crate::world::subject;

use super::account::{Account, Flow};
use super::step::Who;

/// Something under way.
#[derive(Debug, Clone)]
pub(super) enum Parcel {
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    Signal {
        to: Who,
        text: String,
    },
}

/// One endpoint.
pub(super) struct Side {
    pub(super) who: Who,
    endpoint: Endpoint,
    /// When it was last told that time has passed.
    told: Instant,
    /// Where its socket is, if it has one.
    pub(super) socket: Option<SocketAddr>,
    pub(super) accepts: bool,
    pub(super) releases: bool,
    pub(super) is_lazy: bool,
    /// The custom channel that was opened last.
    pub(super) custom: Option<ChannelId>,
    /// Valid when the last poll gave it.
    pub(super) deadline: Option<Instant>,
    /// How often the peer was initialised.
    pub(super) lives: u32,
    /// The peers that exist, and the state that was told last. A signal that was altered may bring strangers.
    states: BTreeMap<PeerId, PeerState>,
    /// Wake-ups in a row at one instant.
    at_once: (Option<Instant>, u32),
    buf: Vec<u8>,
}

impl Side {
    pub(super) fn new(who: Who, now: Instant) -> Self {
        let seed = 1 + u8::from(who == Who::Bob);
        let endpoint = Endpoint::simulated(
            config(),
            Identity::without_key(id(who)),
            Seed::from([seed; 32]),
            now,
            UnixTime::from_millis(1_700_000_000_000),
            &NullDtls,
        );
        Self {
            who,
            endpoint,
            told: now,
            socket: None,
            accepts: true,
            releases: true,
            is_lazy: false,
            custom: None,
            deadline: None,
            lives: 0,
            states: BTreeMap::new(),
            at_once: (None, 0),
            buf: Vec::new(),
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.states.is_empty()
    }

    /// Whether it has no peer.
    pub(super) fn is_alone(&self) -> bool {
        self.endpoint.peers().next().is_none()
    }

    /// The endpoint, for an input or a call.
    pub(super) fn endpoint(&mut self) -> &mut Endpoint {
        self.at_once = (None, 0);
        &mut self.endpoint
    }

    /// Gives a parcel that has reached this side's host.
    pub(super) fn receive(&mut self, parcel: &Parcel, now: Instant) {
        let endpoint = self.endpoint();
        match parcel {
            Parcel::Datagram { from, to, bytes } => {
                let input = Input::Datagrams {
                    local: *to,
                    remote: *from,
                    contents: bytes,
                    segment_size: bytes.len(),
                };
                endpoint.handle_input(input, now);
            }
            Parcel::Signal { text, .. } => endpoint.handle_input(Input::Signal { text }, now),
        }
    }

    /// Wakes the endpoint at its deadline. Few such wake-ups fall on one instant.
    pub(super) fn wake(&mut self, now: Instant) {
        let (at, count) = self.at_once;
        let count = if at == Some(now) { count + 1 } else { 1 };
        assert!(count <= WAKEUPS_MAX, "{:?} spins", self.who);
        self.tell_time(now);
        self.at_once = (Some(now), count);
    }

    /// Tells the time, whether or not it was asked for.
    pub(super) fn tell_time(&mut self, now: Instant) {
        self.told = self.told.max(now);
        self.endpoint().handle_input(Input::Timeout, now);
    }

    /// Takes outputs: all of them, or at most `most`. Returns what goes on its way.
    pub(super) fn take(
        &mut self,
        most: Option<u8>,
        account: &mut Account,
        now: Instant,
    ) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        let mut left = most.map_or(OUTPUTS_MAX, usize::from);
        while left > 0 {
            left -= 1;
            let mut buf = std::mem::take(&mut self.buf);
            let output = self.endpoint.poll_output(&mut buf);
            self.buf = buf;
            match output {
                Output::Transmit(transmit) => {
                    let datagram = |bytes: &[u8]| Parcel::Datagram {
                        from: transmit.source,
                        to: transmit.destination,
                        bytes: bytes.to_vec(),
                    };
                    parcels.extend(self.buf.chunks(transmit.segment_size).map(datagram));
                }
                Output::Signal(signal) if signal.to == id(self.who.other()) => {
                    parcels.push(Parcel::Signal {
                        to: self.who.other(),
                        text: signal.text,
                    });
                }
                // To a stranger.
                Output::Signal(_) => {}
                Output::Event(event) => self.on_event(event, account, now),
                Output::Timeout(deadline) => {
                    // Who is late finds deadlines in the past until the next wake-up.
                    let is_past = deadline.is_some_and(|at| at < self.told);
                    assert!(!is_past, "{:?} has a deadline in the past", self.who);
                    self.deadline = deadline;
                    return parcels;
                }
                _ => unreachable!("there is no other output"),
            }
        }
        assert!(most.is_some(), "{:?} has endless output", self.who);
        parcels
    }

    fn on_event(&mut self, event: Event, account: &mut Account, now: Instant) {
        let peer = subject(&event);
        self.check(&event, peer);
        if let Event::Incoming { peer, .. } = event
            && self.accepts
        {
            // It may have been withdrawn in the same breath.
            let _ = self.endpoint.accept(peer, now);
        }
        if peer == Some(id(self.who.other())) {
            self.on_event_of_other(event, account, now);
        }
    }

    fn on_event_of_other(&mut self, event: Event, account: &mut Account, now: Instant) {
        let flow = |channel| Flow {
            from: self.who,
            life: self.lives,
            channel,
        };
        match event {
            Event::Initialised { .. } => self.lives += 1,
            Event::Message {
                peer,
                channel,
                message,
            } => {
                account.on_received(self.who.other(), channel, &message);
                if self.releases
                    && let Ok(mut peer) = self.endpoint.peer(peer)
                {
                    peer.release(channel, message.len(), now);
                }
            }
            Event::Delivered {
                channel, through, ..
            } => account.on_delivered(flow(channel), through.0),
            Event::NotDelivered {
                channel,
                first,
                last,
                maybe,
                ..
            } => account.on_not_delivered(flow(channel), first.0..=last.0, maybe),
            _ => {}
        }
    }

    /// A peer exists from `Initialised` to its one terminal state, its states follow each other, and nothing is told
    /// of it outside of that.
    fn check(&mut self, event: &Event, peer: Option<PeerId>) {
        let Some(peer) = peer else { return };
        match event {
            Event::Initialised { .. } => {
                let before = self.states.insert(peer, PeerState::New);
                assert_eq!(before, None, "{peer} exists twice");
            }
            Event::State { from, to, .. } => {
                let before = self.states.remove(&peer);
                assert_eq!(before, Some(*from), "{event:?} does not follow");
                assert_ne!(from, to);
                if !to.is_terminal() {
                    self.states.insert(peer, *to);
                }
            }
            // It only claims to be of a peer.
            Event::SignalRefused { .. } => {}
            _ => assert!(self.states.contains_key(&peer), "{event:?} of nobody"),
        }
    }
}

pub(super) fn id(who: Who) -> PeerId {
    let name = match who {
        Who::Alice => "alice",
        Who::Bob => "bob",
    };
    PeerId::new(name).expect("a valid name")
}

/// Small limits, so that a short script comes to each.
fn config() -> Config {
    Config::builder()
        .max_candidates(4)
        .max_early_candidates(4)
        .max_unvalidated_sources(4)
        .max_ended_sessions(4)
        .max_channels(8)
        .queue_bytes(64 * 1024)
        .queue_messages(32)
        .low_water(16 * 1024)
        .build()
        .expect("valid")
}

/// Wake-ups of one endpoint at one instant.
const WAKEUPS_MAX: u32 = 8;
/// Outputs of one endpoint between two inputs: far more than any script makes.
const OUTPUTS_MAX: usize = 20_000;
